"""The results of attacks on the run: a picture and a table for each."""

from __future__ import annotations

from typing import Any

from fedlab.archive import Run
from fedlab.report import words
from fedlab.report.plot import Axis, Mark, Plot, color, line
from fedlab.report.scale import logarithmic, rounds
from fedlab.report.section import Section, section
from fedlab.report.sections.images import picture
from fedlab.studies.attacks.record import CONTROL, Result, read_results, shares_in_class

_LEAST = 1e-6  # objectives below are drawn here, on the logarithmic axis
_READ = {
    None: "",
    "plain": "The server received clients' updates in the clear in round {round}: it has their models, but for the last bits.",
    "masked": "The server received masked words in round {round}: what is attacked are the numbers they would be without masks.",
    "ckks": "The server received ciphertexts in round {round} and can read nothing in them: their bytes stand in for updates.",
}


def build(run: Run) -> Section | None:
    """Returns the section; None for a run without attacks."""
    found = read_results(run.folder)
    return section("attacks", "Attacks", "attacks/section.html", attacks=[_told(run, r) for r in found]) if found else None


def _told(run: Run, result: Result) -> dict[str, Any]:
    options, classes = result["options"], result.get("classes", [])
    return {
        "title": words.metric_label(result["name"]),
        "picture": picture(run.folder.images / f"{result['name']}.png", run.folder.images),
        "read": _READ.get(result.get("protocol"), "").format(round=result.get("round")),
        "noise": words.number(options["weight_noise"]) if options.get("weight_noise") else "",
        "evaluation": result["evaluation"],
        "options": [(name.replace("_", " "), words.setting(value)) for name, value in options.items()],
        "models": [{**row, "name": _name(row)} for row in result["victims"]],
        "single": classes[0] if len(classes) == 1 else None,
        "shares": bool(shares_in_class(result)),
        "control": any(row["name"] == CONTROL for row in result["victims"]),
        "plot": _losses(result),
        "baselines": result["baselines"],
        "held": result.get("held") or {},
    }


def _losses(result: Result) -> Plot | None:
    """Plots the objective over iterations on a logarithmic axis; None if it was not recorded. The clients share a name."""
    rows = [row for row in result["victims"] if "losses" in row]
    if not rows:
        return None
    clients = [row for row in rows if row["name"].startswith("client ")]
    named = [row for row in rows if row not in clients]
    curves = [("" if i else "clients", "s8 thin", row) for i, row in enumerate(clients)]
    curves += [(_name(row), color(i), row) for i, row in enumerate(named)]
    x = rounds(0, max(row["iterations"][-1] for row in rows))
    y = logarithmic([max(loss, _LEAST) for row in rows for loss in row["losses"]])
    drawn = {id(row): [(i, max(loss, _LEAST)) for i, loss in zip(row["iterations"], row["losses"])] for row in rows}
    marks = tuple(Mark(line(drawn[id(row)], x, y), f"line {css}", name or row["name"]) for name, css, row in curves)
    ends = ", ".join(f"{_name(row)} {words.number(row['losses'][-1], 2)}" for row in named)
    alt = f"Objective of the search over iterations 0 to {rows[0]['iterations'][-1]:,}; at the end: {ends}."
    legend = tuple((name, css) for name, css, _ in curves if name)
    return Plot("Objective of the search", alt, Axis(x, "iteration"), Axis(y, "objective, mean over classes"), marks, legend)


def _name(row: dict[str, Any]) -> str:
    return row["name"] + (f", noise {row['noise']:g}" if row["noise"] else "")
