"""What becomes of images that are added in the window."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import pytest
from PIL import Image

from napari_medlab.project import Project
from napari_medlab.project.adding import Source
from napari_medlab.widgets.adding import _add

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
