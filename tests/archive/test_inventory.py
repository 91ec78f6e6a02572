"""Whatever happens to a file that a run has left is named, and what may change does not count."""

from __future__ import annotations

import json
import shutil

import pytest

from fedlab.archive import RunFolder, inventory, read_run, scan
from fedlab.archive.inventory import DamagedRun
from fedlab.archive.lock import RunLock
from fedlab.archive.manifest import VERSION
from fedlab.cli.main import main
from fedlab.errors import FedlabError
from fedlab.fingerprint import json_fingerprint
from tests.report.conftest import png, write_run


def sealed_run(path):
    """A finished run with a file of each kind, as a run leaves it."""
    folder = RunFolder(write_run(path, manifest_version=VERSION))
    folder.config.write_text("seed: 0\n")
    folder.model.write_bytes(bytes(range(256)) * 40)
    for sub in (folder.images, folder.observed, folder.checkpoints, folder.path / "attacks", folder.arm("a").path):
        sub.mkdir(exist_ok=True)
    (folder.images / "grid.png").write_bytes(png(2, 2))
    (folder.observed / "round_000010.npz").write_bytes(b"x" * 1000)
    (folder.checkpoints / "round_000010.ckpt").write_bytes(b"state")
    folder.arm("a").model.write_bytes(b"weights of an arm")
    (path / "noise.key").write_text("0" * 64)
    inventory.seal(folder)
    return folder


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return sealed_run(tmp_path_factory.mktemp("sealed") / "run")


@pytest.fixture
def folder(original, tmp_path, monkeypatch):
    """A copy, in the current folder."""
    monkeypatch.chdir(tmp_path)
    return RunFolder(shutil.copytree(original.path, tmp_path / "run"))


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def grow(path):
    path.write_bytes(path.read_bytes() + b"{}\n")


def empty(path):
    path.write_bytes(b"")


def remove(path):
    path.unlink()


def as_folder(path):
    path.unlink()
    path.mkdir()


DAMAGE = [flip, truncate, grow, empty, remove, as_folder]
CORE = ["manifest.json", "summary.json", "metrics.jsonl"]
OTHERS = ["model.keras", "config.yaml", "clients.csv", "partition.csv", "images/grid.png", "observed/round_000010.npz"]


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", [*CORE, *OTHERS, "arms/a/model.keras"])
def test_damage_of_any_kind_to_any_file_is_named(folder, name, damage):
    damage(folder.path / name)
    with pytest.raises(FedlabError, match=r"damaged") as raised:
        read_run(folder.path).check()
    assert name in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", [*CORE, "inventory.json"])
@pytest.mark.parametrize(
    "verb",
    [["runs", "."], ["report", "run"], ["compare", "run", "run"], ["plot", "run", "--out", "a.svg"], ["verify", "run"]],
    ids=lambda v: v[0],
)
def test_every_reader_names_damage_in_one_line(folder, capsys, verb, name, damage):
    damage(folder.path / name)
    assert main(verb) == 1
    found = capsys.readouterr()
    assert f"fedlab {verb[0]}: " in found.err and name in found.err and "damaged" in found.err and found.err.count("\n") == 1


@pytest.mark.parametrize("name", OTHERS)
def test_every_reader_names_what_is_cut(folder, capsys, name):
    truncate(folder.path / name)
    for verb in (["runs", "."], ["report", "run"], ["compare", "run", "run"]):
        assert main(verb) == 1
        assert f"run is damaged: {name} has " in capsys.readouterr().err


def test_a_report_reads_what_it_shows(folder, capsys):
    flip(folder.path / "clients.csv")
    assert main(["report", "run"]) == 1
    assert "clients.csv has another content" in capsys.readouterr().err and not folder.report.exists()


def test_what_may_change_or_go_does_not_count(folder, capsys):
    shutil.rmtree(folder.checkpoints)
    (folder.path / "noise.key").unlink()
    for verb in (["report", "run"], ["runs", "."]):
        assert main(verb) == 0
    (folder.path / "log.txt").write_text("a sweep's")
    (folder.path / "job.json").write_text("{}")
    (folder.images / "of_a_later_verb.png").write_bytes(png(1, 1))
    read_run(folder.path).check()
    assert "inventory" not in capsys.readouterr().err


def test_the_inventory_says_how_far_the_run_went(folder):
    found = json.loads(folder.inventory.read_text())
    assert (found["records"], found["weights_hash"]) == (10, f"{10:016x}")
    assert found["files"]["model.keras"]["bytes"] == 256 * 40
    assert not {"noise.key", "inventory.json", "checkpoints/round_000010.ckpt"} & set(found["files"])


