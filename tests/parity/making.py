"""Full-size checkpoints and LoRAs of random numbers, the same everywhere: ComfyUI's recorded numbers belong to them.

Each tensor's numbers come from its name: a Philox generator keyed by the SHA-256 of `FILE|0|NAME` gives 16-bit
integers, which are spread evenly around 0 with the deviation that its kind of weight has.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

DATA = Path(__file__).parents[1] / "data/parity/full"
MODELS: Mapping[str, Any] = json.loads(gzip.decompress((DATA / "models.json.gz").read_bytes()))
FOLDERS: Mapping[str, str] = {
    "ref_sd15": "checkpoints",
    "ref_sdxl": "checkpoints",
    "ref_sd21v": "checkpoints",
    "ref_sd15_canny": "controlnet",
    **dict.fromkeys(MODELS["loras"], "loras"),
}
"""The models folder that each file lies in."""

V_PREDICTION = "model.diffusion_model.output_blocks.11.1.transformer_blocks.0.norm1.bias"
"""The deviation of this bias tells ComfyUI that an SD 2.x checkpoint predicts v."""

Named = tuple[str, Sequence[int], str]


def make(root: Path, name: str) -> Path:
    """Write the file `name` below the models folder `root`, unless it is there, and check its SHA-256."""
    path = root / FOLDERS[name] / f"{name}.safetensors"
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    checksum = _write_checkpoint(part, name) if name in MODELS["checkpoints"] else _write_lora(part, name)
    recorded = (MODELS["checkpoints"].get(name) or MODELS["loras"][name])["sha256"]
    if checksum != recorded:
        part.unlink()
        raise ValueError(f"{name}: made {checksum}, recorded is {recorded}")
    return part.replace(path)


def _write_checkpoint(path: Path, name: str) -> str:
    model = MODELS["checkpoints"][name]
    kind, shapes = model["kind"], model["shapes"]
    names = sorted(shapes)
    listed = [(key, shapes[key], "I64" if key.endswith("position_ids") else "F16") for key in names]
    metadata = {"format": "pt", "generator": f"make_checkpoint.py {kind} seed 0"}
    return _write(path, metadata, listed, (_weight(kind, key, shapes[key]).tobytes() for key in names))


def _write_lora(path: Path, name: str) -> str:
    model = MODELS["loras"][name]
    data = save({key: _lora_tensor(model["file"], made) for key, made in model["tensors"].items()}, {"format": "pt"})
    path.write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def _write(path: Path, metadata: Mapping[str, str], listed: Sequence[Named], blobs: Iterator[bytes]) -> str:
    """Write a safetensors file tensor by tensor; its SHA-256."""
    header: dict[str, Any] = {"__metadata__": metadata}
    offset = 0
    for key, shape, dtype in listed:
        size = math.prod(shape) * (8 if dtype == "I64" else 2)
        header[key] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    raw = json.dumps(header, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % 8)
    checksum = hashlib.sha256()
    with path.open("wb") as file:
        for blob in (struct.pack("<Q", len(raw)), raw, *blobs):
            file.write(blob)
            checksum.update(blob)
    return checksum.hexdigest()


def _lora_tensor(file: str, made: Sequence[Any]) -> NDArray[Any]:
    if len(made) == 2:
        value, dtype = made
        return np.array(value, dtype=dtype)
    key, shape, std, mean, dtype = made
    return (_spread(f"{file}|0|{key}", shape, std) + np.float32(mean)).astype(dtype).reshape(shape)


def _weight(kind: str, key: str, shape: Sequence[int]) -> NDArray[Any]:
    if key.endswith("logit_scale"):
        return np.full(shape, 4.6052, dtype=np.float16)
    if key.endswith("position_ids"):
        return np.arange(shape[-1], dtype=np.int64).reshape(shape)
    values = _spread(f"{kind}|0|{key}", shape, _deviation(kind, key, shape))
    if len(shape) <= 1 and key.endswith(".weight"):
        values += np.float32(1.0)
    return values.astype(np.float16).reshape(shape)


def _deviation(kind: str, key: str, shape: Sequence[int]) -> float:
    if kind == "sd21v" and key == V_PREDICTION:
        return 0.15
    if len(shape) <= 1:
        return _of_vector(key)
    if "token_embedding" in key:
        return 0.03
    if "position" in key:
        return 0.02
    fan_in = shape[0] if key.endswith("text_projection") else math.prod(shape[1:])
    return 1.0 / math.sqrt(fan_in)


def _of_vector(key: str) -> float:
    if key.endswith(".weight"):
        return 0.1
    return 0.05 if any(mark in key for mark in ("norm", ".ln_", "ln_final")) else 0.02


def _spread(name: str, shape: Sequence[int], std: float) -> NDArray[np.float32]:
    """Evenly spread float32 of deviation `std`, from 16-bit integers."""
    count = math.prod(shape)
    key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:16], "little")
    raw = np.random.Philox(key=key).random_raw((count + 3) // 4)
    values = raw.astype("<u8", copy=False).view("<u2")[:count].astype(np.float32)
    return (values - np.float32(32767.5)) * np.float32(std * math.sqrt(3.0) / 32768.0)
