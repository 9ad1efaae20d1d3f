"""Look before you train: what a package would hold, in numbers that show a wrong choice before hours are spent on it."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.geometry import Grid
from napari_medlab.jobs import CancelToken
from napari_medlab.models.training.data_summary import smallest_anchor
from napari_medlab.models.workflows.hard_choosing import HardOptions, choose_examples
from napari_medlab.models.workflows.hard_cutting import ExampleCutter
from napari_medlab.models.workflows.hard_splitting import Side, sides_of_chosen
from napari_medlab.models.workflows.hard_thumbnails import picture_of, thumbnail
from napari_medlab.models.workflows.sample_known import CaseReader

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from napari_medlab.hardcases.mining import Chosen, Example
    from napari_medlab.models.bundles import Bundle
    from napari_medlab.models.preprocessing import Preprocessing
    from napari_medlab.models.training.parts import BundlePart
    from napari_medlab.models.workflows.hard_cutting import CutExample
    from napari_medlab.project import CaseRecord, Project

    Watch = tuple[Callable[[int, int], None] | None, Callable[[], None]]

__all__ = ["ALIKE", "AlikePair", "BoxSizes", "Intensity", "Look", "look_before"]

SITES = ("site", "scanner", "institution", "manufacturer")
"""The free columns of a case that may say where an image was made, the first that there is."""

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
BINS = 32
ALIKE = 0.99
"""Examples whose thumbnails correlate more than this are near-duplicates."""
MOST_LOOKED_AT = 160
PICTURES = 12
NOTHING = "none"


@dataclass(frozen=True, eq=False)
class BoxSizes:
    """How large the findings in the crops are, as the sides of squares or cubes of their size.

    Parameters
    ----------
    before, after : float64 arrays (n,)
        In pixels of the images, and in voxels of the model's lattice, which is after any resize.
    smallest_anchor : float or None
        In voxels of the lattice; None for a model without anchors.
    """

    before: NDArray[np.float64]
    after: NDArray[np.float64]
    smallest_anchor: float | None = None

    @property
    def share_below(self) -> float | None:
        """The share of findings that are smaller than the smallest anchor; None without anchors or findings."""
        if self.smallest_anchor is None or not len(self.after):
            return None
        return float((self.after < self.smallest_anchor).mean())

    def as_json(self) -> dict[str, Any]:
        """Return the least, the median and the greatest of both, and what falls below the smallest anchor."""
        told: dict[str, Any] = {"findings": len(self.after)}
        for name, sizes in (("before", self.before), ("after", self.after)):
            if len(sizes):
                told[name] = [
                    round(float(value), 2) for value in (sizes.min(), np.median(sizes), sizes.max())
                ]
        if self.smallest_anchor is not None:
            told |= {"smallest_anchor": round(self.smallest_anchor, 2), "share_below": self.share_below}
        return told


@dataclass(frozen=True, eq=False)
class Intensity:
    """What values the crops of one site have, as the model sees them.

    Parameters
    ----------
    crops : int
    quantiles : float64 array (5,)
        At 5, 25, 50, 75 and 95 percent.
    histogram : float64 array (32,)
        Shares of all voxels, between ``edges[0]`` and ``edges[1]``.
    edges : (float, float)
    """

    crops: int
    quantiles: NDArray[np.float64]
    histogram: NDArray[np.float64]
    edges: tuple[float, float]


@dataclass(frozen=True)
class AlikePair:
    """Two examples on different sides of the split that look the same.

    Parameters
    ----------
    first, second : Example
        The one to train on, and the one to validate on.
    likeness : float
        The correlation of their thumbnails.
    """

    first: Example
    second: Example
    likeness: float


@dataclass(frozen=True, eq=False)
class Look:
    """What there is to see before a package is written.

    Parameters
    ----------
    chosen : Chosen
    classes : mapping of str to mapping of str to int
        For each side of the split how many examples are about each class, and about none.
    boxes : BoxSizes
    intensity : mapping of str to Intensity
        By site; empty where no pixels were looked at.
    alike : tuple of AlikePair
        The most alike first.
    pictures : tuple of (Example, uint8 array (y, x) or (y, x, 3))
    looked_at : int
        How many examples were cut to look at their pixels.
    """

    chosen: Chosen
    classes: Mapping[str, Mapping[str, int]]
    boxes: BoxSizes
    intensity: Mapping[str, Intensity] = field(default_factory=dict)
    alike: tuple[AlikePair, ...] = ()
    pictures: tuple[tuple[Example, NDArray[np.uint8]], ...] = ()
    looked_at: int = 0

    def as_json(self) -> dict[str, Any]:
        """Return the figures as plain JSON values."""
        return {
            **self.chosen.as_json(),
            "classes": {side: dict(counts) for side, counts in self.classes.items()},
            "boxes": self.boxes.as_json(),
            "looked_at": self.looked_at,
            "intensity": {
                site: {
                    "crops": one.crops,
                    **{
                        f"p{round(100 * q)}": round(float(value), 4)
                        for q, value in zip(QUANTILES, one.quantiles, strict=True)
                    },
                }
                for site, one in self.intensity.items()
            },
            "alike": [
                {"train": pair.first.case_id, "validation": pair.second.case_id, "likeness": round(pair.likeness, 4),
                 "centres": [list(pair.first.centre), list(pair.second.centre)]}
                for pair in self.alike
            ],
        }  # fmt: skip


def look_before(
    project: Project, run_id: str, bundle: Bundle, options: HardOptions | None = None, *,
    most: int = MOST_LOOKED_AT, watch: Watch | None = None,
) -> Look:  # fmt: skip
    """Return what a package would hold, before it is written.

    Parameters
    ----------
    project : Project
    run_id : str
    bundle : Bundle
        The model that the package is for.
    options : HardOptions, optional
    most : int
        The pixels of at most so many examples are looked at, of all cases alike; 0 for numbers alone, which takes no time.
    watch : (on_progress, stop), optional
        Called with the examples looked at and how many will be; and before each, to raise where nobody wants to know any more.

    Raises
    ------
    InputRefusedError, ImageRefusedError, ProjectError, CancelledError
        As :func:`~napari_medlab.models.workflows.hard_examples.export_hard_examples` does.
    """
    asked, (on_progress, stop) = options or HardOptions(), watch or (None, CancelToken().check)
    chosen = choose_examples(project, run_id, asked, bundle=bundle, watch=(None, stop))
    sides = sides_of_chosen(project, chosen, asked)
    cutter, reader = ExampleCutter(bundle, asked, stop), CaseReader(project, run_id)
    cases = {case_id: project.case(case_id) for case_id in chosen.case_ids}
    boxes = _box_sizes(project, chosen, cutter, cases)
    classes = _class_counts(project, chosen, sides)
    looked_at = _spread(chosen.examples, most)
    pixels = _Pixels(cases, sides)
    done = 0
    for case_id in dict.fromkeys(one.case_id for one in looked_at):
        of_case = [one for one in looked_at if one.case_id == case_id]
        for cut in cutter.cut(reader.known(cases[case_id]), of_case):
            pixels.add(cut)
        done += len(of_case)
        if on_progress is not None:
            on_progress(done, len(looked_at))
    return Look(
        chosen, classes, boxes, pixels.intensity(), pixels.alike(), tuple(pixels.pictures), pixels.count
    )


class _Pixels:
    """Gathers what is kept of the pixels of examples, one after the other."""

    def __init__(self, cases: Mapping[str, CaseRecord], sides: Mapping[str, Side]) -> None:
        self._cases, self._sides = cases, sides
        self._values: defaultdict[str, list[NDArray[np.float32]]] = defaultdict(list)
        self._examples: list[Example] = []
        self._thumbnails: list[NDArray[np.float32]] = []
        self.pictures: list[tuple[Example, NDArray[np.uint8]]] = []

    @property
    def count(self) -> int:
        """How many examples were added."""
        return len(self._examples)

    def add(self, cut: CutExample) -> None:
        """Take what is needed of an example; its crop is not kept."""
        image = cut.sample.image.astype(np.float32)
        flat = image.reshape(-1)
        self._values[_site_of(self._cases[cut.example.case_id])].append(flat[:: max(1, len(flat) // 4096)])
        self._examples.append(cut.example)
        self._thumbnails.append(thumbnail(image))
        if len(self.pictures) < PICTURES:
            self.pictures.append((cut.example, picture_of(image)))

    def intensity(self) -> dict[str, Intensity]:
        """Return the values by site, all histograms over the same span."""
        pooled = {
            site: np.concatenate(parts).astype(np.float64) for site, parts in sorted(self._values.items())
        }
        if not pooled:
            return {}
        low = min(float(values.min()) for values in pooled.values())
        high = max(max(float(values.max()) for values in pooled.values()), low + 1e-6)
        return {
            site: Intensity(
                len(self._values[site]), np.quantile(values, QUANTILES),
                np.histogram(values, BINS, (low, high))[0] / len(values), (low, high),
            )
            for site, values in pooled.items()
        }  # fmt: skip

    def alike(self) -> tuple[AlikePair, ...]:
        """Return the pairs across the split, or across folds where nothing is held out, that look the same."""
        marks = [self._sides[one.case_id] for one in self._examples]
        is_split = any(side.split == "validation" for side in marks)
        groups = np.asarray([side.split if is_split else str(side.fold) for side in marks])
        if len(set(groups.tolist())) < 2:
            return ()
        likeness = np.stack(self._thumbnails) @ np.stack(self._thumbnails).T
        first, second = np.nonzero(np.triu(likeness > ALIKE, 1) & (groups[:, None] != groups))
        order = np.argsort(-likeness[first, second], kind="stable")
        pairs = []
        for a, b in zip(first[order].tolist(), second[order].tolist(), strict=True):
            here, there = (b, a) if marks[a].split == "validation" else (a, b)
            pairs.append(AlikePair(self._examples[here], self._examples[there], float(likeness[a, b])))
        return tuple(pairs)


def _site_of(case: CaseRecord) -> str:
    """Return where an image was made, as far as the project knows; else what kind of image it is."""
    return next((str(case.fields[name]) for name in SITES if name in case.fields), f"any {case.kind}")


def _spread(examples: Sequence[Example], most: int) -> list[Example]:
    """Return at most so many examples, the cases taking turns."""
    turns: Counter[str] = Counter()
    ranked = []
    for number, one in enumerate(examples):
        ranked.append((turns[one.case_id], number, one))
        turns[one.case_id] += 1
    chosen = sorted(sorted(ranked, key=lambda each: each[:2])[:most], key=lambda each: each[1])
    return [one for _, _, one in chosen]


def _class_counts(project: Project, chosen: Chosen, sides: Mapping[str, Side]) -> dict[str, dict[str, int]]:
    """Return for each side how many examples are about each class: that of the finding in or nearest to the middle."""
    counts: dict[str, Counter[str]] = {}
    for case_id in chosen.case_ids:
        findings = project.findings(case_id)
        labels = dict(zip(findings.ids.tolist(), findings.labels.tolist(), strict=True))
        counter = counts.setdefault(sides[case_id].split, Counter())
        for one in chosen.examples:
            if one.case_id != case_id:
                continue
            label = NOTHING
            if one.is_positive:
                nearest = np.linalg.norm(findings.centres - np.asarray(one.centre), axis=1).argmin()
                label = labels.get(one.object_id, str(findings.labels[nearest]))
            counter[label] += 1
    return {side: dict(sorted(counter.items())) for side, counter in sorted(counts.items())}


def _box_sizes(
    project: Project, chosen: Chosen, cutter: ExampleCutter, cases: Mapping[str, CaseRecord]
) -> BoxSizes:
    """Return the sizes of the findings whose centres lie in a crop."""
    before, after = [np.zeros(0)], [np.zeros(0)]
    for case_id, case in cases.items():
        if case.grid is None:
            continue
        findings = project.findings(case_id)
        known = findings.where(~findings.is_excluded & (findings.diameters > 0))
        grid = Grid.from_json(case.grid)
        seen = _seen_spacing(cutter.bundle.preprocessing, grid)
        # a cube's axes need not be those of the world
        reach = float((np.asarray(cutter.shape) / 2 * seen).max())
        centres = np.asarray([one.centre for one in chosen.examples if one.case_id == case_id])
        # an empty table was made for three axes
        away = np.abs(known.centres[:, None, : centres.shape[1]] - centres[None])
        inside = (away < reach).all(axis=2).any(axis=1)
        sizes = known.diameters[inside]
        before.append(sizes / float(np.exp(np.log(grid.spacing).mean())))
        after.append(sizes / float(np.exp(np.log(seen).mean())))
    return BoxSizes(np.concatenate(before), np.concatenate(after), _anchor_of(cutter.part))


def _seen_spacing(preprocessing: Preprocessing, grid: Grid) -> NDArray[np.float64]:
    """Return the spacing of the lattice that a model sees, in the unit of the image, in array order."""
    own = np.asarray(grid.spacing)
    if preprocessing.longest_side is not None:
        return own * max(grid.shape) / preprocessing.longest_side
    if preprocessing.spacing_um is not None:
        return np.full(grid.ndim, preprocessing.spacing_um * (1 if grid.unit == "um" else 1e-3))
    if preprocessing.spacing_mm is None:
        return own
    wanted = np.asarray(preprocessing.spacing_mm) * (1e3 if grid.unit == "um" else 1)
    return np.asarray(np.broadcast_to(wanted, grid.ndim), np.float64)


def _anchor_of(part: BundlePart) -> float | None:
    from napari_medlab.models.networks import build_network

    if part.task != "detection" or part.bundle.code is not None:
        return None
    return smallest_anchor(build_network(part.network["name"], part.network["arguments"]))
