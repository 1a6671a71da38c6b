"""Reads a node function's signature into a `NodeSpec`."""

from __future__ import annotations

import functools
import hashlib
import inspect
import re
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path, PurePath
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from graphexec.errors import NodeDefinitionError
from graphexec.node.decorator import NodeDefinition
from graphexec.node.fields import (
    Artifacts,
    Blocker,
    Each,
    Expand,
    Folder,
    Graph,
    Lazy,
    Mentioned,
    Name,
    NodeId,
    Progress,
    Resource,
    Warn,
    Widget,
    Wire,
    WorkflowInfo,
)
from graphexec.node.spec import MISSING, Hidden, HiddenKind, Hook, InputSpec, NodeSpec, OutputSpec

PLAIN_WIRES: Mapping[Any, str] = {int: "INT", float: "FLOAT", str: "STRING", bool: "BOOLEAN"}
UNCHECKED = ("gt", "lt", "multiple_of", "min_length", "max_length", "pattern")
"""What marks of other libraries may ask of a value besides a range."""
CONSTRAINING = frozenset({"annotated_types", "pydantic"})
"""Libraries whose marks are constraints, whatever else they are."""
HIDDEN_TYPES: Mapping[Any, HiddenKind] = {
    NodeId: "node_id",
    Progress: "progress",
    Warn: "warn",
    WorkflowInfo: "workflow",
    Graph: "graph",
}


@dataclass(frozen=True, slots=True)
class Peeled:
    """An annotation without its wrappers."""

    core: Any
    metadata: tuple[Any, ...] = ()
    """What `Annotated` marks it with, innermost first."""
    optional: bool = False
    lazy: bool = False
    is_list: bool = False

    def find(self, kind: type[Any]) -> Any:
        """The outermost mark of a kind: an alias is refined by what is written around it."""
        return next((item for item in reversed(self.metadata) if isinstance(item, kind)), None)


def read_spec(function: Callable[..., Any], definition: NodeDefinition) -> NodeSpec:
    """Read a function marked by `@node`; raises NodeDefinitionError naming the parameter it cannot read."""
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except (NameError, AttributeError, SyntaxError, TypeError) as error:
        raise NodeDefinitionError(
            f"{definition.name}: {error}; annotations of a node must exist at run time "
            "(import the type outside `if TYPE_CHECKING`)"
        ) from error
    tooltips = read_tooltips(function.__doc__ or "")
    inputs: dict[str, InputSpec] = {}
    hidden: dict[str, Hidden] = {}
    mentioned: dict[str, Mentioned] = {}
    for parameter in inspect.signature(function).parameters.values():
        peeled = peel(_hint(definition, hints, parameter))
        _check_number(definition, parameter, peeled)
        if (supplied := _hidden(peeled)) is not None:
            hidden[parameter.name] = supplied
        elif (mark := peeled.find(Mentioned)) is not None:
            mentioned[parameter.name] = mark
        else:
            inputs |= _inputs(definition, parameter, peeled, tooltips.get(parameter.name, ""))
    returned = _returned(definition, hints)
    return NodeSpec(
        name=definition.name,
        function=function,
        category=definition.category,
        display_name=definition.display_name or definition.name,
        description=(inspect.getdoc(function) or "").split("\n\n")[0].replace("\n", " "),
        inputs=inputs,
        outputs=returned.outputs,
        hidden=hidden,
        mentioned=mentioned,
        is_output=bool(returned.artifact_slots) or returned.nothing,
        artifact_slots=returned.artifact_slots,
        single=returned.single,
        is_async=inspect.iscoroutinefunction(function),
        expands=returned.expands,
        check=_hook(definition, inputs, definition.check, extra=("input_types",)),
        fingerprint=_hook(definition, inputs, definition.fingerprint),
        infer=_hook(definition, inputs, definition.infer),
        version=f"{definition.version}:{code_digest(function)}",
        module=function.__module__,
        reads_files=any(spec.folder for spec in inputs.values()),
        uses_node_id=any(supplied.kind == "node_id" for supplied in hidden.values()),
        uses_resource=any(supplied.kind == "resource" for supplied in hidden.values()),
    )


