"""Nodes for the tests of commands, beside `fake_nodes`, and a command line over both."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Annotated

import fake_nodes

from graphexec.cli.interrupts import raise_at_sigterm
from graphexec.cli.main import build_cli
from graphexec.diffusion.codecs import CODECS
from graphexec.diffusion.types import Latent
from graphexec.node.decorator import node
from graphexec.node.fields import Folder, Inferred, Progress
from graphexec.node.registry import Registry

__all__ = ["CODECS"]


def _infer_load(ckpt_name: Path) -> Inferred:
    return Inferred(({"bytes": 2_500_000},))


@node("Load", category="loaders", display_name="Load a File", infer=_infer_load)
def load(ckpt_name: Annotated[Path, Folder("checkpoints")]) -> str:
    """The text of a model file.

    Args:
        ckpt_name: a file of the checkpoints folder.
    """
    return ckpt_name.read_text()


@node("MakeLatent")
def make_latent(seed: int = 0) -> Latent:
    """A latent made of one number."""
    import torch

    return Latent(torch.full((1, 4, 2, 2), float(seed)))


@node("MakeLatents")
def make_latents(count: int) -> list[Latent]:
    """A list of latents."""
    import torch

    return [Latent(torch.full((1, 4, 2, 2), float(place))) for place in range(count)]


@node("Unavailable")
def unavailable(name: str) -> int:
    """Fails as a node does whose library is not installed."""
    raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def _chat(text: str) -> Inferred:
    print("looking at", text)
    return Inferred(({},))


@node("Chat", infer=_chat)
def chat(text: str) -> str:
    """Prints what it does, as nodes do, before it runs too."""
    print("chatting about", text)
    return text


@node("Forever")
def forever(value: int, progress: Progress) -> int:
    """Reports steps until it is asked to stop."""
    while True:
        progress(1, 1_000_000)
        time.sleep(0.001)


@node("Stubborn")
def stubborn(value: int) -> int:
    """Never asks whether it is to stop."""
    while True:
        time.sleep(0.001)


def registry() -> Registry:
    """The nodes of both modules."""
    return Registry().with_nodes(fake_nodes, sys.modules[__name__])


def haunted() -> Registry:
    """The same, and a node whose module cannot be imported."""
    pack = ModuleType("haunted")
    vars(pack)["NODES"] = {"Ghost": "no_such_module"}
    return registry().with_nodes(pack)


def main() -> None:
    """Run a command over these nodes, with Ctrl-C as a terminal has it, and SIGTERM as `graphexec` has it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    raise_at_sigterm()
    build_cli(registry)(prog_name="graphexec")
