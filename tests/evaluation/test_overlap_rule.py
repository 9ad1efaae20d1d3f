from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import plain_overlap
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_overlap import PlainBox

from napari_medlab.annotations import Candidate, CandidateTable, Finding, FindingTable, Region, RegionTable
from napari_medlab.errors import InputRefusedError
from napari_medlab.evaluation import CamelyonRule, MatchTable, OverlapRule, Shapes, match
from napari_medlab.evaluation.rules.voxels import Voxels
from napari_medlab.geometry import Grid

if TYPE_CHECKING:
    from collections.abc import Sequence

CASES = ["one", "two"]


def boxes(ndim: int, max_size: int, *, findings: bool) -> st.SearchStrategy[list[PlainBox]]:
    def build(
        case: str, low: tuple[int, ...], sides: tuple[int, ...], score: int, excluded: bool
    ) -> PlainBox:
        high = tuple(float(a + b) for a, b in zip(low, sides, strict=True))
        return PlainBox(case, tuple(map(float, low)), high, score / 4, excluded and findings)

    return st.lists(
        st.builds(
            build, st.sampled_from(CASES), st.tuples(*[st.integers(0, 4)] * ndim), st.tuples(*[st.integers(0, 4)] * ndim),
            st.integers(0, 4), st.booleans(),
        ),
        max_size=max_size,
    )  # fmt: skip


def tables(
    findings: list[PlainBox], candidates: list[PlainBox], ndim: int
) -> tuple[FindingTable, CandidateTable, Shapes]:
    def middle(box: PlainBox) -> tuple[float, ...]:
        return tuple((a + b) / 2 for a, b in zip(box.low, box.high, strict=True))

    found = [
        Finding(f.case, middle(f), -1.0, is_excluded=f.excluded, finding_id=f"f{n}")
        for n, f in enumerate(findings)
    ]
    proposed = [Candidate(c.case, middle(c), c.score, candidate_id=f"c{n}") for n, c in enumerate(candidates)]
    ids = [f"f{n}" for n in range(len(findings))] + [f"c{n}" for n in range(len(candidates))]
    corners = np.array([(b.low, b.high) for b in (*findings, *candidates)]).reshape(-1, 2, ndim)
    return (
        FindingTable.from_objects(found, ndim),
        CandidateTable.from_objects(proposed, ndim),
        Shapes.of_boxes(ids, corners),
    )


two_lists = st.integers(2, 3).flatmap(
    lambda n: st.tuples(st.just(n), boxes(n, 6, findings=True), boxes(n, 9, findings=False))
)


@settings(max_examples=80, deadline=None)
@given(two_lists, st.sampled_from([0.1, 0.25, 0.5, 1.0]), st.booleans())
def test_counts_agree_with_the_plain_loop(
    study: tuple[int, list[PlainBox], list[PlainBox]], least: float, duplicates_count: bool
) -> None:
    ndim, findings, candidates = study
    found, proposed, shapes = tables(findings, candidates, ndim)
    rule = OverlapRule(shapes, least, duplicates_count=duplicates_count)
    table = rule.match(found, proposed, CASES)
    assert table.counts == plain_overlap.counts(
        findings, candidates, least, duplicates_count=duplicates_count
    )
    taken = plain_overlap.by_score(findings, candidates, least)
    is_tp = table.kind == "tp"
    pairs = set(zip(table.candidate_id[is_tp].tolist(), table.finding_id[is_tp].tolist(), strict=True))
    assert pairs == {(f"c{c}", f"f{f}") for c, f in taken.items()}


@settings(max_examples=40, deadline=None)
@given(boxes(2, 3, findings=False), boxes(2, 3, findings=False))
def test_picai_takes_as_many_hits_and_as_much_overlap_as_can_be(
    findings: list[PlainBox], candidates: list[PlainBox]
) -> None:
    found, proposed, shapes = tables(findings, candidates, 2)
    table = OverlapRule.pi_cai(shapes).match(found, proposed, CASES)
    hits = np.flatnonzero(table.kind == "tp")
    amounts = [
        plain_overlap.iou(
            findings[int(table.finding_id[row][1:])], candidates[int(table.candidate_id[row][1:])]
        )
        for row in hits
    ]
    assert (len(amounts), sum(amounts)) == pytest.approx(
        plain_overlap.most_overlap(findings, candidates, 0.1)
    )


def one_on_one(shapes: Shapes, ndim: int, iou: float) -> MatchTable:
    centre = (5.0, 5.0, 5.0)[:ndim]
    findings = FindingTable.from_objects([Finding("one", centre, -1.0, finding_id="f")], ndim)
    candidates = CandidateTable.from_objects([Candidate("one", centre, 0.5, candidate_id="c")], ndim)
    return OverlapRule(shapes, iou).match(findings, candidates, ["one"])


