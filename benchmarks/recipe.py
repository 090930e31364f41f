"""The recipe of all benches that train semantic networks: seed, build, fit, score, round."""

from collections.abc import Callable, Sequence

from torch import Tensor, nn
from torch.utils.data import Dataset

from segcourse.data.sample import batches
from segcourse.metrics.semantic import iou, mean_iou
from segcourse.training import Schedule, fit, seed_everything

Loss = Callable[[nn.Module, tuple[Tensor, ...]], Tensor]


def learn(
    build: Callable[[], nn.Module], dataset: Dataset, loss: Loss, *, seed: int, **training: object
) -> nn.Module:
    """Seed, build a network, and ``train`` it; equal seeds give equal networks."""
    seed_everything(seed)
    model = build()
    train(model, dataset, loss, seed=seed, **training)
    return model


def train(
    model: nn.Module,
    dataset: Dataset,
    loss: Loss,
    *,
    seed: int,
    steps: int,
    batch: int,
    learning_rate: float,
    schedule: Schedule | None = None,
    progress: bool = False,
) -> list[float]:
    """Fit a network to batches in the order of the seed; returns its losses."""
    return fit(
        model,
        loss,
        batches(dataset, batch_size=batch, seed=seed),
        steps=steps,
        learning_rate=learning_rate,
        schedule=schedule,
        progress=progress,
    )


def semantic_scores(matrix: Tensor, classes: Sequence[str]) -> dict:
    """Mean IoU and that of every class, rounded, from a confusion matrix."""
    return {
        "miou": round(mean_iou(matrix), 4),
        "iou": dict(zip(classes, rounded(iou(matrix)), strict=True)),
    }


def rounded(values: Tensor) -> list[float]:
    """Numbers as they are stored."""
    return [round(value, 4) for value in values.tolist()]
