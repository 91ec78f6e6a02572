"""`fedlab privacy`, run as a user runs it."""

from __future__ import annotations

import json
import re
import resource
import subprocess
import sys

import matplotlib.image
import pytest

from fedlab.cli.main import main

USERS = "--population 100000 --cohort 1000 --rounds 100"
EXAMPLES = "--examples 60000 --batch 256 --epochs 60 --delta 1e-5"


def run(command, capsys, code=0):
    assert main(["privacy", *command.split()]) == code
    return capsys.readouterr()


# command, what is printed
ROWS = [
    (
        f"{EXAMPLES} --noise 1.1",
        "RDP +2.601",
        "PLD +2.386",
        "unit +example",
        "neighbours +replace one example by one that contributes nothing",
    ),
    (f"{EXAMPLES} --noise 1.1 --sampling shuffled", "no amplification", "by one that contributes nothing"),
    (f"{USERS} --noise 1", "unit +user", "Poisson: each of 100,000", r"δ = 3.162e-06", "after 100 rounds", "conversion +RDP"),
    (f"{USERS} --noise 1 --sampling fixed", "fixed size: 1,000 of 100,000", "PLD +7\\.364", "replace one user by any other"),
    (
        "--population 30 --rounds 5 --noise 4 --sampling all",
        "all 30 take part in every round",
        "replace one user by one that contributes nothing",
    ),
    (f"{USERS} --noise 4 --sampling tree", "any user may take part in every round", "contributes nothing"),
    (
        f"{USERS} --noise 4 --sampling tree --participations 2 --separation 9",
        "at most 2 times, with at least 9 rounds in between",
    ),
    (f"{USERS} --noise 0", "ε = ∞", "RDP +∞", "infinite: the noise multiplier is 0"),
    (f"{USERS} --noise 1 --delta 0.1", "may reveal one user completely"),
    (f"{USERS} --epsilon 4", r"ε = (4\.000|3\.999\d*) ", r"noise multiplier 0\.\d+"),
]


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_says(row, capsys):
    out = run(row[0], capsys).out
    for pattern in row[1:]:
        assert re.search(pattern, out), out


def test_the_noise_it_finds_costs_what_was_asked_for(capsys):
    found = json.loads(run(f"{USERS} --epsilon 1.5 --json", capsys).out)
    spent = json.loads(run(f"{USERS} --noise {found['noise_multiplier']} --json", capsys).out)
    assert 1.49 < spent["epsilon"] <= 1.5 and spent == found


def test_table_and_json(capsys):
    out = run(f"{USERS} --noise 1 --table", capsys).out
    rows = [line.split() for line in out.partition("rounds")[2].splitlines()[-8:] if line.split()[:1]]
    table = {row[0]: [float(cell) for cell in row[1:]] for row in rows if row[0].isdigit()}
    assert list(table) == ["1", "2", "5", "10", "20", "50", "100"]
    assert all(a[0] < b[0] for a, b in zip(table.values(), list(table.values())[1:]))
    report = json.loads(run(f"{USERS} --noise 1 --table --json", capsys).out)
    assert [row["rounds"] for row in report["table"]] == [1, 2, 5, 10, 20, 50, 100]
    assert report["table"][-1]["epsilon"] == report["epsilon"] == min(report["epsilon_rdp"], report["epsilon_pld"])
    assert table["100"][0] >= report["epsilon"]
    assert json.loads(run(f"{USERS} --noise 0 --json", capsys).out)["epsilon"] == "inf"


@pytest.mark.parametrize("options", ["--noise 1", "--noise 1 --sampling fixed", "--noise 0"])
def test_png(options, capsys, tmp_path):
    out = run(f"--population 1000 --cohort 20 --rounds 30 {options} --png {tmp_path}/p.png", capsys).out
    assert "picture in" in out and matplotlib.image.imread(tmp_path / "p.png").shape[1] == 900


