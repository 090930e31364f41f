"""How many Toytown scenes one core draws in a second: python -m benchmarks.toytown."""

import time

import torch

from benchmarks.report import write
from segcourse.data.toytown import Toytown

SCENES, REPEATS = 300, 5
SIZES = ((48, 64), (96, 128), (192, 256))


def scenes_per_second(size: tuple[int, int]) -> float:
    """The best of several runs, in seconds of this process alone, textures already made."""
    town = Toytown(SCENES, size=size)
    for index in range(SCENES):  # fills the caches
        town[index]
    speeds = []
    for _ in range(REPEATS):
        start = time.process_time()
        for index in range(SCENES):
            town[index]
        speeds.append(SCENES / (time.process_time() - start))
    return max(speeds)


def main() -> None:
    torch.set_num_threads(1)
    speeds = {}
    for height, width in SIZES:
        speeds[f"{height}x{width}"] = round(scenes_per_second((height, width)), 1)
        print(f"{height} x {width}: {speeds[f'{height}x{width}']} scenes/s")
    write("toytown", {"scenes": SCENES, "repeats": REPEATS, "scenes_per_second": speeds})


if __name__ == "__main__":
    main()
