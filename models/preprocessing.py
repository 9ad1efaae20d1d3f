"""What is done to an image before a network sees it; written in the bundle, so that it is the same everywhere."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cache
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from napari_medlab.errors import InputRefusedError
from napari_medlab.geometry import isotropic_grid, resample
from napari_medlab.models.inference.coarse import read_coarse
from napari_medlab.models.inference.lattices import cached_levels, plane_samples, volume_samples
from napari_medlab.models.inference.prepared import Intensity, Prepared
from napari_medlab.models.inference.skipping import find_foreground

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from napari_medlab.geometry import Grid
    from napari_medlab.images import Image
    from napari_medlab.models.inference.coarse import Coarse

__all__ = ["Preprocessing"]

KINDS = ("volume", "slide", "mammogram", "photo")
WHITE = 255.0


@dataclass(frozen=True)
class Preprocessing:
    """Spacing, limits of intensity, and channels.

    A slide, mammogram or photo is read from the level of its pyramid that is just finer than the wanted spacing. Pixel
    values are cut at ``window``, or at ``percentiles`` of the image itself, and scaled to 0 … 1; where neither is given,
    integers are divided by the largest that their type holds (255 for 8 bits). Then ``mean`` is subtracted and the result
    divided by ``std``.

    Parameters
    ----------
    spacing_mm : float, or one for each axis, or None
        Of the lattice, in array order; None for that of the image.
    window : (low, high) or None
        Pixel values that become 0 and 1; Hounsfield units for CT.
    kind : str or tuple of str
        The kinds of image that the network reads: ``"volume"``, ``"slide"``, ``"mammogram"``, ``"photo"``.
    spacing_um : float or None
        In place of ``spacing_mm``, for slides.
    longest_side : int or None
        In place of a spacing, for planar images: how many pixels the longer side is made to have.
    percentiles : (low, high) or None
        In place of a window: percentiles, 0 … 100, of all pixels.
    mean, std : tuple of float
        One for each channel, or one for all, in values 0 … 1; empty for none.
    standardise : bool
        In place of these, subtract each channel's own mean over the image, and divide by its standard deviation.
    channels : int or None
        1 makes grey of colours, 3 repeats grey; None takes what the image has.
    turn_inverted : bool
        Whether high values of images whose high values are to be shown dark (MONOCHROME1) become low ones.

    Raises
    ------
    InputRefusedError
        Where these contradict one another.
    """

    spacing_mm: float | tuple[float, ...] | None = None
    window: tuple[float, float] | None = None
    kind: str | tuple[str, ...] = "volume"
    spacing_um: float | None = None
    longest_side: int | None = None
    percentiles: tuple[float, float] | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    standardise: bool = False
    channels: int | None = None
    turn_inverted: bool = True

    def __post_init__(self) -> None:
        sizes = [size for size in (self.spacing_mm, self.spacing_um, self.longest_side) if size is not None]
        limits = [pair for pair in (self.window, self.percentiles) if pair is not None]
        fits = {
            "kind": bool(self.kinds) and set(self.kinds) <= set(KINDS),
            "spacing_mm, spacing_um and longest_side": len(sizes) <= 1 and all(np.min(size) > 0 for size in sizes),
            "window and percentiles": len(limits) <= 1 and all(low < high for low, high in limits),
            "mean and std": len(self.mean) == len(self.std) and not (self.mean and self.standardise)
            and all(value > 0 for value in self.std),
            "channels": self.channels in (None, 1, 3),
        }  # fmt: skip
        for name, is_usable in fits.items():
            if not is_usable:
                raise InputRefusedError(
                    f"The preprocessing cannot be used: {name} do not make sense in {self.as_json()}.",
                    code="preprocessing",
                    hint="Correct the bundle's preprocessing, or import the model again.",
                )

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of image that the network reads."""
        return (self.kind,) if isinstance(self.kind, str) else tuple(self.kind)

    @property
    def isotropic_mm(self) -> float:
        """The spacing along every axis, for what works on cubes.

        Raises
        ------
        InputRefusedError
            With code ``"spacing"`` where the axes differ, or the spacing is that of the image or in micrometres.
        """
        if not isinstance(self.spacing_mm, int | float):
            raise InputRefusedError(
                f"This model reads images at {self.spacing_mm or 'their own spacing'}; cubes need one in mm for all axes.",
                code="spacing",
                hint="Choose a model that works at one spacing, such as the nodule detector.",
            )
        return float(self.spacing_mm)

    def prepare(self, image: Image) -> Prepared:
        """Return an image as the network sees it; nothing is decoded but what limits are measured on.

        Raises
        ------
        InputRefusedError
            Where the image is of another kind, its spacing is needed and unknown, or its channels do not fit.
        """
        self._check_kind(image)
        oriented = image.oriented()
        levels = cached_levels(oriented)
        coarse = cache(lambda: read_coarse(oriented, levels))  # by whoever needs it first
        channels = self._channels(oriented)
        background = self._background(oriented, coarse)
        if oriented.kind == "volume":
            target = self._target(oriented.grid)
            samples, grid = volume_samples(oriented, levels, target, limits=self.window, fill=background)
        else:
            samples, grid = plane_samples(oriented, levels, self._wanted_factor(oriented), limits=self.window)
        return Prepared(
            samples, grid, channels, self._intensity(oriented, coarse, channels), background,
            lambda rule: find_foreground(oriented, coarse(), grid, rule),
        )  # fmt: skip

    def apply(self, image: Image) -> tuple[NDArray[np.float32], Grid]:
        """Return what the network sees of a whole volume, and the grid on which it lies.

        Parameters
        ----------
        image : Image
            Turned to (+S, +P, +L) axes here; its pixels are decoded.

        Returns
        -------
        float32 array (z, y, x), 0 … 1, and its Grid

        Raises
        ------
        InputRefusedError
            Where the image has no known spacing, or is not a volume.
        """
        self._check_kind(image)
        oriented = image.oriented()
        if self.window is not None and oriented.kind == "volume":
            return self.apply_array(oriented.decoded(), oriented.grid)
        prepared = self.prepare(image)
        whole = prepared.read((0,) * prepared.grid.ndim, prepared.shape)
        return whole[0] if oriented.kind == "volume" else whole, prepared.grid

    def apply_array(self, volume: NDArray[np.generic], grid: Grid) -> tuple[NDArray[np.float32], Grid]:
        """Do the same to a decoded volume (z, y, x) on ``grid``, by a fixed window."""
        if self.window is None:
            raise InputRefusedError(
                "A decoded volume is scaled by a window, and this preprocessing has none.", code="preprocessing",
                hint="Prepare the image instead.",
            )  # fmt: skip
        target = self._target(grid)
        low, high = self.window
        resampled = resample(np.clip(volume, low, high), grid, target, fill=low)
        scaled = (resampled - low) / (high - low)
        return self._standardised(scaled), target

    def as_json(self) -> dict[str, Any]:
        """Return the settings as plain JSON values: those that are not as by default."""
        return {
            item.name: list(value) if isinstance(value, tuple) else value
            for item in fields(self)
            if (value := getattr(self, item.name)) != item.default
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read what :meth:`as_json` wrote.

        Raises
        ------
        KeyError, TypeError, ValueError
            Where a name is unknown or a value is of the wrong kind.
        """
        unknown = set(value) - {item.name for item in fields(cls)}
        if unknown:
            raise KeyError(f"unknown settings: {', '.join(sorted(unknown))}")
        return cls(**{name: READERS[name](given) for name, given in value.items() if given is not None})

    def _check_kind(self, image: Image) -> None:
        if image.kind not in self.kinds:
            wanted = " and ".join(f"{kind}s" for kind in self.kinds)
            raise InputRefusedError(
                f"{image.path.name} is a {image.kind}; this model reads {wanted}.",
                code="wrong-kind",
                hint="Choose a model made for this kind of image.",
            )

    def _channels(self, image: Image) -> int:
        """Return how many channels the network sees."""
        stored = image.shape[image.grid.ndim :]
        count = min(stored[0], 3) if image.is_rgb else (stored[0] if stored else 1)
        can_become = {count} | ({1} if image.is_rgb else set()) | ({1, 3} if count == 1 else set())
        if self.channels is not None and self.channels not in can_become:
            raise InputRefusedError(
                f"{image.path.name} has {count} channels; this model reads {self.channels}.", code="channels",
                hint="Choose a model made for this kind of image.",
            )  # fmt: skip
        return count if self.channels is None else self.channels

    def _target(self, grid: Grid) -> Grid:
        """Return the lattice of a volume: that of the image where no spacing is wanted."""
        if self.spacing_mm is None:
            return grid
        # an array of three spacings divides as one number does
        spacing: Any = np.asarray(self.spacing_mm, np.float64)[()]
        return isotropic_grid(grid, spacing)

    def _wanted_factor(self, image: Image) -> NDArray[np.float64]:
        """Return how many pixels of level 0 one pixel of the lattice spans, axis by axis."""
        if self.longest_side is not None:
            return np.full(2, max(image.grid.shape) / self.longest_side)
        if self.spacing_mm is None and self.spacing_um is None:
            return np.ones(2)
        wanted_mm = np.asarray(self.spacing_mm if self.spacing_um is None else self.spacing_um / 1000)
        return np.asarray(np.broadcast_to(wanted_mm / np.asarray(image.grid.spacing_mm), 2))

    def _background(self, image: Image, coarse: Callable[[], Coarse]) -> float:
        """Return the pixel value outside the image: glass for slides, air or nothing for all others."""
        if image.kind == "slide" and image.is_rgb:
            return WHITE if image.dtype == np.uint8 else float(np.iinfo(image.dtype).max)
        values = self.window or (float(coarse().pixels.min()), float(coarse().pixels.max()))
        return values[1] if self._turns(image) else values[0]

    def _turns(self, image: Image) -> bool:
        return image.is_inverted and self.turn_inverted

    def _intensity(self, image: Image, coarse: Callable[[], Coarse], channels: int) -> Intensity:
        low, high = self._limits(image, coarse)
        if self._turns(image):
            low, high = high, low
        shift, gain = np.full(channels, low), np.full(channels, 1 / (high - low))
        to_grey = channels == 1 and image.is_rgb
        is_cut = self.window is not None or self.percentiles is not None
        limits = (min(low, high), max(low, high)) if is_cut else None
        mean, std = np.asarray(self.mean), np.asarray(self.std)
        if self.standardise:
            seen = np.empty((channels, *coarse().pixels.shape[: image.grid.ndim]), np.float32)
            Intensity(tuple(shift), tuple(gain), limits, to_grey).fill(coarse().pixels, seen)
            flat = seen.reshape(channels, -1).astype(np.float64)
            mean, std = flat.mean(axis=1), np.maximum(flat.std(axis=1), 1e-8)
        if len(mean):
            shift, gain = shift + mean / gain, gain / std
        return Intensity(tuple(shift.tolist()), tuple(gain.tolist()), limits, to_grey)

    def _limits(self, image: Image, coarse: Callable[[], Coarse]) -> tuple[float, float]:
        """Return the pixel values that become 0 and 1."""
        if self.window is not None:
            return self.window
        if self.percentiles is not None:
            low, high = np.percentile(coarse().pixels, self.percentiles).tolist()
            return low, max(high, low + 1e-6)
        return (0.0, float(np.iinfo(image.dtype).max)) if image.dtype.kind == "u" else (0.0, 1.0)

    def _standardised(self, scaled: NDArray[np.float32]) -> NDArray[np.float32]:
        if self.standardise:
            return np.asarray((scaled - scaled.mean()) / max(float(scaled.std()), 1e-8), np.float32)
        return np.asarray((scaled - self.mean[0]) / self.std[0], np.float32) if self.mean else scaled


def _pair(value: Any) -> tuple[float, float]:  # noqa: ANN401 - JSON
    low, high = value
    return float(low), float(high)


def _numbers(value: Any) -> tuple[float, ...]:  # noqa: ANN401 - JSON
    return tuple(float(number) for number in value)


READERS: dict[str, Callable[[Any], Any]] = {
    "spacing_mm": lambda value: _numbers(value) if isinstance(value, list | tuple) else float(value),
    "window": _pair,
    "kind": lambda value: value if isinstance(value, str) else tuple(str(kind) for kind in value),
    "spacing_um": float,
    "longest_side": int,
    "percentiles": _pair,
    "mean": _numbers,
    "std": _numbers,
    "standardise": bool,
    "channels": int,
    "turn_inverted": bool,
}
"""How each setting is read from JSON."""
