"""ComfyUI's execution model, rule by rule: where graphexec does the same, and where it is better on purpose."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from graph import comfy_fakes
from graph.comfy_fakes import Latent
from running import NOWHERE, Bench, Nodes, checked, faults, only, planned, shown

from graphexec.errors import Cancelled
from graphexec.graph import events
from graphexec.graph.cache import MemoryCache
from graphexec.graph.compile import check
from graphexec.graph.context import CancelToken, Context
from graphexec.graph.execute import run
from graphexec.node.registry import Registry

RECORDED: dict[str, Any] = json.loads((Path(__file__).parents[1] / "data/validation/cases.json").read_text())
COMFY = Registry().with_nodes(comfy_fakes)

OTHER_CODES: dict[str, dict[str, set[str]]] = {
    # ComfyUI names these after the exception that its own code runs into, or not at all
    "link_missing_node": {"2": {"linked_node_missing"}},
    "link_bad_slot": {"2": {"output_slot_out_of_range"}},
    "link_int_ids": {"2": {"bad_linked_input"}},
    "literal_list_len2": {"1": {"bad_linked_input"}},
    "no_inputs_key": {"1": {"required_input_missing"}},
    "unknown_class": {"9": {"missing_node_type"}},
    "no_class_type": {"1": {"missing_node_type"}},
    "self_cycle": {"2": {"dependency_cycle"}},
    "cycle2": {"1": {"dependency_cycle"}},
    "two_outputs_one_bad": {"8": {"linked_node_missing"}},
    "link_neg_slot": {"2": {"bad_linked_input"}},
}
REFUSED = {
    "link_neg_slot": "slot -1 is no output; ComfyUI takes Python's last one",
    "two_outputs_one_bad": "ComfyUI drops the bad output and runs the other; here --target does that",
}
OTHER_VALUES: dict[str, Any] = {
    "bool_str": False,  # "false" is true there
}


PLANT: tuple[str, dict[str, Any]] = ("Plant", {})


class TestRecorded:
    """What ComfyUI 0.3.64 said to 36 prompts, and what it computed."""

    @pytest.mark.parametrize("name", RECORDED)
    def test_verdict_and_codes(self, name: str) -> None:
        case = RECORDED[name]
        compiled = check(case["prompt"], registry=COMFY, folders=NOWHERE)
        assert (compiled.plan is not None) is (case["valid"] and name not in REFUSED)
        found: dict[str | None, set[str]] = {}
        for fault in compiled.diagnostics:
            if fault.severity == "error":
                found.setdefault(fault.node, set()).add(fault.code)
        codes = {node: set(codes) for node, codes in case["errors"].items()}
        if case["error"] == "prompt_no_outputs":
            codes = {None: {"prompt_no_outputs"}}
        assert found == OTHER_CODES.get(name, codes)

    @pytest.mark.parametrize("name", [name for name, case in RECORDED.items() if case["valid"] and name not in REFUSED])
    def test_values(self, name: str) -> None:
        case = RECORDED[name]
        compiled = check(case["prompt"], registry=COMFY, folders=NOWHERE, targets=["1", *case["good_outputs"]])
        assert compiled.plan is not None
        value = run(compiled.plan).value("1")
        expected = OTHER_VALUES.get(name, case["node1"])
        assert (list(value.shape) if isinstance(value, Latent) else value) == expected

    def test_a_bad_output_beside_a_good_one_runs_with_a_target(self) -> None:
        case = RECORDED["two_outputs_one_bad"]
        compiled = check(case["prompt"], registry=COMFY, folders=NOWHERE, targets=case["good_outputs"])
        assert compiled.plan is not None


class TestFormat:
    """1.1: nodes, links, what reaches a node."""

    def test_a_list_literal_is_wrapped(self, bench: Bench) -> None:
        assert bench.run({"s": ("Show", {"source": {"__value__": [1, 2]}})}).texts == {"s": ("[1, 2]",)}

    def test_an_object_without_the_wrapper_is_a_value(self, bench: Bench) -> None:
        assert bench.run({"s": ("Show", {"source": {"a": 1}})}).texts == {"s": ("{'a': 1}",)}

    @pytest.mark.parametrize("value", [5, ["i", 0]])
    def test_what_is_not_declared_is_dropped(self, bench: Bench, value: Any) -> None:
        nodes: Nodes = {
            "i": ("Int", {"value": 1}),
            "a": ("Add", {"a": ["i", 0], "b": 1, "c": value}),
            "s": shown("a", 0),
        }
        assert faults(nodes) == [("undeclared_input", "a", "c")]
        assert bench.run(nodes).texts == {"s": ("2",)}

    def test_a_hidden_input_cannot_be_written(self, bench: Bench) -> None:
        nodes: Nodes = {"w": ("WhoAmI", {"me": "somebody"}), "s": shown("w", 0)}
        assert faults(nodes) == [("undeclared_input", "w", "me")]
        assert bench.run(nodes).texts == {"s": ("w",)}

    def test_too_few_values_are_the_nodes_failure(self, bench: Bench) -> None:
        assert "2 outputs" in str(bench.run({"b": ("Bad", {"what": "few"}), "s": shown("b", 1)}).failures["b"])

    def test_the_prompt_is_handed_on_as_it_was_written(self) -> None:
        plan = planned({"i": ("Int", {"value": "7"}), "s": shown("i", 0)})
        assert plan.workflow.prompt["i"] == {"class_type": "Int", "inputs": {"value": "7"}}


class TestVerdicts:
    """1.2: what is checked, and what is run."""

    def test_other_outputs_run_only_where_a_target_needs_them(self, bench: Bench) -> None:
        nodes: Nodes = {
            "n": ("Note", {"text": "x", "value": 5}),
            "a": ("Add", {"a": ["n", 0], "b": 1}),
            "s": ("Show", {"source": 1}),
        }
        result = bench.run(nodes, ["a"])
        assert list(result.files) == ["n"]
        assert not result.texts

    def test_a_node_that_no_output_needs_is_not_refused(self) -> None:
        nodes: Nodes = {"s": ("Show", {"source": 1}), "x": ("Add", {"a": "word", "b": ["gone", 0]})}
        assert checked(nodes).plan is not None

    def test_a_link_that_is_none_in_a_node_that_no_output_needs_is_not_refused(self) -> None:
        nodes: Nodes = {"s": ("Show", {"source": 1}), "x": ("Add", {"a": [1, 0], "b": 1})}
        assert checked(nodes).plan is not None
        assert checked({**nodes, "t": shown("x", 0)}).plan is None

    def test_faults_are_told_in_the_order_of_the_file(self) -> None:
        inputs = {"factor": 99.0, "mode": "sideways", "value": "word"}
        found = faults({"x": ("Scale", inputs), "s": shown("x", 0)})
        assert [(code, name) for code, _, name in found] == [
            ("invalid_input_type", "value"),
            ("value_bigger_than_max", "factor"),
            ("value_not_in_list", "mode"),
        ]

    def test_cycles_unknown_classes_and_missing_nodes_are_told_together(self) -> None:
        nodes: Nodes = {
            "a": ("Add", {"a": ["b", 0], "b": ["gone", 0]}),
            "b": ("Add", {"a": ["a", 0], "b": ["odd", 0]}),
            "odd": ("Odd", {"x": ["a", 0]}),
            "self": ("Same", {"value": ["self", 0]}),
            "s": shown("b", 0),
            "t": shown("self", 0),
        }
        errors = [(d.code, d.node) for d in checked(nodes).diagnostics if d.severity == "error"]
        assert errors == [
            ("linked_node_missing", "a"),
            ("dependency_cycle", "a"),
            ("missing_node_type", "odd"),
            ("dependency_cycle", "self"),
        ]


class TestMessages:
    """1.3: the words of each fault."""

    @pytest.mark.parametrize(
        ("inputs", "code", "message"),
        [
            ({"value": 1, "factor": 1.0}, "required_input_missing", "Required input is missing"),
            (
                {"value": "x", "factor": 1.0, "mode": "up"},
                "invalid_input_type",
                "Failed to convert an input value to a",
            ),
            (
                {"value": 1, "factor": -1.0, "mode": "up"},
                "value_smaller_than_min",
                "Value -1.0 smaller than min of 0.0",
            ),
            ({"value": 1, "factor": 11.0, "mode": "up"}, "value_bigger_than_max", "Value 11.0 bigger than max of 10.0"),
            (
                {"value": 1, "factor": 1.0, "mode": "x"},
                "value_not_in_list",
                "Value not in list: 'x' not in ['up', 'down']",
            ),
            ({"value": ["t", 0], "factor": 1.0, "mode": "up"}, "return_type_mismatch", "Return type mismatch between"),
            ({"value": ["t"], "factor": 1.0, "mode": "up"}, "bad_linked_input", "Bad linked input, must be a length-2"),
        ],
    )
    def test_they_are_those_of_comfyui(self, inputs: dict[str, Any], code: str, message: str) -> None:
        found = only({"t": ("Say", {"text": "x"}), "x": ("Scale", inputs), "s": shown("x", 0)})
        assert found.code == code
        assert message in found.message

    def test_one_bad_link_does_not_hide_the_other_inputs(self) -> None:
        nodes: Nodes = {"x": ("Add", {"a": ["gone", 0], "b": "word"}), "s": shown("x", 0)}
        assert [code for code, _, _ in faults(nodes)] == ["linked_node_missing", "invalid_input_type"]


class TestConstants:
    """1.4: one constant."""

    @pytest.mark.parametrize(
        ("kind", "written", "read"),
        [
            ("PrimitiveInt", "5", 5),
            ("PrimitiveInt", 3.9, 3),
            ("PrimitiveInt", -3.9, -3),
            ("PrimitiveInt", True, 1),
            ("PrimitiveInt", {"__value__": 5}, 5),
            ("PrimitiveFloat", "1e3", 1000.0),
            ("PrimitiveFloat", 2, 2.0),
            ("PrimitiveString", 5, "5"),
            ("PrimitiveString", False, "False"),
            ("PrimitiveBoolean", 1, True),
            ("PrimitiveBoolean", 0.0, False),
            ("PrimitiveBoolean", "no", False),  # true in ComfyUI
        ],
    )
    def test_conversions(self, kind: str, written: Any, read: Any) -> None:
        document = {"x": {"class_type": kind, "inputs": {"value": written}}}
        plan = check(document, registry=COMFY, folders=NOWHERE, targets=["x"]).plan
        assert plan is not None
        value = plan.nodes["x"].constants["value"]
        assert (value, type(value)) == (read, type(read))

    @pytest.mark.parametrize(
        ("kind", "written"),
        [
            ("PrimitiveInt", "5.5"),
            ("PrimitiveFloat", "nan"),  # passes minimum and maximum in ComfyUI
            ("PrimitiveString", None),  # "None" in ComfyUI
            ("PrimitiveBoolean", "perhaps"),  # true in ComfyUI
            ("PrimitiveBoolean", None),  # false in ComfyUI
        ],
    )
    def test_what_cannot_be_read(self, kind: str, written: Any) -> None:
        document = {"x": {"class_type": kind, "inputs": {"value": written}}}
        (fault,) = check(document, registry=COMFY, folders=NOWHERE, targets=["x"]).diagnostics
        assert fault.code == "invalid_input_type"

    def test_steps_are_for_editors(self) -> None:
        document = {"x": {"class_type": "EmptyLatentImage", "inputs": {"width": 67, "height": 66, "batch_size": 1}}}
        assert check(document, registry=COMFY, folders=NOWHERE, targets=["x"]).diagnostics == ()


class TestTypes:
    """1.5: which output feeds which input."""

    @pytest.mark.parametrize(
        ("source", "target", "fits"),
        [
            (PLANT, "EatApple", True),
            (("Same", {"value": 5}), "EatApple", True),
            (("Int", {"value": 5}), "EatApple", False),
            (PLANT, "EatFruit", True),
            (("Say", {"text": "x"}), "EatFruit", False),
        ],
    )
    def test_names_unions_and_wildcards(self, source: tuple[str, dict[str, Any]], target: str, fits: bool) -> None:
        name = "apple" if target == "EatApple" else "fruit"
        found = faults({"a": source, "b": (target, {name: ["a", 0]})})
        assert found == ([] if fits else [("return_type_mismatch", "b", name)])

    def test_rings_of_wildcards_end(self) -> None:
        nodes: dict[str, Any] = {}
        for place in range(0, 6000, 2):
            nodes[f"{place}"] = ("Same", {"value": [f"{place + 1}", 0]})
            nodes[f"{place + 1}"] = ("Same", {"value": [f"{place}", 0]})
            nodes[f"s{place}"] = ("EatApple", {"apple": [f"{place}", 0]})
        assert {code for code, _, _ in faults(nodes)} == {"dependency_cycle"}

    def test_a_long_chain_of_wildcards_has_the_type_of_its_start(self) -> None:
        nodes: dict[str, Any] = {"0": ("Int", {"value": 1})}
        nodes |= {str(place): ("Same", {"value": [str(place - 1), 0]}) for place in range(20_000, 0, -1)}
        nodes["e"] = ("EatApple", {"apple": ["20000", 0]})
        assert "received_type(INT)" in only(nodes).message


class TestChecks:
    """1.6: VALIDATE_INPUTS."""

    @pytest.mark.parametrize("verdict", ["false", "zero", "text", "raises"])
    def test_anything_but_true_fails_once(self, verdict: str) -> None:
        found = only({"p": ("Picky", {"verdict": verdict}), "s": shown("p", 0)})
        assert (found.code, found.node, found.input) == ("custom_validation_failed", "p", "verdict")
        assert found.message.startswith("Custom validation failed for node")
        assert ("not today" in found.message) is (verdict == "text")
        assert ("KeyError" in found.message) is (verdict == "raises")

    def test_true_passes(self) -> None:
        assert faults({"p": ("Picky", {"verdict": "true"}), "s": shown("p", 0)}) == []

    def test_it_is_not_asked_where_an_input_is_bad_already(self) -> None:
        assert faults({"p": ("Even", {"value": "word"}), "s": shown("p", 0)}) == [("invalid_input_type", "p", "value")]


class TestFingerprints:
    """1.7: IS_CHANGED."""

    @pytest.mark.parametrize(("path", "again"), [("here", False), ("never", True), ("gone", True)])
    def test_nan_and_failures_run_again_with_all_that_follows(
        self, cached_bench: Bench, path: str, again: bool
    ) -> None:
        nodes: Nodes = {"w": ("Watch", {"path": path}), "s": shown("w", 0)}
        cached_bench.run(nodes)
        cached_bench.run(nodes)
        assert cached_bench.log == ([f"Watch {path}", f"Show {path}"] if again else [])

    def test_links_are_not_there_yet(self, cached_bench: Bench) -> None:
        nodes: Nodes = {"t": ("Say", {"text": "never"}), "w": ("Watch", {"path": ["t", 0]}), "s": shown("w", 0)}
        cached_bench.run(nodes)
        cached_bench.run(nodes)
        assert cached_bench.log == ["Watch never", "Show never"]  # None has no upper case: the fingerprint fails


class TestMapping:
    """1.8: lists."""

    def test_calls_are_as_many_as_the_longest_list_and_constants_repeat(self, bench: Bench) -> None:
        nodes: Nodes = {
            "long": ("Range", {"n": 4}),
            "short": ("Range", {"n": 2}),
            "add": ("Sum3", {"a": ["long", 0], "b": ["short", 0], "c": 10}),
            "s": shown("add", 0),
        }
        assert bench.run(nodes).texts == {"s": ("10", "12", "13", "14")}

    def test_lists_of_a_mapped_node_are_joined(self, bench: Bench) -> None:
        nodes: Nodes = {"r": ("Range", {"n": 4}), "rr": ("Range", {"n": ["r", 0]}), "s": shown("rr", 0)}
        assert bench.run(nodes).texts == {"s": ("0", "0", "1", "0", "1", "2")}

    def test_a_whole_list_is_one_call(self, bench: Bench) -> None:
        nodes: Nodes = {"r": ("Range", {"n": 3}), "sum": ("Sum", {"values": ["r", 0]}), "s": shown("sum", 0)}
        bench.run(nodes)
        assert bench.log == ["Sum [0, 1, 2]", "Show 3"]

    @pytest.mark.parametrize("other", [0, 3])
    def test_an_empty_list_is_no_call(self, bench: Bench, other: int) -> None:
        nodes: Nodes = {
            "none": ("Range", {"n": 0}),
            "other": ("Range", {"n": other}),
            "add": ("Add", {"a": ["none", 0], "b": ["other", 0]}),
            "s": shown("add", 0),
        }
        result = bench.run(nodes, ["add", "s"])
        assert result.ok
        assert result.outputs["add"] == ([],)
        assert bench.log == []


class TestScheduling:
    """1.9: order, lazy inputs, blockers, expansion, failures."""

    def test_only_what_a_lazy_node_asks_for_is_computed(self, bench: Bench) -> None:
        nodes: Nodes = {
            "deep": ("Int", {"value": 1}),
            "yes": ("Add", {"a": ["deep", 0], "b": 1}),
            "no": ("Add", {"a": ["deep", 0], "b": 2}),
            "c": ("Choose", {"first": True, "yes": ["yes", 0], "no": ["no", 0]}),
            "s": shown("c", 0),
        }
        assert bench.run(nodes).executed == ("deep", "yes", "c", "s")

    def test_a_block_with_a_message_is_told_once_and_the_run_succeeds(self, bench: Bench) -> None:
        nodes: Nodes = {
            "gate": ("Gate", {"value": 1, "open": False, "message": "shut"}),
            "a": ("Add", {"a": ["gate", 0], "b": 1}),
            "b": ("Add", {"a": ["a", 0], "b": 1}),
            "s": shown("b", 0),
        }
        assert bench.run(nodes).ok
        assert bench.seen(events.Blocked) == [events.Blocked("a", "shut")]
        assert isinstance(bench.events[-1], events.Completed)

    def test_what_is_inside_an_expansion_is_told_under_the_id_of_its_node(self, bench: Bench) -> None:
        bench.run({"t": ("AddTwice", {"a": 1, "b": 1}), "s": shown("t", 0)})
        assert [(event.node, event.class_type) for event in bench.seen(events.Finished)] == [
            ("t", "Add"),
            ("t", "Add"),
            ("t", "AddTwice"),
            ("s", "Show"),
        ]

    def test_output_nodes_inside_an_expansion_run(self, bench: Bench) -> None:
        result = bench.run({"n": ("NoteInside", {"text": "x", "value": 1})}, ["n"])
        assert [path.name for path in result.files["n"]] == ["note_00001_.txt"]

    def test_a_cycle_inside_an_expansion_is_a_failure(self, bench: Bench) -> None:
        assert not bench.run({"b": ("Broken", {"what": "cycle"}), "s": shown("b", 0)}).ok  # a success in ComfyUI

    def test_a_stop_is_seen_before_each_call(self, bench: Bench) -> None:
        token = CancelToken()

        def on_event(event: events.Event) -> None:
            bench.events.append(event)
            if isinstance(event, events.Warned):
                token.cancel()

        nodes: Nodes = {
            "r": ("Range", {"n": 5}),
            "t": ("Say", {"text": "x", "times": ["r", 0]}),
            "m": ("Mutter", {"text": ["t", 0]}),
        }
        with pytest.raises(Cancelled):
            run(planned(nodes, targets=["m"]), replace(bench.context, cancel=token, on_event=on_event))
        assert len(bench.seen(events.Warned)) == 1

    def test_what_does_not_need_a_failed_node_goes_on(self, bench: Bench) -> None:
        nodes: Nodes = {"f": ("Fail", {"value": 1}), "s": shown("f", 0), "t": ("Show", {"source": 1})}
        result = bench.run(nodes)
        assert (list(result.failures), result.skipped, result.texts) == (["f"], ("s",), {"t": ("1",)})


class TestKeys:
    """1.10: what decides whether a result is kept."""

    def test_nodes_that_are_alike_share_a_result_and_each_reports_it(self, cached_bench: Bench) -> None:
        nodes: Nodes = {"a": ("Show", {"source": 1}), "b": ("Show", {"source": 1})}
        assert cached_bench.run(nodes).texts == {"a": ("1",), "b": ("1",)}
        assert cached_bench.log == ["Show 1"]

    def test_a_node_that_asks_for_its_id_shares_nothing(self, cached_bench: Bench) -> None:
        assert cached_bench.run({"x": ("WhoAmI", {})}, ["x"]).value("x") == "x"
        assert cached_bench.run({"y": ("WhoAmI", {})}, ["y"]).value("y") == "y"

    def test_the_type_of_a_constant_counts(self) -> None:
        context = Context(cache=MemoryCache(2**20))
        plans = [planned({"s": ("Show", {"source": value})}) for value in (1, 1.0, True, "1")]
        assert len({context.keys(plan)["s"] for plan in plans}) == 4

    def test_the_order_of_inputs_and_the_ids_do_not(self) -> None:
        context = Context(cache=MemoryCache(2**20))
        one = planned({"i": ("Int", {"value": 1}), "x": ("Add", {"a": ["i", 0], "b": 2})}, targets=["x"])
        two = planned({"y": ("Add", {"b": 2, "a": ["j", 0]}), "j": ("Int", {"value": 1})}, targets=["y"])
        assert context.keys(one)["x"] == context.keys(two)["y"]

    def test_lazy_links_count_whether_taken_or_not(self, cached_bench: Bench) -> None:
        def choose(value: int) -> Nodes:
            return {"n": ("Int", {"value": value}), "c": ("Choose", {"first": True, "yes": 1, "no": ["n", 0]})}

        cached_bench.run(choose(1), ["c"])
        cached_bench.run(choose(2), ["c"])
        assert cached_bench.log == ["Choose"]
