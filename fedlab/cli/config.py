"""Composes a configuration with Hydra and turns its nodes into validated specs.

What validates is imported when there is something to validate: help and `--cfg job` must not wait for it.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import itertools
import os
import pathlib
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import hydra
import yaml
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

import fedlab
from fedlab.archive.arms import arm_configs
from fedlab.cli import experiment_files, explain
from fedlab.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    import pydantic

    from fedlab.run.experiment import Experiment

COMPOSING = (HydraException, OmegaConfBaseException, yaml.YAMLError, ValueError)  # what Hydra raises for a wrong configuration
SEVERAL = ("logger",)  # stages of which a run may have several


def config_dir() -> pathlib.Path:
    """Where the shipped YAML files are: inside the package when installed from a wheel, beside it in a checkout."""
    package = pathlib.Path(fedlab.__file__).parent
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"


def folders(own: str | None) -> list[pathlib.Path]:
    """The configuration folders, a user's `own` first: its files hide shipped ones. Raises `ConfigError` if it does not exist."""
    if own is not None and not pathlib.Path(own).is_dir():
        raise ConfigError(f"-cd {own}: configuration folder '{own}' not found.")
    return [*([pathlib.Path(own).absolute()] if own else []), config_dir()]


def compose(overrides: Sequence[str], own: str | None = None) -> DictConfig:
    """The composed configuration, as `fedlab train` would see it. `own`: a user's configuration folder. Raises `ConfigError`."""
    found = folders(own)
    experiment_files.check(overrides, found)
    try:
        return _compose(overrides, found)
    except COMPOSING as error:
        raise ConfigError(why(error, ["-cd", own, *overrides] if own else overrides)) from error


def _compose(overrides: Sequence[str], found: Sequence[pathlib.Path]) -> DictConfig:
    with searching(found), hydra.initialize_config_dir(config_dir=str(config_dir()), version_base="1.3"):
        return hydra.compose(config_name="train", overrides=list(overrides))


class _OwnFolder(SearchPathPlugin):
    """Hydra looks for a configuration in a user's own folder before it does in the shipped one."""

    path: ClassVar[pathlib.Path | None] = None

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        if self.path is not None:
            search_path.prepend("own", f"file://{self.path}", "main")


@contextlib.contextmanager
def searching(found: Sequence[pathlib.Path]) -> Iterator[None]:
    """Has Hydra look into `folders`, in their order, as long as the context lasts."""
    Plugins.instance().register(_OwnFolder)
    _OwnFolder.path = found[0] if len(found) > 1 else None
    try:
        yield
    finally:
        _OwnFolder.path = None


def why(error: BaseException, overrides: Sequence[str] = ()) -> str:
    """One line for what Hydra or OmegaConf found wrong with `overrides`."""
    return explain.composition_error(error, overrides, catalogue(overrides))


def catalogue(overrides: Sequence[str] = ()) -> explain.Catalogue:
    """What there is to choose from: shipped, and in a folder given with `-cd`."""
    own = next((v for flag, v in itertools.pairwise(overrides) if flag in ("-cd", "--config-dir") and os.path.isdir(v)), None)
    found = folders(own)
    groups = {path.name for folder in found for path in folder.iterdir() if path.is_dir()}
    choices = [o for o in overrides if o.partition("=")[0] in groups]

    def chosen() -> DictConfig:
        try:
            return _compose(choices, found)
        except COMPOSING:
            return _compose([], [config_dir()])

    return explain.Catalogue(found, chosen)


def build_experiment(config: DictConfig) -> Experiment:
    """Every stage of `config`, validated, and of each of its arms. Raises `ConfigError`."""
    from fedlab.run.experiment import Experiment

    if "investigation" in config:
        raise ConfigError("this is an investigation, not a single run: fedlab investigate +experiment=… does it.")
    try:
        plain = {str(k): config[k] for k in config if not isinstance(config[k], DictConfig)}
        arms = _arms(config)
    except OmegaConfBaseException as error:
        raise ConfigError(why(error)) from error
    stages = [str(k) for k in config if k not in plain and k != "arms"]
    built = {k: build_all(config, k) if k in SEVERAL else build(config, k) for k in stages}
    return _construct(Experiment, {**plain, **built, "arms": {name: _build_arm(name, arm) for name, arm in arms.items()}}, "")


