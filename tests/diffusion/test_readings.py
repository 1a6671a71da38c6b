from __future__ import annotations

import pytest

from graphexec.diffusion import readings
from graphexec.diffusion.faults import SigmasError
from graphexec.diffusion.types import Sampling

PLAYGROUND = Sampling("edm", "edm", sigma_min=0.002, sigma_max=80.0, sigma_data=0.5, latents="playground_2_5")


def test_discrete_levels() -> None:
    assert readings.discrete(PLAYGROUND, "v_prediction", zero_snr=True) == Sampling(
        "v", zero_snr=True, latents="playground_2_5"
    )
    assert readings.discrete(Sampling("v", "edm", scaled_edits=True), "eps", zero_snr=False).scaled_edits
    assert readings.discrete(Sampling(), "lcm", zero_snr=False) == Sampling("lcm", original_timesteps=50)


def test_continuous_levels() -> None:
    assert readings.edm(Sampling(), "edm_playground_v2.5", 0.002, 80.0) == PLAYGROUND
    assert readings.edm(Sampling(), "eps", 0.1, 9.0) == Sampling("eps", "edm", sigma_min=0.1, sigma_max=9.0)
    assert readings.continuous_v(Sampling(), 0.03, 500.0) == Sampling(
        "v", "continuous_v", sigma_min=0.03, sigma_max=500.0
    )


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (2.0, 2.0), (3.0, 2.0)])
def test_levels_that_cannot_be(low: float, high: float) -> None:
    with pytest.raises(SigmasError, match="above 0 and below sigma_max"):
        readings.continuous_v(Sampling(), low, high)
    with pytest.raises(SigmasError, match="above 0 and below sigma_max"):
        readings.edm(Sampling(), "edm", low, high)


def test_a_reading_of_another_family_is_refused() -> None:
    with pytest.raises(SigmasError, match="Cosmos"):
        readings.edm(Sampling(), "cosmos_rflow", 0.002, 80.0)
