"""A verb of the command line: its name, its arguments, what it does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

__all__ = ["Verb"]


@dataclass(frozen=True)
class Verb:
    """One verb, as in ``napari-medlab VERB``.

    Other packages, and the window, add theirs through the entry point group ``napari_medlab.verbs``.

    Parameters
    ----------
    name, summary : str
    configure : callable
        Adds the arguments to the verb's own parser. Every verb has ``--json`` already.
    run : callable
        Does the work and returns one JSON document, printed on standard output with ``--json`` and as readable text
        without; raises :class:`~napari_medlab.errors.InputRefusedError` for exit status 3 and any other error for 1.
        A document with an ``error`` (``code``, ``message``, ``hint``) is printed, and the status is 3.
        Progress goes to standard error.
    """

    name: str
    summary: str
    configure: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], dict[str, Any]]
