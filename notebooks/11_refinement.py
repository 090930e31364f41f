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
# the encoder sharpen the result of the step before.
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
from segcourse.models import DeepLabV3Plus, GFRNet, RefineNet
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
# PSPNet, the network of the previous chapter, uses context from the whole image, but
# its scores have stride 8. In the course's comparison of networks (`python -m
# benchmarks.architectures`), PSPNet's score for lamps, which are thin, is far below its
# mean:

# %%
pspnet = measured("architectures")["networks"]["pspnet"]
print(f"PSPNet: mean IoU {pspnet['miou']:.2f}, IoU of lamp {pspnet['thin_iou']:.2f}")

# %% [markdown]
# The encoder also computes fine features. They alone are not enough, because a small
# part of an image looks the same in several classes. We measure both sides without any
# network.
#
# - The *coarse* scores are the true shares of the classes in every block of 32 x 32
#   pixels, upsampled. They show which classes are near, but not where exactly.
# - The *fine* scores use the colour of a single pixel. They are the frequencies of the
#   classes among all training pixels of this colour, for 12 shades per channel.
# - *Both* multiplies the colour's part of the fine scores by the coarse scores.


# %%
def shade(image):
    """The number of a colour, 12 shades per channel: (N, 3, H, W) -> (N, H, W)."""
    red, green, blue = (image * 12).long().clamp(max=11).unbind(1)
    return (red * 12 + green) * 12 + blue


colours = shade(torch.stack([scene.image for scene in scenes]))
counts = [colours[labels == c].bincount(minlength=12**3) for c in range(8)]
counts = torch.stack(counts) + 0.5  # no colour is impossible
likelihood = counts / counts.sum(dim=1, keepdim=True)  # of a colour, given the class
colour = likelihood[:, shade(images)].movedim(0, 1)
frequency = (counts.sum(dim=1) / counts.sum()).view(1, 8, 1, 1)
shares = F.avg_pool2d(F.one_hot(target, 8).movedim(3, 1).float(), 32)
coarse = F.interpolate(shares, target.shape[-2:], mode="bilinear")
scores = {"coarse": coarse, "fine": colour * frequency, "both": colour * coarse}

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
    "the road. Both: the areas of the ground truth with sharp contours, a car, and "
    "wrong pixels mainly in the houses and the lamp.",
)

# %% [markdown]
# Each source alone fails. Together they are far better, because the coarse scores
# exclude most classes and the colour decides between the remaining ones. (The coarse
# scores come from the ground truth. This is an illustration, not a result of a
# network.)

# %% [markdown]
# ## The idea
#
# A network with refinement computes a coarse map first. Then it repeats one step:
# upsample the map, and combine it with the encoder's features of the next finer stage.
# U-Net's decoder does this too. Two papers of 2017 propose other steps.
#
# ### RefineNet
#
# PSPNet keeps its deep features at stride 8 by dilated convolutions. This needs much
# memory: the features have many channels, and 16 times as many positions as at stride
# 32. RefineNet, by [Lin, Milan,
# Shen and Reid](https://arxiv.org/abs/1611.06612), uses an ordinary ResNet with stages
# at the strides 4, 8, 16 and 32 instead. Four **RefineNet blocks** lead back from
# stride 32 to stride 4. A block has three parts.
#
# 1. A **residual convolution unit** adds the result of two convolutions to its input.
#    Two units adapt the features of the stage.
# 2. The **fusion** upsamples the coarser block's output and adds it to them.
# 3. **Chained residual pooling** adds context from ever larger windows.

