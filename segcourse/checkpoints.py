"""Files that a training can go on from: all or nothing, on any device, checked before use.

    save_checkpoint("run.pt", model=model, optimizer=optimizer)
    load_checkpoint("run.pt", model=model, optimizer=optimizer)

A training that goes on must also see the batches that it would have seen. ``ResumableBatches``
remembers where in an epoch it is, and the state of every random generator; it is saved like an
optimizer.
"""

import os
import pickle
import random
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor, nn


def save_checkpoint(path: str | Path, **parts: Any) -> None:
    """Save the state of modules, optimizers and plain values to one file, all or nothing.

    The file is written beside its destination and then renamed, so that a process that dies while
    writing leaves the previous checkpoint as it was. Of a compiled network, or one in
    DataParallel, the network inside is saved.
    """
    parts = {name: unwrap(part) for name, part in parts.items()}
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
    """Give modules and optimizers the state that ``path`` holds; returns everything in the file.

    Tensors come to the device of the part that they are loaded into, and are on the CPU in what is
    returned. The weights of all networks are checked before anything is changed.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is damaged, lacks a part, or was made by another network.
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
    held = list(state) if isinstance(state, dict) else []
    missing = [name for name in parts if name not in held]
    if missing:
        raise ValueError(f"{path} holds {held} but no {missing}: load what was saved in it.")
    for name, part in parts.items():
        if isinstance(part, nn.Module):
            state[name] = check_weights(path, part, state[name])
    for name, part in parts.items():
        part.load_state_dict(state[name])
    return state


def check_weights(path: Path, model: nn.Module, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Refuse weights of another network; returns them under the names that ``model`` has for them.

    torch.compile puts ``_orig_mod.`` before the names in a network, DataParallel ``module.``; two
    names that differ by these only are the same.

    Raises:
        ValueError: if a weight is missing, left over, or of another shape; names the first.
    """
    own = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    same = {_plain(name): name for name in own}
    renamed = {
        name if name in own else same.get(_plain(name), name): value
        for name, value in weights.items()
    }
    stored = {name: tuple(value.shape) for name, value in renamed.items()}
    odd = [name for name in {**own, **stored} if own.get(name) != stored.get(name)]
    if odd:
        name = odd[0]
        raise ValueError(
            f"{path} was made by another network than this {type(unwrap(model)).__name__}: {name} "
            f"is {stored.get(name, 'absent')} there and {own.get(name, 'absent')} here "
            f"({len(odd)} of {len(own)} differ). Build the network with the arguments it had."
        )
    return renamed


def unwrap(part: Any) -> Any:
    """The network inside torch.compile or DataParallel; anything else is returned as it is."""
    if isinstance(part, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
        return unwrap(part.module)
    if isinstance(part, nn.Module) and hasattr(part, "_orig_mod"):
        return unwrap(part._orig_mod)
    return part


def _plain(name: str) -> str:
    """The name of a weight without what wrappers put into it."""
    return ".".join(part for part in name.split(".") if part not in ("_orig_mod", "module"))


class ResumableBatches:
    """Batches without end, epoch after epoch, that go on where a checkpoint was saved.

    To go on, the generators return to the start of the interrupted epoch, the batches that were
    used already are drawn once more and left out, and the generators get the state that they had
    when the checkpoint was saved. Every later batch is then the same as without the interruption.

    Args:
        batches: a DataLoader, a list, or anything else that can be gone through repeatedly.
        generators: what the batches draw from, besides the global generators of torch, NumPy and
            Python and those of a DataLoader and its samplers; for example those of transforms.
    """

    def __init__(self, batches: Iterable[Any], generators: Sequence[Generator] = ()):
        self.batches = batches
        found = {id(each): each for each in (*_sampling_generators(batches), *generators)}
        self.generators = list(found.values())
        self._start: dict[str, Any] = {}
        self._taken = 0
        self._saved: dict[str, Any] | None = None

    def __iter__(self) -> Iterator[Any]:
        while True:
            saved, self._saved = self._saved, None
            if saved:
                set_rng_state(saved["start"], self.generators)
            skip = saved["taken"] if saved else 0
            self._start, self._taken = get_rng_state(self.generators), 0
            for batch in self.batches:
                self._taken += 1
                if self._taken > skip:
                    yield batch
                elif self._taken == skip:  # before the next batch is drawn
                    set_rng_state(saved["now"], self.generators)
            if self._taken < skip:
                raise ValueError(
                    f"the checkpoint was saved after {skip} batches of an epoch, but there are "
                    f"{self._taken}: go on with the dataset and the batch size that it had."
                )
            if self._taken == 0:
                raise ValueError(
                    "there are no batches to train on: is the dataset empty, or an iterator that "
                    "was used up? Pass a DataLoader or a list."
                )

    def state_dict(self) -> dict[str, Any]:
        """The place in the epoch, and the state of the generators at its start and now."""
        now = get_rng_state(self.generators)
        return {"start": self._start, "taken": self._taken, "now": now}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there at the next batch.

        Raises:
            ValueError: if the batches have another number of generators than those saved.
        """
        stored = len(state["now"]["generators"])
        if stored != len(self.generators):
            raise ValueError(
                f"the checkpoint was saved with {stored} generators of DataLoaders and transforms, "
                f"but these batches have {len(self.generators)}: go on with batches that are made "
                "in the same way."
            )
        self._saved = state


def _sampling_generators(batches: Iterable[Any]) -> list[Generator]:
    """The generators that decide the order of a DataLoader's samples."""
    batch_sampler = getattr(batches, "batch_sampler", None)
    samplers = (getattr(batches, "sampler", None), getattr(batch_sampler, "sampler", None))
    found = [getattr(each, "generator", None) for each in (batches, batch_sampler, *samplers)]
    return [each for each in found if isinstance(each, Generator)]


def get_rng_state(generators: Sequence[Generator] = ()) -> dict[str, Any]:
    """The state of every random generator that a training may draw from, and of ``generators``."""
    kind, keys, place, has_gauss, gauss = np.random.get_state()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
        "mps": [torch.mps.get_rng_state()] if torch.backends.mps.is_available() else [],
        "numpy": [kind, torch.from_numpy(keys.astype(np.int64)), place, has_gauss, gauss],
        "python": random.getstate(),
        "generators": [each.get_state() for each in generators],
    }


def set_rng_state(state: dict[str, Any], generators: Sequence[Generator] = ()) -> None:
    """Put the generators back to a state of :func:`get_rng_state`.

    States of GPUs that this computer lacks are left out, so that a training can go on elsewhere.
    """
    torch.set_rng_state(state["torch"])
    for index, each in enumerate(state["cuda"][: torch.cuda.device_count()]):
        torch.cuda.set_rng_state(each, index)
    for each in state["mps"] if torch.backends.mps.is_available() else []:
        torch.mps.set_rng_state(each)
    kind, keys, place, has_gauss, gauss = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), place, has_gauss, gauss))
    version, inner, rest = state["python"]
    random.setstate((version, tuple(inner), rest))
    for generator, each in zip(generators, state["generators"], strict=True):
        generator.set_state(each)
