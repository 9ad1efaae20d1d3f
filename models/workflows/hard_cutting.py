"""Cutting hard examples: one sample around each place, in the very values that the model sees there."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.errors import InputRefusedError
from napari_medlab.hardcases.errors.verdicts import proposed_id
from napari_medlab.hardcases.near_misses import ambiguous_reach, is_near_miss
from napari_medlab.images.fingerprint import fingerprint
from napari_medlab.models.classification.cubes import cut_cubes
from napari_medlab.models.training.parts import NETWORK, BundlePart
from napari_medlab.models.training.samples import Sample
from napari_medlab.models.workflows.sample_cubes import with_loose_outlines
from napari_medlab.models.workflows.sample_cutting import CaseCutter, Learner
from napari_medlab.models.workflows.sample_objects import ClassRule, KnownObject, Lattices

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from napari_medlab.annotations import FindingTable, Region
    from napari_medlab.geometry import Grid
    from napari_medlab.hardcases.mining import Example
    from napari_medlab.images import Image
    from napari_medlab.models.bundles import Bundle
    from napari_medlab.models.inference.prepared import Prepared
    from napari_medlab.models.inference.skipping import Foreground
    from napari_medlab.models.workflows.hard_choosing import HardOptions
    from napari_medlab.models.workflows.sample_known import KnownCase

__all__ = ["CutExample", "ExampleCutter", "rule_of"]

CROPS = {
    ("detection", 3): (40, 48, 48), ("detection", 2): (320, 320),
    ("segmentation", 3): (72, 80, 80), ("segmentation", 2): (256, 256),
}  # fmt: skip
"""Usual sizes of crops in voxels, by task and number of axes: a little larger than the patches that a fine-tuning takes."""

CUBES_AT_ONCE = 32
TRIES = 32
"""How often another random place is tried where one lies in air or beside a finding."""
AMBIGUOUS = -1
BESIDE, AIR = "places beside a finding, left out", "random places in air or glass, left out"


@dataclass(frozen=True, eq=False)
class CutExample:
    """An example with its sample; the place of a random one may have been moved to where the model looks."""

    example: Example
    sample: Sample


@dataclass
class ExampleCutter:
    """Cuts the examples of one case after the other.

    Parameters
    ----------
    bundle : Bundle
        The model that the examples are for.
    options : HardOptions
    stop : callable
        Called before each example and each block that is read; it raises where the work is no longer wanted.

    Raises
    ------
    InputRefusedError
        ``part`` where the bundle has no such part; ``classifier`` where it does not say what cubes it sees.
    """

    bundle: Bundle
    options: HardOptions
    stop: Callable[[], None]
    part: BundlePart = field(init=False)

    def __post_init__(self) -> None:
        self.part = BundlePart(self.bundle, self.options.part)
        learner = Learner(self.part.task, rule_of(self.part), self.bundle.preprocessing, self._arguments)
        self._cutter = CaseCutter(learner)
        self.shape = self._shape()

    @property
    def counts(self) -> dict[str, int]:
        """How often something happened that the manifest is to tell."""
        return dict(self._cutter.counts)

    def cut(self, case: KnownCase, examples: Sequence[Example]) -> Iterator[CutExample]:
        """Yield the examples of a case, those left out that are nothing to learn from after all.

        Raises
        ------
        InputRefusedError
            ``changed`` where the image is not the one that was added; where the model cannot read it.
        ImageRefusedError, CancelledError
        """
        self.stop()
        _check_unchanged(case)
        image = case.open()
        prepared = self.bundle.preprocessing.prepare(image)
        known = _Known.of(case, image)
        placed = list(self._placed(examples, prepared, known.around))
        # neighbours one after the other, so that what they share is decoded once
        centres = np.asarray([one.centre for one in placed]).reshape(-1, prepared.grid.ndim)
        order = np.lexsort(prepared.grid.to_index(centres).T[::-1])
        ordered = [placed[row] for row in order]
        cut = self._cubes if self.part.task == "classification" else self._crops
        for example, sample in cut(ordered, image, prepared, known):
            yield CutExample(example, replace(sample, weight=example.weight, group=case.patient))

    def _crops(
        self, examples: Sequence[Example], image: Image, prepared: Prepared, known: _Known
    ) -> Iterator[tuple[Example, Sample]]:
        self._cutter.learner.check_fit(prepared)
        lattices = Lattices(image.grid, prepared.grid)
        objects = self._cutter.objects(known.case.findings, known.regions, lattices)
        objects += _doubtful(known.case, prepared.grid)
        for example in examples:
            self.stop()
            middle = prepared.grid.to_index(np.asarray(example.centre))
            start = np.rint(middle - (np.asarray(self.shape) - 1) / 2).astype(int).tolist()
            yield example, self._cutter.tile(prepared, objects, start, self.shape)

    def _cubes(
        self, examples: Sequence[Example], image: Image, prepared: Prepared, known: _Known
    ) -> Iterator[tuple[Example, Sample]]:
        numbers = [
            known.around.class_at(np.asarray(one.centre), self._cutter.learner.rule) for one in examples
        ]
        usable = [(one, label) for one, label in zip(examples, numbers, strict=True) if label != AMBIGUOUS]
        self._cutter.count(BESIDE, len(examples) - len(usable))
        # cubes of a detector's classifier are cut from the image itself where they have a window of their own
        is_own = self.part.name == NETWORK or self.part.preprocessing.get("window") is not None
        source = image if is_own else prepared
        spacing, window = self._spacing_and_window()
        for first in range(0, len(usable), CUBES_AT_ONCE):
            batch = usable[first : first + CUBES_AT_ONCE]
            centres = [one.centre for one, _ in batch]
            cubes = cut_cubes(source, centres, spacing, self.shape, window, self.stop)
            for cube, (example, label) in zip(cubes, batch, strict=True):
                self.stop()
                yield example, Sample.without_boxes(cube.astype(np.float16), label=label)

    def _placed(self, examples: Sequence[Example], prepared: Prepared, around: _Around) -> Iterator[Example]:
        """Yield the examples, random places in air or glass moved to where the model looks."""
        rule = self.bundle.tiling.get("skip", {}).get("rule", "none")
        is_random = any(not one.object_id for one in examples)
        foreground = prepared.foreground(rule) if is_random else None
        for number, example in enumerate(examples):
            if example.object_id or foreground is None:
                yield example
                continue
            rng = np.random.default_rng([self.options.rule.seed, 3, number])
            index = _where_something_is(foreground, prepared.grid, np.asarray(example.centre), rng, around)
            if index is None:
                self._cutter.count(AIR, 1)
            else:
                yield replace(example, centre=tuple(prepared.grid.to_world(index).tolist()))

    @property
    def _arguments(self) -> dict[str, object]:
        arguments: dict[str, object] = self.bundle.spec["network"]["arguments"]
        return arguments

    def _spacing_and_window(self) -> tuple[float, tuple[float, float] | None]:
        if self.part.name == NETWORK:
            return self.bundle.preprocessing.isotropic_mm, self.bundle.preprocessing.window
        window = self.part.preprocessing.get("window")
        return float(self.part.preprocessing["spacing_mm"]), None if window is None else (
            window[0],
            window[1],
        )

    def _shape(self) -> tuple[int, ...]:
        """Return how large the crops are, in array order."""
        if self.part.task == "classification":
            core = self._cube_sides()
            room = [-(-side // 8) if self.options.margin is None else self.options.margin for side in core]
            usual = tuple(side + 2 * more for side, more in zip(core, room, strict=True))
        else:
            is_volume = "volume" in self.bundle.preprocessing.kinds
            dims = int(self.part.network["arguments"].get("spatial_dims", 3 if is_volume else 2))
            usual = CROPS[self.part.task, dims]
        asked = self.options.shape * len(usual) if len(self.options.shape) == 1 else self.options.shape
        if asked and len(asked) != len(usual):
            raise InputRefusedError(
                f"A crop has one size, or one for each of {len(usual)} axes; got {', '.join(map(str, asked))}.",
                code="option",
            )
        return tuple(asked) or usual

    def _cube_sides(self) -> tuple[int, ...]:
        arguments = self.part.network["arguments"]
        told = (
            self.bundle.tiling.get("core")
            if self.part.name == NETWORK
            else (self.bundle.classifier or {}).get("shape")
        )
        sides = told or [int(max(arguments.get("sides") or [0]))] * int(arguments.get("spatial_dims", 3))
        if not min(sides) > 0:
            raise InputRefusedError(
                f"{self.bundle.title} does not say how large the cubes are that it judges.", code="classifier",
                hint="Its tiling needs a core, such as [32, 32, 32].",
            )  # fmt: skip
        return tuple(int(side) for side in sides)


@dataclass(frozen=True, eq=False)
class _Around:
    """The findings of a case, and how near to them nothing is certain."""

    findings: FindingTable
    radii: NDArray[np.float64]
    reach: NDArray[np.float64]

    @classmethod
    def of(cls, findings: FindingTable, unit: str) -> _Around:
        radii = np.maximum(findings.diameters, 0) / 2
        return cls(findings, radii, ambiguous_reach(radii, unit))

    def _distances(self, point: NDArray[np.float64]) -> NDArray[np.float64]:
        away: NDArray[np.float64] = np.linalg.norm(self.findings.centres - point, axis=1)
        return away

    def covers(self, point: NDArray[np.float64]) -> bool:
        """Tell whether a point lies in or beside a finding."""
        return bool((self._distances(point) < np.maximum(self.radii, self.reach)).any())

    def class_at(self, point: NDArray[np.float64], rule: ClassRule) -> int:
        """Return the class of what lies at a point: that of the nearest finding, 0 for none, -1 where nobody knows."""
        away = self._distances(point)
        numbers = [rule.number_of(label) for label in self.findings.labels.tolist()]
        counts = ~self.findings.is_excluded & np.asarray([number is not None for number in numbers], np.bool_)
        hits = np.flatnonzero((away < self.radii) & counts)
        if len(hits):
            return numbers[int(hits[away[hits].argmin()])] or 0
        is_unsure = is_near_miss(away, self.radii, self.reach) | (away < self.radii)
        return AMBIGUOUS if is_unsure.any() else 0


@dataclass(frozen=True, eq=False)
class _Known:
    """What is known of a case."""

    case: KnownCase
    regions: Sequence[Region]
    around: _Around

    @classmethod
    def of(cls, case: KnownCase, image: Image) -> _Known:
        regions = case.regions()
        loose = with_loose_outlines(case.findings, regions, image.grid)
        return cls(case, regions, _Around.of(loose, image.grid.unit))


def _doubtful(case: KnownCase, seen: Grid) -> list[KnownObject]:
    """Return the candidates that a reader called into doubt and that became no finding: nothing is learnt there."""
    candidates, findings = case.candidates, set(case.findings.ids.tolist())
    boxes = []
    for row, key in enumerate(candidates.ids.tolist()):
        if key in case.doubted and proposed_id(key) not in findings:
            index = seen.to_index(candidates.centres[row][: seen.ndim])
            reach = max(float(candidates.diameters[row]), 0.0) / 2 / np.asarray(seen.spacing)
            reach = np.maximum(reach, 2.0)
            boxes.append(KnownObject(np.concatenate([index - reach, index + reach]), 0, is_ignored=True))
    return boxes


def _check_unchanged(case: KnownCase) -> None:
    source = case.source
    if isinstance(case.fingerprint, str) and source.exists() and fingerprint(source) != case.fingerprint:
        raise InputRefusedError(
            f"The image of case {case.case_id} has been changed since it was added: findings and candidates may not "
            "fit it any more.",
            code="changed", hint="Put the image back, or add it as a new case.",
        )  # fmt: skip


def rule_of(part: BundlePart) -> ClassRule:
    """Return which class of the part's network a label is."""
    classes = part.bundle.classes
    if part.task == "classification":
        if len(part.classes) == 1:
            return ClassRule(classes, first=1, other="ignore", is_one=True)
        return ClassRule(part.classes, other="ignore")
    if part.task == "segmentation":
        return ClassRule(classes, other="ignore")
    # clusters are made of what the network finds, and are nothing that it learns
    clustered = part.bundle.postprocessing.get("cluster", {}).get("into")
    learnt = tuple(name for name in classes if name != clustered)
    return ClassRule(learnt, other="ignore", is_one=len(classes) == 1)


def _where_something_is(
    foreground: Foreground, seen: Grid, place: NDArray[np.float64], rng: np.random.Generator, around: _Around
) -> NDArray[np.float64] | None:
    """Return the index of a place if something can be there, else that of a random one; None where none was found."""
    ratio, offset = np.asarray(foreground.ratio), np.asarray(foreground.offset)
    index, last = seen.to_index(place), np.asarray(foreground.mask.shape) - 1
    cell = np.clip(np.rint(index * ratio + offset), 0, last).astype(int)
    if foreground.mask[tuple(cell)]:
        return index
    cells = np.argwhere(foreground.mask)
    for cell in cells[rng.integers(0, len(cells), TRIES)] if len(cells) else []:
        moved = (cell + rng.uniform(-0.5, 0.5, len(cell)) - offset) / ratio
        inside: NDArray[np.float64] = np.clip(moved, 0, np.asarray(seen.shape) - 1)
        if not around.covers(seen.to_world(inside)):
            return inside
    return None
