"""What an importer has found out about a foreign model, and what a person has to add to it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Self

from napari_medlab.errors import InputRefusedError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import torch

__all__ = [
    "PLANAR_AXES",
    "VOLUME_CODES",
    "Draft",
    "ImportOptions",
    "argument_of",
    "not_importable",
    "turn_of",
]

PLANAR_AXES = {"yx": (0, 1), "xy": (1, 0)}
INTENSITY = {"window", "percentiles", "mean", "std", "standardise"}
SPACING = {"spacing_mm", "spacing_um", "longest_side"}
INNER = "inner."
"""What :class:`napari_medlab.models.networks.adapted.Adapted` puts before the names of the network inside."""

VOLUME_CODES = {
    "S": (0, False),
    "I": (0, True),
    "P": (1, False),
    "A": (1, True),
    "L": (2, False),
    "R": (2, True),
}
"""Which of our axes an axis towards S, I, P, A, L or R is, and whether it runs against ours."""


@dataclass(frozen=True)
class ImportOptions:
    """What a person says about a model that is imported; what the files say themselves need not be given.

    Parameters
    ----------
    name : str
        The bundle's; made from the file's where empty.
    network : str
        A name of the closed table, or of MONAI's networks in :mod:`napari_medlab.models.networks.monai_networks`.
    arguments : mapping
        The network's, plain values.
    task : {"detection", "segmentation", "classification"}
    classes : tuple of str
        In the order of the outputs, without the background.
    preprocessing : mapping
        As in a bundle's spec; goes before what the files say.
    axes : str
        Of the arrays that the network reads: three letters towards which each axis runs, such as ``"RAS"`` (MONAI) or
        ``"SPL"`` (ours), or ``"yx"`` or ``"xy"``.
    output : {"", "sigmoid", "softmax"}
        What turns the outputs into probabilities; with softmax the first class is the background.
    postprocessing, tiling : mapping
        As in a bundle's spec.
    licence, limits, purpose : str
    configuration, fold : str
        Of an nnU-Net: such as ``"3d_fullres"`` and ``"0"``.
    skip_code : bool
        Read a MONAI bundle that holds code, too: what is code is passed over, never run, and listed in the limits.
    """

    name: str = ""
    network: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    task: str = ""
    classes: tuple[str, ...] = ()
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    axes: str = ""
    output: str = ""
    postprocessing: Mapping[str, Any] = field(default_factory=dict)
    tiling: Mapping[str, Any] = field(default_factory=dict)
    licence: str = ""
    limits: str = ""
    purpose: str = ""
    configuration: str = ""
    fold: str = ""
    skip_code: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read what :meth:`as_json` wrote."""
        known = {one.name: value[one.name] for one in fields(cls) if one.name in value}
        return cls(**{**known, "classes": tuple(known.get("classes", ()))})


