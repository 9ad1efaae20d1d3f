"""What a file from elsewhere holds, whatever its format: the images that it speaks of, and the objects on each."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from napari_medlab.annotations import RegionTable
from napari_medlab.annotations.formats.luna16 import read_candidates, read_reference
from napari_medlab.annotations.formats.mini_mias import NORMAL, placed_findings, read_films
from napari_medlab.errors import InputRefusedError
from napari_medlab.exchange.datasets import DatasetContents
from napari_medlab.exchange.formats import AUTO, Format, format_named
from napari_medlab.exchange.isolated import ask_parser
from napari_medlab.exchange.label_maps import read_label_map
from napari_medlab.exchange.placing import PlacedObjects, SaysWhere, grid_of, outlined, require_axes
from napari_medlab.exchange.wire import unpacked

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from napari_medlab.annotations import CandidateTable, FindingTable
    from napari_medlab.annotations.formats.mini_mias import FilmEntry
    from napari_medlab.annotations.image_regions import ImageRegions
    from napari_medlab.project import CaseRecord

__all__ = ["Contents", "Wanted", "digest_of", "read_contents"]

PIECE_BYTES = 1 << 20


@dataclass(frozen=True)
class Wanted:
    """What is to be read, and what one has to know to read it.

    Parameters
    ----------
    path : Path
        A file or a folder.
    format : str
        The name of a format; ``"auto"`` goes by what the file holds.
    is_predicted : bool
        Whether a model made it: a LUNA16 table is then one of candidates.
    excluded : Path, optional
        Beside a LUNA16 table: the findings that are not to count.
    images : Path, optional
        Beside COCO results: the COCO file that names their images and categories.
    listed : Path, optional
        Beside predictions: a list of the images that were looked at, one a line. Others are left out.
    only_class : str
        The class that everything gets, whatever the file calls it; empty for what the file says.
    names : mapping of str to str
        The classes of the file that get another name, which stands for each.
    """

    path: Path
    format: str = AUTO
    is_predicted: bool = False
    excluded: Path | None = None
    images: Path | None = None
    listed: Path | None = None
    only_class: str = ""
    names: Mapping[str, str] = field(default_factory=dict)

    def options(self) -> dict[str, Any]:
        """Return what the reader of a format is given, as JSON values."""
        return {"images": str(self.images.absolute())} if self.images is not None else {}


class Contents(Protocol):
    """What one file or folder says."""

    @property
    def format(self) -> Format:
        """What it is written in."""
        ...

    @property
    def names(self) -> tuple[str, ...]:
        """The images that it speaks of, each once."""
        ...

    def on(self, name: str, case: CaseRecord) -> PlacedObjects:
        """Return what it says of one image, placed on a case."""
        ...

    def count(self, name: str) -> int:
        """Return how many objects it states on an image."""
        ...

    def is_normal(self, name: str) -> bool:
        """Tell whether it says of an image that nothing is there."""
        ...

    def is_unplaced(self, name: str) -> bool:
        """Tell whether it says of an image that something is there, and not where."""
        ...


def read_contents(
    wanted: Wanted,
    cases_of: Callable[[Collection[str]], Mapping[str, CaseRecord]],
    *,
    on_progress: Callable[[int, int], None] | None = None,
    stop: Callable[[], None] | None = None,
) -> Contents:
    """Read a file or folder; it is parsed in a process of its own, but for tables, which are nothing but text.

    Parameters
    ----------
    wanted : Wanted
    cases_of : callable
        Returns the case of each name that has one, for files that can be read only on the lattice of their image.
    on_progress : callable, optional
        Called with the files done and all files of a folder.
    stop : callable, optional
        Called now and then; raises where the work is to end.

    Raises
    ------
    InputRefusedError
        As :func:`napari_medlab.exchange.formats.detected`, :func:`napari_medlab.exchange.isolated.ask_parser` and the reader
        of the format do; ``excluded`` and ``option`` where something is given to which the format has no use.
    """
    ask = partial(ask_parser, path=wanted.path, on_progress=on_progress, stop=stop)
    message, arrays = ask({
        "op": "read", "path": str(wanted.path.absolute()), "format": wanted.format, "options": wanted.options(),
        "is_predicted": wanted.is_predicted,
    })  # fmt: skip
    found = format_named(message["format"])
    if wanted.excluded is not None and found.name != "luna16":
        raise InputRefusedError(
            f"{wanted.path.name} is a {found.title}, to which no list of excluded findings belongs.",
            code="excluded",
            hint="Leave --excluded out.",
        )
    if found.name == "luna16":
        read = (
            read_candidates(wanted.path)
            if wanted.is_predicted
            else read_reference(wanted.path, wanted.excluded)
        )
        return LunaContents(found, read)
    if found.name == "mini-mias":
        return FilmContents(found, read_films(wanted.path))
    if found.needs == "grid":
        return _on_grids(found, message["files"], cases_of, ask)
    if found.needs == "maps":
        return DatasetContents(found, {case["case"]: case for case in message["cases"]})
    if found.needs == "sizes":
        return _with_sizes(found, wanted.path, message["names"], cases_of, ask)
    return OutlineContents(found, unpacked(message["images"], arrays))


def _with_sizes(
    found: Format,
    path: Path,
    names: Sequence[str],
    cases_of: Callable[[Collection[str]], Mapping[str, CaseRecord]],
    ask: Callable[[dict[str, Any]], Any],
) -> Contents:
    """Read a file whose numbers mean nothing without the sizes of its images; those of strangers do not matter."""
    cases = cases_of(names)
    for case in cases.values():
        require_axes(case, found.axes)
    shapes = {name: grid_of(cases[name]).shape if name in cases else (1, 1) for name in names}
    message, arrays = ask({
        "op": "read with sizes", "path": str(path.absolute()), "format": found.name, "shapes": shapes,
    })  # fmt: skip
    return OutlineContents(found, unpacked(message["images"], arrays))


def _on_grids(
    found: Format,
    files: Sequence[dict[str, Any]],
    cases_of: Callable[[Collection[str]], Mapping[str, CaseRecord]],
    ask: Callable[[dict[str, Any]], Any],
) -> Contents:
    """Read the files whose image is known, each on the lattice of its image."""
    cases = cases_of({name for file in files for name in file["names"]})
    chosen, strange = [], []
    for file in files:
        name = next((name for name in file["names"] if name in cases), None)
        if name is None:
            strange.append(file["names"][-1])
        else:
            require_axes(cases[name], found.axes)
            chosen.append({"path": file["path"], "image": name, "grid": grid_of(cases[name]).as_json()})
    if found.name == "label-map":
        return MapContents(found, {file["image"]: Path(file["path"]) for file in chosen}, tuple(strange))
    message, arrays = ask({"op": "read on grids", "format": found.name, "files": chosen})
    return OutlineContents(found, unpacked(message["images"], arrays), tuple(strange))


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file, or of the names and contents of the files of a folder, as hexadecimal digits."""
    if path.is_file():
        return _file_digest(path)
    total = hashlib.sha256()
    for file in sorted(entry for entry in path.rglob("*") if entry.is_file()):
        total.update(f"{file.relative_to(path).as_posix()}\0{_file_digest(file)}\n".encode())
    return total.hexdigest()


