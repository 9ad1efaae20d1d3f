"""What holds whatever the format: dispatch, budget, fingerprint, imports."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from dicom_phantom import series_in
from PIL import Image as Pictures

from napari_medlab.errors import ImageRefusedError
from napari_medlab.images import fingerprint, fits_in_memory, memory_budget_bytes, open_image

if TYPE_CHECKING:
    from pathlib import Path


def test_importing_the_room_loads_no_reader() -> None:
    heavy = {"dask", "SimpleITK", "pydicom", "tifffile", "skimage", "nibabel", "zarr", "PIL", "torch"}
    program = f"import sys, napari_medlab.images; print(sorted({heavy!r} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("empty.dcm", b"", "empty"),
        ("notes.txt", b"hello", "unsupported"),
        ("fake.nii", b"hello" * 200, "unreadable"),
        ("fake.mha", b"hello" * 200, "unreadable"),
        ("fake.png", b"\x89PNG\r\n\x1a\nhello", "unreadable"),
        ("fake.tif", b"II*\0hello", "truncated"),
        ("fake.dcm", bytes(128) + b"DICM" + b"hello", "empty"),
        ("fake.nrrd", b"NRRD0004\nhello", "unsupported"),
    ],
)
def test_what_is_no_image_is_refused_by_name(tmp_path: Path, name: str, content: bytes, code: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ImageRefusedError) as caught:
        open_image(tmp_path / name)
    assert (caught.value.code, bool(caught.value.hint)) == (code, True)


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageRefusedError) as caught:
        open_image(tmp_path / "nowhere")
    assert caught.value.code == "not-found"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ImageRefusedError) as caught:
        open_image(tmp_path / "pipe")
    assert caught.value.code == "unsupported"


def test_what_a_file_holds_counts_and_not_its_name(tmp_path: Path) -> None:
    Pictures.fromarray(np.zeros((4, 5), np.uint8)).save(tmp_path / "picture.tif", format="png")
    assert open_image(tmp_path / "picture.tif").kind == "photo"


def test_a_small_volume_fits_and_the_budget_bounds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = open_image(series_in(tmp_path / "ct"))
    assert memory_budget_bytes() > 1 << 20
    assert fits_in_memory(image)
    monkeypatch.setattr("napari_medlab.images.budget.memory_budget_bytes", lambda: image.estimated_bytes - 1)
    assert not fits_in_memory(image)


def test_a_file_that_must_be_decoded_whole_is_held_to_the_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Pictures.fromarray(np.zeros((1100, 1000), np.uint8)).save(tmp_path / "a.png")
    monkeypatch.setenv("MEDLAB_MEMORY_BUDGET_MIB", "1")
    with pytest.raises(ImageRefusedError) as caught:
        open_image(tmp_path / "a.png")
    assert caught.value.code == "size"


def test_a_fingerprint_changes_with_header_end_and_size(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    content = bytearray(1_000_000)
    path.write_bytes(content)
    seen = {fingerprint(path)}
    for place in (10, 999_990, 333_400):
        changed = bytearray(content)
        changed[place] = 1
        path.write_bytes(changed)
        seen.add(fingerprint(path))
    path.write_bytes(content + b"\0")
    seen.add(fingerprint(path))
    path.write_bytes(content)
    assert len(seen) == 5
    assert fingerprint(path) in seen


def test_a_folder_has_a_fingerprint_of_names_and_files(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "b").write_bytes(b"2")
    before = fingerprint(tmp_path)
    assert before == fingerprint(tmp_path)
    (tmp_path / "a").rename(tmp_path / "c")
    assert fingerprint(tmp_path) != before
