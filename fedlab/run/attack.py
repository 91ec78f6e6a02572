"""Attacks a run from its folder: the models that it left, and what its server saw. Trains nothing but the evaluation model."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from fedlab.archive import RunFolder, make_folder, replacing
from fedlab.archive.attacks import Result, accuracies, read_results, scores, write_result
from fedlab.attacks import Attack, ModelInversion
from fedlab.attacks.inversion import Inverter
from fedlab.attacks.judge import accuracy, train_judge
from fedlab.attacks.scoring import Scorer, pixel_range
from fedlab.attacks.victims import Victim, clients_of
from fedlab.errors import FedlabError, one_line
from fedlab.models.checks import check_no_probabilities
from fedlab.models.functional import keras_weights, set_keras_weights
from fedlab.models.saved import agree, load_keras
from fedlab.report.attack_grid import plot_grid
from fedlab.run.experiment import Experiment
from fedlab.secure import ServerView
from fedlab.types import Dataset, ExampleSet, Partition

Inputs = tuple[Dataset, Partition]
_TESTED_ON = 2_000  # examples, of a model that is only attacked


def attack_run(
    experiment: Experiment,
    own: Inputs,
    arms: Mapping[str, Inputs],
    folder: RunFolder,
    spec: Attack | None = None,
    arm: str | None = None,
    just_trained: bool = False,
) -> dict[str, float]:
    """Attacks a finished run, or each of its arms, and adds the figures to its summary.json; returns them.

    `own`, `arms`: the data, of the run and of each arm. `spec`: instead of what the experiment says. `arm`: this one only.
    `just_trained`: whether this process has written the models, which then need no further trust.
    """
    for path in [one.model for one in (folder, *map(folder.arm, experiment.arms))] if just_trained else ():
        if path.is_file():
            agree(path)
    if not experiment.arms:
        figures = _attack(spec or experiment.attack, experiment, own, folder)
    else:
        figures = {}
        for name in [arm] if arm else experiment.arms:
            one = experiment.arms[name]
            found = _attack(spec or one.attack, one, arms[name], folder.arm(name))
            figures.update({f"{name}/{metric}": value for metric, value in found.items()})
    if figures:
        parts = {name.rpartition("/")[0] for name in figures}
        kept = {n: v for n, v in json.loads(folder.summary.read_text()).items() if not _is_of_attack(n, parts)}
        folder.write_summary({**kept, **figures})
    return figures


def _is_of_attack(name: str, parts: set[str]) -> bool:
    """Whether this is a figure of an attack on the run itself, the part "", or on one of these arms."""
    part, _, metric = name.rpartition("/")
    return metric.startswith("attack_") and part in parts


def _attack(spec: Attack, experiment: Experiment, inputs: Inputs, folder: RunFolder) -> dict[str, float]:
    if type(spec).run is not Attack.run:
        return _of_own(spec, spec.run(folder.path, *inputs, experiment.seed))
    if not isinstance(spec, ModelInversion):
        return {}
    invert(spec, experiment, *inputs, folder)
    # Of all attacks on record, so that summary.json says what their files say; target=global comes last and prevails
    return {name: figure for result in read_results(folder) for name, figure in _figures(result).items()}


def _of_own(spec: Attack, figures: Any) -> dict[str, float]:
    """What a user's own attack has returned, for summary.json. Raises `FedlabError` where these are no figures."""
    name = type(spec).__name__
    if not isinstance(figures, Mapping) or not figures:
        raise FedlabError(f"attack: {name}.run returned {figures!r}: return a dict of figures, such as {{'score': 0.5}}.")
    for key, value in figures.items():
        if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not np.isfinite(value):
            raise FedlabError(f"attack: {name}.run returned {value!r} as {key}: figures must be finite numbers.")
    return {f"attack_{key}".replace("attack_attack_", "attack_"): float(value) for key, value in figures.items()}


def invert(spec: ModelInversion, experiment: Experiment, dataset: Dataset, partition: Partition, folder: RunFolder) -> None:
    """Writes attacks/NAME.json and .npz and images/NAME.png.

    Raises `FedlabError` where the folder lacks what the attack needs.
    """
    started = time.perf_counter()
    train, seed = dataset.train, experiment.seed if spec.seed is None else spec.seed
    spec.check_examples(train.x.shape[1:])
    model = _load(pathlib.Path(spec.file) if spec.file else folder.model, train, folder.model)
    num_trainable, view = len(model.trainable_variables), _newest_view(folder) if spec.target == "clients" else None
    victims = [Victim("file" if spec.file else "global", tuple(w for ws in keras_weights(model) for w in ws))]
    if view is not None:
        most = spec.max_clients
        victims += clients_of(view, experiment.secure, partition.client_ids, num_trainable, most, experiment.seed)
    if spec.weight_noise:
        victims = [v for victim in victims for v in (victim, victim.with_noise(spec.weight_noise, num_trainable, seed))]

    judge = _judge(folder, dataset, seed)
    scorer = Scorer(lambda x: judge(x, training=False), train, dataset.test, seed)
    inverter = Inverter(lambda x: model(x, training=False), train.x.shape[1:], *pixel_range(train))
    few = dataset.test.select(np.arange(min(len(dataset.test), _TESTED_ON)))
    rows, images = [], []
    for victim in victims:
        set_keras_weights(model, (victim.weights[:num_trainable], victim.weights[num_trainable:]))
        found = inverter(scorer.classes, spec.num_starts, spec.descent, seed)
        measures = scorer.measure(found.images, scorer.classes)
        by_class = scorer.score(measures)
        test = few if victim.name.startswith("client ") else dataset.test
        rows.append(
            {
                "name": victim.name,
                "noise": victim.noise,
                "test_accuracy": round(accuracy(model, test), 4),
                "objective": _finite(found.objective.astype(np.float64).mean()),
                **measures.described(),
                "score": round(float(by_class.mean()), 4),
                "score_by_class": [round(float(score), 4) for score in by_class],
            }
        )
        images.append(found.images)
    baselines = {"noise": scorer.noise, "class mean": scorer.class_mean, "test images": scorer.real}
    held = _held(rows, scorer.classes, train.y, partition)
    result = {
        "name": spec.label,
        "target": spec.target,
        "file": spec.file,
        "round": view.round if view else None,
        "protocol": view.protocol if view else None,
        "options": {**dataclasses.asdict(spec.descent), "num_starts": spec.num_starts, "weight_noise": spec.weight_noise},
        "seed": seed,
        "classes": scorer.classes.tolist(),
        "evaluation": {
            "trained_on": "the test set",
            "examples": len(dataset.test),
            "accuracy_on_training_set": round(accuracy(judge, train.select(np.arange(min(len(train), _TESTED_ON)))), 4),
        },
        "baselines": {n: {**m.described(), "score": round(float(scorer.score(m)), 4)} for n, m in baselines.items()},
        "held": held,
        "victims": rows,
        "seconds": round(time.perf_counter() - started, 3),
    }
    _write(folder, result, np.stack(images), scorer)


