"""The PSPNet exercises accept every right answer and name the usual mistakes."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from segcourse.exercises import pspnet as chapter
from segcourse.models.pspnet import PSPNet


def cells_with_math(position, side, cells):
    found = []
    for j in range(cells):
        begin = math.floor(j * side / cells)
        end = math.ceil((j + 1) * side / cells)
        if begin <= position < end:
            found.append(j)
    return found


def cells_from_first_to_last(position, side, cells):
    """Cell j overlaps [p, p + 1), so its real interval [jS/n, (j+1)S/n) does."""
    first = position * cells // side
    last = -((-(position + 1) * cells) // side) - 1
    return list(range(first, last + 1))


def cells_by_pooling(position, side, cells):
    row = torch.zeros(1, 1, side)
    row[..., position] = 1
    return F.adaptive_avg_pool1d(row, cells).flatten().nonzero().flatten().tolist()


def cells_by_ranges(position, side, cells):
    ends = [range(j * side // cells, (j * side + side + cells - 1) // cells) for j in range(cells)]
    return [j for j, places in enumerate(ends) if position in places]


def cells_by_fractions(position, side, cells):
    step = Fraction(side, cells)
    return [j for j in range(cells) if j * step < position + 1 and (j + 1) * step > position]


def cells_in_numpy(position, side, cells):
    j = np.arange(cells)
    inside = (j * side // cells <= position) & (position < np.ceil((j + 1) * side / cells))
    return np.flatnonzero(inside)


def change_by_the_layer(height, width, cells, box):
    top, left, bottom, right = box
    features = torch.zeros(1, height, width)
    features[:, top:bottom, left:right] = 1
    return F.adaptive_avg_pool2d(features, cells)[0]


def change_by_loops(height, width, cells, box):
    top, left, bottom, right = box
    mask = np.zeros((height, width))
    mask[top:bottom, left:right] = 1
    result = np.zeros((cells, cells))
    for i in range(cells):
        for j in range(cells):
            rows = slice(i * height // cells, math.ceil((i + 1) * height / cells))
            columns = slice(j * width // cells, math.ceil((j + 1) * width / cells))
            result[i, j] = mask[rows, columns].mean()
    return result


def change_as_a_difference(height, width, cells, box):
    draw = torch.Generator().manual_seed(0)
    before = torch.rand(1, 1, height, width, generator=draw, dtype=torch.float64)
    after = before.clone()
    after[..., box[0] : box[2], box[1] : box[3]] += 1
    pool = nn.AdaptiveAvgPool2d((cells, cells))
    return (pool(after) - pool(before))[0, 0]


def change_by_matrices(height, width, cells, box):
    def operator(side):
        rows = torch.zeros(cells, side)
        for j in range(cells):
            places = slice(j * side // cells, -((-(j + 1) * side) // cells))
            rows[j, places] = 1 / (places.stop - places.start)
        return rows

    top, left, bottom, right = box
    mask = torch.zeros(height, width)
    mask[top:bottom, left:right] = 1
    return operator(height) @ mask @ operator(width).T


def change_by_counting_positions(height, width, cells, box):
    top, left, bottom, right = box
    result = []
    for i in range(cells):
        rows = range(i * height // cells, -(-(i + 1) * height // cells))
        result.append([])
        for j in range(cells):
            columns = range(j * width // cells, -(-(j + 1) * width // cells))
            hits = sum(top <= y < bottom and left <= x < right for y in rows for x in columns)
            result[-1].append(hits / (len(rows) * len(columns)))
    return torch.tensor(result)


def change_by_integral_images(height, width, cells, box):
    top, left, bottom, right = box
    mask = np.zeros((height + 1, width + 1))
    mask[top + 1 : bottom + 1, left + 1 : right + 1] = 1
    sums = mask.cumsum(0).cumsum(1)
    j = np.arange(cells)
    y0, y1 = j * height // cells, np.ceil((j + 1) * height / cells).astype(int)
    x0, x1 = j * width // cells, np.ceil((j + 1) * width / cells).astype(int)
    boxes = sums[y1][:, x1] - sums[y0][:, x1] - sums[y1][:, x0] + sums[y0][:, x0]
    return boxes / np.outer(y1 - y0, x1 - x0)


def count_by_layers(channels, num_classes, inter_channels, grids):
    reduced = channels // len(grids)
    with torch.device("meta"):
        layers = [nn.Conv2d(inter_channels, num_classes, 1)]
        for _ in grids:
            layers += [nn.Conv2d(channels, reduced, 1, bias=False), nn.BatchNorm2d(reduced)]
        layers += [nn.Conv2d(2 * channels, inter_channels, 3, bias=False)]
        layers += [nn.BatchNorm2d(inter_channels)]
    return sum(p.numel() for layer in layers for p in layer.parameters())


def count_simplified(channels, num_classes, inter_channels, grids):
    """All branches together map channels to channels, whatever the number of grids."""
    total = channels * (channels + 2)
    total += inter_channels * (18 * channels + 2)
    return total + inter_channels * num_classes + num_classes


def count_by_a_list(channels, num_classes, inter_channels, grids):
    branch = channels // len(grids)
    kernels = [channels * branch for _ in grids]
    kernels += [2 * channels * inter_channels * 3**2, inter_channels * num_classes]
    norms = [branch] * len(grids) + [inter_channels]
    return np.sum(kernels) + 2 * sum(norms) + num_classes


def count_as_a_float(channels, num_classes, inter_channels, grids):
    reduced = channels / len(grids)
    branches = len(grids) * (channels * reduced + 2 * reduced)
    return (
        branches
        + 18.0 * channels * inter_channels
        + inter_channels * (2 + num_classes)
        + (num_classes)
    )


def count_in_torch(channels, num_classes, inter_channels, grids):
    reduced = channels // len(grids)
    inputs = torch.tensor([channels] * len(grids) + [2 * channels * 9, inter_channels])
    outputs = torch.tensor([reduced] * len(grids) + [inter_channels, num_classes])
    extra = torch.tensor([2] * len(grids) + [2, 1])
    return ((inputs + extra) * outputs).sum()


def count_in_a_loop(channels, num_classes, inter_channels, grids):
    total, joined = 0, channels
    for _ in range(len(grids)):
        out = channels // len(grids)
        total += channels * out + out + out
        joined += out
    total += joined * inter_channels * 9 + inter_channels * 2
    return int(total + inter_channels * num_classes + num_classes)


def loss_by_layers(main, aux, target, weight):
    criterion = nn.CrossEntropyLoss(ignore_index=255)
    large = nn.Upsample(size=tuple(target.shape[1:]), mode="bilinear")(aux)
    return criterion(main, target) + weight * criterion(large, target)


def loss_by_mask(main, aux, target, weight):
    large = F.interpolate(aux, main.shape[2:], mode="bilinear", align_corners=False)
    valid = target != 255

    def mean(logits):
        return F.cross_entropy(logits.movedim(1, -1)[valid], target[valid])

    return mean(main) + weight * mean(large)


def loss_by_probabilities(main, aux, target, weight):
    large = F.interpolate(aux, size=target.shape[-2:], mode="bilinear")
    valid = (target < 255).float()
    labels = torch.where(target < 255, target, 0)[:, None]
    total = 0
    for factor, logits in ((1, main), (weight, large)):
        q = logits.softmax(dim=1).gather(1, labels)[:, 0]
        total = total - factor * (q.log() * valid).sum() / valid.sum()
    return total


def loss_by_sum_and_count(main, aux, target, weight):
    aux = F.interpolate(aux, target.shape[-2:], mode="bilinear")
    count = (target != 255).sum()
    each = [
        F.cross_entropy(z, target, ignore_index=255, reduction="none").sum() / count
        for z in (main, aux)
    ]
    return each[0] + each[1] * weight


def loss_by_nll(main, aux, target, weight):
    aux = F.interpolate(aux, target.shape[-2:], mode="bilinear")
    first, second = (
        F.nll_loss(z.log_softmax(1), target, ignore_index=255, reduction="mean")
        for z in (main, aux)
    )
    return torch.add(first, second, alpha=weight)


def loss_of_one_batch(main, aux, target, weight):
    """Both logits in one tensor; the means are taken per half."""
    both = torch.stack([main, F.interpolate(aux, target.shape[-2:], mode="bilinear")])
    losses = torch.stack([F.cross_entropy(z, target, ignore_index=255) for z in both])
    return (losses * torch.tensor([1, weight])).sum().item()


def occlusion_by_mask(net, image, side):
    height, width = image.shape[1:]
    before = net(image[None]).argmax(1)[0]
    color = image.mean(dim=(1, 2))[:, None, None]
    result = torch.zeros(height // side, width // side)
    for i in range(height // side):
        for j in range(width // side):
            inside = torch.zeros(height, width, dtype=torch.bool)
            inside[i * side : (i + 1) * side, j * side : (j + 1) * side] = True
            after = net(torch.where(inside, color, image)[None]).argmax(1)[0]
            result[i, j] = (after != before)[~inside].float().mean()
    return result


def occlusion_in_one_batch(net, image, side):
    _, height, width = image.shape
    rows, columns = height // side, width // side
    inside = torch.zeros(rows, columns, height, width, dtype=torch.bool)
    for i in range(rows):
        for j in range(columns):
            inside[i, j, i * side : (i + 1) * side, j * side : (j + 1) * side] = True
    inside = inside.flatten(0, 1)
    color = image.mean((1, 2), keepdim=True)
    covered = torch.where(inside[:, None], color, image)
    before = net(image[None]).argmax(1)
    after = torch.cat([net(each[None]).argmax(1) for each in covered])
    changed = ((after != before) & ~inside).sum((1, 2)) / (~inside).sum((1, 2))
    return changed.view(rows, columns)


def occlusion_in_numpy(net, image, side):
    height, width = image.shape[-2:]
    before = net(image[None])[0].numpy().argmax(0)
    result = np.empty((height // side, width // side))
    for top in range(0, height, side):
        for left in range(0, width, side):
            x = image.clone()
            for channel in range(3):
                x[channel, top : top + side, left : left + side] = image[channel].mean()
            after = net(x[None])[0].numpy().argmax(0)
            changed = after != before
            total = changed.sum() - changed[top : top + side, left : left + side].sum()
            result[top // side, left // side] = total / (height * width - side * side)
    return result


def occlusion_by_kron(net, image, side):
    rows, columns = image.shape[1] // side, image.shape[2] // side
    before = net(image[None]).max(dim=1).indices[0]
    result = []
    for number in range(rows * columns):
        cell = torch.zeros(rows * columns)
        cell[number] = 1
        inside = torch.kron(cell.view(rows, columns), torch.ones(side, side))
        x = image * (1 - inside) + image.mean((1, 2), keepdim=True) * inside
        after = net(x[None]).max(dim=1).indices[0]
        result.append((after.ne(before) * (1 - inside)).sum() / (1 - inside).sum())
    return torch.stack(result).reshape(rows, columns)


def occlusion_restoring_the_block(net, image, side):
    image = image.clone()
    color = image.mean((1, 2), keepdim=True).clone()
    before = net(image[None])[0].argmax(0)
    shares = {}
    for top in range(0, image.shape[1], side):
        for left in range(0, image.shape[2], side):
            block = image[:, top : top + side, left : left + side]
            kept = block.clone()
            block.copy_(color.expand_as(block))
            changed = (net(image[None])[0].argmax(0) != before).double()
            block.copy_(kept)
            changed[top : top + side, left : left + side] = torch.nan
            shares[top // side, left // side] = changed.nanmean()
    rows, columns = image.shape[1] // side, image.shape[2] // side
    return [[shares[i, j].item() for j in range(columns)] for i in range(rows)]


def remedy_by_questions(task):
    if task == "tiles":  # the input lacks something
        return "larger input"
    if task in ("texture", "wires"):  # no context is needed
        return "no pooling" if task == "texture" else "skip connection"
    return "grid" if task == "halves" else "1 x 1"


def remedy_by_position(task):
    order = list(chapter.TASKS)
    return dict(zip(order, ("1 x 1", "grid", *chapter.OPTIONS[3:], "no pooling"), strict=True))[
        task
    ]


RIGHT = {
    "overlap": (
        cells_with_math,
        cells_from_first_to_last,
        cells_by_pooling,
        cells_by_ranges,
        cells_by_fractions,
        cells_in_numpy,
    ),
    "dilution": (
        change_by_the_layer,
        change_by_loops,
        change_as_a_difference,
        change_by_matrices,
        change_by_counting_positions,
        change_by_integral_images,
    ),
    "count": (
        count_by_layers,
        count_simplified,
        count_by_a_list,
        count_as_a_float,
        count_in_torch,
        count_in_a_loop,
    ),
    "fix_loss": (
        loss_by_layers,
        loss_by_mask,
        loss_by_probabilities,
        loss_by_sum_and_count,
        loss_by_nll,
        loss_of_one_batch,
    ),
    "cover": (
        occlusion_by_mask,
        occlusion_in_one_batch,
        occlusion_in_numpy,
        occlusion_by_kron,
        occlusion_restoring_the_block,
    ),
    "decide": (remedy_by_questions, remedy_by_position),
}


@pytest.mark.parametrize(
    "name, answer",
    [(name, answer) for name, answers in RIGHT.items() for answer in answers],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_right_answers_written_differently_are_accepted(name, answer):
    assert getattr(chapter, name).verdict(answer) == ("✓", "")


def change_right_only_for_one_position(height, width, cells, box):
    top, left, _, _ = box
    return chapter.change_of_means(height, width, cells, (top, left, top + 1, left + 1))


def head_of_four_grids(channels, num_classes, inter_channels, grids):
    return chapter.head_parameters(channels, num_classes, inter_channels, [1, 2, 3, 6]) + len(grids)


@pytest.mark.parametrize(
    "exercise, answer",
    [
        (chapter.overlap, lambda position, side, cells: [position * cells // side]),
        (chapter.dilution, change_right_only_for_one_position),
        (chapter.count, head_of_four_grids),
        (chapter.cover, lambda net, image, side: torch.zeros(3, 3)),
        (chapter.decide, lambda task: "grid"),
    ],
)
def test_answers_that_are_nearly_right_are_rejected(exercise, answer):
    assert exercise.verdict(answer)[0] == "✗"


@pytest.mark.parametrize("side", [1, 4, 7, 12, 60, 65])
@pytest.mark.parametrize("cells", [1, 2, 3, 6])
def test_the_cells_are_torchs(side, cells):
    for position in range(side):
        assert chapter.cells_of(position, side, cells) == cells_by_pooling(position, side, cells)


def test_the_count_is_the_networks():
    with torch.device("meta"):
        net = PSPNet(21, layers=50)
    head = sum(p.numel() for name, p in net.named_parameters() if not name.startswith("backbone"))
    assert chapter.head_parameters(2048, 21, 512, [1, 2, 3, 6]) == head == 23_084_565


def test_every_design_is_right_once():
    assert sorted(map(chapter.choose_design, chapter.TASKS)) == sorted(chapter.OPTIONS)
