# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # 13. Comparison: choosing a network with evidence
#
# Fifteen networks were trained alike; this chapter shows which of their differences
# exceed chance, and how to choose a network from them.
#
# After this chapter you can
#
# - compute an interval for the difference of two networks by drawing images, or whole
#   videos, anew (exercise 13.1);
# - find the networks that no other network beats in accuracy and cost at once (exercise
#   13.2);
# - predict how much a report of the best training exaggerates (exercise 13.3);
# - compare two rankings, and find the fault in such a computation (exercise 13.4);
# - say why a claim does not follow from its measurement (exercise 13.5);
# - choose the cheapest network that is good enough (exercise 13.6).
#
# You need [chapter 3](03_metrics.ipynb) (IoU, boundary F1) and the paired *t* of
# [chapter 8](08_unet.ipynb). The networks are the subject of chapters 6 to 12. The
# [glossary](../book/glossary.md) explains technical words. The notebook takes less than
# two minutes on one CPU thread.

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
from itertools import combinations, pairwise, permutations, product

import numpy as np
import scipy
from torch.utils import benchmark
from torch.utils.flop_counter import FlopCounterMode

from segcourse import tables, viz
from segcourse.classroom import NETWORKS, course_loss
from segcourse.data import (
    Photographs,
    Sample,
    Toytown,
    batches,
    measured,
    toytown,
    unpack_array,
)
from segcourse.data import transforms as T
from segcourse.metrics import confusion_matrix, iou
from segcourse.training import fit, poly, predict, warmup

CLASSES, PALETTE = toytown.CLASSES, toytown.PALETTE
results = measured("architectures")["networks"]
detail = measured("comparison")
published = detail["published"]
TITLES = {name: row["title"] for name, row in published.items()}

# %% [markdown]
# ## The problem
#
# DeepLab v3+ and G-FRNet are small here, and both were trained on the same scenes of
# Toytown for the same number of steps. We compare their mean IoU on 100 test scenes,
# and look at their predictions on two of these scenes.


# %%
def scores(name, what=lambda run: run["miou"]):
    """One number for each of the three seeds."""
    return np.array([what(run) for run in results[name]["runs"]])


def with_spread(values):
    return f"{np.mean(values):.3f} ± {np.ptp(values) / 2:.3f}"


for name in ("deeplab_v3_plus", "gfrnet"):
    print(f"{TITLES[name]:11} mean IoU {scores(name).mean():.3f}")

# %% tags=["hide-input"]
test_scenes = [Toytown(100, seed=3)[index] for index in detail["pictured"]]
predicted_maps = {
    TITLES[name]: torch.from_numpy(unpack_array(row["runs"][0]["pictures"]))
    for name, row in detail["networks"].items()
}
viz.show_predictions(
    test_scenes[:2],
    {title: predicted_maps[title][:2] for title in ("DeepLab v3+", "G-FRNet")},
    CLASSES,
    PALETTE,
    alt="Two street scenes with the predictions of DeepLab v3+ and G-FRNet and the "
    "ground truth. Both networks find the cars, persons and lamps. Some posts "
    "of lamps are too wide in both predictions.",
)

# %% [markdown]
# Both predictions are similar, and DeepLab v3+ is ahead by less than 0.01. Would it
# also be ahead on other scenes, with other random seeds, after a longer training, or on
# photographs?
#
# Published scores do not answer the question. The table lists the networks in the order
# of the [history page](../book/history.md). Look at the column *on*, the images of each
# published score.

# %% tags=["hide-input"]
IDEAS = {
    "fcn_32s": ("CVPR 2015", "a classifier as a convolution"),
    "fcn_16s": ("CVPR 2015", "one skip connection for scores"),
    "fcn_8s": ("CVPR 2015", "two skip connections for scores"),
    "deeplab_v1": ("ICLR 2015", "atrous convolution, CRF"),
    "unet": ("MICCAI 2015", "skip connections for features"),
    "deconvnet": ("ICCV 2015", "unpooling with stored positions"),
    "segnet": ("TPAMI 2017", "unpooling, no fully connected layers"),
    "segnet_basic": ("TPAMI 2017", "a smaller SegNet"),
    "deeplab_v2": ("TPAMI 2018", "atrous convolutions of several rates"),
    "pspnet": ("CVPR 2017", "pooling over grids of several sizes"),
    "refinenet": ("CVPR 2017", "refinement with residual blocks"),
    "gfrnet": ("CVPR 2017", "gates, a loss at every stage"),
    "deeplab_v3": ("arXiv 2017", "image-level pooling, no CRF"),
    "deeplab_v3_plus": ("ECCV 2018", "a decoder after DeepLab v3"),
    "fcn_resnet": ("torchvision", "ResNet with dilation, no skips"),
}


rows = []
for name, (origin, idea) in IDEAS.items():
    row = {"network": TITLES[name], "from": origin, "idea": idea}
    score = published[name]["miou"]
    row["published mean IoU"] = "" if score is None else f"{score:.1f} %"
    row["on"] = published[name]["data"]
    rows.append({**row, "mean IoU here": with_spread(scores(name))})
tables.show_table(rows)

# %% [markdown]
# The published scores come from different data sets, and they belong to networks with
# different encoders, training data and post-processing. (U-Net's is the IoU of cells.)
# So their order does not rank the ideas.
#
# The last column is our own measurement: mean of three seeds ± half of their range. Its
# conditions are equal for all networks: the same 1600 training scenes in the same
# order, the same loss at each output (auxiliary outputs of PSPNet and FCN on ResNet
# count 0.4), the same learning rates and 760 steps, and random weights at the start.
# Each network is much smaller than in its paper.

# %% [markdown]
# ## The idea
#
# A score depends on choices that have nothing to do with the idea of a network: the
# test images, the random seed, the length of the training, the data set. For each
# choice, we ask the same question: *if we choose again, does the order of two networks
# stay?*
#
# **Other test images: the bootstrap.** A new test set is rarely available, but we can
# draw from ours. A **bootstrap sample** consists of as many scenes as the test set,
# drawn with replacement: some scenes occur several times, others are missing. We
# compute the score on many bootstrap samples and see how much it varies.
#
# **Pairing** means that two networks are always scored on the same drawn scenes. An
# example to check by hand has three scenes and one class, whose union has 100 pixels in
# each scene. Network A finds 60, 20 and 90 of them, network B finds 65, 24 and 93. The
# cell goes through all 27 possible draws.

