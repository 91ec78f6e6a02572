"""Starts TensorFlow: chooses threads and device before it initialises, and hides its start-up messages."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator

from fedlab import cores
from fedlab.errors import ConfigError
from fedlab.run import postponed

# Messages that TensorFlow 2.14 prints at import on a healthy machine
_CHATTER = (
    "Unable to register cu",
    "oneDNN custom operations",
    "cudart_stub.cc",
    "TF-TRT Warning",
    "cpu_feature_guard",
    "rebuild TensorFlow",
)


def start_tensorflow(device: str, expected_clients: int) -> None:
    """Imports TensorFlow and TFF. `device`: auto, cpu, gpu; raises `ConfigError` if gpu is requested and there is none.

    The cores are divided among the `expected_clients` of a cohort: with at least as many clients as cores, each op uses one
    thread, and clients run in parallel. This is up to twice as fast as threads within ops, and the results do not depend on the
    number of cores.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
    # oneDNN makes convolutions and large products up to 1.8 times as fast. TensorFlow's default depends on the processor. TFF's
    # worker, a child process, inherits the variable
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    if device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    with _without_chatter(), _without_collecting(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="pkg_resources is deprecated", category=UserWarning)
        with postponed.without_jax():
            import tensorflow as tf
        postponed.postpone()
        import tensorflow_federated as tff

        import fedlab.lowering  # noqa: F401, which sets AutoGraph's rules before anything is traced

        gpus = tf.config.list_physical_devices("GPU")
        num_cores = cores.available()
        with contextlib.suppress(RuntimeError):  # already initialised by an earlier run in this process
            tf.config.threading.set_intra_op_parallelism_threads(max(1, num_cores // max(1, expected_clients)))
            tf.config.threading.set_inter_op_parallelism_threads(num_cores)
        # The first would merge pairwise sums into long ones again (see fedlab.lowering). The second fails, with a message on
        # every start, if oneDNN gets the derivative of a leaky ReLU; no round is measurably slower without it
        tf.config.optimizer.set_experimental_options({"arithmetic_optimization": False, "remapping": False})
    # Without this, TFF would start its runtime, a child process, at the first direct call of one of its computations
    tff.test.set_no_default_context()
    if device == "gpu" and not gpus:
        raise ConfigError("engine.device=gpu, but TensorFlow sees no GPU: see `fedlab doctor`, or use engine.device=cpu.")
    for gpu in gpus:
        with contextlib.suppress(RuntimeError):  # already initialised by an earlier run in this process
            tf.config.experimental.set_memory_growth(gpu, True)


@contextlib.contextmanager
def _without_collecting() -> Iterator[None]:
    """Disables garbage collection during imports, which create almost no garbage but spend 1/4 of their time collecting; then
    excludes the imported objects from later collections."""
    if "tensorflow" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        gc.enable()


@contextlib.contextmanager
def _without_chatter() -> Iterator[None]:
    """Buffers the stderr output of native code, and then prints it without the known start-up messages."""
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
                    os.write(2, f"{line}\n".encode(errors="replace"))
