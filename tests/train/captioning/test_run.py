"""Captions for many pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from graphexec.train.captioning.pictures import Picture
from graphexec.train.captioning.run import Captioned, Unreadable, caption


class Names:
    """Captions pictures by their names and the size of the batch."""

    def captions(self, pictures: Sequence[Picture]) -> list[str]:
        return [f"{picture.name} of {len(pictures)}" for picture in pictures]


def test_pictures_come_in_batches_and_bad_ones_hold_nothing_up(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    paths = [tmp_path / name for name in ("a.png", "b.png", "c.png", "sub/d.png")]
    for path in (paths[0], paths[3]):
        Image.new("RGB", (1, 1)).save(path)
    for path in paths[1:3]:
        path.touch()
    first, bad, worse, last = caption(tmp_path, paths, Names(), 2)
    assert isinstance(first, Unreadable) and first.picture == paths[1] and "b.png" in first.reason
    assert bad == Captioned(paths[0], "a.png of 1")
    assert isinstance(worse, Unreadable)
    assert last == Captioned(paths[3], "sub/d.png of 1")
