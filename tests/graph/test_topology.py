"""Order, reach and cycles of graphs: random ones, and deep ones."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import networkx as nx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphexec.graph.topology import ancestors, cycles, dependency_order, running_order

Graph = dict[str, list[str]]

DEEP = 100_000


@st.composite
def graphs(draw: st.DrawFn, acyclic: bool) -> Graph:
    """Node -> sources; some several times, in any order of nodes."""
    size = draw(st.integers(0, 12))
    names = draw(st.permutations([str(number) for number in range(size)]))
    place = {name: index for index, name in enumerate(names)}
    found: Graph = {}
    for name in draw(st.permutations(names)):
        allowed = names[: place[name]] if acyclic else names
        found[name] = draw(st.lists(st.sampled_from(allowed), max_size=4)) if allowed else []
    return found


def directed(sources: Mapping[str, list[str]]) -> nx.DiGraph[str]:
    """Edges from source to consumer."""
    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from(sources)
    graph.add_edges_from((source, name) for name, needs in sources.items() for source in needs)
    return graph


def chain(length: int) -> Graph:
    """0 <- 1 <- 2 …"""
    return {str(number): [str(number - 1)] if number else [] for number in range(length)}


def sources_first(order: list[str], sources: Mapping[str, list[str]]) -> bool:
    place = {name: index for index, name in enumerate(order)}
    return all(place[source] < place[name] for name in order for source in sources[name])


class TestAncestors:
    @given(graphs(acyclic=False), st.data())
    def test_they_are_all_that_reach_a_target(self, sources: Graph, data: st.DataObject) -> None:
        targets = data.draw(st.lists(st.sampled_from([*sources, "unknown"]), max_size=3))
        graph = directed(sources)
        known = [target for target in targets if target in sources]
        expected = set(known) | {source for source in sources for target in known if nx.has_path(graph, source, target)}
        assert ancestors(targets, sources) == expected


class TestDependencyOrder:
    @given(graphs(acyclic=True))
    def test_every_node_once_after_its_sources(self, sources: Graph) -> None:
        order = dependency_order(sources)
        assert sorted(order) == sorted(sources)
        assert sources_first(order, sources)

    @given(graphs(acyclic=False))
    def test_what_is_on_or_behind_a_cycle_is_left_out(self, sources: Graph) -> None:
        graph = directed(sources)
        on_cycles = {name for name in sources if _returns(graph, name)}
        stuck = {name for name in sources for start in on_cycles if nx.has_path(graph, start, name)}
        assert set(dependency_order(sources)) == set(sources) - stuck

    def test_otherwise_the_order_given(self) -> None:
        assert dependency_order({"b": [], "a": [], "c": ["a"]}) == ["b", "a", "c"]


def _returns(graph: nx.DiGraph[str], name: str) -> bool:
    return any(nx.has_path(graph, successor, name) for successor in graph.successors(name))


class TestRunningOrder:
    @given(graphs(acyclic=True), st.data())
    def test_exactly_what_is_needed_once_sources_first(self, sources: Graph, data: st.DataObject) -> None:
        targets = data.draw(st.lists(st.sampled_from(list(sources)), max_size=3)) if sources else []
        order = running_order(targets, sources, dependency_order(sources))
        assert len(order) == len(set(order))
        assert set(order) == ancestors(targets, sources)
        assert sources_first(order, sources)

    def test_one_output_is_finished_before_the_next_is_begun(self) -> None:
        sources: Graph = {"a1": [], "b1": [], "a2": ["a1"], "b2": ["b1"], "a3": ["a2"], "b3": ["b2"]}
        order = running_order(["a3", "b3"], sources, dependency_order(sources))
        assert order == ["a1", "a2", "a3", "b1", "b2", "b3"]

    def test_the_input_that_holds_most_goes_first(self) -> None:
        wide: Graph = {"x": [], "y": [], "sum": ["x", "y"], "one": [], "all": ["one", "sum"]}
        assert running_order(["all"], wide, dependency_order(wide)) == ["x", "y", "sum", "one", "all"]

    def test_what_an_input_holds_counts_its_own_inputs_largest_first(self) -> None:
        three, four = ["a", "b", "c"], ["w", "x", "y", "z"]
        sources: Graph = {name: [] for name in [*three, "d", "e", *four]}
        sources |= {"three": three, "lean": ["three", "d", "e"], "wide": four, "all": ["lean", "wide"]}
        assert running_order(["all"], sources, dependency_order(sources))[:5] == [*four, "wide"]

    def test_inputs_that_hold_the_same_keep_their_order(self) -> None:
        sources: Graph = {"c": [], "b": [], "a": [], "all": ["b", "a", "c"]}
        assert running_order(["all"], sources, dependency_order(sources)) == ["b", "a", "c", "all"]

    @given(graphs(acyclic=True))
    def test_it_depends_on_nothing_else(self, sources: Graph) -> None:
        once, again = (running_order(list(sources), dict(sources), dependency_order(sources)) for _ in range(2))
        assert once == again


class TestCycles:
    @given(graphs(acyclic=False))
    def test_each_is_a_cycle_and_none_is_missed(self, sources: Graph) -> None:
        found = cycles(sources, dependency_order(sources))
        for cycle in found:
            assert cycle[0] == cycle[-1]
            assert len(set(cycle)) == len(cycle) - 1
            assert all(source in sources[name] for name, source in itertools.pairwise(cycle))
        knots = [knot for knot in nx.strongly_connected_components(directed(sources)) if _is_knot(knot, sources)]
        assert {frozenset(knot) for knot in knots} == {_knot_of(cycle[0], knots) for cycle in found}
        assert len(found) == len(knots)

    @given(graphs(acyclic=False))
    def test_they_start_at_the_first_node_and_come_in_the_order_given(self, sources: Graph) -> None:
        place = {name: index for index, name in enumerate(sources)}
        found = cycles(sources, dependency_order(sources))
        starts = [place[cycle[0]] for cycle in found]
        assert starts == sorted(starts)
        assert all(place[cycle[0]] == min(map(place.__getitem__, cycle)) for cycle in found)

    @given(graphs(acyclic=True))
    def test_none(self, sources: Graph) -> None:
        assert cycles(sources, dependency_order(sources)) == []

    @pytest.mark.parametrize(
        ("sources", "found"),
        [
            ({"a": ["a"]}, [["a", "a"]]),
            ({"a": ["b"], "b": ["a"]}, [["a", "b", "a"]]),
            ({"a": ["b"], "b": ["c"], "c": ["a", "b"]}, [["a", "b", "c", "a"]]),
            ({"x": ["a"], "a": ["b", "b"], "b": ["a"], "c": ["c"]}, [["a", "b", "a"], ["c", "c"]]),
        ],
    )
    def test_by_hand(self, sources: Graph, found: list[list[str]]) -> None:
        assert cycles(sources, dependency_order(sources)) == found


def _is_knot(knot: set[str], sources: Graph) -> bool:
    return len(knot) > 1 or next(iter(knot)) in sources[next(iter(knot))]


def _knot_of(name: str, knots: list[set[str]]) -> frozenset[str]:
    return next(frozenset(knot) for knot in knots if name in knot)


class TestDepth:
    def test_a_deep_chain(self) -> None:
        sources = chain(DEEP)
        last = str(DEEP - 1)
        order = dependency_order(sources)
        assert order == list(sources)
        assert running_order([last], sources, order) == order
        assert len(ancestors([last], sources)) == DEEP

    def test_a_deep_chain_written_backwards(self) -> None:
        sources = dict(reversed(chain(DEEP).items()))
        assert running_order([str(DEEP - 1)], sources, dependency_order(sources)) == list(sources)[::-1]

    def test_a_long_cycle(self) -> None:
        sources = {**chain(DEEP), "0": [str(DEEP - 1)]}
        (cycle,) = cycles(sources, dependency_order(sources))
        assert (len(cycle), cycle[:2]) == (DEEP + 1, ["0", str(DEEP - 1)])

    def test_many_ways_through_a_few_nodes(self) -> None:
        """2**200 paths, which only counting nodes instead of paths gets through."""
        sources: Graph = {"0": []}
        for level in range(200):
            sources |= {
                f"l{level}": [str(level)],
                f"r{level}": [str(level)],
                str(level + 1): [f"l{level}", f"r{level}"],
            }
        order = running_order(["200"], sources, dependency_order(sources))
        assert sorted(order) == sorted(sources)
