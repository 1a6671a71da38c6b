"""Which nodes there are: a value, never changed."""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import fake_nodes
import pytest

import graphexec_nodes
from graphexec.errors import NodeDefinitionError
from graphexec.node.decorator import node
from graphexec.node.registry import Registry


def function(name: str, result: int = 0) -> Any:
    """A new node function called so."""

    def run() -> int:
        return result

    return node(name)(run)


def module(name: str, **members: Any) -> ModuleType:
    made = ModuleType(name)
    vars(made).update(members)
    return made


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, version: str, pack: str = "fake_nodes") -> None:
    """Make a distribution of one pack in a folder that modules are found in."""
    info = folder / f"more-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: more\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(f"[graphexec.nodes]\nmore = {pack}\n")
    monkeypatch.setattr("sys.path", [str(folder), *sys.path])


def test_nothing_is_known_at_first() -> None:
    empty = Registry()
    assert (list(empty), len(empty), empty.get("A"), "A" in empty) == ([], 0, None, False)
    with pytest.raises(KeyError, match="A"):
        empty["A"]


def test_nodes_of_a_module_by_their_wire_names() -> None:
    registry = Registry().with_nodes(module("m", b=function("B"), a=function("A"), helper=len, number=5))
    assert (list(registry), len(registry)) == (["A", "B"], 2)
    assert "A" in registry
    assert registry["A"].name == "A"


def test_adding_makes_another_registry() -> None:
    first = Registry().with_nodes(module("m", a=function("A")))
    second = first.with_nodes(module("n", b=function("B")))
    assert (list(first), list(second)) == (["A"], ["A", "B"])
    assert second["A"] is not None
    assert first.get("B") is None


def test_a_signature_is_read_once_and_not_before_it_is_asked_for() -> None:
    @node("Broken")
    def broken(a) -> int:  # type: ignore[no-untyped-def]  # pyright: ignore[reportMissingParameterType, reportUnknownParameterType]
        raise NotImplementedError

    registry = Registry().with_nodes(module("m", a=function("A"), broken=broken))
    assert registry["A"] is registry["A"]
    with pytest.raises(NodeDefinitionError, match="Broken: parameter a"):
        registry["Broken"]


def test_functions_by_name_must_be_nodes() -> None:
    with pytest.raises(NodeDefinitionError, match="A: the function is not marked by @node"):
        Registry(functions={"A": len})["A"]


