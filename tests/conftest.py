"""What tests of every room share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Return the folder of real samples."""
    folder = os.environ.get("MEDLAB_TEST_DATA")
    if not folder:
        pytest.skip("MEDLAB_TEST_DATA is not set: the real samples are not here")
    return Path(folder)
