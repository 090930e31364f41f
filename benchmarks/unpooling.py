"""What the positions of the maxima contribute to SegNet, eight seeds an arm.

    python -m benchmarks.unpooling                          all arms, about 90 minutes
    python -m benchmarks.unpooling --only indices --dry     one of them, printed only

The stored runs of the learned arms and of DeconvNet have three seeds (--seeds 0 1 2).

Every arm is the classroom's SegNet; only what stands in the place of an unpooling differs. For
equal seeds all layers that two arms share start from equal weights, and see equal batches. Then
DeconvNet with and without its fully connected middle. Data, loss and schedule are those of
benchmarks/ablations.py. Last, SegNet on the left half of the photograph of coins, scored on the
right half. results/unpooling.json keeps what it knows of arms that were not run again.
"""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

from benchmarks import runs
from benchmarks.ablations import STEPS, scenes
from benchmarks.architectures import TRAINING, scores, train
from segcourse.blocks.conv import kaiming_normal_
from segcourse.blocks.unpooling import Maxima, pool, unpool
from segcourse.blocks.upsample import bilinear_upsample, resize
from segcourse.classroom import NETWORKS
from segcourse.data.photographs import Photographs
from segcourse.metrics.semantic import confusion_matrix, iou
from segcourse.models.segnet import SegNet
from segcourse.training import fit, predict, seed_everything

SEEDS = tuple(range(8))
WINDOWS = dict(side=64, batch=4, steps=60, learning_rate=5e-3)  # of the coins
OPTIONS = NETWORKS["segnet"].keywords

Upsampling = Callable[[Tensor, Maxima, Tensor], Tensor]


class Upsampled(SegNet):
    """SegNet whose decoder doubles its maps in another way: (N, 3, H, W) -> (N, K, H, W).

    Args:
        num_classes: channels of the logits.
        build: (channels) -> a module or function of the features to upsample, of the maxima, and
            of the encoder's features before that pooling.
    """

    def __init__(self, num_classes: int, build: Callable[[int], Upsampling]):
        super().__init__(num_classes, **OPTIONS)
        widths = [stage[0].out_channels for stage in reversed(self.encoder)]
        made = [build(width) for width in widths]
        self.upsampling = made
        self.learned = nn.ModuleList(each.layer for each in made if isinstance(each, Learned))
        self.to(memory_format=torch.channels_last)

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.finest(image))

    def finest(self, image: Tensor) -> Tensor:
        """The decoder's features after the last doubling; only the head follows."""
        x, noted = image, []
        for stage in self.encoder:
            features = stage(x)
            x, maxima = pool(features)
            noted.append((maxima, features))
        for stage, up, (maxima, features) in zip(
            self.decoder, self.upsampling, reversed(noted), strict=True
        ):
            x = stage(up(x, maxima, features))
        return x


class Learned:
    """A transposed convolution of stride 2 that keeps the channels."""

    def __init__(self, channels: int, kernel_size: int):
        padding = (kernel_size - 1) // 2
        self.layer = kaiming_normal_(
            nn.ConvTranspose2d(
                channels, channels, kernel_size, 2, padding, output_padding=kernel_size % 2
            )
        )

    def __call__(self, x: Tensor, maxima: Maxima, features: Tensor) -> Tensor:
        return self.layer(x)


class LearnedFromBilinear(Learned):
    """The same layer with a kernel of 4, which starts as bilinear interpolation."""

    def __init__(self, channels: int):
        self.layer = bilinear_upsample(channels, 2, padding=1).requires_grad_()


def indices(x: Tensor, maxima: Maxima, features: Tensor) -> Tensor:
    """Where the maxima were, zeros elsewhere."""
    return unpool(x, maxima)


def fixed_corner(x: Tensor, maxima: Maxima, features: Tensor) -> Tensor:
    """In the upper left corner of every window, zeros elsewhere."""
    up = x.new_zeros(*x.shape[:2], *maxima.size).contiguous(memory_format=torch.channels_last)
    up[..., ::2, ::2] = x
    return up


def nearest(x: Tensor, maxima: Maxima, features: Tensor) -> Tensor:
    """Every value four times."""
    return F.interpolate(x, maxima.size, mode="nearest")


def bilinear(x: Tensor, maxima: Maxima, features: Tensor) -> Tensor:
    """Interpolated."""
    return resize(x, maxima.size)


