"""Packages of strangers: a folder of modules with the metadata of something that was installed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

SPOTS = """
import numpy as np
from napari_medlab.models.plugins import Found

def detect(tile):
    for index in np.argwhere(tile[0] == tile[0].max())[:1]:
        yield Found(index, 4.0, 0.75)
"""

ABOUT: dict[str, Any] = {
    "task": "detection",
    "classes": ["spot"],
    "preprocessing": {"kind": "volume", "window": [0, 1000]},
    "tiling": {"core": [64, 64, 64], "halo": 0},
}


class Stranger:
    """A package with one model; changed by writing its files again."""

    def __init__(
        self, site: Path, *, package: str = "strange", name: str = "strange-spots", version: str = "1.0"
    ) -> None:
        self.site, self.package, self.name = site, package, name
        self.folder = site / package
        self.folder.mkdir(parents=True)
        self.info = site / f"{package}-{version}.dist-info"
        self.info.mkdir()
        (self.info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
        self.offer(f"{package}:detect")
        self.code(SPOTS)
        self.about()

    @property
    def marker(self) -> Path:
        """What is there once the code has run."""
        return self.site / "it-ran"

    def offer(self, value: str) -> None:
        """Name what the entry point stands for."""
        (self.info / "entry_points.txt").write_text(f"[napari_medlab.plugin_models]\n{self.name} = {value}\n")

    def code(self, text: str) -> None:
        """Write the module, which leaves a marker when it runs."""
        head = f"from pathlib import Path\nPath({str(self.marker)!r}).write_text('it ran')\n"
        (self.folder / "__init__.py").write_text(head + text)

    def about(self, **changes: object) -> None:
        """Write ``bundle.json``."""
        (self.folder / "bundle.json").write_text(json.dumps({**ABOUT, **changes}))
