"""One training loop for every network of the course. It knows nothing about any of them.

A run can be stopped at any time: with ``checkpoint=`` the loop saves what it needs, and the same
call goes on from there and ends in the same weights as a run that was never stopped.
"""

import math
import os
import pickle
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from segcourse.metrics.semantic import confusion_matrix

Batch = tuple[Tensor, ...]
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
    schedule: Schedule | None = None,
    optimizer: torch.optim.Optimizer | None = None,
    checkpoint: str | Path | None = None,
    checkpoint_every: int = 100,
    device: str = "cpu",
    progress: bool = True,
) -> list[float]:
    """Minimise ``loss(model, batch)`` with AdamW and return its value at every step.

    The loss receives the model rather than its output, so that one loop trains U-Net
    (``loss = cross_entropy(model(image), truth)``), Mask R-CNN and DETR alike.

    Args:
        model: any network; it is moved to ``device`` and left in training mode.
        loss: called as ``loss(model, batch)``, gives a scalar.
        batches: tuples of tensors, gone through again and again: a DataLoader, or a list.
        steps: how many batches to train on; or give ``epochs``, how often to go through all.
        learning_rate: of AdamW, before the schedule.
        weight_decay: of AdamW.
        schedule: share of the training done -> factor on the learning rate; ``poly(0.9)``.
        optimizer: instead of AdamW; ``learning_rate`` and ``weight_decay`` are then not used.
        checkpoint: a file to save to every ``checkpoint_every`` steps and at the end. If it
            exists already, training goes on from there.
        device: where to train.
        progress: show a bar with the loss.

    Raises:
        ValueError: if not exactly one of steps and epochs is given and positive, if there are no
            batches, or if the checkpoint belongs to another network or a longer training.
        FloatingPointError: if the loss is no longer finite.
    """
    length = epochs if steps is None else steps
    if (steps is None) == (epochs is None) or length < 1:
        raise ValueError(
            f"steps={steps} and epochs={epochs} do not say how long to train: give exactly one of "
            "them, at least 1."
        )
    model.to(device).train()
    steps = steps if steps is not None else epochs * len(batches)
    optimizer = optimizer or torch.optim.AdamW(
        model.parameters(), lr=learning_rate, weight_decay=weight_decay
    )
    factor = schedule or poly(0.9)
    rates = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: factor(step / steps))
    parts = {"model": model, "optimizer": optimizer, "rates": rates}
    history: list[float] = []
    position = None
    if checkpoint is not None and Path(checkpoint).exists():
        state = load_checkpoint(checkpoint, **parts)
        history, position = state["history"], state["position"]
        if len(history) > steps:
            raise ValueError(
                f"{checkpoint} holds a training of {len(history)} steps, more than steps={steps}: "
                "ask for more steps, or name another file."
            )

    bar = tqdm(total=steps, initial=len(history), disable=not progress, unit="step", leave=False)
    with bar:
        while len(history) < steps:
            begin = restore(position, batches) if position else remember(batches)
            skip = position["taken"] if position else 0
            taken = 0
            for taken, batch in enumerate(batches, start=1):
                if taken <= skip:
                    if taken == skip:  # before the next batch is drawn
                        set_generators(position["now"])
                    continue
                value = loss(model, move(batch, device))
                optimizer.zero_grad()
                value.backward()
                optimizer.step()
                rates.step()
                history.append(check_finite(value.item(), len(history)))
                bar.update()
                bar.set_postfix(loss=f"{history[-1]:.3f}", refresh=False)
                finished = len(history) == steps
                if checkpoint is not None and (finished or len(history) % checkpoint_every == 0):
                    now = {**begin, "taken": taken, "now": generators()}
                    save_checkpoint(checkpoint, **parts, history=history, position=now)
                if finished:
                    break
            if taken == 0:
                raise ValueError("there are no batches to train on: is the dataset empty?")
            position = None
    return history


def move(batch: Batch, device: str) -> Batch:
    """The batch with its parts on ``device``; a Sample stays a Sample."""
    parts = [part.to(device) for part in batch]
    return batch._make(parts) if hasattr(batch, "_make") else tuple(parts)


def check_finite(value: float, step: int) -> float:
    """Stop a training that has blown up, at the step where it did."""
    if not math.isfinite(value):
        raise FloatingPointError(
            f"the loss is {value} at step {step}: lower the learning rate, or look for a division "
            "by zero or a logarithm of zero in the loss."
        )
    return value


