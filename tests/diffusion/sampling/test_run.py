# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusion.sampling.guiding import guided
from diffusion.sampling.toys import Fake
from diffusion.tiny import UNetSize, write_checkpoint
from diffusion.tiny_control import controlnet_weights
from safetensors.torch import save_file
from torch import Tensor

from graphexec.diffusion import readings
from graphexec.diffusion.checkpoint import open_checkpoint
from graphexec.diffusion.controlfiles import open_controlnet
from graphexec.diffusion.encode import encode_prompt
from graphexec.diffusion.families import FAMILIES
from graphexec.diffusion.faults import LatentError, NonFiniteError, SigmasError
from graphexec.diffusion.guiders import CfgGuider, Noise, Sampler
from graphexec.diffusion.images import empty_latent
from graphexec.diffusion.options import DeepShrink
from graphexec.diffusion.runtime import Runtime
from graphexec.diffusion.sampling.discrete import model_sampling
from graphexec.diffusion.sampling.noise import SeededNoise, initial_noise
from graphexec.diffusion.sampling.run import drive, run_sampler, sample, sample_part, sample_sigmas
from graphexec.diffusion.sampling.samplers import Step, sampler_steps
from graphexec.diffusion.sampling.schedules import sampling_sigmas
from graphexec.diffusion.types import Clip, Cond, Conditioning, Control, Latent, Model, Region, Sampling, Vae
from graphexec.errors import ModelFileError

Recipes = tuple[Model, Clip, Vae]
SETTINGS: dict[str, Any] = {"seed": 3, "steps": 3, "cfg": 4.0, "sampler_name": "euler", "scheduler": "normal"}


@pytest.fixture
def prompts(runtime: Runtime, recipes: Recipes) -> tuple[Conditioning, Conditioning]:
    return encode_prompt(runtime, recipes[1], "a tiger"), encode_prompt(runtime, recipes[1], "")


Prompts = tuple[Conditioning, Conditioning]


def run(runtime: Runtime, recipes: Recipes, prompts: Prompts, latent: Latent, **other: Any) -> Tensor:
    return sample(runtime, recipes[0], *prompts, latent, **(SETTINGS | other)).samples


@pytest.mark.parametrize("sampler", ["euler", "euler_ancestral", "dpmpp_2m"])
def test_equal_inputs_give_equal_bits(runtime: Runtime, recipes: Recipes, prompts: Prompts, sampler: str) -> None:
    first = run(runtime, recipes, prompts, empty_latent(32, 32), sampler_name=sampler)
    assert torch.equal(first, run(Runtime("cpu"), recipes, prompts, empty_latent(32, 32), sampler_name=sampler))
    assert not torch.equal(first, run(runtime, recipes, prompts, empty_latent(32, 32), sampler_name=sampler, seed=4))


def test_items_of_a_batch_are_those_of_single_runs(runtime: Runtime, recipes: Recipes, prompts: Prompts) -> None:
    batch = Latent(torch.randn(2, 4, 4, 4), None, (5, 2))
    both = run(runtime, recipes, prompts, batch)
    for i in range(2):
        one = Latent(batch.samples[i : i + 1], None, batch.batch_index and (batch.batch_index[i],))
        torch.testing.assert_close(both[i : i + 1], run(runtime, recipes, prompts, one), rtol=1e-3, atol=1e-3)


def test_no_denoising_changes_nothing(runtime: Runtime, recipes: Recipes, prompts: Prompts) -> None:
    latent = Latent(torch.randn(1, 4, 4, 4))
    assert torch.equal(run(runtime, recipes, prompts, latent, denoise=0.0), latent.samples)


