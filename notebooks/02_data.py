# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # Data: labels that stay labels
#
# A network learns what its masks say, not what you meant. In this chapter you learn to
# load masks of any format, to move picture and mask together, and to let a function
# look for the mistakes that everybody makes.
#
# After this chapter you can
#
# - read masks stored as numbers, palettes, colours, or black and white, without
#   changing a single label;
# - transform picture and mask with one random draw, labels by the nearest pixel;
# - use *void* for pixels that nobody labelled, in training and in scoring;
# - count how often every class occurs, and inspect a data set with one call;
# - say what each mistake costs, because you have seen it measured.
#
# You need chapter 01 (tasks). Scores are given as *mean IoU*: 1 is perfect, and
# chapter 03 explains it. The notebook takes about a minute on one CPU thread.

# %% tags=["hide-cell"]
from importlib.util import find_spec

if find_spec("segcourse") is None:  # on Colab
    get_ipython().system("pip install -q git+https://github.com/OWNER/REPO")

import torch

from segcourse.training import seed_everything

seed_everything(0)

# %%
import io

import numpy as np
import torch.nn.functional as F
from PIL import Image

from segcourse import tables, viz
from segcourse.data import (
    Cached,
    Sample,
    Toytown,
    batches,
    inspect,
    measured,
    stack,
    toytown,
)
from segcourse.data import transforms as T
from segcourse.losses import class_counts, cross_entropy, log_frequency_weights
from segcourse.metrics import iou, mean_iou
from segcourse.models import UNet
from segcourse.ops import IGNORE
from segcourse.training import evaluate, fit, poly, predict, warmup

CLASSES, PALETTE = toytown.CLASSES, toytown.PALETTE

sample = Toytown(1)[0]

# %% [markdown]
# ## The problem
#
# You want to train at half the size, so you resize picture and mask. Several published
# tutorials do it with the same function for both, the bilinear one, and turn the result
# into whole numbers again:

# %%
mask = sample.semantic[None, None].float()
averaged = F.interpolate(mask, (48, 64), mode="bilinear", antialias=True)
averaged = averaged[0, 0].long()
chosen = T.resize((48, 64))(sample).semantic  # what this course does
viz.show_labels(
    {"the mask": sample.semantic, "bilinear": averaged, "nearest": chosen},
    CLASSES,
    PALETTE,
    alt="A label map of a street and two smaller versions. In the bilinear one, every "
    "outline has a seam of a foreign class, and the street lamps are gone.",
)

# %% [markdown]
# No error, no warning, and at a glance the same mask. Now count: how many pixels of the
# small mask have a label that *none* of the four pixels below them has?

# %%
blocks = F.unfold(mask, kernel_size=2, stride=2)[0].view(4, 48, 64)
invented = (blocks != averaged).all(dim=0)
print(f"invented labels: {invented.sum()} of {invented.numel()} pixels")
print(f"by nearest:      {(blocks != chosen).all(dim=0).sum()}")

# %%
tables.show_table(
    [
        {
            "class": name,
            "pixels by nearest": int((chosen == number).sum()),
            "bilinear": int((averaged == number).sum()),
        }
        for number, name in enumerate(CLASSES)
    ]
)

# %% [markdown]
# Nearly all lamp pixels are gone: lamps are thin, so each of them was averaged with
# what is behind. Other classes grew out of nothing. A network trained on this learns
# exactly this. (`antialias=True` is what `Resize` of torchvision and of Pillow do.)

# %% [markdown]
# ## The idea
#
# A label is a **name**, not a quantity. Class 7 is not more than class 3, and there is
# nothing between them. Bilinear interpolation does not know that: a pixel halfway
# between road (2) and car (5) becomes
#
# $$\tfrac12 \cdot 2 + \tfrac12 \cdot 5 = 3.5 \;\longrightarrow\; 3,$$
#
# and 3 is grass. Draw a row of labels and see what each way of reading it gives when it
# is enlarged four times:

# %%
row = torch.tensor([0, 0, 5, 5, 2, 2, 7, 0]).float()[None, None]
names = {"bilinear": "linear", "nearest": "nearest-exact"}
enlarged = {
    name: F.interpolate(row, scale_factor=4, mode=mode)[0, 0]
    for name, mode in names.items()
}
viz.show_curves(
    enlarged,
    xlabel="column",
    ylabel="label",
    alt="Labels along a row, enlarged four times. Nearest gives steps between 0, 5, 2 "
    "and 7. Bilinear climbs and falls through every number between them.",
)

# %%
for name, labels in enlarged.items():
    print(f"{name:9}", sorted(set(labels.long().tolist())))

