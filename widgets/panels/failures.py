"""Where does it fail? The slices of the data in which the model is worse than elsewhere, each a click away from the queue."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from napari_medlab.models.workflows.describe import DescribedRun, WhereItFails, describe_run, where_it_fails
from napari_medlab.widgets.panels.insight import Insight
from napari_medlab.widgets.views.table import RowsTable

if TYPE_CHECKING:
    from napari_medlab.annotations import CandidateTable, FindingTable
    from napari_medlab.hardcases.failures.slices import FailureSlice
    from napari_medlab.project import Project
    from napari_medlab.widgets.controller import Controller
    from napari_medlab.widgets.session import ReviewData

__all__ = ["FailuresView"]

COLUMNS = ("Of", "Where", "Right here", "95 % interval", "Elsewhere", "Objects", "p")


class FailuresView(Insight):
    """Lists slices of failure in words, the strongest evidence first."""

    asked = "Looks at every finding and candidate, and says in which of them the model fails more often than elsewhere."
    start_text = "Find out"
    task_name, task_title = "describe", "Looking where the model fails"

    def __init__(self, controller: Controller) -> None:
        self._described: DescribedRun | None = None
        self._slices: list[tuple[FailureSlice, frozenset[str]]] = []
        self._table = RowsTable(COLUMNS, stretch=1)
        self._table.setToolTip("Click a row: the queue and the gallery list the errors among these objects")
        self._table.rowChosen.connect(self._choose)
        super().__init__(controller, self._table)

    @property
    def run_id(self) -> str:
        """The run whose objects are described; empty for none."""
        return self._described.run_id if self._described is not None else ""

    def work(self, project: Project, review: ReviewData) -> Any:
        """Describe all objects of the run."""
        run_id = review.run_id
        return lambda progress, stop: describe_run(project, run_id, on_progress=progress, stop=stop)

    def take(self, found: DescribedRun) -> None:
        """Keep the descriptors."""
        self._described = found

    def compare(self) -> None:
        """Look for slices at the operating point, in the background."""
        at_point = self._controller.session.at_point
        if self._described is not None and at_point is not None:
            look = partial(where_it_fails, self._described, at_point)
            self._do(lambda _, stop: look(stop=stop), self._show, "Comparing …")

    def clear(self) -> None:
        """Show no slices."""
        self._described, self._slices = None, []
        self._table.set_rows([])

    def _show(self, found: WhereItFails) -> None:
        objects = self._described.objects if self._described is not None else None
        if objects is None:
            return
        self._slices = [(each, _ids(objects.findings, each)) for each in found.findings]
        self._slices += [(each, _ids(objects.candidates, each)) for each in found.candidates]
        kinds = ["findings"] * len(found.findings) + ["marks"] * len(found.candidates)
        self._table.set_rows(
            [
                (kind, each.text.partition(":")[0], f"{each.rate:.0%}", f"{each.interval[0]:.0%} to {each.interval[1]:.0%}",
                 f"{each.rest_rate:.0%}", each.n, f"{each.p_adjusted:.2g}")
                for kind, (each, _) in zip(kinds, self._slices, strict=True)
            ],
            tips=[each.text for each, _ in self._slices],
        )  # fmt: skip
        self._said.setText(_summary(found, len(self._described.skipped) if self._described else 0))
        self._show_running()

    def _choose(self, number: int) -> None:
        """List the errors among the objects of a slice."""
        session = self._controller.session
        session.set_filter(replace(session.filter, object_ids=self._slices[number][1]))


def _ids(table: FindingTable | CandidateTable, found: FailureSlice) -> frozenset[str]:
    return frozenset(table.ids[found.rows].tolist())


def _counted(count: int) -> str:
    return "1 slice" if count == 1 else f"{count} slices"


def _summary(found: WhereItFails, skipped: int) -> str:
    count = len(found.findings) + len(found.candidates)
    text = f"{_counted(count)} of the data, every test counted: click one to list its errors." if count else (
        "Nothing stands out: with this many findings, the model fails nowhere more often than chance would have it."
    )  # fmt: skip
    left_out = f" {found.undescribed:,} objects were not looked at" if found.undescribed else ""
    return text + left_out + (f", {skipped} images cannot be read." if skipped else "." if left_out else "")
