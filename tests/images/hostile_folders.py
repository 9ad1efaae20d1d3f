"""Files and folders that are hostile whatever they hold."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from hostile_parts import MIB, Bomb, codes, saved

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["FOLDER_BOMBS", "dismantle"]

DEPTH = 1_500


def _file(name: str, data: bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        return saved(folder, name, data)

    return make


def _pipe(folder: Path) -> Path:
    os.mkfifo(folder / "pipe.dcm")
    return folder / "pipe.dcm"


def _pipes(folder: Path) -> Path:
    series = folder / "series"
    series.mkdir()
    os.mkfifo(series / "pipe.dcm")
    return series


def _link_loop(folder: Path) -> Path:
    (folder / "a.dcm").symlink_to(folder / "b.dcm")
    (folder / "b.dcm").symlink_to(folder / "a.dcm")
    return folder / "a.dcm"


def _device(folder: Path) -> Path:
    (folder / "zero.dcm").symlink_to("/dev/zero")
    return folder / "zero.dcm"


def _devices(folder: Path) -> Path:
    series = folder / "series"
    series.mkdir()
    (series / "zero.dcm").symlink_to("/dev/zero")
    return series


def _many(folder: Path) -> Path:
    series = folder / "series"
    series.mkdir()
    for number in range(5_000):
        (series / f"{number}.dcm").touch()
    return series


def _deep(folder: Path) -> Path:
    path = folder / "deep"
    path.mkdir()
    below = path
    for _ in range(DEPTH):
        below = below / "d"
        below.mkdir()
    return path


def _itself(folder: Path) -> Path:
    series = folder / "series"
    series.mkdir()
    (series / "again").symlink_to(series)
    return series


def dismantle(folder: Path) -> None:
    """Remove a chain of folders, however deep: what removes trees recursively cannot."""
    chain = [folder]
    while (chain[-1] / "d").is_dir():
        chain.append(chain[-1] / "d")
    for path in reversed(chain):
        path.rmdir()


NOTHING = codes("empty", "unsupported", "not-found", "size")
FOLDER_BOMBS: dict[str, Bomb] = {
    "empty": Bomb(_file("empty.dcm", b""), NOTHING, "no bytes at all"),
    "zeros-dcm": Bomb(_file("zeros.dcm", bytes(4 * MIB)), NOTHING, "4 MiB of zeros"),
    "zeros-nii": Bomb(_file("zeros.nii", bytes(4 * MIB)), NOTHING | {"slope"}, "4 MiB of zeros called NIfTI"),
    "zeros-nii-gz": Bomb(_file("zeros.nii.gz", bytes(4 * MIB)), NOTHING, "4 MiB of zeros called gzip"),
    "zeros-mha": Bomb(_file("zeros.mha", bytes(4 * MIB)), NOTHING, "4 MiB of zeros called MetaImage"),
    "zeros-dicom": Bomb(_file("dicom.dcm", bytes(128) + b"DICM" + bytes(4 * MIB)), NOTHING,
                        "4 MiB of zeros that begin as DICOM does"),
    "pipe": Bomb(_pipe, NOTHING, "a pipe that nobody writes to"),
    "pipe-in-folder": Bomb(_pipes, NOTHING, "a folder that holds such a pipe"),
    "link-loop": Bomb(_link_loop, NOTHING, "two links that name each other"),
    "device": Bomb(_device, NOTHING, "a link to a device that never ends"),
    "device-in-folder": Bomb(_devices, NOTHING, "a folder that holds such a link"),
    "folder-many": Bomb(_many, NOTHING, "5,000 empty files"),
    "folder-deep": Bomb(_deep, NOTHING, f"{DEPTH} folders, one in the other"),
    "folder-itself": Bomb(_itself, NOTHING, "a folder that holds a link to itself"),
}  # fmt: skip
