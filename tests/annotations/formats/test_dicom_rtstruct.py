from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from volume_samples import NAMES, grids, label_maps, straight_grid

from napari_medlab.annotations import Region
from napari_medlab.annotations.formats import dicom_rtstruct, dicom_seg
from napari_medlab.annotations.formats.dicom_objects import SourceSeries
from napari_medlab.annotations.formats.label_map import instance_map, regions_of_labels
from napari_medlab.annotations.formats.voxel_outlines import image_regions, patch_of_region
from napari_medlab.errors import InputRefusedError
from napari_medlab.geometry import Grid

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medlab.annotations.image_regions import ImageRegions

CASE = "4f2a" * 8
SQUARE = np.asarray([[1.5, 1.5], [1.5, 7.5], [7.5, 7.5], [7.5, 1.5]])
HOLE = np.asarray([[3.5, 3.5], [5.5, 3.5], [5.5, 5.5], [3.5, 5.5]])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data(), st.booleans())
def test_voxel_outlines_come_back_vertex_by_vertex(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, tilted: bool
) -> None:
    grid = data.draw(grids(tilted=tilted))
    labels = data.draw(label_maps(grid.shape))
    regions = regions_of_labels(CASE, labels, NAMES, split=data.draw(st.booleans()))
    path = tmp_path_factory.mktemp("rt") / "case.dcm"
    dicom_rtstruct.write(path, regions, grid)
    assert dicom_rtstruct.sniff(path)
    assert not dicom_seg.sniff(path)
    [found] = dicom_rtstruct.read(path, grid)
    np.testing.assert_array_equal(found.regions.vertices, regions.regions.vertices)
    np.testing.assert_array_equal(found.regions.ring_starts, regions.regions.ring_starts)
    np.testing.assert_array_equal(found.regions.region_rings, regions.regions.region_rings)
    assert found.regions.ids.tolist() == regions.regions.ids.tolist()
    assert found.regions.label_names == regions.regions.label_names
    assert found.extra["moved_mm"] == 0.0


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(grids(), st.integers(0, 2**32 - 1))
def test_drawn_outlines_come_back_within_a_hundred_millionth(
    tmp_path_factory: pytest.TempPathFactory, grid: Grid, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    planes = {
        z: [rng.uniform(-2, 10, (rng.integers(3, 9), 2)) for _ in range(2)] for z in range(grid.shape[0])
    }
    regions = image_regions(CASE, [Region.on_slices(CASE, planes)], grid.shape)
    path = tmp_path_factory.mktemp("rt") / "case.dcm"
    dicom_rtstruct.write(path, regions, grid)
    [found] = dicom_rtstruct.read(path, grid)
    np.testing.assert_allclose(found.regions.vertices, regions.regions.vertices, rtol=0, atol=1e-8)


def with_hole(grid: Grid) -> ImageRegions:
    return image_regions(CASE, [Region.on_slices(CASE, {2: [SQUARE, HOLE]}, "", "nodule")], grid.shape)


def test_pydicom_finds_contours_in_millimetres_and_nothing_of_a_patient(tmp_path: Path) -> None:
    import pydicom

    grid = straight_grid()
    dicom_rtstruct.write(tmp_path / "case.dcm", with_hole(grid), grid)
    dataset = pydicom.dcmread(tmp_path / "case.dcm")
    [roi] = dataset.ROIContourSequence
    outer, inner = (np.reshape(contour.ContourData, (-1, 3)).astype(float) for contour in roi.ContourSequence)
    np.testing.assert_allclose(outer, grid.to_world(np.insert(SQUARE, 0, 2, axis=1)), atol=1e-9)
    np.testing.assert_allclose(inner, grid.to_world(np.insert(HOLE, 0, 2, axis=1)), atol=1e-9)
    assert [roi.ROIName for roi in dataset.StructureSetROISequence] == ["nodule"]
    assert dataset.PatientID == str(dataset.PatientName) == CASE
    assert {element.keyword for element in dataset.group_dataset(0x10)} == {
        "PatientName", "PatientID", "PatientBirthDate", "PatientSex",
    }  # fmt: skip
    assert not dataset.PatientBirthDate


def test_structure_set_and_segmentation_say_the_same(tmp_path: Path) -> None:
    grid = straight_grid()
    dicom_rtstruct.write(tmp_path / "rt.dcm", with_hole(grid), grid)
    [contours] = dicom_rtstruct.read(tmp_path / "rt.dcm", grid)
    dicom_seg.write(tmp_path / "seg.dcm", contours, grid)
    [voxels] = dicom_seg.read(tmp_path / "seg.dcm", grid)
    expected = np.zeros(grid.shape, dtype=np.uint8)
    expected[2, 2:8, 2:8] = 1
    expected[2, 4:6, 4:6] = 0
    for found in (contours, voxels):
        np.testing.assert_array_equal(instance_map(found, grid.shape).labels, expected)


def foreign(tmp_path: Path, contours: list[tuple[str, np.ndarray]], name: str = "GTV") -> Path:
    """Write contours, points (n, 3) in mm, of one region as another program would."""
    import pydicom
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    dicom_rtstruct.write(tmp_path / "empty.dcm", with_hole(straight_grid()), straight_grid())
    dataset = pydicom.dcmread(tmp_path / "empty.dcm")
    (tmp_path / "empty.dcm").unlink()
    drawn = []
    for kind, world in contours:
        contour = Dataset()
        contour.ContourGeometricType = kind
        contour.NumberOfContourPoints = len(world)
        contour.ContourData = [f"{value:.6f}" for value in np.ravel(world)]
        drawn.append(contour)
    dataset.ROIContourSequence[0].ContourSequence = Sequence(drawn)
    dataset.StructureSetROISequence[0].ROIName = name
    dataset.StructureSetROISequence[0].ROIDescription = "by hand"
    return saved(tmp_path, dataset)


def saved(folder: Path, dataset: Any) -> Path:  # noqa: ANN401 - a data set of pydicom
    buffer = BytesIO()
    dataset.save_as(buffer)
    path = folder / "foreign.dcm"
    path.write_bytes(buffer.getvalue())
    return path


def world(z: float, ring: np.ndarray) -> np.ndarray:
    return straight_grid().to_world(np.insert(np.asarray(ring, dtype=float), 0, z, axis=1))


def voxels(found: ImageRegions) -> int:
    patch = patch_of_region(found.regions.region(0), straight_grid().shape)
    return 0 if patch is None else int(patch.mask.sum())


KEYHOLE = np.concatenate(
    [SQUARE[:2], [[4.5, 7.5]], [[4.5, 5.5]], HOLE[[2, 1, 0, 3]], [[4.5, 5.5]], [[4.5, 7.5]], SQUARE[2:]]
)


@pytest.mark.parametrize(
    "contours",
    [
        [("CLOSED_PLANAR", world(2, SQUARE)), ("CLOSED_PLANAR", world(2, HOLE))],
        [("CLOSEDPLANAR_XOR", world(2, SQUARE)), ("CLOSEDPLANAR_XOR", world(2, HOLE[::-1]))],
        [("CLOSED_PLANAR", world(2, KEYHOLE))],
    ],
)
def test_holes_may_be_nested_or_reached_by_a_keyhole(
    tmp_path: Path, contours: list[tuple[str, np.ndarray]]
) -> None:
    [found] = dicom_rtstruct.read(foreign(tmp_path, contours), straight_grid())
    assert voxels(found) == 36 - 4


def test_contours_between_slices_go_to_the_nearest_which_is_told(tmp_path: Path) -> None:
    path = foreign(tmp_path, [("CLOSED_PLANAR", world(1.3, SQUARE)), ("CLOSED_PLANAR", world(2.2, SQUARE))])
    [found] = dicom_rtstruct.read(path, straight_grid())
    assert sorted({float(z) for z in found.regions.vertices[:, 0]}) == [1.0, 2.0]
    assert found.extra["moved_mm"] == pytest.approx(0.3 * 2.5, abs=1e-5)


def test_points_and_open_contours_are_told_and_no_outlines(tmp_path: Path) -> None:
    contours = [
        ("POINT", world(1, SQUARE[:1])),
        ("OPEN_PLANAR", world(1, SQUARE)),
        ("CLOSED_PLANAR", world(1, SQUARE[:2])),
    ]
    [found] = dicom_rtstruct.read(foreign(tmp_path, contours), straight_grid())
    assert len(found) == 0
    assert found.extra["left_out"] == {"OPEN_PLANAR": 1, "CLOSED_PLANAR": 1}
    [point] = found.extra["points"]
    np.testing.assert_allclose(straight_grid().to_index(point["position"]), [1, 1.5, 1.5], atol=1e-4)
    assert list(found.extra["rois"].values()) == [{"label": "GTV", "region": ""}]


def slanting(ring: np.ndarray) -> np.ndarray:
    return straight_grid().to_world(np.column_stack([2 + 0.1 * ring[:, 0], ring]))


@pytest.mark.parametrize(
    ("contours", "what"),
    [
        ([("CLOSED_PLANAR", slanting(SQUARE))], "contour 1 of 'GTV' runs across 0.60 slices"),
        ([("CLOSED_PLANAR", world(4.6, SQUARE))], "lies at the slice 4.6, and the image has 5"),
        ([("CLOSED_PLANAR", world(-1, SQUARE))], "lies at the slice -1.0"),
        ([("CLOSED_PLANAR", world(1e8, SQUARE))], "lies nowhere near"),
        ([("CLOSED_PLANAR", world(1, SQUARE * 1e7))], "lies nowhere near"),
        ([("CLOSED_PLANAR", world(h, SQUARE)) for h in (1.8, 2.2)], "at two heights fall on the slice 2"),
    ],
)
def test_contours_that_do_not_fit_are_refused(
    tmp_path: Path, contours: list[tuple[str, np.ndarray]], what: str
) -> None:
    with pytest.raises(InputRefusedError, match=what) as caught:
        dicom_rtstruct.read(foreign(tmp_path, contours), straight_grid())
    assert caught.value.code == "geometry"


@pytest.mark.parametrize(
    "data",
    [["1", "2"], ["nan", "1", "2"] * 3, ["1e999", "0", "0"] * 3, ["abc", "1", "2"] * 3, ["", "", ""] * 3],
)
def test_damaged_numbers_are_refused(tmp_path: Path, data: list[str]) -> None:
    path = foreign(tmp_path, [("CLOSED_PLANAR", world(1, SQUARE))])
    whole = path.read_bytes()
    at = whole.index(b"\x06\x30\x50\x00")
    length = int.from_bytes(whole[at + 4 : at + 8], "little")
    text = "\\".join(data).encode().ljust(length)
    path.write_bytes(whole[: at + 8] + text + whole[at + 8 + length :])
    with pytest.raises(InputRefusedError) as caught:
        dicom_rtstruct.read(path, straight_grid())
    assert caught.value.code == "dicom"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2500), st.binary(min_size=1, max_size=8))
