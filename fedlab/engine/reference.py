"""TFF's own runtime, unchanged. Slow and CPU-bound; the reference for every other engine."""

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
import types
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

_WORKER = "worker_binary"  # TFF's runtime: a child process that TFF's Python code starts and restarts as needed


class TffEngine:
    """Passes each client's examples to `process.next` as a `tf.data.Dataset` of one element."""

    observed: ServerView | None = None  # no protocol runs
    side_by_side = False  # the runtime executes one call at a time

    def __init__(self, process: tff.templates.IterativeProcess, examples: ExampleSet):
        self._process = process
        self._examples = examples
        self._context = tff.backends.native.create_sync_local_cpp_execution_context()
        self._state_type, metrics_type = (t.member for t in process.next.type_signature.result)
        self.state_names = [path for path, _ in lowering.leaves(self._state_type)]
        self._metric_names = ["/".join(path) for path, _ in lowering.leaves(metrics_type)]
        try:
            self.bytes_down, self.bytes_up = lowering.bytes_moved(process)
        except lowering.LoweringError:  # several exchanges per round: only the process itself knows
            self.bytes_down = self.bytes_up = 0
        self.seconds: dict[str, float] = {}  # TFF compiles in the first round
        # TFF starts a worker process at the first call, and leaves it running when Python exits
        self._end_worker = weakref.finalize(self, _end_workers, {p.pid for p in _workers()})

    def initialize(self, key: Any = None) -> State:
        del key  # TFF's runtime takes no key
        with self._installed():
            return _flatten(self._process.initialize())

    def next(self, state: State, round_input: RoundInput) -> tuple[State, dict[str, Any]]:
        splits = round_input.row_splits
        data = [self._client_data(round_input, k, *ends) for k, ends in enumerate(itertools.pairwise(splits))]
        with self._installed():
            output = self._process.next(_packed(self._state_type, state), data)
        metrics = _flatten(output.metrics)
        return _flatten(output.state), {name: tf.convert_to_tensor(v).numpy() for name, v in zip(self._metric_names, metrics)}

    def close(self) -> None:
        self._end_worker()

    def _client_data(self, round_input: RoundInput, k: int, begin: int, end: int) -> tf.data.Dataset:
        mine = round_input.indices[begin:end]
        kept = [("kept", tuple(rows[k] for rows in round_input.kept))] if round_input.kept else []
        data = [("order", round_input.order[:, begin:end]), ("x", self._examples.x[mine]), ("y", self._examples.y[mine])]
        return tf.data.Dataset.from_tensors(collections.OrderedDict([*kept, *data]))

    @contextlib.contextmanager
    def _installed(self) -> Iterator[None]:
        with tff.framework.get_context_stack().install(self._context):
            try:
                yield
            except stopping.STOPS:
                # The call continues in a thread of TFF's, which would replace the worker that this code ends next
                _no_more_workers.set()
                raise


_no_more_workers = threading.Event()  # set when this process has been told to stop


class _Worker(subprocess.Popen):
    """TFF's worker; it ends with this object, and the kernel kills it when this process ends, for whatever reason.

    More precisely, when the thread that started it ends: the thread in which the context calls TFF's runtime, and which the
    context keeps until it is discarded together with its worker.
    """

    def __init__(self, command: Sequence[str], stdout: Any = None, stderr: Any = None):
        if _no_more_workers.is_set():
            raise InterruptedError("this process is ending and starts no more workers")
        command = [sys.executable, "-I", "-S", stopping.__file__, str(os.getpid()), *command]
        super().__init__(command, stdout=_file_or_none(stdout), stderr=_file_or_none(stderr))

    def __del__(self) -> None:
        if getattr(self, "pid", None) and self.returncode is None:
            self.kill()
            self.wait()
        super().__del__()


class _WorkerOfTff:
    """Creates a `_Worker` where TFF's code calls `subprocess.Popen`.

    TFF's handle would end the worker when it is collected, but the garbage collector may collect the worker before the handle.
    The handle leaves alone a process that is not an instance of this class, so only `_Worker` ends it.
    """

    __class_getitem__: Any = classmethod(types.GenericAlias)  # TFF annotates with Popen[bytes]

    def __new__(cls, command: Sequence[str], **streams: Any) -> _Worker:  # type: ignore[misc]
        return _Worker(command, **streams)


def _file_or_none(stream: Any) -> Any:
    """Returns `stream` if a child process can write to it; else (`StringIO`, notebooks) None, for the streams of this process."""
    try:
        stream.fileno()
    except (AttributeError, OSError, ValueError):
        return None
    return stream


lowering.start_workers_with(_WorkerOfTff)


def _packed(kind: tff.Type, tensors: State) -> Any:
    """Returns `tensors` as a value of type `kind`, which may be a single tensor."""
    return tff.structure.pack_sequence_as(kind, tensors) if isinstance(kind, tff.StructType) else tensors[0]


def _flatten(value: Any) -> State:
    return tff.structure.flatten(tff.structure.from_container([value], recursive=True))


def _workers() -> list[psutil.Process]:
    return [p for p in psutil.Process().children() if p.name() == _WORKER]


def _end_workers(others: set[int]) -> None:
    """Ends the workers this process started, except `others`, which existed before.

    Does not call `wait` on them, so that no other process gets the id of one while TFF's code may send it a signal.
    """
    mine = [p for p in _workers() if p.pid not in others]
    for end, seconds in ((signal.SIGINT, 3.0), (signal.SIGKILL, 3.0)):
        deadline = time.monotonic() + seconds
        for process in mine:
            process.send_signal(end)
        while mine and time.monotonic() < deadline:
            mine = [p for p in mine if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
            time.sleep(0.02)
