"""GeoJSON as QuPath writes and reads it: the objects of one image, with classes, colours, names and measurements.

Source: RFC 7946, and QuPath's documentation "Exporting annotations" (``qupath.lib.io.GsonTools``). A file holds a
FeatureCollection, a list of features, or a single feature.

**Counting.** QuPath's coordinates are pixels of the full resolution from the image's **upper left corner**, y downwards:
half a pixel is taken off when reading and put on when writing. A ring's last point repeats its first.

**Meaning.** The file does not name its image: it is named after the file unless told otherwise. The class is
``classification`` (``name``, or ``names`` joined by ``": "``); an object without one is ``"unclassified"``, and the other
way round. The measurement ``score`` (any case) is the score. Parts of a MultiPolygon that share area are united. An
outline that is excluded, or has an owner, says so under ``metadata``, which QuPath keeps.

**Exactness.** All vertices come back where half a pixel can be added without rounding (any multiple of 2⁻²⁴ px). Rings
come back in the order of parts, each with its holes behind it; rings that cross one another are no GeoJSON and are mended
to the same area. Ids that are UUIDs are written with dashes, as QuPath wants them, and read without; ids that are missing
or the same for several objects (older versions of QuPath) become the number of the feature.

**Lost**: nuclei inside cells, z and t of planes, locks, hierarchy. Points and lines have no area and are counted in
``extra["left_out"]``. ``extra`` keeps ``names``, ``object_types`` and ``measurements`` by id, and ``colours`` by class.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.annotations.formats.faults import Faults
from napari_medlab.annotations.formats.files import beginning, collector_paused
from napari_medlab.annotations.formats.json_files import (
    as_list,
    as_object,
    number,
    points,
    read_json,
    write_json,
)
from napari_medlab.annotations.formats.labels import checked_text, shown
from napari_medlab.annotations.formats.outline_rows import (
    Outline,
    check_ring,
    image_regions,
    outlines_of,
    ring_without_end,
)
from napari_medlab.annotations.formats.ring_parts import nested_parts, united
from napari_medlab.geometry import centres_to_corners, corners_to_centres

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_medlab.annotations.image_regions import ImageRegions

__all__ = ["UNCLASSIFIED", "features", "read", "sniff", "write"]

UNCLASSIFIED = "unclassified"
HINT = "Export the objects from QuPath again, as GeoJSON."
KIND = re.compile(rb'"type"\s*:\s*"Feature(Collection)?"')
DASHED = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
PLAIN = re.compile(r"[0-9a-f]{32}")
WITHOUT_AREA = ("Point", "MultiPoint", "LineString", "MultiLineString")


def sniff(path: str | Path) -> bool:
    """Tell by its beginning whether a file is GeoJSON with features."""
    start = beginning(Path(path))
    return start.lstrip()[:1] in (b"{", b"[") and KIND.search(start) is not None


@collector_paused()
def read(path: str | Path, image: str | None = None) -> list[ImageRegions]:
    """Return the outlines of a file, as one image.

    Parameters
    ----------
    path : path
    image : str, optional
        What the image is called; the file's name without its ending where it is left out.

    Raises
    ------
    InputRefusedError
        With code ``"geojson"`` and up to ten faulty places; otherwise as
        :func:`~napari_medlab.annotations.formats.json_files.read_json`.
    """
    path = Path(path)
    faults = Faults(path, "geojson", HINT)
    prefix, given = _features(read_json(path), faults)
    reader = _Reader(_ids(given))
    for position, feature in enumerate(given):
        try:
            reader.add(position, as_object(feature, "the feature"))
        except ValueError as error:
            faults.note(f"{prefix}[{position}]", error)
    faults.refuse()
    return [image_regions(path.stem if image is None else image, reader.outlines, extra=reader.extra())]


@collector_paused()
def write(path: str | Path, images: Sequence[ImageRegions]) -> None:
    """Write the outlines of one image as a FeatureCollection.

    Parameters
    ----------
    path : path
        Of a new file.
    images : sequence of ImageRegions
        Exactly one: the format knows no images.

    Raises
    ------
    InputRefusedError
        With code ``"exists"``; with ``"geojson"`` for more than one image, and for outlines of fewer than three points.
    """
    path = Path(path)
    if len(images) != 1:
        raise Faults(path, "geojson", "Write one file for each image.").refused(
            f"{len(images)} images, expected one"
        )
    write_json(path, {"type": "FeatureCollection", "features": features(path, images[0])})


@collector_paused()
def features(path: Path, image: ImageRegions) -> list[dict[str, Any]]:
    """Return the outlines of an image as features; ``path`` is named in what is refused."""
    faults = Faults(path, "geojson", "Mend or delete the outlines.")
    made = []
    for outline in outlines_of(image):
        try:
            geometry = _geometry(outline.rings)
        except ValueError as error:
            faults.note(f"outline {outline.region_id!r}", error)
        else:
            properties = _properties(outline, image.extra)
            name = _dashed(outline.region_id)
            made.append({"type": "Feature", "id": name, "geometry": geometry, "properties": properties})
    faults.refuse()
    return made


class _Reader:
    """Gathers the outlines of a file, and what is said about them beside."""

    def __init__(self, ids: Sequence[str]) -> None:
        self.outlines: list[Outline] = []
        self._ids = ids
        self._colours: dict[str, list[int]] = {}
        self._names: dict[str, str] = {}
        self._types: dict[str, str] = {}
        self._measurements: dict[str, dict[str, float]] = {}
        self._left_out: Counter[str] = Counter()

    def add(self, position: int, feature: dict[str, Any]) -> None:
        """Take in a feature; raise ValueError with what is wrong with it."""
        rings = self._rings(as_object(feature.get("geometry"), "geometry"))
        if not rings:
            return
        key = self._ids[position]
        properties = as_object(feature.get("properties") or {}, "properties")
        measurements = _measurements(properties.get("measurements"))
        scores = [name for name in measurements if name.lower() == "score"]
        score = measurements.pop(scores[0]) if scores else math.nan
        metadata = as_object(properties.get("metadata") or {}, "metadata")
        owner = metadata.get("owner_id") or ""
        outline = Outline(
            rings,
            self._label(properties.get("classification")),
            key,
            score,
            is_excluded=metadata.get("is_excluded") == "true",
            owner_id=checked_text(owner, "owner_id") if owner else "",
        )
        self.outlines.append(outline)
        if measurements:
            self._measurements[key] = measurements
        if properties.get("name") not in (None, ""):
            self._names[key] = checked_text(properties["name"], "name")
        kind = properties.get("objectType")
        if kind is not None and kind != _object_type(outline):
            self._types[key] = checked_text(kind, "objectType")

    def extra(self) -> dict[str, Any]:
        """Return what was said beside, without what was not."""
        said = {
            "colours": self._colours,
            "names": self._names,
            "object_types": self._types,
            "measurements": self._measurements,
            "left_out": dict(self._left_out),
        }
        return {name: value for name, value in said.items() if value}

    def _rings(self, geometry: dict[str, Any]) -> list[NDArray[np.float64]]:
        kind = geometry.get("type")
        coordinates = geometry.get("coordinates")
        if kind == "Polygon":
            return _part(coordinates, "coordinates")
        if kind == "MultiPolygon":
            given = as_list(coordinates, "coordinates")
            parts = [_part(part, f"coordinates[{position}]") for position, part in enumerate(given)]
            return united([part for part in parts if part])
        if kind not in WITHOUT_AREA:
            raise ValueError(f"geometry.type is {shown(kind)}, expected Polygon or MultiPolygon")
        self._left_out[kind] += 1
        return []

    def _label(self, classification: object) -> str:
        if classification is None:
            return UNCLASSIFIED
        given = as_object(classification, "classification")
        names = given.get("names")
        name = ": ".join(map(str, as_list(names, "classification.names"))) if names else given.get("name")
        if name is None:
            return UNCLASSIFIED
        label = checked_text(name, "classification.name")
        if label not in self._colours:
            colour = _colour(given)
            if colour:
                self._colours[label] = colour
        return label


def _features(value: object, faults: Faults) -> tuple[str, list[Any]]:
    """Return where the features stand, and what stands there."""
    if isinstance(value, list):
        return "", value
    if isinstance(value, dict) and value.get("type") == "Feature":
        return "", [value]
    if isinstance(value, dict) and isinstance(value.get("features"), list):
        return "features", value["features"]
    raise faults.refused(
        f"it holds {shown(value)}, expected a FeatureCollection, a Feature or a list of them"
    )


def _ids(given: Sequence[object]) -> list[str]:
    """Return an id for each feature: its own, or its number where it has none or shares it."""
    own = [feature.get("id") if isinstance(feature, dict) else None for feature in given]
    told = [
        _plain(str(key)) if isinstance(key, str | int) and not isinstance(key, bool) else "" for key in own
    ]
    counts = Counter(told)
    ids = []
    for position, key in enumerate(told, start=1):
        fits = key and counts[key] == 1 and len(key) <= 256 and key.isprintable()
        name = key if fits else str(position)
        while not fits and name in counts:
            name = f"feature-{name}"
        ids.append(name)
    return ids


def _plain(key: str) -> str:
    return key.replace("-", "") if DASHED.fullmatch(key) else key


def _dashed(key: str) -> str:
    if PLAIN.fullmatch(key) is None:
        return key
    return "-".join((key[:8], key[8:12], key[12:16], key[16:20], key[20:]))


def _part(value: object, what: str) -> list[NDArray[np.float64]]:
    rings = []
    for position, ring in enumerate(as_list(value, what)):
        place = f"{what}[{position}]"
        corners = ring_without_end(points(ring, place))
        rings.append(check_ring(np.ascontiguousarray(corners_to_centres(corners)[:, ::-1]), place))
    if not rings:
        raise ValueError(f"{what} is an empty list, expected rings")
    return rings


def _measurements(value: object) -> dict[str, float]:
    """Return measurements, told as an object or, by older versions, as a list; those that are no numbers are left out."""
    if value is None:
        return {}
    if isinstance(value, list):
        entries = [as_object(entry, "measurements") for entry in value]
        value = {str(entry.get("name")): entry.get("value") for entry in entries}
    pairs = as_object(value, "measurements").items()
    return {name: float(given) for name, given in pairs if _is_finite(given) and name.isprintable()}


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def _colour(classification: dict[str, Any]) -> list[int] | None:
    """Return red, green and blue, 0 to 255, told as a list or, by older versions, packed into one number."""
    colour, packed = classification.get("color"), classification.get("colorRGB")
    if colour is not None:
        channels = [int(number(channel, "classification.color", 255)) for channel in as_list(colour, "color")]
        if len(channels) == 3 and min(channels) >= 0:
            return channels
        raise ValueError(f"classification.color is {shown(colour)}, expected three numbers from 0 to 255")
    if packed is not None:
        bits = int(number(packed, "classification.colorRGB", 2**32))
        return [(bits >> shift) & 255 for shift in (16, 8, 0)]
    return None


def _object_type(outline: Outline) -> str:
    return "annotation" if math.isnan(outline.score) else "detection"


def _geometry(rings: Sequence[NDArray[np.float64]]) -> dict[str, Any]:
    for ring in rings:
        check_ring(ring)
    if not rings:
        raise ValueError("the outline has no points")
    parts = [[_closed(ring) for ring in part] for part in nested_parts(rings)]
    if not parts:
        raise ValueError("the outline has no area")
    if len(parts) == 1:
        return {"type": "Polygon", "coordinates": parts[0]}
    return {"type": "MultiPolygon", "coordinates": parts}


def _closed(ring: NDArray[np.float64]) -> list[list[float]]:
    corners: list[list[float]] = centres_to_corners(ring)[:, ::-1].tolist()
    return [*corners, corners[0]]


def _properties(outline: Outline, extra: dict[str, Any]) -> dict[str, Any]:
    key = outline.region_id
    kind = extra.get("object_types", {}).get(key, _object_type(outline))
    properties: dict[str, Any] = {"objectType": kind}
    if key in extra.get("names", {}):
        properties["name"] = extra["names"][key]
    if outline.label != UNCLASSIFIED:
        properties["classification"] = {"name": outline.label}
        if outline.label in extra.get("colours", {}):
            properties["classification"]["color"] = extra["colours"][outline.label]
    measurements = dict(extra.get("measurements", {}).get(key, {}))
    if not math.isnan(outline.score):
        measurements["score"] = number(outline.score, "the score")
    if measurements:
        properties["measurements"] = measurements
    metadata = {"is_excluded": "true"} if outline.is_excluded else {}
    if outline.owner_id:
        metadata["owner_id"] = outline.owner_id
    if metadata:
        properties["metadata"] = metadata
    return properties
