"""Importing the code of another package: the very bytes that were hashed, and nothing else of it."""

from __future__ import annotations

import sys
from functools import partial
from hashlib import sha256
from importlib import import_module, invalidate_caches
from importlib.abc import MetaPathFinder
from importlib.machinery import (
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    ModuleSpec,
    SourceFileLoader,
)
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_medlab.errors import InputRefusedError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

    from napari_medlab.models.plugins.discovery import Plugin

__all__ = ["imported"]


def imported(plugin: Plugin, digests: dict[str, str]) -> Any:  # noqa: ANN401 - whatever the entry point names
    """Return what a plug-in's entry point names, of exactly these files; they stay the only ones that its packages load.

    Parameters
    ----------
    plugin : Plugin
    digests : dict
        The SHA-256 of each of its files, as :meth:`~napari_medlab.models.plugins.discovery.Plugin.digests` returned them
        when the person's permission was looked up.

    Raises
    ------
    InputRefusedError
        ``"code"`` where a file is not the one that was hashed, or was not there then; or the code cannot be imported.
    """
    known = next(
        (each for each in sys.meta_path if isinstance(each, _Finder) and each.tops == plugin.tops), None
    )
    if known is None or known.digests != digests:
        _forget(plugin.tops)
        sys.meta_path.insert(0, _Finder(plugin, digests))
        invalidate_caches()
    try:
        found: Any = import_module(plugin.entry.module)
        for name in plugin.entry.attr.split("."):
            found = getattr(found, name)
    except InputRefusedError:
        raise
    except Exception as error:
        raise InputRefusedError(
            f"The code of {plugin.distribution} cannot be loaded: {plugin.entry.value} gave {type(error).__name__}: {error}.",
            code="code", hint="Tell its makers, or install what it needs.",
        ) from error  # fmt: skip
    return found


def _forget(tops: Sequence[str]) -> None:
    """Take modules of these packages out of the process: they may be of another version."""
    sys.meta_path[:] = [
        each for each in sys.meta_path if not (isinstance(each, _Finder) and set(each.tops) & set(tops))
    ]
    for name in [name for name in sys.modules if name.partition(".")[0] in tops]:
        del sys.modules[name]


class _Finder(MetaPathFinder):
    """Finds the modules of one plug-in, for loaders that compare what they read with its digests."""

    def __init__(self, plugin: Plugin, digests: dict[str, str]) -> None:
        self.tops, self.digests = plugin.tops, digests
        self._site = plugin.site

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] not in self.tops:
            return None
        loaders = (
            (partial(_Extension, self), EXTENSION_SUFFIXES),
            (partial(_Source, self), SOURCE_SUFFIXES),
        )
        for place in [str(self._site)] if path is None else path:
            spec = FileFinder(place, *loaders).find_spec(fullname)  # type: ignore[arg-type]  # it takes whatever makes loaders
            if spec is not None and spec.loader is not None:
                return spec
        return None

    def checked(self, path: str, content: bytes) -> bytes:
        """Return what was read of a file, where it is what was hashed."""
        place = Path(path)
        name = place.relative_to(self._site).as_posix() if place.is_relative_to(self._site) else path
        if sha256(content).hexdigest() != self.digests.get(name):
            raise InputRefusedError(
                f"{path} is not the file that was there when the code was looked at, so it is not run.",
                code="code", hint="Start again; changed code is to be allowed anew.",
            )  # fmt: skip
        return content


class _Source(SourceFileLoader):
    """Compiles what it checked; bytecode, which may be of anything, is neither read nor written."""

    def __init__(self, finder: _Finder, fullname: str, path: str) -> None:
        super().__init__(fullname, path)
        self._finder = finder

    def path_stats(self, path: str) -> Any:  # noqa: ANN401 - never returns
        """Say that nothing is known of the source's age, without which bytecode is not used."""
        raise OSError(path)

    def get_data(self, path: str) -> bytes:
        """Return a file that is the one that was hashed."""
        return self._finder.checked(path, super().get_data(path))


class _Extension(ExtensionFileLoader):
    """Loads compiled modules that are the ones that were hashed."""

    def __init__(self, finder: _Finder, fullname: str, path: str) -> None:
        super().__init__(fullname, path)
        self._finder = finder

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return the module, checked before the system loads it."""
        self._finder.checked(str(self.path), Path(self.path).read_bytes())
        return super().create_module(spec)