# %% [markdown]
# Everything in this chapter follows from three rules:
#
# 1. **Choose labels, never compute with them.**
# 2. **Whatever moves pixels moves their labels too**, by the same amount, decided once.
# 3. **What nobody knows is void**, not background: it is skipped, in the loss and in
#    the score.
#
# A sample of this course has three parts, and each transform treats them by these
# rules:

# %%
for name, part in sample._asdict().items():
    print(f"{name:9} {tuple(part.shape)!s:13} {part.dtype}")

# %%
rows = (
    ("resize, rotate, bend", "bilinear", "nearest", "nearest"),
    ("mirror, crop", "moved", "moved", "moved"),
    ("what was outside", "black", f"{IGNORE} (void)", "0 (no object)"),
    ("brightness, noise, blur", "changed", "untouched", "untouched"),
)
tables.show_table(
    [
        dict(zip(("transform", "image", "semantic", "instance"), row, strict=True))
        for row in rows
    ]
)

# %% [markdown]
# ## Build it
#
# ### Reading masks
#
# A mask file stores one number per pixel, or something that stands for a number. Let us
# write the same mask in the usual formats and read it back. Everything happens in
# memory; with files on disk it is the same.


# %%
def saved(picture, kind="PNG"):
    """A picture as the bytes of a file, opened again."""
    file = io.BytesIO()
    picture.save(file, kind)
    return Image.open(file)


def labels_in(picture):
    return np.unique(np.array(picture)).tolist()


numbers = Image.fromarray(sample.semantic.numpy().astype(np.uint8))
before, after = labels_in(saved(numbers)), labels_in(saved(numbers, "JPEG"))
print("saved as PNG: ", before)
print("saved as JPEG:", "the same" if after == before else "other labels too")

# %% [markdown]
# JPEG keeps what the eye sees, not what the file says: never store masks in it.
#
# Many data sets use PNG with a **palette** (PASCAL VOC does): numbers inside, and a
# table of colours so that you can look at the mask. Read the numbers. Any conversion
# replaces them by colours or by grey:

# %%
numbers.putpalette([part for color in PALETTE for part in color])
file = saved(numbers)
print("mode", file.mode, "- right:    ", labels_in(file))
print('convert("L"), grey:  ', labels_in(file.convert("L")))
print('convert("RGB"): shape', np.array(file.convert("RGB")).shape)

# %% [markdown]
# Others store **colours** only, and a table beside them. Then you must look up every
# pixel. The trap is in the colours that are not in the table, such as the cream-white
# border that VOC draws around objects: a table that starts with zeros makes them
# class 0, background. Start with void instead:


# %%
def decode(rgb, palette, unknown):
    """Class of every colour: (H, W, 3) uint8, (K, 3) uint8 -> (H, W) int64."""
    table = torch.full((256**3,), unknown)
    weights = torch.tensor([1, 256, 65536])
    table[(palette.long() * weights).sum(dim=-1)] = torch.arange(len(palette))
    return table[(rgb.long() * weights).sum(dim=-1)]


palette = torch.tensor(PALETTE, dtype=torch.uint8)
coloured = palette[sample.semantic]
coloured[40:44] = torch.tensor([224, 224, 192], dtype=torch.uint8)  # VOC's border
for name, unknown in (("zeros", 0), ("void", IGNORE)):
    labels = decode(coloured, palette, unknown)
    print(f"table of {name:6} class 0: {(labels == 0).sum():5}", end="  ")
    print(f"void: {(labels == IGNORE).sum()}")

# %% [markdown]
# `.long()` before the arithmetic matters: 256 times a byte does not fit into a byte.
#
# Masks of two classes are often stored as **black and white**, 0 and 255, because that
# can be looked at. Read as labels, 255 is void in this course and no class at all
# elsewhere:

# %%
cars = torch.where(sample.semantic == CLASSES.index("car"), 255, 0)
logits = torch.zeros(1, 2, *cars.shape)
counted = (cars != IGNORE).sum().item()
print(f"read as it is: {counted} pixels count, all of them background")
print("compared:     ", (cars > 127).long().unique().tolist())
try:
    F.cross_entropy(logits, cars[None])
except (IndexError, RuntimeError) as error:
    print("plain PyTorch:", type(error).__name__)

# %% [markdown]
# **Object numbers** outgrow a byte: a picture of cell nuclei can hold several hundred.
# PNG has 16 bits for that; forcing it into 8 makes different objects one:

# %%
objects = np.arange(0, 400, dtype=np.uint16).reshape(20, 20)
file = saved(Image.fromarray(objects))
print("mode", file.mode, "-", len(labels_in(file)), "objects and background")
print("as 8 bits:", len(np.unique(np.array(file).astype(np.uint8))))

# %% [markdown]
# ### One draw for all parts
#
# Mirroring is the smallest random transform. Written by hand, and compared with the
# package on the same random numbers:


# %%
def mirror(sample):
    if torch.rand(()) < 0.5:  # one coin for everything
        return Sample(*(part.flip(-1) for part in sample))
    return sample


def nearest(labels, height, width):
    """The old pixel under the centre of every new one."""
    rows = (torch.arange(height) + 0.5) * labels.shape[0] / height
    columns = (torch.arange(width) + 0.5) * labels.shape[1] / width
    return labels[rows.long()][:, columns.long()]


same = []
for seed in range(8):
    _ = torch.manual_seed(seed)
    by_hand = mirror(sample)
    _ = torch.manual_seed(seed)
    packaged = T.random_flip()(sample)
    same.append(all(map(torch.equal, by_hand, packaged)))
print("mirror equals random_flip:", all(same))
small = T.resize((60, 50))(sample)
print(
    "nearest equals resize:    ",
    torch.equal(nearest(sample.semantic, 60, 50), small[1]),
)

# %% [markdown]
# The `+ 0.5` is not pedantry. Without it every label is read at the corner of its cell
# instead of the centre, so the whole mask moves against the picture. That is what
# `mode="nearest"` does in PyTorch (and in OpenCV); `"nearest-exact"` reads the centre.
# Six columns, made two:

# %%
line = torch.arange(6.0)[None, None]
for mode in ("nearest", "nearest-exact"):
    print(f"{mode:14}", F.interpolate(line, 2, mode=mode)[0, 0].tolist())

# %% [markdown]
# Transforms are functions from sample to sample, so `compose` is all the machinery we
# need. Black in the masks is void: places that the camera never saw.

# %%
steps = {
    "as it is": T.compose(),
    "mirrored": T.flip,
    "scaled and cropped": T.random_scale_crop((96, 128), (0.6, 1.6)),
    "turned": T.random_rotate(20),
    "bent (U-Net)": T.elastic(6.0),
    "all of it": T.compose(
        T.flip, T.elastic(4.0), T.rotate(10), T.color_jitter(0.4, 0.4)
    ),
}
seed_everything(4)
augmented = {name: change(sample) for name, change in steps.items()}
viz.show_images(
    {name: each.image for name, each in augmented.items()},
    columns=3,
    alt="One street scene six times: unchanged, mirrored, cropped, turned, bent like "
    "rubber, and with all of it plus other colours. Corners without content are black.",
)

# %%
viz.show_labels(
    {name: each.semantic for name, each in augmented.items()},
    CLASSES,
    PALETTE,
    columns=3,
    alt="The label maps of the same six pictures, moved in the same way, with clean "
    "outlines between classes and black void where nothing is known.",
)

# %%
known = set(sample.semantic.unique().tolist()) | {IGNORE}
for name, each in augmented.items():
    labels = set(each.semantic.unique().tolist())
    print(f"{name:18} invented: {sorted(labels - known)}", end="   ")
    print(f"void: {(each.semantic == IGNORE).sum().item()} pixels")

# %% [markdown]
# ### Void
#
# There is always something that nobody labelled: the border of an object, where two
# annotators would disagree; a region that belongs to no class; the padding of a crop.
# Data sets mark it, usually by 255. Toytown can draw such borders:

# %%
bordered = Toytown(1, void=2)[0]
viz.show_sample(
    bordered,
    CLASSES,
    PALETTE,
    alt="A street scene, its classes with a black line of void around each car, person "
    "and lamp, and its objects.",
)

# %% [markdown]
# The loss skips these pixels: it averages over the others, and whatever the network
# says on void has no gradient.

# %%
logits = torch.randn(1, len(CLASSES), 96, 128, requires_grad=True)
cross_entropy(logits, bordered.semantic[None]).backward()
void = bordered.semantic == IGNORE
slopes = logits.grad.abs().sum(dim=1)[0]
print(f"void pixels: {void.sum()}")
print(f"with a gradient: {(slopes[void] > 0).sum()} of them", end=", ")
print(f"{(slopes[~void] > 0).sum()} of the {(~void).sum()} others")

# %% [markdown]
# ### How often does each class occur?
#
# Count before you train: a class of half a percent is easily ignored by the network
# (chapter 05 is about that), and one that never occurs is a mistake in your list.

