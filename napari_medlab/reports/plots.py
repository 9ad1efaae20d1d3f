"""FROC curves as figures, drawn without a window."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.evaluation.froc import FP_POINTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from napari_medlab.evaluation.bootstrap import BootstrapResult
    from napari_medlab.evaluation.froc import FrocCurve

__all__ = ["BAND_POINTS", "FrocLine", "froc_figure", "froc_png", "froc_svg"]

COLOURS = ("#0072B2", "#D55E00")
"""Blue and vermilion of Okabe and Ito's palette, which colour-blind people tell apart."""

DASHES = ("solid", (0, (5, 1.5)))
"""The second curve is dashed, so that a print in grey can be read too."""

BAND_POINTS: tuple[float, ...] = tuple(np.geomspace(FP_POINTS[0], FP_POINTS[-1], 61).tolist())
"""The false positives per scan at which a smooth band is resampled, as the ``points`` of ``bootstrap``."""


@dataclass(frozen=True, eq=False)
class FrocLine:
    """One curve of the figure.

    Parameters
    ----------
    name : str
        Shown in the legend, with the CPM.
    curve : FrocCurve
    band : BootstrapResult, optional
        Its 95 % intervals are drawn as a band, straight between their points; see :data:`BAND_POINTS`.
    """

    name: str
    curve: FrocCurve
    band: BootstrapResult | None = None


def froc_figure(lines: Sequence[FrocLine], title: str = "") -> Figure:
    """Return a figure of one or two FROC curves from 1/8 to 8 false positives per scan.

    Raises
    ------
    ValueError
        For any other number of curves.
    """
    from matplotlib.figure import Figure

    if not 1 <= len(lines) <= len(COLOURS):
        msg = f"A FROC figure shows 1 or {len(COLOURS)} curves, got {len(lines)}."
        raise ValueError(msg)
    figure = Figure(figsize=(6.4, 4.8), layout="constrained")
    axes = figure.add_subplot()
    for line, colour, dash in zip(lines, COLOURS, DASHES, strict=False):
        _draw(axes, line, colour, dash)
    _label(axes, title)
    return figure


def froc_svg(lines: Sequence[FrocLine], title: str = "") -> str:
    """Return the figure as an SVG document; the same curves give the same text."""
    import matplotlib as mpl

    with mpl.rc_context({"svg.hashsalt": "napari-medlab", "svg.fonttype": "none"}):
        svg = _saved(froc_figure(lines, title), "svg", {"metadata": {"Date": None, "Creator": None}})
    return svg.decode("utf-8")


def froc_png(lines: Sequence[FrocLine], title: str = "", dpi: int = 150) -> bytes:
    """Return the figure as a PNG file, 6.4 × 4.8 inches."""
    return _saved(froc_figure(lines, title), "png", {"dpi": dpi, "metadata": {"Software": None}})


def _draw(axes: Axes, line: FrocLine, colour: str, dash: object) -> None:
    x = np.unique(np.concatenate([line.curve.fps_per_scan, BAND_POINTS]))
    x = x[(x >= FP_POINTS[0]) & (x <= FP_POINTS[-1])]
    cpm = line.curve.cpm
    label = f"{line.name} (no findings)" if np.isnan(cpm) else f"{line.name} (CPM {cpm:.3f})"
    axes.plot(x, line.curve.sensitivity_at(x), color=colour, linestyle=dash, linewidth=2, label=label)
    axes.plot(FP_POINTS, line.curve.sensitivity_at(FP_POINTS), "o", color=colour, markersize=4)
    if line.band is not None:
        ends = np.asarray(list(line.band.sensitivity.values()))
        axes.fill_between(line.band.points, ends[:, 0], ends[:, 1], color=colour, alpha=0.15, linewidth=0)


def _label(axes: Axes, title: str) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xlim(FP_POINTS[0], FP_POINTS[-1])
    axes.set_xticks(FP_POINTS, ["1/8", "1/4", "1/2", "1", "2", "4", "8"])
    axes.minorticks_off()
    axes.set_ylim(0, 1.01)
    axes.set_yticks(np.linspace(0, 1, 11))
    axes.set_xlabel("False positives per scan (mean number)")
    axes.set_ylabel("Sensitivity (share of findings)")
    axes.grid(visible=True, color="0.85", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.legend(loc="lower right", frameon=False)
    if title:
        axes.set_title(title, parse_math=False)


def _saved(figure: Figure, kind: str, options: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, **options)
    return buffer.getvalue()
