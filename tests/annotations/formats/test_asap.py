from __future__ import annotations

from typing import TYPE_CHECKING
from xml.sax.saxutils import quoteattr

import numpy as np
import pytest
from hypothesis import given, settings
from image_region_samples import BOW_TIE, ONE_PIXEL, SHAPE, TOUCHING_ITSELF, assert_same_outline, free_rings
from rasterio.features import rasterize

from napari_medlab.annotations.formats import asap
from napari_medlab.annotations.formats.geojson import UNCLASSIFIED
from napari_medlab.annotations.formats.outline_rows import Outline, outlines_of
from napari_medlab.errors import InputRefusedError
from napari_medlab.geometry import polygons, rings_to_mask

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_medlab.annotations.image_regions import ImageRegions

GROUPS = '<AnnotationGroups><Group Name="Tumor" PartOfGroup="None" Color="#F4FA58"><Attributes/></Group></AnnotationGroups>'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("asap")


def read_text(folder: Path, inner: str) -> ImageRegions:
    path = folder / "tumor_001.xml"
    path.write_text(
        f'<?xml version="1.0"?>\n<ASAP_Annotations><Annotations>{inner}</Annotations>{GROUPS}</ASAP_Annotations>',
        encoding="utf-8",
    )
    (image,) = asap.read(path)
    return image


def annotation(
    corners: list[tuple[float, float]],
    group: str = "Tumor",
    kind: str = "Polygon",
    name: str = "Annotation 0",
) -> str:
    points = "".join(f'<Coordinate Order="{at}" X="{x!r}" Y="{y!r}"/>' for at, (x, y) in enumerate(corners))
    head = f"Name={quoteattr(name)} Type={quoteattr(kind)} PartOfGroup={quoteattr(group)}"
    return f'<Annotation {head} Color="#F4FA58"><Coordinates>{points}</Coordinates></Annotation>'


def corners_of(ring: NDArray[np.float64]) -> list[tuple[float, float]]:
    return [(x + 0.5, y + 0.5) for y, x in ring.tolist()]


@given(free_rings())
@settings(max_examples=40, deadline=None)
def test_polygons_are_read_exactly(folder: Path, rings: list[NDArray[np.float64]]) -> None:
    (outline,) = outlines_of(read_text(folder, annotation(corners_of(rings[0]))))
    assert_same_outline(outline, Outline(rings, "Tumor", "1"))


@pytest.mark.parametrize("rings", [BOW_TIE, ONE_PIXEL, TOUCHING_ITSELF])
def test_odd_shapes_are_read_exactly(folder: Path, rings: list[NDArray[np.float64]]) -> None:
    (outline,) = outlines_of(read_text(folder, annotation(corners_of(rings[0]))))
    assert_same_outline(outline, Outline(rings, "Tumor", "1"))


def test_masks_are_those_of_rasterio(folder: Path) -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        corners = [tuple(point) for point in rng.uniform(0, 24, (5, 2)).tolist()]
        (outline,) = outlines_of(read_text(folder, annotation(corners)))
        if not polygons.fault_of(outline.rings):
            shape = {"type": "Polygon", "coordinates": [[*corners, corners[0]]]}
            assert np.array_equal(rasterize([shape], out_shape=SHAPE), rings_to_mask(outline.rings, SHAPE))


def test_groups_names_and_colours(folder: Path) -> None:
    square: list[tuple[float, float]] = [(0, 0), (4, 0), (4, 4), (0, 4)]
    inner = (
        annotation(square, name="first")
        + annotation([(1, 1)], kind="Dot")
        + annotation([*square, square[0]], "None", "Spline")
        + annotation(square, "_2", "Rectangle", "")
    )
    image = read_text(folder, inner)
    assert [(row.label, row.region_id) for row in outlines_of(image)] == [
        ("Tumor", "1"), (UNCLASSIFIED, "3"), ("_2", "4"),
    ]  # fmt: skip
    assert image.extra == {
        "names": {"1": "first", "3": "Annotation 0"},
        "colours": {"Tumor": [244, 250, 88]},
        "left_out": {"Dot": 1},
    }
    assert (image.image, image.shape) == ("tumor_001", None)
    assert all(rings_to_mask(row.rings, (8, 8)).sum() == 16 for row in outlines_of(image))


def test_points_are_taken_in_their_order(folder: Path) -> None:
    points = '<Coordinate Order="2" X="4" Y="4"/><Coordinate Order="0" X="0" Y="0"/><Coordinate Order="1" X="4" Y="0"/>'
    image = read_text(folder, f'<Annotation Type="Polygon"><Coordinates>{points}</Coordinates></Annotation>')
    assert image.regions.vertices.tolist() == [[-0.5, -0.5], [-0.5, 3.5], [3.5, 3.5]]


@pytest.mark.parametrize(
    ("inner", "fault"),
    [
        (annotation([(0, 0), (1, 1)]), "annotation 1: the outline has 2 points"),
        (annotation([]), "the outline has 0 points"),
        (annotation([(0, 0), (1, 1), (float("nan"), 2)]), "X holds 'nan'"),
        (annotation([(0, 0), (1, 1), (2, 1e300)]), "Y holds '1e+300'"),
        (annotation([(0, 0)], kind="Cloud"), "Type is 'Cloud'"),
        (annotation([(0, 0), (1, 1), (2, 0)], group="a\x85b"), "PartOfGroup"),
        (annotation([(0, 0), (1, 1), (2, 0)], name="x" * 300), "Name is"),
        (
            '<Annotation Type="Polygon"><Coordinates><Coordinate Order="x"/></Coordinates></Annotation>',
            "Order is 'x'",
        ),
    ],
)
def test_faulty_annotations_are_refused(folder: Path, inner: str, fault: str) -> None:
    with pytest.raises(InputRefusedError) as caught:
        read_text(folder, inner)
    assert caught.value.code == "asap"
    assert fault in caught.value.message


def test_other_files_are_refused_and_told_apart(folder: Path) -> None:
    read_text(folder, "")
    assert asap.sniff(folder / "tumor_001.xml")
    other = folder / "other.xml"
    other.write_text("<annotations></annotations>", encoding="utf-8")
    assert not asap.sniff(other)
    with pytest.raises(InputRefusedError, match="begins with <annotations>"):
        asap.read(other)
    other.write_text("<ASAP_Annotations><Annotations>", encoding="utf-8")
    with pytest.raises(InputRefusedError, match="line 1"):
        asap.read(other)
