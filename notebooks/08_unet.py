# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # 8. U-Net: training from few images
#
# U-Net's decoder receives the encoder's features at every resolution, and its training
# turns a few annotated images into many by deforming them.
#
# After this chapter you can
#
# - compute which image sizes a U-Net accepts and returns, and where a large image may
#   be cut into tiles (exercises 8.1 and 8.6);
# - count the parameters of a U-Net, and tell the paper's network from its modern
#   variants (exercise 8.2);
# - find and repair a skip connection that is cropped wrongly (exercise 8.3);
# - mirror an image at its border, and weight the narrow gaps between objects (exercises
#   8.4 and 8.5);
# - decide from runs with the same seeds whether a change of the training helps
#   (exercise 8.7).
#
# You need [chapter 5](05_losses.ipynb) (cross-entropy, Dice, class weights) and
# [chapter 6](06_fcn.ipynb) (encoder, stride, transposed convolution). The
# [glossary](../book/glossary.md) explains technical words. The notebook takes less than
# two minutes on one CPU thread, most of it for training.

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
import numpy as np
import torch.nn.functional as F
from scipy.ndimage import distance_transform_edt, label
from torch import nn

from segcourse import tables, viz
from segcourse.data import Cached, Sample, Toytown, batches, measured, toytown
from segcourse.data import transforms as T
from segcourse.losses import (
    border_weights,
    class_counts,
    cross_entropy,
    dice_loss,
    log_frequency_weights,
    pixel_weighted_cross_entropy,
)
from segcourse.metrics import confusion_matrix, iou, mean_iou
from segcourse.models import UNet, overlap_tile
from segcourse.ops import reflect_pad
from segcourse.training import evaluate, fit, poly, predict, warmup

CLASSES, PALETTE = toytown.CLASSES, toytown.PALETTE
validation = Cached(Toytown(100, seed=1))
target = torch.stack([scene.semantic for scene in validation])

# %% [markdown]
# ## The problem
#
# FCN-8s computes one score per class for each block of 8 x 8 pixels, and upsamples
# these scores. An object that is thinner than a block covers only a small share of it.
# To see the effect without a network, we take the true share of each class in a block
# as the score of this class, upsample these scores bilinearly, and predict the class
# with the largest score. Compare the road, which is large, with the lamps, which are a
# few pixels wide.


# %%
def iou_of_shares(stride):
    """IoU of every class if its true share of each block is its score."""
    shares = F.one_hot(target, len(CLASSES)).movedim(3, 1).float()
    shares = F.avg_pool2d(shares, stride)
    scores = F.interpolate(shares, target.shape[-2:], mode="bilinear")
    return iou(confusion_matrix(scores.argmax(1), target, len(CLASSES))).tolist()


shares_iou = {stride: iou_of_shares(stride) for stride in (1, 2, 4, 8)}
rows = [
    {"class": name, **{f"stride {s}": values[k] for s, values in shares_iou.items()}}
    for k, name in enumerate(CLASSES)
    if name in ("road", "person", "lamp")
]
tables.show_table(rows, digits=2)

# %% [markdown]
# At stride 8, the road keeps nearly all of its IoU, but the lamps lose almost all of
# theirs, because another class has the larger share in nearly every block. A network
# can do better, since it may give a lamp a higher score than its share. But one score
# per block says only roughly where in it the lamp is.
#
# The second problem is that annotation is expensive. The authors of U-Net segmented
# microscope images, of which few were annotated. The third problem is that cells often
# lie close together. A few wrong pixels in the narrow gap between two cells merge them
# into one.

# %% [markdown]
# ## The idea
#
# [Ronneberger, Fischer and Brox](https://arxiv.org/abs/1505.04597) combined four ideas
# in 2015.
#
# 1. **A decoder as large as the encoder.** The encoder halves the resolution step by
#    step, and the decoder doubles it again. After each doubling, the decoder also
#    receives the encoder's features of the same resolution. Such a direct connection is
#    a **skip connection**. FCN has skip connections too, but they carry one score per
#    class; in U-Net they carry all features, 64 to 512 channels.
# 2. **Convolutions without padding.** No output depends on added zeros. A large image
#    can therefore be cut into overlapping tiles, with the same result as in one pass.
# 3. **Elastic deformation.** Each training image is deformed smoothly and at random, so
#    that a few images give many different ones.
# 4. **Weights for the gaps.** A background pixel has a larger weight in the loss if it
#    lies between two cells that are close to each other.
#
# In the diagram, each box between image and logits is a pair of convolutions, and its
# channels and resolution stand below. The resolutions are those with padding.

# %% tags=["hide-input"]
down = [("image", 1, 1), ("down 1", 1, 64), ("down 2", 2, 128), ("down 3", 4, 256)]
down += [("down 4", 8, 512), ("bottom", 16, 1024)]
up = [("up 4", 8, 512), ("up 3", 4, 256), ("up 2", 2, 128), ("up 1", 1, 64)]
viz.show_architecture(
    [
        {"name": n, "stride": s, "channels": c, "color": 6 if c < 3 else 2 * (i > 5)}
        for i, (n, s, c) in enumerate([*down, *up, ("logits", 1, 2)])
    ],
    links=[(1, 9, "concatenate"), (2, 8, ""), (3, 7, ""), (4, 6, "")],
    alt="U-Net as a row of boxes: five levels shrink the image to stride 16 while the "
    "channels grow from 64 to 1024, then four levels lead back to stride 1. An arc "
    "joins each level on the way down to the level of the same stride on the way up.",
)

# %% [markdown]
# The decoder **concatenates** the two sources: it stacks their channels.
#
# As a formula, let $s_l$ be the encoder's features at level $l$ (stride $2^l$), and
# $x_{l+1}$ the decoder's features at the next coarser level. $\mathrm{up}$ doubles the
# resolution, $[\cdot\,;\cdot]$ concatenates channels, and $\mathrm{conv}$ is a pair of
# convolutions:
#
# $$x_l = \mathrm{conv}\big([\,s_l \,;\, \mathrm{up}(x_{l+1})\,]\big)$$

# %% [markdown]
# ## Build it
#
# We build a U-Net in a common modern form. It pads its convolutions, so the output has
# the size of the image, and it normalises after each convolution.
#
# ### Two convolutions
#
# Every level has two 3 x 3 convolutions, each followed by batch normalisation and a
# ReLU. The learned shift of the batch normalisation replaces the bias of the
# convolution.


