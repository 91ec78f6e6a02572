"""Starts TensorFlow: threads and device chosen before it initialises, its start-up chatter kept from the user."""

from __future__ import annotations

import contextlib
import gc
import importlib
import importlib.util
import os
import sys
import tempfile
import types
import warnings
from collections.abc import Iterator
from typing import Any

from fedlab import cores
from fedlab.errors import ConfigError

# What TensorFlow 2.14 prints at import on a healthy machine
_CHATTER = (
    "Unable to register cu",
    "oneDNN custom operations",
    "cudart_stub.cc",
    "TF-TRT Warning",
    "cpu_feature_guard",
    "rebuild TensorFlow",
)


def start_tensorflow(device: str, expected_clients: int) -> None:
    """Imports TensorFlow and TFF. `device`: auto, cpu, gpu; raises `ConfigError` where a GPU is asked for and none is there.

    The cores are shared out among the `expected_clients` of a cohort: with at least as many clients as cores, one thread
    computes each op, and clients run side by side. That is up to twice as fast as threads within ops, and its results
    do not depend on the number of cores.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
    # Convolutions and large products in up to 1.8 times less time. TensorFlow chooses it by itself on some processors and not on
    # others. TFF's worker, a child process, follows
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    if device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    with _without_chatter(), _without_collecting(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="pkg_resources is deprecated", category=UserWarning)
        import tensorflow as tf

        _Postponed.install("tensorflow_probability")  # half a second; TFF loads it for one kind of noise
        import tensorflow_federated as tff

        import fedlab.lowering  # noqa: F401, which tells AutoGraph what to leave alone: from the first thing that is traced

        gpus = tf.config.list_physical_devices("GPU")
        num_cores = cores.available()
        with contextlib.suppress(RuntimeError):  # already initialised by an earlier run in this process
            tf.config.threading.set_intra_op_parallelism_threads(max(1, num_cores // max(1, expected_clients)))
            tf.config.threading.set_inter_op_parallelism_threads(num_cores)
        # The first would make long sums of pairs again (see fedlab.lowering), the second fails, and says so on every start, where
        # oneDNN meets the derivative of a leaky ReLU; no round is measurably slower without it
        tf.config.optimizer.set_experimental_options({"arithmetic_optimization": False, "remapping": False})
    # Without this, TFF would start its runtime, a child process, at the first stray call of one of its computations
    tff.test.set_no_default_context()
    if device == "gpu" and not gpus:
        raise ConfigError("engine.device=gpu, but TensorFlow sees no GPU: see `fedlab doctor`, or use engine.device=cpu.")
    for gpu in gpus:
        with contextlib.suppress(RuntimeError):  # already initialised by an earlier run in this process
            tf.config.experimental.set_memory_growth(gpu, True)


@contextlib.contextmanager
def _without_collecting() -> Iterator[None]:
    """Imports leave next to no garbage, yet looking for it takes a fourth of their time. What they made, no later look visits."""
    if "tensorflow" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        gc.enable()


class _Postponed(types.ModuleType):
    """Stands for a package until somebody asks for what is in it. (`importlib.util.LazyLoader` loads at the second import.)"""

    @classmethod
    def install(cls, name: str) -> None:
        spec = None if name in sys.modules else importlib.util.find_spec(name)
        if spec is not None:
            module = cls(name)
            module.__spec__, module.__file__, module.__path__ = spec, spec.origin, list(spec.submodule_search_locations or [])
            sys.modules[name] = module

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("__"):  # whoever looks through all modules asks for these
            raise AttributeError(attribute)
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), attribute)


@contextlib.contextmanager
def _without_chatter() -> Iterator[None]:
    """Holds back what native code writes to stderr, and then passes on what is not known chatter."""
    sys.stderr.flush()
    original = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(original, 2)
            os.close(original)
            held.seek(0)
            for line in held.read().decode(errors="replace").splitlines():
                if line.strip() and not any(known in line for known in _CHATTER):
                    print(line, file=sys.stderr)
