"""COCO's twelve figures of boxes and of masks, for each class too, with intervals over patients."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from napari_medlab.annotations.formats import coco_rle
from napari_medlab.errors import InputRefusedError
from napari_medlab.evaluation.bootstrap import Interval, Resampling, percentile_interval
from napari_medlab.evaluation.report import json_interval, json_number

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from napari_medlab.annotations.image_regions import ImageRegions

__all__ = ["FIGURES", "CocoReport", "Kind", "evaluate_coco"]

Kind = Literal["bbox", "segm"]

FIGURES: tuple[str, ...] = (
    "AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl",
)  # fmt: skip
"""The twelve figures in COCO's order."""

ALL, SMALL, MEDIUM, LARGE = range(4)
IOU_50, IOU_75 = 0, 5
"""Positions among COCO's ten overlaps, 0.5 to 0.95."""


class _Slice(NamedTuple):
    """Which part of COCO's arrays a figure is the mean of."""

    name: Literal["precision", "recall"]
    overlap: slice
    area: int
    detections: int


EVERY, AT_50, AT_75 = slice(None), slice(IOU_50, IOU_50 + 1), slice(IOU_75, IOU_75 + 1)
SLICES: dict[str, _Slice] = {
    "AP": _Slice("precision", EVERY, ALL, -1),
    "AP50": _Slice("precision", AT_50, ALL, -1),
    "AP75": _Slice("precision", AT_75, ALL, -1),
    "APs": _Slice("precision", EVERY, SMALL, -1),
    "APm": _Slice("precision", EVERY, MEDIUM, -1),
    "APl": _Slice("precision", EVERY, LARGE, -1),
    "AR1": _Slice("recall", EVERY, ALL, 0),
    "AR10": _Slice("recall", EVERY, ALL, 1),
    "AR100": _Slice("recall", EVERY, ALL, 2),
    "ARs": _Slice("recall", EVERY, SMALL, -1),
    "ARm": _Slice("recall", EVERY, MEDIUM, -1),
    "ARl": _Slice("recall", EVERY, LARGE, -1),
}


@dataclass(frozen=True)
class CocoReport:
    """COCO's figures.

    Parameters
    ----------
    figures : dict of str to float
        By the names in :data:`FIGURES`; nan where there is nothing to measure, such as no large object.
    by_class : dict of str to dict
        The same of each class that the reference names.
    intervals : dict of str to (low, high)
        The 95 % interval of each figure, patients being drawn; empty where none were.
    """

    figures: dict[str, float]
    by_class: dict[str, dict[str, float]]
    intervals: dict[str, Interval] = field(default_factory=dict)

    def as_json(self, *, classes: bool = False) -> dict[str, Any]:
        """Return what ``napari-medlab evaluate coco`` prints; a figure that does not exist is None."""
        document: dict[str, Any] = {name: json_number(value) for name, value in self.figures.items()}
        if self.intervals:
            document["interval"] = {name: json_interval(ends) for name, ends in self.intervals.items()}
        if classes:
            document["classes"] = {
                label: {name: json_number(value) for name, value in figures.items()}
                for label, figures in self.by_class.items()
            }
        return document


def evaluate_coco(
    reference: Sequence[ImageRegions],
    predictions: Sequence[ImageRegions],
    kind: Kind = "bbox",
    *,
    resampling: Resampling | None = None,
    groups: Mapping[str, str] | None = None,
) -> CocoReport:
    """Return COCO's figures of outlines with scores against a reference.

    Parameters
    ----------
    reference, predictions : sequences of ImageRegions
        Images belong together by name; one that has no predictions needs none. Excluded outlines of the reference are
        COCO's crowds. Classes are matched by label.
    kind : {"bbox", "segm"}
        Whether the boxes around the outlines are compared, or their masks.
    resampling : Resampling, optional
        For intervals; none by default. Every replicate is a full evaluation of the images that it drew, without the
        matching, which is done once.
    groups : mapping of str to str, optional
        The patient of each image, where patients have several: patients are drawn.

    Raises
    ------
    InputRefusedError
        With code ``"coco"`` where an image is there twice, predictions are about other images, masks are to be compared
        in an image of unknown size, or a prediction has no score.

    Notes
    -----
    T.-Y. Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014: overlaps from 0.5 to 0.95, 101 levels of
    recall, at most 1, 10 and 100 detections for each image and class, areas up to 32² and 96² pixels. Computed by
    faster-coco-eval, which agrees with pycocotools digit by digit, from what our readers have checked. Masks are made by
    the rule of :func:`~napari_medlab.geometry.rings_to_mask`. The area of an object of the reference, by which it is small,
    medium or large, is the one that its file states, as in pycocotools; where it states none, that of its mask, or, where
    it is a box, that of the box.
    """
    evaluation = _Evaluation(reference, predictions, kind)
    precision, recall = evaluation.accumulated(np.arange(len(reference)))
    whole = {name: _mean(precision, recall, cut, EVERY) for name, cut in SLICES.items()}
    by_class = {
        label: {name: _mean(precision, recall, cut, slice(k, k + 1)) for name, cut in SLICES.items()}
        for k, label in enumerate(evaluation.labels)
    }
    if resampling is None or resampling.replicates == 0:
        return CocoReport(whole, by_class)
    samples = _resampled(evaluation, [image.image for image in reference], resampling, groups or {})
    return CocoReport(
        whole, by_class, {name: percentile_interval(samples[:, n]) for n, name in enumerate(FIGURES)}
    )


