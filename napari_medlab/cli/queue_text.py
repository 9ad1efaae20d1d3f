"""What ``napari-medlab queue`` prints for people: the first rows as a table, and how many more there are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_medlab.cli.tables import plain_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["queue_text"]

UNITS = {"mm": "mm", "um": "µm", "px": "px"}


def queue_text(said: Mapping[str, Any], units: Mapping[str, str], top: int | None) -> str:
    """Return the document of ``queue`` as text.

    Parameters
    ----------
    said : mapping
        What is printed with ``--json``.
    units : mapping of str to str
        The unit of world coordinates of each case, ``"mm"``, ``"um"`` or ``"px"``, by its id.
    top : int or None
        How many rows are shown; None for all.
    """
    items = said["items"]
    head = (
        f"{len(items)} errors of {said['model'] or 'the run'} (run {said['run_id']}) at {said['fp_per_scan']:g} "
        "false positives per scan, worst first"
    )
    parts = [head, *_first(_error_rows(items, units), top)]
    if "cases" in said:
        parts += [f"\n{len(said['cases'])} unread cases, in the order to read them in",
                  *_first(_case_rows(said["cases"]), top)]  # fmt: skip
    return "\n".join(parts)


def _first(table: tuple[Sequence[str], list[list[str]]], top: int | None) -> list[str]:
    heads, rows = table
    if not rows:
        return []
    left = 0 if top is None else max(0, len(rows) - top)
    more = [f"and {left} more: --top all"] if left else []
    return ["", plain_table(heads, rows[:top]), *more]


def _error_rows(
    items: Sequence[Mapping[str, Any]], units: Mapping[str, str]
) -> tuple[Sequence[str], list[list[str]]]:
    heads, rows = ["rank", "kind", "score", "size", "case", "place"], []
    is_judged = any(item["verdict"] for item in items)
    for rank, item in enumerate(items, start=1):
        unit = UNITS.get(units.get(item["case_id"], ""), "")
        size = f"{item['diameter']:.1f} {unit}" if item["diameter"] >= 0 else ""
        place = f"{' '.join(f'{value:.1f}' for value in item['centre'])} {unit}"
        verdict = [item["verdict"] or ""] if is_judged else []
        rows.append([str(rank), item["kind"], _figure(item), size, item["case"], place, *verdict])
    return [*heads, *(["verdict"] if is_judged else [])], rows


def _figure(item: Mapping[str, Any]) -> str:
    """Return the score; of an outline how well it fits."""
    return f"{item['score']:.2f}" if item["overlap"] is None else f"Dice {item['overlap']:.2f}"


def _case_rows(cases: Sequence[Mapping[str, Any]]) -> tuple[Sequence[str], list[list[str]]]:
    heads = ("rank", "case", "doubt", "errors to expect", "candidates")
    rows = [
        [str(rank), case["case"], f"{case['doubt']:.2f}", f"{case['expected_errors']:.1f}", str(case["candidates"])]
        for rank, case in enumerate(cases, start=1)
    ]  # fmt: skip
    return heads, rows
