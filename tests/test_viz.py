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
    "tasks": lambda: viz.show_tasks(sample(), CLASSES, PALETTE, alt=ALT, columns=2),
    "images": lambda: viz.show_images(
        {"a": torch.rand(3, 4, 5), "b": np.zeros((4, 5)), "c": torch.ones(4, 5) > 0}, alt=ALT
    ),
    "labels": lambda: viz.show_labels({"truth": sample().semantic}, CLASSES, PALETTE, alt=ALT),
    "grid": lambda: viz.show_grid(
        {"truth": sample().semantic},
        CLASSES,
        PALETTE,
        alt=ALT,
        texts={"truth": sample().semantic.tolist()},
        arrows={"truth": (torch.tensor([[0, 0], [2, 2]]), torch.tensor([[3, 4], [2, 2]]))},
    ),
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
    "logarithmic curve": lambda: viz.show_curves(
        {"p": [0.5, 0.1]}, xlabel="step", ylabel="p", alt=ALT, yscale="log"
    ),
    "curve panels": lambda: viz.show_curve_panels(
        {"loss": {"a": [3, 2, 1], "b": [1, 1]}, "gradient": {"a": [1], "b": ([0, 2], [1, 0])}},
        xlabels=("p", "logit"),
        ylabels=("loss", "gradient"),
        alt=ALT,
    ),
    "bars": lambda: viz.show_bars(
        {"8s": {"mIoU": (0.7, 0.02), "BF": 0.5}, "16s": {"mIoU": (0.6, 0.01)}}, ylabel="", alt=ALT
    ),
    "points": lambda: viz.show_points(
        {"a": (1, 0.5), "b": (2, 0.7, 0.1), "c": (3, torch.tensor(0.6))},
        xlabel="cost",
        ylabel="IoU",
        alt=ALT,
        line=["b", "a"],
    ),
    "features": lambda: viz.show_feature_maps(torch.randn(20, 6, 8), alt=ALT),
    "architecture": lambda: viz.show_architecture(
        [
            {"name": "conv1", "stride": 1, "channels": 64},
            {"name": "conv2", "stride": 2, "channels": 128},
            {"name": "up1", "stride": 1, "channels": 64, "color": 1},
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


@pytest.mark.parametrize(
    "call",
    [
        lambda: viz.show_images({"a": torch.rand(3, 4, 5), "b": torch.rand(5, 4, 5)}, alt=ALT),
        lambda: viz.show_labels({"a": torch.full((3, 4), 9)}, ["x"], [(0, 0, 0)], alt=ALT),
    ],
)
def test_a_figure_that_cannot_be_drawn_is_closed(call):
    before = plt.get_fignums()
    with pytest.raises(ValueError):
        call()
    assert plt.get_fignums() == before


@pytest.mark.parametrize("alt", ["", "figure", "a plot"])
def test_a_text_that_says_nothing_is_refused(alt):
    before = plt.get_fignums()  # of others
    with pytest.raises(ValueError, match="does not say what the figure shows"):
        viz.show_images({"a": torch.rand(3, 4, 5)}, alt=alt)
    assert plt.get_fignums() == before


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (4,), (4, 5, 2), (3, 0, 4), (0, 4)])
def test_images_of_odd_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="one image of the batch"):
        viz.show_images({"a": torch.zeros(shape)}, alt=ALT)


def test_neighbouring_objects_get_different_colors():
    colors = viz.color_objects(torch.tensor([[0, 1, 2, 300]]))
    assert len({tuple(color) for color in colors[0]}) == 4 and not colors[0, 0].any()


@pytest.mark.parametrize(
    "name", ["sample", "images", "labels", "overlay", "predictions", "features"]
)
def test_every_panel_holds_its_picture(name, shown):
    FIGURES[name]()
    [(figure, _)] = shown
    assert figure.axes and all(axes.images for axes in figure.axes)


# ── every type of number ────────────────────────────────────────────────────────────────────────

FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
INTEGERS = [
    torch.uint8, torch.uint16, torch.uint32, torch.uint64,
    torch.int8, torch.int16, torch.int32, torch.int64,
]  # fmt: skip
quiet = pytest.mark.filterwarnings("error")


def panels(shown) -> list[np.ndarray]:
    """What the panels of the only figure hold, after it was drawn."""
    [(figure, _)] = shown
    figure.canvas.draw()
    return [np.asarray(axes.images[0].get_array()) for axes in figure.axes]