# %%
scenes = stack(list(Toytown(100)))
counted = scenes.semantic[scenes.semantic != IGNORE]
share = torch.bincount(counted, minlength=len(CLASSES)) / len(counted)
tables.show_table(
    [
        {"class": name, "share of pixels, %": 100 * value}
        for name, value in zip(CLASSES, share.tolist(), strict=True)
    ],
    digits=2,
)

# %% [markdown]
# ### Let a function look
#
# All of this can be checked, so check it, once, before the first training. `inspect`
# looks at every sample and reports what cannot be right (✗), what is rarely right (!)
# and what is fine (✓).

# %% tags=["tol=0.03"]
print(inspect(Toytown(60), classes=CLASSES, other_split=Toytown(60, seed=1)))

# %% [markdown]
# How does it see interpolated masks? Between two classes that differ by two or more,
# labels drawn by hand *jump*; averaged ones *climb* through the numbers between. It
# counts both. And misplaced masks? Borders of a mask should lie on edges of its
# picture. It shifts one against the other and looks where they fit best:

# %%
from segcourse.data import alignment

fits = {}
for name, (down, right) in {"fits": (0, 0), "moved": (-4, 6)}.items():
    found = alignment(sample.image, sample.semantic.roll((down, right), (0, 1)))
    fits[f"mask {name}"] = found.surface
    print(f"mask {name:5}: move it {found.shift[0]} down, {found.shift[1]} right")
viz.show_images(
    fits,
    alt="Two maps of how well mask and picture fit for every shift: a bright point in "
    "the middle for the right mask, and off the middle for the moved one.",
)

# %% [markdown]
# Now a data set with a mistake. This loader mirrors at random, once for the picture and
# once more for the mask:

# %%
seed_everything(0)
flip = T.random_flip()
broken = [(flip(each).image, flip(each).semantic) for each in Toytown(60)]
report = inspect(broken, classes=CLASSES)
for finding in report.errors + report.warnings:
    print(f"{finding.level}: {finding.message}\n  → {finding.remedy}")

# %% [markdown]
# ## Train it
#
# Do such mistakes matter, or does a network average them out? Train the same small
# U-Net twice, for the same steps on the same scenes: once with masks resized by
# nearest, once bilinearly. Both are judged on correct masks. (The loss gives rare
# classes a gentle weight, by how often they occur; chapter 05 explains it.)

# %%
SIZE = (48, 64)


def nearest_labels(sample):
    return T.resize(SIZE)(sample)


def bilinear_labels(sample):
    mask = sample.semantic[None, None].float()
    mask = F.interpolate(mask, SIZE, mode="bilinear", antialias=True)[0, 0]
    return T.resize(SIZE)(sample)._replace(semantic=mask.long())


validation = Cached(T.Transformed(Toytown(80, seed=1), nearest_labels))


# %%
def train(prepare):
    """A small U-Net, trained on labels prepared in this way."""
    seed_everything(0)
    scenes = Cached(T.Transformed(Toytown(240), prepare))
    labels = torch.stack([scene.semantic for scene in scenes.samples])
    weight = log_frequency_weights(class_counts(labels, len(CLASSES)))
    model = UNet(
        len(CLASSES), width=8, depth=3, padding=1, batch_norm=True, dropout=0.0
    )
    history = fit(
        model,
        lambda model, batch: cross_entropy(model(batch[0]), batch[1], weight=weight),
        batches(scenes, batch_size=16),
        steps=300,
        learning_rate=1e-2,
        schedule=warmup(poly(0.9)),
    )
    return model, history


models, histories = {}, {}
for name, prepare in {"nearest": nearest_labels, "bilinear": bilinear_labels}.items():
    models[name], histories[name] = train(prepare)

# %%
viz.show_curves(
    {f"labels {name}": history for name, history in histories.items()},
    xlabel="step",
    ylabel="cross-entropy on its own labels",
    smooth=10,
    alt="Two falling loss curves. That of the bilinear labels stays above the other, "
    "because seams of invented classes cannot be predicted well.",
)

# %% tags=["tol=0.06"]
matrices = {
    name: evaluate(
        model, batches(validation, batch_size=20, shuffle=False), num_classes=8
    )
    for name, model in models.items()
}
scores = {name: iou(matrix).tolist() for name, matrix in matrices.items()}
tables.show_table(
    [
        {"IoU of": name} | {f"labels {arm}": scores[arm][k] for arm in scores}
        for k, name in enumerate(CLASSES)
    ]
    + [
        {"IoU of": "mean"}
        | {f"labels {arm}": mean_iou(matrices[arm]) for arm in matrices}
    ]
)

