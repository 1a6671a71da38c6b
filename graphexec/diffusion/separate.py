"""Networks that lie in files of their own: a UNet, text encoders, the folders of diffusers. Nothing imports torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from graphexec.diffusion.beside import INDEX_SUFFIX, whole_of
from graphexec.diffusion.checkpoint import UNET, open_checkpoint, open_vae, read_unet
from graphexec.diffusion.families import FAMILIES, check_encoders
from graphexec.diffusion.listing import list_file
from graphexec.diffusion.models.layout import ClipLayout, clip_layout
from graphexec.diffusion.models.names import named_shapes, text_parts
from graphexec.diffusion.recognise import find_prefix
from graphexec.diffusion.sources import WeightsFile
from graphexec.diffusion.types import Clip, EncoderKind, Family, Model, Sampling, TextEncoder, Vae
from graphexec.errors import MissingFileError, ModelFileError
from graphexec.lora.header import in_file

__all__ = ["folder_state", "open_clip", "open_clips", "open_configured", "open_diffusers", "open_unet"]

UNET_ALONE = (*UNET, ("", "input_blocks.0.0.weight"), ("", "conv_in.weight"))
ENCODER_ALONE = (
    ("", "text_model.embeddings.token_embedding.weight"),
    ("", "embeddings.token_embedding.weight"),
    ("", "token_embedding.weight"),
)
OF_ENCODER: Mapping[EncoderKind, Family] = {"clip_l": "sd1", "clip_h": "sd2", "clip_g": "sdxl_refiner"}
G_LAYERS, H_LAYERS = 31, 23
"""From how many layers on a text encoder is OpenCLIP's G or H; one may have left its last layer off."""


def open_unet(path: Path) -> Model:
    """The UNet of a file of its own (named as in latent diffusion or in diffusers), or of a checkpoint.

    A part of a UNet that is in several files stands for the whole. Raises `ModelFileError` for a damaged file, or one
    that is no UNet of a known family.
    """
    path = whole_of(path)
    file = WeightsFile.of(path)
    listing = list_file(path)
    with in_file(path):
        prefix = find_prefix(listing.shapes, UNET_ALONE, "a UNet")
        family, unet, sampling = read_unet(listing, prefix)
        expected = FAMILIES[family].size_numbers
        if (unet.vector_width is None) != (expected == 0) or unet.context_width is None:
            raise ModelFileError("this is a UNet of a family that is not known")
    return Model(file, family, prefix, sampling=sampling)


def open_clip(path: Path) -> Clip:
    """One text encoder (named as in transformers or in OpenCLIP), and the family that has it alone."""
    encoder, _layout = _open_encoder(path)
    return Clip((encoder,), OF_ENCODER[encoder.kind])


def open_clips(first: Path, second: Path) -> Clip:
    """The two text encoders of SDXL, in either order: the wider one is OpenCLIP's G."""
    narrow, wide = sorted((_open_encoder(first), _open_encoder(second)), key=lambda opened: opened[1].width)
    if narrow[1].width == wide[1].width:
        raise ModelFileError(
            f"{first} and {second}: SDXL takes two different text encoders, CLIP L (768 wide) and OpenCLIP G (1280);"
            f" both of these are {wide[1].width} wide"
        )
    return Clip((replace(narrow[0], kind="clip_l"), replace(wide[0], kind="clip_g")), "sdxl")


def open_diffusers(index: Path) -> tuple[Model, Clip, Vae]:
    """The networks of a folder in the layout of diffusers; `index` is its model_index.json.

    Raises `ModelFileError` if a part is missing or the parts do not belong together.
    """
    folder = index.parent
    model = _predicting(open_unet(_weights(folder, "unet")), folder / "scheduler" / "scheduler_config.json")
    encoders = [_weights(folder, part) for part in ("text_encoder", "text_encoder_2") if (folder / part).is_dir()]
    if not encoders:
        raise MissingFileError(f"{folder}: there is no text_encoder in it")
    clip = open_clips(*encoders) if len(encoders) == 2 else open_clip(encoders[0])
    if len(encoders) == 1 and len(FAMILIES[model.family].encoders) == 1:
        (kind,) = FAMILIES[model.family].encoders
        clip = Clip((replace(clip.encoders[0], kind=kind),), model.family)
    with in_file(folder):
        check_encoders(model, clip)
    return model, clip, open_vae(_weights(folder, "vae"))


