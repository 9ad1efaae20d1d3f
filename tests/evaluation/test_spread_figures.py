"""Figures are those of this process and of earlier versions, whoever computes them and in whatever order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from evaluation_examples import candidate_table, finding_table, random_study
from spread_losses import Backwards

from napari_medlab.annotations import Region, RegionTable
from napari_medlab.annotations.image_regions import ImageRegions
from napari_medlab.errors import InputRefusedError
from napari_medlab.evaluation import MatchTable, Resampling, match
from napari_medlab.evaluation.bootstrap import resample, resample_average_precision
from napari_medlab.evaluation.coco import evaluate_coco
from napari_medlab.evaluation.compare import compare, permutation_p_value
from napari_medlab.evaluation.overlap_of_files import overlaps_of_files
from napari_medlab.geometry import Grid
from napari_medlab.images import Image
from napari_medlab.images.writers import write_image
from napari_medlab.jobs.spreading import Here

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medlab.evaluation.coco import Kind
    from napari_medlab.jobs.spreading import Spread

SPREADS: list[Spread] = [Here(), Backwards()]


@pytest.fixture(scope="module")
def matches() -> list[MatchTable]:
    findings, candidates, cases = random_study(5)
    return [match(finding_table(findings), candidate_table(candidates[::step]), cases) for step in (1, 2)]


@pytest.mark.parametrize("spread", SPREADS)
def test_a_seed_gives_the_figures_that_it_always_gave(matches: list[MatchTable], spread: Spread) -> None:
    drawing = Resampling(150, 11, spread)
    samples = resample(matches, drawing)
    assert samples.sum() == pytest.approx(424.5177229123686, abs=1e-9)
    last = [1 / 47, 3 / 47, 3 / 47, 5.125 / 47, 7 / 47, 8 / 47, 8 / 47]
    np.testing.assert_allclose(samples[1, 149], last, rtol=1e-12)
    average = resample_average_precision(matches[:1], drawing)
    assert average.sum() == pytest.approx(28.65392840771193, abs=1e-9)
    assert permutation_p_value(matches[0], matches[1], drawing) == 1 / 151


def test_two_models_compare_alike_in_any_order(matches: list[MatchTable]) -> None:
    documents = [
        compare(matches[0], matches[1], resampling=Resampling(130, 2, spread)).as_json() for spread in SPREADS
    ]
    assert documents[0] == documents[1]
    assert Resampling(130, 2, SPREADS[0]) == Resampling(130, 2, SPREADS[1])


def image(name: str, seed: int, *, scored: bool) -> ImageRegions:
    """Return an image of a few hexagons, half of them of either class."""
    rng = np.random.default_rng(seed)
    turn = np.linspace(0, 2 * np.pi, 7)[:-1]
    ring = np.stack([np.sin(turn), np.cos(turn)], axis=1)
    regions = [
        Region(name, (ring * rng.uniform(5, 40) + rng.uniform(40, 160, 2),), label="ab"[k % 2])
        for k in range(4)
    ]
    table = RegionTable.from_regions(name, regions, rng.random(4).tolist() if scored else ())
    return ImageRegions(name, table, np.zeros(4, dtype=np.bool_), (200, 200))


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_coco_figures_are_the_same_in_any_order(kind: Kind) -> None:
    names = [f"image {number}" for number in range(70)]  # more than are one piece of work
    reference = [image(name, number, scored=False) for number, name in enumerate(names)]
    found = [image(name, number + number % 2, scored=True) for number, name in enumerate(names)]
    documents = [
        evaluate_coco(reference, found, kind, resampling=Resampling(20, 4, spread)).as_json(classes=True)
        for spread in SPREADS
    ]
    assert documents[0] == documents[1]
    assert documents[0]["AP50"] > 0.2


def write_masks(folder: Path, seeds: dict[str, int]) -> dict[str, Path]:
    """Write masks of two labels, by name."""
    folder.mkdir()
    grid = Grid.axis_aligned((6, 10, 12), (2.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    paths = {}
    for name, seed in seeds.items():
        values = np.random.default_rng(seed).integers(0, 3, grid.shape).astype(np.uint8)
        paths[name] = folder / f"{name}.nii.gz"
        write_image(Image.of_arrays([values], grid), paths[name])
    return paths


def test_masks_are_measured_pair_by_pair_in_any_order(tmp_path: Path) -> None:
    ours = write_masks(tmp_path / "ours", {"a": 1, "b": 2, "c": 3})
    theirs = write_masks(tmp_path / "theirs", {"a": 1, "b": 5, "c": 6})
    pairs = {name: (ours[name], theirs[name]) for name in ours}
    told: list[tuple[int, int]] = []
    here = overlaps_of_files(pairs, on_progress=lambda *now: told.append(now))
    there = overlaps_of_files(pairs, spread=Backwards())
    assert list(here) == list(there) == ["a", "b", "c"]
    assert here == there
    assert [here["a"].whole.dice, told] == [1.0, [(1, 3), (2, 3), (3, 3)]]
    assert here["b"].whole.dice < 1
    ours["b"].write_bytes(b"no mask")
    with pytest.raises(InputRefusedError, match=r"b\.nii\.gz"):
        overlaps_of_files(pairs, spread=Backwards())
