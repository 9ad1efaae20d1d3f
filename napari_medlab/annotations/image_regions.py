"""What a file says about one image: the common form of every exchange format that holds outlines."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_medlab.annotations.region_table import RegionTable

__all__ = ["ImageRegions"]


@dataclass(frozen=True, eq=False)
class ImageRegions:
    """The outlines that a file holds for one image, of findings or, where they have scores, of candidates.

    Parameters
    ----------
    image : str
        By what name the file knows the image: a file's name, a series' UID.
    regions : RegionTable
        Its ``case_id`` is ``image``. Vertices are indices of the image's pixels, (y, x) or (z, y, x), 0 at a pixel's
        centre, whatever the format counts from; a box is a ring of four vertices. Scores are nan for findings.
    is_excluded : bool array, (n,)
        Outlines that count neither as found nor as missed, such as COCO's crowds.
    shape : tuple of int or None
        The image's, in array order, where the format says it.
    is_complete : bool
        Whether the file lists the image as looked at, so that no outline means that there is nothing.
    extra : dict
        What the format says beside, by names of its own, as plain values that it can write again.
    """

    image: str
    regions: RegionTable
    is_excluded: NDArray[np.bool_]
    shape: tuple[int, ...] | None = None
    is_complete: bool = True
    extra: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.is_excluded) != len(self.regions) or self.regions.case_id != self.image:
            msg = f"The columns about {self.image!r} do not belong together: {len(self.regions)} outlines."
            raise ValueError(msg)

    def __len__(self) -> int:
        return len(self.regions)
