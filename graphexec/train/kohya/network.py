"""`network_module`, `network_args` and their kin: which adapters are trained."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from graphexec.train.config import GivenNetwork, Network, NetworkKind
from graphexec.train.kohya.base import Base
from graphexec.train.kohya.blocks import block_counts, block_rates
from graphexec.train.kohya.keys import MOST_RANK, Key
from graphexec.train.kohya.presets import OWN, PRESETS, Preset
from graphexec.train.kohya.settings import Settings, Tables, checked, fill, nearest
from graphexec.train.kohya.values import pairs

__all__ = ["ARGUMENTS", "Adapters", "read_network"]

MODULES: Mapping[str, NetworkKind] = {
    "networks.lora": "lora",
    "networks.loha": "loha",
    "networks.lokr": "lokr",
    "lycoris.kohya": "lora",
}
REFUSED_MODULES: Mapping[str, str] = {
    "networks.dylora": "DyLoRA is not trained; networks.lora with the rank that you want comes nearest",
    "networks.lora_fa": "LoRA-FA is not trained; networks.lora comes nearest",
    "networks.oft": "OFT is not trained; networks.lora with network_args dora_wd=True comes nearest",
}
ALGORITHMS: Mapping[str, NetworkKind] = {"lora": "lora", "locon": "lora", "loha": "loha", "lokr": "lokr"}
"""LyCORIS' algorithms."""

DEFAULT_RANK = 4
_PLAIN = "convolutions are decomposed as kohya does: leave it out"
ARGUMENTS = Tables(
    {
        "algo": Key("text", "network.kind", tuple(ALGORITHMS)),
        "preset": Key("text", "network.ranks_by_name", tuple(PRESETS)),
        "conv_dim": Key("int", "network.conv_rank", least=0, most=MOST_RANK),
        "conv_alpha": Key("number", "network.conv_alpha", least=0, most=MOST_RANK),
        "dropout": Key("number", "network.dropout", least=0, most=1),
        "rank_dropout": Key("number", "network.rank_dropout", least=0, most=1),
        "module_dropout": Key("number", "network.module_dropout", least=0, most=1),
        "factor": Key("int", "network.lokr_factor", least=-1),
        "dora_wd": Key("flag", "network.decompose"),
        "wd_on_output": Key("flag", "network.decompose", ("True",)),
        "rs_lora": Key("flag", "network.alpha"),
        "block_dims": Key("ints", "network.block_ranks", least=0, most=MOST_RANK),
        "block_alphas": Key("numbers", "network.block_alphas", least=0, most=MOST_RANK),
        "conv_block_dims": Key("ints", "network.conv_block_ranks", least=0, most=MOST_RANK),
        "conv_block_alphas": Key("numbers", "network.conv_block_alphas", least=0, most=MOST_RANK),
        "network_reg_dims": Key("text", "network.ranks_by_name"),
        "down_lr_weight": Key("text", "optimiser.block_lr"),
        "mid_lr_weight": Key("text", "optimiser.block_lr"),
        "up_lr_weight": Key("text", "optimiser.block_lr"),
        "block_lr_zero_threshold": Key("number", "optimiser.block_lr", least=0),
        "loraplus_lr_ratio": Key("number", "optimiser.loraplus_unet", least=0),
        "loraplus_unet_lr_ratio": Key("number", "optimiser.loraplus_unet", least=0),
        "loraplus_text_encoder_lr_ratio": Key("number", "optimiser.loraplus_text", least=0),
    },
    {
        "verbose": "the plan (--dry-run) says which adapters there are",
        "no_dim_warn": "there is no such warning",
        "disable_conv_cp": "convolutions are decomposed as kohya does anyway",
        "bypass_mode": "the adapters give the same either way",
    },
    {
        "use_tucker": _PLAIN,
        "use_cp": _PLAIN,
        "use_conv_cp": _PLAIN,
        "decompose_both": "LoKr decomposes only its larger matrix: leave it out",
        "full_matrix": "LoKr is trained with a rank: leave it out, and set network_dim",
        "unbalanced_factorization": "LoKr splits into sizes as even as can be: leave it out, and set factor",
        "use_scalar": "there is no factor that is trained along: leave it out",
        "rank_dropout_scale": "what is left is scaled by rank_dropout itself, not by what was drawn: leave it out",
        "train_norm": "norms are not trained: leave it out",
        "block_size": "DyLoRA is not trained: leave it out",
        "unit": "DyLoRA is not trained: leave it out",
        "constraint": "OFT is not trained: leave it out",
        "rescaled": "OFT is not trained: leave it out",
        "network_reg_lrs": "there are no learning rates by name: use down_lr_weight, mid_lr_weight and up_lr_weight",
    },
)

BY_BLOCK = ("block_dims", "block_alphas", "conv_block_dims", "conv_block_alphas")


@dataclass(frozen=True, slots=True)
class Adapters:
    """What is trained, and what network_args say of learning rates: fields of `Optimiser`."""

    network: Network
    rates: Mapping[str, Any]


