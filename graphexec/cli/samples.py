"""Pictures made while a LoRA is trained, by the project's own executor."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING, Any

from graphexec.cli.terminal import others_on_stderr
from graphexec.errors import GraphexecError, WorkflowError

if TYPE_CHECKING:
    from graphexec.cli.options import Places
    from graphexec.errors import Diagnostic
    from graphexec.graph.context import CancelToken, Context
    from graphexec.graph.folders import Folders
    from graphexec.graph.workflow import Workflow
    from graphexec.node.registry import Registry
    from graphexec.train.config import TrainConfig
    from graphexec.train.prompts import Prompt

__all__ = ["make_sampler", "prompt_workflow", "trained_nodes"]

Sampler = Callable[[Path, int], Sequence[Path]]
FOLDER = "sample"
LORA = "lora_name"
"""The input by which a node of a workflow is told the file of a LoRA."""


class SampleError(GraphexecError):
    """Pictures on the way cannot be made as it was asked for."""


def make_sampler(
    config: TrainConfig, registry: Callable[[], Registry], places: Places, cancel: CancelToken
) -> Sampler | None:
    """What makes the pictures that the settings ask for, until it is cancelled; None if they ask for none.

    Raises `GraphexecError` for prompts or a workflow of which no pictures can be made.
    """
    samples = config.samples
    if not (samples.every_n_steps or samples.every_n_epochs or samples.at_first):
        return None
    prompts = _prompts(config)
    own = _own_workflow(config) if samples.workflow is not None else None
    pictures = _Pictures(config, registry(), places.folders(config.saving.output_dir), prompts, own, cancel)
    pictures.check()
    return pictures


@dataclass(frozen=True, slots=True)
class _Pictures:
    config: TrainConfig
    registry: Registry
    folders: Folders
    prompts: Sequence[Prompt]
    own: Workflow | None
    cancel: CancelToken

    def __call__(self, lora: Path, step: int) -> Sequence[Path]:
        """The pictures with a LoRA's file; the base is loaded once for all of them, and let go afterwards."""
        from graphexec.graph.context import Context

        output, settings = self.config.saving.output_dir / FOLDER, {"device": self.config.loop.device}
        context = Context(output=output, settings=settings, cancel=self.cancel)
        return [path for workflow in self._workflows(lora.name, step) for path in self._run(workflow, lora, context)]

    def check(self) -> None:
        """Raise `WorkflowError` if a workflow cannot run, but for the LoRA, which is not there yet."""
        from graphexec.graph.compile import check

        lora = self.config.saving.output_dir / f"{self.config.saving.output_name}.sample.safetensors"
        folders = self._with(lora)
        for workflow in self._workflows(lora.name, 0):
            found = check(workflow, registry=self.registry, folders=folders).diagnostics
            wrong = [each for each in found if each.severity == "error" and not _misses(each, workflow, lora.name)]
            if wrong:
                raise WorkflowError(_placed(each, workflow) for each in wrong)

    def _workflows(self, lora: str, step: int) -> list[Workflow]:
        """One for each prompt, and the user's own."""
        from graphexec.graph.workflow import read_workflow

        nodes = [prompt_workflow(self.config, prompt, lora, step) for prompt in self.prompts]
        workflows = [read_workflow(each, name=str(self.config.samples.prompts)) for each in nodes]
        if self.own is not None:
            changes = {(node, LORA): lora for node in trained_nodes(self.own, self.config.saving.output_name)}
            workflows.append(self.own.with_inputs(changes))
        return workflows

    def _run(self, workflow: Workflow, lora: Path, context: Context) -> list[Path]:
        from graphexec.graph.compile import compile as compile_workflow
        from graphexec.graph.execute import run

        with others_on_stderr():
            plan = compile_workflow(workflow, registry=self.registry, folders=self._with(lora))
            result = run(plan, context)
        for error in result.failures.values():
            raise error
        return [path for paths in result.files.values() for path in paths]

    def _with(self, lora: Path) -> Folders:
        """The folders, in which the base and the LoRA under training are found first."""
        from graphexec.graph.folders import Folders

        first = {"checkpoints": self.config.model.path, "loras": lora, "vae": self.config.model.vae}
        roots = dict(self.folders.roots)
        for kind, path in first.items():
            if path is not None:
                folders = dict.fromkeys((path.absolute().parent, path.resolve().parent))  # a link leads to the second
                roots[kind] = (*folders, *roots.get(kind, ()))
        return Folders(roots)


