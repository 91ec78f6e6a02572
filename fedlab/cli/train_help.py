"""What `fedlab train --help` prints. Hydra's own page would load every file of every group, and take seconds."""

from __future__ import annotations

from collections.abc import Sequence

from omegaconf import OmegaConf

from fedlab.cli import config as configuration

HEAD = """\
fedlab train composes a configuration, trains the federated model it describes, and writes a folder for the run.

Groups and their choices (choose with group=choice):
"""
FOOT = """\
Examples:
  fedlab train +experiment=digits/fedavg                       an experiment
  fedlab train model=cnn partition=shards num_rounds=20        choose by group, set by key
  fedlab train -m partition=dirichlet partition.alpha=0.1,1,10 a sweep; hydra/sweeper=optuna searches
  fedlab train resume=outputs/RUN                              go on with a run that was stopped
  fedlab train resume=outputs/RUN num_rounds=100               add rounds to one that has finished
  fedlab train resume=RUN --trust                              the same, where the run has components that are not fedlab's
  fedlab train --cfg job                                       print the configuration, run nothing
  fedlab train -cd my_conf +experiment=mine                    with your own configuration folder
  fedlab train --quiet …                                       no progress display
  fedlab train --hydra-help                                    Hydra's own flags"""


def page(overrides: Sequence[str], own: str | None) -> str:
    """The page, with the configuration that the given `overrides` compose. `own`: a user's folder. Raises `ConfigError`."""
    catalogue = configuration.catalogue(["-cd", own] if own else [])
    groups: dict[str, list[str]] = {}
    for group in catalogue.groups():
        for choice in catalogue.choices(group):
            folder, _, name = choice.rpartition("/")
            groups.setdefault(f"{group}/{folder}" if folder else group, []).append(name)
    lines = [f"{group}: {', '.join(names)}" for group, names in sorted(groups.items())]
    settings = OmegaConf.to_yaml(configuration.compose(overrides, own))
    return "\n".join([HEAD, *lines, "", "Configuration (set with key=value):", "", settings, FOOT])
