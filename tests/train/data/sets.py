"""Small training sets on disk."""

from __future__ import annotations

from pathlib import Path

from PIL import Image


def picture(path: Path, size: tuple[int, int] = (96, 64), color: tuple[int, ...] = (200, 100, 50)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGBA" if len(color) == 4 else "RGB", size, color).save(path)
    return path


def captioned(path: Path, text: str, size: tuple[int, int] = (96, 64)) -> Path:
    picture(path, size)
    path.with_suffix(".txt").write_text(text, encoding="utf-8")
    return path
