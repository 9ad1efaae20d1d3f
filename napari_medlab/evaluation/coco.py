"""COCO's twelve figures of boxes and of masks, for each class too, with intervals over patients."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from napari_medlab.annotations.formats.outline_runs import OutlineRuns, runs_of_outlines
from napari_medlab.errors import InputRefusedError
from napari_medlab.evaluation.bootstrap import Interval, Resampling, percentile_interval
from napari_medlab.evaluation.report import json_interval, json_number
from napari_medlab.jobs import CancelToken
from napari_medlab.jobs.results import results_of
from napari_medlab.jobs.spreading import Task

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from napari_medlab.annotations import RegionTable
    from napari_medlab.annotations.image_regions import ImageRegions
    from napari_medlab.jobs.spreading import Spread, Tell

__all__ = ["FIGURES", "CocoReport", "Kind", "evaluate_coco", "figures_of_draws", "shapes_of_images"]

Kind = Literal["bbox", "segm"]
Size = tuple[int, ...] | None
"""Of an image, in array order; None where no file states it."""

FIGURES: tuple[str, ...] = (
    "AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl",
)  # fmt: skip
"""The twelve figures in COCO's order."""

IMAGES_AT_ONCE = 64
"""The outlines of so many images are one piece of work."""
DRAWS_AT_ONCE = 16

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
        matching, which is done once. Its ``spread`` makes the masks, too, some images at a time.
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
    evaluation = _Evaluation(reference, predictions, kind, (resampling or Resampling(0)).spread)
    precision, recall = _accumulated(evaluation.matched, np.arange(len(reference)))
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
    drawn = [
        [image for patient in rng.integers(len(number), size=len(number)) for image in images_of[patient]]
        for _ in range(resampling.replicates)
    ]
    tasks = [
        Task(str(start), {"matched": evaluation.matched, "drawn": drawn[start : start + DRAWS_AT_ONCE]})
        for start in range(0, resampling.replicates, DRAWS_AT_ONCE)
    ]
    samples = np.empty((resampling.replicates, len(FIGURES)))
    with results_of(resampling.spread, figures_of_draws, tasks, CancelToken()) as results:
        for start, figures in results:
            samples[int(start) : int(start) + len(figures)] = figures
    return samples


def figures_of_draws(request: dict[str, Any], cancel: CancelToken, tell: Tell) -> NDArray[np.float64]:
    """Return the twelve figures of some draws of images, (draws, 12).

    Parameters
    ----------
    request : dict
        ``matched``, what came of the matching, and ``drawn``, the images of each draw by their numbers from 0.
    cancel : CancelToken
    tell : callable
    """
    figures = []
    for drawn in request["drawn"]:
        cancel.check()
        arrays = _accumulated(request["matched"], np.asarray(drawn, dtype=np.intp))
        figures.append([_mean(*arrays, SLICES[name], EVERY) for name in FIGURES])
    return np.asarray(figures, dtype=np.float64)


def shapes_of_images(request: dict[str, Any], cancel: CancelToken, tell: Tell) -> list[list[dict[str, Any]]]:
    """Return the boxes or masks of the outlines of some images as COCO writes them, with their areas.

    Parameters
    ----------
    request : dict
        ``images``, each with its size, ``kind``, and ``is_reference``, as the area of a prediction is that of what is
        compared, box or mask.
    cancel : CancelToken
    tell : callable
    """
    cancel.check()
    as_kind = _masks if request["kind"] == "segm" else _boxes
    return as_kind(request["images"], request["is_reference"])


def _mean(precision: NDArray[np.float64], recall: NDArray[np.float64], cut: _Slice, classes: slice) -> float:
    """Return the mean of a part of COCO's arrays; nan where all of it is -1, COCO's mark for nothing to measure."""
    if cut.name == "precision":
        values = precision[cut.overlap, :, classes, cut.area, cut.detections]
    else:
        values = recall[cut.overlap, classes, cut.area, cut.detections]
    known = values[values > -1]
    return float(known.mean()) if known.size else float("nan")


class _Matched(NamedTuple):
    """What came of matching: the settings, and the outcome of each class and range of areas, (cells, images)."""

    params: Any
    by_image: NDArray[np.object_]


