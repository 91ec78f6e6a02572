"""Worker processes for the rows of an array, for work that keeps the interpreter's lock, such as TenSEAL's encryption."""

from __future__ import annotations

import multiprocessing
import os
import weakref
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

import numpy as np

from fedlab.errors import FedlabError

Work = Callable[[np.ndarray], list[bytes]]
Factory = Callable[[bytes], Work]


class Workers:
    """Runs the function that `factory(argument)` returns on rows; it returns a byte string per row. One worker is this process.

    The first call starts the processes by spawning (a fork of a process with TensorFlow's threads may hang). They end with
    `close`, with this object, or with this process, when the pipes to it close.
    """

    def __init__(self, factory: Factory, argument: bytes, num_workers: int):
        self._factory, self._argument, self.num_workers = factory, argument, num_workers
        self._here = factory(argument) if num_workers == 1 else None
        self._pipes: list[Connection] = []
        self._processes: list[BaseProcess] = []
        self.close = weakref.finalize(self, _end, self._pipes, self._processes)  # also at the interpreter's exit

    def __call__(self, rows: np.ndarray) -> list[bytes]:
        """Returns a byte string per row. Raises the error that the function raised."""
        if self._here is not None:
            return self._here(rows)
        if not self._processes:
            self._start()
        try:
            for pipe, share in zip(self._pipes, np.array_split(rows, self.num_workers)):
                pipe.send(share)
            answers = [pipe.recv() for pipe in self._pipes]
        except BaseException as error:  # interrupts too: the next call would read answers that are left in the pipes
            self.close()
            if not isinstance(error, (EOFError, OSError)):
                raise
            raise FedlabError(
                "a process that encrypts ended unexpectedly, perhaps because memory ran out: lower secure.num_workers."
            ) from None
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return [item for answer in answers for item in answer]

    def _start(self) -> None:
        assert self.close.alive, "closed"
        context = multiprocessing.get_context("spawn")
        for _ in range(self.num_workers):
            here, there = context.Pipe()
            process = context.Process(target=_serve, args=(self._factory, self._argument, there), daemon=True)
            process.start()
            there.close()  # only the worker has that end now, so each side sees when the other closes or dies
            self._pipes.append(here)
            self._processes.append(process)


def _serve(factory: Factory, argument: bytes, pipe: Connection) -> None:
    os.setpgid(0, 0)  # outside of the terminal's process group: the run, not Ctrl-C, ends the workers
    work = factory(argument)
    while True:
        try:
            rows = pipe.recv()
        except EOFError:
            return
        try:
            answer: object = work(rows)
        except Exception as error:
            answer = error
        pipe.send(answer)


def _end(pipes: list[Connection], processes: list[BaseProcess]) -> None:
    for pipe in pipes:
        pipe.close()
    for process in processes:
        process.join(5)
        if process.is_alive():
            process.kill()
            process.join()
    pipes.clear()
    processes.clear()
