"""What something was measured on, in words."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def described(packages: Sequence[str], *others: str) -> str:
    """Processor, memory, system, versions of packages and of `others`, and how busy the machine was."""
    versions = ", ".join([*(f"{name} {importlib.metadata.version(name)}" for name in packages), *others])
    kernel = f"{platform.system()} {platform.release().split('-')[0]}"
    load = ", ".join(f"{figure:.1f}" for figure in os.getloadavg())
    return (
        f"{processor()}, {usable_cores()} cores, {memory() / 2**30:.0f} GB; {kernel}; "
        f"Python {platform.python_version()}, {versions}. Load average when it began: {load}."
    )


def processor() -> str:
    """The name of the processor."""
    info = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*:\s*(.+)$", info.read_text("utf-8"), re.MULTILINE) if info.exists() else None
    return found[1] if found else platform.processor() or platform.machine()


def usable_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def memory() -> int:
    """Bytes of memory."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def hyperfine() -> str:
    """Name and version of hyperfine."""
    return subprocess.run(["hyperfine", "--version"], capture_output=True, check=True, text=True).stdout.strip()
