"""DICOM structure sets (RTSTRUCT; PS3.3, C.8.8): contours of regions of interest, in LPS millimetres.

Contours of one region on one slice follow the even-odd rule: one inside another is a hole, whether it is called
``CLOSED_PLANAR`` or ``CLOSEDPLANAR_XOR``. A keyhole (one contour that runs to the hole and back on the same line) comes to
the same by itself. What is written has nested contours, which most programs take so.
"""

from __future__ import annotations

import warnings
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from napari_medlab import __version__
from napari_medlab.annotations.formats.dicom_objects import (
    MANUFACTURER,
    SourceSeries,
    check_place,
    decimals,
    dicom_faults,
    is_dicom_of,
    items,
    known_id,
    plain_text,
    read_object,
    refused,
    save_new,
    series_about,
    source_datasets,
    written_label,
)
from napari_medlab.annotations.formats.voxel_outlines import image_regions
from napari_medlab.annotations.objects import Region, new_id
from napari_medlab.errors import InputRefusedError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pydicom.dataelem import RawDataElement
    from pydicom.dataset import Dataset

    from napari_medlab.annotations.image_regions import ImageRegions
    from napari_medlab.geometry import Grid

__all__ = ["read", "series_of", "sniff", "write"]

STRUCTURE_SET = "1.2.840.10008.5.1.4.1.1.481.3"
CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
POINT = "POINT"
FLATNESS = 0.1
"""How far apart, in slices, the points of one contour may lie across the slices."""
ON_SLICE = 0.01
"""How far, in slices, a contour may lie beside a slice and still count as on it."""
FARTHEST = 1e7
"""No contour lies further out, in voxels."""
DECIMALS = 8
"""Indices are rounded so: decimal strings of 16 characters are good for about 1e-10 of a voxel."""
COPIED = (
    "SpecificCharacterSet", "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID", "StudyDate",
    "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName",
)  # fmt: skip
"""Of the images' headers, which are made here too and hold nothing of a patient."""
CONTOUR_DATA = 0x30060050
COLOUR = ["255", "0", "0"]


def sniff(path: str | Path) -> bool:
    """Tell by the beginning of a file whether it is a DICOM structure set; never raises."""
    return is_dicom_of(path, (STRUCTURE_SET,))


def series_of(path: str | Path) -> tuple[str, ...]:
    """Return the UIDs of the series that a file is about; raise as :func:`read`."""
    path = Path(path)
    dataset = read_object(path, (STRUCTURE_SET,), "DICOM structure set")
    try:
        return tuple(_references(dataset)[1])
    except dicom_faults() as error:
        raise refused(path, f"the structure set is damaged: {error}") from error


def read(path: str | Path, grid: Grid, *, expected: SourceSeries | None = None) -> list[ImageRegions]:
    """Return the regions of interest of a file as outlines on an image.

    Parameters
    ----------
    path : str or Path
    grid : Grid
        The image's, in LPS mm. Each contour belongs to the slice that it is nearest to, and must lie within one.
    expected : SourceSeries, optional
        What is known about the image: a file about another series or frame of reference is refused.

    Returns
    -------
    list of one ImageRegions
        A region for each region of interest that has closed contours. ``image`` is the UID of the series that the file is
        about, or the file's name. ``extra`` holds ``series_uids``, ``frame_of_reference_uids``, ``rois`` (label and region
        id by number), ``points`` (label and LPS position of each), ``left_out`` (how many contours of what other kinds)
        and ``moved_mm``, how far the farthest contour was moved to its slice.

    Raises
    ------
    InputRefusedError
        With code ``"dicom"`` where the file cannot be read or is damaged, ``"frame-of-reference"`` or ``"series"`` where
        it belongs to another image, ``"geometry"`` where a contour runs across slices or lies outside of them, or two of
        a region at different heights come to lie on one slice.
    """
    path = Path(path)
    dataset = read_object(path, (STRUCTURE_SET,), "DICOM structure set")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            frames, series = _references(dataset)
            check_place(path, expected, frames[0] if len(frames) == 1 else "", series)
            return [_read(path, dataset, grid, frames, series)]
    except InputRefusedError:
        raise
    except dicom_faults() as error:
        raise refused(path, f"the structure set is damaged: {error}") from error


