from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin
from PIL.PngImagePlugin import PngInfo
from train.data.sets import captioned, picture

from graphexec.train.config import Augment, Buckets, CaptionRules, Dataset, Subset
from graphexec.train.data.faults import DataError
from graphexec.train.data.find import find_pictures
from graphexec.train.data.folders import kohya_subsets
from graphexec.train.data.pictures import Data

FIXED = (64, 64)


def found(*subsets: Subset, **settings: object) -> Data:
    return find_pictures([Dataset(subsets, FIXED, **settings)])  # pyright: ignore[reportArgumentType]


def test_nothing_of_it_imports_torch() -> None:
    code = "import sys, graphexec.train.data.find, graphexec.train.data.order, graphexec.train.data.wording; "
    code += "print([name for name in ('torch', 'numpy') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_kohyas_folders(tmp_path: Path) -> None:
    for name in ("10_sks cat", "2_a_b", "3", "0_off", "other"):
        (tmp_path / name).mkdir()
    said: list[str] = []
    like = Subset(None, augment=Augment(flip=True))
    subsets = kohya_subsets(tmp_path, like, is_reg=True, warn=said.append)
    assert [(each.repeats, each.class_tokens) for each in subsets] == [(10, "sks cat"), (2, "a_b"), (3, None)]
    assert all(each.is_reg and each.augment.flip for each in subsets)
    assert said == [f"{tmp_path}: left out, not named like 10_name: 0_off, other"]


def test_a_date_is_no_count(tmp_path: Path) -> None:
    picture(tmp_path / "20240131_trip" / "a.png")
    with pytest.raises(DataError, match=r"20240131 times an epoch, more than 10000: rename it, as to 1_trip"):
        kohya_subsets(tmp_path, Subset(None), warn=print)


def test_pictures_that_are_left_out_are_told(tmp_path: Path) -> None:
    captioned(tmp_path / "2_cat" / "a.png", "a cat")
    for name in ("b.jfif", ".c.gif"):
        (tmp_path / "2_cat" / name).touch()
    picture(tmp_path / "2_cat" / "more" / "d.png")
    picture(tmp_path / "e.png")
    said: list[str] = []
    (subset,) = kohya_subsets(tmp_path, Subset(None), warn=said.append)
    assert said == [f"{tmp_path}: left out, in no folder named like 10_name: e.png"]
    assert [told.rpartition(": ")[2] for told in found(subset).warnings] == ["b.jfif", "more"]


def test_a_parent_without_such_folders_says_what_to_do(tmp_path: Path) -> None:
    picture(tmp_path / "cats" / "a.png")
    with pytest.raises(DataError, match="rename cats"):
        kohya_subsets(tmp_path, Subset(None), warn=print)
    with pytest.raises(DataError, match=r"move its pictures into .*10_name"):
        kohya_subsets(tmp_path / "cats", Subset(None), warn=print)
    picture(tmp_path / "5_cats" / "a.png")
    with pytest.raises(DataError, match="give the folder above it"):
        kohya_subsets(tmp_path / "5_cats", Subset(None), warn=print)
    with pytest.raises(DataError, match="no such folder"):
        kohya_subsets(tmp_path / "none", Subset(None), warn=print)


def test_pictures_with_their_captions_sizes_and_buckets(tmp_path: Path) -> None:
    captioned(tmp_path / "b.jpg", "a bird\n", (300, 200))
    captioned(tmp_path / "a.PNG", "\ufeffa cat", (200, 300))
    picture(tmp_path / ".hidden.png")
    (tmp_path / "notes.md").write_text("no picture")
    data = find_pictures([Dataset((Subset(tmp_path, repeats=3),), (256, 256), 2, Buckets(64, 512))])
    assert [(each.path.name, each.text, each.original) for each in data.pictures] == [
        ("a.PNG", "a cat", (200, 300)), ("b.jpg", "a bird", (300, 200)),
    ]  # fmt: skip
    assert data.buckets == {(192, 320): 3, (320, 192): 3}
    assert data.batches_per_epoch == 4
    assert data.warnings == ()
    assert data.validation is None


def test_captions_in_a_folder_or_of_the_class(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        picture(tmp_path / f"{name}.png")
    (tmp_path / "captions").mkdir()
    (tmp_path / "captions" / "a.txt").write_text("inside")
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "b.txt").write_text("elsewhere")
    data = found(Subset(tmp_path, class_tokens="sks", caption_dir=tmp_path / "texts"))
    assert [each.text for each in data.pictures] == ["inside", "elsewhere", "sks"]


