# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # FCN: turn a classifier into a segmenter
#
# A network that names *one* thing per picture becomes, without a new kind of layer, a
# network that names the thing at *every pixel*.
#
# After this chapter you can
#
# - turn a linear layer into a convolution, and say how much work that saves;
# - enlarge a map with a transposed convolution, and know when it equals interpolation;
# - lay maps of different strides over each other to the pixel;
# - build FCN-32s, FCN-16s and FCN-8s and check them against the published networks;
# - measure what each skip connection buys, fairly.
#
# You need chapter 03 (metrics), the weights of chapter 05, and the basics of
# convolution in PyTorch. Most of the run time is one training of 200 steps.
#
# A few words first. The **encoder** is the part of a network that turns a picture into
# maps of features, each coarser than the one before. The **stride of a map** is the
# distance, in pixels of the image, between two neighbouring positions of it: the
# product of the strides of all layers so far. The **scores** of a position are one
# number for each of the $K$ classes, made from its features by a convolution with a 1 x
# 1 kernel; the largest one wins. The **receptive field** of a position is the part of
# the image that its features depend on.
#
# **VGG-16**, the classifier that FCN starts from, has thirteen 3 x 3 convolutions in
# five stages (`conv1_1` is the first one of the first stage). Each stage ends in a max
# pooling that halves the map, `pool1` to `pool5`. Then come three linear layers, `fc6`,
# `fc7`, and one that gives the scores.

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
from segcourse.blocks import VGG, bilinear_kernel, bilinear_upsample
from segcourse.data import Cached, Toytown, batches, measured, toytown
from segcourse.losses import class_counts, cross_entropy, log_frequency_weights
from segcourse.metrics import confusion_matrix, iou, mean_iou, trimap
from segcourse.models import FCN, crop_offsets, fuse
from segcourse.ops import IGNORE
from segcourse.training import evaluate, fit, predict

CLASSES, PALETTE = toytown.CLASSES, toytown.PALETTE

town = Toytown(4, seed=2)

# %% [markdown]
# ## The problem
#
# You have a classifier: picture in, one class out. You want a class for every pixel.
# The first idea, and for years the usual one: cut a patch around each pixel, classify
# the patch, write the answer into the pixel.
#
# Here are three patches of 15 x 15 pixels, each from another class. Could *you* name
# all of them?

# %%
picture, target, _ = town[0]
middles = {"A": (84, 60), "B": (44, 101), "C": (66, 26)}
windows = {
    f"patch {name}": picture[:, y - 7 : y + 8, x - 7 : x + 8]
    for name, (y, x) in middles.items()
}
viz.show_images(
    {"picture": picture, **windows},
    alt="A street scene and three patches cut from it. Without their surroundings they "
    "are textures: stones, as of a wall or a road; a brown blob; a post by a wheel.",
)

# %%
for name, (y, x) in middles.items():
    print(f"patch {name}: {CLASSES[target[y, x]]}")

# %% [markdown]
# A small patch sees too little. And patches are wasteful: neighbouring ones share
# nearly all their pixels, yet each is stored and computed anew.

# %%
side = 15
height, width = picture.shape[-2:]
count = (height - side + 1) * (width - side + 1)
print(f"{count} patches of {side} x {side} cover a picture of {height} x {width}")
print(f"one patch per pixel holds {side**2} times the pixels of the picture")

# %% [markdown]
# Larger patches see more and cost more. The way out keeps the classifier and drops the
# patches.

# %% [markdown]
# ## The idea
#
# Look at what a linear layer does after `flatten`. Its input was a map of $C$ channels
# and $S \times S$ positions; output $o$ is a weighted sum of all of them:
#
# $$y_o = b_o + \sum_{c,i,j} W_{o,c,i,j}\; x_{c,i,j}$$
#
# That is a convolution with an $S \times S$ kernel, at the only position where the
# kernel fits. Give it a larger map and it fits at many positions:
#
# $$y_o(u,v) = b_o + \sum_{c,i,j} W_{o,c,i,j}\; x_{c,\,u+i,\,v+j}$$
#
# So every layer of a classifier can slide, and one pass over a large picture gives a
# *map* of answers. That is all "fully convolutional" means. Two problems remain. The
# map is coarse: VGG-16 pools five times, so neighbouring answers lie 32 pixels apart.
# And enlarging a coarse map does not bring back where things end. FCN answers with
# **bilinear enlargement** for the first and **skips** for the second: the maps of
# stride 16 and 8 get scores of their own, by a 1 x 1 convolution each, which are added
# on the way up.

# %%
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
        {"name": "score", "stride": 32, "channels": 21, "color": orange},
        {"name": "x2, +", "stride": 16, "channels": 21, "color": orange},
        {"name": "x2, +", "stride": 8, "channels": 21, "color": orange},
        {"name": "x8", "stride": 1, "channels": 21, "color": orange},
    ],
    links=[(4, 8, "score"), (3, 9, "score")],
    alt="FCN-8s as a row of boxes: five poolings shrink the image to stride 32, two "
    "wide convolutions and a score follow, then three enlargements. Arcs lead from "
    "pool4 and pool3 to the sums at strides 16 and 8.",
)

# %% [markdown]
# FCN-32s enlarges the score by 32 at once. FCN-16s adds pool4 and enlarges by 16,
# FCN-8s adds pool3 too and enlarges by 8: the number is the stride of the *last*
# enlargement.

# %% [markdown]
# ## Build it
#
# ### A classifier of patches, and the same weights sliding
#
# A toy classifier for 15 x 15 patches: two convolutions without padding, a linear
# layer.

# %%
patch_classifier = nn.Sequential(
    nn.Conv2d(3, 8, kernel_size=5),  # 15 -> 11
    nn.ReLU(),
    nn.Conv2d(8, 16, kernel_size=5),  # 11 -> 7
    nn.ReLU(),
    nn.Flatten(),
    nn.Linear(16 * 7 * 7, len(CLASSES)),
)
tuple(patch_classifier(torch.rand(4, 3, 15, 15)).shape)

