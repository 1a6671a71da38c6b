"""What a training run tells, shown on stderr: a bar with the loss, and lines for what is written."""

from __future__ import annotations

from types import TracebackType
from typing import Any

import click
from tqdm import tqdm

from graphexec.cli.diagnostics import printable
from graphexec.train import events


class TrainingBar:
    """Shows steps, loss, steps a second and the time that is left; where there is no terminal, now and then a line."""

    def __init__(self) -> None:
        self._bar: tqdm[Any] | None = None

    def __enter__(self) -> TrainingBar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave the bar as it is, and go to the next line."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def __call__(self, event: events.Event) -> None:
        """Show an event."""
        match event:
            case events.Started(total=total, first=first):
                self.close()
                self._bar = tqdm(total=total, initial=first, unit="step", mininterval=0.5)
            case events.Stepped(step=step, loss=loss) if self._bar is not None:
                self._bar.set_postfix_str(f"epoch {event.epoch}, loss {loss:.4f}", refresh=False)
                self._bar.update(step - self._bar.n)
            case events.Finished(steps=steps, seconds=seconds):
                self.close()
                click.echo(f"{steps} steps in {seconds:.0f} s", err=True)
            case _:
                if (line := notice(event)) is not None:
                    self._write(line)

    def _write(self, line: str) -> None:
        """A line above the bar."""
        if self._bar is not None:
            self._bar.clear()
        click.echo(line, err=True)
        if self._bar is not None:
            self._bar.refresh()


def notice(event: events.Event) -> str | None:
    """What an event has to say besides progress."""
    match event:
        case events.Warned(message=message):
            return f"warning: {printable(message)}"
        case events.Saved(path=path, step=step):
            return f"step {step}: saved {path}"
        case events.Sampled(paths=paths, step=step):
            return f"step {step}: made {', '.join(map(str, paths))}"
        case events.Validated(loss=loss, step=step):
            return f"step {step}: loss of the held out pictures {loss:.4f}"
        case _:
            return None
