"""Hydra's application around a task: its flags checked first, its errors worded as ours."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import hydra
from hydra._internal.utils import get_args_parser
from hydra.errors import HydraException
from omegaconf import DictConfig

from fedlab.cli import config as configuration
from fedlab.cli.parsing import hint
from fedlab.errors import ConfigError, FedlabError


def parsed(argv: Sequence[str]) -> argparse.Namespace:
    """Hydra's flags, which may stand anywhere in `argv`. Raises `ConfigError` for one that it does not know."""
    parser = get_args_parser()
    parser.allow_abbrev = False

    def error(message: str) -> NoReturn:
        raise ConfigError(f"{message}.{hint(parser, message, argv)} See fedlab train --help.")

    parser.error = error  # type: ignore[method-assign]
    return parser.parse_intermixed_args(argv)


def in_order(args: argparse.Namespace) -> list[str]:
    """The words of a command line that `parsed` has read, flags first: Hydra's own parser accepts no other order."""
    words: list[str] = []
    for action in get_args_parser()._actions:
        value = getattr(args, action.dest, None)
        if action.option_strings and value not in (None, False):
            words += [min(action.option_strings, key=len), *([] if value is True else [value])]
    return [*words, *args.overrides]


def run(task: Callable[[DictConfig], Any], argv: Sequence[str], setting: str) -> None:
    """Has Hydra call `task`, once or as often as a sweep wants. `setting`: the option that chooses another folder.

    Raises `FedlabError` for what Hydra finds wrong; what the task raises comes through as it is.
    """
    full_error = os.environ.get("HYDRA_FULL_ERROR")
    args = parsed(argv)
    found, args.config_dir = configuration.folders(args.config_dir), None
    app = hydra.main(version_base="1.3", config_path=str(configuration.config_dir()), config_name="train")(task)
    sys.argv = ["fedlab train", *in_order(args)]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises, and the message is ours
    try:
        with configuration.searching(found):
            app()
    except (*configuration.COMPOSING, OSError) as error:
        if full_error == "1" or any(frame.f_code is task.__code__ for frame, _ in traceback.walk_tb(error.__traceback__)):
            raise
        if isinstance(error, OSError) and not isinstance(error, HydraException):
            raise FedlabError(f"cannot write the run folder ({error}): set {setting}=FOLDER.") from error
        raise ConfigError(configuration.why(error, argv)) from error
    finally:
        if full_error is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = full_error
