"""Reading a signature: what each kind of parameter and result means, and what is no node."""

from __future__ import annotations

import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Optional, TypeVar, Union

import pytest
from annotated_types import Ge, Gt, Interval, Le, MultipleOf
from pydantic import Field, Strict

from graphexec.errors import NodeDefinitionError
from graphexec.node.decorator import node
from graphexec.node.fields import (
    Artifacts,
    Blocker,
    Each,
    Expand,
    Folder,
    Graph,
    Lazy,
    Name,
    NodeId,
    Progress,
    Range,
    Resource,
    Strength,
    Warn,
    Widget,
    Wire,
    WorkflowInfo,
)
from graphexec.node.read import code_digest, peel, read_tooltips, wire_name
from graphexec.node.registry import Registry
from graphexec.node.spec import MISSING, Hidden, Hook, OutputSpec
from node.nodes import input_of, read, returning, taking

if TYPE_CHECKING:
    from decimal import Decimal

T = TypeVar("T")


class ClipVision:
    """A socket type."""


class Pear:
    """Another one."""


OLD_STYLE = Optional[int]  # noqa: UP045 - what is written so is read too
OPTIONAL_LAZY: Any = Optional[Lazy[Strength]]  # noqa: UP045
MARKED_LAZY: Any = Optional[Annotated[Lazy[Strength], "x"]]  # noqa: UP045
OLD_UNION = Union[ClipVision, Pear]  # noqa: UP007


class Parts(NamedTuple):
    low: int
    many: list[Pear]
    files: Artifacts


class TestWires:
    @pytest.mark.parametrize(
        ("name", "wire"),
        [
            ("Model", "MODEL"),
            ("ClipVision", "CLIP_VISION"),
            ("ControlNet", "CONTROL_NET"),
            ("CLIPVision", "CLIP_VISION"),
            ("VAE", "VAE"),
            ("Style2Model", "STYLE2_MODEL"),
        ],
    )
    def test_one_rule_names_sockets(self, name: str, wire: str) -> None:
        assert wire_name(type(name, (), {})) == wire

    @pytest.mark.parametrize(
        ("annotation", "wire", "widget"),
        [
            (int, "INT", True),
            (float, "FLOAT", True),
            (str, "STRING", True),
            (bool, "BOOLEAN", True),
            (Literal["a", "b"], "COMBO", True),
            (Annotated[Path, Folder("loras")], "COMBO", True),
            (Any, "*", True),
            (object, "*", True),
            (T, "*", True),
            (ClipVision, "CLIP_VISION", False),
            (ClipVision | Pear, "CLIP_VISION,PEAR", False),
            (OLD_UNION, "CLIP_VISION,PEAR", False),
            (int | float, "INT,FLOAT", True),
            (int | Pear, "INT,PEAR", False),
            (Annotated[Pear, Wire("A,B")], "A,B", False),
        ],
    )
    def test_inputs(self, annotation: Any, wire: str, widget: bool) -> None:
        given = input_of(annotation)
        assert (given.wire, given.widget, given.optional) == (wire, widget, False)

    def test_a_type_variable_ties_inputs_to_outputs(self) -> None:
        @node("N")
        def run(a: T, b: list[T], c: Any) -> T:
            raise NotImplementedError

        spec = read(run)
        assert [given.type_var for given in spec.inputs.values()] == ["T", "T", None]
        assert spec.outputs == (OutputSpec("*", "*", type_var="T"),)

    def test_type_variables_of_one_name_are_one(self) -> None:
        assert input_of(TypeVar("U")).type_var == "U"


class TestNames:
    def test_an_input_may_have_a_name_that_python_has_not(self) -> None:
        @node("N")
        def run(first: int, out_0: Annotated[float, Name("out.0.")] = 1.0) -> int:
            """Blend.

            Args:
                out_0: how much.
            """
            raise NotImplementedError

        inputs = read(run).inputs
        assert list(inputs) == ["first", "out.0."]
        given = inputs["out.0."]
        assert (given.name, given.parameter, given.tooltip) == ("out.0.", "out_0", "how much.")
        assert inputs["first"].parameter == "first"

    def test_outputs_may_be_named(self) -> None:
        assert returning(Annotated[int, Name("length")]).outputs == (OutputSpec("length", "INT"),)
        both = returning(tuple[Annotated[int, Name("a")], Pear])
        assert [(output.name, output.wire) for output in both.outputs] == [("a", "INT"), ("PEAR", "PEAR")]


