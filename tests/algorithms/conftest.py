"""Federated training of logistic regression written out in numpy, in float64, to hold the processes to."""

from __future__ import annotations

import numpy as np
import pytest


class ByHand:
    """Softmax regression on flattened images; weights are [kernel, bias]."""

    def __init__(self, examples):
        scale = 255.0 if examples.x.dtype == np.uint8 else 1.0
        self.x = examples.x.reshape(len(examples), -1).astype(np.float64) / scale
        self.y = examples.y

    def gradient(self, weights, rows):
        """Of the mean cross-entropy over the examples at `rows`."""
        x, y = self.x[rows], self.y[rows]
        logits = x @ weights[0] + weights[1]
        p = np.exp(logits - logits.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        p[np.arange(len(y)), y] -= 1
        return [x.T @ p / len(y), p.mean(0)]

    def local_update(self, weights, rows, order, rate, batch_size, max_steps=None, mu=0.0):
        """Initial − trained, and the batches visited; `rows`: a client's examples, `order` [epochs, n]."""
        trained, batches = [w.astype(np.float64) for w in weights], []
        for epoch in order:
            batches += [rows[epoch[i : i + batch_size]] for i in range(0, len(rows), batch_size)]
        for batch in batches[:max_steps]:
            gradient = self.gradient(trained, batch)
            trained = [w - rate * (g + mu * (w - w0)) for w, g, w0 in zip(trained, gradient, weights)]
        return [w0 - w for w0, w in zip(weights, trained)], batches[:max_steps]

    @staticmethod
    def mean(updates, weights):
        return [np.average(tensors, axis=0, weights=weights) for tensors in zip(*updates)]

    def fed_avg(self, weights, inputs, rates, batch_size=5, by_examples=True, **options):
        """The weights after each round, the server taking the mean update as it is; `rates`: a learning rate per round."""
        history, weights = [], [w.astype(np.float64) for w in weights]
        for (clients), rate in zip(inputs, rates):
            updates = [self.local_update(weights, rows, order, rate, batch_size, **options)[0] for rows, order in clients]
            mean = self.mean(updates, [len(rows) if by_examples else 1 for rows, _ in clients])
            weights = [w - u for w, u in zip(weights, mean)]
            history.append(weights)
        return history


@pytest.fixture
def by_hand():
    """Example set → ByHand."""
    return ByHand
