"""Runs the Python blocks of a page of the documentation, one after the other, as one module."""

from __future__ import annotations

import re
import types
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> list[tuple[int, str]]:
    """The Python blocks of a page, and the line on which each begins."""
    text = page.read_text("utf-8")
    return [(text.count("\n", 0, found.start(1)), found[1]) for found in BLOCK.finditer(text)]


def run_page(page: Path, module: types.ModuleType) -> None:
    """Execute the blocks of a page in a module; a traceback names the line of the page."""
    for line, source in blocks(page):
        exec(compile("\n" * line + source, page, "exec", dont_inherit=True), vars(module))