@dataclass(frozen=True, eq=False)
class OutlineContents(SaysWhere):
    """Outlines of objects on images; see :class:`Contents`.

    ``strange`` are the names of images of which nothing could be read because no case is known for them.
    """

    format: Format
    images: Sequence[ImageRegions]

    strange: tuple[str, ...] = ()

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The images that are named, each once."""
        return (*self._by_name, *self.strange)

    @cached_property
    def _by_name(self) -> dict[str, ImageRegions]:
        found: dict[str, list[ImageRegions]] = {}
        for image in self.images:
            found.setdefault(image.image, []).append(image)
        return {name: images[0] if len(images) == 1 else _together(images) for name, images in found.items()}

    def on(self, name: str, case: CaseRecord) -> PlacedObjects:
        """Return the outlined objects of one image."""
        return outlined(self._image(name), case)

    def count(self, name: str) -> int:
        """Return how many outlines an image has."""
        return len(self._image(name))

    def is_normal(self, name: str) -> bool:
        """Tell whether the file lists an image as looked at and has nothing on it."""
        return self._image(name).is_complete and not len(self._image(name))

    def _image(self, name: str) -> ImageRegions:
        return self._by_name[name]


@dataclass(frozen=True, eq=False)
class MapContents(SaysWhere):
    """Label maps, one file for each image, opened when their turn comes; see :class:`Contents`."""

    format: Format
    files: Mapping[str, Path]
    strange: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The images that are named, each once."""
        return (*self.files, *self.strange)

    def on(self, name: str, case: CaseRecord) -> PlacedObjects:
        """Return the objects of one map."""
        return outlined(read_label_map(self.files[name], case), case)

    def count(self, name: str) -> int:
        """Return 0: nobody knows before the map is opened."""
        del name
        return 0