def prompt_workflow(config: TrainConfig, prompt: Prompt, lora: str, step: int) -> dict[str, Any]:
    """A workflow in the API format that makes the picture of a prompt line."""
    from graphexec.train.prompts import SAMPLERS

    sampler, scheduler = SAMPLERS[prompt.sampler]
    nodes: dict[str, tuple[str, Mapping[str, Any]]] = {
        "base": ("CheckpointLoaderSimple", {"ckpt_name": config.model.path.name}),
        "lora": (
            "LoraLoader",
            {"model": ["base", 0], "clip": ["base", 1], LORA: lora, "strength_model": 1.0, "strength_clip": 1.0},
        ),
        **_reading(config),
        "positive": ("CLIPTextEncode", {"clip": _clip(config), "text": prompt.text}),
        "negative": ("CLIPTextEncode", {"clip": _clip(config), "text": prompt.negative}),
        "latent": ("EmptyLatentImage", {"width": prompt.width, "height": prompt.height, "batch_size": 1}),
        "sampler": (
            "KSampler",
            {
                "model": _model(config), "positive": ["positive", 0], "negative": ["negative", 0],
                "latent_image": ["latent", 0], "seed": prompt.seed, "steps": prompt.steps, "cfg": prompt.cfg,
                "sampler_name": sampler, "scheduler": scheduler, "denoise": 1.0,
            },
        ),
        "decode": ("VAEDecode", {"samples": ["sampler", 0], "vae": ["vae", 0] if config.model.vae else ["base", 2]}),
        "save": ("SaveImage", {"images": ["decode", 0], "filename_prefix": _prefix(config, step)}),
    }  # fmt: skip
    return {name: {"class_type": kind, "inputs": dict(inputs)} for name, (kind, inputs) in nodes.items()}


def trained_nodes(workflow: Workflow, name: str) -> list[str]:
    """The nodes that get the LoRA under training: those that name it, or the only one that names any.

    Raises `SampleError` if that leaves it open.
    """
    loaders = {node.id: node.inputs[LORA] for node in workflow.nodes.values() if isinstance(node.inputs.get(LORA), str)}
    named = [node for node, file in loaders.items() if PureWindowsPath(str(file)).stem == name]
    if named or len(loaders) == 1:
        return named or list(loaders)
    raise SampleError(
        f"{workflow.source}: {len(loaders)} nodes load LoRAs, and none of them {name}.safetensors, which is trained"
        " (output_name): name it in the node that is to load it"
    )


def _misses(diagnostic: Diagnostic, workflow: Workflow, lora: str) -> bool:
    """Whether it is about the file of a LoRA that is not there."""
    if not diagnostic.missing_file or diagnostic.node is None:
        return False
    return workflow.nodes[diagnostic.node].inputs.get(LORA) == lora


def _placed(found: Diagnostic, workflow: Workflow) -> Diagnostic:
    """With the file in its message: whoever trains has not named a workflow to the command."""
    line = f", line {found.line}" if found.line is not None else ""
    return replace(found, message=f"{found.message} ({workflow.source}{line})")


def _prompts(config: TrainConfig) -> Sequence[Prompt]:
    from graphexec.train.prompts import read_prompts

    return read_prompts(config.samples.prompts, config) if config.samples.prompts is not None else ()


def _own_workflow(config: TrainConfig) -> Workflow:
    from graphexec.graph.workflow import read_workflow

    workflow = read_workflow(str(config.samples.workflow))
    trained_nodes(workflow, config.saving.output_name)
    return workflow


def _reading(config: TrainConfig) -> dict[str, tuple[str, Mapping[str, Any]]]:
    """The nodes for how the base is read: layer of the text encoder, prediction, another VAE."""
    from graphexec.diffusion.checkpoint import read_layout

    found: dict[str, tuple[str, Mapping[str, Any]]] = {}
    if config.model.clip_skip > 1:
        found["clip"] = ("CLIPSetLastLayer", {"clip": ["lora", 1], "stop_at_clip_layer": -config.model.clip_skip})
    if _is_told(config):
        in_file = read_layout(config.model.path).sampling.prediction == "v"
        sampling = "v_prediction" if config.model.predicts_v(in_file=in_file) else "eps"
        settings = {"sampling": sampling, "zsnr": config.noise.zero_terminal_snr}
        found["model"] = ("ModelSamplingDiscrete", {"model": ["lora", 0], **settings})
    if config.model.vae is not None:
        found["vae"] = ("VAELoader", {"vae_name": config.model.vae.name})
    return found


def _is_told(config: TrainConfig) -> bool:
    """Whether the settings say of the base what its file need not."""
    return config.model.v_prediction is not None or config.noise.zero_terminal_snr


def _clip(config: TrainConfig) -> list[Any]:
    return ["clip", 0] if config.model.clip_skip > 1 else ["lora", 1]


def _model(config: TrainConfig) -> list[Any]:
    return ["model", 0] if _is_told(config) else ["lora", 0]


def _prefix(config: TrainConfig, step: int) -> str:
    return f"{config.saving.output_name}_{step:06d}"
