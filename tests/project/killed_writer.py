"""A process that edits without end, and says what is saved; somebody kills it."""

from __future__ import annotations

import json
import random
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

from project_samples import RUN, square

from napari_medlab.project import Project
from napari_medlab.project.edits import Edit, add_candidates, set_region, set_verdict

if TYPE_CHECKING:
    from concurrent.futures import Future


def main(folder: str, seed: int, *, is_early: bool = False) -> None:
    """Edit the project in ``folder``, and print a line of JSON for each edit that is on disk, or is to be: too early."""
    chance = random.Random(seed)
    with Project.open(folder, reader=f"writer {seed}") as project:
        table = project.candidates(RUN)
        objects = list(zip(table.case_ids.tolist(), table.ids.tolist(), strict=True))
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while True:
            edit = _next_edit(project, chance, *chance.choice(objects))
            if is_early:
                _say({"kind": edit.kind})
            future = project.submit(edit)
            if is_early:
                future.result()
                continue
            future.add_done_callback(partial(_acknowledge, edit))
            if chance.random() < 0.3:
                project.undo()
            else:
                future.result()


def _acknowledge(edit: Edit, future: Future[int]) -> None:
    _say({"id": future.result(), "kind": edit.kind, "payload": edit.payload})


def _say(what: dict[str, Any]) -> None:
    sys.stdout.write(f"{json.dumps(what)}\n")
    sys.stdout.flush()


def _next_edit(project: Project, chance: random.Random, case_id: str, object_id: str) -> Edit:
    choice = chance.random()
    if choice < 0.6:
        before = project.verdicts(RUN, reader=project.reader).get(object_id)
        return set_verdict(case_id, RUN, object_id, before=before, after=None if before else "agreed")
    if choice < 0.9:
        drawn = project.regions(owner_id=object_id, reader=project.reader)
        before_region = drawn[0] if drawn else None
        after = square(
            case_id, chance.random(), object_id, before_region.region_id if before_region else None
        )
        return set_region(before_region, after)
    batch = len(project.journal())
    return add_candidates(RUN, case_id, batch, [])


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), is_early="early" in sys.argv)
