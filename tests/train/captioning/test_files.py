"""Where captions go, and what becomes of those that are there."""

from __future__ import annotations

from pathlib import Path

import pytest

from graphexec.train.captioning.errors import CaptionError
from graphexec.train.captioning.files import CaptionFiles
from graphexec.train.data.faults import DataError


def test_captions_that_are_there_are_kept_unless_told(tmp_path: Path) -> None:
    pictures = [tmp_path / "a.png", tmp_path / "b.c.png"]
    (tmp_path / "b.c.txt").touch()
    assert CaptionFiles().todo(pictures) == pictures[:1]
    assert CaptionFiles(existing="overwrite").todo(pictures) == pictures
    assert CaptionFiles(".caption").todo(pictures) == pictures
    assert CaptionFiles(".caption").of(pictures[1]).name == "b.c.caption"


def test_two_pictures_do_not_share_a_file(tmp_path: Path) -> None:
    with pytest.raises(CaptionError, match=r"a\.jpg and .*a\.png would share .*a\.txt"):
        CaptionFiles().todo([tmp_path / "a.jpg", tmp_path / "a.png"])


@pytest.mark.parametrize("extension", [".png", ".x.JPG", ".gif"])
def test_captions_are_not_written_over_pictures(extension: str, tmp_path: Path) -> None:
    with pytest.raises(CaptionError, match="written over pictures: use another ending"):
        CaptionFiles(extension, "overwrite").todo([tmp_path / "a.png"])


@pytest.mark.parametrize(
    ("there", "caption", "expected"),
    [
        (None, "cat, sun", "sks, cat, sun end"),
        ("sks, cat, sun end", "cat, sun", "sks, cat, sun end"),
        ("sks, cat end", "cat", "sks, cat end"),
        ("dog,cat", "cat, sun", "sks, dog, cat, sun end"),
        ("\n", "cat", "sks, cat end"),
    ],
)
def test_appending_adds_what_is_new(tmp_path: Path, there: str | None, caption: str, expected: str) -> None:
    if there is not None:
        (tmp_path / "a.txt").write_text(there, encoding="utf-8")
    files = CaptionFiles(existing="append", prefix="sks,", postfix="end")
    assert files.text(tmp_path / "a.png", caption) == expected


def test_a_prefix_stands_once(tmp_path: Path) -> None:
    files = CaptionFiles(existing="append", prefix="sks,")
    (tmp_path / "a.txt").write_text("sks, cat", encoding="utf-8")
    assert files.text(tmp_path / "a.png", "cat, sun") == "sks, cat, sun"
    assert CaptionFiles(prefix="a photo of").text(tmp_path / "b.png", "a dog") == "a photo of a dog"
    assert CaptionFiles().text(tmp_path / "b.png", "") == ""


@pytest.mark.parametrize(
    ("prefix", "postfix", "caption", "expected"),
    [
        ("cat", "", "cats on a mat", "cat cats on a mat"),
        ("cat", "", "cat_ears, sun", "cat cat_ears, sun"),
        ("cat", "", "cat, sun", "cat, sun"),
        ("sks,", "", "sks,cat", "sks,cat"),
        ("cat", "", "cat", "cat"),
        ("", "art", "a work of smart", "a work of smart art"),
        ("", "art", "a work of art", "a work of art"),
    ],
)
def test_a_prefix_is_not_a_part_of_a_word(prefix: str, postfix: str, caption: str, expected: str) -> None:
    files = CaptionFiles(prefix=prefix, postfix=postfix)
    assert files.text(Path("a.png"), caption) == expected


def test_a_byte_order_mark_is_no_part_of_a_caption(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("cat, dog", encoding="utf-8-sig")
    assert CaptionFiles(existing="append").text(tmp_path / "a.png", "cat, bird") == "cat, dog, bird"


def test_what_is_no_text_is_not_appended_to(tmp_path: Path) -> None:
    picture = tmp_path / "a.png"
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match=r"a\.txt: not text in UTF-8"):
        CaptionFiles(existing="append").todo([picture])
    assert CaptionFiles(existing="overwrite").todo([picture]) == [picture]
