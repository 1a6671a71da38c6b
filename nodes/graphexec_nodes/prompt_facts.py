"""Which family of models prompts are encoded for and what steers them, so that what does not belong together is told
before anything runs. None of it reads a weight or imports torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeGuard

from graphexec.diffusion.families import FAMILIES
from graphexec.diffusion.types import DOWNSCALE, Family
from graphexec.errors import ModelFileError
from graphexec.node.fields import Facts, Inferred, Note
from graphexec_nodes.hook_facts import carried
from graphexec_nodes.hook_facts import notes as hook_notes

IN_ALL = ("families", "controls", "corners")
"""What is known of several prompts is known of each: the corners are those of their areas, in pixels."""


def of_text(clip: Facts) -> Inferred:
    """A prompt is for the family of its text encoder."""
    return Inferred((_of_family(clip),))


def of_sdxl_text(clip: Facts) -> Inferred:
    """Two texts need the two text encoders of SDXL."""
    return _of_text(clip, "sdxl")


def of_refiner_text(clip: Facts) -> Inferred:
    """A score needs the text encoder of SDXL's refiner, to be of use."""
    return _of_text(clip, "sdxl_refiner")


def of_prompts(**inputs: object) -> Inferred:
    """One prompt made of others."""
    return Inferred((_beside(inputs.values()),))


def of_area(conditioning: Facts, x: int | Facts, y: int | Facts) -> Inferred:
    """A prompt that counts from this corner on, wherever it counted before."""
    corners = frozenset({(x, y)} if isinstance(x, int) and isinstance(y, int) else ())
    return Inferred(({**_beside([conditioning]), "corners": corners},))


def of_pairs(**inputs: object) -> Inferred:
    """Both sides of the guidance, made of others of their side."""
    sides = (
        [known for name, known in inputs.items() if name.startswith((side, "hooks"))]
        for side in ("positive", "negative")
    )
    return Inferred(tuple(map(_beside, sides)))


def of_control(control_net: Facts, **inputs: object) -> Inferred:
    """A prompt with one more ControlNet."""
    return _steered(of_prompts(**inputs), control_net)


def of_controls(control_net: Facts, **inputs: object) -> Inferred:
    """Both sides with one more ControlNet."""
    return _steered(of_pairs(**inputs), control_net)


def of_union(control_net: Facts) -> Inferred:
    """The ControlNet is the same."""
    return Inferred((control_net,))


def of_sampling(model: Facts, latent_image: Facts, **inputs: object) -> Inferred:
    """Sampling changes no size; prompts and ControlNets of another family than the model's are errors."""
    return Inferred((latent_image,), (*_unsuited(model, inputs), *_outside(latent_image, inputs)))


def of_custom_sampling(model: Facts, latent_image: Facts, **inputs: object) -> Inferred:
    """As `of_sampling`, for two outputs."""
    return Inferred((latent_image, latent_image), of_sampling(model, latent_image, **inputs).notes)


def of_guider(model: Facts, **inputs: object) -> Inferred:
    """Nothing is known of a guider; prompts and ControlNets of another family than the model's are errors."""
    return Inferred(notes=_unsuited(model, inputs))


def _of_text(clip: Facts, family: Family) -> Inferred:
    notes: tuple[Note, ...] = ()
    if "recipe" in clip and clip["recipe"].family != family:
        own = FAMILIES[clip["recipe"].family].title
        message = f"the text encoder is that of {own}, this node is for {FAMILIES[family].title}"
        notes = (Note(message, "clip", "warning", "clip_of_another_family", "use CLIPTextEncode"),)
    return Inferred((_of_family(clip),), notes)


def _of_family(clip: Facts) -> dict[str, Any]:
    if "recipe" not in clip:
        return {}
    return {
        "families": frozenset({clip["recipe"].family}),
        "controls": frozenset(),
        "corners": frozenset(),
        "hooks": carried((clip,)),
    }


def _beside(inputs: Iterable[object]) -> dict[str, Any]:
    """What is known of any of the prompts and hooks among inputs is known of all together."""
    inputs = list(inputs)
    prompts = list(filter(_is_prompt, inputs))
    known = {key: frozenset[Any]().union(*(prompt[key] for prompt in prompts)) for key in IN_ALL}
    return {**known, "hooks": carried(inputs)}


def _is_prompt(known: object) -> TypeGuard[Facts]:
    return isinstance(known, Mapping) and "families" in known


def _steered(prompts: Inferred, control_net: Facts) -> Inferred:
    if "recipe" not in control_net:
        return prompts
    more = {control_net["recipe"]}
    return Inferred(tuple({**known, "controls": known["controls"] | more} for known in prompts.outputs))


def _unsuited(model: Facts, inputs: Mapping[str, object]) -> tuple[Note, ...]:
    if "recipe" not in model:
        return ()
    prompts = [(name, known) for name, known in inputs.items() if _is_prompt(known)]
    hooks = {hook: name for name, known in reversed(prompts) for hook in known["hooks"]}
    unsuited = [note for name, known in prompts for note in _notes(model["recipe"], name, known)]
    return (*unsuited, *hook_notes(hooks, model["recipe"], None))


def _outside(latent: Facts, inputs: Mapping[str, object]) -> Iterator[Note]:
    """Areas of prompts that have no part in the picture, where its size is known."""
    if "latent" not in latent:
        return
    width, height = (side * DOWNSCALE for side in latent["latent"][:2])
    for name, known in inputs.items():
        for x, y in sorted(known["corners"]) if _is_prompt(known) else ():
            if x >= width or y >= height:
                yield Note(
                    f"an area of the prompt begins at {x}, {y}, outside the picture of {width}x{height};"
                    " it counts at the edge alone",
                    name,
                    "warning",
                    "area_outside_picture",
                    "choose x and y inside the picture, or make that larger",
                )


def _notes(model: Any, name: str, known: Facts) -> Iterable[Note]:
    from graphexec.diffusion.controlfiles import check_family

    for family in sorted(known["families"] - {model.family}):
        yield Note(
            f"the prompt is encoded for {FAMILIES[family].title}, and {model.file.path.name} is"
            f" {FAMILIES[model.family].title}",
            name,
            code="conditioning_of_another_family",
            hint="encode it with the text encoder that belongs to the model",
        )
    for net in sorted(known["controls"], key=lambda net: net.file.path):
        try:
            check_family(net, model)
        except ModelFileError as error:
            yield Note(str(error), name, code="control_of_another_family", hint="choose a ControlNet for this family")
