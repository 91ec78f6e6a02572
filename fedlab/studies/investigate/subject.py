"""A classifier, and the users on whose examples it is tested."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fedlab.archive import read_run
from fedlab.config import composing as configuration
from fedlab.errors import ConfigError
from fedlab.run import recorded

if TYPE_CHECKING:
    from fedlab.studies.investigate.population import Measured, Population

STAGES = ("seed", "data", "partition", "corruption")


@dataclasses.dataclass(frozen=True)
class Subject:
    """A classifier's file, and the population on which it was tested."""

    model: pathlib.Path
    sha256: str
    population: Population
    measured: Measured


def read_subject(path: pathlib.Path, overrides: Sequence[str], own: str | None) -> Subject:
    """Reads the data and tests the classifier on it. Raises `FedlabError`.

    `path`: the folder of a finished run, or a .keras file; `overrides`: of the data, partition, corruption and seed of the run;
    `own`: a user's configuration folder.
    """
    if path.is_file():
        model, config, code = path, {}, None
    else:
        run = read_run(path)
        model, config, code = run.folder.model, run.config, run.manifest.get("code")
        if not model.is_file():
            raise ConfigError(f"{path} has no {model.name} in it: a classifier's run leaves it when it has finished.")
        run.check(model)
    stages = _stages(config, path, code, overrides, own)
    return tried_subject(model, stages)


def tried_subject(model: pathlib.Path, stages: DictConfig) -> Subject:
    """Tests `model` on the data of `stages`, a configuration with at least `STAGES`."""
    source, partitioner, corruption = (configuration.build(stages, name) for name in STAGES[1:])
    from fedlab.run.start import start_tensorflow
    from fedlab.studies.investigate.population import load_population, measure

    population = load_population(source, partitioner, corruption, stages.seed)
    start_tensorflow("auto", expected_clients=1)
    from fedlab.evaluation.saved import SavedClassifier

    classifier = SavedClassifier(model)
    return Subject(model, classifier.sha256, population, measure(classifier, population))


def _stages(
    config: dict[str, Any], where: pathlib.Path, code: str | None, overrides: Sequence[str], own: str | None
) -> DictConfig:
    """Returns the stages of a run's `config` ({} for none) with `overrides`: GROUP=CHOICE replaces a stage, KEY=VALUE an option.

    `where`: the run's folder, whose configuration the user may have to trust; `code`: see `recorded.trusted`.
    """
    names = [o.lstrip("+~").partition("=")[0] for o in overrides]
    groups = set(configuration.catalogue(["-cd", own] if own else []).groups())
    chosen = {name for name in names if name in groups}
    for override, name in zip(overrides, names):
        stage = name.partition(".")[0]
        if "=" not in override or stage not in (*STAGES, "experiment"):
            raise ConfigError(f"'{override}' is no option of {', '.join(STAGES[1:])} or the seed.")
    anew = [o for o, name in zip(overrides, names) if not config or "experiment" in chosen or name.partition(".")[0] in chosen]
    composed = configuration.compose(anew, own)
    kept = {} if "experiment" in chosen else {s: config[s] for s in STAGES if s in config and s not in chosen}
    given: dict[Any, Any] = {**{s: composed[s] for s in STAGES}, **recorded.trusted(kept, where, code)}
    stages = OmegaConf.create(given)
    try:
        for override in (o for o in overrides if o not in anew):
            key, _, value = override.lstrip("+").partition("=")
            OmegaConf.update(stages, key, OmegaConf.from_dotlist([f"value={value}"]).value)
    except OmegaConfBaseException as error:
        raise ConfigError(configuration.why(error, overrides)) from error
    if not isinstance(stages.seed, int) or stages.seed < 0:
        raise ConfigError(f"seed={stages.seed}: must be an integer from 0 up.")
    return stages
