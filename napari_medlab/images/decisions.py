"""What a person decides about an image that is not opened without a decision."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from napari_medlab.errors import InputRefusedError

__all__ = ["AS_IS", "NAMELESS", "Decisions"]

NAMELESS = "(none)"
"""What a DICOM series is called that has no UID."""
FINEST_UM, COARSEST_UM = 0.01, 1000.0
"""Limits of a pixel size that is stated by hand."""


@dataclass(frozen=True)
class Decisions:
    """Explicit choices, recorded with the case so that it opens in the same way again.

    Parameters
    ----------
    series_uid : str
        Which DICOM series of a folder; :data:`NAMELESS` for the one without a UID.
    phase : int or None
        Which volume of a time series, from 0.
    uneven : {"", "split", "resample"}
        What to do with a stack whose slices are not evenly spaced: refuse it, take one of its even blocks, or
        interpolate along it onto an even grid.
    block : int
        Which of the even blocks, from 0, where ``uneven`` is ``"split"``.
    absent : {"", "background"}
        What tiles are that were never written: an error, or background.
    pixel_size_um : float or None
        The pixel size in µm, y as x, of a planar image whose header states none: 0.01 to 1000.

    Raises
    ------
    InputRefusedError
        With code ``pixel-size`` where that is outside these limits.
    """

    series_uid: str = ""
    phase: int | None = None
    uneven: Literal["", "split", "resample"] = ""
    block: int = 0
    absent: Literal["", "background"] = ""
    pixel_size_um: float | None = None

    def __post_init__(self) -> None:
        """Check the pixel size."""
        size = self.pixel_size_um
        if size is not None and not FINEST_UM <= size <= COARSEST_UM:
            raise InputRefusedError(
                f"A pixel size of {size:g} µm is outside {FINEST_UM:g} to {COARSEST_UM:g} µm.",
                code="pixel-size",
                hint="State it in micrometres (µm): 8 for 0.008 mm.",
            )

    def as_json(self) -> dict[str, Any]:
        """Return only what was decided."""
        return {name: value for name, value in asdict(self).items() if value != getattr(AS_IS, name)}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Decisions:
        """Return the decisions that :meth:`as_json` wrote.

        Raises
        ------
        InputRefusedError
            With code ``decisions`` where they hold anything else.
        """
        allowed: dict[str, tuple[type, ...]] = {
            "series_uid": (str,), "phase": (int,), "uneven": (str,), "block": (int,), "absent": (str,),
            "pixel_size_um": (int, float),
        }  # fmt: skip
        strangers = [
            name for name, what in value.items() if name not in allowed or not isinstance(what, allowed[name])
        ]
        words = {"uneven": ("", "split", "resample"), "absent": ("", "background")}
        strangers += [name for name, known in words.items() if value.get(name, "") not in known]
        if strangers:
            raise InputRefusedError(
                f"Unknown decisions about an image: {', '.join(strangers)}.", code="decisions"
            )
        return cls(**{field.name: value[field.name] for field in fields(cls) if field.name in value})


AS_IS = Decisions()
"""Nothing was decided: what is doubtful is refused."""
