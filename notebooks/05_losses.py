# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # 5. Losses for imbalanced classes
#
# This chapter shows how to train a network for a class that covers one pixel in a
# hundred: initialise the bias of the last layer, choose the threshold on separate
# images, and only then compare losses.
#
# After this chapter you can
#
# - predict what training does without a good initial bias (exercise 5.2), and decide
#   whether the bias or the threshold needs a change (5.3);
# - compute class weights, and write a Dice loss that leaves void pixels out (5.1, 5.4);
# - predict how class weights change probabilities, and choose a threshold without
#   touching the test images (5.5, 5.6).
#
# You need [chapter 2](02_data.ipynb) (void, class frequencies) and [chapter
# 3](03_metrics.ipynb) (IoU, Dice). The notebook takes about one minute on one CPU
# thread.

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
import math
from statistics import mean, stdev

import torch.nn.functional as F
from torch import nn

from segcourse import losses, tables, viz
from segcourse.data import (
    Cached,
    Dots,
    Photographs,
    Sample,
    Toytown,
    batches,
    measured,
    photographs,
    stack,
    toytown,
)
from segcourse.losses import cross_entropy, dice_loss
from segcourse.metrics import confusion_matrix, iou, pixel_accuracy
from segcourse.models import UNet
from segcourse.ops import IGNORE
from segcourse.training import fit

# %% [markdown]
# ## The problem
#
# The images of this chapter show a few round *dots*, which are slightly brighter than a
# cloudy, noisy background. About one pixel in a hundred belongs to a dot. Such classes
# are **imbalanced**: the **foreground**, here the dots, is rare.

# %%
training = Cached(Dots(200, share=0.01, seed=0))
validation = stack(list(Dots(50, share=0.01, seed=1)))
print(
    "images",
    tuple(validation.image.shape),
    "ground truth",
    tuple(validation.semantic.shape),
)
share = torch.stack([each.semantic for each in training]).float().mean().item()
print(f"share of the dots in the training images: {share:.4f}")

# %% [markdown]
# We train a small U-Net ([chapter 8](08_unet.ipynb)) with one output channel. Its
# output at a pixel is the **logit** $z$. The sigmoid turns the logit into the
# probability $p = 1 / (1 + e^{-z})$ of a dot. We predict a dot where $p$ is larger than
# the **threshold** 0.5. The loss is **cross-entropy** (CE): the mean of $-\log q$,
# where $q$ is the probability of the true class of a pixel. The optimiser is AdamW; its
# learning rate falls from 0.003 to 0 in 160 steps.


# %%
def train(loss, dataset, bias=0.0, watch=lambda net, step: None):
    """160 steps of AdamW: -> network, and the mean of p in every step."""
    seed_everything(0)
    net = UNet(1, width=8, depth=2, padding=1, batch_norm=True, dropout=0.0)
    nn.init.constant_(net.head.bias, bias)
    mean_p = []

    def loss_of_batch(net, batch):
        watch(net, len(mean_p))
        logits = net(batch.image)
        mean_p.append(logits.sigmoid().mean().item())
        return loss(logits, batch.semantic)

    data = batches(dataset, batch_size=8, seed=0)
    fit(net, loss_of_batch, data, steps=160, learning_rate=3e-3)
    return net.eval(), mean_p


# %%
@torch.no_grad()
def probability(net, sample):
    """p of every pixel: -> (N, H, W)."""
    return torch.cat([net(part)[:, 0].sigmoid() for part in sample.image.split(25)])


def foreground_iou(p, sample, threshold=0.5):
    """IoU of the foreground over all pixels of the sample."""
    return iou(confusion_matrix((p > threshold).long(), sample.semantic, 2))[1].item()


# %% tags=["tol=0.05"]
plain, plain_mean = train(cross_entropy, training)
plain_p = probability(plain, validation)
matrix = confusion_matrix((plain_p > 0.5).long(), validation.semantic, 2)
print(f"pixel accuracy     {pixel_accuracy(matrix):.3f}")
print(f"IoU of the dots    {foreground_iou(plain_p, validation):.3f}")
print(f"mean of p on dots  {plain_p[validation.semantic == 1].mean():.3f}")
print(f"mean of p overall  {plain_p.mean():.3f}")

# %% tags=["hide-input"]
viz.show_images(
    {
        "image": validation.image[6],
        "ground truth": validation.semantic[6] == 1,
        "predicted dots": plain_p[6] > 0.5,
        "p (dark 0, yellow 0.5)": plain_p[6],
    },
    limits=(0, 0.5),
    alt="A noisy grey image with two faint dots; the mask of these dots; the "
    "prediction, which is entirely black; and the map of p: the two dots are the "
    "brightest spots, striped green areas lie mostly over bright clouds, and the rest "
    "is dark blue.",
)

# %% [markdown]
# The accuracy is high because 99 % of the pixels are background. The IoU is near 0
# because $p$ hardly ever exceeds 0.5. Yet the dots are the brightest parts of the last
# map.
#
# In the last printed line, the mean of $p$ is many times as large as the share of the
# dots.
#
# ## The idea
#
# Three choices matter for a rare class. We make them in this order: the **initial
# bias** of the last layer, the **threshold**, and the **loss**.
#
# ### First, the initial bias
#
# The bias of the last layer usually starts near 0, so that $p$ starts near one half.
# The gradient of the mean cross-entropy of $n$ pixels with respect to one logit is $(p
# - t) / n$, where $t$ is 1 on foreground and 0 on background. The bias is added to
# every logit, so its gradient is the sum of all these gradients. Take an image of $n =
# 100$ pixels, one of them foreground, with the same $p$ everywhere:
#
# - If $p = 0.5$, the 99 background pixels add up to the gradient $99 \cdot 0.5 / 100 =
#   0.495$, and the foreground pixel has $(0.5 - 1) / 100 = -0.005$. The sum is
#   positive, so the step lowers the bias, and with it $p$ everywhere.
# - If $p = 0.01$, the background adds up to $99 \cdot 0.01 / 100 = 0.0099$, and the
#   foreground pixel has $(0.01 - 1) / 100 = -0.0099$. The sum is 0, so the bias stays,
#   and only logits that change *differently* on dots and background can lower the loss.
#
# Training should therefore start with $p$ near the share $\pi$ of foreground pixels in
# the training images. The last layer adds its bias $b$ to a weighted sum of its inputs.
# If these inputs are near 0, then $p$ is near $\pi$ for the **prior bias**
#
# $$b = \log \frac{\pi}{1 - \pi}$$
#
# [Lin et al.](https://arxiv.org/abs/1708.02002) use $\pi = 0.01$.


# %%
def gradient_sums(bias):
    """Sums of the gradient over 99 background pixels and 1 foreground pixel."""
    target = (torch.arange(100) == 0).long().reshape(1, 10, 10)
    x = torch.full((1, 1, 10, 10), bias, requires_grad=True)
    (gradient,) = torch.autograd.grad(cross_entropy(x, target), x)
    return gradient[:, 0][target == 0].sum().item(), gradient[0, 0, 0, 0].item()


prior = math.log(0.01 / 0.99)
for bias in (0.0, prior):
    background, foreground = gradient_sums(bias)
    print(f"bias {bias:6.3f}: background {background:.4f}, foreground {foreground:.4f}")

# %% [markdown]
# We train again, and change only the bias:

# %% tags=["tol=0.05"]
started, started_mean = train(cross_entropy, training, bias=prior)
started_p = probability(started, validation)
print(f"IoU of the dots: bias 0 {foreground_iou(plain_p, validation):.3f}, ", end="")
print(f"prior bias {foreground_iou(started_p, validation):.3f}")

# %% tags=["hide-input"]
viz.show_images(
    {
        "image": validation.image[6],
        "ground truth": validation.semantic[6] == 1,
        "trained from bias 0": plain_p[6] > 0.5,
        "trained from the prior bias": started_p[6] > 0.5,
    },
    alt="A noisy grey image with two faint dots; the mask of these dots; the black "
    "prediction of the network trained from bias 0; and the prediction of the network "
    "trained from the prior bias, which shows both dots.",
)

