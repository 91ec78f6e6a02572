"""Whatever a user puts into a slot of a run, a wrong thing is refused by one line that says what it did and what it should do.

The slots are those of `Experiment`, and what each must return is declared where it is defined (`Spec.makes`): a new slot, or a
new method that a user has to write, fails the tests of this file until it is declared and tried.
"""

from __future__ import annotations

import functools
import typing
from typing import Any

import numpy as np
import pytest
from omegaconf import DictConfig, OmegaConf

from fedlab.aggregation import Aggregator
from fedlab.algorithms import FedAvg, LocalTraining, Process
from fedlab.algorithms.optimizers import Optimizer, Schedule, Sgd
from fedlab.clock import Clock
from fedlab.cohort import All, CohortSampler
from fedlab.config import composing as configuration
from fedlab.corruption import Corruption
from fedlab.data import Source
from fedlab.engine import Compiled, EngineSpec
from fedlab.errors import FedlabError
from fedlab.filter import Filter
from fedlab.models import Perceptron
from fedlab.partition import Iid, Partitioner
from fedlab.privacy import Mechanism, Privacy
from fedlab.run import rules
from fedlab.run.experiment import Experiment
from fedlab.run.loggers import LoggerSpec
from fedlab.secure import SecureSum
from fedlab.spec import Spec
from fedlab.studies.attacks.options import Attack
from fedlab.tasks import Loss

PLAIN = {"seed", "num_rounds", "eval_every", "arms"}  # no slots
SLOTS = set(Experiment.model_fields) - PLAIN
BASES = {
    "data": Source,
    "partition": Partitioner,
    "corruption": Corruption,
    "filter": Filter,
    "cohort": CohortSampler,
    "clock": Clock,
    "process": Process,
    "client_optimizer": Optimizer,
    "loss": Loss,
    "client_schedule": Schedule,
    "server_optimizer": Optimizer,
    "aggregator": Aggregator,
    "privacy": Privacy,
    "secure": SecureSum,
    "engine": EngineSpec,
    "logger": LoggerSpec,
    "attack": Attack,
}
NOTHING_TO_WRITE = {
    "client",
    "evaluation",
    "stop",
    "difftest",
    "checkpoint",
    "init",
    "keep",
    "objective",
}  # options alone; another class is refused by type
# Methods that a user writes whose result the base class looks into itself, and says more of than its type
LOOKED_INTO = {
    ("partition", "_divide"),
    ("cohort", "_choose"),
    ("corruption", "_corrupt"),
    ("clock", "_seconds"),
    ("attack", "run"),
}
SMALL = dict(num_rounds=1, model=Perceptron(), cohort=All(), partition=Iid(num_clients=2), client=LocalTraining(batch_size=20))


def test_every_slot_is_known():
    assert {*BASES, *NOTHING_TO_WRITE, "model"} == SLOTS
    for slot in NOTHING_TO_WRITE:
        kinds = typing.get_args(Experiment.model_fields[slot].annotation) or (Experiment.model_fields[slot].annotation,)
        assert not any(getattr(kind, "__abstractmethods__", ()) for kind in kinds), slot


@pytest.mark.parametrize("slot", BASES)
def test_what_a_user_writes_is_declared(slot):
    """Every abstract method of a slot's base class, or of a base class of it, says what it must return."""
    base = BASES[slot]
    families = [kind for kind in base.__subclasses__() if kind.__module__.startswith("fedlab.")]
    for kind in (base, *families):
        written = {name for name in kind.__abstractmethods__ if kind is base or name[0] != "_"}
        assert {name for name in written if (slot, name) not in LOOKED_INTO} <= set(kind.makes), kind


