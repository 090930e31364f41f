# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # 3. Metrics: measuring a segmentation
#
# A metric compares a predicted segmentation with the ground truth and gives a number.
# This chapter defines the usual metrics, computes each one on an example that you can
# check by hand, and shows which errors change which metric.
#
# After this chapter you can
#
# - compute Dice from logits, and IoU from a confusion matrix (exercises 3.1 and 3.2);
# - predict how IoU and the Hausdorff distance change when an object is shifted (3.3);
# - repair an average that depends on the batch size (3.4);
# - compute the band of boundary IoU, and the false positive that is farthest away (3.5
#   and 3.6);
# - choose a metric for a task (3.7).
#
# You need label maps from [chapter 1](01_tasks.ipynb) and void pixels from
# [chapter 2](02_data.ipynb). The [glossary](../book/glossary.md) explains technical
# terms. Nothing is trained: the notebook takes less than a minute on one CPU thread.

# %% tags=["hide-cell"]
from importlib.util import find_spec

if find_spec("segcourse") is None:  # on Colab
    get_ipython().system(
        "pip install -q 'segcourse[practice] @ git+https://github.com/OWNER/REPO'"
    )

import torch

from segcourse.training import seed_everything

seed_everything(0)

# %%
import math
from importlib.metadata import version
from inspect import signature
from itertools import combinations

import torch.nn.functional as F
from scipy.ndimage import label as number_components

from segcourse import metrics, tables, viz
from segcourse.classical import grabcut, trimap_from_box
from segcourse.data import Photographs, Toytown, photographs, stack, toytown
from segcourse.metrics import confusion_matrix, iou, mean_iou
from segcourse.ops import IGNORE

CLASSES, PALETTE = toytown.CLASSES, toytown.PALETTE

# %% [markdown]
# ## The problem
#
# Suppose that a network must find the people in street scenes. We generate 32 scenes of
# Toytown, the synthetic data set of this course, with few and small people. Our
# "network" never predicts a person.

# %%
quiet = Toytown(32, seed=1, people=(0, 2), person_scale=0.7)
scenes = stack([quiet[i] for i in range(32)])
people = (scenes.semantic == CLASSES.index("person")).long()
nobody = torch.zeros_like(people)

correct = (nobody == people).double().mean()
found = ((nobody == 1) & (people == 1)).sum()
print(f"correct pixels: {100 * correct:.1f} %")
print(f"pixels of people that were found: {found} of {people.sum()}")

# %% tags=["hide-input"]
most = int(people.sum(dim=(1, 2)).argmax())
viz.show_predictions(
    [quiet[most]._replace(semantic=people[most])],
    {"never a person": nobody[most : most + 1]},
    ("something else", "person"),
    ((200, 200, 200), (213, 94, 0)),
    alt="A street scene, a prediction that is grey everywhere, and the ground truth, "
    "which is grey with two small orange people.",
)

# %% [markdown]
# **Pixel accuracy** is the share of pixels with a correct label. It exceeds 99 % here
# although no person was found, because nearly all pixels show something else. We need
# metrics that cannot be raised by a large background.
#
# ## The idea
#
# Consider one class, and call all other classes background. Every pixel then belongs to
# one of four cases:
#
# | | predicted: the class | predicted: background |
# |---|---|---|
# | **ground truth: the class** | true positive (TP) | false negative (FN) |
# | **ground truth: background** | false positive (FP) | true negative (TN) |
#
# The figure shows a ground truth of 9 pixels, a prediction of 12 pixels, and the case
# of every pixel. Count the pixels of each case before you read on.

# %% tags=["hide-input"]
target = torch.zeros(5, 6, dtype=torch.bool)
preds = target.clone()
target[1:4, 1:4] = True
preds[1:4, 2:6] = True

CASES = ("true negative", "false negative", "false positive", "true positive")
CASE_COLORS = ((225, 225, 225), (204, 121, 167), (230, 159, 0), (0, 114, 178))


def four_cases(preds, target):
    """0 = TN, 1 = FN, 2 = FP, 3 = TP."""
    return target.long() + 2 * preds.long()


cases = four_cases(preds, target)
viz.show_grid(
    {"ground truth": 4 * target, "prediction": 4 * preds, "the four cases": cases},
    (*CASES, "in the mask"),
    (*CASE_COLORS, (120, 120, 120)),
    texts={
        "the four cases": [[("TN", "FN", "FP", "TP")[c] for c in row] for row in cases]
    },
    alt="Three grids of 5 by 6 pixels. The ground truth covers rows 1 to 3 and "
    "columns 1 to 3, the prediction the same rows and columns 2 to 5. In the third "
    "grid 6 pixels are marked TP, 6 FP, 3 FN and 15 TN.",
)

# %% [markdown]
# There are 6 TP, 6 FP, 3 FN and 15 TN. The *intersection* of the two masks contains the
# pixels that are in both masks: the 6 TP. The *union* contains the pixels that are in
# at least one mask: 6 TP, 6 FP and 3 FN, together 15. **Intersection over union** (IoU,
# also called Jaccard index) is their ratio, 6 / 15 = 0.4:
#
# $$\text{IoU} = \frac{|\text{prediction} \cap \text{ground truth}|}
# {|\text{prediction} \cup \text{ground truth}|} = \frac{TP}{TP + FP + FN}$$
#
# IoU is 1 for a perfect mask and 0 for a mask without a correct pixel. True negatives
# do not occur in the formula, so a large background cannot raise IoU. Other scores of a
# class use the same counts:
#
# - **Precision**, $TP/(TP+FP)$: the share of the predicted pixels that is correct.
# - **Recall**, $TP/(TP+FN)$: the share of the true pixels that was found.
# - **Dice** or $F_1$, $2\,TP/(2\,TP+FP+FN)$: the intersection, divided by the mean area
#   of the two masks. It follows from IoU: $\text{Dice} = 2\,\text{IoU}/(1+\text{IoU})$.
# - **Pixel accuracy**, $(TP+TN)/(TP+FP+FN+TN)$: the only one that counts true
#   negatives.

# %%
TN, FN, FP, TP = (int((cases == case).sum()) for case in range(4))
print(f"TP {TP}, FP {FP}, FN {FN}, TN {TN}")
print(f"precision      {TP}/{TP + FP} = {TP / (TP + FP):.3f}")
print(f"recall         {TP}/{TP + FN} = {TP / (TP + FN):.3f}")
print(f"IoU            {TP}/{TP + FP + FN} = {TP / (TP + FP + FN):.3f}")
print(f"Dice           {2 * TP}/{2 * TP + FP + FN} = {2 * TP / (2 * TP + FP + FN):.3f}")
print(f"pixel accuracy {TP + TN}/{cases.numel()} = {(TP + TN) / cases.numel():.3f}")

# %% [markdown]
# <details class="deeper"><summary>Going deeper: how Dice and IoU are related</summary>
#
# Write $J$ for IoU and $D$ for Dice. The denominator of Dice is the union plus the
# intersection: $2\,TP + FP + FN = (TP + FP + FN) + TP$. Dividing numerator and
# denominator of $D$ by the union gives
#
# $$D = \frac{2J}{1+J}.$$
#
# This function increases with $J$. Therefore IoU and Dice rank two predictions of *one*
# mask in the same order, and Dice is never the smaller number.
#
# *Averages* of the two can disagree. Suppose that a first network has the IoU 0 on one
# image and 1 on another, and a second network 0.45 on both. The mean IoU is 0.5 for the
# first and 0.45 for the second network, so the first is better. The mean Dice is 0.5
# and 0.62, so the second is better.
#
# </details>

# %% [markdown]
# ## Build it
#
# ### One confusion matrix for all classes
#
# With several classes we count pairs of labels. The next example has four classes, of
# which class 3 does not occur. Black pixels are void: their true class is unknown, and
# their label is 255.

