"""Which errors to look at, and in what order: filters that can be saved, shared and read aloud."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

import numpy as np

from napari_medlab.errors import InputRefusedError
from napari_medlab.evaluation.error_kinds import CAUSES
from napari_medlab.geometry import Grid
from napari_medlab.hardcases.errors.places import AXES, PLACES, fractions_of, is_at
from napari_medlab.hardcases.errors.table import ERROR_KINDS
from napari_medlab.project.records import VERDICTS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from numpy.typing import NDArray

    from napari_medlab.hardcases.errors.table import ErrorTable
    from napari_medlab.project import Project, Verdict

__all__ = [
    "SORT_KEYS",
    "STATUSES",
    "FieldValue",
    "FilterContext",
    "QueueFilter",
    "SortKey",
    "Span",
    "context_of_run",
    "sorted_rows",
]

FieldValue = str | float
SortKey = Literal["worst first", "score", "size", "overlap", "case", "distance"]
SORT_KEYS: tuple[SortKey, ...] = get_args(SortKey)

OPEN, JUDGED = "open", "judged"
STATUSES = (OPEN, JUDGED, *VERDICTS)
CHOICES = (
    ("kinds", ERROR_KINDS),
    ("causes", CAUSES),
    ("places", PLACES),
    ("status", STATUSES),
)
"""The words that a condition may hold, where these are fixed."""
KIND_NAMES = {"fp": "false positives", "fn": "misses", "duplicate": "duplicates", "poor outline": "poor outlines",
              "disagreement": "disagreements", "low confidence": "low confidence", "unread": "unread"}  # fmt: skip


@dataclass(frozen=True)
class Span:
    """Numbers from ``low`` to ``high``, both included; infinite ends are open, and nan is in no span."""

    low: float = -math.inf
    high: float = math.inf

    def __post_init__(self) -> None:
        if not (self.low <= self.high and self.low < math.inf and self.high > -math.inf):
            raise InputRefusedError(
                f"A range must run from a number to one that is no smaller, got {self.low} to {self.high}.",
                code="filter",
                hint="Exchange the two ends, or leave one out.",
            )

    def __str__(self) -> str:
        if math.isinf(self.low) and math.isinf(self.high):
            return "known"
        if math.isinf(self.low) or math.isinf(self.high):
            return f"at most {self.high:g}" if math.isinf(self.low) else f"at least {self.low:g}"
        return f"{self.low:g} to {self.high:g}"

    def holds(self, values: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Tell which values, (n,), lie in the span."""
        inside: NDArray[np.bool_] = (values >= self.low) & (values <= self.high)
        return inside

    def as_json(self) -> list[float | None]:
        """Return both ends; None for an open one."""
        return [end if math.isfinite(end) else None for end in (self.low, self.high)]

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Read what :meth:`as_json` wrote."""
        if not isinstance(value, list) or len(value) != 2 or not all(_is_end(end) for end in value):
            raise _refused(f"a range must be [low, high] with numbers or null, got {value!r}")
        low, high = value
        return cls(-math.inf if low is None else float(low), math.inf if high is None else float(high))


@dataclass(frozen=True, eq=False)
class FilterContext:
    """What a filter has to know beside the errors themselves; whatever is left out matches no condition about it.

    Parameters
    ----------
    case_names : mapping of case id to the name that readers see
    case_fields : mapping of case id to its fields, such as site, scanner, fold or slice_thickness_mm
    verdicts : mapping of object id to what was said about it
    fractions : float64 array, (n, d), parallel to the table, or None
        Where each centre lies, as :func:`~napari_medlab.hardcases.errors.places.fractions_of` gives it.
    """

    case_names: Mapping[str, str] = field(default_factory=dict)
    case_fields: Mapping[str, Mapping[str, str | float]] = field(default_factory=dict)
    verdicts: Mapping[str, Verdict] = field(default_factory=dict)
    fractions: NDArray[np.float64] | None = None


def context_of_run(project: Project, run_id: str, table: ErrorTable) -> FilterContext:
    """Return what filters have to know about the errors of a run, read from its project."""
    cases = project.cases()
    grids = {case.case_id: Grid.from_json(case.grid) for case in cases if case.grid}
    return FilterContext(
        case_names={case.case_id: case.name for case in cases},
        case_fields={case.case_id: case.fields for case in cases},
        verdicts=project.verdicts(run_id),
        fractions=fractions_of(table, grids),
    )


@dataclass(frozen=True)
class QueueFilter:
    """Conditions that an error must all meet; one that is left empty asks for nothing.

    Parameters
    ----------
    kinds, causes, labels : frozenset of str
        One of these; anything iterable is taken.
    score, diameter, overlap : Span or None
        An unknown diameter or overlap lies in no span.
    places : frozenset of str
        Names from :data:`~napari_medlab.hardcases.errors.places.PLACES`. Those along one axis are alternatives, those along
        different axes must all hold: left or right, and upper.
    fields : mapping of str to frozenset of values or Span
        What the case says of itself: one of the values, or a number in the span. A case that lacks the field is out.
    status : frozenset of str
        ``"open"`` (no verdict yet), ``"judged"`` (any verdict), or names of verdicts.
    tags : frozenset of str
        At least one of these stands with the verdict.
    readers : frozenset of str
        Who gave the verdict.
    case_ids, object_ids : frozenset of str or None
        One of these, such as the objects of a slice of failure or of a lasso; None asks for nothing, and an empty set
        holds nothing.
    text : str
        A part of the case's name, whatever the case of its letters.
    """

    kinds: frozenset[str] = frozenset()
    causes: frozenset[str] = frozenset()
    labels: frozenset[str] = frozenset()
    score: Span | None = None
    diameter: Span | None = None
    overlap: Span | None = None
    places: frozenset[str] = frozenset()
    fields: Mapping[str, frozenset[FieldValue] | Span] = field(default_factory=dict)
    status: frozenset[str] = frozenset()
    tags: frozenset[str] = frozenset()
    readers: frozenset[str] = frozenset()
    case_ids: frozenset[str] | None = None
    object_ids: frozenset[str] | None = None
    text: str = ""

    def __post_init__(self) -> None:
        for name in (*SETS, *SETS_OR_NONE):
            value = getattr(self, name)
            object.__setattr__(self, name, None if value is None else frozenset(value))
        named = {name: v if isinstance(v, Span) else frozenset(v) for name, v in self.fields.items()}
        object.__setattr__(self, "fields", named)
        for name, known in CHOICES:
            unknown = sorted(getattr(self, name) - set(known))
            if unknown:
                raise _refused(f"{name} holds {unknown[0]!r}; expected some of {', '.join(map(repr, known))}")

    @property
    def is_empty(self) -> bool:
        """Whether every error passes."""
        return self == QueueFilter()

    def as_json(self) -> dict[str, Any]:
        """Return the conditions that are set as plain JSON values; sets become sorted lists."""
        values: dict[str, Any] = {name: sorted(getattr(self, name)) for name in SETS if getattr(self, name)}
        values |= {name: getattr(self, name).as_json() for name in SPANS if getattr(self, name) is not None}
        if self.fields:
            values["fields"] = {
                name: wanted.as_json() if isinstance(wanted, Span) else {"in": sorted(wanted, key=repr)}
                for name, wanted in self.fields.items()
            }
        values |= {
            name: sorted(getattr(self, name)) for name in SETS_OR_NONE if getattr(self, name) is not None
        }
        return values | ({"text": self.text} if self.text else {})

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Read what :meth:`as_json` wrote.

        Raises
        ------
        InputRefusedError
            With code ``"filter"`` for anything else, naming the condition.
        """
        if not isinstance(value, dict):
            raise _refused(f"a filter must be an object of conditions, got {type(value).__name__}")
        known = {f.name for f in fields(cls)}
        unknown = [name for name in value if name not in known]
        if unknown:
            raise _refused(
                f"there is no condition {unknown[0]!r}; the conditions are {', '.join(sorted(known))}"
            )
        conditions: dict[str, Any] = {name: _condition(name, part) for name, part in value.items()}
        return cls(**conditions)

    def mask(self, table: ErrorTable, context: FilterContext | None = None) -> NDArray[np.bool_]:
        """Return which rows of the table, (n,), meet all conditions."""
        return _Masking(self, table, context or FilterContext()).mask()

    def describe(self) -> str:
        """Return the conditions as a phrase: "false positives, score 0.5 to 0.9, site = A, still open"."""
        parts = [_alternatives(KIND_NAMES[kind] for kind in ERROR_KINDS if kind in self.kinds)]
        parts += [_named("cause", self.causes), _named("label", self.labels)]
        spans = {"score": self.score, "size": self.diameter, "overlap": self.overlap}
        parts += [f"{name} {span}" for name, span in spans.items() if span is not None]
        parts += [_alternatives(place for place in axis if place in self.places) for axis in AXES]
        parts += [
            f"{name} {wanted}"
            if isinstance(wanted, Span)
            else f"{name} = {_alternatives(sorted(map(str, wanted)))}"
            for name, wanted in self.fields.items()
        ]
        parts += [_alternatives("still open" if each == OPEN else each for each in sorted(self.status))]
        parts += [_named("tagged", self.tags), _named("judged by", self.readers)]
        parts += [_count(self.case_ids, "case"), _count(self.object_ids, "chosen object")]
        parts += [f"case name with “{self.text}”" if self.text else ""]
        return ", ".join(part for part in parts if part) or "everything"


SETS = ("kinds", "causes", "labels", "places", "status", "tags", "readers")
SETS_OR_NONE = ("case_ids", "object_ids")
SPANS = ("score", "diameter", "overlap")


class _Masking:
    """One filter at work on one table; each condition is a method that says which rows meet it."""

    def __init__(self, wanted: QueueFilter, table: ErrorTable, context: FilterContext) -> None:
        self._wanted, self._table, self._context = wanted, table, context

    def mask(self) -> NDArray[np.bool_]:
        """Return which rows meet all conditions that are set."""
        wanted = self._wanted
        conditions: tuple[tuple[bool, Callable[[], NDArray[np.bool_]]], ...] = (
            (any(getattr(wanted, name) is not None for name in SPANS), self._in_spans),
            (bool(wanted.kinds or wanted.causes or wanted.labels), self._in_words),
            (bool(wanted.text or wanted.fields or wanted.case_ids is not None), self._of_cases),
            (bool(wanted.places), self._at_places),
            (wanted.object_ids is not None, self._of_objects),
            (bool(wanted.status or wanted.tags or wanted.readers), self._of_verdicts),
        )
        mask = np.ones(len(self._table), dtype=np.bool_)
        for is_set, condition in conditions:
            if is_set:
                mask &= condition()
        return mask

    def _in_spans(self) -> NDArray[np.bool_]:
        table, wanted = self._table, self._wanted
        diameter = np.where(table.diameter >= 0, table.diameter, np.nan)
        mask = np.ones(len(table), dtype=np.bool_)
        for span, column in (
            (wanted.score, table.score),
            (wanted.diameter, diameter),
            (wanted.overlap, table.overlap),
        ):
            if span is not None:
                mask &= span.holds(column)
        return mask

    def _in_words(self) -> NDArray[np.bool_]:
        table, wanted = self._table, self._wanted
        mask = np.ones(len(table), dtype=np.bool_)
        for words, column in (
            (wanted.kinds, table.kind),
            (wanted.causes, table.cause),
            (wanted.labels, table.label),
        ):
            if words:
                mask &= np.logical_or.reduce([column == word for word in words])
        return mask

    def _of_cases(self) -> NDArray[np.bool_]:
        """Decide case by case, of which there are few, and spread that over the rows."""
        cases, codes = self._table.case_names
        decided = np.array([self._case_fits(case) for case in cases], dtype=np.bool_)
        return decided[codes]

    def _case_fits(self, case_id: str) -> bool:
        wanted, context = self._wanted, self._context
        if wanted.case_ids is not None and case_id not in wanted.case_ids:
            return False
        if wanted.text.casefold() not in context.case_names.get(case_id, case_id).casefold():
            return False
        said = context.case_fields.get(case_id, {})
        return all(name in said and _fits(said[name], each) for name, each in wanted.fields.items())

    def _at_places(self) -> NDArray[np.bool_]:
        if self._context.fractions is None:
            return np.zeros(len(self._table), dtype=np.bool_)
        return is_at(self._context.fractions, self._wanted.places)

    def _of_objects(self) -> NDArray[np.bool_]:
        return _is_among(self._table.object_ids, self._wanted.object_ids or frozenset())

    def _of_verdicts(self) -> NDArray[np.bool_]:
        """Decide verdict by verdict; what has none is open, has no tags and no reader."""
        wanted = self._wanted
        fitting = {object_id: self._verdict_fits(said) for object_id, said in self._context.verdicts.items()}
        without = not (wanted.tags or wanted.readers) and OPEN in wanted.status
        ids = self._table.object_ids
        return np.fromiter(
            (fitting.get(object_id, without) for object_id in ids), dtype=np.bool_, count=len(ids)
        )

    def _verdict_fits(self, said: Verdict) -> bool:
        wanted = self._wanted
        return (
            (not wanted.status or JUDGED in wanted.status or said.verdict in wanted.status)
            and (not wanted.tags or not wanted.tags.isdisjoint(said.tags))
            and (not wanted.readers or said.reader in wanted.readers)
        )


def sorted_rows(
    table: ErrorTable, key: SortKey, *, descending: bool = False, context: FilterContext | None = None
) -> NDArray[np.intp]:
    """Return the rows of a table in another order, (n,); equal ones keep theirs.

    Whatever is unknown (a diameter below 0, an overlap of nan, an infinite distance) comes last, either way. Cases go
    by the names that readers see.
    """
    if key == "worst first":
        rows = np.arange(len(table))
        return rows[::-1] if descending else rows
    if key == "case":
        cases, codes = table.case_names
        names = (context or FilterContext()).case_names
        order = sorted(range(len(cases)), key=lambda n: names.get(cases[n], cases[n]))
        rank = np.empty(len(cases))
        rank[order] = np.arange(len(cases))
        values = rank[codes]
    else:
        values = {"score": table.score, "overlap": table.overlap, "distance": table.distance,
                  "size": np.where(table.diameter >= 0, table.diameter, np.nan)}[key]  # fmt: skip
    values = np.where(np.isfinite(values), -values if descending else values, np.inf)
    return np.argsort(values, kind="stable")


def _condition(name: str, part: object) -> object:
    """Return the value of one condition from plain JSON values."""
    if name in SPANS:
        return Span.from_json(part)
    if name == "fields":
        return _fields_from_json(part)
    if name == "text":
        if not isinstance(part, str):
            raise _refused(f"text must be a string, got {part!r}")
        return part
    if not isinstance(part, list) or not all(isinstance(each, str) for each in part):
        raise _refused(f"{name} must be a list of strings, got {part!r}")
    return frozenset(part)


def _fields_from_json(part: object) -> dict[str, frozenset[FieldValue] | Span]:
    if not isinstance(part, dict):
        raise _refused(f"fields must be an object, got {part!r}")
    wanted: dict[str, frozenset[FieldValue] | Span] = {}
    for name, value in part.items():
        if not isinstance(value, dict):
            wanted[name] = Span.from_json(value)
        elif list(value) == ["in"] and isinstance(value["in"], list) and all(map(_is_value, value["in"])):
            wanted[name] = frozenset(value["in"])
        else:
            raise _refused(f'field {name!r} must be [low, high] or {{"in": [values]}}, got {value!r}')
    return wanted


def _fits(value: str | float, wanted: frozenset[FieldValue] | Span) -> bool:
    """Tell whether a field of a case is one of the values, or a number in the span."""
    if isinstance(wanted, Span):
        return not isinstance(value, str) and wanted.low <= value <= wanted.high
    return value in wanted


def _is_value(value: object) -> bool:
    return isinstance(value, str) or _is_number(value)


def _is_end(value: object) -> bool:
    return value is None or _is_number(value)


def _is_number(value: object) -> bool:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    return abs(value) <= sys.float_info.max  # nan is not, and a whole number may have any size


def _is_among(values: list[str], wanted: Collection[str]) -> NDArray[np.bool_]:
    return np.fromiter((value in wanted for value in values), dtype=np.bool_, count=len(values))


def _alternatives(words: Iterable[str]) -> str:
    return " or ".join(words)


def _named(name: str, words: Iterable[str]) -> str:
    joined = _alternatives(sorted(words))
    return f"{name} {joined}" if joined else ""


def _count(ids: Collection[str] | None, noun: str) -> str:
    return "" if ids is None else f"{len(ids)} {noun}{'' if len(ids) == 1 else 's'}"


def _refused(what: str) -> InputRefusedError:
    return InputRefusedError(
        f"This is not a usable filter: {what}.", code="filter", hint="Set the filter anew and save it again."
    )