def lines(shown) -> list[np.ndarray]:
    [(figure, _)] = shown
    figure.canvas.draw()
    return [line.get_ydata() for line in figure.axes[0].lines]


@quiet
@pytest.mark.parametrize("dtype", [*FLOATS, *INTEGERS, torch.bool], ids=str)
def test_images_and_maps_of_every_type(dtype, shown):
    image = torch.zeros(3, 4, 5)
    image[:, 1, 2] = 1
    image = image.to(dtype)
    viz.show_images({"tensor": image, "map": image[0], "array": _channels_last(image)}, alt=ALT)
    first, second, third = panels(shown)
    assert first.shape == (4, 5, 3) and second.shape == (4, 5)
    assert (first == third).all() and first[1, 2].min() == 1 and first.sum() == 3
    assert second[1, 2] == 1 and second.sum() == 1


def _channels_last(image):
    """The image as an array of NumPy, which has no bfloat16."""
    image = image.float() if image.dtype == torch.bfloat16 else image
    return image.numpy().transpose(1, 2, 0)


@quiet
@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_colors_that_are_integers_reach_255(dtype, shown):
    most = min(torch.iinfo(dtype).max, 255)
    viz.show_images({"a": torch.full((3, 4, 5), most).to(dtype)}, alt=ALT)
    [array] = panels(shown)
    assert array.dtype == np.uint8 and (array == most).all()


@pytest.mark.parametrize(
    "image, message",
    [
        (
            torch.full((3, 4, 5), 65_535).to(torch.uint16),
            r"holds 65535 to 65535 \(uint16\): divide",
        ),
        (torch.full((3, 4, 5), -1, dtype=torch.int8), r"holds -1 to -1 \(int8\): divide"),
    ],
)
def test_colors_beyond_255_are_refused(image, message):
    with pytest.raises(ValueError, match=message):
        viz.show_images({"a": image}, alt=ALT)


@quiet
@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_labels_of_every_type(dtype, shown):
    semantic, most = sample().semantic, torch.iinfo(dtype).max
    semantic = semantic if most >= IGNORE else semantic.clamp(max=2)  # int8 cannot hold void
    each = sample()._replace(semantic=semantic.to(dtype), instance=sample().instance.to(dtype))
    colors = np.array([*PALETTE, *[(0, 0, 0)] * 253])[semantic.numpy()]
    viz.show_labels({"a": each.semantic}, CLASSES, PALETTE, alt=ALT)
    assert (panels(shown)[0] == colors).all()
    shown.clear()
    viz.show_sample(each, CLASSES, PALETTE, alt=ALT)
    assert (panels(shown)[1] == colors).all()
    shown.clear()
    viz.show_overlay(each.image, each.semantic, CLASSES, PALETTE, alt=ALT, alpha=1.0)
    void = semantic.numpy() == IGNORE
    assert np.allclose(panels(shown)[0][~void], colors[~void] / 255)
    assert np.allclose(panels(shown)[0][void], each.image.numpy().transpose(1, 2, 0)[void])
    shown.clear()
    preds = torch.ones(1, 6, 8).to(dtype)
    viz.show_predictions([each], {"FCN": preds}, CLASSES, PALETTE, alt=ALT)
    assert (panels(shown)[1][~void] == PALETTE[1]).all() and not panels(shown)[1][void].any()


@quiet
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_everything_of_every_float(dtype, shown):
    image = sample().image.to(dtype)
    each = sample()._replace(image=image)
    calls = [
        lambda: viz.show_sample(each, CLASSES, PALETTE, alt=ALT),
        lambda: viz.show_overlay(image, each.semantic, CLASSES, PALETTE, alt=ALT),
        lambda: viz.show_overlay(image[0], each.semantic, CLASSES, PALETTE, alt=ALT),
        lambda: viz.show_predictions([each], {}, CLASSES, PALETTE, alt=ALT),
        lambda: viz.show_confusion(torch.eye(2).to(dtype), "ab", alt=ALT),
        lambda: viz.show_feature_maps(image.requires_grad_(), alt=ALT),
        lambda: viz.show_curves({"a": image[0, 0]}, xlabel="", ylabel="", alt=ALT),
        lambda: viz.show_curves({"a": list(image[0, 0])}, xlabel="", ylabel="", alt=ALT),
        lambda: viz.show_curves({"a": (image[1, 0], image[0, 0])}, xlabel="", ylabel="", alt=ALT),
        lambda: viz.show_bars(
            {"a": {"b": image[0, 0, 0], "c": image[0, 0, :2]}}, ylabel="", alt=ALT
        ),
    ]
    for call in calls:
        call()
    for figure, _ in shown:
        figure.canvas.draw()
    assert len(shown) == len(calls)


