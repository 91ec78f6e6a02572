"""The table of results for a paper: a row per group of runs, mean ± standard deviation over seeds, the best, and significance."""

from __future__ import annotations

import dataclasses
import itertools
import math
import pathlib
import statistics
from collections.abc import Mapping, Sequence

from fedlab.archive import Run
from fedlab.archive.figures import check_targets, cost_to, epsilon, final_figures, ranked_metric, rounds_to_of, targets_of
from fedlab.archive.folder import relative
from fedlab.archive.reading import Arm
from fedlab.archive.task import learned
from fedlab.errors import ConfigError, FedlabError, did_you_mean
from fedlab.report import words
from fedlab.report.comparison import NO_METRIC, caveats
from fedlab.report.grouping import RunGroup, grouped, setting_columns
from fedlab.report.quantities import Quantity, quantity
from fedlab.report.significance import ALPHA, CONSTANT, FEWEST, TOO_FEW, holm, paired
from fedlab.targets import Cost, cost_in, cost_named, named, target_in

BEST, DIFFERENT, ALIKE = "best", "significant", "not significant"


@dataclasses.dataclass(frozen=True)
class Cell:
    """A metric over the runs of a group: mean, sample standard deviation (None for one run), number of runs.

    `test`: "best" for the best mean; for another, the outcome of its test against the best: "significant", "not significant",
    "too few seeds" or "constant difference"; "" for a metric without a best. `p`: corrected; None without a test.
    """

    mean: float
    deviation: float | None
    count: int
    test: str = ""
    p: float | None = None


@dataclasses.dataclass(frozen=True)
class Missing:
    """A metric that a group does not have, in words."""

    text: str = words.NONE


@dataclasses.dataclass(frozen=True)
class Row:
    """A group of runs. `settings`: the values that identify it, in words; `cells`: one per metric."""

    settings: tuple[str, ...]
    seeds: tuple[int, ...]
    cells: tuple[Cell | Missing, ...]


