"""`fedlab train resume=RUN` and `fedlab verify RUN` as a user types them, after whatever has stopped the run."""

from __future__ import annotations

import csv
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest

from fedlab.archive import RunFolder, checkpoint, inventory
from fedlab.archive.metrics import read_records
from fedlab.cli.main import main

FAST = ["data.max_examples=200", "model.hidden=[8]", "model.dropout=0.2", "hydra.run.dir=run", "checkpoint.every=1"]
ENVIRONMENT = {**os.environ, "COLUMNS": "100"}


def command(*args):
    return [sys.executable, "-m", "fedlab.cli.main", *args]


def fedlab(*args, cwd, code=0):
    done = subprocess.run(command(*args), cwd=cwd, capture_output=True, text=True, timeout=1800, env=ENVIRONMENT)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def manifest(folder):
    return json.loads((folder / "manifest.json").read_text())


def hashes(folder):
    """The weights' hash of every round, from a metrics file without a missing, doubled or torn line."""
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [r["round"] for r in records] == list(range(1, len(records) + 1))
    return [r["weights_hash"] for r in records]


def recorded(metrics):
    """How many whole lines a file of metrics has."""
    return metrics.read_bytes().count(b"\n") if metrics.exists() else 0


def signalled(cwd, number, after, *args):
    """A run that is sent a signal when it prints `after`; (return code, stderr)."""
    run = subprocess.Popen(
        command("train", *FAST, *args), cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
    )
    for line in run.stdout:
        if line.startswith(after):
            run.send_signal(number)
            break
    out, err = run.communicate(timeout=1800)
    return run.returncode, out, err


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A run of six rounds that nothing has disturbed."""
    where = tmp_path_factory.mktemp("undisturbed")
    fedlab("train", *FAST, "num_rounds=6", cwd=where)
    return where / "run"


@pytest.mark.slow
def test_a_finished_run_can_be_extended_and_verified(undisturbed, tmp_path):
    fedlab("train", *FAST, "num_rounds=4", "eval_every=1", cwd=tmp_path)
    done = fedlab("train", "resume=run", "num_rounds=6", cwd=tmp_path)
    assert "from round 5" in done.stdout
    assert hashes(tmp_path / "run") == hashes(undisturbed)
    found = manifest(tmp_path / "run")
    assert (found["status"], found["num_rounds"], found["rounds_completed"]) == ("finished", 6, 6)
    assert [r["from_round"] for r in found["resumed"]] == [5]
    with open(tmp_path / "run" / "metrics.csv", newline="") as file:
        assert [row["round"] for row in csv.DictReader(file)] == list("123456")
    verified = fedlab("verify", "run", "--quiet", cwd=tmp_path)
    assert "all 6 rounds gave the same bits in every weight" in verified.stdout
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run"]


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGINT, 130),
        pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow),
        pytest.param(signal.SIGHUP, 129, marks=pytest.mark.slow),
    ],
)
def test_a_signal_leaves_a_run_that_can_be_resumed(tmp_path, number, code, monkeypatch, tensorflow):
    returned, out, err = signalled(tmp_path, number, "round", "num_rounds=100000")
    assert returned == code, out + err
    assert "stopping after this round" in err and "Traceback" not in err and "to go on: fedlab train resume=run" in out
    assert not (tmp_path / "run" / "summary.json").exists()
    found = manifest(tmp_path / "run")
    assert found["status"] == "interrupted" and found["failure"] is None and found["ended"]
    done = found["rounds_completed"]
    assert 0 < done < 100_000 and len(hashes(tmp_path / "run")) == done
    monkeypatch.chdir(tmp_path)
    assert main(["train", "-q", "resume=run", f"num_rounds={done + 1}"]) == 0
    assert len(hashes(tmp_path / "run")) == done + 1


def on_a_terminal(cwd, ignored, *args):
    """A run that leads the session of a terminal, with SIGHUP ignored if so told; the process, and the terminal's other end."""
    here, there = os.openpty()
    trap = 'trap "" HUP; ' if ignored else ""
    script = [
        sys.executable,
        "-c",
        "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])",
    ]
    shell = ["/bin/sh", "-c", trap + 'exec "$@"', "sh"]
    run = subprocess.Popen(
        [*script, *shell, *command("train", *FAST, *args)],
        cwd=cwd,
        stdin=there,
        stdout=there,
        stderr=there,
        start_new_session=True,
    )
    os.close(there)
    return run, here


