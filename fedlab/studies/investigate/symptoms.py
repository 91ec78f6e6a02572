"""Symptoms of faulty images, each with a test that needs no labels and no model; and the verdict on two groups of images."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from fedlab.evaluation.polarity import has_light_background

CORNER = 0.2  # side of the corner as a share of the image's shorter side
SHARP = 0.4  # share of the range from black to white: the step between neighbouring pixels at a sharp edge

# The rule, fixed before any investigation: both must hold
LEAST_DIFFERENCE = 0.2  # smallest difference between the shares of two groups
Z = 2.576  # for the 99 % interval of that difference, which must not contain 0
# Smallest classifier score of the samples of either generator. Identical images have 1. The threshold is low, because a
# classifier may not recognise images with the bug: clear but inverted digits had 1.24.
LEAST_SCORE = 1.1


def is_occluded(images: np.ndarray) -> np.ndarray:
    """Returns, bool [n], whether the upper left corner is light and the background is not. `images` as in `polarity`."""
    side = max(1, round(CORNER * min(images.shape[1:3])))
    corner = images[:, :side, :side].reshape(len(images), -1)
    return (np.median(corner, axis=1) > _white(images) / 2) & ~has_light_background(images)


def is_blurred(images: np.ndarray) -> np.ndarray:
    """Returns, bool [n], whether no two neighbouring pixels differ by `SHARP`. `images` as in `polarity`."""
    scaled = images.astype(np.float32) / _white(images)
    steps = [np.abs(np.diff(scaled, axis=axis)).reshape(len(images), -1).max(axis=1) for axis in (1, 2)]
    return np.maximum(*steps) < SHARP


def _white(images: np.ndarray) -> float:
    return 255.0 if images.dtype == np.uint8 else 1.0


SYMPTOMS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "inverted": has_light_background,
    "occluded": is_occluded,
    "blurred": is_blurred,
}


def shares(images: np.ndarray) -> dict[str, float]:
    """Returns, per symptom, the share of images with it. `images` [n, height, width, channels]: uint8, or floats in [0, 1]."""
    return {name: float(has_it(images).mean()) for name, has_it in SYMPTOMS.items()}


@dataclasses.dataclass(frozen=True)
class Finding:
    """One symptom in two groups of images. Shares in [0, 1]."""

    symptom: str
    low: float
    high: float
    interval: tuple[float, float]  # 99 %, of low − high
    false_alarms: float  # share of real images without a bug that have the symptom
    detected: float | None  # share of real images with the bug that have the symptom; None without a corruption
    found: bool


# The names of the two groups: by user, by example
_GROUPS = {
    "user": (
        "low-accuracy users' images",
        "high-accuracy users'",
        "of the low-accuracy users have the bug in their data",
        "of the high-accuracy users",
    ),
    "example": (
        "images classified wrongly",
        "images classified rightly",
        "of the images classified wrongly have the bug",
        "of those classified rightly",
    ),
}


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The verdict on the images of two groups. `truth`: the share of each group (of its users, or, by example, of its images)
    with the bug.
    """

    findings: tuple[Finding, ...]
    truth: dict[str, float]
    bug: str
    by: str
    num_images: int
    # Classifier scores of the generators' images, and of real ones ("real"); {} if they were not measured
    classifier_scores: Mapping[str, float] = dataclasses.field(default_factory=dict)

    @property
    def undecided(self) -> bool:
        """Returns whether the samples of either generator are too poor for a conclusion."""
        return not _show_something(self.classifier_scores)

    @property
    def found(self) -> Finding | None:
        """Returns the found symptom with the largest difference between the groups; None if nothing was found."""
        return max((f for f in self.findings if f.found), key=lambda f: f.low - f.high, default=None)

    def lines(self) -> list[str]:
        """Returns the lines of the verdict, the truth and the rule."""
        found, (these, those, have_it, others) = self.found, _GROUPS[self.by]
        low, high = (f"{self.truth[arm]:.0%}" for arm in ("low", "high"))
        truth = f"In truth {low} {have_it} ({self.bug}), {high} {others}."
        shown = "; ".join(f"{f.symptom} {f.low:.1%} against {f.high:.1%}" for f in self.findings)
        if self.undecided:
            first = f"Undecided: the samples do not show enough to conclude anything ({shown})."
        elif found:
            first = f"Found: {these} are {found.symptom} in {found.low:.1%} of samples, {those} in {found.high:.1%}."
        else:
            first = f"Nothing found: {shown}."
        if not any(self.truth.values()):
            truth = "In truth nobody has a bug."
        return [first, truth, *self._caution(), rule(self.by)]

    def _caution(self) -> list[str]:
        """Returns a line on the quality of the samples, because an untrained generator also has some polarity."""
        scores = self.classifier_scores
        if not scores:
            return []
        return [
            f"Classifier score of the samples: {scores['low']:.2f} for low accuracy, {scores['high']:.2f} for high; real images "
            f"have {scores['real']:.2f}. A verdict needs {LEAST_SCORE:.2f} of both generators."
        ]

    def as_json(self) -> dict[str, Any]:
        found = self.found
        verdict = "undecided" if self.undecided else "found" if found else "nothing found"
        return {"verdict": verdict, "found": found.symptom if found else None, "lines": self.lines(), **dataclasses.asdict(self)}


