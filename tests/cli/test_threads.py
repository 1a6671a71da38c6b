"""Torch's threads, in a process of their own or in containers that are made up."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cli.shell import environment
from graphexec.cli.threads import SPINS, cpu_quota, stay_within_quota


@pytest.mark.parametrize(
    ("given", "spins"),
    [({}, SPINS), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "PASSIVE"}, "0")],
    ids=["by itself", "spins given", "policy given"],
)
def test_threads_of_torch_wait_briefly(given: dict[str, str], spins: str) -> None:
    others = {key: value for key, value in environment().items() if key not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    done = subprocess.run(
        [sys.executable, "-c", "from graphexec.cli.threads import wait_briefly; wait_briefly(); import torch"],
        env={**others, **given, "OMP_DISPLAY_ENV": "VERBOSE"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    if "GOMP_" not in done.stderr:
        pytest.skip("this torch has no GNU OpenMP")
    assert f"GOMP_SPINCOUNT = '{spins}'" in done.stderr


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({}, None),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu.max": "200000 100000\n"}, 2),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "5000 100000\n"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        ({"cpu/cpu.cfs_quota_us": "300000\n"}, None),
    ],
)
def test_what_a_container_may_use(tmp_path: Path, files: dict[str, str], quota: int | None) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert cpu_quota(tmp_path) == quota


def eight_cpus(process: int) -> set[int]:
    """Where a process may run: on each of eight."""
    return set(range(8))


@pytest.mark.parametrize(
    ("quota", "given", "threads"),
    [(2, None, "2"), (2, "5", "5"), (8, None, None)],
    ids=["a quota", "the environment's", "more than there are"],
)
def test_there_are_no_more_threads_than_a_container_may_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: int, given: str | None, threads: str | None
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", eight_cpus)
    monkeypatch.setenv("OMP_NUM_THREADS", given or "")
    if given is None:
        monkeypatch.delenv("OMP_NUM_THREADS")
    (tmp_path / "cpu.max").write_text(f"{quota}00000 100000")
    stay_within_quota(tmp_path)
    assert os.environ.get("OMP_NUM_THREADS") == threads