def read_network(settings: Settings, base: Base) -> Adapters:
    """The adapters that the settings ask for; faults are collected."""
    raw = _pairs(settings)
    arguments = _arguments(settings, raw)
    module = settings.get("network_module", "networks.lora")
    rank, alpha = settings.get("network_dim", DEFAULT_RANK), settings.get("network_alpha", 1.0)
    preset, kind = _preset(settings, module, arguments), _kind(settings, module, arguments)
    _warn_of_factor(settings, kind, arguments)
    _check_dropout(settings, kind, arguments)
    _count_blocks(settings, base, arguments)
    fields = (
        fill(settings.values, "network")
        | _shared(arguments)
        | _convolutions(settings, preset, rank, alpha, arguments)
        | _by_block(rank, alpha, arguments)
    )
    network = Network(
        **fields,
        kind=kind,
        alpha=_alpha(alpha, rank, arguments),
        ranks_by_name=(*preset.left_out, *_ranks_by_name(settings, arguments)),
        ends=preset.ends and base.family != "sdxl",
        train_unet=not settings.get("network_train_text_encoder_only", False),
        train_text=_trains_text(settings) and preset.text,
        given=GivenNetwork(module, alpha or float(rank), raw),
    )
    return Adapters(network, _rates(settings, arguments, _inputs(base)))


def _pairs(settings: Settings) -> dict[str, str]:
    """network_args as they are given."""
    try:
        return pairs(settings.get("network_args", ()))
    except ValueError as error:
        settings.error("wrong_value", "network_args", f"expected {error}")
        return {}


def _arguments(settings: Settings, raw: Mapping[str, str]) -> dict[str, Any]:
    sources = dict.fromkeys(raw, settings.source("network_args"))
    return checked(raw, sources, ARGUMENTS, settings.faults, "network_args.")


def _preset(settings: Settings, module: str, arguments: Mapping[str, Any]) -> Preset:
    if module == "lycoris.kohya":
        return PRESETS[arguments.get("preset", "full")]
    if "preset" in arguments:
        _only_lycoris(settings, module, "preset")
    return OWN


def _only_lycoris(settings: Settings, module: str, name: str) -> None:
    message = f"is a setting of lycoris.kohya, and network_module is {module}"
    settings.error("contradiction", f"network_args.{name}", message, "set network_module to lycoris.kohya")


def _trains_text(settings: Settings) -> bool:
    rates = settings.get("text_encoder_lr", ())
    still = bool(rates) and not any(rates)
    return not settings.get("network_train_unet_only", False) and not still


def _kind(settings: Settings, module: str, arguments: Mapping[str, Any]) -> NetworkKind:
    if module not in MODULES:
        known = f"use one of {', '.join(MODULES)}"
        why = REFUSED_MODULES.get(module, "this kind of adapters is not known")
        settings.error("refused_key", "network_module", f"{module}: {why}", nearest(module, list(MODULES)) or known)
        return "lora"
    if module == "lycoris.kohya":
        return ALGORITHMS[arguments.get("algo", "lora")]
    if "algo" in arguments:
        _only_lycoris(settings, module, "algo")
    return MODULES[module]


def _warn_of_factor(settings: Settings, kind: NetworkKind, arguments: Mapping[str, Any]) -> None:
    if "factor" in arguments and kind != "lokr":
        message = f"says how LoKr splits its matrices, and what is trained is {kind}: it is not used"
        settings.warn("contradiction", "network_args.factor", message, "leave it out")


def _check_dropout(settings: Settings, kind: NetworkKind, arguments: Mapping[str, Any]) -> None:
    """Report a dropout that leaves nothing, or of what a kind of adapters does not have."""
    rates = {"network_dropout": settings.get("network_dropout")}
    rates |= {f"network_args.{name}": arguments.get(name) for name in ("dropout", "rank_dropout", "module_dropout")}
    for key, rate in rates.items():
        if rate == 1:
            settings.error("wrong_value", key, "is 1: nothing is left to train", "give a part below 1")
        elif rate and kind != "lora" and key in ("network_dropout", "network_args.dropout"):
            message = f"is of what comes out of LoRA's down factor, and {kind} has none"
            settings.error("contradiction", key, message, "use rank_dropout or module_dropout in network_args")


def _count_blocks(settings: Settings, base: Base, arguments: Mapping[str, Any]) -> None:
    """Report values by block that are not as many as the base has blocks."""
    if base.layout is None:
        return
    counts = block_counts(_inputs(base), is_sdxl=base.family == "sdxl")
    for name in (name for name in BY_BLOCK if name in arguments and len(arguments[name]) not in counts):
        message = f"has {len(arguments[name])} values, and the base has {counts[0]} blocks"
        hint = f"give {' or '.join(map(str, counts))}: input blocks, the middle, output blocks"
        settings.error("wrong_value", f"network_args.{name}", message, hint)


