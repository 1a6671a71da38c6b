"""Which of ComfyUI's two formats a document has."""

from __future__ import annotations

import json
from typing import Any

import pytest

from graphexec.graph.ui import is_ui_format
from tests.data.broken import big

NODE: dict[str, Any] = {"class_type": "KSampler", "inputs": {}}
SUBGRAPHS: dict[str, Any] = {
    "version": 1,
    "state": {"lastNodeId": 1},
    "nodes": [],
    "definitions": {"subgraphs": [{"id": "a", "nodes": []}]},
}


@pytest.mark.parametrize(
    "document",
    [
        json.loads(big.read("b38")),
        {"nodes": [], "links": []},
        {"nodes": [{"id": 1, "type": "Note"}], "version": 0.4},
        SUBGRAPHS,
    ],
)
def test_what_the_editor_saves(document: dict[str, Any]) -> None:
    assert is_ui_format(document)


@pytest.mark.parametrize(
    "document",
    [
        json.loads(big.read("b52")),
        {"nodes": NODE, "links": NODE, "version": NODE},
        {"nodes": [1, 2]},
        {},
        [],
        None,
        "nodes",
    ],
)
def test_what_it_does_not(document: Any) -> None:
    assert not is_ui_format(document)
