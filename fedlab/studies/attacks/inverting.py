"""Model inversion on a finished run: on its models, and on the messages to its server. Trains only the evaluation model."""

from __future__ import annotations

import dataclasses
import pathlib
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from fedlab.archive import RunFolder, make_folder, replacing
from fedlab.errors import FedlabError, one_line
from fedlab.models.checks import check_no_probabilities
from fedlab.models.functional import keras_weights, set_keras_weights
from fedlab.models.saved import load_keras
from fedlab.secure import ServerView
from fedlab.spec import absolute
from fedlab.studies.attacks.inversion import Inverter
from fedlab.studies.attacks.judge import accuracy, train_control, train_judge
from fedlab.studies.attacks.model_inversion import ModelInversion
from fedlab.studies.attacks.options import Attacked
from fedlab.studies.attacks.plots import plot_grid, plot_models
from fedlab.studies.attacks.record import (
    CONTROL,
    Result,
    accuracies,
    attacks_folder,
    read_results,
    scores,
    shares_in_class,
    write_result,
)
from fedlab.studies.attacks.scoring import Scorer, pixel_range
from fedlab.studies.attacks.victims import Victim, clients_of
from fedlab.types import Dataset, ExampleSet, Partition

_TESTED_ON = 2_000  # the most examples for the test accuracy of an attacked model
_RECORDED = 20  # number of recorded values of the objective, by default


