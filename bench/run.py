"""Measure all that docs/benchmarks.md shows, and write it there: `python bench/run.py`.

Needs hyperfine on the PATH, pytest-benchmark and dask.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import graphs
from machine import described
from machine import hyperfine as installed_hyperfine
from report import Row

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "benchmarks.md"
BEGIN, END = "<!-- measured: begin -->\n", "<!-- measured: end -->\n"
PACKAGES = ("networkx", "pydantic", "torch", "safetensors", "pytest-benchmark", "dask")
SIZES = (100, 1000, 10_000)

LIBRARIES = "import networkx, pydantic"
NEEDED = "import networkx; from pydantic import Field"
GRAPHEXEC = [str(Path(sys.executable).with_name("graphexec"))]
VALIDATE = [*GRAPHEXEC, "validate", "--skip-files", "tests/data/broken/b52_base_ok.json"]
ENVIRONMENT = {
    name: value
    for name, value in os.environ.items()
    # Byte code is compiled by an installation; models and caches of the user's are not what is measured.
    if name not in ("PYTHONDONTWRITEBYTECODE", "GRAPHEXEC_MODELS", "GRAPHEXEC_CACHE")
}


@dataclass(frozen=True, slots=True)
class Sample:
    """Several measurements of one thing; seconds or bytes."""

    median: float
    low: float
    high: float

    def each(self, parts: int) -> Sample:
        """The same for one of so many parts."""
        return Sample(self.median / parts, self.low / parts, self.high / parts)

    def shown(self, scale: float, unit: str) -> str:
        """Median, and the range in brackets."""
        values = (f"{value * scale:.3g}" for value in (self.median, self.low, self.high))
        return "{} {unit} ({}–{})".format(*values, unit=unit)


Samples = Mapping[str, Sample]


def main() -> None:
    """Measure, print and write."""
    if shutil.which("hyperfine") is None:
        raise SystemExit("bench/run.py: hyperfine is not on the PATH; install it (apt-get install hyperfine)")
    machine = described(PACKAGES, installed_hyperfine())
    with tempfile.TemporaryDirectory() as folder:
        samples = {**processes(Path(folder)), **in_process(Path(folder))}
    text = "\n".join([machine, *bars(samples), *peers(samples)]) + "\n"
    print(text)
    before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}", "utf-8")


# Whole processes


def processes(folder: Path) -> dict[str, Sample]:
    """Commands from start to end, by hyperfine, and the most memory that one held."""
    cache, output = str(folder / "cache"), str(folder / "output")
    run = [*GRAPHEXEC, "run", "workflows/lora.json", "--cache-dir", cache, "--output", output, "--quiet"]
    commands = {
        "bare": [sys.executable, "-c", LIBRARIES],
        "needed": [sys.executable, "-c", NEEDED],
        "validate": VALIDATE,
        "large": [*VALIDATE[:-1], str(long_workflow(folder))],
    }
    found = hyperfine(folder, commands, "--warmup=3", "--runs=25")
    found |= hyperfine(folder, {"first": run}, "--warmup=1", "--runs=7", f"--prepare=rm -rf {cache} {output}")
    found |= hyperfine(folder, {"again": run}, "--warmup=2", "--runs=15")
    return {**found, "memory": sample([peak_memory(VALIDATE) for _ in range(7)])}


def long_workflow(folder: Path) -> Path:
    """A file of 10,000 nodes."""
    path = folder / "long.json"
    path.write_text(json.dumps(graphs.lora_chain(10_000)), "utf-8")
    return path


def hyperfine(folder: Path, commands: Mapping[str, Sequence[str]], *options: str) -> dict[str, Sample]:
    """How long commands take, without a shell around them."""
    report = folder / "hyperfine.json"
    words = [shlex.join(command) for command in commands.values()]
    execute(["hyperfine", "-N", "--style=none", "--output=null", f"--export-json={report}", *options, *words])
    results = json.loads(report.read_bytes())["results"]
    return {name: sample(result["times"]) for name, result in zip(commands, results, strict=True)}


def peak_memory(command: Sequence[str]) -> float:
    """The largest resident set of a process, in bytes; this one is smaller, which a forked process starts from."""
    process = subprocess.Popen(command, cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"bench/run.py: {shlex.join(command)} failed")
    return usage.ru_maxrss * (1024.0 if sys.platform == "linux" else 1.0)


def execute(command: Sequence[str]) -> None:
    """Run a command in the repository; ends with what it said if it fails."""
    done = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"bench/run.py: {shlex.join(command)} failed:\n{done.stdout}{done.stderr}")


def sample(values: Sequence[float]) -> Sample:
    """Measurements in short."""
    return Sample(median(values), min(values), max(values))


# In process


def in_process(folder: Path) -> dict[str, Sample]:
    """What pytest-benchmark measures, each file of it in a process of its own; low and high are the quartiles."""
    found: dict[str, Sample] = {}
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        report = folder / f"{path.stem}.json"
        execute([sys.executable, "-m", "pytest", str(path), "-p", "no:cacheprovider", f"--benchmark-json={report}"])
        for result in json.loads(report.read_bytes())["benchmarks"]:
            stats: dict[str, Any] = result["stats"]
            found[result["name"]] = Sample(stats["median"], stats["q1"], stats["q3"])
    return found


# The tables


def bars(samples: Samples) -> list[str]:
    """Everything that there is a bar for."""
    head = ["", "| what | median (range) | at most | met |", "|---|---|---|---|"]
    return head + [str(row) for row in (*process_rows(samples), *plan_rows(samples), *run_rows(samples))]


def process_rows(samples: Samples) -> list[Row]:
    validate, bare, needed, large = (samples[name].median for name in ("validate", "bare", "needed", "large"))
    return [
        limited("`graphexec validate`, 9 nodes, a new process", samples["validate"], "ms", 400),
        difference(f"the same above `{LIBRARIES}` ({bare * 1e3:.0f} ms)", validate - bare, 100),
        difference(f"the same above `{NEEDED}` ({needed * 1e3:.0f} ms)", validate - needed, None),
        limited("the same, memory at most", samples["memory"], "MB", 80),
        difference(
            "`graphexec validate`, 10,000 LoRA loaders in a chain, above that of 9 nodes", large - validate, 400
        ),
        limited("`graphexec run workflows/lora.json`, the first time", samples["first"], "s", 15),
        limited("the same again in a new process, all of it cached", samples["again"], "s", 0.6),
    ]


def plan_rows(samples: Samples) -> list[Row]:
    rows: list[Row] = []
    for shape, name in (("chain", "a chain"), ("lora_chain", "a chain of LoRA loaders (2 links, 3 values)")):
        small, large = samples[f"test_plan[{shape}-10000]"], samples[f"test_plan[{shape}-100000]"]
        ratio = large.median / small.median
        rows += [
            limited(f"read, check and plan {name}, 10,000 nodes", small, "s", 0.4),
            limited(f"the same, 100,000 nodes ({ratio:.1f} times)", large, "s", None),
            Row("100,000 nodes to 10,000", f"{ratio:.1f} times", "12 times", ratio <= 12),
        ]
    looked = samples["test_plan_with_files"].each(50)
    return [*rows, limited("check a LoRA loader whose file was not read before, each of 50", looked, "ms", None)]


def run_rows(samples: Samples) -> list[Row]:
    rows = [
        limited(
            f"run {size:,} trivial nodes ({shape}), each", samples[f"test_run[{shape}-{size}]"].each(size), "µs", 30
        )
        for shape in ("chain", "halves")
        for size in SIZES
    ]
    rows += [
        limited(
            f"cached rerun of {size:,} nodes, {wanted}, each", samples[f"test_rerun[{key}-{size}]"].each(size), "µs", 15
        )
        for key, wanted in (("last", "one of them asked for"), ("all", "all of them asked for"))
        for size in SIZES
    ]
    rows += [
        limited(f"64 KB from the disk cache, {kind}", samples[f"test_disk_hit[{kind}]"], "µs", 150)
        for kind in ("bytes", "tensor")
    ]
    return rows


def peers(samples: Samples) -> list[str]:
    """The executor beside dask's schedulers, on the same graphs in the same run."""
    head = "| graph | nodes | graphexec, µs a node | dask, synchronous | dask, threads | dask to graphexec |"
    lines = ["", head, "|---|---|---|---|---|---|"]
    for shape in ("chain", "halves"):
        for size in SIZES:
            own = samples[f"test_run[{shape}-{size}]"].median
            theirs = [samples[f"test_dask[{shape}-{kind}-{size}]"].median for kind in ("synchronous", "threaded")]
            costs = " | ".join(f"{seconds / size * 1e6:.1f}" for seconds in (own, *theirs))
            ratios = " and ".join(f"{seconds / own:.1f}" for seconds in theirs)
            lines.append(f"| {shape} | {size:,} | {costs} | {ratios} times |")
    return lines


SCALES = {"s": 1.0, "ms": 1e3, "µs": 1e6, "MB": 1e-6}


def limited(what: str, measured: Sample, unit: str, bar: float | None) -> Row:
    """A row whose median is to be at most `bar` of its unit."""
    shown = measured.shown(SCALES[unit], unit)
    if bar is None:
        return Row(what, shown)
    return Row(what, shown, f"{bar:g} {unit}", measured.median * SCALES[unit] <= bar)


def difference(what: str, seconds: float, bar: float | None) -> Row:
    """A row for the difference of two medians, in ms."""
    shown = f"{seconds * 1e3:.0f} ms"
    return Row(what, shown) if bar is None else Row(what, shown, f"{bar:g} ms", seconds * 1e3 <= bar)


if __name__ == "__main__":
    main()
