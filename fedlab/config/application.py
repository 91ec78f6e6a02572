"""Runs a task as a Hydra application: checks the flags first, and rewords Hydra's errors."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import hydra
from hydra._internal.callbacks import Callbacks
from hydra._internal.hydra import Hydra
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.utils import configure_log, run_job
from hydra.errors import HydraException
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig

from fedlab.config import composing as configuration
from fedlab.config.quoting import quoted
from fedlab.console import trusting
from fedlab.console.parsing import Parser
from fedlab.errors import ConfigError, FedlabError

_LEFT_TO_HYDRA = ("multirun", "cfg", "info", "hydra_help")
_WITHOUT_EFFECT = {  # Hydra's flags that fedlab replaces, and how
    "run": "leave it out, without -m there is a single run",
    "config_path": "-cd FOLDER adds your own configuration folder",
    "shell_completion": "fedlab completion bash|zsh prints the script of your shell",
    "experimental_rerun": "fedlab verify RUN repeats a run, fedlab train resume=RUN continues it",
}
_OF_CFG = ("resolve", "package")  # flags that say how --cfg prints


def parser() -> Parser:
    """Returns the parser of `fedlab train`: Hydra's flags, --quiet, --expect and --trust. It hides flags without effect."""
    of_hydra = get_args_parser()
    for action in of_hydra._actions:
        if action.dest in _WITHOUT_EFFECT:
            action.help = argparse.SUPPRESS
    made = Parser("fedlab train", parents=[of_hydra], add_help=False)
    made.add_argument("-q", "--quiet", action="store_true", help="no progress display")
    made.add_argument(
        "--expect", action="store_true", help="compare with the figures of the experiment; exit code 4 if it misses one"
    )
    trusting.add_argument(made)
    return made


def parsed(argv: Sequence[str]) -> argparse.Namespace:
    """Parses the flags of `fedlab train`, which may stand anywhere in `argv`.

    Raises `ConfigError` for a flag that is unknown or has no effect.
    """
    args = parser().parse(argv)
    for name, value in vars(args).items():
        flag = f"--{name.replace('_', '-')}"
        if name in _WITHOUT_EFFECT and value not in (None, False):
            raise ConfigError(f"{flag} has no effect in fedlab: {_WITHOUT_EFFECT[name]}.")
        if name in _OF_CFG and value not in (None, False) and args.cfg is None:
            raise ConfigError(f"{flag} says how --cfg prints: add --cfg job, or leave {flag} out.")
    args.overrides = quoted(args.overrides)
    return args


def in_order(args: argparse.Namespace) -> list[str]:
    """Returns the words of a parsed command line for Hydra: its flags first, because its own parser accepts no other order."""
    words: list[str] = []
    for action in get_args_parser()._actions:
        value = getattr(args, action.dest, None)
        if action.option_strings and value not in (None, False):
            words += [min(action.option_strings, key=len), *([] if value is True else [value])]
    return [*words, *args.overrides]


def as_single(args: argparse.Namespace) -> DictConfig | Exception | None:
    """Returns the configuration with Hydra's own part, composed as that of a single run, or the error that this raises.

    Returns None for flags that ask for something else, such as -m or --cfg.
    """
    if args.help or any(getattr(args, flag) for flag in _LEFT_TO_HYDRA):
        return None
    try:
        with configuration.searching(configuration.folders(args.config_dir)):
            return _composed(args)
    except (*configuration.COMPOSING, OSError) as error:
        return error


def run(
    task: Callable[[DictConfig], Any],
    argv: Sequence[str],
    setting: str,
    sweeps: bool = False,
    composed: DictConfig | Exception | None = None,
) -> None:
    """Lets Hydra call `task` once, or, where it `sweeps`, once per job. `setting`: the option that sets the folder, for errors.

    `composed`: the result of `as_single` for `argv`, if it is known. Raises `FedlabError` for Hydra's errors. Errors of the task
    pass through unchanged.
    """
    full_error = os.environ.get("HYDRA_FULL_ERROR")
    args = parsed(argv)
    found, args.config_dir = configuration.folders(args.config_dir), None
    app = hydra.main(version_base="1.3", config_path=str(configuration.config_dir()), config_name="train")(task)
    before, sys.argv = sys.argv, ["fedlab train", *in_order(args)]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # makes Hydra raise its errors, which are reworded here
    try:
        with configuration.searching(found):
            if sweeps or any(getattr(args, flag) for flag in _LEFT_TO_HYDRA):
                app()
            else:
                if isinstance(composed, Exception):
                    raise composed
                _run_once(task, args, composed)
    except (*configuration.COMPOSING, OSError) as error:
        if full_error == "1" or any(frame.f_code is task.__code__ for frame, _ in traceback.walk_tb(error.__traceback__)):
            raise
        if isinstance(error, OSError) and not isinstance(error, HydraException):
            raise FedlabError(f"cannot write the run folder ({error}): set {setting}=FOLDER.") from error
        raise ConfigError(configuration.why(error, argv)) from error
    finally:
        sys.argv = before
        if full_error is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = full_error


def _run_once(task: Callable[[DictConfig], Any], args: argparse.Namespace, composed: DictConfig | None) -> None:
    """Runs `task` like Hydra's main function, which would compose the configuration twice more: to read `hydra.mode`, and to
    run."""
    config = _composed(args) if composed is None else composed
    with _initialized() as application:
        if config.hydra.mode is None:
            config.hydra.mode = RunMode.RUN
        configure_log(config.hydra.hydra_logging, config.hydra.verbose)
        callbacks = Callbacks(config)
        callbacks.on_run_start(config=config, config_name=args.config_name)
        context = HydraContext(config_loader=application.config_loader, callbacks=callbacks)
        result = run_job(
            task_function=task, config=config, job_dir_key="hydra.run.dir", job_subdir_key=None, hydra_context=context
        )
        callbacks.on_run_end(config=config, config_name=args.config_name, job_return=result)
        _ = result.return_value  # raises the task's error


def _composed(args: argparse.Namespace) -> DictConfig:
    """Returns the configuration of a single run with Hydra's own part."""
    with _initialized() as application:
        return application.compose_config(
            config_name=args.config_name or "train", overrides=list(args.overrides), run_mode=RunMode.RUN
        )


@contextlib.contextmanager
def _initialized() -> Iterator[Hydra]:
    """Initializes Hydra for the configuration folders of fedlab within the context."""
    with hydra.initialize_config_dir(config_dir=str(configuration.config_dir()), job_name="train", version_base="1.3"):
        initialized = GlobalHydra.instance().hydra
        assert initialized is not None
        yield initialized
