"""RUN/attacks: what came of the attacks on a run, a JSON file for each, beside an npz file of its images."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from fedlab.archive.folder import RunFolder, make_folder, write_json
from fedlab.errors import FedlabError

# Of a result: name, target, round (null: the final model), protocol, options, seed, classes, seconds, evaluation, baselines;
# held, the mean score of clients on the classes of which they hold examples and on others, if there are such; and a row per model
# in victims: name, noise, test_accuracy, objective, confidence, ssim, correlation, score, score_by_class
Result = dict[str, Any]
_NEEDED = {"name", "target", "options", "evaluation", "baselines", "victims"}


def write_result(folder: RunFolder, result: Result) -> None:
    """Replaces attacks/NAME.json."""
    make_folder(folder.attacks)
    write_json(folder.attacks / f"{result['name']}.json", result)


def read_results(folder: RunFolder) -> list[Result]:
    """In the order of their names; [] for a run that was never attacked. Raises `FedlabError` for a damaged file."""
    results = []
    for path in sorted(folder.attacks.glob("*.json")):
        try:
            result = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise FedlabError(f"{path} is damaged: {error}.") from error
        if not isinstance(result, dict) or not set(result) >= _NEEDED:
            raise FedlabError(f"{path} is not the result of an attack.")
        results.append(result)
    return results


def scores(result: Result) -> dict[str, float]:
    """{"global": …, "clients": …, "global_noisy": …}: the mean score of each kind of model, as summary.json names them."""
    return _means(result["victims"], "score")


def accuracies(result: Result) -> dict[str, float]:
    """The same of their test accuracies."""
    return _means(result["victims"], "test_accuracy")


def _means(victims: Sequence[dict[str, Any]], figure: str) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for victim in victims:
        kind = "clients" if victim["name"].startswith("client ") else victim["name"]
        found.setdefault(kind + "_noisy" * (victim["noise"] > 0), []).append(victim[figure])
    return {kind: sum(values) / len(values) for kind, values in found.items()}