class Unawakened:
    """What stands for another object, such as a request, that is not there yet."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(f"there is nothing to ask for {name}")


def test_other_objects_of_a_module_are_asked_nothing() -> None:
    assert list(Registry().with_nodes(module("m", a=function("A"), lazy=Unawakened()))) == ["A"]


def test_what_packs_leave_out_is_known_with_the_reason() -> None:
    assert Registry().absent == {}
    one, other = module("m", ABSENT={"X": "no X"}), module("n", ABSENT={"Y": "no Y"})
    assert Registry().with_nodes(one, module("o"), other).absent == {"X": "no X", "Y": "no Y"}


class TestNames:
    def test_two_functions_may_not_share_one(self) -> None:
        pack = module("m", a=function("A"), b=function("A"))
        with pytest.raises(NodeDefinitionError, match=r"two functions claim the node name 'A': .*run and .*run"):
            Registry().with_nodes(pack)

    def test_nor_when_the_second_comes_later(self) -> None:
        with pytest.raises(NodeDefinitionError, match="'A'"):
            Registry().with_nodes(module("m", a=function("A"))).with_nodes(module("n", a=function("A")))

    def test_one_function_may_be_found_twice(self) -> None:
        shared = function("A")
        assert len(Registry().with_nodes(module("m", a=shared, b=shared), module("n", c=shared))) == 1

    def test_the_nearest(self) -> None:
        registry = Registry().with_nodes(module("m", a=function("KSampler"), b=function("KSamplerAdvanced")))
        assert registry.nearest("ksampler") == ["KSampler", "KSamplerAdvanced"]
        assert registry.nearest("KSampler", most=1) == ["KSampler"]
        assert registry.nearest("Unlike") == []


class TestPackages:
    def test_submodules_that_are_imported_belong_to_it(self) -> None:
        inner = module("pack.inner.deep", c=function("C"))
        pack = module("pack", a=function("A"), inner=module("pack.inner", b=function("B"), deep=inner))
        assert list(Registry().with_nodes(pack)) == ["A", "B", "C"]

    def test_other_modules_that_it_imports_do_not(self) -> None:
        pack = module("pack", other=module("package", b=function("B")), a=function("A"))
        assert list(Registry().with_nodes(pack)) == ["A"]

    def test_modules_that_import_each_other(self) -> None:
        pack, inner = module("pack", a=function("A")), module("pack.inner", b=function("B"))
        vars(pack)["inner"], vars(inner)["inner"], vars(inner)["pack"] = inner, inner, pack
        assert list(Registry().with_nodes(pack)) == ["A", "B"]


class TestPacksThatListTheirNodes:
    @pytest.fixture
    def pack(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
        """Nodes `A` and `B` in modules that are not imported yet; that of `B` is broken, `C` is nowhere."""
        text = "from graphexec.node import node\n\n@node({!r})\ndef run() -> int:\n    return 1\n"
        (tmp_path / "listed_a.py").write_text(text.format("A"))
        (tmp_path / "listed_b.py").write_text("import no_such_library\n" + text.format("B"))
        monkeypatch.setattr("sys.path", [str(tmp_path), *sys.path])
        monkeypatch.delitem(sys.modules, "listed_a", raising=False)
        return module("pack", NODES={"A": "listed_a", "B": "listed_b", "C": "listed_a"})

    def test_every_name_is_known_and_nothing_imported(self, pack: ModuleType) -> None:
        registry = Registry().with_nodes(pack)
        assert (list(registry), "B" in registry, registry.nearest("b")) == (["A", "B", "C"], True, ["B"])
        assert "listed_a" not in sys.modules

    def test_a_node_is_imported_when_it_is_asked_for(self, pack: ModuleType) -> None:
        assert Registry().with_nodes(pack)["A"].function() == 1

    def test_what_its_module_raises_is_told(self, pack: ModuleType) -> None:
        says = "'B' is in listed_b, which cannot be imported: ModuleNotFoundError: No module named 'no_such_library'"
        with pytest.raises(NodeDefinitionError, match=says):
            Registry().with_nodes(pack)["B"]

    def test_a_listed_node_that_is_not_there(self, pack: ModuleType) -> None:
        with pytest.raises(NodeDefinitionError, match="listed_a has no node 'C'"):
            Registry().with_nodes(pack)["C"]

    def test_a_name_that_another_pack_has_too(self, pack: ModuleType) -> None:
        with pytest.raises(NodeDefinitionError, match=r"'A': listed_a\.run and .*run"):
            Registry().with_nodes(pack, module("m", a=function("A")))
        assert len(Registry().with_nodes(pack, pack)) == 3


class TestWhatComesAlong:
    def test_codecs_and_resources(self) -> None:
        def make(settings: object) -> str:
            return "made"

        one = module("m", CODECS=("x",), RESOURCES={"log": make})
        two = module("n", CODECS=["y"], RESOURCES={"gpu": make})
        registry = Registry().with_nodes(one).with_nodes(two)
        assert registry.codecs == ("x", "y")
        assert dict(registry.resources) == {"log": make, "gpu": make}

    def test_two_packs_may_not_claim_one_resource(self) -> None:
        one, two = (module(name, RESOURCES={"log": object()}) for name in ("m", "n"))
        assert len(Registry().with_nodes(one, one).resources) == 1
        with pytest.raises(NodeDefinitionError, match="n claims the resource 'log', which another pack has"):
            Registry().with_nodes(one, two)

    def test_a_pack_that_brings_none(self) -> None:
        registry = Registry().with_nodes(module("m"))
        assert (registry.codecs, dict(registry.resources)) == ((), {})


class TestVersionsOfPacks:
    def test_results_of_a_pack_enter_those_of_its_nodes(self) -> None:
        node = function("A")
        packs = [module("m", a=node), module("m", a=node, RESULTS=1), module("m", a=node, RESULTS=2)]
        assert len({Registry().with_nodes(pack)["A"].version for pack in packs}) == 3

    def test_the_first_pack_of_a_node_that_two_have_counts(self) -> None:
        one, two = module("m", a=function("A"), RESULTS=1), module("n", b=function("B"), RESULTS=2)
        vars(two)["a"] = one.a
        assert Registry().with_nodes(one, two)["A"].version == Registry().with_nodes(one)["A"].version

    def test_the_built_in_nodes_follow_the_package_and_their_results(self) -> None:
        here = f"{importlib.metadata.version('graphexec')}:{graphexec_nodes.RESULTS}:"
        assert Registry.standard()["KSampler"].version.startswith(here)


class TestStandard:
    def test_the_built_in_ones_come_by_their_entry_point(self) -> None:
        registry = Registry.standard()
        assert {"KSampler", "LoraLoader", "SaveImage"} <= set(registry)
        assert "runtime" in registry.resources
        assert registry.codecs
        assert Registry.standard() is not registry

    def test_other_packs_come_through_the_same_door(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        install(tmp_path, monkeypatch, "1.0")
        assert {"KSampler", "Add"} <= set(Registry.standard())

    @pytest.mark.parametrize(
        ("text", "why"),
        [
            ("import no_such_library", "ModuleNotFoundError"),
            ("1 +", "SyntaxError"),
            ("NODES = 5", "AttributeError"),
            ("raise SystemExit(3)", "RuntimeError: its code called sys.exit(3)"),
            ("class Odd(Exception): pass\nraise Odd", "Odd"),
        ],
    )
    def test_one_that_cannot_be_loaded_is_left_out(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, why: str
    ) -> None:
        (tmp_path / "broken_pack.py").write_text(text)
        monkeypatch.delitem(sys.modules, "broken_pack", raising=False)
        install(tmp_path, monkeypatch, "1.0", "broken_pack")
        registry = Registry.standard()
        assert "KSampler" in registry
        ((pack, told),) = registry.broken.items()
        assert pack == "more" and told.startswith(why)

    def test_their_versions_enter_those_of_their_nodes(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        seen: set[str] = set()
        for version in ("1.0", "1.1"):
            (tmp_path / version).mkdir()
            install(tmp_path / version, monkeypatch, version)
            seen.add(Registry.standard()["Add"].version)
        assert len(seen) == 2


def test_fakes_are_all_readable() -> None:
    registry = Registry().with_nodes(fake_nodes)
    assert {name: registry[name].name for name in registry} == {name: name for name in registry}
