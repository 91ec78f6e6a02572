"""`Initial`: the weights that training starts from, and the layers that it leaves as they are. Imports no TensorFlow."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import BeforeValidator, create_model, model_validator

from fedlab.archive.folder import relative
from fedlab.archive.reading import Run, folder_and_arm, read_run
from fedlab.arrays import read_arrays
from fedlab.errors import ConfigError, one_line
from fedlab.models import keras_file
from fedlab.spec import Spec, absolute

if TYPE_CHECKING:
    from fedlab.models.transfer import Saved, Started

    _From = Spec
else:  # an option with the name of a keyword
    _From = create_model("_From", __base__=Spec, **{"from": (str | None, None)})
    _From.locations = ("from",)


def _several(given: Any) -> Any:
    if not isinstance(given, (str, list, tuple, type(None))):
        raise ValueError("must be a name of a layer or a pattern such as conv2d*, or a list of them")
    return [given] if isinstance(given, str) else given


_Names = BeforeValidator(_several)


class Initial(_From):
    """The initial weights of a run, by default drawn from its seed.

    `from`: a finished run (RUN, or RUN:ARM), a .keras file, or a .npz file of arrays by the names of weights, such as
    dense/kernel. `layers`: the layers to take, by name or by patterns such as conv2d*; None: all that the source has. `freeze`:
    the layers that are neither trained nor sent.
    """

    locations: ClassVar[tuple[str, ...]] = ("from",)

    layers: Annotated[tuple[str, ...] | None, _Names] = None
    freeze: Annotated[tuple[str, ...], _Names] = ()

    @classmethod
    def recorded_location(cls, option: str, value: Any) -> Any:
        """Returns the absolute path; of RUN:ARM, that of the arm's folder."""
        found = absolute(value)
        if not isinstance(found, str):
            return found
        folder, arm = folder_and_arm(found)
        return str(folder / "arms" / arm) if arm is not None and (folder / "arms" / arm).is_dir() else found

    @model_validator(mode="after")
    def _layers_have_a_source(self) -> Initial:
        if self.layers is not None and self.source is None:
            raise ValueError("layers lists the layers to take from init.from: give init.from as well")
        if self.layers == ():
            raise ValueError("layers is empty, so nothing would be taken: name layers, or leave it out to take all")
        return self

    @property
    def source(self) -> str | None:
        """Returns the option `from`."""
        found: str | None = getattr(self, "from")
        return found

    @property
    def is_on(self) -> bool:
        """Returns True if the options change anything."""
        return self.source is not None or bool(self.freeze)

    def check(self) -> None:
        """Raises `FedlabError` if there is no such source, or it cannot be read; `NotTrusted` if it could run code."""
        if self.source is not None:
            file = self._file()
            if file.suffix == ".npz":
                self._arrays(file)
            else:
                keras_file.require_trust(file)

    def on(self, build: Callable[..., Any]) -> Callable[..., Any]:
        """Returns a function that builds models like `build`, which start from these weights. Raises `FedlabError`."""
        return self.started(build) if self.is_on else build

    def started(self, build: Callable[..., Any]) -> Started:
        """Returns `build` with these initial weights, which are read now."""
        from fedlab.models.transfer import Started

        return Started(build, None if self.source is None else self._saved(), self.layers, self.freeze)

    def _saved(self) -> Saved:
        from fedlab.models.saved import load_keras
        from fedlab.models.transfer import SavedArrays, saved_model

        file = self._file()
        if file.suffix == ".npz":
            return SavedArrays(relative(file), self._arrays(file))
        return saved_model(relative(file), load_keras(file))

    def _file(self) -> pathlib.Path:
        """Returns the file of weights. Raises `FedlabError` if there is none."""
        assert self.source is not None
        path = pathlib.Path(self.recorded_location("from", self.source))
        if path.is_dir():
            return _model_of(path, self.source)
        if not path.is_file():
            folder, arm = folder_and_arm(str(path))
            if arm is not None and folder.is_dir():
                _run_at(folder).arm(arm)  # raises the error that names its arms
            raise ConfigError(f"init.from={self.source}: there is no such file or folder. {_KINDS}")
        if path.suffix not in (".keras", ".npz"):
            raise ConfigError(f"init.from={self.source} is no .keras and no .npz file. {_KINDS}")
        return path

    def _arrays(self, file: pathlib.Path) -> dict[str, Any]:
        try:
            arrays = read_arrays(file)
        except (OSError, ValueError) as error:
            raise ConfigError(f"init.from={self.source} cannot be read: {one_line(error)}.") from error
        if not arrays:
            raise ConfigError(f"init.from={self.source} has no arrays: store one for each weight, by its name.")
        return arrays


_KINDS = "Give the folder of a finished run (or RUN:ARM), a .keras file, or a .npz file of arrays by the names of weights."


def _run_at(folder: pathlib.Path) -> Run:
    if folder.parent.name == "arms" and not (folder / "manifest.json").exists():
        return read_run(folder.parent.parent).arm(folder.name)
    return read_run(folder)


def _model_of(folder: pathlib.Path, given: str) -> pathlib.Path:
    """Returns the final model of the run in `folder`. Raises `FedlabError` if it has none."""
    run = _run_at(folder)
    if run.arms:
        raise ConfigError(f"init.from={given} has several arms: name one, such as {given}:{run.arms[0]}.")
    if run.status != "finished":
        raise ConfigError(f"init.from={given}: this run has not finished ({run.status}), so it has no final model.")
    model = run.folder.model
    if not model.is_file():
        raise ConfigError(f"init.from={given}: this run has no single final model (model.keras).")
    run.check(model)
    return model
