# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # 11. Refinement: RefineNet and G-FRNet
#
# Refinement turns a coarse prediction into a fine one: in every step, finer features of
# the encoder locate boundaries more precisely.
#
# After this chapter you can
#
# - compute what chained residual pooling adds to a position (exercise 11.1);
# - find and repair a fault in a residual unit (exercise 11.2);
# - train a network with a loss at every stage (exercise 11.3);
# - predict which position of a coarse map a fine position reads (exercise 11.4);
# - decide what a gate can compute and a sum cannot (exercise 11.5).
#
# You need [chapter 6](06_fcn.ipynb) (stride, skip connections) and [chapter
# 8](08_unet.ipynb) (decoder, comparisons with paired seeds). The
# [glossary](../book/glossary.md) explains technical words. The notebook takes less than
# two minutes on one CPU thread, most of it for two trainings.

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
from itertools import product
from statistics import mean, stdev

import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from segcourse import tables, viz
from segcourse.blocks import VGG, ResNet
from segcourse.data import Cached, Photographs, Toytown, batches, measured, toytown
from segcourse.losses import (
    class_counts,
    cross_entropy,
    dice_loss,
    log_frequency_weights,
)
from segcourse.metrics import confusion_matrix, iou, mean_iou
from segcourse.models import DeepLabV3Plus, GFRNet, PSPNet, RefineNet
from segcourse.pretrained import imagenet_classifier
from segcourse.training import fit, poly, predict, warmup

CLASSES, PALETTE = toytown.CLASSES, toytown.PALETTE
LAMP = CLASSES.index("lamp")
scenes, validation = Cached(Toytown(600)), Cached(Toytown(60, seed=1))
labels = torch.stack([scene.semantic for scene in scenes])
target = torch.stack([scene.semantic for scene in validation])
images = torch.stack([scene.image for scene in validation])

# %% [markdown]
# ## The problem
#
# PSPNet, the network of chapter 10, uses context: features of large regions of the
# image. But its scores have stride 8, and lamps are only a few pixels wide. In the
# course's comparison of networks, its IoU of lamp is far below its mean IoU:

# %%
pspnet = measured("architectures")["networks"]["pspnet"]
print(f"PSPNet: mean IoU {pspnet['miou']:.2f}, IoU of lamp {pspnet['thin_iou']:.2f}")

# %% [markdown]
# The encoder also computes fine features. These features alone are not enough, because
# a small part of a road and a small part of a house may look the same. We measure what
# coarse and fine information achieve alone, without a network.
#
# - The *coarse* scores are the true shares of the classes in every block of 32 x 32
#   pixels, upsampled. They show which classes are near, but not where exactly.
# - The *fine* scores use the colour of a single pixel. Every channel is rounded to 12
#   values, so there are 12³ colours. The score of a class is the likelihood of the
#   colour, given the class, times the frequency of the class.
# - *Both* replaces the frequency of the class by its coarse score. (This is Bayes' rule
#   with another prior at every pixel.)


# %%
def color_index(image):
    """The number of a colour, 12 values per channel: (N, 3, H, W) -> (N, H, W)."""
    red, green, blue = (image * 12).long().clamp(max=11).unbind(1)
    return (red * 12 + green) * 12 + blue


colours = color_index(torch.stack([scene.image for scene in scenes]))
counts = [colours[labels == c].bincount(minlength=12**3) for c in range(8)]
counts = torch.stack(counts) + 0.5  # no colour is impossible
likelihood = counts / counts.sum(dim=1, keepdim=True)  # of a colour, given the class
given_class = likelihood[:, color_index(images)].movedim(0, 1)
frequency = (counts.sum(dim=1) / counts.sum()).view(1, 8, 1, 1)
shares = F.avg_pool2d(F.one_hot(target, 8).movedim(3, 1).float(), 32)
coarse = F.interpolate(shares, target.shape[-2:], mode="bilinear")
scores = {"coarse": coarse, "fine": given_class * frequency}
scores["both"] = given_class * coarse

rows, found = [], {name: each.argmax(dim=1) for name, each in scores.items()}
for name, preds in found.items():
    matrix = confusion_matrix(preds, target, len(CLASSES))
    values = dict(zip(CLASSES, iou(matrix), strict=True))
    row = {"scores": name, "mean IoU": mean_iou(matrix)}
    rows.append(row | {f"IoU of {c}": values[c] for c in ("sky", "car", "lamp")})
tables.show_table(rows, digits=2)

# %% tags=["hide-input"]
example = 3
viz.show_labels(
    {name: preds[example] for name, preds in found.items()}
    | {"ground truth": target[example]},
    CLASSES,
    PALETTE,
    alt="One street four times. Coarse: a few large areas with smooth contours, no car "
    "and no lamp. Fine: sharp contours, but many pixels of other classes, above all in "
    "the road. Both: the large areas of the ground truth with sharp contours, but the "
    "car and the lamp are mostly missed, and a tree is partly grass.",
)

# %% [markdown]
# Each source alone stays below a mean IoU of 0.4; both together reach 0.62. The coarse
# scores say how probable each class is here, and the colour chooses between them. In
# the figure, the car and the lamp are mostly missed. (The coarse scores come from the
# ground truth, so this is an illustration.)

# %% [markdown]
# ## The idea
#
# **Refinement** starts with a coarse map and repeats one step: upsample the map, and
# combine it with the encoder's features of the next finer stride. U-Net's decoder is
# one example; RefineNet and G-FRNet, both of 2017, combine the two maps in other ways.
# A **stage** is the part of an encoder or decoder whose maps have the same stride.
#
# ### RefineNet
#
# PSPNet keeps its deep features at stride 8 by dilated (atrous) convolutions, with 16
# times as many positions as at stride 32. RefineNet, by [Lin, Milan, Shen and
# Reid](https://arxiv.org/abs/1611.06612), uses an ordinary ResNet with stages at the
# strides 4, 8, 16 and 32 instead. Four **RefineNet blocks** lead from stride 32 to
# stride 4, one for each stage. A block has these parts:
#
# ```text
# encoder's features → conv → 2 units → conv ─┐
#                                             + → chained pooling → unit → output
# coarser block's output → conv → upsample ───┘
# ```
#
# 1. A **residual convolution unit** adds the result of two convolutions to its input.
#    Two units adapt the encoder's features.
# 2. The **fusion** applies a convolution to each of its two inputs, upsamples the
#    coarser one, and adds both.
# 3. **Chained residual pooling** repeats a max pooling and a convolution, and adds the
#    result of every repetition.
#
# The figure shows the blocks and stages, with channels and strides. Every arc carries
# the encoder's features to the block of the same stride.

# %% tags=["hide-input"]
blue, green, orange = 0, 2, 4
viz.show_architecture(
    [
        {"name": "image", "stride": 1, "channels": 3, "color": 6},
        {"name": "ResNet", "stride": 4, "channels": 256, "color": blue},
        {"name": "ResNet", "stride": 8, "channels": 512, "color": blue},
        {"name": "ResNet", "stride": 16, "channels": 1024, "color": blue},
        {"name": "ResNet", "stride": 32, "channels": 2048, "color": blue},
        {"name": "block", "stride": 32, "channels": 512, "color": green},
        {"name": "block", "stride": 16, "channels": 256, "color": green},
        {"name": "block", "stride": 8, "channels": 256, "color": green},
        {"name": "block", "stride": 4, "channels": 256, "color": green},
        {"name": "scores", "stride": 4, "channels": 21, "color": orange},
    ],
    links=[(3, 6, ""), (2, 7, ""), (1, 8, "")],
    alt="RefineNet as a row of boxes. Four stages of a ResNet reduce the image to "
    "stride 32; four blocks lead back to stride 4, and the scores have stride 4. Arcs "
    "lead from the stages of stride 16, 8 and 4 to the blocks of the same stride.",
)

