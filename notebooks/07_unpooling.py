# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # 7. Unpooling: DeconvNet and SegNet
#
# DeconvNet and SegNet store the position of each maximum when they pool, and their
# decoders write values back to these positions.
#
# After this chapter you can
#
# - translate the index of a maximum into its place in the window, and predict which
#   unpooling layers need `output_size` (exercises 7.1 and 7.2);
# - normalise the kernel of a transposed convolution that produces a checkerboard
#   (exercise 7.3);
# - construct a second map that has the same pooled values and indices (exercise 7.4);
# - find and correct an unpooling that writes values into the wrong map (exercise 7.5);
# - combine the scores of overlapping proposals (exercise 7.6).
#
# You need [chapter 5](05_losses.ipynb) (cross-entropy, Dice, class weights) and
# [chapter 6](06_fcn.ipynb) (stride, transposed convolution). The
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
from torch import nn

from segcourse import tables, viz
from segcourse.data import Cached, Photographs, Toytown, batches, measured, toytown
from segcourse.losses import (
    class_counts,
    cross_entropy,
    dice_loss,
    log_frequency_weights,
)
from segcourse.metrics import confusion_matrix, iou, mean_iou
from segcourse.models import DeconvNet, SegNet, SegNetBasic
from segcourse.training import evaluate, fit, poly, predict, warmup

CLASSES, PALETTE = toytown.CLASSES, toytown.PALETTE

# %% [markdown]
# ## The problem
#
# The finest logits of FCN-8s ([chapter 6](06_fcn.ipynb)) are computed after three
# pooling layers: each class has one logit for a block of 8 x 8 pixels. Bilinear
# upsampling only interpolates between these logits. It restores few details that are
# smaller than a block, because one number does not encode their shape.
#
# A single pooling layer is enough to lose a position. In the figure, the ones form a
# thin post. It stands in another column in the second map, but both maps give the same
# pooled map.

# %% tags=["hide-input"]
post = torch.zeros(4, 8, dtype=torch.long)
left_post, right_post = post.clone(), post.clone()
left_post[:, 2], right_post[:, 3] = 1, 1
pooled = F.max_pool2d(right_post[None].float(), 2)[0].long()
grids = {
    "post in column 2": left_post,
    "post in column 3": right_post,
    "either, pooled": pooled,
}
GREY_BLUE = ((238, 238, 238), (86, 180, 233))  # other values, maxima
viz.show_grid(
    grids,
    ("0", "1"),
    GREY_BLUE,
    texts={name: labels.tolist() for name, labels in grids.items()},
    alt="Two maps of 4 x 8 zeros with a column of ones, at column 2 and at column 3. "
    "Pooled, both are the same map of 2 x 4 with ones in column 1.",
)

# %% [markdown]
# Other channels of the features may encode the position, but FCN-8s reduces all
# channels to one logit per class before it upsamples. The cell prints the scores of a
# small FCN-8s on Toytown, the course's drawn streets of 96 x 128 pixels. Lamps are the
# thinnest class. The script (*benchmark*) `architectures` trained the network with
# three seeds.

# %%
stored = measured("architectures")["networks"]
fcn = stored["fcn_8s"]
print(f"FCN-8s: mean IoU {fcn['miou']:.2f}, IoU of lamp {fcn['thin_iou']:.2f}")

# %% [markdown]
# ## The idea
#
# Two networks of 2015 store these positions: DeconvNet by [Noh, Hong and
# Han](https://arxiv.org/abs/1505.04366), and SegNet by [Badrinarayanan, Kendall and
# Cipolla](https://arxiv.org/abs/1511.00561). When the encoder pools, it keeps the
# **index** of every maximum: its position in the map, counted row by row from zero.
# Later, **unpooling** (or *max unpooling*) writes each value of the decoder to the
# position of its index, and 0 everywhere else.
#
# Check an example by hand. In the left map, the maximum of the upper left window is 3,
# in row 0 and column 1. Its index is 0 · 4 + 1 = 1. The decoder has the value 7 for
# this window, and unpooling writes it to position 1.

# %%
x = torch.tensor([[[[1.0, 3, 2, 0], [0, 2, 1, 1], [4, 0, 0, 1], [2, 1, 5, 0]]]])
pooled, indices = F.max_pool2d(x, kernel_size=2, return_indices=True)
values = torch.tensor([[[[7.0, 9], [6, 8]]]])  # from the decoder
unpooled = F.max_unpool2d(values, indices, kernel_size=2)
print("maxima", pooled.tolist(), "indices", indices.tolist())

# %% tags=["hide-input"]
grids = {
    "encoder: maxima in blue": unpooled > 0,
    "decoder, with indices": values < 0,  # no colour
    "unpooled": unpooled > 0,
}
grids = {name: mask[0, 0].long() for name, mask in grids.items()}
named = [["7\nindex 1", "9\nindex 2"], ["6\nindex 8", "8\nindex 14"]]
numbers = x[0, 0].long().tolist(), named, unpooled[0, 0].long().tolist()
viz.show_grid(
    grids,
    ("other", "place of a maximum"),
    GREY_BLUE,
    texts=dict(zip(grids, numbers, strict=True)),
    alt="Left: the encoder's 4 x 4 map with the maxima 3, 2, 4 and 5 in blue. Middle: "
    "the decoder's values 7, 9, 6, 8 with the indices 1, 2, 8, 14. Right: a 4 x 4 map "
    "with 7, 9, 6 and 8 where the maxima were, and twelve zeros.",
)

# %% [markdown]
# As a formula, let $x$ be the encoder's map. We write $i \in j$ if position $i$ lies in
# window $j$. Pooling computes the maximum $y_j$ of each window and its index $m_j$.
# Unpooling computes the map $u$ from the decoder's values $v_j$:
#
# $$y_j = \max_{i \in j} x_i, \qquad
# m_j = \operatorname*{arg\,max}_{i \in j} x_i, \qquad
# u_i = \begin{cases} v_j & \text{if } i = m_j \text{ for a window } j \\ 0 &
# \text{otherwise} \end{cases}$$
#
# With even sides, three quarters of the positions receive no value and stay 0. The
# convolutions that follow compute a dense map from $u$. If several positions share the
# maximum, PyTorch's index names the first of them. After a ReLU, many windows contain
# only zeros, so their index names the upper left position.
#
# ### DeconvNet: with fully connected layers
#
# DeconvNet contains the classifier VGG-16 with its fully connected layers fc6 and fc7,
# but without the last layer fc8. Five pooling layers reduce an image of 224 x 224
# pixels to 7 x 7 positions. The kernel of fc6 covers all of them, so fc6 and fc7
# compute one vector. *fc6-deconv*, a transposed convolution with a 7 x 7 kernel, turns
# the vector into 7 x 7 positions again. Five unpooling layers lead back to 224 x 224.
#
# The diagram leaves out the convolutions. Below each box stand its channels and
# resolution; 1/224 is a single position. The 21 logits belong to the classes of PASCAL
# VOC. The arcs carry the indices.

