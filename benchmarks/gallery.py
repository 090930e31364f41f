"""Every semantic network of the course on the same street scene: the picture of the first page.

    python -m benchmarks.gallery

Draws book/_static/gallery.png from results/comparison.json, where the predictions of all networks
are stored that were trained with the first seed (benchmarks/comparison.py). Trains nothing.
"""

import io
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import torch
from PIL import Image
from torch import Tensor

from benchmarks.architectures import TEST_SEED
from segcourse.data.results import measured, unpack_array
from segcourse.data.toytown import CLASSES, PALETTE, Toytown
from segcourse.ops.labels import colorize

PICTURE = Path(__file__).parents[1] / "book" / "_static" / "gallery.png"
SHOWN = 0  # of the scenes whose predictions are stored
COLUMNS = 6


def panels() -> dict[str, Tensor]:
    """The image, what each network predicts, and the ground truth: (H, W, 3) each, uint8."""
    results = measured("comparison")
    number = results["pictured"][SHOWN]
    scene = Toytown(number + 1, seed=TEST_SEED)[number]
    maps = {
        results["published"][name]["title"]: torch.from_numpy(
            unpack_array(row["runs"][0]["pictures"])[SHOWN]
        )
        for name, row in results["networks"].items()
    }
    return {
        "image": (scene.image.movedim(0, -1) * 255).round().byte(),
        **{title: colorize(labels, PALETTE) for title, labels in maps.items()},
        "ground truth": colorize(scene.semantic, PALETTE),
    }


def draw(pictures: dict[str, Tensor]) -> None:
    """Save the pictures in rows, each under its title, above one legend."""
    matplotlib.use("agg")
    rows = -(-len(pictures) // COLUMNS)
    height, width, _ = next(iter(pictures.values())).shape
    side, title, legend = 1.9, 0.28, 0.4  # inches: a picture, the line above it, the last line
    row_height = side * height / width + title
    tall = row_height * rows + legend
    figure = plt.figure(figsize=(side * COLUMNS, tall), dpi=140)
    for place, (name, picture) in enumerate(pictures.items()):
        row, column = divmod(place, COLUMNS)
        bottom = tall - (row + 1) * row_height
        size = (0.985 / COLUMNS, (row_height - title) / tall)
        axes = figure.add_axes((column / COLUMNS, bottom / tall, *size))
        axes.imshow(picture.numpy(), interpolation="nearest")
        axes.set_title(name, fontsize=11, pad=4)
        axes.axis("off")
    patches = [
        plt.Rectangle((0, 0), 1, 1, color=[part / 255 for part in color]) for color in PALETTE
    ]
    figure.legend(
        patches,
        CLASSES,
        loc="lower center",
        ncols=len(CLASSES),
        frameon=False,
        fontsize=11,
        handlelength=1,
        handleheight=1,
        columnspacing=1.4,
        borderaxespad=0,
    )
    stream = io.BytesIO()
    figure.savefig(stream, format="png", bbox_inches="tight", pad_inches=0.04, facecolor="white")
    plt.close(figure)
    small = Image.open(stream).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    small.save(PICTURE, optimize=True)


if __name__ == "__main__":
    draw(panels())
    print(f"drew book/_static/{PICTURE.name}")
