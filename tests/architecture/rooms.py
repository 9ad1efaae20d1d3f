"""Where the modules of the package are, and what their files say."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDERS = {
    "napari_medlab": "napari_medlab",
    "models": "napari_medlab.models",
    "widgets": "napari_medlab.widgets",
}
"""The folders of the repository and the packages that they are installed as."""


def files() -> dict[str, Path]:
    """Return the file of every module, by the module's name."""
    found: dict[str, Path] = {}
    for folder, package in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            if folder == "napari_medlab" and parts[0] in FOLDERS:
                continue  # reached through the links
            name = ".".join([package, *(part for part in parts if part != "__init__")])
            found[name] = path
    return found


def packages() -> set[str]:
    """Return the packages that the folders hold."""
    return {name for name, path in files().items() if path.name == "__init__.py"}


def core() -> list[str]:
    """Return the modules of the core: neither models nor widgets."""
    return [
        name for name in files() if not name.startswith(("napari_medlab.models", "napari_medlab.widgets"))
    ]


def project_file() -> dict[str, object]:
    """Return what pyproject.toml says."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
