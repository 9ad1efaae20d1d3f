"""The formats in which annotations come and go: what each holds, which way it goes, and how a file is recognised."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from importlib import import_module
from itertools import islice
from typing import TYPE_CHECKING, Literal

from napari_medlab.errors import InputRefusedError
from napari_medlab.exchange.picture_masks import is_picture

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import ModuleType

__all__ = ["AUTO", "FORMATS", "LONGEST_CLASS", "Format", "detected", "format_named"]

AUTO = "auto"
LONGEST_CLASS = 64
"""Characters of the name of a class that is given by hand."""
MODULES = "napari_medlab.annotations.formats"
MOST_NAMED = 4
LOOKED_AT = 2000
"""So many files of a folder are counted to say what is in it."""


@dataclass(frozen=True)
class Format:
    """One format.

    Parameters
    ----------
    name : str
        What it is called on the command line.
    title : str
        What people call it.
    holds : str
        What of an object it can say.
    axes : tuple of int
        How many axes the images have that it is about.
    module : str
        The module that reads it, and writes it where it is written: one of :mod:`napari_medlab.annotations.formats`, or a
        whole name.
    reads, writes : bool
        Whether it comes in, and goes out.
    is_per_image : bool
        Whether a file is about one image: a folder of such files is read file by file.
    needs : {"", "grid", "sizes", "maps"}
        What else it takes to read it: the lattice of each file's image, the sizes of all images, or the label maps that
        it names.
    sniff, read : str
        The functions of the module that recognise a file and read it.
    otherwise, look : str
        The functions of the module that recognise a file by its name where a folder has none of the other kind, and that
        tell by what the first of these files hold whether they are what they are taken for; empty for none.
    """

    name: str
    title: str
    holds: str
    axes: tuple[int, ...]
    module: str
    reads: bool = True
    writes: bool = True
    is_per_image: bool = False
    needs: Literal["", "grid", "sizes", "maps"] = ""
    sniff: str = "sniff"
    read: str = "read"
    otherwise: str = ""
    look: str = ""

    def code(self) -> ModuleType:
        """Return the module that reads and writes it."""
        return import_module(self.module if "." in self.module else f"{MODULES}.{self.module}")

    def recognises(self, path: Path) -> bool:
        """Tell whether a file or a folder looks like this format; never raises for what it holds."""
        if not self.reads:
            return False
        recognise: Callable[[Path], bool] = getattr(self.code(), self.sniff)
        if not (self.is_per_image and path.is_dir()):
            return recognise(path) or self._looks_right([path])
        some = list(islice(_files(path), LOOKED_AT))
        return any(recognise(file) for file in some) or self._looks_right(some)

    def files(self, path: Path) -> list[Path]:
        """Return the files of this format in a folder, in the order of their names; a file is itself."""
        if not self.is_per_image or path.is_file():
            return [path]
        for name in filter(None, (self.sniff, self.otherwise)):
            recognise: Callable[[Path], bool] = getattr(self.code(), name)
            if found := [file for file in _files(path) if recognise(file)]:
                return found
        return []

    def _looks_right(self, files: list[Path]) -> bool:
        """Tell whether files that are of this format only where nothing else is there look like it."""
        look: Callable[[list[Path]], bool] | None = getattr(self.code(), self.look) if self.look else None
        return look is not None and look(files)


FORMATS: tuple[Format, ...] = (
    Format("luna16", "LUNA16 tables", "centres, diameters, scores", (3,), "luna16"),
    Format("mini-mias", "mini-MIAS table", "circles on films", (2,), "mini_mias", writes=False, sniff="is_mini_mias"),
    Format("coco", "COCO JSON", "polygons, masks, boxes, crowds, scores", (2,), "coco", is_per_image=True),
    Format("coco-results", "COCO results", "boxes, masks, scores", (2,), "coco", sniff="sniff_results",
           read="read_results"),
    Format("geojson", "GeoJSON (QuPath)", "polygons with holes and parts, scores", (2,), "geojson", is_per_image=True),
    Format("labelme", "LabelMe JSON", "polygons, boxes, circles", (2,), "labelme", writes=False, is_per_image=True),
    Format("cvat", "CVAT XML", "polygons, masks, boxes", (2,), "cvat", writes=False),
    Format("asap", "ASAP XML", "polygons", (2,), "asap", writes=False, is_per_image=True),
    Format("imagej", "ImageJ ROIs", "polygons, boxes, ellipses", (2,), "imagej_roi", writes=False, is_per_image=True),
    Format("hubmap", "HuBMAP RLE and JSON", "masks, polygons", (2,), "hubmap", needs="sizes"),
    Format("lidc", "LIDC-IDRI XML", "outlines of nodules by four readers", (3,), "lidc", writes=False,
           is_per_image=True, needs="grid"),
    Format("dicom-seg", "DICOM Segmentation", "masks", (3,), "dicom_seg", is_per_image=True, needs="grid"),
    Format("rtstruct", "DICOM RT Structure Set", "contours", (3,), "dicom_rtstruct", is_per_image=True,
           needs="grid"),
    Format("monai", "MONAI datalist", "boxes, label maps", (3,), "monai_datalist", needs="maps"),
    Format("nndetection", "nnDetection folder", "masks of objects", (2, 3), "nndetection", needs="maps"),
    Format("nnunet", "nnU-Net folder", "masks of classes", (2, 3), "nnunet", needs="maps"),
    Format("yolo", "YOLO folder", "boxes, polygons, scores", (2,), "yolo", needs="sizes"),
    Format("label-map", "label maps (NIfTI, MHA, NRRD; PNG and TIFF masks)", "masks of objects", (2, 3),
           "napari_medlab.exchange.label_maps", is_per_image=True, needs="grid",
           otherwise="is_picture", look="look_like_masks"),
)  # fmt: skip
"""In the order in which a file is tried."""


def format_named(name: str) -> Format:
    """Return a format by its name; raise ``unknown-format`` where there is none."""
    for one in FORMATS:
        if one.name == name:
            return one
    raise InputRefusedError(
        f"There is no format {name!r:.80}.",
        code="unknown-format",
        hint=f"Formats: {', '.join(one.name for one in FORMATS)}.",
    )


def detected(path: Path) -> Format:
    """Return the format of a file or folder, by what it holds.

    Raises
    ------
    InputRefusedError
        ``file`` where there is nothing; ``unknown-format``, with what was found, where no format recognises it.
    """
    if not path.exists():
        raise InputRefusedError(
            f"There is nothing at {path}.", code="file", hint="Check the path; is its disk connected?"
        )
    for one in FORMATS:
        if one.recognises(path):
            return one
    readable = ", ".join(one.title for one in FORMATS if one.reads)
    masks = format_named("label-map")
    is_of_pictures = any(map(is_picture, masks.files(path)))
    raise InputRefusedError(
        f"{path.name} is of no format that is read here: it is {_described(path)}.",
        code="unknown-format",
        hint="Give --format label-map if these are masks; make those with blurred edges black and white first."
        if is_of_pictures
        else f"Formats: {readable}. Name one with --format where a file hides what it is.",
    )


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder and its sub-folders by name; what is hidden is left out."""
    for entry in sorted(folder.rglob("*")):
        if entry.is_file() and not any(part.startswith(".") for part in entry.relative_to(folder).parts):
            yield entry


def _described(path: Path) -> str:
    """Return in words what a path holds."""
    if path.is_file():
        size, ending = path.stat().st_size, "".join(path.suffixes[-2:]) or "no ending"
        return "an empty file" if size == 0 else f"a file of {size:,} bytes with {ending}"
    names = [entry for entry in islice(path.rglob("*"), LOOKED_AT) if entry.is_file()]
    if not names:
        return "a folder without a file"
    kinds = Counter(entry.suffix.lower() or "without an ending" for entry in names)
    told = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(MOST_NAMED))
    return f"a folder with {len(names)}{' or more' if len(names) == LOOKED_AT else ''} files ({told})"
