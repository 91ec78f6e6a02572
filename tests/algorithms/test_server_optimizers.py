"""Server optimizers against their formulas, applied by hand to the mean update.

Reddi et al. 2021, algorithm 2, in the form of TFF's optimizers: with the bias corrections of Kingma & Ba 2015, and for Adagrad
with ε under the root.
"""

from __future__ import annotations

import numpy as np
import pydantic
import pytest

from fedlab.algorithms.optimizers import Adagrad, Adam, Cosine, Exponential, Sgd, Yogi

# The mean update is computed in float32 to about 1e-7 of the weights. Adaptive steps divide by √v + ε with ε = 1e-2 here, so
# the error of a step is at most learning rate · 1e-7 / 1e-2 = 1e-6 of the weights; there are three
WITHIN = 3e-6
RATE, EPSILON, BETA_1, BETA_2, START = 0.1, 1e-2, 0.8, 0.95, 0.04


def sgd(t, w, g, memory):
    return w - RATE * g


def momentum(t, w, g, memory):
    memory["m"] = 0.9 * memory.get("m", 0.0) + g
    return w - RATE * memory["m"]


def corrected_step(t, w, m, v):
    """Kingma & Ba 2015, end of section 2."""
    return w - RATE * np.sqrt(1 - BETA_2**t) / (1 - BETA_1**t) * m / (np.sqrt(v) + EPSILON)


def adam(t, w, g, memory):
    memory["m"] = BETA_1 * memory.get("m", 0.0) + (1 - BETA_1) * g
    memory["v"] = BETA_2 * memory.get("v", 0.0) + (1 - BETA_2) * g**2
    return corrected_step(t, w, memory["m"], memory["v"])


def yogi(t, w, g, memory):
    v = memory.get("v", START)
    memory["m"] = BETA_1 * memory.get("m", 0.0) + (1 - BETA_1) * g
    memory["v"] = v - (1 - BETA_2) * g**2 * np.sign(v - g**2)
    return corrected_step(t, w, memory["m"], memory["v"])


def adagrad(t, w, g, memory):
    memory["v"] = memory.get("v", START) + g**2
    return w - RATE * g / np.sqrt(memory["v"] + EPSILON)


CASES = {
    "sgd": (Sgd(learning_rate=RATE), sgd),
    "momentum": (Sgd(learning_rate=RATE, momentum=0.9), momentum),
    "adam": (Adam(learning_rate=RATE, beta_1=BETA_1, beta_2=BETA_2, epsilon=EPSILON), adam),
    "yogi": (Yogi(learning_rate=RATE, beta_1=BETA_1, beta_2=BETA_2, epsilon=EPSILON, initial_preconditioner=START), yogi),
    "adagrad": (Adagrad(learning_rate=RATE, epsilon=EPSILON, initial_preconditioner=START), adagrad),
}


@pytest.mark.sampled
@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] if n == "sgd" else []) for n in CASES])
def test_three_rounds_follow_the_formula(lab, by_hand, name):
    optimizer, formula = CASES[name]
    examples, inputs = lab.examples(), lab.inputs(3)
    trainer = lab.trainer(examples=examples, server_optimizer=optimizer)
    trained = trainer.run(inputs).weights

    hand, weights = by_hand(examples), [w.astype(np.float64) for w in trainer.initial_weights]
    memories = [{} for _ in weights]
    for t, (round_input, ours) in enumerate(zip(inputs, trained), start=1):
        clients = lab.clients(round_input)
        updates = [hand.local_update(weights, rows, order, 0.1, 5)[0] for rows, order in clients]
        mean = hand.mean(updates, [len(rows) for rows, _ in clients])
        weights = [formula(t, w, g, memory) for w, g, memory in zip(weights, mean, memories)]
        assert lab.distance(ours, weights) < WITHIN


@pytest.mark.parametrize(
    "make",
    [
        lambda: Sgd(learning_rate=0),
        lambda: Sgd(learning_rate=-1),
        lambda: Sgd(learning_rate=0.1, momentum=1.0),
        lambda: Sgd(),
        lambda: Adam(learning_rate=0.1, beta_2=1.0),
        lambda: Adam(learning_rate=0.1, epsilon=0),
        lambda: Yogi(learning_rate=0.1, initial_preconditioner=-1),
        lambda: Adagrad(learning_rate=0.1, momentum=0.9),
        lambda: Exponential(decay_rate=0),
        lambda: Exponential(decay_rate=1.1),
        lambda: Cosine(decay_rounds=0),
        lambda: Cosine(decay_rounds=3, final_factor=2),
    ],
)
def test_options_out_of_range_are_refused(make):
    with pytest.raises(pydantic.ValidationError):
        make()