MISTAKES = [
    ("", "give either --population, for users, or --examples"),
    (f"{USERS} --examples 5 --noise 1", "give either --population"),
    (USERS, "either --noise, to compute ε, or --epsilon"),
    (f"{USERS} --noise 1 --epsilon 2", "either --noise"),
    ("--population 10 --cohort 2 --noise 1", "--population needs --rounds too"),
    ("--population 10 --rounds 2 --noise 1", "--population needs --cohort too"),
    ("--examples 10 --noise 1 --epochs 3", "--examples needs --batch too"),
    ("--population 10 --cohort 20 --rounds 2 --noise 1", "--cohort 20 exceeds --population 10"),
    ("--population 10 --cohort 5 --rounds 2 --noise 1 --sampling all", "leave out --cohort 5"),
    ("--population 1 --rounds 2 --noise 1 --sampling all", "give --delta"),
    (f"{USERS} --noise 1 --batch 3", "--batch has no effect with --population"),
    (f"{USERS} --noise 1 --participations 3", "--participations has no effect with --population and --sampling poisson"),
    (
        f"{USERS} --noise 1 --sampling shuffled",
        "shuffled does not go with --population, which takes poisson, fixed, all",
    ),
    (f"{EXAMPLES} --noise 1 --sampling fixed", "--sampling fixed does not go with --examples"),
    (
        "--population 100 --cohort 10 --rounds 20 --noise 1 --sampling tree --participations 1",
        "20 rounds of 10 users cannot be drawn from 100 users who take part at most 1 time: some take part at least 2 times",
    ),
    (
        "--population 100 --cohort 10 --rounds 20 --noise 1 --sampling tree --separation 10",
        "needs 110 users, 10 in each of 11 rounds, but the population is 100",
    ),
    (f"{USERS} --noise 1 --sampling dice", "invalid choice: 'dice'"),
    (f"{USERS} --noise x", "'x' is not a number of at least 0"),
    (f"{USERS} --noise nan", "'nan' is not a number of at least 0"),
    (f"{USERS} --noise inf", "'inf' is not a number"),
    (f"{USERS} --noise -1", "--noise"),
    (f"{USERS} --epsilon 0", "'0' is not a number above 0"),
    (f"{USERS} --noise 1 --delta 1", "'1' is not a number between 0 and 1"),
    ("--population 1.5 --cohort 1 --rounds 1 --noise 1", "'1.5' is not a whole number of at least 1"),
    ("--population 0 --cohort 1 --rounds 1 --noise 1", "'0' is not a whole number of at least 1"),
    (f"{USERS} --noise 1 --rouns 3", "unrecognized arguments: --rouns 3"),
    (f"{USERS} --noise 1 --png nowhere/p.png", "there is no folder nowhere"),
    ("--population 10 --rounds 9999 --epsilon 0.01 --delta 1e-9 --sampling all", "--epsilon=0.01 is out of reach"),
    (f"{USERS} --epsilon 100000", "needs almost no noise"),
]


@pytest.mark.parametrize(("command", "says"), MISTAKES, ids=[command or "(nothing)" for command, _ in MISTAKES])
def test_mistakes_take_one_line_and_exit_code_2(command, says, capsys):
    err = run(command, capsys, code=2).err
    assert says in err and err.count("\n") == 1 and err.startswith("fedlab privacy: ")


def test_specs_need_neither_tensorflow_nor_an_accountant():
    code = "import sys, fedlab.privacy; sys.exit(bool({'tensorflow', 'dp_accounting', 'scipy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_it_answers_fast_and_starts_no_tensorflow():
    code = "import sys; from fedlab.cli.main import main; main(sys.argv[1:]); print([m for m in sys.modules if m in (%s)])"
    code %= "'tensorflow', 'tensorflow_federated', 'tensorflow_privacy', 'hydra', 'matplotlib'"
    command = [sys.executable, "-W", "error::ImportWarning", "-c", code, "privacy", *USERS.split(), "--noise", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[]\n") and done.stderr == ""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    helped = subprocess.run([sys.executable, "-m", "fedlab.cli.main", "privacy", "--help"], capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert helped.returncode == 0 and "--population N" in helped.stdout
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.0


def test_the_verb_is_listed(capsys):
    assert main(["--help"]) == 0
    assert "fedlab privacy --help" in capsys.readouterr().out
