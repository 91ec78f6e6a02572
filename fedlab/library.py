"""`fedlab.run`, `resume`, `verify`, `open_run`, `runs`, `compare` and `plot`: the command line's functions, for Python.

This module prints nothing, parses no command line and never ends the process. A user's mistake raises a `FedlabError` with a
one-line message.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import os
import pathlib
import re
import shlex
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from fedlab import trust as trusting
from fedlab.errors import ConfigError, FedlabError, did_you_mean

if TYPE_CHECKING:
    import tensorflow as tf

    from fedlab.archive import Run
    from fedlab.report.choices import Band, X
    from fedlab.report.lines import Picture
    from fedlab.run.progress import Following
    from fedlab.run.verifying import Verification

_KINDS = {".png": "image/png", ".gif": "image/gif"}


def run(
    experiment: str = "",
    *overrides: str,
    folder: str | os.PathLike[str] | None = None,
    on_line: Callable[[str], None] | None = None,
    config_dir: str | os.PathLike[str] | None = None,
    trust: bool = False,
) -> SavedRun:
    """Trains one run to its end, like `fedlab train`, and returns it.

    `experiment`: a name from conf/experiment, such as "digits/fedavg"; "": the default configuration. `overrides`:
    "num_rounds=3", "partition=dirichlet", …, as on the command line. `folder`: the run's folder, by default
    outputs/EXPERIMENT/TIME; if it already contains a run, FOLDER-2, … `on_line`: receives each line of progress, such as `print`.
    `config_dir`: a folder of your own configuration files. `trust`: whether model files that the run reads, such as
    evaluation.classifier, may contain code; components that the configuration names may always run.

    Raises `FedlabError`: `ConfigError` for a wrong configuration, before any data is read or TensorFlow is imported; `DataError`
    for missing or damaged data; otherwise for training that failed; the folder keeps the results so far.
    """
    words = [*chosen(experiment), *map(override, overrides)]
    from fedlab.config import composing

    own = os.fspath(config_dir) if config_dir is not None else None
    composition = composing.compose_run(words, own)
    built = composing.build_experiment(composition.config)
    path = composition.folder if folder is None else pathlib.Path(folder).expanduser()
    from fedlab.report.run_report import RunReport
    from fedlab.run import job

    flags = [*(["-cd", own] if own is not None else []), *([trusting.FLAG] if trust else [])]
    placed = [f"hydra.run.dir={quoted(os.fspath(path))}"] if folder is not None else []
    command = shlex.join(["fedlab", "train", *flags, *words, *placed])
    with _trusting(trust):
        described = job.Job(built, composition.config, composition.name, command)
        finished = job.run(described, path, RunReport(), on_line or _nowhere, _rounds(on_line))
    return open_run(finished.folder.path, trust=True)  # this process has just written it


def resume(
    run: str | os.PathLike[str] | SavedRun, *overrides: str, on_line: Callable[[str], None] | None = None, trust: bool = False
) -> SavedRun:
    """Continues a stopped run, or adds rounds to a finished one, like `fedlab train resume=RUN`.

    `run`: its folder, or the run itself. `overrides`: "num_rounds=N" for more rounds, "data.path=FILE" for a file that has moved,
    "stop.…", "checkpoint.…" and "logger.…"; all other options stay unchanged. `on_line`, `trust`: as for `run`; a run that this
    process has trained is trusted.

    Returns the continued run; its bits equal those of an uninterrupted run. Raises `ConfigError` if no round is left to compute,
    and for an override that would change computed rounds; `DataError` for data that has changed.
    """
    words = [override(word, "leave it out, because a resumed run stays in its own folder") for word in overrides]
    from fedlab.config.rebuilding import continued
    from fedlab.report.run_report import RunReport
    from fedlab.run import resuming

    path, trusted = _opened(run, trust)
    command = shlex.join(["fedlab", "train", *([trusting.FLAG] if trust else []), f"resume={path}", *words])
    with _trusting(trusted):
        resuming.resume(path, lambda saved: continued(saved, words), command, RunReport(), on_line or _nowhere, _rounds(on_line))
    return open_run(path, trust=trusted)


def verify(
    run: str | os.PathLike[str] | SavedRun,
    *moved: str,
    rounds: int | None = None,
    on_line: Callable[[str], None] | None = None,
    trust: bool = False,
) -> Verification:
    """Repeats a run and compares the weights of every round and the checkpoints bit for bit, like `fedlab verify`.

    `run`: its folder, or the run itself. `moved`: the new path of a file, as "data.path=FILE". `rounds`: the number of rounds to
    repeat, by default all. `on_line`, `trust`: as for `resume`.

    Returns `.rounds`, `.weights_hash` and `.remarks`, such as different library versions. Raises `FedlabError` at the first round
    that differs, naming the differences of the environment, and for a damaged file.
    """
    if rounds is not None and (isinstance(rounds, bool) or not isinstance(rounds, int) or rounds < 1):
        raise ConfigError(f"rounds={rounds!r} is not a whole number of at least 1.")
    words = [override(word, "leave it out, because fedlab.verify writes no folder") for word in moved]
    from fedlab.archive import read_run
    from fedlab.config.rebuilding import rebuilt
    from fedlab.run import verifying

    path, trusted = _opened(run, trust)
    with _trusting(trusted):
        saved = read_run(path)
        return verifying.verify(saved, lambda it: rebuilt(it, words, "verify"), rounds, on_line or _nowhere, _rounds(on_line))


def open_run(path: str | os.PathLike[str], *, trust: bool = False) -> SavedRun:
    """Opens the run in the folder `path`, finished or not. Imports no TensorFlow.

    `trust`: whether its model may contain code, see docs/security.md. Raises `FedlabError` if there is no run, or a damaged one.
    """
    from fedlab.archive import read_run

    return SavedRun(read_run(pathlib.Path(path).expanduser()), trust)


def runs(folder: str | os.PathLike[str] | None = None) -> list[SavedRun]:
    """Returns all runs below `folder`, by default below outputs and multirun, oldest first.

    Warns of each damaged run and leaves it out. Raises `FedlabError` if the folder does not exist.
    """
    from fedlab.archive import scan
    from fedlab.archive.reading import PLACES, NeverBegan

    if folder is not None and not pathlib.Path(folder).is_dir():
        raise FedlabError(f"no folder {os.fspath(folder)}: name one that holds runs.")
    roots = [pathlib.Path(folder)] if folder is not None else [path for path in map(pathlib.Path, PLACES) if path.is_dir()]
    found: list[SavedRun] = []
    for one in (one for root in roots for one in scan(root)):
        if not isinstance(one, FedlabError):
            found.append(SavedRun(one))
        elif not isinstance(one, NeverBegan):
            warnings.warn(f"left out: {one}", stacklevel=2)
    return sorted(found, key=lambda one: str(one.manifest.get("started") or ""))


def compare(*given: SavedRun | str | os.PathLike[str], rounds_to: Sequence[float] = ()) -> ComparedRuns:
    """Compares two or more runs, like `fedlab compare`: the settings that differ, and the metrics of each run.

    `given`: runs, folders of runs, or folders that contain several, such as a sweep. Each arm of a run counts as one run.
    `rounds_to`: targets of the metric that ranks runs, such as 0.97, in addition to those that the runs ask for.

    Warns of damaged runs and leaves them out. Raises `FedlabError` for a folder without runs, `ConfigError` for fewer than two
    runs.
    """
    from fedlab.archive.figures import final_figures, rounds_to_of
    from fedlab.report import comparison
    from fedlab.targets import target_in

    found, broken = comparison.gather([_readable(one) for one in given])
    for error in broken:
        warnings.warn(f"left out: {error}", stacklevel=2)
    compared = comparison.compare(found, rounds_to)
    settings = {run.path: group.settings for group in compared.groups for run in group.runs}
    targets = [target for name in compared.metrics if (target := target_in(name)) is not None]
    final = [{**final_figures(run), **rounds_to_of(run, targets)} for run in found]
    return ComparedRuns(
        tuple(SavedRun(run) for run in found),
        {key: [settings[run.path].get(key) for run in found] for key in compared.keys},
        {name: [metrics.get(name) for metrics in final] for name in compared.metrics},
        compared.remarks,
        tuple(rounds_to),
    )


def plot(
    *given: SavedRun | str | os.PathLike[str],
    x: X = "round",
    y: str | Sequence[str] = (),
    group_by: str | Sequence[str] = (),
    band: Band = "std",
    labels: Sequence[str] = (),
    width: float | str = "column",
    height: float | None = None,
    log: str = "",
) -> PlottedRuns:
    """Draws a metric of runs as a picture for a paper, like `fedlab plot`; a notebook shows it, and `save` writes it.

    `given`: as for `compare`, one or more. `x`: round, bytes, bytes_up, bytes_down, seconds or epsilon. `y`: one or more metrics
    of metrics.jsonl, by default the one that ranks runs. `group_by`: options such as "partition.alpha"; by default, runs that
    differ in their seed alone are one line. `band`: std, ci, range or none. `labels`: names for the lines, in their order.
    `width`: column, text, wide, or inches; `height`: inches, by default it follows from the width. `log`: x, y or both.

    Warns of damaged runs and leaves them out. Raises `ConfigError` for an unknown metric, option or choice.
    """
    from fedlab.report import choices, comparison, lines

    for name, value, allowed in (("x", x, choices.XS), ("band", band, choices.BANDS), ("log", log, ("", *choices.LOGS))):
        if value not in allowed:
            raise ConfigError(f"{name}={value!r}: choose one of {', '.join(filter(None, allowed))}.")
    size = choices.WIDTHS.get(width, 0.0) if isinstance(width, str) else float(width)
    for name, inches in (("width", size), ("height", height)):
        if inches is not None and not choices.SMALLEST <= inches <= choices.LARGEST:
            words = f" or {', '.join(choices.WIDTHS)}" if name == "width" else ""
            shown = width if name == "width" else height
            raise ConfigError(f"{name}={shown!r}: give inches from {choices.SMALLEST:g} to {choices.LARGEST:g}{words}.")
    found, broken = comparison.gather([_readable(one) for one in given], at_least=1)
    for error in broken:
        warnings.warn(f"left out: {error}", stacklevel=2)
    metrics, keys = ([value] if isinstance(value, str) else list(value) for value in (y, group_by))
    return PlottedRuns(lines.picture(found, x, metrics, keys, band, labels), size, height, log)


def _readable(one: SavedRun | str | os.PathLike[str]) -> Run | str:
    """Returns the run, or the folder of a run or of a sweep, which `fedlab.open_sweep` returns."""
    return one._run if isinstance(one, SavedRun) else os.fspath(getattr(one, "folder", one))


class SavedRun:
    """A run in its folder, as of the moment it was opened; `metrics` are read on first use."""

    def __init__(self, saved: Run, trust: bool = False):
        self._run, self._trust = saved, trust

    @property
    def trusted(self) -> bool:
        """Returns True if its model, and components that its configuration names, may contain code."""
        return self._trust

    @property
    def folder(self) -> pathlib.Path:
        """Returns its folder."""
        return self._run.path

    @property
    def name(self) -> str:
        """Returns the name of its experiment, or of its data and process."""
        return str(self.manifest.get("name") or self.folder.name)

    @property
    def status(self) -> str:
        """Returns running, finished, interrupted or failed."""
        return self._run.status

    @property
    def manifest(self) -> dict[str, Any]:
        """Returns manifest.json: the run's configuration, data, environment and end."""
        return self._run.manifest

    @property
    def config(self) -> dict[str, Any]:
        """Returns the resolved configuration: one value per option, nested by stage."""
        return self._run.config

    @property
    def summary(self) -> dict[str, Any]:
        """Returns summary.json, the final metrics; {} if the run has not finished."""
        return self._run.summary

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """Returns metrics.jsonl, one record per round. `pandas.DataFrame(run.metrics)` makes a table of it."""
        return self._run.records()

    @property
    def arms(self) -> list[str]:
        """Returns the names of its arms; [] for a run without arms."""
        return self._run.arms

    def arm(self, name: str) -> SavedRun:
        """Returns one of its arms, with the interface of a run. Raises `FedlabError` for an unknown name."""
        return SavedRun(self._run.arm(name), self._trust)

    def model(self) -> tf.keras.Model:
        """Returns the final model, not compiled; its input is float32, images in [0, 1]. Imports TensorFlow.

        Raises `FedlabError` if the model is missing or damaged, `NotTrusted` if it contains code and the run was opened without
        `trust=True`.
        """
        path = self._run.folder.model
        if not path.is_file():
            why = f"its arms have one each: {', '.join(self.arms)}" if self.arms else "a run writes it when it has finished"
            raise FedlabError(f"{path} does not exist: {why}.")
        self._run.check(path)
        from fedlab import cores
        from fedlab.run.start import start_tensorflow

        start_tensorflow("auto", cores.available())  # as for a run whose cohorts occupy every core
        from fedlab.models.saved import load_keras

        with _trusting(self._trust):
            return load_keras(path)

    @property
    def figures(self) -> list[str]:
        """Returns the names of its pictures, such as curves and partition."""
        return sorted(self._pictures())

    def figure(self, name: str) -> Figure:
        """Returns one of its `figures`; a notebook displays it. Raises `FedlabError` if the name is unknown or the picture is
        damaged.
        """
        pictures = self._pictures()
        if name not in pictures:
            there = f"Its figures: {', '.join(sorted(pictures))}." if pictures else "It has none yet."
            raise FedlabError(f"{self.folder} has no figure '{name}'.{did_you_mean(name, pictures)} {there}")
        self._run.check(pictures[name])
        return Figure(pictures[name])

    def _pictures(self) -> dict[str, pathlib.Path]:
        found = [path for path in sorted(self.folder.rglob("*")) if path.suffix in _KINDS and not path.name.startswith(".")]
        return {path.relative_to(self.folder).with_suffix("").as_posix(): path for path in found}

    def __repr__(self) -> str:
        done = f"{self._run.rounds_completed:,} of {self.manifest['num_rounds']:,} rounds"
        return f"<{self.name}, {self.status}, {done}, in {self.folder}>"


