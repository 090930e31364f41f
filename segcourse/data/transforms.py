"""Change a picture and its truth together: every transform is a function Sample -> Sample.

                     image (3, H, W)             semantic, instance (H, W)
    geometric        bilinear                    nearest: no label is ever invented
    photometric      new values                  untouched
    outside of it    black, or mirrored          IGNORE and 0: nobody saw what is there

One draw moves all three parts, so they stay aligned. Random transforms draw from torch's global
generator, or from the one they are given.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from inspect import isfunction
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor
from torch.utils.data import Dataset

from segcourse.data.sample import Sample
from segcourse.ops.borders import reflect_pad
from segcourse.ops.labels import IGNORE

Transform = Callable[[Sample], Sample]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Transformed(Dataset):
    """A dataset whose samples go through ``transform``; a random one draws anew at every look."""

    def __init__(self, dataset: Dataset, transform: Transform):
        if not callable(transform):
            raise TypeError(
                f"transform must be a function Sample -> Sample, but came as "
                f"{type(transform).__name__}: join several with compose(...)."
            )
        self.dataset, self.transform = dataset, transform

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample:
        return self.transform(self.dataset[index])


def compose(*transforms: Transform) -> Transform:
    """One transform after the other, in the order given; none at all changes nothing.

    Raises:
        TypeError: if one of them cannot be called.
    """
    for place, transform in enumerate(transforms):
        if not callable(transform):
            raise TypeError(
                f"transform number {place} is {transform!r}, which is no function: write "
                "compose(flip, resize((48, 64))), not a list of names."
            )

    def composed(sample: Sample) -> Sample:
        for transform in transforms:
            sample = transform(sample)
        return sample

    return composed


def generators_of(dataset: Any) -> list[Generator]:
    """The random generators that a dataset and its transforms draw from, each once."""
    found, seen, waiting = [], set(), [dataset]
    while waiting:
        part = waiting.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        if isinstance(part, Generator):
            found.append(part)
        elif isinstance(part, partial):
            waiting += [part.func, *part.args, *part.keywords.values()]
        elif isinstance(part, Dataset):
            waiting += vars(part).values()
        elif isinstance(part, tuple) and not isinstance(part, Sample):
            waiting += part
        elif isfunction(part):
            waiting += [cell.cell_contents for cell in part.__closure__ or ()]
    return found


# ---------------------------------------------------------------------------- geometric


def resize(size: tuple[int, int]) -> Transform:
    """To ``size`` = (height, width): image bilinear and antialiased, labels by the nearest pixel.

    Pixel centres keep their place in both, as in ``mode="nearest-exact"``. (``mode="nearest"``
    of torch and OpenCV reads half a pixel beside them.)

    Raises:
        ValueError: if a side is not positive.
    """
    height, width = check_size(size)

    def resized(sample: Sample) -> Sample:
        image, semantic, instance = check_sample(sample)
        rows = nearest_rows(semantic.shape[0], height)
        columns = nearest_rows(semantic.shape[1], width)
        return Sample(
            F.interpolate(
                image[None], (height, width), mode="bilinear", antialias=True, align_corners=False
            )[0],
            semantic[rows][:, columns],
            instance[rows][:, columns],
        )

    return resized


def nearest_rows(old: int, new: int) -> Tensor:
    """Which of ``old`` rows is nearest to the centre of each of ``new``: -> (new,) int64."""
    return ((2 * torch.arange(new) + 1) * old).div(2 * new, rounding_mode="floor")


def flip(sample: Sample) -> Sample:
    """Left becomes right: (H, W) -> (H, W)."""
    check_sample(sample)
    return Sample(*(part.flip(-1) for part in sample))


def random_flip(probability: float = 0.5, *, generator: Generator | None = None) -> Transform:
    """Mirror this share of the samples.

    Raises:
        ValueError: if ``probability`` is not in [0, 1].
    """
    if not 0 <= probability <= 1:
        raise ValueError(f"probability={probability} is none: choose it between 0 and 1.")

    def flipped(sample: Sample) -> Sample:
        chosen = uniform(0, 1, generator) < probability
        return flip(sample) if chosen else check_sample(sample)

    return flipped


def random_scale_crop(
    size: tuple[int, int],
    scales: tuple[float, float] = (0.5, 2.0),
    *,
    generator: Generator | None = None,
) -> Transform:
    """Enlarge by a random factor, then cut out ``size`` = (height, width) at a random place.

    Where the enlarged sample is smaller than ``size``, the rest is void. The range 0.5 to 2 is
    that of DeepLab and PSPNet.

    Raises:
        ValueError: if a side is not positive, or ``scales`` is not 0 < smallest <= largest.
    """
    height, width = check_size(size)
    smallest, largest = check_range("scales", scales, above=0)

    def cropped(sample: Sample) -> Sample:
        factor = uniform(smallest, largest, generator)
        sides = sample.semantic.shape
        sample = resize((max(round(sides[0] * factor), 1), max(round(sides[1] * factor), 1)))(
            sample
        )
        sample = padded(sample, height, width)
        top, left = (
            int(torch.randint(side - wanted + 1, (), generator=generator))
            for side, wanted in zip(sample.semantic.shape, (height, width), strict=True)
        )
        return Sample(*(part[..., top : top + height, left : left + width] for part in sample))

    return cropped


def pad_to_multiple(multiple: int, *, mirrored: bool = False) -> Transform:
    """Add void at the right and the bottom until both sides are multiples of ``multiple``.

    The image is black there, or ``mirrored``: then a network sees nothing that it does not know,
    and predicts better near the border. The labels are void in both cases.

    Raises:
        ValueError: if ``multiple`` is not positive.
    """
    if multiple < 1:
        raise ValueError(
            f"multiple={multiple} cannot divide a side: use the stride of the network, e.g. 16."
        )

    def widened(sample: Sample) -> Sample:
        sides = check_sample(sample).semantic.shape
        height, width = (math.ceil(side / multiple) * multiple for side in sides)
        wide = padded(sample, height, width)
        if not mirrored:
            return wide
        return wide._replace(image=reflect_pad(sample.image, 0, height, width))

    return widened


def padded(sample: Sample, height: int, width: int) -> Sample:
    """A sample with void added at the right and the bottom, up to height x width at least."""
    rows, columns = sample.semantic.shape
    margin = (0, max(width - columns, 0), 0, max(height - rows, 0))
    image, semantic, instance = sample
    return Sample(
        F.pad(image, margin), F.pad(semantic, margin, value=IGNORE), F.pad(instance, margin)
    )


def affine(
    *,
    degrees: float = 0.0,
    scale: float = 1.0,
    shear: float = 0.0,
    shift: tuple[float, float] = (0.0, 0.0),
) -> Transform:
    """Turn, enlarge, shear and shift about the centre; the size stays.

    Args:
        degrees: counter-clockwise.
        scale: above 1 enlarges.
        shear: columns that a row moves per row, e.g. 0.2.
        shift: (down, right) in pixels.

    Raises:
        ValueError: if ``scale`` is not positive or a number is not finite.
    """
    if scale <= 0 or not all(map(math.isfinite, (degrees, scale, shear, *shift))):
        raise ValueError(
            f"affine(degrees={degrees}, scale={scale}, shear={shear}, shift={shift}) maps no "
            "picture: all must be finite and scale above 0 (1 keeps the size)."
        )
    angle = math.radians(degrees)
    cosine, sine = math.cos(angle), math.sin(angle)
    upright = torch.tensor([[cosine, sine], [-sine, cosine]])  # of (row, column); rows grow down
    back = torch.tensor([[1.0, 0.0], [-shear, 1.0]]) @ upright / scale

    def moved(sample: Sample) -> Sample:
        height, width = check_sample(sample).semantic.shape
        centre = torch.tensor([(height - 1) / 2, (width - 1) / 2])
        here = pixel_grid(height, width) - centre - torch.tensor(shift)
        return warp(sample, here @ back.T + centre)

    return moved


def rotate(degrees: float) -> Transform:
    """Turn about the centre, counter-clockwise; the size stays, uncovered corners are void."""
    return affine(degrees=degrees)


def random_rotate(most: float = 10.0, *, generator: Generator | None = None) -> Transform:
    """Turn by an angle between -``most`` and ``most`` degrees.

    Raises:
        ValueError: if ``most`` is negative.
    """
    if most < 0:
        raise ValueError(f"most={most} degrees is negative: give the largest angle, e.g. 10.")
    return lambda sample: rotate(uniform(-most, most, generator))(sample)


def elastic(std: float = 10.0, *, grid: int = 3, generator: Generator | None = None) -> Transform:
    """Bend a sample like a sheet of rubber: U-Net's elastic deformation (2015, section 3.1).

    ``grid`` x ``grid`` displacements are drawn from a Gaussian of ``std`` pixels, and interpolated
    bicubically to one displacement per pixel. The paper's values are the defaults, for pictures
    of 512 x 512 pixels: choose ``std`` smaller for smaller ones.

    Raises:
        ValueError: if ``std`` is negative or ``grid`` below 2.
    """
    if std < 0 or grid < 2:
        raise ValueError(
            f"elastic(std={std}, grid={grid}) bends nothing: std is in pixels and at least 0, "
            "grid at least 2 (the paper has std=10, grid=3)."
        )

    def bent(sample: Sample) -> Sample:
        height, width = check_sample(sample).semantic.shape
        coarse = std * torch.randn(1, 2, grid, grid, generator=generator)
        field = F.interpolate(coarse, (height, width), mode="bicubic", align_corners=True)[0]
        return warp(sample, pixel_grid(height, width) + field.permute(1, 2, 0))

    return bent


def pixel_grid(height: int, width: int) -> Tensor:
    """The (row, column) of every pixel: -> (H, W, 2) float32."""
    return torch.stack(
        torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij"), dim=-1
    ).float()


def warp(sample: Sample, source: Tensor) -> Sample:
    """Every pixel takes what lies at ``source``, its (row, column): (H', W', 2) -> sizes H', W'.

    The image is read bilinearly, labels by the nearest pixel; outside of the sample is void.

    Raises:
        ValueError: if ``source`` is not (H', W', 2).
    """
    image, semantic, instance = check_sample(sample)
    if source.ndim != 3 or source.shape[2] != 2:
        raise ValueError(
            f"source has shape {tuple(source.shape)}, but must give (row, column) for every pixel: "
            "(H, W, 2). Start from pixel_grid(H, W)."
        )
    height, width = semantic.shape
    row, column = source.add(0.5).floor().long().unbind(-1)  # the nearest pixel
    outside = (row < 0) | (row >= height) | (column < 0) | (column >= width)
    row, column = row.clamp(0, height - 1), column.clamp(0, width - 1)
    scale = torch.tensor([2 / width, 2 / height])
    where = (source.flip(-1) + 0.5) * scale - 1  # grid_sample wants (x, y) in [-1, 1]
    moved = F.grid_sample(image[None], where[None], padding_mode="border", align_corners=False)[0]
    return Sample(
        moved.masked_fill(outside, 0),
        semantic[row, column].masked_fill(outside, IGNORE),
        instance[row, column].masked_fill(outside, 0),
    )


# -------------------------------------------------------------------------- photometric


def jitter(
    brightness: float = 0.2,
    contrast: float = 0.2,
    saturation: float = 0.2,
    hue: float = 0.02,
    *,
    generator: Generator | None = None,
) -> Transform:
    """Random light and colour: each factor is drawn from 1 - strength to 1 + strength.

    ``hue`` is added instead, in turns of the colour circle from -hue to hue.

    Raises:
        ValueError: if a strength is outside [0, 1], or ``hue`` outside [0, 0.5].
    """
    strengths = (brightness, contrast, saturation)
    if not (all(0 <= strength <= 1 for strength in strengths) and 0 <= hue <= 0.5):
        raise ValueError(
            f"jitter{(*strengths, hue)} is too strong or negative: brightness, contrast and "
            "saturation lie in [0, 1], hue in [0, 0.5]."
        )
    # Loading torchvision takes seconds: only those who use it pay.
    from torchvision.transforms.v2 import functional as tv

    def changed(sample: Sample) -> Sample:
        image, semantic, instance = check_sample(sample)
        light, tension, colour = (
            uniform(1 - strength, 1 + strength, generator) for strength in strengths
        )
        image = tv.adjust_contrast(tv.adjust_brightness(image, light), tension)
        image = tv.adjust_saturation(image, colour)
        image = tv.adjust_hue(image, uniform(-hue, hue, generator))
        return Sample(image.clamp(0, 1), semantic, instance)

    return changed


def noise(std: float = 0.05, *, generator: Generator | None = None) -> Transform:
    """Add Gaussian noise to the image; ``std`` as a share of the full brightness.

    Raises:
        ValueError: if ``std`` is negative.
    """
    if std < 0:
        raise ValueError(f"std={std} is negative: 0.05 is 5 % of the full brightness.")

    def noisy(sample: Sample) -> Sample:
        image, semantic, instance = check_sample(sample)
        grain = std * torch.randn(image.shape, generator=generator)
        return Sample((image + grain).clamp(0, 1), semantic, instance)

    return noisy


def blur(sigma: float = 1.0) -> Transform:
    """Blur the image with a Gaussian of ``sigma`` pixels.

    Raises:
        ValueError: if ``sigma`` is not positive.
    """
    if sigma <= 0:
        raise ValueError(f"sigma={sigma} blurs nothing: give a width in pixels above 0.")
    reach = max(1, math.ceil(3 * sigma))
    weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
    weights = weights / weights.sum()

    def blurred(sample: Sample) -> Sample:
        image, semantic, instance = check_sample(sample)
        x = F.pad(image[:, None], (reach,) * 4, mode="replicate")
        x = F.conv2d(F.conv2d(x, weights.view(1, 1, -1, 1)), weights.view(1, 1, 1, -1))
        return Sample(x[:, 0], semantic, instance)

    return blurred


def normalise(
    mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD
) -> Transform:
    """Subtract a mean and divide by a deviation, per channel; ImageNet's by default.

    It comes last: the result is no picture with values in [0, 1] any more.

    Raises:
        ValueError: if mean and std have not one value per channel, or a deviation is not positive.
    """
    if len(mean) != len(std) or min(std, default=0) <= 0:
        raise ValueError(
            f"mean={tuple(mean)} and std={tuple(std)} do not fit: one value per channel each, "
            "deviations above 0."
        )
    centre, spread = (torch.tensor(part).view(-1, 1, 1) for part in (mean, std))

    def normalised(sample: Sample) -> Sample:
        image, semantic, instance = check_sample(sample)
        if len(image) != len(centre):
            raise ValueError(
                f"normalise has {len(centre)} means, but the image {len(image)} channels: give "
                "one mean and one deviation per channel."
            )
        return Sample((image - centre) / spread, semantic, instance)

    return normalised


# ------------------------------------------------------------------------------- checks


def check_sample(sample: Sample) -> Sample:
    """Refuse what is no single sample, or whose parts do not lie on one another; returns it.

    Raises:
        TypeError: if it is no Sample, or the image holds no floats, or the labels no integers.
        ValueError: if the parts have the wrong number of axes, or different sizes.
    """
    if not isinstance(sample, Sample):
        raise TypeError(
            f"a transform takes a Sample, but got {type(sample).__name__}: wrap the parts in "
            "Sample(image, semantic, instance)."
        )
    image, semantic, instance = sample
    if not image.is_floating_point():
        raise TypeError(
            f"the image has dtype {image.dtype}, but must hold floats in [0, 1]: divide by 255."
        )
    if semantic.is_floating_point() or instance.is_floating_point():
        raise TypeError(
            f"labels must be integers, but semantic is {semantic.dtype} and instance "
            f"{instance.dtype}: load them as integers and never interpolate them."
        )
    if image.ndim != 3 or semantic.ndim != 2 or instance.ndim != 2:
        raise ValueError(
            "one sample has shapes (3, H, W), (H, W), (H, W), but this one "
            f"{tuple(image.shape)}, {tuple(semantic.shape)}, {tuple(instance.shape)}: transform "
            "samples before they become a batch."
        )
    if not image.shape[1:] == semantic.shape == instance.shape or 0 in semantic.shape:
        raise ValueError(
            f"image {tuple(image.shape[1:])}, semantic {tuple(semantic.shape)} and instance "
            f"{tuple(instance.shape)} must be of one size and not empty: load the mask that "
            "belongs to this image."
        )
    return sample


def check_size(size: tuple[int, int]) -> tuple[int, int]:
    """Refuse what is no (height, width) of at least one pixel each; returns it."""
    valid = isinstance(size, (tuple, list)) and len(size) == 2
    if not (valid and all(isinstance(side, int) and side > 0 for side in size)):
        raise ValueError(
            f"size={size!r} is no (height, width): give two whole numbers above 0, e.g. (96, 128)."
        )
    return size[0], size[1]


def check_range(name: str, values: tuple[float, float], *, above: float) -> tuple[float, float]:
    """Refuse what is no (smallest, largest) above a bound; returns it."""
    if len(values) != 2 or not above < values[0] <= values[1] < math.inf:
        raise ValueError(
            f"{name}={values!r} is no range: give (smallest, largest) above {above}, e.g. "
            "(0.5, 2.0)."
        )
    return values[0], values[1]


def uniform(low: float, high: float, generator: Generator | None) -> float:
    """A random number between ``low`` and ``high``."""
    return low + (high - low) * float(torch.rand((), generator=generator))
