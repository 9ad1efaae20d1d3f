"""What of each kind of edit may be handed on: lists of what is kept, so that what nobody thought of stays behind."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.errors import InputRefusedError
from napari_medlab.geometry import Grid
from napari_medlab.project.edits import body_digest, canonical
from napari_medlab.project.keep_lists import (
    FORMATS,
    IMAGE_KINDS,
    METRICS,
    MODALITIES,
    NEEDS,
    ORIGINS,
    RANDOM,
    VIEWS,
    WORD,
    Keys,
    case_fields,
    conditions,
    figures,
    floats,
    one_of,
    when,
)
from napari_medlab.project.records import SPLITS, VERDICTS
from napari_medlab.project.region_columns import pack_regions, table_of, unpack_regions
from napari_medlab.project.schema import REMOVED

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["shareable"]

BATCH = re.compile(r"\d{1,4}")
"""The name of a batch that is just its number; one of more digits may be somebody's."""


def shareable(kind: str, payload: dict[str, Any], keys: Keys) -> dict[str, Any]:
    """Return what of an edit's payload may be handed on.

    Labels, comments, tags, conclusions and the names of models are kept as they are: nothing can tell what people wrote
    there. The titles of groups are left out; of the free columns of cases and of filters only what
    :func:`~napari_medlab.project.keep_lists.case_fields` and :func:`~napari_medlab.project.keep_lists.conditions` know.
    """
    return KEPT[kind](payload, keys)


def _case(payload: dict[str, Any], keys: Keys) -> dict[str, Any]:
    case_id = keys.of(payload["case_id"])
    fingerprint = payload["fingerprint"]
    return {
        "case_id": case_id,
        "path": "",
        "name": case_id,
        "kind": one_of(payload["kind"], IMAGE_KINDS) or IMAGE_KINDS[0],
        "modality": one_of(payload["modality"], MODALITIES),
        "patient_key": keys.of(payload["patient_key"]),
        "split": one_of(payload["split"], SPLITS),
        "frozen": bool(payload["frozen"]),
        "fingerprint": fingerprint
        if isinstance(fingerprint, str) and RANDOM.fullmatch(fingerprint)
        else None,
        "grid": _grid(payload["grid"]),
        "decisions": _decisions(payload.get("decisions", {})),
        "exam_key": keys.of(payload.get("exam_key", "")),
        "view": one_of(payload.get("view", ""), VIEWS),
        "fields": case_fields(payload.get("fields", {})),
        "lineage": [],
    }


def _grid(value: dict[str, Any] | None) -> dict[str, Any] | None:
    if value is None:
        return None
    try:
        return Grid.from_json(value).as_json()
    except (KeyError, TypeError, ValueError):
        return None


def _decisions(value: dict[str, Any]) -> dict[str, Any]:
    from dataclasses import replace

    from napari_medlab.images import Decisions

    try:
        return replace(Decisions.from_json(value), series_uid="").as_json()
    except InputRefusedError:
        return {}


def _findings(payload: dict[str, Any], keys: Keys) -> dict[str, Any]:
    return {"findings": [_finding(row, keys) for row in payload["findings"]]}


def _finding(row: dict[str, Any], keys: Keys) -> dict[str, Any]:
    return {
        "case_id": keys.of(row["case_id"]),
        "centre": floats(row["centre"]),
        "diameter": float(row["diameter"]),
        "label": row["label"],
        "is_excluded": bool(row["is_excluded"]),
        "finding_id": keys.of(row["finding_id"]),
    }


def _run(payload: dict[str, Any], keys: Keys) -> dict[str, Any]:
    configuration = figures(payload["configuration"])
    model = payload["configuration"].get("model")
    digest = payload["configuration"].get("predictions_sha256")
    if isinstance(model, str) and WORD.fullmatch(model):
        configuration["model"] = model
    if isinstance(digest, str) and RANDOM.fullmatch(digest):
        configuration["predictions_sha256"] = digest
    return {
        "run_id": keys.of(payload["run_id"]),
        "bundle_hash": keys.of(payload["bundle_hash"]),
        "configuration": configuration,
        "created": when(payload["created"]),
    }


def _candidates(payload: dict[str, Any], keys: Keys) -> dict[str, Any]:
    return {
        "run_id": keys.of(payload["run_id"]),
        "batch": int(payload["batch"]),
        "ndim": int(payload["ndim"]),
        "ids": [keys.of(one) for one in payload["ids"]],
        "labels": payload["labels"],
        "centres": [floats(centre) for centre in payload["centres"]],
        "scores": floats(payload["scores"]),
        "diameters": floats(payload["diameters"]),
    }


def _case_done(payload: dict[str, Any], keys: Keys) -> dict[str, Any]:
    return {"run_id": keys.of(payload["run_id"]), "seconds": float(payload["seconds"])}


def _run_done(payload: dict[str, Any], keys: Keys) -> dict[str, Any]:
    return {"run_id": keys.of(payload["run_id"])}


def _verdict(payload: dict[str, Any], keys: Keys) -> dict[str, Any]:
    kept = {
        "run_id": keys.of(payload["run_id"]),
        "object_id": keys.of(payload["object_id"]),
        **_seat(payload),
    }
    return {**kept, **{side: _decided(payload[side]) for side in ("before", "after")}}


def _seat(payload: dict[str, Any]) -> dict[str, Any]:
    """Return whose an edit is; edits of older versions do not say."""
    return {name: bool(payload[name]) for name in ("adjudicated",) if name in payload}


def _correction(payload: dict[str, Any], keys: Keys) -> dict[str, Any]:
    sides = {side: payload[side] for side in ("before", "after")}
    return {
        "finding_id": keys.of(payload["finding_id"]),
        **_seat(payload),
        **{side: None if value is None else _finding(value, keys) for side, value in sides.items()},
    }


