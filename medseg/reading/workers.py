"""The decode workers: warm processes of `python -m medseg.reading.decode`, replaced when they die, stall or age."""

from __future__ import annotations

import atexit
import contextlib
import io
import json
import math
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np

from medseg.errors import InputError, ReadError
from medseg.reading.sandbox import ended_for_time
from medseg.reading.stored import MAX_BYTES

if sys.platform == "linux":
    import fcntl

POOL_SIZE = 2
"""Workers at a time: one decodes while the other's pixels are copied; each keeps about 70 MB."""

WALL_SECONDS = 20.0
"""Longest that one file may take: the CPU time a worker grants itself, on a busy machine."""

_START_SECONDS = 60.0  # imports take 0.4 s on a quiet machine and many times that on a busy one
_REQUESTS_PER_WORKER = 200  # bounds what leaks in native decoders can add up to
_MAX_HEADER_BYTES = 2**22  # two look-up tables of 65,536 entries are 1 MB
_ROOT = str(Path(__file__).resolve().parents[2])
_DIED = "The file could not be decoded: its decoder crashed. It is damaged; export it again."
_TOO_LONG = "The file takes too long to decode, far longer than images of its length do. Export it again."


class _LostError(Exception):
    """The worker died, was killed by its deadline, or answered with no reply."""