def write(path: str | Path, image: ImageRegions, grid: Grid, *, source: SourceSeries | None = None) -> None:
    """Write the outlines of one image as a structure set, one region of interest for each.

    The header is built from nothing: the case's key (``image.image``) is the patient's name and number, UIDs are random
    where ``source`` does not give them, regions carry label (64 characters of it), number and id.

    Parameters
    ----------
    path : str or Path
        A new file.
    image : ImageRegions
    grid : Grid
        The image's, of three axes, in LPS mm.
    source : SourceSeries, optional
        The images it is about, where a clinical system must find them again; they are not told otherwise.

    Raises
    ------
    InputRefusedError
        With code ``"exists"`` where there is such a file, ``"unsupported-output"`` for an image that is no volume in mm,
        or an outline of fewer than three vertices.
    DiskError
        Where it cannot be written.
    """
    from pydicom.sequence import Sequence as Items

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about a patient's name of one word
        header = source_datasets(image.image, grid, source, [0])[0]
        dataset = _structure_set(header, source)
        rows = [image.regions.region(row) for row in range(len(image))]
        frame_uid = header.FrameOfReferenceUID
        dataset.StructureSetROISequence = Items(
            [_roi(n, region, frame_uid) for n, region in enumerate(rows, 1)]
        )
        dataset.ROIContourSequence = Items(
            [_contours(n, region, grid, source) for n, region in enumerate(rows, 1)]
        )
        dataset.RTROIObservationsSequence = Items(
            [_observation(number) for number in range(1, len(rows) + 1)]
        )
        save_new(Path(path), dataset)


class _Contour(NamedTuple):
    """A closed contour on the slice that it is nearest to: its ring (y, x), and the index at which it lay."""

    slice: int
    height: float
    ring: NDArray[np.float64]


def _read(path: Path, dataset: Dataset, grid: Grid, frames: list[str], series: list[str]) -> ImageRegions:
    image = series_about(path, series)
    names = {
        int(item.ROINumber): (
            plain_text(item.get("ROIName"), f"roi {item.ROINumber}"),
            str(item.get("ROIDescription", "")),
        )
        for item in items(dataset, "StructureSetROISequence")
    }
    regions: list[Region] = []
    rois = {str(number): {"label": name, "region": ""} for number, (name, _) in names.items()}
    points: list[dict[str, Any]] = []
    left_out: dict[str, int] = {}
    moved = 0.0
    for item in items(dataset, "ROIContourSequence"):
        number = int(item.ReferencedROINumber)
        if number not in names:
            raise refused(path, f"contours are of the region of interest {number}, which is not described")
        name, description = names[number]
        contours: list[_Contour] = []
        for place, contour in enumerate(items(item, "ContourSequence"), start=1):
            kind, world = str(contour.get("ContourGeometricType", "")), _points(contour)
            if kind == POINT:
                points += [{"label": name, "position": position} for position in world.tolist()]
            elif kind not in CLOSED or len(world) < 3:
                kind = plain_text(kind, "(none)")
                left_out[kind] = left_out.get(kind, 0) + 1
            else:
                contours.append(_placed(path, f"contour {place} of {name!r}", world, grid))
        _check_heights(path, name, contours)
        if contours:
            moved = max(moved, *(abs(contour.height - contour.slice) for contour in contours))
            taken = {region.region_id for region in regions}
            regions.append(_region(image, name, known_id(description, taken), contours))
            rois[str(number)]["region"] = regions[-1].region_id
    extra = {
        "series_uids": series, "frame_of_reference_uids": frames, "rois": rois, "points": points, "left_out": left_out,
        "moved_mm": moved * grid.spacing[0] if moved > ON_SLICE else 0.0,
    }  # fmt: skip
    return image_regions(image, regions, grid.shape, extra=extra)


