"""Exercises of the unpooling chapter."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from segcourse.exercises.core import Exercise, Mistake, counted
from segcourse.exercises.results import brief

Proposal = tuple[int, int, Tensor]  # top, left, scores (K, h, w)


def random_map(seed: int, *shape: int) -> Tensor:
    """Different numbers above 0 in an order that depends on the seed."""
    order = torch.randperm(torch.Size(shape).numel(), generator=torch.Generator().manual_seed(seed))
    return (order + 1).float().view(shape)


def pooled(x: Tensor) -> tuple[Tensor, Tensor]:
    """Maxima and indices of the 2 x 2 windows: (N, C, H, W) -> (N, C, h, w) twice, rounded up."""
    return F.max_pool2d(x, 2, ceil_mode=True, return_indices=True)


# ── 7.1 ──────────────────────────────────────────────────────────────────────────────────────────


def window_codes(indices: Tensor, width: int) -> Tensor:
    """Turn every index into its place in the window, which two bits can store.

    ``indices`` is a tensor (h, w) of integers: the indices of the maxima of one map, as
    F.max_pool2d returns them for 2 x 2 windows and ceil_mode=True. The map had ``width`` columns,
    an even or an odd number. The places in a window are 0 (upper left), 1 (upper right), 2 (lower
    left) and 3 (lower right). Return the places, (h, w). For example, in a map with 6 columns the
    index 14 means row 2 and column 2, which is place 0.
    """
    row, column = indices // width, indices % width
    return 2 * (row % 2) + column % 2


def codes_modulo_four(indices: Tensor, width: int) -> Tensor:
    return indices % 4


def codes_of_the_doubled_width(indices: Tensor, width: int) -> Tensor:
    return window_codes(indices, 2 * indices.shape[1])


def codes_of_the_pooled_width(indices: Tensor, width: int) -> Tensor:
    return window_codes(indices, indices.shape[1])


def codes_with_sides_exchanged(indices: Tensor, width: int) -> Tensor:
    row, column = indices // width, indices % width
    return row % 2 + 2 * (column % 2)


def codes_of_whole_positions(indices: Tensor, width: int) -> Tensor:
    return 2 * (indices // width) + indices % width


def codes_by_parity_of_the_index(indices: Tensor, width: int) -> Tensor:
    return 2 * (indices // width % 2) + indices % 2


def codes_from_one(indices: Tensor, width: int) -> Tensor:
    return window_codes(indices, width) + 1


def codes_of_rows(indices: Tensor, width: int) -> Tensor:
    return indices // width % 2


def codes_of_columns(indices: Tensor, width: int) -> Tensor:
    return indices % width % 2


def codes_with_equal_weights(indices: Tensor, width: int) -> Tensor:
    return indices // width % 2 + indices % width % 2


def codes_with_decimal_rows(indices: Tensor, width: int) -> Tensor:
    return 2 * (indices / width % 2) + indices % width % 2


def codes_of_windows(indices: Tensor, width: int) -> Tensor:
    return 2 * (indices // width // 2) + indices % width // 2


def codes_minus_the_least(indices: Tensor, width: int) -> Tensor:
    return indices - indices.min()


def codes_of_whole_rows(indices: Tensor, width: int) -> Tensor:
    return 2 * (indices // width) + indices % width % 2


def codes_of_whole_columns(indices: Tensor, width: int) -> Tensor:
    return 2 * (indices // width % 2) + indices % width


def codes_as_distances(indices: Tensor, width: int) -> Tensor:
    return width * (indices // width % 2) + indices % width % 2


def codes_as_pairs(indices: Tensor, width: int) -> Tensor:
    return torch.stack([indices // width % 2, indices % width % 2], dim=-1)


def codes_in_a_row(indices: Tensor, width: int) -> Tensor:
    return window_codes(indices, width).flatten()


def codes_computed_in(small: torch.dtype) -> Callable:
    def codes_in_a_small_type(indices: Tensor, width: int) -> Tensor:
        return window_codes(indices.to(small), width)

    return codes_in_a_small_type


two_bits = Exercise(
    "7.1 Two bits are enough",
    solution=window_codes,
    cases=[
        (torch.tensor([[1, 2], [8, 14]]), 4),
        (torch.tensor([[1, 8, 10], [12, 14, 22]]), 6),
        *(
            (pooled(random_map(seed, 1, 1, height, width))[1][0, 0], width)
            for seed, (height, width) in enumerate(
                [
                    *[(4, 6), (6, 10), (5, 7), (8, 3), (3, 5), (2, 12), (7, 1), (1, 9)],
                    *[(20, 21), (1600, 21)],  # with indices above 8 bits, and above 16
                ]
            )
        ),
    ],
    mistakes=(
        Mistake(
            codes_modulo_four,
            "index % 4 counts along one row of the map. The window has two rows, and the index of "
            "its lower row is `width` larger.",
        ),
        Mistake(
            codes_of_the_doubled_width,
            "Twice the number of windows in a row is not the width if the width is odd, because "
            "the pooling rounds up. Use `width`.",
        ),
        Mistake(
            codes_of_the_pooled_width,
            "The index is counted in the map before the pooling. Divide by its width, not by the "
            "width of the pooled map.",
        ),
        Mistake(
            codes_with_sides_exchanged,
            "Rows and columns are exchanged: index // width is the row, and place 1 is the upper "
            "right one.",
        ),
        Mistake(
            codes_of_whole_positions,
            "This uses row and column in the whole map. Inside a window, both are 0 or 1: take "
            "them modulo 2.",
        ),
        Mistake(
            codes_by_parity_of_the_index,
            "Whether the index is odd tells whether its column is odd only if the width is even. "
            "Compute the column first: index % width.",
        ),
        Mistake(codes_from_one, "The places are counted from 1 here. Two bits store 0 to 3."),
        Mistake(
            codes_of_rows,
            "Only the row has an effect. The column decides between left and right. (In Python, "
            "2 * column % 2 means (2 * column) % 2, which is always 0.)",
        ),
        Mistake(
            codes_of_columns,
            "Only the column has an effect. The row decides between upper and lower. (In Python, "
            "2 * row % 2 means (2 * row) % 2, which is always 0.)",
        ),
        Mistake(
            codes_with_equal_weights,
            "Row and column are added with equal weights, so places 1 and 2 become the same "
            "number. The row counts twice.",
        ),
        Mistake(
            codes_with_decimal_rows,
            "The row must be an integer: use // instead of /.",
        ),
        Mistake(
            codes_of_windows,
            "// 2 tells in which window the position lies. % 2 tells where it lies in the window.",
        ),
        Mistake(
            codes_minus_the_least,
            "The least index belongs to one window only. Every window has its own first position.",
        ),
        Mistake(
            codes_of_whole_rows,
            "The row is counted in the whole map. Take it modulo 2, like the column.",
        ),
        Mistake(
            codes_of_whole_columns,
            "The column is counted in the whole map. Take it modulo 2, like the row.",
        ),
        Mistake(
            codes_as_distances,
            "These are distances from the first position of the window: 0, 1, `width` and "
            "`width` + 1. The places have the numbers 0 to 3.",
        ),
        Mistake(
            codes_as_pairs,
            "Each place is a pair of row and column here. Compute one number from the two.",
        ),
        Mistake(
            codes_in_a_row,
            "The places are right, but they stand in one long list. Return the shape (h, w).",
        ),
        *(
            Mistake(
                codes_computed_in(small),
                f"The type {str(small)[6:]} ends at {torch.iinfo(small).max}, and indices can be "
                "larger. Compute the places first, and convert them afterwards.",
            )
            for small in (torch.uint8, torch.int8, torch.int16)
        ),
    ),
    hints=(
        "Which row and which column does an index mean? A row holds `width` positions.",
        "row = index // width and column = index % width. A window begins at an even row and an "
        "even column.",
        "The place is 2 * (row % 2) + column % 2.",
    ),
    describe=lambda indices, width: (
        (
            f"the indices {indices.tolist()}"
            if indices.numel() <= 16
            else f"{len(indices)} x {indices.shape[1]} indices up to {indices.max()}"
        )
        + f" and a width of {width}"
    ),
)


# ── 7.2 ──────────────────────────────────────────────────────────────────────────────────────────


def need_size(height: int, width: int, depth: int) -> list[int]:
    """Predict which unpooling layers need ``output_size``.

    A map of ``height`` x ``width`` is pooled ``depth`` times with 2 x 2 windows and
    ceil_mode=True. The pooling layers have the numbers 1 to ``depth``, in the order of the encoder,
    and unpooling layer n belongs to pooling layer n: it returns to the size before that pooling.
    Without ``output_size``, an unpooling layer doubles both sides. Return the numbers of the
    unpooling layers for which this gives a wrong size, in increasing order, as a list.

    Then predict: which are they for SegNet, with five pooling layers and images of 360 x 480
    pixels?
    """
    numbers = []
    for number in range(1, depth + 1):
        if height % 2 or width % 2:
            numbers.append(number)
        height, width = (height + 1) // 2, (width + 1) // 2
    return numbers


def sizes_rounded_down(height: int, width: int, depth: int) -> list[int]:
    numbers = []
    for number in range(1, depth + 1):
        if height % 2 or width % 2:
            numbers.append(number)
        height, width = height // 2, width // 2
    return numbers


def sizes_of_heights(height: int, width: int, depth: int) -> list[int]:
    return need_size(height, 2**depth, depth)


def sizes_of_widths(height: int, width: int, depth: int) -> list[int]:
    return need_size(2**depth, width, depth)


def sizes_if_both_are_odd(height: int, width: int, depth: int) -> list[int]:
    both = set(sizes_of_heights(height, width, depth)) & set(sizes_of_widths(height, width, depth))
    return sorted(both)


def sizes_from_zero(height: int, width: int, depth: int) -> list[int]:
    return [number - 1 for number in need_size(height, width, depth)]


def sizes_in_the_order_of_the_decoder(height: int, width: int, depth: int) -> list[int]:
    return need_size(height, width, depth)[::-1]


def sizes_numbered_by_the_decoder(height: int, width: int, depth: int) -> list[int]:
    return sorted(depth + 1 - number for number in need_size(height, width, depth))


def sizes_after_the_pooling(height: int, width: int, depth: int) -> list[int]:
    return need_size((height + 1) // 2, (width + 1) // 2, depth)


def sizes_that_do_not_divide(height: int, width: int, depth: int) -> list[int]:
    return [n for n in range(1, depth + 1) if height % 2**n or width % 2**n]


def sizes_of_the_image(height: int, width: int, depth: int) -> list[int]:
    return list(range(1, depth + 1)) if height % 2 or width % 2 else []


def sizes_until_the_first(height: int, width: int, depth: int) -> list[int]:
    return need_size(height, width, depth)[:1]


def sizes_without_the_last(height: int, width: int, depth: int) -> list[int]:
    return need_size(height, width, depth - 1)


def sizes_of_even_maps(height: int, width: int, depth: int) -> list[int]:
    odd = need_size(height, width, depth)
    return [number for number in range(1, depth + 1) if number not in odd]


def sizes_of_odd_sums(height: int, width: int, depth: int) -> list[int]:
    numbers = []
    for number in range(1, depth + 1):
        if (height + width) % 2:
            numbers.append(number)
        height, width = (height + 1) // 2, (width + 1) // 2
    return numbers


def sizes_rounded_to_even(height: int, width: int, depth: int) -> list[int]:
    numbers = []
    for number in range(1, depth + 1):
        if height % 2 or width % 2:
            numbers.append(number)
        height, width = round(height / 2), round(width / 2)
    return numbers


def sizes_as_truth_values(height: int, width: int, depth: int) -> list[bool]:
    return [number in need_size(height, width, depth) for number in range(1, depth + 1)]


def sizes_counted(height: int, width: int, depth: int) -> int:
    return len(need_size(height, width, depth))


def sizes_in_a_set(height: int, width: int, depth: int) -> set[int]:
    return set(need_size(height, width, depth))


def sizes_counted_down(height: int, width: int, depth: int) -> list[int]:
    return [depth + 1 - number for number in need_size(height, width, depth)]


def sizes_of_the_larger_side(height: int, width: int, depth: int) -> list[int]:
    return sizes_of_heights(max(height, width), width, depth)


def sizes_listed_twice(height: int, width: int, depth: int) -> list[int]:
    sides = sizes_of_heights(height, width, depth), sizes_of_widths(height, width, depth)
    return sorted([*sides[0], *sides[1]])


def sizes_with_one_more(height: int, width: int, depth: int) -> list[int]:
    return need_size(height, width, depth + 1)


def sizes_of_the_first_layer(height: int, width: int, depth: int) -> list[int]:
    return need_size(height, width, 1)


def sizes_of_the_same_width(height: int, width: int, depth: int) -> list[int]:
    return list(range(1, depth + 1)) if width % 2 else sizes_of_heights(height, width, depth)


def sizes_doubled_on(height: int, width: int, depth: int) -> list[int]:
    side = 2**depth
    last = -(-height // side), -(-width // side)
    return [
        number
        for number in range(1, depth + 1)
        if any(
            end * 2 ** (depth + 1 - number) != -(-start // 2 ** (number - 1))
            for end, start in zip(last, (height, width), strict=True)
        )
    ]


sizes = Exercise(
    "7.2 Which unpooling layers need output_size?",
    solution=need_size,
    cases=[
        (46, 60, 3),
        (45, 60, 1),
        (46, 64, 4),
        (96, 128, 4),
        (60, 45, 3),
        (45, 61, 2),
        (99, 133, 4),
        (88, 56, 4),
        (1, 1, 2),
        (20, 26, 4),
        (224, 224, 5),
        (50, 67, 1),
    ],
    mistakes=(
        Mistake(
            sizes_rounded_down,
            "These sides are rounded down. With ceil_mode=True, 45 rows become 23.",
        ),
        Mistake(
            sizes_of_heights, "Only the height is tested. A width that is odd matters as well."
        ),
        Mistake(sizes_of_widths, "Only the width is tested. A height that is odd matters as well."),
        Mistake(
            sizes_if_both_are_odd,
            "One odd side is enough: doubling it gives one row or one column too many.",
        ),
        Mistake(sizes_from_zero, "The numbers are one too small: the first pooling is number 1."),
        Mistake(
            sizes_in_the_order_of_the_decoder,
            "The numbers are right, but the list must be in increasing order.",
        ),
        Mistake(
            sizes_numbered_by_the_decoder,
            "These numbers count from the last pooling layer. Layer 1 is the first of the encoder, "
            "and unpooling layer 1 belongs to it.",
        ),
        Mistake(
            sizes_after_the_pooling,
            "The sides are tested after the pooling. Unpooling layer n returns to the size "
            "*before* pooling layer n, so test that size.",
        ),
        Mistake(
            sizes_that_do_not_divide,
            "After the first odd side, all later layers are reported. But that side was rounded "
            "up, so the next one may be even again: 46 becomes 23, and 23 becomes 12.",
        ),
        Mistake(
            sizes_of_the_image,
            "Only the image is tested. Its half, or the half of the half, may be odd too.",
        ),
        Mistake(
            sizes_until_the_first,
            "The list ends after the first odd map. Later maps can be odd again.",
        ),
        Mistake(sizes_without_the_last, "The last pooling is left out: there are `depth` of them."),
        Mistake(
            sizes_of_even_maps,
            "These are the layers for which doubling is right. Return the others.",
        ),
        Mistake(
            sizes_of_odd_sums,
            "A map with two odd sides is missed here. Test each side on its own. (A test of the "
            "sum does not work, because the sum of two odd numbers is even.)",
        ),
        Mistake(
            sizes_rounded_to_even,
            "round(22.5) is 22 in Python, because round prefers even numbers. With ceil_mode=True, "
            "45 rows become 23.",
        ),
        Mistake(
            sizes_as_truth_values,
            "This has one True or False per layer. Return the numbers of the layers that are True.",
        ),
        Mistake(sizes_counted, "This is their number. Return the list of the numbers."),
        Mistake(sizes_in_a_set, "A set has no order. Return a list in increasing order."),
        Mistake(
            sizes_counted_down,
            "These numbers count down from `depth`. Layer 1 is the first pooling layer of the "
            "encoder, and unpooling layer 1 belongs to it.",
        ),
        Mistake(
            sizes_of_the_larger_side,
            "Only the larger side is tested. The smaller one can be odd, too.",
        ),
        Mistake(
            sizes_listed_twice,
            "A layer with two odd sides is listed twice. List each number once.",
        ),
        Mistake(
            sizes_with_one_more, "There is one layer too many: the last one has number `depth`."
        ),
        Mistake(
            sizes_of_the_first_layer,
            "Only the first layer is tested. Does a `return` inside the loop end it too early?",
        ),
        Mistake(
            sizes_of_the_same_width,
            "Only the height becomes smaller. Each pooling halves the width as well.",
        ),
        Mistake(
            sizes_doubled_on,
            "The last size is doubled again and again, so a wrong size makes the next ones wrong. "
            "Test each layer alone: pool the right size once, and double it once.",
        ),
    ),
    hints=(
        "Follow 45 rows by hand: pooled, then doubled. Is the result 45? And for 46?",
        "Doubling is wrong if the map before the pooling has an odd side. Go through the layers "
        "and keep the current height and width.",
        "for number in range(1, depth + 1): if height % 2 or width % 2, append number; then "
        "height, width = (height + 1) // 2, (width + 1) // 2.",
    ),
    describe=lambda height, width, depth: (
        f"{height} x {width} and {counted(depth, 'pooling layer')}"
    ),
)


# ── 7.3 ──────────────────────────────────────────────────────────────────────────────────────────


def normalized(kernel: Sequence[float], stride: int) -> list[float]:
    """Normalise the kernel of a transposed convolution so that a constant signal stays constant.

    The 1-D layer has the weights ``kernel`` (a list of numbers) and an integer ``stride``, without
    padding or bias. Far from both ends of the output, each position receives the sum of some
    weights: every ``stride``-th weight of the kernel. For example, with the kernel 1, 2, 3 and
    stride 2, a long signal of ones becomes 1 + 3, 2, 1 + 3, 2, …. Divide each weight by the sum in
    which it occurs, so that every position receives 1. (No such sum is 0.) The example becomes
    0.25, 1, 0.75. Return the new weights as a list.

    Then predict: what does the kernel 1, 1, 1 with stride 2 become?
    """
    return [weight / sum(kernel[place % stride :: stride]) for place, weight in enumerate(kernel)]


def divided_by_the_total(kernel: Sequence[float], stride: int) -> list[float]:
    return [weight / sum(kernel) for weight in kernel]


def divided_by_the_mean_of_positions(kernel: Sequence[float], stride: int) -> list[float]:
    return [weight * stride / sum(kernel) for weight in kernel]


def divided_by_counts(kernel: Sequence[float], stride: int) -> list[float]:
    return [weight / len(kernel[place % stride :: stride]) for place, weight in enumerate(kernel)]


def divided_by_neighbours(kernel: Sequence[float], stride: int) -> list[float]:
    pieces = [kernel[start : start + stride] for start in range(0, len(kernel), stride)]
    return [weight / sum(piece) for piece in pieces for weight in piece]


def divided_by_themselves(kernel: Sequence[float], stride: int) -> list[float]:
    return [1.0 for _ in kernel]


def divided_by_the_largest_sum(kernel: Sequence[float], stride: int) -> list[float]:
    largest = max(sum(kernel[phase::stride]) for phase in range(stride))
    return [weight / largest for weight in kernel]


def multiplied_by_sums(kernel: Sequence[float], stride: int) -> list[float]:
    return [weight * sum(kernel[place % stride :: stride]) for place, weight in enumerate(kernel)]


def only_the_sums(kernel: Sequence[float], stride: int) -> list[float]:
    return [sum(kernel[phase::stride]) for phase in range(stride)]


def divided_from_the_end(kernel: Sequence[float], stride: int) -> list[float]:
    return normalized(kernel[::-1], stride)


def divided_by_later_weights(kernel: Sequence[float], stride: int) -> list[float]:
    return [weight / sum(kernel[place::stride]) for place, weight in enumerate(kernel)]


def divided_by_means(kernel: Sequence[float], stride: int) -> list[float]:
    parts = [kernel[phase::stride] for phase in range(stride)]
    return [
        weight * len(parts[place % stride]) / sum(parts[place % stride])
        for place, weight in enumerate(kernel)
    ]


def divided_by_the_largest_weight(kernel: Sequence[float], stride: int) -> list[float]:
    return [weight / max(kernel[place % stride :: stride]) for place, weight in enumerate(kernel)]


def divided_by_absolute_sums(kernel: Sequence[float], stride: int) -> list[float]:
    sizes = [abs(weight) for weight in kernel]
    return [weight / sum(sizes[place % stride :: stride]) for place, weight in enumerate(kernel)]


def divided_by_the_nearest(kernel: Sequence[float], stride: int) -> list[float]:
    sums = [
        sum(kernel[near] for near in (place - stride, place, place + stride) if near in indices)
        for indices in [range(len(kernel))]
        for place in indices
    ]
    return [weight / total if total else 0.0 for weight, total in zip(kernel, sums, strict=True)]


def divided_by_the_stride(kernel: Sequence[float], stride: int) -> list[float]:
    return [weight / stride for weight in kernel]


def divided_in_groups(kernel: Sequence[float], stride: int) -> list[float]:
    return [
        weight / sum(kernel[phase::stride])
        for phase in range(stride)
        for weight in kernel[phase::stride]
    ]


def divided_for_stride_two(kernel: Sequence[float], stride: int) -> list[float]:
    return normalized(kernel, min(stride, 2))


def divided_by_whole_numbers(kernel: Sequence[float], stride: int) -> list[float]:
    return [weight // sum(kernel[place % stride :: stride]) for place, weight in enumerate(kernel)]


def divided_while_it_changes(kernel: list[float], stride: int) -> list[float]:
    for place in range(len(kernel)):
        kernel[place] /= sum(kernel[place % stride :: stride])
    return kernel


def only_a_sum_for_each_weight(kernel: Sequence[float], stride: int) -> list[float]:
    return [sum(kernel[place % stride :: stride]) for place in range(len(kernel))]


def divided_in_an_array_of_integers(kernel: Sequence[float], stride: int) -> np.ndarray:
    return np.array(normalized(kernel, stride)).astype(np.array(kernel).dtype)


def divided_by_earlier_weights(kernel: Sequence[float], stride: int) -> list[float]:
    return [weight / sum(kernel[place::-stride]) for place, weight in enumerate(kernel)]


def divided_by_the_first_sum(kernel: Sequence[float], stride: int) -> list[float]:
    return [weight / sum(kernel[::stride]) for weight in kernel]


kernel = Exercise(
    "7.3 Normalise a kernel",
    solution=normalized,
    cases=[
        ([1, 2, 3], 2),
        ([1, 3], 1),
        ([1, 2, 4, 8], 2),
        ([1, 2, 4, 8, 16], 2),
        ([1, 2, 4, 8, 16, 32, 64], 3),
        ([3, 5], 2),
        ([2, 6, 7], 1),
        ([0.5, -3, 5, 2], 2),
        ([2, 0, 5, 1, 1, 1, 4], 3),
        ([1, 2, 3, 4, 5, 6, 7, 8, 9], 4),
    ],
    mistakes=(
        Mistake(
            divided_by_the_total,
            "All weights are divided by the sum of the kernel. Only some of the weights arrive at "
            "one position: those that are `stride` places apart.",
        ),
        Mistake(
            divided_by_the_mean_of_positions,
            "All weights are multiplied by one common factor. Then the positions still receive "
            "unequal sums, and only their mean is 1.",
        ),
        Mistake(
            divided_by_counts,
            "Each weight is divided by the number of weights in its sum. Divide by the sum.",
        ),
        Mistake(
            divided_by_neighbours,
            "Here, each sum contains `stride` neighbouring weights. But neighbouring weights go to "
            "different positions if the stride is above 1. Add every `stride`-th weight.",
        ),
        Mistake(
            divided_by_themselves,
            "Every weight becomes 1. Then a position receives as many ones as its sum has weights.",
        ),
        Mistake(
            divided_by_the_largest_sum,
            "All positions are divided by the largest sum, so only one of them becomes 1. Every "
            "position has its own sum.",
        ),
        Mistake(multiplied_by_sums, "The weights are multiplied by the sums. Divide by them."),
        Mistake(
            only_the_sums,
            "These are the sums that arrive at the positions. Return the weights, divided by them.",
        ),
        Mistake(
            divided_from_the_end,
            "The result is reversed. Weight 0 of the result replaces weight 0 of the kernel.",
        ),
        Mistake(
            divided_by_later_weights,
            "kernel[place::stride] begins at this weight, so earlier weights of the same sum are "
            "missing. The sum begins at place % stride.",
        ),
        Mistake(
            divided_by_means,
            "Each weight is divided by the mean of its group, not by the sum. The sum of the group "
            "then becomes the number of its weights, and not 1.",
        ),
        Mistake(
            divided_by_the_largest_weight,
            "Each weight is divided by the largest weight of its sum. Divide by the sum itself.",
        ),
        Mistake(
            divided_by_absolute_sums,
            "The sums use absolute values. A negative weight lowers its sum, so keep its sign.",
        ),
        Mistake(
            divided_by_the_nearest,
            "Only the weights at the distance of one stride are added. In a long kernel, the sum "
            "also contains the weights at two and more strides.",
        ),
        Mistake(
            divided_by_the_stride,
            "All weights are divided by the same number. Divide each weight by its own sum.",
        ),
        Mistake(
            divided_in_groups,
            "The weights are right, but sorted by position. They must keep the order of the "
            "kernel.",
        ),
        Mistake(
            divided_for_stride_two,
            "Every stride above 1 is treated as 2 here. Use the argument.",
        ),
        Mistake(
            divided_by_whole_numbers,
            "// rounds down to an integer. The new weights are floats: use /.",
        ),
        Mistake(
            divided_while_it_changes,
            "A weight is replaced while the sums are still computed, so later sums contain new "
            "weights. Keep the old ones until the end.",
        ),
        Mistake(
            only_a_sum_for_each_weight,
            "These are the sums, one for each weight. Divide the weights by them.",
        ),
        Mistake(
            divided_in_an_array_of_integers,
            "The kernel contains integers, and an array made of them cannot hold decimals. Make "
            "an array of floats.",
        ),
        Mistake(
            divided_by_earlier_weights,
            "Each sum ends with this weight, as at the beginning of the output. Far from both "
            "ends, a position also receives the later weights.",
        ),
        Mistake(
            divided_by_the_first_sum,
            "All weights are divided by the sum that contains the first weight. Use the sum in "
            "which each weight occurs.",
        ),
    ),
    hints=(
        "Exercise 6.3 predicts what the positions receive. Which weights are added there?",
        "Weight i is added to the weights i + stride, i - stride, i + 2 * stride, and so on: "
        "kernel[i % stride :: stride].",
        "Divide weight i by sum(kernel[i % stride :: stride]).",
    ),
    describe=lambda kernel, stride: f"the kernel {kernel} and stride {stride}",
)


# ── 7.4 ──────────────────────────────────────────────────────────────────────────────────────────


def smallest_map(x: Tensor) -> Tensor:
    """Construct a counterexample: another map with the same pooled values and indices as ``x``.

    ``x`` is a map (H, W) of non-negative floats. It is pooled with 2 x 2 windows, ceil_mode=True
    and return_indices=True. Construct the map ``y`` (H, W), also non-negative, that has the same
    pooled values *and* the same indices, and the smallest possible sum. If the maximum occurs
    several times in a window, the index names the first position, counted row by row. Return ``y``.
    """
    values, indices = F.max_pool2d(x[None, None], 2, ceil_mode=True, return_indices=True)
    return F.max_unpool2d(values, indices, 2, output_size=x.shape)[0, 0]


def spread(x: Tensor) -> Tensor:
    """The maximum of the window at every position: (H, W) -> (H, W)."""
    values = pooled(x[None, None])[0]
    return F.interpolate(values, scale_factor=2)[0, 0, : x.shape[0], : x.shape[1]]


def dark_with_all_maxima(x: Tensor) -> Tensor:
    return torch.where(x == spread(x), x, 0)


def dark_everywhere(x: Tensor) -> Tensor:
    return torch.zeros_like(x)


def dark_as_bright_as_possible(x: Tensor) -> Tensor:
    return spread(x)


def dark_as_it_is(x: Tensor) -> Tensor:
    return x.clone()


def dark_in_the_corner(x: Tensor) -> Tensor:
    y = torch.zeros_like(x)
    y[::2, ::2] = pooled(x[None, None])[0][0, 0]
    return y


def dark_but_for_the_minima(x: Tensor) -> Tensor:
    least = F.interpolate(-pooled(-x[None, None])[0], scale_factor=2)[0, 0]
    return torch.where(smallest_map(x) > 0, x, least[: x.shape[0], : x.shape[1]])


def dark_without_the_border(x: Tensor) -> Tensor:
    y = torch.zeros_like(x)
    height, width = x.shape[0] // 2 * 2, x.shape[1] // 2 * 2
    y[:height, :width] = smallest_map(x[:height, :width]) if height and width else 0
    return y


def dark_of_the_whole_map(x: Tensor) -> Tensor:
    return torch.where(x == x.max(), x, 0)


def dark_doubled(x: Tensor) -> Tensor:
    values, indices = pooled(x[None, None])
    return F.max_unpool2d(values, indices, 2)[0, 0]


def dark_doubled_and_cut(x: Tensor) -> Tensor:
    return dark_doubled(x)[: x.shape[0], : x.shape[1]]


def dark_indices(x: Tensor) -> Tensor:
    return torch.where(smallest_map(x) > 0, 1.0, 0.0)


def dark_at_the_last_of_equals(x: Tensor) -> Tensor:
    height, width = x.shape
    wide = F.pad(x, (0, width % 2, 0, height % 2), value=-1)
    return smallest_map(wide.flip(0, 1)).flip(0, 1)[:height, :width].clamp(min=0)


def dark_pooled(x: Tensor) -> Tensor:
    return pooled(x[None, None])[0][0, 0]


def dark_with_negatives(x: Tensor) -> Tensor:
    return torch.where(smallest_map(x) > 0, x, -1.0)


def dark_but_for_the_least(x: Tensor) -> Tensor:
    return torch.where(smallest_map(x) > 0, x, x.min())


def dark_halved_everywhere(x: Tensor) -> Tensor:
    return x / 2


def dark_with_four_axes(x: Tensor) -> Tensor:
    return smallest_map(x)[None, None]


def dark_with_three_axes(x: Tensor) -> Tensor:
    return smallest_map(x)[None]


def dark_squeezed(x: Tensor) -> Tensor:
    return smallest_map(x).squeeze()


def dark_as_values_and_indices(x: Tensor) -> tuple[Tensor, Tensor]:
    return pooled(x[None, None])


def dark_column_by_column(x: Tensor) -> Tensor:
    return smallest_map(x.T).T


def dark_but_for_zeros(x: Tensor) -> Tensor:
    """Writes the 0 of a window without a positive value to the place that was found before."""
    y, place = torch.zeros_like(x), (0, 0)
    for top in range(0, x.shape[0], 2):
        for left in range(0, x.shape[1], 2):
            window = x[top : top + 2, left : left + 2]
            if window.max() > 0:
                row, column = divmod(int(window.argmax()), window.shape[1])
                place = top + row, left + column
            y[place] = window.max()
    return y


def dark_beyond_the_border(x: Tensor) -> Tensor:
    """Reads whole windows at the border, too."""
    for top in range(0, x.shape[0], 2):
        for left in range(0, x.shape[1], 2):
            for row in (top, top + 1):
                for column in (left, left + 1):
                    x[row, column]
    return smallest_map(x)


def dark_in_wide_windows(x: Tensor) -> Tensor:
    y = torch.zeros_like(x)
    for top in range(0, x.shape[0], 2):
        for left in range(0, x.shape[1], 2):
            window = x[top : top + 2, left : left + 2]
            row, column = divmod(int(window.argmax()), 2)
            y[top + row, left + column] = window.max()
    return y


def dark_halved(x: Tensor) -> Tensor:
    y = smallest_map(x)
    return torch.where(y > 0, y, x / 2)


counterexample = Exercise(
    "7.4 Construct a counterexample",
    solution=smallest_map,
    cases=[
        (torch.tensor([[1.0, 3, 2, 0], [0, 2, 1, 1], [4, 0, 0, 1], [2, 1, 5, 0]]),),
        (torch.tensor([[2.0, 2, 1, 3], [2, 2, 3, 0]]),),
        (torch.tensor([[0.0, 0, 4, 4], [0, 0, 4, 4], [1, 1, 0, 6], [0, 1, 6, 6]]),),
        (torch.tensor([[1.0, 3, 0, 0], [0, 2, 0, 0]]),),
        (random_map(1, 6, 8),),
        (random_map(2, 5, 7),),
        (random_map(3, 4, 3) / 4,),
        (random_map(4, 3, 6),),
        (torch.tensor([[3.0]]),),
        (torch.tensor([[2.0, 5, 5]]),),
    ],
    mistakes=(
        Mistake(
            dark_with_all_maxima,
            "In a window with several equal maxima, all of them are kept. One is enough: the one "
            "that the index names.",
        ),
        Mistake(dark_everywhere, "The pooled values of this map are all 0. They must not change."),
        Mistake(
            dark_as_bright_as_possible,
            "This map has the right pooled values, but each window is constant, so its index names "
            "the first position. Its sum is also the largest possible one, not the smallest.",
        ),
        Mistake(
            dark_as_it_is,
            "x itself has the same values and indices, but a smaller sum is possible: what may "
            "happen to the values that are no maxima?",
        ),
        Mistake(
            dark_in_the_corner,
            "Each maximum stands in the upper left corner of its window here, so the indices "
            "change. Use return_indices=True.",
        ),
        Mistake(
            dark_but_for_the_minima,
            "The other values became the minimum of the window. They do not change the result "
            "of pooling, so they can be 0.",
        ),
        Mistake(
            dark_without_the_border,
            "The last row or column of an odd side is lost. With ceil_mode=True, it belongs to "
            "smaller windows that have maxima too.",
        ),
        Mistake(
            dark_of_the_whole_map,
            "Only the maximum of the whole map is kept. Every 2 x 2 window needs its own.",
        ),
        Mistake(
            dark_doubled,
            "For an odd side the result is too large, and for an odd width its values are also "
            "written to wrong positions: pass output_size.",
        ),
        Mistake(
            dark_doubled_and_cut,
            "For an odd width, the values are written to wrong positions: the indices were counted "
            "in a map of another width. Pass output_size instead of cutting.",
        ),
        Mistake(
            dark_indices,
            "This shows with 1 where the maxima are. The map must hold their values.",
        ),
        Mistake(
            dark_at_the_last_of_equals,
            "Of equal maxima, the last one is kept. The index names the first one, row by row.",
        ),
        Mistake(dark_pooled, "This is the pooled map. Return a map of the size of x."),
        Mistake(
            dark_with_negatives,
            "The other values are negative. Numbers below 0 are not allowed, so 0 is the smallest.",
        ),
        Mistake(
            dark_but_for_the_least,
            "The other values became the minimum of the whole map. They can be 0.",
        ),
        Mistake(
            dark_halved_everywhere,
            "All values are halved, so the pooled values are halved too. They must not change.",
        ),
        Mistake(
            dark_with_four_axes,
            "The values are right, but the result has four axes. Return a map (H, W).",
        ),
        Mistake(
            dark_halved,
            "Halved values keep the pooled values and indices, but the sum can be smaller still.",
        ),
        Mistake(
            dark_with_three_axes,
            "The values are right, but the result has three axes. Return a map (H, W).",
        ),
        Mistake(
            dark_squeezed,
            "squeeze() removes every axis of length 1, also the height or the width of a map with "
            "one row or one column. Remove only the axes for images and channels.",
        ),
        Mistake(
            dark_as_values_and_indices,
            "These are the pooled values and the indices. Return a map that has them.",
        ),
        Mistake(
            dark_column_by_column,
            "Of equal maxima, the first one is kept, but counted column by column. The index "
            "names the first one row by row.",
        ),
        Mistake(
            dark_but_for_zeros,
            "In a window of zeros, no value is above 0. If your loop then keeps an old position "
            "or none, it writes this 0 over the maximum of another window.",
        ),
        Mistake(
            dark_beyond_the_border,
            "The loop leaves the map at an odd side. With ceil_mode=True, the last window of such "
            "a side has one row or one column only.",
        ),
        Mistake(
            dark_in_wide_windows,
            "// 2 and % 2 give row and column in a window with two columns. With ceil_mode=True, "
            "the last window of an odd width has only one.",
        ),
    ),
    hints=(
        "Which values of x can you change without changing what the pooling returns?",
        "A value that is no maximum may be anything below the maximum. The smallest number that is "
        "allowed is 0.",
        "Pool x with return_indices=True, and unpool the same values with output_size=x.shape.",
    ),
    describe=lambda x: f"x = {brief(x)}" if x.numel() <= 16 else f"a map {tuple(x.shape)}",
)


# ── 7.5 ──────────────────────────────────────────────────────────────────────────────────────────


def unpool_planes(values: np.ndarray, indices: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Find and correct the fault in an unpooling that was written with NumPy.

    ``values`` and ``indices`` are arrays (N, C, h, w): a decoder's values, and the indices that
    PyTorch's max_pool2d returned for maps (N, C, H, W) and 2 x 2 windows. ``size`` is (H, W). This
    function is right for a single map, N = C = 1. For more maps it runs, but its result is wrong:

        out = np.zeros((*values.shape[:2], *size))
        np.put(out, indices, values)  # writes at positions of the flattened array
        return out

    Return the unpooled maps, an array (N, C, H, W).
    """
    out = np.zeros((*values.shape[:2], *size))
    for n, c in np.ndindex(values.shape[:2]):
        np.put(out[n, c], indices[n, c], values[n, c])
    return out


