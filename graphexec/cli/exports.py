"""`--export NODE[:SLOT]=FILE`: writes what any node returned, so that other tools can compare it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphexec.cli.loading import readable_spec
from graphexec.errors import AllFaults, Diagnostic, OutputError, WorkflowError
from graphexec.graph.atomic import need_writable
from graphexec.graph.overrides import resolve_node
from graphexec.node.fields import Blocker

if TYPE_CHECKING:
    from graphexec.graph.plan import Plan
    from graphexec.graph.result import Result
    from graphexec.graph.workflow import Workflow
    from graphexec.node.registry import Registry


@dataclass(frozen=True, slots=True)
class Export:
    """An output to be written, and where to."""

    node: str
    slot: int
    path: Path


def parse_exports(
    texts: Iterable[str], workflow: Workflow, registry: Registry, faults: AllFaults
) -> tuple[Export, ...]:
    """The exports asked for; what is wrong with them goes to `faults`."""
    exports: list[Export] = []
    for text in texts:
        with faults:
            export = _parse(text, workflow, registry)
            _check_file(export, exports, text)
            exports.append(export)
    return tuple(dict.fromkeys(exports))


def _parse(text: str, workflow: Workflow, registry: Registry) -> Export:
    place, equals, path = text.partition("=")
    if not (place and equals and path):
        raise _wrong("invalid_export", f"{text!r} does not say what to export", text)
    node, slot = _node_and_slot(place, workflow)
    export = Export(node, slot, Path(path).absolute())
    _check(export, workflow, registry)
    return export


def _node_and_slot(place: str, workflow: Workflow) -> tuple[str, int]:
    """Ids may hold colons: what names a node as a whole does, with slot 0."""
    head, colon, tail = place.rpartition(":")
    try:
        return resolve_node(workflow, place), 0
    except WorkflowError:
        if not (colon and tail.isdecimal() and len(tail) < 10):
            raise
    return resolve_node(workflow, head), int(tail)


def _check(export: Export, workflow: Workflow, registry: Registry) -> None:
    from graphexec.diffusion.export import EXPORTS

    node = workflow.nodes[export.node]
    spec = readable_spec(registry, node.class_type)
    if spec is None:
        return
    who: dict[str, Any] = {"node": node.id, "class_type": node.class_type, "title": node.title}
    if export.slot >= len(spec.outputs):
        has = ", ".join(f"{slot} {output.wire}" for slot, output in enumerate(spec.outputs)) or "none"
        message = f"There is no output {export.slot} to export"
        raise _wrong("output_slot_out_of_range", message, str(export.slot), expected=f"one of: {has}", hint=None, **who)
    wire = spec.outputs[export.slot].wire
    if wire not in EXPORTS:
        message = f"Output {export.slot} is of type {wire}, which holds no tensors to export"
        raise _wrong("not_exportable", message, wire, expected=f"one of: {', '.join(EXPORTS)}", hint=None, **who)


def _check_file(export: Export, others: Iterable[Export], text: str) -> None:
    try:
        is_folder = export.path.is_dir()
        need_writable(export.path.parent)
    except OSError as error:  # a name too long, or a folder that may not be looked or written into
        where = "" if error.filename in (None, str(export.path)) else f"{error.filename}: "
        message = f"{export.path} cannot be written: {where}{error.strerror}"
        raise _wrong("invalid_export", message, text, hint="name another file") from error
    if is_folder:
        raise _wrong("invalid_export", f"{export.path} is a folder, not a file to write", text)
    if any(other.path == export.path and other != export for other in others):
        hint = "name another file for one of them"
        raise _wrong("invalid_export", f"Two exports would be written to {export.path}", text, hint=hint)


def _wrong(code: str, message: str, received: str, **details: Any) -> WorkflowError:
    details.setdefault("hint", "write NODE=FILE.safetensors or NODE:SLOT=FILE.safetensors, as 6:0=latent.safetensors")
    return WorkflowError([Diagnostic(code=code, message=message, received=received, **details)])


@dataclass(frozen=True, slots=True)
class Exported:
    """What came of exports."""

    files: dict[str, list[Path]] = field(default_factory=dict[str, "list[Path]"])
    """By node."""
    left: list[Export] = field(default_factory=list[Export])
    """Those of nodes that did not run."""
    errors: list[str] = field(default_factory=list[str])


def write_exports(exports: Sequence[Export], plan: Plan, result: Result) -> Exported:
    """Write what can be written of the exports."""
    exported = Exported()
    for export in exports:
        outputs = result.outputs.get(plan.resolve(export.node))
        if outputs is None:
            exported.left.append(export)
            continue
        wire = plan.nodes[plan.resolve(export.node)].spec.outputs[export.slot].wire
        try:
            for path in _write(export, wire, outputs[export.slot]):
                exported.files.setdefault(export.node, []).append(path)
        except (OSError, OutputError) as error:
            exported.errors.append(str(error))
    return exported


def _write(export: Export, wire: str, items: Sequence[Any]) -> Iterator[Path]:
    """Write an output's items; the files as they are there."""
    from graphexec.diffusion.export import write_export

    if not items or any(isinstance(item, Blocker) for item in items):
        raise OutputError(f"{export.path}: output {export.slot} of node {export.node} holds nothing to export")
    names = [export.path] if len(items) == 1 else numbered(export.path, len(items))
    for path, item in zip(names, items, strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_export(path, wire, item)
        yield path


def numbered(path: Path, count: int) -> list[Path]:
    """A name for each item of a list: `-0`, `-1` … before the suffix."""
    return [path.with_name(f"{path.stem}-{place}{path.suffix}") for place in range(count)]