# %% tags=["hide-input"]
blue, green, orange = 0, 2, 4
viz.show_architecture(
    [
        {"name": "image", "stride": 1, "channels": 3, "color": 6},
        {"name": "stage 1", "stride": 4, "channels": 256, "color": blue},
        {"name": "stage 2", "stride": 8, "channels": 512, "color": blue},
        {"name": "stage 3", "stride": 16, "channels": 1024, "color": blue},
        {"name": "stage 4", "stride": 32, "channels": 2048, "color": blue},
        {"name": "block", "stride": 32, "channels": 512, "color": green},
        {"name": "block", "stride": 16, "channels": 256, "color": green},
        {"name": "block", "stride": 8, "channels": 256, "color": green},
        {"name": "block", "stride": 4, "channels": 256, "color": green},
        {"name": "scores", "stride": 4, "channels": 21, "color": orange},
    ],
    links=[(3, 6, "features"), (2, 7, ""), (1, 8, "")],
    alt="RefineNet as a row of boxes. Four stages of a ResNet reduce the image to "
    "stride 32; four blocks lead back to stride 4, and the scores have stride 4. Arcs "
    "lead from the stages of stride 16, 8 and 4 to the blocks of the same stride.",
)

# %% [markdown]
# An example of chained residual pooling, to check by hand: the row below has one large
# value, the windows have three positions, and the convolutions of the chain are left
# out. The first step replaces each value by the maximum of its window. The second step
# pools *the result of the first one*. All three rows are added.

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
# of the first one. The last line shows a mistake that was found in [public
# implementations](https://github.com/luyanger1799/Amazing-Semantic-Segmentation/issues/16):
# if both poolings read the row itself, both reach one position only.
#
# ### G-FRNet
#
# A skip connection passes fine features on as they are, ambiguous ones included. The
# Gated Feedback Refinement Network, by [Islam, Rochan, Naha, Bruce and
# Wang](https://arxiv.org/abs/1806.11266), multiplies them first by the features of the
# next deeper stage. This product is called a **gate**. For example, let the fine
# features at four positions be 2, −1, 3 and 0.5, and the deeper ones 1, 1, 0 and −1.
# The gate, before it is normalised, is then 2, −1, 0 and −0.5: the first two features
# pass, the third is suppressed, and the last one changes its sign.
#
# As a formula, let the stages $s = 1, 2, \dots$ run from coarse to fine. Stage 1
# computes the coarsest logits $z_1$ and features $f_1$ from the end of the encoder. For
# every finer stage, $f_s$ are features of the encoder, reduced to $K$ channels by a
# convolution; $\mathrm{up}$ upsamples to the size of stage $s$; $\odot$ multiplies
# element by element; and $[\cdot\,;\cdot]$ concatenates channels. The gate $m_s$ and
# the logits $z_s$ are
#
# $$m_s = \mathrm{norm}\big(f_s \odot \mathrm{up}(f_{s-1})\big), \qquad
# z_s = \mathrm{conv}\big([\,m_s \,;\, \mathrm{up}(z_{s-1})\,]\big).$$
#
# The second idea is **stage-wise supervision**: the loss $\mathcal L = \sum_s \mathcal
# L_s$ is the sum of the losses of all stages, so that each $z_s$ is a prediction.
#
# <details class="deeper"><summary>Going deeper: the product of the first table is not
# this gate</summary>
#
# The first table multiplied *probabilities*. A product of probabilities is a sum of
# their logarithms, so networks that add scores, like FCN, can compute it without a
# gate. A gate multiplies *features*, which have any sign. Exercise 11.5 shows what this
# makes possible, and what it makes impossible.
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
# The deepest block has no coarser input and therefore no fusion. We add a batch
# normalisation behind the convolutions that join the paths. The released decoder has
# none, but its encoder starts from pretrained weights, and ours from random ones.


# %%
def resize(x, size, align_corners=False):
    return F.interpolate(x, size, mode="bilinear", align_corners=align_corners)


def path(in_channels, out_channels):
    return [conv(in_channels, out_channels), nn.BatchNorm2d(out_channels)]


class RefineBlock(nn.Module):
    """(N, in_channels, H, W), perhaps (N, coarse, h, w) -> (N, channels, H, W)."""

    def __init__(self, in_channels, channels, coarse_channels=0):
        super().__init__()
        units = [ResidualUnit(channels), ResidualUnit(channels)]
        self.adapt = nn.Sequential(*path(in_channels, channels), *units)
        if coarse_channels:
            self.fuse_fine = nn.Sequential(*path(channels, channels))
            self.fuse_coarse = nn.Sequential(*path(coarse_channels, channels))
        self.pooling = ChainedPooling(channels)
        self.output = ResidualUnit(channels)

    def forward(self, x, coarse=None):
        x = self.adapt(x)
        if coarse is not None:
            x = self.fuse_fine(x) + resize(self.fuse_coarse(coarse), x.shape[-2:])
        return self.output(self.pooling(x))


