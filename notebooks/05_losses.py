# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # Losses: what a network is asked to get right
#
# The same network, the same pictures, the same number of steps: with one loss it finds
# nothing at all, with another it finds most of what there is.
#
# After this chapter you can
#
# - write cross-entropy, class weights, focal, Dice and Lovász losses from their
#   formulas, with void pixels left out;
# - say what each of them does to a single pixel, from its gradient;
# - predict which loss collapses when the foreground is rare, and why;
# - choose class weights, and know what they cost;
# - recognise the usual bugs by the number they leave behind.
#
# You need chapters 02 (void, class frequencies) and 03 (IoU, Dice). The notebook takes
# about half a minute on one CPU thread, most of it two short trainings.

# %% tags=["hide-cell"]
from importlib.util import find_spec

if find_spec("segcourse") is None:  # on Colab
    get_ipython().system("pip install -q git+https://github.com/OWNER/REPO")

import torch

from segcourse.training import seed_everything

seed_everything(0)

# %%
import statistics

import torch.nn.functional as F
from torchvision.ops import sigmoid_focal_loss

from segcourse import losses, tables, viz
from segcourse.data import (
    Cached,
    Dots,
    Toytown,
    batches,
    dots,
    measured,
    stack,
    toytown,
)
from segcourse.losses import cross_entropy, dice_loss
from segcourse.metrics import confusion_matrix, iou, pixel_accuracy
from segcourse.models import UNet
from segcourse.ops import IGNORE, signed_distance
from segcourse.training import fit

# %% [markdown]
# ## The problem
#
# Here are pictures with a few discs, a little brighter than the noisy clouds around
# them. Look twice and you see them. About one pixel in a hundred belongs to a disc.

# %%
pictures = Cached(Dots(200, share=0.01, seed=0))
checks = stack(list(Dots(50, share=0.01, seed=1)))
share = checks.semantic.float().mean().item()
print("images", tuple(checks.image.shape), "truth", tuple(checks.semantic.shape))
print(f"foreground: {share:.4f} of the pixels")

# %% [markdown]
# We train a small U-Net (chapter 08 opens that box) with the loss of every tutorial,
# cross-entropy. It has *one* output channel: a positive logit means "dot".


# %%
def train(loss):
    """160 steps of 8 pictures, always from the same start."""
    seed_everything(0)
    net = UNet(1, width=8, depth=2, padding=1, batch_norm=True, dropout=0.0)
    history = fit(
        net,
        lambda net, batch: loss(net(batch[0]), batch[1]),
        batches(pictures, batch_size=8, seed=0),
        steps=160,
        learning_rate=3e-3,
    )
    return net.eval(), history


@torch.no_grad()
def answer(net):
    """Logits of the validation pictures: -> (50, 1, 64, 64)."""
    return torch.cat([net(part) for part in checks.image.split(25)])


def score(logits, threshold=0.0):
    """Confusion matrix of dots against background."""
    found = (logits[:, 0] > threshold).long()
    return confusion_matrix(found, checks.semantic, 2)


# %% tags=["tol=0.05"]
plain, plain_history = train(cross_entropy)
plain_logits = answer(plain)
matrix = score(plain_logits)
print(f"loss: from {plain_history[0]:.3f} to {plain_history[-1]:.3f}")
print(f"pixel accuracy {pixel_accuracy(matrix):.3f}")
print(f"IoU of the dots {iou(matrix)[1]:.3f}")

# %% [markdown]
# The loss went down, the accuracy is splendid, and the network finds nothing:

# %%
viz.show_images(
    {
        "picture": checks.image[3],
        "truth": checks.semantic[3] == 1,
        "found with cross-entropy": plain_logits[3, 0] > 0,
    },
    alt="A noisy grey picture with two faint discs, the mask of these discs, and "
    "the prediction of the network trained with cross-entropy, which is black.",
)

# %% [markdown]
# Nothing is broken here: this *is* what the loss asks for at first. This chapter is
# about asking better.
#
# ## The idea
#
# A loss turns logits and truth into one number, and its gradient tells every pixel
# where to go. Losses for segmentation differ in two decisions.
#
# **How much does each pixel count?** *Pixelwise* losses are weighted means of the
# cross-entropy of single pixels. Every one of them is
#
# $$L = \frac{1}{\sum_i v_i} \sum_i w_i\, \bigl(-\log p_i\bigr)$$
#
# where $p_i$ is the probability of the true class of pixel $i$. Class weights, focal
# loss, hard-pixel mining and U-Net's border weights are four answers to "what is
# $w_i$?", and you always have to ask what is divided by ($v_i$).
#
# **Or do pixels count at all?** *Overlap* losses compare whole regions. With
# probabilities $p$ and a one-hot truth $t$, sum over the pixels of a class:
#
# $$I = \sum p\,t, \qquad S = \sum p, \qquad T = \sum t$$
#
# | loss | of a class | sees true negatives |
# |---|---|---|
# | Dice | $1 - 2I / (S + T)$ | no |
# | Jaccard | $1 - I / (S + T - I)$ | no |
# | Tversky | $1 - I / (I + \alpha\,(S - I) + \beta\,(T - I))$ | no |
# | Lovász | $1 - \mathrm{IoU}$, made continuous by sorting | no |
#
# The shapes are the same for all of them:

# %%
scenes = stack(list(Toytown(2, seed=2, void=1)))
target = scenes.semantic
logits = torch.randn(2, 8, 96, 128, generator=torch.Generator().manual_seed(1))
tables.show_table(
    [
        {"what": "logits", "axes": "N K H W", "shape": tuple(logits.shape)},
        {"what": "truth", "axes": "N H W", "shape": tuple(target.shape)},
        {"what": "loss", "axes": "-", "shape": tuple(dice_loss(logits, target).shape)},
    ]
)
print("void pixels:", (target == IGNORE).sum().item())

# %% [markdown]
# ### Why it collapses
#
# Before a network has learnt what a dot looks like, it can only give every pixel the
# same probability. Which constant does each loss like best? No training, only a search
# over constants:


# %%
def best_constant(loss, share):
    """The probability, given to all of 1000 pixels, for which a loss is least."""
    target = (torch.arange(1000) < share * 1000).long().reshape(1, 1, -1)
    grid = torch.arange(1, 1000).double() / 1000
    flat = [torch.logit(p).expand(1, 1, 1, 1000) for p in grid]
    return grid[torch.stack([loss(z, target) for z in flat]).argmin()].item()


# %%
LOSSES = {
    "cross-entropy": cross_entropy,
    "balanced CE": losses.balanced_cross_entropy,
    "focal (0.25, 2)": lambda z, y: losses.sigmoid_focal_loss(z, y, alpha=0.25),
    "OHEM": lambda z, y: losses.ohem_cross_entropy(z, y, min_kept=60),
    "Dice": dice_loss,
    "Tversky (0.3, 0.7)": losses.tversky_loss,
    "Dice + CE": lambda z, y: dice_loss(z, y) + cross_entropy(z, y),
    "Lovász": losses.lovasz_softmax_loss,
    "Lovász + CE": lambda z, y: losses.lovasz_softmax_loss(z, y) + cross_entropy(z, y),
}
SHARES = (0.01, 0.05, 0.3)
constants = {n: [best_constant(f, s) for s in SHARES] for n, f in LOSSES.items()}
tables.show_table(
    [
        {"loss": name, **dict(zip(("1%", "5%", "30%"), found, strict=True))}
        for name, found in constants.items()
    ]
)

# %% [markdown]
# Read the first column. Cross-entropy wants the *share* of the foreground: far below
# one half, so "nothing" everywhere. The network goes there first, and the nearer it
# comes, the less gradient is left to learn what a dot looks like. Balanced
# cross-entropy stays undecided at one half. Dice wants *everything* to be foreground
# and learns by taking away. Two values may surprise you: the focal loss, whose fame is
# imbalance, asks for far less than a half too; and in the sum of Dice and cross-entropy
# it is cross-entropy that decides.
#
# ## Build it
#
# ### Cross-entropy
#
# Take the log-softmax, pick the true class, leave out void. Void pixels need some valid
# class for `gather`; what they give is multiplied by zero afterwards.

# %%
counted = target != IGNORE
safe = target.where(counted, 0)
log_p = logits.log_softmax(dim=1)  # (N, K, H, W)
pixel_loss = -log_p.gather(1, safe[:, None])[:, 0] * counted  # (N, H, W)
by_hand = pixel_loss.sum() / counted.sum()
print(f"{by_hand:.4f}", tuple(pixel_loss.shape))
print("package:", torch.allclose(by_hand, cross_entropy(logits, target)))
theirs = F.cross_entropy(logits, target, ignore_index=IGNORE)
print("PyTorch:", torch.allclose(by_hand, theirs))

# %% [markdown]
# Its gradient is as simple as gradients get: probability minus target, divided by the
# number of pixels.

# %%
x = logits.clone().requires_grad_()
(slope,) = torch.autograd.grad(cross_entropy(x, target), x)
one_hot = F.one_hot(safe, 8).movedim(-1, 1)
expected = (logits.softmax(1) - one_hot) * counted[:, None] / counted.sum()
print("gradient is (p - t) / N:", torch.allclose(slope, expected, atol=1e-9))

# %% [markdown]
# ### Class weights
#
# Give the pixels of rare classes more weight. How much? Three schemes, from the counts
# of a hundred Toytown scenes, with $f$ the share of a class:
#
# | scheme | weight |
# |---|---|
# | inverse frequency | $1 / f$, scaled to mean 1 |
# | median frequency (SegNet) | $\mathrm{median}(f) / f$, in images with the class |
# | log frequency (ENet) | $1 / \ln(1.02 + f)$ |

# %%
maps = torch.stack([scene.semantic for scene in Toytown(100)])
counts = losses.class_counts(maps, 8)  # (100, 8)
schemes = {
    "share": losses.frequency(counts),
    "inverse": losses.inverse_frequency_weights(counts),
    "median": losses.median_frequency_weights(counts),
    "log": losses.log_frequency_weights(counts),
}
rows = [
    {"class": name, **{s: w[k].item() for s, w in schemes.items()}}
    for k, name in enumerate(toytown.CLASSES)
]
tables.show_table(rows)

# %% [markdown]
# Look at the *ratio* between the largest and the smallest weight: nearly the same in
# the first two schemes, less in the gentler third. The size of the weights matters only
# if you divide by the number of pixels instead of by the sum of the weights:

# %%
weight = schemes["median"]
for normalizer in ("weights", "pixels"):
    once = cross_entropy(logits, target, weight=weight, normalizer=normalizer)
    ten = cross_entropy(logits, target, weight=10 * weight, normalizer=normalizer)
    print(f"by {normalizer:8s} {once:8.4f}   weights times ten: {ten:8.4f}")
here = (weight[safe] * counted).sum()
print("by hand:", torch.allclose((weight[safe] * pixel_loss).sum() / here,
    cross_entropy(logits, target, weight=weight)))  # fmt: skip

# %% [markdown]
# ### Focal loss
#
# The focal loss lets *easy* pixels fade, whatever their class: $w = (1 - p)^\gamma$. It
# comes on a softmax (one probability for the true class) or, as in RetinaNet, as one
# yes-or-no question per class with a sigmoid.

# %%
p = log_p.gather(1, safe[:, None])[:, 0].exp()
by_hand = ((1 - p) ** 2 * pixel_loss).sum() / counted.sum()
package = losses.focal_loss(logits, target, gamma=2.0)
print(f"{by_hand:.4f}", "package:", torch.allclose(by_hand, package))
for value in (0.9, 0.5, 0.1):
    print(f"p = {value}: {(1 - value) ** 2:.2f} of the cross-entropy remains")

# %%
p = torch.linspace(0.01, 1, 100)
viz.show_curves(
    {f"gamma = {g}": (p, -((1 - p) ** g) * p.log()) for g in (0, 0.5, 2, 5)},
    xlabel="probability of the true class",
    ylabel="loss of the pixel",
    alt="Four falling curves. The larger gamma, the earlier the loss reaches zero on "
    "the way right; for badly wrong pixels at the left all four are alike.",
)

# %% [markdown]
# RetinaNet multiplies positives by $\alpha = 0.25$ and negatives by $0.75$. Yes, the
# *rare* class gets the smaller weight: with $\gamma = 2$ its pixels are so much harder
# that they would dominate otherwise. Take only half of the recipe and it hurts.
#
# ### Hard pixels only
#
# Online hard example mining (OHEM) has weights 0 and 1: it averages over the pixels
# whose true class has a small probability, and at least over `min_kept` of them.

# %%
hard = pixel_loss[counted]
hard = hard[hard > -torch.log(torch.tensor(0.05))]  # p below 0.05
print(f"{len(hard)} of {counted.sum()} pixels are hard, mean {hard.mean():.4f}")
package = losses.ohem_cross_entropy(logits, target, threshold=0.05, min_kept=100)
print("package:", torch.allclose(hard.mean(), package))

# %% [markdown]
# ### Dice, Jaccard, Tversky
#
# Three sums per class, over the pixels of the whole batch, and one ratio.

# %%
probability = logits.softmax(dim=1) * counted[:, None]
one_hot = F.one_hot(safe, 8).movedim(-1, 1) * counted[:, None]
I = (probability * one_hot).sum(dim=(0, 2, 3))  # noqa: E741
S, T = probability.sum(dim=(0, 2, 3)), one_hot.sum(dim=(0, 2, 3))
present = T > 0
print("classes present:", present.sum().item(), "of", len(T))
forms = {
    "dice": 1 - 2 * I / (S + T),
    "jaccard": 1 - I / (S + T - I),
    "tversky": 1 - I / (I + 0.3 * (S - I) + 0.7 * (T - I)),
}
for name, by_class in forms.items():
    by_hand = by_class[present].mean()
    package = getattr(losses, f"{name}_loss")(logits, target)
    print(f"{name:8s} {by_hand:.4f}", torch.allclose(by_hand, package))

# %% [markdown]
# **The convention of this course, said once:** a class that the truth does not contain
# is left out of the mean, as it is in the metrics. Others charge for it, or count it as
# perfect; compare their numbers with care.
#
# ### Lovász-softmax
#
# IoU jumps when a pixel changes sides, so it has no useful gradient. The Lovász
# extension fills in between: sort the pixels of a class by their error $|t - p|$, and
# weigh each error by what that mistake would *add* to $1 - \mathrm{IoU}$ if all larger
# errors were mistakes already.

# %%
sorted_truth = torch.tensor([1.0, 0, 1, 0])  # the largest error first
missed, invented = sorted_truth.cumsum(0), (1 - sorted_truth).cumsum(0)
size = sorted_truth.sum()
running = 1 - (size - missed) / (size + invented)  # 1 - IoU after each mistake
weights = torch.cat([running[:1], running.diff()])
errors = torch.tensor([0.9, 0.6, 0.3, 0.1])
print("1 - IoU so far:", [round(v, 4) for v in running.tolist()])
print("weights:       ", [round(v, 4) for v in weights.tolist()])
print(f"loss: {errors @ weights:.4f}")
print("package:", torch.allclose(weights, losses.lovasz_weights(sorted_truth)))


# %%
def lovasz(p, t):
    """One class: probabilities and 0/1 truth, both (pixels,) -> scalar."""
    errors, order = (t - p).abs().sort(descending=True)
    return errors @ losses.lovasz_weights(t[order])


planes = zip(logits.softmax(dim=1).unbind(1), one_hot.unbind(1), strict=True)
each = [lovasz(p[counted], t[counted].float()) for p, t in planes if t.any()]
by_hand = torch.stack(each).mean()
print(
    f"{by_hand:.4f}",
    torch.allclose(by_hand, losses.lovasz_softmax_loss(logits, target)),
)

