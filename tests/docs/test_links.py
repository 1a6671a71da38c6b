"""Links between the pages lead somewhere, and what is to be installed is there."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

from docs.pages import DOCS, ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS.glob("*.md")]
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def prose(page: Path) -> str:
    """A page without its blocks of code."""
    return FENCED.sub("", page.read_text("utf-8"))


def anchors(page: Path) -> set[str]:
    """What a link may name in a page, as GitHub makes it of headings."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(page: Path) -> Iterator[str]:
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if link.startswith("https://"):
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            yield f"{page.name}: {link}"


def test_links_lead_somewhere() -> None:
    assert [link for page in PAGES for link in broken_links(page)] == []


def test_extras_that_are_named_are_there_and_those_for_users_are_told() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    told = " ".join(page.read_text("utf-8") for page in PAGES)
    assert set(re.findall(r"pip install .?(?:graphexec|\.)\[([\w-]+)\]", told)) <= extras.keys()
    readme = (ROOT / "README.md").read_text("utf-8")
    for extra in ("run", "upscale", "train", "train-8bit", "caption"):
        assert f"[{extra}]" in readme or f"`{extra}`" in readme, extra