def _accumulated(
    matched: _Matched, images: NDArray[np.intp]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return COCO's precision, (10, 101, classes, 4, 3), and recall, (10, classes, 4, 3), over some images."""
    from faster_coco_eval.faster_eval_api_cpp import COCOevalAccumulate

    params = matched.params
    params.imgIds = list(range(1, len(images) + 1))
    result = COCOevalAccumulate(params, matched.by_image[:, images].ravel().tolist())
    return np.asarray(result["precision"]), np.asarray(result["recall"])


class _Evaluation:
    """Both sets matched by faster-coco-eval, image by image, ready to be accumulated over any of the images."""

    def __init__(
        self,
        reference: Sequence[ImageRegions],
        predictions: Sequence[ImageRegions],
        kind: Kind,
        spread: Spread,
    ) -> None:
        from faster_coco_eval import COCO, COCOeval_faster

        _check_images(reference, predictions)
        self.labels = _labels(reference, predictions)
        self._numbers = {image.image: n for n, image in enumerate(reference, start=1)}
        self._shapes = {image.image: image.shape for image in reference}
        self._kind, self._spread = kind, spread
        dataset = {
            "images": [_image_entry(n, self._shapes[name]) for name, n in self._numbers.items()],
            "categories": [{"id": k, "name": name} for k, name in enumerate(self.labels, start=1)],
        }
        truth, found = (
            COCO({**dataset, "annotations": self._entries(images, is_reference)})
            for images, is_reference in ((reference, True), (predictions, False))
        )
        run = COCOeval_faster(truth, found, iouType=kind, separate_eval=True)
        run.evaluate()
        cells = len(self.labels) * len(run.params.areaRng)
        by_image = np.empty(cells * len(reference), dtype=np.object_)
        by_image[:] = run._evalImgs_cpp
        self.matched = _Matched(run._paramsEval, by_image.reshape(cells, len(reference)))

    def _entries(self, images: Sequence[ImageRegions], is_reference: bool) -> list[dict[str, Any]]:
        """Return what COCO calls annotations; those of predictions have scores, and none is a crowd."""
        place = {label: k for k, label in enumerate(self.labels, start=1)}
        entries: list[dict[str, Any]] = []
        for image, outlined in zip(images, self._outlined(images, is_reference), strict=True):
            table, number = image.regions, self._numbers[image.image]
            places = [place[name] for name in table.label_names]
            stated = _stated(image) if is_reference else [None] * len(image)
            crowds = (image.is_excluded & is_reference).astype(np.int64).tolist()
            columns = zip(table.labels.tolist(), crowds, table.scores.tolist(), stated, outlined, strict=True)
            for label, crowd, score, area, shape in columns:
                entry = {
                    **shape, "id": len(entries) + 1, "image_id": number, "category_id": places[label], "iscrowd": crowd,
                }  # fmt: skip
                if area is not None:
                    entry["area"] = area
                if not is_reference:
                    entry["score"] = score
                entries.append(entry)
        return entries

    def _outlined(self, images: Sequence[ImageRegions], is_reference: bool) -> list[list[dict[str, Any]]]:
        """Return the boxes or masks of the outlines of each image."""
        sized = [(image, self._shapes[image.image]) for image in images]
        about = {"kind": self._kind, "is_reference": is_reference}
        tasks = [
            Task(str(first), {"images": sized[first : first + IMAGES_AT_ONCE], **about})
            for first in range(0, len(sized), IMAGES_AT_ONCE)
        ]
        with results_of(self._spread, shapes_of_images, tasks, CancelToken()) as results:
            made = dict(results)
        return [outlined for task in tasks for outlined in made[task.key]]


def _stated(image: ImageRegions) -> list[float | None]:
    """Return the area that a file states of each outline; those of other outlines than it had are not used."""
    areas: list[float | None] = image.extra.get("areas", [])
    return areas if len(areas) == len(image) else [None] * len(image)


def _boxes(sized: Sequence[tuple[ImageRegions, Size]], is_reference: bool) -> list[list[dict[str, Any]]]:
    """Return the boxes around the outlines of images as x, y, width and height from the image's corner."""
    unmeasured = [_unmeasured(image, size) if is_reference else np.zeros(0, np.intp) for image, size in sized]
    tables = [image.regions.where(rows) for (image, _), rows in zip(sized, unmeasured, strict=True)]
    runs = _runs(tables, [size[:2] if size else (0, 0) for _, size in sized])
    found = []
    for (image, _), rows, pixels in zip(sized, unmeasured, _by_image(runs.pixels, tables), strict=True):
        low, high = np.nan_to_num(image.regions.boxes).transpose(1, 0, 2)
        sides = high - low
        areas = sides.prod(axis=1)
        areas[rows] = pixels
        boxes = np.concatenate([low[:, ::-1] + 0.5, sides[:, ::-1]], axis=1).tolist()
        found.append([{"bbox": box, "area": area} for box, area in zip(boxes, areas.tolist(), strict=True)])
    return found


def _masks(sized: Sequence[tuple[ImageRegions, Size]], is_reference: bool) -> list[list[dict[str, Any]]]:
    """Return the outlines of images as compressed run lengths."""
    sizes = [_height_and_width(image, size) for image, size in sized]
    tables = [image.regions for image, _ in sized]
    runs = _runs(tables, sizes)
    texts = iter(runs.compressed())
    found = []
    for table, size, pixels in zip(tables, sizes, _by_image(runs.pixels, tables), strict=True):
        areas = pixels.astype(np.float64)
        if is_reference:
            upright = _are_upright(table)
            areas[upright] = np.diff(table.boxes[upright], axis=1).prod(axis=(1, 2))
        found.append([
            {"segmentation": {"size": [*size], "counts": next(texts)}, "area": area} for area in areas.tolist()
        ])  # fmt: skip
    return found


def _unmeasured(image: ImageRegions, size: Size) -> NDArray[np.intp]:
    """Return which outlines of the reference have the area of their mask: no file states it, and they are no boxes."""
    is_stated = np.asarray([area is not None for area in _stated(image)], dtype=np.bool_)
    return np.flatnonzero(~is_stated & ~_are_upright(image.regions) & (size is not None))


def _are_upright(table: RegionTable) -> NDArray[np.bool_]:
    """Tell which outlines are boxes: one ring of four vertices, each in a corner of the box around it."""
    starts = table.ring_starts[table.region_rings]
    are = (np.diff(table.region_rings) == 1) & (np.diff(starts) == 4)
    rings = table.vertices[starts[:-1][are][:, None] + np.arange(4)]
    low, high = table.boxes[are, :1], table.boxes[are, 1:]
    are[are] = ((rings == low) | (rings == high)).all(axis=(1, 2))
    return np.asarray(are, dtype=np.bool_)


def _runs(tables: Sequence[RegionTable], sizes: Sequence[tuple[int, ...]]) -> OutlineRuns:
    """Return the runs of the outlines of several images."""
    return runs_of_outlines(
        np.concatenate([table.vertices for table in tables]),
        _chained([table.ring_starts for table in tables]),
        _chained([table.region_rings for table in tables]),
        np.repeat(np.asarray(sizes, dtype=np.int64), [len(table) for table in tables], axis=0),
    )


def _chained(starts: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Return where each piece begins when what several columns tell of lies one after the other."""
    counts = np.concatenate([np.diff(column) for column in starts])
    return np.concatenate([[0], np.cumsum(counts)])


def _by_image(values: NDArray[np.int64], tables: Sequence[RegionTable]) -> list[NDArray[np.int64]]:
    return np.split(values, np.cumsum([len(table) for table in tables])[:-1])


def _height_and_width(image: ImageRegions, size: Size) -> tuple[int, int]:
    if size is None:
        if len(image) == 0:
            return 0, 0
        raise InputRefusedError(
            f"The size of image {image.image!r} is unknown, so its outlines have no masks.",
            code="coco",
            hint="State height and width in the reference, or compare boxes.",
        )
    return int(size[0]), int(size[1])


def _image_entry(number: int, shape: Size) -> dict[str, int]:
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
