"""Run folders of any shape, written as a run writes them, without the minutes it takes."""

from __future__ import annotations

import html.parser
import json
import pathlib
import struct
import zlib
from typing import Any

import numpy as np
import pytest

from fedlab.archive import RunFolder, manifest
from fedlab.archive.clients import ClientScore, write_labels, write_scores
from fedlab.archive.metrics import MetricsFile

CONFIG = {
    "data": {"_target_": "fedlab.data.Digits", "dir": None},
    "partition": {"_target_": "fedlab.partition.Iid", "num_clients": 10},
    "client_optimizer": {"_target_": "fedlab.algorithms.optimizers.Sgd", "learning_rate": 0.1, "momentum": 0.0},
    "aggregator": {"_target_": "fedlab.aggregation.Mean"},
    "logger": {},
    "seed": 0,
    "num_rounds": 10,
    "eval_every": 1,
}


def records_of(num_rounds: int, ceiling: float = 0.97) -> list[dict[str, Any]]:
    """Rounds of a run that learns: accuracy rises to `ceiling`."""
    return [
        {
            "round": r,
            "seconds": 0.9 if r == 1 else 0.03 + 0.001 * (r % 7),
            "num_clients": 5,
            "num_dropped": 0,
            "bytes_down": 2_035_420,
            "bytes_up": 2_035_500,
            "weights_hash": f"{r:016x}",
            "train_loss": 2.0 / r,
            "train_accuracy": ceiling - 0.5 / r,
            "test_loss": 2.2 / r,
            "test_accuracy": ceiling - 0.6 / r,
        }
        for r in range(1, num_rounds + 1)
    ]


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`base` with the values at the dotted keys of `changes`."""
    result = json.loads(json.dumps(base))
    for key, value in changes.items():
        *stages, last = key.split(".")
        place = result
        for stage in stages:
            place = place.setdefault(stage, {})
        place[last] = value
    return result


def write_run(
    path: pathlib.Path,
    config: dict[str, Any] | None = None,
    records: list[dict[str, Any]] | None = None,
    num_clients: int = 10,
    num_classes: int = 4,
    summary: dict[str, Any] | None = None,
    **described: Any,
) -> pathlib.Path:
    """A run folder in `path`. `config`: changes by dotted key; `described`: what the manifest says otherwise."""
    path.mkdir(parents=True)
    folder = RunFolder(path)
    whole = merged(CONFIG, config or {})
    records = records_of(10) if records is None else records
    metrics = MetricsFile(folder.metrics, records)
    metrics.close()
    whole["num_rounds"] = described.get("num_rounds", len(records))
    finished = described.get("status", "finished") == "finished"
    manifest.Manifest(
        folder.manifest,
        {
            "manifest_version": 1,
            "name": "digits/fedavg",
            "status": "finished",
            "failure": None,
            "command": "fedlab train +experiment=digits/fedavg",
            "resumed": [],
            "config": whole,
            "config_sha256": manifest.config_sha256(whole),
            "seed": whole["seed"],
            "reproducible": True,
            "summation": "clients of a cohort in ascending order",
            "num_rounds": whole["num_rounds"],
            "rounds_completed": len(records),
            "started": "2026-11-23T18:56:35+00:00",
            "ended": "2026-11-23T18:56:54+00:00",
            "fedlab": {"version": "0.1.0", "git_commit": "766b6c0a503df5fd26d8b01cedea2cb53c433444", "git_dirty": True},
            "packages": {"tensorflow": "2.14.1"},
            "machine": {"cpu": "AMD EPYC", "cores": 2, "memory_bytes": 25_276_502_016, "gpus": []},
            "data": {"name": "digits", "fingerprint": "d54b", "train_examples": 1438, "test_examples": 359, "num_classes": 4},
            "partition": {
                "fingerprint": "1341",
                "num_clients": num_clients,
                "examples_min": 3,
                "examples_median": 40.0,
                "examples_max": 90,
            },
            "seconds": {"data": 1.5, "tensorflow": 4.0, "training": 7.7, "evaluation": 1.4, "total": 19.0},
            "peak_memory_bytes": 736_468_992,
            **described,
        },
    )
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 30, (num_clients, num_classes)) + 1
    ids = [str(i) for i in range(num_clients)]
    write_labels(folder.labels, ids, counts)
    if finished:
        accuracies = np.round(rng.uniform(0.5, 1, num_clients), 4)
        rows = zip(ids, counts.sum(axis=1).tolist(), accuracies.tolist(), (1 - accuracies).tolist())
        write_scores(folder.clients, [ClientScore(*row) for row in rows])
        figures = {k: v for k, v in (records[-1] if records else {}).items() if k.startswith("test_") and v is not None}
        figures.update(client_accuracy_mean=float(accuracies.mean()), client_accuracy_worst=float(accuracies.min()))
        folder.write_summary({"num_rounds": len(records), "seconds_per_round": 0.033, **figures, **(summary or {})})
    return path


def png(width: int, height: int, gray: int = 128) -> bytes:
    """A PNG of one colour."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = (b"\0" + bytes([gray]) * width) * height
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


_VOID = {"meta", "link", "img", "br", "path", "wbr"}


class PageReader(html.parser.HTMLParser):
    """Reads a page and checks that what is opened is closed."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        assert self._open == [], f"never closed: {self._open}"

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in _VOID:
            self._open.append(tag)
        if tag != "wbr":
            self.words.append(" ")

    def handle_startendtag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open and self._open.pop() == tag, f"</{tag}> closes nothing"
        self.words.append(" ")

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] not in ("style", "script"):
            self.words.append(data)

    @property
    def text(self) -> str:
        """What is read on the page, with single blanks."""
        return " ".join("".join(self.words).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def sections(self) -> list[str | None]:
        return [attributes["id"] for attributes in self.all("section")]


def read_page(path: pathlib.Path) -> PageReader:
    return PageReader(path.read_text())


@pytest.fixture
def run(tmp_path):
    """Writes a run below the test's folder: `run("a", records=…)`."""

    def write(folder: str = "run", /, **options: Any) -> pathlib.Path:
        return write_run(tmp_path / folder, **options)

    return write
