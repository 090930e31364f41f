"""Every figure of the course. The functions draw, show and return None.

Each figure carries an alternative text that says what there is to see (``alt``): it travels with
the picture into the notebook, from there into the book, and is what a screen reader reads.
Colours of classes come from the dataset's PALETTE; everything else uses palettes that
colour-blind readers can tell apart (Okabe and Ito 2008; viridis).
"""

import math
from collections.abc import Mapping, Sequence
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
PANEL = 2.6  # inches, the width of a picture in a row
DOTS = 100  # per inch
INK, GREY = "#202124", "#5f6368"


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


def canvas(rows: int, columns: int, width: float = PANEL, height: float = PANEL) -> Figure:
    """An empty figure for ``rows`` x ``columns`` panels of so many inches."""
    return plt.figure(
        figsize=(columns * width, rows * height),
        dpi=DOTS,
        facecolor="white",
        layout="constrained",
    )


def picture(image: Any) -> np.ndarray:
    """What ``imshow`` takes, from (3, H, W), (1, H, W), (H, W, 3) or (H, W) of any number type.

    Raises:
        ValueError: if the shape is none of these.
    """
    array = image.detach().cpu().numpy() if isinstance(image, Tensor) else np.asarray(image)
    if array.ndim == 3 and array.shape[0] in (1, 3) and array.shape[2] not in (1, 3):
        array = np.moveaxis(array, 0, -1)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] != 3):
        raise ValueError(
            f"a picture has shape (3, H, W), (H, W, 3) or (H, W), but this one has "
            f"{array.shape}: pass one image of the batch, with 1 or 3 channels."
        )
    if array.ndim == 3 and array.dtype != np.uint8:
        array = array.clip(0, 1)
    return array


def draw(
    axes: Axes,
    image: Any,
    title: str = "",
    cmap: str = "viridis",
    limits: tuple[float | None, float | None] = (None, None),
) -> None:
    """Put one picture, map or mask into a panel."""
    array = picture(image)
    grey = array.dtype == bool
    low, high = limits
    axes.imshow(array, cmap="gray" if grey else cmap, interpolation="nearest", vmin=low, vmax=high)
    axes.set_title(title, fontsize=10)
    axes.axis("off")


def add_legend(figure: Figure, shown: Sequence[int], classes: Sequence[str], palette: Any) -> None:
    """One patch of colour per class that occurs, below the figure."""
    names = [
        ("void", (0, 0, 0)) if label == IGNORE else (classes[label], palette[label])
        for label in shown
    ]
    patches = [
        Patch(facecolor=np.array(colour) / 255, edgecolor="grey", linewidth=0.5, label=name)
        for name, colour in names
    ]
    figure.legend(
        handles=patches,
        loc="outside lower center",
        ncols=min(len(patches), 8),
        frameon=False,
        fontsize=9,
    )


def occurring(*maps: Tensor) -> list[int]:
    """The labels that any of the maps holds, in order."""
    return sorted({int(label) for each in maps for label in torch.as_tensor(each).unique()})


