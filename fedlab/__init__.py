"""fedlab: federated-learning experiments from the command line or from Python, on TensorFlow Federated.

    import fedlab

    trained = fedlab.run("digits/fedavg", "num_rounds=3", on_line=print)
    trained.summary["test_accuracy"], trained.model(), trained.figure("curves")
    fedlab.open_run("outputs/…").metrics
    fedlab.resume("outputs/…", "num_rounds=6"), fedlab.verify("outputs/…")
    fedlab.runs()
    fedlab.plot("multirun/…", x="bytes").save("accuracy.pdf")
    fedlab.sweep("digits/fedavg", "client_optimizer.learning_rate=0.1,0.3").best
    fedlab.reproduce("mcmahan2017", quick=True).passed

Data flows one way, and the folders are its stages:
``data → partition → cohort → tasks, models → algorithms (aggregation, privacy, secure) → engine → evaluation → run → report``.
Importing `fedlab` imports neither TensorFlow nor Hydra; docs/library.md describes its functions.
"""

from __future__ import annotations

import importlib
import sys
import types
from typing import TYPE_CHECKING, Any

from fedlab import registry
from fedlab.errors import ConfigError, DataError, FedlabError

if TYPE_CHECKING:
    from fedlab.library import ComparedRuns, Figure, PlottedRuns, SavedRun, compare, open_run, plot, resume, run, runs, verify
    from fedlab.studies.reproduce.library import SavedScorecard, ScorecardRow, open_scorecard, reproduce
    from fedlab.studies.sweep.library import SavedSweep, SweepJob, open_sweep, sweep

__version__ = "0.2.0"
__all__ = [
    "ComparedRuns",
    "ConfigError",
    "DataError",
    "FedlabError",
    "Figure",
    "PlottedRuns",
    "SavedRun",
    "SavedScorecard",
    "SavedSweep",
    "ScorecardRow",
    "SweepJob",
    "__version__",
    "compare",
    "open_run",
    "open_scorecard",
    "open_sweep",
    "plot",
    "reproduce",
    "resume",
    "run",
    "runs",
    "sweep",
    "verify",
]

_OF_LIBRARY = ("ComparedRuns", "Figure", "PlottedRuns", "SavedRun", "compare", "open_run", "plot", "resume", "runs", "verify")


def __getattr__(name: str) -> Any:
    """Imports the library, or the study whose function it is, when it is first used."""
    if name in _OF_LIBRARY:
        return getattr(importlib.import_module("fedlab.library"), name)
    if name in __all__:
        return registry.resolved(registry.functions()[name])
    raise AttributeError(f"module 'fedlab' has no attribute '{name}'")


class _Stage(types.ModuleType):
    """The package `fedlab.run`, which may also be called: Python gives it the name of the function."""

    def __call__(self, experiment: str = "", *overrides: str, **options: Any) -> SavedRun:
        """Trains one run to its end, see `fedlab.library.run`."""
        return importlib.import_module("fedlab.library").run(experiment, *overrides, **options)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles as any module does where functions are sent to other processes: by name."""
        return importlib.import_module, (self.__name__,)


importlib.import_module("fedlab.studies")  # registers the studies, before any other module asks for them
importlib.import_module("fedlab.run")  # a docstring and no more
sys.modules["fedlab.run"].__class__ = _Stage