@dataclass(frozen=True, eq=False)
class LunaContents(SaysWhere):
    """Centres and diameters in volumes, in the world; see :class:`Contents`."""

    format: Format
    table: FindingTable | CandidateTable

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The series that are named, each once."""
        return tuple(self._rows)

    @cached_property
    def _rows(self) -> dict[str, list[int]]:
        rows: dict[str, list[int]] = {}
        for row, series in enumerate(self.table.case_ids.tolist()):
            rows.setdefault(series, []).append(row)
        return rows

    def on(self, name: str, case: CaseRecord) -> PlacedObjects:
        """Return the rows about one series."""
        require_axes(case, (3,))
        rows = self.table.where(self._rows[name])
        none = np.zeros(len(rows), dtype=np.bool_)
        return PlacedObjects(
            case.case_id, rows.centres, rows.diameters, rows.labels.tolist(), getattr(rows, "is_excluded", none),
            getattr(rows, "scores", np.full(len(rows), np.nan)),
        )  # fmt: skip

    def count(self, name: str) -> int:
        """Return how many rows are about a series."""
        return len(self._rows[name])


@dataclass(frozen=True, eq=False)
class FilmContents:
    """Circles on films of mini-MIAS; see :class:`Contents`."""

    format: Format
    entries: Sequence[FilmEntry]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The films that are named, each once."""
        return tuple(dict.fromkeys(entry.film for entry in self.entries))

    def on(self, name: str, case: CaseRecord) -> PlacedObjects:
        """Return the circles on one film."""
        require_axes(case, (2,))
        ours = [entry for entry in self.entries if entry.film == name]
        table = placed_findings(ours, {name: grid_of(case)})
        return PlacedObjects(
            case.case_id, table.centres, table.diameters, table.labels.tolist(), table.is_excluded,
            np.full(len(table), np.nan),
        )  # fmt: skip

    def count(self, name: str) -> int:
        """Return how many findings a film has."""
        return sum(entry.film == name and entry.kind != NORMAL for entry in self.entries)

    def is_normal(self, name: str) -> bool:
        """Tell whether the table lists the film as normal."""
        return any(entry.kind == NORMAL for entry in self.entries if entry.film == name)

    def is_unplaced(self, name: str) -> bool:
        """Tell whether the film has a finding that is spread over it."""
        return any(
            entry.kind != NORMAL and entry.place is None for entry in self.entries if entry.film == name
        )


def _together(images: Sequence[ImageRegions]) -> ImageRegions:
    """Return what several files say about one image."""
    first = images[0]
    return replace(
        first, regions=RegionTable.joined([image.regions for image in images]),
        is_excluded=np.concatenate([image.is_excluded for image in images]),
        is_complete=any(image.is_complete for image in images),
    )  # fmt: skip


def _file_digest(path: Path) -> str:
    total = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            total.update(piece)
    return total.hexdigest()
