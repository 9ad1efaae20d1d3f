from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from napari_medlab.errors import InputRefusedError
from napari_medlab.geometry import Grid
from napari_medlab.images import Image
from napari_medlab.jobs import CancelledError, CancelToken
from napari_medlab.models.bundles import Bundle, find_bundle, load_network, write_bundle
from napari_medlab.models.bundles.loading import read_weights
from napari_medlab.models.detection.detections import DecodeSettings
from napari_medlab.models.inference.tiles import plan_tiles
from napari_medlab.models.predicting import BundleDetector, open_model
from napari_medlab.phantoms.chest_ct import ChestPhantom, chest_phantom
from napari_medlab.protocols import Detector

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_medlab.annotations import Candidate
    from napari_medlab.protocols import Batch

HELD_OUT_SEED = 20_001
SMALL = (32, 64, 64)
"""Cores of tiles of which the phantom needs several."""


@pytest.fixture(scope="module")
def phantom() -> ChestPhantom:
    return chest_phantom(HELD_OUT_SEED, "case")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Return the shipped detector as version 1 wrote it: alone, looking everywhere, in tiles that are not named."""
    shipped = find_bundle("lung-nodules")
    weights = {
        name: value for name, value in read_weights(shipped).items() if not name.startswith("classifier.")
    }
    later = ("classifier", "tiling", "purpose", "weights_sha256")
    spec = {name: value for name, value in shipped.spec.items() if name not in later}
    return write_bundle(tmp_path_factory.mktemp("alone"), {**spec, "schema": 1}, weights)


def opened(bundle: Bundle, precision: str = "float32") -> BundleDetector:
    model = open_model(bundle, device="cpu", precision=precision)
    assert isinstance(model, BundleDetector)
    return model


@pytest.fixture(scope="module")
def detector(bundle: Bundle) -> BundleDetector:
    return opened(bundle)


@pytest.fixture(scope="module")
def in_small_tiles(bundle: Bundle) -> BundleDetector:
    small = opened(bundle)
    small.rule = replace(small.rule, core=SMALL)
    return small


@pytest.fixture(scope="module")
def tiled(in_small_tiles: BundleDetector, phantom: ChestPhantom) -> list[Candidate]:
    return found_by(in_small_tiles, phantom)


def batches_of(
    detector: BundleDetector, phantom: ChestPhantom, cancel: CancelToken | None = None
) -> Iterator[Batch]:
    image = Image.of_arrays([phantom.volume], phantom.grid, modality="CT")
    return detector.detect(image, "case", cancel or CancelToken())


def found_by(detector: BundleDetector, phantom: ChestPhantom) -> list[Candidate]:
    return [candidate for batch in batches_of(detector, phantom) for candidate in batch]


def test_it_finds_nodules_of_a_phantom_that_it_never_saw(
    detector: BundleDetector, phantom: ChestPhantom
) -> None:
    assert isinstance(detector, Detector)
    candidates = found_by(detector, phantom)
    scores = [
        max(
            (c.score for c in candidates if np.linalg.norm(np.subtract(c.centre, f.centre)) < f.diameter / 2),
            default=0,
        )
        for f in phantom.findings
    ]
    assert sum(score > 0.5 for score in scores) >= 2
    index = phantom.grid.to_index([c.centre for c in candidates])
    assert phantom.grid.contains(index).all()
    assert all(c.diameter > 0 and 0 <= c.score <= 1 and c.case_id == "case" for c in candidates)
    assert len({c.candidate_id for c in candidates}) == len(candidates)


def test_tiles_make_no_difference(
    detector: BundleDetector, phantom: ChestPhantom, tiled: list[Candidate]
) -> None:
    whole = found_by(detector, phantom)
    centres = np.asarray([candidate.centre for candidate in tiled])
    sure = [candidate for candidate in whole if candidate.score > 0.35]
    assert len(sure) >= 3
    for candidate in sure:
        distances = np.linalg.norm(centres - candidate.centre, axis=1)
        assert distances.min() < 0.3
        assert tiled[int(distances.argmin())].score == pytest.approx(candidate.score, abs=0.05)


def test_no_two_candidates_mark_the_same_spot(detector: BundleDetector, tiled: list[Candidate]) -> None:
    centres = np.asarray([candidate.centre for candidate in tiled])
    distances = np.linalg.norm(centres[:, None] - centres, axis=-1) + np.eye(len(centres)) * 99
    assert distances.min() >= detector.bundle.spec["postprocessing"]["merge_mm"] - 1e-9


def test_it_stops_between_tiles(in_small_tiles: BundleDetector, phantom: ChestPhantom) -> None:
    cancel = CancelToken()
    batches = batches_of(in_small_tiles, phantom, cancel)
    next(batches)
    cancel.cancel()
    with pytest.raises(CancelledError):
        next(batches)


def test_the_engine_finds_what_one_tile_after_the_other_gives(
    bundle: Bundle, in_small_tiles: BundleDetector, phantom: ChestPhantom, tiled: list[Candidate]
) -> None:
    """What version 1 did, written out plainly: the figures in the card were measured with it."""
    volume, grid = bundle.preprocessing.apply_array(phantom.volume, phantom.grid)
    network: Any = load_network(bundle)
    settings = DecodeSettings.from_json(bundle.postprocessing)
    centres, scores, diameters = np.zeros((0, 3)), [], np.zeros(0)
    for tile in plan_tiles(volume.shape, SMALL, 16, 8):
        block = volume[tile.read_box()]
        padded = np.pad(block, [(0, -size % 8) for size in block.shape])
        with torch.inference_mode():
            maps = network(torch.from_numpy(padded)[None, None])
        (found,) = network.decode(maps, padded.shape, settings)
        here = found.moved(tile.read_start)
        here = here.where(tile.in_core(here.centres))
        for centre, score, diameter in zip(here.centres, here.scores, here.diameters, strict=True):
            reach = np.maximum(4.0 / 1.5, np.maximum(diameters, diameter) / 2)
            if not (np.linalg.norm(centres - centre, axis=1) < reach).any():
                centres, diameters = np.vstack([centres, centre]), np.append(diameters, diameter)
                scores.append(score)
    np.testing.assert_allclose([c.centre for c in tiled], grid.to_world(centres), atol=1e-3)
    np.testing.assert_allclose([c.score for c in tiled], scores, atol=1e-5)
    np.testing.assert_allclose([c.diameter for c in tiled], diameters * 1.5, atol=1e-3)


def test_the_fastest_precision_finds_the_same_lesions(
    bundle: Bundle, detector: BundleDetector, phantom: ChestPhantom
) -> None:
    exact = found_by(detector, phantom)
    fast = found_by(opened(bundle, "bfloat16"), phantom)
    centres = np.asarray([candidate.centre for candidate in fast])
    for candidate in (one for one in exact if one.score > 0.35):
        distances = np.linalg.norm(centres - candidate.centre, axis=1)
        assert distances.min() < 0.5
        assert fast[int(distances.argmin())].score == pytest.approx(candidate.score, abs=0.02)


def test_what_somebody_looks_at_comes_first_and_nothing_else_changes(
    in_small_tiles: BundleDetector, phantom: ChestPhantom, tiled: list[Candidate]
) -> None:
    image = Image.of_arrays([phantom.volume], phantom.grid, modality="CT")
    last = tiled[-1].centre
    told: list[tuple[int, int]] = []
    batches = list(
        in_small_tiles.detect(
            image, "case", CancelToken(), focus=last, on_progress=lambda *now: told.append(now)
        )
    )
    nearest = [np.linalg.norm(np.subtract(c.centre, last)) for c in batches[0]]
    assert min(nearest) < 1
    assert told == [(number, len(batches)) for number in range(1, len(batches) + 1)]
    sure = {round(c.score, 3) for c in tiled if c.score > 0.35}
    assert {round(c.score, 3) for batch in batches for c in batch if c.score > 0.35} == sure


def test_an_image_stored_otherwise_gives_the_same_candidates(
    detector: BundleDetector, phantom: ChestPhantom
) -> None:
    order, flips = (2, 0, 1), (-1, 1, -1)
    turned = phantom.volume.transpose(order)[::-1, :, ::-1]
    image = Image.of_arrays([turned], phantom.grid.reordered(order, flips), modality="CT")
    batches = detector.detect(image, "case", CancelToken())
    by_image = np.asarray([c.centre for batch in batches for c in batch])
    by_array = np.asarray([c.centre for c in found_by(detector, phantom)])
    np.testing.assert_allclose(by_image, by_array, atol=1e-3)


def test_a_photograph_is_refused(detector: BundleDetector) -> None:
    grid = Grid.axis_aligned((8, 8), (1, 1), unit="px")
    photo = Image.of_arrays([np.zeros((8, 8))], grid, kind="photo")
    with pytest.raises(InputRefusedError) as caught:
        next(detector.detect(photo, "case", CancelToken()))
    assert caught.value.code == "wrong-kind"
