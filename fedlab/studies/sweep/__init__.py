"""Sweeps, `fedlab train -m …`: many runs, each in a process of its own.

`plan` reads the command, `running` leads the jobs, `jobs` runs one of them, `optuna_study` continues a search, `stop` passes
signals on. `objective` holds the options, `goal` completes them for a task, `ranking` says which job is better. `folder` names
the files of a sweep, `results` describes and reads sweep.json, `gather` writes it; `table`, `page` and `plots` show it. `verb`
is the command line, `library` Python; `batch` lets scorecards use sweeps.
See docs/sweeps.md.
"""

from fedlab.registry import Stage, Study

STUDY = Study(
    "sweep",
    stages=(
        Stage(
            "objective",
            "fedlab.studies.sweep.objective:Objective",
            "fedlab.studies.sweep.objective:Objective",
            common_to_arms=True,
            after_training=True,
        ),
    ),
    files={"sweep.json": "the jobs of a sweep and the best of them"},
    functions={name: f"fedlab.studies.sweep.library:{name}" for name in ("sweep", "open_sweep", "SavedSweep", "SweepJob")},
    runs_in="fedlab.studies.sweep.folder:runs_in",
    page="fedlab.studies.sweep.page:write",
    train="fedlab.studies.sweep.verb:train",
    batches="fedlab.studies.sweep.batch:batches",
    batch_result="fedlab.studies.sweep.batch:batch_result",
)
