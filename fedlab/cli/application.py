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
from omegaconf.errors import OmegaConfBaseException

from fedlab.cli import config as configuration
from fedlab.errors import ConfigError, FedlabError, did_you_mean


def parsed(argv: Sequence[str]) -> argparse.Namespace:
    """Hydra's flags. Raises `ConfigError` for one that it does not know, where Hydra would print a page."""
    parser = get_args_parser()

    def error(message: str) -> NoReturn:
        flags = [flag for action in parser._actions for flag in action.option_strings]
        unknown = next((a for a in argv if a.startswith("-") and a.split("=")[0] not in flags), "")
        raise ConfigError(f"{message}.{did_you_mean(unknown, flags)} See fedlab train --help.")

    parser.error = error  # type: ignore[method-assign]
    return parser.parse_args(argv)


def run(task: Callable[[DictConfig], Any], argv: Sequence[str], setting: str) -> None:
    """Has Hydra call `task`, once or as often as a sweep wants. `setting`: the option that chooses another folder.

    Raises `FedlabError` for what Hydra finds wrong; what the task raises comes through as it is.
    """
    full_error = os.environ.get("HYDRA_FULL_ERROR")
    app = hydra.main(version_base="1.3", config_path=str(configuration.config_dir()), config_name="train")(task)
    sys.argv = ["fedlab train", *argv]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises, and the message is ours
    try:
        app()
    except (HydraException, OmegaConfBaseException, ValueError, OSError) as error:
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
