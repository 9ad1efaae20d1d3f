from __future__ import annotations

import numpy as np
import pytest
from outline_views import SQUARE, Bench, on_slice, volume

from napari_medlab.annotations import Region
from napari_medlab.correcting import regions as regional
from napari_medlab.geometry import polygons
from napari_medlab.widgets.background import Background
from napari_medlab.widgets.layers import working_set
from napari_medlab.widgets.layers.tools import CorrectingTools


def area_on(region: Region | None, z: int | None = 3) -> float:
    assert region is not None
    return polygons.area(regional.rings_on(region, z))


def tools_on(bench: Bench) -> CorrectingTools:
    return CorrectingTools(bench.viewer, bench.outlines, Background(lambda error: None))


def test_a_dragged_vertex_changes_its_ring_and_nothing_else() -> None:
    """Rings that were not touched keep every bit, though the image is shown turned."""
    bench = Bench(flips=(1, -1, -1))
    region, other = volume(3, 4, ring=SQUARE / 3), volume(3, owner="p", ring=SQUARE / 7)
    bench.show(region, other)
    bench.drag(0, 0, (3, 39, 49))
    ((before, after),) = bench.edits
    assert before is region
    assert after is not None
    np.testing.assert_allclose(after.rings[0][0], (3, 0, 0), atol=1e-12)
    np.testing.assert_array_equal(after.rings[0][1:], region.rings[0][1:])
    assert after.rings[1] is region.rings[1]
    assert bench.outlines.region(other.region_id) is other


def test_an_outline_that_is_dragged_across_itself_is_mended_and_said_so() -> None:
    bench = Bench()
    region = volume(3)
    bench.show(region)
    bench.drag(0, 0, (3, 15, 25))
    ((_, after),) = bench.edits
    assert after is not None
    assert polygons.fault_of(regional.rings_on(after, 3)) == ""
    assert bench.told[0].startswith("mended: an outline crosses or touches itself at y 16.7")
    assert bench.told[0].endswith("on slice 3")
    assert len(bench.outlines.layer.data) == len(after.rings)


@pytest.mark.parametrize(("draw_as", "area"), [("add", 175.0), ("subtract", 75.0)])
def test_a_drawn_polygon_is_added_to_the_chosen_outline_or_taken_from_it(draw_as: str, area: float) -> None:
    bench = Bench()
    region = volume(3, 4)
    bench.show(region, volume(3, owner="p"))
    bench.outlines.draw_as = draw_as  # type: ignore[assignment]
    bench.draw(on_slice(SQUARE + 5))
    ((before, after),) = bench.edits
    assert before is region
    assert after is not None
    assert after.region_id == region.region_id
    assert area_on(after) == pytest.approx(area)
    assert after.rings[-1] is region.rings[1]


def test_a_polygon_on_another_slice_extends_the_chosen_outline() -> None:
    bench = Bench()
    bench.show(volume(3), z=5)
    bench.draw(on_slice(SQUARE, 5))
    ((_, after),) = bench.edits
    assert after is not None
    assert regional.slices_of(after) == [3, 5]


def test_what_is_drawn_for_an_object_without_outline_is_a_new_one() -> None:
    bench = Bench()
    bench.show(owner="new one")
    bench.draw(on_slice(np.array([[10.0, 10], [20, 20], [20, 10], [10, 20]])))
    ((before, after),) = bench.edits
    assert before is None
    assert after is not None
    assert (after.owner_id, after.case_id) == ("new one", "c")
    assert area_on(after) == pytest.approx(50)
    assert bench.told[0].startswith("mended: ")
    bench.outlines.draw_as = "subtract"
    bench.outlines.set_owner("another", "nodule")
    bench.draw(on_slice(SQUARE))
    assert len(bench.edits) == 1
    assert "Choose an object that has an outline" in bench.told[-1]
    assert len(bench.outlines.layer.data) == len(after.rings)


