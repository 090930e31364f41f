"""Data Science Bowl 2018: nuclei under many microscopes, one mask file for every nucleus.

Caicedo et al. "Nucleus segmentation across imaging experiments: the 2018 Data Science Bowl."
Nature Methods 2019.

    root/stage1_train/  <id>/images/<id>.png   <id>/masks/*.png   670 images, 256 to 1040 pixels

The masks of an image hardly overlap; where they do, the later file in the order of names is in
front. Of the images of the competition's test nobody published masks in this form, so there is no
official split of those with masks: pass your own ``names``.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch.utils.data import Dataset

from segcourse.data.files import find_folder, load_image, load_labels
from segcourse.data.sample import Sample

CLASSES = ("background", "nucleus")
THINGS = (1,)
PALETTE = ((0, 0, 0), (70, 130, 220))
SOURCE = "https://www.kaggle.com/c/data-science-bowl-2018"
_FOLDER = "stage1_train"


class DSB2018(Dataset):
    """The images of ``stage1_train``; ``dataset[i]`` is a Sample.

    Args:
        root: the folder that holds ``stage1_train``; default: below SEGCOURSE_DATA.
        names: of the images, in this order; default: all, sorted.

    Raises:
        FileNotFoundError: if the data is not there, if an image has no masks, or if a name is none
            of its images.
    """

    def __init__(self, root: str | Path | None = None, names: Sequence[str] | None = None):
        found = find_folder("DSB2018", root, ("dsb2018", "DSB2018"), _FOLDER, SOURCE)
        self.root = found / _FOLDER
        present = sorted(path.name for path in self.root.iterdir() if path.is_dir())
        self.names = present if names is None else list(names)
        unknown = sorted(set(self.names) - set(present))
        if unknown or not self.names:
            raise FileNotFoundError(
                f"{self.root} holds {len(present)} images, but {unknown[:1]} and "
                f"{max(len(unknown) - 1, 0)} more are asked for that are not among them."
            )

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Sample:
        name = self.names[index]
        image = load_image(self.root / name / "images" / f"{name}.png")
        instance = torch.zeros(image.shape[1:], dtype=torch.int64)
        folder = self.root / name / "masks"
        if not folder.is_dir():
            raise FileNotFoundError(
                f"{name} has no folder masks, so its nuclei are unknown: leave it out, or copy it "
                f"again from {SOURCE}."
            )
        files = sorted(folder.glob("[!.]*.png"))
        for number, file in enumerate(files, start=1):
            mask = load_labels(file) > 0
            if mask.shape != instance.shape:
                raise ValueError(
                    f"{file.name} has {tuple(mask.shape)} pixels, but its image "
                    f"{tuple(instance.shape)}: copy {name} again from {SOURCE}."
                )
            instance[mask] = number
        return Sample(image, (instance > 0).long(), instance)
