"""`graphexec graph`: the two languages, and texts that would break them."""

from __future__ import annotations

import pytest
from running import Nodes

from cli.shell import Shell

PLANTS: Nodes = {
    "plant": ("Plant", {}),
    "eat": ("EatApple", {"apple": ["plant", 0]}),
    "count": ("Int", {"value": 2}),
    "choose": ("Choose", {"first": True, "yes": ["count", 0], "no": 1}),
    "show": ("Show", {"source": ["choose", 0]}),
}


def drawn(shell: Shell, *options: str) -> list[str]:
    result = shell.run("graph", "workflow.json", *options)
    assert result.exit_code == 0, result.stderr
    return [line.strip() for line in result.stdout.splitlines()]


def test_mermaid(shell: Shell) -> None:
    shell.write(PLANTS)
    lines = drawn(shell)
    assert lines[0] == "flowchart LR"
    names = {line.split('"')[1].split(":")[0]: line.split("[")[0].split("(")[0] for line in lines[1:6]}
    assert f'{names["plant"]}["plant: Plant<br/>the Plant"]' in lines
    assert f'{names["eat"]}(["eat: EatApple<br/>the EatApple"])' in lines
    assert f'{names["plant"]} -- "APPLE" --> {names["eat"]}' in lines
    assert f'{names["count"]} -- "INT yes (lazy)" --> {names["choose"]}' in lines


def test_dot(shell: Shell) -> None:
    shell.write(PLANTS)
    lines = drawn(shell, "--format", "dot")
    assert (lines[0], lines[-1]) == ("digraph workflow {", "}")
    assert r'"plant" [label="plant: Plant\nthe Plant"];' in lines
    assert r'"eat" [label="eat: EatApple\nthe EatApple", peripheries=2];' in lines
    assert '"plant" -> "eat" [label="APPLE"];' in lines


@pytest.mark.parametrize(
    ("shape", "escaped"),
    [("mermaid", '#34;a#34; #60;b#62; #35;1 \\n"'), ("dot", '"\\"a\\" <b> #1 \\\\n: ')],
)
def test_ids_that_mean_something_in_the_language(shell: Shell, shape: str, escaped: str) -> None:
    shell.write({'"a" <b> #1 \\n': ("Plant", {}), "eat": ("EatApple", {"apple": ['"a" <b> #1 \\n', 0]})})
    text = "\n".join(drawn(shell, "--format", shape))
    assert escaped.rstrip('"') in text


def test_files_need_not_be_there_and_warnings_do_not_matter(shell: Shell) -> None:
    shell.write({"1": ("Load", {"ckpt_name": "no.safetensors"}), "2": ("Show", {"source": ["1", 0], "sauce": 1})})
    result = shell.run("graph", "workflow.json")
    assert result.exit_code == 0
    assert "STRING source" in result.stdout
    assert "undeclared_input" in result.stderr


def test_a_target_and_another_link(shell: Shell) -> None:
    shell.write({**PLANTS, "more": ("Add", {"a": 1, "b": 2})})
    lines = drawn(shell, "--target", "more", "--set", 'more.a=["count", 0]')
    assert [line for line in lines if "-->" in line] == ['n0 -- "INT a" --> n1']


def test_an_invalid_workflow_is_not_drawn(shell: Shell) -> None:
    result = shell.run("graph", shell.write({"eat": ("EatApple", {"apple": ["no", 0]})}))
    assert (result.exit_code, result.stdout) == (2, "")
