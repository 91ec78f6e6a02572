"""Tests the models of two finished runs against each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fedlab.archive import Run, read_run
from fedlab.archive.folder import relative
from fedlab.archive.reading import folder_and_arm
from fedlab.config import composing as configuration
from fedlab.data import Npz
from fedlab.errors import ConfigError, DataError, FedlabError
from fedlab.partition import ByUser
from fedlab.run import recorded
from fedlab.run.finished import Finished
from fedlab.run.start import start_tensorflow
from fedlab.studies.difftest.client_tests import ClientOutputs, compare, sampled_scores
from fedlab.studies.difftest.options import Difftest
from fedlab.studies.difftest.verdict import Differences
from fedlab.types import ExampleSet, Partition

Score = tuple[str, float, float]  # client, probability of its class by the first model and by the second


def compare_runs(paths: Sequence[str], spec: Difftest, data: str, seed: int) -> tuple[Differences, list[Score]]:
    """Returns the comparison of two runs, and a sample of scores.

    `paths`: FOLDER, or FOLDER:ARM for an arm. `data`: clients, test, or an .npz file. `seed`: of the resampling. Raises
    `FedlabError` for a run without a model, and for two runs with different examples.
    """
    runs = [_finished(path) for path in paths]
    file = None if data in ("clients", "test") else _examples(data)
    trusted = [recorded.trusted(run.config, run.path, run.manifest.get("code")) for run in runs]
    models = [Finished(run, configuration.build_experiment(config)) for run, config in zip(runs, trusted)]
    chosen = [file if file else model.test() if data == "test" else model.clients() for model in models]
    (examples, partition), (others, other_partition) = chosen
    same = len(examples) == len(others) and len(partition) == len(other_partition)
    same = same and all(map(np.array_equal, partition.indices, other_partition.indices))
    if not same or not np.array_equal(examples.y, others.y):  # images may differ, because a corruption may add a bug to some
        raise DataError(
            f"the two runs do not have the same {'test set' if data == 'test' else 'examples on the same clients'}: "
            "compare runs with the same data, partition and seed, or give --data FILE.npz."
        )
    start_tensorflow("cpu", 1)
    used = partition.owned
    ends = np.cumsum(partition.sizes)[:-1]
    a, b = (np.split(m.probabilities(e.x[used]), ends) for m, e in zip(models, (examples, others)))
    labels = [examples.y[mine] for mine in partition.indices]
    outputs = [ClientOutputs(*client) for client in zip(partition.client_ids, labels, a, b)]
    sampled = sampled_scores(outputs, spec.scores, seed)
    return compare(spec, outputs, runs[1].rounds_completed, seed), [(c, float(x), float(y)) for c, x, y in zip(*sampled)]


def _finished(path: str) -> Run:
    """Reads the run, or the arm, at `path`. Raises `FedlabError` if it has no model yet."""
    folder, arm = folder_and_arm(path)
    run = read_run(folder) if arm is None else read_run(folder).arm(arm)
    if run.arms:
        raise ConfigError(f"{path} is a run with arms: name one of them, such as {path}:{run.arms[0]}.")
    if not run.folder.model.is_file():
        raise FedlabError(
            f"{relative(run.path)} has no model.keras: only a run that has finished can be compared, "
            "with one classifier for all clients."
        )
    run.check(run.folder.model)
    return run


def _examples(path: str) -> tuple[ExampleSet, Partition]:
    """Loads a user's own file, with a client per user."""
    if not path.endswith(".npz"):
        raise ConfigError(f"--data {path}: give clients, test, or an .npz file.")
    examples = Npz(path=path).examples()
    if examples.user_ids is None:
        return examples, Partition((path,), (np.arange(len(examples)),))
    return examples, ByUser()(examples, 0)
