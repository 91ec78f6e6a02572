"""manifest.json: the configuration, data, environment and end of a run. `verify` and `resume` need no other description of it.

manifest_version   2: a run that has finished has an inventory.json; 1, of an older fedlab: it has none
name               "mnist/fedavg_iid": the experiment, or the data and the process
status             running, finished, interrupted or failed
failure            why it failed, one line; null otherwise
command            as typed; `resumed` has {time, command, from_round} for each continuation
config             the resolved configuration, nested by stage, files and folders as absolute paths; config_sha256 is its hash
code               folder of the user's own components; null if the run uses none, or they are installed
own_code           16 digits of the SHA-256 of the file of each of their modules
seed               all draws follow from it, except those from noise.key
noise_key          16 digits that identify this run's noise.key without revealing it; null if there is none
                   (yet, if the run was killed at its start)
num_rounds         requested rounds; rounds_completed: computed rounds
started, ended     ISO 8601 in UTC; ended is null while it runs
fedlab, packages, machine   see fedlab.run.environment
data               name, fingerprint (SHA-256 of all arrays), train_examples, test_examples, num_classes
                   (null: no classes), task (name, headline, the display of each metric, and the labels of classes that
                   have some); columns, if the data was a table: the encoding of each column
files              SHA-256 of each file that affects results and is in neither fingerprint, by the option that names it
init               the layers whose weights were taken from init.from, those drawn from the seed, and the frozen ones
partition          fingerprint, num_clients, num_unseen_clients (if some are never trained; not among the former),
                   examples_min, examples_median, examples_max
summation          order of floating-point sums over clients
seconds            per phase: data, tensorflow (its import), lowering, tracing, training, evaluation, checkpoints, total;
                   aggregation if the engine measures it separately (a compiled round does not)
peak_memory_bytes  peak memory of this process
"""

from __future__ import annotations

import datetime
import pathlib
from collections.abc import Collection, Mapping
from typing import Any

from fedlab import registry
from fedlab.archive.folder import write_json
from fedlab.fingerprint import json_fingerprint
from fedlab.moved import changes_nothing, without_later

VERSION = 2
# Options that change neither weights nor metrics of computed rounds
WITHOUT_EFFECT = (
    *("num_rounds", "stop", "checkpoint", "logger"),
    *(stage.name for stage in registry.stages() if stage.after_training),
)


def config_sha256(config: Mapping[str, Any]) -> str:
    """Returns the SHA-256 of a configuration; equal for configurations with the same rounds. The number of rounds, logging and
    checkpoints do not count.
    """
    relevant = {k: v for k, v in config.items() if k not in WITHOUT_EFFECT and not changes_nothing(k, v)}
    return json_fingerprint(relevant)


def deciding(config: Mapping[str, Any], also: Collection[str]) -> dict[str, Any]:
    """Returns the options that determine a run's results, for hashes: without those `WITHOUT_EFFECT`, except `also`.

    `stop` where it is off, options and stages that came later where they change nothing (`fedlab.moved`), and
    `evaluation.rounds_to`, which only adds figures, are left out.
    """
    found = {k: without_later(v) for k, v in config.items() if k not in WITHOUT_EFFECT or k in also}
    found = {k: v for k, v in found.items() if not changes_nothing(k, v)}
    if isinstance(stop := found.get("stop"), Mapping) and all(v is None for k, v in stop.items() if k != "_target_"):
        del found["stop"]
    if isinstance(evaluation := found.get("evaluation"), Mapping):
        found["evaluation"] = {k: v for k, v in evaluation.items() if k != "rounds_to"}
    return found


def now() -> str:
    """Returns the current time in the manifest's format."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


class Manifest:
    """The manifest of the run in `path`'s folder, on disk after every `update`."""

    def __init__(self, path: pathlib.Path, values: Mapping[str, Any]):
        self._path, self.values = path, dict(values)
        self.update()

    def update(self, **values: Any) -> None:
        self.values.update(values)
        write_json(self._path, self.values)
