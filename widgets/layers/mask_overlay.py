"""A model's mask over the image of a case, translucent, in one viewer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.widgets.layers.case_layers import IMAGE
from napari_medlab.widgets.layers.mask_picture import MaskPicture, colormap

if TYPE_CHECKING:
    from napari_medlab.widgets.layers.case_view import CaseView

__all__ = ["COLOURS", "MASK", "MaskOverlay"]

MASK = "mask"
COLOURS = ("#56B4E9", "#CC79A7", "#E69F00", "#D55E00", "#0072B2", "#F0E442", "#009E73")
"""Of the classes from the first on (Okabe and Ito, 2008): others than those in which outlines are drawn come first."""
OPACITY = 0.45


class MaskOverlay:
    """Keeps one layer: of the picture that is shown, above the image and below outlines and marks.

    Parameters
    ----------
    viewer : napari.components.ViewerModel or napari.Viewer
    """

    def __init__(self, viewer: Any) -> None:
        self._viewer = viewer
        self._layer: Any = None
        self._picture: MaskPicture | None = None

    @property
    def layer(self) -> Any:
        """The layer; None where there is none."""
        return self._layer if self._layer in self._viewer.layers else None

    def show(self, picture: MaskPicture, name: str, *, visible: bool) -> None:
        """Draw a picture in place of the one before."""
        data = picture.levels if len(picture.levels) > 1 else picture.levels[0]
        layer = self.layer
        if layer is None or not self._fits(picture.view):
            self.remove()
            layer = self._layer = self._add(picture, data)
        else:
            layer.data = data
            layer.scale, layer.translate = picture.scale, picture.translate
        layer.colormap = colormap(len(picture.classes), COLOURS, OPACITY)
        layer.name, layer.visible = name, visible
        self._put_above_images()
        self._picture = picture

    def make_room(self, view: CaseView) -> None:
        """Show nothing, for another case is coming; the layer goes where that needs another one."""
        layer = self.layer
        self._picture = None
        if layer is None:
            return
        if not self._fits(view):
            self.remove()
            return
        # nothing of the case before is left: neither its mask nor how far it reaches
        nothing = np.zeros((1,) * view.grid.ndim, np.uint8)
        layer.data = [np.zeros((2, 2), np.uint8), nothing] if layer.multiscale else nothing
        layer.scale, layer.translate = view.scale, (0.0,) * view.grid.ndim
        layer.name, layer.visible = MASK, False

    def refresh(self) -> None:
        """Draw again: more has been filled in."""
        if self._picture is not None and self.layer is not None and self._layer.visible:
            self._layer.refresh(thumbnail=False, highlight=False, extent=False)

    def rename(self, name: str) -> None:
        """Give the layer another name."""
        if self._picture is not None and self.layer is not None and self._layer.name != name:
            self._layer.name = name

    def set_visible(self, on: bool) -> None:
        """Show the mask, or hide it."""
        if self._picture is not None and self.layer is not None:
            self._layer.visible = on

    def remove(self) -> None:
        """Take the layer away."""
        if self.layer is not None:
            self._viewer.layers.remove(self._layer)
        self._layer = self._picture = None

    def _fits(self, view: CaseView) -> bool:
        """Tell whether the layer can show masks of a case: making one anew takes napari some tenths of a second."""
        return bool(
            self._layer.ndim == view.grid.ndim and tuple(map(str, self._layer.units)) == _unit_names(view)
        )

    def _add(self, picture: MaskPicture, data: Any) -> Any:
        layers, view = self._viewer.layers, picture.view
        active = layers.selection.active
        layer = self._viewer.add_image(
            data, name=MASK, multiscale=isinstance(data, list), rgb=False, contrast_limits=(0, 255),
            blending="translucent_no_depth", interpolation2d="nearest", cache=False, scale=picture.scale,
            translate=picture.translate, units=view.units, axis_labels=view.axis_labels,
        )  # fmt: skip
        layer.locked = True
        layers.selection.active = active
        return layer

    def _put_above_images(self) -> None:
        """Bring the layer to where it belongs: images that were made later lie above it."""
        layers = self._viewer.layers
        images = [number for number, other in enumerate(layers) if other.name.partition(":")[0] == IMAGE]
        place, above = layers.index(self._layer), images[-1] + 1 if images else 0
        if place != above:
            layers.move(place, above)


def _unit_names(view: CaseView) -> tuple[str, ...]:
    return tuple({"mm": "millimeter", "um": "micrometer"}.get(unit, "pixel") for unit in view.units)
