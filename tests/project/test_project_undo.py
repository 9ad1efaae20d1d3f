from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from project_samples import RUN, filled, square

from napari_medlab.project import Project, Verdict
from napari_medlab.project.edits import set_region, set_verdict

NAMES = st.sampled_from([None, "model wrong", "agreed"])
PLACES = st.integers(0, 3)
Value = Verdict | float | None
Change = tuple[str, int, Value, Value]


class Reviewing(RuleBasedStateMachine):
    """A reader at work, against a model of two dictionaries and two stacks."""

    def __init__(self) -> None:
        super().__init__()
        self.parent = Path(tempfile.mkdtemp())
        self.project = filled(self.parent / "p", cases=2, candidates=2)
        table = self.project.candidates(RUN)
        self.objects = list(zip(table.case_ids.tolist(), table.ids.tolist(), strict=True))
        self.state: dict[tuple[str, int], Value] = {}
        self.done: list[Change] = []
        self.undone: list[Change] = []

    @rule(place=PLACES, name=NAMES)
    def judge(self, place: int, name: str | None) -> None:
        after = Verdict(name) if name else None  # type: ignore[arg-type]  # one of the names
        before = self.state.get(("verdict", place))
        assert before is None or isinstance(before, Verdict)
        case_id, object_id = self.objects[place]
        self.project.commit(set_verdict(case_id, RUN, object_id, before=before, after=after))
        self._did(("verdict", place, before, after))

    @rule(place=PLACES, size=st.sampled_from([1.0, 2.5]))
    def draw(self, place: int, size: float) -> None:
        before = self.state.get(("region", place))
        after = None if before == size else size
        case_id, object_id = self.objects[place]
        old, new = (
            square(case_id, value, object_id, f"region-{place}") if isinstance(value, float) else None
            for value in (before, after)
        )
        self.project.commit(set_region(old, new))
        self._did(("region", place, before, after))

    @rule()
    def undo(self) -> None:
        entry = self.project.undo()
        assert (entry is None) == (not self.done)
        if entry is not None:
            change = self.done.pop()
            assert entry.case_id == self.objects[change[1]][0]
            self.undone.append(change)
            self._set(change[:2], change[2])

    @rule()
    def redo(self) -> None:
        entry = self.project.redo()
        assert (entry is None) == (not self.undone)
        if entry is not None:
            change = self.undone.pop()
            assert entry.case_id == self.objects[change[1]][0]
            self.done.append(change)
            self._set(change[:2], change[3])

    @rule()
    def reopen(self) -> None:
        self.project.close()
        self.project = Project.open(self.parent / "p", reader="bob")

    @invariant()
    def stored_as_in_the_model(self) -> None:
        places = {object_id: place for place, (_, object_id) in enumerate(self.objects)}
        stored: dict[tuple[str, int], Value] = {
            ("verdict", places[object_id]): verdict
            for object_id, verdict in self.project.verdicts(RUN).items()
        }
        for region in self.project.regions():
            stored["region", places[region.owner_id]] = float(region.rings[0].max())
        assert stored == self.state

    def teardown(self) -> None:
        assert self.project.verify() == []
        self.project.close()
        shutil.rmtree(self.parent)

    def _did(self, change: Change) -> None:
        self.done.append(change)
        self.undone.clear()
        self._set(change[:2], change[3])

    def _set(self, key: tuple[str, int], value: Value) -> None:
        if value is None:
            self.state.pop(key, None)
        else:
            self.state[key] = value


def test_undo_and_redo_follow_a_simple_model() -> None:
    run_state_machine_as_test(
        Reviewing,
        settings=settings(
            max_examples=25,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
