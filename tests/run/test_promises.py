"""A promise is kept by the class that states it: no subclass inherits a finite ε, equal bits, or a known way of sampling."""

from __future__ import annotations

import inspect
from typing import Any, ClassVar

import numpy as np
import pytest

from fedlab.aggregation import Mean
from fedlab.algorithms import DpSgd, FedAvg, LocalTraining, Process
from fedlab.algorithms.optimizers import Constant, Sgd
from fedlab.cohort import CohortSampler, FixedSize, Poisson, Uniform
from fedlab.composition import ALONE
from fedlab.data import Digits
from fedlab.engine import Compiled, EngineSpec
from fedlab.errors import ConfigError
from fedlab.evaluation import Evaluation
from fedlab.filter import NoFilter, Users
from fedlab.models import Gan as Pair
from fedlab.models import Mlp, Perceptron
from fedlab.partition import Iid
from fedlab.privacy import GaussianFixed, Mechanism, NoPrivacy, Tree
from fedlab.run import rules
from fedlab.run.experiment import Experiment
from fedlab.run.privacy import PrivacyAccount
from fedlab.run.promises import is_reproducible
from fedlab.secure import Layout, Masked, SecureSum
from fedlab.spec import Spec
from fedlab.types import Partition

CLIENTS = 20
# What a class needs to be made; the method that a promise of the group is about; what goes with a class
OPTIONS: dict[str, dict[str, Any]] = {
    "Uniform": {"clients_per_round": 5},
    "InTurn": {"clients_per_round": 5},
    "Poisson": {"sampling_rate": 0.25},
    "GaussianFixed": {"noise_multiplier": 1.0},
    "GaussianAdaptive": {"noise_multiplier": 0.01},
    "Tree": {"noise_multiplier": 1.0},
}
GROUPS: dict[str, tuple[type[Spec], str]] = {
    "cohort": (CohortSampler, "_choose"),
    "privacy": (Mechanism, "aggregator"),
    "client": (DpSgd, "check"),
    "process": (Process, "build"),
    "engine": (EngineSpec, "build"),
    "secure": (SecureSum, "build"),
}
GOES_WITH: dict[str, dict[str, Any]] = {
    "Gan": {"model": Pair()},
    "LocalOnly": {"privacy": NoPrivacy(), "client": DpSgd()},
}
# Sends no updates; send more than them, which nothing clips
NO_CLAIM = ("Split", "Scaffold", "FedNova", "FedExp", "FedDyn", "QFedAvg", "MimeLite", "Ifca", "FedBuff", "Buffered")


def shipped(kind: type[Spec]) -> list[type[Spec]]:
    """All classes of fedlab's that are a `kind` and can be made."""
    below = [kind, *(c for child in kind.__subclasses__() for c in shipped(child))]
    return [c for c in dict.fromkeys(below) if c.__module__.startswith("fedlab.") and not inspect.isabstract(c)]


def experiment(**stages: Any) -> Experiment:
    options: dict[str, Any] = {
        "num_rounds": 3,
        "data": Digits(),
        "partition": Iid(num_clients=CLIENTS),
        "cohort": Poisson(sampling_rate=0.5),
        "model": Mlp(),
        "process": FedAvg(),
        "client": LocalTraining(),
        "client_optimizer": Sgd(learning_rate=0.1),
        "client_schedule": Constant(),
        "server_optimizer": Sgd(learning_rate=1.0),
        "aggregator": Mean(),
        "privacy": GaussianFixed(noise_multiplier=1.0),
        "engine": Compiled(),
        "evaluation": Evaluation(),
    }
    return Experiment(**{**options, **stages})


def claiming(stage: str, spec: Spec) -> Experiment:
    """A run with this stage, that would claim ε for users; at stage client, for examples."""
    base = next(c.__name__ for c in type(spec).__mro__ if c.__module__.startswith("fedlab."))
    return experiment(**{stage: spec, **GOES_WITH.get(base, {}), **({"privacy": NoPrivacy()} if stage == "client" else {})})


def make(kind: type[Spec], base: type[Spec] | None = None) -> Spec:
    return kind(**OPTIONS.get((base or kind).__name__, {}))