# %% tags=["hide-input"]
way_down = [("pool1", 2, 64), ("pool2", 4, 128), ("pool3", 8, 256), ("pool4", 16, 512)]
way_up = [("unpool4", 8, 512), ("unpool3", 4, 256), ("unpool2", 2, 128)]
boxes = [("image", 1, 3), *way_down, ("pool5", 32, 512), ("fc6, fc7", 224, 4096)]
boxes += [("fc6-deconv", 32, 512), ("unpool5", 16, 512), *way_up, ("unpool1", 1, 64)]
boxes += [("logits", 1, 21)]
color = {"image": 6, "fc6, fc7": 4, "fc6-deconv": 4, "logits": 6}
viz.show_architecture(
    [
        {"name": n, "stride": s, "channels": c}
        | {"color": color.get(n, 2 if n.startswith("un") else 0)}
        for n, s, c in boxes
    ],
    links=[(5, 8, ""), (4, 9, ""), (3, 10, ""), (2, 11, ""), (1, 12, "indices")],
    alt="DeconvNet as a row of boxes. Five pooling layers reduce the image to stride "
    "32, fc6 and fc7 to a single position with 4096 channels. fc6-deconv returns to "
    "stride 32, five unpooling layers to stride 1. An arc leads from each pooling "
    "layer to the unpooling layer that uses its indices.",
)

# %% [markdown]
# fc6 is made for inputs of 224 x 224 pixels. DeconvNet does not segment the whole image
# at once, but **proposals**: rectangles in which another method, EdgeBox, expects an
# object. Each proposal is resized to the input size. The training has two stages: first
# crops that are centred on annotated objects, then proposals that overlap with
# annotated objects. At inference, at most 50 proposals of an image are segmented, and
# their score maps are placed at their positions in the image. For each pixel and class,
# the largest score is kept (exercise 7.6).
#
# ### SegNet: no fully connected layers
#
# SegNet does not have the orange layers, and segments the whole image at once. Its
# encoder has the 13 convolutions of VGG-16, and its decoder has 13 as well. The decoder
# receives the encoder's coarsest features. From the finer maps, it receives only the
# indices. SegNet-Basic is a smaller network by the same authors, with four pooling
# layers, 7 x 7 kernels and no ReLU in the decoder.

# %% [markdown]
# ## Build it
#
# ### Unpooling without a loop
#
# We copy each value to its whole window, and then keep the copy at the index.


# %%
def unpool(values, indices, size):
    """(N, C, h, w) and the indices of the maxima -> (N, C, *size)."""

    def spread(x):
        x = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
        return x[..., : size[0], : size[1]]

    position = torch.arange(size[0] * size[1]).view(size)
    return torch.where(spread(indices) == position, spread(values), 0)


x = torch.rand(2, 3, 45, 61)
pooled, indices = F.max_pool2d(x, 2, ceil_mode=True, return_indices=True)
size = x.shape[-2:]
theirs = F.max_unpool2d(pooled, indices, kernel_size=2, output_size=size)
print(tuple(x.shape), "pooled to", tuple(pooled.shape))
print("same as PyTorch:", torch.equal(unpool(pooled, indices, size), theirs))

# %% [markdown]
# Sides of 45 and of 46 both become 23, because `ceil_mode=True` rounds up. Unpooling
# therefore needs `output_size`.
#
# ### The memory of indices
#
# U-Net ([chapter 8](08_unet.ipynb)) keeps the encoder's features for its decoder. How
# much memory do indices save? We follow the encoder of the full-size SegNet on an image
# of 360 x 480 pixels. On the `meta` device, tensors have shapes but no values.

# %%
MIB = 2**20
x, rows = torch.empty(1, 3, 360, 480, device="meta"), []
for channels in (64, 128, 256, 512, 512):
    features = torch.empty(1, channels, *x.shape[-2:], device="meta")
    x, indices = F.max_pool2d(features, 2, ceil_mode=True, return_indices=True)
    rows.append(
        {
            "size": "{} x {}".format(*features.shape[-2:]),
            "channels": channels,
            "features, MiB": features.nbytes / MIB,
            "PyTorch's indices, MiB": indices.nbytes / MIB,
            "2 bits each, MiB": indices.numel() * 2 / 8 / MIB,
        }
    )
total = {key: sum(row[key] for row in rows) for key in list(rows[0])[2:]}
tables.show_table([*rows, {"size": "all", "channels": ""} | total], digits=2)

# %% [markdown]
# The place of the maximum in its window needs 2 bits (exercise 7.1), and there is one
# index for four feature values of 32 bits each. Stored in 2 bits, indices take about 64
# times less memory than the features. But PyTorch stores each index in 64 bits, so its
# indices still take half as much memory as the features. In training, the features stay
# in memory anyway, because the gradients need them.
#
# ### The transpose of a convolution
#
# The name DeconvNet comes from *deconvolution*, another name for the transposed
# convolution ([chapter 6](06_fcn.ipynb)). Why is it called transposed? A 1-D
# convolution multiplies the signal by a matrix. Each row of the matrix holds the
# kernel, moved by the stride. The transposed convolution multiplies by the transposed
# matrix. The cell shows this for the kernel 1, 2, 3 with stride 2.

# %%
kernel = torch.tensor([[[1.0, 2, 3]]])
matrix = F.conv1d(torch.eye(5)[:, None], kernel, stride=2)[:, 0].T  # of unit vectors
print(matrix.long().tolist())
signal = torch.tensor([4.0, 10])
transposed = F.conv_transpose1d(signal[None, None], kernel, stride=2)[0, 0]
print("by the matrix:", (matrix.T @ signal).tolist())
print("by the layer: ", transposed.tolist())
print("not the inverse:", (matrix @ transposed).tolist())

# %% [markdown]
# The last line multiplies this result by the matrix itself. The product is not the
# signal 4, 10, so *deconvolution* is a misleading name: the two layers do not undo each
# other.
#
# A transposed convolution with stride 2 can also be computed in two steps: put zeros
# between the values, then convolve with the flipped kernel. Unpooling followed by a
# convolution has the same two steps, but the image decides where each value stands in
# its window.

# %%
weight, coarse = torch.rand(1, 1, 3, 3), torch.rand(1, 1, 6, 8)
with_zeros = torch.zeros(1, 1, 12, 16)
with_zeros[..., ::2, ::2] = coarse  # always the upper left of four positions
two_steps = F.conv2d(with_zeros, weight.flip(2, 3), padding=1)
layer = F.conv_transpose2d(coarse, weight, stride=2, padding=1, output_padding=1)
print("same result:", torch.allclose(two_steps, layer, atol=1e-6))

# %% [markdown]
# ### The checkerboard artefact
#
# With stride 2, neighbouring output pixels receive different weights. For example, the
# 1-D kernel 1, 2, 3 turns a long signal of ones into 4, 2, 4, 2, …: every second pixel
# receives 1 + 3, and the others receive 2. Such a pattern, which repeats every two
# pixels, is a **checkerboard artefact**. The figure shows five outputs for an input of
# ones, each divided by its mean and without its border. Yellow is high. Which outputs
# are constant?

