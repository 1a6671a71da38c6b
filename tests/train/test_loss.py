# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from graphexec.train.config import Objective, Optimiser
from graphexec.train.groups import ParameterGroup
from graphexec.train.loss import picture_losses, snr_weights
from graphexec.train.noise import Levels, Target
from graphexec.train.optimisers import make_optimiser

Array = NDArray[np.float64]
RANDOM = torch.Generator().manual_seed(3)
PREDICTION, TARGET = (torch.randn(4, 4, 6, 5, generator=RANDOM) for _ in range(2))
TIMESTEPS = torch.tensor([0, 250, 777, 999])
ALPHAS = np.cumprod(1 - np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2)[TIMESTEPS.numpy()]
SNR = ALPHAS / (1 - ALPHAS)
CUT = np.minimum(SNR, 1000)
ERRORS: Array = PREDICTION.double().numpy() - TARGET.double().numpy()


def losses(kind: Target = "eps", **options: Any) -> Array:
    levels = Levels.of()
    found = picture_losses(PREDICTION, TARGET, TIMESTEPS, Objective(**options), levels, kind=kind)
    assert found.dtype == torch.float32
    return found.numpy().astype(np.float64)


def huber_c(schedule: str) -> Array:
    steps = TIMESTEPS.numpy()
    match schedule:
        case "exponential":
            return np.exp(np.log(0.1) / 1000 * steps) * 1.7
        case "snr":
            return 0.9 / (1 + ((1 - ALPHAS) / ALPHAS) ** 0.5) ** 2 + 0.1
        case _:
            return np.full(4, 0.1 * 1.7)


def test_squares_and_distances() -> None:
    np.testing.assert_allclose(losses(), (ERRORS**2).mean((1, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(losses(loss="l1"), np.abs(ERRORS).mean((1, 2, 3)), rtol=1e-6)


@pytest.mark.parametrize("schedule", ["snr", "exponential", "constant"])
def test_huber(schedule: Any) -> None:
    c = huber_c(schedule)[:, None, None, None]
    smooth = 2 * ((ERRORS**2 + c**2) ** 0.5 - c)
    options: dict[str, Any] = {"huber_schedule": schedule, "huber_scale": 1.7}
    np.testing.assert_allclose(losses(loss="smooth_l1", **options), smooth.mean((1, 2, 3)), rtol=2e-6)
    np.testing.assert_allclose(losses(loss="huber", **options), (c * smooth).mean((1, 2, 3)), rtol=2e-6)


WEIGHTS: list[tuple[Target, dict[str, Any], Array]] = [
    ("eps", {"min_snr_gamma": 5.0}, np.minimum(SNR, 5) / SNR),
    ("v", {"min_snr_gamma": 5.0}, np.minimum(SNR, 5) / (SNR + 1)),
    ("eps", {"debiased": True}, 1 / np.sqrt(CUT)),
    ("v", {"debiased": True}, 1 / (CUT + 1)),
    ("v", {"scale_v_pred_like_noise": True}, CUT / (CUT + 1)),
    ("eps", {"v_pred_like": 0.3}, 1 + 0.3 * (CUT + 1) / CUT),
    ("v", {"min_snr_gamma": 1.0, "scale_v_pred_like_noise": True}, np.minimum(SNR, 1) / (SNR + 1) * CUT / (CUT + 1)),
]


@pytest.mark.parametrize(("kind", "options", "expected"), WEIGHTS)
def test_timesteps_are_weighed(kind: Target, options: dict[str, Any], expected: Array) -> None:
    np.testing.assert_allclose(losses(kind, **options), (ERRORS**2).mean((1, 2, 3)) * expected, rtol=2e-6)


@pytest.mark.parametrize("kind", ["eps", "v"])
def test_weights_are_finite_where_there_is_no_signal(kind: Target) -> None:
    levels, last = Levels.of(zero_terminal_snr=True), torch.tensor([998, 999])
    for objective in (Objective(min_snr_gamma=5.0), Objective(debiased=True), Objective(v_pred_like=0.5)):
        weights = snr_weights(last, objective, levels, kind)
        assert torch.isfinite(weights).all()
        assert float(weights[1]) == pytest.approx(float(weights[0]), abs=2e-5)
    huber = Objective(loss="huber")
    prediction = PREDICTION[:2]
    assert torch.isfinite(picture_losses(prediction, TARGET[:2], last, huber, levels, kind=kind)).all()


def test_masks_and_weights_of_pictures() -> None:
    mask = (torch.rand(4, 1, 6, 5, generator=RANDOM) > 0.5).float()
    weights = torch.tensor([1.0, 0.5, 0.0, 2.0])
    found = picture_losses(
        PREDICTION, TARGET, TIMESTEPS, Objective(), Levels.of(), kind="eps", weights=weights, mask=mask
    )
    expected = (ERRORS**2 * mask.double().numpy()).mean((1, 2, 3)) * weights.numpy()
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6)


def test_a_prediction_in_lower_precision_is_measured_in_float32() -> None:
    found = picture_losses(PREDICTION.bfloat16(), TARGET, TIMESTEPS, Objective(), Levels.of(), kind="eps")
    errors = PREDICTION.bfloat16().double().numpy() - TARGET.double().numpy()
    np.testing.assert_allclose(found.numpy(), (errors**2).mean((1, 2, 3)), rtol=1e-6)


def test_a_step_of_adamw_by_hand() -> None:
    """A layer y = x w under min-SNR: gradient and update (Loshchilov and Hutter 2019, algorithm 2), in fp64."""
    start = torch.tensor(0.7)
    weight = torch.nn.Parameter(start.clone())
    stepper = make_optimiser(
        [ParameterGroup("w", [weight], 0.01)], Optimiser("AdamW", arguments={"weight_decay": 0.1, "betas": (0.8, 0.9)})
    )
    objective = Objective(min_snr_gamma=5.0)
    w, m, s = 0.7, 0.0, 0.0
    x, y = PREDICTION.double().numpy(), TARGET.double().numpy()
    counts = (np.minimum(SNR, 5) / SNR)[:, None, None, None]
    for step in (1, 2, 3):
        losses_now = picture_losses(PREDICTION * weight, TARGET, TIMESTEPS, objective, Levels.of(), kind="eps")
        assert float(losses_now.mean().detach()) == pytest.approx(float((counts * (x * w - y) ** 2).mean()), rel=1e-6)
        losses_now.mean().backward()
        stepper.optimiser.step()
        stepper.optimiser.zero_grad()
        gradient = float((counts * 2 * (x * w - y) * x).mean())
        m, s = 0.8 * m + 0.2 * gradient, 0.9 * s + 0.1 * gradient**2
        w = w * (1 - 0.01 * 0.1) - 0.01 * (m / (1 - 0.8**step)) / ((s / (1 - 0.9**step)) ** 0.5 + 1e-8)
        assert float(weight.detach()) == pytest.approx(w, rel=1e-6)
