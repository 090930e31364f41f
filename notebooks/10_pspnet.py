# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # 10. PSPNet: context from the whole image
#
# PSPNet averages its features over large regions of the image and gives these averages
# to every pixel, so that distant parts of the image can decide the class of a pixel.
#
# After this chapter you can
#
# - compute how adaptive average pooling divides a feature map into cells (exercise
#   10.1), and how much a small object changes the mean of a cell (exercise 10.2);
# - count the parameters of PSPNet's head, which are the layers behind its encoder
#   (exercise 10.3);
# - find the faults in an auxiliary loss (exercise 10.4);
# - measure which parts of an image a prediction depends on (exercise 10.5);
# - decide which kind of context a task needs (exercise 10.6).
#
# You need [chapter 5](05_losses.ipynb) (class weights, Dice loss), [chapter
# 6](06_fcn.ipynb) (stride, receptive field) and [chapter 8](08_unet.ipynb) (comparisons
# paired by seed). The [glossary](../book/glossary.md) explains technical words. The
# notebook takes less than two minutes on one CPU thread, most of it for training.

# %% tags=["hide-cell"]
from importlib.util import find_spec

if find_spec("segcourse") is None:  # on Colab
    get_ipython().system(
        "pip install -q 'segcourse[practice,pretrained] @ git+https://github.com/OWNER/REPO'"
    )

import torch

from segcourse.training import seed_everything

seed_everything(0)

# %%
import numpy as np
import torch.nn.functional as F
from torch import nn

from segcourse import tables, viz
from segcourse.blocks import ResNet, conv_bn_relu, kaiming_normal_
from segcourse.data import Cached, Sample, Signed, Toytown, batches, measured, signs
from segcourse.losses import (
    class_counts,
    cross_entropy,
    dice_loss,
    log_frequency_weights,
)
from segcourse.metrics import confusion_matrix, iou, mean_iou
from segcourse.models import FCNResNet, PSPNet
from segcourse.ops import IGNORE
from segcourse.training import fit, poly, predict, warmup

CLASSES, PALETTE = signs.CLASSES, signs.PALETTE
GRASS, MEADOW = signs.GRASS, signs.MEADOW
LAWN = torch.tensor([GRASS, MEADOW])

# %% [markdown]
# ## The problem
#
# Some classes look alike, and only other parts of the image distinguish them.
# Information about a pixel that comes from other parts of the image is called
# **context**. To study context alone, we add a coloured square to the upper edge of
# every scene of Toytown, our drawn street scenes. We call the square the *sign*, and
# all pixels of Toytown's class *grass* the *lawn*. If the sign is red, the lawn keeps
# the class *grass*. If the sign is blue, the lawn gets the class *meadow*, although it
# looks the same. The pixels of the sign are void.

# %%
training = Cached(Signed(Toytown(800)))
validation = Cached(Signed(Toytown(64, seed=1)))
images = torch.stack([scene.image for scene in validation])
target = torch.stack([scene.semantic for scene in validation])
labels = torch.stack([scene.semantic for scene in training])
weight = log_frequency_weights(class_counts(labels, len(CLASSES)))


def score(logits, target):
    """The loss of chapter 8: weighted cross-entropy plus Dice."""
    return cross_entropy(logits, target, weight=weight) + dice_loss(logits, target)


def train(model, loss, steps=250):
    """Train on four scenes a step, with warm-up in the first half of the steps."""
    schedule = warmup(poly(0.9), share=0.5)
    data = batches(training, batch_size=4)
    return fit(model, loss, data, steps=steps, learning_rate=2e-2, schedule=schedule)


# %% [markdown]
# We train `FCNResNet`, a small version of torchvision's `fcn_resnet50` from chapter 6.
# Its encoder keeps stride 8 with dilated convolutions (kernels with gaps), and two
# convolutions compute the logits from its features. The table compares the network with
# two constant predictions, which give every lawn pixel of the ground truth the same
# class.


# %% tags=["tol=0.2"]
def class_iou(preds):
    """IoU of every class over all validation scenes, by name."""
    matrix = confusion_matrix(preds, target, len(CLASSES))
    return dict(zip(CLASSES, iou(matrix).tolist(), strict=True))


seed_everything(0)
fcn = FCNResNet(len(CLASSES), layers=18, width=16)
train(fcn, lambda model, batch: score(model(batch.image), batch.semantic))
fcn_iou = class_iou(predict(fcn, images, batch_size=16))
lawn = (target == GRASS) | (target == MEADOW)
predictions = {
    "FCNResNet": fcn_iou,
    "always grass": class_iou(torch.where(lawn, GRASS, 0)),
    "always meadow": class_iou(torch.where(lawn, MEADOW, 0)),
}
rows = []
for name, found in predictions.items():
    both = {"grass": found["grass"], "meadow": found["meadow"]}
    rows.append({"prediction": name, **{f"IoU of {c}": v for c, v in both.items()}})
    rows[-1]["mean of both"] = np.mean(list(both.values()))
print(f"FCNResNet: IoU of sky {fcn_iou['sky']:.2f}, IoU of road {fcn_iou['road']:.2f}")
tables.show_table(rows, digits=2)

# %% [markdown]
# The network segments sky and road well. For grass and meadow, its mean IoU is even
# lower than that of *always meadow*. Does the network use the sign at all? The next
# figure shows a scene with its red sign, and the same scene with a blue sign.


# %%
def exchange_sign(scene):
    """The same scene with a sign of the other colour, and its labels."""
    image, semantic, instance = scene.image.clone(), scene.semantic, scene.instance
    sign = semantic == IGNORE
    image[:, sign] = image[[2, 1, 0]][:, sign]  # red <-> blue
    other = torch.where(semantic == GRASS, MEADOW, semantic)
    return Sample(image, torch.where(semantic == MEADOW, GRASS, other), instance)


red = validation[3]
pair = [red, exchange_sign(red)]
pair_images = torch.stack([scene.image for scene in pair])

# %% tags=["hide-input"]
viz.show_predictions(
    pair,
    {"FCNResNet": predict(fcn, pair_images)},
    CLASSES,
    PALETTE,
    alt="A street scene with a red square at its upper edge, and the same scene with a "
    "blue square. The ground truth of the lawn is grass in the first row and meadow in "
    "the second; the prediction gives the lawn almost the same classes in both rows.",
)

# %% [markdown]
# The two predictions are almost the same, although the ground truth differs: here, the
# network hardly uses the sign.
#
# ## The idea
#
# One possible reason is that the sign lies outside of the receptive field. We can test
# this with a gradient. Let $z_c$ be the logit of class $c$ at one pixel of the lawn.
# The network predicts meadow rather than grass there if the difference $z_\text{meadow}
# - z_\text{grass}$ is positive. The **saliency** of an image pixel is the absolute
# gradient of this difference with respect to that pixel, summed over its three colours.
# It measures how much a small change of the image pixel changes the difference. A pixel
# outside of the receptive field has saliency 0.


