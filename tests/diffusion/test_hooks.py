# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from diffusion.sampling.guiding import guided
from diffusion.tiny import UNetSize, write_checkpoint, write_lora
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from graphexec.diffusion.checkpoint import open_checkpoint
from graphexec.diffusion.encode import encode_prompt
from graphexec.diffusion.hooks import clip_segments, hook_warnings, hooked_model
from graphexec.diffusion.images import empty_latent
from graphexec.diffusion.keyframes import Ease, eased, spread
from graphexec.diffusion.properties import with_default, with_properties
from graphexec.diffusion.runtime import Runtime
from graphexec.diffusion.sampling.discrete import model_sampling
from graphexec.diffusion.sampling.run import sample
from graphexec.diffusion.types import (
    Clip,
    Cond,
    Conditioning,
    Hook,
    HookKeyframes,
    Hooks,
    Keyframe,
    LoraPatch,
    Model,
    Sampling,
    TimestepsRange,
    Vae,
)
from graphexec.errors import ModelFileError

Recipes = tuple[Model, Clip, Vae]
LEVELS = model_sampling(Sampling())
HALF = LEVELS.percent_to_sigma(0.5)


@pytest.fixture
def lora(weights: Path) -> Hook:
    return Hook.of_lora(weights / "a.safetensors", 0.8, 0.6)


def keyed(hook: Hook, *frames: tuple[float, float]) -> Hooks:
    return Hooks((replace(hook, keyframes=HookKeyframes().joined(Keyframe(*frame) for frame in frames)),))


def strengths(recipe: Model | Clip) -> list[float]:
    return [patch.strength for patch in recipe.patches if isinstance(patch, LoraPatch)]


class TestStrengths:
    def at(self, model: Model, hooks: Hooks, sigma: float) -> list[float]:
        return strengths(hooked_model(model, hooks, sigma, LEVELS))

    def test_without_keyframes_it_is_always_the_same(self, recipes: Recipes, lora: Hook) -> None:
        assert [self.at(recipes[0], Hooks((lora,)), sigma) for sigma in (14.0, 0.1)] == [[0.8], [0.8]]
        assert hooked_model(recipes[0], None, 1.0, LEVELS) is recipes[0]

    def test_a_segment_holds_its_start_and_not_its_end(self, recipes: Recipes, lora: Hook) -> None:
        hooks = keyed(lora, (0.0, 0.5), (0.5, 2.0))
        found = [self.at(recipes[0], hooks, sigma) for sigma in (14.0, HALF * 1.001, HALF, 0.01)]
        assert found == [[0.4], [0.4], [1.6], [1.6]]

    def test_the_first_counts_before_its_start(self, recipes: Recipes, lora: Hook) -> None:
        assert self.at(recipes[0], keyed(lora, (0.5, 2.0)), 14.0) == [1.6]

    def test_no_strength_is_no_patch(self, recipes: Recipes, lora: Hook) -> None:
        assert hooked_model(recipes[0], keyed(lora, (0.0, 0.0)), 1.0, LEVELS) is recipes[0]

    def test_keyframes_are_sorted_and_the_later_given_of_equal_starts_counts(self) -> None:
        frames = HookKeyframes().joined([Keyframe(0.5, 1.0), Keyframe(0.0, 2.0)]).joined([Keyframe(0.5, 3.0)])
        assert frames == HookKeyframes((Keyframe(0.0, 2.0), Keyframe(0.5, 3.0)))


class TestClip:
    def test_is_encoded_once_for_each_strength(self, recipes: Recipes, lora: Hook) -> None:
        clip = replace(recipes[1], hooks=keyed(lora, (0.0, 0.0), (0.3, 1.0), (0.6, 1.0), (0.8, 0.5)), scheduled=True)
        segments = clip_segments(clip)
        assert [(s.start, s.end) for s in segments] == [(0.0, 0.3), (0.3, 0.8), (0.8, 1.0)]
        assert [strengths(s.clip) for s in segments] == [[], [0.6], [0.3]]

    def test_without_a_schedule_keyframes_do_not_count(self, recipes: Recipes, lora: Hook) -> None:
        clip = replace(recipes[1], hooks=keyed(lora, (0.0, 0.5), (0.3, 1.0)))
        (segment,) = clip_segments(clip)
        assert (segment.start, segment.end, strengths(segment.clip)) == (0.0, 1.0, [0.6])

    def test_conds_say_what_they_are_for(self, runtime: Runtime, recipes: Recipes, lora: Hook) -> None:
        hooks = keyed(lora, (0.0, 0.0), (0.5, 1.0))
        conds = encode_prompt(runtime, replace(recipes[1], hooks=hooks, scheduled=True), "a tiger").conds
        plain = encode_prompt(runtime, recipes[1], "a tiger").conds[0]
        assert [cond.span for cond in conds] == [(0.0, 0.5), (0.5, 1.0)]
        assert all(cond.hooks == hooks for cond in conds)
        assert torch.equal(conds[0].embedding, plain.embedding)
        assert not torch.equal(conds[1].embedding, plain.embedding)
        alone = encode_prompt(runtime, replace(recipes[1], hooks=hooks, led_by_hooks=False), "a tiger")
        assert alone.conds[0].hooks is None


