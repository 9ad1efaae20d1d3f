from __future__ import annotations

import warnings
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from volume_samples import NAMES, grids, label_maps, straight_grid

from napari_medlab.annotations import Region
from napari_medlab.annotations.formats import dicom_seg
from napari_medlab.annotations.formats.dicom_objects import SourceSeries, source_datasets
from napari_medlab.annotations.formats.label_map import instance_map, regions_of_labels
from napari_medlab.annotations.formats.voxel_outlines import image_regions, patch_of_region
from napari_medlab.errors import InputRefusedError
from napari_medlab.geometry import Grid

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medlab.annotations.image_regions import ImageRegions

CASE = "4f2a" * 8


def three_classes(grid: Grid, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    labels: np.ndarray = ((rng.random(grid.shape) < 0.2) * rng.integers(1, 4, grid.shape)).astype(np.uint8)
    return labels


def written(folder: Path, labels: np.ndarray, grid: Grid, **options: Any) -> Path:  # noqa: ANN401 - of the writer
    path = folder / "case.dcm"
    dicom_seg.write(path, regions_of_labels(CASE, labels, NAMES, split=False), grid, **options)
    return path


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data(), st.sampled_from(["BINARY", "LABELMAP"]), st.booleans())
def test_segments_come_back_voxel_by_voxel(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, kind: str, tilted: bool
) -> None:
    grid = data.draw(grids(tilted=tilted))
    labels = data.draw(label_maps(grid.shape))
    regions = regions_of_labels(CASE, labels, NAMES, split=False)
    path = tmp_path_factory.mktemp("seg") / "case.dcm"
    dicom_seg.write(path, regions, grid, kind=kind)  # type: ignore[arg-type]
    assert dicom_seg.sniff(path)
    [found] = dicom_seg.read(path, grid)
    np.testing.assert_array_equal(
        instance_map(found, grid.shape).labels, instance_map(regions, grid.shape).labels
    )
    assert found.regions.ids.tolist() == regions.regions.ids.tolist()
    assert [found.regions.region(row).label for row in range(len(found))] == [
        regions.regions.region(row).label for row in range(len(regions))
    ]


def box(low: tuple[int, int, int], high: tuple[int, int, int], label: str) -> Region:
    (_, top, left), (_, bottom, right) = low, high
    ring = np.asarray([[top, left], [top, right], [bottom, right], [bottom, left]]) - 0.5
    return Region.on_slices(CASE, {z: [ring] for z in range(low[0], high[0])}, "", label)


def overlapping(grid: Grid) -> ImageRegions:
    return image_regions(
        CASE, [box((0, 1, 1), (3, 6, 6), "lung"), box((1, 3, 3), (2, 8, 8), "nodule")], grid.shape
    )


def test_segments_may_share_voxels(tmp_path: Path) -> None:
    grid = straight_grid()
    given_regions = overlapping(grid)
    dicom_seg.write(tmp_path / "case.dcm", given_regions, grid)
    [found] = dicom_seg.read(tmp_path / "case.dcm", grid)
    for row in range(2):
        mine = patch_of_region(found.regions.region(row), grid.shape)
        theirs = patch_of_region(given_regions.regions.region(row), grid.shape)
        assert mine is not None
        assert theirs is not None
        assert mine.corner == theirs.corner
        np.testing.assert_array_equal(mine.mask, theirs.mask)
    with pytest.raises(InputRefusedError, match="share 9 voxels") as caught:
        dicom_seg.write(tmp_path / "other.dcm", given_regions, grid, kind="LABELMAP")
    assert caught.value.code == "overlap"


def test_an_image_without_outlines_has_an_empty_segment(tmp_path: Path) -> None:
    grid = straight_grid()
    path = written(tmp_path, np.zeros(grid.shape, dtype=np.uint8), grid)
    [found] = dicom_seg.read(path, grid)
    assert len(found) == 0
    assert [segment["label"] for segment in found.extra["segments"].values()] == ["nothing"]


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
def test_highdicom_finds_the_same_voxels_in_the_same_place(tmp_path: Path, kind: str) -> None:
    import highdicom

    grid = straight_grid()
    labels = three_classes(grid)
    path = written(tmp_path, labels, grid, kind=kind)
    volume = highdicom.seg.segread(path).get_volume(combine_segments=True)
    places = np.argwhere(volume.array)
    indices = grid.to_index(volume.map_indices_to_reference(places))
    np.testing.assert_allclose(indices, np.rint(indices), atol=1e-6)
    theirs = np.zeros_like(labels)
    theirs[tuple(np.rint(indices).astype(int).T)] = volume.array[tuple(places.T)]
    np.testing.assert_array_equal(theirs, labels)


