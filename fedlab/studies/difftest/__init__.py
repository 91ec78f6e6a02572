"""Differential testing: tests whether two models differ, client by client. See docs/difftest.md."""

from fedlab.registry import Hooks, Metrics, Section, Stage, Study, Verb

STUDY = Study(
    "difftest",
    verbs=(
        Verb(
            "difftest",
            "test whether the models of two runs differ, client by client: fedlab difftest A B",
            f"{__name__}.verb",
            runs=2,
        ),
    ),
    stages=(
        Stage(
            "difftest",
            f"{__name__}.options:ArmsTest",
            f"{__name__}.options:NoDifftest",
            common_to_arms=True,
        ),
    ),
    sections=(Section(f"{__name__}.section:build"),),
    hooks=Hooks(check=f"{__name__}.hooks:check", observe_arms=f"{__name__}.hooks:observe_arms"),
    metrics=Metrics(
        labels={
            "difftest_delta_class": "predictions that differ",
            "difftest_delta_score": "examples whose scores differ",
            "difftest_largest_score_difference": "largest difference of a score",
            "difftest_accuracy_difference": "difference in accuracy",
            "difftest_clients_different": "clients that differ",
            "difftest_clients_worse": "clients served worse",
            "difftest_p_mcnemar": "p of McNemar's test",
            "difftest_p_ks": "p of the Kolmogorov-Smirnov test",
            "difftest_p_chi2": "p of the χ² test",
            "difftest_original_delta_score": "scores that differ in any bit, as in the original",
            "difftest_original_p_ks": "p of the Kolmogorov-Smirnov test, as in the original",
            "difftest_original_p_chi2": "p of the χ² test, as in the original",
        },
        line_of_arms=f"{__name__}.lines:told",
    ),
    phases={"difftest": "testing the two models against each other"},
    files={
        "difftest.csv": "how two arms differ on each client, round by round",
        "difftest_scores.csv": "a sample of their scores in the last round",
    },
)
