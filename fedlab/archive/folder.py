"""The folder of one run."""

from __future__ import annotations

import json
import os
import pathlib
from typing import Any

from fedlab.errors import FedlabError


class RunFolder:
    """Names and writes what a run leaves behind. A file appears under its name only once it is whole."""

    def __init__(self, path: pathlib.Path):
        self.path = path
        self.config = path / "config.yaml"
        self.metrics = path / "metrics.jsonl"
        self.summary = path / "summary.json"
        self.model = path / "model.keras"
        self.curves = path / "curves.png"
        self.partition = path / "partition.png"
        self.tensorboard = path / "tensorboard"

    @classmethod
    def create(cls, path: pathlib.Path, config_yaml: str) -> RunFolder:
        """Claims `path`, or `path`-2, -3, … where another run of the same second has it. Raises `FedlabError`."""
        for attempt in range(1, 1000):
            candidate = path if attempt == 1 else path.with_name(f"{path.name}-{attempt}")
            try:
                candidate.mkdir(parents=True, exist_ok=True)
                with open(candidate / "config.yaml", "x") as file:  # exclusive: only one run gets the name
                    file.write(config_yaml)
                return cls(candidate)
            except FileExistsError:
                if candidate.exists() and not candidate.is_dir():
                    raise FedlabError(f"the run folder {candidate} is a file: move it, or set hydra.run.dir=FOLDER.") from None
            except OSError as error:
                raise FedlabError(
                    f"cannot write the run folder {candidate} ({error.strerror}): set hydra.run.dir=FOLDER."
                ) from error
        raise FedlabError(f"cannot find a free run folder beside {path}.")

    def write_summary(self, summary: dict[str, Any]) -> None:
        """Writes summary.json."""
        with replacing(self.summary) as partial:
            partial.write_text(json.dumps(summary, indent=2) + "\n")


class replacing:
    """`with replacing(path) as partial:` write to `partial`, which becomes `path` when the block ends without an error."""

    def __init__(self, path: pathlib.Path):
        self._path = path
        self._partial = path.with_name(f".partial-{path.name}")

    def __enter__(self) -> pathlib.Path:
        return self._partial

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if kind is None:
            os.replace(self._partial, self._path)
        else:
            self._partial.unlink(missing_ok=True)
