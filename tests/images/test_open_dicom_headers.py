"""Headers as scanners and archives write them: with much that is not wanted, in every encoding."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from dicom_phantom import Series, encoded, mammogram, series_in, worst_error, write
from pydicom import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
)

from napari_medlab.errors import ImageRefusedError
from napari_medlab.images.dicom.attributes import TAGS
from napari_medlab.images.opening import open_here
from napari_medlab.images.progress import listening

if TYPE_CHECKING:
    from pathlib import Path

    from pydicom.uid import UID

SYNTAXES = [
    ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian,
]  # fmt: skip


def nested(depth: int, *, undefined: bool) -> Dataset:
    item = Dataset()
    item.CodeValue = "121311"
    # a value that looks like the end of a sequence
    item.add_new(0x00081150, "UI", "1.2")
    for level in range(depth):
        outer = Dataset()
        outer.ReferencedImageSequence = [item, Dataset()]
        outer["ReferencedImageSequence"].is_undefined_length = undefined and level % 2 == 0
        item.is_undefined_length_sequence_item = undefined
        item = outer
    return item


def stuff(dataset: Dataset, *, undefined: bool) -> Dataset:
    """Add what nobody wants, and a table that is wanted."""
    table = Dataset()
    table.add_new(0x00283002, "SS", [256, -1024, 16])
    table.LUTExplanation = "SOFT"
    table.add_new(0x00283006, "US", (np.arange(256) * 257).tolist())
    dataset.VOILUTSequence = [table]
    dataset.SourceImageSequence = [nested(6, undefined=undefined)]
    dataset["SourceImageSequence"].is_undefined_length = undefined
    dataset.TextValue = "c" * 40_000
    block = dataset.private_block(0x0009, "MAKER", create=True)
    block.add_new(0x01, "UN", b"\xfe\xff\x00\xe0" * 5000)
    block.add_new(0x02, "SQ", [nested(3, undefined=undefined)])
    return dataset


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_what_is_not_wanted_is_stepped_over(tmp_path: Path, syntax: UID, undefined: bool) -> None:
    slices = [encoded(stuff(each, undefined=undefined), syntax) for each in Series(count=3).slices()]
    image = open_here(write(tmp_path, slices))
    assert worst_error(image) <= 0.5
    assert (image.windows[0].name, image.windows[0].curve[0], image.windows[0].curve[-1]) == ("SOFT", 0, 1)
    if syntax != ImplicitVRLittleEndian:  # which does not say whether the table begins below 0
        assert image.window == (-1024, -769)


@pytest.mark.parametrize("samples", ["RGB", "planes"])
def test_colours_come_out_as_red_green_and_blue(tmp_path: Path, samples: str) -> None:
    colours = np.random.default_rng(2).integers(0, 255, (6, 5, 3), dtype=np.uint8)
    dataset = mammogram(np.zeros((6, 5), np.uint16))
    dataset.Modality, dataset.PhotometricInterpretation, dataset.SamplesPerPixel = "XC", "RGB", 3
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.PlanarConfiguration = int(samples == "planes")
    dataset.PixelData = (colours.transpose(2, 0, 1) if samples == "planes" else colours).tobytes()
    image = open_here(next(write(tmp_path, [dataset]).iterdir()))
    assert image.is_rgb
    assert np.array_equal(image.arrays[0][...], colours)


def test_bytes_in_big_endian_words_are_put_right(tmp_path: Path) -> None:
    pixels = np.arange(48, dtype=np.uint8).reshape(6, 8)
    dataset = mammogram(pixels.astype(np.uint16))
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.PixelData = pixels.reshape(-1, 2)[:, ::-1].tobytes()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    dataset["PixelData"].VR = "OW"
    image = open_here(next(write(tmp_path, [dataset]).iterdir()))
    assert np.array_equal(image.arrays[0][...], pixels)


def test_progress_is_told_file_by_file_and_reading_can_be_stopped(tmp_path: Path) -> None:
    folder = series_in(tmp_path / "ct")
    told: list[tuple[int, int]] = []
    with listening(lambda done, total: told.append((done, total))):
        open_here(folder)
    assert told == [(n, 6) for n in range(1, 7)]

    def stop(done: int, total: int) -> None:
        raise ImageRefusedError("Stopped.", code="cancelled")

    with listening(stop), pytest.raises(ImageRefusedError) as caught:
        open_here(folder)
    assert caught.value.code == "cancelled"


def test_a_compressed_frame_of_another_size_is_refused(tmp_path: Path) -> None:
    slices = [encoded(each, JPEG2000Lossless) for each in Series(count=3).slices()]
    for each in slices:
        each.Rows += 1
    image = open_here(write(tmp_path, slices))
    with pytest.raises(ImageRefusedError) as caught:
        image.arrays[0][0]
    assert caught.value.code == "size"


def test_a_volume_in_monochrome1_is_shown_inverted_and_not_changed(tmp_path: Path) -> None:
    slices = Series().slices()
    for each in slices:
        each.PhotometricInterpretation = "MONOCHROME1"
    image = open_here(write(tmp_path, slices))
    assert image.is_inverted
    assert worst_error(image) <= 0.5


def test_attributes_are_those_of_the_standard() -> None:
    from pydicom.datadict import dictionary_VR, keyword_for_tag

    for keyword, (tag, kind) in TAGS.items():
        assert keyword_for_tag(tag) == keyword
        standard = dictionary_VR(tag)
        assert kind == standard or (kind, standard) in (("XS", "US or SS"), ("OW", "US or OW"))
