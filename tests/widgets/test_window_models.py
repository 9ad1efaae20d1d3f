"""Models in the real window: what fits, masks as they are computed, a stop half way, a failure, the model's outline."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = [pytest.mark.window, pytest.mark.timeout(500)]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Go through everything once, and return what was to be seen."""
    root = tmp_path_factory.mktemp("models")
    command = [
        sys.executable,
        str(Path(__file__).with_name("window_models.py")),
        str(root / "project"),
        str(root / "out"),
    ]
    environment = {
        **os.environ,
        "MEDLAB_CACHE_DIR": str(root / "cache"),
        "MEDLAB_STATE_DIR": str(root / "state"),
    }
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=480,
        check=False,
        stdin=subprocess.DEVNULL,
        env=environment,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    document: dict[str, Any] = json.loads((root / "out" / "seen.json").read_text(encoding="utf-8"))
    return document


def test_a_mask_stands_over_the_image_where_it_is_in_the_world(seen: dict[str, Any]) -> None:
    painted = seen["painted"]
    np.testing.assert_allclose(painted["found"], painted["expected"], atol=1e-6)
    assert painted["name"] == "mask: dark"
    order = painted["order"]
    assert (
        order.index("image") < order.index("mask: dark") < min(order.index("outlines"), order.index("chosen"))
    )


def test_a_key_hides_the_mask_and_shows_it_again(seen: dict[str, Any]) -> None:
    assert (seen["painted"]["hidden"], seen["painted"]["shown"]) == (False, True)


def test_the_models_outline_is_an_edit_that_can_be_undone(seen: dict[str, Any]) -> None:
    taken, painted = seen["take"], seen["painted"]
    # (y, x) of the viewer, (x, y) of the world; vertices lie on the edges of the outermost voxels of the mask
    square = [corner[::-1] for corner in painted["expected"]]
    np.testing.assert_allclose(taken["after"], square, atol=1.0)
    np.testing.assert_allclose(taken["undone"], taken["before"])
    assert not np.allclose(taken["before"], taken["after"], atol=5.0)
    assert any("saved" in text for text in taken["said"])


def test_a_model_of_other_images_is_refused_before_it_runs(seen: dict[str, Any]) -> None:
    unfit = seen["unfit"]
    assert "It reads volumes. The case chosen is a slide." in unfit["reason"]
    assert unfit["may"] is False
    is_marked = {name.removeprefix("✗ ").partition(" ")[0]: name.startswith("✗") for name in unfit["marked"]}
    assert {name: is_marked[name] for name in ("lung-nodules", "dense", "dark")} == {
        "lung-nodules": True, "dense": True, "dark": False,
    }  # fmt: skip
    assert unfit["fitting"] == {"reason": "", "may": True}


def test_the_card_of_a_model_can_be_read(seen: dict[str, Any]) -> None:
    assert "Limits" in seen["unfit"]["card"]
    assert "phantoms" in seen["unfit"]["card"]


def test_masks_are_drawn_as_they_are_computed_and_called_partial_after_a_stop(seen: dict[str, Any]) -> None:
    stop = seen["stop"]
    assert "6 of the 8 cases are left out" in stop["note"]
    assert len(stop["partial"]) == 3
    assert all("partial" in name for name in stop["partial"])
    assert set(stop["labels"]) == {0, 1, 255}
    ((case, what),) = stop["troubles"]
    assert case == "CT 1"
    assert what.startswith("partial: stopped after ")
    assert stop["text"] == "Stopped: 0 of 2 cases are done, 1 is partial."
    assert "on the" in stop["backend"]


def test_a_failed_case_says_why_the_others_go_on_and_a_click_goes_there(seen: dict[str, Any]) -> None:
    fail = seen["fail"]
    ((case, what),) = fail["troubles"]
    assert case == "CT 2"
    assert what.startswith("failed: ")
    assert "is no MetaImage" in what
    assert fail["text"] == "1 of 2 cases is done, 1 failed."
    assert fail["whole"] == ["mask: dense"] * 3
    assert all("being computed" in name for name in fail["live"])
    assert fail["went_to"] == "CT 2"
    assert fail["told"] == what


def test_nothing_else_went_wrong(seen: dict[str, Any]) -> None:
    assert all("is no MetaImage" in error for error in seen["errors"])
