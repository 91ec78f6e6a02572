#!/usr/bin/env python3
"""Compares protections against model inversion: a table in Markdown and, with --png, accuracy over attack score.

    for run in federated shards weight_noise dp masked; do fedlab train +experiment=inversion/$run; done
    python scripts/inversion_tradeoff.py outputs/inversion/*/* --png tradeoff.png

RUN is the folder of a run that has been attacked. Reads folders only; trains and attacks nothing.
"""

from __future__ import annotations

import argparse
import math
import os
import pathlib
import sys
from collections.abc import Sequence

from matplotlib.figure import Figure

from fedlab.archive import Run, read_run
from fedlab.archive.figures import epsilon, is_simulated
from fedlab.errors import FedlabError
from fedlab.report import words
from fedlab.studies.attacks.record import CONTROL, Result, accuracies, read_results, scores

KINDS = {
    "global": "the global model",
    "global_noisy": "the global model, noisy",
    "clients": "clients, as the server saw them",
    "control": "a control that never saw a training example",
}


def main(argv: Sequence[str]) -> int:
    """Prints the table; 1 and a line on standard error where there is none to be made."""
    parser = argparse.ArgumentParser(
        prog="inversion_tradeoff.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=pathlib.Path, metavar="RUN")
    parser.add_argument("--png", type=pathlib.Path, metavar="FILE")
    args = parser.parse_args(argv)
    try:
        found = [(run, newest(run)) for run in map(read_run, args.runs)]
    except FedlabError as error:
        print(f"inversion_tradeoff: {error}", file=sys.stderr)
        return error.exit_code
    print(table(found))
    if args.png:
        plot_tradeoff([point for run, result in found for point in points(run, result)], args.png)
    return 0


def plot_tradeoff(points: Sequence[tuple[str, str, float, float]], path: str | os.PathLike) -> None:
    """Writes a PNG. `points`: (run, what was attacked, score, test accuracy); a colour per run, a mark per kind of model."""
    figure = Figure(figsize=(7.5, 4.5), layout="constrained")
    ax = figure.subplots()
    runs = list(dict.fromkeys(run for run, *_ in points))
    kinds = list(dict.fromkeys(kind for _, kind, *_ in points))
    for i, run in enumerate(runs):
        mine = [point for point in points if point[0] == run]
        ax.plot([p[2] for p in mine], [p[3] for p in mine], color=f"C{i}", linewidth=0.8, alpha=0.4)
        for _, kind, score, accuracy in mine:
            ax.plot(score, accuracy, "os^vD"[kinds.index(kind) % 5], color=f"C{i}", markersize=8)
    for i, run in enumerate(runs):
        ax.plot([], [], "-", color=f"C{i}", linewidth=3, label=run)
    for i, kind in enumerate(kinds):
        ax.plot([], [], "os^vD"[i % 5], color="0.4", label=kind)
    ax.axvline(0, color="0.7", linewidth=0.8, linestyle=":")
    ax.set_xlabel("score of the attack (0: noise, 1: real images)")
    ax.set_ylabel("test accuracy of the global model")
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    ax.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside right upper", fontsize=9, frameon=False)
    figure.savefig(path, format="png", dpi=120)


def newest(run: Run) -> Result:
    """The run's attack on clients, where there is one, else the first. Raises `FedlabError` where there is none."""
    results = read_results(run.folder)
    if not results:
        raise FedlabError(f"{run.path} has not been attacked: fedlab attack {run.path}.")
    return next((r for r in results if r["target"] == "clients"), results[0])


def table(found: Sequence[tuple[Run, Result]]) -> str:
    """A row per run and kind of model attacked."""
    rows: list[Sequence[str]] = [["run", "attacked", "its test accuracy", "confidence", "SSIM", "correlation", "score", "ε"]]
    rows.append(["---"] * len(rows[0]))
    for run, result in found:
        for kind, score in scores(result).items():
            mine = [v for v in result["victims"] if _kind(v) == kind]
            means = [sum(v[figure] for v in mine) / len(mine) for figure in ("confidence", "ssim", "correlation")]
            accuracy = f"{accuracies(result)[kind]:.1%}".replace("%", " %")
            shown = [KINDS.get(kind, kind), accuracy, *(f"{m:.2f}" for m in means), f"{score:.2f}", _spent(run, kind)]
            rows.append([f"`{run.manifest['name']}`", *shown])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def points(run: Run, result: Result) -> list[tuple[str, str, float, float]]:
    """For the picture, without controls: what protects a run costs the accuracy of its global model."""
    accuracy = {kind: value for kind, value in accuracies(result).items() if kind != CONTROL}
    own = {kind: accuracy[kind] if kind.startswith("global") else accuracy["global"] for kind in accuracy}
    return [
        (str(run.manifest["name"]), KINDS.get(kind, kind), score, own[kind])
        for kind, score in scores(result).items()
        if kind in own
    ]


def _kind(victim: dict) -> str:
    return ("clients" if victim["name"].startswith("client ") else victim["name"]) + "_noisy" * (victim["noise"] > 0)


def _spent(run: Run, kind: str) -> str:
    """ε holds for what is released, the global model, and not for what the server receives."""
    value = epsilon(run)
    if value is None or math.isinf(value) or kind.startswith("clients") or kind == CONTROL:
        return "∞"
    return words.epsilon(value) + " (simulated)" * is_simulated(run)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
