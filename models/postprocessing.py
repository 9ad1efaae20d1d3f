"""What a network's outputs may go through on their way to objects: the settings that a bundle can name, by its task."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from napari_medlab.errors import InputRefusedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_medlab.models.bundles import Bundle

__all__ = ["OLDER_NAMES", "POSTPROCESSING", "at_threshold", "check_postprocessing", "checked_threshold"]

POSTPROCESSING: dict[str, frozenset[str]] = {
    "detection": frozenset({
        "threshold", "most", "overlap", "iou", "options", "merge_mm", "merge_iou", "merge_px", "test_time",
        "cluster",
    }),
    "segmentation": frozenset({
        "threshold", "least_area_um2", "least_volume_mm3", "least_voxels", "test_time", "probabilities",
    }),
    "classification": frozenset({"test_time"}),
}  # fmt: skip
"""The settings that are read, by task.

Detectors read those of :class:`~napari_medlab.models.detection.detections.DecodeSettings` and
:class:`~napari_medlab.models.inference.seams.SeamMerger`, segmenters those of
:class:`~napari_medlab.models.segmentation.objects.ObjectSettings`.
"""

OLDER_NAMES = frozenset({"most_per_tile"})
"""What older bundles say, and no new one does."""


def checked_threshold(value: float) -> float:
    """Return a threshold of scores that somebody asks for.

    Raises
    ------
    InputRefusedError
        With code ``"threshold"`` where it is not between 0 and 1.
    """
    if not 0 <= value <= 1:
        raise InputRefusedError(
            f"The threshold is a score from 0 to 1, got {value:g}.", code="threshold",
            hint="A lower one than the model's own finds more, a higher one less.",
        )  # fmt: skip
    return float(value)


def at_threshold(bundle: Bundle, threshold: float) -> Bundle:
    """Return a bundle that finds what scores so much; its hash stays that of the bundle itself.

    Raises
    ------
    InputRefusedError
        With code ``"threshold"`` where it is not between 0 and 1, or the bundle finds nothing but judges what others found.
    """
    if bundle.task == "classification":
        raise InputRefusedError(
            f"{bundle.title} judges candidates and leaves none of them out.", code="threshold",
            hint="Leave the threshold out, or give it to the model that proposes the candidates.",
        )  # fmt: skip
    postprocessing = {**bundle.postprocessing, "threshold": checked_threshold(threshold)}
    return replace(bundle, spec={**bundle.spec, "postprocessing": postprocessing})


def check_postprocessing(value: Mapping[str, Any], task: str) -> None:
    """Refuse settings that nothing would read, and symmetries that do not exist.

    Raises
    ------
    InputRefusedError
        With what is known in their place.
    """
    from napari_medlab.models.augmentation.symmetries import GROUPS, by_name
    from napari_medlab.models.detection.detections import DecodeSettings

    known = POSTPROCESSING.get(task, frozenset().union(*POSTPROCESSING.values()))
    if odd := sorted(set(value) - known):
        raise InputRefusedError(
            f"{', '.join(odd)} not known; known for {task} are {', '.join(sorted(known))}",
            code="postprocessing",
        )
    DecodeSettings.from_json(value)
    for name in value.get("test_time") or ():
        if name not in GROUPS:
            by_name(name, 3)
