"""The privacy of a run, round by round: for users, by noise on the server, or for examples, by noise on clients."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from fedlab.composition import ALONE, FILTERED, INITIALISED, REPLAYABLE, Claim
from fedlab.errors import ConfigError
from fedlab.filter import NoFilter
from fedlab.privacy import Everyone, FixedSize, Mechanism, Poisson, Sampling, Schedule, Tree
from fedlab.randomness import Secret
from fedlab.run.experiment import Experiment, is_private
from fedlab.run.promises import check_privacy, errors_of, stated_sampling
from fedlab.run.rounds import Sources
from fedlab.sampling import unamplified
from fedlab.spec import states
from fedlab.types import Partition

if TYPE_CHECKING:
    import tensorflow_federated as tff

    from fedlab.privacy.accounting import Spending
    from fedlab.privacy.examples import WorstClient

MEASUREMENTS = (
    "logged metrics (training loss and accuracy, counts, accuracy per client) contain no noise; ε covers the model and not them: "
    "do not publish them"
)

CHOSEN = (
    "model_best.keras is the model of a round that the test set chose: ε covers the training examples, and not those of the "
    "test set"
)

# Warning by the value of "noise" in a record
NOISE = {
    REPLAYABLE: REPLAYABLE,
    "noise.key": "the noise, and the draws that ε relies on, follow from noise.key, 256 random bits of the operating system: "
    "anybody who has that file can remove the noise, and `fedlab forget` deletes it",
    "engine": "this engine draws noise from its own generator and not from noise.key. The generator of TFF's runtime has a seed "
    "of 32 bits, which can be found by trying all of them: ε assumes that nobody does. engine=compiled draws from noise.key",
}


class PrivacyAccount:
    """Plans the noise of a run, and computes after each round the ε spent so far."""

    def __init__(self, experiment: Experiment, partition: Partition, secret: Secret | None = None, *, num_weights: int):
        """`secret`: the run's; None: a new one, which is not stored. `num_weights`: of the model. Raises `ConfigError` for a
        target that cannot be met, or a stage that does not state the promise that ε relies on."""
        check_privacy(experiment)
        self.sources = sources(experiment, secret)
        self._experiment, self._partition = experiment, partition
        # The sampling that ε assumes, as the sampler states it; None if no ε is claimed
        self.stated = stated_sampling(experiment.cohort, len(partition)) if is_private(experiment) else None
        self._plan = experiment.privacy.plan(
            sampling_of(experiment, len(partition)), experiment.num_rounds, errors_of(experiment, num_weights)
        )
        self.num_rounds = self._plan.rounds
        self._by_round: dict[int, Spending] = {}  # at example level, for the rounds of the grid of `ahead`

    def aggregator(self, experiment: Experiment) -> tff.aggregators.UnweightedAggregationFactory | None:
        """Returns the aggregator that clips, sums and adds noise; None keeps the run's own aggregator."""
        return self._plan.aggregator(self.sources.server)

    def spent(self, num_rounds: int) -> Spending | None:
        """Returns the cost of `num_rounds` rounds for a user, or for an example; None without any guarantee."""
        experiment = self._experiment
        if isinstance(experiment.privacy, Mechanism):
            return self._plan.spent(num_rounds)
        if experiment.client.private:
            return self._examples(num_rounds)
        if experiment.client.weight_noise:
            from fedlab.privacy import accounts
            from fedlab.privacy.accounting import Ledger

            return Ledger(accounts.weight_noise(experiment.client.weight_noise), 1e-5).spent(num_rounds)
        return None

    def figures(self, num_rounds: int) -> dict[str, Any]:
        """Returns the fields of a round's record: ε by both accountants, δ. ∞ is "inf"."""
        spending = self.spent(num_rounds)
        if spending is None:
            return {}
        found = {"epsilon": spending.epsilon, "epsilon_rdp": spending.epsilon_rdp, "epsilon_pld": spending.epsilon_pld}
        written = {k: "inf" if v is not None and math.isinf(v) else v for k, v in found.items()}
        return {**written, "delta": spending.delta, "noise": noise_from(self._experiment)}

    def lines(self) -> list[str]:
        """Returns the guarantee in words, with its assumptions, before the first round."""
        experiment = self._experiment
        if isinstance(experiment.privacy, Mechanism):
            return [*self._plan.lines(), NOISE[noise_from(experiment)], MEASUREMENTS, *self._covered()]
        spending = self.spent(self.num_rounds)
        if spending is None:
            return []
        from fedlab.privacy.accounting import rounded_up

        worst = " of the worst client" if spending.unit == "example" else ""
        line = f"{spending.unit}-level privacy{worst}: ε = {rounded_up(spending.epsilon)} at δ = {spending.delta:.3g}"
        source = NOISE[noise_from(experiment)]
        if spending.reason:
            return [f"{line}: {spending.reason}", source]
        neighbours = f"neighbours: {spending.neighbours}; sampling: {spending.sampling}"
        return [line, neighbours, source, MEASUREMENTS, *self._covered()]

    def _covered(self) -> list[str]:
        """Returns, in words, the outputs that ε does not cover."""
        keeps, statistics = self._experiment.process.keeps, self._experiment.data.statistics
        kept = (
            f"clients keep their {keeps}, which get no noise: ε covers the weights that clients share, and neither {keeps} nor "
            "what follows from them (test metrics, weights_hash, checkpoints)"
        )
        return [
            ALONE,
            *([kept] if keeps else []),
            *([FILTERED] if self._filtered else []),
            *([INITIALISED] if self._initialised else []),
            *([CHOSEN] if self._experiment.keep.best is not None else []),
            *(
                [f"the data source computes {statistics} of all training examples, and ε does not cover them"]
                if statistics
                else []
            ),
        ]

    @property
    def _filtered(self) -> bool:
        return type(self._experiment.filter) is not NoFilter

    @property
    def _initialised(self) -> bool:
        return self._experiment.init.source is not None

    def claim(self) -> Claim:
        """Returns the claim of the whole run, for composition with other runs."""
        spending = self.spent(self.num_rounds)
        if spending is None:
            return Claim(None)
        simulated = getattr(self._experiment.privacy, "simulated_cohort", None) is not None
        noise_seed = self._experiment.seed if noise_from(self._experiment) == REPLAYABLE else None
        return Claim(spending.epsilon, spending.delta, spending.unit, simulated, noise_seed, self._filtered, self._initialised)

    def described(self) -> dict[str, Any]:
        """Returns the entry of the manifest."""
        experiment = self._experiment
        spending = self.spent(self.num_rounds)
        if spending is None:
            return {"mechanism": "none", "epsilon": "inf", "reason": "no noise is added"}
        mechanism = experiment.privacy if isinstance(experiment.privacy, Mechanism) else experiment.client
        planned = {} if spending.unit == "example" else {"noise_multiplier": self._plan.noise_multiplier}
        noise = noise_from(experiment)
        return {"mechanism": type(mechanism).__name__, **planned, **spending.as_dict(), "noise": noise, "lines": self.lines()}

    def _examples(self, num_rounds: int) -> Spending:
        """Returns the largest cost of any client's example; before the last round, that of up to 1/16 more rounds."""
        from fedlab.privacy.accounting import ahead

        rounds = ahead(num_rounds, self.num_rounds)
        if rounds not in self._by_round:
            self._by_round[rounds] = self._worst_client.spent(self._participations[rounds])
        return self._by_round[rounds]

    def per_client(self, num_rounds: int) -> list[tuple[str, int, int, float]]:
        """Returns (name, examples, participations, ε of its examples) of each client with examples, at example level; else []."""
        if not self._experiment.client.private or isinstance(self._experiment.privacy, Mechanism):
            return []
        times = self._participations[num_rounds]
        names = [name for name, size in zip(self._partition.client_ids, self._partition.sizes) if size]
        sizes = self._partition.sizes[self._partition.sizes > 0]
        return list(zip(names, sizes.tolist(), times.tolist(), self._worst_client.each(times)))

    @functools.cached_property
    def _worst_client(self) -> WorstClient:
        from fedlab.privacy.examples import WorstClient
        from fedlab.privacy.plan import default_delta

        client, indices = self._experiment.client.private, self._partition.owned
        assert client
        if len(np.unique(indices)) < len(indices):
            raise ConfigError(
                "client=dp_sgd: this partition gives some examples to several clients, over which their ε would add up: use a "
                "partition that gives each example to one client."
            )
        sizes = self._partition.sizes[self._partition.sizes > 0]
        return WorstClient(
            client.noise_multiplier,
            sizes,
            self._participations[self.num_rounds],
            client.delta or default_delta(int(sizes.min())),
            client.batch_size,
            client.local_epochs,
            client.batches,
        )

    @functools.cached_property
    def _participations(self) -> dict[int, np.ndarray]:
        """The participations by round, for the rounds of the grid of `ahead`: int64 [clients with examples]."""
        from fedlab.privacy.accounting import ahead

        cohort, seed, sizes = self._experiment.cohort, self._experiment.seed, self._partition.sizes
        times, found = np.zeros(len(sizes), np.int64), {0: np.zeros(np.count_nonzero(sizes), np.int64)}
        for round_num in range(1, self.num_rounds + 1):
            times[cohort(len(sizes), seed, round_num).clients] += 1
            if ahead(round_num, self.num_rounds) == round_num:
                found[round_num] = times[sizes > 0]
        return found


