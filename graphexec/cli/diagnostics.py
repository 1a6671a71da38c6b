"""Shows diagnostics: as text for people, as JSON for programs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

from graphexec.errors import Diagnostic, NodeDefinitionError, WorkflowError, said

JSON_FIELDS = ("severity", "code", "node", "input", "pointer", "message", "hint")
"""The fields of a diagnostic that every reader of the JSON may count on; the rest follows them."""
MORE_JSON_FIELDS = ("title", "class_type", "expected", "received", "line", "column", "source")
LONGEST_DETAIL = 200
RUN_LIBRARIES = frozenset({"numpy", "safetensors", "scipy", "tokenizers", "torch", "torchsde"})
CAPTION_LIBRARIES = frozenset({"huggingface_hub", "onnxruntime", "transformers"})
RUNNING, CAPTIONING = ("to run nodes", "run"), ("to caption pictures", "caption")
PURPOSES = {
    "caption": CAPTIONING,
    "convert-checkpoint": ("to convert checkpoints", "run"),
    "train": ("to train", "train"),
}
"""What libraries are for and the extra that brings them, by the command that lacks one; the others run nodes."""


def printable(text: str) -> str:
    """The text without characters that would move a terminal's cursor or break the line."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def printable_lines(text: str) -> str:
    """As `printable`, but lines stay lines; those after the first are indented."""
    return "\n    ".join(printable(line) for line in text.splitlines())


def node_name(node: str, class_type: str | None = None, title: str | None = None) -> str:
    """How a node is called in messages: `node 6 (KSampler "my sampler")`."""
    named = [class_type or "", f'"{title}"' if title and title != class_type else ""]
    inside = " ".join(part for part in named if part)
    return printable(f"node {node} ({inside})" if inside else f"node {node}")


def render(diagnostics: Iterable[Diagnostic], source: str = "") -> str:
    """Diagnostics as text: a line each that starts with its place in the file, and indented details."""
    return "\n".join(line for diagnostic in diagnostics for line in _lines(diagnostic, source))


def _lines(diagnostic: Diagnostic, source: str) -> list[str]:
    message = printable(diagnostic.message.removeprefix(f"{diagnostic.input}: "))  # the subject ends with it
    head = f"{diagnostic.severity}: {_subject(diagnostic)}{message} [{diagnostic.code}]"
    values = (("expected", diagnostic.expected), ("received", diagnostic.received))
    details = [f"  {label}: {_short(printable(text))}" for label, text in values if text]
    if diagnostic.hint:  # never cut: what to do may stand at its end
        details.append(f"  hint: {printable(diagnostic.hint)}")
    return [f"{_place(diagnostic, source)}{head}", *details]


def _place(diagnostic: Diagnostic, source: str) -> str:
    source = diagnostic.source or source
    if not source:
        return ""
    parts = [printable(source)]
    if diagnostic.line is not None:
        parts += [str(diagnostic.line), str(diagnostic.column or 1)]
    return ":".join(parts) + ": "


def _subject(diagnostic: Diagnostic) -> str:
    if diagnostic.node is None:
        return ""
    name = node_name(diagnostic.node, diagnostic.class_type, diagnostic.title)
    return f"{name}.{printable(diagnostic.input)}: " if diagnostic.input is not None else f"{name}: "


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_DETAIL else text[: LONGEST_DETAIL - 1] + "…"


def diagnostic_json(diagnostic: Diagnostic) -> dict[str, Any]:
    """A diagnostic as JSON."""
    return {name: getattr(diagnostic, name) for name in (*JSON_FIELDS, *MORE_JSON_FIELDS)}


def counted(number: int, what: str) -> str:
    """`1 error`, `2 errors`."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def tally(diagnostics: Iterable[Diagnostic]) -> str:
    """`2 errors, 1 warning`; nothing for none."""
    found = Counter(diagnostic.severity for diagnostic in diagnostics)
    return ", ".join(counted(found[severity], severity) for severity in ("error", "warning") if found[severity])


def library_hint(message: str, command: str = "run") -> str | None:
    """What to do about an import that failed in a command, if it is a library that an extra brings."""
    missing = re.search(r"No module named '(\w+)", message)
    if missing is None or missing[1] not in RUN_LIBRARIES | CAPTION_LIBRARIES:
        return None
    purpose, extra = PURPOSES.get(command, CAPTIONING if missing[1] in CAPTION_LIBRARIES else RUNNING)
    return f"{missing[1]} is needed {purpose}: pip install 'graphexec[{extra}]'"


def fault_text(error: BaseException, command: str = "run") -> str:
    """What is said of an exception that ends a command."""
    if isinstance(error, WorkflowError):
        return render(error.diagnostics)
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    hint = library_hint(str(error), command) if isinstance(error, ImportError | NodeDefinitionError) else None
    return f"error: {printable_lines(said(error))}" + (f"\n  hint: {hint}" if hint else "")