def outline(rings: Sequence[Sequence[tuple[float, ...]]], owner: str) -> RegionTable:
    region = Region("one", tuple(np.array(ring, dtype=float) for ring in rings), owner)
    return RegionTable.from_regions("one", [region])


def hits_up_to(shapes: Shapes, ndim: int = 2) -> float:
    """Return the largest hundredth at which the candidate hits."""
    return max(
        (each / 100 for each in range(1, 101) if one_on_one(shapes, ndim, each / 100).counts["tp"]),
        default=0.0,
    )


GRID = Grid.axis_aligned((20, 20), (0.5, 0.25), unit="um")
SQUARE = [[(2.0, 2.0), (2.0, 12.0), (12.0, 12.0), (12.0, 2.0)]]
TRIANGLE = [[(2.0, 2.0), (2.0, 12.0), (12.0, 2.0)]]


def test_outlines_are_compared_whatever_the_pixel_size() -> None:
    shapes = Shapes.of_regions([outline(SQUARE, "f"), outline(TRIANGLE, "c")], {"one": GRID})
    assert hits_up_to(shapes) == 0.5


def test_a_hole_is_not_part_of_an_outline() -> None:
    hole = [*SQUARE, [(4.0, 4.0), (4.0, 9.0), (9.0, 9.0), (9.0, 4.0)]]
    shapes = Shapes.of_regions([outline(SQUARE, "f"), outline(hole, "c")], {"one": GRID})
    assert hits_up_to(shapes) == 0.75


def test_an_outline_that_crosses_itself_is_mended() -> None:
    bow_tie = [[(2.0, 2.0), (12.0, 12.0), (2.0, 12.0), (12.0, 2.0)]]
    shapes = Shapes.of_regions([outline(SQUARE, "f"), outline(bow_tie, "c")], {"one": GRID})
    assert hits_up_to(shapes) == 0.5


def test_a_line_hits_nothing() -> None:
    shapes = Shapes.of_regions(
        [outline(SQUARE, "f"), outline([[(2.0, 2.0), (9.0, 9.0)]], "c")], {"one": GRID}
    )
    assert hits_up_to(shapes) == 0.0


def test_outlines_need_the_geometry_of_their_case() -> None:
    with pytest.raises(InputRefusedError, match="'one' is unknown") as refusal:
        Shapes.of_regions([outline(SQUARE, "f")], {})
    assert refusal.value.code == "no-grid"


def balls(ndim: int, gap: float, diameters: tuple[float, float]) -> float:
    """Return the IoU of two balls, as the rule sees it, to a hundredth."""
    here, there = (0.0,) * ndim, (gap, *(0.0,) * (ndim - 1))
    findings = FindingTable.from_objects([Finding("one", here, diameters[0], finding_id="f")], ndim)
    candidates = CandidateTable.from_objects(
        [Candidate("one", there, 0.5, diameters[1], candidate_id="c")], ndim
    )
    hits = (
        each / 100
        for each in range(1, 101)
        if match(findings, candidates, rule=OverlapRule(iou=each / 100)).counts["tp"]
    )
    return max(hits, default=0.0)


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize(
    ("gap", "diameters"), [(1.0, (4.0, 4.0)), (2.0, (4.0, 6.0)), (0.5, (2.0, 6.0)), (9.0, (4.0, 4.0))]
)
def test_balls_and_discs_share_what_fine_pixels_say(
    ndim: int, gap: float, diameters: tuple[float, float]
) -> None:
    step = 0.04 if ndim == 2 else 0.1
    lattice = np.stack(np.meshgrid(*[np.arange(-4, 6, step)] * ndim, indexing="ij"), axis=-1)
    shift = np.zeros(ndim)
    shift[0] = gap
    first = ((lattice**2).sum(axis=-1)) < (diameters[0] / 2) ** 2
    second = (((lattice - shift) ** 2).sum(axis=-1)) < (diameters[1] / 2) ** 2
    expected = (first & second).sum() / (first | second).sum()
    assert balls(ndim, gap, diameters) == pytest.approx(expected, abs=0.015)


def slices(side: int, depth: int, owner: str) -> RegionTable:
    square = np.array([(2.0, 2.0), (2.0, 2.0 + side), (2.0 + side, 2.0 + side), (2.0 + side, 2.0)])
    region = Region.on_slices("one", {z: [square] for z in range(3, 3 + depth)}, owner)
    return RegionTable.from_regions("one", [region])


def test_outlines_of_a_volume_are_compared_voxel_by_voxel() -> None:
    grid = Grid.axis_aligned((20, 20, 20), (2.0, 0.5, 0.5))
    shapes = Shapes.of_regions([slices(4, 4, "f"), slices(4, 3, "c")], {"one": grid})
    assert hits_up_to(shapes, 3) == 0.75