# %%
found = {"A": [60, 20, 90], "B": [65, 24, 93]}
draws = list(product(range(3), repeat=3))
ious = {
    name: [sum(pixels[scene] for scene in draw) / 300 for draw in draws]
    for name, pixels in found.items()
}
ious["B - A"] = np.subtract(ious["B"], ious["A"])
for name, values in ious.items():
    print(f"{name:5} from {min(values):.2f} to {max(values):.2f}")

# %% [markdown]
# The IoU of either network depends strongly on the drawn scenes, because the second
# scene is hard for both. The difference hardly depends on them: B is ahead in every
# draw. Therefore we need an interval for the *difference*.
#
# As a formula, let $S$ be a bootstrap sample, a list of scenes $s$. $I_{sc}$ and
# $U_{sc}$ are the intersection and the union of class $c$ in scene $s$, in pixels, for
# one network. In this chapter, its mean IoU over $K$ classes is
#
# $$M(S) = \frac{1}{K} \sum_c \frac{\sum_{s \in S} I_{sc}}{\sum_{s \in S} U_{sc}}.$$
#
# For two networks A and B, we compute $M_A(S) - M_B(S)$ for 2000 samples. The **95 %
# interval** goes from the quantile 0.025 of these differences to the quantile 0.975. If
# it does not contain 0, the order of these two *trained* networks is hardly due to the
# choice of scenes.
#
# **Other seeds.** Would the order stay if both networks were trained again? As in
# chapter 8, we divide the mean of the paired differences by its standard error, which
# gives $t$. With three seeds, $|t|$ must exceed 4.30 at the 5 % level.
#
# **The rule of this chapter:** network A is *clearly* better than B if the interval
# (first seed) lies above 0 and $t$ exceeds 4.30. If neither is clearly better, we write
# *no clear difference*.
#
# **Accuracy and cost.** Network P *dominates* network Q if P is at least as good in
# every criterion and better in at least one. The **Pareto front** contains the networks
# that no other network dominates. For example, let P have an IoU of 0.8 in 100 ms, Q
# 0.7 in 50 ms, and R 0.75 in 120 ms. P dominates R. Neither of P and Q dominates the
# other, so both are on the front.
#
# **Two rankings.** Kendall's **rank correlation** $\tau$ looks at all pairs of
# networks. $C$ pairs have the same order in both rankings, $D$ pairs the opposite one,
# and $\tau = (C - D) / (C + D)$. It is 1 for equal rankings and -1 for reversed ones.
# The rankings ABCD and ABDC agree in five of six pairs, so $\tau = (5 - 1) / 6$. How
# often does a random order of four networks agree as well as that?


# %%
def kendall(x, y):
    """Rank correlation of two lists of scores without ties."""
    pairs = list(combinations(range(len(x)), 2))
    agree = [(x[i] - x[j]) * (y[i] - y[j]) > 0 for i, j in pairs]
    return (2 * sum(agree) - len(pairs)) / len(pairs)


orders = [kendall(range(4), order) for order in permutations(range(4))]
print(f"tau of ABCD and ABDC: {kendall([4, 3, 2, 1], [4, 3, 1, 2]):.2f}")
print(f"random orders with at least this tau: {np.mean(np.array(orders) >= 0.66):.2f}")

# %% [markdown]
# One random order in six agrees that well, so a rank correlation of few networks means
# little. In the table of rankings below, we report how often a random order agrees or
# disagrees as strongly (the *p* value).

# %% [markdown]
# ## Build it
#
# ### Counts for every scene
#
# The benchmark `comparison` trained each network again; here, the first seed is used.
# For each test scene and class, it stored how many pixels are right (the intersection)
# and how many were predicted. The union is the number of predicted pixels plus the
# number of true pixels minus the intersection.

# %%
true = unpack_array(detail["true"])  # (scenes, classes), in pixels


def counts(run):
    """Intersection and union: (scenes, classes) each."""
    intersection = unpack_array(run["hits"])
    return intersection, unpack_array(run["predicted"]) + true - intersection


def mean_iou_of(run, times):
    """Mean IoU if scene s is counted times[r, s] times: (draws, scenes) -> (draws,)."""
    intersection, union = counts(run)
    return ((times @ intersection) / (times @ union)).mean(axis=1)


once = np.ones((1, len(true)), dtype=int)
first = {name: row["runs"][0] for name, row in detail["networks"].items()}
print(f"{true.shape[0]} scenes, {true.shape[1]} classes")
print(f"U-Net, from the counts: {mean_iou_of(first['unet'], once)[0]:.3f}")
print(f"U-Net, as measured:     {scores('unet')[0]:.3f}")

# %% [markdown]
# ### The paired bootstrap
#
# A draw of 100 scenes is stored as the number of times that each scene was drawn. All
# networks receive the same draws; this is the pairing. The figure shows how often each
# mean IoU occurs.

# %%
rng = np.random.default_rng(0)
times = rng.multinomial(100, np.full(100, 1 / 100), size=2000)  # (draws, scenes)
drawn = {name: mean_iou_of(run, times) for name, run in first.items()}


def interval(values):
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def without_0(values):
    low, high = interval(values)
    return low > 0 or high < 0


pair = "deeplab_v3_plus", "gfrnet"
for name in pair:
    print(f"{TITLES[name]:12}" + "{:.3f} to {:.3f}".format(*interval(drawn[name])))
gap = drawn[pair[0]] - drawn[pair[1]]
print("difference  " + "{:+.3f} to {:+.3f}".format(*interval(gap)))

# %% tags=["hide-input"]
both = np.concatenate([drawn[n] for n in pair])
edges = np.linspace(both.min(), both.max(), 30)
viz.show_curves(
    {
        TITLES[n]: ((edges[1:] + edges[:-1]) / 2, np.histogram(drawn[n], edges)[0])
        for n in pair
    },
    xlabel="mean IoU on a bootstrap sample",
    ylabel="number of samples",
    alt="Two bell-shaped curves, the mean IoU of DeepLab v3+ and of G-FRNet on 2000 "
    "bootstrap samples. The curves overlap for the most part.",
)

