"""Noise that ε rests on follows from a secret and not from the seed: whoever knows all but the secret cannot take it off."""

from __future__ import annotations

import numpy as np
import pytest

from fedlab.algorithms import DpSgd, LocalTraining
from fedlab.archive import checkpoint, noise_key
from fedlab.cohort import All, InTurn, Poisson, Uniform
from fedlab.composition import REPLAYABLE
from fedlab.engine import Compiled, Tff
from fedlab.models import Mlp
from fedlab.privacy import GaussianAdaptive, GaussianFixed, Tree
from fedlab.randomness import Secret, generator, key
from fedlab.run import inputs
from fedlab.run.checkpointing import Checkpointing
from fedlab.run.privacy import NOISE, noise_from, sources

OTHER = Secret(2**254 + 3)
ONE_ROUND = dict(num_rounds=1, cohort=All(), model=Mlp(hidden=(8,)))


def weights(run):
    return np.concatenate([np.ravel(w) for w in run.model.get_weights()])


def mechanism(kind):
    return lambda clip_norm, noise, source: dict(
        privacy=kind(clip_norm=clip_norm, noise_multiplier=noise, noise_source=source, delta=0.01)
    )


def dp_sgd(clip_norm, noise, source):
    """One step over all of a client's examples."""
    options = dict(clip_norm=clip_norm, noise_multiplier=noise, noise_source=source, delta=0.01)
    return dict(client=DpSgd(batch_size=60, batches="poisson", **options))


VICTIMS = {"gaussian_fixed": mechanism(GaussianFixed), "tree": mechanism(Tree), "dp_sgd": dp_sgd}


@pytest.fixture(scope="module", params=["gaussian_fixed", pytest.param("tree", marks=pytest.mark.slow), "dp_sgd"])
def attack(request, run_of):
    """(the victim's options by noise source, its update without noise, the noise as replayed from the seed), flat weights.

    The attacker runs the victim's seed and options, but with a clip norm so small that noise is all there is.
    """
    clip_norm, noise, options = 0.5, 2.0, VICTIMS[request.param]
    replayed = run_of(**options(clip_norm * 1e-6, noise * 1e6, "seed"), **ONE_ROUND)
    start = weights(run_of(**options(clip_norm * 1e-6, 0.0, "seed"), **ONE_ROUND))
    clean = weights(run_of(**options(clip_norm, 0.0, "seed"), **ONE_ROUND))
    return lambda source: options(clip_norm, noise, source), clean - start, weights(replayed) - start, start


@pytest.mark.sampled
@pytest.mark.parametrize("source", ["seed", "key"])
def test_noise_can_be_taken_off_only_where_it_follows_from_the_seed(run_of, attack, source):
    options, update, noise, start = attack
    assert np.linalg.norm(update) > 1e-3
    recovered = weights(run_of(**options(source), **ONE_ROUND)) - noise - start
    if source == "seed":
        assert np.linalg.norm(recovered - update) < 1e-2 * np.linalg.norm(update)
    else:  # what is left is the difference of two independent noises
        assert np.linalg.norm(recovered - update) > np.linalg.norm(noise)


GUARDED = {
    "gaussian_fixed": dict(privacy=GaussianFixed(noise_multiplier=0.5, delta=0.01)),
    "gaussian_adaptive": dict(privacy=GaussianAdaptive(noise_multiplier=0.1, delta=0.01)),
    "tree": dict(privacy=Tree(noise_multiplier=0.5, delta=0.01), cohort=InTurn(clients_per_round=2)),
    "dp_sgd": dict(client=DpSgd(batch_size=5, delta=0.01)),
}


@pytest.mark.parametrize("kind", [k if k == "dp_sgd" else pytest.param(k, marks=pytest.mark.slow) for k in GUARDED])
def test_two_runs_of_one_seed_differ_in_noise_and_agree_in_the_rest(run_of, kind):
    from fedlab.run.learner import build_learner

    one = run_of(num_rounds=1, **GUARDED[kind])
    other = run_of(num_rounds=1, secret=OTHER, **GUARDED[kind])
    assert not np.array_equal(weights(one), weights(other))  # with one secret they do not: test_resume.py
    dataset, partition = inputs.load(one.experiment)
    assert all(np.array_equal(a, b) for a, b in zip(partition.indices, one.partition.indices))
    learners = [build_learner(one.experiment, dataset, partition, {}, secret) for secret in (OTHER, None)]
    first, second = ([np.asarray(w) for w in learner.weights] for learner in learners)
    for learner in learners:
        learner.close()
    assert all(np.array_equal(a, b) for a, b in zip(first, second))


@pytest.mark.slow
def test_checkpoints_of_a_tree_hold_no_noise(run_of):
    """Of two runs that differ in their secret alone, only the weights differ, which are public."""
    options = {**GUARDED["tree"], "num_rounds": 3, "checkpoint": Checkpointing(every=3), "model": Mlp(hidden=(8,))}
    states = []
    for secret in (OTHER, Secret(2**253 + 5)):
        run = run_of(secret=secret, **options)
        states.append(checkpoint.load(checkpoint.newest_first(run.folder.checkpoints)[0]).state)
        public = run.model.get_weights()
    differing = [b for a, b in zip(*states) if not np.array_equal(a, b)]
    assert differing and all(any(np.array_equal(tensor, w) for w in public) for tensor in differing)


