"""What a package would hold, to look at before it is written: counts, sizes against anchors, brightness by site, pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtGui import QImage, QPixmap
from qtpy.QtWidgets import QGridLayout, QLabel, QVBoxLayout, QWidget

from napari_medlab.widgets.panels.panel import note
from napari_medlab.widgets.views.curve import CurveView, Line, PlotAxes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from napari_medlab.models.workflows.look_before import BoxSizes, Look

__all__ = ["LookView", "size_lines", "words_of"]

PICTURE, PICTURES_ABREAST = 60, 4
SHARES = PlotAxes("", "", (0.0, 1.0), (0.0, 0.5, 1.0))
MOST_SITES = 4


class LookView(QWidget):
    """Shows what was found by :func:`~napari_medlab.models.workflows.look_before.look_before`."""

    def __init__(self, *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.text, self.size_text, self.alike_text = note(), note(), note()
        self.sizes, self.brightness = CurveView(SHARES), CurveView(SHARES)
        self._pictures = QGridLayout()
        self._pictures.setSpacing(2)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        for widget in (self.text, self.size_text, self.sizes, self.brightness, self.alike_text):
            column.addWidget(widget)
        column.addLayout(self._pictures)
        self.clear()

    def clear(self) -> None:
        """Show nothing."""
        for widget in (self.text, self.size_text, self.sizes, self.brightness, self.alike_text):
            widget.hide()
        self._show_pictures([])

    def show_look(self, look: Look) -> None:
        """Show the figures; plots and pictures as far as there is something to draw."""
        self.text.setText(words_of(look))
        self.text.show()
        self._show_sizes(look.boxes)
        self._show_brightness(look)
        self.alike_text.setText(_alike_words(look))
        self.alike_text.setVisible(bool(self.alike_text.text()))
        self._show_pictures(
            [(f"{one.reason} {one.verdict}".strip(), pixels) for one, pixels in look.pictures]
        )

    def _show_sizes(self, boxes: BoxSizes) -> None:
        has_any = len(boxes.after) > 0
        for widget in (self.sizes, self.size_text):
            widget.setVisible(has_any)
        if has_any:
            axes, lines = size_lines(boxes)
            self.sizes.set_axes(axes)
            self.sizes.set_lines(*lines)
            self.size_text.setText(_size_words(boxes))

    def _show_brightness(self, look: Look) -> None:
        self.brightness.setVisible(bool(look.intensity))
        if not look.intensity:
            return
        sites = list(look.intensity.items())[:MOST_SITES]
        low, high = sites[0][1].edges
        # the darkest bin is air or nothing as a rule, and would press all others down
        top = _top(max(float(one.histogram[1:-1].max()) for _, one in sites))
        ticks = tuple(round(float(tick), 2) for tick in np.linspace(low, high, 5))
        self.brightness.set_axes(PlotAxes("value as the model sees it", "share", ticks, (0.0, top / 2, top)))
        lines = []
        for site, one in sites:
            at = np.linspace(low, high, len(one.histogram))
            lines.append(Line(at, one.histogram, f"{site} ({one.crops})"))
        self.brightness.set_lines(*lines)

    def _show_pictures(self, pictures: list[tuple[str, NDArray[np.uint8]]]) -> None:
        while (item := self._pictures.takeAt(0)) is not None:
            if (old := item.widget()) is not None:
                old.deleteLater()
        for number, (tip, pixels) in enumerate(pictures):
            label = QLabel()
            label.setPixmap(_pixmap(pixels))
            label.setToolTip(tip)
            self._pictures.addWidget(label, number // PICTURES_ABREAST, number % PICTURES_ABREAST)


def words_of(look: Look) -> str:
    """Return what there is, what was left out and why, and how the classes are spread, a line for each."""
    chosen = look.chosen
    judged = sum(bool(one.verdict) for one in chosen.examples)
    found = _counted(chosen.counts)
    lines = [
        f"{len(chosen)} examples of {len(chosen.case_ids)} cases: {found or 'nothing'}; {judged} with a verdict."
    ]
    if chosen.left_out:
        lines.append(f"Left out: {_counted(chosen.left_out)}.")
    lines += [f"{side.capitalize()}: {_counted(_named(counts))}." for side, counts in look.classes.items()]
    return "\n".join([*lines, *(f"⚠ {warning}" for warning in chosen.warnings)])


def size_lines(boxes: BoxSizes) -> tuple[PlotAxes, list[Line]]:
    """Return the axes and lines of a histogram of sizes by powers of two, the smallest anchor as a line of its own."""
    anchor = boxes.smallest_anchor
    known = [boxes.before, boxes.after, *([np.asarray([anchor])] if anchor is not None else [])]
    every = np.concatenate(known)
    low = int(np.floor(np.log2(max(float(every.min()), 0.25)))) - 1
    high = int(np.ceil(np.log2(max(float(every.max()), 0.25)))) + 1
    edges = 2.0 ** np.arange(low, high + 0.25, 0.5)
    counts = [np.histogram(np.maximum(sizes, edges[0]), edges)[0] for sizes in (boxes.before, boxes.after)]
    top = _top(max(int(count.max()) for count in counts) / len(boxes.after))
    lines = [
        Line(np.repeat(edges, 2)[1:-1], np.repeat(count / count.sum(), 2), name)
        for count, name in zip(counts, ("pixels of the image", "as the model sees it"), strict=True)
    ]
    if anchor is not None:
        lines.append(Line(np.asarray([anchor, anchor]), np.asarray([0.0, top]), "smallest anchor"))
    step = max(1, (high - low) // 5)
    ticks = tuple(2.0**n for n in range(low, high + 1, step))
    ticks = ticks if ticks[-1] == 2.0**high else (*ticks, 2.0**high)
    return PlotAxes("size of findings (voxels)", "share", ticks, (0.0, top / 2, top), is_log=True), lines


def _top(share: float) -> float:
    """Return where an axis of shares ends, so that there is room for the legend above the highest."""
    return next((top for top in (0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 1.0) if top >= 1.4 * share), 1.4)


def _size_words(boxes: BoxSizes) -> str:
    middle = [float(np.median(sizes)) for sizes in (boxes.before, boxes.after)]
    said = f"Findings are {middle[0]:.0f} pixels wide in the image, and {middle[1]:.0f} as the model sees it (medians)."
    share = boxes.share_below
    if share:
        said += f" ⚠ {share:.0%} of them are below the smallest anchor of {boxes.smallest_anchor:.0f}, and can hardly be found."
    return said


def _alike_words(look: Look) -> str:
    if not look.alike:
        return ""
    examples = {pair.second.centre for pair in look.alike}
    return (
        f"⚠ {len(examples)} of the examples to validate on look like one to train on: the same place, or the next frame of a "
        "sequence. What the validation says will be too good."
    )


def _named(counts: Mapping[str, int]) -> dict[str, int]:
    """Return classes in words: crops on which nothing is to be found count as ``none``."""
    return {"without a finding" if name == "none" else name: count for name, count in counts.items()}


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items())


def _pixmap(pixels: NDArray[np.uint8]) -> QPixmap:
    height, width = pixels.shape[:2]
    form = QImage.Format.Format_RGB888 if pixels.ndim == 3 else QImage.Format.Format_Grayscale8
    step = width * (3 if pixels.ndim == 3 else 1)
    image = QImage(pixels.tobytes(), width, height, step, form).copy()
    return QPixmap.fromImage(image).scaled(
        PICTURE, PICTURE, Qt.AspectRatioMode.KeepAspectRatio, Qt.TransformationMode.SmoothTransformation
    )