# %% tags=["hide-input"]
torch.manual_seed(4)
ones = torch.ones(1, 1, 6, 6)
random3, random4 = torch.rand(1, 1, 3, 3), torch.rand(1, 1, 4, 4)
line = torch.tensor([0.25, 0.75, 0.75, 0.25])
linear = torch.outer(line, line)[None, None]


def doubled(weight):
    return F.conv_transpose2d(ones, weight, stride=2, padding=1)


nearest = F.interpolate(ones, scale_factor=2)
maps = {
    "3 x 3, all weights 1": doubled(torch.ones(1, 1, 3, 3)),
    "3 x 3, random": doubled(random3),
    "4 x 4, random": doubled(random4),
    "4 x 4, bilinear": doubled(linear),
    "nearest, then 3 x 3 random": F.conv2d(nearest, random3),
}
inside = {name: each[0, 0, 1:9, 1:9] for name, each in maps.items()}
viz.show_images(
    {name: each / each.mean() for name, each in inside.items()},
    columns=5,
    limits=(0, 2),
    alt="Five maps of 8 x 8. The 3 x 3 kernels and the random 4 x 4 kernel give a "
    "pattern that repeats every two pixels. The bilinear kernel, and nearest followed "
    "by a convolution, give one constant colour.",
)

# %% [markdown]
# Of the nine weights of a 3 x 3 kernel, a pixel receives one, two or four. A 4 x 4
# kernel gives each pixel four weights, but random weights have unequal sums. There are
# two common ways to avoid the pattern. The kernel can start from bilinear weights, as
# in FCN, although training may change them. Or the map is first upsampled by nearest
# neighbour or bilinearly, and then convolved, as [Odena, Dumoulin and
# Olah](https://distill.pub/2016/deconv-checkerboard/) proposed. A constant then stays
# constant for all weights, except at a padded border.
#
# ### The whole network
#
# Each block is a convolution, batch normalisation and a ReLU. The decoder takes the
# encoder's (input, output) pairs in reverse order, without the first pair
# (`pairs[:0:-1]`), and swaps input and output. Its last block is a convolution alone,
# which computes the logits. Only the method `upsample` uses the indices, so that it can
# be replaced later.


# %%
def conv(before, after):
    """(N, before, H, W) -> (N, after, H, W)."""
    return nn.Sequential(
        nn.Conv2d(before, after, kernel_size=3, padding=1),
        nn.BatchNorm2d(after),
        nn.ReLU(inplace=True),
    )


tuple(conv(3, 16)(torch.rand(1, 3, 50, 67)).shape)


# %%
class MySegNet(nn.Module):
    """(N, 3, H, W) -> logits (N, num_classes, H, W), for images of any size."""

    def __init__(self, num_classes, widths=(16, 32, 64, 128)):
        super().__init__()
        pairs = list(zip((3, *widths), widths, strict=False))
        self.encoder = nn.ModuleList(conv(a, b) for a, b in pairs)
        self.decoder = nn.ModuleList(conv(b, a) for a, b in pairs[:0:-1])
        self.decoder.append(nn.Conv2d(widths[0], num_classes, 3, padding=1))

    def upsample(self, x, indices, size):
        return F.max_unpool2d(x, indices, kernel_size=2, output_size=size)

    def forward(self, x):
        memory = []
        for block in self.encoder:
            x = block(x)
            size = x.shape[-2:]
            x, indices = F.max_pool2d(x, 2, ceil_mode=True, return_indices=True)
            memory.append((indices, size))
        for block in self.decoder:
            x = block(self.upsample(x, *memory.pop()))  # the last pooling layer first
        return x


print(tuple(MySegNet(8).eval()(torch.rand(1, 3, 50, 67)).shape))

# %% [markdown]
# ## Is it the paper's network?
#
# `MySegNet` has the structure of SegNet, but only four stages with one convolution
# each. With the same weights, the package's `SegNet` of this size must give the same
# logits.

# %%
packaged = SegNet(8, width=16, depths=(1, 1, 1, 1)).eval()
mine = MySegNet(8).eval()
tensors = packaged.state_dict().values()
mine.load_state_dict(dict(zip(mine.state_dict(), tensors, strict=True)))
image = torch.rand(1, 3, 50, 67)
with torch.no_grad():
    a, b = mine(image), packaged(image)
print("logits vary:", a.std().item() > 0.01)
print("largest difference below 1e-5:", (a - b).abs().max().item() < 1e-5)

# %% [markdown]
# With its default sizes, the package builds the networks of the papers. We compare the
# numbers of parameters with those of the released network files
# ([DeconvNet](https://github.com/HyeonwooNoh/DeconvNet),
# [SegNet](https://github.com/alexgkendall/SegNet-Tutorial)). The last column is the
# share of the parameters that fc6, fc7 and fc6-deconv hold.

# %%
released = {
    "DeconvNet, 21 classes": (DeconvNet, 21, 251805653),
    "SegNet, 21 classes": (SegNet, 21, 29455125),
    "SegNet, 11 classes": (SegNet, 11, 29449355),
    "SegNet-Basic, 11 classes": (SegNetBasic, 11, 1416587),
}


def count(module):
    return sum(p.numel() for p in module.parameters())


rows = []
for name, (build, classes, number) in released.items():
    with torch.device("meta"):
        network = build(classes)
    layers = getattr(network, "fully_connected", nn.Identity())
    row = {"network": name, "our parameters": count(network), "released": number}
    rows.append(row | {"share of fc layers": count(layers) / count(network)})
tables.show_table(rows, digits=2)

# %% [markdown]
# All counts agree. SegNet has only about an eighth of DeconvNet's parameters, because
# it has no fully connected layers. We did not load the released weights: our evidence
# is these counts and the sizes of the maps, which the tests of this course check.
#
# <details class="deeper"><summary>Going deeper: the released networks and
# ours</summary>
#
# | | released networks | our small networks |
# |---|---|---|
# | encoder starts from | VGG-16 on ImageNet (not Basic) | random weights |
# | SegNet's convolutions per stage | 2, 2, 3, 3, 3 | 1, 1, 1, 1 |
# | SegNet-Basic: pooling layers, channels | 4, 64 | 3, 16 |
# | statistics of batch normalisation | an extra pass over images | running averages |
# | optimiser | SGD, momentum 0.9 | AdamW |
# | SegNet's loss | median-frequency weights | log-frequency weights, Dice |
# | DeconvNet's training images | crops of 224 x 224 | whole images |
#
# The released DeconvNet uses about 0.2 million crops in the first stage and 2.7 million
# proposals in the second. On the test set of PASCAL VOC 2012, the paper reports a mean
# IoU of 69.6 % for DeconvNet. An ensemble with FCN-8s reaches 71.7 %, and with a CRF
# ([chapter 9](09_deeplab_v1_v2.ipynb)) 72.5 %. The released script multiplies the
# scores of DeconvNet with those of FCN-8s, after it has set negative scores of FCN-8s
# to 0.
#
# </details>
#
# <details class="deeper"><summary>Going deeper: a transposed convolution of stride
# 1</summary>
#
# After fc6-deconv, DeconvNet's decoder consists of unpooling layers and of transposed
# convolutions with stride 1. Such a layer is an ordinary convolution. Its kernel is
# rotated by 180°, and its input and output channels are swapped. With kernel size $k$,
# padding $p$ becomes $k - 1 - p$. SegNet, which uses convolutions, therefore has the
# same kind of decoder. `segcourse.models.deconvnet.as_convolution` converts a layer,
# and a test compares the outputs.
#
# </details>

