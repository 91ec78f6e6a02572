"""`fedlab train resume=RUN`: continues a run that was stopped, or adds rounds to one that has finished."""

from __future__ import annotations

import argparse
import pathlib
import shlex
from collections.abc import Sequence

from rich.console import Console

from fedlab.console import trusting
from fedlab.errors import ConfigError

_KEY = "resume="


def folder_in(overrides: Sequence[str]) -> str | None:
    """Returns the folder that resume=… names, or None."""
    return next((word.removeprefix(_KEY) for word in overrides if word.startswith(_KEY)), None)


def main(path: str, args: argparse.Namespace, console: Console, argv: Sequence[str]) -> int:
    """Continues the run in `path`. Returns the exit code; raises `FedlabError`."""
    if args.expect:
        raise ConfigError("--expect does not go with resume=…: repeat the command of the experiment.")
    overrides = [word for word in argv if word not in (f"{_KEY}{path}", "-q", "--quiet", trusting.FLAG)]
    flags = [word for word in overrides if word.startswith("-")]
    if flags:
        raise ConfigError(f"{flags[0]} does not go with resume=…: it takes key=value, --quiet and --trust only.")
    if not path:
        raise ConfigError("resume= must name the folder of a run.")
    from fedlab.archive.folder import RunFolder
    from fedlab.archive.task import learned_in
    from fedlab.cli.summary import print_summary
    from fedlab.config.rebuilding import continued
    from fedlab.console.display import lines_on, rounds_on
    from fedlab.report.run_report import RunReport
    from fedlab.run.resuming import resume

    folder, command = RunFolder(pathlib.Path(path)), shlex.join(["fedlab", "train", *argv])
    summary = resume(
        folder.path, lambda run: continued(run, overrides), command, RunReport(), lines_on(console), rounds_on(console)
    )
    print_summary(console, summary, folder, learned_in(folder))
    return 0
