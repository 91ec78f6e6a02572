"""A CSV file with the client of each training example."""

from __future__ import annotations

import csv
import pathlib

from fedlab.types import Partition


def write_assignment(path: pathlib.Path, partition: Partition) -> None:
    """Writes a row per example of a client, in order of positions in the training set: the position, the client, and its use.

    Uses: training; held out (of training, by the client); unseen (of a client that is never trained), also held out by it.
    """
    owned = []
    for part, kept, held_out in ((partition, "training", "held out"), (partition.unseen, "unseen", "unseen, held out")):
        if part is not None:
            for use, each in ((kept, part.indices), (held_out, part.held_out or ())):
                owned += [(int(i), name, use) for name, indices in zip(part.client_ids, each) for i in indices]
    owned.sort()
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["example", "client", "use"])
        writer.writerows(owned)