# %% tags=["tol=0.1"]
def saliency(model, image, row, column):
    """|d(z_meadow - z_grass) / d image|, summed over colours: (3, H, W) -> (H, W)."""
    image = image[None].clone().requires_grad_()
    logits = model.eval()(image)[0, :, row, column]
    (logits[MEADOW] - logits[GRASS]).backward()
    return image.grad[0].abs().sum(dim=0)


def lawn_pixel(scene):
    """The place of a pixel of the lawn, in its lower part."""
    places = ((scene.semantic == GRASS) | (scene.semantic == MEADOW)).nonzero()
    return places[2 * len(places) // 3].tolist()


def distance_from(row, column):
    """Distance of every pixel of a scene from one pixel: (96, 128)."""
    return torch.hypot(torch.arange(96.0)[:, None] - row, torch.arange(128.0) - column)


row, column = lawn_pixel(red)
seen = saliency(fcn, red.image, row, column)
distance = distance_from(row, column)
print("pixels with saliency 0:", (seen == 0).sum().item())
for name, where in {
    "within 20 pixels": distance <= 20,
    "on the sign": red.semantic == IGNORE,
}.items():
    share = (seen[where].sum() / seen.sum()).item()
    print(f"{name}: {where.float().mean():.3f} of the image, {share:.4f} of saliency")

# %% [markdown]
# The receptive field covers the whole image, because no pixel has saliency 0. But more
# than half of the saliency lies within 20 pixels of the lawn pixel. The sign's share of
# the saliency is far smaller than its share of the image. The sign could influence the
# logits, but after this training its influence is very small.
#
# The network PSPNet of [Zhao et al.](https://arxiv.org/abs/1612.01105), the *pyramid
# scene parsing network*, adds the context to the features of every pixel explicitly. It
# divides the feature map into the cells of a **grid** and averages the features of each
# cell; libraries call this *adaptive average pooling*, and the cells *bins*. PSPNet
# uses four grids, of 1 x 1, 2 x 2, 3 x 3 and 6 x 6 cells. This is called **pyramid
# pooling**. Every position then receives its own features *and* the means of the cells
# around it. The figure shows such means for the colours of an image. Look for the sign
# in the coarse and in the fine grids.

# %% tags=["hide-input"]
GRIDS = (1, 2, 3, 6)
views = {"image": red.image}
for cells in GRIDS:
    means = F.adaptive_avg_pool2d(red.image[None], cells)
    name = f"{cells} x {cells} cell{'s' if cells > 1 else ''}"
    views[name] = F.interpolate(means, (96, 128))[0]
viz.show_images(
    views,
    columns=5,
    alt="A street scene, and its mean colours in grids of 1, 2, 3 and 6 cells "
    "per side. One cell is a single grey; two cells per side separate sky and ground; "
    "six show the sky, the houses, the road between lawns, and a purple cell at the "
    "upper edge, where the red sign is.",
)

# %% [markdown]
# The finest grid shows the tint of the sign. In the coarser grids it is hardly visible,
# because more pixels enter each mean.
#
# Here is an example to check by hand. A row has the values 2, 4, 6, 8, and is divided
# into three cells. Since 4 is no multiple of 3, the cells overlap: they hold positions
# 0–1, 1–2 and 2–3, and their means are 3, 5 and 7.
#
# The rule is: if a side of $S$ positions is divided into $n$ cells, cell $j$ begins at
# position $\lfloor jS/n \rfloor$, and it ends before position $\lceil (j+1)S/n \rceil$.
# Cells and positions are counted from 0, $\lfloor\cdot\rfloor$ rounds down, and
# $\lceil\cdot\rceil$ rounds up. Let $R$ be the set of positions $(x, y)$ of a cell,
# $|R|$ their number, and $v(x, y)$ one channel of the features. The mean of the cell is
#
# $$m = \frac{1}{|R|} \sum_{(x, y) \in R} v(x, y)$$
#
# The diagram shows the whole network. Every grid has a branch of its own. If the
# encoder's features have $C$ channels, a 1 x 1 convolution in each branch reduces them
# to $C/4$. The four branches together have $C$ channels, and the concatenation has
# $2C$. All layers behind the encoder that lead to the logits are called the *head*.

# %% tags=["hide-cell"]
boxes = {  # name: middle, half of the width, text, colour
    "image": (0.3, 2, 0.35, "image", 6),
    "early": (1.5, 2, 0.5, "ResNet,\nfirst stages", 0),
    "last": (2.9, 2, 0.5, "last stage,\nstride 8", 0),
    "joined": (7.3, 2, 0.6, "concatenate", 3),
    "head": (8.8, 2, 0.55, "conv 3 x 3,\nconv 1 x 1,\nupsample", 4),
    "logits": (10.1, 2, 0.35, "logits", 4),
    "aux": (5.1, -1, 1.45, "auxiliary head:\nconv 3 x 3, conv 1 x 1, upsample", 5),
    "aux logits": (8.8, -1, 0.65, "auxiliary logits", 5),
}
for cells, height in zip(GRIDS, (4, 3, 1, 0), strict=True):
    text = f"{cells} x {cells} cells:\nmeans, conv 1 x 1, upsample"
    boxes[cells] = (5.1, height, 1.3, text, 2)
arrows = [("image", "early"), ("early", "last"), ("last", "joined"), ("early", "aux")]
arrows += [("joined", "head"), ("head", "logits"), ("aux", "aux logits")]
arrows += [pair for n in GRIDS for pair in (("last", n), (n, "joined"))]

# %% tags=["hide-input"]
import matplotlib.pyplot as plt

figure, axes = plt.subplots(figsize=(9.2, 3.8), dpi=100, layout="constrained")
for x, y, half, text, color in boxes.values():
    corner, color = (x - half, y - 0.43), viz.OKABE_ITO[color]
    axes.add_patch(plt.Rectangle(corner, 2 * half, 0.86, color=color, alpha=0.3))
    axes.text(x, y, text, ha="center", va="center", fontsize=8)
for start, end in arrows:
    (x, y, half, *_), (to, height, other, *_) = boxes[start], boxes[end]
    line = dict(arrowstyle="->", color="#5f6368")
    axes.annotate("", (to - other, height), (x + half, y), arrowprops=line)
axes.set(xlim=(-0.1, 10.5), ylim=(-1.5, 4.5))
axes.axis("off")
viz.present(
    figure,
    alt="PSPNet as boxes and arrows. The image passes the first stages of a ResNet and "
    "its last stage, of stride 8. Four branches pool the result to means of 1 x 1, 2 x "
    "2, 3 x 3 and 6 x 6 cells and upsample them. They are concatenated with the result "
    "of the last stage, and a 3 x 3 and a 1 x 1 convolution compute the logits. An "
    "auxiliary head leads from the first stages to auxiliary logits.",
)

# %% [markdown]
# ## Build it
#
# ### Pooling to a grid
#
# We write the rule down with two loops and compare the result with PyTorch's
# `adaptive_avg_pool2d`. The map has 12 x 16 positions, which is the size of our
# features at stride 8.


# %%
def cell(j, cells, side):
    """The positions of cell j along a side."""
    return slice(j * side // cells, -(-(j + 1) * side // cells))  # down, up


def pool(features, cells):
    """Means over a grid: (N, C, H, W) -> (N, C, cells, cells)."""
    height, width = features.shape[-2:]
    means = features.new_empty(*features.shape[:2], cells, cells)
    for j in range(cells):
        for k in range(cells):
            region = features[..., cell(j, cells, height), cell(k, cells, width)]
            means[..., j, k] = region.mean(dim=(2, 3))
    return means


features = torch.randn(2, 64, 12, 16)
rows = []
for cells in GRIDS:
    parts = [cell(k, cells, 16) for k in range(cells)]
    ours, theirs = pool(features, cells), F.adaptive_avg_pool2d(features, cells)
    rows.append(
        {
            "grid": f"{cells} x {cells}",
            "columns of the cells": ", ".join(f"{p.start}–{p.stop - 1}" for p in parts),
            "equals PyTorch's": str(torch.allclose(ours, theirs, atol=1e-6)),
        }
    )
tables.show_table(rows)

# %% [markdown]
# Sixteen columns are no multiple of 3 or 6, so that some neighbouring cells of these
# grids share a column. The cells of the finest grid have three or four columns.
#
# ### The pyramid
#
# In every branch, a 1 x 1 convolution, batch normalisation and a ReLU reduce the means
# to a quarter of the channels. Bilinear interpolation upsamples the result to the size
# of the features. In contrast to the figure of colours, `resize` does not copy the mean
# of a cell, but interpolates between the means of neighbouring cells.


# %%
def resize(x, size):
    return F.interpolate(x, size, mode="bilinear")


class PyramidPooling(nn.Module):
    """Features and their context: (N, C, H, W) -> (N, 2C, H, W)."""

    def __init__(self, channels, grids=(6, 3, 2, 1)):
        super().__init__()
        self.grids = grids
        reduced = channels // len(grids)
        self.reduce = nn.ModuleList(
            conv_bn_relu(channels, reduced, kernel_size=1) for _ in grids
        )

    def forward(self, x):
        context = [
            resize(reduce(F.adaptive_avg_pool2d(x, cells)), x.shape[-2:])
            for reduce, cells in zip(self.reduce, self.grids, strict=True)
        ]
        return torch.cat([x, *context], dim=1)


tuple(PyramidPooling(64)(features).shape)

# %% [markdown]
# ### The auxiliary loss
#
# The encoder of PSPNet is a ResNet, which consists of four groups of layers, called
# *stages*. PSPNet has a second head, the **auxiliary head**, behind the third stage.
# The loss of its logits, the **auxiliary loss**, is added to the main loss with a
# weight of 0.4. Thus the first three stages also receive a gradient that passes through
# neither the last stage nor the main head. The auxiliary head is used in training only.
#
# ### The whole network
#
# Our encoder is a ResNet-18 with few channels and without its fourth stage, so that it
# trains quickly. The auxiliary head therefore reads the second stage. With
# `output_stride=8`, the third stage has dilated convolutions and does not reduce the
# resolution. `all_logits` returns the auxiliary logits first and the main logits last,
# and `forward` returns the main logits only.


# %%
class MyPSPNet(nn.Module):
    """(N, 3, H, W) -> logits (N, num_classes, H, W)."""

    def __init__(self, num_classes, width=16):
        super().__init__()
        encoder = dict(output_stride=8, contract_dilation=False, deep_stem=True)
        self.backbone = ResNet(18, width=width, stages=3, **encoder)
        self.pyramid = PyramidPooling(4 * width)
        self.classifier = self.head(8 * width, 8 * width, num_classes)
        self.aux_classifier = self.head(2 * width, width // 2, num_classes)

    def head(self, channels, inter_channels, num_classes):
        last = nn.Conv2d(inter_channels, num_classes, kernel_size=1)
        first = conv_bn_relu(channels, inter_channels)
        return nn.Sequential(first, nn.Dropout(0.1), kaiming_normal_(last))

    def all_logits(self, image):
        *_, before, x = self.backbone(image)  # stage 2: 2 * width, stage 3: 4 * width
        scores = [self.aux_classifier(before), self.classifier(self.pyramid(x))]
        return [resize(each, image.shape[-2:]) for each in scores]

    def forward(self, image):
        return self.all_logits(image)[-1]


# %% [markdown]
# ## Is it the paper's network?
#
# The package has a `PSPNet` with more options. With the same weights, both networks
# give the same logits.

# %%
small = dict(layers=18, width=16, stages=3, align_corners=False, aux_loss=True)
mine, packaged = MyPSPNet(9).eval(), PSPNet(9, **small).eval()
values = mine.state_dict().values()
packaged.load_state_dict(dict(zip(packaged.state_dict(), values, strict=True)))
with torch.no_grad():
    ours, theirs = mine.all_logits(pair_images), packaged.all_logits(pair_images)
differences = [(a - b).abs().max().item() for a, b in zip(ours, theirs, strict=True)]
print("largest differences below 1e-5:", [each < 1e-5 for each in differences])

# %% [markdown]
# The authors [released](https://github.com/hszhao/PSPNet) files that define their
# networks layer by layer. We counted the parameters of these files, without the
# auxiliary head, and compare them with the package's `PSPNet` and its default settings.
# Exercise 10.3 counts the head.

# %%
released = {(101, 21): 65708501, (101, 19): 65707475, (50, 150): 46782550}
rows = []
for (layers, classes), number in released.items():
    with torch.device("meta"):  # shapes only, no memory
        network = PSPNet(classes, layers=layers)
    parameters = sum(p.numel() for p in network.parameters())
    row = {"encoder": f"ResNet-{layers}", "classes": classes, "parameters": parameters}
    rows.append({**row, "in the released file": number})
tables.show_table(rows)

# %% [markdown]
# Equal counts do not prove that the networks are equal, and we did not load the
# released weights. A test of this course compares the encoder with `resnet50s` of the
# library timm. Equal weights give equal features before the first dilated stage. There,
# timm uses another dilation in the first block.
#
# <details class="deeper"><summary>Going deeper: how MyPSPNet differs from the paper's
# network</summary>
#
# | | paper | `MyPSPNet` |
# |---|---|---|
# | encoder | ResNet-50 to -269, pretrained | ResNet-18, three stages, not pretrained |
# | channels of the features | 2048 | 64 |
# | upsampling | corners aligned | corners not aligned |
# | training images | augmented crops of 473 or 713 pixels | whole scenes, 96 x 128 |
# | batch | 16 crops on several devices, common batch statistics | 4 scenes on one |
# | optimiser | SGD, rate 0.01, power 0.9, momentum 0.9 | AdamW with warm-up |
# | loss | cross-entropy | weighted cross-entropy and Dice |
#
# The released files accept images of one size only. For crops of 473 pixels, their
# features have 60 x 60 positions, and they pool with kernels whose side and stride are
# 60, 30, 20 and 10. These are the same means as by our rule. In the concatenation, the
# features come first, and then the branches in the order 6, 3, 2, 1.
#
# </details>

# %% [markdown]
# ## Train it
#
# We train `MyPSPNet` on the scenes with signs, with the steps, the batches and the
# schedule of `FCNResNet` above. The loss rises briefly after half of the steps.


# %%
def loss(model, batch):
    """The loss of the main head, and 0.4 times that of the auxiliary head."""
    auxiliary, main = model.all_logits(batch.image)
    return score(main, batch.semantic) + 0.4 * score(auxiliary, batch.semantic)


seed_everything(0)
model = MyPSPNet(len(CLASSES))
history = train(model, loss)
print(f"{sum(p.numel() for p in model.parameters())} parameters")

# %% tags=["hide-input"]
viz.show_curves(
    {"loss": history},
    xlabel="step",
    ylabel="main + 0.4 x auxiliary loss (mean of 20 steps)",
    smooth=20,
    alt="The loss falls steeply during the first fifty steps and then more slowly. "
    "After half of the steps, it rises for a short time.",
)

# %% tags=["tol=0.1"]
model_iou = class_iou(predict(model, images, batch_size=16))
tables.show_table(
    [
        {"class": c, "IoU of FCNResNet": fcn_iou[c], "IoU of MyPSPNet": model_iou[c]}
        for c in CLASSES
    ],
    digits=2,
)

# %% [markdown]
# `MyPSPNet` distinguishes grass and meadow. The other classes differ by less, in both
# directions. The figure shows the scene of the first section again.

# %% tags=["hide-input"]
viz.show_predictions(
    pair,
    {"FCNResNet": predict(fcn, pair_images), "MyPSPNet": predict(model, pair_images)},
    CLASSES,
    PALETTE,
    alt="The street scene with a red and with a blue sign. FCNResNet predicts "
    "almost the same for both; MyPSPNet predicts grass under the red sign and meadow "
    "under the blue one, as in the ground truth, with rounded boundaries.",
)

# %% [markdown]
# ### What the networks depend on
#
# We exchange the colour of the sign in all 64 scenes and count how many pixels get
# another predicted class, on the lawn and elsewhere.

# %% tags=["tol=0.15"]
exchanged = torch.stack([exchange_sign(scene).image for scene in validation])
rows = []
for name, network in (("FCNResNet", fcn), ("MyPSPNet", model)):
    before, after = (predict(network, x, batch_size=16) for x in (images, exchanged))
    changed = before != after
    row = {"network": name, "share changed on the lawn": changed[lawn].float().mean()}
    elsewhere = ~lawn & (target != IGNORE)
    rows.append(row | {"share changed elsewhere": changed[elsewhere].float().mean()})
tables.show_table(rows, digits=2)

# %% [markdown]
# The sign determines the class of most lawn pixels in `MyPSPNet`, and of almost none in
# `FCNResNet`. The next figure shows the saliency of all image pixels for the lawn pixel
# that is marked in magenta. Bright pixels have a large saliency. The maps show the
# square root of the saliency, so that small values are visible, and each map has its
# own scale.

# %% tags=["hide-input"]
views = {}
for scene in (red, validation[0]):
    row, column = lawn_pixel(scene)
    marked = scene.image.clone()
    magenta = torch.tensor([1.0, 0.0, 1.0])[:, None, None]
    marked[:, row - 2 : row + 3, max(column - 2, 0) : column + 3] = magenta
    number = len(views) // 3 + 1
    views[f"scene {number}"] = marked
    for name, network in (("FCNResNet", fcn), ("MyPSPNet", model)):
        seen = saliency(network, scene.image, row, column)
        views[f"{name}, scene {number}"] = seen.sqrt()
viz.show_images(
    views,
    columns=3,
    alt="Two scenes with a red sign and a marked pixel on the lawn. The saliency of "
    "FCNResNet is a single bright spot around the marked pixel. That of MyPSPNet is "
    "spread over the whole image, with bright spots at the sign and at the marked "
    "pixel.",
)

# %% tags=["tol=0.1"]
with_lawn = [s for s, place in zip(validation, lawn, strict=True) if place.any()]
for name, network in (("FCNResNet", fcn), ("MyPSPNet", model)):
    near, on_sign = [], []
    for scene in with_lawn[:24]:
        row, column = lawn_pixel(scene)
        seen = saliency(network, scene.image, row, column)
        distance = distance_from(row, column)
        near.append((seen[distance <= 20].sum() / seen.sum()).item())
        on_sign.append((seen[scene.semantic == IGNORE].sum() / seen.sum()).item())
    print(f"{name}, mean of 24 scenes: {np.mean(near):.2f} within 20 pixels,")
    print(f"    {np.mean(on_sign):.4f} on the sign")

# %% [markdown]
# In `FCNResNet`, most of the saliency lies near the pixel. In `MyPSPNet`, most of it
# lies elsewhere, and the sign's mean share is larger than its share of the pixels,
# which is 0.008. The sign's share of the saliency is still small, although the exchange
# of the sign changes the class of most lawn pixels. One possible reason is that a
# gradient describes small changes only.

# %% [markdown]
# ## On a real image
#
# Does context help on photographs? We take the course's eight photographs, resized to
# 256 x 320 pixels. The left halves are for training, the right halves for the test. The
# encoder is the ImageNet classifier of [chapter 6](06_fcn.ipynb), whose weights stay
# fixed; we use its features of stride 8. If its package is missing, the cells that need
# it are skipped.

# %%
from segcourse.data import Photographs, photographs
from segcourse.pretrained import imagenet_classifier

try:
    classifier, _ = imagenet_classifier()
except ModuleNotFoundError as error:
    classifier = None
    print(error)


def features_of(half):
    """Fixed features of stride 8: (N, 3, H, W) -> (N, 40, H / 8, W / 8)."""
    with torch.no_grad():
        maps = classifier.forward_intermediates(
            (half - 0.5) / 0.5, intermediates_only=True
        )
    return maps[2]


photos, photo_labels = [], []
for sample in Photographs():
    photos.append(F.interpolate(sample.image[None], (256, 320), mode="bilinear"))
    mask = sample.semantic[None, None].float()
    photo_labels.append(F.interpolate(mask, (256, 320), mode="nearest-exact"))
photos, photo_labels = torch.cat(photos), torch.cat(photo_labels)[:, 0].long()
left, right = (..., slice(0, 160)), (..., slice(160, 320))
if classifier is not None:
    seen, unseen = features_of(photos[left]), features_of(photos[right])
    print(tuple(seen.shape), "for training,", tuple(unseen.shape), "for the test")

# %% [markdown]
# Only a small head is trained: a pyramid and two 1 x 1 convolutions. We compare three
# heads with the same layers. *Pyramid* has the four grids. *1 x 1* pools to the mean of
# the whole map in all four branches. *Not pooled* keeps every position in all four
# branches; `adaptive_avg_pool2d` does so for the size `(None, None)`.

# %%
HEADS = {
    "not pooled": 4 * ((None, None),),
    "1 x 1": (1, 1, 1, 1),
    "pyramid": (6, 3, 2, 1),
}
num_classes = len(photographs.CLASSES)
coarse = photo_labels[left][:, 4::8, 4::8]  # a label for each position


def train_head(grids, seed):
    """Train a head on the left halves, and predict the right halves."""
    seed_everything(seed)
    last = kaiming_normal_(nn.Conv2d(64, num_classes, kernel_size=1))
    merge = conv_bn_relu(80, 64, kernel_size=1)
    head = nn.Sequential(PyramidPooling(40, grids), merge, last)
    optimizer = torch.optim.AdamW(head.parameters(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        F.cross_entropy(head(seen), coarse, ignore_index=IGNORE).backward()
        optimizer.step()
    with torch.no_grad():
        return resize(head.eval()(unseen), (256, 160)).argmax(dim=1)


# %% [markdown]
# We train each head with eight seeds. The table shows the mean IoU and the share of
# pixels to which the head gives an *absent class*, one that does not occur in the
# photograph. As in chapter 8, the column *difference* compares the mean IoU with that
# of the first row, paired by seed. The lines below the table give *t* for each pair of
# heads. A difference is clear if *t* lies beyond ± 2.36, the bound for eight seeds.


# %% tags=["tol=0.05"]
def compare(values, baseline):
    """Mean of the paired differences, and its ratio to its standard error, as text."""
    pairs = np.subtract(values, baseline)
    t = pairs.mean() / (pairs.std(ddof=1) / len(pairs) ** 0.5)
    return {"difference": f"{pairs.mean():+.3f}", "t": f"{t:+.1f}"}


def absent_share(preds):
    """The share of pixels with a class that does not occur in their photograph."""
    pairs = zip(preds, photo_labels, strict=True)
    shares = [(~torch.isin(p, labels.unique())).float().mean() for p, labels in pairs]
    return torch.stack(shares).mean().item()


if classifier is not None:
    found = {
        name: [train_head(grids, s) for s in range(8)] for name, grids in HEADS.items()
    }
    scores, absent = {}, {}
    for name, maps in found.items():
        matrices = [confusion_matrix(p, photo_labels[right], num_classes) for p in maps]
        scores[name] = [mean_iou(matrix) for matrix in matrices]
        absent[name] = np.mean([absent_share(p) for p in maps])

# %% tags=["tol=0.02"]
if classifier is not None:
    rows = []
    for name, values in scores.items():
        row = {"head": name, "mean IoU": np.mean(values)}
        row["absent classes"] = absent[name]
        against = compare(values, scores["not pooled"])
        row["difference"] = "" if name == "not pooled" else against["difference"]
        rows.append(row)
    tables.show_table(rows, digits=3)

# %% tags=["tol=2.5"]
if classifier is not None:
    for name, other in (
        ("1 x 1", "not pooled"),
        ("pyramid", "not pooled"),
        ("pyramid", "1 x 1"),
    ):
        t = float(compare(scores[name], scores[other])["t"])
        print(f"{name} against {other}: t = {t:.1f}, clear: {abs(t) > 2.36}")

# %% tags=["hide-input"]
if classifier is not None:
    chosen = [photographs.NAMES.index(name) for name in ("cat", "coins")]
    viz.show_predictions(
        [
            Sample(photos[n][right], photo_labels[n][right], photo_labels[n][right])
            for n in chosen
        ],
        {name: found[name][0][chosen] for name in ("not pooled", "pyramid")},
        photographs.CLASSES,
        photographs.PALETTE,
        alt="The right halves of the photographs of a cat and of coins. Without "
        "pooling, patches of person and of other absent classes lie in both. With the "
        "pyramid, there are hardly any such patches.",
    )

# %% [markdown]
# On these photographs, both kinds of pooling are clearly better than no pooling, and
# they predict fewer absent classes. The pyramid is also clearly better than the global
# mean, by a smaller difference. This result holds for unseen halves of known
# photographs only: the mean of a half may be enough to recognise the photograph, and
# therefore its classes. New photographs would be a stronger test.
#
# ## What did the idea buy?
#
# `FCNResNet` and `MyPSPNet` differ in their encoders, heads and losses, so their
# comparison does not show what the pyramid alone contributes. The benchmarks isolate
# the pyramid. Their networks have the same layers, the same initial weights for the
# same seed, and the same batches; only the grids differ, as in the three heads for the
# photographs. All comparisons have three seeds, so a difference is clear if *t* lies
# beyond ± 4.30. The column *mean IoU* is the mean of the two IoUs of grass and meadow.
#
# **Pyramid or no pooling.** The first comparison, of the benchmark `ablations`, uses
# one sign, a wider network than `MyPSPNet`, and more scenes and steps.


# %%
def against_the_first(arms, column):
    """A row for each arm, compared with the first one; runs are paired by seed."""
    first = next(iter(arms.values()))
    for name, values in arms.items():
        row = {"pooling": name, column: np.mean(values)}
        empty = {"difference": "", "t": ""}
        yield row | (empty if values is first else compare(values, first))


large = {
    name: [run["context_iou"] for run in arm["runs"]]
    for name, arm in measured("ablations")["ablations"]["pyramid"]["arms"].items()
}
tables.show_table(list(against_the_first(large, "mean IoU")), digits=2)

# %% [markdown]
# With the same layers and the same number of steps, the network with the pyramid
# distinguishes the two classes, and the network without pooling does not. A longer
# training of the second network was not measured.
#
# **Pyramid or global average pooling.** The second comparison, of the benchmark
# `pspnet`, has the layers of `MyPSPNet`. *1 x 1* means that all four branches average
# over the whole map. In the rows with *two signs*, each half of the scene has a sign at
# the middle of its height. The sign determines the class of the lawn in this half.
# These networks were trained for twice as many steps.

# %%
arms = measured("pspnet")["arms"]
rows = []
for signs_shown, name in (("one sign", "sign"), ("two signs", "signs")):
    pooled = {
        pooling: [run["context_iou"] for run in arms[f"{name}, {pooling}"][:3]]
        for pooling in ("pyramid", "1 x 1")
    }
    for row in against_the_first(pooled, "mean IoU"):
        runs = ", ".join(f"{each:.2f}" for each in pooled[row["pooling"]])
        rows.append({"scenes": signs_shown} | row | {"of each seed": runs})
tables.show_table(rows, digits=2)

# %% [markdown]
# With one sign, there is no clear difference. The sign determines the class of the
# whole lawn, so its position does not matter, and the mean over the whole map is enough
# context. With two signs, the global mean comes close to the IoU of the pyramid with
# two of three seeds and fails with the third. Three seeds show no clear difference.
#
# With two signs, one could expect a clear advantage of the pyramid, because a global
# mean does not depend on positions. The next cell exchanges the left and the right half
# of a feature map and compares the means.

# %%
halves_exchanged = features.roll(8, dims=-1)  # 8 of 16 columns
for cells in GRIDS:
    before, after = pool(features, cells), pool(halves_exchanged, cells)
    same = torch.allclose(before, after, atol=1e-6)
    print(f"{cells} x {cells}: same means after the exchange: {same}")

# %% [markdown]
# The global mean is the same for both feature maps, and the means of the other grids
# differ. But the features themselves can contain the position, for example in channels
# that respond near one border only. The unpooled features may help as well; a network
# without pooling was not measured here.
#
# **In the paper.** Zhao et al. report the mean IoU on ADE20K, photographs of scenes
# with 150 classes, for ResNet-50: 35.8 % with data augmentation, 37.2 % with the
# auxiliary loss in addition, and 41.7 % with the pyramid as well. We did not measure
# the effect of the auxiliary loss.
#
# ## Where it breaks: thin objects
#
# The benchmark `architectures` trained small versions of this course's semantic
# networks on ordinary Toytown scenes, with equal steps and three seeds. The benchmark
# `camvid` trained some of them once on CamVid, frames of videos from a car, each for a
# similar time. Compare the IoU of the thin lamps and poles.

# %%
trained = measured("architectures")["networks"]
kinds = {"fcn_8s": "FCN-8s", "pspnet": "PSPNet", "unet": "U-Net"}
rows = []
for key, name in kinds.items():
    camvid = measured(f"camvid_{key}")
    row = {"network": name, "Toytown: mean IoU": trained[key]["miou"]}
    row["Toytown: IoU of lamp"] = trained[key]["thin_iou"]
    row["CamVid: mean IoU"] = camvid["miou"]
    rows.append(row | {"CamVid: IoU of pole": camvid["iou"]["pole"]})
tables.show_table(rows, digits=2)

# %% tags=["hide-input"]
lamps = (target == CLASSES.index("lamp")).sum(dim=(1, 2))
thin = validation[lamps.argmax().item()]
viz.show_predictions(
    [thin],
    {"MyPSPNet": predict(model, thin.image[None])},
    CLASSES,
    PALETTE,
    alt="A street scene with three lamps. The ground truth shows thin posts; MyPSPNet "
    "predicts the right lamp too thick, and only small pieces of the two left lamps.",
)

# %% [markdown]
# In Toytown, PSPNet's IoU of lamp is less than half of U-Net's. On CamVid, the IoU of
# pole is below 0.1 for all three networks, and a single run cannot rank them. In the
# figure, the right lamp is predicted too thick, and most of the two left lamps is
# missing. One possible reason is the stride: neighbouring positions of PSPNet's
# features are 8 pixels apart, whereas U-Net's last features have stride 1. The table
# does not isolate this reason, because the two networks differ in more than the stride.

# %% [markdown]
# ## In practice
#
# torchvision has no PSPNet. Its DeepLab v3, a network of chapter 12, averages over the
# whole map in one of its branches. The library `segmentation_models_pytorch` (SMP) has
# a `PSPNet`, which differs from the paper's. By default, SMP's network uses only the
# first stages of the encoder, up to stride 8 (`encoder_depth=3`). It nevertheless
# contains the later stages. We count their parameters and test which images the network
# accepts.

# %% tags=["nbval-ignore-output"]
import segmentation_models_pytorch as smp

print("SMP", smp.__version__)

# %%
theirs = smp.PSPNet("resnet50", encoder_weights=None, classes=21)
theirs(torch.rand(2, 3, 96, 128)).mean().backward()
parameters = list(theirs.parameters())
unused = sum(p.numel() for p in parameters if p.grad is None)
print(f"{sum(p.numel() for p in parameters)} parameters, {unused} without a gradient")
with torch.no_grad():
    print("a single image in training:", tuple(theirs(torch.rand(1, 3, 96, 128)).shape))
    try:
        theirs.eval()(torch.rand(1, 3, 100, 128))
    except RuntimeError as error:
        print(str(error)[:80])
last_stage = theirs.encoder(torch.rand(1, 3, 96, 128))[-1]
print("features for the pyramid:", tuple(last_stage.shape))

# %% [markdown]
# Most parameters receive no gradient. In training on several devices, PyTorch's
# `DistributedDataParallel` stops at the second step with an error for such parameters,
# unless you pass `find_unused_parameters=True`.
#
# | | released PSPNet | SMP's `PSPNet`, default |
# |---|---|---|
# | features for the pyramid | last stage, dilated | second of four stages |
# | order of the concatenation | features, 6, 3, 2, 1 | 1, 2, 3, 6, features |
# | convolutions behind the concatenation | 3 x 3, then 1 x 1 | 1 x 1, then 3 x 3 |
# | branch 1 x 1 | batch normalisation | none, so that a single image is accepted |
# | auxiliary head | in training | no |
# | image sides | 473 or 713, fixed | multiples of 8 |
#
# With pretrained weights, which are downloaded, fine-tuning starts like this:
#
# ```python
# network = smp.PSPNet("resnet50", encoder_weights="imagenet", classes=K)
# logits = network(batch)  # (N, K, H, W), for images normalised as in the pretraining
# ```
#
# | Use | when |
# |---|---|
# | the mean over the whole image | the kind of scene determines a class |
# | the pyramid | the paper's default; context may differ between parts |
# | DeepLab v3 (chapter 12) | you want pretrained weights in torchvision |
# | U-Net, or a decoder with skips | thin objects or boundaries matter |
#
# ## Common mistakes
#
# **1. A batch with a single image.** In training, the mean of the whole image is one
# value per channel and image, and batch normalisation needs at least two. The last
# batch of an epoch is often smaller than the others.

# %%
try:
    MyPSPNet(9).train()(images[:1])
except ValueError as error:
    print(error)
print(tuple(MyPSPNet(9).eval()(images[:1]).shape))

# %% [markdown]
# Right: `drop_last=True` in the data loader. In evaluation mode, a single image is
# accepted.
#
# **2. A large image is cut into tiles.** A tile does not contain the context outside of
# it. We cut each scene into a left and a right half and predict them separately, so
# that the sign is missing in one half of most scenes.
#
# **3. The auxiliary logits are used for the prediction.** The auxiliary head lies
# before the pyramid, so that its logits have no context from it.


# %% tags=["tol=0.1"]
def classes_of(logits_of):
    """Predicted classes of all validation images."""
    with torch.no_grad():
        return torch.cat([logits_of(part).argmax(dim=1) for part in images.split(16)])


void = target == IGNORE
sides = [half.sum(dim=(1, 2)) for half in void.split(64, dim=-1)]  # left, right
on_sign = torch.stack(sides, dim=1).repeat_interleave(64, dim=1)[:, None]
halves = {"sign in the half": on_sign == 100, "no sign in the half": on_sign == 0}
ways = {
    "whole image": model,
    "two tiles": lambda x: torch.cat([model(x[..., :64]), model(x[..., 64:])], dim=-1),
    "auxiliary logits": lambda x: model.all_logits(x)[0],
}
rows = []
for name, logits_of in ways.items():
    preds = classes_of(logits_of)
    row = {"prediction from": name}
    for title, half in halves.items():
        row[f"lawn, {title}"] = (preds == target)[lawn & half].float().mean()
    rows.append(row)
tables.show_table(rows, digits=2)

# %% [markdown]
# The two columns are the share of lawn pixels with the right class. With tiles, this
# share falls only in halves without the sign. With the auxiliary logits, it falls in
# both. Right: predict the whole image, or tiles that contain the needed context; and
# use the output of `forward`, or the last output of `all_logits`.
#
# ## Exercises
#
# Replace `...` by your answer and run the cell. `ex.overlap` shows the question again,
# `ex.overlap.hint()` gives a hint, and another one each time. The solutions are behind
# the toggles.

# %%
from segcourse.exercises import pspnet as ex

# %% [markdown]
# ### 10.1 Cells that overlap
#
# Find the cells that contain a position, along one axis. Average pooling divides a side
# of `side` positions into `cells` cells, by the rule of the chapter: cell j begins at
# position floor(j · side / cells) and ends before position ceil((j + 1) · side /
# cells). Positions and cells are counted from 0. Neighbouring cells may share a
# position, and there may be more cells than positions. Return the list of the numbers
# of all cells that contain `position`, in ascending order. For example, with `side` 4
# and `cells` 3, position 1 lies in the cells 0 and 1.


# %%
def cells_of(position, side, cells): ...  # your code


ex.overlap.check(cells_of)

# %%
ex.overlap.show_solution()

# %% [markdown]
# ### 10.2 Predict the change of a mean
#
# Predict how much the means of a grid change if a small object appears. A feature map
# has `height` x `width` positions and is averaged over a grid of `cells` x `cells`
# cells, by the rule of the chapter. All values inside of a box rise by 1. `box` is
# (top, left, bottom, right): its rows are `top` to `bottom - 1`, its columns `left` to
# `right - 1`. Return the change of each mean, of shape (cells, cells), cell rows first.
#
# Then predict, before you run the last cell of this exercise: a sign covers one
# position of a map of 12 x 16, in row 0 and column 8. How many times as large is its
# effect on one mean of the 6 x 6 grid as on the mean of the whole map: 6, 12 or 32?


# %%
def change_of_means(height, width, cells, box): ...  # your code


ex.dilution.check(change_of_means)

# %%
ex.dilution.show_solution()

# %%
with_sign = torch.zeros(1, 1, 12, 16)
with_sign[..., 0, 8] = 1
rows = []
for cells in GRIDS:
    predicted = ex.dilution.solution(12, 16, cells, (0, 8, 1, 9))
    layer = F.adaptive_avg_pool2d(with_sign, cells)[0, 0]
    row = {"grid": f"{cells} x {cells}", "largest change": predicted.max()}
    rows.append(row | {"as the layer": str(torch.allclose(predicted, layer))})
tables.show_table(rows)

# %% [markdown]
# The effect is 32 times as large: the cell has 2 x 3 positions, and the map 192. In a
# finer grid, a small object changes the mean of its cell more, but only the positions
# in and next to this cell receive the mean.
#
# ### 10.3 Count the head
#
# Count the learnable parameters of PSPNet's head. The encoder has `channels` output
# channels, and `grids` lists the cells per side of each grid, for example `[1, 2, 3,
# 6]`. Every grid has a branch of its own: a 1 x 1 convolution from all channels to
# channels / number of grids (a whole number). The encoder's features and the outputs of
# all branches are concatenated. A 3 x 3 convolution leads to `inter_channels` channels,
# and a 1 x 1 convolution to `num_classes`. Only the last convolution has a bias. Each
# of the others has a batch normalisation behind it, which learns two numbers per output
# channel. Return an integer. The head of the released network for Pascal VOC, `2048,
# 21, 512, [1, 2, 3, 6]`, has 23,084,565 parameters.


# %%
def head_parameters(channels, num_classes, inter_channels, grids): ...  # your code


ex.count.check(head_parameters)

# %%
ex.count.show_solution()

# %% [markdown]
# ### 10.4 Find the faults
#
# This function computes the loss of a network with an auxiliary head, and it has
# several faults:
#
#     def total_loss(main, aux, target, weight):
#         small, size = target[:, None].float(), aux.shape[-2:]
#         small = F.interpolate(small, size, mode="bilinear")[:, 0].long()
#         return weight * F.cross_entropy(main, target) + F.cross_entropy(aux, small)
#
# `main` holds logits (N, K, H, W), `aux` holds the auxiliary head's logits (N, K, h, w)
# at a lower resolution, and `target` holds the labels (N, H, W): classes 0 to K − 1, or
# 255 for void. At least one pixel is not void. `weight` is the weight of the auxiliary
# loss. Find the faults, and write the function correctly. The logits of the auxiliary
# head are to be upsampled bilinearly (with PyTorch's default, `align_corners=False`) to
# the size of the target. Both losses are means over the pixels that are not void.
# Return their weighted sum, a scalar.


# %%
def total_loss(main, aux, target, weight): ...  # your code


ex.fix_loss.check(total_loss)

# %%
ex.fix_loss.show_solution()

# %% [markdown]
# ### 10.5 What the prediction depends on
#
# Measure which parts of an image the prediction *elsewhere* depends on, by
# **occlusion**: cover one part and see what changes. `net` is a function from images
# (N, 3, H, W) to logits (N, K, H, W), and `image` is (3, H, W). H and W are multiples
# of `side`, and the image has at least two blocks of `side` x `side` pixels. Cover each
# block alone, one after the other: give all of its pixels the mean colour of the whole
# uncovered image, one number per channel. Compare the predicted classes (the largest
# logit) with those of the uncovered image. Return (H / side, W / side): for each block,
# the share of the pixels *outside* of the block whose predicted class changes.
#
# Then predict, before you run the last cell of this exercise: in a scene with a red
# sign, which block changes the prediction of `MyPSPNet` most? Is the change as large in
# the same scene with a blue sign?


# %%
def occlusion(net, image, side): ...  # your code


ex.cover.check(occlusion)

# %%
ex.cover.show_solution()

# %% tags=["tol=0.1"]
with torch.no_grad():
    maps = [ex.cover.solution(model.eval(), scene.image, 16) for scene in pair]
    for name, scene in zip(("red", "blue"), pair, strict=True):
        image, on_lawn = scene.image.clone(), torch.isin(scene.semantic, LAWN)
        image[:, scene.semantic == IGNORE] = image.mean(dim=(1, 2))[:, None]
        share = (model(image[None]).argmax(dim=1)[0][on_lawn] == MEADOW).float().mean()
        print(f"{name} sign covered: {share:.2f} of the lawn is predicted as meadow")

# %% tags=["hide-input"]
viz.show_images(
    {
        "red sign": pair[0].image,
        "share changed": maps[0],
        "blue sign": pair[1].image,
        "share changed ": maps[1],
    },
    limits=(0, max(each.max().item() for each in maps)),
    alt="A street scene with a red sign, and a map of 6 by 8 blocks in which only "
    "the block of the sign is bright. The same scene with a blue sign, and a map "
    "without any bright block.",
)

# %% [markdown]
# Covering the red sign changes the class of many pixels elsewhere. Covering the blue
# sign changes hardly any. The printed shares give the reason: without any sign, the
# network predicts meadow, as with a blue sign. In this scene, the network reacts to a
# red sign only. Occlusion compares a block with *one* replacement only: with a red
# square in the place of the blue sign, the prediction does change, as the exchange of
# the signs has shown.
#
# ### 10.6 Decide which context a task needs
#
# Decide which of five designs each of five tasks needs. `ex.TASKS` describes the tasks
# "night", "halves", "tiles", "wires" and "texture". Return one of five strings:
#
# - `"no pooling"`: a network of stride 8 as it is;
# - `"1 x 1"`: the same with the mean over the whole image as context;
# - `"grid"`: the same with means over the cells of a grid;
# - `"larger input"`: the network gets more of the scene;
# - `"skip connection"`: features of a finer stride are added.
#
# Assume that the features contain colours and textures, but not where in the image
# something is. Choose the simplest design that brings the missing information. Each is
# the answer exactly once.

# %%
for task, text in ex.TASKS.items():
    print(f"{task}: {text}")


def choose_design(task): ...  # your code


ex.decide.check(choose_design)

# %%
ex.decide.show_solution()

# %% [markdown]
# ## Quiz

# %% [markdown]
# **Q1. The receptive field of a network covers the whole image. What follows?**
#
# <details class="quiz wrong"><summary>Every decision uses the whole image.</summary>
#
# Not quite: the saliency of `FCNResNet` was above 0 everywhere, but most of it was near
# the pixel.
#
# </details>
# <details class="quiz wrong"><summary>Pooling over regions
# cannot improve the prediction.</summary>
#
# Not quite: in our experiment, the network without pooling did not learn to use the
# sign, and the network with the pyramid did.
#
# </details>
# <details class="quiz right"><summary>A distant pixel can influence the
# decision.</summary>
#
# Right: it *can*. How much it does must be measured, for example by a gradient.
#
# </details>

# %% [markdown]
# **Q2. A side of 7 positions is divided into 3 cells by the rule of this chapter. How
# large are the cells?**
#
# <details class="quiz right"><summary>3, 3 and 3 positions</summary>
#
# Right: they hold the positions 0–2, 2–4 and 4–6, so that neighbours share one.
#
# </details>
# <details class="quiz wrong"><summary>2, 2 and 3 positions</summary>
#
# Not quite: these cells do not overlap. The end of a cell is rounded up.
#
# </details>
# <details class="quiz wrong"><summary>2, 2 and 2 positions, and one is left
# out</summary>
#
# Not quite: PyTorch's average pooling with a kernel of 2 does this, but the rule leaves
# no position out.
#
# </details>

# %% [markdown]
# **Q3. Why do the branches of the pyramid have 1 x 1 convolutions?**
#
# <details class="quiz wrong"><summary>They average the cells.</summary>
#
# Not quite: the pooling computes the averages. A 1 x 1 convolution mixes channels.
#
# </details>
# <details class="quiz right"><summary>They reduce the channels of the
# context.</summary>
#
# Right: the four branches together get as many channels as the features.
#
# </details>
# <details class="quiz wrong"><summary>They enlarge the receptive field.</summary>
#
# Not quite: a 1 x 1 convolution reads a single position. The pooling brings in the
# other positions.
#
# </details>

# %% [markdown]
# **Q4. What happens to the auxiliary head after the training?**
#
# <details class="quiz wrong"><summary>Its logits are added to the main
# ones.</summary>
#
# Not quite: the losses are added in training. The logits of the two heads stay
# separate.
#
# </details>
# <details class="quiz wrong"><summary>It predicts small images.</summary>
#
# Not quite: the head is never used for a prediction, whatever the size.
#
# </details>
# <details class="quiz right"><summary>It is left out.</summary>
#
# Right: the prediction uses the main head. The auxiliary head only serves the training.
#
# </details>

# %% [markdown]
# **Q5. Only features in the uppermost row of a map change. The map is pooled to two
# cells, an upper and a lower one, and `resize` interpolates between their means. At
# which positions does the result not change?**
#
# <details class="quiz right"><summary>those in the lowest quarter of the map</summary>
#
# Right: these positions lie below the centre of the lower cell, so that they receive
# the mean of this cell only, and this mean does not change.
#
# </details>
# <details class="quiz wrong"><summary>none, because the cells cover the map</summary>
#
# Not quite: a position receives the means of the cells near it only.
#
# </details>
# <details class="quiz wrong"><summary>all, because one row is
# too small for a mean</summary>
#
# Not quite: one row changes the mean of the upper cell, although not by much.
#
# </details>

# %% [markdown]
# **Q6. PSPNet's training stops at the last batch of the first epoch, with an error from
# batch normalisation. What is the most likely reason?**
#
# <details class="quiz wrong"><summary>The learning rate is too high.</summary>
#
# Not quite: then the loss would grow, but the layer would still run.
#
# </details>
# <details class="quiz right"><summary>The last batch has one image.</summary>
#
# Right: the mean over one whole image is one value per channel. Its variance is 0, so
# that nothing could be normalised, and PyTorch raises an error.
#
# </details>
# <details class="quiz wrong"><summary>The sides are no multiples of 6.</summary>
#
# Not quite: the cells of the rule fit every side, because they may overlap.
#
# </details>

# %% [markdown]
# ## Take-aways
#
# - A receptive field that covers the image does not mean that the network uses the
#   whole image. Measure what a prediction depends on, with a gradient or by occlusion.
# - Pyramid pooling gives every position the means of the regions around it. When only a
#   distant sign distinguished two classes, the same layers with the same training
#   failed without pooling and succeeded with the pyramid.
# - On unseen halves of photographs, the pyramid was slightly, but clearly, better than
#   the global mean. With signs, we found no clear difference.
# - PSPNet's predictions of thin objects were poor in our scenes. One possible reason is
#   its stride of 8.
# - Context must be in the input. Do not cut it off with tiles, and train with at least
#   two images in a batch.
#
# ## Further reading
#
# - Zhao, Shi, Qi, Wang, Jia, [Pyramid Scene Parsing
#   Network](https://arxiv.org/abs/1612.01105), CVPR 2017 (`zhao2017pspnet`)
# - The released networks: <https://github.com/hszhao/PSPNet>
