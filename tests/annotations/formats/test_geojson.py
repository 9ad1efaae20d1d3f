from __future__ import annotations

import json
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_region_samples import (
    CROSSING,
    ISLAND_IN_HOLE,
    SHAPE,
    TOUCHING_ITSELF,
    TWO_PARTS,
    WITH_HOLE,
    assert_same,
    images,
    one_image,
    ring_lists,
)
from rasterio.features import rasterize

from napari_medlab.annotations.formats import geojson
from napari_medlab.annotations.formats.outline_rows import Outline, image_regions, outlines_of
from napari_medlab.errors import InputRefusedError
from napari_medlab.geometry import mask_to_rings, polygons, rings_to_mask

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_medlab.annotations.image_regions import ImageRegions

SQUARE = [[[0, 0], [4, 0], [4, 4], [0, 4], [0, 0]]]
HOLE = [[1, 1], [2, 1], [2, 2], [1, 1]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("geojson")


def read_value(folder: Path, value: object) -> ImageRegions:
    path = folder / "slide 1.geojson"
    path.write_text(json.dumps(value), encoding="utf-8")
    (image,) = geojson.read(path)
    return image


def feature(coordinates: object = SQUARE, kind: str = "Polygon", **properties: object) -> dict[str, Any]:
    return {
        "type": "Feature",
        "geometry": {"type": kind, "coordinates": coordinates},
        "properties": properties,
    }


def written(folder: Path, image: ImageRegions) -> Path:
    path = folder / f"{image.image.rpartition('/')[2]}.geojson"
    path.unlink(missing_ok=True)
    geojson.write(path, [image])
    return path


def unsized(image: ImageRegions) -> ImageRegions:
    return image_regions(image.image, list(outlines_of(image)))


@given(images(ring_lists(with_crossing=False)))
@settings(max_examples=60, deadline=None)
def test_a_round_trip_is_exact(folder: Path, given_images: list[ImageRegions]) -> None:
    for image in map(unsized, given_images):
        path = written(folder, image)
        back = geojson.read(path, image.image)
        assert_same(back, [image], any_order=True)
        first = path.read_bytes()
        assert written(folder, back[0]).read_bytes() == first


@given(images(ring_lists()))
@settings(max_examples=40, deadline=None)
def test_masks_are_those_of_rasterio(folder: Path, given_images: list[ImageRegions]) -> None:
    for image in given_images:
        value = json.loads(written(folder, image).read_text(encoding="utf-8"))
        for outline, each in zip(outlines_of(image), value["features"], strict=True):
            if _has_no_centre_on_an_edge(outline):
                theirs = rasterize([each["geometry"]], out_shape=SHAPE, fill=0, default_value=1)
                assert np.array_equal(theirs, rings_to_mask(outline.rings, SHAPE))


@given(st.lists(st.tuples(*[st.floats(-0.5, 2e5)] * 2), min_size=3, max_size=9, unique=True))
@settings(max_examples=40, deadline=None)
def test_other_vertices_come_back_to_the_last_digit(
    folder: Path, vertices: list[tuple[float, float]]
) -> None:
    ring = np.asarray(vertices)
    (back,) = geojson.read(written(folder, one_image([ring])), "a.png")
    assert (np.abs(back.regions.vertices - ring) <= np.spacing(ring + 0.5)).all()


def _has_no_centre_on_an_edge(outline: Outline) -> bool:
    """Tell whether both rules mean the same: they differ in whose a centre exactly on an edge is, and on crossings."""
    shifts = product((0.0, 1e-6, -1e-6), repeat=2)
    here, *moved = [rings_to_mask([ring + shift for ring in outline.rings], SHAPE) for shift in shifts]
    return polygons.fault_of(outline.rings) == "" and all(np.array_equal(mask, here) for mask in moved)


def test_the_sample_of_qupath_is_read(test_data: Path) -> None:
    (image,) = geojson.read(test_data / "polygons" / "qupath05.geojson")
    assert image.image == "qupath05"
    regions = [image.regions.region(row) for row in range(3)]
    assert [polygons.area(region.rings) for region in regions] == [51687.5, 71159.0, 46151.5]
    assert [region.label for region in regions] == [geojson.UNCLASSIFIED] * 3
    assert [image.extra["names"][region.region_id] for region in regions] == ["UT", "I", "I"]
    assert regions[0].region_id == "6423a977ffff48dbaffccd11632010f0"


def test_the_sample_of_qupath_is_written_as_it_was(test_data: Path, tmp_path: Path) -> None:
    source = test_data / "polygons" / "qupath05.geojson"
    geojson.write(tmp_path / "again.geojson", geojson.read(source))
    theirs, ours = (json.loads(path.read_text())["features"] for path in (source, tmp_path / "again.geojson"))
    for one, other in zip(theirs, ours, strict=True):
        assert one["geometry"] == other["geometry"]
        assert one["id"] == other["id"]
        assert one["properties"]["name"] == other["properties"]["name"]


def test_half_a_pixel_is_taken_off(folder: Path) -> None:
    image = read_value(folder, feature())
    assert rings_to_mask(image.regions.region(0).rings, (6, 6)).sum() == 16
    assert image.regions.vertices.tolist() == [[-0.5, -0.5], [-0.5, 3.5], [3.5, 3.5], [3.5, -0.5]]
    assert (image.image, image.shape) == ("slide 1", None)


@pytest.mark.parametrize(
    "wrap", [lambda f: f, lambda f: [f], lambda f: {"type": "FeatureCollection", "features": [f]}]
)
def test_collections_lists_and_single_features_are_read(
    folder: Path, wrap: Callable[[object], object]
) -> None:
    assert len(read_value(folder, wrap(feature()))) == 1


def test_what_is_said_beside_is_kept(folder: Path) -> None:
    value = feature(
        name="first",
        objectType="cell",
        classification={"name": "Tumor", "color": [200, 0, 10]},
        measurements={"Score": 0.75, "Nucleus: Area µm^2": 12.5, "Note": "text"},
        metadata={"owner_id": "f1", "is_excluded": "true"},
    ) | {"id": "abc"}
    image = read_value(folder, value)
    (outline,) = outlines_of(image)
    assert outline[1:] == ("Tumor", "abc", 0.75, True, "f1")
    assert image.extra == {
        "colours": {"Tumor": [200, 0, 10]},
        "names": {"abc": "first"},
        "object_types": {"abc": "cell"},
        "measurements": {"abc": {"Nucleus: Area µm^2": 12.5}},
    }
    again = geojson.read(written(folder, image))[0]
    assert again.extra == image.extra
    assert next(outlines_of(again))[1:] == outline[1:]


def test_older_versions_are_read(folder: Path) -> None:
    old = [
        feature(
            classification={"name": "glomerulus", "colorRGB": -3140401},
            measurements=[{"name": "score", "value": 0.5}, {"name": "empty"}],
        )
        | {"id": "PathAnnotationObject"}
        for _ in range(2)
    ]
    image = read_value(folder, [*old, feature(classification={"names": ["Tumor", "Positive"]}) | {"id": "1"}])
    assert [outline.region_id for outline in outlines_of(image)] == ["feature-1", "2", "1"]
    assert [outline.label for outline in outlines_of(image)] == [
        "glomerulus",
        "glomerulus",
        "Tumor: Positive",
    ]
    assert image.extra["colours"] == {"glomerulus": [208, 20, 207]}
    assert image.regions.scores[:2].tolist() == [0.5, 0.5]


def test_parts_keep_their_holes(folder: Path) -> None:
    path = written(folder, one_image(ISLAND_IN_HOLE, WITH_HOLE, TWO_PARTS, TOUCHING_ITSELF))
    kinds = [each["geometry"]["type"] for each in json.loads(path.read_text())["features"]]
    assert kinds == ["MultiPolygon", "Polygon", "MultiPolygon", "Polygon"]


def test_rings_that_cross_keep_their_area(folder: Path) -> None:
    (back,) = geojson.read(written(folder, one_image(CROSSING)))
    assert polygons.area(back.regions.region(0).rings) == polygons.area(CROSSING)
    assert np.array_equal(rings_to_mask(back.regions.region(0).rings, SHAPE), rings_to_mask(CROSSING, SHAPE))


def test_parts_that_share_area_are_united(folder: Path) -> None:
    other = [[[2, 2], [6, 2], [6, 6], [2, 6], [2, 2]]]
    image = read_value(folder, feature([SQUARE, other], "MultiPolygon"))
    assert rings_to_mask(image.regions.region(0).rings, (8, 8)).sum() == 16 + 16 - 4
    island = [[[1.25, 1.25], [1.75, 1.25], [1.75, 1.75], [1.25, 1.25]]]
    image = read_value(
        folder, feature([[*SQUARE, [[1, 1], [3, 1], [3, 3], [1, 3], [1, 1]]], island], "MultiPolygon")
    )
    assert len(image.regions.region(0).rings) == 3


def test_points_and_lines_are_counted(folder: Path) -> None:
    image = read_value(folder, [feature([1, 2], "Point"), feature(), feature([[1, 2], [3, 4]], "LineString")])
    assert len(image) == 1
    assert image.extra["left_out"] == {"Point": 1, "LineString": 1}


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        (7, "it holds 7, expected a FeatureCollection"),
        ({"type": "FeatureCollection"}, "it holds an object of 1"),
        ([7], "[0]: the feature is 7"),
        ([{"type": "Feature"}], "geometry is None"),
        ([feature(kind="Sphere")], "geometry.type is 'Sphere'"),
        ([feature([])], "coordinates is an empty list"),
        ([feature([[[0, 0], [1, 1], [0, 0]]])], "coordinates[0] has 2 points"),
        ([feature([[[0, 0], [1, 1], [0, "1"]]])], "holds '1'"),
        ([feature([[[0, 0], [1, 1], [0, 1e300]]])], "1e+300"),
        ([feature([SQUARE, 3], "MultiPolygon")], "coordinates[1] is 3"),
        ([feature(classification="Tumor")], "classification is 'Tumor'"),
        ([feature(classification={"name": "a\u0007"})], "classification.name"),
        ([feature(classification={"name": "a", "color": [1, 2]})], "classification.color is a list of 2"),
        ([feature(classification={"name": "a", "color": [1, 2, 1e9]})], "classification.color"),
        ([feature(name="x" * 400)], "name is"),
        ([feature(name=3)], "name is 3"),
        ([feature(measurements=3)], "measurements is 3"),
    ],
)
def test_faulty_files_are_refused(folder: Path, value: object, fault: str) -> None:
    with pytest.raises(InputRefusedError) as caught:
        read_value(folder, value)
    assert caught.value.code == "geojson"
    assert fault in caught.value.message


