"""`graphexec nodes`: what is there, and help out of signatures."""

from __future__ import annotations

from cli.pack import haunted
from cli.shell import Shell
from graphexec.cli.main import build_cli
from graphexec.node.registry import Registry


def test_the_list_is_by_category(shell: Shell) -> None:
    lines = shell.run("nodes").stdout.splitlines()
    assert lines.index("loaders") + 1 == next(place for place, line in enumerate(lines) if line.startswith("  Load "))
    heads = [line for line in lines if not line.startswith(" ")]
    assert heads == sorted(heads)
    assert ["Int", "A", "number."] in [line.split() for line in lines]


def test_a_node_that_cannot_be_read_hides_no_other(shell: Shell) -> None:
    shell.cli = build_cli(haunted)
    for arguments in (["nodes"], ["nodes", "--json"]):
        result = shell.run(*arguments)
        assert result.exit_code == 0
        assert "MakeLatent" in result.stdout and "Ghost" not in result.stdout
        assert "warning: the node 'Ghost' is left out: 'Ghost' is in no_such_module, which cannot" in result.stderr
    assert shell.run("nodes", "Ghost").exit_code == 1


def test_help_of_one_node(shell: Shell) -> None:
    assert shell.run("nodes", "Int").stdout.splitlines() == [
        "Int (numbers)",
        "  A number.",
        "",
        "inputs:",
        "  value: INT from -1000 to 1000, default 0",
        "      the number.",
        "",
        "outputs:",
        "  0: INT",
    ]


def test_help_says_what_is_special(shell: Shell) -> None:
    load = shell.run("nodes", "Load").stdout
    assert load.startswith("Load - Load a File (loaders)\n")
    assert "ckpt_name: the name of a file in checkpoints" in load
    assert "optional" in shell.run("nodes", "Say").stdout
    assert "computed only if the node asks for it" in shell.run("nodes", "Choose").stdout
    assert "takes a whole list" in shell.run("nodes", "Sum").stdout
    assert "0: INT (a list)" in shell.run("nodes", "Range").stdout
    assert "1 high: INT" in shell.run("nodes", "Halve").stdout
    assert "an output node" in shell.run("nodes", "Show").stdout
    assert "one of 'up', 'down', default 'up'" in shell.run("nodes", "Scale").stdout


def test_an_unknown_name_has_the_nearest_ones(shell: Shell) -> None:
    result = shell.run("nodes", "Scael")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "did you mean Scale" in result.stderr
    document = shell.json("nodes", "Scael", "--json")
    assert document["status"] == "invalid" and "did you mean Scale" in document["error"]
    assert "`graphexec nodes` lists them all" in shell.run("nodes", "qqqqqq").stderr


def test_a_node_that_a_pack_leaves_out_has_the_reason(shell: Shell) -> None:
    shell.cli = build_cli(Registry.standard)
    result = shell.run("nodes", "unCLIPConditioning")
    reason = "It belongs to unCLIP models, which are out of scope."
    assert (result.exit_code, result.stderr) == (2, f"error: there is no node 'unCLIPConditioning'; {reason}\n")


def test_json_is_what_comfyui_shows(shell: Shell) -> None:
    shown = shell.json("nodes", "Scale", "--json")
    assert list(shown) == ["Scale"]
    assert shown["Scale"]["input"]["required"]["factor"] == ["FLOAT", {"default": 1.0, "min": 0.0, "max": 10.0}]
    assert shown["Scale"]["output"] == ["FLOAT"]
    names = list(shell.json("nodes", "--json"))
    assert "Load" in names
    assert names == sorted(names)