def test_simpleitk_finds_the_same_voxels_in_the_same_place(tmp_path: Path) -> None:
    import SimpleITK as sitk

    # gdcm misreads a bit where frames of one bit do not end with a byte
    grid = straight_grid((5, 8, 16))
    labels = (three_classes(grid) > 0).astype(np.uint8)
    path = written(tmp_path, labels, grid)
    image = sitk.ReadImage(str(path))
    pixels = sitk.GetArrayFromImage(image)
    theirs = np.zeros_like(labels)
    for z, y, x in np.argwhere(pixels):
        index = grid.to_index(image.TransformIndexToPhysicalPoint((int(x), int(y), int(z))))
        theirs[tuple(np.rint(index).astype(int))] = 1
    np.testing.assert_array_equal(theirs, labels)


def test_pydicom_finds_the_same_pixels_and_nothing_of_a_patient(tmp_path: Path) -> None:
    import pydicom

    grid = straight_grid((3, 8, 16))
    labels = three_classes(grid)
    dataset = pydicom.dcmread(written(tmp_path, labels, grid))
    frames = dataset.pixel_array
    for frame, group in zip(frames, dataset.PerFrameFunctionalGroupsSequence, strict=True):
        position = group.PlanePositionSequence[0].ImagePositionPatient
        number = group.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        z = round(float(grid.to_index([float(value) for value in position])[0]))
        np.testing.assert_array_equal(frame, labels[z] == number)
    assert str(dataset.PatientName) == dataset.PatientID == CASE
    assert {element.keyword for element in dataset.group_dataset(0x10)} == {
        "PatientName", "PatientID", "PatientBirthDate", "PatientSex",
    }  # fmt: skip
    assert not dataset.PatientBirthDate


def foreign(
    grid: Grid,
    pixels: np.ndarray,
    kind: str = "BINARY",
    slices: tuple[int, ...] = (),
    **options: Any,  # noqa: ANN401 - of highdicom
) -> Any:  # noqa: ANN401
    """Return a segmentation as another program would write it, on slices in any order."""
    import highdicom
    from pydicom.sr.coding import Code

    tissue = Code("85756007", "SCT", "Tissue")
    segment = highdicom.seg.SegmentDescription(1, "lesion", tissue, tissue, "MANUAL")
    source = source_datasets(
        "case", grid, SourceSeries("1.2.3", "1.2", "1.4"), slices or tuple(range(len(pixels)))
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about a patient's name of one word
        return highdicom.seg.Segmentation(
            source, pixels, kind, [segment], "1.5", 1, "1.6", 1, "maker", "model", "1", "0", **options
        )


def saved(folder: Path, dataset: Any) -> Path:  # noqa: ANN401 - a data set of pydicom
    path = folder / "foreign.dcm"
    buffer = BytesIO()
    dataset.save_as(buffer)
    path.write_bytes(buffer.getvalue())
    return path


def test_slices_may_be_sparse_and_in_any_order(tmp_path: Path) -> None:
    grid = straight_grid()
    pixels = np.random.default_rng(1).random((3, *grid.shape[1:])) < 0.5
    [found] = dicom_seg.read(saved(tmp_path, foreign(grid, pixels, slices=(4, 0, 2))), grid)
    labels = np.zeros(grid.shape, dtype=np.uint8)
    labels[[4, 0, 2]] = pixels
    np.testing.assert_array_equal(instance_map(found, grid.shape).labels, labels)
    assert found.image == "1.2.3"
    assert dicom_seg.series_of(tmp_path / "foreign.dcm") == ("1.2.3",)
    assert found.regions.label_names == ("lesion",)


@pytest.mark.parametrize("threshold", [0.25, 0.5, 0.9])
def test_shares_are_cut_at_a_threshold(tmp_path: Path, threshold: float) -> None:
    grid = straight_grid()
    shares = np.random.default_rng(2).random(grid.shape)
    path = saved(tmp_path, foreign(grid, shares, "FRACTIONAL"))
    [found] = dicom_seg.read(path, grid, threshold=threshold)
    expected = np.rint(shares * 255) >= threshold * 255
    np.testing.assert_array_equal(instance_map(found, grid.shape).labels > 0, expected)


def test_frames_may_be_packed_with_rle(tmp_path: Path) -> None:
    from pydicom.uid import RLELossless

    grid = straight_grid()
    labels = three_classes(grid) == 1
    dataset = foreign(grid, labels.astype(np.float64), "FRACTIONAL", transfer_syntax_uid=RLELossless)
    [found] = dicom_seg.read(saved(tmp_path, dataset), grid)
    np.testing.assert_array_equal(instance_map(found, grid.shape).labels > 0, labels)


def test_frames_may_lie_along_another_axis(tmp_path: Path) -> None:
    """A segmentation of coronal slices fits an axial volume of the same voxels."""
    axial = straight_grid()
    coronal = axial.reordered((1, 0, 2), (1, -1, 1))
    labels = three_classes(coronal) == 1
    [found] = dicom_seg.read(saved(tmp_path, foreign(coronal, labels)), axial)
    expected = labels[:, ::-1].transpose(1, 0, 2)
    np.testing.assert_array_equal(instance_map(found, axial.shape).labels > 0, expected)


def test_components_may_be_outlines_of_their_own(tmp_path: Path) -> None:
    grid = straight_grid()
    labels = np.zeros(grid.shape, dtype=np.uint8)
    labels[0, 0, 0] = labels[3, 5:7, 5:7] = 1
    [found] = dicom_seg.read(written(tmp_path, labels, grid), grid, split=True)
    assert len(found) == 2


def test_a_file_about_another_series_is_refused(tmp_path: Path) -> None:
    grid = straight_grid()
    path = saved(tmp_path, foreign(grid, np.ones(grid.shape, dtype=np.bool_)))
    assert dicom_seg.read(path, grid, expected=SourceSeries("1.2.3", frame_of_reference_uid="1.4"))
    for expected, code in (
        (SourceSeries("1.9"), "series"),
        (SourceSeries("", "", "1.9"), "frame-of-reference"),
    ):
        with pytest.raises(InputRefusedError) as caught:
            dicom_seg.read(path, grid, expected=expected)
        assert caught.value.code == code


@pytest.mark.parametrize(
    ("spacing", "shift", "what"),
    [
        ((2.5, 0.7, 0.6), (0.2, 0, 0), "lie up to 0.33 voxels beside"),
        ((2.5, 0.7, 0.66), (0, 0, 0), "beside those of the image"),
        ((1.25, 0.7, 0.6), (0, 0, 1.0), "beside"),
        ((2.5, 0.7, 0.6), (0, 0, 25.0), "lie outside of the image"),
        ((2.5, 0.7, 0.6), (0, 0, 1e12), "nowhere near"),
    ],
)
def test_frames_that_do_not_fit_are_refused(
    tmp_path: Path, spacing: tuple[float, ...], shift: tuple[float, ...], what: str
) -> None:
    grid = straight_grid()
    other = Grid.axis_aligned(grid.shape, spacing, np.add(shift, (-100.125, 30.25, -500.5)))
    path = saved(tmp_path, foreign(other, np.ones(grid.shape, dtype=np.bool_)))
    with pytest.raises(InputRefusedError, match=what) as caught:
        dicom_seg.read(path, grid)
    assert caught.value.code == "geometry"


def damaged(keyword: str, value: object) -> Any:  # noqa: ANN401 - a function on data sets
    def change(dataset: Any) -> None:  # noqa: ANN401 - a data set of pydicom
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)

    return change