def test_the_place_of_a_fault_is_told(folder: Path) -> None:
    with pytest.raises(InputRefusedError, match=r"slide 1.geojson features\[1\]: geometry is None"):
        read_value(folder, {"type": "FeatureCollection", "features": [feature(), {}]})


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.geojson"
    with pytest.raises(InputRefusedError, match="2 images"):
        geojson.write(path, [one_image(), one_image()])
    with pytest.raises(InputRefusedError, match="outline '1': the outline has 1 points"):
        geojson.write(path, [one_image([np.zeros((1, 2))])])
    with pytest.raises(InputRefusedError, match="not finite"):
        geojson.write(path, [one_image([np.full((3, 2), np.inf)])])
    geojson.write(path, [one_image()])
    with pytest.raises(InputRefusedError, match="exists already"):
        geojson.write(path, [one_image()])


def test_many_outlines_are_read_into_one_table(folder: Path) -> None:
    ring = mask_to_rings(np.ones((2, 2)))[0]
    cells = [Outline([ring + 3 * at], "nucleus", f"{at:032x}", at / 3000) for at in range(3000)]
    (back,) = geojson.read(written(folder, image_regions("cells", cells)))
    assert len(back) == 3000
    assert np.array_equal(back.regions.vertices, np.concatenate([ring + 3 * at for at in range(3000)]))


def test_files_are_told_apart(folder: Path) -> None:
    path = folder / "some.json"
    for text, expected in (
        ('{"type": "FeatureCollection", "features": []}', True),
        ('\ufeff [ {"type":"Feature"} ]', True),
        ('{"images": []}', False),
        ("not json", False),
        ("", False),
    ):
        path.write_text(text, encoding="utf-8")
        assert geojson.sniff(path) is expected