def test_a_folder_of_captions_that_is_not_there(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    with pytest.raises(DataError, match="no such folder of captions"):
        found(Subset(tmp_path, class_tokens="x", caption_dir=tmp_path / "texts"))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".jpeg", ".webp", ".bmp"])
def test_kinds_of_pictures(tmp_path: Path, suffix: str) -> None:
    picture(tmp_path / f"a{suffix}", (40, 30))
    assert found(Subset(tmp_path, class_tokens="x")).pictures[0].original == (40, 30)


def test_no_captions_at_all(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"no picture has a caption: put NAME\.txt beside"):
        found(Subset(tmp_path))


def test_some_pictures_without_captions(tmp_path: Path) -> None:
    captioned(tmp_path / "a.png", "text")
    captioned(tmp_path / "b.png", " \n")
    picture(tmp_path / "c.png")
    data = found(Subset(tmp_path))
    assert [each.text.strip() for each in data.pictures] == ["text", "", ""]
    assert "1 of 3 pictures have no caption and train with an empty one: c.png" in data.warnings[0]
    assert "without any text: b.txt" in data.warnings[1]


def test_what_one_dataset_holds_out_another_does_not_train(tmp_path: Path) -> None:
    for number in range(8):
        captioned(tmp_path / f"{number}.png", "text", (96, 64) if number % 2 else (64, 64))
    subsets = (Subset(tmp_path),)
    large = Dataset(subsets, (128, 128), skip_resolution=(64, 64), validation_split=0.5)
    data = find_pictures([Dataset(subsets, (64, 64), validation_split=0.25), large])
    assert data.validation is not None
    assert {each.dataset for each in data.validation.pictures} == {each.dataset for each in data.pictures} == {0, 1}
    assert not {each.path for each in data.validation.pictures} & {each.path for each in data.pictures}


def test_pictures_that_fall_back_to_the_class_among_captioned_ones(tmp_path: Path) -> None:
    captioned(tmp_path / "a.png", "text")
    picture(tmp_path / "b.png")
    data = found(Subset(tmp_path, class_tokens="sks cat"))
    assert [each.text for each in data.pictures] == ["text", "sks cat"]
    assert "1 of 2 pictures have no caption and train as 'sks cat': b.png" in data.warnings[0]
    (tmp_path / "a.txt").unlink()
    assert not found(Subset(tmp_path, class_tokens="sks cat")).warnings


@pytest.mark.parametrize(
    ("there", "asked"), [(".txt", ".caption"), (".caption", "txt"), (".TXT", ".txt"), (".txt", ".TXT")]
)
def test_captions_under_another_extension(tmp_path: Path, there: str, asked: str) -> None:
    picture(tmp_path / "a.png").with_suffix(there).write_text("text")
    with pytest.raises(DataError, match=f'set caption_extension to "{there}"'):
        found(Subset(tmp_path, class_tokens="cat", captions=CaptionRules(extension=asked)))


def test_both_extensions_are_no_fault(tmp_path: Path) -> None:
    captioned(tmp_path / "a.png", "tags").with_suffix(".caption").write_text("a sentence")
    assert found(Subset(tmp_path)).pictures[0].text == "tags"


def test_captions_that_are_no_text(tmp_path: Path) -> None:
    file = picture(tmp_path / "a.png").with_suffix(".txt")
    for content in (b"\xff\xfe\x00", "a cat".encode("utf-16-le")):
        file.write_bytes(content)
        with pytest.raises(DataError, match=r"a\.txt: not text in UTF-8"):
            found(Subset(tmp_path))
    (tmp_path / "a.txt").write_bytes(b"x" * (1 << 20) + b"x")
    with pytest.raises(DataError, match="larger than any caption"):
        found(Subset(tmp_path))


def test_folders_without_pictures(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no pictures"):
        found(Subset(tmp_path))
    picture(tmp_path / "10_cat" / "a.png")
    with pytest.raises(DataError, match="its folders do: 10_cat"):
        found(Subset(tmp_path))
    with pytest.raises(DataError, match="no such folder"):
        found(Subset(tmp_path / "none"))
    with pytest.raises(DataError, match="neither image_dir nor metadata_file"):
        found(Subset(None))
    with pytest.raises(DataError, match="nothing to train on"):
        found()


def test_unreadable_pictures_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"not a picture")
    with pytest.raises(DataError, match=r"a\.png: not a picture"):
        found(Subset(tmp_path, class_tokens="x"))
    Image.new("1", (20000, 10000)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"a\.png: too many pixels"):
        found(Subset(tmp_path, class_tokens="x"))