def put_with_offsets(
    values: np.ndarray, indices: np.ndarray, size: tuple[int, int], offsets: np.ndarray
) -> np.ndarray:
    """Write at the indices plus a number for each of the maps (N, C); what lies outside is lost."""
    out = np.zeros((*values.shape[:2], *size))
    where = indices + offsets[:, :, None, None]
    inside = where < out.size
    np.put(out, where[inside], values[inside])
    return out


def planes_forgotten(values, indices, size):
    out = np.zeros((*values.shape[:2], *size))
    np.put(out, indices, values)
    return out


def planes_of_channels(values, indices, size):
    n, c = values.shape[:2]
    offsets = np.tile(np.arange(c), (n, 1)) * size[0] * size[1]
    return put_with_offsets(values, indices, size, offsets)


def planes_of_images(values, indices, size):
    n, c = values.shape[:2]
    offsets = np.tile(np.arange(n)[:, None], (1, c)) * size[0] * size[1]
    return put_with_offsets(values, indices, size, offsets)


def planes_of_images_and_channels(values, indices, size):
    n, c = values.shape[:2]
    offsets = np.arange(n)[:, None] * c * size[0] * size[1] + np.zeros((1, c), int)
    return put_with_offsets(values, indices, size, offsets)


def planes_of_the_pooled_size(values, indices, size):
    n, c, height, width = values.shape
    offsets = np.arange(n * c).reshape(n, c) * height * width
    return put_with_offsets(values, indices, size, offsets)