@pytest.mark.parametrize("sampler", ["euler", "uni_pc", "dpm_adaptive"])
@pytest.mark.parametrize("picture", [torch.zeros(1, 4, 4, 4), torch.randn(1, 4, 4, 4)], ids=["empty", "picture"])
def test_one_level_noises_the_latent_for_another_run(
    runtime: Runtime, recipes: Recipes, prompts: Prompts, sampler: str, picture: Tensor
) -> None:
    guider, sigmas = CfgGuider(recipes[0], *prompts, 4.0), sampling_sigmas(model_sampling(Sampling()), "karras", 3)

    def stage(sigmas: list[float], latent: Latent, noise: Noise, sampler: str = "euler") -> Latent:
        return sample_sigmas(runtime, guider, Sampler(sampler), sigmas, latent, noise).latent

    noisy = stage(sigmas[:1], Latent(picture), Noise(3), sampler)
    assert not torch.equal(noisy.samples, picture)
    whole = stage(sigmas, Latent(picture), Noise(3))
    torch.testing.assert_close(stage(sigmas, noisy, Noise(None)).samples, whole.samples, rtol=1e-3, atol=1e-3)
    assert stage([], noisy, Noise(3)) is noisy


@pytest.mark.parametrize(("first", "last"), [(3, 10000), (9, 10000), (0, 0), (2, 1)])
def test_a_part_without_steps_changes_nothing(
    runtime: Runtime, recipes: Recipes, prompts: Prompts, first: int, last: int
) -> None:
    latent, guider = Latent(torch.randn(1, 4, 4, 4)), CfgGuider(recipes[0], *prompts, 4.0)
    options: dict[str, Any] = {name: SETTINGS[name] for name in ("seed", "steps", "sampler_name", "scheduler")}
    found = sample_part(runtime, guider, latent, Noise(1), first=first, last=last, finish=False, **options)
    assert found is latent


def test_a_mask_keeps_what_it_leaves_out(runtime: Runtime, recipes: Recipes, prompts: Prompts) -> None:
    mask = torch.zeros(1, 32, 32)
    mask[:, :, 16:] = 1
    latent = Latent(torch.randn(2, 4, 4, 4), mask)
    result = sample(runtime, recipes[0], *prompts, latent, **SETTINGS)
    torch.testing.assert_close(result.samples[..., :1], latent.samples[..., :1])
    assert not torch.allclose(result.samples[..., 3:], latent.samples[..., 3:])
    assert result.noise_mask is mask


def test_steps_are_seen_and_may_stop_the_run(runtime: Runtime, recipes: Recipes, prompts: Prompts) -> None:
    seen: list[int] = []

    def stop(step: Step) -> None:
        seen.append(step.i)
        if step.i == 1:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        run(runtime, recipes, prompts, empty_latent(32, 32), on_step=stop)
    assert seen == [0, 1]
    assert run(runtime, recipes, prompts, empty_latent(32, 32)).isfinite().all()


