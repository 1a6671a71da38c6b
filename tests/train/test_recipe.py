# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""LoRAs trained on recipes of models."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusion.tiny import write_checkpoint
from safetensors import safe_open
from safetensors.torch import load, save_file

from graphexec.diffusion.checkpoint import open_checkpoint
from graphexec.diffusion.loras import load_lora
from graphexec.diffusion.runtime import Runtime
from graphexec.diffusion.sources import LoraModel
from graphexec.diffusion.types import Cond, Conditioning, Latent, Model, Sampling
from graphexec.errors import Cancelled, ModelFileError
from graphexec.train.faults import TrainingError
from graphexec.train.recipe import Settings, Trained, train_on_recipe

FAMILIES = ("sd1", "sdxl")


class Studio:
    """A small model of a family, and pictures of two sizes with prompts."""

    def __init__(self, folder: Path, family: str) -> None:
        path = folder / f"{family}.safetensors"
        write_checkpoint(path, family=family)
        self.model: Model = open_checkpoint(path)[0]
        self.runtime = Runtime("cpu")
        draw = torch.Generator().manual_seed(3)
        with self.runtime.unet(self.model) as unet:
            width, vector = unet.layout.context_width or 0, unet.layout.vector_width
        pooled = None if vector is None else vector - 6 * 256
        sizes = ((2, 8, 8), (1, 16, 8))
        self.latents = [Latent(torch.randn(b, 4, h, w, generator=draw) * 5) for b, h, w in sizes]
        self.prompts = [
            Conditioning(
                (
                    Cond(
                        torch.randn(1, 77, width, generator=draw),
                        None if pooled is None else torch.randn(1, pooled, generator=draw),
                    ),
                )
            )
            for _ in range(3)
        ]

    def train(self, model: Model | None = None, **settings: Any) -> Trained:
        given: dict[str, Any] = {
            "steps": 2,
            "training_precision": "fp32",
            "lora_precision": "fp32",
            "checkpointing": False,
            **settings,
        }
        return train_on_recipe(self.runtime, model or self.model, self.latents, self.prompts, Settings(**given))


