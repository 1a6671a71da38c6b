"""The critic learns to tell pictures apart, and what is shown to it learns to please it, each by its own part."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from critic import ADVERSE, ALIKE, Critic, criticism
from graphexec.train.muon import Muon


def pictures(seed: int) -> Tensor:
    """Plain pictures with a square in another colour, [4, 3, 16, 16]."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.rand(4, 3, 1, 1, generator=generator).expand(4, 3, 16, 16).clone()
    drawn[..., 4:12, 4:12] = torch.rand(4, 3, 1, 1, generator=generator)
    return 2 * drawn - 1


def soft(drawn: Tensor) -> Tensor:
    return nn.functional.avg_pool2d(drawn, 3, 1, 1, count_include_pad=False)


def gradients(of: Tensor, parameters: Iterable[Tensor]) -> list[Tensor | None]:
    return list(torch.autograd.grad(of.sum(), list(parameters), allow_unused=True, retain_graph=True))


def test_a_critic_learns_to_tell_soft_pictures_from_drawn_ones() -> None:
    torch.manual_seed(0)
    critic = Critic()
    optimiser = Muon(critic.parameters(), 0.02)
    for step in range(12):
        criticism(critic, soft(pictures(step)), pictures(step)).mean().backward()
        optimiser.step()
        optimiser.zero_grad()
    with torch.no_grad():
        drawn, made = (critic(shown)[0].mean() for shown in (pictures(99), soft(pictures(99))))
    assert drawn > made + 0.5


def test_a_picture_has_no_part_in_the_critics_own_errors() -> None:
    """Its gradient is that of what the critic sees in it, however sure the critic is."""
    torch.manual_seed(0)
    critic = Critic()
    made, drawn = soft(pictures(1)).requires_grad_(), pictures(1)
    (before,) = gradients(criticism(critic, made, drawn), [made])
    for parameter in critic.parameters():
        parameter.grad = torch.ones_like(parameter)
    assert before is not None and before.abs().sum() > 0
    verdicts, seen = critic(made)
    known = [each.detach() for each in critic(drawn)[1]]
    apart = torch.stack([(one - other).abs().mean(dim=(1, 2, 3)) for one, other in zip(seen, known, strict=True)])
    (alone,) = gradients(ALIKE * apart.sum(dim=0) - ADVERSE * verdicts.mean(dim=(1, 2, 3)), [made])
    assert alone is not None
    torch.testing.assert_close(before, alone)


def test_the_critic_is_not_flattered_by_the_decoder() -> None:
    """Its gradients are those of telling both kinds apart alone."""
    torch.manual_seed(0)
    critic = Critic()
    made, drawn = soft(pictures(2)), pictures(2)
    found = gradients(criticism(critic, made, drawn), critic.parameters())
    errors = torch.relu(1 - critic(drawn)[0]) + torch.relu(1 + critic(made)[0])
    alone = gradients(errors.mean(dim=(1, 2, 3)), critic.parameters())
    for one, other in zip(found, alone, strict=True):
        assert one is not None and other is not None
        torch.testing.assert_close(one, other)
