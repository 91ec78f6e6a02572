"""`fedlab plot RUN …`: draws a metric over rounds, bytes, time or ε as a picture for a paper, with a band over seeds."""

from __future__ import annotations

import argparse
import pathlib
import sys
from collections.abc import Sequence

from fedlab.archive.folder import relative
from fedlab.archive.reading import without_inventory
from fedlab.console.output import writable
from fedlab.console.parsing import Parser, number
from fedlab.errors import ConfigError, printable
from fedlab.report.choices import BANDS, FORMATS, LARGEST, LOGS, SMALLEST, WIDTHS, XS

_EPILOG = """\
Runs that differ in their seed alone are one line: their mean, with a band. --group-by KEY draws a line per value of an option
(partition.alpha), of a stage (aggregator), or per name, run or arm. RUN may be RUN:ARM for an arm of a run.

--width: column is 3.25 inches (fits a column of ICML, ACM and IEEE), text 5.5 inches (the text of NeurIPS and ICLR), wide 6.75
inches (both columns of ICML).

example: fedlab plot multirun/my_sweep --x bytes --group-by partition.alpha --band ci --out accuracy.pdf"""


def parser() -> Parser:
    """Returns the parser."""
    made = Parser(
        "fedlab plot",
        description="Draws a metric of runs as a picture for a paper: at its real size, with embedded fonts, in colours that "
        "everybody can distinguish.",
        epilog=_EPILOG,
    )
    made.add_argument("runs", nargs="+", metavar="RUN", help="the folder of a run, or a folder of runs, such as a sweep")
    made.add_argument(
        "--out",
        metavar="FILE.pdf|FILE.svg|FILE.png",
        type=pathlib.Path,
        required=True,
        help="the picture; its ending is its format",
    )
    made.add_argument(
        "--x", choices=XS, default="round", help="the horizontal axis; bytes and seconds are totals (default: round)"
    )
    made.add_argument(
        "--y",
        metavar="METRIC",
        action="append",
        default=[],
        help="a metric of metrics.jsonl (default: the one that ranks runs, such as test_accuracy); again for a second panel",
    )
    made.add_argument(
        "--group-by", metavar="KEY", action="append", default=[], help="a line per value of KEY; again for pairs of values"
    )
    made.add_argument(
        "--band",
        choices=BANDS,
        default="std",
        help="± 1 sample standard deviation, 95%% confidence interval of the mean, minimum to maximum, or none (default: std)",
    )
    made.add_argument(
        "--width", metavar="column|text|wide|INCHES", type=_width, default="column", help="the width (default: column)"
    )
    made.add_argument("--height", metavar="INCHES", type=_inches, help="the height (default: follows from the width)")
    made.add_argument("--log", choices=LOGS, default="", help="logarithmic axes")
    made.add_argument(
        "--label", metavar="TEXT", action="append", default=[], help="names for the lines, once for each, in their order"
    )
    return made


_inches = number(lambda value: SMALLEST <= value <= LARGEST, f"a number of inches from {SMALLEST:g} to {LARGEST:g}")


def _width(text: str) -> float:
    if text in WIDTHS:
        return WIDTHS[text]
    try:
        return _inches(text)
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"{error}, nor {', '.join(WIDTHS)}") from error


def main(argv: Sequence[str]) -> int:
    """Draws the picture. Returns the exit code: 1 if runs below a folder are broken. Raises `FedlabError`."""
    args = parser().parse(argv)
    out = writable("--out", args.out)
    if out is None or out.suffix[1:].lower() not in FORMATS:
        raise ConfigError(f"--out {args.out}: the name must end in .{', .'.join(FORMATS[:-1])} or .{FORMATS[-1]}.")
    from fedlab.report.comparison import gather
    from fedlab.report.lines import picture

    runs, broken = gather(args.runs, at_least=1)
    found = picture(runs, args.x, args.y, args.group_by, args.band, args.label)
    for error in broken:
        print(f"fedlab plot: left out: {printable(error)}", file=sys.stderr)
    if old := without_inventory(runs):
        print(f"fedlab plot: {printable(old)}.", file=sys.stderr)
    from fedlab.report.paper import save

    save(found, out, args.width, args.height, args.log)
    print(f"picture in {relative(out)}\ncaption: {printable(found.caption)}")
    for remark in found.remarks:
        print(f"note: {printable(remark)}")
    return 1 if broken else 0