def _regions(payload: dict[str, Any], keys: Keys) -> dict[str, Any]:
    """Return a batch of outlines, taken apart and put together again."""
    from dataclasses import replace

    table = table_of("", unpack_regions(payload))
    ids, owner_ids = (
        np.asarray([keys.of(one.decode()) for one in column.tolist()], dtype="S32")
        for column in (table.ids, table.owner_ids)
    )
    batch = payload["batch"]
    return {
        "batch": batch if BATCH.fullmatch(batch) else keys.of(batch),
        "run_id": keys.of(payload["run_id"]),
        **pack_regions(replace(table, ids=ids, owner_ids=owner_ids)),
    }


def _filter(payload: dict[str, Any], keys: Keys) -> dict[str, Any]:
    sides = {side: payload[side] for side in ("before", "after")}
    kept = {side: None if value is None else conditions(value, keys) for side, value in sides.items()}
    return {"name": keys.of(payload["name"]), **kept}


def _fields(payload: dict[str, Any], keys: Keys) -> dict[str, Any]:
    return {side: case_fields(payload[side]) for side in ("before", "after")}


def _group(payload: dict[str, Any], keys: Keys) -> dict[str, Any]:
    parts = [
        {
            "kind": part["kind"],
            "payload": shareable(part["kind"], part["payload"], keys),
            "case_id": keys.of_optional(part["case_id"]),
        }
        for part in payload["edits"]
    ]
    return {"title": "", "edits": parts}


def _decided(value: dict[str, Any] | None) -> dict[str, Any] | None:
    if value is None:
        return None
    return {
        "verdict": one_of(value["verdict"], VERDICTS),
        "comment": str(value["comment"]),
        "tags": [str(tag) for tag in value["tags"]],
    }


def _region(payload: dict[str, Any], keys: Keys) -> dict[str, Any]:
    kept: dict[str, Any] = {"region_id": keys.of(payload["region_id"]), **_seat(payload)}
    for side in ("before", "after"):
        outline = _outline(payload[side], keys)
        kept[side] = outline
        kept[f"{side}_digest"] = body_digest(canonical(outline).encode()) if outline is not None else None
    return kept


def _outline(value: dict[str, Any] | None, keys: Keys) -> dict[str, Any] | None:
    if value is None:
        return None
    return {
        **{name: keys.of(value[name]) for name in ("region_id", "case_id", "owner_id")},
        "label": value["label"],
        "rings": [[floats(vertex) for vertex in ring] for ring in value["rings"]],
    }


def _bundle(payload: dict[str, Any], keys: Keys) -> dict[str, Any]:
    digest = keys.of(payload["hash"])
    return {
        "hash": digest,
        "path": keys.bundles.get(digest, ""),
        "name": payload["name"] if WORD.fullmatch(payload["name"]) else digest[:12],
        "parent": keys.of_optional(payload["parent"]),
        "origin": one_of(payload["origin"], ORIGINS),
        "figures": figures(payload["figures"]),
    }


def _current(payload: dict[str, Any], keys: Keys) -> dict[str, Any]:
    return {side: keys.of_optional(payload[side]) for side in ("before", "after")}


def _export(payload: dict[str, Any], keys: Keys) -> dict[str, Any]:
    return {
        "path": "",
        "format": one_of(payload["format"], FORMATS),
        "manifest_digest": keys.of(payload["manifest_digest"]),
        "edit_ids": [int(edit) for edit in payload["edit_ids"]],
    }


def _judgement(payload: dict[str, Any], keys: Keys) -> dict[str, Any]:
    """Return a judgement without its sentence: that is written from the figures, which are kept."""
    rule = payload["rule"]
    words = {"metric": one_of(rule.get("metric"), METRICS), "needs": one_of(rule.get("needs"), NEEDS)}
    return {
        **{
            name: keys.of(payload[name])
            for name in ("bundle_hash", "against_hash", "run_id", "against_run_id")
        },
        "rule": {**figures(rule), **{name: word for name, word in words.items() if word}},
        "figures": figures(payload["figures"]),
        "may_publish": bool(payload["may_publish"]),
        "reason": "",
    }


def _conclusion(payload: dict[str, Any], keys: Keys) -> dict[str, Any]:
    return {"about": keys.of(payload["about"]), **{side: str(payload[side]) for side in ("before", "after")}}


def _removal(payload: dict[str, Any], _keys: Keys) -> dict[str, Any]:
    """Return a removal without what it vouches for: what is left of an edit is an entry as any other in the copy."""
    judged = {str(int(name)): int(count) for name, count in payload["judgements"].items()}
    counts = {word: int(count) for word, count in payload["counts"].items()}
    return {"cases": [], "edits": {}, "judgements": judged, "counts": counts}


KEPT: dict[str, Callable[[dict[str, Any], Keys], dict[str, Any]]] = {
    "case.add": _case,
    "finding.add": _findings,
    "run.add": _run,
    "candidates.add": _candidates,
    "run.case_done": _case_done,
    "run.finish": _run_done,
    "verdict.set": _verdict,
    "regions.add": _regions,
    "region.set": _region,
    "finding.set": _correction,
    "filter.set": _filter,
    "case.fields": _fields,
    "group": _group,
    "bundle.add": _bundle,
    "bundle.current": _current,
    "export.add": _export,
    "judgement.add": _judgement,
    "conclusion.set": _conclusion,
    "case.remove": _removal,
    REMOVED: lambda _payload, _keys: {},
}
"""For each kind of edit, what makes the payload that is handed on."""
