from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from outline_views import Bench, volume

from napari_medlab.correcting import regions as regional
from napari_medlab.geometry import polygons
from napari_medlab.widgets.background import Background
from napari_medlab.widgets.layers.tools import CorrectingTools

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytestqt.qtbot import QtBot

    from napari_medlab.annotations import Region

pytestmark = pytest.mark.window


class Workbench(Bench):
    """A bench with tools, and a bright ball of 6 mm radius around (z, y, x) = (10, 40, 50)."""

    def __init__(self, qtbot: QtBot, flips: tuple[int, ...] = (1, 1, 1)) -> None:
        super().__init__((20, 80, 100), flips=flips)
        z, y, x = np.mgrid[:20, :80, :100]
        ball = ((z - 10) * 2.0) ** 2 + ((y - 40) * 0.5) ** 2 + ((x - 50) * 0.5) ** 2 <= 6.0**2
        self.view.levels[0][...] = 100 * ball
        self.volume_mm3 = float(ball.sum() * 0.5)
        self._qtbot = qtbot
        self.background = Background(lambda error: None)
        self.tools = CorrectingTools(self.viewer, self.outlines, self.background)

    def accepted(self) -> Region:
        """Wait for the preview, accept it, and return what it made of the region."""
        self._qtbot.waitUntil(lambda: self.tools.preview.is_shown, timeout=5000)
        self.tools.preview.accept()
        after = self.edits[-1][1]
        assert after is not None
        return after

    def wait_for_word(self) -> str:
        """Wait until something is said, and return it."""
        self._qtbot.waitUntil(lambda: bool(self.told), timeout=5000)
        return self.told[-1]


@pytest.fixture
def bench(qtbot: QtBot) -> Iterator[Workbench]:
    made = Workbench(qtbot)
    yield made
    made.background.close()


def volume_of(region: Region) -> float:
    return sum(polygons.area(regional.rings_on(region, z)) for z in regional.slices_of(region)) * 0.5


def test_growing_outlines_the_object_under_a_place(bench: Workbench) -> None:
    bench.show(owner="o", z=10)
    bench.tools.grow((20.0, 20.5, 25.5))
    after = bench.accepted()
    assert after.owner_id == "o"
    assert volume_of(after) == pytest.approx(bench.volume_mm3, rel=0.12)
    low, high = regional.bounds(after)
    np.testing.assert_allclose((low + high)[1:] / 2, (40, 50), atol=1)


def test_what_is_grown_on_an_image_shown_turned_is_stored_where_it_is(qtbot: QtBot) -> None:
    bench = Workbench(qtbot, flips=(1, -1, -1))
    bench.show(owner="o", z=10)
    bench.tools.grow((20.0, 20.0, 25.0), diameter=12.0)
    low, high = regional.bounds(bench.accepted())
    np.testing.assert_allclose((low + high)[1:] / 2, (79 - 40, 99 - 50), atol=1)
    bench.background.close()


def test_snapping_moves_the_chosen_outline_onto_the_edge(bench: Workbench) -> None:
    drawn = volume(9, 10, ring=polygons.circle((42, 49), 28))
    bench.show(drawn, z=10)
    bench.tools.snap()
    after = bench.accepted()
    assert after.rings[0] is drawn.rings[0]
    (ring,) = regional.rings_on(after, 10)
    assert np.hypot(*(ring - (40, 50)).T).mean() == pytest.approx(12, abs=0.6)


def test_gaps_are_filled_and_told_where_there_are_none(bench: Workbench) -> None:
    bench.show(volume(3, 6))
    bench.tools.fill_between()
    assert regional.slices_of(bench.accepted()) == [3, 4, 5, 6]
    bench.tools.fill_between()
    assert "no slices without an outline" in bench.told[-1]


def test_a_circle_is_drawn_where_the_diameter_is_known(bench: Workbench) -> None:
    bench.show(owner="o", z=10)
    bench.tools.circle((20.0, 20.0, 25.0), 12.0)
    assert volume_of(bench.accepted()) == pytest.approx(4 / 3 * np.pi * 6**3, rel=0.06)
    bench.tools.circle((20.0, 20.0, 25.0), -1.0)
    assert "diameter of this object is not known" in bench.wait_for_word()


def test_a_proposal_for_what_changed_meanwhile_is_dropped(bench: Workbench, qtbot: QtBot) -> None:
    drawn = volume(10, ring=polygons.circle((42, 49), 28))
    bench.show(drawn, z=10)
    bench.tools.snap()
    bench.tools.smooth()
    done: list[int] = []
    bench.background.run("after", lambda: 1, on_done=done.append)
    qtbot.waitUntil(lambda: bool(done), timeout=5000)
    qtbot.wait(50)
    assert not bench.tools.preview.is_shown
