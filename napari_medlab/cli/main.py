"""``napari-medlab VERB …``: what the panels do, without a window."""

from __future__ import annotations

import argparse
import json
import os
import sys
import traceback
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from napari_medlab import __version__
from napari_medlab.errors import InputRefusedError, MedlabError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.metadata import EntryPoint

    from napari_medlab.verbs import Verb

__all__ = ["main"]

OWN_FAILURE, REFUSED, READER_GONE = 1, 3, 141
"""Exit statuses; 0 is success, argparse itself exits with 2 for wrong usage, and 141 is that of a closed pipe in a shell."""
NOT_OURS = frozenset({"exists", "newer", "not-a-project", "other-project", "no-cases", "nothing-before", "nothing-to-compare",
                      "worse"})  # fmt: skip
"""Codes of errors that are about what was named, or a decision against it, whoever raised them."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status: 0, 1 (our failure), 2 (wrong usage) or 3 (input refused).

    Where whoever reads what is printed goes away, as ``head`` does, it ends without a word, with 141.
    """
    try:
        try:
            return _main(argv)
        finally:  # what argparse prints for --help, too
            sys.stdout.flush()
    except BrokenPipeError:
        _let_go()
        return READER_GONE


def _main(argv: Sequence[str] | None) -> int:
    verbs = {entry.name: entry for entry in entry_points(group="napari_medlab.verbs")}
    arguments = list(sys.argv[1:] if argv is None else argv)
    chosen = next((word for word in arguments if not word.startswith("-")), None)
    parser = argparse.ArgumentParser(prog="napari-medlab", description=__doc__)
    parser.add_argument("--version", action="version", version=f"napari-medlab {__version__}")
    commands = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name in sorted(verbs):
        # only the chosen verb is loaded: the others may need Qt or torch
        verb: Verb | None = verbs[name].load() if name == chosen else None
        command = commands.add_parser(name, help=_summary(verbs[name]) if chosen is None else None)
        command.add_argument("--json", action="store_true", help="print one JSON document on standard output")
        if verb is not None:
            verb.configure(command)
            command.set_defaults(run_verb=verb.run)
    options = parser.parse_args(arguments)
    return _run(options)


def _summary(entry: EntryPoint) -> str:
    """Return what the list of verbs says of one; one that cannot be loaded hides no other."""
    try:
        verb: Verb = entry.load()
    except ImportError as error:
        return f"cannot be used: {error}".replace("%", "%%")
    return verb.summary


def _run(options: argparse.Namespace) -> int:
    try:
        result: dict[str, Any] = options.run_verb(options)
    except MedlabError as error:
        refused = isinstance(error, InputRefusedError) or error.code in NOT_OURS
        return _fail(error, REFUSED if refused else OWN_FAILURE, as_json=options.json)
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return 130
    except Exception as error:  # the outermost frame: everything else is our own failure
        traceback.print_exc()
        unknown = MedlabError(
            f"{type(error).__name__}: {error}", code="internal", hint="This is a bug; please report it."
        )
        return _fail(unknown, OWN_FAILURE, as_json=options.json)
    failure = result.get("error")
    told = {name: value for name, value in result.items() if name != "error"}
    print(json.dumps(result, allow_nan=False) if options.json else readable(told))
    if failure is None:
        return 0
    print(f"napari-medlab: {failure['message']}", file=sys.stderr)
    return REFUSED


def _let_go() -> None:
    """Point each stream that nobody reads elsewhere: the interpreter writes out what is left in it when it ends."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)


def _fail(error: MedlabError, status: int, *, as_json: bool) -> int:
    if as_json:
        print(json.dumps({"error": error.as_json()}))
    print(f"napari-medlab: {error}", file=sys.stderr)
    return status


def readable(value: object, indent: int = 0) -> str:
    """Return a JSON document as lines of ``name: value`` for people, or the ``text`` that it holds for them."""
    if isinstance(value, dict) and indent == 0 and isinstance(value.get("text"), str):
        return str(value["text"]).rstrip("\n")
    pad = "  " * indent
    if isinstance(value, dict):
        nested = (dict, list, tuple)
        return "\n".join(
            f"{pad}{key}:\n{readable(item, indent + 1)}"
            if isinstance(item, nested) and item and not _flat(item)
            else f"{pad}{key}: {_short(item)}"
            for key, item in value.items()
        )
    if isinstance(value, list | tuple):
        return "\n".join(f"{pad}- {readable(item, indent + 1).lstrip()}" for item in value)
    return f"{pad}{_short(value)}"


def _flat(value: object) -> bool:
    return (
        isinstance(value, list | tuple)
        and not any(isinstance(item, dict) for item in value)
        and len(str(value)) < 100
    )


def _short(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_short, value)) or "none"
    if value is None or value == {}:
        return "none"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    sys.exit(main())
