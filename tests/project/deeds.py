"""What a disk can spoil: each deed with what is there before, and how to tell whether it was done."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from deed import Deed
from planted import write_bundle
from project_samples import filled, outline_table, square
from version_1 import write_version_1

from napari_medlab.annotations import Region
from napari_medlab.annotations.formats.luna16 import read_candidates, read_reference, read_series
from napari_medlab.errors import MedlabError, ProjectError
from napari_medlab.models.training.packages import SCHEMA, read_manifest
from napari_medlab.models.training.samples import Sample, read_sample
from napari_medlab.models.workflows.hard_writing import new_package
from napari_medlab.project import BundleRecord, CaseRecord, Project
from napari_medlab.project.connections import check
from napari_medlab.project.edits import (
    add_bundle,
    add_case,
    add_regions,
    group,
    set_conclusion,
    set_finding,
    set_region,
)
from napari_medlab.project.layout import take_back_unfinished
from napari_medlab.project.schema import SCHEMA_VERSION


def drawn(case_id: str) -> Region:
    """Return an outline that fills several pages."""
    big = square(case_id, 1.0, region_id="a" * 32)
    return Region(case_id, tuple(big.rings[0] + n / 3 for n in range(150)), region_id=big.region_id)


def make_project(place: Path) -> None:
    with filled(place) as project:
        digest = write_bundle(place, "model", "A model.")
        project.commit(add_bundle(BundleRecord(digest, "bundles/model", "model")))
        project.commit(set_region(None, square(project.cases()[0].case_id, 2.0)))


def make_backed_up(place: Path) -> None:
    make_project(place)
    with Project.open(place) as project:
        for _ in range(3):
            project.backup()
        project.undo()


def opened(place: Path) -> Project:
    return Project.open(place, reader="ann")


def edit(_: Path, project: Project) -> None:
    project.commit(set_region(None, drawn(project.cases()[0].case_id)))


def edited(place: Path) -> str:
    with Project.open(place) as project:
        problems = project.verify()
        ids = [region.region_id for region in project.regions()]
        return str(problems) if problems else "after" if "a" * 32 in ids else "before"


def undo(_: Path, project: Project) -> None:
    assert project.undo() is not None


def undone(place: Path) -> str:
    with Project.open(place) as project:
        problems = project.verify()
        return str(problems) if problems else "before" if project.regions() else "after"


def edit_group(_: Path, project: Project) -> None:
    """Change a finding, remove an outline and draw one, as one edit."""
    given = project.finding(str(project.findings().ids[0]))
    assert given is not None
    case_id = project.cases()[0].case_id
    edits = [
        set_finding(given, replace(given, diameter=9.0)),
        set_region(project.regions()[0], None),
        set_region(None, drawn(case_id)),
    ]
    project.commit(group("three", edits))


def grouped(place: Path) -> str:
    with Project.open(place) as project:
        problems = project.verify()
        is_drawn = [region.region_id == "a" * 32 for region in project.regions()]
        state = f"{is_drawn}, {project.findings().diameters[0]}"
    return str(problems) if problems else {"[True], 9.0": "after", "[False], 6.0": "before"}.get(state, state)


def correct(_: Path, project: Project) -> None:
    given = project.finding(str(project.findings().ids[0]))
    assert given is not None
    project.commit(set_finding(given, replace(given, diameter=9.0)))


def corrected(place: Path) -> str:
    with Project.open(place) as project:
        problems, diameter = project.verify(), float(project.findings().diameters[0])
    return str(problems) if problems else {9.0: "after", 6.0: "before"}.get(diameter, str(diameter))


def conclude(_: Path, project: Project) -> None:
    project.commit(set_conclusion(project.bundles()[0].hash, "", "better on small ones " * 190))


def concluded(place: Path) -> str:
    with Project.open(place) as project:
        problems, count = project.verify(), len("".join(project.conclusions().values()))
    return str(problems) if problems else {3990: "after", 0: "before"}.get(count, str(count))


def make_planar(place: Path) -> None:
    with Project.create(place, reader="ann") as project:
        project.commit(add_case(CaseRecord("c" * 32, "a.png", "a", "photo")))


def add_outlines(_: Path, project: Project) -> None:
    project.commit(add_regions("c" * 32, "0", outline_table("c" * 32, 400)))


def outlines_added(place: Path) -> str:
    with Project.open(place) as project:
        problems, count = project.verify(), len(project.region_table("c" * 32))
    return str(problems) if problems else {400: "after", 0: "before"}.get(count, str(count))


def make_parted(place: Path) -> None:
    """Make a project and a copy in which another reader did something."""
    make_project(place)
    aside = place.with_name(f"{place.name}-copy")
    shutil.copytree(place, aside)
    aside.rename(place / "exports" / "copy")
    with Project.open(place / "exports" / "copy", reader="bob") as copy:
        edit(place, copy)
        correct(place, copy)
        edit_group_of_bob(copy)


def edit_group_of_bob(project: Project) -> None:
    case_id = project.cases()[0].case_id
    project.commit(group("two", [set_region(None, square(case_id, float(n))) for n in (3, 4)]))


def merge(place: Path, project: Project) -> None:
    project.merge(place / "exports" / "copy")


def merged(place: Path) -> str:
    with Project.open(place) as project:
        problems = project.verify()
        count = len(project.journal()), len(project.regions(reader="bob")), len(project.findings_by_reader())
    return str(problems) if problems else {(12, 3, 1): "after", (9, 0, 0): "before"}.get(count, str(count))


def make_consented(place: Path) -> None:
    """Make a project of two cases, each with everything that a removal takes along."""
    make_project(place)
    with Project.open(place) as project:
        for number, case in enumerate(project.cases()):
            project.names.remember(case.case_id, source=f"/ward/{number}.dcm", patient=f"Doe^{number}")
            (place / "images" / f"{number}.mha").write_text(case.case_id)
            mask = place / "masks" / ("0" * 32) / f"{case.case_id}.zarr"
            mask.mkdir(parents=True)
            (mask / "0").write_text(case.case_id)
        project.backup()


def remove(_: Path, project: Project) -> None:
    """Remove the first case; whoever is asked again after a refusal need not find it."""
    project.remove([case.case_id for case in project.cases() if case.name == "series-0"])


def removed(place: Path) -> str:
    """Tell whether the first case is gone from everywhere, or is there as it was; opening finishes what was cut off."""
    with Project.open(place) as project:
        problems, names = project.verify(), [case.name for case in project.cases()]
        sources = sorted(project.names.sources().values())
    folders = ("images", "masks/" + "0" * 32, "backups")
    counts = [len(list((place / folder).iterdir())) for folder in folders]
    is_noted = (place / "private" / "removing.json").exists()
    state = f"{names}, {sources}, {counts}, {is_noted}"
    both = "['series-0', 'series-1'], ['/ward/0.dcm', '/ward/1.dcm'], [2, 2, 1], False"
    rest = "['series-1'], ['/ward/1.dcm'], [1, 1, 1], False"
    return str(problems) if problems else {both: "before", rest: "after"}.get(state, state)


def back_up(_: Path, project: Project) -> None:
    project.backup()


def backed_up(place: Path) -> str:
    """Tell whether there is a new copy; all copies must be sound, and none lost but the oldest."""
    copies = sorted((place / "backups").glob("project-?.sqlite"))
    for copy in copies:
        check(copy, immutable=True)
    if len(copies) < 2:
        return f"only {len(copies)} copies are left"
    with Project.open(place) as project:
        problems, newest = project.verify(), project.journal(limit=1)[0].id
    path = place / "backups" / "project-1.sqlite"
    is_new = path.exists() and last_edit(path) == newest
    return str(problems) if problems else "after" if is_new and len(copies) == 3 else "before"


def last_edit(database: Path) -> int:
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro&immutable=1", uri=True)) as db:
        return int(db.execute("SELECT max(id) FROM journal").fetchone()[0])


def make_old(place: Path) -> None:
    write_version_1(place)


def migrate(place: Path, _: object) -> None:
    Project.open(place, reader="ann").close()


def migrated(place: Path) -> str:
    """Look at a copy: a log that a kill left behind is for the product to deal with."""
    with TemporaryDirectory() as folder:
        seen = Path(folder) / "p"
        shutil.copytree(place, seen)
        take_back_unfinished(seen / "project.sqlite")
        version = check(seen / "project.sqlite", immutable=False)
        with Project.open(seen, read_only=True) as project:
            problems = project.verify()
    copies = list((place / "backups").glob("project-of-*.sqlite"))
    if problems or (version == SCHEMA_VERSION and not copies):
        return f"{problems}, copies {copies}"
    return "after" if version == SCHEMA_VERSION else "before"


def share(place: Path, project: Project) -> None:
    project.share(place / "copy")


def shared(place: Path) -> str:
    if not (place / "copy").exists():
        return "before"
    with Project.open(place / "copy", read_only=True) as copy:
        problems = copy.verify()
        files = sorted(path.name for path in (place / "copy" / copy.bundles()[0].path).iterdir())
    whole = files == ["CARD.md", "bundle.json", "model.safetensors"]
    return "after" if whole and not problems else f"{problems}, {files}"


def create(place: Path, _: object) -> None:
    """Make a project; open it where it was made, but could not be opened."""
    folder = place / "new" / "p"
    try:
        Project.create(folder, reader="ann").close()
    except ProjectError as error:
        if error.code != "exists":
            raise
        Project.open(folder, reader="ann").close()


def created(place: Path) -> str:
    if not (place / "new" / "p" / "project.sqlite").exists():
        return "before"
    with Project.open(place / "new" / "p") as project:
        problems = project.verify()
    return str(problems) if problems else "after"


def remember(_: Path, project: Project) -> None:
    project.names.remember("b" * 32, source="/ward/b.dcm", patient="Roe^Ann")


def make_named(place: Path) -> None:
    make_project(place)
    with Project.open(place) as project:
        project.names.remember("a" * 32, source="/ward/a.dcm", patient="Doe^Jane")


def remembered(place: Path) -> str:
    with Project.open(place) as project:
        sources = project.names.sources()
    whole = {"a" * 32: "/ward/a.dcm", "b" * 32: "/ward/b.dcm"}
    return "after" if sources == whole else "before" if sources == {"a" * 32: "/ward/a.dcm"} else str(sources)


def make_reviewed(place: Path) -> None:
    from napari_medlab.geometry import Grid
    from napari_medlab.project.edits import finish_case

    with filled(place, grid=Grid.axis_aligned((8, 16, 16), (1.0, 1.0, 1.0)).as_json()) as project:
        for case in project.cases():
            project.commit(finish_case("0" * 32, case.case_id, 0.1))


def write_tables(place: Path, _: object) -> None:
    """Write LUNA16 tables by the command line, which says by its status and a code what became of it."""
    import io
    import json
    from contextlib import redirect_stderr, redirect_stdout

    from napari_medlab.cli.main import main

    said = io.StringIO()
    with redirect_stdout(said), redirect_stderr(io.StringIO()):
        status = main(["export", str(place), "--format", "luna16", "--out", str(place / "out"), "--json"])
    if status:
        # whatever the command line makes of it, it must be told and leave nothing
        raise MedlabError(json.loads(said.getvalue())["error"]["message"], code="disk")


def tables_written(place: Path) -> str:
    out = place / "out"
    if not out.exists():
        return "before"
    series = read_series(out / "seriesuids.csv")
    found = read_candidates(out / "candidates.csv")
    findings = read_reference(out / "annotations.csv", out / "annotations_excluded.csv")
    return (
        "after" if (len(series), len(found), len(findings)) == (2, 8, 4) else f"{len(series)}, {len(found)}"
    )


def write_examples(place: Path, _: object) -> None:
    """Write a package of two hard examples."""
    with new_package(place / "out") as package:
        for _number in range(2):
            package.add(
                Sample.without_boxes(np.ones((1, 4, 4, 4), np.float32)), {"reason": "miss", "split": "train"}
            )
        package.finish({"schema": SCHEMA, "format": "hard", "task": "detection", "part": "network"})


def examples_written(place: Path) -> str:
    if not (place / "out").exists():
        return "before"
    package = read_manifest(place / "out")
    paths = [package.verified(example) for example in package.examples]
    return "after" if [read_sample(path).shape for path in paths] == [(4, 4, 4)] * 2 else "crops are missing"


def write_carelessly(place: Path, _: object) -> None:
    """Write a table as one does without thinking: under its own name, and nobody asks whether it got there."""
    try:
        with (place / "table.csv").open("wb", buffering=0) as file:
            for number in range(4):
                file.write(b"%d\n" % number)
    except OSError:
        return


def carelessly_written(place: Path) -> str:
    if not (place / "table.csv").exists():
        return "before"
    text = (place / "table.csv").read_text()
    return "after" if text == "0\n1\n2\n3\n" else f"torn: {text!r}"


DEEDS = {
    "edit": Deed(make_project, opened, edit, edited),
    "undo": Deed(make_project, opened, undo, undone),
    "group": Deed(make_project, opened, edit_group, grouped),
    "correction": Deed(make_project, opened, correct, corrected),
    "conclusion": Deed(make_project, opened, conclude, concluded),
    "outlines": Deed(make_planar, opened, add_outlines, outlines_added),
    "merge": Deed(make_parted, opened, merge, merged),
    "removal": Deed(make_consented, opened, remove, removed),
    "backup": Deed(make_backed_up, opened, back_up, backed_up),
    "migration": Deed(make_old, lambda _: None, migrate, migrated),
    "share": Deed(make_project, opened, share, shared),
    "create": Deed(Path.mkdir, lambda _: None, create, created),
    "private names": Deed(make_named, opened, remember, remembered),
    "luna16 tables": Deed(make_reviewed, lambda _: None, write_tables, tables_written),
    "hard examples": Deed(Path.mkdir, lambda _: None, write_examples, examples_written),
}
CARELESS = Deed(Path.mkdir, lambda _: None, write_carelessly, carelessly_written)
