"""Faults of a training run itself, as opposed to those of its files."""

from __future__ import annotations

from graphexec.errors import GraphexecError

__all__ = ["NonFiniteLoss", "StateError", "TrainingError"]


class TrainingError(GraphexecError):
    """What was asked for cannot be trained; the message says why and what to do."""


class StateError(TrainingError):
    """A saved state cannot be gone on from: it is damaged, or belongs to another configuration."""


class NonFiniteLoss(TrainingError):
    """The loss or what is trained became NaN or infinite; the message names the step, and the pictures of a loss."""