def features_added(x: Tensor, maxima: Maxima, features: Tensor) -> Tensor:
    """Interpolated, and the encoder's features of that size added: a skip without new weights."""
    return resize(x, maxima.size) + features


ARMS: dict[str, Callable[[int], nn.Module]] = {
    name: partial(Upsampled, build=build)
    for name, build in {
        "indices": lambda _: indices,
        "fixed corner": lambda _: fixed_corner,
        "nearest": lambda _: nearest,
        "bilinear": lambda _: bilinear,
        "learned, 3 x 3": partial(Learned, kernel_size=3),
        "learned, 4 x 4, from bilinear": LearnedFromBilinear,
        "features added": lambda _: features_added,
    }.items()
}


def without_middle(num_classes: int) -> nn.Module:
    """DeconvNet whose fully connected layers are left out."""
    model = NETWORKS["deconvnet"](num_classes)
    model.fully_connected = nn.Identity()
    return model


ARMS |= {"DeconvNet": NETWORKS["deconvnet"], "DeconvNet, no middle": without_middle}
COINS = {f"coins, {name}": ARMS[name] for name in ("indices", "fixed corner", "bilinear")}


def pattern(maps: Tensor) -> float:
    """How much of a map's variance is a pattern of period 2: (N, C, H, W) -> share in [0, 1].

    The share that the mean values of the four positions of a 2 x 2 window explain, averaged over
    the channels that vary at all.
    """
    phases = torch.stack([maps[..., y::2, x::2] for y in (0, 1) for x in (0, 1)])  # (4, N, C, ...)
    between = phases.mean(dim=(1, 3, 4)).var(dim=0, correction=0)
    total = maps.var(dim=(0, 2, 3), correction=0)
    return (between / total)[total > 1e-8].mean().item()


@torch.no_grad()
def patterns(model: nn.Module, image: Tensor) -> dict[str, float]:
    """The pattern in the features after the last doubling, and in the logits."""
    if not isinstance(model, Upsampled):
        return {}
    features = model.eval().finest(image)
    return {
        "pattern_features": round(pattern(features), 4),
        "pattern_logits": round(pattern(model.head(features)), 4),
    }


def coins(build: Callable[[int], nn.Module], seed: int) -> float:
    """IoU on the right half of the coins after a training on windows of the left half."""
    torch.set_num_threads(1)
    image, target, _ = Photographs(("coins",))[0]
    image, target = (image - image.mean()) / image.std(), (target > 0).long()
    middle = image.shape[-1] // 2
    seed_everything(seed)
    model = build(2)
    windows = []
    for _ in range(WINDOWS["steps"] * WINDOWS["batch"]):
        top = int(torch.randint(image.shape[1] - WINDOWS["side"] + 1, ()))
        left = int(torch.randint(middle - WINDOWS["side"] + 1, ()))
        place = (..., slice(top, top + WINDOWS["side"]), slice(left, left + WINDOWS["side"]))
        windows.append((image[place], target[place]))
    fit(
        model,
        lambda model, batch: F.cross_entropy(model(batch[0]), batch[1]),
        DataLoader(windows, batch_size=WINDOWS["batch"]),
        steps=WINDOWS["steps"],
        learning_rate=WINDOWS["learning_rate"],
        progress=False,
    )
    preds = predict(model, image[None, ..., middle:])
    return round(iou(confusion_matrix(preds, target[None, :, middle:], 2))[1].item(), 4)


def run(name: str, seed: int, steps: int) -> dict:
    """Train one arm with one seed and score it on the test scenes, or on the coins."""
    if name in COINS:
        return {"seed": seed, "iou": coins(COINS[name], seed)}
    training, test = scenes()
    model = train(ARMS[name], training, seed=seed, steps=steps)
    return {
        "seed": seed,
        **scores(predict(model, test.image, batch_size=10), test.semantic),
        **patterns(model, test.image[:20]),
        "parameters": sum(p.numel() for p in model.parameters()),
    }


def main(arguments: list[str] | None = None) -> int:
    """Run the chosen arms; returns the exit status."""
    arms = {**ARMS, **COINS}
    parser = runs.parser(__doc__.splitlines()[0], arms, STEPS)
    parser.set_defaults(seeds=list(SEEDS))
    options = parser.parse_args(arguments)
    settings = {**TRAINING, "steps": options.steps}
    runs.renew("unpooling", "arms", arms, run, settings, options, options.steps)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
