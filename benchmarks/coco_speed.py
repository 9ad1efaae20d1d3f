"""COCO's figures of boxes and of masks: ours against pycocotools, with the same numbers coming out.

Run as ``python benchmarks/coco_speed.py``: 500 images with 20 objects each, and as many predictions and a half again. Ours
begins with outlines, as they come out of a file; pycocotools with the dictionaries that it wants. Rectangles on whole pixels
are the same mask by every rule, so that all twelve figures have to agree; round outlines, which every tool fills by a rule of
its own, are timed alone, and so are such with holes beside rectangles. Last, the images grow tenfold.
"""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

import numpy as np
from figures import Figure, Goal, Growth
from measuring import Record, arguments, recording, seconds_of

from napari_medlab.annotations import RegionTable
from napari_medlab.annotations.image_regions import ImageRegions
from napari_medlab.evaluation.coco import FIGURES, Kind, evaluate_coco

if TYPE_CHECKING:
    from numpy.typing import NDArray

AREA = "Evaluation"
IMAGES, OBJECTS, SIDE, ROUNDS = 500, 20, 512, 3
LABELS = ("nodule", "mass")
ROUND, HOLED = 24, 30
"""Corners of a round outline, and of one with a hole."""


def main() -> None:
    """Measure boxes and masks."""
    options = arguments(__doc__).parse_args()
    images = IMAGES // 10 if options.quick else IMAGES
    with recording(__file__, options) as record:
        reference, predictions = study(images)
        against_pycocotools(record, "bbox", reference, predictions)
        against_pycocotools(record, "segm", reference, predictions)
        for name, corners in (("round outlines", ROUND), ("outlines with holes beside rectangles", HOLED)):
            against_pycocotools(record, "segm", *study(images, corners), only_timed=name)
        sizes = (images // 10, images, images * 10)
        took = tuple(best_of(*study(size)) for size in sizes)
        record.add(Growth(AREA, "COCO's figures of boxes", "s", "images", "n", sizes, took))


def best_of(reference: list[ImageRegions], predictions: list[ImageRegions]) -> float:
    """Return the shortest of several times that the figures of boxes took."""
    return min(seconds_of(lambda: evaluate_coco(reference, predictions)) for _ in range(ROUNDS))


def study(images: int, corners: int = 4) -> tuple[list[ImageRegions], list[ImageRegions]]:
    """Return objects on every image, and predictions of which two thirds lie on one.

    Parameters
    ----------
    images : how many
    corners : of every outline; those with four are rectangles on whole pixels, and of those with thirty every other one is
        a rectangle, and the others have holes
    """
    rng = np.random.default_rng(0)
    reference, predictions = [], []
    for number in range(images):
        centres, labels = rng.uniform(45, SIDE - 45, (OBJECTS, 2)), rng.integers(0, len(LABELS), OBJECTS)
        radii = rng.uniform(5, 40, (OBJECTS, 2)) if corners == 4 else rng.uniform(5, 40, (OBJECTS, 1))
        places = np.concatenate(
            [centres + rng.normal(0, 2, centres.shape), rng.uniform(45, SIDE - 45, (OBJECTS // 2, 2))]
        )
        again = np.arange(len(places)) % OBJECTS
        reference.append(
            image_of(number, outlines(centres, radii, corners), labels, np.full(OBJECTS, np.nan))
        )
        found = outlines(places, 1.05 * radii[again], corners)
        predictions.append(image_of(number, found, labels[again], rng.random(len(places))))
    return reference, predictions


def outlines(
    centres: NDArray[np.float64], radii: NDArray[np.float64], corners: int
) -> list[list[NDArray[np.float64]]]:
    """Return the rings (corner, axis) of each object as indices of pixels, (y, x)."""
    signs = np.asarray([[-1.0, -1.0], [-1.0, 1.0], [1.0, 1.0], [1.0, -1.0]])
    rectangles = np.rint(centres[:, None] + radii[:, None] * signs) - 0.5
    if corners == len(signs):
        return [[ring] for ring in rectangles]
    angle = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    circle = radii[:, None] * np.stack([np.sin(angle), np.cos(angle)], axis=1)
    if corners == ROUND:
        return [[ring] for ring in centres[:, None] + circle]
    holed = [[centre + ring, centre + ring / 2] for centre, ring in zip(centres, circle, strict=True)]
    return [[rectangles[k]] if k % 2 else holed[k] for k in range(len(centres))]


def image_of(
    number: int,
    rings: list[list[NDArray[np.float64]]],
    labels: NDArray[np.int64],
    scores: NDArray[np.float64],
) -> ImageRegions:
    """Return the outlines of one image."""
    count = len(rings)
    ids = np.char.mod(f"{number}-%d", np.arange(count)).astype("S32")
    every = [ring for several in rings for ring in several]
    table = RegionTable(
        f"image{number}", ids, ids, labels.astype(np.int32), LABELS, scores, np.cumsum([0, *map(len, rings)]),
        np.cumsum([0, *map(len, every)]), np.concatenate(every),
    )  # fmt: skip
    return ImageRegions(table.case_id, table, np.zeros(count, np.bool_), (SIDE, SIDE))


def against_pycocotools(
    record: Record,
    kind: Kind,
    reference: list[ImageRegions],
    predictions: list[ImageRegions],
    *,
    only_timed: str = "",
) -> None:
    """Time both in turns, and compare the twelve figures where they have to agree: unless outlines are only timed."""
    truth, found = as_coco(reference), as_coco(predictions)
    turns: dict[str, list[float]] = {"ours": [], "pycocotools": []}
    ours: dict[str, float] = {}
    theirs: list[float] = []
    evaluate_coco(reference[:2], predictions[:2], kind)  # what is imported late is here now
    for _ in range(ROUNDS):
        turns["ours"].append(
            seconds_of(lambda: ours.update(evaluate_coco(reference, predictions, kind).figures))
        )
        turns["pycocotools"].append(
            seconds_of(lambda: theirs.__setitem__(slice(None), by_pycocotools(kind, truth, found)))
        )
    name = f"masks of {only_timed}" if only_timed else "boxes" if kind == "bbox" else "rectangular masks"
    about = f"{len(reference)} images with {OBJECTS} objects each"
    record.add(Figure.of_turns(AREA, f"COCO's figures of {name}", turns, "s", Goal(1.0, "ratio"), how=about))
    if not only_timed:
        far = max(
            abs(ours[figure] - value) for figure, value in zip(FIGURES, theirs, strict=True) if value >= 0
        )
        record.add(
            Figure(
                AREA, f"… their largest difference from pycocotools, {name}", far, "", Goal(1e-6), how=about
            )
        )


def as_coco(images: list[ImageRegions]) -> dict[str, Any]:
    """Return outlines as COCO writes them, counted from pixels' corners."""
    annotations: list[dict[str, Any]] = []
    for number, image in enumerate(images):
        for row in range(len(image)):
            rings = [ring[:, ::-1] + 0.5 for ring in image.regions.region(row).rings]
            low, size = rings[0].min(axis=0), np.ptp(rings[0], axis=0)
            annotations.append({
                "id": len(annotations) + 1, "image_id": number, "category_id": int(image.regions.labels[row]), "iscrowd": 0,
                "bbox": [*low.tolist(), *size.tolist()], "area": float(size.prod()), "score": float(image.regions.scores[row]),
                "segmentation": [ring.ravel().tolist() for ring in rings],
            })  # fmt: skip
    return {
        "images": [{"id": number, "width": SIDE, "height": SIDE} for number in range(len(images))],
        "categories": [{"id": at, "name": label} for at, label in enumerate(LABELS)],
        "annotations": annotations,
    }


def by_pycocotools(kind: Kind, truth: dict[str, Any], found: dict[str, Any]) -> list[float]:
    """Return the twelve figures by the reference implementation."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    reference, predictions = COCO(), COCO()
    with redirect_stdout(io.StringIO()):
        for coco, document in ((reference, truth), (predictions, found)):
            coco.dataset = document
            coco.createIndex()
        evaluation = COCOeval(reference, predictions, kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return [float(value) for value in evaluation.stats]


if __name__ == "__main__":
    main()
