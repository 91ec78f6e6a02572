"""RUN/attacks: the results of attacks on a run, a JSON file for each and an npz file with its images."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import Any

from fedlab.archive.folder import RunFolder, make_folder, read_json, write_json
from fedlab.errors import FedlabError

# Keys of a result: name, target, round (null: the final model), protocol, options, seed, classes, seconds, evaluation, baselines;
# held, the mean score of clients on classes of which they have examples and on others, if there are any; and a row per model
# in victims: name, noise, test_accuracy, objective, confidence, ssim, correlation, score, score_by_class; and, except in results
# of an older fedlab: share_in_class, the share of iterations in which the model takes the image for the class; losses, the mean
# objective after each of the numbers of iterations in `iterations`
Result = dict[str, Any]
CONTROL = "control"  # name of the model that never saw a training example; its test accuracy is that on training examples
_NEEDED = {"name", "target", "options", "evaluation", "baselines", "victims"}


def attacks_folder(folder: RunFolder) -> pathlib.Path:
    """Returns the folder of the results of a run or an arm."""
    return folder.path / "attacks"


def write_result(folder: RunFolder, result: Result) -> None:
    """Replaces attacks/NAME.json."""
    make_folder(attacks_folder(folder))
    write_json(attacks_folder(folder) / f"{result['name']}.json", result)


def read_results(folder: RunFolder) -> list[Result]:
    """Reads the results, sorted by name; [] for a run without attacks. Raises `FedlabError` for a damaged file."""
    results = []
    for path in sorted(attacks_folder(folder).glob("*.json")):
        result = read_json(path)
        if not set(result) >= _NEEDED:
            raise FedlabError(f"{path} is not the result of an attack.")
        results.append(result)
    return results


def pictures(folder: RunFolder) -> set[str]:
    """Returns the names of the pictures of attacks in images/, without suffix."""
    return {result["name"] for result in read_results(folder)}


def scores(result: Result) -> dict[str, float]:
    """Returns the mean score of each kind of model, named as in summary.json: {"global": …, "clients": …, "global_noisy": …}."""
    return _means(result["victims"], "score")


def accuracies(result: Result) -> dict[str, float]:
    """Returns the mean test accuracy of each kind of model."""
    return _means(result["victims"], "test_accuracy")


def shares_in_class(result: Result) -> dict[str, float]:
    """Returns the mean `share_in_class` of each kind of model; {} if it was not recorded."""
    return _means([victim for victim in result["victims"] if "share_in_class" in victim], "share_in_class")


def _means(victims: Sequence[dict[str, Any]], figure: str) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for victim in victims:
        kind = "clients" if victim["name"].startswith("client ") else victim["name"]
        found.setdefault(kind + "_noisy" * (victim["noise"] > 0), []).append(victim[figure])
    return {kind: sum(values) / len(values) for kind, values in found.items()}
