"""What becomes of images that are added in the window."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_medlab.images import Decisions
from napari_medlab.project import Project
from napari_medlab.project.adding import Source
from napari_medlab.widgets.adding import _add, _try_to_open

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("split", ["train", "test"])
def test_cases_for_the_test_are_frozen(tmp_path: Path, split: Literal["train", "test"]) -> None:
    path = tmp_path / "frame.png"
    Image.fromarray(np.full((24, 32, 3), 90, np.uint8)).save(path)
    with Project.create(tmp_path / "project", reader="tester") as project:
        list(_add(lambda: False, project, [Source(path)], split))
        (case,) = project.cases()
        assert (case.split, case.frozen) == (split, split == "test")


def test_a_stated_pixel_size_is_for_images_that_say_nothing_of_theirs(tmp_path: Path) -> None:
    photo, slide = tmp_path / "frame.png", tmp_path / "slide.tif"
    pixels = np.full((24, 32, 3), 90, np.uint8)
    Image.fromarray(pixels).save(photo)
    tifffile.imwrite(slide, pixels, photometric="rgb", tile=(16, 16), resolution=(20000, 20000),
                     resolutionunit="CENTIMETER")  # fmt: skip
    trying = _try_to_open(lambda: False, [Source(photo), Source(slide)], Decisions(pixel_size_um=8.0))
    try:
        while True:
            next(trying)
    except StopIteration as done:
        tried = done.value
    assert [error for _, error in tried] == [None, None]
    assert [source.decisions.pixel_size_um for source, _ in tried] == [8.0, None]


def test_what_is_there_already_keeps_nothing_else_out(tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}.png" for name in "ab"]
    for number, path in enumerate(paths):
        Image.fromarray(np.full((24, 32, 3), number, np.uint8)).save(path)
    with Project.create(tmp_path / "project", reader="tester") as project:
        list(_add(lambda: False, project, [Source(paths[0])], "train"))
        adding = _add(lambda: False, project, [Source(path) for path in paths], "train")
        told = []
        try:
            while True:
                told.append(next(adding))
        except StopIteration as done:
            (refused,) = done.value
        assert refused.code == "exists"
        assert told == [("b", 1, 2)]
        assert len(project.cases()) == 2
