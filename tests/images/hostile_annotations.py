"""Sound files of annotations in every form, damage done to them, and the reading of them as the parser's process does it."""

from __future__ import annotations

import io
import json
import random
import tempfile
import zipfile
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
from hostile_documents import damaged_json, damaged_words
from hostile_mutations import mutate
from roifile import ROI_TYPE, ImagejRoi

from napari_medlab.annotations.formats import (
    coco,
    dicom_rtstruct,
    dicom_seg,
    geojson,
    hubmap,
    luna16,
    mini_mias,
)
from napari_medlab.annotations.formats.label_map import regions_of_labels
from napari_medlab.annotations.formats.outline_rows import Outline, box_ring, image_regions
from napari_medlab.exchange import parsing
from napari_medlab.exchange.formats import AUTO
from napari_medlab.geometry import Grid

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["KINDS", "parsed", "sound", "write_annotations"]

PLANAR = (24, 31)
GRID = Grid.axis_aligned((5, 12, 10), (2.5, 0.7, 0.6), (-100.125, 30.25, -500.5))
LABELS: NDArray[np.uint8] = (np.indices(GRID.shape).sum(axis=0) % 5 == 0).astype(np.uint8) * 2
CASE = "4f2a" * 8
SNIFFED_SHARE = 0.3
"""How many are read as whatever they look like, and not as what they are."""
STRUCTURE_SHARE = 0.5
DAMAGED = {"json": damaged_json, "xml": damaged_words, "table": damaged_words}
"""What keeps a document well formed."""
MANY_RINGS = (
    [box_ring(1.5, 1.5, 20.25, 18.0), box_ring(4.0, 4.5, 9.0, 9.5)],
    [box_ring(0.0, 0.0, 3.0, 3.0), box_ring(10.5, 10.5, 12.5, 14.5)],
    [np.asarray([[2.0, 2.0], [10.0, 12.0], [12.0, 2.0]])],
)
LABELME: dict[str, Any] = {
    "version": "5.0", "flags": {}, "imagePath": "a.png", "imageData": None, "imageHeight": 24, "imageWidth": 31,
    "shapes": [
        {"label": "mass", "points": [[4, 6], [14, 6], [14, 14]], "shape_type": "polygon", "group_id": None, "flags": {}},
        {"label": "cyst", "points": [[4, 6], [9, 6]], "shape_type": "circle", "group_id": 3, "flags": {}},
        {"label": "cyst", "points": [[4, 6], [9, 9]], "shape_type": "rectangle", "group_id": None, "flags": {}},
    ],
}  # fmt: skip
DATALIST: dict[str, Any] = {
    "name": "x", "labels": {"0": "nodule"}, "training": [
        {"image": "images/a.nii.gz", "box": [[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]], "label": [0], "fold": 1},
        {"image": "images/b.nii.gz", "box": [], "label": []},
    ],
}  # fmt: skip
CVAT = (
    '<?xml version="1.0"?><annotations><version>1.1</version><image id="0" name="a.png" width="31" height="24">'
    '<polygon label="mass" occluded="0" points="4,6;14,6;14,14;4,14" z_order="0"/>'
    '<box label="cyst" xtl="1.5" ytl="2" xbr="8" ybr="9" rotation="20"/>'
    '<ellipse label="cyst" cx="9" cy="8" rx="4" ry="2.5"/><polyline label="line" points="1,2;3,4"/>'
    '<mask label="mass" rle="3, 2, 1, 4, 2" left="3" top="4" width="4" height="3"/></image></annotations>'
)
ASAP = (
    '<?xml version="1.0"?><ASAP_Annotations><Annotations><Annotation Name="a" Type="Polygon" PartOfGroup="Tumor" '
    'Color="#F4FA58"><Coordinates><Coordinate Order="0" X="4.5" Y="6"/><Coordinate Order="1" X="14" Y="6"/>'
    '<Coordinate Order="2" X="14" Y="14"/></Coordinates></Annotation></Annotations><AnnotationGroups>'
    '<Group Name="Tumor" PartOfGroup="None" Color="#00ff00"><Attributes/></Group></AnnotationGroups></ASAP_Annotations>'
)
EDGES = "".join(
    f"<edgeMap><xCoord>{x}</xCoord><yCoord>{y}</yCoord></edgeMap>"
    for x, y in ((2, 2), (3, 2), (4, 2), (4, 3), (4, 4), (3, 4), (2, 4), (2, 3))
)
ROI = (
    "<roi><imageZposition>-495.5</imageZposition><imageSOP_UID>1.2</imageSOP_UID><inclusion>TRUE</inclusion>"
    f"{EDGES}</roi>"
)
LIDC = (
    '<?xml version="1.0" encoding="UTF-8"?><LidcReadMessage uid="1.3" xmlns="http://www.nih.gov"><ResponseHeader>'
    "<SeriesInstanceUid>1.2.840.77</SeriesInstanceUid></ResponseHeader>"
    + (
        "<readingSession><annotationVersion>3.12</annotationVersion><servicingRadiologistID>a</servicingRadiologistID>"
        "<unblindedReadNodule><noduleID>1</noduleID><characteristics><subtlety>5</subtlety><malignancy>4</malignancy>"
        f"</characteristics>{ROI}</unblindedReadNodule><nonNodule><nonNoduleID>2</nonNoduleID><imageZposition>-498.0"
        "</imageZposition><imageSOP_UID>1</imageSOP_UID><locus><xCoord>3</xCoord><yCoord>5</yCoord></locus></nonNodule>"
        "</readingSession>"
    )
    * 2
    + "</LidcReadMessage>"
)
LUNA = (
    "seriesuid,coordX,coordY,coordZ,diameter_mm\n1.3.6.1,-128.6994,-175.3192,-298.3875,5.651470\n"
    "1.3.6.1,103.78365,-211.925149,-227.12125,4.224708\n1.3.6.2,69.6390169,-140.944586,876.3744957,5.786347\n"
)
SCORES = "seriesuid,coordX,coordY,coordZ,probability\n1.3.6.1,-128.6,-175.3,-298.4,0.93\n1.3.6.2,69.6,-140.9,876.4,0.02\n"
FILMS = "mdb001 G CIRC B 535 425 197\nmdb002 G CIRC B 522 280 69\nmdb003 D NORM\nmdb059 F CIRC B\n"
YOLO = "0 0.5 0.5 0.25 0.5\n1 0.1 0.1 0.6 0.1 0.6 0.7 0.2 0.9\n0 0.2 0.3 0.1 0.1 0.88\n"


