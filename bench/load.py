"""SD 1.5 from its fp16 file to float32 networks in a fresh process, and the memory it takes: `python bench/load.py`.

Set against reading every tensor's bytes and converting them, nothing else, in a process of its own too.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
from checkpoints import arguments, full_size
from report import Row, at_most, seconds, show
from torch import Tensor

from graphexec.diffusion.checkpoint import open_checkpoint
from graphexec.diffusion.runtime import Runtime
from graphexec.diffusion.stored import DTYPES
from graphexec.lora.header import data_start, read_header

RUNS = 5


def main() -> None:
    """Measure and print; with `--child` be one of the processes."""
    parser = arguments(__doc__)
    parser.add_argument("--child", choices=CHILDREN, help=argparse.SUPPRESS)
    options = parser.parse_args()
    path = full_size(options.folder, "ref_sd15")
    if options.child:
        print(json.dumps(CHILDREN[options.child](path)))
    else:
        show(rows(options.folder), f"{torch.get_num_threads()} threads, best of {RUNS}")


def rows(folder: Path) -> Iterator[Row]:
    """The processes take turns."""
    found = [{name: child(folder, name) for name in CHILDREN} for _ in range(RUNS)]
    ready, read = (min(each[name]["seconds"] for each in found) for name in ("ready", "read"))
    weights = found[0]["ready"]["weights"]
    peak = max(each["ready"]["peak"] for each in found)
    start = found[0]["start"]["peak"]
    yield Row("every tensor of the file read and converted to float32", f"{read:.2f} s")
    yield Row("the file opened, and UNet, text encoder and VAE ready in float32", f"{ready:.2f} s")
    yield at_most("ready to read and converted", ready / read, "times", 1.2)
    yield Row("weights in float32", f"{weights / 2**20:.0f} MiB")
    yield Row("resident at most, all libraries included", f"{peak / 2**20:.0f} MiB")
    yield at_most("the most resident to the weights", peak / weights, "times", 1.15)
    yield Row("resident at most of a process that imports the libraries and loads nothing", f"{start / 2**20:.0f} MiB")


def child(folder: Path, name: str) -> Mapping[str, float]:
    """What one process measured."""
    command = [sys.executable, __file__, str(folder), "--child", name]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


def get_ready(path: Path) -> dict[str, float]:
    """All networks of the checkpoint."""
    runtime = Runtime("cpu", budget=2**40)

    def load() -> None:
        model, clip, vae = open_checkpoint(path)
        with runtime.unet(model), runtime.text_encoder(clip.encoders[0]), runtime.vae(vae):
            pass

    took = seconds(load)
    return {"seconds": took, "weights": float(runtime.resident_bytes()), "peak": peak_memory()}


def read_only(path: Path) -> dict[str, float]:
    """What any loader has to do: read the bytes, convert them."""
    converted: list[Tensor] = []

    def read() -> None:
        tensors = sorted(read_header(path).tensors.values(), key=lambda info: info.start)
        buffer = memoryview(bytearray(max(info.end - info.start for info in tensors)))
        with path.open("rb") as file:
            file.seek(data_start(file))
            for info in tensors:
                raw = buffer[: info.end - info.start]
                file.readinto(raw)
                converted.append(torch.frombuffer(raw, dtype=DTYPES[info.dtype]).to(torch.float32, copy=True))

    return {"seconds": seconds(read), "peak": peak_memory()}


def load_nothing(path: Path) -> dict[str, float]:
    """A process without a checkpoint."""
    return {"peak": peak_memory()}


def peak_memory() -> float:
    """Bytes of the largest resident set of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1024.0 if sys.platform == "linux" else 1.0)


CHILDREN: Mapping[str, Callable[[Path], dict[str, float]]] = {
    "read": read_only,
    "ready": get_ready,
    "start": load_nothing,
}

if __name__ == "__main__":
    main()
