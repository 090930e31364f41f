"""Penn-Fudan: 170 images of streets, 345 pedestrians, each with a mask of its own.

Wang, Shi, Song, Shen. "Object Detection Combining Recognition and Segmentation." ACCV 2007.

    root/  PNGImages/FudanPed00001.png   PedMasks/FudanPed00001_mask.png   Annotation/...txt

A mask holds 0, and 1 ... N for the N pedestrians. There is no official split.
"""

from pathlib import Path

from torch.utils.data import Dataset

from segcourse.data.files import find_folder, load_image, load_labels
from segcourse.data.sample import Sample

CLASSES = ("background", "pedestrian")
THINGS = (1,)
PALETTE = ((0, 0, 0), (220, 20, 60))
SOURCE = "https://www.cis.upenn.edu/~jshi/ped_html/PennFudanPed.zip"


class PennFudan(Dataset):
    """All images in the order of their names; ``dataset[i]`` is a Sample.

    Args:
        root: the folder PennFudanPed; default: below the environment variable SEGCOURSE_DATA.

    Raises:
        FileNotFoundError: if the data is not there, or an image has no mask.
    """

    def __init__(self, root: str | Path | None = None):
        below = ("PennFudanPed", "pennfudan_layout/PennFudanPed")
        self.root = find_folder("Penn-Fudan", root, below, "PedMasks", SOURCE)
        self.images = sorted((self.root / "PNGImages").glob("[!.]*.png"))
        missing = [path.name for path in self.images if not self._mask(path).is_file()]
        if missing or not self.images:
            raise FileNotFoundError(
                f"{self.root} holds {len(self.images)} images, of which {len(missing)} have no "
                f"mask, {missing[:1]} first: unpack {SOURCE} again."
            )

    def _mask(self, image: Path) -> Path:
        return self.root / "PedMasks" / f"{image.stem}_mask.png"

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        path = self.images[index]
        image, instance = load_image(path), load_labels(self._mask(path))
        if image.shape[1:] != instance.shape:
            raise ValueError(
                f"{path.name} has {tuple(image.shape[1:])} pixels, but its mask "
                f"{tuple(instance.shape)}: unpack {SOURCE} again."
            )
        return Sample(image, (instance > 0).long(), instance)
