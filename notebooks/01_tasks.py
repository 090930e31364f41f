# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # Tasks: what a mask says, and how it is written down
#
# One picture can be segmented in three ways, and each way is stored in half a dozen
# encodings. Whoever cannot tell them apart trains on wrong labels and never sees it.
#
# After this chapter you can
#
# - tell semantic, instance and panoptic segmentation apart, and stuff from things;
# - convert between label maps, instance maps, panoptic PNGs, run-length codes, polygons
#   and one-hot masks;
# - say what each encoding forgets, with a count;
# - recognise seven bugs that corrupt labels without an error message.
#
# You need Python and the indexing of PyTorch tensors, no segmentation and no training.
# The notebook takes well under a minute on one CPU thread.

# %% tags=["hide-cell"]
from importlib.util import find_spec

if find_spec("segcourse") is None:  # on Colab
    get_ipython().system("pip install -q git+https://github.com/OWNER/REPO")

import torch

from segcourse.training import seed_everything

seed_everything(0)

# %%
import io
import json

import numpy as np
import torch.nn.functional as F
from PIL import Image

# %%
from segcourse import tables, viz
from segcourse.data import Toytown, photographs, toytown
from segcourse.ops import (
    IGNORE,
    colorize,
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
    rle_area,
    rle_box,
    simplify,
    split_ids,
)

# %%
CLASSES, PALETTE, THINGS = toytown.CLASSES, toytown.PALETTE, toytown.THINGS

town = Toytown(40, seed=2, cars=(2, 6), people=(1, 4))
scene = town[23]
cup = photographs.Photographs("coffee")[0]

# %% [markdown]
# ## The problem
#
# A classifier says *what* is in a picture. A detector says roughly *where*: it draws a
# box. Here is a street; it comes from Toytown, the generated data set of this course,
# so the truth is known to the pixel.

# %%
boxed = scene.image.clone()
white = torch.ones(3, 1)
for mask in object_masks(scene.instance):
    x0, y0, x1, y1 = mask_box(mask)
    boxed[:, y0:y1, [x0, x1 - 1]] = white[..., None]
    boxed[:, [y0, y1 - 1], x0:x1] = white[..., None]
viz.show_images(
    {"what a detector says": boxed, "what is there": scene.instance > 0},
    alt="A street with a white box around every car, person and lamp, and beside it "
    "the pixels of these objects: the boxes overlap, and much of them is no object.",
)

# %% [markdown]
# How much of each box is the object?

# %%
rows = []
for number, mask in enumerate(object_masks(scene.instance), start=1):
    x0, y0, x1, y1 = mask_box(mask)
    rows.append(
        {
            "object": number,
            "class": CLASSES[scene.semantic[mask][0]],
            "pixels": int(mask.sum()),
            "box": f"{x1 - x0} x {y1 - y0}",
            "share of its box": mask.sum().item() / ((x1 - x0) * (y1 - y0)),
        }
    )
tables.show_table(rows, digits=2)

# %% [markdown]
# A lamp post is thin: most of its box is something else. And what would be the box of
# the sky? To say where something is, name its *pixels*. That is segmentation. But
# "which pixels?" turns out to be three different questions.

# %% [markdown]
# ## The idea
#
# | task | 中文 | what a pixel gets |
# |---|---|---|
# | semantic segmentation | 语义分割 | a class |
# | instance segmentation | 实例分割 | a class and an object, or nothing |
# | panoptic segmentation | 全景分割 | a class, and an object if it can be counted |
#
# - **Semantic** segmentation (语义分割; also *full-pixel* semantic segmentation,
#   全像素语义分割) sorts every pixel into a class. It suits what has no shape of its
#   own and cannot be counted: sky, grass, road.
# - **Instance** segmentation (实例分割) gives a class *and* the number of the object.
#   It suits what can be counted and stands alone: people, animals, tools. Most pixels
#   get nothing.
# - **Panoptic** segmentation (全景分割) does both: instances for the foreground,
#   classes for the background. Every pixel has a semantic label, and an instance number
#   where there is one.
#
# What cannot be counted (不可数) is called **stuff**, what can be counted (可数)
# **things**. Which class is which is a decision of the data set, not of nature: a crowd
# can be stuff, every person a thing.
#
# With $P$ the pixels, $K$ classes and the label *void* for pixels that nobody could
# name:
#
# $$\text{semantic: } P \to \{0, \dots, K-1\} \cup \{\text{void}\}$$
# $$\text{instance: } \{(\text{mask}_1, \text{class}_1), \dots\}, \quad
# \text{mask}_i \subseteq P, \text{ may overlap}$$
# $$\text{panoptic: } P \to \{(\text{class}, \text{object})\} \cup \{\text{void}\},
# \quad \text{stuff has object } 0$$
#
# Two data sets have set the formats in which all this is stored: **COCO** (photographs
# of everyday things) and **Cityscapes** (streets, seen from a car). You will meet both
# names again and again. Void is stored as 255, which this course calls `IGNORE`.
#
# The Toytown scene and a photograph, each in all three:


# %%
def three_tasks(sample, palette):
    """The picture, its classes, its objects, and both at once."""
    classes = colorize(sample.semantic, palette)
    used = [palette[label] for label in sample.semantic.unique() if label != IGNORE]
    objects = torch.from_numpy(viz.color_objects(sample.instance, beside=used))
    thing = (sample.instance > 0)[..., None]
    return {
        "picture": sample.image,
        "semantic": classes,
        "instance": objects,
        "panoptic": torch.where(thing, objects, classes),
    }


viz.show_images(
    three_tasks(scene, PALETTE),
    columns=2,
    alt="A street in four panels. Semantic: all cars in one colour. Instance: every "
    "car, person and lamp in its own colour, the rest black. Panoptic: both together.",
)

# %%
viz.show_images(
    three_tasks(cup, photographs.PALETTE),
    columns=2,
    alt="A cup of coffee in four panels. Cup, saucer and spoon are things; the coffee "
    "and the table are stuff: coloured by class, absent as objects.",
)

# %% [markdown]
# In this course a picture with its truth is a `Sample`: all three tasks follow from the
# two label maps in it. This is the usual way to look at one:

# %%
viz.show_sample(
    scene,
    CLASSES,
    PALETTE,
    alt="The street again: picture, classes with a legend of their names, and objects.",
)

# %%
for name, part in scene._asdict().items():
    low, high = part.min().item(), part.max().item()
    print(f"{name:9} {tuple(part.shape)!s:14} {part.dtype}  {low:.0f} to {high:.0f}")

# %% [markdown]
# Who is stuff and who is a thing, in both pictures:

# %%
for sample, names, things in (
    (scene, CLASSES, THINGS),
    (cup, photographs.CLASSES, photographs.THINGS),
):
    tables.show_table(
        [
            {
                "class": names[label],
                "kind": "thing" if label in things else "stuff",
                "pixels": int((sample.semantic == label).sum()),
                "objects": len(
                    object_masks(sample.instance * (sample.semantic == label))
                ),
            }
            for label in sample.semantic.unique().tolist()
        ]
    )
    print()

# %% [markdown]
# ## Build it
#
# ### Label map and instance map
#
# From objects to classes is easy: every object has one class. But an instance map knows
# nothing of stuff. Whatever is no object becomes void:

# %%
class_of = torch.full((int(scene.instance.max()) + 1,), IGNORE)
class_of[scene.instance] = torch.where(scene.instance > 0, scene.semantic, IGNORE)
things_only = class_of[scene.instance]

print("class of object 0, 1, 2, ...:", class_of.tolist())
print(f"pixels without a class now: {(things_only == IGNORE).float().mean():.1%}")

# %% [markdown]
# The other way round, from classes to objects, you have to guess: pixels of one class
# that touch each other are probably one object. Such a patch is a **connected
# component**. Here is the shortest way to find them: give every pixel its own number,
# then let every pixel take over the largest number among its neighbours, until nothing
# changes.


# %%
def components(mask):
    """Number the connected parts of a mask: (H, W) bool -> (H, W) int64, 0 outside."""
    numbers = torch.arange(1, mask.numel() + 1).view(mask.shape) * mask
    while True:
        padded = F.pad(numbers, (1, 1, 1, 1))
        around = padded.unfold(0, 3, 1).unfold(1, 3, 1)  # (H, W, 3, 3)
        grown = around.amax(dim=(2, 3)) * mask
        if torch.equal(grown, numbers):
            return numbers
        numbers = grown


cars = scene.semantic == CLASSES.index("car")
things = scene.instance > 0  # all of them, as one mask
mine, theirs = components(things), connected_components(things)
pairs = torch.stack([mine[things], theirs[things]]).unique(dim=1)
print("parts:", len(mine[things].unique()), "and", int(theirs.max()))
print("the same parts:", pairs.shape[1] == int(theirs.max()))

# %% [markdown]
# The package's version gives the same parts, numbered from 1. Over all thing classes:

# %%
guessed = objects_from_classes(scene.semantic, THINGS)
print(f"{int(scene.instance.max())} objects, {int(guessed.max())} components")

