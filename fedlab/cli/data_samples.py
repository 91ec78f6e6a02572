"""Samples of the data for `fedlab data show`: images of each class or client, without a corruption and with it."""

from __future__ import annotations

import pathlib

import numpy as np

from fedlab.errors import ConfigError
from fedlab.randomness import generator
from fedlab.types import Dataset, Partition

_ROWS, _COLUMNS = 20, 10  # the most rows (clients evenly spaced, if there are more), and images per row


def write_samples(
    path: pathlib.Path, by: str, clean: Dataset, dataset: Dataset, partition: Partition, seed: int, title: str
) -> None:
    """Writes a PNG with up to ten training images per row; with a corruption, also the same images without it.

    `by`: "class" or "client". Rows prefer examples that the corruption changes. Raises `ConfigError` for data that is not images.
    """
    from fedlab.report.samples_plot import plot_samples

    if hasattr(dataset.train.task, "vocabulary"):
        raise ConfigError(f"--samples {path}: the examples of this data are texts, which fedlab data show prints: leave it out.")
    rows = _by_class(clean, partition) if by == "class" else _by_client(partition)
    shape = dataset.train.x.shape[1:]
    if not (len(shape) == 2 or (len(shape) == 3 and shape[-1] in (1, 3))):
        raise ConfigError(f"--samples {path}: the data has the shape {list(shape)}, which is no image.")
    changed = (clean.train.x != dataset.train.x).reshape(len(clean.train), -1).any(axis=1)
    names = [list(rows)[i] for i in np.unique(np.linspace(0, len(rows) - 1, min(len(rows), _ROWS)).round().astype(int))]
    drawn = [_drawn(rows[name], changed, seed, i) for i, name in enumerate(names)]
    panels = {"": dataset} if clean.train is dataset.train else {"without the corruption": clean, "with the corruption": dataset}
    images = {
        heading: [data.train.x[indices].reshape(-1, *shape[:2], *(shape[2:] or (1,))) for indices in drawn]
        for heading, data in panels.items()
    }
    plot_samples(images, names, path, title)


def _by_class(dataset: Dataset, partition: Partition) -> dict[str, np.ndarray]:
    """Returns the training examples of each class that clients have, by the label of the class."""
    train, owned = dataset.train, partition.owned
    if train.task.num_classes is None:
        raise ConfigError(f"--samples: the task of this data is {train.task.name}, and there are no classes: use --by client.")
    labels = getattr(train.task, "labels", None) or tuple(map(str, range(train.num_classes)))
    return {label: owned[train.y[owned] == c] for c, label in enumerate(labels)}


def _by_client(partition: Partition) -> dict[str, np.ndarray]:
    """Returns the examples of each client, the held-out ones as well; clients that are never trained come last."""
    rows = {}
    for part, remark in ((partition, ""), (partition.unseen, " (never trained)")):
        if part is not None:
            held_out = part.held_out or [np.zeros(0, np.int64)] * len(part)
            rows.update({f"{n}{remark}": np.concatenate(both) for n, *both in zip(part.client_ids, part.indices, held_out)})
    return rows


def _drawn(indices: np.ndarray, changed: np.ndarray, seed: int, row: int) -> np.ndarray:
    """Returns up to ten of `indices`, those that are changed first."""
    shuffled = generator(seed, "samples", row).permutation(indices)
    return shuffled[np.argsort(~changed[shuffled], kind="stable")][:_COLUMNS]