# %% [markdown]
# The two curves nearly coincide, but only the interval of the difference counts. It
# contains 0, so on other scenes either network may be ahead.
#
# ### The rule
#
# We apply the whole rule to this pair and to three others. The interval belongs to the
# difference in the column *first seed*. Look for a pair for which interval and *t*
# disagree.


# %%
def difference(a, b):
    """Network a minus network b: of all seeds, interval over scenes, t over seeds."""
    gaps = scores(a) - scores(b)
    t = gaps.mean() / (gaps.std(ddof=1) / len(gaps) ** 0.5)
    return gaps, interval(drawn[a] - drawn[b]), t


def clearly_better(a, b):
    _, (low, _), t = difference(a, b)
    return low > 0 and t > 4.30


rows = []
for a, b in [pair, ("unet", "deeplab_v1"), ("unet", "segnet"), ("segnet", "fcn_8s")]:
    gaps, (low, high), t = difference(a, b)
    row = {"networks": f"{TITLES[a]} - {TITLES[b]}", "first seed": f"{gaps[0]:+.3f}"}
    row |= {"95 % interval": f"{low:+.3f} to {high:+.3f}"}
    row |= {"mean of seeds": f"{gaps.mean():+.3f}", "t": f"{t:.1f}"}
    rows.append(row | {"clear": "yes" if clearly_better(a, b) else "no"})
tables.show_table(rows)

# %% [markdown]
# The lead of DeepLab v3+ over G-FRNet, with which the chapter began, is not clear. For
# U-Net and DeepLab v1, interval and *t* disagree: with the first seed, U-Net is better
# on every draw, but the difference varies so much from seed to seed that $t$ is only
# 1.1.
#
# ### The Pareto front
#
# The function compares each network with all others, and is tested on P, Q and R.


# %%
def pareto_front(points):
    """The names that no other name dominates, of {name: (cost, score)}."""
    return [
        name
        for name, (cost, score) in points.items()
        if not any(
            other_cost <= cost
            and other >= score
            and (other_cost, other) != (cost, score)
            for other_cost, other in points.values()
        )
    ]


print(pareto_front({"P": (100, 0.8), "Q": (50, 0.7), "R": (120, 0.75)}))

# %% [markdown]
# ## On a real image
#
# ### A photograph
#
# Does the order of three networks on Toytown also hold on a photograph? As in chapter
# 8, we train on the left half of *coins* and test on the right half, with three seeds.
# Compare the differences in the two columns of IoU.

# %%
coins = Photographs("coins")[0]
image = (coins.image - coins.image.mean()) / coins.image.std()
coins = Sample(image, (coins.semantic > 0).long(), coins.instance)
left, right = (
    Sample(*(part[..., :288, half] for part in coins))
    for half in (slice(0, 192), slice(192, 384))
)


def window(sample, size=96):
    """A random square of an image."""
    height, width = sample.semantic.shape
    top, start = (int(torch.randint(side - size + 1, ())) for side in (height, width))
    return Sample(*(p[..., top : top + size, start : start + size] for p in sample))


def train(name, seed, steps=80):
    """A network that has learned coins from windows of the left half."""
    seed_everything(seed)
    bend = T.elastic(4.0, mirrored=True)
    windows = [window(bend(left)) for _ in range(160)]
    model = NETWORKS[name](2)
    loader = batches(windows, batch_size=4, seed=seed)
    options = dict(steps=steps, learning_rate=3e-3, schedule=warmup(poly(0.9)))
    fit(model, course_loss(windows, 2), loader, **options)
    return model


# %% tags=["tol=0.03"]
coin_maps, coin_iou = {}, {}
for name in ("unet", "segnet", "fcn_8s"):
    coin_iou[name] = []
    for seed in range(3):
        preds = predict(train(name, seed), right.image[None])[0]
        matrix = confusion_matrix(preds, right.semantic, 2)
        coin_iou[name].append(iou(matrix)[1].item())
    coin_maps[TITLES[name]] = preds == 1
rows = []
for name, values in coin_iou.items():
    row = {"network": TITLES[name], "IoU of coins": np.mean(values)}
    row |= {"half of the range": np.ptp(values) / 2}
    rows.append(row | {"mean IoU on Toytown": scores(name).mean()})
tables.show_table(rows)

# %% tags=["hide-input"]
low, high = right.image.min(), right.image.max()
viz.show_images(
    {
        "photograph": (right.image - low) / (high - low),
        **coin_maps,
        "ground truth": right.semantic == 1,
    },
    columns=5,
    alt="The right half of a photograph of coins, the coins found by U-Net, SegNet "
    "and FCN-8s, and the ground truth.",
)

# %% [markdown]
# The order of the means is the same, but U-Net's lead over FCN-8s is much smaller.
# Images, score and training differ, so a difference holds only where it was measured.
#
# ### Frames of a real street
#
# CamVid (Brostow, Fauqueur and Cipolla, 2009) contains frames of videos from a car. The
# benchmark trained all networks on its 367 training frames, reduced to 96 x 128 pixels,
# with the recipe of Toytown but with one seed only. The test set has 233 frames. In the
# figure, look for networks whose order changes.

# %%
camvid = measured("comparison_camvid")


def on_camvid(name):
    return camvid["networks"][name]["runs"][0]["miou"]


# %% tags=["hide-input"]
viz.show_points(
    {TITLES[name]: (scores(name).mean(), on_camvid(name)) for name in results},
    xlabel="mean IoU on Toytown, mean of three seeds",
    ylabel="mean IoU on CamVid, one seed",
    alt="Mean IoU on CamVid against mean IoU on Toytown of fifteen networks. U-Net "
    "is first and FCN-32s last on both. PSPNet and FCN-8s lie above SegNet on "
    "CamVid only.",
)

# %% [markdown]
# U-Net has the highest score on CamVid too, and FCN-32s the lowest. G-FRNet is ahead of
# DeepLab v3+ there. In between, the order changes: PSPNet and FCN-8s are ahead of
# SegNet and RefineNet on CamVid, and behind them on Toytown. With one seed, we cannot
# say which of these differences are clear.
#
# ## What did the idea buy?
#
# ### What pairing buys
#
# Fifteen networks form 105 pairs. For each pair, we compute the interval of the
# difference twice: with the same drawn scenes for both networks, and with separate
# draws.

