"""`fedlab doctor`: checks whether this machine can train, and reports how to fix each problem.

It must work when packages are missing or broken, so it imports only the standard library at the top.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence

import fedlab
from fedlab.cli.checks import Finding, examine
from fedlab.console.parsing import Parser

MARKS = {"ok": ("✓", "32"), "note": ("!", "33"), "problem": ("✗", "31")}  # mark and colour code


def render(findings: Sequence[Finding], colour: bool) -> str:
    width, lines = max(len(finding.name) for finding in findings), []
    for finding in findings:
        mark, code = MARKS[finding.status]
        mark = f"\033[{code}m{mark}\033[0m" if colour else mark
        lines.append(f"{mark} {finding.name:<{width}}  {finding.detail}{' → ' + finding.remedy if finding.remedy else ''}")
    count = sum(finding.status == "problem" for finding in findings)
    problems = f"Training would not work: {count} problem{'s' * (count > 1)} (✗), each with its remedy after the arrow."
    return "\n".join([*lines, "", problems if count else "This machine can train: fedlab train +experiment=digits/fedavg"])


def parser() -> Parser:
    """Returns the parser."""
    made = Parser("fedlab doctor", description="Checks whether this machine can train, and reports how to fix problems.")
    made.add_argument("--json", action="store_true", help="print the findings as JSON")
    return made


def main(argv: Sequence[str]) -> int:
    """Prints the report. Returns 0 if this machine can train, else 1."""
    args, findings = parser().parse(argv), examine()
    healthy = all(finding.status != "problem" for finding in findings)
    if args.json:
        lines = [{"name": f.name, "status": f.status, "detail": f.detail, "remedy": f.remedy} for f in findings]
        print(json.dumps({"fedlab": fedlab.__version__, "can_train": healthy, "findings": lines}, indent=2))
    else:
        print(render(findings, colour=sys.stdout.isatty() and "NO_COLOR" not in os.environ))
    return 0 if healthy else 1
