"""Every format that is only read, from a file into a project: by its content, onto the right case, half pixels included."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from exchange_samples import VOLUME_GRID, project_of, write_images
from roifile import ImagejRoi

from napari_medlab.exchange.contents import Wanted
from napari_medlab.exchange.reference import import_reference
from napari_medlab.project import Project
from napari_medlab.project.edits import add_case

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CORNERS = [(4, 6), (14, 6), (14, 14), (4, 14)]
"""A box as (x, y) counted from the corner of the image: its centre has the index (9.5, 8.5)."""
SERIES = "1.2.840.77"


def labelme(folder: Path) -> Path:
    shape: dict[str, Any] = {
        "label": "mass",
        "points": CORNERS,
        "shape_type": "polygon",
        "group_id": None,
        "flags": {},
    }
    document: dict[str, Any] = {"version": "5.0", "flags": {}, "shapes": [shape], "imagePath": "frame-0.png", "imageData": None,
                "imageHeight": 48, "imageWidth": 64}  # fmt: skip
    path = folder / "labels.json"
    path.write_text(json.dumps(document))
    return path


def cvat(folder: Path) -> Path:
    points = ";".join(f"{x},{y}" for x, y in CORNERS)
    path = folder / "annotations.xml"
    path.write_text(
        '<?xml version="1.0"?><annotations><version>1.1</version><image id="0" name="frame-0.png" width="64" height="48">'
        f'<polygon label="mass" occluded="0" points="{points}" z_order="0"></polygon></image></annotations>'
    )
    return path


def asap(folder: Path) -> Path:
    points = "".join(f'<Coordinate Order="{n}" X="{x}" Y="{y}"/>' for n, (x, y) in enumerate(CORNERS))
    path = folder / "frame-0.xml"
    path.write_text(
        '<?xml version="1.0"?><ASAP_Annotations><Annotations><Annotation Name="a" Type="Polygon" PartOfGroup="mass" '
        f'Color="#F4FA58"><Coordinates>{points}</Coordinates></Annotation></Annotations>'
        '<AnnotationGroups><Group Name="mass" PartOfGroup="None" Color="#00ff00"><Attributes/></Group></AnnotationGroups>'
        "</ASAP_Annotations>"
    )
    return path


def imagej(folder: Path) -> Path:
    path = folder / "frame-0.roi"
    ImagejRoi.frompoints(CORNERS, name="mass").tofile(path)
    return path


@pytest.mark.parametrize(
    ("name", "write"), [("labelme", labelme), ("cvat", cvat), ("asap", asap), ("imagej", imagej)]
)
def test_a_box_lies_where_it_was_drawn(tmp_path: Path, name: str, write: Callable[[Path], Path]) -> None:
    with project_of(tmp_path / "p", write_images(tmp_path / "images", volumes=0)) as project:
        done = import_reference(project, Wanted(write(tmp_path)))
        assert (done.format, done.added, done.outlines, done.unmatched) == (name, 1, 1, ())
        finding = project.findings(project.cases()[0].case_id).finding(0)
        assert finding.centre == (8.5, 9.5)
        assert finding.diameter == 9.0


def test_readings_of_lidc_find_their_series_and_agree(tmp_path: Path) -> None:
    z = VOLUME_GRID.to_world((2, 0, 0))[2]
    edges = "".join(f"<edgeMap><xCoord>{x}</xCoord><yCoord>{y}</yCoord></edgeMap>" for x, y in [
        *((x, 3) for x in range(3, 10)), *((9, y) for y in range(4, 10)), *((x, 9) for x in range(8, 2, -1)),
        *((3, y) for y in range(8, 3, -1)),
    ])  # fmt: skip
    roi = f"<roi><imageZposition>{z}</imageZposition><imageSOP_UID>1.2</imageSOP_UID><inclusion>TRUE</inclusion>{edges}</roi>"
    session = (
        "<readingSession><annotationVersion>3.12</annotationVersion><servicingRadiologistID>anon</servicingRadiologistID>"
        f"<unblindedReadNodule><noduleID>1</noduleID>{roi}</unblindedReadNodule>"
        f"<nonNodule><nonNoduleID>2</nonNoduleID><imageZposition>{z}</imageZposition><imageSOP_UID>1</imageSOP_UID>"
        "<locus><xCoord>12</xCoord><yCoord>5</yCoord></locus></nonNodule></readingSession>"
    )
    path = tmp_path / "readings.xml"
    path.write_text(
        '<?xml version="1.0"?><LidcReadMessage xmlns="http://www.nih.gov"><ResponseHeader>'
        f"<SeriesInstanceUid>{SERIES}</SeriesInstanceUid></ResponseHeader>{session * 3}</LidcReadMessage>"
    )
    ((image, grid, _),) = write_images(tmp_path / "images", photos=0)
    with project_of(tmp_path / "q", [(image, grid, "volume")]) as other:
        case = other.cases()[0]
    with Project.create(tmp_path / "p", reader="ann") as project:
        project.commit(add_case(replace(case, name="chest", decisions={"series_uid": SERIES})))
        done = import_reference(project, Wanted(path))
        assert (done.format, done.added, done.excluded, done.outlines) == ("lidc", 2, 1, 2)
        nodule, point = (project.findings().finding(row) for row in range(2))
        assert nodule.centre == pytest.approx(tuple(VOLUME_GRID.to_world((2, 6, 6))))
        assert point.centre == pytest.approx(tuple(VOLUME_GRID.to_world((2, 5, 12))))
        assert (point.label, point.is_excluded, point.diameter) == ("non-nodule", True, -1.0)
        assert import_reference(project, Wanted(path)).added == 0