# %%
shown = [validation[index] for index in (0, 3, 7)]
images = torch.stack([each.image for each in shown])
viz.show_predictions(
    shown,
    {f"labels {name}": predict(model, images) for name, model in models.items()},
    CLASSES,
    PALETTE,
    alt="Three scenes. The network trained on nearest labels finds people and lamps, a "
    "little fat. The other one takes a lamp for a person with a seam of car around it.",
)

# %% [markdown]
# The second network has learnt its labels well: between the lamp, class 7, and what is
# behind it lie the numbers of person and car, so it paints the lamp as a person with a
# seam of car.
#
# ## What did the idea buy?
#
# The same for every mistake of this chapter, three seeds each, with these class weights
# and with plain cross-entropy, measured by `benchmarks/label_errors.py`; the numbers
# are read from its file. A mistake is compared with the right way that differs from it
# in nothing else.

# %%
results = measured("label_errors")
losses = results["losses"]
print(f"{len(results['seeds'])} seeds, {results['steps']} steps of {results['batch']}")


def mean_and_spread(values):
    values = torch.tensor(values)
    return values.mean().item(), (values.max() - values.min()).item() / 2


tables.show_table(
    [
        {"training labels": arm}
        | {
            loss: "{:.3f} ± {:.3f}".format(
                *mean_and_spread(arms[arm]["full truth, mean"])
            )
            for loss, arms in losses.items()
        }
        for arm in losses["plain"]
    ]
)

# %%
PAIRS = {
    "labels bilinear": "labels by nearest",
    "labels bilinear, not antialiased": "labels by nearest",
    "labels by torch's nearest": "labels by nearest",
    "void as class 0": "void ignored",
    "flip, two draws": "flip, one draw",
    "shift, two draws": "shift, one draw",
}


def lost(arms, wrong):
    """The mean IoU that a mistake costs, on average and at least."""
    right, wrong = (arms[arm]["full truth, mean"] for arm in (PAIRS[wrong], wrong))
    costs = [a - b for a, b in zip(right, wrong, strict=True)]
    return sum(costs) / len(costs), min(costs)


tables.show_table(
    [
        {"mistake": arm}
        | {f"lost, {loss}": lost(arms, arm)[0] for loss, arms in losses.items()}
        | {f"at least, {loss}": lost(arms, arm)[1] for loss, arms in losses.items()}
        for arm in PAIRS
    ]
)

# %%
arms = losses["weighted"]
viz.show_bars(
    {
        name: {
            arm: mean_and_spread([seed[k] for seed in arms[arm]["full truth"]])
            for arm in ("labels by nearest", "labels bilinear", "flip, two draws")
        }
        for k, name in enumerate(CLASSES)
    },
    ylabel="IoU",
    alt="IoU of every class with class weights, for right labels, bilinear labels and "
    "two draws. Both mistakes cost every class; lamps are lost with bilinear labels.",
)

# %% [markdown]
# Read it aloud, from the top:
#
# - **Bilinear labels** cost every class, since every outline has a seam, and thin
#   things altogether: the lamps vanished from the masks, so they vanish from the
#   predictions. Without antialiasing the seams are thinner, and the loss smaller.
# - **torch's `nearest`** is a subtler case. Of two pixels made one, both are equally
#   near; `nearest` takes the first, `nearest-exact` the second. Neither is wrong here.
#   But who trains with one and is judged with the other has moved every outline by one
#   pixel of the large mask, and pays for it.
# - **Void as class 0** teaches the network to draw a line of sky around every thing. It
#   is the mistake of a popular book's PASCAL VOC loader, whose colour table starts with
#   zeros and has no entry for the border. Here it costs much with the plain loss, and
#   nothing with the weighted one. Look why:

# %%
shown = ("sky", "car", "person", "lamp")
tables.show_table(
    [
        {"loss": loss, "void is": arm.removeprefix("void ")}
        | {
            name: mean_and_spread(
                [seed[CLASSES.index(name)] for seed in arms[arm]["full truth"]]
            )[0]
            for name in shown
        }
        for loss, arms in losses.items()
        for arm in ("void ignored", "void as class 0")
    ]
)

# %% [markdown]
# The sky always pays. But class weights make things fat, and where outlines are void
# nothing stops them; the false line of sky trims them. Two errors cancel, by luck. Do
# not count on it: you could have trimmed them with the truth.
#
# - **Two draws** for the mirroring: half of all pairs contradict each other. What lies
#   above what survives, what lies left of what is lost.
# - **Small shifts**, three pixels at most, drawn twice: every outline is blurred, and
#   the lamps are gone again.
#
# Void has a second side, the score. Judge networks of the void experiment on the same
# scenes in three ways; only the treatment of void in the *truth* differs:

# %%
keys = {
    "full truth": "truth known everywhere",
    "void ignored": "void ignored",
    "void as class 0": "void counted as class 0",
}
arms = losses["plain"]
tables.show_table(
    [
        {"judged with": text}
        | {
            f"trained: {arm}": mean_and_spread(arms[arm][f"{key}, mean"])[0]
            for arm in ("void ignored", "void as class 0")
        }
        for key, text in keys.items()
    ]
)

# %% [markdown]
# Read the last row twice. Whoever makes the mistake in training usually makes it in
# scoring as well, since both use one loader. Then most of the difference is gone: the
# score hides the damage. And read the middle row against the first: ignoring void is
# the convention, and it is kind, because outlines are the hardest pixels. Scores of two
# papers can be compared only if both say what they did with void.
#
# ## Where it breaks
#
# The checklist sees what contradicts itself. It cannot see a label that is merely
# wrong, nor a mask that is off by a single pixel, since hand-drawn masks often are:

# %%
shifted = [each._replace(semantic=each.semantic.roll(1, 1)) for each in Toytown(60)]
pairs = [(each.image, each.semantic) for each in shifted]
print("errors found:", len(inspect(pairs, classes=CLASSES).errors))

# %% [markdown]
# What would a *perfect* network score if it were judged by these masks? Compare the
# true masks with the shifted ones; no training, no chance:

# %%
from segcourse.metrics import confusion_matrix

target = torch.stack([each.semantic for each in Toytown(60)])
moved = torch.stack([each.semantic for each in shifted])
matrix = confusion_matrix(target, moved, len(CLASSES))
print(f"mean IoU of the truth, judged by masks one pixel off: {mean_iou(matrix):.3f}")
tables.show_table(
    [
        {"class": name, "IoU": value}
        for name, value in zip(CLASSES, iou(matrix).tolist(), strict=True)
    ]
)

# %% [markdown]
# One pixel, and the perfect answer has lost that much: next to nothing of the sky, half
# of the lamps. So what does a score measure, the network or the pen of the annotator?
# And why one number for all classes? That is chapter 03.
#
# ## Common mistakes
#
# What else goes wrong in published loaders, with what it costs. The last three need no
# new training: they are mistakes in judging the network that you trained above.

# %% tags=["tol=0.06"]
correct = matrices["nearest"]
nine = F.pad(correct, (0, 1, 0, 1))  # a ninth class that does not exist
swap = torch.tensor([2, 1, 0, 3, 4, 5, 6, 7])  # sky and road have each other's name
known = Cached(T.Transformed(Toytown(80), nearest_labels))  # seen in training
seen = evaluate(
    models["nearest"], batches(known, batch_size=20, shuffle=False), num_classes=8
)
tables.show_table(
    [
        {"mistake": name, "mean IoU": value, "instead of": mean_iou(correct)}
        for name, value in {
            "one class too many": mean_iou(nine, zero_division=0.0),
            "two names swapped": mean_iou(correct[:, swap]),
            "judged on training scenes": mean_iou(seen),
        }.items()
    ]
)

# %% [markdown]
# **Masks resized like pictures** (two framework tutorials did it, a third until readers
# complained). Its cost is in the table of the last section.
#
#     wrong:  mask = resize(mask, size)                        # bilinear by default
#     right:  mask = resize(mask, size, mode="nearest-exact")
#
# **Void trained as background** (a popular book's loader, and several ports of DeepLab
# whose readers wondered about scores).
#
#     wrong:  table = zeros(256 ** 3)                         # unknown colours: class 0
#     right:  table = full(256 ** 3, 255), and a loss that ignores 255
#
# **A draw for the picture and another one for the mask** (the first data set template
# of a widely read segmentation guide).
#
#     wrong:  image, mask = augment(image), augment(mask)
#     right:  sample = augment(sample)
#
# **Names swapped** (a framework's tutorial on pets took the border for the background).
# The network does not mind; every per-class number is then printed under a wrong name,
# and if the names differ between training and scoring, the score falls as above.
#
#     wrong:  ("pet", "border", "background") for masks numbered pet, background, border
#     right:  colour one mask with the names, and look
#
# **One class too many** (a framework's example counted a class that no mask contains).
# If it is scored as 0, every mean is too small by the factor $K/(K+1)$.
#
#     wrong:  num_classes = max_id + 2
#     right:  inspect(dataset, num_classes=K) says which class never occurs
#
# **Pictures of the training set in the test set**: copies, or neighbouring frames of
# one video that a random split scattered over both.
#
#     wrong:  train, test = random_split(frames)
#     right:  split by video; inspect(train, other_split=test)

