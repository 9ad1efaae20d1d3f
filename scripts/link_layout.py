"""Make the two git-ignored links that let type checkers and import-linter see the installed layout."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def link(name: str) -> None:
    """Make ``napari_medlab/NAME`` point at the top-level folder NAME; nothing happens where it stands already."""
    place, target = ROOT / "napari_medlab" / name, ROOT / name
    if place.exists():
        return
    if sys.platform == "win32":  # a junction needs no administrator
        subprocess.run(["cmd", "/c", "mklink", "/J", str(place), str(target)], check=True)
    else:
        place.symlink_to(Path("..") / name, target_is_directory=True)


if __name__ == "__main__":
    for folder in ("models", "widgets"):
        link(folder)