class TestModel:
    def test_hooks_change_only_their_own_cond(
        self, runtime: Runtime, recipes: Recipes, lora: Hook, weights: Path
    ) -> None:
        x = torch.randn(1, 4, 8, 8)
        plain = encode_prompt(runtime, recipes[1], "a tiger")
        hooked = with_properties(plain, 1.0, False, None, Hooks((lora,)), None)
        patched = recipes[0].patched(weights / "a.safetensors", 0.8)
        alone = guided(runtime, recipes[0], x, plain, plain, 1.0)
        expected = guided(runtime, patched, x, plain, plain, 1.0)
        found = guided(runtime, recipes[0], x, hooked, plain, 3.0)
        torch.testing.assert_close(found, alone + (expected - alone) * 3.0, rtol=1e-3, atol=1e-3)
        assert torch.equal(guided(runtime, recipes[0], x, plain, plain, 1.0), alone)

    def test_change_the_weights_once_a_step(self, runtime: Runtime, recipes: Recipes, lora: Hook) -> None:
        plain = encode_prompt(runtime, recipes[1], "a tiger")
        hooked = with_properties(plain, 1.0, False, None, Hooks((lora,)), None)
        seen: list[Tensor] = []
        with runtime.unet(recipes[0]) as unet:
            weight = unet.get_parameter("middle_block.1.transformer_blocks.0.attn1.to_q.weight")
            handle = unet.register_forward_pre_hook(lambda module, inputs: seen.append(weight.clone()))
            settings = {"seed": 1, "steps": 4, "cfg": 3.0, "sampler_name": "euler", "scheduler": "normal"}
            sample(runtime, recipes[0], hooked, plain, empty_latent(32, 32), **settings)  # pyright: ignore[reportArgumentType]
            handle.remove()
        assert len(seen) == 8
        assert sum(not torch.equal(one, other) for one, other in pairwise(seen)) == 4

    def test_a_constant_schedule_is_a_loader(
        self, runtime: Runtime, recipes: Recipes, lora: Hook, weights: Path
    ) -> None:
        settings = {"seed": 1, "steps": 3, "cfg": 3.0, "sampler_name": "euler", "scheduler": "normal"}
        prompt = encode_prompt(runtime, recipes[1], "a tiger")
        hooked = with_properties(prompt, 1.0, False, None, keyed(lora, (0.0, 0.5), (0.4, 0.5)), None)
        latent = empty_latent(32, 32)
        found = sample(runtime, recipes[0], hooked, hooked, latent, **settings)  # pyright: ignore[reportArgumentType]
        model = recipes[0].patched(weights / "a.safetensors", 0.4)
        expected = sample(runtime, model, prompt, prompt, latent, **settings)  # pyright: ignore[reportArgumentType]
        assert torch.equal(found.samples, expected.samples)

    def test_a_model_takes_the_place_of_another(self, runtime: Runtime, recipes: Recipes, tmp_path: Path) -> None:
        other = open_checkpoint(write_checkpoint(tmp_path / "other.safetensors", seed=9))
        hook = Hook.of_model(other[0], other[1], 1.0, 1.0)
        x, prompt = torch.randn(1, 4, 8, 8), encode_prompt(runtime, recipes[1], "a tiger")
        hooked = with_properties(prompt, 1.0, False, None, Hooks((hook,)), None)
        found = guided(runtime, recipes[0], x, hooked, hooked, 1.0)
        torch.testing.assert_close(found, guided(runtime, other[0], x, prompt, prompt, 1.0), rtol=1e-3, atol=1e-3)
        clip = replace(recipes[1], hooks=Hooks((hook,)))
        moved = encode_prompt(runtime, clip, "a tiger").conds[0].embedding
        torch.testing.assert_close(moved, encode_prompt(runtime, other[1], "a tiger").conds[0].embedding)

    def test_models_and_loras_add_up(
        self, runtime: Runtime, recipes: Recipes, lora: Hook, weights: Path, tmp_path: Path
    ) -> None:
        other = open_checkpoint(write_checkpoint(tmp_path / "other.safetensors", seed=9))
        half = Hook.of_model(other[0], other[1], 0.5, 0.5)
        path = weights / "a.safetensors"
        x, prompt = torch.randn(1, 4, 8, 8), encode_prompt(runtime, recipes[1], "a tiger")
        twice = with_properties(prompt, 1.0, False, None, Hooks((half, half)), None)
        found = guided(runtime, recipes[0].patched(path, 0.8), x, twice, twice, 1.0)
        expected = guided(runtime, other[0].patched(path, 0.8), x, prompt, prompt, 1.0)
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
        after = with_properties(prompt, 1.0, False, None, Hooks((lora, half, half)), None)
        torch.testing.assert_close(guided(runtime, recipes[0], x, after, after, 1.0), expected, rtol=1e-3, atol=1e-3)
        clip = replace(recipes[1].patched(path, 0.6), hooks=Hooks((half, half)))
        moved = encode_prompt(runtime, clip, "a tiger").conds[0].embedding
        expected = encode_prompt(runtime, other[1].patched(path, 0.6), "a tiger").conds[0].embedding
        torch.testing.assert_close(moved, expected, rtol=1e-3, atol=1e-3)

    def test_a_lora_of_another_width_is_an_error(self, recipes: Recipes, tmp_path: Path) -> None:
        path = write_lora(tmp_path / "other.safetensors", 1, size=UNetSize(32, (1, 2), 1, (True, True), 48))
        with pytest.raises(ModelFileError):
            hook_warnings([Hook.of_lora(path, 1.0, 1.0)], recipes[0], None)
        assert hook_warnings([Hook.of_lora(path, 0.0, 1.0)], recipes[0], None) == []

    def test_a_lora_of_the_unet_alone_says_nothing_at_the_prompt(self, recipes: Recipes, tmp_path: Path) -> None:
        whole = load_file(write_lora(tmp_path / "whole.safetensors", 1))
        path = tmp_path / "unet.safetensors"
        save_file({name: tensor for name, tensor in whole.items() if name.startswith("lora_unet_")}, path)
        assert hook_warnings([Hook.of_lora(path, 1.0, 1.0)], None, recipes[1]) == []
        assert hook_warnings([Hook.of_lora(path, 1.0, 1.0)], recipes[0], None) == []


