"""From a bundle that is code to a model at work, once a person allowed that very code."""

from __future__ import annotations

from inspect import signature
from typing import TYPE_CHECKING, Any

from napari_medlab.errors import InputRefusedError
from napari_medlab.models.plugins.discovery import digest_of, plugin_at
from napari_medlab.models.plugins.functions import FunctionClassifier, FunctionDetector, FunctionSegmenter
from napari_medlab.models.plugins.guarded import GuardedClassifier, GuardedDetector, GuardedSegmenter
from napari_medlab.models.plugins.importing import imported
from napari_medlab.models.plugins.permission import check_allowed
from napari_medlab.protocols import Classifier, Detector, Segmenter

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_medlab.models.bundles import Bundle
    from napari_medlab.models.plugins.discovery import Plugin

    Guarded = GuardedDetector | GuardedSegmenter | GuardedClassifier

__all__ = ["model_of", "open_code"]

PROTOCOLS: dict[str, Any] = {
    "detection": (Detector, FunctionDetector, GuardedDetector),
    "segmentation": (Segmenter, FunctionSegmenter, GuardedSegmenter),
    "classification": (Classifier, FunctionClassifier, GuardedClassifier),
}
"""By task: what a model is, what makes one of a function, and what guards it."""


def open_code(bundle: Bundle, *, device: str = "auto", precision: str = "auto") -> Guarded:
    """Return the model that a bundle's code makes; the code is imported here, and nowhere before.

    Parameters
    ----------
    bundle : Bundle
        Whose :attr:`~napari_medlab.models.bundles.Bundle.code` is not None.
    device, precision : str
        As :func:`napari_medlab.models.predicting.open_model` takes them. A class with a parameter ``device`` is told of it.

    Raises
    ------
    InputRefusedError
        ``"not-allowed"`` where nobody allowed this very code; ``"code"`` where it is not there, was changed or cannot be
        loaded; ``"device"`` or ``"precision"`` where it cannot be told of what was asked for.
    """
    check_allowed(bundle)
    plugin = plugin_at(bundle.folder)
    digests = {} if plugin is None else plugin.digests()
    if plugin is None or digest_of(digests) != bundle.spec["weights_sha256"]:
        raise changed(bundle)
    stamps = _stamps(plugin)

    def check() -> None:
        if _stamps(plugin) != stamps:
            raise changed(bundle)

    if precision not in ("auto", "float32"):
        raise InputRefusedError(
            f"{bundle.title} is code, which computes in the precision that it chooses itself; {precision} was asked for.",
            code="precision", hint="Leave the precision out.",
        )  # fmt: skip
    return model_of(bundle, imported(plugin, digests), device, check)


def model_of(bundle: Bundle, named: Any, device: str, check: Callable[[], None]) -> Guarded:  # noqa: ANN401 - of strangers
    """Return the guarded model that a function or class of a package makes.

    Parameters
    ----------
    bundle : Bundle
    named : object
        A class is made once, without arguments but ``device`` where it has such a parameter. What it makes, or anything
        else, is a detector, segmenter or classifier, or is called as
        :mod:`~napari_medlab.models.plugins.functions` says.
    device : str
    check : callable
        Raises where the code is not what it was any more.

    Raises
    ------
    InputRefusedError
        ``"device"`` where it cannot be told of the device; ``"code"`` where it is neither a model nor a function.
    """
    takes_device = isinstance(named, type) and "device" in signature(named).parameters
    if device not in ("auto", "cpu") and not takes_device:
        raise InputRefusedError(
            f"{bundle.title} is code, which runs where it chooses itself; {device} was asked for.",
            code="device", hint="Leave the device out.",
        )  # fmt: skip
    made = named
    if isinstance(named, type):
        made = named(device=device) if takes_device else named()
    protocol, function, guarded = PROTOCOLS[bundle.task]
    if not isinstance(made, protocol):
        if not callable(made):
            raise InputRefusedError(
                f"{bundle.title} names a {type(made).__name__}, which is no {protocol.__name__} and cannot be called.",
                code="code", hint="Its entry point is to name a function or a class.",
            )  # fmt: skip
        made = function(bundle, made)
    return guarded(bundle, made, device if takes_device else "cpu", check)  # type: ignore[no-any-return]


def changed(bundle: Bundle) -> InputRefusedError:
    """Return what is told where code is not what it was when it was looked at."""
    return InputRefusedError(
        f"The code of {bundle.title} in {bundle.folder} was changed or removed since it was looked at.",
        code="code", hint=f"Start again; changed code is to be allowed anew: napari-medlab models allow {bundle.name}",
    )  # fmt: skip


def _stamps(plugin: Plugin) -> list[tuple[str, int, int]]:
    """Return what tells cheaply that a file was changed."""
    return [(str(path), (about := path.stat()).st_size, about.st_mtime_ns) for path in plugin.files()]
