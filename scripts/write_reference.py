"""Write the pages of docs/reference that follow from the code: the command line and the card of keys.

Run as ``.venv/bin/python scripts/write_reference.py [--check]``. With ``--check`` nothing is written, and the exit status
is 1 where a page is not what would be written.
"""

from __future__ import annotations

import argparse
import re
import sys
from importlib.metadata import entry_points
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_medlab.verbs import Verb

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "reference"
BEFORE_COMMANDS = """# The command line

Every verb does what a panel of the window does, without a window. Made from the program itself by
`scripts/write_reference.py`; `napari-medlab VERB --help` says the same.

With `--json` one JSON document is printed on standard output; without, the same as text. Progress goes to standard error.

| exit status | |
| --- | --- |
| 0 | success |
| 1 | a failure of our own |
| 2 | wrong usage |
| 3 | an input is refused, or a model may not be published |
| 130 | stopped by Ctrl+C |
| 141 | whoever read what was printed went away, such as `head` |

With `--json`, 1 and 3 come with a document, too: `{"error": {"code", "message", "hint"}}`. A run of which every case failed
ends with 3, and the `error` stands beside the rest of its document.
"""
BEFORE_KEYS = """# Keys

To be printed on one page. Made from `widgets/keys.py` by `scripts/write_reference.py`. `?` shows the same in the window,
with the keys that you changed: *File → Preferences → MedLab* changes them all. Where two actions are given one key, the
first has it. What is typed into a text field stays there.
"""
READABLE = {"Return": "Enter", "Escape": "Esc"}


def main() -> int:
    """Write the pages, or say which are not current."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing; fail where a page is not current"
    )
    options = parser.parse_args()
    old = [name for name, text in written_pages().items() if not is_current(FOLDER / name, text)]
    for name in old:
        if not options.check:
            (FOLDER / name).write_text(written_pages()[name], encoding="utf-8")
        print(f"docs/reference/{name}: {'is not current' if options.check else 'written'}")
    return int(options.check and bool(old))


def is_current(path: Path, text: str) -> bool:
    """Tell whether a page says what it should."""
    return path.is_file() and path.read_text(encoding="utf-8") == text


def written_pages() -> dict[str, str]:
    """Return the text of each page by its name."""
    return {"command-line.md": commands_page(), "keys.md": keys_page()}


# -- commands -----------------------------------------------------------------------------------------------------


def commands_page() -> str:
    """Return the page about the command line."""
    parts = [BEFORE_COMMANDS]
    for entry in sorted(entry_points(group="napari_medlab.verbs"), key=lambda one: one.name):
        if entry.module.startswith("napari_medlab."):
            parts += described(entry.name, parser_of(entry.load()))
    return "\n".join(parts)


def parser_of(verb: Verb) -> argparse.ArgumentParser:
    """Return the parser of a verb as the command line makes it."""
    parser = argparse.ArgumentParser(prog=f"napari-medlab {verb.name}", description=verb.summary)
    parser.add_argument("--json", action="store_true", help="print one JSON document on standard output")
    verb.configure(parser)
    return parser


def described(
    words: str, parser: argparse.ArgumentParser, summary: str = "", level: int = 2
) -> Iterator[str]:
    """Yield the lines about a command, and about those below it."""
    yield f"{'#' * level} {words}\n"
    said = (summary or parser.description or "").strip()
    if said:
        yield f"{sentence(said)}\n"
    below = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    yield f"```text\nnapari-medlab {words}{usage(parser, bool(below))}\n```\n"
    rows = [row(action) for action in parser._actions if is_listed(action)]
    if rows:
        yield "\n".join(["| | |", "| --- | --- |", *rows, ""])
    for action in below:
        summaries = {choice.dest: choice.help or "" for choice in action._choices_actions}
        for name, parser_below in action.choices.items():
            yield from described(f"{words} {name}", parser_below, summaries.get(name, ""), level + 1)


def is_listed(action: argparse.Action) -> bool:
    """Tell whether an argument has a row; those that every command has are told once, at the beginning."""
    every = {"-h", "--json"} & set(action.option_strings)
    return (
        not every and not isinstance(action, argparse._SubParsersAction) and action.help != argparse.SUPPRESS
    )


def usage(parser: argparse.ArgumentParser, has_more: bool) -> str:
    """Return what follows the command: options that are needed, and the places of what it is about."""
    words = [" ".join([action.option_strings[-1], value_of(action)]) for action in parser._actions if action.required
             and action.option_strings]  # fmt: skip
    words += [placed(action) for action in parser._actions if not action.option_strings and is_listed(action)]
    return "".join(f" {word}" for word in [*words, *(["…"] if has_more else []), "[options]"])


def placed(action: argparse.Action) -> str:
    """Return an argument without a dash as it stands in the usage."""
    name = str(action.metavar or "|".join(map(str, action.choices or [action.dest])))
    return {"?": f"[{name}]", "*": f"[{name} …]", "+": f"{name} …"}.get(str(action.nargs), name)


def value_of(action: argparse.Action) -> str:
    """Return what follows an option: nothing, a word, or several."""
    if action.nargs == 0:
        return ""
    metavar = action.metavar or (None if action.choices else action.dest.upper())
    if isinstance(metavar, tuple):
        return " ".join(metavar)
    word = metavar or f"{{{', '.join(map(str, action.choices or []))}}}"
    return (
        f"{word} …"
        if action.nargs in ("+", "*")
        else " ".join([word] * (action.nargs if isinstance(action.nargs, int) else 1))
    )


def row(action: argparse.Action) -> str:
    """Return the line of a table about an argument."""
    name = ", ".join(action.option_strings)
    shown = f"{name} {value_of(action)}".strip() if name else placed(action)
    text = re.sub(r"\s+", " ", (action.help or "") % {**vars(action), "prog": ""}).strip()
    return f"| `{in_cell(shown)}` | {in_cell(text.replace('*', '&#42;').replace('<', '&lt;'))} |"


def in_cell(text: str) -> str:
    """Return a text that does not end the cell that it is in."""
    return text.replace("|", "\\|")


def sentence(text: str) -> str:
    """Return a text that begins and ends as a sentence does."""
    return text[0].upper() + text[1:] + ("" if text.endswith(".") else ".")


# -- keys ---------------------------------------------------------------------------------------------------------


def keys_page() -> str:
    """Return the card of keys."""
    from napari_medlab.widgets.keys import ACTIONS

    parts = [BEFORE_KEYS]
    for group, actions in groupby(ACTIONS.values(), key=lambda action: action.group):
        rows = [f"| {shown_key(action.key)} | {action.title} |" for action in actions]
        parts.append("\n".join([f"## {group}\n", "| key | does |", "| --- | --- |", *rows, ""]))
    parts.append("![The card as the window shows it](../pictures/keys.png)\n")
    return "\n".join(parts)


def shown_key(key: str) -> str:
    """Return a key as people call it, each of several that are pressed together in a box of its own."""
    return " ".join(f"<kbd>{READABLE.get(part, part)}</kbd>" for part in key.split("+"))


if __name__ == "__main__":
    sys.exit(main())
