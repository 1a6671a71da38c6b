# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusion.tiny import Shape, UNetSize, random_weights, unet_shapes
from safetensors.torch import save_file
from torch import Tensor

from graphexec.diffusion.encode import encode_feature, encode_prompt
from graphexec.diffusion.faults import LatentError
from graphexec.diffusion.gligen import grounded, open_gligen, place
from graphexec.diffusion.images import empty_latent
from graphexec.diffusion.models.gligen import GligenNetwork, gligen_parts
from graphexec.diffusion.models.names import named_shapes
from graphexec.diffusion.models.taps import Place
from graphexec.diffusion.runtime import Runtime
from graphexec.diffusion.sampling.run import sample
from graphexec.diffusion.types import Area, Clip, Conditioning, Gligen, GroundedBox, Grounding, Hook, Hooks, Model, Vae
from graphexec.errors import ModelFileError

Recipes = tuple[Model, Clip, Vae]
FEATURE = 32


def gligen_weights(size: UNetSize, alpha: float = 1.0, feature: int = FEATURE) -> dict[str, Tensor]:
    """A fuser in every transformer block, and the network of boxes, as GLIGEN's files name them."""
    shapes: dict[str, Shape] = {}
    for name, shape in unet_shapes(size).items():
        if name.endswith("norm1.weight") and "transformer_blocks" in name:
            at, (width,) = name.replace("norm1.weight", "fuser"), shape
            shapes |= {f"{at}.linear.weight": (width, feature), f"{at}.linear.bias": (width,)}
            shapes |= {f"{at}.attn.{part}.weight": (width, width) for part in ("to_q", "to_k", "to_v", "to_out.0")}
            shapes |= {f"{at}.attn.to_out.0.bias": (width,), f"{at}.ff.net.0.proj.weight": (8 * width, width)}
            shapes |= {f"{at}.ff.net.0.proj.bias": (8 * width,), f"{at}.ff.net.2.weight": (width, 4 * width)}
            shapes |= {f"{at}.ff.net.2.bias": (width,)}
            shapes |= {f"{at}.norm{i}.{leaf}": (width,) for i in (1, 2) for leaf in ("weight", "bias")}
    sizes = ((feature + 64, 48), (48, 48), (48, feature))
    for i, (in_, out) in enumerate(sizes):
        shapes |= {f"position_net.linears.{2 * i}.weight": (out, in_), f"position_net.linears.{2 * i}.bias": (out,)}
    found = random_weights(shapes, 3, torch.float32)
    fusers = {name.rpartition(".fuser.")[0] for name in shapes if ".fuser." in name}
    found |= {f"{at}.fuser.alpha_{part}": torch.tensor(alpha) for at in fusers for part in ("attn", "dense")}
    generator = torch.Generator().manual_seed(5)
    found["position_net.null_positive_feature"] = torch.randn(feature, generator=generator)
    found["position_net.null_position_feature"] = torch.randn(64, generator=generator)
    return found


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Gligen:
    path = tmp_path_factory.mktemp("gligen") / "g.safetensors"
    save_file(gligen_weights(UNetSize()), path)
    return open_gligen(path)


def run(runtime: Runtime, model: Model, positive: Conditioning, negative: Conditioning, cfg: float = 3.0) -> Tensor:
    return sample(
        runtime, model, positive, negative, empty_latent(64, 64), seed=1, steps=1, cfg=cfg, sampler_name="euler",
        scheduler="normal",
    ).samples  # fmt: skip


def test_a_network_has_exactly_the_weights_it_was_read_from() -> None:
    weights = gligen_weights(UNetSize())
    shapes = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    parts = gligen_parts(shapes | {"input_blocks.0.0.weight": (1,)})
    network = GligenNetwork(named_shapes(shapes, parts))
    assert {name: tuple(t.shape) for name, t in network.state_dict().items()} == named_shapes(shapes, parts)
    assert len(parts) == len(weights)


def test_a_token_by_hand(runtime: Runtime, recipes: Recipes, net: Gligen) -> None:
    feature, box = torch.randn(1, FEATURE), (0.25, 0.5, 0.75, 1.0)
    with runtime.gligen(net, recipes[0]) as network, torch.no_grad():
        tokens = network(feature, torch.tensor([box]))
        waves: list[float] = []
        for i in range(8):
            angles = [100 ** (i / 8) * side for side in box]
            waves += [*map(math.sin, angles), *map(math.cos, angles)]
        expected = network.position_net.linears(torch.cat([feature[0], torch.tensor(waves)]))
        nothing = network.position_net.linears(
            torch.cat([network.position_net.null_positive_feature, network.position_net.null_position_feature])
        )
    assert tokens.shape == (1, 30, FEATURE)
    torch.testing.assert_close(tokens[0, 0], expected)
    torch.testing.assert_close(tokens[0, 1:], nothing.expand(29, -1))


def test_it_computes_in_what_the_model_does(runtime: Runtime, recipes: Recipes, net: Gligen) -> None:
    with runtime.gligen(net, replace(recipes[0], dtype="bf16")) as network:
        assert {weight.dtype for weight in network.parameters()} == {torch.bfloat16}


