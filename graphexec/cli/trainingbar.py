"""What a training run tells, shown on stderr: a bar with the loss, and lines for what is written."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

import click
from tqdm import tqdm

from graphexec.cli.diagnostics import counted, printable
from graphexec.cli.terminal import is_watched
from graphexec.train import events
from graphexec.train.faults import NonFiniteLoss

LINES = 20
"""Without a terminal, how many lines tell of the steps of a run."""


class TrainingBar:
    """Shows steps, loss, steps a second and the time that is left; where there is no terminal, lines now and then.

    Whatever ends the run before its time, the state that it saved is named, but for a loss that is no number, to which
    it would lead again.
    """

    def __init__(self) -> None:
        self.state: Path | None = None
        self._bar: tqdm[Any] | None = None
        self._is_terminal = is_watched()

    def __enter__(self) -> TrainingBar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        if error is not None and self.state is not None and not isinstance(error, NonFiniteLoss):
            click.echo(f"kept {self.state}; the same command with --resume goes on from there", err=True)

    def close(self) -> None:
        """Leave the bar as it is, and go to the next line."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def __call__(self, event: events.Event) -> None:
        """Show an event."""
        if isinstance(event, events.Saved) and not _is_lora(event):
            self.state = event.path
        match event:
            case events.Started(total=total, first=first) if self._is_terminal:
                self._bar = tqdm(total=total, initial=first, unit="step", mininterval=0.5)
            case events.Stepped() if self._bar is not None:
                self._bar.set_postfix_str(f"epoch {event.epoch}, loss {event.loss:.4f}", refresh=False)
                self._bar.update(event.step - self._bar.n)
            case events.Finished():
                self.close()
                click.echo(f"{counted(event.steps, 'step')} in {event.seconds:.0f} s", err=True)
            case _:
                if (line := _line(event)) is not None:
                    self._write(line)

    def _write(self, line: str) -> None:
        """A line above the bar."""
        if self._bar is not None:
            self._bar.clear()
        click.echo(line, err=True)
        if self._bar is not None:
            self._bar.refresh()


def _line(event: events.Event) -> str | None:
    """What an event has to say in a line; states are saved too often to be told of."""
    match event:
        case events.Warned(message=message):
            return f"warning: {printable(message)}"
        case events.Cached(done=done, total=total) if done == total or done % max(1, total // LINES) == 0:
            return f"encoded {done} of {total} pictures"
        case events.Started(total=total, first=first) if first:
            return f"going on after step {first} of {total}"
        case events.Stepped(step=step, total=total) if step % max(1, total // LINES) == 0:
            return f"step {step} of {total}: loss {event.loss:.4f}, {event.rate:.2f} steps/s, {event.left:.0f} s left"
        case events.Saved(path=path, step=step) if _is_lora(event):
            return f"step {step}: saved {path}"
        case events.Sampled(paths=paths, step=step):
            return f"step {step}: made {', '.join(map(str, paths))}"
        case events.Validated(loss=loss, step=step):
            return f"step {step}: loss of the held out pictures {loss:.4f}"
        case _:
            return None


def _is_lora(saved: events.Saved) -> bool:
    return saved.path.suffix == ".safetensors"
