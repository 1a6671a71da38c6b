"""Which hooks text encoders and prompts carry, so that LoRAs for another model are told before anything runs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from graphexec.diffusion.faults import MergeError
from graphexec.diffusion.types import Clip, Hook, LoraPatch, Model
from graphexec.errors import ModelFileError
from graphexec.node.fields import Facts, Inferred, Note
from graphexec_nodes import file_facts
from graphexec_nodes.facts import partly_used


def of_lora(
    lora_name: Path, strength_model: float | Facts, strength_clip: float | Facts, prev_hooks: Facts | None
) -> Inferred:
    """Hooks with a LoRA among them."""
    hook = Hook.of_lora(lora_name, _known(strength_model), _known(strength_clip))
    return Inferred((_facts([*carried((prev_hooks,)), hook]),))


def of_lora_on_model(lora_name: Path, strength_model: float | Facts, prev_hooks: Facts | None) -> Inferred:
    """As `of_lora`, for the diffusion model alone."""
    return of_lora(lora_name, strength_model, 0.0, prev_hooks)


def of_model(
    ckpt_name: Path, strength_model: float | Facts, strength_clip: float | Facts, prev_hooks: Facts | None
) -> Inferred:
    """Hooks with a checkpoint among them; one that cannot be read is a warning."""
    before = carried((prev_hooks,))
    opened = file_facts.of_checkpoint(ckpt_name)
    if opened.notes:
        return Inferred((_facts(before),), opened.notes)
    model, clip = (facts.get("recipe") for facts in opened.outputs[:2])
    if model is None or clip is None:
        return Inferred((_facts(before),))
    return Inferred((_facts([*before, Hook.of_model(model, clip, _known(strength_model), _known(strength_clip))]),))


def of_model_alone(ckpt_name: Path, strength_model: float | Facts, prev_hooks: Facts | None) -> Inferred:
    """As `of_model`, for the diffusion model alone."""
    return of_model(ckpt_name, strength_model, 0.0, prev_hooks)


def of_hooks(**inputs: object) -> Inferred:
    """Hooks put together."""
    return Inferred((_facts(carried(inputs.values())),))


def of_hooked_clip(clip: Facts, apply_to_conds: bool | Facts, hooks: Facts | None) -> Inferred:
    """The text encoder with hooks; those for one of another family are errors."""
    given = carried((hooks,))
    led = given if apply_to_conds is not False else ()
    found = () if "recipe" not in clip else tuple(notes(dict.fromkeys(given, "hooks"), None, clip["recipe"]))
    return Inferred(({**clip, **_facts(led)} if hooks is not None else clip,), found)


def carried(inputs: Iterable[object]) -> frozenset[Hook]:
    """All hooks that are known of any of the inputs."""
    known = [cast("Facts", each).get("hooks", ()) for each in inputs if isinstance(each, Mapping)]
    return frozenset[Hook]().union(*known)


def notes(hooks: Mapping[Hook, str], model: Model | None, clip: Clip | None) -> Iterator[Note]:
    """What does not suit a model or its text encoders, each of which may be left out; a hook's name is its input's."""
    from graphexec.diffusion.hooks import hook_warnings

    for hook, name in sorted(hooks.items(), key=lambda each: repr(each[0])):
        try:
            told = hook_warnings([hook], model, clip)
        except ModelFileError as error:
            yield Note(str(error), name, code="invalid_model_file", hint="choose a LoRA for this family")
            continue
        except MergeError as error:
            yield Note(str(error), name, hint="choose two of one family")
            continue
        if isinstance(hook.model or hook.clip, LoraPatch):
            yield from partly_used(told, name)


def _facts(hooks: Collection[Hook]) -> dict[str, Any]:
    return {"hooks": frozenset(hooks)}


def _known(strength: float | Facts) -> float:
    return strength if isinstance(strength, int | float) else 1.0