def colour_objects(instance: Tensor, *, beside: Sequence[Color] = ()) -> np.ndarray:
    """Objects in colours that differ between neighbours: (H, W) -> (H, W, 3) uint8, 0 is black.

    ``beside`` are the colours of classes that are seen with the objects: theirs are then taken from
    the half of the colours that resembles those least.
    """
    colours = (np.array(plt.get_cmap("tab20").colors) * 255).astype(np.uint8)
    if len(beside):
        away = np.linalg.norm(colours[:, None].astype(float) - np.array(beside), axis=-1)
        colours = colours[np.sort(away.min(axis=1).argsort()[len(colours) // 2 :])]
    numbers = torch.as_tensor(instance).cpu().numpy()
    order = np.unique(numbers[numbers > 0])
    rank = np.searchsorted(order, numbers) * 7 % len(colours)
    return np.where((numbers > 0)[..., None], colours[rank], 0).astype(np.uint8)


def show_sample(
    sample: Sample, classes: Sequence[str], palette: Sequence[Color], *, alt: str
) -> None:
    """Picture, classes and objects of one sample side by side, with a legend."""
    figure = canvas(1, 3, height=2.5)
    left, middle, right = figure.subplots(1, 3)
    draw(left, sample.image, "picture")
    draw(middle, colorize(sample.semantic, palette), "classes")
    draw(right, colour_objects(sample.instance), "objects")
    add_legend(figure, occurring(sample.semantic), classes, palette)
    present(figure, alt=alt)


def show_images(
    images: Mapping[str, Any],
    *,
    alt: str,
    columns: int | None = None,
    cmap: str = "viridis",
    limits: tuple[float | None, float | None] = (None, None),
) -> None:
    """Pictures (3, H, W), maps (H, W) or masks under their titles, in rows of ``columns``.

    Every map has the range of its own values, or all of them the range ``limits``.
    """
    columns = columns or min(len(images), 4)
    rows = math.ceil(len(images) / columns)
    figure = canvas(rows, columns, height=2.3)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels:
        axes.axis("off")
    for axes, (title, image) in zip(panels, images.items(), strict=False):
        draw(axes, image, title, cmap, limits)
    present(figure, alt=alt)


def show_labels(
    maps: Mapping[str, Tensor],
    classes: Sequence[str],
    palette: Sequence[Color],
    *,
    alt: str,
    columns: int | None = None,
) -> None:
    """Label maps (H, W) in the colours of their classes, with a legend of those that occur."""
    columns = columns or min(len(maps), 4)
    rows = math.ceil(len(maps) / columns)
    figure = canvas(rows, columns, height=2.3)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels:
        axes.axis("off")
    for axes, (title, labels) in zip(panels, maps.items(), strict=False):
        draw(axes, colorize(torch.as_tensor(labels), palette), title)
    add_legend(figure, occurring(*maps.values()), classes, palette)
    present(figure, alt=alt)


def show_overlay(
    image: Tensor,
    labels: Tensor,
    classes: Sequence[str],
    palette: Sequence[Color],
    *,
    alt: str,
    alpha: float = 0.5,
) -> None:
    """The classes laid over the picture; ``alpha`` is the share of the class colour. Void stays."""
    labels = labels.cpu()
    colour = colorize(labels, palette).numpy() / 255
    base = picture(image)
    base = np.repeat(base[..., None], 3, axis=2) if base.ndim == 2 else base
    base = base / 255 if base.dtype == np.uint8 else base
    share = np.where((labels != IGNORE).numpy()[..., None], alpha, 0.0)
    figure = canvas(1, 1, width=4.6, height=3.8)
    draw(figure.subplots(), base * (1 - share) + colour * share)
    add_legend(figure, occurring(labels), classes, palette)
    present(figure, alt=alt)


def show_predictions(
    samples: Sequence[Sample],
    predictions: Mapping[str, Tensor],
    classes: Sequence[str],
    palette: Sequence[Color],
    *,
    alt: str,
) -> None:
    """One row per sample: picture, every prediction (N, H, W) under its name, truth; one legend.

    Void pixels of the truth are black in the predictions too: nobody counts them.
    """
    columns = len(predictions) + 2
    figure = canvas(len(samples), columns, width=2.1, height=1.75)
    grid = figure.subplots(len(samples), columns, squeeze=False)
    for row, sample in enumerate(samples):
        draw(grid[row, 0], sample.image, "picture" if row == 0 else "")
        for column, (name, predicted) in enumerate(predictions.items(), start=1):
            shown = torch.where(sample.semantic.cpu() == IGNORE, IGNORE, predicted[row].cpu())
            draw(grid[row, column], colorize(shown, palette), name if row == 0 else "")
        draw(grid[row, -1], colorize(sample.semantic, palette), "truth" if row == 0 else "")
    maps = [sample.semantic for sample in samples] + list(predictions.values())
    add_legend(figure, occurring(*maps), classes, palette)
    present(figure, alt=alt)


def show_confusion(matrix: Tensor, classes: Sequence[str], *, alt: str) -> None:
    """The confusion matrix (K, K) with rows divided by their sums: the diagonal is the recall."""
    counts = matrix.cpu().double()
    share = (counts / counts.sum(dim=1, keepdim=True)).numpy()
    side = 1.6 + 0.5 * len(classes)
    figure = canvas(1, 1, width=side + 0.6, height=side)
    axes = figure.subplots()
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(classes)), classes, rotation=45, ha="right", fontsize=9)
    axes.set_yticks(range(len(classes)), classes, fontsize=9)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    for row, values in enumerate(share):
        for column, value in enumerate(values):
            if np.isfinite(value):
                colour = "white" if value > 0.5 else INK
                axes.text(
                    column, row, f"{value:.2f}", ha="center", va="center", color=colour, fontsize=8
                )
    present(figure, alt=alt)


def show_curves(
    curves: Mapping[str, Any], *, xlabel: str, ylabel: str, alt: str, smooth: int = 1
) -> None:
    """Lines under their names: each is y, or (x, y); ``smooth`` averages that many points."""
    figure = canvas(1, 1, width=5.2, height=3.0)
    axes = figure.subplots()
    styles = ("-", "--", "-.", ":")
    for number, (name, curve) in enumerate(curves.items()):
        x, y = curve if isinstance(curve, tuple) else (range(len(curve)), curve)
        x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
        if smooth > 1:
            window = np.ones(smooth) / smooth
            x, y = np.convolve(x, window, "valid"), np.convolve(y, window, "valid")
        colour = OKABE_ITO[number % len(OKABE_ITO)]
        axes.plot(x, y, styles[number // len(OKABE_ITO) % 4], color=colour, label=name)
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.spines[["top", "right"]].set_visible(False)
    if len(curves) > 1:
        axes.legend(frameon=False, fontsize=9)
    present(figure, alt=alt)


def show_bars(groups: Mapping[str, Mapping[str, Any]], *, ylabel: str, alt: str) -> None:
    """Bars side by side: ``groups[group][series]`` is a value, or (value, spread)."""
    series = list(dict.fromkeys(name for values in groups.values() for name in values))
    figure = canvas(1, 1, width=max(5.2, 0.5 * len(groups) * len(series) + 1.5), height=3.0)
    axes = figure.subplots()
    width = 0.8 / len(series)
    for number, name in enumerate(series):
        pairs = [(*np.atleast_1d(values.get(name, np.nan)), 0)[:2] for values in groups.values()]
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


def show_feature_maps(features: Tensor, *, alt: str, most: int = 16) -> None:
    """The channels of (C, H, W) features that vary most, each scaled to its own range."""
    if features.ndim != 3:
        raise ValueError(
            f"feature maps have shape (C, H, W), but these have {tuple(features.shape)}: pass the "
            "features of one image, features[0]."
        )
    features = features.detach().float()
    chosen = features.flatten(1).std(dim=1).argsort(descending=True)[:most].sort().values
    columns = min(8, len(chosen))
    rows = math.ceil(len(chosen) / columns)
    figure = canvas(rows, columns, width=1.3, height=1.2)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels:
        axes.axis("off")
    for axes, channel in zip(panels, chosen.tolist(), strict=False):
        draw(axes, features[channel], str(channel))
        axes.title.set_fontsize(7)
    present(figure, alt=alt)


def show_architecture(
    stages: Sequence[Mapping[str, Any]],
    *,
    alt: str,
    links: Sequence[tuple[int, int, str]] = (),
) -> None:
    """A network as boxes: as tall as their resolution, as wide as their channels.

    Args:
        stages: in the order of computation, each with ``name``, ``stride`` (1, 2, 4, ...) and
            ``channels``; optionally ``colour`` (an index into the palette).
        links: skip connections (from stage, to stage, label), drawn as arcs above.
        alt: what there is to see.
    """
    tallest, gap, bend = 3.0, 0.55, 0.22
    top, left, boxes = tallest / 2, 0.0, []
    for stage in stages:
        height = max(tallest / (1 + math.log2(stage["stride"])), 0.35)
        width = 0.16 + 0.075 * math.log2(max(stage["channels"], 1))
        boxes.append((left, left + width, height / 2))
        left += width + gap
    for start, end, _ in links:
        reach = max(boxes[start][2], boxes[end][2]) + bend / 2 * abs(
            boxes[end][0] - boxes[start][0]
        )
        top = max(top, reach + 0.3)
    width = max(5.0, 0.8 * left)
    figure = canvas(1, 1, width=width, height=width * (top + tallest / 2 + 0.9) / (left + 0.2))
    axes = figure.subplots()
    axes.set_aspect("equal")
    for stage, (start, end, half) in zip(stages, boxes, strict=True):
        colour = OKABE_ITO[stage.get("colour", 0) % len(OKABE_ITO)]
        axes.add_patch(
            Rectangle((start, -half), end - start, 2 * half, facecolor=colour, alpha=0.85)
        )
        note = f"{stage['channels']}\n1/{stage['stride']}"
        middle, below = (start + end) / 2, -tallest / 2
        axes.text(middle, below - 0.1, stage["name"], ha="center", va="top", fontsize=8)
        axes.text(middle, below - 0.36, note, ha="center", va="top", fontsize=7, color=GREY)
    arrow = {"arrowstyle": "->", "mutation_scale": 9, "lw": 0.9, "shrinkA": 1, "shrinkB": 1}
    for (_, end, _), (start, _, _) in pairwise(boxes):
        axes.add_patch(FancyArrowPatch((end, 0), (start, 0), color=INK, **arrow))
    for start, end, label in links:
        (a0, a1, a_half), (b0, b1, b_half) = boxes[start], boxes[end]
        here, there = ((a0 + a1) / 2, a_half), ((b0 + b1) / 2, b_half)
        bow = f"arc3,rad={-bend if there[0] > here[0] else bend}"
        axes.add_patch(FancyArrowPatch(here, there, connectionstyle=bow, color=GREY, **arrow))
        middle = (here[0] + there[0]) / 2
        apex = (a_half + b_half) / 2 + bend / 2 * abs(there[0] - here[0])
        axes.text(middle, apex + 0.04, label, ha="center", va="bottom", fontsize=7, color=GREY)
    axes.set_xlim(-0.1, left - gap + 0.1)
    axes.set_ylim(-tallest / 2 - 0.8, top)
    axes.axis("off")
    present(figure, alt=alt)


def print_table(rows: Sequence[Mapping[str, Any]], *, digits: int = 3) -> None:
    """Print rows with the same keys as an aligned text table; floats get ``digits`` decimals.

    Raises:
        ValueError: if there are no rows, or their keys differ.
    """
    if not rows or any(list(row) != list(rows[0]) for row in rows):
        found = [list(row) for row in rows[:3]]
        raise ValueError(
            f"a table needs rows with the same keys in the same order, but these have {found}: "
            "give every row every column."
        )

    def text(value: Any) -> str:
        value = value.item() if isinstance(value, (Tensor, np.generic)) else value
        return f"{value:.{digits}f}" if isinstance(value, float) else str(value)

    cells = [list(rows[0])] + [[text(value) for value in row.values()] for row in rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    numeric = [not isinstance(value, str) for value in rows[0].values()]
    for number, row in enumerate(cells):
        parts = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        ]
        print("  ".join(parts).rstrip())
        if number == 0:
            print("  ".join("─" * width for width in widths))