# ── small and empty ─────────────────────────────────────────────────────────────────────────────


@quiet
@pytest.mark.parametrize("size", [(1, 1), (1, 5), (5, 1), (3, 1), (1, 3), (3, 3)])
def test_images_of_few_pixels(size, shown):
    tensor = torch.rand(3, *size)
    images = {"tensor": tensor, "array": tensor.numpy().transpose(1, 2, 0), "gray": tensor[:1]}
    viz.show_images({**images, "map": tensor[0]}, alt=ALT)
    color, array, gray, map_ = panels(shown)
    assert color.shape == array.shape == (*size, 3) and (color == array).all()
    assert gray.shape == map_.shape == size and (gray == map_).all()


@quiet
@pytest.mark.parametrize("size", [(1, 1), (1, 5), (5, 1), (3, 1), (1, 3)])
def test_samples_of_few_pixels(size, shown):
    labels = torch.ones(size, dtype=torch.int64)
    each = Sample(torch.rand(3, *size), labels, labels)
    viz.show_sample(each, CLASSES, PALETTE, alt=ALT)
    viz.show_labels({"a": labels}, CLASSES, PALETTE, alt=ALT)
    viz.show_overlay(each.image, labels, CLASSES, PALETTE, alt=ALT)
    viz.show_predictions([each], {"FCN": labels[None]}, CLASSES, PALETTE, alt=ALT)
    viz.show_feature_maps(torch.rand(4, *size), alt=ALT)
    for figure, _ in shown:
        figure.canvas.draw()
        assert {axes.images[0].get_array().shape[:2] for axes in figure.axes} == {size}


@quiet
def test_a_truth_that_is_void_everywhere(shown):
    void = torch.full((4, 5), IGNORE)
    each = Sample(torch.rand(3, 4, 5), void, torch.zeros_like(void))
    viz.show_sample(each, CLASSES, PALETTE, alt=ALT)
    viz.show_overlay(each.image, void, CLASSES, PALETTE, alt=ALT)
    viz.show_predictions([each], {"FCN": torch.ones(1, 4, 5)}, CLASSES, PALETTE, alt=ALT)
    viz.show_confusion(torch.zeros(3, 3, dtype=torch.int64), CLASSES, alt=ALT)
    for figure, _ in shown:
        figure.canvas.draw()
    overlay = shown[1][0].axes[0].images[0].get_array()
    assert np.allclose(overlay, each.image.numpy().transpose(1, 2, 0))
    assert not shown[2][0].axes[1].images[0].get_array().any()  # black


@quiet
def test_the_row_of_an_absent_class_is_blank(shown):
    viz.show_confusion(torch.tensor([[3, 1], [0, 0]]), "ab", alt=ALT)
    [array] = panels(shown)
    assert np.ma.getmaskarray(shown[0][0].axes[0].images[0].get_array())[1].all()
    assert [each.get_text() for each in shown[0][0].axes[0].texts] == ["0.75", "0.25"]
    assert array.shape == (2, 2)


def test_a_matrix_of_other_classes_is_refused():
    with pytest.raises(
        ValueError, match=r"2 classes has shape \(2, 2\), but this one has \(3, 3\)"
    ):
        viz.show_confusion(torch.eye(3), "ab", alt=ALT)


def test_labels_of_another_size_than_the_image_are_refused():
    with pytest.raises(ValueError, match=r"\(6, 7\) pixels do not lie on an image of \(6, 8\)"):
        viz.show_overlay(sample().image, torch.zeros(6, 7).long(), CLASSES, PALETTE, alt=ALT)


@pytest.mark.parametrize(
    "call",
    [
        lambda: viz.show_images({}, alt=ALT),
        lambda: viz.show_labels({}, CLASSES, PALETTE, alt=ALT),
        lambda: viz.show_predictions([], {}, CLASSES, PALETTE, alt=ALT),
        lambda: viz.show_bars({}, ylabel="", alt=ALT),
        lambda: viz.show_architecture([], alt=ALT),
    ],
)
def test_nothing_to_show_is_refused(call):
    with pytest.raises(ValueError, match="nothing to show: give at least one"):
        call()


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (4, 5), (0, 4, 5), (3, 0, 5)])
def test_features_of_odd_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r"features of one image, features\[0\]"):
        viz.show_feature_maps(torch.rand(shape), alt=ALT)


