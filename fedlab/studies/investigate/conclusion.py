"""The measurements of an investigation on real images, and its verdict on the images that its GANs generate."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np

from fedlab.archive import replacing
from fedlab.arrays import read_arrays
from fedlab.corruption import Corruption, NoCorruption
from fedlab.errors import DataError, FedlabError, one_line
from fedlab.filter.files import read_examples, read_users
from fedlab.studies.investigate import symptoms
from fedlab.studies.investigate.population import Measured, Population
from fedlab.studies.investigate.record import ARMS, InvestigationFolder
from fedlab.studies.investigate.symptoms import Verdict

_REAL = 5_000  # the most real images for the tests of symptoms
_SHOWN = 36  # real images in the picture
_FEWEST = 6  # images in a row of the picture


def real_images(population: Population, corruption: Corruption, seed: int) -> dict[str, np.ndarray]:
    """Returns real images uint8 [n, height, width, channels] without the bug ("clean") and, if there is a corruption, the same
    images with it ("bug"). n is at most 5,000. Raises `DataError` for other data.
    """
    clean = population.clean.train
    chosen = _spread(len(clean), _REAL)
    found = {"clean": _images(clean.x[chosen])}
    if type(corruption) is not NoCorruption:
        everybody = corruption.model_copy(update={"fraction": 1.0, "users": None})
        found["bug"] = everybody(population.clean, population.partition, seed).train.x[chosen]
    return found


def write_real(folder: InvestigationFolder, images: dict[str, np.ndarray]) -> None:
    """Writes the 36 of the real images that the picture shows. Writes none without a corruption.

    Without a corruption, a bug that nobody knows may be in the data, and nobody may look at an image of a user.
    """
    if "bug" not in images:
        return
    shown = {name: some[_spread(len(some), _SHOWN)] for name, some in images.items() if len(some) >= _FEWEST}
    with replacing(folder.real) as partial, open(partial, "wb") as file:
        np.savez_compressed(file, **shown)


def read_real(folder: InvestigationFolder) -> dict[str, np.ndarray]:
    """Reads the images of `write_real`; returns {} if there are none. Raises `FedlabError` for damage."""
    try:
        return read_arrays(folder.real)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise FedlabError(f"{folder.real} is damaged ({one_line(error)}): remove it and {folder.trial.name}.") from error


def _spread(count: int, most: int) -> np.ndarray:
    """Returns at most `most` positions below `count`, at equal distances."""
    return np.linspace(0, count - 1, min(most, count)).astype(np.int64)


def described(measured: Measured, population: Population) -> dict[str, Any]:
    """Returns the accuracies of the classifier for the report."""
    columns = (population.partition.client_ids, measured.accuracies_clean.tolist(), measured.accuracies.tolist())
    return {
        "users": [[user, clean, bug, population.affected.get(user, False)] for user, clean, bug in zip(*columns)],
        "accuracy_without_bug": float(measured.correct_clean.mean()),
        "accuracy": float(measured.correct.mean()),
    }


def conclude(folder: InvestigationFolder, trial: dict[str, Any]) -> Verdict:
    """Returns the verdict on the generated images of both arms. Raises `FedlabError` if an arm has no images."""
    images = {arm: read_images(folder, arm) for arm in ARMS}
    truth = {arm: _truth(path, trial["by"]) for arm, path in folder.filters.items()}
    real, summary = trial["real"], folder.read(folder.gans.summary)
    names = {**{arm: f"{arm}/classifier_score" for arm in ARMS}, "real": "low/real_classifier_score"}
    measured = {whose: summary[name] for whose, name in names.items()} if summary.keys() >= set(names.values()) else {}
    bugged = real.get("bug", {})
    return symptoms.verdict(images["low"], images["high"], real["clean"], bugged, truth, trial["bug"], trial["by"], measured)


def _truth(path: pathlib.Path, by: str) -> float:
    """Returns the share with the bug among the users that a filter file keeps, or, by example, among its images."""
    if by == "user":
        return float(np.mean(list(read_users(path).values())))
    flags = read_users(path.with_suffix(".clients.csv"))
    counts = {user: len(places) for user, places in read_examples(path).items()}
    return sum(counts[user] for user, has_it in flags.items() if has_it) / sum(counts.values())


def read_images(folder: InvestigationFolder, arm: str) -> np.ndarray:
    """Reads the final images of an arm's generator: uint8 [n, height, width, channels]. Raises `FedlabError`."""
    path = folder.gans.path / "arms" / arm / "samples.npz"
    try:
        return read_arrays(path)["images"]
    except (OSError, ValueError, KeyError) as error:
        raise FedlabError(f"arm {arm} has left no images in {path}: {error}.") from error


def _images(x: np.ndarray) -> np.ndarray:
    """Returns `x`. Raises `DataError` if it is not uint8 images [n, height, width, channels]."""
    if x.ndim != 4 or x.dtype != np.uint8:
        given = f"{x.dtype} {list(x.shape[1:])}"
        raise DataError(f"an investigation needs uint8 images [height, width, channels], the data has {given}.")
    return x