# %% [markdown]
# ### What one pixel feels
#
# The value of a loss is for plots; training only sees the gradient. Take 100 pixels, 10
# of them foreground, and move the logit of *one* foreground pixel from far wrong
# (left) to far right (right). How hard does each loss pull it up?


# %%
def pull(loss, value):
    """Minus the gradient at one foreground pixel whose logit is ``value``."""
    target = (torch.arange(100) < 10).long().reshape(1, 1, 100)
    z = torch.where(target == 1, 0.0, -3.0)[:, None].double()
    z[..., 0] = value
    z.requires_grad_()
    return -torch.autograd.grad(loss(z, target), z)[0][0, 0, 0, 0].item()


shown = ("cross-entropy", "focal (0.25, 2)", "Dice", "Lovász")
values = torch.linspace(-10, 6, 81).tolist()
curves = {name: [pull(LOSSES[name], v) for v in values] for name in shown}
viz.show_curves(
    {k: (values, [v / max(curve) for v in curve]) for k, curve in curves.items()},
    xlabel="logit of the pixel",
    ylabel="pull, as a share of its strongest",
    alt="Cross-entropy and focal loss pull hardest at the left, where the pixel is "
    "most wrong. Dice and Lovász peak in the middle and let go at both ends.",
)

# %% [markdown]
# Cross-entropy pulls hardest where the pixel is most wrong. Overlap losses go through
# the probability, and a saturated sigmoid passes nothing on: a pixel that is
# *certainly* wrong is left alone. Four foreground pixels, all at logit -20:

# %%
z = torch.full((1, 1, 2, 2), -20.0, dtype=torch.float64, requires_grad=True)
y = torch.ones(1, 2, 2, dtype=torch.long)
for name in ("cross-entropy", "Dice"):
    (slope,) = torch.autograd.grad(LOSSES[name](z, y), z)
    print(f"{name:14s} gradient of a pixel {slope[0, 0, 0, 0]:.2e}")

# %% [markdown]
# This is why practice adds the two: cross-entropy brings lost pixels back, Dice looks
# after small regions. The sum needs no function of its own:
#
#     loss = dice(logits, truth) + cross_entropy(logits, truth)
#
# Log both terms separately, though; their scales differ and change during training.
#
# ### Where the boundary is
#
# Two ideas make *places* count. The boundary loss weighs every probability by its
# signed distance to the true border (negative inside), so distant false positives cost
# most. U-Net's weight map makes background pixels between close objects many times as
# important as others: lose that seam, and two cells become one.

# %%
cells = Dots(1, share=0.16, radius=7.0, seed=54)[0]
distance = signed_distance(cells.semantic[None], 2)[0, 1]
seams = losses.border_weights(cells.instance)
print("objects:", len(cells.instance.unique()) - 1)
print(f"signed distance from {distance.min():.2f} to {distance.max():.2f} pixels")
inside = seams[cells.semantic == 1].max()
print(f"border weight up to {seams.max():.2f}, inside objects {inside:.2f}")
viz.show_images(
    {"objects": cells.instance, "signed distance": distance, "border weights": seams},
    alt="Left: several round objects. Middle: the distance to their outline, darkest "
    "in their middles, brightest far away. Right: weights that light up in the narrow "
    "gaps between neighbouring objects.",
)

# %%
z = torch.randn(1, 2, 64, 64, generator=torch.Generator().manual_seed(2))
y, w = cells.semantic[None], 1 + seams[None]
by_hand = (w * F.cross_entropy(z, y, reduction="none")).mean()
package = losses.pixel_weighted_cross_entropy(z, y, w)
print(f"weighted loss {by_hand:.4f}, package:", torch.allclose(by_hand, package))

# %% [markdown]
# ## Are these the papers' losses?
#
# The package is tested, value *and* gradient, against PyTorch, torchvision,
# segmentation-models-pytorch and MONAI. Two of these oracles are at hand:

# %%
z, y = answer(plain)[:4].double(), checks.semantic[:4]
flat = y[:, None].double()
pairs = {
    "binary cross-entropy": (
        cross_entropy(z, y),
        F.binary_cross_entropy_with_logits(z, flat),
    ),
    "focal (RetinaNet)": (
        losses.sigmoid_focal_loss(z, y, alpha=0.25),
        sigmoid_focal_loss(z, flat, alpha=0.25, gamma=2, reduction="mean"),
    ),
    "label smoothing": (
        cross_entropy(logits, target, label_smoothing=0.1),
        F.cross_entropy(logits, target, ignore_index=IGNORE, label_smoothing=0.1),
    ),
}
for name, (ours, theirs) in pairs.items():
    print(f"{name:21s}", torch.allclose(ours, theirs))

