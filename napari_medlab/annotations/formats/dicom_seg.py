"""DICOM segmentations (PS3.3, A.51): voxels of segments, frame by frame, placed by where the frames lie in the patient."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from napari_medlab import __version__
from napari_medlab.annotations.formats.dicom_objects import (
    MANUFACTURER,
    SourceSeries,
    check_place,
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
from napari_medlab.annotations.formats.voxel_outlines import (
    Patch,
    image_regions,
    patch_of_region,
    patch_of_voxels,
    region_of_patch,
    separate,
)
from napari_medlab.errors import InputRefusedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from pydicom.dataset import Dataset

    from napari_medlab.annotations.image_regions import ImageRegions
    from napari_medlab.annotations.objects import Region
    from napari_medlab.geometry import Grid

__all__ = ["read", "series_of", "sniff", "write"]

SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"
CLASSES = (SEGMENTATION, LABEL_MAP)
RLE = "1.2.840.10008.1.2.5"
OFF_LATTICE = 0.1
"""How far, in voxels, a frame's pixels may lie from the centres of the image's voxels."""
MAX_FRAME_PIXELS, MAX_PIXELS = 1 << 26, 1 << 34
MAX_SEGMENTS = 65535
BYTE = 8


def sniff(path: str | Path) -> bool:
    """Tell by the beginning of a file whether it is a DICOM segmentation; never raises."""
    return is_dicom_of(path, CLASSES)


def series_of(path: str | Path) -> tuple[str, ...]:
    """Return the UIDs of the series that a file is about; raise as :func:`read`."""
    path = Path(path)
    dataset = read_object(path, CLASSES, "DICOM segmentation")
    try:
        return _series(dataset)
    except dicom_faults() as error:
        raise refused(path, f"the segmentation is damaged: {error}") from error


def read(
    path: str | Path,
    grid: Grid,
    *,
    expected: SourceSeries | None = None,
    threshold: float = 0.5,
    split: bool = False,
) -> list[ImageRegions]:
    """Return the segments of a file as outlines on an image.

    Parameters
    ----------
    path : str or Path
        A segmentation of the type BINARY, FRACTIONAL or LABELMAP, uncompressed or packed with RLE.
    grid : Grid
        The image's, in LPS mm. Frames may lie along any of its axes, in any order, and need not be there where a segment
        has nothing; their pixels must lie on its voxels within a tenth.
    expected : SourceSeries, optional
        What is known about the image: a file about another series or frame of reference is refused.
    threshold : float
        From which share of the maximum on a fractional voxel belongs to its segment.
    split : bool
        Whether each connected component is an outline of its own; otherwise each segment is one.

    Returns
    -------
    list of one ImageRegions
        ``image`` is the UID of the series that the file is about, or the file's name where it names none or several. A
        region keeps its id where the file was written here. ``extra`` holds ``type``, ``series_uids``,
        ``frame_of_reference_uid`` and ``segments``: label, algorithm, id and region ids of each segment, empty ones
        included, by number.

    Raises
    ------
    InputRefusedError
        With code ``"dicom"`` where the file cannot be read or is damaged, ``"frame-of-reference"`` or ``"series"`` where
        it belongs to another image, ``"geometry"`` where its pixels lie between the image's voxels or outside of it.
    """
    path = Path(path)
    dataset = read_object(path, CLASSES, "DICOM segmentation")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            series, frame_uid = _series(dataset), str(dataset.get("FrameOfReferenceUID", ""))
            check_place(path, expected, frame_uid, series)
            segments = _segments(path, dataset)
            voxels = _voxels(path, dataset, grid, threshold, frozenset(segments))
    except InputRefusedError:
        raise
    except dicom_faults() as error:
        raise refused(path, f"the segmentation is damaged: {error}") from error
    image = series_about(path, series)
    regions: list[Region] = []
    for number, segment in segments.items():
        own = _regions(image, segment, voxels.get(number), split)
        segment["regions"] = [region.region_id for region in own]
        regions += own
    extra = {
        "type": str(dataset.SegmentationType),
        "series_uids": list(series),
        "frame_of_reference_uid": frame_uid,
        "segments": {str(number): segment for number, segment in segments.items()},
    }
    return [image_regions(image, regions, grid.shape, extra=extra)]


def write(
    path: str | Path,
    image: ImageRegions,
    grid: Grid,
    *,
    kind: Literal["BINARY", "LABELMAP"] = "BINARY",
    source: SourceSeries | None = None,
) -> None:
    """Write the outlines of one image as a segmentation, one segment for each, on slices that hold something.

    The header is built from nothing: the case's key (``image.image``) is the patient's name and number, UIDs are random
    where ``source`` does not give them, segments carry label (64 characters of it), number and region id. An image
    without outlines becomes a segment ``"nothing"`` with one empty frame.

    Parameters
    ----------
    path : str or Path
        A new file.
    image : ImageRegions
    grid : Grid
        The image's, of three axes, in LPS mm.
    kind : {"BINARY", "LABELMAP"}
        How voxels are stored. In a label map, no two outlines may share a voxel.
    source : SourceSeries, optional
        The images it is about, where a clinical system must find them again; they are not told otherwise.

    Raises
    ------
    InputRefusedError
        With code ``"exists"`` where there is such a file, ``"overlap"`` as above, ``"unsupported-output"`` for an image
        that is no volume in mm or has more than 65,535 outlines.
    DiskError
        Where it cannot be written.
    """
    import highdicom

    table = image.regions
    rows = [table.region(row) for row in range(len(table))]
    if grid.shape[-1] * grid.shape[-2] < BYTE:  # highdicom packs such frames wrongly
        raise InputRefusedError(
            f"{image.image} has slices of {' × '.join(map(str, grid.shape[-2:]))} voxels, too few for a segmentation.",
            code="unsupported-output",
            hint="Write a label map as NIfTI.",
        )
    if len(rows) > MAX_SEGMENTS:
        raise InputRefusedError(
            f"{image.image} has {len(rows):,} outlines, and a segmentation holds {MAX_SEGMENTS:,} segments.",
            code="unsupported-output",
            hint="Write a label map as NIfTI.",
        )
    patches = [(number, patch_of_region(region, grid.shape)) for number, region in enumerate(rows, start=1)]
    placed = [(number, patch) for number, patch in patches if patch is not None]
    slices = sorted({z for _, patch in placed for z in _slices(patch)}) or [0]
    frames = _frames(image.image, placed, slices, grid.shape, max(len(rows), 1), kind)
    descriptions = [_description(number, region) for number, region in enumerate(rows, start=1)] or [
        _description(1, None)
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about a patient's name of one word
        dataset = highdicom.seg.Segmentation(
            source_images=source_datasets(image.image, grid, source, slices),
            pixel_array=frames,
            segmentation_type=kind,
            segment_descriptions=descriptions,
            series_instance_uid=highdicom.UID(),
            series_number=1,
            sop_instance_uid=highdicom.UID(),
            instance_number=1,
            manufacturer=MANUFACTURER,
            manufacturer_model_name=MANUFACTURER,
            software_versions=__version__,
            device_serial_number="0",
            content_label="SEGMENTATION",
            omit_empty_frames=bool(placed),
        )
        save_new(Path(path), dataset)


class _Frame(NamedTuple):
    """Where a frame lies: the voxel of its first pixel, and the steps to the next row and the next column."""

    first: NDArray[np.int64]
    row: NDArray[np.int64]
    column: NDArray[np.int64]


def _series(dataset: Dataset) -> tuple[str, ...]:
    uids = {str(item.get("SeriesInstanceUID", "")) for item in items(dataset, "ReferencedSeriesSequence")}
    return tuple(sorted(uids - {""}))


def _segments(path: Path, dataset: Dataset) -> dict[int, dict[str, Any]]:
    """Return label, algorithm and id of each segment by its number; a label map's background is left out."""
    segments: dict[int, dict[str, Any]] = {}
    for item in items(dataset, "SegmentSequence"):
        number = int(item.SegmentNumber)
        if number in segments:
            raise refused(path, f"the segment number {number} stands twice in it")
        segments[number] = {
            "label": plain_text(item.get("SegmentLabel"), f"segment {number}"),
            "algorithm": plain_text(item.get("SegmentAlgorithmType"), ""),
            "id": known_id(item.get("TrackingID"), [other["id"] for other in segments.values()]),
        }
    segments.pop(0, None)
    return segments


