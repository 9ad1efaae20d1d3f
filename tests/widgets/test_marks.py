"""Where candidates and misses are drawn."""

from __future__ import annotations

import numpy as np

from napari_medlab.annotations import Candidate, CandidateTable, Finding, FindingTable
from napari_medlab.evaluation import match, match_at
from napari_medlab.geometry import Grid
from napari_medlab.images import Window
from napari_medlab.widgets.layers.case_view import CaseView
from napari_medlab.widgets.layers.marks import Marks, marks_of_case, marks_of_unread

GRID = Grid.axis_aligned((20, 40, 40), (2.0, 0.5, 0.5), (-10.0, -10.0, -20.0))
VIEW = CaseView("c", "c", "volume", [[np.zeros((20, 40, 40), np.int16)]], GRID)
FINDINGS = FindingTable.from_objects([Finding("c", (0.0, 0.0, 0.0), 8.0, finding_id="f")])
CANDIDATES = CandidateTable.from_objects(
    [
        Candidate("c", (1.0, 0.0, 0.0), 0.3, 7.0, candidate_id="near"),
        Candidate("c", (8.0, 0.0, 0.0), 0.9, candidate_id="far"),
    ]
)


def _marks(threshold: float) -> Marks:
    return marks_of_case(match_at(match(FINDINGS, CANDIDATES, ["c"]), threshold), CANDIDATES, FINDINGS, VIEW)


def test_a_candidate_is_drawn_where_its_voxel_is() -> None:
    marks = _marks(0.0)
    row = int(np.flatnonzero(marks.ids == "near")[0])
    index = GRID.to_index((1.0, 0.0, 0.0))
    np.testing.assert_allclose(marks.positions[row], index * np.asarray(GRID.spacing))
    assert marks.kinds[row] == "tp"


def test_a_hit_below_the_operating_point_is_drawn_as_a_miss_at_the_finding() -> None:
    marks = _marks(0.5)
    row = int(np.flatnonzero(marks.ids == "f")[0])
    assert marks.kinds[row] == "fn"
    np.testing.assert_allclose(marks.positions[row], VIEW.to_display((0.0, 0.0, 0.0)))


def test_higher_scores_are_drawn_more_opaque_and_kinds_differ_in_shape_and_colour() -> None:
    marks = _marks(0.0)
    alpha = dict(zip(marks.ids.tolist(), marks.colours()[:, 3].tolist(), strict=True))
    assert alpha["far"] > alpha["near"]
    assert len({tuple(colour[:3]) for colour in marks.colours().tolist()}) == 2
    assert len(set(marks.symbols())) == 2


def test_a_click_chooses_the_nearest_mark_in_reach_and_nothing_far_away() -> None:
    marks = _marks(0.0)
    assert marks.nearest(VIEW.to_display((1.2, 0.3, 0.0))) == "near"
    assert marks.nearest(VIEW.to_display((-9.0, -9.0, 15.0))) is None


def test_shown_and_stored_indices_agree_for_a_turned_volume() -> None:
    stored = Grid((40, 20, 30), np.array([[0, 0, -0.5, 5], [0.7, 0, 0, 1], [0, -2.0, 0, 3], [0, 0, 0, 1]]))
    order, flips = stored.canonical_axes()
    shown = stored.reordered(order, flips)
    view = CaseView(
        "c", "c", "volume", [[np.zeros(shown.shape)]], shown, (Window("", 0, 1),), order=order, flips=flips
    )
    index = np.array([[3.25, 4.5, 7.0], [0.0, 0.0, 0.0]])
    np.testing.assert_allclose(shown.to_world(view.to_shown(index)), stored.to_world(index), atol=1e-9)
    np.testing.assert_array_equal(view.to_stored(view.to_shown(index)), index)


def test_what_is_marked_on_an_unread_case_is_neither_right_nor_wrong() -> None:
    marks = marks_of_unread(CANDIDATES, 0.5, VIEW)
    assert (marks.ids.tolist(), marks.kinds.tolist()) == (["far"], ["unread"])
    np.testing.assert_allclose(marks.positions[0], VIEW.to_display((8.0, 0.0, 0.0)))