# %% [markdown]
# Where libraries and papers disagree with each other, this is what you get here:
#
# | loss | elsewhere | here |
# |---|---|---|
# | cross-entropy | smp, mmsegmentation: void counts in the division | it does not |
# | a batch of void | PyTorch: nan | 0, with gradient 0 |
# | focal, K classes | smp: sigmoids; MONAI: softmax, divided by K too | both, named |
# | absent class | smp: 0 in the mean; MONAI: charged | left out, or charged |
# | `smooth` | smp adds it before doubling | $(2I + s)/(S + T + s)$ |
# | Tversky | which error is $\alpha$ depends on the paper | `alpha=` |
# | focal Tversky | smp: power of the class mean | mean of the powers |
# | OHEM | mmsegmentation divides by all pixels | by the chosen ones |
# | border weights | some ports fill objects too | background only |
#
# ## Train it
#
# The same start, the same pictures in the same order, the same steps. Only the loss
# changes:

# %% tags=["tol=0.1"]
trained, trained_history = train(dice_loss)
trained_logits = answer(trained)
for name, values in {"cross-entropy": plain_logits, "Dice": trained_logits}.items():
    matrix = score(values)
    accuracy = pixel_accuracy(matrix)
    print(f"{name:14s} IoU {iou(matrix)[1]:.3f}   accuracy {accuracy:.3f}")

# %%
rows = [3, 8, 20]
viz.show_predictions(
    [Dots(50, share=0.01, seed=1)[row] for row in rows],
    {
        "cross-entropy": (plain_logits[rows, 0] > 0).long(),
        "Dice": (trained_logits[rows, 0] > 0).long(),
    },
    dots.CLASSES,
    dots.PALETTE,
    alt="Three noisy pictures in rows. The column of cross-entropy is empty; the "
    "column of Dice shows most of the discs, roughly drawn, and a few false specks.",
)

# %% [markdown]
# A loss curve would not have told you: the two losses have different scales, and both
# fall.

# %%
viz.show_curves(
    {"cross-entropy": plain_history, "Dice": trained_history},
    xlabel="step",
    ylabel="loss",
    smooth=8,
    alt="Cross-entropy falls steeply to a low value; Dice begins near one and falls "
    "slowly. The lower curve belongs to the network that finds nothing.",
)

# %% [markdown]
# ## What did the idea buy?
#
# Nine losses, three shares of foreground, three seeds each, with the recipe above
# (`python -m benchmarks.loss_sweep` repeats it). A larger share means *more* discs, not
# larger ones. IoU of the dots, mean and standard deviation:

# %%
results = measured("loss_sweep")
runs = {(row["loss"], row["share"]): row for row in results["sweep"]}
names = list(dict.fromkeys(name for name, _ in runs))


def spread(values):
    """Mean and standard deviation as text."""
    return f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f}"


rows = []
for name in names:
    row = {f"{s:.0%}": spread(runs[name, s]["iou"]) for s in SHARES}
    rows.append({"loss": name, **row, "best constant at 1%": constants[name][0]})
tables.show_table(rows)

# %%
viz.show_bars(
    {
        f"{s:.0%}": {
            name: (statistics.mean(found), statistics.stdev(found))
            for name in ("cross-entropy", "focal (0.25, 2)", "balanced CE", "Dice")
            for found in [runs[name, s]["iou"]]
        }
        for s in SHARES
    },
    ylabel="IoU of the dots",
    alt="Bars for four losses at 1, 5 and 30 percent of foreground. At 30 percent they "
    "differ little; at 1 percent cross-entropy and focal loss have no bar at all.",
)

# %%
rare = {name: runs[name, 0.01]["iou"] for name in names}
little = 0.05
lost = [name for name, found in rare.items() if max(found) < little]
print(f"IoU at 1 % below {little} for every seed:", lost)
best = max(rare, key=lambda name: statistics.mean(rare[name]))
print(f"best at 1 %: {best}, {spread(rare[best])}")
common = [statistics.mean(runs[name, 0.3]["iou"]) for name in names]
print(f"at 30 % all are between {min(common):.2f} and {max(common):.2f}")

# %% [markdown]
# At 30 % nearly any loss will do. At 1 % the loss decides whether there is a result at
# all, and the best constant of the last column tells you who is in danger: whoever
# starts by saying "nothing" may stay there. Three things the folklore does not tell
# you:
#
# - **The focal loss collapses like cross-entropy.** It was made for detectors, which
#   start it from a bias of their own and divide by the few positives. Without that its
#   weights only make the rare class quieter still.
# - **Dice + CE is not safe here.** The favourite of many toolboxes is at home at 5 %
#   and 30 %; at 1 % it depends on the seed, because cross-entropy sets its start.
# - **Lovász alone is among the worst at 1 %**, though it optimises IoU itself. It looks
#   hardest at the few largest errors and lets most pixels go. It is usually a loss to
#   fine-tune with; together with cross-entropy it does well.
#
# Is a collapsed network blind? Look at its probabilities before you judge. We choose
# the threshold on pictures of a third set, and score on the usual ones:

# %%
row = runs["cross-entropy", 0.01]
tables.show_table(
    [
        {"seed": seed, "IoU at 0.5": a, "threshold": t, "IoU there": b, "p of dots": p}
        for seed, (a, t, b, p) in enumerate(
            zip(
                row["iou"],
                row["threshold"],
                row["iou_at_threshold"],
                row["probability_of_dots"],
                strict=True,
            )
        )
    ]
)
later = results["longer"]
print(f"after {later['steps']} steps, IoU of the seeds:")
for key in ("iou", "iou_at_threshold"):
    print(f"{key:16s}", [f"{value:.2f}" for value in later[key]])

