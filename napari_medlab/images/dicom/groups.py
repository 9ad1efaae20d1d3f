"""The frames of a file: one as its header says, or many, each as its functional groups say (DICOM PS3.3 C.7.6.16)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from napari_medlab.errors import ImageRefusedError
from napari_medlab.images.dicom import fields
from napari_medlab.images.dicom.attributes import MACROS
from napari_medlab.images.dicom.frames import Frame
from napari_medlab.images.dicom.values import Elements, numbers, words
from napari_medlab.images.dicom.windows import windows_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_medlab.images.dicom.frames import DicomFile

__all__ = ["LABELS", "frames_of"]

LABELS = (
    "TemporalPositionIdentifier", "TemporalPositionIndex", "NominalPercentageOfCardiacPhase", "TriggerTime",
    "NominalCardiacTriggerDelayTime", "DiffusionBValue", "EchoTime", "EffectiveEchoTime", "EchoNumbers",
    "InversionTime", "FlipAngle", "FrameReferenceTime", "KVP", "ConvolutionKernel", "StackID",
    "AcquisitionNumber", "FrameAcquisitionNumber", "FrameType", "ImageType", "AcquisitionTime", "ContentTime",
)  # fmt: skip
"""What may tell frames at the same place apart, the most telling first."""
TEXTS = frozenset(
    {"ConvolutionKernel", "StackID", "FrameType", "ImageType", "AcquisitionTime", "ContentTime"}
)


def frames_of(file: DicomFile, elements: Elements) -> tuple[Frame, ...]:
    """Return the frames of a file in the order in which it holds them."""
    shared = elements.get("SharedFunctionalGroupsSequence")
    per_frame = elements.get("PerFrameFunctionalGroupsSequence")
    if shared is None and per_frame is None:
        if file.frames == 1:
            return (_frame(file, 0, elements),)
        one = _frame(file, 0, elements)
        # one place for all: that of the detector or of the first frame
        return tuple(_unplaced(one, number) for number in range(file.frames))
    if per_frame is not None and len(per_frame) != file.frames:
        raise ImageRefusedError(
            f"{file.path.name} holds {file.frames} frames and describes {len(per_frame)}.",
            code="frames",
            hint="The header is damaged; export the image again from its source.",
        )
    common = elements.with_later(_macros(shared[0] if shared else Elements()))
    groups = per_frame or [Elements()] * file.frames
    return tuple(
        _frame(file, number, common.with_later(_macros(group)) if group.sequences else common)
        for number, group in enumerate(groups)
    )


def _macros(group: Elements) -> Iterator[Elements]:
    for keyword in MACROS:
        items = group.get(keyword)
        if items:
            yield items[0]


def _frame(file: DicomFile, number: int, elements: Elements) -> Frame:
    slope, intercept = fields.rescale(file.path, elements)
    return Frame(
        file,
        number,
        slope=slope,
        intercept=intercept,
        has_rescale="RescaleSlope" in elements,
        has_table="ModalityLUTSequence" in elements,
        windows=windows_of(elements),
        position=fields.vector(file.path, elements, "ImagePositionPatient", 3),
        orientation=fields.orientation(file.path, elements),
        pixel_spacing=fields.pair(file.path, elements, "PixelSpacing"),
        thickness=fields.positive(elements, "SliceThickness"),
        labels=_labels(elements),
    )


def _unplaced(frame: Frame, number: int) -> Frame:
    return replace(frame, number=number, position=None, orientation=None)


def _labels(elements: Elements) -> dict[str, float | str]:
    found: dict[str, float | str] = {}
    for keyword in LABELS:
        if keyword not in elements:
            continue
        if keyword in TEXTS:
            found[keyword] = "\\".join(words(elements, keyword))
        elif values := numbers(elements, keyword):
            found[keyword] = values[0]
    return found
