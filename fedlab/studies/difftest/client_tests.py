"""Two models compared client by client, and the verdict."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fedlab import randomness
from fedlab.errors import DataError, FedlabError
from fedlab.studies.difftest import statistics
from fedlab.studies.difftest.record import ALL, ClientDifference
from fedlab.studies.difftest.verdict import DIFFERENT, EQUAL, UNDECIDED, Differences

if TYPE_CHECKING:
    from fedlab.studies.difftest.options import Difftest

EFFECTS = ("accuracy", "scores", "classes")  # tested by McNemar's, the Kolmogorov-Smirnov and the χ² test


@dataclasses.dataclass(frozen=True)
class ClientOutputs:
    """The outputs of two models for one client's examples: `labels` int [n], and class probabilities `a`, `b` [n, K], finite."""

    client: str
    labels: np.ndarray
    a: np.ndarray
    b: np.ndarray

    def __post_init__(self) -> None:
        if self.a.shape != self.b.shape:
            raise FedlabError(
                f"the models have {self.a.shape[1]} and {self.b.shape[1]} classes: compare models of the same classes."
            )
        if len(self.labels) and self.labels.max() >= self.a.shape[1]:
            raise DataError(f"an example has class {self.labels.max()}, and the models have {self.a.shape[1]} classes, from 0.")
        for name, scores in (("first", self.a), ("second", self.b)):
            if not np.isfinite(scores).all():
                raise FedlabError(f"the {name} model computes scores that are not finite: its training has diverged.")


def compare(spec: Difftest, outputs: Sequence[ClientOutputs], round_num: int, seed: int) -> Differences:
    """Returns a row per client with examples, and one for all examples. Equal arguments give equal rows.

    The p-values of all rows and tests of the round are one family (Holm). A row is

    - `equal` if no score differs by more than `spec.score_tolerance`;
    - else `different` if an effect is significant (its adjusted p ≤ `spec.alpha`) and larger than `spec.tolerance`. The three
      effects are shares of the examples: |difference of accuracies|, the Kolmogorov-Smirnov distance of the scores, and the
      total variation between the shares of predicted classes;
    - else `equal` if the interval of the accuracy difference lies within ± `spec.tolerance`;
    - else `undecided`: the test shows neither a difference nor its absence. More examples or a larger tolerance help.
    """
    outputs = [o for o in outputs if len(o.labels)]
    if not outputs:
        raise FedlabError("the data has no examples on which the two models can be compared.")
    together = ClientOutputs(ALL, *(np.concatenate([getattr(o, name) for o in outputs]) for name in ("labels", "a", "b")))
    rows = [
        _row(spec, o, round_num, randomness.generator(seed, "difftest", round_num, position))
        for position, o in enumerate([*outputs, together] if len(outputs) > 1 else outputs)
    ]
    p = np.array([(row.p_mcnemar, row.p_ks, row.p_chi2) for row in rows])
    tested = tuple(_with_verdict(spec, row, *map(float, adjusted)) for row, adjusted in zip(rows, statistics.holm(p)))
    return Differences(tested if len(tested) > 1 else (*tested, dataclasses.replace(tested[0], client=ALL)))


def _row(spec: Difftest, outputs: ClientOutputs, round_num: int, rng: np.random.Generator) -> ClientDifference:
    """Computes the part of a row that does not depend on other rows."""
    a, b, y = outputs.a, outputs.b, outputs.labels
    n = len(y)
    right_a, right_b = a.argmax(1) == y, b.argmax(1) == y
    lost, gained = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    beyond, largest = statistics.delta_score(a, b, spec.score_tolerance)
    low, high = statistics.accuracy_interval(lost, gained, n, spec.alpha, spec.bootstrap, rng)
    each = np.arange(n)
    ks_distance, p_ks = statistics.kolmogorov_smirnov(a[each, y], b[each, y], spec.score_tolerance)
    counts = statistics.class_counts(a, b)
    cramers_v, p_chi2 = statistics.chi_squared(counts)
    return ClientDifference(
        round=round_num,
        client=outputs.client,
        examples=n,
        delta_class=statistics.delta_class(a, b),
        delta_score=beyond,
        largest_score_difference=largest,
        accuracy_a=float(right_a.mean()),
        accuracy_b=float(right_b.mean()),
        accuracy_difference=(gained - lost) / n,
        interval_low=low,
        interval_high=high,
        ks_distance=ks_distance,
        class_distance=statistics.class_distance(counts),
        cramers_v=cramers_v,
        p_mcnemar=statistics.mcnemar(lost, gained),
        p_ks=p_ks,
        p_chi2=p_chi2,
        p_mcnemar_holm=1.0,
        p_ks_holm=1.0,
        p_chi2_holm=1.0,
        worse=False,
        found="",
        verdict=UNDECIDED,
        original_delta_score=statistics.original_delta_score(a, b),
        original_p_ks=statistics.original_p_ks(a, b),
        original_p_chi2=statistics.original_p_chi2(a, b),
    )


def _with_verdict(spec: Difftest, row: ClientDifference, p_mcnemar: float, p_ks: float, p_chi2: float) -> ClientDifference:
    """Returns the row with its adjusted p-values and its verdict."""
    effects = (abs(row.accuracy_difference), row.ks_distance, row.class_distance)
    ps = (p_mcnemar, p_ks, p_chi2)
    found = [name for name, effect, p in zip(EFFECTS, effects, ps) if p <= spec.alpha and effect > spec.tolerance]
    if row.delta_score == 0:
        found, verdict = [], EQUAL
    elif found:
        verdict = DIFFERENT
    else:
        verdict = EQUAL if -spec.tolerance <= row.interval_low and row.interval_high <= spec.tolerance else UNDECIDED
    return dataclasses.replace(
        row,
        p_mcnemar_holm=p_mcnemar,
        p_ks_holm=p_ks,
        p_chi2_holm=p_chi2,
        worse=p_mcnemar <= spec.alpha and row.accuracy_difference < 0,
        found=" ".join(found),
        verdict=verdict,
    )


def sampled_scores(outputs: Sequence[ClientOutputs], most: int, seed: int) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Returns (client, probability of the true class under a, under b) of at most `most` examples, drawn uniformly."""
    clients = np.concatenate([np.full(len(o.labels), i) for i, o in enumerate(outputs)])
    a, b = (np.concatenate([getattr(o, m)[np.arange(len(o.labels)), o.labels] for o in outputs]) for m in ("a", "b"))
    chosen = np.arange(len(clients))
    if len(chosen) > most:
        chosen = np.sort(randomness.generator(seed, "difftest scores").choice(len(clients), most, replace=False))
    return [outputs[i].client for i in clients[chosen]], a[chosen], b[chosen]
