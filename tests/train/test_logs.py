# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from graphexec.diffusion.faults import MissingLibrary
from graphexec.errors import OutputError
from graphexec.train.events import Cached, Event, Finished, Sampled, Saved, Started, Stepped, Validated, Warned
from graphexec.train.logs import JsonLines, TensorBoard, read_curve

EVENTS: list[Event] = [
    Started(3),
    Stepped(1, 3, 1, 0.5, {"unet": 1e-4}, 2.0, 1.0),
    Saved(Path("a.safetensors"), 1, 1),
    Sampled((Path("a.png"), Path("b.png")), 1),
    Validated(0.25, 1, 1),
    Finished(3, 1.5, 0.1),
]


def test_events_are_lines_of_json(tmp_path: Path) -> None:
    log = JsonLines(tmp_path / "logs" / "train.jsonl")
    for event in EVENTS:
        log(event)
    lines = [json.loads(line) for line in (tmp_path / "logs" / "train.jsonl").read_text().splitlines()]
    log.close()
    assert [line["event"] for line in lines] == ["started", "stepped", "saved", "sampled", "validated", "finished"]
    assert lines[1]["lr"] == {"unet": 1e-4}
    assert lines[3] == {"event": "sampled", "paths": ["a.png", "b.png"], "step": 1}


def test_a_log_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    log = JsonLines(tmp_path / "file" / "log.jsonl")
    with pytest.raises(OutputError, match="the log cannot be written"):
        log(EVENTS[1])


def told(path: Path, *events: Event, append: bool = False) -> int:
    """Lines of a log after events."""
    log = JsonLines(path, append=append)
    for event in events:
        log(event)
    log.close()
    return len(path.read_text().splitlines())


def test_a_log_goes_on_where_it_ended(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    again = Stepped(1, 3, 1, 0.25, {}, 2.0, 1.0)
    assert told(path, *EVENTS[:2]) == 2
    assert told(path, EVENTS[0], EVENTS[4], again, append=True) == 5
    assert read_curve(path, Stepped) == [(1, 0.25)]
    assert read_curve(path, Validated) == [(1, 0.25)]


def test_a_line_that_was_not_written_to_its_end_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    told(path, *EVENTS[:2])
    with path.open("a") as file:
        file.write('{"event": "stepped", "step": 2, "lo')
    told(path, Started(3, 1), Stepped(2, 3, 1, 0.25, {}, 2.0, 1.0), append=True)
    assert read_curve(path, Stepped) == [(1, 0.5), (2, 0.25)]


def test_a_log_of_an_earlier_run_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    assert told(path, *EVENTS) == len(EVENTS)
    assert told(path, Warned("no"), Cached(1, 4)) == len(EVENTS)  # which could not start
    assert told(path, Warned("no seed"), EVENTS[0]) == len(EVENTS)  # which made no step
    assert not (tmp_path / "log.earlier.jsonl").exists()
    assert told(path, Warned("no seed"), *EVENTS[:2]) == 3
    assert [json.loads(line)["event"] for line in path.read_text().splitlines()] == ["warned", "started", "stepped"]
    assert len((tmp_path / "log.earlier.jsonl").read_text().splitlines()) == len(EVENTS)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_curves_for_tensorboard(tmp_path: Path) -> None:
    log = TensorBoard(tmp_path / "board")
    for event in EVENTS:
        log(event)
    log.close()
    (written,) = (tmp_path / "board").iterdir()
    content = written.read_bytes()
    assert all(tag in content for tag in (b"loss", b"lr/unet", b"loss/validation"))


def curves(folder: Path, *events: Event, append: bool = False) -> Path:
    """TensorBoard's file of a run that told of events."""
    before = set(folder.iterdir()) if folder.exists() else set[Path]()
    log = TensorBoard(folder, append=append)
    for event in events:
        log(event)
    log.close()
    (written,) = set(folder.iterdir()) - before
    return written


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_curves_of_an_earlier_run_are_set_aside(tmp_path: Path) -> None:
    board, kept = tmp_path / "board", tmp_path / "board.earlier"
    TensorBoard(board)(Started(3))  # of a run that makes no step
    assert not board.exists()
    for _ in range(2):
        first = curves(board, *EVENTS)
        (board / "notes.txt").touch()
        second = curves(board, *EVENTS)
        assert {path.name for path in board.iterdir()} == {second.name, "notes.txt"}
        assert [path.name for path in kept.iterdir()] == [first.name]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_curves_go_on_where_the_state_was(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing import event_file_loader  # pyright: ignore[reportMissingTypeStubs]

    first = curves(tmp_path / "board", *EVENTS)
    second = curves(tmp_path / "board", Started(3, 1), Stepped(2, 3, 1, 0.5, {}, 2.0, 1.0), append=True)
    assert first.exists()
    written = event_file_loader.EventFileLoader(str(second)).Load()
    starts = [event.step for event in written if event.HasField("session_log")]
    assert starts == [2]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_curves_that_cannot_be_written_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="curves cannot be written"):
        TensorBoard(tmp_path / "file" / "board")(EVENTS[1])


def test_tensorboard_may_be_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard.writer", None)
    with pytest.raises(MissingLibrary, match=r"graphexec\[train\]"):
        TensorBoard(tmp_path)
