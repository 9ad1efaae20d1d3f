"""A package of hard examples: crops, what lies in them, why they were taken, and hashes of it all."""

from __future__ import annotations

import hashlib
import json
import zlib
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.durable import new_folder, write_file
from napari_medlab.errors import InputRefusedError
from napari_medlab.geometry import Grid, resample
from napari_medlab.hardcases.near_misses import is_near_miss

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_medlab.annotations import FindingTable
    from napari_medlab.hardcases.mining import Example
    from napari_medlab.images import Image

__all__ = ["Crop", "CropSettings", "read_package", "write_package"]

SCHEMA = 1
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class CropSettings:
    """How crops are cut: ``spacing_mm`` along every axis, ``shape`` (z, y, x) in voxels."""

    spacing_mm: float = 1.5
    shape: tuple[int, int, int] = (40, 48, 48)


@dataclass(frozen=True, eq=False)
class Crop:
    """One example as read from a package.

    Parameters
    ----------
    volume : int16 array (z, y, x), pixel values of the source (Hounsfield units for CT)
    record : dict
        Its entry of the manifest: ``boxes`` hold ``centre`` (voxel index z, y, x), ``diameter`` (voxels) and
        ``ignored``; besides ``reason``, ``weight``, ``case_id``, ``object_id``, ``verdict``.
    """

    volume: NDArray[np.int16]
    record: dict[str, Any]


def write_package(
    folder: Path, examples: Sequence[Example], findings: FindingTable, open_case: Callable[[str], Image],
    settings: CropSettings, about: dict[str, Any],
) -> Iterator[tuple[int, int]]:
    """Write a package, whole or not at all, yielding (done, total) after each crop.

    Parameters
    ----------
    folder : must not exist: nothing is overwritten
    examples : what to cut
    findings : everything that is known to lie in those cases
    open_case : opens the image of a case
    settings : CropSettings
    about : what else the manifest tells: the model that failed, the reader, the edits, the split, fingerprints

    Raises
    ------
    InputRefusedError
        Where the folder exists, or there is nothing to write.
    """
    if not examples:
        raise InputRefusedError(
            "There are no hard examples to write: the queue of training cases is empty.", code="empty",
            hint="Allow more false positives per scan, or run the model on training cases first.",
        )  # fmt: skip
    with new_folder(folder) as partial:
        (partial / "crops").mkdir()
        records: list[dict[str, Any]] = []
        # a case is decoded once: its examples are cut together
        for case_id in dict.fromkeys(e.case_id for e in examples):
            image = open_case(case_id).oriented()
            if image.kind != "volume":
                raise InputRefusedError(
                    f"{image.path.name} is a {image.kind}; packages hold crops of volumes.", code="wrong-kind",
                    hint="Take the examples from cases that are volumes.",
                )  # fmt: skip
            volume = image.decoded()
            known = findings.for_case(case_id)
            for example in (e for e in examples if e.case_id == case_id):
                name = f"crops/{len(records):05d}.nii.gz"
                crop, grid = _cut(volume, image.grid, example.centre, settings)
                _write_nifti(partial / name, crop, grid)
                records.append(_record(example, name, partial, grid, known))
                yield len(records), len(examples)
        created = datetime.now(UTC).isoformat(timespec="seconds")
        manifest = {"schema": SCHEMA, "created": created, "crops": asdict(settings), **about, "examples": records}
        write_file(partial / MANIFEST, json.dumps(manifest, indent=1, allow_nan=False).encode())


def read_package(folder: Path) -> tuple[dict[str, Any], list[Crop]]:
    """Return the manifest of a package and its crops, every file checked against its hash.

    Raises
    ------
    InputRefusedError
        Where a file is missing, unreadable, or not what the manifest says.
    """
    import nibabel

    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        crops = []
        for record in manifest["examples"]:
            path = _inside(folder, record["file"])
            if hashlib.sha256(path.read_bytes()).hexdigest() != record["sha256"]:
                raise InputRefusedError(
                    f"{path} has been changed since the package was written.", code="hash",
                    hint="Write the package again.",
                )  # fmt: skip
            nifti: Any = nibabel.load(path)
            stored = np.asanyarray(nifti.dataobj)
            crops.append(Crop(np.ascontiguousarray(stored.transpose(2, 1, 0)).astype(np.int16), record))
    except InputRefusedError:
        raise
    except (OSError, EOFError, LookupError, TypeError, ValueError, RecursionError, MemoryError, zlib.error,
            nibabel.filebasedimages.ImageFileError, nibabel.spatialimages.HeaderDataError) as error:
        raise InputRefusedError(
            f"{folder} is not a readable package of hard examples: {error}", code="package"
        ) from error
    return manifest, crops


