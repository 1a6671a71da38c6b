# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from diffusion.tiny import random_weights, text_shapes
from torch import Tensor, nn
from torch.nn import functional as F

from graphexec.diffusion.models.clip import ClipText
from graphexec.diffusion.models.layout import clip_layout
from graphexec.diffusion.types import EncoderKind

LAST = torch.tensor([76])


def network(kind: EncoderKind = "clip_l", layers: int = 2, projection: int | None = None) -> ClipText:
    shapes = text_shapes(layers=layers) | ({"text_projection.weight": (projection, 32)} if projection else {})
    encoder = ClipText(clip_layout(shapes, kind))
    encoder.load_state_dict(random_weights(shapes, 0, torch.float32))
    return encoder.requires_grad_(False)


def vectors(encoder: ClipText, first: int = 0) -> Tensor:
    return encoder.embeddings.token_embedding(torch.arange(first, first + 77)[None])


def test_text_attends_to_what_came_before_only() -> None:
    encoder = network()
    tokens = vectors(encoder)
    other = torch.cat([tokens[:, :40], vectors(encoder, 100)[:, 40:]], 1)
    one, two = encoder(tokens, LAST).hidden, encoder(other, LAST).hidden
    assert torch.equal(one[:, :40], two[:, :40])
    assert not torch.equal(one[:, 40:], two[:, 40:])


def test_layers_count_from_the_end_and_beyond_the_first_means_the_last() -> None:
    encoder = network()
    tokens = vectors(encoder)
    last, before, beyond = (encoder(tokens, LAST, layer) for layer in (-1, -2, -3))
    hidden = encoder.encoder.layers[0](encoder.embeddings(tokens), None)
    assert torch.equal(before.hidden, encoder.final_layer_norm(hidden))
    assert torch.equal(encoder(tokens, LAST, -2, normed=False).hidden, hidden)
    assert torch.equal(beyond.hidden, last.hidden)
    assert torch.equal(encoder(tokens, LAST, -3, normed=False).hidden, last.hidden)  # the last is normed all the same
    assert torch.equal(before.pooled, last.pooled)


def test_pooled_is_at_the_end_token_and_projected_where_the_file_says_how() -> None:
    plain, projected = network(), network(projection=16)
    projected.load_state_dict(plain.state_dict(), strict=False)
    ends = torch.tensor([2])
    out = plain(vectors(plain), ends)
    torch.testing.assert_close(out.pooled, out.hidden[:, 2])
    weight = projected.text_projection.weight
    torch.testing.assert_close(projected(vectors(plain), ends).pooled, out.hidden[:, 2] @ weight.T)


def test_a_hidden_token_is_as_if_it_were_another() -> None:
    encoder = network()
    tokens, other = vectors(encoder), vectors(encoder)
    other[:, 5] = 0.5
    keep = torch.ones(1, 77, dtype=torch.bool)
    torch.testing.assert_close(encoder(tokens, LAST, keep=keep).hidden, encoder(tokens, LAST).hidden)
    keep[:, 5] = False
    one, two = (encoder(x, LAST, keep=keep).hidden for x in (tokens, other))
    assert torch.equal(torch.cat([one[:, :5], one[:, 6:]], 1), torch.cat([two[:, :5], two[:, 6:]], 1))
    assert not torch.equal(one[:, 6], encoder(tokens, LAST).hidden[:, 6])


def test_an_encoder_of_sd2_without_its_last_layer_counts_as_if_it_had_it() -> None:
    layout = clip_layout(text_shapes(layers=23), "clip_h")
    assert (layout.layers, layout.left_off) == (23, 1)
    assert clip_layout(text_shapes(layers=24), "clip_h").left_off == 0
    encoder = network("clip_h", layers=3)
    short = ClipText(replace(encoder.layout, layers=2, left_off=1))
    short.load_state_dict(encoder.state_dict(), strict=False)
    short.requires_grad_(False)
    assert torch.equal(short(vectors(encoder), LAST, -2).hidden, encoder(vectors(encoder), LAST, -2).hidden)


class OpenClip(nn.Module):
    """A block of OpenCLIP, as its files name it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, 1, batch_first=True)
        self.c_fc, self.c_proj = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        h, mask = self.ln_1(x), torch.full((x.shape[1], x.shape[1]), -torch.inf).triu(1)
        x = x + self.attn(h, h, h, need_weights=False, attn_mask=mask)[0]
        return x + self.c_proj(F.gelu(self.c_fc(self.ln_2(x))))


@pytest.mark.parametrize("kind", ["clip_h", "clip_g"])
def test_openclip_is_a_multihead_attention_with_gelu(kind: EncoderKind) -> None:
    torch.manual_seed(0)
    theirs, ours = OpenClip(32), network(kind).encoder.layers[0]
    weights = dict(theirs.state_dict())
    for leaf in ("weight", "bias"):
        thirds = weights.pop(f"attn.in_proj_{leaf}").chunk(3)
        weights |= {f"self_attn.{name}_proj.{leaf}": third for name, third in zip("qkv", thirds, strict=True)}
    names = {"ln_1": "layer_norm1", "ln_2": "layer_norm2", "attn.out": "self_attn.out", "c_fc": "mlp.fc1"}
    for old, new in {**names, "c_proj": "mlp.fc2"}.items():
        weights = {name.replace(old, new) if name.startswith(old) else name: w for name, w in weights.items()}
    ours.load_state_dict(weights)
    x = torch.randn(2, 9, 32)
    with torch.no_grad():
        torch.testing.assert_close(ours(x, None), theirs(x))
