"""Colab and repository buttons, when and only when it is known where the repository lives.

On GitHub the environment says so (``GITHUB_REPOSITORY``); elsewhere git's origin does, if it is
a github.com address. Where neither is known the buttons are absent: a missing button is better
than a dead one.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

OWNER_AND_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?/[A-Za-z0-9._-]+")
GITHUB_ADDRESS = re.compile(
    r"(?:https?://(?:[^/@\s]+@)?|git://|ssh://git@|git@)(?:www\.)?github\.com[:/]"
    r"(?P<name>[^/\s]+/[^/\s]+?)(?:\.git)?/?"
)
BRANCH = "main"


def name_in_address(address: str) -> str | None:
    """``owner/name`` of a github.com address as git writes it, else None."""
    found = GITHUB_ADDRESS.fullmatch(address.strip())
    return found["name"] if found and OWNER_AND_NAME.fullmatch(found["name"]) else None


def origin(folder: Path) -> str:
    """The address of git's remote ``origin`` for this folder, or an empty string."""
    try:
        asked = subprocess.run(
            ["git", "-C", str(folder), "remote", "get-url", "origin"],
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return asked.stdout.strip() if asked.returncode == 0 else ""


def repository_name(environment: Mapping[str, str], folder: Path) -> str | None:
    """``owner/name`` from the GitHub environment, else from git's origin, else None."""
    given = environment.get("GITHUB_REPOSITORY", "").strip()
    if OWNER_AND_NAME.fullmatch(given):
        return given
    return name_in_address(origin(folder))


def theme_options(name: str | None) -> dict:
    """What the theme is told about the repository ``name``."""
    if name is None:
        return {"repository_url": "", "use_repository_button": False, "launch_buttons": {}}
    return {
        "repository_url": f"https://github.com/{name}",
        "repository_branch": BRANCH,
        "path_to_docs": "",
        "use_repository_button": True,
        "launch_buttons": {
            "colab_url": "https://colab.research.google.com",
            "notebook_interface": "classic",
        },
    }


def link_repository(app, config) -> None:
    name = repository_name(os.environ, Path(app.srcdir))
    config.html_theme_options = {**config.html_theme_options, **theme_options(name)}


def setup(app) -> dict:
    app.connect("config-inited", link_repository)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
