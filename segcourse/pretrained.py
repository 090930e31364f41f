"""Weights that come with the course, of networks that take longer to train than a chapter should.

    model = DETR(3, ...)
    load_pretrained(model, "detr")

Beside ``weights/<name>.safetensors`` stands ``<name>.json`` with two numbers that must agree before
a weight is used: the hash of the file, and the fingerprint of the code that the weights were
measured with. A network whose code has changed since may still accept its weights and compute
something else; nobody would notice but the metrics.
"""

import ast
import hashlib
import json
from pathlib import Path

from safetensors.torch import load, save
from torch import nn

from segcourse.checkpoints import check_weights

PACKAGE = Path(__file__).parent
FOLDER = PACKAGE / "weights"
LARGEST = 4 * 1024**2  # bytes


def load_pretrained(model: nn.Module, name: str, *, folder: str | Path = FOLDER) -> nn.Module:
    """Give ``model`` the weights called ``name``; returns it, ready to predict.

    Args:
        model: built with the arguments that the weights were trained with.
        name: of the weights.
        folder: where they lie; those of the course by default.

    Raises:
        FileNotFoundError: if there are no such weights.
        ValueError: if the file is damaged, was made by other code, or is of another network.
    """
    path = Path(folder) / f"{name}.safetensors"
    passport = path.with_suffix(".json")
    if not (path.exists() and passport.exists()):
        names = sorted(each.stem for each in Path(folder).glob("*.safetensors"))
        raise FileNotFoundError(f"there are no weights called {name!r}: choose one of {names}.")
    wanted, content = json.loads(passport.read_text()), path.read_bytes()
    if hashlib.sha256(content).hexdigest() != wanted["sha256"]:
        raise ValueError(
            f"{path.name} is not the file that {passport.name} describes: its hash differs. "
            "Restore both, for example with git checkout."
        )
    if code_of(model) != wanted["code"]:
        raise ValueError(
            f"the code of {type(model).__name__} has changed since {path.name} was made: what the "
            "weights compute now has not been measured. Run python -m benchmarks.pretrained "
            f"--only {name} --confirm, which measures it, or go back to the code they were made by."
        )
    weights = {key: value.float() if value.is_floating_point() else value
               for key, value in load(content).items()}  # fmt: skip
    check_weights(path, model, weights)
    model.load_state_dict(weights)
    return model.eval()


def save_pretrained(model: nn.Module, name: str, *, folder: str | Path = FOLDER) -> Path:
    """Write the weights of ``model`` in half precision, beside hash and fingerprint.

    Raises:
        ValueError: if a weight does not fit half precision, or the file would exceed 4 MB.
    """
    weights = {}
    for key, value in model.state_dict().items():
        weights[key] = value.half() if value.is_floating_point() else value
        if not weights[key].isfinite().all():
            raise ValueError(
                f"{key} reaches {value.abs().max().item():g}, which half precision cannot hold: "
                "the training has blown up, or the images are not in [0, 1]."
            )
    content = save(weights)
    if len(content) > LARGEST:
        raise ValueError(
            f"the weights take {len(content)} bytes, more than {LARGEST}: build a smaller network."
        )
    path = Path(folder) / f"{name}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    write_passport(model, path)
    return path


def write_passport(model: nn.Module, path: Path) -> None:
    """Say which file and which code belong together."""
    passport = {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "code": code_of(model)}
    path.with_suffix(".json").write_text(json.dumps(passport, indent=1) + "\n")


def code_of(model: nn.Module) -> str:
    """A fingerprint of the files of the course that decide what ``model`` computes.

    They are the module of its class, and all that it imports, directly or not.
    """
    waiting, seen = [type(model).__module__], {}
    while waiting:
        module = waiting.pop()
        path = PACKAGE.joinpath(*module.split(".")[1:]).with_suffix(".py")
        if module in seen or not module.startswith(f"{PACKAGE.name}.") or not path.exists():
            continue
        seen[module] = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(seen[module])):
            if isinstance(node, ast.ImportFrom) and node.module:
                waiting.append(node.module)
    text = "\n".join(f"{module}\n{seen[module]}" for module in sorted(seen))
    return hashlib.sha256(text.encode()).hexdigest()
