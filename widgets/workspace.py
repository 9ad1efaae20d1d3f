"""The whole workspace in one napari window: the loop along the top, cases on the left, planes and stations on the right."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from qtpy.QtCore import QObject, Qt, QTimer
from qtpy.QtWidgets import QDockWidget, QFrame, QMainWindow, QScrollArea, QStackedWidget, QWidget

from napari_medlab.widgets.activity import SpokenActivity
from napari_medlab.widgets.controller import controller_of
from napari_medlab.widgets.header import Header
from napari_medlab.widgets.keys import key_of
from napari_medlab.widgets.layout_memory import LAYOUT, recall, remember
from napari_medlab.widgets.panels.cases import CasesPanel
from napari_medlab.widgets.panels.compare import ComparePanel
from napari_medlab.widgets.panels.correct import CorrectPanel
from napari_medlab.widgets.panels.evaluate import EvaluatePanel
from napari_medlab.widgets.panels.gallery import GalleryPanel
from napari_medlab.widgets.panels.hard import HardExamplesPanel
from napari_medlab.widgets.panels.journal import JournalPanel
from napari_medlab.widgets.panels.retrain import RetrainPanel
from napari_medlab.widgets.panels.review import ReviewPanel
from napari_medlab.widgets.panels.run import RunPanel
from napari_medlab.widgets.preferences import apply_preferences, chosen_keys
from napari_medlab.widgets.views.contexts import keep_apart
from napari_medlab.widgets.views.planes import LinkedPlanes

if TYPE_CHECKING:
    from napari_medlab.widgets.panels.panel import Panel

__all__ = ["STATIONS", "Workspace", "WorkspaceOpener", "open_workspace"]

STATIONS: tuple[type[Panel], ...] = (
    RunPanel, ReviewPanel, CorrectPanel, EvaluatePanel, HardExamplesPanel, RetrainPanel, ComparePanel,
    JournalPanel,
)  # fmt: skip
"""The stations of the loop in order."""

WIDTHS = {"cases": (0.18, 240, 330), "planes": (0.19, 200, 460), "stations": (0.215, 290, 380)}
"""For each dock its share of the window's width, and the least and greatest width in pixels."""

GALLERY_SHARE = 0.42
"""Of the window's height, for the gallery."""

INVITATION_PT = 14
"""Size of what the empty canvas says, in points."""

_open: WeakKeyDictionary[Any, Workspace] = WeakKeyDictionary()


def open_workspace() -> Workspace:
    """Lay the workspace out in napari's current window, once: the command in File → IO Utilities."""
    import napari

    viewer = napari.current_viewer() or napari.Viewer()
    inner = getattr(viewer, "__wrapped__", viewer)
    if inner in _open:
        _open[inner].show_docks()
        return _open[inner]
    workspace = Workspace(inner)
    workspace.controller.display.warm_up()
    return workspace


class WorkspaceOpener(QWidget):
    """What Plugins → MedLab → Workspace makes: it lays the workspace out, and its own dock goes away again."""

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__()
        QTimer.singleShot(0, self._open)

    def _open(self) -> None:
        workspace = open_workspace()
        workspace.viewer.window.remove_dock_widget(self)
        workspace.share_width()


