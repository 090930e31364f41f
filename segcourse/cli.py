"""The command ``segcourse``: what is solved, and whether this computer is ready for the course."""

import argparse
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("torch", "torchvision", "numpy", "scipy", "scikit-image", "matplotlib", "pillow")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand; returns the exit status."""
    parser = argparse.ArgumentParser(prog="segcourse", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("progress", help="list the exercises, ticked where solved")
    commands.add_parser("doctor", help="show the versions the course runs on, and try a scene")
    chosen = parser.parse_args(arguments).command
    return {"progress": progress, "doctor": doctor}[chosen]()


def progress() -> int:
    """Print every exercise, ticked where it is solved."""
    from segcourse.exercises.progress import show

    show()
    return 0


def doctor() -> int:
    """Print the versions in use, and draw one scene: 0 if everything is there."""
    missing = 0
    print(f"Python {platform.python_version()} on {platform.system()}")
    for package in PACKAGES:
        try:
            print(f"{package} {version(package)}")
        except PackageNotFoundError:
            print(f"{package} is missing: pip install {package}")
            missing += 1
    if not missing:
        import torch

        from segcourse.data.toytown import Toytown

        shape = tuple(Toytown(1)[0].image.shape)
        print(f"a Toytown scene has shape {shape}; torch uses {torch.get_num_threads()} threads")
    return 1 if missing else 0
