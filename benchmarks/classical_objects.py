"""Methods that cut out one thing, given a box around it: the table "objects" of classical.json.

Somebody draws a box around one thing of a picture, a little too large. Every method answers with a
mask, inside the box. Region growing and watershed get a click too, on the pixel that lies deepest
inside the thing; nobody is told more. "The box" does nothing and is what to beat.

The thing is the largest one of the class that the photograph is about, of any class in Toytown.
"""

import time
from collections.abc import Callable

import numpy as np
import torch
from scipy.ndimage import binary_erosion, distance_transform_edt, gaussian_filter
from torch import Tensor

from segcourse.classical.contours import (
    active_contour,
    circle,
    inverse_gaussian_gradient,
    morphological_chan_vese,
    morphological_geodesic_active_contour,
)
from segcourse.classical.flooding import watershed
from segcourse.classical.interactive import grabcut, trimap_from_box
from segcourse.classical.pixels import edge_strength, gray
from segcourse.classical.regions import region_growing
from segcourse.classical.thresholds import otsu
from segcourse.data.photographs import CLASSES
from segcourse.data.sample import Sample
from segcourse.metrics.boundary import boundary_f1
from segcourse.ops.labels import IGNORE
from segcourse.ops.masks import mask_box
from segcourse.ops.polygons import polygons_to_mask

Box = tuple[int, int, int, int]  # x0, y0, x1, y1
Pixel = tuple[int, int]  # row, column

TOLERANCE = 2.0  # pixels, of boundary F1
SUBJECTS = {
    "astronaut": "person", "camera": "person", "cat": "cat", "cell": "cell", "coffee": "cup",
    "coins": "coin", "retina": "optic disc", "rocket": "rocket",
}  # fmt: skip


def the_box(image: Tensor, box: Box, click: Pixel) -> Tensor:
    """Everything in the box is the object."""
    return trimap_from_box(box, size_of(image)) == IGNORE


def otsu_threshold(image: Tensor, box: Box, click: Pixel) -> Tensor:
    """Otsu's threshold of the box; object is the side that is rarer along the border of the box."""
    x0, y0, x1, y1 = box
    inside = the_box(image, box, click)
    bright = gray(image) > otsu(image[:, y0:y1, x0:x1])
    rim = inside & ~torch.from_numpy(binary_erosion(inside.numpy()))
    return (~bright if bright[rim].double().mean() > 0.5 else bright) & inside


def grown(image: Tensor, box: Box, click: Pixel) -> Tensor:
    """From the click, to colours within 0.2 of the colour there."""
    return region_growing(image, click, tolerance=0.2) & the_box(image, box, click)


def flooding(image: Tensor, box: Box, click: Pixel) -> Tensor:
    """Watershed of the gradient: one marker is the click, the other all that is outside the box."""
    markers = (~the_box(image, box, click)).long()
    markers[click] = 2
    return watershed(edge_strength(image), markers) == 2


def shrinking_snake(image: Tensor, box: Box, click: Pixel) -> Tensor:
    """A snake that starts as the ellipse in the box."""
    smooth = torch.from_numpy(gaussian_filter(gray(image).numpy(), 2))
    curve = active_contour(
        smooth, ellipse(box), alpha=0.015, beta=10, gamma=0.001, max_num_iter=500
    )
    return outlined(curve, image) & the_box(image, box, click)


def shrinking_contour(image: Tensor, box: Box, click: Pixel) -> Tensor:
    """A geodesic contour that starts as the box, with a balloon that shrinks."""
    brake, start = inverse_gaussian_gradient(image, sigma=2.0), the_box(image, box, click)
    return morphological_geodesic_active_contour(brake, start, num_iter=200, balloon=-1)


def two_means(image: Tensor, box: Box, click: Pixel) -> Tensor:
    """Chan-Vese from the ellipse in the box."""
    start = outlined(ellipse(box), image)
    found = morphological_chan_vese(image, init_level_set=start, num_iter=100, smoothing=2)
    return found & the_box(image, box, click)


