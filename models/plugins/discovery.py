"""Which models other packages offer, told without importing any of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from hashlib import file_digest, sha256
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = ["GROUP", "Plugin", "digest_of", "plugin_at", "plugins"]

GROUP = "napari_medlab.plugin_models"
"""The group of entry points; each names a function or class in a package that holds a ``bundle.json``."""

BYTECODE = "__pycache__"


@dataclass(frozen=True)
class Plugin:
    """A model that a package offers.

    Parameters
    ----------
    entry : EntryPoint
        Its name is the model's, its value ``package.folder:function``.
    folder : Path
        That of the package in which the function is, and ``bundle.json``.
    """

    entry: EntryPoint
    folder: Path

    @property
    def name(self) -> str:
        """The model's name."""
        return self.entry.name

    @property
    def distribution(self) -> str:
        """The name of what was installed; empty where it does not say."""
        return "" if self.entry.dist is None else str(self.entry.dist.name)

    @property
    def version(self) -> str:
        """The version of what was installed; empty where it does not say."""
        return "" if self.entry.dist is None else str(self.entry.dist.version)

    @property
    def site(self) -> Path:
        """The folder from which the package is imported."""
        return self.folder.parents[self.entry.module.count(".")]

    @cached_property
    def tops(self) -> tuple[str, ...]:
        """The packages and modules of the distribution that lie at the top: that of the model and those beside it."""
        listed = () if self.entry.dist is None else self.entry.dist.files or ()
        others = {
            PurePosixPath(file.parts[0]).stem
            for file in listed
            if file.suffix == ".py" and file.parts[0] not in ("..", BYTECODE) and not file.parts[0].startswith("__editable__")
        }  # fmt: skip
        return tuple(sorted({self.entry.module.partition(".")[0], *others}))

    def digests(self) -> dict[str, str]:
        """Return the SHA-256 of every file of the packages, by its path from :attr:`site`; compiled bytecode does not count.

        Raises
        ------
        OSError
            Where one cannot be read.
        """
        return {path.relative_to(self.site).as_posix(): _sha256(path) for path in self.files()}

    def files(self) -> list[Path]:
        """Return every file of the packages: what is imported, and what lies beside it, such as weights."""
        found: list[Path] = []
        for top in self.tops:
            module = self.site / f"{top}.py"
            found += [module] if module.is_file() else []
            inside = (self.site / top).rglob("*")
            found += [path for path in inside if path.is_file() and BYTECODE not in path.parts]
        return sorted(found)


def plugins() -> list[Plugin]:
    """Return the models that installed packages offer, by name; nothing of the packages is run.

    Those whose folder cannot be told without running something (a namespace package, a lone module) are left out.
    """
    found = []
    for entry in sorted(entry_points(group=GROUP), key=lambda each: (each.name, each.value)):
        folder = _folder_of(entry.module)
        if folder is not None:
            found.append(Plugin(entry, folder))
    return found


def plugin_at(folder: Path) -> Plugin | None:
    """Return the model that a package offers from a folder; None where there is none."""
    wanted = folder.resolve()
    return next((plugin for plugin in plugins() if plugin.folder.resolve() == wanted), None)


def digest_of(digests: dict[str, str]) -> str:
    """Return one SHA-256 for many files."""
    lines = "".join(f"{name}\0{value}\n" for name, value in sorted(digests.items()))
    return sha256(lines.encode()).hexdigest()


def _folder_of(module: str) -> Path | None:
    """Return the folder of a package; None where it is not there, or no package with a file of its own."""
    top, *rest = module.split(".")
    try:
        spec = find_spec(top)  # of a name without dots nothing is imported
    except (ImportError, ValueError):
        return None
    if spec is None or not spec.origin or not spec.submodule_search_locations:
        return None
    folder = Path(spec.origin).absolute().parent.joinpath(*rest)
    return folder if (folder / "__init__.py").is_file() else None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()
