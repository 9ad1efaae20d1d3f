"""A line of tools that asks for no width: those that find no room are behind an arrow at its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QToolBar

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget

__all__ = ["tool_bar"]

SPACING = 4


def tool_bar(*widgets: QWidget) -> QToolBar:
    """Return a line of widgets that can be made as narrow as the image above it."""
    bar = QToolBar()
    bar.setMovable(False)
    bar.setFloatable(False)
    layout = bar.layout()
    if layout is not None:
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(SPACING)
    for widget in widgets:
        bar.addWidget(widget)
    return bar