def one_cut(image: Tensor, box: Box, click: Pixel) -> Tensor:
    """GrabCut's first step: colours of the box against colours outside, and one graph cut."""
    return grabcut(image, trimap_from_box(box, size_of(image)), max_iter=1).mask


def all_cuts(image: Tensor, box: Box, click: Pixel) -> Tensor:
    """GrabCut."""
    return grabcut(image, trimap_from_box(box, size_of(image))).mask


METHODS: dict[str, Callable[[Tensor, Box, Pixel], Tensor]] = {
    "the box": the_box,
    "Otsu": otsu_threshold,
    "region growing": grown,
    "watershed": flooding,
    "snake": shrinking_snake,
    "geodesic contour": shrinking_contour,
    "Chan-Vese": two_means,
    "graph cut": one_cut,
    "GrabCut": all_cuts,
}


def table(samples: dict[str, Sample]) -> dict:
    """Scores of every method on every picture that has a thing: -> method -> score."""
    rows = {}
    for name, method in METHODS.items():
        ious, f1s, seconds = {}, [], []
        for picture, sample in samples.items():
            mask = subject(picture, sample)
            start = time.process_time()
            found = method(sample.image, box_around(mask), deepest(mask))
            seconds.append(time.process_time() - start)
            known = sample.semantic != IGNORE
            ious[picture] = intersection_over_union(found & known, mask)
            f1s.append(boundary_f1(found & known, mask, tolerance=TOLERANCE))
        rows[name] = {
            "iou": float(np.mean(list(ious.values()))),
            "boundary_f1": float(np.nanmean(f1s)),
            "seconds": float(np.mean(seconds)),
            "iou_of_pictures": {picture: round(value, 4) for picture, value in ious.items()},
        }
        print(f"  {name}: IoU {rows[name]['iou']:.3f}, {rows[name]['seconds']:.2f} s", flush=True)
    return rows


def subject(picture: str, sample: Sample) -> Tensor:
    """The mask of the thing to cut out: -> (H, W) bool."""
    things = sample.instance > 0
    if picture in SUBJECTS:
        things &= sample.semantic == CLASSES.index(SUBJECTS[picture])
    return sample.instance == sample.instance[things].mode().values


def box_around(mask: Tensor) -> Box:
    """The box of a mask, wider by 5 % of its longer side or 2 pixels, inside the image."""
    x0, y0, x1, y1 = mask_box(mask)
    margin = max(2, round(0.05 * max(x1 - x0, y1 - y0)))
    height, width = mask.shape
    left, top = max(x0 - margin, 0), max(y0 - margin, 0)
    return left, top, min(x1 + margin, width), min(y1 + margin, height)


def deepest(mask: Tensor) -> Pixel:
    """Row and column of the pixel that is farthest from the outside."""
    depth = distance_transform_edt(np.pad(mask.numpy(), 1))[1:-1, 1:-1]
    row, column = np.unravel_index(depth.argmax(), depth.shape)
    return int(row), int(column)


def ellipse(box: Box) -> Tensor:
    """The largest ellipse in the box: -> (100, 2) of (row, column)."""
    x0, y0, x1, y1 = box
    half = torch.tensor([(y1 - y0) / 2, (x1 - x0) / 2], dtype=torch.float64)
    return circle((0, 0), 1.0) * half + torch.tensor([y0 + y1 - 1, x0 + x1 - 1]) / 2


def outlined(curve: Tensor, image: Tensor) -> Tensor:
    """The pixels in a closed curve of (row, column): -> (H, W) bool."""
    return polygons_to_mask([curve.flip(1) + 0.5], size_of(image))


def size_of(image: Tensor) -> tuple[int, int]:
    return image.shape[-2], image.shape[-1]


def intersection_over_union(a: Tensor, b: Tensor) -> float:
    return int((a & b).sum()) / max(int((a | b).sum()), 1)
