"""`graphexec run`: what it prints where, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from click.testing import CliRunner
from running import Nodes

from cli.shell import Shell
from graphexec.cli.exits import ExitCode
from graphexec.cli.main import build_cli
from graphexec.node.registry import Registry

NOTE: Nodes = {
    "1": ("Int", {"value": 2}),
    "2": ("Add", {"a": ["1", 0], "b": 3}),
    "3": ("Show", {"source": ["2", 0]}),
    "4": ("Write", {"text": "hello", "filename_prefix": "note"}),
}
TWO_BRANCHES: Nodes = {
    "bad": ("Fail", {"value": 1}),
    "after": ("Show", {"source": ["bad", 0]}),
    "good": ("Write", {"text": "fine", "filename_prefix": "good"}),
}
LOSSY: Nodes = {"1": ("Int", {"value": 2.5}), "2": ("Show", {"source": ["1", 0]})}
BROKEN: Nodes = {"1": ("Int", {"value": "x"}), "2": ("Show", {"source": ["1", 0]})}

NO_FILE: Nodes = {"1": ("Load", {"ckpt_name": "no.safetensors"}), "2": ("Show", {"source": ["1", 0]})}
ENDLESS: Nodes = {
    "1": ("Int", {"value": 1}),
    "2": ("Forever", {"value": ["1", 0]}),
    "3": ("Show", {"source": ["2", 0]}),
}


def test_stdout_has_a_line_for_each_file_and_stderr_the_rest(shell: Shell) -> None:
    result = shell.run("run", shell.write(NOTE))
    assert result.exit_code == 0
    assert [Path(line).read_text() for line in result.stdout.splitlines()] == ["hello"]
    assert Path(result.stdout.strip()).name == "note_00001_.txt"
    assert "1/4 Int (1) ...\n" in result.stderr
    assert 'text of node 3 (Show "the Show"): 5' in result.stderr
    assert "4 computed, 0 kept from earlier" in result.stderr


def test_another_run_computes_nothing_and_names_the_same_files(shell: Shell) -> None:
    first = shell.run("run", shell.write(NOTE))
    second = shell.run("run", "workflow.json")
    assert second.stdout == first.stdout
    assert "0 computed, 4 kept from earlier" in second.stderr


def test_without_a_cache_all_is_computed_again(shell: Shell) -> None:
    shell.run("run", shell.write(NOTE))
    assert len(shell.json("run", "workflow.json", "--no-cache", "--json")["executed"]) == 4


def test_the_cache_may_lie_elsewhere(shell: Shell) -> None:
    shell.run("run", shell.write(NOTE), "--cache-dir", "elsewhere")
    assert Path("elsewhere").is_dir()
    assert not Path("cache").exists()


def test_output_folder(shell: Shell) -> None:
    result = shell.run("run", shell.write(NOTE), "--output", "pictures")
    assert result.stdout.splitlines() == [str(shell.folder / "pictures" / "note_00001_.txt")]
    assert Path("pictures/note_00001_.txt").read_text() == "hello"


def test_quiet_prints_paths_alone(shell: Shell) -> None:
    result = shell.run("run", shell.write({**NOTE, "1": ("Int", {"value": 2.5})}), "--quiet")
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) == 1
    assert result.stderr == ""


def test_quiet_is_quiet_beside_json_too(shell: Shell) -> None:
    result = shell.run("run", shell.write({**NOTE, "1": ("Int", {"value": 2.5})}), "--quiet", "--json")
    assert json.loads(result.stdout)["status"] == "done"
    assert result.stderr == ""


def test_quiet_still_names_errors(shell: Shell) -> None:
    assert "node bad (Fail" in shell.run("run", shell.write(TWO_BRANCHES), "--quiet").stderr
    invalid = shell.run("run", shell.write(BROKEN), "--quiet")
    assert "invalid_input_type" in invalid.stderr
    assert invalid.exit_code == 2


def test_events_are_one_json_object_a_line_and_stdout_has_nothing_else(shell: Shell) -> None:
    result = shell.run(
        "run",
        shell.write({**NOTE, "5": ("Show", {"source": ["6", 0]}), "6": ("Long", {"steps": 2})}),
        "--events",
        "json",
    )
    events = [json.loads(line) for line in result.stdout.splitlines()]
    kinds = [event["event"] for event in events]
    assert kinds[0] == "planned"
    assert kinds[-1] == "completed"
    assert {"started", "progressed", "finished", "written"} <= set(kinds)
    assert {"event": "shown", "node": "3", "texts": ["5"]} in events
    assert result.stderr == ""


def test_json_is_the_whole_result(shell: Shell) -> None:
    document = shell.json("run", shell.write({**NOTE, "1": ("Int", {"value": 2.5})}), "--json")
    assert document["status"] == "done"
    assert [Path(path).name for path in document["files"]["4"]] == ["note_00001_.txt"]
    assert document["texts"] == {"3": ["5"]}
    assert sorted(document["executed"]) == ["1", "2", "3", "4"]
    assert (document["cached"], document["skipped"], document["failures"]) == ([], [], [])
    assert document["seconds"] >= 0
    assert [found["code"] for found in document["diagnostics"]] == ["lossy_conversion"]
    assert sorted(shell.json("run", "workflow.json", "--json")["cached"]) == ["1", "2", "3", "4"]


def test_what_nodes_warn_of_is_in_the_json_too(shell: Shell) -> None:
    shell.write(
        {
            "1": ("Mutter", {"text": "careful"}),
            "2": ("Gate", {"value": 1, "open": False, "message": "shut"}),
            "3": ("Show", {"source": ["2", 0]}),
            "4": ("Show", {"source": ["1", 0]}),
        }
    )
    result = shell.run("run", "workflow.json", "--json")
    told = sorted((each["node"], each["message"]) for each in json.loads(result.stdout)["warnings"])
    assert told == [("1", "careful"), ("3", "shut")]
    assert 'warning: node 1 (Mutter "the Mutter"): careful' in result.stderr


def test_a_text_that_a_node_shows_does_nothing_to_a_terminal(shell: Shell) -> None:
    result = shell.run("run", shell.write({"1": ("Show", {"source": "eins\x1b[2J\nzwölf"})}))
    assert 'text of node 1 (Show "the Show"): eins\\x1b[2J\n    zwölf\n' in result.stderr


def test_of_identical_nodes_each_has_what_it_would_have_left(shell: Shell) -> None:
    shell.write({**NOTE, "5": NOTE["4"], "6": NOTE["3"]})
    document = shell.json("run", "workflow.json", "--json")
    assert document["files"]["4"] == document["files"]["5"]
    assert document["texts"] == {"3": ["5"], "6": ["5"]}


def test_a_failure_is_named_and_spoils_nothing_else(shell: Shell) -> None:
    result = shell.run("run", shell.write(TWO_BRANCHES))
    assert result.exit_code == 1
    assert len(result.stdout.splitlines()) == 1
    assert 'error: node bad (Fail "the Fail"): RuntimeError: no luck\n' in result.stderr
    assert '  not run because of it: node after (Show "the Show")\n' in result.stderr


def test_a_failure_as_json(shell: Shell) -> None:
    document = shell.json("run", shell.write(TWO_BRANCHES), "--json")
    assert document["status"] == "failed"
    assert document["skipped"] == ["after"]
    assert document["failures"] == [
        {
            "node": "bad",
            "class_type": "Fail",
            "title": "the Fail",
            "error": "RuntimeError",
            "message": "no luck",
            "hint": None,
        }
    ]
    assert list(document["files"]) == ["good"]


def test_what_a_blocked_value_keeps_from_running_is_not_counted_as_computed(shell: Shell) -> None:
    shell.write({"1": ("Gate", {"value": 1, "open": False}), "2": ("Show", {"source": ["1", 0]})})
    result = shell.run("run", "workflow.json", "--json", "--no-cache")
    document = json.loads(result.stdout)
    assert (document["executed"], document["skipped"], document["status"]) == (["1"], ["2"], "done")
    assert "1 computed, 0 kept" in result.stderr


def test_a_missing_library_says_what_to_install(shell: Shell) -> None:
    result = shell.run(
        "run", shell.write({"1": ("Unavailable", {"name": "torch"}), "2": ("Show", {"source": ["1", 0]})})
    )
    assert result.exit_code == 1
    assert "pip install 'graphexec[run]'" in result.stderr
    assert "Traceback" not in result.output


def test_many_spoiled_nodes_are_not_all_listed(shell: Shell) -> None:
    shows: Nodes = {f"s{place}": ("Show", {"source": ["bad", 0]}) for place in range(20)}
    result = shell.run("run", shell.write({"bad": ("Fail", {"value": 1}), **shows, "same": ("Int", {"value": 1})}))
    spoiled = next(line for line in result.stderr.splitlines() if "not run because" in line)
    assert len(spoiled) < 300


@pytest.mark.parametrize(
    ("nodes", "code", "status"),
    [
        (BROKEN, 2, "invalid"),
        (NO_FILE, 3, "missing"),
        ({**NO_FILE, "3": ("Sow", {"a": 1})}, 2, "invalid"),
    ],
)
def test_what_cannot_run_says_why(shell: Shell, nodes: Nodes, code: int, status: str) -> None:
    result = shell.run("run", shell.write(nodes))
    assert result.exit_code == code
    assert result.stdout == ""
    assert result.stderr.startswith("workflow.json:")
    as_json = shell.run("run", "workflow.json", "--json")
    assert as_json.exit_code == code
    document = json.loads(as_json.stdout)
    assert document["status"] == status
    assert document["diagnostics"]


def test_a_file_that_is_not_there(shell: Shell) -> None:
    result = shell.run("run", "nowhere.json")
    assert result.exit_code == 3
    assert "nowhere.json" in result.stderr


@pytest.mark.parametrize("option", ["--models", "--extra-model-paths"])
def test_a_place_of_models_that_is_not_there(shell: Shell, option: str) -> None:
    result = shell.run("run", shell.write(NOTE), option, "nowhere")
    assert result.exit_code == 3
    assert "error: " in result.stderr
    assert shell.json("run", "workflow.json", option, "nowhere", "--json")["status"] == "missing"


@pytest.mark.parametrize(
    ("fault", "status", "error", "told"),
    [
        (KeyboardInterrupt(), "interrupted", None, "interrupted after 0 nodes\n"),
        (OSError(), "failed", "OSError", "error: OSError\n"),
        (
            ModuleNotFoundError("No module named 'numpy'"),
            "failed",
            "No module named 'numpy'",
            "error: No module named 'numpy'\n  hint: numpy is needed to run nodes: pip install 'graphexec[run]'\n",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_json_whatever_ends_a_run(
    shell: Shell, fault: BaseException, status: str, error: str | None, told: str
) -> None:
    def registry() -> Registry:
        raise fault

    result = CliRunner().invoke(build_cli(registry), ["run", shell.write(NOTE), "--json"])
    document = json.loads(result.stdout)
    assert (document["status"], document["error"]) == (status, error)
    assert result.exit_code == ExitCode[status.upper()]
    assert result.stderr == told


def test_models_come_from_the_folders_that_are_named(shell: Shell) -> None:
    Path("m/checkpoints").mkdir(parents=True)
    Path("m/checkpoints/a.safetensors").write_text("weights")
    shell.write({"1": ("Load", {"ckpt_name": "a.safetensors"}), "2": ("Show", {"source": ["1", 0]})})
    assert shell.json("run", "workflow.json", "--models", "m", "--json")["texts"] == {"2": ["weights"]}
    Path("paths.yaml").write_text("pack:\n  base_path: m\n  checkpoints: checkpoints\n")
    found = shell.json("run", "workflow.json", "--extra-model-paths", "paths.yaml", "--json")
    assert found["cached"] == ["1", "2"]


def test_warnings_come_before_the_run_and_strict_makes_them_errors(shell: Shell) -> None:
    loose = shell.run("run", shell.write(LOSSY))
    assert loose.exit_code == 0
    assert loose.stderr.index("lossy_conversion") < loose.stderr.index("1/2")
    assert shell.run("run", "workflow.json", "--strict").exit_code == 2


def test_fill_defaults(shell: Shell) -> None:
    shell.write({"1": ("Int", {}), "2": ("Show", {"source": ["1", 0]})})
    missing = shell.run("run", "workflow.json")
    assert missing.exit_code == 2
    assert "--fill-defaults" in missing.stderr
    assert shell.json("run", "workflow.json", "--fill-defaults", "--json")["texts"] == {"2": ["0"]}


def test_standard_input(shell: Shell) -> None:
    text = Path(shell.write(NOTE)).read_text()
    assert shell.run("run", "-", stdin=text).exit_code == 0


@pytest.mark.parametrize("target", ["2", "Add", "the Add"])
def test_a_target_is_named_by_id_class_or_title(shell: Shell, target: str) -> None:
    document = shell.json("run", shell.write(NOTE), "--target", target, "--json")
    assert sorted(document["executed"]) == ["1", "2"]
    assert document["files"] == {}


def test_a_target_that_is_not_there(shell: Shell) -> None:
    result = shell.run("run", shell.write(NOTE), "--target", "Ad", "--target", "5")
    assert result.exit_code == 2
    assert "'Ad'" in result.stderr
    assert "'5'" in result.stderr


def test_settings_change_inputs_and_later_ones_count_more(shell: Shell) -> None:
    Path("settings.json").write_text(json.dumps({"2.b": 10, "Int": {"value": 1}}))
    shell.write(NOTE)
    options = ["--set-file", "settings.json", "--set", "Int.value=7", "--json"]
    assert shell.json("run", "workflow.json", *options)["texts"] == {"3": ["17"]}


@pytest.mark.parametrize(
    ("setting", "code", "words"),
    [
        ("2.b=many", "invalid_input_type", "many"),
        ("2.bb=1", "undeclared_input", "did you mean"),
        ("Ad.b=1", "unknown_node", "did you mean"),
        ("nonsense", "invalid_setting", "NODE.input=value"),
    ],
)
def test_settings_that_do_not_fit(shell: Shell, setting: str, code: str, words: str) -> None:
    result = shell.run("run", shell.write(NOTE), "--set", setting)
    assert result.exit_code == 2
    assert f"[{code}]" in result.stderr
    assert words in result.stderr


def test_all_settings_that_cannot_be_understood_are_told_at_once(shell: Shell) -> None:
    Path("bad.json").write_text("[]")
    files = ["--set-file", "bad.json", "--set-file", "nowhere.json"]
    result = shell.run("run", shell.write(NOTE), *files, "--set", "nonsense", "--set", "more")
    assert result.exit_code == 2
    assert result.stderr.startswith("bad.json: error: bad.json holds no settings")
    for told in ("bad.json holds no settings", "no file nowhere.json", "'nonsense'", "'more'"):
        assert told in result.stderr


@pytest.mark.parametrize("value", [1, "text", ["1", 0], {"__value__": 1}])
def test_a_file_of_settings_that_names_no_input(shell: Shell, value: object) -> None:
    Path("settings.json").write_text(json.dumps({"2": {"bb": value}}))
    result = shell.run("run", shell.write(NOTE), "--set-file", "settings.json")
    assert result.exit_code == 2
    assert "Add has no input 'bb' to set" in result.stderr
    assert "did you mean" in result.stderr


def test_two_things_cannot_both_have_stdout(shell: Shell) -> None:
    assert shell.run("run", shell.write(NOTE), "--events", "json", "--json").exit_code == 2


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "cpu:0"])
def test_devices_that_there_are_none_of(shell: Shell, device: str) -> None:
    result = shell.run("run", shell.write(NOTE), "--device", device)
    assert result.exit_code == 2
    assert "none of auto, cpu, cuda, cuda:N" in result.stderr


def test_a_prefix_that_leaves_the_output_folder(shell: Shell) -> None:
    shell.write({"1": ("Write", {"text": "x", "filename_prefix": "../../up"})})
    result = shell.run("run", "workflow.json")
    assert result.exit_code == 2
    assert "prefix_outside_output" in result.stderr
    assert shell.json("run", "workflow.json", "--json")["status"] == "invalid"


def test_an_output_folder_that_cannot_be_made(shell: Shell) -> None:
    Path("file").write_text("")
    result = shell.run("run", shell.write(NOTE), "--output", "file/pictures")
    assert result.exit_code == 1
    assert "error: " in result.stderr
    assert "Traceback" not in result.output


def test_a_damaged_cache_entry_is_named_and_computed_again(shell: Shell) -> None:
    shell.run("run", shell.write(NOTE))
    for entry in Path("cache").rglob("*.gx"):
        entry.write_bytes(entry.read_bytes()[:-1])
    result = shell.run("run", "workflow.json")
    assert result.exit_code == 0
    assert "warning: the cache entry" in result.stderr
    assert "4 computed" in result.stderr


def started(process: subprocess.Popen[str], line: str) -> None:
    """Wait until a process says so."""
    assert process.stderr is not None
    for said in process.stderr:
        if line in said:
            return
    raise AssertionError(f"the process ended without {line!r}")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_the_run_and_keeps_what_had_finished(shell: Shell, number: signal.Signals, code: int) -> None:
    with shell.start("run", shell.write(ENDLESS)) as process:
        started(process, "Forever (2)")
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=20)
    assert (process.returncode, stdout, stderr) == (code, "", "interrupted after 1 node\n")
    states = {node["id"]: node["state"] for node in shell.json("plan", "workflow.json", "--json")["nodes"]}
    assert states == {"1": "cached", "2": "run", "3": "run"}


def test_an_interrupted_run_as_json(shell: Shell) -> None:
    with shell.start("run", shell.write(ENDLESS), "--json") as process:
        started(process, "Forever (2)")
        process.send_signal(signal.SIGINT)
        stdout, _ = process.communicate(timeout=20)
    document = json.loads(stdout)
    assert process.returncode == 130
    assert (document["status"], document["executed"]) == ("interrupted", ["1"])


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_that_is_stopped_before_its_nodes_as_json(shell: Shell, number: signal.Signals, code: int) -> None:
    os.mkfifo("workflow.json")
    with shell.start("run", "workflow.json", "--json") as process, Path("workflow.json").open("w"):  # it reads now
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=20)
    document = json.loads(stdout)
    assert (process.returncode, stderr) == (code, "interrupted after 0 nodes\n")
    assert (document["status"], document["error"]) == (ExitCode(code).name.lower(), None)


def test_a_run_that_was_stopped_has_shown_what_it_has_shown(shell: Shell) -> None:
    shell.write({"1": ("Int", {"value": 1}), "2": ("Show", {"source": ["1", 0]}), "3": ("Stop", {"value": ["1", 0]})})
    targets = ["--target", "2", "--target", "3"]
    result = shell.run("run", "workflow.json", "--json", *targets)
    assert result.exit_code == 130
    assert json.loads(result.stdout)["texts"] == {"2": ["1"]}
    assert 'text of node 2 (Show "the Show"): 1' in shell.run("run", "workflow.json", *targets).stderr


def test_a_second_signal_kills_a_node_that_does_not_listen(shell: Shell) -> None:
    with shell.start(
        "run", shell.write({"1": ("Stubborn", {"value": 1}), "2": ("Show", {"source": ["1", 0]})})
    ) as process:
        started(process, "Stubborn (1)")
        for _ in range(200):  # two signals sent at once may arrive as one
            process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=0.05)
                break
        process.communicate(timeout=20)
    assert process.returncode == -signal.SIGINT


def test_a_reader_that_goes_away_ends_the_run_quietly(shell: Shell) -> None:
    reading, writing = os.pipe()
    with shell.start("run", shell.write(ENDLESS), "--events", "json", stdout=writing) as process:
        os.close(writing)
        with os.fdopen(reading) as lines:
            assert json.loads(lines.readline())["event"] == "planned"
        _, stderr = process.communicate(timeout=20)
    assert (process.returncode, stderr) == (141, "")


def test_a_cache_that_cannot_be_written_to_is_told_of_once(shell: Shell) -> None:
    shell.write({"1": ("Say", {"text": "a"}), "2": ("Say", {"text": "b"}), "3": ("Show", {"source": ["1", 0]})})
    result = shell.run("run", "workflow.json", "--target", "2", "--target", "3", "--cache-dir", "/proc/nowhere")
    assert result.exit_code == 0, result.output
    assert result.stderr.count("is not used: cannot be written") == 1
