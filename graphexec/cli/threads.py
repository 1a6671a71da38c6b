"""Torch's threads: how many there are, and how they wait for each other. OpenMP reads both as torch is imported."""

from __future__ import annotations

import math
import os
from pathlib import Path

SPINS = "5000"
"""How often a thread of OpenMP looks for work before it sleeps: about a tenth of a millisecond."""

CGROUPS = Path("/sys/fs/cgroup")
QUOTAS = (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"))
"""Where control groups (version 2, and 1) say how much time a period the CPUs may give, and how long it is."""


def wait_briefly() -> None:
    """Let torch's threads sleep soon where there is nothing to do, unless the environment says how they wait.

    By itself GNU's OpenMP waits awake for milliseconds; where another program has a core, threads that wait for each
    other so take its time away from the one that is to work.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)


def stay_within_quota(cgroups: Path = CGROUPS) -> None:
    """Let torch have no more threads than a container has CPUs, unless the environment says how many.

    OpenMP knows which CPUs there are, but not how much of their time is the container's: sixty-four threads in two
    CPUs' time wait for each other most of it.
    """
    allowed = cpu_quota(cgroups)
    if allowed is not None and allowed < len(os.sched_getaffinity(0)):
        os.environ.setdefault("OMP_NUM_THREADS", str(allowed))


def cpu_quota(cgroups: Path) -> int | None:
    """How many CPUs' time there is, rounded up; None where nothing limits it."""
    for names in QUOTAS:
        try:
            quota, period = (int(part) for name in names for part in (cgroups / name).read_text().split())
        except (OSError, ValueError):  # another version of control groups, or "max"
            continue
        if quota > 0:  # version 1 says no limit as -1
            return math.ceil(quota / period)
    return None