def test_an_outline_of_a_volume_is_compared_with_a_ball_and_with_a_box() -> None:
    grid = Grid.axis_aligned((20, 20, 20), (1.0, 0.5, 0.5))
    lattice = np.argwhere(np.ones(grid.shape))
    inside = ((grid.to_world(lattice) - (5.0, 5.0, 5.0)) ** 2).sum(axis=1) < 9.0
    mask = np.zeros(grid.shape, dtype=bool)
    mask[tuple(lattice[inside].T)] = True
    shapes = Shapes.of_masks({"f": Voxels(mask, (0, 0, 0), grid)})
    findings = FindingTable.from_objects([Finding("one", (5.0, 5.0, 5.0), -1.0, finding_id="f")])
    ball = CandidateTable.from_objects([Candidate("one", (5.0, 5.0, 5.0), 0.5, 6.0, candidate_id="c")])
    assert OverlapRule(shapes, 1.0).match(findings, ball, ["one"]).counts["tp"] == 1
    boxed = Shapes.joined([shapes, Shapes.of_boxes(["c"], [[(1.9, 1.9, 1.9), (8.1, 8.1, 8.1)]])])
    share = (
        inside.sum() / (((grid.to_world(lattice) > 1.9) & (grid.to_world(lattice) < 8.1)).all(axis=1)).sum()
    )
    assert hits_up_to(boxed, 3) == math.floor(share * 100) / 100


def test_masks_of_one_case_must_lie_on_one_grid() -> None:
    mask = np.ones((2, 2, 2), dtype=bool)
    grids = [Grid.axis_aligned((9, 9, 9), (1.0, 1.0, step)) for step in (1.0, 1.1)]
    shapes = Shapes.of_masks(
        {key: Voxels(mask, (0, 0, 0), grid) for key, grid in zip("fc", grids, strict=True)}
    )
    with pytest.raises(InputRefusedError, match="one grid"):
        one_on_one(shapes, 3, 0.5)


def test_an_absurd_diameter_is_refused_before_it_fills_the_memory() -> None:
    shapes = Shapes.of_masks(
        {"f": Voxels(np.ones((2, 2, 2), bool), (0, 0, 0), Grid.axis_aligned((9, 9, 9), (1, 1, 1)))}
    )
    findings = FindingTable.from_objects([Finding("one", (0.0, 0.0, 0.0), -1.0, finding_id="f")])
    candidates = CandidateTable.from_objects([Candidate("one", (0.0, 0.0, 0.0), 0.5, 1e7)])
    with pytest.raises(InputRefusedError, match="voxels, more than") as refusal:
        OverlapRule(shapes).match(findings, candidates, ["one"])
    assert refusal.value.code == "extent"


def test_planar_cases_beside_volumes_are_discs() -> None:
    findings = FindingTable.from_objects(
        [
            Finding("flat", (5.0, 5.0, 0.0), 4.0, finding_id="f"),
            Finding("deep", (5.0, 5.0, 5.0), 4.0, finding_id="g"),
        ]
    )
    candidates = CandidateTable.from_objects(
        [Candidate("flat", (6.0, 5.0, 0.0), 0.5, 4.0), Candidate("deep", (6.0, 5.0, 5.0), 0.5, 4.0)]
    )
    rule = OverlapRule(Shapes(grids={"flat": GRID}), 0.5)
    # one radius apart: discs share 0.52 of either, balls 0.43
    table = rule.match(findings, candidates, ["flat", "deep"])
    assert table.case_id[table.kind == "tp"].tolist() == ["flat"]
    assert table.case_id[table.kind == "fn"].tolist() == ["deep"]


def test_labels_may_have_to_agree() -> None:
    findings = FindingTable.from_objects([Finding("one", (0.0, 0.0), 4.0, "mass", finding_id="f")], 2)
    for label, hits in (("mass", 1), ("lesion", 1), ("calcification", 0)):
        others = Finding("two", (0.0, 0.0), 4.0, "calcification")
        both = FindingTable.from_objects([findings.finding(0), others], 2)
        candidates = CandidateTable.from_objects([Candidate("one", (0.0, 0.0), 0.5, 4.0, label)], 2)
        assert OverlapRule(same_label=True).match(both, candidates, ["one"]).counts["tp"] == hits


