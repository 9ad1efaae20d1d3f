"""OME-Zarr 0.4 and 0.5: a folder with a pyramid of chunked arrays."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.errors import ImageRefusedError
from napari_medlab.geometry import Grid
from napari_medlab.images.decisions import AS_IS, Decisions
from napari_medlab.images.image import Image, ImageWarning
from napari_medlab.images.refusals import check_finite
from napari_medlab.images.slides.absent import absent_warnings
from napari_medlab.images.slides.markup import plain
from napari_medlab.images.slides.phases import chosen_phase
from napari_medlab.images.slides.pixel_size import MAX_MICROMETRES
from napari_medlab.images.slides.zarr_arrays import inside
from napari_medlab.images.slides.zarr_metadata import read_array, read_json
from napari_medlab.images.slides.zarr_tiles import ZarrTiles

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medlab.images.slides.zarr_arrays import ZarrArray

__all__ = ["open_ome_zarr"]

"""A folder that holds one of these is a Zarr."""
MAX_LEVELS = 32
MICROMETRES = {"micrometer": 1.0, "millimeter": 1e3, "nanometer": 1e-3, "centimeter": 1e4, "meter": 1e6,
               "angstrom": 1e-4, "picometer": 1e-6}  # fmt: skip
OUR_NAME = "napari-medlab"
PRIMARY = (("ff0000", "red", "r"), ("00ff00", "green", "g"), ("0000ff", "blue", "b"))


@dataclass(frozen=True)
class _Axes:
    """The axes of the arrays by letter, and the unit of each in µm (None where it is not stated)."""

    letters: str
    units: dict[str, float | None]

    def size(self, array: ZarrArray, letter: str) -> int:
        """Return the size along an axis, 1 where there is none."""
        return array.shape[self.letters.index(letter)] if letter in self.letters else 1


def open_ome_zarr(folder: Path, decisions: Decisions = AS_IS) -> Image:
    """Return the image of an OME-Zarr folder, its chunks unread."""
    root = folder.resolve()
    place, attributes = _attributes(root)
    scales = attributes["multiscales"][0]
    axes = _axes(folder, scales)
    arrays, placements = _levels(root, place, scales, axes)
    sizes = (axes.size(arrays[0], "c"), axes.size(arrays[0], "z"), axes.size(arrays[0], "t"))
    count, channel, time = chosen_phase(folder, sizes, decisions)
    is_volume = sizes[1] > 1
    shown = "zyx" if is_volume else "yxc" if sizes[0] > 1 else "yx"
    kept = tuple(axes.letters.index(letter) for letter in shown)
    chosen = {"c": channel, "t": time}
    fixed = {axis: chosen.get(letter, 0) for axis, letter in enumerate(axes.letters) if letter not in shown}
    sources = tuple(ZarrTiles(array, kept, fixed, blank_absent=bool(decisions.absent)) for array in arrays)
    missing = sum(array.missing() for array in arrays)
    absent = absent_warnings(folder, missing, decisions, arrays[0].fill)
    grid, unknown = _grid(folder, sources[0].shape, placements[0], axes, attributes, is_volume=is_volume)
    names, is_rgb = _channels(attributes, sources[0])
    is_slide = len(sources) > 1 or grid.unit != "px"
    return Image(
        path=folder,
        kind="volume" if is_volume else "slide" if is_slide else "photo",
        modality="SM" if is_slide and not is_volume else "",
        sources=sources,
        grid=grid,
        is_rgb=is_rgb,
        channel_names=() if is_rgb else names,
        warnings=(*absent, *unknown),
        details={"format": "OME-Zarr"},
        decisions=Decisions(
            phase=decisions.phase if count > 1 else None, absent="background" if missing else ""
        ),
    )


def _attributes(root: Path) -> tuple[Path, dict[str, Any]]:
    """Return the folder that holds the pyramid, and its attributes; a converter puts the first image into ``0``."""
    for place in (root, root / "0"):
        version3, version2 = inside(root, place / "zarr.json"), inside(root, place / ".zattrs")
        found: Any = {}
        if version3.is_file():
            attributes = read_json(version3).get("attributes", {})
            found = {**attributes, **attributes.get("ome", {})}
        elif version2.is_file():
            found = read_json(version2)
        if found.get("multiscales"):
            return place, found
        if "bioformats2raw.layout" not in found:
            break
    raise ImageRefusedError(
        f"{root.name} is a Zarr that does not describe an image.",
        code="unsupported",
        hint="Open the folder of one image whose metadata has “multiscales”, as OME-Zarr 0.4 and 0.5 have it.",
    )


def _axes(folder: Path, scales: dict[str, Any]) -> _Axes:
    stated = scales.get("axes")
    letters = [str(axis.get("name", "")).lower() for axis in stated] if isinstance(stated, list) else []
    if not re.fullmatch(r"t?c?z?yx", "".join(letters)) or any(len(letter) != 1 for letter in letters):
        raise ImageRefusedError(
            f"{folder.name} has the axes {letters}, expected some of t, c, z, and y, x in this order.",
            code="unsupported",
            hint="Save it as OME-Zarr 0.4 or 0.5 with these axes.",
        )
    units = {
        letter: MICROMETRES.get(str(axis.get("unit")))
        for letter, axis in zip(letters, stated or [], strict=True)
    }
    return _Axes("".join(letters), units)


def _levels(
    root: Path, place: Path, scales: dict[str, Any], axes: _Axes
) -> tuple[list[ZarrArray], list[tuple[list[float], list[float]]]]:
    """Return the arrays, finest first, and scale and translation of each."""
    datasets = scales["datasets"]
    if not 0 < len(datasets) <= MAX_LEVELS:
        raise ValueError(f"{len(datasets)} levels")
    arrays: list[ZarrArray] = []
    placements: list[tuple[list[float], list[float]]] = []
    for dataset in datasets:
        array = read_array(root, inside(root, place / _safe(root, dataset.get("path"))))
        if len(array.shape) != len(axes.letters) or (arrays and array.dtype != arrays[0].dtype):
            raise ValueError(f"an array of {array.shape} and {array.dtype} for the axes {axes.letters}")
        placement = _placement(root, (dataset, scales), len(array.shape))
        if arrays:
            _check_level(root, (arrays[0], array), (placements[0], placement), axes)
        arrays.append(array)
        placements.append(placement)
    return arrays, placements


def _safe(root: Path, path: object) -> str:
    parts = str(path).split("/")
    if not isinstance(path, str) or not all(
        re.fullmatch(r"[^\\:\0]+", part) and part not in (".", "..") for part in parts
    ):
        raise ImageRefusedError(
            f"{root.name}: its metadata names the level {str(path)[:64]!r}.",
            code="path",
            hint="Levels lie in folders within the image; the metadata is damaged or was made to do harm.",
        )
    return path


def _placement(
    root: Path, stated: tuple[dict[str, Any], dict[str, Any]], ndim: int
) -> tuple[list[float], list[float]]:
    """Return scale and translation along each axis: what the level says, and then what all of them share."""
    scale, translation = np.ones(ndim), np.zeros(ndim)
    for owner in stated:
        for transform in owner.get("coordinateTransformations") or []:
            kind = transform.get("type")
            if kind not in ("scale", "translation"):
                continue
            values = np.asarray(transform[kind], dtype=np.float64)
            check_finite(root, kind, values.tolist())
            if values.shape != (ndim,) or (kind == "scale" and (values <= 0).any()):
                raise ImageRefusedError(
                    f"{root.name}: a {kind} of {values.tolist()} for {ndim} axes.",
                    code="spacing",
                    hint="Scales must be positive, one for each axis; the metadata is damaged.",
                )
            scale, translation = (
                (scale * values, translation * values) if kind == "scale" else (scale, translation + values)
            )
    return scale.tolist(), translation.tolist()


def _check_level(
    root: Path,
    arrays: tuple[ZarrArray, ZarrArray],
    placements: tuple[tuple[list[float], list[float]], tuple[list[float], list[float]]],
    axes: _Axes,
) -> None:
    """Refuse a level that is not the first one made smaller, or whose scale says otherwise than its size."""
    for axis, letter in enumerate(axes.letters):
        whole, part = arrays[0].shape[axis], arrays[1].shape[axis]
        by_size, by_scale = whole / part, placements[1][0][axis] / placements[0][0][axis]
        # sizes are rounded up or down, and a single slice may stand for many
        allowed = 0.02 + 1.5 / part
        if (
            part > whole
            or (letter in "ct" and part != whole)
            or (letter in "zyx" and abs(by_scale / by_size - 1) > allowed)
        ):
            raise ImageRefusedError(
                f"{root.name}: along {letter} a level of {part} for {whole} has a scale {by_scale:.4g} times as large.",
                code="unsupported",
                hint="Its levels do not show the same place; write the pyramid again.",
            )


def _grid(
    folder: Path, shape: tuple[int, ...], placement: tuple[list[float], list[float]], axes: _Axes,
    attributes: dict[str, Any], *, is_volume: bool,
) -> tuple[Grid, tuple[ImageWarning, ...]]:  # fmt: skip
    shown = "zyx" if is_volume else "yx"
    units = [axes.units[letter] for letter in shown]
    own = attributes.get(OUR_NAME, {})
    if is_volume and isinstance(own, dict) and "affine_lps" in own:
        return Grid(shape, _own_affine(folder, own["affine_lps"]), "mm"), ()
    if any(unit is None for unit in units):
        warning = ImageWarning(
            "unknown-spacing", "The metadata states no unit of length on all axes: taken as unknown."
        )
        return Grid.axis_aligned(shape[: len(shown)], (1.0,) * len(shown), unit="px"), (warning,)
    at = [axes.letters.index(letter) for letter in shown]
    step, start = (
        [values[axis] * (unit or 1.0) for axis, unit in zip(at, units, strict=True)] for values in placement
    )
    if is_volume and min(step) >= 1.0:
        return Grid.axis_aligned(shape, [s / 1000 for s in step], [s / 1000 for s in start[::-1]], "mm"), ()
    if is_volume:
        return Grid.axis_aligned(shape, step, start[::-1], "um"), ()
    # planes are measured from the centre of their first pixel
    if max(step) > MAX_MICROMETRES:
        return Grid.axis_aligned(shape[:2], [s / 1000 for s in step], unit="mm"), ()
    return Grid.axis_aligned(shape[:2], step, unit="um"), ()


def _own_affine(folder: Path, values: object) -> np.ndarray[Any, np.dtype[np.float64]]:
    affine = np.asarray(values, dtype=np.float64)
    if affine.shape != (4, 4) or not np.array_equal(affine[3], (0, 0, 0, 1)):
        raise ImageRefusedError(
            f"{folder.name}: affine_lps is {str(values)[:200]}, expected a 4 × 4 matrix that ends with 0, 0, 0, 1.",
            code="affine",
            hint="The metadata is damaged; export the image again.",
        )
    return affine


def _channels(attributes: dict[str, Any], source: ZarrTiles) -> tuple[tuple[str, ...], bool]:
    """Return the names of the channels, and whether they are red, green and blue."""
    omero = attributes.get("omero")
    stated = omero.get("channels", []) if isinstance(omero, dict) else []
    if len(source.shape) < 3 or not isinstance(stated, list) or source.shape[2:] != (len(stated),):
        return (), False
    described = [channel if isinstance(channel, dict) else {} for channel in stated]
    names = tuple(plain(channel.get("label", "")) for channel in described)
    colours = [str(channel.get("color", "")).lower() for channel in described]
    primary = len(names) == 3 and source.dtype == np.uint8
    is_rgb = primary and all(
        colour in words or name.lower() in words
        for colour, name, words in zip(colours, names, PRIMARY, strict=True)
    )
    return names if all(names) else (), is_rgb
