"""Failures of a run: of nodes, of what needs them, of files, of caches, and of who listens."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, ClassVar

import pytest
from running import NOWHERE, REGISTRY, Bench, Nodes, planned, shown, workflow

from graphexec.errors import NodeError, ResultError
from graphexec.graph import events
from graphexec.graph.cache import MemoryCache
from graphexec.graph.call import Outputs
from graphexec.graph.compile import compile as compile_workflow
from graphexec.graph.context import Context
from graphexec.graph.execute import run, run_async, stream
from graphexec.graph.folders import Folders
from graphexec.graph.plan import Plan
from graphexec.graph.result import Result
from graphexec.node.decorator import node
from graphexec.node.fields import Artifact, Artifacts, Expand, Folder, Graph, Output


class Broken(MemoryCache):
    """A host's own cache whose server is away."""

    def get(self, key: bytes) -> Outputs | None:
        raise ConnectionError("no answer")

    def put(self, key: bytes, outputs: Outputs) -> None:
        raise ConnectionError("no room")


class TestFailures:
    NODES: ClassVar[Nodes] = {
        "i": ("Int", {"value": 1}),
        "bad": ("Fail", {"value": ["i", 0], "message": "broken tooth"}),
        "after": ("Add", {"a": ["bad", 0], "b": 1}),
        "lost": shown("after", 0),
        "fine": shown("i", 0),
    }

    def test_independent_outputs_are_not_spoiled(self, bench: Bench) -> None:
        result = bench.run(self.NODES)
        assert result.texts == {"fine": ("1",)}
        assert not result.ok
        assert set(result.skipped) == {"after", "lost"}

    def test_a_node_with_one_failed_and_one_good_source_is_skipped(self, bench: Bench) -> None:
        nodes: Nodes = {
            "bad": ("Fail", {"value": 1}),
            "i": ("Int", {"value": 1}),
            "slow": ("Later", {"value": ["i", 0]}),
            "sum": ("Add", {"a": ["bad", 0], "b": ["slow", 0]}),
            "s": shown("sum", 0),
        }
        assert bench.run(nodes).skipped == ("sum", "s")

    def test_the_failure_names_the_node_and_keeps_the_cause(self, bench: Bench) -> None:
        failure = bench.run(self.NODES).failures["bad"]
        assert str(failure) == "node bad (Fail): broken tooth"
        assert isinstance(failure.__cause__, RuntimeError)

    def test_an_error_without_words_is_told_by_its_kind(self) -> None:
        assert str(NodeError("1", "Fail", MemoryError())) == "node 1 (Fail): MemoryError"

    def test_asking_for_its_value_raises_it(self, bench: Bench) -> None:
        result = bench.run(self.NODES, targets=["bad"])
        with pytest.raises(NodeError, match="broken tooth"):
            result.value("bad")

    def test_asking_for_the_value_of_what_was_skipped_raises_what_failed(self, bench: Bench) -> None:
        nodes: Nodes = {**self.NODES, "twin": ("Add", {"a": ["bad", 0], "b": 1})}
        result = bench.run(nodes, targets=["after", "twin"])
        assert result.skipped == ("after",)
        for name in ("after", "twin"):
            with pytest.raises(NodeError, match="node bad"):
                result.value(name)

    def test_asking_for_a_value_that_there_is_not_says_what_there_is(self, bench: Bench) -> None:
        result = bench.run({"i": ("Int", {"value": 1}), "h": ("Halve", {"value": ["i", 0]})}, targets=["h"])
        with pytest.raises(ResultError, match="node i left no outputs; these targets did: h"):
            result.value("i")
        for slot in (2, -1):
            with pytest.raises(ResultError, match=f"no output {slot}; it has 2, counted from 0"):
                result.value("h", slot)

    def test_a_file_whose_content_cannot_be_made_is_a_failure(self, tmp_path: Path) -> None:
        bench = Bench(tmp_path)
        result = bench.run({"bad": ("WriteInPieces", {"text": "a1"}), "fine": ("WriteInPieces", {"text": "ab"})})
        assert str(result.failures["bad"]) == "node bad (WriteInPieces): no letter: 1"
        assert [path.read_text() for path in result.files["fine"]] == ["ab"]
        assert (len(bench.seen(events.Failed)), len(bench.seen(events.Completed))) == (1, 1)

    def test_where_no_file_can_be_written_nothing_is_computed_for_one(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        nodes: Nodes = {
            "text": ("Say", {"text": "hi", "times": 1}),
            "w": ("Write", {"text": ["text", 0], "filename_prefix": "a"}),
            "i": ("Int", {"value": 1}),
            "fine": shown("i", 0),
        }
        for output in (tmp_path / "file", tmp_path / "file" / "below"):
            result = Bench(output, MemoryCache(2**20)).run(nodes)
            assert "it is a file, not a folder" in str(result.failures["w"])
            assert (result.executed, result.texts) == (("i", "fine"), {"fine": ("1",)})

    def test_files_that_are_there_still_need_no_place_to_be_written(self, cached_bench: Bench, tmp_path: Path) -> None:
        nodes: Nodes = {"w": ("Write", {"text": "hi", "filename_prefix": "a"})}
        (written,) = cached_bench.run(nodes).files["w"]
        written.parent.chmod(0o500)
        assert cached_bench.run(nodes).files["w"] == (written,)

    def test_a_model_file_that_has_gone_is_the_failure_of_its_node(self, cached_bench: Bench, tmp_path: Path) -> None:
        file = tmp_path / "loras" / "a.safetensors"
        file.parent.mkdir()
        file.write_text("weights")
        nodes: Nodes = {"r": ("Read", {"file": file.name}), "i": ("Int", {"value": 1})}
        folders = Folders.from_roots(tmp_path)
        plan = compile_workflow(workflow(nodes), registry=REGISTRY, folders=folders, targets=["r", "i"])
        file.unlink()
        result = run(plan, cached_bench.context)
        assert isinstance(result.failures["r"].__cause__, FileNotFoundError)
        assert result.value("i") == 1
        file.write_text("others")
        assert run(plan, cached_bench.context).value("r") == "others"

    @pytest.mark.parametrize("kind", [events.Planned, events.Started, events.Progressed, events.Warned])
    def test_what_a_sink_raises_is_no_failure_of_a_node(self, bench: Bench, kind: type[events.Event]) -> None:
        def on_event(event: events.Event) -> None:
            bench.events.append(event)
            if isinstance(event, kind):
                raise OSError("nobody listens") from LookupError("gone home")

        plan = planned({"l": ("Long", {"steps": 2}), "m": ("Mutter", {"text": "hm"})}, targets=["l", "m"])
        with pytest.raises(OSError, match="nobody listens") as raised:
            run(plan, replace(bench.context, on_event=on_event))
        assert isinstance(raised.value.__cause__, LookupError)
        assert isinstance(bench.events[-1], kind)

    @pytest.mark.parametrize("what", ["few", "number"])
    def test_a_result_of_the_wrong_shape_is_a_failure(self, bench: Bench, what: str) -> None:
        result = bench.run({"b": ("Bad", {"what": what}), "s": shown("b", 0)})
        assert "declares 2 outputs" in str(result.failures["b"])

    def test_warnings_of_nodes_are_told(self, bench: Bench) -> None:
        bench.run({"m": ("Mutter", {"text": "hm"}), "s": shown("m", 0)})
        assert bench.seen(events.Warned) == [events.Warned("m", "hm")]

    def test_a_cache_that_raises_is_told_and_harms_no_run(self, tmp_path: Path) -> None:
        bench = Bench(tmp_path, Broken(0))
        nodes: Nodes = {"i": ("Int", {"value": 5}), "show": shown("i", 0)}
        assert bench.run(nodes).texts == {"show": ("5",)}
        assert {problem.reason for problem in bench.seen(events.CacheProblem)} == {
            "Broken raised ConnectionError: no answer",
            "Broken raised ConnectionError: no room",
        }


class Touchy:
    """Is not to be compared, as an array of numbers is not."""

    def __eq__(self, other: object) -> bool:
        raise ValueError("which of them?")

    def __hash__(self) -> int:
        return id(self)


@node("Careless")
def careless(how: str, graph: Graph) -> Expand[Artifacts]:
    """Hands back what a type checker would refuse."""
    made: dict[str, Callable[[], Any]] = {
        "a list of texts": lambda: Artifacts(text=["a"]),  # type: ignore[arg-type]
        "one text": lambda: Artifacts(text="abc"),  # type: ignore[arg-type]
        "a number": lambda: Artifacts(text=(1,)),  # type: ignore[arg-type]
        "one file": lambda: Artifacts(Artifact(b"")),  # type: ignore[arg-type]
        "bytes for a file": lambda: Artifacts((b"",)),  # type: ignore[arg-type]
        "text for bytes": lambda: Artifacts((Artifact("x"),)),  # type: ignore[arg-type]
        "no graph": lambda: Expand(None),  # type: ignore[arg-type]
        "one result": lambda: Expand(graph, graph.node("Int", value=1)),  # type: ignore[arg-type]
        "an output in quotes": lambda: Expand(graph, (Output(graph.node("Int", value=1).node, "0"),)),  # type: ignore[arg-type]
        "an output before the first": lambda: Expand(  # pyright: ignore[reportUnknownLambdaType]
            graph, (graph.node("Show", source=Output(graph.node("Int", value=1).node, -1)),)
        ),
        "a place of nothing": lambda: Output(None),  # type: ignore[arg-type]
        "a node of no class": lambda: graph.node(None),  # type: ignore[arg-type]
        "a number for an id": lambda: graph.node("Int", id=7),  # type: ignore[arg-type]
        "what cannot be compared": lambda: Expand(  # pyright: ignore[reportUnknownLambdaType]
            graph, (graph.node("Scale", value=1, mode=Touchy()),)
        ),
    }
    return made[how]()


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("a list of texts", "Artifacts.text must be of type tuple, not list"),
        ("one text", "Artifacts.text must be of type tuple, not str"),
        ("a number", "an item of Artifacts.text must be of type str, not int"),
        ("one file", "Artifacts.files must be of type tuple, not Artifact"),
        ("bytes for a file", "an item of Artifacts.files must be of type Artifact, not bytes"),
        ("text for bytes", "the content of a file must be of type bytes, not str"),
        ("no graph", "what a node expands to must be of type Graph, not NoneType"),
        ("one result", "what stands for its result must be of type tuple, not Output"),
        ("an output in quotes", "the output of a place in an expansion must be of type int, not str"),
        ("an output before the first", "Show.source in the expansion is linked to output -1; there are 1"),
        ("a place of nothing", "the node of a place in an expansion must be of type str, not NoneType"),
        ("a node of no class", "the class of a node in an expansion must be of type str, not NoneType"),
        ("a number for an id", "the id of a node in an expansion must be of type str, not int"),
        ("what cannot be compared", "which of them?"),
    ],
)
def test_what_has_the_wrong_shape_is_the_failure_of_its_node_alone(how: str, message: str, tmp_path: Path) -> None:
    pack = ModuleType("pack")
    vars(pack)["careless"] = careless
    nodes = workflow({"bad": ("Careless", {"how": how}), "i": ("Int", {"value": 1}), "fine": shown("i", 0)})
    plan = compile_workflow(nodes, registry=REGISTRY.with_nodes(pack), folders=Folders.from_roots())
    result = run(plan, Context(output=tmp_path))
    assert result.texts == {"fine": ("1",)}
    assert str(result.failures["bad"]) == f"node bad (Careless): {message}"


