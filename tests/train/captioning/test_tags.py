"""Which tags a picture gets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphexec.errors import ModelFileError
from graphexec.train.captioning.errors import CaptionError
from graphexec.train.captioning.tags import Tag, TagRules, Tags, parse_replacements, read_tags

TAGS = (
    Tag("safe", "rating"),
    Tag("bold", "rating"),
    Tag("1girl", "general"),
    Tag("long_hair", "general"),
    Tag("(o)_(o)", "general"),
    Tag("reimu_(red)_(touhou)", "character"),
    Tag("saber", "character"),
)
SURE = (0.2, 0.7, 0.9, 0.5, 0.4, 0.6, 0.8)


def chosen(rules: TagRules) -> str:
    return "|".join(Tags(TAGS, rules).chosen(SURE))


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (TagRules(), "1girl|long_hair|(o)_(o)|reimu_(red)_(touhou)|saber"),
        (TagRules(general_threshold=0.5, character_threshold=0.7), "1girl|long_hair|saber"),
        (TagRules(character_first=True, general_threshold=0.6), "reimu_(red)_(touhou)|saber|1girl"),
        (TagRules(rating="first", general_threshold=2, character_threshold=0.7), "bold|saber"),
        (TagRules(rating="last", general_threshold=2, character_threshold=0.7), "saber|bold"),
        (TagRules(remove_underscore=True, character_threshold=2), "1girl|long hair|(o)_(o)"),
        (TagRules(undesired=("long hair", "1girl"), character_threshold=2), "(o)_(o)"),
        (TagRules(undesired=("bold",), rating="first", general_threshold=2, character_threshold=2), ""),
        (TagRules(always_first=("saber", "long hair", "nobody")), "saber|long_hair|1girl|(o)_(o)|reimu_(red)_(touhou)"),
        (TagRules(expand_character=True, general_threshold=2), "reimu_(red)|touhou|saber"),
        (
            TagRules(expand_character=True, remove_underscore=True, undesired=("touhou",), general_threshold=2),
            "reimu (red)|saber",
        ),
        (TagRules(replacements={"long hair": "mane", "saber": "she"}, general_threshold=0.5), "1girl|mane|"
         "reimu_(red)_(touhou)|she"),
        (TagRules(replacements={"long_hair": "1girl"}, character_threshold=2), "1girl|(o)_(o)"),
    ],
)  # fmt: skip
def test_rules_choose_and_order_tags(rules: TagRules, expected: str) -> None:
    assert chosen(rules) == expected


@given(st.lists(st.floats(0, 1), min_size=len(TAGS), max_size=len(TAGS)), st.floats(0, 1), st.booleans())
def test_the_order_of_kinds_changes_no_tag(sure: list[float], threshold: float, expand: bool) -> None:
    rules = TagRules(general_threshold=threshold, character_threshold=threshold, expand_character=expand)
    plain = Tags(TAGS, rules).chosen(sure)
    turned = Tags(TAGS, replace(rules, character_first=True)).chosen(sure)
    assert sorted(plain) == sorted(turned)
    assert len(set(plain)) == len(plain)


def test_names_that_the_model_does_not_know_are_told() -> None:
    rules = TagRules(undesired=("long hare", "touhou"), always_first=("saber",), replacements={"xyz": "x"})
    assert list(Tags(TAGS, rules).unknown()) == [
        "the model has no tag 'long hare'; did you mean 'long hair'?",
        "the model has no tag 'touhou'",
        "the model has no tag 'xyz'",
    ]
    assert not list(Tags(TAGS, TagRules(undesired=("touhou",), expand_character=True)).unknown())


def test_replacements_are_read_as_kohya_writes_them() -> None:
    assert parse_replacements(r"a,b; c\,d,e\;f ;") == {"a": "b", "c,d": "e;f"}
    for wrong in ("a", "a,b,c", ",b"):
        with pytest.raises(CaptionError, match=r"write it as `old,new`"):
            parse_replacements(wrong)


def test_a_table_gives_names_and_kinds(tmp_path: Path) -> None:
    file = tmp_path / "selected_tags.csv"
    file.write_text('tag_id,name,category,count\n1,general,9,0\n2,"a,b",0,3\n3,saber,4,2\n4,monet,1,1\n', "utf-8")
    assert read_tags(file) == [
        Tag("general", "rating"), Tag("a,b", "general"), Tag("saber", "character"), Tag("monet", "general")
    ]  # fmt: skip
    for wrong in (b"id,tag\n1,x\n", b"name,category\n\xff\xfe,0\n"):
        file.write_bytes(wrong)
        with pytest.raises(ModelFileError, match="no table of tags"):
            read_tags(file)
    file.write_bytes(b"tag_id,name,category\n1,x,0\n2")
    with pytest.raises(ModelFileError, match="cut off in the middle of a line"):
        read_tags(file)
