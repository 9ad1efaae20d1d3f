"""Make the shipped glomerulus segmenter: phantom slides, training, threshold, held-out figures, bundle and card.

Run again by anyone: ``python -m napari_medlab.models.zoo.train_glomeruli --work DIR --out DIR [--real DIR]``. About half
an hour on two cores. ``--real`` names a folder with ``images`` and ``masks`` of PAS-stained kidney, 8 µm a pixel, such as
tiles of HuBMAP's "Hacking the Kidney" (CC BY 4.0). A file's name begins with its slide and an underscore: the tiles of the
first slide are trained on, those of the others are held out.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from napari_medlab.geometry import Grid
from napari_medlab.jobs import CancelToken
from napari_medlab.models.preprocessing import Preprocessing
from napari_medlab.models.training.recipe import FROM_SCRATCH
from napari_medlab.models.training.samplers import PatchSampler
from napari_medlab.models.training.samples import Sample
from napari_medlab.models.zoo.raw_cases import NO_SPECKS, RawCase, raw_cases
from napari_medlab.models.zoo.workshop import (
    Plan,
    ValidationCase,
    arguments,
    common_spec,
    figures_of,
    say,
    shortened,
    trained,
    written,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_medlab.annotations import Candidate
    from napari_medlab.models.bundles import Bundle

FIRST_TRAINING_SEED, TRAINING_SLIDES = 10_000, 32
FIRST_VALIDATION_SEED, VALIDATION_SLIDES = 15_000, 4
FIRST_HELD_OUT_SEED, HELD_OUT_SLIDES = 20_000, 4
SECOND_SITE_SEED = 25_000
REAL_PIXEL_UM = 8.0
REAL_WEIGHT = 3.0
"""How often a real tile is drawn, relative to a phantom slide."""

SPACING_UM = 4.0
PREPROCESSING = Preprocessing(spacing_um=SPACING_UM, kind=("slide", "photo"), channels=3)
PATCH = (192, 192)
PLAN = Plan(
    network={
        "name": "unet",
        "arguments": {"spatial_dims": 2, "in_channels": 3, "classes": 1, "channels": [16, 32, 64, 96]},
    },
    objective={"name": "segmentation", "arguments": {"loss": "bce+dice"}},
    augmentation=[
        {"name": "symmetries", "arguments": {"group": "square"}},
        {"name": "affine", "arguments": {"degrees": 20, "scale": [0.8, 1.25]}, "probability": 0.5},
        {"name": "stain", "arguments": {"spread": 0.3, "shift": 0.03}, "probability": 0.8},
        {"name": "colour", "arguments": {"saturation": 0.3, "balance": 0.1}, "probability": 0.5},
        {"name": "blur", "arguments": {"sigma": [0.3, 1.2]}, "probability": 0.3},
        {"name": "noise", "arguments": {"deviation": 0.02}, "probability": 0.5},
    ],
    recipe=replace(FROM_SCRATCH, steps=1600, batch_size=8),
)
LEAST_UM2 = 2000.0
"""A glomerulus cut in half at the border of the smallest is larger than this."""
LIMITS = (
    "Trained on procedural phantoms and {tiles} small tiles of one real slide: nothing here speaks of clinical accuracy. "
    "Made for PAS-stained kidney; other stains were never seen."
)


def main(given: Sequence[str] | None = None) -> None:
    """Make the bundle."""
    options = arguments(__doc__, given, real="folder of real tiles, with images and masks")
    plan = replace(PLAN, recipe=replace(PLAN.recipe, steps=shortened(PLAN.recipe.steps, options.share)))
    count = shortened(TRAINING_SLIDES, options.share)
    phantoms = raw_cases(
        options.work / "raw", "slide-training", range(FIRST_TRAINING_SEED, FIRST_TRAINING_SEED + count)
    )
    seen, unseen = real_tiles(options.real) if options.real else ([], [])
    say(
        f"{len(phantoms)} phantom slides and {len(seen)} real tiles to train on, {len(unseen)} real ones held out"
    )
    samples = [sample_of(case) for case in phantoms] + [
        replace(sample_of(case), weight=REAL_WEIGHT) for case in seen
    ]
    weights = trained(options.work / "glomeruli.safetensors", plan, lambda: PatchSampler(samples, PATCH))
    spec = _spec(plan, count, seen)
    threshold = _threshold(options.work, written(options.work, spec, weights))
    spec["postprocessing"] = {**spec["postprocessing"], "threshold": threshold}
    draft = written(options.work, spec, weights)
    bundle = written(options.out, {**spec, "figures": _all_figures(options.work, draft, unseen)}, weights)
    say(f"written: {bundle.folder}")


def sample_of(case: RawCase) -> Sample:
    """Return a slide as the network sees it, with the mask of its glomeruli and a box around each."""
    prepared = PREPROCESSING.prepare(case.image)
    image = prepared.read((0, 0), prepared.shape)
    labels = labels_on(case, prepared.grid)
    boxes = [
        [*(np.min(at, axis=1) - 0.5), *(np.max(at, axis=1) + 0.5)]
        for number in np.unique(labels[labels > 0])
        for at in [np.nonzero(labels == number)]
    ]
    array = np.asarray(boxes, np.float32).reshape(-1, 4)
    return Sample(
        image.astype(np.float16), array, np.zeros(len(array), np.int64), np.zeros(len(array), np.bool_),
        mask=(labels > 0).astype(np.uint8)[None], group=case.group,
    )  # fmt: skip


def labels_on(case: RawCase, grid: Grid) -> NDArray[Any]:
    """Return the truth of a case on another lattice, the nearest pixel's."""
    index = np.stack(np.meshgrid(*(np.arange(n) for n in grid.shape), indexing="ij"), axis=-1).reshape(-1, 2)
    nearest = np.rint(case.grid.to_index(grid.to_world(index))).astype(np.intp)
    nearest = np.clip(nearest, 0, np.asarray(case.labels.shape) - 1)
    found: NDArray[Any] = case.labels[tuple(nearest.T)].reshape(grid.shape)
    return found


