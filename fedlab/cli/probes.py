"""Tests packages in processes of their own, so that a crash of native code becomes a message."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

from fedlab.stopping import ending

CODE = {  # of each probe; it prints a line per working part
    "tensorflow": """
import tensorflow as tf
print("tensorflow", flush=True)
for gpu in tf.config.list_physical_devices("GPU"):
    print("GPU", tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name), flush=True)
import tensorflow_federated
print("tensorflow_federated", flush=True)
""",
    "tenseal": """
import tenseal
context = tenseal.context(tenseal.SCHEME_TYPE.CKKS, poly_modulus_degree=8192, coeff_mod_bit_sizes=[60, 40, 60])
context.global_scale = 2**40
[three] = (tenseal.ckks_vector(context, [1.0]) + tenseal.ckks_vector(context, [2.0])).decrypt()
assert abs(three - 3) < 1e-3, f"1 + 2 came out of the encryption as {three}"
print("tenseal", flush=True)
""",
}
# Removes the empty path that `python -c` adds and `fedlab train` lacks
_START = "import sys, warnings; sys.path[:] = [p for p in sys.path if p]; warnings.simplefilter('ignore')\n"


@contextlib.contextmanager
def probe(name: str) -> Iterator[subprocess.Popen[str]]:
    """Tests tensorflow or tenseal in a process of its own, which has ended after the block."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONWARNINGS": "ignore"}
    command, pipe = [sys.executable, "-c", _START + CODE[name]], subprocess.PIPE
    process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, errors="replace", env=environment)
    with ending(process, signal.SIGKILL):
        yield process


def result(process: subprocess.Popen[str], seconds: float = 600) -> tuple[list[str], str]:
    """Waits for a probe; returns the printed lines, and the failure, if any: the last line of stderr, or the signal."""
    try:
        output, errors = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.communicate()[0].splitlines(), f"no answer in {seconds:.0f} s"
    failure = (errors.strip().splitlines() or ["failed without a word"])[-1] if process.returncode else ""
    if process.returncode == -signal.SIGILL:
        failure = "killed by an instruction that this processor lacks (TensorFlow 2.14 needs AVX)"
    elif process.returncode < 0:
        failure = f"killed by {signal.Signals(-process.returncode).name}"
    return output.splitlines(), failure