block = RefineBlock(64, 16, coarse_channels=32)
tuple(block(torch.rand(1, 64, 24, 32), torch.rand(1, 32, 12, 16)).shape)

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
# We follow the authors' [released code](https://github.com/mrochan/gfrnet). Its gate
# has no sigmoid and no ReLU: normalised features of both signs are multiplied, and the
# product is normalised again. The stage returns its features together with its logits,
# because the next stage multiplies by these features, and not by the gate.


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
        gate = self.norm(feature * resize(deeper, size, align_corners=True))
        coarse = resize(coarse, size, align_corners=True)
        return feature, self.predict(torch.cat([gate, coarse], dim=1))


# %% [markdown]
# The encoder is VGG-16 with batch normalisation, here with ten convolutions instead of
# 13 and few channels. Two more convolutions at stride 32 lead to the first, coarsest
# logits.


# %%
class MyGFRNet(nn.Module):
    """(N, 3, H, W) -> logits (N, num_classes, H, W)."""

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


[tuple(z.shape[1:]) for z in MyGFRNet(8).all_logits(torch.rand(2, 3, 96, 128))]

# %% [markdown]
# The package has both networks too. Their weights have the same shapes in the same
# order, so we can copy them and compare the logits. (`spread` is the standard deviation
# of the logits: if it were 0, equal logits would prove nothing.)

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
# With their defaults, the package's networks have the papers' sizes. We compare their
# numbers of parameters with counts of the layers in the authors' files. The released
# RefineNet has four pooling steps in each chain and more residual units than the layout
# with two steps, by which the paper is usually described. The package builds both.

# %%
released = {"RefineNet, released": 118052437, "G-FRNet, released": 29194090}
with torch.device("meta"):  # shapes only, no memory
    full = {
        "RefineNet, released": RefineNet(21, layout="released"),
        "RefineNet, usual layout": RefineNet(21),
        "G-FRNet, released": GFRNet(11),
    }
rows = []
for name, network in full.items():
    number = sum(p.numel() for p in network.parameters())
    agrees = number == released[name] if name in released else "no reference"
    rows.append({"network": name, "parameters": number, "as counted": str(agrees)})
tables.show_table(rows)

# %% [markdown]
# The counts agree, for 21 classes on ResNet-101 and for 11 classes on VGG-16. A count
# does not prove that two networks are equal ([chapter 8](08_unet.ipynb)), and we did
# not load the authors' weights. Our small networks differ in more ways.
#
# <details class="deeper"><summary>Going deeper: the released networks and
# ours</summary>
#
# | | released | ours |
# |---|---|---|
# | RefineNet: encoder | ResNet, pretrained on ImageNet | ResNet-18 with few channels |
# | batch normalisation of the encoder | fixed | learned |
# | batch normalisation of the decoder | none | where paths join |
# | upsampling in RefineNet | bicubic | bilinear |
# | pooling chain | four steps, convolution first | two steps, pooling first |
# | residual units at the end of a block | three | one, and two before the scores |
# | dropout | at the two deepest stages and before the scores | none |
# | image | enlarged by 1.2 | enlarged by 2 |
# | G-FRNet: encoder | VGG-16, pretrained on ImageNet | ten convolutions |
# | dropout | 0.5 after pool3, pool4, pool5, conv6 and conv7 | none |
# | losses | logits upsampled to the labels | labels reduced to the logits |
# | class weights | median frequency | log frequency, and a Dice loss |
#
# A secondary description of the G-FRNet paper reduces the labels, as we do. The
# released RefineNet trains with batches of one image.
#
# </details>

