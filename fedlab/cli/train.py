"""`fedlab train`: a Hydra application. TensorFlow is imported only once the whole configuration has been found valid."""

from __future__ import annotations

import math
import os
import pathlib
import shlex
import sys
import traceback
from typing import Any, NoReturn

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console

from fedlab.archive import RunFolder
from fedlab.cli import config as configuration
from fedlab.cli.job import Job, relative, say, start
from fedlab.cli.resume import resume
from fedlab.errors import ConfigError, FedlabError, did_you_mean


def main(argv: list[str]) -> int:
    """Runs Hydra on `argv`; its errors become one line each."""
    quiet = bool({"-q", "--quiet"} & set(argv))
    overrides = [a for a in argv if a not in ("-q", "--quiet")]
    console = Console(quiet=quiet)
    resumed = next((o.partition("=")[2] for o in overrides if o.startswith("resume=")), None)
    if resumed is not None:
        others = [o for o in overrides if o != f"resume={resumed}"]
        _print_summary(console, resume(resumed, others, console, argv))
        return 0
    full_error = os.environ.get("HYDRA_FULL_ERROR")
    errors: list[FedlabError] = []

    def task(cfg: DictConfig) -> float:
        try:
            return _run(cfg, console, argv)
        except FedlabError as error:  # not through Hydra, which would print more; and a sweep goes on with its next job
            if full_error == "1":
                raise
            if errors:
                print(f"fedlab train: {error}", file=sys.stderr)
            errors.append(error)
            return math.nan

    _check_flags(overrides)
    app = hydra.main(version_base="1.3", config_path=str(configuration.config_dir()), config_name="train")(task)
    sys.argv = ["fedlab train", *overrides]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises, and the message is ours
    try:
        app()
    except (HydraException, OmegaConfBaseException, ValueError, OSError) as error:
        if full_error == "1" or not _raised_by_hydra(error):
            raise
        if isinstance(error, OSError) and not isinstance(error, HydraException):
            raise FedlabError(f"cannot write the run folder ({error}): set hydra.run.dir=FOLDER.") from error
        raise ConfigError(configuration.why(error, overrides)) from error
    finally:
        if full_error is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = full_error
    if errors:
        raise errors[0]
    return 0


def _check_flags(argv: list[str]) -> None:
    """Raises `ConfigError` for a flag that Hydra does not know, where Hydra would print a page."""
    parser = get_args_parser()

    def error(message: str) -> NoReturn:
        flags = [flag for action in parser._actions for flag in action.option_strings]
        unknown = next((a for a in argv if a.startswith("-") and a.split("=")[0] not in flags), "")
        raise ConfigError(f"{message}.{did_you_mean(unknown, flags)} See fedlab train --help.")

    parser.error = error  # type: ignore[method-assign]
    parser.parse_args(argv)


def _raised_by_hydra(error: BaseException) -> bool:
    """Whether the error came up outside the run itself, while Hydra was composing or making folders."""
    return not any(frame.f_code is _run.__code__ for frame, _ in traceback.walk_tb(error.__traceback__))


def _run(cfg: DictConfig, console: Console, argv: list[str]) -> float:
    """One run: validates, claims a folder, trains. Returns the final test accuracy, for sweepers."""
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
    _print_summary(console, summary)
    say(console, f"run folder: {relative(claimed[0].path)}")
    return float(summary["test_accuracy"])


def _print_summary(console: Console, summary: dict[str, Any]) -> None:
    line = f"[bold]test accuracy {summary['test_accuracy']:.2%}[/bold], loss {summary['test_loss']:.4f}"
    if "client_accuracy_mean" in summary:
        line += (
            f"; clients on their own examples: mean {summary['client_accuracy_mean']:.2%}, "
            f"10th percentile {summary['client_accuracy_p10']:.2%}, worst {summary['client_accuracy_worst']:.2%}"
        )
    say(console, line)
    if summary["non_finite_clients_total"]:
        left_out = f"{summary['non_finite_clients_total']} client updates held a NaN or an infinity and were left out"
        say(console, f"[yellow]{left_out}: lower client_optimizer.learning_rate[/yellow]")
    say(console, f"{summary['seconds_total']:.0f} s in all, {summary['seconds_per_round']:.4f} s per round (median)")


def _remove_empty(folder: pathlib.Path) -> None:
    """Removes `folder` and those of its parents that are empty."""
    for path in (folder, *folder.parents):
        try:
            path.rmdir()
        except OSError:
            return
