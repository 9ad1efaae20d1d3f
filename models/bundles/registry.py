"""Finding bundles: by name, by hash, by folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_medlab.errors import InputRefusedError
from napari_medlab.models.bundles.bundle import SPEC, Bundle, read_bundle

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["find_bundle", "shipped_bundles"]

ZOO = Path(__file__).resolve().parent.parent / "zoo"


def bundles_in(folder: Path) -> list[Bundle]:
    """Return the bundles that lie directly in a folder, by name; a folder that is missing holds none."""
    return [read_bundle(spec.parent) for spec in sorted(folder.glob(f"*/{SPEC}"))]


def shipped_bundles() -> list[Bundle]:
    """Return the bundles that came with the package."""
    return bundles_in(ZOO)


def find_bundle(wanted: str, folders: Iterable[Path] = ()) -> Bundle:
    """Return the bundle of a name, of a hash (at least its first eight digits), or in a folder.

    Parameters
    ----------
    wanted : str
    folders : searched before the bundles that ship, such as a project's ``bundles``

    Raises
    ------
    InputRefusedError
        Where there is none, or more than one.
    """
    if (Path(wanted) / SPEC).exists():
        return read_bundle(Path(wanted))
    known = [bundle for folder in folders for bundle in bundles_in(folder)] + shipped_bundles()
    by_hash = {b.hash: b for b in known if len(wanted) >= 8 and b.hash.startswith(wanted)}
    matches = list(by_hash.values()) or [b for b in known if b.name == wanted]
    if len(matches) == 1:
        return matches[0]
    names = ", ".join(b.title for b in known) or "none"
    reason = f"{len(matches)} models are called" if matches else "No model is called"
    raise InputRefusedError(
        f"{reason} {wanted!r}. Known: {names}.", code="unknown-model",
        hint="Give a name, the first eight digits of a hash, or a bundle's folder.",
    )  # fmt: skip