# %% [markdown]
# ## Train it
#
# The loss of a stage is cross-entropy with class weights plus Dice
# ([chapter 5](05_losses.ipynb)). `F.interpolate` with `nearest-exact` reduces the
# labels to the size of the logits, and invents no class.


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
    {"G-FRNet, six losses": gfrnet_losses, "RefineNet, one loss": refinenet_losses},
    xlabel="step",
    ylabel="loss (mean of 20 steps)",
    smooth=20,
    alt="Two falling curves. The loss of G-FRNet, which is a sum of six losses, is "
    "several times as large as that of RefineNet.",
)

# %% [markdown]
# Every stage of G-FRNet has logits of its own. We upsample them, and score each of
# them on the validation scenes.


# %%
@torch.no_grad()
def all_predictions(model, images):
    """Predictions of all stages at full size, coarse to fine: a list of (N, H, W)."""
    outputs = zip(*map(model.eval().all_logits, images.split(20)), strict=True)
    return [
        torch.cat([resize(z, images.shape[-2:]).argmax(1) for z in logits])
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
# Every stage of G-FRNet is better than the one before. The road gains little after
# stride 8; the lamps gain at every stage to the last. RefineNet's scores have stride 4
# in the doubled image, which is 2 in the original one. Encoder, number of steps and
# number of losses differ too, so the table does not tell which network is better.
#
# ### What a gate looks like
#
# The figure shows one channel of the gate at stride 4: the fine features, the deeper
# features, and their normalised product. We show the channel whose gate varies most.
# (The loss connects no channel of a gate with a particular class.) The printed share is
# that of the values whose sign the product changes, because the deeper feature is
# negative.

# %% tags=["tol=0.1"]
seen = {}


def note(module, inputs, output):
    """Keep what the gate multiplies: fine features, deeper ones, and the gate."""
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
    print(f"stride {2**s:2}: sign changed for {(deeper < 0).float().mean():.2f}")

# %% tags=["hide-input"]
parts = seen[gfrnet.stages[2]]
channel = int(parts[2][0].flatten(1).std(dim=1).argmax())
names = ("fine features", "deeper features", "gate")
viz.show_images(
    {"image": images[chosen]}
    | {n: part[0, channel] for n, part in zip(names, parts, strict=True)},
    cmap="RdBu_r",
    limits=(-3, 3),
    columns=4,
    alt="A street scene and three maps of one channel, red for positive and blue for "
    "negative values: the fine features follow contours; the deeper features are "
    "smoother; the gate is strongest where both are strong.",
)

# %% [markdown]
# The gate is strong where both features are strong. A strong red means that their signs
# agree, and a strong blue that they differ. (The normalisation shifts all products, so
# a pale colour says nothing.) So this gate does not only weaken features: the deeper
# features reverse the sign of about half of them or more.
#
# How much does each gate contribute? We close one gate of the trained network at a
# time: its values are set to 0, so that only the coarse logits are left at this stage.

# %% tags=["tol=0.06"]
rows = [{"closed gate": "none", **row_of(predictions[-1])}]
for s, stage in enumerate(gfrnet.stages):
    hook = stage.norm.register_forward_hook(lambda module, inputs, gate: 0 * gate)
    closed = predict(gfrnet, images, batch_size=20)
    hook.remove()
    rows.append({"closed gate": f"stride {2 ** (4 - s)}", **row_of(closed)})
tables.show_table(rows, digits=2)

# %% [markdown]
# The gate at stride 1 matters most, above all for the lamps. Closing one of the others
# changes little; one possible reason is that the finer stages replace what is missing.

# %% [markdown]
# ## On a real image
#
# Does refinement also work on a photograph, with a real encoder? As in chapter 6, the
# encoder is EfficientNet-Lite0, trained on ImageNet, and its weights stay fixed. We
# train only G-FRNet's decoder, on the left half of scikit-image's `coins`, and test it
# on the right half. Three coins lie on the line between the halves.


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
# A short training on half a photograph is enough, because the encoder is pretrained. On
# both halves, every stage is better than the one before, and most of the gain comes
# from the first step, from stride 32 to 16.

# %% [markdown]
# ## What did the idea buy?
#
# ### Gates
#
# The argument for gates is that fine features are ambiguous. So gates should help most
# where this ambiguity is strong. We train G-FRNet with its gates, and with the same
# layers but without the product: $m_s = \mathrm{norm}(f_s)$. Both are trained on four
# kinds of scenes, and tested on new scenes of the same kind: ordinary ones, textures
# twice as strong, noise, and low contrast (dim light, twice the usual noise). The
# results are stored (`python -m benchmarks.refinement` repeats them). The first row is
# an older measurement with longer training and more scenes (`python -m
# benchmarks.ablations`).
#
# The column *difference* is the mean, over the seeds, of the mean IoU with gates minus
# the mean IoU without, and *t* is this mean divided by its standard error
# ([chapter 8](08_unet.ipynb)). For three seeds, a difference is significant at the 5 %
# level if *t* lies beyond ± 4.30.

# %%
results = measured("refinement")
KINDS = ("ordinary", "strong texture", "noise", "low contrast")


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


def gate_row(name, gated, ungated):
    """One row of a table: two arms with the same seeds."""
    columns = ("scenes", "mIoU, gated", "mIoU, not gated", "difference", "t")
    return dict(zip(columns, [name, *compare(gated, ungated)], strict=True))


def both_arms(trained, tested):
    return [runs_of("gates", f"{trained}, {arm}", tested) for arm in ARMS]


runs = measured("ablations")["ablations"]["gates"]["arms"]
longer = [dict(enumerate(run["miou"] for run in runs[arm]["runs"])) for arm in ARMS]
rows = [gate_row("ordinary, longer training", *longer)]
rows += [gate_row(kind, *both_arms(kind, kind)) for kind in KINDS]
print("seeds:", *{len(arm) for arm in both_arms("noise", "noise")})
tables.show_table(rows, digits=3)

# %% [markdown]
# The gates bring no clear gain in any row. With strong texture they cost a little:
# there, *t* lies beyond −4.30. The other rows show no clear difference. We compare ten
# pairs in this section, so a single clear one is weak evidence. Our measurements do not
# confirm the argument for gates, and they do not exclude it for other data or longer
# training.
#
# A gate might still help when only the test scenes are ambiguous. In the next table,
# all networks were trained on ordinary scenes, and *all three* are strong texture,
# noise and low contrast at once.

# %%
shifts = ("strong texture", "some noise", "noise", "low contrast", "all three")
rows = [gate_row(kind, *both_arms("ordinary", kind)) for kind in shifts]
tables.show_table(rows, digits=3)

# %% [markdown]
# No difference in this table is clear, because every *t* lies between −4.30 and 4.30.
# All five means are negative, so nothing suggests that gates protect against ambiguous
# features. The scores are low in most rows because the networks never saw such scenes
# in training.
#
# When *must* a gate help? Exercise 11.5 gives a hint: a product can express that the
# context changes the *meaning* of a fine feature, and a sum cannot. We construct this
# case. The fine feature f is −1 or 1 at every pixel, at random; the context g is −1 for
# half of the images and 1 for the others. One stage of G-FRNet is trained on two tasks,
# with the product, and with the number 1 in the place of the deeper features.


# %% tags=["tol=0.1"]
def accuracy(task, gated, seed):
    """Train one stage on 60 batches of a task, and test it on another one."""
    seed_everything(seed)
    f = 2.0 * torch.randint(2, (61, 8, 1, 16, 16)) - 1
    g = torch.tensor([-1.0, 1.0]).repeat(61, 4)[:, :, None, None, None]
    *data, test = zip(f, g, task(f, g)[:, :, 0].long(), strict=True)
    parts = [nn.Conv2d(1, 2, 1), nn.Conv2d(1, 2, 1), Refinement(1, 2)]
    model = nn.ModuleList(parts)

    def logits(f, g):
        deeper = model[0](g) if gated else torch.ones(len(g), 2, 1, 1)
        return model[2](f, deeper, model[1](g))[1]

    def loss(model, batch):
        return F.cross_entropy(logits(*batch[:2]), batch[2])

    fit(model, loss, data, steps=60, learning_rate=3e-2, progress=False)
    model.eval()
    return (logits(*test[:2]).argmax(dim=1) == test[2]).float().mean().item()


rows = []
tasks = {"f and g are equal": lambda f, g: f * g > 0, "f is 1": lambda f, g: f > 0 * g}
for name, task in tasks.items():
    row = {"class 1 means": name}
    for gated, arm in ((True, "gated"), (False, "not gated")):
        row[f"accuracy, {arm}"] = mean(accuracy(task, gated, seed) for seed in range(3))
    rows.append(row)
tables.show_table(rows, digits=2)

# %% [markdown]
# The sum only guesses in the first task, and the gate solves it. In the second task,
# the meaning of f is fixed, and both are right. Texture, noise and low contrast make a
# feature less reliable, but they do not exchange its meanings. This may be the reason
# why the gates brought no clear gain on Toytown.
#
# ### Stage-wise supervision
#
# We train G-FRNet with the losses of all six stages, and with the loss of the last
# stage only. Everything else is equal. The table compares the *last* predictions; the
# lines below it are the mean IoUs of the coarsest predictions, of stride 32.

# %%
every = ("gates", "ordinary, gated"), ("supervision", "last stage")
values = compare(*(runs_of(part, arm, "ordinary") for part, arm in every))
names = ("mIoU, six losses", "mIoU, last loss only", "difference", "t")
tables.show_table([dict(zip(names, values, strict=True))], digits=3)
for name, (part, arm) in zip(("six losses", "last loss only"), every, strict=True):
    coarsest = mean(run["stages"][0]["miou"] for run in results[part][arm].values())
    print(f"{name}: mean IoU at stride 32 is {coarsest:.2f}")

# %% [markdown]
# With the last loss only, the last prediction is clearly better (*t* beyond −4.30).
# So stage-wise supervision cost accuracy in these short trainings. In exchange, every
# stage makes a useful prediction; without its loss, the coarsest stage does not. One
# possible reason for the cost is that the encoder must serve six losses. To test this,
# one would give the coarse losses smaller weights. Our encoders also start from random
# weights, and the released one from pretrained weights.

# %% [markdown]
# ## Where it breaks: the decoder costs more than the encoder
#
# RefineNet saves memory in the encoder, but its decoder has many convolutions at high
# resolution. We count the multiply-add operations (MACs) of the full-size networks for
# an image of 512 x 512 pixels. The last row is DeepLab v3+, the network of the next
# chapter.


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
        ("RefineNet", RefineNet(21), lambda net: net.backbone),
        ("G-FRNet", GFRNet(21), lambda net: net.encode),
        ("DeepLab v3+", DeepLabV3Plus(21), lambda net: net.backbone),
    ):
        network.eval()
        whole, part = macs(network, image), macs(encode(network), image)
        row = {"network": name, "billion MACs": whole, "of the encoder": part}
        rows.append(row | {"share after the encoder": 1 - part / whole})
