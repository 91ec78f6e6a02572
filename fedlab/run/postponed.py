"""Packages that TensorFlow and TFF import when they start and that most runs never use: imported at their first use instead.

They take a fifth of the time that a command needs to start.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import sys
import types
from collections.abc import Iterator
from importlib.machinery import PathFinder
from typing import Any

JAX_OF_TFF = "tensorflow_federated.python.core.environments.jax"  # computations written in JAX
MODULES = ("scipy.signal", "scipy.stats", "tensorflow_probability", JAX_OF_TFF)  # without each, TFF can be imported


@contextlib.contextmanager
def without_jax() -> Iterator[None]:
    """Makes `import jax` fail within the context. TensorFlow then leaves out the conversion of JAX models to TensorFlow Lite."""
    if "jax" in sys.modules:
        yield
        return
    sys.modules["jax"] = None  # type: ignore[assignment]  # the documented way to make an import fail
    try:
        yield
    finally:
        del sys.modules["jax"]


def postpone() -> None:
    """Postpones `MODULES` and most of TensorFlow Privacy. Call it after TensorFlow has been imported and before TFF is."""
    for name in MODULES:
        _Postponed.install(name)
    _postpone_tensorflow_privacy()


class _Postponed(types.ModuleType):
    """A module that is imported at the first access to an attribute or a submodule. (`importlib.util.LazyLoader` imports it at
    the second import.)"""

    @classmethod
    def install(cls, name: str) -> None:
        spec = None if name in sys.modules else _spec_of(name)
        if spec is not None:
            module = cls(name)
            module.__spec__, module.__file__ = spec, spec.origin
            sys.modules[name] = module

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("__") and attribute != "__path__":  # code that walks all modules reads these
            raise AttributeError(attribute)
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), attribute)


def _spec_of(name: str) -> importlib.machinery.ModuleSpec | None:
    """Returns the spec of a module without importing the packages that contain it, or None if there is no such module."""
    top, *inner = name.split(".")
    spec = importlib.util.find_spec(top)
    if spec is None or not inner:
        return spec
    return PathFinder.find_spec(name, [os.path.join(folder, *inner[:-1]) for folder in spec.submodule_search_locations or ()])


def _postpone_tensorflow_privacy() -> None:
    """Imports of TensorFlow Privacy only the two classes that TFF's signatures name; the others at their first use.

    The whole package also imports scikit-learn and TensorFlow's estimators.
    """
    if "tensorflow_privacy" in sys.modules:
        return
    sys.skip_tf_privacy_import = True  # type: ignore[attr-defined]  # the package reads it: then it imports nothing of its own
    try:
        package: Any = importlib.import_module("tensorflow_privacy")
    finally:
        del sys.skip_tf_privacy_import  # type: ignore[attr-defined]
    for module, name in (("dp_query", "DPQuery"), ("quantile_estimator_query", "QuantileEstimatorQuery")):
        setattr(package, name, getattr(importlib.import_module(f"tensorflow_privacy.privacy.dp_query.{module}"), name))

    def of_the_whole(name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        package.__dict__.pop("__getattr__", None)
        importlib.reload(package)
        return getattr(package, name)

    package.__getattr__ = of_the_whole
