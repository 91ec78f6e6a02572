"""Fixed pairs of clients that mask for each other. Every client must stay to the end of a round.

A client is named by its place in the cohort, from 0, in ascending order of clients: with cohort=all, by its number in the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fedlab.secure.graph import parts

Pairs = tuple[tuple[int, int], ...]


def are_pairs(given: Any) -> bool:
    """Returns True for a non-empty list of lists of two integers from 0."""

    def is_list(value: Any) -> bool:
        return isinstance(value, (list, tuple)) and len(value) > 0

    return is_list(given) and all(
        is_list(pair) and len(pair) == 2 and all(type(place) is int and place >= 0 for place in pair) for pair in given
    )


def checked(pairs: Pairs) -> Pairs:
    """Returns `pairs`. Raises `ValueError` if one has a client twice, if one is listed twice, or if a client is in none."""
    seen: set[frozenset[int]] = set()
    for a, b in pairs:
        if a == b:
            raise ValueError(f"[{a},{b}] pairs a client with itself: give two different clients")
        if frozenset((a, b)) in seen:
            raise ValueError(f"[{a},{b}] is listed twice, in this or the other order: leave one out")
        seen.add(frozenset((a, b)))
    paired = frozenset().union(*seen)
    alone = next((place for place in range(num_paired(pairs)) if place not in paired), None)
    if alone is not None:
        raise ValueError(
            f"client {alone} is in no pair, so no mask would hide its update: the clients of a round are 0, 1, 2, …; list a pair "
            "for each"
        )
    return pairs


def halves(num_clients: int) -> Pairs:
    """Returns the pairs of n clients, an even number: place i with place i + n / 2."""
    half = num_clients // 2
    assert num_clients == 2 * half
    return tuple((i, i + half) for i in range(half))


def num_paired(pairs: Pairs) -> int:
    """Returns the number of clients of a round, all of which are in `pairs`."""
    return 1 + max(place for pair in pairs for place in pair)


def linked_by(pairs: Pairs, clients: Sequence[int]) -> dict[int, tuple[int, ...]]:
    """Returns the neighbours of each of `clients`, which are in ascending order."""
    graph: dict[int, list[int]] = {client: [] for client in clients}
    for a, b in pairs:
        graph[clients[a]].append(clients[b])
        graph[clients[b]].append(clients[a])
    return {client: tuple(near) for client, near in graph.items()}


def named(neighbors: str | Pairs) -> str:
    """Returns the value of secure.neighbors as in a command."""
    return neighbors if isinstance(neighbors, str) else "[" + ",".join(f"[{a},{b}]" for a, b in neighbors) + "]"


def revealed(pairs: Pairs) -> str:
    """Returns what the server can learn about few clients: alone, and together with clients that collude with it.

    Masks cancel within each connected part of the graph, so the server can compute its sum. The neighbours of a client know
    all of its masks together.
    """
    graph = linked_by(pairs, range(num_paired(pairs)))
    groups = parts(graph, graph)
    fewest = min(map(len, graph.values()))
    alone = "masks connect all clients, so the server alone can compute the sum of all only"
    if len(groups) > 1:
        alone = (
            f"the server can compute the sum of each of {len(groups)} groups of clients, the smallest of {min(map(len, groups))}"
        )
    collude = "one client that colludes" if fewest == 1 else f"{fewest} clients that collude"
    return f"{alone}, and {collude} with it can reveal the update of a client that masks with no other"
