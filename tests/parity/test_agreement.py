# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import pytest
import torch
from parity.agreement import CPU, Agreement, Place, distance


def test_distance_is_relative_to_the_recorded() -> None:
    assert distance(torch.full((4,), 1.1), torch.ones(4)) == pytest.approx(0.1, rel=1e-4)
    assert distance(torch.zeros(2), torch.zeros(2)) == 0
    assert distance(torch.ones(1), torch.zeros(1)) == 1


def test_what_is_too_far_apart_is_recorded_and_fails() -> None:
    seen: list[object] = []
    agrees = Agreement(lambda name, value: seen.append(value))
    agrees("a", torch.ones(2), torch.ones(2), 1e-6)
    with pytest.raises(AssertionError):
        agrees("b", torch.ones(2) * 2, torch.ones(2), 1e-6)
    with pytest.raises(AssertionError):
        agrees("c", torch.ones(2), torch.ones(3), 1e-6)
    assert seen == ["a\t0.000e+00\t1e-06", "b\t1.000e+00\t1e-06"]


def test_a_gpu_is_allowed_more_and_told_apart() -> None:
    seen: list[object] = []
    for place in (CPU, Place("cuda", "fp32"), Place("cuda", "fp16")):
        Agreement(lambda name, value: seen.append(value), place)("a", torch.ones(2), torch.ones(2), 1e-4)
    assert seen == ["a\t0.000e+00\t1e-04", "a, cuda fp32\t0.000e+00\t1e-03", "a, cuda fp16\t0.000e+00\t5e-02"]
