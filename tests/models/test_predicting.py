"""Models on images whose objects are known: where candidates, outlines and masks come to lie."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest
import torch
from torch import nn

from napari_medlab.annotations import Candidate
from napari_medlab.geometry import Grid, rings_to_mask
from napari_medlab.images import Image
from napari_medlab.images.writers import write_image
from napari_medlab.jobs import CancelledError, CancelToken
from napari_medlab.models.bundles import Bundle
from napari_medlab.models.detection.detections import DecodeSettings, Detections
from napari_medlab.models.inference import worker
from napari_medlab.models.inference.mask_store import MaskStore
from napari_medlab.models.predicting import open_model
from napari_medlab.models.predicting.label_map import label_image
from napari_medlab.models.predicting.outlines import moved_rings
from napari_medlab.protocols import Batch, Classifier, Detector, MaskPart, Segmenter

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_medlab.models.predicting import BundleDetector, BundleSegmenter

NAMES, PLAIN = ("planar", "solid", "mean"), (__name__, "Mean")
"""The networks of this file, none of which says how many channels it takes."""
UM = 0.5
"""Of a pixel of the planar images."""


class Bright(nn.Module):
    """Says of each pixel whether it is brighter than half; its objects are boxes around what hangs together."""

    def __init__(self, dims: int) -> None:
        super().__init__()
        self.multiple = 4
        self.layer = nn.Conv2d(1, 1, 1) if dims == 2 else nn.Conv3d(1, 1, 1)
        nn.init.constant_(self.layer.weight, 40.0)
        nn.init.constant_(self.layer.get_parameter("bias"), -20.0)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.layer(image)
        return logits

    def decode(
        self, outputs: torch.Tensor, image_shape: Sequence[int], settings: DecodeSettings
    ) -> list[Detections]:
        from scipy.ndimage import find_objects, label

        assert outputs.shape[2:] == tuple(image_shape)
        found = []
        for maps in outputs[:, 0].sigmoid().numpy():
            spans = find_objects(label(maps > settings.threshold)[0])
            boxes = [[*(s.start - 0.5 for s in span), *(s.stop - 0.5 for s in span)] for span in spans]
            scores = np.asarray([float(maps[span].max()) for span in spans])
            array = np.asarray(boxes, np.float64).reshape(-1, 2 * len(image_shape))
            found.append(Detections(array, scores, np.zeros(len(boxes), np.int64)))
        return found


class Mean(nn.Module):
    """Judges a cube by how bright its middle is."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv3d(1, 1, 1, bias=False)
        nn.init.constant_(self.layer.weight, 10.0)

    def forward(self, cubes: torch.Tensor) -> torch.Tensor:
        middle: torch.Tensor = self.layer(cubes)[:, 0, 3:5, 3:5, 3:5].mean(dim=(1, 2, 3)) - 5
        return middle


