"""From what a person drops or chooses to cases of the project: looked into, asked about, added."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from napari_medlab.errors import ImageRefusedError, InputRefusedError
from napari_medlab.images import Decisions, contents, open_image
from napari_medlab.project.adding import Source, add_images
from napari_medlab.widgets.layers.hanging import ORDER
from napari_medlab.widgets.views.choosing import ask_how, ask_which

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence
    from pathlib import Path

    from qtpy.QtWidgets import QWidget

    from napari_medlab.images import Entry
    from napari_medlab.project import Project
    from napari_medlab.widgets.controller import Controller

__all__ = ["AddImages"]

SHOWN = 5
Step = tuple[str, int, int]


class AddImages:
    """Adds images to the project; what has to be decided is asked first, what cannot be read is told at the end.

    Parameters
    ----------
    controller : Controller
    project : Project
        One that can be written to.
    parent : QWidget or None
        The window that questions belong to.
    """

    def __init__(self, controller: Controller, project: Project, parent: QWidget | None) -> None:
        self._controller, self._project, self._parent = controller, project, parent
        self._sources: list[Source] = []
        self._refused: list[InputRefusedError] = []
        self._unsure: list[tuple[Source, ImageRefusedError]] = []

    def start(self, paths: Sequence[Path]) -> None:
        """Look into files and folders, and go on from there."""
        self._stream("looking", _look_into, list(paths), on_done=self._on_entries)

    def _stream(self, what: str, generator: Any, *arguments: Any, on_done: Any) -> None:
        progress = self._controller.display.loader.progress

        def done(result: Any) -> None:
            progress.emit("")
            on_done(result)

        def failed(error: Exception) -> None:
            progress.emit("")
            self._controller.show_error(error)

        self._controller.background.stream(
            "add", generator, *arguments, on_done=done, on_error=failed,
            on_item=lambda step: progress.emit(f"{what} {step[0]}: {step[1]} of {step[2]}"),
        )  # fmt: skip

    def _on_entries(self, found: tuple[list[Entry], list[InputRefusedError]]) -> None:
        entries, refused = found
        self._refused += refused
        series = [entry for entry in entries if entry.is_series]
        rest = [entry for entry in entries if not entry.is_series]
        if len(series) < 2:
            self._open(entries)
            return
        question = f"{len(series)} series were found. Each that is ticked becomes a case."
        ask_which(self._parent, question, [entry.title for entry in series],
                  lambda rows: self._open([*rest, *(series[row] for row in rows)]))  # fmt: skip

    def _open(self, entries: list[Entry]) -> None:
        self._stream("opening", _try_to_open, _sources(entries), on_done=self._on_opened)

    def _on_opened(self, tried: list[tuple[Source, InputRefusedError | None]]) -> None:
        for source, error in tried:
            if error is None:
                self._sources.append(source)
            elif isinstance(error, ImageRefusedError) and error.options:
                self._unsure.append((source, error))
            else:
                self._refused.append(error)
        self._ask()

    def _ask(self) -> None:
        """Ask about the next image that can only be opened by a decision; add them all when none is left."""
        if not self._unsure:
            self._stream("adding", _add, self._project, self._sources, on_done=self._on_added)
            return
        source, error = self._unsure.pop()

        def chosen(rows: list[int]) -> None:
            options = [error.options[row].decisions for row in rows]
            decided = [replace(source, decisions=_joined(source.decisions, option)) for option in options]
            self._stream("opening", _try_to_open, decided, on_done=self._on_opened)

        ask_how(self._parent, error, chosen).rejected.connect(self._ask)

    def _on_added(self, _: object) -> None:
        self._controller.reload_cases()
        if self._refused:
            lines = [error.message for error in self._refused[:SHOWN]]
            more = f"\n… and {len(self._refused) - SHOWN} more" if len(self._refused) > SHOWN else ""
            first = self._refused[0]
            self._controller.show_error(InputRefusedError("\n".join(lines) + more, code=first.code, hint=first.hint))


def _joined(before: Decisions, option: dict[str, Any]) -> Decisions:
    """Return what was decided before, with what an option adds."""
    return Decisions.from_json({**before.as_json(), **option})


def _sources(entries: Sequence[Entry]) -> list[Source]:
    """Return what is to be added; the views of one study share an exam."""
    from napari_medlab.annotations import new_id

    exams: dict[str, str] = {}
    sources = []
    for entry in sorted(entries, key=_as_hung):
        exam = exams.setdefault(entry.study, new_id()) if entry.view and entry.study else ""
        name = f"{entry.path.parent.name} {entry.view}" if entry.view else ""
        sources.append(Source(entry.path, entry.decisions, name=name, exam_key=exam, view=entry.view, patient=entry.patient))
    return sources


def _as_hung(entry: Entry) -> tuple[bool, str, int]:
    """Return what sorts the views of an exam as they hang, after everything else, which stays in its order."""
    place = ORDER.index(entry.view) if entry.view in ORDER else len(ORDER)
    return (bool(entry.view), entry.study if entry.view else "", place if entry.view else 0)


def _look_into(paths: list[Path]) -> Generator[Step, None, tuple[list[Entry], list[InputRefusedError]]]:
    entries: list[Entry] = []
    refused: list[InputRefusedError] = []
    for number, path in enumerate(paths):
        yield path.name, number, len(paths)
        try:
            entries += contents(path)
        except InputRefusedError as error:
            refused.append(error)
    return entries, refused


def _try_to_open(sources: list[Source]) -> Generator[Step, None, list[tuple[Source, InputRefusedError | None]]]:
    tried: list[tuple[Source, InputRefusedError | None]] = []
    for number, source in enumerate(sources):
        yield source.path.name, number, len(sources)
        try:
            open_image(source.path, source.decisions)
        except InputRefusedError as error:
            tried.append((source, error))
        else:
            tried.append((source, None))
    return tried


def _add(project: Project, sources: list[Source]) -> Iterator[Step]:
    for number, record in enumerate(add_images(project, sources)):
        yield record.name, number + 1, len(sources)
