"""The options of an investigation, and what its last stage makes of the images."""

from __future__ import annotations

import pathlib
import zipfile
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BeforeValidator, PositiveInt, model_validator

from fedlab.archive.investigation import ARMS, InvestigationFolder
from fedlab.corruption import Corruption, NoCorruption
from fedlab.errors import DataError, FedlabError
from fedlab.evaluation import symptoms
from fedlab.evaluation.symptoms import Verdict
from fedlab.filter import Threshold
from fedlab.filter.files import read_examples, read_users
from fedlab.run.population import Judged, Population
from fedlab.spec import Spec

_REAL = 5_000  # images that the tests for symptoms are tried on


def _threshold(text: Any) -> str:
    Threshold.parse(str(text))
    return str(text)


AccuracyText = Annotated[str, BeforeValidator(_threshold)]


class Investigation(Spec):
    """Who is compared with whom, and by which classifier.

    `classifier`: the folder of a finished run, or a .keras file; or a list of overrides of `fedlab train`, which is run once.
    `by` user: those of an accuracy below `low` against those of `high` or above, each an accuracy in [0, 1] or a percentile of
    the users', such as p25. `by` example: what the classifier gets wrong against what it gets right, of users who have
    `min_examples` such.
    """

    classifier: str | tuple[str, ...]
    by: Literal["user", "example"] = "user"
    low: AccuracyText = "p25"
    high: AccuracyText = "p75"
    min_examples: PositiveInt = 5

    @model_validator(mode="after")
    def _low_below_high(self) -> Investigation:
        low, high = Threshold.parse(self.low), Threshold.parse(self.high)
        if low.is_percentile == high.is_percentile and low.value > high.value:
            raise ValueError(f"low={self.low} is above high={self.high}: users would be in both groups. Exchange them")
        return self

    def filter_spec(self, path: pathlib.Path) -> dict[str, str]:
        """The node `filter` of an arm that trains on what the file keeps."""
        return {"_target_": f"fedlab.filter.{'Users' if self.by == 'user' else 'Examples'}", "path": str(path)}


def tried_on_real(population: Population, corruption: Corruption, seed: int) -> dict[str, dict[str, float]]:
    """Per symptom: how often it is seen in real images without the bug, and with it, where there is one that can be put in."""
    clean = population.clean.train
    chosen = np.linspace(0, len(clean) - 1, min(_REAL, len(clean))).astype(np.int64)
    found = {"clean": symptoms.shares(_images(clean.x[chosen]))}
    if type(corruption) is not NoCorruption:
        everybody = corruption.model_copy(update={"fraction": 1.0, "users": None})
        bugged = everybody(population.clean, population.partition, seed).train
        found["bug"] = symptoms.shares(bugged.x[chosen])
    return found


def described(judged: Judged, population: Population) -> dict[str, Any]:
    """How the classifier does, for the report."""
    columns = (population.partition.client_ids, judged.accuracies_clean.tolist(), judged.accuracies.tolist())
    return {
        "users": [[user, clean, bug, population.affected.get(user, False)] for user, clean, bug in zip(*columns)],
        "accuracy_without_bug": float(judged.correct_clean.mean()),
        "accuracy": float(judged.correct.mean()),
    }


def conclude(folder: InvestigationFolder, trial: dict[str, Any]) -> Verdict:
    """From what the arms' generators made and from the trial. Raises `FedlabError` where an arm has left no images."""
    images = {arm: read_images(folder, arm) for arm in ARMS}
    truth = {arm: _truth(path, trial["by"]) for arm, path in folder.filters.items()}
    real, summary = trial["real"], folder.read(folder.gans.summary)
    names = {**{arm: f"{arm}/classifier_score" for arm in ARMS}, "real": "low/real_classifier_score"}
    measured = {whose: summary[name] for whose, name in names.items()} if summary.keys() >= set(names.values()) else {}
    bugged = real.get("bug", {})
    return symptoms.verdict(images["low"], images["high"], real["clean"], bugged, truth, trial["bug"], trial["by"], measured)


def _truth(path: pathlib.Path, by: str) -> float:
    """Of the users whom a filter file keeps, or by example of the images, the share that has the bug."""
    if by == "user":
        return float(np.mean(list(read_users(path).values())))
    flags = read_users(path.with_suffix(".clients.csv"))
    counts = {user: len(places) for user, places in read_examples(path).items()}
    return sum(counts[user] for user, has_it in flags.items() if has_it) / sum(counts.values())


def read_images(folder: InvestigationFolder, arm: str) -> np.ndarray:
    """What an arm's generator made at the end: uint8 [n, height, width, channels]."""
    path = folder.gans.path / "arms" / arm / "samples.npz"
    try:
        with np.load(path, allow_pickle=False) as archive:
            return archive["images"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise FedlabError(f"arm {arm} has left no images in {path}: {error}.") from error


def _images(x: np.ndarray) -> np.ndarray:
    """Raises `DataError` for examples that are no images whose black and white are known."""
    if x.ndim != 4 or x.dtype != np.uint8:
        given = f"{x.dtype} {list(x.shape[1:])}"
        raise DataError(f"an investigation needs uint8 images [height, width, channels], the data has {given}.")
    return x
