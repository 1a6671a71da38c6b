"""The text that belongs to each picture: files beside it, or the name of its class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from graphexec.train.config import Subset
from graphexec.train.data.faults import DataError, listed

__all__ = ["caption_texts", "read_text"]

Warn = Callable[[str], object]

EXTENSIONS = (".txt", ".caption", ".cap", ".tags")
"""What caption files are called; the one that is asked for, and those that a user may have instead."""
MOST_BYTES = 1 << 20
FOLDER = "captions"


def caption_texts(subset: Subset, pictures: Sequence[Path], warn: Warn) -> list[str]:
    """What the file of each picture says, else the class of the folder.

    Raises `DataError` where there is neither, and where caption files lie there under another extension.
    """
    if subset.caption_dir is not None and not subset.caption_dir.is_dir():
        raise DataError(f"{subset.caption_dir}: there is no such folder of captions")
    found = [_caption_file(picture, subset) for picture in pictures]
    missing = [picture for picture, file in zip(pictures, found, strict=True) if file is None]
    _refuse_other_extensions(subset, missing)
    default = (subset.class_tokens or "").strip()
    if missing:
        _without_any(subset, missing, len(pictures), default, warn)
    texts = [read_text(file) if file else default for file in found]
    empty = [file.name for file, text in zip(found, texts, strict=True) if file and not text.strip()]
    if empty:
        warn(f"{subset.image_dir}: caption files without any text: {listed(empty)}")
    return texts


def read_text(file: Path) -> str:
    """A caption file's text; `DataError` names a file that cannot be read, is not UTF-8 or holds over a mebibyte."""
    try:
        content = file.read_bytes() if file.stat().st_size <= MOST_BYTES else None
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror})") from error
    if content is None:
        raise DataError(f"{file}: larger than any caption ({MOST_BYTES} bytes)")
    with suppress(UnicodeDecodeError):
        if b"\0" not in content:  # as every second byte is in UTF-16
            return "\n".join(content.decode("utf-8-sig").splitlines())
    raise DataError(f"{file}: not text in UTF-8; save it so")


def _caption_file(picture: Path, subset: Subset) -> Path | None:
    name = picture.stem + _dotted(subset.captions.extension)
    return next((folder / name for folder in _places(picture, subset) if (folder / name).is_file()), None)


def _places(picture: Path, subset: Subset) -> list[Path]:
    elsewhere = [subset.caption_dir] if subset.caption_dir else []
    return [*elsewhere, picture.parent, picture.parent / FOLDER]


def _dotted(extension: str) -> str:
    return extension if extension.startswith(".") else f".{extension}"


def _refuse_other_extensions(subset: Subset, missing: Sequence[Path]) -> None:
    asked = _dotted(subset.captions.extension)
    others = Counter(
        other for picture in missing for other in (*EXTENSIONS, *map(str.upper, EXTENSIONS))
        if other != asked and any((folder / (picture.stem + other)).is_file() for folder in _places(picture, subset))
    )  # fmt: skip
    if others:
        other, count = others.most_common(1)[0]
        raise DataError(
            f"{subset.image_dir}: {count} pictures have no {asked} file but a {other} file; "
            f'rename the files, or set caption_extension to "{other}" in a training configuration'
        )


def _without_any(subset: Subset, missing: Sequence[Path], of: int, default: str, warn: Warn) -> None:
    asked = _dotted(subset.captions.extension)
    if len(missing) == of:
        if default:  # which is how a folder is trained that has a class and no captions
            return
        raise DataError(
            f"{subset.image_dir}: no picture has a caption: put NAME{asked} beside NAME.png (or into captions/), "
            'name the folder like "10_sks cat", or set class_tokens in a training configuration'
        )
    names = listed([picture.name for picture in missing])
    instead = f"as {default!r}" if default else "with an empty one"
    warn(f"{subset.image_dir}: {len(missing)} of {of} pictures have no caption and train {instead}: {names}")
