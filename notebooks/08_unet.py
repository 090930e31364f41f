# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # U-Net: train from few images
#
# Give the decoder everything that the encoder saw, at every scale, and teach it with a
# handful of pictures bent in a thousand ways.
#
# After this chapter you can
#
# - build U-Net from two convolutions, a pooling, an up-convolution and a crop;
# - explain why 572 pixels go in and 388 come out, and segment images of any size with
#   seamless overlapping tiles;
# - multiply a few annotated pictures with elastic deformation, and weigh the gaps
#   between touching objects;
# - tell the paper's network from what packages call U-Net;
# - measure what concatenating buys over adding, and what 5, 20 or 80 pictures buy.
#
# You need chapters 05 (losses) and 06 (FCN). The notebook takes about a minute and a
# half on one CPU thread, most of it training.

# %% tags=["hide-cell"]
from importlib.util import find_spec

if find_spec("segcourse") is None:  # on Colab
    get_ipython().system("pip install -q git+https://github.com/OWNER/REPO")

import torch

from segcourse.training import seed_everything

seed_everything(0)

# %%
import torch.nn.functional as F
from torch import nn

from segcourse import tables, viz
from segcourse.blocks import center_crop
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
# FCN-8s has one score per class for a block of 8 x 8 pixels, and interpolates between
# blocks. How good is that, if every score is *perfect*? Give it the true share of each
# class in each block, enlarge the shares bilinearly, and take the largest:


# %%
def ideal(stride):
    """IoU of every class, from the true class shares of blocks of this size."""
    shares = F.one_hot(target, len(CLASSES)).movedim(3, 1).float()
    shares = F.avg_pool2d(shares, stride)
    scores = F.interpolate(shares, target.shape[-2:], mode="bilinear")
    return iou(confusion_matrix(scores.argmax(1), target, len(CLASSES))).tolist()


best = {stride: ideal(stride) for stride in (8, 4, 2, 1)}
tables.show_table(
    [
        {"class": name, **{f"stride {s}": best[s][k] for s in best}}
        for k, name in enumerate(CLASSES)
    ],
    digits=2,
)

# %% [markdown]
# Sky and road hardly notice. Lamps, a few pixels wide, drown in the blocks. (A network
# may exaggerate thin things in its scores and so do better than these honest shares; it
# cannot invent where in the block the lamp stands.) Whoever wants thin things must
# decide at stride 1, with features that still know where things are.

# %%
scene = next(s for s in validation if (s.semantic == CLASSES.index("lamp")).sum() > 150)
lamp = (scene.semantic == CLASSES.index("lamp")).float()[None, None]
views = {"picture": scene.image, "lamps": lamp[0, 0]}
for stride in (4, 8):
    coarse = F.avg_pool2d(lamp, stride)
    views[f"lamps at stride {stride}"] = coarse[0, 0]
viz.show_images(
    views,
    alt="A street scene, the mask of its lamps, and the mask averaged over blocks of "
    "4 and of 8 pixels: thin posts fade to a few faint blocks.",
)

# %% [markdown]
# The second problem is old and dear: annotation. The authors of U-Net had microscope
# pictures in which experts outline every cell, and few of them. Cells touch, too: a
# label map with one wrong pixel in a gap turns two cells into one.

# %% [markdown]
# ## The idea
#
# Four ideas, one paper (Ronneberger, Fischer and Brox, 2015):
#
# 1. **A decoder as large as the encoder.** After each doubling of the resolution, the
#    encoder's features of that scale are *concatenated*, and two convolutions decide
#    what to make of both. FCN adds *scores*, one number per class; U-Net hands over
#    *features*, 64 to 512 of them.
# 2. **Only valid convolutions.** No padding, hence no invented zeros: each logit comes
#    from real pixels. Large images are cut into tiles that overlap, and mirrored beyond
#    their border.
# 3. **Elastic deformation.** Tissue is soft, so a bent picture is a plausible picture.
# 4. **Weight on the gaps** between touching cells.

# %%
down = [("image", 1, 1), ("down 1", 1, 64), ("down 2", 2, 128), ("down 3", 4, 256),
        ("down 4", 8, 512), ("bottom", 16, 1024)]  # fmt: skip
up = [("up 4", 8, 512), ("up 3", 4, 256), ("up 2", 2, 128), ("up 1", 1, 64)]
named = [*down, *up, ("logits", 1, 2)]
viz.show_architecture(
    [
        {"name": n, "stride": s, "channels": c, "color": 6 if c < 3 else 2 * (i > 5)}
        for i, (n, s, c) in enumerate(named)
    ],
    links=[(1, 9, "crop, concatenate"), (2, 8, ""), (3, 7, ""), (4, 6, "")],
    alt="U-Net as a row of boxes: five levels shrink the image to stride 16 while "
    "channels double from 64 to 1024, four levels grow it back. An arc joins each "
    "level on the way down to the level of the same stride on the way up.",
)

# %% [markdown]
# The arithmetic of one row of pixels. Two unpadded 3 x 3 convolutions remove 4; a
# pooling halves; an up-convolution doubles:

# %%
side, sides = 572, []
for level in range(1, 5):
    sides.append(side - 4)
    print(
        f"level {level}: {side} -> {side - 2} -> {side - 4}, pooled {(side - 4) // 2}"
    )
    side = (side - 4) // 2
