"""Predictions of a foreign model, imported and reviewed in the real window."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.window, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    root = tmp_path_factory.mktemp("imports")
    command = [sys.executable, str(Path(__file__).with_name("window_imports.py")), str(root)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=280, check=False, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, done.stderr[-3000:]
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def test_coco_results_ask_for_their_images_and_become_a_run(seen: dict[str, Any]) -> None:
    photos = seen["photos"]
    assert "numbers alone" in photos["asked"]
    assert photos["planned"].startswith("COCO results: 2 objects on 2 of 2 images")
    assert photos["said"] == "2 candidates on 2 images are the run 'foreign photos'."
    assert photos["title"] == "foreign photos"


def test_a_luna16_submission_becomes_a_run(seen: dict[str, Any]) -> None:
    scans = seen["scans"]
    assert scans["planned"].splitlines() == [
        "LUNA16 tables: 2 objects on 1 of 1 image are about cases of this project.", "Class: mass (2)."
    ]  # fmt: skip
    assert scans["classes"] == ["mass"], "as was typed in"
    assert scans["said"].startswith("2 candidates on 1 image are the run 'foreign scans'")


@pytest.mark.parametrize("name", ["photos", "scans"])
def test_its_errors_are_queued_and_a_verdict_by_key_is_stored(seen: dict[str, Any], name: str) -> None:
    found = seen[name]
    assert found["kinds"].count("fp") == 1
    assert "fn" in found["kinds"]
    assert found["stored"] == {found["object_id"]: "model wrong"}
    assert found["sound"]


def test_what_was_reviewed_can_be_sent_out(seen: dict[str, Any]) -> None:
    assert seen["scans"]["exported"].startswith("Written: luna16-")


def test_nothing_was_complained_of(seen: dict[str, Any]) -> None:
    assert seen["errors"] == []
