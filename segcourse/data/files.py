"""Reading what data sets are made of: images, label maps, texts, and the folders that hold them."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

_GRAY_16_BIT = ("I;16", "I;16L", "I;16B", "I;16N")
_LABEL_MODES = ("1", "L", "P", "I", *_GRAY_16_BIT)


def load_image(path: str | Path) -> Tensor:
    """An image file of any kind: -> (3, H, W) float32 in [0, 1]; transparency is dropped.

    The image stands upright: an EXIF orientation, as telephones write it, is applied. Values of 16
    bits are divided by 65535; gray values that are floats stay as they are.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no image, is damaged, holds several images, or holds gray values
            whose range is unknown (integers of 32 bits, floats outside [0, 1]).
    """
    with _opened(path) as file:
        if file.mode in (*_GRAY_16_BIT, "I", "F"):
            return torch.from_numpy(_deep_gray(file, Path(path).name)).expand(3, -1, -1).clone()
        if file.mode in ("P", "PA"):
            file = file.convert("RGBA")  # Pillow warns if a transparent palette becomes RGB at once
        array = np.array(file.convert("RGB"))
    return torch.from_numpy(array).permute(2, 0, 1).contiguous() / 255


def load_labels(path: str | Path) -> Tensor:
    """A label map as it is stored, never through colours: -> (H, W) int64.

    Images of 1, 8, 16 and 32 bits and palette images are read by their numbers. An orientation in
    the file's EXIF data is applied, as ``load_image`` does, so that labels stay on their image.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no image, is damaged, holds several images, or holds colours, floats
            or negative numbers instead of labels.
    """
    with _opened(path) as file:
        if file.mode not in _LABEL_MODES:
            raise ValueError(
                f"{Path(path).name} has mode {file.mode}, colours instead of numbers: use the "
                "masks of the data set as they were published."
            )
        labels = np.asarray(file).astype(np.int64)
    if labels.min() < 0:
        raise ValueError(
            f"{Path(path).name} holds the label {labels.min()}, but labels are not negative: was "
            "it saved with a type that is too narrow? Save it as uint8 or uint16."
        )
    return torch.from_numpy(labels)


@contextmanager
def _opened(path: str | Path) -> Iterator[Image.Image]:
    """The only image of a file, upright; errors name the file."""
    name = Path(path).name
    try:
        # Not Image.open(path): Pillow maps uncompressed TIFFs into memory before it turns them.
        with Path(path).open("rb") as stream, Image.open(stream) as file:
            # A JPEG of several (MPO) is one photograph with previews or depth, made by telephones.
            count = 1 if file.format == "MPO" else getattr(file, "n_frames", 1)
            if count > 1:
                raise ValueError(
                    f"{name} holds {count} images, but one is wanted: save its frames or pages as "
                    "files of their own."
                )
            upright = ImageOps.exif_transpose(file)
            upright.format = file.format
            yield upright
    except UnidentifiedImageError as error:
        raise ValueError(
            f"{name} is no image that Pillow can read: look at the file, perhaps a web page was "
            "saved in its place."
        ) from error
    except OSError as error:
        if error.errno is not None:  # there is no file, or it may not be read
            raise
        raise ValueError(f"{name} is damaged ({error}): copy it again.") from error


def _deep_gray(file: Image.Image, name: str) -> np.ndarray:
    """Gray values of more than 8 bits: -> (H, W) float32 in [0, 1]."""
    values = np.asarray(file).astype(np.float32)
    if file.mode == "F":
        if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1):
            raise ValueError(
                f"{name} holds floats from {values.min()} to {values.max()}, but gray values lie "
                "in [0, 1]: scale them before you save them."
            )
        return values
    if file.mode == "I" and file.format not in ("PNG", "PPM"):  # these hold at most 16 bits
        raise ValueError(
            f"{name} holds signed integers or 32 bits, from {values.min():.0f} to "
            f"{values.max():.0f}, but not which of them is white: save it with 8 or 16 bits."
        )
    return values / 65535


def read_text(path: str | Path) -> str:
    """The content of a text file in UTF-8, with or without a byte order mark.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it has another encoding.
    """
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{Path(path).name} is no text in UTF-8 (byte {error.object[error.start]:#04x} at "
            f"{error.start}): open it in an editor and save it with the encoding UTF-8."
        ) from error


def find_folder(
    name: str, root: str | Path | None, below: Sequence[str], marker: str, source: str
) -> Path:
    """The folder of a data set that holds ``marker``: as given, or below SEGCOURSE_DATA.

    Args:
        name: of the data set, for the message.
        root: folder that the caller named, if any.
        below: where to look inside it, and inside SEGCOURSE_DATA.
        marker: a file or folder that the data set's folder holds.
        source: where to get it.

    Raises:
        FileNotFoundError: if there is none.
    """
    base = root if root is not None else os.environ.get("SEGCOURSE_DATA")
    for folder in [Path(base, sub) for sub in ("", *below)] if base else []:
        if (folder / marker).exists():
            return folder
    looked = f"it is not in {base}" if base else "neither root nor SEGCOURSE_DATA says where it is"
    raise FileNotFoundError(
        f"{name} was not found: {looked}. Get it from {source}, then pass the folder that holds "
        f"{marker} as root, or set the environment variable SEGCOURSE_DATA to a folder around it."
    )