def sources(experiment: Experiment, secret: Secret | None) -> Sources:
    """Returns the sources of the draws of an experiment without arms: `secret` (or a new one) where ε relies on it, else its
    seed."""
    seed, privacy, private = experiment.seed, experiment.privacy, experiment.client.private
    secret = Secret.fresh() if secret is None else secret
    server = isinstance(privacy, Mechanism) and privacy.noise_source == "key"
    clients = private is not None and private.noise_source == "key"
    return Sources(
        seed=seed,
        cohorts=secret.derived("cohorts") if server and privacy.rests_on_cohorts else seed,
        clients=secret.derived("clients") if clients else seed,
        server=secret.derived("server") if server else seed,
    )


def needs_key(experiment: Experiment) -> bool:
    """Returns True if the experiment, or one of its arms, draws from noise.key."""
    if experiment.arms:
        return any(map(needs_key, experiment.arms.values()))
    return any(source == "key" for source in _noise_sources(experiment))


def noise_from(experiment: Experiment) -> str:
    """Returns the source of the noise of an experiment without arms, as a key of `NOISE`: the weakest of several."""
    if any(source == "seed" for source in _noise_sources(experiment)):
        return REPLAYABLE
    tree_alone = isinstance(experiment.privacy, Tree) and not experiment.client.private  # its key is in the process
    return "noise.key" if experiment.engine.draws_from_keys or tree_alone else "engine"


