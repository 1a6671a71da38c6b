"""What a runtime on a GPU holds in fewer bits, on the CPU: text encoders lose nothing by it, a VAE computes in bf16."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from diffusion.tiny import checkpoint_weights
from safetensors.torch import save_file

from graphexec.diffusion.checkpoint import open_checkpoint
from graphexec.diffusion.encode import encode_feature, encode_prompt
from graphexec.diffusion.images import vae_decode, vae_encode
from graphexec.diffusion.runtime import Runtime
from graphexec.diffusion.types import Clip, Latent, Model, Vae

Recipes = tuple[Model, Clip, Vae]
PROMPT = "a (tiger:1.5) in the snow"


def light(budget: int | None = None, host_budget: int | None = None) -> Runtime:
    runtime = Runtime("cpu", budget, host_budget=host_budget)
    runtime.light, runtime.vae_dtype = True, torch.bfloat16
    return runtime


def test_only_cuda_holds_fewer_bits() -> None:
    assert not Runtime("cpu").light
    assert not Runtime("cpu", precision="bf16").light
    assert Runtime("cpu").vae_dtype == torch.float32


class TestTextEncoders:
    def test_half_the_bytes_and_the_same_numbers(self, recipes: Recipes, weights: Path) -> None:
        clip = recipes[1].patched(weights / "a.safetensors", 0.7)
        for each in (recipes[1], clip, recipes[1]):
            plain, held = Runtime("cpu"), light()
            expected, found = (encode_prompt(runtime, each, PROMPT).conds[0] for runtime in (plain, held))
            assert torch.equal(found.embedding, expected.embedding)
            assert expected.pooled is not None and found.pooled is not None
            assert torch.equal(found.pooled, expected.pooled)
            assert torch.equal(encode_feature(held, each, "x"), encode_feature(plain, each, "x"))
            assert held.resident_bytes() * 2 == plain.resident_bytes()

    def test_a_change_of_strength_is_that_of_a_fresh_load(self, recipes: Recipes, weights: Path) -> None:
        held = light()
        for strength in (0.3, 1.0, 0.0):
            clip = recipes[1].patched(weights / "a.safetensors", strength)
            (found,), (fresh,) = (encode_prompt(runtime, clip, PROMPT).conds for runtime in (held, light()))
            assert torch.equal(found.embedding, fresh.embedding)

    def test_from_the_host(self, recipes: Recipes) -> None:
        (expected,) = encode_prompt(Runtime("cpu"), recipes[1], PROMPT).conds
        runtime = light(budget=100, host_budget=1 << 40)
        (found,) = encode_prompt(runtime, recipes[1], PROMPT).conds
        assert (runtime.resident_bytes(), torch.equal(found.embedding, expected.embedding)) == (0, True)

    def test_taken_off_the_device_while_in_use(self, recipes: Recipes) -> None:
        runtime, tokens = light(host_budget=1 << 40), torch.ones(1, 77, dtype=torch.int64)
        with runtime.text_encoder(recipes[1].encoders[0]) as network, torch.no_grad():
            first = network(network.embeddings.token_embedding(tokens), torch.ones(1, dtype=torch.int64)).hidden
            assert runtime.within_memory(_full_once(), "encoding", network=network) == "done"
            again = network(network.embeddings.token_embedding(tokens), torch.ones(1, dtype=torch.int64)).hidden
            assert (runtime.resident_bytes(), torch.equal(first, again)) == (0, True)
        assert {weight.dtype for weight in network.parameters()} == {torch.float16}

    def test_a_file_of_32_bits_keeps_them(self, tmp_path: Path) -> None:
        whole = {name: weight.float() for name, weight in checkpoint_weights().items()}
        save_file(whole, tmp_path / "x.safetensors")
        clip = open_checkpoint(tmp_path / "x.safetensors")[1]
        with light().text_encoder(clip.encoders[0]) as network:
            assert {weight.dtype for weight in network.parameters()} == {torch.float32}

    def test_whole_numbers_in_a_file_do_not_count(self, tmp_path: Path) -> None:
        places = {"cond_stage_model.transformer.text_model.embeddings.position_ids": torch.arange(77)[None]}
        save_file(checkpoint_weights() | places, tmp_path / "x.safetensors")
        clip = open_checkpoint(tmp_path / "x.safetensors")[1]
        with light().text_encoder(clip.encoders[0]) as network:
            assert {weight.dtype for weight in network.parameters()} == {torch.float16}


def test_a_vae_is_near_to_what_it_is_in_32_bits(recipes: Recipes) -> None:
    latent = Latent(torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1)))
    exact, found = (vae_decode(runtime, recipes[2], latent) for runtime in (Runtime("cpu"), light()))
    assert found.dtype == torch.float32
    assert 0 < float((found - exact).abs().mean()) < 0.02
    exact, found = (vae_encode(runtime, recipes[2], exact).samples for runtime in (Runtime("cpu"), light()))
    assert found.dtype == torch.float32
    assert float((found - exact).norm() / exact.norm()) < 0.03


def _full_once() -> Callable[[], str]:
    calls = iter((True, False))

    def compute() -> str:
        if next(calls):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return "done"

    return compute
