"""What several folders of tests share: TensorFlow started as a run starts it, small data, and processes put together."""

from __future__ import annotations

import dataclasses
import gc
import itertools
import os
import pathlib
import signal
import sys
import warnings
import zlib
from typing import Any

import numpy as np
import pytest

from fedlab.stopping import SIGNALS

CLIENT_SIZES = (7, 1, 20, 13)  # unequal, none a multiple of the batch size 5 but one, one with a single example


# Folders whose modules import it
NEED_TENSORFLOW = (
    "models",
    "algorithms",
    "docs",
    "tasks",
    "aggregation",
    "mechanisms",
    "engine",
    "evaluation",
    "run",
    "gan",
    "split",
    "attacks",
)


def _start_tensorflow() -> None:
    from fedlab.run.start import start_tensorflow

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what other people's packages say of each other when they are imported
        start_tensorflow("cpu", expected_clients=len(CLIENT_SIZES))  # a cohort that keeps every core busy


def pytest_configure(config: Any) -> None:
    # Keras 2.14 calls random.randint(1, 1e9)
    config.addinivalue_line("filterwarnings", "ignore:non-integer arguments to randrange:DeprecationWarning")
    if hasattr(config, "workerinput") or not config.getoption("numprocesses", None):  # this process runs tests
        _give_children_their_signals()


def _give_children_their_signals() -> None:
    """Lets the commands that tests start receive signals that this process ignores, such as SIGHUP under `nohup make test`.

    A program inherits that a signal is ignored; a handler it does not inherit.
    """
    for number in SIGNALS:
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


# Files of slow tests that take a minute or more each: first, so that no worker waits for one at the end
LONGEST = ("test_cli_resume.py", "test_protections_agree.py", "test_reproducing.py", "test_sweeps_run.py")


def in_sample(name: str, one_in: int) -> bool:
    """Returns True for about one name in `one_in`, the same ones always; for each with FEDLAB_ALL_VARIANTS=1."""
    return os.environ.get("FEDLAB_ALL_VARIANTS") == "1" or zlib.crc32(name.encode()) % one_in == 0


@pytest.hookimpl(tryfirst=True)  # before pytest leaves out what is slow
def pytest_collection_modifyitems(config: Any, items: list) -> None:
    """Of each `sampled` test, leaves the variant with the least checksum of its name in the default run; the others are slow.

    Of the others of a test `sampled(one_in=n)`, leaves those `in_sample`. The `LONGEST` files come first.
    """
    items.sort(key=lambda item: item.path.name not in LONGEST)
    sampled: dict[str, list] = {}
    for item in items:
        if item.get_closest_marker("sampled") and not item.get_closest_marker("slow"):
            sampled.setdefault(item.nodeid.partition("[")[0], []).append(item)
    left_out = set()
    for variants in sampled.values():
        one_in = variants[0].get_closest_marker("sampled").kwargs.get("one_in", 1)
        for item in sorted(variants, key=lambda item: zlib.crc32(item.nodeid.encode()))[1:]:
            item.add_marker(pytest.mark.slow)
            if not in_sample(item.nodeid, one_in):
                left_out.add(item)
    if left_out:
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=[*left_out])


def pytest_collection_finish() -> None:
    """Lets the garbage collector leave out what has been imported and collected, and look less often at the rest.

    A test makes many objects that stay, such as graphs, and little garbage: the default took 6 % of the time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)


def pytest_pycollect_makemodule(module_path: pathlib.Path) -> None:
    if module_path.parent.name in NEED_TENSORFLOW:
        _start_tensorflow()


@pytest.fixture(autouse=True)
def _own_modules_end_with_their_test(tmp_path_factory):
    """Forgets what a test has imported from its temporary folder, so that a later test may use the name of such a module."""
    folders = list(sys.path)
    yield
    sys.path[:] = folders
    temporary = str(tmp_path_factory.getbasetemp())
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(temporary):
            del sys.modules[name]


@pytest.fixture(scope="session")
def tensorflow():
    """TensorFlow, started as a run starts it, on the CPU."""
    _start_tensorflow()
    import tensorflow as tf

    return tf


@dataclasses.dataclass(frozen=True)
class Result:
    """What some rounds left: all states after the initial one, the weights in each, the metrics of each."""

    states: list
    weights: list  # per round, a list of float32 arrays
    metrics: list  # per round, a dict


class Trainer:
    """A built process on an engine."""

    def __init__(self, engine: Any, initial_weights: list):
        self.engine = engine
        self.initial_weights = initial_weights

    def weights(self, state: list) -> list:
        """The global model's tensors as arrays."""
        names = self.engine.state_names
        return [np.asarray(t) for name, t in zip(names, state) if name[0] == "global_model_weights"]

    def run(self, inputs: list, state: list | None = None) -> Result:
        """A round per input, from `state` or the initial one."""
        state = self.engine.initialize(np.array([17, 4])) if state is None else state
        result = Result([], [], [])
        for round_input in inputs:
            state, metrics = self.engine.next(state, round_input)
            result.states.append(state)
            result.weights.append(self.weights(state))
            result.metrics.append(metrics)
        return result


