"""Whole runs of a small federation, as the tests of fedlab/run have them."""

from tests.run.conftest import npz, run_of  # noqa: F401
