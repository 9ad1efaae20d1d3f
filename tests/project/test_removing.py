from __future__ import annotations

import json
import sqlite3
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from project_samples import RUN, filled, some_candidates, square

sys.path.insert(0, str(Path(__file__).parents[1] / "exchange"))

from planted_sources import Tokens, planted_project, searched

from napari_medlab.annotations import Finding
from napari_medlab.errors import InputRefusedError, ProjectError
from napari_medlab.images.slides.tile_store import cache_folder
from napari_medlab.project import (
    BundleRecord,
    CaseRecord,
    JudgementRecord,
    Project,
    Verdict,
    clearing,
    removing,
)
from napari_medlab.project.edits import (
    add_bundle,
    add_case,
    add_export,
    add_findings,
    add_judgement,
    add_run,
    finish_case,
    group,
    set_fields,
    set_filter,
    set_finding,
    set_region,
    set_verdict,
)
from napari_medlab.project.records import ExportRecord
from napari_medlab.project.removing import plan_removal

if TYPE_CHECKING:
    from conftest import Survived


def reviewed(folder: Path) -> tuple[str, str]:
    """Make a project of two cases with edits on each and on both, and return their keys."""
    with filled(folder) as project:
        gone, kept = (case.case_id for case in project.cases())
        both = [
            Finding(case_id, (9.0, 9.0, 9.0), 3.0, finding_id=f"{case_id[:31]}f") for case_id in (gone, kept)
        ]
        project.commit(add_findings(both))
        project.commit(group("both", [set_finding(one, replace(one, diameter=8.0)) for one in both]))
        for case_id in (gone, kept):
            project.commit(set_region(None, square(case_id, 2.0)))
            finding = str(project.findings(case_id).ids[0])
            told = Verdict("model wrong", "of the other: series-0" if case_id == kept else "spiculated")
            project.commit(set_verdict(case_id, RUN, finding, before=None, after=told))
            project.commit(finish_case(RUN, case_id, 1.0))
            project.names.remember(case_id, source=f"/ward/{case_id}.dcm", patient=f"Doe {case_id}")
        first = [str(project.findings(case_id).ids[0]) for case_id in (gone, kept)]
        body = {"case_ids": [gone, kept], "object_ids": [*first, str(project.candidates(RUN, gone).ids[0])]}
        project.commit(set_filter("both", None, body))
        project.commit(group("fields", [set_fields(case_id, {}, {"site": "A"}) for case_id in (gone, kept)]))
        for _ in range(2):
            project.undo()
        project.redo()
        project.backup()
    return gone, kept


def content(project: Project, case_id: str) -> list[object]:
    """Return what there is of a case."""
    return [
        project.case(case_id),
        project.findings(case_id).centres.tolist(),
        project.findings(case_id).diameters.tolist(),
        project.candidates(RUN, case_id).scores.tolist(),
        [one.as_json() for one in project.regions(case_id)],
        {
            name: one
            for name, one in project.verdicts(RUN).items()
            if name in project.findings(case_id).ids.tolist()
        },
        project.cases_done(RUN) & {case_id},
        project.names.sources().get(case_id),
    ]


def test_a_removed_case_is_gone_and_the_others_are_as_they_were(tmp_path: Path) -> None:
    gone, kept = reviewed(tmp_path / "p")
    with Project.open(tmp_path / "p", reader="ann") as project:
        before, rows = content(project, kept), project.journal()
        counts = project.remove([gone])
        assert content(project, kept) == before
        assert [case.case_id for case in project.cases()] == [kept]
        assert project.verify() == []
        assert project.rebuild_matches()
        after = project.journal()
        assert [(one.id, one.at, one.reader) for one in after[:-1]] == [
            (one.id, one.at, one.reader) for one in rows
        ]
        assert (after[-1].kind, after[-1].reader, after[-1].payload["counts"]) == (
            "case.remove",
            "ann",
            counts,
        )
        assert counts == {
            "cases": 1, "frozen test cases": 0, "findings": 3, "corrections": 1, "outlines": 1, "candidates": 4,
            "verdicts": 1, "edits": len([1 for one, other in zip(rows, after, strict=False) if one != other]),
        }  # fmt: skip
        assert project.filters()["both"] == {
            "case_ids": [kept],
            "object_ids": [str(project.findings(kept).ids[0])],
        }
        assert project.names.sources().keys() == {kept}
        assert project.names.known_patient_key(f"Doe {gone}") is None