side -= 4
print(f"bottom:  {side + 4} -> {side + 2} -> {side}")
for level in range(4, 0, -1):
    skip, doubled = sides[level - 1], 2 * side
    side = doubled - 4
    cut = (skip - doubled) // 2
    print(
        f"level {level}: doubled {doubled}, skip {skip} loses {cut} on each side, "
        f"-> {doubled - 2} -> {side}"
    )

# %% [markdown]
# Of 572 pixels 388 get logits: a rim of 92 is there for context only. In general, for
# $d$ poolings,
#
# $$\text{out} = \text{in} - (12 \cdot 2^d - 8)$$
#
# and the input must be such that every pooling finds an even side.

# %% [markdown]
# ## Build it
#
# ### Two convolutions
#
# Every level of U-Net is the same pair. The authors draw the first weights from a
# Gaussian of deviation $\sqrt{2/N}$, where $N$ is the number of inputs of one output:
# $9 \cdot 64 = 576$ for a 3 x 3 kernel on 64 channels.


# %%
def double_conv(before, after):
    """(N, before, H, W) -> (N, after, H - 4, W - 4)."""
    return nn.Sequential(
        nn.Conv2d(before, after, kernel_size=3),
        nn.ReLU(),
        nn.Conv2d(after, after, kernel_size=3),
        nn.ReLU(),
    )


tuple(double_conv(1, 64)(torch.rand(1, 1, 60, 60)).shape)

# %% [markdown]
# ### Up, crop, concatenate, convolve
#
# The up-convolution turns each pixel into a block of 2 x 2 and halves the channels.
# Then the skip, cut to the same size around the same middle, doubles them again.


# %%
class Up(nn.Module):
    """(N, 2C, h, w) and a skip (N, C, H, W) -> (N, C, 2h - 4, 2w - 4)."""

    def __init__(self, channels):
        super().__init__()
        self.upsample = nn.ConvTranspose2d(2 * channels, channels, 2, stride=2)
        self.merge = double_conv(2 * channels, channels)

    def forward(self, x, skip):
        x = self.upsample(x)
        top = (skip.shape[-2] - x.shape[-2]) // 2
        left = (skip.shape[-1] - x.shape[-1]) // 2
        middle = skip[..., top : top + x.shape[-2], left : left + x.shape[-1]]
        return self.merge(torch.cat([middle, x], dim=1))


tuple(Up(512)(torch.rand(1, 1024, 28, 28), torch.rand(1, 512, 64, 64)).shape)

# %% [markdown]
# ### The whole network


# %%
class MyUNet(nn.Module):
    """(N, 1, H, W) -> (N, num_classes, H - 184, W - 184)."""

    def __init__(self, num_classes, width):
        super().__init__()
        c = [width, 2 * width, 4 * width, 8 * width, 16 * width]
        self.down = nn.ModuleList(map(double_conv, [1, *c[:-1]], c))
        self.up = nn.ModuleList(Up(channels) for channels in c[-2::-1])
        self.head = nn.Conv2d(width, num_classes, kernel_size=1)

    def forward(self, x):
        skips = []
        for level, block in enumerate(self.down):
            x = block(F.max_pool2d(x, 2) if level else x)
            skips.append(x)
        for block, skip in zip(self.up, skips[-2::-1], strict=True):
            x = block(x, skip)
        return self.head(x)


# %% [markdown]
# Is that the package's `UNet`? Its weights have the same shapes in the same order, so
# they can move over. Same image into both:

# %%
mine = MyUNet(2, width=8)
packaged = UNet(2, in_channels=1, width=8).eval()  # in training it also drops features
values = packaged.state_dict().values()
mine.load_state_dict(dict(zip(mine.state_dict(), values, strict=True)))
image = torch.rand(1, 1, 220, 204)
with torch.no_grad():
    a, b = mine(image), packaged(image)
print(tuple(image.shape), "->", tuple(b.shape))
print("logits vary:", b.std().item() > 0.1)
print("largest difference below 1e-5:", (a - b).abs().max().item() < 1e-5)

# %% [markdown]
# ### Overlapping tiles
#
# An unpadded network says nothing about the rim. Where the image goes on, the rim is
# the neighbouring tile; where it ends, the authors mirror it. `reflect_pad` does that
# to any extent, and every pixel of the image gets its logit.

# %%
picture = validation[3].image
margin = UNet(8, width=4, depth=3).margin
surrounded = reflect_pad(picture, margin, 96 + 2 * margin, 128 + 2 * margin)
framed = surrounded.clone()
for edge in (margin, margin + 95):
    framed[:, edge, margin : margin + 128] = 1
for edge in (margin, margin + 127):
    framed[:, margin : margin + 96, edge] = 1
print(f"{tuple(picture.shape)} with a margin of {margin}: {tuple(surrounded.shape)}")
viz.show_images(
    {"picture": picture, "what the network gets": framed},
    alt="A street scene, and the same scene continued by its mirror image on all "
    "sides, with a white frame where the real picture ends.",
)

# %% [markdown]
# `overlap_tile` cuts the mirrored image into overlapping tiles. Does the result depend
# on how it was cut? Compare with one pass over the whole mirrored image:

