"""`fedlab VERB`: finds the verb, runs it, and turns every error into one line and an exit code.

`fedlab/cli/verbs.py` lists the verbs. A module is imported when its verb is called, so no verb waits for the imports of another.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import fedlab
from fedlab import stopping
from fedlab.cli.verbs import ACTIONS, VERBS
from fedlab.console import streams, trusting
from fedlab.console.output import outliving_its_reader, report_own_code
from fedlab.errors import ConfigError, FedlabError, did_you_mean, printable
from fedlab.registry import resolved


def usage() -> str:
    lines = [
        f"fedlab {fedlab.__version__}: federated-learning experiments on TensorFlow Federated",
        "",
        "usage: fedlab VERB …",
        "",
    ]
    lines += [f"  {verb.name:<11} {verb.help}" for verb in VERBS.values()]
    return "\n".join([*lines, "", "fedlab VERB --help explains a verb and its options."])


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the verb named by `argv[0]`; returns the exit code.

    0 success, 1 failure, 2 configuration, 3 data, 129 SIGHUP, 130 Ctrl-C, 143 SIGTERM; a verb documents others.
    """
    streams.prepare()
    args = list(sys.argv[1:] if argv is None else argv)
    with outliving_its_reader() as lost:
        code = _answer(args)
    if lost:
        print(f"fedlab: the output is incomplete: {lost[0].strerror}.", file=sys.stderr)
        return code or FedlabError.exit_code
    return code


def _answer(args: list[str]) -> int:
    if not args or args[0] in ("-h", "--help", "help"):
        print(usage())
        return 0 if args else ConfigError.exit_code
    if args[0] in ("-V", "--version"):
        print(fedlab.__version__)
        return 0
    if args[0] not in VERBS:
        print(f"fedlab: no verb '{args[0]}'.{did_you_mean(args[0], VERBS)} Verbs: {', '.join(VERBS)}.", file=sys.stderr)
        return ConfigError.exit_code
    stopping.OnSignal(stopping.stop).__enter__()  # as an exception, which ends child processes and leaves no file half-written
    return _run(args)


def _run(args: list[str]) -> int:
    try:
        with trusting.session():
            action = ACTIONS.get(" ".join(args[:2]))
            return resolved(action.main)(args[2:]) if action else resolved(VERBS[args[0]].main)(args[1:])
    except FedlabError as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        print(f"fedlab {args[0]}: {printable(error)}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"fedlab {args[0]}: interrupted", file=sys.stderr)
        return 130
    except BaseException as error:  # a user's code may exit
        return report_own_code(error, args[0])


if __name__ == "__main__":
    sys.exit(main())
