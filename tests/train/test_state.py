# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from train.toy import Toy, of_steps

from graphexec.train.faults import StateError
from graphexec.train.state import read_state, refuse_difference, write_state
from graphexec.train.trees import join, split

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.integers() | st.text(), inner) | st.tuples(inner, inner),
    max_leaves=8,
)


@given(VALUES)
def test_values_come_back_as_they_were(value: object) -> None:
    assert join(split(value, "", {}), {}) == value


def test_tensors_come_back_as_they_were(tmp_path: Path) -> None:
    shared = torch.arange(4, dtype=torch.uint8)
    values = {
        "a": [shared, (shared, torch.tensor(0.1, dtype=torch.float64))],
        "b": {0: torch.zeros(0), "t": shared[1:]},
    }
    write_state(tmp_path / "new" / "state", values, {})
    found = read_state(tmp_path / "new" / "state").values
    torch.testing.assert_close(found, values, rtol=0, atol=0)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["state"]


def test_tensors_wait_for_their_turn_where_they_are() -> None:
    value, tensors = torch.zeros(3), dict[str, torch.Tensor]()
    split({"a": value}, "", tensors)
    assert [each.data_ptr() for each in tensors.values()] == [value.data_ptr()]


def test_what_cannot_be_saved_is_an_error() -> None:
    with pytest.raises(StateError, match=r"a\.1: a set cannot"):
        split([1, {2}], "a", {})


def test_files_that_are_no_states_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no")
    for name in ("text", "missing"):
        with pytest.raises(StateError, match=f"{name}: the state cannot be read"):
            read_state(tmp_path / name)
    save_file({"a": torch.zeros(1)}, tmp_path / "lora")
    with pytest.raises(StateError, match="no training state"):
        read_state(tmp_path / "lora")


def test_differences_are_listed() -> None:
    refuse_difference({"a": {"b": [1, 2]}}, {"a": {"b": (1, 2)}}, Path("x"))
    with pytest.raises(StateError) as caught:
        refuse_difference({"a": {"b": 1, "c": 2}, "d": None}, {"a": {"b": 1}, "d": 0.5}, Path("x"))
    assert "  a.c: 2 then, not set now\n  d: null then, 0.5 now\n" in str(caught.value)


KILLED = """
import os, signal, sys
from pathlib import Path
from train.toy import Toy, of_steps

toy = Toy(of_steps(12, ema_decay=0.9))
for moment in toy.loop.run():
    if moment.step == 8:
        print("running", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    if moment.step % 3 == 0 and not moment.ends_epoch:
        toy.loop.save(Path(sys.argv[1]))
"""


def test_a_killed_run_goes_on_from_its_last_state(tmp_path: Path) -> None:
    state = tmp_path / "state"
    environment = {"PYTHONPATH": ":".join(sys.path), "OMP_NUM_THREADS": "1"}
    process = subprocess.run(
        [sys.executable, "-c", KILLED, str(state)], check=False, env=environment, capture_output=True, text=True
    )
    assert process.returncode == -signal.SIGKILL, process.stderr
    assert process.stdout == "running\n"
    resumed, whole = Toy(of_steps(12, ema_decay=0.9)), Toy(of_steps(12, ema_decay=0.9))
    resumed.loop.resume(state)
    assert resumed.loop.step == 6
    resumed.run()
    whole.run()
    assert resumed.weights == whole.weights
    with resumed.loop.averaged(), whole.loop.averaged():
        assert resumed.weights == whole.weights
