"""`fedlab attack RUN attack=model_inversion …`: attacks a finished run from its folder, and writes its report anew."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

from rich.console import Console

from fedlab.archive import Run, inventory, read_run
from fedlab.archive.folder import relative
from fedlab.archive.lock import RunLock
from fedlab.attacks import Attack, NoAttack
from fedlab.cli import config as configuration
from fedlab.cli import recorded, trusting
from fedlab.cli.job import read, require_same_data, require_whole, say
from fedlab.cli.parsing import Parser
from fedlab.errors import ConfigError, FedlabError
from fedlab.report import words
from fedlab.report.page import write_report


def main(argv: Sequence[str]) -> int:
    """Returns the exit code; raises `FedlabError` where the run cannot be attacked so."""
    parser = Parser("fedlab attack", description=__doc__.partition(": ")[2])
    parser.add_argument("run", metavar="RUN", help="the folder of a finished run, or RUN:ARM for one of its arms")
    parser.add_argument("options", metavar="attack.KEY=VALUE", nargs="*", help="default: attack=model_inversion")
    parser.add_argument("--arm", metavar="NAME", help="one of the run's arms; default: all of them")
    parser.add_argument("-q", "--quiet", action="store_true", help="prints nothing")
    trusting.add_argument(parser)
    args = parser.parse(argv)
    spec = _spec(args.options)
    path, arm = split(args.run, args.arm)
    run, console = read_run(path), Console(quiet=args.quiet)
    if run.status != "finished":
        raise FedlabError(f"{relative(run.path)} is {run.status}: only a run that has finished can be attacked.")
    with RunLock(run.folder.lock):
        with inventory.amending(run.folder):
            run.check()
            figures = _attack(run, arm, spec, console)
        for metric, value in figures.items():
            say(console, f"{words.metric_label(metric)}: {words.metric_value(metric, value)}")
        say(console, f"report: {relative(write_report(run.path))}")  # reads what the inventory names now
    return 0


def _spec(options: Sequence[str]) -> Attack:
    """The attack that `options` name. Raises `ConfigError`."""
    for option in options:
        key = option.lstrip("+").partition("=")[0]
        if "=" not in option or key.partition(".")[0] != "attack":
            raise ConfigError(f"'{option}' is no option of an attack: give attack=NAME or attack.KEY=VALUE.")
    chosen = [] if any(o.startswith("attack=") for o in options) else ["attack=model_inversion"]
    spec = configuration.build(configuration.compose([*chosen, *options]), "attack")
    if isinstance(spec, NoAttack):
        raise ConfigError("attack=none: name an attack, such as attack=model_inversion.")
    return spec


def split(run: str, arm: str | None) -> tuple[pathlib.Path, str | None]:
    """The folder and the name of the arm, which may be part of `run`."""
    path, colon, name = run.rpartition(":")
    if arm is None and colon and not pathlib.Path(run).exists():
        return pathlib.Path(path), name
    return pathlib.Path(run), arm


def _attack(run: Run, arm: str | None, spec: Attack, console: Console) -> dict[str, float]:
    """The figures that the summary gets."""
    require_whole(run)
    if arm is not None:
        run.arm(arm)  # says which there are
    config = recorded.trusted({**run.config, "logger": {}}, run.path)
    experiment = configuration.build_experiment(config)
    chosen = [experiment.arms[arm]] if arm else list(experiment.arms.values()) or [experiment]
    for one in chosen:
        spec.check(one.secure.observe)
    inputs = read(experiment, console)
    require_same_data(run, inputs)
    from fedlab.run.attack import attack_run

    return attack_run(experiment, (inputs.dataset, inputs.partition), inputs.arms, run.folder, spec, arm)
