# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusion.tiny import UNET, VAE, checkpoint_weights, write_checkpoint
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from graphexec.diffusion.checkpoint import open_checkpoint, open_vae
from graphexec.diffusion.extract import factors, lora_tensors
from graphexec.diffusion.faults import MergeError, NonFiniteError
from graphexec.diffusion.merge import interpolate, subtract
from graphexec.diffusion.pristine import opened
from graphexec.diffusion.runtime import Runtime
from graphexec.diffusion.save import (
    Saved,
    checkpoint_tensors,
    clip_tensors,
    model_metadata,
    model_tensors,
    safetensors_chunks,
    vae_tensors,
)
from graphexec.diffusion.types import Clip, Model, Sampling, Vae
from graphexec.errors import ModelFileError

Recipes = tuple[Model, Clip, Vae]


def write(path: Path, tensors: Sequence[Saved], metadata: dict[str, str] | None = None) -> dict[str, Tensor]:
    with path.open("wb") as file:
        file.writelines(safetensors_chunks(tensors, metadata or {}))
    return load_file(path)


def unet_of(model: Model) -> dict[str, Tensor]:
    with Runtime("cpu").unet(model) as unet:
        return {name: weight.clone() for name, weight in unet.state_dict().items()}


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Recipes:
    return open_checkpoint(write_checkpoint(tmp_path_factory.mktemp("other") / "x.safetensors", seed=7))