tables.show_table(rows, digits=2)

# %% [markdown]
# More than four fifths of RefineNet's operations lie behind its encoder. In G-FRNet the
# share is small, because its stages work with one channel per class. DeepLab v3+ shows
# a third way, in chapter 12: a decoder with a single refinement step, behind an encoder
# that already has stride 16.
#
# ## In practice
#
# Neither torchvision nor `segmentation_models_pytorch` (SMP) contains RefineNet or
# G-FRNet, but their ideas are in use. The table shows networks of SMP that refine a
# ResNet-50 step by step.

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
    ("UPerNet", "pyramid pooling, then add"),
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
# skip connection by a number between 0 and 1, which a sigmoid computes from the fine
# and the deeper features. There is one number per position, for all channels.

# %%
unet = nets.AttentionUnet(2, 3, 8, channels=(12, 24, 48, 96), strides=(2, 2, 2)).eval()
found = []
for module in unet.modules():
    if type(module).__name__ == "AttentionBlock":
        module.psi.register_forward_hook(lambda m, inputs, gate: found.append(gate))
with torch.no_grad():
    unet(images[:1])
for gate in found:
    inside = (gate > 0).all() and (gate < 1).all()
    print(tuple(gate.shape), "between 0 and 1:", inside.item())

# %% [markdown]
# Such a gate can only weaken features; G-FRNet's gate can also strengthen them or
# change their sign.
#
# Stage-wise supervision is called **deep supervision** in MONAI, whose `DynUNet` offers
# it. A pitfall: the output has another shape in training than in evaluation mode. In
# training, all predictions are upsampled and stacked along a new axis, the finest
# first.

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
print("one number as loss:", stacked_loss.ndim == 0)