@quiet
def test_unknown_values_are_left_blank(shown):
    image, values = torch.rand(3, 4, 5), torch.rand(4, 5)
    image[:, 0, 0], values[0, 0], values[1, 1] = torch.nan, torch.nan, torch.inf
    nothing = torch.full((4, 5), torch.nan)
    viz.show_images({"image": image, "map": values, "nothing": nothing}, alt=ALT)
    assert (panels(shown)[0][0, 0] == 1).all()
    maps = [axes.images[0].get_array() for axes in shown[0][0].axes[1:3]]
    assert [int(np.ma.getmaskarray(each).sum()) for each in maps] == [2, 20]


# ── curves ──────────────────────────────────────────────────────────────────────────────────────


@quiet
@pytest.mark.parametrize(
    "curve, smooth, expected",
    [
        ([1, 2, 3, 6], 1, [1, 2, 3, 6]),
        ([1, 2, 3, 7], 3, [2, 4]),
        ([1, 2, 3, 6], 4, [3]),
        ([1, 2, 3, 6], 5, [3]),  # a window longer than the curve
        ([1, 2, 3, 6], 100, [3]),
        ([5], 7, [5]),
        ([], 1, []),
        ([], 3, []),
        ([1, np.nan, 3, 7], 2, [1, 3, 5]),
        ([1, np.nan, np.nan, 7], 2, [1, np.nan, 7]),
        ([1, np.nan, np.inf, 7], 1, [1, np.nan, np.inf, 7]),
        ([np.nan], 2, [np.nan]),
    ],
)
def test_a_smoothed_curve_averages_what_is_known(curve, smooth, expected, shown):
    viz.show_curves({"a": curve}, xlabel="", ylabel="", alt=ALT, smooth=smooth)
    [line] = lines(shown)
    np.testing.assert_allclose(line, expected)


def test_panels_of_curves_have_titles_labels_and_one_legend(shown):
    FIGURES["curve panels"]()
    [(figure, _)] = shown
    titles = [axes.get_title() for axes in figure.axes]
    labels = [(axes.get_xlabel(), axes.get_ylabel()) for axes in figure.axes]
    assert titles == ["loss", "gradient"] and labels == [("p", "loss"), ("logit", "gradient")]
    [legend] = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["a", "b"]


@pytest.mark.parametrize(
    "panels, labels",
    [({"l": {"a": [1]}, "g": {"b": [1]}}, "xy"), ({}, ""), ({"l": {"a": [1]}}, "")],
)
def test_panels_of_other_curves_or_without_labels_are_refused(panels, labels):
    with pytest.raises(ValueError):
        viz.show_curve_panels(panels, xlabels=labels, ylabels=labels, alt=ALT)
    assert not plt.get_fignums()


def test_a_smoothed_curve_keeps_its_place(shown):
    viz.show_curves({"a": ([0, 10, 20, 30], [1, 1, 1, 1])}, xlabel="", ylabel="", alt=ALT, smooth=9)
    assert shown[0][0].axes[0].lines[0].get_xdata().tolist() == [15]


@pytest.mark.parametrize("smooth", [0, -3])
def test_a_window_of_no_point_is_refused(smooth):
    with pytest.raises(ValueError, match=f"smooth={smooth} averages nothing"):
        viz.show_curves({"a": [1, 2]}, xlabel="", ylabel="", alt=ALT, smooth=smooth)


@quiet
def test_bars_of_unknown_height(shown):
    viz.show_bars({"a": {"b": np.nan, "c": (np.nan, np.nan)}, "d": {}}, ylabel="", alt=ALT)
    shown[0][0].canvas.draw()


def test_points_have_their_names_and_the_line_goes_from_left_to_right(shown):
    FIGURES["points"]()
    axes = shown[0][0].axes[0]
    assert [text.get_text() for text in axes.texts] == ["a", "b", "c"]
    stairs = axes.lines[0]
    assert stairs.get_xdata().tolist() == [1, 2] and stairs.get_ydata().tolist() == [0.5, 0.7]


def test_names_of_points_in_one_place_do_not_cover_each_other(shown):
    viz.show_points({name: (1, 1) for name in "abc"}, xlabel="x", ylabel="y", alt=ALT)
    boxes = [text.get_window_extent() for text in shown[0][0].axes[0].texts]
    assert not any(a.overlaps(b) for a, b in zip(boxes, [*boxes[1:], boxes[0]], strict=True))


