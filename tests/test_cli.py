"""The command line: progress and doctor."""

import pytest

from segcourse import cli


def test_progress_lists_the_exercises(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("SEGCOURSE_HOME", str(tmp_path))
    assert cli.main(["progress"]) == 0
    assert "solved" in capsys.readouterr().out


def test_doctor_draws_a_scene(capsys):
    assert cli.main(["doctor"]) == 0
    assert "(3, 96, 128)" in capsys.readouterr().out


def test_doctor_names_what_is_missing(monkeypatch, capsys):
    monkeypatch.setattr(cli, "PACKAGES", ("torch", "no-such-package"))
    assert cli.main(["doctor"]) == 1
    assert "pip install no-such-package" in capsys.readouterr().out


def test_an_unknown_command_is_refused():
    with pytest.raises(SystemExit) as stop:
        cli.main(["fly"])
    assert stop.value.code == 2
