"""noise.key from the outside: who may read it, what it takes to go on and to verify, and how it is forgotten."""

from __future__ import annotations

import base64
import json
import os
import shutil
import stat
import zipfile

import pytest

from fedlab.archive import RunFolder, make_folder, noise_key
from fedlab.archive.lock import RunLock
from fedlab.archive.metrics import read_records
from fedlab.cli.main import main
from fedlab.errors import FedlabError
from fedlab.randomness import Secret, key
from fedlab.run.child import JobFolder, JobRecord

FAST = "data.max_examples=200 model.hidden=[4] partition.num_clients=20 cohort=poisson privacy.delta=0.02"
PRIVATE = f"{FAST} privacy=gaussian_fixed"


@pytest.fixture
def fedlab(tmp_path, monkeypatch, capfd, tensorflow):
    """Runs a command in an empty folder; (exit code, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)

    def run(command):
        code = main(command.split())
        return (code, *capfd.readouterr())

    return run


@pytest.fixture(scope="module")
def trained_once(tmp_path_factory, tensorflow):
    """A run of two rounds."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    assert main(f"train -q {PRIVATE} num_rounds=2 checkpoint.every=1 hydra.run.dir={folder}".split()) == 0
    return folder


@pytest.fixture
def trained(fedlab, trained_once, tmp_path):
    """A copy of it in the current folder, which a test may change."""
    return shutil.copytree(trained_once, tmp_path / "run")


def hashes(folder):
    return [record["weights_hash"] for record in read_records(folder / "metrics.jsonl")]


