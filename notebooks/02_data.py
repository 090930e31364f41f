# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # 2. Data: loading images and masks correctly
#
# This chapter takes you from a folder of files to batches that a network can be trained
# on, and measures what the usual mistakes with masks cost.
#
# After this chapter you can
#
# - read masks in the usual file formats, and renumber their classes (exercise 2.1);
# - predict what interpolation does to labels (2.2);
# - apply random transforms to image and mask together, with void where nothing is known
#   (2.3);
# - normalise images with the statistics of a data set (2.4);
# - inspect a data set with a function, and infer from its findings what is wrong with
#   the loader, the code that reads the files (2.5 and 2.6).
#
# You need label maps from [chapter 1](01_tasks.ipynb). The
# [glossary](../book/glossary.md) explains technical terms. Scores are given as *mean
# IoU*, a number between 0 and 1 where 1 is perfect; [chapter 3](03_metrics.ipynb)
# defines it. The notebook takes about one minute on one CPU thread.

# %% tags=["hide-cell"]
from importlib.util import find_spec

if find_spec("segcourse") is None:  # on Colab
    get_ipython().system(
        "pip install -q 'segcourse @ git+https://github.com/OWNER/REPO'"
    )

import torch

from segcourse.training import seed_everything

seed_everything(0)

# %%
import io
import tempfile
from pathlib import Path

import numpy as np
import torch.nn.functional as F
import torchvision
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

# %%
from segcourse import tables, viz
from segcourse.data import (
    Cached,
    Photographs,
    Toytown,
    alignment,
    batches,
    inspect,
    measured,
    photographs,
    toytown,
)
from segcourse.data import transforms as T
from segcourse.losses import class_counts, cross_entropy, log_frequency_weights
from segcourse.metrics import confusion_matrix, iou, mean_iou
from segcourse.models import UNet
from segcourse.ops import IGNORE
from segcourse.training import evaluate, fit, poly, predict, warmup

CLASSES, PALETTE = toytown.CLASSES, toytown.PALETTE

scenes = [Toytown(60)[index] for index in range(60)]

# %% [markdown]
# ## The problem
#
# Suppose that you want to train at half the resolution. You resize the image by
# bilinear interpolation, which averages neighbouring pixels, and you use the same
# function for the mask. (In this chapter, a mask is a label map: the class number of
# every pixel.) The averages are not whole numbers. Therefore you convert them with
# `.long()`, which truncates (3.9 becomes 3), or you round them first.


# %%
def bilinear(mask, size, rounded=False, antialias=True):
    """The mistake: labels are interpolated as if they were grey values."""
    labels = mask[None, None].float()
    labels = F.interpolate(labels, size, mode="bilinear", antialias=antialias)[0, 0]
    return labels.round().long() if rounded else labels.long()


def nearest(mask, size):
    """The right way: every new pixel takes the label of one old pixel."""
    labels = mask[None, None].float()
    return F.interpolate(labels, size, mode="nearest-exact")[0, 0].long()


mask = scenes[0].semantic
resized = {
    "bilinear, truncated": bilinear(mask, (48, 64)),
    "bilinear, rounded": bilinear(mask, (48, 64), rounded=True),
    "nearest neighbour": nearest(mask, (48, 64)),
}

# %% tags=["hide-input"]
viz.show_labels(
    {"mask": mask} | resized,
    CLASSES,
    PALETTE,
    columns=2,
    alt="A label map of a street and three versions of half the size. In both bilinear "
    "versions, lines of other classes run along the outlines, and the post of the lamp "
    "is labelled as person. Nearest neighbour keeps the lamp and adds no lines.",
)

# %% [markdown]
# No error is raised, and the resized masks have the right size and whole numbers. We
# count the **invented labels**: a label is invented if none of the old pixels that were
# averaged has it. To halve a mask, bilinear interpolation averages 2 × 2 old pixels.
# With *antialiasing* (smoothing), the default of torchvision and Pillow, the window has
# 4 × 4 pixels, and the outer ones have small weights. The table adds up 60 scenes of
# Toytown, the course's streets.


# %%
def count_invented(mask, small, window):
    """Pixels whose label does not occur in the window that was averaged for them."""
    margin = (window - 2) // 2
    padded = F.pad(mask[None, None].float(), (margin,) * 4, value=-1)
    blocks = F.unfold(padded, kernel_size=window, stride=2)
    return (blocks.view(-1, *small.shape) != small).all(dim=0).sum().item()


ways = {
    f"bilinear, {end}{note}": dict(rounded=end == "rounded", antialias=not note)
    for note in ("", ", no antialiasing")
    for end in ("truncated", "rounded")
}
masks = [scene.semantic for scene in scenes]
smaller = {
    name: [bilinear(each, (48, 64), **options) for each in masks]
    for name, options in ways.items()
}
smaller["nearest neighbour"] = [nearest(each, (48, 64)) for each in masks]
lamp = CLASSES.index("lamp")
quarter = sum((each == lamp).sum().item() for each in masks) / 4
print(f"a quarter of the lamp pixels of the large masks: {quarter:.0f}")


# %% tags=["hide-input"]
def largest_share(mask, size):
    """The class with the largest weighted share (one-hot maps, averaged)."""
    maps = F.one_hot(mask, len(CLASSES)).permute(2, 0, 1)[None].float()
    return F.interpolate(maps, size, mode="bilinear", antialias=True)[0].argmax(0)


smaller["one-hot, largest share"] = [largest_share(each, (48, 64)) for each in masks]
invented = {
    name: sum(
        count_invented(mask, each, window=2 if "no antialiasing" in name else 4)
        for mask, each in zip(masks, small, strict=True)
    )
    for name, small in smaller.items()
}
tables.show_table(
    [
        {
            "masks resized by": name,
            "invented labels": invented[name],
            "% of pixels": 100 * invented[name] / (60 * 48 * 64),
            "lamp pixels": sum((each == lamp).sum().item() for each in small),
        }
        for name, small in smaller.items()
    ],
    digits=1,
)

