"""Composes a configuration with Hydra and turns its nodes into validated specs.

Modules for validation are imported only when needed, so that help and `--cfg job` are fast.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib
import inspect
import itertools
import os
import pathlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import hydra
import yaml
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fedlab.archive.arms import arm_configs
from fedlab.config import experiment_files, explain
from fedlab.config.choices import config_dir, folders
from fedlab.config.quoting import quoted
from fedlab.errors import ConfigError, did_you_mean
from fedlab.moved import present
from fedlab.registry import studies

if TYPE_CHECKING:
    import pydantic

    from fedlab.run.experiment import Experiment

COMPOSING = (HydraException, OmegaConfBaseException, yaml.YAMLError, ValueError)  # Hydra's errors for a wrong configuration
SEVERAL = ("logger",)  # stages of which a run may have several
EXPECTED = "expect"  # the figures that an experiment file expects (`fedlab.config.expectations`), no option of a run


def compose(overrides: Sequence[str], own: str | None = None) -> DictConfig:
    """Returns the configuration that `fedlab train` composes. `own`: a user's configuration folder. Raises `ConfigError`."""
    return compose_with_choices(overrides, own)[0]


def compose_with_choices(overrides: Sequence[str], own: str | None = None) -> tuple[DictConfig, dict[str, Any]]:
    """Returns the composed configuration, and the choice of each group: a name, or a list of names."""
    found = folders(own)
    experiment_files.check(overrides, found)
    try:
        config = _compose(overrides, found, return_hydra_config=True)
        choices: Any = OmegaConf.to_container(config.hydra.runtime.choices)
        return OmegaConf.masked_copy(config, _of_a_run(config)), choices
    except COMPOSING as error:
        raise ConfigError(why(error, ["-cd", own, *overrides] if own else overrides)) from error


def _compose(overrides: Sequence[str], found: Sequence[pathlib.Path], return_hydra_config: bool = False) -> DictConfig:
    with searching(found), hydra.initialize_config_dir(config_dir=str(config_dir()), version_base="1.3"):
        return hydra.compose("train", quoted(overrides), return_hydra_config)


@dataclasses.dataclass(frozen=True)
class Composition:
    """One composed run, of which nothing is built yet."""

    config: dict[str, Any]  # resolved, as plain values
    name: str
    folder: pathlib.Path  # its default run folder


def compose_run(overrides: Sequence[str], own: str | None = None) -> Composition:
    """Returns the run that `fedlab train` starts with `overrides`. `own`: a user's configuration folder. Raises `ConfigError`."""
    found, is_sweep = compose_any(overrides, own)
    if is_sweep:
        raise ConfigError("this is a sweep, not a single run: start it with fedlab train, or in Python with fedlab.sweep.")
    return found


def compose_any(overrides: Sequence[str], own: str | None = None) -> tuple[Composition, bool]:
    """Returns the run that `fedlab train` starts with `overrides`, and True if it starts a sweep of such runs instead.

    `own`: a user's configuration folder. Raises `ConfigError`.
    """
    found = folders(own)
    experiment_files.check(overrides, found)
    try:
        whole = _compose(overrides, found, return_hydra_config=True)
        settings = whole.hydra
        name, folder = name_of(settings.runtime.choices), pathlib.Path(settings.run.dir)
        config: Any = OmegaConf.to_container(OmegaConf.masked_copy(whole, _of_a_run(whole)), resolve=True)
    except COMPOSING as error:
        raise ConfigError(why(error, ["-cd", own, *overrides] if own else overrides)) from error
    return Composition(config, name, folder), settings.mode == RunMode.MULTIRUN


def each_swept(overrides: Sequence[str]) -> list[list[str]]:
    """Returns the overrides of each job of a sweep: every combination of swept values. Raises `ConfigError`."""
    overrides = quoted(overrides)
    try:
        parsed = OverridesParser.create().parse_overrides(overrides)
    except HydraException as error:
        raise ConfigError(why(error, overrides)) from error
    choices = [
        [f"{o.get_key_element()}={value}" for value in o.sweep_string_iterator()] if o.is_sweep_override() else [text]
        for o, text in zip(parsed, overrides)
    ]
    return [list(chosen) for chosen in itertools.product(*choices)]


def _of_a_run(config: DictConfig) -> list[str]:
    """Returns the keys of a composed configuration that are options of a run."""
    return [str(key) for key in config if key not in ("hydra", EXPECTED)]