# %% [markdown]
# | use this | when |
# |---|---|
# | SMP `Unet` or `FPN`, pretrained | you want refinement with a small decoder |
# | RefineNet | you reproduce its results, or have no memory for dilated features |
# | MONAI `DynUNet`, deep supervision | your data are medical images or volumes |
# | gates | your own paired runs show that they help |
#
# ## Common mistakes
#
# The next cell makes the first three mistakes in the trained networks, without training
# them again. None of the mistakes raises an error.
#
# **1. The gate is handed on instead of the features.** Wrong: `return gate,
# self.predict(...)`. Right: `return feature, self.predict(...)`.
#
# **2. Another convention of upsampling.** Wrong: `align_corners=False`, PyTorch's
# default, in a network that was trained with `True`. Right: the convention that the
# weights were trained with.
#
# **3. A ReLU in place.** Wrong: `nn.ReLU(inplace=True)` at the beginning of a residual
# unit, because it changes the input that is still to be added. Right: `nn.ReLU()`.


# %%
class Mistaken(nn.Module):
    """A stage of G-FRNet with one line changed."""

    def __init__(self, stage, return_gate=False, align_corners=True):
        super().__init__()
        self.stage, self.return_gate, self.align = stage, return_gate, align_corners

    def forward(self, x, deeper, coarse):
        feature = self.stage.feature(x)
        size = feature.shape[-2:]
        gate = self.stage.norm(feature * resize(deeper, size, self.align))
        maps = torch.cat([gate, resize(coarse, size, self.align)], dim=1)
        return gate if self.return_gate else feature, self.stage.predict(maps)