# %% [markdown]
# An example of chained residual pooling, to check by hand: the row below has one large
# value, and the windows have three positions. We leave out the convolution after each
# pooling, and the ReLU before the first one. The first pooling replaces each value by
# the maximum of its window. The second one pools *the result of the first*. All three
# rows are added.

# %%
single = torch.tensor([[0.0, 0, 0, 0, 3, 0, 0, 0, 0]])
once = F.max_pool1d(single, kernel_size=3, stride=1, padding=1)
twice = F.max_pool1d(once, kernel_size=3, stride=1, padding=1)
rows = {"row": single, "once": once, "twice": twice, "sum": single + once + twice}
rows["sum if both pool the row"] = single + once + once
for name, values in rows.items():
    print(f"{name:25}", values.int().squeeze().tolist())

# %% [markdown]
# The second pooling reaches two positions to either side, because it pools the result
# of the first one. The last line shows a mistake that was found in a [public
# implementation](https://github.com/luyanger1799/Amazing-Semantic-Segmentation/issues/16):
# if both poolings read the row itself, both reach one position only.
#
# ### G-FRNet
#
# A skip connection passes fine features on unchanged, although some are **ambiguous**:
# the same feature occurs in several classes. The Gated Feedback Refinement Network, by
# [Islam, Rochan, Bruce and Wang](https://arxiv.org/abs/1806.11266), multiplies the fine
# features by those of the next deeper stage. (The link leads to the longer version,
# with Naha, of 2018.) A **gate unit** computes this product and normalises it; we call
# its result the **gated features**. For example, let the fine features at four
# positions be 2, −1, 3 and 0.5, and the deeper ones 1, 1, 0 and −1. The products are 2,
# −1, 0 and −0.5: the first two features pass, the third is suppressed, and the last one
# changes its sign.
#
# As a formula, we number the stages of the decoder $s = 1, 2, \dots$ from coarse to
# fine, and $K$ is the number of classes. Stage 1 computes logits $z_1$ and, by a
# convolution, features $f_1$ from the end of the encoder. Every finer stage computes
# features $f_s$ with $K$ channels from the encoder's features of its stride, by a
# convolution and a batch normalisation. Its gated features $m_s$ and its logits $z_s$
# are
#
# $$m_s = \mathrm{norm}\big(f_s \odot \mathrm{up}(f_{s-1})\big), \qquad
# z_s = \mathrm{conv}\big([\,m_s \,;\, \mathrm{up}(z_{s-1})\,]\big).$$
#
# Here $\odot$ multiplies element by element, $\mathrm{up}$ upsamples to the size of
# stage $s$, $\mathrm{norm}$ is batch normalisation, $[\cdot\,;\cdot]$ concatenates
# channels, and $\mathrm{conv}$ is a convolution.
#
# The second idea is **stage-wise supervision**, usually called deep supervision: every
# stage has a loss $\mathcal L_s$ of its own, and the loss of the network is the sum
# $\mathcal L = \sum_s \mathcal L_s$. So each $z_s$ is trained as a prediction.
#
# <details class="deeper"><summary>Going deeper: the product of the first table is not
# a gate unit</summary>
#
# The first table multiplied *probabilities*. The logarithm of a product is the sum of
# the logarithms, so a network that adds log-probabilities computes this product without
# a gate unit. A gate unit multiplies *features*, which have any sign. Exercise 11.5
# shows what a product can express, and what it cannot.
#
# </details>

# %% [markdown]
# ## Build it
#
# ### The parts of RefineNet
#
# Every convolution of the decoder has a 3 x 3 kernel. As in the [released
# code](https://github.com/guosheng/refinenet), the weights start from a Gaussian with
# standard deviation 0.01.


# %%
def conv(in_channels, out_channels, bias=False):
    layer = nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, bias=bias)
    nn.init.normal_(layer.weight, std=0.01)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


class ResidualUnit(nn.Module):
    """Add two convolutions to the input: (N, C, H, W) -> (N, C, H, W)."""

    def __init__(self, channels):
        super().__init__()
        self.layers = nn.Sequential(
            nn.ReLU(),  # not in place: the input is still to be added
            conv(channels, channels, bias=True),
            nn.ReLU(),
            conv(channels, channels),
        )

    def forward(self, x):
        return x + self.layers(x)


# %%
class ChainedPooling(nn.Module):
    """Add poolings of poolings: (N, C, H, W) -> (N, C, H, W)."""

    def __init__(self, channels, steps=2):
        super().__init__()
        self.steps = nn.ModuleList(
            nn.Sequential(
                nn.MaxPool2d(kernel_size=5, stride=1, padding=2),
                conv(channels, channels),
            )
            for _ in range(steps)
        )

    def forward(self, x):
        total = x = F.relu(x)
        for step in self.steps:
            x = step(x)  # reads what the step before has made
            total = total + x
        return total


# %% [markdown]
# The deepest block has no coarser input and therefore no fusion. Unlike the released
# decoder, ours has batch normalisation after a block's first convolution and after both
# convolutions of the fusion. This keeps the scale of the features although the weights
# start small.


# %%
def resize(x, size, align_corners=False):
    return F.interpolate(x, size, mode="bilinear", align_corners=align_corners)


def conv_bn(in_channels, out_channels):
    return [conv(in_channels, out_channels), nn.BatchNorm2d(out_channels)]


class RefineBlock(nn.Module):
    """(N, in_channels, H, W), perhaps (N, coarse, h, w) -> (N, channels, H, W)."""

    def __init__(self, in_channels, channels, coarse_channels=0):
        super().__init__()
        units = [ResidualUnit(channels), ResidualUnit(channels)]
        self.adapt = nn.Sequential(*conv_bn(in_channels, channels), *units)
        if coarse_channels:
            self.fuse_fine = nn.Sequential(*conv_bn(channels, channels))
            self.fuse_coarse = nn.Sequential(*conv_bn(coarse_channels, channels))
        self.pooling = ChainedPooling(channels)
        self.output = ResidualUnit(channels)

    def forward(self, x, coarse=None):
        x = self.adapt(x)
        if coarse is not None:
            x = self.fuse_fine(x) + resize(self.fuse_coarse(coarse), x.shape[-2:])
        return self.output(self.pooling(x))


refined = RefineBlock(64, 16, 32)(torch.rand(1, 64, 24, 32), torch.rand(1, 32, 12, 16))
print("output of a block:", tuple(refined.shape))

# %% [markdown]
# The package's `ResNet` is the encoder. Our images are small, so we double their size
# first. Stride 4 then means two pixels of the original image.


# %%
class MyRefineNet(nn.Module):
    """(N, 3, H, W) -> logits (N, num_classes, H, W)."""

    def __init__(self, num_classes, width=16, channels=16):
        super().__init__()
        self.encoder = ResNet(18, width=width)
        _, *stages = self.encoder.channels
        own = [2 * channels, channels, channels, channels]
        parts = zip(stages[::-1], own, [0, *own[:-1]], strict=True)  # coarse to fine
        self.blocks = nn.ModuleList(RefineBlock(*part) for part in parts)
        self.head = nn.Sequential(
            ResidualUnit(channels),
            ResidualUnit(channels),
            conv(channels, num_classes, bias=True),
        )

    def forward(self, image):
        height, width = image.shape[-2:]
        _, *stages = self.encoder(resize(image, (2 * height, 2 * width)))
        x = None
        for block, features in zip(self.blocks, stages[::-1], strict=True):
            x = block(features, x)
        return resize(self.head(x), (height, width))