def _references(dataset: Dataset) -> tuple[list[str], list[str]]:
    """Return the frames of reference and the series that a file is about."""
    frames = {
        str(item.get("FrameOfReferenceUID", ""))
        for item in items(dataset, "ReferencedFrameOfReferenceSequence")
    }
    frames |= {
        str(item.get("ReferencedFrameOfReferenceUID", ""))
        for item in items(dataset, "StructureSetROISequence")
    }
    nested = ("ReferencedFrameOfReferenceSequence", "RTReferencedStudySequence", "RTReferencedSeriesSequence")
    series = {str(item.get("SeriesInstanceUID", "")) for item in items(dataset, *nested)}
    return sorted(frames - {""}), sorted(series - {""})


def _points(contour: Dataset) -> NDArray[np.float64]:
    """Return the points of a contour, (n, 3) in LPS mm."""
    value = contour.get_item("ContourData").value
    # numbers by the million: as bytes, without an object for each
    numbers = value.replace(b"\0", b" ").split(b"\\") if isinstance(value, bytes) else list(value or ())
    world = np.asarray(numbers, dtype=np.float64) if numbers else np.zeros(0)
    if world.size % 3 or not np.isfinite(world).all():
        raise ValueError(f"{world.size} numbers stand where points of three finite ones are expected")
    return world.reshape(-1, 3)


def _placed(path: Path, what: str, world: NDArray[np.float64], grid: Grid) -> _Contour:
    """Return a contour on its slice; refuse one that runs across slices, or lies outside of them."""
    indices = grid.to_index(world)
    if not np.abs(indices).max() <= FARTHEST:
        raise _misplaced(path, f"{what} lies nowhere near the image")
    heights = indices[:, 0]
    if np.ptp(heights) > FLATNESS:
        raise _misplaced(path, f"{what} runs across {np.ptp(heights):.2f} slices")
    height = float(heights.mean())
    nearest = round(height)
    if not 0 <= nearest < grid.shape[0]:
        raise _misplaced(path, f"{what} lies at the slice {height:.1f}, and the image has {grid.shape[0]}")
    return _Contour(nearest, height, np.round(indices[:, 1:], DECIMALS))


def _check_heights(path: Path, name: str, contours: list[_Contour]) -> None:
    """Refuse contours at different heights that come to lie on one slice: they would cut holes into one another."""
    lowest: dict[int, float] = {}
    for contour in contours:
        first = lowest.setdefault(contour.slice, contour.height)
        if abs(first - contour.height) > FLATNESS:
            raise _misplaced(path, f"contours of {name!r} at two heights fall on the slice {contour.slice}")


def _region(image: str, label: str, region_id: str, contours: list[_Contour]) -> Region:
    planes: dict[int, list[NDArray[np.float64]]] = {}
    for contour in contours:
        planes.setdefault(contour.slice, []).append(contour.ring)
    rings = Region.on_slices(image, planes).rings
    return Region(image, rings, "", label, region_id or new_id())