def test_guidance_is_the_difference_times_its_strength(runtime: Runtime, recipes: Recipes, prompts: Prompts) -> None:
    x = torch.randn(1, 4, 4, 4)
    wanted, unwanted = (guided(runtime, recipes[0], x, prompt, prompts[1], 1.0) for prompt in prompts)
    found = guided(runtime, recipes[0], x, *prompts, 5.0)
    torch.testing.assert_close(found, unwanted + 5 * (wanted - unwanted), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("tokens", [77, 154, 7 * 77])
def test_prompts_of_different_lengths(runtime: Runtime, recipes: Recipes, prompts: Prompts, tokens: int) -> None:
    """Repeating a prompt changes nothing in attention, so any grouping gives the same."""
    repeated = Conditioning((Cond(prompts[1].conds[0].embedding.repeat(1, tokens // 77, 1)),))
    x = torch.randn(1, 4, 4, 4)
    expected = guided(runtime, recipes[0], x, *prompts, 5.0)
    found = guided(runtime, recipes[0], x, prompts[0], repeated, 5.0)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_several_conds_are_averaged(runtime: Runtime, recipes: Recipes, prompts: Prompts) -> None:
    x = torch.randn(2, 4, 4, 4)
    both = Conditioning((*prompts[0].conds, *prompts[1].conds))
    parts = [guided(runtime, recipes[0], x, prompt, prompt, 1.0) for prompt in prompts]
    found = guided(runtime, recipes[0], x, both, both, 1.0)
    torch.testing.assert_close(found, (parts[0] + parts[1]) / 2, rtol=1e-3, atol=1e-3)


def test_a_prediction_that_is_not_finite_names_its_step() -> None:
    def denoise(x: Tensor, sigma: float) -> Tensor:
        return torch.full_like(x, torch.nan) if sigma < 2 else x

    zeros = torch.zeros(1, 4, 2, 2)
    with pytest.raises(NonFiniteError, match="from step 3 on"):
        run_sampler(
            Fake(denoise),
            model_sampling(Sampling()),
            zeros,
            zeros,
            [5.0, 3.0, 1.0, 0.0],
            sampler=Sampler("euler"),
            seed=0,
        )


def test_a_result_that_is_not_finite_is_blamed_on_the_levels() -> None:
    zeros = torch.zeros(1, 4, 2, 2)
    steps = sampler_steps(
        Sampler("dpmpp_sde"), Fake(lambda x, s: x), zeros, [2.0, 2.0], model_sampling(Sampling()), SeededNoise(zeros, 0)
    )
    with pytest.raises(NonFiniteError, match="not finite at the end, though all that the model predicted is"):
        drive(steps)


def test_levels_are_checked_before_a_run(runtime: Runtime, recipes: Recipes, prompts: Prompts) -> None:
    guider = CfgGuider(recipes[0], *prompts, 4.0)
    with pytest.raises(SigmasError, match="noise level 2 of 3 is 0"):
        sample_sigmas(runtime, guider, Sampler("euler"), [9.0, 0.0, 0.0], empty_latent(32, 32), Noise(1))


def test_a_weight_that_is_no_number_is_named_at_the_first_step(runtime: Runtime, recipes: Recipes) -> None:
    prompt = encode_prompt(runtime, recipes[1], "(tiger:nan)")
    with pytest.raises(NonFiniteError, match="from step 1 on"):
        run(runtime, recipes, (prompt, prompt), empty_latent(32, 32))


def test_what_cannot_grow_with_the_latents_is_named(
    runtime: Runtime, recipes: Recipes, prompts: Prompts, tmp_path: Path
) -> None:
    write_checkpoint(tmp_path / "inpainting.safetensors", size=replace(UNetSize(), channels=9))
    inpainting = open_checkpoint(tmp_path / "inpainting.safetensors")[0]
    region = Conditioning((replace(prompts[0].conds[0], region=Region(torch.ones(1, 32, 32))),))

    def grow(model: Model, positive: Conditioning, mask: Tensor | None, **options: float) -> Tensor:
        guider, latent = CfgGuider(model, positive, prompts[1], 1.0), Latent(torch.zeros(1, 4, 4, 4), mask)
        sampler = Sampler.of("lcm_upscale", **options)
        return sample_sigmas(runtime, guider, sampler, [14.0, 3.0, 0.0], latent, Noise(1)).latent.samples

    assert grow(recipes[0], prompts[0], None, ratio=2.0).shape == (1, 4, 8, 8)
    for stays, model, positive, mask in (
        ("the noise mask", recipes[0], prompts[0], torch.ones(1, 32, 32)),
        ("the mask of a prompt", recipes[0], region, None),
        ("the picture that an inpainting or editing model sees", inpainting, prompts[0], None),
    ):
        with pytest.raises(LatentError, match=f"SamplerLCMUpscale .* {stays} stays as large as it was"):
            grow(model, positive, mask, ratio=2.0)
        assert grow(model, positive, mask).shape == grow(model, positive, mask, ratio=2.0, growing_steps=0).shape


@pytest.mark.parametrize("samples", [torch.ones(1, 16, 4, 4), torch.zeros(4, 4, 4)])
def test_latents_of_another_kind_are_refused(
    runtime: Runtime, recipes: Recipes, prompts: Prompts, samples: Tensor
) -> None:
    with pytest.raises(LatentError, match=r"\[batch, 4, height, width\]"):
        run(runtime, recipes, prompts, Latent(samples))


def test_prompts_of_another_family_are_refused(runtime: Runtime, recipes: Recipes, prompts: Prompts) -> None:
    wide = Conditioning((Cond(torch.zeros(1, 77, 96)),))
    with pytest.raises(ModelFileError, match=r"tiny.safetensors .* SD 1.x.* 32 wide.* is 96 wide"):
        run(runtime, recipes, (prompts[0], wide), empty_latent(32, 32))


def test_batch_indices_must_be_as_many_as_latents(runtime: Runtime, recipes: Recipes, prompts: Prompts) -> None:
    with pytest.raises(LatentError, match="2 latents come with 1"):
        run(runtime, recipes, prompts, Latent(torch.zeros(2, 4, 4, 4), None, (0,)))


def test_at_the_highest_level_the_latent_counts_as_noise() -> None:
    levels, latent, noise = model_sampling(Sampling()), torch.ones(1, 4, 2, 2), torch.randn(1, 4, 2, 2)
    seen: list[Step] = []
    for sigma in (levels.sigma_max, levels.sigma_max / 2):
        sigmas = [sigma, 0.0]
        run_sampler(
            Fake(lambda x, s: x), levels, latent, noise, sigmas, sampler=Sampler("euler"), seed=0, on_step=seen.append
        )
    torch.testing.assert_close(seen[0].x, latent + noise * (1 + levels.sigma_max**2) ** 0.5)
    torch.testing.assert_close(seen[1].x, latent + noise * levels.sigma_max / 2)


def test_the_scale_of_latents_is_undone(runtime: Runtime, recipes: Recipes, prompts: Prompts) -> None:
    latent = Latent(torch.full((1, 4, 4, 4), 100.0))
    steps: list[Step] = []
    run(runtime, recipes, prompts, latent, denoise=0.3, on_step=steps.append)
    assert float(steps[0].x.mean()) == pytest.approx(100 * FAMILIES["sd1"].latent_scale, rel=0.2)
    assert replace(latent) == latent


def test_empty_latents_are_none_of_a_vae(runtime: Runtime, recipes: Recipes, prompts: Prompts) -> None:
    """Playground 2.5 moves latents by a mean; what no VAE made stays zeros, under the noise."""
    model = replace(recipes[0], sampling=readings.edm(recipes[0].sampling, "edm_playground_v2.5", 0.002, 80.0))
    steps: list[Step] = []
    sample(runtime, model, *prompts, empty_latent(32, 32), on_step=steps.append, **SETTINGS)
    noise = initial_noise(torch.zeros(1, 4, 4, 4), SETTINGS["seed"])
    torch.testing.assert_close(steps[0].x, noise * (1 + 80.0**2) ** 0.5)


def test_a_smaller_feature_map_and_a_controlnet(
    runtime: Runtime, recipes: Recipes, prompts: Prompts, tmp_path: Path
) -> None:
    """What the ControlNet adds there at the full size is left out, and said once."""
    save_file(controlnet_weights(UNetSize()), tmp_path / "net.safetensors")
    control = Control(open_controlnet(tmp_path / "net.safetensors"), torch.rand(1, 64, 64, 3))
    steered = Conditioning((replace(prompts[0].conds[0], controls=(control,), control_uncond=True),))
    results: list[Tensor] = []
    for after_skip in (True, False):
        told: list[str] = []
        model = recipes[0].with_option(DeepShrink(1, 2.0, 0.0, 1.0, after_skip, "bicubic", "bicubic"))
        latent = Latent(torch.zeros(1, 4, 8, 8))
        results += [sample(runtime, model, steered, prompts[1], latent, warn=told.append, **SETTINGS).samples]
        results += [sample(runtime, model, *prompts, latent, warn=told.append, **SETTINGS).samples]
        assert len(told) == 1
        assert "PatchModelAddDownscale makes the feature map smaller" in told[0]
        assert not torch.equal(results[-1], results[-2])
    assert all(result.isfinite().all() for result in results)