def test_no_byte_of_it_is_left(tmp_path: Path) -> None:
    gone, _ = reviewed(tmp_path / "p")
    mask = tmp_path / "p" / "masks" / RUN / f"{gone}.zarr"
    mask.mkdir(parents=True)
    (mask / "chunk").write_text("pixels")
    (tmp_path / "p" / "images" / "0.mha").write_bytes(gone.encode())
    (tmp_path / "p" / "images" / "1.mha").write_bytes(b"pixels of the other")
    assert gone.encode() in searched(tmp_path / "p")
    with Project.open(tmp_path / "p", reader="ann") as project:
        project.remove([gone])
        left = searched(tmp_path / "p")
        assert gone.encode() not in left
        assert bytes.fromhex(gone) not in left
        assert b"spiculated" not in left
    assert not mask.exists()
    assert [path.name for path in (tmp_path / "p" / "images").iterdir()] == ["1.mha"]
    assert [path.name for path in (tmp_path / "p" / "backups").iterdir()] == ["project-1.sqlite"]
    assert not (tmp_path / "p" / "private" / clearing.NOTE).exists()


@pytest.mark.promise
def test_no_planted_token_of_a_removed_case_is_left(tmp_path: Path, survived: Survived) -> None:
    tokens = Tokens()
    with planted_project(tmp_path, tokens) as project:
        project.backup()
        for_all = searched(project.folder)
        removed = project.cases()[0]
        own, others = tokens_of(project, removed.case_id, tokens.given)
        project.remove([removed.case_id])
        left = searched(project.folder)
        assert project.verify() == []
    leaked = [token for token in own if token.encode() in left]
    survived(
        "patient data", "planted tokens", tried=len(own), survived=len(own) - len(leaked), control="",
        detail="project after a case was removed",
    )  # fmt: skip
    assert len(own) >= 8
    assert [token for token in [*own, *others] if token.encode() not in for_all] == []
    assert leaked == []
    assert [token for token in others if token.encode() not in left] == []


def tokens_of(project: Project, case_id: str, tokens: list[str]) -> tuple[list[str], list[str]]:
    """Return the tokens that the project knows of one case alone, and those that it knows of anything else."""
    own: list[str] = []
    others: list[str] = []
    for entry in project.journal():
        text = json.dumps([entry.payload, entry.reader], ensure_ascii=False)
        if entry.kind == "regions.add":
            table = project.region_table(entry.case_id or "")
            text += b" ".join([*table.ids.tolist(), *table.owner_ids.tolist()]).decode()
        (own if entry.case_id == case_id else others).append(text)
    names = json.loads((project.folder / "private" / "names.json").read_text())["cases"]
    own.append(json.dumps(names[case_id]))
    others += [json.dumps(entry) for key, entry in names.items() if key != case_id]
    known = [token for token in tokens if any(token in text for text in others)]
    return [token for token in tokens if token not in known and any(token in text for text in own)], known


def test_undo_cannot_bring_it_back(tmp_path: Path) -> None:
    gone, kept = reviewed(tmp_path / "p")
    with Project.open(tmp_path / "p", reader="ann") as project:
        project.remove([gone])
        while (undone := project.undo()) is not None:
            assert undone.case_id in (kept, None)
            assert project.verify() == []
        while project.redo() is not None:
            pass
        assert project.verify() == []
        assert [case.case_id for case in project.cases()] == [kept]
    assert gone.encode() not in searched(tmp_path / "p")


def test_what_a_removal_left_is_covered_by_the_chain(tmp_path: Path) -> None:
    gone, _ = reviewed(tmp_path / "p")
    before = tmp_path / "before.sqlite"
    before.write_bytes((tmp_path / "p" / "backups" / "project-1.sqlite").read_bytes())
    with Project.open(tmp_path / "p", reader="ann") as project:
        project.remove([gone])
        number = next(entry.id for entry in project.journal() if entry.kind == "removed")
    database = tmp_path / "p" / "project.sqlite"
    sound = database.read_bytes()
    for change in (
        "UPDATE journal SET at = '2020-01-01' WHERE id = ?1",
        "UPDATE journal SET payload = '{}' WHERE id = ?1",
        "UPDATE journal SET hash = iif(hash LIKE 'f%', 'e', 'f') || substr(hash, 2) WHERE id = ?1",
    ):
        altered(database, change, (number,))
        with Project.open(tmp_path / "p", read_only=True) as project:
            assert any(f"row {number} is not what" in problem for problem in project.verify())
            with pytest.raises(ProjectError, match=f"Row {number} of the journal is not what was written"):
                project.journal()
        database.write_bytes(sound)
    with closing(sqlite3.connect(before)) as db:
        old = db.execute("SELECT kind, case_id, payload FROM journal WHERE id = ?", (number,)).fetchone()
    altered(
        database, "UPDATE journal SET kind = ?2, case_id = ?3, payload = ?4 WHERE id = ?1", (number, *old)
    )
    with Project.open(tmp_path / "p", read_only=True) as project:
        assert f"journal: row {number} is not what a removal of cases left of it" in project.verify()


