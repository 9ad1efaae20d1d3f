"""File → Preferences → MedLab: how much memory an image may take, and how much disk the levels made of slides."""

from __future__ import annotations

import os
import shutil
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from napari_medlab.images import memory_budget_bytes, set_memory_budget
from napari_medlab.images.budget import VARIABLE as BUDGET_VARIABLE
from napari_medlab.images.isolation import close_reader
from napari_medlab.images.slides.tile_store import LIMIT_BYTES, LIMIT_VARIABLE, cache_folder
from napari_medlab.images.tiles.cache import LIMIT_BYTES as TILES_BYTES
from napari_medlab.images.tiles.cache import SHARE, shared_cache

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = [
    "apply_preferences", "chosen_keys", "explain", "follow", "follow_keys", "get_reader", "set_budget", "set_cache_limit",
]  # fmt: skip

PLUGIN, PAGE, KEYS_PAGE = "napari-medlab", "storage", "keys"
"""As the manifest names them."""
MIB = 1 << 20
PAUSE_SECONDS = 1.0
"""Numbers are typed digit by digit: the reader is ended only when no other has come for so long."""
_followed: list[Any] = []
_set_here: list[str] = []
_pending: list[threading.Timer] = []


def get_reader(path: str | Sequence[str]) -> Callable[[str | Sequence[str]], list[tuple[Any, ...]]] | None:
    """Return the reader of a path once the preferences hold, or None where it is not ours to read."""
    from napari_medlab.widgets.layers import readers

    apply_preferences()
    return readers.get_reader(path)


def apply_preferences() -> None:
    """Put what is stored into effect, now and whenever it changes; calling it again does nothing."""
    from napari.settings import get_plugin_settings

    with suppress(
        KeyError
    ):  # run from a folder that is not installed as a plugin, or one that is switched off
        stored = getattr(get_plugin_settings(PLUGIN), PAGE)
        if not any(stored is known for known in _followed):
            _followed[:] = [stored]
            explain(type(stored))
            follow(stored)


def follow(stored: Any) -> None:
    """Apply settings, and each change of them.

    Parameters
    ----------
    stored : napari.utils.events.EventedModel
        With ``memory_budget_mib`` and ``slide_cache_mib``.
    """
    set_budget(stored.memory_budget_mib)
    set_cache_limit(stored.slide_cache_mib)
    stored.events.memory_budget_mib.connect(_on_budget)
    stored.events.slide_cache_mib.connect(_on_cache)


def chosen_keys() -> dict[str, str]:
    """Return the key of each action as it stands in the preferences; none where the plugin is not installed."""
    stored = _keys()
    return {} if stored is None else {name: str(getattr(stored, name)) for name in type(stored).model_fields}


def follow_keys(changed: Callable[[dict[str, str]], None]) -> Callable[[], None]:
    """Call ``changed`` with all keys whenever one is changed in the preferences; return what ends that."""
    stored = _keys()
    if stored is None:
        return lambda: None

    def on_change(_: Any) -> None:
        changed(chosen_keys())

    stored.events.connect(on_change)
    return lambda: stored.events.disconnect(on_change)


def _keys() -> Any:
    from napari.settings import get_plugin_settings

    with suppress(KeyError):  # as in apply_preferences
        return getattr(get_plugin_settings(PLUGIN), KEYS_PAGE)
    return None


def set_budget(mib: int) -> None:
    """Set how much memory one decoded image may take; 0 is a quarter of the machine's.

    ``MEDLAB_MEMORY_BUDGET_MIB`` goes before it. Images that are open stay as they are.
    """
    if not os.environ.get(BUDGET_VARIABLE):
        set_memory_budget(mib * MIB or None)
        shared_cache().limit_bytes = min(memory_budget_bytes() // SHARE, TILES_BYTES)


def set_cache_limit(mib: int) -> None:
    """Set how much disk the levels made of slides may take; ``MEDLAB_CACHE_MIB`` goes before it where others set it.

    The process that reads images keeps them, and learns the limit when it starts: one that runs with another is ended,
    and the next image starts a new one. What it was asked is asked again.
    """
    known = os.environ.get(LIMIT_VARIABLE)
    if known is not None and known not in _set_here:
        return
    wanted = None if mib * MIB == LIMIT_BYTES else str(mib)
    if wanted == known:
        return
    _set_here[:] = [] if wanted is None else [wanted]
    if wanted is None:
        del os.environ[LIMIT_VARIABLE]
    else:
        os.environ[LIMIT_VARIABLE] = wanted
    threading.Thread(
        target=close_reader, name="end reader", daemon=True
    ).start()  # it may take two seconds to go


def explain(model: Any) -> None:
    """Say in the page of preferences what its numbers mean on this machine.

    Parameters
    ----------
    model : type of EventedModel
        What napari made of the manifest's texts.
    """
    import psutil

    memory = int(psutil.virtual_memory().total)
    folder = cache_folder()
    there = next(place for place in (folder, *folder.parents) if place.exists())
    said = {
        "memory_budget_mib": f"Here: {memory // MIB:,} MiB in all, a quarter of it is {memory // 4 // MIB:,} MiB."
        + _overruled(BUDGET_VARIABLE),
        "slide_cache_mib": f"Here: {folder}, on a disk with {shutil.disk_usage(there).free // MIB:,} MiB free."
        + _overruled(LIMIT_VARIABLE),
    }
    for name, text in said.items():
        field = model.model_fields[name]
        field.description = f"{str(field.description).split(' Here: ')[0]} {text}"
    model.model_rebuild(force=True)


def _overruled(variable: str) -> str:
    stated = os.environ.get(variable)
    return (
        "" if not stated or stated in _set_here else f" The variable {variable} sets it to {stated} instead."
    )


def _on_budget(event: Any) -> None:
    set_budget(int(event.value))


def _on_cache(event: Any) -> None:
    for timer in _pending:
        timer.cancel()
    timer = threading.Timer(PAUSE_SECONDS, set_cache_limit, [int(event.value)])
    timer.daemon = True
    _pending[:] = [timer]
    timer.start()
