"""The small model has SD1.x's topology, and the project reads its file as such."""

from __future__ import annotations

from pathlib import Path

import torch

from checkpoint import concepts_of, networks, read_checkpoint, save_checkpoint
from graphexec.diffusion.checkpoint import open_checkpoint, read_layout
from graphexec.diffusion.models.layout import AttentionLayer, DownLayer, UpLayer
from layouts import CLIP, UNET, VAE
from tokens import Tokens

SHIPPED = Path(__file__).parents[2] / "graphexec/models/checkpoints/graphexec-tiny.safetensors"
SD1_ATTENDING_INPUTS = [1, 2, 4, 5, 7, 8]
SD1_ATTENDING_OUTPUTS = [3, 4, 5, 6, 7, 8, 9, 10, 11]


def test_the_blocks_are_numbered_as_those_of_sd1() -> None:
    assert (len(UNET.input_blocks), len(UNET.output_blocks)) == (12, 12)
    assert _with(UNET.input_blocks, AttentionLayer) == SD1_ATTENDING_INPUTS
    assert _with(UNET.output_blocks, AttentionLayer) == SD1_ATTENDING_OUTPUTS
    assert _with(UNET.input_blocks, DownLayer) == [3, 6, 9]
    assert _with(UNET.output_blocks, UpLayer) == [2, 5, 8]


def test_its_checkpoint_is_read_back_with_the_layouts_it_was_made_of(tmp_path: Path) -> None:
    made = networks(0)
    weights = {part: dict(network.state_dict()) for part, network in made.items()}
    file = tmp_path / "tiny.safetensors"
    save_checkpoint(file, weights, torch.ones(CLIP.vocabulary, dtype=torch.bool), ["apple", "bee"])
    assert concepts_of(file) == ["apple", "bee"]
    layout = read_layout(file)
    assert (layout.unet, layout.vae) == (UNET, VAE)
    assert [encoder.layout for encoder in layout.encoders] == [CLIP]
    model, _clip, _vae = open_checkpoint(file)
    assert model.family == "sd1"
    for part, read in read_checkpoint(file).items():
        assert read.keys() == weights[part].keys()
        assert all(torch.equal(tensor, weights[part][name].half().float()) for name, tensor in read.items())
    assert file.stat().st_size < 40e6


def test_the_checkpoint_in_the_package_can_be_gone_on_from() -> None:
    shipped, made = read_checkpoint(SHIPPED), networks(0)
    for part, network in made.items():
        network.load_state_dict(shipped[part])
    layout = read_layout(SHIPPED)
    assert (layout.unet, layout.vae, [encoder.layout for encoder in layout.encoders]) == (UNET, VAE, [CLIP])
    assert len(concepts_of(SHIPPED)) == 1116


def test_its_text_encoder_knows_every_word_of_its_captions() -> None:
    known = read_checkpoint(SHIPPED)["text"]["embeddings.token_embedding.weight"].any(dim=1)
    assert known[Tokens()("two yellow kangaroos on a gray background")].all()
    assert not known.all()


def _with(blocks: tuple[tuple[object, ...], ...], kind: type) -> list[int]:
    return [i for i, block in enumerate(blocks) if any(isinstance(layer, kind) for layer in block)]
