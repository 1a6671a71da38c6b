# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch.overrides import TorchFunctionMode
from train.lora_runs import Told, config_of, trained

from graphexec.diffusion.checkpoint import open_checkpoint
from graphexec.diffusion.encode import encode_prompt
from graphexec.diffusion.faults import OutOfMemory
from graphexec.diffusion.images import empty_latent
from graphexec.diffusion.models.clip import ClipText
from graphexec.diffusion.runtime import Runtime
from graphexec.diffusion.sampling.run import sample
from graphexec.errors import Cancelled, GraphexecError, OutputError
from graphexec.train.config import Augment, GivenNetwork
from graphexec.train.events import Cached, Finished, Sampled, Saved, Started, Stepped, Validated, Warned
from graphexec.train.faults import StateError, TrainingError
from graphexec.train.models import BaseModel
from graphexec.train.run import train
from graphexec.train.texts import Captions, Embedded

FAST: dict[str, Any] = {"min_timestep": 500, "max_timestep": 501}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints and pictures that all tests share."""
    return tmp_path_factory.mktemp("train")


def out(path: Path, **saving: Any) -> dict[str, Any]:
    return {"output_dir": path, **saving}


def test_the_loss_falls_and_the_lora_changes_a_picture(folder: Path, tmp_path: Path) -> None:
    config = config_of(folder, saving=out(tmp_path), loop={"max_steps": 30, "cache_latents": True}, noise=FAST)
    result, told = trained(config)
    losses = [event.loss for event in told.of(Stepped)]
    assert len(losses) == result.steps == 30
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
    assert result.plot is not None
    assert result.plot.read_bytes().startswith(b"\x89PNG")
    assert isinstance(told[-1], Finished)
    plain, changed = sampled(folder, None), sampled(folder, result.lora)
    assert torch.isfinite(changed).all()
    assert float((plain - changed).norm() / plain.norm()) > 0.02


def sampled(folder: Path, lora: Path | None) -> torch.Tensor:
    """A latent of the tiny model, with a LoRA at full strength."""
    runtime = Runtime("cpu")
    model, clip, _ = open_checkpoint(folder / "sd1.safetensors")
    if lora is not None:
        model, clip = model.patched(lora, 1.0), clip.patched(lora, 1.0)
    prompt = encode_prompt(runtime, clip, "a red square")
    latent = empty_latent(64, 64)
    settings: dict[str, Any] = {"seed": 1, "steps": 3, "cfg": 1.0, "sampler_name": "euler", "scheduler": "normal"}
    return sample(runtime, model, prompt, prompt, latent, **settings).samples


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_every_family_trains_unet_and_text(family: str, folder: Path, tmp_path: Path) -> None:
    result, _ = trained(config_of(folder, family, saving=out(tmp_path, precision="fp32"), loop={"max_steps": 2}))
    ups = {name: tensor for name, tensor in load_file(result.lora).items() if name.endswith("lora_up.weight")}
    parts = {name.split("_", 2)[1] for name in ups}
    assert parts == ({"unet", "te1", "te2"} if family == "sdxl" else {"unet", "te"})
    assert all(float(tensor.abs().max()) > 0 for name, tensor in ups.items() if reached(name, family))


def reached(name: str, family: str) -> bool:
    """Whether gradients come to a layer: the last one of an encoder has no part where the one before is taken."""
    return family == "sd1" or "text_model_encoder_layers_1" not in name


def test_two_runs_give_the_same_file(folder: Path, tmp_path: Path) -> None:
    files = [trained(config_of(folder, saving=out(tmp_path / name)))[0].lora for name in "ab"]
    first, second = map(load_file, files)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("changes", [
    {"loop": {"accumulation": 3, "ema_decay": 0.9}, "network": {"dropout": 0.3, "rank_dropout": 0.2}},
    {"noise": {"offset": 0.1, "offset_random": True, "multires_iterations": 3}, "loop": {"cache_latents": True}},
    {"optimiser": {"kind": "AdamWScheduleFree"}, "loop": {"gradient_checkpointing": True}},
])  # fmt: skip
def test_a_run_that_was_stopped_ends_with_the_same_file(changes: Any, folder: Path, tmp_path: Path) -> None:
    def config(name: str, **saving: Any) -> Any:
        return config_of(folder, saving=out(tmp_path / name, precision="fp32", **saving), **changes)

    whole, _ = trained(config("whole"))
    stopped = Told()
    with pytest.raises(Cancelled, match="after step 3 of 6"):
        train(config("parts"), watch=stopped.append, cancelled=lambda: len(stopped.of(Stepped)) == 3)
    resumed, told = trained(config("parts", resume=tmp_path / "parts"))
    assert told.of(Started) == [Started(6, 3)]
    assert resumed.lora.read_bytes() == whole.lora.read_bytes()


KILLED = """
import os, signal, sys
from pathlib import Path
from train.lora_runs import config_of
from graphexec.train.events import Stepped
from graphexec.train.models import BaseModel
from graphexec.train.run import train

