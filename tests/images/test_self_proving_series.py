"""Series whose voxels state their own position: exact, or refused for the right reason, never silently wrong."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pytest
from dicom_phantom import Series, encoded, enhanced, truth, worst_error, write
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.uid import (
    BreastTomosynthesisImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from napari_medlab.errors import ImageRefusedError
from napari_medlab.geometry import Grid
from napari_medlab.images import Decisions, open_image
from napari_medlab.images.decisions import AS_IS
from napari_medlab.images.opening import open_here

if TYPE_CHECKING:
    from pydicom import Dataset

    from napari_medlab.images import Image

Vector = Sequence[float]
HALF = 0.5 + 1e-3
"""Voxels hold whole numbers, and headers six decimals of a millimetre."""
INTERPOLATED = 1.0 + 1e-3
"""Whole numbers, interpolated, are rounded a second time."""


def turned(a: float, b: float, c: float) -> tuple[list[float], list[float]]:
    """Return row and column directions after turning about x, y and z by degrees."""
    (ca, cb, cc), (sa, sb, sc) = np.cos(np.radians([a, b, c])), np.sin(np.radians([a, b, c]))
    about_x = np.array([[1, 0, 0], [0, ca, -sa], [0, sa, ca]])
    about_y = np.array([[cb, 0, sb], [0, 1, 0], [-sb, 0, cb]])
    about_z = np.array([[cc, -sc, 0], [sc, cc, 0], [0, 0, 1]])
    matrix = about_z @ about_y @ about_x
    return matrix[:, 0].tolist(), matrix[:, 1].tolist()


def moved(series: Series, shifts: Sequence[Vector]) -> list[Dataset]:
    """Return slices moved in the patient by (x, y, z) mm, header and pixels alike."""
    return [series.slice(n, series.position(n) + np.asarray(by, float)) for n, by in enumerate(shifts)]


def at(series: Series, heights: Sequence[float]) -> list[Dataset]:
    """Return slices at heights along the normal, in mm."""
    normal = np.cross(*series.axes)
    return [series.slice(n, np.asarray(series.origin) + normal * height) for n, height in enumerate(heights)]


def with_fields(slices: list[Dataset], **values: Any) -> list[Dataset]:  # noqa: ANN401 - whatever DICOM fields hold
    for each in slices:
        for name, value in values.items():
            setattr(each, name, value)
    return slices


def soiled(slices: list[Dataset]) -> list[Dataset]:
    for each in slices:
        each.PixelData = (np.frombuffer(each.PixelData, np.uint16) | 0xA000).tobytes()
    return slices


def signed(slices: list[Dataset]) -> list[Dataset]:
    for each in slices:
        pixels = np.frombuffer(each.PixelData, np.uint16).astype(np.int16) + np.int16(each.RescaleIntercept)
        each.PixelData, each.RescaleIntercept = pixels.tobytes(), 0
        each.BitsStored, each.HighBit, each.PixelRepresentation = 16, 15, 1
        each.add_new("PixelPaddingValue", "SS", -2000)
    return slices


def signed_in_12_bits(slices: list[Dataset]) -> list[Dataset]:
    for each in signed(slices):
        each.PixelData = (np.frombuffer(each.PixelData, np.int16) & 0x0FFF).astype(np.uint16).tobytes()
        each.BitsStored, each.HighBit = 12, 11
    return slices


def in_high_bits(slices: list[Dataset]) -> list[Dataset]:
    for each in slices:
        each.PixelData = (np.frombuffer(each.PixelData, np.uint16) << 4 | 0x5).astype(np.uint16).tobytes()
        each.BitsStored, each.HighBit = 12, 15
    return slices


def with_slopes(*slopes: float) -> list[Dataset]:
    series = Series()
    return [series.slice(n, slope=slopes[n % len(slopes)]) for n in range(series.count)]


def in_syntax(syntax: Any) -> list[Dataset]:  # noqa: ANN401 - a UID
    return [encoded(each, syntax) for each in Series().slices()]


def jitter(size: float) -> list[Dataset]:
    by = np.random.default_rng(1).uniform(-size, size, 20)
    return moved(Series(count=20), [(0, 0, step) for step in by])


def copies() -> list[Dataset]:
    series = Series()
    return [*series.slices(), series.slice(3)]


def lean(count: int = 6, by: float = 0.66) -> list[Dataset]:
    return moved(Series(count=count), [(0, by * n, 0) for n in range(count)])


def timed(keyword: str, values: Sequence[Any], count: int = 4) -> list[Dataset]:
    """Return a stack at the same places for each value of a field."""
    series, slices = Series(count=count), []
    for value, n in itertools.product(values, range(count)):
        slices.append(each := series.slice(n))
        setattr(each, keyword, value)
    return slices


def localisers() -> list[Dataset]:
    scout = Series(count=2, axes=((1, 0, 0), (0, 0, -1)))
    return with_fields(scout.slices(), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])


def stated(keyword: str, value: Any, number: int = 2) -> list[Dataset]:  # noqa: ANN401 - whatever DICOM fields hold
    slices = Series().slices()
    setattr(slices[number], keyword, value)
    return slices


def shuffled(slices: list[Dataset]) -> list[Dataset]:
    return [slices[n] for n in np.random.default_rng(5).permutation(len(slices))]


def tomosynthesis(*, placed: bool) -> list[Dataset]:
    whole = enhanced(shuffled(Series(count=9, axes=turned(0, 45, 10)).slices()), modality="MG")
    whole.SOPClassUID = whole.file_meta.MediaStorageSOPClassUID = BreastTomosynthesisImageStorage
    if not placed:
        for group in whole.PerFrameFunctionalGroupsSequence:
            del group.PlanePositionSequence
    return [whole]


@dataclass(frozen=True)
class Kind:
    """One kind of series: how it is made, what is decided about it, and the code of its refusal, if any."""

    make: Callable[[], list[Dataset]]
    code: str = ""
    decisions: Decisions = AS_IS
    tolerance: float = HALF


SPLIT, RESAMPLE = Decisions(uneven="split"), Decisions(uneven="resample")
GAPPED = [0, 2.5, 5, 7.5, 15, 17.5, 20]
KINDS = {
    "plain": Kind(lambda: Series().slices()),
    "two slices": Kind(lambda: Series(count=2).slices()),
    "reversed": Kind(lambda: Series().slices()[::-1]),
    "anisotropic pixels": Kind(lambda: Series(spacing=(1.1, 0.35, 1.9)).slices()),
    "coronal": Kind(lambda: Series(axes=((1, 0, 0), (0, 0, -1))).slices()),
    "sagittal": Kind(lambda: Series(axes=((0, 1, 0), (0, 0, -1))).slices()),
    "negative directions": Kind(lambda: Series(axes=((-1, 0, 0), (0, -1, 0))).slices()),
    "oblique": Kind(lambda: Series(axes=turned(35, 0, -50)).slices()),
    "doubly oblique": Kind(lambda: Series(axes=turned(-70, 25, 130)).slices()),
    "far from the origin": Kind(lambda: Series(origin=(900, -900, 700)).slices()),
    "thin slices": Kind(lambda: Series(spacing=(0.05, 0.8, 0.7)).slices()),
    "jitter of rounding": Kind(lambda: jitter(0.02), tolerance=0.5 + 3 * 0.06),
    "jitter of a table": Kind(lambda: jitter(0.4), "gap"),
    "a slope for each slice": Kind(lambda: with_slopes(0.5, 0.25, 1.0)),
    "junk above 12 bits": Kind(lambda: soiled(Series().slices())),
    "12 bits at the top": Kind(lambda: in_high_bits(Series().slices())),
    "signed": Kind(lambda: signed(Series().slices())),
    "signed in 12 bits": Kind(lambda: signed_in_12_bits(Series().slices())),
    "padding": Kind(lambda: with_fields(Series().slices(), PixelPaddingValue=0)),
    "MONOCHROME1": Kind(lambda: with_fields(Series().slices(), PhotometricInterpretation="MONOCHROME1")),
    "mixed photometric": Kind(lambda: stated("PhotometricInterpretation", "MONOCHROME1"), "photometric"),
    "implicit": Kind(lambda: in_syntax(ImplicitVRLittleEndian)),
    "big-endian": Kind(lambda: in_syntax(ExplicitVRBigEndian)),
    "deflated": Kind(lambda: in_syntax(DeflatedExplicitVRLittleEndian)),
    "RLE": Kind(lambda: in_syntax(RLELossless)),
    "JPEG-LS": Kind(lambda: in_syntax(JPEGLSLossless)),
    "JPEG 2000": Kind(lambda: in_syntax(JPEG2000Lossless)),
    "high-throughput JPEG 2000": Kind(lambda: in_syntax(HTJ2KLossless)),
    "JPEG in 12 bits, lossy": Kind(lambda: in_syntax(JPEGExtended12Bit), tolerance=3),
    "JPEG lossless": Kind(lambda: in_syntax(JPEGLosslessSV1)),
    "localisers mixed in": Kind(lambda: [*Series().slices(), *localisers()]),
    "tilted": Kind(lean, "tilt"),
    "tilted by less than a degree": Kind(lambda: lean(by=0.03)),
    "sheared in the plane": Kind(lambda: with_fields(
        Series().slices(), ImageOrientationPatient=[1, 0, 0, 0.6, 0.8, 0]), "orientation"),
    "a slice beside the line": Kind(lambda: moved(Series(), [(0.5 * (n == 2), 0, 0) for n in range(6)]), "shift"),
    "gapped": Kind(lambda: at(Series(), GAPPED), "gap"),
    "spacing that changes": Kind(lambda: at(Series(), [0, 1, 2, 3, 5.5, 8]), "gap"),
    "spacing that drifts": Kind(lambda: at(Series(), np.cumsum(np.linspace(1, 1.09, 60)).tolist()), "gap"),
    "a slice twice": Kind(lambda: [*Series().slices(), Series().slice(3)], "several-series"),
    "copies": Kind(copies, "duplicate"),
    "turned slice": Kind(lambda: stated("ImageOrientationPatient", [1, 0, 0, 0, 0, -1]), "orientation"),
    "mixed sizes": Kind(lambda: stated("PixelSpacing", [0.5, 0.5]), "mixed-size"),
    "several series": Kind(lambda: [*Series().slices(), *Series().slices()], "several-series"),
    "no position": Kind(lambda: stated("ImagePositionPatient", None), "no-position"),
    "no spacing": Kind(lambda: stated("PixelSpacing", None), "no-position"),
    "spacing of nothing": Kind(lambda: stated("PixelSpacing", [0, 0.7]), "spacing"),
    "negative spacing": Kind(lambda: stated("PixelSpacing", [-0.8, 0.7]), "spacing"),
    "mosaic": Kind(lambda: stated("ImageType", ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]), "mosaic"),
    "mixed modality": Kind(lambda: stated("Modality", "MR"), "mixed-modality"),
    "colour slices": Kind(lambda: with_fields(Series().slices(), PhotometricInterpretation="RGB"), "photometric"),
    "four dimensions": Kind(lambda: timed("TemporalPositionIdentifier", [1, 2, 3]), "four-d"),
    "one of four dimensions": Kind(lambda: timed("TriggerTime", [0, 250.5]), decisions=Decisions(phase=1)),
    "phases of unequal size": Kind(lambda: timed("TriggerTime", [0, 250])[:-1], "duplicate"),
    "enhanced, shuffled": Kind(lambda: [enhanced(shuffled(Series().slices()))]),
    "enhanced, shared groups": Kind(lambda: [enhanced(shuffled(Series(axes=turned(10, 20, 30)).slices()), shared=(
        "PlaneOrientationSequence", "PixelMeasuresSequence", "PixelValueTransformationSequence"))]),
    "enhanced, a slope for each frame": Kind(lambda: [enhanced(with_slopes(0.5, 0.25))]),
    "enhanced, RLE": Kind(lambda: [encoded(enhanced(shuffled(Series().slices())), RLELossless)]),
    "enhanced, JPEG 2000": Kind(lambda: [encoded(enhanced(shuffled(Series().slices())), JPEG2000Lossless)]),
    "enhanced, big-endian": Kind(lambda: [encoded(enhanced(Series().slices()), ExplicitVRBigEndian)]),
    "enhanced, deflated": Kind(lambda: [encoded(enhanced(Series().slices()), DeflatedExplicitVRLittleEndian)]),
    "enhanced, two files": Kind(lambda: (s := shuffled(Series(count=8).slices())) and [enhanced(s[:3]), enhanced(s[3:])]),
    "enhanced, a frame missing": Kind(lambda: [enhanced(at(Series(), GAPPED))], "gap"),
    "enhanced, tilted": Kind(lambda: [enhanced(lean())], "tilt"),
    "enhanced, four dimensions": Kind(lambda: [enhanced(timed("TemporalPositionIndex", [1, 2]))], "four-d"),
    "enhanced, one phase": Kind(
        lambda: [enhanced(timed("NominalPercentageOfCardiacPhase", [40.0, 70.0]))], decisions=Decisions(phase=0)),
    "tomosynthesis": Kind(lambda: tomosynthesis(placed=True)),
    "tomosynthesis without places": Kind(lambda: tomosynthesis(placed=False), "multi-frame"),
    "gap, first block": Kind(lambda: at(Series(), GAPPED), decisions=SPLIT),
    "gap, second block": Kind(lambda: at(Series(), GAPPED), decisions=Decisions(uneven="split", block=1)),
    "gap, no such block": Kind(lambda: at(Series(), GAPPED), "no-such-block", Decisions(uneven="split", block=2)),
    "gap, resampled": Kind(lambda: at(Series(), GAPPED), decisions=RESAMPLE, tolerance=INTERPOLATED),
    "uneven, resampled": Kind(
        lambda: at(Series(axes=turned(20, -30, 70)), [0, 1, 2.2, 3.1, 4.4, 8]), decisions=RESAMPLE, tolerance=INTERPOLATED),
    "enhanced gap, resampled": Kind(lambda: [enhanced(at(Series(), GAPPED))], decisions=RESAMPLE, tolerance=INTERPOLATED),
    "copies, resampled": Kind(copies, "duplicate", RESAMPLE),
    "tilt cannot be split": Kind(lean, "no-such-block", SPLIT),
}  # fmt: skip


def opened(path: Path, decisions: Decisions, opener: Callable[..., Image] = open_here) -> Image | str:
    """Return an image, or the code of its refusal."""
    try:
        return opener(path, decisions)
    except ImageRefusedError as error:
        return error.code if error.hint else "no hint"


@pytest.mark.parametrize("name", KINDS)
def test_a_series_is_exact_or_refused_for_the_right_reason(tmp_path: Path, name: str) -> None:
    kind = KINDS[name]
    image = opened(write(tmp_path / "series", kind.make()), kind.decisions)
    if isinstance(image, str):
        assert image == kind.code
    else:
        assert not kind.code
        assert worst_error(image) <= kind.tolerance
        assert worst_error(image.oriented()) <= kind.tolerance


def signed_axes() -> list[tuple[Vector, Vector, bool]]:
    units = [sign * np.eye(3)[axis] for axis in range(3) for sign in (1, -1)]
    pairs = [(a.tolist(), b.tolist()) for a, b in itertools.product(units, units) if not a @ b]
    return [(*pair, backwards) for pair in pairs for backwards in (False, True)]


def test_every_order_of_axes_keeps_its_place(tmp_path: Path) -> None:
    orders = signed_axes()
    assert len(orders) == 48
    for number, (row, column, backwards) in enumerate(orders):
        slices = Series(count=3, axes=(row, column)).slices()
        image = open_here(write(tmp_path / str(number), slices[::-1] if backwards else slices))
        assert worst_error(image) <= HALF
        assert worst_error(image.oriented()) <= HALF


FAULTS = {
    "": lambda n, normal, column, gap: 0 * n * normal,
    "gap": lambda n, normal, column, gap: (n >= 2) * normal * gap * 0.7,
    "tilt": lambda n, normal, column, gap: n * column * gap * 0.2,
    "shift": lambda n, normal, column, gap: (n == 1) * column * (0.5 + 0.3 * gap),
    "duplicate": lambda n, normal, column, gap: 0 * n * normal,
}
"""By how much slice n is moved in the patient."""
angles, lengths = st.floats(-180, 180), st.floats(0.3, 3)
any_series = st.builds(
    Series,
    count=st.integers(4, 9),
    spacing=st.tuples(lengths, lengths, lengths),
    origin=st.tuples(*[st.floats(-60, 60)] * 3),
    axes=st.builds(turned, angles, angles, angles),
    intercept=st.just(-8192.0),
)


@settings(max_examples=60, deadline=None)
@given(series=any_series, fault=st.sampled_from(list(FAULTS)), decided=st.sampled_from(["", "resample"]))
def test_any_geometry_is_exact_or_refused(
    series: Series, fault: str, decided: Literal["", "resample"]
) -> None:
    column = np.asarray(series.axes[1])
    number = np.arange(series.count)[:, None]
    slices = moved(series, FAULTS[fault](number, np.cross(*series.axes), column, series.spacing[0]).tolist())
    if fault == "duplicate":
        slices.append(series.slice(2))
    with tempfile.TemporaryDirectory() as folder:
        image = opened(write(Path(folder), slices), Decisions(uneven=decided))
        if isinstance(image, str):
            assert image == fault
        else:
            assert decided or not fault
            assert error_inside(image) <= (INTERPOLATED if fault else HALF)


def error_inside(image: Image) -> float:
    """Return the worst error of the voxels that some slice reaches; there must be some."""
    index = np.moveaxis(np.indices(image.grid.shape), 0, -1)
    pixels = np.asarray(image.arrays[0], dtype=np.float64)
    filled = (
        pixels == pixels.min()
        if any(w.code == "filled" for w in image.warnings)
        else np.zeros(pixels.shape, bool)
    )
    errors = np.abs(pixels - truth(image.grid.to_world(index)))[~filled]
    assert errors.size > pixels.size / 4
    return float(errors.max())


def test_the_check_notices_a_reader_that_shifts_tilted_slices(tmp_path: Path) -> None:
    import SimpleITK as sitk

    folder = write(tmp_path / "tilted", lean(count=20))
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    volume = reader.Execute()
    directions = np.reshape(volume.GetDirection(), (3, 3)) * volume.GetSpacing()
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = directions[:, ::-1], volume.GetOrigin()
    pixels = sitk.GetArrayFromImage(volume)
    index = np.moveaxis(np.indices(pixels.shape), 0, -1)
    assert np.abs(pixels - truth(Grid(pixels.shape, affine).to_world(index))).max() > 20
    image = open_here(folder, RESAMPLE)
    assert error_inside(image) <= INTERPOLATED


@pytest.mark.parametrize(
    "name", ["oblique", "enhanced, JPEG 2000", "gap, resampled", "tilted", "one of four dimensions"]
)
def test_the_reader_process_gives_the_same_answers(tmp_path: Path, name: str) -> None:
    kind = KINDS[name]
    image = opened(write(tmp_path / "series", kind.make()), kind.decisions, open_image)
    if isinstance(image, str):
        assert image == kind.code
    else:
        assert not kind.code
        assert worst_error(image) <= kind.tolerance
        assert image.decisions == kind.decisions
