# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # 6. FCN: from classification to segmentation
#
# A fully convolutional network (FCN) turns an image classifier into a network that
# predicts a class for every pixel.
#
# After this chapter you can
#
# - compute the receptive field of a network (exercise 6.1);
# - turn a linear layer into a convolution with the same weights (exercise 6.2);
# - predict what a transposed convolution does to a constant map (exercise 6.3);
# - add a skip connection whose maps are aligned (exercise 6.4), and measure what a
#   stride loses (exercise 6.5);
# - decide which experiments show that skip connections help (exercise 6.6).
#
# You need [chapter 3](03_metrics.ipynb) (IoU, confusion matrix), [chapter
# 5](05_losses.ipynb) (class weights) and the basics of convolution in PyTorch. The
# [glossary](../book/glossary.md) explains technical words. The notebook takes less than
# two minutes on one CPU thread, most of it for one training.

# %% tags=["hide-cell"]
from importlib.util import find_spec

if find_spec("segcourse") is None:  # on Colab
    get_ipython().system(
        "pip install -q 'segcourse[pretrained] @ git+https://github.com/OWNER/REPO'"
    )

import torch

from segcourse.training import seed_everything

seed_everything(0)

# %%
import torch.nn.functional as F
import torchvision
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models.segmentation import (
    DeepLabV3_ResNet50_Weights,
    FCN_ResNet50_Weights,
    fcn_resnet50,
)

from segcourse import tables, viz
from segcourse.classical import gray, otsu
from segcourse.data import Cached, Photographs, Toytown, batches, measured, toytown
from segcourse.losses import class_counts, cross_entropy, log_frequency_weights
from segcourse.metrics import confusion_matrix, iou, mean_iou, trimap
from segcourse.models import FCN
from segcourse.ops import IGNORE
from segcourse.pretrained import imagenet_classifier
from segcourse.training import evaluate, fit, predict

CLASSES, PALETTE = toytown.CLASSES, toytown.PALETTE

# %% [markdown]
# ## The problem
#
# An image classifier predicts one class for a whole image. We load a real one:
# EfficientNet-Lite0, trained on ImageNet, whose photographs belong to 1000 classes. A
# small Python package carries its weights. If the package is missing, the cell prints
# how to install it, and the cells that need the weights are skipped.

# %%
try:
    classifier, names = imagenet_classifier()
    print(f"{sum(p.numel() for p in classifier.parameters())} parameters")
except ModuleNotFoundError as error:
    classifier = None
    print(error)

# %% [markdown]
# The network was trained on images of 224 x 224 pixels whose values lie between -1 and
# 1. We give it the central square of a photograph.

# %% tags=["tol=0.02"]
cat = Photographs(("cat",))[0]
square = cat.image[None, :, :, 75:375]  # (1, 3, 300, 300)
square = F.interpolate(square, (224, 224), mode="bilinear")

if classifier is not None:
    with torch.no_grad():
        probabilities = classifier((square - 0.5) / 0.5).softmax(dim=1)[0]
    for value, number in zip(*probabilities.topk(4), strict=True):
        print(f"{names[number]:14} {value:.2f}")

# %% [markdown]
# All four classes are cats, but the prediction says only *what* is in the photograph,
# not *where*.
#
# A simple solution classifies many windows (*patches*). A window is cut out around each
# pixel, and the class of the window is given to the pixel. This works, but neighbouring
# windows share most of their pixels, so nearly all computation is repeated.

# %% [markdown]
# ## The idea
#
# **A linear layer is a convolution.** Suppose that a classifier has computed a *feature
# map* $x$: a grid of $S \times S$ positions with $C$ numbers, the channels, at each. It
# flattens the map, and a linear layer computes output $o$ as a weighted sum of all
# values:
#
# $$y_o = b_o + \sum_{c=1}^{C}\sum_{i=1}^{S}\sum_{j=1}^{S} W_{o,c,i,j}\; x_{c,i,j}$$
#
# Here $W$ holds the weights, $b$ the biases, $c$ numbers the channels, $i$ the rows and
# $j$ the columns. The same formula describes a convolution with an $S \times S$ kernel
# at the only position where the kernel fits. On a larger map, the kernel fits at many
# positions, and the layer returns one output for each of them.
#
# Here is an example to check by hand. A linear layer has the weights 1, 0, 0, 2 for a
# flattened 2 x 2 map. For the map with the rows (1, 2) and (3, 0), its output is 1 · 1
# + 2 · 0 = 1. As a convolution, the same weights also accept a map with three columns:

# %%
weights = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
larger = torch.tensor([[1.0, 2.0, 1.0], [3.0, 0.0, 4.0]])
print(F.conv2d(larger[None, None], weights[None, None]).squeeze().tolist())

# %% [markdown]
# The first number is the output for columns 1 and 2, the second for columns 2 and 3: 1
# · 2 + 2 · 4 = 10. A network without linear layers is called **fully convolutional**.
# It accepts images of any size and returns a map of **scores** (also called logits):
# one number for each class at each position.
#
# The map of scores is smaller than the image, and small objects are lost in it. The
# **stride** of a map is the distance, in image pixels, between two neighbouring
# positions. Our classifier halves its maps five times, so its scores have stride 32.
# Two steps make the prediction finer.
#
# 1. **Upsampling** enlarges the map of scores to the size of the image. FCN uses
#    bilinear interpolation, written as a *transposed convolution*.
# 2. **Skip connections** add detail. The *encoder*, which is the part of the network
#    that computes features, also has maps of stride 16 and 8. FCN computes scores from
#    these maps too and adds them to the upsampled coarse scores.
#
# The diagram shows FCN-8s, the finest of the three networks in the paper of [Long,
# Shelhamer and Darrell](https://arxiv.org/abs/1411.4038). It predicts the 21 classes of
# the data set PASCAL VOC. Its encoder is the classifier VGG-16: pool1 to pool5 are the
# outputs of its five poolings, and fc6 and fc7 are former linear (fully connected)
# layers. Below each box stand its channels and its resolution; the arcs are the skip
# connections.

# %% tags=["hide-input"]
blue, green, orange = 0, 2, 4
viz.show_architecture(
    [
        {"name": "image", "stride": 1, "channels": 3, "color": 6},
        {"name": "pool1", "stride": 2, "channels": 64, "color": blue},
        {"name": "pool2", "stride": 4, "channels": 128, "color": blue},
        {"name": "pool3", "stride": 8, "channels": 256, "color": blue},
        {"name": "pool4", "stride": 16, "channels": 512, "color": blue},
        {"name": "pool5", "stride": 32, "channels": 512, "color": blue},
        {"name": "fc6, fc7", "stride": 32, "channels": 4096, "color": green},
        {"name": "scores", "stride": 32, "channels": 21, "color": orange},
        {"name": "x2, +", "stride": 16, "channels": 21, "color": orange},
        {"name": "x2, +", "stride": 8, "channels": 21, "color": orange},
        {"name": "x8", "stride": 1, "channels": 21, "color": orange},
    ],
    links=[(4, 8, "scores"), (3, 9, "scores")],
    alt="FCN-8s as a row of boxes. Five poolings reduce the image to stride 32; fc6, "
    "fc7 and the scores keep this stride. Two upsamplings by 2, to which arcs from "
    "pool4 and pool3 lead, and one by 8 return to the size of the image.",
)

