"""Trainable adapters (LoRA, LoCon, LoHa, LoKr, DoRA) on the layers of frozen models, named as sd-scripts names them."""

from graphexec.train.network.network import TrainedNetwork

__all__ = ["TrainedNetwork"]