def planes_of_the_doubled_size(values, indices, size):
    n, c, height, width = values.shape
    offsets = np.arange(n * c).reshape(n, c) * 4 * height * width
    return put_with_offsets(values, indices, size, offsets)


def planes_added(values, indices, size):
    n, c = values.shape[:2]
    offsets = (np.arange(n)[:, None] + np.arange(c)) * size[0] * size[1]
    return put_with_offsets(values, indices, size, offsets)


def planes_in_the_wrong_order(values, indices, size):
    n, c = values.shape[:2]
    offsets = (np.arange(c) * n + np.arange(n)[:, None]) * size[0] * size[1]
    return put_with_offsets(values, indices, size, offsets)


def planes_without_the_plane(values, indices, size):
    n, c = values.shape[:2]
    return put_with_offsets(values, indices, size, np.arange(n * c).reshape(n, c))


def planes_with_sides_exchanged(values, indices, size):
    rows, columns = indices % size[0], indices // size[0]
    return unpool_planes(values, np.minimum(rows * size[1] + columns, size[0] * size[1] - 1), size)


def planes_of_the_first_indices(values, indices, size):
    return unpool_planes(values, np.broadcast_to(indices[:1, :1], values.shape), size)


def planes_of_the_first_image(values, indices, size):
    return unpool_planes(values, np.broadcast_to(indices[:1], values.shape), size)