# %% tags=["hide-input"]
from segcourse.sources import show_source

show_source(SegNet, SegNetBasic, DeconvNet)

# %% [markdown]
# ## Train it
#
# We train `MySegNet` and a small SegNet-Basic from the package on 600 scenes. The loss
# is cross-entropy with class weights, plus Dice ([chapter 5](05_losses.ipynb)). The
# learning rate rises during the first half of the steps and then falls. We train
# SegNet-Basic for fewer steps, because each step takes more multiplications.

# %%
scenes, validation = Cached(Toytown(600)), Cached(Toytown(100, seed=1))
labels = torch.stack([scene.semantic for scene in scenes])
weight = log_frequency_weights(class_counts(labels, len(CLASSES)))


def loss(model, batch):
    logits, target = model(batch.image), batch.semantic
    return cross_entropy(logits, target, weight=weight) + dice_loss(logits, target)


def train(build, steps):
    """A trained network, and its loss at every step."""
    seed_everything(0)
    model = build().to(memory_format=torch.channels_last)  # faster on a CPU
    history = fit(
        model,
        loss,
        batches(scenes, batch_size=4),
        steps=steps,
        learning_rate=2e-2,
        schedule=warmup(poly(0.9), share=0.5),
    )
    return model.eval(), history


# %%
model, history = train(lambda: MySegNet(len(CLASSES)), steps=400)
basic, basic_history = train(
    lambda: SegNetBasic(len(CLASSES), width=16, depth=3), steps=250
)
for name, key, network in (
    ("SegNet", "segnet", model),
    ("SegNet-Basic", "segnet_basic", basic),
):
    million = stored[key]["macs"] / 1e6
    print(f"{name}: {count(network)} parameters, {million:.0f} million multiplications")

# %% tags=["hide-input"]
viz.show_curves(
    {"SegNet": history, "SegNet-Basic": basic_history},
    xlabel="step",
    ylabel="loss (mean of 20 steps)",
    smooth=20,
    alt="Two losses. Both fall steeply at first, the loss of SegNet-Basic earlier. "
    "From step 80 to step 150 they are close. The curve of SegNet-Basic ends near "
    "step 240; that of SegNet falls further until step 340.",
)

# %% tags=["tol=0.05"]
checks = batches(validation, batch_size=20, shuffle=False)
matrices = [evaluate(net, checks, num_classes=8) for net in (model, basic)]
columns = [iou(matrix).tolist() for matrix in matrices]
tables.show_table(
    [
        {"class": name, "IoU of SegNet": a, "IoU of SegNet-Basic": b}
        for name, a, b in zip(CLASSES, *columns, strict=True)
    ],
    digits=2,
)
print("mean IoU {:.2f} and {:.2f}".format(*map(mean_iou, matrices)))

# %% [markdown]
# Person and lamp have the lowest IoU. The columns do not compare the architectures,
# because SegNet-Basic was trained for fewer steps. In the next figure, look at the
# boundaries, at the lamps, and inside the buildings.

# %% tags=["hide-input"]
shown = [validation[index] for index in (3, 8, 11)]
images = torch.stack([sample.image for sample in shown])
viz.show_predictions(
    shown,
    {"SegNet": predict(model, images), "SegNet-Basic": predict(basic, images)},
    CLASSES,
    PALETTE,
    alt="Three street scenes with the predictions of SegNet and SegNet-Basic and the "
    "ground truth. Boundaries are ragged; in the second scene, the two cars and the "
    "two left buildings are joined. Parts of lamps are missing, and small patches of "
    "wrong classes lie in buildings, more of them in the predictions of SegNet-Basic.",
)

# %% [markdown]
# Most boundaries of SegNet are ragged, but close to the true ones. Most of the thin
# lamp posts in the second and third scene are missing, and small patches of wrong
# classes lie inside the buildings.
#
# ## On a real image
#
# ### What an index cannot restore
#
# An index says where the maximum was. About the other three values of the window, it
# only says that none is larger. To see what is lost, we pool the colours of a
# photograph one, two or three times and unpool the maxima, without any layer in
# between. The lower row of the figure upsamples the same maxima bilinearly.


# %%
def pooled_and_back(image, times):
    """Pool (C, H, W) several times, then unpool; and upsample bilinearly."""
    x, memory = image[None], []
    for _ in range(times):
        size = x.shape[-2:]
        x, indices = F.max_pool2d(x, 2, ceil_mode=True, return_indices=True)
        memory.append((indices, size))
    smooth = F.interpolate(x, image.shape[-2:], mode="bilinear")[0]
    for indices, size in reversed(memory):
        x = F.max_unpool2d(x, indices, 2, output_size=size)
    return x[0], smooth


cat = Photographs(("cat",))[0].image[:, 60:188, 120:248]
back = {times: pooled_and_back(cat, times) for times in (1, 2, 3)}
rows = []
for times, (sparse, smooth) in back.items():
    row = {"pooling layers": times}
    row["share restored exactly"] = (sparse == cat).float().mean()
    row["mean error, unpooled"] = (sparse - cat).abs().mean()
    rows.append(row | {"mean error, bilinear": (smooth - cat).abs().mean()})
tables.show_table(rows, digits=2)

# %% tags=["hide-input"]
views = {f"unpooled, {t} x": sparse for t, (sparse, _) in back.items()}
views |= {f"bilinear, {t} x": smooth for t, (_, smooth) in back.items()}
viz.show_images(
    views,
    columns=3,
    alt="Upper row: the eye of a cat after one, two and three poolings and unpoolings, "
    "as coloured dots on black; the eye is visible after one, and only scattered dots "
    "are left after three. Lower row: with bilinear upsampling, the eye stays visible "
    "and becomes more blurred.",
)

# %% [markdown]
# After $n$ pooling layers, about one value in $4^n$ is restored exactly, and all others
# are 0. As a reconstruction, unpooling is much worse than interpolation. In SegNet, the
# convolutions that follow must compute all other values.
#
# ### Coins from half a photograph
#
# Do the positions help on a photograph? We train on random crops from the left half of
# `coins` and test on the right half. `BilinearSegNet` ignores the indices.


# %%
class BilinearSegNet(MySegNet):
    def upsample(self, x, indices, size):
        return F.interpolate(x, size, mode="bilinear")


coins = Photographs(("coins",))[0]
photo = (coins.image - coins.image.mean()) / coins.image.std()
coin = (coins.semantic > 0).long()


