"""What a project gives back when it is read: plain, frozen records."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from napari_medlab.errors import InputRefusedError

__all__ = [
    "SPLITS",
    "VERDICTS",
    "BundleRecord",
    "CaseRecord",
    "ExportRecord",
    "JournalEntry",
    "JudgementRecord",
    "Origin",
    "RunRecord",
    "Split",
    "Verdict",
    "VerdictName",
    "checked_fields",
]

Split = Literal["train", "test"]
VerdictName = Literal["model wrong", "reference wrong", "ambiguous", "agreed"]
Origin = Literal["shipped", "trained", "imported"]

SPLITS: tuple[str, ...] = get_args(Split)
VERDICTS: tuple[str, ...] = get_args(VerdictName)
ORIGINS: tuple[str, ...] = get_args(Origin)

MAX_FIELD_NAME, MAX_FIELD_TEXT = 64, 256


@dataclass(frozen=True)
class CaseRecord:
    """One imaging study as the project lists it.

    Parameters
    ----------
    case_id : str
        A random 128-bit identifier, 32 hexadecimal digits.
    path : str
        Relative to the project's folder (with ``/``) where the image lies inside it, absolute elsewhere.
    name : str
        What the reader sees in lists.
    kind : str
        ``"volume"``, ``"slide"``, ``"mammogram"`` or ``"photo"``.
    modality : str
        The DICOM modality; empty where unknown.
    patient_key : str
        A key shared by the cases of one patient; never the patient's own identifier.
    split : {"train", "test"}
    frozen : bool
        Whether the case belongs to the frozen test set.
    fingerprint : JSON value
        What :func:`napari_medlab.images.fingerprint.fingerprint` gave when the case was added.
    grid : dict or None
        :meth:`napari_medlab.geometry.Grid.as_json` of level 0; None where unknown.
    decisions : dict
        :meth:`napari_medlab.images.Decisions.as_json` of the choices by which the image opens; empty for none.
    exam_key : str
        A random key shared by the views of one mammography exam; empty for other images.
    view : str
        Which view of its exam it is, such as ``"RCC"`` or ``"LMLO"``; empty for other images.
    fields : dict
        Free columns, such as site, scanner, fold or slice_thickness_mm: text or finite numbers.
    """

    case_id: str
    path: str
    name: str
    kind: str = "volume"
    modality: str = ""
    patient_key: str = ""
    split: Split = "train"
    frozen: bool = False
    fingerprint: Any = None
    grid: dict[str, Any] | None = None
    decisions: dict[str, Any] = field(default_factory=dict)
    exam_key: str = ""
    view: str = ""
    fields: dict[str, str | float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _require_choice("split", self.split, SPLITS)
        checked_fields(self.fields)

    @property
    def group(self) -> str:
        """What is never divided, neither by a split nor in a draw: the patient, else the exam, else the case itself."""
        return self.patient_key or self.exam_key or self.case_id


@dataclass(frozen=True)
class RunRecord:
    """One bundle applied to a set of cases; ``created`` is UTC, ISO 8601.

    ``bundle_hash`` is empty for predictions that were made elsewhere and merely imported.
    """

    run_id: str
    bundle_hash: str
    configuration: dict[str, Any]
    created: str
    is_finished: bool = False


@dataclass(frozen=True)
class BundleRecord:
    """One version of a model, addressed by its hash; ``parent`` is the hash that it was trained from."""

    hash: str
    path: str
    name: str
    parent: str | None = None
    origin: Origin = "imported"
    figures: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _require_choice("origin", self.origin, ORIGINS)


@dataclass(frozen=True)
class ExportRecord:
    """One package that was written out, and the journal ids of the edits that it holds."""

    path: str
    format: str
    manifest_digest: str
    edit_ids: tuple[int, ...] = ()


@dataclass(frozen=True)
class JudgementRecord:
    """What the frozen test set said about a proposed model when it was held against another.

    Parameters
    ----------
    bundle_hash, against_hash : str
        The proposal, and the model that it was held against; empty for predictions that were made elsewhere.
    run_id, against_run_id : str
        Their runs on the test cases.
    rule : dict
        JSON values by which it was judged: ``metric`` and ``needs`` in words, and numbers such as ``at_fp_per_scan``,
        ``margin`` and ``confidence``.
    figures : dict
        Numbers, and pairs of them for intervals: ``current``, ``current_interval``, ``proposed``,
        ``proposed_interval``, ``difference`` (proposed less current), ``difference_interval``, ``p_value``, ``cases``
        and ``findings``. What could not be told is left out or None, never a number that is not finite.
    may_publish : bool
    reason : str
        One sentence with the figures.
    at : str
        When, UTC, ISO 8601; filled in by the project and left out of comparisons.
    cases_removed : int
        How many of its test cases were removed from the project since: the figures cannot be checked any more. Filled in
        by the project and left out of comparisons.
    """

    bundle_hash: str
    against_hash: str
    run_id: str
    against_run_id: str
    rule: dict[str, Any]
    figures: dict[str, Any]
    may_publish: bool
    reason: str
    at: str = field(default="", compare=False)
    cases_removed: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Verdict:
    """What a reader decided about a candidate or finding.

    Parameters
    ----------
    verdict : {"model wrong", "reference wrong", "ambiguous", "agreed"}
    comment : str
    tags : tuple of str
    reader, at : str
        Who and when (UTC, ISO 8601); filled in by the project and left out of comparisons.
    """

    verdict: VerdictName
    comment: str = ""
    tags: tuple[str, ...] = ()
    reader: str = field(default="", compare=False)
    at: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        _require_choice("verdict", self.verdict, VERDICTS)
        object.__setattr__(self, "tags", tuple(self.tags))

    def as_json(self) -> dict[str, Any]:
        """Return what the reader decided as plain JSON values, without who and when."""
        return {"verdict": self.verdict, "comment": self.comment, "tags": list(self.tags)}


@dataclass(frozen=True)
class JournalEntry:
    """One edit as the journal holds it.

    Parameters
    ----------
    id : int
        Edits are ordered by this, never by the clock.
    at : str
        UTC, ISO 8601.
    reader, kind : str
    case_id : str or None
        The case to show when the edit is undone; None for edits that belong to no case.
    payload : dict
        What was edited; reversible edits have ``before`` and ``after``.
    undoes : int or None
        The entry that this one takes back; for a redo, the undo that it takes back.
    """

    id: int
    at: str
    reader: str
    kind: str
    case_id: str | None
    payload: dict[str, Any]
    undoes: int | None = None


def checked_fields(value: dict[str, Any]) -> dict[str, str | float]:
    """Return the free columns of a case as they are.

    Raises
    ------
    InputRefusedError
        ``field`` where a name is empty or longer than 64 characters, or a value is neither text of up to 256
        printable characters nor a finite number.
    """
    for name, content in value.items():
        if not _is_field(name, content):
            raise InputRefusedError(
                f"A case cannot have the field {name!r:.80} with the value {content!r:.80}.",
                code="field",
                hint=f"A name has 1 to {MAX_FIELD_NAME} characters; a value is a finite number, or text of up to "
                f"{MAX_FIELD_TEXT} printable characters.",
            )
    return value


def _is_field(name: object, content: object) -> bool:
    if not isinstance(name, str) or not 1 <= len(name) <= MAX_FIELD_NAME or not name.isprintable():
        return False
    if isinstance(content, str):
        return len(content) <= MAX_FIELD_TEXT and content.isprintable()
    return (
        isinstance(content, int | float)
        and not isinstance(content, bool)
        and abs(content) <= sys.float_info.max
    )


def _require_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise InputRefusedError(
            f"{name} is {value!r}; expected one of {', '.join(map(repr, choices))}.", code=f"unknown-{name}"
        )
