"""What ``bundle.json`` says, which schemas are read, and everything that is wrong with one."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

from napari_medlab.models.bundles.arguments import problems_of_arguments
from napari_medlab.models.preprocessing import Preprocessing

__all__ = ["NAME", "SCHEMA", "TASKS", "problems_of_spec", "spec_hash"]

SCHEMA = 2
"""The schema that is written; every older one is read."""

TASKS = ("detection", "segmentation", "classification")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""Names become parts of paths."""

MAX_CLASSES = 1024
MAX_LABEL = 256
DIGEST = re.compile(r"[0-9a-f]{64}")

REQUIRED: dict[str, type | tuple[type, ...]] = {
    "name": str, "task": str, "network": dict, "preprocessing": dict, "postprocessing": dict, "classes": list,
    "weights_sha256": str,
}  # fmt: skip
OPTIONAL: dict[str, type | tuple[type, ...]] = {
    "tiling": dict, "classifier": (dict, type(None)), "training": dict, "parent": (str, type(None)), "figures": dict,
    "licence": str, "limits": (str, list), "purpose": str, "created": str,
}  # fmt: skip
CLASSIFIER: dict[str, type | tuple[type, ...]] = {
    "network": dict, "spacing_mm": (int, float), "shape": list, "window": list, "fusion": dict,
}  # fmt: skip


def spec_hash(spec: dict[str, Any]) -> str:
    """Return the address of a spec: SHA-256 of its canonical JSON."""
    canonical = json.dumps(spec, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def problems_of_spec(spec: dict[str, Any]) -> list[str]:
    """Return everything that keeps a spec from being used, in words; none where it can be.

    Schema 1 lacks ``tiling``, ``classifier`` and ``purpose``, and is otherwise the same.
    """
    schema = spec.get("schema", 1)
    if type(schema) is not int or not 1 <= schema <= SCHEMA:
        return [
            f"its schema is {str(schema)[:40]!r}, and this version reads 1 to {SCHEMA}: it was written by a newer version"
        ]
    missing = sorted(set(REQUIRED) - set(spec))
    if missing:
        return [f"it lacks {', '.join(missing)}"]
    if odd := _of_wrong_kind(spec, REQUIRED | OPTIONAL):
        return [f"{', '.join(odd)} {'is' if len(odd) == 1 else 'are'} of the wrong kind"]
    return [
        *_problems_of_words(spec),
        *_problems_of_network("network", spec["network"]),
        *_problems_of_preprocessing(spec["preprocessing"]),
        *_problems_of_classifier(spec.get("classifier")),
    ]


def _of_wrong_kind(spec: dict[str, Any], kinds: dict[str, type | tuple[type, ...]]) -> list[str]:
    return sorted(key for key, kind in kinds.items() if key in spec and not isinstance(spec[key], kind))


def _problems_of_words(spec: dict[str, Any]) -> list[str]:
    problems = []
    if NAME.fullmatch(spec["name"]) is None:
        problems.append(f"its name {spec['name'][:80]!r} is not made of letters, digits, '.', '_' and '-'")
    if spec["task"] not in TASKS:
        problems.append(f"its task {spec['task'][:40]!r} is none of {', '.join(TASKS)}")
    if DIGEST.fullmatch(spec["weights_sha256"]) is None:
        problems.append("weights_sha256 is no SHA-256")
    parent = spec.get("parent")
    if parent is not None and DIGEST.fullmatch(parent) is None:
        problems.append("parent is no SHA-256")
    classes = spec["classes"]
    if not 0 < len(classes) <= MAX_CLASSES:
        problems.append(f"it names {len(classes)} classes")
    elif not all(
        isinstance(label, str) and 0 < len(label) <= MAX_LABEL and label.isprintable() for label in classes
    ):
        problems.append(f"a class is no text of 1 to {MAX_LABEL} printable characters")
    elif len(set(classes)) < len(classes):
        problems.append("a class occurs twice")
    return problems


def _problems_of_network(where: str, network: dict[str, Any]) -> list[str]:
    if not isinstance(network.get("name"), str) or not isinstance(network.get("arguments"), dict):
        return [f"{where} holds no name, or no arguments"]
    return [f"{where}: {problem}" for problem in problems_of_arguments(network["arguments"])]


def _problems_of_preprocessing(value: dict[str, Any]) -> list[str]:
    try:
        Preprocessing.from_json(value)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        return [f"preprocessing is not usable: {error!r}"]
    return []


def _problems_of_classifier(classifier: dict[str, Any] | None) -> list[str]:
    if classifier is None:
        return []
    if missing := sorted({"network", "spacing_mm", "shape"} - set(classifier)):
        return [f"classifier lacks {', '.join(missing)}"]
    if odd := _of_wrong_kind(classifier, CLASSIFIER):
        return [f"classifier: {', '.join(odd)} {'is' if len(odd) == 1 else 'are'} of the wrong kind"]
    return _problems_of_network("classifier", classifier["network"])