# %% [markdown]
# It is not blind. The dots have a higher probability than their surroundings, only one
# below one half: a lower threshold finds part of them. And with four times the steps
# every seed leaves the hole by itself, and their mean is above the short run of any
# other loss (more steps might have helped those too: we did not ask). So the collapse
# is not for good. A wrong loss costs patience, and where an epoch takes hours that is
# dear.
#
# ### Class weights on Toytown
#
# Several classes, several of them rare. The same small U-Net, cross-entropy with three
# choices of weights, three seeds:

# %%
town = results["toytown"]
rows = []
for k, name in enumerate(town["classes"]):
    found = {s: [run[k] for run in v["iou"]] for s, v in town["schemes"].items()}
    row = {s: spread(values) for s, values in found.items()}
    rows.append({"IoU": name, "share": town["share"][k], **row})
tables.show_table(rows)
for key in ("mean_iou", "pixel_accuracy"):
    values = {s: spread(v[key]) for s, v in town["schemes"].items()}
    print(key.replace("_", " "), values)

# %% [markdown]
# Without weights the rare classes are all but lost, and the pixel accuracy does not
# mind. Both schemes bring them back. The strong weights of median frequency take from
# the large classes; the logarithm is gentler with those, and no worse in the mean.
# What do weights do to a rare class?

# %%
person = town["classes"].index("person")
tables.show_table(
    [
        {
            "weights": name,
            "precision of person": statistics.mean(r[person] for r in v["precision"]),
            "recall of person": statistics.mean(r[person] for r in v["recall"]),
        }
        for name, v in town["schemes"].items()
    ]
)

# %% [markdown]
# They buy recall, and precision is the currency: a weighted network says "person" where
# it should not. Undo part of that after training with another threshold, or take gentle
# weights from the beginning.
#
# ## Where it breaks
#
# A loss chooses among the answers that a network can give. Suppose its answers are
# coarse: one value per block of $s \times s$ pixels. Give it the best blocks there
# are, chosen with the truth in hand: all blocks of which dots cover more than some
# share, and the best such share. No loss can do better than that:


# %%
def best_blocks(stride):
    """The blocks with the largest IoU, and this IoU: -> (N, H, W), float."""
    cover = F.avg_pool2d(checks.semantic.float()[:, None], stride)
    found = []
    for least in torch.arange(0.05, 1, 0.05):
        blocks = F.interpolate((cover > least).float(), scale_factor=stride)[
            :, 0
        ].long()
        score = iou(confusion_matrix(blocks, checks.semantic, 2))[1].item()
        found.append((score, blocks))
    return max(found, key=lambda pair: pair[0])


coarse = {stride: best_blocks(stride) for stride in (1, 2, 4, 8, 16)}
for stride, (limit, _) in coarse.items():
    print(f"stride {stride:2d}: best IoU {limit:.3f}")

# %%
viz.show_images(
    {f"stride {s}": blocks[3] == 1 for s, (_, blocks) in coarse.items() if s < 16},
    alt="The best masks at stride 1, 2, 4 and 8. The two discs turn into ever coarser "
    "blocks that hide where they end.",
)

# %% [markdown]
# Networks that began as classifiers have a stride of 32. Getting the pixels back is the
# subject of the next chapters, beginning with FCN.
#
# ## Common mistakes
#
# **Softmax twice.** Wrong: `cross_entropy(logits.softmax(1), target)`. No error, no
# warning: probabilities are numbers too. But then the "logits" lie between 0 and 1, and
# even a perfect answer keeps a large loss:

# %%
perfect = 50.0 * F.one_hot(safe, 8).movedim(-1, 1)
once, twice = (
    cross_entropy(value, target) for value in (perfect, perfect.softmax(dim=1))
)
print(f"loss of a perfect answer: right {abs(once):.4f}, softmax twice {twice:.4f}")

# %% [markdown]
# **The logarithm of a probability.** Wrong: `softmax(...).log()`. Right: `log_softmax`.
# One confident mistake is enough:

# %%
confident = torch.tensor([[0.0, 200.0]])  # the true class is 0
print("softmax, then log:", -confident.softmax(1).log()[0, 0].item())
print("log_softmax:      ", -confident.log_softmax(1)[0, 0].item())

# %% [markdown]
# **Dice on thresholded logits.** Wrong: `dice_of((logits > 0).float(), target)`. A step
# has no slope, so there is nothing to train with:

# %%
z = torch.randn(1, 1, 8, 8, requires_grad=True)
hard, soft = (z > 0).float(), z.sigmoid()
print("a gradient can flow: hard", hard.requires_grad, "- soft", soft.requires_grad)

# %% [markdown]
# **A mean over classes that are not there.** Wrong: `loss.mean()` over all $K$. Two of
# eight classes in the picture, all pixels right, and yet:

# %%
two = (safe > 3).long()
right = 50.0 * F.one_hot(two, 8).movedim(-1, 1).float()
for classes in ("present", "all"):
    print(f"{classes:8s} Dice loss {dice_loss(right, two, classes=classes):.3f}")

# %% [markdown]
# **Weights in the wrong order.** They come in class order, background first. Turned
# around, balanced cross-entropy becomes an unbalancing one. Its best constant at 5 %:

# %%
for weight in ([0.05, 0.95], [0.95, 0.05]):
    found = best_constant(lambda z, y, w=weight: cross_entropy(z, y, weight=w), 0.05)
    print(f"weights {weight}: {found:.3f}")

# %% [markdown]
# **A large `smooth` beside a tiny mask.** The constant is in pixels. A mask of 4 pixels
# that is missed altogether should cost 1:

# %%
truth_of_four = (torch.arange(64) < 4).long().reshape(1, 8, 8)
nothing = torch.full((1, 1, 8, 8), -30.0)
for smooth in (0.0, 1.0, 100.0):
    print(
        f"smooth {smooth:5.1f}: {dice_loss(nothing, truth_of_four, smooth=smooth):.3f}"
    )

# %% [markdown]
# **Sum or mean?** The two differ by the number of pixels, and so do the gradients. A
# learning rate belongs to a loss *and* its reduction:

# %%
x = logits.clone().requires_grad_()
norms = {}
for reduction in ("mean", "sum"):
    value = F.cross_entropy(x, target, ignore_index=IGNORE, reduction=reduction)
    norms[reduction] = torch.autograd.grad(value, x)[0].norm()
print(f"the sum's gradient is {norms['sum'] / norms['mean']:.0f} times as long")
print("counted pixels:", counted.sum().item())

# %% [markdown]
# ## Exercises
#
# Run a cell untouched and it says "not attempted yet". `ex.<name>.hint()` gives a hint,
# each time a blunter one. The solution is behind the toggle.
#
# ### 5.1 Median-frequency weights
#
# From the pixels of every class in every image, `counts` (N, K), compute the weights
# (K,). A class that never occurs gets 0 and does not move the median. Hint:
# `ex.weights.hint()`.

# %%
from segcourse.exercises import losses as ex


def median_weights(counts): ...  # your code


ex.weights.check(median_weights)

# %%
ex.weights.show_solution()

# %% [markdown]
# ### 5.2 What a pixel feels
#
# The gradient of one pixel's cross-entropy with respect to its logits (K,), as a
# formula, without autograd. `target` is the number of the true class. Hint:
# `ex.slope.hint()`.


# %%
def gradient_at_a_pixel(logits, target): ...  # your code


ex.slope.check(gradient_at_a_pixel)

# %%
ex.slope.show_solution()

# %% [markdown]
# ### 5.3 Mend the Dice loss
#
# This code runs, and has four bugs:
#
#     def soft_dice(logits, truth):
#         safe = truth.where(truth != 255, 0)
#         one_hot = F.one_hot(safe, logits.shape[1]).movedim(-1, 1)
#         overlap = (logits * one_hot).sum()
#         size = (logits + one_hot).sum()
#         return (1 - 2 * overlap / size).mean()
#
# Write it right: the mean over the classes that the truth contains, sums over the
# batch, void not counted. Hint: `ex.batch_dice.hint()`.


# %%
def soft_dice(logits, target): ...  # your code


ex.batch_dice.check(soft_dice)

# %%
ex.batch_dice.show_solution()

# %% [markdown]
# ### 5.4 Hard pixels
#
# Given the probability of the true class of every pixel (pixels,), return the mean of
# $-\log p$ over the hard ones: those below `threshold`, but at least the `min_kept`
# hardest, or all if there are fewer. Hint: `ex.hard_pixels.hint()`.


# %%
def hard_mean(probability, threshold, min_kept): ...  # your code


ex.hard_pixels.check(hard_mean)

# %%
ex.hard_pixels.show_solution()

# %% [markdown]
# ### 5.5 Lovász weights
#
# The truth (0 or 1) of pixels sorted by their error, the largest first. What does each
# further mistake add to $1 - \mathrm{IoU}$? Do `1 0 1 0` on paper first. Hint:
# `ex.lovasz.hint()`.


# %%
def error_weights(sorted_truth): ...  # your code


ex.lovasz.check(error_weights)

# %%
ex.lovasz.show_solution()

# %% [markdown]
# ### 5.6 An experiment: the best constant
#
# Which constant probability does a loss like best? `loss(probability, target)` takes
# two
# vectors. Try 0.01, 0.02, ..., 0.99 and return the best. Then invent a loss of your own
# and ask where a network trained with it will go first. Hint: `ex.constant.hint()`.


# %%
def best_constant_of(loss, target): ...  # your code


ex.constant.check(best_constant_of)

# %%
ex.constant.show_solution()

# %% [markdown]
# ## Quiz
#
# Choose an answer; it explains itself.

# %% [markdown]
# **Q1. One pixel in a hundred is foreground. To which constant does cross-entropy first
# take a network?**
#
# <details class="quiz wrong"><summary>0.5, because there are two classes</summary>
#
# Not quite: that is the best constant of *balanced* cross-entropy.
#
# </details>
# <details class="quiz right"><summary>0.01, the share of the foreground</summary>
#
# Right: the mean of p - t is zero there. And 0.01 is below one half everywhere.
#
# </details>
# <details class="quiz wrong"><summary>1, to be safe</summary>
#
# Not quite: that is where Dice goes first; it does not count true negatives.
#
# </details>

