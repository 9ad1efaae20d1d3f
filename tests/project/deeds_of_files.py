"""What goes out of a project or beside it, and what a disk can spoil of that: exports, images, masks, weights, pages."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel
import numpy as np
import SimpleITK as sitk
import tifffile
import torch
import zarr
from deed import Deed
from highdicom._standard_utils import get_module_attribute_map

sys.path.insert(0, str(Path(__file__).parents[1] / "exchange"))

from exchange_samples import RUN, fill, predict, project_of, write_images

from napari_medlab.errors import InputRefusedError
from napari_medlab.exchange.collecting import Selection
from napari_medlab.exchange.exporting import MANIFEST, Outgoing, export_objects
from napari_medlab.exchange.writers import WRITERS
from napari_medlab.geometry import Grid
from napari_medlab.images import Image
from napari_medlab.images.writers import write_image
from napari_medlab.models.bundles import write_bundle
from napari_medlab.models.inference.mask_store import MaskStore
from napari_medlab.models.training.checkpoints import read_checkpoint, write_checkpoint
from napari_medlab.project import Project

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMATS = (
    "coco", "dicom_rtstruct", "dicom_seg", "geojson", "hubmap", "luna16", "monai_datalist", "nndetection", "nnunet",
    "yolo",
)  # fmt: skip
LOADED_LATE = [
    "PIL.PngImagePlugin", "dask.array", "dask.threaded", "encodings.utf_8_sig", "highdicom.seg",
    "multiprocessing.synchronize", "skimage.measure._label", "zarr.codecs",
    *(f"napari_medlab.annotations.formats.{name}" for name in FORMATS),
]  # fmt: skip
"""Loaded here once, and not again in each of thousands of children; dask loads its scheduler where there is one."""
for module in [*LOADED_LATE, *(["distributed"] if find_spec("distributed") is not None else [])]:
    import_module(module)
get_module_attribute_map()  # highdicom's own tables, which it reads once

VOXELS = np.arange(4 * 12 * 10, dtype=np.int16).reshape(4, 12, 10)
GRID = Grid.axis_aligned(VOXELS.shape, (2.0, 0.5, 0.5))
IMAGES = (".nii", ".nii.gz", ".mha", ".ome.tif", ".zarr")
RECIPE = {"steps": 9}


def make_outlined(place: Path, *, is_planar: bool) -> None:
    """Make a project of two images with outlined findings on one, and a run."""
    images = write_images(place / "images", photos=2 if is_planar else 0, volumes=0 if is_planar else 2)
    with project_of(place / "p", images) as project:
        fill(project, plain=True)
        predict(project)


def export(place: Path, project: Project, *, form: str, run_id: str) -> None:
    export_objects(project, place / "out", Outgoing(form, with_images=False), Selection(run_id=run_id))


def exported(place: Path) -> str:
    """Hold every file of an export against its manifest."""
    out = place / "out"
    if not out.exists():
        return "before"
    stated = json.loads((out / MANIFEST).read_text())["files"]
    found = {
        path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in out.rglob("*")
        if path.is_file() and path.name != MANIFEST
    }
    with Project.open(place / "p", read_only=True) as project:
        problems = project.verify()
    return "after" if stated and found == stated and not problems else f"{problems}, {sorted(found)}"


def _export_deed(form: str) -> Deed:
    is_planar = 3 not in WRITERS[form].axes
    run_id = RUN if form in ("coco", "luna16") else ""
    return Deed(
        partial(make_outlined, is_planar=is_planar),
        lambda place: Project.open(place / "p", reader="ann"),
        partial(export, form=form, run_id=run_id),
        exported,
    )


def write_volume(place: Path, image: Image, *, suffix: str) -> None:
    write_image(image, place / f"image{suffix}")


def volume_written(place: Path, *, suffix: str) -> str:
    path = place / f"image{suffix}"
    if not path.exists():
        return "before"
    return "after" if np.array_equal(_pixels(path), VOXELS) else "other pixels"


def _pixels(path: Path) -> NDArray[Any]:
    """Read an image as others do."""
    if ".nii" in path.name:
        return np.asarray(nibabel.load(path).dataobj).transpose()  # type: ignore[attr-defined]
    if path.suffix == ".mha":
        return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    if path.suffix == ".tif":
        return np.asarray(tifffile.imread(path))
    return np.asarray(zarr.open_group(str(path), mode="r")["0"][:])  # type: ignore[index]


def _image_deed(suffix: str) -> Deed:
    return Deed(
        Path.mkdir,
        lambda _: Image.of_arrays([VOXELS], GRID, modality="CT"),
        partial(write_volume, suffix=suffix),
        partial(volume_written, suffix=suffix),
    )


def write_mask(place: Path, _: object) -> None:
    """Write masks chunk by chunk, from the beginning where an earlier attempt did not come to its end."""
    folder = place / "mask"
    if folder.exists():
        shutil.rmtree(folder)
    store = MaskStore.create(folder, GRID, ["a", "b"], chunk=(2, 12, 10))
    for number in range(2):
        store.write((number, 0, 0), np.full((2, 2, 12, 10), 40 + number, np.uint8))
    store.finish()


def mask_written(place: Path) -> str:
    """Tell what is served: masks that are not complete say so, whatever is asked of them."""
    if not (place / "mask").exists():
        return "before"
    try:
        store = MaskStore.open(place / "mask")
        pixels = store.read((0, 0, 0), GRID.shape)
    except InputRefusedError:
        return "before"
    whole = np.array_equal(pixels, np.repeat([40, 40, 41, 41], 120).reshape(4, 12, 10)[None].repeat(2, 0))
    if not whole:
        return "other masks"
    return "after" if store.is_complete else "before"


def make_checkpointed(place: Path) -> None:
    place.mkdir()
    write_checkpoint(place / "state.checkpoint", training_state(1))


def training_state(number: int) -> dict[str, Any]:
    return {"recipe": RECIPE, "next": number, "network": {"w": torch.full((300, 300), float(number))}}


def checkpoint(place: Path, _: object) -> None:
    write_checkpoint(place / "state.checkpoint", training_state(2))


def checkpointed(place: Path) -> str:
    state = read_checkpoint(place / "state.checkpoint", RECIPE)
    if state is None:
        return "no state is left"
    number = int(state["next"])
    if not bool((state["network"]["w"] == number).all()):
        return "weights of another state"
    return {1: "before", 2: "after"}[number]


def write_model(place: Path, _: object) -> None:
    write_bundle(place, {"name": "small"}, {"w": torch.arange(9000.0)}, "A card.")


def model_written(place: Path) -> str:
    from napari_medlab.models.bundles.bundle import CARD, SPEC, WEIGHTS

    folders = list(place.glob("small-????????????"))
    if not folders:
        return "before"
    spec = json.loads((folders[0] / SPEC).read_text())
    weights = hashlib.sha256((folders[0] / WEIGHTS).read_bytes()).hexdigest()
    card = (folders[0] / CARD).read_text()
    return "after" if (spec["weights_sha256"], card) == (weights, "A card.") else "other files"


FILES = {
    **{f"export {form}": _export_deed(form) for form in WRITERS},
    **{f"image {suffix}": _image_deed(suffix) for suffix in IMAGES},
    "mask": Deed(Path.mkdir, lambda _: None, write_mask, mask_written),
    "checkpoint": Deed(make_checkpointed, lambda _: None, checkpoint, checkpointed),
    "model": Deed(Path.mkdir, lambda _: None, write_model, model_written),
}
"""Deeds by name, as :data:`deeds.DEEDS`."""