# %% [markdown]
# Most dots are now found. The figure shows the mean of $p$ during training, also for
# two other losses.

# %% tags=["tol=0.1"]
dice_net, dice_mean = train(dice_loss, training)
balanced, balanced_mean = train(losses.balanced_cross_entropy, training)
runs = {"cross-entropy": plain_mean, "Dice": dice_mean, "balanced CE": balanced_mean}
for name, curve in {**runs, "cross-entropy, prior bias": started_mean}.items():
    first, highest, last = curve[0], max(curve), curve[-1]
    print(
        f"{name:26s} mean of p: {first:.2f}, at most {highest:.2f}, at last {last:.3f}"
    )

# %% tags=["hide-input"]
viz.show_curves(
    {
        "cross-entropy, bias 0": plain_mean,
        "Dice, bias 0": dice_mean,
        "balanced cross-entropy, bias 0": balanced_mean,
        "cross-entropy, prior bias": started_mean,
        "share of the dots": ([0, 159], [share, share]),
    },
    xlabel="step",
    ylabel="mean of p (logarithmic)",
    yscale="log",
    alt="Mean of p over 160 steps on a logarithmic axis. The three curves that start "
    "with bias 0 begin above one half and fall slowly; Dice ends lowest of them, and "
    "all end far above the line of the share, 0.01. The curve with the prior bias "
    "begins near the line and stays near it.",
)

# %% [markdown]
# From bias 0 the mean of $p$ falls slowly under all three losses, and is lowest with
# Dice at the end. None of these three curves reaches the share of the dots in 160
# steps.
#
# The bias shows why. AdamW divides each gradient by a running estimate of its size, so
# a step moves a weight by about the learning rate at most. (It also shrinks every
# weight a little, which is called *weight decay*.) Compare the bias that is needed with
# the sum of all learning rates:

# %% tags=["tol=0.05"]
rates = [3e-3 * (1 - step / 160) ** 0.9 for step in range(160)]
print(f"bias needed: {prior:.2f}")
print(f"sum of the learning rates: {sum(rates):.2f}")
print(f"bias after training from 0: {plain.head.bias.item():.2f}")

# %% [markdown]
# The bias cannot move far enough, so the other weights have to lower $p$ instead. Does
# this cause the low IoU? A stored experiment with three seeds, *the sweep* (`python -m
# benchmarks.loss_sweep`), tests this. In the third row, only the bias has another
# learning rate, 100 times as large, and no weight decay. Numbers after ± are standard
# deviations over the seeds.

# %% tags=["hide-input"]
results = measured("loss_sweep")
runs = {(row["loss"], row["share"], row["start"]): row for row in results["sweep"]}


def spread(values):
    """Mean and standard deviation over the seeds, as text."""
    return f"{mean(values):.2f} ± {stdev(values):.2f}"


arms = {
    "bias 0": runs["cross-entropy", 0.01, "zero"],
    "bias 0, four times the steps": results["causes"]["longer"],
    "bias 0, learning rate of the bias x 100": results["causes"]["fast bias"],
    "prior bias": runs["cross-entropy", 0.01, "prior"],
}
tables.show_table(
    [
        {
            "cross-entropy at 1 %": name,
            "IoU of the dots": spread(row["iou"]),
            "bias at the end": f"{mean(row['bias']):.1f}",
        }
        for name, row in arms.items()
    ]
)

# %% [markdown]
# A faster bias brings back most of the IoU, so the slow bias was the main cause *in 160
# steps*. With four times the steps the IoU is at least as high as with the prior bias,
# although the bias is still near 0: the other weights must have lowered $p$.
#
# ### Second, the threshold
#
# Some losses give a larger $p$ because they weigh the foreground more. **Balanced
# cross-entropy** multiplies the loss of a pixel by the share of the *other* class in
# the batch. Take 100 pixels that look alike, one of them a dot, which gets the weight
# 0.99. The others get 0.01. At $p = 0.5$ the gradient of the dot is $-0.99 \cdot 0.5 /
# 100$, and that of the background $99 \cdot 0.01 \cdot 0.5 / 100$. Both cancel, so 0.5
# is the best $p$, although only 1 % of these pixels are dots. The threshold 0.5 then
# gives far too many dots.
#
# The threshold must therefore be chosen for each loss, on a **tuning set**: images that
# are used neither for training nor for the reported result, which comes from
# `validation`. We keep the threshold with the highest IoU there.

# %% tags=["tol=0.2"]
tuning = stack(list(Dots(50, share=0.01, seed=2)))
THRESHOLDS = [step / 50 for step in range(1, 50)]
networks = {
    "cross-entropy, bias 0": plain,
    "cross-entropy, prior bias": started,
    "balanced CE, bias 0": balanced,
}
curves, rows = {}, []
for name, net in networks.items():
    p, p_validation = probability(net, tuning), probability(net, validation)
    curves[name] = [foreground_iou(p, tuning, t) for t in THRESHOLDS]
    best = THRESHOLDS[curves[name].index(max(curves[name]))]
    row = {"network": name, "IoU at 0.5": foreground_iou(p_validation, validation)}
    rows.append(
        {
            **row,
            "threshold": best,
            "IoU there": foreground_iou(p_validation, validation, best),
        }
    )
tables.show_table(rows, digits=2)

# %% tags=["hide-input"]
viz.show_curve_panels(
    {"tuning set": {name: (THRESHOLDS, curve) for name, curve in curves.items()}},
    xlabels=["threshold"],
    ylabels=["IoU of the dots"],
    alt="IoU against the threshold. Cross-entropy with bias 0 has a low peak near 0.3 "
    "and is zero from 0.5 on. With the prior bias the curve is high and flat from 0.1 "
    "to 0.6. The curve of balanced cross-entropy rises all the way and peaks near 1.",
)

# %% [markdown]
# The tuned threshold of balanced cross-entropy raises the IoU from about one third to
# above one half. With the prior bias, tuning gains a few hundredths for cross-entropy.
# From bias 0, tuning helps cross-entropy less than the prior bias does.
#
# <details class="deeper"><summary>Going deeper: why the best threshold is rarely one
# half</summary>
#
# Suppose that the probabilities are **calibrated**: of all pixels with $p = 0.3$, 30 %
# are foreground. The Dice score of a large set of predicted pixels is $D = 2I / (S +
# T)$, with $I$ true positives, $S$ predicted and $T$ true pixels. One more predicted
# pixel adds $p$ to the expected $I$ and 1 to $S$. The score rises if
#
# $$\frac{2I + 2p}{S + T + 1} > \frac{2I}{S + T}, \quad\text{that is, if}\quad p >
# \frac{D}{2}$$
#
# The best threshold is half of the best Dice score, so it is below one half unless the
# segmentation is perfect. IoU grows with Dice and therefore has the same best
# threshold. Class weights give probabilities that are not calibrated, and overlap
# losses need not give calibrated ones either. Their best threshold can lie anywhere.
#
# </details>
#
# ### Third, the loss
#
# A **pixelwise loss** is a weighted mean of the cross-entropy of single pixels:
#
# $$L = \frac{1}{v} \sum_i w_i\, (-\log q_i)$$
#
# where $q_i$ is the probability of the true class of pixel $i$, $w_i$ is the weight of
# the pixel, and $v$ is either the number of pixels or the sum of the weights. In the
# table, $\gamma$ is an exponent, usually 2, and $\theta$ is a limit for $q$.
#
# | loss | weight $w_i$ | $v$: number or sum |
# |---|---|---|
# | cross-entropy | 1 | number |
# | class weights | $w_{\text{class of } i}$ | sum or number |
# | balanced | share of the other class | number |
# | focal | $(1 - q_i)^\gamma$ | number |
# | OHEM | 1 if $q_i < \theta$, else 0 | sum |
#
# In the right panel of the figure, look at pixels with $q$ above 0.7.