# %% tags=["tol=0.06"]
mistakes = {"none": {}, "gate handed on": {"return_gate": True}}
mistakes["align_corners=False"] = {"align_corners": False}
rows, stages = [], gfrnet.stages
for name, change in mistakes.items():
    gfrnet.stages = nn.ModuleList(Mistaken(stage, **change) for stage in stages)
    preds = predict(gfrnet, images, batch_size=20)
    rows.append({"network": "G-FRNet", "mistake": name, **row_of(preds)})
gfrnet.stages = stages
rows.append({"network": "RefineNet", "mistake": "none", **row_of(refined)})
for module in refinenet.modules():
    if isinstance(module, ResidualUnit):
        module.layers[0].inplace = True
preds = predict(refinenet, images, batch_size=20)
rows.append({"network": "RefineNet", "mistake": "ReLU in place", **row_of(preds)})
tables.show_table(rows, digits=2)

# %% [markdown]
# Handing on the gate ruins the prediction, and the ReLU in place costs much as well.
# The other convention of upsampling makes no clear difference to these scores, although
# every map is read at other places (exercise 11.4). A test that compares scores would
# overlook this mistake: compare logits.
#
# **4. Poolings side by side.** Wrong: every step pools the input of the chain. Right:
# `x = step(x)`, so that each step reads the result of the step before.

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
# an end of the row is cut off there. Return a list: the row after the ReLU plus the
# results of all steps.
#
# Then predict, before you run the last cell of this exercise: a row of 21 numbers has a
# single 1 in its middle. How many positions of the sum are not 0 after two steps with
# windows of 5, and after four steps?


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
# is upsampled to `fine` positions. Fine position `position` (0 to `fine - 1`) reads the
# coarse map at a place that may lie between two positions, such as 2.25.
#
# - With `align_corners=True`, positions are points, and the first and the last one of
#   both maps lie on top of each other, with equal steps between them. If `fine` is 1,
#   the place is 0.
# - With `align_corners=False`, positions are squares whose centres lie at 0.5, 1.5,
#   ..., and the maps cover the same length. A place before the first centre or behind
#   the last one is moved to that centre.
#
# Return the place as a number from 0 to `coarse - 1`. The last cell compares your
# prediction with `F.interpolate`, applied to the row 0, 1, 2, 3.


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
# Decide what a sum and a gate can compute. At one position, f is a feature of a fine
# stage and g is a feature of a deeper stage; each is −1 or 1. The position is called
# *car* if its score is above 0. Without a gate, the score is a · f + b · g + c. With a
# gate, it is a · f · g + b · g + c. The numbers a, b and c are learned; each may be
# negative or 0. `table` is a dictionary: `table[f, g]` is `True` if a position with
# these features is a car. Return `True` if some a, b and c make all four cases of the
# table right, and `False` if there are none.
#
# There are 16 tables. Predict how many of them each of the two can compute, and find a
# counterexample for each: a table that it cannot compute, but the other can.


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
# depends on the deeper one. The gate can, because f · g is then 1. But the gate cannot
# compute "f is 1", because f alone is not in its score. (In the network, normalisation
# and biases add learned numbers to f and g. The product then contains f and g alone as
# well, so that the gate misses no table.)

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
# Not quite: the coarse map already has the largest receptive field of all stages.
#
# </details>