@dataclasses.dataclass(frozen=True)
class Figure:
    """A picture of a run; a notebook displays it."""

    path: pathlib.Path

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        """Returns the picture by its media type, for IPython."""
        return {_KINDS[self.path.suffix]: base64.b64encode(self.path.read_bytes()).decode(), "text/plain": repr(self)}


@dataclasses.dataclass(frozen=True)
class ComparedRuns:
    """Runs side by side. Each list has one value per run, in the order of `runs`.

    `settings`: the options in which the runs differ, by dotted key, except the seed; None if a run has no such option. `metrics`:
    the final metrics; None if a run has no such metric. `remarks`: caveats for the comparison, in sentences.
    """

    runs: tuple[SavedRun, ...]
    settings: dict[str, list[Any]]
    metrics: dict[str, list[float | None]]
    remarks: tuple[str, ...]
    targets: tuple[float, ...] = dataclasses.field(default=(), repr=False)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Returns one row per run: its folder, seed, settings and metrics. `pandas.DataFrame(compared.rows)` makes a
        table of it.
        """
        columns = {**self.settings, **self.metrics}
        return [
            {"folder": run.folder, "seed": run.config.get("seed"), **{name: values[i] for name, values in columns.items()}}
            for i, run in enumerate(self.runs)
        ]

    def latex(self, metrics: str | Sequence[str] = ()) -> str:
        """Returns a table for a paper, as `fedlab compare --latex` writes it: mean ± standard deviation over seeds, the best in
        bold, significance. It needs the package booktabs.

        `metrics`: the columns, such as "test_accuracy" or "rounds_to[0.97]"; by default the metric that ranks runs, the loss,
        rounds to targets, and ε. Raises `ConfigError` for an unknown metric, `FedlabError` if no run has finished.
        """
        return self._table("latex", metrics)

    def markdown(self, metrics: str | Sequence[str] = ()) -> str:
        """Returns the table of `latex` in Markdown."""
        return self._table("markdown", metrics)

    def csv(self, metrics: str | Sequence[str] = ()) -> str:
        """Returns the table of `latex` as CSV: a row per group of runs and metric, with mean, std, n and p."""
        return self._table("csv", metrics)

    def _table(self, kind: str, metrics: str | Sequence[str]) -> str:
        from fedlab.report.results import results
        from fedlab.report.results_text import FORMATS

        chosen = [metrics] if isinstance(metrics, str) else list(metrics)
        return FORMATS[kind](results([run._run for run in self.runs], chosen, self.targets))


@dataclasses.dataclass(frozen=True)
class PlottedRuns:
    """A picture of runs for a paper; a notebook displays it. `width`, `height`: in inches; None: follows from the width."""

    picture: Picture = dataclasses.field(repr=False)
    width: float
    height: float | None
    log: str

    @property
    def caption(self) -> str:
        """Returns sentences for the caption: the axes, and the meaning of lines and bands."""
        return self.picture.caption

    @property
    def remarks(self) -> tuple[str, ...]:
        """Returns caveats in sentences, such as runs that are left out."""
        return self.picture.remarks

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Returns one row per point: metric, line, runs, x, mean, low, high; bytes, seconds and fractions as in metrics.jsonl.

        `mean` is None where the metric is not a finite number; `low` and `high` are None without a band.
        """
        found = []
        for panel in self.picture.panels:
            for line in panel.lines:
                around = {x: (low, high) for x, low, high in line.band}
                for x, mean in line.points:
                    low, high = around.get(x, (None, None))
                    values = {"x": x, "mean": mean, "low": low, "high": high}
                    found.append({"metric": panel.metric, "line": line.label, "runs": line.num_runs, **values})
        return found

    def save(self, path: str | os.PathLike[str]) -> pathlib.Path:
        """Writes the picture to `path`, which ends in .pdf, .svg or .png, and returns it.

        Raises `ConfigError` for another ending, `FedlabError` if the file cannot be written.
        """
        from fedlab.report.choices import FORMATS
        from fedlab.report.paper import save

        target = pathlib.Path(path).expanduser()
        if target.suffix[1:].lower() not in FORMATS:
            raise ConfigError(f"{target}: the name must end in .{', .'.join(FORMATS[:-1])} or .{FORMATS[-1]}.")
        return save(self.picture, target, self.width, self.height, self.log)

    def _repr_png_(self) -> bytes:
        """Returns the picture as PNG, for IPython."""
        from fedlab.report.paper import drawn

        return drawn(self.picture, "png", self.width, self.height, self.log)


