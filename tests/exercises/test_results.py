"""Results of every kind are read, compared by what they say, and written briefly."""

import collections
import decimal
import fractions
import itertools
from collections import deque

import numpy as np
import pytest
import torch

from segcourse.exercises.results import Unreadable, brief, difference, plain, same


def agree(got, want, tolerance=1e-4):
    return same(plain(got), plain(want), tolerance)


Point = collections.namedtuple("Point", "x y")


@pytest.mark.parametrize(
    "got, want",
    [
        (np.int8(3), 3),
        (3.0, 3),
        (torch.tensor(3, dtype=torch.uint8), 3),
        (torch.tensor(3.0, dtype=torch.bfloat16), 3),
        (torch.tensor(0.5, dtype=torch.float16), 0.5),
        (torch.tensor([0.5], requires_grad=True), [0.5]),
        (fractions.Fraction(1, 2), 0.5),
        (decimal.Decimal("0.5"), 0.5),
        (np.str_("dice"), "dice"),
        ([1, 0.5], torch.tensor([1, 0.5])),
        (torch.tensor([1, 0.5]), (1, 0.5)),
        (deque([1, 2]), (1, 2)),
        (range(3), [0, 1, 2]),
        (map(int, "012"), [0, 1, 2]),
        ({1: 2}.values(), [2]),
        (Point(1, 2), (1, 2)),
        (np.array([[1, 2], [3, 4]], dtype=object), [[1, 2], [3, 4]]),
        (torch.eye(3).to_sparse(), torch.eye(3)),
        (collections.Counter("aab"), {"a": 2, "b": 1}),
        ({np.int64(1): 2}, {1: 2}),
        ({torch.tensor(1): 2}, {1: 2}),
        (10**30, 10**30),
        (np.array([1, 10**30], dtype=object), [1, 10**30]),
        (torch.tensor([True, False]), [1, 0]),
        (np.float64("nan"), torch.tensor(float("nan"))),
        (np.float64("inf"), float("inf")),
        ([], ()),
        (torch.zeros(0, 3), np.zeros((0, 3))),
        ([torch.tensor(1), torch.tensor(2)], [1, 2]),
        ([torch.zeros(2), torch.zeros(3)], [np.zeros(2), np.zeros(3)]),
        ({1, 2}, {2, 1}),
        (b"ab", bytearray(b"ab")),
    ],
)
def test_the_same_in_other_words(got, want):
    assert agree(got, want)


@pytest.mark.parametrize(
    "got, want",
    [
        (65535, 65536),
        (65535.0, 65536),
        (2**53 + 1, 2**53),
        (10**30 + 1, 10**30),
        (31_028_271, 31_030_658),
        (1.001, 1.0),
        ("1", 1),
        (None, 0),
        (0, None),
        (True, "True"),
        (torch.zeros(2, 1), torch.zeros(2)),
        ([1, 2], [1, 2, 3]),
        ((1, (2, 3)), (1, 2, 3)),
        ({"a": 1}, {"a": 1, "b": 2}),
        ({"a": 1}, [1]),
        (float("nan"), 0.0),
        (float("nan"), 0),
        (float("inf"), 1.0),
        (1 + 1j, 1.0),
        ([1, 2], {1, 2}),
    ],
)
def test_different(got, want):
    assert not agree(got, want)


class NoRepr:
    def __repr__(self):
        raise ValueError


class NoLength(list):
    def __iter__(self):
        raise ValueError


looped = [1]
looped.append(looped)
wide = [0]
for _ in range(30):
    wide = [wide, wide]


@pytest.mark.parametrize(
    "value, words",
    [
        (torch.zeros(3, device="meta"), "a tensor on the meta device, which holds no values"),
        (NoRepr(), "a NoRepr whose values cannot be read"),
        (NoLength([1]), "a NoLength whose values cannot be read"),
        (looped, "[1, a list that contains itself]"),
        (wide, "a list of more than 100000 parts"),
        (itertools.count(), "a count of more than 100000 parts"),
        (print, "a builtin_function_or_method whose values cannot be read"),
        (10**1000, "a whole number of about 1000 digits"),
        (torch.zeros(0, 4), "an empty array of shape 0 x 4"),
        (np.full((5, 5), np.nan), "a 5 x 5 array"),
        (torch.ones(5, 5) > 0, "a 5 x 5 mask with 25 pixels"),
        (torch.arange(20), "an array of 20 numbers from 0 to 19, mean 9.5"),
        (torch.tensor([0.123456789]), "[0.123457]"),
        ([None, "a"], "[None, 'a']"),
        (np.datetime64("2020-01-01"), "a datetime64"),
        (torch.sparse_coo_tensor(size=(10**6, 10**6)), "a sparse tensor of 1000000000000 elements"),
        (list(range(20)), "an array of 20 numbers from 0 to 19, mean 9.5"),
        (["a"] * 20, "['a', 'a'"),
        ("x" * 1000, "'xxx"),
        ({n: n for n in range(50)}, "{0: 0, 1: 1"),
        ([[1], [2, 3]], "[[1], [2, 3]]"),
        ({4}, "{4}"),
    ],
)
def test_everything_is_written_briefly(value, words):
    text = brief(value)
    assert text.startswith(words) and len(text) <= 400
    assert "\n" not in text


def test_an_unreadable_result_equals_nothing_but_itself():
    assert not agree(NoRepr(), 1) and isinstance(plain(NoRepr()), Unreadable)


def test_large_arrays_say_where_they_differ():
    want = torch.zeros(4, 5)
    got = want.clone()
    got[1, 2] = got[3, 3] = 0.5
    said = difference(plain(got), plain(want), 1e-4)
    assert said == " 2 of 20 values differ, first at [1, 2]: 0 expected, 0.5 found."
    assert difference(plain(got[:2]), plain(want), 1e-4) == ""
    assert difference(None, plain(want), 1e-4) == ""