# %% [markdown]
# Now the same numbers as a convolution: `flatten` wrote channel after channel, row
# after row, so a `view` puts each weight where it belongs.

# %%
*features, flatten, linear = patch_classifier
slide = nn.Conv2d(16, len(CLASSES), kernel_size=7)
slide.weight.data = linear.weight.data.view(len(CLASSES), 16, 7, 7)
slide.bias.data = linear.bias.data
sliding = nn.Sequential(*features, slide)
tuple(sliding(torch.rand(4, 3, 15, 15)).shape)

# %% [markdown]
# On a patch it gives one position. On a picture it must give what the patch classifier
# says of every patch. Check it on all of them:

# %%
patches = picture.unfold(1, 15, 1).unfold(2, 15, 1)  # (3, 82, 114, 15, 15)
patches = patches.permute(1, 2, 0, 3, 4).flatten(0, 1)  # (9348, 3, 15, 15)
with torch.no_grad():
    one_by_one = patch_classifier(patches).T.view(len(CLASSES), 82, 114)
    in_one_pass = sliding(picture[None])[0]
print(tuple(patches.shape), "->", tuple(one_by_one.shape))
print(tuple(picture.shape), "->", tuple(in_one_pass.shape))
print("same answers:", torch.allclose(one_by_one, in_one_pass, atol=1e-5))

# %% [markdown]
# Same answers; now the price. PyTorch counts the multiplications and additions for us,
# on the `meta` device, where tensors have shapes but no numbers.

# %%
from torch.utils.flop_counter import FlopCounterMode


def operations(network, *shape):
    """Multiplications and additions of a network on an input of this shape."""
    with FlopCounterMode(display=False) as counter, torch.device("meta"):
        network(torch.empty(*shape))
    return counter.get_total_flops()


def price(kernel, before, after, patch, image):
    """A convolution on all ``count`` patches, and once on the image: operations."""
    with torch.device("meta"):
        layer = nn.Conv2d(before, after, kernel)
    once = operations(layer, 1, before, *image)
    return count * operations(layer, 1, before, patch, patch), once


layers = {
    "convolution 1": price(5, 3, 8, 15, (96, 128)),
    "convolution 2": price(5, 8, 16, 11, (92, 124)),
    "linear layer": price(7, 16, 8, 7, (88, 120)),
}

# %%
tables.show_table(
    [
        {
            "layer": name,
            "patches, millions": patchwise / 1e6,
            "sliding, millions": once / 1e6,
            "ratio": patchwise / once,
        }
        for name, (patchwise, once) in layers.items()
    ],
    digits=1,
)
patchwise, once = map(sum, zip(*layers.values(), strict=True))
print(f"together {patchwise / once:.1f} times the operations")

# %% [markdown]
# The linear layer costs the same: every position needs its own weighted sum. The
# convolutions were the waste, because neighbouring patches repeat each other's work.
# How much time that is depends on the machine; this was measured on one thread:

# %%
results = measured("fcn_strides")
seconds = results["patches"]
ratio = seconds["patchwise_seconds"] / seconds["sliding_seconds"]
print(f"patch by patch takes {ratio:.1f} times as long as sliding")

# %% [markdown]
# And VGG-16, up to fc6, on a picture of 512 x 512: crops of 224 pixels, one every 32,
# against a single pass. (Here the answers are near but not equal: VGG's convolutions
# pad, so a crop sees zeros where the picture goes on.)

# %%
with torch.device("meta"):
    vgg, fc6 = VGG(), nn.Conv2d(512, 4096, kernel_size=7)


def classify(image):
    return fc6(vgg(image)[-1])  # VGG returns all five pools; the last has stride 32


with torch.device("meta"):
    _, _, rows, columns = classify(torch.empty(1, 3, 512, 512)).shape
crops = rows * columns * operations(classify, 1, 3, 224, 224)
print(f"pool5 has 512 / 32 = 16 rows, and 7 x 7 fits {rows} x {columns} times")
print(f"crops: {crops / operations(classify, 1, 3, 512, 512):.1f} times the operations")

# %% [markdown]
# ### From coarse to fine: enlarging as a layer
#
# A transposed convolution turns the arrow round: every input pixel *stamps* its kernel,
# times its value, onto a finer grid, and overlapping stamps add up. If the stamp is a
# tent as wide as two input pixels, the sum is linear interpolation. For factor 2:

# %%
tent = torch.tensor([0.25, 0.75, 0.75, 0.25])
twice = nn.ConvTranspose2d(1, 1, kernel_size=4, stride=2, bias=False)
twice.weight.data = (tent[:, None] * tent)[None, None]

coarse = torch.arange(12.0).view(1, 1, 3, 4)
with torch.no_grad():
    stamped = twice(coarse)
smooth = F.interpolate(coarse, scale_factor=2, mode="bilinear")
print(tuple(stamped.shape), "has a rim of one around", tuple(smooth.shape))
print((stamped[0, 0, 1:-1, 1:-1] - smooth[0, 0]).numpy())

# %% [markdown]
# Zero inside: the same function. At the border they differ, because beyond it the tents
# meet nothing, where `interpolate` repeats the last pixel. The package's layer has the
# same weights, for any factor and any number of classes:

# %%
print(torch.equal(bilinear_upsample(1, 2).weight, twice.weight))
for factor in (2, 8, 16, 32):
    kernel = bilinear_kernel(2 * factor)
    print(f"x{factor}: kernel {tuple(kernel.shape)}, corner {kernel[0, 0].item():.6f}")

# %% [markdown]
# What the three enlargements of FCN look like, applied to one perfect mask: the
# buildings of a scene, averaged over blocks of 32, 16 and 8 pixels and enlarged again.