def watch(event):
    if isinstance(event, Stepped) and event.step == 5:
        os.kill(os.getpid(), signal.SIGKILL)

train(config_of(Path(sys.argv[1]), saving={"output_dir": Path(sys.argv[2]), "every_n_steps": 2}), watch=watch)
"""


def test_a_run_that_was_killed_ends_with_the_same_file(folder: Path, tmp_path: Path) -> None:
    config = config_of(folder, saving=out(tmp_path / "killed", every_n_steps=2))
    environment = {"PYTHONPATH": ":".join(sys.path), "OMP_NUM_THREADS": "1"}
    process = subprocess.run(
        [sys.executable, "-c", KILLED, str(folder), str(tmp_path / "killed")],
        check=False, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert process.returncode == -signal.SIGKILL, process.stderr
    whole, _ = trained(replace(config, saving=replace(config.saving, output_dir=tmp_path / "whole")))
    state = tmp_path / "killed" / "last.state"
    resumed, told = trained(replace(config, saving=replace(config.saving, resume=state)))
    assert told.of(Started) == [Started(6, 4)]
    assert resumed.lora.read_bytes() == whole.lora.read_bytes()


def test_a_run_that_is_started_anew_keeps_what_an_earlier_one_left(folder: Path, tmp_path: Path) -> None:
    stopped, config = Told(), config_of(folder, saving=out(tmp_path))
    with pytest.raises(Cancelled):
        train(config, watch=stopped.append, cancelled=lambda: len(stopped.of(Stepped)) == 3)
    state, log = ((tmp_path / f"last.{name}").read_bytes() for name in ("state", "jsonl"))
    with pytest.raises(TrainingError):
        train(config_of(folder, saving=out(tmp_path), loop={"max_steps": None}))
    assert (tmp_path / "last.jsonl").read_bytes() == log
    again = Told()
    with pytest.raises(Cancelled):
        train(config, watch=again.append, cancelled=lambda: True)
    assert any("--resume goes on with it" in event.message for event in again.of(Warned))
    assert (tmp_path / "last.state").read_bytes() == state
    assert (tmp_path / "last.jsonl").read_bytes() == log
    assert not again.of(Saved)
    trained(config)
    assert (tmp_path / "last.earlier.state").read_bytes() == state
    resumed, told = trained(replace(config, saving=replace(config.saving, resume=tmp_path / "last.earlier.state")))
    assert (told.of(Started), resumed.steps) == ([Started(6, 3)], 6)


def test_checkpoints_are_named_as_in_sd_scripts_and_the_oldest_go(folder: Path, tmp_path: Path) -> None:
    saving = out(tmp_path, every_n_epochs=1, every_n_steps=3, keep_last_epochs=1, output_name="mine")
    _, told = trained(config_of(folder, saving=saving, loop={"max_steps": None, "max_epochs": 3}))
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {
        "mine.safetensors", "mine-000002.safetensors", "mine-step00000003.safetensors",
        "mine-step00000006.safetensors", "mine.state", "mine.jsonl", "mine-loss.png",
    }  # fmt: skip
    assert [event.path.name for event in told.of(Saved)][:4] == [
        "mine-000001.safetensors", "mine.state", "mine-step00000003.safetensors", "mine.state",
    ]  # fmt: skip


def test_held_out_pictures_are_measured_alike_every_time(folder: Path, tmp_path: Path) -> None:
    def losses(name: str, rate: float) -> list[float]:
        config = config_of(
            folder, saving=out(tmp_path / name), validation={"every_n_steps": 1}, optimiser={"learning_rate": rate}
        )
        dataset = replace(config.datasets[0], validation_split=0.5, validation_seed=1)
        return [event.loss for event in trained(replace(config, datasets=(dataset,)))[1].of(Validated)]

    still, moving = losses("still", 1e-30), losses("moving", 1e-2)
    assert len(set(still)) == 1
    assert len(still) == len(moving) == 6
    assert len(set(moving)) == 6


@pytest.mark.parametrize("step", [2, 6])
def test_a_stop_is_heard_while_held_out_pictures_are_measured(step: int, folder: Path, tmp_path: Path) -> None:
    config = config_of(folder, saving=out(tmp_path))
    dataset = replace(config.datasets[0], validation_split=0.5, validation_seed=1)
    config, told = replace(config, datasets=(dataset,)), Told()
    asked = [0]

    def cancelled() -> bool:
        """Asked before each step, which is an epoch, and before the batch of held-out pictures after it."""
        asked[0] += 1
        return asked[0] == 2 * step

    with pytest.raises(Cancelled, match="held-out"):
        train(config, watch=told.append, cancelled=cancelled)
    assert told.of(Saved)[-1] == Saved(tmp_path / "last.state", step, step)
    resumed = replace(config, saving=replace(config.saving, resume=tmp_path))
    assert trained(resumed)[0].steps == 6


def test_pictures_are_made_on_the_way(folder: Path, tmp_path: Path) -> None:
    seen: list[tuple[str, int, bool]] = []
    extra, saved = "last.sample.safetensors", "last-step00000004.safetensors"

    def make(lora: Path, step: int) -> list[Path]:
        seen.append((lora.name, step, lora.exists()))
        assert lora.name == saved or not (tmp_path / extra).exists()  # where a killed run would leave it
        return [tmp_path / f"{step}.png"]

    config = config_of(folder, saving=out(tmp_path, every_n_steps=4), samples={"every_n_steps": 2, "at_first": True})
    _, told = trained(config, sample=make)
    assert seen == [(extra, 0, True), (extra, 2, True), (saved, 4, True), (extra, 6, True)]
    assert told.of(Sampled)[1] == Sampled((tmp_path / "2.png",), 2)
    assert [event.path.name for event in told.of(Saved)] == [saved, "last.state", "last.safetensors", "last.state"]


@pytest.mark.parametrize(("loop", "samples", "steps"), [
    ({"max_steps": None, "max_epochs": 2}, {"every_n_epochs": 1}, [2, 4]),
    ({"max_steps": None, "max_epochs": 2}, {"every_n_epochs": 1, "every_n_steps": 2}, [2, 4]),
    ({"max_steps": None, "max_epochs": 3}, {"every_n_epochs": 2}, [4]),
    ({"max_steps": 3}, {"every_n_epochs": 1}, [2]),
])  # fmt: skip
def test_pictures_of_every_epoch_are_made_once(
    loop: Any, samples: Any, steps: list[int], folder: Path, tmp_path: Path
) -> None:
    def sample(lora: Path, step: int) -> list[Path]:
        return [lora]

    config = config_of(folder, saving=out(tmp_path), loop=loop, samples=samples)
    _, told = trained(config, sample=sample)
    assert [event.step for event in told.of(Sampled)] == steps


def test_pictures_that_fail_do_not_end_the_training(folder: Path, tmp_path: Path) -> None:
    def fail(lora: Path, step: int) -> list[Path]:
        raise OutputError("the disk is full")

    result, told = trained(config_of(folder, saving=out(tmp_path), samples={"every_n_steps": 3}), sample=fail)
    warnings = [event.message for event in told.of(Warned)]
    assert warnings[0] == "no pictures after step 3, but the training goes on: the disk is full"
    assert result.steps == 6


def test_the_state_is_kept_before_pictures_are_made(folder: Path, tmp_path: Path) -> None:
    def fail(lora: Path, step: int) -> list[Path]:
        raise RuntimeError("a bug")

    config = config_of(folder, saving=out(tmp_path, every_n_steps=3), samples={"every_n_steps": 3})
    with pytest.raises(RuntimeError, match="a bug"):
        trained(config, sample=fail)
    assert (tmp_path / "last.state").exists()


@pytest.mark.parametrize("at_end", [True, False])
def test_a_state_of_the_end_alone(at_end: bool, folder: Path, tmp_path: Path) -> None:
    saving = out(tmp_path, state=False, state_at_end=at_end, every_n_steps=1)
    _, told = trained(config_of(folder, saving=saving, loop={"max_steps": 2}))
    assert [event.step for event in told.of(Saved) if event.path.suffix == ".state"] == ([2] if at_end else [])
    assert (tmp_path / "last.state").exists() == at_end


@pytest.mark.parametrize("at_end", [True, False])
def test_a_run_that_is_stopped_has_its_end_there(at_end: bool, folder: Path, tmp_path: Path) -> None:
    stopped, config = Told(), config_of(folder, saving=out(tmp_path, state=False, state_at_end=at_end))
    with pytest.raises(Cancelled):
        train(config, watch=stopped.append, cancelled=lambda: len(stopped.of(Stepped)) == 1)
    assert (tmp_path / "last.state").exists() == at_end


def test_a_state_of_another_run_is_refused(folder: Path, tmp_path: Path) -> None:
    trained(config_of(folder, saving=out(tmp_path)))
    other = config_of(folder, saving=out(tmp_path, resume=tmp_path), network={"alpha": 2.0}, loop={"max_steps": 8})
    with pytest.raises(StateError, match=r"network\.alpha: 4 then, 2\.0 now"):
        trained(other)
    with pytest.raises(StateError, match="none there"):
        trained(config_of(folder, saving=out(tmp_path, resume=folder)))
    config = config_of(folder, saving=out(tmp_path, resume=tmp_path))
    (dataset,) = config.datasets
    flipped = replace(dataset.subsets[0], augment=Augment(flip=True))
    with pytest.raises(StateError, match=r"pictures\.digest"):
        trained(replace(config, datasets=(replace(dataset, subsets=(flipped,)),)))


def test_other_words_for_the_same_network_are_no_other_run(folder: Path, tmp_path: Path) -> None:
    trained(config_of(folder, saving=out(tmp_path), network={"given": GivenNetwork("networks.lora", 4)}))
    words = GivenNetwork("lycoris.kohya", 4, {"algo": "lora"})
    again = config_of(folder, saving=out(tmp_path, resume=tmp_path), network={"given": words}, loop={"max_steps": 7})
    assert trained(again)[1].of(Started) == [Started(7, 6)]


def test_a_seed_that_is_not_given_is_told_and_taken_up(folder: Path, tmp_path: Path) -> None:
    config = config_of(folder, saving=out(tmp_path), loop={"seed": None, "max_steps": 2})
    result, told = trained(config)
    assert any(str(result.seed) in event.message for event in told.of(Warned))
    longer = config_of(folder, saving=out(tmp_path, resume=tmp_path), loop={"seed": None, "max_steps": 3})
    assert trained(longer)[0].seed == result.seed


@pytest.mark.parametrize(("changes", "message"), [
    ({"loop": {"max_steps": None}}, "say how long"),
    ({"loop": {"cache_text": True}}, "train_unet_only"),
    ({"noise": {"min_timestep": 5, "max_timestep": 5}}, "timesteps from 5 to 5"),
])  # fmt: skip
def test_what_cannot_be_trained_is_refused(changes: Any, message: str, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=message):
        trained(config_of(folder, saving=out(tmp_path), **changes))


@pytest.mark.parametrize(("rate", "precision", "message", "left"), [
    (1e300, "fp32", "after step 1 what is trained holds NaN or infinity", []),
    (1e6, "fp16", "too large for fp16; set save_precision", ["lora.state"]),
])  # fmt: skip
def test_no_lora_is_written_of_what_is_no_number(
    rate: float, precision: Any, message: str, left: list[str], folder: Path, tmp_path: Path
) -> None:
    saving = out(tmp_path, precision=precision, output_name="lora")
    with pytest.raises(TrainingError, match=message):
        trained(config_of(folder, saving=saving, optimiser={"learning_rate": rate}, loop={"max_steps": 1}))
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".jsonl"] == left


def test_a_lora_is_gone_on_from(folder: Path, tmp_path: Path) -> None:
    """With the layers and ranks of its file; no step changes nothing."""
    network = {"rank": 3, "alpha": 2.0, "conv_rank": 2, "train_text": False}
    first, _ = trained(config_of(folder, saving=out(tmp_path, precision="fp32"), network=network))
    again = {"rank": 8, "weights": first.lora, "dim_from_weights": True}
    still = {"learning_rate": 1e-30}
    saving = out(tmp_path / "again", precision="fp32")
    second, _ = trained(config_of(folder, saving=saving, network=again, optimiser=still, loop={"max_steps": 1}))
    with safe_open(second.lora, "pt") as file:
        said = file.metadata()
    assert (said["ss_network_dim"], said["ss_network_alpha"]) == ("Dynamic", "Dynamic")
    before, after = load_file(first.lora), load_file(second.lora)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_file_says_how_it_was_trained(folder: Path, tmp_path: Path) -> None:
    result, _ = trained(config_of(folder, saving=out(tmp_path), loop={"max_steps": 2}))
    with safe_open(result.lora, "pt") as file:
        metadata = file.metadata()
    assert metadata["ss_num_train_images"] == "4"
    told = {
        "ss_seed": "3",
        "ss_steps": "2",
        "ss_epoch": "1",
        "ss_num_epochs": "1",
        "ss_sd_model_name": "sd1.safetensors",
    }
    assert told.items() <= metadata.items()
    assert metadata["modelspec.architecture"] == "stable-diffusion-v1/lora"
    bare, _ = trained(config_of(folder, saving=out(tmp_path, no_metadata=True), loop={"max_steps": 2}))
    with safe_open(bare.lora, "pt") as file:
        assert "ss_num_train_images" not in file.metadata()


def test_a_schedule_that_is_left_out_is_told(folder: Path, tmp_path: Path) -> None:
    for kind, told_of in (("AdamWScheduleFree", True), ("Adafactor", True), ("AdamW", False)):
        changes: dict[str, Any] = {"optimiser": {"kind": kind}, "schedule": {"kind": "cosine"}}
        _, told = trained(config_of(folder, saving=out(tmp_path), loop={"max_steps": 1}, **changes))
        assert any("cosine is left out" in event.message for event in told.of(Warned)) is told_of


class Failing(TorchFunctionMode):
    """A function of torch's fails from its n-th call on; counts its calls."""

    def __init__(self, name: str, error: Exception, after: int = 0) -> None:
        super().__init__()
        self.name, self.error, self.after, self.calls = name, error, after, 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.__name__ == self.name:
            self.calls += 1
            if self.calls > self.after:
                raise self.error
        return func(*args, **kwargs or {})


