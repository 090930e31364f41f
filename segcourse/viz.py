"""Every figure of the course. The functions draw, show and return None.

Each figure carries an alternative text that says what there is to see (``alt``): it travels with
the picture into the notebook, from there into the book, and is what a screen reader reads.
Colours of classes come from the dataset's PALETTE; everything else uses palettes that
colour-blind readers can tell apart (Okabe and Ito 2008; viridis).
"""

import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Patch, Rectangle
from torch import Tensor

from segcourse.data.sample import Sample
from segcourse.ops.labels import IGNORE, Color, colorize

OKABE_ITO = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
_PANEL = 2.6  # inches, the width of an image in a row
_DOTS = 100  # per inch
_INK, _GREY = "#202124", "#5f6368"


def _closed_on_error(show: Callable[..., None]) -> Callable[..., None]:
    """A function that draws, which leaves no half-drawn figure open if it raises."""

    @functools.wraps(show)
    def drawn(*arguments: Any, **options: Any) -> None:
        before = plt.get_fignums()
        try:
            show(*arguments, **options)
        except Exception:
            for number in set(plt.get_fignums()) - set(before):
                plt.close(number)
            raise

    return drawn


def present(figure: Figure, *, alt: str) -> None:
    """Show a figure with its alternative text, and close it.

    Raises:
        ValueError: if the text is too short to say what there is to see.
    """
    if len(alt.split()) < 3:
        plt.close(figure)
        raise ValueError(
            f"alt={alt!r} does not say what the figure shows: write a sentence for a reader "
            "who cannot see it."
        )
    from IPython.display import display

    display(figure, metadata={"image/png": {"alt": alt}})
    plt.close(figure)


def _canvas(rows: int, columns: int, width: float = _PANEL, height: float = _PANEL) -> Figure:
    """An empty figure for ``rows`` x ``columns`` panels of so many inches."""
    return plt.figure(
        figsize=(columns * width, rows * height),
        dpi=_DOTS,
        facecolor="white",
        layout="constrained",
    )


def _panels(
    count: int, columns: int | None, width: float = _PANEL, height: float = 2.3
) -> tuple[Figure, list[Axes]]:
    """A figure of ``count`` empty panels in rows of ``columns``, four unless given."""
    if count < 1:
        raise ValueError("there is nothing to show: give at least one image, map or channel.")
    columns = columns or min(count, 4)
    rows = math.ceil(count / columns)
    figure = _canvas(rows, columns, width, height)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels:
        axes.axis("off")
    return figure, list(panels[:count])


def _array(values: Any) -> np.ndarray:
    """Numbers of any type, on any device, as an array; half precision becomes float32."""
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        narrow = values.is_floating_point() and values.itemsize < 4
        return (values.float() if narrow else values).numpy()
    array = np.asarray(values)
    return array.astype(np.float32) if array.dtype == np.float16 else array


def _image(image: Any) -> np.ndarray:
    """What ``imshow`` takes: (3, H, W), (1, H, W), (H, W, 3), (H, W, 1) or (H, W) -> (H, W[, 3]).

    Where the channels could be the first axis or the last, as in (3, 5, 3), they are the first of a
    tensor and the last of an array.

    Raises:
        ValueError: if the shape is none of these.
    """
    array = _array(image)
    first, last = (array.ndim == 3 and array.shape[axis] in (1, 3) for axis in (0, -1))
    if first and (isinstance(image, Tensor) or not last):
        array = np.moveaxis(array, 0, -1)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] != 3) or 0 in array.shape:
        raise ValueError(
            f"an image has shape (3, H, W), (H, W, 3) or (H, W) and is not empty, but this one has "
            f"{tuple(_array(image).shape)}: pass one image of the batch, with 1 or 3 channels."
        )
    return _color(array) if array.ndim == 3 else array


