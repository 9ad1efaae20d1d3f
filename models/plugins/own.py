"""A model of one's own package, opened for its own tests."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from napari_medlab.errors import InputRefusedError

if TYPE_CHECKING:
    from napari_medlab.models.plugins.opening import Guarded

__all__ = ["own_model"]


def own_model(name: str, *, device: str = "auto") -> Guarded:
    """Return the model of an installed package, as runs use it, without asking whether its code is allowed.

    It is for whoever writes the package: the code runs as any that is imported.

    Parameters
    ----------
    name : str
        That of its entry point in the group ``napari_medlab.plugin_models``.
    device : str

    Raises
    ------
    InputRefusedError
        ``"unknown-model"`` where no installed package offers it; where its ``bundle.json`` cannot be used.
    """
    from napari_medlab.models.bundles import read_bundle
    from napari_medlab.models.plugins.discovery import GROUP, plugins
    from napari_medlab.models.plugins.opening import model_of

    plugin = next((each for each in plugins() if each.name == name), None)
    if plugin is None:
        raise InputRefusedError(
            f"No installed package offers a model called {name!r} in the entry points {GROUP}.", code="unknown-model",
            hint="Install the package (pip install -e .); its entry point names a function in a folder with bundle.json.",
        )  # fmt: skip
    named: Any = import_module(plugin.entry.module)
    for part in plugin.entry.attr.split("."):
        named = getattr(named, part)
    return model_of(read_bundle(plugin.folder), named, device, lambda: None)
