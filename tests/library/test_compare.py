"""`fedlab.compare`: the settings that differ and the metrics of each run, as plain data."""

from __future__ import annotations

import pytest

import fedlab
from tests.report.conftest import records_of, write_run

RATE = "client_optimizer.learning_rate"


@pytest.fixture
def folder(tmp_path):
    """Two runs that differ in their learning rate, one of them with another seed once more."""
    for name, rate, seed, ceiling in (("a", 0.1, 0, 0.8), ("b", 0.3, 0, 0.9), ("c", 0.3, 1, 0.7)):
        write_run(tmp_path / name, records=records_of(4, ceiling), config={RATE: rate, "seed": seed})
    return tmp_path


def test_settings_and_metrics_have_a_value_per_run(folder):
    compared = fedlab.compare(folder)
    assert [run.folder.name for run in compared.runs] == ["a", "b", "c"]
    assert compared.settings == {RATE: [0.1, 0.3, 0.3]}  # the seed is no setting
    for i, run in enumerate(compared.runs):
        assert compared.metrics["test_accuracy"][i] == run.metrics[-1]["test_accuracy"]
    assert compared.rows[2] == {
        "folder": folder / "c",
        "seed": 1,
        RATE: 0.3,
        **{name: values[2] for name, values in compared.metrics.items()},
    }


def test_runs_and_folders_are_given_alike(folder):
    a, b = fedlab.open_run(folder / "a"), folder / "b"
    compared = fedlab.compare(a, b, str(b))  # the same one twice counts once
    assert [run.folder.name for run in compared.runs] == ["a", "b"] and compared.settings == {RATE: [0.1, 0.3]}


def test_damage_is_a_warning_and_too_few_are_an_error(folder):
    (folder / "c" / "manifest.json").write_text("{")
    with pytest.warns(UserWarning, match="left out: .*manifest.json"):
        assert len(fedlab.compare(folder).runs) == 2
    with pytest.raises(fedlab.ConfigError, match="1 run given"):
        fedlab.compare(folder / "a")
    with pytest.raises(fedlab.FedlabError, match="no such run"):
        fedlab.compare(folder / "a", folder / "a" / "nothing")
