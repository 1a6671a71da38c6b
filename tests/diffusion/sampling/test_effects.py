# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import math

import pytest
import torch
from diffusion.sampling.guiding import denoiser, guided
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from graphexec.diffusion import options
from graphexec.diffusion.encode import encode_prompt
from graphexec.diffusion.faults import LatentError
from graphexec.diffusion.guiders import CfgGuider, PerpNegGuider
from graphexec.diffusion.latents.kinds import Sharpen, TonemapReinhard
from graphexec.diffusion.latents.operations import operated
from graphexec.diffusion.models.taps import AttentionKind, Place, Tap
from graphexec.diffusion.runtime import Runtime
from graphexec.diffusion.sampling.discrete import model_sampling
from graphexec.diffusion.sampling.effects import EFFECTS
from graphexec.diffusion.sampling.effects.base import Guess, Pass, Setting
from graphexec.diffusion.sampling.effects.freeu import Backbone
from graphexec.diffusion.sampling.effects.frequencies import scale_frequencies
from graphexec.diffusion.sampling.effects.guidance import (
    Damping,
    Likeness,
    Norm,
    Projection,
    Rescale,
    ZeroStar,
    perp_neg,
)
from graphexec.diffusion.sampling.effects.inpainting import Differential
from graphexec.diffusion.sampling.effects.latents import Operated
from graphexec.diffusion.sampling.effects.perturbed import blur
from graphexec.diffusion.sampling.effects.reuse import EasyReuse, LazyReuse
from graphexec.diffusion.sampling.effects.shrinking import Shrunk
from graphexec.diffusion.sampling.effects.tokens import Merged, Tiled
from graphexec.diffusion.sampling.schedules import sampling_sigmas
from graphexec.diffusion.types import Clip, Conditioning, Model, ModelOption, Sampling, Vae

Recipes = tuple[Model, Clip, Vae]
SETTING = Setting(model_sampling(Sampling()), (14.0, 7.0, 2.0, 0.5, 0.0), 32, 7)

NEUTRAL = [
    options.FreeU(1.0, 1.0, 1.0, 1.0, by_structure=False),
    options.FreeU(1.0, 1.0, 1.0, 1.0, by_structure=True),
    options.HyperTile(256, 2, 0, False),
    options.TokenMerging(0.0),
    options.PerturbedAttention(0.0),
    options.SelfAttention(0.0, 2.0),
    options.DeepShrink(1, 1.0, 0.0, 1.0, True, "bilinear", "bilinear"),
    options.RescaleCfg(0.0),
    options.EpsilonScaling(1.0),
    options.FreSca(1.0, 1.0, 20),
    options.OperateOnGuidance(Sharpen(1, 1.0, 0.0)),
    options.EasyCache(0.0, 0.0, 1.0),
    options.LazyCache(0.0, 0.0, 1.0),
    options.DifferentialDiffusion(),
]
FELT = [
    options.FreeU(1.3, 1.4, 0.9, 0.2, by_structure=False),
    options.FreeU(1.3, 1.4, 0.9, 0.2, by_structure=True),
    options.HyperTile(32, 1, 0, False),
    options.TokenMerging(0.5),
    options.PerturbedAttention(3.0),
    options.SelfAttention(0.5, 2.0),
    options.DeepShrink(1, 2.0, 0.0, 1.0, True, "bicubic", "bislerp"),
    options.DeepShrink(1, 2.0, 0.0, 1.0, False, "area", "nearest-exact"),
    options.RescaleCfg(0.7),
    options.EpsilonScaling(1.05),
    options.FreSca(1.0, 1.25, 2),
    options.AdaptiveProjection(0.5, 5.0, 0.0),
    options.CfgNorm(0.9),
    options.CfgZeroStar(),
    options.Mahiro(),
    options.TangentialDamping(),
    options.OperateOnGuidance(TonemapReinhard(0.5)),
    options.OperateOnGuidance(Sharpen(2, 1.0, 0.5)),
]


@pytest.fixture
def prompts(runtime: Runtime, recipes: Recipes) -> tuple[Conditioning, Conditioning]:
    return encode_prompt(runtime, recipes[1], "a tiger"), encode_prompt(runtime, recipes[1], "")


Prompts = tuple[Conditioning, Conditioning]


def test_every_option_has_an_effect() -> None:
    assert set(EFFECTS) == set(options.OPTIONS)