class TestWrappers:
    @pytest.mark.parametrize("annotation", [int | None, None | int, OLD_STYLE, Annotated[int | None, "x"]])
    def test_optional(self, annotation: Any) -> None:
        given = input_of(annotation)
        assert (given.wire, given.optional) == ("INT", True)

    def test_optional_unions_keep_their_members(self) -> None:
        given = input_of(ClipVision | Pear | None)
        assert (given.wire, given.optional) == ("CLIP_VISION,PEAR", True)

    def test_a_default_does_not_make_an_input_optional(self) -> None:
        @node("N")
        def run(a: int, b: int = 3, c: int | None = None) -> int:
            raise NotImplementedError

        a, b, c = read(run).inputs.values()
        assert (a.default, a.has_default, a.optional) == (MISSING, False, False)
        assert (b.default, b.has_default, b.optional) == (3, True, False)
        assert (c.default, c.has_default, c.optional) == (None, True, True)

    @pytest.mark.parametrize("annotation", [Lazy[Strength | None], OPTIONAL_LAZY, MARKED_LAZY])
    def test_lazy(self, annotation: Any) -> None:
        given = input_of(annotation)
        assert (given.wire, given.lazy, given.optional, given.maximum) == ("FLOAT", True, True, 100.0)

    def test_whole_lists(self) -> None:
        given = input_of(list[Annotated[int, Field(ge=1)]])
        assert (given.wire, given.whole_list, given.minimum) == ("INT", True, 1)

    def test_marks_are_kept_innermost_first(self) -> None:
        peeled = peel(Annotated[Annotated[int, "a", "b"] | None, "c"])
        assert (peeled.core, peeled.metadata, peeled.optional) == (int, ("a", "b", "c"), True)
        assert (peeled.find(str), peeled.find(float)) == ("c", None)


class TestWidgets:
    def test_the_outermost_says_how_it_looks(self) -> None:
        assert input_of(Annotated[Strength, Widget(step=0.5)]).look == Widget(step=0.5)
        assert input_of(Annotated[Strength | None, Widget(step=0.5)]).look == Widget(step=0.5)
        assert input_of(Strength).look == Widget(step=0.01)
        assert input_of(int).look == Widget()

    @pytest.mark.parametrize(
        "annotation",
        [Annotated[Strength, Range(le=2)], Annotated[Strength, Field(le=2)], Annotated[Strength | None, Field(le=2)]],
    )
    def test_the_outermost_bound_holds(self, annotation: Any) -> None:
        given = input_of(annotation)
        assert (given.minimum, given.maximum) == (-100.0, 2)

    def test_bounds_without_a_field(self) -> None:
        given = input_of(Annotated[int, Ge(1), "a note", Le(5)])
        assert (given.minimum, given.maximum) == (1, 5)
        assert (input_of(int).minimum, input_of(int).maximum) == (None, None)

    @pytest.mark.parametrize(
        "field",
        [
            Field(gt=0),
            Field(multiple_of=8),
            Field(max_length=3),
            Field(pattern="a"),
            Gt(0),
            Interval(ge=0, lt=1),
            MultipleOf(8),
            Strict(),
        ],
    )
    def test_what_is_not_checked_may_not_be_asked_for(self, field: Any) -> None:
        with pytest.raises(NodeDefinitionError, match=r"N\.x: .* is not checked"):
            input_of(Annotated[int, field])

    def test_an_optional_list_needs_a_default(self) -> None:
        with pytest.raises(NodeDefinitionError, match=r"N\.x: an optional list needs a default"):
            input_of(list[int] | None)

    def test_choices_keep_their_order_and_type(self) -> None:
        assert input_of(Literal["b", "a", 1, True]).choices == ("b", "a", 1, True)

    def test_files(self) -> None:
        given = input_of(Annotated[Path, Folder("vae", ("pixel_space",))])
        assert given.folder == Folder("vae", ("pixel_space",))
        assert given.choices is None

    def test_a_path_needs_its_folder(self) -> None:
        with pytest.raises(NodeDefinitionError, match=r"N\.x: a Path needs its folder"):
            input_of(Path)