# %%
shuffled = {name: rng.permutation(values) for name, values in drawn.items()}
pairs = list(combinations(results, 2))
rows = []
for kind, second in (("paired", drawn), ("separate draws", shuffled)):
    gaps = [drawn[a] - second[b] for a, b in pairs]
    row = {"scenes": kind, "pairs": len(pairs)}
    row["median width"] = float(np.median([np.ptp(interval(gap)) for gap in gaps]))
    row["intervals without 0"] = sum(map(without_0, gaps))
    rows.append(row)
tables.show_table(rows)

# %% [markdown]
# Pairing makes the median interval about a third shorter. The number of intervals
# without 0 hardly changes, because most of our networks differ by much more than the
# width of an interval. Pairing matters for networks that are close to each other.
#
# ### Accuracy of all networks
#
# The table is sorted by mean IoU. It adds three scores that the mean hides: the IoU of
# the classes *lamp* and *person*, and boundary F1 with a tolerance of two pixels.
# *Stride of scores* is the smallest stride at which a network computes one score per
# class. The last column applies the rule of this chapter to all pairs.

# %%
ranking = sorted(results, key=lambda name: -scores(name).mean())
SCORES = {
    "mean IoU": lambda run: run["miou"],
    "IoU of lamp": lambda run: run["iou"]["lamp"],
    "IoU of person": lambda run: run["iou"]["person"],
    "boundary F1": lambda run: run["boundary_f1"],
}


def unclear(name):
    """The networks from which a network does not differ clearly."""
    others = [other for other in ranking if other != name]
    return [
        TITLES[other]
        for other in others
        if not clearly_better(name, other) and not clearly_better(other, name)
    ]


# %%
def score_stride(name):
    """The smallest stride at which a network computes scores of classes."""
    model, widths = NETWORKS[name](11).eval(), []  # no other layer has 11 channels
    for layer in model.modules():
        if isinstance(layer, torch.nn.Conv2d) and layer.out_channels == 11:
            layer.register_forward_hook(
                lambda *parts: widths.append(parts[2].shape[-1])
            )
    with torch.inference_mode():
        model(torch.rand(1, 3, 96, 128))
    return round(128 / max(widths))


rows = []
for name in ranking:
    row = {"network": TITLES[name], "stride of scores": score_stride(name)}
    row["mean IoU"] = with_spread(scores(name))
    for title, what in list(SCORES.items())[1:]:
        row[title] = f"{scores(name, what).mean():.2f}"
    rows.append({**row, "no clear difference from": ", ".join(unclear(name)) or "none"})
tables.show_table(rows)

# %% [markdown]
# U-Net has the highest mean. Only DeepLab v1 is not clearly worse, and DeepLab v1
# itself shows no clear difference from G-FRNet. Four of the five networks at stride 8
# reach nearly the same mean IoU, although their architectures differ. The first seven
# networks compute scores at stride 1 or 2, but so does DeconvNet. So a small stride may
# help, but does not suffice. The table cannot isolate its effect, because the networks
# also differ in encoder and width. Only the three FCNs share an encoder; there, each
# skip connection raised all four scores.
#
# Lamps, the thinnest class, show the largest differences: FCN-32s finds nearly none. We
# tested each of 105 pairs at the 5 % level, without a correction.
#
# ### Cost, and the Pareto front
#
# *MACs* (multiply-accumulate operations) are the multiplications, each with an
# addition, for one scene. *Step* is a training step with four scenes on one CPU thread,
# *memory* the peak of the whole process.

# %%
COSTS = {"parameters": "parameters", "million MACs": "macs", "step in ms": "step_ms"}
fronts = {
    title: pareto_front({n: (results[n][key], scores(n).mean()) for n in ranking})
    for title, key in COSTS.items()
}
rows = []
for name in ranking:
    row = {"network": TITLES[name], "parameters": results[name]["parameters"]}
    row |= {"million MACs": round(results[name]["macs"] / 1e6)}
    row |= {"step in ms": round(results[name]["step_ms"])}
    row |= {"memory in GiB": f"{results[name]['peak_gib']:.1f}"}
    on = [title for title, front in fronts.items() if name in front]
    rows.append({**row, "on the front of": ", ".join(on) or "none"})
tables.show_table(rows)

# %% tags=["hide-input"]
viz.show_points(
    {
        TITLES[name]: (
            results[name]["step_ms"],
            scores(name).mean(),
            np.ptp(scores(name)) / 2,
        )
        for name in ranking
    },
    line=[TITLES[name] for name in fronts["step in ms"]],
    xlabel="training step in ms",
    ylabel="mean IoU on Toytown, ± half of the range",
    alt="Mean IoU against step time of fifteen networks. The front rises from "
    "SegNet at 50 ms over DeepLab v1 at 80 ms to U-Net at 109 ms; FCN-32s is "
    "far below it.",
)

# %% [markdown]
# Ten of the fifteen networks are on no front. The line joins the front of step time:
# SegNet, DeepLab v1 and U-Net. Each other network is slower than one of these three and
# not more accurate than it. From DeepLab v1 to U-Net, a step takes a third longer,
# without a clear gain.
#
# SegNet-Basic has the fewest parameters, but more MACs than U-Net. DeconvNet has the
# fewest MACs, but a step of SegNet is faster.
#
# ### Do rankings agree?
#
# The table compares rankings of the same networks by different seeds, scores and
# images.


# %%
def mean_of(values):
    return [np.mean(values(name)) for name in ranking]


on_voc = [name for name in ranking if published[name]["data"] == "VOC 2012 test"]
by_seed = [[scores(name)[seed] for name in ranking] for seed in range(3)]
here = mean_of(scores)
comparisons = {
    "Toytown: seed 0 and seed 1": by_seed[:2],
    "Toytown: seed 0 and seed 2": by_seed[::2],
    **{
        f"Toytown: mean IoU and {title}": (here, mean_of(lambda n, f=f: scores(n, f)))
        for title, f in list(SCORES.items())[1:]
    },
    "Toytown and CamVid": (here, mean_of(on_camvid)),
    "Toytown and published, VOC 2012 test": (
        [scores(name).mean() for name in on_voc],
        [published[name]["miou"] for name in on_voc],
    ),
}
rows = []
for title, (x, y) in comparisons.items():
    row = {"rankings": title, "networks": len(x), "tau": kendall(x, y)}
    p = scipy.stats.kendalltau(x, y).pvalue
    rows.append({**row, "p": "< 0.001" if p < 0.001 else f"{p:.3f}"})
