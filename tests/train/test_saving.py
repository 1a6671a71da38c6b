from __future__ import annotations

from pathlib import Path

import pytest

from graphexec.errors import OutputError
from graphexec.train.config import Saving
from graphexec.train.faults import StateError, TrainingError
from graphexec.train.loop import Moment
from graphexec.train.saving import Checkpoints, StateFile, claimed, due, find_state, remove_halves

TOKEN = "00ff12ab34cd56ef"


def step(number: int) -> Moment:
    return Moment(number, 1, ends_epoch=False)


def epoch(number: int) -> Moment:
    return Moment(10 * number, number, ends_epoch=True)


def test_what_is_due_when() -> None:
    assert [number for number in range(1, 8) if due(step(number), 3, 1)] == [3, 6]
    assert [number for number in range(1, 8) if due(epoch(number), 1, 2)] == [2, 4, 6]
    assert not any(due(moment, None, None) for moment in (step(1), epoch(1)))


def test_names_and_what_goes(tmp_path: Path) -> None:
    saving = Saving(tmp_path, "mine", every_n_epochs=2, every_n_steps=5, keep_last_epochs=2, keep_last_steps=2)
    checkpoints = Checkpoints(saving)
    assert checkpoints.last == tmp_path / "mine.safetensors"
    assert checkpoints.at(epoch(3)) == tmp_path / "mine-000003.safetensors"
    assert checkpoints.at(step(30)) == tmp_path / "mine-step00000030.safetensors"
    assert list(checkpoints.outdated(epoch(6))) == [tmp_path / "mine-000002.safetensors"]
    assert list(checkpoints.outdated(epoch(4))) == []
    assert list(checkpoints.outdated(step(15))) == [tmp_path / "mine-step00000005.safetensors"]
    assert list(Checkpoints(Saving(tmp_path, every_n_epochs=1)).outdated(epoch(9))) == []


def test_files_that_nobody_limited_stay(tmp_path: Path) -> None:
    by_epochs = Checkpoints(Saving(tmp_path, every_n_epochs=1, every_n_steps=1, keep_last_epochs=1))
    assert list(by_epochs.outdated(step(9))) == []
    assert len(list(by_epochs.outdated(epoch(9)))) == 1


def test_a_state_is_due_after_a_while() -> None:
    now = [100.0]
    state, without = (StateFile(Saving(Path(), state=kept), lambda: now[0]) for kept in (True, False))
    assert not state.is_due()
    now[0] = 300.0
    assert state.is_due()
    assert not without.is_due()
    with state.written():
        now[0] = 310.0
    assert not state.is_due()
    now[0] = 505.0
    assert not state.is_due()
    now[0] = 515.0
    assert state.is_due()


def test_what_a_killed_run_left_half_written_goes(tmp_path: Path) -> None:
    ends = (".state", ".safetensors", "-000002.safetensors", "-step00000010.safetensors")
    for name in ("last", "last-2", "lastly"):
        for end in ends:
            (tmp_path / f".{name}{end}.{TOKEN}.part").touch()
    remove_halves(Saving(tmp_path))
    others = {f".{name}{end}.{TOKEN}.part" for name in ("last-2", "lastly") for end in ends}
    assert {path.name for path in tmp_path.iterdir()} == others
    remove_halves(Saving(tmp_path / "nowhere"))


def test_a_state_is_found_in_a_folder(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="none there"):
        find_state(tmp_path)
    (tmp_path / "a.state").touch()
    assert find_state(tmp_path) == find_state(tmp_path / "a.state") == tmp_path / "a.state"
    (tmp_path / "b.state").touch()
    with pytest.raises(StateError, match=r"2 of them: a\.state, b\.state; name one"):
        find_state(tmp_path)


def test_a_state_of_an_earlier_run_is_set_aside(tmp_path: Path) -> None:
    saving = Saving(tmp_path)
    path, kept = tmp_path / "last.state", tmp_path / "last.earlier.state"
    assert StateFile(saving).warning() is None
    path.write_text("first")
    state = StateFile(saving)
    assert state.warning() == (
        f"{path} holds an earlier run's state; --resume goes on with it, else it is kept as {kept.name}"
    )
    with state.written() as place:
        assert (path.exists(), kept.read_text()) == (False, "first")
        place.write_text("its own")
    with state.written():
        pass
    assert (path.read_text(), kept.read_text()) == ("its own", "first")
    assert find_state(tmp_path) == path


def test_a_state_that_is_gone_on_from_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "last.state"
    path.write_text("first")
    for place in (path, tmp_path):
        state = StateFile(Saving(tmp_path, resume=place))
        assert state.warning() is None
        with state.written():
            assert path.exists()
    assert StateFile(Saving(tmp_path, state=False)).warning() is None
    assert StateFile(Saving(tmp_path, state=False, state_at_end=True)).warning() is not None


def test_a_name_is_one_runs_at_a_time(tmp_path: Path) -> None:
    saving = Saving(tmp_path / "new", "mine")
    first, other = claimed(saving), claimed(Saving(tmp_path / "new", "other"))
    with first, other, pytest.raises(TrainingError, match="another training is writing"), claimed(saving):
        pytest.fail("two runs had the name")
    with claimed(saving):
        pass
    assert list((tmp_path / "new").iterdir()) == []


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="file/new: cannot be written"), claimed(Saving(tmp_path / "file" / "new")):
        pass
