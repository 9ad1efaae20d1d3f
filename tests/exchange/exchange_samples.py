"""Small projects with images on disk and objects of every shape, to send out and to bring in again."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image as Pictures

from napari_medlab.annotations import Candidate, Finding, Region, RegionTable
from napari_medlab.geometry import Grid, mask_to_rings
from napari_medlab.images import Image
from napari_medlab.images.fingerprint import fingerprint
from napari_medlab.images.writers import write_image
from napari_medlab.project import CaseRecord, Project
from napari_medlab.project.edits import (
    add_candidates,
    add_case,
    add_findings,
    add_regions,
    add_run,
    finish_case,
    finish_run,
)

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

PHOTO = (48, 64)
VOLUME = (6, 24, 28)
RUN = hashlib.sha256(b"a run").hexdigest()[:32]
VOLUME_GRID = Grid.axis_aligned(VOLUME, (2.0, 0.75, 0.5), (-40.0, 12.5, 100.0))


def key_of(text: str) -> str:
    """Return an id made from a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def masks_of(shape: tuple[int, ...]) -> dict[str, NDArray[np.bool_]]:
    """Return objects that share no pixel: a block, one with a hole, one of two parts, and one of one pixel."""
    masks = {name: np.zeros(shape, dtype=np.bool_) for name in ("block", "hole", "parts", "dot")}
    middle = (slice(1, 4),) * (len(shape) - 2)
    masks["block"][(*middle, slice(2, 8), slice(3, 11))] = True
    masks["hole"][(*middle, slice(11, 18), slice(2, 9))] = True
    masks["hole"][(*middle, slice(13, 16), slice(4, 7))] = False
    masks["parts"][(*middle, slice(2, 5), slice(14, 18))] = True
    masks["parts"][(*middle, slice(6, 9), slice(14, 20))] = True
    masks["dot"][(*((2,) * (len(shape) - 2)), 20, 20)] = True
    return masks


def region_of(case_id: str, name: str, mask: NDArray[np.bool_]) -> Region:
    """Return a mask as the outline of the finding of that name."""
    owner, own = key_of(f"{case_id} {name}"), key_of(f"{case_id} outline {name}")
    if mask.ndim == 2:
        return Region(case_id, tuple(mask_to_rings(mask)), owner, label_of(name), own)
    planes = {z: mask_to_rings(plane) for z, plane in enumerate(mask) if plane.any()}
    return Region(case_id, Region.on_slices(case_id, planes).rings, owner, label_of(name), own)


def label_of(name: str) -> str:
    """Return the class of an object by its name."""
    return "mass" if name in ("block", "hole") else "cyst"


def write_images(folder: Path, *, photos: int = 2, volumes: int = 1) -> list[tuple[Path, Grid, str]]:
    """Write images, and return where each is, its grid and its kind."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(3)
    made = []
    for number in range(photos):
        path = folder / f"frame-{number}.png"
        Pictures.fromarray(rng.integers(0, 255, (*PHOTO, 3), dtype=np.uint8)).save(path)
        made.append((path, Grid.axis_aligned(PHOTO, (1.0, 1.0), unit="px"), "photo"))
    for number in range(volumes):
        path = folder / f"1.2.840.{number}.mha"
        pixels = rng.integers(-1000, 400, VOLUME).astype(np.int16)
        write_image(Image.of_arrays([pixels], VOLUME_GRID, modality="CT"), path)
        made.append((path, VOLUME_GRID, "volume"))
    return made


def project_of(folder: Path, images: list[tuple[Path, Grid, str]]) -> Project:
    """Make a project of images, without any object."""
    project = Project.create(folder, reader="ann")
    for path, grid, kind in images:
        name = path.name.removesuffix(path.suffix)
        project.commit(add_case(CaseRecord(
            key_of(name), str(path), name, kind, "CT" if kind == "volume" else "", "p",
            fingerprint=fingerprint(path), grid=grid.as_json(),
        )))  # fmt: skip
    return project


def fill(project: Project, *, plain: bool = False) -> None:
    """Add to every case but the last of a kind an outlined finding of each shape; ``plain`` leaves excluded ones out."""
    for case in project.cases()[::2] if len(project.cases()) > 1 else project.cases():
        grid = Grid.from_json(case.grid or {})
        masks = masks_of(grid.shape)
        findings = []
        for name, mask in masks.items():
            centre = grid.to_world(np.argwhere(mask).mean(axis=0))
            is_excluded = name == "dot" and not plain
            findings.append(
                Finding(
                    case.case_id,
                    tuple(centre.tolist()),
                    4.0,
                    label_of(name),
                    is_excluded,
                    key_of(f"{case.case_id} {name}"),
                )
            )
        project.commit(add_findings(findings))
        regions = [region_of(case.case_id, name, mask) for name, mask in masks.items()]
        project.commit(
            add_regions(case.case_id, "reference", RegionTable.from_regions(case.case_id, regions))
        )


def predict(project: Project) -> None:
    """Add a run with an outlined candidate at every finding, and one without an outline."""
    project.commit(add_run(RUN, "", {"model": "theirs"}))
    for case in project.cases():
        found, regions = [], []
        for number, region in enumerate(project.regions(case.case_id)):
            finding = project.finding(region.owner_id)
            assert finding is not None
            own = key_of(f"candidate {finding.finding_id}")
            found.append(Candidate(case.case_id, finding.centre, 0.5 + number / 8, 4.0, finding.label, own))
            regions.append(Region(case.case_id, region.rings, own, finding.label, key_of(f"outline {own}")))
        if found:
            project.commit(add_candidates(RUN, case.case_id, 0, found))
            scores = [one.score for one in found]
            table = RegionTable.from_regions(case.case_id, regions, scores)
            project.commit(add_regions(case.case_id, RUN, table, RUN))
        project.commit(finish_case(RUN, case.case_id, 0.1))
    project.commit(finish_run(RUN))
