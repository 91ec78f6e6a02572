"""Memory does not grow with the rounds."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

SCRIPT = """
import json
import numpy as np
import psutil
from fedlab.run.start import start_tensorflow
start_tensorflow("cpu", 100)
from fedlab.cohort import Uniform
from fedlab.engine import Compiled
from fedlab.models import Mlp, functional
from fedlab.algorithms import FedAvg, Parts, LocalTraining
from fedlab.algorithms.client_work import ExampleSpec
from fedlab.algorithms.optimizers import Sgd
from fedlab.run.rounds import prepared_rounds
from fedlab.types import ExampleSet, Partition

clients, each, shape = 1000, 60, (28, 28, 1)
rng = np.random.default_rng(0)
n = clients * each
examples = ExampleSet(rng.integers(0, 256, (n, *shape), dtype=np.uint8), rng.integers(0, 10, n).astype(np.int32), 10)
build = lambda: Mlp(hidden=(128,))(shape, 10)
model = functional.functional_classifier(build, functional.keras_weights(build()), shape, 10)
federation = dict(num_clients=clients, num_examples=n)
parts = Parts(model, ExampleSpec.of(examples), LocalTraining(batch_size=20), Sgd(learning_rate=0.1), **federation)
engine = Compiled().build(FedAvg().build(parts), examples)
# Unequal clients, so that no buffer fits twice
cuts = np.sort(rng.choice(np.arange(1, n), clients - 1, replace=False))
partition = Partition(tuple(map(str, range(clients))), tuple(np.split(rng.permutation(n), cuts)))
state = engine.initialize(np.array([0, 0]))
resident = {}
for cohort, round_input in prepared_rounds(partition, Uniform(clients_per_round=100), 1, 0, 1, 300):
    state, _ = engine.next(state, round_input)
    resident[cohort.round] = psutil.Process().memory_info().rss
engine.close()
print(json.dumps({"30": resident[30], "300": resident[300], "traces": engine.num_traces}))
"""


@pytest.mark.slow
def test_resident_memory_after_round_300_is_within_5_percent_of_round_30():
    """An MLP 784-128-10, 100 of 1,000 unequal clients with 60 examples on average, batch 20."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr
    resident = json.loads(done.stdout.splitlines()[-1])
    assert resident["traces"] == 2  # the graph of small cohorts, and that of cohorts in blocks
    assert resident["300"] < 1.05 * resident["30"], resident