def wire_name(cls: type[Any]) -> str:
    """The wire type of a socket class: ClipVision -> CLIP_VISION."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", cls.__name__).upper()


def code_digest(function: Callable[..., Any]) -> str:
    """A digest of a function's own code, defaults and closure, so that an edited node does not meet its old results."""
    digest = hashlib.sha256()
    pending: list[Any] = [inspect.unwrap(function)]
    seen: set[int] = set()
    while pending:
        part = pending.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        if isinstance(part, types.FunctionType):
            pending += [part.__code__, part.__defaults__, part.__kwdefaults__, *_closure(part)]
        elif isinstance(part, types.CodeType):
            digest.update(part.co_code + repr((part.co_names, part.co_varnames)).encode())
            pending += part.co_consts
        else:
            digest.update(_stable(part).encode())
    return digest.hexdigest()[:16]


def _closure(function: types.FunctionType) -> list[Any]:
    cells = function.__closure__ or ()
    return [cell.cell_contents for cell in cells if cell != types.CellType()]  # an empty one has no contents


def _stable(value: Any) -> str:
    """A text that is the same in every process: sets are sorted, and of objects only the class is told."""
    if isinstance(value, frozenset):
        return repr(sorted(map(_stable, typing.cast("frozenset[Any]", value))))
    if isinstance(value, tuple):
        return repr([_stable(item) for item in typing.cast("tuple[Any, ...]", value)])
    if isinstance(value, dict):
        return repr({key: _stable(item) for key, item in typing.cast("dict[Any, Any]", value).items()})
    plain = value is None or isinstance(value, bool | int | float | complex | str | bytes | Enum | PurePath)
    return f"{type(value).__qualname__} {value!r}" if plain else type(value).__qualname__


def peel(annotation: Any) -> Peeled:
    """Take `Annotated`, `| None`, `Lazy` and `list` off an annotation, outermost first."""
    metadata: tuple[Any, ...] = ()
    optional = lazy = is_list = False
    while True:
        origin, arguments = get_origin(annotation), get_args(annotation)
        if origin is Annotated:
            annotation, metadata = arguments[0], tuple(arguments[1:]) + metadata
        elif origin in (Union, types.UnionType) and type(None) in arguments:
            optional = True
            annotation = functools.reduce(lambda a, b: a | b, (a for a in arguments if a is not type(None)))
        elif origin is Lazy:
            lazy, annotation = True, arguments[0]
        elif origin is list:
            is_list, annotation = True, arguments[0]
        else:
            return Peeled(annotation, metadata, optional, lazy, is_list)


def read_tooltips(docstring: str) -> dict[str, str]:
    """The `Args:` section of a docstring: parameter -> text."""
    section = re.search(r"^\s*Args:\s*$(.*?)(?=^\s*[A-Z]\w+:\s*$|\Z)", docstring, re.MULTILINE | re.DOTALL)
    if section is None:
        return {}
    entries = re.findall(r"^\s+(\w+):\s+(.*?)(?=^\s+\w+:\s|\Z)", section[1], re.MULTILINE | re.DOTALL)
    return {name: " ".join(text.split()) for name, text in entries}


def _hint(definition: NodeDefinition, hints: Mapping[str, Any], parameter: inspect.Parameter) -> Any:
    if parameter.name not in hints:
        raise NodeDefinitionError(f"{definition.name}: parameter {parameter.name} has no type annotation")
    return hints[parameter.name]


