"""The suites of `scripts/bench.py`, and what they share."""
