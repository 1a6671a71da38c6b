"""The judge sees in pictures what was laid there."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from train_tiny.drawn import RECTANGLES, rectangles

from judge import Judge
from scenes import Scene, Scenes


@pytest.fixture(scope="module")
def scenes() -> Scenes:
    return rectangles()


@pytest.fixture(scope="module")
def judge(scenes: Scenes) -> Judge:
    return Judge(scenes)


def test_it_names_scenes_wherever_they_are_laid(judge: Judge, scenes: Scenes) -> None:
    random = np.random.default_rng(3)
    asked = [scenes.any(random, plain=0.3) for _ in range(40)]
    pictures = np.stack([scenes.picture(scene, random) for scene in asked])
    verdicts = judge(torch.from_numpy(pictures).float() / 255)
    answers = [judge.right(verdict, scene) for verdict, scene in zip(verdicts, asked, strict=True)]
    assert all(all(answer.values()) for answer in answers)


def test_it_sees_what_is_not_as_asked(judge: Judge, scenes: Scenes) -> None:
    shown = Scene(0, 0, colour="green", background="blue")
    picture = scenes.picture(shown, np.random.default_rng(0))
    (verdict,) = judge(torch.from_numpy(picture[None]).float() / 255)
    answers = judge.right(verdict, Scene(1, 0, count=2, colour="red"))
    assert answers == {"top-1": False, "top-5": True, "colour": False, "count": False, "background": False}
    assert sorted(scene.concept for scene in verdict.likeliest) == list(range(len(RECTANGLES)))


def test_a_concept_in_its_own_colour_is_that_colour(judge: Judge, scenes: Scenes) -> None:
    picture = scenes.picture(Scene(0, 0), np.random.default_rng(0))
    (verdict,) = judge(torch.from_numpy(picture[None]).float() / 255)
    assert judge.right(verdict, Scene(0, 0, colour="red"))["colour"]
    assert not judge.right(verdict, Scene(0, 0, colour="blue"))["colour"]
