"""Promises of stages: ε is claimed only if the exact class of every stage that the account relies on states its promise."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from fedlab.aggregation import Mean
from fedlab.cohort import CohortSampler
from fedlab.errors import ConfigError, FedlabError, one_line
from fedlab.privacy import EXACT, Errors, Mechanism
from fedlab.sampling import Everyone, FixedSize, Poisson, Sampling, Schedule
from fedlab.spec import Spec, states, vouches

if TYPE_CHECKING:
    from fedlab.run.experiment import Experiment

_KNOWN = (Everyone, FixedSize, Poisson, Schedule)  # samplings with a theorem in the accounting


def check_privacy(experiment: Experiment) -> None:
    """Raises `ConfigError` if ε would be claimed and a stage does not state the promise that the claim needs. Reads no data."""
    if experiment.privacy.adds_noise and type(experiment.aggregator) is not Mean:
        raise ConfigError(
            "privacy adds noise to a sum of clipped updates, which only aggregator=mean computes: choose it, or privacy=none."
        )
    needed: dict[str, Spec] = {"process": experiment.process, "engine": experiment.engine, "secure": experiment.secure}
    if isinstance(experiment.privacy, Mechanism):
        needed["privacy"] = experiment.privacy
    elif experiment.client.private:
        needed["client"] = experiment.client
    else:
        return
    for stage, spec in needed.items():
        if not vouches(spec, "privacy"):
            raise ConfigError(
                f"{stage}: {type(spec).__name__} does not state that it keeps privacy, and classes do not inherit this promise, "
                f'so no ε can be claimed: set vouches = ("privacy",) in it if it does (docs/privacy.md), or use one of fedlab\'s.'
            )
    if isinstance(experiment.privacy, Mechanism):
        errors_of(experiment, 1).check(experiment.privacy.least_clip_norm)
    known = experiment.partition.known_num_trained
    if known is not None:
        stated_sampling(experiment.cohort, known)
    elif not states(experiment.cohort, "sampling"):
        raise ConfigError(_nothing_known(experiment.cohort))


def is_reproducible(experiment: Experiment) -> bool:
    """Returns True if the same seed, with the same noise.key if there is one, gives the same bits."""
    if experiment.arms:
        return all(map(is_reproducible, experiment.arms.values()))
    return experiment.engine.reproducible and vouches(experiment.secure, "same bits")


def errors_of(experiment: Experiment, num_weights: int) -> Errors:
    """Returns the errors of the protocol's sums of `num_weights` weights."""
    secure = experiment.secure
    if not secure.largest_error:
        return EXACT
    source = f"secure={secure.name} sums {num_weights:,} weight{'s' * (num_weights != 1)} to within {secure.largest_error:g} each"
    return Errors(math.sqrt(num_weights) * secure.largest_error, secure.error_chance, source)


def stated_sampling(cohort: CohortSampler, num_clients: int) -> Sampling:
    """Returns the sampling from `num_clients` clients that `cohort` states. Raises `ConfigError` if it states none."""
    try:
        stated = cohort.sampling(num_clients) if states(cohort, "sampling") else None
    except FedlabError:
        raise
    except Exception as error:
        what = f"{type(error).__name__}: {one_line(error)}"
        raise ConfigError(f"cohort: {type(cohort).__name__}.sampling({num_clients}) failed: {what}.") from error
    if stated is None:
        raise ConfigError(_nothing_known(cohort))
    if type(stated) not in _KNOWN or stated.population != num_clients:
        raise ConfigError(
            f"cohort: {type(cohort).__name__}.sampling({num_clients}) returned {stated!r}: return a Poisson, FixedSize, Everyone "
            f"or Schedule of fedlab.sampling with population={num_clients}, or None."
        )
    return stated


def _nothing_known(cohort: CohortSampler) -> str:
    return (
        f"cohort: {type(cohort).__name__} does not state how it samples cohorts, so no ε can be claimed: define "
        "sampling(num_clients) in that class itself (docs/privacy.md), or use cohort=poisson, uniform, in_turn or all."
    )
