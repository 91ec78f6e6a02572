"""The choices of a picture for a paper. Imports nothing: the parser of `fedlab plot` reads them for tab completion."""

from __future__ import annotations

from typing import Literal, get_args

X = Literal["round", "bytes", "bytes_up", "bytes_down", "seconds", "simulated_seconds", "epsilon"]  # the horizontal axis
Band = Literal["std", "ci", "range", "none"]
Log = Literal["x", "y", "both"]
XS: tuple[X, ...] = get_args(X)
BANDS: tuple[Band, ...] = get_args(Band)
LOGS: tuple[Log, ...] = get_args(Log)
FORMATS = ("pdf", "svg", "png")
WIDTHS = {"column": 3.25, "text": 5.5, "wide": 6.75}  # inches
SMALLEST, LARGEST = 1.0, 30.0  # inches
