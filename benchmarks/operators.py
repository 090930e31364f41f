"""Suppression and RoIAlign against torchvision's, and what border weights take, on one thread.

python -m benchmarks.operators

Ours and torchvision's are called in turn, and a ratio is the median of those of all turns, in
processor time. The answers must be equal. The memory of the border weights is measured in a
process of its own, as the peak above what the process holds before the call, image included.
"""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch
import torchvision.ops
from torch import Tensor

from benchmarks import report
from segcourse.ops.roi import roi_align
from segcourse.ops.suppression import nms

SEED, TURNS = 0, 7
IMAGE, LEVELS, CANDIDATES, IOU_THRESHOLD = (800, 1216), 5, 4800, 0.7  # of a region proposal network
REGIONS, CHANNELS, STRIDE, OUTPUT_SIZE = 512, 256, 4, (7, 7)  # of Mask R-CNN's box head
OBJECTS, CELLS = (15, 25), (1040, 1388)  # in rows and columns

MEASURED = """
import json, time, tracemalloc
from benchmarks.operators import dots
from segcourse.losses.weights import border_weights

border_weights(dots((1, 2), (32, 64)))  # loads what is loaded on the first call
instance = dots({objects}, {size})
start = time.process_time()
border_weights(instance)
seconds = time.process_time() - start
tracemalloc.start()  # counts the arrays of NumPy and SciPy, in which the work is done
border_weights(instance)
mib = tracemalloc.get_traced_memory()[1] / 2**20
print(json.dumps({{"seconds": round(seconds, 2), "mib": round(mib)}}))
"""


def compare(ours: Callable[[], object], theirs: Callable[[], object], turns: int = TURNS) -> dict:
    """Processor time of two tasks that are done in turn, and how many times theirs ours is."""
    times: tuple[list[float], list[float]] = ([], [])
    for turn in range(turns + 1):
        for task, found in zip((ours, theirs), times, strict=True):
            start = time.process_time()
            task()
            if turn:  # the first only warms up
                found.append(time.process_time() - start)
    ratios = [one / other for one, other in zip(*times, strict=True)]
    return {
        "seconds": {
            "segcourse": round(statistics.median(times[0]), 4),
            "torchvision": round(statistics.median(times[1]), 4),
        },
        "ratio_to_torchvision": round(statistics.median(ratios), 3),
    }


def random_boxes(count: int, low: float = 16, high: float = 512) -> Tensor:
    """Boxes with sides of ``low`` to ``high`` pixels, small ones more often: -> (count, 4)."""
    height, width = IMAGE
    middle = torch.rand(count, 2) * torch.tensor([width, height])
    half = low * (high / low) ** torch.rand(count, 2) / 2
    limit = torch.tensor([width, height, width, height])
    return torch.minimum(torch.cat([middle - half, middle + half], dim=1).clamp(min=0), limit)


def candidates(count: int, objects: int = 100) -> Tensor:
    """Boxes around a hundred objects, each side off by a tenth of the box's: -> (count, 4)."""
    around = random_boxes(objects)[torch.arange(count) % objects]
    sides = (around[:, 2:] - around[:, :2]).repeat(1, 2)
    moved = around + 0.1 * sides * torch.randn(count, 4)
    return torch.cat([torch.minimum(moved[:, :2], moved[:, 2:]),
                      torch.maximum(moved[:, :2], moved[:, 2:])], dim=1)  # fmt: skip


def compare_nms() -> dict:
    """4,800 boxes, all against all, and the boxes of each of five levels."""
    boxes, scores = candidates(CANDIDATES), torch.rand(CANDIDATES)
    levels = torch.arange(CANDIDATES) % LEVELS
    theirs = torchvision.ops.nms, torchvision.ops.batched_nms
    kept = nms(boxes, scores, iou_threshold=IOU_THRESHOLD)
    assert torch.equal(kept, theirs[0](boxes, scores, IOU_THRESHOLD))
    return {
        "boxes": CANDIDATES,
        "kept": len(kept),
        "all": compare(
            lambda: nms(boxes, scores, iou_threshold=IOU_THRESHOLD),
            lambda: theirs[0](boxes, scores, IOU_THRESHOLD),
        ),
        "by_level": compare(
            lambda: nms(boxes, scores, iou_threshold=IOU_THRESHOLD, labels=levels),
            lambda: theirs[1](boxes, scores, levels, IOU_THRESHOLD),
        ),
    }


def compare_roi_align(turns: int = TURNS) -> dict:
    """512 boxes on the finest map of an image of 800 x 1216 pixels, with and without gradient."""
    boxes, scale = random_boxes(REGIONS), 1 / STRIDE
    features = torch.randn(CHANNELS, IMAGE[0] // STRIDE, IMAGE[1] // STRIDE, requires_grad=True)

    def ours() -> Tensor:
        return roi_align(features, boxes, OUTPUT_SIZE, spatial_scale=scale)

    def theirs() -> Tensor:
        return torchvision.ops.roi_align(features[None], [boxes], OUTPUT_SIZE, scale, 2)

    with torch.no_grad():
        assert torch.equal(ours(), theirs())
        forward = compare(ours, theirs, turns)
    both = compare(lambda: ours().sum().backward(), lambda: theirs().sum().backward(), turns)
    return {
        "boxes": REGIONS,
        "map": list(features.shape),
        "forward": forward,
        "forward_and_backward": both,
    }


def dots(objects: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Discs that nearly touch, in rows and columns, numbered from 1: -> (height, width) int64."""
    height, width = (side / number for side, number in zip(size, objects, strict=True))  # of one
    y, x = torch.meshgrid(*(torch.arange(side) for side in size), indexing="ij")
    number = (y // height) * objects[1] + x // width + 1
    away = torch.hypot(y % height - height / 2, x % width - width / 2)
    return torch.where(away < 0.45 * min(height, width), number, 0).long()


def measure_border_weights(
    objects: tuple[int, int] = OBJECTS, size: tuple[int, int] = CELLS
) -> dict:
    """Processor time, and peak of memory above the image, in a fresh process."""
    code = MEASURED.format(objects=objects, size=size)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {"objects": objects[0] * objects[1], "size": list(size), **json.loads(done.stdout)}


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    measured = {
        "nms": compare_nms(),
        "roi_align": compare_roi_align(),
        "border_weights": measure_border_weights(),
    }
    print(json.dumps(measured, indent=1))
    report.write("operators", {"seed": SEED, "turns": TURNS, **measured})


if __name__ == "__main__":
    main()