@pytest.mark.parametrize("ignored", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["", "nohup"])
def test_a_terminal_that_goes_away_costs_nothing(tmp_path, ignored):
    """It sends SIGHUP, and whatever is written to it from then on fails. A run under nohup goes on to its end."""
    rounds = 100 if ignored else 100_000
    run, terminal = on_a_terminal(tmp_path, ignored, f"num_rounds={rounds}")
    try:
        shown = b""
        while b"loss" not in shown:
            shown += os.read(terminal, 4096)
        os.close(terminal)
        assert run.wait(timeout=1800) == (0 if ignored else 128 + signal.SIGHUP)
    finally:
        run.kill()
        run.wait()
    found = manifest(tmp_path / "run")
    assert (found["status"], found["failure"]) == ("finished" if ignored else "interrupted", None)
    done = found["rounds_completed"]
    assert len(hashes(tmp_path / "run")) == done and (done == rounds) == ignored
    newest = checkpoint.load(checkpoint.newest_first(tmp_path / "run" / "checkpoints")[0])
    assert newest.round == done


@pytest.mark.slow
@pytest.mark.parametrize("closed", ["stdout", "stderr"])
def test_a_reader_that_goes_away_costs_nothing(tmp_path, closed):
    """As in `fedlab train 2>&1 | tee log`, of which Ctrl-C ends `tee` first."""
    run = subprocess.Popen(
        command("train", *FAST, "num_rounds=100000"),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=ENVIRONMENT,
    )
    with run:
        assert any(line.startswith(b"round") for line in run.stdout)
        getattr(run, closed).close()
        run.send_signal(signal.SIGINT)
        rest = (run.stderr if closed == "stdout" else run.stdout).read()
    assert run.returncode == 130, rest
    found = manifest(tmp_path / "run")
    assert (found["status"], found["failure"]) == ("interrupted", None)
    assert checkpoint.load(checkpoint.newest_first(tmp_path / "run" / "checkpoints")[0]).round == found["rounds_completed"] > 0