# %%
scene = town[1]
mask = (scene.semantic == CLASSES.index("building")).float()[None, None]
enlarged = {"mask": mask[0, 0]}
for stride in (32, 16, 8):
    up = bilinear_upsample(1, stride, padding=stride // 2)
    enlarged[f"averaged and x{stride}"] = up(F.avg_pool2d(mask, stride))[0, 0]
viz.show_images(
    enlarged,
    limits=(0, 1),
    alt="A mask of buildings, and what is left of it after averaging over blocks and "
    "enlarging bilinearly: a blur at stride 32, rough shapes at 16, fair shapes at 8.",
)

# %% [markdown]
# ### Skips, laid over each other to the pixel
#
# Before two maps are added, position $n$ of one must lie over the same place as
# position $n$ of the other. Every position of a map is centred somewhere in the image:
#
# $$\text{pixel} = \text{step} \cdot n + \text{start}$$
#
# The step is the stride of the map; the start is where its position 0 is centred, and
# each layer moves it:
#
# - FCN pads `conv1_1` by 100 pixels, so that the unpadded 7 x 7 of fc6 finds room in
#   any image. The first 3 x 3 window covers the rows -100, -99, -98: start -99.
# - Pooling puts the first position in the middle of the rows that it takes together: 2
#   rows for pool1, 32 for pool5. Their middle is (step - 1) / 2 rows further.
# - fc6 covers positions 0 to 6 of pool5: its middle is position 3, three steps further.
# - Enlarging by $f$ stamps a kernel of $2f$ rows, whose middle is $f - 0.5$. So row 0
#   of the finer map lies $f - 0.5$ of *its* steps before the old start.

# %%
conv1 = -99
start = {f"pool{n}": conv1 + (2**n - 1) / 2 for n in (3, 4, 5)}
start["score"] = start["pool5"] + 3 * 32
start["score x32"] = start["score"] - (32 - 0.5)
start["score x2"] = start["score"] - (2 - 0.5) * 16  # laid over pool4: sum 16
start["sum 16 x16"] = start["score x2"] - (16 - 0.5)
start["sum 16 x2"] = start["score x2"] - (2 - 0.5) * 8  # laid over pool3: sum 8
start["sum 8 x8"] = start["sum 16 x2"] - (8 - 0.5)
tables.show_table([{"map": k, "start": v} for k, v in start.items()], digits=1)

# %% [markdown]
# Where two maps of the same step meet, the distance of their starts, counted in steps,
# is where the larger one must be cropped; the enlarged map is cropped where the image
# begins, at pixel 0:

# %%
print(f"x32 is cropped at {-start['score x32']:.0f}")
print(f"pool4 at {(start['score x2'] - start['pool4']) / 16:.0f},", end=" ")
print(f"x16 at {-start['sum 16 x16']:.0f}")
print(f"pool3 at {(start['sum 16 x2'] - start['pool3']) / 8:.0f},", end=" ")
print(f"x8 at {-start['sum 8 x8']:.0f}")
print([crop_offsets(stride) for stride in (32, 16, 8)])

# %% [markdown]
# ### The whole network
#
# With convolution, ReLU, max pooling, enlargement and crop, FCN-8s fits on a screen.
# This version uses functions only and takes its weights from a dictionary:


# %%
def fcn_8s(w, image):
    def conv(x, name, padding=0):
        return F.conv2d(x, w[f"{name}.weight"], w[f"{name}.bias"], padding=padding)

    x, pools = image, []
    for stage, depth in enumerate((2, 2, 3, 3, 3)):
        for place in range(depth):
            padding = 100 if stage == place == 0 else 1
            layer = 2 * place  # a ReLU stands between two convolutions
            x = conv(x, f"features.stages.{stage}.{layer}", padding).relu()
        x = F.max_pool2d(x, 2, ceil_mode=True)
        pools.append(x)
    x = conv(x, "classifier.0").relu()  # fc6
    x = conv(x, "classifier.3").relu()  # fc7; 1 and 2 are a ReLU and a dropout
    x = conv(x, "score")
    for number, (skip, offset) in enumerate([(pools[3], 5), (pools[2], 9)]):
        x = F.conv_transpose2d(x, w[f"upsample2x.{number}.weight"], stride=2)
        rows, columns = (slice(offset, offset + side) for side in x.shape[-2:])
        x = x + conv(skip, f"score_skips.{number}")[..., rows, columns]
    x = F.conv_transpose2d(x, w["upsample.weight"], stride=8)
    return x[..., 31 : 31 + image.shape[-2], 31 : 31 + image.shape[-1]]


# %% [markdown]
# Does the package's `FCN` compute the same? Same weights into both, an image whose
# sides are multiples of nothing:

# %%
network = FCN(21, width=16, fc_channels=128).eval()
for name, weight in network.named_parameters():
    if name.startswith("score"):  # they start at zero, and zero proves nothing
        nn.init.normal_(weight)
image = torch.rand(1, 3, 50, 67)
with torch.no_grad():
    by_hand, packaged = fcn_8s(network.state_dict(), image), network(image)
print(tuple(packaged.shape), "- not all alike:", packaged.std().item() > 0.1)
print("largest difference below 1e-5:", (by_hand - packaged).abs().max().item() < 1e-5)

# %% [markdown]
# ## Is it the paper's network?
#
# The defaults of `FCN` build the networks that the authors released. Their sizes follow
# from the released files; ours are counted on the `meta` device, without allocating
# half a gigabyte:

# %%
released = {32: (136152917, 134346581), 16: (134815994, 134357354)}
released[8] = (134489759, 134362751)
rows = []
for stride, (total, learning) in released.items():
    with torch.device("meta"):
        parameters = list(FCN(21, stride=stride).parameters())
    ours = sum(p.numel() for p in parameters)
    ours_learning = sum(p.numel() for p in parameters if p.requires_grad)
    same = (ours, ours_learning) == (total, learning)
    rows.append({"network": f"FCN-{stride}s", "parameters": ours,
                 "learning": ours_learning, "as released": str(same)})  # fmt: skip
tables.show_table(rows)

# %% [markdown]
# The difference between the two columns are the enlargements: fixed, bilinear, without
# bias. They are stored as full layers from every class to every class, of which only
# the diagonal is not zero: x32 alone has 21 x 21 kernels of 64 x 64. Of what learns,
# most is one layer:

# %%
with torch.device("meta"):
    fc6 = FCN(21).classifier[0]
    linear = nn.Linear(512 * 7 * 7, 4096)
slides = sum(p.numel() for p in fc6.parameters())
print("x32 is stored as", 21 * 21 * 64 * 64)
print("fc6 slides:  ", slides)
print("fc6 of VGG16:", sum(p.numel() for p in linear.parameters()))
print(f"its share of FCN-8s: {slides / ours:.0%}")

# %% [markdown]
# The maps of three image sizes, read off while the network runs:


# %%
def sizes(height, width):
    """Height x width of every map that FCN-8s makes on its way."""
    with torch.device("meta"):
        net, image = FCN(21), torch.empty(1, 3, height, width)
        pools = net.features(image)
        maps = {f"pool{n}": pool for n, pool in enumerate(pools, start=1)}
        maps["fc6"] = x = net.classifier(pools[-1])
        maps["x2"] = x = net.upsample2x[0](net.score(x))
        x = fuse(x, net.score_skips[0](pools[3]), net.offsets[0])
        maps["x2 again"] = x = net.upsample2x[1](x)
        x = fuse(x, net.score_skips[1](pools[2]), net.offsets[1])
        maps["x8, uncropped"] = net.upsample(x)
        maps["logits"] = net(image)
    return {name: f"{x.shape[-2]} x {x.shape[-1]}" for name, x in maps.items()}


columns = [sizes(375, 500), sizes(224, 224), sizes(512, 512)]
tables.show_table(
    [
        {"map": name, "of 375 x 500": a, "of 224 x 224": b, "of 512 x 512": c}
        for name, a, b, c in zip(
            columns[0], *(t.values() for t in columns), strict=True
        )
    ]
)

# %% [markdown]
# Is 100 pixels of padding enough for *every* image? Each side goes its own way through
# the network, so following all sides from 1 to 1999 at once settles it:

# %%
side = torch.arange(1, 2000)
maps = [side + 198]  # conv1_1
for _ in range(5):
    maps.append((maps[-1] + 1) // 2)  # pooling, rounded up
x = maps[5] - 6  # fc6
spare = []
for pool, offset in ((maps[4], 5), (maps[3], 9)):
    x = 2 * x + 2
    spare.append(pool - offset - x)
spare.append(8 * x + 8 - 31 - side)
for name, room in zip(("pool4", "pool3", "logits"), spare, strict=True):
    print(f"{name}: at least {room.min()} and at most {room.max()} to spare")

# %% [markdown]
# It is, and what is to spare varies from size to size: the poolings round up, and what
# they add lies at the far side. That is why nothing may be cropped from the middle.
#
# Weights that fit can be compared number by number. The tests of this course load the
# weights of an independent port of the released networks (the package `torchfcn`) into
# this class, all three strides and the at-once variant, and require equal logits to
# 1e-5; above you did the same against twenty lines of your own.
#
# The authors trained FCN-32s first, started FCN-16s from its weights and FCN-8s from
# those of FCN-16s. **At once** is their shortcut: FCN-8s in a single training, with
# pool4 and pool3 weakened so that the coarse scores lead in the beginning. Ours starts
# from random weights as large as He et al. (2015) found best for ReLU networks.
#
# | | released | here |
# |---|---|---|
# | start | ImageNet weights, scores at zero | He's initialisation, scores at zero |
# | input | 0 to 255, BGR, minus its mean | 0 to 1, RGB |
# | training | 32s, then 16s from it, then 8s | each variant alone, from its start |
# | at once | pool4 times 0.01, pool3 times 0.0001 | `at_once=True` does it |
# | small network | none | `padding=1`, `batch_norm=True`: fc6 pads itself |

# %% [markdown]
# ## Train it
#
# The same class at classroom size: twelve channels instead of 64, a 3 x 3 fc6 that pads
# itself, and batch normalisation, because nothing is pretrained here. Rare classes get
# the gentle weights of chapter 05.

# %%
CLASSROOM = dict(width=12, fc_channels=96, kernel_size=3, padding=1, batch_norm=True)

train = Cached(Toytown(320))
validation = Cached(Toytown(64, seed=1))
labels = torch.stack([sample.semantic for sample in train.samples])
weight = log_frequency_weights(class_counts(labels, len(CLASSES)))

seed_everything(0)
model = FCN(len(CLASSES), stride=8, **CLASSROOM)
learning = sum(p.numel() for p in model.parameters() if p.requires_grad)
print(f"{learning} parameters learn; crops start at {model.offsets}")

# %% [markdown]
# With `padding=1` nothing lies outside the image, but every enlargement adds a rim: now
# the enlarged map is larger than the skip, and is the one to crop, by one position in
# both sums. `fuse` writes that as a negative offset. The last number crops the final
# enlargement, by its rim of four pixels.


# %%
def loss(model, batch):
    image, semantic, _ = batch
    return cross_entropy(model(image), semantic, weight=weight)


history = fit(model, loss, batches(train, batch_size=16), steps=200, learning_rate=1e-2)

# %%
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
    ]
)
print(f"mean IoU {mean_iou(matrix):.3f}")

