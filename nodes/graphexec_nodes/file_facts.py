"""What nodes that open files of weights know of them before anything runs; none of it reads a weight or imports torch.

A file that cannot be read only warns: it may be a stand-in where workflows are checked without models.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from graphexec.errors import ModelFileError
from graphexec.node.fields import Facts, Inferred, Note


def of_checkpoint(ckpt_name: Path) -> Inferred:
    """Family and size of a checkpoint, and the recipes that a LoRA is matched with.

    A part that it does not have is said to be absent. One that is pickled warns too: whether it may be opened is
    settled by the run.
    """
    from graphexec.diffusion.checkpoint import checkpoint_facts, open_checkpoint
    from graphexec.diffusion.recognise import NO_TEXT, NO_VAE

    def known() -> tuple[dict[str, Any], ...]:
        found = checkpoint_facts(ckpt_name)
        model, clip, vae = open_checkpoint(ckpt_name)
        whole = {"family": found["family"], "bytes": found["bytes"]}
        text = _recipe(clip) if found["text_width"] else {"absent": f"{ckpt_name}: {NO_TEXT}"}
        decoder = _recipe(vae) if found["latent_channels"] else {"absent": f"{ckpt_name}: {NO_VAE}"}
        return {**whole, "recipe": model}, text, decoder

    return _opened(known, "ckpt_name", _hint(ckpt_name))


def of_diffusers(model_path: Path) -> Inferred:
    """The recipes of a folder of diffusers."""
    from graphexec.diffusion.separate import open_diffusers

    return _opened(lambda: tuple(map(_recipe, open_diffusers(model_path))), "model_path")


def of_unet(unet_name: Path) -> Inferred:
    """The recipe of a diffusion model in a file of its own."""
    from graphexec.diffusion.separate import open_unet

    return _opened(lambda: (_recipe(open_unet(unet_name)),), "unet_name")


def of_clip(clip_name: Path) -> Inferred:
    """The recipe of a text encoder in a file of its own."""
    from graphexec.diffusion.separate import open_clip

    return _opened(lambda: (_recipe(open_clip(clip_name)),), "clip_name")


def of_clips(clip_name1: Path, clip_name2: Path) -> Inferred:
    """The recipe of SDXL's text encoders."""
    from graphexec.diffusion.separate import open_clips

    return _opened(lambda: (_recipe(open_clips(clip_name1, clip_name2)),), "clip_name1")


def of_upscaler(model_name: Path) -> Inferred:
    """Nothing is known of an upscale model but whether it can be opened; one that is pickled warns, as a checkpoint."""
    from graphexec.diffusion.listing import list_file

    def known() -> tuple[dict[str, Any]]:
        list_file(model_name)
        return ({},)

    return _opened(known, "model_name", _hint(model_name))


def of_controlnet(control_net_name: Path) -> Inferred:
    """The recipe of a ControlNet or T2I-Adapter."""
    from graphexec.diffusion.controlfiles import open_controlnet

    return _opened(lambda: (_recipe(open_controlnet(control_net_name)),), "control_net_name")


def of_diff_controlnet(model: Facts, control_net_name: Path) -> Inferred:
    """As `of_controlnet`; a difference to another family of models is an error."""
    from graphexec.diffusion.controlfiles import open_controlnet

    alone = of_controlnet(control_net_name)
    if alone.notes or "recipe" not in model:
        return alone
    return Inferred((_recipe(open_controlnet(control_net_name, model["recipe"])),))


FAILING = "it will fail to run"


def _opened(known: Callable[[], tuple[dict[str, Any], ...]], name: str, hint: str = FAILING) -> Inferred:
    try:
        return Inferred(known())
    except ModelFileError as error:
        return Inferred(notes=(Note(str(error), name, "warning", "invalid_model_file", hint),))


def _hint(path: Path) -> str:
    """What to do about a file that cannot be opened and that the run may open."""
    from graphexec.diffusion.listing import PICKLE_SUFFIXES

    pickled = path.suffix.lower() in PICKLE_SUFFIXES
    return "it runs with --allow-pickle alone, and is not checked before" if pickled else FAILING


def _recipe(recipe: Any) -> dict[str, Any]:
    return {"recipe": recipe}
