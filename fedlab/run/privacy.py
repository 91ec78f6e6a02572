"""What a run's privacy is worth, round by round: to users, by noise on the server, or to examples, by noise on clients."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any, Optional

import numpy as np

from fedlab.cohort import All, CohortSampler, FixedSize
from fedlab.cohort import Poisson as PoissonCohort
from fedlab.engine import RoundInput
from fedlab.errors import ConfigError
from fedlab.privacy import Everyone, Mechanism, Poisson, Sampling, Schedule, Tree
from fedlab.privacy import FixedSize as FixedSizeSampling
from fedlab.process import DpSgd
from fedlab.run.experiment import Experiment
from fedlab.types import Partition

if TYPE_CHECKING:
    import tensorflow_federated as tff

    from fedlab.privacy.accounting import Spending

MEASUREMENTS = (
    "this is about the model. What a run measures besides (training loss and accuracy, counts, accuracy per client) is exact, "
    "for the eyes of whoever runs it, and part of no promise"
)


class PrivacyAccount:
    """Plans the noise of a run, and tells after each round what has been spent."""

    def __init__(self, experiment: Experiment, partition: Partition):
        """Raises `ConfigError` for a target that cannot be met, or cohorts about which nothing is known."""
        self._experiment, self._partition = experiment, partition
        self._plan = experiment.privacy.plan(sampling_of(experiment, len(partition)), experiment.num_rounds)
        self.num_rounds = self._plan.rounds
        self._times = np.zeros((1, len(partition)), np.int64)  # [round, client]: how often each has taken part by then

    def aggregator(self, experiment: Experiment) -> Optional[tff.aggregators.UnweightedAggregationFactory]:
        """Clips, sums and adds noise; None where the run's own aggregator is to be used."""
        return self._plan.aggregator(experiment.seed)

    def with_its_own_noise(self, round_input: RoundInput) -> RoundInput:
        """The round, with a server key that nobody can replay where `privacy.noise_source` is os."""
        privacy = self._experiment.privacy
        if not isinstance(privacy, Mechanism) or privacy.noise_source == "seed":
            return round_input
        return dataclasses.replace(round_input, server_key=privacy.server_key(self._experiment.seed))

    def spent(self, num_rounds: int) -> Optional[Spending]:
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
            return [*self._plan.lines(), MEASUREMENTS]
        spending = self.spent(self.num_rounds)
        if spending is None:
            return []
        from fedlab.privacy.accounting import rounded_up

        worst = " of the worst client" if spending.unit == "example" else ""
        line = f"{spending.unit}-level privacy{worst}: ε = {rounded_up(spending.epsilon)} at δ = {spending.delta:.3g}"
        if spending.reason:
            return [f"{line}: {spending.reason}"]
        return [line, f"neighbours: {spending.neighbours}; sampling: {spending.sampling}", MEASUREMENTS]

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
        """The largest cost to an example of any client."""
        from fedlab.privacy.examples import worst_client
        from fedlab.privacy.plan import default_delta

        sizes = self._partition.sizes
        times = self._participations(num_rounds)
        return worst_client(
            client.noise_multiplier,
            sizes.tolist(),
            times.tolist(),
            client.delta or default_delta(int(sizes[sizes > 0].min())),
            client.batch_size,
            client.local_epochs,
            client.batches,
        )

    def _participations(self, num_rounds: int) -> np.ndarray:
        """int64 [clients]: how often each has reported in so many rounds."""
        cohort, seed, num_clients = self._experiment.cohort, self._experiment.seed, len(self._partition)
        while len(self._times) <= num_rounds:
            reported = cohort(num_clients, seed, len(self._times)).clients
            self._times = np.vstack([self._times, self._times[-1]])
            self._times[-1, reported] += 1
        return self._times[num_rounds]


def sampling_of(experiment: Experiment, num_clients: int) -> Sampling:
    """How the run's cohorts are drawn, as accounting sees it."""
    cohort: CohortSampler = experiment.cohort
    if isinstance(experiment.privacy, Tree):
        cohorts = [cohort(num_clients, experiment.seed, r) for r in range(1, experiment.num_rounds + 1)]
        return Schedule.of(num_clients, [[*c.clients.tolist(), *c.dropped.tolist()] for c in cohorts])
    if isinstance(cohort, PoissonCohort):
        return Poisson(num_clients, cohort.sampling_rate)
    if isinstance(cohort, All):
        return Everyone(num_clients)
    if type(cohort).__name__ == "Uniform" and isinstance(cohort, FixedSize):
        return FixedSizeSampling(num_clients, cohort.clients_per_round)
    if isinstance(cohort, FixedSize):
        return Schedule(num_clients, cohort.clients_per_round, apart=max(num_clients // cohort.clients_per_round - 1, 0))
    if not experiment.privacy.adds_noise:
        return Everyone(num_clients)
    raise ConfigError(
        f"privacy: nothing is known of cohorts by {type(cohort).__name__}: use cohort=poisson, uniform, in_turn or all."
    )
