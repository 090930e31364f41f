"""Reading what data sets are made of: pictures, label maps, and where they lie."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor


def load_picture(path: Path) -> Tensor:
    """A picture file of any kind: -> (3, H, W) float32 in [0, 1]; transparency is dropped."""
    with Image.open(path) as file:
        array = np.array(file.convert("RGB"))
    return torch.from_numpy(array).permute(2, 0, 1).contiguous() / 255


def load_labels(path: Path) -> Tensor:
    """A label map as it is stored, never through colours: -> (H, W) int64.

    Raises:
        ValueError: if the file holds colours instead of numbers.
    """
    with Image.open(path) as file:
        if file.mode not in ("1", "L", "P", "I;16", "I"):
            raise ValueError(
                f"{path.name} has mode {file.mode}, colours instead of numbers: use the masks of "
                "the data set as they were published."
            )
        return torch.from_numpy(np.array(file)).long()


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
