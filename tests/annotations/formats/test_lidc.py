from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from volume_samples import straight_grid

from napari_medlab.annotations.formats import lidc
from napari_medlab.annotations.formats.voxel_outlines import patch_of_region
from napari_medlab.errors import InputRefusedError
from napari_medlab.geometry import Grid

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_medlab.annotations.image_regions import ImageRegions

UID = "1.3.6.1.4.1.14519.5.2.1.6279.6001.1"
GRID = Grid.axis_aligned((4, 40, 50), (2.5, 0.7, 0.6), (-100.0, 30.0, -500.0))
RATINGS = {"subtlety": 5, "internalStructure": 1, "malignancy": 4}


def roi(z: int, outline: Sequence[Sequence[int]], inclusion: str = "TRUE") -> str:
    edges = "".join(f"<edgeMap><xCoord>{x}</xCoord><yCoord>{y}</yCoord></edgeMap>" for y, x in outline)
    return (
        f"<roi><imageZposition>{-500 + 2.5 * z:.6f} </imageZposition><imageSOP_UID>1.2.{z}</imageSOP_UID>"
        f"<inclusion>{inclusion}</inclusion>{edges}</roi>"
    )


def nodule(*rois: str, name: str = "Nodule 001", ratings: dict[str, int] | None = None) -> str:
    told = "".join(f"<{key}>{value}</{key}>" for key, value in (ratings or {}).items())
    kind = f"<characteristics>{told}</characteristics>" if ratings else ""
    return f"<unblindedReadNodule><noduleID>{name}</noduleID>{kind}{''.join(rois)}</unblindedReadNodule>"


def non_nodule(x: int, y: int, z: int) -> str:
    return (
        f"<nonNodule><nonNoduleID>58</nonNoduleID><imageZposition>{-500 + 2.5 * z}</imageZposition><imageSOP_UID>1</imageSOP_UID>"
        f"<locus><xCoord>{x}</xCoord><yCoord>{y}</yCoord></locus></nonNodule>"
    )


def message(*sessions: str) -> str:
    bodies = "".join(
        f"<readingSession><annotationVersion>3.12</annotationVersion><servicingRadiologistID>anonymous"
        f"</servicingRadiologistID>{session}</readingSession>"
        for session in sessions
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<LidcReadMessage uid="1.3.6.1" xmlns="http://www.nih.gov">'
        f"<ResponseHeader><Version>1.8.1</Version><SeriesInstanceUid>{UID}</SeriesInstanceUid></ResponseHeader>"
        f"{bodies}</LidcReadMessage>"
    )


def written(folder: Path, text: str) -> Path:
    path = folder / "069.xml"
    path.write_text(text, encoding="utf-8")
    return path


def mask_of(found: ImageRegions, grid: Grid = GRID) -> np.ndarray:
    mask = np.zeros(grid.shape, dtype=np.bool_)
    for row in range(len(found)):
        patch = patch_of_region(found.regions.region(row), grid.shape)
        assert patch is not None
        mask[patch.box] |= patch.mask
    return mask


def square(low: int, high: int) -> list[tuple[int, int]]:
    """Return the pixels of the border of a square, in order, the first one repeated."""
    side = list(range(low, high))
    border = [(low, x) for x in side] + [(y, high) for y in side] + [(high, x) for x in range(high, low, -1)]
    return [*border, *[(y, low) for y in range(high, low, -1)], (low, low)]


def test_the_outline_is_just_outside_of_the_nodule_and_just_inside_of_its_hole(tmp_path: Path) -> None:
    text = message(
        nodule(roi(1, square(4, 16)), roi(1, square(8, 12), "FALSE"), roi(2, square(6, 10)), ratings=RATINGS)
    )
    [found] = lidc.read(written(tmp_path, text), GRID)
    expected = np.zeros(GRID.shape, dtype=np.bool_)
    expected[1, 5:16, 5:16] = True
    expected[1, 9:12, 9:12] = False
    expected[2, 7:10, 7:10] = True
    np.testing.assert_array_equal(mask_of(found), expected)
    assert found.image == UID
    assert found.regions.label_names == ("nodule",)
    [told] = found.extra["nodules"].values()
    assert told == {"name": "Nodule 001", "characteristics": RATINGS}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 39), st.integers(0, 39)), min_size=3, max_size=12, unique=True))
def test_what_an_outline_encloses_is_what_shapely_finds_within(
    tmp_path_factory: pytest.TempPathFactory, corners: list[tuple[int, int]]
) -> None:
    polygon = shapely.Polygon(corners)
    if not polygon.is_valid:
        polygon = polygon.convex_hull
        if polygon.geom_type != "Polygon":
            return
        corners = [(int(y), int(x)) for y, x in polygon.exterior.coords]
    [found] = lidc.read(written(tmp_path_factory.mktemp("lidc"), message(nodule(roi(0, corners)))), GRID)
    rows, columns = np.indices(GRID.shape[1:])
    within = shapely.contains_xy(polygon, rows, columns)
    np.testing.assert_array_equal(mask_of(found)[0], within)
    assert found.extra["not_drawn"] == ([] if within.any() else ["Nodule 001"])