# %%
scenes = [validation[index] for index in (0, 5, 9)]
predictions = predict(model, torch.stack([scene.image for scene in scenes]))
viz.show_predictions(
    scenes,
    {"FCN-8s": predictions},
    CLASSES,
    PALETTE,
    alt="Three street scenes with FCN-8s's prediction and the truth. Sky, road, grass "
    "and houses are found; every outline is rounded, and thin things become blobs.",
)

# %% [markdown]
# ## What did the idea buy?
#
# First, how much does a stride lose by itself? Take the *truth*, make it coarse and
# enlarge it again; no network, no training. Once with one label per block (the class
# most of its pixels have), once the way FCN does it: average the one-hot masks, enlarge
# the averages bilinearly, and only then choose the largest.

# %%
target = torch.stack([sample.semantic for sample in validation.samples])
one_hot = F.one_hot(target, len(CLASSES)).movedim(-1, 1).float()
rows = []
for stride in (32, 16, 8, 4):
    row = {"stride": stride}
    for name, mode in {"labels": "nearest", "averages": "bilinear"}.items():
        averages = F.avg_pool2d(one_hot, stride)
        large = F.interpolate(averages, scale_factor=stride, mode=mode).argmax(dim=1)
        matrix = confusion_matrix(large, target, len(CLASSES))
        row |= {f"{name}: mean IoU": mean_iou(matrix)}
        row |= {f"{name}: lamp": iou(matrix)[CLASSES.index("lamp")]}
    rows.append(row)