def real_tiles(folder: Path) -> tuple[list[RawCase], list[RawCase]]:
    """Return the tiles of the first slide, and those of the others."""
    from skimage.measure import label

    from napari_medlab.images import open_image

    tiles: dict[str, list[RawCase]] = {}
    for path in sorted((folder / "images").iterdir()):
        pixels = open_image(path).decoded()
        mask = open_image(folder / "masks" / path.name).decoded()
        truth = label(mask.reshape(*pixels.shape[:2], -1).any(axis=-1), connectivity=1)
        grid = Grid.axis_aligned(pixels.shape[:2], (REAL_PIXEL_UM,) * 2, unit="um")
        slide = path.name.partition("_")[0]
        tiles.setdefault(slide, []).append(RawCase("slide", pixels, grid, truth, (), NO_SPECKS, slide))
    first, *others = tiles.values()
    return first, [case for cases in others for case in cases]


class Answer(NamedTuple):
    """What the segmenter says of a case: probabilities 0 … 255 and the truth, both (y, x) on ``grid``; and the objects."""

    probabilities: NDArray[np.uint8]
    labels: NDArray[Any]
    grid: Grid
    found: list[Candidate]


def _answers(work: Path, bundle: Bundle, cases: Sequence[RawCase]) -> list[Answer]:
    """Run the segmenter as the window runs it."""
    from napari_medlab.models.inference.mask_store import MaskStore
    from napari_medlab.models.predicting.placing import Wanted
    from napari_medlab.models.predicting.segmenter import BundleSegmenter
    from napari_medlab.protocols import Batch

    model = BundleSegmenter(bundle, Wanted())
    answers = []
    with TemporaryDirectory(dir=work) as folder:
        for number, case in enumerate(cases):
            store = Path(folder) / f"{number}.zarr"
            parts = list(model.segment(case.image, str(number), store, CancelToken()))
            found = [candidate for part in parts if isinstance(part, Batch) for candidate in part.candidates]
            mask = MaskStore.open(store)
            probabilities = mask.read((0, 0), mask.grid.shape)[0]
            answers.append(Answer(probabilities, labels_on(case, mask.grid), mask.grid, found))
    return answers


def _threshold(work: Path, draft: Bundle) -> float:
    """Return the threshold with the best Dice on slides that are neither trained on nor held out."""
    from napari_medlab.models.segmentation.threshold import ThresholdSearch

    seeds = range(FIRST_VALIDATION_SEED, FIRST_VALIDATION_SEED + VALIDATION_SLIDES)
    search = ThresholdSearch(1)
    for answer, seed in zip(
        _answers(work, draft, raw_cases(work / "raw", "slide-training", seeds)), seeds, strict=True
    ):
        case = ValidationCase(str(seed), f"phantom {seed}")
        search.add(case, answer.probabilities[None], (answer.labels > 0)[None])
    best = search.best()[0]
    say(f"threshold {best.threshold:.3f}, Dice {best.value:.3f} on validation slides")
    return round(best.threshold, 4)