def test_each_reader_is_a_reading(tmp_path: Path) -> None:
    first = nodule(roi(1, square(4, 16))) + nodule(roi(0, [(3, 7)]), name="small")
    path = written(tmp_path, message(first, nodule(roi(1, square(5, 15))), non_nodule(7, 5, 3)))
    assert lidc.sniff(path)
    found = lidc.read(path, GRID)
    assert [len(one) for one in found] == [1, 1, 0]
    assert [one.extra["session"] for one in found] == [1, 2, 3]
    assert {one.extra["reader"] for one in found} == {"anonymous"}
    assert lidc.series_of(path) == (UID,)


def test_small_nodules_and_non_nodules_are_points_that_count_neither_way(tmp_path: Path) -> None:
    text = message(nodule(roi(2, [(3, 7)]), name="IL057_1"), non_nodule(7, 5, 3))
    points = lidc.read_points(written(tmp_path, text), GRID)
    assert points.labels.tolist() == ["nodule < 3 mm", "non-nodule"]
    assert points.is_excluded.all()
    assert points.ids.tolist() == ["069:1:IL057_1", "069:2:58"]
    np.testing.assert_allclose(GRID.to_index(points.centres), [[2, 3, 7], [3, 5, 7]], atol=1e-9)


def test_slices_are_told_by_height_whichever_way_they_are_stacked(tmp_path: Path) -> None:
    path = written(tmp_path, message(nodule(roi(1, square(4, 16)))))
    reversed_grid = GRID.reordered((0, 1, 2), (-1, 1, 1))
    [found] = lidc.read(path, reversed_grid)
    assert set(found.regions.vertices[:, 0]) == {2.0}


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (nodule(roi(9, square(4, 16))), "z = -477.5 mm, which is slice 9.00 of 4"),
        (nodule(roi(1, square(4, 16)).replace("-497.5", "-498.5")), "slice 0.60 of 4"),
        (nodule(roi(1, square(30, 45))), "outside of the image"),
    ],
)
def test_readings_that_do_not_fit_are_refused(tmp_path: Path, body: str, what: str) -> None:
    with pytest.raises(InputRefusedError, match=what) as caught:
        lidc.read(written(tmp_path, message(body)), GRID)
    assert caught.value.code == "geometry"


def test_an_image_that_is_not_axial_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputRefusedError, match="not axial"):
        lidc.read(
            written(tmp_path, message(nodule(roi(0, square(4, 16))))),
            straight_grid().reordered((1, 0, 2), (1, 1, 1)),
        )


def test_chest_x_rays_are_told_apart(tmp_path: Path) -> None:
    path = written(tmp_path, message("").replace("LidcReadMessage", "IdriReadMessage"))
    assert lidc.sniff(path)
    with pytest.raises(InputRefusedError, match="reading of a chest X-ray") as caught:
        lidc.read(path, GRID)
    assert caught.value.code == "lidc-chest-xray"


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("<xCoord>16</xCoord>", "<xCoord>-3</xCoord>", "readingSession 1, nodule 1: xCoord is '-3'"),
        ("<xCoord>16</xCoord>", "<xCoord>1e3</xCoord>", "xCoord is '1e3'"),
        ("<xCoord>16</xCoord>", "<xCoord>99999999</xCoord>", "expected a whole number from 0 to 32767"),
        ("<yCoord>16</yCoord>", "", "yCoord is None"),
        ("-497.500000 ", "nan", "imageZposition is 'nan'"),
        ("-497.500000 ", "", "imageZposition is None"),
        ("-497.500000 ", "high", "imageZposition is 'high'"),
        ("roi>", "region>", "there is no outline of it"),
        ("TRUE", "MAYBE", "inclusion is 'MAYBE'"),
        (UID, "", "ResponseHeader: SeriesInstanceUid is None"),
        ("Nodule 001", "x" * 300, "noduleID is 'xxx"),
        ("readingSession", "session", "no reading session"),
        ("LidcReadMessage", "Other", "its root is 'Other'"),
        ("edgeMap", "edge", "an outline has no edgeMap"),
    ],
)
def test_faults_are_told_with_their_place(tmp_path: Path, old: str, new: str, what: str) -> None:
    text = message(nodule(roi(1, square(4, 16))))
    assert old in text
    with pytest.raises(InputRefusedError, match=what) as caught:
        lidc.read(written(tmp_path, text.replace(old, new)), GRID)
    assert caught.value.code == "lidc"


def test_faults_are_told_together(tmp_path: Path) -> None:
    broken = nodule(roi(1, square(4, 16)).replace("TRUE", "?"))
    with pytest.raises(InputRefusedError) as caught:
        lidc.read(written(tmp_path, message(broken * 3, broken)), GRID)
    assert len(caught.value.message.splitlines()) == 4


def test_a_nodule_that_encloses_no_pixel_is_named(tmp_path: Path) -> None:
    [found] = lidc.read(written(tmp_path, message(nodule(roi(1, [(3, 3), (3, 4), (4, 4)])))), GRID)
    assert len(found) == 0
    assert found.extra["not_drawn"] == ["Nodule 001"]