# %%
viz.show_images(
    {
        "classes": colorize(scene.semantic, PALETTE),
        "true objects": viz.color_objects(scene.instance),
        "components": viz.color_objects(guessed),
    },
    alt="Three panels. In the true objects the cars that stand behind each other have "
    "different colours; as connected components of one class they melt into one.",
)

# %% [markdown]
# Touching cars melt into one. The opposite happens too: a lamp post in front cuts a car
# in two. Count both over all scenes, and on the photograph of 24 coins, which lie
# apart:


# %%
def compare(samples, things):
    """True objects, components, objects that share one, objects cut into several."""
    counts = {"objects": 0, "components": 0, "sharing": 0, "cut": 0}
    for sample in samples:
        parts = objects_from_classes(sample.semantic, things)
        both = torch.stack([sample.instance, parts])[:, sample.instance > 0]
        links = both.unique(dim=1)  # which object meets which component
        shared = (links[1][:, None] == links[1]).sum(dim=1) > 1
        counts["objects"] += len(both[0].unique())
        counts["components"] += len(both[1].unique())
        counts["sharing"] += len(links[0][shared].unique())
        counts["cut"] += int((links[0].unique(return_counts=True)[1] > 1).sum())
    return counts


coins = photographs.Photographs("coins")[0]
tables.show_table(
    [
        {"pictures": "40 streets"} | compare(town, THINGS),
        {"pictures": "coins"} | compare([coins], photographs.THINGS),
    ]
)

# %% [markdown]
# So counting components counts coins, and miscounts cars.
#
# ### Panoptic: two numbers in one PNG
#
# A panoptic map must store two numbers per pixel. Cityscapes packs class and object
# into one, COCO spreads a large number over the three bytes of a colour:
#
# $$\text{id} = 1000 \cdot \text{class} + \text{object}, \qquad
# \text{id} = R + 256\,G + 65536\,B$$
#
# This course numbers objects from 1, so that object 0 can mean stuff. The files of
# Cityscapes number them from 0 and give stuff its plain class; exercise 1.4 reads one.

# %%
ids = 1000 * scene.semantic + scene.instance
red, green, blue = ids % 256, ids // 256 % 256, ids // 65536
rgb = torch.stack([red, green, blue], dim=-1).to(torch.uint8)

for number in ids.unique()[-3:].tolist():
    color = rgb[ids == number][0].tolist()
    print(f"{number} = {color[0]} + 256 * {color[1]} + 65536 * {color[2]}")

# %% [markdown]
# And back, through a real PNG file in memory. The package does the same:

# %%
file = io.BytesIO()
Image.fromarray(rgb.numpy()).save(file, "PNG")
read = torch.from_numpy(np.array(Image.open(file)))
wide = read.long()  # before multiplying: a byte cannot hold 256 * G
again = wide[..., 0] + 256 * wide[..., 1] + 65536 * wide[..., 2]

print("nothing lost:", torch.equal(again, ids))
packed = panoptic_ids(scene.semantic, scene.instance)
print("package, numbers:", torch.equal(packed, ids))
print("package, colours:", torch.equal(ids_to_rgb(ids), rgb))
print("package, back:", torch.equal(rgb_to_ids(read), ids))
semantic, instance = split_ids(again)
print("classes:", torch.equal(semantic, scene.semantic))
print("objects:", torch.equal(instance, scene.instance))

# %% [markdown]
# ### Run-length code
#
# A mask is mostly long runs of the same value, so store the lengths (*run-length
# encoding*, RLE): zeros, ones, zeros, ... COCO runs **down the columns**, and the first
# count is always of zeros.


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
# `~small` starts with a one, so its code starts with a 0: no zeros first. Decoding
# repeats 0, 1, 0, 1, ... as often as the counts say. Area and box need no decoding at
# all.

# %%
code = encode_rle(cars)
runs = torch.tensor(code["counts"])
ones = torch.arange(len(runs)) % 2
decoded = ones.repeat_interleave(runs).view(cars.shape[::-1]).T.bool()

print(f"{cars.numel()} pixels, {len(runs)} counts")
print("same code:", code["counts"] == run_lengths(cars))
print("same mask:", torch.equal(decoded, cars), torch.equal(decode_rle(code), cars))
print("area:", sum(code["counts"][1::2]), rle_area(code), int(cars.sum()))
print("box:", rle_box(code), mask_box(cars))

# %% [markdown]
# ### Polygons
#
# People annotate by clicking vertices; COCO stores them as flat lists
# $x, y, x, y, \dots$. To fill a polygon you need a convention for its border. Ours:
# pixel $(r, c)$ is the square from $(c, r)$ to $(c+1, r+1)$, and it is inside if its
# *centre* is. A centre is inside if a ray from it to the left crosses the outline an
# **odd** number of times.


