"""A project with a token in every slot that could hold a name; none of them may be handed on."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from project_samples import square

from napari_medlab.annotations import Candidate, Finding, Region, new_id
from napari_medlab.annotations.region_table import RegionTable
from napari_medlab.project import (
    BundleRecord,
    CaseRecord,
    ExportRecord,
    JudgementRecord,
    Project,
    Verdict,
)
from napari_medlab.project.edits import (
    Edit,
    add_bundle,
    add_candidates,
    add_case,
    add_export,
    add_findings,
    add_judgement,
    add_regions,
    add_run,
    canonical,
    finish_case,
    finish_run,
    group,
    set_conclusion,
    set_current_bundle,
    set_fields,
    set_filter,
    set_finding,
    set_region,
    set_verdict,
)

if TYPE_CHECKING:
    from pathlib import Path

READERS = ("login-qz00", "login-qz01")


class Tokens:
    """Gives out tokens, and remembers them."""

    def __init__(self) -> None:
        self.given: list[str] = [*READERS]

    def new(self, before: str = "", behind: str = "") -> str:
        """Return a text that holds a new token."""
        token = f"Zq{len(self.given):02d}Xk"
        self.given.append(token)
        return f"{before}{token}{behind}"


def planted(folder: Path) -> list[str]:
    """Make a project with a token in every slot, and return the tokens."""
    tokens = Tokens()
    new = tokens.new
    (folder / "images").mkdir(parents=True)
    (folder / "images" / new(behind=".mha")).write_bytes(new("pixels ").encode())
    with Project.create(folder, reader=READERS[0]) as project:
        case = _case(tokens)
        project.names.remember(case.case_id, source=f"/ward/{new()}/{new()}.dcm", patient=new("MRN-"))
        project.names.patient_key(new("Doe^"))
        project.commit(add_case(case, lineage=[new("resampled from ")]))
        project.commit(_with(add_case(replace(_case(tokens), case_id=new("case "))), new()))
        finding = Finding(case.case_id, (1.0, 2.0, 3.0), 5.0, finding_id=new("annotations-", ":12"))
        project.commit(add_findings([finding]))
        _run_and_edits(project, tokens, case, finding)
        _bundles(project, tokens)
        project.backup()
    with Project.open(folder, reader=READERS[1]) as project:
        run_id = project.runs()[0].run_id
        object_id = project.candidates(run_id).ids[0]
        project.commit(set_verdict(case.case_id, run_id, str(object_id), before=None, after="agreed"))
        project.undo()
    return tokens.given


def _with(edit: Edit, stranger: str) -> Edit:
    """Add a slot that nobody knows."""
    return replace(edit, payload={**edit.payload, "remark": stranger, stranger.lower(): 1})


def _case(tokens: Tokens) -> CaseRecord:
    new = tokens.new
    return CaseRecord(
        case_id=new_id(),
        path=f"/home/{new()}/{new()}/{new()}.mha",
        name=new("Jane "),
        modality=new(),
        patient_key=new("patient "),
        fingerprint={"file": new(), "digest": new()},
        grid={
            "shape": [2, 3, 4],
            "affine": [[float(i == j) for j in range(4)] for i in range(4)],
            "unit": "mm",
            "of": new(),
        },
        decisions={"series_uid": new("1.2.840."), "phase": 1},
        exam_key=new("exam "),
        view=new("R"),
        fields={"scanner": new()},
    )


def _run_and_edits(project: Project, tokens: Tokens, case: CaseRecord, finding: Finding) -> None:
    new = tokens.new
    run_id = new("run ")
    configuration = {
        "threshold": 0.5,
        "device": new(),
        new(): 3,
        "postprocessing": {"where": new(), "merge_mm": 4.0},
    }
    project.commit(_with(add_run(run_id, new("bundle "), {**configuration, "model": new("/models/")}), new()))
    found = Candidate(case.case_id, (1.0, 2.0, 3.0), 0.5)
    project.commit(_with(add_candidates(run_id, case.case_id, 0, [found]), new()))
    project.commit(_with(finish_case(run_id, case.case_id, 1.5), new()))
    project.commit(_with(finish_run(run_id), new()))
    outline = replace(square(case.case_id, 2.0, finding.finding_id), region_id=new("region "))
    project.commit(set_region(None, outline))
    project.commit(set_region(outline, replace(outline, rings=square(case.case_id, 3.0).rings)))
    told = Verdict("model wrong", "spiculated", ("upper lobe",))
    project.commit(set_verdict(case.case_id, "", finding.finding_id, before=None, after=told))
    fields: dict[str, str | float] = {"site": new(), new(): 3, "mrn": 4711, "fold": new("fold ")}
    project.commit(set_fields(case.case_id, case.fields, {**fields, "kvp": 120}))
    body = {
        "tags": [new()],
        "text": new(),
        "readers": [new()],
        "kinds": ["fp", new()],
        new(): 1,
        "score": [0.5, None],
        "labels": [new()],
        "case_ids": [new("case ")],
        "object_ids": [new("object ")],
        "fields": {new(): [0, 1], "site": {"in": [new()]}, "kvp": {"in": [new()]}},
    }
    project.commit(set_filter(new("hard "), None, body))
    moved = replace(finding, diameter=6.0)
    project.commit(
        group(new("moved "), [_with(set_finding(finding, moved), new()), set_finding(moved, finding)])
    )
    flat = CaseRecord(new_id(), "", "", "photo")
    project.commit(add_case(flat))
    named = Region(flat.case_id, (np.eye(2),), new("owner "), "cell", new("cell "))
    table = RegionTable.from_regions(flat.case_id, [named])
    project.commit(_with(add_regions(flat.case_id, new("batch "), table, run_id), new()))
    changed = replace(named, rings=(np.eye(2) + 1,), owner_id=new("other owner "))
    added = Finding(flat.case_id, (1.0, 2.0), 5.0, finding_id=new("added "))
    project.commit(
        group(
            new("redrawn "),
            [
                _with(set_region(named, changed, adjudicated=True), new()),
                _with(set_finding(None, added, adjudicated=True), new()),
                _with(set_fields(flat.case_id, {}, {"site": new(), "fold": new()}), new()),
                _with(set_filter(new("easy "), None, {"text": new()}), new()),
            ],
        )
    )
    path, form = f"/exports/{new()}/{new()}", new()
    project.commit(_with(add_export(ExportRecord(path, form, new("manifest "), (1, 2))), new()))


def _bundles(project: Project, tokens: Tokens) -> None:
    """Add a bundle that can be handed on, with a stray beside it, and one whose card says a reader's name."""
    new = tokens.new
    clean = write_bundle(project.folder, "clean", "A model.")
    (project.folder / "bundles" / "clean" / new(behind=".log")).write_text(new())
    named = write_bundle(project.folder, "named", f"Trained by {READERS[0]}.")
    for digest, name in ((clean, "clean"), (named, "named")):
        project.commit(
            add_bundle(BundleRecord(digest, f"bundles/{name}", name, figures={"cpm": 0.5, "by": new()}))
        )
    far = BundleRecord(
        "f" * 64, f"/home/{new()}/bundle", new("model^"), parent=new("parent "), figures={new(): 0.5}
    )
    project.commit(add_bundle(far))
    project.commit(set_current_bundle(None, clean))
    run_id = project.runs()[0].run_id
    rule = {"metric": new(), "needs": new("not "), new(): 0.5, "margin": 0.0}
    told = {"current": 0.5, "proposed": new(), new(): 0.5, "of": {new(): new()}}
    judged = JudgementRecord(clean, new("model "), run_id, run_id, rule, told, True, new("Better than "))
    project.commit(_with(add_judgement(judged), new()))
    project.commit(_with(set_conclusion(clean, "", "good"), new()))


def write_bundle(folder: Path, name: str, card: str) -> str:
    """Write the files of a bundle into a project, and return its hash."""
    place = folder / "bundles" / name
    place.mkdir()
    weights = name.encode() * 99
    spec = {"name": name, "weights_sha256": hashlib.sha256(weights).hexdigest()}
    (place / "bundle.json").write_text(json.dumps(spec, indent=1))
    (place / "model.safetensors").write_bytes(weights)
    (place / "CARD.md").write_text(card)
    return hashlib.sha256(canonical(spec).encode()).hexdigest()
