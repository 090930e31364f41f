"""The notebook builder stores what repeats, drops what does not, and never leaves half a file."""

import base64
import io

import nbformat
import pytest
from nbclient.exceptions import CellExecutionError
from PIL import Image

from tools import notebooks, runtimes

HEADER = """# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

"""
CHAPTER = (
    HEADER
    + """# %% [markdown]
# # A chapter

# %%
import sys

print("counted", 3)
print("a progress bar", file=sys.stderr)

# %%
import matplotlib.pyplot as plt
from IPython.display import display

figure, axes = plt.subplots(figsize=(2, 1))
display(figure, metadata={"image/png": {"alt": "an empty figure, for a test"}})
plt.close(figure)
"""
)


@pytest.fixture
def chapter(tmp_path, monkeypatch):
    monkeypatch.setattr(notebooks, "FOLDER", tmp_path)
    text = tmp_path / "01_trial.py"
    text.write_text(CHAPTER)
    return text


def test_a_chapter_is_built_once_and_repeats_byte_for_byte(chapter, capsys):
    assert notebooks.main([]) == 0
    built = chapter.with_suffix(".ipynb")
    first = built.read_bytes()
    assert notebooks.main([]) == 0  # nothing changed: nothing is run
    assert capsys.readouterr().out.count("01_trial.ipynb") == 1
    assert notebooks.main(["--force"]) == 0
    assert built.read_bytes() == first

    cells = nbformat.read(built, as_version=4).cells
    assert [out.name for out in cells[1].outputs] == ["stdout"]
    assert cells[2].outputs[0].metadata == {"image/png": {"alt": "an empty figure, for a test"}}
    assert cells[2].metadata["mystnb"]["image"]["alt"] == "an empty figure, for a test"
    assert [cell.id for cell in cells] == ["c000", "c001", "c002"]


def test_a_changed_text_makes_a_notebook_stale(chapter):
    notebooks.main([])
    assert not notebooks.is_stale(chapter)
    chapter.write_text(CHAPTER.replace("3)", "4)"))
    assert notebooks.is_stale(chapter)


def test_a_failing_chapter_leaves_the_stored_notebook(chapter):
    notebooks.main([])
    built = chapter.with_suffix(".ipynb")
    before = built.read_bytes()
    chapter.write_text(CHAPTER + "\n# %%\n1 / 0\n")
    with pytest.raises(CellExecutionError):
        notebooks.main([])
    assert built.read_bytes() == before and not list(chapter.parent.glob("*.draft"))


def test_an_unknown_chapter_is_named(chapter, capsys):
    assert notebooks.main(["99_nothing"]) == 2
    assert "99_nothing" in capsys.readouterr().out


def test_pictures_shrink_to_a_palette():
    noise = Image.effect_noise((64, 64), 80).convert("RGB")
    stream = io.BytesIO()
    noise.save(stream, "PNG")
    png = base64.b64encode(stream.getvalue()).decode()
    small = notebooks.shrink(png)
    picture = Image.open(io.BytesIO(base64.b64decode(small)))
    assert len(small) < len(png) and picture.size == (64, 64)
    assert notebooks.shrink(small) == small


def test_functions_that_train_are_found_however_deep():
    sources = [
        "def train(net):\n    fit(net)\n\n\ndef draw(net):\n    plot(net)",
        "def compare():\n    return [train(net) for net in nets]",
        "def by_hand():\n    optimizer.step()",
    ]
    assert runtimes.trainers(sources) == {"fit", "step", "train", "compare", "by_hand"}
    assert runtimes.called("a = compare()\nviz.show(b)") == {"compare", "show"}
