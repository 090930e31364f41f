"""Exercises of the chapter on refinement."""

from collections.abc import Callable, Sequence
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segcourse.exercises.core import Exercise, Mistake, counted
from segcourse.ops.labels import IGNORE

# ── 11.1 ───────────────────────────────────────────────────────────────────────────────────────

Steps = Sequence[tuple[int, float]]


def chained_pooling(row: Sequence[float], steps: Steps) -> list[float]:
    """Compute chained residual pooling for one row of one channel.

    ``row`` is a list of at least one number. ``steps`` is a list of pairs (window, weight); the
    windows are odd, and the list may be empty. First, a ReLU replaces the negative numbers of the
    row by 0. Then every step takes the result of the step before it (the first step takes the row
    after the ReLU), replaces each number by the largest number in the window that is centred on
    it, and multiplies all numbers by the weight. A window that reaches beyond an end of the row is
    cut off there. Return one list, as long as the row: the sum of the row after the ReLU and of the
    results of all steps, added position by position.
    """
    x = [max(value, 0) for value in row]
    total = x
    for window, weight in steps:
        half = window // 2
        x = [weight * max(x[max(p - half, 0) : p + half + 1]) for p in range(len(x))]
        total = [a + b for a, b in zip(total, x, strict=True)]
    return total


def pooled(x: Sequence[float], window: int) -> list[float]:
    """The largest number of every window, which is cut off at both ends."""
    half = window // 2
    return [max(x[max(p - half, 0) : p + half + 1]) for p in range(len(x))]


def added(rows: Sequence[Sequence[float]]) -> list[float]:
    """The sum of rows, number by number."""
    return [sum(column) for column in zip(*rows, strict=True)]


def chain_side_by_side(row: Sequence[float], steps: Steps) -> list[float]:
    x = [max(value, 0) for value in row]
    rows = [[weight * value for value in pooled(x, window)] for window, weight in steps]
    return added([x, *rows])


def chain_without_relu(row: Sequence[float], steps: Steps) -> list[float]:
    x, rows = list(row), [list(row)]
    for window, weight in steps:
        x = [weight * value for value in pooled(x, window)]
        rows.append(x)
    return added(rows)


def chain_without_relu_in_the_sum(row: Sequence[float], steps: Steps) -> list[float]:
    changed = chained_pooling(row, steps)
    return [total + min(value, 0) for total, value in zip(changed, row, strict=True)]


def chain_without_the_row(row: Sequence[float], steps: Steps) -> list[float]:
    return [a - max(b, 0) for a, b in zip(chained_pooling(row, steps), row, strict=True)]


def chain_of_the_last(row: Sequence[float], steps: Steps) -> list[float]:
    x = [max(value, 0) for value in row]
    for window, weight in steps:
        x = [weight * value for value in pooled(x, window)]
    return x


def chain_of_row_and_last(row: Sequence[float], steps: Steps) -> list[float]:
    x = [max(value, 0) for value in row]
    return added([x, chain_of_the_last(row, steps)]) if steps else x


def chain_weighted_first(row: Sequence[float], steps: Steps) -> list[float]:
    x = [max(value, 0) for value in row]
    rows = [x]
    for window, weight in steps:
        x = pooled([weight * value for value in x], window)
        rows.append(x)
    return added(rows)