tables.show_table(rows)

# %% [markdown]
# Two lessons. For the mean, enlarge scores, not labels: between two positions the
# averages still tell where the border runs. And thin classes suffer first, whatever you
# do. A lamp at stride 8 even prefers labels: where it fills most of a block it gets all
# of it, while its average is outvoted by the neighbours' on the way up. (No row is a
# limit. Whoever counts a lamp's share double gives it more blocks, and a better IoU:
# that is what class weights teach a network.)
#
# Now the networks. Three seeds; within a seed all three start from the same encoder,
# see the same batches, and take the same 200 steps, **each trained on its own**. That
# takes minutes, so `benchmarks/fcn_strides.py` has done it; the numbers are read from
# its file.

# %%
strides = results["strides"]
seeds, training = len(results["seeds"]), results["training"]
print(f"{seeds} seeds, {training['steps']} steps of {training['batch']} scenes")


def mean_and_spread(values):
    values = torch.tensor(values)
    return values.mean().item(), (values.max() - values.min()).item() / 2


tables.show_table(
    [
        {"network": f"FCN-{stride}s"}
        | {
            name: "{:.3f} ± {:.3f}".format(*mean_and_spread(strides[stride][key]))
            for name, key in {
                "mean IoU": "mean_iou",
                "IoU near outlines": "band_iou",
                "boundary F1": "boundary_f1",
                "boundary IoU": "boundary_iou",
            }.items()
        }
        for stride in ("32", "16", "8")
    ]
)

# %%
gain16 = min(strides["16"]["mean_iou"]) - max(strides["32"]["mean_iou"])
gain8 = min(strides["8"]["mean_iou"]) - max(strides["16"]["mean_iou"])
print(f"the worst FCN-16s beats the best FCN-32s by {gain16:.3f}")
print(f"the worst FCN-8s beats the best FCN-16s by {gain8:.3f}")

# %%
viz.show_bars(
    {
        name: {
            f"FCN-{stride}s": mean_and_spread(strides[stride][name])
            for stride in ("32", "16", "8")
        }
        for name in CLASSES
    },
    ylabel="IoU",
    alt="IoU of every class for the three networks. Each skip helps every class. Sky "
    "and road gain least, people and trees most; lamps have the lowest bars of all.",
)

# %% [markdown]
# Read it aloud: the same encoder, the same steps; each skip adds one 1 x 1 convolution
# and one addition, and lifts every score of every class. The first skip is worth more
# than the second. Sky and road gain least, people and trees most; lamps start from
# nothing.
#
# Compare with the table of coarse truths: in the mean the networks stay near its
# averages, a little above them at strides 32 and 16, a little below at 8. On lamps they
# beat the averages clearly: trained with class weights, they give a thin thing more
# than its share.

# %%
rows = [
    {"IoU of": name}
    | {
        f"FCN-{stride}s": mean_and_spread(strides[stride][name])[0]
        for stride in ("32", "16", "8")
    }
    for name in ("sky", "car", "person", "lamp")
]
tables.show_table(rows)

# %% [markdown]
# ### The same comparison, made unfair
#
# A well-known tutorial builds the three networks on *shared* layers and trains them one
# after another: 32s, then 16s, then 8s. When 8s has its turn, its encoder has been
# trained three times as long. What is then owed to the skips, and what to patience?

# %%
chained = results["chained"]
names = {
    "32": "FCN-32s, its turn first",
    "16": "FCN-16s, its turn second",
    "8": "FCN-8s, its turn third",
    "32 afterwards": "FCN-32s again, after the others used its layers",
    "32 as long": "FCN-32s alone, three times the steps",
}
tables.show_table(
    [
        {"network": text, "mean IoU": mean_and_spread(chained[key]["mean_iou"])[0]}
        for key, text in names.items()
    ]
)
fair = mean_and_spread(strides["8"]["mean_iou"])[0]
fair -= mean_and_spread(strides["32"]["mean_iou"])[0]
unfair = mean_and_spread(chained["8"]["mean_iou"])[0]
unfair -= mean_and_spread(chained["32"]["mean_iou"])[0]
patience = mean_and_spread(chained["32 as long"]["mean_iou"])[0]
patience -= mean_and_spread(chained["32"]["mean_iou"])[0]
print(f"from 32s to 8s: {fair:.3f} at equal steps, {unfair:.3f} in the chain")
print(f"three times the steps alone, without any skip: {patience:.3f}")

