"""docs/nodes.md says what the nodes say."""

from __future__ import annotations

import subprocess
import sys

from docs.pages import DOCS, ROOT

from graphexec.node.registry import Registry

SCRIPT = ROOT / "scripts" / "node_docs"


def node_docs(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, check=False)


def test_the_page_is_fresh() -> None:
    checked = node_docs("--check")
    assert (checked.returncode, checked.stderr) == (0, "")


def test_every_built_in_node_and_input_is_on_the_page() -> None:
    text = (DOCS / "nodes.md").read_text("utf-8")
    registry = Registry.standard()
    specs = [registry[name] for name in registry if registry[name].module.startswith("graphexec_nodes")]
    assert specs
    missing = [spec.name for spec in specs if f"| `{spec.name}` |" not in text]
    missing += [name for spec in specs for name in spec.inputs if f"`{name}`" not in text]
    assert missing == []


def test_a_wrong_argument_is_refused() -> None:
    assert node_docs("--write").returncode == 2
