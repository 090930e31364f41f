# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # 9. DeepLab v1 and v2: atrous convolution and a dense CRF
#
# Kernels with holes (*atrous convolution*) give a trained network dense scores without
# any new weight, and a *dense CRF* aligns its predictions with the edges of the image.
#
# After this chapter you can
#
# - compute the receptive field of a network with holes (exercise 9.1);
# - replace the strides of a trained network by holes, and check that its scores are
#   unchanged (exercises 9.2 and 9.3);
# - predict which atrous rates are too large for a map (exercise 9.4);
# - write one step of the inference in a dense CRF (exercise 9.5), and construct an
#   image in which a dense CRF erases a correct object (exercise 9.6).
#
# You need [chapter 6](06_fcn.ipynb) (VGG-16, stride, receptive field) and [chapter
# 8](08_unet.ipynb) (paired comparison of runs). The [glossary](../book/glossary.md)
# explains technical words. The notebook takes about two minutes on one CPU thread, half
# of it for training.

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
import math
import statistics

import torch.nn.functional as F
import torchvision
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
from segcourse.models import (
    FCN,
    DeepLabV1,
    DeepLabV2,
    chain,
    remove_strides,
    shift_and_stitch,
)
from segcourse.ops import IGNORE, brute_force_crf, dense_crf
from segcourse.pretrained import imagenet_classifier
from segcourse.training import fit, poly

CLASSES, PALETTE = toytown.CLASSES, toytown.PALETTE
SIZE = (192, 256)

# %% [markdown]
# ## The problem
#
# A segmentation network needs a large receptive field, to recognise an object, and a
# small stride, to localise the object. Pooling enlarges both, so the two needs
# conflict. The table shows VGG-16 up to fc6, a kernel of 7. The rows differ in how many
# poolings have stride 2: the first 5, 4 or 3, or none. The column *positions* is the
# number of scores for a photograph of 512 x 512 pixels.


# %%
def receptive_field(layers):
    """Side in pixels; layers are (kernel, stride, rate), and rate 1 has no holes."""
    field, step = 1, 1
    for kernel, stride, rate in layers:
        field += (kernel - 1) * rate * step
        step *= stride
    return field


rows = []
for strided in (5, 4, 3, 0):
    layers = []
    for level, depth in enumerate((2, 2, 3, 3, 3)):
        layers += depth * [(3, 1, 1)] + [(2, 2 if level < strided else 1, 1)]
    side = 512 // 2**strided
    row = {"poolings with stride 2": strided, "stride of the scores": 2**strided}
    row["receptive field"] = receptive_field([*layers, (7, 1, 1)])
    rows.append(row | {"positions": f"{side} x {side}"})
tables.show_table(rows)

# %% [markdown]
# Without any stride, the network has a score for every pixel, but a receptive field of
# 38 pixels. With all five strides, the receptive field is 404 pixels, but there are
# only 16 x 16 scores. What does a stride of 32 cost? We give each block of a street
# scene the class of its centre pixel.

