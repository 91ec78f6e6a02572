"""`fedlab <verb>`: finds the verb, runs it, and gives every error one line and an exit code.

A verb is a module with `main(argv: list[str]) -> int`; adding one is one row in `VERBS`. Modules are imported when their
verb is called, so no verb pays for another's imports.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

import fedlab
from fedlab import stopping
from fedlab.cli import streams, trusting
from fedlab.cli.output import outliving_its_reader
from fedlab.errors import ConfigError, FedlabError, did_you_mean, of_own_code

VERBS = {
    "train": ("fedlab.cli.train", "train a federated model: fedlab train +experiment=digits/fedavg"),
    "runs": ("fedlab.cli.runs", "list runs: fedlab runs outputs status=finished --sort accuracy"),
    "report": ("fedlab.cli.report", "write the page of a run or of a sweep, one file that needs no network"),
    "compare": ("fedlab.cli.compare", "where runs differ, and what came of it: fedlab compare A B --html FILE"),
    "difftest": ("fedlab.cli.difftest", "do two runs' models differ, client by client: fedlab difftest A B"),
    "verify": ("fedlab.cli.verify", "run a run again and compare its weights, round by round, bit for bit"),
    "forget": ("fedlab.cli.forget", "delete noise.key: then nobody can take the noise of a run off any more"),
    "attack": ("fedlab.cli.attack", "attack a finished run: fedlab attack RUN attack=model_inversion"),
    "data": ("fedlab.cli.data", "list, fetch and show data sets and how they are divided among clients"),
    "investigate": ("fedlab.cli.investigate", "what is wrong with data nobody may look at: +experiment=gan/debug"),
    "privacy": ("fedlab.cli.privacy", "what noise earns, and how much a target takes: fedlab privacy --help"),
    "doctor": ("fedlab.cli.doctor", "check that this machine can train, and say how to mend what cannot"),
    "completion": ("fedlab.cli.completion", 'tab completion: eval "$(fedlab completion bash)"'),
}


def usage() -> str:
    lines = [
        f"fedlab {fedlab.__version__}: federated-learning experiments on TensorFlow Federated",
        "",
        "usage: fedlab VERB …",
        "",
    ]
    lines += [f"  {verb:<11} {help_line}" for verb, (_, help_line) in VERBS.items()]
    return "\n".join([*lines, "", "fedlab VERB --help tells more of each."])


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the verb named by `argv[0]`; returns the exit code.

    0 fine, 1 failed, 2 configuration, 3 data, 129 SIGHUP, 130 Ctrl-C, 143 SIGTERM; of difftest, 4 different, 5 undecided.
    """
    streams.prepare()
    args = list(sys.argv[1:] if argv is None else argv)
    if not args or args[0] in ("-h", "--help", "help"):
        print(usage())
        return 0 if args else ConfigError.exit_code
    if args[0] in ("-V", "--version"):
        print(fedlab.__version__)
        return 0
    if args[0] not in VERBS:
        print(f"fedlab: no verb '{args[0]}'.{did_you_mean(args[0], VERBS)} Verbs: {', '.join(VERBS)}.", file=sys.stderr)
        return ConfigError.exit_code
    stopping.OnSignal(stopping.stop).__enter__()  # as exceptions do: what was started is ended, and no file is left half-written
    with outliving_its_reader():
        return _run(args)


def _run(args: list[str]) -> int:
    try:
        with trusting.session():
            return importlib.import_module(VERBS[args[0]][0]).main(args[1:])
    except FedlabError as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        print(f"fedlab {args[0]}: {error}", file=sys.stderr)
        return error.exit_code
    except Exception as error:
        worded = of_own_code(error)
        if worded is None or os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        print(f"fedlab {args[0]}: {worded}", file=sys.stderr)
        return worded.exit_code
    except KeyboardInterrupt:
        print(f"fedlab {args[0]}: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
