"""Pictures are as far from a drawing as they differ from it, wherever it lies."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from train_tiny.drawn import rectangles

from nearness import distance, sharpness
from scenes import Scene, Scenes


@pytest.fixture(scope="module")
def scenes() -> Scenes:
    return rectangles()


def _rendering(scenes: Scenes, scene: Scene, seed: int) -> torch.Tensor:
    return torch.from_numpy(scenes.picture(scene, np.random.default_rng(seed))).float() / 255


def test_a_rendering_is_near_to_its_own_drawing_alone(scenes: Scenes) -> None:
    pictures = [_rendering(scenes, Scene(0, 0), seed) for seed in range(4)]
    own = [distance(scenes, picture, Scene(0, 0)) for picture in pictures]
    others = [distance(scenes, picture, Scene(1, 0)) for picture in pictures]
    assert max(own) < 1e-3 and min(others) > 0.1


def test_noise_counts_by_its_deviation(scenes: Scenes) -> None:
    picture = _rendering(scenes, Scene(0, 0), 0)
    noise = torch.randn(64, 64, 3, generator=torch.Generator().manual_seed(0)).repeat_interleave(2, 0)
    noisy = picture + 0.2 * noise.repeat_interleave(2, 1)
    assert distance(scenes, noisy, Scene(0, 0)) == pytest.approx(0.2, rel=0.1)


def test_nothing_at_all_is_as_far_as_the_drawing_is_from_white(scenes: Scenes) -> None:
    drawn = 1 - _rendering(scenes, Scene(0, 0), 0)
    white = distance(scenes, torch.ones(128, 128, 3), Scene(0, 0))
    assert 0.5 < white / float(drawn.square().mean().sqrt()) < 1.2


def test_softer_edges_are_less_sharp_and_even_pictures_not_at_all(scenes: Scenes) -> None:
    picture = _rendering(scenes, Scene(0, 0), 0)[None]
    planes = picture.permute(0, 3, 1, 2)
    soft = torch.nn.functional.avg_pool2d(planes, 5, 1, 2, count_include_pad=False).permute(0, 2, 3, 1)
    assert sharpness(soft) < 0.5 * sharpness(picture)
    assert sharpness(torch.full((1, 128, 128, 3), 0.3)) == 0