class TestHidden:
    def test_what_the_run_supplies_is_no_input(self) -> None:
        @node("N")
        def run(
            me: NodeId,
            a: int,
            *,
            progress: Progress,
            warn: Warn,
            info: WorkflowInfo,
            graph: Graph,
            runtime: Annotated[Any, Resource("gpu")],
        ) -> Expand[int]:
            raise NotImplementedError

        spec = read(run)
        assert list(spec.inputs) == ["a"]
        assert spec.hidden == {
            "me": Hidden("node_id"),
            "progress": Hidden("progress"),
            "warn": Hidden("warn"),
            "info": Hidden("workflow"),
            "graph": Hidden("graph"),
            "runtime": Hidden("resource", "gpu"),
        }
        assert (spec.uses_node_id, spec.uses_resource) == (True, True)

    def test_a_node_without_any(self) -> None:
        spec = taking(int)
        assert (spec.hidden, spec.uses_node_id, spec.uses_resource) == ({}, False, False)

    def test_a_text_is_no_node_id(self) -> None:
        assert list(taking(str).inputs) == ["x"]


class TestResults:
    def test_one_value(self) -> None:
        spec = returning(Pear)
        assert (spec.outputs, spec.single, spec.is_output) == ((OutputSpec("PEAR", "PEAR"),), True, False)

    def test_a_tuple(self) -> None:
        spec = returning(tuple[Pear, list[int], Literal["a"]])
        assert spec.outputs == (
            OutputSpec("PEAR", "PEAR"),
            OutputSpec("INT", "INT", is_list=True),
            OutputSpec("COMBO", "COMBO"),
        )
        assert not spec.single

    def test_a_tuple_of_one(self) -> None:
        spec = returning(tuple[int])
        assert (len(spec.outputs), spec.single) == (1, False)

    def test_named(self) -> None:
        spec = returning(Parts)
        assert spec.outputs == (OutputSpec("low", "INT"), OutputSpec("many", "PEAR", is_list=True))
        assert (spec.artifact_slots, spec.is_output, spec.single) == ((2,), True, False)

    def test_artifacts_alone(self) -> None:
        spec = returning(Artifacts)
        assert (spec.outputs, spec.artifact_slots, spec.is_output, spec.single) == ((), (0,), True, True)

    def test_artifacts_take_no_slot(self) -> None:
        spec = returning(tuple[int, Artifacts, Pear])
        assert [output.wire for output in spec.outputs] == ["INT", "PEAR"]
        assert spec.artifact_slots == (1,)

    def test_artifacts_may_be_blocked(self) -> None:
        spec = returning(Artifacts | Blocker)
        assert (spec.outputs, spec.artifact_slots, spec.is_output) == ((), (0,), True)
        assert returning(tuple[int, Annotated[Artifacts, Name("files")]]).artifact_slots == (1,)

    @pytest.mark.parametrize("annotation", [Artifacts | None, list[Artifacts], tuple[int, Artifacts | Pear]])
    def test_artifacts_are_nothing_else(self, annotation: Any) -> None:
        with pytest.raises(NodeDefinitionError, match=r"N: files are returned as Artifacts"):
            returning(annotation)

    def test_nothing(self) -> None:
        spec = returning(None)
        assert (spec.outputs, spec.is_output) == ((), True)

    def test_a_blocker_is_no_type(self) -> None:
        assert returning(Pear | Blocker).outputs == (OutputSpec("PEAR", "PEAR"),)

    def test_expansion(self) -> None:
        spec = returning(Expand[tuple[int, Pear]])
        assert ([output.wire for output in spec.outputs], spec.expands) == (["INT", "PEAR"], True)
        assert not returning(int).expands

    def test_async(self) -> None:
        @node("N")
        async def run() -> int:
            raise NotImplementedError

        assert read(run).is_async
        assert not taking(int).is_async


