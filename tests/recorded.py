"""Runs workflows whose results were recorded from ComfyUI 0.3.64, and compares.

`tests/data/nodes/GROUP.json` holds a workflow and, of each recorded tensor (`NODE:SLOT` and, of a latent, the field),
its shape and what sums of all of it were (mean, mean size, standard deviation, sum of x·cos(i)); `GROUP.safetensors`
every so many'th value of it; what is no tensor is under `other`.
"""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import ast
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import torch
from parity.agreement import Agreement
from safetensors.torch import load_file
from torch import Tensor

import graphexec

DATA = Path(__file__).parent / "data" / "nodes"
REGISTRY = graphexec.Registry.standard()


@dataclass(frozen=True)
class Recording:
    """A group of nodes that ran together."""

    group: str

    @cached_property
    def file(self) -> dict[str, Any]:
        """The workflow, the facts of tensors, and values of other kinds."""
        return json.loads((DATA / f"{self.group}.json").read_text("utf-8"))

    @cached_property
    def values(self) -> dict[str, Tensor]:
        """Some values of each tensor."""
        return load_file(DATA / f"{self.group}.safetensors")

    @cached_property
    def tensors(self) -> list[str]:
        """What was recorded as a tensor, of nodes that run here."""
        return [key for key in self.file["tensors"] if self._runs(key)]

    @cached_property
    def others(self) -> list[str]:
        """What was recorded as a number, a text or a list, of nodes that run here."""
        return [key for key in self.file["other"] if self._runs(key)]

    def _runs(self, key: str) -> bool:
        """Whether all that a recorded value needs is native."""
        needed = _needed(self.file["workflow"], [key.split(":", maxsplit=1)[0]])
        return all(node["class_type"] in REGISTRY for node in needed.values())

    def run(self, models: Path = DATA, *, without: Iterable[str] = ()) -> Ran:
        """Run all nodes of which something was recorded, but for those `without`."""
        nodes = {key.split(":")[0] for key in (*self.tensors, *self.others)} - set(without)
        workflow = _needed(self.file["workflow"], nodes)
        folders = graphexec.Folders.from_roots(models)
        plan = graphexec.compile(workflow, registry=REGISTRY, folders=folders, targets=sorted(nodes))
        return Ran(self, graphexec.run(plan, graphexec.Context(settings={"device": "cpu"})))


@dataclass(frozen=True)
class Ran:
    """What came of a recorded workflow."""

    recording: Recording
    result: graphexec.Result

    def value(self, key: str) -> Any:
        """Our value of what was recorded as `NODE:SLOT`, `NODE:SLOT/field` or `NODE:SLOT/number`."""
        place, _, part = key.partition("/")
        node, slot = place.split(":")
        assert not self.result.failures, self.result.failures
        if part.isdecimal():
            return self.result.outputs[node][int(slot)][int(part)]
        value = self.result.value(node, int(slot))
        return getattr(value, part) if part else value

    def compare(self, key: str, agrees: Agreement, tolerance: float = 0.0) -> None:
        """Our tensor has the recorded shape and values, ‖a-b‖/‖b‖ at most `tolerance`."""
        facts = self.recording.file["tensors"][key]
        tensor, wanted = self.value(key), self.recording.values[key]
        assert list(tensor.shape) == facts["shape"]
        flat = tensor.flatten()
        got = flat[:: facts["step"]]
        agrees(f"nodes, {self.recording.group}", got, wanted.to(got.dtype), tolerance)
        assert sums(flat) == pytest.approx(facts["stats"], rel=max(tolerance, 1e-9), abs=max(tolerance, 1e-7) * 10)

    def compare_latent(self, place: str) -> None:
        """A latent at `NODE:SLOT` has a noise mask and a batch index where one was recorded, and nowhere else."""
        latent = self.value(place)
        assert (latent.noise_mask is not None) == (f"{place}/noise_mask" in self.recording.tensors)
        assert (latent.batch_index is not None) == (f"{place}/batch_index" in self.recording.others)

    def compare_other(self, key: str) -> None:
        """Our value is the recorded one, which is a list's text where it is no number or text."""
        wanted = self.recording.file["other"][key]
        ours = self.value(key)
        assert ours == (tuple(ast.literal_eval(wanted)) if isinstance(ours, tuple) else wanted)
        assert isinstance(ours, tuple) or type(ours) is type(wanted)


def sums(flat: Tensor) -> list[float]:
    """Mean, mean size, standard deviation and the sum of x·cos(i) of all values."""
    x = flat.double()
    wave = torch.arange(len(x), dtype=torch.float64).cos()
    return [float(s) for s in (x.mean(), x.abs().mean(), x.std(), (x * wave).sum())]


def _needed(workflow: dict[str, Any], nodes: Iterable[str]) -> dict[str, Any]:
    """The part of a workflow that some of its nodes need."""
    pending, needed = list(nodes), dict[str, Any]()
    while pending:
        name = pending.pop()
        if name not in needed:
            needed[name] = workflow[name]
            links = (value for value in workflow[name]["inputs"].values() if isinstance(value, list))
            pending += [link[0] for link in links]
    return needed
