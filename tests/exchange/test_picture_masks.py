"""Masks in PNG and TIFF files: onto the image of their name, every number as it is stored."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
from exchange_samples import PHOTO, project_of, write_images
from PIL import Image as Pictures

from napari_medlab.annotations.formats.voxel_outlines import patch_of_region
from napari_medlab.errors import InputRefusedError
from napari_medlab.exchange.contents import Wanted
from napari_medlab.exchange.formats import detected, format_named
from napari_medlab.exchange.picture_masks import read_picture
from napari_medlab.exchange.reference import import_reference

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_medlab.project import Project


@pytest.fixture
def photos(tmp_path: Path) -> Iterator[Project]:
    with project_of(tmp_path / "p", write_images(tmp_path / "images", photos=2, volumes=0)) as project:
        yield project


def labels_of(*numbers: int) -> NDArray[np.uint8]:
    """Return a map with a block, one with a hole, for each number."""
    labels = np.zeros(PHOTO, dtype=np.uint8)
    for place, number in enumerate(numbers):
        labels[5:15, 3 + 15 * place : 13 + 15 * place] = number
        labels[8:10, 6 + 15 * place : 9 + 15 * place] = 0
    return labels


def write_palette(path: Path, labels: NDArray[np.uint8], colours: list[int]) -> None:
    picture = Pictures.fromarray(labels, "L")
    picture.putpalette(colours)
    picture.save(path)


def masks_in(project: Project, case_number: int = 0) -> dict[str, NDArray[np.bool_]]:
    """Return what the outlines of a case cover, by class."""
    found: dict[str, NDArray[np.bool_]] = {}
    for region in project.regions(project.cases()[case_number].case_id):
        mask = found.setdefault(region.label, np.zeros(PHOTO, dtype=np.bool_))
        patch = patch_of_region(region, PHOTO)
        assert patch is not None
        mask[patch.box] |= patch.mask
    return found


@pytest.mark.parametrize("white", [1, 255])
@pytest.mark.parametrize("name", ["frame-0.png", "frame-0_mask.png", "frame-0.tif"])
def test_a_mask_of_one_class_comes_in_as_it_is(
    photos: Project, tmp_path: Path, name: str, white: int
) -> None:
    folder, labels = tmp_path / "masks", labels_of(white, white)
    folder.mkdir()
    Pictures.fromarray(labels).save(folder / name)
    Pictures.fromarray(np.zeros(PHOTO, dtype=np.uint8)).save(folder / "frame-1.png")
    done = import_reference(photos, Wanted(folder))
    assert (done.format, done.added, done.outlines, done.normal) == ("label-map", 2, 2, 1)
    found = masks_in(photos)
    assert list(found) == ["label 1"]
    assert np.array_equal(found["label 1"], labels > 0)


def test_numbers_are_classes_and_a_lone_one_keeps_its_name(photos: Project, tmp_path: Path) -> None:
    folder, labels = tmp_path / "masks", labels_of(1, 2, 3)
    folder.mkdir()
    Pictures.fromarray(labels).save(folder / "frame-0.png")
    Pictures.fromarray(labels_of(2)).save(folder / "frame-1.png")
    import_reference(photos, Wanted(folder))
    found = masks_in(photos)
    assert {name: mask.sum() for name, mask in found.items()} == {f"label {n}": 94 for n in (1, 2, 3)}
    assert all(np.array_equal(found[f"label {number}"], labels == number) for number in (1, 2, 3))
    assert list(masks_in(photos, 1)) == ["label 2"]


@pytest.mark.parametrize(
    "colours",
    [
        [0, 0, 0, 255, 0, 0, 0, 255, 0],
        [0, 0, 0, 255, 0, 0, 0, 255, 0] + [0] * (768 - 9),
        [9, 9, 9] * 256,
    ],
    ids=["short", "padded", "one colour"],
)
def test_of_a_palette_the_places_count_and_not_the_colours(
    photos: Project, tmp_path: Path, colours: list[int]
) -> None:
    labels = labels_of(1, 2)
    write_palette(tmp_path / "frame-0.png", labels, colours)
    assert np.array_equal(read_picture(tmp_path / "frame-0.png", PHOTO), labels)
    import_reference(photos, Wanted(tmp_path / "frame-0.png"))
    assert sorted(masks_in(photos)) == ["label 1", "label 2"]


def test_sixteen_bits_are_kept(photos: Project, tmp_path: Path) -> None:
    labels = labels_of(1, 2).astype(np.uint16) * 300
    for path in (tmp_path / "frame-0.tif", tmp_path / "deep.png"):
        if path.suffix == ".tif":
            tifffile.imwrite(path, labels)
        else:
            Pictures.fromarray(labels).save(path)
        assert np.array_equal(read_picture(path, PHOTO), labels)
    import_reference(photos, Wanted(tmp_path / "frame-0.tif"))
    assert sorted(masks_in(photos)) == ["label 300", "label 600"]


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_few_bits_are_not_stretched(tmp_path: Path, bits: int) -> None:
    labels = labels_of(1) if bits == 1 else labels_of(1, 2, 3)
    packed = np.packbits(
        np.unpackbits(labels[..., None], axis=2)[..., -bits:].reshape(len(labels), -1), axis=1
    )
    rows = b"".join(b"\0" + row.tobytes() for row in packed)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", PHOTO[1], PHOTO[0], bits, 0, 0, 0, 0)
    path = tmp_path / "a.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )
    assert np.array_equal(read_picture(path, PHOTO) > 0, labels > 0)
    if bits > 1:
        assert np.array_equal(read_picture(path, PHOTO), labels)


def test_a_mask_of_another_size_is_refused_and_changes_nothing(photos: Project, tmp_path: Path) -> None:
    Pictures.fromarray(labels_of(1)[:40]).save(tmp_path / "frame-0.png")
    edits = len(photos.journal())
    with pytest.raises(InputRefusedError, match=r"the mask has 40 × 64 pixels .* image 48 × 64") as caught:
        import_reference(photos, Wanted(tmp_path / "frame-0.png"))
    assert (caught.value.code, len(photos.journal())) == ("grid", edits)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_colours_are_refused_with_what_to_save(photos: Project, tmp_path: Path, mode: str) -> None:
    Pictures.fromarray(labels_of(1)).convert(mode).save(tmp_path / "frame-0.png")
    with pytest.raises(InputRefusedError, match=r"has \d channels") as caught:
        import_reference(photos, Wanted(tmp_path / "frame-0.png", "label-map"))
    assert caught.value.code == "labels"
    assert "grey picture" in str(caught.value.hint)


def test_several_pages_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.stack([labels_of(1)] * 3), photometric="minisblack")
    with pytest.raises(InputRefusedError):
        read_picture(tmp_path / "a.tif", PHOTO)


@pytest.mark.parametrize("is_grey", [True, False])
def test_photographs_are_not_taken_for_masks(tmp_path: Path, is_grey: bool) -> None:
    values = np.random.default_rng(1).integers(0, 255, PHOTO if is_grey else (*PHOTO, 3), dtype=np.uint8)
    Pictures.fromarray(values).save(tmp_path / "frame-0.png")
    for path in (tmp_path, tmp_path / "frame-0.png"):
        with pytest.raises(InputRefusedError) as caught:
            detected(path)
        assert (caught.value.code, caught.value.hint) == (
            "unknown-format", "Give --format label-map if these are masks; make those with blurred edges black and white first.",
        )  # fmt: skip


def test_pictures_beside_volumes_are_no_maps(tmp_path: Path) -> None:
    Pictures.fromarray(labels_of(1)).save(tmp_path / "preview.png")
    masks = format_named("label-map")
    assert detected(tmp_path) == masks
    assert [path.name for path in masks.files(tmp_path)] == ["preview.png"]
    (tmp_path / "a.nii.gz").write_bytes(b"")
    assert detected(tmp_path) == masks
    assert [path.name for path in masks.files(tmp_path)] == ["a.nii.gz"]
