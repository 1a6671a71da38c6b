from __future__ import annotations

import json
from pathlib import Path

from train.data.sets import captioned, picture

from graphexec.train.config import Augment, Buckets, CaptionRules, Dataset, Subset
from graphexec.train.data.facts import data_metadata
from graphexec.train.data.find import find_pictures


def test_what_a_file_says_of_one_dataset(tmp_path: Path) -> None:
    captioned(tmp_path / "10_sks" / "a.png", "Cat, sitting", (96, 32))
    captioned(tmp_path / "10_sks" / "b.png", "cat,\nbig", (64, 64))
    picture(tmp_path / "1_cat" / "r.png", (64, 64))
    subsets = (
        Subset(tmp_path / "10_sks", 10, captions=CaptionRules(shuffle=True), augment=Augment(flip=True)),
        Subset(tmp_path / "1_cat", 1, "a cat", is_reg=True),
    )
    facts = data_metadata(find_pictures([Dataset(subsets, (64, 64), 4, Buckets(32, 128, 32))]))
    assert facts["ss_num_train_images"] == "20"
    assert facts["ss_num_reg_images"] == "20"
    assert facts["ss_num_validation_images"] == "0"
    assert facts["ss_num_batches_per_epoch"] == str(3 + 8)
    assert json.loads(facts["ss_dataset_dirs"]) == {"10_sks": {"n_repeats": 10, "img_count": 2}}
    assert json.loads(facts["ss_reg_dataset_dirs"]) == {"1_cat": {"n_repeats": 1, "img_count": 1}}
    assert json.loads(facts["ss_tag_frequency"]) == {
        "10_sks": {"cat": 2, "sitting": 1}, "1_cat": {"a cat": 1},
    }  # fmt: skip
    lines = Subset(tmp_path / "10_sks", captions=CaptionRules(wildcards=True))
    facts_of_lines = data_metadata(find_pictures([Dataset((lines,), (64, 64))]))
    assert json.loads(facts_of_lines["ss_tag_frequency"]) == {"10_sks": {"cat": 2, "sitting": 1, "big": 1}}
    buckets = json.loads(facts["ss_bucket_info"])
    assert buckets["buckets"]["0"] == {"resolution": [64, 64], "count": 30}
    assert buckets["buckets"]["1"]["count"] == 10
    assert (facts["ss_resolution"], facts["ss_skip_image_resolution"]) == ("(64, 64)", "None")
    assert (facts["ss_enable_bucket"], facts["ss_max_bucket_reso"]) == ("True", "128")
    assert (facts["ss_shuffle_caption"], facts["ss_flip_aug"], facts["ss_color_aug"]) == ("True", "True", "False")
    assert str(tmp_path) not in "".join(facts.values())


def test_several_datasets_stand_in_a_list(tmp_path: Path) -> None:
    datasets: list[Dataset] = []
    for side in (64, 128):
        picture(tmp_path / str(side) / "a.png")
        datasets.append(Dataset((Subset(tmp_path / str(side), class_tokens="x"),), (side, side), validation_split=0.1))
    facts = data_metadata(find_pictures(datasets))
    assert [each["resolution"] for each in json.loads(facts["ss_datasets"])] == [[64, 64], [128, 128]]
    assert "ss_resolution" not in facts
    assert "ss_bucket_info" not in facts


def test_a_folder_in_two_datasets_has_its_tags_counted_once(tmp_path: Path) -> None:
    captioned(tmp_path / "sks" / "a.png", "cat, sitting")
    captioned(tmp_path / "other" / "sks" / "b.png", "cat")
    datasets = [
        Dataset((Subset(tmp_path / "sks", 10), Subset(tmp_path / "other" / "sks", 3)), (64, 64)),
        Dataset((Subset(tmp_path / "sks", 2),), (128, 128)),
    ]
    facts = data_metadata(find_pictures(datasets))
    assert json.loads(facts["ss_tag_frequency"]) == {"sks": {"cat": 2, "sitting": 1}}
    assert json.loads(facts["ss_dataset_dirs"]) == {
        "sks": {"n_repeats": 10, "img_count": 1},
        "sks (2)": {"n_repeats": 3, "img_count": 1},
        "sks (3)": {"n_repeats": 2, "img_count": 1},
    }


def test_each_of_several_datasets_tells_of_its_folders(tmp_path: Path) -> None:
    for name in ("sks", "cat", "more"):
        captioned(tmp_path / name / "a.png", f"{name}, sitting", (96, 32))
    rules = CaptionRules(keep_tokens=1, wildcards=True, prefix="photo of", secondary_separator=";")
    sks = Subset(tmp_path / "sks", 10, captions=rules, augment=Augment(flip=True))
    cat = Subset(tmp_path / "cat", 2, "cat", is_reg=True)
    datasets = [
        Dataset((sks, cat), (64, 64), 4, Buckets(32, 128, 32), skip_resolution=(16, 8)),
        Dataset((Subset(tmp_path / "more"),), (128, 64)),
    ]
    facts = data_metadata(find_pictures(datasets))
    first, second = json.loads(facts["ss_datasets"])
    assert (first["is_dreambooth"], first["num_train_images"], first["num_reg_images"]) == (True, 10, 10)
    assert (first["skip_image_resolution"], second["skip_image_resolution"]) == ([16, 8], None)
    assert first["bucket_info"]["buckets"]["0"]["count"] == 20
    assert [each["tag_frequency"] for each in (first, second)] == [
        {"sks": {"sks": 1, "sitting": 1}, "cat": {"cat": 1, "sitting": 1}},
        {"more": {"more": 1, "sitting": 1}},
    ]
    of_sks, of_cat = first["subsets"]
    assert (of_sks["img_count"], of_sks["num_repeats"], of_sks["image_dir"]) == (1, 10, "sks")
    assert (of_sks["flip_aug"], of_sks["keep_tokens"], of_sks["enable_wildcard"]) == (True, 1, True)
    assert (of_sks["caption_prefix"], of_sks["secondary_separator"]) == ("photo of", ";")
    assert (of_cat["class_tokens"], of_cat["is_reg"], of_cat["num_repeats"]) == ("cat", True, 2)
    assert (second["num_train_images"], second["enable_bucket"], len(second["subsets"])) == (1, False, 1)
    assert str(tmp_path) not in "".join(facts.values())
