"""How diagnostics are shown."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphexec.cli.diagnostics import diagnostic_json, fault_text, library_hint, node_name, printable, render, tally
from graphexec.errors import Diagnostic, ModelFileError

FULL = Diagnostic(
    code="value_smaller_than_min",
    message="steps: Value 0 smaller than min of 1",
    node="6",
    title="my sampler",
    class_type="KSampler",
    input="steps",
    pointer="/6/inputs/steps",
    expected="INT of at least 1",
    received="0",
    hint="write a larger number",
    line=72,
    column=13,
)


def test_a_diagnostic_as_text_says_where_and_what() -> None:
    assert render([FULL], "w.json").splitlines() == [
        'w.json:72:13: error: node 6 (KSampler "my sampler").steps: Value 0 smaller than min of 1 '
        "[value_smaller_than_min]",
        "  expected: INT of at least 1",
        "  received: 0",
        "  hint: write a larger number",
    ]


def test_what_is_not_known_is_left_out() -> None:
    bare = Diagnostic(code="empty_file", message="it is empty", severity="warning")
    assert render([bare]) == "warning: it is empty [empty_file]"
    elsewhere = Diagnostic(code="empty_file", message="it is empty", source="settings.json")
    assert render([elsewhere], "workflow.json") == "settings.json: error: it is empty [empty_file]"
    assert render([bare], "w.json") == "w.json: warning: it is empty [empty_file]"


def test_long_details_are_cut() -> None:
    long = Diagnostic(code="x", message="", received="y" * 10_000)
    assert len(render([long])) < 300


def test_hints_are_whole() -> None:
    hint = f"put the file into /{'folder/' * 50} or name a models folder with --models"
    assert render([Diagnostic(code="x", message="", hint=hint)]).endswith(f"  hint: {hint}")


def test_as_json_it_has_the_documented_fields() -> None:
    document = json.loads(json.dumps(diagnostic_json(FULL)))
    assert list(document) == [
        *("severity", "code", "node", "input", "pointer", "message", "hint"),
        *("title", "class_type", "expected", "received", "line", "column", "source"),
    ]
    assert document["message"] == FULL.message


@pytest.mark.parametrize(
    ("class_type", "title", "name"),
    [
        (None, None, "node 6"),
        ("KSampler", None, "node 6 (KSampler)"),
        ("KSampler", "KSampler", "node 6 (KSampler)"),
        ("KSampler", "mine", 'node 6 (KSampler "mine")'),
        (None, "mine", 'node 6 ("mine")'),
    ],
)
def test_how_a_node_is_called(class_type: str | None, title: str | None, name: str) -> None:
    assert node_name("6", class_type, title) == name


@given(st.text())
def test_nothing_reaches_the_terminal_that_it_would_obey(text: str) -> None:
    assert printable(text).isprintable()
    assert printable(text) == text or not text.isprintable()


def test_what_can_be_printed_stays_as_it_is_beside_what_cannot() -> None:
    assert printable("ein grüner\tBär\x1b[2J") == "ein grüner\\tBär\\x1b[2J"


def test_tally() -> None:
    warning = Diagnostic(code="x", message="", severity="warning")
    assert tally([]) == ""
    assert tally([warning, FULL, warning]) == "1 error, 2 warnings"


@pytest.mark.parametrize("library", ["torch", "numpy", "safetensors.torch", "scipy.special", "tokenizers", "torchsde"])
def test_a_missing_library_of_the_run_extra_has_a_hint(library: str) -> None:
    hint = library_hint(f"No module named {library!r}")
    assert hint is not None
    assert "pip install 'graphexec[run]'" in hint


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("run", "torch is needed to run nodes: pip install 'graphexec[run]'"),
        ("train", "torch is needed to train: pip install 'graphexec[train]'"),
        ("caption", "torch is needed to caption pictures: pip install 'graphexec[caption]'"),
        ("convert-checkpoint", "torch is needed to convert checkpoints: pip install 'graphexec[run]'"),
    ],
)
def test_a_missing_library_is_told_with_what_it_is_for(command: str, words: str) -> None:
    assert words in fault_text(ModuleNotFoundError("No module named 'torch'"), command)


def test_a_fault_does_nothing_to_a_terminal() -> None:
    assert fault_text(ModelFileError("tensor 'a\x1b[2Jb'\nand more")) == "error: tensor 'a\\x1b[2Jb'\n    and more"


@pytest.mark.parametrize("message", ["No module named 'torchvision'", "no luck", ""])
def test_other_failures_have_none(message: str) -> None:
    assert library_hint(message) is None


@pytest.mark.parametrize("library", ["huggingface_hub", "onnxruntime", "transformers"])
def test_what_captions_need_is_another_extra(library: str) -> None:
    assert "pip install 'graphexec[caption]'" in (library_hint(f"No module named {library!r}") or "")
