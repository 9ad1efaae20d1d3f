"""What DICOM segmentations and structure sets share: reading a file within bounds, and headers built from nothing.

Nothing of a source's header is ever copied. What is written holds geometry, labels, random UIDs and the name of the case.
"""

from __future__ import annotations

import re
import struct
import warnings
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.annotations.formats.files import beginning, unreadable, write_new
from napari_medlab.annotations.formats.labels import MAX_TEXT
from napari_medlab.errors import InputRefusedError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from numpy.typing import NDArray
    from pydicom.dataset import Dataset

    from napari_medlab.geometry import Grid

__all__ = [
    "MANUFACTURER",
    "SourceSeries",
    "check_place",
    "decimals",
    "dicom_faults",
    "is_dicom_of",
    "items",
    "known_id",
    "plain_text",
    "read_object",
    "refused",
    "save_new",
    "series_about",
    "source_datasets",
    "written_label",
]

MANUFACTURER = "napari-medlab"
MAX_BYTES = 1 << 31
PREAMBLE = 128
SNIFFED_BYTES = 4096
SHORT_TEXT = 64
"""So many characters a label, a name or a number of a patient may have (PS3.5, 6.2)."""
MEDIA_CLASS = b"\x02\x00\x02\x00UI"
"""How the element begins that names the class of what a file holds (PS3.10, 7.1)."""
UTF_8 = "ISO_IR 192"
NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1")
REGION_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)
RLE = "1.2.840.10008.1.2.5"
DS_CHARACTERS, EXACT_PLACES = 16, 9
CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"


def dicom_faults() -> tuple[type[Exception], ...]:
    """Return what pydicom raises on damaged files."""
    from pydicom.errors import BytesLengthException, InvalidDicomError

    return (
        ArithmeticError, AttributeError, EOFError, LookupError, NotImplementedError, OSError, RuntimeError, TypeError,
        ValueError, struct.error, BytesLengthException, InvalidDicomError,
    )  # fmt: skip


@dataclass(frozen=True)
class SourceSeries:
    """Which images a segmentation is about, by their UIDs: for those who may tell.

    Parameters
    ----------
    series_uid, study_uid, frame_of_reference_uid : str
        Empty where unknown; what is written has random ones then.
    instance_uids : tuple of str
        Of the slices, in the order of the grid's; none, or as many as there are slices.
    class_uid : str
        Of the slices: CT Image Storage unless told.
    """

    series_uid: str = ""
    study_uid: str = ""
    frame_of_reference_uid: str = ""
    instance_uids: tuple[str, ...] = ()
    class_uid: str = CT_IMAGE


def is_dicom_of(path: str | Path, classes: Collection[str]) -> bool:
    """Tell by the beginning of a file whether it is DICOM of one of the SOP classes; never raises."""
    start = beginning(Path(path), SNIFFED_BYTES)
    at = start.find(MEDIA_CLASS, PREAMBLE)
    if start[PREAMBLE : PREAMBLE + 4] != b"DICM" or at < 0:
        return False
    value = at + len(MEDIA_CLASS) + 2
    length = int.from_bytes(start[value - 2 : value], "little")
    return start[value : value + length].rstrip(b"\0 ").decode("latin-1") in classes


def read_object(path: Path, classes: Collection[str], kind: str) -> Dataset:
    """Return a DICOM file as pydicom has it, its pixels not yet decoded.

    Raises
    ------
    InputRefusedError
        With code ``"file"`` where it cannot be read; with ``"dicom"`` where it is no DICOM, of another class, larger than
        2 GiB, or packed in another way than RLE.
    """
    import pydicom
    from pydicom.filereader import read_file_meta_info

    try:
        size = path.stat().st_size
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _check_meta(path, read_file_meta_info(path), size, classes, kind)
            return pydicom.dcmread(
                BytesIO(path.read_bytes())
            )  # elements that claim more than there is end with the file
    except InputRefusedError:
        raise
    except OSError as error:
        raise unreadable(path, error) from error
    except dicom_faults() as error:
        raise refused(path, f"it is no {kind} that can be read: {error}") from error


def check_place(
    path: Path, expected: SourceSeries | None, frame_uid: str, series_uids: Collection[str]
) -> None:
    """Refuse a file about another frame of reference or other series than expected; what is unknown fits.

    Raises
    ------
    InputRefusedError
        With code ``"frame-of-reference"`` or ``"series"``.
    """
    if expected is None:
        return
    for code, stated, wanted in (
        ("frame-of-reference", {frame_uid} - {""}, expected.frame_of_reference_uid),
        ("series", set(series_uids), expected.series_uid),
    ):
        if stated and wanted and wanted not in stated:
            raise InputRefusedError(
                f"{path.name} is about the {code.replace('-', ' ')} {', '.join(sorted(stated)[:3])}, and the case is "
                f"{wanted}.",
                code=code,
                hint="Choose the file that belongs to this case.",
            )


def items(dataset: Dataset, *keywords: str) -> list[Dataset]:
    """Return the items of nested sequences, one after the other; none where a sequence is missing."""
    found = [dataset]
    for keyword in keywords:
        found = [item for outer in found for item in (outer.get(keyword) or ())]
    return found


def plain_text(value: object, default: str) -> str:
    """Return a text of 1 to 256 printable characters: what is more, or cannot be shown, is left out."""
    text = "".join(filter(str.isprintable, str(value or ""))).strip()[:MAX_TEXT]
    return text or default