# %%
seed_everything(0)
net = UNet(8, width=4, depth=3).eval()
town = Toytown(1, seed=2, size=(180, 268))[0].image[None]
with torch.no_grad():
    at_once = net(reflect_pad(town, margin, 180 + 2 * margin, 268 + 2 * margin))
for tile in (20, 68, 132):
    tiled = overlap_tile(net, town, tile=tile)
    seam = (tiled - at_once).abs().max().item()
    print(f"tiles of {tile:3}: no seam: {seam < 1e-5}")

# %% [markdown]
# No seam, whatever the tile. There is a trap here that the paper does not spell out. A
# tile has $8m + 4$ logits on a side (for three poolings), so the obvious step, one tile
# after the other, is no multiple of 8. Then neighbouring tiles pool *different* groups
# of pixels, and the same pixel gets two different logits:

# %% tags=["tol=0.02"]
side = 68 + 2 * margin
around = reflect_pad(town, margin, 180 + 2 * margin, 268 + 2 * margin)
with torch.no_grad():
    whole = net(around)
    for step in (64, 68):
        moved = net(around[..., :side, step : step + side])
        same = whole[..., :68, step : step + 68]
        share = (moved - same).abs().mean() / whole.std()
        print(f"a tile that starts at {step}: off by {share:.2f} of the logits' spread")

# %% [markdown]
# That is why `overlap_tile` steps by the largest multiple of $2^d$ that fits: 384 for
# the paper's tiles of 388.

# %% [markdown]
# ### Elastic deformation
#
# Draw a displacement for each corner of a coarse 3 x 3 grid from a Gaussian,
# interpolate bicubically to every pixel, and move the pixels. Image and labels bend
# together: the image is read bilinearly, labels by the nearest pixel, and what comes
# from outside is void. The paper's deviation is 10 pixels for images of 512; for ours,
# 3 to 6.

# %%
ruled = scene.image.clone()
ruled[:, ::16], ruled[:, :, ::16] = 0.1, 0.1
sheet = scene._replace(image=ruled)
generator = torch.Generator().manual_seed(1)
bent = [T.elastic(6.0, generator=generator)(sheet) for _ in range(3)]
viz.show_images(
    {"ruled": ruled, **{f"bent {n}": b.image for n, b in enumerate(bent, start=1)}},
    alt="A street scene ruled with a square grid, and three elastic deformations of "
    "it: the lines bend smoothly, houses and cars with them. Corners from outside are "
    "black.",
)

# %%
viz.show_labels(
    {
        "labels": sheet.semantic,
        **{f"bent {n}": b.semantic for n, b in enumerate(bent, 1)},
    },
    CLASSES,
    PALETTE,
    alt="The label maps of the same four pictures: borders bend exactly as in the "
    "pictures, and classes stay whole numbers; what lies outside is void, in black.",
)

# %% [markdown]
# ### The weight of a gap
#
# Seven cells press against each other, two pixels apart. For each background pixel, let
# $d_1$ and $d_2$ be the distances to the nearest and the second nearest cell. Its
# weight is
#
# $$w = w_c + w_0 \exp\left(-\frac{(d_1 + d_2)^2}{2\sigma^2}\right),
# \qquad w_0 = 10,\; \sigma = 5$$
#
# where $w_c$ balances the classes. Only where *two* cells are near is it large.


# %%
def cells(gap):
    """Seven cells with a gap of so many pixels between them: (96, 128) int64."""
    centres = [(22, 24), (20, 58), (26, 95), (50, 42), (54, 78), (78, 24), (80, 60)]
    distance = torch.cdist(T.pixel_grid(96, 128), torch.tensor(centres).float()[None])
    near, second = distance.topk(2, largest=False).values.unbind(-1)
    inside = (near < 19) & (second - near > gap)
    return torch.where(inside, distance.argmin(dim=-1) + 1, 0)


instance = cells(gap=2)
weights = border_weights(instance)
viz.show_images(
    {"cells": instance, "cell or not": instance > 0, "border weight": weights},
    alt="Seven round cells in different colours, their mask, and the border weight: "
    "bright lines in the narrow gaps between cells, dark inside cells and far from "
    "them.",
)

# %%
background = instance == 0
heavy = weights > 5
print(f"background pixels:       {background.sum()}")
print(f"of them in narrow gaps:  {heavy.sum()}")
share = weights[heavy].sum() / (1 + weights[background]).sum()
print(f"share of the background's weight that lies there: {share:.2f}")

# %% [markdown]
# Two predictions, each with the same number of wrong pixels: one closes all gaps and so
# merges seven cells into one, the other has a stain in an empty corner. Plain
# cross-entropy cannot tell them apart, the weighted one can:

# %%
mask = (instance > 0).long()
calm = weights.masked_fill(mask == 1, 99).flatten().argsort()[: heavy.sum()]
mistaken = {
    "gaps closed": torch.where(heavy, 1, mask),
    "stain elsewhere": mask.flatten().index_fill(0, calm, 1).view_as(mask),
}
for name, preds in mistaken.items():
    logits = 4 * F.one_hot(preds, 2).movedim(-1, 0).float()[None]
    plain = cross_entropy(logits, mask[None])
    weighted = pixel_weighted_cross_entropy(logits, mask[None], 1 + weights[None])
    wrong = (preds != mask).sum()
    print(f"{name:15}: {wrong} wrong pixels, loss {plain:.3f}, weighted {weighted:.3f}")

