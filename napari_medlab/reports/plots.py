"""Curves, strata and confusion matrices as figures, drawn without a window."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.durable import replace_file
from napari_medlab.errors import InputRefusedError
from napari_medlab.evaluation.bootstrap import percentile_interval
from napari_medlab.evaluation.froc import FP_POINTS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from napari_medlab.evaluation.bootstrap import BootstrapResult, Interval
    from napari_medlab.evaluation.froc import FrocCurve
    from napari_medlab.evaluation.precision_recall import PrecisionRecallCurve

__all__ = [
    "BAND_POINTS",
    "COLOURS",
    "RECALLS",
    "Estimate",
    "FrocLine",
    "RecallBand",
    "RecallLine",
    "Series",
    "as_png",
    "as_svg",
    "froc_figure",
    "matrix_figure",
    "recall_figure",
    "recalls_of",
    "save_figure",
    "strata_figure",
]

COLOURS = ("#0072B2", "#D55E00")
"""Blue and vermilion of Okabe and Ito's palette, which colour-blind people tell apart."""

DASHES = ("solid", (0, (5, 1.5)))
"""The second curve is dashed, so that a print in grey can be read too."""

MARKERS = ("o", "s")

BAND_POINTS: tuple[float, ...] = tuple(np.geomspace(FP_POINTS[0], FP_POINTS[-1], 61).tolist())
"""The false positives per scan at which a smooth band is resampled, as the ``points`` of ``bootstrap``.

Every tenth is one of :data:`~napari_medlab.evaluation.froc.FP_POINTS`.
"""

RECALLS: tuple[float, ...] = tuple(np.linspace(0, 1, 51).tolist())
"""The recalls at which precision is resampled."""

LONGEST_NAME = 28
"""Letters of a name beside an axis; longer ones lose their middle."""


