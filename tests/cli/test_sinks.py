"""What a run tells, shown."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from graphexec.cli.sinks import Bars, Guarded, Lines, Record, json_lines, paths
from graphexec.graph import events
from graphexec.graph.context import CancelToken
from graphexec.graph.events import Event

RUN: list[Event] = [
    events.Planned(6, ("save",)),
    events.Cached(("load", "encode")),
    events.Started("sampler", "KSampler"),
    events.Progressed("sampler", 1, 2),
    events.Progressed("sampler", 2, 2),
    events.Warned("sampler", "mind the gap"),
    events.Finished("sampler", "KSampler", 0.5),
    events.Started("save", "SaveImage"),
    events.Finished("save", "SaveImage", 0.1),
    events.Written("save", (Path("a.png"), Path("b.png")), kept=False),
    events.Shown("show", ("one", "two")),
    events.Started("bad", "Fail"),
    events.Failed("bad", "Fail", "RuntimeError", "no luck"),
    events.Skipped("after", "bad"),
    events.Blocked("gate", "closed"),
    events.CacheProblem(Path("x.gx"), "it is damaged"),
    events.Completed(2, 2, 1, 0.62),
]


def name(node: str) -> str:
    return f"<{node}>"


def test_a_record_has_what_became_of_every_node() -> None:
    record = Record()
    for event in RUN:
        record(event)
    assert record.files == {"save": [Path("a.png"), Path("b.png")]}
    assert list(record.executed) == ["sampler", "save"]
    assert record.cached == ["load", "encode"]
    assert [failed.node for failed in record.failed] == ["bad"]
    assert record.skipped == {"after": "bad"}
    assert record.warned == [("sampler", "mind the gap"), ("gate", "closed")]
    assert record.texts == {"show": ["one", "two"]}


def test_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines(name)
    for event in RUN:
        lines(event)
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.splitlines() == [
        "2/6 kept from earlier",
        "3/6 KSampler (sampler) ...",
        "warning: <sampler>: mind the gap",
        "4/6 SaveImage (save) ...",
        "5/6 Fail (bad) ...",
        "<gate> did not run: closed",
        "warning: the cache entry x.gx is not used: it is damaged",
        "2 computed, 2 kept from earlier, 1 failed, in 0.6 s",
    ]


def test_a_node_that_starts_again_has_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines(name)
    for _ in range(3):
        lines(events.Started("lazy", "Choose"))
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_bars_show_the_graph_and_the_steps_of_a_long_node(capsys: pytest.CaptureFixture[str]) -> None:
    bars = Bars(name)
    for event in RUN:
        bars(event)
    told = capsys.readouterr()
    assert told.out == ""
    assert "<sampler>:   0%|" in told.err
    assert "KSampler (sampler)" in told.err
    assert "graph: " in told.err
    assert "6/6" in told.err
    assert "warning: <sampler>: mind the gap\n" in told.err
    assert told.err.endswith("2 computed, 2 kept from earlier, 1 failed, in 0.6 s\n")


def test_a_run_without_computation_shows_no_bar(capsys: pytest.CaptureFixture[str]) -> None:
    bars = Bars(name)
    for event in (events.Planned(1, ("a",)), events.Cached(("a",)), events.Completed(0, 1, 0, 0.01)):
        bars(event)
    assert capsys.readouterr().err == "0 computed, 1 kept from earlier, in 0.0 s\n"


def test_json_lines_and_paths(capsys: pytest.CaptureFixture[str]) -> None:
    for event in RUN:
        json_lines(sys.stdout, event)
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["event"] for each in told] == [type(event).__name__.lower() for event in RUN]
    for event in RUN:
        paths(sys.stdout, event)
    assert capsys.readouterr().out == "a.png\nb.png\n"


def test_a_sink_that_cannot_write_stops_the_run_once() -> None:
    calls: list[Event] = []

    def full(event: Event) -> None:
        calls.append(event)
        raise OSError(28, "No space left on device")

    cancel = CancelToken()
    guarded = Guarded((full,), cancel)
    for event in RUN:
        guarded(event)
    assert len(calls) == 1
    assert cancel.cancelled
    assert guarded.fault is not None
    assert guarded.fault.errno == 28