def altered(database: Path, change: str, values: tuple[object, ...]) -> None:
    with closing(sqlite3.connect(database, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = DELETE")
        db.execute("DROP TRIGGER journal_never_updated")
        db.execute(change, values)


def test_cases_can_be_removed_one_after_the_other(tmp_path: Path) -> None:
    gone, kept = reviewed(tmp_path / "p")
    with Project.open(tmp_path / "p", reader="ann") as project:
        project.remove([gone])
        project.remove([gone, kept])
        assert project.remove([gone]) == {}
        assert (project.cases(), len(project.findings()), project.verify()) == ([], 0, [])
        with pytest.raises(ProjectError, match="knows no case"):
            project.remove(["0" * 32])
    left = searched(tmp_path / "p")
    assert gone.encode() not in left
    assert kept.encode() not in left


def test_the_plan_says_what_goes_and_what_stays_elsewhere(tmp_path: Path) -> None:
    folder = tmp_path / "p"
    gone, _ = reviewed(folder)
    with Project.open(folder, reader="ann") as project:
        out = folder / "exports" / "a"
        out.mkdir()
        (out / "manifest.json").write_text(json.dumps({"cases": [{"key": gone}]}))
        project.commit(add_export(ExportRecord("exports/a", "nifti", "0" * 64)))
        project.commit(add_export(ExportRecord("/nowhere/b", "nifti", "0" * 64)))
        import hashlib

        digest = hashlib.sha256((out / "manifest.json").read_bytes()).hexdigest()
        for name, spec in (("child", {"training": {"packages": [digest]}}), ("innocent", {})):
            (folder / "bundles" / name).mkdir()
            (folder / "bundles" / name / "bundle.json").write_text(json.dumps(spec))
            project.commit(add_bundle(BundleRecord(name, f"bundles/{name}", name)))
        project.commit(add_bundle(BundleRecord("grandchild", "", "grandchild", parent="child")))
        before = searched(folder)
        plan = plan_removal(project, ["series-0"])
        assert searched(folder) == before
        number = next(entry.id for entry in project.journal() if "of the other" in json.dumps(entry.payload))
    assert (plan.cases, plan.names) == ((gone,), ("series-0",))
    assert (plan.images, plan.images_elsewhere) == (("images/0.mha",), ())
    assert (plan.exports, plan.exports_unseen) == ((str(out),), ("/nowhere/b",))
    assert plan.models == ("child", "grandchild")
    assert plan.mentions == (number,)
    assert (plan.counts["copies of the database"], plan.counts["masks"]) == (1, 0)


def test_a_name_must_be_that_of_one_case(tmp_path: Path) -> None:
    with filled(tmp_path / "p") as project:
        project.commit(add_case(CaseRecord("c" * 32, "", "series-0")))
        for name, code in (("series-0", "ambiguous-case"), ("series-9", "unknown-case")):
            with pytest.raises(InputRefusedError) as caught:
                plan_removal(project, [name])
            assert caught.value.code == code


def test_a_patient_with_further_cases_is_still_known(tmp_path: Path) -> None:
    with Project.create(tmp_path / "p", reader="ann") as project:
        key = project.names.patient_key("Doe^Jane")
        for number in range(2):
            case_id = f"{number}" * 32
            project.commit(add_case(CaseRecord(case_id, "images/same.mha", f"n{number}", patient_key=key)))
            project.names.remember(case_id, source="/ward/same.mha", patient="Doe^Jane")
        (project.folder / "images" / "same.mha").write_bytes(b"of both")
        plan = plan_removal(project, ["n0"])
        assert (plan.others_of_patient, plan.images) == (("n1",), ())
        project.remove(plan.cases)
        assert project.names.known_patient_key("Doe^Jane") == key
        assert (project.folder / "images" / "same.mha").exists()
        project.remove(["1" * 32])
        assert project.names.known_names() == set()
        assert list((project.folder / "images").iterdir()) == []


def test_judgements_stay_as_figures_and_are_marked(tmp_path: Path) -> None:
    with Project.create(tmp_path / "p", reader="ann") as project:
        for name in ("a", "b"):
            project.commit(add_case(CaseRecord(name * 32, "", name, split="test", frozen=True)))
        for run_id in ("1" * 32, "2" * 32):
            project.commit(add_run(run_id, "", {}))
            for name in ("a", "b"):
                project.commit(finish_case(run_id, name * 32, 1.0))
        judged = JudgementRecord("n", "o", "1" * 32, "2" * 32, {}, {"current": 0.5}, True, "better")
        project.commit(add_judgement(judged))
        assert plan_removal(project, ["a"]).judgements == 1
        project.remove(["a" * 32])
        project.commit(add_judgement(judged))
        assert [one.cases_removed for one in project.judgements()] == [1, 0]
        assert project.judgements()[0] == judged
        assert project.verify() == []


def test_a_project_that_is_only_read_refuses(tmp_path: Path) -> None:
    gone, _ = reviewed(tmp_path / "p")
    before = {path: path.read_bytes() for path in (tmp_path / "p").rglob("*") if path.is_file()}
    with Project.open(tmp_path / "p", read_only=True) as project, pytest.raises(ProjectError) as caught:
        project.remove([gone])
    assert caught.value.code == "read-only"
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize("is_shared", [False, True])
def test_a_merge_does_not_bring_it_back_and_says_so(tmp_path: Path, is_shared: bool) -> None:
    gone, kept = reviewed(tmp_path / "p")
    with Project.open(tmp_path / "p", reader="ann") as project:
        if is_shared:
            project.share(tmp_path / "copy")
        else:
            import shutil

            shutil.copytree(tmp_path / "p", tmp_path / "copy")
        with Project.open(tmp_path / "copy", reader="bob") as copy:
            for case_id in (gone, kept):
                copy.commit(set_region(None, square(case_id, 4.0)))
        project.remove([gone])
        done = project.merge(tmp_path / "copy")
        assert (done.edits, done.conflicts) == (1, ())
        assert done.left_out == {f"The project knows no case {gone}.": 1}
        assert [case.case_id for case in project.cases()] == [kept]
        assert len(project.regions(kept, reader="bob")) == 1
        assert project.verify() == []
        assert gone.encode() not in searched(tmp_path / "p")
    with Project.open(tmp_path / "copy", reader="bob") as copy:
        told = copy.merge(tmp_path / "p")
        assert told.left_out["edits of the kind case.remove"] == 1
        assert {case.case_id for case in copy.cases()} == {gone, kept}


def test_a_shared_copy_of_what_is_left_is_sound_and_can_be_merged(tmp_path: Path) -> None:
    gone, kept = reviewed(tmp_path / "p")
    with Project.open(tmp_path / "p", reader="ann") as project:
        project.remove([gone])
        project.share(tmp_path / "copy")
        with Project.open(tmp_path / "copy", reader="bob") as copy:
            assert copy.verify() == []
            copy.commit(set_region(None, square(kept, 4.0)))
        assert project.merge(tmp_path / "copy").edits == 1
        assert project.verify() == []
    assert gone.encode() not in searched(tmp_path / "copy")


def test_pictures_of_it_are_not_kept_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDLAB_CACHE_DIR", str(tmp_path / "cache"))
    for place in (cache_folder(), cache_folder().parent / "thumbnails", cache_folder().parent / "crops"):
        place.mkdir(parents=True)
        (place / "picture").write_text("pixels")
    with Project.create(tmp_path / "p", reader="ann") as project:
        project.commit(add_case(CaseRecord("a" * 32, "", "a", "slide")))
        project.remove(["a" * 32])
    assert list((tmp_path / "cache").rglob("picture")) == []


def test_what_was_cut_off_is_finished_when_the_project_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, kept = reviewed(tmp_path / "p")
    with Project.open(tmp_path / "p", reader="ann") as project:
        with monkeypatch.context() as patch:
            patch.setattr(removing, "clear_files", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                project.remove([gone])
        assert gone in (tmp_path / "p" / "private" / "names.json").read_text()
    with Project.open(tmp_path / "p", read_only=True):
        pass
    assert (tmp_path / "p" / "private" / clearing.NOTE).exists()
    with Project.open(tmp_path / "p", reader="ann") as project:
        assert [case.case_id for case in project.cases()] == [kept]
        assert project.verify() == []
    assert gone.encode() not in searched(tmp_path / "p")


def test_a_removal_that_does_not_hold_leaves_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, _ = reviewed(tmp_path / "p")

    def stale(_: object) -> None:
        raise ProjectError("An edit of another case needs it.", code="stale")

    with Project.open(tmp_path / "p", reader="ann") as project:
        before, journal = content(project, gone), project.journal()
        with monkeypatch.context() as patch:
            patch.setattr(removing, "replay", stale)
            with pytest.raises(ProjectError, match="does not hold without") as caught:
                project.remove([gone])
        assert caught.value.code == "unsound"
        assert (content(project, gone), project.journal(), project.verify()) == (before, journal, [])
        assert not (tmp_path / "p" / "private" / clearing.NOTE).exists()
        assert len(list((tmp_path / "p" / "backups").iterdir())) == 1
        project.remove([gone])
        assert project.verify() == []


def test_candidates_of_many_batches_go(tmp_path: Path) -> None:
    from napari_medlab.project.edits import add_candidates

    with filled(tmp_path / "p") as project:
        gone, kept = (case.case_id for case in project.cases())
        for batch in range(1, 4):
            project.commit(add_candidates(RUN, gone, batch, some_candidates(gone, 9)))
        assert project.remove([gone])["candidates"] == 4 + 27
        assert set(project.candidates(RUN).case_ids.tolist()) == {kept}
