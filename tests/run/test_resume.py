"""A resumed run equals an uninterrupted one bit for bit, whatever stopped it, and a damaged checkpoint is passed over."""

from __future__ import annotations

import json
import pathlib
import shutil

import numpy as np
import pytest

from fedlab.aggregation import Compressed, Robust
from fedlab.algorithms import DpSgd, FedProx, FedRep, Scaffold
from fedlab.algorithms.optimizers import Adam, Cosine, Sgd
from fedlab.archive import RunFolder, checkpoint, make_folder
from fedlab.cohort import InTurn, Poisson
from fedlab.engine import Tff
from fedlab.models import Mlp
from fedlab.privacy import GaussianAdaptive, GaussianFixed, Tree
from fedlab.run.checkpointing import Checkpointing, Checkpoints, where_to_go_on
from fedlab.secure import Masked

FAMILIES = {
    "fed_avg": dict(model=Mlp(hidden=(8,))),
    "fed_avg_with_dropout": dict(),
    "fed_adam": dict(server_optimizer=Adam(learning_rate=0.01), client_schedule=Cosine(decay_rounds=6)),
    "fed_prox_momentum": dict(process=FedProx(proximal_strength=0.1), server_optimizer=Sgd(learning_rate=1.0, momentum=0.9)),
    "robust": dict(aggregator=Robust()),
    "compressed": dict(aggregator=Compressed(threshold=50)),
}

# Runs that draw noise, or whose sums a protocol makes
GUARDED = {
    "gaussian_fixed": dict(privacy=GaussianFixed(noise_multiplier=0.5), cohort=Poisson(sampling_rate=0.5)),
    "gaussian_adaptive": dict(privacy=GaussianAdaptive(noise_multiplier=0.1), cohort=Poisson(sampling_rate=0.5)),
    "tree": dict(privacy=Tree(noise_multiplier=0.5, restart_every=4), cohort=InTurn(clients_per_round=2)),
    "tree_of_drawn_cohorts": dict(privacy=Tree(noise_multiplier=0.5), cohort=Poisson(sampling_rate=0.5)),
    "dp_sgd": dict(client=DpSgd(batch_size=5)),
    "masked": dict(secure=Masked(dropout_rate=0.2, threshold=0.51)),
}
QUICK = ("fed_avg_with_dropout", "dp_sgd")


def slow_unless_quick(names):
    return [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in names]


def comparable(run):
    return [{k: v for k, v in record.items() if not k.endswith("seconds")} for record in run.records]


def stopped_after(run_of, rounds, folder, **options):
    """A run that has done so many rounds and saved each of the last two."""
    run_of(folder=folder, num_rounds=rounds, checkpoint=Checkpointing(every=1), **options)


@pytest.mark.parametrize("family", slow_unless_quick(FAMILIES))
def test_a_resumed_run_equals_an_uninterrupted_one(run_of, lab, tmp_path, family):
    options = {**FAMILIES[family], "eval_every": 4}  # so that the last round before the stop is evaluated out of turn
    whole = run_of(**options)
    folder = RunFolder(make_folder(tmp_path / "run"))
    stopped_after(run_of, 3, folder, **options)
    resumed = run_of(folder=folder, goes_on=True, **options)
    assert lab.same_bits(whole.model.get_weights(), resumed.model.get_weights())
    assert comparable(whole) == comparable(resumed)
    assert len({r["weights_hash"] for r in whole.records}) == len(whole.records)


class CtrlC:
    """A logger during whose third round the user stops the run."""

    def log(self, record):
        if record["round"] == 3:
            raise KeyboardInterrupt

    def close(self): ...


@pytest.mark.slow
@pytest.mark.parametrize("family", slow_unless_quick(GUARDED))
def test_a_guarded_run_goes_on_as_if_it_had_never_been_stopped(run_of, lab, tmp_path, family):
    """Noise, clip norms, trees, dropouts and what has been spent are as they would have been."""
    options = {**GUARDED[family], "model": Mlp(hidden=(8,)), "seed": 5}
    whole, folder = run_of(**options), RunFolder(make_folder(tmp_path / "run"))
    with pytest.raises(KeyboardInterrupt):
        run_of(folder=folder, logger=CtrlC(), **options)
    assert where_to_go_on(folder).round == 3
    resumed = run_of(folder=folder, goes_on=True, **options)
    assert lab.same_bits(whole.model.get_weights(), resumed.model.get_weights())
    assert comparable(whole) == comparable(resumed)
    assert len({r["weights_hash"] for r in whole.records}) > 4


@pytest.mark.slow
def test_on_tffs_runtime_too(run_of, tmp_path):
    """As far as TFF's sums go the same way twice."""
    options = dict(engine=Tff(), model=Mlp(hidden=(8,)), num_rounds=3)
    whole, folder = run_of(**options), RunFolder(make_folder(tmp_path / "run"))
    run_of(folder=folder, **{**options, "num_rounds": 1})
    resumed = run_of(folder=folder, goes_on=True, **options)
    assert resumed.summary["test_loss"] == pytest.approx(whole.summary["test_loss"], rel=1e-5)


KEEPING = {"scaffold": dict(process=Scaffold()), "fed_rep": dict(process=FedRep(head_epochs=1))}


