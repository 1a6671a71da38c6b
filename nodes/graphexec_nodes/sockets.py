"""The types that built-in nodes share, and the runtime that they compute with. Importing this imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

from graphexec.node.fields import Folder, Mentioned, Resource

if TYPE_CHECKING:
    from graphexec.diffusion.runtime import Runtime as _Runtime
else:
    _Runtime = Any

Runtime = Annotated[_Runtime, Resource("runtime")]

AllowPickle = Annotated[bool, Resource("allow_pickle")]
StrictLora = Annotated[bool, Resource("strict_lora")]


def opened_together(path: Path) -> Sequence[Path]:
    """The files that are opened together with one: the other parts of a network, a LoRA's configuration."""
    from graphexec.diffusion.beside import beside

    return beside(path)


CheckpointFile = Annotated[Path, Folder("checkpoints")]
LoraFile = Annotated[Path, Folder("loras", beside=opened_together)]
ConfigFile = Annotated[Path, Folder("configs")]
DiffusersFolder = Annotated[Path, Folder("diffusers", marker="model_index.json")]
EncoderFile = Annotated[Path, Folder("text_encoders", beside=opened_together)]
UnetFile = Annotated[Path, Folder("diffusion_models", beside=opened_together)]
VaeFile = Annotated[Path, Folder("vae")]
PictureFile = Annotated[Path, Folder("input")]


def find_embeddings(text: str, known: Sequence[str]) -> Mapping[str, str | None]:
    """The files of the embeddings that a prompt names."""
    if "embedding:" not in text:
        return {}
    from graphexec.diffusion.embeddings import find_mentioned

    return find_mentioned(text, known)


Embeddings = Annotated[Mapping[str, Path], Mentioned("embeddings", find_embeddings)]


def make_runtime(settings: Mapping[str, str]) -> Any:
    """The runtime of one context.

    `device` among the settings is auto, cpu, cuda or cuda:N; `precision` is fp32, fp16 or bf16; `compile` is kernels or
    graphs; `strict_lora` is yes or missing.
    """
    from graphexec.diffusion.runtime import Runtime

    precision, compiling = (cast("Any", settings.get(name)) for name in ("precision", "compile"))
    return Runtime(
        device=settings.get("device", "auto"),
        precision=precision,
        compiling=compiling,
        strict_lora=is_strict_on_loras(settings),
    )


def may_unpickle(settings: Mapping[str, str]) -> bool:
    """Whether files that PyTorch pickled may be opened."""
    return settings.get("allow_pickle") == "yes"


def is_strict_on_loras(settings: Mapping[str, str]) -> bool:
    """Whether a LoRA that is used only in part is an error."""
    return settings.get("strict_lora") == "yes"


RESOURCES: Mapping[str, Callable[[Mapping[str, str]], Any]] = {
    "runtime": make_runtime,
    "allow_pickle": may_unpickle,
    "strict_lora": is_strict_on_loras,
}
