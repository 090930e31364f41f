"""Chapters read what benchmarks wrote."""

import pytest

from segcourse.data import results as module
from segcourse.data.results import measured


def test_a_measurement_is_read_by_name(monkeypatch, tmp_path):
    (tmp_path / "speed.json").write_text('{"ratio": 2.5}')
    monkeypatch.setattr(module, "_FOLDERS", (tmp_path / "absent", tmp_path))
    assert measured("speed") == {"ratio": 2.5}
    with pytest.raises(FileNotFoundError, match=r"no measurement named 'size', only \['speed'\]"):
        measured("size")
