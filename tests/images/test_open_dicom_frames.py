"""Several frames in a file, and several volumes in a series."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from dicom_phantom import COLUMNS, ROWS, Series, encoded, enhanced, mammogram, worst_error, write
from pydicom.encaps import encapsulate_extended
from pydicom.uid import JPEG2000Lossless, RLELossless

from napari_medlab.errors import ImageRefusedError
from napari_medlab.images import Decisions
from napari_medlab.images.opening import open_here

if TYPE_CHECKING:
    from pathlib import Path

    from pydicom import Dataset

CINE = (np.arange(5 * 12 * 8, dtype=np.uint16).reshape(5, 12, 8) * 7) % 4096


def cine(frames: int = 5) -> Dataset:
    loop = mammogram(CINE.reshape(-1, 8))
    loop.Modality, loop.Rows, loop.NumberOfFrames = "XA", 12, frames
    return loop


def file_of(folder: Path, dataset: Dataset) -> Path:
    return next(write(folder, [dataset]).iterdir())


def refusal(path: Path, decisions: Decisions | None = None) -> ImageRefusedError:
    with pytest.raises(ImageRefusedError) as caught:
        open_here(path, decisions or Decisions())
    assert caught.value.hint
    return caught.value


def phases(keyword: str, values: list[Any], count: int = 3) -> list[Dataset]:
    """Return a stack for each value, all of whose stored values are one more than the last one's."""
    series, slices = Series(count=count), []
    for number, value in enumerate(values):
        for each in series.slices():
            each.PixelData = (np.frombuffer(each.PixelData, np.uint16) + np.uint16(number)).tobytes()
            setattr(each, keyword, value)
            slices.append(each)
    return slices


@pytest.mark.parametrize("compressed", [False, True])
def test_each_frame_of_a_cine_loop_can_be_opened(tmp_path: Path, compressed: bool) -> None:
    path = file_of(tmp_path, encoded(cine(), JPEG2000Lossless) if compressed else cine())
    error = refusal(path)
    assert error.code == "multi-frame"
    assert [option.title for option in error.options] == [f"Frame {n} of 5" for n in range(1, 6)]
    for number, option in enumerate(error.options):
        image = open_here(path, Decisions.from_json(option.decisions))
        assert np.array_equal(image.arrays[0][...], CINE[number])
        assert image.decisions.phase == number
    assert refusal(path, Decisions(phase=5)).code == "no-such-phase"


def test_files_that_make_no_volume_can_be_chosen_one_by_one(tmp_path: Path) -> None:
    first, second = mammogram(CINE[0]), mammogram(CINE[1])
    second.SeriesInstanceUID = first.SeriesInstanceUID
    error = refusal(write(tmp_path, [first, second]))
    assert error.code == "several-images"
    opened = [open_here(tmp_path, Decisions.from_json(option.decisions)) for option in error.options]
    sums = {int(image.arrays[0][...].sum()) for image in opened}
    assert sums == {int(CINE[0].sum()), int(CINE[1].sum())}


def test_an_extended_offset_table_places_the_fragments(tmp_path: Path) -> None:
    loop = encoded(cine(), RLELossless)
    plain = encoded(cine(), JPEG2000Lossless)
    frames = [bytes(frame) for frame in _frames(plain)]
    loop.file_meta.TransferSyntaxUID = JPEG2000Lossless
    loop.PixelData, loop.ExtendedOffsetTable, loop.ExtendedOffsetTableLengths = encapsulate_extended(frames)
    loop["PixelData"].is_undefined_length = True
    image = open_here(file_of(tmp_path, loop), Decisions(phase=3))
    assert np.array_equal(image.arrays[0][...], CINE[3])


@pytest.mark.parametrize("has_table", [False, True])
def test_frames_in_several_fragments_are_put_together(tmp_path: Path, has_table: bool) -> None:
    from pydicom.encaps import encapsulate

    loop = encoded(cine(), JPEG2000Lossless)
    loop.PixelData = encapsulate(list(_frames(loop)), fragments_per_frame=3, has_bot=has_table)
    image = open_here(file_of(tmp_path, loop), Decisions(phase=4))
    assert np.array_equal(image.arrays[0][...], CINE[4])


def test_pieces_that_belong_to_no_frame_are_refused(tmp_path: Path) -> None:
    loop = encoded(cine(), JPEG2000Lossless)
    loop.NumberOfFrames = 7
    assert refusal(file_of(tmp_path, loop)).code == "fragments"


