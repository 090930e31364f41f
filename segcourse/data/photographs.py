"""Photographs: eight real photographs that ship inside scikit-image, outlined for this course.

No file is downloaded: the images come with the package scikit-image, the outlines with this one
(``photographs.json``: COCO's format, polygons, made and reviewed by hand).

    astronaut  camera  cat  cell  coffee  coins  retina  rocket

Conventions of the outlines:
    - (x, y) in pixels of the original image, its corner at (0, 0); a pixel is inside where its
      centre is (``segcourse.ops.polygons``). They are good to a pixel or two; where a border is
      out of focus (the cat), to three.
    - They are painted in the order of their ids, later ones over earlier ones: the coffee lies on
      the cup, the cup on the saucer. An outline may run on beneath what lies on it.
    - An object of several pieces has several polygons. There are no holes, as in COCO. Lattices
      (the masts around the rocket) are outlined as if they were solid.
    - Pixels without an outline are class 0, background. Those that nobody can name (glaring
      lamps, the blur beside the cat's chin) are outlined as void and become IGNORE
      (category 255).
"""

import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from skimage import data
from torch import Tensor
from torch.utils.data import Dataset

from segcourse.data.sample import Sample
from segcourse.ops.polygons import polygons_to_mask

NAMES = ("astronaut", "camera", "cat", "cell", "coffee", "coins", "retina", "rocket")
CLASSES = (
    "background", "person", "cat", "cup", "saucer", "spoon", "coin", "cell", "rocket", "tower",
    "camera", "flag", "model", "helmet", "optic disc",
    "sky", "ground", "building", "coffee", "table", "retina",
)  # fmt: skip
THINGS = tuple(range(1, 15))
PALETTE = (  # classes that meet in one image differ for colour-blind readers too
    (128, 128, 128), (204, 121, 167), (230, 159, 0), (240, 228, 66), (0, 114, 178),
    (190, 110, 170), (221, 204, 119), (51, 187, 238), (245, 245, 235), (0, 80, 160),
    (235, 150, 20), (0, 100, 190), (250, 220, 90), (0, 158, 125), (255, 240, 150),
    (86, 180, 233), (0, 158, 115), (213, 94, 0), (150, 70, 10), (150, 205, 240), (200, 80, 40),
)  # fmt: skip


@lru_cache
def annotations() -> dict:
    """The outlines as COCO's dictionary: info, licenses, categories, images, annotations."""
    return json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))


class Photographs(Dataset):
    """Photographs with their classes and objects; ``dataset[i]`` is a Sample of its own size.

    Args:
        names: which ones, in which order; see NAMES.
        longest: shrink a image until no side is longer, the outlines with it; default: as it is.

    Raises:
        ValueError: if there is no photograph of a name, or if ``longest`` is not positive.
    """

    def __init__(self, names: Sequence[str] = NAMES, *, longest: int | None = None):
        names = (names,) if isinstance(names, str) else tuple(names)
        unknown = sorted(set(names) - set(NAMES))
        if unknown:
            raise ValueError(f"there is no photograph {unknown}: choose from {list(NAMES)}.")
        if longest is not None and longest < 1:
            raise ValueError(
                f"longest is the longer side in pixels, but is {longest}: choose 1 or more."
            )
        self.names, self.longest = names, longest

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < len(self):
            raise IndexError(f"photograph {index} of {len(self)}")
        pixels = load(self.names[index])
        height, width = pixels.shape[:2]
        scale = min(1.0, (self.longest or max(height, width)) / max(height, width))
        size = max(1, round(height * scale)), max(1, round(width * scale))
        if size != (height, width):
            shrunk = Image.fromarray(pixels).resize(size[::-1], Image.Resampling.BOX)
            pixels = np.asarray(shrunk)
        image = torch.from_numpy(pixels.astype(np.float32).transpose(2, 0, 1) / 255)
        zoom = torch.tensor([size[1] / width, size[0] / height], dtype=torch.float64)
        return Sample(image.contiguous(), *paint(self.names[index], size, zoom))


def load_photographs(*, longest: int | None = None) -> dict[str, Sample]:
    """Every photograph under its name, no side longer than ``longest`` pixels."""
    dataset = Photographs(longest=longest)
    return {name: dataset[index] for index, name in enumerate(dataset.names)}


def outlines(name: str) -> list[dict]:
    """COCO's annotations of one photograph, in the order in which they are painted.

    Raises:
        ValueError: if there is no photograph of that name.
    """
    numbers = {image["name"]: image["id"] for image in annotations()["images"]}
    if name not in numbers:
        raise ValueError(f"there is no photograph {name!r}: choose from {sorted(numbers)}.")
    return [each for each in annotations()["annotations"] if each["image_id"] == numbers[name]]


def rings(annotation: dict) -> list[Tensor]:
    """The polygons of one annotation: COCO's flat lists x, y, x, y, ... -> rings (V, 2)."""
    return [
        torch.tensor(flat, dtype=torch.float64).reshape(-1, 2)
        for flat in annotation["segmentation"]
    ]


def load(name: str) -> np.ndarray:
    """The image as scikit-image ships it, grey ones in three equal channels: (H, W, 3) uint8."""
    pixels = getattr(data, name)()
    return np.repeat(pixels[..., None], 3, axis=2) if pixels.ndim == 2 else pixels


def paint(name: str, size: tuple[int, int], zoom: Tensor) -> tuple[Tensor, Tensor]:
    """Classes and objects of one photograph: -> (H, W) int64, (H, W) int64."""
    semantic = torch.zeros(size, dtype=torch.int64)
    instance = torch.zeros(size, dtype=torch.int64)
    for annotation in outlines(name):
        polygons = [ring * zoom for ring in rings(annotation)]
        mask = polygons_to_mask(polygons, size, holes=False)
        label = annotation["category_id"]
        semantic[mask] = label
        instance[mask] = int(instance.max()) + 1 if label in THINGS else 0
    _, numbers = instance.unique(return_inverse=True)  # 0 is among them unless objects fill all
    return semantic, numbers + int((instance > 0).all())