# %%
def double_conv(before, after):
    """Two convolutions: (N, before, H, W) -> (N, after, H, W)."""
    return nn.Sequential(
        nn.Conv2d(before, after, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(inplace=True),
        nn.Conv2d(after, after, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(inplace=True),
    )


tuple(double_conv(3, 12)(torch.rand(1, 3, 96, 128)).shape)

# %% [markdown]
# ### One step of the decoder
#
# The **up-convolution** is a transposed convolution with a 2 x 2 kernel and stride 2.
# It turns each position into 2 x 2 positions and halves the number of channels. The
# concatenation doubles the channels, and two convolutions halve them again.


# %%
class Up(nn.Module):
    """(N, 2C, h, w) and a skip (N, C, 2h, 2w) -> (N, C, 2h, 2w)."""

    def __init__(self, channels):
        super().__init__()
        self.upsample = nn.ConvTranspose2d(2 * channels, channels, 2, stride=2)
        self.merge = double_conv(2 * channels, channels)

    def forward(self, x, skip):
        x = self.upsample(x)
        return self.merge(torch.cat([skip, x], dim=1))


tuple(Up(48)(torch.rand(1, 96, 12, 16), torch.rand(1, 48, 24, 32)).shape)

# %% [markdown]
# ### The whole network
#
# The encoder keeps the features of each level in a list. The last, coarsest features go
# straight into the decoder; the others are its skips, in reverse order. A 1 x 1
# convolution computes one logit per class.


# %%
class MyUNet(nn.Module):
    """(N, 3, H, W) -> logits (N, num_classes, H, W); H and W are multiples of 8."""

    def __init__(self, num_classes, widths=(12, 24, 48, 96)):
        super().__init__()
        pairs = zip((3, *widths), widths, strict=False)
        self.down = nn.ModuleList(double_conv(a, b) for a, b in pairs)
        self.up = nn.ModuleList(Up(channels) for channels in widths[-2::-1])
        self.head = nn.Conv2d(widths[0], num_classes, kernel_size=1)

    def forward(self, x):
        features = []
        for level, block in enumerate(self.down):
            x = block(F.max_pool2d(x, 2) if level else x)
            features.append(x)
        for block, skip in zip(self.up, features[-2::-1], strict=True):
            x = block(x, skip)
        return self.head(x)


# %% [markdown]
# The course's package has a `UNet` with more options. Its weights have the same shapes
# in the same order, so we can copy ours. Both networks must then give the same logits.

# %%
mine = MyUNet(8).eval()
packaged = UNet(8, width=12, depth=3, padding=1, batch_norm=True).eval()
values = mine.state_dict().values()
packaged.load_state_dict(dict(zip(packaged.state_dict(), values, strict=True)))
image = torch.rand(1, 3, 96, 128)
with torch.no_grad():
    a, b = mine(image), packaged(image)
print(tuple(image.shape), "->", tuple(a.shape))
print("logits vary:", a.std().item() > 0.01)
print("largest difference below 1e-5:", (a - b).abs().max().item() < 1e-5)

# %% [markdown]
# ### Elastic deformation
#
# An **elastic deformation** moves every pixel by a displacement that changes smoothly.
# We draw one displacement for each point of a coarse 3 x 3 grid from a Gaussian, and
# interpolate them bicubically to one displacement per pixel. The paper uses a standard
# deviation of 10 pixels; our images are smaller, so we use 3 to 6. The image is read
# bilinearly. The labels are read at the nearest pixel, so that no class is invented.


# %%
def deform(sample, std, mirrored=False):
    """Move the pixels of an image and its labels by the same smooth displacements."""
    size = sample.semantic.shape
    coarse = std * torch.randn(1, 2, 3, 3)
    field = F.interpolate(coarse, size, mode="bicubic", align_corners=True)
    source = T.pixel_grid(*size) + field[0].movedim(0, -1)
    return T.warp(sample, source, mirrored=mirrored)


# %% [markdown]
# Some pixels then come from outside the image. In the image they are black, or the
# image is mirrored at its border (*reflection padding*); their labels are void in both
# cases. The grid lines show the deformation.

# %% tags=["hide-input"]
scene = next(s for s in validation if (s.semantic == CLASSES.index("lamp")).sum() > 150)
ruled = scene.image.clone()
ruled[:, ::16], ruled[:, :, ::16] = 0.1, 0.1
views = {"image with grid": ruled}
for mirrored in (False, True):
    torch.manual_seed(3)
    moved = deform(scene._replace(image=ruled), std=6.0, mirrored=mirrored)
    views["deformed, mirrored" if mirrored else "deformed, black"] = moved.image
viz.show_images(
    views,
    alt="A street scene with a square grid, and the same elastic deformation of it "
    "twice: the grid lines bend smoothly, and the houses with them. Pixels from "
    "outside are black in one image and continue as a mirror image in the other.",
)

# %% [markdown]
# ### Weights for the gaps
#
# The loss should count a background pixel more if two cells are close to it. Let $d_1$
# be its distance to the nearest cell and $d_2$ its distance to the second nearest. In a
# gap of one pixel, both distances are 1; next to a single cell, $d_1$ is small but
# $d_2$ is large. The weight of the pixel is
#
# $$w = w_c + w_0 \exp\left(-\frac{(d_1 + d_2)^2}{2\sigma^2}\right),
# \qquad w_0 = 10,\; \sigma = 5 \text{ pixels},$$
#
# where $w_c$ is the weight of the pixel's class and $w_0$ and $\sigma$ are the paper's
# constants. For $d_1 = d_2 = 1$ the second term, the *border weight*, is $10\,e^{-4/50}
# \approx 9$; for $d_1 = 1$ and $d_2 = 20$ it is below 0.01. The figure shows the border
# weight for seven cells.


# %% tags=["hide-cell"]
def cells(gap):
    """Seven cells with a gap of so many pixels between them: (96, 128) int64."""
    centres = [(22, 24), (20, 58), (26, 95), (50, 42), (54, 78), (78, 24), (80, 60)]
    distance = torch.cdist(T.pixel_grid(96, 128), torch.tensor(centres).float()[None])
    near, second = distance.topk(2, largest=False).values.unbind(-1)
    inside = (near < 19) & (second - near > gap)
    return torch.where(inside, distance.argmin(dim=-1) + 1, 0)


# %% tags=["hide-input"]
instance = cells(gap=2)
weights = border_weights(instance)
viz.show_images(
    {
        "cells": instance,
        "distance to the nearest cell": distance_transform_edt(instance == 0),
        "border weight": weights,
    },
    alt="Seven round cells in different colours; the distance to the nearest cell, "
    "which is largest in the lower right corner; and the border weight: "
    "bright lines in the narrow gaps, dark inside cells and far from them.",
)

# %% [markdown]
# We compare two wrong predictions. The first fills all narrow gaps. The second has as
# many wrong pixels, but far from the gaps. *Regions* are the connected components of
# the prediction.

# %%
mask, narrow = (instance > 0).long(), weights > 5
background = weights.masked_fill(mask == 1, 99)  # never choose a pixel of a cell
elsewhere = background.flatten().argsort()[: narrow.sum()]
wrong = {
    "gaps filled": torch.where(narrow, 1, mask),
    "wrong elsewhere": mask.flatten().index_fill(0, elsewhere, 1).view_as(mask),
}
rows = []
for name, preds in wrong.items():
    logits = 4 * F.one_hot(preds, 2).movedim(-1, 0).float()[None]
    plain = cross_entropy(logits, mask[None])
    weighted = pixel_weighted_cross_entropy(logits, mask[None], 1 + weights[None])
    row = {"prediction": name, "regions": label(preds.numpy())[1]}
    row["wrong pixels"] = (preds != mask).sum()
    rows.append({**row, "cross-entropy": plain, "weighted": weighted})
tables.show_table(rows)

# %% [markdown]
# Plain cross-entropy is the same for both, although the first merges cells. Weighted
# cross-entropy (with $w_c = 1$) is about eight times as large for the filled gaps.

# %% [markdown]
# ## Is it the paper's network?
#
# `MyUNet` is not. The paper's network has no padding and no normalisation, four
# poolings, and 64 channels at the start. The package builds it with `UNet(2,
# in_channels=1)`. Without padding, each pair of convolutions removes 4 rows and
# columns, each pooling halves the side, and each up-convolution doubles it. We run the
# network on an image of 572 x 572 and record the side of each map. The map of a skip is
# larger than the upsampled map, so it is **cropped**. The columns *cut* say how much on
# each side, in pixels of the map and of the image.

# %%
sides = {}


def note(name):
    """A hook that stores the side of a module's output."""
    return lambda module, inputs, output: sides.update({name: output.shape[-1]})


with torch.device("meta"):  # shapes only, no memory
    paper = UNet(2, in_channels=1)
    for level in range(4):
        paper.encoder[level].register_forward_hook(note(("skip", level)))
        paper.decoder[3 - level].upsample.register_forward_hook(note(("up", level)))
        paper.decoder[3 - level].merge.register_forward_hook(note(("out", level)))
    logits = paper(torch.empty(1, 1, 572, 572))
rows = []
for level in range(4):
    skip, upsampled = sides["skip", level], sides["up", level]
    cut = (skip - upsampled) // 2
    row = {"stride": 2**level, "skip": skip, "upsampled": upsampled}
    row["after two convolutions"] = sides["out", level]
    rows.append({**row, "cut": cut, "cut in image pixels": cut * 2**level})
tables.show_table(rows[::-1])
print("logits", tuple(logits.shape[1:]))

# %% [markdown]
# Of the 572 pixels of a row, 388 receive logits, as in the paper. The 92 on each side
# only serve as context. The cut is between 32 and 88 image pixels wide.
#
# The number of parameters is the second check. The layers of the paper add up to
# 31,030,658 (exercise 8.2 counts them).


# %%
def count(num_classes, **options):
    """Parameters of a U-Net, counted without allocating them."""
    with torch.device("meta"):
        return sum(p.numel() for p in UNet(num_classes, **options).parameters())


modern = dict(padding=1, batch_norm=True)
variants = {
    "the paper's: 1 channel, 2 classes": count(2, in_channels=1),
    "3 channels, 2 classes": count(2),
    "3 channels, 2 classes, padded": count(2, padding=1),
    "3 channels, 2 classes, padded, batch norm": count(2, **modern),
    "ours above: 3 channels, 8 classes": sum(p.numel() for p in mine.parameters()),
}
tables.show_table([{"U-Net": n, "parameters": p} for n, p in variants.items()])

# %% [markdown]
# The count agrees. But padding does not change it, and batch normalisation changes it
# little, so a matching count alone does not prove that a network is the paper's.
#
# <details class="deeper"><summary>Going deeper: how MyUNet differs from the paper's
# network</summary>
#
# | | paper | `MyUNet` |
# |---|---|---|
# | channels at stride 1, poolings | 64, four | 12, three |
# | convolutions | no padding | padded |
# | normalisation | none | batch normalisation |
# | skips | cropped | whole |
# | dropout | at the end of the encoder | none |
# | initial weights | Gaussian, variance $2/N$ for $N$ inputs | uniform |
# | optimiser | SGD, momentum 0.99, one large tile | AdamW, batches of 4 |
#
# </details>
#
# The authors published their code and their trained networks. We did not load their
# weights: sizes and counts are our only evidence that the package's `UNet` is the
# paper's.

# %% tags=["hide-input"]
from segcourse.sources import show_source

show_source(UNet)

# %% [markdown]
# ### Overlapping tiles
#
# An unpadded network gives no logits for a margin of its input. To segment a whole
# image, the authors cut it into tiles that overlap, and mirror the image at its border.
# `overlap_tile` does both. The result must not depend on the size of the tiles, so we
# compare it with a single pass over the whole mirrored image, with random weights.

# %%
seed_everything(0)
net = UNet(8, width=4, depth=3).eval()
town, margin = Toytown(1, seed=2, size=(180, 268))[0].image[None], net.margin
mirrored = reflect_pad(town, margin, 180 + 2 * margin, 268 + 2 * margin)
with torch.no_grad():
    at_once = net(mirrored)
print(f"{town.shape[-2]} x {town.shape[-1]} pixels, margin {margin} pixels")
print("logits vary:", at_once.std().item() > 0.01)
for tile in (20, 68, 132):
    difference = (overlap_tile(net, town, tile=tile) - at_once).abs().max().item()
    print(f"tiles of {tile} x {tile} logits: same result: {difference < 1e-5}")

# %% [markdown]
# <details class="deeper"><summary>Going deeper: why the tiles step by 384 and not by
# 388</summary>
#
# The paper's tiles have 388 x 388 logits, so 388 seems to be the natural step. But a
# max pooling groups pixels in fixed pairs, counted from the edge of the tile. With four
# poolings, a group has 16 x 16 pixels. If a tile starts at a pixel that is no multiple
# of 16, its groups differ from those of the neighbouring tile, and the same pixel gets
# different logits in both. Because 388 = 24 · 16 + 4, `overlap_tile` steps by 384.
# Exercise 8.6 measures the effect.
#
# </details>

# %% [markdown]
# ## Train it
#
# We train `MyUNet` on Toytown, the course's drawn streets with eight classes. The loss
# is cross-entropy, weighted by class, plus Dice ([chapter 5](05_losses.ipynb)). The
# learning rate rises during the first half of the steps (*warm-up*) and falls during
# the second half.

# %%
scenes = Cached(Toytown(600))
labels = torch.stack([scene.semantic for scene in scenes])
weight = log_frequency_weights(class_counts(labels, len(CLASSES)))


def loss(model, batch):
    logits = model(batch.image)
    target = batch.semantic
    return cross_entropy(logits, target, weight=weight) + dice_loss(logits, target)


# %%
seed_everything(0)
model = MyUNet(len(CLASSES)).to(memory_format=torch.channels_last)  # faster on a CPU
history = fit(
    model,
    loss,
    batches(scenes, batch_size=4),
    steps=400,
    learning_rate=1.5e-2,
    schedule=warmup(poly(0.9), share=0.5),
)
print(f"{sum(p.numel() for p in model.parameters())} parameters, {len(history)} steps")

# %% tags=["hide-input"]
viz.show_curves(
    {"loss": history},
    xlabel="step",
    ylabel="cross-entropy + Dice (mean of 20 steps)",
    smooth=20,
    alt="The loss falls steeply during the first hundred steps and slowly to the end.",
)

# %% tags=["tol=0.05"]
matrix = evaluate(
    model, batches(validation, batch_size=20, shuffle=False), num_classes=8
)
rows = zip(CLASSES, iou(matrix).tolist(), shares_iou[8], strict=True)
tables.show_table(
    [{"class": n, "IoU": v, "shares at stride 8": s} for n, v, s in rows], digits=2
)
print(f"mean IoU {mean_iou(matrix):.2f}")

# %% tags=["hide-input"]
shown = [validation[index] for index in (3, 8, 11)]
predictions = predict(model, torch.stack([sample.image for sample in shown]))
viz.show_predictions(
    shown,
    {"U-Net": predictions},
    CLASSES,
    PALETTE,
    alt="Three street scenes with U-Net's prediction and the ground truth: borders are "
    "sharp, and most people and lamps are found, at least in part.",
)

# %% [markdown]
# The lamps have a far higher IoU than the true shares at stride 8 from the first
# section; road and car stay below theirs. Lamps and people are still the two worst
# classes. Both are thin or small.

# %% [markdown]
# ## On a real image
#
# We train a new U-Net from *half a photograph*: the left half of scikit-image's
# `coins`, deformed elastically and cut into random windows, with the classes coin and
# background. The tests are the right half, and a photograph of a single cell, `cell`,
# at half its size, which is never used for training. Each photograph is normalised to
# mean 0 and standard deviation 1, because their brightness differs.


# %%
from segcourse.data import Photographs


def normalized(sample):
    """An image with mean 0 and standard deviation 1, and a mask of all its objects."""
    image, semantic, instance = sample
    image = (image - image.mean()) / image.std()
    return Sample(image, (semantic > 0).long(), instance)


coins = normalized(Photographs("coins")[0])
left = Sample(*(part[..., :192] for part in coins))
right = Sample(*(part[..., 192:] for part in coins))
print("annotated coins in the left half, cut ones included:", end=" ")
print(len(left.instance[left.instance > 0].unique()))
tests = {
    "coins, right half": right,
    "cell": normalized(Photographs("cell", longest=330)[0]),  # half its size
}


def window(sample, size=96):
    """A random square of an image."""
    height, width = sample.semantic.shape
    top, start = (int(torch.randint(side - size + 1, ())) for side in (height, width))
    return Sample(*(p[..., top : top + size, start : start + size] for p in sample))


# %%
seed_everything(0)
coin_windows = [window(deform(left, std=4.0, mirrored=True)) for _ in range(160)]


def two_class_loss(model, batch):
    logits = model(batch.image)
    return cross_entropy(logits, batch.semantic) + dice_loss(logits, batch.semantic)


def train_briefly(net, windows):
    """Train for 80 steps on square windows."""
    fit(
        net,
        two_class_loss,
        batches(windows, batch_size=4),
        steps=80,
        learning_rate=3e-3,
        schedule=warmup(poly(0.9)),
    )
    return net.eval()


seed_everything(0)
coin_net = train_briefly(MyUNet(2), coin_windows)

# %% [markdown]
# `MyUNet` needs sides that are multiples of 8. We mirror the images at their border up
# to multiples of 32 and crop the prediction. The baseline is one threshold per image,
# chosen from its histogram by Otsu's method.


# %% tags=["tol=0.05"]
from segcourse import classical


def segment(net, sample):
    """Mask (H, W) of an image of any size."""
    height, width = sample.semantic.shape
    padded = T.pad_to_multiple(32, mirrored=True)(sample)
    return predict(net, padded.image[None])[0, :height, :width]


def object_iou(mask, sample):
    return iou(confusion_matrix(mask, sample.semantic, 2))[1].item()


rows = []
for name, sample in tests.items():
    otsu = (sample.image[0] > classical.otsu(sample.image[0])).long()
    row = {"image": name, "Otsu": object_iou(otsu, sample)}
    rows.append({**row, "U-Net": object_iou(segment(coin_net, sample), sample)})
tables.show_table(rows, digits=2)

# %% tags=["hide-input"]
views = {}
for name, sample in tests.items():
    low, high = sample.image.min(), sample.image.max()
    views[name] = (sample.image - low) / (high - low)
    views[f"{name}: U-Net"] = segment(coin_net, sample) == 1
viz.show_images(
    views,
    alt="The right half of the coins and the mask that U-Net predicts: nearly every "
    "coin is a full white disc. A photograph of one bright cell, and its mask: a disc.",
)

# %% [markdown]
# Half a photograph is enough for both tests. They are easy: the objects are bright
# discs, and three coins lie in both halves. Even Otsu's threshold does well on the
# cell; on the coins it is worse than U-Net.
#
# The next code trains on nuclei of cells if you have the data of the [Data Science Bowl
# 2018](https://www.kaggle.com/c/data-science-bowl-2018). The environment variable
# `SEGCOURSE_DATA` must name its folder.

# %% tags=["nbval-ignore-output"]
from segcourse.data import DSB2018

try:
    nuclei = [normalized(s) for s in DSB2018() if s.semantic.shape == (256, 256)]
except FileNotFoundError:
    print("The nuclei of the Data Science Bowl 2018 are not here: nothing is trained.")
else:
    seed_everything(0)
    windows = [window(deform(nuclei[n % 8], 4.0, mirrored=True)) for n in range(160)]
    nucleus_net = train_briefly(MyUNet(2), windows)
    scores = [object_iou(segment(nucleus_net, s), s) for s in nuclei[8:]]
    print(
        f"trained on 8 images, mean IoU on {len(scores)} others {np.mean(scores):.2f}"
    )
    viz.show_images(
        {
            "nuclei": (nuclei[9].image - nuclei[9].image.min()).clamp(0, 1),
            "ground truth": nuclei[9].semantic == 1,
            "U-Net": segment(nucleus_net, nuclei[9]) == 1,
        },
        alt="A microscope image of bright nuclei, their ground truth, and the mask "
        "that U-Net predicts after training on eight images.",
    )

# %% [markdown]
# ## What did the idea buy?
#
# ### Features or scores?
#
# U-Net's skips carry features; FCN's skips carry scores. To measure the difference, we
# train five networks with the same encoder on the same 400 scenes:
#
# - *features, concatenated* is U-Net, and *features, added* replaces the concatenation
#   by a sum;
# - *scores, concatenated* is U-Net with a 1 x 1 convolution in each skip, which reduces
#   the features to eight channels, one per class;
# - *scores, added* is FCN with skips at all strides, 1 included: it has no decoder;
#   scores are upsampled by 2 and added to the next finer ones, step by step;
# - *none* is U-Net without skips.
#
# The results are stored (`python -m benchmarks.unet` repeats them). Each network is
# trained eight times, with the same eight *seeds*, which fix the order of the scenes
# and the random numbers. We can therefore compare two networks pair by pair. The column
# *difference* is the mean of the paired differences to the first row. Its **standard
# error** is their standard deviation divided by $\sqrt n$ for $n$ seeds, and *t* is the
# difference divided by its standard error. By the paired *t*-test, a difference is
# significant at the 5 % level if *t* lies beyond ± 2.36, the bound for eight seeds.
# (For three seeds it is ± 4.30.)

# %%
results = measured("unet")


def summary(runs, what=lambda run: run["miou"]):
    """Mean and standard deviation over the seeds."""
    values = [what(run) for run in runs]
    return np.mean(values), np.std(values, ddof=1)


def compare(runs, baseline):
    """Mean of the paired differences, and its ratio to the standard error, as text."""
    pairs = list(zip(runs, baseline, strict=True))
    mean, deviation = summary(pairs, lambda pair: pair[0]["miou"] - pair[1]["miou"])
    t = mean / (deviation / len(pairs) ** 0.5)
    return {"difference": f"{round(mean, 3) + 0:+.3f}", "t": f"{round(t, 1) + 0:+.1f}"}


def skip_rows(arms):
    first = next(iter(arms.values()))
    for skip, runs in arms.items():
        row = {"skips": skip, "parameters": runs[0]["parameters"]}
        row |= {"mean IoU": summary(runs)[0]}
        row |= {"IoU of lamp": summary(runs, lambda run: run["iou"]["lamp"])[0]}
        same = runs is first
        yield row | ({"difference": "", "t": ""} if same else compare(runs, first))


print(f"{results['steps']} steps, {len(results['seeds'])} seeds")
tables.show_table(list(skip_rows(results["skips"])))

# %%
print(f"{results['long_steps']} steps, three seeds")
tables.show_table(list(skip_rows(results["longer"])))

# %% [markdown]
# After 200 steps, two differences are significant. Without skip connections, the mean
# IoU falls by about 0.15, and the lamps are nearly lost. The network that adds scores
# is better than U-Net, although it has the fewest parameters. The other rows: no clear
# difference. After 800 steps, lamps are found without skips too, but still much worse,
# and the lead of the added scores is half as large.
#
# So these runs do not show that skips should carry features and not scores. Two limits
# matter. Our skips have 12 to 48 features for eight classes, but the paper's have 64 to
# 512 for two, so scores may lose more there. And our runs are short; a network without
# a decoder may learn faster. We did not test the two other ideas, weights for the gaps
# and convolutions without padding.

# %% [markdown]
# ### How few images are enough?
#
# U-Net is trained on 5, 20 or 80 scenes, for 200 steps with batches of four. (The class
# weights of the loss come from all 400 scenes.) The scenes are used as they are, or
# deformed anew each time (standard deviation 3 pixels), with black or with mirrored
# borders. Each seed takes other scenes, but the same ones for all three runs. Here the
# column *difference* compares with *none*.


# %%
rows = []
for number, arms in results["few"].items():
    for name, runs in arms.items():
        row = {"scenes": int(number), "deformation": name, "mean IoU": summary(runs)[0]}
        same = name == "none"
        rows.append(
            row | ({"difference": "", "t": ""} if same else compare(runs, arms["none"]))
        )
tables.show_table(rows)
black, mirror = (results["few"]["5"][f"elastic, {c}"] for c in ("black", "mirrored"))
plain = results["few"]["5"]["none"]
as_text = "{difference}, t = {t}".format_map
print("5 scenes, mirrored - black:", as_text(compare(mirror, black)))
print("5 scenes, black, three seeds only:", as_text(compare(black[:3], plain[:3])))

# %% [markdown]
# With five scenes, elastic deformation helps: the gain is about 0.03, and both values
# of *t* lie beyond 2.36. The first three seeds alone show nearly twice this gain, so
# three seeds would have misled us about its size. With 20 and 80 scenes, deformation
# lowers the mean IoU significantly in all four comparisons. Black borders are not the
# reason, because mirrored ones change little.
#
# Two reasons are possible. The 200 steps use each of five scenes 160 times, but each of
# 80 scenes only ten times, so new views may matter less. And deformation bends the
# straight lamps and houses of Toytown.

# %% [markdown]
# ## Where it breaks: objects of another size
#
# We give `model` from *Train it* 16 scenes that are drawn two and three times as large.
# The streets and objects are those of validation scenes; houses and trees in the
# background differ. In the last column, images and labels are shrunk to the training
# size before the prediction.

# %% tags=["tol=0.05"]
large = {f: Cached(Toytown(16, seed=1, size=(96 * f, 128 * f))) for f in (1, 2, 3)}
rows = []
for factor, streets in large.items():
    row = {"size": f"x {factor}"}
    small = [T.resize((96, 128))(street) for street in streets]
    for name, dataset in (("as drawn", streets), ("shrunk", Cached(small))):
        loader = batches(dataset, batch_size=4, shuffle=False)
        row[name] = mean_iou(evaluate(model, loader, num_classes=8))
    rows.append(row)
tables.show_table(rows, digits=2)

# %% tags=["hide-input"]
near = [large[3][index] for index in (3, 8)]
viz.show_predictions(
    near,
    {"U-Net": predict(model, torch.stack([sample.image for sample in near]))},
    CLASSES,
    PALETTE,
    alt="Two scenes drawn three times as large: large surfaces such as road and grass "
    "break up into patches of wrong classes.",
)

# %% [markdown]
# The mean IoU falls as the scenes grow, and shrinking the images brings most of it
# back. Therefore the scale is the main cause, and not the content of the scenes. Two
# reasons are possible: the receptive field covers only a part of a large object, and
# the textures of the surfaces are enlarged too. DeepLab, the subject of a later
# chapter, widens the receptive field without further pooling.
#
# ## In practice
#
# `segmentation_models_pytorch` (SMP) has U-Nets with encoders that were pretrained for
# classification, such as ResNet and MobileNet. MONAI is made for medical images. Each
# means a different network by "U-Net". The table compares their defaults with ours. The
# **finest skip** is the smallest stride at which a network concatenates encoder
# features; we record what goes into `torch.cat`.

# %% tags=["nbval-ignore-output"]
import monai
import segmentation_models_pytorch as smp
from monai.networks import nets

print("SMP", smp.__version__, "MONAI", monai.__version__)

# %%
from unittest import mock

networks = {
    "MyUNet": MyUNet(2),
    "SMP Unet, ResNet-18": smp.Unet("resnet18", encoder_weights=None, classes=2),
    "MONAI BasicUNet": nets.BasicUNet(spatial_dims=2, in_channels=3, out_channels=2),
    "MONAI UNet": nets.UNet(
        spatial_dims=2,
        in_channels=3,
        out_channels=2,
        channels=(12, 24, 48, 96),
        strides=(2, 2, 2),
    ),
}


def finest_skip(net):
    """The smallest stride at which a network concatenates features."""
    concatenate, widest = torch.cat, []

    def noting(parts, dim=0):
        widest.append(parts[0].shape[-1])
        return concatenate(parts, dim)

    with mock.patch("torch.cat", noting):
        net(torch.rand(1, 3, 128, 128))
    return 128 // max(widest)


# %%
rows = []
for name, net in networks.items():
    net.eval()
    kinds = {type(module).__name__ for module in net.modules()}
    row = {"network": name, "parameters": sum(p.numel() for p in net.parameters())}
    row["normalisation"] = ", ".join(sorted(kind for kind in kinds if "Norm" in kind))
    row["finest skip"] = f"stride {finest_skip(net)}"
    try:
        net(torch.rand(1, 3, 100, 100))
        row["100 x 100 image"] = "accepted"
    except RuntimeError:
        row["100 x 100 image"] = "RuntimeError"
    rows.append(row)
tables.show_table(rows)

# %% [markdown]
# Three differences matter in practice.
#
# - **The finest skip.** The decoder of SMP's `Unet` does not use features of stride 1,
#   and MONAI's `UNet` halves the resolution in its first layer. Neither has a skip at
#   stride 1.
# - **Normalisation.** MONAI's default is instance normalisation, which scales the
#   channels of each image separately.
# - **Sizes.** `MyUNet` and MONAI's `UNet` need multiples of 8 here. The other two
#   accept 100 x 100.
#
# Next, we train small U-Nets of both libraries on the coins, one run each. Look at the
# column *cell*.


# %% tags=["nbval-ignore-output"]
def monai_unet(norm):
    """MONAI's UNet with a normalisation of our choice."""
    return nets.UNet(2, 3, 2, channels=(12, 24, 48, 96), strides=(2, 2, 2), norm=norm)


builders = {
    "SMP Unet, MobileNet": lambda: smp.Unet(
        "mobilenet_v2",
        encoder_weights=None,
        encoder_depth=3,
        decoder_channels=(48, 24, 12),
        classes=2,
    ),
    "MONAI UNet, instance norm": lambda: monai_unet("instance"),
    "MONAI UNet, batch norm": lambda: monai_unet("batch"),
}
trained = {"MyUNet": coin_net}
for name, build in builders.items():
    seed_everything(0)
    trained[name] = train_briefly(build(), coin_windows)
rows = [
    {"network": name, **{n: object_iou(segment(net, s), s) for n, s in tests.items()}}
    for name, net in trained.items()
]
tables.show_table(rows, digits=2)

# %% [markdown]
# All networks segment the coins, but MONAI's `UNet` with instance normalisation is no
# better than Otsu's threshold. On the cell, it fails. With batch normalisation, it
# works. The two rows differ only in the normalisation.
#
# | use this | when |
# |---|---|
# | SMP `Unet`, pretrained | you have photographs and few annotations |
# | `MyUNet`, or MONAI `BasicUNet` | you want a skip at stride 1, for thin objects |
# | MONAI with `spatial_dims=3` | the data are volumes |
# | the paper's `UNet` with `overlap_tile` | the result must not depend on the tiles |
#
# <details class="deeper"><summary>Going deeper: fine-tuning an SMP network</summary>
#
# - The default `encoder_weights="imagenet"` downloads weights. Pass `None` where there
#   is no network connection.
# - The defaults are `classes=1` and no activation: the output is one logit per pixel.
# - The parts are `encoder`, `decoder` and `segmentation_head`. Give the encoder a
#   smaller learning rate with three parameter groups.
# - `requires_grad_(False)` does not stop the batch statistics of the encoder from
#   moving in training mode; `model.freeze_encoder()` does.
#
# </details>
#
# ## Common mistakes
#
# **1. The skip is cropped from its corner.** In an unpadded U-Net, `skip[..., :h, :w]`
# has the right size, so no error is raised. But in the paper's network, the features of
# the skip then lie 32 to 88 image pixels too far down and to the right, as the table of
# sizes shows. An unpadded network with two poolings was trained both ways, with eight
# seeds:

# %%
crops = results["crops"]
for where, runs in crops.items():
    print(f"{where:7} mean IoU {summary(runs)[0]:.3f}")
print("corner - middle:", as_text(compare(crops["corner"], crops["middle"])))

# %% [markdown]
# The wrong crop lowers the mean IoU clearly. Right: crop around the centre, as in
# exercise 8.3.
#
# **2. Odd sizes.** `MyUNet` pools 133 columns to 66, 33 and 16. Doubled, 16 gives 32,
# but the skip has 33 columns. Three repairs are common: resize the image, pad it with
# black, or pad it with its mirror image.

# %% tags=["tol=0.05"]
odd = Cached(Toytown(24, seed=1, size=(99, 133)))
odd_target = torch.stack([sample.semantic for sample in odd])
images = torch.stack([sample.image for sample in odd])
try:
    model(images)
except RuntimeError as error:
    print(error)
small = F.interpolate(images, (96, 128), mode="bilinear", antialias=True)
classes = predict(model, small)[:, None].float()
resized = F.interpolate(classes, (99, 133), mode="nearest-exact")[:, 0].long()
padded = {
    "padded, black": F.pad(images, (0, 3, 0, 5)),
    "padded, mirrored": reflect_pad(images, 0, 104, 136),
}
maps = {name: predict(model, wide)[:, :99, :133] for name, wide in padded.items()}
for name, preds in {"resized to 96 x 128": resized, **maps}.items():
    print(f"{name:20} {mean_iou(confusion_matrix(preds, odd_target, 8)):.3f}")

# %% [markdown]
# Black padding costs most, although only five rows and three columns are black. Right:
# mirror the image, predict, and crop the prediction.
#
# **3. A sigmoid on logits that were trained with softmax.** Softmax depends only on the
# differences between logits. A sigmoid treats each logit separately, so a pixel may get
# no class, or several.

# %% tags=["tol=0.05"]
with torch.no_grad():
    logits = model(shown[0].image[None])
for shift in (0, 3):
    chosen = ((logits + shift).sigmoid() > 0.5).sum(dim=1)
    share = (chosen == 1).float().mean().item()
    print(f"logits + {shift}: exactly one class at {share:.2f} of the pixels")
print("same argmax:", ((logits + 3).argmax(1) == logits.argmax(1)).all().item())

# %% [markdown]
# Right: K channels with softmax and `argmax`, or one channel with a sigmoid and the
# threshold 0.5.
#
# **4. Objects are numbered again after the deformation.** A gap of one pixel can
# disappear in a deformation. If the objects are then computed as connected components
# of the mask, cells have merged, and the gap between them gets no weight. The output
# sums the border weight over all pixels.

# %%
tight = cells(gap=1.2)
torch.manual_seed(0)
moved = deform(Sample(torch.rand(3, 96, 128), (tight > 0).long(), tight), std=3.0)
numbered = torch.from_numpy(label(moved.instance.numpy() > 0)[0]).long()
for name, objects in {
    "before": tight,
    "instance map deformed too": moved.instance,
    "numbered again": numbered,
}.items():
    found = len(objects[objects > 0].unique())
    print(f"{name:26} {found} cells, weight {border_weights(objects).sum():.0f}")

# %% [markdown]
# Right: deform the *instance map* together with the image, as the course's `Sample`
# does, and compute the weights from it.
#
# <details class="deeper"><summary>Going deeper: the channels of the
# up-convolution</summary>
#
# `nn.ConvTranspose2d(512, 512, 2, stride=2)` fails after the bottom of the paper's
# network, because the bottom has 1024 channels. A repair that runs keeps 1024 channels
# and widens the next convolution to 1024 + 512. The network trains, but it has about
# 4.5 million parameters more than the paper's ($17\,c^2 + c$ with $c = 512$). Right:
# `nn.ConvTranspose2d(2 * c, c, 2, stride=2)`, then a convolution from `2 * c` to `c`.
#
# </details>

# %% [markdown]
# ## Exercises
#
# Replace `...` by your answer and run the cell. `ex.side_of_logits` shows the question
# again, `ex.side_of_logits.hint()` gives a hint, and another one each time. The
# solutions are behind the toggles.

# %%
from segcourse.exercises import unet as ex

# %% [markdown]
# ### 8.1 Side of the logits
#
# Predict the width of the logits of an unpadded U-Net, in pixels. `side` is the width
# of the image, `depth` the number of poolings (1 or more). Every level has two 3 x 3
# convolutions without padding, on the way down, at the bottom and on the way up. Return
# `None` if a pooling would meet an odd side, or if no pixel of logits is left. The
# paper's network has depth 4: `side=572` gives 388. The package's `UNet(2,
# depth=depth)` confirms your prediction.


# %%
def side_of_logits(side, depth): ...  # your code


ex.side_of_logits.check(side_of_logits)

# %%
ex.side_of_logits.show_solution()

# %% [markdown]
# ### 8.2 Counting parameters
#
# Count the numbers that a U-Net learns. `width` is the number of channels at stride 1,
# `depth` the number of poolings; the channels double from level to level. Every level
# has two 3 x 3 convolutions, on both ways and at the bottom, and the skips are
# concatenated. Each 3 x 3 convolution has a bias, or, with `batch_norm=True`, no bias
# but a batch normalisation behind it, which learns two numbers per channel. The 2 x 2
# up-convolutions and the final 1 x 1 convolution always have a bias and no
# normalisation. Return an integer. The paper's network, `1, 2, 64, 4, False`, gives
# 31,030,658.


# %%
def parameters(in_channels, num_classes, width, depth, batch_norm): ...  # your code


ex.parameters.check(parameters)

# %%
ex.parameters.show_solution()

# %% [markdown]
# ### 8.3 Fix the skip
#
# This function merges a skip of shape (N, A, H, W) with upsampled features `x` of shape
# (N, B, h, w):
#
#     def merge(skip, x):
#         return torch.cat([skip[..., : x.shape[-2], : x.shape[-1]], x], dim=1)
#
# It runs, and the network trains badly. Find the fault, and write the function
# correctly: crop the skip around its centre, so that equally many rows are removed at
# the top and at the bottom, and equally many columns on the left and on the right. H −
# h and W − w are even, and may be 0. Return a tensor (N, A + B, h, w) with the channels
# of the skip first.


# %%
def merge(skip, x): ...  # your code


ex.fix_crop.check(merge)

# %%
ex.fix_crop.show_solution()

# %% [markdown]
# ### 8.4 A mirror at the border
#
# Predict which pixel a mirrored border shows. A row of `length` pixels (1 or more) is
# continued on both sides by its mirror image, then by the row itself again, then by its
# mirror image, and so on. Places 0 to `length - 1` are the row itself. The border pixel
# is not repeated: place −1 shows pixel 1. (Libraries call this reflection padding.) A
# row of one pixel shows pixel 0 everywhere. `place` may be any integer, also far away.
# Return the number of the pixel, from 0 to `length - 1`. For example, a row of 3 shows
# 2 1 0 1 2 1 0 at the places −2 to 4.


# %%
def mirrored(place, length): ...  # your code


ex.mirror.check(mirrored)

# %%
ex.mirror.show_solution()

# %% [markdown]
# ### 8.5 The border weight map
#
# Compute the border term $w_0 \exp(-(d_1 + d_2)^2 / 2\sigma^2)$ of every pixel.
# `instance` (H, W) is a NumPy array of integers: 0 is background, and every positive
# number is one object, possibly in several pieces. Numbers may be missing, and objects
# may touch. $d_1$ and $d_2$ are the Euclidean distances from a background pixel to the
# nearest and to the second nearest object, as `scipy.ndimage.distance_transform_edt`
# measures them. Return (H, W): the term on the background, 0 inside objects, and 0
# everywhere if there are fewer than two objects.


# %%
def border_map(instance, w0, sigma): ...  # your code


ex.border.check(border_map)

# %%
ex.border.show_solution()

# %% [markdown]
# ### 8.6 How far may a tile move?
#
# A tile is moved by some columns over a large image. For some moves, its logits move by
# the same columns and keep their values; for others, the values change. First predict:
# which is the smallest move that keeps the values, for an unpadded U-Net with one, two
# and three poolings? Write it down.
#
# Then write the experiment that finds it. `net` is a function from images to logits,
# `image` is (1, 3, H, W), and a tile is `side` columns of it: `image[..., s : s +
# side]` starts at column s. Compare the logits of the tile at column 0 with those of
# the tile at column s, in the columns that describe the same pixels. Try s = 1, 2, 3,
# ... as long as the two tiles have at least one column of logits in common. Return the
# first s for which all common logits agree to 1e-4, or `None` if there is none. The
# image has at least `2 * side` columns.


# %%
def shift_period(net, image, side): ...  # your code


ex.shift.check(shift_period)

# %%
ex.shift.show_solution()

# %%
picture = torch.rand(1, 3, 108, 216)
for depth in (1, 2, 3):
    torch.manual_seed(depth)
    unpadded = UNet(2, width=2, depth=depth).eval()
    print(f"poolings: {depth}, period:", ex.shift.solution(unpadded, picture, 108))

# %% [markdown]
# ### 8.7 Does it help?
#
# Decide from paired scores whether a change of the training helps. `baseline` and
# `changed` are lists; `baseline[i]` and `changed[i]` are scores (larger is better) of
# two networks that were trained on the same data with the same seed, without and with
# the change. Take the differences `changed[i] - baseline[i]`, their mean $m$, and the
# standard error $e = s / \sqrt n$ of that mean, where $n$ is the number of pairs (2 or
# more) and $s$ their sample standard deviation, with division by $n - 1$. Let $f$ be
# `factor`, the bound for *t*. Return `"helps"` if $m > f e$, `"harms"` if $m < -f e$,
# and else `"no clear difference"`.


# %%
def judge(baseline, changed, factor): ...  # your code


ex.verdict.check(judge)

# %%
ex.verdict.show_solution()

# %% [markdown]
# ## Quiz

# %% [markdown]
# **Q1. Why are the logits of the paper's U-Net smaller than its input?**
#
# <details class="quiz right"><summary>Its convolutions do not pad</summary>
#
# Right: each 3 x 3 convolution removes one pixel on every side. At stride 16, that is
# 16 pixels of the image. In total, 92 pixels are lost on each side.
#
# </details>
# <details class="quiz wrong"><summary>Max pooling rounds odd sides down</summary>
#
# Not quite: the paper's input sizes are chosen so that every pooled side is even.
#
# </details>
# <details class="quiz wrong"><summary>The up-convolutions cannot undo four
# poolings</summary>
#
# Not quite: four doublings give back the size that four halvings took. Only the
# convolutions remove pixels.
#
# </details>

# %% [markdown]
# **Q2. What do U-Net's skip connections carry?**
#
# <details class="quiz wrong"><summary>One score per class, as in FCN</summary>
#
# Not quite: FCN computes scores from the features first. U-Net's skips carry the
# features themselves.
#
# </details>
# <details class="quiz wrong"><summary>The positions of the maxima of the
# poolings</summary>
#
# Not quite: SegNet, another network, uses these positions for its unpooling.
#
# </details>
# <details class="quiz right"><summary>All features of the encoder at that
# resolution</summary>
#
# Right: 64 to 512 channels, at every stride from 1 to 8.
#
# </details>

# %% [markdown]
# **Q3. Tiles of 388 logits are laid side by side with a step of 388. What happens?**
#
# <details class="quiz right"><summary>The logits of a pixel depend on the tile that it
# falls into</summary>
#
# Right: 388 is no multiple of 16, so neighbouring tiles pool different groups of
# pixels. A step of 384 gives the result of a single pass.
#
# </details>
# <details class="quiz wrong"><summary>Nothing: without padding, any tiling gives the
# same result</summary>
#
# Not quite: that holds for convolutions alone. The groups of a pooling are counted from
# the edge of the tile.
#
# </details>
# <details class="quiz wrong"><summary>A gap of 184 pixels stays between the
# tiles</summary>
#
# Not quite: the *inputs* of the tiles overlap by 184 pixels, so their logits meet.
#
# </details>

# %% [markdown]
# **Q4. Where is the border weight large?**
#
# <details class="quiz wrong"><summary>Along the outline of every cell</summary>
#
# Not quite: the formula adds the distance to the second nearest cell, which is large at
# the outline of a cell without neighbours.
#
# </details>
# <details class="quiz wrong"><summary>Inside small cells</summary>
#
# Not quite: the term is 0 inside cells. Rare classes are a matter of the class weight.
#
# </details>
# <details class="quiz right"><summary>On the background between two close
# cells</summary>
#
# Right: both distances are small only there.
#
# </details>

# %% [markdown]
# **Q5. You deform an image and its label map elastically. How are the labels read?**
#
# <details class="quiz wrong"><summary>Bilinearly, like the image</summary>
#
# Not quite: between class 1 and class 3, interpolation would invent class 2.
#
# </details>
# <details class="quiz right"><summary>At the nearest pixel, with the same displacements
# as the image</summary>
#
# Right: no class is invented, and labels and image stay aligned.
#
# </details>
# <details class="quiz wrong"><summary>At the nearest pixel, with new random
# displacements</summary>
#
# Not quite: two different draws move the labels away from the objects.
#
# </details>

# %% [markdown]
# **Q6. A network has 31,031,810 parameters, as the unpadded U-Net with 3 channels and 2
# classes. Is it unpadded?**
#
# <details class="quiz wrong"><summary>Yes: equal counts mean equal networks</summary>
#
# Not quite: a padded network with the same layers has the same number of parameters.
#
# </details>
# <details class="quiz right"><summary>You cannot tell from the count: compare the sizes
# of input and output</summary>
#
# Right: padding has no parameters. An unpadded network turns 572 pixels into 388.
#
# </details>
# <details class="quiz wrong"><summary>No: padding would add parameters</summary>
#
# Not quite: padding adds zeros to the input of a layer, and no weights.
#
# </details>

# %% [markdown]
# **Q7. With three seeds, a change raises the mean IoU from 0.47 to 0.53, and t is 1.9.
# What can you report?**
#
# <details class="quiz wrong"><summary>The change helps: the mean is larger by
# 0.06</summary>
#
# Not quite: with three seeds, t must exceed 4.30 to be significant at 5 %.
#
# </details>
# <details class="quiz wrong"><summary>The change has no effect</summary>
#
# Not quite: three seeds cannot show that. The effect may exist, but the runs vary too
# much to tell.
#
# </details>
# <details class="quiz right"><summary>No clear difference yet: more seeds are
# needed</summary>
#
# Right: more pairs make the standard error smaller, and the bound for t as well.
#
# </details>

# %% [markdown]
# ## Take-aways
#
# - U-Net's decoder receives the encoder's features at every resolution. Without these
#   skip connections, thin objects were nearly lost after a short training.
# - Whether the skips carried features or scores made no clear difference in our short
#   runs; scores that are added, without a decoder, were even better.
# - Without padding, the logits of the paper's network lack 92 pixels on each side, and
#   tiles must move by multiples of $2^d$ for $d$ poolings.
# - Elastic deformation helped with five scenes and harmed with 20 and 80. Test an
#   augmentation on your own data, pair by pair, with enough seeds.
# - Many different networks are called U-Net. Say how yours pads and normalises, which
#   encoder it has, and at which stride its finest skip is.

# %% [markdown]
# ## Further reading
#
# - Ronneberger, Fischer, Brox, [U-Net: Convolutional Networks for Biomedical Image
#   Segmentation](https://arxiv.org/abs/1505.04597), MICCAI 2015 (`ronneberger2015unet`)
# - Long, Shelhamer, Darrell, [Fully Convolutional Networks for Semantic
#   Segmentation](https://arxiv.org/abs/1411.4038), CVPR 2015 (`long2015fcn`)
# - He, Zhang, Ren, Sun,
#   [Delving Deep into Rectifiers](https://arxiv.org/abs/1502.01852), ICCV 2015: where
#   the variance $2/N$ comes from (`he2015delving`)
