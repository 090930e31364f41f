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

from segcourse.classical.pixels import gray, lab
from segcourse.ops.labels import IGNORE, check_labels

_SIGMAS = (1.0, 2.0, 4.0, 8.0)  # pixels


def pixel_features(
    image: Tensor, *, sigmas: tuple[float, ...] = _SIGMAS, position: bool = False
) -> Tensor:
    """What surrounds every pixel: image in [0, 1] or uint8 -> (F, H, W) float32.

    The colour in Lab; at each scale the smoothed colour (3), the slope of the grey value (1) and
    the two curvatures (eigenvalues of the Hessian matrix: a ridge has one large, a blob two).
    Slopes and curvatures are multiplied by the scale, so that a structure answers alike at its own.

    Args:
        image: any image.
        sigmas: standard deviations of the Gaussians, in pixels.
        position: add row and column as shares of the height and the width.

    Raises:
        ValueError: if a sigma is not positive.
    """
    if not all(sigma > 0 for sigma in sigmas):
        raise ValueError(f"sigmas={tuple(sigmas)} are widths in pixels: all must be above 0.")
    colors, light = lab(image).numpy(), gray(lab(image)[0]).numpy()
    features = [*colors]
    for sigma in sigmas:
        features += [gaussian_filter(channel, sigma) for channel in colors]
        slope = [gaussian_filter(light, sigma, order=order) * sigma for order in ((1, 0), (0, 1))]
        features.append(np.hypot(*slope))
        features += _curvatures(light, sigma)
    if position:
        height, width = light.shape
        rows, columns = np.mgrid[:height, :width]
        features += [rows / height, columns / width]
    return torch.from_numpy(np.stack(features).astype(np.float32))


def _curvatures(light: np.ndarray, sigma: float) -> list[np.ndarray]:
    """Larger and smaller eigenvalue of the Hessian matrix, times sigma²: (H, W) -> two (H, W)."""
    down, across, mixed = (
        gaussian_filter(light, sigma, order=order) * sigma**2 for order in ((2, 0), (0, 2), (1, 1))
    )
    middle, spread = (down + across) / 2, np.hypot((down - across) / 2, mixed)
    return [middle + spread, middle - spread]


def train_forest(
    features: list[Tensor],
    labels: list[Tensor],
    *,
    max_pixels: int = 20_000,
    n_estimators: int = 100,
    seed: int = 0,
) -> RandomForestClassifier:
    """Learn from labelled pixels of several images: (F, H, W) and (H, W) each -> a forest.

    Args:
        features: of each image, see :func:`pixel_features`.
        labels: of each image; IGNORE where nobody has said anything, so scribbles will do.
        max_pixels: at most so many are drawn; every class has the same chance, however rare.
        n_estimators: trees of the forest.
        seed: of the draws and of the forest.

    Raises:
        ValueError: if images and labels do not fit, a feature is nan, or no pixel is labelled.
    """
    _check_training(features, labels)
    points = torch.cat([_points(each) for each in features])
    classes = torch.cat([each.flatten().long().cpu() for each in labels])
    known = (classes != IGNORE).nonzero()[:, 0]
    if len(known) == 0:
        raise ValueError("no pixel is labelled (all are IGNORE): mark some pixels of each class.")
    generator = torch.Generator().manual_seed(seed)
    order = known[torch.randperm(len(known), generator=generator)]
    present = classes[order].unique()
    drawn = torch.cat(
        [order[classes[order] == label][: max(1, max_pixels // len(present))] for label in present]
    )
    forest = RandomForestClassifier(n_estimators, min_samples_leaf=2, random_state=seed)
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
    labels = forest.predict(_points(features).numpy())
    return torch.from_numpy(labels.astype(np.int64)).view(features.shape[-2:])


def _points(features: Tensor) -> Tensor:
    """One pixel a row: (F, H, W) of any floats -> (P, F) float32."""
    points = features.detach().flatten(1).T.float().cpu()
    if not points.isfinite().all():
        raise ValueError("a feature is nan or infinite: look for it in the image.")
    return points


def _check_training(features: list[Tensor], labels: list[Tensor]) -> None:
    """Refuse lists that do not fit together."""
    if len(features) != len(labels) or not features:
        raise ValueError(
            f"{len(features)} images came with {len(labels)} label maps: give lists, one label "
            "map for each image."
        )
    for number, (each, target) in enumerate(zip(features, labels, strict=True)):
        check_labels(target, IGNORE, f"labels[{number}]")
        if each.ndim != 3 or each.shape[-2:] != target.shape:
            raise ValueError(
                f"features[{number}] {tuple(each.shape)} and labels[{number}] "
                f"{tuple(target.shape)} must be (F, H, W) and (H, W)."
            )