class TestCheckpoints:
    def test_what_was_not_changed_is_saved_bit_for_bit(self, tmp_path: Path, recipes: Recipes) -> None:
        saved = write(tmp_path / "x.safetensors", checkpoint_tensors(*recipes))
        original = load_file(recipes[0].file.path)
        assert saved.keys() == original.keys()
        assert all(
            torch.equal(saved[name], original[name]) and saved[name].dtype == original[name].dtype for name in saved
        )

    def test_merges_and_loras_are_saved_in_the_files_precision(
        self, tmp_path: Path, recipes: Recipes, other: Recipes, weights: Path
    ) -> None:
        model = interpolate(recipes[0].patched(weights / "a.safetensors", 0.7), other[0], 0.4)
        clip = interpolate(recipes[1], other[1], 0.4)
        write(tmp_path / "x.safetensors", checkpoint_tensors(model, clip, recipes[2]))
        again, text, _ = open_checkpoint(tmp_path / "x.safetensors")
        expected = unet_of(model)
        assert all(torch.equal(weight, expected[name].half().float()) for name, weight in unet_of(again).items())
        with (
            Runtime("cpu").text_encoder(text.encoders[0]) as a,
            Runtime("cpu").text_encoder(clip.encoders[0], clip.patches) as b,
        ):
            mine, theirs = a.state_dict(), b.state_dict()
            assert all(torch.equal(mine[name], theirs[name].half().float()) for name in mine)

    def test_a_lora_is_opened_once_for_all_weights(self, tmp_path: Path, recipes: Recipes, weights: Path) -> None:
        path = Path(shutil.copy(weights / "a.safetensors", tmp_path / "l.safetensors"))
        model, clip = recipes[0].patched(path, 0.7), recipes[1].patched(path, 0.7)
        tensors = checkpoint_tensors(model, clip, recipes[2])
        changed = [
            tensor for tensor in tensors if tensor.name.endswith(("attn1.to_q.weight", "self_attn.q_proj.weight"))
        ]
        changed[0].make()
        path.unlink()
        assert all(tensor.make().isfinite().all() for tensor in changed)

    @pytest.mark.parametrize("strength", [1e7, 1e38])
    def test_a_weight_that_its_precision_cannot_hold_is_not_saved_as_infinity(
        self, recipes: Recipes, weights: Path, strength: float
    ) -> None:
        lora, (model, clip, _) = weights / "a.safetensors", recipes
        tensors = model_tensors(model.patched(lora, strength))
        tensors += clip_tensors(clip.patched(lora, strength), clip.encoders[0])
        for end in ("attn1.to_q.weight", "self_attn.q_proj.weight"):
            huge = next(tensor for tensor in tensors if tensor.name.endswith(end))
            with pytest.raises(NonFiniteError, match=rf"{end} cannot be saved: .* too large for float16; take smaller"):
                huge.make()

    def test_what_was_not_finite_before_is_saved_as_it_is(self, tmp_path: Path, weights: Path) -> None:
        name, stored = f"{UNET}input_blocks.1.1.transformer_blocks.0.attn1.to_q.weight", checkpoint_weights()
        stored[name][0, 0] = float("nan")
        save_file(stored, tmp_path / "in.safetensors")
        model = open_checkpoint(tmp_path / "in.safetensors")[0].patched(weights / "a.safetensors", 0.5)
        saved = write(tmp_path / "x", model_tensors(model))
        assert saved[name].isnan().sum() == 1

    def test_weights_of_eight_bits_and_a_scale_are_saved_in_sixteen(self, tmp_path: Path) -> None:
        name, stored = f"{UNET}time_embed.0.weight", checkpoint_weights()
        whole = stored[name].float()
        scaled = {
            name: (whole / 2).to(torch.float8_e4m3fn),
            name.replace(".weight", ".scale_weight"): torch.tensor(2.0),
        }
        save_file(stored | scaled, tmp_path / "in.safetensors")
        saved = write(tmp_path / "x", model_tensors(open_checkpoint(tmp_path / "in.safetensors")[0]))
        assert torch.equal(saved[name], scaled[name].half() * 2)
        assert {tensor.dtype for tensor in saved.values()} == {torch.float16}
        assert not any("scale" in name for name in saved)

    def test_metadata(self, tmp_path: Path, recipes: Recipes) -> None:
        metadata = model_metadata(recipes[0], "x", {"1": {}}, {"workflow": []})
        write(tmp_path / "x.safetensors", vae_tensors(recipes[2]), metadata)
        with safe_open(tmp_path / "x.safetensors", "pt") as file:
            assert file.metadata() == metadata
        assert (metadata["prompt"], metadata["workflow"]) == ('{"1": {}}', "[]")
        assert metadata["modelspec.predict_key"] == "epsilon"

    @pytest.mark.parametrize(
        "sampling",
        [
            Sampling("v"),
            Sampling("v", zero_snr=True),
            Sampling(zero_snr=True),
            Sampling("v", "edm", sigma_min=0.25, sigma_max=80.0),
        ],
    )
    def test_how_a_model_is_sampled_is_known_again(self, tmp_path: Path, recipes: Recipes, sampling: Sampling) -> None:
        model = replace(recipes[0], sampling=sampling)
        write(tmp_path / "x.safetensors", checkpoint_tensors(model, *recipes[1:]), model_metadata(model, "x", {}, {}))
        assert open_checkpoint(tmp_path / "x.safetensors")[0].sampling == sampling

    def test_parts_alone(self, tmp_path: Path, recipes: Recipes) -> None:
        model, clip, vae = recipes
        original = load_file(model.file.path)
        text = write(tmp_path / "t", clip_tensors(clip, clip.encoders[0]))
        name = "text_model.encoder.layers.0.mlp.fc1.weight"
        assert torch.equal(text[name], original[f"cond_stage_model.transformer.{name}"])
        unet = write(tmp_path / "u", model_tensors(model))
        assert all(torch.equal(unet[name], original[name]) for name in unet)
        autoencoder = write(tmp_path / "v", vae_tensors(vae))
        assert all(torch.equal(autoencoder[name], original[f"first_stage_model.{name}"]) for name in autoencoder)

    def test_the_vaes_attention_is_saved_as_kernels_though_diffusers_has_matrices(self, tmp_path: Path) -> None:
        original = {name: tensor for name, tensor in checkpoint_weights().items() if name.startswith(VAE)}
        flat = {name: t.flatten(1) if ".attn_" in name and t.ndim == 4 else t for name, t in original.items()}
        save_file(flat, tmp_path / "in.safetensors")
        saved = write(tmp_path / "x", vae_tensors(open_vae(tmp_path / "in.safetensors"), VAE))
        assert {name: tensor.shape for name, tensor in saved.items()} == {
            name: tensor.shape for name, tensor in original.items()
        }
        assert all(torch.equal(tensor, original[name]) for name, tensor in saved.items())

    def test_text_encoders_of_another_family_make_no_checkpoint(self, recipes: Recipes) -> None:
        model, clip, vae = recipes
        with pytest.raises(ModelFileError, match=r"the model is SDXL, its text encoders are those of SD 1\.x"):
            checkpoint_tensors(replace(model, family="sdxl"), clip, vae)

    def test_openclip_has_its_own_names_and_q_k_v_as_one(self, tmp_path: Path, recipes: Recipes) -> None:
        model, clip, vae = recipes
        names = {f"cond_stage_model.transformer.text_model.{name}" for name in ("text_projection.weight",)}
        stored = {**load_file(model.file.path), **{name: torch.randn(32, 32).half() for name in names}}
        save_file(stored, tmp_path / "in.safetensors")
        encoder = open_checkpoint(tmp_path / "in.safetensors")[1].encoders[0]
        clip = Clip((replace(encoder, kind="clip_h"),), "sd2")
        saved = write(tmp_path / "x.safetensors", checkpoint_tensors(replace(model, family="sd2"), clip, vae))
        prefix = "cond_stage_model.model."
        assert saved[f"{prefix}transformer.resblocks.0.attn.in_proj_weight"].shape == (96, 32)
        assert not any("self_attn" in name or "encoder.layers" in name for name in saved)
        back = Clip((replace(clip.encoders[0], file=replace(clip.encoders[0].file), prefix=encoder.prefix),), "sd2")
        before = opened(back)["clip_h"]
        from graphexec.diffusion.sources import WeightsFile

        file = WeightsFile.of(tmp_path / "x.safetensors")
        after = opened(Clip((replace(encoder, kind="clip_h", file=file, prefix=prefix),), "sd2"))["clip_h"]
        assert after.shapes == before.shapes
        assert all(torch.equal(after.read(name), before.read(name)) for name in before.shapes)


