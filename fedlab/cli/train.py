"""`fedlab train`: a Hydra application. TensorFlow is imported only once the whole configuration has been found valid.

What help and `--cfg job` have no use for is imported where it is used: they answer in half a second.
"""

from __future__ import annotations

import os
import pathlib
import shlex
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from fedlab import trust
from fedlab.cli import application, experiment_files, sweep_plan, trusting
from fedlab.cli import config as configuration
from fedlab.errors import FedlabError, of_own_code


def main(argv: list[str]) -> int:
    """Runs Hydra on `argv`; its errors become one line each."""
    quiet = bool({"-q", "--quiet"} & set(argv))
    if trusting.FLAG in argv:
        trust.trust_everything()
    overrides = [a for a in argv if a not in ("-q", "--quiet", trusting.FLAG)]
    console = Console(quiet=quiet)
    resumed = next((o.partition("=")[2] for o in overrides if o.startswith("resume=")), None)
    if resumed is not None:
        from fedlab.archive.folder import RunFolder
        from fedlab.cli.resume import resume
        from fedlab.cli.summary import print_summary

        others = [o for o in overrides if o != f"resume={resumed}"]
        print_summary(console, resume(resumed, others, console, argv), RunFolder(pathlib.Path(resumed)))
        return 0
    args = application.parsed(overrides)
    if args.help:
        from fedlab.cli import train_help

        print(train_help.page(args.overrides, args.config_dir))
        return 0
    overrides = application.in_order(args)
    experiment_files.check(args.overrides, configuration.folders(args.config_dir))
    config = sweep_plan.composed(overrides, args)
    if config is not None:
        from fedlab.cli.sweep import sweep

        return sweep(config, args, overrides, console)
    errors: list[FedlabError] = []
    everything_is_shown = os.environ.get("HYDRA_FULL_ERROR") == "1"

    def task(cfg: DictConfig) -> None:
        try:
            _run(cfg, console, argv)
        except FedlabError as error:  # not through Hydra, which would print more
            errors.append(error)
        except Exception as error:
            worded = of_own_code(error)
            if worded is None or everything_is_shown:
                raise
            errors.append(worded)

    application.run(task, overrides, "hydra.run.dir")
    if errors:
        raise errors[0]
    return 0


def _run(cfg: DictConfig, console: Console, argv: list[str]) -> None:
    """One run: validates, claims a folder, trains."""
    from fedlab.archive.folder import RunFolder
    from fedlab.cli.job import Job, start
    from fedlab.cli.summary import print_summary

    output, choices = pathlib.Path(HydraConfig.get().runtime.output_dir), HydraConfig.get().runtime.choices
    try:
        experiment = configuration.build_experiment(cfg)
        plain: Any = OmegaConf.to_container(cfg, resolve=True)
        name = choices.get("experiment") or f"{choices['data']}/{choices['process']}"
        job = Job(experiment, plain, name, shlex.join(["fedlab", "train", *argv]))
        claimed: list[RunFolder] = []

        def claim() -> RunFolder:
            claimed.append(RunFolder.create(output))
            return claimed[0]

        summary = start(job, claim, console)
    finally:
        _remove_empty(output)  # Hydra made it; a run that never began leaves nothing behind
    print_summary(console, summary, claimed[0])


def _remove_empty(folder: pathlib.Path) -> None:
    """Removes `folder` and its parents while they are empty; of the parents only those below the current directory."""
    here = pathlib.Path.cwd()
    for path in (folder, *(parent for parent in folder.parents if here in parent.parents)):
        try:
            path.rmdir()
        except FileNotFoundError:
            continue
        except OSError:
            return
