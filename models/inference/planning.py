"""The plan of a run: which tiles of one size cover an image, in which order, and which need no look."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise, product
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from napari_medlab.errors import InputRefusedError
from napari_medlab.models.inference.tiles import Fade, Tile

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from napari_medlab.models.inference.skipping import Foreground

__all__ = ["SKIP_RULES", "Plan", "TilingRule", "halved", "make_plan", "split"]

SKIP_RULES = ("none", "air", "lungs", "glass")


@dataclass(frozen=True)
class TilingRule:
    """How an image is cut for one network; part of a bundle.

    Parameters
    ----------
    core : tuple of int
        The largest part of a tile whose results count, in voxels, array order.
    halo : int or tuple of int
        Voxels read around a core. Where it is at least the network's receptive radius
        (:mod:`napari_medlab.models.inference.receptive_field`), the results are those of the whole image at once.
    multiple : int
        The network's input must be divisible by this; tiles begin at its multiples, so that the network's cells fall
        on one lattice everywhere.
    batch : int
        Tiles that are looked at together.
    overlap : float
        Which part of a core, 0 to less than 1, overlaps with its neighbours'; the results fade into one another there.
    shifts : tuple of tuple of int
        Further grids of tiles, each moved by so many voxels; the results of all grids are averaged.
    skip : {"none", "air", "lungs", "glass"}
        What is not looked at; see :mod:`napari_medlab.models.inference.skipping`.

    Raises
    ------
    InputRefusedError
        Where a number makes no sense.
    """

    core: tuple[int, ...]
    halo: int | tuple[int, ...] = 16
    multiple: int = 1
    batch: int = 1
    overlap: float = 0.0
    shifts: tuple[tuple[int, ...], ...] = ()
    skip: str = "none"

    def __post_init__(self) -> None:
        dims = len(self.core)
        fits = {
            "core": dims > 0 and min(self.core) > 0,
            "halo": len(self.halos) == dims and min(self.halos, default=0) >= 0,
            "multiple": self.multiple > 0,
            "batch": self.batch > 0,
            "overlap": 0 <= self.overlap < 1,
            "shifts": all(len(shift) == dims for shift in self.shifts),
            "skip": self.skip in SKIP_RULES,
        }
        for name, is_usable in fits.items():
            if not is_usable:
                raise InputRefusedError(
                    f"The tiling rule cannot be used: {name} is {getattr(self, name)!r} for tiles of {dims} axes.",
                    code="tiling",
                    hint="Correct the bundle's tiling, or import the model again.",
                )

    @property
    def halos(self) -> tuple[int, ...]:
        """The halo along each axis."""
        return (self.halo,) * len(self.core) if isinstance(self.halo, int) else self.halo

    @classmethod
    def from_json(cls, value: Mapping[str, Any], multiple: int | None = None) -> Self:
        """Read a bundle's ``tiling``.

        Parameters
        ----------
        value : mapping
            The fields of this class; ``skip`` may also be written as ``{"rule": "air"}``.
        multiple : int, optional
            The network's own, which goes before the mapping's.
        """
        given = {name: value[name] for name in cls.__dataclass_fields__ if name in value}
        given["core"] = tuple(int(side) for side in value["core"])
        if not isinstance(halo := given.get("halo", 0), int):
            given["halo"] = tuple(int(side) for side in halo)
        given["shifts"] = tuple(tuple(int(step) for step in shift) for shift in value.get("shifts", ()))
        if isinstance(skip := given.get("skip"), dict):
            given["skip"] = skip.get("rule", "none")
        if multiple is not None:
            given["multiple"] = multiple
        return cls(**given)

    def as_json(self) -> dict[str, Any]:
        """Return the rule as plain JSON values, as a bundle's ``tiling``."""
        halo = self.halo if isinstance(self.halo, int) else list(self.halo)
        return {
            "core": list(self.core), "halo": halo, "multiple": self.multiple, "batch": self.batch,
            "overlap": self.overlap, "shifts": [list(shift) for shift in self.shifts], "skip": {"rule": self.skip},
        }  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """The tiles of one image.

    Parameters
    ----------
    shape : tuple of int
        The image's, array order.
    rule : TilingRule
    tiles : tuple of Tile
        In the order in which they are looked at; all read the same shape.
    skipped : int
        How many tiles more there would be without the rule's skipping.
    """

    shape: tuple[int, ...]
    rule: TilingRule
    tiles: tuple[Tile, ...]
    skipped: int = 0

    @property
    def total(self) -> int:
        """How many tiles there are, looked at or not."""
        return len(self.tiles) + self.skipped