class Workspace(QObject):
    """Docks, header and keys of one window.

    Parameters
    ----------
    viewer : napari.Viewer
    """

    def __init__(self, viewer: Any) -> None:
        super().__init__()
        self.viewer = getattr(viewer, "__wrapped__", viewer)
        apply_preferences()
        keep_apart(self.viewer, self.viewer.window._qt_viewer.canvas)
        # images are looked at on black, in a light theme as well
        self.viewer.canvas.background_color_override = "black"
        self.controller = controller_of(viewer)
        self.header = Header()
        self.cases = CasesPanel(viewer)
        self.gallery = GalleryPanel(viewer)
        self.stations = [station(viewer) for station in STATIONS]
        self.planes = LinkedPlanes()
        self.viewer.canvas.overlays.text.position = "top_center"
        self.viewer.canvas.overlays.text.font_size = INVITATION_PT
        self._planes_width = 0
        self._notes: tuple[str, ...] = ()
        self._outlines_note = ""
        self._stack = QStackedWidget()
        for panel in self.stations:
            self._stack.addWidget(_scrolled(panel))
        # a layout kept from a smaller window must not cut the panels off
        self._stack.setMinimumWidth(WIDTHS["stations"][1])
        self.header.add_stations([panel.title for panel in self.stations], self._stack.setCurrentIndex)
        self._lay_out()
        self.controller.display.attach_planes(self.planes)
        self._connect()
        self.show_station("Run")
        _open[self.viewer] = self
        # sizes hold only once the window is laid out
        QTimer.singleShot(0, self.restore_layout)

    def station(self, title: str) -> Panel:
        """Return the panel of a station by its title."""
        return next(panel for panel in self.stations if panel.title == title)

    def show_station(self, title: str) -> None:
        """Bring a station to the front."""
        number = [panel.title for panel in self.stations].index(title)
        self._stack.setCurrentIndex(number)
        self.header.mark(number)

    def show_docks(self) -> None:
        """Show docks that were closed."""
        for dock in self._docks[:3]:
            dock.show()

    def close(self) -> None:
        """Close the planes and shut the controller down; calling it again does nothing."""
        _open.pop(self.viewer, None)
        self.planes.close_canvases()
        self.controller.shut_down()

    def _lay_out(self) -> None:
        add = self.viewer.window.add_dock_widget
        header = add(self.header, name="MedLab", area="top", add_vertical_stretch=False)
        cases = add(self.cases, name="MedLab cases", area="left", add_vertical_stretch=False)
        planes = add(self.planes, name="MedLab planes", area="right", add_vertical_stretch=False)
        stations = add(self._stack, name="MedLab station", area="right", add_vertical_stretch=False)
        self._window = cases.parentWidget()
        header.setTitleBarWidget(QWidget(header))
        gallery = add(self.gallery, name="MedLab gallery", area="bottom", add_vertical_stretch=False)
        gallery.hide()
        self._docks = [cases, planes, stations, gallery]
        self.planes.neededChanged.connect(self._show_planes)
        window = self._window
        if isinstance(window, QMainWindow):
            window.splitDockWidget(planes, stations, Qt.Orientation.Horizontal)
            for name in ("layer list", "layer controls"):
                own = window.findChild(QDockWidget, name)
                if own is not None:
                    window.tabifyDockWidget(cases, own)
            cases.raise_()
            # the gallery lies under the image, and leaves the panels their height
            window.setCorner(Qt.Corner.BottomRightCorner, Qt.DockWidgetArea.RightDockWidgetArea)
            window.setCorner(Qt.Corner.BottomLeftCorner, Qt.DockWidgetArea.LeftDockWidgetArea)
        self.controller.attach(self._window)
        self._window.destroyed.connect(self.close)

    def _show_planes(self, wanted: bool) -> None:
        """Show the dock of planes or give its room to the canvas; a dock that the reader closed stays closed."""
        dock = self._docks[1]
        if dock.isHidden() == wanted:
            cases, planes, stations = (each.width() for each in self._docks[:3])
            if not wanted:
                self._planes_width = planes
            dock.setVisible(wanted)
            QTimer.singleShot(0, partial(self._give_widths, [cases, self._planes_width, stations]))

    def _give_widths(self, widths: list[int]) -> None:
        """Give the docks the widths that they had, which the reader may have chosen; the usual ones where they had none."""
        if all(widths):
            self._resize(widths)
        else:
            self.share_width()

    def _resize(self, widths: list[int]) -> None:
        """Give widths to the docks that are shown: Qt would give that of a hidden one to its neighbour, not to the canvas."""
        shown = {
            dock: width for dock, width in zip(self._docks[:3], widths, strict=True) if not dock.isHidden()
        }
        if isinstance(self._window, QMainWindow):
            self._window.resizeDocks([*shown], [*shown.values()], Qt.Orientation.Horizontal)

    def share_width(self) -> None:
        """Give each dock its share of the window's width; the canvas gets the rest."""
        width = self._window.width()
        shares = [round(min(max(share * width, least), most)) for share, least, most in WIDTHS.values()]
        self._resize(shares)

    def toggle_gallery(self) -> None:
        """Show all errors as pictures under the image, or give the room back to it."""
        dock = self._docks[3]
        dock.setVisible(dock.isHidden())
        if not dock.isHidden() and isinstance(self._window, QMainWindow):
            self._window.resizeDocks(
                [dock], [round(GALLERY_SHARE * self._window.height())], Qt.Orientation.Vertical
            )
            self.gallery.setFocus()

    def restore_layout(self) -> None:
        """Lay the window out as it was when it was closed last, or in the usual way."""
        kept = recall()
        window = self._window
        if kept.station:
            self.show_station(kept.station)
        if not (isinstance(window, QMainWindow) and kept.state and window.restoreState(kept.state, LAYOUT)):
            self.share_width()
        if not self.planes.is_needed:
            self._docks[1].hide()

    def _keep_layout(self) -> None:
        if isinstance(self._window, QMainWindow):
            state = bytes(self._window.saveState(LAYOUT).data())
            station = self.stations[self._stack.currentIndex()].title
            remember(replace(recall(), state=state, station=station))

    def _connect(self) -> None:
        controller, session = self.controller, self.controller.session
        for signal in (session.case_changed, session.item_changed, session.queue_changed,
                       session.review_changed, session.project_changed):  # fmt: skip
            signal.connect(self._describe)
        session.saved.connect(self.header.show_saved)
        session.told.connect(self.header.tell)
        controller.editing.pending_changed.connect(self.header.show_pending)
        controller.gallery_asked.connect(self.toggle_gallery)
        controller.remark_asked.connect(lambda: self.show_station("Review"))
        controller.station_asked.connect(self.show_station)
        controller.closing.connect(self._keep_layout)
        self.header.galleryAsked.connect(self.toggle_gallery)
        self.header.keysAsked.connect(controller.show_keys)
        session.view_changed.connect(self._describe_view)
        session.outlines_noted.connect(self._note_outlines)
        loader = controller.display.loader
        self._reading = SpokenActivity("Reading images", loader.stop, parent=self)
        loader.progress.connect(self.header.show_progress)
        loader.progress.connect(self._reading.tell)
        self.header.stopAsked.connect(controller.display.loader.stop)
        controller.models.bundles_changed.connect(self._describe)
        controller.models.run_finished.connect(lambda _: self._land())
        journal, compare = self.station("Journal"), self.station("Compare")
        if isinstance(journal, JournalPanel) and isinstance(compare, ComparePanel):
            journal.compareAsked.connect(lambda *_: self.show_station("Compare"))
            journal.compareAsked.connect(compare.compare_pair)
        self._describe()

    def _land(self) -> None:
        """Go to the worst error when a run is complete and nothing is being looked at."""
        if self.controller.session.place < 0 and len(self.controller.session.queue):
            self.show_station("Review")
            self.controller.session.go_to(0)

    def _invite(self) -> None:
        """Say on the empty canvas what to do."""
        session, text = self.controller.session, self.viewer.canvas.overlays.text
        text.text = "" if session.case_id else _invitation(
            has_cases=bool(self.controller.cases), has_errors=bool(len(session.queue))
        )  # fmt: skip
        text.visible = not session.case_id

    def _describe_view(self, notes: tuple[str, ...]) -> None:
        self._notes = notes
        self._describe()

    def _note_outlines(self, text: str) -> None:
        self._outlines_note = text
        self._describe()

    def _describe(self, *_: Any) -> None:
        session = self.controller.session
        name = next((c.name for c in self.controller.cases if c.case_id == session.case_id), "no case")
        model = "no run yet"
        if session.project is not None and session.review is not None:
            run_id = session.review.run_id
            model = next((title for title, known in self.controller.titled_runs() if known == run_id), model)
        count = len(session.queue)
        place = (
            f"{session.place + 1} of {count:,}"
            if session.place >= 0
            else f"{count:,} errors"
            if count
            else "empty"
        )
        self.header.describe(
            [name, model, f"≤ {session.fp_per_scan:.3g} false positives per scan", f"queue: {place}"],
            (*self._notes, *([self._outlines_note] if self._outlines_note else [])),
        )
        project = session.project
        self._invite()
        self.header.show_mode(
            "" if project is None else "read-only" if project.is_read_only else "✓ all saved"
        )


def _invitation(*, has_cases: bool, has_errors: bool) -> str:
    """Return what to do where no case is shown."""
    if not has_cases:
        return "Open a project, or drop images here"
    key = key_of("next_error", chosen_keys())
    return f"Choose a case, or press {key} for the worst error" if has_errors else "Choose a case"


def _scrolled(panel: QWidget) -> QScrollArea:
    """Return the panel in a scroll area, so that small windows cut nothing off."""
    area = QScrollArea()
    area.setWidgetResizable(True)
    area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    area.setFrameShape(QFrame.Shape.NoFrame)
    area.setWidget(panel)
    return area
