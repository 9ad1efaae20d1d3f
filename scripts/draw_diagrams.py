"""Draw the diagrams of the explanations: what each matching rule says about one scene, and where half pixels come from.

Run as ``.venv/bin/python scripts/draw_diagrams.py [--out DIR]``. What a rule says is asked of the rule itself, so that the
pictures cannot say otherwise.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from napari_medlab.annotations import CandidateTable, FindingTable
    from napari_medlab.evaluation import MatchRule, Shapes

ROOT = Path(__file__).resolve().parent.parent
CASE = "photo"
SIZE = (112, 78)
FINDINGS = {
    "round": (22, 20, 11, 11), "long": (66, 60, 36, 5), "large": (88, 22, 17, 17), "excluded": (20, 50, 8, 8),
}  # fmt: skip
"""Ellipses: centre x, y and half axes, in pixels."""
CANDIDATES = {
    "A": (24, 19, 10, 9, 0.9), "B": (14, 27, 7, 6, 0.7), "C": (66, 68, 9, 5, 0.8), "D": (88, 26, 7, 8, 0.6),
    "E": (20, 50, 7, 7, 0.5), "F": (92, 71, 8, 5, 0.4), "G": (42, 60, 8, 5, 0.3),
}  # fmt: skip
"""Boxes: centre x, y, half sides, and the score."""
COLOURS = {"tp": "#0a8f5b", "fp": "#c8372d", "fn": "#c8372d", "duplicate": "#c77c02", "ignored": "#777777"}
SAID = {"tp": "hit", "fp": "false positive", "duplicate": "duplicate", "ignored": "ignored"}


def main() -> None:
    """Draw all diagrams."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "pictures", metavar="DIR")
    options = parser.parse_args()
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams.update({"svg.hashsalt": "medlab", "font.size": 9, "axes.titlesize": 10})
    for name, figure in (("matching-rules", rules_figure()), ("half-pixels", pixels_figure())):
        figure.savefig(options.out / f"{name}.svg", metadata={"Date": None, "Creator": None})
        print(f"{name}.svg")


def rules_figure() -> Figure:
    """Return the scene under each of the four rules."""
    from matplotlib.figure import Figure

    from napari_medlab.evaluation import CamelyonRule, Luna16Rule, OverlapRule

    shapes, findings, candidates = scene()
    rules: dict[str, MatchRule] = {
        "luna16: the centre within the radius": Luna16Rule(),
        "iou: half of the union": OverlapRule(shapes),
        "picai: a tenth of the union": OverlapRule.pi_cai(shapes),
        "camelyon: the centre in the outline": CamelyonRule(shapes),
    }
    figure = Figure(figsize=(10, 7.4), layout="constrained", facecolor="white")
    for axes, (title, rule) in zip(figure.subplots(2, 2).flat, rules.items(), strict=True):
        draw_scene(axes, rule, findings, candidates)
        axes.set_title(title)
    return figure


def scene() -> tuple[Shapes, FindingTable, CandidateTable]:
    """Return the outlines, findings and candidates of one image."""
    from napari_medlab.annotations import (
        Candidate,
        CandidateTable,
        Finding,
        FindingTable,
        Region,
        RegionTable,
    )
    from napari_medlab.evaluation import Shapes
    from napari_medlab.geometry import Grid

    grid = Grid.axis_aligned((SIZE[1], SIZE[0]), (1.0, 1.0), unit="px")
    regions = [Region(CASE, (ellipse(*of)[:, ::-1],), name) for name, of in FINDINGS.items()]
    outlined = Shapes.of_regions([RegionTable.from_regions(CASE, regions, ndim=2)], {CASE: grid})
    boxes = Shapes(
        boxes={name: ((x - a, y - b), (x + a, y + b)) for name, (x, y, a, b, _) in CANDIDATES.items()}
    )
    findings = [
        Finding(CASE, (float(x), float(y)), 2 * float(np.sqrt(a * b)), "", name == "excluded", name)
        for name, (x, y, a, b) in FINDINGS.items()
    ]
    candidates = [
        Candidate(CASE, (float(x), float(y)), score, float(a + b), "", name)
        for name, (x, y, a, b, score) in CANDIDATES.items()
    ]
    return (
        Shapes.joined([outlined, boxes]),
        FindingTable.from_objects(findings, ndim=2),
        CandidateTable.from_objects(candidates, ndim=2),
    )


