"""The verbs of the command line and their actions, such as `data list`, as `fedlab --help` and tab completion list them.

A verb is a module with `parser()` and `main(argv)`; to add one, write it and add a row here, or to the `STUDY` of a study
(`fedlab/studies`). Imports no verb.
"""

from __future__ import annotations

import math

from fedlab import registry
from fedlab.registry import Verb

_ALL = (
    Verb("train", "train a federated model: fedlab train +experiment=digits/fedavg", "fedlab.cli.train", overrides=""),
    Verb("runs", "list runs: fedlab runs outputs status=finished --sort accuracy", "fedlab.cli.runs", runs=math.inf),
    Verb("report", "write the page of a run or of a sweep, one file that needs no network", "fedlab.cli.report", runs=1),
    Verb(
        "compare",
        "compare the settings and results of runs: fedlab compare A B --html FILE",
        "fedlab.cli.compare",
        runs=math.inf,
    ),
    Verb(
        "plot",
        "draw runs for a paper, with a band over seeds: fedlab plot SWEEP --x bytes --out FILE.pdf",
        "fedlab.cli.plot",
        runs=math.inf,
    ),
    *(verb for verb in registry.verbs() if not verb.verb),
    Verb("verify", "repeat a run and compare the weights of every round, bit for bit", "fedlab.cli.verify", runs=1),
    Verb(
        "forget",
        "delete noise.key, so that nobody can remove the noise of a run: fedlab forget RUN",
        "fedlab.cli.forget",
        runs=math.inf,
    ),
    Verb("data", "list, fetch and show data sets and how they are divided among clients", "fedlab.cli.data"),
    Verb("data list", "list", "fedlab.cli.data_list"),
    Verb("data fetch", "fetch NAME", "fedlab.cli.data_fetch"),
    Verb("data show", "show", "fedlab.cli.data_show", overrides=""),
    *(verb for verb in registry.verbs() if verb.verb),
    Verb("privacy", "compute ε for a noise level, or the noise for a target ε: fedlab privacy --help", "fedlab.cli.privacy"),
    Verb("privacy he-cost", "he-cost", "fedlab.cli.he_cost"),
    Verb("privacy mask-cost", "mask-cost", "fedlab.cli.mask_cost"),
    Verb("doctor", "check whether this machine can train, and report how to fix problems", "fedlab.cli.doctor"),
    Verb("completion", 'tab completion: eval "$(fedlab completion bash)"', "fedlab.cli.completion"),
)
VERBS = {verb.name: verb for verb in _ALL if not verb.verb}  # in the order of `fedlab --help`
ACTIONS = {verb.name: verb for verb in _ALL if verb.verb}


def actions_of(name: str) -> dict[str, Verb]:
    """Returns the actions of a verb, by their own names."""
    return {action.action: action for action in ACTIONS.values() if action.verb == name}
