"""Values out of a workflow: what ComfyUI converts is converted, what is lost is said, what is wrong is named."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphexec.graph.values import check_value, did_you_mean, not_in_list, show
from graphexec.node.fields import Widget
from graphexec.node.spec import InputSpec


def an(wire: str, **options: Any) -> InputSpec:
    return InputSpec("x", wire, widget=True, **options)


def codes(spec: InputSpec, value: Any, **options: Any) -> list[str]:
    return [problem.code for problem in check_value(spec, value, **options).problems]


HUGE = 10**400

KEPT: list[tuple[str, Any, Any]] = [
    ("INT", 5, 5),
    ("INT", -3, -3),
    ("INT", 4.0, 4),
    ("INT", 1e20, 10**20),
    ("INT", HUGE, HUGE),
    ("FLOAT", 1.5, 1.5),
    ("FLOAT", 3, 3.0),
    ("FLOAT", -0.0, -0.0),
    ("FLOAT", 2**53, 2.0**53),
    ("FLOAT", 2**70, 2.0**70),
    ("STRING", "", ""),
    ("STRING", "false", "false"),
    ("BOOLEAN", True, True),
    ("BOOLEAN", False, False),
    ("INT,FLOAT", 3, 3),
    ("INT,FLOAT", 3.9, 3.9),
    ("INT,STRING", "5", "5"),
    ("STRING,INT", 5, 5),
    ("INT, BOOLEAN", True, True),
    ("APPLE,FLOAT", 2, 2.0),
    ("*", None, None),
    ("*", {"a": [1]}, {"a": [1]}),
]


@pytest.mark.parametrize(("wire", "value", "result"), KEPT)
def test_what_is_taken_without_a_word(wire: str, value: Any, result: Any) -> None:
    checked = check_value(an(wire), value)
    assert (checked.value, type(checked.value)) == (result, type(result))
    assert (checked.problems, checked.valid) == ((), True)


LOSSY: list[tuple[str, Any, Any]] = [
    ("INT", 3.9, 3),
    ("INT", -3.9, -3),
    ("INT", "5", 5),
    ("INT", " -5 ", -5),
    ("INT", True, 1),
    ("FLOAT", "0.5", 0.5),
    ("FLOAT", "1e3", 1000.0),
    ("FLOAT", False, 0.0),
    ("FLOAT", 2**53 + 1, 2.0**53),
    ("STRING", 5, "5"),
    ("STRING", 1.0, "1.0"),
    ("STRING", True, "True"),
    ("BOOLEAN", 0, False),
    ("BOOLEAN", 2.5, True),
    ("BOOLEAN", "true", True),
    ("BOOLEAN", "false", False),
    ("BOOLEAN", " FALSE ", False),
    ("BOOLEAN", "no", False),
    ("BOOLEAN", "0", False),
    ("BOOLEAN", "1", True),
    ("BOOLEAN", "yes", True),
    ("INT,APPLE", 3.5, 3),
    ("INT,FLOAT", "2.5", 2.5),
]


@pytest.mark.parametrize(("wire", "value", "result"), LOSSY)
def test_what_is_converted_with_a_warning(wire: str, value: Any, result: Any) -> None:
    checked = check_value(an(wire), value)
    assert (checked.value, type(checked.value)) == (result, type(result))
    assert ([problem.code for problem in checked.problems], checked.valid) == (["lossy_conversion"], True)


REFUSED: list[tuple[str, Any]] = [
    ("INT", "5.5"),
    ("INT", "five"),
    ("INT", ""),
    ("INT", "9" * 5000),
    ("INT", None),
    ("INT", math.nan),
    ("INT", math.inf),
    ("INT", {}),
    ("INT", [1]),
    ("FLOAT", "x"),
    ("FLOAT", "nan"),
    ("FLOAT", "-inf"),
    ("FLOAT", math.nan),
    ("FLOAT", -math.inf),
    ("FLOAT", HUGE),
    ("FLOAT", None),
    ("STRING", None),
    ("STRING", {}),
    ("STRING", ["a"]),
    ("BOOLEAN", None),
    ("BOOLEAN", "maybe"),
    ("BOOLEAN", ""),
    ("BOOLEAN", []),
    ("APPLE", 5),
    ("APPLE", None),
    ("APPLE,PEAR", "x"),
    ("INT,FLOAT", "x"),
]


@pytest.mark.parametrize(("wire", "value"), REFUSED)
def test_what_is_refused(wire: str, value: Any) -> None:
    checked = check_value(an(wire), value)
    (problem,) = checked.problems
    assert (problem.code, checked.valid) == ("invalid_input_type", False)
    assert problem.message.startswith(f"Failed to convert an input value to a {wire} value: ")
    assert problem.hint
    assert len(problem.message) < 160


def test_a_socket_asks_for_a_link() -> None:
    assert check_value(an("APPLE"), 5).problems[0].hint == "link it to an output of type APPLE"


class TestRange:
    SPEC = an("INT", minimum=1, maximum=8)

    @pytest.mark.parametrize(
        ("value", "found"),
        [
            (1, []),
            (8, []),
            (0, ["value_smaller_than_min"]),
            (9, ["value_bigger_than_max"]),
            (HUGE, ["value_bigger_than_max"]),
            (8.9, ["lossy_conversion"]),
            ("12", ["lossy_conversion", "value_bigger_than_max"]),
            (True, ["lossy_conversion"]),
        ],
    )
    def test_the_converted_value_is_what_counts(self, value: Any, found: list[str]) -> None:
        assert codes(self.SPEC, value) == found

    def test_the_words_are_comfyuis(self) -> None:
        (low,) = check_value(self.SPEC, 0).problems
        assert (low.message, low.hint) == ("Value 0 smaller than min of 1", "use at least 1")
        (high,) = check_value(self.SPEC, 9).problems
        assert (high.message, high.hint) == ("Value 9 bigger than max of 8", "use at most 8")

    def test_seeds_are_exact_to_the_last_digit(self) -> None:
        seed = an("INT", minimum=0, maximum=2**64 - 1)
        assert codes(seed, 2**64 - 1) == []
        assert codes(seed, 2**64) == ["value_bigger_than_max"]

    def test_texts_have_no_range(self) -> None:
        assert codes(an("STRING", minimum=1), "") == []

    def test_the_nodes_own_check_takes_over_the_range_but_not_the_type(self) -> None:
        assert check_value(self.SPEC, 9, bounds=False).valid
        assert check_value(self.SPEC, "9", bounds=False).value == 9
        assert codes(self.SPEC, "x", bounds=False) == ["invalid_input_type"]

    def test_steps_are_the_editors_business(self) -> None:
        spec = an("FLOAT", look=Widget(step=0.5, round=0.1))
        checked = check_value(spec, 0.333)
        assert (checked.value, checked.problems) == (0.333, ())

    @given(st.integers() | st.floats(allow_nan=False, allow_infinity=False), st.integers(-9, 9), st.integers(-9, 9))
    def test_a_number_stands_iff_it_lies_in_the_range(self, value: float, low: int, high: int) -> None:
        spec = an("FLOAT", minimum=low, maximum=max(low, high))
        assert check_value(spec, value).valid == (low <= value <= max(low, high))


class TestChoices:
    SPEC = an("COMBO", choices=("euler", "Heun", 1, False))

    @pytest.mark.parametrize(("value", "result"), [("euler", "euler"), (1, 1), (1.0, 1), (False, False)])
    def test_members(self, value: Any, result: Any) -> None:
        checked = check_value(self.SPEC, value)
        assert (checked.value, type(checked.value), checked.problems) == (result, type(result), ())

    @pytest.mark.parametrize("value", ["Euler", "euler ", "1", True, 0, None, [], {}, math.nan])
    def test_others(self, value: Any) -> None:
        assert codes(self.SPEC, value) == ["value_not_in_list"]

    def test_the_nodes_own_check_takes_over(self) -> None:
        assert check_value(self.SPEC, "lms", bounds=False).problems == ()

    def test_the_words_are_comfyuis(self) -> None:
        (problem,) = check_value(self.SPEC, "heun").problems
        assert problem.message == "Value not in list: 'heun' not in ['euler', 'Heun', 1, False]"
        assert problem.hint == "did you mean `Heun`?"

    def test_long_lists_are_counted(self) -> None:
        names = [str(number) for number in range(21)]
        message, hint = not_in_list("x", names), did_you_mean("x", names)
        assert (message, hint) == ("Value not in list: 'x' not in (list of length 21)", None)


class TestWords:
    def test_the_nearest_names(self) -> None:
        assert did_you_mean("model.safetensor", ["Model.safetensors", "vae.pt"]) == "did you mean `Model.safetensors`?"
        assert did_you_mean("abc", ["abc12", "abc1"]) == "did you mean `abc1` or `abc12`?"
        assert did_you_mean("x", ["unlike"]) is None

    def test_long_values_are_cut(self) -> None:
        assert show("short") == "'short'"
        assert show("x" * 500) == "'" + "x" * 78 + "…"


@given(st.sampled_from(["INT", "FLOAT", "STRING", "BOOLEAN"]), st.booleans() | st.integers() | st.floats() | st.text())
def test_what_came_out_goes_in_again_unchanged(wire: str, value: Any) -> None:
    checked = check_value(an(wire), value)
    if checked.valid:
        again = check_value(an(wire), checked.value)
        assert (again.value, again.problems) == (checked.value, ())
