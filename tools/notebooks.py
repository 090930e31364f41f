"""Build the chapters: notebooks/NN_name.py is edited, NN_name.ipynb is built from it and run.

    python tools/notebooks.py                  every chapter whose text changed
    python tools/notebooks.py 08_unet --force  this chapter, whatever its state

The outputs are stored. What differs from run to run is left out (times, progress bars, cell
numbers of other runs); pictures are reduced to 256 colours; the alternative text of a figure is
copied to where the book reads it. A run that fails leaves the stored notebook as it was.
"""

import argparse
import base64
import io
import os
import sys
import time
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from PIL import Image

FOLDER = Path(__file__).parents[1] / "notebooks"
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def main(arguments: list[str] | None = None) -> int:
    """Build the chosen chapters; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("chapters", nargs="*", help="stems such as 08_unet; default: all")
    parser.add_argument("--force", action="store_true", help="build even if nothing changed")
    options = parser.parse_args(arguments)
    texts = sorted(FOLDER.glob("[0-9][0-9]_*.py"))
    chosen = [text for text in texts if not options.chapters or text.stem in options.chapters]
    unknown = set(options.chapters) - {text.stem for text in texts}
    if unknown:
        print(f"no chapter is named {sorted(unknown)}; there are {[t.stem for t in texts]}")
        return 2
    for text in chosen:
        if options.force or options.chapters or is_stale(text):
            build(text)
    return 0


def is_stale(text: Path) -> bool:
    """Whether the stored notebook's cells differ from the text."""
    built = text.with_suffix(".ipynb")
    if not built.exists():
        return True
    return sources(jupytext.read(text)) != sources(nbformat.read(built, as_version=4))


def sources(notebook: nbformat.NotebookNode) -> list[tuple]:
    """What the text decides: type, source and tags of every cell."""
    return [
        (cell.cell_type, cell.source, tuple(cell.metadata.get("tags", [])))
        for cell in notebook.cells
    ]


def build(text: Path) -> None:
    """Run one chapter from top to bottom and store it."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    notebook = jupytext.read(text)
    started = time.time()
    client = NotebookClient(
        notebook,
        timeout=600,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(text.parent)}},
    )
    client.execute()
    for number, cell in enumerate(notebook.cells):
        tidy(cell, number)
    notebook.metadata = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    nbformat.validate(notebook)
    built = text.with_suffix(".ipynb")
    draft = text.with_suffix(".draft")
    nbformat.write(notebook, draft)
    os.replace(draft, built)
    size = built.stat().st_size // 1024
    print(f"{built.name}: {time.time() - started:.0f} s, {size} KB", flush=True)


def tidy(cell: nbformat.NotebookNode, number: int) -> None:
    """Leave in a cell only what is the same in every run."""
    cell["id"] = f"c{number:03d}"
    cell.metadata.pop("execution", None)
    cell.metadata.pop("lines_to_next_cell", None)
    if cell.cell_type != "code":
        return
    cell.outputs = [out for out in cell.outputs if out.get("name") != "stderr"]
    for out in cell.outputs:
        data = out.get("data", {})
        if "image/png" in data:
            data["image/png"] = shrink(data["image/png"])
            data["text/plain"] = "<Figure>"
            alt = out.metadata.get("image/png", {}).get("alt")
            out.metadata = {"image/png": {"alt": alt}} if alt else {}
            if alt:
                cell.metadata["mystnb"] = {"image": {"alt": alt}}


def shrink(png: str, colors: int = 256) -> str:
    """A base64 PNG with at most ``colors`` colours, on white."""
    image = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGBA")
    flat = Image.new("RGB", image.size, "white")
    flat.paste(image, mask=image.getchannel("A"))
    stream = io.BytesIO()
    reduced = flat.quantize(colors, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    reduced.save(stream, "PNG", optimize=True)
    small = base64.b64encode(stream.getvalue()).decode()
    return small if len(small) < len(png) else png


if __name__ == "__main__":
    sys.exit(main())
