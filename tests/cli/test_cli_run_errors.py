"""Mistakes that concern a run that is there, or should be, and those that only a built process can tell."""

from __future__ import annotations

import json
import pathlib
import shutil

import pytest

from fedlab.archive import RunFolder, inventory
from fedlab.cli.main import main

FAST = "data.max_examples=200 model.hidden=[4]"


def fails(command, says, exit_code, capfd):
    """One line on stderr, and this exit code."""
    capfd.readouterr()
    assert main(command.split()) == exit_code
    err = capfd.readouterr().err
    assert says in err and err.count("\n") == 1 and err.startswith(f"fedlab {command.split()[0]}: "), err


def contents(folder):
    """Every file but locks, which name who held them last."""
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file() and path.name != ".lock"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tensorflow):
    """A run of two rounds."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(f"train -q {FAST} num_rounds=2 hydra.run.dir=run".split()) == 0
    return folder / "run"


@pytest.fixture
def run(finished, tmp_path, monkeypatch):
    """A copy of it, in the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    return pathlib.Path(shutil.copytree(finished, tmp_path / "run"))


MISTAKES = [
    ("train resume=", "resume= must name the folder of a run", 2),
    ("train resume=nowhere", "no such run: nowhere does not exist", 1),
    ("train resume=run/config.yaml", "run/config.yaml is a file; a run is a folder with a manifest.json in it", 1),
    ("train resume=.", ". is a folder of runs, not a run: name one of them, such as run", 1),
    ("train resume=run", "run has finished all of its 2 rounds: add more with num_rounds=N", 2),
    ("train resume=run num_rounds=2", "run has finished all of its 2 rounds", 2),
    ("train resume=run num_rounds=1", "num_rounds=1, but run has done 2 rounds already", 2),
    ("train resume=run num_rounds=abc", "num_rounds=abc: must be a valid integer", 2),
    ("train resume=run num_rounds=0", "num_rounds=0: must be greater than 0", 2),
    ("train resume=run num_round=4", "run has no option 'num_round'. Did you mean 'num_rounds'?", 2),
    ("train resume=run +foo=null", "run has no option 'foo'.", 2),
    ("train resume=run model.hiden=[3]", "run has no option 'model.hiden'. Did you mean 'model.hidden'?", 2),
    ("train resume=run hydra.run.dir=other", "run has no option 'hydra.run.dir'", 2),
    ("train resume=run seed=5", "seed is 0 in the run, 5 here: leave it out, or start a run of its own", 2),
    ("train resume=run model=cnn", "more options differ: leave it out", 2),
    ("train resume=run resume=other", "'resume=other' does not go with resume=…", 2),
    ("train resume=run foo", "'foo' does not go with resume=…: it takes key=value, --quiet and --trust only", 2),
    ("train resume=run ~model", "'~model' does not go with resume=…", 2),
    ("train resume=run -m", "-m does not go with resume=…", 2),
    ("train resume=run --cfg job", "--cfg does not go with resume=…", 2),
    ("verify", "the following arguments are required: RUN. See fedlab verify --help.", 2),
    ("verify nowhere", "no such run: nowhere does not exist", 1),
    ("verify run/config.yaml", "is a file; a run is a folder", 1),
    ("verify .", ". is a folder of runs, not a run: name one of them, such as run", 1),
    ("verify run --rounds 0", "'0' is not a whole number of at least 1", 2),
    ("verify run --rounds -1", "'-1' is not a whole number of at least 1", 2),
    ("verify run --foo", "unrecognized arguments: --foo", 2),
]


@pytest.mark.parametrize(("command", "says", "exit_code"), MISTAKES, ids=[command for command, *_ in MISTAKES])
def test_a_mistake_gets_one_line_and_changes_nothing(run, command, says, exit_code, capfd):
    before = contents(run.parent)
    fails(command, says, exit_code, capfd)
    assert contents(run.parent) == before


DAMAGED = [
    (b'{"status": ', "run/manifest.json is damaged: Expecting value"),
    (b"[]", "run/manifest.json is damaged: it holds no JSON object"),
    (b"{}", "run/manifest.json is not a manifest of a run"),
    (b"\xff\xfe\x00", "run/manifest.json is damaged: 'utf-8' codec can't decode"),
]


@pytest.mark.parametrize("command", ["train resume=run num_rounds=3", "verify run"])
class TestDamagedManifest:
    """Also where the inventory agrees with what the folder holds."""

    @pytest.mark.parametrize(("content", "says"), DAMAGED, ids=[says for _, says in DAMAGED])
    def test_that_cannot_be_read(self, run, command, content, says, capfd):
        (run / "manifest.json").write_bytes(content)
        inventory.seal(RunFolder(run))
        fails(command, says, 1, capfd)

    @pytest.mark.parametrize("name", ["config", "name", "data", "partition", "reproducible", "resumed"])
    def test_that_lacks_what_it_takes(self, run, command, name, capfd):
        content = json.loads((run / "manifest.json").read_text())
        says = "is not a manifest of a run" if name == "config" else f"is damaged: '{name}' is missing from it"
        (run / "manifest.json").write_text(json.dumps({k: v for k, v in content.items() if k != name}))
        inventory.seal(RunFolder(run))
        fails(command, says, 1, capfd)
        (run / "manifest.json").write_text(json.dumps({**content, name: 3}))
        inventory.seal(RunFolder(run))
        fails(command, f"is damaged: '{name}' is missing from it, or not what it should be", 1, capfd)

    def test_without_fingerprints_or_stages(self, run, command, capfd):
        content = json.loads((run / "manifest.json").read_text())
        (run / "manifest.json").write_text(json.dumps({**content, "data": {}}))
        inventory.seal(RunFolder(run))
        fails(command, "is damaged: 'data' has no fingerprint in it", 1, capfd)
        content["config"].pop("model")
        (run / "manifest.json").write_text(json.dumps(content))
        inventory.seal(RunFolder(run))
        fails(command, "model must be given", 2, capfd)


