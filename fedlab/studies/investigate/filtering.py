"""Writes filter files: users, or examples, chosen by the accuracy of a classifier on them."""

from __future__ import annotations

import pathlib
from typing import Any

from fedlab.errors import DataError
from fedlab.filter import Provenance, Threshold, select_examples, select_users, write_examples, write_users
from fedlab.fingerprint import fingerprints
from fedlab.studies.investigate.subject import Subject

DEFAULT_MIN_EXAMPLES = 5


def write_by_user(tried: Subject, threshold: Threshold, below: bool, out: pathlib.Path, command: str) -> str:
    """Writes the users on one side of `threshold`; returns a line with their number. Raises `DataError` if there are none."""
    accuracies, population = tried.measured.accuracies, tried.population
    accuracy = threshold.accuracy(accuracies)
    chosen = [population.partition.client_ids[i] for i in select_users(accuracies, threshold, below)]
    side = ("at most" if threshold.is_percentile else "below") if below else "at least"
    selection = f"users of accuracy {side} {accuracy:.4g}"
    _require(chosen, selection, f"the users' accuracies reach from {accuracies.min():.4g} to {accuracies.max():.4g}")
    users = {user: population.affected.get(user, False) for user in chosen}
    write_users(out, users, _provenance(tried, selection, accuracy, command))
    return f"{out}: {len(users):,} of {len(accuracies):,} {selection}"


def write_by_example(tried: Subject, wrong: bool, min_examples: int, out: pathlib.Path, command: str) -> str:
    """Writes the incorrectly (`wrong`) or correctly classified examples, and their users to NAME.clients.csv.

    Returns a line with their number. Raises `DataError` if there are none.
    """
    population = tried.population
    chosen = select_examples(tried.measured.correct, population.partition, wrong, min_examples)
    kind = "wrongly" if wrong else "rightly"
    selection = f"examples classified {kind}, of users with at least {min_examples} such"
    _require(chosen, selection, "lower --min-examples")
    provenance = _provenance(tried, selection, None, command)
    users = {user: population.affected.get(user, False) for user in chosen}
    write_users(out.with_suffix(".clients.csv"), users, provenance)  # the original project reads both files
    write_examples(out, {user: places.tolist() for user, places in chosen.items()}, provenance)
    count, total = sum(map(len, chosen.values())), len(population.partition)
    return f"{out}: {count:,} {selection}: {len(chosen):,} of {total:,}"


def _require(chosen: Any, selection: str, hint: str) -> None:
    if not len(chosen):
        raise DataError(f"there are no {selection}: {hint}.")


def _provenance(tried: Subject, selection: str, threshold: float | None, command: str) -> Provenance:
    data, clients = fingerprints(tried.population.dataset, tried.population.partition)
    return Provenance(data, clients, tried.sha256, selection, threshold, command)
