"""Tables of results as text: CSV for programs, LaTeX for papers, Markdown for pages."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Sequence

from fedlab.report.quantities import Quantity
from fedlab.report.results import ALIKE, BEST, DIFFERENT, Cell, Missing, Results
from fedlab.report.significance import CONSTANT, TOO_FEW

_SIGNIFICANT_DIGITS = 4  # at most, of the largest mean
_SUPERSCRIPTS = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
_LATEX = {
    **{char: f"\\{char}" for char in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "ε": r"$\varepsilon$",
    "δ": r"$\delta$",
    "χ": r"$\chi$",
    "²": "$^{2}$",
    "–": "--",
    "−": "$-$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "∞": r"$\infty$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "†": r"\textdagger{}",
    "…": r"\ldots{}",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
}


def as_csv(results: Results) -> str:
    """Returns a row per group and metric: settings, seeds, metric, mean, std, n, test, p. Values are those of summary.json."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([*results.keys, "seeds", "metric", "mean", "std", "n", "test", "p"])
    for row in results.rows:
        for name, cell in zip(results.metrics, row.cells):
            values: list[object] = ["", "", len(row.seeds), "", ""]
            if isinstance(cell, Cell):
                values = [cell.mean, cell.deviation, cell.count, cell.test, cell.p]
            elif cell != Missing():
                values[3] = cell.text
            writer.writerow([*row.settings, " ".join(map(str, row.seeds)), name, *("" if v is None else v for v in values)])
    return buffer.getvalue()


def as_latex(results: Results) -> str:
    r"""Returns a `tabular` with the rules of booktabs and the notes below it, to be read by \input within a `table`."""
    lines = [
        "% Written by fedlab compare --latex. It needs \\usepackage{booktabs}.",
        f"\\begin{{tabular}}{{{'l' * len(results.names)}{'r' * (len(results.metrics) + (len(results.counts) > 1))}}}",
        "\\toprule",
        _latex_row([escaped(head) for head in _heads(results)]),
        "\\midrule",
        *(_latex_row(cells) for cells in _body(results, escaped, _latex_number)),
        "\\bottomrule",
        "\\end{tabular}",
        "",
        "\\smallskip",
        f"{{\\footnotesize {' '.join(map(escaped, results.notes))}\\par}}",
        *(f"% {remark}" for remark in results.remarks),
    ]
    return "\n".join(lines) + "\n"


def as_markdown(results: Results) -> str:
    """Returns a table of GitHub's Markdown, with the notes and the remarks below it."""
    rules = ["---"] * len(results.names) + ["--:"] * (len(results.metrics) + (len(results.counts) > 1))
    rows = [[_plain(head) for head in _heads(results)], rules, *_body(results, _plain, _markdown_number)]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    below = [" ".join(map(_plain, results.notes)), *(f"- {_plain(remark)}" for remark in results.remarks)]
    return "\n".join([*lines, "", *below[:1], *([""] * (len(below) > 1)), *below[1:]]) + "\n"


def escaped(text: str) -> str:
    """Returns `text` for LaTeX."""
    powers = re.split(r"(10[⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+)", text)
    parts = ["".join(_LATEX.get(char, char) for char in part) for part in powers[::2]]
    found = [f"$10^{{{power[2:].translate(_SUPERSCRIPTS)}}}$" for power in powers[1::2]]
    whole = "".join(part + power for part, power in zip(parts, [*found, ""]))
    return f"{{}}{whole}" if whole.startswith("[") else whole  # behind \\, a bracket begins an option


def _heads(results: Results) -> list[str]:
    arrows = {True: " ↑", False: " ↓", None: ""}
    counts = ["n"] if len(results.counts) > 1 else []
    return [*results.names, *counts, *(q.axis + arrows[q.more_is_better] for q in results.quantities)]


def _body(results: Results, text: Callable[[str], str], number: Callable[[str, str | None, Cell, str], str]) -> list[list[str]]:
    """Returns the cells of each row. `text` escapes words; `number` formats mean, deviation, cell and mark."""
    columns = [[row.cells[i] for row in results.rows] for i in range(len(results.metrics))]
    digits = [_decimals(q, [c for c in column if isinstance(c, Cell)]) for q, column in zip(results.quantities, columns)]
    marked = any(isinstance(c, Cell) and c.test in (DIFFERENT, ALIKE) for column in columns for c in column)
    found = []
    for row in results.rows:
        shown = [text(value) for value in row.settings] + ([str(len(row.seeds))] if len(results.counts) > 1 else [])
        for name, q, decimals, cell in zip(results.metrics, results.quantities, digits, row.cells):
            if isinstance(cell, Missing):
                shown.append(text(cell.text))
                continue
            up = name.startswith("epsilon")  # a bound is rounded up
            mean = _fixed(cell.mean * q.factor, decimals, up)
            has_spread = cell.deviation is not None and not (up and cell.deviation == 0)
            deviation = _fixed((cell.deviation or 0.0) * q.factor, decimals) if has_spread else None
            mark = "*" if cell.test == DIFFERENT else "†" if marked and cell.test in (TOO_FEW, CONSTANT) else ""
            shown.append(number(mean, deviation, cell, mark))
        found.append(shown)
    return found


def _decimals(q: Quantity, cells: Sequence[Cell]) -> int:
    """Returns the decimals of a column: the smallest standard deviation has two digits, the largest mean at most four."""
    largest = max((abs(cell.mean) * q.factor for cell in cells), default=0.0)
    most = max(0, _SIGNIFICANT_DIGITS - 1 - math.floor(math.log10(largest))) if largest else 2
    if all(cell.mean * q.factor == round(cell.mean * q.factor) and not cell.deviation for cell in cells):
        return 0
    spreads = [cell.deviation * q.factor for cell in cells if cell.deviation]
    return min(most, max(0, 1 - math.floor(math.log10(min(spreads))))) if spreads else most


def _fixed(value: float, decimals: int, up: bool = False) -> str:
    if up:
        value = math.ceil(round(value * 10**decimals, 6)) / 10**decimals
    return f"{round(value, decimals) + 0.0:,.{decimals}f}"


def _latex_row(cells: Sequence[str]) -> str:
    return f"{' & '.join(cells)} \\\\"


def _latex_number(mean: str, deviation: str | None, cell: Cell, mark: str) -> str:
    value = (mean if deviation is None else f"{mean} \\pm {deviation}").replace(",", "{,}")
    if cell.test == BEST:
        value = f"\\mathbf{{{value}}}"
    sign = {"*": "\\rlap{$^{*}$}", "†": "\\rlap{$^{\\dagger}$}"}.get(mark, "")  # without a width, so that digits stay aligned
    return f"${value}${sign}"


def _markdown_number(mean: str, deviation: str | None, cell: Cell, mark: str) -> str:
    value = (mean if deviation is None else f"{mean} ± {deviation}").replace("-", "−")
    return f"**{value}**" if cell.test == BEST else f"{value}{' ' * bool(mark)}{_plain(mark)}"


def _plain(text: str) -> str:
    """Returns `text` for Markdown, in which its signs have no meaning."""
    return re.sub(r"([\\`*_{}\[\]<>|#~])", r"\\\1", text)


FORMATS: dict[str, Callable[[Results], str]] = {"csv": as_csv, "latex": as_latex, "markdown": as_markdown}
