from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_medlab.errors import InputRefusedError
from napari_medlab.jobs import CancelledError, CancelToken
from napari_medlab.models.bundles import load_network, shipped_bundles
from napari_medlab.models.detection import detector as detector_module
from napari_medlab.models.detection.detector import CentreDetector
from napari_medlab.phantoms.chest_ct import ChestPhantom, chest_phantom
from napari_medlab.protocols import Detector

if TYPE_CHECKING:
    from napari_medlab.annotations import Candidate

HELD_OUT_SEED = 20_001


@pytest.fixture(scope="module")
def phantom() -> ChestPhantom:
    return chest_phantom(HELD_OUT_SEED, "case")


@pytest.fixture(scope="module")
def detector() -> CentreDetector:
    return CentreDetector(shipped_bundles()[0])


@pytest.fixture(scope="module")
def tiled(detector: CentreDetector, phantom: ChestPhantom) -> list[Candidate]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(detector_module, "CORE", (32, 64, 64))
        return found_by(detector, phantom)


def found_by(detector: CentreDetector, phantom: ChestPhantom) -> list[Candidate]:
    batches = detector.detect_array(phantom.volume, phantom.grid, "case", CancelToken())
    return [candidate for batch in batches for candidate in batch]


def test_every_shipped_bundle_is_sound_small_and_described() -> None:
    bundles = shipped_bundles()
    assert [bundle.name for bundle in bundles] == ["lung-nodules"]
    for bundle in bundles:
        load_network(bundle)
        assert sum(path.stat().st_size for path in bundle.folder.iterdir()) <= 8 << 20
        assert bundle.folder.name == f"{bundle.name}-{bundle.hash[:12]}"
        card = (bundle.folder / "CARD.md").read_text(encoding="utf-8")
        for figures in bundle.spec["figures"].values():
            low, high = figures["cpm_interval"]
            assert f"CPM **{figures['cpm']:.3f}** (95 % interval {low:.3f} to {high:.3f})" in card
        assert bundle.spec["limits"] in card
        assert bundle.spec["licence"] == "BSD-3-Clause"


def test_it_finds_nodules_of_a_phantom_that_it_never_saw(detector: CentreDetector, phantom: ChestPhantom) -> None:
    assert isinstance(detector, Detector)
    candidates = found_by(detector, phantom)
    scores = [
        max((c.score for c in candidates if np.linalg.norm(np.subtract(c.centre, f.centre)) < f.diameter / 2), default=0)
        for f in phantom.findings
    ]
    assert sum(score > 0.5 for score in scores) >= 2
    index = phantom.grid.to_index([c.centre for c in candidates])
    assert phantom.grid.contains(index).all()
    assert all(c.diameter > 0 and 0 <= c.score <= 1 and c.case_id == "case" for c in candidates)
    assert len({c.candidate_id for c in candidates}) == len(candidates)


def test_tiles_make_no_difference(
    detector: CentreDetector, phantom: ChestPhantom, tiled: list[Candidate]
) -> None:
    whole = found_by(detector, phantom)
    centres = np.asarray([candidate.centre for candidate in tiled])
    sure = [candidate for candidate in whole if candidate.score > 0.35]
    assert len(sure) >= 3
    for candidate in sure:
        distances = np.linalg.norm(centres - candidate.centre, axis=1)
        assert distances.min() < 0.3
        assert tiled[int(distances.argmin())].score == pytest.approx(candidate.score, abs=0.05)


def test_no_two_candidates_mark_the_same_spot(detector: CentreDetector, tiled: list[Candidate]) -> None:
    centres = np.asarray([candidate.centre for candidate in tiled])
    distances = np.linalg.norm(centres[:, None] - centres, axis=-1) + np.eye(len(centres)) * 99
    assert distances.min() >= detector.bundle.spec["postprocessing"]["merge_mm"] - 1e-9


def test_it_stops_between_tiles(
    detector: CentreDetector, phantom: ChestPhantom, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detector_module, "CORE", (32, 64, 64))
    cancel = CancelToken()
    batches = detector.detect_array(phantom.volume, phantom.grid, "case", cancel)
    next(batches)
    cancel.cancel()
    with pytest.raises(CancelledError):
        next(batches)


def test_an_image_stored_otherwise_gives_the_same_candidates(detector: CentreDetector, phantom: ChestPhantom) -> None:

    from napari_medlab.images import Image

    order, flips = (2, 0, 1), (-1, 1, -1)
    turned = phantom.volume.transpose(order)[::-1, :, ::-1]
    grid = phantom.grid.reordered(order, flips)
    image = Image.of_arrays([turned], grid, modality="CT")
    batches = detector.detect(image, "case", CancelToken())
    by_image = np.asarray([c.centre for batch in batches for c in batch])
    by_array = np.asarray([c.centre for c in found_by(detector, phantom)])
    np.testing.assert_allclose(by_image, by_array, atol=1e-3)


def test_a_photograph_is_refused(detector: CentreDetector) -> None:

    from napari_medlab.geometry import Grid
    from napari_medlab.images import Image

    grid = Grid.axis_aligned((8, 8), (1, 1), unit="px")
    photo = Image.of_arrays([np.zeros((8, 8))], grid, kind="photo")
    with pytest.raises(InputRefusedError) as caught:
        next(detector.detect(photo, "case", CancelToken()))
    assert caught.value.code == "wrong-kind"
