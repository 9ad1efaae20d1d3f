"""Reading configurations: rows of the files that come with the application, and files of anybody's own."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from napari_medlab.errors import InputRefusedError
from napari_medlab.models.bundles.documents import read_document
from napari_medlab.models.training.configuration import Configuration

__all__ = ["changed", "list_configurations", "read_configuration", "whole_document"]

FOLDER = Path(__file__).parent
ROW = {"name", "note", "base", "change"}
"""What a row holds that is based on another."""

DEEPEST = 32
"""So many configurations may be based one on the other."""


def list_configurations() -> dict[str, str]:
    """Return the names of the configurations that come with the application and what each tries, in their order."""
    return {name: str(row.get("note", "")) for name, row in _rows().items()}


def read_configuration(name_or_path: str | Path) -> Configuration:
    """Return a configuration by its name, or from a JSON file, which may be based on one with a name.

    Raises
    ------
    InputRefusedError
        Where there is none, or with everything that is wrong with it and where.
    """
    return Configuration.from_json(whole_document(_found(name_or_path)))


def whole_document(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row with everything that it is based on.

    Raises
    ------
    InputRefusedError
        Where a base does not exist, or is based on itself.
    """
    steps = [row]
    while "base" in steps[-1]:
        if odd := sorted(set(steps[-1]) - ROW):
            raise InputRefusedError(
                f"The configuration {steps[-1].get('name')!r} is based on another and holds {', '.join(odd)} besides.",
                code="configuration", hint='Put what differs into "change".',
            )  # fmt: skip
        if len(steps) > DEEPEST:
            raise InputRefusedError(
                f"The configuration {row.get('name')!r} is based on itself.", code="configuration"
            )
        steps.append(_named(steps[-1]["base"]))
    document = steps.pop()
    for step in reversed(steps):
        document = changed(document, step.get("change", {}))
        document |= {"name": step.get("name", document.get("name")), "note": step.get("note", "")}
    return document


def changed(base: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """Return an object with some of it changed; see the package for the rules."""
    result = dict(base)
    for key, value in change.items():
        old = base.get(key)
        if isinstance(old, list) and isinstance(value, dict) and set(value) == {"append"}:
            result[key] = [*old, *value["append"]]
        elif (
            isinstance(old, dict)
            and isinstance(value, dict)
            and value.get("name", old.get("name")) == old.get("name")
        ):
            result[key] = changed(old, value)
        else:
            result[key] = value
    return result


def _found(name_or_path: str | Path) -> dict[str, Any]:
    path = Path(name_or_path)
    if path.suffix != ".json":
        return _named(str(name_or_path))
    try:
        return read_document(path)
    except (OSError, ValueError) as error:
        raise InputRefusedError(
            f"{path} is no readable configuration: {error}", code="configuration"
        ) from error


def _named(name: object) -> dict[str, Any]:
    rows = _rows()
    if name not in rows:
        raise InputRefusedError(
            f"There is no configuration called {name!r}; there are {', '.join(rows)}.", code="unknown-configuration",
            hint="Give one of these names, or a .json file.",
        )  # fmt: skip
    return rows[str(name)]


@lru_cache(maxsize=1)
def _rows() -> dict[str, dict[str, Any]]:
    rows = [row for path in sorted(FOLDER.glob("*.json")) for row in read_document(path)["rows"]]
    return {row["name"]: row for row in rows}