# %% tags=["hide-input"]
q = torch.linspace(0.01, 0.99, 99)
of_one_pixel = {
    "cross-entropy": lambda q: -q.log(),
    "OHEM, limit 0.7": lambda q: -q.log() * (q < 0.7),
    "focal, gamma = 2": lambda q: -((1 - q) ** 2) * q.log(),
    "class weight 3": lambda q: -3 * q.log(),
}
gradients = {}
for name, loss in of_one_pixel.items():
    x = torch.logit(q).requires_grad_()
    (gradient,) = torch.autograd.grad(loss(x.sigmoid()).sum(), x)
    gradients[name] = (q, gradient.abs())
viz.show_curve_panels(
    {
        "loss of a pixel": {n: (q, loss(q)) for n, loss in of_one_pixel.items()},
        "gradient with respect to its logit": gradients,
    },
    xlabels=["probability q of the true class"] * 2,
    ylabels=["loss", "size of the gradient"],
    alt="Two panels over the probability of the true class. Left: all losses fall to "
    "zero; class weight 3 is three times cross-entropy, focal is below it, OHEM drops "
    "to zero at 0.7. Right: the gradient of cross-entropy is a falling line, class "
    "weight 3 is three times as steep, focal is above it for q below 0.3 and near zero "
    "from 0.7 on, and OHEM equals cross-entropy up to 0.7 and is zero beyond.",
)

# %% [markdown]
# Above 0.7 OHEM has no gradient and focal loss a small one; below $\theta$ OHEM
# coincides with cross-entropy. Below about 0.3 focal loss is steeper than
# cross-entropy, because its weight depends on $q$ too.
#
# An **overlap loss** compares whole regions instead. For one class, let $p$ be the
# probabilities and $t$ the ground truth (1 inside the class, 0 elsewhere), and add up
# over the pixels:
#
# $$I = \sum p\,t, \qquad S = \sum p, \qquad T = \sum t$$
#
# | loss | formula | in words |
# |---|---|---|
# | Dice | $1 - 2I / (S + T)$ | 1 − Dice score of probabilities |
# | Jaccard | $1 - I / (S + T - I)$ | 1 − IoU of probabilities |
# | Tversky | $1 - I / (I + \alpha(S - I) + \beta(T - I))$ | both errors weighted |
# | Lovász | see below | 1 − IoU, with the *Lovász extension* to probabilities |
#
# In Tversky, $\alpha$ multiplies the false positives $S - I$, and $\beta$ multiplies
# the false negatives $T - I$.
#
# In the left panel, the predicted region grows from 0 to 40 of 100 pixels, the 10
# foreground pixels first. The right panel varies the logit of one foreground pixel; the
# other foreground logits are 0, those of the background −3. Only this panel shows
# cross-entropy.


# %% tags=["hide-input"]
def gradient_size(loss, logit):
    """Size of the gradient at one of 10 foreground pixels, which has this logit."""
    target = (torch.arange(100) < 10).long().reshape(1, 1, 100)
    x = torch.where(target == 1, 0.0, -3.0)[:, None].double()
    x[..., 0] = logit
    x.requires_grad_()
    return torch.autograd.grad(loss(x, target), x)[0][0, 0, 0, 0].abs().item()


def of_region(loss, size):
    """Loss of a mask that consists of the first ``size`` of 100 pixels."""
    target = (torch.arange(100) < 10).long().reshape(1, 1, 100)
    x = torch.where(torch.arange(100) < size, 40.0, -40.0).reshape(1, 1, 1, 100)
    return loss(x, target).item()


overlap = {
    "Dice": dice_loss,
    "Jaccard": losses.jaccard_loss,
    "Tversky (0.3, 0.7)": losses.tversky_loss,
    "Lovász": losses.lovasz_softmax_loss,
    "cross-entropy": cross_entropy,
}
sizes, values = list(range(41)), torch.linspace(-10, 8, 73).tolist()

# %% tags=["hide-input"]
viz.show_curve_panels(
    {
        "loss of a region": {
            name: (sizes, [of_region(loss, k) for k in sizes])
            if loss is not cross_entropy
            else (sizes, [math.nan] * 41)
            for name, loss in overlap.items()
        },
        "gradient at a foreground pixel": {
            name: (values, [gradient_size(loss, v) for v in values])
            for name, loss in overlap.items()
        },
    },
    xlabels=["predicted pixels (10 are right)", "logit of the pixel"],
    ylabels=["loss", "size of the gradient"],
    alt="Left: all losses fall to zero at 10 predicted pixels and then rise; Tversky "
    "rises least, Jaccard and Lovász coincide and rise most. Right: every overlap loss "
    "has a hump around logit 0 and is near zero at both ends; Lovász drops abruptly "
    "at 3. Cross-entropy is largest for very wrong logits and falls to zero.",
)

# %% [markdown]
# On the left, Tversky is smaller than Dice if the region is too large, and larger if it
# is too small. Jaccard and Lovász coincide, because both equal 1 − IoU for a binary
# mask. On the right, a foreground pixel with the logit −10 is badly wrong, yet its
# gradient under an overlap loss is almost 0 because the sigmoid is flat there.
# Cross-entropy has its largest gradient at such a pixel, one argument for adding it to
# an overlap loss (*Dice + CE*).
#
# ## Build it
#
# ### Cross-entropy
#
# We build each loss for random logits with eight classes and compare it with
# `segcourse.losses`. Void pixels, labelled `IGNORE`, are left out.

# %%
scenes = stack(list(Toytown(2, seed=2, void=1)))
target = scenes.semantic  # (N, H, W)
logits = torch.randn(2, 8, 96, 128, generator=torch.Generator().manual_seed(1))
counted = target != IGNORE
safe = target.where(counted, 0)  # void gets a valid class, so that gather works
log_q = logits.log_softmax(dim=1)  # (N, K, H, W)
pixel_loss = -log_q.gather(1, safe[:, None])[:, 0] * counted  # (N, H, W)
by_hand = pixel_loss.sum() / counted.sum()
print("void pixels:", (~counted).sum().item())
print(f"cross-entropy {by_hand:.4f}")
print("segcourse agrees:", torch.allclose(by_hand, cross_entropy(logits, target)))

x = logits.clone().requires_grad_()
(gradient,) = torch.autograd.grad(cross_entropy(x, target), x)
one_hot = F.one_hot(safe, 8).movedim(-1, 1)
expected = (logits.softmax(1) - one_hot) * counted[:, None] / counted.sum()
print("gradient is (p - t) / n:", torch.allclose(gradient, expected, atol=1e-9))

# %% [markdown]
# ### Class weights
#
# Let $f$ be the frequency of a class: its share of all pixels. *Inverse frequency* is
# $1 / f$, scaled to mean 1, and *log frequency* is $1 / \ln(1.02 + f)$. *Median
# frequency*, used by [SegNet](https://arxiv.org/abs/1511.00561), is $\mathrm{median}(g)
# / g$, where $g$ is the share of the class in only those images that *contain* the
# class.

# %%
maps = torch.stack([scene.semantic for scene in Toytown(100)])
counts = losses.class_counts(maps, 8)  # (100, 8): pixels per image and class
schemes = {
    "frequency": losses.frequency(counts),
    "inverse": losses.inverse_frequency_weights(counts),
    "median": losses.median_frequency_weights(counts),
    "log": losses.log_frequency_weights(counts),
}
tables.show_table(
    [
        {"class": name, **{s: w[k].item() for s, w in schemes.items()}}
        for k, name in enumerate(toytown.CLASSES)
    ],
    digits=2,
)
for name in ("inverse", "median", "log"):
    print(f"{name}: ratio {(schemes[name].max() / schemes[name].min()).item():.1f}")

