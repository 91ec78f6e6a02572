"""Attacks a finished run, of which only the folder is left."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

from fedlab.archive import Run, inventory, read_run
from fedlab.archive.folder import relative
from fedlab.archive.lock import RunLock
from fedlab.config import composing as configuration
from fedlab.config.rebuilding import rebuilt
from fedlab.errors import ConfigError, FedlabError
from fedlab.report.page import write_report
from fedlab.run.job import read, require_same_data, require_whole
from fedlab.run.progress import OnLine
from fedlab.studies.attacks.options import Attack, NoAttack

_OWN = ("attack=NAME", "attack.KEY=VALUE")  # the options of the command, without the locations of the run's files


def attack(path: pathlib.Path, arm: str | None, options: Sequence[str], on_line: OnLine) -> tuple[dict[str, float], pathlib.Path]:
    """Attacks the run in `path`, or one of its arms. Adds the metrics to its summary; returns them and the new page.

    `options`: of the attack, by default attack=model_inversion, and new paths of files, such as data.path=FILE. Raises
    `FedlabError` if the run has not finished, or this attack on it is impossible.
    """
    own = [option for option in options if option.lstrip("+").partition("=")[0].partition(".")[0] == "attack"]
    moved = [option for option in options if option not in own]
    spec, run = _spec(own), read_run(path)
    if run.status != "finished":
        raise FedlabError(f"{relative(run.path)} is {run.status}: only a run that has finished can be attacked.")
    with RunLock(run.folder.lock):
        with inventory.amending(run.folder):
            run.check()
            metrics = _attack(run, arm, spec, moved, on_line)
        return metrics, write_report(run.path)  # which reads the run again, with its new inventory


def _spec(options: Sequence[str]) -> Attack:
    """Builds the attack from `options`, which begin with "attack". Raises `ConfigError`."""
    for option in options:
        if "=" not in option:
            raise ConfigError(f"'{option}' is no option of an attack: give {' or '.join(_OWN)}.")
    chosen = [] if any(o.startswith("attack=") for o in options) else ["attack=model_inversion"]
    spec = configuration.build(configuration.compose([*chosen, *options]), "attack")
    if isinstance(spec, NoAttack):
        raise ConfigError("attack=none: name an attack, such as attack=model_inversion.")
    return spec


def _attack(run: Run, arm: str | None, spec: Attack, moved: Sequence[str], on_line: OnLine) -> dict[str, float]:
    """Attacks the run or the arm; returns the metrics for the summary."""
    require_whole(run)
    if arm is not None:
        run.arm(arm)  # raises an error that lists the arms
    experiment, config = rebuilt(run, moved, "attack", _OWN)
    chosen = [experiment.arms[arm]] if arm else list(experiment.arms.values()) or [experiment]
    for one in chosen:
        spec.check(one.secure.observe)
    inputs = read(experiment, on_line)
    require_same_data(run, inputs, config)
    from fedlab.studies.attacks.attacking import attack_run  # imports TensorFlow, which mistakes do not wait for

    return attack_run(experiment, (inputs.dataset, inputs.partition), inputs.arms, run.folder, spec, arm)