def test_mutated_files_are_read_or_refused(tmp_path: Path, at: int, noise: bytes) -> None:
    whole = tmp_path / "foreign.dcm"
    if not whole.exists():
        foreign(tmp_path, [("CLOSED_PLANAR", world(1, SQUARE))])
    payload = whole.read_bytes()
    path = tmp_path / "mutated.dcm"
    path.write_bytes(payload[:at] + noise + payload[at + len(noise) :])
    try:
        [found] = dicom_rtstruct.read(path, straight_grid())
    except InputRefusedError:
        return
    assert len(found) <= 1


def test_a_file_about_another_series_is_refused(tmp_path: Path) -> None:
    grid = straight_grid()
    source = SourceSeries("1.2.3", "1.2", "1.4", tuple(f"1.2.3.{z}" for z in range(5)))
    dicom_rtstruct.write(tmp_path / "case.dcm", with_hole(grid), grid, source=source)
    [found] = dicom_rtstruct.read(tmp_path / "case.dcm", grid, expected=source)
    assert found.image == "1.2.3"
    assert dicom_rtstruct.series_of(tmp_path / "case.dcm") == ("1.2.3",)
    for expected, code in (
        (SourceSeries("1.9"), "series"),
        (SourceSeries("", "", "1.9"), "frame-of-reference"),
    ):
        with pytest.raises(InputRefusedError) as caught:
            dicom_rtstruct.read(tmp_path / "case.dcm", grid, expected=expected)
        assert caught.value.code == code