def _resampled(
    evaluation: _Evaluation, names: list[str], resampling: Resampling, groups: Mapping[str, str]
) -> NDArray[np.float64]:
    """Return the twelve figures of resampled sets of patients, (replicates, 12)."""
    owners = [("patient", groups[name]) if name in groups else ("image", name) for name in names]
    number = {owner: n for n, owner in enumerate(dict.fromkeys(owners))}
    images_of: list[list[int]] = [[] for _ in number]
    for image, owner in enumerate(owners):
        images_of[number[owner]].append(image)
    rng = np.random.default_rng(resampling.seed)
    samples = np.empty((resampling.replicates, len(FIGURES)))
    for row in samples:
        drawn = [
            image for patient in rng.integers(len(number), size=len(number)) for image in images_of[patient]
        ]
        arrays = evaluation.accumulated(np.asarray(drawn, dtype=np.intp))
        row[:] = [_mean(*arrays, SLICES[name], EVERY) for name in FIGURES]
    return samples


def _mean(precision: NDArray[np.float64], recall: NDArray[np.float64], cut: _Slice, classes: slice) -> float:
    """Return the mean of a part of COCO's arrays; nan where all of it is -1, COCO's mark for nothing to measure."""
    if cut.name == "precision":
        values = precision[cut.overlap, :, classes, cut.area, cut.detections]
    else:
        values = recall[cut.overlap, classes, cut.area, cut.detections]
    known = values[values > -1]
    return float(known.mean()) if known.size else float("nan")


