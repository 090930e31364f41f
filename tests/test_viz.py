"""Figures are shown with their text, closed, and never returned."""

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from segcourse import viz
from segcourse.data.sample import Sample
from segcourse.ops.labels import IGNORE

ALT = "a test figure that nobody looks at"
CLASSES, PALETTE = ("sky", "road", "car"), ((10, 200, 250), (90, 90, 90), (200, 30, 40))


def sample() -> Sample:
    semantic = torch.arange(48).reshape(6, 8) % 3
    semantic[0, 0] = IGNORE
    return Sample(torch.rand(3, 6, 8), semantic, (semantic == 2).long())


@pytest.fixture
def shown(monkeypatch):
    figures = []
    monkeypatch.setattr("IPython.display.display", lambda figure, **k: figures.append((figure, k)))
    return figures


FIGURES = {
    "sample": lambda: viz.show_sample(sample(), CLASSES, PALETTE, alt=ALT),
    "images": lambda: viz.show_images(
        {"a": torch.rand(3, 4, 5), "b": np.zeros((4, 5)), "c": torch.ones(4, 5) > 0}, alt=ALT
    ),
    "labels": lambda: viz.show_labels({"truth": sample().semantic}, CLASSES, PALETTE, alt=ALT),
    "overlay": lambda: viz.show_overlay(
        sample().image, sample().semantic, CLASSES, PALETTE, alt=ALT
    ),
    "predictions": lambda: viz.show_predictions(
        [sample(), sample()],
        {"FCN": torch.zeros(2, 6, 8, dtype=torch.int64)},
        CLASSES,
        PALETTE,
        alt=ALT,
    ),
    "confusion": lambda: viz.show_confusion(torch.tensor([[3, 1], [0, 0]]), "ab", alt=ALT),
    "curves": lambda: viz.show_curves(
        {"loss": [3, 2, 1], "other": ([0, 2], [1, 1])}, xlabel="step", ylabel="loss", alt=ALT
    ),
    "bars": lambda: viz.show_bars(
        {"8s": {"mIoU": (0.7, 0.02), "BF": 0.5}, "16s": {"mIoU": (0.6, 0.01)}}, ylabel="", alt=ALT
    ),
    "features": lambda: viz.show_feature_maps(torch.randn(20, 6, 8), alt=ALT),
    "architecture": lambda: viz.show_architecture(
        [
            {"name": "conv1", "stride": 1, "channels": 64},
            {"name": "conv2", "stride": 2, "channels": 128},
            {"name": "up1", "stride": 1, "channels": 64, "colour": 1},
        ],
        links=[(0, 2, "skip")],
        alt=ALT,
    ),
}


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_shown_once_with_its_text_and_closed(name, shown):
    assert FIGURES[name]() is None
    [(figure, options)] = shown
    assert options["metadata"] == {"image/png": {"alt": ALT}}
    assert not plt.fignum_exists(figure.number)
    figure.canvas.draw()


@pytest.mark.parametrize("alt", ["", "figure", "a plot"])
def test_a_text_that_says_nothing_is_refused(alt):
    with pytest.raises(ValueError, match="does not say what the figure shows"):
        viz.show_images({"a": torch.rand(3, 4, 5)}, alt=alt)
    assert not plt.get_fignums()


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (4,), (4, 5, 2)])
def test_pictures_of_odd_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="one image of the batch"):
        viz.picture(torch.zeros(shape))


def test_neighbouring_objects_get_different_colours():
    colours = viz.colour_objects(torch.tensor([[0, 1, 2, 300]]))
    assert len({tuple(colour) for colour in colours[0]}) == 4 and not colours[0, 0].any()


def test_a_table_is_aligned_text(capsys):
    viz.print_table([{"class": "sky", "IoU": 0.5}, {"class": "lamp post", "IoU": float("nan")}])
    assert capsys.readouterr().out.splitlines() == [
        "class        IoU",
        "─────────  ─────",
        "sky        0.500",
        "lamp post    nan",
    ]


@pytest.mark.parametrize("rows", [[], [{"a": 1}, {"b": 1}]])
def test_a_table_of_unlike_rows_is_refused(rows):
    with pytest.raises(ValueError, match="same keys"):
        viz.print_table(rows)


@pytest.mark.parametrize(
    "name", ["sample", "images", "labels", "overlay", "predictions", "features"]
)
def test_every_panel_holds_its_picture(name, shown):
    FIGURES[name]()
    [(figure, _)] = shown
    assert figure.axes and all(axes.images for axes in figure.axes)
