"""Set where the course lives on GitHub: in one place, by one command.

    python -m tools.repository somebody/segcourse

The place is ``[project.urls] Repository`` in pyproject.toml. The command writes the name there,
into the first cell of every chapter (which installs the course on Colab) and into the chapter
table of the README, which has Colab links once there is a name. Without a name it only brings
that table up to date. A test sees to it that no other file names the repository.
"""

import argparse
import re
import sys
import tomllib
from pathlib import Path

import nbformat

ROOT = Path(__file__).parents[1]
PLACEHOLDER = "/".join(("OWNER", "REPO"))  # what stands there until somebody publishes the course
OWNER_AND_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?/[A-Za-z0-9._-]+")
BLOCK = re.compile(r"(<!-- chapters[^>]*-->)\n.*?(<!-- end of chapters -->)", re.S)


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Rename, or only refresh the README; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.repository", description=__doc__)
    parser.add_argument("name", nargs="?", help="owner/name, as in the address of the repository")
    name = parser.parse_args(arguments).name
    try:
        changed = rename(root, name or current(root))
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    for path in changed:
        print(f"wrote {path.relative_to(root).as_posix()}")
    if not changed:
        print("nothing to change")
    return 0


def current(root: Path = ROOT) -> str:
    """``owner/name`` as pyproject.toml has it."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    address = project.get("urls", {}).get("Repository", "")
    name = address.removeprefix("https://github.com/")
    if not OWNER_AND_NAME.fullmatch(name):
        raise ValueError(
            f"pyproject.toml: [project.urls] Repository is {address!r}, which is no address "
            f"of the form https://github.com/owner/name: write one there"
        )
    return name


def places(root: Path = ROOT) -> list[Path]:
    """The files that may name the repository."""
    chapters = (root / "notebooks").glob("[0-9][0-9]_*.*")
    notebooks = [path for path in chapters if path.suffix in (".py", ".ipynb")]
    return [root / "pyproject.toml", *sorted(notebooks), root / "README.md"]


def rename(root: Path, name: str) -> list[Path]:
    """Put ``name`` in every place; returns the files that changed."""
    if not OWNER_AND_NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no repository: it is wanted as owner/name")
    old = re.compile(rf"(?<=github\.com/){re.escape(current(root))}(?![\w.-])")
    changed = []
    for path in places(root):
        before = path.read_bytes().decode("utf-8")
        after = old.sub(name, before)
        if path.name == "README.md":
            after = with_table(after, chapter_table(root, name))
        if after != before:
            path.write_bytes(after.encode("utf-8"))
            changed.append(path)
    return changed


def with_table(readme: str, table: str) -> str:
    """The README with its chapter table replaced."""
    if len(BLOCK.findall(readme)) != 1:
        raise ValueError(
            "README.md: the chapter table is wanted between one line '<!-- chapters -->' "
            "and one line '<!-- end of chapters -->'"
        )
    return BLOCK.sub(lambda block: f"{block[1]}\n{table}\n{block[2]}", readme)


def chapter_table(root: Path, name: str) -> str:
    """A Markdown table of the chapters, with Colab links where the repository has a name."""
    known = name != PLACEHOLDER
    head = ["", "Chapter", "In a sentence", *(["Run it"] if known else [])]
    lines = [head, ["---"] * len(head)]
    for path in sorted((root / "notebooks").glob("[0-9][0-9]_*.ipynb")):
        title, promise = opening(nbformat.read(path, as_version=4))
        row = [path.stem[:2], f"[{title}](notebooks/{path.name})", promise]
        if known:
            colab = f"https://colab.research.google.com/github/{name}/blob/main/notebooks"
            row.append(f"[Colab]({colab}/{path.name})")
        lines.append(row)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def opening(notebook: nbformat.NotebookNode) -> tuple[str, str]:
    """Title and promise of a chapter: its heading, and the first sentence below."""
    first = notebook.cells[0].source
    title, _, rest = first.partition("\n")
    if not title.startswith("# "):
        raise ValueError(f"a chapter opens with '# Title', not with {title!r}")
    paragraph = next((part for part in rest.split("\n\n") if part.strip()), "")
    sentence = re.split(r"(?<=[.!?])\s", " ".join(paragraph.split()), maxsplit=1)[0]
    return number_less(title[2:].strip()), re.sub(r"[*_]{1,2}|\|", "", sentence)


def number_less(title: str) -> str:
    """A title without the chapter's number, which the table has in a column of its own."""
    return re.sub(r"^(?:Chapter\s+)?\d+[.:]?\s+", "", title)


if __name__ == "__main__":
    sys.exit(main())
