"""The fully connected CRF: how exact and how fast, on one thread: python -m benchmarks.crf.

Exact means close to brute force on crops of 32 x 32 pixels, after 5 and 10 rounds; the papers'
settings are used as they are, and with their distances shrunk as a crop is against a scene.
"""

import itertools
import time
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import report
from segcourse.data.toytown import CLASSES, Toytown
from segcourse.ops.crf import brute_force_crf, dense_crf

Settings = dict[str, float]

SIDE, CROPS, SHRINK = 32, 8, 32 / 128
ROUNDS = (5, 10)
NAMES = ("smooth_weight", "smooth_std", "bilateral_weight", "xy_std", "rgb_std")
PAPERS = {
    name: dict(zip(NAMES, values, strict=True))
    for name, values in {
        "DeepLab v1": (3, 3, 4, 49, 5 / 255),
        "DeepLab v2, ResNet-101": (3, 1, 4, 67, 3 / 255),
        "DeepLab v2, VGG-16": (2, 2, 4, 65, 3 / 255),
        "DeconvNet": (3, 3, 5, 20, 3 / 255),
    }.items()
}


def shrunk(settings: Settings) -> Settings:
    """The same picture of the world, seen in a smaller image."""
    distances = {name: settings[name] * SHRINK for name in ("smooth_std", "xy_std")}
    return {**settings, **distances}


def coarse_logits(
    semantic: Tensor, *, stride: int = 8, noise: float = 1.0, seed: int = 0
) -> Tensor:
    """What a network of this stride might say: (H, W) -> (K, H, W), blurred and partly wrong."""
    generator = torch.Generator().manual_seed(seed)
    share = F.one_hot(semantic, len(CLASSES)).permute(2, 0, 1)[None].float()
    share = F.avg_pool2d(share, stride)
    logits = (0.9 * share + 0.1 / len(CLASSES)).log()
    logits += noise * torch.randn(logits.shape, generator=generator)
    return F.interpolate(logits, size=semantic.shape, mode="bilinear")[0]


def crops(count: int, *, seed: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
    """Parts of Toytown, one of a scene, and coarse logits: (K, 32, 32), (3, 32, 32) each."""
    place = np.random.default_rng(seed)
    for number, sample in enumerate(Toytown(count, seed=seed)):
        y, x = (int(place.integers(side - SIDE + 1)) for side in sample.semantic.shape)
        window = (slice(y, y + SIDE), slice(x, x + SIDE))
        yield coarse_logits(sample.semantic[window], seed=number), sample.image[:, *window]


def noise_pictures(count: int, *, seed: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
    """Colours and logits of nothing: (K, 32, 32), (3, 32, 32) each."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count):
        logits = torch.randn(len(CLASSES), SIDE, SIDE, generator=generator)
        yield logits, torch.rand(3, SIDE, SIDE, generator=generator)


def few_colors(image: Tensor) -> dict[str, Tensor]:
    """The same picture in one colour, in two, and posterised: (3, H, W) each."""
    bright = image.mean(dim=0, keepdim=True) > image.mean()
    levels = {f"{n} levels": (image * (n - 1)).round() / (n - 1) for n in (3, 4, 8)}
    left = torch.arange(image.shape[-1]) < image.shape[-1] // 2
    return {
        "one colour": torch.full_like(image, 0.5),
        "two colours": torch.where(bright, 0.8, 0.2).expand_as(image).contiguous(),
        **levels,
        "left half one colour": torch.where(left, 0.5, image),
    }


def flat_pictures(count: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Crops of few colours, and coarse logits: (K, 32, 32), (3, 32, 32) each."""
    for logits, image in crops(count):
        yield from ((logits, flat) for flat in few_colors(image).values())


KINDS = {"Toytown": crops, "noise": noise_pictures, "few colours": flat_pictures}


def largest_difference(logits: Tensor, image: Tensor, settings: Settings, rounds: int) -> float:
    """How far a probability is from brute force at most, over all pixels and classes."""
    fast = dense_crf(logits[None], image[None], iterations=rounds, **settings)[0]
    return float((fast - brute_force_crf(logits, image, iterations=rounds, **settings)).abs().max())


def worst(examples: list[tuple[Tensor, Tensor]], settings: Settings) -> float:
    """The largest difference over all examples and rounds."""
    cases = itertools.product(examples, ROUNDS)
    return max(largest_difference(*example, settings, rounds) for example, rounds in cases)


def seconds(logits: Tensor, image: Tensor, settings: Settings, repeats: int = 3) -> float:
    """The least processor time of five rounds on a whole image, everything included."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        dense_crf(logits[None], image[None], iterations=5, **settings)
        times.append(time.process_time() - start)
    return round(min(times), 3)


def pictures() -> dict[str, tuple[Tensor, Tensor]]:
    """Whole images, from usual to hard: logits (K, H, W) and colours (3, H, W)."""
    scene, large = Toytown(1, seed=1)[0], Toytown(1, seed=1, size=(192, 256))[0]
    logits, generator = coarse_logits(scene.semantic), torch.Generator().manual_seed(0)
    noise = torch.rand(scene.image.shape, generator=generator)
    images = {"Toytown": scene.image, "noise": noise, **few_colors(scene.image)}
    return {
        **{f"{name}, 96 x 128": (logits, image) for name, image in images.items()},
        "Toytown, 192 x 256": (coarse_logits(large.semantic), large.image),
    }


def main() -> None:
    """Measure and write."""
    torch.set_num_threads(1)
    times, ratios, differences = {}, {}, {}
    for name, settings in PAPERS.items():
        times[name] = {
            picture: seconds(*example, settings) for picture, example in pictures().items()
        }
        ordinary = times[name]["Toytown, 96 x 128"]
        ratios[name] = {
            picture: round(times[name][f"{picture}, 96 x 128"] / ordinary, 2)
            for picture in few_colors(torch.zeros(3, 1, 1))
        }
        differences[name] = {
            f"{kind}, {scale}": float(f"{worst(list(examples(CROPS)), used):.1e}")
            for kind, examples in KINDS.items()
            for scale, used in (("as published", settings), ("shrunk", shrunk(settings)))
        }
        print(f"{name:24} seconds {times[name]}  differences {differences[name]}", flush=True)
    report.write(
        "crf",
        {
            "what": "dense_crf: processor time, and largest difference to brute force",
            "classes": len(CLASSES),
            "iterations_timed": 5,
            "settings": PAPERS,
            "seconds": times,
            "ratio_to_toytown": ratios,
            "crops": CROPS,
            "side_of_crops": SIDE,
            "iterations_compared": ROUNDS,
            "largest_difference": differences,
        },
    )


if __name__ == "__main__":
    main()