# %% [markdown]
# FCN-32s has no skip connection and upsamples its scores by 32. FCN-16s adds the scores
# of pool4 and upsamples by 16; FCN-8s also adds those of pool3 and upsamples by 8.

# %% [markdown]
# ## Build it
#
# ### A classifier as a convolution
#
# EfficientNet averages its last feature map over all positions before its linear layer,
# so this layer has one weight per channel and class. As a convolution, it has a 1 x 1
# kernel.


# %%
def score_map(image):
    """Scores of 1000 classes: (1, 3, H, W) -> (1, 1000, H / 32, W / 32), rounded up."""
    linear = classifier.classifier
    layer = nn.Conv2d(linear.in_features, linear.out_features, kernel_size=1)
    layer.weight.data = linear.weight.data[:, :, None, None]
    layer.bias.data = linear.bias.data
    with torch.no_grad():
        return layer(classifier.forward_features((image - 0.5) / 0.5))


enlarged = F.interpolate(cat.image[None], scale_factor=1.5, mode="bilinear")
if classifier is not None:
    scores = score_map(enlarged)
    print(tuple(enlarged.shape), "->", tuple(scores.shape))

# %% [markdown]
# The result has 15 x 22 positions with 1000 scores each; it is closely related to a
# [class activation map](https://arxiv.org/abs/1512.04150). The mean of weighted sums is
# the weighted sum of the means. Therefore the mean of this map must equal the scores
# that the classifier computes for the whole enlarged image. We also compare the cost
# with that of classifying a window of 224 x 224 pixels at each of the 330 positions.


