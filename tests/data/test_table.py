"""A user's own table."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from fedlab.config.composing import build_experiment, compose
from fedlab.data import Table
from fedlab.errors import DataError

HEADER = "age,color,note,clinic,sick"
ROWS = [
    "20,red,1,A,no",
    "30,blue,2,A,yes",
    ",red,1,B,no",
    "50,?,2,B,yes",
    "60,green,1,C,no",
    "70,blue,2,C,yes",
]


def written(path, rows=ROWS, header=HEADER):
    path.write_text("\n".join([header, *rows]) + "\n")
    return str(path)


def table(tmp_path, rows=ROWS, header=HEADER, **options) -> Table:
    return Table(**{"path": written(tmp_path / "a.csv", rows, header), "target": "sick", **options})


def test_each_column_becomes_numbers(tmp_path):
    train, test = table(tmp_path, user="clinic")._read()
    assert test is None and train.x.dtype == np.float32
    age = np.array([20, 30, 50, 50, 60, 70.0])  # the missing one is the median
    assert np.allclose(train.x[:, 0], (age - age.mean()) / age.std(), atol=1e-6)
    assert train.x[:, 1:4].tolist() == [[0, 0, 1], [1, 0, 0], [0, 0, 1], [0, 0, 0], [0, 1, 0], [1, 0, 0]]  # blue, green, red
    assert np.allclose(train.x[:, 4], [-1, 1] * 3)
    assert train.y.tolist() == [0, 1] * 3 and train.task.labels == ("no", "yes")
    assert train.user_ids.tolist() == list("AABBCC")


def test_columns_are_chosen_and_categorical(tmp_path):
    train, _ = table(tmp_path, drop=("age", "clinic"), categorical=("note",))._read()
    assert train.x.shape == (6, 3 + 2) and train.x[:, 3:].tolist() == [[1, 0], [0, 1]] * 3
    kinds = [(column["column"], column["kind"]) for column in table(tmp_path, categorical=("note",)).load(0).columns]
    assert kinds == [("age", "numeric"), ("color", "categorical"), ("note", "categorical"), ("clinic", "categorical")]


MANY = [f"{i},{'red' if i % 2 else 'blue'},{i % 3},A,{'yes' if i % 2 else 'no'}" for i in range(40)]


def test_a_test_set_of_its_own_changes_nothing_about_training(tmp_path):
    """Its missing numbers and its unknown categories are encoded by the training set."""
    strange = written(tmp_path / "test.csv", ["1000000,violet,7,Z,no", ",blue,?,Z,yes"])
    data, age = table(tmp_path, MANY, test_path=strange).load(5), np.arange(40)
    assert np.array_equal(data.train.x, table(tmp_path, MANY)._read()[0].x)
    assert (data.columns[0]["median"], data.columns[0]["mean"], data.columns[0]["std"]) == (19.5, age.mean(), age.std())
    assert data.columns[1]["categories"] == ("blue", "red") and data.test.x[:, 1:3].tolist() == [[0, 0], [1, 0]]
    assert data.test.x[1, 0] == 0 and data.test.x[0, 0] == pytest.approx((1e6 - 19.5) / age.std())


def test_a_test_set_that_is_drawn_is_encoded_by_the_rest(tmp_path):
    data = table(tmp_path, MANY, test_fraction=0.25).load(5)
    mean, std = data.columns[0]["mean"], data.columns[0]["std"]
    train, test = (np.rint(examples.x[:, 0].astype(float) * std + mean) for examples in (data.train, data.test))
    assert sorted([*train, *test]) == list(range(40)) and (mean, std) == (pytest.approx(train.mean()), pytest.approx(train.std()))
    assert abs(train.mean() - test.mean()) > 0.1


def test_max_examples_are_drawn_before_statistics_are_computed(tmp_path):
    data = table(tmp_path, MANY, max_examples=10).load(1)
    assert len(data.train) == 10 and np.allclose(data.train.x[:, 0].std(), 1, atol=1e-6)


@pytest.mark.parametrize("kind", ["tsv", "semicolon", "gz", "quoted", "bom", "windows", "decimal comma"])
def test_usual_forms_of_csv_files_are_the_same_data(tmp_path, kind):
    expected, _ = table(tmp_path)._read()
    text = "\n".join([HEADER, *ROWS]) + "\n"
    content = {
        "tsv": text.replace(",", "\t"),
        "semicolon": text.replace(",", "; "),
        "quoted": text.replace("red", '"red"').replace("clinic", '"clinic"'),
        "bom": "\ufeff" + text,
        "decimal comma": text.replace(",", ";").replace("20;", "20,0;"),
        "windows": text.replace("\n", "\r\n"),
    }.get(kind, text)
    path = tmp_path / ("b.csv.gz" if kind == "gz" else "b.csv")
    path.write_bytes(gzip.compress(content.encode()) if kind == "gz" else content.encode())
    found, _ = Table(path=str(path), target="sick")._read()
    assert np.array_equal(found.x, expected.x) and np.array_equal(found.y, expected.y)


def test_a_parquet_file_is_the_same_data(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    expected, _ = table(tmp_path)._read()
    columns = [list(column) for column in zip(*(row.split(",") for row in ROWS))]
    columns[0] = [float(age) if age else None for age in columns[0]]
    columns[1] = [None if color == "?" else color for color in columns[1]]
    columns[2] = [int(note) for note in columns[2]]
    parquet.write_table(pyarrow.table(columns, HEADER.split(",")), tmp_path / "b.parquet")
    found, _ = Table(path=str(tmp_path / "b.parquet"), target="sick")._read()
    assert np.array_equal(found.x, expected.x) and found.task == expected.task
    parquet.write_table(pyarrow.table([[[1], [2]], ["a", "b"]], ["x", "sick"]), tmp_path / "c.parquet")
    with pytest.raises(DataError, match="values of type list: store numbers, booleans or strings"):
        Table(path=str(tmp_path / "c.parquet"), target="sick")._read()


def test_numbers_are_predicted_if_asked_for(tmp_path):
    data = table(tmp_path, target="age", task="regression", rows=[row for row in ROWS if row[0] != ","]).load(0)
    assert data.train.y.dtype == np.float32 and data.train.task.scale == pytest.approx(data.train.y.std())
    with pytest.raises(DataError, match="must contain numbers for task=regression"):
        table(tmp_path, task="regression").load(0)


@pytest.mark.parametrize(
    ("rows", "options", "problem"),
    [
        (
            ROWS,
            {"target": "sik"},
            r"no column sik \(data.target\)\. Did you mean 'sick'\? Columns: age, color, note, clinic, sick",
        ),
        (ROWS, {"drop": ("x",)}, r"no column x \(data.drop\)"),
        (ROWS, {"drop": ("age", "color", "note", "clinic")}, "no column is left beside the target sick"),
        (ROWS, {"max_categories": 2}, r"column color has 3 categories: leave it out with data.drop=\[color\]"),
        (ROWS, {"user": "color"}, "column color names no user in row 4"),
        ([*ROWS, "1,red,2,A,"], {}, "column sick, the target, is missing in row 7"),
        ([*ROWS, "1,red,2,A"], {}, "row 7 has 4 cells, and the header has 5"),
        ([], {}, "no row below the header"),
        ([f"{i},red,1,A,yes" for i in range(9)], {}, "all labels are yes, so there is one class"),
        ([f"{i},red,1,A,{i / 7}" for i in range(9)], {}, r"numbers that are no classes .*data\.task=regression"),
        ([f"{i},red,1,A,name {i}" for i in range(9)], {}, "9 examples have 9 different labels"),
    ],
)
def test_wrong_tables_are_one_line(tmp_path, rows, options, problem):
    with pytest.raises(DataError, match=problem) as caught:
        table(tmp_path, rows, **options).load(0)
    assert "\n" not in str(caught.value) and "a.csv" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"\xff\xfe\x00", "its text is not UTF-8: save it as CSV UTF-8"),
        (b"caf\xe9,sick\n1,2\n", "its text is not UTF-8"),
        (b"a,a,sick\n1,2,x\n", "two columns are called a"),
        (b",a,sick\n0,2,x\n", "column 1 has no name: name it, or, if it is an index, write the file without it"),
        (b"", "no row below the header|no column"),
        (b"PAR1", "not a readable table|no row"),
    ],
)
def test_other_files_are_one_line(tmp_path, content, problem):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(DataError, match=problem) as caught:
        Table(path=str(tmp_path / "a.csv"), target="sick").load(0)
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="no such file"):
        Table(path=str(tmp_path / "gone.csv"), target="sick").load(0)


def test_a_column_has_one_use(tmp_path):
    with pytest.raises(ValueError, match="column age has two uses"):
        table(tmp_path, drop=("age",), categorical=("age",))


def test_epsilon_does_not_cover_the_statistics_and_says_so(tmp_path, tensorflow):
    from fedlab.run import inputs
    from fedlab.run.privacy import PrivacyAccount

    words = [f"data.path={written(tmp_path / 'a.csv', ROWS * 5)}", "data.target=sick", "partition.num_clients=4"]
    private = ["privacy=gaussian_fixed", "cohort=uniform", "cohort.clients_per_round=2", "model=perceptron"]
    experiment = build_experiment(compose(["data=table", *words, *private]))
    _, partition = inputs.load(experiment)
    lines = PrivacyAccount(experiment, partition, num_weights=10).lines()
    told = "the data source computes medians, means, standard deviations and categories of columns of all training examples"
    assert any(line.startswith(told) and "ε does not cover them" in line for line in lines)


def numbered(column, count=30) -> list[str]:
    """Returns rows of a number, a cell of `column` (a function of the row), and a label."""
    return [f"{i},{column(i)},{'yes' if i % 2 else 'no'}" for i in range(count)]


@pytest.mark.parametrize(
    ("column", "problem"),
    [
        (
            lambda i: "-" if i == 7 else i,
            r"column b has numbers, and cells that are none \(-\): .*data\.missing.*data\.categorical",
        ),
        (lambda i: "inf" if i == 7 else i, r"cells that are none \(inf\)"),
        (lambda i: f'"{i + 1},000.5"', r"column b has numbers with separators or units \(1,000\.5, "),
        (lambda i: f'"{i + 1},000"', r"numbers with separators or units \(1,000, "),
        (lambda i: f"{i} %", "numbers with separators or units"),
        (lambda i: f"€{i % 3}", "numbers with separators or units"),
        (lambda i: f"2020-01-{i + 1:02}", r"column b has another value in each row \(2020-01-01, .*data\.drop=\[b\]"),
        (lambda i: "word " * 400 if i == 3 else "x", "column b has a cell of 1,999 characters"),
    ],
)
def test_columns_that_are_probably_no_categories_are_refused(tmp_path, column, problem):
    options = {"rows": numbered(column), "header": "a,b,sick"}
    with pytest.raises(DataError, match=problem):
        table(tmp_path, **options).load(0)
    assert table(tmp_path, drop=("b",), **options).load(0).train.x.shape[1] == 1
    if "characters" not in problem:
        assert table(tmp_path, categorical=("b",), **options).load(0).columns[1]["kind"] == "categorical"


def test_names_with_underscores_and_columns_with_several_kinds_are_categories(tmp_path):
    for column in (lambda i: f"12_{i % 3}", lambda i: i % 3 if i % 5 else "x"):
        data = table(tmp_path, numbered(column), "a,b,sick").load(0)
        assert data.columns[1]["kind"] == "categorical"


@pytest.mark.parametrize("delimiter", ["\t", "|", ","])
def test_decimal_commas_are_read_with_any_delimiter(tmp_path, delimiter):
    cells = [(f"{i / 4}", "" if i == 3 else f"{i / 8}", "yes" if i % 2 else "no") for i in range(30)]
    text = "\n".join(
        [delimiter.join(["a", "b", "sick"]), *(delimiter.join(f'"{c.replace(".", ",")}"' for c in r) for r in cells)]
    )
    (tmp_path / "b.csv").write_text(text + "\n")
    expected, _ = table(tmp_path, [",".join(row) for row in cells], "a,b,sick")._read()
    assert np.array_equal(Table(path=str(tmp_path / "b.csv"), target="sick")._read()[0].x, expected.x)


def test_missing_numbers_of_the_test_set_do_not_make_categories(tmp_path):
    rows = numbered(lambda i: i)
    data = table(tmp_path, rows, "a,b,sick", test_path=written(tmp_path / "t.csv", ["1,,no"], "a,b,sick")).load(0)
    assert data.columns[1]["kind"] == "numeric" and data.test.x.shape == (1, 2)


def test_a_test_set_needs_the_columns_and_a_file_of_its_own(tmp_path):
    other = written(tmp_path / "t.csv", ["1,2,no"], "a,B,sick")
    with pytest.raises(DataError, match=r"t\.csv: no column b, which .*a\.csv has\. Columns: a, B, sick"):
        table(tmp_path, numbered(lambda i: i), "a,b,sick", test_path=other).load(0)
    with pytest.raises(ValueError, match="test_path and path are the same file"):
        table(tmp_path, test_path=str(tmp_path / "a.csv"))


def test_equal_numbers_become_0(tmp_path):
    """Their computed standard deviation would be a rounding error, and another number in the test set would become huge."""
    rows, test = numbered(lambda i: 0.1), written(tmp_path / "t.csv", ["1,0.2,no"], "a,b,sick")
    data = table(tmp_path, rows, "a,b,sick", test_path=test).load(0)
    assert np.all(data.train.x[:, 1] == 0) and data.test.x[0, 1] == pytest.approx(0.1)


def test_numbers_too_large_to_scale_are_refused(tmp_path):
    with pytest.raises(DataError, match="column b has numbers too large or too close to scale"):
        table(tmp_path, numbered(lambda i: f"1.{i}e308" if i < 7 else "1e308"), "a,b,sick").load(0)


def test_names_and_missing_cells_may_be_numbers(tmp_path):
    config = compose(["data=table", f"data.path={tmp_path}/a.csv", "data.target=2", "data.drop=[0]", "data.missing=[-9]"], None)
    written(tmp_path / "a.csv", numbered(lambda i: "-9.0" if i == 4 else i), "0,1,2")
    (column,) = build_experiment(config).data.load(0).columns
    assert column["column"] == "1" and column["median"] > 0 and column["mean"] > 10


def test_an_index_that_pandas_writes_is_no_column(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    columns = {"a": [1.0, 2.0, 3.0], "when": [None, 1, 2], "sick": ["x", "y", "x"], "__index_level_0__": [7, 5, 6]}
    made = pyarrow.table({**columns, "when": pyarrow.array([1, 2, 3], pyarrow.timestamp("s"))})
    parquet.write_table(made, tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"column when contains values of type datetime: .* data\.drop=\[when\]"):
        Table(path=str(tmp_path / "a.parquet"), target="sick")._read()
    train, _ = Table(path=str(tmp_path / "a.parquet"), target="sick", drop=("when",))._read()
    assert train.x.shape == (3, 1)


def test_too_many_categories_are_counted_before_columns_are_made(tmp_path):
    """A column per category of 100,000 rows would need 40 GB."""
    rows = numbered(lambda i: f"n{i % 99_000}", 100_000)
    with pytest.raises(DataError, match=r"column b has 7\d,\d\d\d categories"):
        table(tmp_path, rows, "a,b,sick").load(0)
