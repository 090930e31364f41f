"""What an answer returned: read once into plain values, compared, and written in a few words.

A learner's function may return anything. ``plain`` copies it into None, text, NumPy arrays of
numbers, tuples and dictionaries of these, and ``Unreadable`` for the rest, so that neither the
comparison nor the message can be surprised by what came.
"""

import math
from collections import deque
from collections.abc import Iterator, KeysView, Mapping, ValuesView
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

MAX_PARTS = 100_000  # elements of lists in one result
MAX_ELEMENTS = 10_000_000  # of a sparse tensor that is made dense
SHOWN = 16  # elements that are written out
SEQUENCES = (list, tuple, range, deque, Iterator, KeysView, ValuesView)


@dataclass(frozen=True)
class Unreadable:
    """A result without values to compare; ``what`` says in words what it is."""

    what: str


class _TooMuch(Exception):
    """The result has more parts than any answer of the course."""


def plain(value: Any) -> Any:
    """A copy of a result in plain values; never raises."""
    try:
        return _read(value, [MAX_PARTS], ())
    except _TooMuch:
        return Unreadable(f"a {type(value).__name__} of more than {MAX_PARTS} parts")
    except Exception:
        return Unreadable(f"a {type(value).__name__} whose values cannot be read")


def _read(value: Any, budget: list[int], above: tuple[int, ...]) -> Any:
    budget[0] -= 1
    if budget[0] < 0:
        raise _TooMuch
    if value is None:
        return None
    if isinstance(value, Unreadable):
        return value  # it was read before
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, (bytes, bytearray)):
        return bytes(value)
    if isinstance(value, Tensor):
        return _read_tensor(value)
    if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in "OUS":
        value = value.tolist()
        return _read(value, budget, above)
    if id(value) in above:
        return Unreadable(f"a {type(value).__name__} that contains itself")
    above = (*above, id(value))
    if isinstance(value, Mapping):
        return {_key(key): _read(part, budget, above) for key, part in value.items()}
    if isinstance(value, (set, frozenset)):
        return frozenset(_key(part) for part in value)
    if isinstance(value, SEQUENCES):
        parts = [_read(part, budget, above) for part in islice(value, budget[0] + 1)]
        return _joined(parts)
    return _numbers(value)


def _read_tensor(tensor: Tensor) -> Any:
    if tensor.is_meta:
        return Unreadable("a tensor on the meta device, which holds no values")
    if tensor.is_nested:
        return tuple(_read_tensor(part) for part in tensor.unbind())
    tensor = tensor.detach()
    if tensor.layout != torch.strided:
        if tensor.numel() > MAX_ELEMENTS:
            return Unreadable(f"a sparse tensor of {tensor.numel()} elements")
        tensor = tensor.to_dense()
    if tensor.is_quantized:
        tensor = tensor.dequantize()
    if tensor.is_floating_point():
        tensor = tensor.double()
    return np.array(tensor.resolve_conj().resolve_neg().cpu().numpy())


def _numbers(value: Any) -> Any:
    """Numbers of Python, NumPy, or of anything that NumPy or ``float`` can read."""
    array = np.array(value)
    if array.dtype.kind == "O" and array.ndim == 0:
        array = np.array(value if isinstance(value, int) else float(value))
    if array.dtype.kind == "f":
        array = array.astype(np.float64)
    if array.dtype.kind in "biufc" or isinstance(value, int):
        return array
    return Unreadable(f"a {type(value).__name__}")


def _joined(parts: list) -> Any:
    """One array of numbers of one kind and shape; a tuple of everything else."""
    if parts and all(isinstance(part, np.ndarray) for part in parts):
        kinds = {"i" if part.dtype.kind in "bui" else part.dtype.kind for part in parts}
        if len(kinds) == 1 and len({part.shape for part in parts}) == 1:
            return np.stack(parts)
    return tuple(parts)


def _key(key: Any) -> Any:
    return key.item() if isinstance(key, (Tensor, np.generic)) else key