@torch.no_grad()
def evaluate(
    model: nn.Module, batches: Iterable[Batch], *, num_classes: int, device: str = "cpu"
) -> Tensor:
    """Confusion matrix of a network over batches of (image, semantic, ...): -> (K, K) int64.

    Raises:
        ValueError: if there are no batches, or the network has not ``num_classes`` channels.
    """
    matrix = torch.zeros(num_classes, num_classes, dtype=torch.int64)
    seen = False
    for image, semantic, *_ in batches:
        seen = True
        predicted = predict(model, image, device=device)
        matrix += confusion_matrix(predicted, semantic, num_classes)
    if not seen:
        raise ValueError("there are no batches to evaluate on: is the dataset empty?")
    return matrix


@torch.no_grad()
def predict(
    model: nn.Module, images: Tensor, *, device: str = "cpu", size: int | None = None
) -> Tensor:
    """The most probable class of every pixel: (N, 3, H, W) -> (N, H, W) int64, on the CPU.

    The network is put in evaluation mode for the time of the call. ``size`` bounds how many
    images go through it at once.

    Raises:
        ValueError: if the images are not four-dimensional.
    """
    if images.ndim != 4:
        raise ValueError(
            f"images have shape (N, 3, H, W), but these have {tuple(images.shape)}: add the axis "
            "of the batch with image[None]."
        )
    training = model.training
    model.to(device).eval()
    try:
        parts = images.split(size or len(images))
        return torch.cat([model(part.to(device)).argmax(dim=1).cpu() for part in parts])
    finally:
        model.train(training)


def save_checkpoint(path: str | Path, **parts: Any) -> None:
    """Save the state of modules, optimisers and plain values to one file, all or nothing.

    The file is written beside its destination and then renamed, so that a process that dies while
    writing leaves the previous checkpoint as it was.
    """
    state = {
        name: part.state_dict() if hasattr(part, "state_dict") else part
        for name, part in parts.items()
    }
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}.draft")
    try:
        with draft.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def load_checkpoint(path: str | Path, **parts: Any) -> dict[str, Any]:
    """Give modules and optimisers the state that ``path`` holds; returns everything in the file.

    All parts are checked before the first is changed.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged, or was made by another network.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no checkpoint {path}: train first, or check the name.")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, ValueError, OSError, KeyError, pickle.UnpicklingError) as error:
        raise ValueError(
            f"{path} is not a complete checkpoint ({type(error).__name__}): delete it and train "
            "again, or restore a copy."
        ) from error
    missing = [name for name in parts if not isinstance(state, dict) or name not in state]
    if missing:
        raise ValueError(f"{path} holds nothing for {missing}: was it saved by save_checkpoint?")
    for name, part in parts.items():
        if isinstance(part, nn.Module):
            check_weights(path, part, state[name])
    for name, part in parts.items():
        part.load_state_dict(state[name])
    return state


def check_weights(path: Path, model: nn.Module, weights: dict[str, Tensor]) -> None:
    """Refuse weights of another network, naming the first that does not fit."""
    own = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    stored = {name: tuple(value.shape) for name, value in weights.items()}
    odd = [name for name in {**own, **stored} if own.get(name) != stored.get(name)]
    if odd:
        name = odd[0]
        raise ValueError(
            f"{path} was made by another network than this {type(model).__name__}: {name} is "
            f"{stored.get(name, 'absent')} there and {own.get(name, 'absent')} here "
            f"({len(odd)} of {len(own)} differ). Build the network with the arguments it had."
        )


def generators() -> dict[str, Any]:
    """The state of every random generator that a training may draw from."""
    kind, keys, place, has_gauss, gauss = np.random.get_state()
    return {
        "torch": torch.get_rng_state(),
        "numpy": [kind, torch.from_numpy(keys.astype(np.int64)), place, has_gauss, gauss],
        "python": random.getstate(),
    }


def set_generators(state: dict[str, Any]) -> None:
    """Put the generators back to a state of :func:`generators`."""
    torch.set_rng_state(state["torch"])
    kind, keys, place, has_gauss, gauss = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), place, has_gauss, gauss))
    version, inner, rest = state["python"]
    random.setstate((version, tuple(inner), rest))


def remember(batches: Iterable[Batch]) -> dict[str, Any]:
    """What decides the order of the epoch that begins now."""
    own = getattr(batches, "generator", None)
    return {"start": generators(), "own": own.get_state() if own is not None else None}


def restore(position: dict[str, Any], batches: Iterable[Batch]) -> dict[str, Any]:
    """Go back to the beginning of the epoch in which a checkpoint was saved."""
    set_generators(position["start"])
    if position["own"] is not None:
        batches.generator.set_state(position["own"])
    return {"start": position["start"], "own": position["own"]}