def _planar(score: float = float("nan")) -> list[Any]:
    rows = [
        Outline(rings, label, f"{number:032x}", score)
        for number, (rings, label) in enumerate(
            zip(MANY_RINGS, ("mass", "cyst", "mass"), strict=True), start=1
        )
    ]
    return [image_regions("a.png", rows, shape=PLANAR)]


def _by(write: Callable[..., None], *given: Any, name: str) -> bytes:  # noqa: ANN401 - as the writers take them
    """Return what a writer writes."""
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder) / name, *given)
        return (Path(folder) / name).read_bytes()


def _rois() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for number in range(3):
            archive.writestr(zipfile.ZipInfo(f"{number}.roi"), _roi(number))
    return stream.getvalue()


def _roi(number: int = 0) -> bytes:
    roi = ImagejRoi.frompoints([(4, 6 + number), (14, 6), (14, 14), (4, 14)], name="mass")
    roi.roitype = ROI_TYPE.POLYGON
    return bytes(roi.tobytes())


@lru_cache(maxsize=1)
def _seeds() -> dict[str, tuple[tuple[str, str, bytes], ...]]:
    voxels = regions_of_labels(CASE, LABELS, {2: "nodule"}, split=True)
    return {
        "json": (
            ("coco", ".json", _by(coco.write, _planar(), name="a.json")),
            ("geojson", ".geojson", _by(geojson.write, _planar(0.5), name="a.geojson")),
            ("labelme", ".json", json.dumps(LABELME).encode()),
            ("monai", ".json", json.dumps(DATALIST).encode()),
        ),
        "xml": (("cvat", ".xml", CVAT.encode()), ("asap", ".xml", ASAP.encode()), ("lidc", ".xml", LIDC.encode())),
        "table": (
            ("luna16", ".csv", LUNA.encode()),
            ("luna16", ".csv", SCORES.encode()),
            ("mini-mias", ".txt", FILMS.encode()),
            ("hubmap", ".csv", _by(hubmap.write, _planar(), name="a.csv")),
            ("yolo", ".txt", YOLO.encode()),
        ),
        "dicom-seg": (
            ("dicom-seg", ".dcm", _by(dicom_seg.write, voxels, GRID, name="a.dcm")),
            ("dicom-seg", ".dcm", _by(_labelmap, voxels, GRID, name="a.dcm")),
        ),
        "rtstruct": (("rtstruct", ".dcm", _by(dicom_rtstruct.write, voxels, GRID, name="a.dcm")),),
        "imagej": (("imagej", ".roi", _roi()), ("imagej", ".zip", _rois())),
    }  # fmt: skip