def make_plan(
    shape: Sequence[int],
    rule: TilingRule,
    *,
    foreground: Foreground | None = None,
    focus: Sequence[float] | None = None,
) -> Plan:
    """Return the tiles of an image.

    All tiles read the same shape: at the image's borders they are moved inward. Where an axis is shorter than that, they
    read all of it, up to the next multiple beyond its end, as a run on the whole image would.

    Where a foreground is given, tiles are laid over it alone: slab by slab along the first axis, row by row within a slab,
    each tile beginning where the first voxel lies that is not covered yet. Along one axis no cover has fewer tiles.

    Parameters
    ----------
    shape : sequence of int
        The image's, array order.
    rule : TilingRule
    foreground : Foreground, optional
        Where something can be.
    focus : sequence of float, optional
        A voxel index: the tiles nearest to it come first. Otherwise they come row by row.

    Raises
    ------
    InputRefusedError
        Where the image has other axes than the rule.
    """
    if len(shape) != len(rule.core):
        raise InputRefusedError(
            f"The image has {len(shape)} axes, and the model's tiles have {len(rule.core)}.",
            code="tiling",
            hint="Choose a model made for this kind of image.",
        )
    tiles = _tiles(shape, rule, foreground)
    order = sorted(tiles, key=lambda tile: (_distance(tile, focus), tile.core_start))
    skipped = 0 if foreground is None else max(0, len(_tiles(shape, rule, None)) - len(order))
    return Plan(tuple(shape), rule, tuple(order), skipped)


def halved(rule: TilingRule) -> TilingRule | None:
    """Return the rule with its core halved along the longest axis; None where the halo would be most of a tile."""
    unit = rule.multiple
    sides = [side if side > max(halo, unit) else 0 for side, halo in zip(rule.core, rule.halos, strict=True)]
    axis = max(range(len(sides)), key=sides.__getitem__)
    half = sides[axis] // 2 // unit * unit
    if half < unit:
        return None
    return replace(rule, core=(*rule.core[:axis], half, *rule.core[axis + 1 :]))


def split(tile: Tile, shape: Sequence[int], rule: TilingRule) -> list[Tile]:
    """Return tiles that cover the core of one that is too large, each with a core no larger than the rule's.

    Their results are those of the tile, and count as much, wherever the rule's halo is enough.
    """
    spans = []
    for axis, size in enumerate(shape):
        lattice = _Axis.of(rule, axis, size)
        begin, end = tile.core_start[axis], tile.core_stop[axis]
        length = min(lattice.core + 2 * lattice.margin, lattice.padded)
        cuts = [begin, *range(begin + lattice.core, end, lattice.core), end]
        starts = [min(max(0, cut - lattice.margin), lattice.padded - length) for cut in cuts[:-1]]
        spans.append(
            [(start, start + length, a, b) for start, (a, b) in zip(starts, pairwise(cuts), strict=True)]
        )
    pieces = []
    for parts in product(*spans):
        read_start, read_stop, core_start, core_stop = zip(*parts, strict=True)
        pieces.append(Tile(read_start, read_stop, core_start, core_stop, tile.fades))
    return pieces


@dataclass(frozen=True)
class _Span:
    """A tile along one axis; what counts of it is ``begin`` … ``end``, and half of the overlap on either side."""

    read_start: int
    read_stop: int
    begin: int
    end: int


