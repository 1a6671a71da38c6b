from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphexec.train.config import Dataset, LoopConfig, ModelSource, Samples, Saving, TrainConfig
from graphexec.train.faults import TrainingError
from graphexec.train.prompts import SAMPLERS, Prompt, parse_prompt, read_prompts

LIKE = Prompt("", width=640, height=384, seed=5)


def parsed(line: str) -> Prompt:
    return parse_prompt(line, LIKE, "here")


def test_a_line_with_everything() -> None:
    line = "a cat, on a mat --n blurry, bad --w 515 --h 768 --d 7 --s 20 --l 6.5 --ss k_euler_a"
    assert parsed(line) == Prompt("a cat, on a mat", "blurry, bad", 512, 768, 7, 20, 6.5, "euler_a")


def test_options_may_be_capitals() -> None:
    assert parsed("A Cat --N Blurry --W 512 --SS euler") == parsed("A Cat --n Blurry --w 512 --ss euler")


def test_what_a_line_does_not_say() -> None:
    assert parsed("a cat") == Prompt("a cat", width=640, height=384, seed=5)
    assert parsed("a cat --n").negative == ""
    assert parsed("a cat --n --w 512") == Prompt("a cat", width=512, height=384, seed=5)


@given(
    st.text(st.characters(categories=("L", "N")), min_size=1), st.integers(64, 4096), st.sampled_from(sorted(SAMPLERS))
)
def test_options_stand_in_any_order(text: str, width: int, sampler: str) -> None:
    assert parsed(f"{text} --w {width} --ss {sampler}") == parsed(f"{text} --ss {sampler} --w {width}")
    assert parsed(f"{text} --w {width}").width == width // 8 * 8


@pytest.mark.parametrize("line", ["a --x 3", "a --w wide", "a --ss pndm", "a --s 0", "a --g 3.5"])
def test_lines_that_say_nothing_sensible(line: str) -> None:
    with pytest.raises(TrainingError, match="here: "):
        parsed(line)


def config(prompts: Path) -> TrainConfig:
    return TrainConfig(
        ModelSource(Path("base.safetensors")),
        (Dataset((), (256, 320)),),
        Saving(Path("out")),
        loop=LoopConfig(seed=3),
        samples=Samples(prompts=prompts, sampler="euler"),
    )


def test_a_file_of_prompts(tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_text("# cats\na cat\n\na dog --d 9\n", encoding="utf-8")
    assert read_prompts(path, config(path)) == [
        Prompt("a cat", width=256, height=320, seed=3, sampler="euler"),
        Prompt("a dog", width=256, height=320, seed=9, sampler="euler"),
    ]


TOML = """
[prompt]
negative_prompt = "blurry"
scale = 6
[[prompt.subset]]
prompt = "a cat"
[[prompt.subset]]
prompt = "a dog"
width = 130
sample_sampler = "euler_a"
"""
JSON = """[{"prompt": "a cat", "negative_prompt": "blurry", "scale": 6},
{"prompt": "a dog", "negative_prompt": "blurry", "scale": 6.0, "width": 130, "sample_sampler": "euler_a"}]"""


@pytest.mark.parametrize(("name", "text"), [("p.toml", TOML), ("p.json", JSON)])
def test_prompts_in_tables(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    assert read_prompts(path, config(path)) == [
        Prompt("a cat", "blurry", 256, 320, seed=3, cfg=6.0, sampler="euler"),
        Prompt("a dog", "blurry", 128, 320, seed=3, cfg=6.0, sampler="euler_a"),
    ]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("p.json", "[", "no JSON"),
        ("p.toml", "prompt = 3", r"\[\[prompt.subset\]\]"),
        ("p.toml", "a cat", "no TOML"),
        ("p.json", '{"prompt": {"subset": 3}}', "list"),
        ("p.json", "3", "list"),
        ("p.json", '["a cat"]', "prompt 1: expected a table"),
        ("p.json", '[{"prompt": "a cat", "step": 3}]', "prompt 1: there is no option 'step'"),
        ("p.json", '[{"prompt": "a cat", "seed": "x"}]', "prompt 1: "),
    ],
)
def test_tables_that_hold_no_prompts(tmp_path: Path, name: str, text: str, said: str) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    with pytest.raises(TrainingError, match=said):
        read_prompts(path, config(path))


def test_files_without_prompts(tmp_path: Path) -> None:
    for name, text in (("a.txt", "# nothing"), ("b.toml", "[prompt]")):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        with pytest.raises(TrainingError):
            read_prompts(path, config(path))
    for path in (tmp_path / "c.txt", Path("/dev/zero")):
        with pytest.raises(TrainingError, match="cannot be read"):
            read_prompts(path, config(tmp_path))
