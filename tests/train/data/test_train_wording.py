from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphexec.train.config import CaptionRules
from graphexec.train.data.wording import Moment, caption, what_varies

TAGS = "a, b, c, d, e, f"


def made(text: str, rules: CaptionRules, moment: Moment | None = None, seed: int = 0) -> str:
    return caption(text, rules, moment or Moment(), Random(seed))


def every(text: str, rules: CaptionRules, moment: Moment | None = None) -> set[str]:
    return {made(text, rules, moment, seed) for seed in range(60)}


def test_the_first_line_is_taken_as_it_is() -> None:
    assert made("one,two , three,\nfour", CaptionRules()) == "one,two , three,"
    assert made("", CaptionRules()) == ""


def test_prefix_and_suffix_stand_round_the_line_that_is_taken() -> None:
    rules = CaptionRules(prefix="by sks", suffix="best", wildcards=True)
    assert every("a cat\n\na dog", rules) == {"by sks a cat best", "by sks a dog best"}


def test_wildcards_choose_and_doubled_braces_are_braces() -> None:
    rules = CaptionRules(wildcards=True)
    assert every("a {red|blue} {{x}} car", rules) == {"a red {x} car", "a blue {x} car"}
    assert every("{a|b}}", rules) == {"{a|b}"}
    assert every("{a{{|b}", rules) == {"a{", "b"}
    assert made("a {red|blue} car", CaptionRules()) == "a {red|blue} car"


def test_tags_in_front_stay() -> None:
    found = every(TAGS, CaptionRules(shuffle=True, keep_tokens=2))
    assert len(found) > 10
    assert all(text.startswith("a, b, ") and sorted(text.split(", ")) == list("abcdef") for text in found)


def test_what_stands_before_and_after_the_separators_stays() -> None:
    rules = CaptionRules(shuffle=True, keep_tokens=9, keep_tokens_separator="|||")
    assert every("a, b ||| c, d ||| e, f", rules) == {"a, b, c, d, e, f", "a, b, d, c, e, f"}
    assert every("a ||| c, d", rules) == {"a, c, d", "a, d, c"}


def test_the_separator_never_stays_in_a_caption() -> None:
    assert made("a, b ||| c ||| d", CaptionRules(keep_tokens_separator="|||")) == "a, b, c, d"


def test_another_separator_keeps_groups_together_while_they_are_shuffled() -> None:
    rules = CaptionRules(shuffle=True, secondary_separator=";;;")
    assert every("a;;;b, c", rules) == {"a,b, c", "c, a,b"}


def test_captions_are_dropped_whole_by_chance() -> None:
    found = [made(TAGS, CaptionRules(dropout_rate=0.25), seed=seed) for seed in range(400)]
    assert set(found) == {TAGS, ""}
    assert 0.17 < found.count("") / 400 < 0.33


def test_captions_are_dropped_in_every_third_epoch() -> None:
    rules = CaptionRules(dropout_every_n_epochs=3)
    assert [made(TAGS, rules, Moment(epoch=epoch)) for epoch in range(6)] == [TAGS, TAGS, "", TAGS, TAGS, ""]


def test_tags_are_dropped_but_not_those_that_stay() -> None:
    found = every(TAGS, CaptionRules(tag_dropout_rate=0.5, keep_tokens=1))
    assert all(text.startswith("a") for text in found)
    assert min(len(text) for text in found) < len(TAGS) / 2
    assert made(TAGS, CaptionRules(tag_dropout_rate=1.0, keep_tokens=1)) == "a"


@pytest.mark.parametrize(
    ("warmup", "step", "tags"), [(10, 0, 1), (10, 5, 3), (10, 9, 5), (10, 10, 6), (0.1, 5, 3), (0.1, 99, 6)]
)
def test_tags_come_one_after_another_while_warming_up(warmup: float, step: int, tags: int) -> None:
    rules = CaptionRules(token_warmup_step=warmup)
    assert made(TAGS, rules, Moment(step=step, steps=100)) == ", ".join("abcdef"[:tags])


@given(st.lists(st.sampled_from(["cat", "dog", "sks", "{x"]), max_size=6), st.integers(0, 3), st.integers())
def test_shuffling_keeps_every_tag_and_the_same_seed_gives_the_same_order(
    tags: list[str], keep: int, seed: int
) -> None:
    rules = CaptionRules(shuffle=True, keep_tokens=keep)
    text = made(", ".join(tags), rules, seed=seed)
    assert sorted(filter(None, text.split(", "))) == sorted(tags)
    assert text == made(", ".join(tags), rules, seed=seed)


@pytest.mark.parametrize(
    ("name", "rules"),
    [
        ("shuffle_caption", CaptionRules(shuffle=True)),
        ("caption_dropout_rate", CaptionRules(dropout_rate=0.1)),
        ("caption_dropout_every_n_epochs", CaptionRules(dropout_every_n_epochs=2)),
        ("caption_tag_dropout_rate", CaptionRules(tag_dropout_rate=0.1)),
        ("token_warmup_step", CaptionRules(token_warmup_step=5)),
        ("enable_wildcard", CaptionRules(wildcards=True)),
    ],
)
def test_what_varies_is_named(name: str, rules: CaptionRules) -> None:
    assert what_varies(rules) == [name]
    assert what_varies(CaptionRules(prefix="x", keep_tokens=3)) == []