@dataclass(frozen=True)
class _Axis:
    """How one axis of an image is cut.

    Parameters
    ----------
    size, padded : int
        Of the image, and rounded up to the multiple.
    core, margin, reach : int
        The largest core, the voxels around it, and half the width of the overlap, all on the lattice.
    multiple : int
    length : int
        What a tile reads.
    """

    size: int
    padded: int
    core: int
    margin: int
    reach: int
    multiple: int
    length: int = 0

    @classmethod
    def of(cls, rule: TilingRule, axis: int, size: int) -> Self:
        """Return the axis, whose tiles are as long as the rule allows."""
        unit = rule.multiple
        core, margin = max(unit, rule.core[axis] // unit * unit), _up(rule.halos[axis], unit)
        reach = max(unit, int(rule.overlap * core / 2) // unit * unit) if rule.overlap > 0 else 0
        padded = _up(size, unit)
        return cls(size, padded, core, margin, reach, unit, min(padded, core + 2 * (margin + reach)))

    @property
    def around(self) -> int:
        """What is read on either side of the part between two cuts."""
        return self.margin + self.reach

    def fitted(self, needed: NDArray[np.bool_]) -> Self:
        """Return the axis with tiles no longer than so many of them as it takes must be.

        Parameters
        ----------
        needed : bool array
            One for each cell of the lattice.
        """
        cells = np.flatnonzero(needed)
        first, last = int(cells[0]) * self.multiple, (int(cells[-1]) + 1) * self.multiple
        low, high = max(0, first - self.around), min(self.padded, last + self.around)
        inner = high - low - 2 * self.around
        if inner <= self.core:
            return replace(self, length=high - low)
        step = _up(-(-inner // -(-inner // self.core)), self.multiple)
        return replace(self, length=min(self.padded, step + 2 * self.around))

    def spans(self, needed: NDArray[np.bool_], shift: int) -> list[_Span]:
        """Return the fewest tiles that cover all cells that are needed; a shift ends the first one early."""
        spans: list[_Span] = []
        step = max(self.multiple, self.length - 2 * self.around)
        short = shift // self.multiple * self.multiple % step
        begin = 0
        for cell in np.flatnonzero(needed).tolist():
            if cell * self.multiple < begin:
                continue
            begin = cell * self.multiple
            start = min(max(0, begin - self.around), self.padded - self.length)
            stop = start + self.length
            end = self.padded if stop == self.padded else stop - self.around
            if short and not spans:
                end = min(end, begin + short)
            spans.append(_Span(start, stop, begin, end))
            begin = end
        return spans


def _tiles(shape: Sequence[int], rule: TilingRule, foreground: Foreground | None) -> list[Tile]:
    """Return the tiles of all grids of a rule."""
    laying = _Laying(shape, rule, foreground)
    tiles: dict[Tile, None] = {}
    for shift in ((0,) * len(shape), *rule.shifts):
        tiles.update(dict.fromkeys(laying.tiles(shift)))
    return list(tiles)


class _Laying:
    """Lays tiles over a foreground, or over all of an image."""

    def __init__(self, shape: Sequence[int], rule: TilingRule, foreground: Foreground | None) -> None:
        self._foreground = foreground
        self._blends = rule.overlap > 0
        axes = [_Axis.of(rule, axis, size) for axis, size in enumerate(shape)]
        self._whole = [_Span(0, axis.padded, 0, axis.padded) for axis in axes]
        self._axes = axes
        needed = [self._needed(self._whole, number) for number in range(len(axes))]
        self._is_empty = not all(cells.any() for cells in needed)
        if not self._is_empty:
            self._axes = [axis.fitted(cells) for axis, cells in zip(axes, needed, strict=True)]

    def tiles(self, shift: Sequence[int]) -> Iterator[Tile]:
        """Yield the tiles of one grid."""
        return iter(()) if self._is_empty else self._below([], shift)

    def _below(self, above: list[_Span], shift: Sequence[int]) -> Iterator[Tile]:
        """Yield the tiles of a slab, a row, or in the end of one place in a row."""
        number = len(above)
        if number == len(self._axes):
            yield self._tile(above)
            return
        box = [*above, *self._whole[number:]]
        for span in self._axes[number].spans(self._needed(box, number), shift[number]):
            yield from self._below([*above, span], shift)

    def _needed(self, box: Sequence[_Span], number: int) -> NDArray[np.bool_]:
        """Tell of each cell of the lattice along one axis whether there is something in it, within a box."""
        axis = self._axes[number]
        count = axis.padded // axis.multiple
        if self._foreground is None:
            return np.ones(count, np.bool_)
        starts = [max(0, span.begin - self._axes[at].reach) for at, span in enumerate(box)]
        stops = [min(self._axes[at].size, span.end + self._axes[at].reach) for at, span in enumerate(box)]
        return self._foreground.along(number, starts, stops, np.arange(count + 1) * axis.multiple)

    def _tile(self, spans: Sequence[_Span]) -> Tile:
        axes = list(zip(self._axes, spans, strict=True))
        fades = tuple(
            Fade(span.begin or None, span.end if span.end < axis.padded else None, axis.reach)
            for axis, span in axes
        )
        return Tile(
            tuple(span.read_start for span in spans),
            tuple(span.read_stop for span in spans),
            tuple(max(0, span.begin - axis.reach) for axis, span in axes),
            tuple(min(axis.size, span.end + axis.reach) for axis, span in axes),
            fades if self._blends else (),
        )


def _distance(tile: Tile, focus: Sequence[float] | None) -> float:
    """Return the squared distance from the focus to the tile's core; 0 inside it."""
    if focus is None:
        return 0.0
    ends = zip(tile.core_start, tile.core_stop, focus, strict=True)
    return sum(max(start - place, 0.0, place - (stop - 1)) ** 2 for start, stop, place in ends)


def _up(value: int, unit: int) -> int:
    return -(-value // unit) * unit
