from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_medlab.geometry import Grid, rings_to_mask
from napari_medlab.phantoms.chest_ct import Site
from napari_medlab.phantoms.mammogram import MammographySite
from napari_medlab.phantoms.slide import SECOND_SLIDES, SlideSite
from napari_medlab.project import Project, open_case
from napari_medlab.project.sample import AnySite, SampleSize, fill_with_phantoms

if TYPE_CHECKING:
    from pathlib import Path

SMALL: dict[str, AnySite] = {
    "volume": Site(shape=(24, 64, 72), most_nodules=3),
    "mammogram": MammographySite(healthy=0.0),
    "slide": SlideSite(),
}


@pytest.mark.parametrize("kind", SMALL)
def test_what_a_phantom_says_is_what_its_file_says(kind: str, tmp_path: Path) -> None:
    with Project.create(tmp_path / "p", reader="r") as project:
        size = SampleSize(1, 1, (1024, 1024))
        assert list(fill_with_phantoms(project, size, SMALL[kind], first_seed=3)) == [(1, 2), (2, 2)]
        cases = project.cases()
        assert {case.kind for case in cases} == {kind}
        assert [case.frozen for case in cases] == [case.split == "test" for case in cases]
        assert len({case.patient_key for case in cases}) == 2
        for case in cases:
            image = open_case(project, case.case_id)
            assert image.kind == kind
            assert case.grid is not None
            assert image.grid == Grid.from_json(case.grid)
        assert project.verify() == []


def test_outlines_of_planar_findings_hold_their_centres(tmp_path: Path) -> None:
    with Project.create(tmp_path / "p", reader="r") as project:
        list(fill_with_phantoms(project, SampleSize(1, 0), SMALL["mammogram"], first_seed=8))
        seen = 0
        for case in project.cases():
            findings = project.findings(case.case_id)
            regions = {region.owner_id: region for region in project.regions(case.case_id)}
            assert case.grid is not None
            grid = Grid.from_json(case.grid)
            for row in range(len(findings)):
                index = np.rint(grid.to_index(findings.centres[row, :2])).astype(int)
                mask = rings_to_mask(regions[str(findings.ids[row])].rings, (grid.shape[0], grid.shape[1]))
                reach = 3  # a cluster's centre may lie between its specks
                around = mask[
                    index[0] - reach : index[0] + reach + 1, index[1] - reach : index[1] + reach + 1
                ]
                assert around.any()
                seen += 1
        assert seen > 0


def test_several_sites_take_turns(tmp_path: Path) -> None:
    sites: tuple[AnySite, ...] = (SMALL["slide"], SECOND_SLIDES)
    with Project.create(tmp_path / "p", reader="r") as project:
        list(fill_with_phantoms(project, SampleSize(2, 0, (512, 512)), sites))
        first, second = (open_case(project, case.case_id).decoded() for case in project.cases())
        # the second laboratory's glass is darker
        assert np.percentile(first, 99) > np.percentile(second, 99)