# %% [markdown]
# With antialiasing, truncation invents more labels than rounding. One reason is
# arithmetic: if a small share of class 0 enters an average with class 5, the average
# may be 4.9, which rounding repairs to 5 and truncation turns into 4. Without
# antialiasing, all weights are 1/4. Therefore such small shares do not occur, and
# rounding is no better; here it even invents more. Nearest neighbour invents no label
# at all.
#
# The last column should be close to the printed quarter, because a new pixel covers
# four old ones. Averaging class numbers removes many pixels of the thin lamps, because
# *lamp* has the largest number.
#
# <details class="deeper"><summary>Going deeper: averaging one-hot maps</summary>
#
# There is a correct way to average. Turn the mask into one map per class, which is 1
# where the class is and 0 elsewhere (*one-hot*), interpolate the maps, and choose the
# class with the largest value:
#
# ```python
# maps = F.one_hot(mask, num_classes).permute(2, 0, 1)[None].float()
# small = F.interpolate(maps, size, mode="bilinear", antialias=True)[0].argmax(0)
# ```
#
# The values are weighted shares of the window, so their average has a meaning, and the
# result is always the class of a pixel nearby. The last line of the table shows this
# method: it invents no label, and it removes some lamp pixels, because a thin object
# does not always have the largest share. Nearest neighbour is simpler, and libraries
# use it.
#
# </details>
#
# ## The idea
#
# A class number is a **name** and not a quantity: labels are *categorical* values.
# Class 6 (person) is not twice class 3 (grass), and class 4 (tree) does not lie between
# class 2 (road) and class 6. An average of class numbers is therefore meaningless.
#
# The following example can be checked by hand. A mask of 4 × 8 pixels is halved. In the
# panels "truncated" and "rounded", every pixel is the average of 2 × 2 pixels of the
# mask, converted to a whole number. In the panel "nearest", every pixel has the label
# of one of the four, the lower right.

# %%
large = torch.tensor(
    [
        [0, 0, 0, 0, 0, 0, 0, 0],
        [0, 0, 0, 6, 0, 0, 0, 5],
        [2, 2, 2, 6, 2, 2, 5, 5],
        [2, 2, 2, 6, 2, 2, 2, 2],
    ]
)
average = F.avg_pool2d(large[None].float(), 2)[0]
small = {
    "truncated": average.long(),
    "rounded": average.round().long(),
    "nearest": nearest(large, (2, 4)),
}

# %% tags=["hide-input"]
texts = {name: labels.numpy() for name, labels in small.items()}
viz.show_grid(
    {"mask": large} | small,
    CLASSES,
    PALETTE,
    texts={"mask": large.numpy()} | texts,
    columns=2,
    alt="A mask of four by eight numbered pixels: a person of class 6 and a car of "
    "class 5 before sky, 0, and road, 2. Truncated averages give building, 1, twice, "
    "tree, 4, and grass, 3. Rounded averages give road, building and two trees. With "
    "nearest neighbour, only sky, road, person and car appear.",
)

# %% [markdown]
# The lower half of the person and the road give (2 + 6 + 2 + 6) / 4 = 4, a tree. In
# general, interpolation computes $\sum_i w_i\, t_i$ from the labels $t_i$ of
# neighbouring pixels with weights $w_i$ that sum to 1. Nearest neighbour is the special
# case in which one weight is 1 and all others are 0, so that the result is always the
# label of one of the pixels.
#
# All four old pixels are equally near to the centre of the new one, and PyTorch has two
# modes that choose differently. The next cell prints which pixels of a 4 × 4 mask,
# numbered from 0 to 15, are kept. The mode `"nearest"` keeps the upper left of each
# block, and `"nearest-exact"`, which this course uses, the lower right.

# %%
numbered = torch.arange(16).view(1, 1, 4, 4)
print(numbered[0, 0])
for mode in ("nearest", "nearest-exact"):
    kept = F.interpolate(numbered.float(), (2, 2), mode=mode).long()
    print(f"{mode:13} keeps", kept.flatten().tolist())

# %% [markdown]
# Three rules prevent most mistakes with masks:
#
# 1. **Labels are selected, never averaged.** Masks are resampled by nearest neighbour.
# 2. **Image and mask are transformed together.** A geometric transform (flip, crop,
#    rotation) uses the same random numbers for both. A photometric transform
#    (brightness, noise, normalisation) changes the image only.
# 3. **A pixel without a reliable label is void.** In many data sets, void is the label
#    255. The loss and the metric skip void pixels. Void is not the same as
#    *background*, which is a class: somebody looked and found no object.
#
# ## Build it
#
# ### Read the numbers in the file
#
# Many data sets store masks as PNG files. A *label PNG* holds one class number per
# pixel. A *palette PNG* holds the same numbers and a table of colours, so that an image
# viewer can display the mask. The library Pillow calls grey images *mode L* and palette
# images *mode P*. We save one mask in several ways and list the numbers that come back.


# %%
def reopened(picture, kind="PNG"):
    """Save a picture to a file in memory, and open the file."""
    file = io.BytesIO()
    picture.save(file, kind)
    return Image.open(file)


label_png = Image.fromarray(mask.numpy().astype(np.uint8))
palette_png = label_png.copy()
palette_png.putpalette([value for color in PALETTE for value in color])
objects = Image.fromarray(np.arange(400, dtype=np.uint16).reshape(20, 20))

readings = {
    "label PNG": np.array(reopened(label_png)),
    "palette PNG": np.array(reopened(palette_png)),
    'palette PNG, convert("L")': np.array(reopened(palette_png).convert("L")),
    "JPEG": np.array(reopened(label_png, "JPEG")),
    "16-bit PNG of 400 numbers": np.array(reopened(objects)),
    "16-bit PNG of 400 numbers, as 8 bits": np.array(reopened(objects)).astype("uint8"),
}

# %% tags=["hide-input"]
tables.show_table(
    [
        {
            "how it was stored and read": name,
            "different numbers": len(np.unique(numbers)),
            "the largest ones": str(np.unique(numbers)[-8:].tolist()),
        }
        for name, numbers in readings.items()
    ]
)

# %% [markdown]
# The label PNG and the palette PNG give the eight classes back. The conversion to grey,
# `convert("L")`, replaces each class number by the brightness of its colour. JPEG
# compression changes pixel values slightly, and in a label map another number is
# another class. Maps of more than 255 objects need 16 bits, because 8 bits give
# different objects the same number.
#
# Some data sets store only **colours**, together with a list that gives the colour of
# every class. We decode such a mask with a *lookup table*, which has one entry for each
# of the 256³ possible colours. Some pixels have a colour that belongs to no class, such
# as the cream-coloured border around objects in the data set PASCAL VOC. If the lookup
# table is first filled with zeros, these pixels become class 0. Therefore fill it with
# void:


# %%
def decode(rgb, palette, unknown):
    """Class of every colour: (H, W, 3) uint8, (K, 3) uint8 -> (H, W) int64."""
    table = torch.full((256**3,), unknown)
    weights = torch.tensor([1, 256, 65536])  # one number for every colour
    table[(palette.long() * weights).sum(dim=-1)] = torch.arange(len(palette))
    return table[(rgb.long() * weights).sum(dim=-1)]


