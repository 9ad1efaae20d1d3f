"""Correcting outlines, masks and the reference: tools in groups, helpers as previews, and who changed what."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QDoubleSpinBox,
    QGridLayout,
    QGroupBox,
    QLabel,
    QPushButton,
    QSlider,
    QTabWidget,
    QVBoxLayout,
)

from napari_medlab.widgets.keys import give_keys_back
from napari_medlab.widgets.panels.panel import Panel, button, chooser, note, row
from napari_medlab.widgets.views.table import RowsTable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from qtpy.QtWidgets import QWidget

    from napari_medlab.project import JournalEntry

__all__ = ["CorrectPanel"]

SIGNS = {
    "verdict.set": "✓", "region.set": "⬠", "finding.set": "+", "group": "▣", "bundle.current": "★", "export.add": "⇥",
    "judgement.add": "⚖", "conclusion.set": "✎",
}  # fmt: skip
"""The kinds of edit that are listed."""
OTHER_EDITS = {
    "export.add": "package written", "bundle.current": "current model changed", "finding.add": "finding given",
    "regions.add": "outline given", "candidates.add": "found by a model", "judgement.add": "model judged",
    "conclusion.set": "conclusion about a model",
}  # fmt: skip
"""What these kinds of edit are called."""

OUTLINE_TOOLS = {
    "direct": ("Drag", "Key E: drag the vertices of any outline"),
    "insert": ("Add point", "Click on an edge of the selected outline to put a vertex there"),
    "remove": ("Del. point", "Click on a vertex to remove it"),
    "polygon": ("Polygon", "Key D: click each vertex, double-click to close"),
    "freehand": ("Freehand", "Key F: draw around the object with the button held"),
    "box": ("Box", "Draw a rectangle"),
    "ellipse": ("Ellipse", "Draw an ellipse"),
    "cut": ("Cut", "Draw a line across an outline: it falls into pieces"),
    "select": ("Select", "Click outlines to select and move them, with Shift several"),
}
MASK_TOOLS = {
    "paint": ("Brush", "Key B: paint the mask of the chosen object; again to stop"),
    "erase": ("Eraser", "Key X: erase from the mask"),
    "polygon": ("Polygon", "Click around an area to fill it; right click to finish"),
    "fill": ("Bucket", "Click to fill what hangs together"),
}
DRAW_AS = {"added to chosen": "add", "taken from chosen": "subtract", "a new outline": "new"}
"""What becomes of a drawn shape."""
SMALLEST_BRUSH, LARGEST_BRUSH = 1, 100


class CorrectPanel(Panel):
    """Gives the mouse to tools and shows who edited what."""

    title = "Correct"

    def build(self) -> None:
        """Make the groups of tools and the history."""
        controller = self.controller
        self.tools = controller.display.case_outlines.tools
        self.column.setSpacing(4)
        self._shown_diameter = 0.0
        self.outline_buttons: dict[str, QPushButton] = {}
        self.mask_buttons: dict[str, QPushButton] = {}
        for title, build in (("Outline", self._outline), ("Mask", self._mask), ("Helpers", self._helpers),
                             ("Reference", self._reference)):  # fmt: skip
            box = QGroupBox(title)
            inside = QVBoxLayout(box)
            inside.setContentsMargins(4, 4, 4, 4)
            inside.setSpacing(3)
            build(inside)
            self.column.addWidget(box)
        self._add_history()
        self._follow()

    # -- groups ---------------------------------------------------------------------------------------------------

    def _outline(self, inside: QVBoxLayout) -> None:
        tools = self.tools
        self.outline_buttons = {
            tool: _switch(text, partial(self._use_tool, tool), tip)
            for tool, (text, tip) in OUTLINE_TOOLS.items()
        }
        self.edit_button, self.draw_button = self.outline_buttons["direct"], self.outline_buttons["polygon"]
        inside.addLayout(_grid(list(self.outline_buttons.values()), 3))
        self.draw_as = chooser(*DRAW_AS)
        self.draw_as.setToolTip("What becomes of a shape that you draw")
        self.draw_as.currentTextChanged.connect(
            lambda text: setattr(tools.outlines, "draw_as", DRAW_AS[text])
        )
        line = row(QLabel("Drawn is"), self.draw_as)
        line.setStretch(1, 1)
        inside.addLayout(line)
        self.tolerance = _spin(
            0.5, 0.1, 20.0, "px", "How far the outline may move where vertices are left away"
        )
        self.distance = _spin(1.0, -50.0, 50.0, "px", "By how much outlines grow; negative to shrink")
        for narrow in (self.tolerance, self.distance):
            narrow.setButtonSymbols(QDoubleSpinBox.ButtonSymbols.NoButtons)
        buttons: list[QWidget] = [
            self._button("Join", tools.join, "Make one outline of all that are selected"),
            self._button("Split", tools.split, "Make an outline of its own of each separate part"),
            self._button("Delete", tools.outlines.delete_selected, "Remove what is selected"),
            self._button(
                "Simplify",
                lambda: tools.simplify(self.tolerance.value()),
                "Fewer vertices, within the tolerance",
            ),
            self.tolerance,
            self._button("Smooth", tools.smooth, "Take small bends out; the size stays"),
            self._button(
                "Grow by",
                lambda: tools.offset(self.distance.value()),
                "Move the outline outwards on all sides",
            ),
            self.distance,
            self._button(
                "Copy ↓", tools.duplicate, "Copy the chosen object's outline to the next slice, and go there"
            ),
        ]
        inside.addLayout(_grid(buttons, 3))

    def _mask(self, inside: QVBoxLayout) -> None:
        brush = self.tools.brush
        self.mask_buttons = {
            mode: _switch(text, partial(self._use_brush, mode), tip)
            for mode, (text, tip) in MASK_TOOLS.items()
        }
        inside.addLayout(_grid(list(self.mask_buttons.values()), 4))
        self.brush_size = QSlider(Qt.Orientation.Horizontal)
        self.brush_size.setRange(SMALLEST_BRUSH, LARGEST_BRUSH)
        self.brush_size.setValue(brush.size)
        self.brush_size.setToolTip("Diameter of the brush; on the canvas also by Alt and mouse")
        size = QLabel(f"{brush.size} px")
        size.setMinimumWidth(self.fontMetrics().horizontalAdvance("100 px"))
        ball = QCheckBox("3D")
        ball.setToolTip("Paint a ball through the slices instead of a disc on one")
        ball.toggled.connect(lambda on: setattr(brush, "is_3d", on))

        def resize(pixels: int) -> None:
            brush.size = pixels
            size.setText(f"{pixels} px")

        self.brush_size.valueChanged.connect(resize)
        inside.addLayout(row(QLabel("Size"), self.brush_size, size, ball))

    def _helpers(self, inside: QVBoxLayout) -> None:
        tools = self.tools
        self.grow_button = _switch(
            "Grow", self._arm_growing, "Key R, or click here and then into the object: its outline"
        )
        buttons: list[QWidget] = [
            self.grow_button,
            self._button("Snap", tools.snap, "Key S: move the outline onto the nearest edge"),
            self._button("Fill gaps", tools.fill_between, "Key I: outline the slices between outlined ones"),
            self._button(
                "Circle", self._draw_circle, "Outline the chosen object by a circle of its diameter"
            ),
        ]
        inside.addLayout(_grid(buttons, 4))
        self.model_button = self._button(
            "Take the model's outline",
            self.controller.model_outline.take,
            "Key T: the chosen object gets the outline that the model's mask has there",
        )
        inside.addWidget(self.model_button)
        self.accept_button = button("Accept", tools.preview.accept, "Key Return: keep what is proposed")
        self.discard_button = button("Discard", tools.preview.discard, "Key Escape: forget what is proposed")
        self.proposed = note("Proposals are drawn in orange first.")
        inside.addLayout(row(self.accept_button, self.discard_button))
        inside.addWidget(self.proposed)
        self._on_preview("")

    def _reference(self, inside: QVBoxLayout) -> None:
        editing = self.controller.editing
        self.diameter = _spin(8.0, 0.1, 100_000.0, "mm", "Diameter of the chosen finding")
        self.diameter.editingFinished.connect(self._set_diameter)
        for field in (self.diameter, self.tolerance, self.distance):
            give_keys_back(field, self.setFocus)
        self.exclude_button = button(
            "Exclude", editing.exclude_finding, "Let it count neither as found nor as missed, or again"
        )
        add = button("Add here", editing.add_finding_here, "Key A: add a finding where the planes meet")
        move = button(
            "Move here", editing.move_finding_here, "Move the chosen finding to where the planes meet"
        )
        remove = button("Remove", editing.remove_finding, "Take the chosen finding out of the reference")
        self.finding_widgets: list[QWidget] = [move, self.exclude_button, remove, self.diameter]
        inside.addLayout(_grid([add, move, self.exclude_button, remove], 2))
        inside.addLayout(_grid([QLabel("Diameter"), self.diameter], 2))

    def _add_history(self) -> None:
        self.column.addLayout(
            row(
                button(
                    "Undo", self.controller.editing.undo, "Ctrl+Z: the last edit, in whatever case it was"
                ),
                button("Redo", self.controller.editing.redo, "Ctrl+Shift+Z"),
            )
        )
        self._object_history = RowsTable(("", "Edit", "Reader", "At"))
        self._history = RowsTable(("", "Edit", "At"))
        self.tabs = QTabWidget()
        self.tabs.addTab(self._history, "Your edits")
        self.tabs.addTab(self._object_history, "This object")
        self.tabs.setMinimumHeight(140)
        self.column.addWidget(self.tabs, stretch=1)

    def _follow(self) -> None:
        tools, session = self.tools, self.session
        self.listen(tools.outlines.tool_changed, lambda _: self._mark_tools())
        self.listen(tools.brush.changed, lambda _: self._mark_tools())
        self.listen(tools.preview.changed, self._on_preview)
        self.listen(tools.outlines.told, session.told.emit)
        for signal in (
            session.selection_changed,
            session.findings_changed,
            session.review_changed,
            session.case_changed,
        ):
            self.redraw_on(signal, self._show_finding)
        for signal in (session.saved, session.selection_changed):
            self.redraw_on(signal, self._read_history)
        self.redraw_on(session.project_changed, self._read_history)
        self._read_history()
        self._show_finding()

    # -- what buttons do ------------------------------------------------------------------------------------------

    def _button(self, text: str, action: Callable[[], Any], tip: str) -> QPushButton:
        return button(text, lambda: action() if self.controller.editing.writable() is not None else None, tip)

    def _use_tool(self, tool: str) -> None:
        outlines = self.tools.outlines
        if outlines.tool == tool or self.controller.editing.writable() is not None:
            outlines.use("" if outlines.tool == tool else tool)
        self._mark_tools()

    def _use_brush(self, mode: str) -> None:
        if self.tools.brush.mode == mode or self.controller.editing.writable() is not None:
            self.tools.brush.use(mode)
        self._mark_tools()

    def _mark_tools(self) -> None:
        for tool, switch in self.outline_buttons.items():
            switch.setChecked(tool == self.tools.outlines.tool)
        for mode, switch in self.mask_buttons.items():
            switch.setChecked(mode == self.tools.brush.mode)

    def _arm_growing(self) -> None:
        """Let the next click into the canvas be the seed, or no longer."""
        callbacks = self.controller.viewer.mouse_drag_callbacks
        if self._on_seed in callbacks:
            callbacks.remove(self._on_seed)
        elif self.controller.editing.writable() is not None:
            callbacks.append(self._on_seed)
        self.grow_button.setChecked(self._on_seed in callbacks)

    def _on_seed(self, viewer: Any, event: Any) -> None:
        self._arm_growing()
        self.tools.grow(event.position)

    def _draw_circle(self) -> None:
        finding, item = self.session.chosen_finding, self.session.item
        chosen = finding or item
        if chosen is None or self.tools.outlines.view is None:
            self.session.told.emit("Choose a finding or candidate first.")
            return
        centre = self.tools.outlines.view.to_display(chosen.centre[: self.tools.outlines.view.grid.ndim])
        self.tools.circle(centre.tolist(), chosen.diameter)

    # -- what is shown --------------------------------------------------------------------------------------------

    def _on_preview(self, title: str) -> None:
        for switch in (self.accept_button, self.discard_button):
            switch.setEnabled(bool(title))
        self.proposed.setText(f"Proposed: {title}" if title else "Proposals are drawn in orange first.")

    def _set_diameter(self) -> None:
        """Take over what was typed; a field that was only visited changes nothing, though it shows fewer decimals."""
        if self.diameter.value() != self._shown_diameter:
            self._shown_diameter = self.diameter.value()
            self.controller.editing.set_diameter(self._shown_diameter)

    def _show_finding(self) -> None:
        finding = self.session.chosen_finding
        for widget in self.finding_widgets:
            widget.setEnabled(finding is not None)
        if finding is not None:
            self.diameter.blockSignals(True)
            self.diameter.setSuffix(f" {self.controller.unit_of(finding.case_id)}")
            self.diameter.setValue(finding.diameter)
            self.diameter.blockSignals(False)
            self._shown_diameter = self.diameter.value()
            self.exclude_button.setText("Include" if finding.is_excluded else "Exclude")

    def _read_history(self) -> None:
        project, chosen = self.session.project, self.session.selected_id
        if project is None:
            self._history.set_rows([])
            self._object_history.set_rows([])
            return

        def read() -> tuple[Sequence[JournalEntry], Sequence[JournalEntry]]:
            return project.journal(40, kinds=tuple(SIGNS)), project.history(chosen) if chosen else []

        self.controller.background.run("history", read, on_done=self._fill)

    def _fill(self, read: tuple[Sequence[JournalEntry], Sequence[JournalEntry]]) -> None:
        latest, own = read
        mine = self.session.project.reader if self.session.project is not None else ""
        newest = [entry for entry in latest[::-1] if entry.reader == mine]
        known = {entry.id: entry for entry in (*latest, *own)}
        self._history.set_rows(
            [(_sign(e), _sentence(e, known), e.at[11:19]) for e in newest],
            tips=[f"edit {e.id}: {_sentence(e, known)}" for e in newest],
        )
        self._object_history.set_rows(
            [(_sign(e), _sentence(e, known), e.reader, e.at[:10]) for e in own[::-1]],
            tips=[f"edit {e.id}, {e.at[:19].replace('T', ' ')}{self._model_of(e)}" for e in own[::-1]],
        )

    def _model_of(self, entry: JournalEntry) -> str:
        """Return the model whose answer an edit was about, as it is said at the end of a line."""
        run = next((run for run in self.controller.runs if run.run_id == entry.payload.get("run_id")), None)
        bundle = self.controller.models.bundle(run.bundle_hash) if run is not None else None
        return f", on what {bundle.title} found" if bundle is not None else ""


def _switch(text: str, action: Callable[[], Any], tip: str) -> QPushButton:
    made = button(text, action, tip)
    made.setCheckable(True)
    return made


def _spin(value: float, least: float, most: float, unit: str, tip: str) -> QDoubleSpinBox:
    made = QDoubleSpinBox()
    made.setRange(least, most)
    made.setDecimals(1)
    made.setSingleStep(0.5)
    made.setValue(value)
    made.setSuffix(f" {unit}")
    made.setToolTip(tip)
    made.setMinimumWidth(40)
    return made


def _grid(widgets: Sequence[QWidget], columns: int) -> QGridLayout:
    """Return widgets in columns of one width, with as little around their texts as it takes to fit a narrow dock."""
    grid = QGridLayout()
    grid.setSpacing(3)
    for number, widget in enumerate(widgets):
        if isinstance(widget, QPushButton):
            widget.setMinimumWidth(widget.fontMetrics().horizontalAdvance(widget.text()) + 12)
        grid.addWidget(widget, number // columns, number % columns)
    for column in range(columns):
        grid.setColumnStretch(column, 1)
    return grid


def _sign(entry: JournalEntry) -> str:
    return SIGNS.get(entry.kind, "·")


def _sentence(entry: JournalEntry, known: Mapping[int, JournalEntry]) -> str:
    """Return what an edit did; ``known`` holds the edits that it may have taken back, by their ids."""
    if entry.undoes is not None:
        undone = known.get(entry.undoes)
        if undone is not None and undone.undoes is not None:  # an undo that was undone
            again = known.get(undone.undoes)
            return (
                f"again: {_sentence(again, known)}" if again is not None else f"again: edit {undone.undoes}"
            )
        return f"undid: {_sentence(undone, known)}" if undone is not None else f"undid: edit {entry.undoes}"
    before, after = entry.payload.get("before"), entry.payload.get("after")
    if entry.kind == "group":
        return str(entry.payload["title"])
    if entry.kind == "verdict.set":
        return str(after["verdict"]) if after else "verdict withdrawn"
    if entry.kind in ("region.set", "finding.set"):
        what, made = ("outline", "drawn") if entry.kind == "region.set" else ("finding", "added")
        return f"{what} {'changed' if before and after else made if after else 'removed'}"
    return OTHER_EDITS.get(entry.kind, entry.kind)
