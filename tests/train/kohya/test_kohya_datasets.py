from __future__ import annotations

import json
from pathlib import Path

import pytest
from train.data.sets import captioned, picture
from train.kohya.settings import BASE, Desk

from graphexec.train.config import Augment, Buckets, Subset

PLAIN = BASE.replace('train_data_dir = "train"', "")
NAMED = PLAIN + '\ndataset_config = "data.toml"'
TOML = """
[general]
shuffle_caption = true
caption_extension = ".txt"
resolution = 256

[[datasets]]
batch_size = 2
enable_bucket = true
max_bucket_reso = 768
skip_image_resolution = 128

  [[datasets.subsets]]
  image_dir = "train/3_sks cat"
  num_repeats = 5
  class_tokens = "a cat"

  [[datasets.subsets]]
  image_dir = "reg"
  is_reg = true
  shuffle_caption = false
  flip_aug = true

[[datasets]]
resolution = [256, 320]

  [[datasets.subsets]]
  metadata_file = "meta.json"
"""


def write(text: str) -> None:
    Path("data.toml").write_text(text, encoding="utf-8")


def test_a_dataset_toml(desk: Desk) -> None:
    write(TOML)
    options = 'keep_tokens = 1\ntrain_batch_size = 3\nskip_image_resolution = "64,32"'
    first, second = desk.reading(options, NAMED).config.datasets
    cats, others = first.subsets
    assert (first.resolution, first.batch_size, first.buckets) == ((256, 256), 2, Buckets(max_size=768))
    assert (cats.repeats, cats.class_tokens, cats.captions.shuffle, cats.is_reg) == (5, "a cat", True, False)
    assert (others.is_reg, others.captions.shuffle, others.augment) == (True, False, Augment(flip=True))
    assert cats.captions.keep_tokens == 1  # options count where the file says nothing
    assert (second.resolution, second.batch_size, second.buckets) == ((256, 320), 3, None)
    assert second.subsets[0].metadata_file == Path("meta.json")
    assert (first.skip_resolution, second.skip_resolution) == ((128, 128), (64, 32))


def test_a_dataset_toml_may_begin_with_a_byte_order_mark(desk: Desk) -> None:
    write(TOML)
    plain = desk.reading("", NAMED).config
    write("\ufeff" + TOML)
    assert desk.reading("", NAMED).config == plain


def test_a_dataset_json(desk: Desk) -> None:
    named = NAMED.replace("data.toml", "data.json")
    subset = {"image_dir": "train/3_sks cat", "num_repeats": 5}
    Path("data.json").write_text(json.dumps({"datasets": [{"subsets": [subset]}]}), encoding="utf-8")
    assert desk.reading("", named).config.datasets[0].subsets[0].repeats == 5
    for text, code in (("{", "not_json"), ("[]", "wrong_value")):
        Path("data.json").write_text(text, encoding="utf-8")
        (fault,) = desk.errors("", named)
        assert (fault.source, fault.code) == ("data.json", code)


def test_repeats_that_a_subset_does_not_say(desk: Desk) -> None:
    write(TOML)
    first, second = desk.reading("dataset_repeats = 7", NAMED).config.datasets
    assert [subset.repeats for subset in (*first.subsets, *second.subsets)] == [5, 7, 7]


def unused(desk: Desk, text: str, base: str = BASE) -> set[tuple[str, str]]:
    """Where settings stand that contradict others."""
    return {(each.source, each.key) for each in desk.warnings(text, base) if each.code == "contradiction"}


def test_settings_of_buckets_where_there_are_none(desk: Desk) -> None:
    text = "min_bucket_reso = 64\nmax_bucket_reso = 512\nbucket_reso_steps = 64\nbucket_no_upscale = "
    keys = {("style.toml", key) for key in ("min_bucket_reso", "max_bucket_reso", "bucket_reso_steps")}
    assert unused(desk, text + "true") == {*keys, ("style.toml", "bucket_no_upscale")}
    assert unused(desk, text + "false") == keys
    assert unused(desk, text + "true\nenable_bucket = true") == set()


def noted(desk: Desk, text: str, base: str = BASE) -> set[tuple[str, str]]:
    """Where settings stand that are of no consequence."""
    return {(each.source, each.key) for each in desk.reading(text, base).faults if each.severity == "note"}


def test_limits_of_buckets_that_are_as_large_as_the_pictures(desk: Desk) -> None:
    text = "enable_bucket = true\nmin_bucket_reso = 64\nmax_bucket_reso = 512\nbucket_reso_steps = 64\n"
    limits = {("style.toml", "min_bucket_reso"), ("style.toml", "max_bucket_reso")}
    assert noted(desk, text + "bucket_no_upscale = true") == limits
    assert noted(desk, text + "bucket_no_upscale = false") == set()
    write(TOML.replace("enable_bucket = true", "enable_bucket = true\nbucket_no_upscale = true"))
    assert noted(desk, "", NAMED) == {("data.toml", "datasets[0].max_bucket_reso")}


def test_settings_of_buckets_in_a_dataset_toml(desk: Desk) -> None:
    write(TOML.replace("resolution = [256, 320]", "resolution = 256\nmin_bucket_reso = 64"))
    assert unused(desk, "bucket_reso_steps = 64", NAMED) == {("data.toml", "datasets[1].min_bucket_reso")}
    write(TOML.replace("enable_bucket = true", "").replace("[general]", "[general]\nmin_bucket_reso = 64"))
    assert unused(desk, "bucket_reso_steps = 64", NAMED) == {
        ("data.toml", "general.min_bucket_reso"),
        ("data.toml", "datasets[0].max_bucket_reso"),
        ("style.toml", "bucket_reso_steps"),
    }