# %%
def fill(ring, height, width):
    """The pixels inside a ring of (x, y) vertices: (V, 2) -> (H, W) bool."""
    odd = torch.zeros(height, width).bool()
    y = torch.arange(height)[:, None] + 0.5  # centres
    x = torch.arange(width)[None] + 0.5
    for (x0, y0), (x1, y1) in zip(ring, ring.roll(-1, dims=0), strict=True):
        if y0 == y1:
            continue  # a ray along the edge does not cross it
        meets = (torch.minimum(y0, y1) <= y) & (y < torch.maximum(y0, y1))
        odd ^= meets & (x0 + (y - y0) * (x1 - x0) / (y1 - y0) <= x)
    return odd


[coin_ring] = photographs.rings(photographs.outlines("coins")[6])
coin = polygons_to_mask([coin_ring], (303, 384))
print(f"{len(coin_ring)} vertices, {int(coin.sum())} pixels")
print("same pixels:", torch.equal(fill(coin_ring, 303, 384), coin))

# %% [markdown]
# Back from a mask to a polygon: walk along the edges of its pixels. Nothing is lost,
# but there is a corner at every stair, so annotation tools *simplify* (Douglas and
# Peucker: drop vertices that lie closer than a tolerance to the line between those that
# are kept). How alike two masks are, we measure by their **IoU**, *intersection over
# union*: the pixels in both, divided by the pixels in either. 1 means identical.


# %%
def iou(a, b):
    """Pixels in both, divided by pixels in either."""
    return ((a & b).sum() / (a | b).sum()).item()


[traced] = mask_to_polygons(coin)
rows = []
for tolerance in (0, 0.5, 1, 2, 4, 8):
    ring = simplify(traced, tolerance)
    again = polygons_to_mask([ring], coin.shape)
    rows.append(
        {"tolerance": tolerance, "vertices": len(ring), "IoU": iou(coin, again)}
    )
tables.show_table(rows)

# %% [markdown]
# ### One-hot masks
#
# Networks and many losses want one mask per class. Void belongs to none of them, and
# that survives the round trip only if you keep it. The photograph of the cat has a
# patch that the annotator could not name:

# %%
cat = photographs.Photographs("cat")[0]
masks = one_hot(cat.semantic, len(photographs.CLASSES))
print(tuple(cat.semantic.shape), "->", tuple(masks.shape))
print("back:", torch.equal(from_one_hot(masks), cat.semantic))
careless = masks.int().argmax(dim=0)
wrong = (careless == 0) & (cat.semantic == IGNORE)
print("void pixels that argmax turns into background:", int(wrong.sum()))

# %% [markdown]
# ## What does each encoding lose?
#
# Now count. Each encoding is a function that stores a sample and reads it back; what
# comes back is compared with what went in, over all 40 streets.


# %%
def reread(array, form, **options):
    """An array after a trip through an image file in memory."""
    file = io.BytesIO()
    Image.fromarray(array.numpy()).save(file, form, **options)
    return torch.from_numpy(np.array(Image.open(file)))


def class_png(sample):
    """Only the classes are stored, 8 bits; the objects must be guessed."""
    semantic = reread(sample.semantic.to(torch.uint8), "PNG").long()
    return semantic, objects_from_classes(semantic, THINGS)


def panoptic_png(sample, form="PNG", **options):
    """Both are stored, in the colours of a PNG (or, by mistake, of a JPEG)."""
    rgb = ids_to_rgb(panoptic_ids(sample.semantic, sample.instance))
    ids = rgb_to_ids(reread(rgb, form, **options))
    return ids // 1000, ids % 1000


# %%
def object_codes(sample):
    """A run-length code per object, as in COCO's instances: no stuff."""
    semantic = torch.full_like(sample.semantic, IGNORE)
    instance = torch.zeros_like(sample.instance)
    for number, mask in enumerate(object_masks(sample.instance), start=1):
        again = decode_rle(encode_rle(mask))
        semantic[again], instance[again] = sample.semantic[mask][0], number
    return semantic, instance


def outlines(sample, tolerance, holes):
    """Polygons of every stuff class and object, simplified, painted one by one."""
    ids = panoptic_ids(sample.semantic, sample.instance)
    again = torch.full_like(ids, 1000 * IGNORE)
    for number in ids.unique():  # stuff first: its numbers are smaller
        rings = [simplify(ring, tolerance) for ring in mask_to_polygons(ids == number)]
        again[polygons_to_mask(rings, ids.shape, holes=holes)] = number
    return split_ids(again)