class TestHooks:
    def test_they_name_what_they_want_to_see(self) -> None:
        def check(b: Any, input_types: Any) -> bool:
            raise NotImplementedError

        def fingerprint() -> str:
            raise NotImplementedError

        def infer(a: Any, b: Any) -> None:
            raise NotImplementedError

        @node("N", check=check, fingerprint=fingerprint, infer=infer)
        def run(a: int, b: int) -> int:
            raise NotImplementedError

        spec = read(run)
        assert spec.check == Hook(check, ("b", "input_types"))
        assert spec.checked_inputs == ("b", "input_types")
        assert spec.fingerprint == Hook(fingerprint, ())
        assert spec.infer is not None
        assert spec.infer.names == ("a", "b")

    def test_two_stars_want_to_see_all(self) -> None:
        def infer(b: Any, **others: Any) -> None:
            raise NotImplementedError

        @node("N", infer=infer)
        def run(a: int, b: int, c: int) -> int:
            raise NotImplementedError

        assert read(run).infer == Hook(infer, ("b", "a", "c"))

    def test_none_are_needed(self) -> None:
        spec = taking(int)
        assert (spec.check, spec.fingerprint, spec.infer, spec.checked_inputs) == (None, None, None, ())

    @pytest.mark.parametrize("hook", ["check", "fingerprint", "infer"])
    def test_unknown_names(self, hook: str) -> None:
        def wanting(x: int, y: int, z: int) -> bool:
            raise NotImplementedError

        with pytest.raises(NodeDefinitionError, match="N: wanting asks for y, z, which are no inputs"):
            taking(int, **{hook: wanting})

    @pytest.mark.parametrize("hook", ["fingerprint", "infer"])
    def test_only_a_check_sees_types(self, hook: str) -> None:
        def typed(input_types: Any) -> bool:
            raise NotImplementedError

        with pytest.raises(NodeDefinitionError, match="input_types"):
            taking(int, **{hook: typed})

    def test_they_are_plain_functions(self) -> None:
        async def later(x: int) -> bool:
            raise NotImplementedError

        with pytest.raises(NodeDefinitionError, match="later is async"):
            taking(int, check=later)


class TestRefusals:
    def test_a_parameter_without_annotation(self) -> None:
        @node("N")
        def run(a, b: int) -> int:  # type: ignore[no-untyped-def]  # pyright: ignore[reportMissingParameterType, reportUnknownParameterType]
            raise NotImplementedError

        with pytest.raises(NodeDefinitionError, match="N: parameter a has no type annotation"):
            read(run)  # pyright: ignore[reportUnknownArgumentType]

    def test_no_result(self) -> None:
        @node("N")
        def run(a: int):  # type: ignore[no-untyped-def]
            raise NotImplementedError

        with pytest.raises(NodeDefinitionError, match="N: the function says nothing of what it returns"):
            read(run)

    def test_parameters_without_number(self) -> None:
        @node("N")
        def run(*many: int) -> int:
            raise NotImplementedError

        @node("N")
        def run_named(**named: int) -> int:
            raise NotImplementedError

        for function, name in ((run, "many"), (run_named, "named")):
            with pytest.raises(NodeDefinitionError, match=rf"N: a node takes no \*{name}"):
                read(function)

    def test_a_mark_for_each_name_needs_two_stars(self) -> None:
        with pytest.raises(NodeDefinitionError, match=r"N: a node takes no \*x"):
            taking(Annotated[int, Each(("a", "b"), 1)])

    def test_types_that_exist_for_the_type_checker_alone(self) -> None:
        @node("N")
        def run(a: Decimal) -> int:
            raise NotImplementedError

        with pytest.raises(NodeDefinitionError, match=r"'Decimal' is not defined; annotations .* at run time"):
            read(run)

    @pytest.mark.parametrize("annotation", [dict[str, int], tuple[int, ...], 5])
    def test_what_no_workflow_can_carry(self, annotation: Any) -> None:
        with pytest.raises(NodeDefinitionError, match="N"):
            taking(annotation)

    @pytest.mark.parametrize("annotation", ["Nowhere", "T.nothing", "a text", "5 | 6 | {}"])
    def test_annotations_that_cannot_be_evaluated(self, annotation: str) -> None:
        with pytest.raises(NodeDefinitionError, match=r"N: .*; annotations of a node must exist at run time"):
            taking(annotation)

    def test_results_that_no_workflow_can_carry(self) -> None:
        with pytest.raises(NodeDefinitionError, match=r"N -> result: .* is no type that a workflow can carry"):
            returning(dict[str, int])


