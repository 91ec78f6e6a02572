"""Optuna's record of a sweep, prepared for continuing: interrupted and failed trials are repeated first."""

from __future__ import annotations

import logging
import warnings
from typing import Any

from omegaconf import DictConfig

from fedlab.archive import private
from fedlab.archive.task import CLASSIFICATION, Learned, described
from fedlab.config import composing as configuration
from fedlab.errors import ConfigError, one_line
from fedlab.studies.sweep.folder import SweepFolder
from fedlab.studies.sweep.goal import goal_of
from fedlab.studies.sweep.plan import SweepPlan, override


def prepare(plan: SweepPlan, config: DictConfig, folder: SweepFolder) -> tuple[int, list[str]]:
    """Returns the number of remaining trials, and the overrides for Hydra that continue the study.

    Running trials of a killed sweep become failed ones. The parameters of failed trials are tried again first, unless another
    trial has completed them. Raises `ConfigError` for a study with another objective, and for Optuna's grid.
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
        open(folder.study, "a", opener=private).close()  # SQLite keeps the mode of an existing file
    directions = list(goal_of(plan.objective, folder.task() or _task(plan, config)).directions)
    try:
        try:
            study = optuna.load_study(name, storage)
        except KeyError:
            study = optuna.create_study(storage=storage, study_name=name, directions=directions)
    except Exception as error:  # SQLAlchemy raises many kinds
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
        # number of trials chosen at a time; the plugin's default is 2, also for sequential jobs
        f"hydra.sweeper.n_jobs={plan.side_by_side if plan.launched_here else sweeper.n_jobs}",
        f"hydra.sweeper.max_failure_rate={sweeper.max_failure_rate or 1.0}",  # by default, one failure ends the study
        f"hydra.sweeper.direction=[{','.join(directions)}]",
        override("hydra.sweeper.storage", storage),
        override("hydra.sweeper.study_name", name),
        *_seed(config, len(trials)),
    ]


def _task(plan: SweepPlan, config: DictConfig) -> Learned:
    """Returns the task of a sweep before its first job: Optuna must know the directions of the metrics. May read the data."""
    if plan.objective.directions is not None:
        return CLASSIFICATION  # its metrics decide nothing
    process, data = configuration.build(config, "process"), configuration.build(config, "data")
    if process.task is None and data.published is not None:  # published with classes
        return CLASSIFICATION
    task = process.task or data.load(config.seed).train.task
    return described(task.described())


def has_failed(config: DictConfig, folder: SweepFolder) -> bool:
    """Returns whether every trial has failed. Optuna then raises an error, because it has no best trial."""
    import optuna

    trials = optuna.load_study(_name(config), _storage(config, folder)).get_trials(deepcopy=False)
    return all(trial.state == optuna.trial.TrialState.FAIL for trial in trials)


def _storage(config: DictConfig, folder: SweepFolder) -> str:
    return config.hydra.sweeper.storage or f"sqlite:///{folder.study}"


def _name(config: DictConfig) -> str:
    return config.hydra.sweeper.study_name or "study"


def _seed(config: DictConfig, num_trials: int) -> list[str]:
    """Derives the sampler's seed from the run's seed and the number of trials, so that a continued sweep repeats no choices."""
    sampler = config.hydra.sweeper.sampler
    return [f"hydra.sweeper.sampler.seed={config.seed + num_trials}"] if "seed" in sampler and sampler.seed is None else []


def _quieten() -> None:
    """Silences Optuna's messages on every study, and its warning that the queue (since version 1.2) may change."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    # Our own lines report failed jobs. The plugin has no handler, so its lines would appear on stderr
    logging.getLogger("hydra_plugins.hydra_optuna_sweeper._impl").setLevel(logging.CRITICAL)