def chosen(experiment: str) -> list[str]:
    """Returns the override that chooses an experiment; "partition=iid" in its place is itself an override."""
    if "=" in experiment or experiment.startswith("-"):
        return [override(experiment)]
    return [f"+experiment={experiment}"] if experiment else []


def override(word: str, of_hydra: str = "fedlab.run takes folder=… for the folder of the run") -> str:
    """Checks and returns an override. `of_hydra`: the advice for an option of Hydra, which no function takes.

    Raises `ConfigError`.
    """
    if not isinstance(word, str):
        raise ConfigError(f"{word!r} is no override: give strings, such as 'num_rounds=3'.")
    if word.startswith("-"):
        raise ConfigError(f"'{word}' is a flag of the command line: give overrides, as 'key=value'.")
    if word.lstrip("+~").startswith(("hydra.", "hydra/")):
        raise ConfigError(f"'{word}' is an option of the command line: {of_hydra}.")
    return word


def quoted(value: str) -> str:
    """Quotes a value in Hydra's syntax."""
    if re.fullmatch(r"[\w./~:-]+", value):
        return value
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _opened(run: str | os.PathLike[str] | SavedRun, trust: bool) -> tuple[pathlib.Path, bool]:
    """Returns the folder of a run, and whether its code and model files are trusted."""
    if isinstance(run, SavedRun):
        return run.folder, trust or run.trusted
    return pathlib.Path(run).expanduser(), trust


def _trusting(trust: bool) -> contextlib.AbstractContextManager[None]:
    """Returns a context in which code from run folders and model files runs if `trust` is True; otherwise the current trust
    applies.
    """
    return trusting.session(everything=True) if trust else contextlib.nullcontext()


def _rounds(on_line: Callable[[str], None] | None) -> Following:
    """Returns loggers that report rounds to `on_line`."""
    from fedlab.run.progress import RoundLines

    return lambda num_rounds: [RoundLines(num_rounds, on_line)] if on_line else []


def _nowhere(line: str) -> None:
    """Discards a line, but warns of a part of the run that failed while the run continued."""
    from fedlab.run.progress import Failure

    if isinstance(line, Failure):
        warnings.warn(line, stacklevel=2)