# %% [markdown]
# ## Is it the paper's network?
#
# `UNet(2, in_channels=1)` should have 31,030,658 parameters. Counted on the `meta`
# device, without allocating them, in the variants that you meet in the wild:


# %%
def count(num_classes, **options):
    with torch.device("meta"):
        return sum(p.numel() for p in UNet(num_classes, **options).parameters())


modern = dict(padding=1, batch_norm=True)
variants = {
    "1 channel, 2 classes (the paper)": count(2, in_channels=1),
    "1 channel, 1 class": count(1, in_channels=1),
    "3 channels, 21 classes": count(21),
    "3 channels, 21 classes, padded and normalised": count(21, **modern),
    "classroom: 3 channels, 8 classes": count(8, width=12, depth=3, **modern),
}
tables.show_table([{"network": n, "parameters": p} for n, p in variants.items()])

# %% [markdown]
# The sizes of figure 1, read off while the paper's network runs on a tile of 572:

# %%
rows = []


def note(name):
    def hook(module, inputs, output):
        size = " x ".join(map(str, output.shape[1:]))
        rows.append({"after": name, "size": size})

    return hook


with torch.device("meta"):
    paper = UNet(2, in_channels=1)
    for level, block in enumerate(paper.encoder, start=1):
        block.register_forward_hook(note(f"down {level}" if level < 5 else "bottom"))
    for level, block in zip((4, 3, 2, 1), paper.decoder, strict=True):
        block.upsample.register_forward_hook(note(f"up-convolution {level}"))
        block.merge.register_forward_hook(note(f"up {level}"))
    paper.head.register_forward_hook(note("logits"))
    paper(torch.empty(1, 1, 572, 572))
tables.show_table(rows)

# %%
layers = [m for m in paper.modules() if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d))]
print(
    len(layers),
    "convolutions, all with a bias:",
    all(m.bias is not None for m in layers),
)
seed_everything(0)
first = UNet(2, depth=1).encoder[0][1][0].weight  # 3 x 3 on 64 channels
print(f"deviation {first.std().item():.3f}, wanted {(2 / 576) ** 0.5:.3f}")

# %% [markdown]
# No package that we know builds this network, so there are no reference weights to
# load; counts, sizes and your own thirty lines are the evidence. What differs:
#
# | | paper | `UNet(...)` here | classroom |
# |---|---|---|---|
# | convolutions | valid | valid | padded |
# | normalisation | none | none | batch normalisation |
# | dropout | at the end of the way down, rate not given | there, 0.5 | none |
# | classes | 2, softmax | any number | 8 |
# | optimiser | SGD, momentum 0.99, one large tile | | AdamW, batches of 4 |
#
# ### Which U-Net is "a U-Net"?
#
# "Vanilla U-Net" in a newer paper or a package means: the same figure, but padded, with
# batch normalisation, often with nearest or bilinear upsampling instead of
# up-convolutions. And since all that the decoder asks for is a list of features, any
# classifier can be the encoder: ResNets, or a MobileNet where the network must fit into
# a phone. What they hand over:

# %%
from torchvision.models import mobilenet_v2

from segcourse.blocks import ResNet


def mobile_features(image):
    """The last features of MobileNetV2 at each stride."""
    x, found = image, {}
    for layer in mobile.features:
        x = layer(x)
        found[x.shape[-1]] = x  # the last of its size
    return list(found.values())


with torch.device("meta"):
    mobile, resnet, image = mobilenet_v2(), ResNet(18), torch.empty(1, 3, 224, 224)
    unet = UNet(8, padding=1, batch_norm=True)
    encoders = {
        "vanilla": (unet.encoder, unet.encode(image)),
        "ResNet-18": (resnet, resnet(image)),
        "MobileNetV2": (mobile.features, mobile_features(image)),
    }

