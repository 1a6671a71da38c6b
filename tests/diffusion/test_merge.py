# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusion.tiny import UNET, UNetSize, write_checkpoint
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor

from graphexec.diffusion.checkpoint import open_checkpoint
from graphexec.diffusion.codecs import CODECS
from graphexec.diffusion.faults import MergeError
from graphexec.diffusion.merge import add, interpolate, interpolate_blocks, scale, subtract, tell_unmerged, unmerged
from graphexec.diffusion.options import PerpNeg
from graphexec.diffusion.runtime import Runtime
from graphexec.diffusion.types import Clip, Cond, Conditioning, MergePatch, Model, ScalePatch

Pair = tuple[tuple[Model, Clip], tuple[Model, Clip]]
NAMES = ("input_blocks.1.1.transformer_blocks.0.attn1.to_q.weight", "out.2.weight", "time_embed.0.bias")
ATTENTION = NAMES[0]
numbers = st.floats(-2, 2, width=16)


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    folder = tmp_path_factory.mktemp("pair")
    one, two = (open_checkpoint(write_checkpoint(folder / f"{i}.safetensors", seed=i)) for i in (1, 2))
    return one[:2], two[:2]


def unet_of(model: Model, runtime: Runtime | None = None) -> dict[str, Tensor]:
    with (runtime or Runtime("cpu")).unet(model) as unet:
        return {name: weight.clone() for name, weight in unet.state_dict().items()}


def stored(model: Model) -> dict[str, Tensor]:
    file = load_file(model.file.path)
    return {name.removeprefix(UNET): weight.float() for name, weight in file.items() if name.startswith(UNET)}


class TestAlgebra:
    def test_interpolation_is_weight_by_weight(self, pair: Pair) -> None:
        (one, _), (two, _) = pair
        a, b, merged = stored(one), stored(two), unet_of(interpolate(one, two, 0.3))
        for name, weight in merged.items():
            torch.testing.assert_close(weight, a[name] * 0.3 + b[name] * 0.7)

    def test_a_whole_of_the_first_is_the_first(self, pair: Pair) -> None:
        (one, clip), (two, other) = pair
        assert interpolate(one, two, 1.0) is one
        assert interpolate(clip, other, 1.0) is clip
        assert interpolate_blocks(one, two, {"input": 1.0, "out": 1.0}) is one
        assert scale(one, {"attn1.to_q": 1.0}) is one

    def test_nothing_of_the_first_is_the_second(self, pair: Pair) -> None:
        (one, _), (two, _) = pair
        merged, other = unet_of(interpolate(one, two, 0.0)), unet_of(two)
        assert all(torch.equal(merged[name], other[name]) for name in other)

    def test_a_difference_added_again_gives_the_other_model(self, pair: Pair) -> None:
        (one, _), (two, _) = pair
        back = unet_of(add(one, subtract(two, one)))
        for name, weight in unet_of(two).items():
            torch.testing.assert_close(back[name], weight, rtol=0, atol=1e-6)

    def test_what_is_alike_in_both_leaves_no_difference(self, pair: Pair) -> None:
        (one, _), _ = pair
        assert not any(weight.any() for weight in unet_of(subtract(one, one, 0.7)).values())

    @settings(max_examples=10)
    @given(history=st.lists(st.tuples(st.sampled_from(["mix", "add", "subtract", "scale"]), numbers), max_size=3))
    def test_a_merge_undone_is_the_identity(self, pair: Pair, history: list[tuple[str, float]]) -> None:
        (one, _), (two, _) = pair
        model, runtime, base = one, Runtime("cpu"), unet_of(one)
        for kind, number in history:
            if kind == "scale":
                model = scale(model, {"attn2.to_v": number})
            else:
                merged = {"mix": interpolate(model, two, number), "add": add(model, two)}
                model = merged.get(kind) or subtract(model, two, number)
        merged_weights = unet_of(model, runtime)
        undone, fresh = unet_of(one, runtime), unet_of(model)
        assert all(torch.equal(undone[name], base[name]) for name in base)
        assert all(torch.equal(merged_weights[name], fresh[name]) for name in base)

    def test_the_order_of_patches_counts(self, pair: Pair) -> None:
        (one, _), (two, _) = pair
        first, then = add(scale(one, {"attn1.to_q": 2.0}), two), scale(add(one, two), {"attn1.to_q": 2.0})
        a, b = stored(one)[ATTENTION], stored(two)[ATTENTION]
        torch.testing.assert_close(unet_of(first)[ATTENTION], a * 2 + b)
        torch.testing.assert_close(unet_of(then)[ATTENTION], (a + b) * 2)

    def test_what_is_mixed_in_has_patches_of_its_own(self, pair: Pair, weights: Path) -> None:
        (one, _), (two, _) = pair
        lora = two.patched(weights / "a.safetensors", 0.8)
        merged, theirs = unet_of(add(one, scale(lora, {"attn1.to_q": 3.0}))), unet_of(lora)
        torch.testing.assert_close(merged[ATTENTION], stored(one)[ATTENTION] + theirs[ATTENTION] * 3)

    def test_text_encoders_are_mixed_kind_by_kind(self, pair: Pair) -> None:
        (_, one), (_, two) = pair
        name = "encoder.layers.0.mlp.fc1.weight"
        merged = interpolate(one, two, 0.25)

        def weight(clip: Clip) -> Tensor:
            with Runtime("cpu").text_encoder(clip.encoders[0], clip.patches) as text:
                return text.get_parameter(name).clone()

        half = 2**-11  # text encoders round to the float16 of their files
        torch.testing.assert_close(weight(merged), weight(one) * 0.25 + weight(two) * 0.75, rtol=half, atol=1e-7)
        stranger = replace(two, encoders=(replace(two.encoders[0], kind="clip_g"),))
        assert torch.equal(weight(add(one, stranger)), weight(one))


