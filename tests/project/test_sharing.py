from __future__ import annotations

import base64
import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from planted import READERS, planted, write_bundle
from project_samples import RUN, filled, square
from version_1 import write_version_1

from napari_medlab.errors import InputRefusedError, ProjectError
from napari_medlab.project import BundleRecord, Project, Verdict, open_case
from napari_medlab.project.applying import KINDS
from napari_medlab.project.edits import add_bundle, set_region, set_verdict
from napari_medlab.project.shareable import KEPT

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Survived


def raw_bytes(folder: Path) -> bytes:
    """Return all there is in a folder: contents, unpacked where the journal packs them, and names."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    names = [str(path.relative_to(folder)).encode() for path in sorted(folder.rglob("*"))]
    return b"\n".join([*names, *(path.read_bytes() for path in files), *unpacked(folder)])


def unpacked(folder: Path) -> list[bytes]:
    import zlib

    with closing(sqlite3.connect(folder / "project.sqlite")) as db:
        rows = db.execute("SELECT payload FROM journal WHERE typeof(payload) = 'blob'").fetchall()
    texts = [zlib.decompress(row[0]) for row in rows]
    # ids that came in batches stand in base 64
    packed = [json.loads(text) for text in texts if b'"vertex_counts"' in text]
    return [*texts, *(base64.b64decode(batch[name]) for batch in packed for name in ("ids", "owner_ids"))]


@pytest.mark.promise
def test_no_token_of_the_project_is_in_the_copy(tmp_path: Path, survived: Survived) -> None:
    tokens = planted(tmp_path / "p")
    before = {path: path.read_bytes() for path in (tmp_path / "p").rglob("*") if path.is_file()}
    with Project.open(tmp_path / "p", read_only=True) as project:
        shared = project.share(tmp_path / "copy")
    source, copy = raw_bytes(tmp_path / "p"), raw_bytes(tmp_path / "copy")
    assert len(tokens) >= 60
    # the control: what looks for them finds every one where they were planted
    assert [token for token in tokens if token.encode() not in source] == []
    leaked = [token for token in tokens if token.lower().encode() in copy.lower()]
    survived(
        "patient data", "planted tokens", tried=len(tokens), survived=len(tokens) - len(leaked), control="",
        detail="shared project",
    )  # fmt: skip
    assert leaked == []
    assert str(tmp_path).encode() not in copy
    assert (shared.cases, shared.readers, shared.models, len(shared.models_left_out)) == (3, 2, 1, 1)
    assert {path: path.read_bytes() for path in before} == before


def test_a_copy_is_sound_and_holds_what_was_reviewed(tmp_path: Path) -> None:
    with filled(tmp_path / "p") as project:
        case = project.cases()[0]
        finding = str(project.findings(case.case_id).ids[0])
        outline = square(case.case_id, 2.5, finding)
        project.commit(set_region(None, outline))
        told = Verdict("model wrong", "too small", ("rib",))
        project.commit(set_verdict(case.case_id, RUN, finding, before=None, after=told))
        project.undo()
        project.redo()
        shared = project.share(tmp_path / "copy")
        with Project.open(tmp_path / "copy", reader="bob") as copy:
            assert copy.verify() == []
            assert not copy.is_read_only
            assert [one.case_id for one in copy.cases()] == [one.case_id for one in project.cases()]
            assert copy.findings().centres.tolist() == project.findings().centres.tolist()
            assert copy.candidates(RUN).scores.tolist() == project.candidates(RUN).scores.tolist()
            assert [one.as_json() for one in copy.regions()] == [outline.as_json()]
            assert copy.verdicts(RUN) == {finding: told}
            assert copy.verdicts(RUN)[finding].reader == "reader-1"
            assert [entry.kind for entry in copy.journal()] == [entry.kind for entry in project.journal()]
            assert copy.undo() is None
        with Project.open(tmp_path / "copy", reader="reader-1") as copy:
            undone = copy.undo()
            assert undone is not None
            assert undone.kind == "verdict.set"
            assert copy.verify() == []
        assert (shared.edits, shared.comments, shared.comments_with_names) == (11, 2, 0)


def test_a_copy_of_a_copy_is_the_same(tmp_path: Path) -> None:
    planted(tmp_path / "p")
    for name, source in (("a", "p"), ("b", "a")):
        with Project.open(tmp_path / source, read_only=True) as project:
            project.share(tmp_path / name)
    with (
        Project.open(tmp_path / "a", read_only=True) as first,
        Project.open(tmp_path / "b", read_only=True) as second,
    ):
        assert [(e.payload, e.at, e.reader) for e in first.journal()] == [
            (e.payload, e.at, e.reader) for e in second.journal()
        ]


def test_cases_are_there_without_their_images(tmp_path: Path) -> None:
    with filled(tmp_path / "p") as project:
        project.share(tmp_path / "copy")
    with Project.open(tmp_path / "copy", read_only=True) as copy:
        for case in copy.cases():
            assert (case.name, case.path) == (case.case_id, "")
            with pytest.raises(ProjectError, match=f"image of case {case.case_id} is not here") as caught:
                open_case(copy, case.case_id)
            assert caught.value.code == "no-image"


def test_a_copy_is_one_file_without_a_log_and_without_free_pages(tmp_path: Path) -> None:
    planted(tmp_path / "p")
    with Project.open(tmp_path / "p", read_only=True) as project:
        project.share(tmp_path / "copy")
    names = {path.name for path in (tmp_path / "copy").iterdir()}
    assert names == {"project.sqlite", "images", "bundles", "exports", "backups", "private"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "p"]
    for empty in ("images", "exports", "backups", "private"):
        assert list((tmp_path / "copy" / empty).iterdir()) == []
    with closing(sqlite3.connect(tmp_path / "copy" / "project.sqlite")) as db:
        assert db.execute("PRAGMA freelist_count").fetchone() == (0,)
        assert db.execute("PRAGMA journal_mode").fetchone() == ("delete",)


def test_models_of_the_project_go_along_and_are_those_recorded(tmp_path: Path) -> None:
    with filled(tmp_path / "p") as project:
        hashes = [write_bundle(project.folder, name, "A model.") for name in ("kept", "changed")]
        for digest, name in zip(hashes, ("kept", "changed"), strict=True):
            project.commit(add_bundle(BundleRecord(digest, f"bundles/{name}", name)))
        (project.folder / "bundles" / "changed" / "model.safetensors").write_bytes(b"other weights")
        shared = project.share(tmp_path / "copy")
    assert (shared.models, shared.models_left_out) == (1, (hashes[1],))
    with Project.open(tmp_path / "copy", read_only=True) as copy:
        kept, changed = copy.bundles()
    assert (kept.path, kept.name) == (f"bundles/{hashes[0][:32]}", "kept")
    assert (changed.path, changed.name) == ("", "changed")
    for name in ("bundle.json", "model.safetensors", "CARD.md"):
        assert (tmp_path / "copy" / kept.path / name).read_bytes() == (
            tmp_path / "p" / "bundles" / "kept" / name
        ).read_bytes()


def test_comments_that_say_a_name_are_counted(tmp_path: Path) -> None:
    with filled(tmp_path / "p") as project:
        case = project.cases()[0]
        project.names.remember(case.case_id, source="/ward/scan.dcm", patient="Doe^Jane")
        ids = project.candidates(RUN, case.case_id).ids.tolist()
        comments = ("ask doe^jane again", "see SCAN.DCM", "as in series-0", "nothing of the kind")
        for object_id, comment in zip(ids, comments, strict=True):
            after = Verdict("ambiguous", comment)
            project.commit(set_verdict(case.case_id, RUN, object_id, before=None, after=after))
        shared = project.share(tmp_path / "copy")
    assert (shared.comments, shared.comments_with_names) == (4, 3)


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    with filled(tmp_path / "p") as project, pytest.raises(InputRefusedError) as caught:
        project.share(tmp_path / "copy")
    assert caught.value.code == "exists"
    assert list((tmp_path / "copy").iterdir()) == []


def test_a_damaged_project_is_not_handed_on(tmp_path: Path) -> None:
    filled(tmp_path / "p").close()
    with closing(sqlite3.connect(tmp_path / "p" / "project.sqlite", isolation_level=None)) as db:
        db.execute("DROP TRIGGER journal_never_updated")
        db.execute("UPDATE journal SET reader = 'bob' WHERE id = 3")
    with Project.open(tmp_path / "p", read_only=True) as project, pytest.raises(ProjectError) as caught:
        project.share(tmp_path / "copy")
    assert caught.value.code == "bit-rot"
    assert [path.name for path in tmp_path.iterdir()] == ["p"]


def test_a_project_of_version_1_is_shared_as_one_of_ours(tmp_path: Path) -> None:
    write_version_1(tmp_path / "p")
    with Project.open(tmp_path / "p", read_only=True) as project:
        project.share(tmp_path / "copy")
    with Project.open(tmp_path / "copy", read_only=True) as copy:
        assert copy.verify() == []
        assert len(copy.cases()) == 1


def test_there_is_a_rule_for_every_kind_of_edit() -> None:
    assert set(KEPT) == set(KINDS)


def test_readers_are_numbered_in_the_order_of_their_first_edits(tmp_path: Path) -> None:
    planted(tmp_path / "p")
    with Project.open(tmp_path / "p", read_only=True) as project:
        project.share(tmp_path / "copy")
        readers = [entry.reader for entry in project.journal()]
    with Project.open(tmp_path / "copy", read_only=True) as copy:
        assert [entry.reader for entry in copy.journal()] == [
            f"reader-{READERS.index(name) + 1}" for name in readers
        ]
