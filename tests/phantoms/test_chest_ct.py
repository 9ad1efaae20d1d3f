from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from napari_medlab.phantoms.chest_ct import SECOND_SITE, ChestPhantom, Site, chest_phantom

SMALL = Site(shape=(32, 80, 88))
SEEDS = (1, 3)
"""Both have five nodules at that size."""


@pytest.fixture(scope="module")
def phantoms() -> dict[int, ChestPhantom]:
    return {seed: chest_phantom(seed, f"case-{seed}", SMALL) for seed in SEEDS}


def test_a_seed_gives_the_same_voxels_and_another_gives_others(phantoms: dict[int, ChestPhantom]) -> None:
    first, again, other = phantoms[1], chest_phantom(1, "case-1", SMALL), phantoms[3]
    np.testing.assert_array_equal(first.volume, again.volume)
    np.testing.assert_array_equal(first.labels, again.labels)
    assert (first.findings, first.excluded, first.grid) == (again.findings, again.excluded, again.grid)
    assert (first.volume != other.volume).mean() > 0.5


def test_arrays_lie_on_the_grid_and_hold_hounsfield_units(phantoms: dict[int, ChestPhantom]) -> None:
    for phantom in phantoms.values():
        assert phantom.volume.shape == phantom.labels.shape == phantom.grid.shape == SMALL.shape
        assert phantom.volume.dtype == np.int16
        assert -1024 <= phantom.volume.min() < -950
        assert 200 < phantom.volume.max() <= 3071
        slice_mm, *pixel_mm = phantom.grid.spacing
        assert SMALL.slice_mm[0] <= slice_mm <= SMALL.slice_mm[1]
        assert all(SMALL.pixel_mm[0] <= step <= SMALL.pixel_mm[1] for step in pixel_mm)
        # the world's origin is amid the volume
        middle = phantom.grid.to_index(np.zeros(3))
        np.testing.assert_allclose(middle, np.asarray(SMALL.shape) / 2)


@pytest.mark.parametrize("seed", SEEDS)
def test_findings_are_where_the_labels_say(phantoms: dict[int, ChestPhantom], seed: int) -> None:
    phantom = phantoms[seed]
    assert len(phantom.findings) == 5
    assert set(np.unique(phantom.labels)) == set(range(6))
    for number, finding in enumerate(phantom.findings, start=1):
        own = phantom.labels == number
        index = phantom.grid.to_index(finding.centre)
        assert own[tuple(np.rint(index).astype(int))]
        middle_of_label = np.argwhere(own).mean(axis=0)
        shift_mm = (middle_of_label - index) * phantom.grid.spacing
        assert np.linalg.norm(shift_mm) < finding.diameter / 4
        volume_mm3 = own.sum() * np.prod(phantom.grid.spacing)
        assert 2 * (3 * volume_mm3 / 4 / np.pi) ** (1 / 3) == pytest.approx(finding.diameter, rel=0.2)


@pytest.mark.parametrize("seed", SEEDS)
def test_findings_are_denser_than_lung(phantoms: dict[int, ChestPhantom], seed: int) -> None:
    phantom = phantoms[seed]
    lung = np.median(phantom.volume[(phantom.volume > -960) & (phantom.volume < -700)])
    for number in range(1, len(phantom.findings) + 1):
        assert phantom.volume[phantom.labels == number].mean() > lung + 200


def test_specks_are_too_small_to_count(phantoms: dict[int, ChestPhantom]) -> None:
    specks = [speck for phantom in phantoms.values() for speck in phantom.excluded]
    assert specks
    assert all(speck.is_excluded and 0 < speck.diameter < 3 for speck in specks)
    counted = [finding for phantom in phantoms.values() for finding in phantom.findings]
    assert all(not finding.is_excluded and 4 <= finding.diameter <= 22 for finding in counted)


def test_objects_carry_their_case_and_ids_of_their_own(phantoms: dict[int, ChestPhantom]) -> None:
    objects = [*phantoms[1].findings, *phantoms[1].excluded]
    assert {each.case_id for each in objects} == {"case-1"}
    assert len({each.finding_id for each in objects}) == len(objects)


def test_another_site_scans_otherwise() -> None:
    noisy = chest_phantom(1, "case", replace(SECOND_SITE, shape=SMALL.shape, noise_hu=(60.0, 60.0)))
    quiet = chest_phantom(1, "case", replace(SECOND_SITE, shape=SMALL.shape, noise_hu=(1.0, 1.0)))
    corner = (slice(None), slice(0, 8), slice(0, 8))
    assert noisy.volume[corner].std() > 3 * quiet.volume[corner].std()
    assert SECOND_SITE.slice_mm[0] <= noisy.grid.spacing[0] <= SECOND_SITE.slice_mm[1]
