"""Chapters read what benchmarks wrote."""

import json

import numpy as np
import pytest

from segcourse.data import results as module
from segcourse.data.results import measured, pack_array, unpack_array


def test_a_measurement_is_read_by_name(monkeypatch, tmp_path):
    (tmp_path / "speed.json").write_text('{"ratio": 2.5}')
    monkeypatch.setattr(module, "_FOLDERS", (tmp_path / "absent", tmp_path))
    assert measured("speed") == {"ratio": 2.5}
    with pytest.raises(FileNotFoundError, match=r"no measurement named 'size', only \['speed'\]"):
        measured("size")


@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 5), (7,), (), (0, 4)])
def test_integers_are_packed_and_unpacked(shape):
    values = np.random.default_rng(0).integers(0, 2**16, shape)
    again = unpack_array(json.loads(json.dumps(pack_array(values))))
    assert again.dtype == np.int64 and again.shape == shape and (again == values).all()


@pytest.mark.parametrize("values", [[-1, 2], [65536], [0.5], ["a"]])
def test_other_values_are_not_packed(values):
    with pytest.raises(ValueError, match="only integers from 0 to 65535"):
        pack_array(np.array(values))
