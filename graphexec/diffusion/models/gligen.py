"""GLIGEN: described things at given places of the picture (Li et al. 2023, https://arxiv.org/abs/2301.07093).

A gated layer between self-attention and attention to the text lets pixels attend to the things too. Attribute names are
those of the weights in the file, but for the place of each layer.
"""

from __future__ import annotations

import re

import torch
from torch import Tensor, nn

from graphexec.diffusion.models.layout import need
from graphexec.diffusion.models.names import Part, Parts
from graphexec.diffusion.models.taps import Place, Tap
from graphexec.diffusion.models.unet import Attention, FeedForward
from graphexec.lora.header import Shapes

__all__ = ["THINGS", "GligenNetwork", "Grounded", "gligen_parts"]

THINGS = 30
"""How many things the networks were trained with; places without one hold a learned stand-in."""

FREQUENCIES = 8
SD1_CONTEXT = 768
_FUSER = re.compile(r"(input|middle|output)_blocks?\.(?:(\d+)\.)?\d+\.transformer_blocks\.(\d+)\.fuser\.(.+)")


def gligen_parts(shapes: Shapes) -> Parts:
    """The weights of GLIGEN's own layers; files may hold the whole UNet beside them."""
    parts: dict[str, Part] = {}
    for name in shapes:
        if match := _FUSER.search(name):
            parts[f"fusers.{match[1]}_{match[2] or 0}_{match[3]}.{match[4]}"] = Part(name)
        elif name.startswith("position_net."):
            parts[name] = Part(name)
    return parts


class GligenNetwork(nn.Module):
    """Tokens of things and boxes, and the layers by which a UNet's pixels attend to them."""

    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        self.position_net = PositionNet(shapes)
        places = {name.split(".")[1] for name in shapes if name.startswith("fusers.")}
        self.fusers = nn.ModuleDict({at: Fuser(shapes, f"fusers.{at}") for at in sorted(places)})

    def forward(self, features: Tensor, boxes: Tensor) -> Tensor:
        """The tokens [1, THINGS, D] of up to that many things: `features` [N, C], `boxes` [N, 4] in 0..1."""
        return self.position_net(features, boxes)

    def fuse(self, x: Tensor, tokens: Tensor, at: Place) -> Tensor:
        """The pixels' tokens [B, N, C] of one transformer block, having looked at the things."""
        name = f"{at.part}_{at.block}_{at.index}"
        return self.fusers[name](x, tokens) if name in self.fusers else x


class Fuser(nn.Module):
    """Gated self-attention of pixels and things together, then a gated feed-forward; the gates start closed."""

    def __init__(self, shapes: Shapes, at: str) -> None:
        super().__init__()
        width, feature = need(shapes, f"{at}.linear.weight")[:2]
        heads = 8 if feature == SD1_CONTEXT else max(1, width // 64)
        self.linear = nn.Linear(feature, width)
        self.attn = Attention(width, width, heads)
        self.ff = FeedForward(width)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.alpha_attn = nn.Parameter(torch.empty(()))
        self.alpha_dense = nn.Parameter(torch.empty(()))

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        """x [B, N, C], tokens [1, T, D]."""
        things = self.linear(tokens).expand(len(x), -1, -1)
        both = self.norm1(torch.cat([x, things], dim=1))
        x = x + self.alpha_attn.tanh() * self.attn(both, both)[:, : x.shape[1]]
        return x + self.alpha_dense.tanh() * self.ff(self.norm2(x))


class PositionNet(nn.Module):
    """A thing's feature and its box as one token."""

    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        feature = need(shapes, "position_net.null_positive_feature", 1)[0]
        inner, out = (need(shapes, f"position_net.linears.{i}.weight")[0] for i in (0, 4))
        box = 2 * FREQUENCIES * 4
        layers = (nn.Linear(feature + box, inner), nn.SiLU(), nn.Linear(inner, inner), nn.SiLU(), nn.Linear(inner, out))
        self.linears = nn.Sequential(*layers)
        self.null_positive_feature = nn.Parameter(torch.empty(feature))
        self.null_position_feature = nn.Parameter(torch.empty(box))

    def forward(self, features: Tensor, boxes: Tensor) -> Tensor:
        """features [N, C], boxes [N, 4] as left, top, right, bottom; returns [1, THINGS, D]."""
        like = self.null_positive_feature
        missing = THINGS - len(features)
        waves = _waves(boxes.to(like.device)).to(like.dtype)
        features = torch.cat([features.to(like), self.null_positive_feature.expand(missing, -1)])
        places = torch.cat([waves, self.null_position_feature.expand(missing, -1)])
        return self.linears(torch.cat([features, places], dim=-1))[None]


class Grounded(Tap):
    """Lets every transformer block look at things."""

    def __init__(self, network: GligenNetwork, tokens: Tensor) -> None:
        self._network, self._tokens = network, tokens

    def between_attentions(self, x: Tensor, at: Place) -> Tensor:
        """The tokens after the gated layers."""
        return self._network.fuse(x, self._tokens, at)


def _waves(boxes: Tensor) -> Tensor:
    """Sines and cosines of the four numbers [N, 4] at each of 8 frequencies from 1 up to nearly 100: [N, 64]."""
    frequencies = 100 ** (torch.arange(FREQUENCIES, device=boxes.device) / FREQUENCIES)
    angles = boxes[:, None, :] * frequencies[None, :, None]
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)