tables.show_table(rows)

# %% [markdown]
# Different seeds and different scores give nearly the same ranking. Toytown and CamVid
# agree less, but more than nearly all random orders do. Of the 28 pairs of published
# networks, half have our order and half the opposite one. This does not make either
# ranking wrong, because the published networks are larger, pretrained, and differ in
# encoder and post-processing. And with eight networks, only a strong agreement can be
# told from chance.
#
# ### Learning curves
#
# Which network is ahead earlier in the training? The curves show the mean IoU on the
# test scenes, the mean of three seeds. Seeds 1 and 2 ran on another processor, so step
# 760 differs slightly from the tables above. We draw the networks that are among the
# three best at step 100, 300 or 760.

# %% tags=["hide-input"]
curves = {
    name: {
        int(step): np.array([run["curve"][step]["miou"] for run in row["runs"]])
        for step in row["runs"][0]["curve"]
    }
    for name, row in detail["networks"].items()
}
best_at = {
    step: sorted(curves, key=lambda name, step=step: -curves[name][step].mean())
    for step in (760, 300, 100)
}
ahead = dict.fromkeys(name for order in best_at.values() for name in order[:3])
viz.show_curves(
    {
        TITLES[n]: (list(curves[n]), [each.mean() for each in curves[n].values()])
        for n in ahead
    },
    xlabel="step of a training of 760 steps",
    ylabel="mean IoU on the test scenes",
    alt="Learning curves of the networks that are among the three best at step 100, "
    "300 or 760. DeepLab v1 and DeepLab v3+ are ahead of the others at first; U-Net "
    "starts lower and is first at the end.",
)

# %%
rows = []
for step, order in reversed(best_at.items()):
    row = {"step": step}
    for place, name in zip(("first", "second", "third"), order, strict=False):
        row[place] = f"{TITLES[name]} {with_spread(curves[name][step])}"
    means = ([curves[name][k].mean() for name in ranking] for k in (step, 760))
    tau = kendall(*means)
    rows.append({**row, "tau with step 760": tau})
tables.show_table(rows, digits=2)

# %% [markdown]
# The order changes during this training. At steps 100 and 300 the learning rate is
# still rising, so complete trainings of 100 or 300 steps may give other rankings.
# DeepLab v1 and DeepLab v3+ have the highest means at steps 100 and 300, but the seeds
# differ much. U-Net is not among the first three there, and has the highest mean at
# step 760.
#
# ### The errors of all networks
#
# Look at the lamps and the person in one scene. All predictions of this section are of
# the first seed.

# %% tags=["hide-input"]
viz.show_labels(
    {"ground truth": test_scenes[0].semantic}
    | {TITLES[n]: predicted_maps[TITLES[n]][0] for n in reversed(ranking)},
    CLASSES,
    PALETTE,
    columns=4,
    alt="The ground truth of a scene with lamps, and the predictions of fifteen "
    "networks, sorted by mean IoU. FCN-32s shows large patches without lamps. "
    "FCN-8s, DeepLab v3 and PSPNet show lamps as wide blobs, U-Net and DeepLab "
    "v1 as posts.",
)

# %% [markdown]
# FCN-32s has no lamp. In the maps of FCN-8s, DeepLab v3 and PSPNet, lamps are blobs,
# and the legs of the person are missing. From SegNet-Basic on, most posts are thin.
#
# Now we count for each pixel how many of the fifteen networks are wrong.

# %% tags=["hide-input"]
truth = torch.stack([scene.semantic for scene in test_scenes])
wrong = sum((maps != truth).int() for maps in predicted_maps.values())
viz.show_images(
    {f"scene {n}": scene.image for n, scene in enumerate(test_scenes)}
    | {f"scene {n}: wrong networks": wrong[n] for n in range(4)},
    columns=4,
    limits=(0, 15),
    alt="Four street scenes, and below each a map of the number of wrong networks. "
    "Bright lines follow the outlines of all objects. In scenes 0 and 2, a "
    "horizontal strip is bright.",
)

# %%
everybody = wrong == len(predicted_maps)
print(f"pixels that all networks get wrong: {everybody.float().mean():.4f}")
print("share of each class in them:")
for k, name in enumerate(CLASSES):
    share, usual = ((part == k).float().mean() for part in (truth[everybody], truth))
    print(f"  {name:9} {share:.2f}, in all pixels {usual:.2f}")

# %% [markdown]
# Most errors lie at outlines. In these scenes, all networks are wrong at less than 1 %
# of the pixels; about 40 % of these are grass, most of them in a strip at the horizon
# of scene 0. No lamp pixel is among these pixels, so at least one network is right at
# each lamp pixel.
#
# ## Where it breaks
#
# ### Scenes alone do not compare architectures
#
# The bootstrap over scenes compares two *trained* networks. Another training of the
# same architectures may reverse their order. The cell counts the intervals without 0,
# and lists those of them for which $|t|$ does not exceed 4.30.

# %%
decided = [(a, b) for a, b in pairs if without_0(drawn[a] - drawn[b])]
print(f"{len(decided)} of {len(pairs)} intervals do not contain 0")
rows = []
for a, b in decided:
    gaps, _, t = difference(a, b)
    if abs(t) <= 4.30:
        row = {"networks": f"{TITLES[a]} - {TITLES[b]}", "t": f"{t:.1f}"}
        rows.append(row | {f"seed {n}": f"{gap:+.3f}" for n, gap in enumerate(gaps)})
tables.show_table(rows)

# %% [markdown]
# These intervals exclude 0, but their $|t|$ stays below 4.30. U-Net is ahead of DeepLab
# v1 with the first two seeds, and behind with the third one. So an interval over
# scenes, even over thousands of them, does not replace further trainings.
#
# ### Frames of a video are not independent
#
# The bootstrap assumes that the drawn images are independent. The 233 test frames of
# CamVid come from two videos, of which one also has frames in the training set. Frames
# that follow each other show the same street. We therefore also draw blocks of 19 to 21
# frames that follow each other, 12 in all. Compare the widths of the intervals.

# %%
frames = unpack_array(camvid["true"])  # (frames, classes)
blocks = np.array_split(np.arange(62), 3) + np.array_split(np.arange(62, 233), 9)
member = np.array([np.isin(np.arange(len(frames)), block) for block in blocks])


