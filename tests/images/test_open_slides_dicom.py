"""DICOM whole slides: levels, tiles and places as the standard has them; labels and overviews never."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from slide_phantom import levels_are, refusal

from napari_medlab.images import Decisions, open_here, open_image

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

SLIDE_CLASS = "1.2.840.10008.5.1.4.1.1.77.1.6"
NATIVE, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
JPEG, JPEG_2000, RLE = (f"1.2.840.10008.1.2.{end}" for end in ("4.50", "4.90", "5"))
RGB = np.random.default_rng(0).integers(0, 200, (150, 200, 3), dtype=np.uint8)
LABEL = np.full((150, 200, 3), 251, np.uint8)
Place = tuple[int, int, float, str]


def cut(pixels: NDArray[Any], side: int = 64) -> list[NDArray[Any]]:
    """Return tiles row by row, those at the edges padded."""
    down, across = -(-pixels.shape[0] // side), -(-pixels.shape[1] // side)
    padding = [
        (0, down * side - pixels.shape[0]),
        (0, across * side - pixels.shape[1]),
        *((0, 0),) * (pixels.ndim - 2),
    ]
    padded = np.pad(pixels, padding, constant_values=9)
    return [
        padded[r * side : (r + 1) * side, c * side : (c + 1) * side]
        for r in range(down)
        for c in range(across)
    ]


def item(**values: object) -> Dataset:
    dataset = Dataset()
    for name, value in values.items():
        setattr(dataset, name, value)
    return dataset


def write(  # noqa: PLR0913 - each a tag
    path: Path, frames: Sequence[NDArray[Any]], matrix: tuple[int, int], *, spacing: float = 0.0005, syntax: str = NATIVE,
    places: Sequence[Place] = (), encoded: Sequence[bytes] = (), table: bool = True, **more: object,
) -> Path:  # fmt: skip
    """Write one instance of a slide; tiles are 64 pixels a side."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = (
        pydicom.uid.UID(SLIDE_CLASS),
        pydicom.uid.UID(syntax),
    )
    meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    samples, bits = (3 if frames[0].ndim == 3 else 1), 8 * frames[0].itemsize
    dataset = item(
        SOPClassUID=SLIDE_CLASS, SOPInstanceUID=meta.MediaStorageSOPInstanceUID, SeriesInstanceUID="1.2.3", Modality="SM",
        PatientName="Smith^John", ImageType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"], Rows=frames[0].shape[0],
        Columns=frames[0].shape[1], SamplesPerPixel=samples, NumberOfFrames=len(frames), BitsAllocated=bits,
        PhotometricInterpretation="RGB" if samples == 3 else "MONOCHROME2", PlanarConfiguration=0, BitsStored=bits,
        HighBit=bits - 1, PixelRepresentation=0, TotalPixelMatrixRows=matrix[0], TotalPixelMatrixColumns=matrix[1],
        DimensionOrganizationType="TILED_SPARSE" if places else "TILED_FULL",
        SharedFunctionalGroupsSequence=[item(PixelMeasuresSequence=[item(PixelSpacing=[spacing, spacing / 2])])],
    )  # fmt: skip
    if places:
        dataset.PerFrameFunctionalGroupsSequence = [
            item(
                PlanePositionSlideSequence=[item(
                    RowPositionInTotalImagePixelMatrix=row + 1, ColumnPositionInTotalImagePixelMatrix=column + 1,
                    ZOffsetInSlideCoordinateSystem=height,
                )],
                OpticalPathIdentificationSequence=[item(OpticalPathIdentifier=name)],
            )
            for row, column, height, name in places
        ]  # fmt: skip
    for name, value in more.items():
        setattr(dataset, name, value)
    data = (
        encapsulate(list(encoded), has_bot=table)
        if encoded
        else b"".join(frame.tobytes() for frame in frames)
    )
    dataset.add_new(0x7FE00010, "OB" if encoded or bits == 8 else "OW", data)
    dataset["PixelData"].is_undefined_length = bool(encoded)
    dataset.file_meta = meta
    dataset.save_as(path, enforce_file_format=True)
    return path


