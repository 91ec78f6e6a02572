"""An investigation as a row of a scorecard: its command and its verdict."""

from __future__ import annotations

import pathlib

from fedlab import trust
from fedlab.config import composing
from fedlab.errors import ConfigError
from fedlab.registry import Asked, Batch, BatchResult
from fedlab.studies.investigate.record import ARMS, InvestigationFolder

NOTHING = "nothing"


def batches(asked: Asked) -> tuple[Batch, ...] | None:
    """Returns an investigation per seed; None if no investigation is asked for. All share their classifiers.

    Raises `ConfigError` for a mistake in the options, or several values of one.
    """
    if "investigation" not in asked.config:
        return None
    if len(composing.each_swept(asked.overrides)) > 1:
        raise ConfigError("an investigation in a row has one value per option: write a row for each.")
    return tuple(_batch(asked, seed) for seed in asked.seeds)


def _batch(asked: Asked, seed: int) -> Batch:
    from fedlab.studies.investigate.stages import plan

    overrides = [*asked.overrides, f"seed={seed}"]
    planned = plan(overrides, asked.own, asked.root, "")
    flags = [*(["-cd", asked.own] if asked.own else []), *([trust.FLAG] if trust.everything_is_trusted() else [])]
    return Batch(
        kind="investigation",
        words=("investigate", *flags, *overrides),
        placing=("--out", str(asked.root)),
        folder=planned.folder.path,
        config=None,
        alone=True,
    )


def batch_result(folder: pathlib.Path) -> BatchResult | None:
    """Returns the figures of a finished investigation; None if the folder has no verdict.

    verdict: found, nothing found or undecided; found: the symptom, or "nothing"; ARM/SYMPTOM: the share of an arm's samples with
    the symptom, such as low/inverted. Other figures are those of the run of the GANs.
    """
    files = InvestigationFolder(folder)
    if not files.verdict.is_file():
        return None
    verdict = files.read(files.verdict)
    shares = {f"{arm}/{finding['symptom']}": finding[arm] for finding in verdict["findings"] for arm in ARMS}
    figures = {"verdict": verdict["verdict"], "found": verdict["found"] or NOTHING, **shares}
    return BatchResult((files.gans.path,), figures, verdict["lines"][0].rstrip("."))
