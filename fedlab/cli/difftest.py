"""`fedlab difftest RUN_A RUN_B`: do two finished runs' models differ? Client by client, with an exit code for CI."""

from __future__ import annotations

import argparse
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from fedlab.archive import Run, read_run
from fedlab.archive.difftest import ClientDifference, write_differences
from fedlab.archive.folder import relative
from fedlab.archive.verdict import DIFFERENT, EQUAL, UNDECIDED, Comparison, interval, points
from fedlab.cli import config as configuration
from fedlab.cli import recorded, trusting
from fedlab.cli.output import writable
from fedlab.cli.parsing import Parser
from fedlab.cli.tables import print_table
from fedlab.errors import ConfigError, DataError, FedlabError
from fedlab.report import words
from fedlab.types import ExampleSet, Partition

EXIT_CODES = {EQUAL: 0, DIFFERENT: 4, UNDECIDED: 5}
_MOST_ROWS = 30
_EPILOG = """\
RUN may be RUN:ARM for an arm of a run. Each model sees the examples as the data stage of its own run gives them.
exit codes: 0 equal, 4 different, 5 undecided, neither being shown; 1, 2 and 3 are errors, as for every verb.
--tolerance 0 asks for equal scores: whatever is not equal is then different or undecided."""


def main(argv: Sequence[str]) -> int:
    """Returns the exit code of the verdict; raises `FedlabError`."""
    args = _parser().parse(argv)
    csv, html = writable("--csv", args.csv), writable("--html", args.html)
    runs = [_finished(path) for path in args.runs]
    spec = _spec(args)
    file = None if args.data in ("clients", "test") else _examples(args.data)
    comparison, scores = _compared(spec, runs, args.data, file, args.seed)
    a, b = _names(args.runs)
    _print(comparison)
    print(comparison.told(a, b))
    if csv:
        write_differences(csv, comparison.rows)
    if html:
        from fedlab.report.difftest_page import write_difftest

        write_difftest(html, tuple(args.runs), (a, b), args.data, spec.model_dump(), comparison.rows, scores)
        print(f"page in {relative(html)}")
    return EXIT_CODES[comparison.verdict]