# %%
scene, blocks = Toytown(1, seed=1, size=SIZE)[0], {}
for stride in (32, 8):
    middle = scene.semantic[stride // 2 :: stride, stride // 2 :: stride]
    blocks[stride] = middle.repeat_interleave(stride, 0).repeat_interleave(stride, 1)
    agree = (blocks[stride] == scene.semantic).float().mean()
    print(f"stride {stride}: {agree:.2f} of the pixels have the class of their block")

# %% tags=["hide-input"]
viz.show_labels(
    {f"one class per {s} x {s} pixels": m for s, m in blocks.items()}
    | {"ground truth": scene.semantic},
    CLASSES,
    PALETTE,
    alt="A street scene as blocks of 32 x 32 pixels, in which houses and trees have no "
    "shape; as blocks of 8 x 8 pixels, in which they have; and the ground truth.",
)

# %% [markdown]
# FCN and U-Net add detail by skip connections from early layers; their deepest features
# stay coarse. [DeepLab](https://arxiv.org/abs/1412.7062) (Chen et al., 2015) computes
# the deepest features themselves at stride 8.

# %% [markdown]
# ## The idea
#
# **Holes instead of strides.** A kernel with **rate** $r$ (PyTorch's `dilation`) leaves
# $r - 1$ positions out between two neighbouring weights. Such a convolution is called
# **atrous** (French *à trous*, with holes). With a kernel $w$ of three weights, the
# output at position $n$ of a row $x$ is
#
# $$y_n = w_{-1}\,x_{n-r} + w_0\,x_n + w_1\,x_{n+r}.$$
#
# For example, take the row 3, 1, 4, 1, 5, 9, 2 and the kernel 1, 1, 1. At position 3,
# counted from 0, rate 1 gives 4 + 1 + 5 = 10, and rate 2 gives 1 + 1 + 9 = 11:

# %%
row, kernel = torch.tensor([[[3.0, 1, 4, 1, 5, 9, 2]]]), torch.ones(1, 1, 3)
for rate in (1, 2):
    print(f"rate {rate}:", F.conv1d(row, kernel, padding=rate, dilation=rate).tolist())

# %% [markdown]
# Why do holes replace strides? Compare the two panels of the figure. In the upper
# panel, a stride of 2 keeps every second position, and a kernel reads three of the kept
# positions. In the lower panel, all positions are kept, and the rate is 2. At position
# 4, the kernel reads the *same* three inputs, so its output is the same. Position 5 has
# an output only in the lower panel, so the map is denser.

# %% tags=["hide-input"]
kept = torch.tensor([[1, 0] * 4 + [1], [2, 0] * 4 + [2]])
everything = torch.tensor([[1] * 9, [2] * 9])
old = (torch.tensor([[0, 2], [0, 4], [0, 6]]), torch.tensor([[1, 4]] * 3))
new = (torch.tensor([[0, 3], [0, 5], [0, 7]]), torch.tensor([[1, 5]] * 3))
both = tuple(torch.cat(pair) for pair in zip(old, new, strict=True))
titles = ("stride 2, then a kernel of 3", "no stride, then a kernel of 3 at rate 2")
viz.show_grid(
    {titles[0]: kept, titles[1]: everything},
    ("dropped", "input", "output"),
    ((225, 225, 225), (86, 180, 233), (230, 159, 0)),
    arrows={titles[0]: old, titles[1]: both},
    columns=1,
    alt="Two rows of nine squares each, twice. Above, every second square is dropped, "
    "and arrows lead from the inputs 2, 4 and 6 to the output 4. Below, no square is "
    "dropped; the same arrows lead to output 4, others from 3, 5 and 7 to output 5.",
)

# %% [markdown]
# The rule for a whole network is: if a layer loses its stride of 2, double the rate of
# *every later layer*, poolings included. After two removed strides, the rate is 4.
#
# **Several rates at once.** Rates may also be chosen freely. DeepLab v1's *LargeFOV*
# (large field of view) gives fc6 a 3 x 3 kernel with rate 12. [DeepLab
# v2](https://arxiv.org/abs/1606.00915) applies four such kernels with the rates 6, 12,
# 18 and 24 to the same features and adds their scores: **atrous spatial pyramid
# pooling** (ASPP).
#
# **A dense CRF for the edges.** Scores at stride 8 are smooth, so predicted boundaries
# are rounded. A **conditional random field** (CRF) is a model of all labels of an image
# together. DeepLab's CRF is *dense*: it connects every pair of pixels, and favours
# equal classes for pixels that are near each other and have similar colours. The CRF
# follows the network and is not trained with it.
#
# The diagram shows DeepLab v1. Poolings 4 and 5 have no stride.

# %% tags=["hide-input"]
blue, green, orange = 0, 2, 4
boxes = [("image", 1, 3, 6), ("pool1", 2, 64, blue), ("pool2", 4, 128, blue)]
boxes += [("pool3", 8, 256, blue), ("pool4", 8, 512, blue), ("pool5", 8, 512, blue)]
boxes += [("fc6, fc7", 8, 1024, green), ("scores", 8, 21, orange)]
boxes += [("x8", 1, 21, orange), ("CRF", 1, 21, 6)]
viz.show_architecture(
    [
        {"name": name, "stride": stride, "channels": channels, "color": color}
        for name, stride, channels, color in boxes
    ],
    alt="DeepLab v1 as a row of boxes. Three poolings reduce the image to stride 8; "
    "two more poolings, fc6, fc7 and the scores stay there. An upsampling by 8 and "
    "the CRF have the size of the image.",
)

# %% [markdown]
# ## Build it
#
# ### Atrous convolution in three ways
#
# For rate $r$: (1) Insert zeros between the weights, and convolve as usual. (2) Divide
# the positions into $r^2$ subsets, each with every $r$-th row and column. Convolve each
# subset, and write the outputs to its positions. (3) Use `dilation`.


# %%
def with_zeros(x, weight, rate):
    """An ordinary convolution whose 3 x 3 kernel is spread over zeros."""
    side = 2 * rate + 1
    spread = weight.new_zeros(*weight.shape[:2], side, side)
    spread[..., ::rate, ::rate] = weight
    return F.conv2d(x, spread, padding=rate)


def on_samples(x, weight, rate):
    """An ordinary convolution of each of the rate x rate subsets of positions."""
    result = torch.empty(len(x), len(weight), *x.shape[-2:])
    for i in range(rate):
        for j in range(rate):
            result[..., i::rate, j::rate] = F.conv2d(
                x[..., i::rate, j::rate], weight, padding=1
            )
    return result


x, weight = torch.rand(1, 4, 20, 27), torch.rand(5, 4, 3, 3)
for rate in (1, 2, 5):
    ours = F.conv2d(x, weight, padding=rate, dilation=rate)
    same = [
        torch.allclose(way(x, weight, rate), ours, atol=1e-4)
        for way in (with_zeros, on_samples)
    ]
    print(f"rate {rate}: {tuple(ours.shape)}, same output: {same}")

# %% [markdown]
# All three agree. With (2) and (3), the number of multiplications per output is that of
# a 3 x 3 kernel; `padding=rate` keeps the size of the map.
#
# ### The whole network
#
# `MyDeepLab` is chapter 6's FCN-32s with two new arguments. When `output_stride` is
# reached, the later poolings have stride 1, and each of them doubles the rate of the
# layers behind it. With `holes=False` the rate stays 1. The shapes of the weights do
# not depend on these arguments, so the weights of a network with stride 32 can be
# loaded into a network with stride 8.


# %%
def conv(before, after, kernel, rate):
    return [
        nn.Conv2d(before, after, kernel, padding=kernel // 2 * rate, dilation=rate),
        nn.BatchNorm2d(after),
        nn.ReLU(),
    ]


class MyDeepLab(nn.Module):
    """(N, 3, H, W) -> scores (N, num_classes, h, w), of the given output stride."""

    def __init__(self, num_classes, output_stride, holes=True, width=12, fc=96):
        super().__init__()
        self.stride, before, stride, rate, layers = output_stride, 3, 1, 1, []
        for factor, depth in zip((1, 2, 4, 8, 8), (2, 2, 3, 3, 3), strict=True):
            for _ in range(depth):
                layers += conv(before, factor * width, 3, rate)
                before = factor * width
            if stride < output_stride:
                layers.append(nn.MaxPool2d(2))
                stride *= 2
            else:
                layers.append(nn.MaxPool2d(2, stride=1, dilation=rate))
                rate *= 2 if holes else 1
        layers += [*conv(before, fc, 3, rate), nn.Dropout(0.5)]  # fc6
        layers += [*conv(fc, fc, 1, 1), nn.Dropout(0.5)]  # fc7
        self.layers = nn.Sequential(*layers, nn.Conv2d(fc, num_classes, 1))

    def forward(self, image):
        return self.layers(image)


# %% [markdown]
# A pooling of 2 x 2 with stride 1 makes the map one row and one column smaller, and
# with holes it removes more. `over_image` upsamples scores to the size of the image.
# Stride 32, stride 8 with holes and stride 8 without holes are three *wirings* of the
# same weights.


# %%
def over_image(scores, stride, size):
    """Scores (N, K, h, w) -> logits (N, K, H, W)."""
    x = F.interpolate(scores, scale_factor=stride, mode="bilinear")
    down, across = ((a - b) // 2 for a, b in zip(size, x.shape[-2:], strict=True))
    return F.pad(x, (across, across, down, down), mode="replicate")


WIRINGS = {"stride 32": (32,), "holes": (8, True), "no holes": (8, False)}


def wired(weights, name):
    """The same weights in another wiring."""
    net = MyDeepLab(len(CLASSES), *WIRINGS[name])
    net.load_state_dict(weights)
    return net.eval()


weights = MyDeepLab(len(CLASSES), 32).state_dict()
for name in WIRINGS:
    with torch.no_grad():
        scores = wired(weights, name)(scene.image[None])
    print(f"{name}: scores {tuple(scores.shape)}")

# %% [markdown]
# ### The receptive field, by formula and by gradient
#
# Walk through the layers and keep the *step*, the distance in pixels between
# neighbouring positions. Each layer adds (kernel − 1) · rate · step to the field, as in
# `receptive_field` above. Then the step is multiplied by the stride of the layer. To
# check the formula, we measure: a pixel lies in the receptive field of a score if the
# gradient of the score with respect to this pixel is not zero.


# %%
def table_of(net):
    """(kernel, stride, rate) of all layers with a kernel."""
    found = []
    for m in net.modules():
        if isinstance(m, nn.Conv2d | nn.MaxPool2d):
            values = (m.kernel_size, m.stride, m.dilation)
            found.append([v if isinstance(v, int) else v[0] for v in values])
    return found


def measured_field(net, side=384):
    """Side of the area in which the gradient of the middle score is not zero."""
    image = torch.rand(1, 3, side, side, requires_grad=True)
    scores = net(image)
    scores[0, :, scores.shape[2] // 2, scores.shape[3] // 2].sum().backward()
    rows = image.grad.abs().sum(dim=(0, 1, 3)).nonzero()
    return int(rows.max() - rows.min()) + 1


rows = []
for name in WIRINGS:
    net = wired(weights, name)
    row = {"wiring": name, "formula": receptive_field(table_of(net))}
    rows.append(row | {"largest rate": max(rate for *_, rate in table_of(net))})
    rows[-1]["measured"] = measured_field(net)
tables.show_table(rows)

# %% [markdown]
# Formula and gradient agree. With holes, the network at stride 8 sees as much of the
# image as at stride 32; without holes, its receptive field shrinks.
#
# ### ASPP, and several image sizes
#
# In DeepLab v2 with a ResNet, each kernel of ASPP computes scores, and the four scores
# are added. We compare `MyASPP` with the package's `DeepLabV2`. What does a rate do
# when it is larger than the map? For an image of 96 x 128, this network has 13 x 17
# positions at stride 8, because its pooling rounds up.


# %%
class MyASPP(nn.Module):
    """Features (N, C, h, w) -> scores (N, num_classes, h, w)."""

    def __init__(self, channels, num_classes, rates=(6, 12, 18, 24)):
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Conv2d(channels, num_classes, 3, padding=rate, dilation=rate)
            for rate in rates
        )

    def forward(self, x):
        return sum(branch(x) for branch in self.branches)


small = dict(layers=18, width=8, stages=3)
net = DeepLabV2(len(CLASSES), **small, scales=(1,)).eval()
aspp = MyASPP(32, len(CLASSES))
aspp.load_state_dict({f"branches.{k}": v for k, v in net.aspp.state_dict().items()})
with torch.no_grad():
    features = net.features(torch.rand(1, 3, 96, 128))[-1]
    print(tuple(features.shape), torch.allclose(aspp(features), net.aspp(features)))
    for branch in aspp.branches:
        middle = branch.weight[..., 1:2, 1:2]
        only_middle = F.conv2d(features, middle, branch.bias)
        same = torch.allclose(branch(features), only_middle, atol=1e-5)
        print(f"rate {branch.dilation[0]} is a 1 x 1 convolution here: {same}")

# %% [markdown]
# With rates 18 and 24, only the middle weight ever meets the map; the other eight read
# padding.
#
# DeepLab v2 also runs on the image at several scales, because in a smaller image a
# large object may lie inside the receptive field. The score maps are resized, and each
# class takes its *largest* score.


# %%
def multi_scale(network, image, scales=(0.5, 0.75, 1)):
    """The largest score over all scales: (N, 3, H, W) -> (N, K, h, w)."""
    maps = []
    for scale in scales:
        size = [int(scale * (side - 1)) + 1 for side in image.shape[-2:]]
        maps.append(
            network(F.interpolate(image, size, mode="bilinear", align_corners=True))
        )
    size = maps[-1].shape[-2:]
    maps = [F.interpolate(m, size, mode="bilinear", align_corners=True) for m in maps]
    return torch.stack(maps).amax(dim=0)


image = torch.rand(1, 3, 97, 129)
net = DeepLabV2(len(CLASSES), **small, atrous_rates=(1, 2, 4)).eval()
with torch.no_grad():
    fused = multi_scale(lambda x: net.aspp(net.features(x)[-1]), image)
    print(
        tuple(fused.shape), torch.allclose(fused, net.coarse_logits(image), atol=1e-5)
    )

# %% [markdown]
# ### The dense CRF
#
# A CRF assigns an **energy** to every labelling $x$, a class $x_i$ for each pixel $i$.
# The probability of a labelling is proportional to $e^{-E(x)}$, so a low energy is
# probable:
#
# $$E(x) = \sum_i -\log p_{i x_i} + \sum_{i<j} [x_i \ne x_j]\,\Big(
# w_1\, e^{-\frac{|s_i - s_j|^2}{2\sigma_\alpha^2}
# - \frac{|I_i - I_j|^2}{2\sigma_\beta^2}}
# + w_2\, e^{-\frac{|s_i - s_j|^2}{2\sigma_\gamma^2}}\Big)$$
#
# - $-\log p_{ic}$, the *unary term*, is small if the network gives class $c$ a high
#   probability at pixel $i$.
# - $[x_i \ne x_j]$ is 1 if the two classes differ, and 0 otherwise.
# - The *appearance kernel*, with weight $w_1$, makes this cost high if the positions
#   $s$ are near (within about $\sigma_\alpha$ pixels) *and* the colours $I$ are similar
#   (within about $\sigma_\beta$).
# - The *smoothness kernel*, with weight $w_2$, uses positions only (within about
#   $\sigma_\gamma$ pixels). It removes small isolated regions.
#
# There are too many labellings to try them all. **Mean field** approximates the CRF by
# one distribution $Q_i$ per pixel. It starts from $Q = p$ and repeats one update:
#
# $$Q_{ic} \leftarrow \operatorname{softmax}_c \Big(\log p_{ic} + \sum_j k_{ij}\,
# Q_{jc}\Big)$$
#
# Here $k_{ij}$ is the weighted sum of both kernels. In words: for each pixel and class,
# the update sums the class's probabilities at all pixels, weighted by nearness and
# similarity, and adds this to the network's log-probability. The code also normalises
# each kernel, as the authors' library does. We do this on a crop of 24 x 32 pixels with
# a lamp. Instead of a trained network, we use the true shares of the classes in blocks
# of 4 x 4 pixels, upsampled and mixed with a little of every class.


# %%
def blurred(samples):
    """Logits (N, K, H, W) from the true shares of the classes in blocks of 4 x 4."""
    target = torch.stack([sample.semantic for sample in samples])
    shares = F.one_hot(target, len(CLASSES)).permute(0, 3, 1, 2).float()
    shares = F.interpolate(F.avg_pool2d(shares, 4), scale_factor=4, mode="bilinear")
    return (0.9 * shares + 0.1 / len(CLASSES)).log()


street = Toytown(10, seed=1)[9]
window = (..., slice(48, 72), slice(32, 64))
image, truth = street.image[window], street.semantic[window]
log_p = blurred([street])[0][window].flatten(1).double()  # (8 classes, 768 pixels)


def gaussian(features):
    """Similarity of all pairs of pixels, normalised: (P, D) -> (P, P)."""
    features = features.double()
    kernel = torch.exp(-0.5 * torch.cdist(features, features) ** 2)
    scale = kernel.sum(dim=1).rsqrt()
    return scale[:, None] * kernel * scale


place = torch.cartesian_prod(torch.arange(24.0), torch.arange(32.0))
color = image.flatten(1).T
appearance = gaussian(torch.cat([place / 49, color / (5 / 255)], dim=1))
smoothness = gaussian(place / 3)
k = 4 * appearance + 3 * smoothness  # (768, 768)

# %%
q, steps = log_p.softmax(dim=0), {}
steps["before"] = q
for number in range(1, 11):
    q = (log_p + q @ k).softmax(dim=0)
    steps[f"after {number}"] = q
theirs = brute_force_crf(log_p.view(8, 24, 32), image).flatten(1)
fast = dense_crf(log_p.view(1, 8, 24, 32), image[None]).flatten(2)[0]
print("the package's definition agrees:", torch.allclose(q, theirs, atol=1e-3))
print("its fast version agrees:        ", torch.allclose(q, fast, atol=1e-3))
for name in ("before", "after 1", "after 10"):
    labels = steps[name].argmax(dim=0).view(24, 32)
    right = (labels == truth).float().mean()
    print(f"{name}: {right:.2f} of the pixels right, {(labels == 7).sum()} of lamp")
print(f"ground truth: {(truth == 7).sum()} of lamp")

# %% tags=["hide-input"]
shown = {name: steps[name].argmax(0).view(24, 32) for name in ("before", "after 10")}
viz.show_labels(
    shown | {"ground truth": truth},
    CLASSES,
    PALETTE,
    alt="Three label maps of 24 x 32 pixels. Before: a person with stepped outlines, "
    "and two fragments of a lamp. After 10 updates: the person is narrower, the lamp "
    "is gone. Ground truth: a lamp post over the whole height.",
)

# %% [markdown]
# The share of right pixels hardly changes, but the lamp disappears: 8 of its 48 pixels
# were predicted before, and none is predicted after ten updates. We return to the lamp
# below. The settings released for DeepLab v1 are $w_1 = 4$, $\sigma_\alpha = 49$
# pixels, $\sigma_\beta = 5$ of 255 grey levels, $w_2 = 3$ and $\sigma_\gamma = 3$
# pixels.
#
# <details class="deeper"><summary>Going deeper: from the energy to the update</summary>
#
# Let pixel $i$ have class $c$, and let the other pixels be distributed by $Q$. The
# expected pairwise energy of pixel $i$ is $\sum_{j \ne i} k_{ij} (1 - Q_{jc})$. The
# part $\sum k_{ij}$ does not depend on $c$, so the softmax ignores it. What remains is
# $-\sum_{j \ne i} k_{ij} Q_{jc}$. A low energy means a high probability, so the logits
# receive this sum, the *message*, with a plus.
#
# Two details follow the authors' library and not the formula of the paper: a pixel also
# receives its own message, and each kernel is normalised by the square roots of its row
# and column sums. Without the normalisation, a pixel in a large even region would
# receive messages that add up to thousands.
#
# The kernel has as many rows and columns as the image has pixels, so an image of 96 x
# 128 would need 151 million numbers. `dense_crf` computes the smoothness kernel as two
# one-dimensional blurs, and skips pairs of pixels whose appearance hardly agrees. The
# paper of [Krähenbühl and Koltun](https://arxiv.org/abs/1210.5644) uses a permutohedral
# lattice instead.
#
# </details>

# %% [markdown]
# ## Is it the paper's network?
#
# Two checks. First, `MyDeepLab` must compute what the package's FCN-32s computes after
# `remove_strides`, which applies the rule for holes to any chain of layers. Second, the
# package's v1 networks must have as many parameters as the paper states.

# %%
fcn = FCN(
    8, stride=32, width=12, fc_channels=96, kernel_size=3, padding=1, batch_norm=True
)
nn.init.normal_(fcn.score.weight)
layers = chain(fcn).eval()
image = torch.rand(1, 3, 96, 160)
for name in WIRINGS:
    values = zip(
        MyDeepLab(8, 32).state_dict(), layers.state_dict().values(), strict=True
    )
    stride, *holes = WIRINGS[name]
    theirs = remove_strides(layers, stride, holes=holes != [False])
    with torch.no_grad():
        same = torch.allclose(
            wired(dict(values), name)(image), theirs(image), atol=1e-5
        )
    print(f"{name}: same scores: {same}")

# %%
networks = {
    "v1: DeepLab": (
        DeepLabV1,
        dict(kernel_size=4, dilation=4, fc_channels=4096),
        "65.1 M",
    ),
    "v1: DeepLab-LargeFOV": (DeepLabV1, {}, "20.5 M"),
    "v2: VGG-16 with ASPP": (DeepLabV2, dict(layers=16), ""),
    "v2: ResNet-101 with ASPP": (DeepLabV2, {}, ""),
}
rows = []
for name, (build, options, stated) in networks.items():
    with torch.device("meta"):
        number = sum(p.numel() for p in build(21, **options).parameters())
    rows.append({"network": name, "parameters": number, "the paper states": stated})
tables.show_table(rows)

# %% [markdown]
# Both counts of v1 agree; for v2, our sources state none. `MyDeepLab` follows the
# paper's method, but it is not the paper's network: LargeFOV pools 3 x 3, has no batch
# normalisation, starts from ImageNet weights, and gives its last pooling no holes.
#
# <details class="deeper"><summary>Going deeper: the released networks, layer by
# layer</summary>
#
# The table follows the released configurations of DeepLab v1.
#
# | | LargeFOV, as released | `MyDeepLab` |
# |---|---|---|
# | poolings 1 to 3 | 3 x 3, stride 2 | 2 x 2, stride 2 |
# | poolings 4 and 5 | 3 x 3, stride 1, rate 1 | 2 x 2, stride 1, rates 1 and 2 |
# | stage 5 | rate 2 | rate 2 |
# | before fc6 | average pooling 3 x 3, stride 1 | nothing |
# | fc6 | 3 x 3, rate 12, 1024 channels | 3 x 3, rate 4, 96 channels |
# | batch normalisation | none | after every convolution but the scores |
# | loss | at every eighth pixel | at every pixel |
# | upsampling | `align_corners=True` | `align_corners=False` |
#
# The first network of the paper, DeepLab, pools 2 x 2 and has an fc6 of 4 x 4 with rate
# 4 and 4096 channels. The variant *MSc* (multi-scale) adds scores of the image and of
# the first four poolings. `DeepLabV1(21, multi_scale=True)` builds MSc-LargeFOV.
#
# </details>

# %% [markdown]
# ## Train it
#
# We train with stride 32, on 120 scenes of 192 x 256 pixels. The learning rate follows
# the **poly** schedule of DeepLab v2: after a share $u$ of the steps, it is multiplied
# by $(1 - u)^{0.9}$.

# %%
train = Cached(Toytown(120, size=SIZE))
checks = Cached(Toytown(20, seed=1, size=SIZE))
labels = torch.stack([sample.semantic for sample in train])
class_weight = log_frequency_weights(class_counts(labels, len(CLASSES)))
print("poly:", [round(poly(0.9)(u), 2) for u in (0, 0.25, 0.5, 0.75, 1)])


def loss(net, batch):
    logits = over_image(net(batch.image), net.stride, SIZE)
    target = batch.semantic
    return cross_entropy(logits, target, weight=class_weight) + dice_loss(
        logits, target
    )


def train_on(net, steps, learning_rate):
    seed_everything(0)  # equal batches for every network
    net.to(memory_format=torch.channels_last)  # faster on a CPU
    loader = batches(train, batch_size=4)
    return fit(net, loss, loader, steps=steps, learning_rate=learning_rate)


# %%
seed_everything(0)
model = MyDeepLab(len(CLASSES), 32)
losses = train_on(model, steps=120, learning_rate=1e-2)
weights = model.eval().state_dict()

# %% tags=["hide-input"]
viz.show_curves(
    {"loss": losses},
    xlabel="step",
    ylabel="cross-entropy + Dice",
    smooth=5,
    alt="The loss falls steeply in the first ten steps, then slowly, with small rises.",
)

# %% [markdown]
# ### The same scores, without training
#
# There is another way to get scores at stride 8 from this network. Move the image by 0,
# 8, 16 or 24 pixels in each direction, run the network with stride 32 on each of the 16
# images, and interlace the 16 maps: **shift-and-stitch**. If the rule for holes is
# right, the network with holes must return the same map in a single run. Near the
# border the maps differ, because each moved image is padded at another place.

# %%
big = Toytown(1, seed=1, size=(352, 480))[0].image[None].double()
difference = {}
with torch.no_grad():
    coarse = wired(weights, "stride 32").double()
    stitched = shift_and_stitch(coarse, big, stride=32, step=8)
    for name in ("holes", "no holes"):
        scores = wired(weights, name).double()(big)
        height, width = scores.shape[-2:]
        gap = (stitched[..., :height, :width] - scores).abs().amax(dim=1)[0]
        middle = gap[19:25, 19:41]  # here, no receptive field reaches a border
        print(f"{name}: equal to 1e-5 in the middle: {middle.max().item() < 1e-5}")
        difference[f"{name}: log10 of the difference"] = gap.clamp(min=1e-8).log10()

# %% tags=["hide-input"]
viz.show_images(
    difference,
    limits=(-8, 1),
    alt="Two maps of differences. With holes, the middle is dark, which means 1e-8 or "
    "less; around it lie bright stripes, and dark lines or spots in every fourth row "
    "and column. Without holes, the whole map is bright.",
)

# %% [markdown]
# With holes, one run returns the scores of 16 runs: in the middle, they are equal to
# 1e-5. (Near a border, scores agree only where the image was not moved, or only
# parallel to this border.) Without holes, the scores differ in the whole map, because
# the layers behind pooling 4 read other inputs than in training.
#
# How good are these scores? We upsample them over 20 validation scenes and compute the
# mean IoU. Then each wiring is trained for 30 more steps, from the same weights and on
# the same batches.


# %% tags=["tol=0.05"]
images = torch.stack([sample.image for sample in checks])
target = torch.stack([sample.semantic for sample in checks])


@torch.no_grad()
def logits_of(net):
    net.eval()
    maps = [over_image(net(part), net.stride, SIZE) for part in images.split(4)]
    return torch.cat(maps)


def score(logits):
    return mean_iou(confusion_matrix(logits.argmax(dim=1), target, len(CLASSES)))


rows, nets = [], {name: wired(weights, name) for name in WIRINGS}
for name, net in nets.items():
    row = {"wiring": name, "mean IoU": score(logits_of(net))}
    train_on(net, steps=30, learning_rate=2e-3)
    rows.append(row | {"after 30 more steps": score(logits_of(net))})
tables.show_table(rows, digits=2)

# %% tags=["hide-input"]
logits = {name: logits_of(net) for name, net in nets.items()}
shown = (2, 5, 9)
viz.show_predictions(
    [checks[index] for index in shown],
    {name: maps.argmax(dim=1)[list(shown)] for name, maps in logits.items()},
    CLASSES,
    PALETTE,
    alt="Three street scenes, the predictions of the three wirings after 30 steps, "
    "and the ground truth. All predictions have rounded outlines and hardly any "
    "lamps. Without holes, the outlines of houses and trees have more detail.",
)

# %% [markdown]
# Before the additional steps, *holes* is no better than *stride 32*, and *no holes* is
# worse. After 30 steps, *no holes* has the highest mean IoU. One run proves little, so
# we repeat this experiment with three seeds below.

# %% [markdown]
# ## On a real image
#
# The rule for holes also works with other trained networks. The ImageNet classifier of
# chapter 6, EfficientNet-Lite0, has stride 32, and its last layer can slide over the
# photograph. The library [timm](https://huggingface.co/docs/timm) replaces strides by
# holes with `output_stride=8`. We compare the three wirings on two photographs of
# chapter 6, without any training, and add a CRF to the dense scores. A pixel is *cat*
# if its probability, summed over five classes of cats, exceeds 0.3; the coffee is
# treated likewise. The table shows the IoU of the object.

# %%
try:
    import timm

    classifier, names = imagenet_classifier()
except ModuleNotFoundError as error:
    classifier = None
    print(error)


def classifier_with(holes):
    """The same classifier at stride 8."""
    net = timm.create_model("tf_efficientnet_lite0", pretrained=False, output_stride=8)
    net.load_state_dict(classifier.state_dict())
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d) and layer.dilation != (1, 1) and not holes:
            layer.dilation, layer.padding = (1, 1), (layer.kernel_size[0] // 2,) * 2
    return net.eval()


@torch.no_grad()
def probability(net, image, words, size):
    """Probability of some classes at every pixel: (3, H, W) -> size."""
    weight = net.classifier.weight[:, :, None, None]
    x = net.forward_features((image[None] - 0.5) / 0.5)
    p = F.conv2d(x, weight, net.classifier.bias).softmax(dim=1)
    p = p[:, [names.index(word) for word in words]].sum(dim=1, keepdim=True)
    return F.interpolate(p, size, mode="bilinear")[0, 0]


# %%
WORDS = {
    "cat": ["tabby", "tiger cat", "Persian cat", "Siamese cat", "Egyptian cat"],
    "coffee": ["espresso", "cup", "coffee mug"],
}
NUMBERS = {
    "cat": [2],
    "coffee": [3, 18],
}  # classes of the annotation: cat; cup and coffee


def masks_of(name, nets):
    """The photograph, its ground truth and a mask for every map, 226 pixels long."""
    photo, half = (Photographs((name,), longest=n)[0] for n in (None, 226))
    truth = torch.isin(half.semantic, torch.tensor(NUMBERS[name])).long()
    truth[half.semantic == IGNORE] = IGNORE
    masks = {}
    for key, net in nets.items():
        p = probability(net, photo.image, WORDS[name], half.semantic.shape)
        masks[key] = p > 0.3
        if key == "holes":
            z = p.clamp(0.001, 0.999).logit() - torch.tensor(0.3).logit()
            q = dense_crf(torch.stack([-z / 2, z / 2])[None], half.image[None])[0]
            masks["holes and CRF"] = q[1] > 0.5
    return half.image, truth, masks


# %% tags=["tol=0.03"]
panels, rows = {}, []
if classifier is not None:
    wirings = {"stride 32": classifier, "holes": classifier_with(True)}
    wirings["no holes"] = classifier_with(False)
    for name in WORDS:
        image, truth, masks = masks_of(name, wirings)
        found = {k: confusion_matrix(m.long(), truth, 2) for k, m in masks.items()}
        rows.append({"photograph": name} | {k: iou(m)[1] for k, m in found.items()})
        panels |= {name: image} | {f"{name}: {k}": m for k, m in masks.items()}
    tables.show_table(rows, digits=2)

# %% tags=["hide-input"]
if classifier is not None:
    viz.show_images(
        panels,
        columns=5,
        alt="A cat and a cup of coffee, each with four masks. At stride 32 and with "
        "holes, a blob covers about half of the cat, or of the cup; with the CRF, the "
        "cat has fewer gaps and the cup is smaller; without holes, the masks are "
        "nearly empty.",
    )

# %% [markdown]
# The classifier's scores at stride 8 give about the IoU of stride 32, without a
# training step. Without holes, the classifier finds almost nothing. The CRF improves
# the mask of the cat, and makes the mask of the coffee worse.

# %% [markdown]
# ## What did the idea buy?
#
# The benchmark `deeplab` repeats the experiment of *Train it* with the package's
# FCN-32s, more scenes and more steps. As in chapter 8, wirings are compared seed by
# seed: *difference* is the mean of the paired differences to the first row, and *t* is
# this mean divided by its standard error. With three seeds, a difference is significant
# at 5 % if *t* lies beyond ± 4.30.


# %%
questions = measured("deeplab")["questions"]


def compare(runs, baseline, value):
    """Mean of the paired differences, and t, as text."""
    pairs = zip(runs, baseline, strict=True)
    gaps = [value(a) - value(b) for a, b in pairs]
    mean, error = statistics.mean(gaps), statistics.stdev(gaps) / len(gaps) ** 0.5
    return {"difference": f"{mean:+.3f}", "t": f"{mean / error:+.1f}"}


def arm_rows(arms, names, value=lambda run: run["miou"]):
    first = arms[names[0]]
    for name in names:
        mean = statistics.mean(value(run) for run in arms[name])
        row = {"arm": name, "mean IoU": mean, "difference": "", "t": ""}
        yield row | (compare(arms[name], first, value) if name != names[0] else {})


dense = questions["dense"]
names = ["stride 32", "shift and stitch", "stride 8, holes", "stride 8, no holes"]
print(len(dense[names[0]]), "seeds")
tables.show_table(list(arm_rows(dense, names)))

# %%
names = ["stride 32, tuned", "stride 8, holes, tuned", "stride 8, no holes, tuned"]
tables.show_table(list(arm_rows(dense, names)))

# %% [markdown]
# Before further training, all dense maps score lower than stride 32: by 0.018 with
# holes, by 0.025 with shift-and-stitch, and by 0.085 without holes. (Holes and
# shift-and-stitch may differ here because the receptive field of 276 pixels is larger
# than the scenes, so that the padding reaches every score.) One possible reason, not
# isolated here, is that the weights were trained with upsampling by 32, not by 8.
#
# After 60 further steps, stride 8 is better than stride 32: by 0.02 with holes, and by
# 0.05 without. All these differences are significant. So a dense map helps after
# further training, and the holes are not needed: with every seed, the gain is larger
# without holes.
#
# ### Training from random weights
#
# Do holes help if the network is trained with them from the start, and on larger
# scenes? The benchmark trains DeepLab v1 with three pairs of rates, at two sizes. The
# first rate belongs to the convolutions of stage 5, between pooling 4 and 5, and the
# second to fc6. *Holes* follows the rule, except that its poolings keep rate 1. Each
# size is compared with its own first row.

# %%
rates = {"no holes": (1, 1), "holes": (2, 4), "LargeFOV": (2, 12)}
pooled = (
    [*2 * [(3, 1, 1)], (3, 2, 1)] * 2 + [*3 * [(3, 1, 1)], (3, 2, 1)] + 4 * [(3, 1, 1)]
)
rows = []
for size in ("96 x 128", "192 x 256"):
    for row in arm_rows(questions[f"sizes {size}"], list(rates)):
        stage5, fc6 = rates[row["arm"]]
        layers = [*pooled, *3 * [(3, 1, stage5)], *2 * [(3, 1, 1)], (3, 1, fc6)]
        field = {
            "rates": f"{stage5}, {fc6}",
            "receptive field": receptive_field(layers),
        }
        rows.append({"scenes": size} | row | field)
tables.show_table(rows)

# %% [markdown]
# In all four comparisons, the mean IoU is lower with holes. Only LargeFOV at 192 x 256
# is significantly lower, by 0.017; the other three show no clear difference. So holes
# did not pay at either size.
#
# ### The dense CRF
#
# The next table (benchmark `ablations`) shows DeepLab v1 at 96 x 128 without and with
# the CRF, with the published settings. Boundary F1 ([chapter 3](03_metrics.ipynb))
# scores the outlines alone.

# %%
arms = measured("ablations")["ablations"]["crf"]["arms"]
crf = {name: arm["runs"] for name, arm in arms.items()}
scores_of = {
    "mean IoU": "miou",
    "boundary F1": "boundary_f1",
    "IoU of lamp": "thin_iou",
}
rows = []
for title, key in scores_of.items():
    row = {"score": title}
    for name in ("none", "dense CRF"):
        row[name] = statistics.mean(run[key] for run in crf[name])
    pair = compare(crf["dense CRF"], crf["none"], lambda run, key=key: run[key])
    rows.append(row | pair)
tables.show_table(rows)

# %% [markdown]
# The CRF raises the mean IoU by 0.08 and the boundary F1 by 0.13, and lowers the IoU of
# the lamps from 0.071 to 0.037. All three differences are significant in this
# benchmark. In the trainings of the benchmark `deeplab`, the CRF lowered the IoU of
# lamps with only two of three seeds.
#
# ## Where it breaks: thin objects, and rates beyond the map
#
# **The CRF erases thin objects.** Which of its parameters decides? We take the blurred
# shares of eight scenes as logits, and change one parameter at a time.

# %% tags=["tol=0.01"]
streets = [Toytown(8, seed=1)[index] for index in range(8)]
pictures = torch.stack([sample.image for sample in streets])
truth = torch.stack([sample.semantic for sample in streets])
settings = {
    "published": {},
    "no smoothness kernel": dict(smooth_weight=0.0),
    "smoothness within 1 pixel": dict(smooth_std=1.0),
    "no appearance kernel": dict(bilateral_weight=0.0),
    "appearance within 12 pixels": dict(xy_std=12.0),
    "colours within 2 of 255": dict(rgb_std=2 / 255),
}
found = {"before the CRF": blurred(streets)}
for name, changes in settings.items():
    found[name] = dense_crf(blurred(streets), pictures, **changes)
rows = []
for name, maps in found.items():
    matrix = confusion_matrix(maps.argmax(dim=1), truth, len(CLASSES))
    rows.append(
        {"CRF": name, "mean IoU": mean_iou(matrix), "IoU of lamp": iou(matrix)[7]}
    )
tables.show_table(rows, digits=2)

# %% [markdown]
# With the published settings, the CRF lowers even the mean IoU of these scores. The
# smoothness kernel uses positions only, and most pixels near a thin lamp belong to the
# background, whatever their colours. Without this kernel, or with a reach of one pixel,
# the lamps keep nearly all of their IoU. Without the appearance kernel, their IoU falls
# further.
#
# **At rates beyond the map, all weights but the middle one read padding.** In *Build
# it*, rates 18 and 24 were 1 x 1 convolutions on a map of 13 x 17 positions. A larger
# rate therefore cannot bring in the whole image. [PSPNet](10_pspnet.ipynb), in chapter
# 10, averages over regions of the image instead.
#
# ## In practice
#
# torchvision, timm and segmentation_models_pytorch (SMP) remove strides with one
# argument. Do they keep the scores of a trained network? We give one ResNet-50 the
# weights of another, and feed the last two stages with features of stride 8. We compare
# one position: row and column 16 of the dense output must equal row and column 4 of the
# output at stride 32.

# %% tags=["nbval-ignore-output"]
import segmentation_models_pytorch as smp

print("torchvision", torchvision.__version__, "SMP", smp.__version__)

# %%
torch.manual_seed(0)
resnet50 = torchvision.models.resnet50
original = resnet50(weights=None).eval()
libraries = {
    "torchvision": resnet50(
        weights=None, replace_stride_with_dilation=[False, True, True]
    ),
    "SMP": smp.encoders.get_encoder("resnet50", weights=None, output_stride=8),
}
if classifier is not None:
    libraries["timm"] = timm.create_model("resnet50", output_stride=8)
features = torch.rand(1, 512, 33, 33)
rows = []
for name, network in libraries.items():
    network.load_state_dict(original.state_dict(), strict=False)
    network.eval()
    with torch.no_grad():
        coarse = original.layer4(original.layer3(features))
        dense_map = network.layer4(network.layer3(features))
    same = torch.allclose(dense_map[..., 16, 16], coarse[..., 4, 4], atol=1e-4)
    first, last = (
        block.conv2.dilation[0] for block in (network.layer4[0], network.layer4[2])
    )
    row = {
        "library": name,
        "positions": dense_map.shape[-1],
        "rate, first block": first,
    }
    rows.append(row | {"rate, other blocks": last, "same features": str(same)})
tables.show_table(rows)

# %% [markdown]
# torchvision and timm keep the features. SMP gives the new rate to the first block of
# each changed stage, too: rate 4 in the last stage, where the rule asks for 2. So the
# features change. (Exercise 9.2 is about this difference.) Compare features as in this
# cell if you do not train further.
#
# For a dense CRF, the package `pydensecrf2` binds the authors' library.
#
# | Use | when |
# |---|---|
# | holes in a trained network | you need a denser map, and the weights must stay |
# | output stride 8 and training | a denser map is worth more memory and time |
# | DeepLab v3 or v3+ (chapter 12) | you want a DeepLab with pretrained weights |
# | a dense CRF | colours show the edges, and there are no thin objects |
# | skip connections (chapters 6 and 8) | you train, and thin objects matter |
#
# <details class="deeper"><summary>Going deeper: a dense CRF with pydensecrf2</summary>
#
# This code is not run here. The arrays are `probabilities` (K, H, W) and `image_uint8`
# (H, W, 3).
#
# ```python
# import numpy as np
# import pydensecrf.densecrf as dcrf
# from pydensecrf.utils import unary_from_softmax
#
# d = dcrf.DenseCRF2D(width, height, num_classes)
# d.setUnaryEnergy(unary_from_softmax(probabilities))  # (K, H, W)
# d.addPairwiseGaussian(sxy=3, compat=3)
# d.addPairwiseBilateral(sxy=49, srgb=5, rgbim=image_uint8, compat=4)  # (H, W, 3)
# q = np.array(d.inference(10)).reshape(num_classes, height, width)
# ```
#
# </details>
#
# <details class="deeper"><summary>Going deeper: what the papers measured</summary>
#
# Mean IoU in per cent on PASCAL VOC 2012, validation images, as the papers state it.
#
# | network | without CRF | with CRF |
# |---|---|---|
# | v1: DeepLab | 59.80 | 63.74 |
# | v1: LargeFOV | 62.25 | 67.64 |
# | v1: MSc-LargeFOV | 64.21 | 68.70 |
# | v2: VGG-16, LargeFOV | 65.76 | 69.84 |
# | v2: VGG-16, ASPP-L (rates 6, 12, 18, 24) | 68.96 | 71.57 |
# | v2: ResNet-101, ASPP, all additions | 76.35 | 77.69 |
#
# With the poly schedule instead of steps, LargeFOV rose from 62.25 to 63.42 at equal
# length, and to 65.88 with smaller batches and more iterations.
#
# </details>

# %% [markdown]
# ## Common mistakes
#
# **1. The padding does not follow the rate.** A 3 x 3 convolution with rate $r$ needs
# `padding=r`. With `padding=1`, the map shrinks, and upsampling hides it:

# %%
x = torch.rand(1, 8, 24, 32)
for padding in (1, 4):
    layer = nn.Conv2d(8, 8, 3, padding=padding, dilation=4)
    print(f"rate 4, padding={padding}: {tuple(layer(x).shape[2:])}")

# %% [markdown]
# **2. The CRF receives colours in the wrong unit.** The standard deviation must have
# the unit of the colours. If colours lie between 0 and 1, the published 5 is 5 / 255.
# The package refuses `rgb_std=5`; what does a value ten times too large cost?

# %% tags=["tol=0.01"]
for name, std in (("5 / 255", 5 / 255), ("50 / 255", 50 / 255)):
    q = dense_crf(blurred(streets[:2]), pictures[:2], rgb_std=std).argmax(dim=1)
    print(f"rgb_std = {name}: mean IoU", end=" ")
    print(f"{mean_iou(confusion_matrix(q, truth[:2], len(CLASSES))):.2f}")

# %% [markdown]
# **3. Labels are interpolated to the size of the scores.** DeepLab computes its loss at
# every eighth pixel. Wrong: labels that are resized bilinearly, which invents classes
# ([chapter 2](02_data.ipynb)). Right: `target[..., ::8, ::8]`, for scores whose
# position $n$ lies over pixel $8n$. The package's `DeepLabV1` has such scores:

# %%
net = DeepLabV1(len(CLASSES), width=4, fc_channels=8, dilation=2).eval()
with torch.no_grad():
    image = torch.rand(1, 3, 96, 128)
    print(
        torch.allclose(net(image)[..., ::8, ::8], net.coarse_logits(image), atol=1e-5)
    )

# %% [markdown]
# ## Exercises
#
# Replace `...` by your answer and run the cell. `ex.rate_for` shows the question again,
# `ex.rate_for.hint()` gives a hint, and another one each time. The solutions are behind
# the toggles.

# %%
from segcourse.exercises import deeplab_v1_v2 as ex

# %% [markdown]
# ### 9.1 How large must the rate be?
#
# Predict the rate that a last 3 x 3 convolution needs to see enough of an image.
# `layers` is a list of at least one (kernel, stride, rate), in the order of execution;
# the first layer reads the image. A 3 x 3 convolution with stride 1 follows them.
# Return the smallest rate, an integer of at least 1, with which the receptive field of
# its output has a side of at least `side` pixels. For example, after `[(3, 1, 1), (2,
# 2, 1)]` the field has 4 pixels and neighbouring positions are 2 pixels apart. Rate 2
# then gives 4 + 2 · 2 · 2 = 12 pixels.
#
# Before you run your function, write down by hand the rate for `[(3, 1, 1), (2, 2, 1),
# (3, 1, 2)]` and a side of 40 pixels. The last cell confirms it by the gradient.


# %%
def smallest_rate(layers, side): ...  # your code


ex.rate_for.check(smallest_rate)

# %%
ex.rate_for.show_solution()

# %%
layers, found = [(3, 1, 1), (2, 2, 1), (3, 1, 2)], {}
for rate in range(3, 10):
    chosen = [*layers, (3, 1, rate)]
    net = nn.Sequential(
        *(nn.Conv2d(3, 3, k, stride=s, dilation=r) for k, s, r in chosen)
    )
    found[rate] = measured_field(net, side=96)
print("field for each rate:", found)
print("by the formula:", math.ceil((40 - receptive_field(layers)) / (2 * 2)))

# %% [markdown]
# ### 9.2 Find the fault: holes for strides
#
# This function replaces strides by holes:
#
#     def holes(layers, output_stride):
#         step, rate, result = 1, 1, []
#         for kernel, stride in layers:
#             if step * stride > output_stride:
#                 rate *= stride
#                 stride = 1
#             step *= stride
#             result.append((kernel, stride, rate))
#         return result
#
# It runs, and for some networks its result is right. Find the fault, and write the
# function correctly. `layers` is a list of (kernel, stride), in the order of execution.
# A stride is kept if its product with all strides kept before it is at most
# `output_stride`. Otherwise it becomes 1, and later kernels get holes. Return a list of
# (kernel, stride, rate) with which every kernel reads the same inputs as before, as in
# a network that is evaluated by shift-and-stitch.


# %%
def holes(layers, output_stride): ...  # your code


ex.fix_holes.check(holes)

# %%
ex.fix_holes.show_solution()

# %% [markdown]
# ### 9.3 Stitch
#
# Interlace the maps of shift-and-stitch. `maps` has shape (f, f, K, h, w). `maps[i, j]`
# holds the scores of the image that was moved up by i steps and to the left by j steps.
# Position (y, x) of this map belongs to row f · y + i and column f · x + j of the
# result. Return a tensor (K, f · h, f · w).


# %%
def stitch(maps): ...  # your code


ex.interlace.check(stitch)

# %%
ex.interlace.show_solution()

# %% [markdown]
# ### 9.4 Predict: weights that meet the map
#
# Predict how many weights of an atrous kernel meet the map, on average. A 3 x 3 kernel
# with the given rate slides over a map of `height` x `width` positions with
# `padding=rate`. At each position, some of its nine weights read the map, and the
# others read the padding. Return the mean, over all positions, of the number of weights
# that read the map. For rate 12, write down your guess for a map of 13 x 17 and for one
# of 41 x 41 first; the last cell counts them with a kernel of ones.


# %%
def mean_taps(height, width, rate): ...  # your code


ex.taps.check(mean_taps)

# %%
ex.taps.show_solution()

# %%
for sides in ((13, 17), (41, 41)):
    ones = torch.ones(1, 1, *sides)
    met = F.conv2d(ones, torch.ones(1, 1, 3, 3), padding=12, dilation=12).mean()
    print(f"map of {sides[0]} x {sides[1]}: {met:.2f} of 9 weights")

# %% [markdown]
# ### 9.5 One mean-field update
#
# Write one mean-field update of a CRF in which different pairs of classes have
# different costs. `log_p` and `q` have shape (K, P), for K classes and P pixels: the
# logarithms of the network's probabilities, and the current distributions. `k` (P, P)
# is a symmetric matrix of similarities. In `cost` (K, K), `cost[c, d]` is the energy of
# a pixel of class c beside a similar pixel of class d. In the chapter, the cost was 0
# for equal classes and 1 for different ones. As in the original definition of the dense
# CRF, a pixel receives nothing from itself. Return the new distributions (K, P): at
# pixel i, the softmax over the classes c of
#
# $$\log p_{ci} - \sum_d \sum_{j \ne i} \mathrm{cost}_{cd}\, k_{ij}\, q_{dj}.$$


# %%
def mean_field_update(log_p, q, k, cost): ...  # your code


ex.mean_field.check(mean_field_update)

# %%
ex.mean_field.show_solution()

# %% [markdown]
# ### 9.6 Decide: what does the CRF cost?
#
# Decide which classes contradict the claim that a CRF improves the prediction. `before`
# and `after` are predictions (N, H, W), and `target` is the ground truth, with classes
# from 0 to `num_classes - 1`, or 255 where it is void. If the mean IoU does not rise,
# the claim fails for the mean already: return an empty list. Otherwise return, in
# ascending order, the classes whose IoU after the CRF is *smaller* than before. The IoU
# counts all N images together, and leaves void out. A class that occurs neither in a
# prediction nor in the target has no IoU there: leave it out of the mean IoU of this
# prediction. The mean IoU of the other prediction may still contain it.


# %%
def counterexamples(before, after, target, num_classes): ...  # your code


ex.judge.check(counterexamples)

# %%
ex.judge.show_solution()

# %% [markdown]
# Now construct a counterexample yourself: an image in which a dense CRF erases a
# correct object. Draw an image (1, 3, 24, 32) and a target (1, 24, 32) with two
# classes, and start from scores that are *right* at every pixel, but not very sure.
# Then compare your image with ours, a brighter line of one or more columns. Which
# kernel erases the line?

# %%
for width in (1, 2, 3):
    target = torch.zeros(1, 24, 32, dtype=torch.long)
    target[..., 12 : 12 + width] = 1
    image = 0.4 + 0.1 * target[:, None].expand(1, 3, 24, 32)  # 25 grey levels brighter
    right = target - 0.5  # the true class has probability 0.73 everywhere
    for weight in (3.0, 0.0):
        q = dense_crf(torch.stack([-right, right], dim=1), image, smooth_weight=weight)
        left = (q.argmax(dim=1) == 1).sum() / target.sum()
        print(f"width {width}, smooth_weight {weight}: {left:.2f} of the line left")

# %% [markdown]
# ## Quiz

# %% [markdown]
# **Q1. A pooling of stride 2 loses its stride. What must happen so that every later
# kernel of the trained network reads the same inputs as before?**
#
# <details class="quiz wrong"><summary>The pooling itself gets rate 2</summary>
#
# Not quite: the inputs of the pooling have not changed. Only the layers after the
# pooling read a denser map.
#
# </details>
# <details class="quiz wrong"><summary>The next convolution gets rate 2, and the others
# keep rate 1</summary>
#
# Not quite: the map stays twice as dense until the end, so every later kernel needs the
# holes.
#
# </details>
# <details class="quiz right"><summary>The rate of every later kernel doubles</summary>
#
# Right: two neighbouring inputs of the training are now two positions apart. Any
# further removed stride doubles the rate of the kernels after it again.
#
# </details>

# %% [markdown]
# **Q2. How many weights has a 3 x 3 convolution with rate 12, compared with rate 1?**
#
# <details class="quiz right"><summary>Equally many</summary>
#
# Right: a rate moves the nine positions apart and adds no weight. The number of
# multiplications per output is also the same.
#
# </details>
# <details class="quiz wrong"><summary>As many as a 25 x 25 kernel</summary>
#
# Not quite: with rate 12, nine weights cover 25 x 25 positions, and no weights between
# them are stored.
#
# </details>
# <details class="quiz wrong"><summary>12 times as many</summary>
#
# Not quite: the rate does not multiply weights. It is the distance of neighbouring
# weights.
#
# </details>

# %% [markdown]
# **Q3. A map has 13 x 17 positions. What does a 3 x 3 convolution with rate 24 and
# padding 24 compute?**
#
# <details class="quiz wrong"><summary>Context from the whole image</summary>
#
# Not quite: the eight outer weights lie 24 positions away, which is beyond the map at
# every position.
#
# </details>
# <details class="quiz wrong"><summary>An error, because the kernel is larger than the
# map</summary>
#
# Not quite: the padding makes room for the kernel, and PyTorch reports nothing. This is
# why the mistake is easily overlooked.
#
# </details>
# <details class="quiz right"><summary>A 1 x 1 convolution</summary>
#
# Right: only the middle weight meets the map. The others read zeros.
#
# </details>

# %% [markdown]
# **Q4. You load the weights of a network with stride 32 into the same network with
# stride 8 and holes. What can you expect before any further training?**
#
# <details class="quiz wrong"><summary>A higher mean IoU, because the map is
# denser</summary>
#
# Not quite: the scores themselves are unchanged, and only more of them are computed. In
# this chapter the mean IoU did not rise before further training.
#
# </details>
# <details class="quiz right"><summary>The scores that shift-and-stitch would give, away
# from the border</summary>
#
# Right: every kernel reads the inputs that it was trained for. Near the border, the
# padding differs.
#
# </details>
# <details class="quiz wrong"><summary>Useless scores, because the kernels have
# changed</summary>
#
# Not quite: the kernels are unchanged, and with holes they read the inputs that they
# were trained for. *Without* holes, they would read nearer inputs, and the scores would
# be worse.
#
# </details>

# %% [markdown]
# **Q5. Which pairs of pixels does the appearance kernel of the dense CRF connect
# strongly?**
#
# <details class="quiz wrong"><summary>All pixels of similar colour, however far
# apart</summary>
#
# Not quite: the kernel is a product. It is small if the positions are far apart, even
# if the colours are equal.
#
# </details>
# <details class="quiz right"><summary>Pixels that are near each other and have similar
# colours</summary>
#
# Right: both exponents must be close to 0. With the published settings, "near" reaches
# about 49 pixels.
#
# </details>
# <details class="quiz wrong"><summary>Pixels to which the network gives the same
# class</summary>
#
# Not quite: the kernel depends on positions and colours only. The classes enter through
# the factor $[x_i \ne x_j]$.
#
# </details>

# %% [markdown]
# **Q6. A dense CRF erases the lamps of your street scenes. Which parameter do you try
# first?**
#
# <details class="quiz right"><summary>The weight of the smoothness kernel</summary>
#
# Right: this kernel ignores colours, so a thin object receives messages mostly from its
# surroundings. Without this kernel, the lamps of the chapter remained.
#
# </details>
# <details class="quiz wrong"><summary>The weight of the appearance kernel</summary>
#
# Not quite: without this kernel, the IoU of lamps fell further in the chapter.
#
# </details>
# <details class="quiz wrong"><summary>The reach of the appearance kernel</summary>
#
# Not quite: changing it from 49 to 12 pixels raised the IoU of the lamps by only 0.01
# in the chapter.
#
# </details>

# %% [markdown]
# ## Take-aways
#
# - A removed stride of 2 and doubled rates in all later layers keep the scores of a
#   trained network: away from the border, the result equals shift-and-stitch.
# - A denser map alone did not raise the mean IoU on our scenes. After brief further
#   training it did, and more without holes than with holes. Training with holes from
#   the start did not pay either.
# - A rate adds receptive field without a weight, as long as it is smaller than the map.
#   Beyond that, a 3 x 3 kernel is a 1 x 1 kernel.
# - The dense CRF raised the mean IoU and the boundary F1 of DeepLab v1, and lowered the
#   IoU of lamps in most runs.
# - Libraries place holes differently. Compare the features if the weights must stay as
#   they are.

# %% [markdown]
# ## Further reading
#
# - Chen, Papandreou, Kokkinos, Murphy, Yuille, [Semantic Image Segmentation with Deep
#   Convolutional Nets and Fully Connected CRFs](https://arxiv.org/abs/1412.7062), ICLR
#   2015 (`chen2015deeplab`)
# - Chen, Papandreou, Kokkinos, Murphy, Yuille, [DeepLab: Semantic Image Segmentation
#   with Deep Convolutional Nets, Atrous Convolution, and Fully Connected
#   CRFs](https://arxiv.org/abs/1606.00915), TPAMI 2018 (`chen2018deeplabv2`)
# - Krähenbühl, Koltun, [Efficient Inference in Fully Connected CRFs with Gaussian Edge
#   Potentials](https://arxiv.org/abs/1210.5644), NIPS 2011 (`krahenbuhl2011densecrf`)
