"""Rounds under each secure-sum protocol, put together as `fedlab train` does it, from the records that a run keeps.

The suite runs this file in a process of its own for each contender: `protocols.py WORKLOAD CONTENDER DATA ROUNDS OUT.npz`.
"""

from __future__ import annotations

import dataclasses
import os
import sys

import numpy as np
import work  # beside this file

from fedlab.aggregation import Mean
from fedlab.algorithms import FedAvg, LocalTraining
from fedlab.algorithms.optimizers import Constant, Sgd
from fedlab.data import Digits, Mnist
from fedlab.engine import Compiled
from fedlab.evaluation import Evaluation
from fedlab.models import Cnn
from fedlab.partition import Iid
from fedlab.run.experiment import Experiment
from fedlab.run.start import start_tensorflow
from fedlab.secure import Ckks, Masked, Plain, SecureSum

PLAIN = "plain"


@dataclasses.dataclass(frozen=True)
class Contest:
    """A workload, and who takes turns at it; `plain` is fedlab's default, whose sums are made in the graph of the round."""

    workload: work.Workload
    protocols: dict[str, SecureSum]


CONTESTS = {
    "S10": Contest(
        work.Workload("CNN of 225,034 weights, 10 clients × 600 examples", Cnn(), 100, 10, 20, 0.05, 5),
        {
            PLAIN: Plain(),
            "masked": Masked(),
            # 6 of 10 must stay: with the 7 of the default, one round in three would be abandoned
            "masked, 30 % drop out": Masked(dropout_rate=0.3, threshold=0.51),
            "ckks": Ckks(),
        },
    ),
    "S100": Contest(
        work.Workload("CNN of 225,034 weights, 100 clients × 60 examples", Cnn(), 1_000, 100, 20, 0.05, 5),
        {
            PLAIN: Plain(),
            "masked, neighbors=log": Masked(neighbors="log"),
            # clients send 60 times their update, and losses up to a few hundred: of 31 bits, 8 and log2(100) leave steps of 2⁻¹⁶
            "masked, neighbors=log, bits=32": Masked(neighbors="log", bits=32, clip_range=256),
        },
    ),
}


def experiment_of(workload: work.Workload, protocol: SecureSum, data: str, num_rounds: int) -> Experiment:
    """The experiment, which evaluates nothing but the last round."""
    return Experiment(
        seed=work.SEED,
        num_rounds=num_rounds,
        eval_every=num_rounds,
        data={"digits": Digits, "mnist": Mnist}[data](),
        partition=Iid(num_clients=workload.num_clients),
        cohort=work.Uniform(clients_per_round=workload.clients_per_round),
        model=workload.model,
        process=FedAvg(),
        client=LocalTraining(batch_size=workload.batch_size),
        client_optimizer=Sgd(learning_rate=workload.learning_rate),
        client_schedule=Constant(),
        server_optimizer=Sgd(learning_rate=1.0),
        aggregator=Mean(),
        secure=protocol,
        engine=Compiled(),
        evaluation=Evaluation(per_client=False),
    )


def run(workload_name: str, contender: str, data: str, num_rounds: int, out: str) -> None:
    """Writes of every round the seconds, the bytes, how many clients are in the sum and whether it was abandoned; and the
    weights after the first."""
    contest = CONTESTS[workload_name]
    task = work.load(contest.workload, data, num_rounds)
    experiment = experiment_of(contest.workload, contest.protocols[contender], data, task.num_rounds)
    start_tensorflow("cpu", contest.workload.clients_per_round)
    from fedlab.run.learner import build_learner

    learner = build_learner(experiment, task.dataset, task.partition, {})
    try:
        rounds = learner.rounds(1)
        records = [next(rounds)]
        weights = [np.asarray(w) for w in learner.weights]
        records += rounds
    finally:
        learner.close()
    names = {"seconds": "seconds", "bytes_up": "bytes_up", "bytes_down": "bytes_down", "included": "num_clients"}
    figures = {ours: [r[theirs] for r in records] for ours, theirs in names.items()}
    np.savez(out, *weights, **figures, abandoned=[bool(r.get("secure_abandoned")) for r in records])


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    run(*sys.argv[1:4], num_rounds=int(sys.argv[4]), out=sys.argv[5])