def test_many_outlines_on_one_slide() -> None:
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 50_000, (8000, 2))
    found = np.stack([corners, corners + rng.uniform(20, 60, (8000, 2))], axis=1)
    moved = found + rng.normal(0, 3, (8000, 1, 2))
    findings = FindingTable(
        np.array([f"f{n}" for n in range(8000)]), np.full(8000, "one"), np.full(8000, "glomerulus"),
        found.mean(axis=1), np.full(8000, -1.0), np.zeros(8000, bool),
    )  # fmt: skip
    candidates = CandidateTable(
        np.array([f"c{n}" for n in range(8000)]), np.full(8000, "one"), np.full(8000, "glomerulus"),
        moved.mean(axis=1), np.full(8000, -1.0), rng.random(8000),
    )  # fmt: skip
    shapes = Shapes.of_boxes(
        [*findings.ids.tolist(), *candidates.ids.tolist()], np.concatenate([found, moved])
    )
    table = OverlapRule(shapes, 0.5).match(findings, candidates, ["one"])
    expected = sum(
        shapely.box(*a.ravel()).intersection(shapely.box(*b.ravel())).area
        >= shapely.box(*a.ravel()).union(shapely.box(*b.ravel())).area / 2
        for a, b in zip(found[:200], moved[:200], strict=True)
    )
    of_first = np.isin(table.finding_id[table.kind == "tp"], findings.ids[:200])
    assert of_first.sum() == expected


LESION = [
    [(10.0, 10.0), (10.0, 30.0), (30.0, 30.0), (30.0, 10.0)],
    [(15.0, 15.0), (15.0, 25.0), (25.0, 25.0), (25.0, 15.0)],
]


@pytest.mark.parametrize(
    ("yx", "margin", "kind"),
    [
        ((12, 12), 0.0, "tp"),
        ((20, 20), 0.0, "fp"),
        ((20, 20), 3.0, "tp"),
        ((8, 20), 0.0, "fp"),
        ((8, 20), 1.01, "tp"),
    ],
)
def test_a_point_in_a_lesion_hits_and_one_in_its_hole_does_not(
    yx: tuple[int, int], margin: float, kind: str
) -> None:
    grid = Grid.axis_aligned((100, 100), (0.5, 0.5), unit="um")
    shapes = Shapes.of_regions([outline(LESION, "f")], {"one": grid})
    findings = FindingTable.from_objects(
        [Finding("one", tuple(grid.to_world((20, 20))), -1.0, finding_id="f")], 2
    )
    candidates = CandidateTable.from_objects([Candidate("one", tuple(grid.to_world(yx)), 0.5)], 2)
    assert CamelyonRule(shapes, margin).match(findings, candidates, ["one"]).counts[kind] == 1  # type: ignore[index]


def test_several_hits_of_one_lesion_count_once_and_small_lesions_are_left_out() -> None:
    findings = FindingTable.from_objects(
        [
            Finding("one", (0.0, 0.0), 300.0, finding_id="f"),
            Finding("one", (1000.0, 0.0), 150.0, finding_id="itc"),
        ],
        2,
    )
    candidates = CandidateTable.from_objects(
        [
            Candidate("one", (x, 0.0), score)
            for x, score in ((0.0, 0.5), (40.0, 0.9), (1000.0, 0.8), (5000.0, 0.1))
        ],
        2,
    )
    table = CamelyonRule(smallest=200.0).match(findings, candidates, ["one"])
    assert table.counts == {"tp": 1, "fp": 1, "fn": 0, "ignored": 1, "duplicate": 1}
    assert table.score[table.kind == "tp"].tolist() == [0.9]
    everything = CamelyonRule().match(findings, candidates, ["one"])
    assert everything.counts["tp"] == 2


def test_points_in_masks_and_boxes_of_a_volume() -> None:
    grid = Grid.axis_aligned((10, 10, 10), (2.0, 1.0, 1.0))
    shapes = Shapes.joined(
        [
            Shapes.of_masks({"m": Voxels(np.ones((2, 2, 2), dtype=bool), (1, 1, 1), grid)}),
            Shapes.of_boxes(["b"], [[(6.0, 6.0, 6.0), (8.0, 8.0, 8.0)]]),
        ]
    )
    findings = FindingTable.from_objects(
        [
            Finding("one", (1.5, 1.5, 3.0), -1.0, finding_id="m"),
            Finding("one", (7.0, 7.0, 7.0), -1.0, finding_id="b"),
        ]
    )
    inside = [(1.0, 2.0, 4.0), (6.1, 6.1, 7.9)]
    outside = [(3.0, 2.0, 4.0), (8.5, 7.0, 7.0)]
    candidates = CandidateTable.from_objects([Candidate("one", place, 0.5) for place in (*inside, *outside)])
    counts = [
        CamelyonRule(shapes, margin).match(findings, candidates, ["one"]).counts for margin in (0.0, 1.2)
    ]
    assert [each["tp"] for each in counts] == [2, 2]
    assert [each["fp"] for each in counts] == [2, 0]
