"""Whole runs of a GAN: resumed as if never stopped, the same again from the same seed, and what is left in the folder."""

from __future__ import annotations

import json
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from fedlab.aggregation import Mean
from fedlab.algorithms import Gan, LocalTraining
from fedlab.algorithms.optimizers import Adam, Constant, Sgd
from fedlab.archive import Run, RunFolder, make_folder
from fedlab.archive.images import save_grid
from fedlab.cohort import Uniform
from fedlab.data import Npz
from fedlab.engine import Compiled
from fedlab.errors import ConfigError
from fedlab.evaluation import GanEvaluation
from fedlab.evaluation.polarity import polarity
from fedlab.models import Mlp
from fedlab.partition import Iid
from fedlab.report.animation import save_animation
from fedlab.report.pictures import draw_animation
from fedlab.report.sections import images
from fedlab.run import inputs, rules
from fedlab.run.checkpointing import Checkpointing, where_to_go_on
from fedlab.run.experiment import Experiment
from fedlab.run.learner import build_learner
from fedlab.run.train import train

from .conftest import NETWORKS

NUM_ROUNDS = 5


@pytest.fixture(scope="module")
def npz(tmp_path_factory):
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (90, 4, 4, 1)).astype(np.uint8), rng.integers(0, 3, 90)
    path = tmp_path_factory.mktemp("data") / "images.npz"
    np.savez(path, x=x[:60], y=y[:60], x_test=x[60:], y_test=y[60:])
    return Npz(path=str(path))


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    """As a run leaves it."""
    tf.keras.utils.set_random_seed(0)
    folder = tmp_path_factory.mktemp("classifier")
    Mlp(hidden=(6,))((4, 4, 1), 3).save(folder / "model.keras")
    return folder


@pytest.fixture(scope="module")
def run_of(npz, classifier, tmp_path_factory):
    def run(folder=None, **options):
        usual = dict(
            seed=3,
            num_rounds=NUM_ROUNDS,
            eval_every=2,
            data=npz,
            partition=Iid(num_clients=5),
            cohort=Uniform(clients_per_round=3, dropout_rate=0.2),
            model=NETWORKS,
            process=Gan(generator_optimizer="adam", generator_steps=2, generator_batch_size=7),
            client=LocalTraining(batch_size=5, max_local_steps=2),
            client_optimizer=Sgd(learning_rate=0.01),
            client_schedule=Constant(),
            server_optimizer=Adam(learning_rate=0.01),
            aggregator=Mean(),
            engine=Compiled(),
            evaluation=GanEvaluation(num_images=20, grid_size=3, classifier=str(classifier)),
            checkpoint=Checkpointing(every=1),
        )
        experiment = Experiment(**{**usual, **options})
        rules.check(experiment)
        dataset, partition = inputs.load(experiment)
        folder = folder or RunFolder(make_folder(tmp_path_factory.mktemp("run") / "run"))
        learner = build_learner(experiment, dataset, partition, {})
        try:
            train(learner, dataset, folder, where_to_go_on(folder), lambda _: [])
        finally:
            learner.close()
        draw_animation(folder, experiment.num_rounds, experiment.eval_every)
        return folder

    return run


@pytest.fixture(scope="module")
def once(run_of):
    return run_of()


def records(folder):
    lines = map(json.loads, folder.metrics.read_text().splitlines())
    return [{k: v for k, v in line.items() if not k.endswith("seconds")} for line in lines]


def files(folder):
    """What must not differ: pictures, samples, networks."""
    with np.load(folder.samples) as samples:
        made = samples["images"]
    networks = [tf.keras.models.load_model(folder.path / f"{n}.keras").get_weights() for n in ("generator", "discriminator")]
    return {p.name: p.read_bytes() for p in folder.images.iterdir()}, [made, *networks[0], *networks[1]]


@pytest.mark.slow
def test_a_resumed_run_equals_an_uninterrupted_one(run_of, once, lab, tmp_path):
    """It is stopped after the third round, which is evaluated out of turn as the last of three."""
    folder = RunFolder(make_folder(tmp_path / "run"))
    run_of(folder=folder, num_rounds=3)
    run_of(folder=folder)
    assert records(folder) == records(once)
    (pictures, arrays), (expected, others) = files(folder), files(once)
    assert lab.same_bits(arrays, others)
    assert {k: v for k, v in pictures.items() if k != "round_000003.png"} == expected


def test_what_a_run_measures(once):
    found = records(once)
    measured = {"real_score", "generated_score", "polarity", "generator_norm", "discriminator_norm", "classifier_score"}
    measured |= {"frechet_logits", "frechet_features"}
    assert [r["round"] for r in found if measured <= set(r)] == [2, 4, 5]
    assert all(not measured & set(r) for r in found if r["round"] in (1, 3))
    for name in ("train_loss", "train_gradient_penalty", "train_real_score", "server_generator_loss"):
        assert all(np.isfinite(r[name]) for r in found if r["num_clients"])
    assert [r["num_clients"] for r in found] == [0, 3, 3, 3, 1]  # under this seed: a round of nobody, too
    summary = json.loads(once.summary.read_text())
    assert {name: summary[name] for name in measured} == {name: found[-1][name] for name in measured}
    assert summary["real_classifier_score"] >= 1 and 0 <= summary["real_polarity"] <= 1