def test_folders_and_numbers_that_are_not_used(desk: Desk) -> None:
    assert unused(desk, "dataset_repeats = 3") == {("style.toml", "dataset_repeats")}
    picture(Path("reg/1_cat/0.png"))
    text = 'in_json = "meta.json"\ndataset_repeats = 3\nreg_data_dir = "reg"'
    assert unused(desk, text) == {("style.toml", "reg_data_dir")}


@pytest.mark.parametrize(
    ("text", "code", "key"),
    [
        (TOML + "[other]", "unknown_key", "other"),
        (TOML.replace("num_repeats", "num_repeat"), "unknown_key", "datasets[0].subsets[0].num_repeat"),
        (
            TOML.replace("is_reg = true", "custom_attributes = {a = 1}"),
            "refused_key",
            "datasets[0].subsets[1].custom_attributes",
        ),
        (TOML.replace("is_reg = true", "batch_size = 2"), "misplaced_key", "datasets[0].subsets[1].batch_size"),
        (TOML.replace("batch_size = 2", "image_dir = 'x'"), "misplaced_key", "datasets[0].image_dir"),
        (TOML.replace('metadata_file = "meta.json"', ""), "missing_key", "datasets[1].subsets[0].image_dir"),
        (TOML.replace("[256, 320]", '"wide"'), "wrong_value", "datasets[1].resolution"),
        ("[general]", "missing_key", "datasets"),
        ("[[datasets]]", "missing_key", "datasets[0].subsets"),
        ("datasets = 1", "wrong_value", "datasets"),
        ("general = 1", "wrong_value", "general"),
        ("x = ", "not_toml", ""),
    ],
)
def test_what_is_wrong_with_a_dataset_toml(desk: Desk, text: str, code: str, key: str) -> None:
    write(text)
    found = {(fault.code, fault.key) for fault in desk.errors("", NAMED) if fault.source == "data.toml"}
    assert (code, key) in found


def test_one_place_for_folders(desk: Desk) -> None:
    write(TOML)
    (fault,) = desk.errors("", NAMED + '\ntrain_data_dir = "train"')
    assert (fault.code, fault.key) == ("contradiction", "train_data_dir")
    (fault,) = desk.errors("", PLAIN + '\ndataset_config = "nowhere.toml"')
    assert fault.missing_file


def subsets(desk: Desk, folder: Path, more: str = "") -> tuple[Subset, ...]:
    return desk.reading(more, PLAIN + f'\ntrain_data_dir = "{folder}"').config.datasets[0].subsets


def test_regularisation(desk: Desk, tmp_path: Path) -> None:
    picture(tmp_path / "1_cat" / "a.png")
    _, regular = subsets(desk, Path("train"), f'reg_data_dir = "{tmp_path}"')
    assert (regular.is_reg, regular.repeats, regular.class_tokens) == (True, 1, "cat")


def test_a_plain_folder_is_used_with_a_warning(desk: Desk, tmp_path: Path) -> None:
    captioned(tmp_path / "a.png", "a cat")
    reading = desk.reading("dataset_repeats = 4", PLAIN + f'\ntrain_data_dir = "{tmp_path}"')
    (subset,) = reading.config.datasets[0].subsets
    assert (subset.image_dir, subset.repeats, subset.captions.extension) == (tmp_path, 4, ".txt")
    assert [fault.code for fault in reading.faults] == ["data"]


def test_folders_of_images_and_of_captions(desk: Desk, tmp_path: Path) -> None:
    picture(tmp_path / "images" / "a.png")
    (tmp_path / "captions").mkdir()
    (subset,) = subsets(desk, tmp_path)
    assert (subset.image_dir, subset.caption_dir) == (tmp_path / "images", tmp_path / "captions")


@pytest.mark.parametrize("name", ["empty", "train/3_sks cat"])
def test_folders_without_data(desk: Desk, name: str) -> None:
    Path("empty").mkdir(exist_ok=True)
    (fault,) = desk.errors("", PLAIN + f'\ntrain_data_dir = "{name}"')
    assert (fault.code, fault.key) == ("data", "train_data_dir")


def test_places_of_a_dataset_toml_that_are_not_there(desk: Desk) -> None:
    write(TOML.replace("meta.json", "nothing.json").replace('"reg"', '"nowhere"'))
    found = {(fault.source, fault.key, fault.missing_file) for fault in desk.errors("", NAMED)}
    assert found == {
        ("data.toml", "datasets[0].subsets[1].image_dir", True),
        ("data.toml", "datasets[1].subsets[0].metadata_file", True),
    }


def test_captions_are_found_by_the_extension_that_is_there(desk: Desk, tmp_path: Path) -> None:
    picture(tmp_path / "1_a" / "a.png")
    (tmp_path / "1_a" / "a.caption").write_text("a cat", encoding="utf-8")
    assert subsets(desk, tmp_path)[0].captions.extension == ".caption"
    assert subsets(desk, tmp_path, 'caption_extension = "txt"')[0].captions.extension == ".txt"


def test_metadata(desk: Desk) -> None:
    (subset,) = desk.reading("dataset_repeats = 2", PLAIN + '\nin_json = "meta.json"').config.datasets[0].subsets
    assert (subset.metadata_file, subset.image_dir, subset.repeats) == (Path("meta.json"), None, 2)
