"""MONAI's transforms, translated into a bundle's preprocessing; none of them is built."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["PASSED_OVER", "TRANSLATED", "Translation", "transform_name", "translate"]

PASSED_OVER = frozenset({
    "Activations", "AddChannel", "AsChannelFirst", "AsDiscrete", "CastToType", "Compose", "CopyItems", "CropForeground",
    "DeleteItems", "EnsureChannelFirst", "EnsureType", "FillHoles", "Identity", "Invert", "KeepLargestConnectedComponent",
    "LoadImage", "RemoveSmallObjects", "SaveImage", "SelectItems", "SqueezeDim", "ToDevice", "ToNumpy", "ToTensor",
})  # fmt: skip
"""Transforms that say nothing about values or geometry before the network, or come after it."""


@dataclass
class Translation:
    """What a list of transforms says.

    Parameters
    ----------
    axes : str
        Of the array that the network reads, such as ``"RAS"``; empty where nothing says so.
    spacing : tuple of float
        In millimetres, in the order of ``axes``; empty where nothing resamples.
    intensity : dict
        ``rule`` and its numbers: ``window`` (low, high, to 0 … 1), ``linear`` (shift, scale and perhaps low, high),
        ``z-score``, ``percentiles`` (low, high); empty where nothing changes values.
    left : list of str
        What could not be translated, in words.
    """

    axes: str = ""
    spacing: tuple[float, ...] = ()
    intensity: dict[str, Any] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)


def translate(transforms: list[Any]) -> Translation:
    """Return what MONAI's transforms say, in their order; those that cannot be translated are listed."""
    said = Translation()
    for transform in transforms:
        target = transform.get("_target_") if isinstance(transform, dict) else None
        if not isinstance(target, str):
            said.left.append(f"{str(transform)[:60]} is no transform")
            continue
        if transform.get("_disabled_") in (True, "true", "True"):
            continue
        name = transform_name(target)
        if name in PASSED_OVER:
            continue
        rule = TRANSLATED.get(name)
        try:
            problem = f"{target[:60]} is not known" if rule is None else rule(transform, said)
        except (TypeError, ValueError, KeyError, ZeroDivisionError):
            problem = f"{target[:60]} has arguments that are not known"
        if problem:
            said.left.append(problem)
    return said


def transform_name(target: str) -> str:
    """Return a transform's name without its package and the d of those that work on dictionaries."""
    package, _, name = target.rpartition(".")
    if package.split(".")[0] not in ("", "monai"):
        return ""
    for ending in ("Dict", "D", "d"):
        bare = name.removesuffix(ending)
        if bare != name and (bare in PASSED_OVER or bare in TRANSLATED):
            return bare
    return name


def _orientation(given: Mapping[str, Any], said: Translation) -> str:
    axes = given["axcodes"]
    if not isinstance(axes, str) or len(axes) != 3 or said.spacing:
        return "Orientation comes after Spacing, or is not of three axes"
    said.axes = axes.upper()
    return ""


def _spacing(given: Mapping[str, Any], said: Translation) -> str:
    pixdim = given["pixdim"]
    spacing = tuple(float(one) for one in (pixdim if isinstance(pixdim, list) else [pixdim] * 3))
    if not all(0 < one <= 1000 for one in spacing):
        return "Spacing leaves some axes as they are"
    if said.spacing:
        return "Spacing occurs twice"
    said.spacing = spacing
    return ""


def _range(given: Mapping[str, Any], said: Translation) -> str:
    low, high = float(given["a_min"]), float(given["a_max"])
    floor, ceiling = (given.get(key) for key in ("b_min", "b_max"))
    floor, ceiling = (0.0, 1.0) if floor is None or ceiling is None else (float(floor), float(ceiling))
    is_clipped = given.get("clip", False) is True
    if is_clipped and (floor, ceiling) == (0.0, 1.0):
        return _note(said, "ScaleIntensityRange", {"rule": "window", "low": low, "high": high})
    scale = (high - low) / (ceiling - floor)
    rule = {"rule": "linear", "shift": low - floor * scale, "scale": scale}
    return _note(said, "ScaleIntensityRange", rule | ({"low": low, "high": high} if is_clipped else {}))


def _percentiles(given: Mapping[str, Any], said: Translation) -> str:
    if (
        (given.get("b_min", 0), given.get("b_max", 1)) != (0, 1)
        or given.get("relative")
        or given.get("channel_wise")
    ):
        return "ScaleIntensityRangePercentiles does not scale to 0 … 1"
    rule = {"rule": "percentiles", "low": float(given["lower"]), "high": float(given["upper"])}
    return _note(said, "ScaleIntensityRangePercentiles", rule)


def _whole_range(given: Mapping[str, Any], said: Translation) -> str:
    if (
        (given.get("minv", 0), given.get("maxv", 1)) != (0, 1)
        or given.get("factor")
        or given.get("channel_wise")
    ):
        return "ScaleIntensity does not scale to 0 … 1"
    return _note(said, "ScaleIntensity", {"rule": "percentiles", "low": 0.0, "high": 100.0})


def _normalize(given: Mapping[str, Any], said: Translation) -> str:
    if given.get("nonzero"):
        return "NormalizeIntensity looks at voxels that are not zero alone"
    if given.get("subtrahend") is None and given.get("divisor") is None:
        return _note(said, "NormalizeIntensity", {"rule": "z-score"})
    shift, scale = _one_number(given.get("subtrahend"), 0.0), _one_number(given.get("divisor"), 1.0)
    return _note(said, "NormalizeIntensity", {"rule": "linear", "shift": shift, "scale": scale})


def _one_number(value: float | list[float] | None, default: float) -> float:
    if value is None:
        return default
    numbers = value if isinstance(value, list) else [value]
    if len(set(numbers)) != 1:
        raise ValueError("one number for each channel")
    return float(numbers[0])


def _note(said: Translation, name: str, rule: dict[str, Any]) -> str:
    if said.intensity:
        return f"{name} changes values that were changed before"
    said.intensity = rule
    return ""


TRANSLATED: dict[str, Callable[[Mapping[str, Any], Translation], str]] = {
    "Orientation": _orientation,
    "Spacing": _spacing,
    "ScaleIntensityRange": _range,
    "ScaleIntensityRangePercentiles": _percentiles,
    "ScaleIntensity": _whole_range,
    "NormalizeIntensity": _normalize,
}
"""What each transform says, as far as a bundle's preprocessing can say it; each returns what is wrong, or nothing."""