def test_an_ellipse_becomes_a_polygon() -> None:
    bench = Bench((40, 50))
    bench.show()
    bench.draw(polygons.box((10, 10), (20, 30)), "ellipse")
    ((_, after),) = bench.edits
    assert area_on(after, None) == pytest.approx(np.pi * 50, rel=0.01)


def test_a_line_cuts_the_chosen_outline_in_one_edit() -> None:
    bench = Bench()
    region, below = volume(3, 4), volume(3, owner="p")
    bench.show(region, below)
    bench.outlines.use("cut")
    bench.draw(on_slice(np.array([[13.0, 0.0], [13.0, 40.0]])), "path")
    ((title, changes),) = bench.together
    assert title == "outline cut"
    assert [before for before, _ in changes] == [region, None]
    assert sorted(area_on(after) for _, after in changes) == pytest.approx([30, 70])
    assert bench.outlines.region(below.region_id) is below
    bench.draw(on_slice(np.array([[1.0, 0.0], [1.0, 40.0]])), "path")
    assert "crosses no outline" in bench.told[-1]
    assert len(bench.together) == 1


def test_deleting_outlines_of_two_objects_is_one_edit() -> None:
    bench = Bench()
    bench.show(volume(3), volume(3, owner="p", ring=SQUARE + 15), volume(4))
    bench.outlines.use("select")
    bench.outlines.layer.selected_data = {0, 1}
    bench.outlines.delete_selected()
    bench.events.run()
    ((_, changes),) = bench.together
    assert [after for _, after in changes] == [None, None]
    assert len(bench.outlines.regions) == 1


def test_a_pasted_copy_does_not_become_part_of_what_it_was_copied_from() -> None:
    bench = Bench()
    region = volume(3)
    bench.show(region)
    bench.outlines.draw_as = "new"
    layer = bench.outlines.layer
    layer.feature_defaults = {"region_id": region.region_id, "row": int(layer.features["row"][0])}
    bench.draw(on_slice(SQUARE + 15))
    ((before, after),) = bench.edits
    assert before is None
    assert after is not None
    assert after.region_id != region.region_id


def test_what_was_drawn_is_taken_over_before_other_outlines_are_shown() -> None:
    bench = Bench()
    bench.show(volume(3))
    bench.outlines.layer.add([on_slice(SQUARE + 5)], shape_type="polygon")
    bench.show(volume(3))
    assert len(bench.edits) == 1
    bench.events.run()
    assert len(bench.edits) == 1
    assert len(bench.outlines.regions) == 1


def test_only_the_nearest_outlines_are_drawn_and_others_come_as_one_goes_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(working_set, "MOST_RINGS", 10)
    bench = Bench((60, 40, 50))
    regions = [volume(z, owner=f"{z}") for z in range(60)]
    bench.show(*regions, owner="55", z=5)
    bench.events.run()
    drawn = {bench.outlines.region(i).owner_id for i in bench.outlines.layer.features["region_id"]}  # type: ignore[union-attr]
    assert len(drawn) == 10
    assert {"55", "3", "4", "5", "6", "7"} <= drawn
    bench.viewer.dims.set_point(0, 40 * 2.0)
    bench.events.run()
    drawn = {bench.outlines.region(i).owner_id for i in bench.outlines.layer.features["region_id"]}  # type: ignore[union-attr]
    assert "40" in drawn
    assert "5" not in drawn
    assert len(bench.outlines.regions) == 60
    assert bench.edits == []