@dataclasses.dataclass(frozen=True)
class Results:
    """A table. `keys`: the options that identify groups, `names`: the same in short; `quantities`: the display of `metrics`.

    `notes`: how to read the table, in sentences: means, the best, the test; `left_out`: a sentence per run that is left out;
    `caveats`: of the comparison, in sentences.
    """

    keys: tuple[str, ...]
    names: tuple[str, ...]
    metrics: tuple[str, ...]
    quantities: tuple[Quantity, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    left_out: tuple[str, ...]
    caveats: tuple[str, ...]

    @property
    def remarks(self) -> tuple[str, ...]:
        """Returns the sentences on runs that are left out, and the caveats."""
        return (*self.left_out, *self.caveats)

    @property
    def counts(self) -> set[int]:
        """Returns the numbers of runs of the rows."""
        return {len(row.seeds) for row in self.rows}


def results(runs: Sequence[Run], metrics: Sequence[str] = (), targets: Sequence[float] = ()) -> Results:
    """Returns the table of the runs that have finished. Rows are groups of runs that differ in their seed alone.

    `metrics`: final metrics such as bytes_up_total, or rounds_to[TARGET], bytes_to[TARGET] and the like; (): the metric
    that ranks runs, the loss, rounds_to[TARGET] of all `targets` and of those that the runs ask for, and ε. Raises `ConfigError`
    for a metric that no run has, `FedlabError` if no run has finished.
    """
    costs = [found for name in metrics if (found := cost_in(name))]
    asked = [*targets, *(target for _, target in costs)]
    finished = [run for run in runs if run.status == "finished"]
    if not finished:
        raise FedlabError("no run has finished: a table contains final metrics of finished runs only.")
    check_targets(finished, asked)
    asked = list(dict.fromkeys([*targets, *(target for run in finished for target in targets_of(run))]))
    groups, task = grouped(finished), learned(finished[0].manifest)
    figures = {run.path: _figures(run, asked, costs) for run in finished}
    there = list(dict.fromkeys(name for found in figures.values() for name in found))
    chosen = _chosen(metrics, there, ranked_metric(task), [named(target) for target in asked])
    same_task = all(learned(run.manifest) == task for run in finished)
    columns, quantities = [], []
    for name in chosen:
        values = [value for found in figures.values() if (value := found.get(name)) is not None]
        shown = quantity(name, task, values)
        shown = shown if same_task else dataclasses.replace(shown, more_is_better=None)
        quantities.append(shown)
        columns.append(_column(groups, figures, name, shown.more_is_better))
    keys, names, settings = setting_columns(groups)
    rows = [Row(tuple(s), tuple(g.seeds), tuple(cells)) for s, g, cells in zip(settings, groups, zip(*columns))]
    left_out = tuple(_left_out(run) for run in runs if run.status != "finished")
    notes = _notes(groups, [cell for row in rows for cell in row.cells if isinstance(cell, Cell)])
    spoiling = tuple(caveats(finished, groups))
    return Results(tuple(keys), tuple(names), tuple(chosen), tuple(quantities), tuple(rows), tuple(notes), left_out, spoiling)


def _figures(run: Run, targets: Sequence[float], costs: Sequence[tuple[Cost, float]]) -> dict[str, float | None]:
    found: dict[str, float | None] = {
        name: value for name, value in final_figures(run).items() if name not in NO_METRIC and target_in(name) is None
    }
    if (spent := epsilon(run)) is not None:
        found["epsilon"] = spent
    return {**found, **rounds_to_of(run, targets), **{cost_named(*cost): cost_to(run, *cost) for cost in costs}}


def _chosen(metrics: Sequence[str], there: Sequence[str], ranked: str, reached: Sequence[str]) -> list[str]:
    named_alike = [cost_named(*cost) if (cost := cost_in(name)) else name for name in metrics]
    for name in named_alike:
        if name not in there:
            raise ConfigError(f"no finished run has a metric {name}.{did_you_mean(name, there)} Metrics: {', '.join(there)}.")
    chosen = named_alike or [name for name in (ranked, "test_loss", *reached, "epsilon") if name in there] or there[:1]
    if not chosen:
        raise FedlabError("the finished runs have no metrics in summary.json.")
    return list(dict.fromkeys(chosen))


def _column(
    groups: Sequence[RunGroup], figures: Mapping[pathlib.Path, Mapping[str, float | None]], name: str, more_is_better: bool | None
) -> list[Cell | Missing]:
    """Returns the cells of a metric, with the best and the tests of the others against it."""
    cells: list[Cell | Missing] = []
    for group in groups:
        values = [figures[run.path].get(name) for run in group.runs]
        known = [value for value in values if value is not None]
        if cost_in(name) and len(known) < len(values):
            few = f" by {len(values) - len(known)} of {len(values)}" if len(values) > 1 else ""
            cells.append(Missing(f"{words.NOT_REACHED}{few}"))
        elif any(map(math.isinf, known)):  # an ε without a guarantee
            cells.append(Missing("∞"))
        elif known and len(known) < len(values):  # the mean of the others would hide a run that diverged
            cells.append(Missing(f"missing in {len(values) - len(known)} of {len(values)}"))
        elif known:
            cells.append(Cell(statistics.fmean(known), statistics.stdev(known) if len(known) > 1 else None, len(known)))
        else:
            cells.append(Missing())
    complete = all(isinstance(cell, Cell) for cell in cells) or cost_in(name) is not None
    scored = [i for i, cell in enumerate(cells) if isinstance(cell, Cell)]
    if more_is_better is None or not complete or len(groups) < 2 or not scored:
        return cells
    by_seed = [_by_seed(group, figures, name) for group in groups]
    return _tested(cells, scored, by_seed, 1 if more_is_better else -1)


def _tested(
    cells: Sequence[Cell | Missing], scored: Sequence[int], by_seed: Sequence[Mapping[int, float]], sign: int
) -> list[Cell | Missing]:
    """Returns the cells with the outcomes of their tests.

    The correction is over all pairs of groups, because the same data choose the best of them.
    """
    means = {i: sign * cell.mean for i in scored if isinstance(cell := cells[i], Cell)}
    best = max(scored, key=lambda i: means[i])
    if min(means.values()) == means[best] and len(scored) > 1:
        return list(cells)  # all are equal
    outcomes = {pair: paired(by_seed[pair[0]], by_seed[pair[1]]) for pair in itertools.combinations(scored, 2)}
    possible = [pair for pair, (p, _) in outcomes.items() if p is not None]
    corrected = dict(zip(possible, holm([p for pair in possible if (p := outcomes[pair][0]) is not None])))
    found = list(cells)
    for i in scored:
        cell, pair = found[i], (min(i, best), max(i, best))
        assert isinstance(cell, Cell)
        if means[i] == means[best]:
            found[i] = dataclasses.replace(cell, test=BEST)
        elif pair in corrected:
            test = DIFFERENT if corrected[pair] < ALPHA else ALIKE
            found[i] = dataclasses.replace(cell, test=test, p=corrected[pair])
        else:
            found[i] = dataclasses.replace(cell, test=outcomes[pair][1])
    return found


def _by_seed(group: RunGroup, figures: Mapping[pathlib.Path, Mapping[str, float | None]], name: str) -> dict[int, float]:
    """Returns the metric by seed; seeds that several runs of the group have are left out, because their pairs are ambiguous."""
    seeds = group.seeds
    pairs = [(seed, figures[run.path].get(name)) for seed, run in zip(seeds, group.runs) if seeds.count(seed) == 1]
    return {seed: value for seed, value in pairs if value is not None}


def _left_out(run: Run) -> str:
    place = f"{relative(run.root)}:{run.path.name}" if isinstance(run, Arm) else relative(run.path)
    ended = {"interrupted": "was interrupted", "running": "is running,"}.get(run.status, run.status)
    return f"Left out of tables: {place} {ended} after {run.rounds_completed:,} of {run.manifest['num_rounds']:,} rounds."


def _notes(groups: Sequence[RunGroup], cells: Sequence[Cell]) -> list[str]:
    """Returns how to read the table."""
    counts = {len(group.runs) for group in groups}
    noun = "seed" if all(group.repeats for group in groups) else "run"
    over = words.counted(max(counts), noun) if len(counts) == 1 else f"n {noun}s"
    found = [f"Mean ± sample standard deviation over {over}."] if max(counts) > 1 else ["One run each."]
    tests = {cell.test for cell in cells}
    if BEST in tests:
        found.append("Bold: the best mean.")
    if tests & {DIFFERENT, ALIKE}:
        found.append(
            f"*: differs from the best (p < {ALPHA:g}, two-sided paired t-test over equal seeds, Holm's correction over all "
            "pairs of rows)."
        )
        reasons = [text for reason, text in _REASONS.items() if reason in tests]
        found += [f"†: not tested: {' or '.join(reasons)}."] if reasons else []
    elif TOO_FEW in tests:
        found.append(f"Too few seeds for a test of significance: it needs {FEWEST} seeds that both rows have.")
    elif CONSTANT in tests:
        found.append("No test of significance: the differences are the same for all seeds.")
    return found


_REASONS = {
    TOO_FEW: f"too few seeds (fewer than {FEWEST} that both rows have)",
    CONSTANT: "the difference is the same for all seeds",
}
