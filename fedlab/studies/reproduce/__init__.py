"""Scorecards, `fedlab reproduce NAME`: figures of papers beside those of runs, with a verdict that can fail.

`scorecard` reads conf/reproduce/NAME.yaml, `rule` judges figures, `measuring` reads them off runs, `plan` composes the runs and
finds mistakes before any of them begins, `running` trains them, each in a process of its own. `results` describes scorecard.json,
`page` and `text` show it, `verb` is the command line. See docs/reproduce.md.
"""

from fedlab.studies.registry import Study, Verb

STUDY = Study(
    "reproduce",
    verbs=(
        Verb(
            "reproduce",
            "compare runs with the figures of a paper: fedlab reproduce mcmahan2017 --quick",
            f"{__name__}.verb",
        ),
    ),
    files={
        "scorecard.json": "each row of a scorecard: the paper's figure, the measured one, the rule and the verdict",
        "scorecard.md": "the same as a table for a text",
        "scorecard.html": "the same as a page",
    },
    folders=("reproduce",),
    runs_in=f"{__name__}.results:runs_in",
    page=f"{__name__}.page:write",
)
