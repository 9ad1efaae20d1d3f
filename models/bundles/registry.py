"""Finding bundles: by name, by hash, by folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_medlab.errors import InputRefusedError
from napari_medlab.models.bundles.bundle import SPEC, Bundle, read_bundle
from napari_medlab.models.plugins.discovery import plugins

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "bundle_paths",
    "find_bundle",
    "find_bundles",
    "plugin_bundles",
    "plugin_paths",
    "shipped_bundles",
    "usable_bundles",
]

ZOO = Path(__file__).resolve().parent.parent / "zoo"


def bundle_paths(folder: Path) -> list[Path]:
    """Return the folders of the bundles that lie directly in a folder; one that is missing holds none.

    What a killed process left half written is none either.
    """
    return [spec.parent for spec in sorted(folder.glob(f"*/{SPEC}")) if ".partial-" not in spec.parent.name]


def bundles_in(folder: Path) -> list[Bundle]:
    """Return the bundles that lie directly in a folder, by name."""
    return [read_bundle(path) for path in bundle_paths(folder)]


def shipped_bundles() -> list[Bundle]:
    """Return the bundles that came with the package."""
    return bundles_in(ZOO)


def plugin_paths() -> list[Path]:
    """Return the folders of the models that installed packages offer; nothing of the packages is run."""
    return [plugin.folder for plugin in plugins()]


def plugin_bundles() -> list[Bundle]:
    """Return the models of installed packages that can be used, allowed to run or not."""
    return usable_bundles(plugin_paths())[0]


def find_bundle(wanted: str, folders: Iterable[Path] = ()) -> Bundle:
    """Return the bundle of a name, of a hash (at least its first eight digits), or in a folder.

    Parameters
    ----------
    wanted : str
    folders : searched before the bundles that ship and the models of installed packages, such as a project's ``bundles``

    Raises
    ------
    InputRefusedError
        Where there is none, or more than one: a project knows which of several is meant, see
        :func:`napari_medlab.models.workflows.naming.model_in_project`.
    """
    matches = find_bundles(wanted, folders)
    if len(matches) == 1:
        return matches[0]
    raise InputRefusedError(
        f"{len(matches)} models are called {wanted!r}: {', '.join(b.title for b in matches)}.", code="unknown-model",
        hint="Give the first eight digits of a hash, or a bundle's folder.",
    )  # fmt: skip


def find_bundles(wanted: str, folders: Iterable[Path] = ()) -> list[Bundle]:
    """Return every version that :func:`find_bundle` may be asked for by a name, a hash or a folder: at least one.

    Raises
    ------
    InputRefusedError
        Where there is none.
    """
    if (Path(wanted) / SPEC).exists():
        return [read_bundle(Path(wanted))]
    paths = [path for folder in (*folders, ZOO) for path in bundle_paths(folder)]
    known, damaged = usable_bundles([*paths, *plugin_paths()])
    matches = [b for b in known if len(wanted) >= 8 and b.hash.startswith(wanted)]
    matches = matches or [b for b in known if b.name == wanted]
    if matches:
        return matches
    if damaged:
        raise damaged[0]
    names = ", ".join(b.title for b in known) or "none"
    raise InputRefusedError(
        f"No model is called {wanted!r}. Known: {names}.", code="unknown-model",
        hint="Give a name, the first eight digits of a hash, or a bundle's folder.",
    )  # fmt: skip


def usable_bundles(paths: Iterable[Path]) -> tuple[list[Bundle], list[InputRefusedError]]:
    """Return the bundles in some folders that can be used, each version once, and why the others cannot."""
    known: dict[str, Bundle] = {}
    damaged = []
    for path in paths:
        try:
            bundle = read_bundle(path)
        except InputRefusedError as error:
            damaged.append(error)
        else:
            known.setdefault(bundle.hash, bundle)
    return list(known.values()), damaged
