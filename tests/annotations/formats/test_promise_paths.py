"""No path out of a file leads outside the folder that it belongs to: tricks by hand, ten thousand random ones, and real files."""

from __future__ import annotations

import json
import random
import unicodedata
import zipfile
from contextlib import suppress
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING

import pytest

from napari_medlab.annotations.formats import coco, monai_datalist, nnunet, yolo
from napari_medlab.annotations.formats.outline_rows import image_regions
from napari_medlab.errors import InputRefusedError
from napari_medlab.images.volumes.text_headers import data_file_beside
from napari_medlab.models.bundles.archives import check_members
from napari_medlab.safe_paths import is_file_name, safe_join

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Survived

    from napari_medlab.annotations.formats.datasets import Dataset

    Join = Callable[[Path, str], Path]

FOLDER = Path("/data/set")
MANY = 10_000
TRICKS = (
    "../x", "a/../../x", "a/b/../../../x", "..\\x", "a\\..\\..\\x", "imagesTr\\..\\..\\x", "/x", "//x", "///x", "\\x",
    "\\\\server\\x", "//server/share/x", "\\\\?\\C:\\x", "\\\\.\\PhysicalDrive0", "C:x", "C:\\x", "c:/x", "C:", "a/C:x",
    "a:b", "a/b:stream", "a.nii::$DATA", "con", "CON", "con.nii.gz", "a/NUL.txt", "aux", "prn.json", "lpt1.pt", "COM¹",
    "com9.x", "x.", "x ", "a./x", "a /x", "...", "....//x", "..;/x/../../y", "", ".", "..", "/", "\\", "a/..", "a\x00b", "a\nb",
    "a\tb", "\x1b[31m", "a\u202eb", "\u200b/../x", "x" * 600, "../" * 200 + "etc/passwd", "/etc/passwd",
    "/proc/self/environ", "file:///etc/passwd", "file://server/x",
)  # fmt: skip
"""What names of files have been made of to reach what lies elsewhere."""
PARTS = (
    "..", "..", "../", "..\\", ".", "/", "/", "\\", "\\\\", "//", "a", "b", "imagesTr", "C:", "c:", ":", "con", "NUL", "com1",
    " ", ".", "...", "~", "$HOME", "%TEMP%", "\0", "\n", "\t", "\u202e", "\u2025", "\uff0f", "\uff0e", "\uff1a", "%2e%2e",
    "%2f", "é", "x" * 200,
)  # fmt: skip
"""What random paths are made of; among them what looks like, or is turned into, dots and slashes."""


def random_name(rng: random.Random) -> str:
    """Return up to nine parts in a row."""
    return "".join(rng.choice(PARTS) for _ in range(rng.randint(1, 9)))


def escapes(joined: PurePosixPath | PureWindowsPath, folder: PurePosixPath | PureWindowsPath) -> bool:
    """Tell whether a path leads out of a folder, by its letters alone; what hides in a device or a stream is no file in it."""
    depth = 0
    if joined.parts[: len(folder.parts)] != folder.parts:
        return True
    for part in joined.parts[len(folder.parts) :]:
        depth += -1 if part == ".." else 1
        if depth < 0 or ":" in part:
            return True
    return False


def leads_out(name: str, join: Join) -> bool:
    """Tell whether a name that ``join`` accepts leads outside on any system, as it is or as file systems normalise it."""
    try:
        inner = join(FOLDER, name).relative_to(FOLDER).as_posix()
    except ValueError as error:
        return "subpath" in str(error)  # an absolute one took the place of the folder
    for form in ("NFC", "NFD"):
        written = unicodedata.normalize(form, inner)
        if escapes(PurePosixPath("/data/set") / written, PurePosixPath("/data/set")):
            return True
        if escapes(PureWindowsPath("D:/data/set") / written, PureWindowsPath("D:/data/set")):
            return True
    return False


def naive(folder: Path, name: str) -> Path:
    """Return where a file lies by the name that it was given, as most scripts do."""
    return folder / name


