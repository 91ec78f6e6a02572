"""`fedlab train`: a Hydra application. Imports TensorFlow only after the whole configuration has passed validation.

Help and `--cfg job` answer in half a second, because modules that they do not need are imported where they are used.
"""

from __future__ import annotations

import os
import pathlib
import shlex
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from fedlab import registry
from fedlab.config import application, experiment_files
from fedlab.config import composing as configuration
from fedlab.console import trusting
from fedlab.errors import ConfigError, FedlabError, of_own_code

if TYPE_CHECKING:
    from fedlab.config.expectations import Expectation


def main(argv: list[str]) -> int:
    """Runs Hydra on `argv`; turns each of its errors into one line. Returns the exit code."""
    args = application.parsed(argv)
    console = Console(quiet=args.quiet)
    resumed = next((o.partition("=")[2] for o in args.overrides if o.startswith("resume=")), None)
    if resumed is not None:
        if args.expect:
            raise ConfigError("--expect does not go with resume=…: repeat the command of the experiment.")
        others = [w for w in argv if w not in (f"resume={resumed}", "-q", "--quiet", trusting.FLAG)]
        return _resume(resumed, others, console, argv)
    if args.help:
        from fedlab.cli import train_help

        print(train_help.page(args.overrides, args.config_dir))
        return 0
    overrides = application.in_order(args)
    experiment_files.check(args.overrides, configuration.folders(args.config_dir))
    expectation = None
    if args.expect:
        from fedlab.config import expectations

        if args.multirun or args.cfg or args.info:
            raise ConfigError("--expect compares a single run: leave -m, --cfg and --info out.")
        if args.config_name not in (None, "train"):
            raise ConfigError(f"--expect: the figures are those of train.yaml: leave --config-name {args.config_name} out.")
        expectation = expectations.applicable(args.overrides, args.config_dir)
    composed = application.as_single(args)
    code = registry.train(overrides, args, composed)
    if code is not None:
        return code
    errors: list[FedlabError] = []
    finished: list[pathlib.Path] = []
    everything_is_shown = os.environ.get("HYDRA_FULL_ERROR") == "1"

    def task(cfg: DictConfig) -> None:
        try:
            finished.append(_run(cfg, console, argv))
        except FedlabError as error:  # kept from Hydra, which would print more
            errors.append(error)
        except BaseException as error:  # a user's code may exit
            worded = of_own_code(error)
            if worded is None or everything_is_shown:
                raise
            errors.append(worded)

    application.run(task, overrides, "hydra.run.dir", composed=composed)
    if errors:
        raise errors[0]
    return _judged(expectation, finished[0], console) if expectation else 0


def _judged(expectation: Expectation, path: pathlib.Path, console: Console) -> int:
    """Prints each expected figure beside that of the run in `path`; returns the exit code."""
    from fedlab.archive import read_run
    from fedlab.config import expectations
    from fedlab.console.display import say

    lines, missed = expectations.outcome(expectation, read_run(path))
    for line in lines:
        say(console, line)
    if missed:
        print(f"fedlab train: {missed}", file=sys.stderr)
    return expectations.EXIT_CODE if missed else 0


def _resume(path: str, overrides: list[str], console: Console, argv: list[str]) -> int:
    flags = [o for o in overrides if o.startswith("-")]
    if flags:
        raise ConfigError(f"{flags[0]} does not go with resume=…: it takes key=value, --quiet and --trust only.")
    if not path:
        raise ConfigError("resume= must name the folder of a run.")
    from fedlab.archive.folder import RunFolder
    from fedlab.archive.task import learned_in
    from fedlab.cli.summary import print_summary
    from fedlab.config.rebuilding import continued
    from fedlab.console.display import lines_on, rounds_on
    from fedlab.report.run_report import RunReport
    from fedlab.run.resuming import resume

    folder, command = RunFolder(pathlib.Path(path)), shlex.join(["fedlab", "train", *argv])
    summary = resume(
        folder.path, lambda run: continued(run, overrides), command, RunReport(), lines_on(console), rounds_on(console)
    )
    print_summary(console, summary, folder, learned_in(folder))
    return 0


def _run(cfg: DictConfig, console: Console, argv: list[str]) -> pathlib.Path:
    """Validates the configuration, claims a folder, and trains; returns the folder."""
    output, choices = pathlib.Path(HydraConfig.get().runtime.output_dir), HydraConfig.get().runtime.choices
    _remove_empty(output)  # Hydra has just created it; a process killed before the run begins leaves nothing
    from fedlab.archive.folder import RunFolder
    from fedlab.archive.task import learned_in
    from fedlab.cli.summary import print_summary
    from fedlab.console.display import lines_on, rounds_on
    from fedlab.report.run_report import RunReport
    from fedlab.run.job import Job, run

    try:
        experiment = configuration.build_experiment(cfg)
        plain: Any = OmegaConf.to_container(cfg, resolve=True)
        plain.pop(configuration.EXPECTED, None)
        job = Job(experiment, plain, configuration.name_of(choices), shlex.join(["fedlab", "train", *argv]))
        claimed: list[RunFolder] = []

        def claim(manifest: Mapping[str, Any]) -> RunFolder:
            claimed.append(RunFolder.create(output, manifest))
            return claimed[0]

        summary = run(job, claim, RunReport(), lines_on(console), rounds_on(console))
    finally:
        _remove_empty(output)  # also its parents, if the run never began
    print_summary(console, summary, claimed[0], learned_in(claimed[0]))
    return claimed[0].path


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
