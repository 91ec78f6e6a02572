"""`fedlab privacy he-cost`, as a user types it."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from fedlab.cli.main import main


def run(command, capsys, code=0):
    assert main(["privacy", "he-cost", *command.split()]) == code
    return capsys.readouterr()


def test_says_what_there_is_to_know(capsys):
    out = run("--values 225034 --clients 10", capsys).out
    assert re.search(r"slots +2,048 values", out) and re.search(r"ciphertexts +110 per client, for 225,034", out)
    for line in (r"upload +[\d.]+ MB per client", r"round, up .* 10 clients", "round, down", "precision +1.0e-06"):
        assert re.search(line, out), out
    assert len(re.findall(r"[\d.]+ s per (?:client|round)", out)) == 3


def test_the_weights_of_a_model_are_counted(capsys, tensorflow):
    cost = json.loads(run("--model mlp model.hidden=[7] data=digits --json --clients 2", capsys).out)
    assert (cost["num_values"], cost["num_clients"]) == (784 * 7 + 7 + 7 * 10 + 10, 2)


def test_options_of_the_protocol_count(capsys):
    fine, coarse = (
        json.loads(run(f"--values 5000 --json secure.precision={p} --clients 3 secure.encryption=public_key", capsys).out)
        for p in ("1e-6", "1e-2")
    )
    assert fine["parameters"]["encryption"] == "public_key"
    assert fine["noise"] < 1e-6 and coarse["precision"] == 1e-2
    assert fine["parameters"]["scale_bits"] > coarse["parameters"]["scale_bits"]
    assert fine["megabytes_per_client"] > 1.05 * coarse["megabytes_per_client"]


MISTAKES = [
    ("", "give either --values or --model"),
    ("--values 3 --model cnn", "give either --values or --model"),
    ("--values 0", "'0' is not a whole number of at least 1"),
    ("--values 1.5", "'1.5' is not a whole number"),
    ("--values 3 --clients -1", "--clients"),
    ("--values 3 --client 4", "unrecognized arguments: --client"),
    ("--model cnm", "no model 'cnm'. Did you mean 'cnn'?"),
    ("--values 3 model.hidden=[4]", "'model.hidden=[4]' does not change this cost: give secure.…"),
    ("--values 3 secure=masked", "'secure=masked' does not change this cost"),
    ("--values 3 secure.precison=1", "no option 'secure.precison'. Did you mean 'precision'?"),
    ("--values 3 secure.precision=0", "secure.precision=0: must be greater than 0"),
    ("--values 3 secure.precision=1e-12", "beyond float64: raise secure.precision"),
    ("--values 3 secure.poly_modulus_degree=4096", "go together: set all three or none"),
]


@pytest.mark.parametrize(("command", "says"), MISTAKES, ids=[command or "(nothing)" for command, _ in MISTAKES])
def test_mistakes_take_one_line_and_exit_code_2(command, says, capsys):
    err = run(command, capsys, code=2).err
    assert says in err and err.count("\n") == 1 and err.startswith("fedlab privacy: ")


def test_a_number_of_values_needs_no_tensorflow():
    code = "import sys; from fedlab.cli.main import main; main(sys.argv[1:]); sys.exit('tensorflow' in sys.modules)"
    command = [sys.executable, "-c", code, "privacy", "he-cost", "--values", "9"]
    assert subprocess.run(command, capture_output=True).returncode == 0


def test_completion_offers_it():
    from fedlab.cli.completion import candidates

    assert candidates("fedlab privacy h") == ["he-cost"] and "--clients" in candidates("fedlab privacy he-cost --")
    assert "--cohort" in candidates("fedlab privacy --c") and "show" in candidates("fedlab data ")
