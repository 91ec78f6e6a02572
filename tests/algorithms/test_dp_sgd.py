"""DP-SGD on clients: per-example clipping and noise by hand, and what they come to when there is nothing to clip or no noise."""

from __future__ import annotations

import numpy as np
import pytest

from fedlab.algorithms import DpSgd, LocalTraining
from fedlab.engine import Compiled, Tff
from fedlab.models import Mlp, Perceptron

LOOSE = dict(clip_norm=1e6, noise_multiplier=0.0, batches="shuffled")


def trained(lab, client, rounds=1, **options):
    return lab.trainer(client=client, **options).run(lab.inputs(rounds, epochs=client.local_epochs))


def test_without_clipping_and_noise_it_is_sgd(lab):
    """On batches that are full: the sum of gradients is divided by the batch size, whatever the batch holds."""
    sizes = (10, 5, 20)
    partition, examples = lab.partition(sizes), lab.examples(sizes)
    inputs = lab.inputs(2, epochs=2, partition=partition)
    weights = [
        lab.trainer(client=client, examples=examples).run(inputs).weights[-1]
        for client in (LocalTraining(batch_size=5, local_epochs=2), DpSgd(batch_size=5, local_epochs=2, **LOOSE))
    ]
    # By examples there, all alike here
    assert lab.distance(*weights) < 1e-5


def by_hand(images, labels, weights, clip_norm):
    """The sum of clipped gradients of logistic regression, example by example, in float64."""
    w, b = (np.asarray(t, np.float64) for t in weights)
    totals, norms = [np.zeros_like(w), np.zeros_like(b)], []
    for x, y in zip(images.reshape(len(images), -1).astype(np.float64) / 255, labels):
        logits = x @ w + b
        p = np.exp(logits - logits.max())
        p /= p.sum()
        p[y] -= 1
        gradient = [np.outer(x, p), p]
        norm = np.sqrt(sum((g**2).sum() for g in gradient))
        norms.append(norm)
        for total, g in zip(totals, gradient):
            total += g * min(1.0, clip_norm / norm)
    return totals, norms


def test_every_examples_gradient_is_clipped(lab):
    """One client, one batch, learning rate 0.1: the step is that sum over the batch size."""
    examples, inputs = lab.examples(), lab.inputs(1, clients=[2])
    mine = lab.clients(inputs[0])[0][0]
    _, norms = by_hand(examples.x[mine], examples.y[mine], lab.trainer().initial_weights, np.inf)
    clip_norm = float(np.median(norms))
    client = DpSgd(batch_size=20, clip_norm=clip_norm, noise_multiplier=0.0, batches="shuffled")
    trainer = lab.trainer(client=client)
    (after,) = trainer.run(inputs).weights
    totals, norms = by_hand(examples.x[mine], examples.y[mine], trainer.initial_weights, clip_norm)
    assert min(norms) < clip_norm < max(norms)
    expected = [w - 0.1 * t / 20 for w, t in zip(trainer.initial_weights, totals)]
    assert lab.distance(after, expected) < 1e-6


@pytest.mark.sampled
@pytest.mark.parametrize("value", [1e25, 3e38, *(pytest.param(v, marks=pytest.mark.slow) for v in (1e15, 1e19, np.inf, np.nan))])
def test_one_examples_gradient_of_any_size_moves_the_sum_by_the_bound_at_most_and_the_noise_stays(lab, value):
    """One client, one step, with the same noise: against the step in which that example's input is zero."""
    clip_norm, noise_multiplier, batch_size = 0.5, 20.0, 20
    client = DpSgd(batch_size=batch_size, clip_norm=clip_norm, noise_multiplier=noise_multiplier, batches="shuffled")
    moved, metrics = {}, {}
    for given in (value, 0.0):
        examples = lab.examples(dtype=np.float32)
        examples.x[lab.partition().indices[2][3]] = given
        trainer = lab.trainer(client=client, examples=examples)
        result = trainer.run(lab.inputs(1, clients=[2]))
        moved[given] = np.concatenate([np.ravel(b - a) for a, b in zip(result.weights[0], trainer.initial_weights)]) / 0.1
        metrics[given] = result.metrics[0]
    assert np.isfinite(moved[value]).all()
    assert np.isfinite(metrics[value]["client_work/train/loss"])
    assert np.linalg.norm(moved[value] - moved[0.0]) <= 2 * clip_norm / batch_size * (1 + 1e-3)
    noise = noise_multiplier * clip_norm / batch_size * np.sqrt(moved[value].size)  # 148 weights
    assert noise / 2 < np.linalg.norm(moved[value]) < 2 * noise


@pytest.mark.slow
def test_on_tffs_runtime_too(lab):
    """One client, one step, one example of 3e38. The reference is the step without noise on the compiled engine, in which that
    example is zero. TFF draws fresh noise for 148 weights: its norm is below half its mean, or above twice, with 1e-20."""
    examples = {value: lab.examples(dtype=np.float32) for value in (3e38, 0.0)}
    for value, given in examples.items():
        given.x[lab.partition().indices[2][3]] = value
    clip_norm, batch_size, noise_multiplier = 0.5, 20, 20.0

    def moved(examples, noise_multiplier, engine):
        client = DpSgd(batch_size=batch_size, clip_norm=clip_norm, noise_multiplier=noise_multiplier, batches="shuffled")
        trainer = lab.trainer(client=client, examples=examples, engine=engine)
        [weights] = trainer.run(lab.inputs(1, clients=[2])).weights
        return np.concatenate([np.ravel(b - a) for a, b in zip(weights, trainer.initial_weights)]) / 0.1

    without = moved(examples[0.0], 0.0, Compiled())
    unit = clip_norm / batch_size
    assert np.linalg.norm(moved(examples[3e38], 0.0, Tff()) - without) <= unit * (1 + 1e-3)
    noise = np.linalg.norm(moved(examples[3e38], noise_multiplier, Tff()) - without)
    assert 0.5 < noise / (noise_multiplier * unit * np.sqrt(without.size)) < 2


