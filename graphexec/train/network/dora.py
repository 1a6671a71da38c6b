"""DoRA (Liu et al. 2024, https://arxiv.org/abs/2402.09353), trained over any other adapter."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from graphexec.train.network.base import Layer, TrainedAdapter

__all__ = ["TrainedDora"]

EPSILON = torch.finfo(torch.float32).eps
"""What readers add to a norm, in float32."""


class TrainedDora(TrainedAdapter):
    """`m * V / |V|` with `V = W + delta`, the norm being that of each row, as in PEFT and LyCORIS.

    The gradient is that of the whole formula: as in LyCORIS, and not as in PEFT, which takes `|V|` for constant.
    """

    base_squares: Tensor

    def __init__(self, inner: TrainedAdapter, layer: Layer) -> None:
        super().__init__(layer, inner.rank, inner.alpha, inner.dropout)
        self.inner = inner
        squares = layer.weight.detach().flatten(1).float().square().sum(1)
        self.register_buffer("base_squares", squares, persistent=False)
        self.magnitude = nn.Parameter(squares.sqrt() + EPSILON)

    @property
    def names(self) -> Mapping[str, str]:
        """Those of the inner adapter's factors."""
        return self.inner.names

    def start(self, generator: torch.Generator) -> None:
        """The inner adapter's; magnitudes are the norms of the frozen weight."""
        self.inner.start(generator)

    def factors(self) -> dict[str, nn.Parameter]:
        """Those of the inner adapter."""
        return self.inner.factors()

    def changed(self, layer: Layer, x: Tensor, out: Tensor) -> Tensor:
        """What the inner adapter gives, each row times its magnitude over its norm."""
        moved = self.inner.changed(layer, x, out)
        spread = (-1, 1, 1) if out.ndim == 4 else (-1,)
        # Without the 1, which half precision would round the rest away beside.
        gain = (self._gain(layer.weight) - 1).to(out.dtype).view(spread)
        unbiased = moved if layer.bias is None else moved - layer.bias.to(out.dtype).view(spread)
        return torch.addcmul(moved, gain, unbiased)

    def delta(self) -> Tensor:
        """That of the inner adapter."""
        return self.inner.delta()

    def norm(self) -> Tensor:
        """That of the inner adapter's change."""
        return self.inner.norm()

    def tensors(self) -> dict[str, Tensor]:
        """The magnitudes are a column, by which readers know that they are of rows."""
        column = self.magnitude.detach().view(-1, *[1] * (len(self.shape) - 1))
        return {**self.inner.tensors(), "dora_scale": column}

    @torch.no_grad()
    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over what `tensors` gave."""
        self.inner.load(tensors)
        self.magnitude.copy_(tensors["dora_scale"].flatten())

    def is_up(self, parameter: str) -> bool:
        """As in the inner adapter; a magnitude is none."""
        return self.inner.is_up(parameter.removeprefix("inner."))

    def overlaps(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Those of the inner adapter."""
        return self.inner.overlaps(weight)

    def _gain(self, weight: Tensor) -> Tensor:
        """Magnitudes over norms, in the adapter's precision."""
        # A plan computes with shapes alone, on a device of which torch.autocast knows nothing.
        device = "cpu" if weight.is_meta else weight.device.type
        with torch.autocast(device, enabled=False):
            cross, squares = self.inner.overlaps(weight)
            # By parts, so that no second weight is made; where rounding would leave less than nothing, nothing is left.
            norm = (self.base_squares + 2 * cross + squares).clamp_min(EPSILON**2).sqrt()
            return self.magnitude / (norm + EPSILON)