# %%
trips = {
    "panoptic PNG": panoptic_png,
    "polygons, exact": lambda s: outlines(s, 0, holes=True),
    "polygons, no holes": lambda s: outlines(s, 0, holes=False),
    "polygons, 1 pixel": lambda s: outlines(s, 1, holes=True),
    "RLE of objects": object_codes,
    "class PNG, 8 bits": class_png,
}


def score(trip, samples):
    """Per cent of pixels with their class, and objects that come back exactly."""
    right = pixels = objects = kept = 0
    for sample in samples:
        semantic, instance = trip(sample)
        right += int((semantic == sample.semantic).sum())
        pixels += semantic.numel()
        want = {mask.numpy().tobytes() for mask in object_masks(sample.instance)}
        got = {mask.numpy().tobytes() for mask in object_masks(instance)}
        objects, kept = objects + len(want), kept + len(want & got)
    return {"class kept, %": 100 * right / pixels, "objects": objects, "kept": kept}


# %%
tables.show_table(
    [{"encoding": n} | score(t, town) for n, t in trips.items()], digits=2
)

# %% [markdown]
# Read it from the top. The panoptic PNG and exact polygons lose nothing. Polygons
# without holes lose what shows through a shape; in these streets that is next to
# nothing (wait for the cup below). Simplified ones shift borders by a pixel, and hardly
# any object comes back *exactly*. RLE of objects keeps every object, and no stuff at
# all. A class PNG keeps every class, and merges the objects that touch.
#
# How bad is "not exactly"? It depends on the size of the object:

# %%
tolerances = (0, 0.5, 1, 1.5, 2, 3)
trip_iou = {"under 100 pixels": [], "100 pixels and more": []}
for tolerance in tolerances:
    found = {name: [] for name in trip_iou}
    for sample in town:
        for mask in object_masks(sample.instance):
            rings = [simplify(ring, tolerance) for ring in mask_to_polygons(mask)]
            again = polygons_to_mask(rings, mask.shape)
            name = list(found)[int(mask.sum() >= 100)]
            found[name].append(iou(mask, again))
    for name, values in found.items():
        trip_iou[name].append(float(np.mean(values)))
tables.show_table(
    [
        {"tolerance": tolerance} | {name: trip_iou[name][i] for name in trip_iou}
        for i, tolerance in enumerate(tolerances)
    ]
)

# %%
viz.show_curves(
    {name: (tolerances, values) for name, values in trip_iou.items()},
    xlabel="tolerance of the simplification, pixels",
    ylabel="mean IoU with the true mask",
    alt="Two falling curves: mean IoU after simplifying polygons. Small objects lose "
    "more than large ones at every tolerance above half a pixel.",
)

# %% [markdown]
# The outline that suits a near car ruins a distant person. Keep that in mind when you
# meet IoU as a *score* in chapter 03: annotations themselves are not perfect.
#
# Two losses need a photograph. An outline cannot have a hole in COCO's format, and a
# label map cannot say that one object goes on *behind* another:

# %%
porcelain = cup.semantic == photographs.CLASSES.index("cup")
rings = mask_to_polygons(porcelain)
solid = polygons_to_mask(rings, porcelain.shape, holes=False)
print(f"cup: {len(rings)} rings, {int(porcelain.sum())} pixels,", end=" ")
print(f"without holes {int(solid.sum())}: the coffee is porcelain too")

covered = torch.zeros(cup.semantic.shape)
for annotation in photographs.outlines("coffee"):
    covered += polygons_to_mask(photographs.rings(annotation), covered.shape)
print(f"pixels under two outlines or more: {int((covered > 1).sum())} of", end=" ")
print(f"{covered.numel()}; a label map keeps one of them")

# %% [markdown]
# ### What each encoding costs
#
# The photograph of the man with the camera, 512 x 512 pixels, in kilobytes. The sizes
# of PNG files vary a little with the version of the compressor.

# %% tags=["tol=3.0"]
man = photographs.Photographs("camera")[0]
man_ids = panoptic_ids(man.semantic, man.instance)
parts = [man_ids == number for number in man_ids.unique()]


def png(array):
    file = io.BytesIO()
    Image.fromarray(array.numpy()).save(file, "PNG")
    return len(file.getvalue())


def polygon_text(tolerance):
    rings = [
        simplify(ring, tolerance) for mask in parts for ring in mask_to_polygons(mask)
    ]
    return len(json.dumps([ring.flatten().int().tolist() for ring in rings]))