def _noise_sources(experiment: Experiment) -> list[str]:
    """Returns the noise source of each stage that adds noise."""
    privacy, private = experiment.privacy, experiment.client.private
    found: list[str] = [privacy.noise_source] if isinstance(privacy, Mechanism) else []
    found += [private.noise_source] if private else []
    return found or ["seed"] * (experiment.client.weight_noise > 0)  # this noise has no guarantee


def trained_by(experiment: Experiment, sampling: Sampling) -> Sampling:
    """Returns `sampling`, without amplification if clients keep state and cohorts have a fixed size.

    A client's update may then depend on its earlier participations; fedlab does not examine whether it does. With cohorts of a
    fixed size, the participations of the other clients reveal those of the user in question, so rounds are not amplified
    independently. Poisson sampling samples each user independently and keeps its amplification.
    """
    keeps = experiment.process.keeps
    if keeps and isinstance(sampling, FixedSize):
        why = "an update that depended on it would reveal the members of earlier cohorts"
        return unamplified(sampling, f"clients keep {keeps}, and only a process that keeps nothing is amplified, because {why}")
    return sampling


def summed_by(experiment: Experiment, sampling: Sampling) -> Sampling:
    """Returns `sampling` with the effects of the secure-sum protocol."""
    secure, chosen = experiment.secure, isinstance(sampling, (Poisson, FixedSize))
    if chosen and secure.dropout_rate and not (states(secure, "sums_whoever_stays") and secure.sums_whoever_stays):
        return unamplified(sampling, "under secure.dropout_rate, sampling one user can decide if there is a sum")
    if secure.least_clients <= 1:
        return sampling
    return dataclasses.replace(sampling, least_clients=secure.least_clients, reports=1 - experiment.cohort.dropout_rate)


def sampling_of(experiment: Experiment, num_clients: int) -> Sampling:
    """Returns the sampling of the run's cohorts for accounting, as the sampler states it."""
    cohort, claims = experiment.cohort, isinstance(experiment.privacy, Mechanism) or experiment.client.private
    if not claims:
        return Everyone(num_clients)  # no account uses it
    stated = stated_sampling(cohort, num_clients)
    if not isinstance(experiment.privacy, Tree):
        return summed_by(experiment, trained_by(experiment, stated))
    cohorts = [cohort(num_clients, experiment.seed, r) for r in range(1, experiment.num_rounds + 1)]
    found = Schedule.of(num_clients, [[*c.clients.tolist(), *c.dropped.tolist()] for c in cohorts])
    # Divided by a constant that does not depend on the number of rounds: a run that continues divides by the same
    in_turn = isinstance(stated, Schedule) and stated.in_turn
    return dataclasses.replace(found, cohort=stated.expected_cohort, in_turn=in_turn)
