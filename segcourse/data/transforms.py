"""Change an image and its labels together: every transform is a function Sample -> Sample.

                     image (3, H, W)             semantic, instance (H, W)
    geometric        bilinear                    nearest: no label is ever invented
    photometric      new values                  untouched
    outside of it    black, or mirrored          IGNORE and 0: nobody saw what is there

One draw moves all three parts, so they stay aligned. Random transforms draw from torch's global
generator, or from the one they are given. Every transform can be pickled, as the workers of a
DataLoader need it; in a worker a generator of its own starts anew, from its seed and the worker's.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing.reduction import ForkingPickler
from types import FunctionType, MethodType
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor
from torch.utils.data import Dataset, get_worker_info

from segcourse.data.sample import Sample
from segcourse.ops.borders import reflect_pad
from segcourse.ops.labels import IGNORE

Transform = Callable[[Sample], Sample]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

_INTEGERS = {
    torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64,
    torch.uint16, torch.uint32, torch.uint64,
}  # fmt: skip


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
    return partial(_compose, transforms=transforms)


def _compose(sample: Sample, transforms: Sequence[Transform]) -> Sample:
    for transform in transforms:
        sample = transform(sample)
    return sample


# ---------------------------------------------------------------------------- geometric


def resize(size: tuple[int, int]) -> Transform:
    """To ``size`` = (height, width): image bilinear and antialiased, labels by the nearest pixel.

    Pixel centres keep their place in both, as in ``mode="nearest-exact"``. (``mode="nearest"``
    of torch and OpenCV reads half a pixel beside them.)

    Raises:
        ValueError: if a side is not positive.
    """
    return partial(_resize, size=_check_size(size))


def _resize(sample: Sample, size: tuple[int, int]) -> Sample:
    image, semantic, instance = _check_sample(sample)
    rows, columns = (
        _nearest_rows(old, new).to(image.device)
        for old, new in zip(semantic.shape, size, strict=True)
    )
    return Sample(
        F.interpolate(image[None], size, mode="bilinear", antialias=True, align_corners=False)[0],
        semantic[rows][:, columns],
        instance[rows][:, columns],
    )


def _nearest_rows(old: int, new: int) -> Tensor:
    """Which of ``old`` rows is nearest to the centre of each of ``new``: -> (new,) int64."""
    return ((2 * torch.arange(new) + 1) * old).div(2 * new, rounding_mode="floor")


def flip(sample: Sample) -> Sample:
    """Left becomes right: (H, W) -> (H, W)."""
    return Sample(*(part.flip(-1) for part in _check_sample(sample)))


def random_flip(probability: float = 0.5, *, generator: Generator | None = None) -> Transform:
    """Mirror this share of the samples.

    Raises:
        ValueError: if ``probability`` is not in [0, 1].
    """
    if not 0 <= probability <= 1:
        raise ValueError(f"probability={probability} is none: choose it between 0 and 1.")
    return partial(_random_flip, probability=probability, generator=generator)


def _random_flip(sample: Sample, probability: float, generator: Generator | None) -> Sample:
    chosen = _uniform(0, 1, generator) < probability
    return flip(sample) if chosen else _check_sample(sample)


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
    size, scales = _check_size(size), _check_range("scales", scales, above=0)
    return partial(_random_scale_crop, size=size, scales=scales, generator=generator)


def _random_scale_crop(
    sample: Sample,
    size: tuple[int, int],
    scales: tuple[float, float],
    generator: Generator | None,
) -> Sample:
    height, width = size
    factor = _uniform(*scales, generator)
    rows, columns = (max(round(side * factor), 1) for side in sample.semantic.shape)
    sample = _pad(_resize(sample, (rows, columns)), height, width)
    top, left = (
        int(torch.randint(side - wanted + 1, (), generator=_worker_generator(generator)))
        for side, wanted in zip(sample.semantic.shape, size, strict=True)
    )
    return Sample(*(part[..., top : top + height, left : left + width] for part in sample))


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
    return partial(_pad_to_multiple, multiple=multiple, mirrored=mirrored)


def _pad_to_multiple(sample: Sample, multiple: int, mirrored: bool) -> Sample:
    sample = _check_sample(sample)
    height, width = (math.ceil(side / multiple) * multiple for side in sample.semantic.shape)
    wide = _pad(sample, height, width)
    return wide._replace(image=reflect_pad(sample.image, 0, height, width)) if mirrored else wide


def _pad(sample: Sample, height: int, width: int) -> Sample:
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
            "image: all must be finite and scale above 0 (1 keeps the size)."
        )
    angle = math.radians(degrees)
    cosine, sine = math.cos(angle), math.sin(angle)
    upright = torch.tensor([[cosine, sine], [-sine, cosine]])  # of (row, column); rows grow down
    back = torch.tensor([[1.0, 0.0], [-shear, 1.0]]) @ upright / scale
    return partial(_affine, back=back, shift=torch.tensor(shift))


def _affine(sample: Sample, back: Tensor, shift: Tensor) -> Sample:
    height, width = _check_sample(sample).semantic.shape
    center = torch.tensor([(height - 1) / 2, (width - 1) / 2])
    here = pixel_grid(height, width) - center - shift
    return warp(sample, here @ back.T + center)


def rotate(degrees: float) -> Transform:
    """Turn about the centre, counter-clockwise; the size stays, uncovered corners are void."""
    return affine(degrees=degrees)


def random_rotate(max_degrees: float = 10.0, *, generator: Generator | None = None) -> Transform:
    """Turn by an angle between -``max_degrees`` and ``max_degrees``.

    Raises:
        ValueError: if ``max_degrees`` is negative or not finite.
    """
    if not 0 <= max_degrees < math.inf:
        raise ValueError(
            f"max_degrees={max_degrees} is negative or not finite: give the largest angle, e.g. 10."
        )
    return partial(_random_rotate, max_degrees=max_degrees, generator=generator)


def _random_rotate(sample: Sample, max_degrees: float, generator: Generator | None) -> Sample:
    return rotate(_uniform(-max_degrees, max_degrees, generator))(sample)


def elastic(
    std: float = 10.0,
    *,
    grid: int = 3,
    mirrored: bool = False,
    generator: Generator | None = None,
) -> Transform:
    """Bend a sample like a sheet of rubber: U-Net's elastic deformation (2015, section 3.1).

    ``grid`` x ``grid`` displacements are drawn from a Gaussian of ``std`` pixels, and interpolated
    bicubically to one displacement per pixel. The paper's values are the defaults, for images
    of 512 x 512 pixels: choose ``std`` smaller for smaller ones. Pixels that come from outside are
    black in the image, or ``mirrored``; their labels are void in both cases.

    Raises:
        ValueError: if ``std`` is negative or ``grid`` below 2.
    """
    if std < 0 or grid < 2:
        raise ValueError(
            f"elastic(std={std}, grid={grid}) bends nothing: std is in pixels and at least 0, "
            "grid at least 2 (the paper has std=10, grid=3)."
        )
    return partial(_elastic, std=std, grid=grid, mirrored=mirrored, generator=generator)


def _elastic(
    sample: Sample, std: float, grid: int, mirrored: bool, generator: Generator | None
) -> Sample:
    height, width = _check_sample(sample).semantic.shape
    coarse = std * torch.randn(1, 2, grid, grid, generator=_worker_generator(generator))
    field = F.interpolate(coarse, (height, width), mode="bicubic", align_corners=True)[0]
    return warp(sample, pixel_grid(height, width) + field.permute(1, 2, 0), mirrored=mirrored)


def pixel_grid(height: int, width: int) -> Tensor:
    """The (row, column) of every pixel: -> (H, W, 2) float32."""
    return torch.stack(
        torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij"), dim=-1
    ).float()


def warp(sample: Sample, source: Tensor, *, mirrored: bool = False) -> Sample:
    """Every pixel takes what lies at ``source``, its (row, column): (H', W', 2) -> sizes H', W'.

    The image is read bilinearly, labels by the nearest pixel. Outside of the sample the labels are
    void, and the image is black, or ``mirrored`` at the middle of its border pixels.

    Raises:
        ValueError: if ``source`` is not (H', W', 2).
    """
    image, semantic, instance = _check_sample(sample)
    if source.ndim != 3 or source.shape[2] != 2:
        raise ValueError(
            f"source has shape {tuple(source.shape)}, but must give (row, column) for every pixel: "
            "(H, W, 2). Start from pixel_grid(H, W)."
        )
    height, width = semantic.shape
    source = source.to(image)
    row, column = source.add(0.5).floor().long().unbind(-1)  # the nearest pixel
    outside = (row < 0) | (row >= height) | (column < 0) | (column >= width)
    row, column = row.clamp(0, height - 1), column.clamp(0, width - 1)
    if mirrored:
        period = source.new_tensor([max(2 * height - 2, 1), max(2 * width - 2, 1)])
        source = source.remainder(period)
        source = torch.minimum(source, period - source)
    scale = source.new_tensor([2 / width, 2 / height])
    where = (source.flip(-1) + 0.5) * scale - 1  # grid_sample wants (x, y) in [-1, 1]
    moved = F.grid_sample(image[None], where[None], padding_mode="border", align_corners=False)[0]
    return Sample(
        moved if mirrored else moved.masked_fill(outside, 0),
        semantic[row, column].masked_fill(outside, IGNORE),
        instance[row, column].masked_fill(outside, 0),
    )


# -------------------------------------------------------------------------- photometric


def color_jitter(
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
            f"color_jitter{(*strengths, hue)} is too strong or negative: brightness, contrast and "
            "saturation lie in [0, 1], hue in [0, 0.5]."
        )
    return partial(_color_jitter, strengths=strengths, hue=hue, generator=generator)


def _color_jitter(
    sample: Sample,
    strengths: tuple[float, float, float],
    hue: float,
    generator: Generator | None,
) -> Sample:
    # Loading torchvision takes seconds: only those who use it pay.
    from torchvision.transforms.v2 import functional as tv

    image, semantic, instance = _check_sample(sample)
    brightness, contrast, saturation = (
        _uniform(1 - strength, 1 + strength, generator) for strength in strengths
    )
    image = tv.adjust_contrast(tv.adjust_brightness(image, brightness), contrast)
    image = tv.adjust_saturation(image, saturation)
    image = tv.adjust_hue(image, _uniform(-hue, hue, generator))
    return Sample(image.clamp(0, 1), semantic, instance)


def gaussian_noise(std: float = 0.05, *, generator: Generator | None = None) -> Transform:
    """Add Gaussian noise to the image; ``std`` as a share of the full brightness.

    Raises:
        ValueError: if ``std`` is negative.
    """
    if std < 0:
        raise ValueError(f"std={std} is negative: 0.05 is 5 % of the full brightness.")
    return partial(_gaussian_noise, std=std, generator=generator)


def _gaussian_noise(sample: Sample, std: float, generator: Generator | None) -> Sample:
    image, semantic, instance = _check_sample(sample)
    noise = std * torch.randn(image.shape, generator=_worker_generator(generator)).to(image)
    return Sample((image + noise).clamp(0, 1), semantic, instance)


def gaussian_blur(sigma: float = 1.0) -> Transform:
    """Blur the image with a Gaussian of ``sigma`` pixels.

    Raises:
        ValueError: if ``sigma`` is not positive.
    """
    if sigma <= 0:
        raise ValueError(f"sigma={sigma} blurs nothing: give a width in pixels above 0.")
    reach = max(1, math.ceil(3 * sigma))
    weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
    return partial(_gaussian_blur, weights=weights / weights.sum())


def _gaussian_blur(sample: Sample, weights: Tensor) -> Sample:
    image, semantic, instance = _check_sample(sample)
    reach, weights = len(weights) // 2, weights.to(image)
    x = F.pad(image[:, None], (reach,) * 4, mode="replicate")
    x = F.conv2d(F.conv2d(x, weights.view(1, 1, -1, 1)), weights.view(1, 1, 1, -1))
    return Sample(x[:, 0], semantic, instance)


def normalize(
    mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD
) -> Transform:
    """Subtract a mean and divide by a deviation, per channel; ImageNet's by default.

    It comes last: the result is no image with values in [0, 1] any more.

    Raises:
        ValueError: if mean and std have not one value per channel, or a deviation is not positive.
    """
    if len(mean) != len(std) or min(std, default=0) <= 0:
        raise ValueError(
            f"mean={tuple(mean)} and std={tuple(std)} do not fit: one value per channel each, "
            "deviations above 0."
        )
    mean, std = (torch.tensor(part).view(-1, 1, 1) for part in (mean, std))
    return partial(_normalize, mean=mean, std=std)


def _normalize(sample: Sample, mean: Tensor, std: Tensor) -> Sample:
    image, semantic, instance = _check_sample(sample)
    if len(image) != len(mean):
        raise ValueError(
            f"normalize has {len(mean)} means, but the image {len(image)} channels: give "
            "one mean and one deviation per channel."
        )
    return Sample((image - mean.to(image)) / std.to(image), semantic, instance)


# ------------------------------------------------------------------------------- checks


def _check_sample(sample: Sample) -> Sample:
    """Refuse what is no single sample, or whose parts do not lie on one another.

    Returns the sample as the course defines it: floats of any width as float32, labels as int64.

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
    if {semantic.dtype, instance.dtype} - _INTEGERS:
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
    return Sample(image.float(), semantic.long(), instance.long())