# %% [markdown]
# ## Exercises
#
# Replace the `...` and run the cell. An answer that is not right yet is shown with the
# input on which it fails, and often with the name of the mistake. `ex.shift.hint()`
# gives a hint (and so for each exercise).

# %% [markdown]
# ### 2.1 Room for four halvings
#
# A network halves the picture four times, so both sides must be multiples of 16. How
# many rows of void must be added below a picture of `height` x `width`, and how many
# columns to the right? Return both; add as little as possible.

# %%
from segcourse.exercises import data as ex


def margin(height, width, multiple): ...  # your code


ex.void_margin.check(margin)

# %%
ex.void_margin.show_solution()

# %% [markdown]
# ### 2.2 From colours to classes
#
# `rgb` is a colour-coded mask, (H, W, 3) bytes, and row k of `palette` (K, 3) the
# colour of class k. Return the classes as (H, W) integers, and 255 for every colour
# that is not in the palette.


# %%
def labels_of_colours(rgb, palette): ...  # your code


ex.palette_mask.check(labels_of_colours)

# %%
ex.palette_mask.show_solution()

# %% [markdown]
# ### 2.3 Resize labels by hand
#
# Divide the mask into `height` x `width` equal cells, and give each new pixel the label
# of the old pixel that holds the centre of its cell. (Where a centre lies between two
# pixels, the later one.)


# %%
def smaller_labels(labels, height, width): ...  # your code


ex.nearest.check(smaller_labels)

# %%
ex.nearest.show_solution()

# %% [markdown]
# ### 2.4 Fix this bug: the augmentation that unlearns
#
# With this augmentation a network learns worse than without. `coin()` is True or False,
# anew at every call. Copy the function, mend it, and let it be checked.
#
# ```python
# def flip_both(image, mask, coin):
#     if coin():
#         image = image.flip(-1)
#     if coin():
#         mask = mask.flip(-1)
#     return image, mask
# ```


# %%
def flip_both(image, mask, coin): ...  # your code


ex.one_draw.check(flip_both)

# %%
ex.one_draw.show_solution()

# %% [markdown]
# ### 2.5 Class shares without void
#
# `labels` is (N, H, W) with 255 for void. Which share of the pixels that count has
# every class? Return `num_classes` numbers that add up to 1; zeros if no pixel counts.


# %%
def class_shares(labels, num_classes): ...  # your code


ex.shares.check(class_shares)

# %%
ex.shares.show_solution()

# %% [markdown]
# ### 2.6 A small experiment: find the shift
#
# `edges` is large where the picture has an edge, `borders` is 1 where the mask has a
# border. Try every shift of the borders from `-reach` to `reach` rows and columns (with
# `roll`) and return the `(down, right)` for which the sum of `edges * borders` is
# largest. Then move the masks of a few scenes yourself: up to which shift do you find
# it? And for the mask of a single class?


# %%
def find_shift(edges, borders, reach): ...  # your code


ex.shift.check(find_shift)

# %%
ex.shift.show_solution()

# %% [markdown]
# ## Quiz

# %% [markdown]
# **Q1. A mask is resized bilinearly and rounded to whole numbers. What is wrong?**
#
# <details class="quiz right"><summary>Pixels between two classes get the number of a
# third one</summary>
#
# Right: halfway between 2 and 18 lies 10, and rounding does not change that.
#
# </details>
# <details class="quiz wrong"><summary>Nothing, rounding makes labels of it
# again</summary>
#
# Not quite: whole numbers, but the wrong ones. Only choosing a pixel is safe.
#
# </details>
# <details class="quiz wrong"><summary>The mask is shifted by half a pixel</summary>
#
# Not quite: bilinear reading keeps the centres. That shift comes from `mode="nearest"`.
#
# </details>

# %% [markdown]
# **Q2. Your masks have two classes, 0 and 1. Is bilinear resizing followed by a
# threshold at 0.5 harmless?**
#
# <details class="quiz right"><summary>Nearly: no third class can appear, and only
# outlines are smoothed</summary>
#
# Right: with two classes there is nothing between them. Thin things may still vanish,
# and the habit hurts with the third class.
#
# </details>
# <details class="quiz wrong"><summary>No, it invents a third class</summary>
#
# Not quite: after the threshold only 0 and 1 are left.
#
# </details>
# <details class="quiz wrong"><summary>Yes, it is exactly the same as nearest</summary>
#
# Not quite: an average of several pixels decides, not one pixel, so outlines and thin
# things differ.
#
# </details>

