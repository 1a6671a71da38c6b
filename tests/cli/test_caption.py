# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""`graphexec caption`."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import Result
from PIL import Image
from train.captioning.models import write_blip, write_tagger

from cli.shell import Shell


@pytest.fixture
def folder(shell: Shell) -> Path:
    (Path("pictures") / "sub").mkdir(parents=True)
    for name in ("red", "lime", "sub/blue"):
        Image.new("RGB", (8, 8), Path(name).name).save(f"pictures/{name}.png")
    write_tagger(Path("tagger"))
    return Path("pictures")


def tag(shell: Shell, *options: str) -> Result:
    return shell.run("caption", "pictures", "--method", "wd14", "--weights", "tagger", *options)


def texts(folder: Path, pattern: str = "**/*.txt") -> dict[str, str]:
    return {path.stem: path.read_text(encoding="utf-8") for path in sorted(folder.glob(pattern))}


def test_pictures_get_tags_with_the_options_of_kohyas_scripts(shell: Shell, folder: Path) -> None:
    result = tag(
        shell, "--recursive", "--general_threshold", "0.5", "--character-threshold", "1.0", "--remove_underscore",
        "--undesired_tags", "(o)_(o)", "--always_first_tags", "o_o", "--tag_replacement", "saber,knight",
        "--character_tags_first", "--character_tag_expand", "--caption_separator", "; ", "--prefix", "sks,",
        "--postfix", "drawing", "--batch_size", "2", "--frequency_tags",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    assert texts(folder) == {
        "red": "sks, 1girl drawing\n",
        "lime": "sks, o_o; knight drawing\n",
        "blue": "sks, reimu; touhou; long hair drawing\n",
    }
    assert result.stdout.split() == [str(folder / name) for name in ("lime.txt", "red.txt", "sub/blue.txt")]
    assert "knight: 1\n" in result.stderr


def test_captions_are_kept_replaced_or_added_to(shell: Shell, folder: Path) -> None:
    (folder / "red.txt").write_text("mine", encoding="utf-8")
    assert "1 of 2 pictures have captions, which are kept" in tag(shell).stderr
    assert texts(folder) == {"red": "mine", "lime": "o_o, saber\n"}
    assert tag(shell, "--append-tags").exit_code == 0
    assert texts(folder) == {"red": "mine, 1girl, (o)_(o)\n", "lime": "o_o, saber\n"}
    assert tag(shell, "--overwrite", "--use-rating-tags").exit_code == 0
    assert texts(folder)["red"] == "general, 1girl, (o)_(o)\n"
    assert shell.run("caption", "pictures", "--method", "wd14").stdout == ""


def test_a_file_that_cannot_be_written_is_named(shell: Shell, folder: Path) -> None:
    (folder / "lime.txt").mkdir()
    result = tag(shell, "--overwrite")
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"error: {folder / 'lime.txt'}: cannot be written (Is a directory)" in result.stderr.splitlines()
    assert sorted(path.name for path in folder.iterdir()) == ["lime.png", "lime.txt", "red.png", "sub"]


def test_a_dry_run_prints_and_writes_nothing(shell: Shell, folder: Path) -> None:
    result = tag(shell, "--dry-run", "--caption-extension", "caption", "--use-rating-tags-as-last-tag")
    assert result.stdout.splitlines()[1] == f"{folder / 'red.caption'}: 1girl, (o)_(o), general"
    assert not texts(folder, "**/*.caption")


def test_blip_writes_words(shell: Shell, folder: Path) -> None:
    write_blip(Path("blip"))
    options = ("--max-length", "12", "--seed", "3", "--device", "cpu")
    result = shell.run("caption", "pictures", "--method", "blip", "--weights", "blip", *options)
    assert result.exit_code == 0, result.stderr
    first = texts(folder)
    assert len(first) == 2
    again = ("--overwrite", "--batch-size", "2")
    shell.run("caption", "pictures", "--method", "blip", "--weights", "blip", *options, *again)
    assert texts(folder) == first


def test_an_unreadable_picture_is_named_and_the_rest_is_done(shell: Shell, folder: Path) -> None:
    (folder / "broken.png").write_bytes(b"nothing")
    result = tag(shell)
    assert result.exit_code == 1
    assert f"error: {folder / 'broken.png'}: not a picture of the kinds PNG" in result.stderr
    assert list(texts(folder)) == ["lime", "red"]


def test_what_gets_no_caption_is_said(shell: Shell, folder: Path) -> None:
    (folder / "sub/old.gif").touch()
    result = tag(shell, "--recursive", "--undesired-tags", "1girl,(o)_(o)")
    assert result.exit_code == 0
    assert [line for line in result.stderr.splitlines() if line.startswith("warning")] == [
        f"warning: {folder / 'sub/old.gif'}: of a kind that is not read, so it gets no caption; convert it to PNG",
        f"warning: {folder / 'red.png'}: nothing was found to say of it, so its caption is empty",
    ]
    assert texts(folder)["red"] == "\n"


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--overwrite", "--append-tags"), 2, "exclude each other"),
        (("--use-rating-tags", "--use-rating-tags-as-last-tag"), 2, "exclude each other"),
        (("--download",), 2, "not looked into beside --weights"),
        (("--num-beams", "2"), 2, "--num-beams is an option of blip, not of wd14"),
        (("--caption-extension", "../x"), 2, "no ending of a file name"),
        (("--tag-replacement", "x"), 1, "write it as `old,new`"),
        (("--weights", "nowhere"), 3, "huggingface.co/SmilingWolf/wd-v1-4-convnext-tagger-v2/resolve/main/model.onnx"),
        (("--undesired-tags", "sabre", "--dry-run"), 0, "did you mean 'saber'?"),
    ],
)
def test_what_is_wrong_is_said(shell: Shell, folder: Path, options: tuple[str, ...], code: int, message: str) -> None:
    result = tag(shell, *options)
    assert result.exit_code == code
    assert message in result.stderr
    assert not texts(folder)


def test_beams_that_are_not_searched_are_refused(shell: Shell, folder: Path) -> None:
    result = shell.run("caption", "pictures", "--method", "blip", "--weights", "blip", "--num-beams", "2")
    assert (result.exit_code, "--num-beams needs --beam-search" in result.stderr) == (2, True)
