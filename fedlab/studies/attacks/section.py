"""The results of attacks on the run: a picture and a table for each."""

from __future__ import annotations

from typing import Any

from fedlab.archive import Run
from fedlab.report import words
from fedlab.report.section import Section, section
from fedlab.report.sections.images import picture
from fedlab.studies.attacks.record import Result, read_results

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
    options = result["options"]
    return {
        "title": words.metric_label(result["name"]),
        "picture": picture(run.folder.images / f"{result['name']}.png", run.folder.images),
        "read": _READ.get(result.get("protocol"), "").format(round=result.get("round")),
        "noise": words.number(options["weight_noise"]) if options.get("weight_noise") else "",
        "evaluation": result["evaluation"],
        "options": [(name.replace("_", " "), words.setting(value)) for name, value in options.items()],
        "models": [{**row, "name": _name(row)} for row in result["victims"]],
        "baselines": result["baselines"],
        "held": result.get("held") or {},
    }


def _name(row: dict[str, Any]) -> str:
    return row["name"] + (f", noise {row['noise']:g}" if row["noise"] else "")
