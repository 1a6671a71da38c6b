# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusion.sampling.toys import Toy
from parity.agreement import Agreement
from safetensors.torch import load_file

from graphexec.diffusion.guiders import Sampler
from graphexec.diffusion.sampling.discrete import model_sampling
from graphexec.diffusion.sampling.names import SAMPLERS, SamplerName
from graphexec.diffusion.sampling.noise import initial_noise
from graphexec.diffusion.sampling.run import run_sampler
from graphexec.diffusion.sampling.samplers import SAMPLER_FUNCTIONS, Step
from graphexec.diffusion.types import Sampling

DATA = Path(__file__).parents[2] / "data/parity"
TENSORS = load_file(DATA / "toy_samplers.safetensors")
RECORDED: dict[str, Any] = json.loads((DATA / "toy_samplers.json").read_text())
LEVELS = model_sampling(Sampling())
V_LEVELS = model_sampling(Sampling("v"))


@pytest.mark.parity
@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("case", ["eps_normal", "v_karras", "img2img", "inpaint", "batch3", "trunc"])
def test_recorded_runs(sampler: SamplerName, case: str, agrees: Agreement) -> None:
    name = sampler.removesuffix("_gpu")
    recorded, steps = RECORDED["runs"][name][case], list[Step]()
    toy = Toy(TENSORS["toy_W"], V_LEVELS if case == "v_karras" else LEVELS)
    seed = 7 if case == "v_karras" else 42
    starts_from_picture = case in ("img2img", "inpaint", "trunc")
    latent = TENSORS["img2img_latent"] if starts_from_picture else torch.zeros(3 if case == "batch3" else 1, 4, 8, 8)
    result = run_sampler(
        toy,
        LEVELS,
        latent,
        initial_noise(latent, seed),
        RECORDED["sigmas"][recorded["sigmas"]],
        sampler=Sampler(sampler),
        seed=seed,
        mask=TENSORS["inpaint_mask"] if case == "inpaint" else None,
        on_step=steps.append,
    )
    assert toy.calls == recorded["calls"]
    assert [float(step.denoised.sum()) for step in steps] == pytest.approx(recorded["denoised"], rel=1e-4, abs=1e-3)
    if case not in ("batch3", "trunc"):
        agrees("samplers on a formula", result, TENSORS[f"{name}/{case}"], 3e-6)


def test_every_name_has_a_sampler() -> None:
    assert set(SAMPLERS) <= set(SAMPLER_FUNCTIONS)