class TestSources:
    def sources(self, once, **options):
        return sources(once.experiment.model_copy(update=options), OTHER)

    def test_without_privacy_everything_follows_from_the_seed(self, once):
        found = self.sources(once)
        assert {found.seed, found.cohorts, found.clients, found.server} == {once.experiment.seed}
        assert not any(isinstance(s, Secret) for s in (found.cohorts, found.clients, found.server))

    @pytest.mark.parametrize(
        ("options", "secret"),
        [
            (dict(privacy=GaussianFixed(noise_multiplier=1.0)), {"cohorts", "server"}),
            (dict(privacy=GaussianAdaptive(noise_multiplier=1.0)), {"cohorts", "server"}),
            (dict(privacy=Tree(noise_multiplier=1.0)), {"server"}),
            (dict(client=DpSgd()), {"clients"}),
            (dict(privacy=GaussianFixed(noise_multiplier=1.0), client=DpSgd()), {"cohorts", "server", "clients"}),
            (dict(privacy=GaussianFixed(noise_multiplier=1.0, noise_source="seed")), set()),
            (dict(client=DpSgd(noise_source="seed")), set()),
            (dict(client=LocalTraining(weight_noise=0.1)), set()),
        ],
        ids=["fixed", "adaptive", "tree", "dp_sgd", "both", "fixed by seed", "dp_sgd by seed", "weight noise"],
    )
    def test_what_epsilon_rests_on_follows_from_the_secret(self, once, options, secret):
        found = self.sources(once, **options)
        assert {name for name in ("cohorts", "clients", "server") if isinstance(getattr(found, name), Secret)} == secret
        each = [getattr(found, name) for name in secret]
        assert len(set(each)) == len(each) and OTHER not in each

    @pytest.mark.parametrize("sampler", [Poisson(sampling_rate=0.5), Uniform(clients_per_round=20)], ids=str)
    def test_so_do_cohorts(self, once, sampler):
        drawn = [
            [sampler(60, s.cohorts, r).clients.tolist() for r in range(1, 9)]
            for privacy in (GaussianFixed(noise_multiplier=1.0), Tree(noise_multiplier=1.0))
            for s in (self.sources(once, privacy=privacy), sources(once.experiment.model_copy(update={"privacy": privacy}), None))
        ]
        assert drawn[0] != drawn[1] and drawn[2] == drawn[3]

    @pytest.mark.parametrize(
        ("options", "noise"),
        [
            (dict(privacy=GaussianFixed(noise_multiplier=1.0)), "noise.key"),
            (dict(privacy=GaussianFixed(noise_multiplier=1.0), engine=Tff()), "engine"),
            (dict(privacy=Tree(noise_multiplier=1.0), engine=Tff()), "noise.key"),
            (dict(client=DpSgd(), engine=Tff()), "engine"),
            (dict(client=DpSgd(noise_source="seed"), privacy=GaussianFixed(noise_multiplier=1.0)), REPLAYABLE),
            (dict(client=LocalTraining(weight_noise=0.1)), REPLAYABLE),
        ],
        ids=str,
    )
    def test_where_noise_is_from_is_said(self, once, options, noise):
        assert noise_from(once.experiment.model_copy(update={"engine": Compiled(), **options})) == noise
        assert REPLAYABLE == "replayable: ε holds only against those who do not know the seed" and REPLAYABLE in NOISE


def test_arms_that_differ_draw_independently_and_equal_ones_alike():
    """Else the noise of two results would cancel, and their ε would not add up."""
    privacy = {"_target_": "fedlab.privacy.GaussianFixed", "noise_multiplier": 1.0}
    config = {"seed": 0, "privacy": privacy, "arms": {"a": {}, "b": {}, "c": {"privacy": {"noise_multiplier": 2.0}}}}
    found = noise_key.secrets_of_arms(OTHER, config)
    assert found["a"] == found["b"] != found["c"] and OTHER not in found.values()


class TestSecret:
    def test_gives_nothing_away_in_words(self):
        secret = Secret.fresh()
        for text in (str(secret), repr(secret), f"{secret}", f"{secret:x}", repr([secret]), secret.identity):
            assert str(int(secret)) not in text and secret.key.hex()[:8] not in text

    def test_every_purpose_and_path_has_draws_of_its_own(self):
        paths = [("a", ()), ("a", (0,)), ("a", (0, 0)), ("a", (1,)), ("b", (1,)), ("a\0", ()), ("a", (2**32,))]
        drawn = {key(secret, purpose, *path).tobytes() for secret in (OTHER, Secret(1)) for purpose, path in paths}
        assert len(drawn) == 2 * len(paths)
        uniform = {generator(OTHER, purpose, *path).random() for purpose, path in paths}
        assert len(uniform) == len(paths)

    def test_takes_the_place_of_a_seed_in_a_sampler_of_ones_own(self):
        assert np.random.default_rng([OTHER, 3]).random() == np.random.default_rng([int(OTHER), 3]).random()