# %% [markdown]
# **Q2. Why can Dice alone fail to bring back a pixel that is wrong with certainty?**
#
# <details class="quiz right"><summary>The sigmoid is saturated</summary>
#
# Right: its slope p (1 - p) is nearly zero. Cross-entropy's logarithm cancels it.
#
# </details>
# <details class="quiz wrong"><summary>Dice ignores false negatives</summary>
#
# Not quite: they enlarge T without I, so the loss does see them. It is the way back to
# the logit that is blocked.
#
# </details>
# <details class="quiz wrong"><summary>Dice has no gradient at all</summary>
#
# Not quite: the soft form has one. The thresholded metric has none.
#
# </details>

# %% [markdown]
# **Q3. You multiply all class weights by ten. Which loss changes?**
#
# <details class="quiz wrong"><summary>Both forms of weighted cross-entropy</summary>
#
# Not quite: dividing by the sum of the weights cancels the factor.
#
# </details>
# <details class="quiz right"><summary>Only the one that divides by pixels</summary>
#
# Right, and with it the effective learning rate.
#
# </details>
# <details class="quiz wrong"><summary>Neither</summary>
#
# Not quite: with a plain mean over pixels the factor stays.
#
# </details>

# %% [markdown]
# **Q4. In RetinaNet's focal loss with α = 0.25, which pixels get the smaller α?**
#
# <details class="quiz right"><summary>the rare positives</summary>
#
# Right: γ has already made the many easy negatives small, and α corrects that.
#
# </details>
# <details class="quiz wrong"><summary>the frequent negatives</summary>
#
# Not quite: they get 1 - α = 0.75. It surprises everybody.
#
# </details>
# <details class="quiz wrong"><summary>the easy ones, whatever their class</summary>
#
# Not quite: fading the easy ones is the work of γ.
#
# </details>

# %% [markdown]
# **Q5. Which Tversky weights find more of a lesion, but raise more false alarms?**
#
# <details class="quiz wrong"><summary>0.7 on false positives, 0.3 on misses</summary>
#
# Not quite: that makes false alarms expensive, so the network finds less.
#
# </details>
# <details class="quiz wrong"><summary>0.5 and 0.5</summary>
#
# Not quite: that is Dice, which charges both alike.
#
# </details>
# <details class="quiz right"><summary>0.3 on false positives, 0.7 on misses</summary>
#
# Right: a miss costs more than a false alarm.
#
# </details>

# %% [markdown]
# **Q6. A batch contains no pixel of class 4. In this course, its Dice loss**
#
# <details class="quiz wrong"><summary>is 1, whatever is predicted</summary>
#
# Not quite: a mean with constant ones only hides the other classes.
#
# </details>
# <details class="quiz right"><summary>is left out of the mean</summary>
#
# Right. The price: false positives of class 4 cost nothing in this batch. Cross-entropy
# beside it does charge for them.
#
# </details>
# <details class="quiz wrong"><summary>is nan</summary>
#
# Not quite: a loss must stay finite; here 0 / 0 never enters the mean.
#
# </details>

# %% [markdown]
# **Q7. Where is U-Net's border weight largest?**
#
# <details class="quiz wrong"><summary>on the outline of every object</summary>
#
# Not quite: near a lonely object the second nearest is far away, and the term vanishes.
#
# </details>
# <details class="quiz wrong"><summary>inside small objects</summary>
#
# Not quite: objects themselves get nothing from this term.
#
# </details>
# <details class="quiz right"><summary>in the narrow gap between two objects</summary>
#
# Right: there the distances to the nearest and the second nearest are both small.
#
# </details>

# %% [markdown]
# ## Take-aways
#
# - Ask of every loss: what is a pixel's weight, what is divided by, which classes are
#   in the mean, and is void out?
# - A rare foreground makes cross-entropy say "nothing" first, and the focal loss with
#   its usual settings too. Balancing and overlap losses begin elsewhere.
# - Cross-entropy pulls on lost pixels, overlap looks after small regions. Their sum is
#   a sound default, unless the foreground is very rare: then let overlap lead.
# - Class weights trade precision for recall. Take the gentlest that finds your class.
# - Losses cannot be compared by their values. Compare IoU, and question the threshold.
#
# ## Further reading
#
# - [Lin et al., Focal loss for dense object detection](https://arxiv.org/abs/1708.02002)
# - [Milletari et al., V-Net](https://arxiv.org/abs/1606.04797): Dice as a loss
# - [Sudre et al., Generalised Dice](https://arxiv.org/abs/1707.03237)
# - [Salehi et al., Tversky loss](https://arxiv.org/abs/1706.05721), and
#   [Abraham and Khan, focal Tversky](https://arxiv.org/abs/1810.07842)
# - [Berman et al., The Lovász-softmax loss](https://arxiv.org/abs/1705.08790)
# - [Kervadec et al., Boundary loss](https://arxiv.org/abs/1812.07032), and
#   [Karimi and Salcudean, Hausdorff distance losses](https://arxiv.org/abs/1904.10030)
# - [Eigen and Fergus](https://arxiv.org/abs/1411.4734), median-frequency balancing;
#   [Paszke et al., ENet](https://arxiv.org/abs/1606.02147), logarithmic weights;
#   [Xie and Tu, HED](https://arxiv.org/abs/1504.06375), balanced cross-entropy
# - [Shrivastava et al., Online hard example mining](https://arxiv.org/abs/1604.03540)
# - [Ronneberger et al., U-Net](https://arxiv.org/abs/1505.04597), the border weight map