def _shared(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that arguments fill as they are."""
    names = {
        "dropout": "dropout",
        "rank_dropout": "rank_dropout",
        "module_dropout": "module_dropout",
        "factor": "lokr_factor",
        "dora_wd": "decompose",
    }
    return {name: arguments[key] for key, name in names.items() if key in arguments}


def _alpha(alpha: float, rank: int, arguments: Mapping[str, Any]) -> float:
    """kohya's 0 means the rank; rank-stabilised LoRA divides by the root of the rank (arXiv 2312.03732)."""
    alpha = alpha or float(rank)
    return alpha * math.sqrt(rank) if arguments.get("rs_lora") else alpha


def _convolutions(
    settings: Settings, preset: Preset, rank: int, alpha: float, arguments: Mapping[str, Any]
) -> dict[str, Any]:
    """Rank and alpha of larger convolutions: LyCORIS trains them unless told otherwise, kohya only when asked.

    A rank of 0 leaves them out, and not what else is in residual blocks; without a rank these are left out altogether.
    """
    asked = arguments.get("conv_dim", 0)
    if preset is OWN:
        _warn_of_conv_alpha(settings, asked, arguments)
        return _of_convolutions(asked, 1.0, arguments) if asked else {}
    if asked and not preset.convolutions:
        message = f"the preset {arguments['preset']} leaves convolutions out"
        settings.error("contradiction", "network_args.conv_dim", message, "leave out one of the two")
    if not preset.residual:
        return {}
    return _of_convolutions(arguments.get("conv_dim", rank) if preset.convolutions else 0, alpha, arguments)


def _warn_of_conv_alpha(settings: Settings, rank: int, arguments: Mapping[str, Any]) -> None:
    key, is_given = "network_args.conv_alpha", "conv_alpha" in arguments
    if is_given and not {"conv_dim", "conv_block_dims"} & arguments.keys():
        message = "convolutions are not trained without conv_dim: it is not used"
        settings.warn("contradiction", key, message, "set conv_dim, or leave it out")
    told_elsewhere = "conv_block_alphas" in arguments or "network_weights" in settings.values
    if rank > 1 and not is_given and not told_elsewhere:
        message = f"is not set, so it is 1 as in sd-scripts: what convolutions learn counts alpha / rank = 1/{rank}"
        hint = f"set conv_alpha to {rank} (or half of it), or raise the learning rate on purpose"
        settings.warn("default_alpha", key, message, hint)


def _of_convolutions(rank: int, alpha: float, arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {"conv_rank": rank, "conv_alpha": _alpha(arguments.get("conv_alpha", alpha), rank, arguments)}


def _by_block(rank: int, alpha: float, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Ranks and alphas by block; of ranks and alphas, what is not given is the same in every block."""
    found = dict[str, Any]()
    for prefix, whole, whole_alpha in (
        ("", rank, alpha),
        ("conv_", arguments.get("conv_dim", 0), arguments.get("conv_alpha", 1.0)),
    ):
        ranks, alphas = arguments.get(f"{prefix}block_dims"), arguments.get(f"{prefix}block_alphas")
        if ranks is None and alphas is None:
            continue
        count = len(ranks or alphas or ())
        found[f"{prefix}block_ranks"] = ranks or (whole,) * count
        found[f"{prefix}block_alphas"] = alphas or (whole_alpha,) * count
    return found


def _ranks_by_name(settings: Settings, arguments: Mapping[str, Any]) -> tuple[tuple[str, int], ...]:
    try:
        found = tuple(
            (name, int(rank)) for name, rank in pairs(arguments.get("network_reg_dims", "").split(",")).items()
        )
        for name, _ in found:
            re.compile(name)
    except (ValueError, re.error):
        if "network_reg_dims" in arguments:
            settings.error(
                "wrong_value", "network_args.network_reg_dims", "expected pairs like expression=rank,expression=rank"
            )
        return ()
    return found


def _inputs(base: Base) -> int:
    """Input blocks of the UNet, as many as output blocks."""
    usual = 9 if base.family == "sdxl" else 12
    return usual if base.layout is None else len(base.layout.unet.input_blocks)


def _rates(settings: Settings, arguments: Mapping[str, Any], inputs: int) -> dict[str, Any]:
    given = {**settings.values, **arguments}
    plus = given.get("loraplus_lr_ratio")
    found: dict[str, Any] = {
        # As in sd-scripts, a 0 (which GUIs write for what is not set) gives way to the ratio for everything.
        "loraplus_unet": given.get("loraplus_unet_lr_ratio") or plus or None,
        "loraplus_text": given.get("loraplus_text_encoder_lr_ratio") or plus or None,
    }
    down, middle, up = (arguments.get(f"{side}_lr_weight") for side in ("down", "mid", "up"))
    try:
        found["block_lr"] = block_rates(down, middle, up, arguments.get("block_lr_zero_threshold", 0.0), inputs)
    except ValueError as error:
        side = next(side for side in ("down", "mid", "up") if arguments.get(f"{side}_lr_weight"))
        settings.error("wrong_value", f"network_args.{side}_lr_weight", f"expected {error}")
    return found
