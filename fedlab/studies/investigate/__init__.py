"""Investigations: find faults in private data with images that GANs generate. See docs/debugging.md."""

from fedlab.registry import Study, Verb

STUDY = Study(
    "investigate",
    verbs=(
        Verb(
            "investigate",
            "find faults in data that nobody may look at: fedlab investigate +experiment=gan/debug",
            f"{__name__}.verb",
            overrides="",
        ),
        Verb(
            "data misclassification",
            "misclassification RUN",
            f"{__name__}.misclassification_verb",
            runs=1,
            overrides="",
        ),
        Verb(
            "data filter",
            "filter RUN",
            f"{__name__}.filter_verb",
            runs=1,
            overrides="",
        ),
    ),
    files={
        "trial.json": "how the classifier does on the users, whom the filters keep, which symptoms real images have",
        "verdict.json": "the symptoms in generated images and what follows; verdict.txt the same in words",
    },
    runs_in=f"{__name__}.record:runs_in",
    batches=f"{__name__}.batch:batches",
    batch_result=f"{__name__}.batch:batch_result",
    instead={"investigation": "this is an investigation, not a single run: fedlab investigate +experiment=… does it."},
)
