"""What a run's privacy is worth, round by round: to users, by noise on the server, or to examples, by noise on clients."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from fedlab.archive.figures import REPLAYABLE
from fedlab.errors import ConfigError
from fedlab.filter import NoFilter
from fedlab.privacy import Everyone, Mechanism, Sampling, Schedule, Tree
from fedlab.process import DpSgd
from fedlab.randomness import Secret
from fedlab.report.composition import ALONE, Claim
from fedlab.run.experiment import Experiment
from fedlab.run.promises import check_privacy, stated_sampling
from fedlab.run.rounds import Sources
from fedlab.types import Partition

if TYPE_CHECKING:
    import tensorflow_federated as tff

    from fedlab.privacy.accounting import Spending
    from fedlab.privacy.examples import WorstClient

MEASUREMENTS = (
    "this is about the model. What a run measures besides (training loss and accuracy, counts, accuracy per client) is exact, "
    "for the eyes of whoever runs it, and part of no promise"
)


# By what a record says under "noise"
NOISE = {
    REPLAYABLE: REPLAYABLE,
    "noise.key": "noise, and the draws that ε rests on, follow from noise.key, 256 bits of the operating system: whoever has "
    "that file can take the noise off, and `fedlab forget` deletes it",
    "engine": "this engine draws noise from a generator of its own and not from noise.key. That of TFF's runtime starts from "
    "32 bits, which can be found by trying them all: ε holds only against those who do not. engine=compiled draws from noise.key",
}


class PrivacyAccount:
    """Plans the noise of a run, and tells after each round what has been spent."""

    def __init__(self, experiment: Experiment, partition: Partition, secret: Secret | None = None):
        """`secret`: the run's; None: a fresh one, which is kept nowhere. Raises `ConfigError` for a target that cannot be met, or
        a stage that does not state what ε rests on."""
        check_privacy(experiment)
        self.sources = sources(experiment, secret)
        self._experiment, self._partition = experiment, partition
        self._plan = experiment.privacy.plan(sampling_of(experiment, len(partition)), experiment.num_rounds)
        self.num_rounds = self._plan.rounds
        self._by_round: dict[int, Spending] = {}  # of examples, at the rounds that stand for those before them

    def aggregator(self, experiment: Experiment) -> tff.aggregators.UnweightedAggregationFactory | None:
        """Clips, sums and adds noise; None where the run's own aggregator is to be used."""
        return self._plan.aggregator(self.sources.server)

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
        written = {k: "inf" if v is not None and math.isinf(v) else v for k, v in found.items()}
        return {**written, "delta": spending.delta, "noise": noise_from(self._experiment)}

    def lines(self) -> list[str]:
        """The promise in words, with all it assumes, before the first round."""
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
        """What the promise is not about, in words."""
        chosen = type(self._experiment.filter) is not NoFilter
        return [ALONE, *(["the filter was made from the data, and what it tells of them is not part of ε"] if chosen else [])]

    def claim(self) -> Claim:
        """What the whole run promises, for adding up."""
        spending = self.spent(self.num_rounds)
        if spending is None:
            return Claim(None)
        simulated = getattr(self._experiment.privacy, "simulated_cohort", None) is not None
        noise_seed = self._experiment.seed if noise_from(self._experiment) == REPLAYABLE else None
        return Claim(spending.epsilon, spending.delta, spending.unit, simulated, noise_seed)

    def described(self) -> dict[str, Any]:
        """For the manifest."""
        experiment = self._experiment
        spending = self.spent(self.num_rounds)
        if spending is None:
            return {"mechanism": "none", "epsilon": "inf", "reason": "no noise is added"}
        mechanism = experiment.privacy if isinstance(experiment.privacy, Mechanism) else experiment.client
        planned = {} if spending.unit == "example" else {"noise_multiplier": self._plan.noise_multiplier}
        noise = noise_from(experiment)
        return {"mechanism": type(mechanism).__name__, **planned, **spending.as_dict(), "noise": noise, "lines": self.lines()}

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


def sources(experiment: Experiment, secret: Secret | None) -> Sources:
    """Returns from what an experiment without arms draws: `secret`, or a fresh one, where its ε rests on it, else its seed."""
    seed, privacy = experiment.seed, experiment.privacy
    secret = Secret.fresh() if secret is None else secret
    server = isinstance(privacy, Mechanism) and privacy.noise_source == "key"
    clients = isinstance(experiment.client, DpSgd) and experiment.client.noise_source == "key"
    return Sources(
        seed=seed,
        cohorts=secret.derived("cohorts") if server and privacy.rests_on_cohorts else seed,
        clients=secret.derived("clients") if clients else seed,
        server=secret.derived("server") if server else seed,
    )


def needs_key(experiment: Experiment) -> bool:
    """Whether the experiment, or one of its arms, draws from noise.key."""
    if experiment.arms:
        return any(map(needs_key, experiment.arms.values()))
    return any(source == "key" for source in _noise_sources(experiment))


def noise_from(experiment: Experiment) -> str:
    """From what the noise of an experiment without arms follows, as a key of `NOISE`: the weakest, where there are several."""
    if any(source == "seed" for source in _noise_sources(experiment)):
        return REPLAYABLE
    tree_alone = isinstance(experiment.privacy, Tree) and not isinstance(experiment.client, DpSgd)  # its key is in the process
    return "noise.key" if experiment.engine.reproducible or tree_alone else "engine"


def _noise_sources(experiment: Experiment) -> list[str]:
    """That of each stage that adds noise."""
    stages = (experiment.privacy, Mechanism), (experiment.client, DpSgd)
    found: list[str] = [stage.noise_source for stage, kind in stages if isinstance(stage, kind)]
    return found or ["seed"] * (experiment.client.weight_noise > 0)  # which claims nothing


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