# %% [markdown]
# ### The parts of G-FRNet
#
# We follow the authors' [released code](https://github.com/mrochan/gfrnet): its gate
# units have no sigmoid and no ReLU, so the gated features have both signs. A stage
# returns its features $f_s$ together with its logits, because the gate unit of the next
# stage multiplies by $f_s$, and not by the gated features.


# %%
def conv_bn_relu(in_channels, out_channels):
    layer = nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1)
    return [layer, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True)]


class Refinement(nn.Module):
    """(N, C, H, W), (N, K, h, w), (N, K, h, w) -> two tensors (N, K, H, W)."""

    def __init__(self, in_channels, num_classes):
        super().__init__()
        self.feature = nn.Sequential(
            nn.Conv2d(in_channels, num_classes, kernel_size=3, padding=1),
            nn.BatchNorm2d(num_classes),
        )
        self.norm = nn.BatchNorm2d(num_classes)
        self.predict = nn.Conv2d(2 * num_classes, num_classes, 3, padding=1)

    def forward(self, x, deeper, coarse):
        feature = self.feature(x)
        size = feature.shape[-2:]
        gated = self.norm(feature * resize(deeper, size, align_corners=True))
        coarse = resize(coarse, size, align_corners=True)
        return feature, self.predict(torch.cat([gated, coarse], dim=1))


# %% [markdown]
# The released encoder is VGG-16 with batch normalisation. Ours has the same five
# stages, but ten convolutions instead of 13 and fewer channels. Three more convolutions
# after the encoder compute the coarsest logits $z_1$, and another one the features
# $f_1$.


# %%
class MyGFRNet(nn.Module):  # (N, 3, H, W) -> logits (N, num_classes, H, W)
    def __init__(self, num_classes, width=12):
        super().__init__()
        vgg = VGG(width=width, depths=(2,) * 5, batch_norm=True, ceil_mode=True)
        self.encoder, wide, deepest = vgg.stages, 16 * width, vgg.channels[-1]
        context = conv_bn_relu(deepest, wide) + conv_bn_relu(wide, wide)
        self.context = nn.Sequential(*context)
        self.predict = nn.Conv2d(wide, num_classes, 3, padding=1)
        self.deepest = nn.Conv2d(deepest, num_classes, 3, padding=1)
        stages = [Refinement(c, num_classes) for c in vgg.channels[::-1]]
        self.stages = nn.ModuleList(stages)

    def all_logits(self, image):
        features, x = [], image
        for stage in self.encoder:
            features.append(stage(x))
            x = F.max_pool2d(features[-1], 2, ceil_mode=True)
        deeper, logits = self.deepest(x), [self.predict(self.context(x))]
        for stage, x in zip(self.stages, features[::-1], strict=True):
            deeper, refined = stage(x, deeper, logits[-1])
            logits.append(refined)
        return logits

    def forward(self, image):
        return self.all_logits(image)[-1]


shapes = [tuple(z.shape[1:]) for z in MyGFRNet(8).all_logits(torch.rand(2, 3, 96, 128))]
print(len(shapes), "predictions:", *shapes)

# %% [markdown]
# The package has both networks too. Their weights have the same shapes in the same
# order, so we can copy them and compare the logits. (If their `spread`, the standard
# deviation, were 0, equal logits would prove nothing.)

# %%
small = dict(layers=18, width=16, channels=16, batch_norm=True)
pairs = {
    "RefineNet": (MyRefineNet(8), RefineNet(8, **small, dropout=0.0, image_scale=2.0)),
    "G-FRNet": (MyGFRNet(8), GFRNet(8, width=12, depths=(2,) * 5, dropout=0.0)),
}
for name, (mine, packaged) in pairs.items():
    values = packaged.state_dict().values()
    mine.load_state_dict(dict(zip(mine.state_dict(), values, strict=True)))
    with torch.no_grad():
        a, b = mine.eval()(images[:2]), packaged.eval()(images[:2])
    same = torch.allclose(a, b, rtol=1e-3, atol=1e-4 * a.std().item())
    print(f"{name}: spread above 0: {a.std().item() > 0}, same logits: {same}")

# %% [markdown]
# ## Is it the paper's network?
#
# The package also builds the full-size networks. We compare their numbers of parameters
# with those that we counted from the authors' layer definitions. The released code of
# RefineNet has four poolings in each chain and three residual units at the end of each
# block. A smaller layout, with two poolings, is the package's default.

# %%
released = {"RefineNet, released": 118052437, "G-FRNet, released": 29194090}
with torch.device("meta"):  # shapes only, no memory
    full = {
        "RefineNet, released": RefineNet(21, layout="released"),
        "RefineNet, smaller layout": RefineNet(21),
        "G-FRNet, released": GFRNet(11),
    }
rows = []
for name, network in full.items():
    number = sum(p.numel() for p in network.parameters())
    agrees = number == released[name] if name in released else "no reference"
    rows.append({"network": name, "parameters": number, "as in release": str(agrees)})
tables.show_table(rows)

# %% [markdown]
# The two counts agree, for 21 classes on ResNet-101 and for 11 classes on VGG-16. Equal
# counts do not prove that networks are equal ([chapter 8](08_unet.ipynb)), and we did
# not load the authors' weights. Our small networks differ from the released ones in
# more than their size.
#
# <details class="deeper"><summary>Going deeper: the released networks and
# ours</summary>
#
# | | released | ours |
# |---|---|---|
# | RefineNet: encoder | ResNet, pretrained on ImageNet | ResNet-18 with few channels |
# | RefineNet: batch normalisation of the encoder | fixed | learned |
# | RefineNet: batch normalisation of the decoder | none | see "Build it" |
# | RefineNet: upsampling | bicubic | bilinear |
# | RefineNet: chain | four poolings, convolution first | two poolings, pooling first |
# | RefineNet: residual units | three per output | one per output, two at the end |
# | RefineNet: dropout | at the two deepest stages and before the scores | none |
# | RefineNet: image | enlarged by 1.2 | enlarged by 2 |
# | RefineNet: loss | on reduced labels | on upsampled logits |
# | RefineNet: class weights | none | log frequency |
# | G-FRNet: encoder | VGG-16, pretrained | ten convolutions, not pretrained |
# | G-FRNet: dropout | at five places, from the third pooling on | none |
# | G-FRNet: losses | on upsampled logits | on reduced labels |
# | G-FRNet: class weights | median frequency | log frequency |
# | both: other losses | none | Dice loss |
# | both: optimiser | SGD | AdamW |
#
# </details>

# %% [markdown]
# ## Train it
#
# The loss of a stage is cross-entropy with log-frequency class weights, plus the Dice
# loss ([chapter 5](05_losses.ipynb)). `F.interpolate` with `nearest-exact` reduces the
# labels to the size of the logits, and creates no value between two class numbers. The
# learning rate rises during the first half of the steps and falls afterwards ([chapter
# 6](06_fcn.ipynb)). The figure below shows the loss of RefineNet and the mean of
# G-FRNet's six losses.


# %%
weight = log_frequency_weights(class_counts(labels, len(CLASSES)))


def stage_loss(logits, target):
    size = logits.shape[-2:]
    small = F.interpolate(target[:, None].float(), size, mode="nearest-exact")
    small = small[:, 0].long()
    return cross_entropy(logits, small, weight=weight) + dice_loss(logits, small)


