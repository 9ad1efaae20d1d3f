"""All errors as pictures, what they have in common, and which are alike: the dock under the image."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QLabel, QSizePolicy, QTabWidget, QToolButton, QVBoxLayout, QWidget

from napari_medlab.widgets.keys import VERDICTS, key_of
from napari_medlab.widgets.panels.failures import FailuresView
from napari_medlab.widgets.panels.panel import Panel, button, chooser
from napari_medlab.widgets.panels.review import describe_item
from napari_medlab.widgets.panels.similar import SimilarView
from napari_medlab.widgets.preferences import chosen_keys, follow_keys
from napari_medlab.widgets.views.crop_store import CropStore
from napari_medlab.widgets.views.gallery import SIDES, GalleryView
from napari_medlab.widgets.views.gallery_bar import tool_bar
from napari_medlab.widgets.views.gallery_cells import CellText

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["GalleryPanel"]


class GalleryPanel(Panel):
    """Shows what the queue lists: looked through in one glance, chosen many at a time, judged with one key."""

    title = "Gallery"

    def build(self) -> None:
        """Make the three tabs."""
        self._store = CropStore(self.controller.open_image, self.controller.pixels_name, parent=self)
        self.view = GalleryView(self._store)
        self.view.opened.connect(self._open_row)
        self.view.selectionChanged.connect(self._show_selection)
        tabs = QTabWidget()
        tabs.setDocumentMode(True)
        tabs.addTab(self._gallery(), "Gallery")
        self.failures = FailuresView(self.controller)
        self.similar = SimilarView(self.controller)
        tabs.addTab(self.failures, "Where does it fail?")
        tabs.addTab(self.similar, "What is alike?")
        self.tabs = tabs
        self.column.setContentsMargins(0, 0, 0, 0)
        self.column.addWidget(tabs)
        self.setFocusProxy(self.view)
        session = self.session
        controller = self.controller
        controller.rows_meant = self._rows_meant
        self.destroyed.connect(lambda: setattr(controller, "rows_meant", list))
        self.redraw_on(session.queue_changed, self._fill)
        self.redraw_on(session.verdicts_changed, self.view.refresh)
        self.listen(session.item_changed, self._follow)
        self.listen(session.project_changed, self._store.clear)
        self.destroyed.connect(self._store.close)
        self._fill()

    def _rows_meant(self) -> list[int]:
        """Return the rows of the queue that a verdict is meant for: several chosen while the gallery has the keyboard."""
        chosen = self.view.selected()
        return chosen if self.view.hasFocus() and len(chosen) > 1 else []

    def _gallery(self) -> QWidget:
        box = QWidget()
        column = QVBoxLayout(box)
        column.setContentsMargins(4, 4, 4, 0)
        self._said = QLabel()
        self._said.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self._size = chooser(*SIDES)
        self._size.setCurrentText("M")
        self._size.setToolTip("Size of the pictures; Ctrl and the wheel change it, too")
        self._size.activated.connect(lambda _: self.view.set_cell_side(SIDES[self._size.currentText()]))
        self._size.setMinimumContentsLength(3)
        rings = QToolButton()
        rings.setText("○")
        rings.setToolTip("Rings around objects, or what lies under them")
        rings.setCheckable(True)
        rings.setChecked(True)
        rings.toggled.connect(self.view.set_rings)
        verdicts = {
            name: button("", partial(self._judge, verdict), f"Judge what is chosen: {verdict}")
            for name, verdict in VERDICTS.items()
        }

        def name_keys(chosen: Mapping[str, str]) -> None:
            for name, made in verdicts.items():
                made.setText(f"{key_of(name, chosen)}  {VERDICTS[name]}")

        name_keys(chosen_keys())
        self.destroyed.connect(follow_keys(name_keys))
        back = button("none", self._take_back, "Take the verdicts on what is chosen back")
        column.addWidget(tool_bar(*verdicts.values(), back, rings, self._size))
        column.addWidget(self._said)
        column.addWidget(self.view, stretch=1)
        return box

    def _fill(self) -> None:
        queue, controller = self.session.queue, self.controller
        names = {case.case_id: case.name for case in controller.cases}
        has_volumes = any(case.kind == "volume" for case in controller.cases)

        def describe(place: int) -> CellText:
            item = queue[place]
            verdict, unit = self.session.verdicts.get(item.object_id), controller.unit_of(item.case_id)
            figure = f"Dice {item.overlap:.2f}" if item.kind == "poor outline" else f"{item.score:.2f}"
            return CellText(
                item.kind, "missed" if item.kind == "fn" and item.score <= 0 else figure,
                names.get(item.case_id, item.case_id[:8]),
                f"{item.diameter:.0f} {unit}" if item.diameter > 0 else "",
                verdict.verdict if verdict is not None else "", describe_item(item, unit),
            )  # fmt: skip

        self.view.set_items(queue, describe, planes=3 if has_volumes else 1)
        self._follow()
        self._show_selection()

    def _follow(self) -> None:
        """Bring what is being looked at in sight; what the reader has chosen here stays chosen."""
        place = self.session.place
        if self.isVisible() and place >= 0 and place not in self.view.selected():
            self.view.select([place], place)

    def _show_selection(self) -> None:
        count = len(self.view.selected())
        if count > 1:
            self._said.setText(
                f"{count:,} of {len(self.session.queue):,} chosen: one verdict is for all of them."
            )
        else:
            self._said.setText(f"{len(self.session.queue):,} errors")
            self._said.setToolTip(
                "Click to choose, Shift and Ctrl for several, Enter to open; 1 to 4 judge what is chosen"
            )

    def _open_row(self, place: int) -> None:
        self.session.go_to(place)

    def _judge(self, verdict: str) -> None:
        self.controller.editing.judge_rows(self.view.selected(), verdict)

    def _take_back(self) -> None:
        self.controller.editing.take_verdicts_back(self.view.selected())