# %% [markdown]
# **Q3. What does the loss do with a pixel whose label is void?**
#
# <details class="quiz right"><summary>It leaves it out: no loss, no gradient, not in
# the average</summary>
#
# Right: whatever the network says there is neither rewarded nor punished.
#
# </details>
# <details class="quiz wrong"><summary>It trains the class "background"</summary>
#
# Not quite: that is the mistake. Background is a class that somebody saw; void is what
# nobody knows.
#
# </details>
# <details class="quiz wrong"><summary>It trains the network to be undecided
# there</summary>
#
# Not quite: that would be a target, equal probabilities for instance. Void is no target
# at all.
#
# </details>

# %% [markdown]
# **Q4. You open a palette PNG with `Image.open(path).convert("L")` and find labels such
# as 37 and 119. Why?**
#
# <details class="quiz right"><summary>Every number was replaced by the grey of its
# colour in the palette</summary>
#
# Right: the numbers are in the file, `np.array(Image.open(path))` reads them.
#
# </details>
# <details class="quiz wrong"><summary>PNG compression changed the labels</summary>
#
# Not quite: PNG is lossless. JPEG is not.
#
# </details>
# <details class="quiz wrong"><summary>The data set has more than 100 classes</summary>
#
# Not quite: the numbers are grey values. Ask for `mode`: "P" means palette.
#
# </details>

# %% [markdown]
# **Q5. A crop is larger than the picture, so it is padded. Which label does the padding
# get?**
#
# <details class="quiz right"><summary>255, void</summary>
#
# Right: nobody knows what is there. The image is padded with black or with its mean.
#
# </details>
# <details class="quiz wrong"><summary>0, the background</summary>
#
# Not quite: then the network learns that black is background, and in Toytown that sky
# surrounds the world.
#
# </details>
# <details class="quiz wrong"><summary>The nearest label of the picture</summary>
#
# Not quite: repeated labels need repeated pixels (mirror padding does both). On black
# padding they are inventions.
#
# </details>

# %% [markdown]
# **Q6. The frames of one video are split at random into training and test. What
# happens?**
#
# <details class="quiz right"><summary>The test score is too good: nearly the same
# frames are in both</summary>
#
# Right: the network has seen each test frame, give or take a fraction of a second.
# Split by video.
#
# </details>
# <details class="quiz wrong"><summary>Nothing, no frame is in both</summary>
#
# Not quite: no *identical* frame. Neighbours differ by less than an augmentation.
#
# </details>
# <details class="quiz wrong"><summary>The test score is too bad, since frames are
# missing in training</summary>
#
# Not quite: a video has neighbours for each missing frame.
#
# </details>

# %% [markdown]
# **Q7. The checklist reports no error. What do you know?**
#
# <details class="quiz right"><summary>That the data do not contradict
# themselves</summary>
#
# Right: numbers, sizes, outlines and splits fit together. Whether a car is labelled as
# a car, only a person can see: look at overlays.
#
# </details>
# <details class="quiz wrong"><summary>That all labels are right</summary>
#
# Not quite: two classes confused by every annotator are consistent, and wrong.
#
# </details>
# <details class="quiz wrong"><summary>That the network will learn all classes</summary>
#
# Not quite: a class with a few pixels passes every check, and is hard to learn.
#
# </details>

# %% [markdown]
# ## Take-aways
#
# - A label is a name: choose pixels, never compute with labels.
# - One draw moves all parts of a sample. A sample that travels as one thing cannot be
#   torn apart.
# - What nobody knows is 255: skipped by the loss, skipped by the score, used for
#   padding.
# - Read numbers, not colours; unknown colours are void, not class 0.
# - These mistakes raise no error. Inspect every data set once, before training, and
#   look at overlays.
#
# ## Further reading
#
# - Everingham et al., [The PASCAL visual object classes (VOC)
#   challenge](https://doi.org/10.1007/s11263-009-0275-4), IJCV 2010: where the border
#   of void comes from (`everingham2010voc`).
# - Brostow, Fauqueur, Cipolla, [Semantic object classes in
#   video](https://doi.org/10.1016/j.patrec.2008.04.005), 2009: CamVid
#   (`brostow2009camvid`); `segcourse.data.camvid` loads it.
# - Cordts et al., [The Cityscapes dataset](https://arxiv.org/abs/1604.01685), CVPR
#   2016: annotation at scale, and what is void in it (`cordts2016cityscapes`).
# - Ronneberger, Fischer, Brox, [U-Net](https://arxiv.org/abs/1505.04597), MICCAI 2015:
#   elastic deformation as the augmentation that counts (`ronneberger2015unet`).
