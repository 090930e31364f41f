"""Progress survives: solved once, kept for good, never in the way."""

import pytest

from segcourse.exercises import progress


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("SEGCOURSE_HOME", str(tmp_path))
    return tmp_path


def test_solved_exercises_are_remembered_once_and_in_order():
    for title in ("3.2 B", "3.1 A", "3.2 B"):
        progress.record(title)
    assert progress.solved() == ["3.2 B", "3.1 A"]


@pytest.mark.parametrize("content", ["", "{", '{"a": 1}', "\x00"])
def test_a_damaged_file_counts_as_empty(home, content):
    (home / "progress.json").write_text(content)
    assert progress.solved() == []
    progress.record("3.1 A")
    assert progress.solved() == ["3.1 A"]


def test_a_folder_that_cannot_be_made_is_no_obstacle(monkeypatch, home):
    (home / "file").write_text("")
    monkeypatch.setenv("SEGCOURSE_HOME", str(home / "file" / "below"))
    progress.record("3.1 A")
    assert progress.solved() == []


def test_nothing_is_left_half_written(monkeypatch, home):
    progress.record("3.1 A")

    def fails(*_):
        raise OSError("disk full")

    monkeypatch.setattr(progress.os, "replace", fails)
    progress.record("3.2 B")
    assert progress.solved() == ["3.1 A"]


def test_the_table_ticks_what_is_solved(capsys):
    chapters = progress.catalogue()
    first = next(iter(chapters.values()))[0]
    progress.record(first)
    progress.show()
    out = capsys.readouterr().out
    assert f"✓ {first}" in out and "○" in out
