"""What a forest of pixels can tell apart in Toytown -> results/forest.json, about ten minutes.

    python -m benchmarks.forest          everything
    python -m benchmarks.forest --quick  one seed, few scenes, to a file of its own

A random forest learns the classes of Toytown from scenes that differ from seed to seed, and is
scored on the same test scenes every time. The arms differ in the features of a pixel (its colour;
its colour and filters around it; these and its position) and in the world: Toytown as it is, or
without the photographed textures of its surfaces. Stored are mean IoU, the IoU of every class, and
which share of the road became building, and of the buildings road.
"""

import argparse

import torch
from torch import Tensor

from benchmarks import report
from benchmarks.recipe import rounded
from segcourse.classical.forest import classify, pixel_features, train_forest
from segcourse.data.toytown import CLASSES, Toytown
from segcourse.metrics.semantic import confusion_matrix, iou, mean_iou

TRAINING, TEST = 20, 20  # scenes
TEST_SEED = 3  # of the test scenes; training seeds are FIRST_SEED + seed
FIRST_SEED = 100
SEEDS = tuple(range(8))
TREES = 100
FEATURES = {
    "colour": {"sigmas": ()},
    "colour and filters": {},
    "colour, filters, position": {"position": True},
}
WORLDS = {"as it is": 1.0, "without textures": 0.0}


def matrix_of(features: dict, texture: float, seed: int, scenes: tuple[int, int]) -> Tensor:
    """Learn from scenes of one seed, judge on the test scenes: -> confusion matrix (K, K)."""
    training = list(Toytown(scenes[0], seed=FIRST_SEED + seed, texture=texture))
    forest = train_forest(
        [pixel_features(sample.image, **features) for sample in training],
        [sample.semantic for sample in training],
        n_estimators=TREES,
        seed=seed,
    )
    return sum(
        confusion_matrix(
            classify(forest, pixel_features(sample.image, **features)),
            sample.semantic,
            len(CLASSES),
        )
        for sample in Toytown(scenes[1], seed=TEST_SEED, texture=texture)
    )


def scores(matrix: Tensor) -> dict:
    """What is stored of one run."""
    road, building = CLASSES.index("road"), CLASSES.index("building")
    shares = matrix.double() / matrix.sum(dim=1, keepdim=True)
    return {
        "miou": round(mean_iou(matrix), 4),
        "iou": dict(zip(CLASSES, rounded(iou(matrix)), strict=True)),
        "road_as_building": round(float(shares[road, building]), 4),
        "building_as_road": round(float(shares[building, road]), 4),
    }


def main(arguments: list[str] | None = None) -> None:
    """Run all arms and write what they score."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one seed, few scenes")
    quick = parser.parse_args(arguments).quick
    torch.set_num_threads(1)
    seeds, scenes = (SEEDS[:1], (2, 2)) if quick else (SEEDS, (TRAINING, TEST))
    arms = {}
    for world, texture in WORLDS.items():
        for name, features in FEATURES.items():
            runs = [scores(matrix_of(features, texture, seed, scenes)) for seed in seeds]
            arms.setdefault(world, {})[name] = runs
            print(world, name, [run["miou"] for run in runs], flush=True)
    settings = {
        "training_scenes": scenes[0],
        "test_scenes": scenes[1],
        "test_seed": TEST_SEED,
        "seeds": list(seeds),
        "trees": TREES,
    }
    report.write("forest_quick" if quick else "forest", {**settings, "arms": arms})


if __name__ == "__main__":
    main()