def camvid_scores(name, times):
    """Mean IoU of a network on CamVid for each draw: (draws, frames) -> (draws,)."""
    run = camvid["networks"][name]["runs"][0]
    intersection = times @ unpack_array(run["hits"])
    union = times @ (unpack_array(run["predicted"]) + frames) - intersection
    return (intersection / union).mean(axis=1)


rows = []
units = {"single frames": np.eye(len(frames), dtype=int), "blocks": member.astype(int)}
for title, members in units.items():
    number = len(members)
    draw = rng.multinomial(number, np.full(number, 1 / number), size=2000)
    on_draw = {name: camvid_scores(name, draw @ members) for name in results}
    gaps = [on_draw[a] - on_draw[b] for a, b in pairs]
    row = {"drawn": title, "number": number}
    row["median width"] = float(np.median([np.ptp(interval(gap)) for gap in gaps]))
    row["intervals without 0"] = sum(map(without_0, gaps))
    rows.append(row)
tables.show_table(rows)

# %% [markdown]
# With blocks, the median interval is much longer, and fewer intervals are without 0. So
# the intervals from single frames are too short. Even the blocks come from two videos
# only, so that their intervals say little about other streets.
#
# ## In practice
#
# ### The same with SciPy

# %% tags=["nbval-ignore-output"]
print(
    "NumPy", np.__version__, "· SciPy", scipy.__version__, "· torch", torch.__version__
)

# %% tags=["tol=0.002"]
parts = {name: counts(first[name]) for name in pair}


def statistic(scenes):
    """The difference of the two networks on the scenes with these numbers."""
    a, b = (i[scenes].sum(0) / u[scenes].sum(0) for i, u in parts.values())
    return a.mean() - b.mean()


answer = scipy.stats.bootstrap(
    (np.arange(100),),
    statistic,
    n_resamples=2000,
    method="percentile",
    vectorized=False,
).confidence_interval
print(f"SciPy: {answer.low:+.3f} to {answer.high:+.3f}")
print("ours:  " + "{:+.3f} to {:+.3f}".format(*interval(gap)))

# %% [markdown]
# SciPy draws other samples, but the limits agree. The statistic receives the numbers of
# the scenes, so that both networks are scored on the same draw. The method
# `"percentile"` is the interval of this chapter; SciPy's default is another one, BCa.
#
# ### Measuring cost
#
# `FlopCounterMode` counts floating-point operations; half of them are the MACs.
# `torch.utils.benchmark.Timer` measures time: it warms up, repeats the call, and uses
# one thread unless it is told otherwise.

# %% tags=["nbval-ignore-output"]
scene = test_scenes[0].image[None]
rows = []
for name in ("segnet", "segnet_basic", "unet"):
    model = NETWORKS[name](len(CLASSES)).eval()
    with torch.inference_mode():
        with FlopCounterMode(display=False) as counter:
            model(scene)
        timer = benchmark.Timer("model(scene)", globals=dict(model=model, scene=scene))
        milliseconds = 1000 * timer.blocked_autorange(min_run_time=0.5).median
    row = {"network": TITLES[name], "million MACs": counter.get_total_flops() / 2e6}
    rows.append({**row, "ms per scene": milliseconds})
tables.show_table(rows, digits=1)

# %% [markdown]
# ### A decision guide
#
# The guide applies one rule to every need. Of the networks within the limit, *best* has
# the highest mean score. A network is *good enough* if $t$ of *best* minus this network
# is at most 4.30. *Choose* names the good enough network with the shortest training
# step. Exercise 13.6 asks for this rule.

# %%
from segcourse.exercises import comparison as ex


def guide(need, values, limit=("step_ms", float("inf"))):
    """A row: the best network, and the fastest one that is good enough."""
    key, most = limit
    market = {
        name: {"scores": values(name), "cost": results[name]["step_ms"]}
        for name in results
        if results[name][key] <= most
    }
    best = max(market, key=lambda name: market[name]["scores"].mean())
    chosen = ex.choose_network.solution(market, float("inf"), 4.30)
    score = "{:.2f}".format
    return {
        "need": need,
        "best": f"{TITLES[best]} {score(market[best]['scores'].mean())}",
        "choose": f"{TITLES[chosen]} {score(market[chosen]['scores'].mean())}",
        "its step in ms": round(results[chosen]["step_ms"]),
    }


needs = [guide(title, lambda n, f=f: scores(n, f)) for title, f in SCORES.items()]
needs.append(guide("mean IoU, step below 60 ms", scores, ("step_ms", 60)))
needs.append(guide("mean IoU, below 120 million MACs", scores, ("macs", 120e6)))
needs.append(guide("mean IoU, below 200,000 parameters", scores, ("parameters", 2e5)))
tables.show_table(needs)

# %% [markdown]
# The column *choose* names two networks: DeepLab v1, and SegNet where time or
# parameters are limited. (Our DeepLab v1 adds scores of the image itself and of the
# poolings, and has no CRF.) U-Net has the highest mean for three needs, but its lead is
# not clear and its steps are longer. A large spread over seeds also makes a network
# *good enough*.
#
# The guide holds for small networks that start from random weights, for one recipe,
# which may suit some of them better, and for images like Toytown. It also chooses on
# the test scenes, which step 2 below forbids. For other images, follow the method and
# not the table:
#
# 1. Before you train, write down the score that counts and the limits of time and
#    memory.
# 2. Train two or three networks alike with at least three seeds. Choose settings on
#    validation images, with the same effort for each network.
# 3. Compare in pairs, by the interval over independent images and by $t$ over the
#    seeds. Report all pairs. Then take the cheapest of the networks whose difference
#    from the best one is not clear or not important.
#
# ## Common mistakes
#
# **1. The mean of scene scores.** Wrong: the mean IoU of every scene, averaged over the
# scenes. Right: sum the counts of all scenes, then divide.


# %%
def mean_of_scenes(run):
    intersection, union = counts(run)
    with np.errstate(invalid="ignore"):
        return np.nanmean(intersection / union, axis=1).mean()


wrongly = {name: mean_of_scenes(run) for name, run in first.items()}
rightly = {name: scores(name)[0] for name in ranking}
for name in ("unet", "deeplab_v1", "fcn_8s"):
    print(f"{TITLES[name]:11} {rightly[name]:.3f}, mean of scenes {wrongly[name]:.3f}")