def test_a_picture_with_a_long_text_in_it(tmp_path: Path) -> None:
    texts = PngInfo()
    texts.add_text("workflow", "x" * (PngImagePlugin.MAX_TEXT_CHUNK + 1), zip=True)
    Image.new("RGB", (96, 64)).save(tmp_path / "a.png", pnginfo=texts)
    assert [each.original for each in found(Subset(tmp_path, class_tokens="sks")).pictures] == [(96, 64)]


def test_pictures_stand_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (96, 64)).save(tmp_path / "a.jpg", exif=exif)
    assert found(Subset(tmp_path, class_tokens="x")).pictures[0].original == (64, 96)


def test_numbers_that_make_no_sense(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    with pytest.raises(DataError, match="num_repeats is 0"):
        found(Subset(tmp_path, 0, "x"))
    with pytest.raises(DataError, match="batch_size is 0"):
        found(Subset(tmp_path, 1, "x"), batch_size=0)
    with pytest.raises(DataError, match="are parts, from 0 to 1"):
        found(Subset(tmp_path, 1, "x", captions=CaptionRules(dropout_rate=5)))
    with pytest.raises(DataError, match=r"validation_split is 1\.0"):
        found(Subset(tmp_path, 1, "x"), validation_split=1.0)
    with pytest.raises(DataError, match="listed twice"):
        found(Subset(tmp_path, 1, "x"), Subset(tmp_path, 2, "x"))


def test_a_picture_too_small_for_a_bucket_is_named(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", (32, 32))
    with pytest.raises(DataError, match=r"a\.png: a picture of 32 x 32 is too small"):
        find_pictures([Dataset((Subset(tmp_path, class_tokens="x"),), FIXED, buckets=Buckets(no_upscale=True))])


def test_buckets_below_the_resolution_are_a_warning(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", (1600, 900))
    picture(tmp_path / "b.png", (900, 900))
    subset = Subset(tmp_path, class_tokens="x")
    data = find_pictures([Dataset((subset,), (1024, 1024), buckets=Buckets())])
    assert len(data.warnings) == 1
    assert "max_bucket_reso 1024 makes 1 pictures smaller" in data.warnings[0]
    assert "1344 would let them" in data.warnings[0]
    assert find_pictures([Dataset((subset,), (1024, 1024), buckets=Buckets(max_size=1344))]).warnings == ()


def test_limits_of_buckets_that_are_in_no_steps_are_a_warning(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", (512, 512))
    subset = Subset(tmp_path, class_tokens="x")
    assert find_pictures([Dataset((subset,), (512, 512), buckets=Buckets(300, 1000))]).warnings == (
        "min_bucket_reso 300 is no multiple of bucket_reso_steps 64: it counts as 256",
        "max_bucket_reso 1000 is no multiple of bucket_reso_steps 64: it counts as 1024",
    )


def test_pictures_no_larger_than_asked_are_left_out_and_said(tmp_path: Path) -> None:
    for name, size in (("tiny", (32, 32)), ("small", (128, 32)), ("large", (128, 128))):
        picture(tmp_path / f"{name}.png", size)
    subset = Subset(tmp_path, class_tokens="x")
    data = found(subset, skip_resolution=(64, 64), buckets=Buckets(no_upscale=True))
    assert [each.path.stem for each in data.pictures] == ["large"]
    assert data.warnings == ("skip_image_resolution 64 x 64 leaves out 2 pictures: small.png, tiny.png",)
    with pytest.raises(DataError, match="nothing to train on: skip_image_resolution 512 x 512 leaves out 3"):
        found(subset, skip_resolution=(512, 512), validation_split=0.5)


@pytest.mark.parametrize(
    ("repeats", "pictures", "expected"), [(1, 2, [3, 3]), (2, 2, [3, 3]), (1, 4, [2, 2, 1, 1]), (5, 2, [5, 5])]
)
def test_regularisation_is_repeated_until_there_is_as_much(
    tmp_path: Path, repeats: int, pictures: int, expected: list[int]
) -> None:
    picture(tmp_path / "train" / "a.png")
    for number in range(pictures):
        picture(tmp_path / "reg" / f"{number}.png")
    data = found(Subset(tmp_path / "reg", repeats, "cat", is_reg=True), Subset(tmp_path / "train", 6, "sks cat"))
    assert [each.repeats for each in data.pictures] == [6, *expected]


def test_more_regularisation_than_needed_is_left_out_and_said(tmp_path: Path) -> None:
    picture(tmp_path / "train" / "a.png")
    for number in range(5):
        picture(tmp_path / "reg" / f"{number}.png")
    reg = Subset(tmp_path / "reg", 1, "cat", is_reg=True)
    data = found(reg, Subset(tmp_path / "train", 2, "sks cat"))
    assert [each.path.stem for each in data.pictures] == ["a", "0", "1"]
    assert data.warnings == ("3 of 5 regularisation pictures are not used: 2 suffice",)
    with pytest.raises(DataError, match="none to train on"):
        found(reg)


def test_pictures_are_held_out_of_each_folder(tmp_path: Path) -> None:
    for number in range(8):
        picture(tmp_path / "train" / f"{number}.png")
        picture(tmp_path / "reg" / f"{number}.png")
    rules = CaptionRules(shuffle=True, prefix="by", dropout_rate=0.5)
    train = Subset(tmp_path / "train", 4, "x", captions=rules, augment=Augment(color=True))
    datasets = [Dataset((train, Subset(tmp_path / "reg", 1, "x", is_reg=True)), FIXED, validation_split=0.25)]
    data = find_pictures(datasets, 1)
    assert data.validation is not None
    held_out = [each.path for each in data.validation.pictures]
    assert len(held_out) == 2
    assert {path.parent.name for path in held_out} == {"train"}
    assert not {each.path for each in data.pictures} & set(held_out)
    assert sum(each.repeats for each in data.pictures) == 2 * 6 * 4
    one = data.validation.pictures[0]
    assert (one.repeats, one.subset.captions, one.subset.augment) == (1, CaptionRules(prefix="by"), Augment())
    again = find_pictures(datasets, 1).validation
    assert again == data.validation
    assert any(find_pictures(datasets, seed).validation != again for seed in range(2, 6))


@pytest.mark.parametrize("split", [0.1, 0.99])
def test_no_folder_is_held_out_whole(tmp_path: Path, split: float) -> None:
    picture(tmp_path / "a.png")
    data = found(Subset(tmp_path, class_tokens="x"), validation_split=split)
    assert len(data.pictures) == 1
    assert data.validation is None
    assert data.warnings == (f"validation_split {split} holds out no picture: the folders hold too few",)


def listing(tmp_path: Path, entries: object) -> Subset:
    file = tmp_path / "meta.json"
    file.write_text(json.dumps(entries))
    return Subset(tmp_path / "pictures", metadata_file=file)


def test_metadata_gives_captions_tags_and_sizes(tmp_path: Path) -> None:
    pictures = [str(picture(tmp_path / "pictures" / f"{name}.png")) for name in "abc"]
    entries = {
        "a": {"caption": "a cat", "tags": "x, y", "train_resolution": [128, 64]},
        "b.png": {"tags": "x\ny"},
        pictures[2]: {},
    }
    data = found(listing(tmp_path, entries))
    assert [each.text for each in data.pictures] == ["a cat,x, y", "x\ny", ""]
    assert [each.fit.bucket for each in data.pictures] == [(128, 64), FIXED, FIXED]
    assert "without caption, tags or class: c.png" in data.warnings[0]


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([], "expected an object"),
        ({"a": 1}, "expected an object"),
        ({"none": {}}, "no such picture below"),
        ({"../out.png": {}}, "lies outside"),
        ({"a": {"caption": 3}}, "caption is 3"),
        ({"a": {"train_resolution": [65, 64]}}, r"train_resolution is \[65, 64\]"),
        ({"t.gif": {}}, "not one of"),
        ({"a": {}, "a.png": {}}, "more than once"),
    ],
)
def test_metadata_that_cannot_be_used(tmp_path: Path, entries: object, message: str) -> None:
    picture(tmp_path / "pictures" / "a.png")
    picture(tmp_path / "out.png")
    (tmp_path / "pictures" / "t.gif").touch()
    with pytest.raises(DataError, match=message):
        found(listing(tmp_path, entries))


def test_metadata_that_is_no_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subset = listing(tmp_path, {})
    (tmp_path / "meta.json").write_text("{")
    with pytest.raises(DataError, match=r"meta\.json: not JSON"):
        found(subset)
    (tmp_path / "meta.json").unlink()
    with pytest.raises(DataError, match="cannot be read"):
        found(subset)
    monkeypatch.setattr("graphexec.train.data.metadata.MOST_BYTES", 1000)
    (tmp_path / "meta.json").symlink_to("/dev/zero")
    with pytest.raises(DataError, match="larger than"):
        found(subset)
