"""Which family of models prompts are encoded for and what steers them, so that what does not belong together is told
before anything runs. None of it reads a weight or imports torch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from graphexec.diffusion.families import FAMILIES
from graphexec.diffusion.types import Family
from graphexec.errors import ModelFileError
from graphexec.node.fields import Facts, Inferred, Note


def of_text(clip: Facts) -> Inferred:
    """A prompt is for the family of its text encoder."""
    return Inferred((_of_family(clip),))


def of_sdxl_text(clip: Facts) -> Inferred:
    """Two texts need the two text encoders of SDXL."""
    return _of_text(clip, "sdxl")


def of_refiner_text(clip: Facts) -> Inferred:
    """A score needs the text encoder of SDXL's refiner, to be of use."""
    return _of_text(clip, "sdxl_refiner")


def of_same(conditioning: Facts) -> Inferred:
    """What changes where, when or how a prompt counts."""
    return Inferred((conditioning,))


def of_first(conditioning_to: Facts) -> Inferred:
    """What puts something into a prompt."""
    return Inferred((conditioning_to,))


def of_two(conditioning_1: Facts, conditioning_2: Facts) -> Inferred:
    """Prompts side by side."""
    return Inferred((_beside(conditioning_1, conditioning_2),))


def of_joined(conditioning_to: Facts, conditioning_from: Facts) -> Inferred:
    """Prompts made one."""
    return Inferred((_beside(conditioning_to, conditioning_from),))


def of_new(cond_NEW: Facts) -> Inferred:  # the name of the input
    """A prompt with other properties."""
    return Inferred((cond_NEW,))


def of_added(cond: Facts, cond_NEW: Facts) -> Inferred:
    """A prompt beside one with other properties."""
    return Inferred((_beside(cond, cond_NEW),))


def of_default(cond: Facts, cond_DEFAULT: Facts) -> Inferred:
    """A prompt beside one that fills the rest."""
    return Inferred((_beside(cond, cond_DEFAULT),))


def of_pair(positive: Facts, negative: Facts) -> Inferred:
    """Both sides as they were, and whatever else the node gives."""
    return Inferred((positive, negative, {}))


def of_control(conditioning: Facts, control_net: Facts) -> Inferred:
    """A prompt with one more ControlNet."""
    return Inferred((_steered(conditioning, control_net),))


def of_controls(positive: Facts, negative: Facts, control_net: Facts) -> Inferred:
    """Both sides with one more ControlNet."""
    return Inferred((_steered(positive, control_net), _steered(negative, control_net)))


def of_union(control_net: Facts) -> Inferred:
    """The ControlNet is the same."""
    return Inferred((control_net,))


def of_sampling(model: Facts, positive: Facts, negative: Facts, latent_image: Facts) -> Inferred:
    """Sampling changes no size; prompts and ControlNets of another family than the model's are errors."""
    return Inferred((latent_image,), _unsuited(model, positive=positive, negative=negative))


def of_custom_sampling(model: Facts, positive: Facts, negative: Facts, latent_image: Facts) -> Inferred:
    """As `of_sampling`, for two outputs."""
    return Inferred((latent_image, latent_image), _unsuited(model, positive=positive, negative=negative))


def of_guider(model: Facts, positive: Facts, negative: Facts) -> Inferred:
    """Nothing is known of a guider; prompts and ControlNets of another family than the model's are errors."""
    return Inferred(notes=_unsuited(model, positive=positive, negative=negative))


def of_basic_guider(model: Facts, conditioning: Facts) -> Inferred:
    """As `of_guider`, for one prompt."""
    return Inferred(notes=_unsuited(model, conditioning=conditioning))


def of_dual_guider(model: Facts, cond1: Facts, cond2: Facts, negative: Facts) -> Inferred:
    """As `of_guider`, for three prompts."""
    return Inferred(notes=_unsuited(model, cond1=cond1, cond2=cond2, negative=negative))


def _of_text(clip: Facts, family: Family) -> Inferred:
    notes: tuple[Note, ...] = ()
    if "recipe" in clip and clip["recipe"].family != family:
        own = FAMILIES[clip["recipe"].family].title
        message = f"the text encoder is that of {own}, this node is for {FAMILIES[family].title}"
        notes = (Note(message, "clip", "warning", "clip_of_another_family", "use CLIPTextEncode"),)
    return Inferred((_of_family(clip),), notes)


def _of_family(clip: Facts) -> dict[str, Any]:
    return {"families": frozenset({clip["recipe"].family}), "controls": frozenset()} if "recipe" in clip else {}


def _beside(*sides: Facts) -> dict[str, Any]:
    """What is known of any of them is known of all together."""
    return {key: frozenset().union(*(side.get(key, ()) for side in sides)) for key in ("families", "controls")}


def _steered(conditioning: Facts, control_net: Facts) -> dict[str, Any]:
    controls: set[Any] = {control_net["recipe"]} if "recipe" in control_net else set()
    return _beside(conditioning, {"controls": controls})


def _unsuited(model: Facts, **conditionings: Facts) -> tuple[Note, ...]:
    if "recipe" not in model:
        return ()
    return tuple(note for name, known in conditionings.items() for note in _notes(model["recipe"], name, known))


def _notes(model: Any, name: str, known: Facts) -> Iterable[Note]:
    from graphexec.diffusion.controlfiles import check_family

    for family in sorted(known.get("families", frozenset()) - {model.family}):
        yield Note(
            f"the prompt is encoded for {FAMILIES[family].title}, and {model.file.path.name} is"
            f" {FAMILIES[model.family].title}",
            name,
            code="conditioning_of_another_family",
            hint="encode it with the text encoder that belongs to the model",
        )
    for net in sorted(known.get("controls", ()), key=lambda net: net.file.path):
        try:
            check_family(net, model)
        except ModelFileError as error:
            yield Note(str(error), name, code="control_of_another_family", hint="choose a ControlNet for this family")