@pytest.fixture
def networks(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(bundle: Bundle) -> nn.Module:
        name = bundle.spec["network"]["name"]
        return Mean().eval() if name == "mean" else Bright(2 if name == "planar" else 3).eval()

    def load_classifier(bundle: Bundle) -> nn.Module | None:
        return Mean().eval() if bundle.classifier else None

    monkeypatch.setattr("napari_medlab.models.predicting.placing.NETWORKS", dict.fromkeys(NAMES, PLAIN))
    monkeypatch.setattr("napari_medlab.models.predicting.placing.load_network", load)
    monkeypatch.setattr("napari_medlab.models.predicting.classifier.load_network", load)
    monkeypatch.setattr("napari_medlab.models.predicting.judging.load_classifier", load_classifier)


def planar_bundle(tmp_path: Path, task: str, **more: Any) -> Bundle:  # noqa: ANN401 - parts of a spec
    spec = {
        "schema": 2, "name": "planar", "task": task, "network": {"name": "planar", "arguments": {}},
        "preprocessing": {"kind": "photo", "spacing_um": 2 * UM},
        "tiling": {"core": [16, 16], "halo": 12},
        "postprocessing": {"threshold": 0.5, "merge_iou": 0.3}, "classes": ["mass"],
    }  # fmt: skip
    return Bundle(tmp_path, {**spec, **more}, f"{task} {sorted(map(str, more.items()))}")


def volume_bundle(tmp_path: Path, task: str, **more: Any) -> Bundle:  # noqa: ANN401 - parts of a spec
    spec = {
        "schema": 2, "name": "solid", "task": task, "network": {"name": "solid", "arguments": {}},
        "preprocessing": {"spacing_mm": 1.0, "window": [0, 100]},
        "tiling": {"core": [16, 16, 16], "halo": 4},
        "postprocessing": {"threshold": 0.5, "merge_mm": 2.0}, "classes": ["nodule"],
    }  # fmt: skip
    return Bundle(tmp_path, {**spec, **more}, f"{task} {sorted(map(str, more.items()))}")


SQUARES = [(8, 8, 12, 16), (24, 40, 32, 48), (60, 60, 72, 76)]
"""(y0, x0, y1, x1) in pixels of the image; all even, so that they are whole on the coarser lattice of the model."""


def photo() -> Image:
    pixels = np.zeros((96, 96), np.uint8)
    for y0, x0, y1, x1 in SQUARES:
        pixels[y0:y1, x0:x1] = 255
    grid = Grid.axis_aligned((96, 96), (UM, UM), (100.0, 50.0), unit="um")
    return Image.of_arrays([pixels], grid, kind="photo")


def volume(spacing: float = 1.0, *, turned: bool = False) -> Image:
    """A cube of 8 mm around (20, 18, 16) mm and one of 4 mm around (8, 8, 8) mm."""
    size = round(32 / spacing)
    grid = Grid.axis_aligned((size,) * 3, (spacing,) * 3)
    places = grid.to_world(np.moveaxis(np.indices(grid.shape), 0, -1))
    voxels = np.zeros(grid.shape, np.int16)
    for centre, side in (((20, 18, 16), 8), ((8, 8, 8), 4)):
        voxels[(np.abs(places - centre) <= side / 2).all(axis=-1)] = 100
    if turned:
        order, flips = (2, 0, 1), (-1, 1, -1)
        return Image.of_arrays([voxels.transpose(order)[::-1, :, ::-1]], grid.reordered(order, flips))
    return Image.of_arrays([voxels], grid)


def detector(bundle: Bundle) -> BundleDetector:
    model = open_model(bundle, device="cpu", precision="float32")
    assert isinstance(model, Detector)
    assert not isinstance(model, (Segmenter, Classifier))
    return cast("BundleDetector", model)


def found_by(bundle: Bundle, image: Image) -> Batch:
    batches = list(detector(bundle).detect(image, "case", CancelToken()))
    return Batch([c for batch in batches for c in batch], [r for batch in batches for r in batch.regions])


@pytest.mark.usefixtures("networks")
def test_boxes_in_a_plane_come_with_outlines_where_they_are_in_the_image(tmp_path: Path) -> None:
    image = photo()
    found = found_by(planar_bundle(tmp_path, "detection"), image)
    assert len(found) == len(SQUARES)
    outlines = {region.owner_id: region.rings for region in found.regions}
    boxes = []
    for candidate in found:
        (ring,) = outlines[candidate.candidate_id]
        boxes.append(tuple((np.concatenate([ring.min(axis=0), ring.max(axis=0)]) + 0.5).round(6)))
        middle = image.grid.to_world(ring.mean(axis=0))
        np.testing.assert_allclose(candidate.centre, middle, atol=1e-6)
        assert candidate.diameter == pytest.approx(np.ptp(ring, axis=0).mean() * UM)
        assert (candidate.label, candidate.case_id) == ("mass", "case")
        assert candidate.score > 0.99
    assert sorted(boxes) == SQUARES


@pytest.mark.usefixtures("networks")
def test_averaging_over_symmetries_changes_nothing_for_a_network_that_has_them(tmp_path: Path) -> None:
    more = {"threshold": 0.5, "merge_iou": 0.3, "test_time": ["square"]}
    plain = found_by(planar_bundle(tmp_path, "detection"), photo())
    averaged = found_by(planar_bundle(tmp_path, "detection", postprocessing=more), photo())
    np.testing.assert_allclose(sorted(c.centre for c in averaged), sorted(c.centre for c in plain))


@pytest.mark.usefixtures("networks")
def test_specks_become_a_cluster_that_comes_last(tmp_path: Path) -> None:
    rule = {"from": "mass", "into": "cluster", "reach_mm": 25.0, "least": 2}
    more = {"threshold": 0.5, "merge_iou": 0.3, "cluster": rule}
    batches = list(
        detector(planar_bundle(tmp_path, "detection", postprocessing=more)).detect(
            photo(), "case", CancelToken()
        )
    )
    assert all(not len(batch) and not batch.regions for batch in batches[:-1])
    assert [c.label for c in batches[-1]] == ["cluster"]


@pytest.mark.usefixtures("networks")
def test_a_classifier_lowers_what_it_does_not_believe(tmp_path: Path) -> None:
    part = {
        "network": {"name": "mean", "arguments": {}}, "spacing_mm": 1.0, "shape": [8, 8, 8], "window": [0, 100],
        "fusion": {"rule": "product"},
    }  # fmt: skip
    plain = found_by(volume_bundle(tmp_path, "detection"), volume())
    fused = found_by(volume_bundle(tmp_path, "detection", classifier=part), volume())
    expected = 1 / (1 + np.exp(-5.0))
    assert len(fused) == len(plain) == 2
    for one, other in zip(fused, plain, strict=True):
        assert one.centre == other.centre
        assert one.score == pytest.approx(other.score * expected, rel=1e-4)


@pytest.mark.usefixtures("networks")
def test_a_classifier_by_itself_judges_what_others_proposed(tmp_path: Path) -> None:
    bundle = volume_bundle(
        tmp_path, "classification", network={"name": "mean", "arguments": {}}, tiling={"core": [8, 8, 8]}
    )
    model = open_model(bundle, device="cpu", precision="float32")
    assert isinstance(model, Classifier)
    proposed = [Candidate("case", place, 0.3, 5.0) for place in ((20.0, 18.0, 16.0), (28.0, 28.0, 28.0))]
    scores = model.judge(volume(), proposed, CancelToken())
    assert scores == pytest.approx([1 / (1 + np.exp(-5.0)), 1 / (1 + np.exp(5.0))], rel=1e-3)
    assert model.judge(volume(), [], CancelToken()) == []


def segmenter(bundle: Bundle) -> BundleSegmenter:
    model = open_model(bundle, device="cpu", precision="float32")
    assert isinstance(model, Segmenter)
    return cast("BundleSegmenter", model)


@pytest.mark.usefixtures("networks")
def test_a_segmenter_writes_a_mask_and_proposes_its_objects(tmp_path: Path) -> None:
    image, folder = photo(), tmp_path / "mask.zarr"
    told: list[tuple[int, int]] = []
    found = list(
        segmenter(planar_bundle(tmp_path, "segmentation")).segment(
            image, "case", folder, CancelToken(), on_progress=lambda *now: told.append(now)
        )
    )
    parts = [each for each in found if isinstance(each, MaskPart)]
    (batch,) = [each for each in found if isinstance(each, Batch) and len(each)]
    assert found[-1] is batch
    assert sum(int(np.prod(np.subtract(p.stop, p.start))) for p in parts) == 48 * 48
    assert told[-1][0] == told[-1][1]
    store = MaskStore.open(folder)
    assert (store.is_complete, store.classes, store.grid.shape) == (True, ("mass",), (48, 48))
    drawn = sum(rings_to_mask(region.rings, (96, 96)).astype(int) for region in batch.regions)
    # outlines of masks go around corners, which on a lattice twice as fine is a pixel here and there
    wrong = np.not_equal(drawn, np.asarray(image.arrays[0]) > 0)
    assert wrong.sum() <= 4 * len(SQUARES)
    owners = {candidate.candidate_id: candidate for candidate in batch}
    for region in batch.regions:
        y, x = np.nonzero(rings_to_mask(region.rings, (96, 96)))
        middle = image.grid.to_world((y.mean(), x.mean()))
        np.testing.assert_allclose(owners[region.owner_id].centre, middle, atol=UM / 2)


@pytest.mark.usefixtures("networks")
def test_a_segmenter_that_is_stopped_leaves_a_mask_that_says_so(tmp_path: Path) -> None:
    cancel, folder = CancelToken(), tmp_path / "mask.zarr"
    image, bundle = volume(), volume_bundle(tmp_path, "segmentation")
    parts = segmenter(bundle).segment(image, "case", folder, cancel, on_progress=lambda *_: cancel.cancel())
    with pytest.raises(CancelledError):
        list(parts)
    assert not MaskStore.open(folder).is_complete


@pytest.mark.usefixtures("networks")
@pytest.mark.parametrize("turned", [False, True], ids=["as it lies", "turned"])
@pytest.mark.parametrize("spacing", [0.8, 1.0, 1.6])
def test_outlines_in_a_volume_lie_in_the_slices_of_the_image(
    tmp_path: Path, spacing: float, *, turned: bool
) -> None:
    image = volume(spacing, turned=turned)
    found = list(
        segmenter(volume_bundle(tmp_path, "segmentation")).segment(
            image, "case", tmp_path / "m", CancelToken()
        )
    )
    batch = found[-1]
    assert isinstance(batch, Batch)
    large = max(batch, key=lambda candidate: candidate.diameter)
    np.testing.assert_allclose(large.centre, (20, 18, 16), atol=0.51)
    (region,) = [region for region in batch.regions if region.owner_id == large.candidate_id]
    slices = sorted({float(ring[0, 0]) for ring in region.rings})
    assert all(z == round(z) for z in slices)
    assert all((ring[:, 0] == ring[0, 0]).all() for ring in region.rings)
    drawn = np.zeros(image.shape, np.bool_)
    for z in slices:
        drawn[int(z)] = rings_to_mask(region.rings_on_slice(int(z)), (image.shape[1], image.shape[2]))
    true = np.asarray(image.arrays[0]) > 0
    small = image.grid.to_world(np.stack(np.nonzero(true), axis=-1)).max(axis=1) < 12
    true[tuple(np.stack(np.nonzero(true), axis=-1)[small].T)] = False
    assert 2 * (drawn & true).sum() / (drawn.sum() + true.sum()) > 0.85


def test_rings_of_nothing_stay_nothing() -> None:
    grid = Grid.axis_aligned((4, 4, 4), (1, 1, 1))
    assert moved_rings([], grid, grid) == ()


def test_labels_are_the_most_probable_class_that_reaches_its_threshold(tmp_path: Path) -> None:
    grid = Grid.axis_aligned((4, 6), (1, 1), unit="um")
    store = MaskStore.create(tmp_path / "m", grid, ["a", "b"], chunk=(4, 3))
    left: NDArray[np.uint8] = np.zeros((2, 4, 3), np.uint8)
    left[0, 0], left[1, 0, 1:] = 150, 200
    store.write((0, 0), left)
    store.write((0, 1), np.full((2, 4, 3), 100, np.uint8))
    store.finish()
    labels = np.asarray(label_image(store, {"threshold": [0.5, 0.9]}).arrays[0])
    assert labels.tolist() == [[1, 1, 1, 0, 0, 0], *[[0] * 6] * 3]
    labels = np.asarray(label_image(store, {"threshold": 0.3}).arrays[0])
    assert labels.tolist() == [[1, 2, 2, 1, 1, 1], *[[0, 0, 0, 1, 1, 1]] * 3]


@pytest.mark.usefixtures("networks")
def test_the_worker_tells_of_parts_of_the_mask_and_of_objects_with_rings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_image(volume(), tmp_path / "a.nii.gz")
    model = segmenter(volume_bundle(tmp_path, "segmentation"))
    monkeypatch.setattr(worker, "_model", lambda *_: model)
    request = {"bundle": "", "image": str(path), "case_id": "case", "mask": str(tmp_path / "mask.zarr")}
    events = list(worker.predict(request, CancelToken()))
    kinds = [event["event"] for event in events]
    assert (kinds[0], kinds[-1]) == ("backend", "seconds")
    assert events[0]["precision"] == "float32"
    assert [event["done"] == event["total"] for event in events if event["event"] == "progress"][-1]
    assert {"event": "mask", "start": [0, 0, 0], "stop": [32, 32, 32]} in events
    (batch,) = [event for event in events if event["event"] == "batch"]
    for _, centre, score, diameter, label, rings in batch["candidates"]:
        assert (len(centre), label) == (3, "nodule")
        assert 0.5 < score <= 1
        assert len(rings) >= diameter / 2
    assert MaskStore.open(tmp_path / "mask.zarr").is_complete


@pytest.mark.usefixtures("networks")
def test_the_worker_tells_the_scores_of_candidates_that_a_classifier_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_image(volume(), tmp_path / "a.nii.gz")
    more: dict[str, Any] = {"network": {"name": "mean", "arguments": {}}, "tiling": {"core": [8, 8, 8]}}
    model = open_model(volume_bundle(tmp_path, "classification", **more), device="cpu", precision="float32")
    monkeypatch.setattr(worker, "_model", lambda *_: model)
    asked = [[[20.0, 18.0, 16.0], 5.0, "nodule"], [[28.0, 28.0, 28.0], 4.0, "scar"]]
    request = {"bundle": "", "image": str(path), "case_id": "case", "candidates": asked}
    events = list(worker.predict(request, CancelToken()))
    assert [event["event"] for event in events] == ["backend", "batch", "seconds"]
    (_, centre, score, diameter, label, _), other = events[1]["candidates"]
    assert (centre, diameter, label) == ([20.0, 18.0, 16.0], 5.0, "nodule")
    assert score > 0.99 > 0.01 > other[2]
    assert list(worker.warm_up({"bundle": ""}, CancelToken()))[-1] == {"event": "ready", "tiling": None}
