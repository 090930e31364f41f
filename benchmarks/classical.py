"""The methods before networks, on eight photographs and on Toytown -> results/classical.json.

    python -m benchmarks.classical                everything
    python -m benchmarks.classical --only boxes   what depends on the boxes: the scores of "objects"
                                                  and the energies of GrabCut; all else stays as
                                                  stored, all seconds too (one machine for all),
                                                  with its environment as "environment_of_the_rest"

Four tables. All settings are the same for every picture; nothing is tuned on the pictures that it
is scored on. Seconds are processor time per picture.

partitions  Nobody says what there is. A method parts the picture into regions; then every region
            takes the class of most of its pixels, the best that anybody could do with these
            regions. Scored: that labelling (accuracy, mean IoU), the borders of the regions against
            true ones within 2 pixels (recall, precision, F1), and how many regions it took: more
            are always easier. "Squares" look at nothing and are what to beat.
objects     Somebody draws a box around one thing: see benchmarks/classical_objects.py.
classes     A random forest learns the classes: on a photograph from 50 marked pixels of each class,
            scored on all others; in Toytown from 40 scenes, scored on 20 of another seed.
references  Energies of k-means (the best of 20 runs, theirs of 10) and GrabCut against
            scikit-learn's and OpenCV's, the boundary recall of SLIC against scikit-image's with no
            more superpixels, on the photographs.

Photographs are shrunk to 400 pixels; their mean IoU is over the classes of each picture, then over
the pictures. Toytown's is over the classes of all scenes together, as for the networks.
"""

import argparse
import json
import math
import time
from collections.abc import Callable
from statistics import mean

import cv2
import numpy as np
import torch
from skimage.segmentation import slic as reference_slic
from sklearn.cluster import KMeans
from torch import Tensor

from benchmarks import classical_objects, report
from segcourse.classical.clustering import color_clusters, kmeans
from segcourse.classical.contours import morphological_chan_vese
from segcourse.classical.flooding import watershed
from segcourse.classical.forest import classify, pixel_features, train_forest
from segcourse.classical.interactive import grabcut, mask_energy, trimap_from_box
from segcourse.classical.mode_seeking import color_modes
from segcourse.classical.partitions import boundary_recall_precision, majority_labels
from segcourse.classical.pixels import edge_strength, lab
from segcourse.classical.region_merging import felzenszwalb
from segcourse.classical.superpixels import seeds, slic
from segcourse.classical.thresholds import apply_thresholds, multi_otsu, otsu
from segcourse.data import photographs, toytown
from segcourse.data.sample import Sample
from segcourse.data.toytown import Toytown
from segcourse.metrics.semantic import confusion_matrix, mean_iou, pixel_accuracy
from segcourse.ops.labels import IGNORE

LONGEST, SCENES, LEARNT, TEST = 400, 20, 40, 2
SETTINGS = {
    "multi_otsu_classes": 4, "clusters": 6, "bandwidth": 10.0, "superpixels": 200,
    "felzenszwalb_k": 300.0, "felzenszwalb_min_size": 50, "tolerance": 2.0,
    "marked_pixels": 50, "trees": 100,
}  # fmt: skip
CLUSTERS, COUNT = SETTINGS["clusters"], SETTINGS["superpixels"]


def squares(image: Tensor) -> Tensor:
    """A grid of about as many squares as there are superpixels: (3, H, W) -> (H, W)."""
    height, width = image.shape[-2:]
    side = math.sqrt(height * width / COUNT)
    rows, columns = ((torch.arange(length) / side).long() for length in (height, width))
    return rows[:, None] * width + columns


def basins(image: Tensor) -> Tensor:
    """Watershed of the gradient, from the places where SLIC starts: (3, H, W) -> (H, W)."""
    rows, columns = seeds(image, COUNT, image.shape[-2:])
    markers = torch.zeros(image.shape[-2:], dtype=torch.int64)
    markers[rows, columns] = torch.arange(1, len(rows) + 1)
    return watershed(edge_strength(image), markers)


def graph_regions(image: Tensor) -> Tensor:
    """Felzenszwalb's regions: (3, H, W) -> (H, W)."""
    smallest = SETTINGS["felzenszwalb_min_size"]
    return felzenszwalb(image, SETTINGS["felzenszwalb_k"], min_size=smallest)


PARTITIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "one region": lambda image: torch.zeros(image.shape[-2:], dtype=torch.int64),
    "Otsu": lambda image: apply_thresholds(image, otsu(image)),
    "multi-Otsu": lambda image: apply_thresholds(
        image, multi_otsu(image, classes=SETTINGS["multi_otsu_classes"])
    ),
    "Chan-Vese": lambda image: morphological_chan_vese(image).long(),
    "k-means": lambda image: color_clusters(image, CLUSTERS, n_init=3),
    "mean shift": lambda image: color_modes(image, SETTINGS["bandwidth"]),
    "squares": squares,
    "watershed": basins,
    "SLIC": lambda image: slic(image, COUNT),
    "Felzenszwalb": graph_regions,
}


def partition_table(samples: dict[str, Sample], classes: int, *, pooled: bool) -> dict:
    """Scores of every method that parts pictures into regions; ``pooled``: one matrix for all."""
    rows = {}
    for name, method in PARTITIONS.items():
        matrices, borders, counts, seconds = [], [], [], []
        for sample in samples.values():
            start = time.process_time()
            regions = method(sample.image)
            seconds.append(time.process_time() - start)
            labels = majority_labels(regions, sample.semantic)
            matrices.append(confusion_matrix(labels, sample.semantic, classes))
            borders.append(boundary_scores(regions, sample.semantic))
            counts.append(len(regions.unique()))
        recall, precision, f1 = np.nanmean(borders, axis=0).tolist()
        rows[name] = {
            "regions": mean(counts),
            "accuracy": mean(pixel_accuracy(matrix) for matrix in matrices),
            "miou": float(mean_iou(sum(matrices)) if pooled else mean(map(mean_iou, matrices))),
            "boundary_recall": recall,
            "boundary_precision": precision,
            "boundary_f1": f1,
            "seconds": mean(seconds),
        }
        print(f"  {name}: " + ", ".join(f"{k} {v:.3f}" for k, v in rows[name].items()), flush=True)
    return rows


def boundary_scores(regions: Tensor, target: Tensor) -> tuple[float, float, float]:
    """Recall, precision and F1 of the borders; without any border, precision and F1 are 0."""
    recall, precision = boundary_recall_precision(regions, target, tolerance=SETTINGS["tolerance"])
    precision = 0.0 if math.isnan(precision) else precision
    total = recall + precision
    return recall, precision, 2 * recall * precision / total if total else 0.0


def marked(target: Tensor, generator: torch.Generator) -> Tensor:
    """A few pixels of every class keep their label, all others become IGNORE: (H, W) -> (H, W)."""
    flat, kept = target.flatten(), torch.full_like(target, IGNORE).flatten()
    for label in set(flat.tolist()) - {IGNORE}:
        places = (flat == label).nonzero()[:, 0]
        order = torch.randperm(len(places), generator=generator)
        kept[places[order[: SETTINGS["marked_pixels"]]]] = label
    return kept.view(target.shape)


def forest_on_photographs(samples: dict[str, Sample]) -> dict:
    """A forest for each picture, from marked pixels, scored on the others."""
    generator, scores, seconds = torch.Generator().manual_seed(0), {}, []
    for name, sample in samples.items():
        start = time.process_time()
        features = pixel_features(sample.image, position=True)
        marks = marked(sample.semantic, generator)
        found = classify(
            train_forest([features], [marks], n_estimators=SETTINGS["trees"]), features
        )
        seconds.append(time.process_time() - start)
        others = sample.semantic.where(marks == IGNORE, IGNORE)
        matrix = confusion_matrix(found, others, len(photographs.CLASSES))
        scores[name] = round(float(mean_iou(matrix)), 4)
    return {"miou": mean(scores.values()), "seconds": mean(seconds), "miou_of_pictures": scores}


def forest_on_toytown(samples: dict[str, Sample]) -> dict:
    """One forest from scenes of another seed, without and with the position among its features."""
    rows, training = {}, list(Toytown(LEARNT))
    for name, position in (("looks alone", False), ("looks and position", True)):
        start = time.process_time()
        features = [pixel_features(sample.image, position=position) for sample in training]
        labels = [sample.semantic for sample in training]
        forest = train_forest(features, labels, n_estimators=SETTINGS["trees"])
        learnt = time.process_time()
        matrix = sum(
            confusion_matrix(
                classify(forest, pixel_features(sample.image, position=position)),
                sample.semantic,
                len(toytown.CLASSES),
            )
            for sample in samples.values()
        )
        rows[name] = {
            "miou": float(mean_iou(matrix)),
            "training_seconds": learnt - start,
            "seconds": (time.process_time() - learnt) / len(samples),
        }
    return rows