def _check_size(size: tuple[int, int]) -> tuple[int, int]:
    """Refuse what is no (height, width) of at least one pixel each; returns it."""
    valid = isinstance(size, (tuple, list)) and len(size) == 2
    if not (valid and all(isinstance(side, int) and side > 0 for side in size)):
        raise ValueError(
            f"size={size!r} is no (height, width): give two whole numbers above 0, e.g. (96, 128)."
        )
    return size[0], size[1]


def _check_range(name: str, values: tuple[float, float], *, above: float) -> tuple[float, float]:
    """Refuse what is no (smallest, largest) above a bound; returns it."""
    if len(values) != 2 or not above < values[0] <= values[1] < math.inf:
        raise ValueError(
            f"{name}={values!r} is no range: give (smallest, largest) above {above}, e.g. "
            "(0.5, 2.0)."
        )
    return values[0], values[1]


def _uniform(low: float, high: float, generator: Generator | None) -> float:
    """A random number between ``low`` and ``high``."""
    return low + (high - low) * float(torch.rand((), generator=_worker_generator(generator)))


# -------------------------------------------------------------------------- generators

_reseeded: dict[int, Generator] = {}  # in the process of a worker: the generators it has reseeded


def _worker_generator(generator: Generator | None) -> Generator | None:
    """The generator itself; where a worker of a DataLoader first uses it, it starts anew.

    Every worker has a copy of the dataset with all its generators, made at the start of an epoch.
    The copies would draw the same numbers in all workers and epochs. The seed of a worker differs
    in every worker and epoch, and follows from the generator of the loader.
    """
    worker = get_worker_info()
    if generator is not None and worker is not None and id(generator) not in _reseeded:
        seeds = np.random.SeedSequence([generator.initial_seed(), worker.seed])
        generator.manual_seed(int(seeds.generate_state(1, np.uint64)[0]))
        _reseeded[id(generator)] = generator
    return generator


