"""TFF's own runtime, unchanged. Slow and CPU-bound, and the measure of every other engine."""

from __future__ import annotations

import collections
import contextlib
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

import psutil
import tensorflow as tf
import tensorflow_federated as tff

from fedlab import lowering, stopping
from fedlab.engine import RoundInput, State
from fedlab.secure import ServerView
from fedlab.types import ExampleSet

_WORKER = "worker_binary"  # TFF's runtime: a child process that its Python side starts and restarts as needed


class TffEngine:
    """Feeds each client's examples to `process.next` as a `tf.data.Dataset` of one element."""

    observed: ServerView | None = None  # no protocol is run

    def __init__(self, process: tff.templates.IterativeProcess, examples: ExampleSet):
        self._process = process
        self._examples = examples
        self._context = tff.backends.native.create_sync_local_cpp_execution_context()
        self._state_type, metrics_type = (t.member for t in process.next.type_signature.result)
        self.state_names = [path for path, _ in lowering.leaves(self._state_type)]
        self._metric_names = ["/".join(path) for path, _ in lowering.leaves(metrics_type)]
        self.bytes_down, self.bytes_up = lowering.bytes_moved(process)
        self.seconds: dict[str, float] = {}  # TFF compiles with the first round
        # TFF starts a worker process with the first call, and leaves it running when Python exits
        self._end_worker = weakref.finalize(self, _end_workers, {p.pid for p in _workers()})

    def initialize(self, key: Any = None) -> State:
        del key  # TFF's runtime takes none
        with self._installed():
            return _flatten(self._process.initialize())

    def next(self, state: State, round_input: RoundInput) -> tuple[State, dict[str, Any]]:
        splits = round_input.row_splits
        data = [self._client_data(round_input, begin, end) for begin, end in itertools.pairwise(splits)]
        with self._installed():
            output = self._process.next(tff.structure.pack_sequence_as(self._state_type, state), data)
        metrics = _flatten(output.metrics)
        return _flatten(output.state), {name: tf.convert_to_tensor(v).numpy() for name, v in zip(self._metric_names, metrics)}

    def close(self) -> None:
        self._end_worker()

    def _client_data(self, round_input: RoundInput, begin: int, end: int) -> tf.data.Dataset:
        mine = round_input.indices[begin:end]
        element = collections.OrderedDict(
            order=round_input.order[:, begin:end], x=self._examples.x[mine], y=self._examples.y[mine]
        )
        return tf.data.Dataset.from_tensors(element)

    @contextlib.contextmanager
    def _installed(self) -> Iterator[None]:
        with tff.framework.get_context_stack().install(self._context):
            try:
                yield
            except (KeyboardInterrupt, SystemExit):
                # The call goes on in a thread of TFF's, which would replace the worker that we are about to end
                _no_more_workers.set()
                raise


_no_more_workers = threading.Event()  # set when this process has been told to end


class _Worker(subprocess.Popen):
    """TFF's worker, which the kernel kills when this process ends, however that happens.

    More precisely, when the thread ends that started it: the one in which the context calls TFF's runtime, and which the context
    keeps until it is itself thrown away, its worker with it.
    """

    def __init__(self, command: Sequence[str], **options: Any):
        if _no_more_workers.is_set():
            raise InterruptedError("this process is ending and starts no more workers")
        super().__init__([sys.executable, "-I", "-S", stopping.__file__, str(os.getpid()), *command], **options)


def _unless_worker_is_gone(unraisable: Any) -> None:
    """TFF's handle of a worker, when collected, fails if the worker has ended already. That is as it should be."""
    if getattr(unraisable.object, "__qualname__", "").endswith("ServiceManager.__del__"):
        return
    _report_unraisable(unraisable)


lowering.start_workers_with(_Worker)
_report_unraisable, sys.unraisablehook = sys.unraisablehook, _unless_worker_is_gone


def _flatten(value: Any) -> State:
    return tff.structure.flatten(tff.structure.from_container(value, recursive=True))


def _workers() -> list[psutil.Process]:
    return [p for p in psutil.Process().children() if p.name() == _WORKER]


def _end_workers(others: set[int]) -> None:
    """Ends the workers this process started, save `others`, which were there before.

    They are not waited for with `wait`: TFF's own handle does that, and fails on a child somebody else has reaped.
    """
    mine = [p for p in _workers() if p.pid not in others]
    for end, seconds in ((signal.SIGINT, 3.0), (signal.SIGKILL, 3.0)):
        deadline = time.monotonic() + seconds
        for process in mine:
            process.send_signal(end)
        while mine and time.monotonic() < deadline:
            mine = [p for p in mine if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
            time.sleep(0.02)