class _Worker:
    """One process and its two pipes, unbuffered: a fork must not copy half a message."""

    def __init__(self) -> None:
        # -P keeps the current folder, which may hold a numpy.py of somebody else's, off the import path.
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "medseg.reading.decode"],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_environment(),
        )
        self._requests = cast(io.FileIO, self.process.stdin)
        self._replies = cast(io.FileIO, self.process.stdout)
        _widen(self._replies)
        self.answered = 0
        self.path: str | None = None
        self._overdue = False
        try:
            with self._deadline(_START_SECONDS):
                self._receive_json()  # the empty one by which a worker says that it is ready
        except BaseException:
            self.end()
            raise

    def ask(self, request: dict[str, Any]) -> tuple[dict[str, Any], np.ndarray | None]:
        """The reply to `request` and its pixels. Raises _LostError where there is none within WALL_SECONDS."""
        self.path = request["path"]
        with self._deadline(WALL_SECONDS):
            try:
                self._requests.write(json.dumps(request).encode() + b"\n")
                header = self._receive_json()
                pixels = _empty(header) if "shape" in header else None
                if pixels is not None:
                    self._receive(pixels.data.cast("B"))
            except (OSError, ValueError, TypeError) as error:
                raise _LostError from error
        self.answered += 1
        return header, pixels

    def _receive_json(self) -> dict[str, Any]:
        length = bytearray(4)
        self._receive(memoryview(length))
        text = bytearray(min(int.from_bytes(length, "little"), _MAX_HEADER_BYTES))
        self._receive(memoryview(text))
        return dict(json.loads(text))

    def _receive(self, room: memoryview) -> None:
        """Fill `room` from the pipe."""
        while room:
            count = self._replies.readinto(room)
            if not count:
                raise _LostError
            room = room[count:]

    @contextlib.contextmanager
    def _deadline(self, seconds: float) -> Iterator[None]:
        """Kill the process after `seconds`: its pipe then ends and the reader goes on."""
        timer = threading.Timer(seconds, self._kill_overdue)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _kill_overdue(self) -> None:
        self._overdue = True
        self.process.kill()

    def took_too_long(self) -> bool:
        """Whether time was what a lost worker ran out of."""
        return self._overdue or ended_for_time(self._status())

    def was_killed(self) -> bool:
        """Whether somebody else ended a lost worker: the system where memory is short, or an administrator."""
        return sys.platform != "win32" and not self._overdue and self._status() == -signal.SIGKILL

    def _status(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.process.wait(timeout=1)
        return None

    def end(self) -> None:
        """Kill the process, which keeps nothing worth saving, and collect it."""
        self.process.kill()
        self.process.wait()
        self._requests.close()
        self._replies.close()

    def disown(self) -> None:
        """In a forked child: close our copies of the pipes and leave the parent's process alone."""
        self.process.returncode = 0  # or Popen would try to collect what is not our child
        self._requests.close()
        self._replies.close()


def _widen(pipe: io.FileIO) -> None:
    """Let 1 MiB lie in the pipe, not 64 KiB: fewer turns between the processes halve the time of large images."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # an administrator may allow less
            fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, 2**20)


def _empty(header: dict[str, Any]) -> np.ndarray:
    """Room for the pixels of a reply. A worker may have been taken over by what it read, so its numbers are checked."""
    shape, dtype = [int(side) for side in header["shape"]], np.dtype(str(header["dtype"]))
    if dtype.kind not in "buif" or not 2 <= len(shape) <= 3 or min(shape) < 1:
        raise ValueError("no pixels")
    if math.prod(shape) * dtype.itemsize > MAX_BYTES:
        raise ValueError("too many pixels")
    return np.empty(shape, dtype)


def _environment() -> dict[str, str]:
    """What a worker needs of ours and no more: no tokens, no proxies; one thread, as decoding is not the slow part."""
    inherited = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT") if name in os.environ}
    path = os.pathsep.join(filter(None, (_ROOT, os.environ.get("PYTHONPATH"))))
    threads = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {**inherited, **threads, "PYTHONPATH": path, "PYTHONUTF8": "1"}


class Pool:
    """At most POOL_SIZE workers, started when first needed. Safe to use from many threads and after a fork."""

    def __init__(self) -> None:
        self._size = POOL_SIZE
        self._start_over()
        if sys.platform != "win32":
            os.register_at_fork(after_in_child=self._after_fork)
        atexit.register(self.close)

    def _start_over(self) -> None:
        self._lock = threading.Lock()
        self._slots = threading.Semaphore(self._size)
        self._idle: list[_Worker] = []
        self._all: set[_Worker] = set()

    def _after_fork(self) -> None:
        """A child (a data loader's, say) shares our pipes: two readers of one pipe would mix up replies."""
        for worker in self._all:
            worker.disown()
        self._start_over()

    def allow(self, workers: int) -> None:
        """Let so many work at a time, where that is more than now."""
        with self._lock:
            if workers > self._size:
                self._slots.release(workers - self._size)
                self._size = workers

    def ask(self, request: dict[str, Any]) -> tuple[dict[str, Any], np.ndarray | None]:
        """A worker's answer to a `request` as `medseg.reading.decode` describes it: header and pixels, or header alone.

        Raises ReadError with the worker's sentence, or with ours where the worker died of the file; InputError where
        the request itself makes no sense.
        """
        with self._slots:
            header, pixels = self._answer(self._take(request["path"]), request)
        if "error" in header:
            raise (InputError if header.get("input") else ReadError)(str(header["error"]))
        return header, pixels

    def _answer(
        self, worker: _Worker, request: dict[str, Any], *, again: bool = False
    ) -> tuple[dict[str, Any], np.ndarray | None]:
        """The answer of `worker`; where somebody killed it, of no fault of the file, that of a new one."""
        try:
            answer = worker.ask(request)
        except _LostError as error:
            killed, sentence = worker.was_killed(), _TOO_LONG if worker.took_too_long() else _DIED
            self._drop(worker)
            if killed and not again:
                return self._answer(self._start(), request, again=True)
            raise ReadError(sentence) from error
        except BaseException:
            self._drop(worker)
            raise
        self._give_back(worker)
        return answer

    def _take(self, path: str) -> _Worker:
        """A worker that has `path` open already, else the one that has rested longest, else a new one."""
        with self._lock:
            self._idle.sort(key=lambda worker: worker.path == path)  # the last is taken first; sorting keeps the rest
            while self._idle:
                worker = self._idle.pop(-1 if self._idle[-1].path == path else 0)
                if worker.process.poll() is None:
                    return worker
                self._forget(worker)  # died between two requests, of no fault of the next file
        return self._start()

    def _start(self) -> _Worker:
        try:
            worker = _Worker()
        except (_LostError, OSError) as error:
            raise ReadError("The decoder does not start. Check the installation and the free memory.") from error
        with self._lock:
            self._all.add(worker)
        return worker

    def _give_back(self, worker: _Worker) -> None:
        if worker.answered >= _REQUESTS_PER_WORKER:
            self._drop(worker)
            return
        with self._lock:
            self._idle.append(worker)

    def _drop(self, worker: _Worker) -> None:
        with self._lock:
            self._forget(worker)

    def _forget(self, worker: _Worker) -> None:
        worker.end()
        self._all.discard(worker)

    def close(self) -> None:
        """End all workers; the next request starts new ones."""
        with self._lock:
            for worker in list(self._all):
                self._forget(worker)
            self._idle.clear()


pool = Pool()
"""The workers of this process, which everything that reads a file shares."""


def absolute(path: str | os.PathLike[str]) -> str:
    """Workers keep the folder they were started in, so they are told where a file is from the root."""
    return os.path.abspath(os.fspath(path))
