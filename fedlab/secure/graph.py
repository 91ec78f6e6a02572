"""The graph of clients that mask for each other and keep each other's shares: complete, sparse and random (Bell et al. 2020), or
of pairs (`fedlab/secure/pairs.py`).

In the sparse graph each client has k neighbours; k grows with the logarithm of the number of clients, and each client sends k
messages, shares and masks instead of n. A secret is rebuilt from t shares. k and t are the least numbers for which, by the
hypergeometric tails (Bell et al. 2020, section 3.2),

- if the share CORRUPT of the clients pass their shares to the server, the probability that any client has t such neighbours is
  at most 2⁻³⁰, and
- if the share DROPPED of the clients vanish, the probability that any client has fewer than t neighbours left is at most 2⁻¹⁰.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Collection, Mapping, Sequence

import numpy as np

CORRUPT, DROPPED = 0.1, 0.3
FEW_CLIENTS = 30  # with fewer, t would be 2 or 3, and a sparse graph saves little
EXPOSED, STRANDED = 2.0**-30, 2.0**-10

Graph = Mapping[int, Sequence[int]]  # client → its neighbours


@functools.lru_cache(maxsize=64)
def sparse_degree(num_clients: int) -> tuple[int, int] | None:
    """Returns (k, t), or None if the graph must be complete."""
    others, corrupt, dropped = num_clients - 1, math.ceil(CORRUPT * num_clients), math.ceil(DROPPED * num_clients)
    for k in range(2, others, 2) if num_clients >= FEW_CLIENTS else ():
        exposed, stranded = _chances(others, min(corrupt, others), k), _chances(others, max(others - dropped, 0), k)
        for t in range(2, k + 1):
            if num_clients * sum(exposed[t:]) <= EXPOSED and num_clients * sum(stranded[:t]) <= STRANDED:
                return k, t
    return None


def neighbors(clients: Sequence[int], degree: int, rng: np.random.Generator) -> dict[int, tuple[int, ...]]:
    """Returns each client's neighbours: the `degree` nearest on a ring of all clients in random order (a Harary graph)."""
    n = len(clients)
    if degree >= n - 1:
        return {c: tuple(o for o in clients if o != c) for c in clients}
    assert degree % 2 == 0
    ring = [clients[i] for i in rng.permutation(n)]
    steps = [s for d in range(1, degree // 2 + 1) for s in (-d, d)]
    return {client: tuple(ring[(i + s) % n] for s in steps) for i, client in enumerate(ring)}


def parts(graph: Graph, clients: Collection[int]) -> list[set[int]]:
    """Returns the connected parts of the graph of `clients`. Masks cancel within each part, so the server can compute its sum."""
    left, found = set(clients), []
    while left:
        reached = [left.pop()]
        found.append(set(reached))
        while reached:
            near = left.intersection(graph[reached.pop()])
            left -= near
            found[-1] |= near
            reached.extend(near)
    return found


def is_connected(graph: Graph, clients: Collection[int]) -> bool:
    """Returns True if the clients form at most one part of the graph."""
    return len(parts(graph, clients)) <= 1


def _chances(others: int, marked: int, k: int) -> list[float]:
    """Returns the probabilities of exactly i marked clients among k drawn from `others`, for i from 0 to k."""
    ways = math.comb(others, k)
    return [math.comb(marked, i) * math.comb(others - marked, k - i) / ways for i in range(k + 1)]