def test_what_a_run_leaves(once):
    with np.load(once.samples) as samples:
        made = samples["images"]
    assert made.shape == (20, 4, 4, 1) and made.dtype == np.uint8
    assert polarity(made) == json.loads(once.summary.read_text())["polarity"]
    assert {p.name for p in once.images.iterdir()} == {*(f"round_00000{r}.png" for r in (2, 4, 5)), "animation.gif"}
    noise = np.random.default_rng(0).normal(size=(3, NETWORKS.noise_dimension)).astype(np.float32)
    generated = tf.keras.models.load_model(once.path / "generator.keras").predict(noise, verbose=0)
    scores = tf.keras.models.load_model(once.path / "discriminator.keras").predict(generated, verbose=0)
    assert generated.shape == (3, 4, 4, 1) and np.abs(generated).max() <= 1 and scores.shape == (3, 1)


def test_the_page_shows_it_move(once):
    body = str(images.build(Run(once, {"config": {}}, {})).body)
    assert body.index("data:image/gif;base64,") < body.index("data:image/png;base64,")
    assert body.count("data:image/gif") == 1 and body.count("data:image/png") == 3


def test_beside_an_animation_a_page_has_few_of_a_long_series(tmp_path):
    folder = RunFolder(tmp_path)
    folder.images.mkdir()
    for i in range(1, 41):
        save_grid(np.zeros([1, 4, 4, 1]), 1, folder.images / f"round_{i:06d}.png")
    save_grid(np.zeros([1, 4, 4, 1]), 1, folder.images / "client_3.png")
    assert str(images.build(Run(folder, {"config": {}}, {})).body).count("<img") == 41
    save_animation(sorted(folder.images.glob("round_*")), folder.images / "animation.gif")
    body = str(images.build(Run(folder, {"config": {}}, {})).body)
    assert body.count("<img") == 1 + 6 + 1
    assert all(caption in body for caption in ("round 1<", "round 40<", "client 3"))


def test_grids_and_animations(tmp_path):
    """Pixel by pixel: gaps of one pixel, everything twice as large."""
    from PIL import Image

    grey = np.stack([np.full((4, 4, 1), v) for v in (-1.0, 1.0, 0.0)])
    save_grid(grey, 2, tmp_path / "a.png")
    picture = np.asarray(Image.open(tmp_path / "a.png"))
    assert picture.shape == (22, 22)
    assert (picture[2:10, 2:10] == 0).all() and (picture[2:10, 12:20] == 255).all() and (picture[12:20, 2:10] == 128).all()
    save_grid(grey[::-1], 2, tmp_path / "b.png")
    save_animation([tmp_path / "a.png", tmp_path / "b.png"], tmp_path / "both.gif")
    with Image.open(tmp_path / "both.gif") as moving:
        assert (moving.n_frames, moving.size) == (2, (22, 22))
        assert np.abs(np.asarray(moving.convert("L")).astype(int) - picture).max() <= 8
    for number in (9, 10):
        save_grid(np.zeros([16, 8, 8, 1]), 4, tmp_path / f"round_{number:06d}.png")
    save_animation([tmp_path / "round_000009.png", tmp_path / "round_000010.png"], tmp_path / "rounds.gif")
    with Image.open(tmp_path / "rounds.gif") as moving:
        strips = [np.asarray(moving.convert("L"))[74:] for frame in range(2) if moving.seek(frame) is None]
    assert len(strips[0]) > 0 and all(strip.max() > 200 for strip in strips) and (strips[0] != strips[1]).any()


def test_a_classifier_that_is_not_there_or_is_of_other_images(run_of, tmp_path):
    with pytest.raises(ConfigError, match=r"evaluation\.classifier=nowhere"):
        run_of(evaluation=GanEvaluation(classifier="nowhere"))
    path = pathlib.Path(tmp_path / "other.keras")
    Mlp(hidden=())((5, 5, 1), 3).save(path)
    with pytest.raises(ConfigError, match=r"takes images of \[5, 5, 1\], the data has \[4, 4, 1\]"):
        run_of(evaluation=GanEvaluation(classifier=str(path)))


@pytest.mark.slow
def test_without_a_classifier_it_says_what_it_leaves_out(npz, run_of, monkeypatch):
    told = []
    monkeypatch.setattr("fedlab.run.training.Training.close", lambda self: told.extend(self.lines()))
    folder = run_of(num_rounds=2, evaluation=GanEvaluation(num_images=20))
    assert any("need evaluation.classifier=RUN" in line for line in told)
    assert "polarity" in records(folder)[-1] and "frechet_logits" not in records(folder)[-1]
