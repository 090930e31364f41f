"""Answers run with fresh inputs, a limit of time and of lines, and no exception escapes."""

import contextlib
import linecache
import sys
import threading

import torch

from segcourse.exercises.running import Unfinished, message, outcomes, own_lines


def test_results_and_errors_come_in_the_order_of_the_cases():
    one, error, three = outcomes(lambda a: 6 / a, [(6,), (0,), (2,)], seconds=60)
    assert (one, three) == (1, 3) and isinstance(error, ZeroDivisionError)


def test_leaving_is_an_error_like_others():
    (found,) = outcomes(lambda: sys.exit(3), [()], seconds=60)
    assert isinstance(found, SystemExit)


def test_the_time_limit_is_for_all_cases_and_stops_the_thread():
    before = threading.active_count()

    def endless(a):
        while a:
            with contextlib.suppress(Exception):
                pass
        return a

    found = outcomes(endless, [(0,), (1,), (0,)], seconds=0.3)
    assert found[0] == 0 and [type(each) for each in found[1:]] == [Unfinished, Unfinished]
    assert threading.active_count() == before


def test_an_import_may_take_longer_than_the_limit(tmp_path, monkeypatch):
    """A module that is stopped while it is imported would stay broken until the kernel ends."""
    (tmp_path / "slow_to_import.py").write_text("import time\ntime.sleep(1.5)\nNUMBER = 7\n")
    monkeypatch.syspath_prepend(tmp_path)

    def answer():
        import slow_to_import

        return slow_to_import.NUMBER

    assert outcomes(answer, [()], seconds=1) == [7]


def test_no_thread_goes_on_with_the_cases_after_the_limit():
    before = threading.active_count()

    def endless(a):
        while True:
            pass

    found = outcomes(endless, [(n,) for n in range(30)], seconds=0.2)
    assert [type(each) for each in found] == [Unfinished] * 30
    assert threading.active_count() == before


def test_an_answer_prints_a_few_lines(capsys):
    outcomes(lambda: [print("a") for _ in range(1000)], [()], seconds=60)
    outcomes(lambda: print("a" * 10**6), [()], seconds=60)
    outcomes(lambda: print("b", file=sys.stderr), [()], seconds=60)
    out, err = capsys.readouterr()
    assert len(out.splitlines()) <= 25 and len(out) < 5000 and err == "b\n"


class Mute(Exception):
    def __str__(self):
        raise ValueError


def test_messages_are_short():
    assert message(Mute()) == "Mute"
    assert message(ValueError()) == "ValueError"
    long = message(ValueError("\n".join(["x" * 1000] * 50)))
    assert len(long.splitlines()) == 3 and len(long) < 700


def test_only_the_learners_lines_are_shown():
    code = "def f(n):\n    return f(n - 1) if n else torch.ones(2) @ torch.ones(3)"
    linecache.cache["<cell>"] = (len(code), None, code.splitlines(keepends=True), "<cell>")
    namespace = {"torch": torch}
    exec(compile(code, "<cell>", "exec"), namespace)
    (error,) = outcomes(namespace["f"], [(9,)])
    lines = own_lines(error).splitlines()
    assert lines[1] == "    … 10 calls" and len(lines) == 6