both = [[each[name] for name in ranking] for each in (rightly, wrongly)]
print(f"tau of the two rankings: {kendall(*both):.2f}")

# %% [markdown]
# All scores fall. The ranking hardly changes, but scores of both kinds must not stand
# in one table.
#
# **2. "The intervals overlap, so there is no difference."** Wrong: one interval for
# each network. Right: an interval for the difference.

# %%
own = {name: interval(values) for name, values in drawn.items()}
overlap = [
    (a, b) for a, b in pairs if own[a][0] <= own[b][1] and own[b][0] <= own[a][1]
]
apart = [(a, b) for a, b in overlap if without_0(drawn[a] - drawn[b])]
print(f"pairs whose intervals overlap: {len(overlap)}")
print(f"of them, with an interval of the difference without 0: {len(apart)}")

# %% [markdown]
# For these pairs, one network is ahead on nearly all draws, although their intervals
# overlap.
#
# **3. Seeds are chosen.** Wrong: one chosen training for each network. Right: all
# seeds. For two neighbours in the ranking, the cell compares the best seed of the lower
# one with the worst of the higher one.

# %%
neighbours = list(pairwise(ranking))
swapped = [(a, b) for a, b in neighbours if scores(b).max() > scores(a).min()]
print(f"neighbours in the ranking: {len(neighbours)}, reversible: {len(swapped)}")

# %% [markdown]
# A third of the neighbours can be reversed by choosing seeds.
#
# **4. MACs are taken for time.** Wrong: "fewer MACs, so the network is faster." Right:
# measure the time on the machine that counts.

# %%
macs, step = ([results[n][key] for n in ranking] for key in ("macs", "step_ms"))
faster = [
    (a, b)
    for a, b in permutations(results, 2)
    if results[a]["macs"] < results[b]["macs"]
    and results[a]["step_ms"] > results[b]["step_ms"]
]
print(f"tau of MACs and step time: {kendall(macs, step):.2f}")
print(f"pairs in which fewer MACs take longer: {len(faster)} of {len(pairs)}")

# %% [markdown]
# In a quarter of the pairs, the network with fewer MACs takes longer. The count leaves
# out, for example, normalisation and interpolation.

# %% [markdown]
# ## Exercises
#
# Replace `...` by your answer and run the cell. `ex.by_video` shows the question again,
# `ex.by_video.hint()` gives a hint, and another one each time. The solutions are behind
# the toggles.
#
# ### 13.1 Draw whole videos
#
# Compute an interval for the difference of two networks by drawing whole videos. `a`
# and `b` are integer arrays (N, K, 2), one for each network: `a[n, c, 0]` is the
# intersection of class c in frame n, `a[n, c, 1]` its union. `videos` (N,) holds the
# number of the video of every frame; any integers are possible. `draws` (R, G) holds R
# draws of G videos each: the number p stands for the video at place p, counted from 0,
# of the sorted list of the different video numbers. A draw contains all frames of its
# videos, as often as each video was drawn.
#
# For each draw, sum the counts over its frames. The mean IoU of a network is the mean
# of intersection / union over the classes whose union is not 0. Return two numbers: the
# quantiles 0.025 and 0.975 (`np.quantile`) of the R differences, mean IoU of `a` minus
# that of `b`.


# %%
def interval_of_videos(a, b, videos, draws): ...  # your code


ex.by_video.check(interval_of_videos)

# %%
ex.by_video.show_solution()

# %% [markdown]
# ### 13.2 A Pareto front of many criteria
#
# Find the rows that no other row dominates. `rows[i][j]` is the value of network i for
# criterion j. `larger[j]` is `True` if larger values of criterion j are better, as for
# an IoU, and `False` if smaller ones are, as for a time. Row k dominates row i if it is
# at least as good in every criterion and better in at least one. So two equal rows do
# not dominate each other. Return the numbers of the rows that no row dominates, in
# ascending order. `rows` may be empty.


# %%
def front_of(rows, larger): ...  # your code


ex.pareto.check(front_of)

# %%
ex.pareto.show_solution()

# %% [markdown]
# ### 13.3 Predict the best of several seeds
#
# `scores` are the scores of one network with different seeds, larger is better.
# Somebody trains the network `count` times and reports the best score only. Return the
# expected report: the mean, over all sets of `count` different entries of `scores`, of
# the largest score in the set. `count` is from 1 to the number of scores. Scores may be
# equal.
#
# Then predict: eight trainings of a U-Net (chapter 8, 200 steps) have the scores that
# the next cell prints. How much higher than their mean is the expected report of
# somebody who trains four times? The last cell of this exercise shows the answer.


# %%
eight = [run["miou"] for run in measured("unet")["skips"]["features, concatenated"]]
print([round(score, 3) for score in eight])


# %%
def best_of(scores, count): ...  # your code


ex.best_report.check(best_of)

# %%
ex.best_report.show_solution()

# %%
for count in (1, 2, 4, 8):
    print(f"best of {count}: {ex.best_report.solution(eight, count):.3f}")

# %% [markdown]
# With four trainings, the report is about 0.02 above the mean, without any change of
# the network. These were short trainings of 200 steps. After 760 steps, the seeds of
# U-Net differ by less than 0.005.
#
# ### 13.4 Find the fault: a rank correlation
#
# This function computes Spearman's correlation of two lists of scores. It runs, and its
# result is wrong:
#
#     def rank_correlation(ours, published):
#         return np.corrcoef(np.argsort(ours), np.argsort(published))[0, 1]
#
# Find the fault, and write the function correctly. The rank of a network is its place
# when all scores of a list are sorted; networks with equal scores all get the mean of
# their places. Return the correlation coefficient (`np.corrcoef`) of the two lists of
# ranks. Entry i of both lists belongs to network i. Each list holds at least two
# different scores.


# %%
def rank_correlation(ours, published): ...  # your code


ex.repair_ranks.check(rank_correlation)

# %%
ex.repair_ranks.show_solution()

# %% [markdown]
# ### 13.5 Take a comparison apart
#
# Each claim below is said to follow from a measurement. `ex.CLAIMS` lists the claims A
# to H, and `ex.FLAWS` lists eight possible answers. Write a function that takes a
# claim's letter and returns the name of its flaw: the string before the colon. Each
# name is the answer exactly once; the string `"none"` is the answer for the claim that
# does follow.

