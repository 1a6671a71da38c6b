"""Batches of latents, their masks and indices."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from graphexec.diffusion.latents.batches import append, pick, rebatch, repeat, seed_behavior, with_noise_mask
from graphexec.diffusion.types import Latent


def numbered(first: int, count: int, side: int = 2, index: tuple[int, ...] | None = None) -> Latent:
    """Latents that hold their number."""
    numbers = torch.arange(first, first + count, dtype=torch.float32)
    return Latent(numbers.view(-1, 1, 1, 1).expand(-1, 4, side, side).clone(), None, index)


def numbers(latent: Latent) -> list[int]:
    return [int(item[0, 0, 0]) for item in latent.samples]


def test_one_batch_of_two() -> None:
    both = append(numbered(0, 2), numbered(5, 1, side=4))
    assert (numbers(both), both.batch_index) == ([0, 1, 5], (0, 1, 0))
    assert append(both, numbered(7, 2, index=(8, 9))).batch_index == (0, 1, 0, 8, 9)


class TestPick:
    def test_it_stays_inside_of_the_batch(self) -> None:
        batch = numbered(0, 3)
        assert numbers(pick(batch, 60, 9)) == [2]
        assert numbers(pick(batch, 1, 9)) == [1, 2]

    def test_what_was_picked_knows_where_it_came_from(self) -> None:
        assert pick(pick(numbered(0, 4), 1, 3), 1, 2).batch_index == (2, 3)

    def test_masks_go_with_their_items(self) -> None:
        masks = torch.stack([torch.full((4, 4), float(i)) for i in range(2)])
        mask = pick(with_noise_mask(numbered(0, 5), masks), 2, 2).noise_mask
        assert mask is not None
        assert mask[:, 0, 0, 0].tolist() == [0, 1]
        one = pick(with_noise_mask(numbered(0, 5), masks[:1]), 2, 2).noise_mask
        assert one is not None
        assert one.shape == (1, 1, 4, 4)


class TestRepeat:
    def test_indices_go_on(self) -> None:
        assert repeat(numbered(0, 2, index=(3, 5)), 3).batch_index == (3, 5, 6, 8, 9, 11)
        assert repeat(numbered(0, 2), 2).batch_index is None

    def test_fewer_masks_than_samples_stay_with_them(self) -> None:
        masks = torch.stack([torch.full((4, 4), float(i)) for i in range(2)])
        mask = repeat(with_noise_mask(numbered(0, 3), masks), 2).noise_mask
        assert mask is not None
        assert mask[:, 0, 0, 0].tolist() == [0, 1, 0, 0, 1, 0]

    def test_masks_beyond_the_samples_are_left_out(self) -> None:
        masks = torch.stack([torch.full((4, 4), float(i)) for i in range(3)])
        mask = repeat(with_noise_mask(numbered(0, 2), masks), 2).noise_mask
        assert mask is not None
        assert mask[:, 0, 0, 0].tolist() == [0, 1, 0, 1]


def test_seed_behavior() -> None:
    batch = numbered(0, 3, index=(4, 5, 6))
    assert seed_behavior(batch, "fixed").batch_index == (4, 4, 4)
    assert seed_behavior(numbered(0, 2), "fixed").batch_index == (0, 0)
    assert seed_behavior(batch, "random").batch_index is None


class TestRebatch:
    @given(st.lists(st.integers(1, 5), min_size=1, max_size=5), st.integers(1, 6))
    def test_every_item_is_there_once_in_order(self, lengths: list[int], size: int) -> None:
        starts = [sum(lengths[:i]) for i in range(len(lengths))]
        batches = rebatch([numbered(*pair) for pair in zip(starts, lengths, strict=True)], size)
        total = sum(lengths)
        assert [number for batch in batches for number in numbers(batch)] == list(range(total))
        assert [index for batch in batches for index in batch.batch_index or ()] == list(range(total))
        assert all(len(batch.samples) == size for batch in batches[:-1])
        assert all(batch.noise_mask is None for batch in batches)

    def test_another_size_starts_a_batch(self) -> None:
        batches = rebatch([numbered(0, 1), numbered(1, 2, side=3), numbered(3, 1, side=3)], 2)
        assert [numbers(batch) for batch in batches] == [[0], [1, 2], [3]]

    def test_an_index_that_is_known_stays(self) -> None:
        (batch,) = rebatch([numbered(0, 2), numbered(2, 1, index=(9,))], 3)
        assert batch.batch_index == (0, 1, 9)

    def test_masks_of_ones_are_left_out_and_those_of_several_sizes_made_alike(self) -> None:
        masked = with_noise_mask(numbered(0, 1), torch.zeros(1, 5, 7))
        free, both = rebatch([numbered(0, 1), masked, numbered(1, 1)], 1)[:1], rebatch([numbered(0, 1), masked], 2)
        assert free[0].noise_mask is None
        assert both[0].noise_mask is not None
        assert both[0].noise_mask.shape == (2, 1, 5, 7)
        other = with_noise_mask(numbered(0, 1), torch.zeros(1, 6, 6))
        (mixed,) = rebatch([masked, other], 2)
        assert mixed.noise_mask is not None
        assert mixed.noise_mask.shape == (2, 1, 16, 16)