@pytest.mark.parametrize(("frames", "code"), [(2**31 - 1, "size"), (-3, "size"), (6, "truncated")])
def test_a_number_of_frames_that_cannot_be_is_refused(tmp_path: Path, frames: int, code: str) -> None:
    assert refusal(file_of(tmp_path, cine(frames))).code == code


def test_frames_that_are_described_otherwise_than_counted_are_refused(tmp_path: Path) -> None:
    whole = enhanced(Series().slices())
    del whole.PerFrameFunctionalGroupsSequence[-1]
    assert refusal(file_of(tmp_path, whole)).code == "frames"


def test_an_enhanced_file_is_a_volume_with_its_frames_windows(tmp_path: Path) -> None:
    slices = Series(count=4).slices()
    for each in slices:
        each.WindowCenter, each.WindowWidth = 40, 400
    image = open_here(file_of(tmp_path, enhanced(slices, shared=("FrameVOILUTSequence",))))
    assert image.shape == (4, ROWS, COLUMNS)
    assert image.window == (-160, 240)
    assert image.details["slices"] == 4


def test_one_enhanced_frame_is_a_volume_of_one(tmp_path: Path) -> None:
    image = open_here(file_of(tmp_path, enhanced(Series(count=1).slices())))
    assert image.shape == (1, ROWS, COLUMNS)
    assert worst_error(image) <= 0.5


def test_tomosynthesis_is_a_volume_where_its_frames_say_where_they_lie(tmp_path: Path) -> None:
    image = open_here(file_of(tmp_path, enhanced(Series(count=7).slices(), modality="MG")))
    assert (image.kind, image.modality, image.shape[0]) == ("volume", "MG", 7)


def test_tomosynthesis_without_places_does_not_believe_the_stated_spacing(tmp_path: Path) -> None:
    whole = enhanced(Series(count=7).slices(), modality="MG")
    for group in whole.PerFrameFunctionalGroupsSequence:
        del group.PlanePositionSequence
    error = refusal(file_of(tmp_path, whole))
    assert error.code == "multi-frame"
    assert len(error.options) == 7
    assert "where they lie" in error.message


@pytest.mark.parametrize(
    ("keyword", "values", "titles"),
    [
        ("TriggerTime", [0, 250.5], ["TriggerTime 0 ms", "TriggerTime 250.5 ms"]),
        ("TemporalPositionIdentifier", [10, 9], ["TemporalPositionIdentifier 9", "TemporalPositionIdentifier 10"]),
        ("EchoTime", [2.3, 4.6], ["EchoTime 2.3 ms", "EchoTime 4.6 ms"]),
        ("DiffusionBValue", [0.0, 1000.0], ["DiffusionBValue 0 s/mm²", "DiffusionBValue 1000 s/mm²"]),
        ("AcquisitionNumber", [2, 1], ["AcquisitionNumber 1", "AcquisitionNumber 2"]),
        ("ImageType", [["ORIGINAL", "M"], ["ORIGINAL", "P"]], ["ImageType ORIGINAL\\M", "ImageType ORIGINAL\\P"]),
        ("ContentTime", ["101010", "101020"], ["ContentTime", "ContentTime"]),
    ],
)  # fmt: skip
def test_volumes_at_the_same_places_are_told_apart(
    tmp_path: Path, keyword: str, values: list[Any], titles: list[str]
) -> None:
    folder = write(tmp_path, phases(keyword, values))
    error = refusal(folder)
    assert error.code == "four-d"
    assert [option.title for option in error.options] == [
        f"Phase {n + 1} of 2 ({t})" for n, t in enumerate(titles)
    ]
    brighter = [0, 1] if values == sorted(values) else [1, 0]
    for option, by in zip(error.options, brighter, strict=True):
        image = open_here(folder, Decisions.from_json(option.decisions))
        assert image.shape == (3, ROWS, COLUMNS)
        assert by - 0.5 <= worst_error(image) <= by + 0.5
        assert image.decisions.as_json() == option.decisions
    assert refusal(folder, Decisions(phase=2)).code == "no-such-phase"


def test_copies_that_no_attribute_parts_stay_duplicates(tmp_path: Path) -> None:
    assert refusal(write(tmp_path, phases("TriggerTime", [5, 5]))).code == "duplicate"


def test_a_volume_without_phases_has_no_second_one(tmp_path: Path) -> None:
    assert refusal(write(tmp_path, Series().slices()), Decisions(phase=1)).code == "no-such-phase"


def _frames(dataset: Dataset) -> list[bytes]:
    from pydicom.encaps import generate_frames

    return list(generate_frames(dataset.PixelData, number_of_frames=int(dataset.NumberOfFrames)))
