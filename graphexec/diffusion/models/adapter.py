"""T2I-Adapter: feature maps of a picture, added to a UNet's own (Mou et al. 2023, https://arxiv.org/abs/2302.08453).

Attribute names are those of the weights in the file, so parameters are named as the file names them.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from graphexec.diffusion.models.control_layout import LEVELS, PLACES, XL_PLACES, AdapterLayout
from graphexec.diffusion.models.layout import need
from graphexec.diffusion.models.taps import Residuals
from graphexec.lora.header import Shapes

__all__ = ["Adapter"]

XL_HALVED = (2,)
HALVED = (1, 2, 3)
"""The levels that begin by halving the size."""


class Adapter(nn.Module):
    """Adds the same at every noise level, whatever the latents and the text."""

    def __init__(self, layout: AdapterLayout) -> None:
        super().__init__()
        self.layout = layout
        halved = XL_HALVED if layout.xl else HALVED
        if layout.light:
            self.body = nn.ModuleList(LightLevel(layout.shapes, f"body.{i}", i in halved) for i in range(LEVELS))
            return
        self.conv_in = _conv(layout.shapes, "conv_in")
        self.body = nn.ModuleList(
            ResBlock(layout.shapes, f"body.{i}", i % layout.per_level == 0 and i // layout.per_level in halved)
            for i in range(LEVELS * layout.per_level)
        )

    def forward(self, hint: Tensor) -> Residuals:
        """What to add for pictures [B, C, H, W] in 0..1; sides are multiples of the layout's `downscale`."""
        x = F.pixel_unshuffle(hint, self.layout.downscale)
        x = x if self.layout.light else self.conv_in(x)
        features: list[Tensor] = []
        for i, block in enumerate(self.body, start=1):
            x = block(x)
            if i % self.layout.per_level == 0:
                features.append(x)
        return _xl_residuals(features) if self.layout.xl else Residuals(inputs=_placed(features, PLACES))


class ResBlock(nn.Module):
    """A residual block, its shortcut after whatever changes size or channels."""

    def __init__(self, shapes: Shapes, at: str, halve: bool) -> None:
        super().__init__()
        self.halve = halve
        if f"{at}.down_opt.op.weight" in shapes:
            self.down_opt = StridedConv(need(shapes, f"{at}.down_opt.op.weight", 4)[0])
        self.in_conv = _conv(shapes, f"{at}.in_conv") if f"{at}.in_conv.weight" in shapes else nn.Identity()
        self.block1 = _conv(shapes, f"{at}.block1")
        self.block2 = _conv(shapes, f"{at}.block2")

    def forward(self, x: Tensor) -> Tensor:
        if self.halve:
            x = self.down_opt(x) if hasattr(self, "down_opt") else _halved(x)
        x = self.in_conv(x)
        return x + self.block2(F.relu(self.block1(x)))


class LightLevel(nn.Module):
    """Residual blocks of a quarter of the channels, between 1x1 convolutions."""

    def __init__(self, shapes: Shapes, at: str, halve: bool) -> None:
        super().__init__()
        self.halve = halve
        self.in_conv = _conv(shapes, f"{at}.in_conv")
        names = [name for name in shapes if name.startswith(f"{at}.body.") and name.endswith(".block1.weight")]
        self.body = nn.Sequential(*(ResBlock(shapes, f"{at}.body.{i}", halve=False) for i in range(len(names))))
        self.out_conv = _conv(shapes, f"{at}.out_conv")

    def forward(self, x: Tensor) -> Tensor:
        x = _halved(x) if self.halve else x
        return self.out_conv(self.body(self.in_conv(x)))


class StridedConv(nn.Module):
    """Halves the size by a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.op(x)


def _conv(shapes: Shapes, at: str) -> nn.Conv2d:
    out_channels, in_channels, size, _ = need(shapes, f"{at}.weight", 4)[:4]
    return nn.Conv2d(in_channels, out_channels, size, padding=size // 2)


def _halved(x: Tensor) -> Tensor:
    """Odd sides are rounded up, as the UNet does; ComfyUI rounds down, and then cannot add what it got."""
    return F.avg_pool2d(x, 2, ceil_mode=True)


def _placed(features: list[Tensor], places: tuple[int, ...]) -> list[Tensor | None]:
    at = dict(zip(places, features, strict=True))
    return [at.get(i) for i in range(max(places) + 1)]


def _xl_residuals(features: list[Tensor]) -> Residuals:
    *inputs, middle = features
    return Residuals(inputs=_placed(inputs, XL_PLACES), middle=middle)
