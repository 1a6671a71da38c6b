"""`@node` marks a function and leaves it as it is."""

from __future__ import annotations

from graphexec.node.decorator import NodeDefinition, definition_of, node


def plain(value: int) -> int:
    """A function."""
    return value + 1


def test_the_function_comes_back_unchanged() -> None:
    def run(value: int) -> int:
        return value + 1

    before = dict(run.__annotations__), run.__code__
    marked = node("N")(run)
    assert marked is run
    assert (dict(run.__annotations__), run.__code__) == before
    assert marked(1) == 2


def test_what_it_was_told_is_kept() -> None:
    def hook() -> bool:
        raise NotImplementedError

    marked = node("N", category="a/b", display_name="The N", check=hook, fingerprint=hook, infer=hook, version="3")(
        lambda: None
    )
    assert definition_of(marked) == NodeDefinition("N", "a/b", "The N", hook, hook, hook, "3")


def test_only_the_name_is_needed() -> None:
    marked = node("N")(lambda: None)
    assert definition_of(marked) == NodeDefinition("N", "", "", None, None, None, "")


def test_anything_else_is_no_node() -> None:
    class Pretender:
        __graphexec_node__ = "N"

    assert [definition_of(value) for value in (plain, 5, None, "text", Pretender())] == [None] * 5