def test_memory_that_runs_out_is_told_with_what_needs_less_and_loses_nothing(folder: Path, tmp_path: Path) -> None:
    whole, _ = trained(config_of(folder, saving=out(tmp_path / "whole")))
    full = Failing("backward", torch.OutOfMemoryError("CUDA out of memory. Tried to"), after=3)
    with full, pytest.raises(OutOfMemory, match=r"out of memory\. Tried to\): set gradient_checkpointing, a smaller"):
        trained(config_of(folder, saving=out(tmp_path / "parts")))
    assert full.calls == 4
    resumed, told = trained(config_of(folder, saving=out(tmp_path / "parts", resume=tmp_path / "parts")))
    assert told.of(Started) == [Started(6, 3)]
    assert resumed.lora.read_bytes() == whole.lora.read_bytes()


def test_a_step_that_breaks_off_in_the_optimiser_is_no_state(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(torch.optim.AdamW, "step", broken)
    with pytest.raises(RuntimeError, match="broken"):
        trained(config_of(folder, saving=out(tmp_path)))
    assert not [path for path in tmp_path.iterdir() if "state" in path.name]


def test_held_out_pictures_are_measured_after_every_epoch_and_encoded_once(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[int] = []
    encode = BaseModel.encode

    def counted(base: BaseModel, pixels: torch.Tensor) -> torch.Tensor:
        encoded.append(len(pixels))
        return encode(base, pixels)

    monkeypatch.setattr(BaseModel, "encode", counted)
    config = config_of(folder, saving=out(tmp_path), loop={"max_steps": 4, "cache_latents": True})
    dataset = replace(config.datasets[0], validation_split=0.5, validation_seed=1)
    _, told = trained(replace(config, datasets=(dataset,)))
    assert [event.step for event in told.of(Validated)] == [1, 2, 3, 4]
    assert sum(encoded) == 4


def test_captions_that_are_kept_are_encoded_before_the_first_step_and_the_encoders_go(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded, gone, told = list[tuple[str, ...]](), list[str](), Told()
    encode, cpu = Captions.__call__, ClipText.cpu

    def counted(captions: Captions, texts: Sequence[str]) -> Embedded:
        assert not told.of(Started)
        encoded.append(tuple(texts))
        return encode(captions, texts)

    def moved(encoder: ClipText) -> ClipText:
        gone.append("encoder")
        return cpu(encoder)

    monkeypatch.setattr(Captions, "__call__", counted)
    monkeypatch.setattr(ClipText, "cpu", moved)
    changes: Any = {"network": {"train_text": False}, "loop": {"max_steps": 2, "cache_text": True}}
    config = config_of(folder, saving=out(tmp_path), **changes)
    dataset = replace(config.datasets[0], validation_split=0.5, validation_seed=1)
    train(replace(config, datasets=(dataset,)), watch=told.append)
    assert (len(encoded), len(gone)) == (5, 1)


@pytest.mark.parametrize(
    "changes",
    [{"optimiser": {"arguments": {"strange": 1}}}, {"network": {"weights": Path("nowhere.safetensors")}}],
)
def test_a_configuration_that_cannot_be_is_refused_before_anything_is_encoded(
    changes: Any, folder: Path, tmp_path: Path
) -> None:
    told = Told()
    config = config_of(folder, saving=out(tmp_path), loop={"cache_latents": True}, **changes)
    with pytest.raises(GraphexecError):
        train(config, watch=told.append)
    assert not told.of(Cached)


def test_a_base_that_was_moved_is_the_same(folder: Path, tmp_path: Path) -> None:
    saving = out(tmp_path / "out", every_n_steps=2)
    trained(config_of(folder, saving=saving, loop={"max_steps": 2}))
    moved = tmp_path / "sd1.safetensors"
    moved.write_bytes((folder / "sd1.safetensors").read_bytes())
    config = config_of(folder, saving={**saving, "resume": tmp_path / "out"}, loop={"max_steps": 4})
    _, told = trained(replace(config, model=replace(config.model, path=moved)))
    assert told.of(Started) == [Started(4, 2)]
