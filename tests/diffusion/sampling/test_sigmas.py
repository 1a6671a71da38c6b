# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from graphexec.diffusion.faults import SigmasError
from graphexec.diffusion.sampling import schedules
from graphexec.diffusion.sampling.discrete import model_sampling
from graphexec.diffusion.sampling.sigmas import extended, flipped, split_at_fraction, to_wire, with_first
from graphexec.diffusion.types import Sampling

LEVELS = to_wire([8.0, 4.0, 2.0, 1.0, 0.0])
EMPTY = to_wire([])


@given(st.integers(0, 30), st.floats(0, 1))
def test_two_parts_share_one_level(steps: int, denoise: float) -> None:
    sigmas = torch.arange(steps, -1.0, -1.0)
    high, low = split_at_fraction(sigmas, denoise)
    assert len(low) - 1 == round(steps * denoise)
    assert torch.equal(torch.cat([high, low[1:]]), sigmas)


def test_turning_round_begins_just_above_zero() -> None:
    assert flipped(LEVELS).tolist() == pytest.approx([0.0001, 1, 2, 4, 8])
    assert flipped(LEVELS[:-1]).tolist() == [1, 2, 4, 8]
    assert LEVELS[-1] == 0


def test_another_first_level() -> None:
    assert with_first(LEVELS, 136.0).tolist() == [136, 4, 2, 1, 0]
    assert LEVELS[0] == 8


def test_steps_between_two_levels_are_cut() -> None:
    assert extended(LEVELS, 2, -1.0, 2.0, "linear").tolist() == [8, 6, 4, 3, 2, 1.5, 1, 0]
    assert extended(LEVELS, 4, 4.0, 4.0, "linear").tolist() == [8, 4, 3.5, 3, 2.5, 2, 1, 0]
    assert torch.equal(extended(LEVELS, 1, -1.0, 0.0, "sine"), LEVELS)
    sine = extended(LEVELS[:2], 2, -1.0, 0.0, "sine")[1]
    cosine = extended(LEVELS[:2], 2, -1.0, 0.0, "cosine")[1]
    assert float(sine) == pytest.approx(8 - 4 * (1 - math.sqrt(0.5)))
    assert float(cosine) == pytest.approx(8 - 4 * math.sqrt(0.5))


def test_no_levels_stay_none() -> None:
    assert [len(part) for part in split_at_fraction(EMPTY, 0.5)] == [0, 0]
    assert len(flipped(EMPTY)) == len(with_first(EMPTY, 1.0)) == len(extended(EMPTY, 2, -1.0, 0.0, "linear")) == 0


@pytest.mark.parametrize(
    ("fault", "make"),
    [
        ("rho", lambda: schedules.karras_sigmas(3, 10.0, 1.0, 0.0)),
        ("sigma_min", lambda: schedules.exponential_sigmas(3, 10.0, 0.0)),
        ("sigma_max", lambda: schedules.polyexponential_sigmas(3, 0.0, 0.1, 1.0)),
        ("sigma_min", lambda: schedules.karras_sigmas(3, 10.0, 0.0, 7.0)),
        ("sigma_max", lambda: schedules.karras_sigmas(3, 0.0, 0.03, 7.0)),
        ("rho", lambda: schedules.polyexponential_sigmas(3, 10.0, 0.1, 0.0)),
        ("sigma_max", lambda: schedules.laplace_sigmas(3, 0.0, 0.0, 0.0, 0.5)),
        ("eps_s", lambda: schedules.vp_sigmas(3, 19.9, 0.1, 0.0)),
        ("sigma", lambda: with_first(LEVELS, 0.0)),
        ("alpha", lambda: schedules.beta_sigmas(model_sampling(Sampling()), 3, 0.0, 1.0)),
    ],
)
def test_settings_without_levels_are_named(fault: str, make: object) -> None:
    assert callable(make)
    with pytest.raises(SigmasError, match=f"{fault} must be above 0"):
        make()


@pytest.mark.parametrize(
    ("told", "make"),
    [
        ("beta_d 5000, beta_min 0.1", lambda: schedules.vp_sigmas(3, 5000.0, 0.1, 0.001)),
        ("beta_d 0, beta_min 0", lambda: schedules.vp_sigmas(3, 0.0, 0.0, 0.001)),
        ("rho 0.01", lambda: schedules.karras_sigmas(3, 14.6, 0.03, 0.01)),
        ("sigma_max 5000, sigma_min 0.03, rho 0.01", lambda: schedules.karras_sigmas(3, 5000.0, 0.03, 0.01)),
    ],
)
def test_settings_beyond_numbers_are_shown(told: str, make: object) -> None:
    assert callable(make)
    with pytest.raises(SigmasError, match=told):
        make()


@pytest.mark.parametrize("sampling", [Sampling(levels="edm"), Sampling(levels="continuous_v")])
def test_turbo_steps_of_continuous_levels_are_refused(sampling: Sampling) -> None:
    with pytest.raises(SigmasError, match="continuous noise levels"):
        schedules.turbo_sigmas(model_sampling(sampling), 1, 1.0)
