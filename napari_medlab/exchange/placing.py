"""From what a file says about an image to objects of a case: in the world, with diameters and ids of their own."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.annotations.measures import measured
from napari_medlab.errors import InputRefusedError
from napari_medlab.geometry import Grid

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from napari_medlab.annotations import RegionTable
    from napari_medlab.annotations.image_regions import ImageRegions
    from napari_medlab.project import CaseRecord

__all__ = ["PlacedObjects", "SaysWhere", "grid_of", "outlined", "require_axes"]

ID_LENGTH = 32
UNKNOWN = -1.0
"""The diameter of what has none that is known."""


class SaysWhere:
    """Contents in which every object has a place, and which say of no image that nothing is there."""

    def is_normal(self, name: str) -> bool:
        """Return False: that an image has nothing on it, nobody said."""
        del name
        return False

    def is_unplaced(self, name: str) -> bool:
        """Return False: whatever is on an image has a place."""
        del name
        return False


@dataclass(frozen=True, eq=False)
class PlacedObjects:
    """What a file says about one case.

    Parameters
    ----------
    case_id : str
    centres : float64 array, (n, ndim), world, ordered (x, y[, z])
    diameters : float64 array, (n,), in the unit of the case's grid; -1 where unknown
    labels : list of str
    is_excluded : bool array, (n,)
    scores : float64 array, (n,); nan where the file states none
    regions : RegionTable or None
        The outline of each, in the same order; None where the file has none at all.
    words : list of str or None
        What the file calls each, where ``labels`` were given on the way in; None where they are the file's own.
    """

    case_id: str
    centres: NDArray[np.float64]
    diameters: NDArray[np.float64]
    labels: list[str]
    is_excluded: NDArray[np.bool_]
    scores: NDArray[np.float64]
    regions: RegionTable | None = None
    words: list[str] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def called(self, only_class: str, names: Mapping[str, str]) -> PlacedObjects:
        """Return them with one class for all, or with some classes renamed; as they are where nothing is asked for."""
        if not only_class and not names:
            return self
        regions = self.regions
        if regions is not None:
            regions = replace(
                regions,
                label_names=tuple(only_class or names.get(name, name) for name in regions.label_names),
            )
        labels = [only_class or names.get(label, label) for label in self.labels]
        return replace(self, labels=labels, regions=regions, words=self.labels)

    def finding_ids(self) -> list[str]:
        """Return an id for each, made from what is said of it: the same file gives the same ids again.

        Two that are alike in everything get different ones, by their order. What they are called on the way in changes no
        id: a file that is imported again under another class is about the same objects.
        """
        words = self.labels if self.words is None else self.words
        shapes = _digests(self.regions) if self.regions is not None else [""] * len(self)
        seen: Counter[str] = Counter()
        ids = []
        for row, (centre, diameter) in enumerate(
            zip(self.centres.tolist(), self.diameters.tolist(), strict=True)
        ):
            said = f"{self.case_id} {tuple(centre)} {diameter} {words[row]} {bool(self.is_excluded[row])}"
            text = said + shapes[row]
            seen[text] += 1
            ids.append(hashlib.sha256(f"{text} {seen[text]}".encode()).hexdigest()[:ID_LENGTH])
        return ids

    def candidate_ids(self, run_id: str) -> list[str]:
        """Return an id for each, made from the run, the case and its place among those of the case."""
        texts = (f"{run_id} {self.case_id} {row}" for row in range(len(self)))
        return [hashlib.sha256(text.encode()).hexdigest()[:ID_LENGTH] for text in texts]

    def outlines(self, owner_ids: Sequence[str]) -> RegionTable | None:
        """Return the outlines as those of objects with the ids given, each with an id made from its owner's."""
        if self.regions is None or not len(self):
            return None
        own = [hashlib.sha256(f"outline of {owner}".encode()).hexdigest()[:ID_LENGTH] for owner in owner_ids]
        return replace(
            self.regions, ids=np.asarray(own, dtype="S32"), owner_ids=np.asarray(owner_ids, dtype="S32"),
            scores=self.scores,
        )  # fmt: skip

    def count_outside(self, grid: Grid | None, rows: Sequence[int] | None = None) -> int:
        """Count those, or those of some rows, whose centre lies more than half a voxel outside the image."""
        if grid is None or not len(self):
            return 0
        index = grid.to_index(self.centres if rows is None else self.centres[list(rows)])
        inside = (index >= -0.5) & (index <= np.asarray(grid.shape) - 0.5)
        return int((~inside.all(axis=1)).sum())


def outlined(image: ImageRegions, case: CaseRecord) -> PlacedObjects:
    """Return the objects whose outlines a file states for the image of a case.

    Raises
    ------
    InputRefusedError
        ``wrong-kind`` where the image of the case has more or fewer axes; ``size`` where the file is about an image of
        another size; ``no-grid`` where the size of the case's image is not known.
    """
    if len(image):
        require_axes(case, (image.regions.ndim,))
    grid = grid_of(case)
    if image.shape is not None and tuple(image.shape) != grid.shape:
        stated, known = (" × ".join(map(str, shape)) for shape in (image.shape, grid.shape))
        raise InputRefusedError(
            f"The file states {stated} pixels for {image.image!r:.80}, and the image of case {case.name!r:.80} has {known}.",
            code="size",
            hint="These annotations are about other pixels: resize them, or add the image that they were drawn on.",
        )
    has_vertices = image.regions.region_rings[1:] > image.regions.region_rings[:-1]
    rows = np.flatnonzero(has_vertices & ~np.isnan(image.regions.boxes).any(axis=(1, 2)))
    regions = replace(image.regions.where(rows), case_id=case.case_id)
    centres, diameters = measured(regions, grid)
    diameters[np.isin(np.char.decode(regions.ids), image.extra.get("unsized", []))] = UNKNOWN
    return PlacedObjects(
        case.case_id, centres, diameters, [regions.label_names[code] for code in regions.labels.tolist()],
        image.is_excluded[rows], regions.scores, regions,
    )  # fmt: skip


def grid_of(case: CaseRecord) -> Grid:
    """Return the grid of a case; raise ``no-grid`` where it is not known."""
    if case.grid is None:
        raise InputRefusedError(
            f"The size of case {case.case_id} is not known, so nothing can be placed on it.",
            code="no-grid",
            hint="Add its image again.",
        )
    return Grid.from_json(case.grid)


def require_axes(case: CaseRecord, axes: Sequence[int]) -> None:
    """Raise ``wrong-kind`` where the image of a case has another number of axes than those that a file is about."""
    if (found := 3 if case.kind == "volume" else 2) not in axes:
        raise InputRefusedError(
            f"Case {case.case_id} is a {case.kind} of {found} axes; the file places its objects by "
            f"{' or '.join(map(str, axes))} coordinates.",
            code="wrong-kind",
            hint="LUNA16 tables and label volumes are about volumes; those of mini-MIAS and outlines in a plane, "
            "about planar images.",
        )


def _digests(regions: RegionTable) -> list[str]:
    """Return a text for each outline that stands for its vertices and rings."""
    rings, starts = regions.region_rings, regions.ring_starts
    texts = []
    for row in range(len(regions)):
        bounds = starts[rings[row] : rings[row + 1] + 1]
        points = np.ascontiguousarray(regions.vertices[bounds[0] : bounds[-1]])
        sizes = np.diff(bounds).astype(np.int64)
        texts.append(hashlib.sha256(sizes.tobytes() + points.tobytes()).hexdigest())
    return texts
