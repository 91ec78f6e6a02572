"""Who keeps which promise: ε is claimed only where the exact class of every stage that the account rests on states its part."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedlab.aggregation import Mean
from fedlab.cohort import CohortSampler
from fedlab.errors import ConfigError, FedlabError, one_line
from fedlab.privacy import Mechanism
from fedlab.process import DpSgd
from fedlab.sampling import Everyone, FixedSize, Poisson, Sampling, Schedule
from fedlab.spec import Spec, states, vouches

if TYPE_CHECKING:
    from fedlab.run.experiment import Experiment

_KNOWN = (Everyone, FixedSize, Poisson, Schedule)  # what accounting has a theorem for


def check_privacy(experiment: Experiment) -> None:
    """Raises `ConfigError` where ε would be claimed and a stage does not state what the claim rests on. Reads no data."""
    if experiment.privacy.adds_noise and type(experiment.aggregator) is not Mean:
        raise ConfigError(
            "privacy adds noise to a sum of clipped updates, as aggregator=mean makes it: choose that, or privacy=none."
        )
    needed: dict[str, Spec] = {"process": experiment.process, "engine": experiment.engine, "secure": experiment.secure}
    if isinstance(experiment.privacy, Mechanism):
        needed["privacy"] = experiment.privacy
    elif isinstance(experiment.client, DpSgd):
        needed["client"] = experiment.client
    else:
        return
    for stage, spec in needed.items():
        if not vouches(spec, "privacy"):
            raise ConfigError(
                f"{stage}: {type(spec).__name__} does not state that it keeps privacy, and a class inherits no such promise, so "
                f'no ε can be claimed: state vouches = ("privacy",) in it if it does (docs/privacy.md), or choose a {stage} of '
                "fedlab's."
            )
    known = experiment.partition.known_num_clients
    if known is not None:
        stated_sampling(experiment.cohort, known)
    elif not states(experiment.cohort, "sampling"):
        raise ConfigError(_nothing_known(experiment.cohort))


def stated_sampling(cohort: CohortSampler, num_clients: int) -> Sampling:
    """How `cohort` says of itself that it draws from `num_clients` clients. Raises `ConfigError` where it says nothing."""
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
        f"cohort: nothing is known of how {type(cohort).__name__} draws cohorts, so no ε can be claimed: define "
        "sampling(num_clients) in that class, which inherits no such statement (docs/privacy.md), or use cohort=poisson, "
        "uniform, in_turn or all."
    )
