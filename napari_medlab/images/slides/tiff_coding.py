"""How the pixels of a TIFF directory are stored, and their decoding: never to more bytes than a tile has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.errors import ImageRefusedError
from napari_medlab.images.slides.codestreams import check_codestream, rgb_of_ycbcr

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_medlab.images.slides.codestreams import Codestream
    from napari_medlab.images.slides.tiff_directories import Directory

__all__ = ["Coding", "coding_of"]

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, YCBCR = 0, 1, 2, 3, 6
PHOTOMETRIC = {4: "a mask", 5: "CMYK", 8: "CIELAB", 9: "ICCLAB", 10: "ITULAB", 32803: "a colour filter array"}
NONE, JPEG, APERIO_YCBCR = 1, 7, 33003
NAMES = {1: "NONE", 5: "LZW", 7: "JPEG", 8: "DEFLATE", 32946: "DEFLATE", 32773: "PACKBITS", 33003: "JPEG2000",
         33004: "JPEG2000", 33005: "JPEG2000", 34712: "JPEG2000", 34925: "LZMA", 34926: "ZSTD", 50000: "ZSTD",
         34927: "WEBP", 50001: "WEBP"}  # fmt: skip
PICTURES: dict[str, Codestream] = {"JPEG": "jpeg", "JPEG2000": "jpeg2000", "WEBP": "webp"}
FORMATS = {1: "u", 2: "i", 3: "f"}
HORIZONTAL, FLOATING = 2, 3
PACKED_BITS = (1, 2, 4)


@dataclass(frozen=True, eq=False)
class Coding:
    """How the pixels of one directory are stored.

    Parameters
    ----------
    path : Path
    compression, predictor, photometric, bits : int
        As the tags have them.
    samples : int
        Stored values a pixel, in one plane of them.
    stored : numpy dtype
        Of a stored value, in the file's byte order.
    is_backwards : bool
        Whether the bits of a byte run the other way.
    tables : bytes
        What JPEG tiles share.
    colours : uint8 array (2 ** bits, 3) or None
        What the values of a palette picture mean.
    """

    path: Path
    compression: int
    predictor: int
    photometric: int
    bits: int
    samples: int
    stored: np.dtype[Any]
    is_backwards: bool = False
    tables: bytes = b""
    colours: NDArray[np.uint8] | None = None

    @property
    def name(self) -> str:
        """What the compression is called."""
        return NAMES[self.compression]

    @property
    def is_raw(self) -> bool:
        """Whether the bytes of the file are the values."""
        plain = self.compression == NONE and self.predictor == 1 and not self.is_backwards
        return plain and self.bits not in PACKED_BITS

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of a decoded value."""
        return np.dtype(np.uint8) if self.colours is not None else self.stored.newbyteorder("=")

    @property
    def channels(self) -> int:
        """Decoded values a pixel."""
        return 3 if self.colours is not None else self.samples

    def row_bytes(self, width: int) -> int:
        """Return how many bytes a stored row takes."""
        return -(-width * self.samples * self.bits // 8)

    def decoded(self, data: bytes, height: int, width: int, most_height: int = 0) -> NDArray[Any]:
        """Return a tile or strip of that size as (y, x, channel); a picture may come out smaller or larger.

        What decodes to more than ``most_height`` rows is refused: writers may pad the last strip up to it.
        """
        if self.name in PICTURES:
            check_codestream(
                self.path, PICTURES[self.name], data, (max(height, most_height), width, self.samples)
            )
            pixels = np.asarray(self._picture(data))
            pixels = pixels.reshape(*pixels.shape[:2], -1)
            if pixels.shape[2] != self.samples or pixels.dtype.itemsize * 8 != self.bits:
                stated = f"{self.samples} of {self.bits} bits"
                raise ValueError(
                    f"a tile has {pixels.shape[2]} values of {pixels.dtype} a pixel, expected {stated}"
                )
        else:
            pixels = self._values(data, height, width, max(height, most_height))
        return self.shown(pixels)

    def shown(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """Return stored values as they are shown: a palette's as colours, bytes in this machine's order."""
        if self.colours is not None:
            colours: NDArray[Any] = self.colours[pixels[..., 0]]
            return colours
        native: NDArray[Any] = pixels.astype(self.dtype, copy=False)
        return native

    def _picture(self, data: bytes) -> Any:  # noqa: ANN401 - imagecodecs has no types
        import imagecodecs

        if self.name == "JPEG2000":
            pixels = imagecodecs.jpeg2k_decode(data)
            return rgb_of_ycbcr(pixels) if self.compression == APERIO_YCBCR and self.samples == 3 else pixels
        if self.name == "WEBP":
            return imagecodecs.webp_decode(data, hasalpha=self.samples == 4)
        # Aperio writes RGB without saying so within the tile; a tile with a JFIF header means what JFIF says
        is_stated = b"JFIF\0" in data[:64]
        stored = "RGB" if self.photometric == RGB and not is_stated and self.samples == 3 else None
        shown = "RGB" if self.samples == 3 else None
        tables = self.tables or None
        return imagecodecs.jpeg8_decode(data, tables=tables, colorspace=stored, outcolorspace=shown)

    def _values(self, data: bytes, height: int, width: int, most_height: int) -> NDArray[Any]:
        import imagecodecs

        expected = height * self.row_bytes(width)
        if self.is_backwards:
            data = bytes(imagecodecs.bitorder_decode(data))
        if self.compression != NONE:
            data = bytes(_decoder(self.name)(data, out=most_height * self.row_bytes(width)))
        if len(data) < expected:
            raise ValueError(f"{len(data)} bytes in a tile or strip, expected {expected}")
        shape = (height, width, self.samples)
        if self.bits in PACKED_BITS:
            run = width * self.samples
            packed = np.frombuffer(data, np.uint8, expected).tobytes()
            values = imagecodecs.packints_decode(packed, np.dtype(np.uint8), self.bits, runlen=run)
            return np.asarray(values[: height * run]).astype(np.uint8).reshape(shape)
        pixels = np.frombuffer(data, self.stored, height * width * self.samples).reshape(shape)
        if self.predictor == HORIZONTAL:
            native = pixels.astype(self.stored.newbyteorder("="))
            return np.asarray(imagecodecs.delta_decode(native, axis=-2, out=native))
        if self.predictor == FLOATING:
            raw = pixels.view(self.stored.newbyteorder("="))
            return np.asarray(imagecodecs.floatpred_decode(raw, axis=-2))
        return pixels


def coding_of(directory: Directory) -> Coding:
    """Return how a directory's pixels are stored.

    Raises
    ------
    ImageRefusedError
        Where they are stored in a way that is not read, which the message names.
    """
    path, compression = directory.file.path, directory.whole(259, 1)
    predictor, photometric = directory.whole(317, 1), directory.whole(262, -1)
    samples = 1 if directory.whole(284, 1) == 2 else directory.samples
    stored, bits = _stored(directory)
    is_picture = NAMES.get(compression, "") in PICTURES
    if compression not in NAMES or (predictor not in (1, HORIZONTAL, FLOATING) and not is_picture):
        raise _refused(path, f"it is compressed as {compression} with predictor {predictor}", "syntax")
    if photometric in PHOTOMETRIC or photometric not in (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, YCBCR):
        what = PHOTOMETRIC.get(photometric, f"photometric interpretation {photometric}")
        raise _refused(path, f"its colours are {what}", "photometric")
    if photometric == YCBCR and not is_picture:
        raise _refused(path, "its colours are YCbCr that is not compressed as JPEG", "photometric")
    if compression == JPEG and bits != 8:
        raise _refused(path, f"its JPEG has {bits} bits a value", "unsupported")
    return Coding(
        path, compression, 1 if is_picture else predictor, photometric, bits, samples, stored,
        is_backwards=directory.whole(266, 1) == 2 and not is_picture,
        tables=_tables(directory),
        colours=_colours(directory, bits) if photometric == PALETTE else None,
    )  # fmt: skip


def _stored(directory: Directory) -> tuple[np.dtype[Any], int]:
    path, samples = directory.file.path, directory.samples
    bits = directory.numbers(258, most=samples).tolist() or [1]
    formats = directory.numbers(339, most=samples).tolist() or [1]
    kind = FORMATS.get(int(formats[0]), "u" if formats[0] == 4 else "")
    one_kind = len(set(bits)) == 1 and len(set(formats)) == 1 and kind
    known = (8, 16, 32, 64) if kind != "f" else (16, 32, 64)
    packed = int(bits[0]) in PACKED_BITS and kind == "u"
    if not one_kind or not (int(bits[0]) in known or packed) or not 0 < samples <= 4096:
        raise _refused(
            path, f"{samples} values a pixel of {bits[:8]} bits and formats {formats[:8]}", "unsupported"
        )
    width = max(1, int(bits[0]) // 8)
    return np.dtype(f"{directory.layout.order}{kind}{width}"), int(bits[0])


def _tables(directory: Directory) -> bytes:
    from napari_medlab.images.slides.codestreams import jpeg_size

    tables = directory.raw(347)
    if jpeg_size(tables) is not None:
        raise _refused(
            directory.file.path, "the tables that its JPEG tiles share are a picture", "unreadable"
        )
    return tables


def _colours(directory: Directory, bits: int) -> NDArray[np.uint8]:
    stored = directory.numbers(320, most=3 << min(bits, 16)).astype(np.int64)
    if bits > 8 or directory.samples != 1 or len(stored) != 3 << bits:
        raise _refused(directory.file.path, f"{len(stored)} colours for {bits} bits a pixel", "photometric")
    # some writers leave out the factor 256
    scaled = stored >> 8 if stored.max(initial=0) > 255 else stored
    colours: NDArray[np.uint8] = scaled.reshape(3, -1).T.astype(np.uint8)
    return colours


def _decoder(name: str) -> Callable[..., Any]:
    import imagecodecs

    # by its name, since each one loads a library of its own
    decoder: Callable[..., Any] = getattr(imagecodecs, f"{name.lower()}_decode")
    return decoder


def _refused(path: Path, what: str, code: str) -> ImageRefusedError:
    return ImageRefusedError(
        f"{path.name}: {what}, which is not read.",
        code=code,
        hint="Save it as grey or RGB of 8, 16 or 32 bits, uncompressed or as Deflate, LZW, Zstandard or JPEG.",
    )
