from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Any

import imagecodecs
import numpy as np
import pytest
from PIL import Image as Pictures

from napari_medlab.errors import ImageRefusedError
from napari_medlab.images import open_image

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

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
    assert caught.value.code == "truncated"
    assert "120000000000 bytes" in caught.value.message


def test_a_damaged_picture_is_one_clear_error(tmp_path: Path) -> None:
    Pictures.fromarray(RGB).save(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:200])
    with pytest.raises(ImageRefusedError) as caught:
        open_image(tmp_path / "a.png")
    assert caught.value.code == "truncated"


def test_a_picture_whose_pixels_are_damaged_is_one_clear_error(tmp_path: Path) -> None:
    Pictures.fromarray(RGB).save(tmp_path / "a.png")
    content = bytearray((tmp_path / "a.png").read_bytes())
    content[len(content) // 2] ^= 0xFF
    (tmp_path / "a.png").write_bytes(content)
    image = open_image(tmp_path / "a.png")
    with pytest.raises(ImageRefusedError) as caught:
        np.asarray(image.levels[0])
    assert caught.value.code == "unreadable"


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 1}, {"quality": 1}])
@pytest.mark.parametrize("size", [(1, 1), (2000, 1500)])
def test_jpegs_that_shrank_as_far_as_they_can_open(
    tmp_path: Path, options: dict[str, Any], size: tuple[int, int]
) -> None:
    Pictures.new("RGB", size).save(tmp_path / "a.jpg", **options)
    image = open_image(tmp_path / "a.jpg")
    assert np.asarray(image.levels[0]).shape == (*size[::-1], 3)


def test_a_jpeg_with_a_preview_and_bytes_between_its_segments_opens(tmp_path: Path) -> None:
    Pictures.fromarray(RGB).save(tmp_path / "small.jpg")
    preview = (tmp_path / "small.jpg").read_bytes()
    segment = b"\xff\xe1" + struct.pack(">H", len(preview) + 2) + preview
    Pictures.fromarray(RGB).save(tmp_path / "a.jpg", comment=b"\xff\xda" * 200)
    content = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(content[:2] + segment + content[2:] + b"\xff\xda" * 200)
    assert np.asarray(open_image(tmp_path / "a.jpg").levels[0]).shape == RGB.shape


@pytest.mark.parametrize(
    ("frame", "blocks", "code"),
    [(0xC0, 8 * 700, "truncated"), (0xC9, 1, "unsupported"), (0xC3, 1, "unsupported")],
)
def test_jpegs_are_refused_by_their_frames(tmp_path: Path, frame: int, blocks: int, code: str) -> None:
    Pictures.fromarray(RGB).convert("L").save(tmp_path / "a.jpg")
    content = bytearray((tmp_path / "a.jpg").read_bytes())
    assert len(content) < 700
    at = content.index(b"\xff\xc0")
    content[at + 1] = frame
    content[at + 5 : at + 9] = struct.pack(">HH", 8, 8 * blocks)
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(ImageRefusedError) as caught:
        open_image(tmp_path / "a.jpg")
    assert caught.value.code == code


def test_a_png_that_shrank_as_far_as_it_can_opens(tmp_path: Path) -> None:
    for mode in ("1", "L", "P", "RGBA"):
        Pictures.new(mode, (3000, 2000)).save(tmp_path / "a.png", optimize=True)
        assert open_image(tmp_path / "a.png").shape[:2] == (2000, 3000)


def netpbm(values: NDArray[Any], greatest: int, head: bytes = b"%s %d %d %d\n") -> bytes:
    """Return a binary PGM or PPM of an array."""
    magic = b"P6" if values.ndim == 3 else b"P5"
    stored = values.astype(">u1" if greatest < 256 else ">u2")
    return head % (magic, values.shape[1], values.shape[0], greatest) + stored.tobytes()


@pytest.mark.parametrize("channels", [(), (3,)])
@pytest.mark.parametrize("greatest", [1, 200, 255, 256, 4095, 65535])
def test_a_pgm_or_ppm_keeps_every_value(tmp_path: Path, channels: tuple[int, ...], greatest: int) -> None:
    values = np.random.default_rng(2).integers(0, greatest + 1, (20, 30, *channels))
    (tmp_path / "a.pgm").write_bytes(netpbm(values, greatest))
    image = open_image(tmp_path / "a.pgm")
    assert (image.kind, image.grid.unit, image.is_rgb) == ("photo", "px", bool(channels))
    assert image.dtype == (np.uint8 if greatest < 256 else np.uint16)
    assert np.array_equal(np.asarray(image.levels[0]), values)
    assert image.window == (None if greatest in (255, 65535) else (0, greatest))


@pytest.mark.parametrize(
    "head",
    [b"%s\n# made by\r\n# hand\n%d\t%d\n%d ", b"%s#\n%d#\n %d %d\n", b"%s\r\n%d %d\r\n%d\n"],
)
def test_comments_and_white_space_in_a_pgm_are_skipped(tmp_path: Path, head: bytes) -> None:
    # pixels that look like white space and comments belong to the picture
    values = np.frombuffer(b"\n# \t\r#  \n\n#0", np.uint8).reshape(3, 4)
    (tmp_path / "a.pgm").write_bytes(netpbm(values, 255, head))
    assert np.array_equal(np.asarray(open_image(tmp_path / "a.pgm").levels[0]), values)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"P5\n4 4\n255\n" + bytes(15), "truncated"),
        (b"P5\n4 4\n65535\n" + bytes(31), "truncated"),
        (b"P5\n1000000000 1000000000\n255\n" + bytes(9), "size"),
        (b"P5\n100000 100000\n255\n" + bytes(9), "truncated"),
        (b"P5\n0 4\n255\n", "size"),
        (b"P5\n4 4\n0\n" + bytes(16), "unsupported"),
        (b"P5\n4 4\n65536\n" + bytes(64), "unsupported"),
        (b"P5\n4 -4\n255\n" + bytes(16), "unreadable"),
        (b"P5 is how many notes begin\n", "unreadable"),
        (b"P5" + b"#" * 100_000, "unreadable"),
        (b"P6\n4 4\n255", "unreadable"),
    ],
)
def test_a_damaged_pgm_is_refused_by_its_header(tmp_path: Path, content: bytes, code: str) -> None:
    (tmp_path / "a.pgm").write_bytes(content)
    with pytest.raises(ImageRefusedError) as caught:
        open_image(tmp_path / "a.pgm")
    assert caught.value.code == code
