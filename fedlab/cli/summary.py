"""The lines that a finished run prints: one per group of metrics and arm."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console

from fedlab.archive import RunFolder
from fedlab.archive.folder import relative
from fedlab.archive.task import Learned
from fedlab.console.display import say
from fedlab.registry import resolved, studies
from fedlab.report import words
from fedlab.targets import target_in


def print_summary(console: Console, summary: Mapping[str, Any], folder: RunFolder, task: Learned) -> None:
    """Prints the metrics of a run. `summary`: contents of summary.json; `folder`: the run folder; `task`: the task of the run."""
    for arm in dict.fromkeys(name.rpartition("/")[0] for name in summary):
        own = {name.rpartition("/")[2]: value for name, value in summary.items() if name.rpartition("/")[0] == arm}
        for line in filter(
            None,
            (
                _predicted(own, task),
                *_further(own, task),
                _best(own, task),
                *_reached(own, task),
                _generated(own),
                *_of_studies("line", own),
            ),
        ):
            say(console, f"{arm}: {line}" if arm else line)
    for line in filter(None, _of_studies("line_of_arms", summary)):
        say(console, line)
    if "stopped" in summary:
        say(console, f"ended early, after {words.counted(summary['num_rounds'], 'round')}: {summary['stopped']}")
        if any(name.rpartition("/")[2] == "epsilon" for name in summary):
            say(console, "ε is that of all planned rounds, because the trained models determined when the run ended")
    if summary["non_finite_clients_total"]:
        count = summary["non_finite_clients_total"]
        odd = f"{count} client updates or their metrics were not finite, or too large for float32 or secure.clip_range"
        say(console, f"[yellow]{odd}: lower client_optimizer.learning_rate[/yellow]")
    if summary.get("rounds_without_clients"):
        of = f"{summary['rounds_without_clients']:,} of {summary['num_rounds']:,} rounds"
        say(console, f"[yellow]no client's update was used in {of}: cohorts were empty, or rounds were abandoned[/yellow]")
    total, each = words.seconds(summary["seconds_total"]), words.seconds(summary["seconds_per_round"])
    say(console, f"total time {total}, of a round {each} (median)")
    if folder.report.is_file():
        say(console, f"report: {relative(folder.report)}")


def _predicted(own: Mapping[str, Any], task: Learned) -> str | None:
    headline = task.headline or "loss"
    if f"test_{headline}" not in own:
        return None

    def value(name: str) -> str:
        return words.task_value(name, own[name], task) if task.ranking.percent else words.number(own[name])

    line = f"[bold]{words.task_label(f'test_{headline}', task)} {value(f'test_{headline}')}[/bold]"
    if "test_loss" in own and headline != "loss":
        line += f", loss {own['test_loss']:.4f}"
    tenth, words_of_it = ("p10", "10th percentile") if task.ranking.more_is_better else ("p90", "90th percentile")
    over_clients = {which: f"client_{headline}_{which}" for which in ("mean", tenth, "worst")}
    if over_clients["mean"] in own:
        mean, percentile, worst = (value(name) for name in over_clients.values())
        line += f"; {_clients(own)} on their own examples: mean {mean}, {words_of_it} {percentile}, worst {worst}"
    if f"global_client_{headline}_mean" in own:
        line += f"; the global model on the same examples: mean {value(f'global_client_{headline}_mean')}"
    if f"unseen_client_{headline}_mean" in own:
        line += f"; clients that were never trained: mean {value(f'unseen_client_{headline}_mean')}"
    return line


def _clients(own: Mapping[str, Any]) -> str:
    """Returns the clients that were evaluated at the end, in words."""
    sampled = own.get("clients_sampled")
    return f"a sample of {words.counted(sampled, 'client')}" if sampled else "clients"


def _further(own: Mapping[str, Any], task: Learned) -> Iterator[str]:
    """Yields a line per other metric of the test set, such as AUC."""
    for name in task.metrics:
        if name not in (task.headline, "loss") and f"test_{name}" in own:
            line = f"{words.task_label(f'test_{name}', task)} {words.task_value(f'test_{name}', own[f'test_{name}'], task)}"
            if f"client_{name}_mean" in own:
                mean = words.task_value(f"client_{name}_mean", own[f"client_{name}_mean"], task)
                line += f"; {_clients(own)} on their own examples: mean {mean}"
            missing = own.get(f"client_{name}_undefined", 0)
            yield line + (f", without {words.counted(missing, 'client')} on which it is undefined" if missing else "")


def _best(own: Mapping[str, Any], task: Learned) -> str | None:
    """Returns a line about the model of the best evaluated round (`keep.best`)."""
    if "best_round" not in own:
        return None
    name = next(name for name in own if name.startswith("best_test_"))
    value = f"{words.metric_label(name.removeprefix('best_'))} {words.task_value(name, own[name], task)}"
    return f"best round {own['best_round']:,}: {value}, chosen by the test set (model_best.keras)"


def _reached(own: Mapping[str, Any], task: Learned) -> Iterator[str]:
    """Yields the number of rounds to each target (`evaluation.rounds_to`)."""
    for name, value in own.items():
        if target_in(name) is not None:
            yield f"{words.task_label(name, task)}: {words.task_value(name, value, task)}"


def _generated(own: Mapping[str, Any]) -> str | None:
    if "polarity" not in own:
        return None
    measures = {"frechet_features": "Fréchet distance", "classifier_score": "classifier score"}
    light = f"{own['polarity']:.1%} have a light background"
    parts = [f"{label} {own[name]:.2f}" for name, label in measures.items() if name in own]
    return f"generated images: {', '.join([*parts, light])}"


def _of_studies(kind: str, figures: Mapping[str, Any]) -> Iterator[str | None]:
    """Yields the lines of one kind from all studies (`fedlab.registry.Metrics`)."""
    references = [getattr(study.metrics, kind) for study in studies()]
    return (resolved(reference)(figures) for reference in references if reference)
