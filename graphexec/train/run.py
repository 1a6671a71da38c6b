"""A LoRA's training from beginning to end."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from graphexec.diffusion.faults import MissingLibrary, OutOfMemory
from graphexec.diffusion.memory import out_of_memory
from graphexec.diffusion.precisions import DTYPES, is_finite
from graphexec.errors import Cancelled, GraphexecError
from graphexec.train.config import TrainConfig
from graphexec.train.data.facts import data_metadata
from graphexec.train.events import Event, Finished, Sampled, Saved, Stepped, Validated, Warned
from graphexec.train.faults import NonFiniteLoss, TrainingError
from graphexec.train.logs import JsonLines, TensorBoard, read_curve
from graphexec.train.loop import Moment
from graphexec.train.metadata import Progress, metadata
from graphexec.train.output import save_lora
from graphexec.train.plot import plot_losses
from graphexec.train.prepare import Prepared, choose_seed, epochs_of, prepare, steps_per_epoch
from graphexec.train.saving import Checkpoints, StateFile, claimed, due, find_state, remove_halves

__all__ = ["Trained", "train"]

Watch = Callable[[Event], object]
Sample = Callable[[Path, int], Sequence[Path]]
"""Makes pictures with a LoRA's file after so many steps."""


@dataclass(frozen=True, slots=True)
class Trained:
    """What came out: the last LoRA, the plot of the loss (None without matplotlib), the seed, the last step's loss."""

    lora: Path
    plot: Path | None
    log: Path
    steps: int
    seed: int
    loss: float


def train(
    config: TrainConfig,
    *,
    watch: Watch = lambda event: None,
    cancelled: Callable[[], bool] = lambda: False,
    sample: Sample | None = None,
) -> Trained:
    """Train a LoRA as it is configured, and write it.

    Raises `Cancelled` when it was asked to stop, with its state saved; `NonFiniteLoss` naming the pictures, with what
    was saved before left alone; `OutOfMemory`; `GraphexecError` for whatever cannot be trained so.
    """
    resume = None if config.saving.resume is None else find_state(config.saving.resume)
    with _told(config, watch, append=resume is not None) as (tell, log):
        seed = choose_seed(config, resume, lambda message: tell(Warned(message)))
        with _within_memory():
            parts = prepare(config, seed, tell)
            try:
                if resume is not None:
                    parts.loop.resume(resume)
                parts.fill(tell, cancelled)
                with claimed(config.saving):
                    return _Run(config, parts, tell, log, sample, cancelled).go()
            finally:
                parts.network.detach()


