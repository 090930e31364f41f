# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # Metrics: choose the number that sees your mistake
#
# A metric decides which of two networks is better. This chapter builds the common ones
# from one small table of counts, and shows what each of them cannot see.
#
# After this chapter you can
#
# - build a confusion matrix and read accuracy, precision, recall, IoU and Dice off it;
# - say what happens to void pixels and absent classes, and why three libraries give
#   three answers;
# - average over pixels, classes, images and batches, and know which average you have;
# - measure outlines: boundary IoU, boundary F1, Hausdorff, HD95, ASSD;
# - choose a metric for a task, and find the pair of predictions it would rank wrongly.
#
# You need chapters 01 (tasks) and 02 (data). Nothing is trained: the notebook takes
# less than half a minute on one CPU thread.

# %% tags=["hide-cell"]
from importlib.util import find_spec

if find_spec("segcourse") is None:  # on Colab
    get_ipython().system("pip install -q git+https://github.com/OWNER/REPO")

import torch

from segcourse.training import seed_everything

seed_everything(0)

# %%
from itertools import combinations, permutations

import torch.nn.functional as F
from scipy.ndimage import label as number_regions

from segcourse import metrics, tables, viz
from segcourse.data import Toytown, measured, stack, toytown
from segcourse.metrics import confusion_matrix, iou, mean_iou
from segcourse.ops import IGNORE

CLASSES, PALETTE = toytown.CLASSES, toytown.PALETTE

# %% [markdown]
# ## The problem
#
# Find the people in a street. Here are 32 scenes of Toytown in which people are few and
# small, and a "network" that always gives the same answer: nobody.

# %%
quiet = Toytown(32, seed=1, people=(0, 2), person_scale=0.7)
scenes = stack([quiet[i] for i in range(32)])
people = (scenes.semantic == CLASSES.index("person")).long()
nobody = torch.zeros_like(people)

right = (nobody == people).double().mean()
found = ((nobody == 1) & (people == 1)).sum()
print(f"right pixels: {100 * right:.1f} %")
print(f"pixels of people that were found: {found} of {people.sum()}")

# %% [markdown]
# Over 99 % right, and useless. The figure shows the scene with the most people in it.

# %%
most = int(people.sum(dim=(1, 2)).argmax())
sample = quiet[most]._replace(semantic=people[most])
viz.show_predictions(
    [sample],
    {"nobody": nobody[most : most + 1]},
    ("something else", "person"),
    ((200, 200, 200), (213, 94, 0)),
    alt="A street, a prediction that is grey everywhere, and the truth: grey with one "
    "or two small people in orange.",
)

# %% [markdown]
# Nothing is wrong with the arithmetic. Pixel accuracy gives every pixel one vote, and
# nearly all pixels are not people. Which number would have told you?

# %% [markdown]
# ## The idea
#
# Take one class. Every pixel is one of four cases, depending on whether it *is* the
# class and whether it *was called* the class:
#
# | | called so | not called so |
# |---|---|---|
# | **is it** | hit (true positive, TP) | miss (false negative, FN) |
# | **is not** | false alarm (false positive, FP) | rest (true negative, TN) |
#
# We need a prediction with honest mistakes. Take the truth and keep one label per block
# of 8 x 8 pixels: the best that a network with stride 8 and no skips could do.