def crop(side=64):
    """A random square of the left half, and its labels."""
    top = int(torch.randint(photo.shape[1] - side + 1, ()))
    start = int(torch.randint(192 - side + 1, ()))
    place = (..., slice(top, top + side), slice(start, start + side))
    return photo[place], coin[place]


def coin_loss(model, batch):
    return cross_entropy(model(batch[0]), batch[1])


# %% tags=["tol=0.05"]
right = coin[..., 192:]
masks = {"photograph": coins.image[..., 192:]}
for name, build in {"indices": MySegNet, "bilinear": BilinearSegNet}.items():
    seed_everything(0)
    network = build(2)
    data = torch.utils.data.DataLoader([crop() for _ in range(240)], batch_size=4)
    fit(network, coin_loss, data, steps=60, learning_rate=5e-3)
    mask = predict(network, photo[None, ..., 192:])[0]
    masks[name] = mask.bool()
    print(f"{name}: IoU of coins {iou(confusion_matrix(mask, right, 2))[1]:.2f}")

# %% tags=["hide-input"]
viz.show_images(
    masks | {"ground truth": right.bool()},
    columns=4,
    alt="The right half of a photograph of coins, two masks, and the ground truth. "
    "With indices, every coin is a disc of its own. With bilinear upsampling, two "
    "pairs of neighbouring coins are joined.",
)

# %% [markdown]
# With bilinear upsampling, neighbouring coins are joined at two places; with indices,
# they stay apart. But this is one run. The benchmark `unpooling` repeated the training
# with eight seeds. Networks with the same seed start from the same weights and are
# trained on the same crops, so we compare them pair by pair. In the table's row *fixed
# corner*, each value is written to the upper left position of its window.
#
# The column *difference* is the mean of the eight differences to *indices*, and *t* is
# this mean divided by its [standard error](../book/glossary.md). Without a true
# difference, *t* would lie beyond ± 2.36 in 5 % of such experiments (t distribution).
# We call a difference beyond this bound *significant*.

# %%
arms = measured("unpooling")["arms"]


def values_of(name, key, seeds=8):
    return [run[key] for run in arms[name]["runs"][:seeds]]


def compare(name, baseline, key, seeds=8):
    """Mean of the differences with equal seeds, and t, as text."""
    if name == baseline:
        return {"difference": "", "t": ""}
    both = values_of(name, key, seeds), values_of(baseline, key, seeds)
    differences = [a - b for a, b in zip(*both, strict=True)]
    average = np.mean(differences)
    error = np.std(differences, ddof=1) / seeds**0.5
    return {"difference": f"{average:+.3f}", "t": f"{average / error:+.1f}"}


rows = []
for name in ("indices", "fixed corner", "bilinear"):
    row = {"upsampling": name, "IoU of coins": arms[f"coins, {name}"]["iou"]}
    rows.append(row | compare(f"coins, {name}", "coins, indices", "iou"))
tables.show_table(rows)

# %% [markdown]
# Both differences are significant. *Indices* and *fixed corner* differ only in the
# positions of the values, so the positions cause the gain. All seeds use one
# photograph; other photographs may differ.
#
# SegNet's authors used CamVid, video frames of streets. The benchmark `camvid` trained
# small networks on its 367 training frames at 120 x 160, once each, and tested them on
# 233 others.

# %%
camvid = {
    name: measured(f"camvid_{key}")
    for name, key in (("FCN-8s", "fcn_8s"), ("SegNet", "segnet"), ("U-Net", "unet"))
}
tables.show_table(
    [
        {"network": name, "steps": run["steps"], "mean IoU": run["miou"]}
        | {f"IoU of {label}": run["iou"][label] for label in ("road", "car", "pole")}
        for name, run in camvid.items()
    ],
    digits=2,
)

# %% [markdown]
# Single runs with unequal numbers of steps cannot rank networks whose mean IoU differs
# by at most 0.02. The table shows no advantage of SegNet, and the IoU of pole is below
# 0.1 for all three networks.
#
# ## What did the idea buy?
#
# What do the positions of the maxima contribute? The benchmark `unpooling` also trained
# the small SegNet on 1600 scenes of Toytown for 380 steps, and replaced only the
# unpooling. The first table compares four networks, each with eight seeds:
#
# - *fixed corner* is the control experiment: it has the same layers and writes as many
#   values. Together with the convolution that follows, it is a transposed convolution
#   with stride 2, as shown in *Build it*.
# - *nearest* and *bilinear* interpolate.
#
# The columns *difference* and *t* compare the mean IoU with that of the first row. Look
# at the IoU of lamp and at the boundary F1, the F1 score of boundary pixels with a
# tolerance of two pixels ([chapter 3](03_metrics.ipynb)).

# %%
COLUMNS = {"mean IoU": "miou", "IoU of lamp": "thin_iou", "boundary F1": "boundary_f1"}


def rows_of(names, title="upsampling", seeds=8):
    for name in names:
        shown = name.replace("no middle", "without fc layers")
        row = {title: shown, "parameters": values_of(name, "parameters")[0]}
        row |= {c: np.mean(values_of(name, k, seeds)) for c, k in COLUMNS.items()}
        yield row | compare(name, names[0], "miou", seeds)


ways = ["indices", "fixed corner", "nearest", "bilinear"]
tables.show_table(list(rows_of(ways)), digits=3)

# %% [markdown]
# All differences are significant. *Indices* and *fixed corner* differ only in the
# positions of the values. Compared with a fixed position, the positions of the maxima
# therefore cause the gain of about 0.08 in mean IoU, and higher scores of lamps and
# boundaries. *Nearest* has a higher mean IoU than *fixed corner*, but a lower one than
# *indices*.
#
# Would an *additional* learned layer do better? A transposed convolution doubles the
# maps, before the same convolutions. Its kernel is 3 x 3 and starts from random
# weights, or 4 x 4 and starts from bilinear weights. There are only three seeds, so the
# bound for *t* is ± 4.30.

# %%
learned = "learned, 4 x 4, from bilinear"
ways = ["indices", "learned, 3 x 3", learned, "bilinear"]
tables.show_table(list(rows_of(ways, seeds=3)), digits=3)
gain = compare(learned, "bilinear", "miou", seeds=3)
print("4 x 4 minus bilinear: mean IoU {difference}, t = {t}".format(**gain))

# %% [markdown]
# The learned 4 x 4 kernel has a significantly higher mean IoU than *bilinear*, its
# start. But both learned networks have a significantly lower mean IoU than *indices* in
# this training, although the first has twice and the second almost three times as many
# parameters.
#
# ### DeconvNet's fully connected layers
#
# Last, we remove fc6, fc7 and fc6-deconv from a small DeconvNet for whole scenes. Five
# pooling layers leave 3 x 4 positions of a scene; fc6, with 96 channels and a 3 x 3
# kernel, leaves 1 x 2. There are three seeds again.

# %%
ways = ["DeconvNet", "DeconvNet, no middle"]
tables.show_table(list(rows_of(ways, title="network", seeds=3)), digits=3)