# %% [markdown]
# The totals agree. But you know that only because the fair comparison stands beside it:
# in the chain, FCN-8s differs from FCN-32s by two skips *and* by three times the
# training, and FCN-32s alone shows that so much training is worth something without any
# skip. A chain cannot tell the two apart, however its total comes out. And sharing
# destroys what was measured: training FCN-8s *changes* FCN-32s, since they are the same
# layers, and what is left of FCN-32s afterwards is a ruin. Compare networks that share
# nothing but a seed. (The authors' three networks do not share layers, but each starts
# from the one before: their steps add up in the same way.)
#
# ## Where it breaks
#
# Look closely at a lamp.

# %%
thin = validation[9]
rows, columns = (thin.semantic == CLASSES.index("lamp")).nonzero().T
top, left = max(int(rows.min()) - 4, 0), max(int(columns.min()) - 8, 0)
window = (..., slice(top, top + 30), slice(left, left + 40))
preds = predict(model, thin.image[None])
close = type(thin)(*(part[window] for part in thin))
viz.show_predictions(
    [close],
    {"FCN-8s": preds[window]},
    CLASSES,
    PALETTE,
    alt="A street lamp in close-up. The truth shows a thin post with an arm; the "
    "prediction has torn blobs in its place, and wavy outlines everywhere else.",
)

# %% [markdown]
# Where do the errors lie? Take all pixels within three of a class boundary:

# %% tags=["tol=0.05"]
preds = torch.cat([predict(model, image) for image, *_ in checks])
near = trimap(target, width=3) != IGNORE
wrong = preds != target
print(f"near a boundary: {near.float().mean():.3f} of the pixels")
print(f"near a boundary: {near[wrong].float().mean():.3f} of the errors")
print(f"wrong near a boundary: {wrong[near].float().mean():.3f}")
print(f"wrong elsewhere: {wrong[~near].float().mean():.3f}")

# %% [markdown]
# FCN knows *what* is there. It does not know exactly *where*, because its finest scores
# have a stride of 8 and add up only $K$ numbers per position. The next step is to carry
# whole feature maps across, at every stride down to 1, and to let convolutions combine
# them: that is **U-Net** (chapter 08). Another is to smooth the result with a model of
# neighbouring pixels, the CRF that DeepLab v1 adds (chapter 09).
#
# ## Common mistakes
#
# **Cropping from the middle.** Wrong: `top = (H - h) // 2`. Right: the offset. For some
# sizes both agree, so a test at one size proves nothing. How far is each map moved, in
# pixels of the image?