def test_tools_change_what_is_selected_or_else_the_chosen_object() -> None:
    bench = Bench()
    rough = polygons.circle((20, 20), 20, count=90)
    region = volume(3, 4, ring=rough)
    bench.show(region, volume(3, owner="p"))
    tools = tools_on(bench)
    tools.simplify(0.5)
    ((_, after),) = bench.edits
    assert after is not None
    assert len(after.rings[0]) < 30
    assert after.rings[1] is region.rings[1]
    assert bench.told[-1] == f"simplified: 90 vertices became {len(after.rings[0])}"
    tools.offset(-1.0)
    assert area_on(bench.edits[-1][1]) == pytest.approx(np.pi * 81, rel=0.05)
    tools.smooth()
    assert len(bench.edits) == 3
    bench.outlines.set_owner("nobody", "nodule")
    tools.smooth()
    assert bench.told[-1] == "Choose an object or select an outline first."


def test_outlines_are_joined_and_split_in_one_edit_each() -> None:
    bench = Bench()
    first, second = volume(3, ring=SQUARE), volume(3, owner="p", ring=SQUARE + np.array([0.0, 20.0]))
    bench.show(second, first)
    tools = tools_on(bench)
    tools.join()
    assert "Select the outlines" in bench.told[-1]
    bench.outlines.use("select")
    bench.outlines.layer.selected_data = {0, 1}
    tools.join()
    title, changes = bench.together[-1]
    assert title == "outlines joined"
    assert [before for before, _ in changes] == [first, second]
    assert area_on(changes[0][1]) == pytest.approx(200)
    assert changes[1][1] is None
    tools.split()
    title, changes = bench.together[-1]
    assert title == "outline split"
    assert [area_on(after) for _, after in changes] == pytest.approx([100, 100])
    tools.split()
    assert bench.told[-1] == "The outline is in one piece."


def test_the_outline_goes_along_to_the_next_slice() -> None:
    bench = Bench()
    bench.show(volume(3))
    tools = tools_on(bench)
    tools.duplicate()
    assert bench.outlines.here == 4
    ((_, after),) = bench.edits
    assert after is not None
    assert regional.slices_of(after) == [3, 4]
    bench.viewer.dims.set_point(0, 7 * 2.0)
    tools.duplicate()
    assert bench.told[-1] == "There is no outline of the chosen object on this slice."
    assert len(bench.edits) == 1


def test_a_preview_is_stored_only_once_it_is_accepted() -> None:
    bench = Bench()
    region = volume(3)
    bench.show(region)
    tools = tools_on(bench)
    wider = regional.with_slice(region, 3, [SQUARE + 1])
    tools.preview.show("moved", region, wider)
    assert "preview" in bench.viewer.layers
    tools.stop()
    assert "preview" not in bench.viewer.layers
    assert bench.edits == []
    tools.preview.show("moved", region, wider)
    tools.preview.accept()
    assert bench.edits == [(region, wider)]
    assert not tools.preview.is_shown
    tools.preview.show("moved", wider, None)
    bench.show(region)
    tools.preview.accept()
    assert len(bench.edits) == 1


def test_the_tool_in_use_is_told_and_the_marks_step_aside() -> None:
    bench = Bench()
    bench.show(volume(3))
    used: list[str] = []
    bench.outlines.tool_changed.connect(used.append)
    bench.outlines.edit(True)
    assert bench.outlines.layer.selected_data == {0}
    bench.outlines.edit(True, drawing=True)
    assert str(bench.outlines.layer.mode) == "add_polygon"
    bench.outlines.layer.mode = "vertex_insert"  # by napari's own button
    assert bench.outlines.tool == "insert"
    bench.outlines.edit(False)
    assert not bench.outlines.is_editing
    assert used == ["direct", "polygon", "insert", ""]


def test_lines_on_a_slide_are_as_wide_as_the_screen_needs() -> None:
    bench = Bench((4000, 5000))
    bench.viewer.scene.camera.zoom = 0.1
    bench.show(Region("c", (SQUARE,), "o"))
    assert bench.outlines.layer.edge_width == pytest.approx([30.0])
    bench.viewer.scene.camera.zoom = 10.0
    bench.viewer.scene.camera.center = (0.0, 5.0, 5.0)
    bench.events.run()
    assert bench.outlines.layer.edge_width == pytest.approx([0.4])