def beside_it(path: Path) -> list[Path]:
    """All that lies in the same folder."""
    return [other for other in path.parent.iterdir() if other != path]


@node("ReadAll")
def read_all(file: Annotated[Path, Folder("loras", beside=beside_it)]) -> str:
    """Reads a file."""
    return file.read_text()


def test_a_folder_that_is_gone_is_the_failure_of_who_reads_it(tmp_path: Path) -> None:
    pack = ModuleType("pack")
    vars(pack)["read_all"] = read_all
    shelf = tmp_path / "loras" / "shelf"
    shelf.mkdir(parents=True)
    (shelf / "one.safetensors").write_text("one")
    nodes = workflow({"a": ("ReadAll", {"file": "shelf/one.safetensors"}), "s": shown("a", 0), "i": shown("n", 0)})
    nodes |= workflow({"n": ("Int", {"value": 1})})
    folders = Folders.from_roots(tmp_path)
    plan = compile_workflow(nodes, registry=REGISTRY.with_nodes(pack), folders=folders)
    context = Context(cache=MemoryCache(10_000), output=tmp_path)
    assert run(plan, context).texts == {"s": ("one",), "i": ("1",)}
    shelf.rename(tmp_path / "elsewhere")
    result = run(plan, context)
    assert (list(result.failures), result.texts) == (["a"], {"i": ("1",)})


