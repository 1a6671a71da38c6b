# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from graphexec.diffusion.models.taps import Place
from graphexec.diffusion.sampling.effects.hypernetworks import HyperTap, read_hypernetwork
from graphexec.diffusion.sources import WeightsFile
from graphexec.errors import ModelFileError

AT = Place("input", 1, 0, (8, 8), (8, 8))


def weights(*, norm: bool = False) -> dict[str, Tensor]:
    layers: list[nn.Module] = [nn.Linear(8, 16), nn.Linear(16, 8)]
    if norm:
        layers = [layers[0], nn.LayerNorm(16), layers[1], nn.LayerNorm(8)]
    return {f"linear.{i}.{name}": t for i, layer in enumerate(layers) for name, t in layer.state_dict().items()}


def write(path: Path, **settings: Any) -> tuple[WeightsFile, dict[str, Tensor], dict[str, Tensor]]:
    keys, values = (weights(norm=bool(settings.get("is_layer_norm"))) for _ in "kv")
    torch.save({8: [keys, values], "step": 5, "name": "x", **settings}, path)
    return WeightsFile.of(path), keys, values


def test_keys_and_values_get_what_the_networks_make_of_them(tmp_path: Path) -> None:
    file, keys, values = write(tmp_path / "h.pt", activation_func="relu")
    q, k = torch.randn(2, 5, 8), torch.randn(2, 7, 8)
    same, new_k, new_v = HyperTap(read_hypernetwork(file), 0.5).attention_inputs("cross", q, k, k, AT)
    assert same is q
    for new, w in ((new_k, keys), (new_v, values)):
        inner = F.relu(F.linear(k, w["linear.0.weight"], w["linear.0.bias"]))
        torch.testing.assert_close(new, k + 0.5 * F.linear(inner, w["linear.1.weight"], w["linear.1.bias"]))


def test_a_run_in_fewer_bits_leaves_the_networks_as_they_are_in_the_file(tmp_path: Path) -> None:
    file, keys, _ = write(tmp_path / "h.pt")
    k = torch.randn(1, 3, 8, dtype=torch.bfloat16)
    _, changed, _ = HyperTap(read_hypernetwork(file), 1.0).attention_inputs("self", k, k, k, AT)
    assert changed.dtype == torch.bfloat16
    assert all(torch.equal(read_hypernetwork(file)[8][0].state_dict()[name[7:]], keys[name]) for name in keys)


def test_other_widths_are_left_alone(tmp_path: Path) -> None:
    tap, k = HyperTap(read_hypernetwork(write(tmp_path / "h.pt")[0]), 1.0), torch.randn(1, 3, 16)
    assert tap.attention_inputs("self", k, k, k, AT) == (k, k, k)


@pytest.mark.parametrize(
    ("settings", "layers"),
    [
        ({}, ["Linear", "Linear"]),
        ({"activation_func": "linear"}, ["Linear", "Linear"]),
        ({"activation_func": "swish"}, ["Linear", "Hardswish", "Linear"]),
        ({"activation_func": "mish", "activate_output": True}, ["Linear", "Mish", "Linear", "Mish"]),
        ({"activation_func": None, "is_layer_norm": True}, ["Linear", "LayerNorm", "Linear", "LayerNorm"]),
        ({"activation_func": "elu", "is_layer_norm": True}, ["Linear", "ELU", "LayerNorm", "Linear", "LayerNorm"]),
    ],
)
def test_layers(tmp_path: Path, settings: dict[str, Any], layers: list[str]) -> None:
    (network, _) = read_hypernetwork(write(tmp_path / "h.pt", **settings)[0])[8]
    assert [type(layer).__name__ for layer in network] == layers


def test_faults(tmp_path: Path) -> None:
    for name, held, says in (
        ("none", {"x": torch.zeros(1)}, "no networks by the width"),
        ("strange", {8: [weights(), weights()], "activation_func": "sine"}, "'sine' is none of relu"),
        ("short", {8: [weights()]}, "cannot be read"),
    ):
        torch.save(held, tmp_path / name)
        with pytest.raises(ModelFileError, match=says):
            read_hypernetwork(WeightsFile.of(tmp_path / name))
    (tmp_path / "text").write_text("hello")
    with pytest.raises(ModelFileError, match="cannot be read"):
        read_hypernetwork(WeightsFile.of(tmp_path / "text"))
