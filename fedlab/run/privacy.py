"""What a run's privacy is worth, round by round: to users, by noise on the server, or to examples, by noise on clients."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from fedlab.engine import RoundInput
from fedlab.errors import ConfigError
from fedlab.filter import NoFilter
from fedlab.privacy import Everyone, Mechanism, Sampling, Schedule, Tree
from fedlab.process import DpSgd
from fedlab.report.composition import ALONE, Claim
from fedlab.run.experiment import Experiment
from fedlab.run.promises import check_privacy, stated_sampling
from fedlab.types import Partition

if TYPE_CHECKING:
    import tensorflow_federated as tff

    from fedlab.privacy.accounting import Spending
    from fedlab.privacy.examples import WorstClient

MEASUREMENTS = (
    "this is about the model. What a run measures besides (training loss and accuracy, counts, accuracy per client) is exact, "
    "for the eyes of whoever runs it, and part of no promise"
)


class PrivacyAccount:
    """Plans the noise of a run, and tells after each round what has been spent."""

    def __init__(self, experiment: Experiment, partition: Partition):
        """Raises `ConfigError` for a target that cannot be met, or a stage that does not state what ε rests on."""
        check_privacy(experiment)
        self._experiment, self._partition = experiment, partition
        self._plan = experiment.privacy.plan(sampling_of(experiment, len(partition)), experiment.num_rounds)
        self.num_rounds = self._plan.rounds
        self._by_round: dict[int, Spending] = {}  # of examples, at the rounds that stand for those before them

    def aggregator(self, experiment: Experiment) -> tff.aggregators.UnweightedAggregationFactory | None:
        """Clips, sums and adds noise; None where the run's own aggregator is to be used."""
        return self._plan.aggregator(experiment.seed)

    def with_its_own_noise(self, round_input: RoundInput) -> RoundInput:
        """The round, with a server key that nobody can replay where `privacy.noise_source` is os."""
        privacy = self._experiment.privacy
        if not isinstance(privacy, Mechanism) or privacy.noise_source == "seed":
            return round_input
        return dataclasses.replace(round_input, server_key=privacy.server_key(self._experiment.seed))

    def spent(self, num_rounds: int) -> Spending | None:
        """What so many rounds have cost a user, or an example; None where nothing was promised."""
        experiment = self._experiment
        if isinstance(experiment.privacy, Mechanism):
            return self._plan.spent(num_rounds)
        if isinstance(experiment.client, DpSgd):
            return self._examples(experiment.client, num_rounds)
        if experiment.client.weight_noise:
            from fedlab.privacy import accounts
            from fedlab.privacy.accounting import Ledger

            return Ledger(accounts.weight_noise(experiment.client.weight_noise), 1e-5).spent(num_rounds)
        return None

    def figures(self, num_rounds: int) -> dict[str, Any]:
        """For the record of a round: ε by both accountants, δ. ∞ is "inf"."""
        spending = self.spent(num_rounds)
        if spending is None:
            return {}
        found = {"epsilon": spending.epsilon, "epsilon_rdp": spending.epsilon_rdp, "epsilon_pld": spending.epsilon_pld}
        return {**{k: "inf" if v is not None and math.isinf(v) else v for k, v in found.items()}, "delta": spending.delta}

    def lines(self) -> list[str]:
        """The promise in words, with all it assumes, before the first round."""
        experiment = self._experiment
        if isinstance(experiment.privacy, Mechanism):
            return [*self._plan.lines(), MEASUREMENTS, *self._covered()]
        spending = self.spent(self.num_rounds)
        if spending is None:
            return []
        from fedlab.privacy.accounting import rounded_up

        worst = " of the worst client" if spending.unit == "example" else ""
        line = f"{spending.unit}-level privacy{worst}: ε = {rounded_up(spending.epsilon)} at δ = {spending.delta:.3g}"
        if spending.reason:
            return [f"{line}: {spending.reason}"]
        return [line, f"neighbours: {spending.neighbours}; sampling: {spending.sampling}", MEASUREMENTS, *self._covered()]

    def _covered(self) -> list[str]:
        """What the promise is not about, in words."""
        chosen = type(self._experiment.filter) is not NoFilter
        return [ALONE, *(["the filter was made from the data, and what it tells of them is not part of ε"] if chosen else [])]

    def claim(self) -> Claim:
        """What the whole run promises, for adding up."""
        spending = self.spent(self.num_rounds)
        if spending is None:
            return Claim(None)
        simulated = getattr(self._experiment.privacy, "simulated_cohort", None) is not None
        return Claim(spending.epsilon, spending.delta, spending.unit, simulated)

    def described(self) -> dict[str, Any]:
        """For the manifest."""
        experiment = self._experiment
        spending = self.spent(self.num_rounds)
        if spending is None:
            return {"mechanism": "none", "epsilon": "inf", "reason": "no noise is added"}
        mechanism = experiment.privacy if isinstance(experiment.privacy, Mechanism) else experiment.client
        planned = {} if spending.unit == "example" else {"noise_multiplier": self._plan.noise_multiplier}
        return {"mechanism": type(mechanism).__name__, **planned, **spending.as_dict(), "lines": self.lines()}

    def _examples(self, client: DpSgd, num_rounds: int) -> Spending:
        """The largest cost to an example of any client; before the last round, that of up to a sixteenth more rounds."""
        from fedlab.privacy.accounting import ahead

        rounds = ahead(num_rounds, self.num_rounds)
        if rounds not in self._by_round:
            self._by_round[rounds] = self._worst_client.spent(self._participations[rounds])
        return self._by_round[rounds]

    def per_client(self, num_rounds: int) -> list[tuple[str, int, int, float]]:
        """(name, examples, rounds it took part in, ε of its examples) of each client that has any, at example level; else []."""
        if not isinstance(self._experiment.client, DpSgd) or isinstance(self._experiment.privacy, Mechanism):
            return []
        times = self._participations[num_rounds]
        names = [name for name, size in zip(self._partition.client_ids, self._partition.sizes) if size]
        sizes = self._partition.sizes[self._partition.sizes > 0]
        return list(zip(names, sizes.tolist(), times.tolist(), self._worst_client.each(times)))

    @functools.cached_property
    def _worst_client(self) -> WorstClient:
        from fedlab.privacy.examples import WorstClient
        from fedlab.privacy.plan import default_delta

        client, indices = self._experiment.client, np.concatenate(self._partition.indices)
        assert isinstance(client, DpSgd)
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
        """By round, of those that stand for others: int64 [clients with examples], how often each has reported by then."""
        from fedlab.privacy.accounting import ahead

        cohort, seed, sizes = self._experiment.cohort, self._experiment.seed, self._partition.sizes
        times, found = np.zeros(len(sizes), np.int64), {0: np.zeros(np.count_nonzero(sizes), np.int64)}
        for round_num in range(1, self.num_rounds + 1):
            times[cohort(len(sizes), seed, round_num).clients] += 1
            if ahead(round_num, self.num_rounds) == round_num:
                found[round_num] = times[sizes > 0]
        return found


def sampling_of(experiment: Experiment, num_clients: int) -> Sampling:
    """How the run's cohorts are drawn, as accounting sees it: what the sampler states of itself."""
    cohort, claims = experiment.cohort, isinstance(experiment.privacy, Mechanism) or isinstance(experiment.client, DpSgd)
    if not claims:
        return Everyone(num_clients)  # no account rests on it
    stated = stated_sampling(cohort, num_clients)
    if not isinstance(experiment.privacy, Tree):
        return stated
    cohorts = [cohort(num_clients, experiment.seed, r) for r in range(1, experiment.num_rounds + 1)]
    return Schedule.of(num_clients, [[*c.clients.tolist(), *c.dropped.tolist()] for c in cohorts])
