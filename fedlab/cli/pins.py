"""The packages that fedlab needs, and their tested versions, as `requirements/` pins them in the wheel or in the checkout."""

from __future__ import annotations

import importlib.metadata
import pathlib
from typing import TYPE_CHECKING

import fedlab

if TYPE_CHECKING:
    from packaging.requirements import Requirement

DISTRIBUTION = "fedlab-runner"
OVERRIDDEN = ("jax", "jaxlib")  # TFF 0.87 pins them to versions that are no longer published: checked like direct packages


def install(extra: str = "base") -> str:
    """Returns the command that installs all tested versions. `extra`: the name of a file in `requirements/`."""
    package = pathlib.Path(fedlab.__file__).parent
    inside = package / "requirements"
    folder = inside if inside.is_dir() else package.parent / "requirements"
    return f"pip install --no-deps --require-hashes -r {folder / extra}.txt"


def reinstall(name: str) -> str:
    """Returns the command that reinstalls one package, or all if `name` is not pinned or the pins cannot be read."""
    try:
        return f"pip install --no-deps --force-reinstall '{name}=={read()[name]}'"
    except (ImportError, OSError, KeyError):
        return install()


def read() -> dict[str, str]:
    """Returns {canonical name: version} of every pin that applies to this Python. Raises `ImportError` without `packaging`."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    lines = pathlib.Path(install().partition(" -r ")[2]).read_text().splitlines()
    pins = [Requirement(line.rstrip("\\ ")) for line in lines if "==" in line and not line.startswith(("#", " "))]
    kept = [pin for pin in pins if pin.marker is None or pin.marker.evaluate()]
    return {canonicalize_name(pin.name): next(iter(pin.specifier)).version for pin in kept}


def direct() -> dict[str, Requirement]:
    """Returns {canonical name: requirement} of each direct dependency. Raises `ImportError` without `packaging`."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    wanted = map(Requirement, importlib.metadata.requires(DISTRIBUTION) or ())
    kept = [one for one in wanted if one.marker is None or one.marker.evaluate({"extra": ""})]
    return {canonicalize_name(one.name): one for one in (*kept, *map(Requirement, OVERRIDDEN))}


def installed(name: str) -> str:
    """Returns the installed version of a distribution, or the empty string."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""
