"""What a user is told when a run has finished: a line on each thing that was measured, of each arm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console

from fedlab.archive import RunFolder
from fedlab.archive.folder import relative
from fedlab.cli.job import say
from fedlab.report import words


def print_summary(console: Console, summary: Mapping[str, Any], folder: RunFolder) -> None:
    """`summary`: what summary.json holds; `folder`: where it is."""
    for arm in dict.fromkeys(name.rpartition("/")[0] for name in summary):
        own = {name.rpartition("/")[2]: value for name, value in summary.items() if name.rpartition("/")[0] == arm}
        for line in filter(None, (_classified(own), _generated(own), _attacked(own))):
            say(console, f"{arm}: {line}" if arm else line)
    if "difftest_told" in summary:
        say(console, f"difftest: {summary['difftest_told']}")
    if summary["non_finite_clients_total"]:
        count = summary["non_finite_clients_total"]
        odd = f"{count} client updates or their metrics were not finite, or too large for float32 or secure.clip_range"
        say(console, f"[yellow]{odd}: lower client_optimizer.learning_rate[/yellow]")
    if summary.get("rounds_without_clients"):
        of = f"{summary['rounds_without_clients']:,} of {summary['num_rounds']:,} rounds"
        say(console, f"[yellow]no client's update was used in {of}: cohorts were empty, or rounds were abandoned[/yellow]")
    say(console, f"{summary['seconds_total']:.0f} s in all, {summary['seconds_per_round']:.4f} s per round (median)")
    if folder.report.is_file():
        say(console, f"report: {relative(folder.report)}")


def _classified(own: Mapping[str, Any]) -> str | None:
    if "test_accuracy" not in own:
        return None
    line = f"[bold]test accuracy {own['test_accuracy']:.2%}[/bold]"
    if "test_loss" in own:
        line += f", loss {own['test_loss']:.4f}"
    if "client_accuracy_mean" in own:
        line += (
            f"; clients on their own examples: mean {own['client_accuracy_mean']:.2%}, "
            f"10th percentile {own['client_accuracy_p10']:.2%}, worst {own['client_accuracy_worst']:.2%}"
        )
    return line


def _generated(own: Mapping[str, Any]) -> str | None:
    if "polarity" not in own:
        return None
    measures = {"frechet_features": "Fréchet distance", "classifier_score": "classifier score"}
    light = f"{own['polarity']:.1%} have a light background"
    parts = [f"{words} {own[name]:.2f}" for name, words in measures.items() if name in own]
    return f"generated images: {', '.join([*parts, light])}"


def _attacked(own: Mapping[str, Any]) -> str | None:
    measured = {name: value for name, value in own.items() if name.startswith("attack_")}
    if not measured:
        return None
    return "attack: " + ", ".join(
        f"{words.metric_label(n[len('attack_') :])} {words.metric_value(n, v)}" for n, v in measured.items()
    )