def test_examples_whose_losses_overflow_together_leave_the_update_and_its_noise(lab):
    """Each loss is below 1e30, the sum of the client's losses is not: only its metrics are left out."""
    client = DpSgd(batch_size=20, clip_norm=0.5, noise_multiplier=20.0, batches="shuffled")
    examples, mine = lab.examples(dtype=np.float32), lab.partition().indices[2]
    logits = lab.functional(Perceptron(), examples)[1][0][0].sum(0)  # of an image of ones, at the start
    losses = logits.max() - logits[examples.y[mine]]
    examples.x[mine] = 0.9e30 / losses.max()
    assert losses.sum() > 2 * losses.max()
    trainer = lab.trainer(client=client, examples=examples)
    result, others = trainer.run(lab.inputs(1)), trainer.run(lab.inputs(1, clients=[0, 1, 3]))
    assert result.metrics[0]["client_work/non_finite_clients"] == 1
    assert result.metrics[0]["client_work/train/loss"] == others.metrics[0]["client_work/train/loss"]
    [alone] = trainer.run(lab.inputs(1, clients=[2])).weights
    moved = np.concatenate([np.ravel(a - b) for a, b in zip(alone, trainer.initial_weights)])
    noise = 0.1 * 20.0 * 0.5 / 20 * np.sqrt(moved.size)  # 148 weights at learning rate 0.1
    assert noise / 2 < np.linalg.norm(moved) < 2 * noise


def test_a_short_batch_is_divided_by_the_batch_size_too(lab):
    client = DpSgd(batch_size=40, **LOOSE)
    trainer, examples = lab.trainer(client=client), lab.examples()
    inputs = lab.inputs(1, clients=[0])
    mine = lab.clients(inputs[0])[0][0]
    assert len(mine) < 40
    totals, _ = by_hand(examples.x[mine], examples.y[mine], trainer.initial_weights, 1e6)
    expected = [w - 0.1 * t / 40 for w, t in zip(trainer.initial_weights, totals)]
    assert lab.distance(trainer.run(inputs).weights[0], expected) < 1e-6


def test_noise_has_the_stated_deviation_and_is_fresh_in_every_step(lab):
    """One client, gradients clipped to next to nothing: what is left is noise."""
    clip_norm, noise_multiplier, batch_size, steps = 1e-3, 50.0, 5, 4
    client = DpSgd(batch_size=batch_size, clip_norm=clip_norm, noise_multiplier=noise_multiplier, batches="shuffled")
    trainer = lab.trainer(client=client, model=Mlp(hidden=(200,)))
    (after,) = trainer.run(lab.inputs(1, clients=[2])).weights  # 20 examples: 4 steps
    moved = np.concatenate([(np.asarray(a) - np.asarray(b)).ravel() for a, b in zip(after, trainer.initial_weights)])
    expected = 0.1 * np.sqrt(steps) * noise_multiplier * clip_norm / batch_size
    n = len(moved)
    assert abs(moved.std() - expected) < 5 * expected / np.sqrt(2 * n) + 0.1 * steps * clip_norm
    assert abs(moved.mean()) < 5 * expected / np.sqrt(n)


def test_poisson_batches_hold_each_example_with_the_stated_chance(lab):
    client = DpSgd(batch_size=5, noise_multiplier=0.0, batches="poisson")
    rounds = 60
    seen = [m["client_work/train/num_examples"] for m in trained(lab, client, rounds).metrics]
    sizes = np.array(lab.sizes)
    steps, rate = -(-sizes // 5), np.minimum(5 / sizes, 1)
    mean, variance = (steps * sizes * rate).sum(), (steps * sizes * rate * (1 - rate)).sum()
    assert abs(np.mean(seen) - mean) < 5 * np.sqrt(variance / rounds)
    assert np.std(seen) > 0.5 * np.sqrt(variance)


@pytest.mark.sampled
@pytest.mark.parametrize(
    "client", [DpSgd(batch_size=5), LocalTraining(batch_size=5, weight_noise=0.1)], ids=lambda c: type(c).__name__
)
def test_equal_keys_give_equal_noise_and_others_other(lab, client):
    one, two = trained(lab, client).weights[0], trained(lab, client).weights[0]
    assert lab.same_bits(one, two)
    other = lab.trainer(client=client).run(lab.inputs(1, epochs=1, seed=9)).weights[0]
    assert not lab.same_bits(one, other)


def test_weight_noise_is_added_to_what_a_client_sends(lab):
    noisy, plain = (trained(lab, LocalTraining(batch_size=5, weight_noise=s), model=Mlp(hidden=(300,))) for s in (0.5, 0.0))
    shares = np.array(lab.sizes) / sum(lab.sizes)
    difference = np.concatenate([(np.asarray(a) - np.asarray(b)).ravel() for a, b in zip(noisy.weights[0], plain.weights[0])])
    expected = 0.5 * np.sqrt((shares**2).sum())
    assert abs(difference.std() - expected) < 5 * expected / np.sqrt(2 * len(difference))