def test_closed_gates_change_nothing(runtime: Runtime, recipes: Recipes, tmp_path: Path) -> None:
    save_file(gligen_weights(UNetSize(), alpha=0.0), tmp_path / "g")
    model, clip, _ = recipes
    text = encode_prompt(runtime, clip, "a house")
    placed = place(text, open_gligen(tmp_path / "g"), encode_feature(runtime, clip, "sun"), Area(16, 16, 0, 0))
    torch.testing.assert_close(run(runtime, model, text, text), run(runtime, model, placed, text))


def test_a_thing_changes_the_picture_and_so_does_its_place(runtime: Runtime, recipes: Recipes, net: Gligen) -> None:
    model, clip, _ = recipes
    text, sun = encode_prompt(runtime, clip, "a house"), encode_feature(runtime, clip, "sun")
    here, there = (place(text, net, sun, Area(16, 16, x, 8)) for x in (0, 32))
    pictures = [run(runtime, model, each, text) for each in (text, here, there)]
    assert not torch.allclose(pictures[0], pictures[1])
    assert not torch.allclose(pictures[1], pictures[2])


def test_the_negative_side_sees_the_things_too(runtime: Runtime, recipes: Recipes, net: Gligen) -> None:
    model, clip, _ = recipes
    text, other = encode_prompt(runtime, clip, "a house"), encode_prompt(runtime, clip, "blurry")
    box = (net, encode_feature(runtime, clip, "sun"), Area(16, 16, 0, 0))
    shared, own = (
        run(runtime, model, place(text, *box), other),
        run(runtime, model, place(text, *box), place(other, *box)),
    )
    # One forward pass for both sides, or one each: rounding differs.
    torch.testing.assert_close(shared, own, rtol=1e-3, atol=1e-2)


def test_only_the_blocks_of_the_file_look(runtime: Runtime, recipes: Recipes, net: Gligen) -> None:
    placed = place(
        encode_prompt(runtime, recipes[1], "x"), net, encode_feature(runtime, recipes[1], "sun"), Area(8, 8, 0, 0)
    )
    grounding = placed.conds[0].grounding
    assert grounding is not None
    x = torch.randn(2, 64, 32)
    with grounded(runtime, grounding, recipes[0], (8, 8)) as (tap,), torch.no_grad():
        assert tap.between_attentions(x, Place("input", 7, 0, (8, 8), (8, 8))) is x
        assert not torch.equal(tap.between_attentions(x, Place("input", 1, 0, (8, 8), (8, 8))), x)


def test_a_network_stays_in_use_while_the_unet_looks(runtime: Runtime, recipes: Recipes, net: Gligen) -> None:
    grounding = Grounding(net, (GroundedBox(torch.ones(1, FEATURE), Area(8, 8, 0, 0)),))
    with grounded(runtime, grounding, recipes[0], (8, 8)):
        runtime.clear()
        assert runtime.resident_bytes()
    runtime.clear()
    assert not runtime.resident_bytes()


def test_the_feature_is_the_end_tokens_before_projection(runtime: Runtime, recipes: Recipes) -> None:
    cond = encode_prompt(runtime, recipes[1], "sun").conds[0]
    assert cond.pooled is not None
    torch.testing.assert_close(encode_feature(runtime, recipes[1], "sun"), cond.pooled)


def test_the_feature_knows_embeddings(runtime: Runtime, recipes: Recipes, tmp_path: Path) -> None:
    save_file({"emb_params": torch.randn(2, FEATURE)}, tmp_path / "sunny.safetensors")
    known = {"sunny.safetensors": tmp_path / "sunny.safetensors"}
    told: list[str] = []
    found = encode_feature(runtime, recipes[1], "embedding:sunny", embeddings=known, warn=told.append)
    assert not told
    assert not torch.allclose(found, encode_feature(runtime, recipes[1], ""))


def test_the_feature_is_changed_by_the_encoders_hooks(runtime: Runtime, recipes: Recipes, weights: Path) -> None:
    path = weights / "a.safetensors"
    hooked = replace(recipes[1], hooks=Hooks((Hook.of_lora(path, 0.0, 0.7),)))
    expected = encode_feature(runtime, recipes[1].patched(path, 0.7), "sun")
    assert torch.equal(encode_feature(runtime, hooked, "sun"), expected)
    assert not torch.allclose(expected, encode_feature(runtime, recipes[1], "sun"))


def test_thirty_things_and_no_more(net: Gligen, runtime: Runtime, recipes: Recipes) -> None:
    text = encode_prompt(runtime, recipes[1], "x")
    for _ in range(30):
        text = place(text, net, torch.zeros(1, FEATURE), Area(8, 8, 0, 0))
    with pytest.raises(LatentError, match="up to 30 things, this would be number 31"):
        place(text, net, torch.zeros(1, FEATURE), Area(8, 8, 0, 0))


def test_faults(runtime: Runtime, recipes: Recipes, tmp_path: Path) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / "no")
    with pytest.raises(ModelFileError, match="/no: this is no GLIGEN"):
        open_gligen(tmp_path / "no")
    save_file(gligen_weights(UNetSize(), feature=48), tmp_path / "wide")
    text = encode_prompt(runtime, recipes[1], "x")
    placed = place(text, open_gligen(tmp_path / "wide"), torch.zeros(1, FEATURE), Area(8, 8, 0, 0))
    with pytest.raises(ModelFileError, match="text features 48 wide, the text encoder gives 32"):
        run(runtime, recipes[0], placed, replace(text))
