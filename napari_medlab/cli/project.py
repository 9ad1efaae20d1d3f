"""``napari-medlab project …``: making, filling, running models on, checking, copying, sharing and merging projects."""

from __future__ import annotations

import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_medlab.cli.image_arguments import add_image_arguments, chosen, wanted
from napari_medlab.cli.importing import (
    add_prediction_arguments,
    add_reference_arguments,
    import_candidates,
    import_findings,
)
from napari_medlab.cli.removing import add_remove_arguments, remove_cases
from napari_medlab.cli.running import add_run_model_arguments, run_model
from napari_medlab.errors import ImageRefusedError, ProjectError
from napari_medlab.verbs import Verb

if TYPE_CHECKING:
    import argparse

    from napari_medlab.errors import InputRefusedError
    from napari_medlab.images.contents import Entry
    from napari_medlab.project import CaseRecord, Project
    from napari_medlab.project.sources import Source

__all__ = ["VERB"]


def _configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, about, act, further in (
        ("init", "make an empty project in a folder", _init, None),
        ("add", "add images: files, or folders, in which each series becomes a case", _add, _configure_add),
        ("run", "run a model on the cases; what it finds is kept as a run", run_model, add_run_model_arguments),
        ("verify", "check file, journal, outlines and tables", _verify, None),
        ("backup", "copy the database; the newest three copies are kept", _backup, None),
        ("import-reference", "add findings and outlines from any format", import_findings, add_reference_arguments),
        ("import-predictions", "add predictions made elsewhere as a finished run", import_candidates,
         add_prediction_arguments),
        ("share", "write a copy to hand on: keys in the place of names, no images", _share, _configure_share),
        ("fields", "set free columns of cases (site, scanner, fold, …) from a table", _fields, _configure_fields),
        ("merge", "take over what readers did in another copy of the project", _merge, _configure_merge),
        ("remove", "take cases out for good, out of the journal and the backups too", remove_cases,
         add_remove_arguments),
    ):  # fmt: skip
        action = actions.add_parser(name, help=about)
        action.set_defaults(act=act)
        action.add_argument("folder", metavar="DIR", type=Path, help="the project's folder")
        # also accepted here, after the action; must not undo what was given before it
        action.add_argument(
            "--json", action="store_true", default=_suppressed(), help="print one JSON document"
        )
        if further is not None:
            further(action)


def _configure_share(share: argparse.ArgumentParser) -> None:
    share.add_argument("out", metavar="OUT", type=Path, help="the new folder; must not exist")


def _configure_fields(fields: argparse.ArgumentParser) -> None:
    fields.add_argument(
        "--table", metavar="CSV", type=Path, required=True,
        help="a column 'case' or 'seriesuid' with the names of cases; every other column is a field",
    )  # fmt: skip


def _configure_merge(merge: argparse.ArgumentParser) -> None:
    merge.add_argument(
        "other",
        metavar="OTHER",
        type=Path,
        help="the folder of a copy, or of one that 'share' made; it is only read",
    )


def _configure_add(add: argparse.ArgumentParser) -> None:
    add.add_argument("paths", metavar="PATH", type=Path, nargs="+")
    add.add_argument(
        "--split", choices=("train", "test"), default="train", help="cases for the test are frozen"
    )
    patients = add.add_mutually_exclusive_group()
    patients.add_argument(
        "--patient", metavar="NAME",
        help="to whom all of them belong that name nobody themselves; stays in the project's private folder",
    )  # fmt: skip
    patients.add_argument(
        "--patient-from", choices=("folder",),
        help="folder: images that name nobody belong to one patient where they lie in one folder, such as frames of one video",
    )  # fmt: skip
    add.add_argument(
        "--skip-refused", action="store_true",
        help="add the others where some are refused, such as damaged ones or what is there already; without it, nothing",
    )  # fmt: skip
    add_image_arguments(add, "add each even block of an unevenly spaced stack as a case of its own")


def _suppressed() -> str:
    from argparse import SUPPRESS

    return SUPPRESS


def _run(options: argparse.Namespace) -> dict[str, Any]:
    result: dict[str, Any] = options.act(options)
    return result


def _init(options: argparse.Namespace) -> dict[str, Any]:
    from napari_medlab.project import Project

    with Project.create(options.folder) as project:
        return {"project": str(project.folder.absolute()), "reader": project.reader}


