"""Which cases of a project a file from elsewhere is about: what is known before anything is changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_medlab.annotations.formats.luna16 import read_series
from napari_medlab.errors import InputRefusedError
from napari_medlab.exchange.contents import read_contents
from napari_medlab.project.case_names import cases_by_name

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from napari_medlab.exchange.contents import Contents, Wanted
    from napari_medlab.exchange.placing import PlacedObjects
    from napari_medlab.project import CaseRecord, Project

__all__ = ["Matched", "matched"]


@dataclass(frozen=True, eq=False)
class Matched:
    """What a file holds, and which cases of a project it is about.

    Parameters
    ----------
    wanted : Wanted
    contents : Contents
    cases : dict
        The case of each name that has one: of the names of the file, or of those that were listed.
    unmatched : tuple of str
        The names for which the project has no case, sorted.
    objects : dict
        What the file says of each of these cases, by its name; nothing for one that was listed and is not in the file.
    """

    wanted: Wanted
    contents: Contents
    cases: dict[str, CaseRecord]
    unmatched: tuple[str, ...]
    objects: dict[str, PlacedObjects | None]

    @property
    def count(self) -> int:
        """How many objects the file states for cases of the project."""
        return sum(len(placed) for placed in self.objects.values() if placed is not None)


def matched(
    project: Project,
    wanted: Wanted,
    *,
    on_progress: Callable[[int, int], None] | None = None,
    stop: Callable[[], None] | None = None,
) -> Matched:
    """Read a file, find the cases that it is about, and place its objects on them; nothing is changed.

    Parameters
    ----------
    project : Project
    wanted : Wanted
    on_progress : callable, optional
        Called with the images placed and all images.
    stop : callable, optional
        Called now and then; raises where the work is to end.

    Raises
    ------
    InputRefusedError
        As :func:`napari_medlab.exchange.contents.read_contents`; ``no-series`` and ``ambiguous-series`` as
        :func:`napari_medlab.project.case_names.cases_by_name`; ``empty`` where the file speaks of no image;
        ``wrong-kind``, ``size`` or ``no-grid`` where a case cannot be what the file is about; ``names`` where a class is to
        be renamed that nothing in the file has.
    """
    records = {case.case_id: case for case in project.cases()}

    def cases_of(names: Collection[str]) -> dict[str, CaseRecord]:
        return {name: records[case_id] for name, case_id in cases_by_name(project, names).items()}

    contents = read_contents(wanted, cases_of, on_progress=on_progress, stop=stop)
    names = contents.names if wanted.listed is None else tuple(read_series(wanted.listed))
    if not names:
        raise InputRefusedError(
            f"{wanted.path.name} holds nothing, and no list says which images were looked at.",
            code="empty",
            hint="Name them with --cases." if wanted.is_predicted else "Choose a file with findings.",
        )
    cases = cases_of(names)
    _refuse_shared(cases)
    spoken_of, objects = set(contents.names), dict[str, "PlacedObjects | None"]()
    for number, (name, case) in enumerate(cases.items(), start=1):
        if stop is not None:
            stop()
        said = contents.on(name, case) if name in spoken_of else None
        objects[name] = None if said is None else said.called(wanted.only_class, wanted.names)
        if on_progress is not None:
            on_progress(number, len(cases))
    _refuse_unused(wanted, objects.values())
    return Matched(wanted, contents, cases, tuple(sorted(set(names) - set(cases))), objects)


def _refuse_unused(wanted: Wanted, objects: Iterable[PlacedObjects | None]) -> None:
    """Raise where a class is to be renamed that no object has: it is misspelt, and the objects would keep theirs."""
    found = {word for placed in objects if placed is not None for word in placed.words or placed.labels}
    unused = [name for name in wanted.names if name not in found]
    if unused:
        raise InputRefusedError(
            f"Nothing in {wanted.path.name} is called {', '.join(map(repr, unused))}.",
            code="names",
            hint=f"Its classes: {', '.join(map(repr, sorted(found))) or 'none'}.",
        )


def _refuse_shared(cases: dict[str, CaseRecord]) -> None:
    """Raise where two names of a file mean one case: its objects could not be told from one another."""
    first: dict[str, str] = {}
    for name, case in cases.items():
        if case.case_id in first:
            raise InputRefusedError(
                f"The file has two images, {first[case.case_id]!r:.80} and {name!r:.80}, that are one case of the project.",
                code="ambiguous-series",
                hint="Leave one of them out, or give the images names of their own.",
            )
        first[case.case_id] = name