def _color(array: np.ndarray) -> np.ndarray:
    """Values that can be shown as colors: (H, W, 3) -> (H, W, 3) uint8, or floats in [0, 1].

    Raises:
        ValueError: if integers are outside of 0 ... 255.
    """
    if array.dtype == bool:
        return array.astype(np.float32)
    if np.issubdtype(array.dtype, np.integer):
        low, high = int(array.min()), int(array.max())
        if low < 0 or high > 255:
            raise ValueError(
                f"colors are integers from 0 to 255 or floats from 0 to 1, but this image holds "
                f"{low} to {high} ({array.dtype}): divide by the largest value that its format has."
            )
        return array.astype(np.uint8)
    return np.where(np.isnan(array), 1.0, array.clip(0, 1))  # unknown is as white as the page


def _draw(
    axes: Axes,
    image: Any,
    title: str = "",
    cmap: str = "viridis",
    limits: tuple[float | None, float | None] = (None, None),
) -> None:
    """Put one image, map or mask into a panel."""
    array = _image(image)
    gray = array.dtype == bool
    low, high = limits
    axes.imshow(array, cmap="gray" if gray else cmap, interpolation="nearest", vmin=low, vmax=high)
    axes.set_title(title, fontsize=10)
    axes.axis("off")


def _add_legend(figure: Figure, shown: Sequence[int], classes: Sequence[str], palette: Any) -> None:
    """One patch of color per class that occurs, below the figure."""
    names = [
        ("void", (0, 0, 0)) if label == IGNORE else (classes[label], palette[label])
        for label in shown
    ]
    patches = [
        Patch(facecolor=np.array(color) / 255, edgecolor="grey", linewidth=0.5, label=name)
        for name, color in names
    ]
    figure.legend(
        handles=patches,
        loc="outside lower center",
        ncols=min(len(patches), 8),
        frameon=False,
        fontsize=9,
    )


def _occurring(*maps: Any) -> list[int]:
    """The labels that any of the maps holds, in order."""
    return sorted({int(label) for each in maps for label in np.unique(_array(each))})


def _color_labels(labels: Any, palette: Sequence[Color]) -> np.ndarray:
    """Every pixel in the color of its class: (H, W) integers -> (H, W, 3) uint8, void is black."""
    return colorize(torch.as_tensor(labels), palette).cpu().numpy()