# %% [markdown]
# Without these layers, this DeconvNet has about 40 % fewer parameters, and its mean IoU
# is significantly higher, by about 0.06. The fully connected layers do not help here.
# With a single vector, proposals or longer training, the result may differ.
#
# ## Where it breaks: thin objects
#
# Look at the posts of two lamps in this close-up of a prediction of `MySegNet`.

# %% tags=["hide-input"]
thin = next(s for s in validation if (s.semantic == CLASSES.index("lamp")).sum() > 150)
rows, columns = (thin.semantic == CLASSES.index("lamp")).nonzero().T
top, start = max(int(rows.min()) - 4, 0), max(int(columns.min()) - 8, 0)
place = (..., slice(top, top + 40), slice(start, start + 52))
viz.show_predictions(
    [type(thin)(*(part[place] for part in thin))],
    {"SegNet": predict(model, thin.image[None])[place]},
    CLASSES,
    PALETTE,
    alt="Two street lamps in close-up. SegNet's left post is wider than the true one, "
    "the thin right post is broken, and the two arms are one thick patch.",
)

# %% [markdown]
# The left post is too wide in places, the thin one on the right is broken, and the
# patch of tree between them is too large. One possible reason is that the decoder
# receives positions from the encoder's fine maps, but no values. A skip connection
# passes on all values.
#
# In the row *features added*, the same network upsamples bilinearly and adds the
# encoder's features of the same size. Only these features distinguish it from
# *bilinear*, so the first table compares with *bilinear*. The second table shows whole
# networks after 760 steps, from the benchmark `architectures` with three seeds.

# %%
tables.show_table(list(rows_of(["bilinear", "indices", "features added"])), digits=2)
gain = compare("features added", "indices", "thin_iou")
print("features minus indices: IoU of lamp {difference}, t = {t}".format(**gain))
titles = {"fcn_8s": "FCN-8s", "deconvnet": "DeconvNet", "segnet": "SegNet"}
titles |= {"segnet_basic": "SegNet-Basic", "unet": "U-Net"}
tables.show_table(
    [
        {
            "network": title,
            "parameters": stored[key]["parameters"],
            "mean IoU": stored[key]["miou"],
            "IoU of lamp": stored[key]["thin_iou"],
            "boundary F1": stored[key]["boundary_f1"],
        }
        for key, title in titles.items()
    ],
    digits=2,
)

# %% [markdown]
# The added features raise the mean IoU significantly, by 0.19, and the IoU of lamp from
# 0.19 to 0.60. Indices raise the IoU of lamp significantly less, to 0.41. Among the
# whole networks, **U-Net** has by far the highest IoU of lamp. U-Net ([chapter
# 8](08_unet.ipynb)) passes the encoder's features of every resolution to its decoder.
#
# ## In practice
#
# PyTorch has both layers:
#
# ```python
# pool = nn.MaxPool2d(2, ceil_mode=True, return_indices=True)
# unpool = nn.MaxUnpool2d(2)
# y, indices = pool(x)
# x_again = unpool(y, indices, output_size=x.shape[-2:])
# ```
#
# In the versions below, torchvision, segmentation-models-pytorch (SMP) and MONAI
# contain neither DeconvNet nor SegNet.

# %% tags=["nbval-ignore-output"]
import monai
import segmentation_models_pytorch as smp
import torchvision
from monai.networks import nets
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision.models.segmentation import fcn_resnet50

print("torchvision", torchvision.__version__, "SMP", smp.__version__)
print("MONAI", monai.__version__)
known = [*torchvision.models.list_models(), *dir(smp), *dir(nets)]
print([name for name in known if name.lower() in ("segnet", "deconvnet")])

# %% [markdown]
# How do the networks of these libraries upsample? We record the operations while they
# run. Which of these operations can produce a checkerboard?


# %% tags=["hide-cell"]
class Recorder(TorchDispatchMode):
    """Notes the operations that upsample."""

    def __init__(self):
        super().__init__()
        self.found = set()

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        name = str(operation).split(".")[1]
        if "upsample" in name or "unpool" in name:
            self.found.add(name)
        elif name == "convolution" and args[6]:  # transposed
            kind = "transposed convolution {} x {}, stride {}"
            self.found.add(kind.format(*args[1].shape[2:], args[3][0]))
        return operation(*args, **(kwargs or {}))


# %%
plain = dict(encoder_weights=None)
sizes = dict(channels=(8, 16, 32), strides=(2, 2))
networks = {
    "MySegNet(2)": MySegNet(2),
    "smp.Unet()": smp.Unet(**plain),
    "smp.Unet(decoder_interpolation='bilinear')": smp.Unet(
        **plain, decoder_interpolation="bilinear"
    ),
    "smp.Linknet()": smp.Linknet(**plain),
    "monai UNet()": nets.UNet(2, 3, 2, **sizes),
    "monai BasicUNet()": nets.BasicUNet(2, 3, 2),
    "monai BasicUNet(upsample='nontrainable')": nets.BasicUNet(
        2, 3, 2, upsample="nontrainable"
    ),
    "fcn_resnet50()": fcn_resnet50(weights=None, weights_backbone=None),
}
rows = []
for name, network in networks.items():
    with Recorder() as recorder, torch.no_grad():
        network.eval()(torch.rand(1, 3, 64, 64))
    rows.append({"network": name, "upsampling": "; ".join(sorted(recorder.found))})
tables.show_table(rows)

# %% [markdown]
# Only `MySegNet` unpools. All three transposed convolutions can produce our
# checkerboard; MONAI's `BasicUNet(upsample="nontrainable")` interpolates instead. We
# recommend:
#
# | use | when |
# |---|---|
# | interpolation, convolution, skip connections | a first choice for thin objects |
# | a transposed convolution | you use published weights that contain it |
# | unpooling with indices | a decoder without skips needs sharp boundaries |
#
# <details class="deeper"><summary>Going deeper: reproducibility and ONNX</summary>
#
# After `torch.use_deterministic_algorithms(True)`, `F.max_unpool2d` raises a
# `RuntimeError` in PyTorch 2.15. The [documentation of
# `MaxUnpool2d`](https://docs.pytorch.org/docs/stable/generated/torch.nn.MaxUnpool2d.html)
# names the reason: results may vary if an index occurs twice. Windows of 2 x 2 with
# stride 2 do not overlap, so all their indices differ. Our `unpool` needs no
# `max_unpool2d`, so it runs in this mode.
#
# ONNX is a file format for networks, which ONNX Runtime executes. In our tests with
# PyTorch 2.11 and 2.15, `torch.onnx.export` exported unpooling with indices, and ONNX
# Runtime gave the same results. The older exporter (`dynamo=False`) failed.
#
# </details>
#
# ## Common mistakes
#
# **1. `output_size` is forgotten.** Without it, unpooling doubles both sides. If the
# width was odd, cutting the result does not help: in a wider map, the same index refers
# to another row and column, so values are written to wrong positions, and [no error is
# raised](https://github.com/pytorch/pytorch/issues/36710). We test the trained network
# on scenes of 99 x 133 pixels.


