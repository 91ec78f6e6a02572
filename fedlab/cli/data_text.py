"""The text of `fedlab data show`: the sizes, classes and columns of the data, and of its partition."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from fedlab.errors import printable
from fedlab.partition import heterogeneity
from fedlab.ragged import sizes_of
from fedlab.types import Dataset, ExampleSet, Partition

_LABELS = 20  # classes that are named
_TEXTS = 5  # clients of which a text is printed


def print_data(dataset: Dataset, partition: Partition, heading: str) -> None:
    """Prints the sizes, classes and columns of the data and of its partition."""
    train, sizes = dataset.train, partition.sizes
    figures = heterogeneity(train.y, partition, train.num_classes) if train.task.num_classes is not None else None
    table = Table("", "min", "median", "max", title=heading, title_justify="left")
    spreads = {"examples per client": (sizes.min(), np.median(sizes), sizes.max())}
    if figures:
        spreads["classes per client"] = figures.classes
    for label, spread in spreads.items():
        table.add_row(label, *(f"{value:,.10g}" for value in spread))
    Console().print(table)
    holders = "1 client holds" if len(partition) == 1 else f"{len(partition):,} clients hold"
    print(f"{holders} {partition.sizes.sum():,} of {len(train):,} training examples")
    for part, who in ((partition, "clients"), (partition.unseen, "clients that are never trained")):
        if part is not None and part.held_out is not None:
            print(f"{who} hold out {sizes_of(part.held_out).sum():,} further examples for evaluation")
    if partition.unseen is not None:
        unseen, given = len(partition.unseen), partition.unseen.sizes.sum()
        print(f"{unseen:,} further {'client is' if unseen == 1 else 'clients are'} never trained, with {given:,} examples")
    held_out = len(dataset.test)
    print(f"{held_out:,} {'example is' if held_out == 1 else 'examples are'} held out for testing")
    if hasattr(train.task, "vocabulary"):
        _print_texts(train, partition)
    for column in dataset.columns:
        print(printable(" ".join(f"column {_column(column)}".split())))
    if labels := getattr(train.task, "labels", None):
        named = ", ".join(f"{i} is {label}" for i, label in enumerate(labels[:_LABELS]))
        print(f"classes: {printable(named)}{', …' if len(labels) > _LABELS else ''}")
    if label_names := getattr(train.task, "label_names", None):
        counts = [f"{label} {count:,}" for label, count in zip(label_names, train.y.sum(axis=0, dtype=np.int64))]
        shown = printable(", ".join(counts[:_LABELS])) + ", …" * (len(counts) > _LABELS)
        print(f"{len(counts):,} labels, with their number of training examples: {shown}")
    if figures:
        print(f"mean label entropy {figures.mean_label_entropy:.3f} bits (0: one class each)")
        print(f"mean total variation {figures.mean_total_variation:.3f} from the global label distribution (0: equal)")


def _print_texts(train: ExampleSet, partition: Partition) -> None:
    """Prints the vocabulary, and the first example of the first clients."""
    task: Any = train.task
    print(f"vocabulary: {len(task.vocabulary):,} characters, {_in_a_line(''.join(task.vocabulary))}")
    print(f"{task.num_outputs:,} tokens: the characters, padding, unknown character, beginning and end of a text")
    for name, indices in list(zip(partition.client_ids, partition.indices))[:_TEXTS]:
        if len(indices):
            print(f"client {printable(name)}: {_in_a_line(task.text(train.x[indices.min()]))}")


def _in_a_line(text: str) -> str:
    """Returns the text in one line, with control characters and line breaks spelt out."""
    return printable(text.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t"))


def _column(encoding: Mapping[str, Any]) -> str:
    """Returns the encoding of a column in words."""
    if encoding["kind"] == "numeric":
        return "{column}: numbers, median {median:.4g}, mean {mean:.4g}, standard deviation {std:.4g}".format(**encoding)
    categories = encoding["categories"]
    shown = ", ".join(categories[:_LABELS]) + (", …" if len(categories) > _LABELS else "")
    count = f"{len(categories)} {'category' if len(categories) == 1 else 'categories'}"
    return f"{encoding['column']}: {count}{', ' * bool(shown)}{shown}"