def _figures(result: Result) -> dict[str, float]:
    """Those that summary.json is to hold."""
    figures = {f"attack_score_{kind}": round(value, 4) for kind, value in scores(result).items()}
    noisy = {f"attack_accuracy_{k}": round(v, 4) for k, v in accuracies(result).items() if k.endswith("_noisy")}
    return {**figures, **noisy, **{f"attack_score_{kind}": score for kind, score in result.get("held", {}).items()}}


def _held(rows: Sequence[dict[str, Any]], classes: np.ndarray, y: np.ndarray, partition: Partition) -> dict[str, float]:
    """Clients' mean score on the classes of which they hold examples, and on the others, where there are such."""
    found: dict[str, list[float]] = {"held_classes": [], "other_classes": []}
    for row in rows:
        kind, _, name = row["name"].partition(" ")
        if kind == "client" and not row["noise"]:
            own = np.isin(classes, y[partition.indices[partition.client_ids.index(name)]])
            for score, there in zip(row["score_by_class"], own):
                found["held_classes" if there else "other_classes"].append(score)
    return {kind: round(float(np.mean(scores)), 4) for kind, scores in found.items()} if found["other_classes"] else {}


def _write(folder: RunFolder, result: dict[str, Any], images: np.ndarray, scorer: Scorer) -> None:
    """`images`: float32 [models, classes, height, width, channels]."""
    names = [row["name"] + (f", noise {row['noise']:g}" if row["noise"] else "") for row in result["victims"]]
    write_result(folder, result)
    with replacing(folder.attacks / f"{result['name']}.npz") as partial, open(partial, "wb") as file:
        np.savez_compressed(file, names=np.array(names), classes=scorer.classes, images=images)
    make_folder(folder.images)
    shown = np.concatenate([scorer.class_means[None], (images - scorer.low) / (scorer.high - scorer.low)])
    labels = ["mean of the class", *(f"{name}\n{round(row['score'], 2) + 0:.2f}" for name, row in zip(names, result["victims"]))]
    with replacing(folder.images / f"{result['name']}.png") as partial:
        plot_grid(shown, labels, scorer.classes, partial)


def _load(path: pathlib.Path, train: ExampleSet, own: pathlib.Path) -> tf.keras.Model:
    """A Keras file's model. Raises `FedlabError` where there is none, or it is not for these examples.

    One that is not the run's `own` must give logits, too.
    """
    if not path.is_file():
        raise FedlabError(
            f"no model to attack: {path} does not exist. Runs that train one model leave it when they have finished."
        )
    try:
        model = load_keras(path)
        shape = tuple(model(np.zeros((1, *train.x.shape[1:]), np.float32), training=False).shape)
    except FedlabError:
        raise
    except Exception as error:
        raise FedlabError(f"{path} is no Keras model of images {list(train.x.shape[1:])}: {one_line(error)}") from error
    if shape != (1, train.num_classes):
        raise FedlabError(f"the model in {path} returns {list(shape[1:])}, but the data has {train.num_classes} classes.")
    if path != own:
        check_no_probabilities(model, train.x.shape[1:])
    return model


def _newest_view(folder: RunFolder) -> ServerView:
    """What the server received in the newest round on record. Raises `FedlabError` where none is."""
    records = sorted(folder.observed.glob("round_*.npz"))
    if not records:
        raise FedlabError(f"{folder.path} holds no record of what the server received: train with secure.observe=last.")
    return ServerView.load(records[-1])


def _judge(folder: RunFolder, dataset: Dataset, seed: int) -> tf.keras.Model:
    """The evaluation model, which later attacks on the same run find in attacks/evaluation.keras."""
    path = folder.attacks / f"evaluation_{seed}.keras"
    if path.is_file():
        try:
            return load_keras(path)
        except FedlabError:
            raise
        except Exception as error:
            raise FedlabError(f"{path} is no Keras model: {one_line(error)}. Remove it: the attack trains another.") from error
    judge = train_judge(dataset.test, seed)
    make_folder(folder.attacks)
    with replacing(path) as partial:
        judge.save(partial)
    return judge


def _finite(value: float) -> float:
    """A figure for a JSON file, which knows no infinity."""
    return float(f"{min(float(value), 1e38):.6g}")
