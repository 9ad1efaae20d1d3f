"""A project whose run was reviewed, without any model having been run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.annotations import Candidate, Finding, new_id
from napari_medlab.models.bundles import find_bundle
from napari_medlab.models.workflows.predict import register_bundle
from napari_medlab.project import Project
from napari_medlab.project.adding import add_images
from napari_medlab.project.edits import (
    add_candidates,
    add_findings,
    add_run,
    finish_case,
    finish_run,
    set_verdict,
)

if TYPE_CHECKING:
    from pathlib import Path

FOUND, MISSED, SPECK = (10.0, 10.0, 10.0), (30.5, 30.25, 30.125), (50.0, 50.0, 20.0)
WRONG = {"ct-0": ((60.0, 20.0, 20.0), 0.7), "ct-1": ((20.0, 60.0, 40.0), 0.8)}
"""A false positive on each of the training cases, and its score."""


def make_reviewed_project(folder: Path) -> str:
    """Make a project with two training cases and a frozen one, each with a finding that is found, one that is missed
    and a speck; return the id of the run, in which the false positive on ct-1 was called ambiguous."""
    (folder / "images").mkdir(parents=True)
    run_id = new_id()
    with Project.create(folder, reader="ann") as project:
        paths = [write_ramp(folder / "images" / f"ct-{number}.mha", number) for number in range(3)]
        cases = [*add_images(project, paths[:2]), *add_images(project, paths[2:], split="test")]
        bundle = find_bundle("lung-nodules")
        register_bundle(project, bundle, "shipped")
        project.commit(add_run(run_id, bundle.hash, {}))
        for case in cases:
            spots = [(FOUND, 8.0, False), (MISSED, 10.0, False), (SPECK, 2.0, True)]
            project.commit(add_findings([Finding(case.case_id, at, d, is_excluded=x) for at, d, x in spots]))
            found = [Candidate(case.case_id, FOUND, 0.9, 7.5)]
            if case.name in WRONG:
                at, score = WRONG[case.name]
                found.append(Candidate(case.case_id, at, score, 6.0))
            project.commit(add_candidates(run_id, case.case_id, 0, found))
            project.commit(finish_case(run_id, case.case_id, 0.5))
        project.commit(finish_run(run_id))
        doubted = project.candidates(run_id, cases[1].case_id).ids[1]
        project.commit(set_verdict(cases[1].case_id, run_id, str(doubted), before=None, after="ambiguous"))
    return run_id


def write_ramp(path: Path, number: int = 0) -> Path:
    """Write a volume that grows brighter along x, 60 × 80 × 80 mm; one voxel holds its number."""
    volume = np.broadcast_to(np.linspace(-1000, 400, 80), (40, 80, 80)).astype("<i2")
    volume[0, 0, 0] = number - 1000
    header = (
        "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\nCompressedData = False\n"
        "TransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 0 0 0\nElementSpacing = 1 1 1.5\nDimSize = 80 80 40\n"
        "ElementType = MET_SHORT\nElementDataFile = LOCAL\n"
    )
    path.write_bytes(header.encode() + volume.tobytes())
    return path
