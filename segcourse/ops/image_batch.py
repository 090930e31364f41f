"""Images of different sizes as one batch: zeros at the right and at the bottom.

    image 1  ┌────────┐     batch   ┌────────┬──┐
             │        │             │        │ 0│
             └────────┘             ├────────┘  │     sides: multiples of ``divisor``
    image 2  ┌────┐                 │     0     │
             │    │                 └───────────┘
             │    │
             └────┘

A network with strides up to 32 wants sides that are multiples of 32, so that every map of its
pyramid is exactly so many times smaller than the image.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class ImageBatch(NamedTuple):
    """N images padded to one size, and the sizes that they have themselves."""

    images: Tensor  # (N, C, H, W), zeros outside of the images
    sizes: list[tuple[int, int]]  # (height, width) of every image

    def inside(self) -> Tensor:
        """Which pixels belong to an image, and are no padding: -> (N, H, W) bool."""
        height, width = self.images.shape[-2:]
        device = self.images.device
        rows, columns = torch.tensor(self.sizes, device=device).reshape(-1, 2).unbind(dim=1)
        row = torch.arange(height, device=device) < rows[:, None]
        column = torch.arange(width, device=device) < columns[:, None]
        return row[:, :, None] & column[:, None]


def batch_images(images: Tensor | Sequence[Tensor], *, divisor: int = 1) -> ImageBatch:
    """Pad images to one size: (N, C, H, W), or N of (C, H_i, W_i) -> ImageBatch.

    Args:
        images: floats, a batch or a sequence of images of any sizes.
        divisor: both sides of the batch become multiples of it.

    Raises:
        TypeError: if an image is no tensor of floats.
        ValueError: if there is no image, or an image has no pixel or not three axes.
    """
    parts = list(images) if not isinstance(images, Tensor) else images
    if isinstance(parts, Tensor) and parts.ndim != 4:
        raise ValueError(
            f"images have shape (N, C, H, W), but these have {tuple(parts.shape)}: add the axis of "
            "the batch with image[None], or pass a list of images (C, H, W)."
        )
    if len(parts) == 0:
        raise ValueError("there is no image: a batch holds at least one.")
    for part in parts:
        if not isinstance(part, Tensor) or not part.is_floating_point():
            came = part.dtype if isinstance(part, Tensor) else type(part).__name__
            raise TypeError(f"images are tensors of floats, but one came as {came}: use .float().")
        if part.ndim != 3 or part.numel() == 0 or len(part) != len(parts[0]):
            raise ValueError(
                f"an image has shape (C, H, W), at least one pixel and as many channels as the "
                f"others, but one has {tuple(part.shape)}."
            )
    sizes = [(part.shape[1], part.shape[2]) for part in parts]
    height, width = (-(-max(sides) // divisor) * divisor for sides in zip(*sizes, strict=True))
    if isinstance(parts, Tensor) and parts.shape[-2:] == (height, width):
        return ImageBatch(parts, sizes)
    batch = parts[0].new_zeros(len(parts), len(parts[0]), height, width)
    for canvas, part in zip(batch, parts, strict=True):
        canvas[:, : part.shape[1], : part.shape[2]] = part
    return ImageBatch(batch, sizes)