def _voxels(
    path: Path, dataset: Dataset, grid: Grid, threshold: float, numbers: frozenset[int]
) -> dict[int, NDArray[np.int32]]:
    """Return the voxels of each segment that has some, (n, 3) array indices."""
    found: dict[int, list[NDArray[np.int32]]] = {}
    for place, (pixels, segments) in enumerate(_frames_of(path, dataset, threshold)):
        frame = _frame(path, dataset, place, grid)
        for own in np.unique(segments).tolist():
            if own not in numbers:
                raise refused(path, f"frame {place + 1} is of the segment {own}, which is not described")
            rows, columns = np.divmod(pixels[segments == own], int(dataset.Columns))
            indices = frame.first + rows[:, None] * frame.row + columns[:, None] * frame.column
            outside = ((indices < 0) | (indices >= grid.shape)).any(axis=1)
            if outside.any():
                raise _misplaced(
                    path, f"{int(outside.sum())} voxels of frame {place + 1} lie outside of the image"
                )
            found.setdefault(own, []).append(indices.astype(np.int32))
    return {number: np.concatenate(pieces) for number, pieces in found.items()}


def _frames_of(
    path: Path, dataset: Dataset, threshold: float
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield the filled pixels of each frame, counted row by row, and the segment that each of them is of."""
    kind = str(dataset.get("SegmentationType", ""))
    count, size = int(dataset.get("NumberOfFrames", 1)), int(dataset.Rows) * int(dataset.Columns)
    if kind not in ("BINARY", "FRACTIONAL", "LABELMAP"):
        raise refused(path, f"its segmentation type is {plain_text(kind, '(none)')}")
    if size > MAX_FRAME_PIXELS or size * count > MAX_PIXELS or int(dataset.get("SamplesPerPixel", 1)) != 1:
        raise refused(path, f"{count:,} frames of {size:,} pixels are more than is read")
    if kind != "LABELMAP" and len(items(dataset, "PerFrameFunctionalGroupsSequence")) != count:
        raise refused(path, f"{count} frames are announced, and not as many described")
    least = threshold * float(dataset.get("MaximumFractionalValue", 1)) if kind == "FRACTIONAL" else 0.0
    for place, (pixels, values) in enumerate(_pixels(dataset, count)):
        if kind == "LABELMAP":
            yield pixels, values
            continue
        number = int(_group(dataset, place, "SegmentIdentificationSequence").ReferencedSegmentNumber)
        inside = pixels[values >= least]
        yield inside, np.full(len(inside), number)


def _pixels(dataset: Dataset, count: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield the pixels of each frame that are not 0, counted row by row, and their values."""
    from pydicom.pixels.utils import iter_pixels

    size, bits = int(dataset.Rows) * int(dataset.Columns), int(dataset.BitsAllocated)
    if dataset.file_meta.TransferSyntaxUID == RLE:
        for frame in iter_pixels(dataset, decoding_plugin="pydicom"):
            yield _filled(frame.reshape(-1))
        return
    stored = np.frombuffer(dataset.PixelData, dtype=np.uint8)
    if bits not in (1, 8, 16) or not size or 8 * len(stored) < count * size * bits:
        raise ValueError(
            f"{len(stored):,} bytes of pixels for {count} frames of {size:,} pixels of {bits} bits"
        )
    for start in range(0, count * size * bits, size * bits):
        part = stored[start // BYTE : (start + size * bits + BYTE - 1) // BYTE]
        if bits > 1:
            yield _filled(part.view("<u2" if bits == 16 else np.uint8))
            continue
        # frames of one bit follow one another without a gap; only bytes with a bit in them are unpacked
        full = np.flatnonzero(part)
        at, bit = np.nonzero(np.unpackbits(part[full, None], axis=1, bitorder="little"))
        pixels = full[at] * BYTE + bit - start % BYTE
        pixels = pixels[(pixels >= 0) & (pixels < size)]
        yield pixels, np.ones_like(pixels)


def _filled(values: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    pixels = np.flatnonzero(values)
    return pixels, values[pixels].astype(np.int64)


def _frame(path: Path, dataset: Dataset, place: int, grid: Grid) -> _Frame:
    """Return where a frame lies on a grid; refuse one whose pixels lie between its voxels."""
    rows, columns = int(dataset.Rows) - 1, int(dataset.Columns) - 1
    position = _numbers(_group(dataset, place, "PlanePositionSequence").ImagePositionPatient, 3)
    along = _numbers(_group(dataset, place, "PlaneOrientationSequence").ImageOrientationPatient, 6)
    spacing = _numbers(_group(dataset, place, "PixelMeasuresSequence").PixelSpacing, 2)
    down, right = along[3:] * spacing[0], along[:3] * spacing[1]
    corners = grid.to_index(
        np.stack([position, position + down, position + right, position + rows * down + columns * right])
    )
    if not np.isfinite(corners).all() or np.abs(corners).max() > 2**31:
        raise _misplaced(path, f"frame {place + 1} lies nowhere near the image")
    first, row, column = (
        np.rint(corner).astype(np.int64) for corner in (corners[0], *(corners[1:3] - corners[0]))
    )
    last = first + rows * row + columns * column
    off = float(np.abs(corners[[0, 3]] - np.stack([first, last])).max())
    if off > OFF_LATTICE or np.abs(row).sum() != 1 or np.abs(column).sum() != 1:
        raise _misplaced(
            path, f"the pixels of frame {place + 1} lie up to {off:.2f} voxels beside those of the image"
        )
    return _Frame(first, row, column)


def _group(dataset: Dataset, place: int, keyword: str) -> Dataset:
    """Return what a functional group says about a frame: of its own, or for all."""
    frames = dataset.get("PerFrameFunctionalGroupsSequence") or []
    own = items(frames[place], keyword) if place < len(frames) else []
    return (own or items(dataset, "SharedFunctionalGroupsSequence", keyword))[0]


def _numbers(values: Any, count: int) -> NDArray[np.float64]:  # noqa: ANN401 - as pydicom has them
    numbers = np.asarray([float(value) for value in values])
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise ValueError(f"{numbers.tolist()} stands where {count} numbers are expected")
    return numbers


def _regions(
    image: str, segment: dict[str, Any], voxels: NDArray[np.int32] | None, split: bool
) -> list[Region]:
    if voxels is None:
        return []
    patch = patch_of_voxels(voxels)
    parts = separate(patch) if split else [patch]
    known = segment["id"] if len(parts) == 1 else ""
    return [region_of_patch(image, part, segment["label"], known) for part in parts]


def _slices(patch: Patch) -> Iterator[int]:
    return (patch.corner[0] + number for number, plane in enumerate(patch.mask) if plane.any())


def _frames(
    case: str,
    placed: list[tuple[int, Patch]],
    slices: list[int],
    shape: tuple[int, ...],
    count: int,
    kind: str,
) -> NDArray[Any]:
    """Return what highdicom takes: numbers (slice, y, x), or a mask (slice, y, x, segment) where outlines share voxels."""
    numbers = np.zeros((len(slices), *shape[1:]), dtype=np.uint8 if count < 256 else np.uint16)
    where = {z: at for at, z in enumerate(slices)}
    shared = 0
    for number, patch in placed:
        for z in _slices(patch):
            part, plane = numbers[where[z]][patch.box[1:]], patch.mask[z - patch.corner[0]]
            shared += int((part[plane] != 0).sum())
            part[plane] = number
    if not shared:
        return numbers
    if kind == "LABELMAP":
        raise InputRefusedError(
            f"{case}: outlines share {shared} voxels, and a label map holds one number for each voxel.",
            code="overlap",
            hint="Write it as BINARY.",
        )
    masks = np.zeros((*numbers.shape, count), dtype=np.bool_)
    for number, patch in placed:
        for z in _slices(patch):
            masks[where[z]][patch.box[1:]][..., number - 1] = patch.mask[z - patch.corner[0]]
    return masks


def _description(number: int, region: Region | None) -> Any:  # noqa: ANN401 - highdicom has no types
    import highdicom
    from pydicom.sr.coding import Code

    tissue = Code("85756007", "SCT", "Tissue")
    return highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=written_label(region.label if region else "nothing", f"segment {number}"),
        segmented_property_category=tissue,
        segmented_property_type=tissue,
        algorithm_type="MANUAL",
        tracking_uid=highdicom.UID(),
        tracking_id=known_id(region and region.region_id) or f"segment {number}",
    )


def _misplaced(path: Path, what: str) -> InputRefusedError:
    return refused(path, what, "geometry", "Open the series that was segmented, without resampling it.")