def _check_number(definition: NodeDefinition, parameter: inspect.Parameter, peeled: Peeled) -> None:
    if parameter.kind is parameter.VAR_POSITIONAL or (parameter.kind is parameter.VAR_KEYWORD) != bool(
        peeled.find(Each)
    ):
        raise NodeDefinitionError(
            f"{definition.name}: a node takes no *{parameter.name}; name every input, or mark **{parameter.name} with"
            " Each(names, default)"
        )


def _hidden(peeled: Peeled) -> Hidden | None:
    resource = peeled.find(Resource)
    if resource is not None:
        return Hidden("resource", resource.name)
    try:
        kind = HIDDEN_TYPES.get(peeled.core)
    except TypeError:  # an unhashable annotation is no hidden type
        return None
    return Hidden(kind) if kind else None


def _inputs(
    definition: NodeDefinition, parameter: inspect.Parameter, peeled: Peeled, tooltip: str
) -> dict[str, InputSpec]:
    """The input that a parameter stands for, or those of a `**parameter` marked by `Each`."""
    spec = _input(definition, parameter, peeled, tooltip)
    each = peeled.find(Each)
    if each is None:
        if spec.whole_list and spec.optional and not spec.has_default:
            raise NodeDefinitionError(f"{definition.name}.{parameter.name}: an optional list needs a default: = None")
        return {spec.name: spec}
    return {name: replace(spec, name=name, default=each.default) for name in each.names}


def _input(definition: NodeDefinition, parameter: inspect.Parameter, peeled: Peeled, tooltip: str) -> InputSpec:
    where = f"{definition.name}.{parameter.name}"
    folder = peeled.find(Folder)
    choices = get_args(peeled.core) if get_origin(peeled.core) is Literal else None
    if peeled.core is Path and folder is None:
        raise NodeDefinitionError(f"{where}: a Path needs its folder: Annotated[Path, Folder('loras')]")
    named, called = peeled.find(Wire), peeled.find(Name)
    wire = named.name if named else _wire(where, peeled.core)
    low, high = _bounds(where, peeled.metadata)
    return InputSpec(
        name=called.name if called else parameter.name,
        wire=wire,
        widget=all(part in (*PLAIN_WIRES.values(), "COMBO", "*") for part in wire.split(",")),
        optional=peeled.optional,
        default=MISSING if parameter.default is parameter.empty else parameter.default,
        minimum=low,
        maximum=high,
        choices=choices,
        folder=folder,
        look=peeled.find(Widget) or Widget(),
        lazy=peeled.lazy,
        whole_list=peeled.is_list,
        type_var=peeled.core.__name__ if isinstance(peeled.core, TypeVar) else None,
        tooltip=tooltip,
        argument=parameter.name if called else "",
    )


def _wire(where: str, core: Any) -> str:
    if core is Any or core is object or isinstance(core, TypeVar):
        return "*"
    if core is Path or get_origin(core) is Literal:
        return "COMBO"
    if get_origin(core) in (Union, types.UnionType):
        return ",".join(_wire(where, part) for part in get_args(core) if part is not Blocker)
    if core in PLAIN_WIRES:
        return PLAIN_WIRES[core]
    if isinstance(core, type):
        return wire_name(typing.cast("type[Any]", core))
    raise NodeDefinitionError(f"{where}: {core!r} is no type that a workflow can carry")


def _bounds(where: str, metadata: tuple[Any, ...]) -> tuple[float | None, float | None]:
    low = high = None
    for constraint in _constraints(metadata):
        ranged = hasattr(constraint, "ge") or hasattr(constraint, "le")
        if not ranged or any(getattr(constraint, name, None) is not None for name in UNCHECKED):
            raise NodeDefinitionError(f"{where}: {constraint!r} is not checked; write a range as Range(ge=…, le=…)")
        low = _or(getattr(constraint, "ge", None), low)
        high = _or(getattr(constraint, "le", None), high)
    return low, high


def _or(bound: float | None, other: float | None) -> float | None:
    return other if bound is None else bound