def loss(model, batch):
    supervised = hasattr(model, "all_logits")
    outputs = model.all_logits(batch.image) if supervised else [model(batch.image)]
    return sum(stage_loss(logits, batch.semantic) for logits in outputs)


def train(network, steps):
    model = network.to(memory_format=torch.channels_last)  # faster on a CPU
    return model, fit(
        model,
        loss,
        batches(scenes, batch_size=4),
        steps=steps,
        learning_rate=2e-2,
        schedule=warmup(poly(0.9), share=0.5),
    )


# %%
seed_everything(0)
gfrnet, gfrnet_losses = train(MyGFRNet(len(CLASSES)), steps=350)
seed_everything(0)
refinenet, refinenet_losses = train(MyRefineNet(len(CLASSES)), steps=250)

viz.show_curves(
    {
        "G-FRNet, mean of six losses": [value / 6 for value in gfrnet_losses],
        "RefineNet, one loss": refinenet_losses,
    },
    xlabel="step",
    ylabel="loss (mean of 20 steps)",
    smooth=20,
    alt="Two falling curves: the mean of the six losses of G-FRNet, over 350 steps, "
    "and the loss of RefineNet, over 250 steps. Both still fall at the end.",
)

# %% [markdown]
# Every stage of G-FRNet has logits of its own. We upsample them (`align_corners=True`,
# as in the network) and score them. The figure after the table shows the predictions
# for one scene.


# %%
@torch.no_grad()
def all_predictions(model, images):
    """Predictions of all stages at full size, coarse to fine: a list of (N, H, W)."""
    outputs = zip(*map(model.eval().all_logits, images.split(20)), strict=True)
    return [
        torch.cat([resize(z, images.shape[-2:], True).argmax(1) for z in logits])
        for logits in outputs
    ]


def row_of(preds):
    """Mean IoU and two classes."""
    matrix = confusion_matrix(preds, target, len(CLASSES))
    values = iou(matrix)
    return {
        "mean IoU": mean_iou(matrix),
        "IoU of road": values[CLASSES.index("road")],
        "IoU of lamp": values[LAMP],
    }


# %% tags=["tol=0.06"]
predictions = all_predictions(gfrnet, images)
rows = [
    {"network": "G-FRNet", "stride": str(2**s), **row_of(preds)}
    for s, preds in zip(range(5, -1, -1), predictions, strict=True)
]
refined = predict(refinenet, images, batch_size=20)
rows.append({"network": "RefineNet", "stride": "2", **row_of(refined)})
tables.show_table(rows, digits=2)

# %% tags=["hide-input"]
chosen = next(k for k in range(60) if (target[k] == LAMP).sum() > 200)
panels = {
    f"G-FRNet, stride {2**s}": preds[chosen]
    for s, preds in zip(range(5, -1, -1), predictions, strict=True)
}
panels |= {"RefineNet": refined[chosen], "ground truth": target[chosen]}
viz.show_labels(
    panels,
    CLASSES,
    PALETTE,
    columns=4,
    alt="One scene eight times: the predictions of G-FRNet from stride 32 to stride 1, "
    "that of RefineNet, and the ground truth. At stride 32 there are a few rounded "
    "areas; from stage to stage the contours become sharper, and lamps appear.",
)

# %% [markdown]
# The mean IoU of G-FRNet rises at every stage. After stride 8 the road gains 0.06 IoU,
# and the lamps gain about 0.4. RefineNet's scores have stride 4 in the doubled image,
# which is 2 in the original one. Encoder, training steps and number of losses differ
# between the two networks, so their rows cannot be compared. A fair comparison follows.
#
# ### What a gate unit computes
#
# The cell prints, for every stride, the share of negative deeper features in one image.
# The figure after it shows one channel at stride 4: the fine features, the deeper
# features that they are multiplied by, and the gated features. Red is positive and blue
# is negative, from −3 to 3. We choose the channel whose gated features vary most.

# %% tags=["tol=0.1"]
seen = {}


def note(module, inputs, output):
    """Keep the fine features, the deeper ones, and the gated ones."""
    x, deeper, _ = inputs
    fine = module.feature(x)
    deeper = resize(deeper, fine.shape[-2:], align_corners=True)
    seen[module] = fine, deeper, module.norm(fine * deeper)


hooks = [stage.register_forward_hook(note) for stage in gfrnet.stages]
with torch.no_grad():
    gfrnet(images[chosen : chosen + 1])
for hook in hooks:
    hook.remove()
for s, (_, deeper, _) in zip(range(4, -1, -1), seen.values(), strict=True):
    print(f"stride {2**s:2}: deeper feature below 0: {(deeper < 0).float().mean():.2f}")

# %% tags=["hide-input"]
parts = seen[gfrnet.stages[2]]
channel = int(parts[2][0].flatten(1).std(dim=1).argmax())
names = ("fine features", "deeper features", "gated features")
viz.show_images(
    {"image": images[chosen]}
    | {n: part[0, channel] for n, part in zip(names, parts, strict=True)},
    cmap="RdBu_r",
    limits=(-3, 3),
    columns=4,
    alt="A street scene and three maps of one channel, red for positive and blue for "
    "negative values: the fine features follow contours; the deeper features are "
    "smoother; the gated features have both signs, and follow contours too.",
)

# %% [markdown]
# The deeper features have both signs, so this gate unit can change the sign of a fine
# feature. But the shares are no evidence that the network learned to reverse features:
# from stride 8 on, the deeper features are batch-normalised. This alone makes about
# half of them negative.

# %% [markdown]
# ## On a real image
#
# Does refinement also work on a photograph, with a real encoder? As in chapter 6, the
# encoder is EfficientNet-Lite0, trained on ImageNet, and its weights stay fixed. We
# train only G-FRNet's decoder, on the left half of scikit-image's `coins`, and test it
# on the right half. (The line between the halves cuts three coins.)


# %%
class Decoder(nn.Module):
    """G-FRNet's decoder on feature maps that are given, finest first."""

    def __init__(self, channels, num_classes):
        super().__init__()
        *finer, deepest = channels
        self.predict = nn.Conv2d(deepest, num_classes, kernel_size=1)
        self.deepest = nn.Conv2d(deepest, num_classes, kernel_size=1)
        self.stages = nn.ModuleList(Refinement(c, num_classes) for c in finer[::-1])

    def forward(self, maps):
        *finer, deepest = maps
        deeper, logits = self.deepest(deepest), [self.predict(deepest)]
        for stage, x in zip(self.stages, finer[::-1], strict=True):
            deeper, refined = stage(x, deeper, logits[-1])
            logits.append(refined)
        return logits


# %%
coins = Photographs(("coins",))[0]
photo, coin = coins.image[:, :288], (coins.semantic[:288] > 0).long()  # 288 = 9 * 32
halves = {"left": (..., slice(0, 192)), "right": (..., slice(192, 384))}
try:
    classifier, _ = imagenet_classifier()
except ModuleNotFoundError as error:
    classifier = None
    print(error)
else:
    with torch.no_grad():
        maps = {
            half: classifier.forward_intermediates(
                (photo[where][None] - 0.5) / 0.5, intermediates_only=True
            )
            for half, where in halves.items()
        }
    print([tuple(x.shape[1:]) for x in maps["left"]])


