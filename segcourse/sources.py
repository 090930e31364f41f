"""Code of the course inside a notebook, behind a toggle."""

import html
import inspect
import textwrap
from collections.abc import Callable

from IPython import get_ipython
from IPython.display import HTML, display


def show_source(*objects: Callable) -> None:
    """Show how functions, classes or methods of the course are written, in closed toggles.

    Raises:
        TypeError: for an object without source code in Python, such as a built-in function.
    """
    for each in objects:
        try:
            code = inspect.getsource(each)
        except (TypeError, OSError) as error:
            raise TypeError(
                f"{each!r} has no source code in Python: give a function, a class or a method that "
                "is written in it."
            ) from error
        show_toggle(f"Source of {each.__qualname__}", textwrap.dedent(code).strip())


def show_toggle(title: str, code: str, note: str = "") -> None:
    """Show code, and perhaps a line below it, in a closed toggle; as plain text in a terminal."""
    if get_ipython() is None:
        print("\n\n".join(part for part in (title, code, note) if part))
        return
    below = f"<p>{html.escape(note)}</p>" if note else ""
    display(
        HTML(
            f'<details class="solution"><summary>{html.escape(title)}</summary>'
            f"<pre><code>{html.escape(code)}</code></pre>{below}</details>"
        )
    )
