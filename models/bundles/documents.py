"""JSON and YAML from elsewhere: bounded in size and depth, nothing ambiguous, nothing that is run."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["MAX_DEPTH", "MAX_DOCUMENT_BYTES", "parse_json", "parse_yaml", "read_document"]

MAX_DOCUMENT_BYTES = 16 << 20
MAX_DEPTH = 64
MAX_YAML_EVENTS = 200_000


def read_document(path: Path, most_bytes: int = MAX_DOCUMENT_BYTES) -> dict[str, Any]:
    """Return the object in a ``.json``, ``.yaml`` or ``.yml`` file.

    Raises
    ------
    ValueError
        Where it is too large or too deep, has a key twice, a number that is not finite, or is no object.
    OSError
        Where it cannot be read.
    """
    if path.is_symlink():
        raise ValueError(f"{path.name} is a link to another file")
    if path.stat().st_size > most_bytes:
        raise ValueError(f"{path.name} is larger than {most_bytes} bytes")
    parse: Callable[[bytes], Any] = parse_yaml if path.suffix in (".yaml", ".yml") else parse_json
    try:
        value = parse(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path.name} holds no object")
    return value


def parse_json(text: bytes) -> Any:  # noqa: ANN401 - any JSON value
    """Return a JSON value.

    Raises
    ------
    ValueError
        Where it is no JSON, nested over 64 levels, has a key twice in one object, or a number that is not finite.
    """
    try:
        value = json.loads(
            text,
            object_pairs_hook=_once,
            parse_constant=_no_constant,
            parse_float=_finite,
            parse_int=_bounded,
        )
    except RecursionError:
        raise ValueError(f"it is nested over {MAX_DEPTH} levels deep") from None
    _check_depth(value)
    return value


def parse_yaml(text: bytes) -> Any:  # noqa: ANN401 - any JSON value
    """Return a YAML value made of JSON's types alone.

    Aliases are refused, because a few lines of them unfold to any size; so are tags, which name Python objects.

    Raises
    ------
    ValueError
        As in :func:`parse_json`.
    """
    import yaml

    depth = 0
    try:
        for count, event in enumerate(yaml.parse(text, Loader=yaml.SafeLoader)):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if isinstance(event, yaml.AliasEvent):
                raise ValueError(f"it uses the alias {event.anchor!r}")
            if getattr(event, "tag", None) is not None:
                raise ValueError(f"it uses the tag {event.tag!r}")
            if depth > MAX_DEPTH or count > MAX_YAML_EVENTS:
                raise ValueError(
                    f"it is nested over {MAX_DEPTH} levels deep, or holds over {MAX_YAML_EVENTS} values"
                )
        _check_keys(yaml.compose(text, Loader=yaml.SafeLoader))
        value = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(" ".join(str(error).split())) from error
    # what YAML knows and JSON does not (dates, sets, numbers as keys) is refused, and so is what is not finite
    try:
        return parse_json(json.dumps(value, allow_nan=False).encode())
    except TypeError as error:
        raise ValueError(str(error)) from error


def _check_keys(node: Any) -> None:  # noqa: ANN401 - a node of yaml, which is imported late
    """Refuse a mapping of YAML that has a key twice, at any depth."""
    if isinstance(node.value if node is not None else None, list):
        pairs = [pair for pair in node.value if isinstance(pair, tuple)]
        _once([(str(key.value), None) for key, _ in pairs])
        for inner in [value for _, value in pairs] or node.value:
            _check_keys(inner)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice[:80]!r} occurs twice")
    return found


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no number")


def _finite(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise ValueError(f"{text[:40]} is not finite")
    return value


def _bounded(text: str) -> int:
    if len(text) > 20:
        raise ValueError(f"{text[:40]}… has {len(text)} digits")
    return int(text)


def _check_depth(value: object) -> None:
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        nested = [inner for outer in level if isinstance(outer, dict | list) for inner in _items(outer)]
        level = [inner for inner in nested if isinstance(inner, dict | list)]
        if not level:
            return
    raise ValueError(f"it is nested over {MAX_DEPTH} levels deep")


def _items(outer: dict[str, Any] | list[Any]) -> list[Any]:
    return list(outer.values()) if isinstance(outer, dict) else outer
