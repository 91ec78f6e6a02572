"""`fedlab data`: the help of its actions, such as `fedlab data list`, and the configuration of a data set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fedlab.cli.verbs import actions_of
from fedlab.config import choices
from fedlab.console.parsing import Parser
from fedlab.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from omegaconf import DictConfig


def parser() -> Parser:
    """Returns the parser."""
    usages = " | ".join(action.help for action in actions_of("data").values())
    made = Parser(
        "fedlab data",
        usage=f"fedlab data {usages}",
        description="Lists data sets, fetches them, shows how one is divided among clients, and for which users a classifier "
        "has a low accuracy.",
        epilog="Each action takes --help.",
    )
    made.add_argument("action", metavar="ACTION", nargs="?", help="one of the actions above")
    return made


def main(argv: Sequence[str]) -> int:
    """Prints the help; `fedlab.cli.main` calls the actions. Returns the exit code; raises `ConfigError` for another action."""
    made, actions = parser(), actions_of("data")
    if not argv:
        made.print_help()
        return ConfigError.exit_code
    if not argv[0].startswith("-"):
        raise ConfigError(f"no action '{argv[0]}'.{did_you_mean(argv[0], actions)} Actions: {', '.join(actions)}.")
    made.parse(argv)
    return 0


def names() -> list[str]:
    """Returns the data sets in the configuration group `data`."""
    return sorted(path.stem for path in (choices.config_dir() / "data").glob("*.yaml"))


def config_of(name: str, directory: str | None) -> DictConfig:
    """Returns the configuration of a data set. Raises `ConfigError` for an unknown name."""
    if name not in names():
        raise ConfigError(f"no data set '{name}'.{did_you_mean(name, names())} Data sets: {', '.join(names())}.")
    from omegaconf import OmegaConf

    config = OmegaConf.create({"data": OmegaConf.load(choices.config_dir() / "data" / f"{name}.yaml")})
    if directory:
        config.data.dir = directory
    return config


def add_dir(parser: Parser) -> None:
    """Adds --dir, the data directory."""
    parser.add_argument("--dir", metavar="FOLDER", help="the data directory (default: $FEDLAB_DATA_DIR, else ~/.cache/fedlab)")
