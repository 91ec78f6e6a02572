"""Mistakes at the command line: command → one line that names what is wrong → exit code, and nothing left behind."""

import pathlib
import zipfile

import numpy as np
import pytest

from fedlab.cli.main import main
from fedlab.config import application
from fedlab.studies.sweep import plan as sweep_plan

CONF = pathlib.Path(__file__).parent.parent.parent / "conf"
MODELS = sorted(file.stem for file in (CONF / "model").glob("*.yaml"))

# (arguments, what the line must say, exit code)
MISTAKES = [
    # verbs and flags
    ("", "usage", 2),
    ("trian", "no verb 'trian'. Did you mean 'train'?", 2),
    ("train --foo", "unrecognized arguments: --foo", 2),
    ("train --confg-dir x", "Did you mean '--config-dir'?", 2),
    ("train -cd nowhere", "nowhere' not found", 2),
    ("train num_rounds=1 -cd nowhere model=cnn", "nowhere' not found", 2),
    ("train num_rounds=1 --cfg jobb", "invalid choice: 'jobb'", 2),
    ("train num_rounds=1 --foo seed=1", "unrecognized arguments: --foo", 2),
    ("verify RUN --round 1", "Did you mean '--rounds'?", 2),
    ("compare A --hmtl x", "Did you mean '--html'?", 2),
    ("runs --jsn", "Did you mean '--json'?", 2),
    ("runs -- --json", "-- does not end the flags", 2),
    ("runs =x", "fedlab runs: '=x' has no key before the =", 2),
    ("doctor --jsn", "Did you mean '--json'?", 2),
    ("data shwo", "shwo", 2),
    ("data fetch mnits", "mnits", 2),
    ("completion fish", "fish", 2),
    ("train --config-name trian", "no configuration 'trian'. Did you mean 'train'? Configurations: train.", 2),
    ("train num_rounds=1 --run", "--run has no effect", 2),
    ("train -r", "--run has no effect", 2),
    ("train -cp conf", "-cd FOLDER adds your own configuration folder", 2),
    ("train -sc install=bash", "fedlab completion bash|zsh", 2),
    ("train --experimental-rerun x.pickle", "fedlab verify RUN repeats a run", 2),
    ("train -p model", "--package says how --cfg prints: add --cfg job", 2),
    ("train -m seed=1,2 --resolve", "--resolve says how --cfg prints: add --cfg job", 2),
    # choices
    ("train model=cnnn", f"no model 'cnnn'. Did you mean 'cnn'? Choices: {', '.join(MODELS)}.", 2),
    ("train modell=cnn", "no option 'modell'. Did you mean 'model'?", 2),
    ("train model=", "no model ''. Choices:", 2),
    ("train model=null", "no model 'null'. Choices:", 2),
    ("train model=3", "no model '3'. Choices:", 2),
    ("train ~model", "model must be given", 2),
    ("train +model=cnn", "change it without the plus, model=NAME", 2),
    ("train experiment=mnist/fedavg_iid", "add it with a plus, +experiment=mnist/fedavg_iid", 2),
    ("train +experiment=mnist/fedavg_idd", "Did you mean 'mnist/fedavg_iid'?", 2),
    ("train client_optimizer=yogi", "no client_optimizer 'yogi'. Choices: adam, sgd.", 2),
    ("train evaluation.rounds_to=x", "evaluation.rounds_to=x: must be a number, or a list of numbers.", 2),
    # keys
    ("train num_round=3", "Did you mean 'num_rounds'?", 2),
    ("train lr=0.1", "'client_optimizer.learning_rate' or 'server_optimizer.learning_rate'", 2),
    ("train batch_size=5", "Did you mean 'client.batch_size'", 2),
    ("train alpha=0.1", "'partition.alpha' of 'partition=dirichlet' or 'partition=pachinko'?", 2),
    ("train optimizer=adam", "Did you mean 'client_optimizer' or 'server_optimizer'?", 2),
    ("train optimizer.lr=0.1", "'client_optimizer.learning_rate' or 'server_optimizer.learning_rate'", 2),
    (
        "train attack.target_class=8",
        "attack as chosen has no options. It belongs to attack=model_inversion. Choices with options: attack=model_inversion.",
        2,
    ),
    ("train +seedd=1", "no option 'seedd'. Did you mean 'seed'?", 2),
    (
        "train partition.alpha=1",
        "It belongs to partition=dirichlet or partition=pachinko. Options of partition as chosen: num_clients, seed, "
        "unseen_clients.",
        2,
    ),
    ("train partition=dirichlet partition.alpah=1", "no option 'partition.alpah'. Did you mean 'alpha'?", 2),
    (
        "train +partition.foo=1",
        "no option 'partition.foo'. Options of partition as chosen: seed, unseen_clients, num_clients.",
        2,
    ),
    ("train num_rounds=1,2", "num_rounds=1,2 has a comma: add -m for a sweep", 2),
    ("train ++num_rounds", "'++num_rounds' is neither a flag nor key=value", 2),
    # arms
    ("train arms={a:{},b:{}}", "arms are added with a plus: '+arms={a:{},b:{}}'", 2),
    ("train arms.a.client.batch_size=9", "added with a plus: +arms.a.client.batch_size=VALUE", 2),
    ("train +arms.a=3", "an arm lists the options that it overrides, such as +arms.a.client", 2),
    ("train +arms.a.client.batch_size=9", "has only a: give at least two", 2),
    ("train +arms.a.modell.x=1", "no option 'arms.a.modell'. Did you mean 'model'?", 2),
    ("train +arms.a.model=cnn", "to choose a model for an arm, write +model@arms.a.model=cnn", 2),
    ("train +arms.a.client.batch_sze=9", "arm a: no option 'client.batch_sze'. Did you mean 'batch_size'?", 2),
    (
        "train +model@arms.a.model=cnn +arms.a.model.padding=odd",
        "arms.a.model.padding exists already: set it without the plus",
        2,
    ),
    # types and ranges
    ("train num_rounds=abc", "num_rounds=abc: must be a valid integer", 2),
    ("train num_rounds=true", "num_rounds=true: must be a valid integer", 2),
    ("train client_optimizer.learning_rate=true", "client_optimizer.learning_rate=true: must be a valid number", 2),
    ("train model.hidden=[true]", "model.hidden[0]=true: must be a valid integer", 2),
    ("train num_rounds=0", "num_rounds=0: must be greater than 0", 2),
    ("train seed=-1", "seed=-1: must be greater than or equal to 0", 2),
    ("train seed=1.5", "seed=1.5: must be a valid integer", 2),
    ("train model.dropout=1.5", "model.dropout=1.5: must be less than 1", 2),
    ("train model.hidden=[0]", "model.hidden[0]=0: must be greater than 0", 2),
    ("train model.hidden=10", "model.hidden=10: must be a list", 2),
    ("train partition=dirichlet partition.alpha=-1", "partition.alpha=-1: must be greater than", 2),
    ("train client_optimizer.learning_rate=0", "client_optimizer.learning_rate=0: must be greater than 0", 2),
    ("train process.client_weighting=foo", "must be 'auto', 'examples' or 'uniform'", 2),
    ("train engine=tff engine.device=gpu", "engine.device=gpu: must be 'auto' or 'cpu'", 2),
    ("train aggregator=trimmed_mean aggregator.trim_fraction=0.5", "must be less than 0.5", 2),
    ("train data.classes=[0]", "two or more different labels", 2),
    ("train data.classes=[0,12]", "digits has the classes 0 to 9", 2),
    # targets
    ("train model._target_=fedlab.models.Cnnn", "model._target_=fedlab.models.Cnnn cannot be imported", 2),
    ("train aggregator._target_=fedlab.aggregation.Aggregator", "is a base class and cannot be built", 2),
    ("train model._target_=nowhere.net", "No module named 'nowhere'", 2),
    ("train evaluation.holdout=0.001", "evaluation.holdout=0.001 holds nothing out", 2),
    ("train secure=masked secure.clip_range=0.5", "clip_range=0.5 is less than 1", 2),
    ("train secure=ckks secure.clip_range=0.5", "clip_range=0.5 is less than 1", 2),
    (
        "train partition._target_=fedlab.cohort.All ~partition.num_clients",
        "which is not a valid partition: derive it from fedlab.partition.base.Partitioner, or choose one",
        2,
    ),
    # choices that contradict each other
    ("train partition=by_user", "has no user ids", 2),
    ("train cohort.clients_per_round=50", "there are only 10 clients", 2),
    ("train partition=single", "there are only 1 clients", 2),
    ("train partition.num_clients=100000 cohort=all", "has 1,438 training examples", 2),
    ("train aggregator=krum aggregator.num_byzantine=2", "needs at least 7 clients per round", 2),
    ("train aggregator=multi_krum aggregator.num_selected=5", "must be at most 4", 2),
    ("train aggregator=krum process.client_weighting=examples", "use process.client_weighting=uniform", 2),
    ("train process=fed_sgd client.local_epochs=3", "client.local_epochs must be 1", 2),
    ("train process=fed_sgd client_optimizer=adam", "has no use for a client optimizer", 2),
    ("train aggregator=krum cohort.clients_per_round=4 cohort.dropout_rate=0.1", "needs at least 5 clients", 2),
    ("train server_optimizer.learning_rate=inf", "finite number", 2),
    ("train process=local_only attack=model_inversion", "needs the one classifier that a run trains", 2),
    # secure sums
    ("train secure=mask", "no secure 'mask'. Did you mean 'masked'? Choices: ckks, ckks_8192, masked, plain.", 2),
    (
        "train secure=masked aggregator=krum",
        "secure=masked gives the server only a sum, but this aggregator compares individual",
        2,
    ),
    ("train secure=ckks aggregator=coordinate_median", "secure=ckks gives the server only a sum", 2),
    ("train secure=masked aggregator=trimmed_mean", "use aggregator=mean, robust or secure, or secure=plain", 2),
    ("train secure=masked engine=tff", "secure=masked needs engine=compiled: TFF's own runtime sums unprotected updates", 2),
    ("train secure=ckks engine=tff", "secure=ckks needs engine=compiled", 2),
    ("train aggregator=secure engine=tff", "TFF's own runtime cannot compute marked sums: use engine=compiled, or", 2),
    ("train secure.observe=last engine=tff", "secure.observe needs engine=compiled", 2),
    ("train secure.dropout_rate=0.2 engine=tff", "secure.dropout_rate needs engine=compiled", 2),
    ("train secure=masked cohort.clients_per_round=1", "needs at least 2 clients per round, but there are at most 1", 2),
    ("train secure=masked secure.threshold=0.5", "secure.threshold=0.5: must be greater than 0.5", 2),
    ("train secure=masked secure.bits=16", "secure.bits=16: must be 32 or 64", 2),
    ("train secure=masked secure.neighbors=few", "secure.neighbors=few: must be 'all', 'log' or 'pairs'", 2),
    ("train secure=masked secure.neighbors=pairs", "its partner's update, so all must stay: set secure.threshold=1", 2),
    ("train secure=masked secure.neighbors=pairs secure.threshold=1", "pairs needs the same even number of clients", 2),
    ("train secure=masked secure.neighbors=[[0,1],[1,1]] secure.threshold=1", "[1,1] pairs a client with itself", 2),
    ("train secure=masked secure.neighbors=[[0,2]] secure.threshold=1", "client 1 is in no pair, so no mask would hide", 2),
    ("train secure=masked secure.neighbors=[[0,1]]", "its partner's update, so all must stay: set secure.threshold=1", 2),
    ("train secure=masked secure.neighbors=[[0,1]] secure.threshold=1", "pairs 2 clients, 0 to 1, and a round has", 2),
    (
        "train secure=masked secure.neighbors=pairs secure.threshold=1 cohort=poisson",
        "needs the same even number of clients in every round, and the cohort has a varying number",
        2,
    ),
    ("train secure=masked secure.dropout_rate=1", "secure.dropout_rate=1: must be less than 1", 2),
    ("train secure=masked secure.observe=often", "secure.observe=often: must be 'none', 'last' or 'all', or must be a list", 2),
    (
        "train secure=masked secure.observe=[0]",
        "secure.observe=[0]: must be 'none', 'last' or 'all', or must be greater than 0",
        2,
    ),
    ("train secure.threshold=0.7", "It belongs to secure=masked. Options of secure as chosen: scope, observe, dropout_rate.", 2),
    ("train secure=ckks secure.poly_modulus_degree=4096", "go together: set all three or none", 2),
    ("train secure=ckks secure.precision=0", "secure.precision=0: must be greater than 0", 2),
    # privacy
    ("train privacy=gauss", "no privacy 'gauss'. Did you mean", 2),
    (
        "train privacy=gaussian_fixed process.client_weighting=examples",
        "a client with more examples would have more influence",
        2,
    ),
    ("train privacy=gaussian_fixed aggregator=robust", "which only aggregator=mean computes: choose it, or privacy=none", 2),
    ("train privacy=gaussian_fixed privacy.noise_multiplier=null", "of noise_multiplier and target_epsilon, neither is given", 2),
    ("train privacy=gaussian_fixed privacy.target_epsilon=2", "of noise_multiplier and target_epsilon, both are given", 2),
    ("train privacy=tree privacy.delta=2", "privacy.delta=2: must be less than 1", 2),
    ("train privacy=tree privacy.noise_source=dice", "privacy.noise_source=dice: must be 'key' or 'seed'", 2),
    ("train privacy=tree privacy.noise_source=os", "noise_source=os is now noise_source=key", 2),
    ("train privacy=tree privacy.target_quantile=0.5", "no option 'privacy.target_quantile'", 2),
    ("train client=dp_sgd process=fed_sgd", "process=fed_sgd trains nothing on clients", 2),
    ("train client=dp_sgd process.client_weighting=examples", "the weight would tell how many examples a client holds", 2),
    ("train client=dp_sgd client.batches=odd", "client.batches=odd: must be 'poisson' or 'shuffled'", 2),
    ("train client=dp_sgd client.clip_norm=0", "client.clip_norm=0: must be greater than or equal to 1e-12", 2),
    ("train client.noise_multiplier=1", "It belongs to client=dp_sgd", 2),
    # corruption
    ("train corruption=inversoin", "no corruption 'inversoin'. Did you mean 'inversion'?", 2),
    ("train corruption=inversion corruption.fraction=1.5", "corruption.fraction=1.5: must be less than or equal to 1", 2),
    ("train corruption=blur corruption.sigma=0", "corruption.sigma=0: must be greater than 0", 2),
    ("train corruption=function corruption.function=nowhere.f", "corruption.function=nowhere.f: No module named 'nowhere'", 2),
    ("train corruption=inversion corruption.users=[99]", "there is no user '99'", 3),
    # data
    ("train data=npz", "data.path must be given", 2),
    ("train data=npz data.path=nothing.npz", "nothing.npz", 3),
    ("train data=npz data.path=torn.npz", "torn.npz", 3),
    ("train data=npz data.path=no_labels.npz", "no_labels.npz", 3),
    ("train data=mnist data.dir=nowhere", "mnist/train-images-idx3-ubyte.gz is missing", 3),
    ("train partition=dirichlet partition.alpha=0.01 partition.min_examples=100", "min_examples", 3),
    ("train evaluation.holdout=0.001", "evaluation.holdout=0.001 holds nothing out", 2),
    ("train data=npz data.path=table.npz attack=model_inversion", "model inversion needs images", 2),
    # the run folder
    ("train hydra.run.dir=a_file/run", "a_file/run", 1),
    ("train hydra.run.dir=a_file", "a_file", 1),
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FEDLAB_DATA_DIR", raising=False)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "a_file").write_text("not a folder")
    (tmp_path / "torn.npz").write_bytes(b"PK\x03\x04 and no more")
    np.savez(tmp_path / "no_labels.npz", x=np.zeros((4, 2), np.float32))
    assert zipfile.is_zipfile(tmp_path / "no_labels.npz")
    table = {"x": np.arange(80, dtype=np.float32).reshape(40, 2), "y": np.arange(40) % 2}
    np.savez(tmp_path / "table.npz", **table, x_test=table["x"], y_test=table["y"])
    return tmp_path


@pytest.mark.parametrize(("command", "says", "exit_code"), MISTAKES, ids=[command or "(nothing)" for command, *_ in MISTAKES])
def test_mistake_gets_one_line_and_an_exit_code(command, says, exit_code, folder: pathlib.Path, capfd):
    before = sorted(folder.rglob("*"))
    try:
        code = main(command.split())
    except SystemExit as stop:  # argparse's, of the verbs that use it
        code = stop.code
    captured = capfd.readouterr()
    text = captured.err or captured.out
    assert says in text
    assert code == exit_code
    assert "Traceback" not in text
    if command.startswith("train"):
        assert captured.err.count("\n") == 1 and captured.err.startswith("fedlab train: ")
    assert sorted(folder.rglob("*")) == before


EXPERIMENTS = [  # (content of an experiment file, what the line must say)
    ("num_rounds: 3\n", "has no line '# @package _global_', so its options would not apply"),
    ("# @package _global_\ndefaults:\n  - override /model: cnn\n  - override /model: mlp\n", "chooses model twice"),
    ("# @package _global_\ndefaults:\n  - /model: cnn\n", "among its defaults must be 'override /model: cnn'"),
    ("# @package _global_\ndefaults:\n  - override model: cnn\n", "must be 'override /model: cnn'"),
    ("# @package _global_\ndefaults:\n  - override /model: cnnn\n", "no model 'cnnn'. Did you mean 'cnn'?"),
    ("# @package _global_\nclient:\n  batch_sise: 3\n", "Did you mean 'batch_size'?"),
    ("# @package _global_\nclient: [\n", "is not YAML"),
    ("# @package _global_\ndefaults:\n  - /experiment/other\n", "other.yaml chooses model twice"),
]


@pytest.mark.parametrize(("content", "says"), EXPERIMENTS, ids=[says for _, says in EXPERIMENTS])
@pytest.mark.parametrize("verb", ["train", "data show", "train -m seed=0,1"])
def test_mistake_in_an_experiment_file_gets_one_line(verb, content, says, folder: pathlib.Path, capfd):
    if verb != "train" and "batch_sise" in content:
        pytest.skip("options of clients are checked when a run or a job begins")
    (folder / "mine" / "experiment").mkdir(parents=True)
    (folder / "mine" / "experiment" / "x.yaml").write_text(content)
    twice = "# @package _global_\ndefaults:\n  - override /model: cnn\n  - override /model: mlp\n"
    (folder / "mine" / "experiment" / "other.yaml").write_text(twice)
    assert main([*verb.split(), "+experiment=x", "-cd", "mine"]) == 2
    captured = capfd.readouterr()
    assert says in captured.err and captured.err.count("\n") == 1
    assert not (folder / "outputs").exists()


def test_flags_of_train_may_stand_anywhere(folder: pathlib.Path, capfd):
    (folder / "mine" / "model").mkdir(parents=True)
    (folder / "mine" / "model" / "cnn.yaml").write_text("_target_: fedlab.models.Mlp\nhidden: [7]\n")
    words, flags = ["num_rounds=9", "model=cnn"], ["-cd", "mine", "--cfg", "job"]
    printed = []
    for argv in ([*flags, *words], [*words, *flags], [words[0], *flags[:2], words[1], *flags[2:]]):
        assert main(["train", *argv]) == 0
        printed.append(capfd.readouterr().out)
    assert "num_rounds: 9" in printed[0] and printed[0] == printed[1] == printed[2]
    assert "hidden:\n  - 7" in printed[0]  # a choice in one's own folder hides the shipped one of that name
    argv = ["-m", "seed=0,1", *words[1:], *flags[:2]]
    assert application.in_order(application.parsed([*argv[1:], "-m"])) == ["-m", "-cd", "mine", *argv[1:-2]]
    config = sweep_plan.composed(argv, application.parsed(argv))
    assert config is not None and config.model.hidden == [7]
