"""Attacks on a finished run: they measure the leakage of its models and of its messages. See docs/attacks.md."""

from fedlab.registry import Hooks, Metrics, Section, Stage, Study, Verb

STUDY = Study(
    "attacks",
    verbs=(
        Verb(
            "attack",
            "attack a finished run: fedlab attack RUN attack=model_inversion",
            f"{__name__}.verb",
            runs=1,
            overrides="attack",
        ),
    ),
    stages=(Stage("attack", f"{__name__}.options:Attack", f"{__name__}.options:NoAttack", after_training=True),),
    sections=(Section(f"{__name__}.section:build", True, pictures=f"{__name__}.record:pictures"),),
    hooks=Hooks(
        check_training=f"{__name__}.hooks:check_training",
        check_examples=f"{__name__}.hooks:check_examples",
        after_training=f"{__name__}.hooks:after_training",
    ),
    metrics=Metrics(two_decimals=("attack_score", "attack_share"), line=f"{__name__}.lines:attacked"),
    phases={"attack": "attacking"},
    files={"attacks": "a JSON file per attack, beside an npz file of its images"},
)