EVERY = [(stage, kind) for stage, (base, _) in GROUPS.items() for kind in shipped(base) if kind.__name__ not in NO_CLAIM]
each = pytest.mark.parametrize(("stage", "kind"), EVERY, ids=[f"{s}-{k.__name__}" for s, k in EVERY])


def subclasses(stage: str, kind: type[Spec]) -> list[type[Spec]]:
    """One that overrides nothing; one that overrides what the promise is about; that with the name of its base class."""
    method = GROUPS[stage][1]
    other = {method: lambda self, *args, **kwargs: None}
    return [type("Idle", (kind,), {}), type("Other", (kind,), other), type(kind.__name__, (kind,), other)]


@each
def test_a_shipped_class_keeps_what_it_states(stage, kind):
    rules.check(claiming(stage, make(kind)))


@each
def test_no_subclass_inherits_an_epsilon(stage, kind):
    for subclass in subclasses(stage, kind):
        with pytest.raises(ConfigError, match="no ε can be claimed") as error:
            rules.check(claiming(stage, make(subclass, kind)))
        assert subclass.__name__ in str(error.value) and "\n" not in str(error.value)


@each
def test_a_subclass_that_states_its_own_is_believed(stage, kind):
    [_, other, _] = subclasses(stage, kind)
    stated = {"sampling": kind.sampling} if stage == "cohort" else {"vouches": ("privacy",)}
    rules.check(claiming(stage, make(type("Stated", (other,), stated), kind)))


@pytest.mark.parametrize(("stage", "kind"), [(s, k) for s, k in EVERY if s in ("engine", "secure")])
def test_no_subclass_inherits_equal_bits(stage, kind):
    for subclass in subclasses(stage, kind):
        own = make(subclass, kind)
        assert not is_reproducible(experiment(privacy=NoPrivacy(), **{stage: own}))
        assert stage == "secure" or not own.draws_from_keys
    named = {kind.__name__: is_reproducible(experiment(privacy=NoPrivacy(), **{stage: make(kind)}))}
    assert named.items() <= {"Compiled": True, "Tff": False, "Plain": True, "Masked": True, "Ckks": False}.items()


def test_without_a_claim_everything_goes():
    class Same(FixedSize):
        def _choose(self, num_clients: int, seed: int, round: int) -> np.ndarray:
            return np.arange(self.clients_per_round)

    rules.check(experiment(privacy=NoPrivacy(), cohort=Same(clients_per_round=3)))
    with pytest.raises(ConfigError, match="Same does not state how it samples cohorts"):
        rules.check(experiment(cohort=Same(clients_per_round=3)))


class Odd(Uniform):
    returned: ClassVar[Any] = None

    def sampling(self, num_clients: int) -> Any:
        return self.returned


@pytest.mark.parametrize(
    ("returned", "says"),
    [
        (None, "Odd does not state how it samples cohorts"),
        ("poisson", r"Odd.sampling\(20\) returned 'poisson'"),
        (Uniform(clients_per_round=5).sampling(19), r"return a Poisson, .* with population=20"),
        (type("Poisson", (type(Poisson(sampling_rate=0.5).sampling(9)),), {})(CLIENTS, 1e-9), r"returned Poisson\(population=20"),
    ],
)
def test_what_a_sampler_states_is_one_of_the_known_ways(returned, says, monkeypatch):
    monkeypatch.setattr(Odd, "returned", returned)
    with pytest.raises(ConfigError, match=says):
        rules.check(experiment(cohort=Odd(clients_per_round=5)))


def test_a_sampler_that_fails_takes_one_line():
    own = type("Own", (Uniform,), {"sampling": lambda self, num_clients: 1 / 0})(clients_per_round=5)
    with pytest.raises(ConfigError, match=r"^cohort: Own.sampling\(20\) failed: ZeroDivisionError: division by zero\.$"):
        rules.check(experiment(cohort=own))


def test_no_mean_of_ones_own_goes_unused():
    """Under privacy the mechanism sums; a subclass of the mean would be dropped without a word."""
    with pytest.raises(ConfigError, match="aggregator=mean"):
        rules.check(experiment(aggregator=type("Mean", (Mean,), {})()))


