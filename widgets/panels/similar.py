"""What is alike? A map of all objects by what the model sees in them, to lasso, and the nearest neighbours of one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.hardcases.failures.similarity import Layout, Neighbours, lay_out
from napari_medlab.jobs.worker_process import WorkerProcess
from napari_medlab.models.inference.worker import MODULE
from napari_medlab.models.workflows.embed import EmbeddedRun, embed_run
from napari_medlab.widgets.panels.insight import Insight
from napari_medlab.widgets.panels.panel import button
from napari_medlab.widgets.views.scatter import ScatterView

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_medlab.models.bundles import Bundle
    from napari_medlab.project import Project
    from napari_medlab.widgets.controller import Controller
    from napari_medlab.widgets.session import ReviewData

__all__ = ["SimilarView"]

NEIGHBOURS = 24


@dataclass(frozen=True, eq=False)
class _Map:
    run: EmbeddedRun
    layout: Layout
    neighbours: Neighbours
    ids: NDArray[np.str_]


class SimilarView(Insight):
    """A map of the objects of the run under review."""

    asked = "Lays all findings and candidates out so that what looks alike to the model lies together: draw around a group."
    start_text = "Lay out"
    task_name, task_title = "embed", "Laying out what is alike"

    def __init__(self, controller: Controller) -> None:
        self._map: _Map | None = None
        self.scatter = ScatterView()
        self.scatter.lassoed.connect(self._choose)
        self.scatter.pointChosen.connect(self._open)
        tip = f"List the {NEIGHBOURS} errors most like the current one"
        super().__init__(controller, self.scatter, button("Like the current one", self._choose_alike, tip))

    @property
    def run_id(self) -> str:
        """The run that is laid out; empty for none."""
        return self._map.run.run_id if self._map is not None else ""

    def work(self, project: Project, review: ReviewData) -> Any:
        """Embed all objects of the run and lay them out."""
        bundle, run_id = self._controller.models.bundle(review.bundle_hash), review.run_id
        return lambda progress, stop: _map_of(project, run_id, bundle, progress, stop)

    def take(self, found: _Map) -> None:
        """Keep the map."""
        self._map = found

    def clear(self) -> None:
        """Show an empty map."""
        self._map = None
        self.scatter.set_points(np.zeros((0, 2)), [], lambda _: "")

    def compare(self) -> None:
        """Draw the map with the kinds that objects have at the operating point."""
        made, session = self._map, self._controller.session
        if made is None or session.at_point is None:
            return
        at, kinds = session.at_point, dict.fromkeys(made.ids.tolist(), "below")
        is_miss = at.kind == "fn"
        kinds |= dict(
            zip(np.where(is_miss, at.finding_id, at.candidate_id).tolist(), at.kind.tolist(), strict=True)
        )
        # a finding that is found is where its candidate is
        kinds |= {str(i): "finding" for i in at.finding_id[at.kind == "tp"]}
        names = {case.case_id: case.name for case in self._controller.cases}
        cases = made.run.objects.cases_of_rows()

        def describe(number: int) -> str:
            return f"{kinds[str(made.ids[number])]} in {names.get(str(cases[number]), '')}"

        text = f"{len(made.ids):,} objects by {made.run.source}"
        if made.layout.landmarks < len(made.ids):
            text += f"; {made.layout.landmarks:,} of them laid out, the others beside them"
        self.scatter.set_points(
            made.layout.points, [kinds[i] for i in made.ids.tolist()], describe, caption=text
        )
        self._said.setText(
            "Draw around points: the queue and the gallery list the errors among them. Click one to open it."
        )

    def _choose(self, numbers: list[int]) -> None:
        if self._map is not None:
            chosen = frozenset(self._map.ids[numbers].tolist()) if numbers else None
            session = self._controller.session
            session.set_filter(replace(session.filter, object_ids=chosen))

    def _open(self, number: int) -> None:
        """Show the object of a point."""
        if self._map is None:
            return
        session, object_id = self._controller.session, str(self._map.ids[number])
        place = session.queue.row_of(object_id)
        if place >= 0:
            session.go_to(place)
        else:
            session.show_case(str(self._map.run.objects.cases_of_rows()[number]))
            session.select(object_id)

    def _choose_alike(self) -> None:
        """List the errors most like the one that is looked at."""
        session = self._controller.session
        if self._map is None or not session.selected_id:
            self._said.setText("Lay the objects out first, and choose one.")
            return
        rows = np.flatnonzero(self._map.ids == session.selected_id)
        if not len(rows):
            self._said.setText("What is chosen is not on the map.")
            return
        order, _ = self._map.neighbours.of_row(int(rows[0]), len(self._map.ids) - 1)
        errors = set(session.errors.object_ids)
        near = [object_id for object_id in self._map.ids[order].tolist() if object_id in errors][:NEIGHBOURS]
        session.set_filter(replace(session.filter, object_ids=frozenset([session.selected_id, *near])))
        self.scatter.select([int(row) for row in np.flatnonzero(np.isin(self._map.ids, near))], int(rows[0]))


def _map_of(
    project: Project,
    run_id: str,
    bundle: Bundle | None,
    progress: Callable[[int, int], None],
    stop: Callable[[], None],
) -> _Map:
    """Embed and lay out; the network runs in a process of its own, so that the window does not feel it."""
    worker = WorkerProcess(MODULE) if bundle is not None else None
    try:
        run = embed_run(project, run_id, bundle, worker=worker, on_progress=progress, stop=stop)
    finally:
        if worker is not None:
            worker.close()
    layout = lay_out(run.vectors, on_progress=progress, stop=stop)
    return _Map(run, layout, Neighbours(run.vectors), run.objects.ids())
