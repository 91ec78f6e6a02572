"""Trains the run that the words of `fedlab train` describe, as a Hydra application.

TensorFlow is imported only after the whole configuration has passed validation.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from fedlab.config import application
from fedlab.config import composing as configuration
from fedlab.errors import FedlabError, of_own_code

if TYPE_CHECKING:
    from fedlab.run.job import Finished
    from fedlab.run.progress import Following, OnLine
    from fedlab.run.reporting import Report


def train(
    argv: Sequence[str],
    args: argparse.Namespace,
    composed: DictConfig | Exception | None,
    report: Report,
    on_line: OnLine,
    following: Following,
) -> Finished | None:
    """Trains one run. Returns None for flags that train nothing, such as --cfg.

    `args`: `argv`, parsed; `composed`: the result of `application.as_single`. `report`, `on_line`, `following`: as for
    `fedlab.run.job.run`. Raises `FedlabError`; with HYDRA_FULL_ERROR=1, an error of a user's own code unchanged.
    """
    errors: list[FedlabError] = []
    finished: list[Finished] = []
    everything_is_shown = os.environ.get("HYDRA_FULL_ERROR") == "1"

    def task(cfg: DictConfig) -> None:
        try:
            finished.append(_run(cfg, argv, report, on_line, following))
        except FedlabError as error:  # kept from Hydra, which would print more
            errors.append(error)
        except BaseException as error:  # a user's code may exit
            worded = of_own_code(error)
            if worded is None or everything_is_shown:
                raise
            errors.append(worded)

    application.run(task, application.in_order(args), "hydra.run.dir", composed=composed)
    if errors:
        raise errors[0]
    return finished[0] if finished else None


def _run(cfg: DictConfig, argv: Sequence[str], report: Report, on_line: OnLine, following: Following) -> Finished:
    """Validates the configuration, claims a folder, and trains."""
    output, choices = pathlib.Path(HydraConfig.get().runtime.output_dir), HydraConfig.get().runtime.choices
    _remove_empty(output)  # Hydra has just created it; a process killed before the run begins leaves nothing
    from fedlab.run.job import Job, run

    try:
        experiment = configuration.build_experiment(cfg)
        plain: Any = OmegaConf.to_container(cfg, resolve=True)
        plain.pop(configuration.EXPECTED, None)
        job = Job(experiment, plain, configuration.name_of(choices), shlex.join(["fedlab", "train", *argv]))
        return run(job, output, report, on_line, following)
    finally:
        _remove_empty(output)  # also its parents, if the run never began


def _remove_empty(folder: pathlib.Path) -> None:
    """Removes `folder` and its parents while they are empty; of the parents only those below the current directory."""
    here = pathlib.Path.cwd()
    if folder == here:
        return
    for path in (folder, *(parent for parent in folder.parents if here in parent.parents)):
        try:
            path.rmdir()
        except FileNotFoundError:
            continue
        except OSError:
            return