# %%
def coin_loss(decoder, batch):
    """The sum of the cross-entropies of all stages."""
    maps, mask = batch
    total = 0.0
    for logits in decoder(maps):
        size = logits.shape[-2:]
        small = F.interpolate(mask[None, None].float(), size, mode="nearest-exact")
        total = total + cross_entropy(logits, small[:, 0].long())
    return total


if classifier is not None:
    seed_everything(0)
    decoder = Decoder([x.shape[1] for x in maps["left"]], num_classes=2)
    batch = (maps["left"], coin[halves["left"]])
    fit(decoder, coin_loss, [batch], steps=100, learning_rate=1e-2)
    decoder.eval()

# %% tags=["tol=0.05"]
coin_maps = {"photograph": photo[halves["right"]]}
if classifier is not None:
    rows = [{"stride": str(2**s)} for s in range(5, 0, -1)]
    for half, where in halves.items():
        with torch.no_grad():
            outputs = decoder(maps[half])
        for row, logits in zip(rows, outputs, strict=True):
            found = resize(logits, (288, 192)).argmax(dim=1)
            matrix = confusion_matrix(found, coin[where][None], 2)
            row[f"IoU of coin, {half} half"] = iou(matrix)[1]
            coin_maps[f"stride {row['stride']}"] = found[0].bool()
    tables.show_table(rows, digits=2)

# %% tags=["hide-input"]
if classifier is not None:
    viz.show_images(
        coin_maps | {"ground truth": coin[halves["right"]].bool()},
        columns=4,
        alt="The right half of a photograph of coins, the coins found at strides 32, "
        "16, 8, 4 and 2, and the ground truth. At stride 32 there are a few merged "
        "blobs; at stride 16 one blob for most coins; towards stride 2 they become "
        "discs.",
    )

# %% [markdown]
# On both halves, every stage is better than the one before, and most of the gain comes
# from the first step, from stride 32 to 16.

# %% [markdown]
# ## What did the idea buy?
#
# ### Refinement
#
# Do networks that refine find lamps better than PSPNet? The next table compares them.
# Its networks were trained for 760 steps on 1600 scenes (`python -m
# benchmarks.architectures`).

# %%
rows, networks = [], measured("architectures")["networks"]
names = {"pspnet": "PSPNet", "refinenet": "RefineNet", "gfrnet": "G-FRNet"}
for key, name in (names | {"unet": "U-Net"}).items():
    runs = networks[key]["runs"]
    row = {"network": name, "seeds": len(runs)}
    for title, of in (("mean IoU", "miou"), ("IoU of lamp", "thin_iou")):
        values = [run[of] for run in runs]
        row[title] = f"{mean(values):.2f} ± {stdev(values):.2f}"
    rows.append(row)
tables.show_table(rows)

# %% [markdown]
# Both networks of this chapter are clearly better than PSPNet, above all for lamps, and
# U-Net is the best of the four. Their encoders differ too, so the table does not
# isolate the refinement.
#
# ### Gate units
#
# Gate units are meant for ambiguous fine features. So they should help most where this
# ambiguity is strong. For each of four kinds of scenes, we train G-FRNet with its gate
# units, and with the same layers but without the product: $m_s = \mathrm{norm}(f_s)$.
# The kinds are *ordinary*; *strong texture* (doubled); *noise* (standard deviation 0.15
# instead of 0.015); and *dim light* (with noise 0.03). The last rows test networks
# trained on ordinary scenes with other kinds: *some noise* is 0.06, and *all changes*
# is strong texture, noise 0.1 and dim light at once.
#
# Training takes 200 steps on 400 scenes, with three seeds (`python -m
# benchmarks.refinement`); the first row is an older measurement with 380 steps and 1600
# scenes (`python -m benchmarks.ablations`). Networks with the same seed form a pair.
# The column *difference* is the mean, over the pairs, of the mean IoU with gate units
# minus that without, and *t* is this mean divided by its standard error ([chapter
# 8](08_unet.ipynb)). For three pairs, a difference is significant at the 5 % level if
# *t* lies beyond ± 4.30.

# %%
results = measured("refinement")
KINDS = ("ordinary", "strong texture", "noise", "low contrast")
TITLES = {"low contrast": "dim light", "all three": "all changes"}


def runs_of(part, arm, kind):
    """The mean IoUs of an arm on scenes of a kind, seed by seed."""
    return {seed: run[kind]["miou"] for seed, run in results[part][arm].items()}


def compare(first, second):
    """Means of two arms, the mean of their paired differences, and t."""
    seeds = sorted(first.keys() & second.keys())
    differences = [first[seed] - second[seed] for seed in seeds]
    t = mean(differences) / (stdev(differences) / len(differences) ** 0.5)
    return [
        mean(first[seed] for seed in seeds),
        mean(second[seed] for seed in seeds),
        f"{mean(differences):+.3f}",
        f"{t:+.1f}",
    ]


# %%
ARMS = ("gated", "not gated")


def gate_row(trained, tested, gated, ungated):
    """One row of the table: two arms with the same seeds."""
    columns = ("trained on", "tested on", "mIoU, gated", "mIoU, not gated")
    columns += ("difference", "t")
    names = [TITLES.get(kind, kind) for kind in (trained, tested)]
    return dict(zip(columns, [*names, *compare(gated, ungated)], strict=True))


def both_arms(trained, tested):
    return [runs_of("gates", f"{trained}, {arm}", tested) for arm in ARMS]


runs = measured("ablations")["ablations"]["gates"]["arms"]
longer = [dict(enumerate(run["miou"] for run in runs[arm]["runs"])) for arm in ARMS]
rows = [gate_row("ordinary, longer", "ordinary", *longer)]
rows += [gate_row(k, k, *both_arms(k, k)) for k in KINDS]
SHIFTS = ("strong texture", "some noise", "noise", "low contrast", "all three")
rows += [gate_row("ordinary", k, *both_arms("ordinary", k)) for k in SHIFTS]
print("pairs:", *{len(arm) for arm in both_arms("noise", "noise")})
tables.show_table(rows, digits=3)

# %% [markdown]
# The gate units bring no gain. With strong texture, in training and test, the networks
# with gate units are slightly worse: *t* lies beyond −4.30. No other difference is
# clear. The table has ten rows, so one of them may be significant by chance. The last
# five rows test the same three pairs. Their differences vary too much to show whether
# gate units protect against ambiguous features. Our measurements do not confirm the
# argument for gate units, and do not exclude it for other data.
#
# When does a product help? It can express that the context changes the *meaning* of a
# fine feature, which a sum alone cannot (exercise 11.5). We construct this case. The
# fine feature f is −1 or 1 at every pixel, at random; the context g is −1 for half of
# the images and 1 for the others. We train one stage of G-FRNet on each of two tasks,
# in three forms. *Not gated* has 1 instead of the deeper features. *Two convolutions*
# is the form without a gate, followed by a ReLU and a second convolution, as in U-Net.
# Every form receives g, because the coarse logits are computed from g.


# %% tags=["tol=0.1"]
def accuracy(task, arm, seed):
    """Train one stage on 60 batches of a task, and test it on another one."""
    seed_everything(seed)
    f = 2.0 * torch.randint(2, (61, 8, 1, 16, 16)) - 1
    g = torch.tensor([-1.0, 1.0]).repeat(61, 4)[:, :, None, None, None]
    *data, test = zip(f, g, task(f, g)[:, :, 0].long(), strict=True)
    parts = [nn.Conv2d(1, 2, 1), nn.Conv2d(1, 2, 1), Refinement(1, 2)]
    model = nn.ModuleList(parts)
    if arm == "two convolutions":
        hidden = nn.Conv2d(4, 16, 3, padding=1)
        model[2].predict = nn.Sequential(hidden, nn.ReLU(), nn.Conv2d(16, 2, 1))

    def logits(f, g):
        deeper = model[0](g) if arm == "gated" else torch.ones(len(g), 2, 1, 1)
        return model[2](f, deeper, model[1](g))[1]

    def loss(model, batch):
        return F.cross_entropy(logits(*batch[:2]), batch[2])

    fit(model, loss, data, steps=60, learning_rate=3e-2, progress=False)
    model.eval()
    return (logits(*test[:2]).argmax(dim=1) == test[2]).float().mean().item()