# %%
for key, text in (ex.CLAIMS | ex.FLAWS).items():
    print(f"{key}: {text}")


# %%
def flaw_of(claim): ...  # your code


ex.take_apart.check(flaw_of)

# %%
ex.take_apart.show_solution()

# %% [markdown]
# ### 13.6 Decide: the cheapest network that is good enough
#
# Write the rule of the decision guide. `networks` is a dictionary: name -> `{"scores":
# list, "cost": number}`. `scores[i]` is the score of the training with seed i, larger
# is better; all lists have the same length, 2 or more. Only networks whose cost is at
# most `limit` can be used. Let the reference be the usable network with the highest
# mean score. A network is good enough if $m \le f e$: $f$ is `factor`, $m$ is the mean
# of the paired differences (reference minus network) and $e$ their standard error, the
# sample standard deviation (division by $n - 1$) divided by $\sqrt n$. Return the name
# of the cheapest usable network that is good enough, or `None` if no network can be
# used. No two costs and no two mean scores are equal.


# %%
def choose(networks, limit, factor): ...  # your code


ex.choose_network.check(choose)

# %%
ex.choose_network.show_solution()

# %% [markdown]
# ## Quiz

# %% [markdown]
# **Q1. Why are both networks scored on the same drawn scenes?**
#
# <details class="quiz wrong"><summary>To save computation</summary>
#
# Not quite: the counts are stored, so that other draws would cost the same.
#
# </details>
# <details class="quiz right"><summary>Because hard scenes then change both scores
# alike</summary>
#
# Right: the common change cancels in the difference, and the interval becomes shorter.
#
# </details>
# <details class="quiz wrong"><summary>Because a bootstrap sample must not contain a
# scene twice</summary>
#
# Not quite: scenes are drawn with replacement, so that most samples contain some scenes
# several times.
#
# </details>

# %% [markdown]
# **Q2. Network P has the interval 0.80 to 0.84, network Q has 0.82 to 0.86, on the same
# scenes. What follows?**
#
# <details class="quiz wrong"><summary>They do not differ, because the intervals
# overlap</summary>
#
# Not quite: Q can be ahead on every bootstrap sample, although both scores vary.
#
# </details>
# <details class="quiz wrong"><summary>Q is better, because both of its limits are
# larger</summary>
#
# Not quite: whether the difference keeps its sign is visible in its own interval only.
#
# </details>
# <details class="quiz right"><summary>Nothing yet: the interval of the difference is
# needed</summary>
#
# Right: the two intervals do not tell whether the scores rise and fall together.
#
# </details>

# %% [markdown]
# **Q3. Network P is on the Pareto front of mean IoU and step time. Which statement is
# certain?**
#
# <details class="quiz right"><summary>No other network dominates P</summary>
#
# Right: this is the definition.
#
# </details>
# <details class="quiz wrong"><summary>P is the most accurate or the fastest
# network</summary>
#
# Not quite: a compromise between the two extremes can be on the front as well.
#
# </details>
# <details class="quiz wrong"><summary>P differs clearly from all other
# networks</summary>
#
# Not quite: the front compares means. A network off the front may show no clear
# difference.
#
# </details>

# %% [markdown]
# **Q4. Two rankings of four networks have a rank correlation of 0.67. How surprising is
# that?**
#
# <details class="quiz wrong"><summary>Very: the rankings nearly agree</summary>
#
# Not quite: one pair differs, but one random order in six agrees that well.
#
# </details>
# <details class="quiz wrong"><summary>It shows that the rankings are
# unrelated</summary>
#
# Not quite: four networks are too few to show either.
#
# </details>
# <details class="quiz right"><summary>Hardly: one random order in six agrees as
# well</summary>
#
# Right: with so few networks, even a high rank correlation means little.
#
# </details>

# %% [markdown]
# **Q5. The bootstrap over 10,000 photographs gives a tiny interval without 0 for two
# networks, each trained once. What is shown?**
#
# <details class="quiz right"><summary>One of the two trained networks is better on such
# photographs</summary>
#
# Right: this holds for these weights. Another seed gives other weights.
#
# </details>
# <details class="quiz wrong"><summary>One of the two architectures is better</summary>
#
# Not quite: two trainings of the same architecture can also have an interval without 0.
#
# </details>
# <details class="quiz wrong"><summary>Nothing, because three seeds are
# required</summary>
#
# Not quite: for the two trained networks, the images are the only source of chance.
#
# </details>

# %% [markdown]
# **Q6. All 105 pairs of fifteen equally good networks are tested at the 5 % level. How
# many significant results do you expect?**
#
# <details class="quiz wrong"><summary>None</summary>
#
# Not quite: each test has a chance of 5 % to be significant although nothing differs.
#
# </details>
# <details class="quiz right"><summary>About five</summary>
#
# Right: 5 % of 105. Report how many pairs were tested, or use a stricter level.
#
# </details>
# <details class="quiz wrong"><summary>About fifty</summary>
#
# Not quite: the level of 5 % is the share of false alarms, not one half.
#
# </details>

# %% [markdown]
# ## Take-aways
#
# - A comparison has several sources of chance. The paired bootstrap over independent
#   images compares trained networks; *t* over seeds compares their architectures for
#   one recipe. A claim about architectures needs both.
# - On Toytown, U-Net has the highest mean IoU, without a clear difference from DeepLab
#   v1. SegNet, DeepLab v1 and U-Net form the front of accuracy and step time.
# - Rankings of different seeds and scores nearly agree here. Rankings during training
#   and on other data sets agree less, and the published scores do not rank our
#   networks.
# - Say how the score was computed, on which images and with how many seeds, and report
#   all of them.

# %% [markdown]
# ## Further reading
#
# - Efron, Tibshirani, *An Introduction to the Bootstrap*, Chapman & Hall/CRC, 1993.
# - Kendall, *A New Measure of Rank Correlation*, Biometrika 30, 1938.
# - SciPy's documentation of
#   [`scipy.stats.bootstrap`](https://docs.scipy.org/doc/scipy/reference/generated/scipy.stats.bootstrap.html).
# - García-García et al., [A Review on Deep Learning Techniques Applied to Semantic
#   Segmentation](https://arxiv.org/abs/1704.06857), 2017 (`garcia2017review`).