def invert(spec: ModelInversion, attacked: Attacked) -> dict[str, float]:
    """Writes attacks/NAME.json and .npz and images/NAME.png, and returns the metrics of all such attacks on record.

    Raises `FedlabError` if the folder lacks files that the attack needs.
    """
    started = time.perf_counter()
    folder, dataset, partition = RunFolder(attacked.folder), attacked.dataset, attacked.partition
    train, seed = dataset.train, attacked.seed if spec.seed is None else spec.seed
    spec.check_examples(train.x.shape[1:])
    spec.check_classes(np.intersect1d(train.y, dataset.test.y).tolist())
    model = _load(pathlib.Path(spec.file).expanduser() if spec.file else folder.model, train, folder.model)
    num_trainable, view = len(model.trainable_variables), _newest_view(folder) if spec.target == "clients" else None
    victims = [Victim("file" if spec.file else "global", tuple(w for ws in keras_weights(model) for w in ws))]
    if view is not None:
        most = spec.max_clients
        victims += clients_of(view, attacked.secure, partition.client_ids, num_trainable, most, attacked.seed)
    if spec.weight_noise:
        victims = [v for victim in victims for v in (victim, victim.with_noise(spec.weight_noise, num_trainable, seed))]

    if spec.control:
        never = keras_weights(train_control(model, dataset.test, seed))
        victims.append(Victim(CONTROL, tuple(w for ws in never for w in ws)))
    judge = _judge(folder, dataset, seed)
    scorer = Scorer(lambda x: judge(x, training=False), train, dataset.test, seed)
    classes = scorer.classes if spec.target_class is None else np.array([spec.target_class])
    inverter = Inverter(lambda x: model(x, training=False), train.x.shape[1:], *pixel_range(train))
    few, unseen = (part.select(np.arange(min(len(part), _TESTED_ON))) for part in (dataset.test, train))
    rows, images = [], []
    for victim in victims:
        set_keras_weights(model, (victim.weights[:num_trainable], victim.weights[num_trainable:]))
        descent = spec.server_descent if victim.name == "global" else spec.descent
        every = min(spec.loss_every or max(1, descent.iterations // _RECORDED), descent.iterations)
        found = inverter(scorer.classes, spec.num_starts, descent, seed, spec.target_class, every)
        measures = scorer.measure(found.images, classes)
        by_class = scorer.score(measures)
        test = unseen if victim.name == CONTROL else few if victim.name.startswith("client ") else dataset.test
        rows.append(
            {
                "name": victim.name,
                "noise": victim.noise,
                "test_accuracy": round(accuracy(model, test), 4),
                "objective": _finite(found.objective.astype(np.float64).mean()),
                **measures.described(),
                "score": round(float(by_class.mean()), 4),
                "score_by_class": [round(float(score), 4) for score in by_class],
                "share_in_class": round(float(found.shares.mean()), 4),
                "iterations": found.recorded.tolist(),
                "losses": [_finite(loss) for loss in found.losses.astype(np.float64).mean(axis=1)],
            }
        )
        images.append(found.images)
    baselines = {"noise": scorer.noise, "class mean": scorer.class_mean, "test images": scorer.real}
    held = _held(rows, classes, train.y, partition)
    result = {
        "name": spec.label,
        "target": spec.target,
        "file": absolute(spec.file),
        "round": view.round if view else None,
        "protocol": view.protocol if view else None,
        "options": _options(spec),
        "seed": seed,
        "classes": classes.tolist(),
        "evaluation": {
            "trained_on": "the test set",
            "examples": len(dataset.test),
            "accuracy_on_training_set": round(accuracy(judge, unseen), 4),
        },
        "baselines": {n: {**m.described(), "score": round(float(scorer.score(m)), 4)} for n, m in baselines.items()},
        "held": held,
        "victims": rows,
        "seconds": round(time.perf_counter() - started, 3),
    }
    _write(folder, result, np.stack(images), scorer, classes, spec.class_means)
    # Metrics of all attacks on record, so that summary.json agrees with their files; target=global comes last and takes priority
    return {name: value for one in read_results(folder) for name, value in _metrics(one).items()}


def _options(spec: ModelInversion) -> dict[str, Any]:
    """Returns the options for the record: of the search, and, where they are others, of the search on the final model."""
    found = {**dataclasses.asdict(spec.descent), "num_starts": spec.num_starts, "weight_noise": spec.weight_noise}
    own, server = dataclasses.asdict(spec.descent), dataclasses.asdict(spec.server_descent)
    return {**found, **{f"server_{name}": value for name, value in server.items() if value != own[name]}}


def _metrics(result: Result) -> dict[str, float]:
    """Returns the metrics for summary.json."""
    found = {f"score_{kind}": round(value, 4) for kind, value in scores(result).items()}
    noisy = {f"accuracy_{k}": round(v, 4) for k, v in accuracies(result).items() if k.endswith("_noisy")}
    shares = {f"share_in_class_{kind}": round(value, 4) for kind, value in shares_in_class(result).items()}
    return {**found, **noisy, **shares, **{f"score_{kind}": score for kind, score in result.get("held", {}).items()}}


def _held(rows: Sequence[dict[str, Any]], classes: np.ndarray, y: np.ndarray, partition: Partition) -> dict[str, float]:
    """Returns clients' mean scores on classes of which they have examples and on other classes; {} unless there are both."""
    found: dict[str, list[float]] = {"held_classes": [], "other_classes": []}
    for row in rows:
        kind, _, name = row["name"].partition(" ")
        if kind == "client" and not row["noise"]:
            own = np.isin(classes, y[partition.indices[partition.client_ids.index(name)]])
            for score, there in zip(row["score_by_class"], own):
                found["held_classes" if there else "other_classes"].append(score)
    return {kind: round(float(np.mean(scores)), 4) for kind, scores in found.items()} if all(found.values()) else {}


def _write(
    folder: RunFolder, result: dict[str, Any], images: np.ndarray, scorer: Scorer, classes: np.ndarray, class_means: bool
) -> None:
    """Writes the result and its picture. `images`: float32 [models, classes, height, width, channels].

    The picture has a row per model and a column per class; for a single class, four models per row. `class_means`: it begins with
    the mean training image of each class.
    """
    names = [row["name"] + (f", noise {row['noise']:g}" if row["noise"] else "") for row in result["victims"]]
    write_result(folder, result)
    with replacing(attacks_folder(folder) / f"{result['name']}.npz") as partial, open(partial, "wb") as file:
        np.savez_compressed(file, names=np.array(names), classes=classes, images=images)
    make_folder(folder.images)
    shown = (images - scorer.low) / (scorer.high - scorer.low)
    labels = [f"{name}\n{round(row['score'], 2) + 0:.2f}" for name, row in zip(names, result["victims"])]
    if class_means:
        means = scorer.class_means[np.isin(scorer.classes, classes)]
        shown, labels = np.concatenate([means[None], shown]), ["mean of the class", *labels]
    with replacing(folder.images / f"{result['name']}.png") as partial:
        if len(classes) == 1:
            plot_models(shown[:, 0], labels, partial)
        else:
            plot_grid(shown, labels, classes.tolist(), partial)


def _load(path: pathlib.Path, train: ExampleSet, own: pathlib.Path) -> tf.keras.Model:
    """Loads a Keras model. Raises `FedlabError` if the file is missing or the model is not for these examples.

    A model other than the run's `own` must also return logits.
    """
    if not path.is_file():
        raise FedlabError(
            f"no model to attack: {path} does not exist. Runs that train one model leave it when they have finished."
        )
    model = load_keras(path)
    try:
        shape = tuple(model(np.zeros((1, *train.x.shape[1:]), np.float32), training=False).shape)
    except Exception as error:
        raise FedlabError(f"{path} is no Keras model of images {list(train.x.shape[1:])}: {one_line(error)}") from error
    if shape != (1, train.num_classes):
        raise FedlabError(f"the model in {path} returns {list(shape[1:])}, but the data has {train.num_classes} classes.")
    if path != own:
        check_no_probabilities(model, train.x.shape[1:])
    return model


def _newest_view(folder: RunFolder) -> ServerView:
    """Returns the messages of the newest round on record. Raises `FedlabError` if there is none."""
    records = sorted(folder.observed.glob("round_*.npz"))
    if not records:
        raise FedlabError(f"{folder.path} holds no record of what the server received: train with secure.observe=last.")
    return ServerView.load(records[-1])


def _judge(folder: RunFolder, dataset: Dataset, seed: int) -> tf.keras.Model:
    """Returns the evaluation model; saves it in attacks/evaluation.keras for later attacks on the same run."""
    path = attacks_folder(folder) / f"evaluation_{seed}.keras"
    if path.is_file():
        return load_keras(path, remedy="Remove it: the attack trains another.")
    judge = train_judge(dataset.test, seed)
    make_folder(attacks_folder(folder))
    with replacing(path) as partial:
        judge.save(partial)
    return judge


def _finite(value: float) -> float:
    """Replaces an infinity by a finite number, because JSON has no infinity."""
    return float(f"{min(float(value), 1e38):.6g}")