# %% [markdown]
# The log scheme is the mildest. The ratios of inverse and median frequency differ
# slightly because not every image contains every class. A common factor of all weights
# cancels if the loss is divided by the sum of the weights, as in PyTorch. If the loss
# is divided by the number of pixels, ten times the weights give ten times the gradient.
# Compare SGD and AdamW:

# %%
for optimizer_class in (torch.optim.SGD, torch.optim.AdamW):
    lengths = []
    for factor in (1, 10):
        seed_everything(0)
        layer = nn.Conv2d(3, 8, kernel_size=1)
        before = layer.weight.detach().clone()
        optimizer = optimizer_class(layer.parameters(), lr=1e-3)
        weight = factor * schemes["median"]
        for _ in range(20):
            optimizer.zero_grad()
            output = layer(scenes.image)
            cross_entropy(output, target, weight=weight, normalizer="pixels").backward()
            optimizer.step()
        lengths.append((layer.weight - before).norm().item())
    ratio = lengths[1] / lengths[0]
    name = optimizer_class.__name__
    print(f"{name:5s} with weights x 10: moves {ratio:.1f} times as far in 20 steps")

# %% [markdown]
# AdamW moves equally far, because it divides by the size of the gradient. If no other
# loss is added, only the *ratios* of the weights matter to AdamW.
#
# ### Focal loss and OHEM
#
# The **focal loss** has the weight $(1 - q)^\gamma$. With $\gamma = 2$, a pixel with $q
# = 0.9$ keeps $0.1^2 = 0.01$ of its cross-entropy, and a pixel with $q = 0.1$ keeps
# $0.9^2 = 0.81$. **OHEM** (online hard example mining) averages over the pixels with $q
# < \theta$ only, but over at least `min_kept` pixels, those with the smallest $q$. The
# sweep uses $\theta = 0.7$ and keeps at least 2000 of the 32,768 pixels of a batch. For
# the random logits, nearly all $q$ are below 0.7, so here we take $\theta = 0.05$.

# %%
q = log_q.gather(1, safe[:, None])[:, 0].exp()
focal = ((1 - q) ** 2 * pixel_loss).sum() / counted.sum()
library = losses.focal_loss(logits, target, gamma=2.0)
print(f"focal {focal:.4f}", "segcourse agrees:", torch.allclose(focal, library))
hard = pixel_loss[counted & (q < 0.05)]
library = losses.ohem_cross_entropy(logits, target, threshold=0.05, min_kept=100)
print(
    f"OHEM  {hard.mean():.4f}",
    "segcourse agrees:",
    torch.allclose(hard.mean(), library),
)
print(f"{len(hard)} of {counted.sum()} pixels are hard")

# %% [markdown]
# Some focal losses also multiply foreground by $\alpha$ and background by $1 - \alpha$.
# The sweep tries $\alpha = 0.25$ and $0.75$, with $\gamma = 2$.
#
# <details class="deeper"><summary>Going deeper: the small weight of the rare
# class</summary>
#
# RetinaNet, the detector of the focal-loss paper, uses $\alpha = 0.25$, so the *rare*
# class gets the smaller weight. The paper combines this with the prior bias.
#
# </details>
#
# ### Dice, Jaccard and Tversky
#
# These losses need three sums per class over the pixels of the batch. A class that is
# absent from the ground truth is left out of the mean. Libraries often add a constant
# `smooth` to numerator and denominator against 0/0.

# %%
p = logits.softmax(dim=1) * counted[:, None]
t = F.one_hot(safe, 8).movedim(-1, 1) * counted[:, None]
intersection = (p * t).sum(dim=(0, 2, 3))  # I
predicted, true = p.sum(dim=(0, 2, 3)), t.sum(dim=(0, 2, 3))  # S and T
fp, fn = predicted - intersection, true - intersection  # false positives, negatives
forms = {
    "dice": 1 - 2 * intersection / (predicted + true),
    "jaccard": 1 - intersection / (predicted + true - intersection),
    "tversky": 1 - intersection / (intersection + 0.3 * fp + 0.7 * fn),
}
for name, by_class in forms.items():
    by_hand = by_class[true > 0].mean()
    library = getattr(losses, f"{name}_loss")(logits, target)
    print(
        f"{name:8s} {by_hand:.4f} segcourse agrees:", torch.allclose(by_hand, library)
    )

# %% [markdown]
# ### Lovász loss
#
# IoU jumps when a pixel changes its class, so it has no useful gradient. The *Lovász
# extension* interpolates between these jumps. Sort the pixels by their error $|t - p|$,
# the largest first, and count them as wrong one after the other. Each new wrong pixel
# raises $1 - \mathrm{IoU}$ until it is 1. This increase is the weight of the pixel's
# error, and the loss is the weighted sum of the errors. Take four pixels, two of them
# foreground. If only the first, a foreground pixel, is wrong, IoU is 1/2; if the
# second, a background pixel, is wrong too, it is 1/3. The first two weights are 1/2 and
# 1/2 − 1/3 = 1/6:

# %%
sorted_target = torch.tensor([1.0, 0, 1, 0])  # the largest error first
errors = torch.tensor([0.9, 0.6, 0.3, 0.1])
remaining = sorted_target.sum() - sorted_target.cumsum(0)  # intersection
union = sorted_target.sum() + (1 - sorted_target).cumsum(0)
jaccard = 1 - remaining / union  # 1 - IoU after each wrong pixel
weights = jaccard.diff(prepend=torch.zeros(1))
print("1 - IoU:", [round(v, 3) for v in jaccard.tolist()])
print("weights:", [round(v, 3) for v in weights.tolist()])
print(f"loss:    {errors @ weights:.3f}")
print(
    "segcourse agrees:", torch.allclose(weights, losses.lovasz_weights(sorted_target))
)

# %% [markdown]
# <details class="deeper"><summary>Going deeper: the drop of Lovász</summary>
#
# The weight depends on the place in this order. In the figure of the gradients above,
# the background has the logit −3. Above the logit 3 the error of the foreground pixel
# is therefore smaller than the errors of all background pixels, so the pixel moves to
# the end of the order and its weight drops.
#
# </details>
#
# <details class="deeper"><summary>Going deeper: losses that use distances</summary>
#
# Two further losses make the *position* of a pixel count. Both need a distance map of
# the ground truth. The map is computed after the label map has been flipped, resized or
# warped, because a warped distance map no longer holds distances.
#
# - The **boundary loss** (`losses.boundary_loss`) is the mean of $p \cdot \varphi$,
#   where $\varphi$ is the signed distance to the true boundary, negative inside.
#   Distant false positives cost most. [Its authors](https://arxiv.org/abs/1812.07032)
#   combine it with an overlap loss, a generalisation of Dice.
# - U-Net's **border weights** multiply cross-entropy by a class weight plus $w_0
#   \exp(-(d_1 + d_2)^2 / (2\sigma^2))$, where $d_1$ and $d_2$ are the distances to the
#   nearest and second nearest object, $w_0 = 10$ and $\sigma = 5$.
#   `losses.border_weights` gives the second term, and 0 inside objects. The background
#   in a narrow gap between two objects gets the largest weight, so that touching
#   objects are kept apart. [Chapter 8](08_unet.ipynb) trains with them.
#
# </details>
#
# ## On a real image
#
# The foreground is the rocket in the photograph. We train on 200 random crops and
# evaluate on the whole image: the IoU only says how fast a network fits this
# photograph. The prior bias uses the share of the rocket in the crops.

