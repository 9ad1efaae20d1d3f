from __future__ import annotations

import random
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from project_samples import RUN, filled, outline_table, square

from napari_medlab.annotations import new_id
from napari_medlab.errors import ProjectError
from napari_medlab.project import CaseRecord, Project
from napari_medlab.project.edits import add_case, add_regions, set_finding, set_region, set_verdict

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import Survived

PAYLOADS = {
    "journal": "SELECT payload, hash FROM journal",
    "regions": "SELECT body, digest, seat, owner_id, reader FROM regions",
    "verdicts": "SELECT body, digest, seat, reader, at FROM verdicts",
    "corrections": "SELECT body, digest, seat, reader FROM corrections",
    "findings": "SELECT finding_id, label, digest FROM findings",
    "batches": "SELECT payload FROM journal WHERE kind = 'regions.add'",
    "candidates": "SELECT ids, numbers, label_codes, label_names, digest FROM candidate_batches",
}
CHUNK = 24
"""Bytes by which a piece of a payload is found in the file: a longer one may lie on several pages."""


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed project with something of every kind."""
    folder = tmp_path_factory.mktemp("rot") / "p"
    with filled(folder, candidates=40) as project:
        for case in project.cases():
            for size in (2.5, 7.25, 1 / 3):
                project.commit(set_region(None, square(case.case_id, size)))
            for object_id in project.candidates(RUN, case.case_id).ids.tolist()[:10]:
                project.commit(set_verdict(case.case_id, RUN, object_id, before=None, after="agreed"))
            for finding_id in project.findings(case.case_id).ids.tolist():
                finding = project.finding(finding_id)
                assert finding is not None
                project.commit(set_finding(finding, replace(finding, diameter=1 / 3)))
        flat = CaseRecord(new_id(), "a.png", "a", "photo")
        project.commit(add_case(flat))
        project.commit(add_regions(flat.case_id, "0", outline_table(flat.case_id, 30)))
    return folder


def live_places(database: Path, what: str, chance: random.Random) -> Iterator[int]:
    """Yield places in the file at which there is a byte of a payload that is in use, at random and without end."""
    content = database.read_bytes()
    with closing(sqlite3.connect(database)) as db:
        cells = [cell for row in db.execute(PAYLOADS[what]) for cell in row]
    payloads = [cell.encode() if isinstance(cell, str) else cell for cell in cells]
    weights = [len(payload) for payload in payloads]
    while True:
        (payload,) = chance.choices(payloads, weights)
        at = chance.randrange(max(1, len(payload) - CHUNK))
        piece = payload[at : at + CHUNK]
        found = content.find(piece)
        if found >= 0 and piece:
            yield found + chance.randrange(len(piece))


def payloads_of(database: Path) -> list[Any] | None:
    """Return every payload as SQLite reads it; None where it cannot."""
    try:
        with closing(sqlite3.connect(database)) as db:
            return [db.execute(query).fetchall() for query in PAYLOADS.values()]
    except (sqlite3.Error, ValueError):
        return None


def everything(project: Project) -> list[Any]:
    """Return all that readers get to see, as values that compare."""
    table = project.candidates(RUN)
    findings = [
        project.findings(reader=reader, as_given=given) for reader in (None, "ann") for given in (True, False)
    ]
    return [
        [region.as_json() for region in project.regions()],
        [region.as_json() for region in project.regions(reader="ann")],
        [project.verdicts(RUN), project.verdicts(RUN, reader="ann"), project.verdicts_by_reader(RUN)],
        [
            (one.ids.tolist(), one.labels.tolist(), one.centres.tolist(), one.diameters.tolist())
            for one in findings
        ],
        [table.ids.tolist(), table.case_ids.tolist(), table.labels.tolist(), table.centres.tolist()],
        [table.scores.tolist(), table.diameters.tolist()],
        project.journal(),
    ]


def seen(folder: Path, expected: list[Any]) -> tuple[bool, bool]:
    """Return whether the damage is noticed, and whether something wrong is served."""
    try:
        with Project.open(folder, read_only=True) as project:
            noticed = bool(project.verify())
            try:
                return noticed, everything(project) != expected
            except ProjectError:
                return noticed, False
    except ProjectError:
        return True, False


def flipped(folder: Path, count: int) -> Counter[str]:
    """Flip single bits in live payload, one at a time, and count what is noticed, served, and seen by SQLite."""
    database = folder / "project.sqlite"
    chance = random.Random(7)
    content = database.read_bytes()
    with Project.open(folder, read_only=True) as project:
        assert project.verify() == []
        expected = everything(project)
    places = {what: live_places(database, what, chance) for what in PAYLOADS}
    stored, total = payloads_of(database), Counter[str]()
    while total["flips"] < count:
        at = next(places[list(PAYLOADS)[total["flips"] % len(PAYLOADS)]])
        write(database, at, content[at] ^ (1 << chance.randrange(8)))
        if (
            payloads_of(database) != stored
        ):  # else it was a copy that SQLite left behind when it moved the row
            noticed, served = seen(folder, expected)
            with closing(sqlite3.connect(database)) as db:
                by_sqlite = db.execute("PRAGMA integrity_check").fetchall() != [("ok",)]
            total += Counter({"flips": 1, "noticed": noticed, "served": served, "integrity_check": by_sqlite})
        write(database, at, content[at])
    assert database.read_bytes() == content
    return total


def write(database: Path, at: int, value: int) -> None:
    with database.open("rb+") as file:
        file.seek(at)
        file.write(bytes([value]))


def check_flips(total: Counter[str], count: int) -> None:
    assert (total["noticed"], total["served"]) == (count, 0)
    # the control: what SQLite itself offers misses most
    assert total["integrity_check"] < count / 10


def test_every_flipped_bit_is_noticed_and_none_is_served(stored: Path) -> None:
    check_flips(flipped(stored, 140), 140)


@pytest.mark.slow
@pytest.mark.promise
def test_500_flipped_bits_are_noticed_and_none_is_served(stored: Path, survived: Survived) -> None:
    total = flipped(stored, 500)
    survived(
        "durability", "bit rot", tried=500, survived=min(total["noticed"], 500 - total["served"]),
        control=f"SQLite's own integrity_check missed {500 - total['integrity_check']} of the 500",
        detail=", ".join(PAYLOADS),
    )  # fmt: skip
    check_flips(total, 500)
