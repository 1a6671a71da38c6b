"""What a training run tells, as lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from graphexec.cli.trainingbar import TrainingBar
from graphexec.train import events
from graphexec.train.faults import NonFiniteLoss, TrainingError


def told(capsys: pytest.CaptureFixture[str], *given: events.Event) -> list[str]:
    with TrainingBar() as bar:
        for event in given:
            bar(event)
    return capsys.readouterr().err.splitlines()


def step(number: int, total: int = 100) -> events.Stepped:
    return events.Stepped(number, total, 1, 0.5, {}, 2.0, 30.0)


def test_lines_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    lines = told(capsys, events.Started(100), *map(step, range(1, 101)), events.Finished(100, 50, 0.4))
    assert lines[0] == "step 5 of 100: loss 0.5000, 2.00 steps/s, 30 s left"
    assert lines[-1] == "100 steps in 50 s"
    assert len(lines) == 21


def test_what_is_written_and_noticed(capsys: pytest.CaptureFixture[str]) -> None:
    lines = told(
        capsys,
        events.Cached(1, 40),
        events.Cached(40, 40),
        events.Started(10, 4),
        events.Warned("a\x1b[2Jb"),
        events.Saved(Path("a.safetensors"), 5, 1),
        events.Saved(Path("a.state"), 5, 1),
        events.Sampled((Path("a.png"), Path("b.png")), 5),
        events.Validated(0.25, 5, 1),
    )
    assert lines == [
        "encoded 40 of 40 pictures",
        "going on after step 4 of 10",
        "warning: a\\x1b[2Jb",
        "step 5: saved a.safetensors",
        "step 5: made a.png, b.png",
        "step 5: loss of the held out pictures 0.2500",
    ]


def broken(saved: str) -> None:
    with TrainingBar() as bar:
        bar(events.Saved(Path(saved), 5, 1))
        raise TrainingError("broken")


def test_the_state_is_named_whatever_ends_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(TrainingError):
        broken("a.safetensors")
    assert "kept" not in capsys.readouterr().err
    with pytest.raises(TrainingError):
        broken("a.state")
    assert "kept a.state; the same command with --resume goes on from there" in capsys.readouterr().err


def test_a_state_that_leads_to_no_number_again_is_not_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(NonFiniteLoss), TrainingBar() as bar:
        bar(events.Saved(Path("a.state"), 3, 1))
        raise NonFiniteLoss("the loss of step 4 is nan")
    assert "kept" not in capsys.readouterr().err


def test_a_bar_on_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    shown = "\n".join(told(capsys, events.Started(2), step(1, 2), events.Warned("careful"), step(2, 2)))
    assert "warning: careful" in shown
    assert "2/2" in shown
    assert "epoch 1, loss 0.5000" in shown