def of_a_header(folder: Path, name: str) -> Path:
    """Return where the pixels lie that a header names; every file is taken to be there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "is_file", lambda path: True)
        return data_file_beside(folder / "a.mhd", name)


def of_an_archive(folder: Path, name: str) -> Path:
    """Return where a member of an archive is unpacked to."""
    member = zipfile.ZipInfo(name)
    check_members([member], folder)
    return safe_join(folder, member.filename)


JOINS: dict[str, Join] = {
    "safe_join": safe_join, "a header's pixels": of_a_header, "a member": of_an_archive,
}  # fmt: skip
"""All ways in which a name out of a file becomes a path."""


def test_no_trick_leads_out() -> None:
    for name in TRICKS:
        with pytest.raises(ValueError, match="no place inside"):
            safe_join(FOLDER, name)
        assert not is_file_name(name)
        assert [way for way, join in JOINS.items() if leads_out(name, join)] == []


@pytest.mark.slow
@pytest.mark.promise
def test_ten_thousand_random_names_lead_nowhere_else(survived: Survived) -> None:
    rng = random.Random(8)
    names = [*TRICKS, *(random_name(rng) for _ in range(MANY))]
    astray = {way: [name for name in names if leads_out(name, join)] for way, join in JOINS.items()}
    trusted = sum(leads_out(name, naive) for name in names)
    survived(
        "hostile input", "paths", tried=len(names), survived=len(names) - len(set().union(*astray.values())),
        control=f"folder / name leads outside for {trusted:,} of them",
        detail=f"{len(TRICKS)} tricks by hand and {MANY:,} random names, by each of {len(JOINS)} ways to a file",
    )  # fmt: skip
    assert {way: found for way, found in astray.items() if found} == {}
    assert trusted > MANY // 4
    taken = {way: sum(is_taken(name, join) for name in names) for way, join in JOINS.items()}
    assert min(taken.values()) > 100, f"who refuses every name would pass as well: {taken}"


def is_taken(name: str, join: Join) -> bool:
    try:
        join(FOLDER, name)
    except ValueError:
        return False
    return True


@pytest.mark.promise
def test_no_list_of_images_reaches_a_file_outside(tmp_path: Path, survived: Survived) -> None:
    """Lists that name files are read with each trick in place of a name; a secret lies where the tricks lead."""
    folder = tmp_path / "a" / "set"
    folder.mkdir(parents=True)
    for place in (tmp_path / "a", tmp_path):
        (place / "x").write_text("secret")
    reached = {}
    for name in (*TRICKS, str(tmp_path / "x")):
        for way, read in LISTS.items():
            paths = read(folder, name)
            if any(not path.resolve().is_relative_to(folder) for path in paths):
                reached[f"{way} {name!r}"] = paths
    tried = len(LISTS) * (len(TRICKS) + 1)
    trusted = sum((folder / name).is_file() for name in TRICKS if "\0" not in name and len(name) < 255)
    survived(
        "hostile input", "paths", tried=tried, survived=tried - len(reached),
        control=f"folder / name opens a file outside for {trusted} of the tricks",
        detail=f"files of {', '.join(LISTS)} that name files by these tricks",
    )  # fmt: skip
    assert reached == {}
    assert trusted


def by_monai(folder: Path, name: str) -> list[Path]:
    return _paths(folder, monai_datalist.read, {"training": [{"image": name, "label": name}]})


def by_nnunet(folder: Path, name: str) -> list[Path]:
    listed = {"dataset": {"case": {"images": [name], "label": name}}}
    described = {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, "a": 1},
        "numTraining": 1,
        "file_ending": ".nii.gz",
    }
    return _paths(folder, nnunet.read, {**described, **listed})


def by_coco(folder: Path, name: str) -> list[Path]:
    image = {"id": 1, "file_name": name, "width": 4, "height": 4}
    file = _json(folder, {"images": [image], "annotations": [], "categories": []})
    try:
        return [folder / found.image for found in coco.read(file)]
    except InputRefusedError:
        return []


LISTS = {"MONAI": by_monai, "nnU-Net": by_nnunet, "COCO": by_coco}


def test_what_is_written_under_the_names_of_images_stays_inside(tmp_path: Path) -> None:
    image = partial(image_regions, outlines=[], shape=(4, 4))
    for number, name in enumerate(name for name in TRICKS if name.isprintable() and 0 < len(name) < 500):
        with suppress(InputRefusedError):
            yolo.write(tmp_path / "outside" / f"{number}", [image(name)])
    assert [path.name for path in tmp_path.iterdir()] == ["outside"]
    written = [path.relative_to(tmp_path) for path in tmp_path.rglob("*.txt")]
    assert all(is_file_name(part) for path in written for part in path.parts)
    with pytest.raises(InputRefusedError, match="no place inside"):
        yolo.write(tmp_path / "new", [image("a:b.png")])


def _paths(folder: Path, read: Callable[[Path], Dataset], document: object) -> list[Path]:
    try:
        cases = read(_json(folder, document)).cases
    except InputRefusedError:
        return []
    return [path for case in cases for path in (*case.images, case.label) if path is not None]


def _json(folder: Path, document: object) -> Path:
    path = folder / "dataset.json"
    path.write_text(json.dumps(document))
    return path
