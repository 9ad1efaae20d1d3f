"""What is known about each of many objects, as named columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

__all__ = ["ColumnTitle", "DescriptorTable"]


@dataclass(frozen=True)
class ColumnTitle:
    """How people read a column: ``"distance to the edge"`` in ``"mm"``; the unit is empty for plain numbers."""

    title: str
    unit: str = ""


@dataclass(frozen=True, eq=False)
class DescriptorTable:
    """Descriptors of objects, one row each.

    Parameters
    ----------
    numbers : dict of float64 arrays, (n,)
        By name, nan where a descriptor does not apply or is unknown.
    categories : dict of str arrays, (n,)
        By name, empty where it does not apply.
    titles : dict of ColumnTitle
        For columns of both kinds; one without an entry is called by its name.
    n : int
        The number of objects.
    """

    numbers: Mapping[str, NDArray[np.float64]]
    categories: Mapping[str, NDArray[np.str_]]
    titles: Mapping[str, ColumnTitle]
    n: int

    def __post_init__(self) -> None:
        lengths = {name: len(column) for name, column in (*self.numbers.items(), *self.categories.items())}
        if set(lengths.values()) - {self.n}:
            msg = f"The columns of a table of {self.n} objects must have that length, got {lengths}."
            raise ValueError(msg)

    def __len__(self) -> int:
        return self.n

    def title(self, name: str) -> ColumnTitle:
        """Return how people read a column."""
        return self.titles.get(name, ColumnTitle(name.replace("_", " ")))

    def where(self, rows: ArrayLike) -> Self:
        """Return the rows chosen by a mask or by indices, as a table of its own."""
        chosen = np.arange(self.n)[np.asarray(rows)]
        return type(self)(
            {name: column[chosen] for name, column in self.numbers.items()},
            {name: column[chosen] for name, column in self.categories.items()},
            self.titles,
            len(chosen),
        )

    def with_categories(self, further: Mapping[str, NDArray[np.str_]]) -> Self:
        """Return the table with more columns of categories."""
        return type(self)(self.numbers, {**self.categories, **further}, self.titles, self.n)

    @classmethod
    def joined(cls, tables: Sequence[DescriptorTable]) -> Self:
        """Return the rows of several tables, one after the other.

        A column that a table lacks is nan or empty in its rows, and so is one that it has in another unit than the
        first table that has that column: millimetres and pixels are never mixed.
        """
        titles: dict[str, ColumnTitle] = {}
        for table in tables:
            for name in (*table.numbers, *table.categories):
                titles.setdefault(name, table.title(name))
        return cls(
            {
                name: np.concatenate([_numbers(t, name, titles[name]) for t in tables])
                for name in _names(tables, "numbers")
            },
            {
                name: np.concatenate([_categories(t, name) for t in tables])
                for name in _names(tables, "categories")
            },
            titles,
            sum(len(table) for table in tables),
        )


def _names(tables: Sequence[DescriptorTable], kind: str) -> list[str]:
    return list(dict.fromkeys(name for table in tables for name in getattr(table, kind)))


def _numbers(table: DescriptorTable, name: str, title: ColumnTitle) -> NDArray[np.float64]:
    column = table.numbers.get(name)
    if column is None or table.title(name).unit != title.unit:
        return np.full(len(table), np.nan)
    return column


def _categories(table: DescriptorTable, name: str) -> NDArray[np.str_]:
    return table.categories.get(name, np.full(len(table), "", dtype=np.str_))