@pytest.fixture(scope="module", params=FAMILIES)
def studio(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Studio:
    return Studio(tmp_path_factory.mktemp("models"), request.param)


@pytest.fixture(scope="module")
def sd1(tmp_path_factory: pytest.TempPathFactory) -> Studio:
    return Studio(tmp_path_factory.mktemp("models"), "sd1")


def test_a_seed_gives_one_lora_whatever_was_drawn_before(studio: Studio) -> None:
    first = studio.train()
    torch.manual_seed(99)
    assert studio.train() == first
    assert studio.train(seed=2**64 - 1).lora != first.lora
    assert (len(first.losses.losses), first.steps) == (2, 2)


def test_checkpointing_changes_nothing_but_memory(studio: Studio) -> None:
    assert studio.train(checkpointing=True) == studio.train()


def test_the_lora_fits_the_model_whole(studio: Studio) -> None:
    trained = studio.train(learning_rate=0.1)
    loaded = load_lora(studio.model, None, trained.lora, 1.0, 0.0)
    assert not loaded.coverage.warnings()
    tensors = load(trained.lora.content)
    up = next(name for name in tensors if name.endswith("attn2_to_v.lora_up.weight"))
    delta = tensors[up] @ tensors[up.replace("lora_up", "lora_down")] / 8
    with studio.runtime.unet(studio.model) as unet:
        before = {name: value.clone() for name, value in unet.state_dict().items()}
    with studio.runtime.unet(loaded.model or studio.model) as unet:
        changed = {name: value - before[name] for name, value in unet.state_dict().items()}
    assert any(torch.allclose(each, delta, atol=1e-5) for each in changed.values() if each.shape == delta.shape)
    assert delta.abs().max() > 1e-3


def test_the_loss_falls(sd1: Studio) -> None:
    losses = sd1.train(steps=40, learning_rate=0.02, batch_size=2).losses.losses
    assert sum(losses[-10:]) < 0.9 * sum(losses[:10])


@pytest.mark.parametrize(
    "settings",
    [
        {"optimiser": "Adam", "loss": "L1"},
        {"optimiser": "SGD", "loss": "Huber"},
        {"optimiser": "RMSprop", "loss": "SmoothL1"},
        {"training_precision": "bf16", "lora_precision": "bf16", "accumulation": 2},
    ],
)
def test_every_choice_trains(sd1: Studio, settings: dict[str, Any]) -> None:
    trained = sd1.train(**settings)
    tensors = load(trained.lora.content)
    assert all(torch.isfinite(tensor).all() for tensor in tensors.values())
    assert any(tensor.any() for name, tensor in tensors.items() if "lora_up" in name)
    kinds = {tensor.dtype for name, tensor in tensors.items() if not name.endswith("alpha")}
    assert kinds == {torch.bfloat16 if settings.get("lora_precision") == "bf16" else torch.float32}


def test_training_that_is_stopped_leaves_the_model_alone(sd1: Studio) -> None:
    def stop(done: int, total: int) -> None:
        raise Cancelled("asked to stop")

    shown = (torch.zeros(1, 4, 8, 8), torch.tensor([5]), sd1.prompts[0].conds[0].embedding)
    with sd1.runtime.unet(sd1.model) as unet, torch.no_grad():
        before = unet(*shown)
    with pytest.raises(Cancelled):
        train_on_recipe(
            sd1.runtime, sd1.model, sd1.latents, sd1.prompts, Settings(training_precision="fp32"), on_step=stop
        )
    with sd1.runtime.unet(sd1.model) as unet, torch.no_grad():
        assert torch.equal(unet(*shown), before)
        assert not any("forward" in vars(module) for module in unet.modules())


class TestExistingLora:
    def test_its_alpha_rank_and_steps_are_read(self, sd1: Studio, tmp_path: Path) -> None:
        tensors = load(sd1.train(learning_rate=0.1, rank=3).lora.content)
        tensors = {
            name: torch.tensor(2.5) if name.endswith("alpha") else tensor for name, tensor in tensors.items()
        } | {"lora_te_text_model_x.alpha": torch.tensor(1.0)}
        path = tmp_path / "mine_10_steps_00001_.safetensors"
        save_file(tensors, path)
        told: list[str] = []
        settings = Settings(steps=2, learning_rate=1e-7, rank=8, optimiser="SGD", existing=path,
                            training_precision="fp32", lora_precision="fp32")  # fmt: skip
        trained = train_on_recipe(sd1.runtime, sd1.model, sd1.latents, sd1.prompts, settings, warn=told.append)
        found = load(trained.lora.content)
        assert trained.steps == 12
        assert found.keys() == tensors.keys()
        assert all(torch.allclose(found[name], tensor, atol=1e-5) for name, tensor in tensors.items())
        assert "lora_te_text_model_x.alpha" in told[0]
        assert told[1] == "1 tensors of the existing LoRA are not for the UNet; they are kept as they are"

    @pytest.mark.parametrize("algorithm", ["LoHa", "LoKr"])
    def test_other_kinds_go_on_as_what_they_are(self, sd1: Studio, tmp_path: Path, algorithm: str) -> None:
        path = tmp_path / "x.safetensors"
        path.write_bytes(sd1.train(algorithm=algorithm, learning_rate=0.01, rank=3).lora.content)
        before = load(path.read_bytes())
        trained = sd1.train(existing=path, optimiser="SGD", learning_rate=1e-7)
        after = load(trained.lora.content)
        assert after.keys() == before.keys()
        path.write_bytes(trained.lora.content)
        with safe_open(path, framework="pt") as file:
            said = file.metadata()
        assert (said["ss_network_module"], said["ss_network_dim"]) == ("lycoris.kohya", "3")
        factors = [name for name in before if not name.endswith("alpha")]
        assert all(torch.allclose(after[name], before[name], atol=1e-5) for name in factors)

    def test_steps_of_the_metadata_count_before_those_of_the_name(self, sd1: Studio, tmp_path: Path) -> None:
        path = tmp_path / "x_99_steps_00001_.safetensors"
        path.write_bytes(sd1.train().lora.content)
        trained = sd1.train(existing=path)
        assert trained.steps == 4
        path.write_bytes(trained.lora.content)
        with safe_open(path, framework="pt") as file:
            assert file.metadata()["ss_steps"] == "4"

    def test_what_cannot_be_gone_on_from_is_refused(self, sd1: Studio, tmp_path: Path) -> None:
        path = tmp_path / "x.safetensors"
        save_file({"a.hada_w1_a": torch.zeros(2, 2), "b.lokr_w1": torch.zeros(2, 2)}, path)
        with pytest.raises(TrainingError, match="it holds loha and lokr"):
            sd1.train(existing=path)
        save_file({"lora_unet_elsewhere.lora_down.weight": torch.zeros(2, 2)}, path)
        with pytest.raises(ModelFileError):
            sd1.train(existing=path)


def test_what_cannot_be_trained_is_refused(sd1: Studio) -> None:
    def with_sampling(**changes: Any) -> Model:
        return replace(sd1.model, sampling=Sampling(**changes))

    for model, settings, message in (
        (None, {"algorithm": "OFT"}, "only LoRA, LoHa, LoKr"),
        (with_sampling(prediction="x0"), {}, "predicts x0"),
        (with_sampling(prediction="edm", levels="edm"), {}, "cannot be trained"),
    ):
        with pytest.raises(TrainingError, match=message):
            sd1.train(model, **settings)


def test_a_model_that_predicts_velocity_is_trained_on_it(sd1: Studio) -> None:
    velocity = replace(sd1.model, sampling=Sampling(prediction="v", zero_snr=True))
    assert sd1.train(velocity).losses != sd1.train().losses


def test_a_trained_lora_is_equal_by_its_bytes() -> None:
    assert LoraModel(b"x" * 3) == LoraModel(bytes([120] * 3))
    assert hash(LoraModel(b"xxx")) == hash(LoraModel(bytes([120] * 3)))
    assert "xxx" not in repr(LoraModel(b"xxx"))
