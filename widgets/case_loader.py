"""Cases read in the background: the one that is wanted now, its companions, and those that come next."""

from __future__ import annotations

import queue
from collections import OrderedDict
from functools import partial
from typing import TYPE_CHECKING

from psygnal import Signal

from napari_medlab.images.budget import memory_budget_bytes
from napari_medlab.jobs import CancelledError
from napari_medlab.project import open_case
from napari_medlab.widgets.layers.case_view import CaseView, view_of

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from napari_medlab.project import Project
    from napari_medlab.widgets.controller import Controller

__all__ = ["CaseLoader"]

READ_AHEAD = 2
"""How many of the next cases in the queue are read while the current one is looked at."""


class CaseLoader:
    """Keeps the cases seen last, and reads others without anybody waiting.

    Signals
    -------
    progress(str)
        What is being read and how far it has come; empty when nothing is.

    Parameters
    ----------
    controller : Controller
    """

    progress = Signal(str)

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._views: OrderedDict[str, CaseView] = OrderedDict()
        self._reading_ahead: set[str] = set()
        self._stops = 0

    def stop(self) -> None:
        """Give up what is being read: the reader has asked for it."""
        self._stops += 1
        self.progress.emit("")

    def stopped(self) -> Callable[[], bool]:
        """Return what tells whether the reader has asked to stop since now; to be called from any thread."""
        stops = self._stops
        return lambda: self._stops != stops

    def clear(self) -> None:
        """Forget all cases: for when the project is closed."""
        self._views.clear()
        self._reading_ahead.clear()  # what is still being read will not be told of

    def load(
        self, case_id: str, on_view: Callable[[CaseView], None], on_error: Callable[[Exception], None]
    ) -> None:
        """Hand over a case: at once where it is known, when it is read otherwise; a later call makes this one stale."""
        if case_id in self._views:
            self._views.move_to_end(case_id)
            self.progress.emit("")
            on_view(self._views[case_id])
            return
        work = self._work(case_id)
        if work is None:
            return

        def done(view: CaseView) -> None:
            self.progress.emit("")
            self._remember(view)
            on_view(view)

        def failed(error: Exception) -> None:
            self.progress.emit("")
            on_error(error)

        title, stopped = work[2], self.stopped()
        self._controller.background.stream(
            "case", _steps, *work, lambda: stopped() or self._controller.session.case_id != case_id,
            on_item=lambda step: self.progress.emit(f"reading {title}: {step[0]} of {step[1]}"),
            on_done=done, on_error=failed,
        )  # fmt: skip

    def load_companions(self, case_ids: Sequence[str], on_views: Callable[[list[CaseView]], None]) -> None:
        """Hand over several cases when all of them are read; those that cannot be read are left out."""
        known = [self._views[case_id] for case_id in case_ids if case_id in self._views]
        works = [self._work(case_id) for case_id in case_ids if case_id not in self._views]
        if not any(works):
            on_views(known)
            return

        def done(views: list[CaseView]) -> None:
            for view in views:
                self._remember(view)
            on_views([*known, *views])

        self._controller.background.run(
            "companions", _read_all, [work for work in works if work], on_done=done
        )

    def read_ahead(self, case_ids: Sequence[str]) -> None:
        """Read some of the cases that come next; what cannot be read says so when it is opened, not before."""
        unread = [
            case_id
            for case_id in dict.fromkeys(case_ids)
            if case_id not in (*self._views, *self._reading_ahead)
        ]
        for case_id in unread[: READ_AHEAD - len(self._reading_ahead)]:
            work = self._work(case_id)
            if work is not None:
                self._reading_ahead.add(case_id)
                self._controller.background.run(
                    f"read ahead {case_id}", _read, *work, on_done=self._on_read_ahead,
                    on_error=partial(self._on_unread, case_id),
                )  # fmt: skip

    def _on_read_ahead(self, view: CaseView) -> None:
        self._reading_ahead.discard(view.case_id)
        self._remember(view)

    def _on_unread(self, case_id: str, _: Exception) -> None:
        self._reading_ahead.discard(case_id)

    def _work(self, case_id: str) -> tuple[Project, str, str] | None:
        project = self._controller.session.project
        record = next((case for case in self._controller.cases if case.case_id == case_id), None)
        return None if project is None or record is None else (project, record.case_id, record.name)

    def _remember(self, view: CaseView) -> None:
        """Keep the cases seen last, as long as they take less than half of the memory budget."""
        self._views[view.case_id] = view
        self._views.move_to_end(view.case_id)
        while (
            len(self._views) > 1 and sum(v.nbytes for v in self._views.values()) > memory_budget_bytes() // 2
        ):
            self._views.popitem(last=False)


def _read(
    project: Project,
    case_id: str,
    title: str,
    on_progress: Callable[[int, int], None] | None = None,
    is_stale: Callable[[], bool] | None = None,
) -> CaseView:
    def stop() -> None:
        if is_stale is not None and is_stale():
            raise CancelledError("another case is wanted")

    image = open_case(project, case_id, pyramid=True, on_progress=on_progress, stop=is_stale)
    stop()
    return view_of(image, case_id, title, on_progress=on_progress, stop=stop)


def _read_all(works: Sequence[tuple[Project, str, str]]) -> list[CaseView]:
    from napari_medlab.errors import MedlabError

    views = []
    for work in works:
        try:
            views.append(_read(*work))
        except MedlabError:
            continue  # it says why when it is chosen itself
    return views


def _steps(
    project: Project, case_id: str, title: str, is_stale: Callable[[], bool]
) -> Generator[tuple[int, int], None, CaseView]:
    """Read a case, and yield how far it has come in between."""
    from concurrent.futures import ThreadPoolExecutor

    told: queue.SimpleQueue[tuple[int, int] | None] = queue.SimpleQueue()
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(
            _read, project, case_id, title, lambda done, total: told.put((done, total)), is_stale
        )
        reading.add_done_callback(lambda _: told.put(None))
        while (step := told.get()) is not None:
            while not told.empty():  # only the latest counts
                later = told.get()
                if later is None:
                    return reading.result()
                step = later
            yield step
        return reading.result()
