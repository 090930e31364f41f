"""The role ``{chapter}`` links to a chapter of the book, and says so where it is not there yet.

    {chapter}`06_fcn`                   ->  06 (a link), or "06, planned"
    {chapter}`FCN <06_fcn>`             ->  FCN (a link), or "FCN (chapter 06, planned)"

Pages of words may so speak of the whole course while it is being written, without dead links.
"""

from __future__ import annotations

import re

from docutils import nodes
from sphinx import addnodes
from sphinx.util import logging
from sphinx.util.docutils import SphinxRole

logger = logging.getLogger(__name__)

STEM = re.compile(r"(?P<number>\d\d)_\w+")
WITH_WORDS = re.compile(r"(?P<words>.+?)\s*<(?P<stem>\d\d_\w+)>")


class Chapter(SphinxRole):
    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        explicit = WITH_WORDS.fullmatch(self.text)
        words = explicit["words"] if explicit else ""
        found = STEM.fullmatch(explicit["stem"] if explicit else self.text)
        if found is None:
            logger.warning(
                "a chapter is named by its stem, such as 06_fcn, not by %r",
                self.text,
                location=self.get_location(),
            )
            return [nodes.literal(self.text, self.text)], []
        number, page = found["number"], f"notebooks/{found[0]}"
        if page in self.env.found_docs:
            link = addnodes.pending_xref(
                self.text,
                nodes.inline("", words or number),
                refdomain="std",
                reftype="doc",
                reftarget=f"/{page}",
                refdoc=self.env.docname,
                refexplicit=True,
                refwarn=True,
            )
            return [link], []
        text = f"{words} (chapter {number}, planned)" if words else f"{number}, planned"
        return [nodes.inline(self.text, text, classes=["planned"])], []


def forget_all(app, env, added: set[str], changed: set[str], removed: set[str]) -> list[str]:
    """Pages of words are read again when a chapter joins or leaves the book."""
    moved = {page for page in added | removed if page.startswith("notebooks/")}
    return [page for page in env.found_docs if page.startswith("book/")] if moved else []


def setup(app) -> dict:
    app.add_role("chapter", Chapter())
    app.connect("env-get-outdated", forget_all)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