def _generator_to_bytes(generator: Generator) -> tuple[Callable, tuple]:
    """How a generator is sent to a new process.

    torch sends the state as a tensor in shared memory that is closed before the process reads it.
    """
    return _generator_from_bytes, (generator.device, generator.get_state().numpy().tobytes())


def _generator_from_bytes(device: torch.device, state: bytes) -> Generator:
    generator = Generator(device)
    generator.set_state(torch.frombuffer(bytearray(state), dtype=torch.uint8))
    return generator


ForkingPickler.register(Generator, _generator_to_bytes)


def generators_of(source: Transform | Dataset) -> list[Generator]:
    """The generators that a transform or a dataset draws from: each once, in a fixed order.

    A checkpoint stores their states, so that a training that goes on draws what it would have
    drawn. They are found in transforms of this file, in ``compose``, in ``Transformed``, in
    datasets around datasets, and in functions and objects of your own that hold them.
    """
    found, seen, waiting = [], set(), [source]
    while waiting:
        each = waiting.pop()
        if id(each) not in seen:
            seen.add(id(each))
            waiting.extend(reversed(_held_by(each)))
            if isinstance(each, Generator):
                found.append(each)
    return found


def _held_by(each: Any) -> list:
    """What a transform, a dataset, a collection or a function of one's own holds."""
    if isinstance(each, (Tensor, Sample, type)):
        return []
    if isinstance(each, partial):
        return [each.func, *each.args, *each.keywords.values()]
    if isinstance(each, (list, tuple, dict)):
        return list(each.values() if isinstance(each, dict) else each)
    if isinstance(each, FunctionType):
        return [cell.cell_contents for cell in each.__closure__ or ()]
    if isinstance(each, MethodType):
        return [each.__self__]
    if isinstance(each, Dataset) or callable(each):
        return list(getattr(each, "__dict__", {}).values())
    return []