@pytest.mark.parametrize(
    "change",
    [
        damaged("NumberOfFrames", 500),
        damaged("NumberOfFrames", 1),
        damaged("Rows", 65535),
        damaged("Rows", 0),
        damaged("PixelData", b"\0\0"),
        damaged("SegmentSequence", None),
        damaged("PixelData", None),
        damaged("SharedFunctionalGroupsSequence", None),
        damaged("PerFrameFunctionalGroupsSequence", None),
        damaged("SegmentationType", "OTHER"),
        damaged("BitsAllocated", 12),
        damaged("SOPClassUID", "1.2.840.10008.5.1.4.1.1.2"),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, change: Any) -> None:  # noqa: ANN401 - a function on data sets
    grid = straight_grid()
    dataset = foreign(grid, np.ones(grid.shape, dtype=np.bool_))
    change(dataset)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    with pytest.raises(InputRefusedError):
        dicom_seg.read(saved(tmp_path, dataset), grid)


def test_other_syntaxes_are_refused_before_they_are_unpacked(tmp_path: Path) -> None:
    grid = straight_grid()
    dataset = foreign(grid, np.ones(grid.shape, dtype=np.bool_))
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1.99"
    with pytest.raises(InputRefusedError, match=r"transfer syntax 1\.2\.840\.10008\.1\.2\.1\.99 is not read"):
        dicom_seg.read(saved(tmp_path, dataset), grid)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 3000), st.binary(min_size=1, max_size=8))
def test_mutated_files_are_read_or_refused(tmp_path: Path, at: int, noise: bytes) -> None:
    grid = straight_grid((2, 4, 4))
    whole = tmp_path / "foreign.dcm"
    if not whole.exists():
        saved(tmp_path, foreign(grid, np.ones(grid.shape, dtype=np.bool_)))
    payload = whole.read_bytes()
    path = tmp_path / "mutated.dcm"
    path.write_bytes(payload[:at] + noise + payload[at + len(noise) :])
    try:
        found = dicom_seg.read(path, grid)
    except InputRefusedError:
        return
    assert len(found) == 1