class Mute(Exception):
    """Fails at its own words."""

    def __str__(self) -> str:
        raise self


@node("Silent")
def silent() -> int:
    """Fails with an error that fails at its own words."""
    raise Mute


@node("LaterSilent")
async def later_silent() -> int:
    """The same, asynchronously."""
    raise Mute


def test_an_error_that_fails_at_its_own_words_is_the_failure_of_its_node_alone() -> None:
    pack = ModuleType("pack")
    vars(pack).update(silent=silent, later_silent=later_silent)
    nodes = workflow({"a": ("Silent", {}), "b": ("LaterSilent", {}), "i": ("Int", {"value": 1}), "s": shown("i", 0)})
    plan = compile_workflow(nodes, registry=REGISTRY.with_nodes(pack), folders=NOWHERE, targets=["a", "b", "s"])
    result = run(plan)
    said = "Mute, whose own words cannot be had: its __str__ raised Mute"
    assert {name: str(error.__cause__) for name, error in result.failures.items()} == {"a": said, "b": said}
    assert result.texts == {"s": ("1",)}


@node("Quit")
def quit_all() -> int:
    """Wants to end the program, as the code of scripts does."""
    sys.exit("no such option")


@node("LaterQuit")
async def later_quit() -> int:
    """The same, asynchronously."""
    sys.exit(2)


