"""A run on a cluster, started from the real window; one of two workers is killed in the middle."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("distributed", reason="the extra 'cluster' is not installed")

pytestmark = [pytest.mark.window, pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    root = tmp_path_factory.mktemp("on cluster")
    script = str(Path(__file__).with_name("window_on_cluster.py"))
    environment = {
        **os.environ,
        "MEDLAB_STATE_DIR": str(root / "state"),
        "MEDLAB_CACHE_DIR": str(root / "cache"),
    }
    done = subprocess.run(
        [sys.executable, script, str(root), str(root / "out")], capture_output=True, text=True, timeout=380,
        check=False, stdin=subprocess.DEVNULL, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    document: dict[str, Any] = json.loads((root / "out" / "seen.json").read_text(encoding="utf-8"))
    return document


def test_a_lost_worker_costs_nothing_but_time(seen: dict[str, Any]) -> None:
    assert seen["done"] == seen["scans"] == 5
    assert seen["state"]
    assert seen["sound"]
    assert sum(seen["candidates"]) > 0
    assert seen["errors"] == []


def test_the_panel_tells_of_cases_and_workers(seen: dict[str, Any]) -> None:
    assert any("of 5 cases" in text and "2 workers" in text for text in seen["told"])
    assert any("of 5 cases" in text and "1 worker" in text and "workers" not in text for text in seen["told"])
    assert seen["text"] == "5 of 5 cases are done."