def test_metrics_that_cannot_be_compared(run, capfd):
    (run / "metrics.jsonl").write_text('{"round": 1}\n')
    inventory.seal(RunFolder(run))
    fails("verify run", "run/metrics.jsonl is damaged: round 1 has no weights_hash in it", 1, capfd)
    (run / "metrics.jsonl").unlink()
    inventory.seal(RunFolder(run))
    fails("verify run", "run has no round to compare: metrics.jsonl holds none", 1, capfd)


BUILT = [
    ("secure=masked aggregator=compressed", "this aggregator does more with clients' updates than to add them up"),
    ("secure=masked secure.scope=marked", "this process marks nothing as securely summed"),
    ("secure=masked secure.fractional_bits=60", "overflows 64 bits: set secure.fractional_bits=44 or fewer"),
    ("secure=ckks secure.precision=1e-30", "beyond float64: raise secure.precision"),
    (
        "secure=ckks secure.poly_modulus_degree=4095 secure.coeff_mod_bit_sizes=[40,20] secure.global_scale=1024",
        "secure.poly_modulus_degree=4095: choose one of 1024, 2048",
    ),
    (
        "privacy=gaussian_fixed privacy.noise_multiplier=null privacy.target_epsilon=1e-4 privacy.delta=1e-9",
        "privacy.target_epsilon=0.0001 is out of",
    ),
    ("privacy=gaussian_adaptive", "must be below 2 · clipped_count_stddev = 0.5"),
    ("privacy=gaussian_fixed privacy.stop_at_epsilon=1e-4", "stop_at_epsilon=0.0001: the first round alone costs"),
    ("privacy=gaussian_fixed privacy.population=100000", "privacy.population=100,000, but the run has 10 clients"),
    ("privacy=gaussian_fixed partition.num_clients=1 cohort=all", "is 1 for a single user: set privacy.delta"),
]


@pytest.mark.parametrize(("options", "says"), BUILT, ids=[options for options, _ in BUILT])
def test_what_cannot_be_built_leaves_no_folder(options, says, run, capfd):
    fails(f"train {FAST} -q {options} hydra.run.dir=other", says, 2, capfd)
    assert not (run.parent / "other").exists()


def test_a_run_that_used_nobodys_update_has_failed(run, capfd):
    """Under this seed no client is drawn; the run leaves what it measured all the same."""
    fails(
        f"train {FAST} -q num_rounds=2 cohort=poisson cohort.sampling_rate=1e-6 hydra.run.dir=other",
        "nothing was learned",
        1,
        capfd,
    )
    other = run.parent / "other"
    assert json.loads((other / "summary.json").read_text())["rounds_without_clients"] == 2
    assert json.loads((other / "manifest.json").read_text())["status"] == "failed"


def test_a_run_whose_every_masked_round_is_abandoned_has_failed(run, capfd):
    """Under this seed, of ten clients that each vanish with chance 0.9, fewer than two thirds are left in either round."""
    fails(
        f"train {FAST} -q num_rounds=2 secure=masked secure.dropout_rate=0.9 hydra.run.dir=other", "nothing was learned", 1, capfd
    )
    other = run.parent / "other"
    assert json.loads((other / "summary.json").read_text())["rounds_without_clients"] == 2
    assert json.loads((other / "manifest.json").read_text())["status"] == "failed"


def test_divergence_is_noticed_at_its_round(run, capfd):
    """Not at the next evaluation, which is the last round's."""
    rates = "client_optimizer.learning_rate=1 server_optimizer.learning_rate=1e38"
    fails(f"train {FAST} -q num_rounds=60 eval_every=60 {rates} hydra.run.dir=other", "the model has diverged", 1, capfd)
    found = json.loads((run.parent / "other" / "manifest.json").read_text())
    assert found["rounds_completed"] < 5 and found["status"] == "failed" and "the model has diverged" in found["failure"]


def test_a_run_that_never_began_leaves_the_current_folder(tmp_path, monkeypatch, tensorflow, capfd):
    here = tmp_path / "fresh" / "empty"
    here.mkdir(parents=True)
    monkeypatch.chdir(here)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    fails(f"train {FAST} -q privacy=gaussian_adaptive hydra.run.dir=below/run", "must be below 2", 2, capfd)
    assert here.is_dir() and not list(here.iterdir())
    fails(f"train {FAST} -q privacy=gaussian_adaptive hydra.run.dir={tmp_path}/other/run", "must be below 2", 2, capfd)
    assert not (tmp_path / "other" / "run").exists()