# %%
rows = []
for name, (encoder, features) in encoders.items():
    rows.append(
        {
            "encoder": name,
            "parameters": sum(p.numel() for p in encoder.parameters()),
            "strides": ", ".join(str(224 // f.shape[-1]) for f in features),
            "channels": ", ".join(str(f.shape[1]) for f in features),
        }
    )
tables.show_table(rows)

# %% [markdown]
# MobileNet's encoder is far smaller than the vanilla one, and pretrained
# weights exist for it; but its finest skip has stride 2. Chapter 20 fine-tunes such
# encoders.

# %% [markdown]
# ## Train it
#
# The classroom's network: 12 channels, three poolings, padded. Rare classes get a
# little more weight, as in chapter 05: cross-entropy weighed by $1 / \ln(1.02 + f)$,
# plus Dice. The learning rate rises during the first half of the steps and falls during
# the second: a network that starts from nothing likes to be led in slowly.

# %%
scenes = Cached(Toytown(1600))
labels = torch.stack([scene.semantic for scene in scenes])
weight = log_frequency_weights(class_counts(labels, len(CLASSES)))
tables.show_table(
    [
        {"class": name, "share": share, "weight": w}
        for name, share, w in zip(
            CLASSES,
            (labels.flatten().bincount() / labels.numel()).tolist(),
            weight.tolist(),
            strict=True,
        )
    ]
)


# %%
def loss(model, batch):
    image, semantic, _ = batch
    logits = model(image)
    return cross_entropy(logits, semantic, weight=weight) + dice_loss(logits, semantic)


seed_everything(0)
model = UNet(8, width=12, depth=3, padding=1, batch_norm=True, dropout=0.0)
history = fit(
    model,
    loss,
    batches(scenes, batch_size=4),
    steps=760,
    learning_rate=1.5e-2,
    schedule=warmup(poly(0.9), share=0.5),
)
print(f"{sum(p.numel() for p in model.parameters())} parameters, {len(history)} steps")

# %%
viz.show_curves(
    {"loss": history},
    xlabel="step",
    ylabel="cross-entropy + Dice",
    smooth=20,
    alt="The loss falls steeply during the first hundred steps and slowly to the end.",
)

# %% tags=["tol=0.05"]
matrix = evaluate(
    model, batches(validation, batch_size=20, shuffle=False), num_classes=8
)
tables.show_table(
    [
        {"class": name, "IoU": value, "perfect shares, stride 8": fcn}
        for name, value, fcn in zip(CLASSES, iou(matrix).tolist(), best[8], strict=True)
    ]
)
print(f"mean IoU {mean_iou(matrix):.3f}")

# %%
shown = [validation[index] for index in (3, 8, 11)]
predictions = predict(model, torch.stack([sample.image for sample in shown]))
viz.show_predictions(
    shown,
    {"U-Net": predictions},
    CLASSES,
    PALETTE,
    alt="Three street scenes with U-Net's prediction and the truth: borders are "
    "sharp, people and most lamp posts are found.",
)

# %% [markdown]
# ## What did the idea buy?
#
# The same network three times: skips concatenated (U-Net), added (as FCN adds its
# scores), or left out. Three seeds each, shorter trainings than the one above, read
# from a stored measurement (`python -m benchmarks.unet` repeats it).

# %%
results = measured("unet")
print(f"{results['steps']} steps of {results['batch']}, {len(results['seeds'])} seeds")


def summary(runs, what=lambda run: run["miou"]):
    """Mean and standard deviation over the seeds."""
    values = torch.tensor([what(run) for run in runs], dtype=torch.float64)
    return values.mean().item(), values.std().item()


rows = []
for skip, runs in results["skips"].items():
    mean, spread = summary(runs)
    lamps, _ = summary(runs, lambda run: run["iou"]["lamp"])
    rows.append({"skip": skip, "parameters": runs[0]["parameters"], "mean IoU": mean,
                 "± (seeds)": spread, "lamp": lamps})  # fmt: skip
tables.show_table(rows)

# %%
viz.show_bars(
    {
        name: {
            skip: summary(runs, lambda run, name=name: run["iou"][name])
            for skip, runs in results["skips"].items()
        }
        for name in CLASSES
    },
    ylabel="IoU",
    alt="IoU of every class with skips concatenated, added and left out. Without "
    "skips every class is worse, lamps and people by far; concatenated and added are "
    "close.",
)

# %%
concat, add, none = (summary(results["skips"][name])[0] for name in results["skips"])
print(f"skips at all:             {min(concat, add) - none:+.3f} mean IoU")
print(f"concatenated over added:  {concat - add:+.3f} mean IoU")

# %% [markdown]
# Read aloud: *that* there are skips decides, most of all for thin things: without them
# the lamps are nearly gone. *How* they are merged cannot be told from these runs: the
# difference is smaller than the spread between seeds, and adding needs fewer
# parameters. The paper never compared the two. When you meet "concatenate where FCN
# adds" as the reason for U-Net's success, remember this table: the step that counts is
# to hand over features at every scale instead of scores at two.
#
# ### How few pictures are enough?
#
# The same network with concatenation, trained on 5, 20 or 80 scenes, as they are or
# bent anew each time it sees them, always for the same number of steps:

# %%
rows = []
for number, arms in results["few"].items():
    row = {"scenes": int(number)}
    for name, runs in arms.items():
        row[name], row[f"± {name}"] = summary(runs)
    row["gain"] = row["bent"] - row["as they are"]
    rows.append(row)
tables.show_table(rows)

# %%
viz.show_bars(
    {
        f"{number} scenes": {name: summary(runs) for name, runs in arms.items()}
        for number, arms in results["few"].items()
    },
    ylabel="mean IoU",
    alt="Mean IoU after training on 5, 20 and 80 scenes, as they are and elastically "
    "bent. From 5 to 20 scenes it rises steeply. Bending helps with 5 scenes only.",
)

# %%
gains = {n: summary(a["bent"])[0] - summary(a["as they are"])[0]
         for n, a in results["few"].items()}  # fmt: skip
for number, gain in gains.items():
    print(f"{number:>2} scenes: bending changes the mean IoU by {gain:+.3f}")
everything = summary(results["skips"]["concat"])[0]
eighty = summary(results["few"]["80"]["as they are"])[0]
print(
    f"80 scenes reach {eighty / everything:.2f} of what {results['training_scenes']} do"
)

# %% [markdown]
# Two honest readings. First: for so short a training, 80 scenes are nearly as good as
# all of them, and five are not hopeless. Second: bending *helps with five scenes and
# harms with more*. Five scenes are soon known by heart, and bending keeps them new.
# Twenty are not exhausted in this number of steps, and bending has its price: it shows
# the network leaning lamps and black corners, which no validation scene contains.
# Tissue is soft, towns are not. An augmentation is a claim about your data. Measure it.

# %% [markdown]
# ## Where it breaks
#
# A U-Net knows what it has seen *at the size at which it saw it*. Show it the same
# streets drawn twice and three times as large, in finer detail:

# %% tags=["tol=0.05"]
large = {f: Cached(Toytown(24, seed=1, size=(96 * f, 128 * f))) for f in (1, 2, 3)}
rows = []
for factor, streets in large.items():
    scores = evaluate(
        model, batches(streets, batch_size=4, shuffle=False), num_classes=8
    )
    rows.append({"times as large": factor, "mean IoU": mean_iou(scores)})
tables.show_table(rows)

# %%
near = [large[3][index] for index in (3, 8)]
viz.show_predictions(
    near,
    {"U-Net": predict(model, torch.stack([sample.image for sample in near]))},
    CLASSES,
    PALETTE,
    alt="Two scenes drawn three times as large: the road in the foreground, lawns and "
    "tree crowns break up into patches of wrong classes, while distant houses and "
    "people are still found.",
)

# %% [markdown]
# Near the camera a paving stone is as large as a car was in training, and the network
# sees the stone and not the road: what it can see at once, its *receptive field*, is
# too small for the thing. Far away, where sizes are as in training, it is still right.
# More poolings would widen the view, at the price of resolution that the skips must
# bring back. The next chapter widens it without pooling: DeepLab's atrous convolutions.

# %% [markdown]
# ## Common mistakes
#
# **1. The channels of the up-convolution.** After the concatenation there are twice as
# many channels as before, and the numbers no longer fit:

# %%
double = nn.ConvTranspose2d(512, 512, 2, stride=2)  # wrong: the bottom has 1024
try:
    double(torch.empty(1, 1024, 28, 28))
except RuntimeError as error:
    print(error)

# %% [markdown]
# The repair that *runs* is to leave the up-convolution at 1024 channels and widen the
# next layer to 1024 + 512. It trains, too. It only costs:

# %%
wide = count(2, in_channels=1)
for level in range(4):
    c = 64 * 2**level
    wide += 4 * 2 * c * c + c  # the up-convolution keeps its 2C channels
    wide += 9 * c * c  # and the next layer takes 3C instead of 2C
print(f"{wide} parameters instead of {count(2, in_channels=1)}")

# %% [markdown]
# Right: `nn.ConvTranspose2d(2 * c, c, 2, stride=2)`, then a convolution from `2 * c`.
#
# **2. The skip cut from the corner.** `skip[..., :h, :w]` has the right size, so
# nothing complains; its features lie 4 to 88 pixels away from where they belong.
# Trained both ways, with an unpadded network of two poolings:

# %%
for where, runs in results["crops"].items():
    print("{:7} mean IoU {:.3f} ± {:.3f}".format(where, *summary(runs)))
skip = torch.arange(64.0).view(1, 1, 1, 64).expand(1, 1, 64, 64)
print("middle starts at", center_crop(skip, 56, 56)[0, 0, 0, 0].item())

# %% [markdown]
# **3. Odd sizes.** A padded U-Net pools 99 rows to 49 and doubles them to 98; the skip
# has 99. Code without a check stops in the middle. Three usual repairs are to resize
# the image to a size that works, to fill up with black, and to fill up with a mirror
# image. They are not equally good:

# %% tags=["tol=0.05"]
try:
    model(torch.rand(1, 3, 99, 133))
except ValueError as error:
    print(error)
odd = Cached(Toytown(24, seed=1, size=(99, 133)))
odd_target = torch.stack([sample.semantic for sample in odd])
images = torch.stack([sample.image for sample in odd])


def resized(height, width):
    """Classes of the resized images, brought back by the nearest pixel."""
    small = F.interpolate(images, (height, width), mode="bilinear", antialias=True)
    classes = predict(model, small)[:, None].float()
    return F.interpolate(classes, (99, 133), mode="nearest")[:, 0].long()


black = torch.stack([T.pad_to_multiple(8)(sample).image for sample in odd])
fill = T.pad_to_multiple(8, mirrored=True)
glass = torch.stack([fill(sample).image for sample in odd])
answers = {
    "resized to 48 x 64": resized(48, 64),
    "resized to 96 x 128": resized(96, 128),
    "filled with black": predict(model, black)[:, :99, :133],
    "filled with a mirror": predict(model, glass)[:, :99, :133],
}
for name, classes in answers.items():
    print(f"{name:21} {mean_iou(confusion_matrix(classes, odd_target, 8)):.3f}")

# %% [markdown]
# Resizing blurs the noise and the textures that the network knows, even to a size so
# near. And five rows of black at the bottom are seen by all pixels around: the network
# never met black ground. Right: mirror, predict, cut.

# %% [markdown]
# **4. A sigmoid on channels that were trained with softmax.** Softmax only knows
# *differences* of logits: adding 3 to all of them changes nothing. A sigmoid looks at
# each alone, and says yes to no class, or to several:

# %% tags=["tol=0.05"]
with torch.no_grad():
    logits = model.eval()(shown[0].image[None])
yes = (logits.sigmoid() > 0.5).sum(dim=1)
print(f"one class:        {(yes == 1).float().mean():.2f} of the pixels")
print(f"no or many:       {(yes != 1).float().mean():.2f}")
shifted = ((logits + 3).sigmoid() > 0.5).sum(dim=1)
print(f"after adding 3:   {(shifted != 1).float().mean():.2f}")
same = (logits + 3).argmax(dim=1) == logits.argmax(dim=1)
print("the argmax is the same everywhere:", same.all().item())

# %% [markdown]
# Right: K channels with softmax and `argmax`, or one channel with a sigmoid and 0.5.
#
# **5. The weight map made from the augmented mask.** Bending reads labels by the
# nearest pixel, and a gap of one pixel does not survive that everywhere. If you then
# number the cells anew, by looking for connected regions, cells have merged, and the
# gap that mattered most has no weight:

# %%
from scipy.ndimage import label

tight = cells(gap=1.2)
sample = Sample(torch.rand(3, 96, 128), (tight > 0).long(), tight)
bent = T.elastic(3.0, generator=torch.Generator().manual_seed(0))(sample)
numbered = torch.from_numpy(label(bent.instance.numpy() > 0)[0]).long()
for name, objects in {
    "before bending": tight,
    "bent together with the mask": bent.instance,
    "numbered anew after bending": numbered,
}.items():
    found, weight_sum = (
        len(objects[objects > 0].unique()),
        border_weights(objects).sum(),
    )
    print(f"{name:28} {found} cells, total border weight {weight_sum:.0f}")

# %% [markdown]
# Right: carry the *instance map* through every transform (this course's `Sample` does),
# or compute the weights once and bend them like an image.

# %% [markdown]
# ## Exercises
#
# Replace `...` by your answer and run the cell. `ex.side_of_logits.hint()` gives a
# hint, and another one each time; the solutions are behind the toggles.

# %%
from segcourse.exercises import unet as ex

# %% [markdown]
# ### 8.1 Side of the logits
#
# How many pixels wide are the logits of an unpadded U-Net that pools `depth` times, for
# an image `side` pixels wide? Return `None` if the image does not fit: something cannot
# be halved without a remainder, or nothing is left. (The paper: `side=572, depth=4`
# gives 388.)


# %%
def side_of_logits(side, depth): ...  # your code


ex.side_of_logits.check(side_of_logits)

# %%
ex.side_of_logits.show_solution()

# %% [markdown]
# ### 8.2 Counting parameters
#
# How many numbers does the paper's network learn, for any number of image channels and
# classes, any width and depth? (`1, 2, 64, 4` gives 31,030,658.)


# %%
def parameters(in_channels, num_classes, width, depth): ...  # your code


ex.parameters.check(parameters)

# %%
ex.parameters.show_solution()

# %% [markdown]
# ### 8.3 Fix the skip
#
# This function merges a skip of shape (N, A, H, W) with enlarged features of shape
# (N, B, h, w):
#
#     def merge(skip, x):
#         return torch.cat([skip[..., : x.shape[-2], : x.shape[-1]], x], dim=1)
#
# It runs, and the network trains badly. Write it correctly.


# %%
def merge(skip, x): ...  # your code


ex.fix_crop.check(merge)

# %%
ex.fix_crop.show_solution()

# %% [markdown]
# ### 8.4 A mirror at the border
#
# A row of `length` pixels is continued on both sides by its mirror image; the mirror
# stands in the middle of the border pixel. Which pixel, from 0 to `length - 1`, is seen
# at `place`? Places may be negative, and far away. (A row of 3: places -2 to 4 show 2 1
# 0 1 2 1 0.)


# %%
def mirrored(place, length): ...  # your code


ex.mirror.check(mirrored)

# %%
ex.mirror.show_solution()

# %% [markdown]
# ### 8.5 The border weight map
#
# Compute the border term $w_0 \exp(-(d_1 + d_2)^2 / 2\sigma^2)$ from an instance map (a
# NumPy array, 0 is background). It is 0 inside objects and where there are fewer than
# two. `scipy.ndimage.distance_transform_edt` is your friend.


# %%
def border_map(instance, w0, sigma): ...  # your code


ex.border.check(border_map)

# %%
ex.border.show_solution()

# %% [markdown]
# ### 8.6 When does a tile move without a trace?
#
# An experiment. `net` is an unpadded U-Net, `image` is (1, 3, H, W), and tiles are
# `side` columns wide. Compare the logits of the tile that starts at column 0 with those
# of the tile that starts at column s, where both describe the same pixels, for s = 1,
# 2, ..., 16. Return the first s for which they agree to 1e-4, or `None`. Can you
# predict it?


# %%
def shift_period(net, image, side): ...  # your code


ex.shift.check(shift_period)

# %%
ex.shift.show_solution()

# %% [markdown]
# ## Quiz

# %% [markdown]
# **Q1. Why are the logits of the paper's U-Net smaller than its input?**
#
# <details class="quiz right"><summary>Its convolutions do not pad</summary>
#
# Right: each 3 x 3 convolution removes one pixel on every side, and at stride 16 that
# is 16 pixels of the image. In all 92 on each side.
#
# </details>
# <details class="quiz wrong"><summary>Max pooling rounds odd sides down</summary>
#
# Not quite: valid inputs are chosen so that every pooled side is even; nothing is
# rounded.
#
# </details>
# <details class="quiz wrong"><summary>The up-convolutions cannot undo four
# poolings</summary>
#
# Not quite: four doublings undo four halvings exactly. It is the convolutions that
# take.
#
# </details>

# %% [markdown]
# **Q2. What do U-Net's skips carry that FCN's do not?**
#
# <details class="quiz wrong"><summary>Gradients to the encoder</summary>
#
# Not quite: FCN's skips carry gradients too; every connection does.
#
# </details>
# <details class="quiz wrong"><summary>The positions of the maxima of the
# poolings</summary>
#
# Not quite: that is SegNet, chapter 07.
#
# </details>
# <details class="quiz right"><summary>All features of a scale, not one score per
# class</summary>
#
# Right: 64 to 512 channels, merged by convolutions, at every scale down to stride 1.
#
# </details>

# %% [markdown]
# **Q3. Tiles of 388 logits, laid side by side at steps of 388. What happens?**
#
# <details class="quiz right"><summary>Neighbours pool different groups of pixels, and
# logits depend on the cut</summary>
#
# Right: 388 is no multiple of 16. A step of 384 keeps the pooling grids aligned, and
# the result is that of a single pass.
#
# </details>
# <details class="quiz wrong"><summary>Nothing: valid convolutions make any tiling
# seamless</summary>
#
# Not quite: convolutions move with the picture, poolings only in steps of their stride.
#
# </details>
# <details class="quiz wrong"><summary>A gap of 184 pixels stays between tiles</summary>
#
# Not quite: the *inputs* overlap by 184 pixels, so the logits meet.
#
# </details>

# %% [markdown]
# **Q4. Where is the border weight large?**
#
# <details class="quiz wrong"><summary>Along the outline of every cell</summary>
#
# Not quite: that would take the distance to the nearest cell alone. The formula adds
# the distance to the second nearest.
#
# </details>
# <details class="quiz wrong"><summary>Inside small cells</summary>
#
# Not quite: small cells are rare pixels, which is a matter of the class weight.
#
# </details>
# <details class="quiz right"><summary>On background squeezed between two
# cells</summary>
#
# Right: only there are both distances small.
#
# </details>

# %% [markdown]
# **Q5. You bend image and mask elastically. How are the mask's pixels read?**
#
# <details class="quiz wrong"><summary>Bilinearly, like the image</summary>
#
# Not quite: between class 1 and class 3 that would invent class 2.
#
# </details>
# <details class="quiz right"><summary>By the nearest pixel, with the same displacement
# as the image</summary>
#
# Right: classes stay classes, and stay where the picture shows them.
#
# </details>
# <details class="quiz wrong"><summary>By the nearest pixel, with a displacement of
# their own</summary>
#
# Not quite: two random draws move the labels off the picture.
#
# </details>

# %% [markdown]
# **Q6. A package's "U-Net" has 24,436,369 parameters and needs sides divisible by 32.
# Why is it not the paper's?**
#
# <details class="quiz wrong"><summary>It was trained on other data</summary>
#
# Not quite: training changes the values of parameters, never their number.
#
# </details>
# <details class="quiz wrong"><summary>It counts batch normalisation twice</summary>
#
# Not quite: normalisation adds two numbers per channel, a fraction of a percent.
#
# </details>
# <details class="quiz right"><summary>Its encoder is a ResNet-34, its decoder narrower
# and padded</summary>
#
# Right: 21,284,672 of its parameters are the encoder's. Same drawing, other network.
#
# </details>

# %% [markdown]
# **Q7. Which comparison of "concatenate" and "add" is fair?**
#
# <details class="quiz right"><summary>Same data, steps and seeds, both parameter counts
# reported</summary>
#
# Right: and with several seeds, because the difference is of the size of their spread.
#
# </details>
# <details class="quiz wrong"><summary>U-Net's published score against FCN's</summary>
#
# Not quite: data, encoder, loss and years differ, and all of them at once.
#
# </details>
# <details class="quiz wrong"><summary>One run each, the better one wins</summary>
#
# Not quite: another seed may turn the order round.
#
# </details>

# %% [markdown]
# ## Take-aways
#
# - Features from every scale, merged by convolutions: that is U-Net. It draws thin
#   things that stride 8 cannot.
# - Valid convolutions cost a rim of 92 pixels and buy seamless tiles, if the step is a
#   multiple of $2^d$.
# - Elastic bending helps when pictures are few and the things in them soft. Measure it.
# - The gap between two cells needs weight, and an instance map that knows two cells.
# - "U-Net" names a drawing. Say which one you mean: padded or not, normalised or not,
#   which encoder.

# %% [markdown]
# ## Further reading
#
# - Ronneberger, Fischer, Brox, [U-Net: Convolutional Networks for Biomedical Image
#   Segmentation](https://arxiv.org/abs/1505.04597), MICCAI 2015 (`ronneberger2015unet`)
# - Long, Shelhamer, Darrell, [Fully Convolutional Networks for Semantic
#   Segmentation](https://arxiv.org/abs/1411.4038), CVPR 2015 (`long2015fcn`)
# - He, Zhang, Ren, Sun,
#   [Delving Deep into Rectifiers](https://arxiv.org/abs/1502.01852), ICCV 2015: where
#   $\sqrt{2/N}$ comes from (`he2015delving`)
# - Sandler and others, [MobileNetV2](https://arxiv.org/abs/1801.04381), CVPR 2018
#   (`sandler2018mobilenetv2`)
