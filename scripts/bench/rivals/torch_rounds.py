"""Rounds as a loop over clients in PyTorch, with no framework: torch_rounds.py EXERCISE.npz OUT.npz"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np
import torch
import torch_networks as networks
from exercise import Exercise, run


def rounds(exercise: Exercise) -> Iterator[list[np.ndarray]]:
    """Federated averaging, or SCAFFOLD."""
    net, (x, y), rate = networks.network(exercise), networks.tensors(exercise), exercise.learning_rate
    parameters = networks.trained(net)
    server = [p.detach().clone() for p in parameters]
    scaffold = exercise.algorithm == "scaffold"
    common, kept = [torch.zeros_like(w) for w in server], {}
    for cohort in exercise.cohorts.tolist():
        total, change = [torch.zeros_like(w) for w in server], [torch.zeros_like(w) for w in server]
        for client in cohort:
            own = kept.get(client) or [torch.zeros_like(w) for w in server]
            with torch.no_grad():
                for p, w in zip(parameters, server):
                    p.copy_(w)
            steps = 0
            for begin in range(0, len(y[client]), exercise.batch_size):
                batch = slice(begin, begin + exercise.batch_size)
                gradients = torch.autograd.grad(networks.loss(net(x[client, batch]), y[client, batch]), parameters)
                with torch.no_grad():
                    for p, g, mine, all_of_them in zip(parameters, gradients, own, common):
                        p.sub_(g - mine + all_of_them if scaffold else g, alpha=rate)
                steps += 1
            with torch.no_grad():
                for t, p in zip(total, parameters):
                    t.add_(p, alpha=1 / len(cohort))
                if scaffold:
                    new = [mine - c + (w - p) / (steps * rate) for mine, c, w, p in zip(own, common, server, parameters)]
                    for total_change, after, before in zip(change, new, own):
                        total_change.add_(after - before)
                    kept[client] = new
        server = total
        common = [c + d / exercise.num_clients for c, d in zip(common, change)]
        with torch.no_grad():
            for p, w in zip(parameters, server):
                p.copy_(w)
        yield networks.keras_weights(net)


if __name__ == "__main__":
    run(sys.argv[2], rounds(Exercise.load(sys.argv[1])))
