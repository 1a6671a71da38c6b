"""The course of a loss as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from graphexec.diffusion.faults import MissingLibrary
from graphexec.diffusion.files import write_whole

__all__ = ["plot_losses", "smoothed"]

WINDOWS = 50
"""How many windows of smoothing a whole run has."""


def plot_losses(path: Path, losses: Sequence[tuple[int, float]], validation: Sequence[tuple[int, float]] = ()) -> None:
    """Write a PNG of (step, loss): every loss faintly, their moving mean, and the loss on held-out pictures.

    Raises `MissingLibrary` if matplotlib is not installed, `OutputError` if the file cannot be written.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingLibrary(
            "a plot of the loss needs matplotlib, which is not installed: pip install 'graphexec[train]'"
        ) from error
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    steps, values = [step for step, _ in losses], [loss for _, loss in losses]
    axes.plot(steps, values, alpha=0.25, color="tab:blue", linewidth=0.8)
    axes.plot(steps, smoothed(values), color="tab:blue", label="loss (moving mean)")
    if validation:
        axes.plot(*zip(*validation, strict=True), color="tab:orange", marker="o", label="loss on held-out pictures")
    axes.set(xlabel="step", ylabel="loss")
    axes.legend()
    axes.grid(visible=True, alpha=0.3)
    content = BytesIO()
    figure.savefig(content, format="png", dpi=120)
    write_whole(path, content.getvalue(), parents=True)


def smoothed(values: Sequence[float]) -> list[float]:
    """The mean of each value and those before it, as many as a fiftieth of all."""
    width = max(1, len(values) // WINDOWS)
    return [sum(part) / len(part) for part in (values[max(0, i + 1 - width) : i + 1] for i in range(len(values)))]
