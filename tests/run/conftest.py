"""Whole runs of a small federation, for the tests of this folder."""

from __future__ import annotations

import dataclasses
import json
import shutil
from typing import Any

import numpy as np
import pytest

from fedlab.aggregation import Mean
from fedlab.algorithms import FedAvg, LocalTraining
from fedlab.algorithms.optimizers import Constant, Sgd
from fedlab.archive import RunFolder, checkpoint, make_folder
from fedlab.cohort import Uniform
from fedlab.data import Npz
from fedlab.engine import Compiled
from fedlab.evaluation import Evaluation
from fedlab.models import Mlp
from fedlab.partition import Quantity
from fedlab.randomness import Secret
from fedlab.run import inputs, rules
from fedlab.run.checkpointing import where_to_go_on
from fedlab.run.experiment import Experiment

NUM_CLIENTS, NUM_ROUNDS = 5, 6
KEY = Secret(2**255 + 12345)  # of all runs, unless they are given another: their noise must not differ by chance


@dataclasses.dataclass(frozen=True)
class Run:
    folder: RunFolder
    experiment: Experiment
    partition: Any
    test: Any
    summary: dict
    records: list  # the lines of metrics.jsonl
    model: Any  # from model.keras; None for arms, which have one each


class Keep:
    """A logger that keeps what it is told."""

    def __init__(self):
        self.records, self.closed = [], 0

    def log(self, record):
        self.records.append(record)

    def close(self):
        self.closed += 1


@pytest.fixture
def keep():
    return Keep()


@pytest.fixture(scope="session")
def npz(tmp_path_factory):
    """Images of four classes that can be learnt, but not perfectly."""
    rng = np.random.default_rng(0)
    centres = rng.integers(0, 256, (4, 6, 6, 1))

    def draw(n):
        y = rng.integers(0, 4, n)
        return np.clip(centres[y] + rng.normal(0, 120, (n, 6, 6, 1)), 0, 255).astype(np.uint8), y

    (x, y), (x_test, y_test) = draw(60), draw(97)
    path = tmp_path_factory.mktemp("data") / "images.npz"
    np.savez(path, x=x, y=y, x_test=x_test, y_test=y_test)
    return Npz(path=str(path))


@pytest.fixture(scope="session")
def run_of(npz, tmp_path_factory, tensorflow):
    """Trains to the end with the given options in place of the usual ones."""
    from fedlab.run.learner import build_learner
    from fedlab.run.train import train

    def run(logger=None, folder=None, goes_on=False, secret=KEY, **options) -> Run:
        usual = dict(
            seed=3,
            num_rounds=NUM_ROUNDS,
            data=npz,
            partition=Quantity(num_clients=NUM_CLIENTS, sigma=1.0),
            cohort=Uniform(clients_per_round=4, dropout_rate=0.3),
            model=Mlp(hidden=(8,), dropout=0.3),
            process=FedAvg(),
            client=LocalTraining(batch_size=5, local_epochs=2),
            client_optimizer=Sgd(learning_rate=0.1),
            client_schedule=Constant(),
            server_optimizer=Sgd(learning_rate=1.0),
            aggregator=Mean(),
            engine=Compiled(),
            evaluation=Evaluation(batch_size=40),
        )
        arms = options.pop("arms", {})
        base = Experiment(**{**usual, **options})
        experiment = base.model_copy(update={"arms": {name: base.model_copy(update=changes) for name, changes in arms.items()}})
        rules.check(experiment)
        dataset, partition = inputs.load(experiment)
        folder = folder or RunFolder(make_folder(tmp_path_factory.mktemp("run") / "run"))
        beginning = where_to_go_on(folder)
        assert bool(beginning.round) == goes_on
        secrets = dict.fromkeys(arms, secret) if arms else secret
        learner = build_learner(experiment, dataset, partition, inputs.load_arms(experiment, dataset, partition), secrets)
        try:
            summary = train(learner, dataset, folder, beginning, lambda _: [logger] if logger else [])
        finally:
            learner.close()
        records = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
        model = tensorflow.keras.models.load_model(folder.model) if folder.model.is_file() else None
        return Run(folder, experiment, partition, dataset.test, summary, records, model)

    return run


@pytest.fixture
def killed(tmp_path):
    """Copies the folder of a run with a checkpoint of every round, as a kill after so many rounds would have left it."""

    def cut(run, rounds):
        folder = RunFolder(shutil.copytree(run.folder.path, tmp_path / "killed"))
        for path in checkpoint.newest_first(folder.checkpoints):
            if checkpoint.load(path).round > rounds:
                path.unlink()
        folder.metrics.write_text("".join(folder.metrics.read_text().splitlines(keepends=True)[:rounds]))
        folder.summary.unlink()
        return folder

    return cut


@pytest.fixture(scope="session")
def once(run_of):
    return run_of()
