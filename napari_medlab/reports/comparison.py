"""Two models side by side as one self-contained page: curves, figures, and a picture of every lesion that changed."""

from __future__ import annotations

import base64
import io
from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.durable import write_file
from napari_medlab.evaluation.transitions import FindingChange
from napari_medlab.project import open_case
from napari_medlab.reports.plots import FrocLine, froc_svg

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_medlab.evaluation import Comparison
    from napari_medlab.evaluation.transitions import FalsePositiveChange
    from napari_medlab.images import Image
    from napari_medlab.project import Project

    Change = FindingChange | FalsePositiveChange

__all__ = ["write_comparison_report"]

SECTIONS = {
    "fixed": "Fixed: missed before, found now",
    "regressed": "Broken: found before, missed now",
    "still_missed": "Still missed",
    "new_false_positive": "New false positives",
    "removed_false_positive": "Removed false positives",
}
MOST_PICTURES = 12
"""In each section; the rest is counted."""

CROP_MM = 50.0
STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:980px;margin:2em auto;padding:0 1em;color:#222;background:#fff}
h1{font-size:1.5em}h2{font-size:1.15em;margin-top:1.8em}table{border-collapse:collapse}td,th{padding:.25em .8em;
border-bottom:1px solid #ddd;text-align:right}td:first-child,th:first-child{text-align:left}
figure{display:inline-block;margin:0 10px 10px 0;width:150px;vertical-align:top}figure img{width:150px;height:150px;
background:#000}figcaption{font-size:12px;line-height:1.3}.big{font-size:1.2em}.quiet{color:#666}
svg{max-width:620px;height:auto}
"""


def write_comparison_report(
    project: Project, comparison: Comparison, names: tuple[str, str], folder: Path
) -> Path:
    """Write ``report.html`` (or ``report-2.html`` …: nothing is overwritten) and return its path.

    Parameters
    ----------
    project : whose cases are pictured
    comparison : with ``a`` before and ``b`` after
    names : of the two models
    folder : must exist
    """
    cases = {case.case_id: case.name for case in project.cases()}
    sections = "\n".join(
        _section(project, title, getattr(comparison.transitions, kind), cases) for kind, title in SECTIONS.items()
    )
    page = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Model comparison</title><style>{STYLE}</style></head><body>
<h1>{escape(names[0])} → {escape(names[1])}</h1>
<p class="quiet">{datetime.now(UTC):%Y-%m-%d %H:%M} UTC · {comparison.n_cases} scans · LUNA16 rules: a candidate hits a
nodule when its centre lies within the nodule's radius</p>
{_verdict(comparison)}
{_table(comparison, names)}
{froc_svg([FrocLine(names[0], comparison.a.curve, comparison.a.intervals),
           FrocLine(names[1], comparison.b.curve, comparison.b.intervals)])}
<p class="quiet">Bands: 95 % intervals, patients resampled. Below, each model stands at its own threshold of
{comparison.fp_per_scan:g} false positives per scan.</p>
{sections}
</body></html>
"""
    path = _free_name(folder)
    write_file(path, page.encode())
    return path


def _verdict(comparison: Comparison) -> str:
    low, high = comparison.difference_interval
    word = "better" if low > 0 else "worse" if high < 0 else "not shown to be better or worse"
    return (
        f'<p class="big">The new model is <b>{word}</b>: CPM {comparison.cpm_a:.3f} → {comparison.cpm_b:.3f}, difference '
        f"{comparison.difference:+.3f} (95 % interval {low:+.3f} to {high:+.3f}, p = {comparison.p_value:.3f}).</p>"
    )


def _table(comparison: Comparison, names: tuple[str, str]) -> str:
    changes = comparison.transitions
    rows = "".join(
        f"<tr><td>{escape(title)}</td><td>{len(getattr(changes, kind))}</td></tr>" for kind, title in SECTIONS.items()
    )
    return f"<table><tr><th>{escape(names[1])} against {escape(names[0])}</th><th>count</th></tr>{rows}</table>"


def _section(project: Project, title: str, changes: tuple[Change, ...], cases: dict[str, str]) -> str:
    shown = changes[:MOST_PICTURES]
    images: dict[str, Image] = {}
    figures = []
    for change in shown:
        if change.case_id not in images:
            images[change.case_id] = open_case(project, change.case_id).oriented()
        figures.append(_figure(images[change.case_id], change, cases.get(change.case_id, "")))
    rest = f"<p>… and {len(changes) - len(shown)} more</p>" if len(changes) > len(shown) else ""
    body = "".join(figures) or '<p class="quiet">none</p>'
    return f"<h2>{escape(title)} ({len(changes)})</h2>{body}{rest}"


def _figure(image: Image, change: Change, case: str) -> str:
    if isinstance(change, FindingChange):
        before, after = (f"{s:.2f}" if np.isfinite(s) else "none" for s in (change.score_a, change.score_b))
        text = f"score {before} → {after}"
    else:
        text = f"score {change.score:.2f}"
    place = ", ".join(f"{v:.0f}" for v in change.centre)
    picture = base64.b64encode(_crop_png(image, change.centre)).decode()
    return (
        f'<figure><img alt="" src="data:image/png;base64,{picture}"><figcaption>{escape(case)} · {text}<br>'
        f'<span class="quiet">at {place} mm</span></figcaption></figure>'
    )


def _crop_png(image: Image, centre: tuple[float, ...]) -> bytes:
    """Return the axial slice around a world position, windowed, with corners around the middle."""
    from PIL import Image as Picture

    index = image.grid.to_index(centre[: image.grid.ndim])
    spacing = image.grid.spacing if image.grid.unit == "mm" else (1.0,) * image.grid.ndim
    half = [round(CROP_MM / 2 / step) for step in spacing[-2:]]
    depth = int(np.clip(round(float(index[0])), 0, image.shape[0] - 1))
    slab = np.asarray(image.levels[0][depth] if image.grid.ndim == 3 else image.levels[0])
    if image.is_rgb:
        slab = slab[..., :3].mean(axis=-1)
    crop = _padded(slab, (round(float(index[-2])), round(float(index[-1]))), half)
    low, high = image.window or (-1000.0, 400.0)
    gray = (np.clip((crop - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    picture = Picture.fromarray(gray).resize((150, 150), Picture.Resampling.BICUBIC).convert("RGB")
    pixels = np.array(picture)
    _draw_corners(pixels)
    buffer = io.BytesIO()
    Picture.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _padded(slab: NDArray[np.generic], middle: tuple[int, int], half: list[int]) -> NDArray[np.float64]:
    """Return the box around a pixel; what lies outside the slice is its least value."""
    out = np.full((2 * half[0] + 1, 2 * half[1] + 1), float(slab.min()))
    low = [max(0, m - h) for m, h in zip(middle, half, strict=True)]
    high = [min(size, m + h + 1) for m, h, size in zip(middle, half, slab.shape, strict=True)]
    if low[0] < high[0] and low[1] < high[1]:
        start = [a - (m - h) for a, m, h in zip(low, middle, half, strict=True)]
        out[start[0] : start[0] + high[0] - low[0], start[1] : start[1] + high[1] - low[1]] = slab[
            low[0] : high[0], low[1] : high[1]
        ]
    return out


def _draw_corners(pixels: NDArray[np.uint8]) -> None:
    """Draw four orange corners around the middle third."""
    a, b, length = 50, 100, 8
    for y in (a, b):
        for x in (a, b):
            ys, xs = (1 if y == a else -1), (1 if x == a else -1)
            pixels[y, min(x, x + xs * length) : max(x, x + xs * length) + 1] = (230, 159, 0)
            pixels[min(y, y + ys * length) : max(y, y + ys * length) + 1, x] = (230, 159, 0)


def _free_name(folder: Path) -> Path:
    path, number = folder / "report.html", 2
    while path.exists():
        path, number = folder / f"report-{number}.html", number + 1
    return path
