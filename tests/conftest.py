"""What tests of every room share."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from collections.abc import Iterator

Table = Literal["durability", "hostile input", "patient data", "geometry"]
MEMORY = Path("/dev/shm")

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before numpy or torch is first imported
if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")  # Qt ends the process where it finds no display


# Machines are shared: how long an example takes says nothing about the code.
settings.register_profile("untimed", settings.get_profile(settings.get_current_profile_name()), deadline=None)
settings.register_profile("repeatable", settings.get_profile("untimed"), derandomize=True, database=None)
settings.load_profile("untimed")


class Survived(Protocol):
    """Notes what became of a promise; see :func:`survived`."""

    def __call__(
        self, table: Table, promise: str, *, tried: int, survived: int, control: str, detail: str = ""
    ) -> None:
        """Note how many attempts were made on a promise, and how many of them it survived."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what drives the window where there is no display: Qt's offscreen platform cannot draw with OpenGL."""
    has_display = sys.platform != "linux" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if has_display and os.environ.get("QT_QPA_PLATFORM") != "offscreen":
        return
    skip = pytest.mark.skip(reason="needs a display: run `make test`, or pytest under xvfb-run")
    for item in items:
        if item.get_closest_marker("window"):
            item.add_marker(skip)


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep what is made of slides, and how windows are laid out, away from what whoever runs the tests has."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDLAB_CACHE_DIR", str(folder))
        patch.setenv("MEDLAB_STATE_DIR", str(tmp_path_factory.mktemp("state")))
        yield folder


@pytest.fixture(scope="session")
def repository() -> Path:
    """Return the root of the repository."""
    return Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Return the folder of real samples."""
    folder = os.environ.get("MEDLAB_TEST_DATA")
    if not folder:
        pytest.skip("MEDLAB_TEST_DATA is not set: the real samples are not here")
    return Path(folder)


@pytest.fixture
def quick_folder(tmp_path: Path) -> Iterator[Path]:
    """Give a folder in memory where the system has one: tests that sync ten thousand times do not wait for a disk."""
    if not (MEMORY.is_dir() and os.access(MEMORY, os.W_OK)):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=MEMORY, prefix="medlab-test-") as folder:
        yield Path(folder)


@pytest.fixture
def survived(request: pytest.FixtureRequest) -> Survived:
    """Give what notes, in the file named by ``MEDLAB_TRUST_RECORD``, what was tried on a promise and what it survived.

    ``control`` says how an unsafe way of doing the same was seen to fail. A test of a control alone notes it with nothing
    tried; records of one promise add up. ``scripts/write_trust_table.py`` makes the tables of docs/trust.md of them.
    """

    def note(
        table: Table, promise: str, *, tried: int, survived: int, control: str, detail: str = ""
    ) -> None:
        record = os.environ.get("MEDLAB_TRUST_RECORD")
        if not record:
            return
        line = {
            "table": table, "promise": promise, "tried": int(tried), "survived": int(survived), "control": control,
            "detail": detail, "date": datetime.now(UTC).date().isoformat(), "test": request.node.nodeid,
        }  # fmt: skip
        # one write at the end of the file: several processes note at the same time
        with Path(record).open("ab", buffering=0) as file:
            file.write(json.dumps(line).encode() + b"\n")

    return note