# %% tags=["tol=0.05"]
class CutSegNet(MySegNet):
    def upsample(self, x, indices, size):
        doubled = F.max_unpool2d(x, indices, kernel_size=2)
        return doubled[..., : size[0], : size[1]]


cut = CutSegNet(len(CLASSES))
cut.load_state_dict(model.state_dict())
odd = batches(Cached(Toytown(24, seed=1, size=(99, 133))), batch_size=8, shuffle=False)
for name, network in {"output_size": model, "doubled and cut": cut}.items():
    score = mean_iou(evaluate(network, odd, num_classes=8))
    print(f"{name:15} mean IoU {score:.2f}")

# %% [markdown]
# Right: store the size of the map beside the indices, and pass it as `output_size`.
#
# **2. Expecting indices to save memory by themselves.** Wrong: storing `int64` indices
# instead of features of 16 bits. Right: storing the place in the window (exercise 7.1),
# for example in one byte.

# %%
features = torch.rand(1, 64, 96, 128).half()
indices = F.max_pool2d(features.float(), 2, return_indices=True)[1]
windows = features.unfold(2, 2, 2).unfold(3, 2, 2).flatten(4)  # (N, C, h, w, 4)
places = windows.argmax(dim=4).to(torch.uint8)
for name, tensor in {"int64 indices": indices, "uint8 places": places}.items():
    print(f"{name}: {tensor.nbytes / features.nbytes:.3f} of the features")

# %% [markdown]
# **3. Windows that overlap.** With 3 x 3 windows and stride 2, one value can be the
# maximum of several windows. Unpooling then writes several values to one position, and
# only one remains.

# %%
x = torch.rand(1, 64, 96, 128)
for kernel, padding in ((2, 0), (3, 1)):
    y, indices = F.max_pool2d(x, kernel, 2, padding, return_indices=True)
    different = sum(len(plane.unique()) for plane in indices[0])
    print(
        f"{kernel} x {kernel}: {different / indices.numel():.2f} of the values remain"
    )

# %% [markdown]
# Right: pool with 2 x 2 windows and stride 2, which do not overlap.
#
# ## Exercises
#
# Replace `...` by your answer and run the cell. `ex.two_bits` shows the question again,
# `ex.two_bits.hint()` gives a hint, and another one each time. The solutions are behind
# the toggles.

# %%
from segcourse.exercises import unpooling as ex

# %% [markdown]
# ### 7.1 Two bits are enough
#
# Turn every index into its place in the window, which two bits can store. `indices` is
# a tensor (h, w) of integers: the indices of the maxima of one map, as `F.max_pool2d`
# returns them for 2 x 2 windows and `ceil_mode=True`. The map had `width` columns, an
# even or an odd number. The places in a window are 0 (upper left), 1 (upper right), 2
# (lower left) and 3 (lower right). Return the places, (h, w). For example, in a map
# with 6 columns the index 14 means row 2 and column 2, which is place 0.


# %%
def window_codes(indices, width): ...  # your code


ex.two_bits.check(window_codes)

# %%
ex.two_bits.show_solution()

# %% [markdown]
# ### 7.2 Which unpooling layers need output_size?
#
# A map of `height` x `width` is pooled `depth` times with 2 x 2 windows and
# `ceil_mode=True`. The pooling layers have the numbers 1 to `depth`, in the order of
# the encoder, and unpooling layer n belongs to pooling layer n: it returns to the size
# before that pooling. Without `output_size`, an unpooling layer doubles both sides.
# Return the numbers of the unpooling layers for which this gives a wrong size, in
# increasing order, as a list. Then predict: which are they for SegNet, with five
# pooling layers and images of 360 x 480 pixels? The cell after the solution runs the
# pooling layers.


# %%
def need_size(height, width, depth): ...  # your code


ex.sizes.check(need_size)

# %%
ex.sizes.show_solution()

# %%
x = torch.rand(1, 1, 360, 480)
for number in range(1, 6):
    size = x.shape[-2:]
    x, indices = F.max_pool2d(x, 2, ceil_mode=True, return_indices=True)
    doubled = F.max_unpool2d(x, indices, kernel_size=2).shape[-2:]
    print(number, tuple(size), "doubled again", tuple(doubled), size == doubled)
print("predicted:", ex.sizes.solution(360, 480, 5))

# %% [markdown]
# Layers 4 and 5 need `output_size`. The [released
# SegNet](https://github.com/alexgkendall/SegNet-Tutorial) fixes the heights 45 and 23
# in these two layers.
#
# ### 7.3 Normalise a kernel
#
# Normalise the kernel of a transposed convolution so that a constant signal stays
# constant. The 1-D layer has the weights `kernel` (a list of numbers) and an integer
# `stride`, without padding or bias. Far from both ends of the output, each position
# receives the sum of some weights: every `stride`-th weight of the kernel. For example,
# with the kernel 1, 2, 3 and stride 2, a long signal of ones becomes 1 + 3, 2, 1 + 3,
# 2, …. Divide each weight by the sum in which it occurs, so that every position
# receives 1. (No such sum is 0.) The example becomes 0.25, 1, 0.75. Return the new
# weights as a list. Then predict: what does the kernel 1, 1, 1 with stride 2 become?


# %%
def normalized(kernel, stride): ...  # your code


ex.kernel.check(normalized)

# %%
ex.kernel.show_solution()

# %%
new_kernel = ex.kernel.solution([1, 1, 1], 2)
weight_row = torch.tensor(new_kernel)[None, None]
print(
    new_kernel,
    "gives",
    F.conv_transpose1d(torch.ones(1, 1, 5), weight_row, stride=2)[0, 0].tolist(),
)

# %% [markdown]
# The new kernel ½, 1, ½ is the kernel of linear interpolation.
#
# ### 7.4 Construct a counterexample
#
# Do pooled values and indices determine a map? `x` is a map (H, W) of non-negative
# floats. It is pooled with 2 x 2 windows, `ceil_mode=True` and `return_indices=True`.
# Construct the map `y` (H, W), also non-negative, that has the same pooled values *and*
# the same indices, and the smallest possible sum. If the maximum occurs several times
# in a window, the index names the first position, counted row by row. Return `y`.


# %%
def smallest_map(x): ...  # your code


ex.counterexample.check(smallest_map)

# %%
ex.counterexample.show_solution()

# %%
bright = cat.mean(dim=0)
dark = ex.counterexample.solution(bright)
both = [
    F.max_pool2d(x[None, None], 2, ceil_mode=True, return_indices=True)
    for x in (bright, dark)
]
print("same values: ", torch.equal(both[0][0], both[1][0]))
print("same indices:", torch.equal(both[0][1], both[1][1]))
print(f"sum of the new map: {dark.sum() / bright.sum():.2f} of the photograph's")