@dataclass(frozen=True, eq=False)
class FrocLine:
    """One curve of a FROC figure.

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


@dataclass(frozen=True, eq=False)
class RecallBand:
    """How sure precision is at each recall.

    Parameters
    ----------
    recalls : tuple of float, (r,)
    precision : float64 array, (r, 2)
        The ends of the 95 % interval.
    areas : float64 array, (replicates,)
        The average precision of each replicate; nan where one drew no findings.
    """

    recalls: tuple[float, ...]
    precision: NDArray[np.float64]
    areas: NDArray[np.float64]

    @property
    def average_precision(self) -> Interval:
        """The 95 % interval of the area under the curve."""
        return percentile_interval(self.areas)


@dataclass(frozen=True, eq=False)
class RecallLine:
    """One curve of a precision-recall figure; the legend shows its name and its average precision."""

    name: str
    curve: PrecisionRecallCurve
    band: RecallBand | None = None


@dataclass(frozen=True)
class Estimate:
    """A share with its 95 % interval: of what, how much, and of how many; nan where it does not exist."""

    name: str
    value: float
    interval: Interval
    count: int


@dataclass(frozen=True)
class Series:
    """The estimates of one model, in the same order as those of others that are drawn with it."""

    name: str
    estimates: Sequence[Estimate]


def froc_figure(lines: Sequence[FrocLine], title: str = "") -> Figure:
    """Return a figure of one or two FROC curves from 1/8 to 8 false positives per scan.

    Raises
    ------
    ValueError
        For any other number of curves.
    """
    figure, axes = _empty(len(lines), title)
    for line, colour, dash in zip(lines, COLOURS, DASHES, strict=False):
        _draw_froc(axes, line, colour, dash)
    axes.set_xscale("log", base=2)
    axes.set_xlim(FP_POINTS[0], FP_POINTS[-1])
    axes.set_xticks(FP_POINTS, ["1/8", "1/4", "1/2", "1", "2", "4", "8"])
    axes.minorticks_off()
    axes.set_xlabel("False positives per scan (mean number)")
    axes.set_ylabel("Sensitivity (share of findings)")
    axes.legend(loc="lower right", frameon=False)
    return figure


def recall_figure(lines: Sequence[RecallLine], title: str = "") -> Figure:
    """Return a figure of one or two precision-recall curves, drawn as their envelopes.

    Raises
    ------
    ValueError
        For any other number of curves.
    """
    figure, axes = _empty(len(lines), title)
    for line, colour, dash in zip(lines, COLOURS, DASHES, strict=False):
        area = line.curve.average_precision
        label = f"{line.name} (no findings)" if np.isnan(area) else f"{line.name} (AP {area:.3f})"
        x = recalls_of(line.curve)
        axes.plot(x, line.curve.precision_at(x), color=colour, linestyle=dash, linewidth=2, label=label)
        if line.band is not None:
            ends = line.band.precision
            axes.fill_between(
                line.band.recalls, ends[:, 0], ends[:, 1], color=colour, alpha=0.15, linewidth=0
            )
    axes.set_xlim(0, 1)
    axes.set_xticks(np.linspace(0, 1, 11))
    axes.set_xlabel("Recall (share of findings)")
    axes.set_ylabel("Precision (share of candidates)")
    axes.legend(loc="best", frameon=False)
    return figure


def recalls_of(curve: PrecisionRecallCurve) -> NDArray[np.float64]:
    """Return the recalls at which a curve is drawn, (r,): those that it reaches, the highest with them."""
    if not curve.n_findings:
        return np.zeros(0)
    highest = float(curve.recall[-1])
    return np.append(np.asarray(RECALLS)[np.asarray(RECALLS) < highest], highest)


def strata_figure(
    series: Sequence[Series], title: str = "", x_label: str = "Sensitivity (share of findings)"
) -> Figure:
    """Return a figure of shares with their intervals, one line for each stratum, of one or two models.

    Raises
    ------
    ValueError
        For any other number of models, or where their strata differ.
    """
    from matplotlib.figure import Figure

    _check_count(len(series))
    names = [[each.name for each in one.estimates] for one in series]
    if any(other != names[0] for other in names):
        msg = "Models that are drawn together must have the same strata in the same order."
        raise ValueError(msg)
    figure = Figure(figsize=(6.4, 1.3 + 0.34 * max(len(names[0]), 2)), layout="constrained")
    axes = figure.add_subplot()
    for number, one in enumerate(series):
        _draw_estimates(axes, one, number, 0.0 if len(series) == 1 else 0.12 * (2 * number - 1))
    axes.set_yticks(
        range(len(names[0])),
        [f"{_short(e.name)}  (n = {e.count})" for e in series[0].estimates],
        parse_math=False,
    )
    axes.set_ylim(len(names[0]) - 0.5, -0.5)
    axes.set_xlim(-0.02, 1.02)
    axes.set_xlabel(x_label)
    axes.grid(visible=True, axis="x", color="0.85", linewidth=0.8)
    axes.set_axisbelow(True)
    if len(series) > 1:
        figure.legend(loc="outside lower right", frameon=False, ncols=2)
    if title:
        axes.set_title(title, parse_math=False)
    return figure


def matrix_figure(
    rows: Sequence[str], columns: Sequence[str], counts: NDArray[np.int64], title: str = ""
) -> Figure:
    """Return a figure of a confusion matrix: its counts, shaded by their share of each row.

    Parameters
    ----------
    rows, columns : sequences of str
        Of the reference, and of the model.
    counts : int64 array, (rows, columns)
    title : str
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.6 + 0.75 * len(columns), 1.9 + 0.5 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (row, column), count in np.ndenumerate(counts):
        ink = "white" if shares[row, column] > 0.55 else "black"
        axes.text(column, row, f"{count:,}", ha="center", va="center", color=ink)
    axes.set_xticks(
        range(len(columns)), [_short(name) for name in columns], rotation=30, ha="right", parse_math=False
    )
    axes.set_yticks(range(len(rows)), [_short(name) for name in rows], parse_math=False)
    axes.set_xlabel("Class by the model")
    axes.set_ylabel("Class by the reference")
    if title:
        axes.set_title(title, parse_math=False)
    return figure