def planes_one_only(values, indices, size):
    out = unpool_planes(values, indices, size)
    return out[:1, :1]


def planes_of_the_width(values, indices, size):
    n, c = values.shape[:2]
    return put_with_offsets(values, indices, size, np.arange(n * c).reshape(n, c) * size[1])


def planes_of_the_height(values, indices, size):
    n, c = values.shape[:2]
    return put_with_offsets(values, indices, size, np.arange(n * c).reshape(n, c) * size[0])


def planes_beyond_the_end(values, indices, size):
    """Offsets of the doubled size, without a test that they lie inside."""
    n, c, height, width = values.shape
    offsets = np.arange(n * c).reshape(n, c, 1, 1) * 4 * height * width
    out = np.zeros((n, c, *size))
    np.put(out, indices + offsets, values)
    return out


def planes_in_copies(values, indices, size):
    out = np.zeros((*values.shape[:2], *size))
    for n, c in np.ndindex(values.shape[:2]):
        np.put(out[n, c].flatten(), indices[n, c], values[n, c])
    return out


def planes_transposed(values, indices, size):
    return unpool_planes(values, indices, size).swapaxes(2, 3)


def planes_spread(values, indices, size):
    up = values.repeat(2, axis=2).repeat(2, axis=3)
    return up[..., : size[0], : size[1]]