# %%
def moved(side):
    """Pixels by which centred crops move pool4's, pool3's scores and the logits."""
    maps = [side + 198]
    for _ in range(5):
        maps.append((maps[-1] + 1) // 2)
    x, found = maps[5] - 6, []
    for step, offset in ((16, 5), (8, 9)):
        x = 2 * x + 2
        pool = maps[{16: 4, 8: 3}[step]]
        found.append(step * ((pool - x) // 2 - offset))
    return (*found, (8 * x + 8 - side) // 2 - 31)


tables.show_table(
    [
        dict(
            zip(("side", "pool4", "pool3", "logits"), (side, *moved(side)), strict=True)
        )
        for side in (224, 320, 375, 500, 512)
    ]
)

# %% [markdown]
# What do a few pixels cost? Move the predictions of the trained network:

# %% tags=["tol=0.05"]
rows = []
for shift in (0, 1, 3, 13):
    there = preds[:, shift:, shift:]
    here = target[:, : target.shape[1] - shift, : target.shape[2] - shift]
    score = mean_iou(confusion_matrix(there, here, len(CLASSES)))
    rows.append({"moved by": shift, "mean IoU": score})
tables.show_table(rows)

# %% [markdown]
# **Padding 1 with the offsets of padding 100.** Slicing beyond the end of a map raises
# no error: it returns less. The package's crop refuses.

# %%
with torch.device("meta"):
    mixed = FCN(21, width=16, fc_channels=64, kernel_size=7, padding=1)
    mixed.offsets = (5, 9, 31)
    print(
        "a slice:", tuple(torch.empty(1, 21, 88, 120)[..., 31 : 31 + 96, 31:159].shape)
    )
    try:
        mixed(torch.empty(1, 3, 96, 128))
    except ValueError as error:
        print("ValueError:", error)

# %% [markdown]
# **Pooling that rounds down.** Caffe rounds up, PyTorch down unless told
# (`ceil_mode=True`). With padding 100 everything still fits, so nobody complains; but
# weights made for one rounding then see other maps. With padding 1 it fits only while
# the sides divide:

# %%
image = torch.rand(1, 3, 50, 67)
with torch.no_grad():
    up = network(image)
    network.features.ceil_mode = False
    down = network(image)
    network.features.ceil_mode = True
print("same size:", up.shape == down.shape, "- same logits:", torch.allclose(up, down))

small = FCN(8, **CLASSROOM).eval()
small.features.ceil_mode = False
for size in [(96, 128), (95, 127)]:
    try:
        print(size, "gives", tuple(small(torch.rand(1, 3, *size)).shape))
    except ValueError as error:
        print(f"{size}: ValueError: {error}")

# %% [markdown]
# **A ReLU after the scores.** A score says how much speaks *for or against* a class; a
# ReLU removes the second half. And scores start at zero, where ReLU has no slope:
# nothing ever learns. Every gradient of such a network:

# %%
dead = FCN(8, **CLASSROOM)
dead.score = nn.Sequential(dead.score, nn.ReLU())
dead.score_skips = nn.ModuleList(
    nn.Sequential(layer, nn.ReLU()) for layer in dead.score_skips
)
loss(dead, next(iter(checks))).backward()
slopes = [p.grad.abs().max().item() for p in dead.parameters() if p.grad is not None]
print(f"largest gradient of {len(slopes)} tensors: {max(slopes)}")

# %% [markdown]
# Started from random scores instead, the ReLU does no harm that three seeds could show;
# but that start itself is worse than zeros:

# %%
arms = {
    "zeros": strides["8"],
    "random": results["relu"]["scores"],
    "random, then ReLU": results["relu"]["scores and ReLU"],
}
rows = []
for name, arm in arms.items():
    score = "{:.3f} ± {:.3f}".format(*mean_and_spread(arm["mean_iou"]))
    rows.append({"scores start from": name, "mean IoU": score})
tables.show_table(rows)

# %% [markdown]
# **The released learning rate with another loss.** The released recipe has a rate of
# 1e-10 and momentum 0.99, and *sums* the loss over all pixels. With the mean over
# pixels, the default of every framework, the same rate trains nothing. Twenty steps
# each:


# %% tags=["tol=0.001"]
def twenty_steps(reduction):
    seed_everything(0)
    net = FCN(len(CLASSES), **CLASSROOM)
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-10, momentum=0.99)
    image, semantic, _ = next(iter(checks))
    for _ in range(20):
        logits = net(image[:4])
        optimizer.zero_grad()
        F.cross_entropy(logits, semantic[:4], reduction=reduction).backward()
        optimizer.step()
    return F.cross_entropy(net(image[:4]), semantic[:4]).item()


print(f"one scene has {target[0].numel()} pixels")
start = torch.log(torch.tensor(len(CLASSES))).item()  # all classes equally likely
rows = [
    {"reduction": name, "before": start, "after 20 steps": twenty_steps(name)}
    for name in ("mean", "sum")
]
tables.show_table(rows, digits=4)

# %% [markdown]
# **The wrong stamp.** Copying each score into a block is *nearest* enlargement;
# centring an even kernel on a pixel shifts the map by half a pixel. Exchange the last
# kernel of the trained network:

# %% tags=["tol=0.05"]
block = torch.zeros(16, 16)
block[4:12, 4:12] = 1  # every score becomes an 8 x 8 block
line = 1 - (torch.arange(16) - 7).abs() / 8  # centred on pixel 7, not between 7 and 8
stamps = {
    "bilinear": bilinear_kernel(16),
    "off by half a pixel": line[:, None] * line,
    "nearest": block,
}
rows = []
for name, stamp in stamps.items():
    model.upsample.weight[range(8), range(8)] = stamp
    score = mean_iou(evaluate(model, checks, num_classes=len(CLASSES)))
    rows.append({"kernel": name, "mean IoU": score})
model.upsample.weight[range(8), range(8)] = stamps["bilinear"]
tables.show_table(rows)

# %% [markdown]
# And always: one confusion matrix over all images (chapter 03), not the mean of each
# image's IoU; and pretrained weights get the channel order they were trained with (RGB
# or BGR).
#
# ## Exercises
#
# Run a cell untouched and it says "not attempted yet". `ex.<name>.hint()` gives a hint,
# each time a blunter one. The solution is behind the toggle.
#
# ### 6.1 Receptive field
#
# How many pixels of the image, along one axis, does one unit see? `layers` are (kernel,
# stride) pairs, first layer first. A 3 x 3 convolution and then a 2 x 2 pooling see 4
# pixels. For VGG-16 up to fc6 the answer is a number you will find in the paper. Hint:
# `ex.receptive_field_of.hint()`.

# %%
from segcourse.exercises import fcn as ex


def receptive_field(layers): ...  # your code


ex.receptive_field_of.check(receptive_field)

# %%
ex.receptive_field_of.show_solution()

# %% [markdown]
# ### 6.2 Bilinear kernel
#
# Write the weights of a one-dimensional transposed convolution that enlarges by an even
# `factor`: a list of `2 * factor` numbers. Hint: `ex.kernel.hint()`.


# %%
def bilinear_row(factor): ...  # your code


ex.kernel.check(bilinear_row)

# %%
ex.kernel.show_solution()

# %% [markdown]
# ### 6.3 Where the image begins
#
# Somebody pads the first convolution of FCN-32s by another number than 100, at least
# 81. At which row of the enlarged scores does the image now begin? Hint:
# `ex.offset.hint()`.


# %%
def crop_offset(padding): ...  # your code


ex.offset.check(crop_offset)

# %%
ex.offset.show_solution()

# %% [markdown]
# ### 6.4 A linear layer that slides
#
# Given the weight (O, C · S · S) of a linear layer that followed a `flatten`, return
# the weight of the convolution that does the same and can slide. Hint:
# `ex.slide.hint()`.


# %%
def convolutionalise(weight, channels): ...  # your code


ex.slide.check(convolutionalise)

# %%
ex.slide.show_solution()

# %% [markdown]
# ### 6.5 Fix the crop
#
# This code adds a skip, and its shapes fit on the author's image:
#
#     return x + skip[..., offset:-offset, offset:-offset]
#
# Write the version that is right for every image. Hint: `ex.fix_crop.hint()`.


# %%
def add_skip(x, skip, offset): ...  # your code


ex.fix_crop.check(add_skip)

# %%
ex.fix_crop.show_solution()

# %% [markdown]
# ### 6.6 An experiment: one label per block
#
# How much survives in a map with one label per block? Write a function that takes label
# maps (N, H, W), gives every block of `stride` x `stride` pixels the class that most of
# its pixels have, and returns the mean IoU. Then try it on `Toytown(64, seed=1)` with
# thicker lamps (`lamp_scale=2.0`): which of the strides 4, 8, 16 and 32 gains most?
# Hint: `ex.majority.hint()`.


# %%
def majority_iou(target, num_classes, stride): ...  # your code


ex.majority.check(majority_iou)

# %%
ex.majority.show_solution()

# %% [markdown]
# The experiment, for comparison with yours:

# %%
thick = Toytown(64, seed=1, lamp_scale=2.0)
thick = torch.stack([sample.semantic for sample in thick])
rows = []
for stride in (4, 8, 16, 32):
    slim, fat = (ex.majority.solution(maps, 8, stride) for maps in (target, thick))
    rows.append({"stride": stride, "lamps as they are": slim, "twice as thick": fat})
tables.show_table(rows)

# %% [markdown]
# Where blocks are about as wide as a lamp, thickness decides whether it wins any; at
# stride 32 no lamp ever wins a block, and a thick one only takes pixels from the
# others.

# %% [markdown]
# ## Quiz
#
# Choose an answer; it explains itself.

# %% [markdown]
# **Q1. VGG's fc6 reads a map of 512 x 7 x 7. As a convolution, its kernel is**
#
# <details class="quiz right"><summary>7 x 7</summary>
#
# Right: it covers the whole map that was flattened, so it fits there exactly once.
#
# </details>
# <details class="quiz wrong"><summary>1 x 1</summary>
#
# Not quite: 1 x 1 reads a single position. That is fc7, whose input is one position.
#
# </details>
# <details class="quiz wrong"><summary>3 x 3, like VGG's other layers</summary>
#
# Not quite: a 3 x 3 kernel has room for only 9 of the 49 positions that fc6 weighs.
#
# </details>

# %% [markdown]
# **Q2. Sliding a patch classifier over a picture saves most of the work in**
#
# <details class="quiz wrong"><summary>the linear layer</summary>
#
# Not quite: it computes one weighted sum per position, sliding or not.
#
# </details>
# <details class="quiz right"><summary>the convolutions before it</summary>
#
# Right: neighbouring patches overlap, and patch by patch the overlap is computed anew.
#
# </details>
# <details class="quiz wrong"><summary>nothing; only memory is saved</summary>
#
# Not quite: memory is saved too, but the operations fall by a large factor as well.
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
# Not quite: the classes are the channels of the scores, whatever the stride.
#
# </details>
# <details class="quiz right"><summary>the stride of the last enlargement</summary>
#
# Right: the finest scores lie 8 pixels apart and are enlarged by 8.
#
# </details>

# %% [markdown]
# **Q4. A transposed convolution with the bilinear kernel, size 2f and stride f, equals
# bilinear interpolation**
#
# <details class="quiz wrong"><summary>everywhere</summary>
#
# Not quite: at the border the stamps of pixels beyond it are missing.
#
# </details>
# <details class="quiz right"><summary>wherever no stamp crosses the border</summary>
#
# Right: inside, every output pixel gets weights that add up to one.
#
# </details>
# <details class="quiz wrong"><summary>only after training</summary>
#
# Not quite: it is set, and fixed. The authors report that learning it made no
# difference.
#
# </details>

# %% [markdown]
# **Q5. Why does FCN pad its first convolution by 100 pixels?**
#
# <details class="quiz right"><summary>so that fc6 and the crops fit anywhere</summary>
#
# Right: stride 32 times a 7 x 7 kernel needs room, and the offsets undo the shift.
#
# </details>
# <details class="quiz wrong"><summary>so that sides become multiples of 32</summary>
#
# Not quite: sides stay as they are; the poolings round up.
#
# </details>
# <details class="quiz wrong"><summary>to enlarge the receptive field</summary>
#
# Not quite: the receptive field depends on kernels and strides, not on padding.
#
# </details>

# %% [markdown]
# **Q6. You train 32s, 16s and 8s one after another on shared layers, and 8s wins. What
# have you shown?**
#
# <details class="quiz wrong"><summary>that skips help</summary>
#
# Not quite: 8s also had the best-trained encoder of the three.
#
# </details>
# <details class="quiz wrong"><summary>nothing, because the data were the same</summary>
#
# Not quite: the same data are what a comparison needs. The steps were not the same.
#
# </details>
# <details class="quiz right"><summary>skips plus more training beat neither</summary>
#
# Right: only the two together. To tell them apart, train each alone, from one seed, for
# equal steps.
#
# </details>

# %% [markdown]
# **Q7. Which object suffers most from a stride of 8?**
#
# <details class="quiz wrong"><summary>a large house</summary>
#
# Not quite: its outline blurs, but most of its pixels lie far from the outline.
#
# </details>
# <details class="quiz right"><summary>a lamp post two pixels wide</summary>
#
# Right: in a block of 8 x 8 it is nearly always outvoted, and averages barely show it.
#
# </details>
# <details class="quiz wrong"><summary>the sky</summary>
#
# Not quite: one large area with one border; it loses least.
#
# </details>

# %% [markdown]
# ## Take-aways
#
# - A linear layer after `flatten` is a convolution. Let it slide, and a classifier of
#   pictures becomes a classifier of positions, without repeating work.
# - Bilinear enlargement is a transposed convolution with a fixed tent.
# - Maps add up only if they lie over each other: follow the start of each map, and crop
#   by that, never from the middle.
# - Coarse scores say what, fine ones say where. The stride of the finest scores decides
#   how small a thing may be; enlarge scores, and choose labels last.
# - Compare networks that share a seed, and nothing else.
#
# ## Further reading
#
# - Long, Shelhamer, Darrell, *Fully Convolutional Networks for Semantic Segmentation*,
#   CVPR 2015: <https://arxiv.org/abs/1411.4038>; journal version (Shelhamer, Long,
#   Darrell 2016): <https://arxiv.org/abs/1605.06211>.
# - The released networks: <https://github.com/shelhamer/fcn.berkeleyvision.org>.
# - Simonyan, Zisserman, *Very Deep Convolutional Networks for Large-Scale Image
#   Recognition*, ICLR 2015: <https://arxiv.org/abs/1409.1556>.
# - Ciresan et al., *Deep Neural Networks Segment Neuronal Membranes in Electron
#   Microscopy Images*, NIPS 2012: a classifier of patches, at its best.