def _cut(
    volume: NDArray[np.generic], grid: Grid, centre: tuple[float, ...], settings: CropSettings
) -> tuple[NDArray[np.int16], Grid]:
    """Return the crop around a world position, and its grid."""
    shape = np.asarray(settings.shape)
    affine = np.array(grid.affine)
    affine[:3, :3] = grid.direction * settings.spacing_mm
    affine[:3, 3] = np.asarray(centre) - affine[:3, :3] @ ((shape - 1) / 2)
    target = Grid(settings.shape, affine, grid.unit)
    corners = grid.to_index(target.to_world(np.stack([np.zeros(3), shape - 1])))
    low = np.clip(np.floor(corners.min(axis=0)) - 3, 0, np.asarray(grid.shape) - 1).astype(int)
    high = np.clip(np.ceil(corners.max(axis=0)) + 4, low + 1, grid.shape).astype(int)
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    fill = float(volume.min())
    crop = resample(volume[box], grid.cropped(low, high - low), target, fill=fill)
    return np.clip(np.rint(crop), -32768, 32767).astype(np.int16), target


def _record(example: Example, name: str, root: Path, grid: Grid, known: FindingTable) -> dict[str, Any]:
    index = grid.to_index(known.centres.reshape(-1, 3))
    radius = np.maximum(known.diameters, 0) / 2 / grid.spacing[0]
    near = ((index > -radius[:, None]) & (index < np.asarray(grid.shape) - 1 + radius[:, None])).all(axis=1)
    boxes = [
        {
            "finding_id": str(known.ids[r]),
            "label": str(known.labels[r]),
            "centre": index[r].tolist(),
            "diameter": float(known.diameters[r]) / grid.spacing[0] if known.diameters[r] > 0 else 10 / grid.spacing[0],
            "ignored": bool(known.is_excluded[r]),
        }
        for r in np.flatnonzero(near)
    ]
    if example.reason == "false positive" and _is_ambiguous(example, known):
        middle = ((np.asarray(grid.shape) - 1) / 2).tolist()
        boxes.append({"finding_id": "", "label": "", "centre": middle, "diameter": 4.0, "ignored": True})
    return {
        **asdict(example),
        "file": name,
        "sha256": hashlib.sha256((root / name).read_bytes()).hexdigest(),
        "affine": grid.affine.tolist(),
        "boxes": boxes,
    }


def _is_ambiguous(example: Example, known: FindingTable) -> bool:
    distance = np.linalg.norm(known.centres.reshape(-1, 3) - np.asarray(example.centre), axis=1)
    return bool(is_near_miss(distance, known.diameters / 2).any())


def _write_nifti(path: Path, crop: NDArray[np.int16], grid: Grid) -> None:
    """Write a crop as NIfTI with sform and qform; world there is RAS, so x and y change sign."""
    import nibabel

    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ grid.affine[:, [2, 1, 0, 3]]
    nifti: Any = nibabel.Nifti1Image(np.ascontiguousarray(crop.transpose(2, 1, 0)), affine)
    nifti.set_sform(affine, code=1)
    nifti.set_qform(affine, code=1)
    nifti.header.set_xyzt_units("mm")
    write_file(path, _gzip(nifti.to_bytes()))


def _gzip(payload: bytes) -> bytes:
    import gzip

    return gzip.compress(payload, compresslevel=3, mtime=0)


def _inside(folder: Path, name: str) -> Path:
    """Return the path of a file named in the manifest; refuse one that leaves the folder."""
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise InputRefusedError(f"The manifest names a file outside the package: {name!r}.", code="path")
    return path