# %% tags=["hide-input"]
tiny_target = torch.tensor(
    [
        [0, 0, 0, 1, 1, 1],
        [0, 0, 1, 1, 1, 1],
        [0, 2, 2, 1, 1, 255],
        [0, 2, 2, 2, 255, 255],
    ]
)
tiny_preds = torch.tensor(
    [[0, 0, 1, 1, 1, 1], [0, 0, 0, 1, 1, 0], [0, 2, 2, 2, 1, 1], [2, 2, 2, 0, 0, 2]]
)

TINY = ("class 0", "class 1", "class 2", "class 3")
TINY_COLORS = ((86, 180, 233), (213, 94, 0), (240, 228, 66), (0, 158, 115))
viz.show_grid(
    {"ground truth": tiny_target, "prediction": tiny_preds},
    TINY,
    TINY_COLORS,
    texts={"ground truth": tiny_target, "prediction": tiny_preds},
    alt="Two label maps of 4 by 6 pixels with the class written in every pixel. The "
    "ground truth has three black void pixels at the lower right; the prediction has a "
    "class at every pixel.",
)

# %% [markdown]
# We first remove the void pixels from both maps, because a prediction can be neither
# right nor wrong there. Each remaining pixel is a pair (true class, predicted class).
# The **confusion matrix** counts these pairs: the entry $n_{ab}$ in row $a$ and column
# $b$ is the number of pixels of class $a$ that were predicted as class $b$.

# %%
K = 4
valid = tiny_target != IGNORE
t, p = tiny_target[valid], tiny_preds[valid]
pairs = t * K + p  # each of the K * K possible pairs has its own number
matrix = torch.bincount(pairs, minlength=K * K).view(K, K)
print(matrix)

package = confusion_matrix(tiny_preds, tiny_target, K)
print("the package counts the same:", torch.equal(package, matrix))

# %% [markdown]
# ### Scores of one class
#
# All scores of a class $c$ can be read off the matrix. The diagonal entry is TP. The
# rest of row $c$ adds up to FN: these pixels have class $c$ and were predicted as
# something else. The rest of column $c$ adds up to FP. In each panel below, the sum of
# the blue entries is divided by the sum of all coloured entries.

# %% tags=["hide-input"]
recall_, precision_, iou_ = (torch.zeros(K, K, dtype=torch.int64) for _ in range(3))
recall_[1], precision_[:, 1] = 1, 1
iou_[1], iou_[:, 1] = 1, 1
for part in (recall_, precision_, iou_):
    part[1, 1] = 2
panels = {
    "recall of class 1: 6 / 9": recall_,
    "precision of class 1: 6 / 7": precision_,
    "IoU of class 1: 6 / 10": iou_,
    "pixel accuracy: 15 / 21": 1 + torch.eye(K, dtype=torch.int64),
}
viz.show_grid(
    panels,
    ("not used", "denominator only", "numerator and denominator"),
    ((235, 235, 235), (245, 205, 120), (0, 114, 178)),
    texts=dict.fromkeys(panels, matrix.tolist()),
    names=("true class", "predicted class"),
    alt="The confusion matrix four times, rows are true classes. Recall of class 1 "
    "uses row 1, precision uses column 1, IoU uses row 1 and column 1, pixel accuracy "
    "uses the diagonal and all entries.",
)

# %%
names = ("recall", "precision", "iou", "dice")
scores = {name: getattr(metrics, name)(matrix) for name in names}
tables.show_table(
    [{"class": k} | {name: scores[name][k] for name in names} for k in range(K)]
)


# %% [markdown]
# Class 3 has no pixel in either map. Its scores are 0 / 0, which has no value; the
# computer writes nan, "not a number".
#
# ### One number for all classes
#
# Let $r_c = \sum_b n_{cb}$ be the sum of row $c$ (true pixels of the class). Let
# $s_c = \sum_a n_{ac}$ be the sum of column $c$ (predicted pixels), and $N$ the sum of
# all entries.
#
# - **Pixel accuracy** (PA) is the share of correct pixels: $\sum_c n_{cc} / N$.
# - **Mean accuracy** (MPA) is the mean of the recalls $n_{cc}/r_c$ over the classes of
#   the ground truth. A class that is only predicted has no recall and is left out.
# - **Mean IoU** (mIoU) is the mean of the IoUs over the classes that occur in the
#   ground truth or in the prediction.
# - **Frequency weighted IoU** (FWIoU) weights each class by its share of the true
#   pixels: $\sum_c \frac{r_c}{N}\,\text{IoU}_c$.
# - **Cohen's kappa** is the accuracy on a scale where chance is 0 and perfect is 1:
#   $(\text{PA} - q)/(1 - q)$. The chance accuracy $q = \sum_c r_c s_c / N^2$ is the
#   accuracy to expect if the predicted labels are moved to random pixels.
#
# To see these metrics differ, we need errors in several classes. As prediction for 32
# scenes we take a coarsened copy of the ground truth: all pixels of a block of 8 × 8
# pixels receive the true label of one pixel near its middle. The table lists the
# classes, the lines below it the five metrics, and the figure shows one of the scenes.