class TestWords:
    def test_description_and_tooltips(self) -> None:
        @node("N")
        def run(a: int, b: int, c: int) -> int:
            """Does a thing,
            and well.

            At length.

            Args:
                a: the first: of
                    many.
                b: the second.

            Raises:
                Nothing: ever.
            """
            raise NotImplementedError

        spec = read(run)
        assert spec.description == "Does a thing, and well."
        assert [given.tooltip for given in spec.inputs.values()] == ["the first: of many.", "the second.", ""]

    def test_no_docstring(self) -> None:
        spec = taking(int)
        assert (spec.description, spec.inputs["x"].tooltip) == ("", "")
        assert read_tooltips("No arguments here.") == {}

    def test_names(self) -> None:
        spec = taking(int, category="a/b", display_name="The N")
        assert (spec.name, spec.category, spec.display_name, spec.module) == ("N", "a/b", "The N", "node.nodes")
        assert taking(int).display_name == "N"

    def test_wire_order_is_parameter_order(self) -> None:
        @node("N")
        def run(z: int, a: int = 1, *, m: int, b: int | None = None) -> int:
            raise NotImplementedError

        assert list(read(run).inputs) == ["z", "a", "m", "b"]


def compiled(source: str) -> Any:
    """The function `run` of a source text."""
    module = types.ModuleType("made")
    exec(source, vars(module))
    return module.run


class TestCodeDigest:
    def test_equal_code(self) -> None:
        source = "def run(a):\n    return [a + 1.5, 'x', (lambda b: b * 2)(a)]"
        assert code_digest(compiled(source)) == code_digest(compiled(f"\n\n# moved\n{source}"))

    @pytest.mark.parametrize(
        ("before", "after"),
        [
            ("return a + 1", "return a + 2"),
            ("return a + 1", "return a - 1"),
            ("return a + 1", "return a + 1.0"),
            ("return a == 1", "return a == True"),
            ("return a.real", "return a.imag"),
            ("return len(a)", "return abs(a)"),
            ("return [b + 1 for b in a]", "return [b + 2 for b in a]"),
            ("return (lambda: a)()", "return (lambda: (lambda: a)())()"),
            ("return a in {'x', 'y'}", "return a in {'x', 'z'}"),
        ],
    )
    def test_edited_code(self, before: str, after: str) -> None:
        digests = {code_digest(compiled(f"def run(a):\n    {body}")) for body in (before, after)}
        assert len(digests) == 2

    def test_it_enters_the_version(self) -> None:
        source = "def run(x: int) -> int:\n    return x + {}"
        one, two = (read(node("N")(compiled(source.format(number)))) for number in (1, 2))
        assert one.version != two.version
        marked = read(node("N", version="2")(compiled(source.format(1))))
        assert marked.version == f"2{one.version}"

    def test_the_same_in_every_process(self) -> None:
        program = (
            "from graphexec.node.read import code_digest\n"
            "def run(a):\n    return a in {'x', 'y', 'z', 1, None} and [b for b in a if b in {'p', 'q', 'r'}]\n"
            "print(code_digest(run))"
        )
        seen = {
            subprocess.run(
                [sys.executable, "-c", program], capture_output=True, check=True, env={"PYTHONHASHSEED": seed}
            ).stdout
            for seed in ("0", "1", "2", "3")
        }
        assert len(seen) == 1


def test_native_nodes_are_read_without_torch() -> None:
    program = (
        "import sys; sys.modules.update(torch=None, safetensors=None, tokenizers=None, numpy=None)\n"
        "import importlib, pkgutil, graphexec_nodes\n"
        "for module in pkgutil.walk_packages(graphexec_nodes.__path__, 'graphexec_nodes.'):\n"
        "    importlib.import_module(module.name)\n"
        "from graphexec.node.registry import Registry\n"
        "registry = Registry.standard()\n"
        "print(sum(bool(registry[name].function) for name in registry))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) == len(Registry.standard()) > 10


def made(default: int, held: int) -> Callable[..., Any]:
    def inner(value: int, more: int = default) -> int:
        return value + more + held

    return inner


def test_defaults_and_what_a_function_holds_enter_its_digest() -> None:
    assert code_digest(made(1, 1)) == code_digest(made(1, 1))
    assert len({code_digest(made(1, 1)), code_digest(made(2, 1)), code_digest(made(1, 2))}) == 3
