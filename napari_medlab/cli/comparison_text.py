"""What ``napari-medlab compare`` prints for people: both figures, their difference, and how many lesions make it up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_medlab.cli.tables import plain_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["comparison_text"]


def comparison_text(said: Mapping[str, Any], names: Sequence[str]) -> str:
    """Return the document of ``compare`` as text.

    Parameters
    ----------
    said : mapping
        What is printed with ``--json``.
    names : sequence of two str
        What the models, or runs, are called.
    """
    counts, difference, point = said["counts"], said["difference"], said["operating_point"]
    rows = [
        [
            key,
            name,
            _figure(said[key]["cpm"], said[key]["interval"].get("cpm")),
            str(counts[f"tp_{key}"]),
            str(counts[f"fp_{key}"]),
        ]
        for key, name in zip("ab", names, strict=True)
    ]
    p_value = "" if difference["p_value"] is None else f", p = {difference['p_value']:.3g}"
    split = f" of the {said['split']} split" if "split" in said else ""
    lines = [
        f"{said['a']['cases']} cases{split} with {said['a']['findings']} findings",
        "",
        plain_table(
            ("", "model", "CPM", f"found at {point['fp_per_scan']:g} fp/scan", "false positives"), rows
        ),
        "",
        *_dice(said.get("dice")),
        f"difference of the CPM, b less a: {_figure(difference['cpm'], difference['interval'], signed=True)}{p_value}",
        f"findings: {counts['fixed']} fixed, {counts['regressed']} regressed, {counts['still_missed']} still missed",
        f"false positives: {counts['new_false_positive']} new, {counts['removed_false_positive']} removed",
        *([f"report: {said['report']}"] if "report" in said else []),
    ]
    return "\n".join(lines)


def _dice(dice: Mapping[str, Any] | None) -> list[str]:
    """Return how well the outlines agree with the reference's, where there are any."""
    if dice is None:
        return []
    difference = _figure(dice["difference"], dice["interval"], signed=True)
    means = " → ".join(_figure(dice[key], None) for key in "ab")
    return [f"Dice of the outlines, mean over cases: {means}, difference {difference}"]


def _figure(value: float | None, interval: Sequence[float] | None, *, signed: bool = False) -> str:
    """Return ``0.712 (0.650 to 0.771)``; a figure that does not exist is a dash."""
    if value is None:
        return "–"
    form = "{:+.3f}" if signed else "{:.3f}"
    ends = "" if interval is None else f" ({form.format(interval[0])} to {form.format(interval[1])})"
    return form.format(value) + ends
