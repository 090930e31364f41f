"""Keep the book on its own host: local MathJax, no duplicate scripts, no leftovers of thebe.

A page must show its equations on a train. MathJax therefore comes from the package
``sphinx-mathjax-offline``; of its 24 MB only the one file that draws SVG is copied.
The theme and Jupyter Book both add the same inline scripts, which then throw
"already been declared" on every page: each is kept once.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
from pathlib import Path

from sphinx.errors import ExtensionError

MATHJAX = "tex-svg-full.js"
VENDOR = Path("vendor", "mathjax")

# docutils gives citation lists roles that no screen reader's rule book allows in that nesting.
CITATION_ROLE = re.compile(r' role="(?:doc-biblioentry|list)"(?=[ >])')
CITATION_TAG = re.compile(r"<div[^>]*class=\"citation(?:-list)?\"[^>]*>|<div[^>]*citation[^>]*>")


def mathjax_file() -> Path:
    """Where the installed package keeps the one file that the book needs."""
    found = importlib.util.find_spec("sphinx-mathjax-offline")
    if found is None or found.origin is None:
        raise ExtensionError(
            "the book draws its equations with the package sphinx-mathjax-offline, which is not "
            "installed: run `make book`, or install requirements.lock"
        )
    return Path(found.origin).parent / "static" / "mathjax" / MATHJAX


def use_local_mathjax(app, config) -> None:
    mathjax_file()
    config.mathjax_path = (VENDOR / MATHJAX).as_posix()


def copy_mathjax(app, exception) -> None:
    if exception is not None or app.builder.format != "html":
        return
    source, folder = mathjax_file(), Path(app.outdir, "_static", VENDOR)
    target = folder / MATHJAX
    if not target.exists() or target.stat().st_size != source.stat().st_size:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def clean_page(app, pagename, templatename, context, doctree) -> None:
    """Drop repeated scripts, all of thebe, and the citation roles that mislead screen readers."""
    seen, kept = set(), []
    for script in context.get("script_files", []):
        attributes = getattr(script, "attributes", {}) or {}
        body, name = attributes.get("body") or "", str(getattr(script, "filename", script))
        if "thebe" in body.lower() or "thebe" in name.lower() or (name, body) in seen:
            continue
        seen.add((name, body))
        kept.append(script)
    context["script_files"] = kept
    context["css_files"] = [
        sheet
        for sheet in context.get("css_files", [])
        if "thebe" not in str(getattr(sheet, "filename", sheet))
    ]
    if "citation" in context.get("body", ""):
        context["body"] = CITATION_TAG.sub(
            lambda tag: CITATION_ROLE.sub("", tag[0]), context["body"]
        )


def setup(app) -> dict:
    app.connect("config-inited", use_local_mathjax)
    app.connect("html-page-context", clean_page, priority=900)
    app.connect("build-finished", copy_mathjax)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
