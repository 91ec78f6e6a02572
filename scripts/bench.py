#!/usr/bin/env python3
"""Benchmarks: `bench.py [SUITE] [options]`; without a suite it is `rounds`.

    python scripts/bench.py                            # every workload, several minutes
    python scripts/bench.py --workloads W1 --repeats 1
    python scripts/bench.py secure
    python scripts/bench.py rounds --help

A suite is a module of `scripts/bench/` with a `SUITE`, see `bench.harness`, named below.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

SUITES = {
    "rounds": "seconds per round, memory and start of fedlab, TFF and a hand-written loop",
    "secure": "seconds and bytes per round under each secure-sum protocol",
    "robust": "CPU seconds and memory of median, trimmed mean and Krum, against the mean and NumPy",
    "gan": "seconds per round and memory of a federated GAN, against a hand-written loop and TFF's runtime",
    "population": "CPU seconds, memory and seconds per round by the number of users",
}
DEFAULT = "rounds"


def main(argv: Sequence[str]) -> int:
    """Runs one suite."""
    parser = argparse.ArgumentParser(prog="bench.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    suites = parser.add_subparsers(dest="suite", metavar="SUITE")
    modules = {name: importlib.import_module(f"bench.{name}") for name in SUITES}
    for name, purpose in SUITES.items():
        modules[name].SUITE.add_arguments(suites.add_parser(name, help=purpose, description=modules[name].__doc__))
    implied = not argv or argv[0] not in (*SUITES, "-h", "--help")
    arguments = parser.parse_args([DEFAULT, *argv] if implied else argv)
    return modules[arguments.suite].SUITE.main(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
