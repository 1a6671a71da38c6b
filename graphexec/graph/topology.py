"""Order, reach and cycles of a graph given as node -> sources. Everything here is iterative and linear."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence

Sources = Mapping[str, Sequence[str]]


def ancestors(targets: Iterable[str], sources: Sources) -> set[str]:
    """The targets and everything they need, directly or not."""
    found = {target for target in targets if target in sources}
    pending = list(found)
    while pending:
        for source in sources[pending.pop()]:
            if source not in found:
                found.add(source)
                pending.append(source)
    return found


def dependency_order(sources: Sources) -> list[str]:
    """Every node after its sources, otherwise in the order given; nodes on or behind a cycle are left out."""
    waiting = {node: len(set(needs)) for node, needs in sources.items()}
    consumers: dict[str, list[str]] = {node: [] for node in sources}
    for node, needs in sources.items():
        for source in dict.fromkeys(needs):
            consumers[source].append(node)
    ready = deque(node for node, count in waiting.items() if count == 0)
    order: list[str] = []
    while ready:
        node = ready.popleft()
        order.append(node)
        for consumer in consumers[node]:
            waiting[consumer] -= 1
            if waiting[consumer] == 0:
                ready.append(consumer)
    return order


def running_order(targets: Iterable[str], sources: Sources, order: Sequence[str]) -> list[str]:
    """Depth first, so that few values wait at once; of several inputs the one that holds most goes first.

    `order` is a dependency order. How much a node holds follows Sethi and Ullman, "The Generation of Optimal Code for
    Arithmetic Expressions" (1970), taking the graph for a tree.
    """
    held: dict[str, int] = {}
    for node in order:
        weights = sorted((held[source] for source in set(sources[node])), reverse=True)
        held[node] = max((weight + place for place, weight in enumerate(weights)), default=1)
    result: dict[str, None] = {}
    pending = [(target, False) for target in reversed(list(targets))]
    while pending:
        node, entered = pending.pop()
        if node in result:
            continue
        if entered:
            result[node] = None
            continue
        pending.append((node, True))
        needs = sorted(dict.fromkeys(reversed(sources[node])), key=held.__getitem__)  # popped from the end
        pending.extend((source, False) for source in needs if source not in result)
    return list(result)


def cycles(sources: Sources, order: Sequence[str]) -> list[list[str]]:
    """One shortest-found cycle for each knot of nodes that `order` (a dependency order) had to leave out.

    Each is a path node -> source -> … -> node, starting at its first node in the order given.
    """
    import networkx as nx  # the ring of imports at start stays small: most workflows have no cycle

    done = set(order)
    graph: nx.DiGraph[str] = nx.DiGraph()
    for node, needs in sources.items():
        if node not in done:
            graph.add_edges_from((node, source) for source in needs if source not in done)
    place = {node: index for index, node in enumerate(sources)}
    knots = [knot for knot in nx.strongly_connected_components(graph) if len(knot) > 1 or graph.has_edge(*knot, *knot)]
    starts = sorted((min(knot, key=place.__getitem__), knot) for knot in knots)
    starts.sort(key=lambda start: place[start[0]])
    return [_cycle_through(start, knot, sources) for start, knot in starts]


def _cycle_through(start: str, knot: set[str], sources: Sources) -> list[str]:
    """The shortest way from `start` back to itself inside `knot`."""
    reached: dict[str, str] = {}
    pending = deque([start])
    while pending:
        node = pending.popleft()
        for source in sources[node]:
            if source == start:
                return _way(start, node, reached)
            if source in knot and source not in reached:
                reached[source] = node
                pending.append(source)
    return [start]


def _way(start: str, last: str, reached: Mapping[str, str]) -> list[str]:
    way = [start]
    node = last
    while node != start:
        way.append(node)
        node = reached[node]
    way.append(start)
    return way[::-1]