def _all_figures(work: Path, draft: Bundle, real: Sequence[RawCase]) -> dict[str, Any]:
    """Return the figures on phantoms of both laboratories and on the real tiles held out."""
    shown = {}
    sets = [
        (site, raw_cases(work / "raw", name, range(first, first + HELD_OUT_SLIDES)))  # type: ignore[arg-type]
        for site, name, first in (("reference site", "slide-reference", FIRST_HELD_OUT_SEED),
                                  ("second site", "slide-second", SECOND_SITE_SEED))
    ]  # fmt: skip
    for site, cases in [*sets, *([("real tiles of slides not trained on", real)] if real else [])]:
        shown[site] = figures(work, draft, cases)
        say(f"{site}: {shown[site]}")
    return shown


def figures(work: Path, bundle: Bundle, cases: Sequence[RawCase]) -> dict[str, Any]:
    """Return Dice and the objects found and invented on some cases, and LUNA16's figures where their findings are known."""
    answers = _answers(work, bundle, cases)
    shown = _overlap(answers, bundle.postprocessing["threshold"])
    if cases[0].findings:
        findings = [replace(f, case_id=str(n)) for n, case in enumerate(cases) for f in case.findings]
        found = figures_of(findings, [c for answer in answers for c in answer.found], cases)
        shown |= {key: found[key] for key in ("cpm", "cpm_interval", "found_at_any_score")}
    return shown


def _overlap(answers: Sequence[Answer], threshold: float) -> dict[str, Any]:
    """Return Dice over all pixels, the least Dice of a case that holds an object, and objects without any truth below."""
    counts, invented = np.zeros((len(answers), 3)), 0
    for row, answer in enumerate(answers):
        inside, truth = answer.probabilities >= threshold * 255, answer.labels > 0
        counts[row] = (inside & truth).sum(), inside.sum(), truth.sum()
        centres = np.asarray([c.centre for c in answer.found], dtype=np.float64).reshape(-1, 2)
        index = np.rint(answer.grid.to_index(centres)).astype(np.intp).clip(0, np.asarray(truth.shape) - 1)
        invented += int((~truth[tuple(index.T)]).sum())
    drawn = np.random.default_rng(0).integers(len(answers), size=(1000, len(answers)))
    low, high = np.quantile(_dice(counts[drawn].sum(axis=1)), [0.025, 0.975])
    return {
        "Dice": round(float(_dice(counts.sum(axis=0))), 3),
        "Dice_interval": [round(float(low), 3), round(float(high), 3)],
        "Dice of the worst case": round(float(_dice(counts[counts[:, 2] > 0]).min()), 3),
        "cases": len(answers),
        "objects": sum(len(np.unique(answer.labels)) - 1 for answer in answers),
        "proposed": sum(len(answer.found) for answer in answers),
        "proposed where none is": invented,
    }


def _dice(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Dice for counts of pixels in both, found, and true (…, 3)."""
    dice: NDArray[np.float64] = 2 * counts[..., 0] / np.maximum(counts[..., 1] + counts[..., 2], 1)
    return dice


def _spec(plan: Plan, count: int, seen: Sequence[RawCase]) -> dict[str, Any]:
    data = [f"{count} kidney slides, phantoms, seeds from {FIRST_TRAINING_SEED}"]
    if seen:
        data.append(
            f'{len(seen)} tiles of slide {seen[0].group}, HuBMAP "Hacking the Kidney" (CC BY 4.0), 8 µm a pixel'
        )
    return {
        **common_spec("glomeruli", "segmentation", {"glomeruli": plan}, data),
        "preprocessing": PREPROCESSING.as_json(),
        "tiling": {"core": [512, 512], "halo": 64, "batch": 2, "skip": {"rule": "glass"}},
        "postprocessing": {"threshold": 0.5, "least_area_um2": LEAST_UM2},
        "classes": ["glomerulus"],
        "figures": {},
        "purpose": "Outlines glomeruli on PAS-stained kidney: a small 2D U-Net that reads a slide at 4 µm a pixel.",
        "limits": LIMITS.format(tiles=len(seen) or "no"),
    }


if __name__ == "__main__":
    main()
