"""Every example runs."""

from __future__ import annotations

import runpy
import sys
from typing import TYPE_CHECKING

import pytest
from rooms import ROOT

if TYPE_CHECKING:
    from pathlib import Path

FOLDER = ROOT / "examples"
SLOW = frozenset({"full_loop_ct", "full_loop_mammograms", "full_loop_slides"})
"""They go round the whole loop, which takes a minute each; `make test-all` runs them."""


def examples() -> list[object]:
    """Return every script of the folder; modules that scripts share are none."""
    scripts = [path for path in sorted(FOLDER.glob("*.py")) if "__main__" in path.read_text(encoding="utf-8")]
    return [
        pytest.param(path, id=path.stem, marks=[pytest.mark.slow] if path.stem in SLOW else [])
        for path in scripts
    ]


@pytest.mark.parametrize("example", examples())
def test_it_runs_and_says_what_it_found(
    example: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [str(example)])
    monkeypatch.syspath_prepend(FOLDER)
    runpy.run_path(str(example), run_name="__main__")
    assert capsys.readouterr().out.strip()