def chain_with_zeros(row: Sequence[float], steps: Steps) -> list[float]:
    x = [max(value, 0) for value in row]
    rows = [x]
    for window, weight in steps:
        ends = [0] * (window // 2)
        wide = pooled([*ends, *x, *ends], window)
        x = [weight * value for value in wide[len(ends) : len(ends) + len(x)]]
        rows.append(x)
    return added(rows)


def chain_with_relus(row: Sequence[float], steps: Steps) -> list[float]:
    x = [max(value, 0) for value in row]
    rows = [x]
    for window, weight in steps:
        x = [max(weight * value, 0) for value in pooled(x, window)]
        rows.append(x)
    return added(rows)


def chain_of_sums(row: Sequence[float], steps: Steps) -> list[float]:
    total = [max(value, 0) for value in row]
    for window, weight in steps:
        total = added([total, [weight * value for value in pooled(total, window)]])
    return total


def chain_of_means(row: Sequence[float], steps: Steps) -> list[float]:
    x = [max(value, 0) for value in row]
    rows = [x]
    for window, weight in steps:
        half, before = window // 2, x
        parts = [before[max(p - half, 0) : p + half + 1] for p in range(len(before))]
        x = [weight * sum(part) / len(part) for part in parts]
        rows.append(x)
    return added(rows)


def chain_of_wide_windows(row: Sequence[float], steps: Steps) -> list[float]:
    return chained_pooling(row, [(2 * window + 1, weight) for window, weight in steps])


def chain_of_narrow_slices(row: Sequence[float], steps: Steps) -> list[float]:
    x = [max(value, 0) for value in row]
    rows = [x]
    for window, weight in steps:
        half, before = window // 2, x
        x = [
            weight * max(before[max(p - half, 0) : max(p + half, 1)], default=0)
            for p in range(len(before))
        ]
        rows.append(x)
    return added(rows)


def chain_of_negative_slices(row: Sequence[float], steps: Steps) -> list[float]:
    x = [max(value, 0) for value in row]
    rows = [x]
    for window, weight in steps:
        half, before = window // 2, x
        x = [weight * max(before[p - half : p + half + 1]) for p in range(len(before))]
        rows.append(x)
    return added(rows)


def chain_without_weights(row: Sequence[float], steps: Steps) -> list[float]:
    return chained_pooling(row, [(window, 1) for window, _ in steps])


def chain_of_later_windows(row: Sequence[float], steps: Steps) -> list[float]:
    x = [max(value, 0) for value in row]
    rows = [x]
    for window, weight in steps:
        before = x
        x = [weight * max(before[p : p + window]) for p in range(len(before))]
        rows.append(x)
    return added(rows)


def chain_with_a_relu_in_every_step(row: Sequence[float], steps: Steps) -> list[float]:
    x = [max(value, 0) for value in row]
    rows = [x]
    for window, weight in steps:
        x = [weight * value for value in pooled([max(value, 0) for value in x], window)]
        rows.append(x)
    return added(rows)


def chain_weighted_in_the_sum(row: Sequence[float], steps: Steps) -> list[float]:
    x = [max(value, 0) for value in row]
    rows = [x]
    for window, weight in steps:
        x = pooled(x, window)
        rows.append([weight * value for value in x])
    return added(rows)


def chain_of_the_first_step(row: Sequence[float], steps: Steps) -> list[float]:
    return chained_pooling(row, steps[:1])


def chain_of_rows(row: Sequence[float], steps: Steps) -> list[list[float]]:
    rows = [[max(value, 0) for value in row]]
    for window, weight in steps:
        rows.append([weight * value for value in pooled(rows[-1], window)])
    return rows


def chain_of_joined_rows(row: Sequence[float], steps: Steps) -> list[float]:
    return [value for each in chain_of_rows(row, steps) for value in each]


def chain_in_place(row: Sequence[float], steps: Steps) -> list[float]:
    x = [max(value, 0) for value in row]
    rows = [list(x)]
    for window, weight in steps:
        for p in range(len(x)):
            x[p] = weight * max(x[max(p - window // 2, 0) : p + window // 2 + 1])
        rows.append(list(x))
    return added(rows)


def chain_with_negative_positions(row: Sequence[float], steps: Steps) -> list[float]:
    x = [max(value, 0) for value in row]
    rows = [x]
    for window, weight in steps:
        before, reach = x, range(-(window // 2), window // 2 + 1)
        x = [
            weight * max(before[p + step] for step in reach if p + step < len(before))
            for p in range(len(before))
        ]
        rows.append(x)
    return added(rows)


def chain_of_wider_windows(row: Sequence[float], steps: Steps) -> list[float]:
    return chained_pooling(row, [(window + 2, weight) for window, weight in steps])


chain = Exercise(
    "11.1 A chain of poolings",
    solution=chained_pooling,
    cases=[
        ([0, 0, 0, 0, 3, 0, 0, 0, 0], [(3, 1), (3, 1)]),
        ([0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0], [(5, 1), (5, 1)]),
        ([2.0, -1.0, 0.5, -3.0, 4.0, 1.0], [(3, 0.5), (5, 2)]),
        ([1.0, 2.0, 0.0, 5.0, 3.0, 1.0, 4.0], [(3, -1), (3, 1)]),
        ([1.0, 2.0, 0.5, 5.0, 3.0, 1.0, 4.0], [(3, -1), (5, -0.5), (3, 2)]),
        ([-2.0, -1.0, -4.0], [(3, 1)]),
        ([3.0, 0.0, 7.0, 1.0], [(1, 2)]),
        ([4.0, 1.0, 2.0], [(9, 1), (3, 0.5)]),
        ([5.0], [(3, 2), (5, -1)]),
        ([-5.0], [(3, 2)]),
        ([1.0, -2.0, 3.0], []),
        ([0.0, 1.0, 0.0, 2.0, 0.0, 3.0, 0.0, 0.0], [(3, 1), (3, 1), (3, 1), (3, 1)]),
    ],
    mistakes=(
        Mistake(
            chain_side_by_side,
            "Here every step pools the row itself: the poolings stand side by side. In a chain, "
            "a step pools the result of the step before it.",
        ),
        Mistake(chain_without_relu, "The ReLU is missing: negative numbers of the row become 0."),
        Mistake(
            chain_without_relu_in_the_sum,
            "The poolings read the row after the ReLU, but the row in the sum still has its "
            "negative numbers. It must be the row after the ReLU too.",
        ),
        Mistake(
            chain_without_the_row,
            "The results of the steps are added to the row after the ReLU: the row is missing in "
            "the sum.",
        ),
        Mistake(
            chain_of_the_last, "Only the last row is returned. Add the results of all steps."
        ),
        Mistake(
            chain_of_row_and_last,
            "The results of the steps before the last one are missing in the sum.",
        ),
        Mistake(
            chain_weighted_first,
            "Here the weight comes before the pooling. A negative weight turns the largest number "
            "into the smallest one, so the order matters: pool first, then multiply.",
        ),
        Mistake(
            chain_with_zeros,
            "Zeros beyond the ends are taken into account. After a negative weight, such a zero is "
            "larger than all numbers of the window: cut the window off at the end of the row.",
        ),
        Mistake(
            chain_with_relus,
            "Only the row gets a ReLU. The results of the steps may be negative.",
        ),
        Mistake(
            chain_of_sums,
            "This step pools the sum so far. A step pools the result of the step before it, and "
            "the sum is kept apart.",
        ),
        Mistake(chain_of_means, "Take the largest number of every window, and not the mean."),
        Mistake(
            chain_of_wide_windows,
            "The windows are too wide: a window of 3 reaches 1 number to the left and 1 to the "
            "right, so the reach is window // 2.",
        ),
        Mistake(
            chain_of_narrow_slices,
            "The last number of every window is missing: the end of a slice is excluded, so it is "
            "p + window // 2 + 1.",
        ),
        Mistake(
            chain_of_negative_slices,
            "At the left end, p - window // 2 is negative, and Python then counts from the end of "
            "the list: start the slice at max(p - window // 2, 0).",
        ),
        Mistake(
            chain_of_later_windows,
            "The windows begin at the position. They must be centred on it: half of the window "
            "lies before the position.",
        ),
        Mistake(
            chain_with_a_relu_in_every_step,
            "Here the largest number of a window is never below 0. Does every step have a ReLU, or "
            "does the search for the largest number begin at 0? Results of steps may be negative.",
        ),
        Mistake(
            chain_weighted_in_the_sum,
            "The next step must pool the result after the multiplication by the weight.",
        ),
        Mistake(
            chain_without_weights,
            "The weights are not used: multiply the result of every pooling by its weight.",
        ),
        Mistake(
            chain_of_the_first_step,
            "Only the first step is in the result. Does a `return` stand inside the loop?",
        ),
        Mistake(
            chain_of_rows,
            "This is a list of rows. Add them number by number, so that one row is left.",
        ),
        Mistake(
            chain_of_joined_rows,
            "Here the rows stand one after the other: + joins two lists. Add their numbers "
            "position by position.",
        ),
        Mistake(
            chain_in_place,
            "The row changes while it is pooled, so that a window meets new numbers at its left. "
            "Write the results of a step into another list.",
        ),
        Mistake(
            chain_with_negative_positions,
            "Windows at the left end read numbers from the right end, because a negative index "
            "counts from the end of the list.",
        ),
        Mistake(
            chain_of_wider_windows,
            "The windows reach 1 number too far, at both ends: the position itself is one of the "
            "numbers of its window.",
        ),
    ),
    hints=(
        "Keep two lists: the result of the last step, which the next step pools, and the sum.",
        "The window around position p is the slice from max(p - window // 2, 0) to "
        "p + window // 2 + 1.",
        "x = [weight * max(x[...]) for p in range(len(x))] is one step. Then add x to the sum.",
    ),
    describe=lambda row, steps: f"the row {list(row)} and the steps {list(steps)}",
)  # fmt: skip


# ── 11.2 ───────────────────────────────────────────────────────────────────────────────────────

Layer = Callable[[Tensor], Tensor]


def residual_unit(x: Tensor, conv1: Layer, conv2: Layer) -> Tensor:
    """Repair a residual convolution unit.

    This function was meant as RefineNet's unit. It runs, and its result is wrong:

        def residual_unit(x, conv1, conv2):
            y = conv1(F.relu(x, inplace=True))
            y = conv2(F.relu(y, inplace=True))
            return x + y

    Find the fault, and write the function correctly: the unit adds to ``x`` the result of ReLU,
    ``conv1``, ReLU and ``conv2``, in this order. ``x`` has the shape (N, C, H, W) and may hold
    negative numbers; ``conv1`` and ``conv2`` are functions. Return a tensor (N, C, H, W).
    """
    return x + conv2(F.relu(conv1(F.relu(x))))


def unit_in_place(x: Tensor, conv1: Layer, conv2: Layer) -> Tensor:
    y = conv1(F.relu(x, inplace=True))
    y = conv2(F.relu(y, inplace=True))
    return x + y


def unit_with_a_relu_after_the_sum(x: Tensor, conv1: Layer, conv2: Layer) -> Tensor:
    return F.relu(x + conv2(F.relu(conv1(F.relu(x)))))


def unit_of_a_resnet(x: Tensor, conv1: Layer, conv2: Layer) -> Tensor:
    return F.relu(x + conv2(F.relu(conv1(x))))


def unit_without_the_first_relu(x: Tensor, conv1: Layer, conv2: Layer) -> Tensor:
    return x + conv2(F.relu(conv1(x)))


def unit_without_the_second_relu(x: Tensor, conv1: Layer, conv2: Layer) -> Tensor:
    return x + conv2(conv1(F.relu(x)))


def unit_without_the_sum(x: Tensor, conv1: Layer, conv2: Layer) -> Tensor:
    return conv2(F.relu(conv1(F.relu(x))))


def unit_in_another_order(x: Tensor, conv1: Layer, conv2: Layer) -> Tensor:
    return x + conv1(F.relu(conv2(F.relu(x))))


def unit_with_a_relu_too_many(x: Tensor, conv1: Layer, conv2: Layer) -> Tensor:
    return x + F.relu(conv2(F.relu(conv1(F.relu(x)))))


def unit_with_late_relus(x: Tensor, conv1: Layer, conv2: Layer) -> Tensor:
    return x + F.relu(conv2(F.relu(conv1(x))))


def unit_with_one_convolution(x: Tensor, conv1: Layer, conv2: Layer) -> Tensor:
    return x + conv1(F.relu(conv1(F.relu(x))))


def unit_that_adds_the_middle(x: Tensor, conv1: Layer, conv2: Layer) -> Tensor:
    y = conv1(F.relu(x))
    return y + conv2(F.relu(y))


def unit_without_relus(x: Tensor, conv1: Layer, conv2: Layer) -> Tensor:
    return x + conv2(conv1(x))


def double(x: Tensor) -> Tensor:
    """A layer to calculate with: twice its input."""
    return 2 * x


def minus_one(x: Tensor) -> Tensor:
    """A layer to calculate with: its input less 1."""
    return x - 1


def units() -> list[tuple[Tensor, Layer, Layer]]:
    """Inputs of both signs, with layers to calculate with and with convolutions."""
    small = torch.tensor([[[[-2.0, 3.0], [0.5, -1.0]]]])
    found: list[tuple[Tensor, Layer, Layer]] = [
        (small, double, minus_one),
        (small, minus_one, double),
        (small.abs(), minus_one, double),
        (-small.abs(), minus_one, double),
    ]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for n, channels, height, width in ((2, 3, 4, 5), (1, 1, 6, 3)):
            first, second = (
                nn.Conv2d(channels, channels, 3, padding=1).requires_grad_(False) for _ in "12"
            )
            found.append((torch.randn(n, channels, height, width), first, second))
    return found


unit = Exercise(
    "11.2 Repair the residual unit",
    solution=residual_unit,
    cases=units,
    mistakes=(
        Mistake(
            unit_in_place,
            "The first ReLU changes ``x`` itself (or is applied to the ``x`` that is added). "
            "The negative numbers of ``x`` are then missing in the sum.",
        ),
        Mistake(
            unit_with_a_relu_after_the_sum,
            "No ReLU follows the sum: the result of the unit may be negative.",
        ),
        Mistake(
            unit_of_a_resnet,
            "That is the block of the first ResNets, with a ReLU after the sum. RefineNet's unit "
            "has its ReLUs before the convolutions.",
        ),
        Mistake(
            unit_without_the_first_relu,
            "The ReLU before ``conv1`` is missing. Only the ``x`` that is added stays as it is.",
        ),
        Mistake(
            unit_without_the_second_relu,
            "The ReLU between the two convolutions is missing.",
        ),
        Mistake(unit_without_the_sum, "``x`` is not added: the unit is then not residual."),
        Mistake(unit_in_another_order, "The two layers are exchanged: ``conv1`` comes first."),
        Mistake(
            unit_with_a_relu_too_many,
            "No ReLU follows ``conv2``: what the unit adds may be negative.",
        ),
        Mistake(
            unit_with_late_relus,
            "Here each ReLU follows its convolution. In this unit, each ReLU comes before it.",
        ),
        Mistake(
            unit_that_adds_the_middle,
            "The result of ``conv1`` is added. The unit adds its input ``x``.",
        ),
        Mistake(unit_without_relus, "Both ReLUs are missing."),
        Mistake(unit_with_one_convolution, "``conv1`` is used twice, and ``conv2`` is not used."),
    ),
    hints=(
        "Give the function an ``x`` with negative numbers, and print ``x`` after the first line.",
        "``inplace=True`` writes the result into the tensor that was given. Which tensor is that "
        "in the first line, and is it used again?",
        "F.relu(x) without ``inplace`` makes a new tensor and leaves ``x`` as it is.",
    ),
    describe=lambda x, conv1, conv2: (
        f"x of shape {tuple(x.shape)}, conv1 {layer_in_words(conv1)}, "
        f"conv2 {layer_in_words(conv2)}"
    ),
)  # fmt: skip


def layer_in_words(layer: Layer) -> str:
    """What a layer of the cases is."""
    return {double: "doubles", minus_one: "subtracts 1"}.get(layer, "a 3 x 3 convolution")


# ── 11.3 ───────────────────────────────────────────────────────────────────────────────────────


def loss_of_all_stages(all_logits: Sequence[Tensor], target: Tensor) -> Tensor:
    """Compute the loss of a network whose stages are all supervised.

    ``all_logits`` is a list of logits (N, K, h, w), one tensor for each stage, with their own h
    and w. ``target`` holds labels (N, H, W), in which 255 is void. Every stage has labels of its
    own size: position (row, column) of its map gets the label of the pixel in row
    floor((row + 0.5) * H / h) and column floor((column + 0.5) * W / w). The loss of a stage is the
    mean cross-entropy over those positions whose label is not void, or 0 if there is none. Return
    the sum of the losses of all stages.
    """
    total = torch.zeros(())
    for logits in all_logits:
        h, w = logits.shape[-2:]
        rows = ((torch.arange(h) + 0.5) * target.shape[-2] / h).long()
        columns = ((torch.arange(w) + 0.5) * target.shape[-1] / w).long()
        labels = target[:, rows][:, :, columns]
        if (labels != 255).any():
            total = total + F.cross_entropy(logits, labels, ignore_index=255)
    return total


def reduced(target: Tensor, h: int, w: int, shift: float = 0.5) -> Tensor:
    """The labels of a map of h x w positions."""
    rows = ((torch.arange(h) + shift) * target.shape[-2] / h).long()
    columns = ((torch.arange(w) + shift) * target.shape[-1] / w).long()
    return target[:, rows][:, :, columns]


def stage_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """The loss of one stage, 0 where all labels are void."""
    empty = not (labels != IGNORE).any()
    return logits.new_zeros(()) if empty else F.cross_entropy(logits, labels, ignore_index=IGNORE)


def every_stage(all_logits: Sequence[Tensor], target: Tensor) -> list[Tensor]:
    """The losses of all stages."""
    return [stage_loss(z, reduced(target, *z.shape[-2:])) for z in all_logits]


def loss_of_the_last_stage(all_logits: Sequence[Tensor], target: Tensor) -> Tensor:
    return every_stage(all_logits, target)[-1]


def loss_on_average(all_logits: Sequence[Tensor], target: Tensor) -> Tensor:
    return torch.stack(every_stage(all_logits, target)).mean()


def loss_of_upper_left_pixels(all_logits: Sequence[Tensor], target: Tensor) -> Tensor:
    return sum(stage_loss(z, reduced(target, *z.shape[-2:], 0.0)) for z in all_logits)


def loss_of_upsampled_logits(all_logits: Sequence[Tensor], target: Tensor) -> Tensor:
    size = target.shape[-2:]
    return sum(
        stage_loss(F.interpolate(z, size, mode="bilinear", align_corners=False), target)
        for z in all_logits
    )


def loss_of_repeated_logits(all_logits: Sequence[Tensor], target: Tensor) -> Tensor:
    size = target.shape[-2:]
    return sum(stage_loss(F.interpolate(z, size, mode="nearest"), target) for z in all_logits)


def loss_that_is_nan(all_logits: Sequence[Tensor], target: Tensor) -> Tensor:
    return sum(
        F.cross_entropy(z, reduced(target, *z.shape[-2:]), ignore_index=IGNORE) for z in all_logits
    )


def loss_of_void(all_logits: Sequence[Tensor], target: Tensor) -> Tensor:
    return sum(F.cross_entropy(z, reduced(target, *z.shape[-2:])) for z in all_logits)


def loss_of_void_as_background(all_logits: Sequence[Tensor], target: Tensor) -> Tensor:
    return loss_of_all_stages(all_logits, torch.where(target == IGNORE, 0, target))


def loss_over_all_positions(all_logits: Sequence[Tensor], target: Tensor) -> Tensor:
    total = torch.zeros(())
    for z in all_logits:
        labels = reduced(target, *z.shape[-2:])
        total = total + F.cross_entropy(z, labels, ignore_index=IGNORE, reduction="none").mean()
    return total


def loss_as_a_sum(all_logits: Sequence[Tensor], target: Tensor) -> Tensor:
    total = torch.zeros(())
    for z in all_logits:
        labels = reduced(target, *z.shape[-2:])
        total = total + F.cross_entropy(z, labels, ignore_index=IGNORE, reduction="sum")
    return total


def loss_of_mixed_labels(all_logits: Sequence[Tensor], target: Tensor) -> Tensor:
    total = torch.zeros(())
    for z in all_logits:
        size = z.shape[-2:]
        mixed = F.interpolate(target[:, None].float(), size, mode="bilinear", align_corners=False)
        labels = mixed[:, 0].round().long()
        total = total + stage_loss(z, torch.where(labels >= z.shape[1], IGNORE, labels))
    return total


def loss_of_one_factor(all_logits: Sequence[Tensor], target: Tensor) -> Tensor:
    total = torch.zeros(())
    for z in all_logits:
        h, w = z.shape[-2:]
        factor = target.shape[-2] / h
        rows = ((torch.arange(h) + 0.5) * factor).long()
        columns = ((torch.arange(w) + 0.5) * factor).long()
        total = total + stage_loss(z, target[:, rows][:, :, columns])
    return total


def loss_of_pooled_positions(all_logits: Sequence[Tensor], target: Tensor) -> Tensor:
    flat = [z.flatten(2).movedim(1, 2).flatten(0, 1) for z in all_logits]
    labels = [reduced(target, *z.shape[-2:]).flatten() for z in all_logits]
    return stage_loss(torch.cat(flat), torch.cat(labels))


def loss_of_softmax_twice(all_logits: Sequence[Tensor], target: Tensor) -> Tensor:
    return loss_of_all_stages([z.softmax(dim=1) for z in all_logits], target)


def loss_of_the_first_stage(all_logits: Sequence[Tensor], target: Tensor) -> Tensor:
    return every_stage(all_logits, target)[0]


def loss_without_softmax(all_logits: Sequence[Tensor], target: Tensor) -> Tensor:
    total = torch.zeros(())
    for z in all_logits:
        labels = reduced(target, *z.shape[-2:])
        if (labels != IGNORE).any():
            total = total + F.nll_loss(z, labels, ignore_index=IGNORE)
    return total


def loss_of_aligned_logits(all_logits: Sequence[Tensor], target: Tensor) -> Tensor:
    size = target.shape[-2:]
    return sum(
        stage_loss(F.interpolate(z, size, mode="bilinear", align_corners=True), target)
        for z in all_logits
    )


def loss_of_full_labels(all_logits: Sequence[Tensor], target: Tensor) -> Tensor:
    return sum(F.cross_entropy(z, target, ignore_index=IGNORE) for z in all_logits)


def loss_of_paired_indices(all_logits: Sequence[Tensor], target: Tensor) -> Tensor:
    total = torch.zeros(())
    for z in all_logits:
        h, w = z.shape[-2:]
        rows = ((torch.arange(h) + 0.5) * target.shape[-2] / h).long()
        columns = ((torch.arange(w) + 0.5) * target.shape[-1] / w).long()
        total = total + stage_loss(z, target[:, rows, columns])
    return total


def loss_that_asks_the_full_labels(all_logits: Sequence[Tensor], target: Tensor) -> Tensor:
    empty = not (target != IGNORE).any()
    return torch.zeros(()) if empty else loss_that_is_nan(all_logits, target)


def loss_without_nan(all_logits: Sequence[Tensor], target: Tensor) -> Tensor:
    return loss_that_is_nan(all_logits, target).nan_to_num()


def loss_of_clean_stages(all_logits: Sequence[Tensor], target: Tensor) -> Tensor:
    total = torch.zeros(())
    for z in all_logits:
        labels = reduced(target, *z.shape[-2:])
        total = total + (0 if (labels == IGNORE).any() else stage_loss(z, labels))
    return total


def stages() -> list[tuple[list[Tensor], Tensor]]:
    """Logits and labels whose sides are multiples of each other, or not; void in all amounts."""
    found = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for n, classes, target_size, sizes in (
            (1, 3, (4, 4), [(2, 2), (4, 4)]),
            (2, 4, (6, 9), [(2, 3), (3, 4), (6, 9)]),
            (1, 2, (7, 5), [(3, 2), (4, 3), (7, 5)]),
            (2, 8, (8, 4), [(1, 1), (2, 1), (8, 4)]),
            (3, 3, (5, 7), [(5, 7)]),
        ):
            target = torch.randint(classes, (n, *target_size))
            logits = [torch.randn(n, classes, *size) for size in sizes]
            found.append((logits, target))
            void = torch.where(torch.rand(n, *target_size) < 0.3, IGNORE, target)
            found.append(([z.clone() for z in logits], void))
        lonely = torch.full((1, 4, 4), IGNORE)
        lonely[0, 0, 0] = 1  # a pixel that the coarse stage does not meet
        found.append(([torch.randn(1, 2, 2, 2), torch.randn(1, 2, 4, 4)], lonely))
        found.append(([torch.randn(1, 2, 2, 2)], torch.full((1, 4, 4), IGNORE)))
    return found


supervision = Exercise(
    "11.3 A loss at every stage",
    solution=loss_of_all_stages,
    cases=stages,
    mistakes=(
        Mistake(
            loss_of_the_last_stage,
            "Only the last stage is supervised. Add the losses of all of them.",
        ),
        Mistake(
            loss_of_the_first_stage,
            "Only the first stage is supervised. Add the losses of all of them.",
        ),
        Mistake(
            loss_without_softmax,
            "F.nll_loss expects the logarithms of probabilities. F.cross_entropy takes logits.",
        ),
        Mistake(loss_on_average, "The losses are averaged over the stages. Return their sum."),
        Mistake(
            loss_of_upper_left_pixels,
            "These labels are those of the first pixel of every block. The centre of position r "
            "is r + 0.5: multiply r + 0.5 by H / h, then round down.",
        ),
        Mistake(
            loss_of_upsampled_logits,
            "Here the logits are upsampled to the size of the labels, as the released G-FRNet "
            "does. The question reduces the labels to the size of the logits.",
        ),
        Mistake(
            loss_of_aligned_logits,
            "Here the logits are upsampled to the size of the labels, with aligned corners. The "
            "question reduces the labels to the size of the logits.",
        ),
        Mistake(
            loss_of_repeated_logits,
            "Here the logits are upsampled to the size of the labels. The question reduces the "
            "labels to the size of the logits.",
        ),
        Mistake(
            loss_that_is_nan,
            "The mean over no position at all is nan. A stage whose labels are all void adds 0.",
        ),
        Mistake(
            loss_of_void,
            "Label 255 is void, and no class: leave these positions out (ignore_index).",
        ),
        Mistake(
            loss_of_void_as_background,
            "Void is trained as class 0 here. Leave these positions out of the mean.",
        ),
        Mistake(
            loss_over_all_positions,
            "Void positions add 0 to the sum, and must not be counted in the number that the sum "
            "is divided by.",
        ),
        Mistake(loss_as_a_sum, "The loss of a stage is the mean over its positions, not the sum."),
        Mistake(
            loss_of_mixed_labels,
            "The labels were interpolated. Between class 1 and class 3, this invents class 2: "
            "take the label of one pixel.",
        ),
        Mistake(
            loss_of_one_factor,
            "Rows and columns have factors of their own, H / h and W / w.",
        ),
        Mistake(
            loss_of_pooled_positions,
            "One mean over the positions of all stages gives the fine stages nearly all of the "
            "weight. Take the mean of every stage, and add these means.",
        ),
        Mistake(
            loss_of_softmax_twice,
            "F.cross_entropy takes logits and applies the softmax itself.",
        ),
        Mistake(
            loss_of_full_labels,
            "The labels (N, H, W) are larger than the map of this stage. Every stage needs labels "
            "of its own size (h, w).",
        ),
        Mistake(
            loss_of_paired_indices,
            "target[:, rows, columns] pairs the indices: first row with first column, and so on. "
            "Here every row is needed with every column.",
        ),
        Mistake(
            loss_that_asks_the_full_labels,
            "The labels of a stage may all be void although the full target has a label. Look at "
            "the labels of the stage.",
        ),
        Mistake(
            loss_without_nan,
            "A stage without labels adds 0. Here it also removes the losses of other stages.",
        ),
        Mistake(
            loss_of_clean_stages,
            "A stage is left out here if any of its labels is void. Leave out the void positions "
            "alone.",
        ),
        Mistake(
            every_stage, "This is a list with the loss of each stage. Return one number, their sum."
        ),
    ),
    hints=(
        "Begin with the labels of one stage: two index tensors, one for the rows and one for the "
        "columns. target[:, rows][:, :, columns] then picks the pixels.",
        "rows = ((torch.arange(h) + 0.5) * H / h).long(), and columns with W / w.",
        "F.cross_entropy(logits, labels, ignore_index=255) is the mean over the labelled "
        "positions. Call it only where at least one label is not 255.",
    ),
    describe=lambda all_logits, target: (
        f"labels of {target.shape[-2]} x {target.shape[-1]} pixels, "
        f"{int((target == IGNORE).sum())} of {target.numel()} void, and logits of "
        + ", ".join(f"{z.shape[-2]} x {z.shape[-1]}" for z in all_logits)
    ),
)  # fmt: skip


# ── 11.4 ───────────────────────────────────────────────────────────────────────────────────────


def source(position: int, fine: int, coarse: int, align_corners: bool) -> float:
    """Predict where bilinear upsampling reads, along one axis.

    A map with ``coarse`` positions is resized to ``fine`` positions. Fine position ``position``
    (0 to ``fine`` - 1) reads the coarse map at a place that may lie between two positions, such as
    2.25. Places are counted from the first coarse position: coarse position k has the place k.

    - With ``align_corners=True``, positions are points. The first positions of the two maps lie on
      top of each other, and so do the last positions. The positions of each map have equal
      distances. If ``fine`` is 1, the place is 0.
    - With ``align_corners=False``, positions are squares, and both maps cover the same length. A
      fine position reads the coarse map where its own centre lies. If this is before the centre of
      the first coarse square or after the centre of the last one, it reads at that centre.

    Return the place as a number from 0 to ``coarse`` - 1.
    """
    if align_corners:
        return position * (coarse - 1) / (fine - 1) if fine > 1 else 0
    place = (position + 0.5) * coarse / fine - 0.5
    return min(max(place, 0), coarse - 1)


def source_without_bounds(position: int, fine: int, coarse: int, align_corners: bool) -> float:
    if align_corners:
        return source(position, fine, coarse, True)
    return (position + 0.5) * coarse / fine - 0.5


def source_bounded_below(position: int, fine: int, coarse: int, align_corners: bool) -> float:
    return max(source_without_bounds(position, fine, coarse, align_corners), 0)


def source_exchanged(position: int, fine: int, coarse: int, align_corners: bool) -> float:
    return source(position, fine, coarse, not align_corners)


def source_without_halves(position: int, fine: int, coarse: int, align_corners: bool) -> float:
    return source(position, fine, coarse, True) if align_corners else position * coarse / fine


def source_with_one_half(position: int, fine: int, coarse: int, align_corners: bool) -> float:
    if align_corners:
        return source(position, fine, coarse, True)
    return min(max((position + 0.5) * coarse / fine, 0), coarse - 1)


def source_always_aligned(position: int, fine: int, coarse: int, align_corners: bool) -> float:
    return source(position, fine, coarse, True)


def source_never_aligned(position: int, fine: int, coarse: int, align_corners: bool) -> float:
    return source(position, fine, coarse, False)


def source_of_lengths(position: int, fine: int, coarse: int, align_corners: bool) -> float:
    return position * coarse / fine if align_corners else source(position, fine, coarse, False)


def source_of_steps(position: int, fine: int, coarse: int, align_corners: bool) -> float:
    if align_corners and fine > 1:
        return position * coarse / (fine - 1)
    return source(position, fine, coarse, align_corners)


def source_rounded_down(position: int, fine: int, coarse: int, align_corners: bool) -> int:
    return int(source(position, fine, coarse, align_corners))


def source_rounded(position: int, fine: int, coarse: int, align_corners: bool) -> int:
    return round(source(position, fine, coarse, align_corners))


def source_that_divides(position: int, fine: int, coarse: int, align_corners: bool) -> float:
    if align_corners:
        return position * (coarse - 1) / (fine - 1)
    return source(position, fine, coarse, False)


def source_the_other_way(position: int, fine: int, coarse: int, align_corners: bool) -> float:
    if align_corners:
        return position * (fine - 1) / (coarse - 1) if coarse > 1 else 0
    return max((position + 0.5) * fine / coarse - 0.5, 0)


def source_without_halves_bounded(
    position: int, fine: int, coarse: int, align_corners: bool
) -> float:
    if align_corners:
        return source(position, fine, coarse, True)
    return min(position * coarse / fine, coarse - 1)


def source_minus_a_half(position: int, fine: int, coarse: int, align_corners: bool) -> float:
    if align_corners:
        return source(position, fine, coarse, True)
    return min(max(position * coarse / fine - 0.5, 0), coarse - 1)


def source_bounded_above(position: int, fine: int, coarse: int, align_corners: bool) -> float:
    return min(source_without_bounds(position, fine, coarse, align_corners), coarse - 1)


def source_at_the_wrong_bound(position: int, fine: int, coarse: int, align_corners: bool) -> float:
    return source(position, fine, coarse, True) if align_corners else coarse - 1


def source_of_one(position: int, fine: int, coarse: int, align_corners: bool) -> float:
    return 0 if fine == 1 else source(position, fine, coarse, align_corners)


def source_of_bounded_lengths(position: int, fine: int, coarse: int, align_corners: bool) -> float:
    return min(source_of_lengths(position, fine, coarse, align_corners), coarse - 1)


def source_of_whole_points(position: int, fine: int, coarse: int, align_corners: bool) -> float:
    exact = source(position, fine, coarse, align_corners)
    return int(exact) if align_corners else exact


def source_of_too_many_steps(position: int, fine: int, coarse: int, align_corners: bool) -> float:
    if align_corners:
        return position * (coarse - 1) / fine
    return source(position, fine, coarse, False)


place = Exercise(
    "11.4 Where does upsampling read?",
    solution=source,
    cases=[
        (position, fine, coarse, align_corners)
        for fine, coarse, positions in (
            (8, 4, (0, 1, 3, 6, 7)),
            (12, 3, (0, 1, 2, 5, 9, 10, 11)),
            (9, 5, (0, 4, 7, 8)),
            (10, 4, (0, 3, 9)),
            (1, 1, (0,)),
            (1, 3, (0,)),
            (5, 1, (0, 2, 4)),
            (3, 6, (0, 1, 2)),
            (2, 2, (0, 1)),
        )
        for position in positions
        for align_corners in (False, True)
    ],
    mistakes=(
        Mistake(
            source_without_bounds,
            "Near both ends, the place lies beyond the centre of the first or of the last coarse "
            "position. Move it to that centre.",
        ),
        Mistake(
            source_bounded_below,
            "Near the end, the place can lie beyond the centre of the last coarse position: it is "
            "coarse - 1 at most.",
        ),
        Mistake(
            source_bounded_above,
            "Near the beginning, the place can lie before the centre of the first coarse position: "
            "it is 0 at least.",
        ),
        Mistake(
            source_at_the_wrong_bound,
            "With squares, every place is the last one here. max() gives a lower bound, and min() "
            "gives an upper one: are the two exchanged?",
        ),
        Mistake(
            source_of_one,
            "With squares, a single fine position is no special case: it covers the whole coarse "
            "map and reads where its centre lies.",
        ),
        Mistake(
            source_of_bounded_lengths,
            "With points, only the last fine position reads the last coarse one. The factor needs "
            "the number of steps between the points.",
        ),
        Mistake(
            source_of_whole_points,
            "With points, the place is rounded down here. It may lie between two positions.",
        ),
        Mistake(source_exchanged, "The two conventions are exchanged."),
        Mistake(
            source_without_halves,
            "Squares have their centres at 0.5, 1.5, ...: add 0.5 to the fine position, scale, and "
            "subtract 0.5.",
        ),
        Mistake(
            source_without_halves_bounded,
            "Position 0 has its centre at 0.5, in both maps: add 0.5 to the fine position, scale, "
            "and subtract 0.5.",
        ),
        Mistake(
            source_minus_a_half,
            "The centre of the fine position is position + 0.5. Add 0.5 before you scale.",
        ),
        Mistake(
            source_of_too_many_steps,
            "Between the first and the last of ``fine`` points there are fine - 1 steps.",
        ),
        Mistake(
            source_with_one_half,
            "This is the distance from the left border. Coarse position 0 has its centre at 0.5, "
            "so subtract 0.5.",
        ),
        Mistake(
            source_always_aligned,
            "The argument align_corners is not used: this is the rule for True.",
        ),
        Mistake(
            source_never_aligned,
            "The argument align_corners is not used: this is the rule for False.",
        ),
        Mistake(
            source_of_lengths,
            "With aligned corners, the last fine position must read the last coarse one. Between "
            "n points there are n - 1 steps.",
        ),
        Mistake(
            source_of_steps,
            "Between n points there are n - 1 steps, in the coarse map as well as in the fine one.",
        ),
        Mistake(
            source_rounded_down,
            "The place may lie between two positions: divide with / and do not round.",
        ),
        Mistake(source_rounded, "The place may lie between two positions: do not round it."),
        Mistake(
            source_that_divides,
            "A map of one fine position has no steps, so fine - 1 is 0. The place is then 0.",
        ),
        Mistake(
            source_the_other_way,
            "The factor is upside down: multiply by the coarse size and divide by the fine size.",
        ),
    ),
    hints=(
        "Try 8 fine and 4 coarse positions. With aligned corners, position 7 reads place 3. "
        "Otherwise, two fine squares lie on every coarse square.",
        "Points: 7 steps of the fine map are as long as 3 steps of the coarse one. Squares: the "
        "centre of fine square p lies at p + 0.5, that is at (p + 0.5) * coarse / fine squares of "
        "the coarse map.",
        "Points: position * (coarse - 1) / (fine - 1). Squares: (position + 0.5) * coarse / fine "
        "- 0.5, then at least 0 and at most coarse - 1.",
    ),
    describe=lambda position, fine, coarse, align_corners: (
        f"position {position} of {fine}, {counted(coarse, 'coarse position')}, "
        f"align_corners={align_corners}"
    ),
)  # fmt: skip


# ── 11.5 ───────────────────────────────────────────────────────────────────────────────────────

Table = dict[tuple[int, int], bool]


def possible(table: Table, gate: bool) -> bool:
    """Decide what a sum and a product can compute.

    At one position, f is a feature of a fine stage and g is a feature of a deeper stage; each is
    -1 or 1. The position is called *car* if its score is above 0. Without a gate, the score is
    a * f + b * g + c. With a gate, it is a * f * g + b * g + c. The numbers a, b and c are learned;
    each may be negative or 0. ``table`` is a dictionary: ``table[f, g]`` is True if a position with
    these features is a car. Return True if some a, b and c make all four cases of the table right,
    and False if there are none.
    """
    for a, b, c in product((-1, 0, 1), repeat=3):
        scores = {(f, g): a * (f * g if gate else f) + b * g + c for f, g in table}
        if all((score > 0) == table[key] for key, score in scores.items()):
            return True
    return False


def found_by(
    score: Callable[[float, float, float, int, int], float],
    weights: Sequence[float] = (-1, 0, 1),
    constants: Sequence[float] = (-1, 0, 1),
) -> Callable[[Table], bool]:
    """Whether some numbers a, b and c give all four cases of a table."""

    def answer(table: Table) -> bool:
        return any(
            all((score(a, b, c, f, g) > 0) == car for (f, g), car in table.items())
            for a, b, c in product(weights, weights, constants)
        )

    return answer


def possible_for_the_sum(table: Table, gate: bool) -> bool:
    return possible(table, False)


def possible_for_the_gate(table: Table, gate: bool) -> bool:
    return possible(table, True)


def possible_if_gated(table: Table, gate: bool) -> bool:
    return gate or possible(table, False)


def possible_always(table: Table, gate: bool) -> bool:
    return True


def possible_exchanged(table: Table, gate: bool) -> bool:
    return possible(table, not gate)


def score_with(gate: bool) -> Callable[[float, float, float, int, int], float]:
    """The score of the question."""
    return lambda a, b, c, f, g: a * (f * g if gate else f) + b * g + c


def possible_with_positive_weights(table: Table, gate: bool) -> bool:
    return found_by(score_with(gate), weights=(0, 1))(table)


def possible_without_the_constant(table: Table, gate: bool) -> bool:
    return found_by(
        lambda a, b, c, f, g: a * (f * g if gate else f) + b * g, weights=(-2, -1, 0, 1, 2)
    )(table)


def possible_with_the_feature_added(table: Table, gate: bool) -> bool:
    return found_by(lambda a, b, c, f, g: a * (f * g if gate else f) + b * (f if gate else g) + c)(
        table
    )


def possible_for_the_product_alone(table: Table, gate: bool) -> bool:
    if not gate:
        return possible(table, False)
    return found_by(lambda a, b, c, f, g: a * f * g + c)(table)


def possible_where_both_agree(table: Table, gate: bool) -> bool:
    return possible(table, False) and possible(table, True)


def possible_never(table: Table, gate: bool) -> bool:
    return False


def possible_for_the_first_triple(table: Table, gate: bool) -> bool:
    return table == {(f, g): -(f * g if gate else f) - g - 1 > 0 for f, g in table}


def possible_up_to_zero(table: Table, gate: bool) -> bool:
    return found_by(score_with(gate), weights=(-1, 0), constants=(-1, 0))(table)


def possible_without_zeros(table: Table, gate: bool) -> bool:
    return found_by(score_with(gate), weights=(-1, 1), constants=(-1, 1))(table)


def found_triple(table: Table, gate: bool) -> tuple[int, int, int] | bool:
    for numbers in product((-1, 0, 1), repeat=3):
        if all((score_with(gate)(*numbers, f, g) > 0) == car for (f, g), car in table.items()):
            return numbers
    return False


PAIRS = tuple(product((-1, 1), repeat=2))

expressible = Exercise(
    "11.5 Sum or gate?",
    solution=possible,
    cases=[
        (dict(zip(PAIRS, cars, strict=True)), gate)
        for cars in product((False, True), repeat=4)
        for gate in (False, True)
    ],
    mistakes=(
        Mistake(
            possible_for_the_sum,
            "With a gate, these are the answers for the sum. Is ``gate`` used, and is f multiplied "
            "by g itself, which may be negative?",
        ),
        Mistake(
            possible_for_the_gate,
            "Without a gate, these are the answers for the gate: the argument ``gate`` has no "
            "effect.",
        ),
        Mistake(
            possible_if_gated,
            "A gate cannot compute every table: f itself is not in its score, only f * g.",
        ),
        Mistake(
            possible_always,
            "This is True for every table. But some tables cannot be computed without a gate, and "
            "some cannot be computed with one.",
        ),
        Mistake(possible_exchanged, "The answers for the sum and for the gate are exchanged."),
        Mistake(
            possible_with_positive_weights,
            "a and b may be negative: a feature can count against a class.",
        ),
        Mistake(
            possible_without_the_constant,
            "Some tables with three or four cars are not found. Is the constant c in the score, "
            "and is the score compared with 0?",
        ),
        Mistake(
            possible_with_the_feature_added,
            "With a gate, f and g are exchanged somewhere: b multiplies the deeper feature g, and "
            "the keys of the table are (f, g).",
        ),
        Mistake(
            possible_for_the_product_alone,
            "With a gate, the deeper feature is added too: b * g is missing in the score.",
        ),
        Mistake(
            possible_where_both_agree,
            "This is True only if the sum and the gate can both do it. Answer for the one that "
            "``gate`` names.",
        ),
        Mistake(
            possible_never,
            "This is False for every table. But most tables can be computed: for example, a "
            "negative c alone gives no car.",
        ),
        Mistake(
            possible_for_the_first_triple,
            "Only the first triple of a, b and c decides. Return False after all triples, and not "
            "inside the loop.",
        ),
        Mistake(
            possible_up_to_zero,
            "These are the answers if no number is above 0. Note that range(-1, 1) ends before 1.",
        ),
        Mistake(
            possible_without_zeros,
            "These are the answers if a, b and c are only -1 and 1. Each of them may be 0 too.",
        ),
        Mistake(found_triple, "Return True or False, and not the numbers that were found."),
    ),
    hints=(
        "You need not find a proof: try values for a, b and c. The values -1, 0 and 1 are enough.",
        "Three loops (or itertools.product) go through all 27 triples. For each, compare "
        "score > 0 with the table, for all four pairs (f, g).",
        "The score is a * (f * g if gate else f) + b * g + c. Return True as soon as a triple "
        "makes all four cases right, and False after the last triple.",
    ),
    shows_expected=False,
    describe=lambda table, gate: (
        f"{'a' if any(table.values()) else 'no'} car for (f, g) in "
        f"{[key for key, car in table.items() if car or not any(table.values())]}, "
        f"{'with' if gate else 'without'} a gate"
    ),
)