class TestBlocks:
    def test_the_longest_prefix_counts_and_the_first_is_for_all_others(self, pair: Pair) -> None:
        (one, _), (two, _) = pair
        a, b = stored(one), stored(two)
        ratios = {"input_blocks.1": 0.2, "input_blocks.1.1.": 0.5, "out.": 0.9, "output": 0.4}
        merged = unet_of(interpolate_blocks(one, two, ratios))
        expected = {
            ATTENTION: 0.5,
            "input_blocks.1.0.in_layers.2.weight": 0.2,
            "out.2.weight": 0.9,
            "output_blocks.0.0.in_layers.2.weight": 0.4,
            "middle_block.1.proj_in.weight": 0.2,
        }
        for name, ratio in expected.items():
            torch.testing.assert_close(merged[name], a[name] * ratio + b[name] * (1 - ratio))


class TestScale:
    def test_weights_and_biases_of_named_modules(self, pair: Pair) -> None:
        one = pair[0][0]
        before, after = unet_of(one), unet_of(scale(one, {"attn1.to_out.0": 2.0, "attn1.to_q": 0.0}))
        changed = {name for name in before if not torch.equal(before[name], after[name])}
        assert all("attn1.to_out.0." in name or "attn1.to_q." in name for name in changed)
        assert float(after[ATTENTION].abs().sum()) == 0


class TestMisfits:
    def test_families_must_be_the_same(self, pair: Pair) -> None:
        (one, clip), (two, other) = pair
        with pytest.raises(MergeError, match=r"SD 1\.x and SDXL"):
            add(one, replace(two, family="sdxl"))
        with pytest.raises(MergeError, match=r"SD 2\.x and SD 1\.x"):
            interpolate(replace(clip, family="sd2"), other, 0.5)

    def test_weights_of_another_size_stay_and_are_told(self, tmp_path: Path, pair: Pair) -> None:
        one = pair[0][0]
        deeper = write_checkpoint(
            tmp_path / "x.safetensors", size=UNetSize(context=32, mult=(1, 2, 2), attention=(True,) * 3)
        )
        two = open_checkpoint(deeper)[0]
        names = unmerged(one, two)
        assert names
        merged, base = unet_of(add(one, two)), unet_of(one)
        assert all(torch.equal(merged[name], base[name]) for name in names)
        told: list[str] = []
        tell_unmerged(one, two, told.append)
        assert told == [f"{len(names)} weights of the first stay as they are, the second has none of their size: "
                        f"{', '.join(names[:3])}, …"]  # fmt: skip
        tell_unmerged(one, one, pytest.fail)


def test_options_of_what_is_mixed_in_do_not_count(pair: Pair) -> None:
    """They may hold prompts, which cannot be compared number by number."""
    (one, _), (two, _) = pair
    runtime, plain = Runtime("cpu"), unet_of(interpolate(one, two, 0.5))
    for _ in range(2):
        prompt = Conditioning((Cond(torch.randn(1, 77, 32)),))
        merged = unet_of(interpolate(one, two.with_option(PerpNeg(prompt, 1.0)), 0.5), runtime)
        assert all(torch.equal(merged[name], weight) for name, weight in plain.items())


def test_recipes_of_recipes_are_kept(pair: Pair) -> None:
    (one, clip), (two, other) = pair
    codecs = {codec.type_name.rpartition(".")[2]: codec for codec in CODECS}
    for patch in (interpolate(one, two, 0.5).patches[0], add(clip, other).patches[0], ScalePatch((("to_q", 2.0),))):
        codec = codecs[type(patch).__name__]
        tree, blobs = codec.dump(patch)
        assert codec.load(tree, list(blobs)) == patch  # pyright: ignore[reportArgumentType]
    assert isinstance(interpolate(one, two, 0.5).patches[0], MergePatch)
