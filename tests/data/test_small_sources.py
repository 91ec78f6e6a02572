"""Synthetic, diabetes and heart: small data of the field, each with its published properties."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest

from fedlab.data import Diabetes, Heart, Synthetic
from fedlab.errors import DataError
from fedlab.fingerprint import data_fingerprint
from fedlab.partition import ByUser, heterogeneity


def test_synthetic_users_draw_their_inputs_as_the_paper_says():
    """Σ_jj = j^−1.2 around a centre of the user's own. Bounds: 6 standard errors, chance below 1e-6 over 60 inputs."""
    data = Synthetic(num_users=200)._read()[0]
    users, sizes = np.unique(data.user_ids, return_counts=True)
    largest = users[np.argmax(sizes)]
    x, n = data.x[data.user_ids == largest].astype(float), sizes.max()
    expected = np.arange(1, 61) ** -1.2
    assert n > 2000 and (np.abs(x.var(axis=0) / expected - 1) < 6 * np.sqrt(2 / n)).all()
    assert sizes.min() >= 50 and len(users) == 200
    assert abs(np.log(sizes[sizes > 60] - 49.5).mean() - 4.4) < 0.8, "log-normal with mean 4, those above 60 a little more"


def test_synthetic_users_differ_more_with_alpha_and_beta():
    def skew(**options):
        data = Synthetic(num_users=100, **options)._read()[0]
        return heterogeneity(data.y, ByUser()(data, 0), 10).mean_total_variation

    assert skew(iid=True) < skew(alpha=0, beta=0) < skew(alpha=2, beta=2)


def test_one_linear_model_fits_the_iid_form_and_none_fits_the_other():
    from sklearn.linear_model import LogisticRegression

    def accuracy(**options):
        data = Synthetic(num_users=20, **options)._read()[0]
        return LogisticRegression(C=100, max_iter=300, solver="lbfgs").fit(data.x[:3000], data.y[:3000]).score(data.x, data.y)

    assert accuracy(iid=True) > 0.9 > accuracy(alpha=1, beta=1)


def test_a_draw_is_a_data_set_whatever_the_seed():
    assert data_fingerprint(Synthetic(test_fraction=0.5).load(1)) != data_fingerprint(Synthetic(test_fraction=0.5).load(2))
    one, same, other = (Synthetic(draw=draw)._read()[0] for draw in (1, 1, 2))
    assert np.array_equal(one.x, same.x) and len(one) != len(other)
    fewer = Synthetic(draw=1, num_users=10)._read()[0]
    assert np.array_equal(fewer.x, one.x[: len(fewer)]), "a user does not depend on the number of users"


def test_diabetes_is_encoded_by_its_training_examples():
    data = Diabetes().load(3)
    assert data.train.x.shape == (354, 10) and len(data.test) == 88 and not Diabetes().has_user_ids
    assert np.allclose(data.train.x.mean(axis=0), 0, atol=1e-5) and np.allclose(data.train.x.std(axis=0), 1, atol=1e-5)
    assert data.train.task == data.test.task and data.train.task.center == pytest.approx(data.train.y.mean(), rel=1e-6)
    assert {25.0, 346.0} <= {float(y) for examples in (data.train, data.test) for y in examples.y}


def line(*cells):
    return ",".join(map(str, cells))


@pytest.fixture
def hospitals(tmp_path):
    """The four files with the published numbers of rows; every row of a hospital is the same."""
    rows = {
        "cleveland": (303, line(63.0, 1.0, 1.0, 145.0, 233.0, 1.0, 2.0, 150.0, 0.0, 2.3, 3.0, 0.0, 6.0, 0)),
        "hungarian": (294, line(28, 1, 2, 130, 132, 0, 2, 185, 0, 0, -9, -9, -9, 0)),
        "switzerland": (123, line(32, 1, 1, 95, 0, -9, 0, 127, 0, ".7", 1, -9, -9, 4)),
        "va": (200, line(63, 1, 4, 140, 260, 0, 1, "?", 1, 3, 2, -9, -9, 2)),
    }
    (tmp_path / "heart").mkdir()
    for hospital, (count, row) in rows.items():
        (tmp_path / "heart" / f"processed.{hospital}.data").write_text(f"{row}\n" * count)
    return tmp_path


def test_a_hospital_is_a_client_and_missing_cells_are_known(hospitals):
    source = Heart(dir=str(hospitals))
    rows = source._rows()
    assert len(rows) == 920 and rows.y.tolist() == [0] * 597 + [1] * 323
    assert [(rows.user_ids == name).sum() for name in ("cleveland", "hungarian", "switzerland", "va")] == [303, 294, 123, 200]
    missing = {
        name: int(((values == "") if values.dtype.kind == "U" else np.isnan(values)).sum())
        for name, values in rows.columns.items()
    }
    expected = {"chol": 123, "fbs": 123, "thalach": 200, "slope": 294, "ca": 617, "thal": 617}
    assert missing == {name: expected.get(name, 0) for name in rows.columns}, "a cholesterol of 0 was not measured"
    data = source.load(0)
    assert data.train.x.shape == (736, 9 + 3 + 3 + 3 + 1) and np.isfinite(data.train.x).all()
    assert data.train.task.labels == ("healthy", "sick") and len(ByUser()(data.train, 0)) == 4


def test_files_of_another_size_and_missing_files_are_one_line(hospitals):
    path = hospitals / "heart" / "processed.va.data"
    path.write_text("1,2,3\n")
    with pytest.raises(DataError, match=r"processed.va.data: \[1, 3\] cells, and the published table has \[200, 14\]"):
        Heart(dir=str(hospitals)).load(0)
    path.unlink()
    with pytest.raises(
        DataError, match=r"processed.va.data: no such file. Copy the files processed.\*.data of UCI's Heart Disease"
    ):
        Heart(dir=str(hospitals)).verify()


def test_the_published_tables(tmp_path):
    source = Heart()
    if not all(path.is_file() for path in source.files()):
        pytest.skip(f"no {pathlib.Path('heart') / 'processed.*.data'} in the data directory")
    rows = source._rows()
    assert rows.y.sum() == 509 and len(rows) == 920
