"""What may be handed on: the words that are known, and keys in the place of all others."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from napari_medlab.annotations import new_id

__all__ = [
    "CONDITIONS", "FORMATS", "IMAGE_KINDS", "METRICS", "MODALITIES", "NEEDS", "ORIGINS", "RANDOM", "VIEWS", "WORD",
    "Keys", "case_fields", "conditions", "figures", "floats", "one_of", "when",
]  # fmt: skip

RANDOM = re.compile(r"[0-9a-f]{32}|[0-9a-f]{64}")
"""Ids and hashes of ours."""
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(\+00:00)?")
WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._ -]{0,63}")
"""The name of a model."""
NUMERAL = re.compile(r"\d{1,4}(\.\d{1,4})?")

IMAGE_KINDS = ("volume", "slide", "mammogram", "photo")
MODALITIES = (
    "CR",
    "CT",
    "DX",
    "ES",
    "GM",
    "MG",
    "MR",
    "NM",
    "OP",
    "OT",
    "PT",
    "RF",
    "RG",
    "SC",
    "SM",
    "US",
    "XA",
    "XC",
)
VIEWS = tuple(
    side + view
    for side in "RL"
    for view in ("CC", "MLO", "ML", "LM", "LMO", "XCCL", "XCCM", "FB", "SIO", "ISO")
)
FORMATS = (
    "luna16", "coco", "geojson", "nifti", "mha", "yolo", "monai", "nnunet", "nndetection", "hubmap", "dicom-seg", "rtstruct",
    "hard", "samples",
)  # fmt: skip
ORIGINS = ("shipped", "trained", "imported")
FIGURES = frozenset([
    "AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl",
    "cpm", "cpm_interval", "sensitivity", "interval", "cases", "findings", "candidates",
    "tp", "fp", "fn", "ignored", "duplicates", "dice", "iou", "hd95",
    "current", "current_interval", "proposed", "proposed_interval", "difference", "difference_interval", "p_value",
    "at_fp_per_scan", "margin", "confidence", "replicates", "seed", "patients",
    "postprocessing", "threshold", "most_per_tile", "merge_mm", "overlap", "tta",
])  # fmt: skip
"""The names under which numbers are kept in the figures of a model and the configuration of a run."""
METRICS = ("cpm", "sensitivity", "dice", "iou", "hd95", "AP", "AP50")
NEEDS = ("not worse", "not inferior", "better")
"""The words of the rule by which a model is judged."""
FIELDS = frozenset([
    "slice_thickness_mm", "slice_spacing_mm", "pixel_spacing_mm", "pixel_size_um", "magnification", "slices", "kvp",
    "tube_current_ma", "exposure_mas", "dose_mgy", "ctdi_mgy", "noise_hu", "field_of_view_mm", "compression_mm",
    "field_strength_t", "echo_time_ms", "repetition_time_ms", "flip_angle", "density", "birads", "fold",
])  # fmt: skip
"""The free columns of a case whose numbers are kept. Other names are free text, and so are the values beside them."""
WORDS = {
    "fold": re.compile(r"(fold[-_ ]?)?\d{1,3}|train|val|validation|test", re.IGNORECASE),
    "read": re.compile("yes|no", re.IGNORECASE),
}
"""The free columns whose text is kept where it is one of these words."""
CONDITIONS = {
    "kinds": ("fp", "fn", "duplicate", "poor outline", "disagreement", "low confidence", "unread"),
    "causes": ("background", "localisation", "duplicate", "class", "both", "missed"),
    "places": ("left", "midline", "right", "upper", "middle", "lower", "front", "central", "back"),
    "status": ("open", "judged", "model wrong", "reference wrong", "ambiguous", "agreed"),
}
"""The conditions of a filter that consist of words, and the words that are known."""
SPANS = ("score", "diameter", "overlap")
"""The conditions of a filter that consist of two ends."""


@dataclass
class Keys:
    """The keys that stand for names outside: the same name gets the same key, within one copy.

    Parameters
    ----------
    ids, readers : dict
        What was given so far, by name.
    bundles : dict
        Where the copy holds each bundle that it has, by hash.
    """

    ids: dict[str, str] = field(default_factory=dict)
    readers: dict[str, str] = field(default_factory=dict)
    bundles: dict[str, str] = field(default_factory=dict)

    def of(self, name: str) -> str:
        """Return an id or hash of ours as it is, a random key for anything else, and nothing for nothing."""
        return name if not name or RANDOM.fullmatch(name) else self.ids.setdefault(name, new_id())

    def of_optional(self, name: str | None) -> str | None:
        """Return the key of a name, or None for None."""
        return None if name is None else self.of(name)

    def reader(self, name: str) -> str:
        """Return ``"reader-1"``, ``"reader-2"`` and so on, in the order of their first edits."""
        return self.readers.setdefault(name, f"reader-{len(self.readers) + 1}")


def when(text: str) -> str:
    """Return a time as it is, and nothing for anything else."""
    return text if TIME.fullmatch(text) else ""


def one_of(value: object, known: tuple[str, ...]) -> str:
    """Return a word that is known as it is, and nothing for any other."""
    return value if isinstance(value, str) and value in known else ""


def floats(values: list[Any]) -> list[float]:
    """Return numbers, and raise :class:`ValueError` or :class:`TypeError` for anything else."""
    return [float(value) for value in values]


def case_fields(value: dict[str, Any]) -> dict[str, Any]:
    """Return the numbers of the free columns that are known, and the words of those that have words of their own."""
    return {name: content for name, content in value.items() if _is_kept(name, content)}


def _is_kept(name: str, content: object) -> bool:
    if isinstance(content, str):
        return name in WORDS and WORDS[name].fullmatch(content) is not None
    return name in FIELDS


def conditions(value: dict[str, Any], keys: Keys) -> dict[str, Any]:
    """Return the conditions of a filter that consist of numbers, known words and keys.

    Labels, tags, names of readers and of cases, and free columns that are not known are left out: a filter of the
    copy may let more pass than the one it was made from.
    """
    kept: dict[str, Any] = {}
    for name, content in value.items():
        if name in CONDITIONS and isinstance(content, list):
            kept[name] = [word for word in content if word in CONDITIONS[name]]
        elif name in SPANS and _is_span(content):
            kept[name] = content
        elif name in ("case_ids", "object_ids") and isinstance(content, list):
            kept[name] = [keys.of(str(one)) for one in content]
        elif name == "fields" and isinstance(content, dict):
            kept[name] = {
                field: span for field, span in content.items() if field in FIELDS and _is_span(span)
            }
    return kept


def _is_span(value: object) -> bool:
    return (
        isinstance(value, list) and len(value) == 2 and all(end is None or _is_number(end) for end in value)
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def figures(value: dict[str, Any]) -> dict[str, Any]:
    """Return the numbers that stand under known names, at any depth."""
    kept = {
        name: _numbers(item) for name, item in value.items() if name in FIGURES or NUMERAL.fullmatch(name)
    }
    return {name: item for name, item in kept.items() if item is not None}


def _numbers(value: object) -> object:
    if isinstance(value, bool | int | float):
        return value
    if isinstance(value, dict):
        return figures(value)
    if isinstance(value, list) and all(isinstance(item, bool | int | float) for item in value):
        return value
    return None
