"""Phantoms as raw material of the shipped models: made once, kept in a work folder, read again by whoever needs them."""

from __future__ import annotations

import json
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_medlab.annotations import Finding
from napari_medlab.geometry import Grid
from napari_medlab.images import Image

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_medlab.images.image import Kind

__all__ = ["SETS", "RawCase", "raw_cases"]


@dataclass(frozen=True, eq=False)
class RawCase:
    """One phantom as a scanner would send it, with its truth.

    Parameters
    ----------
    kind : {"volume", "mammogram", "slide"}
    pixels : array (z, y, x), (y, x) or (y, x, 3)
    grid : Grid of the pixels
    labels : array (z, y, x) or (y, x); value i + 1 marks ``findings[i]``; objects that do not count are not marked
    findings : tuple of Finding, excluded ones at the end
    specks : float64 array (n, 2), pixel indices of single calcifications; empty elsewhere
    group : str
        The patient.
    """

    kind: Kind
    pixels: NDArray[Any]
    grid: Grid
    labels: NDArray[Any]
    findings: tuple[Finding, ...]
    specks: NDArray[np.float64]
    group: str

    @property
    def image(self) -> Image:
        """The case as the runtime opens one."""
        return Image.of_arrays(
            (self.pixels,), self.grid, kind=self.kind, is_rgb=self.kind == "slide",
            modality={"volume": "CT", "mammogram": "MG"}.get(self.kind, ""),
        )  # fmt: skip


def raw_cases(folder: Path, name: SetName, seeds: Sequence[int]) -> list[RawCase]:
    """Return the phantoms of a set, in the order of the seeds; those not yet in ``folder`` are made, on all processors."""
    folder.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor() as pool:
        files = list(pool.map(partial(_make, folder, name), seeds, chunksize=4))
    return [_read(file) for found in files for file in found]


def _make(folder: Path, name: SetName, seed: int) -> list[Path]:
    marker = folder / f"{name}-{seed}.done"
    if not marker.exists():
        cases = SETS[name](seed)
        for number, case in enumerate(cases):
            _write(folder / f"{name}-{seed}-{number}.npz", case)
        marker.touch()
    return sorted(folder.glob(f"{name}-{seed}-*.npz"))


def _write(path: Path, case: RawCase) -> None:
    about = {
        "kind": case.kind, "grid": case.grid.as_json(), "group": case.group, "findings": [vars(f) for f in case.findings]
    }  # fmt: skip
    partial_path = path.with_name(f"{path.stem}.partial-npz")
    with partial_path.open("wb") as file:
        np.savez_compressed(
            file, pixels=case.pixels, labels=case.labels, specks=case.specks, about=json.dumps(about)
        )
    partial_path.replace(path)


def _read(path: Path) -> RawCase:
    with np.load(path, allow_pickle=False) as stored:
        about = json.loads(str(stored["about"]))
        findings = tuple(Finding(**{**f, "centre": tuple(f["centre"])}) for f in about["findings"])
        return RawCase(
            about["kind"], stored["pixels"], Grid.from_json(about["grid"]), stored["labels"], findings,
            stored["specks"], about["group"],
        )  # fmt: skip


NO_SPECKS = np.zeros((0, 2))


def _chest(site: str, seed: int) -> list[RawCase]:
    from napari_medlab.phantoms.chest_ct import REFERENCE_SITE, SECOND_SITE, chest_phantom

    sites = {
        "training": replace(REFERENCE_SITE, most_nodules=8), "reference": REFERENCE_SITE, "second": SECOND_SITE
    }  # fmt: skip
    case_id = f"chest-{site}-{seed}"
    phantom = chest_phantom(seed, case_id, sites[site])
    findings = (*phantom.findings, *phantom.excluded)
    return [RawCase("volume", phantom.volume, phantom.grid, phantom.labels, findings, NO_SPECKS, case_id)]


def _mammograms(site: str, seed: int) -> list[RawCase]:
    from napari_medlab.phantoms.mammogram import REFERENCE_MAMMOGRAPHY, SECOND_MAMMOGRAPHY, mammogram_exam

    sites = {
        # more lesions than in life, so that there is something to learn from
        "training": replace(REFERENCE_MAMMOGRAPHY, healthy=0.1), "reference": REFERENCE_MAMMOGRAPHY,
        "second": SECOND_MAMMOGRAPHY,
    }  # fmt: skip
    exam_id = f"mammogram-{site}-{seed}"
    exam = mammogram_exam(seed, exam_id, site=sites[site])
    return [
        RawCase("mammogram", v.pixels, v.grid, v.labels, tuple(v.findings), v.specks, exam_id)
        for v in exam.views
    ]


def _slide(site: str, shape: tuple[int, int], seed: int) -> list[RawCase]:
    from napari_medlab.geometry.levels import index_at_level0
    from napari_medlab.phantoms.slide import PIXEL_UM, REFERENCE_SLIDES, SECOND_SLIDES, slide_phantom

    case_id = f"slide-{site}-{seed}"
    stained = SECOND_SLIDES if site == "second" else REFERENCE_SLIDES
    slide = slide_phantom(seed, case_id, shape=shape, site=stained)
    # kept at a quarter of the resolution, as the coarse levels of a pyramid are: the model looks at an eighth
    pixels = _mean_of_blocks(slide.pixels, 4)
    origin = index_at_level0(np.zeros(2), 4) * PIXEL_UM
    grid = Grid.axis_aligned(pixels.shape[:2], (4 * PIXEL_UM, 4 * PIXEL_UM), origin, unit="um")
    labels = slide.labels[2::4, 2::4][: pixels.shape[0], : pixels.shape[1]]
    return [RawCase("slide", pixels, grid, labels, tuple(slide.findings), NO_SPECKS, case_id)]


def _mean_of_blocks(pixels: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    height, width = (size // factor for size in pixels.shape[:2])
    blocks = pixels[: height * factor, : width * factor].reshape(height, factor, width, factor, -1)
    mean: NDArray[np.uint8] = np.rint(blocks.mean(axis=(1, 3), dtype=np.float32)).astype(np.uint8)
    return mean


SetName = Literal[
    "chest-training", "chest-reference", "chest-second", "mammogram-training", "mammogram-reference",
    "mammogram-second", "slide-training", "slide-reference", "slide-second",
]  # fmt: skip

SETS: dict[SetName, Callable[[int], list[RawCase]]] = {
    "chest-training": partial(_chest, "training"),
    "chest-reference": partial(_chest, "reference"),
    "chest-second": partial(_chest, "second"),
    "mammogram-training": partial(_mammograms, "training"),
    "mammogram-reference": partial(_mammograms, "reference"),
    "mammogram-second": partial(_mammograms, "second"),
    "slide-training": partial(_slide, "training", (3072, 3072)),
    "slide-reference": partial(_slide, "reference", (4096, 6144)),
    "slide-second": partial(_slide, "second", (4096, 6144)),
}
"""What can be made: a set's name maps to the function that makes the cases of a seed."""