class TestAmending:
    """A later verb adds to a sealed run."""

    def test_what_it_writes_is_sealed(self, folder):
        with inventory.amending(folder):
            folder.write_summary({"num_rounds": 10, "attack_score_global": 0.5})
            (folder.path / "attacks" / "model_inversion_global.json").write_text("{}")
            folder.path.joinpath("clients.csv").unlink()
        read_run(folder.path).check()
        flip(folder.path / "attacks" / "model_inversion_global.json")
        with pytest.raises(DamagedRun, match=r"attacks/model_inversion_global\.json has another content"):
            read_run(folder.path).check()

    @pytest.mark.parametrize("damage", [flip, truncate, remove])
    def test_earlier_damage_stays_damage(self, folder, damage):
        damage(folder.model)
        with inventory.amending(folder):
            folder.write_summary({"num_rounds": 10})
        with pytest.raises(DamagedRun, match=r"model\.keras"):
            read_run(folder.path).check()

    def test_it_is_sealed_also_after_an_error(self, folder):
        with pytest.raises(KeyboardInterrupt), inventory.amending(folder):
            folder.write_summary({"num_rounds": 10})
            raise KeyboardInterrupt
        read_run(folder.path).check()

    def test_readers_wait_for_whoever_holds_the_lock(self, folder):
        with RunLock(folder.lock), inventory.amending(folder):
            folder.write_summary({"num_rounds": 11})
            assert read_run(folder.path).summary == {"num_rounds": 11}


class TestWithoutInventory:
    @pytest.fixture
    def old(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        return RunFolder(write_run(tmp_path / "run"))

    def test_an_old_run_is_read_and_said_to_have_none(self, old, capsys):
        for verb in (["report", "run"], ["runs", "."]):
            assert main(verb) == 0
            found = capsys.readouterr()
            assert "run has no inventory, since an older fedlab made it: damage may go unnoticed" in found.err
        with inventory.amending(old):
            pass
        assert not old.inventory.exists()

    @pytest.mark.parametrize(
        ("damage", "name", "words"),
        [
            (truncate, "metrics.jsonl", "metrics.jsonl has 6 of 10 rounds"),
            (empty, "metrics.jsonl", "metrics.jsonl is empty or missing"),
            (remove, "metrics.jsonl", "metrics.jsonl is empty or missing"),
            (remove, "summary.json", "summary.json is missing"),
            (empty, "summary.json", "summary.json is damaged"),
        ],
    )
    def test_what_an_old_run_itself_tells_is_noticed(self, old, capsys, damage, name, words):
        damage(old.path / name)
        for verb in (["runs", "."], ["report", "run"], ["compare", "run", "run"], ["verify", "run"]):
            assert main(verb) == 1
            assert words in capsys.readouterr().err

    def test_a_run_that_should_have_one_is_damaged(self, folder):
        folder.inventory.unlink()
        with pytest.raises(DamagedRun, match=r"inventory\.json is missing \(`fedlab train resume=run` writes it"):
            read_run(folder.path)
        assert read_run(folder.path, to_go_on=True).unsealed

    def test_a_run_that_goes_on_has_none(self, folder):
        inventory.break_seal(folder)
        found = json.loads(folder.manifest.read_text())
        folder.manifest.write_text(json.dumps({**found, "status": "running"}))
        assert read_run(folder.path).status == "interrupted"


def test_a_folder_with_an_inventory_and_no_manifest_is_listed_as_damaged(folder):
    folder.manifest.unlink()
    assert [str(error) for error in scan(folder.path.parent)] == [
        f"{folder.path} is damaged: manifest.json is missing. Restore it from a copy, or train again."
    ]


def sealed_with(folder, **changed):
    """Writes other values into the inventory, with the checksum that belongs to them."""
    content = {**json.loads(folder.inventory.read_text()), **changed}
    content.pop("sha256")
    folder.inventory.write_text(json.dumps({**content, "sha256": json_fingerprint(content)}))


@pytest.mark.parametrize(
    ("changed", "told"),
    [({"records": 99}, r"metrics\.jsonl has 10 rounds, and had 99"), ({"weights_hash": "0" * 16}, "ended with 0000000000000000")],
)
def test_records_are_those_that_were_counted(folder, changed, told):
    sealed_with(folder, **changed)
    with pytest.raises(DamagedRun, match=told):
        read_run(folder.path)


def test_the_summary_is_of_the_last_record(folder):
    content = {**json.loads(folder.summary.read_text()), "weights_hash": "another"}
    folder.summary.write_text(json.dumps(content))
    inventory.seal(folder)
    with pytest.raises(DamagedRun, match=r"summary\.json is of the weights another, and metrics.jsonl ends with"):
        read_run(folder.path)


def test_a_round_twice_is_named_although_it_is_sealed(folder):
    lines = folder.metrics.read_text().splitlines(keepends=True)
    folder.metrics.write_text("".join([*lines, lines[-1]]))
    inventory.seal(folder)
    with pytest.raises(DamagedRun, match=r"metrics\.jsonl has 11 rounds, and had 10"):
        read_run(folder.path)