# %% [markdown]
# ### 7.5 Find the fault
#
# This unpooling was written with NumPy. `values` and `indices` are arrays (N, C, h, w):
# a decoder's values, and the indices that PyTorch's `max_pool2d` returned for maps (N,
# C, H, W) and 2 x 2 windows. `size` is (H, W). The function is right for a single map,
# N = C = 1. For more maps it runs, but its result is wrong:
#
# ```python
# out = np.zeros((*values.shape[:2], *size))
# np.put(out, indices, values)  # writes at positions of the flattened array
# return out
# ```
#
# Find the fault, and return the unpooled maps, an array (N, C, H, W).


# %%
def unpool_planes(values, indices, size): ...  # your code


ex.planes.check(unpool_planes)

# %%
ex.planes.show_solution()

# %% [markdown]
# ### 7.6 Combine proposals
#
# Combine the scores of overlapping proposals. `size` is (H, W), the size of the image.
# `proposals` is a list of one or more (top, left, scores). `scores` is a tensor (K, h,
# w) with one score for each of K classes, positive, negative or 0. The scores [:, 0, 0]
# belong to the pixel in row `top` and column `left` of the image, and the whole
# proposal lies inside the image. For each pixel and class, keep the largest score of
# all proposals that cover the pixel. Return the label map (H, W): the class with the
# largest score for each pixel, and class 0, the background, for a pixel that no
# proposal covers. If scores are equal, choose the smaller class number.
#
# DeconvNet's [released script](https://github.com/HyeonwooNoh/DeconvNet) starts the
# maximum from 0, so a negative score has no effect there. In this exercise, keep
# negative scores.


# %%
def combine(size, proposals): ...  # your code


ex.proposals_of.check(combine)

# %%
ex.proposals_of.show_solution()

# %% [markdown]
# ## Quiz

# %% [markdown]
# **Q1. What does max-unpooling write at the positions that were not the maximum?**
#
# <details class="quiz wrong"><summary>the value that the encoder had there</summary>
#
# Not quite: the encoder's values are not stored. Only the index of the maximum is.
#
# </details>
# <details class="quiz right"><summary>zeros</summary>
#
# Right: these positions become 0, and the next convolutions fill them.
#
# </details>
# <details class="quiz wrong"><summary>a bilinear interpolation</summary>
#
# Not quite: interpolation is another way to upsample, without indices.
#
# </details>

# %% [markdown]
# **Q2. An encoder stores its indices as PyTorch does, with 64 bits each. Compared with
# the features before pooling, of 32 bits, how much memory do they take?**
#
# <details class="quiz wrong"><summary>a sixty-fourth</summary>
#
# Not quite: this holds for indices of 2 bits, but PyTorch stores 64.
#
# </details>
# <details class="quiz wrong"><summary>twice as much</summary>
#
# Not quite: an index is twice as large as one feature value, but there is only one
# index for four feature values.
#
# </details>
# <details class="quiz right"><summary>half as much</summary>
#
# Right: there is one index of 64 bits for four feature values of 32 bits.
#
# </details>

# %% [markdown]
# **Q3. A transposed convolution has a 4 x 4 kernel with stride 2 and random weights.
# Can a constant input become a checkerboard?**
#
# <details class="quiz right"><summary>Yes: neighbouring positions
# receive different weights.</summary>
#
# Right: each position receives four weights, but their sums can differ.
#
# </details>
# <details class="quiz wrong"><summary>No: the stride divides the kernel
# size.</summary>
#
# Not quite: the positions then receive equally *many* weights, but not equal sums.
#
# </details>
# <details class="quiz wrong"><summary>No: only unpooling has zeros between
# values.</summary>
#
# Not quite: a transposed convolution with stride 2 is a convolution of a map with zeros
# between the values.
#
# </details>

# %% [markdown]
# **Q4. Which part of DeconvNet does SegNet not have?**
#
# <details class="quiz wrong"><summary>the batch normalisation</summary>
#
# Not quite: both networks have it.
#
# </details>
# <details class="quiz wrong"><summary>the unpooling</summary>
#
# Not quite: both networks unpool with indices.
#
# </details>
# <details class="quiz right"><summary>the fully connected layers</summary>
#
# Right: fc6, fc7 and fc6-deconv, which hold most of DeconvNet's parameters.
#
# </details>

# %% [markdown]
# **Q5. In the benchmark, *fixed corner* has the same layers as *indices* and writes as
# many values. What does the comparison of the two isolate?**
#
# <details class="quiz right"><summary>what the positions of the maxima contribute,
# compared with one fixed position</summary>
#
# Right: the layers are the same; only the positions of the values differ.
#
# </details>
# <details class="quiz wrong"><summary>what the decoder contributes</summary>
#
# Not quite: both networks have the same decoder.
#
# </details>
# <details class="quiz wrong"><summary>how much memory indices save</summary>
#
# Not quite: the comparison measures scores, not memory.
#
# </details>

# %% [markdown]
# **Q6. DeconvNet segments two overlapping proposals. For a pixel in both, proposal A
# gives *cat* 3 and *dog* 1, proposal B gives *cat* 2 and *dog* 4. Which class is
# predicted?**
#
# <details class="quiz wrong"><summary>cat, because its sum is 5</summary>
#
# Not quite: scores are not added, and the sum of *dog* would be 5 too.
#
# </details>
# <details class="quiz right"><summary>dog, because its maximum is 4</summary>
#
# Right: the maximum over the proposals is 3 for *cat* and 4 for *dog*.
#
# </details>
# <details class="quiz wrong"><summary>cat, because proposal A comes first</summary>
#
# Not quite: the order of the proposals does not matter.
#
# </details>

# %% [markdown]
# ## Take-aways
#
# - Pooling with indices stores where each maximum was; unpooling writes values back to
#   these positions and zeros elsewhere. The encoder's values at this resolution are
#   lost.
# - Compared with a fixed position, the positions of the maxima significantly raised the
#   mean IoU on Toytown, and the IoU of coins on one photograph.
# - A transposed convolution multiplies by the transposed matrix of a convolution. With
#   stride 2, it is a convolution of a map with zeros at fixed places, and it can
#   produce a checkerboard.
# - Two bits per window are enough, but PyTorch's indices take half the memory of the
#   features. Store the size of each map with them.
# - On Toytown, encoder features that were added to the decoder raised the IoU of lamp
#   more than indices did.
#
# ## Further reading
#
# - Noh, Hong, Han, *Learning Deconvolution Network for Semantic Segmentation*, ICCV
#   2015: <https://arxiv.org/abs/1505.04366>; networks:
#   <https://github.com/HyeonwooNoh/DeconvNet>.
# - Badrinarayanan, Kendall, Cipolla, *SegNet: A Deep Convolutional Encoder-Decoder
#   Architecture for Image Segmentation*, TPAMI 2017:
#   <https://arxiv.org/abs/1511.00561>; networks:
#   <https://github.com/alexgkendall/SegNet-Tutorial>.
# - Odena, Dumoulin, Olah, *Deconvolution and Checkerboard Artifacts*, Distill 2016:
#   <https://distill.pub/2016/deconv-checkerboard/>.