def name_of(choices: Mapping[str, Any]) -> str:
    """Returns the name of a run: its experiment, or its data and process."""
    return choices.get("experiment") or f"{choices['data']}/{choices['process']}"


class _OwnFolder(SearchPathPlugin):
    """Makes Hydra search a user's own folder before the shipped one."""

    path: ClassVar[pathlib.Path | None] = None

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        if self.path is not None:
            search_path.prepend("own", f"file://{self.path}", "main")


@contextlib.contextmanager
def searching(found: Sequence[pathlib.Path]) -> Iterator[None]:
    """Makes Hydra search the folders `found`, in this order, within the context."""
    Plugins.instance().register(_OwnFolder)
    _OwnFolder.path = found[0] if len(found) > 1 else None
    try:
        yield
    finally:
        _OwnFolder.path = None


def why(error: BaseException, overrides: Sequence[str] = ()) -> str:
    """Returns one line that explains an error of Hydra or OmegaConf. `overrides`: the words that it is about."""
    return explain.composition_error(error, overrides, catalogue(overrides))


def catalogue(overrides: Sequence[str] = ()) -> explain.Catalogue:
    """Returns the available choices: the shipped ones, and those in a folder given with `-cd`."""
    own = next((v for flag, v in itertools.pairwise(overrides) if flag in ("-cd", "--config-dir") and os.path.isdir(v)), None)
    found = folders(own)
    groups = {path.name for folder in found for path in folder.iterdir() if path.is_dir()}
    choices = [o for o in overrides if o.lstrip("+").partition("=")[0] in groups]

    def chosen() -> DictConfig:
        try:
            return _compose(choices, found)
        except COMPOSING:
            return _compose([], [config_dir()])

    return explain.Catalogue(found, chosen)


def build_experiment(given: DictConfig | Mapping[str, Any]) -> Experiment:
    """Builds and validates every stage of a configuration and of its arms. Raises `ConfigError`."""
    from fedlab.run.experiment import Experiment

    config = _as_config(given)
    config = OmegaConf.masked_copy(config, _of_a_run(config)) if EXPECTED in config else config
    for key, remedy in ((key, remedy) for study in studies() for key, remedy in study.instead.items()):
        if key in config:
            raise ConfigError(remedy)
    try:
        plain = {str(k): config[k] for k in config if not isinstance(config[k], DictConfig)}
        arms = _arms(config)
    except OmegaConfBaseException as error:
        raise ConfigError(why(error)) from error
    stages = [str(k) for k in config if k not in plain and k != "arms"]
    built = {k: build_all(config, k) if k in SEVERAL else build(config, k) for k in stages}
    return _construct(Experiment, {**plain, **built, "arms": {name: _build_arm(name, arm) for name, arm in arms.items()}}, "")


def _as_config(given: DictConfig | Mapping[str, Any]) -> DictConfig:
    return given if isinstance(given, DictConfig) else OmegaConf.create(dict(given))


def _build_arm(name: str, config: DictConfig) -> Experiment:
    try:
        return build_experiment(config)
    except ConfigError as error:
        raise ConfigError(f"arm {name}: {error}") from error


def _arms(config: DictConfig) -> dict[str, DictConfig]:
    """Returns each arm's configuration. Raises `OmegaConfBaseException`, and `ConfigError` for arms that are no overrides."""
    if not config.get("arms"):
        return {}
    plain: Any = OmegaConf.to_container(config, resolve=True)
    for name, overrides in plain["arms"].items():
        if not isinstance(overrides, dict):
            raise ConfigError(
                f"arms.{name}={overrides}: an arm lists the options that it overrides, such as +arms.{name}.client.batch_size=10."
            )
        for stage, value in overrides.items():
            if stage not in plain:
                raise ConfigError(
                    f"no option 'arms.{name}.{stage}'.{did_you_mean(stage, plain)} An arm has the options of a run."
                )
            if isinstance(plain[stage], dict) and isinstance(value, str):
                raise ConfigError(
                    f"arms.{name}.{stage}={value}: to choose a {stage} for an arm, write +{stage}@arms.{name}.{stage}={value}."
                )
    return {name: OmegaConf.create(arm) for name, arm in arm_configs(plain).items()}


def build_all(config: DictConfig, stage: str) -> dict[str, Any]:
    """Builds each node below `stage`, for a stage that may have several, such as loggers."""
    return {str(name): build(config[stage], str(name), f"{stage}.{name}") for name in config[stage]}