# %%
photo = Photographs("rocket", longest=256)[0]
image, labels = photo.image[:, :168], photo.semantic[:168]  # sides: multiples of 8
rocket = (labels == photographs.CLASSES.index("rocket")).long()
rocket[labels == IGNORE] = IGNORE
whole = Sample(image[None], rocket[None], rocket[None])
random = torch.Generator().manual_seed(0)
rows = torch.randint(168 - 63, (200,), generator=random).tolist()
columns = torch.randint(256 - 63, (200,), generator=random).tolist()
crops = [
    Sample(image[:, r : r + 64, c : c + 64], *[rocket[r : r + 64, c : c + 64]] * 2)
    for r, c in zip(rows, columns, strict=True)
]
counts = losses.class_counts(torch.stack([crop.semantic for crop in crops]), 2)
rocket_share = losses.frequency(counts)[1].item()
in_image = losses.frequency(losses.class_counts(rocket[None], 2))[1].item()
print(f"share of the rocket: image {in_image:.3f}, ", end="")
print(f"crops {rocket_share:.3f}")


# %% tags=["tol=0.2"]
def fit_photo(loss, bias):
    """Train on the crops: -> p of the whole image after 0, 10, ..., 160 steps."""
    maps = {}

    def watch(net, step):
        if step % 10 == 0:
            maps[step] = probability(net.eval(), whole)
            net.train()

    net, _ = train(loss, crops, bias, watch)
    maps[160] = probability(net, whole)
    return maps


rocket_prior = math.log(rocket_share / (1 - rocket_share))
fitted = {
    "CE, bias 0": fit_photo(cross_entropy, 0.0),
    "Dice, bias 0": fit_photo(dice_loss, 0.0),
    "CE, prior bias": fit_photo(cross_entropy, rocket_prior),
}
for name, maps in fitted.items():
    early, late = (foreground_iou(maps[step], whole) for step in (20, 160))
    print(f"{name:14s} IoU after 20 steps {early:.2f}, after 160 {late:.2f}")

# %% tags=["hide-input"]
viz.show_images(
    {
        "photograph": image,
        "ground truth (void: grey)": torch.where(rocket == IGNORE, 0.5, rocket),
        **{f"p: {name}, 20 steps": maps[20][0] for name, maps in fitted.items()},
    },
    columns=3,
    limits=(0, 1),
    cmap="gray",
    alt="A photograph of a rocket beside its towers; the mask of the rocket, "
    "with lamps as void; three maps of p after 20 steps. From bias 0 large parts of "
    "the image are grey, and the lamps are white like the rocket; from the prior bias "
    "the rocket is bright and nearly everything else is black.",
)

# %% tags=["hide-input"]
viz.show_curve_panels(
    {
        "fit of the photograph": {
            name: (list(maps), [foreground_iou(p, whole) for p in maps.values()])
            for name, maps in fitted.items()
        }
    },
    xlabels=["step"],
    ylabels=["IoU of the rocket"],
    alt="IoU of the rocket against the step. Cross-entropy with the prior bias rises "
    "within 20 steps; cross-entropy from bias 0 needs about 60 steps for the same IoU; "
    "Dice from bias 0 rises slowest.",
)

# %% [markdown]
# With the prior bias the rocket is mostly found within 20 steps. From bias 0
# cross-entropy needs several times as many steps, and Dice even more. (One photograph,
# one seed.)
#
# ## What did the idea buy?
#
# The sweep trains with ten losses, both initial biases and three seeds, with the
# settings from above. The IoU is measured at the threshold 0.5 and at the best
# threshold of the tuning set ("tuned").

# %% tags=["hide-input"]
names = list(dict.fromkeys(name for name, _, _ in runs))
KEYS = {"0.5": "iou", "tuned": "iou_at_threshold"}


def iou_of(name, share, start, threshold):
    """IoU of the three seeds."""
    return runs[name, share, start][KEYS[threshold]]


BIASES = {"zero": "bias 0", "prior": "prior bias"}
SETTINGS = [(start, threshold) for start in BIASES for threshold in KEYS]


def show_share(share):
    """A row per loss: IoU, mean ± standard deviation over the seeds."""
    rows = []
    for name in names:
        row = {f"IoU at {share:.0%}": name}
        for start, threshold in SETTINGS:
            values = iou_of(name, share, start, threshold)
            row[f"{BIASES[start]}, {threshold}"] = spread(values)
        rows.append(row)
    tables.show_table(rows)


show_share(0.01)

# %% [markdown]
# With bias 0 and the threshold 0.5, some losses find almost no dots and others find
# most of them, and for several losses the seeds differ widely. With the prior bias and
# a tuned threshold, all losses reach an IoU of more than one half. The next cell: 5 %
# and 30 %.

# %% tags=["hide-cell"]
show_share(0.05)
show_share(0.3)

# %% [markdown]
# The summary gives the lowest and the highest mean IoU of the ten losses. "No clear
# difference" counts the losses, the best included, whose mean ± standard deviation
# overlaps with that of the best. In the first row, many losses pass because their
# deviations are large.

# %% tags=["hide-input"]
rows = []
for part in (0.01, 0.05, 0.3):
    for start, threshold in SETTINGS:
        found = {name: iou_of(name, part, start, threshold) for name in names}
        best = max(names, key=lambda n: mean(found[n]))
        limit = mean(found[best]) - stdev(found[best])
        near = [n for n in names if mean(found[n]) + stdev(found[n]) >= limit]
        row = {"share": f"{part:.0%}", "bias": BIASES[start], "threshold": threshold}
        row["lowest IoU"] = min(map(mean, found.values()))
        row["highest IoU"] = mean(found[best])
        rows.append({**row, "no clear difference": f"{len(near)} of {len(names)}"})
tables.show_table(rows, digits=2)
for name in ("Dice", "Tversky (0.3, 0.7)"):
    row = runs[name, 0.01, "prior"]
    print(f"{name} at 1%, prior bias, 0.5: recall {spread(row['recall'])}, ", end="")
    print(f"precision {spread(row['precision'])}")

# %% [markdown]
# At 1 % the best and the worst loss differ by more than one half with bias 0, and by
# less than one tenth with the prior bias and a tuned threshold. At 30 % the initial
# bias hardly matters. Single losses:
#
# - **Cross-entropy** with the prior bias and a tuned threshold shows no clear
#   difference from the best losses at 1 %.
# - **Focal loss**: with bias 0 and the threshold 0.5 at 1 %, $\alpha = 0.25$ finds
#   almost nothing and $\alpha = 0.75$ some dots. The prior bias helps both, and from
#   there neither is better than cross-entropy.
# - **Tversky** (0.3, 0.7) has a higher recall than Dice at 1 %, with the prior bias and
#   the threshold 0.5.
# - **Lovász** alone has a low IoU from bias 0 at 1 %, even with a tuned threshold.
# - **Balanced cross-entropy** needs the tuned threshold at 1 % and 5 %.
#
# ### Several classes, some of them rare
#
# Does the prior bias replace class weights? In Toytown, people and lamps cover about 2
# % of the pixels each. The prior bias of a softmax is the logarithm of each class's
# share. We compare three choices of weights with both initial biases (250 steps,
# learning rate 0.01).

# %% tags=["hide-input"]
town = results["toytown"]
person = town["classes"].index("person")
TITLES = {"IoU": "iou", "precision": "precision", "recall": "recall"}
tables.show_table(
    [
        {
            "weights": row["weights"],
            "bias": BIASES[row["start"]],
            "mean IoU": spread(row["mean_iou"]),
            **{
                f"{title} of person": spread([seed[person] for seed in row[key]])
                for title, key in TITLES.items()
            },
        }
        for row in town["runs"]
    ]
)

# %% [markdown]
# The prior bias does not replace class weights: they raise the IoU of people from
# almost 0 to nearly one half. Neither the bias nor the choice between median and log
# frequency makes a clear difference to the IoU. With weights most pixels of people are
# found, but only about half of those predicted are right.
#
# ## Where it breaks: output resolution
#
# No loss can restore details that the output is too coarse to show. Suppose that a
# network predicts one value per block of $s \times s$ pixels. Predict "dot" for a block
# if dots cover more than a fraction $c$ of it. We take the coverage from the ground
# truth, try all values of $c$, and keep the highest IoU. No network with such blocks
# can exceed it: of all masks with as many blocks, the one with the largest coverage has
# the highest IoU.