def test_empty_images_and_what_cannot_be_written(tmp_path: Path) -> None:
    grid = straight_grid()
    nothing = image_regions(CASE, [], grid.shape)
    dicom_rtstruct.write(tmp_path / "case.dcm", nothing, grid)
    [found] = dicom_rtstruct.read(tmp_path / "case.dcm", grid)
    assert len(found) == 0
    with pytest.raises(InputRefusedError, match="nothing is overwritten"):
        dicom_rtstruct.write(tmp_path / "case.dcm", nothing, grid)
    line = image_regions(CASE, [Region.on_slices(CASE, {1: [SQUARE[:2]]})], grid.shape)
    with pytest.raises(InputRefusedError, match="has 2 vertices"):
        dicom_rtstruct.write(tmp_path / "line.dcm", line, grid)
    with pytest.raises(InputRefusedError, match="no volume"):
        dicom_rtstruct.write(tmp_path / "planar.dcm", nothing, Grid.axis_aligned((8, 8), (1, 1)))
    assert not (tmp_path / "line.dcm").exists()


def test_labels_may_be_of_any_script(tmp_path: Path) -> None:
    grid = straight_grid()
    labels = ["Knötchen", "結節", "узел", "a\\b", "=x"]
    ring = np.asarray([[1.5, 1.5], [1.5, 4.5], [4.5, 4.5]])
    regions = [Region.on_slices(CASE, {z: [ring]}, "", label) for z, label in enumerate(labels)]
    dicom_rtstruct.write(tmp_path / "case.dcm", image_regions(CASE, regions, grid.shape), grid)
    [found] = dicom_rtstruct.read(tmp_path / "case.dcm", grid)
    told = [found.regions.region(row).label for row in range(len(found))]
    assert told == ["Knötchen", "結節", "узел", "a/b", "=x"]


def test_sequences_nested_without_end_are_refused(tmp_path: Path) -> None:
    path = foreign(tmp_path, [("CLOSED_PLANAR", world(1, SQUARE))])
    deeper = b"\x06\x30\x39\x00\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    path.write_bytes(path.read_bytes() + deeper * 5000)
    with pytest.raises(InputRefusedError) as caught:
        dicom_rtstruct.read(path, straight_grid())
    assert caught.value.code == "dicom"


def test_contours_of_what_is_not_described_are_refused(tmp_path: Path) -> None:
    import pydicom

    dataset = pydicom.dcmread(foreign(tmp_path, [("CLOSED_PLANAR", world(1, SQUARE))]))
    dataset.ROIContourSequence[0].ReferencedROINumber = 7
    with pytest.raises(InputRefusedError, match="region of interest 7, which is not described"):
        dicom_rtstruct.read(saved(tmp_path, dataset), straight_grid())