# %% tags=["tol=0.1"]
rows = []
tasks = {
    "f and g are equal": lambda f, g: f.expand_as(f * g) == g,
    "f is 1": lambda f, g: (f == 1) | (g > 1),
}
for name, task in tasks.items():
    row = {"class 1 means": name}
    for arm in ("gated", "not gated", "two convolutions"):
        row[f"accuracy, {arm}"] = mean(accuracy(task, arm, seed) for seed in range(3))
    rows.append(row)
tables.show_table(rows, digits=2)

# %% [markdown]
# In the first task, the form that is not gated is right for half of the pixels, which
# is chance. The gated form solves the task, but two convolutions solve it as well. So
# in this task, a product is needed only if the rest of the decoder is linear. The
# second task needs f alone. The gated form solves it too, because biases and
# normalisation add numbers to both factors: (f + a)(g + b) = fg + bf + ag + ab contains
# f.
#
# ### Stage-wise supervision
#
# The benchmark `refinement` trained G-FRNet with all six losses, and with the last one
# only. The table compares the *last* predictions; the lines after it are the mean IoUs
# of the coarsest ones.

# %%
every = ("gates", "ordinary, gated"), ("supervision", "last stage")
values = compare(*(runs_of(part, arm, "ordinary") for part, arm in every))
names = ("mIoU, six losses", "mIoU, last loss only", "difference", "t")
tables.show_table([dict(zip(names, values, strict=True))], digits=3)
for name, (part, arm) in zip(("six losses", "last loss only"), every, strict=True):
    coarsest = mean(run["stages"][0]["miou"] for run in results[part][arm].values())
    print(f"{name}: mean IoU at stride 32 is {coarsest:.2f}")

# %% [markdown]
# With the last loss only, the last prediction is clearly better (*t* beyond −4.30). So
# stage-wise supervision lowered the accuracy in these short trainings. In return, the
# coarsest logits are a prediction (mean IoU 0.37); without their loss, they are not
# (0.05). We did not isolate the reason. One possible reason is that, with six losses,
# only a part of the encoder's gradient comes from the last loss. To test this, one
# would give the coarse losses smaller weights.

# %% [markdown]
# ## Where it breaks: the decoder needs more operations than the encoder
#
# RefineNet needs no dilated convolutions, but its decoder has many convolutions at high
# resolution. We count the multiply-add operations (MACs) of the convolutions in the
# full-size networks (RefineNet in the smaller layout), for an image of 512 x 512
# pixels.


