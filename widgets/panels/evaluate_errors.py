"""From a figure to the errors behind it: which of them there are, and the way to them in the review queue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_medlab.hardcases.errors.filters import QueueFilter
    from napari_medlab.reports.run_figures import Measure, RunFigures
    from napari_medlab.widgets.controller import Controller

__all__ = ["Evaluated", "open_review"]

UNSEEN = "Frozen test cases are not queued: who learns from their errors has seen them. Compare lists what changed there."
BY_CENTRE = "The queue lists errors by the centre rule, whatever rule the figures go by."


@dataclass(frozen=True, eq=False)
class Evaluated:
    """The figures of one run as they were asked for.

    Parameters
    ----------
    figures : RunFigures
    name : str
        Of the model and the cases, as plots say it.
    split : {"train", "test"}
    measure : Measure
    """

    figures: RunFigures
    name: str
    split: str
    measure: Measure

    @property
    def run_id(self) -> str:
        """The run that the figures are of."""
        return self.figures.run.run_id


def open_review(controller: Controller, shown: Evaluated, chosen: QueueFilter, fp_per_scan: float) -> bool:
    """List errors of a run at an operating point in the queue; return whether they may be looked at.

    Where another run is under review, this one takes its place.
    """
    session = controller.session
    if shown.split == "test":
        session.told.emit(UNSEEN)
        return False
    if shown.measure.rule != "luna16":
        session.told.emit(BY_CENTRE)

    def turn() -> None:
        session.set_operating_point(fp_per_scan)
        session.set_filter(chosen)
        session.go_to(0)

    if session.review is not None and session.review.run_id == shown.run_id:
        turn()
    else:
        controller.reload_review(shown.run_id, then=turn)
    return True
