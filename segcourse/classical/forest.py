"""Random forest of pixels: hand-made features, learned decisions. The last stop before networks.

    image ─→ smoothed colours   ┐  at several      ┌ tree 1 ┐
             slopes (edges)     ├─ scales ─→ pixel ┼ tree 2 ┼─→ vote ─→ class of the pixel
             ridges and blobs   ┘                  └ ...    ┘

Each pixel is decided alone, from numbers that describe its surroundings. What a network learns, the
features, is chosen by hand here; only the decisions are learned, from a few thousand pixels.

Breiman. "Random Forests." Machine Learning, 2001. https://doi.org/10.1023/A:1010933404324
The features are those of interactive tools such as ilastik and scikit-image's trainable
segmentation: Gaussians, gradients, eigenvalues of the Hessian matrix.

The forest itself is scikit-learn's.
"""

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from sklearn.ensemble import RandomForestClassifier
from torch import Tensor

from segcourse.classical.pixels import grey, lab
from segcourse.ops.labels import IGNORE, check_labels

SCALES = (1.0, 2.0, 4.0, 8.0)  # pixels


def pixel_features(
    image: Tensor, *, scales: tuple[float, ...] = SCALES, position: bool = False
) -> Tensor:
    """What surrounds every pixel: image in [0, 1] or uint8 -> (F, H, W) float32.

    The colour in Lab; at each scale the smoothed colour (3), the slope of the grey value (1) and
    the two curvatures (eigenvalues of the Hessian matrix: a ridge has one large, a blob two).
    Slopes and curvatures are multiplied by the scale, so that a structure answers alike at its own.

    Args:
        image: any image.
        scales: standard deviations of the Gaussians, in pixels.
        position: add row and column as shares of the height and the width.

    Raises:
        ValueError: if a scale is not positive.
    """
    if not all(scale > 0 for scale in scales):
        raise ValueError(f"scales={tuple(scales)} are widths in pixels: all must be above 0.")
    colours, light = lab(image).numpy(), grey(lab(image)[0]).numpy()
    features = [*colours]
    for scale in scales:
        features += [gaussian_filter(channel, scale) for channel in colours]
        slope = [gaussian_filter(light, scale, order=order) * scale for order in ((1, 0), (0, 1))]
        features.append(np.hypot(*slope))
        features += curvatures(light, scale)
    if position:
        height, width = light.shape
        rows, columns = np.mgrid[:height, :width]
        features += [rows / height, columns / width]
    return torch.from_numpy(np.stack(features).astype(np.float32))


def curvatures(light: np.ndarray, scale: float) -> list[np.ndarray]:
    """Larger and smaller eigenvalue of the Hessian matrix, times scale²: (H, W) -> two (H, W)."""
    down, across, mixed = (
        gaussian_filter(light, scale, order=order) * scale**2 for order in ((2, 0), (0, 2), (1, 1))
    )
    middle, spread = (down + across) / 2, np.hypot((down - across) / 2, mixed)
    return [middle + spread, middle - spread]


def train_forest(
    features: list[Tensor],
    labels: list[Tensor],
    *,
    pixels: int = 20_000,
    trees: int = 100,
    seed: int = 0,
) -> RandomForestClassifier:
    """Learn from labelled pixels of several images: (F, H, W) and (H, W) each -> a forest.

    Args:
        features: of each image, see :func:`pixel_features`.
        labels: of each image; IGNORE where nobody has said anything, so scribbles will do.
        pixels: at most so many are drawn; every class has the same chance, however rare.
        trees: of the forest.
        seed: of the draws and of the forest.

    Raises:
        ValueError: if images and labels do not fit, or no pixel is labelled.
    """
    check_training(features, labels)
    points = torch.cat([each.flatten(1).T for each in features])
    classes = torch.cat([each.flatten().long() for each in labels])
    known = (classes != IGNORE).nonzero()[:, 0]
    if len(known) == 0:
        raise ValueError("no pixel is labelled (all are IGNORE): mark some pixels of each class.")
    generator = torch.Generator().manual_seed(seed)
    order = known[torch.randperm(len(known), generator=generator)]
    present = classes[order].unique()
    drawn = torch.cat(
        [order[classes[order] == label][: max(1, pixels // len(present))] for label in present]
    )
    forest = RandomForestClassifier(trees, min_samples_leaf=2, random_state=seed)
    return forest.fit(points[drawn].numpy(), classes[drawn].numpy())


def classify(forest: RandomForestClassifier, features: Tensor) -> Tensor:
    """The class that most trees favour at every pixel: (F, H, W) -> (H, W) int64.

    Raises:
        ValueError: if the forest was trained on other features.
    """
    if features.ndim != 3 or len(features) != forest.n_features_in_:
        raise ValueError(
            f"the forest knows {forest.n_features_in_} features, but these have shape "
            f"{tuple(features.shape)}: compute them as for the training, (F, H, W)."
        )
    labels = forest.predict(features.flatten(1).T.numpy())
    return torch.from_numpy(labels.astype(np.int64)).view(features.shape[-2:])


def check_training(features: list[Tensor], labels: list[Tensor]) -> None:
    """Refuse lists that do not fit together."""
    if len(features) != len(labels) or not features:
        raise ValueError(
            f"{len(features)} images came with {len(labels)} label maps: give lists, one label "
            "map for each image."
        )
    for number, (each, truth) in enumerate(zip(features, labels, strict=True)):
        check_labels(truth, IGNORE, f"labels[{number}]")
        if each.ndim != 3 or each.shape[-2:] != truth.shape:
            raise ValueError(
                f"features[{number}] {tuple(each.shape)} and labels[{number}] "
                f"{tuple(truth.shape)} must be (F, H, W) and (H, W)."
            )
