"""How the views of a mammography exam hang: right beside left, CC over MLO, chest walls to the middle."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.images.contents import VIEWS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from napari_medlab.widgets.layers.case_view import CaseView

__all__ = ["companion_point", "hang", "is_right", "partners"]

GAP = 0.02
"""Between the rows, of the height of one."""


def is_right(view: str) -> bool:
    """Tell whether a view such as ``"RCC"`` is of a right breast."""
    return view.startswith("R")


def partners(view: str) -> tuple[str, str]:
    """Return the same view of the other breast, and the other view of the same breast."""
    side, projection = view[:1], view[1:]
    return ("L" if side == "R" else "R") + projection, side + ("MLO" if projection == "CC" else "CC")


def hang(views: Mapping[str, tuple[str, CaseView]]) -> dict[str, tuple[float, float]]:
    """Return where the first pixel (y, x) of each view lies, in units of world, the chest walls at x = 0.

    Parameters
    ----------
    views : by case, the name of the view (``"RCC"``) and what is shown
        Those that are not of the usual four hang below them, and so does a view that is there already.
    """
    sizes = {case: np.asarray(view.grid.shape) * np.asarray(view.scale) for case, (_, view) in views.items()}
    usual = {
        name: case for case, (name, _) in reversed(list(views.items())) if name in VIEWS
    }  # the first of each
    rows = [[usual[name] for name in row if name in usual] for row in (VIEWS[:2], VIEWS[2:])]
    rows += [[case] for case in views if case not in usual.values()]
    places: dict[str, tuple[float, float]] = {}
    top = 0.0
    for row in rows:
        height = max((float(sizes[case][0]) for case in row), default=0.0)
        for case in row:
            left = -float(sizes[case][1]) if is_right(views[case][0]) else 0.0
            places[case] = (top + (height - float(sizes[case][0])) / 2, left)
        top += height * (1 + GAP)
    return places


def companion_point(
    point: NDArray[np.float64], view: tuple[str, tuple[float, float]], other: tuple[str, tuple[float, float]]
) -> tuple[float, float]:
    """Return the place (y, x) in another view that lies as far from the chest wall, and at the same share of the height.

    Parameters
    ----------
    point : (y, x) in ``view``, in units of world
    view, other : name, and (height, width) in units of world
    """
    (name, (height, width)), (other_name, (other_height, other_width)) = view, other
    from_wall = width - point[1] if is_right(name) else point[1]
    x = other_width - from_wall if is_right(other_name) else from_wall
    return float(point[0] / height * other_height), float(x)