def folder_state(index: Path) -> list[tuple[str, int, int]]:
    """What tells whether a folder of diffusers still holds the same: names, sizes and times of what is opened in it."""
    files = sorted(file for kind in ("*/*.safetensors", "*/*.json") for file in index.parent.glob(kind))
    return [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]


def open_configured(config: Path, path: Path, *, allow_pickle: bool = False) -> tuple[Model, Clip, Vae]:
    """A checkpoint, with the prediction and the text encoder's layer of a configuration of latent diffusion (YAML).

    Everything else is told by the checkpoint itself. Raises `ModelFileError` for either file.
    """
    model, clip, vae = open_checkpoint(path, allow_pickle=allow_pickle)
    params = _config_params(config)
    if params.get("parameterization") == "v":
        model = replace(model, sampling=replace(model.sampling, prediction="v"))
    encoder = params.get("cond_stage_config", {})
    layer = encoder.get("params", {}).get("layer_idx") if isinstance(encoder, dict) else None
    return model, replace(clip, last_layer=layer) if isinstance(layer, int) else clip, vae


def _config_params(config: Path) -> dict[str, Any]:
    import yaml

    try:
        params = yaml.safe_load(config.read_bytes())["model"]["params"]
    except (OSError, yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise ModelFileError(f"{config}: this is no configuration of latent diffusion ({error})") from error
    if not isinstance(params, dict):
        raise ModelFileError(f"{config}: 'model: params:' must hold names with values")
    return cast("dict[str, Any]", params)


def _open_encoder(path: Path) -> tuple[TextEncoder, ClipLayout]:
    path = whole_of(path)
    file = WeightsFile.of(path)
    shapes = list_file(path).shapes
    with in_file(path):
        prefix = find_prefix(shapes, ENCODER_ALONE, "a CLIP text encoder")
        layout = clip_layout(named_shapes(shapes, text_parts(shapes)))
    kind: EncoderKind = "clip_g" if layout.layers >= G_LAYERS else "clip_h" if layout.layers >= H_LAYERS else "clip_l"
    return TextEncoder(kind, file, prefix), layout


_STEMS = ("diffusion_pytorch_model", "model")
_VARIANTS = ("", ".fp16", ".non_ema", ".bf16")


def _weights(folder: Path, part: str) -> Path:
    """The file of weights of one part of a folder of diffusers: the full one, or else a variant; or its index."""
    stems = [f"{stem}{variant}" for variant in _VARIANTS for stem in _STEMS]
    for name in (f"{stem}{suffix}" for stem in stems for suffix in (".safetensors", INDEX_SUFFIX)):
        if (folder / part / name).is_file():
            return folder / part / name
    raise MissingFileError(f"{folder / part}: there is no {stems[0]}.safetensors or {stems[1]}.safetensors in it")


def _predicting(model: Model, config: Path) -> Model:
    """The model with the prediction that diffusers' configuration of its scheduler names, if there is one."""
    from json import JSONDecodeError, loads

    try:
        told = loads(config.read_text(encoding="utf-8"))
        prediction, zero_snr = told.get("prediction_type"), told.get("rescale_betas_zero_snr")
    except FileNotFoundError:
        return model
    except (OSError, JSONDecodeError, UnicodeDecodeError, AttributeError) as error:
        raise ModelFileError(f"{config}: the scheduler's configuration cannot be read ({error})") from error
    if prediction not in ("v_prediction", "epsilon"):
        return model
    sampling = Sampling("v" if prediction == "v_prediction" else "eps", zero_snr=zero_snr is True)
    return replace(model, sampling=sampling)