palette = torch.tensor(PALETTE, dtype=torch.uint8)
colored = palette[mask]
colored[40:44] = torch.tensor([224, 224, 192], dtype=torch.uint8)  # VOC's border
for name, unknown in (("zeros", 0), ("255", IGNORE)):
    labels = decode(colored, palette, unknown)
    zeros, void = (labels == 0).sum(), (labels == IGNORE).sum()
    print(f"table of {name:5}: {zeros:4} pixels of class 0, {void:3} void")

# %% [markdown]
# Two-class masks are often stored in **black and white**, as 0 and 255. Because 255
# means void here, every object pixel would be void. Therefore compare such a mask with
# a threshold: `(mask > 127).long()`.
#
# ### Void in the loss
#
# The cross-entropy of PyTorch skips void pixels if `ignore_index` names their label.
# The mean is then taken over the other pixels, as in the second line. Without
# `ignore_index=255`, PyTorch stops with an error, because 255 is not a class.

# %%
logits = torch.randn(1, 3, 2, 2)
target = torch.tensor([[[0, 2], [255, 1]]])
known = target != IGNORE
skipping = F.cross_entropy(logits, target, ignore_index=IGNORE)
by_hand = F.cross_entropy(logits.permute(0, 2, 3, 1)[known], target[known])
print(f"with ignore_index=255:  {skipping:.4f}")
print(f"of the known pixels:    {by_hand:.4f}")
try:
    F.cross_entropy(logits, target)
except IndexError as error:
    print("without ignore_index:", error)

# %% [markdown]
# ### From a folder to a batch
#
# Now we load real files. The next cell writes eight photographs into a temporary folder
# in a common layout: `images/cat.jpg` and `masks/cat.png`. Three photographs are grey,
# and all masks are palette PNGs in which 255 is void.

# %%
folder = Path(tempfile.mkdtemp())
colors = np.zeros((256, 3), dtype=np.uint8)
colors[: len(photographs.PALETTE)] = photographs.PALETTE
colors[IGNORE] = 224, 224, 192
for name, sample in zip(photographs.NAMES, Photographs(), strict=True):
    for part in ("images", "masks"):
        (folder / part).mkdir(exist_ok=True)
    photo = Image.fromarray((sample.image * 255).byte().permute(1, 2, 0).numpy())
    grey = (sample.image[0] == sample.image[1]).all()
    (photo.convert("L") if grey else photo).save(folder / "images" / f"{name}.jpg")
    file = Image.fromarray(sample.semantic.numpy().astype(np.uint8))
    file.putpalette(colors.flatten().tolist())
    file.save(folder / "masks" / f"{name}.png")
for path in sorted((folder / "images").iterdir()):
    print(path.name, Image.open(path).mode, end="  ")

# %% [markdown]
# For your own project, copy the next two code cells, and the imports of `torch` and of
# what they use. A PyTorch `Dataset` has a length and items. This one pairs the files
# **by name**, reads the numbers of the mask without any conversion, and passes both to
# one function.


# %%
class FolderDataset(Dataset):
    """Images and masks of two folders, paired by their file names."""

    def __init__(self, folder, transform=None):
        self.images = sorted((folder / "images").iterdir())
        self.masks = [folder / "masks" / f"{path.stem}.png" for path in self.images]
        missing = [path.name for path in self.masks if not path.exists()]
        if missing:
            raise FileNotFoundError(f"masks are missing: {missing}")
        self.transform = transform

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        with Image.open(self.images[index]) as file:
            image = np.array(file.convert("RGB"))  # grey and transparent files, too
        with Image.open(self.masks[index]) as file:
            mask = np.array(file)  # the numbers: no convert()
        image = torch.from_numpy(image).permute(2, 0, 1).float() / 255
        mask = torch.from_numpy(mask).long()
        return self.transform(image, mask) if self.transform else (image, mask)


# %% [markdown]
# The function `augment` draws its random numbers once and uses them for image and mask.
# Its last line **normalises** the image, so that its values lie around 0 with a spread
# of about 1. For every colour channel $c$, the value $x$ becomes
#
# $$\frac{x - \mu_c}{\sigma_c},$$
#
# where $\mu_c$ and $\sigma_c$ are the mean and the standard deviation of a data set.
# The values below are those of ImageNet, with which most pretrained networks were
# trained. Some need other values, so look them up.

# %%
MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


def augment(image, mask, size=160):
    """Scale, crop and flip image and mask alike; normalise the image."""
    scale = size / min(mask.shape) * (1 + torch.rand(()).item() / 2)
    height, width = (max(size, round(side * scale)) for side in mask.shape)
    image = F.interpolate(
        image[None], (height, width), mode="bilinear", antialias=True
    )[0]
    mask = F.interpolate(
        mask[None, None].float(), (height, width), mode="nearest-exact"
    )[0, 0].long()
    top = torch.randint(height - size + 1, ()).item()
    left = torch.randint(width - size + 1, ()).item()
    rows, columns = slice(top, top + size), slice(left, left + size)
    image, mask = image[:, rows, columns], mask[rows, columns]
    if torch.rand(()) < 0.5:
        image, mask = image.flip(-1), mask.flip(-1)
    return (image - MEAN) / STD, mask


# %% [markdown]
# With `shuffle=True`, a `DataLoader` takes the samples in random order. It stacks them
# into batches; the crop gives them the same size.

# %% tags=["tol=0.1"]
seed_everything(37)
loader = DataLoader(FolderDataset(folder, augment), batch_size=4, shuffle=True)
images, masks = next(iter(loader))
print("images", tuple(images.shape), images.dtype)
print("masks ", tuple(masks.shape), masks.dtype, masks.unique().tolist())
print(f"mean {images.mean():.1f}, standard deviation {images.std():.1f}")

# %% tags=["hide-input"]
crops = (images * STD + MEAN).clamp(0, 1)
painted = torch.from_numpy(colors[masks.numpy()]).permute(0, 3, 1, 2) / 255
viz.show_images(
    {f"image {n}": image for n, image in enumerate(crops, start=1)}
    | {f"overlay {n}": x for n, x in enumerate((crops + painted) / 2, start=1)},
    columns=4,
    alt="A batch of four square crops, and below them the same crops mixed with the "
    "colours of their masks: a rocket on its launch pad at dusk, rows of coins, an "
    "astronaut in an orange suit, a cup of coffee on a saucer. The coloured regions "
    "end where the objects end.",
)

# %% [markdown]
# An **overlay** mixes an image with the colours of its classes. Before every training,
# check that each outline of the mask lies on the object.
#
# ### Inspect the data set
#
# Many mistakes can be found by a function. `inspect` loads every sample and reports
# errors (✗), warnings (!) and what is fine (✓). We give it the folder without
# `augment`.

# %% tags=["tol=0.03"]
report = inspect(FolderDataset(folder), classes=photographs.CLASSES)
print(report)

