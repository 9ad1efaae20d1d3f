"""Which view of which breast a mammogram shows, and on which side the chest wall is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_medlab.images.dicom.values import listed, words

if TYPE_CHECKING:
    from napari_medlab.images.dicom.values import Elements

__all__ = ["chest_wall", "laterality", "view_name", "view_position"]

VIEW_CODES = {
    "R-10242": "CC", "399162004": "CC", "R-10226": "MLO", "399368009": "MLO",
    "R-10224": "ML", "399260004": "ML", "R-10228": "LM", "399352003": "LM",
}  # fmt: skip
"""Codes of mammography views in SNOMED RT and SNOMED CT (DICOM PS3.16, CID 4014)."""
MAX_WORD = 16
MAX_VIEW = 6


def laterality(elements: Elements) -> str:
    """Return ``"R"``, ``"L"``, or whatever else the header says; empty where it says nothing."""
    return (listed(elements, "ImageLaterality") or listed(elements, "Laterality"))[:MAX_WORD]


def view_position(elements: Elements) -> str:
    """Return the view, such as ``"MLO"``: by its code, which is exact, or as it is written."""
    codes = [listed(item, "CodeValue") for item in elements.get("ViewCodeSequence") or []]
    return next(
        (VIEW_CODES[code] for code in codes if code in VIEW_CODES),
        listed(elements, "ViewPosition")[:MAX_WORD],
    )


def view_name(elements: Elements) -> str:
    """Return laterality and view in one word, such as ``"LMLO"``; empty where either is not stated."""
    side, view = laterality(elements).upper(), view_position(elements).upper()
    return side + view if side in ("R", "L") and view.isalpha() and len(view) <= MAX_VIEW else ""


def chest_wall(elements: Elements) -> str:
    """Return ``"left"`` or ``"right"``: where rows end on the posterior or begin there (PatientOrientation); or empty."""
    along_row = (words(elements, "PatientOrientation") or [""])[0].upper()[:1]
    return {"P": "right", "A": "left"}.get(along_row, "")
