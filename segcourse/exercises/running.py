"""A learner's function is run: fresh inputs, a time limit, little output, no exception escapes."""

import contextlib
import ctypes
import io
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from typing import Any, TextIO

from segcourse.exercises.results import plain

MAX_LINES, MAX_CHARACTERS = 20, 2000  # of what an answer prints
IMPORT = 6  # times the limit that an answer may take longer if it imports a module
FRAMES = 4  # of the learner's own lines that are shown of an error


class Unfinished(Exception):
    """The answer did not return within the time limit."""


def outcomes(answer: Callable, cases: Sequence[tuple], seconds: float | None = None) -> list[Any]:
    """For every case what the answer returns, in plain values, or the exception that it raises.

    Args:
        answer: called with each case's arguments.
        cases: argument tuples; the answer may change them.
        seconds: for all cases together. After that the answer is stopped, and this case and those
            after it get ``Unfinished``. None: no limit.
    """
    found: list[Any] = []
    late = threading.Event()

    def run() -> None:
        for case in cases:
            if late.is_set():
                return
            found.append(_outcome(answer, case))

    if seconds is None:
        run()
        return found
    thread = threading.Thread(target=run, daemon=True)
    with _few_lines():
        thread.start()
        try:
            thread.join(seconds)
            for _ in range(IMPORT):
                if not _imports(thread):
                    break
                thread.join(seconds)
        finally:
            done = list(found)
            late.set()
            _stop(thread)
    return done + [Unfinished() for _ in cases[len(done) :]]


def _outcome(answer: Callable, case: tuple) -> Any:
    try:
        return plain(answer(*case))
    except BaseException as error:  # sys.exit() in an answer must not end the lesson
        return error


def _imports(thread: threading.Thread) -> bool:
    """Whether a thread imports a module, which would stay broken if it were stopped."""
    frame = sys._current_frames().get(thread.ident or 0)
    while frame and not frame.f_code.co_filename.startswith("<frozen importlib"):
        frame = frame.f_back
    return frame is not None


def _stop(thread: threading.Thread) -> None:
    """Raise SystemExit inside a thread until it ends; a long call into C++ is left alone."""
    for _ in range(10):
        if not thread.is_alive():
            return
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(thread.ident or 0), ctypes.py_object(SystemExit)
        )
        thread.join(0.05)


class _Few(io.TextIOBase):
    """Passes on the first lines that are written, and says so where it stops."""

    def __init__(self, stream: TextIO):
        self.stream, self.lines, self.characters = stream, MAX_LINES, MAX_CHARACTERS

    def write(self, text: str) -> int:
        if self.lines > 0 and self.characters > 0:
            kept = "".join(text[: self.characters].splitlines(keepends=True)[: self.lines])
            self.lines -= kept.count("\n")
            self.characters -= len(kept)
            self.stream.write(kept)
            if self.lines <= 0 or self.characters <= 0:
                self.stream.write("\n… (what your answer prints after this is not shown)\n")
        return len(text)


@contextlib.contextmanager
def _few_lines() -> Any:
    with (
        contextlib.redirect_stdout(_Few(sys.stdout)),  # type: ignore[type-var]
        contextlib.redirect_stderr(_Few(sys.stderr)),  # type: ignore[type-var]
    ):
        yield


def message(error: BaseException) -> str:
    """An exception's type and text, in at most three lines; never raises."""
    name = type(error).__name__
    try:
        text = str(error)
    except Exception:
        return name
    lines = [line[:200] for line in text.splitlines()[:3]]
    return f"{name}: {chr(10).join(lines)}" if text.strip() else name


def own_lines(error: BaseException) -> str:
    """The last lines of the learner's own cells that led to an exception, and no others."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [
        frame
        for frame in frames
        if frame.line and ("ipykernel" in frame.filename or "<" in frame.filename)
    ]
    shown = "".join(f"\n    line {frame.lineno}: {frame.line[:160]}" for frame in own[-FRAMES:])
    return f"\n    … {len(own)} calls" + shown if len(own) > FRAMES else shown
