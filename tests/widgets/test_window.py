"""The real window, driven by real key and mouse events."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.window


@pytest.mark.timeout(600)
def test_the_demo_goes_the_whole_way_round(tmp_path: Path) -> None:
    """Phantoms, detection, verdicts by key, an outline dragged, export, retraining, comparison: all by itself."""
    command = [sys.executable, "-m", "napari_medlab.cli.main", "demo", "--headless", "--json", "--cases", "4",
               "--steps", "8", "--out", str(tmp_path)]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=580, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr[-3000:]
    summary = json.loads(done.stdout)
    assert summary["verdicts"] >= 4
    assert summary["outline_edits"] == 3
    assert (tmp_path / "report.html").stat().st_size > 50_000
    assert len(list((tmp_path / "screenshots").glob("*.png"))) == 9
    assert json.loads((tmp_path / "demo.json").read_text(encoding="utf-8")) == summary
    package = json.loads((tmp_path / "project" / "exports" / next(iter((tmp_path / "project" / "exports").iterdir())).name
                          / "manifest.json").read_text(encoding="utf-8"))  # fmt: skip
    assert package["examples"]
    assert all(split == "train" for split in package["split"].values())
