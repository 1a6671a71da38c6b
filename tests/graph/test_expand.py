"""Expansion: what is inside runs, is checked, is kept and is told as part of the node that it came from."""

from __future__ import annotations

from pathlib import Path

import pytest
from running import REGISTRY, Bench, Nodes, shown, workflow

from graphexec.graph import events
from graphexec.graph.cache import MemoryCache
from graphexec.graph.compile import compile as compile_workflow
from graphexec.graph.execute import run
from graphexec.graph.folders import Folders


class TestGraphs:
    @pytest.mark.parametrize(
        ("what", "message"),
        [("slot", "there are 1"), ("type", "takes INT, not STRING"), ("place", "'nowhere'"), ("twice", "called 'x'")],
    )
    def test_results_and_names_are_checked(self, bench: Bench, what: str, message: str) -> None:
        result = bench.run({"b": ("Misplaced", {"what": what}), "s": shown("b", 0)})
        assert message in str(result.failures["b"])

    @pytest.mark.parametrize("how", ["made", "there"])
    def test_a_list_is_a_list(self, bench: Bench, how: str) -> None:
        nodes: Nodes = {"l": ("ListInside", {"n": 3, "how": how}), "s": shown("l", 0)}
        assert bench.run(nodes).texts == {"s": ("0", "1", "2")}

    def test_nothing_leaves_an_optional_input_out(self, bench: Bench) -> None:
        assert bench.run({"i": ("SayInside", {}), "s": shown("i", 0)}).texts == {"s": ("hi",)}

    def test_an_optional_input_without_a_default_is_none(self, bench: Bench) -> None:
        assert bench.run({"i": ("GivenInside", {}), "s": shown("i", 0)}).texts == {"s": ("None None",)}

    def test_each_call_has_a_graph_of_its_own(self, bench: Bench) -> None:
        nodes: Nodes = {
            "r": ("Range", {"n": 3}),
            "n": ("NoteInside", {"text": "a", "value": ["r", 0]}),
            "s": shown("n", 0),
        }
        result = bench.run(nodes)
        assert result.texts == {"s": ("0", "1", "2")}
        assert len(result.files["n"]) == 3


class TestHandingThrough:
    def nodes(self, *, fail: bool = False) -> Nodes:
        return {
            "p": ("Plant", {}),
            "h": ("HandThrough", {"fruit": ["p", 0], "fail": fail}),
            "s": shown("h", 0),
        }

    def test_a_value_stays_until_the_last_that_uses_it_inside(self, bench: Bench) -> None:
        assert bench.run(self.nodes()).texts == {"s": ("3",)}
        assert len(set(bench.log) - {"Choose", "Show 3"}) == 1

    def test_a_failure_inside_is_the_nodes(self, bench: Bench) -> None:
        result = bench.run(self.nodes(fail=True))
        assert list(result.failures) == ["h"]
        assert result.skipped == ("s",)
        assert len(bench.seen(events.Failed)) == 1

    def test_two_failures_inside_are_one(self, bench: Bench) -> None:
        result = bench.run({"f": ("FailTwice", {}), "s": shown("f", 0), "t": ("Show", {"source": 1})})
        assert len(bench.seen(events.Failed)) == 1
        assert result.skipped == ("s",)
        assert result.texts == {"t": ("1",)}


class TestKeeping:
    def note(self, text: str = "hi") -> Nodes:
        return {
            "n": ("NoteInside", {"text": text, "value": 4}),
            "a": ("Add", {"a": ["n", 0], "b": 1}),
            "s": shown("a", 0),
        }

    @pytest.mark.parametrize("text", ["hi", "deep hi"])
    def test_files_inside_are_in_place_after_a_rerun(self, cached_bench: Bench, text: str) -> None:
        first = cached_bench.run(self.note(text))
        (path,) = first.files["n"]
        path.unlink()
        again = cached_bench.run(self.note(text))
        assert again.files == first.files
        assert path.read_text() == "hi"

    @pytest.mark.parametrize("text", ["hi", "deep hi"])
    def test_what_follows_is_kept(self, cached_bench: Bench, text: str) -> None:
        cached_bench.run(self.note(text))
        result = cached_bench.run(self.note(text))
        assert cached_bench.log == []
        assert result.executed == ("n",)
        assert result.cached == ("a", "s")
        assert result.texts == {"s": ("5",)}

    def test_a_fingerprint_inside_decides(self, cached_bench: Bench) -> None:
        nodes: Nodes = {"w": ("WatchInside", {"path": "never"}), "s": shown("w", 0)}
        cached_bench.run(nodes)
        cached_bench.run(nodes)
        assert cached_bench.log == ["Watch never", "Show never"]

    def test_a_file_inside_decides(self, tmp_path: Path) -> None:
        bench = Bench(cache=MemoryCache(2**20))
        (tmp_path / "loras").mkdir()
        file = tmp_path / "loras" / "a.safetensors"
        nodes: Nodes = {"r": ("ReadInside", {"name": "a.safetensors"}), "s": shown("r", 0), "t": shown("r", 0)}
        for text in ("one", "two", "two"):
            file.write_text(text)
            folders = Folders.from_roots(tmp_path)
            plan = compile_workflow(workflow(nodes), registry=REGISTRY, folders=folders)
            result = run(plan, bench.context)
            assert result.texts["s"] == (text,)
        assert result.cached == ("s",)

    def test_a_file_inside_that_is_not_there_is_the_nodes_failure(self, cached_bench: Bench) -> None:
        result = cached_bench.run({"r": ("ReadInside", {"name": "b.safetensors"}), "s": shown("r", 0)})
        assert "b.safetensors" in str(result.failures["r"])

    def test_a_block_inside_is_told_again(self, cached_bench: Bench) -> None:
        nodes: Nodes = {"g": ("GateInside", {"open": False, "message": "shut"}), "s": shown("g", 0)}
        for _ in range(2):
            assert cached_bench.run(nodes).ok
            assert cached_bench.seen(events.Blocked) == [events.Blocked("s", "shut")]

    def test_settings_enter_the_key_of_what_expands(self, cached_bench: Bench) -> None:
        nodes: Nodes = {"l": ("ListInside", {"n": 2, "how": "made"})}
        cached_bench.run(nodes, ["l"])
        plan = compile_workflow(workflow(nodes), registry=REGISTRY, folders=Folders.from_roots(), targets=["l"])
        keys = [plan.keys({}, settings)["l"] for settings in (b"cpu", b"cuda")]
        assert keys[0] != keys[1]