def _show_something(scores: Mapping[str, float]) -> bool:
    """Returns whether images with these classifier scores allow a conclusion; True if the scores were not measured."""
    return not scores or min(scores["low"], scores["high"]) >= LEAST_SCORE


def rule(by: str) -> str:
    """Describes the rule of the verdict in words."""
    groups = (
        "low-accuracy users than for high-accuracy ones"
        if by == "user"
        else "what is classified wrongly than for what is rightly"
    )
    return (
        f"A symptom counts as found where {100 * LEAST_DIFFERENCE:.0f} more of a hundred samples have it for {groups}, "
        "and the 99 % interval of that difference (Newcombe 1998, method 10) does not hold 0."
    )


def verdict(
    low: np.ndarray,
    high: np.ndarray,
    false_alarms: Mapping[str, float],
    detected: Mapping[str, float],
    truth: dict[str, float],
    bug: str,
    by: str = "user",
    classifier_scores: Mapping[str, float] | None = None,
) -> Verdict:
    """Compares images generated for low-accuracy users with those for high-accuracy ones, symptom by symptom.

    If a classifier score is below `LEAST_SCORE`, no symptom is found and the verdict is undecided.
    """
    in_low, in_high = shares(low), shares(high)
    findings, decided = [], _show_something(classifier_scores or {})
    for name in SYMPTOMS:
        bounds = difference_interval(in_low[name], len(low), in_high[name], len(high))
        found = decided and round(in_low[name] - in_high[name], 9) >= LEAST_DIFFERENCE and bounds[0] > 0
        findings.append(Finding(name, in_low[name], in_high[name], bounds, false_alarms[name], detected.get(name), found))
    return Verdict(tuple(findings), truth, bug, by, len(low), dict(classifier_scores or {}))


def difference_interval(p: float, n: int, q: float, m: int, z: float = Z) -> tuple[float, float]:
    """Returns the interval of p − q for shares p of n and q of m (Newcombe 1998, method 10), from the Wilson intervals."""
    (p_low, p_high), (q_low, q_high) = _wilson(p, n, z), _wilson(q, m, z)
    return (
        p - q - math.hypot(p - p_low, q_high - q),
        p - q + math.hypot(p_high - p, q - q_low),
    )


def _wilson(p: float, n: int, z: float) -> tuple[float, float]:
    centre, spread = p + z**2 / (2 * n), z * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    return (centre - spread) / (1 + z**2 / n), (centre + spread) / (1 + z**2 / n)