@dataclass(frozen=True)
class Draft:
    """A model as far as an importer has understood it.

    Parameters
    ----------
    origin : str
        The format, for people: ``"a MONAI bundle"``.
    network : dict
        Name and arguments.
    weights : dict of tensors
    facts : dict
        What of a spec the files say: ``task``, ``classes``, ``preprocessing``, ``tiling``, ….
    limits : tuple of str
    axes, output : str
        As in :class:`ImportOptions`; empty where the files do not say.
    is_ours : bool
        Whether the network is one of ours, which reads our axes and judges classes one by one.
    files : tuple of Path
        What was read; their hashes go into the bundle.
    """

    origin: str
    network: dict[str, Any]
    weights: Mapping[str, torch.Tensor]
    facts: dict[str, Any] = field(default_factory=dict)
    limits: tuple[str, ...] = ()
    axes: str = ""
    output: str = ""
    is_ours: bool = False
    files: tuple[Path, ...] = ()

    def completed(self, options: ImportOptions) -> Draft:
        """Return the draft with what a person said going before what the files say.

        Raises
        ------
        InputRefusedError
            Where something is known neither from the files nor from the person; with all that is missing.
        """
        facts = self._facts_with(options)
        axes, output = options.axes or self.axes, options.output or self.output
        asked = [f"--{key}" for key in ("task", "classes") if not facts.get(key)]
        asked += [] if says_intensity(facts.get("preprocessing", {})) else ["--preprocessing (or --window)"]
        if not self.is_ours:
            asked += [name for name, value in (("--axes", axes), ("--output", output)) if not value]
        if asked:
            raise InputRefusedError(
                f"The files of the model do not say all that is needed to use it, and it is not guessed: {', '.join(asked)}.",
                code="model-incomplete", hint=" ".join(["Give what is missing.", *self.limits[:5]]),
            )  # fmt: skip
        limits = (*self.limits, *([options.limits] if options.limits else []))
        network = self.network if self.is_ours else adapted(self.network, axes, exclusive=output == "softmax")
        weights = self.weights
        if network is not self.network:
            weights = {f"{INNER}{name}": tensor for name, tensor in weights.items()}
        return replace(self, network=network, weights=weights, facts=facts, limits=limits)

    def _facts_with(self, options: ImportOptions) -> dict[str, Any]:
        said = {
            key: getattr(options, key) for key in ("task", "tiling", "postprocessing", "licence", "purpose")
        }
        said["classes"] = list(options.classes)
        facts = {"postprocessing": {}, **self.facts, **{key: value for key, value in said.items() if value}}
        kept = dict(facts.get("preprocessing", {}))
        for group in (INTENSITY, SPACING):
            if group & set(options.preprocessing):
                kept = {key: value for key, value in kept.items() if key not in group}
        return {**facts, "preprocessing": {**kept, **options.preprocessing}}


def says_intensity(preprocessing: Mapping[str, Any]) -> bool:
    """Tell whether a bundle's preprocessing says what becomes of values; those of planar images have a range of their own."""
    return bool(INTENSITY & set(preprocessing)) or preprocessing.get("kind", "volume") != "volume"


def adapted(network: dict[str, Any], axes: str, *, exclusive: bool) -> dict[str, Any]:
    """Return a network that reads our axes and judges classes one by one; the same where it does so already."""
    order, flips = turn_of(axes)
    if order == tuple(range(len(order))) and not flips and not exclusive:
        return network
    arguments = {"network": network, "order": list(order), "flips": list(flips), "exclusive": exclusive}
    return {"name": "adapted", "arguments": arguments}


def turn_of(axes: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return which of our axes each axis of a foreign array is, and which of its axes run against ours.

    Our volumes are (z, y, x) towards S, P and L.

    Raises
    ------
    InputRefusedError
        Where ``axes`` names no axes, or one twice.
    """
    if axes in PLANAR_AXES:
        return PLANAR_AXES[axes], ()
    known = [VOLUME_CODES.get(letter, (-1, False)) for letter in axes]
    order = tuple(axis for axis, _ in known)
    if sorted(order) != [0, 1, 2]:
        raise InputRefusedError(
            f"{axes[:40]!r} names no axes of an array.",
            code="axes",
            hint="Give letters such as RAS, SPL, yx or xy.",
        )
    return order, tuple(place for place, (_, is_against) in enumerate(known) if is_against)


def argument_of(network: Mapping[str, Any], name: str, default: int) -> int:
    """Return a whole number among a network's arguments, or those of the network within it."""
    arguments = network["arguments"]
    for inner in (arguments.get("network"), {"arguments": arguments.get("arguments")}):
        if isinstance(inner, dict) and isinstance(inner.get("arguments"), dict):
            return argument_of(inner, name, default)
    value = arguments.get(name, default)
    return value if type(value) is int else default


def not_importable(path: Path, reason: str, hint: str = "") -> InputRefusedError:
    """Return the refusal of a model; nothing of it was run."""
    return InputRefusedError(
        f"{path.name} cannot be imported: {reason}.", code="model",
        hint=hint or "Nothing of it was run. Import the model's predictions instead, or save its weights as safetensors.",
    )  # fmt: skip
