"""Write into docs/trust.md what was tried on each promise, what it survived, and how the control failed.

The tests that prove a promise note it, line by line, in the file that ``MEDLAB_TRUST_RECORD`` names. ``make test-all`` runs
them, and then this::

    python scripts/write_trust_table.py RECORD [PAGE]

A promise of which there is no record is listed as not tried. The exit status is 1 where one was not tried, did not survive
everything, or has no control that failed.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parent.parent / "docs" / "trust.md"
BENCHMARK = "measured by `make bench`"


@dataclass(frozen=True)
class Promise:
    """A row of a table.

    Parameters
    ----------
    name : what the tests call it
    text : what the page says
    benchmark : whether it is a figure of time, which ``make bench`` measures
    """

    name: str
    text: str
    benchmark: bool = False


PROMISES: dict[str, tuple[Promise, ...]] = {
    "durability": (
        Promise("acknowledged edits survive", "What is marked as saved is there after `kill -9`; nothing is asked on reopening"),
        Promise("… and power loss", "What is marked as saved is there after a loss of power, and nothing is corrupt"),
        Promise("every write call", "Killed, with a full or a broken disk at any write: all or nothing"),
        Promise("verdict on disk", "A verdict is on the disk within 50 ms (p99) among 1,000,000 candidates", benchmark=True),
        Promise("bit rot", "A flipped bit in what is stored is noticed, and never served"),
        Promise("reopening after a crash", "Reopening takes 2 s at most at 100,000 candidates, 5 s at 1,000,000", benchmark=True),
        Promise("closing during inference", "Closing while a model works asks, stops, and ends well within 5 s"),
        Promise("training killed", "A training that is killed goes on as if it had not been, to the bit"),
    ),
    "hostile input": (
        Promise("mutated files", "Damaged files are refused, and neither end the window nor hold it up"),
        Promise("bombs", "Files made to exhaust a machine are refused in 2 s, within 300 MB, with a reason"),
        Promise("hostile models", "Models made to run code or write files do neither"),
        Promise("paths", "No path in a file leads out of its folder"),
        Promise("sockets", "Nothing listens or connects beyond the machine itself"),
    ),
    "patient data": (
        Promise("planted tokens", "No name planted in a source is found in anything that goes out"),
    ),
    "geometry": (
        Promise("30 self-proving series", "Voxels are where the headers say, or the series is refused for the right reason"),
        Promise("round trips", "What is written comes back where it was"),
        Promise("other readers agree", "Other readers find it where we do"),
    ),
}  # fmt: skip
HEADER = ("Promise", "Tried", "Survived", "Control that fails", "Date")


def read_records(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a record."""
    return (
        [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []
    )


def is_about(record: dict[str, Any], table: str, promise: Promise) -> bool:
    """Tell whether a record is about a promise: tests may say more than its name, such as a count."""
    return record["table"] == table and str(record["promise"]).startswith(promise.name)


def row_of(promise: Promise, records: list[dict[str, Any]]) -> tuple[list[str], str]:
    """Return the cells of a promise's row, and what is wrong with it; empty where nothing is."""
    if promise.benchmark:
        return [promise.text, BENCHMARK, "", "", ""], ""
    if not records:
        return [promise.text, "**not tried**", "", "", ""], "not tried"
    tried, survived = (sum(int(record[name]) for record in records) for name in ("tried", "survived"))
    controls, details = (
        list(dict.fromkeys(str(record[name]) for record in records if record[name]))
        for name in ("control", "detail")
    )
    text = f"{promise.text} ({', '.join(details)})" if details else promise.text
    problems = [
        what
        for what, is_so in (
            ("not tried", tried == 0),
            (f"{tried - survived} not survived", survived < tried),
            ("no control failed", not controls),
        )
        if is_so
    ]
    cells = [
        text, f"{tried:,}" if tried else "**not tried**", f"{survived:,}" if survived == tried else f"**{survived:,}**",
        "; ".join(controls) or "**none**", max(str(record["date"]) for record in records),
    ]  # fmt: skip
    return cells, ", ".join(problems)


def table_of(table: str, records: list[dict[str, Any]]) -> tuple[str, list[str]]:
    """Return a table as Markdown, and what is wrong with its promises."""
    lines, problems = [line_of(HEADER), line_of(["---"] * len(HEADER))], []
    for promise in PROMISES[table]:
        cells, problem = row_of(promise, [one for one in records if is_about(one, table, promise)])
        lines.append(line_of(cells))
        if problem:
            problems.append(f"{table}: {promise.name}: {problem}")
    return "\n".join(lines), problems


def line_of(cells: list[str] | tuple[str, ...]) -> str:
    """Return one line of a table."""
    return f"| {' | '.join(cell.replace('|', '&#124;').replace(chr(10), ' ') for cell in cells)} |"


def between(page: str, table: str, text: str) -> str:
    """Return a page with the text between the markers of a table.

    Raises
    ------
    ValueError
        Where the page has no such markers.
    """
    begin, end = (f"<!-- {which} of the table: {table} -->" for which in ("begin", "end"))
    before, found_begin, rest = page.partition(begin)
    _, found_end, after = rest.partition(end)
    if not (found_begin and found_end):
        raise ValueError(f"The page has no markers {begin} and {end}.")
    return f"{before}{begin}\n{text}\n{end}{after}"


def strangers(records: list[dict[str, Any]]) -> list[str]:
    """Return what is wrong with records that are about no promise of the page."""
    known = [(table, promise) for table, promises in PROMISES.items() for promise in promises]
    return [
        f"{one['table']}: {one['promise']}: no promise of the page, noted by {one.get('test', 'nobody')}"
        for one in records
        if not any(is_about(one, table, promise) for table, promise in known)
    ]


def main(record: Path, page: Path = PAGE) -> int:
    """Write the tables and return the exit status."""
    records = read_records(record)
    text, problems = page.read_text(encoding="utf-8"), strangers(records)
    for table in PROMISES:
        made, wrong = table_of(table, records)
        text = between(text, table, made)
        problems += wrong
    page.write_text(text, encoding="utf-8")
    print("\n".join(problems) or f"Every promise was tried and kept: {page}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:3])))
