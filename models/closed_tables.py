"""Closed tables: what files and configurations may name, and nothing else."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

from napari_medlab.errors import InputRefusedError

__all__ = ["ClosedTable"]

DO_NOT_FIT = (TypeError, ValueError, AttributeError, LookupError, ArithmeticError, RuntimeError)
"""What constructors raise where their arguments make no sense."""


class ClosedTable(Mapping[str, tuple[str, str]]):
    """Maps names to places in code, each imported when it is first built; a file can name what is here and no more.

    Parameters
    ----------
    what : str
        What it holds, in messages and in the codes of errors: ``"network"`` gives ``"unknown-network"`` and
        ``"network-arguments"``.
    places : mapping
        Names to (module, class or function).
    """

    def __init__(self, what: str, places: Mapping[str, tuple[str, str]]) -> None:
        self._what = what
        self._places = dict(places)

    def __getitem__(self, name: str) -> tuple[str, str]:
        return self._places[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def build(self, name: object, arguments: object, *first: object) -> Any:  # noqa: ANN401 - whatever the name stands for
        """Return what a name stands for, made with arguments.

        Parameters
        ----------
        name : str
        arguments : mapping of plain values
        *first
            What is handed over before them by the program itself.

        Raises
        ------
        InputRefusedError
            Where the name is not in the table, or the arguments do not fit.
        """
        if not isinstance(name, str) or name not in self._places:
            raise InputRefusedError(
                f"There is no {self._what} called {str(name)[:80]!r}; known are {', '.join(sorted(self))}.",
                code=f"unknown-{self._what}", hint="Correct the name, or update napari-medlab.",
            )  # fmt: skip
        module, attribute = self._places[name]
        make = getattr(import_module(module), attribute)
        known = inspect.signature(make).parameters
        is_open = any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values())
        if not isinstance(arguments, Mapping) or not (is_open or set(arguments) <= set(known)):
            raise self._misfit(name, arguments, list(known)[len(first) :], "")
        try:
            return make(*first, **arguments)
        except InputRefusedError:
            raise
        except DO_NOT_FIT as error:
            raise self._misfit(name, arguments, list(known)[len(first) :], f": {error}") from error

    def _misfit(self, name: str, arguments: object, known: list[str], reason: str) -> InputRefusedError:
        return InputRefusedError(
            f"The arguments {str(arguments)[:400]} do not fit the {self._what} {name!r}{reason}.",
            code=f"{self._what}-arguments", hint=f"It takes {', '.join(known) or 'none'}.",
        )  # fmt: skip
