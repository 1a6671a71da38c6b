"""The drawings that the small model learns from: openly licensed emoji out of the npm registry, drawn at 128x128.

Noto Emoji (Google, Apache-2.0) and Fluent Emoji flat and 3D (Microsoft, MIT); names from emojibase-data
(MIT; Unicode CLDR). A concept is an emoji that all three have drawn, without skin tones, flags, symbols and keycaps.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

__all__ = ["SIZE", "STYLES", "Drawings", "drawings", "resized"]

SIZE = 128
STYLES = ("flat", "noto", "3d")
"""The first is what the checkpoint learns; the others are for LoRAs."""
REGISTRY = "https://registry.npmjs.org"
PACKAGES = {
    "noto": ("@iconify-json/noto", "1.2.9", "3e918d88fc945c0bb3d468dbace6f88caef67f01c9f0e7bcae0915a042e8f1ad"),
    "flat": (
        "@iconify-json/fluent-emoji-flat",
        "1.2.6",
        "7d064769dee690815f823bc5bcc511d957198caf9f5edd8dd9c1aa48a6aeb175",
    ),
    "3d": ("@lobehub/fluent-emoji-3d", "1.1.0", "c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58"),
    "names": ("emojibase-data", "17.0.0", "d01d0e2ca4e22cb402679532155342c71e2e871f25c32223c013b8b166ebdf5a"),
}
COMPONENTS, SYMBOLS, FLAGS = 2, 8, 9
PEOPLE = 1
LEFT_OFF = re.compile(
    r"skin tone|flag|keycap|button|o'clock|-thirty|waxing|waning|quarter moon|\b(left|right|leftwards|rightwards)\b"
)
"""Besides flags, what differs by its side alone (pictures are turned round at random), and two dozen times of day."""


@dataclass(frozen=True, slots=True)
class Drawings:
    """`pixels` [concept, style, 128, 128, 4] uint8, colours already multiplied by alpha; one name a concept."""

    names: tuple[str, ...]
    groups: tuple[int, ...]
    pixels: NDArray[np.uint8]

    def save(self, path: Path) -> None:
        np.savez(path, names=np.array(self.names), groups=np.array(self.groups), pixels=self.pixels)

    @classmethod
    def load(cls, path: Path) -> Drawings:
        with np.load(path) as stored:
            names, groups = stored["names"].tolist(), stored["groups"].tolist()
            return cls(tuple(names), tuple(groups), stored["pixels"])


def drawings(folder: Path) -> Drawings:
    """All concepts in all styles, from `folder` when they were drawn there before."""
    drawn = folder / "drawings.npz"
    if not drawn.exists():
        _draw(folder).save(drawn)
    return Drawings.load(drawn)


def _draw(folder: Path) -> Drawings:
    flat, noto = _Icons(_package(folder, "flat")), _Icons(_package(folder, "noto"))
    sources = (flat, noto, _Pictures(_package(folder, "3d")))
    found = [c for c in _concepts(_package(folder, "names")) if all(c.code in s for s in sources)]
    pixels = np.empty((len(found), len(STYLES), SIZE, SIZE, 4), np.uint8)
    for i, concept in enumerate(tqdm(found, desc="drawing")):
        for j, source in enumerate(sources):
            pixels[i, j] = source.draw(concept.code)
    return Drawings(tuple(c.name for c in found), tuple(c.group for c in found), pixels)


@dataclass(frozen=True, slots=True)
class _Concept:
    code: str
    name: str
    group: int


def _concepts(files: dict[str, bytes]) -> Iterator[_Concept]:
    for entry in json.loads(files["en/data.json"]):
        name, code, group = entry["label"], _code(entry["hexcode"]), entry.get("group")
        joined = "200d" in code  # men, women and families of every trade: too many that look alike
        name = name.lower().replace("“", "").replace("”", "").replace("’", "'")
        if group in (None, COMPONENTS, SYMBOLS, FLAGS) or LEFT_OFF.search(name) or (group == PEOPLE and joined):
            continue
        yield _Concept(code, name, group)


class _Icons:
    """One of Iconify's sets."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.set = json.loads(files["icons.json"])
        self.by_code = {_code(code): name for code, name in json.loads(files["chars.json"]).items()}

    def __contains__(self, code: str) -> bool:
        return self.by_code.get(code) in self.set["icons"]

    def draw(self, code: str) -> NDArray[np.uint8]:
        import resvg_py  # an extra, which reading drawings made before does not need

        icon = self.set["icons"][self.by_code[code]]
        width, height = icon.get("width", self.set["width"]), icon.get("height", self.set["height"])
        svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">{icon["body"]}</svg>'
        return _pixels(bytes(resvg_py.svg_to_bytes(svg_string=svg, width=SIZE, height=SIZE)))


class _Pictures:
    """A package of one picture an emoji, named by its code points."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.by_code = {_code(Path(name).stem): data for name, data in files.items() if name.endswith(".webp")}

    def __contains__(self, code: str) -> bool:
        return code in self.by_code

    def draw(self, code: str) -> NDArray[np.uint8]:
        return _pixels(self.by_code[code])


def _pixels(data: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(data)) as picture:
        colours = np.asarray(picture.convert("RGBA"), np.float32)
    colours[..., :3] *= colours[..., 3:] / 255
    return resized(colours.round().astype(np.uint8), SIZE)


def resized(drawing: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """A drawing [N, N, 4], colours multiplied by alpha, at another size.

    As "RGBA" Pillow would multiply by alpha once more and divide again, which leaves white specks along the edges.
    """
    return np.asarray(Image.fromarray(drawing, "RGBa").resize((size, size), Image.Resampling.LANCZOS))


def _code(hexcode: str) -> str:
    """Code points in lower case, without variation selectors, which the sets write or leave off as they like."""
    return "-".join(part for part in hexcode.lower().split("-") if part != "fe0f")


def _package(folder: Path, key: str) -> dict[str, bytes]:
    """The files of a package of the npm registry, fetched once and checked."""
    name, version, digest = PACKAGES[key]
    kept = folder / f"{key}-{version}.tgz"
    if not kept.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with urllib.request.urlopen(f"{REGISTRY}/{name}/-/{name.split('/')[-1]}-{version}.tgz") as answer:
            kept.write_bytes(answer.read())
    found = hashlib.sha256(kept.read_bytes()).hexdigest()
    if found != digest:
        raise SystemExit(
            f"{kept} is not the file that this script knows (its SHA-256 is {found}); delete it and try again"
        )
    with tarfile.open(kept) as archive:
        members = [m for m in archive.getmembers() if m.isfile()]
        return {m.name.split("/", 1)[1]: archive.extractfile(m).read() for m in members}  # pyright: ignore[reportOptionalMemberAccess]
