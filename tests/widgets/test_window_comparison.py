"""Figures and a comparison in the real window: a click on the curve, and lesions with the outlines of both models."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.window, pytest.mark.slow, pytest.mark.timeout(400)]

KINDS = ("volume", "mammogram", "slide", "photo")
GREEN, ORANGE = [0x00, 0x9E, 0x73], [0xE6, 0x9F, 0x00]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Go through everything once, and return what was to be seen."""
    root = tmp_path_factory.mktemp("comparison")
    script = Path(__file__).with_name("window_comparison.py")
    environment = {
        **os.environ,
        "MEDLAB_CACHE_DIR": str(root / "cache"),
        "MEDLAB_STATE_DIR": str(root / "state"),
    }
    done = subprocess.run(
        [sys.executable, str(script), str(root / "project"), str(root / "out")], capture_output=True, text=True,
        timeout=360, check=False, stdin=subprocess.DEVNULL, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    document: dict[str, Any] = json.loads((root / "out" / "seen.json").read_text(encoding="utf-8"))
    return document


def test_a_click_on_the_curve_opens_its_errors_in_review(seen: dict[str, Any]) -> None:
    figures = seen["evaluate"]
    assert (figures["station"], figures["run"]) == ("Review", True)
    # 0.7 of the way from 1/8 to 8
    assert figures["fp_per_scan"] == pytest.approx(0.125 * 2 ** (0.7 * 6), rel=0.05)


def test_both_panels_fit_their_dock(seen: dict[str, Any]) -> None:
    assert seen["evaluate"]["fits"]
    assert seen["compare"]["fits"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_lesion_opens_at_its_place_with_the_outlines_of_both(seen: dict[str, Any], kind: str) -> None:
    row = seen["compare"]["rows"][kind]
    assert row["on_top"]
    assert row["nearest"] < row["size"]
    assert GREEN in row["colours"]
    assert ORANGE in row["colours"]
    assert all(row["others_hidden"])


def test_keys_step_through_the_list(seen: dict[str, Any]) -> None:
    assert seen["compare"]["keys"] == [1, 2, 1]


def test_another_station_gets_its_own_outlines_back(seen: dict[str, Any]) -> None:
    assert seen["leave"]["is_gone"]
    assert all(seen["leave"]["others_shown"])


def test_the_report_pictures_what_changed_without_names(seen: dict[str, Any]) -> None:
    report = seen["report"]
    kinds = ("fixed", "regressed", "still_missed", "new_false_positive", "removed_false_positive")
    assert report["pictures"] == sum(report["counts"][kind] for kind in kinds)
    assert not report["names"]


def test_nothing_went_wrong(seen: dict[str, Any]) -> None:
    assert seen["errors"] == []