class _Evaluation:
    """Both sets matched by faster-coco-eval, image by image, ready to be accumulated over any of the images."""

    def __init__(
        self, reference: Sequence[ImageRegions], predictions: Sequence[ImageRegions], kind: Kind
    ) -> None:
        from faster_coco_eval import COCO, COCOeval_faster

        _check_images(reference, predictions)
        self.labels = _labels(reference, predictions)
        numbers = {image.image: n for n, image in enumerate(reference, start=1)}
        shapes = {image.image: image.shape for image in reference}
        self._n_images = len(reference)
        truth = COCO(
            {
                "images": [_image_entry(n, shapes[name]) for name, n in numbers.items()],
                "categories": [{"id": k, "name": name} for k, name in enumerate(self.labels, start=1)],
                "annotations": [
                    {"id": n, "iscrowd": crowd, **entry}
                    for n, (entry, crowd, _) in enumerate(
                        self._entries(reference, numbers, shapes, kind), start=1
                    )
                ],
            }
        )
        found = self._entries(predictions, numbers, shapes, kind)
        for entry, _, score in found:
            entry.pop("area")
            entry["score"] = score
        # the areas of predictions are filled in by loadRes
        self._run = COCOeval_faster(
            truth, truth.loadRes([entry for entry, _, _ in found]), iouType=kind, separate_eval=True
        )
        self._run.evaluate()
        cells = len(self.labels) * len(self._run.params.areaRng)
        by_image = np.empty(cells * self._n_images, dtype=np.object_)
        by_image[:] = self._run._evalImgs_cpp
        self._by_image = by_image.reshape(cells, self._n_images)

    def accumulated(self, images: NDArray[np.intp]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return COCO's precision, (10, 101, classes, 4, 3), and recall, (10, classes, 4, 3), over some images."""
        from faster_coco_eval.faster_eval_api_cpp import COCOevalAccumulate

        params = self._run._paramsEval
        params.imgIds = list(range(1, len(images) + 1))
        result = COCOevalAccumulate(params, self._by_image[:, images].ravel().tolist())
        return np.asarray(result["precision"]), np.asarray(result["recall"])

    def _entries(
        self,
        images: Sequence[ImageRegions],
        numbers: Mapping[str, int],
        shapes: Mapping[str, tuple[int, ...] | None],
        kind: Kind,
    ) -> list[tuple[dict[str, Any], int, float]]:
        """Return what COCO calls annotations, with whether each is a crowd, and its score."""
        place = {label: k for k, label in enumerate(self.labels, start=1)}
        as_kind = _mask if kind == "segm" else _box
        entries = []
        for image in images:
            table = image.regions
            categories = [place[table.label_names[label]] for label in table.labels.tolist()]
            columns = zip(
                categories, image.is_excluded.tolist(), table.scores.tolist(), _stated(image), strict=True
            )
            for row, (category, crowd, score, area) in enumerate(columns):
                shape = as_kind(image, row, shapes[image.image])
                entry = {"image_id": numbers[image.image], "category_id": category, **shape}
                entry["area"] = entry["area"] if area is None else area
                entries.append((entry, int(crowd), score))
        return entries


def _stated(image: ImageRegions) -> list[float | None]:
    """Return the area that a file states of each outline; those of other outlines than it had are not used."""
    areas: list[float | None] = image.extra.get("areas", [])
    return areas if len(areas) == len(image) else [None] * len(image)


def _box(image: ImageRegions, row: int, shape: tuple[int, ...] | None) -> dict[str, Any]:
    """Return the box around an outline as x, y, width and height from the image's corner."""
    low, high = np.nan_to_num(image.regions.boxes[row])
    corner, sides = low + 0.5, high - low
    rings = image.regions.region(row).rings
    area = float(sides.prod())
    if shape is not None and not _is_upright(image, row, rings):
        area = _pixels(coco_rle.runs_of_rings(list(rings), _height_and_width(image.image, shape)))
    return {"bbox": [float(corner[1]), float(corner[0]), float(sides[1]), float(sides[0])], "area": area}


def _mask(image: ImageRegions, row: int, shape: tuple[int, ...] | None) -> dict[str, Any]:
    """Return an outline as compressed run lengths."""
    size = _height_and_width(image.image, shape)
    rings = image.regions.region(row).rings
    runs = coco_rle.runs_of_rings(list(rings), size)
    counts = coco_rle.compress(coco_rle.counts_of_runs(runs, size))
    upright = _is_upright(image, row, rings)
    area = float(np.diff(image.regions.boxes[row], axis=0).prod()) if upright else _pixels(runs)
    return {"segmentation": {"size": list(size), "counts": counts}, "area": area}


def _pixels(runs: NDArray[np.int64]) -> float:
    return float(np.diff(runs, axis=1).sum())


def _is_upright(image: ImageRegions, row: int, rings: Sequence[NDArray[np.float64]]) -> bool:
    """Tell whether an outline is a box: one ring of four vertices, each in a corner of the box around it."""
    low, high = image.regions.boxes[row]
    return len(rings) == 1 and len(rings[0]) == 4 and bool(((rings[0] == low) | (rings[0] == high)).all())


def _height_and_width(name: str, shape: tuple[int, ...] | None) -> tuple[int, int]:
    if shape is None:
        raise InputRefusedError(
            f"The size of image {name!r} is unknown, so its outlines have no masks.",
            code="coco",
            hint="State height and width in the reference, or compare boxes.",
        )
    return int(shape[0]), int(shape[1])


def _image_entry(number: int, shape: tuple[int, ...] | None) -> dict[str, int]:
    return (
        {"id": number} if shape is None else {"id": number, "height": int(shape[0]), "width": int(shape[1])}
    )


def _labels(reference: Sequence[ImageRegions], predictions: Sequence[ImageRegions]) -> list[str]:
    """Return the names of all classes: those that the reference lists, then any others."""
    listed = [str(each["name"]) for image in reference[:1] for each in image.extra.get("categories", [])]
    named = sorted({name for image in (*reference, *predictions) for name in image.regions.label_names})
    return list(dict.fromkeys([*listed, *named]))


def _check_images(reference: Sequence[ImageRegions], predictions: Sequence[ImageRegions]) -> None:
    for images in (reference, predictions):
        often = Counter(image.image for image in images)
        if often and often.most_common(1)[0][1] > 1:
            raise _refused(
                f"The image {often.most_common(1)[0][0]!r} is there twice.", "Give each image one entry."
            )
    unknown = {image.image for image in predictions} - {image.image for image in reference}
    if unknown:
        raise _refused(
            f"{len(unknown)} images with predictions are not in the reference, {min(unknown)!r} among them.",
            "Check that these are the predictions for this reference.",
        )
    for image in predictions:
        if np.isnan(image.regions.scores).any():
            raise _refused(
                f"A prediction for image {image.image!r} has no score.", "Give results, not annotations."
            )
    if not reference:
        raise _refused("There is no image in the reference.", "Check that this is the right file.")


def _refused(message: str, hint: str) -> InputRefusedError:
    return InputRefusedError(message, code="coco", hint=hint)
