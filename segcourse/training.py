"""One training loop for every network of the course. It knows nothing about any of them.

A run can be stopped at any time: with ``checkpoint=`` the loop saves what it needs, and the same
call goes on from there and ends in the same weights as a run that was never stopped.
"""

import math
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm  # tqdm.auto warns in red where ipywidgets is missing

from segcourse.checkpoints import ResumableBatches, load_checkpoint, save_checkpoint
from segcourse.data.transforms import generators_of
from segcourse.metrics.semantic import confusion_matrix

Batch = Any  # tensors in tuples, lists or dicts: a Sample, or (images, list of Instances)
Device = str | torch.device
Schedule = Callable[[float], float]


def seed_everything(seed: int) -> None:
    """Start the generators of Python, NumPy and torch from one number."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def constant() -> Schedule:
    """A learning rate that stays: share of the training done in [0, 1] -> factor 1."""
    return lambda done: 1.0


def poly(power: float = 0.9) -> Schedule:
    """(1 - done)^power, the schedule of DeepLab and PSPNet: share in [0, 1] -> factor in [0, 1]."""
    return lambda done: max(1.0 - done, 0.0) ** power


def cosine() -> Schedule:
    """Half a cosine from 1 to 0: share in [0, 1] -> factor in [0, 1]."""
    return lambda done: 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


def warmup(schedule: Schedule, share: float = 0.1) -> Schedule:
    """Rise linearly during the first ``share`` of the training, then follow ``schedule``.

    Raises:
        ValueError: if ``share`` is not between 0 and 1.
    """
    if not 0 < share < 1:
        raise ValueError(f"share={share} is no part of a training: choose it between 0 and 1.")
    return lambda done: min(done / share, 1.0) * schedule(done)


def fit(
    model: nn.Module,
    loss: Callable[[nn.Module, Batch], Tensor],
    batches: Iterable[Batch],
    *,
    steps: int | None = None,
    epochs: int | None = None,
    learning_rate: float = 1e-3,
    weight_decay: float = 1e-4,
    max_norm: float | None = None,
    schedule: Schedule | None = None,
    optimizer: torch.optim.Optimizer | None = None,
    checkpoint: str | Path | None = None,
    checkpoint_every: int = 100,
    device: Device | None = None,
    progress: bool = True,
) -> list[float]:
    """Minimise ``loss(model, batch)`` with AdamW and return its value at every step.

    The loss receives the model rather than its output, so that one loop trains U-Net
    (``loss = cross_entropy(model(image), target)``), Mask R-CNN and DETR alike.

    Args:
        model: any network; it is left in training mode. Layers that are in evaluation mode inside
            of a network in training mode stay so: frozen batch normalization.
        loss: called as ``loss(model, batch)``, gives a scalar.
        batches: gone through again and again: a DataLoader, or a list.
        steps: how many batches to train on; or give ``epochs``, how often to go through all.
        learning_rate: of AdamW, before the schedule.
        weight_decay: of AdamW.
        max_norm: gradients are clipped to this norm, taken over all weights together.
        schedule: share of the training done -> factor on the learning rate; ``poly(0.9)``.
        optimizer: instead of AdamW; ``learning_rate`` and ``weight_decay`` are then not used.
        checkpoint: a file to save to every ``checkpoint_every`` steps and at the end. If it
            exists already, training goes on from there, on this device or another.
        device: where to train, the model is moved there; where the model is by default.
        progress: show a bar with the loss.

    Raises:
        ValueError: if not exactly one of steps and epochs is given and positive, if there are no
            batches, or if the checkpoint belongs to another network or a longer training.
        FloatingPointError: if the loss is no longer finite; the weights are those before the step.
    """
    steps = _count_steps(steps, epochs, batches)
    device = _place(model, device)
    if not model.training:
        model.train()
    optimizer = optimizer or torch.optim.AdamW(
        model.parameters(), lr=learning_rate, weight_decay=weight_decay
    )
    factor = schedule or poly(0.9)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: factor(step / steps))
    stream = ResumableBatches(batches, generators_of(getattr(batches, "dataset", batches)))
    parts = {"model": model, "optimizer": optimizer, "scheduler": scheduler, "batches": stream}
    history = _resume(checkpoint, steps, parts)

    bar = tqdm(total=steps, initial=len(history), disable=not progress, unit="step", leave=False)
    with bar:
        for batch in islice(stream, steps - len(history)):
            value = loss(model, _move(batch, device))
            history.append(_check_finite(value.item(), len(history)))
            optimizer.zero_grad()
            value.backward()
            if max_norm is not None:
                nn.utils.clip_grad_norm_(model.parameters(), max_norm)
            optimizer.step()
            scheduler.step()
            bar.set_postfix(loss=f"{history[-1]:.3f}", refresh=False)
            bar.update()
            due = len(history) == steps or len(history) % checkpoint_every == 0
            if checkpoint is not None and due:
                save_checkpoint(checkpoint, **parts, history=history)
    return history


def _count_steps(steps: int | None, epochs: int | None, batches: Iterable[Batch]) -> int:
    """How many steps a training has, of which either the steps or the epochs are given."""
    length = epochs if steps is None else steps
    if (steps is None) == (epochs is None) or length < 1:
        raise ValueError(
            f"steps={steps} and epochs={epochs} do not say how long to train: give exactly one of "
            "them, at least 1."
        )
    if steps is None and not hasattr(batches, "__len__"):
        raise ValueError(
            f"the length of an epoch is not known, because {type(batches).__name__} has none: "
            "give steps instead of epochs."
        )
    steps = steps if steps is not None else epochs * len(batches)
    if steps == 0:
        raise ValueError("there are no batches to train on: is the dataset empty?")
    return steps


def _place(model: nn.Module, device: Device | None) -> Device:
    """Where to compute: on ``device``, to which the model is moved, or where the model is."""
    if device is not None:
        model.to(device)
        return device
    first = next(chain(model.parameters(), model.buffers()), None)
    return torch.device("cpu") if first is None else first.device


def _resume(checkpoint: str | Path | None, steps: int, parts: dict[str, Any]) -> list[float]:
    """Load the checkpoint if there is one; returns the losses of the steps that it has done."""
    if checkpoint is None or not Path(checkpoint).exists():
        return []
    history = load_checkpoint(checkpoint, **parts)["history"]
    if len(history) > steps:
        raise ValueError(
            f"{checkpoint} holds a training of {len(history)} steps, more than steps={steps}: "
            "ask for more steps, or name another file."
        )
    return history


def _move(batch: Batch, device: Device) -> Batch:
    """The batch with all its tensors on ``device``; a Sample stays a Sample, a list a list."""
    if hasattr(batch, "to"):
        return batch.to(device)
    if isinstance(batch, Mapping):
        return {key: _move(part, device) for key, part in batch.items()}
    if hasattr(batch, "_make"):  # a NamedTuple
        return batch._make(_move(part, device) for part in batch)
    if isinstance(batch, (tuple, list)):
        parts = [_move(part, device) for part in batch]
        return parts if isinstance(batch, list) else tuple(parts)
    return batch


def _check_finite(value: float, step: int) -> float:
    """Stop a training that has blown up, at the step where it did."""
    if not math.isfinite(value):
        raise FloatingPointError(
            f"the loss is {value} at step {step}: lower the learning rate, or look for a division "
            "by zero or a logarithm of zero in the loss."
        )
    return value


@contextmanager
def _evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Put every layer in evaluation mode, and afterwards back in the mode that it had."""
    modes = [(layer, layer.training) for layer in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for layer, training in modes:
            layer.training = training


@torch.no_grad()
def evaluate(
    model: nn.Module, batches: Iterable[Batch], *, num_classes: int, device: Device | None = None
) -> Tensor:
    """Confusion matrix of a network over batches of (image, semantic, ...): -> (K, K) int64.

    Args:
        model: gives logits (N, K, H, W); every layer keeps its mode.
        batches: tuples that begin with images (N, 3, H, W) and their classes (N, H, W).
        num_classes: K.
        device: where to compute, the model is moved there; where the model is by default. The
            matrix is on the CPU.

    Raises:
        ValueError: if there are no batches, or a class is predicted that is not below K.
    """
    matrix = torch.zeros(num_classes, num_classes, dtype=torch.int64)
    seen = False
    for image, semantic, *_ in batches:
        seen = True
        predicted = predict(model, image, device=device)
        matrix += confusion_matrix(predicted, semantic.cpu(), num_classes)
    if not seen:
        raise ValueError("there are no batches to evaluate on: is the dataset empty?")
    return matrix


@torch.no_grad()
def predict(
    model: nn.Module,
    images: Tensor,
    *,
    batch_size: int | None = None,
    device: Device | None = None,
) -> Tensor:
    """The most probable class of every pixel: (N, 3, H, W) -> (N, H, W) int64, on the CPU.

    Args:
        model: gives logits (N, K, H, W). It is in evaluation mode for the time of the call; every
            layer then gets its own mode back.
        images: of one size.
        batch_size: how many images go through the network at once; all by default.
        device: where to compute, the model is moved there; where the model is by default.

    Raises:
        ValueError: if the images are not four-dimensional, or the batch size is not positive.
    """
    if images.ndim != 4:
        raise ValueError(
            f"images have shape (N, 3, H, W), but these have {tuple(images.shape)}: add the axis "
            "of the batch with image[None]."
        )
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size={batch_size} holds no image: choose 1 or more.")
    device = _place(model, device)
    with _evaluation_mode(model):
        parts = images.split(batch_size or max(len(images), 1))
        return torch.cat([model(part.to(device)).argmax(dim=1).cpu() for part in parts])
