"""Telling ComfyUI's two file formats apart: what its editor saves, and what its server runs."""

from __future__ import annotations

from typing import Any, cast

__all__ = ["is_ui_format"]

_EDITOR_KEYS = frozenset({"links", "version", "last_node_id", "last_link_id", "state"})


def is_ui_format(document: Any) -> bool:
    """Whether a JSON document is what ComfyUI's editor saves (schema 0.4, or 1.0 with or without subgraphs).

    A file in API format never is: all it holds are nodes, so what it calls "nodes" is no list.
    """
    if not isinstance(document, dict):
        return False
    members = cast("dict[str, Any]", document)
    return isinstance(members.get("nodes"), list) and not _EDITOR_KEYS.isdisjoint(members)
