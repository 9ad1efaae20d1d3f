"""Closed tables of parts that configurations name, each built from its plain JSON settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from napari_medlab.errors import InputRefusedError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["build_part"]

T = TypeVar("T")


def build_part(table: Mapping[str, type[T]], given: Mapping[str, Any], what: str) -> T:
    """Return the part that ``given`` names, such as ``{"name": "focal", "gamma": 2.0}``.

    Parameters
    ----------
    table : what may be named
    given : the name under ``"name"``, and the settings of that part; what it does not set stays as it is by default
    what : what such a part is called in messages, as in "a matcher"

    Raises
    ------
    InputRefusedError
        Where nothing of that name is in the table, or a setting is unknown or out of its range.
    """
    settings = dict(given)
    name = settings.pop("name", None)
    if not isinstance(name, str) or name not in table:
        known = ", ".join(sorted(table))
        raise InputRefusedError(
            f"There is no {what} called {name!r}.", code="unknown-part", hint=f"Known are {known}."
        )
    try:
        return table[name](**settings)
    except (TypeError, ValueError) as error:
        raise InputRefusedError(
            f"The settings {settings!r} do not fit the {what} {name!r}: {error}.", code="part-settings"
        ) from error