@contextmanager
def _within_memory() -> Generator[None]:
    """Memory that runs out is told with what would need less."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        raise OutOfMemory(
            f"the training does not fit in memory ({str(error).splitlines()[0]}): set gradient_checkpointing, a smaller"
            ' train_batch_size with gradient_accumulation_steps, mixed_precision = "bf16", cache_latents, or'
            " cache_text_encoder_outputs with network_train_unet_only"
        ) from error


@contextmanager
def _told(config: TrainConfig, watch: Watch, *, append: bool) -> Generator[tuple[Watch, Path]]:
    """What tells of an event everywhere, and the file that remembers all."""
    folder = config.logging.directory or config.saving.output_dir
    name = f"{config.logging.prefix}{config.saving.output_name}"
    path = folder / f"{name}.jsonl"
    with ExitStack() as stack:
        log = JsonLines(path, append=append)
        stack.callback(log.close)
        listeners: list[Watch] = [log, watch]
        if config.logging.tensorboard:
            board = TensorBoard(folder / name, append=append)
            stack.callback(board.close)
            listeners.append(board)

        def tell(event: Event) -> None:
            for listener in listeners:
                listener(event)

        yield tell, path


@dataclass(slots=True)
class _Run:
    config: TrainConfig
    parts: Prepared
    tell: Watch
    log: Path
    sample: Sample | None
    cancelled: Callable[[], bool]
    _began: float = field(default_factory=time.perf_counter)
    _first: int = field(init=False)
    _sampled_after: int = -1
    _validated_after: int = -1
    _checkpoints: Checkpoints = field(init=False)
    _state: StateFile = field(init=False)

    def __post_init__(self) -> None:
        self._first = self.parts.loop.step
        self._checkpoints = Checkpoints(self.config.saving)
        self._state = StateFile(self.config.saving)

    def go(self) -> Trained:
        """Train to the end."""
        loop = self.parts.loop
        remove_halves(self.config.saving)
        if (warning := self._state.warning()) is not None:
            self.tell(Warned(warning))
        if self.config.samples.at_first and not loop.step:
            self._sampled(Moment(0, 0, ends_epoch=False), None)
        try:
            for moment in loop.run(self.cancelled):
                self._between(moment)
            return self._finished()
        except NonFiniteLoss:
            raise
        except (GraphexecError, RuntimeError, MemoryError):
            # Cancelled, or a batch that cannot be read or does not fit: what was learned before it is not lost.
            if loop.is_whole:
                self._save_state(Moment(loop.step, loop.epoch, ends_epoch=False), at_end=True)
            raise

    def _between(self, moment: Moment) -> None:
        """Whatever is due between two steps."""
        saving, samples, validation = self.config.saving, self.config.samples, self.config.validation
        saved = None
        if due(moment, saving.every_n_steps, saving.every_n_epochs):
            saved = self._checkpointed(moment)
        if saved or self._state.is_due():
            self._save_state(moment)
        if due(moment, validation.every_n_steps, validation.every_n_epochs or 1):
            self._validated(moment)
        if due(moment, samples.every_n_steps, samples.every_n_epochs):
            self._sampled(moment, saved)

    def _finished(self) -> Trained:
        loop = self.parts.loop
        end = Moment(loop.step, loop.epoch, ends_epoch=loop.step % steps_per_epoch(self.config, self.parts.data) == 0)
        self._validated(end)
        self._save_lora(self._checkpoints.last, end)
        self._save_state(end, at_end=True)
        if end.ends_epoch and due(end, None, self.config.samples.every_n_epochs):
            self._sampled(end, self._checkpoints.last)
        plot = self._plot()
        self.tell(Finished(loop.step, time.perf_counter() - self._began, loop.loss))
        return Trained(self._checkpoints.last, plot, self.log, loop.step, self.parts.seed, loop.loss)

    def _checkpointed(self, moment: Moment) -> Path:
        path = self._checkpoints.at(moment)
        self._save_lora(path, moment)
        for old in self._checkpoints.outdated(moment):
            old.unlink(missing_ok=True)
        return path

    def _save_lora(self, path: Path, moment: Moment) -> None:
        self._write_lora(path, moment)
        self.tell(Saved(path, moment.step, moment.epoch))

    def _write_lora(self, path: Path, moment: Moment) -> None:
        with self.parts.loop.averaged():
            tensors = self.parts.network.tensors(DTYPES[self.config.saving.precision])
        if beyond := [name for name, tensor in tensors.items() if not is_finite(tensor)]:
            raise TrainingError(
                f"{path.name} cannot be saved: {beyond[0]} holds numbers that are too large for"
                f' {self.config.saving.precision}; set save_precision = "float" or "bf16"'
            )
        save_lora(path, tensors, self._metadata(moment))

    def _metadata(self, moment: Moment) -> dict[str, str]:
        parts = self.parts
        epochs = epochs_of(self.config, parts.data, parts.loop.plan.steps)
        progress = Progress(parts.seed, moment.step, moment.epoch, parts.loop.plan.steps, epochs)
        size = None if self.config.network.weights is None else parts.network.size
        return metadata(self.config, parts.about, data_metadata(parts.data), progress, size)

    def _save_state(self, moment: Moment, *, at_end: bool = False) -> None:
        """Before the first step there is nothing that would be lost, and maybe the state of an earlier run."""
        loop, saving = self.parts.loop, self.config.saving
        if (saving.state or (at_end and saving.state_at_end)) and loop.step > self._first:
            loop.settle()
            with self._state.written() as path:
                loop.save(path)
            self.tell(Saved(self._state.path, moment.step, moment.epoch))

    def _validated(self, moment: Moment) -> None:
        """Once after a step, even where it is due by steps and by epochs."""
        if self.parts.validator is None or moment.step == self._validated_after:
            return
        self._validated_after = moment.step
        self.parts.network.eval()
        with self.parts.loop.averaged():
            loss = self.parts.validator(self.cancelled)
        self.parts.network.train()
        self.tell(Validated(loss, moment.step, moment.epoch))

    def _sampled(self, moment: Moment, saved: Path | None) -> None:
        """Pictures with the LoRA as it is, from the file that was just saved or one that does not stay.

        Once after a step, even where they are due by steps and by epochs. What does not stay lies among temporary
        files: a run that is killed leaves nothing among LoRAs.
        """
        if self.sample is None or moment.step == self._sampled_after:
            return
        self._sampled_after = moment.step
        try:
            with TemporaryDirectory(prefix="graphexec-", ignore_cleanup_errors=True) as folder:
                path = saved or Path(folder) / self._checkpoints.last.with_suffix(".sample.safetensors").name
                if saved is None:
                    self._write_lora(path, moment)
                self.tell(Sampled(tuple(self.sample(path, moment.step)), moment.step))
        except Cancelled:
            raise
        except (GraphexecError, OSError) as error:
            self.tell(Warned(f"no pictures after step {moment.step}, but the training goes on: {error}"))

    def _plot(self) -> Path | None:
        path = self._checkpoints.last.with_name(f"{self.config.saving.output_name}-loss.png")
        try:
            plot_losses(path, read_curve(self.log, Stepped), read_curve(self.log, Validated))
        except MissingLibrary as error:
            self.tell(Warned(f"the loss is not drawn: {error}"))
            return None
        return path
