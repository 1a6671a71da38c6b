"""The text encoder learns drawings by heart."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F
from train_tiny.drawn import RECTANGLES, rectangles

from checkpoint import networks
from graphexec.train.config import Schedule
from graphexec.train.groups import ParameterGroup
from graphexec.train.loop import Loop, Plan
from parallel import whole
from scenes import Scene
from text import FIRST, OPTIMISER, REGARDS, CaptionBatches, Captions, Learning, Reading, looks, order, regards
from tokens import END, Tokens, contexts


def pooled(pixels: Tensor) -> Tensor:
    """Latents of a fake encoder: pixels [B, 3, 128, 128] at 16x16, and their mean."""
    small = F.avg_pool2d(pixels, 8)
    return torch.cat([small, small.mean(dim=1, keepdim=True)], dim=1)


def test_captions_come_to_tell_each_square_of_their_drawing() -> None:
    scenes, tokens, steps = rectangles(), Tokens(), 60
    reading = Reading(networks(0)["text"], looks(scenes, pooled))
    asked = Captions(
        tokens.stacked([scenes.caption(Scene(i, 0)) for i in scenes.concepts]),
        torch.tensor(scenes.concepts),
        torch.zeros(len(RECTANGLES), REGARDS),
        RECTANGLES,
    )
    before = apart(reading, asked)
    plan = Plan(steps, 0, optimiser=OPTIMISER, schedule=Schedule("cosine", warmup=5))
    groups = [ParameterGroup("text", list(reading.parameters()), 0.02)]
    for _moment in Loop(groups, Learning(reading, "cpu", whole), CaptionBatches(scenes, tokens, 4, steps), plan).run():
        pass
    assert apart(reading, asked) < 0.2 * before


def test_a_caption_without_filling_before_the_squares_is_read_too() -> None:
    scenes, tokens = rectangles(), Tokens()
    reading = Reading(networks(0)["text"], looks(scenes, pooled))
    long = "a yellow face with open eyes and hand over mouth on an orange background"
    asked = Captions(tokens.stacked([long]), torch.tensor([0]), torch.zeros(1, REGARDS), [long])
    assert (asked.tokens != END).sum() > FIRST
    assert reading(asked.tokens, asked.concepts, asked.regards).isfinite().all()


@torch.no_grad()
def apart(reading: Reading, asked: Captions) -> float:
    """How far what is told of the squares is from what they are."""
    told = reading.square(contexts(reading.text, asked.tokens)[:, FIRST:])
    return (told - reading.known.squares[asked.concepts]).square().mean().item()


def test_squares_are_told_from_the_corners_inwards_each_once() -> None:
    squares = order()
    assert sorted(squares.tolist()) == list(range(64))
    assert set(squares[:4].tolist()) == {0, 7, 56, 63}
    assert set(squares[-4:].tolist()) == {27, 28, 35, 36}


def test_a_look_is_of_the_latents_and_of_what_the_drawing_covers() -> None:
    scenes = rectangles()
    known = looks(scenes, pooled)
    assert known.squares.shape == (len(RECTANGLES), 64, 20)
    own = known.squares[:, torch.argsort(order())].unflatten(1, (8, 8))
    covered = own[..., 16:] - own[:, 7:, 7:, 16:]  # beside the last corner, which is empty in all of them
    assert (covered[0, 2, 2] > 1.9).all() and (covered[0, 0] == 0).all()


def test_regards_tell_colour_ground_and_count() -> None:
    told = regards(Scene(0, 0, count=3, colour="red", background="blue"))
    assert sum(told) == 3 and len(told) == REGARDS
    assert regards(Scene(0, 0)) != regards(Scene(0, 0, count=2)) != regards(Scene(0, 0, colour="red"))
