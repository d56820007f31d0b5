"""A child process that answers requests: one line of JSON each way, with limits on time and memory.

A library that crashes, hangs or asks for all memory takes the child with it, and not the program that asked.
The module that the child runs ends with ``serve(answer)``, where `answer` turns a request into its answer.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import IO, Any

from tvtasks.errors import ConfigurationError


class ChildEndedError(Exception):
    """The child ended before it had answered.

    Attributes
    ----------
    timed_out
        Whether it was stopped because its time was up; otherwise it ended by itself.
    """

    def __init__(self, *, timed_out: bool) -> None:
        super().__init__("its time was up" if timed_out else "it ended")
        self.timed_out = timed_out


class ChildClosedError(Exception):
    """`Child.close` was called, perhaps during a request."""


class Child:
    """A Python process that runs a module and answers requests, one at a time.

    It starts with the first request and stays for the next, so that imports are paid for once. If it has
    ended, the next request starts another.

    Parameters
    ----------
    module
        The module to run; it must call `serve`.
    search
        Folders to search for modules; by default those of the installation. The working folder is never among
        them, so that a file beside the images is not taken for a module.
    requests
        Requests after which a new process takes over, because libraries leak memory; 0 for never.
    """

    def __init__(self, module: str, *, search: Sequence[str] | None = None, requests: int = 0) -> None:
        self._module, self._search, self._most = module, search, requests
        self._process: subprocess.Popen[bytes] | None = None
        self._answered = 0
        self._closed = False
        self._lock = threading.Lock()

    def ask(self, request: Any, *, seconds: float | None = None) -> Any:
        """Return the answer to a request; both are values that JSON knows. Raises as `asking` does."""
        with self.asking(request, seconds=seconds) as answer:
            return json.loads(answer.readline())

    @contextmanager
    def asking(
        self, request: Any, *, seconds: float | None = None, memory: int = 0, processor_seconds: float = 0.0
    ) -> Iterator[IO[bytes]]:
        """Send a request and provide the stream that the answer is read from.

        Parameters
        ----------
        request
            A value that JSON knows.
        seconds
            How long the block may last; then the child is killed.
        memory, processor_seconds
            Bytes and seconds of processor time that the child may use, where the system can limit them (not
            on Windows); 0 for no limit.

        Yields
        ------
        binary file
            The stream.

        Raises
        ------
        ChildEndedError
            The child ended, or its time was up.
        ChildClosedError
            `close` was called.
        ConfigurationError
            No child can be started.
        """
        envelope = {"request": request, "memory": memory, "processor_seconds": processor_seconds}
        with self._lock:
            process = self._running()
            assert process.stdin is not None
            assert process.stdout is not None
            late = threading.Event()

            def give_up() -> None:
                late.set()
                process.kill()

            timer = threading.Timer(seconds or 0.0, give_up)
            timer.daemon = True
            if seconds is not None:
                timer.start()
            try:
                process.stdin.write(json.dumps(envelope).encode() + b"\n")
                process.stdin.flush()
                yield process.stdout
            except (OSError, ValueError, EOFError) as error:
                self._end()
                if self._closed:
                    raise ChildClosedError from error
                raise ChildEndedError(timed_out=late.is_set()) from error
            except BaseException:  # after Ctrl-C, the answer under way must not be taken for the next one
                self._end()
                raise
            finally:
                timer.cancel()

    def close(self) -> None:
        """End the process, from any thread, and start no other: a request under way fails."""
        self._closed = True
        if (process := self._process) is not None:
            process.kill()
            process.wait()

    def _running(self) -> subprocess.Popen[bytes]:
        process = self._process
        if process is None or process.poll() is not None or 0 < self._most <= self._answered:
            self._end()
            process = self._start()
        self._answered += 1
        if self._closed:
            self._end()
            raise ChildClosedError
        return process

    def _start(self) -> subprocess.Popen[bytes]:
        environment = dict(os.environ)
        if self._search is not None:
            environment["PYTHONPATH"] = os.pathsep.join(folder for folder in self._search if folder)
        process = self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", self._module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
        self._answered = 0
        assert process.stdout is not None
        # the start takes a while and does not count as a request
        if not process.stdout.readline() and not self._closed:
            self._end()
            raise ConfigurationError(
                f"{sys.executable} cannot run {self._module}. Check that tvtasks is installed for it."
            )
        return process

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            with suppress(OSError):
                process.communicate()


def serve(answer: Callable[[Any], Iterable[Any]]) -> None:
    """Answer the requests of a `Child` until it closes the pipe.

    Parameters
    ----------
    answer
        Given a request, yields the answer: a value that JSON knows, then any bytes.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C and then ends this process
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a library may print, but not into an answer
    _send(answers, [None])
    for line in sys.stdin.buffer:
        envelope = json.loads(line)
        _limit(envelope["memory"], envelope["processor_seconds"])
        _send(answers, answer(envelope["request"]))


def _send(answers: IO[bytes], parts: Iterable[Any]) -> None:
    for part in parts:
        is_raw = isinstance(part, bytes | memoryview)
        answers.write(part if is_raw else json.dumps(part, allow_nan=False).encode() + b"\n")
    answers.flush()


def _limit(memory: int, processor_seconds: float) -> None:
    with suppress(ImportError, AttributeError, ValueError, OSError):
        import resource  # noqa: PLC0415 - Windows has none

        if memory:
            # Not the address space: linear algebra libraries reserve gigabytes that they never use.
            _, most = resource.getrlimit(resource.RLIMIT_DATA)
            resource.setrlimit(resource.RLIMIT_DATA, (memory, most))
        if processor_seconds:
            _, most = resource.getrlimit(resource.RLIMIT_CPU)
            end = int(time.process_time() + processor_seconds) + 1
            resource.setrlimit(resource.RLIMIT_CPU, (end, most))
