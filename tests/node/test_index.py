"""Which node is in which module, without importing any."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import graphexec_nodes
from graphexec.errors import NodeDefinitionError
from graphexec.node.decorator import definition_of
from graphexec.node.index import find_nodes


def test_nodes_by_the_names_they_are_marked_with(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text('@node("A")\ndef a() -> int: ...\n\n@node(\n    \'B C\',\n    category="x",\n)\n')
    (tmp_path / "two.py").write_text('x = node\n# @node("no")\n@node("D", version="2")\nasync def d() -> int: ...\n')
    assert find_nodes("pack", [str(tmp_path)]) == {"A": "pack.one", "B C": "pack.one", "D": "pack.two"}


def test_two_nodes_of_one_name(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.py").write_text('@node("A")\n')
    with pytest.raises(NodeDefinitionError, match=r"'A': in pack\.one and pack\.two"):
        find_nodes("pack", [str(tmp_path)])


def test_every_way_to_mark_a_node(tmp_path: Path) -> None:
    """By a keyword, through a module, indented, after another decorator; texts that only look so are passed over."""
    marks = ['@node(name="A")', '@gn.node("B")', 'if True:\n    @node("C", version="2")', "@other\n@node('D')"]
    functions = [f"{mark}\n{' ' * 4 * mark.startswith('if')}def f() -> int: ...\n" for mark in marks]
    (tmp_path / "one.py").write_text("\n".join([*functions, '"""\n@node("no")\n"""\n']))
    assert sorted(find_nodes("pack", [str(tmp_path)])) == ["A", "B", "C", "D"]


@pytest.mark.parametrize("mark", ["@node(NAME)", '@node("A" + NAME)', "@gn.node(name=NAME)", "@node()"])
def test_a_name_that_only_a_run_could_tell(tmp_path: Path, mark: str) -> None:
    (tmp_path / "one.py").write_text(f"\n{mark}\ndef a() -> int: ...\n")
    with pytest.raises(NodeDefinitionError, match=r"pack\.one, line 2: the name of a node is not written out"):
        find_nodes("pack", [str(tmp_path)])


def test_every_built_in_node_is_listed_where_it_is_defined() -> None:
    names = [each.name for each in pkgutil.iter_modules(graphexec_nodes.__path__, "graphexec_nodes.")]
    modules = [importlib.import_module(name) for name in names]
    values = [value for module in modules for value in vars(module).values()]
    marked = {definition.name: value.__module__ for value in values if (definition := definition_of(value)) is not None}
    assert marked == graphexec_nodes.NODES


def test_a_check_imports_the_modules_of_its_nodes_alone(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"1": {"class_type": "EmptyLatentImage", "inputs": {}}}')
    program = (
        "import sys, graphexec\n"
        f"graphexec.check({str(tmp_path / 'x.json')!r})\n"
        "print(*(name for name in sys.modules if name.partition('.')[0] in ('graphexec_nodes', 'pydantic')))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "graphexec_nodes.latent" in loaded
    assert not loaded & {"pydantic", "graphexec_nodes.sampling", "graphexec_nodes.lora"}