def planes_cut(values, indices, size):
    """Doubled, then cut: wrong for an odd width."""
    height, width = values.shape[2:]
    doubled = unpool_planes(values, indices, (2 * height, 2 * width))
    return doubled[..., : size[0], : size[1]]


def planes_in_integers(values, indices, size):
    return unpool_planes(values, indices, size).astype(int)


def planes_without_negatives(values, indices, size):
    return np.maximum(unpool_planes(values, indices, size), 0)


def planes_doubled(values, indices, size):
    height, width = values.shape[2:]
    return unpool_planes(values, indices, (2 * height, 2 * width))


def planes_divided_by_the_height(values, indices, size):
    out = np.zeros((*values.shape[:2], *size))
    for n, c in np.ndindex(values.shape[:2]):
        out[n, c][indices[n, c] // size[0], indices[n, c] % size[0]] = values[n, c]
    return out


def planes_of_one_image(values, indices, size):
    out = unpool_planes(values, indices, size)
    out[1:] = 0
    return out


def planes_of_the_first_channel(values, indices, size):
    return unpool_planes(values, np.broadcast_to(indices[:, :1], values.shape), size)


def planes_everywhere(values, indices, size):
    out = np.zeros((*values.shape[:2], size[0] * size[1]))
    out[..., indices] = values
    return out.reshape(*values.shape[:2], *size)


def planes_along_the_last_axis(values, indices, size):
    out = np.zeros((*values.shape[:2], *size))
    offsets = np.arange(values.shape[0] * values.shape[1]) * size[0] * size[1]
    np.put(out, indices + offsets, values)
    return out


def planes_counted_by_images(values, indices, size):
    n, c = values.shape[:2]
    out = np.zeros((n, c, *size))
    offsets = (np.arange(n)[:, None] * n + np.arange(c)) * size[0] * size[1]
    np.put(out, indices + offsets[:, :, None, None], values)
    return out


def planes_by_torch_of_arrays(values, indices, size):
    return F.max_unpool2d(values, indices, 2, output_size=size)


def planes_case(seed: int, shape: tuple[int, int, int, int]) -> tuple:
    """Values, indices and size of maps of such a shape."""
    maxima, indices = pooled(random_map(seed, *shape))
    values = 1.5 * random_map(seed + 50, *maxima.shape) - 2.25  # with decimals, one below 0
    return values.numpy(), indices.numpy(), tuple(shape[2:])


planes = Exercise(
    "7.5 Find the fault",
    solution=unpool_planes,
    cases=[
        planes_case(0, (1, 1, 4, 4)),
        planes_case(1, (1, 3, 4, 6)),
        planes_case(2, (3, 1, 6, 4)),
        planes_case(3, (2, 3, 4, 4)),
        planes_case(4, (3, 2, 5, 7)),
        planes_case(5, (2, 2, 3, 8)),
        planes_case(6, (2, 4, 6, 3)),
        planes_case(7, (1, 2, 1, 5)),
    ],
    mistakes=(
        Mistake(
            planes_forgotten,
            "PyTorch counts an index from the first position of its own map. In the flattened "
            "array, only the first map begins at position 0.",
        ),
        Mistake(
            planes_of_channels,
            "The offset counts the channels only. The maps of the second image begin behind all "
            "channels of the first one.",
        ),
        Mistake(
            planes_of_images,
            "The offset counts the images only, and by one map each. An image holds C maps.",
        ),
        Mistake(
            planes_of_images_and_channels,
            "All channels of an image are written into its first map. Channel c begins c maps "
            "later.",
        ),
        Mistake(
            planes_of_the_pooled_size,
            "The offset is a multiple of h * w, the size of the pooled map. A map of the result "
            "has H * W positions.",
        ),
        Mistake(
            planes_of_the_doubled_size,
            "The offset is a multiple of 2h * 2w. For an odd side, that is more than the H * W "
            "positions of a map.",
        ),
        Mistake(
            planes_added,
            "The offset of image n and channel c is n + c maps here. Before this map lie n * C + c "
            "maps.",
        ),
        Mistake(
            planes_in_the_wrong_order,
            "The maps of an array (N, C, H, W) are stored image by image, and within an image "
            "channel by channel. This offset counts the other way round.",
        ),
        Mistake(
            planes_without_the_plane,
            "The offset counts maps, but one map takes H * W positions: multiply by H * W.",
        ),
        Mistake(
            planes_with_sides_exchanged,
            "An index is row * W + column, so divide it by the width. Here it is divided by the "
            "height.",
        ),
        Mistake(
            planes_of_the_first_indices,
            "All maps use the indices of the first one. Every image and every channel has its own.",
        ),
        Mistake(
            planes_of_the_first_image,
            "All images use the indices of the first one. Every image has its own.",
        ),
        Mistake(
            planes_of_the_width,
            "The offset is a multiple of W. A map of the result has H * W positions.",
        ),
        Mistake(
            planes_of_the_height,
            "The offset is a multiple of H. A map of the result has H * W positions.",
        ),
        Mistake(
            planes_beyond_the_end,
            "The offset is a multiple of 2h * 2w. For an odd side, that is more than the H * W "
            "positions of a map, so some positions lie behind the last map.",
        ),
        Mistake(
            planes_in_copies,
            "The result contains only zeros. If the values were written into `x.flatten()`: "
            "flatten returns a copy, and the array x does not change.",
        ),
        Mistake(planes_one_only, "Only the first map is returned. Return all N * C of them."),
        Mistake(planes_transposed, "The last two axes are exchanged: they are height and width."),
        Mistake(
            planes_spread,
            "Every value fills its whole window. Unpooling writes it to one position only.",
        ),
        Mistake(
            planes_cut,
            "The maps are doubled first and cut afterwards. For an odd width, the index then means "
            "another row and column: write into maps of H x W from the start.",
        ),
        Mistake(
            planes_in_integers,
            "The result contains only integers. A decoder's values have decimals: let the array "
            "hold floats.",
        ),
        Mistake(
            planes_without_negatives,
            "Negative values become 0 here. Write every value as it is.",
        ),
        Mistake(
            planes_doubled,
            "For an odd side, a map of 2h x 2w is too large, and for an odd width its values are "
            "also written to wrong positions. Use `size`.",
        ),
        Mistake(
            planes_divided_by_the_height,
            "index // H and index % H are not the row and the column. A row holds W positions.",
        ),
        Mistake(
            planes_of_one_image,
            "Only the first image is written. Does a loop over the images end too early?",
        ),
        Mistake(
            planes_of_the_first_channel,
            "All channels use the indices of channel 0. Every channel has its own.",
        ),
        Mistake(
            planes_everywhere,
            "Every map receives the values of all maps. A value belongs to one image and one "
            "channel.",
        ),
        Mistake(
            planes_along_the_last_axis,
            "An array of N * C offsets is added along the last axis of the indices. Give it the "
            "shape (N, C, 1, 1).",
        ),
        Mistake(
            planes_counted_by_images,
            "The offset of image n begins with n * N maps here, but each image has C maps.",
        ),
        Mistake(
            planes_by_torch_of_arrays,
            "PyTorch needs tensors, and these are arrays: torch.from_numpy makes a tensor of one.",
        ),
    ),
    hints=(
        "Run the function for two channels and print both maps. Where are the values of the second "
        "one?",
        "np.put counts positions in the whole flattened array. Map (n, c) begins at position "
        "(n * C + c) * H * W.",
        "Either add these offsets to the indices, or go through the maps one by one: "
        "np.put(out[n, c], indices[n, c], values[n, c]).",
    ),
    describe=lambda values, indices, size: (
        f"values of shape {values.shape} and the size {size[0]} x {size[1]}"
    ),
)


# ── 7.6 ──────────────────────────────────────────────────────────────────────────────────────────


def combine(size: tuple[int, int], proposals: Sequence[Proposal]) -> Tensor:
    """Combine the scores of overlapping proposals: -> label map (H, W).

    ``size`` is (H, W), the size of the image. ``proposals`` is a list of one or more (top, left,
    scores). ``scores`` is a tensor (K, h, w) with one score for each of K classes, positive,
    negative or 0. The scores [:, 0, 0] belong to the pixel in row ``top`` and column ``left`` of
    the image, and the whole proposal lies inside the image. For each pixel and class, keep the
    largest score of all proposals that cover the pixel. Return the label map (H, W): the class with
    the largest score for each pixel, and class 0, the background, for a pixel that no proposal
    covers. If scores are equal, choose the smaller class number.

    DeconvNet's released script starts the maximum from 0, so a negative score has no effect there.
    In this exercise, keep negative scores.
    """
    num_classes = len(proposals[0][2])
    best = torch.full((num_classes, *size), -torch.inf)
    for top, left, scores in proposals:
        height, width = scores.shape[1:]
        window = best[:, top : top + height, left : left + width]
        window.copy_(torch.maximum(window, scores))
    return best.argmax(dim=0)


def paste(size, proposals, start, update):
    """Go through the proposals and update what is known of each window."""
    best = torch.full((len(proposals[0][2]), *size), float(start))
    for top, left, scores in proposals:
        height, width = scores.shape[1:]
        window = best[:, top : top + height, left : left + width]
        window.copy_(update(window, scores))
    return best


def covered(size, proposals):
    """How many proposals cover each pixel: (H, W)."""
    ones = [(top, left, torch.ones(1, *scores.shape[1:])) for top, left, scores in proposals]
    return paste(size, ones, 0, torch.add)[0]


def combined_from_zero(size, proposals):
    return paste(size, proposals, 0, torch.maximum).argmax(dim=0)


def combined_from_minus_one(size, proposals):
    return paste(size, proposals, -1, torch.maximum).argmax(dim=0)


def combined_by_votes(size, proposals):
    votes = [
        (top, left, F.one_hot(scores.argmax(0), len(scores)).permute(2, 0, 1).float())
        for top, left, scores in proposals
    ]
    return combined_by_sum(size, votes)


def combined_with_the_larger_of_equals(size, proposals):
    best = paste(size, proposals, -torch.inf, torch.maximum)
    largest = len(best) - 1 - best.flip(0).argmax(dim=0)
    return torch.where(covered(size, proposals) > 0, largest, 0)


def combined_with_minus_one(size, proposals):
    return torch.where(covered(size, proposals) > 0, combine(size, proposals), -1)


def combined_by_sum(size, proposals):
    return paste(size, proposals, 0, torch.add).argmax(dim=0)


def combined_by_the_last(size, proposals):
    return paste(size, proposals, -torch.inf, lambda old, new: new).argmax(dim=0)


def combined_by_the_first(size, proposals):
    return combined_by_the_last(size, proposals[::-1])


def combined_by_minimum(size, proposals):
    best = paste(size, proposals, torch.inf, torch.minimum)
    return torch.where(covered(size, proposals) > 0, best.argmax(dim=0), 0)


def combined_by_largest_label(size, proposals):
    labels = [(top, left, scores.argmax(0, keepdim=True)) for top, left, scores in proposals]
    return paste(size, labels, 0, torch.maximum)[0].long()


def combined_with_sides_exchanged(size, proposals):
    moved = [(left, top, scores) for top, left, scores in proposals]
    return combine(size, moved)


def combined_at_the_corner(size, proposals):
    return combine(size, [(0, 0, scores) for _, _, scores in proposals])


def combined_with_void(size, proposals):
    return torch.where(covered(size, proposals) > 0, combine(size, proposals), 255)


def combined_probabilities(size, proposals):
    soft = [(top, left, scores.softmax(dim=0)) for top, left, scores in proposals]
    return combine(size, soft)


def combined_scores(size, proposals):
    return paste(size, proposals, -torch.inf, torch.maximum)


def combined_by_the_largest_mean(size, proposals):
    order = sorted(proposals, key=lambda proposal: proposal[2].max().item())
    return combined_by_the_last(size, order)


def combined_of_things(size, proposals):
    best = paste(size, proposals, -torch.inf, torch.maximum)
    label = best[1:].argmax(dim=0) + 1
    return torch.where(covered(size, proposals) > 0, label, 0)


def combined_until_the_size(size, proposals):
    best = torch.full((len(proposals[0][2]), *size), -torch.inf)
    for top, left, scores in proposals:
        height, width = scores.shape[1:]
        window = best[:, top:height, left:width]
        window.copy_(torch.maximum(window, scores))
    return best.argmax(dim=0)


def combined_of_things_everywhere(size, proposals):
    return combined_scores(size, proposals)[1:].argmax(dim=0) + 1


def combined_by_the_surest(size, proposals, better):
    """One label and one score for each pixel, replaced where another one is better."""
    label, best = torch.zeros(size, dtype=torch.long), torch.full(size, -torch.inf)
    for top, left, scores in proposals:
        score, found = scores.max(dim=0)
        place = slice(top, top + len(score)), slice(left, left + score.shape[1])
        new = better(score, best[place])
        label[place] = torch.where(new, found, label[place])
        best[place] = torch.where(new, score, best[place])
    return label


def combined_by_the_first_of_equals(size, proposals):
    return combined_by_the_surest(size, proposals, torch.gt)


def combined_by_the_last_of_equals(size, proposals):
    return combined_by_the_surest(size, proposals, torch.ge)


def combined_from_minus_hundred(size, proposals):
    return paste(size, proposals, -100, torch.maximum).argmax(dim=0)


def combined_with_zero_as_empty(size, proposals):
    def update(old, new):
        return torch.where(old == 0, new, torch.maximum(old, new))

    return paste(size, proposals, 0, update).argmax(dim=0)


def combined_largest_scores(size, proposals):
    return combined_scores(size, proposals).max(dim=0).values


def combined_scores_and_classes(size, proposals):
    return combined_scores(size, proposals).max(dim=0)


def combined_with_another_background(size, proposals):
    best = combined_scores(size, proposals)
    return torch.cat([torch.zeros(1, *size), best]).argmax(dim=0)


def combined_without_effect(size, proposals):
    return torch.zeros(size)


def combined_in_integers(size, proposals):
    whole = [(top, left, scores.trunc()) for top, left, scores in proposals]
    return combine(size, whole)


def scores_of(seed: int, classes: int, height: int, width: int, shift: float = 0.0) -> Tensor:
    """Different scores around ``shift``, between about -1 and 1 beside it."""
    order = random_map(seed, classes, height, width)
    return order / order.numel() * 2 - 1 + shift


proposals_of = Exercise(
    "7.6 Combine proposals",
    solution=combine,
    cases=[
        ((2, 3), [(0, 0, torch.tensor([[[1.0, 2.0]], [[3.0, 1.0]]]))]),
        ((4, 5), [(1, 2, scores_of(1, 3, 2, 3))]),
        ((4, 6), [(0, 0, scores_of(2, 3, 3, 4)), (1, 2, scores_of(3, 3, 3, 4))]),
        ((4, 6), [(1, 2, scores_of(4, 3, 3, 4, -2)), (0, 0, scores_of(5, 3, 3, 4, -1.5))]),
        (
            (5, 5),
            [
                (0, 0, scores_of(6, 4, 5, 5)),
                (2, 1, scores_of(7, 4, 2, 3, 0.5)),
                (1, 2, scores_of(8, 4, 4, 2, -0.5)),
            ],
        ),
        (
            (3, 3),
            [
                (0, 0, scores_of(9, 2, 3, 3, 0.2)),
                (0, 0, scores_of(10, 2, 3, 3)),
                (0, 0, scores_of(11, 2, 3, 3, -0.2)),
                (0, 0, scores_of(12, 2, 3, 3)),
            ],
        ),
        ((6, 3), [(3, 0, scores_of(13, 3, 3, 2)), (0, 1, scores_of(14, 3, 4, 2))]),
        ((2, 2), [(0, 0, torch.tensor([[[1.0]], [[4.0]], [[4.0]]]))]),
        ((1, 3), [(0, 0, torch.full((2, 1, 2), -3.0)), (0, 1, torch.tensor([[[-5.0]], [[-4.0]]]))]),
        (
            (1, 2),
            [
                (0, 0, torch.tensor([[[0.0, 2.0]], [[2.0, 0.0]]])),
                (0, 0, torch.tensor([[[2.0, 0.0]], [[0.0, 2.0]]])),
            ],
        ),
        (
            (1, 1),
            [
                (0, 0, torch.tensor([[[0.0]], [[-1.0]]])),
                (0, 0, torch.tensor([[[-2.0]], [[-0.5]]])),
            ],
        ),
        ((1, 1), [(0, 0, torch.tensor([[[-3000.0]], [[-2000.0]]]))]),
    ],
    mistakes=(
        Mistake(
            combined_from_zero,
            "Negative scores have no effect, as if the maximum started from 0, which DeconvNet's "
            "released script does. Keep them: a covered pixel whose scores are all negative "
            "belongs to the class with the largest of them.",
        ),
        Mistake(
            combined_from_minus_one,
            "The maximum starts from -1, so smaller scores are lost. Start from -inf.",
        ),
        Mistake(
            combined_by_votes,
            "Each proposal decides on a class first, and the votes are counted. Combine the scores "
            "first, and choose the class at the end.",
        ),
        Mistake(
            combined_with_the_larger_of_equals,
            "If scores are equal, the larger class number is chosen here. Choose the smaller one.",
        ),
        Mistake(
            combined_with_minus_one,
            "Pixels without a proposal have the label -1 here. They belong to class 0.",
        ),
        Mistake(
            combined_by_sum,
            "Scores are added or averaged where proposals overlap. Keep the largest of them.",
        ),
        Mistake(
            combined_by_the_last,
            "Each proposal overwrites the ones before. The order must not matter: take the maximum "
            "of the old and the new scores.",
        ),
        Mistake(
            combined_by_the_first,
            "Where proposals overlap, only the first one counts. Take the maximum over all.",
        ),
        Mistake(
            combined_by_minimum,
            "The smallest score of the proposals is taken. Keep the largest one.",
        ),
        Mistake(
            combined_by_largest_label,
            "This compares class numbers, which have no order of that kind. Compare the scores "
            "first, and take the class at the end.",
        ),
        Mistake(
            combined_with_sides_exchanged,
            "top and left are exchanged: top is a row, left is a column.",
        ),
        Mistake(
            combined_at_the_corner,
            "All proposals lie at the upper left corner of the image here. Use top and left.",
        ),
        Mistake(
            combined_with_void,
            "Pixels without a proposal become void here. They belong to class 0, the background.",
        ),
        Mistake(
            combined_probabilities,
            "A softmax can change which proposal has the largest value, because it compares the "
            "classes of one proposal with each other. Use the scores as they are.",
        ),
        Mistake(combined_scores, "These are the scores. Return the class of the largest one."),
        Mistake(
            combined_by_the_largest_mean,
            "The proposal with the largest score decides its whole rectangle. Take the maximum for "
            "each pixel and class.",
        ),
        Mistake(
            combined_of_things,
            "Class 0 is never chosen here on covered pixels. Compare its score like all others.",
        ),
        Mistake(
            combined_until_the_size,
            "A slice a : b ends before index b; b is not a length. The rectangle ends at "
            "top + height and left + width.",
        ),
        Mistake(
            combined_of_things_everywhere,
            "Class 0 is left out everywhere. It has a score like all others, and pixels without a "
            "proposal belong to it.",
        ),
        Mistake(
            combined_by_the_first_of_equals,
            "If two proposals have the same largest score at a pixel, the first one decides on "
            "the class here. Choose the smaller class number.",
        ),
        Mistake(
            combined_by_the_last_of_equals,
            "If two proposals have the same largest score at a pixel, the last one decides on the "
            "class here. Choose the smaller class number.",
        ),
        Mistake(
            combined_from_minus_hundred,
            "The maximum starts from a negative number, but a score may be smaller than it. Is "
            "there a number below all scores?",
        ),
        Mistake(
            combined_with_zero_as_empty,
            "A score of 0 is taken for a pixel without a proposal, and a negative one replaces "
            "it. Scores may be 0.",
        ),
        Mistake(
            combined_largest_scores,
            "This is the largest score of each pixel. Return the number of its class.",
        ),
        Mistake(
            combined_scores_and_classes,
            "max(dim=0) gives the largest scores and their classes. Return the classes alone.",
        ),
        Mistake(
            combined_with_another_background,
            "A background was added in front of the K classes, so all class numbers are one too "
            "large. Class 0 already is the background.",
        ),
        Mistake(
            combined_without_effect,
            "All pixels belong to class 0 here. If you call torch.maximum: it returns a new "
            "tensor, which must be stored in the map.",
        ),
        Mistake(
            combined_in_integers,
            "The scores lose their decimals in a tensor of integers. (torch.full makes such a "
            "tensor if its number is an integer.)",
        ),
    ),
    hints=(
        "Keep a map (K, H, W) of the best scores so far. What must it hold before the first "
        "proposal, so that every score is larger?",
        "Start from -inf. For each proposal, replace the rectangle by the maximum of what it holds "
        "and the scores.",
        "best[:, top : top + h, left : left + w] = torch.maximum(that, scores); at the end, "
        "best.argmax(dim=0). Where all values are -inf, argmax returns 0.",
    ),
    describe=lambda size, proposals: (
        f"an image of {size[0]} x {size[1]} and "
        + ", ".join(
            f"scores {brief(scores) if scores.numel() <= 4 else f'of shape {tuple(scores.shape)}'} "
            f"at ({top}, {left})"
            for top, left, scores in proposals
        )
    ),
)
