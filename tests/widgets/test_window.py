"""The real window, driven by real key and mouse events."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.window


@pytest.mark.timeout(600)
def test_the_demo_goes_the_whole_way_round(tmp_path: Path) -> None:
    """Phantoms, detection, verdicts by key, an outline dragged, export, retraining, comparison: all by itself."""
    command = [sys.executable, "-m", "napari_medlab.cli.main", "demo", "--headless", "--json", "--cases", "4",
               "--steps", "8", "--out", str(tmp_path)]  # fmt: skip
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=580, check=False, stdin=subprocess.DEVNULL
    )
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
    assert {example["split"] for example in package["examples"]} == {"train"}


@pytest.mark.timeout(300)
def test_a_real_chest_ct_stands_right_in_the_window(test_data: Path, tmp_path: Path) -> None:
    """Spacing, units and lung window are those of the series, and all three planes meet at the chosen candidate."""
    archive = next((test_data / "ct_lung").glob("*.tar.xz"))
    with tarfile.open(archive) as packed:
        packed.extractall(tmp_path / "series", filter="data")
    command = [sys.executable, str(Path(__file__).with_name("window_on_a_ct.py")), str(tmp_path / "series"),
               str(tmp_path / "out")]  # fmt: skip
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=280, check=False, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, done.stderr[-3000:]
    shown = json.loads(done.stdout)
    assert shown["scale"] == pytest.approx([3.0, 0.564453125, 0.564453125])
    assert shown["units"] == ["millimeter"] * 3
    assert shown["shape"] == [99, 512, 512]
    assert shown["contrast_limits"][0] <= -1000 < 200 <= shown["contrast_limits"][1]
    for point in shown["points"]:
        for at, candidate, step in zip(point, shown["candidate"], shown["scale"], strict=True):
            assert abs(at - candidate) <= step
    assert Path(shown["picture"]).stat().st_size > 50_000
