"""A private run that is killed at any moment after its noise has a key goes on to the bits of an uninterrupted one.

The run's folder is copied at each change of the files that a resumed run reads, before and after it: what a SIGKILL at this
moment would have left, since the kernel keeps what was written.
"""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import shutil

import pytest

import fedlab
from fedlab.archive.metrics import read_records
from fedlab.errors import FedlabError

SMALL = ("data.max_examples=60", "partition.num_clients=6", "model.hidden=[4]", "num_rounds=2", "checkpoint.every=1", "logger=[]")
POISSON, MASKED = ("cohort=poisson", "cohort.sampling_rate=0.7", "privacy.delta=0.02"), ("secure=masked",)
PRIVATE = {
    "fixed and masks": ("privacy=gaussian_fixed", *POISSON, *MASKED),
    "fixed": ("privacy=gaussian_fixed", *POISSON),
    "adaptive": ("privacy=gaussian_adaptive", "privacy.noise_multiplier=0.3", *POISSON),
    "adaptive and masks": ("privacy=gaussian_adaptive", "privacy.noise_multiplier=0.3", *POISSON, *MASKED),
    "tree": ("privacy=tree", "cohort=in_turn", "cohort.clients_per_round=2", "privacy.delta=0.02"),
    "dp_sgd": ("client=dp_sgd", "client.delta=0.01"),
}
QUICK = "fixed and masks"
READ = ("manifest.json", "noise.key", "metrics.jsonl", "summary.json", "inventory.json", "checkpoints/*.ckpt")
TIMES = ("seconds", "secure_seconds")  # the only values of a record that may differ


def digest(folder):
    found = hashlib.sha256()
    for path in sorted(path for pattern in READ for path in folder.glob(pattern)):
        found.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return found.digest()


class Moments:
    """Copies `folder` before and after each change, unless nothing has changed that a resumed run reads."""

    def __init__(self, folder, copies, patch):
        self.folder, self.copies, self.found = folder, copies, {}
        for module, name in ((os, "replace"), (os, "link"), (os, "fsync"), (pathlib.Path, "unlink")):
            patch.setattr(module, name, self.looking(getattr(module, name)))

    def looking(self, function):
        def act(*args, **options):
            self.look()
            try:
                return function(*args, **options)
            finally:
                self.look()

        return act

    def look(self):
        if (self.folder / "manifest.json").exists() and (state := digest(self.folder)) not in self.found:
            self.found[state] = shutil.copytree(self.folder, self.copies / f"{len(self.found):02}")


def rounds(folder):
    records = read_records(folder / "metrics.jsonl")
    return [{k: v for k, v in record.items() if not k.endswith(TIMES)} for record in records]


def manifest(folder):
    return json.loads((folder / "manifest.json").read_text())


@pytest.fixture(
    scope="module", params=[name if name == QUICK else pytest.param(name, marks=pytest.mark.slow) for name in PRIVATE]
)
def killed(request, tmp_path_factory, tensorflow):
    """(the folder of an uninterrupted run, and its copies at each moment; of the quick case, at every fifth)."""
    place = tmp_path_factory.mktemp("killed")
    (place / "copies").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        moments = Moments(place / "whole", place / "copies", patch)
        fedlab.run("", *SMALL, *PRIVATE[request.param], folder=place / "whole")
    copies = list(moments.found.values())
    assert len(copies) > 8
    return place / "whole", copies[2::5] if request.param == QUICK else copies


def test_it_goes_on_to_the_same_bits_and_the_same_epsilon(killed, tmp_path):
    whole, copies = killed
    for copy in copies:
        folder = pathlib.Path(shutil.copytree(copy, tmp_path / copy.name))
        key, named = (folder / "noise.key"), manifest(folder)["noise_key"]
        before = key.read_text() if key.exists() else None
        ended = manifest(folder)["status"] == "finished" and (folder / "inventory.json").exists()
        if not ended:  # nobody takes it for finished
            try:
                assert fedlab.open_run(folder).status != "finished"
            except FedlabError as error:
                assert "inventory.json is missing" in str(error)
            fedlab.resume(folder)
        run = fedlab.open_run(folder)
        assert run.status == "finished" and len(run.metrics) == 2
        assert [r["epsilon"] for r in rounds(folder)] == [r["epsilon"] for r in rounds(whole)]
        assert [run.summary[k] for k in ("epsilon", "delta")] == [rounds(whole)[-1][k] for k in ("epsilon", "delta")]
        if named:  # the same noise, for the same updates
            assert key.read_text() == (whole / "noise.key").read_text() == before and rounds(folder) == rounds(whole)
        else:  # nothing was drawn from a key that the manifest does not name: the run has another one
            assert key.read_text() != before
            assert not {r["weights_hash"] for r in rounds(folder)} & {r["weights_hash"] for r in rounds(whole)}
