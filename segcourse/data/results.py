"""What the benchmarks measured (results/*.json), for chapters that cannot measure it live."""

import base64
import json
import zlib
from pathlib import Path

import numpy as np

_FOLDERS = (
    Path(__file__).parents[2] / "results",  # a checkout
    Path(__file__).parents[1] / "_results",  # an installed wheel carries a copy
)


def measured(name: str) -> dict:
    """The content of ``results/<name>.json``, as its benchmark wrote it.

    Raises:
        FileNotFoundError: if nothing of that name was measured.
    """
    for folder in _FOLDERS:
        path = folder / f"{name}.json"
        if path.exists():
            return json.loads(path.read_text(encoding="utf-8"))
    known = sorted(path.stem for folder in _FOLDERS for path in folder.glob("*.json"))
    raise FileNotFoundError(
        f"there is no measurement named {name!r}, only {known}: run python -m benchmarks.{name}."
    )


def pack_array(values: np.ndarray) -> str:
    """Small integers of any shape as a short text for JSON; ``unpack_array`` reads it.

    Raises:
        ValueError: if the values are no integers from 0 to 65535.
    """
    array = np.asarray(values)
    whole = array.dtype.kind in "iu"
    if not whole or (array.size and not 0 <= array.min() <= array.max() < 2**16):
        raise ValueError(
            f"only integers from 0 to 65535 are packed, but these are {array.dtype} of shape "
            f"{array.shape}: store other values as a list."
        )
    shape = "x".join(map(str, array.shape))
    body = zlib.compress(array.astype("<u2").tobytes(), 9)
    return f"{shape}:{base64.b85encode(body).decode()}"


def unpack_array(text: str) -> np.ndarray:
    """The integers, int64 in their old shape, that ``pack_array`` wrote."""
    shape, body = text.split(":", 1)
    values = np.frombuffer(zlib.decompress(base64.b85decode(body)), dtype="<u2")
    return values.astype(np.int64).reshape([int(side) for side in shape.split("x") if side])
