"""manifest.json: what was run, on what, and how it ended. Everything `verify` and `resume` need to run it again.

manifest_version   2: a run that has finished has an inventory.json; 1, of an older fedlab: it has none
name               "mnist/fedavg_iid": the experiment, or the data and the process
status             running, finished, interrupted or failed
failure            why it failed, one line; null otherwise
command            as typed; `resumed` has {time, command, from_round} for each time it was taken up again
config             the resolved configuration, nested by stage; config_sha256 is its hash
seed               everything random follows from it, but for what is drawn from noise.key
noise_key          16 digits that tell this run's noise.key from others, and nothing of what it holds; null where there is none
num_rounds         those wanted, rounds_completed those done
started, ended     ISO 8601 in UTC; ended is null while it runs
fedlab, packages, machine   see fedlab.run.environment
data               name, fingerprint (SHA-256 of all arrays), train_examples, test_examples, num_classes
partition          fingerprint, num_clients, examples_min, examples_median, examples_max
summation          in which order floating-point sums over clients are made
seconds            per phase: data, tensorflow (its import), lowering, tracing, training, evaluation, checkpoints, total;
                   aggregation where it is apart from training, which it is not in a compiled round
peak_memory_bytes  the most this process has held
"""

from __future__ import annotations

import datetime
import hashlib
import json
import pathlib
from collections.abc import Mapping
from typing import Any

from fedlab.archive.folder import write_json

VERSION = 2
# What changes neither a weight nor a metric of a round that has been computed
WITHOUT_EFFECT = ("num_rounds", "checkpoint", "logger", "objective", "attack")


def config_sha256(config: Mapping[str, Any]) -> str:
    """Equal for configurations that give the same rounds: how many there are, what is logged and saved does not count."""
    relevant = {k: v for k, v in config.items() if k not in WITHOUT_EFFECT}
    return hashlib.sha256(json.dumps(relevant, sort_keys=True, default=str).encode()).hexdigest()


def now() -> str:
    """The time, as manifests write it."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


class Manifest:
    """The manifest of the run in `path`'s folder, on disk after every `update`."""

    def __init__(self, path: pathlib.Path, values: Mapping[str, Any]):
        self._path, self.values = path, dict(values)
        self.update()

    def update(self, **values: Any) -> None:
        self.values.update(values)
        write_json(self._path, self.values)
