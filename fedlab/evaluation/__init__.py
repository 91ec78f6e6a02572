"""Evaluation: weights and data in, named numbers out. This module holds the options; it imports no TensorFlow."""

from __future__ import annotations

import pathlib
from typing import Annotated

from pydantic import Field, PositiveInt

from fedlab.errors import ConfigError
from fedlab.spec import Spec

__all__ = ["Evaluation", "GanEvaluation"]


class Evaluation(Spec):
    """What is measured besides the training metrics of each round."""

    batch_size: PositiveInt = 500  # examples evaluated at a time; changes no result
    per_client: bool = True  # at the end of a run, accuracy on each client's own examples
    # Share of its examples that each client keeps from training, to be evaluated on; 0: on those that it trains on
    holdout: Annotated[float, Field(ge=0, lt=1)] = 0.0

    def check(self) -> None:
        """Raises `ConfigError` for what is not there."""


class GanEvaluation(Evaluation):
    """What is measured of generated images, for process=gan."""

    # generated, in one batch, and as many real ones of the test set, or all where it has fewer
    num_images: Annotated[int, Field(ge=2, le=10_000)] = 500
    grid_size: PositiveInt = 6  # pictures of the generator's progress have so many images in either direction
    classifier: str | None = (
        None  # a run folder with a model.keras, or a Keras file, which measures the images; None: nothing does
    )

    @property
    def classifier_path(self) -> pathlib.Path | None:
        """The Keras file."""
        if self.classifier is None:
            return None
        path = pathlib.Path(self.classifier).expanduser()
        return path / "model.keras" if path.is_dir() else path

    def check(self) -> None:
        path = self.classifier_path
        if path is not None and not path.is_file():
            raise ConfigError(
                f"evaluation.classifier={self.classifier}, but there is no {path}: "
                "give the folder of a finished run, or a Keras file."
            )
