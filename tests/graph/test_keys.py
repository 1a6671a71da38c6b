"""Keys: two nodes share one exactly when they will return the same."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from running import NOWHERE, REGISTRY, Nodes, planned, workflow

from graphexec.graph.compile import compile as compile_workflow
from graphexec.graph.keys import Unhashable, canonical, node_key
from graphexec.node.decorator import node
from graphexec.node.registry import Registry

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.builds(Path, st.text("ab/"))
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=2) | st.integers(0, 1) | st.booleans(), inner, max_size=3)
    ),
    max_leaves=6,
)
LOOKALIKES: st.SearchStrategy[Any] = st.sampled_from(
    [0, 0.0, -0.0, False, None, "", b"", (), [], {}, 1, 1.0, True, "1", b"1", Path("1"), [1], (1,)]
)
DIGEST = b"d" * 32


def same(one: Any, two: Any) -> bool:
    """Equal in value and type, all the way down; NaN is NaN, and 0.0 is not -0.0."""
    if type(one) is not type(two):
        return False
    if isinstance(one, float):
        return repr(one) == repr(two)
    if isinstance(one, list | tuple):
        return len(one) == len(two) and all(map(same, one, two))  # pyright: ignore[reportUnknownArgumentType]
    if isinstance(one, dict):
        return _same_members(one, two)  # pyright: ignore[reportUnknownArgumentType]
    return one == two


def _same_members(one: Mapping[Any, Any], two: Mapping[Any, Any]) -> bool:
    mine, others = ({(type(key).__name__, key): value for key, value in each.items()} for each in (one, two))
    return mine.keys() == others.keys() and all(same(value, others[key]) for key, value in mine.items())


class TestCanonical:
    @given(VALUES | LOOKALIKES, VALUES | LOOKALIKES)
    def test_equal_iff_equal_in_value_and_type(self, one: Any, two: Any) -> None:
        assert (canonical(one) == canonical(two)) == same(one, two)

    @given(st.lists(LOOKALIKES, max_size=3), st.lists(LOOKALIKES, max_size=3))
    def test_lists_of_lookalikes(self, one: list[Any], two: list[Any]) -> None:
        assert (canonical(one) == canonical(two)) == same(one, two)

    def test_one_and_true_are_three_values(self) -> None:
        assert len({canonical(value) for value in (1, 1.0, True, "1")}) == 4
        assert len({canonical({"a": [value]}) for value in (0, 0.0, False, None)}) == 4

    def test_what_stands_side_by_side_does_not_run_together(self) -> None:
        assert canonical(["ab", "c"]) != canonical(["a", "bc"])
        assert canonical([["a"], "b"]) != canonical([["a", "b"]])
        assert canonical({"a": "b", "c": "d"}) != canonical({"a": "d", "c": "b"})

    def test_the_order_of_a_mapping_does_not_matter(self) -> None:
        assert canonical({"a": 1, "b": 2}) == canonical({"b": 2, "a": 1})

    def test_huge_and_odd_values(self) -> None:
        assert canonical(10**5000) != canonical(10**5000 + 1)
        assert canonical(-(2**70)) != canonical(2**70)
        assert canonical(math.nan) == canonical(float("nan"))
        assert canonical("\ud800") != canonical("?")

    def test_files_enter_by_their_content(self) -> None:
        here, there = Path("/a/x.safetensors"), Path("/b/y.safetensors")
        assert canonical(here, {here: DIGEST}) == canonical(there, {there: DIGEST})
        assert canonical(here, {here: DIGEST}) != canonical(here, {here: b"e" * 32})
        assert canonical([here], {here: DIGEST}) == canonical([there], {there: DIGEST})

    def test_files_that_nobody_read_enter_by_their_name(self) -> None:
        assert canonical(Path("pixel_space"), {}) == canonical(Path("pixel_space"))
        assert canonical(Path("a")) != canonical(Path("b"))
        assert canonical(Path("a")) != canonical("a")

    @pytest.mark.parametrize(
        "value", [object(), {1}, [object()], {"a": {1}}, 1j, slice(1), type("Text", (str,), {})("a")]
    )
    def test_what_has_no_form(self, value: Any) -> None:
        with pytest.raises(Unhashable):
            canonical(value)

    def test_a_list_that_holds_itself_has_no_form(self) -> None:
        circle: list[Any] = [1]
        circle.append(circle)
        with pytest.raises(Unhashable):
            canonical({"circle": circle})


class TestNodeKey:
    SPEC = REGISTRY["Add"]
    ONE, TWO = canonical(1), canonical(2)

    def test_all_that_enters(self) -> None:
        source, other = b"s" * 32, b"t" * 32
        keys = [
            node_key(self.SPEC, [], []),
            node_key(replace(self.SPEC, name="Sum"), [], []),
            node_key(replace(self.SPEC, version="2"), [], []),
            node_key(self.SPEC, [("a", self.ONE)], []),
            node_key(self.SPEC, [("a", self.TWO)], []),
            node_key(self.SPEC, [("b", self.ONE)], []),
            node_key(self.SPEC, [], [("a", source, 0)]),
            node_key(self.SPEC, [], [("a", source, 1)]),
            node_key(self.SPEC, [], [("a", other, 0)]),
            node_key(self.SPEC, [], [("b", source, 0)]),
            node_key(self.SPEC, [], [], b"salt"),
            node_key(self.SPEC, [("ab", self.ONE)], []),
            node_key(self.SPEC, [("a", b"b" + self.ONE)], []),
        ]
        assert len(set(keys)) == len(keys)
        assert {len(key) for key in keys} == {32}

    def test_the_order_of_inputs_does_not(self) -> None:
        constants, links = [("a", self.ONE), ("b", self.TWO)], [("c", b"s" * 32, 0), ("d", b"t" * 32, 0)]
        assert node_key(self.SPEC, constants, links) == node_key(self.SPEC, constants[::-1], links[::-1])


CHAIN: Nodes = {
    "1": ("Plant", {}),
    "2": ("Same", {"value": ["1", 0]}),
    "3": ("Say", {"text": "x"}),
    "4": ("Show", {"source": ["2", 0]}),
    "5": ("Show", {"source": ["3", 0]}),
}


def keys_of(nodes: Nodes) -> dict[str, bytes | None]:
    return planned(nodes).keys({})


def altered(name: str, **inputs: Any) -> Nodes:
    kind, given = CHAIN[name]
    return {**CHAIN, name: (kind, {**given, **inputs})}


def _linked_anew(inputs: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {key: [names[value[0]], value[1]] if type(value) is list else value for key, value in inputs.items()}


class TestPlans:
    def test_what_changes_and_what_stays(self) -> None:
        before, after = keys_of(CHAIN), keys_of(altered("3", text="y"))
        assert {name for name in before if before[name] != after[name]} == {"3", "5"}

    def test_the_slot_enters(self) -> None:
        before, after = keys_of(CHAIN), keys_of(altered("2", value=["1", 1]))
        assert {name for name in before if before[name] != after[name]} == {"2", "4"}

    def test_null_is_as_good_as_nothing(self) -> None:
        assert keys_of(altered("3", times=None)) == keys_of(CHAIN)

    def test_ids_titles_and_order_do_not_enter(self) -> None:
        names = {"1": "plant", "2": "x/y", "3": "say", "4": "10", "5": "2"}
        renamed = {names[name]: (CHAIN[name][0], _linked_anew(CHAIN[name][1], names)) for name in reversed(list(CHAIN))}
        document = workflow(renamed)
        for entry in document.values():
            entry["_meta"] = {"title": "a title"}
        plan = compile_workflow(document, registry=REGISTRY, folders=NOWHERE)
        assert {names[name]: key for name, key in keys_of(CHAIN).items()} == plan.keys({})

    def test_undeclared_inputs_do_not_enter(self) -> None:
        assert keys_of(altered("3", undeclared=5)) == keys_of(CHAIN)

    @pytest.mark.parametrize(("kind", "alike"), [("WhoAmI", False), ("Plant", True)])
    def test_an_id_enters_where_the_node_asks_for_it(self, kind: str, alike: bool) -> None:
        first, second = (keys_of({name: (kind, {}), "s": ("Show", {"source": [name, 0]})}) for name in "ab")
        assert (first["a"] == second["b"], first["s"] == second["s"]) == (alike, alike)

    def test_constants_of_other_types_do_not_meet(self) -> None:
        keys = {keys_of({"1": ("Show", {"source": value})})["1"] for value in (1, 1.0, True, "1", None)}
        assert len(keys) == 5

    def test_what_equals_nothing_has_no_key(self) -> None:
        keys = keys_of({"1": ("Watch", {"path": "never"}), "2": ("Show", {"source": ["1", 0]})})
        assert keys == {"1": None, "2": None}

    def test_edited_code_changes_the_key(self) -> None:
        nodes: Nodes = {"1": ("N", {"value": 1})}
        seen: set[bytes | None] = set()
        for body in ("print(value)", "print(value + 1)", "# moved\n    print(value)"):
            pack = ModuleType("pack")
            exec(f"def run(value: int) -> None:\n    {body}", vars(pack))
            node("N")(pack.run)
            plan = compile_workflow(workflow(nodes), registry=Registry().with_nodes(pack), folders=NOWHERE)
            seen.add(plan.keys({})["1"])
        assert len(seen) == 2

    def test_the_same_in_every_process(self) -> None:
        program = (
            "import json, sys; sys.path.insert(0, sys.argv[1]); from running import planned; "
            "keys = planned(json.loads(sys.argv[2])).keys({}); "
            "print(json.dumps({name: key.hex() for name, key in keys.items()}))"
        )
        nodes: Nodes = {**CHAIN, "6": ("Show", {"source": {"b": [1, 1.5, None], "a": True}})}
        for seed in ("0", "77"):
            done = subprocess.run(
                [sys.executable, "-c", program, str(Path(__file__).parents[1]), json.dumps(nodes)],
                capture_output=True,
                check=True,
                env={"PYTHONHASHSEED": seed},
            )
            assert json.loads(done.stdout) == {name: key.hex() for name, key in keys_of(nodes).items() if key}