def _parser() -> Parser:
    parser = Parser(
        "fedlab difftest",
        description=__doc__.partition(": ")[2],
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("runs", nargs=2, metavar="RUN", help="the folder of a finished run; the first is the reference")
    parser.add_argument(
        "--data",
        default="clients",
        metavar="clients|test|FILE.npz",
        help="every client's own examples (default), the test set, or x, y and optionally user_ids from a file",
    )
    trusting.add_argument(parser)
    parser.add_argument("--tolerance", metavar="SHARE", help="of a client's examples by which the models may differ (0.02)")
    parser.add_argument("--score-tolerance", metavar="P", help="probabilities that differ by no more are the same (0.001)")
    parser.add_argument("--alpha", metavar="P", help="chance of finding a difference where there is none (0.05)")
    parser.add_argument("--bootstrap", metavar="N", help="resamples for each interval (2000)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the resampling (0)")
    parser.add_argument("--csv", metavar="FILE", type=pathlib.Path, help="also writes a row per client")
    parser.add_argument("--html", metavar="FILE", type=pathlib.Path, help="also writes a page")
    return parser


def _spec(args: argparse.Namespace) -> Any:
    """The options as a `Difftest`, which checks them."""
    import pydantic

    from fedlab.difftest import Difftest

    given = {name: getattr(args, name) for name in ("tolerance", "score_tolerance", "alpha", "bootstrap")}
    if args.seed < 0:
        raise ConfigError(f"--seed {args.seed}: it must be at least 0.")
    try:
        return Difftest(**{name: value for name, value in given.items() if value is not None})
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        flag = f"--{str(first['loc'][0]).replace('_', '-')}"
        raise ConfigError(f"{flag} {first['input']}: {first['msg'][0].lower()}{first['msg'][1:]}.") from error


def _finished(path: str) -> Run:
    """The run, or the arm, that `path` names. Raises `FedlabError` for one that has no model yet."""
    name, _, arm = path.rpartition(":")
    run = read_run(name).arm(arm) if name and not pathlib.Path(path).exists() else read_run(path)
    if run.arms:
        raise ConfigError(f"{path} is a run with arms: name one of them, such as {path}:{run.arms[0]}.")
    if not run.folder.model.is_file():
        raise FedlabError(
            f"{relative(run.path)} has no model.keras: only a run that has finished can be compared, "
            "with one classifier for all clients."
        )
    run.check(run.folder.model)
    return run


def _names(paths: Sequence[str]) -> tuple[str, str]:
    """What to call the two: as short as tells them apart."""
    short = [pathlib.Path(path).name or path for path in paths]
    return (short[0], short[1]) if short[0] != short[1] else (paths[0], paths[1])


def _examples(path: str) -> tuple[ExampleSet, Partition]:
    """A user's own file, a client per user."""
    from fedlab.data import Npz
    from fedlab.partition import ByUser

    if not path.endswith(".npz"):
        raise ConfigError(f"--data {path}: give clients, test, or an .npz file.")
    examples = Npz(path=path).examples()
    if examples.user_ids is None:
        return examples, Partition((path,), (np.arange(len(examples)),))
    return examples, ByUser()(examples, 0)


def _compared(
    spec: Any, runs: Sequence[Run], data: str, file: tuple[ExampleSet, Partition] | None, seed: int
) -> tuple[Comparison, list[tuple[str, float, float]]]:
    """The comparison, and a sample of scores."""
    experiments = [configuration.build_experiment(recorded.trusted(run.config, run.path)) for run in runs]
    from fedlab.difftest.comparison import ClientOutputs, compare, sampled_scores
    from fedlab.run.finished import Finished
    from fedlab.run.start import start_tensorflow

    models = [Finished(run, experiment) for run, experiment in zip(runs, experiments)]
    chosen = [file if file else model.test() if data == "test" else model.clients() for model in models]
    (examples, partition), (others, other_partition) = chosen
    same = len(examples) == len(others) and len(partition) == len(other_partition)
    same = same and all(map(np.array_equal, partition.indices, other_partition.indices))
    if not same or not np.array_equal(examples.y, others.y):  # images may differ, by a bug that is put into some
        raise DataError(
            f"the two runs do not have the same {'test set' if data == 'test' else 'examples on the same clients'}: "
            "compare runs with the same data, partition and seed, or give --data FILE.npz."
        )
    start_tensorflow("cpu", 1)
    used = np.concatenate(partition.indices)
    ends = np.cumsum(partition.sizes)[:-1]
    a, b = (np.split(m.probabilities(e.x[used]), ends) for m, e in zip(models, (examples, others)))
    labels = [examples.y[mine] for mine in partition.indices]
    outputs = [ClientOutputs(*client) for client in zip(partition.client_ids, labels, a, b)]
    sampled = sampled_scores(outputs, spec.scores, seed)
    return compare(spec, outputs, runs[1].rounds_completed, seed), [(c, float(x), float(y)) for c, x, y in zip(*sampled)]


def _print(comparison: Comparison) -> None:
    """All clients where they fit, else those that are least equal; then all examples together."""
    heads = [
        "client",
        "examples",
        "classes differ",
        "scores differ",
        "largest",
        "accuracy",
        "difference",
        "interval",
        "p",
        "verdict",
    ]
    clients = sorted(comparison.clients, key=_smallest_p)[:_MOST_ROWS]
    shown = [row for row in comparison.clients if row in clients]
    left_out = len(comparison.clients) - len(shown)
    title = "Examples whose class and whose scores differ; accuracy of a, difference to b in points; smallest p (Holm)"
    if left_out:
        title += f"; the {len(shown)} clients least alike of {len(comparison.clients):,}"
    print_table(heads, [_cells(row) for row in [*shown, comparison.all]], heads[1:-1], title)
    print()


def _smallest_p(row: ClientDifference) -> float:
    return min(row.p_mcnemar_holm, row.p_ks_holm, row.p_chi2_holm)


def _cells(row: ClientDifference) -> list[str]:
    return [
        row.client,
        f"{row.examples:,}",
        f"{row.delta_class:,}",
        f"{row.delta_score:,}",
        f"{row.largest_score_difference:.1e}",
        words.percent(row.accuracy_a),
        points(row.accuracy_difference),
        interval(row),
        f"{_smallest_p(row):.2g}" if _smallest_p(row) else "< 1e-300",
        f"{row.verdict}: {row.found.replace(' ', ', ')}" if row.found else row.verdict,
    ]
