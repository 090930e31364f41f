"""Exercises of the PSPNet chapter."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from segcourse.exercises.core import Exercise, Mistake, counted, list_in_question, right_but
from segcourse.ops.labels import IGNORE

# ── 10.1 ─────────────────────────────────────────────────────────────────────────────────────────


def cells_of(position: int, side: int, cells: int) -> list[int]:
    """Find the cells that contain a position, along one axis.

    Average pooling divides a side of ``side`` positions into ``cells`` cells, by the rule of the
    chapter: cell j begins at position floor(j * side / cells) and ends before position
    ceil((j + 1) * side / cells). Positions and cells are counted from 0. Neighbouring cells may
    share a position, and there may be more cells than positions. Return the list of the numbers of
    all cells that contain ``position``, in ascending order.
    """
    return [j for j in range(cells) if j * side // cells <= position < -(-(j + 1) * side // cells)]


def cells_without_overlap(position: int, side: int, cells: int) -> list[int]:
    return [j for j in range(cells) if j * side // cells <= position < (j + 1) * side // cells]


def cells_of_fixed_size(position: int, side: int, cells: int) -> list[int]:
    return [position // (side // cells)]


def cells_of_rounded_up_size(position: int, side: int, cells: int) -> list[int]:
    return [position // -(-side // cells)]


def cells_with_unrounded_bounds(position: int, side: int, cells: int) -> list[int]:
    return [j for j in range(cells) if j * side / cells <= position < (j + 1) * side / cells]


def cells_with_the_end(position: int, side: int, cells: int) -> list[int]:
    return [j for j in range(cells) if j * side // cells <= position <= -(-(j + 1) * side // cells)]


def cells_from_one(position: int, side: int, cells: int) -> list[int]:
    return [j + 1 for j in cells_of(position, side, cells)]


def number_of_cells(position: int, side: int, cells: int) -> int:
    return len(cells_of(position, side, cells))


def cells_and_side_exchanged(position: int, side: int, cells: int) -> list[int]:
    return cells_of(position, cells, side)


def cells_with_rounded_bounds(position: int, side: int, cells: int) -> list[int]:
    return [
        j
        for j in range(cells)
        if round(j * side / cells) <= position < round((j + 1) * side / cells)
    ]


def cells_no_more_than_positions(position: int, side: int, cells: int) -> list[int]:
    return [j for j in cells_of(position, side, cells) if j < side]


def bounds_of_the_cells(position: int, side: int, cells: int) -> list[tuple[int, int]]:
    return [
        (j * side // cells, -(-(j + 1) * side // cells)) for j in cells_of(position, side, cells)
    ]


overlap = Exercise(
    "10.1 Cells that overlap",
    solution=cells_of,
    cases=[
        (5, 16, 3),
        (0, 16, 3),
        (10, 16, 3),
        (15, 16, 3),
        (2, 16, 6),
        (7, 16, 6),
        (8, 16, 6),
        (13, 16, 6),
        (7, 12, 6),
        (4, 12, 2),
        (6, 7, 1),
        (2, 4, 3),
        (1, 3, 6),
        (2, 3, 5),
        (0, 1, 3),
        (10, 65, 6),
    ],
    mistakes=(
        Mistake(
            cells_without_overlap,
            "Both bounds are rounded down here, so that no two cells overlap. The end of a cell is "
            "rounded up.",
        ),
        Mistake(
            cells_with_unrounded_bounds,
            "Only one cell is returned for each position. A cell begins at its bound rounded down "
            "and ends before its bound rounded up, so that a position may lie in several.",
        ),
        Mistake(
            cells_with_rounded_bounds,
            "Both bounds are rounded to the nearest integer. The begin of a cell is rounded down "
            "and its end is rounded up, so that cells overlap.",
        ),
        Mistake(
            cells_of_fixed_size,
            "All cells have side // cells positions here. If the side is not a multiple of the "
            "number of cells, some neighbouring cells overlap.",
        ),
        Mistake(
            cells_of_rounded_up_size,
            "Here all cells have the same size, rounded up, and lie one after another. By the rule "
            "of the chapter, a cell may begin before the one before has ended.",
        ),
        Mistake(
            cells_with_the_end,
            "The position ceil((j + 1) * side / cells) lies behind the end of cell j, so it does "
            "not belong to the cell: compare with <.",
        ),
        Mistake(cells_from_one, "The cells are counted from 1 here. Count from 0."),
        Mistake(
            number_of_cells,
            "This is how many cells contain the position. Return the list of their numbers.",
        ),
        Mistake(
            cells_and_side_exchanged,
            "The number of positions and the number of cells are exchanged.",
        ),
        Mistake(
            cells_no_more_than_positions,
            "There may be more cells than positions: the number of a cell is below `cells`, and "
            "may exceed the side.",
        ),
        Mistake(
            bounds_of_the_cells,
            "These are the bounds of the right cells. Return the numbers j of the cells.",
        ),
    ),
    hints=(
        "Go through all cells, and compute where each of them begins and ends.",
        "j * side // cells rounds down. -(-a // b) rounds a / b up; math.ceil(a / b) does too.",
        "Keep j if j * side // cells <= position < -(-(j + 1) * side // cells).",
    ),
    describe=lambda position, side, cells: (
        f"position {position}, {counted(side, 'position')} and {counted(cells, 'cell')}"
    ),
)


# ── 10.2 ─────────────────────────────────────────────────────────────────────────────────────────


def change_of_means(height: int, width: int, cells: int, box: tuple[int, int, int, int]) -> Tensor:
    """Predict how much the means of a grid change if a small object appears.

    A feature map has ``height`` x ``width`` positions, and is averaged over a grid of ``cells`` x
    ``cells`` cells by the rule of the chapter: along a side, cell j begins at position floor(j *
    side / cells) and ends before position ceil((j + 1) * side / cells). All values inside of a box
    rise by 1. ``box`` is (top, left, bottom, right): its rows are top to bottom - 1, its columns
    left to right - 1. Return the change of each mean, of shape (cells, cells): cell rows first.
    """

    def shares(side, start, stop):
        parts = []
        for j in range(cells):
            begin, end = j * side // cells, -(-(j + 1) * side // cells)
            common = max(min(end, stop) - max(begin, start), 0)
            parts.append(common / (end - begin))
        return torch.tensor(parts)

    top, left, bottom, right = box
    return torch.outer(shares(height, top, bottom), shares(width, left, right))


def _changes(
    height: int,
    width: int,
    cells: int,
    box: tuple[int, int, int, int],
    part: Callable[[int, int, int, int], float],
    bounds: Callable[[int, int, int], tuple[int, int]] = lambda j, side, cells: (
        j * side // cells,
        -(-(j + 1) * side // cells),
    ),
) -> Tensor:
    """The change where ``part(common, begin, end, length)`` is the share along one axis."""

    def shares(side: int, start: int, stop: int) -> Tensor:
        pairs = [bounds(j, side, cells) for j in range(cells)]
        common = [min(end, stop) - max(begin, start) for begin, end in pairs]
        return torch.tensor(
            [part(c, *pair, stop - start) for c, pair in zip(common, pairs, strict=True)]
        )

    top, left, bottom, right = box
    return torch.outer(shares(height, top, bottom), shares(width, left, right))


def change_with_negative_parts(height, width, cells, box):
    return _changes(height, width, cells, box, lambda c, begin, end, length: c / (end - begin))


def change_of_sums(height, width, cells, box):
    return _changes(height, width, cells, box, lambda c, begin, end, length: max(c, 0))


def change_per_box(height, width, cells, box):
    return _changes(height, width, cells, box, lambda c, begin, end, length: max(c, 0) / length)


def change_of_touched_cells(height, width, cells, box):
    return _changes(height, width, cells, box, lambda c, begin, end, length: float(c > 0))


def change_without_overlap(height, width, cells, box):
    return _changes(
        height, width, cells, box,
        lambda c, begin, end, length: max(c, 0) / max(end - begin, 1),
        lambda j, side, cells: (j * side // cells, (j + 1) * side // cells),
    )  # fmt: skip


def change_of_fixed_cells(height, width, cells, box):
    def bounds(j: int, side: int, cells: int) -> tuple[int, int]:
        size = max(side // cells, 1)
        return j * size, (j + 1) * size

    return _changes(
        height, width, cells, box,
        lambda c, begin, end, length: max(c, 0) / (end - begin), bounds,
    )  # fmt: skip


def change_divided_by_the_map(height, width, cells, box):
    return change_of_sums(height, width, cells, box) / (height * width)


def change_divided_by_equal_cells(height, width, cells, box):
    return change_of_sums(height, width, cells, box) * cells**2 / (height * width)


def change_with_the_last_row(height, width, cells, box):
    top, left, bottom, right = box
    return change_of_means(height, width, cells, (top, left, bottom + 1, right + 1))


def change_with_x_first(height, width, cells, box):
    top, left, bottom, right = box
    return change_of_means(height, width, cells, (left, top, right, bottom))


def change_transposed(height, width, cells, box):
    return change_of_means(height, width, cells, box).T


def change_of_the_whole(height, width, cells, box):
    top, left, bottom, right = box
    return torch.full((cells, cells), (bottom - top) * (right - left) / (height * width))


def change_of_added_shares(height, width, cells, box):
    top, left, bottom, right = box
    rows = change_of_means(height, 1, cells, (top, 0, bottom, 1))[:, :1]
    columns = change_of_means(1, width, cells, (0, left, 1, right))[:1]
    return rows + columns


def change_with_sizes(height, width, cells, box):
    top, left, rows, columns = box
    return change_of_means(height, width, cells, (top, left, top + rows, left + columns))


dilution = Exercise(
    "10.2 Predict the change of a mean",
    solution=change_of_means,
    cases=[
        (12, 16, 1, (0, 3, 1, 4)),
        (12, 16, 2, (0, 3, 1, 4)),
        (12, 16, 3, (0, 4, 2, 6)),
        (12, 16, 6, (0, 13, 1, 15)),
        (4, 6, 2, (1, 2, 3, 5)),
        (5, 7, 3, (1, 2, 4, 6)),
        (5, 7, 3, (4, 0, 5, 7)),
        (7, 4, 6, (2, 1, 4, 3)),
        (3, 9, 2, (0, 0, 3, 9)),
        (2, 5, 3, (1, 4, 2, 5)),
    ],
    mistakes=(
        Mistake(
            change_with_negative_parts,
            "If the box lies outside of a cell, the end of their common part minus its begin is "
            "negative, and two negative numbers have a positive product. Use 0 instead.",
        ),
        Mistake(
            change_of_sums,
            "These are the changes of the sums. A mean is the sum divided by the number of "
            "positions in the cell.",
        ),
        Mistake(
            change_per_box,
            "This is the share of the box that lies in each cell. Divide by the size of the cell, "
            "and not by the size of the box.",
        ),
        Mistake(
            change_of_touched_cells,
            "The change is 1 only if the box covers the whole cell. It is the share of the "
            "cell's positions that lie in the box.",
        ),
        Mistake(
            change_without_overlap,
            "Both bounds of a cell are rounded down here. The end of a cell is rounded up.",
        ),
        Mistake(
            change_of_fixed_cells,
            "All cells have the same size, side // cells, here. If the side is not a multiple of "
            "the number of cells, use the rule with floor and ceil.",
        ),
        Mistake(
            change_divided_by_the_map,
            "The sums are divided by the number of positions of the whole map. Each mean is taken "
            "over the positions of its own cell.",
        ),
        Mistake(
            change_divided_by_equal_cells,
            "All cells are taken to have height * width / cells² positions here. Overlapping "
            "cells are larger: use the size of each cell.",
        ),
        Mistake(
            change_with_the_last_row,
            "Row `bottom` and column `right` do not belong to the box. Its last row is bottom - 1.",
        ),
        Mistake(
            change_with_x_first,
            "Rows and columns of the box are exchanged: the box is (top, left, bottom, right).",
        ),
        Mistake(
            change_transposed,
            "The result is transposed. Its first axis runs over the rows of cells.",
        ),
        Mistake(
            change_of_the_whole,
            "This is the change of the mean over the whole map. Only the cells that share "
            "positions with the box change.",
        ),
        Mistake(
            change_of_added_shares,
            "The shares of the rows and of the columns are added. Multiply them: the box covers "
            "half of the rows of half of the columns, for example.",
        ),
        Mistake(
            change_with_sizes,
            "The last two numbers of the box are taken as its size here. They are the row and the "
            "column behind its end.",
        ),
    ),
    hints=(
        "Begin with one axis: which share of the positions of cell j lies in the box?",
        "The common part of begin ... end and start ... stop has min(end, stop) - max(begin, "
        "start) positions, or none if this is negative.",
        "The share of a cell is the share of its rows times the share of its columns: "
        "torch.outer(shares of the rows, shares of the columns).",
    ),
    describe=lambda height, width, cells, box: (
        f"a map of {height} x {width}, a grid of {cells} x {cells} cells and the box {box}"
    ),
)


# ── 10.3 ─────────────────────────────────────────────────────────────────────────────────────────


def head_parameters(
    channels: int, num_classes: int, inter_channels: int, grids: Sequence[int]
) -> int:
    """Count the learnable parameters of PSPNet's head.

    The encoder has ``channels`` output channels, and ``grids`` lists the cells per side of each
    grid, for example [1, 2, 3, 6]. Every grid has a branch of its own: a 1 x 1 convolution from all
    channels to channels / number of grids (a whole number). The encoder's features and the outputs
    of all branches are concatenated. A 3 x 3 convolution leads to ``inter_channels`` channels, and
    a 1 x 1 convolution to ``num_classes``. Only the last convolution has a bias. Each of the others
    has a batch normalisation behind it, which learns two numbers per output channel. Return an
    integer. The head of the released network for Pascal VOC, 2048, 21, 512, [1, 2, 3, 6], has
    23,084,565 parameters.
    """
    reduced = channels // len(grids)
    branch = (channels + 2) * reduced
    merge = (9 * (channels + len(grids) * reduced) + 2) * inter_channels
    return len(grids) * branch + merge + (inter_channels + 1) * num_classes


def _head(channels, num_classes, inter_channels, grids, **changes) -> int:
    """A count with some of its parts changed."""
    count = len(grids)
    part = {
        "reduced": channels // count,
        "norm": 2,
        "bias": 0,
        "kernel": 9,
        "cells": [1] * count,
        "last_bias": 1,
        "joined": None,
        **changes,
    }
    reduced, norm = part["reduced"], part["norm"] + part["bias"]
    joined = channels + count * reduced if part["joined"] is None else part["joined"]
    branches = sum((cells * channels + norm) * reduced for cells in part["cells"])
    merge = (part["kernel"] * joined + norm) * inter_channels
    return branches + merge + (inter_channels + part["last_bias"]) * num_classes


def head_with_biases(channels, num_classes, inter_channels, grids):
    return _head(channels, num_classes, inter_channels, grids, bias=1)


def head_without_normalisation(channels, num_classes, inter_channels, grids):
    return _head(channels, num_classes, inter_channels, grids, norm=0)


def head_with_biases_alone(channels, num_classes, inter_channels, grids):
    return _head(channels, num_classes, inter_channels, grids, norm=1)


def head_with_running_statistics(channels, num_classes, inter_channels, grids):
    return _head(channels, num_classes, inter_channels, grids, norm=4)


def head_without_last_bias(channels, num_classes, inter_channels, grids):
    return _head(channels, num_classes, inter_channels, grids, last_bias=0)


def head_of_one_by_one(channels, num_classes, inter_channels, grids):
    return _head(channels, num_classes, inter_channels, grids, kernel=1)


def head_of_three_weights(channels, num_classes, inter_channels, grids):
    return _head(channels, num_classes, inter_channels, grids, kernel=3)


def head_without_concatenation(channels, num_classes, inter_channels, grids):
    return _head(channels, num_classes, inter_channels, grids, joined=channels)


def head_with_weights_per_cell(channels, num_classes, inter_channels, grids):
    return _head(channels, num_classes, inter_channels, grids, cells=[n * n for n in grids])


def head_with_wide_branches(channels, num_classes, inter_channels, grids):
    return _head(channels, num_classes, inter_channels, grids, reduced=channels)


def head_with_branches_of_inter_channels(channels, num_classes, inter_channels, grids):
    return _head(channels, num_classes, inter_channels, grids, reduced=inter_channels)


def head_with_quarters(channels, num_classes, inter_channels, grids):
    return _head(channels, num_classes, inter_channels, grids, reduced=channels // 4)


def head_of_one_branch(channels, num_classes, inter_channels, grids):
    return _head(channels, num_classes, inter_channels, grids, cells=[1] + [0] * (len(grids) - 1))


def head_with_one_branch_counted(channels, num_classes, inter_channels, grids):
    reduced = channels // len(grids)
    return (
        head_parameters(channels, num_classes, inter_channels, grids)
        - (len(grids) - 1) * (channels + 2) * reduced
    )


count = Exercise(
    "10.3 Count the head",
    solution=head_parameters,
    cases=[
        (2048, 21, 512, [1, 2, 3, 6]),
        (64, 9, 128, [6, 3, 2, 1]),
        (12, 3, 5, [1, 2, 4]),
        (10, 2, 7, [1, 5]),
        (6, 4, 3, [1]),
        (15, 1, 4, [1, 2, 3, 6, 8]),
    ],
    mistakes=(
        Mistake(
            head_with_biases,
            "The convolutions in front of a batch normalisation have no bias here; only the last "
            "convolution has one.",
        ),
        Mistake(
            head_without_normalisation,
            "The batch normalisations are missing: each learns two numbers per output channel.",
        ),
        Mistake(
            head_with_biases_alone,
            "One number per channel is counted where batch normalisation learns two: a factor and "
            "a shift.",
        ),
        Mistake(
            head_with_running_statistics,
            "Four numbers per channel are counted for batch normalisation. Its running mean and "
            "variance are not learned: it learns two.",
        ),
        Mistake(head_without_last_bias, "The bias of the last convolution is missing."),
        Mistake(
            head_of_one_by_one,
            "The convolution behind the concatenation is counted as 1 x 1. It has 3 x 3 weights "
            "for each pair of channels.",
        ),
        Mistake(
            head_of_three_weights,
            "A 3 x 3 kernel has nine weights for each pair of channels, and not three.",
        ),
        Mistake(
            head_without_concatenation,
            "The 3 x 3 convolution reads only half of its channels here. It reads the encoder's "
            "features and the outputs of all branches, concatenated.",
        ),
        Mistake(
            head_with_weights_per_cell,
            "Each branch is counted once per cell. All cells of a grid share the weights of one 1 "
            "x 1 convolution.",
        ),
        Mistake(
            head_with_wide_branches,
            "Every branch keeps all channels here. A branch reduces them to channels / number of "
            "grids.",
        ),
        Mistake(
            head_with_branches_of_inter_channels,
            "A branch has channels / number of grids outputs, which equals inter_channels only in "
            "the released network.",
        ),
        Mistake(
            head_with_quarters,
            "The channels are divided by 4 here. Divide them by the number of grids.",
        ),
        Mistake(
            head_with_one_branch_counted,
            "Only the weights of one branch are counted. Every grid has a branch with weights of "
            "its own.",
        ),
    ),
    hints=(
        "Count one branch, then the 3 x 3 convolution, then the last one.",
        "A branch has channels * reduced weights and 2 * reduced numbers of its normalisation, "
        "with reduced = channels // len(grids).",
        "The concatenation has channels + len(grids) * reduced channels, and the 3 x 3 convolution "
        "has 9 weights for each pair of an input and an output channel.",
    ),
    describe=lambda channels, num_classes, inter_channels, grids: (
        f"{channels} channels, {counted(num_classes, 'class').replace('classs', 'classes')}, "
        f"inter_channels={inter_channels} and the grids {list(grids)}"
    ),
)


# ── 10.4 ─────────────────────────────────────────────────────────────────────────────────────────


def total_loss(main: Tensor, aux: Tensor, target: Tensor, weight: float) -> Tensor:
    """Repair the loss of a network with an auxiliary head.

    ``main`` holds logits (N, K, H, W), ``aux`` holds the auxiliary head's logits (N, K, h, w) at a
    lower resolution, and ``target`` holds the labels (N, H, W): classes 0 to K - 1, or 255 for
    void. At least one pixel is not void. ``weight`` is the weight of the auxiliary loss. Find the
    faults of the chapter's code, and write the function correctly. The logits of the auxiliary head
    are to be upsampled bilinearly (with PyTorch's default, ``align_corners=False``) to the size of
    the target. Both losses are means over the pixels that are not void. Return their weighted sum,
    a scalar.
    """
    aux = F.interpolate(aux, target.shape[-2:], mode="bilinear")
    loss = F.cross_entropy(main, target, ignore_index=255)
    return loss + weight * F.cross_entropy(aux, target, ignore_index=255)


def _upsampled(aux: Tensor, target: Tensor) -> Tensor:
    return F.interpolate(aux, target.shape[-2:], mode="bilinear")


def _entropy(logits: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(logits, target, ignore_index=IGNORE)


def loss_as_given(main, aux, target, weight):
    return weight * F.cross_entropy(main, target) + F.cross_entropy(aux, _blended(aux, target))


def _blended(aux: Tensor, target: Tensor) -> Tensor:
    small = F.interpolate(target[:, None].float(), aux.shape[-2:], mode="bilinear")
    return small[:, 0].long()


def loss_of_blended_labels(main, aux, target, weight):
    return _entropy(main, target) + weight * _entropy(aux, _blended(aux, target))


def loss_of_blended_labels_with_void(main, aux, target, weight):
    return F.cross_entropy(main, target) + weight * F.cross_entropy(aux, _blended(aux, target))


def loss_of_blended_labels_weighted_wrongly(main, aux, target, weight):
    return weight * _entropy(main, target) + _entropy(aux, _blended(aux, target))


def loss_of_blended_labels_without_invented_classes(main, aux, target, weight):
    small = _blended(aux, target)
    small = torch.where(small < aux.shape[1], small, IGNORE)
    return _entropy(main, target) + weight * _entropy(aux, small)


def loss_as_mean_of_images(main, aux, target, weight):
    parts = zip(main.split(1), aux.split(1), target.split(1), strict=True)
    return torch.stack([total_loss(*part, weight) for part in parts]).mean()


def loss_of_two_probabilities(main, aux, target, weight):
    large = _upsampled(aux, target).softmax(dim=1)
    return _entropy(main.softmax(dim=1), target) + weight * _entropy(large, target)


def loss_with_void_as_class_0(main, aux, target, weight):
    return total_loss(main, aux, torch.where(target == IGNORE, 0, target), weight)


def loss_of_small_labels(main, aux, target, weight):
    small = F.interpolate(target[:, None].float(), aux.shape[-2:], mode="nearest")
    return _entropy(main, target) + weight * _entropy(aux, small[:, 0].long())


def loss_of_exact_small_labels(main, aux, target, weight):
    small = F.interpolate(target[:, None].float(), aux.shape[-2:], mode="nearest-exact")
    return _entropy(main, target) + weight * _entropy(aux, small[:, 0].long())


def loss_with_void(main, aux, target, weight):
    return F.cross_entropy(main, target) + weight * F.cross_entropy(_upsampled(aux, target), target)


def loss_weights_the_wrong_one(main, aux, target, weight):
    return weight * _entropy(main, target) + _entropy(_upsampled(aux, target), target)


def loss_without_weight(main, aux, target, weight):
    return _entropy(main, target) + _entropy(_upsampled(aux, target), target)


def loss_of_weighted_mean(main, aux, target, weight):
    large = _upsampled(aux, target)
    return (1 - weight) * _entropy(main, target) + weight * _entropy(large, target)


def loss_with_the_papers_weight(main, aux, target, weight):
    return _entropy(main, target) + 0.4 * _entropy(_upsampled(aux, target), target)


def loss_of_the_main_head(main, aux, target, weight):
    return _entropy(main, target)


def loss_of_the_auxiliary_head(main, aux, target, weight):
    return weight * _entropy(_upsampled(aux, target), target)


def loss_of_nearest_logits(main, aux, target, weight):
    large = F.interpolate(aux, target.shape[-2:])
    return _entropy(main, target) + weight * _entropy(large, target)


def loss_of_aligned_corners(main, aux, target, weight):
    large = F.interpolate(aux, target.shape[-2:], mode="bilinear", align_corners=True)
    return _entropy(main, target) + weight * _entropy(large, target)


def loss_of_probabilities(main, aux, target, weight):
    large = _upsampled(aux.softmax(dim=1), target)
    return _entropy(main, target) + weight * _entropy(large, target)


def loss_of_summed_logits(main, aux, target, weight):
    return _entropy(main + weight * _upsampled(aux, target), target)


def loss_of_sums(main, aux, target, weight):
    large = _upsampled(aux, target)
    first, second = (
        F.cross_entropy(logits, target, ignore_index=IGNORE, reduction="sum")
        for logits in (main, large)
    )
    return first + weight * second


def loss_with_void_in_the_mean(main, aux, target, weight):
    return loss_of_sums(main, aux, target, weight) / target.numel()


def loss_of_halves(main, aux, target, weight):
    return total_loss(main, aux, target, weight) / (1 + weight)


def _logits_and_labels() -> list[tuple[Tensor, Tensor, Tensor, float]]:
    """Logits of both heads, labels with and without void, and weights."""
    cases = []
    for number, (shape, classes, small, void, weight) in enumerate(
        [
            ((1, 8, 8), 3, (4, 4), False, 0.4),
            ((2, 8, 12), 4, (2, 3), True, 0.4),
            ((2, 9, 7), 5, (3, 4), True, 1.0),
            ((1, 6, 6), 2, (6, 6), True, 0.3),
            ((3, 4, 8), 3, (1, 2), False, 0.0),
        ]
    ):
        draw = torch.Generator().manual_seed(number)
        main = 2 * torch.randn(shape[0], classes, *shape[1:], generator=draw)
        aux = 2 * torch.randn(shape[0], classes, *small, generator=draw)
        target = torch.randint(classes, shape, generator=draw)
        if void:
            target[:, :2, :3] = IGNORE
            target[0, 1] = IGNORE  # not as many in each image
        cases.append((main, aux, target, weight))
    return cases


fix_loss = Exercise(
    "10.4 Find the faults",
    solution=total_loss,
    cases=_logits_and_labels,
    mistakes=(
        Mistake(
            loss_as_given,
            "This is the code as it was given. What does bilinear interpolation make of labels, "
            "which loss gets the weight, and what happens at void pixels?",
        ),
        Mistake(
            loss_of_blended_labels,
            "The labels are still resized bilinearly: between class 0 and class 2, this invents "
            "class 1. Resize the logits instead.",
        ),
        Mistake(
            loss_of_blended_labels_without_invented_classes,
            "The labels are still resized bilinearly. Ignoring classes that do not exist is not "
            "enough: class 1 is invented between class 0 and class 2. Resize the logits.",
        ),
        Mistake(
            loss_of_blended_labels_with_void,
            "Two faults are left: bilinear interpolation of labels invents classes, and void "
            "pixels are not left out.",
        ),
        Mistake(
            loss_of_blended_labels_weighted_wrongly,
            "Two faults are left: bilinear interpolation of labels invents classes, and the main "
            "loss gets the weight.",
        ),
        Mistake(
            loss_as_mean_of_images,
            "This is the mean of one loss for each image. Each loss is a mean over all pixels of "
            "the batch that are not void, and images may have different numbers of them.",
        ),
        Mistake(
            loss_of_two_probabilities,
            "F.cross_entropy applies softmax itself. Give it the logits of both heads.",
        ),
        Mistake(
            loss_with_void_as_class_0,
            "Void pixels count as class 0 here. Leave them out of both means.",
        ),
        Mistake(
            loss_of_small_labels,
            "The labels are reduced to the nearest pixel. This invents no class, but it leaves out "
            "most of the pixels: the question asks you to upsample the logits.",
        ),
        Mistake(
            loss_of_exact_small_labels,
            "Each block of labels is reduced to the pixel in its middle. This invents no class, "
            "but most of the pixels are left out: the question asks you to upsample the logits.",
        ),
        Mistake(
            loss_with_void,
            "Void pixels have the label 255, which is no class. Pass ignore_index=255 to both "
            "losses.",
        ),
        Mistake(
            loss_weights_the_wrong_one,
            "The main loss gets the weight here. The weight belongs to the auxiliary loss.",
        ),
        Mistake(
            loss_without_weight,
            "Both losses count equally here. Multiply the auxiliary loss by `weight`.",
        ),
        Mistake(
            loss_of_weighted_mean,
            "This is a weighted mean of both losses. The main loss counts in full, and the "
            "auxiliary loss is added with its weight.",
        ),
        Mistake(
            loss_with_the_papers_weight,
            "The weight 0.4 is the paper's. Use the argument `weight`.",
        ),
        Mistake(
            loss_of_the_main_head,
            "The auxiliary loss is missing: add `weight` times the cross-entropy of `aux`.",
        ),
        Mistake(loss_of_the_auxiliary_head, "The loss of the main head is missing."),
        Mistake(
            loss_of_nearest_logits,
            'Without mode="bilinear", F.interpolate copies the nearest position. Interpolate '
            "bilinearly.",
        ),
        Mistake(
            loss_of_aligned_corners,
            "align_corners=True moves the positions of the map. Use PyTorch's default, False.",
        ),
        Mistake(
            loss_of_probabilities,
            "F.cross_entropy applies softmax itself. Give it logits, and not probabilities.",
        ),
        Mistake(
            loss_of_summed_logits,
            "Here the logits are added, which gives one loss. Compute two losses and add these.",
        ),
        Mistake(
            loss_of_sums,
            "These are sums over the pixels. Each loss is a mean over the pixels that are not "
            "void.",
        ),
        Mistake(
            loss_with_void_in_the_mean,
            "The sums are divided by the number of all pixels. Void pixels must not be counted in "
            "the means.",
        ),
        Mistake(
            loss_of_halves,
            "The sum is divided by the sum of the weights. Return the weighted sum itself.",
        ),
    ),
    hints=(
        "Which tensors may be interpolated bilinearly: labels, or logits?",
        "Which of the two losses should `weight` multiply? And which argument of F.cross_entropy "
        "leaves out void pixels?",
        'aux = F.interpolate(aux, target.shape[-2:], mode="bilinear"), then the loss of main plus '
        "weight times the loss of aux, both with ignore_index=255.",
    ),
    describe=lambda main, aux, target, weight: (
        f"main {tuple(main.shape)}, aux {tuple(aux.shape)}, labels "
        f"{'with' if (target == IGNORE).any() else 'without'} void and the weight {weight}"
    ),
)


# ── 10.5 ─────────────────────────────────────────────────────────────────────────────────────────


def occlusion(net: Callable[[Tensor], Tensor], image: Tensor, side: int) -> Tensor:
    """Measure which parts of an image the prediction elsewhere depends on.

    ``net`` is a function from images (N, 3, H, W) to logits (N, K, H, W), and ``image`` is (3, H,
    W). H and W are multiples of ``side``, and the image has at least two blocks of ``side`` x
    ``side`` pixels. Cover each block alone, one after the other: give all of its pixels
    the mean colour of the whole uncovered image, one number per channel. Compare the predicted
    classes (the largest logit) with those of the uncovered image. Return (H / side, W / side): for
    each block, the share of the pixels *outside* of the block whose predicted class changes.
    """
    height, width = image.shape[1:]
    before = net(image[None])[0].argmax(dim=0)
    color = image.mean(dim=(1, 2), keepdim=True)
    shares = torch.zeros(height // side, width // side)
    for row in range(height // side):
        for column in range(width // side):
            block = (
                ...,
                slice(row * side, (row + 1) * side),
                slice(column * side, (column + 1) * side),
            )
            covered = image.clone()
            covered[block] = color
            changed = net(covered[None])[0].argmax(dim=0) != before
            changed[block] = False
            shares[row, column] = changed.sum() / (height * width - side**2)
    return shares


def _occluded(
    net: Callable[[Tensor], Tensor],
    image: Tensor,
    side: int,
    *,
    fill: Callable[[Tensor, tuple], Tensor] = lambda image, block: image.mean((1, 2), keepdim=True),
    inside: bool = False,
    compare: Callable[[Tensor, Tensor], Tensor] = lambda a, b: a.argmax(0) != b.argmax(0),
    total: Callable[[int, int], float] = lambda pixels, block: pixels - block,
    keep: bool = False,
    update: bool = False,
) -> Tensor:
    """The solution with some of its parts exchanged."""
    height, width = image.shape[1:]
    before = net(image[None])[0]
    shares = torch.zeros(height // side, width // side)
    covered = image.clone()
    for row in range(height // side):
        for column in range(width // side):
            rows = slice(row * side, (row + 1) * side)
            block = (..., rows, slice(column * side, (column + 1) * side))
            covered = covered if keep else image.clone()
            covered[block] = fill(image, block)
            after = net(covered[None])[0]
            changed = compare(after, before)
            if update:
                before = after
            if not inside:
                changed[block[1:]] = False
            shares[row, column] = changed.sum() / total(height * width, side**2)
    return shares


def occlusion_that_accumulates(net, image, side):
    return _occluded(net, image, side, keep=True)


def occlusion_with_the_block(net, image, side):
    return _occluded(net, image, side, inside=True, total=lambda pixels, block: pixels)


def occlusion_divided_by_all(net, image, side):
    return _occluded(net, image, side, total=lambda pixels, block: pixels)


def occlusion_with_the_block_divided_by_outside(net, image, side):
    return _occluded(net, image, side, inside=True)


def occlusion_counts(net, image, side):
    return _occluded(net, image, side, total=lambda pixels, block: 1)


def occlusion_in_black(net, image, side):
    return _occluded(net, image, side, fill=lambda image, block: torch.zeros(3, 1, 1))


def occlusion_in_grey(net, image, side):
    return _occluded(net, image, side, fill=lambda image, block: image.mean())


def occlusion_in_half(net, image, side):
    return _occluded(net, image, side, fill=lambda image, block: torch.full((3, 1, 1), 0.5))


def occlusion_in_the_blocks_color(net, image, side):
    return _occluded(
        net, image, side, fill=lambda image, block: image[block].mean((1, 2), keepdim=True)
    )


def occlusion_of_logits(net, image, side):
    return _occluded(net, image, side, compare=lambda a, b: (a != b).any(dim=0))


def occlusion_against_the_one_before(net, image, side):
    return _occluded(net, image, side, update=True)


def occlusion_transposed(net, image, side):
    return occlusion(net, image, side).T


def occlusion_of_the_same_pixels(net, image, side):
    return 1 - occlusion(net, image, side)


def occlusion_of_blocks_alone(net, image, side):
    return _occluded(net, image, side, inside=True, total=lambda pixels, block: block) - _occluded(
        net, image, side, total=lambda pixels, block: block
    )


def by_far_red(images: Tensor) -> Tensor:
    """A network whose classes all depend on the largest red value anywhere."""
    red = images[:, 0].amax(dim=(1, 2))[:, None, None].expand_as(images[:, 0])
    return torch.stack([red - 0.8, images[:, 1] - 0.5, 0.2 - images[:, 2]], dim=1)


def by_the_left(images: Tensor) -> Tensor:
    """A network that reads the green value three columns to the left and one row above."""
    green = images[:, 1].roll((1, 3), dims=(1, 2))
    return torch.stack([green, images[:, 2]], dim=1)


def by_the_mean(images: Tensor) -> Tensor:
    """A network that compares every pixel with the mean of the image."""
    mean = images.mean(dim=(1, 2, 3))[:, None, None]
    return torch.stack([images[:, 0], mean.expand_as(images[:, 0]) + 0.05], dim=1)


def by_itself(images: Tensor) -> Tensor:
    """A network without any context: a pixel depends on its own colour alone."""
    return images


def _images() -> list[tuple[Callable, Tensor, int]]:
    """Networks that depend on different parts, images, and sides of the blocks."""
    draw = torch.Generator().manual_seed(3)

    def noise(height: int, width: int) -> Tensor:
        return 0.75 * torch.rand(3, height, width, generator=draw)

    signed = noise(6, 12)
    signed[:, 0:2, 8:10] = torch.tensor([0.95, 0.1, 0.1])[:, None, None]
    return [
        (by_far_red, signed, 2),
        (by_the_left, noise(8, 12), 4),
        (by_the_mean, noise(6, 9), 3),
        (by_itself, noise(4, 6), 2),
        (by_the_left, noise(4, 5), 1),
        (by_the_mean, noise(5, 10), 5),
    ]


cover = Exercise(
    "10.5 What the prediction depends on",
    solution=occlusion,
    cases=_images,
    mistakes=(
        Mistake(
            occlusion_that_accumulates,
            "Blocks that were covered before stay covered. Begin with a fresh copy of the image "
            "for each block.",
        ),
        Mistake(
            occlusion_with_the_block,
            "The covered pixels are counted, too. Only the pixels outside of the block show what "
            "the prediction elsewhere depends on.",
        ),
        Mistake(
            occlusion_with_the_block_divided_by_outside,
            "The covered pixels are counted as changed, too. Leave them out.",
        ),
        Mistake(
            occlusion_divided_by_all,
            "The changed pixels outside of the block are divided by the number of all pixels. "
            "Divide by the number of pixels outside of the block.",
        ),
        Mistake(
            occlusion_counts,
            "These are numbers of pixels. Divide by the number of pixels outside of the block.",
        ),
        Mistake(
            occlusion_in_black,
            "The blocks are covered with black. Use the mean colour of the uncovered image.",
        ),
        Mistake(
            occlusion_in_grey,
            "One mean of all channels is used. Each channel has a mean of its own.",
        ),
        Mistake(
            occlusion_in_half,
            "The blocks are covered with 0.5. Use the mean colour of the uncovered image.",
        ),
        Mistake(
            occlusion_in_the_blocks_color,
            "The block is covered with its own mean colour. Use the mean over the whole image.",
        ),
        Mistake(
            occlusion_of_logits,
            "The logits are compared. A logit may change although the predicted class stays the "
            "same. Compare the predicted classes.",
        ),
        Mistake(
            occlusion_against_the_one_before,
            "Each prediction is compared with the one for the block before. Compare it with the "
            "prediction for the uncovered image.",
        ),
        Mistake(
            occlusion_transposed,
            "The result is transposed: its first axis runs over the rows of blocks.",
        ),
        Mistake(
            occlusion_of_the_same_pixels,
            "This is the share of the pixels that keep their class. Return the share that changes.",
        ),
        Mistake(
            occlusion_of_blocks_alone,
            "This is the share of the covered pixels that change. Look at all other pixels.",
        ),
    ),
    hints=(
        "Predict once for the uncovered image. Then go through the rows and columns of blocks, and "
        "begin with image.clone() each time.",
        "covered[:, top : top + side, left : left + side] = image.mean(dim=(1, 2), keepdim=True) "
        "covers a block.",
        "changed = net(covered[None])[0].argmax(0) != before is a map (H, W). Set the block to "
        "False in it, and divide its sum by height * width - side ** 2.",
    ),
    describe=lambda net, image, side: (
        f"{net.__doc__[0].lower()}{net.__doc__[1:-1]}, an image of {image.shape[1]} x "
        f"{image.shape[2]} and blocks of {side} x {side}"
    ),
)


# ── 10.6 ─────────────────────────────────────────────────────────────────────────────────────────

DESIGNS = {  # what each of them does, and where its limit is
    "no pooling": "Convolutions of stride 8 without pooling compute classes from a neighbourhood.",
    "1 x 1": "Pooling to 1 x 1 gives every pixel the same mean over the whole image. A mean of "
    "colours and textures is the same in whichever part of the image they are.",
    "grid": "A grid gives every pixel a mixture of the means of the cells near it, so that the "
    "pooled means differ between the parts of the image.",
    "larger input": "A larger input shows the network parts of the scene that were cut off.",
    "skip connection": "A skip connection adds features of a finer stride, which are computed from "
    "a smaller neighbourhood.",
}
OPTIONS = tuple(DESIGNS)
TASKS = {
    "night": "Scenes by day and by night. The sky has two classes, and which of them is right "
    "depends on the brightness of the whole image.",
    "halves": "Two rooms are shown side by side in each image, one in the left half and one in the "
    "right. The class of a room's floor depends on a lamp anywhere in the same room, and there may "
    "be a lamp in the other room too.",
    "tiles": "Satellite images are cut into tiles before they are segmented. The class "
    "of a field depends on its farm, which usually lies in another tile.",
    "wires": "Power lines are one pixel wide, and the network, of stride 8, breaks them into "
    "pieces. No other class is confused with them.",
    "texture": "Samples of brick, gravel and fabric fill large areas. A window of 20 x 20 pixels "
    "shows which of them it is, and what lies outside says nothing.",
}
WANTED = {
    "night": "Here a single property of the whole image decides, and no position matters.",
    "halves": "Here the half of the image in which the lamp stands decides.",
    "tiles": "Here the decisive part of the scene is not in the network's input.",
    "wires": "Here no context is missing: details are lost at stride 8.",
    "texture": "Here a window that features of stride 8 contain decides. Neither detail nor the "
    "rest of the image is missing.",
}


def choose_design(task: str) -> str:
    """Decide which design a task needs: a key of ``ex.TASKS`` -> one of ``ex.OPTIONS``.

    "no pooling": a network of stride 8 as it is. "1 x 1": the same with the mean over the whole
    image as context. "grid": with means over the cells of a grid. "larger input": the network gets
    more of the scene. "skip connection": features of a finer stride are added. Assume that the
    features contain colours and textures, but not where in the image something is. Choose the
    simplest design that brings the missing information. Each is the answer exactly once.
    """
    answers = {
        "night": "1 x 1",
        "halves": "grid",
        "tiles": "larger input",
        "wires": "skip connection",
        "texture": "no pooling",
    }
    return answers[task]


list_in_question(choose_design, TASKS, {"Designs": ", ".join(OPTIONS)})


decide = Exercise(
    "10.6 Decide which context a task needs",
    solution=choose_design,
    cases=[(task,) for task in TASKS],
    mistakes=tuple(
        Mistake(right_but(choose_design, {task: option}), f"{DESIGNS[option]} {WANTED[task]}")
        for task in TASKS
        for option in OPTIONS
        if option != choose_design(task)
    ),
    hints=(
        "Ask first whether the decisive information is in the network's input at all.",
        "If it is, ask how far away it lies, and whether its position in the image matters.",
        "Two of the tasks need no pooling over regions and no larger input: one of them lacks "
        "detail, the other lacks nothing.",
    ),
    describe=lambda task: f'"{task}"',
    shows_expected=False,
    options=OPTIONS,
)
