from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

import imagecodecs
import numpy as np
import pytest
from PIL import Image as Pictures

from napari_medlab.errors import ImageRefusedError
from napari_medlab.images import open_image

if TYPE_CHECKING:
    from pathlib import Path

RGB = np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)


def test_a_png_is_a_photo_of_unknown_pixel_size(tmp_path: Path) -> None:
    Pictures.fromarray(RGB).save(tmp_path / "a.png", dpi=(300, 300))
    image = open_image(tmp_path / "a.png")
    assert (image.kind, image.grid.unit, image.is_rgb) == ("photo", "px", True)
    assert image.as_json()["spacing"] is None
    assert np.array_equal(np.asarray(image.levels[0]), RGB)


@pytest.mark.parametrize("shape", [(20, 30), (20, 30, 3)])
def test_sixteen_bits_stay_sixteen_bits(tmp_path: Path, shape: tuple[int, ...]) -> None:
    deep = np.random.default_rng(1).integers(0, 65535, shape, dtype=np.uint16)
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(deep))
    image = open_image(tmp_path / "a.png")
    assert image.dtype == np.uint16
    assert image.is_rgb == (len(shape) == 3)
    assert np.array_equal(np.asarray(image.levels[0]), deep)


@pytest.mark.parametrize(
    ("mode", "channels"), [("1", ()), ("L", ()), ("P", (3,)), ("LA", (4,)), ("RGBA", (4,))]
)
def test_every_kind_of_png_opens(tmp_path: Path, mode: str, channels: tuple[int, ...]) -> None:
    Pictures.fromarray(RGB).convert(mode).save(tmp_path / "a.png")
    image = open_image(tmp_path / "a.png")
    assert image.shape == (20, 30, *channels)
    assert np.asarray(image.levels[0]).shape == image.shape


def test_a_jpeg_stays_as_it_is_stored(tmp_path: Path) -> None:
    exif = Pictures.Exif()
    exif[0x0112] = 6
    Pictures.fromarray(RGB).save(tmp_path / "a.jpg", exif=exif)
    image = open_image(tmp_path / "a.jpg")
    assert image.shape == RGB.shape
    assert [w.code for w in image.warnings] == ["exif-orientation"]


def test_a_picture_that_claims_too_much_is_refused_by_its_header(tmp_path: Path) -> None:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 200_000, 200_000, 8, 2, 0, 0, 0))
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IEND", b""))
    with pytest.raises(ImageRefusedError) as caught:
        open_image(tmp_path / "bomb.png")
    assert caught.value.code == "size"


def test_a_damaged_picture_is_one_clear_error(tmp_path: Path) -> None:
    Pictures.fromarray(RGB).save(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:200])
    image = open_image(tmp_path / "a.png")
    with pytest.raises(ImageRefusedError) as caught:
        np.asarray(image.levels[0])
    assert caught.value.code == "unreadable"
