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
    assert facts["ss_resolution"] == "(64, 64)"
    assert (facts["ss_enable_bucket"], facts["ss_max_bucket_reso"]) == ("True", "128")
    assert (facts["ss_shuffle_caption"], facts["ss_flip_aug"], facts["ss_color_aug"]) == ("True", "True", "False")
    assert str(tmp_path) not in "".join(facts.values())


def test_several_datasets_stand_in_a_list(tmp_path: Path) -> None:
    datasets: list[Dataset] = []
    for side in (64, 128):
        picture(tmp_path / str(side) / "a.png")
        datasets.append(Dataset((Subset(tmp_path / str(side), class_tokens="x"),), (side, side), validation_split=0.1))
    facts = data_metadata(find_pictures(datasets))
    assert [each["resolution"] for each in json.loads(facts["ss_datasets"])] == ["(64, 64)", "(128, 128)"]
    assert "ss_resolution" not in facts
    assert "ss_bucket_info" not in facts