def ellipse(x: float, y: float, a: float, b: float) -> NDArray[np.float64]:
    """Return the outline of an ellipse, (n, 2) as (x, y)."""
    angles = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    return np.stack([x + a * np.cos(angles), y + b * np.sin(angles)], axis=1)


def draw_scene(axes: Axes, rule: MatchRule, findings: FindingTable, candidates: CandidateTable) -> None:
    """Draw findings and candidates in the colours of what a rule calls them."""
    from matplotlib.patches import Circle, Polygon, Rectangle

    table = rule.match(findings, candidates, [CASE])
    missed = set(table.finding_id[table.kind == "fn"].tolist())
    kinds = {name: kind for name, kind in zip(table.candidate_id, table.kind, strict=True) if kind != "fn"}
    for name, of in FINDINGS.items():
        colour = COLOURS["ignored" if name == "excluded" else "fn" if name in missed else "tp"]
        axes.add_patch(Polygon(ellipse(*of), facecolor=colour, alpha=0.25, edgecolor="none"))
        axes.add_patch(Circle(of[:2], np.sqrt(of[2] * of[3]), fill=False, edgecolor="#999999", linestyle=":"))
        note = "excluded" if name == "excluded" else "missed" if name in missed else "found"
        axes.text(
            of[0] + 0.4 * of[2], of[1] - of[3] - 1.2, note, color=colour, ha="left", va="bottom", fontsize=7.5
        )
    for name, (x, y, a, b, score) in CANDIDATES.items():
        kind = kinds[name]
        axes.add_patch(
            Rectangle((x - a, y - b), 2 * a, 2 * b, fill=False, edgecolor=COLOURS[kind], linewidth=1.6)
        )
        axes.plot(x, y, "+", color=COLOURS[kind])
        left, top, align = (x + a + 1, y, "center") if name == "A" else (x - a, y + b + 0.8, "top")
        axes.text(left, top, f"{name} {score:g} {SAID[kind]}", color=COLOURS[kind], va=align, fontsize=7.5)
    axes.set(xlim=(0, SIZE[0]), ylim=(SIZE[1] + 4, 0), aspect="equal", xticks=[], yticks=[])


def pixels_figure() -> Figure:
    """Return the same square pixel by pixel, counted from pixels' centres and from the image's corner."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Polygon

    from napari_medlab.geometry import centres_to_corners, mask_to_rings

    mask = np.zeros((4, 5), dtype=np.bool_)
    mask[1:3, 1:4] = True
    ring = mask_to_rings(mask)[0][:, ::-1]
    figure = Figure(figsize=(9, 3.6), layout="constrained", facecolor="white")
    sides = figure.subplots(1, 2)
    for axes, title, points, shift in (
        (sides[0], "in a project: 0 is the first pixel's centre", ring, 0.0),
        (sides[1], "COCO, GeoJSON, YOLO: 0 is the corner", centres_to_corners(ring), 0.5),
    ):
        rows, columns = mask.shape
        shown = mask.astype(np.float64)
        axes.imshow(
            shown,
            cmap="Greens",
            vmax=2.5,
            extent=(shift - 0.5, columns - 0.5 + shift, rows - 0.5 + shift, shift - 0.5),
        )
        for y in range(rows):
            axes.plot(
                np.arange(columns) + shift, np.full(columns, y + shift), ".", color="#888888", markersize=4
            )
        axes.add_patch(Polygon(points, fill=False, edgecolor="#0a8f5b", linewidth=2))
        lines = np.arange(max(columns, rows) + 1) - 0.5 + shift
        for line in lines[: columns + 1]:
            axes.axvline(line, color="#cccccc", linewidth=0.6)
        for line in lines[: rows + 1]:
            axes.axhline(line, color="#cccccc", linewidth=0.6)
        axes.set(title=title, xticks=np.arange(columns + 1) if shift else np.arange(columns),
                 yticks=np.arange(rows + 1) if shift else np.arange(rows), xlabel="x", ylabel="y")  # fmt: skip
    return figure


if __name__ == "__main__":
    main()
