"""A bundle becomes a model that works on images."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from napari_medlab.models.postprocessing import at_threshold
from napari_medlab.models.predicting.classifier import BundleClassifier
from napari_medlab.models.predicting.detector import BundleDetector
from napari_medlab.models.predicting.placing import Wanted
from napari_medlab.models.predicting.segmenter import BundleSegmenter

if TYPE_CHECKING:
    from napari_medlab.models.bundles import Bundle
    from napari_medlab.models.plugins.opening import Guarded

__all__ = ["Model", "open_model"]

Model: TypeAlias = "BundleDetector | BundleSegmenter | BundleClassifier | Guarded"

MODELS: dict[str, type[BundleDetector] | type[BundleSegmenter] | type[BundleClassifier]] = {
    "detection": BundleDetector,
    "segmentation": BundleSegmenter,
    "classification": BundleClassifier,
}


def open_model(
    bundle: Bundle, *, device: str = "auto", precision: str = "auto", may_compile: bool = False,
    threshold: float | None = None,
) -> Model:  # fmt: skip
    """Return what a bundle's task makes of it, ready to work.

    Parameters
    ----------
    bundle : Bundle
    device : str
        ``"auto"``: all CUDA devices, else Apple's GPU, else the CPU; or one by name, such as ``"cuda:1"``.
    precision : str
        ``"auto"``: the fastest that a test of about a second finds to be right; or ``"float32"``, ``"bfloat16"``,
        ``"float16"`` or ``"openvino"``.
    may_compile : bool
        Whether ``torch.compile`` may be tried, on CUDA devices, which takes a minute.
    threshold : float, optional
        The least score, 0 … 1, in place of the bundle's own: a lower one to look at more candidates, or to train on them.

    Raises
    ------
    InputRefusedError
        Where the bundle cannot be used, or what was asked for is not to be had here; ``"not-allowed"`` where it is code of
        another package that nobody allowed to run.
    """
    at = bundle if threshold is None else at_threshold(bundle, threshold)
    if bundle.code is not None:
        from napari_medlab.models.plugins.opening import open_code

        return open_code(at, device=device, precision=precision)
    return MODELS[bundle.task](at, Wanted(device, precision, may_compile))