class Lab:
    """Builds small federations. What is not given is FedAvg of logistic regression by plain SGD on the compiled engine."""

    sizes = CLIENT_SIZES
    _compiled: dict = {}  # trainers by their options: building one takes a second, and it keeps nothing from run to run
    _functional: dict = {}  # functional models by their options: pure functions, tried out in a graph of their own when built

    def __init__(self) -> None:
        self._engines: list = []

    def examples(
        self, sizes: tuple = CLIENT_SIZES, dtype: type = np.uint8, shape: tuple = (6, 6, 1), num_classes: int = 4, seed: int = 0
    ):
        """Random examples, more of them than the clients of these sizes hold, with labels that can be learnt."""
        from fedlab.types import ExampleSet

        rng = np.random.default_rng(seed)
        n = sum(sizes) + 5
        y = rng.integers(0, num_classes, n).astype(np.int32)
        if dtype == np.uint8:
            centres = rng.integers(0, 200, (num_classes, *shape))
            x = (centres[y] + rng.integers(0, 56, (n, *shape))).astype(np.uint8)
        else:
            centres = rng.normal(size=(num_classes, *shape))
            x = (centres[y] + rng.normal(size=(n, *shape))).astype(np.float32)
        return ExampleSet(x, y, num_classes)

    def partition(self, sizes: tuple = CLIENT_SIZES, seed: int = 0):
        """Clients of these sizes over the examples above, which are not all given out."""
        from fedlab.types import Partition

        ends = np.cumsum(sizes)
        shuffled = np.random.default_rng(seed).permutation(sum(sizes) + 5)
        return Partition(tuple(str(i) for i in range(len(sizes))), tuple(np.split(shuffled, ends)[: len(sizes)]))

    def inputs(self, num_rounds: int, epochs: int = 1, seed: int = 0, partition: Any = None, clients: Any = None) -> list:
        """The inputs of rounds 1 to `num_rounds`, every client or `clients` taking part."""
        from fedlab.run.rounds import round_input
        from fedlab.types import Cohort

        partition = self.partition() if partition is None else partition
        clients = np.arange(len(partition)) if clients is None else np.array(clients)
        nobody = np.zeros(0, np.int64)
        return [round_input(partition, Cohort(r, clients, nobody), epochs, seed) for r in range(1, num_rounds + 1)]

    def trainer(
        self, process: Any = None, *, examples: Any = None, engine: Any = None, fresh: bool = False, **options: Any
    ) -> Trainer:
        """Everything put together as a run does it; for `options` see `parts`.

        On the compiled engine, equal options give a trainer that may have run before, unless it must be `fresh`. On others, the
        engine is closed when the test ends.
        """
        from fedlab.algorithms import FedAvg, LocalTraining
        from fedlab.engine import Compiled
        from fedlab.models import Perceptron

        examples = self.examples() if examples is None else examples
        process, model = process or FedAvg(), options.pop("model", Perceptron())
        options.setdefault("client", LocalTraining(batch_size=5))
        name = repr(
            (process, model, engine, sorted(options.items()), examples.x.dtype, examples.x.tobytes(), examples.y.tobytes())
        )
        if name in self._compiled and not fresh:
            return self._compiled[name]
        built, initial = self.process(process, examples, model, **options)
        trainer = Trainer((engine or Compiled()).build(built, examples), initial)
        if isinstance(engine or Compiled(), Compiled):
            self._compiled[name] = trainer
        else:
            self._engines.append(trainer.engine)
        return trainer

    def process(self, process: Any, examples: Any, model: Any, **options: Any) -> tuple:
        """The TFF process and the weights it starts from; for options see `parts`."""
        from fedlab.algorithms import FedAvg

        parts = self.parts(examples, model, **options)
        return (process or FedAvg()).build(parts), [w for ws in parts.model.initial_weights for w in ws]

    def parts(
        self,
        examples: Any,
        model: Any,
        client: Any = None,
        client_optimizer: Any = None,
        schedule: Any = None,
        server_optimizer: Any = None,
        aggregator: Any = None,
        seed: int = 3,
        max_staleness: int = 0,
    ) -> Any:
        """What an algorithm is put together from; its model starts from weights that depend on `seed`."""
        from fedlab.aggregation import Mean
        from fedlab.algorithms import LocalTraining, Parts
        from fedlab.algorithms.client_work import ExampleSpec
        from fedlab.algorithms.optimizers import Constant, Sgd
        from fedlab.models import functional

        sys.modules["tensorflow"].keras.backend.reset_uids()  # so that layers are called dense, dense_1, …
        keras = functional.initial_keras_model(lambda: model(examples.x.shape[1:], examples.num_classes), seed)
        built, _ = self.functional(model, examples, seed)
        aggregator = aggregator or Mean()
        return Parts(
            model=built,
            examples=ExampleSpec.of(examples),
            client=client or LocalTraining(batch_size=5),
            client_optimizer=client_optimizer or Sgd(learning_rate=0.1),
            client_schedule=schedule or Constant(),
            server_optimizer=server_optimizer or Sgd(learning_rate=1.0),
            aggregator=aggregator.build(),
            takes_weights=aggregator.takes_weights,
            num_clients=len(self.sizes),
            num_examples=sum(self.sizes),
            max_staleness=max_staleness,
            keras=keras,
        )

    def training(
        self,
        process: Any,
        *,
        examples: Any = None,
        model: Any = None,
        engine: Any = None,
        summing: Any = None,
        privacy: Any = None,
        **options: Any,
    ) -> Any:
        """A training under way, as a run starts it; closed when the test ends."""
        from fedlab.algorithms import LocalTraining, Setting
        from fedlab.engine import Compiled
        from fedlab.models import Perceptron
        from fedlab.privacy import NoPrivacy
        from fedlab.types import Dataset

        examples = self.examples() if examples is None else examples
        client = options.setdefault("client", LocalTraining(batch_size=5))
        parts = self.parts(examples, model or Perceptron(), **options)
        setting = Setting(
            seed=3,
            dataset=Dataset("lab", examples, examples),
            partition=self.partition(),
            engine=engine or Compiled(),
            summing=summing,
            privacy=privacy or NoPrivacy(),
            local_epochs=process.epochs(client),
        )
        started = process.start(parts, setting)
        self._engines.append(started)
        return started

    def functional(self, model: Any, examples: Any, seed: int = 3) -> tuple:
        """The model as TFF's functional model, and its initial weights (trainable, non-trainable).

        Equal options of fedlab's own models give the same functions.
        """
        from fedlab.models import functional
        from fedlab.spec import Spec

        shape = examples.x.shape[1:]
        options = (model, shape, examples.num_classes, seed) if isinstance(model, Spec) else None
        if options in self._functional:
            return self._functional[options]

        def build() -> Any:
            return model(shape, examples.num_classes)

        weights = functional.keras_weights(functional.initial_keras_model(build, seed))
        made = functional.functional_classifier(build, weights, shape, examples.num_classes), weights
        if options is not None:
            self._functional[options] = made
        return made

    @staticmethod
    def clients(round_input: Any) -> list:
        """(positions of its examples, visiting order of them) of each client of a round."""
        splits = round_input.row_splits
        return [(round_input.indices[a:b], round_input.order[:, a:b]) for a, b in itertools.pairwise(splits)]

    @staticmethod
    def permuted(round_input: Any, permutation: Any) -> Any:
        """The same round with its clients, and what belongs to each, in another order."""
        cut = Lab.clients(round_input)
        return dataclasses.replace(
            round_input,
            indices=np.concatenate([cut[k][0] for k in permutation]),
            row_splits=np.cumsum([0, *(len(cut[k][0]) for k in permutation)]).astype(np.int32),
            order=np.concatenate([cut[k][1] for k in permutation], axis=1),
            keys=round_input.keys[list(permutation)],
        )

    @staticmethod
    def distance(a: list, b: list) -> float:
        """The largest |a − b| / |b| over the tensors, in Euclidean norms; |a − b| where b is zero."""
        assert len(a) == len(b) > 0
        return max(float(np.linalg.norm(x - y) / (np.linalg.norm(y) or 1.0)) for x, y in zip(a, b))

    @staticmethod
    def same_bits(a: list, b: list) -> bool:
        """Whether two lists of tensors are equal, not-a-number included."""
        a, b = [np.asarray(t) for t in a], [np.asarray(t) for t in b]
        return [(t.dtype, t.shape, t.tobytes()) for t in a] == [(t.dtype, t.shape, t.tobytes()) for t in b]

    def close(self) -> None:
        for engine in self._engines:
            engine.close()


@pytest.fixture
def lab(tensorflow):
    made = Lab()
    yield made
    made.close()


def pytest_sessionfinish() -> None:
    """Lets go of the runtime that TFF holds ready, while it still can; at exit it would complain."""
    tff = sys.modules.get("tensorflow_federated")
    if tff is not None:
        tff.test.set_no_default_context()
