"""Generators that depend on nothing but what they are for, so that a run can go on anywhere."""

from __future__ import annotations

import random

__all__ = ["generator"]


def generator(seed: int, *place: object) -> random.Random:
    """A generator of its own for each place in a run, such as (epoch, picture, repeat, "caption").

    Seeded with text, which Python hashes with SHA-512: the same on every machine and in every process.
    """
    return random.Random("/".join(str(part) for part in (seed, *place)))