# %%
def best_blocks(stride):
    """The highest IoU of masks that are constant in blocks, and the mask."""
    cover = F.avg_pool2d(validation.semantic.float()[:, None], stride)
    cover = F.interpolate(cover, scale_factor=stride)[:, 0]
    fractions = cover.unique().tolist()
    best = max(fractions, key=lambda c: foreground_iou(cover, validation, c))
    return foreground_iou(cover, validation, best), cover > best


coarse = {stride: best_blocks(stride) for stride in (1, 2, 4, 8, 16)}
for stride, (limit, _) in coarse.items():
    print(f"one value per {stride:2d} x {stride:2d} pixels: IoU at most {limit:.3f}")

# %% tags=["hide-input"]
viz.show_images(
    {f"blocks of {s} x {s}": mask[6] for s, (_, mask) in coarse.items() if s < 16},
    alt="The best masks with blocks of 1, 2, 4 and 8 pixels. The outline of the two "
    "dots becomes coarser; with blocks of 8 each dot is a single square.",
)

# %% [markdown]
# [Chapter 6](06_fcn.ipynb) shows how to restore the resolution.
#
# ## In practice
#
# ### Which loss when
#
# The rows follow from the sweep and the experiment on Toytown.
#
# | situation | initial bias | loss | threshold |
# |---|---|---|---|
# | foreground of 1 % to 5 % | prior bias | Dice + CE, Dice, or CE | tuned |
# | foreground of about 30 % | any | CE, Dice + CE | tuned, or 0.5 |
# | bias must start at 0 | 0 | Dice, Tversky, balanced CE; CE: more steps | tuned |
# | false negatives matter most | prior bias | Tversky (0.3, 0.7) | 0.5 |
# | several classes, some rare | any | CE with class weights | none: largest logit |
#
# ### The same with libraries
#
# `segmentation-models-pytorch` (SMP) and MONAI have most of these losses. The last
# layer of an SMP network is `segmentation_head[0]`; torchvision's `fcn_resnet50` and
# `deeplabv3_resnet50` end in `classifier[-1]`.

# %% tags=["nbval-ignore-output"]
from importlib.metadata import version

import monai
import segmentation_models_pytorch as smp

for name in ("torch", "torchvision", "segmentation-models-pytorch", "monai"):
    print(name, version(name))

# %%
seed_everything(0)
model = smp.Unet("resnet18", encoder_weights=None, classes=1)
with torch.no_grad():
    before = model(validation.image[:8]).sigmoid().mean()
    nn.init.constant_(model.segmentation_head[0].bias, prior)
    after = model(validation.image[:8]).sigmoid().mean()
print(f"mean of p at the start: {before:.2f}, with the prior bias {after:.2f}")

overlap_loss = smp.losses.DiceLoss("binary")
y = validation.semantic[:8, None].float()
x = model(validation.image[:8])
total = overlap_loss(x, y) + F.binary_cross_entropy_with_logits(x, y)
print(f"Dice + cross-entropy at the start: {total.item():.2f}")

# %% [markdown]
# Losses of the same name differ between libraries. The toggle below the next two tables
# explains the differences between the two values of each row.

# %%
labels = safe[:, None]  # MONAI wants (N, 1, H, W), without void
ours = cross_entropy(logits, target)
smp_ce = smp.losses.SoftCrossEntropyLoss(ignore_index=IGNORE, smooth_factor=0.0)
softmax, sigmoid = (
    losses.focal_loss(logits, safe),
    losses.sigmoid_focal_loss(logits, safe),
)
smp_focal = smp.losses.FocalLoss("multiclass")
monai_focal = monai.losses.FocalLoss(to_onehot_y=True)
monai_softmax = monai.losses.FocalLoss(to_onehot_y=True, use_softmax=True)
rows = [
    ("torch cross_entropy", F.cross_entropy(logits, target, ignore_index=IGNORE), ours),
    ("SMP SoftCrossEntropyLoss", smp_ce(logits, target), ours),
    ("SMP FocalLoss", smp_focal(logits, safe), softmax),
    ("MONAI FocalLoss", monai_focal(logits, labels), softmax),
    ("MONAI FocalLoss, use_softmax", monai_softmax(logits, labels), softmax),
]
COLUMNS = ("call", "value", "ours")
tables.show_table([dict(zip(COLUMNS, row, strict=True)) for row in rows])
print(f"ours with a sigmoid per class {sigmoid:.3f}, softmax / 8 {softmax / 8:.3f}")

# %% [markdown]
# For Dice, the ground truth contains only two of the eight classes:

# %%
two = (safe > 3).long() * 7  # classes 0 and 7
smp_dice = smp.losses.DiceLoss("multiclass")
monai_dice = monai.losses.DiceLoss(softmax=True, to_onehot_y=True, batch=True)
smp_smooth = smp.losses.DiceLoss("multiclass", smooth=100.0)
smp_tversky = smp.losses.TverskyLoss("multiclass", alpha=0.3, beta=0.7)
smp_lovasz = smp.losses.LovaszLoss("multiclass", per_image=False)
rows = [
    ("SMP DiceLoss, 6 absent", smp_dice(logits, two), dice_loss(logits, two)),
    (
        "MONAI DiceLoss, 6 absent",
        monai_dice(logits, two[:, None]),
        dice_loss(logits, two),
    ),
    (
        "SMP DiceLoss(smooth=100)",
        smp_smooth(logits, safe),
        dice_loss(logits, safe, smooth=100.0),
    ),
    ("SMP TverskyLoss", smp_tversky(logits, safe), losses.tversky_loss(logits, safe)),
    (
        "SMP LovaszLoss",
        smp_lovasz(logits, safe),
        losses.lovasz_softmax_loss(logits, safe),
    ),
]
tables.show_table([dict(zip(COLUMNS, row, strict=True)) for row in rows])

# %% [markdown]
# <details class="deeper"><summary>Going deeper: conventions and traps</summary>
#
# The rows of the two tables:
#
# - SMP's `SoftCrossEntropyLoss` leaves void out of the sum, yet divides by **all**
#   pixels.
# - The focal losses of SMP *and* MONAI use a sigmoid per class. MONAI's `use_softmax`
#   is off by default; with it, MONAI also divides by the number of classes.
# - SMP counts an absent class as a loss of 0, MONAI as a loss near 1; ours leaves it
#   out.
# - SMP adds `smooth` to $I$ before doubling: $(2I + 2s) / (S + T + 2s)$.
# - Tversky and Lovász agree.
#
# Further traps, with the versions printed above:
#
# - `torchvision.ops.sigmoid_focal_loss` has $\alpha = 0.25$ by default. A negative
#   `alpha` switches it off.
# - In SMP and MONAI $\alpha$ of Tversky weighs false positives. The [code of the focal
#   Tversky loss](https://github.com/nabsabraham/focal-tversky-unet) uses this letter
#   for false negatives.
# - PyTorch's cross-entropy is `nan` for a batch in which every pixel is void; ours is
#   0.
# - MONAI's Dice is taken per image by default (`batch=False`) and per class; SMP's and
#   ours sum over the batch.
# - SMP's multi-class Lovász loss stops with an error for logits in float64 and in
#   16-bit floats (half precision): convert the logits to float32 first.
# - mmsegmentation 1.2.2 divides cross-entropy by all pixels (`avg_non_ignore=False`),
#   and its OHEM averages over all pixels instead of the chosen ones (read in its code,
#   not run).
# - SMP's focal Tversky raises the mean over the classes to a power, ours each class.
# - The Dice loss of [V-Net](https://arxiv.org/abs/1606.04797) has squares in the
#   denominator, $\sum p^2 + \sum t^2$. With soft targets $p = t = 0.5$ it is 0, where
#   the usual form is 0.5.
#
# </details>
#
# ## Common mistakes
#
# **Softmax twice.** Wrong: `cross_entropy(logits.softmax(1), target)`. Right:
# `cross_entropy(logits, target)`.
#
# **The logarithm of a softmax.** Wrong: `logits.softmax(1).log()`, which can be minus
# infinity. Right: `logits.log_softmax(1)`.
#
# **Dice of thresholded logits.** Wrong: `dice((logits > 0).float(), target)`, which has
# no gradient. Right: `dice(logits.sigmoid(), target)`.
#
# **A mean over absent classes.** Wrong: `by_class.mean()`. For an absent class even a
# perfect prediction has the loss 1, or nan if all its $p$ are 0. Right: `by_class[true
# > 0].mean()`.
#
# **A large `smooth` beside a small mask.** Wrong: `smooth=100` for a mask of 4 pixels.
# If all are missed, the loss should be 1. Right: `smooth=0`.

