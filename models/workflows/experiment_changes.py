"""What of a bundle is not as in the bundle that it was trained from, in words."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["changes_between"]

MOST = 12
LONGEST = 48
PARTS = ("task", "network", "classifier", "preprocessing", "postprocessing", "tiling", "classes")
SETTINGS = ("part", "recipe", "objective", "sampler", "augmentation", "replay_share", "average", "hold_out")
"""What of a training a person chooses."""
SOFTWARE = ("napari-medlab", "torch", "monai", "python", "device", "precision")
PLAIN = re.compile(r"fold:\d{1,4}/\d{1,4}|[A-Za-z0-9._ -]{0,48}")
WORDS = {"replay_share": "replayed share", "average": "share of the parent's weights", "hold_out": "held out"}


def changes_between(parent: Mapping[str, Any] | None, child: Mapping[str, Any]) -> tuple[str, ...]:
    """Return in phrases what changed from a bundle's spec to that of one trained from it, the most telling first.

    Parameters
    ----------
    parent : dict or None
        None where there is none, or its files are not here: then only what the child was trained on is told.
    child : dict

    Returns
    -------
    tuple of str
        At most twelve, and one that counts the rest. Empty where nothing is said of the training.
    """
    own = _training(child)
    if parent is None:
        return tuple(_trained_on({}, own))
    before = _training(parent)
    found = [*_trained_on(before, own)]
    found += _differences({key: parent.get(key) for key in PARTS}, {key: child.get(key) for key in PARTS})
    if _is_alike(before, own):
        found += _differences(
            {key: before.get(key) for key in SETTINGS}, {key: own.get(key) for key in SETTINGS}
        )
        found += _software(before.get("environment") or {}, own.get("environment") or {})
    else:
        found += _recipe(own.get("recipe") or {})
    rest = len(found) - MOST
    return tuple(found if rest <= 0 else [*found[:MOST], f"{rest} further settings"])


def _training(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a spec says of its training; a configuration's parts stand where those of a fine-tuning do."""
    told = dict(spec.get("training") or {})
    configuration = told.get("configuration")
    if isinstance(configuration, dict):
        told = {**{key: configuration[key] for key in SETTINGS if key in configuration}, **told}
    return told


def _is_alike(before: Mapping[str, Any], own: Mapping[str, Any]) -> bool:
    """Tell whether both were trained in the same way, so that their settings can be told apart one by one."""
    return ("packages" in before) == ("packages" in own) and bool(before.get("recipe"))


def _trained_on(before: Mapping[str, Any], own: Mapping[str, Any]) -> Iterator[str]:
    packages = _hashes(own.get("packages"))
    if packages:
        new = [each for each in packages if each not in _hashes(before.get("packages"))]
        examples = own.get("examples")
        held = f" with {examples:,} examples" if isinstance(examples, int) else ""
        fresh = f", {len(new)} of them new" if len(new) < len(packages) else ""
        yield f"trained further on {_counted(len(packages), 'package')}{held}{fresh}"
    elif isinstance(own.get("samples"), int):
        other = " (others)" if before.get("data") and before.get("data") != own.get("data") else ""
        yield f"trained on {_counted(own['samples'], 'sample')}{other}"


def _recipe(recipe: Mapping[str, Any]) -> Iterator[str]:
    """Say the settings that matter most of a training that cannot be held against the one before."""
    for name in ("steps", "learning_rate", "batch_size", "seed"):
        if isinstance(recipe.get(name), int | float):
            yield f"{_words(name)} {_shown(recipe[name])}"


def _software(before: Mapping[str, Any], own: Mapping[str, Any]) -> Iterator[str]:
    for name in SOFTWARE:
        if before.get(name) and own.get(name) and before[name] != own[name]:
            yield f"{name} {_shown(before[name])} → {_shown(own[name])}"
    if before.get("code_sha256") and own.get("code_sha256") and before["code_sha256"] != own["code_sha256"]:
        yield "the code was changed"


def _differences(before: object, own: object, name: str = "") -> list[str]:
    """Return in phrases where two JSON values differ; what one of them lacks is none."""
    if before == own:
        return []
    if isinstance(before, dict) and isinstance(own, dict):
        return [
            phrase
            for key in sorted({*before, *own})
            for phrase in _differences(before.get(key), own.get(key), f"{name} {_words(key)}".strip())
        ]
    texts = _shown(before), _shown(own)
    if max(map(len, texts)) > LONGEST or not (_is_plain(before) and _is_plain(own)):
        return [f"{name} changed"]
    return [f"{name} {texts[0]} → {texts[1]}"]


def _is_plain(value: object) -> bool:
    """Tell whether a setting holds numbers and short words alone: anything else may be a path, or a note that says a name."""
    if isinstance(value, dict):
        return all(map(_is_plain, value.values()))
    if isinstance(value, list):
        return all(map(_is_plain, value))
    return PLAIN.fullmatch(value) is not None if isinstance(value, str) else True


def _shown(value: object) -> str:
    if value is None or value in ({}, []):
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, dict) and isinstance(value.get("name"), str):
        return str(value["name"])
    return value if isinstance(value, str) else json.dumps(value)


def _words(name: str) -> str:
    return WORDS.get(name, name.replace("_", " "))


def _hashes(value: object) -> list[str]:
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