def test_what_is_no_segmentation_is_not_taken_for_one(tmp_path: Path) -> None:
    path = tmp_path / "other.dcm"
    assert not dicom_seg.sniff(path)
    with pytest.raises(InputRefusedError) as caught:
        dicom_seg.read(path, straight_grid())
    assert caught.value.code == "file"
    path.write_bytes(b"\0" * 128 + b"DICM" + b"\x02\0\x02\0UI\xff")
    assert not dicom_seg.sniff(path)
    with pytest.raises(InputRefusedError) as caught:
        dicom_seg.read(path, straight_grid())
    assert caught.value.code == "dicom"


def test_only_volumes_in_a_patient_are_written_and_nothing_is_overwritten(tmp_path: Path) -> None:
    planar = Grid.axis_aligned((8, 8), (1, 1))
    with pytest.raises(InputRefusedError, match="no volume"):
        written(tmp_path, np.zeros((8, 8), dtype=np.uint8), planar)
    tiny = straight_grid((3, 1, 7))
    with pytest.raises(InputRefusedError, match="slices of 1 × 7 voxels"):
        written(tmp_path, three_classes(tiny), tiny)
    sheared = np.eye(4)
    sheared[2, 1] = 0.2
    grid = Grid((3, 8, 8), sheared)
    with pytest.raises(InputRefusedError, match="not at right angles"):
        written(tmp_path, three_classes(grid), grid)
    grid = straight_grid()
    path = written(tmp_path, three_classes(grid), grid)
    before = path.read_bytes()
    with pytest.raises(InputRefusedError, match="nothing is overwritten"):
        written(tmp_path, three_classes(grid), grid)
    assert path.read_bytes() == before


def test_the_source_is_named_only_where_it_is_given(tmp_path: Path) -> None:
    import pydicom

    grid = straight_grid()
    uids = tuple(f"1.2.3.{z}" for z in range(grid.shape[0]))
    source = SourceSeries("1.2.3", "1.2", "1.4", uids)
    dataset = pydicom.dcmread(written(tmp_path, three_classes(grid), grid, source=source))
    assert dataset.StudyInstanceUID == "1.2"
    assert dataset.FrameOfReferenceUID == "1.4"
    [series] = dataset.ReferencedSeriesSequence
    assert {item.ReferencedSOPInstanceUID for item in series.ReferencedInstanceSequence} == set(uids)
    with pytest.raises(InputRefusedError, match="1 instances are named for 5 slices"):
        dicom_seg.write(
            tmp_path / "b.dcm", overlapping(grid), grid, source=SourceSeries(instance_uids=("1",))
        )


def test_labels_may_be_of_any_script(tmp_path: Path) -> None:
    grid = straight_grid()
    labels = ["Knötchen", "結節", "узел", "a\\b", "=x"]
    ring = np.asarray([[1.5, 1.5], [1.5, 4.5], [4.5, 4.5]])
    regions = [Region.on_slices(CASE, {z: [ring]}, "", label) for z, label in enumerate(labels)]
    dicom_seg.write(tmp_path / "case.dcm", image_regions(CASE, regions, grid.shape), grid)
    [found] = dicom_seg.read(tmp_path / "case.dcm", grid)
    told = [found.regions.region(row).label for row in range(len(found))]
    assert told == ["Knötchen", "結節", "узел", "a/b", "=x"]


@pytest.mark.parametrize(
    ("numbers", "what"), [((1, 1), "the segment number 1 stands twice"), ((7,), "of the segment 1, which is")]
)
def test_segments_are_described_once(tmp_path: Path, numbers: tuple[int, ...], what: str) -> None:
    from copy import deepcopy

    grid = straight_grid()
    dataset = foreign(grid, np.ones(grid.shape, dtype=np.bool_))
    segments = [deepcopy(dataset.SegmentSequence[0]) for _ in numbers]
    for segment, number in zip(segments, numbers, strict=True):
        segment.SegmentNumber = number
    dataset.SegmentSequence = segments
    with pytest.raises(InputRefusedError, match=what):
        dicom_seg.read(saved(tmp_path, dataset), grid)


def test_frames_of_sixteen_bits_are_read(tmp_path: Path) -> None:
    grid = straight_grid((1, 40, 40))
    rows, columns = np.indices(grid.shape[1:])
    labels = (1 + rows[None] * 20 + columns[None] // 2).astype(np.uint16)
    labels[0, :, 3:30] = 0
    names = {int(value): f"part {value}" for value in np.unique(labels) if value}
    regions = regions_of_labels(CASE, labels, names, split=False)
    assert len(regions) > 255
    dicom_seg.write(tmp_path / "case.dcm", regions, grid, kind="LABELMAP")
    [found] = dicom_seg.read(tmp_path / "case.dcm", grid)
    np.testing.assert_array_equal(
        instance_map(found, grid.shape).labels, instance_map(regions, grid.shape).labels
    )