# %%
def coarse(labels, stride=8):
    """One label, that of the middle, for each block: (..., H, W) -> (..., H, W)."""
    middles = labels[..., stride // 2 :: stride, stride // 2 :: stride]
    return middles.repeat_interleave(stride, -2).repeat_interleave(stride, -1)


town = Toytown(32, seed=1)
target = stack([town[i] for i in range(32)]).semantic
preds = coarse(target)
print(tuple(target.shape), tuple(preds.shape))

# %%
car = CLASSES.index("car")
scene = int((target == car).sum(dim=(1, 2)).argmax())  # the one with most of cars


def four_cases(name):
    ours, true = (labels[scene] == CLASSES.index(name) for labels in (preds, target))
    return true.long() + 2 * ours.long()


CASES = ("rest (TN)", "miss (FN)", "false alarm (FP)", "hit (TP)")
CASE_COLOURS = ((225, 225, 225), (204, 121, 167), (230, 159, 0), (0, 114, 178))
viz.show_labels(
    {name: four_cases(name) for name in ("car", "tree", "lamp")},
    CASES,
    CASE_COLOURS,
    alt="One scene, three times: the cars, the trees, the lamps. Large areas are blue "
    "hits, with orange false alarms and pink misses along their stepped outlines; the "
    "thin lamps are mostly misses and false alarms.",
)

# %% [markdown]
# The scores of a class are shares of these four counts:
#
# $$\text{recall} = \frac{TP}{TP+FN} \qquad \text{precision} = \frac{TP}{TP+FP}$$
#
# $$\text{IoU} = \frac{TP}{TP+FP+FN} \qquad
# \text{Dice} = \frac{2\,TP}{2\,TP+FP+FN} = \frac{2\,\text{IoU}}{1+\text{IoU}}$$
#
# Recall asks how much of the truth was found, precision how much of the answer is
# right. IoU and Dice ask both at once. None of the four counts the rest, TN, which
# made the 99 %. With $K$ classes, all counts of all classes fit in one table.

# %% [markdown]
# ## Build it
#
# ### One table for everything
#
# Two tiny label maps, with three of four classes and some void (black):

# %%
tiny_truth = torch.tensor(
    [
        [0, 0, 0, 1, 1, 1],
        [0, 0, 1, 1, 1, 1],
        [0, 2, 2, 1, 1, 255],
        [0, 2, 2, 2, 255, 255],
    ]
)
tiny_predicted = torch.tensor(
    [[0, 0, 1, 1, 1, 1], [0, 0, 0, 1, 1, 0], [0, 2, 2, 2, 1, 1], [2, 2, 2, 0, 0, 2]]
)
LETTERS = ("a", "b", "c", "d")
viz.show_labels(
    {"truth": tiny_truth, "prediction": tiny_predicted},
    LETTERS,
    PALETTE,
    alt="Two maps of 4 by 6 pixels with three classes. The truth has three black void "
    "pixels in its lower right corner; the prediction has a class everywhere.",
)

# %% [markdown]
# First drop the void: nobody knows the truth there, so nothing can be right or wrong.

# %%
counted = tiny_truth != IGNORE
t, p = tiny_truth[counted], tiny_predicted[counted]
print(tuple(tiny_truth.shape), "->", tuple(t.shape))

# %% [markdown]
# Each remaining pixel is a pair (true, predicted). Give every pair its own number, and
# count how often each number occurs:

# %%
K = len(LETTERS)
pairs = t * K + p
by_hand = torch.bincount(pairs, minlength=K * K).view(K, K)
by_hand

# %% [markdown]
# Row = truth, column = prediction. The package does the same, faster, and refuses
# labels that do not exist:

# %%
matrix = confusion_matrix(tiny_predicted, tiny_truth, K)
print("same matrix:", torch.equal(matrix, by_hand))
try:
    confusion_matrix(tiny_predicted + 3, tiny_truth, K)
except ValueError as error:
    print(error)

# %%
speed = measured("metrics")["semantic"]
print(
    f"{speed['maps']} maps of {speed['side']} x {speed['side']}: "
    f"{speed['ratio_to_torchmetrics']:.0f} times as fast as torchmetrics, "
    f"{speed['ratio_to_torchmetrics_unchecked']:.0f} times with its checks off"
)

# %% [markdown]
# ### Scores per class
#
# The diagonal holds the hits. The rest of a row are misses, the rest of a column false
# alarms:

# %%
hits = matrix.diagonal().double()
recall, precision = hits / matrix.sum(dim=1), hits / matrix.sum(dim=0)
print("recall", recall.numpy().round(3), " precision", precision.numpy().round(3))

# %% [markdown]
# Class `d` occurs nowhere: 0 / 0 is nan, "not a number", and that is the honest answer.
# All scores of the package follow this rule. IoU is left to you, as exercise 3.2.

# %%
scores = ("recall", "precision", "specificity", "iou", "dice")
table = {name: getattr(metrics, name)(matrix) for name in scores}
rows = [
    {"class": letter} | {name: values[k] for name, values in table.items()}
    for k, letter in enumerate(LETTERS)
]
tables.show_table(rows)

# %% [markdown]
# *Specificity* is the share of the other classes' pixels left alone. It is high for
# every rare class, since the rest is so large: the cousin of the 99 %.
#
# ### One number
#
# And these turn the same matrix into one number each:

# %%
numbers = (
    "pixel_accuracy",
    "mean_accuracy",
    "mean_precision",
    "mean_iou",
    "mean_dice",
    "micro_iou",
    "frequency_weighted_iou",
    "cohen_kappa",
)
tables.show_table(
    [{"score": name, "value": getattr(metrics, name)(matrix)} for name in numbers],
    digits=4,
)

# %% [markdown]
# | name | every … has one vote | also called |
# |---|---|---|
# | pixel accuracy | pixel | PA, overall accuracy, micro recall |
# | mean accuracy | class | MPA, class average, balanced accuracy, macro recall |
# | mean IoU | class | mIoU, macro Jaccard |
# | micro IoU | pixel | pooled IoU |
# | frequency weighted IoU | true pixel | FWIoU, weighted Jaccard |
# | kappa | pixel, beyond chance | Cohen's kappa |
#
# Pixel accuracy, mean accuracy, mean IoU and FWIoU are the four of the FCN paper.

# %% [markdown]
# ### Three answers to an absent class
#
# Class `d` is in neither map. What should it add to the mean?

# %%
scores = iou(matrix)
answers = {
    "left out": scores.nanmean(),
    "counts as 0": scores.nan_to_num(0.0).mean(),
    "counts as 1": scores.nan_to_num(1.0).mean(),
}
tables.show_table([{"class d": rule, "mean IoU": x} for rule, x in answers.items()])

# %% [markdown]
# One prediction, three results. In the versions that we ran, this is who answers what:
#
# | absent class | who |
# |---|---|
# | left out | torchmetrics (`MulticlassJaccardIndex`, macro), MONAI, this course |
# | counts as 0 | scikit-learn (`jaccard_score(labels=..., zero_division=0)`) |
# | counts as 1 | segmentation-models-pytorch (`iou_score`, by default) |
#
# So never compare numbers of two libraries before you know their rule. A class that
# occurs in the *prediction* only is not absent: its IoU is 0. (MONAI, which looks at
# the truth alone, leaves it out all the same.)

# %%
only_predicted = confusion_matrix(torch.tensor([[0, 1]]), torch.tensor([[0, 0]]), 3)
iou(only_predicted)

# %% [markdown]
# ### A vote per pixel, or a vote per class
#
# *Micro* averages pool all pixels, *macro* averages score each class first. On our
# coarse prediction of the 32 scenes:

# %%
matrix = confusion_matrix(preds, target, len(CLASSES))
share = matrix.sum(dim=1) / matrix.sum()
tables.show_table(
    [
        {"class": name, "share of pixels": share[k], "IoU": iou(matrix)[k]}
        for k, name in enumerate(CLASSES)
    ]
)
print(f"macro: mean IoU               {mean_iou(matrix):.3f}")
print(f"micro: pooled IoU             {metrics.micro_iou(matrix):.3f}")
print(f"frequency weighted IoU        {metrics.frequency_weighted_iou(matrix):.3f}")

# %% [markdown]
# The sky is easy and large, the lamps are thin and rare. Micro and frequency weighted
# averages mostly hear the sky. And the micro IoU is pixel accuracy in disguise: each
# wrong pixel is one FP and one FN, so it equals $A / (2 - A)$.

# %%
accuracy = metrics.pixel_accuracy(matrix)
print(f"A / (2 - A) = {accuracy / (2 - accuracy):.3f}")
viz.show_confusion(
    matrix,
    CLASSES,
    alt="Confusion matrix of eight classes with rows as truth. The diagonal is dark "
    "for sky and road, and palest for lamps, which become what is behind them.",
)

# %% [markdown]
# ### Mean pixel accuracy is a recall
#
# It is often explained as precision. It is the mean of the *recalls*: it never looks at
# a column. So it can be bought. Let cars, people and lamps grow by two pixels:


# %%
def grow(mask, radius=1):
    """Dilate by a square: (H, W) bool -> (H, W) bool."""
    wide = F.max_pool2d(mask.float()[None], 2 * radius + 1, stride=1, padding=radius)
    return wide[0] > 0


greedy = preds.clone()
for thing in (5, 6, 7):
    for image, labels in zip(greedy, preds, strict=True):
        image[grow(labels == thing, 2)] = thing
bought = confusion_matrix(greedy, target, len(CLASSES))
names = ("mean_accuracy", "mean_precision", "mean_iou")
tables.show_table(
    [
        {"prediction": title} | {name: getattr(metrics, name)(m) for name in names}
        for title, m in {"coarse": matrix, "coarse and greedy": bought}.items()
    ]
)

# %% [markdown]
# Mean accuracy rewards the greed; precision and IoU do not.
#
# ### Data set, images, batches
#
# Matrices add up, scores do not. Three ways to score 32 images:


# %%
def score_by_parts(size):
    """The mean of the mean IoU of parts of so many images."""
    parts = zip(preds.split(size), target.split(size), strict=True)
    scores = [mean_iou(confusion_matrix(p, t, len(CLASSES))) for p, t in parts]
    return sum(scores) / len(scores)


rows = [{"average over": "images", "mean IoU": score_by_parts(1)}]
for size in (2, 4, 8, 16):
    name = f"batches of {size}"
    rows.append({"average over": name, "mean IoU": score_by_parts(size)})
rows.append({"average over": "nothing: one matrix", "mean IoU": mean_iou(matrix)})
tables.show_table(rows, digits=4)

# %% [markdown]
# The mean over batches depends on the batch size: it is a property of your memory, not
# of your network. The other two are honest and different. In one matrix, an image with
# many cars counts more for "car" than an image with few. PASCAL VOC, Cityscapes and
# ADE20K use one matrix for the data set, and so does this course.
#
# ### Along the outline
#
# All scores so far count area. But a large object is mostly interior, and the interior
# is easy. Two masks again, simple enough to check by hand:

# %%
A = torch.zeros(20, 20, dtype=torch.bool)
B = A.clone()
A[4:12, 4:12] = True  # the prediction
B[6:15, 5:12] = True  # the truth
print(f"IoU {(A & B).sum() / (A | B).sum():.4f}")


# %% [markdown]
# The *outline* of a mask are its pixels with a neighbour outside:


# %%
def outline(mask):
    framed = F.pad(mask, [1, 1, 1, 1])  # beyond the picture is outside
    up, down = framed[:-2, 1:-1], framed[2:, 1:-1]
    left, right = framed[1:-1, :-2], framed[1:-1, 2:]
    return mask & ~(up & down & left & right)


viz.show_labels(
    {"prediction and truth": A + 2 * B, "their outlines": outline(A) + 2 * outline(B)},
    ("neither", "prediction only", "truth only", "both"),
    ((225, 225, 225), (230, 159, 0), (204, 121, 167), (0, 114, 178)),
    alt="Two overlapping rectangles, filled on the left and as outlines of one pixel "
    "on the right. The outlines share few pixels although the areas overlap a lot.",
)

# %% [markdown]
# From every pixel of one outline, how far is it to the other outline? And back:

# %%
from_a, from_b = outline(A).nonzero().double(), outline(B).nonzero().double()
distances = torch.cdist(from_a, from_b)  # (28, 28)
forth, back = distances.min(dim=1).values, distances.min(dim=0).values
both = torch.cat([forth, back])
print("pairs", tuple(distances.shape), " distances", tuple(both.shape))

# %% [markdown]
# Everything about outlines is a summary of these two lists:

# %%
by_hand = {
    "hausdorff_distance": both.max(),  # the worst
    "hausdorff_distance_95": max(
        forth.quantile(0.95), back.quantile(0.95)
    ),  # nearly the worst
    "assd": both.mean(),  # average symmetric surface distance
    "average_surface_distance": forth.mean(),  # one direction only
}
rows = [
    {"score": name, "by hand": value, "package": getattr(metrics, name)(A, B)}
    for name, value in by_hand.items()
]
tables.show_table(rows, digits=4)

# %% [markdown]
# The package takes `spacing=(height, width)` of a pixel: without it, millimetres and
# pixels are confused. And beware of HD95, of which there are two definitions: the
# larger of two percentiles (MONAI) or the percentile of both lists pooled (MedPy).
# An example where they differ:

# %%
large, small = torch.zeros(2, 20, 20, dtype=torch.bool)
large[4:16, 4:16], small[8:10, 8:10] = True, True
print(f"directed {metrics.hausdorff_distance_95(large, small):.4f}")
print(f"pooled   {metrics.hausdorff_distance_95(large, small, pooled=True):.4f}")

# %% [markdown]
# Distances have no upper end, and no value if one mask is empty. Two scores between 0
# and 1 avoid this. **Boundary F1** (BF score) asks what share of each outline lies
# within a tolerance of the other, as precision and recall:

# %%
rows = []
for tolerance in (0, 1, 2, 3):
    p, r = metrics.boundary_precision_recall(A, B, tolerance=tolerance)
    f1 = metrics.boundary_f1(A, B, tolerance=tolerance)
    rows.append({"tolerance": tolerance, "precision": p, "recall": r, "BF": f1})
tables.show_table(rows)

# %% [markdown]
# **Boundary IoU** compares two bands of width $d$ along the inside of the outlines. As
# $d$ grows, it tends to the IoU of the masks. (You write the band in exercise 3.5.)

# %%
for width in (1, 2, 3, 10):
    print(f"d = {width:2}: {metrics.boundary_iou(A, B, width=width):.4f}")

# %%
disc_y, disc_x = torch.meshgrid(torch.arange(96), torch.arange(96), indexing="ij")
disc = (disc_y - 48) ** 2 + (disc_x - 48) ** 2 < 30**2
eroded = F.avg_pool2d(disc[None].float(), 11, stride=1, padding=5)[0] == 1
viz.show_images(
    {
        "mask": disc,
        "boundary IoU: inside": disc & ~eroded,
        "trimap: both sides": metrics.trimap(disc.long(), width=5) != IGNORE,
    },
    alt="A white disc; the band of boundary IoU, a ring along the inside of its edge; "
    "and the band of a trimap, a ring twice as wide on both sides of the edge.",
)

# %% [markdown]
# The third picture is a **trimap**: keep the truth near the true outline, void the
# rest, then use any score you like. `boundary.trimap` returns such a truth, so its
# matrices add up over a data set. On our coarse prediction, all classes together:

# %%
for width in (1, 2, 4, 8):
    near = metrics.trimap(target, width=width)
    band_matrix = confusion_matrix(preds, near, len(CLASSES))
    print(f"within {width} pixels: mean IoU {mean_iou(band_matrix):.3f}")
print(f"everywhere:      mean IoU {mean_iou(matrix):.3f}")

# %% [markdown]
# Near the borders stride 8 looks far worse. That is where its mistakes are.

# %% [markdown]
# ## What did the idea buy?
#
# More numbers. Do they say different things? An experiment: spoil a mask in several
# ways, and let every metric rank the results.


# %%
def shift(mask, pixels=2):
    return F.pad(mask, [pixels, -pixels])  # to the right; nothing comes in


def ragged(mask, seed=0):
    noise = torch.rand(mask.shape, generator=torch.Generator().manual_seed(seed))
    edge = grow(mask, 2) & grow(~mask, 2)
    return mask ^ (edge & (noise < 0.3))


def stray(mask):
    y, x = (~grow(mask, 15)).nonzero()[0]  # the first pixel far from the mask
    spoilt = mask.clone()
    spoilt[y : y + 2, x : x + 2] = True
    return spoilt


def cut(mask):
    rows = mask.any(dim=1).nonzero()[:, 0]
    spoilt = mask.clone()
    spoilt[rows[len(rows) * 4 // 5] :] = False
    return spoilt


# %%
SPOIL = {
    "shifted by 2": shift,
    "grown by 1": grow,
    "grown by 2": lambda mask: grow(mask, 2),
    "shrunk by 1": lambda mask: ~grow(~mask),
    "ragged outline": ragged,
    "a speck far away": stray,
    "foot cut off": cut,
    "blocks of 8": coarse,
}
viz.show_labels(
    {name: disc + 2 * spoil(disc) for name, spoil in SPOIL.items()},
    CASES,
    CASE_COLOURS,
    alt="Eight spoilt versions of a disc, with hits in blue, misses in pink and false "
    "alarms in orange: shifted, grown by one and two, shrunk, ragged, with a stray "
    "speck in the corner, with its foot cut off, and made of blocks.",
)


# %%
def area_iou(preds, target):
    return ((preds & target).sum() / (preds | target).sum()).item()


def area_dice(preds, target):
    return 2 * area_iou(preds, target) / (1 + area_iou(preds, target))


JUDGES = {
    "IoU": area_iou,
    "Dice": area_dice,
    "boundary IoU": lambda p, t: metrics.boundary_iou(p, t, width=2),
    "BF": lambda p, t: metrics.boundary_f1(p, t, tolerance=1),
    "HD": metrics.hausdorff_distance,
    "HD95": metrics.hausdorff_distance_95,
    "ASSD": metrics.assd,
}
verdicts = {
    name: {judge: score(spoil(disc), disc) for judge, score in JUDGES.items()}
    for name, spoil in SPOIL.items()
}
tables.show_table([{"disc": name} | row for name, row in verdicts.items()], digits=2)

# %% [markdown]
# The first four columns are better when large, the last three when small. Who comes
# first, who last?

# %%
rows = []
for judge in JUDGES:
    order = sorted(verdicts, key=lambda name: verdicts[name][judge])
    if judge not in ("HD", "HD95", "ASSD"):
        order.reverse()
    rows.append({"metric": judge, "best": order[0], "worst": order[-1]})
tables.show_table(rows)

# %% [markdown]
# A speck of four pixels is the *best* mask for most metrics and the *worst* for the
# Hausdorff distance, which hears nothing but the farthest pixel. HD95 forgives it
# entirely. Growing by two keeps the area nearly right and moves every bit of outline
# beyond the tolerance. Which pairs do two metrics fight over hardest?
# Each row is one pair of discs: the first metric takes one, the second takes the other.


# %%
def gain(judge, a, b):
    """How much better the judge finds a than b, as a share of its whole range."""
    scores = [verdict[judge] for verdict in verdicts.values()]
    larger_is_better = 1 if judge not in ("HD", "HD95", "ASSD") else -1
    difference = verdicts[a][judge] - verdicts[b][judge]
    return larger_is_better * difference / (max(scores) - min(scores))


def hardest(one, other):
    """The pair of spoilt discs that two judges disagree on most."""
    return max(
        permutations(verdicts, 2),
        key=lambda pair: min(gain(one, *pair), -gain(other, *pair)),
    )


rows = []
for one, other in combinations(("IoU", "boundary IoU", "HD", "HD95"), 2):
    a, b = hardest(one, other)
    rows.append({"first": one, "takes": a, "second": other, "takes ": b})
tables.show_table(rows)

# %% [markdown]
# One disc is an anecdote. Do the same with the houses, trees and cars of Toytown, and
# count how often two metrics put two predictions in opposite order:

# %%
masks = [
    labels == k
    for labels in target[:16]
    for k in (1, 4, 5)
    if (labels == k).sum() > 300 and not grow(labels == k, 15).all()
]
sign = torch.tensor([1, 1, 1, 1, -1, -1, -1.0])  # small distances are good
table = torch.tensor(
    [
        [[score(spoil(m), m) for score in JUDGES.values()] for spoil in SPOIL.values()]
        for m in masks
    ]
)  # (masks, predictions, metrics)
first, second = zip(*combinations(range(len(SPOIL)), 2), strict=True)
better = (sign * (table[:, first] - table[:, second])).flatten(0, 1)  # (pairs, metrics)
better = better.where(better.abs() > 1e-4, 0.0).sign()
opposite = (better[:, :, None] * better[:, None, :] < 0).double().mean(dim=0)
print(len(masks), "masks,", len(better), "pairs of predictions")

# %%
tables.show_table(
    [
        {"ranked opposite": a} | {b: opposite[i, j] for j, b in enumerate(JUDGES)}
        for i, a in enumerate(JUDGES)
    ],
    digits=2,
)

# %% [markdown]
# Read a row: this is how often the metric of the row contradicts the metric of the
# column. IoU and Dice never do: each grows with the other, so of one class in one image
# they are the same ranking with different numbers. The distances contradict the areas
# most, and the maximum (HD) contradicts everybody.
#
# ### How the size of an object matters
#
# One more thing the table hides: the same error costs a small object more. Shift
# squares of several sizes by one pixel:

# %%
rows = []
for side in (4, 8, 16, 32, 64):
    square = torch.zeros(80, 80, dtype=torch.bool)
    square[8 : 8 + side, 8 : 8 + side] = True
    moved = shift(square, 1)
    row = {"side": side} | {name: JUDGES[name](moved, square) for name in JUDGES}
    rows.append({name: row[name] for name in ("side", "IoU", "boundary IoU", "ASSD")})
tables.show_table(rows)

# %%
sides = [row["side"] for row in rows]
viz.show_curves(
    {name: (sides, [row[name] for row in rows]) for name in ("IoU", "boundary IoU")},
    xlabel="side of the square in pixels",
    ylabel="score after a shift by one pixel",
    alt="Two curves over the side of a square. IoU climbs towards one as the square "
    "grows; boundary IoU stays level, far below.",
)

# %% [markdown]
# On a large square IoU hardly notices the shift, on a small one it falls hard. Boundary
# IoU judges both alike. (Its paper calls this being *balanced across scales*.)
#
# ### Which metric for which task?
#
# | you want to know | take | because |
# |---|---|---|
# | all classes alike, over a data set | mean IoU, one matrix | each class has a vote |
# | one organ per image | Dice per image, nan-mean | each image is a patient |
# | outlines of large objects | boundary IoU, BF, trimap IoU | interiors have no vote |
# | how far the outline is off, in mm | ASSD, HD95, with `spacing` | it is a length |
# | the worst error | Hausdorff distance | it is a maximum |
# | classes of equal size | pixel accuracy | each pixel has a vote |
# | are the *objects* found? | mask AP: chapter 14 | counts objects, uses scores |
# | things and stuff in one number | panoptic quality: chapter 17 | whole segments |
#
# And report two: one for area, one for outlines. They see different mistakes.

# %% [markdown]
# ## Where it breaks
#
# None of these numbers knows what an object is. Take the perfect semantic prediction,
# the truth itself, and count its cars as connected regions:

# %%
rows = []
for i in range(32):
    cars = town[i].semantic == car
    objects = len(town[i].instance[cars].unique())
    rows.append((objects, number_regions(cars.numpy())[1]))
objects, regions = (sum(column) for column in zip(*rows, strict=True))
perfect = confusion_matrix(target, target, len(CLASSES))
print(f"mean IoU of the truth: {mean_iou(perfect):.1f}")
print(f"cars: {objects}, regions: {regions}")
print(f"scenes with the wrong number of cars: {sum(a != b for a, b in rows)} of 32")

# %%
melted = [i for i in range(32) if rows[i][0] > rows[i][1]]
crowd = max(melted, key=lambda i: (town[i].semantic == car).sum())
viz.show_sample(
    town[crowd],
    CLASSES,
    PALETTE,
    alt="A street scene, its classes, and its objects. Cars that overlap are one "
    "region among the classes, and have different colours among the objects.",
)

# %% [markdown]
# Overlapping cars melt into one region, and parts of a car behind a lamp become two.
# Mean IoU is perfect and cannot know. Metrics that count objects come in part III.

# %% [markdown]
# ## Common mistakes
#
# **Void counted as a class.** An unlabelled pixel becomes background, and every
# prediction there a false alarm.

# %%
wrong = tiny_truth.where(tiny_truth != IGNORE, 0)  # void becomes class 0
right = confusion_matrix(tiny_predicted, tiny_truth, 4)
print(f"wrong {mean_iou(confusion_matrix(tiny_predicted, wrong, 4)):.3f}")
print(f"right {mean_iou(right):.3f}")

# %% [markdown]
# **Small integers.** Label maps are stored as `uint8`, and 18 · 19 = 342 does not fit.
# No error is raised: the pairs wrap around at 256.

# %%
small = torch.tensor([18], dtype=torch.uint8)
print("wrong", (small * 19 + small).item())
print("right", (small.long() * 19 + small.long()).item())

# %% [markdown]
# **Truth and prediction swapped.** IoU and Dice are symmetric and do not notice; mean
# accuracy becomes mean precision.

# %%
swapped = confusion_matrix(tiny_predicted, tiny_truth, 4).T
print(f"mean IoU       right {mean_iou(right):.4f}  swapped {mean_iou(swapped):.4f}")
right_mean, wrong_mean = map(metrics.mean_accuracy, (right, swapped))
print(f"mean accuracy  right {right_mean:.4f}  swapped {wrong_mean:.4f}")

# %% [markdown]
# **Empty masks as perfect scores.** Dice per image of our network that never finds
# anybody, if two empty masks count as 1:

# %%
per_image = torch.stack(
    [
        metrics.dice(confusion_matrix(p, t, 2))[1]
        for p, t in zip(nobody, people, strict=True)
    ]
)
print(f"images without people: {per_image.isnan().sum()} of {len(per_image)}")
print(f"wrong {per_image.nan_to_num(1.0).mean():.3f}")
print(f"right {per_image.nanmean():.3f}")

# %% [markdown]
# **Distances in pixels of different shape.** A scan of slices 3 mm apart, pixels of
# 1 mm within them:

# %%
print(f"wrong {metrics.hausdorff_distance(A, B):.1f} pixels")
print(f"right {metrics.hausdorff_distance(A, B, spacing=(3.0, 1.0)):.1f} mm")

# %% [markdown]
# ## Exercises
#
# Each check runs your answer on ordinary and nasty inputs. `ex.dice.hint()` gives a
# hint, then the next.
#
# ### 3.1 Dice
#
# Write the Dice coefficient of two masks: (H, W) bool tensors in, a number out. Two
# empty masks give nan.

# %%
from segcourse.exercises import metrics as ex


def dice(preds, target):
    # your code
    ...


ex.dice.check(dice)

# %%
ex.dice.show_solution()

# %% [markdown]
# ### 3.2 IoU from the matrix
#
# Write the IoU of every class, given a confusion matrix (K, K) whose rows are the
# truth. A class without any pixels gets nan. Hints: `ex.iou.hint()`.


# %%
def iou_from_matrix(matrix):
    # your code
    ...


ex.iou.check(iou_from_matrix)

# %%
ex.iou.show_solution()

# %% [markdown]
# ### 3.3 Count the pairs
#
# Without looking above: write the confusion matrix. Void is 255, and the maps may be
# `uint8`. Hints: `ex.count.hint()`.


# %%
def count_pairs(preds, target, num_classes):
    # your code
    ...


ex.count.check(count_pairs)

# %%
ex.count.show_solution()

# %% [markdown]
# ### 3.4 Fix the average
#
# This function is in many training scripts. Its result changes with the batch size;
# mend it. `batches` is a list of pairs (predicted, truth), each (N, H, W).
#
# ```python
# def dataset_iou(batches, num_classes):
#     scores = []
#     for predicted, truth in batches:
#         matrix = confusion_matrix(predicted, truth, num_classes)
#         scores.append(mean_iou(matrix))
#     return sum(scores) / len(scores)
# ```
#
# Hints: `ex.average.hint()`.


# %%
def dataset_iou(batches, num_classes):
    # your code
    ...


ex.average.check(dataset_iou)

# %%
ex.average.show_solution()

# %% [markdown]
# ### 3.5 The band of boundary IoU
#
# Write the band: the pixels of a mask at most `width` steps from its outside, where a
# step goes to any of the 8 neighbours and what lies beyond the picture is outside.
# Hints: `ex.band.hint()`.


# %%
def inner_band(mask, width):
    # your code
    ...


ex.band.check(inner_band)

# %%
ex.band.show_solution()

# %% [markdown]
# ### 3.6 Choose the metric
#
# Seven situations, eight metrics. Write a function from the short name of a situation
# to the name of the metric you would take; a dictionary will do. Hints:
# `ex.choose.hint()`.

# %%
for name, situation in ex.SITUATIONS.items():
    print(f"{name:10}  {situation}")
print(ex.METRICS)


# %%
def choose(situation):
    # your code
    ...


ex.choose.check(choose)

# %%
ex.choose.show_solution()

# %% [markdown]
# ## Quiz

# %% [markdown]
# **Q1. Which two scores always rank masks of one image in the same order?**
#
# <details class="quiz right"><summary>Dice and IoU</summary>
#
# Right: $D = 2J/(1+J)$ grows with $J$, so the larger IoU has the larger Dice.
#
# </details>
# <details class="quiz wrong"><summary>IoU and pixel accuracy</summary>
#
# Not quite: accuracy also counts the true negatives, which IoU ignores.
#
# </details>
# <details class="quiz wrong"><summary>HD and HD95</summary>
#
# Not quite: a single stray pixel moves HD across the picture and leaves HD95 alone.
#
# </details>

# %% [markdown]
# **Q2. Mean accuracy rises after training, mean IoU falls. What happened?**
#
# <details class="quiz wrong"><summary>that cannot happen</summary>
#
# Not quite: it happened in this chapter, when the things grew by two pixels.
#
# </details>
# <details class="quiz right"><summary>rare classes are predicted too often</summary>
#
# Right: more of their pixels are found, so recall rises, and there are more false
# alarms, which only precision and IoU see.
#
# </details>
# <details class="quiz wrong"><summary>only the largest class is predicted</summary>
#
# Not quite: then the recall of all other classes is 0, and mean accuracy falls too.
#
# </details>

# %% [markdown]
# **Q3. A class occurs in the prediction but nowhere in the truth. What is its IoU?**
#
# <details class="quiz wrong"><summary>nan, it is absent</summary>
#
# Not quite: the union is not empty. Only a class absent from *both* is 0 / 0.
#
# </details>
# <details class="quiz right"><summary>0</summary>
#
# Right: no hits, and a union of false alarms. Leaving it out would hide them.
#
# </details>
# <details class="quiz wrong"><summary>1, nothing was missed</summary>
#
# Not quite: nothing was missed, but everything that was predicted is wrong.
#
# </details>

# %% [markdown]
# **Q4. You average the mean IoU of the batches, and double the batch size. The score
# changes. Why?**
#
# <details class="quiz wrong"><summary>batch normalisation sees other images</summary>
#
# Not quite: in evaluation mode the predictions stay the same, and the score changes all
# the same.
#
# </details>
# <details class="quiz right"><summary>a mean of ratios is no ratio of sums</summary>
#
# Right: three pixels of a class in one batch weigh as much as thousands in another.
# Add the matrices, and score once.
#
# </details>
# <details class="quiz wrong"><summary>rounding</summary>
#
# Not quite: the difference is in the second or third digit, far above rounding.
#
# </details>

# %% [markdown]
# **Q5. Why does boundary IoU frame the mask with zeros before eroding it?**
#
# <details class="quiz right"><summary>for objects at the border of the image</summary>
#
# Right: without it, erosion leaves the pixels at the border in the core, and the band
# is missing there.
#
# </details>
# <details class="quiz wrong"><summary>so that the band lies on both sides</summary>
#
# Not quite: it stays on the inside. On both sides it would be a trimap.
#
# </details>
# <details class="quiz wrong"><summary>to make the erosion faster</summary>
#
# Not quite: it costs a little. It changes the result at the border of the picture.
#
# </details>

# %% [markdown]
# **Q6. A paper reports HD95 of 4.1, your code says 4.6 for the same masks. What do you
# check first?**
#
# <details class="quiz wrong"><summary>the random seed</summary>
#
# Not quite: masks and distances contain nothing random.
#
# </details>
# <details class="quiz wrong"><summary>the learning rate</summary>
#
# Not quite: the masks are the same, so training is over.
#
# </details>
# <details class="quiz right"><summary>the definition and the spacing</summary>
#
# Right: pooled or larger of two percentiles, which outline, and pixels or millimetres.
#
# </details>

# %% [markdown]
# **Q7. What does a trimap score not see?**
#
# <details class="quiz wrong"><summary>a shift of the outline by one pixel</summary>
#
# Not quite: that is just what lies in its band.
#
# </details>
# <details class="quiz right"><summary>a false alarm far from the true outline</summary>
#
# Right: only pixels near the *true* outline are counted; the rest is void.
#
# </details>
# <details class="quiz wrong"><summary>a rare class</summary>
#
# Not quite: mean IoU within the band still gives each class one vote.
#
# </details>

# %% [markdown]
# ## Take-aways
#
# - Count pairs (true, predicted) once; every area score is read off that matrix. Add
#   matrices over batches, score at the end.
# - Void is dropped, an absent class is nan, and averages have names. Say yours.
# - Mean accuracy is recall, micro IoU is pixel accuracy in disguise, Dice ranks like
#   IoU.
# - Area metrics do not see outlines of large objects, HD sees nothing but the worst
#   pixel, and none of them sees objects.
# - Report at least two numbers that make different mistakes.
#
# ## Further reading
#
# - Long, Shelhamer, Darrell, *Fully Convolutional Networks for Semantic Segmentation*,
#   CVPR 2015 (the four scores): <https://arxiv.org/abs/1411.4038>.
# - Csurka, Larlus, Perronnin, *What is a good evaluation measure for semantic
#   segmentation?*, BMVC 2013 (BF score).
# - Kohli, Ladický, Torr, *Robust Higher Order Potentials for Enforcing Label
#   Consistency*, CVPR 2008 (trimaps).
# - Cheng, Girshick, Dollár, Berg, Kirillov, *Boundary IoU*, CVPR 2021:
#   <https://arxiv.org/abs/2103.16562>.
