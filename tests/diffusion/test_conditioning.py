# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import pytest
import torch
from torch import Tensor

from graphexec.diffusion.conditioning import average, concat, set_mask, zero_out
from graphexec.diffusion.types import Area, Cond, Conditioning

MASK = torch.ones(1, 8, 8)


def prompt(tokens: int, value: float, pooled: float | None = None, **more: object) -> Conditioning:
    own = None if pooled is None else torch.full((1, 3), pooled)
    return Conditioning((Cond(torch.full((1, tokens, 2), value), own, **more),))  # type: ignore[arg-type]


def parts(conditioning: Conditioning) -> tuple[Tensor, Tensor | None]:
    (cond,) = conditioning.conds
    return cond.embedding, cond.pooled


@pytest.mark.parametrize("tokens", [2, 4, 6])
def test_average_has_the_length_of_the_first(tokens: int) -> None:
    embedding, pooled = parts(average(prompt(4, 1.0, 1.0), prompt(tokens, 3.0, 5.0), 0.25))
    assert embedding.shape == (1, 4, 2)
    assert embedding[0, :, 0].tolist() == [2.5] * min(tokens, 4) + [0.25] * (4 - min(tokens, 4))
    assert pooled is not None and pooled.tolist() == [[4.0] * 3]


def test_average_of_pooled_outputs_that_are_not_there() -> None:
    first = parts(average(prompt(4, 1.0), prompt(4, 3.0, 5.0), 0.25))[1]
    second = parts(average(prompt(4, 1.0, 1.0), prompt(4, 3.0), 0.25))[1]
    assert first is not None and first.tolist() == [[5.0] * 3]
    assert second is not None and second.tolist() == [[1.0] * 3]
    assert parts(average(prompt(4, 1.0), prompt(4, 3.0), 0.25))[1] is None


def test_concat_joins_tokens_and_keeps_all_else() -> None:
    joined = concat(prompt(2, 1.0, 1.0, start=0.5), prompt(3, 2.0, 7.0))
    embedding, pooled = parts(joined)
    assert embedding[0, :, 0].tolist() == [1.0, 1.0, 2.0, 2.0, 2.0]
    assert pooled is not None and pooled.tolist() == [[1.0] * 3]
    assert joined.conds[0].start == 0.5


def test_zero_out_clears_both() -> None:
    source = prompt(2, 1.0, 1.0)
    embedding, pooled = parts(zero_out(source))
    assert not embedding.any() and pooled is not None and not pooled.any()
    assert source.conds[0].embedding.all()
    assert parts(zero_out(prompt(2, 1.0)))[1] is None


def test_a_mask_has_a_batch_and_an_area_takes_its_bounds_away() -> None:
    masked = set_mask(prompt(2, 1.0), MASK[0], 0.5, to_bounds=True)
    region = masked.conds[0].region
    assert region is not None and region.to_bounds and region.strength == 0.5 and torch.equal(region.mask, MASK)
    (cond,) = masked.placed(Area(64, 64, 0, 8), 0.7).conds
    assert cond.region is not None and not cond.region.to_bounds
    assert (cond.area, cond.strength) == (Area(64, 64, 0, 8), 0.7)


def test_strength_and_time() -> None:
    (cond,) = prompt(2, 1.0).strengthened(0.3).timed(0.25, 0.75).conds
    assert (cond.strength, cond.start, cond.end) == (0.3, 0.25, 0.75)