@pytest.mark.parametrize("what", ["function", "Plain", "Wrong", "value"])
@pytest.mark.parametrize("slot", sorted(SLOTS))
def test_another_kind_of_thing_is_refused_before_data_is_read(slot, what, tmp_path, monkeypatch):
    (tmp_path / "own_things.py").write_text(
        "from fedlab.spec import Spec\n\ndef function(*args, **options):\n    return None\n\nclass Plain:\n    pass\n\n"
        "class Wrong(Spec):\n    pass\n\nvalue = 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    where = "logger.own" if slot == "logger" else slot
    config = _with_own(slot, where)
    OmegaConf.update(config, f"{where}._target_", f"own_things.{what}")
    if slot == "model" and what in ("function", "Plain"):
        pytest.skip("a model is any function; what it returns is looked into when it is built")
    with pytest.raises(FedlabError) as caught:
        rules.check(configuration.build_experiment(config))
    said = str(caught.value)
    assert said.startswith(f"{where}._target_") and f"own_things.{what}" in said and "\n" not in said, said


@functools.lru_cache(maxsize=1)
def _with_own(slot: str, where: str) -> DictConfig:
    """A configuration with nothing in this slot but a `_target_`."""
    return configuration.compose([*([] if slot == "logger" else [f"~{slot}"]), f"+{where}._target_=own_things.something"])


def wrong(slot: str, name: str, value: object) -> Spec:
    """A component of this slot whose method or property `name` returns `value`, and which does nothing else wrong."""
    base = Mechanism if slot == "privacy" and name != "plan" else BASES[slot]
    body: dict = {
        other: property(lambda self: None) if isinstance(getattr(base, other), property) else lambda self, *args, **options: None
        for other in base.__abstractmethods__
    }
    given = lambda self, *args, **options: value  # noqa: E731
    body[name] = property(given) if isinstance(getattr(base, name), property) else given
    if slot == "attack":
        body["run"] = given
    body.update(__module__=__name__, __qualname__="Own")
    options = {"learning_rate": 0.1} if base is Optimizer else {"noise_multiplier": 1.0} if base is Mechanism else {}
    options = {"fraction": 1.0} if base is Corruption else options
    return type(base)("Own", (base,), body)(**options)


CALLS = [(slot, name) for slot, base in BASES.items() for name in base.makes]


@pytest.mark.parametrize(("slot", "name"), CALLS)
def test_the_wrong_result_is_named(slot, name, tensorflow):
    """Of each method that is declared, called as it stands."""
    for value, words in ((None, "None"), ({}, "a dict")):
        if value is None and "NoneType" in str(BASES[slot].makes[name]):
            continue
        own = wrong(slot, name, value)
        with pytest.raises(FedlabError) as caught:
            found = getattr(own, name)
            found()
        said = str(caught.value)
        assert said.startswith(f"Own.{name} returned {words}; it must return a ") and "\n" not in said


@pytest.mark.parametrize(
    "options",
    [
        dict(aggregator=wrong("aggregator", "build", None)),
        dict(process=wrong("process", "build", None)),
        dict(client_optimizer=wrong("client_optimizer", "build", None)),
        dict(server_optimizer=wrong("server_optimizer", "build", None)),
        dict(client_schedule=wrong("client_schedule", "factor", None)),
        dict(secure=wrong("secure", "build", None)),
        dict(engine=wrong("engine", "build", None)),
        dict(filter=wrong("filter", "__call__", None)),
        dict(corruption=wrong("corruption", "_corrupt", None)),
        dict(cohort=wrong("cohort", "_choose", None)),
        dict(data=wrong("data", "_read", None)),
        dict(partition=wrong("partition", "_divide", None)),
    ],
    ids=lambda options: next(iter(options)),
)
def test_a_run_ends_with_that_line(options, run_of):
    with pytest.raises(FedlabError, match=r"Own\.\w+ returned None; it must return|Own returned NoneType") as caught:
        run_of(**{**SMALL, **options})
    assert "\n" not in str(caught.value)


class Fixed(CohortSampler):
    chosen: Any

    def _choose(self, num_clients, seed, round):
        return self.chosen


class TestCohorts:
    @pytest.mark.parametrize(
        ("chosen", "says"),
        [
            ([0, 5], "returned the client 5; the 5 clients have the numbers 0 to 4"),
            ([-1], "returned the client -1"),
            (np.array([2, 0, 2]), "returned the client 2 twice"),
            ([0.5], r"returned float64 \[1\]"),
            ([True, False], r"returned bool \[2\]"),
            ([[0]], r"returned int64 \[1, 1\]"),
            ([[0], [1, 2]], "returned a list"),
            ("ab", r"returned <U2 \[\]"),
            (None, "returned None"),
            (3, r"returned int64 \[\]"),
        ],
    )
    def test_wrong_clients_are_named(self, chosen, says):
        with pytest.raises(FedlabError, match=rf"cohort: Fixed\._choose {says}"):
            Fixed(chosen=chosen)(5, 0, 1)

    def test_any_order_and_nobody_are_right(self):
        assert Fixed(chosen=[3, 1])(5, 0, 1).clients.tolist() == [1, 3]
        nobody = Fixed(chosen=[])(5, 0, 1).clients
        assert nobody.dtype == np.int64 and not len(nobody)


def test_a_right_component_of_ones_own_still_runs(run_of):
    class Mine(Sgd):
        def build(self):
            return super().build()

    class Everybody(All):
        def _choose(self, num_clients, seed, round):
            return list(range(num_clients))

    run = run_of(
        **{**SMALL, "client_optimizer": Mine(learning_rate=0.1), "cohort": Everybody(), "process": FedAvg(), "engine": Compiled()}
    )
    assert run.records[0]["num_clients"] == 2
