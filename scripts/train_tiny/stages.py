"""What the stages have in common: what they are told on the command line, and what they compute on."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from parallel import InParts, whole

__all__ = ["begun", "dividing", "stage_parser"]


def stage_parser(description: str | None, steps: int) -> argparse.ArgumentParser:
    """The options of all stages."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("build/tiny"), help="where all stages keep their files")
    parser.add_argument("--steps", type=int, default=steps, help="default: %(default)s")
    parser.add_argument("--minutes", type=float, default=1e9, help="stop after so many; called again, it goes on")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser


def begun(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """What is given, with torch told how to compute."""
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.set_float32_matmul_precision("high")
    return given


def dividing(trained: Sequence[nn.Parameter], given: argparse.Namespace) -> Callable[..., Tensor]:
    """How to find a batch's losses: in parts on a CPU, where a small network's operations are short; a GPU takes it
    whole."""
    return InParts(trained, given.threads) if given.device == "cpu" else whole