def _constraints(metadata: tuple[Any, ...]) -> Iterator[Any]:
    """The constraints among the marks; a `Field` of pydantic's, which is not imported for that, holds several."""
    for item in metadata:
        if type(item).__module__ == "pydantic.fields":
            yield from item.metadata
        elif type(item).__module__.partition(".")[0] in CONSTRAINING or any(
            hasattr(item, name) for name in ("ge", "le", *UNCHECKED)
        ):
            yield item


@dataclass(frozen=True, slots=True)
class _Returned:
    outputs: tuple[OutputSpec, ...]
    artifact_slots: tuple[int, ...]
    expands: bool = False
    nothing: bool = False
    single: bool = False


def _returned(definition: NodeDefinition, hints: Mapping[str, Any]) -> _Returned:
    if "return" not in hints:
        raise NodeDefinitionError(f"{definition.name}: the function says nothing of what it returns")
    annotation = hints["return"]
    expands = get_origin(annotation) is Expand
    if expands:
        annotation = get_args(annotation)[0]
    if annotation is type(None):
        return _Returned((), (), expands, nothing=True, single=True)
    names, parts = _parts(annotation)
    single = get_origin(annotation) is not tuple and not hasattr(annotation, "_fields")
    slots = tuple(i for i, part in enumerate(parts) if _is_files(definition, part))
    outputs = tuple(
        _output(definition, name, part)
        for place, (name, part) in enumerate(zip(names, parts, strict=True))
        if place not in slots
    )
    return _Returned(outputs, slots, expands, single=single)


def _is_files(definition: NodeDefinition, annotation: Any) -> bool:
    """Whether a part of what comes back is files to write."""
    peeled = peel(annotation)
    union = get_origin(peeled.core) in (Union, types.UnionType)
    kinds = [kind for kind in (get_args(peeled.core) if union else (peeled.core,)) if kind is not Blocker]
    if Artifacts not in kinds:
        return False
    if peeled.optional or peeled.is_list or len(kinds) > 1:
        raise NodeDefinitionError(
            f"{definition.name}: files are returned as Artifacts or Artifacts | Blocker; where there are none to write "
            "return Artifacts()"
        )
    return True


def _parts(annotation: Any) -> tuple[tuple[str, ...], tuple[Any, ...]]:
    """Names (empty where the wire type names the slot) and types of what comes back."""
    if hasattr(annotation, "_fields"):  # a NamedTuple
        fields = typing.get_type_hints(annotation, include_extras=True)
        return tuple(fields), tuple(fields.values())
    parts: tuple[Any, ...] = get_args(annotation) if get_origin(annotation) is tuple else (annotation,)
    return ("",) * len(parts), parts


def _output(definition: NodeDefinition, name: str, annotation: Any) -> OutputSpec:
    peeled = peel(annotation)
    wire = _wire(f"{definition.name} -> {name or 'result'}", peeled.core)
    type_var = peeled.core.__name__ if isinstance(peeled.core, TypeVar) else None
    called = peeled.find(Name)
    return OutputSpec(called.name if called else name or wire, wire, peeled.is_list, type_var)


def _hook(
    definition: NodeDefinition,
    inputs: Mapping[str, InputSpec],
    function: Callable[..., Any] | None,
    extra: tuple[str, ...] = (),
) -> Hook | None:
    if function is None:
        return None
    if inspect.iscoroutinefunction(function):
        raise NodeDefinitionError(f"{definition.name}: {function.__name__} is async; hooks are plain functions")
    parameters = inspect.signature(function).parameters.values()
    names = tuple(each.name for each in parameters if each.kind is not each.VAR_KEYWORD)
    unknown = [name for name in names if name not in inputs and name not in extra]
    if unknown:
        raise NodeDefinitionError(
            f"{definition.name}: {function.__name__} asks for {', '.join(unknown)}, which are no inputs of the node"
        )
    if len(names) < len(parameters):
        names += tuple(name for name in inputs if name not in names)
    return Hook(function, names)
