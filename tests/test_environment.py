"""The environment: its files say the same, and a notebook that runs in it starts without noise."""

import re
import tomllib
from pathlib import Path

import nbclient
import nbformat
import pytest
import yaml
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[1]
CONDA_NAME = {"torch": "pytorch"}  # what conda-forge calls it
REQUIREMENT = re.compile(r"(?P<name>[A-Za-z0-9._-]+)(?:\[[^]]*\])?(?P<bound>[<>=!~][^;]*)?(?:;.*)?")


def requirement(line: str) -> tuple[str, str]:
    """("numpy", ">=1.26") of "numpy>=1.26"."""
    found = REQUIREMENT.fullmatch(line.strip())
    assert found, f"{line!r} is no requirement"
    name = re.sub(r"[._]+", "-", found["name"]).lower()
    return name, (found["bound"] or "").replace(" ", "")


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def asked_by_project() -> dict[str, str]:
    """What the course, JupyterLab and the book need, under conda's names."""
    content = project()
    lines = [
        *content["project"]["dependencies"],
        *content["project"]["optional-dependencies"]["lab"],
        *content["dependency-groups"]["book"],
    ]
    return {CONDA_NAME.get(name, name): bound for name, bound in map(requirement, lines)}


def asked_by_conda() -> dict[str, str]:
    entries = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    [from_pip] = [entry["pip"] for entry in entries if isinstance(entry, dict)]
    lines = [entry for entry in entries if isinstance(entry, str)]
    return dict(map(requirement, [*lines, *(line for line in from_pip if line[0] != "-")]))


def test_conda_asks_for_the_same_names_and_bounds():
    conda = asked_by_conda()
    assert conda.pop("pip") == ""
    assert conda.pop("python") == project()["project"]["requires-python"]
    assert conda == asked_by_project()


def test_conda_installs_the_course_itself():
    entries = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    pip = next(entry["pip"] for entry in entries if isinstance(entry, dict))
    assert "-e .[practice,pretrained]" in pip


@pytest.mark.parametrize(
    "line",
    [
        *project()["project"]["dependencies"],
        *project()["project"]["optional-dependencies"]["practice"],
        *project()["project"]["optional-dependencies"]["pretrained"],
    ],
)
def test_the_course_sets_lower_bounds_only(line):
    """An upper bound or an exact version would replace what Colab ships."""
    _, bound = requirement(line)
    assert re.fullmatch(r">=[\d.]+", bound), f"{line}: only a lower bound is wanted"


def test_the_lock_holds_everything_that_is_asked_for():
    locked = {}
    for line in (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith(("#", " ", "-")):
            name, bound = requirement(line)
            locked[name] = bound
    content = project()
    groups = content["dependency-groups"]
    asked = [
        *content["project"]["dependencies"],
        *(line for lines in content["project"]["optional-dependencies"].values() for line in lines),
        *groups["book"],
        *groups["test"],
    ]
    missing = {name for name, _ in map(requirement, asked)} - locked.keys()
    assert not missing, f"{sorted(missing)} are not in requirements.lock: run `make lock`"
    assert all(bound.startswith("==") for bound in locked.values())


@pytest.mark.parametrize("name, command", [("test", "make test"), ("book", "make book")])
def test_workflows_call_the_commands_of_the_readme(name, command):
    text = (ROOT / ".github" / "workflows" / f"{name}.yml").read_text(encoding="utf-8")
    jobs = yaml.safe_load(text)["jobs"]
    run = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    assert any(line.startswith(command) for line in run)
    assert f"`{command}`" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_matrix_starts_at_the_oldest_python_that_is_promised():
    text = (ROOT / ".github" / "workflows" / "test.yml").read_text(encoding="utf-8")
    versions = yaml.safe_load(text)["jobs"]["test"]["strategy"]["matrix"]["python"]
    assert versions == ["3.11", "3.12", "3.13"]
    assert project()["project"]["requires-python"] == f">={versions[0]}"


def test_colab_runs_every_week_and_on_change():
    text = (ROOT / ".github" / "workflows" / "colab.yml").read_text(encoding="utf-8")
    triggers = yaml.safe_load(text)[True]  # YAML reads the key `on` as a boolean
    assert triggers["schedule"] and "notebooks/**" in triggers["push"]["paths"]


@pytest.fixture(scope="session")
def colab_pins(real_data) -> dict[str, str]:
    """What Colab ships."""
    listings = sorted(real_data("colab").glob("*.txt"))
    lines = listings[-1].read_text(encoding="utf-8").splitlines()
    pins = [line.split("==") for line in lines if re.match(r"[\w.-]+==", line)]
    return {re.sub(r"[._]+", "-", name).lower(): version for name, version in pins}


@pytest.mark.parametrize("line", project()["project"]["dependencies"])
def test_colab_already_has_what_the_course_needs(line, colab_pins):
    name, bound = requirement(line)
    assert SpecifierSet(bound).contains(colab_pins[name].partition("+")[0], prereleases=True)


IMPORTS = """
import importlib, pkgutil, segcourse
for module in pkgutil.walk_packages(segcourse.__path__, "segcourse."):
    importlib.import_module(module.name)
"""

TRAINING = """
import torch
from segcourse.training import fit, seed_everything
seed_everything(0)
def loss(model, batch):
    return model(batch[0]).square().sum()
history = fit(torch.nn.Linear(1, 1), loss, [(torch.ones(1, 1),)], steps=2)
"""


def test_a_notebook_shows_no_warning_and_its_progress_bar_is_text():
    """A warning in red looks like a mistake of the learner's. A bar that is a widget would make
    stored notebooks depend on whether ipywidgets is installed."""
    cells = [nbformat.v4.new_code_cell(source) for source in (IMPORTS, TRAINING)]
    notebook = nbformat.v4.new_notebook(cells=cells)
    where = {"metadata": {"path": str(ROOT)}}
    nbclient.NotebookClient(notebook, kernel_name="python3", resources=where).execute()
    imports, training = (cell.outputs for cell in notebook.cells)
    assert imports == []
    assert {out.get("name") for out in training} == {"stderr"}
    text = "".join(out["text"] for out in training)
    assert "step/s" in text and "Warning" not in text
