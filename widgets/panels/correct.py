"""Correcting outlines: drag vertices, draw, remove; saved as it happens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_medlab.widgets.panels.panel import Panel, button, note, row
from napari_medlab.widgets.views.table import RowsTable

if TYPE_CHECKING:
    from napari_medlab.project import JournalEntry

__all__ = ["CorrectPanel"]

SIGNS = {"verdict.set": "✓", "region.set": "⬠", "bundle.current": "★", "export.add": "⇥"}
"""The kinds of edit that are listed."""


class CorrectPanel(Panel):
    """Turns outlines into something that can be edited, and shows who edited what."""

    title = "Correct"

    def build(self) -> None:
        """Make the buttons and the history."""
        outlines = self.controller.display.outlines
        self.column.addWidget(
            note("Outlines of the chosen finding are yellow, those of others green. Every change is saved when the "
                 "mouse button is let go.")
        )  # fmt: skip
        self.edit_button = button("E  drag vertices", self.controller.toggle_editing, "Key E: drag the vertices of any outline")
        self.edit_button.setCheckable(True)
        self.draw_button = button("Draw a polygon", lambda: self.controller.toggle_editing(drawing=True),
                                  "Click for each vertex, double-click to close; it outlines the chosen object")  # fmt: skip
        self.column.addLayout(row(self.edit_button, self.draw_button))
        self.column.addLayout(
            row(
                button("Remove selected", outlines.delete_selected, "Remove the outlines that are selected"),
                button("Undo", self.controller.undo, "Ctrl+Z: the last edit, in whatever case it was"),
                button("Redo", self.controller.redo, "Ctrl+Shift+Z"),
            )
        )
        self.column.addWidget(note("Your latest edits"))
        self._history = RowsTable(("", "Edit", "Reader", "At"))
        self.column.addWidget(self._history, stretch=1)
        self.listen(self.controller.editing_changed, self.edit_button.setChecked)
        self.listen(self.session.saved, lambda _: self._read_history())
        self.listen(self.session.project_changed, self._read_history)
        self._read_history()

    def _read_history(self) -> None:
        project = self.session.project
        if project is None:
            self._history.set_rows([])
            return
        self.controller.background.run("history", lambda: project.journal(40, kinds=tuple(SIGNS)), on_done=self._fill)

    def _fill(self, entries: list[JournalEntry]) -> None:
        mine = self.session.project.reader if self.session.project is not None else ""
        newest_first = [entry for entry in entries[::-1] if entry.reader == mine]
        rows = [(SIGNS[e.kind], _sentence(e), e.reader, e.at[11:19]) for e in newest_first]
        self._history.set_rows(rows, tips=[f"edit {e.id}" for e in newest_first])


def _sentence(entry: JournalEntry) -> str:
    if entry.undoes is not None:
        return f"took back edit {entry.undoes}"
    after = entry.payload.get("after")
    if entry.kind == "verdict.set":
        return str(after["verdict"]) if after else "verdict withdrawn"
    if entry.kind == "region.set":
        return "outline changed" if after and entry.payload.get("before") else "outline drawn" if after else "outline removed"
    return "package written" if entry.kind == "export.add" else "current model changed"