def readable_by_others(folder):
    """Files below `folder` whose mode is not 0600, but for the configuration of a sweep, which Hydra writes."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "multirun.yaml"]
    assert any(path.name == "noise.key" for path in files)
    return [(str(path), oct(mode)) for path in files if (mode := stat.S_IMODE(path.stat().st_mode)) != 0o600]


def copied(folder, name):
    return shutil.copytree(folder, folder.with_name(name))


class TestWhoMayReadIt:
    def test_its_owner_alone_like_all_that_a_run_leaves_and_each_run_has_its_own(self, fedlab, trained, tmp_path):
        """Under the usual umask, also what a resumed run writes. A run without privacy has none: test_cli_privacy_runs.py."""
        before = os.umask(0o022)
        try:
            options = "secure.observe=all logger=tensorboard"
            assert fedlab(f"train {PRIVATE} {options} num_rounds=2 hydra.run.dir=below/run")[0] == 0
            assert fedlab("train resume=below/run num_rounds=3")[0] == 0
        finally:
            os.umask(before)
        found = {}
        for path, _, files in os.walk(tmp_path / "below" / "run"):
            found[path] = stat.S_IMODE(os.stat(path).st_mode)
            found.update({(at := os.path.join(path, name)): stat.S_IMODE(os.stat(at).st_mode) for name in files})
        assert {path: oct(mode) for path, mode in found.items() if mode != (0o700 if os.path.isdir(path) else 0o600)} == {}
        assert any(path.endswith("noise.key") for path in found) and any("observed" in path for path in found)
        other = tmp_path / "below" / "run"
        assert (trained / "noise.key").read_text() != (other / "noise.key").read_text()
        assert not set(hashes(trained)) & set(hashes(other))

    def test_no_other_file_holds_it_or_a_key_that_is_drawn_from_it(self, trained):
        secret = Secret.from_bytes(bytes.fromhex((trained / "noise.key").read_text()), "big")
        server, cohorts = (secret.derived(purpose) for purpose in ("server", "cohorts"))
        keys = [secret.key, server.key, cohorts.key, *(key(server, "server", r).tobytes() for r in (1, 2, 3))]
        shapes = [form for each in keys for form in (each, each[::-1], each.hex().encode())]
        shapes += [str(int.from_bytes(each, order)).encode() for each in keys for order in ("big", "little")]
        shapes += [str(word).encode() for r in (1, 2, 3) for word in key(server, "server", r)]
        shapes += [base64.b64encode(bytes(shift) + each)[4 if shift else 0 : -4] for each in keys for shift in range(3)]
        for path in trained.rglob("*"):
            if not path.is_file() or path.name == "noise.key":
                continue
            contents = [path.read_bytes()]
            if zipfile.is_zipfile(path):
                with zipfile.ZipFile(path) as archive:
                    contents += map(archive.read, archive.namelist())
            for content in contents:
                assert not any(shape in content or shape.upper() in content for shape in shapes), path


class TestWithIt:
    @pytest.mark.slow
    def test_a_run_verifies_and_a_copy_goes_on_to_the_same_bits(self, fedlab, trained):
        again = copied(trained, "again")
        for name in ("run", "again"):
            assert fedlab(f"train resume={name} num_rounds=4")[0] == 0
        assert hashes(trained) == hashes(again) and len(set(hashes(again))) == 4
        code, out, _ = fedlab("verify again")
        assert code == 0 and "all 4 rounds gave the same bits" in out

    @pytest.mark.slow
    def test_arms_have_one_key_and_equal_arms_the_same_noise(self, fedlab, tmp_path):
        arms = "+arms.a={} +arms.b={} +arms.c.privacy.noise_multiplier=2.0"
        assert fedlab(f"train {PRIVATE} num_rounds=2 {arms} hydra.run.dir=run")[0] == 0
        assert len(list((tmp_path / "run").rglob("noise.key"))) == 1 and readable_by_others(tmp_path / "run") == []
        for record in read_records(tmp_path / "run" / "metrics.jsonl"):
            assert record["a/weights_hash"] == record["b/weights_hash"] != record["c/weights_hash"]
        assert fedlab("verify run")[0] == 0
        code, out, _ = fedlab("forget run")
        assert code == 0 and "deleted noise.key and 2 checkpoints:" in out
        assert fedlab("verify run")[0] == 1

    def test_what_is_said_of_noise_that_follows_from_the_seed(self, fedlab, tmp_path):
        code, out, _ = fedlab(f"train {PRIVATE} privacy.noise_source=seed num_rounds=1 hydra.run.dir=run")
        run, words = tmp_path / "run", "replayable: ε holds only against those who do not know the seed"
        assert code == 0 and words in out
        assert fedlab("report run")[0] == 0 and words in (run / "report.html").read_text()
        told = json.loads((run / "manifest.json").read_text())
        assert told["noise_key"] is None and not (run / "noise.key").exists()
        assert told["privacy"]["noise"] == words and words in told["privacy"]["lines"]
        assert read_records(run / "metrics.jsonl")[0]["noise"] == words
        assert json.loads((run / "summary.json").read_text())["noise"] == words
        assert words in (run / "metrics.csv").read_text()
        code, out, err = fedlab("runs .")
        assert code == 0 and "(replayable)" in out and words in err
        shown = json.loads(fedlab("runs . --json")[1])
        assert [row["noise"] for row in shown] == [words]
        copied(run, "again")
        code, out, _ = fedlab("compare run again")
        assert code == 0 and words in out and "cannot be added up" in out  # one seed, so the same noise
        code, _, err = fedlab("forget run")
        assert code == 1 and err == "fedlab forget: nothing to forget: run drew no noise, or drew it from the seed.\n"


class TestWithoutIt:
    @pytest.mark.parametrize(
        ("content", "says"),
        [
            (None, "run has no noise.key any more (`fedlab forget` deletes it)"),
            ("0" * 64, "noise.key is damaged or belongs to another run"),
            ("zebra", "noise.key is damaged or belongs to another run"),
        ],
    )
    def test_a_run_neither_goes_on_nor_verifies(self, fedlab, trained, content, says):
        (trained / "noise.key").unlink()
        if content is not None:
            (trained / "noise.key").write_text(content)
        before = hashes(trained)
        for command in ("verify run", "train resume=run num_rounds=3"):
            code, _, err = fedlab(command)
            assert code == 1 and says in err and err.count("\n") == 1
        assert hashes(trained) == before


class TestForget:
    def test_deletes_what_a_process_left_that_was_killed_while_it_wrote(self, tmp_path):
        folder = RunFolder(make_folder(tmp_path / "run"))
        noise_key.create(folder.noise_key)
        (tmp_path / "run" / ".partial-noise.key").write_text("0" * 64)
        assert len(noise_key.forget(folder)) == 2 and not list(folder.path.iterdir())

    def test_a_key_that_is_there_is_never_replaced(self, tmp_path):
        path = tmp_path / "noise.key"
        secret = noise_key.create(path)
        with pytest.raises(FedlabError, match="is there already"):
            noise_key.create(path)
        assert path.read_text() == f"{secret.key.hex()}\n"

    @pytest.mark.parametrize("where", ["investigation", "sweep"])
    def test_reaches_the_runs_below(self, fedlab, trained, tmp_path, where):
        inside = tmp_path / "all" / {"investigation": "gans", "sweep": "0"}[where]
        shutil.copytree(trained, inside)
        if where == "sweep":
            (tmp_path / "all" / "sweep.json").write_text("{}")
            JobFolder(inside).write(JobRecord(number=0, name="0", command="fedlab train", parameters={}, config={}))
        assert fedlab("forget all")[0] == 0
        assert not (inside / "noise.key").exists() and not list((inside / "checkpoints").iterdir())

    def test_says_of_a_run_beside_it_that_it_has_nothing_to_forget(self, fedlab, trained, tmp_path):
        shutil.copytree(trained, tmp_path / "public")
        (tmp_path / "public" / "noise.key").unlink()
        manifest = json.loads((trained / "manifest.json").read_text())
        (tmp_path / "public" / "manifest.json").write_text(json.dumps({**manifest, "noise_key": None}))
        code, out, _ = fedlab("forget run public")
        assert code == 0 and "run: deleted noise.key" in out
        assert "public: nothing to forget: it drew no noise, or drew it from the seed" in out

    def test_deletes_the_key_and_the_checkpoints_and_nothing_else(self, fedlab, trained):
        files = {path for path in trained.rglob("*") if path.is_file()}
        code, out, err = fedlab("forget run")
        assert (code, err) == (0, "")
        gone = "its noise cannot be drawn again, and it can be neither resumed nor verified"
        assert out == f"run: deleted noise.key and 2 checkpoints: {gone}\n"
        left = {path for path in trained.rglob("*") if path.is_file()}
        assert {path.name for path in files - left} == {"noise.key", "round_000001.ckpt", "round_000002.ckpt"}
        assert fedlab("forget run")[:2] == (0, f"run: has been forgotten already: {gone}\n")
        for command in ("verify run", "train resume=run num_rounds=3"):
            assert fedlab(command)[0] == 1
        copied(trained, "again")
        for command in ("report run", "runs .", "compare run again"):
            assert fedlab(command)[0] == 0

    def test_refuses_while_a_process_writes_to_the_run(self, fedlab, trained):
        with RunLock(trained / ".lock"):
            code, out, err = fedlab("forget run")
        assert (code, out) == (1, "") and "is being written by process" in err and (trained / "noise.key").exists()

    def test_what_is_no_run_is_said_in_one_line(self, fedlab):
        assert fedlab("forget nowhere")[0] == 1
        assert fedlab("forget")[0] == 2
        with pytest.raises(SystemExit) as ended:
            main(["forget", "--help"])
        assert ended.value.code == 0

    @pytest.mark.slow
    def test_of_a_sweep_forgets_all_jobs_each_with_a_key_of_its_own(self, fedlab, tmp_path):
        options = f"{PRIVATE} num_rounds=1 privacy.noise_multiplier=1,2 hydra.sweep.dir=sweep"
        assert fedlab(f"train -m {options}")[0] == 0
        keys = [path.read_text() for path in (tmp_path / "sweep").rglob("noise.key")]
        assert len(set(keys)) == 2 and readable_by_others(tmp_path / "sweep") == []
        code, out, _ = fedlab("forget sweep")
        assert code == 0 and out.count("deleted noise.key and 1 checkpoint:") == 2
        assert not list((tmp_path / "sweep").rglob("noise.key"))


@pytest.mark.slow
@pytest.mark.parametrize("at", ["its manifest", "its key"])
def test_a_run_killed_after_it_wrote(fedlab, trained, at):
    """What such a run has left gets its key when it goes on, not one of which the manifest knows nothing."""
    kept = {"manifest.json", *(["noise.key"] if at == "its key" else [])}
    for path in trained.iterdir():
        if path.name not in kept:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    manifest = json.loads((trained / "manifest.json").read_text())
    manifest.update(status="running", noise_key=None, rounds_completed=0, ended=None)
    (trained / "manifest.json").write_text(json.dumps(manifest))
    before = (trained / "noise.key").read_text() if at == "its key" else ""
    assert "interrupted" in fedlab("runs .")[1]
    code, _, err = fedlab("train resume=run")
    assert code == 0, err
    text = (trained / "noise.key").read_text()
    assert text != before and stat.S_IMODE((trained / "noise.key").stat().st_mode) == 0o600
    identity = json.loads((trained / "manifest.json").read_text())["noise_key"]
    assert Secret.from_bytes(bytes.fromhex(text), "big").identity == identity
    assert len(hashes(trained)) == 2 and (trained / "config.yaml").is_file()
    assert fedlab("verify run -q")[0] == 0
