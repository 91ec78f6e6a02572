"""Optuna's record of a sweep, made ready to go on: what was interrupted or has failed is tried again first."""

from __future__ import annotations

import logging
import warnings
from typing import Any

from omegaconf import DictConfig

from fedlab.archive import private
from fedlab.archive.sweep import SweepFolder
from fedlab.cli.sweep_plan import Plan, override
from fedlab.errors import ConfigError, one_line


def prepare(plan: Plan, config: DictConfig, folder: SweepFolder) -> tuple[int, list[str]]:
    """How many trials are left to run, and the overrides for Hydra that continue the study.

    Trials that a killed sweep left running are recorded as failed; the parameters of all that failed come up again first, unless
    they have been completed since. Raises `ConfigError` for a study with another objective, and for Optuna's grid.
    """
    sweeper = config.hydra.sweeper
    if "GridSampler" in sweeper.sampler._target_:
        raise ConfigError("hydra/sweeper/sampler=grid: leave hydra/sweeper=optuna out, -m alone tries every combination.")
    if any("hydra.sweeper.direction" in given for given in config.hydra.overrides.hydra):
        raise ConfigError("hydra.sweeper.direction: set objective.direction instead, beside objective.metric.")
    _quieten()
    import optuna
    from optuna.trial import TrialState

    storage, name = _storage(config, folder), _name(config)
    if not config.hydra.sweeper.storage:
        open(folder.study, "a", opener=private).close()  # SQLite takes the mode of a file that is there
    directions = list(plan.objective.direction)
    try:
        try:
            study = optuna.load_study(name, storage)
        except KeyError:
            study = optuna.create_study(storage=storage, study_name=name, directions=directions)
    except Exception as error:  # SQLAlchemy's, of which there are many
        raise ConfigError(f"hydra.sweeper.storage={storage} cannot be used: {one_line(error)}.") from error
    recorded = [d.name.lower() for d in study.directions]
    if recorded != directions:
        raise ConfigError(
            f"{storage} holds a study that is to {' and '.join(recorded)}, and objective.direction is {', '.join(directions)}: "
            "choose another hydra.sweep.dir."
        )
    trials = study.get_trials(deepcopy=False)
    complete = [t.params for t in trials if t.state == TrialState.COMPLETE]
    again: list[dict[str, Any]] = [t.system_attrs["fixed_params"] for t in trials if t.state == TrialState.WAITING]
    for trial in trials:
        if trial.state == TrialState.RUNNING:
            study.tell(trial.number, state=TrialState.FAIL)
        if trial.state in (TrialState.RUNNING, TrialState.FAIL) and trial.params and trial.params not in [*complete, *again]:
            study.enqueue_trial(trial.params)
            again.append(trial.params)
    left = max(0, sweeper.n_trials - len(complete))
    return left, [
        f"hydra.sweeper.n_trials={left}",
        # how many trials are chosen at a time; 2 by default, also where jobs run one after the other
        f"hydra.sweeper.n_jobs={plan.side_by_side if plan.launched_here else sweeper.n_jobs}",
        f"hydra.sweeper.max_failure_rate={sweeper.max_failure_rate or 1.0}",  # by default, one failure ends it all
        f"hydra.sweeper.direction=[{','.join(directions)}]",
        override("hydra.sweeper.storage", storage),
        override("hydra.sweeper.study_name", name),
        *_seed(config, len(trials)),
    ]


def has_failed(config: DictConfig, folder: SweepFolder) -> bool:
    """Whether every trial there is was run and has failed. Optuna then knows no best one, and says so with an error."""
    import optuna

    trials = optuna.load_study(_name(config), _storage(config, folder)).get_trials(deepcopy=False)
    return all(trial.state == optuna.trial.TrialState.FAIL for trial in trials)


def _storage(config: DictConfig, folder: SweepFolder) -> str:
    return config.hydra.sweeper.storage or f"sqlite:///{folder.study}"


def _name(config: DictConfig) -> str:
    return config.hydra.sweeper.study_name or "study"


def _seed(config: DictConfig, num_trials: int) -> list[str]:
    """Makes the sampler's choices follow from the run's seed, and not repeat themselves when the sweep goes on."""
    sampler = config.hydra.sweeper.sampler
    return [f"hydra.sweeper.sampler.seed={config.seed + num_trials}"] if "seed" in sampler and sampler.seed is None else []


def _quieten() -> None:
    """Silences what Optuna says of every study, and that its queue, which has been there since version 1.2, may change."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    # Our own lines tell of failed jobs. The plugin's would come up on stderr, for it finds no handler
    logging.getLogger("hydra_plugins.hydra_optuna_sweeper._impl").setLevel(logging.CRITICAL)
