"""A MONAI bundle's configuration as plain data: what is code in it is found by name, and never run."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from napari_medlab.models.bundles.monai_transforms import PASSED_OVER, TRANSLATED, transform_name
from napari_medlab.models.networks.monai_networks import monai_name

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["IS_CODE", "code_in", "resolve"]

IS_CODE = "$"
FILE_MACRO = "%"
CODE_KEYS = ("imports", "import", "_imports_", "_requires_")
MAX_LISTED = 200
MAX_RESOLVED = 50_000
PLAIN_REFERENCE = re.compile(r"@[A-Za-z0-9_]+(?:(?:#|::)[A-Za-z0-9_]+)*")
SEPARATOR = re.compile(r"#|::")

COMPONENTS = frozenset({
    "CacheDataset", "CheckpointLoader", "CheckpointSaver", "CSVSaver", "DataLoader", "Dataset", "Evaluator",
    "MeanDice", "PatchWSIDataset", "PersistentDataset", "SimpleInferer", "SlidingWindowHoVerNetInferer",
    "SlidingWindowInferer", "SlidingWindowInfererAdapt", "StatsHandler", "SupervisedEvaluator", "ThreadDataLoader",
    "ValidationHandler", "WSIReader",
})  # fmt: skip
"""Parts of MONAI that a configuration may name, and that an import has no need of."""

OWN = "napari_medlab.models."


def code_in(document: dict[str, Any]) -> list[str]:
    """Return everything in a configuration that MONAI would run, each with its place; at most 200.

    These are strings that begin with ``$``, imports and requirements, and every ``_target_`` that is not in one of the
    closed tables of networks, transforms and components.
    """
    found: list[str] = []
    for place, key, value in _walk(document, ""):
        if len(found) >= MAX_LISTED:
            break
        if key in CODE_KEYS:
            found.append(f"{place} = {str(value)[:60]!r}")
        elif isinstance(key, str) and key.startswith((IS_CODE, FILE_MACRO)):
            found.append(f"{place} = {key[:60]!r}")
        elif isinstance(value, str) and value.lstrip().startswith((IS_CODE, FILE_MACRO)):
            found.append(f"{place} = {value[:60]!r}")
        elif (key == "_target_" or str(key).endswith("_target_")) and not _is_known(value):
            found.append(f"{place} = {str(value)[:60]!r}")
    return found


def resolve(document: dict[str, Any], value: object, *, trail: tuple[str, ...] = ()) -> Any:  # noqa: ANN401 - any JSON value
    """Return a value of a configuration with its references to other values replaced by these.

    Raises
    ------
    ValueError
        Where it holds code, refers to what is not there, to itself, or grows beyond measure.
    """
    budget = [MAX_RESOLVED]
    return _resolve(document, value, trail, budget)


def _resolve(document: dict[str, Any], value: object, trail: tuple[str, ...], budget: list[int]) -> Any:  # noqa: ANN401
    budget[0] -= 1
    if budget[0] < 0:
        raise ValueError(f"its references unfold to over {MAX_RESOLVED} values")
    if isinstance(value, dict):
        if odd := [key for key in value if key in CODE_KEYS or key.startswith(IS_CODE)]:
            raise ValueError(f"it holds {odd[0]!r}, which is code")
        if value.get("_mode_", "default") != "default":
            raise ValueError(f"it has the mode {value['_mode_']!r}, which is code")
        return {key: _resolve(document, inner, trail, budget) for key, inner in value.items()}
    if isinstance(value, list):
        return [_resolve(document, inner, trail, budget) for inner in value]
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith((IS_CODE, FILE_MACRO)):
        raise ValueError(f"it holds {value[:60]!r}, which is code")
    if not value.startswith("@"):
        return value
    if PLAIN_REFERENCE.fullmatch(value) is None or value in trail or len(trail) > 20:
        raise ValueError(f"it refers to {value[:60]!r}, which is not to be resolved")
    return _resolve(document, _at(document, value[1:]), (*trail, value), budget)


def _at(document: dict[str, Any], place: str) -> object:
    found: object = document
    for part in SEPARATOR.split(place):
        if isinstance(found, dict) and part in found:
            found = found[part]
        elif isinstance(found, list) and part.isdigit() and int(part) < len(found):
            found = found[int(part)]
        else:
            raise ValueError(f"it refers to {place[:60]!r}, which is not there")
    return found


def _is_known(target: object) -> bool:
    if not isinstance(target, str):
        return False
    name = transform_name(target)
    is_part = target.rpartition(".")[2] in COMPONENTS and target.rpartition(".")[0].split(".")[0] in (
        "",
        "monai",
    )
    return (
        monai_name(target) is not None
        or name in TRANSLATED
        or name in PASSED_OVER
        or is_part
        or own_network(target) is not None
    )


def own_network(target: str) -> str | None:
    """Return the name in our own table of networks for a ``_target_`` that an export of ours wrote; or None."""
    from napari_medlab.models.networks import NETWORKS

    if not target.startswith(OWN):
        return None
    return next((name for name, place in NETWORKS.items() if ".".join(place) == target), None)


def _walk(value: object, place: str) -> Iterator[tuple[str, object, object]]:
    """Yield every place of a document, what it is called there, and what lies there."""
    if isinstance(value, dict):
        inner: list[tuple[object, object]] = list(value.items())
    elif isinstance(value, list):
        inner = list(enumerate(value))
    else:
        return
    for key, one in inner:
        below = f"{place}#{str(key)[:60]}" if place else str(key)[:60]
        yield below, key, one
        yield from _walk(one, below)