class TestProperties:
    def test_are_set_on_every_cond(self) -> None:
        conds = Conditioning((blank(), blank()))
        mask = torch.ones(1, 8, 8)
        found = with_properties(conds, 0.5, True, mask, None, TimestepsRange(0.1, 0.9))
        assert all(cond.region and cond.region.strength == 0.5 and cond.region.to_bounds for cond in found.conds)
        assert [(cond.start, cond.end) for cond in found.conds] == [(0.1, 0.9)] * 2

    def test_a_default_is_marked(self, lora: Hook) -> None:
        found = with_default(Conditioning((blank(),)), Conditioning((blank(),)), Hooks((lora,)))
        assert [cond.default for cond in found.conds] == [False, True]
        assert found.conds[1].hooks == Hooks((lora,))


class TestOneHookByTwoWays:
    def test_counts_once_and_the_first_stays(self, weights: Path) -> None:
        hook = Hook.of_lora(weights / "a.safetensors", 0.8, 0.6, "7")
        first = keyed(hook, (0.0, 0.5))
        assert first.joined(Hooks((hook,))) == first
        assert first.joined(first).joined(None) == first

    def test_of_another_node_or_of_none_is_another(self, weights: Path) -> None:
        path = weights / "a.safetensors"
        for one, other in (("7", "8"), (None, None)):
            hooks = [Hook.of_lora(path, 0.8, 0.6, made_by) for made_by in (one, other)]
            assert Hooks((hooks[0],)).joined(Hooks((hooks[1],))) == Hooks(tuple(hooks))

    def test_of_one_node_with_other_inputs_is_another(self, weights: Path) -> None:
        hooks = [Hook.of_lora(weights / "a.safetensors", strength, 0.6, "7") for strength in (0.8, 0.5)]
        assert Hooks((hooks[0],)).joined(Hooks((hooks[1],))) == Hooks(tuple(hooks))

    def test_at_prompts_that_carry_it_already(self, runtime: Runtime, recipes: Recipes, weights: Path) -> None:
        hooks = Hooks((Hook.of_lora(weights / "a.safetensors", 0.8, 0.6, "7"),))
        prompt = encode_prompt(runtime, replace(recipes[1], hooks=hooks), "a tiger")
        assert with_properties(prompt, 1.0, False, None, hooks, None).conds[0].hooks == hooks


def blank() -> Cond:
    return Cond(torch.zeros(1, 77, 8))


class TestEase:
    @given(st.sampled_from(["linear", "ease_in", "ease_out", "ease_in_out"]), st.integers(2, 20))
    def test_goes_from_the_first_to_the_last_and_never_back(self, ease: Ease, count: int) -> None:
        numbers = eased(0.5, 2.0, count, ease)
        assert (numbers[0], numbers[-1]) == (0.5, pytest.approx(2.0))
        assert numbers == sorted(numbers)

    def test_a_single_keyframe_is_at_the_start(self) -> None:
        assert spread([0.7], 0.2, 0.8) == [Keyframe(0.2, 0.7)]