@pytest.mark.parametrize("option", NEUTRAL, ids=repr)
def test_neutral_options_change_nothing(
    runtime: Runtime, recipes: Recipes, prompts: Prompts, option: ModelOption
) -> None:
    x = torch.randn(2, 4, 8, 12)
    plain = guided(runtime, recipes[0], x, *prompts, 4.0)
    torch.testing.assert_close(
        guided(runtime, recipes[0].with_option(option), x, *prompts, 4.0), plain, rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize("option", FELT, ids=repr)
@pytest.mark.parametrize("size", [(8, 12), (7, 9)])
def test_options_are_felt_and_finite(
    runtime: Runtime, recipes: Recipes, prompts: Prompts, option: ModelOption, size: tuple[int, int]
) -> None:
    if isinstance(option, options.HyperTile) and size == (7, 9):
        pytest.skip("sides that cannot be cut into equal tiles are not tiled alike")
    x = torch.randn(2, 4, *size)
    plain = guided(runtime, recipes[0], x, *prompts, 4.0)
    found = guided(runtime, recipes[0].with_option(option), x, *prompts, 4.0)
    assert found.isfinite().all()
    assert not torch.allclose(found, plain, rtol=1e-4)


@pytest.mark.parametrize("option", [o for o in FELT if not isinstance(o, options.HyperTile)], ids=repr)
def test_options_take_a_picture_of_one_token(
    runtime: Runtime, recipes: Recipes, prompts: Prompts, option: ModelOption
) -> None:
    x = torch.randn(2, 4, 2, 2)
    assert guided(runtime, recipes[0].with_option(option), x, *prompts, 4.0).isfinite().all()


class Sized(Tap):
    """Keeps how many tokens self-attention had where it was told of a size."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, tuple[int, int]]] = []

    def attention_inputs(
        self, kind: AttentionKind, q: Tensor, k: Tensor, v: Tensor, at: Place
    ) -> tuple[Tensor, Tensor, Tensor]:
        self.seen.append((q.shape[1], at.size))
        return q, k, v


def test_attention_is_told_the_size_that_deep_shrink_brings_back(
    runtime: Runtime, recipes: Recipes, prompts: Prompts
) -> None:
    shrunk, sized = Shrunk(options.DeepShrink(2, 2.0, 0.0, 1.0, True, "bicubic", "bicubic"), SETTING), Sized()
    with runtime.unet(recipes[0]) as unet, torch.no_grad():
        unet(torch.randn(1, 4, 8, 12), torch.tensor([500.0]), prompts[0].conds[0].embedding, taps=[shrunk, sized])
    assert len({tokens for tokens, _ in sized.seen}) > 1
    assert all(tokens == size[0] * size[1] for tokens, size in sized.seen)


def no_more(side: object, x: Tensor, taps: object) -> Tensor:
    raise AssertionError("no more passes")


def guess(cfg: float = 3.0) -> Guess:
    x = torch.randn(2, 4, 6, 6)
    return Guess(x, 2.0, cfg, torch.randn_like(x), torch.randn_like(x), no_more)


class TestGuidance:
    def test_projection_without_limits_is_guidance_by_one_more(self) -> None:
        g = guess()
        found = Projection(options.AdaptiveProjection(1.0, 0.0, 0.0), SETTING).guesses(g)
        assert g.negative is not None
        expected = g.positive + (g.positive - g.negative) * g.cfg
        torch.testing.assert_close(g.negative + (found.positive - g.negative) * g.cfg, expected)

    def test_projection_at_no_guidance_changes_nothing(self) -> None:
        g = guess(0.0)
        assert Projection(options.AdaptiveProjection(1.0, 5.0, 0.0), SETTING).guesses(g) is g

    def test_momentum_adds_up_and_begins_anew_with_a_run(self) -> None:
        effect, g = Projection(options.AdaptiveProjection(1.0, 0.0, 0.5), SETTING), guess()
        first, second = effect.guesses(g), effect.guesses(g)
        assert g.negative is not None
        torch.testing.assert_close(second.positive - first.positive, (g.positive - g.negative) * 0.5)
        higher = Guess(g.x, 5.0, g.cfg, g.positive, g.negative, no_more)
        torch.testing.assert_close(effect.guesses(higher).positive, first.positive)

    def test_rescaled_v_has_the_positive_spread(self) -> None:
        g = guess()
        found = Rescale(options.RescaleCfg(1.0), SETTING).combine(g)
        assert found is not None

        def v(estimate: Tensor) -> Tensor:
            return (g.x / 5 - estimate) * math.sqrt(5) / 2

        torch.testing.assert_close(v(found).std(dim=(1, 2, 3)), v(g.positive).std(dim=(1, 2, 3)))

    def test_nothing_is_longer_than_the_positive(self) -> None:
        g = guess()
        found = Norm(options.CfgNorm(1.0), SETTING).guided(g, g.positive * 3)
        torch.testing.assert_close(found, g.positive)
        torch.testing.assert_close(Norm(options.CfgNorm(1.0), SETTING).guided(g, g.positive / 2), g.positive / 2)

    def test_a_negative_that_fits_changes_nothing(self) -> None:
        g = guess()
        same = Guess(g.x, 2.0, 3.0, g.positive, g.positive, no_more)
        torch.testing.assert_close(ZeroStar(options.CfgZeroStar(), SETTING).guided(same, g.positive), g.positive)
        damped = Damping(options.TangentialDamping(), SETTING).guesses(same)
        torch.testing.assert_close(damped.negative, g.positive, rtol=1e-4, atol=1e-4)

    def test_a_negative_like_the_positive_leaves_guidance_alone(self) -> None:
        g = guess()
        same = Guess(g.x, 2.0, 3.0, g.positive, g.positive, no_more)
        leap = g.positive * 3.0
        torch.testing.assert_close(Likeness(options.Mahiro(), SETTING).guided(same, leap), leap)

    @pytest.mark.parametrize("kind", [ZeroStar, Likeness])
    def test_without_a_negative_nothing_changes(self, kind: type[ZeroStar] | type[Likeness]) -> None:
        g = guess()
        alone = Guess(g.x, 2.0, 1.0, g.positive, None, no_more)
        option = options.CfgZeroStar() if kind is ZeroStar else options.Mahiro()
        assert kind(option, SETTING).guided(alone, g.positive) is g.positive  # pyright: ignore[reportArgumentType]

    def test_an_operation_is_done_on_what_guidance_adds(self) -> None:
        g, operation = guess(), TonemapReinhard(0.5)
        found = Operated(options.OperateOnGuidance(operation), SETTING).guesses(g)
        assert g.negative is not None
        torch.testing.assert_close(found.positive - g.negative, operated(g.positive - g.negative, operation))
        assert found.negative is g.negative

    def test_an_operation_is_done_on_the_estimate_where_nothing_guides_it(self) -> None:
        g, operation = guess(), TonemapReinhard(0.5)
        alone = Guess(g.x, 2.0, 1.0, g.positive, None, no_more)
        found = Operated(options.OperateOnGuidance(operation), SETTING).guesses(alone)
        assert torch.equal(found.positive, operated(g.positive, operation))
        assert found.negative is None


def test_perp_neg_on_the_model_is_that_of_the_guider(runtime: Runtime, recipes: Recipes, prompts: Prompts) -> None:
    x, empty = torch.randn(1, 4, 8, 8), encode_prompt(runtime, recipes[1], "nothing")
    with torch.no_grad():
        led = denoiser(runtime, PerpNegGuider(recipes[0], *prompts, empty, 3.0, 0.5), x)(x, 2.0)
    found = guided(runtime, recipes[0].with_option(options.PerpNeg(empty, 0.5)), x, *prompts, 3.0)
    torch.testing.assert_close(found, led, rtol=1e-3, atol=1e-3)


def test_perp_neg_towards_nothing_leads_away_from_the_whole_negative() -> None:
    empty, negative = torch.randn(2, 1, 4, 3, 3)
    torch.testing.assert_close(perp_neg(empty, negative, empty, 3.0, 0.5), empty - (negative - empty) * 1.5)


class TestReuse:
    @pytest.mark.parametrize("option", [options.EasyCache(100.0, 0.0, 1.0), options.LazyCache(100.0, 0.0, 1.0)])
    def test_steps_are_left_out_once_the_rate_is_known(
        self, runtime: Runtime, recipes: Recipes, prompts: Prompts, option: ModelOption
    ) -> None:
        x, calls = torch.randn(1, 4, 8, 8), list[int]()
        denoise = denoiser(runtime, CfgGuider(recipes[0].with_option(option), *prompts, 4.0), x)
        with runtime.unet(recipes[0]) as unet, torch.no_grad():
            handle = unet.register_forward_hook(lambda module, inputs, output: calls.append(1))
            estimates = [denoise(x * sigma, sigma) for sigma in (14.0, 7.0, 2.0, 0.5)]
            handle.remove()
        assert len(calls) == 2
        assert all(estimate.isfinite().all() for estimate in estimates)


class Counted:
    """A network whose output is its input times a factor, which counts what it is asked for."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x * 1.5


class TestWhatIsLeftOut:
    LEVELS = tuple(14.0 - 0.5 * i for i in range(20))
    X = torch.ones(2, 4, 8, 8)

    def computed(self, effect: EasyReuse, sigma: float, *conds: str, x: Tensor = X) -> bool:
        """Whether a forward pass under conds was made, at a noise level by which x is scaled."""
        network, sides = Counted(), ["positive", "negative"][: len(conds)]
        effect.network(x[: len(conds)] * sigma, Pass(sigma, sides, conds), network)  # pyright: ignore[reportArgumentType]
        return bool(network.calls)

    def easy(self, threshold: float = 100.0) -> EasyReuse:
        return EasyReuse(options.EasyCache(threshold, 0.0, 1.0), SETTING)

    def test_a_switch_of_prompts_begins_anew(self) -> None:
        effect = self.easy()
        before = [self.computed(effect, sigma, "a", "n") for sigma in self.LEVELS[:5]]
        after = [self.computed(effect, sigma, "b", "n") for sigma in self.LEVELS[5:10]]
        assert before == [True, True, False, False, False]
        # The first is computed for want of a leader, two more make the new leader's rate known.
        assert after == [True, True, True, False, False]

    def test_all_is_computed_again_once_the_change_counts_after_a_switch(self) -> None:
        effect = self.easy(0.2)
        for sigma in self.LEVELS[:5]:
            self.computed(effect, sigma, "a", "n")
        after = [self.computed(effect, sigma, "b", "n") for sigma in self.LEVELS[5:]]
        assert sum(after[5:]) > 1

    def test_the_leader_stays_where_another_cond_ends(self) -> None:
        effect = self.easy()
        for sigma in self.LEVELS[:4]:
            self.computed(effect, sigma, "a", "n")
        assert [self.computed(effect, sigma, "a") for sigma in self.LEVELS[4:7]] == [True, False, False]

    def test_a_second_look_at_the_leader_follows_its_first(self) -> None:
        effect = self.easy(0.0)
        for sigma in self.LEVELS[:4]:
            assert self.computed(effect, sigma, "a", "n")
            assert self.computed(effect, sigma, "a")

    @pytest.mark.parametrize("conds", [("a",), ("a", "n")])
    def test_larger_latents_are_computed(self, conds: tuple[str, ...]) -> None:
        effect, larger = self.easy(), torch.ones(2, 4, 12, 12)
        found = [self.computed(effect, sigma, *conds) for sigma in self.LEVELS[:3]]
        found += [self.computed(effect, sigma, *conds, x=larger) for sigma in self.LEVELS[3:6]]
        assert found == [True, True, False, True, True, False]

    def test_larger_latents_are_computed_in_whole_steps(self) -> None:
        effect, network = LazyReuse(options.LazyCache(100.0, 0.0, 1.0), SETTING), Counted()
        for sigma, side in zip(self.LEVELS, (8, 8, 8, 12, 12, 12), strict=False):
            effect.denoise(torch.ones(1, 4, side, side) * sigma, sigma, network)
        assert network.calls == 4


class TestMask:
    def test_a_grey_place_begins_late(self) -> None:
        mask = torch.tensor([0.0, 0.3, 1.0])
        effect = Differential(options.DifferentialDiffusion(), SETTING)
        assert [effect.mask(mask, sigma).tolist() for sigma in (14.0, 0.05)] == [[0, 0, 1], [0, 1, 1]]
        half = Differential(options.DifferentialDiffusion(0.5), SETTING)
        torch.testing.assert_close(half.mask(mask, 14.0), torch.tensor([0.0, 0.15, 1.0]))
        none = Differential(options.DifferentialDiffusion(0.0), SETTING)
        assert none.mask(mask, 0.05).tolist() == [0, 1, 1]

    def test_in_a_run_from_the_lowest_level_only_whole_places_change(self) -> None:
        sigmas = sampling_sigmas(SETTING.levels, "karras", 1, 0.5)
        assert sigmas == pytest.approx([SETTING.levels.sigma_min, 0.0])
        effect = Differential(options.DifferentialDiffusion(), Setting(SETTING.levels, sigmas, 32, 7))
        assert effect.mask(torch.tensor([0.0, 0.3, 1.0]), sigmas[0]).tolist() == [0, 0, 1]


class TestTokens:
    @given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 3), st.integers(1, 3))
    def test_tiles_come_back_in_place(self, down: int, right: int, rows: int, columns: int) -> None:
        size = (down * rows, right * columns)
        at = Place("input", 1, 0, size, size)
        effect = Tiled(options.HyperTile(1, 1, 0, False), SETTING)
        tokens = torch.arange(float(size[0] * size[1]))[None, :, None].repeat(2, 1, 3)
        q, k, v = effect.attention_inputs("self", tokens, tokens, tokens, at)
        assert torch.equal(q, k)
        assert torch.equal(k, v)
        assert torch.equal(effect.attention_output("self", q, at), tokens)

    @given(st.integers(2, 7), st.integers(2, 7), st.floats(0.1, 1.0))
    def test_merged_tokens_are_means_and_come_back(self, rows: int, columns: int, ratio: float) -> None:
        at = Place("input", 1, 0, (rows, columns), (rows, columns))
        effect = Merged(options.TokenMerging(ratio), SETTING)
        tokens = torch.ones(2, rows * columns, 3)
        merged, k, _ = effect.attention_inputs("self", tokens, tokens, tokens, at)
        assert k is tokens
        assert merged.shape[1] == rows * columns - min(
            int(rows * columns * ratio), rows * columns - rows // 2 * (columns // 2)
        )
        torch.testing.assert_close(effect.attention_output("self", merged, at), tokens)

    def test_cut_in_the_middle_block_cannot_be_watched_there(self, runtime: Runtime, recipes: Recipes) -> None:
        prompt = encode_prompt(runtime, recipes[1], "a tiger")
        for first, second in ((0, 1), (1, 0)):
            pair = (options.SelfAttention(0.5, 2.0), options.HyperTile(32, 1, 1, False))
            model = recipes[0].with_option(pair[first]).with_option(pair[second])
            with pytest.raises(LatentError, match="lower max_depth of HyperTile"):
                guided(runtime, model, torch.randn(1, 4, 8, 16), prompt, prompt, 3.0)

    @pytest.mark.parametrize("first", [options.HyperTile(32, 1, 0, False), options.TokenMerging(0.5)])
    def test_of_two_options_the_first_is_done(
        self, runtime: Runtime, recipes: Recipes, prompts: Prompts, first: ModelOption
    ) -> None:
        x = torch.randn(2, 4, 8, 12)
        second = (
            options.TokenMerging(0.5) if isinstance(first, options.HyperTile) else options.HyperTile(32, 1, 0, False)
        )
        alone = guided(runtime, recipes[0].with_option(first), x, *prompts, 4.0)
        both = guided(runtime, recipes[0].with_option(first).with_option(second), x, *prompts, 4.0)
        torch.testing.assert_close(both, alone)

    def test_only_self_attention_at_full_size(self) -> None:
        x = torch.randn(1, 4, 3)
        for effect in (Merged(options.TokenMerging(0.5), SETTING), Tiled(options.HyperTile(1, 1, 0, False), SETTING)):
            assert effect.tap(Pass(1.0, ("positive",), (0,))) is effect
            at = Place("input", 4, 0, (2, 2), (4, 4))
            assert effect.attention_inputs("self", x, x, x, at)[0] is x
            assert effect.attention_inputs("cross", x, x, x, Place("input", 1, 0, (2, 2), (2, 2)))[0] is x


class TestFilters:
    def test_frequencies_below_the_cutoff(self) -> None:
        x = torch.randn(1, 2, 8, 8)
        torch.testing.assert_close(scale_frequencies(x, low=2.0, high=2.0, cutoff=1), x * 2)
        only = scale_frequencies(x, low=0.0, high=1.0, cutoff=1)
        torch.testing.assert_close(only.mean(dim=(2, 3)), torch.zeros(1, 2), atol=1e-6, rtol=0)
        torch.testing.assert_close(scale_frequencies(x, low=3.0, high=1.0, cutoff=6), x * 3)

    def test_blur_keeps_the_mean_of_flat_pictures(self) -> None:
        flat = torch.full((1, 4, 6, 6), 0.3)
        torch.testing.assert_close(blur(flat, 2.0), flat)
        assert blur(flat, 0.0) is flat

    def test_a_flat_map_is_left_alone_by_structure(self) -> None:
        effect = Backbone(options.FreeU(1.5, 1.5, 1.0, 1.0, by_structure=True), SETTING)
        h = torch.ones(1, 128, 1, 1)
        torch.testing.assert_close(effect.join(h, torch.ones(1, 8, 1, 1), Place("output", 0, 0, (1, 1), (8, 8)))[0], h)
