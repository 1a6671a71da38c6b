"""Hypernetworks: small networks that change what keys and values are made of."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from graphexec.diffusion.models.taps import AttentionKind, Place, Tap
from graphexec.diffusion.options import Hypernetwork
from graphexec.diffusion.sampling.effects.base import Effect, Pass, Setting
from graphexec.diffusion.sources import WeightsFile
from graphexec.errors import ModelFileError, said

__all__ = ["Hyper", "read_hypernetwork"]

ACTIVATIONS: Mapping[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leakyrelu": nn.LeakyReLU,
    "elu": nn.ELU,
    "swish": nn.Hardswish,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "softsign": nn.Softsign,
    "mish": nn.Mish,
}

Pair = tuple[nn.Sequential, nn.Sequential]
"""The networks for keys and for values."""


class Hyper(Effect):
    """Adds to the inputs of keys and values what the networks for their width make of them."""

    def __init__(self, option: Hypernetwork, setting: Setting) -> None:
        self._tap = HyperTap(read_hypernetwork(option.file), option.strength)

    def tap(self, forward: Pass) -> Tap:
        """It looks into every pass."""
        return self._tap


@dataclass(frozen=True, slots=True)
class HyperTap(Tap):
    """Networks by the width of the tokens that they change."""

    networks: Mapping[int, Pair]
    strength: float
    _placed: dict[int, Pair] = field(default_factory=dict[int, Pair], init=False)
    """Copies where and in what this run computes."""

    def attention_inputs(
        self, kind: AttentionKind, q: Tensor, k: Tensor, v: Tensor, at: Place
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Changes k and v."""
        width = k.shape[-1]
        if width not in self.networks:
            return q, k, v
        if width not in self._placed:
            for_k, for_v = copy.deepcopy(self.networks[width])
            self._placed[width] = for_k.to(k), for_v.to(k)
        for_k, for_v = self._placed[width]
        return q, k + for_k(k) * self.strength, v + for_v(v) * self.strength


@lru_cache(maxsize=4)
def read_hypernetwork(file: WeightsFile) -> Mapping[int, Pair]:
    """The networks of a hypernetwork by width, read without running code; `ModelFileError` if it is none."""
    try:
        held = torch.load(file.path, map_location="cpu", weights_only=True)
        pairs = {int(width): held[width] for width in held if str(width).isdigit()}
        found = {width: (_network(held, pair[0]), _network(held, pair[1])) for width, pair in pairs.items()}
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, TypeError, LookupError, ValueError) as error:
        why = said(error).splitlines()[0]
        raise ModelFileError(f"{file.path}: the hypernetwork cannot be read ({why})") from error
    if not found:
        raise ModelFileError(f"{file.path}: this is no hypernetwork: it has no networks by the width of tokens")
    return found


def _network(held: Mapping[Any, Any], weights: Mapping[str, Tensor]) -> nn.Sequential:
    return nn.Sequential(*_layers(held, weights)).requires_grad_(False).eval()


def _layers(held: Mapping[Any, Any], weights: Mapping[str, Tensor]) -> Iterator[nn.Module]:
    """Linears with activations between, each with a norm after it where there are norms."""
    names = [name.removesuffix(".weight") for name in weights if name.endswith(".weight")]
    activation = held.get("activation_func") or "linear"
    if activation != "linear" and activation not in ACTIVATIONS:
        raise ValueError(f"its activation {activation!r} is none of {', '.join(ACTIVATIONS)}")
    linears = [name for name in names if weights[f"{name}.weight"].ndim == 2]
    for name in names:
        weight = weights[f"{name}.weight"].float()
        layer = nn.Linear(weight.shape[1], weight.shape[0]) if name in linears else nn.LayerNorm(weight.shape[0])
        layer.load_state_dict({"weight": weight, "bias": weights[f"{name}.bias"].float()})
        yield layer
        # ComfyUI takes a linear for the last only if no norm follows it; who trained with norms left it bare.
        between = name in linears and (name != linears[-1] or bool(held.get("activate_output")))
        if between and activation != "linear":
            yield ACTIVATIONS[activation]()
