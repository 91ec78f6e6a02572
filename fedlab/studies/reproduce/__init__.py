"""Scorecards, `fedlab reproduce NAME`: figures of papers beside those of runs, with a verdict that can fail.

`scorecard` reads conf/reproduce/NAME.yaml, `rule` computes verdicts from figures, `measuring` reads the figures of runs. `jobs`
are the processes behind rows: runs, sweeps, investigations, verbs. `plan` composes them and finds mistakes before any begins,
`running` runs them. `results` describes scorecard.json, `page` and `text` show it, `verb` is the command line, `library` Python.
See docs/reproduce.md.
"""

from fedlab.registry import Study, Verb

STUDY = Study(
    "reproduce",
    verbs=(
        Verb(
            "reproduce",
            "compare runs with the figures of a paper: fedlab reproduce mcmahan2017 --quick",
            f"{__name__}.verb",
            completions=f"{__name__}.verb:completions",
        ),
    ),
    files={
        "scorecard.json": "each row of a scorecard: the paper's figure, the measured one, the rule and the verdict",
        "scorecard.md": "the same as a table for a text",
        "scorecard.html": "the same as a page",
    },
    folders=("reproduce",),
    functions={name: f"{__name__}.library:{name}" for name in ("reproduce", "open_scorecard", "SavedScorecard", "ScorecardRow")},
    runs_in=f"{__name__}.results:runs_in",
    page=f"{__name__}.page:write",
)