def as_svg(figure: Figure) -> str:
    """Return a figure as an SVG document; figures of the same things give the same text."""
    import matplotlib as mpl

    with mpl.rc_context({"svg.hashsalt": "napari-medlab", "svg.fonttype": "none"}):
        return _saved(figure, "svg", {"metadata": {"Date": None, "Creator": None}}).decode("utf-8")


def as_png(figure: Figure, dpi: int = 150) -> bytes:
    """Return a figure as a PNG file."""
    return _saved(figure, "png", {"dpi": dpi, "metadata": {"Software": None}})


def save_figure(figure: Figure, path: Path) -> Path:
    """Write a figure as the PNG or SVG file that the name asks for, and return its path.

    Raises
    ------
    InputRefusedError
        ``exists`` where there is such a file already, ``plot-format`` for any other kind of file.
    """
    kind = path.suffix.lower()
    if kind not in (".png", ".svg"):
        raise InputRefusedError(
            f"A plot is saved as .png or .svg, got {path.name!r}.",
            code="plot-format",
            hint="Choose one of the two.",
        )
    if path.exists():
        raise InputRefusedError(
            f"{path} is there already.", code="exists", hint="Nothing is overwritten: choose another name."
        )
    replace_file(path, as_png(figure) if kind == ".png" else as_svg(figure).encode())
    return path


def _empty(count: int, title: str) -> tuple[Figure, Axes]:
    """Return a figure for shares over something, without any curve yet."""
    from matplotlib.figure import Figure

    _check_count(count)
    figure = Figure(figsize=(6.4, 4.8), layout="constrained")
    axes = figure.add_subplot()
    axes.set_ylim(0, 1.01)
    axes.set_yticks(np.linspace(0, 1, 11))
    axes.grid(visible=True, color="0.85", linewidth=0.8)
    axes.set_axisbelow(True)
    if title:
        axes.set_title(title, parse_math=False)
    return figure, axes


def _check_count(count: int) -> None:
    if not 1 <= count <= len(COLOURS):
        msg = f"A figure shows 1 or {len(COLOURS)} models, got {count}."
        raise ValueError(msg)


def _draw_froc(axes: Axes, line: FrocLine, colour: str, dash: object) -> None:
    x = np.unique(np.concatenate([line.curve.fps_per_scan, BAND_POINTS]))
    x = x[(x >= FP_POINTS[0]) & (x <= FP_POINTS[-1])]
    cpm = line.curve.cpm
    label = f"{line.name} (no findings)" if np.isnan(cpm) else f"{line.name} (CPM {cpm:.3f})"
    axes.plot(x, line.curve.sensitivity_at(x), color=colour, linestyle=dash, linewidth=2, label=label)
    axes.plot(FP_POINTS, line.curve.sensitivity_at(FP_POINTS), "o", color=colour, markersize=4)
    if line.band is not None:
        ends = np.asarray(list(line.band.sensitivity.values()))
        axes.fill_between(line.band.points, ends[:, 0], ends[:, 1], color=colour, alpha=0.15, linewidth=0)


def _draw_estimates(axes: Axes, one: Series, number: int, aside: float) -> None:
    values = np.asarray([each.value for each in one.estimates], dtype=np.float64)
    ends = np.asarray([each.interval for each in one.estimates], dtype=np.float64).reshape(-1, 2)
    at = np.arange(len(values)) + aside
    axes.hlines(at, ends[:, 0], ends[:, 1], color=COLOURS[number], linewidth=2, alpha=0.6)
    axes.plot(values, at, MARKERS[number], color=COLOURS[number], markersize=6, label=one.name)


def _short(name: str) -> str:
    """Return a name that fits beside an axis."""
    return (
        name
        if len(name) <= LONGEST_NAME
        else f"{name[: LONGEST_NAME // 2]}…{name[-(LONGEST_NAME // 2) + 1 :]}"
    )


def _saved(figure: Figure, kind: str, options: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, **options)
    return buffer.getvalue()