def _build_arm(name: str, config: DictConfig) -> Experiment:
    try:
        return build_experiment(config)
    except ConfigError as error:
        raise ConfigError(f"arm {name}: {error}") from error


def _arms(config: DictConfig) -> dict[str, DictConfig]:
    """The configuration of each arm. Raises `OmegaConfBaseException`, and `ConfigError` for arms that are no overrides."""
    if not config.get("arms"):
        return {}
    plain: Any = OmegaConf.to_container(config, resolve=True)
    for name, overrides in plain["arms"].items():
        if not isinstance(overrides, dict):
            raise ConfigError(f"arms.{name}={overrides}: an arm is what it has otherwise: +arms.{name}.client.batch_size=10.")
        for stage, value in overrides.items():
            if stage not in plain:
                raise ConfigError(f"no option 'arms.{name}.{stage}'.{did_you_mean(stage, plain)} An arm has what a run has.")
            if isinstance(plain[stage], dict) and isinstance(value, str):
                raise ConfigError(
                    f"arms.{name}.{stage}={value}: choose one for an arm with +{stage}@arms.{name}.{stage}={value}."
                )
    return {name: OmegaConf.create(arm) for name, arm in arm_configs(plain).items()}


def build_all(config: DictConfig, stage: str) -> dict[str, Any]:
    """What each node below `stage` names, for a stage of which a run may have several, such as loggers."""
    return {str(name): build(config[stage], str(name), f"{stage}.{name}") for name in config[stage]}


def build(config: DictConfig, name: str, stage: str | None = None) -> Any:
    """What the node `name` of `config` names in `_target_`: a `Spec`, or a user's own function with its options filled in.

    Raises `ConfigError` in one line that names the key, the value, and what is allowed. `stage`: where the node is in the whole.
    """
    node, stage = config.get(name), stage or name
    if not isinstance(node, DictConfig) or not isinstance(node.get("_target_"), str):
        raise ConfigError(f"{stage} must say what to build in {stage}._target_: choose one with {stage}=NAME.")
    try:
        container: Any = OmegaConf.to_container(node, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise ConfigError(why(error)) from error
    options = {str(k): v for k, v in container.items() if k != "_target_"}
    import pydantic

    target = _locate(node._target_, stage)
    if inspect.isclass(target) and issubclass(target, pydantic.BaseModel):
        return _construct(target, options, stage)
    try:
        inspect.signature(target).bind_partial(**options)
    except TypeError as error:
        names = ", ".join(inspect.signature(target).parameters)
        raise ConfigError(f"{stage}: {error}; {target.__name__} takes {names}.") from error
    return functools.partial(target, **options)


def _locate(path: str, stage: str) -> Any:
    """The class or function at a dotted path: a component of fedlab, or a user's own, in the current folder too."""
    own = not is_of_fedlab(path)
    if own:
        _find_modules_here()
    module, _, name = path.rpartition(".")
    try:
        target = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"{stage}._target_={path} cannot be imported: {error}.") from error
    if not own and not _is_component(target):
        raise ConfigError(f"{stage}._target_={path} is no component of fedlab: choose one with {stage}=NAME.")
    if not own and target.reaches_out:
        _find_modules_here()
    if inspect.isabstract(target):
        lacks = ", ".join(sorted(target.__abstractmethods__))
        base = "is a base class and not something that can be built" if not own else "is not something that can be built"
        raise ConfigError(f"{stage}._target_={path} {base}: it lacks {lacks}.")
    if not callable(target):
        raise ConfigError(f"{stage}._target_={path} is not something that can be built: it is no class and no function.")
    return target


def _find_modules_here() -> None:
    """Has modules of the current folder found, after all others. Only for configurations that name such: it may hold anything."""
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())


def is_of_fedlab(path: str) -> bool:
    """Returns whether a dotted path leads into this package."""
    return path.partition(".")[0] == "fedlab"


def _is_component(target: Any) -> bool:
    """Returns whether a configuration may name this of fedlab: a class of options, defined here, not merely imported here."""
    from fedlab.spec import Spec

    return inspect.isclass(target) and issubclass(target, Spec) and is_of_fedlab(target.__module__)


def _construct(target: type[pydantic.BaseModel], options: dict, stage: str) -> Any:
    import pydantic

    try:
        return target(**options)
    except pydantic.ValidationError as error:
        raise ConfigError(explain.validation_error(error, stage, target.model_fields, catalogue())) from error