# %% [markdown]
# The warning is justified: images of seven sizes cannot be stacked, so our loader crops
# them. The lower part lists how frequent each class is; rare classes are the topic of
# [chapter 5](05_losses.ipynb). The upper lines mean:
#
# - **sizes, dtypes, values**: shapes, number types, and the smallest and largest value
#   of the images.
# - **ids, classes**: which numbers the masks hold. A number that is no class is an
#   error; a class that never occurs is a warning.
# - **interpolation**: In an annotated mask, a 2 may lie directly beside a 5. In an
#   averaged mask, a third number often lies between them, as in 2, 3, 5. The finding is
#   the number of two-step changes, divided by the number of these and of direct changes
#   by 2 or more.
# - **names**: whether classes such as sky (above) and road (below) lie where they
#   usually do.
# - **void, empty masks**: the share of void, and masks with one label only.
# - **void as class**: whether a single class forms lines, at most 4 pixels wide,
#   between other regions. Void borders look like this if they were given the number of
#   a class. The finding gives the share of borders at which such a line lies.
# - **alignment**: the **correlation** of the edges in an image with the borders between
#   labels in its mask (1: identical, 0: unrelated). There are three errors: shifted
#   masks fit clearly better (in more than a tenth of the samples); mirrored masks fit
#   clearly better; masks of other samples of equal size fit almost as well.
# - **duplicates**: whether two images, shrunk to 16 × 16 pixels, are nearly the same.
#   The argument `other_split=` adds a comparison with another split.
#
# What is normal? The next cell gives the
# finding on interpolation for correct and for damaged masks. Then it correlates the
# images of Toytown with their own masks and with those of other scenes. Finally, it
# shifts a mask by four rows up and six columns to the right, and prints the movement
# that makes the mask fit best.

# %% tags=["tol=0.03"]
halves = [T.resize((48, 64))(scene).image for scene in scenes]
for name in ("nearest neighbour", "bilinear, truncated", "bilinear, rounded"):
    found = inspect(list(zip(halves, smaller[name], strict=True)), classes=CLASSES)
    (share,) = [each for each in found.findings if each.check == "interpolation"]
    print(f"{name:20} {share.message}")

others = [*scenes[1:], scenes[0]]
pairs = list(zip(scenes, others, strict=True))
own = [alignment(s.image, s.semantic).fit for s in scenes]
foreign = [alignment(s.image, other.semantic).fit for s, other in pairs]
print(f"mean correlation with the scene's own mask: {np.mean(own):.2f}")
print(f"                   with another scene's mask: {np.mean(foreign):.2f}")
moved = alignment(scenes[0].image, scenes[0].semantic.roll((-4, 6), (0, 1)))
print("the shifted mask must move", moved.shift, "(down, right)")

# %% [markdown]
# The correlation of a correct mask is below 1, because an image also has edges inside
# its regions.
#
# ## On a real image
#
# The mask of the photograph of a cup of coffee contains six classes. We halve the mask
# by rounding bilinear averages and look at the classes that appear. In the figure, the
# ground truth is the mask halved by nearest neighbour.

# %%
coffee = Photographs("coffee")[0]
halved = bilinear(coffee.semantic, (200, 300), rounded=True)
extra = sorted(set(halved.unique().tolist()) - set(coffee.semantic.unique().tolist()))
print("invented classes:", ", ".join(photographs.CLASSES[k] for k in extra))
print(count_invented(coffee.semantic, halved, window=4), "invented labels")

# %% tags=["hide-input"]
rows, columns = slice(64, 100), slice(95, 150)
part = type(coffee)(*(x[..., rows, columns] for x in T.resize((200, 300))(coffee)))
distinct = list(photographs.PALETTE)
distinct[photographs.CLASSES.index("helmet")] = (110, 60, 170)
viz.show_predictions(
    [part],
    {"bilinear, rounded": halved[None, rows, columns]},
    photographs.CLASSES,
    distinct,
    alt="A part of the photograph, where coffee meets the white cup, and two masks of "
    "it. In the ground truth, brown coffee meets the yellow cup directly. With rounded "
    "averages, single pixels of many other classes lie along the coffee's outline.",
)

# %% [markdown]
# The coffee has class 18 and the cup class 3. Therefore the averages along the outline
# of the coffee take nearly every value between, and the mask now contains rockets,
# cells and coins. The larger the difference between two class numbers, the more classes
# can be invented.
#
# Does the inspection also find mistakes in a loader of real photographs? We change our
# loader in four ways, one at a time. (The last change is right for training, but the
# inspection expects values from 0 to 1.)


# %%
def damaged(change):
    seed_everything(0)
    return [change(image, mask) for image, mask in FolderDataset(folder)]