def test_a_subclass_that_may_choose_more_is_no_bound_of_a_sum():
    own = type("Own", (Uniform,), {"_choose": lambda self, n, seed, round: np.arange(n)})(clients_per_round=5)
    assert own.most_clients(CLIENTS) == CLIENTS
    assert Uniform(clients_per_round=5).most_clients(CLIENTS) == 5


@pytest.mark.parametrize("kind", [kind for kind in shipped(CohortSampler) if kind.__name__ not in NO_CLAIM])
def test_dropouts_amplify_nothing(kind):
    """Whoever was chosen and vanished counts as if it had reported: the account is that without dropouts."""
    steady = make(kind)
    assert steady.model_copy(update={"dropout_rate": 0.9}).sampling(CLIENTS) == steady.sampling(CLIENTS)


def test_an_example_of_two_clients_has_no_figure_of_one():
    """Its ε would add up over both."""
    shared = Partition(("a", "b"), (np.arange(30), np.arange(25, 60)))
    one = experiment(privacy=NoPrivacy(), client=DpSgd(), partition=Iid(num_clients=2))
    with pytest.raises(ConfigError, match="gives some examples to several clients"):
        PrivacyAccount(one, shared, num_weights=10).lines()
    assert PrivacyAccount(one, Partition(("a", "b"), (np.arange(30), np.arange(30, 60))), num_weights=10).lines()


@pytest.mark.parametrize("base", [NoFilter, Users])
def test_a_filter_is_no_part_of_an_epsilon(base):
    """Also one that derives from no filter at all."""
    own = type("Own", (base,), {})(**({"path": "kept.csv"} if base is Users else {}))
    partition = Iid(num_clients=CLIENTS)(Digits().load(0).train, 0)
    for stages in ({}, {"privacy": NoPrivacy(), "client": DpSgd()}):
        lines = [PrivacyAccount(experiment(filter=f, **stages), partition, num_weights=10).lines() for f in (NoFilter(), own)]
        assert all(ALONE in said for said in lines) and [any("the filter was made" in x for x in said) for said in lines] == [
            0,
            1,
        ]


def test_the_record_of_a_protocol_of_ones_own_has_not_the_name_of_its_base_class():
    class Mine(Masked):
        pass

    protocol = Mine(observe="all").build(Layout.of([np.zeros(3, np.float32)]), 3)
    view = protocol.run_round(1, [0, 1, 2], [[np.ones(3, np.float32)] for _ in range(3)]).server_view
    assert view.protocol == "Mine"


@pytest.mark.parametrize("cohort", [Poisson(sampling_rate=0.4), Uniform(clients_per_round=3)])
def test_a_trees_sum_is_divided_by_a_constant_for_any_number_of_rounds(cohort):
    """It was divided by the average cohort of the planned rounds, so a run that went on with more rounds was no longer itself."""
    from fedlab.run.privacy import sampling_of

    found = [experiment(privacy=Tree(noise_multiplier=1.0), cohort=cohort, num_rounds=rounds) for rounds in (1, 3, 50)]
    divisors = {sampling_of(one, CLIENTS).expected_cohort for one in found}
    assert divisors == {cohort.sampling(CLIENTS).expected_cohort}


def test_a_run_begins_only_if_its_sampler_draws_as_it_states():
    """`sampling` restates uniform cohorts, and the class takes the same clients in each round, and one more in the second."""
    from fedlab.run.inputs import load
    from fedlab.run.training import Training

    class Same(Uniform):
        sampling = Uniform.sampling

        def _choose(self, num_clients, seed, round):
            return np.arange(self.clients_per_round + (round == 2))

    options = {"data": Digits(max_examples=60), "model": Perceptron(), "evaluation": Evaluation(per_client=False)}
    one = experiment(cohort=Same(clients_per_round=2), **options)
    with pytest.raises(ConfigError, match=r"^cohort: Same states FixedSize\(.*in round 2 it sampled 3 clients: no ε can be"):
        Training(one, *load(one))  # trains no round
