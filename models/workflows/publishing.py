"""From a proposal to the current model and back: run what is missing, judge, publish, roll back; nothing is overwritten."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from napari_medlab.errors import InputRefusedError, ProjectError
from napari_medlab.models.bundles import find_bundle, read_bundle, shipped_bundles
from napari_medlab.models.workflows.judge import Judgement, JudgeRule, check_reference, judge, usual_rule
from napari_medlab.models.workflows.predict import register_bundle, run_bundle
from napari_medlab.project.edits import set_current_bundle

if TYPE_CHECKING:
    from collections.abc import Generator

    from napari_medlab.jobs import CancelToken
    from napari_medlab.jobs.worker_process import Worker
    from napari_medlab.models.bundles import Bundle
    from napari_medlab.models.workflows.predict import RunEvent
    from napari_medlab.project import Project

__all__ = ["current_model", "judge_bundles", "newest_proposal", "publish", "published_before", "roll_back"]


def current_model(project: Project) -> Bundle:
    """Return the bundle that a project works with: the published one, else the one that ships that reads most of its cases.

    Of several that read as many, and in a project without cases, it is one that finds lesions.

    Raises
    ------
    InputRefusedError
        Where its files cannot be used.
    """
    current = project.current_bundle()
    if current is not None:
        return find_bundle(current, [project.folder / "bundles"])
    counts = Counter(case.kind for case in project.cases())

    def rank(bundle: Bundle) -> tuple[int, bool]:
        return -sum(counts[kind] for kind in bundle.preprocessing.kinds), bundle.task != "detection"

    return min(shipped_bundles(), key=rank)


def newest_proposal(project: Project) -> Bundle:
    """Return the bundle that was trained last in a project and is not the current one.

    Raises
    ------
    InputRefusedError
        Where there is none, or its files cannot be used.
    """
    current = project.current_bundle()
    trained = [one for one in project.bundles() if one.origin == "trained" and one.hash != current]
    if not trained:
        raise InputRefusedError(
            "No model was trained in this project that is not the current one.", code="no-proposal",
            hint="Train one first, or name a model.",
        )  # fmt: skip
    return read_bundle(project.folder / trained[-1].path)


def judge_bundles(
    project: Project, current: Bundle, proposed: Bundle, worker: Worker, cancel: CancelToken, rule: JudgeRule | None = None
) -> Generator[RunEvent, None, Judgement]:  # fmt: skip
    """Run both bundles over the frozen test cases that they are not done with, and judge; a generator that returns it.

    Parameters
    ----------
    project : open for writing
    current, proposed : Bundle
    worker : what serves :data:`napari_medlab.models.inference.worker.HANDLERS`
    cancel : stops between two batches of tiles; what was committed stays
    rule : JudgeRule, optional
        The usual one for the proposal by default.

    Raises
    ------
    InputRefusedError
        ``"no-frozen-cases"``; ``"same-model"``; ``"task"`` where the two are not for the same; ``"no-reference"`` where
        nothing is known of the frozen cases, and ``"no-outlines"`` where the rule looks at outlines and the reference has
        none there, both before anything is run; as :func:`run_bundle` and :func:`judge` do.
    CancelledError, WorkerDiedError, ProjectError
    """
    kinds = proposed.preprocessing.kinds
    cases = [case.case_id for case in project.cases() if case.frozen and case.kind in kinds]
    if not cases:
        raise InputRefusedError(
            f"The project has no frozen test cases that {proposed.title} reads, so nothing can judge it.", code="no-frozen-cases",
            hint="Add cases that no training has seen, with: napari-medlab project add DIR PATH --split test.",
        )  # fmt: skip
    if current.hash == proposed.hash:
        raise InputRefusedError(
            f"{proposed.title} is the current model already.", code="same-model", hint="Choose another one."
        )
    if current.task != proposed.task or current.classes != proposed.classes:
        raise InputRefusedError(
            f"{proposed.title} is for {proposed.task} ({', '.join(proposed.classes)}), and the current model {current.title} "
            f"for {current.task} ({', '.join(current.classes)}): they cannot be held against each other.",
            code="task", hint="Name the model that it is to be held against.",
        )  # fmt: skip
    by = rule or usual_rule(proposed)
    check_reference(project, cases, by)
    current_run = yield from _run(project, current, cases, worker, cancel)
    proposed_run = yield from _run(project, proposed, cases, worker, cancel)
    return judge(project, current_run, proposed_run, by, kinds=kinds, cancel=cancel)


def publish(project: Project, bundle_hash: str, judgement: Judgement) -> None:
    """Make a bundle the current one; the one before stays, and the step can be undone.

    Raises
    ------
    ProjectError
        ``"worse"`` where the judgement speaks against it; ``"other-current"`` where it is about another pair of models.
    """
    if not judgement.may_publish:
        raise ProjectError(judgement.reason, code="worse", hint="The current model stays.")
    current = project.current_bundle()
    if judgement.bundle_hash != bundle_hash or current not in (None, judgement.against_hash):
        raise ProjectError(
            "The judgement is about another pair of models than the one to publish and the current one.",
            code="other-current", hint="Judge it again.",
        )  # fmt: skip
    project.commit(set_current_bundle(current, bundle_hash))


def published_before(project: Project) -> str | None:
    """Return the hash of the bundle that was current before the current one; ``""`` for the one that ships, None for none.

    Steps that were rolled back or undone do not count: each roll back goes one step further.
    """
    line = _line(project)
    return None if len(line) < 2 else line[-2] or ""


def roll_back(project: Project) -> str:
    """Make the bundle current that was current before, an edit like any other, and return its hash; ``""`` for what ships.

    Raises
    ------
    ProjectError
        ``"nothing-before"`` where no model was published; ``"missing"`` where the files of the one before are gone.
    """
    before = published_before(project)
    if before is None:
        raise ProjectError(
            "No model was published before the current one.",
            code="nothing-before",
            hint="There is nothing to roll back to.",
        )
    if before:
        _check_there(project, before)
    project.commit(set_current_bundle(project.current_bundle(), before or None))
    return before


def _line(project: Project) -> list[str | None]:
    """Return the bundles that were current, oldest first, without what was taken back; None stands for what ships."""
    line: list[str | None] = [None]
    for entry in project.journal(kinds=["bundle.current"]):
        after = entry.payload["after"]
        if len(line) > 1 and line[-2] == after:
            line.pop()
        elif line[-1] != after:
            line.append(after)
    return line


def _check_there(project: Project, wanted: str) -> None:
    if any(bundle.hash == wanted for bundle in shipped_bundles()):
        return
    record = next((one for one in project.bundles() if one.hash == wanted), None)
    if record is None or not (project.folder / record.path).is_dir():
        name = wanted[:12] if record is None else record.name
        raise ProjectError(
            f"The files of the model before, {name}, are not there any more.", code="missing",
            hint="Bring its folder back from a backup; the current model stays.",
        )  # fmt: skip


def _run(
    project: Project, bundle: Bundle, cases: list[str], worker: Worker, cancel: CancelToken
) -> Generator[RunEvent, None, str]:
    """Run a bundle over the cases that it is not done with, and return the run."""
    register_bundle(project, bundle, "imported")
    run_id = ""
    for event in run_bundle(project, bundle, cases, worker, cancel):
        run_id = event.run_id
        yield event
    return run_id