def halve(image, mask):
    size = tuple(side // 2 for side in mask.shape)
    image = F.interpolate(image[None], size, mode="bilinear", antialias=True)[0]
    return image, bilinear(mask, size, rounded=True)


def flip_apart(image, mask):
    flips = torch.rand(2) < 0.5  # two draws
    return image.flip(-1) if flips[0] else image, mask.flip(-1) if flips[1] else mask


def to_grey(image, mask):
    file = Image.fromarray(mask.numpy().astype(np.uint8))
    file.putpalette(colors.flatten().tolist())
    return image, torch.from_numpy(np.array(file.convert("L"))).long()


faults = {
    "masks resized bilinearly": halve,
    "two draws for one flip": flip_apart,
    'palette masks, convert("L")': to_grey,
    "images normalised": lambda image, mask: ((image - MEAN) / STD, mask),
}

# %% tags=["tol=0.1"]
rows = []
for name, change in faults.items():
    found = inspect(damaged(change), classes=photographs.CLASSES)
    for each in found.errors + [w for w in found.warnings if w.check != "sizes"]:
        rows.append({"fault": name, "check": each.check, "finding": each.message})
tables.show_table(rows)

# %% [markdown]
# Each fault is found by a different check, and the finding points to the kind of fault.
# In the first line, the ids above 20 are averages of a class with void (255).
#
# ## What did the idea buy?
#
# Do wrong labels matter, or are they averaged out during training? We train the same
# small network twice on Toytown at half size, once with masks resized by nearest
# neighbour and once by truncated bilinear averages. Both are evaluated on
# correct masks. (The network is a small [U-Net](08_unet.ipynb), and its loss gives
# [rare classes](05_losses.ipynb) larger weights.)

# %%
SIZE = (48, 64)


def small_scenes(count, resize_mask, seed=0):
    """Toytown at half size, with masks resized in the given way."""
    return Cached(
        T.Transformed(
            Toytown(count, seed=seed),
            lambda s: T.resize(SIZE)(s)._replace(
                semantic=resize_mask(s.semantic, SIZE)
            ),
        )
    )


validation = small_scenes(80, nearest, seed=1)


# %%
def train(resize_mask):
    seed_everything(0)
    training = small_scenes(240, resize_mask)
    labels = torch.stack([sample.semantic for sample in training.samples])
    weight = log_frequency_weights(class_counts(labels, len(CLASSES)))
    options = dict(width=8, depth=3, padding=1, batch_norm=True, dropout=0.0)
    model = UNet(len(CLASSES), **options)
    fit(
        model,
        lambda model, batch: cross_entropy(model(batch[0]), batch[1], weight=weight),
        batches(training, batch_size=16),
        steps=300,
        learning_rate=1e-2,
        schedule=warmup(poly(0.9)),
    )
    return model


models = {"nearest": train(nearest), "bilinear, truncated": train(bilinear)}

# %% tags=["tol=0.06"]
matrices = {
    name: evaluate(
        model, batches(validation, batch_size=20, shuffle=False), num_classes=8
    )
    for name, model in models.items()
}
for name, matrix in matrices.items():
    print(f"mean IoU after training with {name:20} {mean_iou(matrix):.2f}")

# %% tags=["hide-input"]
chosen = [validation[index] for index in (0, 3, 7)]
images = torch.stack([each.image for each in chosen])
viz.show_predictions(
    chosen,
    {f"trained: {name}": predict(model, images) for name, model in models.items()},
    CLASSES,
    PALETTE,
    alt="Three scenes with predictions. Both networks miss the lamp of the first "
    "scene. After training on nearest labels, the lamp post of the second scene is "
    "found, and lamp pixels are predicted at wrong places in all scenes. After "
    "training on truncated labels, lamp posts become person, and lines of car run "
    "along outlines.",
)

# %% [markdown]
# The middle columns show the predictions. Both networks miss the lamp of the first
# scene, and the first network predicts false lamp pixels in all three. The second
# network reproduces the errors of its training labels: it puts lines of other classes
# along the outlines, and labels lamp posts as persons.
#
# The next table compares six mistakes. `benchmarks/label_errors.py` trained every
# version with three seeds, with and without class weights. For the rows about void, a
# void border, two pixels wide before halving, was drawn around things. Each mistake is
# compared with the correct version, from which it differs only in its labels (and in
# the class weights that follow from them). The table shows the **drop in mean IoU**
# (mean ± standard deviation over the seeds), counted over all pixels.

# %%
results = measured("label_errors")
PAIRS = {
    "labels bilinear, truncated": "labels by nearest",
    "labels bilinear, rounded": "labels by nearest",
    "labels by torch's nearest": "labels by nearest",
    "void as class 0": "void ignored",
    "flip, two draws": "flip, one draw",
    "shift, two draws": "shift, one draw",
}


NAMES = {
    "labels by nearest": 'labels by "nearest-exact"',
    "labels by torch's nearest": 'training labels by "nearest"',
}


def drop(arms, wrong):
    right, wrong = (
        torch.tensor(arms[arm]["full truth, mean"]) for arm in (PAIRS[wrong], wrong)
    )
    return f"{(right - wrong).mean():.3f} ± {(right - wrong).std():.3f}"


# %% tags=["hide-input"]
tables.show_table(
    [
        {
            "mistake": NAMES.get(arm, arm),
            "compared with": NAMES.get(right, right),
            "drop, no class weights": drop(results["losses"]["plain"], arm),
            "drop, class weights": drop(results["losses"]["weighted"], arm),
        }
        for arm, right in PAIRS.items()
    ]
)
for loss, text in (("plain", "no class weights"), ("weighted", "class weights")):
    scores = torch.tensor(
        results["losses"][loss]["labels by nearest"]["full truth, mean"]
    )
    print(f"labels by nearest-exact, {text}: mean IoU {scores.mean():.2f}")

# %% [markdown]
# - **Interpolated labels** lower the score with both losses, and truncation costs more
#   than rounding.
# - **The mode "nearest"**: training used `"nearest"` and evaluation `"nearest-exact"`,
#   whose pixels lie one row and one column apart in the large mask. The row does not
#   say that `"nearest"` is worse if both use it.
# - **Void as class 0** gives the label sky to a line around every object. Without class
#   weights, the mean falls clearly. With them, there is no clear difference: the IoU of
#   sky falls, and those of car, person and lamp rise slightly (folded table).
# - **Two draws** cost most. With two independent draws of the flip, image and mask
#   contradict each other in half of the samples on average. In the last row, each is
#   shifted by at most three pixels, and the score still falls clearly.

# %% tags=["hide-cell"]
tables.show_table(
    [
        {"class weights, trained with": arm}
        | {
            f"IoU of {name}": f"{values.mean():.2f} ± {values.std():.2f}"
            for name, values in zip(
                CLASSES,
                torch.tensor(results["losses"]["weighted"][arm]["full truth"]).T,
                strict=True,
            )
            if name in ("sky", "car", "person", "lamp")
        }
        for arm in ("void ignored", "void as class 0")
    ]
)

# %% [markdown]
# Void matters in the evaluation too. In the next table (no class weights), the rows
# differ only in how void pixels of the ground truth are treated. Toytown is generated,
# so the class under a void border is known, and the first row counts every pixel.

# %%
keys = {
    "every pixel, classes known": "full truth",
    "void ignored": "void ignored",
    "void counted as class 0": "void as class 0",
}
tables.show_table(
    [
        {"evaluated with": text}
        | {
            f"trained with {arm}": torch.tensor(
                results["losses"]["plain"][arm][f"{key}, mean"]
            ).mean()
            for arm in ("void ignored", "void as class 0")
        }
        for text, key in keys.items()
    ],
    digits=2,
)

# %% [markdown]
# If training and evaluation both treat void as class 0, most of the difference between
# the networks disappears from the score. The evaluation then hides the damage. This can
# happen if training and evaluation share a loader. The second row is higher than the
# first, because it leaves out pixels along the outlines. The network trained above
# shows how much more frequent errors are there.

# %% tags=["tol=0.06"]
truth = torch.stack([each.semantic for each in validation])
images = torch.stack([each.image for each in validation])
wrong = predict(models["nearest"], images) != truth
highest = F.max_pool2d(truth.float(), 3, stride=1, padding=1)
lowest = -F.max_pool2d(-truth.float(), 3, stride=1, padding=1)
outline = highest != lowest  # two classes within 3 x 3 pixels
print(f"share of wrong pixels along outlines: {wrong[outline].float().mean():.2f}")
print(f"                           elsewhere: {wrong[~outline].float().mean():.2f}")

# %% [markdown]
# So scores of two papers can be compared only if both treat void in the same way.
#
# ## Where it breaks
#
# Several checks of the inspection have a tolerance, and smaller errors are not found.
# The alignment check, for example, accepts a shift of one pixel (images above about 160
# pixels are reduced first), because hand-drawn outlines are rarely exact. We shift all
# masks to the right by one and by two pixels and inspect them. Then we evaluate the
# *true* masks against the masks shifted by one pixel: the score of a perfect network.

# %%
for columns in (1, 2):
    pairs = [(s.image, s.semantic.roll(columns, 1)) for s in scenes]
    errors = inspect(pairs, classes=CLASSES).errors
    print(f"shift {columns}:", [each.message for each in errors] or "no error found")
truth = torch.stack([s.semantic for s in scenes])
matrix = confusion_matrix(truth, truth.roll(1, 2), len(CLASSES))
print(f"mean IoU of the true masks: {mean_iou(matrix):.2f}")

# %% tags=["hide-input"]
viz.show_bars(
    {
        name: {"IoU": value}
        for name, value in zip(CLASSES, iou(matrix).tolist(), strict=True)
    },
    ylabel="IoU of a perfect prediction",
    alt="One bar for every class: IoU is above 0.9 for sky, road and grass, lower for "
    "person, and about one half for lamp.",
)

# %% [markdown]
# A shift of one pixel lowers the score of a perfect prediction slightly for sky, road
# and grass, more for the other classes, and to about one half for the thin lamps. A
# score therefore depends on the annotation as well as on the network.
#
# ## In practice
#
# ### torchvision: `transforms.v2`
#
# torchvision moves image and mask together if `tv_tensors.Image` and `tv_tensors.Mask`
# say which is which. Masks are then resampled by nearest neighbour, and photometric
# transforms leave them unchanged. `fill` gives the values outside of the image.

# %%
FILL = {tv_tensors.Image: 0, tv_tensors.Mask: IGNORE}
pipeline = v2.Compose(
    [
        v2.RandomResizedCrop(160, scale=(0.3, 1.0), antialias=True),
        v2.RandomHorizontalFlip(),
        v2.RandomRotation(10, interpolation=v2.InterpolationMode.BILINEAR, fill=FILL),
        v2.ColorJitter(brightness=0.3, contrast=0.3),
        v2.Normalize(MEAN.flatten().tolist(), STD.flatten().tolist()),
    ]
)


def with_torchvision(image, mask):
    return pipeline(tv_tensors.Image(image), tv_tensors.Mask(mask))


seed_everything(0)
loader = DataLoader(FolderDataset(folder, with_torchvision), batch_size=8)
images, masks = next(iter(loader))
known = {*range(21), IGNORE}
print("images", tuple(images.shape), "masks", tuple(masks.shape), masks.dtype)
print("numbers that are no class:", set(masks.unique().tolist()) - known)

# %% tags=["nbval-ignore-output"]
print("torchvision", torchvision.__version__, "torch", torch.__version__)

# %% [markdown]
# Four details can damage masks without an error message. The table shows for one scene
# which share of the mask differs from the intended result.

# %% tags=["hide-input"]
scene = scenes[0]
image, labels = tv_tensors.Image(scene.image), tv_tensors.Mask(scene.semantic)
flip = v2.RandomHorizontalFlip(p=1.0)
_, plain = flip(scene.image, scene.semantic)
_, wrapped = flip(image, labels)
pil_mask = v2.Resize(SIZE)(Image.fromarray(scene.semantic.numpy().astype(np.uint8)))
_, padded = v2.Pad(16)(image, labels)
_, right = v2.Pad(16, fill=FILL)(image, labels)
halved = nearest(scene.semantic, SIZE)
wrong = {
    "flip: the mask is a plain tensor": plain != wrapped,
    "Resize: a PIL mask of mode L": torch.from_numpy(np.array(pil_mask)) != halved,
    "Pad: no fill was given": padded != right,
    "Resize of a Mask, compared with nearest-exact": v2.Resize(SIZE)(labels) != halved,
}
kept = v2.Resize((2, 2))(tv_tensors.Mask(numbered[0]))
print("of the pixels 0 to 15, v2.Resize keeps", kept.flatten().tolist())
tables.show_table(
    [
        {"pitfall": name, "% of mask pixels that differ": 100 * where.float().mean()}
        for name, where in wrong.items()
    ],
    digits=1,
)

# %% [markdown]
# - **Plain tensors.** If neither is wrapped, `v2` treats the first tensor as an image
#   and leaves the second unchanged: only the image is flipped.
# - **PIL masks.** A PIL image of mode L is treated as an image, so its labels are
#   interpolated. (In mode P, Pillow selects pixels.) Wrap it:
#   `tv_tensors.Mask(np.array(file))`.
# - **Fill.** New pixels get class 0 unless `fill` gives 255 for masks. This holds, for
#   example, for `Pad`, `RandomCrop`, `RandomRotation`, `RandomAffine` and
#   `ElasticTransform`.
# - **Two kinds of nearest.** `v2.Resize` keeps by default the upper left of 2 × 2
#   pixels, as PyTorch's `"nearest"` does. Training and evaluation must use the same
#   mode, as the drops in mean IoU showed.
#
# <details class="deeper"><summary>Going deeper: a pipeline in albumentations</summary>
#
# The library works on NumPy arrays with channels last. In version 2.0.8, masks are
# resampled by nearest neighbour, but `fill_mask` is 0 by default. This is the last
# version: the [project](https://github.com/albumentations-team/albumentations) (MIT
# licence) is no longer maintained, and its successor AlbumentationsX has the AGPL or a
# commercial licence.
#
# ```python
# import albumentations as A  # version 2.0.8
# from albumentations.pytorch import ToTensorV2
#
# pipeline = A.Compose([
#     A.PadIfNeeded(160, 160, fill_mask=255),
#     A.RandomCrop(160, 160),
#     A.HorizontalFlip(p=0.5),
#     A.Rotate(10, fill_mask=255),
#     A.ColorJitter(),
#     A.Normalize(),  # ImageNet's mean and standard deviation
#     ToTensorV2(),
# ])
# sample = pipeline(image=image, mask=mask)  # (H, W, 3) uint8, (H, W) uint8
# image, mask = sample["image"], sample["mask"].long()
# ```
#
# </details>
#
# | use | when |
# |---|---|
# | your own function, like `augment` | a few transforms are enough |
# | torchvision `v2` | the project uses torchvision |
# | albumentations | you need transforms that torchvision lacks |
#
# <details class="deeper"><summary>Going deeper: how popular data sets number
# their classes</summary>
#
# | data set | numbers in its mask files | what you do |
# |---|---|---|
# | PASCAL VOC | 0 background, 1–20, 255 border | read the palette PNG as it is |
# | Cityscapes | ids 0 to 33 | renumber: 19 ids → 0–18, the others → 255 |
# | ADE20K (scenes) | 0 other, 1–150 | 0 → 255, k → k − 1 |
# | Oxford-IIIT Pet | 1 pet, 2 background, 3 border | pet 1, background 0, border 255 |
# | CamVid (11 classes) | 0–10, 11 void | 11 → 255 |
#
# Sources: the pages of [VOC](http://host.robots.ox.ac.uk/pascal/VOC/voc2012/) and
# [Pet](https://www.robots.ox.ac.uk/~vgg/data/pets/),
# [cityscapesScripts](https://github.com/mcordts/cityscapesScripts), the [ADE20K
# benchmark](https://github.com/CSAILVision/sceneparsing), SegNet's CamVid.
#
# </details>
#
# ## Common mistakes
#
# | mistake | wrong | right |
# |---|---|---|
# | interpolation | `mode="bilinear"` | `mode="nearest-exact"` for masks |
# | void is a class | `zeros(256**3)` | `full(256**3, 255)`, `ignore_index=255` |
# | two draws | `augment(image), augment(mask)` | `augment(image, mask)` |
# | one class too many | `num_classes=4` for ids 1, 2, 3 | renumber; `len(CLASSES)` |
# | two numberings | class 0 of the masks is class 2 of the network | look at overlays |
# | frames of one video | `random_split(frames)` | split by video |
#
# The costs of the first three were measured above. The first was made, for example, in
# TensorFlow's segmentation tutorial until [pull request
# 2159](https://github.com/tensorflow/docs/pull/2159), the fourth in an example of Keras
# ([pull request 313](https://github.com/keras-team/keras-io/pull/313)).
#
# For the other three, the table shows what they do to the score of the network trained
# above. In the first row, the class that never occurs counts as IoU 0; our `mean_iou`
# would leave it out. In the last row, training scenes stand for frames of the same
# video, an extreme case.

# %% tags=["tol=0.06"]
matrix = matrices["nearest"]
extra = F.pad(matrix, (0, 1, 0, 1))  # a ninth class that never occurs
swap = torch.tensor([2, 1, 0, 3, 4, 5, 6, 7])  # predictions: sky is 2, road is 0
known = evaluate(
    models["nearest"],
    batches(small_scenes(80, nearest), batch_size=20, shuffle=False),
    num_classes=8,
)
tables.show_table(
    [
        {"mistake": name, "mean IoU": value, "instead of": mean_iou(matrix)}
        for name, value in {
            "one class too many": mean_iou(extra, zero_division=0.0),
            "two classes numbered differently": mean_iou(matrix[:, swap]),
            "evaluated on training scenes": mean_iou(known),
        }.items()
    ],
    digits=2,
)

# %% [markdown]
# ## Exercises
#
# Replace the `...` and run the cell. The check shows the first input for which an
# answer is wrong, and often names the mistake. `ex.renumbering.hint()` gives a hint,
# and `ex.renumbering` repeats the question; the other exercises work in the same way.

# %% [markdown]
# ### 2.1 Renumber a data set
#
# `ids` is a mask (H, W) of int64 with the numbers of a data set; they may be negative
# or larger than 255. `classes` is a dictionary `{id: class}`, for example `{7: 0, 8:
# 1}` for two ids of Cityscapes. Return (H, W) whole numbers: the class of every pixel,
# and 255 for every id that is not in the dictionary.

# %%
from segcourse.exercises import data as ex


def renumber(ids, classes): ...  # your code


ex.renumbering.check(renumber)

# %%
ex.renumbering.show_solution()

# %% [markdown]
# ### 2.2 Predict the labels between
#
# The row of labels `[2, 5]` is upsampled to 8 pixels by bilinear interpolation with
# half-pixel centres (`align_corners=False`, the default): in units of old pixels, the
# old centres lie at 0.5 and 1.5, and the new pixels are a quarter as wide. Before the
# first old centre and after the last one, the row is constant. **Predict** the 8 labels
# after truncation and the 8 labels after rounding, and write them down as two lists:
# `prediction = ([...], [...])`. The solution runs the interpolation.

# %%
prediction = ...  # (truncated, rounded)

ex.between.check(prediction)

# %%
ex.between.show_solution()

# %% [markdown]
# ### 2.3 Find the two faults
#
# This function cuts a random square of `size` × `size` pixels out of an image (3, H, W)
# and its mask (H, W). A side that is shorter than `size` is first padded, below or on
# the right. `draw(n)` gives a random whole number from 0 to n, and n may occur; every
# call draws anew. Two faults of this function damage the labels. Find and fix them.
# Draw the top row before the left column, pad the image with 0, and return image and
# mask.
#
# ```python
# def random_crop(image, mask, size, draw):
#     bottom = max(size - mask.shape[0], 0)
#     right = max(size - mask.shape[1], 0)
#     image = F.pad(image, (0, right, 0, bottom))
#     mask = F.pad(mask, (0, right, 0, bottom))
#     parts = []
#     for part in (image, mask):
#         top = draw(part.shape[-2] - size)
#         left = draw(part.shape[-1] - size)
#         parts.append(part[..., top : top + size, left : left + size])
#     return parts[0], parts[1]
# ```


# %%
def random_crop(image, mask, size, draw): ...  # your code


ex.two_faults.check(random_crop)

# %%
ex.two_faults.show_solution()

# %% [markdown]
# ### 2.4 Mean and standard deviation of a folder
#
# `images` is a list of (3, H, W) uint8 tensors of different sizes. Divide their values
# by 255, and return `(mean, std)` of every colour channel over all pixels of all
# images: each has three numbers, in the shape (3,). The standard deviation is the
# square root of the mean of (value − mean)² over these pixels.


# %%
def channel_statistics(images): ...  # your code


ex.statistics.check(channel_statistics)

# %%
ex.statistics.show_solution()

# %% [markdown]
# ### 2.5 From the finding to the fault
#
# Seven faulty loaders were inspected, each with 24 scenes, and each inspection gave one
# of the findings A to G. Decide which fault caused each finding. Your function gets the
# letter and returns the number of the cause, a whole number. One cause is left over.

# %%
for letter, finding in ex.FINDINGS.items():
    print(letter, finding)
for number, cause in ex.CAUSES.items():
    print(number, cause)


# %%
def find_cause(letter): ...  # your code, for example return {"A": 1, ...}[letter]


ex.diagnosis.check(find_cause)

# %%
ex.diagnosis.show_solution()

# %% [markdown]
# ### 2.6 Find the shift
#
# `edges` (H, W) is large where an image has an edge, and `borders` (H, W) is 1 where
# its mask has a border and 0 elsewhere. `search_range` is `(rows, columns)`. Try every
# shift `(down, right)` with down from `-rows` to `rows` and right from `-columns` to
# `columns`. Shift the borders with `roll`: pixels that leave on one side come in on the
# other. Return the `(down, right)` for which the sum of `edges * borders` is largest.


# %%
def find_shift(edges, borders, search_range): ...  # your code


ex.shift.check(find_shift)

# %%
ex.shift.show_solution()

# %% [markdown]
# ## Quiz

# %% [markdown]
# **Q1. A mask is resized bilinearly and then rounded to whole numbers. What is wrong?**
#
# <details class="quiz wrong"><summary>Nothing, because rounding makes labels of the
# averages</summary>
#
# Not quite: rounding gives whole numbers, but they need not be labels of any of the
# averaged pixels.
#
# </details>
# <details class="quiz right"><summary>A pixel between two classes may get the number of
# a third class</summary>
#
# Right: the average of 2 and 18 is 10, a whole number and a class that is not there.
#
# </details>
# <details class="quiz wrong"><summary>The mask is shifted by half a pixel</summary>
#
# Not quite: bilinear interpolation with half-pixel centres does not shift the mask. A
# shift comes from mixing `mode="nearest"` with other conventions.
#
# </details>

# %% [markdown]
# **Q2. Your masks have the classes 0 and 1 only. They are resized bilinearly, and
# values of at least 0.5 become 1. What can go wrong?**
#
# <details class="quiz wrong"><summary>A third class appears along the
# outlines</summary>
#
# Not quite: after the threshold, only 0 and 1 exist.
#
# </details>
# <details class="quiz wrong"><summary>Nothing, because the result equals that of
# nearest neighbour</summary>
#
# Not quite: an average of several pixels decides instead of one pixel, so outlines
# differ.
#
# </details>
# <details class="quiz right"><summary>Thin objects may vanish, but no third class can
# appear</summary>
#
# Right: only 0 and 1 are left after the threshold. An object whose average stays below
# 0.5 everywhere becomes background.
#
# </details>

# %% [markdown]
# **Q3. What does cross-entropy with `ignore_index=255` do with a void pixel?**
#
# <details class="quiz right"><summary>It leaves the pixel out of the mean, and no
# gradient comes from it</summary>
#
# Right: the prediction at this pixel neither lowers nor raises the loss.
#
# </details>
# <details class="quiz wrong"><summary>It trains the class "background"</summary>
#
# Not quite: that happens if void is given the number of the background. Background is a
# class; void means that the class is unknown.
#
# </details>
# <details class="quiz wrong"><summary>It trains the network to give all classes the
# same probability</summary>
#
# Not quite: that would need a target with equal probabilities. Void is no target.
#
# </details>

# %% [markdown]
# **Q4. You open a palette PNG with `Image.open(path).convert("L")` and find labels such
# as 37 and 119. Why?**
#
# <details class="quiz wrong"><summary>PNG compression changed the labels</summary>
#
# Not quite: PNG is lossless. JPEG is not.
#
# </details>
# <details class="quiz right"><summary>Each class number was replaced by the brightness
# of its colour</summary>
#
# Right: `np.array(Image.open(path))` gives the numbers that are in the file.
#
# </details>
# <details class="quiz wrong"><summary>The data set has more than 100 classes</summary>
#
# Not quite: these are grey values. The attribute `mode` of the opened file is "P",
# which means palette.
#
# </details>

# %% [markdown]
# **Q5. A crop is larger than the image, so image and mask are padded. Which label does
# the padding get?**
#
# <details class="quiz wrong"><summary>0, the first class</summary>
#
# Not quite: then the network is trained to predict class 0 for black pixels.
#
# </details>
# <details class="quiz wrong"><summary>The label of the nearest pixel of the
# image</summary>
#
# Not quite: the padding of the image is black, so the object is not there. Repeated
# labels are right only if the pixels of the image are repeated too.
#
# </details>
# <details class="quiz right"><summary>255, void</summary>
#
# Right: nobody knows what is there, so neither loss nor metric may count it.
#
# </details>

# %% [markdown]
# **Q6. The frames of one video are split at random into training and test. What is the
# effect?**
#
# <details class="quiz wrong"><summary>None, because no frame is in both parts</summary>
#
# Not quite: no identical frame is in both, but neighbouring frames hardly differ.
#
# </details>
# <details class="quiz right"><summary>The test score is too high, because nearly the
# same frames are in both parts</summary>
#
# Right: the network was trained on a neighbour of almost every test frame. Split by
# video.
#
# </details>
# <details class="quiz wrong"><summary>The test score is too low, because frames are
# missing in training</summary>
#
# Not quite: for each missing frame, its neighbours are in the training set.
#
# </details>

# %% [markdown]
# **Q7. The inspection reports no error. What do you know?**
#
# <details class="quiz right"><summary>The checks found no contradiction in numbers,
# sizes and outlines</summary>
#
# Right: they do not see whether a car is labelled as a car.
#
# </details>
# <details class="quiz wrong"><summary>All labels are right</summary>
#
# Not quite: if annotators confuse two classes everywhere, numbers, sizes and outlines
# are all in order.
#
# </details>
# <details class="quiz wrong"><summary>The network will learn all classes</summary>
#
# Not quite: a class with very few pixels passes every check and is hard to learn.
#
# </details>

# %% [markdown]
# ## Take-aways
#
# - Labels are names (categorical values): select them by nearest neighbour and never
#   average them.
# - One set of random numbers transforms image and mask; keep both in one function.
# - Pixels without a label are void (255): skipped by the loss, skipped by the metric,
#   and used for padding.
# - Read the numbers in the file, without conversion; unknown colours and ids become
#   void.
# - Most of these mistakes raise no error. Inspect a data set before the first training,
#   and look at overlays.
#
# ## Further reading
#
# - Everingham et al., [The PASCAL visual object classes (VOC)
#   challenge](https://doi.org/10.1007/s11263-009-0275-4), IJCV 2010: the data set with
#   void borders (`everingham2010voc`).
# - Brostow, Fauqueur, Cipolla, [Semantic object classes in
#   video](https://doi.org/10.1016/j.patrec.2008.04.005), 2009: CamVid
#   (`brostow2009camvid`), which `segcourse.data.CamVid` loads.
# - Cordts et al., [The Cityscapes dataset](https://arxiv.org/abs/1604.01685), CVPR 2016
#   (`cordts2016cityscapes`).
# - [Getting started with transforms
#   v2](https://pytorch.org/vision/stable/auto_examples/transforms/plot_transforms_getting_started.html)
#   in torchvision's documentation.
