"""The environment of the run, which limits how far its result can be repeated."""

from __future__ import annotations

from typing import Any

from fedlab.archive import Run
from fedlab.report import words
from fedlab.report.section import Section, section


def build(run: Run) -> Section | None:
    """Returns the section on fedlab, machine, packages and fingerprints."""
    manifest = run.manifest
    fedlab, machine, packages = (manifest.get(key) or {} for key in ("fedlab", "machine", "packages"))
    groups = [
        ("fedlab", _fedlab(fedlab)),
        ("machine", [(key.replace("_", " "), _machine(key, value)) for key, value in machine.items()]),
        ("packages", [(key, str(value)) for key, value in packages.items()]),
        ("identity", _identity(run)),
    ]
    return section("environment", "Environment", "sections/environment.html", groups=[g for g in groups if g[1]])


def _fedlab(fedlab: dict[str, Any]) -> list[tuple[str, str]]:
    commit = fedlab.get("git_commit")
    rows = [("version", str(fedlab["version"]))] if fedlab.get("version") else []
    if commit:
        rows.append(("commit", f"{commit[:12]}{', with changes' if fedlab.get('git_dirty') else ''}"))
    return rows


def _machine(key: str, value: Any) -> str:
    if key.endswith("_bytes"):
        return words.num_bytes(value)
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return str(value)


def _identity(run: Run) -> list[tuple[str, str]]:
    manifest = run.manifest
    rows = [
        ("seed", manifest.get("seed")),
        ("reproducible", {True: "yes, from its seed", False: "no"}.get(manifest.get("reproducible", ""))),
        ("order of sums", manifest.get("summation")),
        ("configuration", (manifest.get("config_sha256") or "")[:16]),
        ("data", ((manifest.get("data") or {}).get("fingerprint") or "")[:16]),
        ("partition", ((manifest.get("partition") or {}).get("fingerprint") or "")[:16]),
        ("final weights", run.summary.get("weights_hash")),
    ]
    return [(name, str(value)) for name, value in rows if value not in (None, "")]
