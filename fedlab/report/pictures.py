"""The pictures of a run that has ended, drawn from the files in its folder: partition.png, curves.png, images/animation.gif."""

from __future__ import annotations

from collections.abc import Sequence

from fedlab.archive import Run, RunFolder, read_run, replacing
from fedlab.archive.clients import read_labels
from fedlab.archive.images import grids
from fedlab.archive.metrics import Record
from fedlab.archive.task import learned


def draw(folder: RunFolder) -> None:
    """Draws partition.png if the run has completed a round; the other pictures if it has its final metrics.

    Imports matplotlib. Raises `FedlabError` for a damaged run, `OSError` if a picture cannot be written.
    """
    run = read_run(folder.path, to_go_on=True)
    records = run.records()
    if records:
        draw_partition(run)
    if records and run.summary:
        draw_curves(run, records)
        for arm in run.each_arm():
            draw_animation(arm.folder, len(records), int(run.config["eval_every"]))


def draw_partition(run: Run) -> None:
    """Draws partition.csv as partition.png; does nothing without this file, as for data without classes."""
    clients = read_labels(run.folder.labels)
    if not len(clients):
        return
    from fedlab.report.partition_plot import plot_partition

    title = f"{run.manifest['data']['name']}: {len(clients):,} clients"
    counts, labels = clients.counts, (run.manifest["data"].get("task") or {}).get("labels") or []
    with replacing(run.folder.partition) as partial:
        named = labels if len(labels) == counts.shape[1] else None
        plot_partition(counts, partial, title, clients.clients, named)


def draw_curves(run: Run, records: Sequence[Record]) -> None:
    """Draws the metrics in `records` as curves.png."""
    from fedlab.report.curves import plot_curves

    with replacing(run.folder.curves) as partial:
        plot_curves(records, partial, learned(run.manifest))


def draw_animation(folder: RunFolder, num_rounds: int, eval_every: int) -> None:
    """Draws the images of the evaluated rounds of `num_rounds` as images/animation.gif; does nothing for fewer than two.

    A continued run may have evaluated one more round, the last of its earlier part, which is left out.
    """
    due = [path for round_num, path in grids(folder).items() if round_num % eval_every == 0 or round_num == num_rounds]
    if len(due) < 2:
        return
    from fedlab.report.animation import save_animation

    with replacing(folder.images / "animation.gif") as partial:
        save_animation(due, partial)
