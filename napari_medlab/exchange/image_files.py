"""The images of cases as files that go out: pixels and geometry, and nothing of the source's header."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.durable import write_file
from napari_medlab.errors import InputRefusedError
from napari_medlab.images.budget import fits_in_memory

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_medlab.images import Image
    from napari_medlab.project import CaseRecord

__all__ = ["refuse_written_on", "write_case_image"]

MAY_CARRY_TEXT = frozenset({"DOC", "ES", "OT", "SC", "US", "XC"})
"""The modalities of screen captures, ultrasound and photographs of patients: names may stand in their pixels."""


def refuse_written_on(cases: list[CaseRecord]) -> None:
    """Raise ``text-in-pixels`` where a name may stand in the pixels of a case that nobody has looked at for that."""
    held = [case for case in cases if case.modality in MAY_CARRY_TEXT]
    if held:
        raise InputRefusedError(
            f"{len(held)} cases are of a kind that may carry a name in its pixels ({held[0].modality}), beginning with "
            f"{held[0].case_id}.",
            code="text-in-pixels",
            hint="Look at them; then say that there is no text in them (--no-text), or leave the images out (--no-images).",
        )


def write_case_image(
    source: Path, case: CaseRecord, path: Path, *, stop: Callable[[], None] | None = None
) -> None:
    """Write the image of a case as a new file of the format that its name asks for.

    Volumes become NIfTI or MetaImage, planar images PNG; what a source says of patient, place or machine is not copied.

    Parameters
    ----------
    source : Path
        Where the image lies.
    case : CaseRecord
        With what decisions it opens.
    path : Path
        A new file that ends in ``.nii.gz``, ``.nii``, ``.mha`` or ``.png``.
    stop : callable, optional
        Called now and then; raises where the work is to end.

    Raises
    ------
    ImageRefusedError
        As :func:`napari_medlab.images.open_image` does.
    InputRefusedError
        ``too-large`` for a planar image that does not fit into memory; ``unsupported-output`` where the format cannot
        hold the pixels.
    """
    from napari_medlab.images import Decisions, open_image
    from napari_medlab.images.writers import write_image

    image = replace(open_image(source, Decisions.from_json(case.decisions)), lineage=(), channel_names=())

    def cancelled() -> bool:
        if stop is not None:
            stop()
        return False

    if path.suffix == ".png":
        write_file(path, _png(image, case))
    else:
        write_image(image, path, cancel=cancelled)


def _png(image: Image, case: CaseRecord) -> bytes:
    from io import BytesIO

    from PIL import Image as Pictures

    if not fits_in_memory(image):
        raise InputRefusedError(
            f"The image of case {case.case_id} ({' × '.join(map(str, image.shape))}) is too large for one PNG file.",
            code="too-large",
            hint="Leave the images out with --no-images, or cut it into tiles with 'export --format samples'.",
        )
    pixels = image.decoded()
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if pixels.dtype not in (np.uint8, np.uint16) or (
        pixels.ndim == 3 and (pixels.dtype != np.uint8 or pixels.shape[2] != 3)
    ):
        raise InputRefusedError(
            f"PNG holds no image of {pixels.shape} pixels of the type {pixels.dtype}, as case {case.case_id} is one.",
            code="unsupported-output",
            hint="Leave the images out with --no-images.",
        )
    packed = BytesIO()
    Pictures.fromarray(np.ascontiguousarray(pixels)).save(packed, "PNG")
    return packed.getvalue()
