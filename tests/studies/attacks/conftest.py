"""Small runs on real digits, 8×8 as scikit-learn has them, that have been attacked."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from sklearn.datasets import load_digits

from fedlab.cli.main import main

CLIENTS = (
    "partition.num_clients=4 cohort=all model.hidden=[32] num_rounds=3 client.local_epochs=5 client_optimizer=adam "
    "client_optimizer.learning_rate=0.005 secure.observe=last logger=[] attack=model_inversion attack.target=clients "
    "attack.iterations=150 attack.max_clients=2"
)


@pytest.fixture(scope="session")
def digits(tmp_path_factory):
    """An npz file of the digits."""
    found = load_digits()
    x, y = (found.images[..., None] * 15).astype(np.uint8), found.target
    path = tmp_path_factory.mktemp("digits") / "digits.npz"
    np.savez(path, x=x[:1200], y=y[:1200], x_test=x[1200:], y_test=y[1200:])
    return path


@pytest.fixture(scope="session")
def attacked(digits, tmp_path_factory, tensorflow):
    """Trains and attacks with more options; the run's folder."""
    root, done = tmp_path_factory.mktemp("attacked"), {}

    def run(options=""):
        if options not in done:
            folder = root / str(len(done))
            assert main(f"train -q data=npz data.path={digits} {CLIENTS} {options} hydra.run.dir={folder}".split()) == 0
            done[options] = folder
        return done[options]

    return run


@pytest.fixture
def copied(attacked, tmp_path):
    """A copy of the run with plain updates, to be changed."""
    return shutil.copytree(attacked(), tmp_path / "run")


def result(folder, name="model_inversion_clients"):
    return json.loads((folder / "attacks" / f"{name}.json").read_text())