class TestExtraction:
    @pytest.mark.parametrize("shape", [(12, 20), (20, 12), (16, 8, 3, 3), (4, 8, 1, 1)])
    def test_a_difference_of_low_rank_is_told_exactly(self, shape: tuple[int, ...]) -> None:
        rows, columns = shape[0], torch.Size(shape[1:]).numel()
        difference = (torch.randn(rows, 3) @ torch.randn(3, columns)).view(shape)
        up, down = factors(difference, 3)
        torch.testing.assert_close((up.flatten(1) @ down.flatten(1)).view(shape), difference, atol=1e-5, rtol=1e-5)
        assert (up.shape[1], down.shape[1:]) == (3, difference.shape[1:])

    def test_it_is_the_nearest_of_its_rank(self) -> None:
        difference = torch.randn(20, 30)
        up, down = factors(difference, 5)
        rest = torch.linalg.svdvals(difference)[5:].norm()
        torch.testing.assert_close((difference - up @ down).norm(), rest)
        up, down = factors(difference, 99)
        torch.testing.assert_close(up @ down, difference, atol=1e-4, rtol=1e-4)

    def test_a_lora_takes_one_model_to_the_other(self, recipes: Recipes, other: Recipes) -> None:
        difference = subtract(other[0], recipes[0])
        seen: list[str] = []
        tensors = {
            saved.name: saved.make().float()
            for saved in lora_tensors(difference, None, 4096, "standard", bias=True, on_weight=seen.append)
        }
        name = "input_blocks.1.1.transformer_blocks.0.attn1.to_q"
        product = (
            tensors[f"diffusion_model.{name}.lora_up.weight"] @ tensors[f"diffusion_model.{name}.lora_down.weight"]
        )
        expected = unet_of(other[0])[f"{name}.weight"] - unet_of(recipes[0])[f"{name}.weight"]
        assert float((product - expected).norm() / expected.norm()) < 2e-3
        assert tensors[f"diffusion_model.{name}.alpha"] == len(tensors[f"diffusion_model.{name}.lora_down.weight"])
        assert len(seen) == len(set(seen))

    def test_whole_differences(self, recipes: Recipes, other: Recipes) -> None:
        difference = subtract(other[1], recipes[1])
        tensors = lora_tensors(None, difference, 4, "full_diff", bias=False, on_weight=lambda name: None)
        assert tensors
        assert all(saved.name.startswith("text_encoders.clip_l.transformer.text_model.") for saved in tensors)
        assert all(saved.name.endswith(".diff") for saved in tensors)

    def test_a_difference_that_fp16_cannot_hold_is_an_error(self, recipes: Recipes, weights: Path) -> None:
        difference = subtract(recipes[0].patched(weights / "a.safetensors", 1e12), recipes[0])
        with pytest.raises(NonFiniteError, match=r"lora_up\.weight cannot be saved: .* too large for float16"):
            lora_tensors(difference, None, 4, "standard", bias=True, on_weight=lambda name: None)

    def test_a_difference_to_a_damaged_model_is_an_error(self, tmp_path: Path, recipes: Recipes) -> None:
        stored = checkpoint_weights()
        stored[f"{UNET}out.2.weight"][0, 0] = float("nan")
        save_file(stored, tmp_path / "x.safetensors")
        difference = subtract(open_checkpoint(tmp_path / "x.safetensors")[0], recipes[0])
        with pytest.raises(NonFiniteError, match=r"out\.2\.weight cannot be saved: it holds NaN, .* that is damaged"):
            lora_tensors(difference, None, 4, "standard", bias=True, on_weight=lambda name: None)

    def test_no_difference_is_an_error(self, recipes: Recipes) -> None:
        model = recipes[0]
        for nothing in (None, subtract(model, model)):
            with pytest.raises(MergeError, match="no difference to save"):
                lora_tensors(nothing, None, 4, "standard", bias=True, on_weight=lambda name: None)


def test_metadata_that_no_file_can_hold_do_not_spoil_the_file(tmp_path: Path) -> None:
    weights = [Saved("x", torch.float32, (2,), lambda: torch.ones(2))]
    write(tmp_path / "x.safetensors", weights, {"ss_dataset_dirs": "10_caf\udce9 \xe9"})
    with safe_open(tmp_path / "x.safetensors", "pt") as file:
        assert file.metadata() == {"ss_dataset_dirs": "10_caf? \xe9"}
