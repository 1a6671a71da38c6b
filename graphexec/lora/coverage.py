"""How much of a LoRA file finds a weight in a model, and of which family both are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from graphexec.errors import ModelFileError
from graphexec.lora.adapters.base import as_text
from graphexec.lora.families import FamilyHint, family_of_file, family_of_model
from graphexec.lora.formats import LoraFile, LoraModule, known_modules
from graphexec.lora.header import Header, Shapes
from graphexec.lora.keys import is_for_text, text_aliases, unet_aliases
from graphexec.lora.metadata import PeftSettings

__all__ = ["Coverage", "Match", "lora_coverage", "match_modules"]


SHOWN = 5
"""How many tensors a warning names."""


@dataclass(frozen=True, slots=True)
class Match:
    """Modules by the weight they change, those that do not fit theirs, and those of layers that are not there."""

    found: Mapping[str, tuple[LoraModule, ...]]
    unfit: tuple[tuple[LoraModule, str], ...]
    """With the name of the weight."""

    @property
    def modules(self) -> tuple[LoraModule, ...]:
        """The modules that change a weight."""
        return tuple(module for modules in self.found.values() for module in modules)


@dataclass(frozen=True, slots=True)
class Coverage:
    """What a LoRA file changes in the networks it is matched with, and what it holds besides.

    `matches` are by network: `unet` and the kinds of text encoders. `counts` gives, for the UNet and each text encoder
    that the file has names for and that is not left out, how many of its tensors are used and how many there are.
    """

    matches: Mapping[str, Match]
    used: tuple[str, ...]
    unused: tuple[str, ...]
    unfit: tuple[str, ...]
    """What does not fit, in words."""
    counts: Mapping[str, tuple[int, int]]
    initialisation: str | None = None
    """How PEFT changed the weights that the LoRA was trained on, if it did."""

    @property
    def changes(self) -> bool:
        """Whether anything changes; if not, all of the file is for networks that are left out."""
        return any(match.found for match in self.matches.values())

    @property
    def unet(self) -> Mapping[str, tuple[LoraModule, ...]]:
        """Modules by the weight of the UNet that they change."""
        return self.matches["unet"].found if "unet" in self.matches else {}

    def warnings(self) -> tuple[str, ...]:
        """What to tell the user: nothing when the whole file is used, and as it was trained."""
        return (*self._of_another_base(), *self._of_parts())

    def _of_another_base(self) -> tuple[str, ...]:
        if self.initialisation is None:
            return ()
        return (
            f"the LoRA was trained on weights that PEFT had changed for it (init_lora_weights {self.initialisation!r}),"
            " and does something else to this model; save it with PEFT's path_initial_model_for_weight_conversion",
        )

    def _of_parts(self) -> tuple[str, ...]:
        if not self.unused:
            return ()
        total = len(self.used) + len(self.unused)
        parts = ", ".join(f"{name}: {used} of {there} used" for name, (used, there) in self.counts.items())
        message = (
            f"{len(self.unused)} of {total} tensors in the LoRA change nothing in this model ({parts}):"
            f" {_listed(self.unused)}"
        )
        return (message, f"left out, since it does not fit: {_listed(self.unfit)}") if self.unfit else (message,)


def lora_coverage(unet: Shapes | None, texts: Mapping[str, Shapes] | None, lora: Header) -> Coverage:
    """Match a LoRA file with the weights of a UNet and of text encoders by kind (their names without prefixes).

    None leaves the UNet or the text encoders out, and what the file has for them counts as used. Raises
    `ModelFileError` if the file has nothing for any of them, or is for another family of models.
    """
    file = known_modules(lora)
    matches = {} if unet is None else {"unet": match_modules(file.modules, unet, unet_aliases(unet))}
    for kind, shapes in (texts or {}).items():
        matches[kind] = match_modules(file.modules, shapes, text_aliases(shapes, kind))
    matched = {tensor for match in matches.values() for module in match.modules for tensor in module.tensors}
    families = family_of_file(file.modules), family_of_model(unet, texts or {})
    _check_family(matches, matched, families)
    aside = {tensor for module in file.modules if _left_out(module, unet, texts) for tensor in module.tensors}
    if not matched and not aside:
        raise ModelFileError(f"this LoRA changes nothing in this model: {_families(families)}")
    tensors = tuple(lora.tensors)
    used = matched | aside
    return Coverage(
        matches,
        tuple(name for name in tensors if name in used),
        tuple(name for name in tensors if name not in used),
        tuple(
            _misfit(*unfit) for match in matches.values() for unfit in match.unfit if used.isdisjoint(unfit[0].tensors)
        ),
        _count(file, matched, aside),
        PeftSettings(lora.metadata).initialisation,
    )


def match_modules(modules: Iterable[LoraModule], network: Shapes, aliases: Mapping[str, str]) -> Match:
    """The modules of a LoRA file by the weight of a network that each changes; `aliases` give a module's layer.

    Of two of a kind for one weight (under two spellings) the first counts.
    """
    found: dict[str, list[LoraModule]] = {}
    unfit: list[tuple[LoraModule, str]] = []
    for module in modules:
        weight = f"{aliases.get(module.name)}.{module.target}"
        if weight not in network:
            continue
        if not (module.adapter.fits(network[weight]) and module.adapter.has_scale):
            if not module.optional:
                unfit.append((module, f"{weight} ({as_text(network[weight])})"))
        elif all(other.kind != module.kind for other in found.get(weight, ())):
            found.setdefault(weight, []).append(module)
    return Match({weight: tuple(modules) for weight, modules in found.items()}, tuple(unfit))


def _check_family(matches: Mapping[str, Match], matched: set[str], families: tuple[FamilyHint, FamilyHint]) -> None:
    """A misfit among modules that fit is a fault of one module; with other signs it is another family."""
    unfit = [unfit for match in matches.values() for unfit in match.unfit if matched.isdisjoint(unfit[0].tensors)]
    if unfit and (not matched or families[0].contradicts(families[1])):
        raise ModelFileError(f"{_misfit(*unfit[0])}: {_families(families)}")


def _families(families: tuple[FamilyHint, FamilyHint]) -> str:
    return f"the LoRA is for {families[0]}, the model is {families[1]}"


def _misfit(module: LoraModule, weight: str) -> str:
    adapter, named = module.adapter, f"LoRA module {module.name!r} ({module.kind})"
    if adapter.shape and not adapter.has_scale:
        return f"{named} for {weight} has no rank or another empty tensor, or an alpha that is no single number"
    size = as_text(adapter.shape or ())
    other = size and not weight.endswith(f"({size})")
    mine = f"is for {size}" if other else "has tensors that do not fit each other or the weight"
    return f"{named} {mine}, the model has {weight}"


def _left_out(module: LoraModule, unet: Shapes | None, texts: Mapping[str, Shapes] | None) -> bool:
    return texts is None if is_for_text(module.name) else unet is None


def _count(file: LoraFile, matched: set[str], aside: set[str]) -> dict[str, tuple[int, int]]:
    there, taken = Counter[str](), Counter[str]()
    named = {tensor: _owner(module.name) for module in file.modules for tensor in module.tensors}
    owners = {tensor: owner for tensor, owner in named.items() if tensor not in aside}
    for tensor, owner in (*owners.items(), *((tensor, "unknown") for tensor in file.strangers)):
        there[owner] += 1
        taken[owner] += tensor in matched
    return {owner: (taken[owner], there[owner]) for owner in there}


def _owner(module: str) -> str:
    if not is_for_text(module):
        return "UNet"
    second = module.startswith(("lora_te2_", "text_encoder_2.", "text_encoders.clip_g."))
    return "second text encoder" if second else "text encoder"


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