# %% [markdown]
# **Q2. Two steps of chained residual pooling have windows of 5 positions. Their
# convolutions are left out. How wide is the window that the second step sees of the
# input?**
#
# <details class="quiz wrong"><summary>5</summary>
#
# Not quite: this holds if both poolings read the input. In a chain, the second one
# reads the result of the first.
#
# </details>
# <details class="quiz wrong"><summary>10</summary>
#
# Not quite: the second window has 5 positions, each of which has seen 2 more on either
# side.
#
# </details>
# <details class="quiz right"><summary>9</summary>
#
# Right: 5 + 4. Each further step would add 4.
#
# </details>

# %% [markdown]
# **Q3. What does the gate of the released G-FRNet contain?**
#
# <details class="quiz right"><summary>Products of normalised features, of both
# signs</summary>
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
# Not quite: a gate has as many channels as there are classes, but the loss does not
# connect a channel of the gate with a class.
#
# </details>

# %% [markdown]
# **Q4. Which features does a stage of G-FRNet hand on to the next finer stage, for its
# gate?**
#
# <details class="quiz wrong"><summary>Its own gate</summary>
#
# Not quite: the shapes fit, but the trained network is then ruined, as the first
# mistake shows.
#
# </details>
# <details class="quiz right"><summary>Its features before they are multiplied</summary>
#
# Right: each gate is a product of the features of two neighbouring stages.
#
# </details>
# <details class="quiz wrong"><summary>Its logits</summary>
#
# Not quite: the logits are upsampled and concatenated with the gate. They are not
# multiplied.
#
# </details>

# %% [markdown]
# **Q5. Three seeds give a mean difference of +0.005 with t = 1.1. What do you report?**
#
# <details class="quiz wrong"><summary>A small gain</summary>
#
# Not quite: t is far below 4.30, the bound for three seeds, so the gain may be an
# accident.
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
# Not quite: interpolation has no weights, so nothing tells the two networks apart.
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
#   the last step.
# - In chained residual pooling, every step pools the result of the step before. So the
#   windows become larger, and poolings side by side do not replace the chain.
# - A gate multiplies fine features by deeper ones. It can reverse the meaning of a fine
#   feature, which a sum cannot; our constructed task needs this.
# - On Toytown, gates brought no clear gain, also with strong texture, noise or low
#   contrast. Test them on your own data, pair by pair.
# - Stage-wise supervision makes every stage a prediction. In our short trainings, the
#   last prediction was better without it.
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
