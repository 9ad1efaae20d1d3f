from __future__ import annotations

import random
from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from project_samples import RUN, some_candidates, square

from napari_medlab.annotations import new_id
from napari_medlab.errors import ProjectError
from napari_medlab.project import CaseRecord
from napari_medlab.project.connections import check, open_writer, prepare_writer, transaction
from napari_medlab.project.edits import Edit, add_candidates, add_case, add_run, set_region, set_verdict
from napari_medlab.project.journal import SELECT, Row, append
from napari_medlab.project.layout import take_back_unfinished
from napari_medlab.project.schema import APPLICATION_ID, SCHEMA_VERSION, SCRIPT
from napari_medlab.project.verification import problems_of

apsw = pytest.importorskip("apsw", reason="apsw is not installed: a loss of power cannot be simulated")

from lossy_disk import SYSTEM, LossyDisk  # noqa: E402 - needs apsw

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Survived

EDITS, CHECKPOINT_PAGES = 24, 12
"""Of a journey; the log is emptied far more often than SQLite does by itself, as that is the delicate moment."""


class Journey:
    """A project is written to on a disk that may lose power at any moment, and images are taken on the way."""

    def __init__(self, folder: Path, seed: int, recipe: tuple[str, str | None], images: int) -> None:
        self.chance = random.Random(seed)
        self.folder, self.images = folder, images
        self.acknowledged: list[str] = []
        self.found: Counter[str] = Counter()
        self.disk = LossyDisk()
        self.db: Any = apsw.Connection(str(folder / "project.sqlite"), vfs=SYSTEM)
        self.recipe = recipe
        self._prepare()

    def _prepare(self) -> None:
        """Set the connection up as the product does; a control then takes its safety away."""
        mode, weaker = self.recipe
        self.db.execute(f"BEGIN IMMEDIATE; {SCRIPT} COMMIT;")
        self.db.execute(
            f"PRAGMA application_id = {APPLICATION_ID:d}; PRAGMA user_version = {SCHEMA_VERSION:d}"
        )
        prepare_writer(self.db, mode)
        self.db.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES:d}")
        if weaker is not None:
            self.db.execute(f"PRAGMA synchronous = {weaker}")
        case_id = new_id()
        found = some_candidates(case_id, 30)
        for edit in (
            add_run(RUN, "", {}),
            add_case(CaseRecord(case_id, "a", "a")),
            add_candidates(RUN, case_id, 0, found),
        ):
            self._commit(edit)
        self.case_id, self.objects = case_id, [one.candidate_id for one in found]
        self.disk.settle()

    def go(self) -> Counter[str]:
        """Make the edits, take the images, and return how many were sound, losing, corrupt."""
        # some two dozen calls an edit
        self.disk.on_change = self._maybe_image
        for number in range(EDITS):
            self._commit(self._edit(number))
        while sum(self.found.values()) < self.images:
            self._image()
        self.disk.on_change = None
        self.db.close()
        return self.found

    def _edit(self, number: int) -> Edit:
        if number % 3 == 2:
            return set_region(None, square(self.case_id, self.chance.random() * 9))
        return set_verdict(self.case_id, RUN, self.objects[number], before=None, after="agreed")

    def _commit(self, edit: Edit) -> None:
        with transaction(self.db):
            append(self.db, "ann", edit)
            (digest,) = self.db.execute("SELECT hash FROM journal ORDER BY id DESC LIMIT 1").fetchone()
        self.acknowledged.append(digest)

    def _maybe_image(self) -> None:
        if sum(self.found.values()) < self.images and self.chance.random() < self.images / (EDITS * 12):
            self._image()

    def _image(self) -> None:
        place = self.folder / "image"
        place.mkdir(exist_ok=True)
        for left in place.iterdir():
            left.unlink()
        self.disk.image(place, self.chance)
        self.found[look(place / "project.sqlite", self.recipe[0], self.acknowledged)] += 1


def look(database: Path, mode: str, acknowledged: list[str]) -> str:
    """Open what is left as the product does, and say whether it is sound and whole."""
    try:
        take_back_unfinished(database)
        check(database, immutable=False)
        with closing(open_writer(database, mode)) as db:
            problems = problems_of(db)
            stored = [Row(*row).hash for row in db.execute(SELECT + "ORDER BY id")]
    except (ProjectError, OSError):
        return "corrupt"
    except Exception:  # noqa: BLE001 - a damaged file may raise anything
        return "corrupt"
    if problems:
        return "corrupt"
    return "sound" if stored[: len(acknowledged)] == acknowledged else "losing"


def images(
    folder: Path, recipe: tuple[str, str | None], count: int, first_seed: int = 0, per_journey: int = 50
) -> Counter[str]:
    """Return what became of so many losses of power."""
    total: Counter[str] = Counter()
    for seed in range(first_seed, first_seed + count // per_journey):
        place = folder / f"journey-{seed}"
        place.mkdir()
        total += Journey(place, seed, recipe, per_journey).go()
    assert sum(total.values()) == count
    return total


@pytest.mark.parametrize("mode", ["WAL", "DELETE"])
def test_no_acknowledged_edit_is_lost_when_the_power_fails(quick_folder: Path, mode: str) -> None:
    assert images(quick_folder, (mode, None), 200) == {"sound": 200}


def without_safety(folder: Path, count: int) -> dict[str, Counter[str]]:
    """Return what becomes of recipes that are not ours."""
    recipes = {"off": ("WAL", "OFF"), "normal": ("WAL", "NORMAL"), "deleted": ("DELETE", "FULL")}
    for name in recipes:
        (folder / name).mkdir()
    return {name: images(folder / name, recipe, count) for name, recipe in recipes.items()}


def test_the_simulation_sees_unsafe_recipes_lose(quick_folder: Path) -> None:
    found = without_safety(quick_folder, 100)
    assert found["off"]["sound"] <= 10
    assert found["normal"]["losing"] >= 25
    assert found["deleted"]["losing"] >= 20


@pytest.mark.slow
@pytest.mark.promise
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("part", range(5))
@pytest.mark.parametrize("mode", ["WAL", "DELETE"])
def test_no_acknowledged_edit_is_lost_in_5000_losses_of_power(
    quick_folder: Path, mode: str, part: int, survived: Survived
) -> None:
    found = images(quick_folder, (mode, None), 1000, first_seed=1000 * part)
    survived(
        "durability", "… and power loss", tried=1000, survived=found["sound"], control="",
        detail=f"5,000 images in mode {mode}",
    )  # fmt: skip
    assert found == {"sound": 1000}


@pytest.mark.slow
@pytest.mark.promise
@pytest.mark.timeout(1800)
def test_1000_losses_of_power_with_unsafe_recipes(quick_folder: Path, survived: Survived) -> None:
    found = without_safety(quick_folder, 1000)
    off, normal, deleted = found["off"], found["normal"], found["deleted"]
    survived(
        "durability", "… and power loss", tried=0, survived=0,
        control=f"of 1,000 images each: synchronous=OFF left {off['corrupt']} corrupt and {off['losing']} more without "
        f"acknowledged edits, NORMAL lost edits in {normal['losing']}, a deleted journal in {deleted['losing']}",
    )  # fmt: skip
    assert off["sound"] <= 100
    assert off["corrupt"] >= 850
    assert normal["losing"] >= 300
    assert deleted["losing"] >= 200