# %%
perfect = 50.0 * F.one_hot(safe, 8).movedim(-1, 1)
once, twice = (cross_entropy(x, target) for x in (perfect, perfect.softmax(dim=1)))
print(f"loss of a perfect prediction: {abs(once):.3f}, with softmax twice {twice:.3f}")
confident = torch.tensor([[0.0, 200.0]])  # the true class is 0
print("softmax, then log:", -confident.softmax(1).log()[0, 0].item())
print("log_softmax:      ", -confident.log_softmax(1)[0, 0].item())
x = torch.randn(1, 1, 8, 8, requires_grad=True)
print("has a gradient: thresholded", (x > 0).float().requires_grad, end=", ")
print("probability", x.sigmoid().requires_grad)
right = 50.0 * F.one_hot(two, 8).movedim(-1, 1).float()
for classes in ("present", "all"):
    value = dice_loss(right, two, classes=classes)
    print(f"perfect prediction, mean over {classes} classes: {value:.2f}")
small = (torch.arange(64) < 4).long().reshape(1, 8, 8)
nothing = torch.full((1, 1, 8, 8), -30.0)
for smooth in (0.0, 1.0, 100.0):
    value = dice_loss(nothing, small, smooth=smooth)
    print(f"4 pixels missed, smooth {smooth:5.1f}: {value:.2f}")

# %% [markdown]
# ## Exercises
#
# An untouched cell says "not attempted yet". Type `ex.weights` to see a question again,
# and `ex.weights.hint()` for a hint; each further hint says more. Solutions are behind
# the toggles.
#
# ### 5.1 Median-frequency weights
#
# `counts` is an integer tensor (N, K): `counts[n, k]` pixels of class k in image n.
# Images may differ in size. The *frequency* of a class is its number of pixels in all
# images, divided by the number of all pixels in those images that contain the class.
# The weight of a class is the median of the frequencies, divided by its own frequency.
# A class that occurs in no image gets the weight 0 and is left out of the median. For
# an even number of values the median is the mean of the middle two. Return the weights,
# (K,).

# %%
from segcourse.exercises import losses as ex


def median_weights(counts): ...  # your code


ex.weights.check(median_weights)

# %%
ex.weights.show_solution()

# %% [markdown]
# ### 5.2 Predict how far the bias gets
#
# A model has a single weight, its bias, and predicts the sigmoid of it for every pixel.
# The bias starts at 0. Training moves it towards $\log(\pi / (1 - \pi))$, where $\pi$
# is `share`, a number between 0 and 1 that may also be above one half. In each step
# AdamW moves the bias by exactly the learning rate of that step (a simplification). A
# step that would go beyond the target ends exactly at the target, and later steps leave
# it there. `learning_rates` is a list with one number per step. Predict the final
# probability: return the sigmoid of the final bias, a number.


# %%
def p_after(learning_rates, share): ...  # your code


ex.reach.check(p_after)

# %%
ex.reach.show_solution()

# %% [markdown]
# Is the prediction right? The next cell trains such a model with the real AdamW and the
# learning rates of this chapter. Its output is folded: compute `p_after(rates, 0.01)`
# before you look.

# %% tags=["hide-output"]
bias = torch.zeros(1, requires_grad=True)
adamw = torch.optim.AdamW([bias])
for rate in rates:
    adamw.param_groups[0]["lr"] = rate
    bias.grad = (bias.sigmoid() - 0.01).detach()  # mean of p - t over all pixels
    adamw.step()
print(f"AdamW ends at p = {bias.sigmoid().item():.3f}")

# %% [markdown]
# ### 5.3 Choose the first change
#
# Each report in the table (`ex.REPORTS`) is one run of the sweep, seed 0. "share" is
# the share of the foreground. "p at first" and "p at last" are the mean of $p$ over all
# pixels in the first and in the last training step. "threshold" is the best threshold
# on the tuning set, and "IoU tuned" is the IoU with it. What should be changed first?
# Write a function that returns one of three strings for each report "A" to "E":
#
# - `"bias"`: train again with the prior bias, because $p$ had to fall far during
#   training and is still far above the share at the end;
# - `"threshold"`: choose the threshold on a tuning set, because $p$ did not have to
#   fall far, but 0.5 is not a good threshold;
# - `"keep"`: neither change would raise the IoU by more than 0.01.

# %%
tables.show_table([{"report": k, **row} for k, row in ex.REPORTS.items()], digits=2)


# %%
def first_change(report): ...  # your code


ex.diagnose.check(first_change)

# %%
ex.diagnose.show_solution()

# %% [markdown]
# ### 5.4 Fix the Dice loss
#
# This code runs, and has four bugs:
#
#     def soft_dice(logits, target):
#         safe = target.where(target != 255, 0)
#         one_hot = F.one_hot(safe, logits.shape[1]).movedim(-1, 1)
#         overlap = (logits * one_hot).sum()
#         size = (logits + one_hot).sum()
#         return (1 - 2 * overlap / size).mean()
#
# `logits` are floats (N, K, H, W); `target` is (N, H, W) with the classes 0 to K − 1,
# or 255 for void. Write the function so that probabilities are the softmax over axis 1,
# each class has its own sums over the pixels of the whole batch, and void pixels are in
# none of the sums. Return the mean of $1 - 2I / (S + T)$ over the classes that the
# target contains, a scalar. At least one pixel is not void. Only the value is checked;
# a loss for training would also need its gradient.


# %%
def soft_dice(logits, target): ...  # your code


ex.batch_dice.check(soft_dice)

# %%
ex.batch_dice.show_solution()

# %% [markdown]
# ### 5.5 Predict what weights do to p
#
# A network is trained perfectly with plain cross-entropy: of all pixels to which it
# gives the probability $p$, the share $p$ is foreground. A second network is trained
# perfectly with class weights `background` and `foreground`, two numbers above 0. Which
# probabilities does the second network give to the same pixels? `p` is a float tensor
# (n,) with values from 0 to 1, both included. Return the new probabilities, (n,).


# %%
def weighted_probability(p, background, foreground): ...  # your code


ex.moved.check(weighted_probability)

# %%
ex.moved.show_solution()

# %% [markdown]
# A search can confirm your function. Of 100 pixels that look alike, 20 are foreground,
# and the weights are 1 and 3. Which constant $p$ has the smallest weighted
# cross-entropy? Predict it with your function; the output of the cell is folded.

# %% tags=["hide-output"]
group = (torch.arange(100) < 20).long().reshape(1, 1, 100)
grid = torch.arange(1, 1000).double() / 1000
values = [
    cross_entropy(torch.logit(p).expand(1, 1, 1, 100), group, weight=[1.0, 3.0])
    for p in grid
]
print(f"smallest loss at p = {grid[torch.stack(values).argmin()].item():.3f}")

# %% [markdown]
# ### 5.6 Tune, then report
#
# Choose the threshold on a tuning set, and report the IoU of the foreground on a test
# set. Probabilities are floats (N, H, W). Targets are integers of the same shape: 0, 1,
# or 255 for void, which does not count. The two sets may differ in shape. A pixel is
# predicted as foreground if its $p$ is *larger than* the threshold. Try 0.01, 0.02,
# ..., 0.99, and take the lowest of equally good thresholds. The IoU is taken over all
# pixels of a set together; if neither target nor prediction has a foreground pixel, it
# is 0. Return (threshold, IoU), two numbers.


