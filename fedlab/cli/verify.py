"""`fedlab verify RUN`: runs it again from its manifest alone and compares the weights round by round."""

from __future__ import annotations

import argparse
import pathlib
from collections.abc import Sequence

from rich.console import Console

from fedlab.archive import Run, read_run
from fedlab.archive.metrics import Record
from fedlab.archive.reading import without_inventory
from fedlab.cli import config as configuration
from fedlab.cli import recorded, trusting
from fedlab.cli.display import RoundDisplay
from fedlab.cli.job import read, relative, require_same_data, require_whole, secrets_of
from fedlab.cli.parsing import Parser
from fedlab.errors import FedlabError
from fedlab.run import environment
from fedlab.run.interrupt import Interruption


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number of at least 1")
    return int(text)


def main(argv: Sequence[str]) -> int:
    """0 where every round gave the same bits. Raises `FedlabError` at the first that did not, with what else is different."""
    parser = Parser("fedlab verify", description=__doc__.partition(": ")[2])
    parser.add_argument("run", metavar="RUN", help="the folder of a run")
    parser.add_argument("--rounds", type=_count, metavar="N", help="the first N rounds only")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress display")
    trusting.add_argument(parser)
    args = parser.parse(argv)
    run, console = read_run(pathlib.Path(args.run)), Console(quiet=args.quiet)
    require_whole(run)
    run.check()
    records = run.records()[: args.rounds]
    if not records:
        raise FedlabError(f"{relative(run.path)} has no round to compare: metrics.jsonl holds none.")
    unhashed = next((record["round"] for record in records if "weights_hash" not in record), None)
    if unhashed is not None:
        raise FedlabError(f"{run.folder.metrics} is damaged: round {unhashed} has no weights_hash in it.")
    if not run.manifest["reproducible"]:
        raise FedlabError(f"{relative(run.path)} cannot be reproduced: its engine or its secure sums draw from no seed.")
    changes = _verify(run, records, console)
    print(f"{relative(run.path)}: all {len(records)} rounds gave the same bits in every weight ({records[-1]['weights_hash']})")
    unnoticed = without_inventory([run])
    for change in [*changes, *([unnoticed] if unnoticed else [])]:
        print(f"  although: {change}")
    return 0


def _verify(run: Run, records: Sequence[Record], console: Console) -> list[str]:
    """Computes the rounds of `records` again. Returns what is new in the environment; raises `FedlabError` at a difference."""
    # With the planned number of rounds, from which noise and schedules may follow, however many are compared
    experiment = configuration.build_experiment(recorded.trusted({**run.config, "logger": {}}, run.path))
    secrets = secrets_of(run, experiment)
    inputs = read(experiment, console)
    require_same_data(run, inputs)
    from fedlab.run.learners import build_learner

    changes = environment.differences(run.manifest, environment.describe())
    learner = build_learner(experiment, inputs.dataset, inputs.partition, inputs.arms, secrets)
    display = None if console.quiet else RoundDisplay(len(records), console)
    try:
        if learner.num_rounds < len(records):
            raise FedlabError(f"the run goes on for {learner.num_rounds:,} rounds now. {_listed(changes)}")
        with Interruption() as interruption:
            for then, now in zip(records, learner.rounds(1)):
                if now["weights_hash"] != then["weights_hash"]:
                    hashes = f"the weights are {now['weights_hash']}, and were {then['weights_hash']}"
                    raise FedlabError(f"round {now['round']}: {hashes}. {_listed(changes)}")
                if display:
                    display.log(now)
                interruption.check()
    finally:
        if display:
            display.close()
        learner.close()
    return changes


def _listed(changes: list[str]) -> str:
    return f"Not as it was: {'; '.join(changes)}." if changes else "The environment is as it was: this is a bug of fedlab's."