# %%
def coarse(labels, side=8):
    """Give each block the label of a pixel near its middle: (..., H, W), same."""
    middle = labels[..., side // 2 :: side, side // 2 :: side]
    return middle.repeat_interleave(side, -2).repeat_interleave(side, -1)


town = Toytown(32, seed=1)
target = stack([town[i] for i in range(32)]).semantic
preds = coarse(target)
matrix = confusion_matrix(preds, target, len(CLASSES))
share = matrix.sum(dim=1) / matrix.sum()
tables.show_table(
    [
        {"class": name, "share of pixels": share[k], "IoU": iou(matrix)[k]}
        for k, name in enumerate(CLASSES)
    ]
)
names = ("pixel_accuracy", "mean_accuracy", "mean_iou", "frequency_weighted_iou")
for name in (*names, "cohen_kappa"):
    print(f"{name:23} {getattr(metrics, name)(matrix):.3f}")

# %% tags=["hide-input"]
viz.show_predictions(
    [town[2]],
    {"one label per block": preds[2:3]},
    CLASSES,
    PALETTE,
    alt="A street scene, its classes in blocks of 8 by 8 pixels, and its ground truth: "
    "large areas agree, boundaries have steps, and thin lamps vanish.",
)

# %% [markdown]
# In the next figure, each bar is a class; its height is the IoU, its width the share of
# pixels. FWIoU, the dashed line, is the area of all bars, because their widths add up
# to 1. Mean IoU, the dotted line, is the area if all bars had the same width.

# %% tags=["hide-input"]
import matplotlib.pyplot as plt

figure, axes = plt.subplots(figsize=(8, 3.4), layout="constrained", facecolor="white")
colors = [tuple(value / 255 for value in PALETTE[k]) for k in range(len(CLASSES))]
left = share.cumsum(0) - share
parts = axes.bar(
    left, iou(matrix), width=share, align="edge", color=colors, edgecolor="black"
)
figure.legend(parts, CLASSES, loc="outside lower center", ncols=8, frameon=False)
lines = {
    "mean IoU": (mean_iou(matrix), ":"),
    "FWIoU": (metrics.frequency_weighted_iou(matrix), "--"),
}
for name, (height, style) in lines.items():
    axes.axhline(height, color="black", linestyle=style)
    axes.text(1.01, height, name, va="center", fontsize=9)
axes.set(xlabel="share of pixels", ylabel="IoU", ylim=(0, 1), xlim=(0, 1))
axes.spines[["top", "right"]].set_visible(False)
viz.present(
    figure,
    alt="One bar per class, as wide as its share of pixels and as high as its IoU. The "
    "bars of sky, building, road and grass are wide, those of person and lamp are very "
    "narrow, and the bar of lamp is the lowest. A dotted line marks the mean IoU and "
    "a dashed line above it the FWIoU.",
)

# %% [markdown]
# Persons and lamps cover few pixels and have the lowest IoUs. In mean IoU they count as
# much as the sky, in FWIoU very little. Therefore FWIoU is clearly higher here.
#
# In the figure below, the grey arrow leads from chance to perfect accuracy, and the
# blue arrow from chance to the accuracy of our prediction. Kappa is blue divided by
# grey.

# %% tags=["hide-input"]
true_pixels, predicted_pixels = matrix.sum(dim=1).double(), matrix.sum(dim=0).double()
chance = float(true_pixels @ predicted_pixels / matrix.sum() ** 2)
accuracy = metrics.pixel_accuracy(matrix)
figure, axes = plt.subplots(figsize=(7, 1.7), layout="constrained", facecolor="white")
for end, y, color in ((1, -0.3, "#5f6368"), (accuracy, 0.3, "#0072b2")):
    style = {"arrowstyle": "->", "color": color, "linewidth": 2.5, "shrinkA": 0}
    axes.annotate("", (end, y), (chance, y), arrowprops=style | {"shrinkB": 0})
axes.plot([0, 1], [0, 0], color="black")
places = {"0": 0, "chance": chance, "accuracy": accuracy, "1": 1}
for name, x in places.items():
    axes.plot([x, x], [-0.4, 0.4], color="black", linewidth=1)
    axes.text(x, 0.5, f"{name}\n{x:.2f}" if name.isalpha() else name, ha="center")
kappa = metrics.cohen_kappa(matrix)
axes.text((chance + 1) / 2, -0.9, f"kappa = blue / grey = {kappa:.2f}", ha="center")
axes.set(xlim=(-0.1, 1.1), ylim=(-1, 1.3))
axes.axis("off")
viz.present(
    figure,
    alt="A line from 0 to 1 on which the chance accuracy and the accuracy are marked. "
    "A grey arrow leads from chance to 1, a blue arrow from chance to the accuracy.",
)

# %% [markdown]
# <details class="deeper"><summary>Going deeper: micro and macro averages</summary>
#
# A *macro* average scores each class and then averages the scores: mean IoU is the
# macro IoU. A *micro* average adds up TP, FP and FN of all classes, and computes one
# score from the sums. Each wrong pixel is one FP (of the predicted class) and one FN
# (of the true class). A share PA of the pixels is correct and a share 1 − PA is wrong,
# so the micro IoU is
#
# $$\frac{\text{PA}}{\text{PA} + 2\,(1 - \text{PA})} =
# \frac{\text{PA}}{2 - \text{PA}}.$$
#
# The micro IoU increases with pixel accuracy and contains no other information.
#
# </details>
#
# ### Absent classes
#
# Three rules for an absent class, such as class 3, are in use. They give three
# different means:

# %%
tiny = confusion_matrix(tiny_preds, tiny_target, 4)
for rule, value in (("left out", math.nan), ("counts as 0", 0.0), ("counts as 1", 1.0)):
    print(f"absent class {rule:12} mean IoU {mean_iou(tiny, zero_division=value):.3f}")

only_predicted = confusion_matrix(torch.tensor([[0, 1]]), torch.tensor([[0, 0]]), 3)
print("class 1 only predicted, class 2 absent:", iou(only_predicted).tolist())


# %% [markdown]
# This course leaves absent classes out of the mean, because there was nothing to find
# and nothing was predicted. In the last line, class 1 occurs in the prediction only.
# Because class 1 has false positives, its IoU is 0.
#
# ### Images, batches, or the whole data set
#
# The mean IoU of 32 images can be computed from one matrix of all images, as a mean
# over images, or as a mean over batches.


# %%
def score_in_parts(size):
    """Compute the mean IoU of every part of `size` images, then average."""
    parts = zip(preds.split(size), target.split(size), strict=True)
    scores = [mean_iou(confusion_matrix(p, t, len(CLASSES))) for p, t in parts]
    return sum(scores) / len(scores)


rows = [{"computed": "one matrix for all images", "mean IoU": mean_iou(matrix)}]
rows += [{"computed": "mean over images", "mean IoU": score_in_parts(1)}]
for size in (4, 16):
    name = f"mean over batches of {size}"
    rows.append({"computed": name, "mean IoU": score_in_parts(size)})
tables.show_table(rows, digits=4)

# %% [markdown]
# The mean over batches changes with the batch size although the predictions are the
# same, so it should not be reported. Confusion matrices can be added up over batches,
# IoUs cannot. PASCAL VOC, Cityscapes and ADE20K use one matrix for the whole data set,
# and so does this course. A mean over images is useful if every image is a case of its
# own, for example a patient.
#
# ### From probabilities to a mask: soft and thresholded Dice
#
# A network gives a *logit* for each pixel, which is any real number. The sigmoid
# function turns the logit into a probability $p$ between 0 and 1. Two different numbers
# are then called "Dice". The *thresholded* (or hard) Dice first makes a mask of the
# pixels with $p \ge 0.5$. The *soft* Dice puts the probabilities into the formula, $2
# \sum p\,t / (\sum p + \sum t)$, where $t$ is 1 inside the ground truth and 0 outside.
# The table shows both numbers for two networks and an image of four pixels.

# %%
t = torch.tensor([1.0, 1.0, 0.0, 0.0])
networks = {
    "1": torch.tensor([0.6, 0.6, 0.4, 0.1]),
    "2": torch.tensor([0.95, 0.45, 0.05, 0.05]),
}


def dice_of(p, t):
    return 2 * (p * t).sum() / (p.sum() + t.sum())


tables.show_table(
    [
        {
            "network": name,
            "soft Dice": dice_of(p, t),
            "Dice": dice_of(1.0 * (p >= 0.5), t),
        }
        for name, p in networks.items()
    ]
)


# %% [markdown]
# Network 1 gives a perfect mask with low confidence. Network 2 narrowly misses one
# pixel and is confident at the others. Soft Dice is higher for network 2, thresholded
# Dice for network 1. Soft Dice is differentiable and serves as a loss ([chapter
# 5](05_losses.ipynb)).
#
# ### Boundaries
#
# IoU and Dice count area. Most pixels of a large object are far from its boundary, so
# errors at the boundary hardly change the IoU. Boundary metrics compare the two
# boundaries instead. The **boundary** of a mask contains those of its pixels that have
# a neighbour (above, below, left or right) outside the mask.


# %%
def boundary(mask):
    framed = F.pad(mask, [1, 1, 1, 1])  # beyond the image is outside
    up, down = framed[:-2, 1:-1], framed[2:, 1:-1]
    left, right = framed[1:-1, :-2], framed[1:-1, 2:]
    return mask & ~(up & down & left & right)


B = torch.zeros(11, 14, dtype=torch.bool)  # ground truth
A = B.clone()  # prediction
B[3:9, 2:9] = True
A[3:9, 4:11] = True  # two pixels too far to the right ...
A[0, 12] = True  # ... and one false positive far away

a, b = boundary(A).nonzero().double(), boundary(B).nonzero().double()
distances = torch.cdist(a, b)
from_a, to_b = distances.min(dim=1)  # for each pixel of a: distance, and nearest in b
from_b, to_a = distances.min(dim=0)
print(f"{len(a)} boundary pixels predicted, {len(b)} in the ground truth")

# %% [markdown]
# The distance from a boundary pixel of one mask to the nearest boundary pixel of the
# other mask is a **surface distance** (in 3-D, a boundary is a surface). The figure
# draws it as an arrow to one of the nearest pixels, or as a dot if it is 0. Where
# arrows overlap, only the longest is drawn.

# %% tags=["hide-input"]
outlines = boundary(B).long() + 2 * boundary(A).long()
WHOSE = ("neither", "ground truth only", "prediction only", "both")


def longest(starts, ends):
    """Of the arrows that reach a pixel from one side, the longest."""
    kept = {}
    for start, end in sorted(
        zip(starts.tolist(), ends.tolist(), strict=True), key=lambda x: math.dist(*x)
    ):
        side = [(x > y) - (x < y) for x, y in zip(start, end, strict=True)]
        kept[*end, *side] = start, end
    return torch.tensor(list(kept.values())).unbind(dim=1)


forth = f"prediction to ground truth, longest: {from_a.max():.0f}"
back = f"ground truth to prediction, longest: {from_b.max():.0f}"
viz.show_grid(
    {"the two masks": four_cases(A, B), forth: outlines, back: outlines},
    WHOSE,
    CASE_COLORS,
    arrows={forth: longest(a, b[to_b]), back: longest(b, a[to_a])},
    columns=3,
    alt="Left: a rectangle of 6 by 7 pixels, and a prediction two columns farther "
    "right with one more pixel at row 0, column 12. Middle: arrows from the predicted "
    "boundary to the true one; the longest, of length 5, starts at the single pixel, "
    "the others are at most 2 long. Right: arrows in the other direction, at most 2 "
    "long.",
)

# %% [markdown]
# Call the prediction $A$ and the ground truth $B$. Let $\Delta_A$ be the list of the
# surface distances from the boundary of $A$ (middle panel), and $\Delta_B$ the list of
# those from the boundary of $B$ (right panel). Three metrics summarise the lists:
#
# - **Hausdorff distance** (HD) is the largest distance in both lists:
#   $\max(\max\Delta_A, \max\Delta_B)$.
# - **HD95** takes the 95th percentile $q_{95}$ of each list: about 95 % of its
#   distances are at most $q_{95}$. HD95 is the larger of the two percentiles:
#   $\max(q_{95}(\Delta_A),\, q_{95}(\Delta_B))$.
# - **Average symmetric surface distance** (ASSD) is the mean of both lists together:
#   $(\sum\Delta_A + \sum\Delta_B)\,/\,(|\Delta_A| + |\Delta_B|)$.
#
# These metrics are distances in pixels, and smaller is better.

# %%
both = torch.cat([from_a, from_b])
hd95 = max(from_a.quantile(0.95), from_b.quantile(0.95))
rows = [
    {
        "metric": "HD",
        "by hand": both.max(),
        "package": metrics.hausdorff_distance(A, B),
    },
    {"metric": "HD95", "by hand": hd95, "package": metrics.hausdorff_distance_95(A, B)},
    {"metric": "ASSD", "by hand": both.mean(), "package": metrics.assd(A, B)},
]
tables.show_table(rows)

# %% [markdown]
# The isolated false positive alone determines HD. HD95 ignores it, because it is only 1
# of 23 pixels (4 %), and gives the size of the shift. ASSD is smaller, because many
# distances at the upper and lower edges are 0 or 1.
#
# Three more metrics lie between 0 and 1, and larger is better:
#
# - **Boundary F1** (BF score) with tolerance $\theta$: the precision $P$ is the share
#   of $\Delta_A$ that is at most $\theta$, and the recall $R$ the share of $\Delta_B$
#   that is at most $\theta$. Then $F_1 = 2PR/(P+R)$.
# - **Boundary IoU** with width $d$ is the IoU of two bands,
#   $|A_d\cap{B_d}|\,/\,|A_d\cup{B_d}|$. The band $A_d$ contains the pixels of mask $A$
#   that are at most $d$ steps from its outside (diagonal steps count).
# - **Trimap IoU** with width $w$ is the IoU inside a strip $S_w$:
#   $|A\cap{B}\cap{S_w}|\,/\,|(A\cup{B})\cap{S_w}|$. The strip contains the object
#   pixels within a distance $w$ of the background, and the background pixels within a
#   distance $w$ of the object.


# %%
def matched(points, distances, unmatched, tolerance=1):
    image = torch.zeros(B.shape, dtype=torch.int64)
    image[tuple(points.long().T)] = torch.where(distances <= tolerance, 3, unmatched)
    return image


def near_boundary(mask):
    return metrics.trimap(mask.long(), width=2) != IGNORE


cases, strip = four_cases(A, B), near_boundary(B)
bands = A & near_boundary(A), B & near_boundary(B)  # rectangles: this is A_d and B_d
panels = {
    "boundary precision": matched(a, from_a, 2),
    "boundary recall": matched(b, from_b, 1),
    "boundary IoU": four_cases(*bands),
    "trimap IoU": strip * cases.where(cases > 0, 4),
}
counts = [
    torch.bincount(panel.flatten(), minlength=5)[1:4] for panel in panels.values()
]
titles = [f"{t}: {n[2]} / {n.sum()}" for t, n in zip(panels, counts, strict=True)]

print(f"boundary F1  {metrics.boundary_f1(A, B, tolerance=1):.3f}")
print(f"boundary IoU {metrics.boundary_iou(A, B, width=2):.3f}")
print(f"trimap IoU   {metrics.trimap_iou(A, B, width=2):.3f}")
print(f"IoU          {((A & B).sum() / (A | B).sum()):.3f}")

# %% tags=["hide-input"]
PARTS = "not counted", "ground truth only", "prediction only", "in both (F1: matched)"
viz.show_grid(
    dict(zip(titles, panels.values(), strict=True)),
    (*PARTS, "neither, inside the strip"),
    (*CASE_COLORS, (120, 120, 120)),
    columns=2,
    alt="Top: of the 23 and 22 boundary pixels of prediction and ground truth, 14 each "
    "are within one pixel of the other boundary. Bottom: two ring-shaped bands of "
    "width 2; and a ring on both sides of the true boundary, which leaves out the "
    "isolated false positive.",
)

# %% [markdown]
# The two masks share 30 pixels, but their bands share only 20. This is why boundary IoU
# is lower than IoU. The isolated false positive does not change trimap IoU, because
# this pixel is outside the strip.
#
# <details class="deeper"><summary>Going deeper: boundary conventions</summary>
#
# - **HD95 has two definitions.** MONAI takes the larger one of two percentiles, as
#   above. MedPy takes one percentile of both lists together, which is
#   `hausdorff_distance_95(..., pooled=True)` here. The two differ in general, as
#   GrabCut's mask shows below.
# - **Which boundary pixels?** For boundary F1, this course counts a pixel as boundary
#   if any of its 8 neighbours is outside. For distances, only the 4 nearest neighbours
#   count. The rules differ at inner corners. For example, remove the upper right
#   quarter of a square. The pixel at the inner corner of the remaining L touches the
#   outside only diagonally, so it belongs to the boundary by the first rule alone. The
#   masks above have no inner corner, and both rules give the same pixels.
# - **Width and tolerance.** The authors' code of boundary IoU uses 2 % of the image
#   diagonal for the data sets COCO and LVIS and 0.5 % for Cityscapes. SegNet's
#   evaluation script uses 0.75 % of the diagonal as tolerance of boundary F1.
# - **Trimap for several classes.** The strip runs along the boundaries of all classes.
#   `metrics.trimap` marks all pixels outside it as void, so that mean IoU can be
#   computed inside.
# - **Empty masks.** A distance to an empty mask is infinite; with two empty masks all
#   boundary metrics are nan here.
# - **Open questions about boundary F1.** A tolerance smaller than the errors of the
#   annotations is not useful. Boundaries can be compared per instance or per class,
#   with different results. If many objects are missed, the precision is computed from
#   the few predicted boundary pixels and can still be high; only the recall shows the
#   missing objects.
#
# </details>

# %% [markdown]
# ## On a real image
#
# We compare predictions of the person in a photograph. GrabCut, a classical method,
# separates an object from its background by colour, starting from a box around the
# object. Our box comes from the ground truth. Two more predictions are the ground truth
# shifted by three pixels to the right, and the ground truth *dilated* by two: all
# pixels within two rows and columns are added. The fourth prediction isolates the
# effect of GrabCut's large errors: it is GrabCut's mask, except that all pixels more
# than 5 rows or columns away from the true boundary are corrected.


# %%
def dilate(mask, radius=1):
    """Add all pixels within `radius` rows and columns: (H, W) bool -> (H, W) bool."""
    side = 2 * radius + 1
    return F.max_pool2d(mask.float()[None], side, stride=1, padding=radius)[0] > 0


def shift(mask, pixels):
    return F.pad(mask, [pixels, -pixels])  # to the right


photo = Photographs(["camera"], longest=256)[0]
person = photo.semantic == photographs.CLASSES.index("person")
y, x = person.nonzero().T
box = (int(x.min()), int(y.min()), int(x.max()) + 1, int(y.max()) + 1)
start = trimap_from_box(box, person.shape)  # outside the box: known as background
cut = grabcut(photo.image, start).mask
far_outside, far_inside = ~dilate(person, 5), ~dilate(~person, 5)
predictions = {
    "GrabCut": cut,
    "shifted by 3": shift(person, 3),
    "dilated by 2": dilate(person, 2),
    "GrabCut, corrected": (cut & ~far_outside) | far_inside,
}

# %% tags=["hide-input"]
viz.show_overlay(
    photo.image,
    person.long(),
    ("background", "person"),
    ((128, 128, 128), (213, 94, 0)),
    alpha=0.35,
    alt="A photograph of a man in a dark coat behind a film camera on a tripod. The "
    "ground truth, laid over it, covers the man but neither the camera nor the tripod.",
)

# %% tags=["hide-input"]
figure, axes = plt.subplots(
    1, 4, figsize=(10.5, 3.9), layout="constrained", facecolor="white"
)
colors = torch.tensor(CASE_COLORS)
for panel, (name, mask) in zip(axes, predictions.items(), strict=True):
    panel.imshow(colors[four_cases(mask, person)[25:, :180]], interpolation="nearest")
    panel.set_title(name)
    panel.axis("off")
patches = [plt.Rectangle((0, 0), 1, 1, color=[v / 255 for v in c]) for c in CASE_COLORS]
figure.legend(patches, CASES, loc="outside lower center", ncols=4, frameon=False)
viz.present(
    figure,
    alt="Four predictions of the person. GrabCut's mask includes parts of the tripod "
    "as false positives and has false negative holes. The shifted mask has a false "
    "positive strip at its right edges and a false negative strip at its left edges. "
    "The dilated mask has a false positive strip all around, except at the border of "
    "the image. In the corrected mask of GrabCut, the lower tripod is gone.",
)


# %%
def mask_iou(preds, target):
    return ((preds & target).sum() / (preds | target).sum()).item()


MASK_METRICS = {
    "IoU": mask_iou,
    "Dice": lambda p, t: (2 * (p & t).sum() / (p.sum() + t.sum())).item(),
    "boundary IoU": lambda p, t: metrics.boundary_iou(p, t, width=3),
    "boundary F1": lambda p, t: metrics.boundary_f1(p, t, tolerance=2),
    "HD": metrics.hausdorff_distance,
    "HD95": metrics.hausdorff_distance_95,
    "ASSD": metrics.assd,
}
tables.show_table(
    [
        {"prediction": name} | {m: f(mask, person) for m, f in MASK_METRICS.items()}
        for name, mask in predictions.items()
    ],
    digits=2,
)
for name, mask in predictions.items():
    p, r = metrics.boundary_precision_recall(mask, person, tolerance=2)
    forth, back = (x.max() for x in metrics.surface_distances(mask, person))
    print(
        f"{name:18} boundary precision {p:.2f}, recall {r:.2f}; largest distance",
        end="",
    )
    print(f" to ground truth {forth:4.1f}, from ground truth {back:4.1f}")
pooled = metrics.hausdorff_distance_95(cut, person, pooled=True)
print(f"GrabCut, HD95 of both lists together: {pooled:.1f}")

# %% [markdown]
# Read the first three rows. The IoUs differ by at most 0.02, and the boundary metrics
# by much more. GrabCut has the best boundary F1 and boundary IoU of the three. Its F1
# comes from the recall: most of the true boundary has a predicted boundary nearby.
# Nearly half of the predicted boundary belongs to false parts, so the precision is no
# better than that of the dilated mask. GrabCut also has by far the largest distances.
# In the corrected mask, HD95 and ASSD fall to about a tenth.
#
# <details class="deeper"><summary>Going deeper: large HD, small errors</summary>
#
# Even the dilated and the corrected mask have a large HD. The last column of the
# printed lines shows that it belongs to pixels of the *true* boundary. These pixels lie
# at the edges of narrow gaps of the true mask: in the hand for the dilated mask,
# between face and arm for the corrected one. The prediction fills such a gap, so there
# is no predicted boundary near its inner end.
#
# </details>
#
# ## What did the idea buy?
#
# Do we need more than IoU? The first experiment shifts squares of different sizes by
# one pixel, so that the error is the same for all of them.

# %%
rows = []
for side in (4, 8, 16, 32, 64):
    square = torch.zeros(80, 80, dtype=torch.bool)
    square[8 : 8 + side, 8 : 8 + side] = True
    moved = shift(square, 1)
    row = {"side": side} | {m: MASK_METRICS[m](moved, square) for m in ("IoU", "ASSD")}
    row["boundary IoU, d = 2"] = metrics.boundary_iou(moved, square, width=2)
    rows.append(row)
tables.show_table(rows)

# %% [markdown]
# IoU rises with the size of the square although the error stays the same. Boundary IoU
# and ASSD do not change.
#
# The second experiment counts how often two metrics disagree. We change masks of
# buildings, trees and cars from Toytown in seven ways. For every pair of changed masks
# of one class in one scene, we ask whether a metric and IoU rank them in opposite order
# (a tie counts as agreement). Three sets of scenes give a mean and a spread (standard
# deviation).


# %%
def ragged(mask):
    noise = torch.rand(mask.shape, generator=torch.Generator().manual_seed(0))
    return mask ^ (dilate(mask, 2) & dilate(~mask, 2) & (noise < 0.3))


def add_isolated(mask):
    y, x = (~dilate(mask, 15)).nonzero()[0]  # the first pixel far from the mask
    changed = mask.clone()
    changed[y : y + 2, x : x + 2] = True
    return changed


def cut_foot(mask):
    rows = mask.any(dim=1).nonzero()[:, 0]
    return mask & (torch.arange(len(mask)) < rows[len(rows) * 4 // 5])[:, None]


CHANGES = {
    "shifted by 2": lambda mask: shift(mask, 2),
    "dilated by 1": dilate,
    "dilated by 2": lambda mask: dilate(mask, 2),
    "eroded by 1": lambda mask: ~dilate(~mask),
    "ragged boundary": ragged,
    "isolated false positives": add_isolated,
    "lowest fifth missing": cut_foot,
}


# %%
def disagreement(seed, scenes=12):
    """The share of pairs of masks that a metric and IoU rank in opposite order."""
    dataset = Toytown(scenes, seed=seed)
    labels = [dataset[i].semantic for i in range(scenes)]
    masks = [each == k for each in labels for k in (1, 4, 5)]  # building, tree, car
    masks = [m for m in masks if m.sum() >= 300 and not dilate(m, 15).all()]
    smaller_is_better = [name in ("HD", "HD95", "ASSD") for name in MASK_METRICS]
    table = torch.tensor(
        [
            [[f(c(m), m) for f in MASK_METRICS.values()] for c in CHANGES.values()]
            for m in masks
        ]
    )  # (masks, changes, metrics)
    table[:, :, smaller_is_better] *= -1
    first, second = zip(*combinations(range(len(CHANGES)), 2), strict=True)
    order = (table[:, first] - table[:, second]).flatten(0, 1)  # (pairs, metrics)
    order = order.where(order.abs() > 1e-4, 0.0).sign()  # 0: equally good
    return (order * order[:, :1] < 0).double().mean(dim=0)


shares = torch.stack([disagreement(seed) for seed in (1, 2, 3)])
mean, spread = shares.mean(dim=0), shares.std(dim=0)
rows = [
    {"metric": name, "disagrees with IoU": f"{mean[k]:.2f} ± {spread[k]:.2f}"}
    for k, name in enumerate(MASK_METRICS)
]
tables.show_table(rows[1:])

# %% [markdown]
# Dice never disagrees with IoU, because it increases with IoU. Boundary IoU disagrees
# in about one pair of ten, ASSD in one of five, boundary F1 and HD95 in one of three,
# and HD, which one pixel can determine, in more than half. The shares depend on the
# seven changes that we chose. They do not predict how often two metrics will disagree
# about two networks.
#
# Therefore, if boundaries matter for your task, report a boundary metric besides IoU.

# %% [markdown]
# ## Where it breaks
#
# **Boundary IoU can miss a huge hole.** The ground truth is a square of 40 × 40 pixels,
# and the prediction the same square with a square hole. In the last row, only a ring of
# the band's width remains.

# %%
square = torch.zeros(60, 60, dtype=torch.bool)
square[10:50, 10:50] = True
rows = []
for hole in (0, 2, 10, 36):
    ring = square.clone()
    ring[30 - hole // 2 : 30 + hole // 2, 30 - hole // 2 : 30 + hole // 2] = False
    row = {"side of the hole": hole, "IoU": mask_iou(ring, square)}
    row["boundary IoU, d = 2"] = metrics.boundary_iou(ring, square, width=2)
    rows.append(row)
tables.show_table(rows, digits=3)

# %% [markdown]
# The ring has a very low IoU and a perfect boundary IoU. Cheng et al. therefore use the
# smaller one of IoU and boundary IoU to evaluate objects.
#
# **The metrics do not count objects.** We take a perfect prediction, the ground truth
# itself, and count its cars as connected components of the class car.

# %%
car = CLASSES.index("car")
counts = []
for i in range(32):
    cars = town[i].semantic == car
    objects = len(town[i].instance[cars].unique())
    counts.append((objects, number_components(cars.numpy())[1]))
perfect = confusion_matrix(target, target, len(CLASSES))
print(f"mean IoU of the perfect prediction: {mean_iou(perfect):.1f}")
print(f"cars: {sum(a for a, _ in counts)}, components: {sum(b for _, b in counts)}")
wrong = sum(objects != components for objects, components in counts)
print(f"scenes with a wrong number of cars: {wrong} of 32")

# %% tags=["hide-input"]
merged = [i for i in range(32) if counts[i][0] > counts[i][1]]
example = max(merged, key=lambda i: (town[i].semantic == car).sum())
viz.show_sample(
    town[example],
    CLASSES,
    PALETTE,
    alt="A street scene, its classes and its objects. A white van hides a part of the "
    "blue car behind it. The two are one component in the map of classes, and two "
    "objects in the map of objects.",
)

# %% [markdown]
# Overlapping cars form one component (in the figure, the van and the car behind it),
# and an object in front of a car can divide it into two, but mean IoU is perfect.
# Chapters 14 and 17 introduce metrics that match objects first.
#
# <details class="deeper"><summary>Going deeper: a preview of panoptic quality</summary>
#
# Panoptic quality (PQ) matches predicted and true segments of the same class whose IoU
# exceeds 0.5. With TP matched pairs, FP unmatched predictions and FN unmatched true
# segments,
#
# $$PQ = SQ \cdot RQ, \qquad SQ = \frac{\sum_{\text{matched}} \text{IoU}}{TP}, \qquad
# RQ = \frac{TP}{TP + \frac12 FP + \frac12 FN}.$$
#
# Segmentation quality (SQ) is the mean IoU of the matched segments, and recognition
# quality (RQ) is an F1 score of segments instead of pixels. Both are computed per
# class, and PQ is averaged over the classes.
#
# </details>

# %% [markdown]
# ## In practice
#
# Four libraries compute these metrics. Their conventions differ, so we run them on the
# examples of this chapter.

# %% tags=["nbval-ignore-output"]
libraries = "torchmetrics", "scikit-learn", "segmentation-models-pytorch", "monai"
print({name: version(name) for name in libraries})

# %%
import segmentation_models_pytorch as smp
from sklearn.metrics import jaccard_score
from torchmetrics.classification import MulticlassJaccardIndex
from torchmetrics.segmentation import MeanIoU

t, p = tiny_target[valid], tiny_preds[valid]  # scikit-learn has no ignore_index
found = {("this course", "mean IoU"): mean_iou(tiny)}
found["this course", "FWIoU"] = metrics.frequency_weighted_iou(tiny)
for average in ("macro", "micro", "weighted"):
    metric = MulticlassJaccardIndex(4, average=average, ignore_index=255)
    found["torchmetrics", average] = metric(tiny_preds, tiny_target)
found["scikit-learn", "macro, labels=range(4)"] = jaccard_score(
    t, p, labels=range(4), average="macro", zero_division=0
)
counts = smp.metrics.get_stats(
    tiny_preds[None], tiny_target[None], "multiclass", ignore_index=255, num_classes=4
)
for name, options in {
    "macro": {"reduction": "macro"},
    "macro, zero_division=0": {"reduction": "macro", "zero_division": 0},
    "micro": {"reduction": "micro"},
}.items():
    found["SMP", name] = smp.metrics.iou_score(*counts, **options)
tables.show_table(
    [{"library": k[0], "average": k[1], "IoU": v} for k, v in found.items()]
)
metric = MulticlassJaccardIndex(4, average=None, ignore_index=255)
print("torchmetrics, average=None:", metric(tiny_preds, tiny_target).numpy().round(3))
print("MeanIoU has ignore_index:", "ignore_index" in signature(MeanIoU).parameters)

# %% [markdown]
# The word "macro" stands for three different numbers, because of the absent class 3:
# here torchmetrics leaves it out, scikit-learn counts it as 0, and SMP
# (segmentation-models-pytorch) counts it as 1. "micro" is *not* mean IoU, though the
# two are close in this example, and "weighted" is FWIoU. The next cell gives MONAI the
# masks $A$ and $B$ of the section *Boundaries*.

# %%
from monai.metrics import DiceMetric, HausdorffDistanceMetric, SurfaceDistanceMetric

preds_, target_ = A[None, None].float(), B[None, None].float()  # (N, C, H, W)
both = {"include_background": True}
rows = [
    {"metric": name, "MONAI": metric(preds_, target_).item(), "this course": ours(A, B)}
    for name, metric, ours in (
        ("HD", HausdorffDistanceMetric(**both), metrics.hausdorff_distance),
        (
            "HD95",
            HausdorffDistanceMetric(percentile=95, **both),
            metrics.hausdorff_distance_95,
        ),
        ("ASSD", SurfaceDistanceMetric(symmetric=True, **both), metrics.assd),
    )
]
tables.show_table(rows)

for ignore in (True, False):
    metric = DiceMetric(include_background=True, ignore_empty=ignore)
    score = metric(preds_, torch.zeros_like(target_)).item()
    print(f"MONAI, Dice of false positives only, ignore_empty={ignore}: {score}")
two = [torch.cat([1 - m, m], dim=1) for m in (preds_, target_)]  # background, object
print("MONAI, distances by default:", tuple(HausdorffDistanceMetric()(*two).shape))
for name, m in (("without", (A[None], B[None])), ("with", (preds_, target_))):
    counts = smp.metrics.get_stats(*(each.long() for each in m), mode="binary")
    score = smp.metrics.iou_score(*counts, reduction="macro")
    print(f"SMP, macro IoU of one mask {name} channel axis: {score:.3f}")

# %% [markdown]
# The distances agree. Two lines show pitfalls that raise no error: by default MONAI's
# Dice skips an image with an empty ground truth, and SMP reads the rows of a mask
# without channel axis as classes.
#
# <details class="deeper"><summary>Going deeper: pitfalls of the libraries</summary>
#
# - **torchmetrics**: `average=None` reports an absent class as 0, although "macro"
#   leaves it out. `segmentation.MeanIoU` has no `ignore_index`; use
#   `MulticlassJaccardIndex`.
# - **scikit-learn** has no `ignore_index`: remove void pixels before the call. An
#   absent class counts as 0 because we pass `labels=range(4)` and `zero_division=0`.
# - **SMP**: `iou_score` counts an absent class as 1 by default; `zero_division=0`
#   counts it as 0. With `mode="binary"`, a mask (N, H, W) without its channel axis is
#   accepted, and its rows are taken for classes, which gives a wrong IoU.
# - **MONAI's** `DiceMetric` skips an image with an empty ground truth, even if the
#   prediction has false positives there. Set `ignore_empty=False` to count them. With
#   several channels, distances leave out class 0 unless `include_background=True`: two
#   channels give one distance.
#
# </details>
#
# ### Which metric when
#
# | question | metric |
# |---|---|
# | How good is each class, over a data set? | IoU per class, mean IoU |
# | How good is the mask of one organ in each image? | Dice per image |
# | How good are boundaries of large objects? | boundary IoU, boundary F1 |
# | How good is the class map near boundaries? | trimap IoU |
# | How far off is the boundary on average? | ASSD, with pixel spacing |
# | How far off, except for a few pixels? | HD95, with pixel spacing |
# | How large is the worst boundary error? | Hausdorff distance |
# | Are pixels right, if classes have similar sizes? | pixel accuracy |
# | Are the *objects* found? | average precision of masks, mask AP (chapter 14) |
# | How good are things and stuff together? | panoptic quality, PQ (chapter 17) |

# %% [markdown]
# ## Common mistakes
#
# **Void pixels counted as class 0.** If the label 255 is replaced by 0, a prediction at
# a void pixel counts as right if it is 0, and else as an error.
#
# **Small integers.** Label maps are often stored as `uint8`, which ends at 255. With 19
# classes, the pair (18, 18) has the number 18 · 19 + 18 = 360, which wraps around
# without an error.

# %%
void_as_0 = tiny_target.where(tiny_target != IGNORE, 0)
print(f"void      wrong {mean_iou(confusion_matrix(tiny_preds, void_as_0, 4)):.3f}")
print(f"          right {mean_iou(tiny):.3f}")

small = torch.tensor([18], dtype=torch.uint8)
print("integers  wrong", (small * 19 + small).item())
print("          right", (small.long() * 19 + small.long()).item())

# %% [markdown]
# **Mean accuracy taken for precision.** It is a mean of *recalls*. When we dilate the
# predicted cars, people and lamps by two pixels, mean accuracy rises, and precision and
# IoU fall.

# %%
greedy = preds.clone()
for thing in (5, 6, 7):
    for image, labels in zip(greedy, preds, strict=True):
        image[dilate(labels == thing, 2)] = thing
dilated = confusion_matrix(greedy, target, len(CLASSES))
for name in ("mean_accuracy", "mean_precision", "mean_iou"):
    before, after = (getattr(metrics, name)(m) for m in (matrix, dilated))
    print(f"{name:15} before {before:.3f}  dilated {after:.3f}")

# %% [markdown]
# **Threshold on logits.** The threshold 0.5 belongs to probabilities. The logit of the
# probability 0.5 is 0. We compute the Dice of network 1 from its logits.

# %%
t, logits = torch.tensor([1.0, 1.0, 0.0, 0.0]), networks["1"].logit()
print(f"wrong {dice_of(1.0 * (logits >= 0.5), t):.3f}  logits, threshold 0.5")
right = dice_of(1.0 * (logits.sigmoid() >= 0.5), t)
print(f"right {right:.3f}  probabilities, threshold 0.5")

# %% [markdown]
# **Dice with the background.** The network of the first section never predicts a
# person. Its Dice is nevertheless high if TP, FP and FN are pooled over person and
# background.
#
# **Empty masks counted as perfect.** We average the Dice of this network over images.
# Where an image has no people, both masks are empty.

# %%
never = confusion_matrix(nobody, people, 2)
pooled = 2 * never.trace() / (2 * never.sum())
print(f"wrong {pooled:.3f}  Dice with the background pooled")
print(f"right {metrics.dice(never)[1]:.3f}  Dice of class person")

pairs = zip(nobody, people, strict=True)
per_image = [metrics.dice(confusion_matrix(p, t, 2))[1] for p, t in pairs]
per_image = torch.stack(per_image)
print(f"images without people: {per_image.isnan().sum()} of {len(per_image)}")
print(f"wrong {per_image.nan_to_num(1.0).mean():.3f}  empty masks count as 1")
print(f"right {per_image.nanmean():.3f}  empty masks are left out")

# %% [markdown]
# **Distances without spacing.** In medical images, the pixel may not be square. Suppose
# that rows are 3 mm apart and columns 1 mm.

# %%
print(f"wrong {metrics.hausdorff_distance(A, B):.1f} pixels")
print(f"right {metrics.hausdorff_distance(A, B, spacing=(3.0, 1.0)):.1f} mm")

# %% [markdown]
# ## Exercises
#
# `ex.dice.check(answer)` runs your answer on ordinary and unusual inputs.
# `ex.dice.hint()` gives a hint, and after that the next one. The name alone, `ex.dice`,
# shows the question.
#
# ### 3.1 Dice of a network's logits
#
# A network for one class gives a logit for each pixel; the probability is the sigmoid
# of the logit. The predicted mask contains the pixels whose probability is at least
# `threshold`. Return the (thresholded) Dice coefficient, a number. `logits` is a float
# tensor (H, W), `target` a bool tensor (H, W), and `threshold` a number between 0 and
# 1 without the ends. If the predicted mask and the target are both empty, return nan.


# %%
from segcourse.exercises import metrics as ex


def dice(logits, target, threshold):
    # your code
    ...


ex.dice.check(dice)

# %%
ex.dice.show_solution()

# %% [markdown]
# ### 3.2 IoU from the confusion matrix
#
# Return the IoU of every class, K numbers, from a confusion matrix: an int64 tensor (K,
# K) whose rows are true classes and whose columns are predicted classes. A class that
# occurs neither in the ground truth nor in the prediction gets nan. Hints:
# `ex.iou.hint()`.


# %%
def iou_from_matrix(matrix):
    # your code
    ...


ex.iou.check(iou_from_matrix)

# %%
ex.iou.show_solution()

# %% [markdown]
# ### 3.3 Predict the scores of a shift
#
# The ground truth is a rectangle of `height` × `width` pixels. The prediction has the
# same size but lies `shift` pixels farther to the right (0 or more, possibly more than
# the width). Both are inside the image. *Predict* the IoU and the Hausdorff distance:
# derive two formulas on paper, and return the pair (IoU, distance). The three arguments
# are int. The check compares with the true values. The last cell of this exercise
# measures some cases. Hints: `ex.shift.hint()`.


# %%
def scores_of_a_shift(height, width, shift):
    # your code
    ...


ex.shift.check(scores_of_a_shift)

# %%
ex.shift.show_solution()

# %%
square = torch.zeros(20, 30, dtype=torch.bool)
square[2:12, 2:14] = True  # height 10, width 12
for steps in (1, 4, 13):
    moved = shift(square, steps)
    distance = metrics.hausdorff_distance(moved, square)
    print(
        f"shift {steps:2}: IoU {mask_iou(moved, square):.3f}, distance {distance:.1f}"
    )

# %% [markdown]
# ### 3.4 Repair the average
#
# The following function computes the mean IoU of a data set. Its result changes with
# the batch size. Find the fault and repair it.
#
# ```python
# def dataset_mean_iou(batches, num_classes):
#     total = 0
#     for preds, target in batches:
#         matrix = confusion_matrix(preds, target, num_classes)
#         total = total + mean_iou(matrix)
#     return total / len(batches)
# ```
#
# `batches` is a list of pairs (preds, target), each an int64 tensor (N, H, W) where N
# may differ; `num_classes` is an int. Pixels whose target is 255 are void. Classes that
# occur nowhere in the data set are left out of the mean. Return a number. Hints:
# `ex.average.hint()`.


# %%
def dataset_mean_iou(batches, num_classes):
    # your code
    ...


ex.average.check(dataset_mean_iou)

# %%
ex.average.show_solution()

# %% [markdown]
# ### 3.5 The band of boundary IoU
#
# Return the band of a mask as a bool tensor (H, W): the pixels of the mask that are at
# most `width` steps from the outside of the mask. A step goes to any of the 8
# neighbours. What is beyond the image counts as outside. `mask` is a bool tensor (H,
# W), `width` an int of at least 1. Hints: `ex.band.hint()`.


# %%
def inner_band(mask, width):
    # your code
    ...


ex.band.check(inner_band)

# %%
ex.band.show_solution()

# %% [markdown]
# ### 3.6 The worst false positive
#
# "If the IoU is high, all distances are small." Construct the strongest counterexample
# with a single pixel: the prediction is the target plus *one* background pixel. Return
# the position (row, column) of the background pixel that is farthest from the target.
# The distance of a pixel to the target is its Euclidean distance to the *nearest*
# target pixel. If several pixels are equally far, return the first one in reading
# order: the topmost row, and in it the leftmost column. `target` is a bool tensor (H,
# W) with at least one pixel that is True and one that is False. Hints:
# `ex.pixel.hint()`.


# %%
def worst_false_positive(target):
    # your code
    ...


ex.pixel.check(worst_false_positive)

# %%
ex.pixel.show_solution()

# %% [markdown]
# ### 3.7 Choose the metric
#
# Decide which of nine metrics fits each of seven situations. Write a function from the
# short name of a situation to the name of a metric; a dictionary inside it is enough.
# Each metric is the answer at most once. Two of them belong to later chapters. Mask AP
# (average precision) ranks detected objects by confidence and matches them with the
# true objects by IoU. PQ (panoptic quality) matches the segments of a map in which
# every pixel belongs to one segment. Hints: `ex.choose.hint()`.

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
# **Q1. Which two scores always rank two predictions of one mask in the same order?**
#
# <details class="quiz right"><summary>Dice and IoU</summary>
#
# Right: Dice = 2 IoU / (1 + IoU) increases with IoU, so the larger IoU has the larger
# Dice.
#
# </details>
# <details class="quiz wrong"><summary>IoU and pixel accuracy</summary>
#
# Not quite: accuracy also counts true negatives, and IoU does not. One of two masks can
# have the higher IoU and the lower accuracy.
#
# </details>
# <details class="quiz wrong"><summary>HD and HD95</summary>
#
# Not quite: one false positive pixel far away can determine HD and not change HD95.
#
# </details>

# %% [markdown]
# **Q2. Mean accuracy rises and mean IoU falls. What is a possible reason?**
#
# <details class="quiz wrong"><summary>none, this is impossible</summary>
#
# Not quite: it happened in this chapter when cars, people and lamps were dilated.
#
# </details>
# <details class="quiz right"><summary>rare classes are predicted too often</summary>
#
# Right: more of their pixels are found, so their recall rises. There are also more
# false positives, which lower precision and IoU.
#
# </details>
# <details class="quiz wrong"><summary>only the largest class is predicted</summary>
#
# Not quite: the recall of all other classes is then 0, so mean accuracy is only 1 / K
# for K classes.
#
# </details>

# %% [markdown]
# **Q3. A class occurs in the prediction but not in the ground truth. What is its IoU?**
#
# <details class="quiz wrong"><summary>nan, because the class is absent</summary>
#
# Not quite: the union is not empty. Only a class that occurs in *neither* map gives
# 0/0.
#
# </details>
# <details class="quiz right"><summary>0</summary>
#
# Right: TP is 0, and the union consists of false positives. To leave the class out
# would hide these errors.
#
# </details>
# <details class="quiz wrong"><summary>1, because nothing was missed</summary>
#
# Not quite: nothing was missed, but every pixel predicted as the class is wrong.
#
# </details>

# %% [markdown]
# **Q4. You average the mean IoU over batches. With batches of twice the size, the
# result is different. Why?**
#
# <details class="quiz wrong"><summary>batch normalisation uses other images</summary>
#
# Not quite: in evaluation mode the predictions do not depend on the batch, but the
# average still changes.
#
# </details>
# <details class="quiz right"><summary>the mean of the IoUs of batches is not the IoU of
# the summed counts</summary>
#
# Right: three pixels of a class in one batch weigh as much as thousands in another
# batch. Add the matrices, and compute the score once.
#
# </details>
# <details class="quiz wrong"><summary>floating point rounding</summary>
#
# Not quite: the differences in the table of this chapter are far larger than rounding
# errors, and they come from the division into batches.
#
# </details>

# %% [markdown]
# **Q5. Network 2 has the larger soft Dice, network 1 the larger thresholded Dice. Which
# statement is true, if both use the same threshold?**
#
# <details class="quiz wrong"><summary>one of the numbers is wrong</summary>
#
# Not quite: the four pixels in this chapter show that both can be right.
#
# </details>
# <details class="quiz right"><summary>network 1 has the better masks</summary>
#
# Right: the thresholded Dice compares the masks. Soft Dice also rewards high
# confidence.
#
# </details>
# <details class="quiz wrong"><summary>network 2 has the better masks</summary>
#
# Not quite: soft Dice depends on the probabilities, and a mask only on which side of
# the threshold they are.
#
# </details>

# %% [markdown]
# **Q6. A paper reports an HD95 of 4.1, and your code computes 4.6 for the same masks.
# What do you check first?**
#
# <details class="quiz wrong"><summary>the random seed</summary>
#
# Not quite: masks and distances do not contain random numbers.
#
# </details>
# <details class="quiz wrong"><summary>the learning rate</summary>
#
# Not quite: the masks are the same, so training plays no role.
#
# </details>
# <details class="quiz right"><summary>definition and pixel spacing</summary>
#
# Right: one or two percentiles, which boundary pixels, and pixels or millimetres.
#
# </details>

# %% [markdown]
# **Q7. Which error does not change the trimap IoU?**
#
# <details class="quiz wrong"><summary>a shift of the boundary by one pixel</summary>
#
# Not quite: the pixels that change lie inside the strip around the boundary.
#
# </details>
# <details class="quiz right"><summary>a false positive far away</summary>
#
# Right: only pixels near the boundary of the *ground truth* are counted.
#
# </details>
# <details class="quiz wrong"><summary>an error of a rare class</summary>
#
# Not quite: the strip runs along the boundaries of all classes, and mean IoU inside it
# gives each class the same weight.
#
# </details>

# %% [markdown]
# ## Take-aways
#
# - IoU = TP / (TP + FP + FN). True negatives do not change IoU. Dice and IoU rank the
#   predictions of one mask in the same order.
# - The metrics of a whole data set, such as mean IoU, come from one confusion matrix.
#   Add the matrices of all batches, and compute the score once.
# - State your rules: void pixels, absent classes, the average, the threshold.
# - Boundary metrics are sensitive to errors that hardly change the IoU of a large
#   object. HD reports the worst distance, HD95 nearly the worst, ASSD the mean.
# - If boundaries matter for the task, report a boundary metric besides IoU. Neither
#   kind counts objects.
#
# ## Further reading
#
# - Long, Shelhamer, Darrell, *Fully Convolutional Networks for Semantic Segmentation*,
#   CVPR 2015: pixel accuracy, mean accuracy, mean IoU and FWIoU.
#   <https://arxiv.org/abs/1411.4038>
# - Csurka, Larlus, Perronnin, *What is a good evaluation measure for semantic
#   segmentation?*, BMVC 2013: boundary F1 per class and image.
# - Cohen, *A Coefficient of Agreement for Nominal Scales*, Educational and
#   Psychological Measurement 20, 1960: kappa.
# - Rother, Kolmogorov, Blake, *GrabCut: Interactive Foreground Extraction Using
#   Iterated Graph Cuts*, SIGGRAPH 2004.
# - MONAI <https://github.com/Project-MONAI/MONAI> and MedPy
#   <https://github.com/loli/medpy>: code of HD, HD95 and ASSD.
# - Evaluation code. One matrix for the whole data set:
#   <https://github.com/shelhamer/fcn.berkeleyvision.org> (PASCAL VOC),
#   <https://github.com/mcordts/cityscapesScripts>,
#   <https://github.com/CSAILVision/sceneparsing> (ADE20K). Widths and tolerances:
#   <https://github.com/bowenc0221/boundary-iou-api>,
#   <https://github.com/alexgkendall/SegNet-Tutorial>.
# - Kohli, Ladický, Torr, *Robust Higher Order Potentials for Enforcing Label
#   Consistency*, IJCV 2009: evaluation in a strip around the boundary (trimap).
# - Cheng, Girshick, Dollár, Berg, Kirillov, *Boundary IoU*, CVPR 2021.
#   <https://arxiv.org/abs/2103.16562>
# - Kirillov, He, Girshick, Rother, Dollár, *Panoptic Segmentation*, CVPR 2019: panoptic
#   quality. <https://arxiv.org/abs/1801.00868>