@pytest.mark.slow
def test_verify_names_the_first_round_that_differs(undisturbed, tmp_path):
    run = pathlib.Path(shutil.copytree(undisturbed, tmp_path / "run"))
    lines = (run / "metrics.jsonl").read_text().splitlines()
    lines[1] = json.dumps({**json.loads(lines[1]), "weights_hash": "0123456789abcdef"})
    (run / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    found = manifest(run)
    found["packages"]["numpy"] = "1.0"
    (run / "manifest.json").write_text(json.dumps(found))
    inventory.seal(RunFolder(run))
    done = fedlab("verify", "run", "-q", cwd=tmp_path, code=1)
    assert "round 2: the weights are " in done.stderr and "were 0123456789abcdef" in done.stderr
    assert "packages numpy: 1.0 then" in done.stderr


@pytest.mark.slow
def test_other_data_is_refused(undisturbed, tmp_path):
    run = pathlib.Path(shutil.copytree(undisturbed, tmp_path / "run"))
    found = manifest(run)
    found["data"]["fingerprint"] = "0" * 64
    (run / "manifest.json").write_text(json.dumps(found))
    inventory.seal(RunFolder(run))
    for args in (("train", "resume=run", "num_rounds=8"), ("verify", "run")):
        done = fedlab(*args, cwd=tmp_path, code=3)
        assert "data of run (digits) is not what it was: its fingerprint was 000000000000…" in done.stderr
    assert manifest(run)["status"] == "finished"


@pytest.mark.slow
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(undisturbed, tmp_path):
    run = pathlib.Path(shutil.copytree(undisturbed, tmp_path / "run"))
    checkpoint.newest_first(run / "checkpoints")[0].write_bytes(b"not a checkpoint")
    done = fedlab("train", "resume=run", "num_rounds=7", cwd=tmp_path)
    assert "round_000006.ckpt" in done.stdout and "from round 6" in done.stdout
    assert hashes(run)[:6] == hashes(undisturbed)


@pytest.mark.slow
def test_two_processes_never_write_to_one_run(tmp_path):
    run = subprocess.Popen(
        command("train", *FAST, "num_rounds=100000"), cwd=tmp_path, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT
    )
    try:
        assert any(line.startswith("round") for line in run.stdout)
        done = fedlab("train", "resume=run", cwd=tmp_path, code=1)
        assert f"run is being written by process {run.pid}" in done.stderr
    finally:
        run.kill()
        run.communicate()
    fedlab("train", "resume=run", f"num_rounds={len(hashes(tmp_path / 'run')) + 1}", cwd=tmp_path)


@pytest.mark.slow
def test_killed_at_twenty_random_moments_it_ends_as_if_nothing_had_happened(tmp_path):
    """Every second time among its rounds, however busy the machine is; otherwise while it starts, or soon after."""
    options, moments = [*FAST, "client_optimizer=adam", "client_optimizer.learning_rate=0.01"], random.Random(0)
    metrics = tmp_path / "run" / "metrics.jsonl"
    began = time.monotonic()
    fedlab("train", *options, "hydra.run.dir=whole", "num_rounds=1", cwd=tmp_path)
    to_the_end_of_round_1 = time.monotonic() - began
    for attempt in range(20):
        known = (tmp_path / "run" / "manifest.json").exists()
        args = ["resume=run"] if known else [*options, "num_rounds=1000000"]
        before = recorded(metrics)
        run = subprocess.Popen(command("train", *args, "-q"), cwd=tmp_path, env=ENVIRONMENT)
        try:
            if attempt % 2:
                while recorded(metrics) < before + 12:
                    assert run.poll() is None
                    time.sleep(moments.uniform(0, 0.1))
            else:
                with pytest.raises(subprocess.TimeoutExpired):
                    run.wait(timeout=moments.uniform(0.5, 1.3) * to_the_end_of_round_1)
        finally:
            run.kill()
            run.wait()
    rounds = len(read_records(metrics)) + 3
    assert rounds > 100  # of each twelve, at most one was not in a checkpoint yet
    fedlab("train", "resume=run", f"num_rounds={rounds}", "-q", cwd=tmp_path)
    fedlab("train", "resume=whole", f"num_rounds={rounds}", "checkpoint.every=100000", "-q", cwd=tmp_path)
    assert hashes(tmp_path / "run") == hashes(tmp_path / "whole") and len(hashes(tmp_path / "run")) == rounds
    with open(tmp_path / "run" / "metrics.csv", newline="") as file:
        assert [int(row["round"]) for row in csv.DictReader(file)] == list(range(1, rounds + 1))


@pytest.mark.slow
def test_what_clients_keep_outlives_a_kill(tmp_path):
    """Two arms whose clients keep state, killed amid their rounds; the run folder has no file that the whole run has not."""
    arms = ["+process@arms.one.process=scaffold", "+process@arms.other.process=fed_rep"]
    options = [*FAST, *arms, "partition.num_clients=12", "cohort.clients_per_round=3", "eval_every=3"]
    run = subprocess.Popen(command("train", *options, "num_rounds=100000", "-q"), cwd=tmp_path, env=ENVIRONMENT)
    try:
        while recorded(tmp_path / "run" / "metrics.jsonl") < 12:
            assert run.poll() is None
            time.sleep(0.1)
    finally:
        run.kill()
        run.wait()
    rounds = recorded(tmp_path / "run" / "metrics.jsonl") + 3
    fedlab("train", "resume=run", f"num_rounds={rounds}", "-q", cwd=tmp_path)
    fedlab("train", *options, "hydra.run.dir=whole", f"num_rounds={rounds}", "checkpoint.every=100000", "-q", cwd=tmp_path)
    assert hashes(tmp_path / "run") == hashes(tmp_path / "whole")
    ours, theirs = (checkpoint.newest_first(tmp_path / name / "checkpoints")[0] for name in ("run", "whole"))
    assert ours.name == theirs.name and ours.read_bytes() == theirs.read_bytes()
    assert "gave the same bits in every weight" in fedlab("verify", "run", "-q", cwd=tmp_path).stdout
    assert set(os.listdir(tmp_path / "run")) == set(os.listdir(tmp_path / "whole"))


@pytest.mark.slow
def test_a_full_disk_is_named_and_earlier_checkpoints_stay(tmp_path):
    """On a file system of 3 MB of its own, in a mount namespace of its own."""
    inside = f'mount -t tmpfs -o size=3m tmpfs {tmp_path} && cd {tmp_path} && exec "$@"'
    unshare = ["unshare", "--mount", "--map-root-user", "--user", "sh", "-c"]
    if subprocess.run([*unshare, f"mount -t tmpfs -o size=1m tmpfs {tmp_path}"], capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount a file system of their own")
    keep = "cp -r run/checkpoints run/manifest.json run/metrics.jsonl"
    kept = tmp_path.parent / "kept"
    kept.mkdir()
    script = f"{inside.replace('exec ', '')}; code=$?; {keep} {kept}; exit $code"
    options = [*FAST, "model.hidden=[100]", "checkpoint.keep=1000", "num_rounds=1000"]
    done = subprocess.run([*unshare, script, "sh", *command("train", *options)], capture_output=True, text=True, env=ENVIRONMENT)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "the disk is full" in done.stderr and "fedlab train resume=run" in done.stderr
    assert "Traceback" not in done.stderr
    found = checkpoint.newest_first(kept / "checkpoints")
    assert found and all(checkpoint.load(path).round for path in found)
    assert not list(kept.rglob(".partial-*"))
