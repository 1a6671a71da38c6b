"""The parts of a LoRA's training, made from a configuration: pictures, base model, network, loop."""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from graphexec.diffusion.devices import pick_device
from graphexec.errors import Cancelled
from graphexec.train.checkpointing import checkpoint_blocks
from graphexec.train.config import TrainConfig
from graphexec.train.data.batch import Batch
from graphexec.train.data.batches import Batches
from graphexec.train.data.cache import FileTensors, MemoryTensors, TensorStore
from graphexec.train.data.find import find_pictures
from graphexec.train.data.latents import KeptLatents
from graphexec.train.data.pictures import Data
from graphexec.train.events import Cached, Event, Warned
from graphexec.train.facts import facts_of
from graphexec.train.faults import TrainingError
from graphexec.train.loop import Loop, Plan
from graphexec.train.metadata import Base, NamedFile
from graphexec.train.models import BaseModel
from graphexec.train.network import TrainedNetwork
from graphexec.train.noise import Levels
from graphexec.train.objective import DiffusionLoss
from graphexec.train.optimisers import check_arguments
from graphexec.train.state import read_state
from graphexec.train.texts import Captions, Embed, KeptCaptions
from graphexec.train.validate import Validator

__all__ = ["Prepared", "choose_seed", "epochs_of", "prepare", "steps_in_all", "steps_per_epoch"]

Watch = Callable[[Event], object]


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """All that a run consists of; `seed` is the one given or drawn, `about` what its files say of the base model."""

    seed: int
    data: Data
    base: BaseModel
    about: Base
    network: TrainedNetwork
    loop: Loop[Batch]
    batches: Batches
    validator: Validator | None
    captions: KeptCaptions | None

    def fill(self, watch: Watch, cancelled: Callable[[], bool]) -> None:
        """Encode what is to be kept, so that what encodes it may leave the device. Raises `Cancelled`."""
        if self.captions is not None:
            sets = [self.batches] if self.validator is None else [self.batches, self.validator.batches]
            captions = [caption for each in sets for caption in each.captions()]
            self.captions.fill(captions, lambda done, total: _stop_if(cancelled, f"{done} of {total} captions"))
        self.batches.fill(_filling(watch, cancelled))
        if self.validator is not None:
            self.validator.batches.fill(lambda done, total: _stop_if(cancelled, _latents(done, total)))
        if self.batches.kept is not None:
            self.base.vae.cpu()


def prepare(config: TrainConfig, seed: int, watch: Watch) -> Prepared:
    """Read the pictures' list and the base model, attach the network; nothing is encoded yet.

    Raises `GraphexecError` for whatever cannot be trained as it is configured.
    """

    def warn(message: str) -> None:
        watch(Warned(message))

    _check(config)
    data = find_pictures(config.datasets, seed)
    for warning in data.warnings:
        warn(warning)
    steps = steps_in_all(config, data)
    base = BaseModel.load(config.model, config.loop.precision, pick_device(config.loop.device), warn)
    batches = _batches(config, data, base, seed, steps)
    network = TrainedNetwork.attach(config.network, base.unet, base.encoders, base.family, seed, warn)
    if config.loop.gradient_checkpointing:
        checkpoint_blocks([base.unet, *base.encoders])
    embed = _embed(config, base, warn)
    loss = _loss(config, base, network, embed)
    loop = Loop(
        network.groups(config.optimiser),
        loss,
        batches,
        _plan(config, seed, steps),
        watch=watch,
        device=base.device,
        constrain=_constraint(config, network),
        facts=facts_of(config, data),
    )
    if config.schedule.kind != "constant" and not loop.stepper.scheduled:
        warn(f"{config.optimiser.kind} finds its own way; lr_scheduler {config.schedule.kind} is left out")
    validator = _validator(config, data, base, loss, seed, batches)
    kept = embed if isinstance(embed, KeptCaptions) else None
    return Prepared(seed, data, base, _about(base), network.train(), loop, batches, validator, kept)


def choose_seed(config: TrainConfig, resume: Path | None, warn: Callable[[str], object]) -> int:
    """The seed given, that of the state to go on from, or a new one, which is told."""
    if config.loop.seed is not None:
        return config.loop.seed
    if resume is not None:
        return int(read_state(resume).facts["seed"])
    seed = secrets.randbelow(2**32)
    warn(f"no seed is given; {seed} was drawn. To train the same again, give it")
    return seed


