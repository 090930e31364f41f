"""Write a measurement to results/, with what one needs to repeat it."""

import json
import os
import platform
from importlib.metadata import version
from pathlib import Path

import torch

RESULTS = Path(__file__).parents[1] / "results"
PACKAGES = ("torch", "torchvision", "numpy", "scipy", "scikit-image")


def write(name: str, payload: dict) -> Path:
    """Save ``payload`` as results/<name>.json beside versions and machine, atomically."""
    environment = {
        "python": platform.python_version(),
        "packages": {package: version(package) for package in PACKAGES},
        "machine": f"{processor()}, {os.cpu_count()} cores",
        "threads": torch.get_num_threads(),
    }
    path = RESULTS / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps({**payload, "environment": environment}, indent=1) + "\n")
    os.replace(draft, path)
    print(f"wrote results/{name}.json")
    return path


def processor() -> str:
    """The name of the processor, where the system tells it."""
    listing = Path("/proc/cpuinfo")
    if listing.exists():
        for line in listing.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