@pytest.mark.parametrize("name", ["arms", *(pytest.param(name, marks=pytest.mark.slow) for name in KEEPING)])
def test_what_clients_keep_is_as_if_the_run_had_never_been_killed(run_of, killed, name):
    """The newest checkpoint is damaged too; the last one of both runs has the same bytes."""
    options = dict(arms=KEEPING) if name == "arms" else KEEPING[name]
    options = {**options, "model": Mlp(hidden=(8,)), "num_rounds": 4, "checkpoint": Checkpointing(every=1, keep=4)}
    whole = run_of(**options)
    folder = killed(whole, 3)
    damage(checkpoint.newest_first(folder.checkpoints)[0])
    resumed = run_of(folder=folder, goes_on=True, **options)
    assert comparable(whole) == comparable(resumed)
    ours, theirs = (checkpoint.newest_first(run.folder.checkpoints)[0].read_bytes() for run in (whole, resumed))
    assert ours == theirs
    assert {p.name for p in folder.path.iterdir()} == {p.name for p in whole.folder.path.iterdir()}


@pytest.mark.slow
@pytest.mark.parametrize("name", KEEPING)
def test_what_clients_keep_on_tffs_runtime(run_of, tmp_path, name):
    options = dict(engine=Tff(), model=Mlp(hidden=(8,)), num_rounds=3, **KEEPING[name])
    whole, folder = run_of(**options), RunFolder(make_folder(tmp_path / "run"))
    run_of(folder=folder, **{**options, "num_rounds": 1})
    resumed = run_of(folder=folder, goes_on=True, **options)
    assert resumed.summary["test_loss"] == pytest.approx(whole.summary["test_loss"], rel=1e-5)


@pytest.fixture(scope="module")
def once_stopped(run_of, tmp_path_factory):
    folder = RunFolder(make_folder(tmp_path_factory.mktemp("stopped") / "run"))
    stopped_after(run_of, 4, folder)
    return folder


@pytest.fixture
def stopped(once_stopped, tmp_path):
    """A copy of a run that was stopped after its fourth round."""
    return RunFolder(pathlib.Path(shutil.copytree(once_stopped.path, tmp_path / "run")))


def damage(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


class TestWhereToGoOn:
    def test_at_the_newest_checkpoint(self, stopped):
        beginning = where_to_go_on(stopped)
        assert (beginning.round, len(beginning.records), beginning.remarks) == (4, 4, [])

    def test_at_the_one_before_a_damaged_one_and_says_so(self, stopped):
        damage(checkpoint.newest_first(stopped.checkpoints)[0])
        beginning = where_to_go_on(stopped)
        assert (beginning.round, [r["round"] for r in beginning.records]) == (3, [1, 2, 3])
        assert "round_000004.ckpt is damaged" in beginning.remarks[0] and "The one before it is used" in beginning.remarks[0]

    def test_at_the_beginning_when_all_are_damaged(self, stopped):
        for path in checkpoint.newest_first(stopped.checkpoints):
            damage(path)
        beginning = where_to_go_on(stopped)
        assert (beginning.round, beginning.records, len(beginning.remarks)) == (0, [], 2)
        assert [r.rpartition(". ")[2] for r in beginning.remarks] == ["The one before it is used.", "The run starts at round 1."]

    def test_not_after_rounds_whose_records_are_lost(self, stopped):
        lines = stopped.metrics.read_text().splitlines(keepends=True)
        stopped.metrics.write_text("".join(lines[:3]) + lines[3][:20])
        assert where_to_go_on(stopped).round == 3
        stopped.metrics.write_text("")
        assert where_to_go_on(stopped).round == 0


@pytest.mark.slow
def test_records_beyond_the_checkpoint_are_computed_again(stopped, run_of, once):
    """As after a SIGKILL between two checkpoints; the newest one is damaged too."""
    damage(checkpoint.newest_first(stopped.checkpoints)[0])
    last = json.loads(stopped.metrics.read_text().splitlines()[-1])
    with open(stopped.metrics, "a") as file:
        file.write(json.dumps({**last, "round": 5, "weights_hash": "of a round that was lost"}) + "\n{torn")
    assert comparable(run_of(folder=stopped, goes_on=True)) == comparable(once)


@pytest.mark.slow
def test_a_run_that_was_killed_after_its_last_round_keeps_that_rounds_scores(run_of, tmp_path):
    folder = RunFolder(make_folder(tmp_path / "run"))
    whole = run_of(folder=folder, eval_every=4)
    folder.summary.unlink()
    again = run_of(folder=folder, goes_on=True, eval_every=4)
    assert again.records == whole.records and "test_loss" in again.records[-1]


def test_a_checkpoint_of_another_model_is_refused(stopped, run_of):
    with pytest.raises(Exception, match="belongs to another model or process"):
        run_of(folder=stopped, goes_on=True, model=Mlp(hidden=(9,), dropout=0.3))


def rounds_kept(folder):
    return [checkpoint.load(p).round for p in checkpoint.newest_first(folder.checkpoints)]


def test_a_run_keeps_checkpoints_as_often_as_asked_and_its_last_state(run_of):
    assert rounds_kept(run_of(checkpoint=Checkpointing(every=4, keep=2)).folder) == [6, 4]


@pytest.mark.parametrize(("every", "keep", "kept"), [(1, 3, [6, 5, 4]), (4, 2, [4]), (100, 2, [])])
def test_how_often_and_how_many(tmp_path, every, keep, kept):
    folder = RunFolder(make_folder(tmp_path / "run"))
    checkpoints = Checkpoints(Checkpointing(every=every, keep=keep), folder, 0, {})
    for round_num in range(1, 7):
        if checkpoints.is_due(round_num):
            checkpoints.save(round_num, [np.zeros(1)])
    assert rounds_kept(folder) == kept