def _structure_set(header: Dataset, source: SourceSeries | None) -> Any:  # noqa: ANN401 - pydicom's FileDataset
    """Return a structure set without regions of interest, for images with such a header."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.sequence import Sequence as Items
    from pydicom.uid import UID, ImplicitVRLittleEndian, generate_uid

    dataset = Dataset()
    for keyword in COPIED:
        setattr(dataset, keyword, header.get(keyword))
    dataset.SOPClassUID, dataset.SOPInstanceUID = STRUCTURE_SET, generate_uid(prefix=None)
    dataset.SeriesInstanceUID, dataset.Modality = generate_uid(prefix=None), "RTSTRUCT"
    dataset.SeriesNumber, dataset.OperatorsName = 1, ""
    dataset.Manufacturer = dataset.ManufacturerModelName = MANUFACTURER
    dataset.SoftwareVersions = __version__
    dataset.StructureSetLabel, dataset.ApprovalStatus = "OUTLINES", "UNAPPROVED"
    now = datetime.now().astimezone()
    dataset.StructureSetDate, dataset.StructureSetTime = f"{now:%Y%m%d}", f"{now:%H%M%S}"
    frame = Dataset()
    frame.FrameOfReferenceUID = header.FrameOfReferenceUID
    if source and source.series_uid:
        frame.RTReferencedStudySequence = Items([_referenced(header, source)])
    dataset.ReferencedFrameOfReferenceSequence = Items([frame])
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = UID(STRUCTURE_SET)
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    # with explicit types, no element of numbers may be longer than 64 KiB
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    return dataset


def _referenced(header: Dataset, source: SourceSeries) -> Dataset:
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence as Items

    study, series = Dataset(), Dataset()
    study.ReferencedSOPClassUID = "1.2.840.10008.3.1.2.3.1"  # detached study management, as PS3.3 has it
    study.ReferencedSOPInstanceUID = header.StudyInstanceUID
    series.SeriesInstanceUID = source.series_uid
    series.ContourImageSequence = Items([_image(source, z) for z in range(len(source.instance_uids))])
    study.RTReferencedSeriesSequence = Items([series])
    return study


def _image(source: SourceSeries, z: int) -> Dataset:
    from pydicom.dataset import Dataset

    image = Dataset()
    image.ReferencedSOPClassUID, image.ReferencedSOPInstanceUID = source.class_uid, source.instance_uids[z]
    return image


def _roi(number: int, region: Region, frame_uid: str) -> Dataset:
    from pydicom.dataset import Dataset

    roi = Dataset()
    roi.ROINumber, roi.ReferencedFrameOfReferenceUID = number, frame_uid
    roi.ROIName = written_label(region.label, f"roi {number}")
    roi.ROIDescription, roi.ROIGenerationAlgorithm = known_id(region.region_id), ""
    return roi


def _contours(number: int, region: Region, grid: Grid, source: SourceSeries | None) -> Dataset:
    from pydicom.charset import default_encoding
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence as Items

    contours = []
    for ring in region.rings:
        if len(ring) < 3:
            raise InputRefusedError(
                f"{region.case_id}: an outline of {region.label!r} has {len(ring)} vertices, and a contour needs three.",
                code="unsupported-output",
                hint="Leave out what is no outline.",
            )
        contour, z = Dataset(), round(float(ring[0, 0]))
        if source and source.instance_uids and 0 <= z < grid.shape[0]:
            contour.ContourImageSequence = Items([_image(source, z)])
        contour.ContourGeometricType = CLOSED[0]
        contour.NumberOfContourPoints = len(ring)
        contour[CONTOUR_DATA] = _contour_data(grid.to_world(_on_slice(ring, z)))
        # so that pydicom writes the numbers as they are, and does not first read them
        contour.set_original_encoding(True, True, default_encoding)
        contours.append(contour)
    item = Dataset()
    item.ROIDisplayColor, item.ReferencedROINumber = COLOUR, number
    item.ContourSequence = Items(contours)
    return item


def _contour_data(world: NDArray[np.float64]) -> RawDataElement:
    """Return points as the element that holds them: numbers by the million, without an object for each."""
    from pydicom.dataelem import RawDataElement
    from pydicom.tag import BaseTag

    payload = "\\".join(decimals(world.ravel())).encode()
    payload += b" " * (len(payload) % 2)
    return RawDataElement(BaseTag(CONTOUR_DATA), "DS", len(payload), payload, 0, True, True)


def _on_slice(ring: NDArray[np.float64], z: int) -> NDArray[np.float64]:
    return np.insert(ring[:, 1:], 0, float(z), axis=1)


def _observation(number: int) -> Dataset:
    from pydicom.dataset import Dataset

    observation = Dataset()
    observation.ObservationNumber = observation.ReferencedROINumber = number
    observation.RTROIInterpretedType = observation.ROIInterpreter = ""
    return observation


def _misplaced(path: Path, what: str) -> InputRefusedError:
    return refused(path, what, "geometry", "Open the series on which it was drawn, without resampling it.")
