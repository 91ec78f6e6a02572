"""TensorFlow and TFF start without the packages that most runs never use, and these are there once they are used."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import sys
from fedlab.run import postponed
from fedlab.run.start import start_tensorflow

start_tensorflow("cpu", expected_clients=1)
imported = {name for name, module in sys.modules.items() if not isinstance(module, postponed._Postponed)}
early = {*postponed.MODULES, "jax", "sklearn", "tensorflow_estimator"} & imported
assert not early, early

import numpy as np
import tensorflow_federated as tff
import tensorflow_privacy as tfp
from scipy.stats import norm
import scipy.signal
import sklearn.metrics
import tensorflow_probability

query = tfp.NormalizedQuery(tfp.GaussianSumQuery(1.0, 1.0), denominator=2)
assert isinstance(query, tfp.DPQuery) and tfp.v1.DNNClassifierV1 and tfp.DPKerasSGDOptimizer
aggregator = tff.aggregators.DifferentiallyPrivateFactory(query)
assert aggregator.create(tff.TensorType(np.float32, [3])).is_weighted is False
assert str(tff.jax.computation(np.int32)(lambda x: x + 1).type_signature) == "(int32 -> int32)"
assert norm.cdf(0.0) == 0.5 and scipy.stats.norm is norm
assert np.array_equal(scipy.signal.fftconvolve([1.0, 2.0], [3.0]).round(), [3.0, 6.0])
assert tensorflow_probability.distributions.Normal
left = [name for name, module in sys.modules.items() if isinstance(module, postponed._Postponed)]
assert not left, left
"""


def test_postponed_packages_are_imported_at_their_first_use():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr
