"""Settings read from JSON into frozen dataclasses, with every mistake told at once and by its path."""

from __future__ import annotations

import math
import types
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from napari_medlab.errors import InputRefusedError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["as_plain", "between", "read_part", "read_settings"]

T = TypeVar("T")


def between(
    least: float | None = None,
    most: float | None = None,
    *,
    default: object = MISSING,
    above: float | None = None,
) -> Any:  # noqa: ANN401 - the default of a field of any type
    """Return a dataclass field whose number lies in ``least`` … ``most``, or above ``above``.

    In a tuple, each number does.
    """
    limits = {"least": least, "most": most, "above": above}
    return field(metadata=limits) if default is MISSING else field(default=default, metadata=limits)


def read_settings(kind: type[T], value: object, what: str) -> T:
    """Return a dataclass read from JSON.

    Raises
    ------
    InputRefusedError
        With every mistake and its path, where there is one; ``what`` names the document.
    """
    problems: list[str] = []
    result = read_part(kind, value, "", problems)
    if problems or result is None:
        lines = "\n".join(f"  {problem}" for problem in problems)
        raise InputRefusedError(
            f"{what} cannot be used:\n{lines}", code="settings", hint="Correct these and try again."
        )
    return result


def read_part(kind: type[T], value: object, path: str, problems: list[str]) -> T | None:
    """Return a dataclass read from a part of a document; None after adding to ``problems`` what is wrong with it."""
    if not isinstance(value, dict):
        problems.append(f"{path or 'the document'}: expected an object, got {_shown(value)}")
        return None
    known = {entry.name: entry for entry in fields(kind)}  # type: ignore[arg-type]
    hints = get_type_hints(kind)
    before = len(problems)
    odd = sorted(set(value) - set(known))
    problems += [f"{_join(path, name)}: is not known; known are {', '.join(known)}" for name in odd]
    given: dict[str, Any] = {}
    for name, entry in known.items():
        if name in value:
            given[name] = _read(
                hints[name], value[name], _Place(_join(path, name), dict(entry.metadata), problems)
            )
        elif entry.default is MISSING and entry.default_factory is MISSING:
            problems.append(f"{_join(path, name)}: is missing")
    return kind(**given) if len(problems) == before else None


def as_plain(value: Any) -> Any:  # noqa: ANN401 - a dataclass or any part of one
    """Return a dataclass as JSON values: objects, lists, numbers and texts."""
    if is_dataclass(value) and not isinstance(value, type):
        return as_plain(asdict(value))
    if isinstance(value, dict):
        return {key: as_plain(entry) for key, entry in value.items()}
    if isinstance(value, tuple | list):
        return [as_plain(entry) for entry in value]
    return value


@dataclass(frozen=True)
class _Place:
    """Where a value stands, what its numbers may be, and where mistakes are gathered."""

    path: str
    limits: dict[str, float | None]
    problems: list[str]

    def inside(self, step: str) -> _Place:
        return _Place(self.path + step, self.limits, self.problems)

    def refuse(self, expected: str, value: object) -> None:
        self.problems.append(f"{self.path}: expected {expected}, got {_shown(value)}")


def _read(hint: Any, value: object, place: _Place) -> Any:  # noqa: ANN401 - whatever the field's type is
    if is_dataclass(hint) and isinstance(hint, type):
        return read_part(hint, value, place.path, place.problems)
    origin = get_origin(hint)
    if origin is None:
        return _plain(hint, value, place)
    readers: dict[Any, Callable[[Any, Any, _Place], Any]] = {
        Union: _optional, types.UnionType: _optional, Literal: _choice, tuple: _tuple, dict: _mapping,
    }  # fmt: skip
    return readers[origin](hint, value, place)


def _optional(hint: Any, value: object, place: _Place) -> Any:  # noqa: ANN401
    if value is None:
        return None
    return _read(next(arm for arm in get_args(hint) if arm is not type(None)), value, place)


def _choice(hint: Any, value: object, place: _Place) -> Any:  # noqa: ANN401
    if value not in get_args(hint):
        place.refuse("one of " + ", ".join(map(str, get_args(hint))), value)
    return value


def _tuple(hint: Any, value: object, place: _Place) -> tuple[Any, ...]:  # noqa: ANN401
    arms = get_args(hint)
    if not isinstance(value, list | tuple):
        place.refuse("a list", value)
        return ()
    if arms[-1] is Ellipsis:
        arms = (arms[0],) * len(value)
    elif len(arms) != len(value):
        place.refuse(f"{len(arms)} values", value)
        return ()
    return tuple(
        _read(arm, one, place.inside(f"[{k}]")) for k, (arm, one) in enumerate(zip(arms, value, strict=True))
    )


def _mapping(_hint: Any, value: object, place: _Place) -> dict[str, Any]:  # noqa: ANN401
    if not isinstance(value, dict):
        place.refuse("an object", value)
        return {}
    return value


KINDS: dict[type, tuple[str, tuple[type, ...]]] = {
    bool: ("true or false", (bool,)),
    int: ("a whole number", (int,)),
    float: ("a number", (int, float)),
    str: ("a text", (str,)),
}


def _plain(hint: Any, value: object, place: _Place) -> Any:  # noqa: ANN401
    if hint is Any:
        return value
    words, accepted = KINDS[hint]
    if not isinstance(value, accepted) or (isinstance(value, bool) and hint is not bool):
        place.refuse(words, value)
        return value
    if isinstance(value, int | float) and hint is not bool:
        _check_limits(value, place)
        return hint(value)
    return value


def _check_limits(value: float, place: _Place) -> None:
    least, most, above = (place.limits.get(name) for name in ("least", "most", "above"))
    if not math.isfinite(value):
        place.refuse("a finite number", value)
    if least is not None and value < least:
        place.refuse(f"{least:g} or more", value)
    if above is not None and value <= above:
        place.refuse(f"more than {above:g}", value)
    if most is not None and value > most:
        place.refuse(f"{most:g} or less", value)


def _join(path: str, name: object) -> str:
    return f"{path}.{name}" if path else str(name)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