# %%
def macs(function, *inputs):
    """Multiply-add operations in billions."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        function(*inputs)
    return counter.get_total_flops() / 2e9


rows = []
with torch.device("meta"):
    image = torch.empty(1, 3, 512, 512)
    for name, network, encode in (
        ("PSPNet", PSPNet(21), lambda net: net.backbone),
        ("RefineNet", RefineNet(21), lambda net: net.backbone),
        ("G-FRNet", GFRNet(21), lambda net: net.encode),
        ("DeepLab v3+", DeepLabV3Plus(21), lambda net: net.backbone),
    ):
        network.eval()
        whole, part = macs(network, image), macs(encode(network), image)
        row = {"network": name, "billion MACs": whole, "encoder": part}
        rows.append(row | {"after the encoder": whole - part})
tables.show_table(rows, digits=1)

# %% [markdown]
# RefineNet needs fewer operations than PSPNet, but more than four fifths are in its
# decoder. G-FRNet's decoder is small, because its stages work with one channel per
# class. In DeepLab v3+ (chapter 12), a context module and one refinement step follow an
# encoder that ends at stride 16.
#
# ## In practice
#
# Neither torchvision nor `segmentation_models_pytorch` (SMP) contains RefineNet or
# G-FRNet, but their ideas are in use. The table shows decoders of SMP that refine the
# features of a ResNet-50 step by step.

# %% tags=["nbval-ignore-output"]
import monai
import segmentation_models_pytorch as smp
from monai.networks import nets

print("SMP", smp.__version__, "MONAI", monai.__version__)

# %%
rows = []
for name, step in (
    ("Unet", "concatenate, two convolutions"),
    ("FPN", "add"),
    ("Linknet", "add"),
    ("UPerNet", "add, after one pyramid pooling"),
):
    with torch.device("meta"):
        network = getattr(smp, name)("resnet50", encoder_weights=None, classes=21)
        number = sum(p.numel() for p in network.decoder.parameters())
    rows.append({"network": name, "step": step, "parameters of the decoder": number})
with torch.device("meta"):
    blocks = RefineNet(21, layers=50).blocks
number = sum(p.numel() for p in blocks.parameters())
row = {"network": "RefineNet, not in SMP", "step": "RefineNet block"}
rows.append(row | {"parameters of the decoder": number})
tables.show_table(rows)

# %% [markdown]
# MONAI has gates of another kind. Its `AttentionUnet` multiplies the features of every
# skip connection by a number between 0 and 1, which a sigmoid (`psi`) computes from the
# fine and the deeper features: one number per position, for all channels. This network
# is not trained.

# %%
unet = nets.AttentionUnet(2, 3, 8, channels=(12, 24, 48, 96), strides=(2, 2, 2)).eval()
found = []
for module in unet.modules():
    if type(module).__name__ == "AttentionBlock":
        module.psi.register_forward_hook(lambda m, inputs, gate: found.append(gate))
with torch.no_grad():
    unet(images[:1])
for gate in found:
    print(tuple(gate.shape), f"from {gate.min():.2f} to {gate.max():.2f}")

# %% [markdown]
# Such a gate can only weaken features; the gate unit of G-FRNet can also strengthen
# them or change their sign.
#
# Stage-wise supervision is called **deep supervision** in MONAI, whose `DynUNet` offers
# it. A pitfall: in training mode, the output has another shape. The last prediction and
# `deep_supr_num` coarser ones are upsampled and stacked along a new axis.

# %%
dynamic = nets.DynUNet(
    2,
    3,
    8,
    kernel_size=[3] * 4,
    strides=[1, 2, 2, 2],
    upsample_kernel_size=[2] * 3,
    filters=[12, 24, 48, 96],
    deep_supervision=True,
    deep_supr_num=2,
)
outputs = dynamic.train()(images[:2])
print("training:  ", tuple(outputs.shape), "= batch, stage, class, height, width")
print("evaluation:", tuple(dynamic.eval()(images[:2]).shape))
stacked_loss = sum(F.cross_entropy(z, target[:2]) for z in outputs.unbind(dim=1))
print(f"loss: {stacked_loss:.2f}, a sum of {outputs.shape[1]}")

# %% [markdown]
# | use this | when |
# |---|---|
# | SMP `FPN`, pretrained | you want refinement with a small decoder |
# | RefineNet | you reproduce its results |
# | MONAI `DynUNet` | your data are medical images or volumes |
# | deep supervision, gate units | paired runs on your data show a gain |
#
# ## Common mistakes
#
# We make four mistakes in the trained networks, without training them again. None
# raises an error.
#
# **1. The gated features are passed on.** Wrong: `return gated, self.predict(...)`.
# Right: `return feature, self.predict(...)`.
#
# **2. `align_corners` differs from training.** Wrong: `align_corners=False`, PyTorch's
# default, in a network that was trained with `True`. Right: the value that the weights
# were trained with.
#
# **3. A ReLU in place.** Wrong: `nn.ReLU(inplace=True)` at the beginning of a residual
# unit, because it changes the input that is still to be added. Right: `nn.ReLU()`.
#
# **4. Poolings in parallel.** Wrong: every step pools the input of the chain, with the
# same window. Right: `x = step(x)`, so that each step pools the result before.


# %%
class Mistaken(nn.Module):
    """A stage of G-FRNet with one line changed."""

    def __init__(self, stage, return_gated=False, align_corners=True):
        super().__init__()
        self.stage, self.return_gated, self.align = stage, return_gated, align_corners

    def forward(self, x, deeper, coarse):
        feature = self.stage.feature(x)
        size = feature.shape[-2:]
        gated = self.stage.norm(feature * resize(deeper, size, self.align))
        maps = torch.cat([gated, resize(coarse, size, self.align)], dim=1)
        return gated if self.return_gated else feature, self.stage.predict(maps)


class Parallel(ChainedPooling):
    def forward(self, x):
        x = F.relu(x)
        return x + sum(step(x) for step in self.steps)


# %% tags=["tol=0.06"]
rows, right = [], {}


def add_row(name, network, mistake):
    with torch.no_grad():
        z = torch.cat([network.eval()(part) for part in images.split(20)])
    first = right.setdefault(name, z)
    change = ((z - first).abs().mean() / first.std()).item()
    row = {"network": name, "mistake": mistake, **row_of(z.argmax(dim=1))}
    rows.append(row | {"change of the logits": change})


stages = gfrnet.stages
wrong = {"gated features passed on": {"return_gated": True}}
wrong["align_corners=False"] = {"align_corners": False}
for mistake, change in {"none": {}, **wrong}.items():
    gfrnet.stages = nn.ModuleList(Mistaken(stage, **change) for stage in stages)
    add_row("G-FRNet", gfrnet, mistake)
gfrnet.stages = stages
add_row("RefineNet", refinenet, "none")
for block in refinenet.blocks:
    block.pooling.__class__ = Parallel
add_row("RefineNet", refinenet, "poolings in parallel")
for block in refinenet.blocks:
    block.pooling.__class__ = ChainedPooling
for unit in refinenet.modules():
    if isinstance(unit, ResidualUnit):
        unit.layers[0].inplace = True
add_row("RefineNet", refinenet, "ReLU in place")
tables.show_table(rows, digits=2)

# %% [markdown]
# All these networks were trained without the mistake; changes of logits are relative to
# their spread. Passing on the gated features ruins the predictions, and mistakes 3 and
# 4 lower the mean IoU by more than 0.1. `align_corners` changes the logits, but hardly
# the scores, so a test should compare logits.

# %% [markdown]
# ## Exercises
#
# Replace `...` by your answer and run the cell. `ex.chain` shows the question again,
# `ex.chain.hint()` gives a hint, and another one each time. The solutions are behind
# the toggles.

# %%
from segcourse.exercises import refinement as ex

# %% [markdown]
# ### 11.1 A chain of poolings
#
# Compute chained residual pooling for one row of one channel. `row` is a list of at
# least one number. `steps` is a list of pairs (window, weight); the windows are odd,
# and the list may be empty. First, a ReLU replaces the negative numbers of the row by
# 0. Then every step takes the result of the step before it (the first step takes the
# row after the ReLU), replaces each number by the largest number in the window that is
# centred on it, and multiplies all numbers by the weight. A window that reaches beyond
# an end of the row is cut off there. Return one list, as long as the row: the sum of
# the row after the ReLU and of the results of all steps, added position by position.
#
# Then predict: a row of 21 numbers has a single 1 in its middle. How many positions of
# the sum are not 0 after two steps (5, 1), and after four such steps? The last cell of
# this exercise shows the solution's numbers.


# %%
def chained(row, steps): ...  # your code


ex.chain.check(chained)

# %%
ex.chain.show_solution()

# %%
single = [0.0] * 10 + [1.0] + [0.0] * 10
for number in (1, 2, 4):
    reached = sum(value != 0 for value in ex.chain.solution(single, number * [(5, 1)]))
    print(f"steps: {number}, positions reached: {reached}")

# %% [markdown]
# ### 11.2 Repair the residual unit
#
# This function was meant as RefineNet's residual unit. It runs, and its result is
# wrong:
#
# ```python
# def residual_unit(x, conv1, conv2):
#     y = conv1(F.relu(x, inplace=True))
#     y = conv2(F.relu(y, inplace=True))
#     return x + y
# ```
#
# Find the fault, and write the function correctly: the unit adds to `x` the result of
# ReLU, `conv1`, ReLU and `conv2`, in this order. `x` has the shape (N, C, H, W) and may
# hold negative numbers; `conv1` and `conv2` are functions. Return a tensor (N, C, H,
# W).


# %%
def residual_unit(x, conv1, conv2): ...  # your code


ex.unit.check(residual_unit)

# %%
ex.unit.show_solution()

# %% [markdown]
# ### 11.3 A loss at every stage
#
# Compute the loss of a network whose stages are all supervised. `all_logits` is a list
# of logits (N, K, h, w), one tensor for each stage, with their own h and w. `target`
# holds labels (N, H, W), in which 255 is void. Every stage has labels of its own size:
# position (row, column) of its map gets the label of the pixel in row $\lfloor
# (\text{row} + 0.5) \cdot H / h \rfloor$ and column $\lfloor (\text{column} + 0.5)
# \cdot W / w \rfloor$. The loss of a stage is the mean cross-entropy over those
# positions whose label is not void, or 0 if there is none. Return the sum of the losses
# of all stages.


# %%
def loss_of_all_stages(all_logits, target): ...  # your code


ex.supervision.check(loss_of_all_stages)

# %%
ex.supervision.show_solution()

# %% [markdown]
# ### 11.4 Where does upsampling read?
#
# Predict where bilinear upsampling reads, along one axis. A map with `coarse` positions
# is resized to `fine` positions. Fine position `position` (0 to `fine - 1`) reads the
# coarse map at a place that may lie between two positions, such as 2.25. Places are
# counted from the first coarse position: coarse position k has the place k.
#
# - With `align_corners=True`, positions are points. The first positions of the two maps
#   lie on top of each other, and so do the last positions. The positions of each map
#   have equal distances. If `fine` is 1, the place is 0.
# - With `align_corners=False`, positions are squares, and both maps cover the same
#   length. A fine position reads the coarse map where its own centre lies. If this is
#   before the centre of the first coarse square or after the centre of the last one, it
#   reads at that centre.
#
# Return the place as a number from 0 to `coarse - 1`. The last cell compares the places
# of the solution with `F.interpolate`, applied to the row 0, 1, 2, 3.


# %%
def source(position, fine, coarse, align_corners): ...  # your code


ex.place.check(source)

# %%
ex.place.show_solution()

# %%
ramp = torch.arange(4.0)[None, None]
for align in (True, False):
    read = F.interpolate(ramp, 8, mode="linear", align_corners=align).flatten()
    own = [ex.place.solution(position, 8, 4, align) for position in range(8)]
    print(f"align_corners={align}:", [round(value, 2) for value in own])
    print("  as F.interpolate:", torch.allclose(read, torch.tensor(own)))

# %% [markdown]
# ### 11.5 Sum or gate?
#
# Decide what a sum and a product can compute. At one position, f is a feature of a fine
# stage and g is a feature of a deeper stage; each is −1 or 1. The position is called
# *car* if its score is above 0. Without a gate, the score is a · f + b · g + c. With a
# gate, it is a · f · g + b · g + c. The numbers a, b and c are learned; each may be
# negative or 0. `table` is a dictionary: `table[f, g]` is `True` if a position with
# these features is a car. Return `True` if some a, b and c make all four cases of the
# table right, and `False` if there are none.
#
# There are 16 tables. Predict how many the sum and the gate can compute. Find a table
# that only the sum can compute, and one that only the gate can.


# %%
def possible(table, gate): ...  # your code


ex.expressible.check(possible)

# %%
ex.expressible.show_solution()

# %%
pairs_of_features = list(product((-1, 1), repeat=2))
for gate in (False, True):
    missed = []
    for cars in product((False, True), repeat=4):
        table = dict(zip(pairs_of_features, cars, strict=True))
        if not ex.expressible.solution(table, gate):
            missed.append([pair for pair, car in table.items() if car])
    print(f"{'gate' if gate else 'sum'} can compute {16 - len(missed)} of 16 tables")
    for pairs_of_cars in missed:
        print("  but not: car for (f, g) in", pairs_of_cars)

# %% [markdown]
# The sum cannot compute "f and g are equal": there, the meaning of the fine feature
# depends on the deeper one. The product can, because f · g is then 1. But the product
# cannot compute "f is 1", because f alone is not in its score. In the network, biases
# and normalisation add f to the product ("What did the idea buy?").

# %% [markdown]
# ## Quiz

# %% [markdown]
# **Q1. What is new in a refinement step, compared with upsampling alone?**
#
# <details class="quiz wrong"><summary>It uses a better interpolation</summary>
#
# Not quite: interpolation adds no information, whichever kind it is.
#
# </details>
# <details class="quiz right"><summary>It combines the coarse map with finer features of
# the encoder</summary>
#
# Right: the finer features locate the boundaries that the coarse map has lost.
#
# </details>
# <details class="quiz wrong"><summary>It enlarges the receptive field of the coarse
# map</summary>
#
# Not quite: some steps do this too, such as RefineNet's chained pooling. But upsampling
# with more context still lacks the fine features.
#
# </details>

# %% [markdown]
# **Q2. Two steps of chained residual pooling have windows of 5 positions. Their
# convolutions are left out. How many input positions of a row influence one output of
# the second step?**
#
# <details class="quiz wrong"><summary>5</summary>
#
# Not quite: this holds if both poolings read the input. In a chain, the second one
# reads the result of the first.
#
# </details>
# <details class="quiz wrong"><summary>10</summary>
#
# Not quite: the windows of neighbouring positions overlap. The two outermost of the 5
# positions add 2 input positions each.
#
# </details>
# <details class="quiz right"><summary>9</summary>
#
# Right: 5 + 4. Each further step would add 4.
#
# </details>

# %% [markdown]
# **Q3. What do the gated features of the released G-FRNet contain?**
#
# <details class="quiz right"><summary>Products of features of both signs</summary>
#
# Right: there is neither a sigmoid nor a ReLU. The product is normalised again.
#
# </details>
# <details class="quiz wrong"><summary>Numbers between 0 and 1, from a sigmoid</summary>
#
# Not quite: MONAI's `AttentionUnet` has such gates.
#
# </details>
# <details class="quiz wrong"><summary>Probabilities of the classes</summary>
#
# Not quite: there are as many channels as classes, but the loss does not connect a
# channel of the gated features with a class.
#
# </details>

# %% [markdown]
# **Q4. Which features does a stage of G-FRNet pass on to the gate unit of the next
# finer stage?**
#
# <details class="quiz wrong"><summary>Its gated features</summary>
#
# Not quite: the shapes fit, but a network that was trained without this mistake then
# fails.
#
# </details>
# <details class="quiz right"><summary>Its features before they are multiplied</summary>
#
# Right: each gate unit multiplies the features of two neighbouring stages.
#
# </details>
# <details class="quiz wrong"><summary>Its logits</summary>
#
# Not quite: the logits are upsampled and concatenated with the gated features. They are
# not multiplied.
#
# </details>

# %% [markdown]
# **Q5. Three seeds give a mean difference of +0.005 with t = 1.1. What do you report?**
#
# <details class="quiz wrong"><summary>A small gain</summary>
#
# Not quite: t is far below 4.30, the bound for three seeds, so the gain may be due to
# chance.
#
# </details>
# <details class="quiz wrong"><summary>That the change has no effect</summary>
#
# Not quite: a small effect would not show with three seeds.
#
# </details>
# <details class="quiz right"><summary>No clear difference</summary>
#
# Right: these runs allow a small gain, a small loss, and no effect at all.
#
# </details>

# %% [markdown]
# **Q6. You load weights that were trained with `align_corners=True` into a network that
# upsamples with `False`. What happens?**
#
# <details class="quiz wrong"><summary>Loading fails, because the shapes
# differ</summary>
#
# Not quite: interpolation has no weights, so both networks have the same shapes.
#
# </details>
# <details class="quiz right"><summary>The logits change, perhaps too little to see in
# the mean IoU</summary>
#
# Right: compare logits with those of the original network, and not only scores.
#
# </details>
# <details class="quiz wrong"><summary>Nothing: both compute the same</summary>
#
# Not quite: exercise 11.4 shows that they read the coarse map at different places.
#
# </details>

# %% [markdown]
# ## Take-aways
#
# - A refinement step upsamples a coarse map and combines it with finer features of the
#   encoder. In our G-FRNet every step raised the mean IoU, and thin lamps gained until
#   the last step. In the course's comparison, U-Net, whose step is simpler, had the
#   best scores.
# - In chained residual pooling, every step pools the result of the step before, so the
#   windows become larger. Parallel poolings of the same window do not.
# - A gate unit multiplies fine features by deeper ones. This product can reverse the
#   meaning of a fine feature. A sum alone cannot, but two convolutions with a ReLU can.
# - On Toytown, gate units brought no clear gain in any of ten comparisons. Compare
#   networks of the same seed, with several seeds, on your own data.
# - Stage-wise supervision makes the logits of every stage a prediction. In our short
#   trainings, the last prediction was better without it.
# - Count the operations of the decoder too: RefineNet's decoder needs several times as
#   many as its encoder.
#
# ## Further reading
#
# - Lin, Milan, Shen, Reid, [RefineNet: Multi-Path Refinement Networks for
#   High-Resolution Semantic Segmentation](https://arxiv.org/abs/1611.06612), CVPR 2017
#   (`lin2017refinenet`); code: <https://github.com/guosheng/refinenet>
# - Islam, Rochan, Bruce, Wang, Gated Feedback Refinement Network for Dense Image
#   Labeling, CVPR 2017 (`islam2017gfrnet`); longer version with Naha:
#   [arXiv](https://arxiv.org/abs/1806.11266) (`islam2018gfrnet`); code:
#   <https://github.com/mrochan/gfrnet>
# - Islam, Naha, Rochan, Bruce, Wang, [Label Refinement Network for Coarse-to-Fine
#   Semantic Segmentation](https://arxiv.org/abs/1703.00551), 2017, by authors of
#   G-FRNet (`islam2017lrn`)
