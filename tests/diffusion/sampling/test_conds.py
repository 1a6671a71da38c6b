# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from diffusion.sampling.guiding import denoiser, guided
from torch import Tensor

from graphexec.diffusion.encode import encode_prompt
from graphexec.diffusion.guiders import CfgGuider, DualCfgGuider, PerpNegGuider
from graphexec.diffusion.options import TangentialDamping
from graphexec.diffusion.runtime import Runtime
from graphexec.diffusion.sampling.conds import Box, prepare, share_areas, share_controls
from graphexec.diffusion.sampling.discrete import model_sampling
from graphexec.diffusion.sources import WeightsFile
from graphexec.diffusion.types import Area, Clip, Cond, Conditioning, Control, ControlNet, Model, Region, Sampling, Vae

Recipes = tuple[Model, Clip, Vae]
LEVELS = model_sampling(Sampling())
LIKE = torch.zeros(1, 4, 16, 24)
EMPTY = Cond(torch.zeros(1, 77, 32))


def ready(cond: Cond) -> tuple[Box | None, Tensor | None]:
    (found,) = prepare(Conditioning((cond,)), LEVELS, LIKE)
    return found.box, found.weight


@pytest.fixture
def prompts(runtime: Runtime, recipes: Recipes) -> list[Cond]:
    return [encode_prompt(runtime, recipes[1], text).conds[0] for text in ("a tiger", "the sea", "")]


class TestAreas:
    @pytest.mark.parametrize(
        ("area", "box"),
        [
            (Area(64, 32, 16, 8), Box(1, 2, 4, 8)),
            (Area(4096, 4096, 64, 64), Box(8, 8, 8, 16)),
            (Area(64, 64, 9999, 9999), Box(15, 23, 1, 1)),
            (Area(0.5, 0.25, 0.5, 0.0, relative=True), Box(0, 12, 4, 12)),
            (Area(0.001, 0.001, 0.0, 0.0, relative=True), Box(0, 0, 1, 1)),
        ],
    )
    def test_are_counted_in_cells_and_stay_inside(self, area: Area, box: Box) -> None:
        assert ready(replace(EMPTY, area=area))[0] == box

    def test_fade_towards_inner_edges_only(self) -> None:
        weight = ready(replace(EMPTY, area=Area(64, 128, 0, 0), strength=2.0))[1]
        assert weight is not None
        assert weight.shape == (1, 1, 16, 8)
        assert weight[0, 0, 3].tolist() == [2, 2, 2, 2, 2, 2, 2, 1]

    def test_of_a_mask_are_its_bounds(self) -> None:
        mask = torch.zeros(1, 16, 24)
        mask[0, 4:6, 10:20] = 0.5
        box, weight = ready(replace(EMPTY, region=Region(mask, 2.0, to_bounds=True)))
        assert box == Box(4, 10, 8, 10)
        assert weight is not None
        assert weight[0, 0, :, 0].tolist() == [1, 1, 0, 0, 0, 0, 0, 0]

    def test_an_empty_mask_has_some_bounds(self) -> None:
        assert ready(replace(EMPTY, region=Region(torch.zeros(16, 24), to_bounds=True)))[0] == Box(0, 0, 8, 8)

    def test_are_shared_with_the_other_side_and_its_words(self) -> None:
        words = torch.ones(1, 77, 32)
        inside, whole = replace(EMPTY, area=Area(64, 64, 0, 0), control_embedding=EMPTY.embedding), Cond(words)
        lists = [prepare(Conditioning(conds), LEVELS, LIKE) for conds in ((EMPTY, inside), (whole,))]
        share_areas(lists)
        assert [len(conds) for conds in lists] == [2, 2]
        assert lists[1][1].box == Box(0, 0, 8, 8)
        assert lists[1][1].cond.embedding is words
        assert lists[1][1].cond.control_embedding is None

    def test_masks_of_other_sizes_fit(self) -> None:
        weight = ready(replace(EMPTY, region=Region(torch.ones(1, 128, 192))))[1]
        assert weight is not None
        assert weight.shape == (1, 1, 16, 24)

    @pytest.mark.parametrize(("masks", "batch"), [(2, 3), (2, 4), (3, 2), (1, 3)])
    def test_masks_of_another_number_are_repeated_and_cut(self, masks: int, batch: int) -> None:
        mask = torch.arange(masks, dtype=torch.float32)[:, None, None].expand(masks, 16, 24)
        (found,) = prepare(Conditioning((replace(EMPTY, region=Region(mask)),)), LEVELS, LIKE.repeat(batch, 1, 1, 1))
        assert found.weight is not None
        assert found.weight[:, 0, 0, 0].tolist() == [i % masks for i in range(batch)]