def written_label(label: str, default: str) -> str:
    """Return a label as DICOM holds it: 64 characters at most, and no backslash, which would begin another value."""
    return plain_text(label.replace("\\", "/"), default)[:SHORT_TEXT].strip()


def known_id(text: object, taken: Collection[str] = ()) -> str:
    """Return the id of a region that was written here; empty for what another program calls its object."""
    given = str(text or "")
    return given if REGION_ID.fullmatch(given) and given not in taken else ""


def series_about(path: Path, uids: Collection[str]) -> str:
    """Return by what name a file knows its image: the one series that it is about, or else the file's name."""
    return next(iter(uids)) if len(uids) == 1 else path.stem


def refused(
    path: Path, what: str, code: str = "dicom", hint: str = "Export it again from its source."
) -> InputRefusedError:
    """Return the error about a file."""
    return InputRefusedError(f"{path.name}: {what}.", code=code, hint=hint)


def source_datasets(
    case: str, grid: Grid, source: SourceSeries | None, slices: Sequence[int]
) -> list[Dataset]:
    """Return headers of images that lie as slices of a grid do, with nothing else in them.

    Parameters
    ----------
    case : str
        The case's key, which stands where a patient's name and number would.
    grid : Grid
        Of three axes, in mm.
    source : SourceSeries or None
    slices : sequence of int

    Raises
    ------
    InputRefusedError
        With code ``"unsupported-output"`` where the grid is no volume in mm, or its rows and columns are not at right
        angles; with ``"source"`` where the number of instances is not that of its slices.
    """
    from pydicom.dataset import Dataset
    from pydicom.uid import generate_uid

    source = source or SourceSeries()
    _check_grid(case, grid, source)
    uids = {
        name: getattr(source, name) or generate_uid(prefix=None)
        for name in ("study_uid", "series_uid", "frame_of_reference_uid")
    }
    columns, rows = grid.direction[:, 2], grid.direction[:, 1]
    found = []
    for z in slices:
        header = Dataset()
        header.SpecificCharacterSet = UTF_8
        header.SOPClassUID = source.class_uid
        header.SOPInstanceUID = source.instance_uids[z] if source.instance_uids else generate_uid(prefix=None)
        header.StudyInstanceUID, header.SeriesInstanceUID = uids["study_uid"], uids["series_uid"]
        header.FrameOfReferenceUID = uids["frame_of_reference_uid"]
        header.Modality = "CT"
        header.PatientID = header.PatientName = plain_text(case, "case")[:SHORT_TEXT]
        for keyword in ("PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate", "StudyTime",
                        "ReferringPhysicianName", "PositionReferenceIndicator"):  # fmt: skip
            setattr(header, keyword, "")
        header.SeriesNumber, header.InstanceNumber = 1, z + 1
        header.Rows, header.Columns = grid.shape[1:]
        header.ImageOrientationPatient = decimals([*columns, *rows])
        header.ImagePositionPatient = decimals(grid.to_world((z, 0, 0)))
        header.PixelSpacing = decimals(grid.spacing[1:])
        header.SliceThickness = decimals([grid.spacing[0]])[0]
        found.append(header)
    return found


def decimals(values: Sequence[float] | NDArray[np.float64]) -> list[str]:
    """Return numbers as DICOM's decimal strings, of 16 characters at most: good for 1e-10 mm within a metre."""
    from pydicom.valuerep import format_number_as_ds

    numbers = np.asarray(values, dtype=np.float64).tolist()
    # of 16 characters, one is the sign and one the point, and rounding may bring another digit before it
    places = DS_CHARACTERS - 3 - len(str(int(max(map(abs, numbers), default=0.0))))
    if places >= EXACT_PLACES:
        return [f"{number:.{places}f}" for number in numbers]
    return [format_number_as_ds(number) for number in numbers]


def save_new(path: Path, dataset: Dataset) -> None:
    """Write a data set as a new DICOM file; raise as :func:`napari_medlab.annotations.formats.files.write_new`."""
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    write_new(path, buffer.getvalue())


def _check_meta(path: Path, meta: Dataset, size: int, classes: Collection[str], kind: str) -> None:
    syntax, stated = str(meta.get("TransferSyntaxUID", "")), str(meta.get("MediaStorageSOPClassUID", ""))
    if size > MAX_BYTES:
        raise refused(path, f"it has {size:,} bytes, and no more than {MAX_BYTES:,} are read")
    if stated not in classes:
        raise refused(path, f"it is no {kind}, its SOP class is {plain_text(stated, '(none)')}")
    if syntax not in (*NATIVE, RLE):
        raise refused(
            path,
            f"its transfer syntax {plain_text(syntax, '(none)')} is not read",
            hint="Save it uncompressed, or with RLE.",
        )


def _check_grid(case: str, grid: Grid, source: SourceSeries) -> None:
    if grid.ndim != 3 or grid.unit != "mm":
        raise InputRefusedError(
            f"{case} is no volume in millimetres, and only those lie in a patient.",
            code="unsupported-output",
            hint="Write planar images as COCO or GeoJSON.",
        )
    if abs(float(np.dot(grid.direction[:, 1], grid.direction[:, 2]))) > 1e-4:
        raise InputRefusedError(
            f"{case}: rows and columns are not at right angles, which DICOM cannot say.",
            code="unsupported-output",
            hint="Write a label map as NIfTI.",
        )
    if source.instance_uids and len(source.instance_uids) != grid.shape[0]:
        raise InputRefusedError(
            f"{case}: {len(source.instance_uids)} instances are named for {grid.shape[0]} slices.",
            code="source",
            hint="Name the instance of every slice, or none.",
        )