KINDS = ("json", "xml", "table", "dicom-seg", "rtstruct", "imagej")


def _labelmap(path: Path, voxels: Any, grid: Grid) -> None:  # noqa: ANN401 - as the writer takes it
    dicom_seg.write(path, voxels, grid, kind="LABELMAP")


def write_annotations(folder: Path, kind: str, number: int) -> Path:
    """Write a damaged file and return its path, whose name begins with its format."""
    rng = random.Random(f"{kind} {number}")
    seeds = _seeds()[kind]
    (name, suffix, data), donor = rng.choice(seeds), rng.choice(seeds)[2]
    is_kept_whole = kind in DAMAGED and rng.random() < STRUCTURE_SHARE
    damaged = DAMAGED[kind](data, rng) if is_kept_whole else mutate(data, rng, donor)
    return _written(folder / f"{name}@{number}{suffix}", damaged)


def sound(folder: Path) -> list[Path]:
    """Write a sound file of each format."""
    return [
        _written(folder / f"{name}@{kind}{number}{suffix}", data)
        for kind, seeds in _seeds().items()
        for number, (name, suffix, data) in enumerate(seeds)
    ]


def _written(path: Path, data: bytes) -> Path:
    if path.name.startswith("yolo"):  # a folder with names beside it
        path = path.with_suffix("")
        (path / "labels").mkdir(parents=True)
        (path / "data.yaml").write_text("names: [mass, cyst]\n")
        (path / "labels/a.txt").write_bytes(data)
    else:
        path.write_bytes(data)
    return path


def parsed(path: Path) -> Any:  # noqa: ANN401 - what an image is asked for and no more
    """Read a file as the process that parses annotations does, or the window itself where it is a table."""
    name = path.name.partition("@")[0]
    is_sniffed = random.Random(path.name).random() < SNIFFED_SHARE
    options: dict[str, str] = {}
    ask = {"op": "read", "path": str(path), "format": AUTO if is_sniffed else name, "options": options}
    message, _ = parsing.answer(ask, _nobody)
    found = message["format"]
    if found == "luna16":
        reader = luna16.read_candidates if b"probability" in path.read_bytes() else luna16.read_reference
        reader(path)
    elif found == "mini-mias":
        entries = mini_mias.read_films(path)
        mini_mias.placed_findings(
            entries, {e.film: Grid.axis_aligned((1024, 1024), (1, 1), unit="px") for e in entries}
        )
    elif "files" in message:
        files = [{"path": str(path), "image": CASE, "grid": GRID.as_json()}]
        parsing.answer({"op": "read on grids", "format": found, "files": files}, _nobody)
    elif "names" in message:
        shapes = dict.fromkeys(message["names"], PLANAR)
        parsing.answer(
            {"op": "read with sizes", "path": str(path), "format": found, "shapes": shapes}, _nobody
        )
    return SimpleNamespace(levels=())


def _nobody(done: int, total: int) -> None:
    del done, total