class TestControls:
    def test_go_to_the_other_side_unless_it_has_some(self, weights: object) -> None:
        control = Control(ControlNet(WeightsFile.__new__(WeightsFile)), torch.zeros(1, 8, 8, 3))
        steered = replace(EMPTY, controls=(control,), control_uncond=True)
        positive = prepare(Conditioning((steered, EMPTY)), LEVELS, LIKE)
        negative = prepare(Conditioning((EMPTY,)), LEVELS, LIKE)
        share_controls(positive, negative)
        assert [*map(id, negative[0].controls)] == [id(control)]
        own = prepare(Conditioning((replace(EMPTY, controls=(control, control)),)), LEVELS, LIKE)
        share_controls(positive, own)
        assert len(own[0].controls) == 2

    def test_of_several_for_one_negative_it_gets_the_last(self) -> None:
        """As in ComfyUI: a second negative of the same words would be another picture."""
        net = ControlNet(WeightsFile.__new__(WeightsFile))
        controls = [Control(net, torch.zeros(1, 8, 8, 3)) for _ in range(3)]
        steered = tuple(replace(EMPTY, controls=(control,), control_uncond=True) for control in controls)
        for count, expected in ((1, [2]), (2, [2, 1])):
            negative = prepare(Conditioning((EMPTY,) * count), LEVELS, LIKE)
            share_controls(prepare(Conditioning(steered), LEVELS, LIKE), negative)
            assert [*map(id, (c.controls[0] for c in negative))] == [id(controls[i]) for i in expected]


class TestEstimates:
    def test_masks_put_two_prompts_side_by_side(self, runtime: Runtime, recipes: Recipes, prompts: list[Cond]) -> None:
        x, left = torch.randn(2, 4, 8, 8), torch.zeros(1, 8, 8)
        left[..., :4] = 1
        halves = Conditioning(
            (replace(prompts[0], region=Region(left)), replace(prompts[1], region=Region(1 - left, 3.0)))
        )
        whole = [guided(runtime, recipes[0], x, Conditioning((p,)), Conditioning((p,)), 1.0) for p in prompts[:2]]
        found = guided(runtime, recipes[0], x, halves, halves, 1.0)
        torch.testing.assert_close(found, torch.cat([whole[0][..., :4], whole[1][..., 4:]], dim=-1))

    def test_a_default_fills_what_is_left(self, runtime: Runtime, recipes: Recipes, prompts: list[Cond]) -> None:
        x, left = torch.randn(1, 4, 8, 8), torch.zeros(1, 8, 8)
        left[..., :4] = 1
        conds = Conditioning((replace(prompts[0], region=Region(left)), replace(prompts[1], default=True)))
        whole = [guided(runtime, recipes[0], x, Conditioning((p,)), Conditioning((p,)), 1.0) for p in prompts[:2]]
        found = guided(runtime, recipes[0], x, conds, conds, 1.0)
        torch.testing.assert_close(found, torch.cat([whole[0][..., :4], whole[1][..., 4:]], dim=-1))

    def test_an_area_is_estimated_by_itself(self, runtime: Runtime, recipes: Recipes, prompts: list[Cond]) -> None:
        x = torch.randn(1, 4, 8, 8)
        part = Conditioning((replace(prompts[0], area=Area(32, 64, 32, 0)),))
        found = guided(runtime, recipes[0], x, part, part, 1.0)
        whole = Conditioning((prompts[0],))
        alone = guided(runtime, recipes[0], x[..., 4:], whole, whole, 1.0)
        torch.testing.assert_close(found[..., 4:], alone)
        assert not found[..., :4].any()

    @pytest.mark.parametrize(("sigma", "which"), [(14.0, 0), (0.5, 1)])
    def test_ranges_take_turns(
        self, runtime: Runtime, recipes: Recipes, prompts: list[Cond], sigma: float, which: int
    ) -> None:
        x = torch.randn(1, 4, 8, 8)
        turns = Conditioning((replace(prompts[0], end=0.4), replace(prompts[1], start=0.4)))
        found = guided(runtime, recipes[0], x, turns, turns, 1.0, sigma)
        alone = Conditioning((prompts[which],))
        torch.testing.assert_close(found, guided(runtime, recipes[0], x, alone, alone, 1.0, sigma))


