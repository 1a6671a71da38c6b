"""The text encoder learns to tell what things look like."""

from __future__ import annotations

import torch
from torch import nn
from train_tiny.drawn import rectangles

from checkpoint import networks
from graphexec.train.config import Optimiser, Schedule
from graphexec.train.groups import ParameterGroup
from graphexec.train.loop import Loop, Plan
from text import PARTS, CaptionBatches, Reading, describe, told_apart
from tokens import END, Tokens


def test_captions_come_to_tell_what_their_pictures_look_like() -> None:
    scenes, tokens = rectangles(), Tokens()
    known = describe(scenes, 80)
    text, head = networks(0)["text"], nn.Linear(64, PARTS)
    reading = Reading(text, head)
    before = told_apart(reading, scenes, known, tokens)
    steps = 40
    plan = Plan(steps, 0, optimiser=Optimiser("AdamW", 1e-2), schedule=Schedule("cosine", warmup=5))
    groups = [ParameterGroup("text", [*text.parameters(), *head.parameters()], 1e-2)]
    for _moment in Loop(groups, reading, CaptionBatches(scenes, known, tokens, 16, steps), plan).run():
        pass
    assert before < 1
    assert told_apart(reading, scenes, known, tokens) == 1


def test_only_tokens_after_the_caption_are_asked() -> None:
    scenes, tokens = rectangles(), Tokens()
    known = describe(scenes, 80)
    (batch,) = CaptionBatches(scenes, known, tokens, 4, 1).epoch(0)
    reading = Reading(networks(0)["text"], nn.Linear(64, PARTS))
    losses, read = reading(batch, torch.Generator()), reading.read(batch.tokens)
    for i, row in enumerate(batch.tokens):
        asked = read[i][row == END]
        assert 0 < len(asked) < len(row)
        torch.testing.assert_close(losses[i], (asked - batch.looks[i]).square().mean())
