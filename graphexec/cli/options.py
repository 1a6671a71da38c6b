"""Options that several commands share, and what becomes of them."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from graphexec.cli.document import ending_in_a_document

if TYPE_CHECKING:
    from graphexec.graph.cache import Cache
    from graphexec.graph.context import Context
    from graphexec.graph.events import Sink
    from graphexec.graph.folders import Folders
    from graphexec.node.registry import Registry

Command = Callable[..., Any]
Decorator = Callable[[Command], Command]

MEMORY_BYTES = 2**30
"""How much the memory cache of a run may hold; the disk has the rest."""

FILE = click.Path(path_type=Path)


@dataclass(frozen=True, slots=True)
class App:
    """What commands get from the program that they belong to."""

    registry: Callable[[], Registry]
    """Makes the registry; called by commands that need one."""


def bundled(kind: type[Any], *options: Decorator) -> Decorator:
    """Options that reach a command as one value of a dataclass, called like the class in lower case."""
    names = [field.name for field in dataclasses.fields(kind)]

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def bundling(*arguments: Any, **values: Any) -> Any:
            own = kind(**{name: values.pop(name) for name in names})
            return command(*arguments, **values, **{kind.__name__.lower(): own})

        return functools.reduce(lambda inner, option: option(inner), reversed(options), bundling)

    return decorate


@dataclass(frozen=True, slots=True)
class Places:
    """Where model files and pictures to load lie."""

    models: tuple[Path, ...]
    extra_model_paths: tuple[Path, ...]
    input_folder: Path

    def folders(self, output: Path = Path("output")) -> Folders:
        """The folders in which names are looked up; raises FolderError for one that cannot be read."""
        from graphexec.graph.folders import Folders

        return Folders.standard(self.models, self.extra_model_paths, input_dir=self.input_folder, output_dir=output)


place_options = bundled(
    Places,
    click.option(
        "--models",
        type=FILE,
        multiple=True,
        metavar="DIR",
        help="Folder of models in ComfyUI's layout (checkpoints, loras, …). Repeatable; before GRAPHEXEC_MODELS.",
    ),
    click.option(
        "--extra-model-paths",
        type=FILE,
        multiple=True,
        metavar="YAML",
        help="A ComfyUI extra_model_paths.yaml. Repeatable.",
    ),
    click.option(
        "--input",
        "input_folder",
        type=FILE,
        default="input",
        show_default=True,
        metavar="DIR",
        help="Folder of the pictures that nodes load.",
    ),
)


@dataclass(frozen=True, slots=True)
class Changes:
    """Values that replace those of the workflow."""

    settings: tuple[str, ...]
    set_files: tuple[Path, ...]


change_options = bundled(
    Changes,
    click.option(
        "--set",
        "settings",
        multiple=True,
        metavar="NODE.input=value",
        help="Another value for an input; NODE is an id, or a title or class that only one node has. Repeatable.",
    ),
    click.option(
        "--set-file",
        "set_files",
        type=FILE,
        multiple=True,
        metavar="FILE",
        help='JSON with such values: {"NODE.input": value}. Repeatable; --set counts more.',
    ),
)


@dataclass(frozen=True, slots=True)
class Checks:
    """What to check, and how strictly."""

    targets: tuple[str, ...]
    strict: bool
    strict_lora: bool
    fill_defaults: bool


check_options = bundled(
    Checks,
    click.option(
        "--target",
        "targets",
        multiple=True,
        metavar="NODE",
        help="Only this node and what it needs, instead of all output nodes. Repeatable.",
    ),
    click.option("--strict", is_flag=True, help="Lossy conversions, undeclared inputs and wrapped prompts are errors."),
    click.option("--strict-lora", is_flag=True, help="A LoRA that changes a model only in part is an error."),
    click.option("--fill-defaults", is_flag=True, help="Use the default of a missing input, with a warning."),
)


@dataclass(frozen=True, slots=True)
class Store:
    """Where the disk cache is."""

    cache_dir: Path | None

    @property
    def root(self) -> Path:
        """Its folder."""
        if self.cache_dir is not None:
            return self.cache_dir
        from platformdirs import user_cache_path

        return user_cache_path("graphexec")


CACHE_DIR = click.option(
    "--cache-dir",
    type=FILE,
    metavar="DIR",
    envvar="GRAPHEXEC_CACHE",
    help="Folder of the cache, instead of the user's; GRAPHEXEC_CACHE names one too.",
)
store_options = bundled(Store, CACHE_DIR)


@dataclass(frozen=True, slots=True)
class Caching:
    """What is kept from run to run, and on what nodes compute: results depend on it."""

    cache_dir: Path | None
    no_cache: bool
    device: str
    allow_pickle: bool = False
    precision: str | None = None
    compile: bool = False
    cuda_graphs: bool = False

    def context(
        self, registry: Registry, on_event: Sink | None = None, *, strict_lora: bool = False, **more: Any
    ) -> Context:
        """A context with these caches, which tell of bad entries, and whatever else it is to have."""
        from graphexec.graph import events
        from graphexec.graph.context import Context
        from graphexec.graph.digests import FileDigests

        on_event = on_event or events.ignore
        root = None if self.no_cache else Store(self.cache_dir).root
        return Context(
            cache=_cache(root, registry, on_event),
            digests=FileDigests(root),
            settings={"device": self.device}
            | ({"allow_pickle": "yes"} if self.allow_pickle else {})
            | ({"strict_lora": "yes"} if strict_lora else {})
            | ({"precision": self.precision} if self.precision else {})
            | ({"compile": "graphs" if self.cuda_graphs else "kernels"} if self.compile or self.cuda_graphs else {}),
            on_event=on_event,
            **more,
        )


def _cache(root: Path | None, registry: Registry, on_event: Sink) -> Cache:
    from graphexec.graph.cache import MemoryCache, NullCache, TieredCache

    if root is None:
        return NullCache()
    from graphexec.graph.events import CacheProblem
    from graphexec.graph.store import DiskStore

    def tell(path: Path, reason: str) -> None:
        on_event(CacheProblem(path, reason))

    return TieredCache(MemoryCache(MEMORY_BYTES), DiskStore(root, registry.codecs, on_drop=tell, on_problem=tell))


def parse_device(text: str) -> str:
    """A device as it is written: `auto`, `cpu`, `cuda` or `cuda:N`; raises BadParameter for anything else."""
    kind, colon, number = text.partition(":")
    if text not in ("auto", "cpu", "cuda") and not (kind == "cuda" and colon and number.isdecimal()):
        raise click.BadParameter(f"{text!r} is none of auto, cpu, cuda, cuda:N")
    return text


DEVICE = click.option(
    "--device",
    type=parse_device,
    default="auto",
    show_default=True,
    metavar="DEVICE",
    help="What to compute on: auto, cpu, cuda or cuda:N.",
)
cache_options = bundled(
    Caching,
    CACHE_DIR,
    click.option("--no-cache", is_flag=True, help="Neither use nor keep results of other runs."),
    DEVICE,
    click.option(
        "--precision",
        type=click.Choice(["fp32", "fp16", "bf16"]),
        help="What models compute in where a workflow does not say; without it fp16 on CUDA, else fp32.",
    ),
    click.option(
        "--compile",
        is_flag=True,
        help="Compile UNets: takes a minute or more at each new size, and less time for each step after it.",
    ),
    click.option("--cuda-graphs", is_flag=True, help="As --compile, with the launches of a step recorded on CUDA."),
    click.option(
        "--allow-pickle", is_flag=True, help="Open .ckpt, .pt, .pth and .bin files too; nothing that is in them is run."
    ),
)

workflow_argument = click.argument("workflow", metavar="WORKFLOW")


def json_option(what: str) -> Decorator:
    """`--json`, which prints `what` as one document, or what stopped the command."""

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def ending(*arguments: Any, as_json: bool, **values: Any) -> Any:
            with ending_in_a_document(wanted=as_json):
                return command(*arguments, as_json=as_json, **values)

        return click.option("--json", "as_json", is_flag=True, help=f"Print {what} as one JSON document.")(ending)

    return decorate