def steps_in_all(config: TrainConfig, data: Data) -> int:
    """Steps of the optimiser: by epochs where they are given, else as many as are given."""
    if config.loop.max_epochs is not None:
        return config.loop.max_epochs * steps_per_epoch(config, data)
    if config.loop.max_steps is None:
        raise TrainingError("neither max_train_steps nor max_train_epochs is given: say how long to train")
    return config.loop.max_steps


def epochs_of(config: TrainConfig, data: Data, steps: int) -> int:
    """How many epochs so many steps begin."""
    return math.ceil(steps / steps_per_epoch(config, data))


def steps_per_epoch(config: TrainConfig, data: Data) -> int:
    """Steps of the optimiser in an epoch."""
    return math.ceil(data.batches_per_epoch / config.loop.accumulation)


def _about(base: BaseModel) -> Base:
    vae = base.source.vae
    return Base(base.family, base.target, NamedFile.of(base.source.path), None if vae is None else NamedFile.of(vae))


def _check(config: TrainConfig) -> None:
    check_arguments(config.optimiser)
    noise, cached = config.noise, config.loop.cache_text or config.loop.cache_text_to_disk
    if not 0 <= noise.min_timestep < noise.max_timestep <= 1000:
        raise TrainingError(
            f"timesteps from {noise.min_timestep} to {noise.max_timestep} are none: 0 <= min_timestep < max_timestep"
            " <= 1000"
        )
    if cached and config.network.train_text:
        raise TrainingError(
            "cache_text_encoder_outputs keeps what the text encoders gave at first, so they cannot be trained: train"
            " the UNet alone (network_train_unet_only), or do not cache"
        )


def _plan(config: TrainConfig, seed: int, steps: int) -> Plan:
    loop = config.loop
    return Plan(
        steps,
        seed,
        loop.accumulation,
        loop.precision,
        autocast=False,
        ema_decay=loop.ema_decay,
        optimiser=config.optimiser,
        schedule=config.schedule,
    )


def _batches(config: TrainConfig, data: Data, base: BaseModel, seed: int, steps: int) -> Batches:
    loop = config.loop
    store = _store(config, "latents", on_disk=loop.cache_latents_to_disk, in_memory=loop.cache_latents)
    return Batches(
        data,
        base.encode,
        seed,
        prior_loss_weight=config.objective.prior_loss_weight,
        steps=steps,
        accumulation=loop.accumulation,
        kept=None if store is None else KeptLatents(store, base.latents_key()),
    )


def _store(config: TrainConfig, name: str, *, on_disk: bool, in_memory: bool) -> TensorStore | None:
    """Where tensors are kept, if they are."""
    if on_disk:
        return FileTensors(config.saving.output_dir / "cache" / name)
    return MemoryTensors() if in_memory else None


def _filling(watch: Watch, cancelled: Callable[[], bool]) -> Callable[[int, int], None]:
    def filled(done: int, total: int) -> None:
        _stop_if(cancelled, _latents(done, total))
        watch(Cached(done, total))

    return filled


def _latents(done: int, total: int) -> str:
    return f"the latents of {done} of {total} pictures"


def _stop_if(cancelled: Callable[[], bool], done: str) -> None:
    if cancelled():
        raise Cancelled(f"stopped after {done}; none is trained yet")


def _loss(config: TrainConfig, base: BaseModel, network: TrainedNetwork, embed: Embed) -> DiffusionLoss:
    levels = Levels.of(zero_terminal_snr=config.noise.zero_terminal_snr, device=base.device)
    return DiffusionLoss(base, embed, config.noise, config.objective, levels, network.begin)


def _embed(config: TrainConfig, base: BaseModel, warn: Callable[[str], object]) -> Captions | KeptCaptions:
    captions, loop = Captions(base, warn), config.loop
    store = _store(config, "text", on_disk=loop.cache_text_to_disk, in_memory=loop.cache_text)
    return captions if store is None else KeptCaptions(captions, store, base.text_key())


def _constraint(config: TrainConfig, network: TrainedNetwork) -> Callable[[], object]:
    limit = config.network.scale_weight_norms
    return (lambda: network.scale_norms(limit)) if limit else (lambda: None)


def _validator(
    config: TrainConfig, data: Data, base: BaseModel, loss: DiffusionLoss, seed: int, trained: Batches
) -> Validator | None:
    if data.validation is None:
        return None
    held_out = Batches(data.validation, base.encode, seed, kept=trained.kept)
    return Validator(held_out, loss, seed, config.validation.max_steps)
