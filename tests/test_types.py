"""Arrays that do not fit an example set are refused in one line: a user's data source makes example sets, too."""

from __future__ import annotations

import textwrap

import numpy as np
import pytest

from fedlab.cli.main import main
from fedlab.errors import DataError
from fedlab.tasks import Classification, Regression
from fedlab.types import ExampleSet

X, Y = np.zeros((6, 3), np.float32), np.arange(6, dtype=np.int32) % 2
REFUSED = [
    (dict(x=X.astype(np.float64)), r"x is float64; it must be .*: use x\.astype\(np\.float32\)\."),
    (dict(x=X.tolist()), r"x is a list; it must be an array"),
    (dict(x=X.astype(str)), r"x is <U32; it must be float32"),
    (dict(y=Y.astype(np.int64)), r"y is int64; the targets of classification are int32: use y\.astype\(np\.int32\)\."),
    (dict(y=Y[:5]), r"y has the shape \[5\]; for 6 examples, the targets of classification have the shape \[6\]\."),
    (dict(y=Y[:, None]), r"y has the shape \[6, 1\]; for 6 examples"),
    (dict(y=Y, task=Regression()), r"y is int32; the targets of regression are float32"),
    (dict(task=None), r"has neither num_classes nor a task"),
    (dict(user_ids=np.arange(4)), r"user_ids has 4 entries for 6 examples"),
    (dict(attributes={"town": np.arange(7)}), r"attribute town has the shape \[7\]; it must be \[6\]\."),
]


@pytest.mark.parametrize(("given", "told"), REFUSED)
def test_what_does_not_fit_is_named_with_its_remedy(given, told):
    good = dict(x=X, y=Y, task=Classification(num_classes=2), user_ids=np.arange(6), attributes={"town": np.arange(6)})
    assert len(ExampleSet(**good)) == 6
    with pytest.raises(DataError, match=f"^ExampleSet.*{told}") as caught:
        ExampleSet(**{**good, **given})
    assert "\n" not in str(caught.value)


def test_a_run_on_float64_ends_in_one_line_before_tensorflow_starts(tmp_path, monkeypatch, capsys):
    (tmp_path / "wide_data.py").write_text(
        textwrap.dedent(
            """
            import numpy as np

            from fedlab.data import Source
            from fedlab.types import ExampleSet


            class Wide(Source):
                name = "wide"

                def _read(self):
                    return ExampleSet(np.zeros((20, 3)), np.zeros(20, np.int32), num_classes=2), None
            """
        )
    )
    (tmp_path / "conf" / "data").mkdir(parents=True)
    (tmp_path / "conf" / "data" / "wide.yaml").write_text("_target_: wide_data.Wide")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    assert main(["train", "-cd", "conf", "data=wide", "model=perceptron", "-q"]) == DataError.exit_code
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "x is float64; it must be float32" in error and "astype(np.float32)" in error
