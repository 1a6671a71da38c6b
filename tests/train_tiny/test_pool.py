"""A pool knows which of its pictures are of one caption."""

from __future__ import annotations

import numpy as np
import torch

from pool import Pool


def test_like_pictures_begin_with_the_picture_itself() -> None:
    pool = Pool(torch.zeros(5, 4, 16, 16), ("a cat", "a dog", "a cat", "a cat", "a dog"))
    np.testing.assert_array_equal(pool.alike(2, 4), [2, 3, 0, -1])
    np.testing.assert_array_equal(pool.alike(3, 2), [3, 0])
    assert sorted(pool.alike(1, 2)) == [1, 4]
