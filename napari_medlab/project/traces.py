"""Where else a case has gone: exports, packages and samples that hold it, and the models that were trained on them."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_medlab.project.layout import BUNDLES

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from napari_medlab.project.project import Project

__all__ = ["Traces", "traces_of"]

MANIFEST = "manifest.json"
MOST_BYTES = 256 << 20
"""A longer document is taken for one that names the case."""


@dataclass(frozen=True)
class Traces:
    """What was written of some cases, and is left as it is.

    Parameters
    ----------
    folders : tuple of str
        Exports, packages and samples whose manifest names one of the cases, or a file of which is called so.
    unseen : tuple of str
        Exports that the project remembers and that are no longer where they were written: they may hold a case.
    models : tuple of str
        The names of models that were trained on one of these folders, and of models that were trained from those.
    """

    folders: tuple[str, ...]
    unseen: tuple[str, ...]
    models: tuple[str, ...]


def traces_of(project: Project, case_ids: Collection[str]) -> Traces:
    """Look for cases in what was written out, and for models that learned from it; nothing is changed."""
    key = re.compile("|".join(map(re.escape, sorted(case_ids))) or "(?!)")
    remembered = {(project.folder / export.path).absolute() for export in project.exports()}
    near = {path.parent.absolute() for path in (project.folder / "exports").glob(f"*/{MANIFEST}")}
    found = [folder for folder in sorted(remembered | near) if _holds(folder, key)]
    unseen = [str(folder) for folder in sorted(remembered) if not folder.exists()]
    digests = [_digest(folder / MANIFEST) for folder in found if (folder / MANIFEST).is_file()]
    learned = re.compile("|".join([key.pattern, *digests]))
    return Traces(tuple(map(str, found)), tuple(unseen), tuple(_models(project, learned)))


def _holds(folder: Path, key: re.Pattern[str]) -> bool:
    return _says(folder / MANIFEST, key) or any(key.search(path.name) for path in folder.rglob("*"))


def _models(project: Project, learned: re.Pattern[str]) -> list[str]:
    """Return the models whose description names what was learned from, with those that descend from them."""
    bundles = project.bundles()
    tainted: set[str] = set()
    for record in bundles:  # a parent is older than its children
        folder = project.folder / record.path
        if record.parent in tainted or (record.path and any(_says(path, learned) for path in _texts(folder))):
            tainted.add(record.hash)
    known = {(project.folder / record.path).absolute() for record in bundles}
    # trainings that were paused, and models that were not taken into the project
    rest = [path for path in sorted((project.folder / BUNDLES).glob("*")) if path.absolute() not in known]
    others = [path.name for path in rest if any(_says(text, learned) for text in _texts(path))]
    return [record.name for record in bundles if record.hash in tainted] + others


def _texts(folder: Path) -> Iterator[Path]:
    yield from sorted(path for path in folder.glob("*.json*") if path.is_file())


def _says(path: Path, wanted: re.Pattern[str]) -> bool:
    if path.is_symlink() or not path.is_file():
        return False
    return path.stat().st_size > MOST_BYTES or wanted.search(path.read_text(errors="replace")) is not None


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
