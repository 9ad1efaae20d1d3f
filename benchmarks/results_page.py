"""RESULTS.md, made of the records that the benchmarks have written."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from figures import Figure, Growth
from measuring import code_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

__all__ = ["render"]

HEAD = """\
# Results of the benchmarks

Written by `make bench`; [README.md](README.md) says what is measured, and how to read this. The ratio is ours over the
peer's, both measured in the same run, or ours over the limit where there is no peer: below 1 is better, except where the goal
says ≥.
"""


def render(results: Path, scripts: Path, failures: Mapping[str, str]) -> str:
    """Return the page.

    Parameters
    ----------
    results : folder of the records
    scripts : folder of the benchmarks, by which records that are older than their script are known
    failures : what was wrong with the scripts that failed just now, by name
    """
    paths = sorted(results.glob("*.json")) if results.exists() else []
    records = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    figures = [Figure.from_json(f) for record in records for f in record["figures"]]
    growths = [Growth.from_json(g) for record in records for g in record["growths"]]
    sections = [HEAD, _summary(figures, growths)]
    if failures:
        sections.append(
            "\n".join(["## Failed", "", *(f"* `{name}.py` {why}." for name, why in failures.items())]) + "\n"
        )
    areas = dict.fromkeys([figure.area for figure in figures] + [growth.area for growth in growths])
    sections += [_area(area, figures, growths) for area in areas]
    sections.append(_runs(records, scripts))
    return "\n".join(sections)


def _summary(figures: Sequence[Figure], growths: Sequence[Growth]) -> str:
    judged = [figure for figure in figures if figure.met is not None]
    missed = [figure for figure in judged if not figure.met]
    steep = [growth for growth in growths if not growth.is_as_expected]
    lines = [
        f"{len(judged) - len(missed)} of {len(judged)} goals are met; {len(growths) - len(steep)} of {len(growths)} figures "
        "grow no faster with the work than they should."
    ]
    if missed or steep:
        lines += ["", "Not met:", ""]
        lines += [
            f"* {f.area}: {f.what}, {_number(f.ours, f.unit)} (ratio {_ratio(f.ratio)}, goal {_goal(f)})"
            for f in missed
        ]
        lines += [f"* {g.area}: {g.what} grows {g.factors[-1]:.1f} × for a tenfold of {g.of}" for g in steep]
    return "\n".join(lines) + "\n"


def _area(area: str, figures: Sequence[Figure], growths: Sequence[Growth]) -> str:
    lines = [f"## {area}", ""]
    rows = [
        (_cell(f.what, f.how), _number(f.ours, f.unit), _peer(f), _ratio(f.ratio), _goal(f), _sign(f.met))
        for f in figures
        if f.area == area
    ]
    if rows:
        lines += [*_table(("figure", "ours", "peer or limit", "ratio", "goal", "met"), rows), ""]
    grown = [
        (_cell(g.what), f"{' → '.join(map(_size, g.sizes))} {g.of}", " → ".join(_number(v, "") for v in g.figures) + f" {g.unit}",
         ", ".join(f"× {factor:.2g}" for factor in g.factors), g.seen, g.expected, _sign(g.is_as_expected))
        for g in growths if g.area == area
    ]  # fmt: skip
    if grown:
        head = ("as the work grows", "sizes", "ours", "for a tenfold", "seen", "expected at most", "kept")
        lines += [*_table(head, grown), ""]
    return "\n".join(lines)


def _runs(records: Sequence[dict[str, Any]], scripts: Path) -> str:
    rows = [
        (f"`{r['script']}.py`", r["date"][:16].replace("T", " "), _took(r["seconds"]), _machine(r["machine"]),
         "; ".join(_remarks(r, scripts)))
        for r in records
    ]  # fmt: skip
    lines = ["## Runs", "", *_table(("script", "date (UTC)", "took", "machine", "remarks"), rows), ""]
    versions: dict[str, list[str]] = {}
    for record in records:
        for name, version in record["machine"].get("versions", {}).items():
            if version not in versions.setdefault(name, []):
                versions[name].append(version)
    if versions:
        lines.append(
            "Versions: "
            + ", ".join(f"{name} {' and '.join(each)}" for name, each in versions.items())
            + ".\n"
        )
    return "\n".join(lines)


def _took(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.0f} s"


def _machine(facts: Mapping[str, Any]) -> str:
    words = f"{facts['processor']}, {facts['cores']} cores, {facts['memory_gib']} GiB"
    if facts["load_before"] is not None:
        words += f", load {facts['load_before']} before"
    return f"{words}, {facts['commit']}" if facts["commit"] else words


def _remarks(record: Mapping[str, Any], scripts: Path) -> Iterator[str]:
    if record["quick"]:
        yield "**a trial: its figures mean nothing**"
    if not record["is_complete"]:
        yield "**did not come to its end**"
    script = scripts / f"{record['script']}.py"
    if not script.exists() or code_of(script) != record["code"]:
        yield "**older than the script**"
    if record["arguments"]:
        yield ", ".join(f"{name} {value}" for name, value in record["arguments"].items())
    yield from record["notes"]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    cells = [list(head), ["---"] * len(head), *([text.replace("|", "\\|") for text in row] for row in rows)]
    return [f"| {' | '.join(row)} |" for row in cells]


def _cell(what: str, how: str = "") -> str:
    return f"{what} ({how})" if how else what


def _number(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    digits = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{digits} {unit}".rstrip()


def _size(value: float) -> str:
    return f"{value:,.0f}" if value < 1e7 else f"{value:.1e}".replace("e+0", "e").replace("e+", "e")


def _peer(figure: Figure) -> str:
    return f"{figure.peer}: {_number(figure.peer_value, figure.unit)}" if figure.peer else _goal(figure)


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _goal(figure: Figure) -> str:
    return "for information" if figure.goal is None else figure.goal.text(figure.unit)


def _sign(is_met: bool | None) -> str:
    return "" if is_met is None else "yes" if is_met else "**no**"