# %%
def tune_and_report(tuning_p, tuning_target, test_p, test_target): ...  # your code


ex.tune.check(tune_and_report)

# %%
ex.tune.show_solution()

# %% [markdown]
# ## Quiz
#
# Choose an answer; each answer has an explanation.

# %% [markdown]
# **Q1. One pixel in a hundred is foreground, and p is 0.5 everywhere. What does the
# first step with plain cross-entropy mostly do?**
#
# <details class="quiz right"><summary>It lowers p at all pixels</summary>
#
# Right: the gradient of the background is 99 times as large as that of the foreground.
#
# </details>
# <details class="quiz wrong"><summary>It separates foreground from background</summary>
#
# Not quite: this is what it does after the prior bias, when the two gradients are
# equal.
#
# </details>
# <details class="quiz wrong"><summary>It raises p at all pixels</summary>
#
# Not quite: only the one foreground pixel has a gradient in this direction.
#
# </details>

# %% [markdown]
# **Q2. A network with one output channel is trained for a class that covers 5 % of the
# pixels. Which bias should its last layer start with?**
#
# <details class="quiz wrong"><summary>0.05</summary>
#
# Not quite: this is the wanted probability. The bias is a logit.
#
# </details>
# <details class="quiz right"><summary>log(0.05 / 0.95)</summary>
#
# Right: the sigmoid of this logit is 0.05.
#
# </details>
# <details class="quiz wrong"><summary>log(0.95 / 0.05)</summary>
#
# Not quite: the sign is wrong, so p would start at 0.95.
#
# </details>

# %% [markdown]
# **Q3. You multiply all class weights by ten, divide by the number of pixels, and train
# with AdamW. What happens to a step?**
#
# <details class="quiz wrong"><summary>It becomes ten times as long</summary>
#
# Not quite: this is true of SGD, whose step is proportional to the gradient.
#
# </details>
# <details class="quiz right"><summary>It stays nearly the same</summary>
#
# Right: AdamW divides the gradient by an estimate of its size, so the factor cancels.
#
# </details>
# <details class="quiz wrong"><summary>It becomes ten times as short</summary>
#
# Not quite: AdamW divides by the size once, which cancels the factor and no more.
#
# </details>

# %% [markdown]
# **Q4. A network trained with balanced cross-entropy predicts far too many dots at the
# threshold 0.5. What should be tried first?**
#
# <details class="quiz right"><summary>A threshold chosen on a tuning set</summary>
#
# Right: balanced weights raise p, so that the best threshold is close to 1.
#
# </details>
# <details class="quiz wrong"><summary>A threshold chosen on the test set</summary>
#
# Not quite: the reported IoU would be too good to be expected on new images.
#
# </details>
# <details class="quiz wrong"><summary>More training steps</summary>
#
# Not first: more steps can help too, but they cost training time. Choosing a threshold
# needs no training.
#
# </details>

# %% [markdown]
# **Q5. In RetinaNet's focal loss with α = 0.25, which pixels get the weight 0.25?**
#
# <details class="quiz right"><summary>the foreground</summary>
#
# Right: the rare class gets the smaller weight. Without the prior bias this setting
# found almost nothing at 1 % and the threshold 0.5 in our sweep.
#
# </details>
# <details class="quiz wrong"><summary>the background</summary>
#
# Not quite: the background gets 1 − α = 0.75.
#
# </details>
# <details class="quiz wrong"><summary>pixels that are already right</summary>
#
# Not quite: the exponent γ reduces the weight of these pixels, not α.
#
# </details>

# %% [markdown]
# **Q6. A foreground pixel has the logit −10. Which loss changes this logit most
# strongly?**
#
# <details class="quiz right"><summary>cross-entropy</summary>
#
# Right: its gradient is p − t, divided by the number of pixels, so it is largest where
# the prediction is most wrong.
#
# </details>
# <details class="quiz wrong"><summary>Dice</summary>
#
# Not quite: the gradient passes through the sigmoid, which is flat at −10.
#
# </details>
# <details class="quiz wrong"><summary>Lovász</summary>
#
# Not quite: Lovász multiplies the error of this pixel by a weight, but the gradient
# passes through the flat sigmoid as well.
#
# </details>

# %% [markdown]
# **Q7. In Tversky, α weighs false positives and β weighs false negatives. Which weights
# lead to fewer false negatives and more false positives than Dice?**
#
# <details class="quiz wrong"><summary>α = 0.7, β = 0.3</summary>
#
# Not quite: this makes false positives more expensive than false negatives.
#
# </details>
# <details class="quiz wrong"><summary>α = 0.5, β = 0.5</summary>
#
# Not quite: this is Dice itself.
#
# </details>
# <details class="quiz right"><summary>α = 0.3, β = 0.7</summary>
#
# Right: a false negative then costs more than a false positive.
#
# </details>

# %% [markdown]
# **Q8. A batch contains no pixel of class 4. What does the Dice loss of this course do
# with this class?**
#
# <details class="quiz wrong"><summary>It counts a loss of 1</summary>
#
# Not quite: MONAI does nearly this. The mean is then never close to 0, even for a
# perfect prediction of the other classes.
#
# </details>
# <details class="quiz right"><summary>It leaves the class out of the mean</summary>
#
# Right. Class 4 then has no term of its own. Its false positives still lower the
# softmax probabilities of the true classes, and thereby raise their losses.
#
# </details>
# <details class="quiz wrong"><summary>It counts a loss of 0</summary>
#
# Not quite: SMP does this, which makes the mean smaller.
#
# </details>

# %% [markdown]
# ## Take-aways
#
# - For a rare foreground, initialise the bias of the last layer with the prior bias
#   $\log(\pi / (1 - \pi))$. Without it, the mean of $p$ falls slowly under every loss
#   that we plotted. With cross-entropy this was the main cause of the low IoU.
# - Choose the threshold on images that are used for nothing else. Class weights change
#   what $p$ means.
# - With the prior bias and a tuned threshold, the choice of the loss mattered little in
#   our sweep. Cross-entropy + Dice is a sound default.
# - With several classes, class weights raised the recall of people, a rare class.
# - Losses of the same name differ between libraries in void, absent classes and
#   constants. Before you use a loss of a library, compute one small value by hand and
#   compare.
#
# ## Further reading
#
# - [Lin et al., Focal loss for dense object
#   detection](https://arxiv.org/abs/1708.02002): the focal loss and the prior bias
# - [Milletari et al., V-Net](https://arxiv.org/abs/1606.04797): Dice as a loss; [Sudre
#   et al., Generalised Dice](https://arxiv.org/abs/1707.03237)
# - [Salehi et al., Tversky loss](https://arxiv.org/abs/1706.05721), and [Abraham and
#   Khan, focal Tversky](https://arxiv.org/abs/1810.07842)
# - [Berman et al., The Lovász-softmax loss](https://arxiv.org/abs/1705.08790)
# - [Kervadec et al., Boundary loss](https://arxiv.org/abs/1812.07032), and [Karimi and
#   Salcudean, Hausdorff distance losses](https://arxiv.org/abs/1904.10030)
# - [Badrinarayanan et al., SegNet](https://arxiv.org/abs/1511.00561), and
#   [Eigen and Fergus](https://arxiv.org/abs/1411.4734), median-frequency balancing;
#   [Paszke et al., ENet](https://arxiv.org/abs/1606.02147), logarithmic weights; [Xie
#   and Tu, HED](https://arxiv.org/abs/1504.06375), balanced cross-entropy
# - [Shrivastava et al., Online hard example mining](https://arxiv.org/abs/1604.03540)
# - [Ronneberger et al., U-Net](https://arxiv.org/abs/1505.04597): the border weight map
