"""Composes a configuration with Hydra, turns its nodes into validated specs, and words what went wrong in one line."""

from __future__ import annotations

import pathlib
from typing import Any, Sequence

import hydra
import pydantic
from hydra.errors import ConfigCompositionException, HydraException, InstantiationException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

import fedlab
from fedlab.errors import ConfigError, FedlabError, did_you_mean


def config_dir() -> pathlib.Path:
    """Where the shipped YAML files are: inside the package when installed from a wheel, beside it in a checkout."""
    package = pathlib.Path(fedlab.__file__).parent
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"


def compose(overrides: Sequence[str], config_name: str = "train") -> DictConfig:
    """The composed configuration, as `fedlab train` would see it. Raises `ConfigError`."""
    try:
        with hydra.initialize_config_dir(config_dir=str(config_dir()), version_base="1.3"):
            return hydra.compose(config_name=config_name, overrides=list(overrides))
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(explain(error, overrides)) from error


def build(config: DictConfig, stage: str) -> Any:
    """Instantiates the node `stage` of `config` by its `_target_`: a `Spec`, or a user's own callable as a partial.

    Raises `ConfigError` in one line that names the key, the value, and what is allowed.
    """
    node = config.get(stage)
    if node is None:
        raise ConfigError(f"{stage} is missing: choose one with {stage}=NAME.")
    try:
        OmegaConf.resolve(node)
        return hydra.utils.instantiate(node, _convert_="all")
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, FedlabError):
            raise cause from error
        if isinstance(cause, pydantic.ValidationError):
            raise ConfigError(_validation_line(cause, stage)) from error
        raise ConfigError(f"{stage}: {_first_line(cause or error)}") from error
    except OmegaConfBaseException as error:
        raise ConfigError(explain(error)) from error


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
