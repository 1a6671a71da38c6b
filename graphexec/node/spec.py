"""What a node's signature says, read once: the one place of truth for checks, schemas, help and the compiler."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from graphexec.node.fields import Folder, Mentioned, Widget

HiddenKind = Literal["node_id", "progress", "warn", "workflow", "graph", "resource"]


class Missing:
    """The default of an input that has none."""

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = Missing()
NO_WIDGET: Final = Widget()


@dataclass(frozen=True, slots=True)
class InputSpec:
    """One input: its wire type, and what a value written into the workflow must be."""

    name: str
    wire: str
    widget: bool
    """Whether a value may be written into the workflow; a plain socket takes links alone."""
    optional: bool = False
    default: Any = MISSING
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[Any, ...] | None = None
    folder: Folder | None = None
    look: Widget = NO_WIDGET
    lazy: bool = False
    whole_list: bool = False
    type_var: str | None = None
    tooltip: str = ""
    argument: str = ""
    """What the function calls it, where that is not its name in workflows."""

    @property
    def parameter(self) -> str:
        """The parameter of the function that takes its value."""
        return self.argument or self.name

    @property
    def has_default(self) -> bool:
        return self.default is not MISSING

    @property
    def default_text(self) -> str:
        """The default as a workflow would write it; that of a file is its name."""
        return repr(self.default.as_posix() if isinstance(self.default, Path) else self.default)

    def expectation(self) -> str:
        """What the input takes, in words."""
        if self.folder is not None:
            return f"the name of a file in {self.folder.kind}"
        if self.choices is not None:
            return "one of " + ", ".join(repr(choice) for choice in self.choices)
        if "*" in self.wire.split(","):
            return "anything"
        if not self.widget:
            return f"a link to an output of type {self.wire}"
        return self.wire + _range_in_words(self.minimum, self.maximum)


def _range_in_words(low: float | None, high: float | None) -> str:
    if low is not None and high is not None:
        return f" from {low} to {high}"
    if low is not None:
        return f" of at least {low}"
    return f" of at most {high}" if high is not None else ""


@dataclass(frozen=True, slots=True)
class OutputSpec:
    """One output slot."""

    name: str
    wire: str
    is_list: bool = False
    type_var: str | None = None


@dataclass(frozen=True, slots=True)
class Hook:
    """A function beside the node that is asked before it runs, and the inputs that it wants to see."""

    function: Callable[..., Any]
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Hidden:
    """A parameter that the run supplies."""

    kind: HiddenKind
    resource: str = ""


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """A node: its wire name, inputs in wire order, output slots, hooks and the function that computes it."""

    name: str
    function: Callable[..., Any]
    category: str
    display_name: str
    description: str
    inputs: Mapping[str, InputSpec]
    outputs: tuple[OutputSpec, ...]
    hidden: Mapping[str, Hidden]
    mentioned: Mapping[str, Mentioned]
    """Parameters that take the files which the node's texts mention."""
    is_output: bool
    """It runs for what it does: a workflow needs at least one such node."""
    artifact_slots: tuple[int, ...]
    """Places in the returned tuple that are files to write rather than output slots."""
    single: bool
    """The function returns the one value itself, not a tuple."""
    is_async: bool
    expands: bool
    check: Hook | None = None
    fingerprint: Hook | None = None
    infer: Hook | None = None
    version: str = ""
    """Enters the cache key; changes when the node's results may."""
    module: str = ""
    reads_files: bool = False
    uses_node_id: bool = False
    uses_resource: bool = False

    @property
    def checked_inputs(self) -> tuple[str, ...]:
        """Inputs whose range and choices `check` takes over."""
        return self.check.names if self.check else ()
