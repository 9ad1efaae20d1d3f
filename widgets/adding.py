"""From what a person drops or chooses to cases of the project: looked into, asked about, added."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from threading import Lock
from typing import TYPE_CHECKING, Any

from napari_medlab.errors import ImageRefusedError, InputRefusedError, MedlabError
from napari_medlab.images import Decisions, contents, open_image
from napari_medlab.jobs import CancelledError
from napari_medlab.project.adding import Source, add_images
from napari_medlab.project.sources import sources_of
from napari_medlab.widgets.views.choosing import ask_how, ask_which

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from pathlib import Path

    from qtpy.QtWidgets import QWidget

    from napari_medlab.images import Entry
    from napari_medlab.project import Project
    from napari_medlab.project.records import Split
    from napari_medlab.widgets.controller import Controller

__all__ = ["AddImages"]

SHOWN = 5
Step = tuple[str, int, int]

_numbers = count()
_one_at_a_time = Lock()
"""What is added twice at the same time would not be found in the project, and be there twice."""


class AddImages:
    """Adds images to the project; what has to be decided is asked first, what cannot be read is told at the end.

    Parameters
    ----------
    controller : Controller
    project : Project
        One that can be written to.
    parent : QWidget or None
        The window that questions belong to.
    split : {"train", "test"}
        Test cases are frozen: they are never reviewed or trained on, and decide about publishing.
    pixel_size_um : float, optional
        That of planar images whose header states none.
    """

    def __init__(
        self, controller: Controller, project: Project, parent: QWidget | None, split: Split = "train",
        pixel_size_um: float | None = None,
    ) -> None:  # fmt: skip
        self._controller, self._project, self._parent, self._split = controller, project, parent, split
        self._stated = Decisions(pixel_size_um=pixel_size_um)
        # several may be at work at once, and none makes another stale
        self._kind = f"add {next(_numbers)}"
        self._sources: list[Source] = []
        self._refused: list[MedlabError] = []
        self._unsure: list[tuple[Source, ImageRefusedError]] = []

    def start(self, paths: Sequence[Path]) -> None:
        """Look into files and folders, and go on from there."""
        self._stream("looking", _look_into, list(paths), on_done=self._on_entries)

    def _stream(self, what: str, generator: Any, *arguments: Any, on_done: Any) -> None:
        progress, session, project = (
            self._controller.display.loader.progress,
            self._controller.session,
            self._project,
        )

        stopped = self._controller.display.loader.stopped()

        def is_stale() -> bool:
            return stopped() or session.project is not project

        def done(result: Any) -> None:
            progress.emit("")
            on_done(result)

        def failed(error: Exception) -> None:
            progress.emit("")
            self._controller.show_error(error)
            if what == "adding":
                self._on_added([])  # what was added before stays

        self._controller.background.stream(
            self._kind, generator, is_stale, *arguments, on_done=done, on_error=failed,
            on_item=lambda step: progress.emit(f"{what} {step[0]}: {step[1]} of {step[2]}"),
        )  # fmt: skip

    def _on_entries(self, found: tuple[list[Entry], list[MedlabError]]) -> None:
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
        self._stream("opening", _try_to_open, sources_of(entries), self._stated, on_done=self._on_opened)

    def _on_opened(self, tried: list[tuple[Source, MedlabError | None]]) -> None:
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
            self._stream("adding", _add, self._project, self._sources, self._split, on_done=self._on_added)
            return
        source, error = self._unsure.pop(0)

        def chosen(rows: list[int]) -> None:
            options = [error.options[row].decisions for row in rows]
            decided = [replace(source, decisions=_joined(source.decisions, option)) for option in options]
            self._stream("opening", _try_to_open, decided, self._stated, on_done=self._on_opened)

        ask_how(self._parent, error, chosen).rejected.connect(self._ask)

    def _on_added(self, refused: list[MedlabError]) -> None:
        self._controller.reload_cases()
        told = [*self._refused, *refused]
        if told:
            lines = [error.message for error in told[:SHOWN]]
            more = f"\n… and {len(told) - SHOWN} more" if len(told) > SHOWN else ""
            first = told[0]
            self._controller.show_error(
                InputRefusedError("\n".join(lines) + more, code=first.code, hint=first.hint)
            )


def _joined(before: Decisions, option: dict[str, Any]) -> Decisions:
    """Return what was decided before, with what an option adds."""
    return Decisions.from_json({**before.as_json(), **option})


def _look_into(
    is_stale: Callable[[], bool], paths: list[Path]
) -> Generator[Step, None, tuple[list[Entry], list[MedlabError]]]:
    entries: list[Entry] = []
    refused: list[MedlabError] = []
    for number, path in enumerate(paths):
        yield path.name, number, len(paths)
        _stop_if(is_stale)
        try:
            entries += contents(path, stop=is_stale)
        except MedlabError as error:
            refused.append(error)
    return entries, refused


def _try_to_open(
    is_stale: Callable[[], bool], sources: list[Source], stated: Decisions
) -> Generator[Step, None, list[tuple[Source, MedlabError | None]]]:
    """Open each image, and take what is stated of pixel sizes for those that say nothing of theirs."""
    tried: list[tuple[Source, MedlabError | None]] = []
    for number, source in enumerate(sources):
        yield source.path.name, number, len(sources)
        _stop_if(is_stale)
        try:
            image = open_image(source.path, source.decisions, stop=is_stale)
        except MedlabError as error:
            tried.append((source, error))
        else:
            is_unknown = image.grid.ndim == 2 and image.grid.unit == "px"
            known = (
                replace(source, decisions=_joined(source.decisions, stated.as_json()))
                if is_unknown
                else source
            )
            tried.append((known, None))
    return tried


def _add(
    is_stale: Callable[[], bool], project: Project, sources: list[Source], split: Split
) -> Generator[Step, None, list[MedlabError]]:
    """Add all images at once, but for those that are refused, such as what is there already."""
    refused: list[MedlabError] = []
    with _one_at_a_time:
        records = add_images(project, sources, split=split, on_refused=refused.append)
        for number, record in enumerate(records):
            yield record.name, number + 1, len(sources)
            _stop_if(is_stale)
    return refused


def _stop_if(is_stale: Callable[[], bool]) -> None:
    """Stop where the reader asked for it, or where the project is not open any more."""
    if is_stale():
        raise CancelledError("adding was stopped")