def color_objects(instance: Tensor, *, beside: Sequence[Color] = ()) -> np.ndarray:
    """Objects in colors that differ between neighbours: (H, W) -> (H, W, 3) uint8, 0 is black.

    ``beside`` are the colors of classes that are seen with the objects: the objects then get those
    half of the colors that differ most from them.
    """
    colors = (np.array(plt.get_cmap("tab20").colors) * 255).astype(np.uint8)
    if len(beside):
        away = np.linalg.norm(colors[:, None].astype(float) - np.array(beside), axis=-1)
        colors = colors[np.sort(away.min(axis=1).argsort()[len(colors) // 2 :])]
    numbers = _array(instance)
    order = np.unique(numbers[numbers > 0])
    rank = np.searchsorted(order, numbers) * 7 % len(colors)
    return np.where((numbers > 0)[..., None], colors[rank], 0).astype(np.uint8)


@_closed_on_error
def show_sample(
    sample: Sample, classes: Sequence[str], palette: Sequence[Color], *, alt: str
) -> None:
    """Image, classes and objects of one sample side by side, with a legend."""
    figure, (left, middle, right) = _panels(3, 3, height=2.5)
    _draw(left, sample.image, "image")
    _draw(middle, _color_labels(sample.semantic, palette), "classes")
    _draw(right, color_objects(sample.instance), "objects")
    _add_legend(figure, _occurring(sample.semantic), classes, palette)
    present(figure, alt=alt)


@_closed_on_error
def show_tasks(
    sample: Sample,
    classes: Sequence[str],
    palette: Sequence[Color],
    *,
    alt: str,
    columns: int | None = None,
) -> None:
    """The three tasks on one sample: image, semantic, instance and panoptic labels, and a legend.

    Objects have colors of their own; pixels without an object are black in the instance panel and
    have the color of their class in the panoptic one.
    """
    shown = _occurring(sample.semantic)
    semantic = _color_labels(sample.semantic, palette)
    used = [palette[label] for label in shown if label != IGNORE]
    objects = color_objects(sample.instance, beside=used)
    thing = (_array(sample.instance) > 0)[..., None]
    panels = {
        "image": sample.image,
        "semantic: a class for every pixel": semantic,
        "instance: objects only": objects,
        "panoptic: classes and objects": np.where(thing, objects, semantic),
    }
    height, width = sample.semantic.shape
    wide = 3.4 if columns == 2 else _PANEL
    figure, axes = _panels(4, columns, wide, wide * height / width + 0.35)
    for each, (title, image) in zip(axes, panels.items(), strict=True):
        _draw(each, image, title)
    _add_legend(figure, shown, classes, palette)
    present(figure, alt=alt)


@_closed_on_error
def show_images(
    images: Mapping[str, Any],
    *,
    alt: str,
    columns: int | None = None,
    cmap: str = "viridis",
    limits: tuple[float | None, float | None] = (None, None),
) -> None:
    """Images (3, H, W), maps (H, W) or masks under their titles, in rows of ``columns``.

    Colors are floats in [0, 1] or integers in 0 ... 255, of any type. Every map has the range of
    its own values, or all of them the range ``limits``; nan is left blank.
    """
    figure, panels = _panels(len(images), columns)
    for axes, (title, image) in zip(panels, images.items(), strict=True):
        _draw(axes, image, title, cmap, limits)
    present(figure, alt=alt)


@_closed_on_error
def show_labels(
    maps: Mapping[str, Tensor],
    classes: Sequence[str],
    palette: Sequence[Color],
    *,
    alt: str,
    columns: int | None = None,
) -> None:
    """Label maps (H, W) in the colors of their classes, with a legend of those that occur."""
    figure, panels = _panels(len(maps), columns)
    for axes, (title, labels) in zip(panels, maps.items(), strict=True):
        _draw(axes, _color_labels(labels, palette), title)
    _add_legend(figure, _occurring(*maps.values()), classes, palette)
    present(figure, alt=alt)


@_closed_on_error
def show_grid(
    maps: Mapping[str, Tensor],
    classes: Sequence[str],
    palette: Sequence[Color],
    *,
    alt: str,
    texts: Mapping[str, Any] | None = None,
    arrows: Mapping[str, tuple[Tensor, Tensor]] | None = None,
    names: tuple[str, str] | None = None,
    columns: int | None = None,
) -> None:
    """Small label maps to count in: a line around every pixel, numbered rows and columns.

    Args:
        maps: label maps (H, W) under their titles.
        classes: names of the labels, for the legend.
        palette: their colors.
        alt: what there is to see.
        texts: for some of the titles, what to write into the pixels: (H, W) of anything printable.
        arrows: for some of the titles, from which pixels to which: (A, 2) and (A, 2), each (row,
            column). An arrow of no length is a dot.
        names: what the rows are and what the columns are, written at both axes.
        columns: panels in a row; default: up to four.

    Raises:
        ValueError: if there are texts or arrows for a title without a map.
    """
    unknown = {*(texts or {}), *(arrows or {})} - set(maps)
    if unknown:
        raise ValueError(f"there is no map {sorted(unknown)}: choose from {list(maps)}.")
    height, width = next(iter(maps.values())).shape
    side = 3.4 if len(maps) > 2 else 4.2
    figure, panels = _panels(len(maps), columns, side, (side - 0.4) * height / width + 0.5)
    for axes, (title, labels) in zip(panels, maps.items(), strict=True):
        colors = _color_labels(labels, palette)
        _draw(axes, colors, title)
        _rule(axes, *colors.shape[:2])
        if names:
            axes.set_ylabel(names[0], fontsize=8, color=_GREY)
            axes.set_xlabel(names[1], fontsize=8, color=_GREY)
        if texts and title in texts:
            _write(axes, texts[title], colors)
        if arrows and title in arrows:
            _point(axes, *arrows[title])
    _add_legend(figure, _occurring(*maps.values()), classes, palette)
    present(figure, alt=alt)


def _rule(axes: Axes, height: int, width: int) -> None:
    """A line around every pixel, and numbers at rows and columns."""
    axes.axis("on")
    axes.set_xticks(range(width))
    axes.set_yticks(range(height))
    axes.set_xticks([x + 0.5 for x in range(width - 1)], minor=True)
    axes.set_yticks([y + 0.5 for y in range(height - 1)], minor=True)
    axes.grid(which="minor", color="white", linewidth=1)
    axes.tick_params(which="both", length=0, labelsize=7, labelcolor=_GREY)
    axes.spines[:].set_visible(False)


def _write(axes: Axes, texts: Any, colors: np.ndarray) -> None:
    """One text in every pixel, dark on light colors and light on dark ones."""
    size = max(6, min(11, round(110 / colors.shape[1])))
    light = colors @ (0.299, 0.587, 0.114) > 140
    for (row, column), text in np.ndenumerate(np.asarray(texts, dtype=object)):
        ink = _INK if light[row, column] else "white"
        axes.text(column, row, str(text), ha="center", va="center", fontsize=size, color=ink)


def _point(axes: Axes, starts: Tensor, ends: Tensor) -> None:
    """Arrows between the centers of pixels (A, 2), dots where they have no length."""
    for (y, x), (down, right) in zip(_array(starts), _array(ends), strict=True):
        if (y, x) == (down, right):
            axes.plot(x, y, "o", color=_INK, markersize=3)
        else:
            style = {"arrowstyle": "->", "mutation_scale": 8, "linewidth": 1.1, "color": _INK}
            arrow = FancyArrowPatch((x, y), (right, down), shrinkA=0, shrinkB=0, **style)
            axes.add_patch(arrow).set_zorder(3)  # above the lines of the grid


@_closed_on_error
def show_overlay(
    image: Tensor,
    labels: Tensor,
    classes: Sequence[str],
    palette: Sequence[Color],
    *,
    alt: str,
    alpha: float = 0.5,
) -> None:
    """The classes laid over the image: (3, H, W) or (H, W), (H, W). Void pixels stay as they are.

    ``alpha`` is the weight of the class's color, 1 - ``alpha`` that of the image.

    Raises:
        ValueError: if the labels are not of the size of the image.
    """
    base, color = _image(image), _color_labels(labels, palette) / 255
    if base.shape[:2] != color.shape[:2]:
        raise ValueError(
            f"labels of {color.shape[:2]} pixels do not lie on an image of {base.shape[:2]}: "
            "resize one of them."
        )
    base = np.repeat(base[..., None], 3, axis=2) if base.ndim == 2 else base
    base = base / 255 if base.dtype == np.uint8 else base
    share = np.where(_array(labels) == IGNORE, 0.0, alpha)[..., None]
    figure, [axes] = _panels(1, 1, width=4.6, height=3.8)
    _draw(axes, base * (1 - share) + color * share)
    _add_legend(figure, _occurring(labels), classes, palette)
    present(figure, alt=alt)


@_closed_on_error
def show_predictions(
    samples: Sequence[Sample],
    predictions: Mapping[str, Tensor],
    classes: Sequence[str],
    palette: Sequence[Color],
    *,
    alt: str,
) -> None:
    """One row per sample: image, every prediction (N, H, W) under its name, ground truth; a legend.

    Pixels that are void in the ground truth are black in the predictions too, because no metric
    counts them.
    """
    columns = len(predictions) + 2
    figure, panels = _panels(len(samples) * columns, columns, width=2.1, height=1.75)
    titles = ["image", *predictions, "ground truth"]
    for row, sample in enumerate(samples):
        target = _array(sample.semantic)
        maps = [_array(each[row]) for each in predictions.values()]
        shown = [np.where(target == IGNORE, IGNORE, each.astype(np.int64)) for each in maps]
        images = [sample.image, *(_color_labels(each, palette) for each in [*shown, target])]
        for column, image in enumerate(images):
            axes = panels[row * columns + column]
            _draw(axes, image, "" if row else titles[column])
    maps = [sample.semantic for sample in samples] + list(predictions.values())
    _add_legend(figure, _occurring(*maps), classes, palette)
    present(figure, alt=alt)


@_closed_on_error
def show_confusion(matrix: Tensor, classes: Sequence[str], *, alt: str) -> None:
    """The confusion matrix (K, K) with rows divided by their sums: the diagonal is the recall.

    The row of a class that does not occur in the ground truth is left blank.

    Raises:
        ValueError: if there is not one row and one column for every class.
    """
    counts = torch.as_tensor(matrix).cpu().double()
    if counts.shape != (len(classes), len(classes)):
        raise ValueError(
            f"a confusion matrix of {len(classes)} classes has shape "
            f"{(len(classes), len(classes))}, but this one has {tuple(counts.shape)}: pass the "
            "names of its classes."
        )
    share = (counts / counts.sum(dim=1, keepdim=True)).numpy()  # 0 / 0 is nan, without a warning
    side = 1.6 + 0.5 * len(classes)
    figure = _canvas(1, 1, width=side + 0.6, height=side)
    axes = figure.subplots()
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(classes)), classes, rotation=45, ha="right", fontsize=9)
    axes.set_yticks(range(len(classes)), classes, fontsize=9)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    for (row, column), value in np.ndenumerate(share):
        if np.isfinite(value):
            color = "white" if value > 0.5 else _INK
            text = dict(ha="center", va="center", color=color, fontsize=8)
            axes.text(column, row, f"{value:.2f}", **text)
    present(figure, alt=alt)


def _numbers(values: Any) -> np.ndarray:
    """A curve or a single number as (N,) float64, from tensors or numbers of any type."""
    values = values.tolist() if isinstance(values, (Tensor, np.ndarray)) else values
    values = values if isinstance(values, Iterable) else [values]
    return np.array([x.item() if isinstance(x, Tensor) else x for x in values], dtype=float)


@_closed_on_error
def show_curves(
    curves: Mapping[str, Any],
    *,
    xlabel: str,
    ylabel: str,
    alt: str,
    smooth: int = 1,
    yscale: str = "linear",
) -> None:
    """Lines under their names: each is y, or (x, y).

    ``smooth`` averages that many points, or all of a shorter curve. Points that are nan are left
    out of the average, and are gaps in the line. ``yscale`` is "linear" or "log".
    """
    figure = _canvas(1, 1, width=5.2, height=3.0)
    axes = figure.subplots()
    _draw_curves(axes, curves, smooth)
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.set_yscale(yscale)
    if len(curves) > 1:
        axes.legend(frameon=False, fontsize=9)
    present(figure, alt=alt)


@_closed_on_error
def show_curve_panels(
    panels: Mapping[str, Mapping[str, Any]],
    *,
    xlabels: Sequence[str],
    ylabels: Sequence[str],
    alt: str,
) -> None:
    """Panels of curves side by side under their titles, with one legend below.

    Curves are as in ``show_curves``, and have the same names in the same order in every panel.
    Their dashes differ, so that curves that coincide are seen.

    Raises:
        ValueError: if there is not one label per axis and panel, or the names differ.
    """
    names = [list(curves) for curves in panels.values()]
    if not names or any(each != names[0] for each in names):
        raise ValueError(
            f"every panel needs the same curves in the same order, because they share a legend, "
            f"but these have {names}."
        )
    figure = _canvas(1, len(panels), width=3.7 if len(panels) > 1 else 5.2, height=3.2)
    columns = figure.subplots(1, len(panels), squeeze=False)[0]
    rows = zip(columns, panels.items(), xlabels, ylabels, strict=True)
    for axes, (title, curves), xlabel, ylabel in rows:
        _draw_curves(axes, curves, dashed=True)
        axes.set_title(title, fontsize=10)
        axes.set_xlabel(xlabel)
        axes.set_ylabel(ylabel)
    lines, labels = columns[0].get_legend_handles_labels()
    where = dict(loc="outside lower center", ncols=min(len(labels), 4))
    figure.legend(lines, labels, frameon=False, fontsize=9, **where)
    present(figure, alt=alt)


def _draw_curves(
    axes: Axes, curves: Mapping[str, Any], smooth: int = 1, dashed: bool = False
) -> None:
    """Lines in different colors, and dashes when these run out, or at once: ``show_curves``."""
    styles = ("-", "--", "-.", ":")
    for number, (name, curve) in enumerate(curves.items()):
        x, y = curve if isinstance(curve, tuple) else (range(len(curve)), curve)
        x, y = _smoothed(_numbers(x), smooth), _smoothed(_numbers(y), smooth)
        color = OKABE_ITO[number % len(OKABE_ITO)]
        style = styles[(number if dashed else number // len(OKABE_ITO)) % 4]
        axes.plot(x, y, style, color=color, label=name, marker="o" if len(y) == 1 else None)
    axes.spines[["top", "right"]].set_visible(False)


def _smoothed(values: np.ndarray, points: int) -> np.ndarray:
    """The mean of every ``points`` neighbours, nan left out: (N,) -> (N - points + 1,).

    A curve that is shorter is averaged as a whole: -> (1,), or (0,) if it is empty.

    Raises:
        ValueError: if ``points`` is not positive.
    """
    if points < 1:
        raise ValueError(f"smooth={points} averages nothing: choose 1 to leave curves as they are.")
    points = min(points, len(values))
    if points <= 1:
        return values
    window, known = np.ones(points), np.isfinite(values)
    total = np.convolve(np.where(known, values, 0), window, "valid")
    count = np.convolve(known, window, "valid")
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


@_closed_on_error
def show_bars(groups: Mapping[str, Mapping[str, Any]], *, ylabel: str, alt: str) -> None:
    """Bars side by side: ``groups[group][series]`` is a value, or (value, spread)."""
    series = list(dict.fromkeys(name for values in groups.values() for name in values))
    if not series:
        raise ValueError("there is nothing to show: give at least one group with one value.")
    figure = _canvas(1, 1, width=max(5.2, 0.5 * len(groups) * len(series) + 1.5), height=3.0)
    axes = figure.subplots()
    width = 0.8 / len(series)
    for number, name in enumerate(series):
        pairs = [(*_numbers(values.get(name, np.nan)), 0)[:2] for values in groups.values()]
        heights, spreads = zip(*pairs, strict=True)
        axes.bar(
            np.arange(len(groups)) + (number - (len(series) - 1) / 2) * width,
            heights,
            0.92 * width,
            yerr=spreads if any(spreads) else None,
            capsize=3,
            label=name,
            color=OKABE_ITO[number % len(OKABE_ITO)],
            edgecolor="white",
        )
    axes.set_xticks(range(len(groups)), list(groups), fontsize=9)
    axes.set_ylabel(ylabel)
    axes.spines[["top", "right"]].set_visible(False)
    if len(series) > 1:
        axes.legend(frameon=False, fontsize=9)
    present(figure, alt=alt)


@_closed_on_error
def show_points(
    points: Mapping[str, Sequence[Any]],
    *,
    xlabel: str,
    ylabel: str,
    alt: str,
    line: Sequence[str] = (),
) -> None:
    """Points under their names: each is (x, y), or (x, y, spread) with a bar of y ± spread.

    The points named in ``line`` have another color, and stairs lead from one to the next.

    Raises:
        ValueError: if there are no points, or ``line`` names one that is not there.
    """
    if not points or not set(line) <= set(points):
        raise ValueError(
            f"there are points for {list(points)}, and a line through {list(line)}: give at least "
            "one point, and draw the line through points that are there."
        )
    figure = _canvas(1, 1, width=7.0, height=4.4)
    axes = figure.subplots()
    places = {name: (*_numbers(values), 0.0)[:3] for name, values in points.items()}
    corners = sorted(places[name][:2] for name in line)
    axes.step(*(zip(*corners, strict=True) if corners else ([], [])), where="post",
              color=OKABE_ITO[1], linewidth=1)  # fmt: skip
    for name, (x, y, spread) in places.items():
        color = OKABE_ITO[1 if name in line else 0]
        axes.errorbar(x, y, spread or None, fmt="o", color=color, markersize=6, capsize=3)
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.margins(x=0.14, y=0.08)
    axes.spines[["top", "right"]].set_visible(False)
    figure.draw_without_rendering()
    _name_points(axes, {name: place[:2] for name, place in places.items()})
    present(figure, alt=alt)


_SIDES = ((8, 0, "left"), (-8, 0, "right"), (0, 11, "center"), (0, -11, "center"),
          (8, 10, "left"), (8, -10, "left"), (-8, 10, "right"), (-8, -10, "right"))  # fmt: skip


def _name_points(axes: Axes, places: Mapping[str, tuple[float, float]]) -> None:
    """Write every name beside its point, where no other name or point stands if possible."""
    taken, dots = [], [axes.transData.transform(place) for place in places.values()]
    frame = axes.get_window_extent()

    def write(name: str, right: int, up: int, side: str) -> Any:
        text = axes.annotate(name, places[name], (right, up), textcoords="offset points",
                             ha=side, va="center", fontsize=8)  # fmt: skip
        text.set_in_layout(False)
        return text

    for name in sorted(places, key=places.get):
        for where in _SIDES:
            text = write(name, *where)
            box = text.get_window_extent()
            inside = frame.x0 <= box.x0 and box.x1 <= frame.x1
            crowded = any(box.overlaps(other) for other in taken)
            if inside and not crowded and not any(box.contains(*dot) for dot in dots):
                break
            text.remove()
        else:
            box = write(name, *_SIDES[0]).get_window_extent()
        taken.append(box)


@_closed_on_error
def show_feature_maps(features: Tensor, *, alt: str, max_channels: int = 16) -> None:
    """The channels of (C, H, W) features that vary most, each scaled to its own range.

    Raises:
        ValueError: if the features have not three axes, or are empty.
    """
    if features.ndim != 3 or 0 in features.shape:
        raise ValueError(
            "feature maps have shape (C, H, W) and are not empty, but these have "
            f"{tuple(features.shape)}: pass the features of one image, features[0]."
        )
    features = features.detach().float()
    spread = features.flatten(1).std(dim=1, correction=0)
    chosen = spread.argsort(descending=True)[:max_channels].sort().values
    figure, panels = _panels(len(chosen), min(8, len(chosen)), width=1.3, height=1.2)
    for axes, channel in zip(panels, chosen.tolist(), strict=True):
        _draw(axes, features[channel], str(channel))
        axes.title.set_fontsize(7)
    present(figure, alt=alt)


# Of a diagram: the tallest box, the space between boxes, how far an arc bends, in one unit.
_TALLEST, _GAP, _BEND = 3.0, 0.55, 0.22
_ARROW = {"arrowstyle": "->", "mutation_scale": 9, "lw": 0.9, "shrinkA": 1, "shrinkB": 1}
_Box = tuple[float, float, float]  # left, right, half of the height


@_closed_on_error
def show_architecture(
    stages: Sequence[Mapping[str, Any]],
    *,
    alt: str,
    links: Sequence[tuple[int, int, str]] = (),
) -> None:
    """A network as boxes: as tall as their resolution, as wide as their channels.

    Args:
        stages: in the order of computation, each with ``name``, ``stride`` (1, 2, 4, ...) and
            ``channels``; optionally ``color`` (an index into the palette).
        links: skip connections (from stage, to stage, label), drawn as arcs above.
        alt: what there is to see.
    """
    boxes = _place_boxes(stages)
    right = boxes[-1][1]
    top = max([_TALLEST / 2, *(_apex(boxes[a], boxes[b]) + 0.3 for a, b, _ in links)])
    width = max(5.0, 0.8 * (right + _GAP))
    height = width * (top + _TALLEST / 2 + 0.9) / (right + _GAP + 0.2)
    figure = _canvas(1, 1, width=width, height=height)
    axes = figure.subplots()
    axes.set_aspect("equal")
    for stage, box in zip(stages, boxes, strict=True):
        _draw_stage(axes, stage, box)
    for (_, end, _), (start, _, _) in pairwise(boxes):
        axes.add_patch(FancyArrowPatch((end, 0), (start, 0), color=_INK, **_ARROW))
    for start, end, label in links:
        _draw_link(axes, boxes[start], boxes[end], label)
    axes.set_xlim(-0.1, right + 0.1)
    axes.set_ylim(-_TALLEST / 2 - 0.8, top)
    axes.axis("off")
    present(figure, alt=alt)


def _place_boxes(stages: Sequence[Mapping[str, Any]]) -> list[_Box]:
    """One box per stage, side by side."""
    if not stages:
        raise ValueError("there is nothing to show: give at least one stage.")
    left, boxes = 0.0, []
    for stage in stages:
        height = max(_TALLEST / (1 + math.log2(stage["stride"])), 0.35)
        width = 0.16 + 0.075 * math.log2(max(stage["channels"], 1))
        boxes.append((left, left + width, height / 2))
        left += width + _GAP
    return boxes


def _draw_stage(axes: Axes, stage: Mapping[str, Any], box: _Box) -> None:
    """A box, with name, channels and resolution below."""
    start, end, half = box
    color = OKABE_ITO[stage.get("color", 0) % len(OKABE_ITO)]
    axes.add_patch(Rectangle((start, -half), end - start, 2 * half, facecolor=color, alpha=0.85))
    note = f"{stage['channels']}\n1/{stage['stride']}"
    middle, below = (start + end) / 2, -_TALLEST / 2
    axes.text(middle, below - 0.1, stage["name"], ha="center", va="top", fontsize=8)
    axes.text(middle, below - 0.36, note, ha="center", va="top", fontsize=7, color=_GREY)


def _draw_link(axes: Axes, first: _Box, second: _Box, label: str) -> None:
    """An arc from the top of one box to the top of another, and its label above."""
    here, there = ((sum(box[:2]) / 2, box[2]) for box in (first, second))
    bow = f"arc3,rad={-_BEND if there[0] > here[0] else _BEND}"
    axes.add_patch(FancyArrowPatch(here, there, connectionstyle=bow, color=_GREY, **_ARROW))
    middle, apex = (here[0] + there[0]) / 2, (first[2] + second[2]) / 2
    apex += _BEND / 2 * abs(there[0] - here[0])
    axes.text(middle, apex + 0.04, label, ha="center", va="bottom", fontsize=7, color=_GREY)


def _apex(first: _Box, second: _Box) -> float:
    """How high the arc between two boxes may reach."""
    return max(first[2], second[2]) + _BEND / 2 * abs(second[0] - first[0])
