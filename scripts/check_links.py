"""Check that every relative link and picture of the documents leads somewhere, headings included."""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)[^)]*\)|(?:src|href)=\"([^\"]+)\"")
HEADING = re.compile(r"^#+\s+(.*?)\s*$", re.MULTILINE)
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def documents() -> list[Path]:
    """Return the Markdown files of the repository."""
    return sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/*.md")])


def anchors(document: Path) -> set[str]:
    """Return the anchors that the headings of a document get."""
    text = FENCE.sub("", document.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in HEADING.findall(text)}


def broken_links(document: Path) -> list[str]:
    """Return one line for each link of a document that leads nowhere."""
    found = []
    for match in LINK.finditer(FENCE.sub("", document.read_text(encoding="utf-8"))):
        target = match[1] or match[2]
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        place = (document.parent / path).resolve() if path else document
        if not place.exists() or (anchor and place.suffix == ".md" and anchor not in anchors(place)):
            found.append(f"{document.relative_to(ROOT)}: {target} leads nowhere")
    return found


def main() -> int:
    """Print the broken links and return how the check ended."""
    broken = [line for document in documents() for line in broken_links(document)]
    print("\n".join(broken) or f"links: {len(documents())} documents, none broken")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