class TestGuiders:
    def estimates(self, runtime: Runtime, model: Model, x: Tensor, prompts: list[Cond]) -> list[Tensor]:
        return [guided(runtime, model, x, Conditioning((p,)), Conditioning((p,)), 1.0) for p in prompts]

    @pytest.mark.parametrize("nested", [False, True])
    def test_two_prompts_lead(self, runtime: Runtime, recipes: Recipes, prompts: list[Cond], nested: bool) -> None:
        x = torch.randn(1, 4, 8, 8)
        positive, middle, negative = (Conditioning((p,)) for p in prompts)
        found = denoiser(runtime, DualCfgGuider(recipes[0], positive, middle, negative, 3.0, 2.0, nested), x)(x, 2.0)
        p, m, n = self.estimates(runtime, recipes[0], x, prompts)
        expected = n + (m + (p - m) * 3 - n) * 2 if nested else n + (m - n) * 2 + (p - m) * 3
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)

    @pytest.mark.parametrize(
        ("nested", "cfg", "outer", "rows"),
        [
            (False, 1.0, 1.0, 1), (False, 3.0, 1.0, 2), (False, 1.0, 2.0, 3), (False, 3.0, 2.0, 3),
            (True, 1.0, 1.0, 1), (True, 3.0, 1.0, 2), (True, 1.0, 2.0, 2), (True, 3.0, 2.0, 3),
        ],
    )  # fmt: skip
    def test_two_prompts_skip_what_is_not_used_at_cfg_1(
        self, runtime: Runtime, recipes: Recipes, prompts: list[Cond], nested: bool, cfg: float, outer: float, rows: int
    ) -> None:
        x, seen = torch.randn(1, 4, 8, 8), list[int]()
        positive, middle, negative = (Conditioning((p,)) for p in prompts)
        denoise = denoiser(runtime, DualCfgGuider(recipes[0], positive, middle, negative, cfg, outer, nested), x)
        with runtime.unet(recipes[0]) as unet, torch.no_grad():
            handle = unet.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])))
            found = denoise(x, 2.0)
            handle.remove()
            whole = denoise.with_uncond(x, 2.0)[0]
        assert sum(seen) == rows
        torch.testing.assert_close(found, whole, rtol=1e-3, atol=1e-3)

    @pytest.mark.parametrize("nested", [False, True])
    def test_two_prompts_hand_out_what_guidance_led_away_from(
        self, runtime: Runtime, recipes: Recipes, prompts: list[Cond], nested: bool
    ) -> None:
        x = torch.randn(1, 4, 8, 8)
        positive, middle, negative = (Conditioning((p,)) for p in prompts)
        guider = DualCfgGuider(recipes[0], positive, middle, negative, 3.0, 2.0, nested)
        _, m, n = self.estimates(runtime, recipes[0], x, prompts)
        found = denoiser(runtime, guider, x).with_uncond(x, 2.0)[1]
        torch.testing.assert_close(found, m if nested else n, rtol=1e-3, atol=1e-3)

    def test_perpendicular_negative_that_is_the_positive_does_not_count(
        self, runtime: Runtime, recipes: Recipes, prompts: list[Cond]
    ) -> None:
        x = torch.randn(1, 4, 8, 8)
        positive, empty = Conditioning((prompts[0],)), Conditioning((prompts[2],))
        found = denoiser(runtime, PerpNegGuider(recipes[0], positive, positive, empty, 3.0, 5.0), x)(x, 2.0)
        plain = guided(runtime, recipes[0], x, positive, empty, 3.0)
        torch.testing.assert_close(found, plain, rtol=1e-3, atol=1e-3)

    def test_the_negative_is_there_at_any_cfg(self, runtime: Runtime, recipes: Recipes, prompts: list[Cond]) -> None:
        x = torch.randn(1, 4, 8, 8)
        positive, negative = Conditioning((prompts[0],)), Conditioning((prompts[1],))
        p, n = self.estimates(runtime, recipes[0], x, prompts[:2])
        found = denoiser(runtime, CfgGuider(recipes[0], positive, negative, 1.0), x).with_uncond(x, 2.0)
        torch.testing.assert_close(found, (p, n), rtol=1e-3, atol=1e-3)

    def test_the_negative_handed_out_is_as_options_have_it(
        self, runtime: Runtime, recipes: Recipes, prompts: list[Cond]
    ) -> None:
        x = torch.randn(1, 4, 8, 8)
        positive, negative = Conditioning((prompts[0],)), Conditioning((prompts[1],))
        p, n = self.estimates(runtime, recipes[0], x, prompts[:2])
        scores = torch.stack([(x - n).flatten(), (x - p).flatten()])
        first = torch.linalg.svd(scores, full_matrices=False).Vh[0]
        damped = x - ((x - n).flatten() @ first * first).view_as(x)
        guider = CfgGuider(recipes[0].with_option(TangentialDamping()), positive, negative, 3.0)
        found = denoiser(runtime, guider, x).with_uncond(x, 2.0)
        torch.testing.assert_close(found, (damped + (p - damped) * 3, damped), rtol=1e-3, atol=1e-3)
