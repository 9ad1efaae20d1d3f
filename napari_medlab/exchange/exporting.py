"""Writing what a project holds, or a part of it, for others: in any format, under keys, whole or not at all."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from napari_medlab.durable import new_folder, write_file
from napari_medlab.exchange.collecting import collected
from napari_medlab.exchange.image_files import refuse_written_on
from napari_medlab.exchange.writers import WRITERS, Job
from napari_medlab.jobs.spreading import Here
from napari_medlab.jobs.stopping import StopToken
from napari_medlab.project.edits import utc_now
from napari_medlab.project.exported import record_export
from napari_medlab.project.unread import reading_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_medlab.exchange.case_writing import Overlap
    from napari_medlab.exchange.collecting import CaseObjects, Selection
    from napari_medlab.jobs.spreading import Spread
    from napari_medlab.project import Project

__all__ = ["MANIFEST", "Exported", "Outgoing", "export_objects"]

MANIFEST = "manifest.json"
SCHEMA = 1
EDITS = ("finding.set", "region.set", "group")
"""The kinds of edit by which a reader corrects the reference."""


@dataclass(frozen=True)
class Exported:
    """What an export holds.

    Parameters
    ----------
    format : str
    out : str
    run_id : str
        The run whose candidates it holds; empty for none.
    cases, findings, excluded, candidates : int
        What went out.
    excluded_left_out : int
        The findings that do not count, of which the format has no words.
    without_outline : int
        The objects of which neither outline nor diameter is known: only LUNA16 tables have them.
    unread : int
        Cases of the reference that nobody is known to have read: that nothing is told of them does not mean that there is
        nothing. The manifest names them.
    images : int
        The images that were written.
    left_out : list of str
        The keys of the cases that the format cannot hold.
    files : int
        The files, without the manifest.
    manifest_sha256 : str
    is_recorded : bool
        Whether the project remembers it: one that is open for reading alone does not.
    """

    format: str
    out: str
    run_id: str
    cases: int
    findings: int
    excluded: int
    candidates: int
    excluded_left_out: int
    without_outline: int
    unread: int
    images: int
    left_out: list[str] = field(default_factory=list)
    files: int = 0
    manifest_sha256: str = ""
    is_recorded: bool = False


@dataclass(frozen=True)
class Outgoing:
    """In what form it goes out, and who writes it.

    Parameters
    ----------
    format : str
        A name in :data:`napari_medlab.exchange.writers.WRITERS`.
    with_images : bool or None
        Whether the images go along; None where the format decides: those that are made to train on have images.
    has_no_text : bool
        Whether somebody looked at the images that may carry text, and there is none.
    overlap : {"refuse", "last"}
        What becomes of voxels that several objects share, in a map that holds one number for each: the later object
        may have them.
    spread : Spread
        Who writes images, label maps and objects of DICOM, case by case: this process, or workers that see the folder under
        the same path.
    """

    format: str
    with_images: bool | None = None
    has_no_text: bool = False
    overlap: Overlap = "refuse"
    spread: Spread = field(default_factory=Here)


def export_objects(
    project: Project,
    out: Path,
    outgoing: Outgoing,
    selection: Selection,
    *,
    on_progress: Callable[[int, int], None] | None = None,
    stop: Callable[[], None] | None = None,
) -> Exported:
    """Write the reference as it was corrected, or the candidates of a run, into a new folder.

    Nothing of a source is copied: files are called by case keys, and hold places, sizes, classes and scores; images that
    go along hold pixels and geometry. Labels stay as they were written. Beside what the format asks for there is a
    ``manifest.json`` with the SHA-256 of every file.

    Parameters
    ----------
    project : Project
    out : Path
        A new folder.
    outgoing : Outgoing
    selection : Selection
    on_progress : callable, optional
        Called with the cases written and all cases.
    stop : callable, optional
        Called between cases; raises where the work is to end. There is no folder then.

    Raises
    ------
    InputRefusedError
        ``exists`` where there is something at ``out``; as :func:`napari_medlab.exchange.collecting.collected`,
        :func:`napari_medlab.exchange.image_files.refuse_written_on`, and as the format does for what it cannot hold.
    DiskError
        Where something cannot be written. There is no folder then.
    """
    writer = WRITERS[outgoing.format]
    with_images = writer.has_images if outgoing.with_images is None else outgoing.with_images
    with new_folder(out) as folder:
        cases, left_out = collected(project, selection, writer.axes)
        if with_images and not outgoing.has_no_text:
            refuse_written_on([one.case for one in cases])
        job = Job(project, folder, cases, selection.run_id, with_images, outgoing.overlap, on_progress, StopToken(stop),
                  outgoing.spread)  # fmt: skip
        writer.write(job)
        manifest = _manifest(folder, outgoing.format, job, left_out)
        text = json.dumps(manifest, indent=1, allow_nan=False).encode()
        write_file(folder / MANIFEST, text)
        is_recorded = record_export(project, out, outgoing.format, text, _edits(project, cases))
    digest = hashlib.sha256(text).hexdigest()
    return Exported(
        format=outgoing.format,
        out=str(out),
        run_id=selection.run_id,
        cases=len(cases),
        findings=job.findings,
        excluded=job.excluded if writer.holds_excluded else 0,
        excluded_left_out=0 if writer.holds_excluded else job.excluded,
        candidates=sum(map(len, cases)) if selection.run_id else 0,
        without_outline=sum(one.unsized for one in cases),
        unread=len(manifest["unread"]),
        images=job.images,
        left_out=left_out,
        files=len(manifest["files"]),
        manifest_sha256=digest,
        is_recorded=is_recorded,
    )


def _manifest(folder: Path, name: str, job: Job, left_out: list[str]) -> dict[str, Any]:
    """Return what was written: keys, counts and hashes, and no word of the project but labels."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    unread = frozenset() if job.run_id else reading_of(job.project).unread
    return {
        "schema": SCHEMA,
        "format": name,
        "created": utc_now(),
        "holds": "candidates" if job.run_id else "reference",
        "labels": dict(Counter(label for one in job.cases for label in one.labels)),
        "cases": [
            {"key": one.key, "split": one.case.split, "objects": len(one), "unit": one.grid.unit,
             "shape": list(one.grid.shape)}
            for one in job.cases
        ],
        "left_out": left_out,
        "unread": [one.key for one in job.cases if one.case.case_id in unread],
        "files": {path.relative_to(folder).as_posix(): _digest(path) for path in files},
    }  # fmt: skip


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _edits(project: Project, cases: list[CaseObjects]) -> list[int]:
    """Return the corrections that went into an export."""
    chosen = {one.case.case_id for one in cases}
    return [entry.id for entry in project.journal(kinds=EDITS) if entry.case_id in chosen]
