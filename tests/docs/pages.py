"""The documents as the tests see them: their code blocks, and what the comments before these say.

Blank lines between a comment and its block are passed over.

=============================  ==================================================================================
``<!-- not run: REASON -->``   the next block is not run, for a reason that whoever reads the page's source can weigh
``<!-- printed -->``           the next block is what the last one printed: each line must be in it, ``…`` stands
                               for any text
``<!-- begins with: nodules -->``  the page begins in a folder that holds a prepared project and what it was made from
``<!-- slow -->``              the page is run by ``make test-all`` alone
=============================  ==================================================================================
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ROOT", "Block", "Page", "pages"]

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(
    r"^(?P<indent> *)(?P<ticks>```+)(?P<language>[^\n]*)\n(?P<text>.*?)^(?P=indent)(?P=ticks) *$", re.M | re.S
)
NOT_RUN = re.compile(r"<!-- not run: (\S.*) -->")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page: in which line it begins, its language and text, and what the comment before it says."""

    line: int
    language: str
    text: str
    comment: str

    @property
    def reason(self) -> str:
        """Why it is not run; empty where it is."""
        found = NOT_RUN.fullmatch(self.comment)
        return found[1] if found else ""

    @property
    def is_printed(self) -> bool:
        """Whether it is what the last block that was run printed."""
        return self.comment == "<!-- printed -->"


@dataclass(frozen=True)
class Page:
    """A page of the documents."""

    path: Path
    text: str

    @property
    def name(self) -> str:
        """Where it lies in the repository."""
        return self.path.relative_to(ROOT).as_posix()

    @property
    def begins_with(self) -> str:
        """The name of what is prepared for it; empty where it begins in an empty folder."""
        found = re.search(r"^<!-- begins with: (\w+) -->$", self.text, re.M)
        return found[1] if found else ""

    @property
    def is_slow(self) -> bool:
        """Whether it takes too long to be run every time."""
        return re.search(r"^<!-- slow -->$", self.text, re.M) is not None

    @property
    def blocks(self) -> list[Block]:
        """Its fenced blocks, in order."""
        found = []
        for match in FENCE.finditer(self.text):
            before = self.text[: match.start()].splitlines()
            indent = len(match["indent"])
            text = "".join(line[indent:] for line in match["text"].splitlines(keepends=True))
            comment = next((line.strip() for line in reversed(before) if line.strip()), "")
            found.append(Block(len(before) + 1, match["language"].strip(), text, comment))
        return found


def pages() -> list[Page]:
    """Return the page that the repository begins with and all of ``docs``."""
    paths = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [Page(path, path.read_text(encoding="utf-8")) for path in paths]