sizes = {
    "one-hot, float32": 4 * len(photographs.CLASSES) * man_ids.numel(),
    "label map, int64": 8 * man_ids.numel(),
    "label map, uint8": man_ids.numel(),
    "run-length codes, JSON": len(json.dumps([encode_rle(mask) for mask in parts])),
    "polygons, exact, JSON": polygon_text(0),
    "polygons, 1 pixel, JSON": polygon_text(1),
    "panoptic PNG": png(ids_to_rgb(man_ids)),
    "class PNG": png(man.semantic.to(torch.uint8)),
}
tables.show_table([{"encoding": n, "KB": b / 1024} for n, b in sizes.items()], digits=1)

# %% [markdown]
# A PNG compresses label maps so well that nothing else is worth the trouble for storing
# them. Run-length codes are for masks that overlap, polygons for editing, one-hot masks
# for the moment of computing a loss, and never for storing.

# %% [markdown]
# ## Where it breaks
#
# Encodings can be lossless and still be destroyed by the next line of code. Labels are
# *names*, not amounts. Halve the size of a label map as you would halve a picture, by
# averaging four pixels into one, and the average of sky (0) and road (2) is building
# (1):

# %%
height, width = scene.semantic.shape
blocks = scene.semantic.view(height // 2, 2, width // 2, 2).transpose(1, 2).flatten(2)
averaged = blocks.double().mean(dim=-1).round().long()
nearest = blocks[..., 0]
invented = (averaged[..., None] != blocks).all(dim=-1)

print(f"{int(invented.sum())} of {invented.numel()} pixels got a class that", end=" ")
print("none of the four pixels had")

# %%
viz.show_labels(
    {
        "nearest": nearest,
        "averaged": averaged,
        "invented": torch.where(invented, averaged, IGNORE),
    },
    CLASSES,
    PALETTE,
    alt="Three label maps. Averaging draws thin seams of wrong classes along the "
    "borders; the third panel shows only those seams.",
)

# %% [markdown]
# Every resize, rotation and crop of your data can do this. Chapter 02 measures what it
# costs a trained network and builds transforms that cannot.
#
# And is a mask with an IoU of 0.95 good? Chapter 03 asks. Telling the touching cars
# apart, finally, needs networks that see objects: chapters 14 and 15.

# %% [markdown]
# ## Common mistakes
#
# **Multiplying bytes.** Wrong: `rgb[..., 0] + 256 * rgb[..., 1] + 65536 * rgb[..., 2]`
# on the bytes as they were read. PyTorch wraps round in silence, and so does `rgb << 8`
# in NumPy; `256 * rgb` at least stops with an OverflowError since NumPy 2. Right: widen
# first, `rgb.long()` or `rgb.astype(int)`.

# %%
wrapped = rgb[..., 0] + 256 * rgb[..., 1] + 65536 * rgb[..., 2]
print("classes:", (ids // 1000).unique().tolist())
print("classes after the wrap:", (wrapped.long() // 1000).unique().tolist())

# %% [markdown]
# **Rows instead of columns.** Wrong: `decoded.view(height, width)`. COCO's runs go down
# the columns. Right: `decoded.view(width, height).T`.

# %%
sideways = ones.repeat_interleave(runs).view(cars.shape).bool()
print(f"IoU of the cars, read along the rows: {iou(sideways, cars):.3f}")
print(f"and their area is still right: {int(sideways.sum())} = {int(cars.sum())}")

# %%
viz.show_images(
    {"cars": cars, "read along the rows": sideways},
    alt="Left the mask of the cars. Right the same counts read along the rows: "
    "unrelated horizontal dashes.",
)

# %% [markdown]
# **Components taken for objects.** Wrong: `ndimage.label(semantic == car)` as ground
# truth for instances. It was counted above: it is right for coins and wrong for
# traffic. Right: store the instances.
#
# **Width taken for a corner.** Wrong: COCO's `bbox` read as $(x_0, y_0, x_1, y_1)$; it
# is $(x, y, \text{width}, \text{height})$. Right: `x, y, x + width, y + height`.


# %%
def box_mask(x0, y0, x1, y1, size):
    mask = torch.zeros(size).bool()
    mask[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)] = True
    return mask


overlaps = []
for annotation in photographs.outlines("coins"):
    x, y, wide, high = (round(v) for v in annotation["bbox"])
    true_box = box_mask(x, y, x + wide, y + high, coin.shape)
    overlaps.append(iou(true_box, box_mask(x, y, wide, high, coin.shape)))
empty = sum(overlap == 0 for overlap in overlaps)
print(f"mean IoU of the misread boxes: {np.mean(overlaps):.2f}")
print(f"{empty} of {len(overlaps)} do not touch their coin")

# %% [markdown]
# **Labels saved as JPEG.** Wrong: `image.save("labels.jpg")`. JPEG stores what looks
# alike, and a label is not a shade. Right: PNG, always.

# %% tags=["tol=2.0"]
jpeg = score(lambda s: panoptic_png(s, "JPEG", quality=95), town)
print(f"panoptic map through JPEG: {jpeg['class kept, %']:.1f} % of the classes kept")
grey = reread(scene.semantic.to(torch.uint8), "JPEG", quality=95)
print(f"class map through JPEG: {100 * (grey == scene.semantic).double().mean():.1f} %")

# %% [markdown]
# **Eight bits for many objects.** Wrong: `instance.to(torch.uint8)`, or a grey PNG. A
# byte counts to 255; an aerial picture or a dish of cells has more objects. Object 256
# becomes 0, no object; object 257 becomes object 1. Right: three bytes, or a 16-bit
# PNG. All our streets side by side make such a picture:

# %%
panorama, most = [], 0
for sample in town:
    numbered = torch.where(sample.instance > 0, sample.instance + most, 0)
    panorama.append(numbered)
    most += int(sample.instance.max())
panorama = torch.cat(panorama, dim=1)
stored = rgb_to_ids(ids_to_rgb(panorama))
print("objects in three bytes:", len(stored.unique()) - 1)
print("objects in one byte:", len(panorama.to(torch.uint8).unique()) - 1)

# %% [markdown]
# **Class 0 packed as number 0.** In COCO's panoptic files the number 0 means void. If
# your class 0 is stuff, `1000 * class + object` gives it exactly that number, and every
# evaluation that follows COCO skips it. Right: number the classes from 1 in such files.

# %%
streets = [panoptic_ids(sample.semantic, sample.instance) for sample in town]
lost = sum(int((each == 0).sum()) for each in streets)
total = sum(each.numel() for each in streets)
print(f"pixels that COCO's tools would take for void: {lost / total:.1%}")

# %% [markdown]
# ## Exercises
#
# Write your answer between the lines, run the cell, read what it says. `ex.NAME.hint()`
# gives hints, one after the other. The solution is in the toggle below each exercise.

# %%
from segcourse.exercises import tasks as ex

# %% [markdown]
# ### 1.1 Numbers of colours
#
# `rgb` are the bytes of a panoptic PNG, (H, W, 3) uint8. Return the numbers
# $R + 256\,G + 65536\,B$, (H, W). Hints: `ex.panoptic_png.hint()`.


# %%
def numbers_of_colours(rgb): ...  # your code


ex.panoptic_png.check(numbers_of_colours)

# %%
ex.panoptic_png.show_solution()

# %% [markdown]
# ### 1.2 Run lengths
#
# Write the run-length code without looking up: `mask` is (H, W) bool; return the list
# of counts down the columns, zeros first. Hints: `ex.run_length_code.hint()`.


# %%
def run_lengths_of(mask): ...  # your code


ex.run_length_code.check(run_lengths_of)

# %%
ex.run_length_code.show_solution()

# %% [markdown]
# ### 1.3 The box of a mask
#
# Return COCO's box of a mask: $(x, y, \text{width}, \text{height})$ in pixels, and
# $(0, 0, 0, 0)$ for an empty mask. Hints: `ex.box.hint()`.


# %%
def coco_box(mask): ...  # your code


ex.box.check(coco_box)

# %%
ex.box.show_solution()

# %% [markdown]
# ### 1.4 Fix this bug: how many cars?
#
# In a file of Cityscapes, 26000 is the first car, 26001 the second; stuff has its plain
# class number (11 is building), and so have groups that nobody could tell apart (26).
# This function should count the objects of each class. It finds objects of class 0 in
# every picture. Copy it, find out why, mend it. Hints: `ex.cityscapes.hint()`.
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
def count_objects(ids): ...  # your code


ex.cityscapes.check(count_objects)

# %%
ex.cityscapes.show_solution()

# %% [markdown]
# ### 1.5 Experiment: how few vertices?
#
# Trace a mask, simplify its rings with the tolerances 0, 0.5, 1, 2 and 4 pixels, fill
# them again. Return the smallest number of vertices (of all rings together) whose round
# trip has an IoU of at least `wanted`. Hints: `ex.outline.hint()`.


# %%
def fewest_vertices(mask, wanted): ...  # your code


ex.outline.check(fewest_vertices)

# %%
ex.outline.show_solution()

# %% [markdown]
# ## Quiz
#
# Open every option; each says why it is right or wrong.

# %% [markdown]
# **Q1. A camera counts the cars in a car park from above. Which task is it?**
#
# <details class="quiz wrong"><summary>Semantic segmentation 语义分割</summary>
#
# Not quite: it says which pixels are car, but not where one car ends and the next
# begins.
#
# </details>
# <details class="quiz right"><summary>Instance segmentation 实例分割</summary>
#
# Right: objects of one class are told apart, and nobody asks about the asphalt.
#
# </details>
# <details class="quiz wrong"><summary>Panoptic segmentation 全景分割</summary>
#
# It would do, but it also names every pixel of stuff, which this question does not
# need.
#
# </details>

# %% [markdown]
# **Q2. Which of these can one panoptic map not express?**
#
# <details class="quiz wrong"><summary>Two cars that touch</summary>
#
# It can: they have the same class and different numbers.
#
# </details>
# <details class="quiz wrong"><summary>Pixels that nobody could name</summary>
#
# It can: they get the number for void.
#
# </details>
# <details class="quiz right"><summary>What a person hides of a car</summary>
#
# Right: one pixel holds one number. Only a list of masks can overlap.
#
# </details>

# %% [markdown]
# **Q3. The first count of a run-length code is 0. What does that mean?**
#
# <details class="quiz wrong"><summary>The mask is empty</summary>
#
# No: an empty mask has a single count, the number of its pixels.
#
# </details>
# <details class="quiz right"><summary>The top left pixel is set</summary>
#
# Right: the first count is of zeros, and there are none before the first one.
#
# </details>
# <details class="quiz wrong"><summary>The file is broken</summary>
#
# No, it is legal, and needed: without it a decoder would invert the mask.
#
# </details>

# %% [markdown]
# **Q4. A tool exports your ring-shaped gasket as COCO polygons. What comes back?**
#
# <details class="quiz right"><summary>A full disc</summary>
#
# Right: a pixel belongs to the object if any of its polygons encloses it, so the hole
# is filled.
#
# </details>
# <details class="quiz wrong"><summary>The same ring</summary>
#
# Only if the hole is cut open by a seam, or if the tool writes a run-length code
# instead.
#
# </details>
# <details class="quiz wrong"><summary>Two objects</summary>
#
# No: several polygons in one annotation are pieces of one object.
#
# </details>

# %% [markdown]
# **Q5. You read a panoptic PNG and find far too few segments. What is the first
# suspect?**
#
# <details class="quiz wrong"><summary>The PNG was compressed a lot</summary>
#
# PNG compression loses nothing, at any level.
#
# </details>
# <details class="quiz right"><summary>Bytes were multiplied as bytes</summary>
#
# Right: 256 * G wraps round to 0 in a byte, and only R is left.
#
# </details>
# <details class="quiz wrong"><summary>The objects were too small</summary>
#
# Size does not matter to a map that stores every pixel.
#
# </details>

# %% [markdown]
# **Q6. Why is a person a thing and the sky stuff?**
#
# <details class="quiz wrong"><summary>People are small, skies large</summary>
#
# Size does not decide: a thing may fill the picture, a puddle of stuff may be tiny.
#
# </details>
# <details class="quiz wrong"><summary>People stand in front</summary>
#
# Depth does not decide: fog in front of everything is stuff.
#
# </details>
# <details class="quiz right"><summary>The data set counts one only</summary>
#
# Right: it is a convention. "Three people" makes sense to us, "three skies" does not,
# and a crowd may be declared stuff.
#
# </details>

# %% [markdown]
# ## Take-aways
#
# - Semantic segmentation names pixels, instance segmentation tells objects apart,
#   panoptic segmentation does both: a class for every pixel, a number for every thing.
# - A panoptic map holds everything that a label map and an instance map hold. Only a
#   list of masks can overlap.
# - Connected components are objects only where nothing touches.
# - PNG, run-length codes and exact polygons lose nothing; holes, stuff, overlaps and
#   small shapes are lost by encodings that leave no room for them.
# - Labels are names: never average, multiply or compress them as if they were amounts.

# %% [markdown]
# ## Further reading
#
# - Kirillov, He, Girshick, Rother, Dollár, [Panoptic
#   Segmentation](https://arxiv.org/abs/1801.00868), CVPR 2019: the task, and why it
#   unites the other two.
# - Lin and others, [Microsoft COCO](https://arxiv.org/abs/1405.0312), ECCV 2014:
#   polygons, run-length codes and crowds; the format is described on the [data format
#   page](https://cocodataset.org/#format-data).
# - Cordts and others, [The Cityscapes Dataset](https://arxiv.org/abs/1604.01685), CVPR
#   2016: classes, instances and groups in one number.
# - In Chinese: [Panoptic Segmentation 全景分割, reading
#   notes](https://blog.csdn.net/zziahgf/article/details/79063398) and
#   [语义分割和实例分割概念, the concepts of semantic and instance
#   segmentation](https://blog.csdn.net/yql_617540298/article/details/83143182).
# - The terms of this chapter, in English and Chinese, are in the book's glossary.