# %%
def operations(image):
    """Multiplications and additions of the classifier on one image."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        classifier(image)
    return counter.get_total_flops()


if classifier is not None:
    with torch.no_grad():
        answer = classifier((enlarged - 0.5) / 0.5)
    print("same answer:", torch.allclose(scores.mean((2, 3)), answer, atol=1e-3))
    windows = 15 * 22 * operations(square)
    print(f"windows need {windows / operations(enlarged):.0f} times the operations")

# %% [markdown]
# ImageNet has five classes of house cats. The sum of their probabilities at each
# position answers our question: where is the cat? We compare it with the annotation: a
# position is *on cat* if more than 98 % of its pixels are.


# %% tags=["tol=0.02"]
CATS = ["tabby", "tiger cat", "Persian cat", "Siamese cat", "Egyptian cat"]


def probability_map(scores, labels):
    """The sum over some classes: (1, 1000, h, w) -> (h, w)."""
    chosen = [names.index(label) for label in labels]
    return scores.softmax(dim=1)[0, chosen].sum(dim=0)


if classifier is not None:
    cat_map = probability_map(scores, CATS)
    print(f"cat_map[4, 10], beside the eye on the left: {cat_map[4, 10]:.2f}")
    print(f"cat_map[8, 16], on the cat: {cat_map[8, 16]:.2f}")
    print(f"cat_map[4, 17], right of the head: {cat_map[4, 17]:.2f}")
    for place, label in (("cat", 2), ("background", 0)):
        mask = F.interpolate((cat.semantic == label)[None, None].float(), (450, 676))
        share = F.avg_pool2d(mask, 32, padding=15, count_include_pad=False)[0, 0]
        inside = cat_map[share > 0.98]
        print(f"mean over {len(inside)} positions on {place}: {inside.mean():.2f}")
        print(f"  share above 0.5: {(inside > 0.5).float().mean():.2f}")

# %% [markdown]
# The figure shows the map, and the photograph multiplied by it. The second row shows
# coffee and the classes *espresso*, *cup* and *coffee mug*.

# %% tags=["hide-input"]
if classifier is not None:
    panels = {}
    coffee = Photographs(("coffee",))[0].image
    coffee_map = probability_map(
        score_map(coffee[None]), ["espresso", "cup", "coffee mug"]
    )
    for name, photo, found in (
        ("cat", cat.image, cat_map),
        ("coffee", coffee, coffee_map),
    ):
        size = photo.shape[-2:]
        light = F.interpolate(found[None, None], size, mode="bilinear")[0]
        panels |= {name: photo, f"probability: {name}": found.expand(1, -1, -1)}
        panels[f"{name} x probability"] = photo * (0.15 + 0.85 * light)
    viz.show_images(
        panels,
        columns=3,
        limits=(0, 1),
        alt="First row: the face of a cat, a map of 15 x 22 squares, and the photo "
        "multiplied by the map. Squares around the eyes, beside the nose and at the "
        "mouth are bright; most of the background, the nose, the top of the head and "
        "the neck are dark. "
        "Second row: a cup on a saucer; only squares on the coffee and the cup's rim "
        "are bright.",
    )

# %% [markdown]
# Without pixel annotations, a classifier locates the cat roughly: the probability is
# much higher on the cat than on the background, on average. But most positions on the
# cat are below 0.5, and the position to the right of the head, which is mostly
# background, is above 0.9. The low values on the cat may have this reason: ImageNet's
# labels name whole images, so that a few typical parts of a cat were enough in
# training. The remaining work is to make the map finer, and to train with a class for
# every pixel.
#
# ### Upsampling as a layer
#
# A **transposed convolution** multiplies its kernel by each input value and writes the
# result into a larger output. Kernels of neighbouring inputs overlap, and where they
# do, their values are added. With stride 2, the kernels start two output positions
# apart, and `padding=1` removes one output at each end. The kernel ¼, ¾, ¾, ¼ then
# gives linear interpolation:

# %%
layer = nn.ConvTranspose1d(1, 1, kernel_size=4, stride=2, padding=1, bias=False)
layer.weight.data = torch.tensor([[[0.25, 0.75, 0.75, 0.25]]])
row = torch.tensor([[[4.0, 8.0, 0.0]]])
print("transposed convolution:", layer(row).squeeze().tolist())
smooth = F.interpolate(row, scale_factor=2, mode="linear")
print("interpolation:         ", smooth.squeeze().tolist())

# %% [markdown]
# Check the second and third outputs: ¾ · 4 + ¼ · 8 = 5, then ¼ · 4 + ¾ · 8 = 7. The
# results differ at the first output. The transposed convolution treats a missing
# neighbour as 0, whereas interpolation repeats the end value.
#
# For two dimensions, the kernel is the product of a column and a row of such weights.
# For a factor $f$ it has $2f \times 2f$ values, and along each axis its weights fall
# linearly from the middle. The layer must not mix classes, so its weights are zero
# unless the input and the output channel belong to the same class.


# %%
def bilinear(num_classes, factor):
    """Upsample (N, num_classes, H, W) by an even factor; the weights are fixed."""
    size = 2 * factor
    layer = nn.ConvTranspose2d(
        num_classes, num_classes, size, factor, padding=factor // 2, bias=False
    )
    distance = (torch.arange(size) - (factor - 0.5)).abs() / factor  # from the middle
    layer.weight.data.zero_()
    for k in range(num_classes):
        layer.weight.data[k, k] = torch.outer(1 - distance, 1 - distance)
    return layer.requires_grad_(False)


print(bilinear(1, 2).weight.data[0, 0])

# %% [markdown]
# ### The whole network
#
# **VGG-16** has thirteen 3 x 3 convolutions in five stages, each of which ends with a
# max pooling that halves the map, and then three linear layers. FCN turns the first
# two, fc6 and fc7, into convolutions and replaces the third by a layer of scores for
# its own classes. We build the network in this form, but with few channels, so that it
# trains within a minute. VGG-16 has no batch normalisation. We add it, as is usual
# today for a network that starts from random weights.


# %%
def conv(in_channels, out_channels, kernel_size):
    return [
        nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
    ]


def stage(in_channels, out_channels, depth):
    layers = conv(in_channels, out_channels, 3)
    for _ in range(depth - 1):
        layers += conv(out_channels, out_channels, 3)
    return nn.Sequential(*layers, nn.MaxPool2d(2, ceil_mode=True))


x = torch.rand(1, 3, 95, 128)
print(tuple(x.shape), "->", tuple(stage(3, 12, depth=2)(x).shape))

# %% [markdown]
# A side of 95 becomes 48, because `ceil_mode=True` rounds up. When 48 is upsampled by 2
# again, the result has one row too many. The function `add` therefore keeps as many
# rows and columns as the skip connection has. The extra ones are always the last,
# because pooling starts at the first row, so only its last window can be incomplete.


# %%
def add(x, skip):
    """Add two maps of scores; x may have a row or a column too many at its end."""
    height, width = skip.shape[-2:]
    return x[..., :height, :width] + skip


# %% [markdown]
# The forward pass follows the diagram.


# %%
class FCN8s(nn.Module):
    def __init__(self, num_classes, width=12, fc=96):
        super().__init__()
        self.stage1 = stage(3, width, depth=2)  # stride 2
        self.stage2 = stage(width, 2 * width, depth=2)  # 4
        self.stage3 = stage(2 * width, 4 * width, depth=3)  # 8
        self.stage4 = stage(4 * width, 8 * width, depth=3)  # 16
        self.stage5 = stage(8 * width, 8 * width, depth=3)  # 32
        self.fc6 = nn.Sequential(*conv(8 * width, fc, 3), nn.Dropout(0.5))
        self.fc7 = nn.Sequential(*conv(fc, fc, 1), nn.Dropout(0.5))
        self.score = nn.Conv2d(fc, num_classes, kernel_size=1)
        self.score_pool4 = nn.Conv2d(8 * width, num_classes, kernel_size=1)
        self.score_pool3 = nn.Conv2d(4 * width, num_classes, kernel_size=1)
        self.upsample2 = bilinear(num_classes, 2)
        self.upsample2_again = bilinear(num_classes, 2)
        self.upsample8 = bilinear(num_classes, 8)

    def forward(self, image):
        pool3 = self.stage3(self.stage2(self.stage1(image)))
        pool4 = self.stage4(pool3)
        pool5 = self.stage5(pool4)
        x = self.score(self.fc7(self.fc6(pool5)))
        x = add(self.upsample2(x), self.score_pool4(pool4))  # stride 16
        x = add(self.upsample2_again(x), self.score_pool3(pool3))  # stride 8
        x = self.upsample8(x)  # stride 1
        return x[..., : image.shape[-2], : image.shape[-1]]


# %% [markdown]
# The convolutions start from random weights with the variance that He et al. (2015)
# derived for ReLU. The layers of scores start at zero, as in the networks that the
# authors [released](https://github.com/shelhamer/fcn.berkeleyvision.org).


# %%
def initialize(network):
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
    for layer in (network.score, network.score_pool4, network.score_pool3):
        nn.init.zeros_(layer.weight)


seed_everything(0)
model = FCN8s(len(CLASSES))
initialize(model)
print(tuple(model(torch.rand(2, 3, 96, 128)).shape))

# %% [markdown]
# ## Is it the paper's network?
#
# The package of this course has the same network as `FCN`, with the paper's sizes as
# defaults. We give our network the package's weights, which have the same order, and
# compare the outputs for an image of 50 x 67 pixels, so that every pooling must round.
# The package's layers of scores are filled with random numbers first, because with
# zeros all outputs would be zero.

# %%
small = dict(width=12, fc_channels=96, kernel_size=3, padding=1, batch_norm=True)
packaged = FCN(len(CLASSES), **small).eval()
for layer in (packaged.score, *packaged.score_skips):
    nn.init.normal_(layer.weight)

copy = FCN8s(len(CLASSES)).eval()
values = packaged.state_dict().values()
copy.load_state_dict(dict(zip(copy.state_dict(), values, strict=True)))

image = torch.rand(1, 3, 50, 67)
with torch.no_grad():
    difference = (copy(image) - packaged(image)).abs().max().item()
print(f"{len(values)} tensors; largest difference below 1e-5: {difference < 1e-5}")

# %% [markdown]
# The tests of this course compare the package's full-size networks with
# [`torchfcn`](https://github.com/wkentaro/pytorch-fcn), an independent port of the
# released networks: equal weights give equal logits. Here we compare numbers of
# parameters with those of the released files. Tensors on the `meta` device have shapes
# but no values, so the large networks need no memory.

# %%
released = {32: 136152917, 16: 134815994, 8: 134489759}
rows = []
for stride, number in released.items():
    with torch.device("meta"):
        parameters = list(FCN(21, stride=stride).parameters())
    rows.append(
        {
            "network": f"FCN-{stride}s",
            "parameters": sum(p.numel() for p in parameters),
            "of which learned": sum(p.numel() for p in parameters if p.requires_grad),
            "as released": str(sum(p.numel() for p in parameters) == number),
        }
    )
tables.show_table(rows)

# %% [markdown]
# The counts agree. The parameters that are not learned belong to the upsampling layers.
# In the paper, the intermediate upsampling layers (the two by 2) were learned. The
# released networks keep all of these layers fixed at bilinear weights, and their README
# reports that learning them made no difference.
#
# <details class="deeper"><summary>Going deeper: the released networks and
# ours</summary>
#
# | | released networks | our small network |
# |---|---|---|
# | initial weights | ImageNet; scores at zero | random; scores at zero |
# | first convolution | padding 100 | padding 1 |
# | fc6 | 7 x 7, not padded | 3 x 3, padded |
# | batch normalisation | no | yes |
# | upsampling | bilinear, fixed | bilinear, fixed |
# | training | FCN-32s; then FCN-16s from its weights; then FCN-8s | FCN-8s alone |
# | input | blue, green, red; 0 to 255; mean subtracted | red, green, blue; 0 to 1 |
#
# </details>
#
# <details class="deeper"><summary>Going deeper: padding 100 and its crops</summary>
#
# The released networks pad the first convolution by 100 pixels, so that the unpadded 7
# x 7 kernel of fc6 fits into every image. The maps are then larger than the image, and
# each must be cropped before an addition. The offsets follow from one question: over
# which pixel of the image is position 0 of a map centred? We call this pixel the
# *start* of the map.
#
# - The first 3 x 3 window covers the rows -100, -99, -98. Its start is -99.
# - pool5 takes 32 rows together, whose middle lies 15.5 rows further: -83.5. In the
#   same way pool4 starts at -99 + 7.5 = -91.5 and pool3 at -99 + 3.5 = -95.5.
# - fc6 covers positions 0 to 6 of pool5. Its middle is position 3, which lies 3 · 32 =
#   96 rows further: the scores start at 12.5.
# - Upsampling by $f$ places the middle of the first kernel at position $f - 0.5$ of the
#   finer map. The finer map therefore starts before the coarse one, by $f - 0.5$ steps
#   of the finer map: for FCN-32s, 31.5 steps of 1 row; for the first upsampling by 2,
#   1.5 steps of 16 rows = 24.
# - The crop is the distance from this start to the start of the image (0) or of the
#   skip, in steps of the map.
#
# | network | map | start | crop |
# |---|---|---|---|
# | FCN-32s | scores x 32 | 12.5 - 31.5 = -19 | 19 |
# | both others | scores x 2 | 12.5 - 24 = -11.5 | pool4: (-11.5 + 91.5) / 16 = 5 |
# | FCN-16s | sum x 16 | -11.5 - 15.5 = -27 | 27 |
# | FCN-8s | sum x 2 | -11.5 - 12 = -23.5 | pool3: (-23.5 + 95.5) / 8 = 9 |
# | FCN-8s | sum x 8 | -23.5 - 7.5 = -31 | 31 |
#
# These are the offsets of the released networks, and `segcourse.models.crop_offsets`
# computes them for other paddings too. A crop from the middle is wrong for most image
# sizes, because the rounding in the poolings adds rows only at the far side.
#
# </details>
#
# <details class="deeper"><summary>Going deeper: FCN-8s in one training</summary>
#
# The authors also released FCN-8s "at once". It is trained in a single run, with pool4
# multiplied by 0.01 and pool3 by 0.0001 before their scores. Its mean IoU on their
# validation images is 65.4 %, against 65.5 % for the FCN-8s that was trained in three
# runs. `FCN(at_once=True)` builds this network.
#
# </details>

# %% [markdown]
# ## Train it
#
# We train our network on 320 scenes of Toytown, the course's drawn streets, for 200
# steps with 16 scenes each. The loss has the logarithmic class weights of chapter 5,
# which are larger for rare classes.

# %%
train = Cached(Toytown(320))
validation = Cached(Toytown(64, seed=1))
labels = torch.stack([scene.semantic for scene in train])
weight = log_frequency_weights(class_counts(labels, len(CLASSES)))


def loss(model, batch):
    image, semantic, _ = batch
    return cross_entropy(model(image), semantic, weight=weight)


history = fit(model, loss, batches(train, batch_size=16), steps=200, learning_rate=1e-2)

# %% tags=["hide-input"]
viz.show_curves(
    {"loss": history},
    xlabel="step",
    ylabel="weighted cross-entropy",
    smooth=5,
    alt="The loss falls steeply in the first fifty steps, then ever more slowly.",
)

# %% tags=["tol=0.05"]
checks = batches(validation, batch_size=16, shuffle=False)
matrix = evaluate(model, checks, num_classes=len(CLASSES))
tables.show_table(
    [
        {"class": name, "IoU": value}
        for name, value in zip(CLASSES, iou(matrix).tolist(), strict=True)
    ],
    digits=2,
)
print(f"mean IoU {mean_iou(matrix):.2f}")

# %% [markdown]
# Sky and road are segmented well; persons and lamps have the lowest IoU. Compare the
# boundaries in the next figure.

# %% tags=["hide-input"]
scenes = [validation[index] for index in (0, 5, 9)]
predictions = predict(model, torch.stack([scene.image for scene in scenes]))
viz.show_predictions(
    scenes,
    {"FCN-8s": predictions},
    CLASSES,
    PALETTE,
    alt="Three street scenes with FCN-8s's prediction and the ground truth. Sky, road, "
    "grass and houses are found; their boundaries are rounded, and thin lamps become "
    "blobs or are missing.",
)

# %% [markdown]
# ## On a real image
#
# How far does a single annotated image take an FCN whose encoder is pretrained? We take
# the photograph of coins (its upper 288 rows, a multiple of 32), train on its left half
# and test on its right half. The encoder is the ImageNet classifier, and its weights
# stay fixed. Only the layers of scores are trained: one 1 x 1 convolution for each of
# the strides 32, 16 and 8.


# %%
coins = Photographs(("coins",))[0]
image, coin = coins.image[:, :288], (coins.semantic[:288] > 0).long()
left, right = (..., slice(0, 192)), (..., slice(192, 384))


def feature_maps(image):
    """Features of strides 8, 16 and 32, from the fixed encoder."""
    with torch.no_grad():
        maps = classifier.forward_intermediates(
            (image[None] - 0.5) / 0.5, intermediates_only=True
        )
    return maps[2:]


if classifier is not None:
    for x in feature_maps(image[left]):
        print(tuple(x.shape))

# %% [markdown]
# `sum_of_scores` is the forward pass of FCN, with interpolation as upsampling. The
# number of skip connections decides whether it is FCN-32s, FCN-16s or FCN-8s.


# %%
def sum_of_scores(layers, maps):
    """layers[0] belongs to stride 32, layers[1] to 16, layers[2] to 8."""
    x = layers[0](maps[2])
    for layer, skip in zip(layers[1:], (maps[1], maps[0]), strict=False):
        x = F.interpolate(x, scale_factor=2, mode="bilinear") + layer(skip)
    return F.interpolate(x, (288, 192), mode="bilinear")


def train_scores(maps, target, skips, steps=100):
    channels = [each.shape[1] for each in maps[::-1]][: skips + 1]
    layers = nn.ModuleList(nn.Conv2d(c, 2, kernel_size=1) for c in channels)
    for p in layers.parameters():
        nn.init.zeros_(p)
    optimizer = torch.optim.AdamW(layers.parameters(), lr=1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(sum_of_scores(layers, maps), target[None]).backward()
        optimizer.step()
    return layers


# %% tags=["tol=0.03"]
coin_maps = {"photograph": image[right]}
if classifier is not None:
    seen, unseen = feature_maps(image[left]), feature_maps(image[right])
    rows = []
    for skips in (0, 1, 2):
        layers = train_scores(seen, coin[left], skips)
        row = {"network": f"FCN-{32 >> skips}s"}
        for half, maps, where in (("left", seen, left), ("right", unseen, right)):
            with torch.no_grad():
                found = sum_of_scores(layers, maps).argmax(dim=1)
            matrix = confusion_matrix(found, coin[where][None], 2)
            row[f"IoU of coins, {half}"] = iou(matrix)[1]
        rows.append(row)
        coin_maps[row["network"]] = found[0].bool()
    row = {"network": "none: Otsu's threshold"}
    for half, where in (("left", left), ("right", right)):
        grey = gray(image[where])
        matrix = confusion_matrix((grey > otsu(grey)).long(), coin[where], 2)
        row[f"IoU of coins, {half}"] = iou(matrix)[1]
    tables.show_table([*rows, row], digits=2)

# %% tags=["hide-input"]
if classifier is not None:
    viz.show_images(
        coin_maps | {"ground truth": coin[right].bool()},
        columns=5,
        alt="The right half of a photograph of coins in rows, the coins found by "
        "FCN-32s, FCN-16s and FCN-8s, and the ground truth. FCN-32s shows a few merged "
        "blobs, FCN-16s one rounded blob for most coins, some merged in the lowest "
        "row, FCN-8s discs like the ground truth, some of which touch in that row.",
    )

# %% [markdown]
# With one annotated half, FCN-8s segments the other half well. Three coins lie on the
# line between the halves; all others on the right are new to it. Otsu's method chooses
# one threshold on the grey values of each half, without training; on the right, it is
# about as good as FCN-16s. The networks share features, steps and the start at zero, so
# the gain from network to network comes from the skip connections. At stride 32, a coin
# covers only one or two positions in width, which is why FCN-32s fails. We did not test
# other photographs, or an encoder without pretraining.
#
# The package's small FCN-8s was also trained from random weights on the 367 training
# frames of CamVid, street scenes seen from a car. Compare the large road with the thin
# poles.

# %%
camvid = measured("camvid_fcn_8s")
print(f"{camvid['height']} x {camvid['width']} pixels, {camvid['steps']} steps")
print(f"mean IoU on {camvid['test_frames']} test frames: {camvid['miou']:.2f}")
for name in ("road", "car", "pole"):
    print(f"  {name}: {camvid['iou'][name]:.2f}")

# %% [markdown]
# ## What did the idea buy?
#
# How much do the skip connections help when the whole network is trained? We train
# FCN-32s, FCN-16s and FCN-8s on Toytown, each alone, three times with different seeds.
# For the same seed, the three networks start from the same encoder, see the same
# batches and take the same 200 steps. The benchmark `fcn_strides` has done this; the
# cell reads its results. It shows the mean over seeds ± half of the range (maximum
# minus minimum). The band in the third column is all pixels within three pixels of a
# class boundary.

# %%
results = measured("fcn_strides")
strides = results["strides"]


def mean_and_spread(values):
    return sum(values) / len(values), (max(values) - min(values)) / 2


columns = {
    "mean IoU": "mean_iou",
    "mean IoU in the band": "band_iou",
    "IoU of lamp": "lamp",
}
tables.show_table(
    [
        {"network": f"FCN-{stride}s"}
        | {
            title: "{:.2f} ± {:.2f}".format(*mean_and_spread(strides[stride][key]))
            for title, key in columns.items()
        }
        for stride in ("32", "16", "8")
    ]
)

# %% tags=["hide-input"]
viz.show_bars(
    {
        name: {
            f"FCN-{stride}s": mean_and_spread(strides[stride][name])
            for stride in ("32", "16", "8")
        }
        for name in CLASSES
    },
    ylabel="IoU",
    alt="IoU of every class for the three networks. In every class FCN-16s has a "
    "higher bar than FCN-32s, and FCN-8s a higher one than FCN-16s. Sky and road "
    "gain least, persons and trees most; lamps have the lowest bars.",
)

# %% [markdown]
# Each skip connection raises the IoU of every class, by more than the spread over
# seeds, and the first one raises the mean more than the second. Sky and road gain
# least, and lamps start from almost nothing.
#
# ### A comparison that does not isolate them
#
# Each released network was trained from the weights of the one before. FCN-8s then has
# skip connections *and* an encoder with three times as many steps as FCN-32s. Such a
# comparison does not isolate the skip connections. The table repeats it on layers that
# the networks share; its last row shows what the additional steps do alone.

# %%
chained = results["chained"]
arms = {
    "32": "FCN-32s, trained first",
    "8": "FCN-8s, trained third on the same layers",
    "32 as long": "FCN-32s alone, three times the steps",
}
tables.show_table(
    [
        {"network": text}
        | {
            "mean IoU": "{:.2f} ± {:.2f}".format(
                *mean_and_spread(chained[k]["mean_iou"])
            )
        }
        for k, text in arms.items()
    ]
)

# %% [markdown]
# Without any skip connection, three times the steps raise the mean IoU by a few
# hundredths. Here, FCN-8s is not clearly better than after 200 steps from the start
# (first table), so both comparisons give nearly the same gain. But only equal steps, as
# in the first table or in the last two rows of this one, show that the gain comes from
# the skip connections.
#
# ## Where it breaks: thin objects and boundaries
#
# The finest scores of FCN-8s have stride 8. The close-up shows a lamp whose post is
# thinner than that.

# %% tags=["hide-input"]
thin = validation[9]
rows, columns = (thin.semantic == CLASSES.index("lamp")).nonzero().T
top, left_edge = max(int(rows.min()) - 4, 0), max(int(columns.min()) - 8, 0)
window = (..., slice(top, top + 30), slice(left_edge, left_edge + 40))
viz.show_predictions(
    [type(thin)(*(part[window] for part in thin))],
    {"FCN-8s": predict(model, thin.image[None])[window]},
    CLASSES,
    PALETTE,
    alt="A street lamp in close-up. The ground truth shows a thin post with an arm; "
    "the prediction shows a post and an arm that are both much thicker.",
)

# %% [markdown]
# Where are the errors of the trained network? We compare pixels within three pixels of
# a class boundary with all others.

# %% tags=["tol=0.05"]
target = torch.stack([scene.semantic for scene in validation])
preds = torch.cat([predict(model, image) for image, *_ in checks])
near = trimap(target, width=3) != IGNORE
wrong = preds != target
print(f"share of pixels near a boundary: {near.float().mean():.2f}")
print(f"share of errors near a boundary: {near[wrong].float().mean():.2f}")

# %% [markdown]
# Most errors lie near boundaries, although fewer than half of the pixels do. The skip
# connections of FCN-8s carry only one score per class, and none is finer than stride 8.
# **U-Net**, in [chapter 8](08_unet.ipynb), carries all features, at every resolution
# down to stride 1.

# %% [markdown]
# ## In practice
#
# torchvision has a network called `fcn_resnet50`. It is *not* FCN-8s: it has no skip
# connections. Its encoder is a ResNet-50 that stops reducing the resolution at stride 8
# and uses dilated convolutions instead (kernels with gaps, chapter 9). A small head
# computes the scores, which are upsampled by 8. An auxiliary classifier computes a
# second map of scores from an earlier layer; it is used in training only.

# %% tags=["nbval-ignore-output"]
print("torch", torch.__version__, "· torchvision", torchvision.__version__)
network = fcn_resnet50(
    weights=None, weights_backbone=None, num_classes=21, aux_loss=True
).eval()
with torch.no_grad():
    output = network(torch.rand(1, 3, 96, 128))
    features = network.backbone(torch.rand(1, 3, 96, 128))
print({name: tuple(logits.shape) for name, logits in output.items()})
print({name: tuple(x.shape) for name, x in features.items()})
print(f"{sum(p.numel() for p in network.parameters())} parameters")

# %% [markdown]
# The output is a dictionary: `out` holds the logits, and `aux` those of the auxiliary
# classifier. The features have 12 x 16 positions, which is stride 8. With
# `weights=None` *and* `weights_backbone=None` nothing is downloaded. With pretrained
# weights, which are 135 MB, this code makes a prediction:
#
# ```python
# weights = FCN_ResNet50_Weights.COCO_WITH_VOC_LABELS_V1
# network = fcn_resnet50(weights=weights).eval()
# batch = weights.transforms()(image)[None]  # image: (3, H, W), float in [0, 1]
# with torch.no_grad():
#     logits = network(batch)["out"]
# logits = F.interpolate(logits, image.shape[-2:], mode="bilinear")
# labels = logits.argmax(dim=1)  # class names: weights.meta["categories"]
# ```
#
# <details class="deeper"><summary>Going deeper: fine-tuning on your own
# classes</summary>
#
# For $K$ classes, replace the last layer of both heads and add both losses. The weight
# of the second one is a choice; PSPNet (chapter 10) uses 0.4 for its auxiliary loss.
#
# ```python
# network.classifier[4] = nn.Conv2d(512, K, kernel_size=1)
# network.aux_classifier[4] = nn.Conv2d(256, K, kernel_size=1)
# output = network.train()(batch)
# target = F.interpolate(target[:, None].float(), batch.shape[-2:])[:, 0].long()
# loss = F.cross_entropy(output["out"], target, ignore_index=255)
# loss = loss + 0.4 * F.cross_entropy(output["aux"], target, ignore_index=255)
# ```
#
# </details>
#
# The transforms of the weights resize the shorter side to 520 pixels and normalise the
# colours. The logits then have the size of the resized image and must be resized back,
# as above. The weights also carry their published mean IoU.

# %%
weights = FCN_ResNet50_Weights.COCO_WITH_VOC_LABELS_V1
transform = weights.transforms()
print("resize to", transform.resize_size, "mean", transform.mean, "std", transform.std)
print(tuple(cat.image.shape), "->", tuple(transform(cat.image).shape))
for other in (weights, DeepLabV3_ResNet50_Weights.COCO_WITH_VOC_LABELS_V1):
    published = other.meta["_metrics"]["COCO-val2017-VOC-labels"]["miou"]
    print(f"{type(other).__name__}: published mean IoU {published} %")

# %% [markdown]
# How does such a network compare with FCN-8s and U-Net? The benchmark `architectures`
# trained small versions on Toytown with equal steps and three seeds. Its FCN-8s is not
# the one above: its size, its training and its test scenes differ. The network in the
# row *like fcn_resnet50* has a small residual encoder with stride 8 and no skip
# connection to the decoder.

# %%
trained = measured("architectures")["networks"]
kinds = {"fcn_8s": "FCN-8s", "fcn_resnet": "like fcn_resnet50", "unet": "U-Net"}
tables.show_table(
    [
        {
            "network": title,
            "parameters": trained[key]["parameters"],
            "mean IoU": "{:.2f} ± {:.2f}".format(
                *mean_and_spread([run["miou"] for run in trained[key]["runs"]])
            ),
            "IoU of lamp": trained[key]["thin_iou"],
        }
        for key, title in kinds.items()
    ],
    digits=2,
)

# %% [markdown]
# FCN-8s is a little better than the other network with scores at stride 8. U-Net is
# clearly better than both, most of all on lamps.
#
# | Use | when |
# |---|---|
# | a classifier's map of scores | no pixel annotations; a rough position is enough |
# | fixed features, trained scores | few annotations, little time |
# | `fcn_resnet50` | VOC's classes without training, or fine-tuning on a GPU |
# | `deeplabv3_resnet50` (chapter 12) | the same, with a higher published mean IoU |
# | U-Net (chapter 8) | boundaries and thin structures matter |
# | FCN-8s as in the paper | you reproduce its results |

# %% [markdown]
# ## Common mistakes
#
# **The wrong normalisation for pretrained weights.** Wrong: the image as it was loaded.
# Right: the values that the weights were trained with. The table shows the probability
# of the class that is the most probable with the right input, for the cat and for a
# photograph of an astronaut. (ImageNet has no class astronaut.)

# %% tags=["tol=0.02"]
mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
std = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
inputs = {
    "(image - 0.5) / 0.5": lambda x: (x - 0.5) / 0.5,
    "mean and std of torchvision": lambda x: (x - mean) / std,
    "image in 0 ... 1": lambda x: x,
    "image in 0 ... 255": lambda x: 255 * x,
}
astronaut = Photographs(("astronaut",))[0].image[None]
astronaut = F.interpolate(astronaut, (224, 224), mode="bilinear")
photos = {"cat": square, "astronaut": astronaut}
if classifier is not None:
    columns = {}
    for title, picture in photos.items():
        with torch.no_grad():
            found = [classifier(f(picture)).softmax(dim=1)[0] for f in inputs.values()]
        best = found[0].argmax()
        columns[f"{title}: {names[best]}"] = [p[best] for p in found]
    tables.show_table(
        [
            {"input": name} | {title: p[n] for title, p in columns.items()}
            for n, name in enumerate(inputs)
        ],
        digits=2,
    )

# %% [markdown]
# With values up to 255, both predictions are lost. The other two
# errors change little for the cat, so they are easily overlooked, but much for the
# astronaut.
#
# **Maps that are not aligned.** Wrong: a centred crop, or a slice that is counted from
# the last row. Right: the offset that follows from the padding. A centred crop is right
# for some image sizes, so one test may not find it. To measure the loss, we shift the
# scores of pool3 in the trained network, and nothing else.

# %% tags=["tol=0.05"]
rows = []
for shift in (0, 1, 2):

    def move(module, inputs, scores, shift=shift):
        """Scores that lie a few positions too far down and to the right."""
        height, width = scores.shape[-2:]
        return F.pad(scores, (shift, 0, shift, 0))[..., :height, :width]

    hook = model.score_pool3.register_forward_hook(move)
    score = mean_iou(evaluate(model, checks, num_classes=len(CLASSES)))
    hook.remove()
    rows.append({"shift of pool3, in pixels": 8 * shift, "mean IoU": score})
tables.show_table(rows, digits=2)

# %% [markdown]
# **The wrong kernel for upsampling.** Wrong: copying each score into a block (nearest),
# or a kernel that is centred on a pixel although its size is even. Right: `bilinear`
# from above. We exchange the last kernel of the trained network. Nearest lowers the
# mean IoU clearly; half a pixel makes no
# clear difference here:

# %% tags=["tol=0.05"]
right_weight = model.upsample8.weight.clone()
block = torch.zeros(16)
block[4:12] = 1  # each score fills 8 x 8 pixels
beside = 1 - (torch.arange(16) - 7).abs() / 8  # centred on pixel 7 instead of 7.5
rows = [
    {"kernel": "bilinear", "mean IoU": mean_iou(confusion_matrix(preds, target, 8))}
]
for name, line in {"off by half a pixel": beside, "nearest": block}.items():
    model.upsample8.weight[range(8), range(8)] = torch.outer(line, line)
    score = mean_iou(evaluate(model, checks, num_classes=len(CLASSES)))
    rows.append({"kernel": name, "mean IoU": score})
model.upsample8.weight.copy_(right_weight)
tables.show_table(rows, digits=2)

# %% [markdown]
# **A ReLU after the scores.** Wrong: `nn.ReLU()` behind layers of scores that start at
# zero. The network cannot learn at all, because the gradient of ReLU at zero is zero.
# From random scores at the start, `fcn_strides` found no clear difference:

# %%
dead = FCN8s(len(CLASSES))
initialize(dead)
for name in ("score", "score_pool4", "score_pool3"):
    setattr(dead, name, nn.Sequential(getattr(dead, name), nn.ReLU()))
loss(dead, next(iter(checks))).backward()
gradients = [p.grad.abs().max().item() for p in dead.parameters() if p.requires_grad]
print(f"largest gradient of {len(gradients)} tensors: {max(gradients)}")
print("mean IoU after a random start, three seeds:")
for name, runs in results["relu"].items():
    print(f"  {name}: " + "{:.2f} ± {:.2f}".format(*mean_and_spread(runs["mean_iou"])))

# %% [markdown]
# <details class="deeper"><summary>Going deeper: the released learning rate with another
# loss</summary>
#
# The released settings for FCN-32s are a learning rate of $10^{-10}$, momentum 0.99 and
# the *sum* of the loss over all pixels. With the *mean* over pixels, the default of
# PyTorch, the gradient is divided by the number of pixels, and at the same rate the
# weights hardly change. Right: choose the rate for the reduction that you use.
#
# </details>

# %% [markdown]
# ## Exercises
#
# Replace `...` by your answer and run the cell. `ex.<name>` shows the question again,
# and `ex.<name>.hint()` gives a hint, and another one each time. The solution is behind
# the toggle.
#
# ### 6.1 Receptive field
#
# The **receptive field** of a position is the part of the image that its value depends
# on. Compute its side in pixels, along one axis. `layers` is a list of at least one
# (kernel, stride) pair, and the first pair is the layer that reads the image. Padding
# does not matter. For example, a 3 x 3 convolution followed by a 2 x 2 pooling, `[(3,
# 1), (2, 2)]`, has a receptive field of 4 pixels. Return an integer. Then predict: does
# the receptive field of VGG-16 up to fc6 cover a photograph of 375 x 500 pixels? The
# cell after the solution computes it.

# %%
from segcourse.exercises import fcn as ex


def receptive_field(layers): ...  # your code


ex.receptive_field_of.check(receptive_field)

# %%
ex.receptive_field_of.show_solution()

# %%
stages = 2 * [(3, 1), (3, 1), (2, 2)] + 3 * [(3, 1), (3, 1), (3, 1), (2, 2)]
print("VGG-16 up to fc6:", ex.receptive_field_of.solution([*stages, (7, 1)]), "pixels")

# %% [markdown]
# So the receptive field covers the height of the photograph, but not its width.
#
# ### 6.2 A linear layer becomes a convolution
#
# VGG-16's fc6 is a linear layer behind `flatten`. Its input was a map of `channels` = C
# channels and S x S positions. `weight` is a tensor of shape (O, C · S · S), with O
# outputs. Return the weight of the convolution that computes the same outputs, for
# `F.conv2d`: shape (O, C, S, S). S must be computed from the shape of `weight`.

# %%


def convolutionalise(weight, channels): ...  # your code


ex.slide.check(convolutionalise)

# %%
ex.slide.show_solution()

# %% [markdown]
# ### 6.3 Predict the pattern
#
# A transposed convolution can turn a constant map into a pattern of stripes, which is
# called a checkerboard artefact. Predict the pattern without running the layer. The 1-D
# layer has the weights `kernel` (a list of numbers) and an integer `stride`, without
# padding or bias. Its input is a long row of ones. Far from both ends, the output
# repeats every `stride` positions. Return one period as a list of `stride` numbers; the
# first number belongs to the output positions that are multiples of `stride`. The
# kernel may be shorter than the stride.


# %%
def pattern(kernel, stride): ...  # your code


ex.checkerboard.check(pattern)

# %%
ex.checkerboard.show_solution()

# %% [markdown]
# The cell compares the prediction with the layer. A constant map stays constant if all
# numbers of the pattern are equal. This holds for the bilinear kernel, but not for the
# kernel 1, 1, 1 with stride 2.

# %%
rows = []
for kernel, stride in (([0.25, 0.75, 0.75, 0.25], 2), ([1, 1, 1], 2), ([1, 1], 3)):
    ones, weight_of = torch.ones(1, 1, 20), torch.tensor([[kernel]]).float()
    measured_row = F.conv_transpose1d(ones, weight_of, stride=stride)[0, 0]
    start = 10 * stride
    rows.append(
        {
            "kernel": str(kernel),
            "stride": stride,
            "predicted": str(
                [float(v) for v in ex.checkerboard.solution(kernel, stride)]
            ),
            "measured": str(measured_row[start : start + stride].tolist()),
        }
    )
tables.show_table(rows)

# %% [markdown]
# ### 6.4 Find the fault
#
# This line adds a skip connection. For some image sizes it runs, and its result is
# right:
#
# ```python
# return x + skip[..., offset:-offset, offset:-offset]
# ```
#
# `x` has shape (N, K, h, w) and `skip` has shape (N, K, H, W) with H ≥ offset + h and W
# ≥ offset + w. Row 0 of `x` lies over row `offset` of `skip`, and column 0 over column
# `offset`. Write the version that is right for every image and every offset from
# 0. Return the sum, of shape (N, K, h, w).


# %%
def add_skip(x, skip, offset): ...  # your code


ex.fix_crop.check(add_skip)

# %%
ex.fix_crop.show_solution()

# %% [markdown]
# ### 6.5 An experiment: what a stride loses
#
# How good can a map be that has one label for each block of `stride` x `stride` pixels?
# `target` holds label maps (N, H, W) with the classes 0 to `num_classes` - 1, without
# void; H and W are multiples of `stride`. Give every block the class that most of its
# pixels have (in a tie, the class with the smallest number). Return the mean IoU of
# these block maps with `target`, from one confusion matrix over all N maps. Classes
# that occur neither in the block maps nor in `target` are left out of the mean, as
# `mean_iou` does.
#
# Then predict, before you run the last cell of this exercise: Toytown can draw its
# lamps twice as thick. At which of the strides 4, 8, 16 and 32 will the mean IoU gain
# most?


# %%
def majority_iou(target, num_classes, stride): ...  # your code


ex.majority.check(majority_iou)

# %%
ex.majority.show_solution()

# %%
thick = Toytown(64, seed=1, lamp_scale=2.0)
thick = torch.stack([scene.semantic for scene in thick])
rows = []
for stride in (4, 8, 16, 32):
    slim, fat = (ex.majority.solution(maps, 8, stride) for maps in (target, thick))
    rows.append({"stride": stride, "mean IoU": slim, "with lamps twice as thick": fat})
tables.show_table(rows)

# %% [markdown]
# The mean IoU of all classes gains most at stride 4, little at 16, and loses slightly
# at 32. A block becomes *lamp* only where the lamp covers more pixels than any other
# class. A thick post does so in many small blocks, but hardly ever in one of 32 x 32.
# There, its pixels are counted as errors of the other classes, and a thick post has
# more of them.
#
# ### 6.6 Decide: what may be attributed to the skip connections?
#
# `runs` is a list of pairs (settings, score). All settings are dictionaries with the
# same keys, and `settings[factor]` is `True` or `False`. Two runs *isolate* the factor
# if their settings differ in it and in nothing else. Return the gain: the mean, over
# all pairs of runs that isolate the factor, of the score with the factor minus the
# score without it. Return `None` if no pair isolates it. The list may have any order,
# and several runs may have equal settings.


# %%
def gain_of(runs, factor): ...  # your code


ex.credit.check(gain_of)

# %%
ex.credit.show_solution()

# %% [markdown]
# We apply the function to two sets of runs of this chapter. In the training on shared
# layers, skip connections and steps change together, so no pair isolates the skip
# connections. With equal steps, the gain is the one of the first table.

# %%
shared, equal = [], []
for seed in range(3):
    for skips, key, steps in ((False, "32", 200), (True, "8", 600)):
        settings = {"skips": skips, "steps": steps, "seed": seed}
        shared.append((settings, chained[key]["mean_iou"][seed]))
        settings = {"skips": skips, "steps": 200, "seed": seed}
        equal.append((settings, strides[key]["mean_iou"][seed]))
print("shared layers:", ex.credit.solution(shared, "skips"))
print(f"equal steps: {ex.credit.solution(equal, 'skips'):.2f}")

# %% [markdown]
# ## Quiz
#
# Click on an answer to see whether it is right, and why.

# %% [markdown]
# **Q1. VGG-16's fc6 reads a map of 512 x 7 x 7. Which kernel does it have as a
# convolution?**
#
# <details class="quiz right"><summary>7 x 7</summary>
#
# Right: the kernel covers the whole map that was flattened, so it fits there once.
#
# </details>
# <details class="quiz wrong"><summary>1 x 1</summary>
#
# Not quite: a 1 x 1 kernel reads a single position. This is right for fc7, and for a
# classifier that averages its map over all positions.
#
# </details>
# <details class="quiz wrong"><summary>3 x 3, like the other layers of VGG-16</summary>
#
# Not quite: a 3 x 3 kernel reads only 9 of the 49 positions that fc6 weighs.
#
# </details>

# %% [markdown]
# **Q2. A classifier is applied to the whole image as a convolution, instead of to many
# windows. Why does this save computation?**
#
# <details class="quiz wrong"><summary>The linear layer has fewer weights.</summary>
#
# Not quite: the convolution has exactly the weights of the linear layer.
#
# </details>
# <details class="quiz right"><summary>Common features are computed once.</summary>
#
# Right: windows overlap. Window by window, the features of their common pixels would be
# computed again and again.
#
# </details>
# <details class="quiz wrong"><summary>The image is reduced first.</summary>
#
# Not quite: the image keeps its size; in this chapter it was even enlarged.
#
# </details>

# %% [markdown]
# **Q3. What does the 8 in FCN-8s stand for?**
#
# <details class="quiz wrong"><summary>eight skip connections</summary>
#
# Not quite: there are two, from pool4 and pool3.
#
# </details>
# <details class="quiz wrong"><summary>eight classes</summary>
#
# Not quite: the number of classes is the number of channels of the scores.
#
# </details>
# <details class="quiz right"><summary>the stride of the finest scores</summary>
#
# Right: these scores are 8 pixels apart, and the last layer upsamples them by 8.
#
# </details>

# %% [markdown]
# **Q4. A transposed convolution has the bilinear kernel of size 2f and stride f. Where
# does it equal bilinear interpolation?**
#
# <details class="quiz wrong"><summary>everywhere</summary>
#
# Not quite: at the border, kernels of neighbours outside of the map are missing.
#
# </details>
# <details class="quiz right"><summary>everywhere except near the border</summary>
#
# Right: inside the map, all neighbours exist, and the weights of the kernel are those
# of the interpolation.
#
# </details>
# <details class="quiz wrong"><summary>only after training</summary>
#
# Not quite: the weights are set to bilinear ones. In the released networks they stay
# fixed.
#
# </details>

# %% [markdown]
# **Q5. The map of the classifier has high probabilities on parts of the cat's face and
# low ones on its neck. What follows?**
#
# <details class="quiz right"><summary>The map is no segmentation yet.</summary>
#
# Right: a threshold of 0.5 would miss most of the cat, and find some background.
#
# </details>
# <details class="quiz wrong"><summary>The convolution has wrong weights.</summary>
#
# Not quite: the mean of its scores equals the scores of the classifier.
#
# </details>
# <details class="quiz wrong"><summary>The photograph shows two cats.</summary>
#
# Not quite: a map of class probabilities does not count objects at all.
#
# </details>

# %% [markdown]
# **Q6. FCN-32s, then FCN-16s, then FCN-8s are trained on shared layers, and FCN-8s has
# the best mean IoU. What does this show?**
#
# <details class="quiz wrong"><summary>Skip connections help.</summary>
#
# Not quite: FCN-8s also had three times as many steps. This comparison cannot tell
# which of the two helped.
#
# </details>
# <details class="quiz wrong"><summary>Nothing, because the images are equal.</summary>
#
# Not quite: the same images are needed for a comparison. The numbers of steps differ.
#
# </details>
# <details class="quiz right"><summary>Nothing about skip connections alone.</summary>
#
# Right: skip connections and steps differ together. To separate them, train each
# network alone, with equal seeds and steps.
#
# </details>

# %% [markdown]
# **Q7. Every block of 8 x 8 pixels gets the class of most of its pixels. Which class
# loses the largest part of its IoU?**
#
# <details class="quiz wrong"><summary>buildings</summary>
#
# Not quite: their boundaries become blurred, but most of their pixels lie inside.
#
# </details>
# <details class="quiz right"><summary>lamps with a post two pixels wide</summary>
#
# Right: in a block of 8 x 8 pixels, such a post covers a quarter of the pixels at most.
#
# </details>
# <details class="quiz wrong"><summary>sky</summary>
#
# Not quite: it is one large area, and few of its pixels lie near a boundary.
#
# </details>

# %% [markdown]
# ## Take-aways
#
# - A linear layer behind `flatten` is a convolution with the same weights. Therefore a
#   classifier accepts an image of any size and returns a map of scores.
# - A transposed convolution with a bilinear kernel is bilinear interpolation, except at
#   the border.
# - Skip connections add scores of finer strides. On Toytown and on a photograph they
#   raised the IoU clearly, with equal training.
# - With a fixed pretrained encoder, half an annotated photograph was enough to segment
#   the other half.
# - Maps that are added must be aligned, and pretrained weights need the normalisation
#   that they were trained with.
#
# ## Further reading
#
# - Long, Shelhamer, Darrell, *Fully Convolutional Networks for Semantic Segmentation*,
#   CVPR 2015: <https://arxiv.org/abs/1411.4038>; journal version (Shelhamer, Long,
#   Darrell): <https://arxiv.org/abs/1605.06211>.
# - The released networks: <https://github.com/shelhamer/fcn.berkeleyvision.org>.
# - Simonyan, Zisserman, *Very Deep Convolutional Networks for Large-Scale Image
#   Recognition*, ICLR 2015: <https://arxiv.org/abs/1409.1556>.
# - He, Zhang, Ren, Sun, *Delving Deep into Rectifiers*, ICCV 2015:
#   <https://arxiv.org/abs/1502.01852>.
# - Ciresan et al., *Deep Neural Networks Segment Neuronal Membranes in Electron
#   Microscopy Images*, NIPS 2012: segmentation by classifying windows.