def test_levels_are_shown_and_labels_are_not(tmp_path: Path) -> None:
    half = RGB[::2, ::2]
    write(tmp_path / "b", cut(RGB), RGB.shape[:2])
    write(tmp_path / "a", cut(half), half.shape[:2], spacing=0.001)
    for kind in ("LABEL", "OVERVIEW", "THUMBNAIL"):
        write(tmp_path / kind, [LABEL], LABEL.shape[:2], ImageType=["ORIGINAL", "PRIMARY", kind, "NONE"])
    image = open_here(tmp_path)
    levels_are(image, RGB, half)
    assert image.grid.unit == "um"
    assert image.grid.spacing == pytest.approx((0.5, 0.25), abs=1e-6)
    assert (image.kind, image.modality, image.is_rgb) == ("slide", "SM", True)
    assert "Smith" not in str(image.details)
    levels_are(open_image(tmp_path / "a"), half)


@pytest.mark.parametrize("syntax", [NATIVE, IMPLICIT, JPEG_2000, RLE])
def test_lossless_frames_come_back(tmp_path: Path, syntax: str) -> None:
    frames = cut(RGB)
    encoded, photometric = [], "RGB"
    if syntax == JPEG_2000:
        encoded = [
            bytes(imagecodecs.jpeg2k_encode(frame, level=0, codecformat="j2k", mct=True)) for frame in frames
        ]
        photometric = "YBR_RCT"
    written = NATIVE if syntax == RLE else syntax
    write(
        tmp_path / "a",
        frames,
        (150, 200),
        syntax=written,
        encoded=encoded,
        PhotometricInterpretation=photometric,
    )
    if syntax == RLE:
        dataset = pydicom.dcmread(tmp_path / "a")
        dataset.compress(RLE)
        dataset.save_as(tmp_path / "a")
    levels_are(open_here(tmp_path), RGB)


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL_422"])
@pytest.mark.parametrize("table", [True, False])
def test_jpeg_frames_come_back_in_their_colours(tmp_path: Path, photometric: str, table: bool) -> None:
    frames = cut(np.repeat(np.repeat(RGB[:75, :100] // 4 + 90, 2, axis=0), 2, axis=1))
    space = {"RGB": "RGB", "YBR_FULL_422": "YCBCR"}[photometric]
    encoded = [
        bytes(
            imagecodecs.jpeg8_encode(
                frame, level=98, colorspace="RGB", outcolorspace=space, subsampling="444"
            )
        )
        for frame in frames
    ]
    write(
        tmp_path / "a",
        frames,
        (150, 200),
        syntax=JPEG,
        encoded=encoded,
        table=table,
        PhotometricInterpretation=photometric,
    )
    pixels = open_here(tmp_path).arrays[0][...]
    expected = np.vstack([np.hstack(frames[row * 4 : row * 4 + 4]) for row in range(3)])[:150, :200]
    assert np.abs(pixels.astype(int) - expected).mean() < 3


def test_optical_paths_are_channels(tmp_path: Path) -> None:
    planes = np.random.default_rng(1).integers(0, 4000, (3, 150, 200), dtype=np.uint16)
    frames = [frame for plane in planes for frame in cut(plane)]
    write(tmp_path / "a", frames, (150, 200), NumberOfOpticalPaths=3, TotalPixelMatrixFocalPlanes=1)
    levels_are(open_here(tmp_path), np.moveaxis(planes, 0, -1))


def test_of_several_focal_planes_one_is_shown(tmp_path: Path) -> None:
    frames = [*cut(RGB), *cut(LABEL)]
    write(tmp_path / "a", frames, (150, 200), TotalPixelMatrixFocalPlanes=2, NumberOfOpticalPaths=1)
    image = open_here(tmp_path)
    levels_are(image, RGB)
    assert [warning.code for warning in image.warnings] == ["focal-planes"]


def test_tiles_lie_where_they_say(tmp_path: Path) -> None:
    frames = cut(RGB)
    places = [(r * 64, c * 64, 0.0, "1") for r in range(3) for c in range(4)]
    order = np.random.default_rng(2).permutation(12)
    write(tmp_path / "a", [frames[n] for n in order], (150, 200), places=[places[n] for n in order])
    levels_are(open_here(tmp_path), RGB)


def test_tiles_that_were_never_written_are_an_error_until_decided(tmp_path: Path) -> None:
    frames = cut(RGB)
    places = [(r * 64, c * 64, 0.0, "1") for r in range(3) for c in range(4)]
    del frames[5], places[5]
    write(tmp_path / "a", frames, (150, 200), places=places)
    error = refusal(tmp_path)
    assert error.code == "missing-tiles"
    blank = RGB.copy()
    blank[64:128, 64:128] = 0
    image = open_here(tmp_path, Decisions.from_json(error.options[0].decisions))
    levels_are(image, blank)
    assert image.decisions.absent == "background"


def test_a_level_may_be_spread_over_files(tmp_path: Path) -> None:
    frames = cut(RGB)
    for name, first, last in (("z", 0, 5), ("a", 5, 12)):
        write(
            tmp_path / name,
            frames[first:last],
            (150, 200),
            ConcatenationUID="1.2.9",
            ConcatenationFrameOffsetNumber=first,
        )
    levels_are(open_here(tmp_path), RGB)
    (tmp_path / "z").unlink()
    assert refusal(tmp_path).code == "truncated"


def test_monochrome_1_is_shown_inverted_and_kept_as_it_is(tmp_path: Path) -> None:
    grey = RGB[..., 0]
    write(tmp_path / "a", cut(grey), (150, 200), PhotometricInterpretation="MONOCHROME1")
    image = open_here(tmp_path)
    assert image.is_inverted
    levels_are(image, grey)


def test_two_slides_in_a_folder_are_a_choice(tmp_path: Path) -> None:
    write(tmp_path / "a", cut(RGB), (150, 200))
    write(tmp_path / "b", cut(RGB // 2), (150, 200), SeriesInstanceUID="1.2.4")
    error = refusal(tmp_path)
    assert error.code == "several-series"
    levels_are(open_here(tmp_path, Decisions.from_json(error.options[1].decisions)), RGB // 2)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"TotalPixelMatrixRows": 0}, "size"),
        ({"TotalPixelMatrixRows": 1500}, "truncated"),
        ({"TotalPixelMatrixRows": 2**31 - 1, "TotalPixelMatrixColumns": 2**31 - 1}, "size"),
        ({"NumberOfFrames": 13}, "truncated"),
        ({"NumberOfFrames": 2**31 - 1}, "size"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "photometric"),
        ({"DimensionOrganizationType": "3D"}, "truncated"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LABEL", "NONE"]}, "empty"),
    ],
)
def test_headers_that_contradict_the_frames_are_refused(
    tmp_path: Path, changes: dict[str, Any], code: str
) -> None:
    write(tmp_path / "a", cut(RGB), (150, 200), **changes)
    assert refusal(tmp_path).code == code


def test_tiles_that_lie_nowhere_are_refused(tmp_path: Path) -> None:
    for number, place in enumerate([(0, -64), (999, 0), (3, 0)]):
        folder = tmp_path / str(number)
        folder.mkdir()
        write(folder / "a", [RGB[:64, :64]], (150, 200), places=[(*place, 0.0, "1")])
        assert refusal(folder).code == "unsupported"


def test_a_pixel_size_that_is_not_stated_stays_unknown(tmp_path: Path) -> None:
    write(tmp_path / "a", cut(RGB), (150, 200), SharedFunctionalGroupsSequence=[Dataset()])
    image = open_here(tmp_path)
    assert image.grid.unit == "px"
    assert [warning.code for warning in image.warnings] == ["unknown-spacing"]
