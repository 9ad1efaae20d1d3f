"""The page that PyPI and the napari hub show: README.md, whose links lead to the files of this version."""

from __future__ import annotations

import re
from pathlib import Path

from setuptools import setup

PLACE = "https://github.com/napari-medlab/napari-medlab"
RELATIVE = re.compile(r"(?P<picture>!?)(?P<text>\[[^\]]*\])\((?!https?:|#)(?P<path>[^)\s]+)\)")
"""A link or a picture of Markdown that leads to a file of the repository."""
FOLDER = Path(__file__).resolve().parent


def version() -> str:
    """Return the version as pyproject.toml has it."""
    lines = (FOLDER / "pyproject.toml").read_text(encoding="utf-8")
    return re.search(r'^version = "(.+)"$', lines, re.MULTILINE)[1]  # type: ignore[index]


def absolute(readme: str, tag: str) -> str:
    """Return the text with relative links made absolute; pictures are taken as they lie, other files as pages."""

    def made(link: re.Match[str]) -> str:
        kind = "raw" if link["picture"] else "blob"
        return f"{link['picture']}{link['text']}({PLACE}/{kind}/{tag}/{link['path']})"

    return RELATIVE.sub(made, readme)


setup(
    long_description=absolute((FOLDER / "README.md").read_text(encoding="utf-8"), f"v{version()}"),
    long_description_content_type="text/markdown",
)
