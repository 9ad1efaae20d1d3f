"""What all writers share: all or nothing, nothing overwritten, never the whole image in memory."""

from __future__ import annotations

import os
import sys
import tracemalloc
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from writing_phantoms import LivePlanes, MadeTiles, image_from, planar, speckle, stack, volume

from napari_medlab.errors import InputRefusedError, MedlabError
from napari_medlab.geometry import Grid
from napari_medlab.images.writers import SUFFIXES, write_image

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_medlab.images import Image

every_format = pytest.mark.parametrize("suffix", SUFFIXES)
PYRAMIDS = [suffix for suffix in SUFFIXES if suffix.startswith((".ome", ".zarr"))]


def broken() -> Image:
    def read(number: int) -> NDArray[Any]:
        if number == 25:
            raise ValueError("this plane is broken")
        return np.zeros((40, 50), np.int16)

    return stack((40, 40, 50), read)


def made(shape: tuple[int, int], fails: tuple[int, int] | None = None) -> Image:
    return image_from((MadeTiles(shape, fails),), Grid.axis_aligned(shape, (0.5, 0.5), unit="um"))


@pytest.mark.parametrize("name", ["a.tif", "a.dcm", "a", "nii", "a.nii.gz.txt"])
def test_a_name_that_asks_for_no_format_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputRefusedError) as caught:
        write_image(volume(speckle((2, 3, 4), "int16")), tmp_path / name)
    assert caught.value.code == "unsupported-output"
    assert all(suffix in caught.value.hint for suffix in SUFFIXES)


@every_format
def test_what_is_there_already_stays(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.mkdir() if suffix == ".zarr" else path.write_bytes(b"mine")
    with pytest.raises(InputRefusedError) as caught:
        write_image(volume(speckle((2, 3, 4), "int16")), path)
    assert caught.value.code == "exists"
    assert list(tmp_path.iterdir()) == [path]
    assert suffix == ".zarr" or path.read_bytes() == b"mine"


@every_format
def test_what_comes_into_being_meanwhile_stays_too(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"

    def another(done: int, total: int) -> None:
        path.write_bytes(b"mine")

    with pytest.raises(InputRefusedError):
        write_image(volume(speckle((2, 3, 4), "int16")), path, progress=another)
    assert path.read_bytes() == b"mine"
    assert list(tmp_path.iterdir()) == [path]


@every_format
def test_an_image_that_fails_half_way_leaves_nothing(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(ValueError, match="this plane is broken"):
        write_image(broken(), tmp_path / f"a{suffix}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", PYRAMIDS)
def test_a_pyramid_that_fails_half_way_leaves_nothing(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(ValueError, match="this tile is broken"):
        write_image(made((2000, 1500), fails=(5, 3)), tmp_path / f"a{suffix}")
    assert list(tmp_path.iterdir()) == []


@every_format
def test_cancelling_leaves_nothing(tmp_path: Path, suffix: str) -> None:
    steps: list[tuple[int, int]] = []
    with pytest.raises(MedlabError) as caught:
        write_image(
            stack((40, 40, 50), lambda _: np.zeros((40, 50), np.int16)),
            tmp_path / f"a{suffix}",
            progress=lambda *step: steps.append(step),
            cancel=lambda: len(steps) == 2,
        )
    assert caught.value.code == "cancelled"
    assert len(steps) == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
@every_format
def test_a_full_disk_leaves_nothing_and_says_so(tmp_path: Path, suffix: str) -> None:
    import resource

    image = planar(speckle((900, 900), "uint16"), (0.1, 0.1), "mm")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    try:
        with pytest.raises(MedlabError) as caught:
            write_image(image, tmp_path / f"a{suffix}")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.code == "not-written"
    assert list(tmp_path.iterdir()) == []


@every_format
def test_a_folder_that_is_not_there_is_named(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(MedlabError) as caught:
        write_image(volume(speckle((2, 3, 4), "int16")), tmp_path / "nowhere" / f"a{suffix}")
    assert caught.value.code == "not-written"
    assert "nowhere" in caught.value.message


@every_format
def test_everything_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, synced = tmp_path / f"a{suffix}", set[int]()
    sync = os.fsync

    def noting(handle: int) -> None:
        if not path.exists():
            synced.add(os.fstat(handle).st_ino)
        sync(handle)

    monkeypatch.setattr(os, "fsync", noting)
    write_image(volume(speckle((20, 30, 40), "int16")), path)
    written = [path, *path.rglob("*")] if path.is_dir() else [path]
    assert {inner.stat().st_ino for inner in written} <= synced


@every_format
def test_progress_ends_at_its_total(tmp_path: Path, suffix: str) -> None:
    steps: list[tuple[int, int]] = []
    is_pyramid = suffix in PYRAMIDS
    image = made((2000, 1500)) if is_pyramid else stack((7, 40, 50), lambda _: np.zeros((40, 50), np.int16))
    write_image(image, tmp_path / f"a{suffix}", progress=lambda *step: steps.append(step))
    assert len(steps) > 1
    assert [done for done, _ in steps] == list(range(1, len(steps) + 1))
    assert {total for _, total in steps} == {len(steps)}


@every_format
def test_planes_are_read_one_after_the_other(tmp_path: Path, suffix: str) -> None:
    planes = LivePlanes((128, 128))
    write_image(stack((64, 128, 128), planes.read), tmp_path / f"a{suffix}")
    assert sorted(planes.asked) == list(range(64)), "each once"
    assert planes.most <= 16, "a few at a time"
    if suffix not in PYRAMIDS:
        assert planes.asked == list(range(64))
        assert planes.most <= 2


@every_format
def test_memory_does_not_grow_with_the_image(tmp_path: Path, suffix: str) -> None:
    if suffix in PYRAMIDS:
        image = made((5000, 5000))
    else:
        image = stack((64, 512, 512), lambda number: np.full((512, 512), number, np.int16))
    write_image(volume(speckle((2, 3, 4), "int16")), tmp_path / f"warm{suffix}")  # imports are not the image
    tracemalloc.start()
    try:
        write_image(image, tmp_path / f"a{suffix}")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < image.estimated_bytes * (0.75 if suffix in PYRAMIDS else 0.2)