def build(config: DictConfig | Mapping[str, Any], name: str, stage: str | None = None) -> Any:
    """Builds the `_target_` of the node `name` of `config`: a `Spec`, or a user's own function with its options bound.

    `stage`: the node's key in the whole configuration. Raises `ConfigError` in one line that names the key, the value, and the
    allowed values.
    """
    node, stage = _as_config(config).get(name), stage or name
    if not isinstance(node, DictConfig) or not isinstance(node.get("_target_"), str):
        raise ConfigError(f"{stage} has no {stage}._target_, which names the class to build: choose one with {stage}=NAME.")
    try:
        container: Any = OmegaConf.to_container(node, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise ConfigError(why(error)) from error
    return _built(container, stage)


def _built(node: Mapping[str, Any], stage: str) -> Any:
    """Builds a node with a `_target_`, and the nodes with one among its options."""
    import pydantic

    options = {str(k): _with_parts(v, f"{stage}.{k}") for k, v in node.items() if k != "_target_"}
    target = locate(node["_target_"], stage)
    if inspect.isclass(target) and issubclass(target, pydantic.BaseModel):
        return _construct(target, options, stage)
    try:
        inspect.signature(target).bind_partial(**options)
    except TypeError as error:
        parameters = inspect.signature(target).parameters
        foreign = " ".join(f"~{stage}.{option}" for option in options if option not in parameters)
        remedy = f" Leave out what it does not take: {foreign}" if foreign else ""
        raise ConfigError(f"{stage}: {error}; {target.__name__} takes {', '.join(parameters)}.{remedy}") from error
    return functools.partial(target, **options)


def _with_parts(value: Any, key: str) -> Any:
    """Returns an option's value, in which each mapping with a `_target_` is replaced by the component that it describes."""
    if isinstance(value, list):
        return [_with_parts(item, f"{key}[{i}]") for i, item in enumerate(value)]
    if not isinstance(value, dict):
        return value
    if isinstance(value.get("_target_"), str):
        return _built(value, key)
    return {k: _with_parts(v, f"{key}.{k}") for k, v in value.items()}


def locate(path: str, stage: str) -> Any:
    """Returns the class or function at a dotted path: a component of fedlab, or a user's own, also from the current folder."""
    from fedlab.spec import is_of_fedlab

    own = not is_of_fedlab(path)
    if own:
        _find_modules_here()
    module, _, name = present(path).rpartition(".")
    try:
        target = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        where = ""
        if own and isinstance(error, ModuleNotFoundError) and error.name and f"{path}.".startswith(f"{error.name}."):
            where = f" Start fedlab in the folder that contains {module.partition('.')[0]}, or add that folder to PYTHONPATH."
        raise ConfigError(f"{stage}._target_={path} cannot be imported: {error}.{where}") from error
    if not own and not _is_component(target):
        raise ConfigError(f"{stage}._target_={path} is no component of fedlab: choose one with {stage}=NAME.")
    if not own and target.reaches_out:
        _find_modules_here()
    if inspect.isabstract(target):
        lacks = ", ".join(sorted(target.__abstractmethods__))
        base = "is a base class and cannot be built" if not own else "cannot be built"
        raise ConfigError(f"{stage}._target_={path} {base}: it lacks {lacks}.")
    if not callable(target):
        raise ConfigError(f"{stage}._target_={path} cannot be built: it must be a class or a function.")
    return target


def _find_modules_here() -> None:
    """Makes modules in the current folder importable, after all others. Call it only for configurations that name such modules,
    because the folder may contain anything."""
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())


def _is_component(target: Any) -> bool:
    """Returns True if a configuration may name `target` of fedlab: a class of options that is defined in fedlab."""
    from fedlab.spec import Spec, is_of_fedlab

    return inspect.isclass(target) and issubclass(target, Spec) and is_of_fedlab(target.__module__)


def _construct(target: type[pydantic.BaseModel], options: dict, stage: str) -> Any:
    import pydantic

    try:
        return target(**options)
    except pydantic.ValidationError as error:
        from fedlab.run.experiment import Experiment

        needed = getattr(Experiment.model_fields.get(stage), "annotation", None)
        if explain.is_plain_class(needed) and not issubclass(target, needed):  # its options are those of another stage
            raise ConfigError(explain.wrong_kind(target, stage, needed)) from error
        raise ConfigError(explain.validation_error(error, stage, target.model_fields, catalogue())) from error