def same(got: Any, want: Any, tolerance: float) -> bool:
    """Whether two plain results say the same.

    Whole numbers must agree exactly, other numbers to ``tolerance``, absolute and relative. The
    number type and the container (list, tuple, array, tensor) do not matter.
    """
    if isinstance(want, dict):
        return (
            isinstance(got, dict)
            and got.keys() == want.keys()
            and all(same(got[key], want[key], tolerance) for key in want)
        )
    if isinstance(want, tuple) or isinstance(got, tuple):
        return (
            _is_sequence(got)
            and _is_sequence(want)
            and len(got) == len(want)
            and all(same(a, b, tolerance) for a, b in zip(_parts(got), _parts(want), strict=True))
        )
    if isinstance(want, np.ndarray) and isinstance(got, np.ndarray):
        return got.shape == want.shape and bool(np.all(_close(got, want, tolerance)))
    return type(got) is type(want) and got == want


def _is_sequence(value: Any) -> bool:
    return isinstance(value, tuple) or (isinstance(value, np.ndarray) and value.ndim > 0)


def _parts(value: Any) -> Any:
    return [np.asarray(part) for part in value] if isinstance(value, np.ndarray) else value


def _close(got: np.ndarray, want: np.ndarray, tolerance: float) -> np.ndarray:
    if "O" in (got.dtype.kind, want.dtype.kind):
        return np.asarray(got == want)
    if want.dtype.kind in "bui":
        if got.dtype.kind in "bui":
            return got == want
        return np.abs(got - want.astype(np.float64)) <= 1e-6
    return np.isclose(got, want, rtol=tolerance, atol=tolerance, equal_nan=True)


def difference(got: Any, want: Any, tolerance: float) -> str:
    """Where two large arrays of one shape first differ, in words; "" for all other results."""
    if not (isinstance(got, np.ndarray) and isinstance(want, np.ndarray)):
        return ""
    if got.shape != want.shape or want.size <= SHOWN:
        return ""
    wrong = np.argwhere(~np.broadcast_to(_close(got, want, tolerance), want.shape))
    place = tuple(wrong[0].tolist())
    return (
        f" {len(wrong)} of {want.size} values differ, first at {list(place)}: "
        f"{brief(want[place])} expected, {brief(got[place])} found."
    )


def brief(value: Any) -> str:
    """A result or an input as short text: small arrays in full, large ones by shape and range."""
    return _brief(plain(value))


def _brief(value: Any) -> str:
    if isinstance(value, Unreadable):
        return value.what
    if isinstance(value, np.ndarray):
        return _brief_array(value)
    if isinstance(value, tuple):
        text = f"[{', '.join(_brief(part) for part in value[:SHOWN])}"
        text += f", … {len(value)} parts]" if len(value) > SHOWN else "]"
    elif isinstance(value, dict):
        pairs = [f"{key!r}: {_brief(part)}" for key, part in islice(value.items(), SHOWN)]
        text = "{" + ", ".join(pairs) + (", …}" if len(value) > SHOWN else "}")
    else:
        text = repr(set(value) if isinstance(value, frozenset) else value)
    return text if len(text) <= 400 else text[:397] + "..."


def _brief_array(array: np.ndarray) -> str:
    shape = " x ".join(str(side) for side in array.shape)
    if array.size == 0:
        return f"an empty array of shape {shape}"
    if array.size <= SHOWN:
        return _nested(array.tolist())
    if array.dtype.kind == "b":
        return f"a {shape} mask with {int(array.sum())} pixels"
    name = f"a {shape} array" if array.ndim > 1 else f"an array of {shape} numbers"
    if array.dtype.kind in "Oc" or not np.isfinite(array).any():
        return name
    finite = array[np.isfinite(array)]
    return f"{name} from {finite.min():.4g} to {finite.max():.4g}, mean {finite.mean():.4g}"


def _nested(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_nested(part) for part in value)}]"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, int) and value.bit_length() > 128:
        return f"a whole number of about {math.floor(value.bit_length() * math.log10(2))} digits"
    return str(value)
