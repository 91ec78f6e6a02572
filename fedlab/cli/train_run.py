"""`fedlab train` without help on a choice: one run, a sweep, or a run that continues.

Help and `--cfg job` answer in half a second, because modules that they do not need are imported where they are used.
"""

from __future__ import annotations

import sys

from rich.console import Console

from fedlab import registry
from fedlab.cli import train_resume
from fedlab.config import application, experiment_files, training
from fedlab.config import composing as configuration


def main(argv: list[str]) -> int:
    """Trains what `argv` describes. Returns the exit code; raises `FedlabError`."""
    args = application.parsed(argv)
    console = Console(quiet=args.quiet)
    resumed = train_resume.folder_in(args.overrides)
    if resumed is not None:
        return train_resume.main(resumed, args, console, argv)
    if args.help:
        from fedlab.config import train_help

        print(train_help.page(args.overrides, args.config_dir))
        return 0
    experiment_files.check(args.overrides, configuration.folders(args.config_dir))
    expectation = None
    if args.expect:
        from fedlab.config import expectations

        expectation = expectations.requested(args)
    composed = application.as_single(args)
    code = registry.train(application.in_order(args), args, composed)
    if code is not None:
        return code
    from fedlab.console.display import lines_on, rounds_on, say
    from fedlab.report.run_report import RunReport

    trained = training.train(argv, args, composed, RunReport(), lines_on(console), rounds_on(console))
    if trained is None:
        return 0
    from fedlab.archive.task import learned_in
    from fedlab.cli.summary import print_summary

    print_summary(console, trained.summary, trained.folder, learned_in(trained.folder))
    if expectation is None:
        return 0
    from fedlab.archive import read_run

    lines, missed = expectations.outcome(expectation, read_run(trained.folder.path))
    for line in lines:
        say(console, line)
    if missed:
        print(f"fedlab train: {missed}", file=sys.stderr)
    return expectations.EXIT_CODE if missed else 0