def references(samples: dict[str, Sample]) -> dict:
    """Ours and theirs on each photograph: energies are to be low, recalls high."""
    return {
        name: {
            "kmeans_energy": kmeans_energies(sample.image),
            "grabcut_energy": grabcut_energies(name, sample),
            "slic_boundary_recall": slic_recalls(sample),
        }
        for name, sample in samples.items()
    }


def kmeans_energies(image: Tensor) -> dict:
    colors = lab(image).flatten(1).T
    theirs = KMeans(CLUSTERS, n_init=10, random_state=0).fit(colors.numpy()).inertia_
    ours = kmeans(colors, CLUSTERS, n_init=20).inertias[-1]
    return {"ours": ours, "scikit_learn": float(theirs)}


def grabcut_energies(name: str, sample: Sample) -> dict:
    """The energy of our GrabCut for our mask and for OpenCV's, and what their masks are worth."""
    target = classical_objects.subject(name, sample)
    box = classical_objects.box_around(target)
    size = tuple(target.shape)
    ours = grabcut(sample.image, trimap_from_box(box, size))
    cv2.setRNGSeed(0)
    picture = (sample.image * 255).round().byte().movedim(0, -1).flip(-1).contiguous().numpy()
    mask, x0, y0, x1, y1 = np.zeros(size, np.uint8), *box
    models, known = (np.zeros((1, 65)), np.zeros((1, 65))), sample.semantic != IGNORE
    cv2.grabCut(picture, mask, (x0, y0, x1 - x0, y1 - y0), *models, 5, cv2.GC_INIT_WITH_RECT)
    theirs = torch.from_numpy(mask % 2 == 1)
    iou = classical_objects.intersection_over_union
    return {
        "ours": ours.energies[-1],
        "opencv": mask_energy(sample.image, theirs),
        "energies": [round(value, 1) for value in ours.energies],
        "iou_ours": iou(ours.mask & known, target),
        "iou_opencv": iou(theirs & known, target),
    }


def slic_recalls(sample: Sample) -> dict:
    colors = sample.image.movedim(0, -1).double().numpy()
    theirs = torch.from_numpy(reference_slic(colors, COUNT, start_label=0))
    most = target = len(theirs.unique())
    while len((ours := slic(sample.image, target)).unique()) > most:
        target -= 2
    recalls = [boundary_recall_precision(each, sample.semantic)[0] for each in (ours, theirs)]
    return {"ours": recalls[0], "scikit_image": recalls[1], "superpixels": most}


def main(arguments: list[str] | None = None) -> None:
    """Run all tables, or renew those that depend on the boxes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=["boxes"], help="renew only what depends on the boxes")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    pictures = photographs.load_photographs(longest=LONGEST)
    scenes = {str(number): scene for number, scene in enumerate(Toytown(SCENES, seed=TEST))}
    payload = {"longest": LONGEST, "scenes": SCENES, "training_scenes": LEARNT, "seed": TEST}
    payload["settings"] = SETTINGS
    report.write("classical", (renewed if options.only else whole)(payload, pictures, scenes))


def whole(payload: dict, pictures: dict[str, Sample], scenes: dict[str, Sample]) -> dict:
    """All tables."""
    for name, samples, classes in (
        ("photographs", pictures, photographs.CLASSES),
        ("toytown", scenes, toytown.CLASSES),
    ):
        print(name)
        payload[name] = {
            "partitions": partition_table(samples, len(classes), pooled=name == "toytown"),
            "objects": classical_objects.table(samples),
        }
    payload["photographs"]["classes"] = forest_on_photographs(pictures)
    payload["toytown"]["classes"] = forest_on_toytown(scenes)
    payload["references"] = references(pictures)
    print(payload["photographs"]["classes"], payload["toytown"]["classes"], payload["references"])
    return payload


def renewed(payload: dict, pictures: dict[str, Sample], scenes: dict[str, Sample]) -> dict:
    """The stored tables, of which those that depend on the boxes are run again."""
    stored = json.loads((report.RESULTS / "classical.json").read_text())
    if other := [key for key, value in payload.items() if stored[key] != value]:
        raise SystemExit(f"the rest was run with another {other[0]}: run everything")
    stored.setdefault("environment_of_the_rest", stored["environment"])
    for name, samples in (("photographs", pictures), ("toytown", scenes)):
        print(name)
        before, rows = stored[name]["objects"], classical_objects.table(samples)
        kept = {method: {"seconds": before[method]["seconds"]} for method in rows}
        stored[name]["objects"] = {method: row | kept[method] for method, row in rows.items()}
    for name, sample in pictures.items():
        stored["references"][name]["grabcut_energy"] = grabcut_energies(name, sample)
    return stored


if __name__ == "__main__":
    main()
