"""What `fedlab data misclassification` and `fedlab data filter` have in common: a classifier, and the users it is tried on."""

from __future__ import annotations

import argparse
import dataclasses
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fedlab.archive import read_run
from fedlab.cli import config as configuration
from fedlab.cli import recorded, trusting
from fedlab.errors import ConfigError

if TYPE_CHECKING:
    from fedlab.run.population import Judged, Population

STAGES = ("seed", "data", "partition", "corruption")


@dataclasses.dataclass(frozen=True)
class Subject:
    """A classifier's file, and the population it has been tried on."""

    model: pathlib.Path
    sha256: str
    population: Population
    judged: Judged


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="the folder of a run that has finished, or a .keras file")
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="of the run's data, partition, corruption and seed")
    trusting.add_argument(parser)
    parser.add_argument("-cd", "--config-dir", metavar="FOLDER", help="your own configuration folder, as for fedlab train")


def subject(args: argparse.Namespace) -> Subject:
    """Reads the data and tries the classifier on it. Raises `FedlabError`, before any of that for wrong words."""
    path = pathlib.Path(args.run)
    if path.is_file():
        model, config = path, {}
    else:
        run = read_run(path)
        model, config = run.folder.model, run.config
        if not model.is_file():
            raise ConfigError(f"{path} has no {model.name} in it: a classifier's run leaves it when it has finished.")
        run.check(model)
    stages = _stages(config, path, args.overrides, args.config_dir)
    return tried(model, stages)


def tried(model: pathlib.Path, stages: DictConfig) -> Subject:
    """`stages`: a configuration that has at least `STAGES`."""
    source, partitioner, corruption = (configuration.build(stages, name) for name in STAGES[1:])
    from fedlab.run.population import judge, load_population
    from fedlab.run.start import start_tensorflow

    population = load_population(source, partitioner, corruption, stages.seed)
    start_tensorflow("auto", expected_clients=1)
    from fedlab.evaluation.saved import SavedClassifier

    classifier = SavedClassifier(model)
    return Subject(model, classifier.sha256, population, judge(classifier, population))


def _stages(config: dict[str, Any], where: pathlib.Path, overrides: Sequence[str], own: str | None) -> DictConfig:
    """The stages of a run's `config`, {} for none, with `overrides`: chosen anew where they name a choice, else key by key.

    `where`: the run's folder, whose configuration the user may have to trust.
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
    given: dict[Any, Any] = {**{s: composed[s] for s in STAGES}, **recorded.trusted(kept, where)}
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
