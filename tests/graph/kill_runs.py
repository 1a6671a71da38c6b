"""Runs a workflow in a process of its own, kills it at a random moment, and looks at what is left; many times.

Usage: kill_runs.py FOLDER TIMES SEED. Prints one JSON document. A script, so that it can fork from a process without
threads.
"""

from __future__ import annotations

import json
import os
import random
import select
import signal
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from running import NOWHERE, REGISTRY, workflow

from graphexec.graph.cache import TieredCache
from graphexec.graph.compile import compile as compile_workflow
from graphexec.graph.context import Context
from graphexec.graph.execute import run
from graphexec.graph.store import DiskStore

LONGEST_SECONDS = 0.03

NODES: dict[str, tuple[str, dict[str, Any]]] = {}
for place in range(6):
    NODES[f"say{place}"] = ("Say", {"text": f"word {place} ", "times": 20_000})
    NODES[f"write{place}"] = ("Write", {"text": [f"say{place}", 0], "filename_prefix": "note"})
PLAN = compile_workflow(workflow(NODES), registry=REGISTRY, folders=NOWHERE)
EXPECTED = sorted(f"word {place} " * 20_000 for place in range(6))


def run_once(folder: Path) -> None:
    cache = TieredCache(None, DiskStore(folder / "cache"))
    run(PLAN, Context(cache=cache, output=folder / "output"))


def killed_run(folder: Path, delay: float) -> bool:
    """Start a run, kill it after `delay` seconds; False if it was done before."""
    done, tell = os.pipe()
    child = os.fork()
    if child == 0:
        run_once(folder)
        os.write(tell, b"!")
        os._exit(0)
    os.close(tell)
    select.select([done], [], [], delay)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    os.close(done)
    return os.WIFSIGNALED(status)


def texts(folder: Path) -> list[str]:
    return sorted(path.read_text() for path in (folder / "output").glob("note_*.txt"))


def check(folder: Path) -> list[str]:
    """What is wrong after a killed run, and after the run that follows it."""
    wrong: list[str] = []
    store = DiskStore(folder / "cache")
    if store.verify().dropped:
        wrong.append("a cache entry is damaged")
    if any(text not in EXPECTED for text in texts(folder)):
        wrong.append("an output is damaged")
    run_once(folder)
    if sorted(set(texts(folder))) != EXPECTED:
        wrong.append("the rerun differs")
    return wrong


def main() -> None:
    folder, times, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    chance = random.Random(seed)
    killed, wrong, partial = 0, list[str](), 0
    for turn in range(times):
        place = folder / str(turn)
        place.mkdir()
        killed += killed_run(place, chance.random() * LONGEST_SECONDS)
        partial += 0 < len(texts(place)) < len(EXPECTED)
        wrong += check(place)
    print(json.dumps({"killed": killed, "partial": partial, "wrong": wrong}))


main()