def test_names_stand_somewhere_even_where_there_is_no_room(shown):
    viz.show_points({f"point {n}": (1, 1) for n in range(30)}, xlabel="x", ylabel="y", alt=ALT)
    assert len(shown[0][0].axes[0].texts) == 30


@pytest.mark.parametrize("points, line", [({}, []), ({"a": (1, 2)}, ["b"])])
def test_no_points_and_lines_through_no_point_are_refused(points, line):
    with pytest.raises(ValueError, match="at least one point"):
        viz.show_points(points, xlabel="x", ylabel="y", alt=ALT, line=line)


class TestGrid:
    def test_writes_into_every_pixel_and_numbers_rows_and_columns(self, shown):
        labels = torch.tensor([[0, 1, 2], [2, 1, 0]])
        viz.show_grid({"a": labels}, CLASSES, PALETTE, alt=ALT, texts={"a": [list("pqr")] * 2})
        axes = shown[0][0].axes[0]
        found = {(round(t.get_position()[1]), round(t.get_position()[0])): t for t in axes.texts}
        assert {place: text.get_text() for place, text in found.items()} == {
            (row, column): "pqr"[column] for row in range(2) for column in range(3)
        }
        assert found[0, 1].get_color() == "white"  # on dark grey
        assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "1", "2"]
        assert [label.get_text() for label in axes.get_yticklabels()] == ["0", "1"]

    def test_arrows_run_from_row_and_column_to_row_and_column(self, shown):
        labels = torch.zeros(4, 6, dtype=torch.int64)
        pair = torch.tensor([[0, 5], [1, 1]]), torch.tensor([[3, 2], [1, 1]])
        viz.show_grid({"a": labels, "b": labels}, CLASSES, PALETTE, alt=ALT, arrows={"b": pair})
        first, second = shown[0][0].axes[:2]
        assert len(first.patches) == len(first.lines) == 0
        (arrow,) = second.patches
        assert [tuple(place) for place in arrow._posA_posB] == [(5, 0), (2, 3)]
        (dot,) = second.lines
        assert (dot.get_xdata()[0], dot.get_ydata()[0]) == (1, 1)

    def test_names_what_rows_and_columns_are(self, shown):
        labels = torch.zeros(2, 2, dtype=torch.int64)
        viz.show_grid({"a": labels}, CLASSES, PALETTE, alt=ALT, names=("true", "predicted"))
        axes = shown[0][0].axes[0]
        assert (axes.get_ylabel(), axes.get_xlabel()) == ("true", "predicted")

    def test_refuses_texts_and_arrows_for_maps_that_are_not_there(self):
        labels = torch.zeros(2, 2, dtype=torch.int64)
        with pytest.raises(ValueError, match="no map"):
            viz.show_grid({"a": labels}, CLASSES, PALETTE, alt=ALT, texts={"b": [[1, 2], [3, 4]]})
        with pytest.raises(ValueError, match="no map"):
            viz.show_grid({"a": labels}, CLASSES, PALETTE, alt=ALT, arrows={"c": ([], [])})


def test_tasks_show_objects_alone_and_among_the_classes(shown):
    labels = torch.tensor([[0, 0, 2, 2], [1, 1, 2, IGNORE]])
    numbers = torch.tensor([[0, 0, 1, 2], [0, 0, 1, 0]])
    image = torch.zeros(3, 2, 4)
    viz.show_tasks(Sample(image, labels, numbers), CLASSES, PALETTE, alt=ALT)
    figure = shown[0][0]
    _, semantic, instance, panoptic = (axes.images[0].get_array() for axes in figure.axes)
    assert [axes.get_title().split(":")[0] for axes in figure.axes] == [
        "image", "semantic", "instance", "panoptic"
    ]  # fmt: skip
    assert tuple(semantic[0, 2]) == tuple(semantic[0, 3]) == PALETTE[2]
    assert tuple(instance[0, 2]) != tuple(instance[0, 3])
    assert not instance[labels != 2].any() and not panoptic[1, 3].any()
    assert (panoptic[labels < 2] == semantic[labels < 2]).all()
    assert (panoptic[numbers > 0] == instance[numbers > 0]).all()
    assert [text.get_text() for text in figure.legends[0].texts] == [*CLASSES, "void"]
