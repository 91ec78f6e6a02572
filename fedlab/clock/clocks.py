"""Device speeds, from a distribution or from a file."""

from __future__ import annotations

import abc
import csv
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from pydantic import NonNegativeFloat, PositiveFloat, model_validator

from fedlab.errors import ConfigError, FedlabError
from fedlab.randomness import generator
from fedlab.spec import Spec, shown

_LEAST = 1e-9  # seconds: no device is infinitely fast
_COLUMNS = ("client", "seconds")


class Clock(Spec):
    """The seconds that each client needs to receive the model, train and send its update. They are the same in every round.

    A round with a cohort takes as long as the slowest of its clients that report. The server itself takes no time.
    """

    def check(self) -> None:
        """Raises `ConfigError` for a file that cannot be read. Reads no training data."""

    def seconds(self, client_ids: Sequence[str], seed: int) -> np.ndarray | None:
        """Returns each client's seconds, float64 [clients], all above 0; None if no time is simulated.

        Raises `FedlabError` if `_seconds` returns anything else.
        """
        made = self._seconds(client_ids, seed)
        return None if made is None else _checked(made, len(client_ids), f"{type(self).__name__}._seconds")

    @abc.abstractmethod
    def _seconds(self, client_ids: Sequence[str], seed: int) -> np.ndarray | None:
        """As `seconds`, in float64 or float32."""


class NoClock(Clock):
    """Simulates no time."""

    def _seconds(self, client_ids: Sequence[str], seed: int) -> None:
        return None


class _Drawn(Clock):
    """Clocks with an independent draw for each client."""

    def _seconds(self, client_ids: Sequence[str], seed: int) -> np.ndarray:
        drawn = self._draw(generator(seed, "client seconds"), len(client_ids))
        return np.maximum(np.asarray(drawn, np.float64), _LEAST)

    @abc.abstractmethod
    def _draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Returns the seconds of `count` clients."""


class Constant(_Drawn):
    """All devices are equally fast."""

    each: PositiveFloat = 1.0  # seconds

    def _draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        return np.full(count, self.each)


class HalfNormal(_Drawn):
    """The absolute value of a normal draw with mean 0, as Nguyen et al. 2022 simulate devices. The mean is 0.8 · `scale`."""

    scale: PositiveFloat = 1.0  # seconds: the standard deviation of the normal draw

    def _draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        return np.abs(rng.normal(0.0, self.scale, count))


class LogNormal(_Drawn):
    """The exponential of a normal draw. `sigma` = 0: all devices are equally fast."""

    median: PositiveFloat = 1.0  # seconds
    sigma: NonNegativeFloat = 1.0  # standard deviation of the logarithm

    def _draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        return self.median * np.exp(rng.normal(0.0, self.sigma, count))


class Uniform(_Drawn):
    """Uniform draws from `low` to `high`."""

    low: PositiveFloat = 0.5  # seconds
    high: PositiveFloat = 1.5  # seconds, at least `low`

    @model_validator(mode="after")
    def _ascending(self) -> Uniform:
        if self.low > self.high:
            raise ValueError(f"low={self.low:g} exceeds high={self.high:g}: give a high of at least low")
        return self

    def _draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        return rng.uniform(self.low, self.high, count)


class Trace(Clock):
    """Measured devices: a CSV file with the columns client and seconds, and a row for every client that can take part.

    A client's name is that of `fedlab data show --assignment`: its user id, or its number from 0. Other rows have no effect.
    """

    locations: ClassVar[tuple[str, ...]] = ("path",)

    path: str  # the file

    def check(self) -> None:
        self._rows()

    def _seconds(self, client_ids: Sequence[str], seed: int) -> np.ndarray:
        rows = self._rows()
        missing = [name for name in client_ids if name not in rows]
        if missing:
            raise ConfigError(
                f"clock.path={self.path} has no row for {len(missing):,} of the {len(client_ids):,} clients, such as client "
                f"{missing[0]}: add a row with its seconds."
            )
        return np.array([rows[name] for name in client_ids], np.float64)

    def _rows(self) -> Mapping[str, float]:
        """Returns the seconds by client. Raises `ConfigError` for a file that cannot be read, with the line."""
        path, found = pathlib.Path(self.path).expanduser(), {}
        try:
            with path.open(newline="", encoding="utf-8-sig") as file:
                reader = csv.DictReader(file)
                if not set(_COLUMNS) <= set(reader.fieldnames or ()):
                    raise ConfigError(f"clock.path={self.path}: the first line must name the columns client and seconds.")
                for row in reader:
                    name, seconds = row["client"], _positive(row["seconds"])
                    if seconds is None:
                        raise ConfigError(
                            f"clock.path={self.path}, line {reader.line_num}: seconds is {row['seconds']!r}, and must be a "
                            f"number of at least {_LEAST:g}."
                        )
                    if name in found:
                        raise ConfigError(f"clock.path={self.path}, line {reader.line_num}: client {name} has two rows.")
                    found[name] = seconds
        except OSError as error:
            raise ConfigError(f"clock.path={self.path} cannot be read: {error.strerror or error}.") from error
        except (UnicodeDecodeError, csv.Error) as error:
            raise ConfigError(f"clock.path={self.path} is no CSV file in UTF-8: {error}.") from error
        return found


def _checked(made: Any, num_clients: int, name: str) -> np.ndarray:
    """Returns `made` as float64 [clients]. Raises `FedlabError` if it is no list of seconds. `name`: its function."""
    try:
        array = np.asarray(made)
    except ValueError:  # lists of several lengths
        array = np.asarray(None)
    if array.shape != (num_clients,) or array.dtype.kind not in "iuf":
        given = shown(made) if array.dtype == object else f"{array.dtype} {list(array.shape)}"
        raise FedlabError(f"clock: {name} returned {given}; it must return {num_clients:,} numbers, the seconds of each client.")
    wrong = array[~(np.isfinite(array) & (array > 0))]
    if len(wrong):
        raise FedlabError(f"clock: {name} returned {wrong[0]} seconds for a client; seconds must be finite and above 0.")
    return array.astype(np.float64)


def _positive(text: str | None) -> float | None:
    """Returns the number in `text`, at least `_LEAST`; None if there is none."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= _LEAST else None