def _add(options: argparse.Namespace) -> dict[str, Any]:
    from napari_medlab.project.adding import add_images

    added: list[CaseRecord] = []
    refused: list[InputRefusedError] = []
    with open_to_write(options.folder) as project:
        sources = _sources(options)
        for case in add_images(
            project, sources, split=options.split, patient=options.patient,
            on_refused=refused.append if options.skip_refused else None,
        ):  # fmt: skip
            sys.stderr.write(f"added {case.name} ({case.kind})\n")
            added.append(case)
        _say(added, refused, sources, options)
        return {
            "added": [
                {"case_id": case.case_id, "name": case.name, "kind": case.kind, "path": case.path, "decisions": case.decisions}
                for case in added
            ],
            "refused": [{"code": error.code, "message": error.message} for error in refused],
            "patients": len({case.patient_key for case in added}),
            "cases": len(project.cases()),
        }  # fmt: skip


def _say(
    added: list[CaseRecord],
    refused: list[InputRefusedError],
    sources: list[Source],
    options: argparse.Namespace,
) -> None:
    """Say what was left out, and of how many images nobody knows whose they are."""
    for error in refused:
        sys.stderr.write(f"left out: {error.message}\n")
    nobody = sum(not (source.patient or options.patient or source.exam_key) for source in sources)
    if nobody > 1 and added:
        sys.stderr.write(
            f"{nobody} images name no patient, and count as one each: --patient NAME or --patient-from folder says otherwise\n"
        )


def _sources(options: argparse.Namespace) -> list[Source]:
    """Return what is to be added, with the decisions that the options make about it."""
    from napari_medlab.project.sources import decided, sources_of

    entries = [entry for path in options.paths for entry in _entries(path.expanduser(), options)]
    given = sources_of(entries)
    if options.patient_from:
        given = [replace(one, patient=one.patient or str(one.path.resolve().parent)) for one in given]
    return [source for one in given for source in decided(one, wanted(options))]


def _entries(path: Path, options: argparse.Namespace) -> list[Entry]:
    """Return what a path holds, each series by itself; the one that was chosen where ``--series`` names one."""
    from napari_medlab.images import contents
    from napari_medlab.images.contents import Entry

    meant = Entry(path, path.name, chosen(options))
    try:
        found = contents(path)
    except ImageRefusedError:
        if path.is_dir():
            raise
        return [meant]  # it is refused with the others, when they are opened
    if not options.series:
        return [entry.decided(chosen(options)) for entry in found]
    called = [entry for entry in found if entry.decisions.series_uid == options.series] or found
    patients = {entry.patient for entry in called}
    return [replace(meant, patient=patients.pop() if len(patients) == 1 else "")]


def _verify(options: argparse.Namespace) -> dict[str, Any]:
    from napari_medlab.project import Project

    with Project.open(options.folder, read_only=True) as project:
        problems = project.verify()
        if problems:
            raise ProjectError(
                "\n".join(problems), code="unsound", hint="Check the disk, and go back to a copy in backups."
            )
        newest = project.journal(limit=1)
        return {"sound": True, "edits": newest[0].id if newest else 0, "problems": problems}


def _backup(options: argparse.Namespace) -> dict[str, Any]:
    with open_to_write(options.folder) as project:
        path = project.backup()
        return {"backup": str(path.absolute()), "bytes": path.stat().st_size}


def _share(options: argparse.Namespace) -> dict[str, Any]:
    from napari_medlab.project import Project

    with Project.open(options.folder, read_only=True) as project:
        done = project.share(options.out.absolute())
    named, rest = done.comments_with_names, "\n"
    if named:
        rest = f"; {named} of these say a name that the project knows: read them first\n"
    sys.stderr.write(f"labels, names of models, and {done.comments} comments stay as they were written{rest}")
    kept = ["labels", "comments", "tags", "names of models"]
    return {**asdict(done), "folder": str(done.folder), "images": 0, "kept_as_written": kept}


def _fields(options: argparse.Namespace) -> dict[str, Any]:
    from napari_medlab.project.fields import import_fields

    with open_to_write(options.folder) as project:
        done = import_fields(project, options.table)
    if done.unmatched:
        sys.stderr.write(f"{len(done.unmatched)} names of the table are those of no case in the project\n")
    return asdict(done)


def _merge(options: argparse.Namespace) -> dict[str, Any]:
    with open_to_write(options.folder) as project:
        done = project.merge(options.other)
    for count, what in (
        (len(done.conflicts), "edits contradict what was done here, and are left out"),
        (sum(done.left_out.values()), "edits are of no use here, and are left out"),
    ):
        if count:
            sys.stderr.write(f"{count} {what}\n")
    return asdict(done)


def open_to_write(folder: Path) -> Project:
    """Open a project, or say at once why it cannot be written."""
    from napari_medlab.project import Project

    project = Project.open(folder)
    if project.is_read_only:
        project.close()
        who = f"{project.holder} holds it" if project.holder else "its folder cannot be written"
        raise ProjectError(
            f"The project {folder} cannot be changed: {who}.",
            code="read-only",
            hint="Close it there, and do it again.",
        )
    return project


VERB = Verb(
    "project", "make, fill, run models on, check, back up, share and merge projects", _configure, _run
)