def everywhere(plan: Plan) -> list[Result]:
    """What comes of a plan, however it is run."""

    async def later() -> list[Result]:
        return [run(plan), await run_async(plan)]

    streamed = stream(plan)
    with pytest.raises(StopIteration) as over:
        while True:
            next(streamed)
    return [run(plan), over.value.value, *asyncio.run(later())]


def test_a_node_that_would_end_the_program_has_failed_and_that_is_all() -> None:
    pack = ModuleType("pack")
    vars(pack).update(quit_all=quit_all, later_quit=later_quit)
    nodes = workflow({"a": ("Quit", {}), "b": ("LaterQuit", {}), "i": ("Int", {"value": 1}), "s": shown("i", 0)})
    plan = compile_workflow(nodes, registry=REGISTRY.with_nodes(pack), folders=NOWHERE, targets=["a", "b", "s"])
    for result in everywhere(plan):
        assert "its code called sys.exit('no such option')" in str(result.failures["a"])
        assert "sys.exit(2)" in str(result.failures["b"])
        assert result.texts == {"s": ("1",)}


@pytest.mark.parametrize("kind", [events.Planned, events.Progressed])
def test_who_listens_may_end_the_program(kind: type[events.Event]) -> None:
    def on_event(event: events.Event) -> None:
        if isinstance(event, kind):
            sys.exit(7)

    plan = planned({"l": ("Long", {"steps": 3})}, targets=["l"])
    with pytest.raises(SystemExit) as ended:
        run(plan, Context(on_event=on_event))
    assert ended.value.code == 7
