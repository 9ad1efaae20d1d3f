"""The journal of experiments of a project: every model and every foreign run as a row, from what is stored alone."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from napari_medlab.errors import InputRefusedError
from napari_medlab.evaluation import Resampling
from napari_medlab.evaluation.report import json_interval, json_number, report
from napari_medlab.models.bundles.bundle import SPEC
from napari_medlab.models.bundles.documents import read_document
from napari_medlab.models.bundles.spec import spec_hash
from napari_medlab.models.workflows.experiment_changes import changes_between
from napari_medlab.models.workflows.hard_examples import READERS_EDITS
from napari_medlab.models.workflows.judge import compare_runs, match_run
from napari_medlab.project.edits import set_conclusion
from napari_medlab.project.keep_lists import WORD, Keys
from napari_medlab.reports.experiments import Experiment, Figure, without

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from napari_medlab.jobs import CancelToken
    from napari_medlab.project import BundleRecord, JournalEntry, JudgementRecord, Project, RunRecord

__all__ = ["conclude", "experiments_of", "model_named", "shareable_experiments"]

OBJECT_NAMES = ("object_id", "region_id", "finding_id")
CPM = "CPM"
LONGEST_SPEC = 1 << 20


def experiments_of(
    project: Project, *, evaluate: bool = True, cancel: CancelToken | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Experiment]:  # fmt: skip
    """Return a row for every bundle that the project knows and every run of predictions made elsewhere, oldest first.

    Figures are those of the last judgement about a model. One that was never judged itself, and that another was held against
    by another measure than the CPM, has the figure that it reached there, so that like stands beside like. All others are
    measured: the CPM of the newest run that is done with all frozen test cases, and the paired difference to the parent's.

    Parameters
    ----------
    project : Project
    evaluate : bool
        Whether what was never judged is measured, which takes a while for large test sets.
    cancel : CancelToken, optional
        Looked at between two models.
    on_progress : callable, optional
        Called with the models done and in all.

    Raises
    ------
    CancelledError
    ProjectError
        ``bit-rot`` where the project is damaged.
    """
    known = _Known(project)
    rows = [*(_of_bundle(known, record) for record in known.bundles.values())]
    rows += [_of_run(known, run) for run in known.runs if not run.bundle_hash]
    rows.sort(key=lambda row: row.at)
    done = []
    for number, row in enumerate(rows):
        if cancel is not None:
            cancel.check()
        if on_progress is not None:
            on_progress(number, len(rows))
        done.append(_measured(known, row) if evaluate and row.figure is None else row)
    return done


def conclude(project: Project, about: str, text: str) -> int:
    """Store what somebody concluded about a model, and return the id of the edit; empty text takes it away.

    Raises
    ------
    ProjectError
        ``unknown-bundle``, ``read-only``, ``disk``.
    InputRefusedError
        ``conclusion`` for text that cannot be stored.
    """
    return project.commit(set_conclusion(about, project.conclusions().get(about, ""), text))


def model_named(project: Project, name: str) -> str:
    """Return what a conclusion is about, by a name, or by the first digits of a hash or of a run's id.

    Raises
    ------
    InputRefusedError
        ``unknown-bundle`` where it is nothing or several.
    """
    records, runs = project.bundles(), [run for run in project.runs() if not run.bundle_hash]
    exact = [
        record.hash
        for record in records
        if name in (record.hash, record.name, f"{record.name} · {record.hash[:8]}")
    ]
    begun = [record.hash for record in records if record.hash.startswith(name)]
    found = exact or [*begun, *(run.run_id for run in runs if run.run_id.startswith(name))]
    if len(found) == 1 and name:
        return found[0]
    several = f"{len(found)} models are called" if found else "No model of the project is called"
    meant = [record for record in records if record.hash in found] or records
    listed = ", ".join(f"{record.name} {record.hash[:8]}" for record in meant[-8:])
    raise InputRefusedError(
        f"{several} {name!r}.", code="unknown-bundle",
        hint=f"Name one by the first digits of its hash: {listed or 'there is none yet'}.",
    )  # fmt: skip


def shareable_experiments(project: Project, rows: Iterable[Experiment]) -> list[Experiment]:
    """Return rows as they may leave: names of files, patients, cases and readers of the project are put out of every text.

    A model whose name is not made of plain letters and digits goes by its hash, and an id that is none of ours by a random
    key. What else people wrote into a conclusion stays as it is.
    """
    hide, key = project.without_names(), Keys().of

    def named(name: str, about: str) -> str:
        return hide(name) if not name or WORD.fullmatch(name) else about[:12]

    keyed = (
        replace(
            row,
            about=key(row.about),
            parent=key(row.parent),
            against=key(row.against),
            run_id=key(row.run_id),
        )
        for row in without(rows, hide)
    )
    return [
        replace(
            row, name=named(row.name, row.about), parent_name=named(row.parent_name, row.parent),
            against_name=named(row.against_name, row.against),
        )
        for row in keyed
    ]  # fmt: skip


@dataclass
class _Known:
    """What the rows are made of, each read once."""

    project: Project
    specs: dict[str, dict[str, Any] | None] = field(default_factory=dict)

    @cached_property
    def bundles(self) -> dict[str, BundleRecord]:
        return {record.hash: record for record in self.project.bundles()}

    @cached_property
    def runs(self) -> list[RunRecord]:
        return self.project.runs()

    @cached_property
    def conclusions(self) -> dict[str, str]:
        return self.project.conclusions()

    @cached_property
    def current(self) -> str | None:
        return self.project.current_bundle()

    @cached_property
    def added(self) -> dict[str, str]:
        """When each bundle came into the project."""
        return {entry.payload["hash"]: entry.at for entry in self.project.journal(kinds=("bundle.add",))}

    @cached_property
    def published(self) -> dict[str, list[str]]:
        """When each bundle became the current one."""
        found: dict[str, list[str]] = {}
        for entry in self.project.journal(kinds=("bundle.current",)):
            if entry.payload["after"] is not None:
                found.setdefault(entry.payload["after"], []).append(entry.at)
        return found

    @cached_property
    def judged(self) -> dict[str, JudgementRecord]:
        """The last judgement about each proposal; predictions made elsewhere by their run."""
        return {each.bundle_hash or each.run_id: each for each in self.project.judgements()}

    @cached_property
    def held_against(self) -> dict[str, JudgementRecord]:
        """The last judgement of another model against each; predictions made elsewhere by their run."""
        return {each.against_hash or each.against_run_id: each for each in self.project.judgements()}

    @cached_property
    def exported(self) -> dict[str, frozenset[int]]:
        """The edits in each package that was written, by the hash of its manifest."""
        return {each.manifest_digest: frozenset(each.edit_ids) for each in self.project.exports()}

    @cached_property
    def objects(self) -> dict[int, frozenset[str]]:
        """The objects that each edit of a reader is about which was not taken back."""
        if not any(self.exported.values()):
            return {}
        return _objects_of(self.project.journal(kinds=READERS_EDITS))

    @cached_property
    def frozen(self) -> set[str]:
        return {case.case_id for case in self.project.cases() if case.frozen}

    def spec(self, digest: str) -> dict[str, Any] | None:
        """Return what a bundle says of itself; None where its files are not here, or are others."""
        if digest not in self.specs:
            record = self.bundles.get(digest)
            self.specs[digest] = None if record is None else _spec_of(self.project, record)
        return self.specs[digest]

    def parent(self, digest: str) -> str:
        """Return the hash of a bundle's parent; empty for none."""
        record = self.bundles.get(digest)
        return (record.parent or "") if record is not None else ""

    def line(self, digest: str) -> list[str]:
        """Return a bundle and its known ancestors, itself first."""
        found: list[str] = []
        while digest in self.bundles and digest not in found:
            found.append(digest)
            digest = self.parent(digest)
        return found

    def edits(self, digest: str) -> frozenset[int]:
        """Return the edits in the packages that a bundle was trained on."""
        packages = ((self.spec(digest) or {}).get("training") or {}).get("packages")
        hashes = packages if isinstance(packages, list) else []
        return frozenset().union(
            *(self.exported.get(each, frozenset()) for each in hashes if isinstance(each, str))
        )

    def name(self, digest: str) -> str:
        return self.bundles[digest].name if digest in self.bundles else ""

    def tested(self, about: str) -> str:
        """Return the newest run of a model that is done with all frozen test cases; empty where there is none."""
        runs = [run.run_id for run in self.runs if about in (run.bundle_hash or run.run_id, run.run_id)]
        if not self.frozen:
            return ""
        return next((run for run in reversed(runs) if self.frozen <= self.project.cases_done(run)), "")


def _of_bundle(known: _Known, record: BundleRecord) -> Experiment:
    spec, parent = known.spec(record.hash), record.parent or ""
    training = (spec or {}).get("training") or {}
    line = known.line(record.hash)
    edits = frozenset().union(*map(known.edits, line))
    packages, examples = training.get("packages"), training.get("examples", training.get("samples"))
    row = Experiment(
        record.hash, _when(known, record, spec), record.name, record.origin, parent,
        known.name(parent), len(line) - 1,
        ("its files are not here",) if spec is None else changes_between(known.spec(parent), spec),
        len(packages) if isinstance(packages, list) else 0, examples if isinstance(examples, int) else 0, len(edits),
        len(frozenset().union(*(known.objects.get(each, frozenset()) for each in edits))),
        published=tuple(known.published.get(record.hash, ())), is_current=record.hash == known.current,
        conclusion=known.conclusions.get(record.hash, ""),
    )  # fmt: skip
    return _judged(known, row)


def _of_run(known: _Known, run: RunRecord) -> Experiment:
    model = run.configuration.get("model")
    name = model if isinstance(model, str) and model else "imported predictions"
    row = Experiment(
        run.run_id, run.created, name, "predictions", conclusion=known.conclusions.get(run.run_id, "")
    )
    return _judged(known, row)


def _when(known: _Known, record: BundleRecord, spec: dict[str, Any] | None) -> str:
    """Return when a bundle was trained; one that was made elsewhere is dated by when it came."""
    created = (spec or {}).get("created")
    is_own = record.origin == "trained" and isinstance(created, str) and created
    return str(created) if is_own else known.added.get(record.hash, "")


def _judged(known: _Known, row: Experiment) -> Experiment:
    """Return a row with what the last judgement says; as it is where none is about it or was held against it."""
    found = known.judged.get(row.about)
    if found is None:
        return _held_against(known, row)
    figures, metric = found.figures, _metric(found)
    against = found.against_hash or found.against_run_id
    return replace(
        row, figure=_figure(metric, figures.get("proposed"), figures.get("proposed_interval")),
        difference=_figure(metric, figures.get("difference"), figures.get("difference_interval")),
        against=against, against_name=known.name(against),
        verdict="may be published" if found.may_publish else "refused", reason=found.reason,
        run_id=found.run_id, against_run_id=found.against_run_id,
    )  # fmt: skip


def _held_against(known: _Known, row: Experiment) -> Experiment:
    """Return a row with what the model reached when another was last held against it; a CPM is measured instead."""
    found = known.held_against.get(row.about)
    if found is None or _metric(found) == CPM:
        return row
    figure = _figure(_metric(found), found.figures.get("current"), found.figures.get("current_interval"))
    return replace(row, figure=figure, run_id=found.against_run_id)


def _metric(judgement: JudgementRecord) -> str:
    """Return in words what a judgement compared."""
    words = judgement.figures.get("metric")
    return words if isinstance(words, str) else str(judgement.rule.get("metric", CPM))


def _measured(known: _Known, row: Experiment) -> Experiment:
    """Return a row with the figures of its newest run on the frozen test cases; as it is where there is none."""
    project, run_id = known.project, known.tested(row.about)
    if not run_id:
        return row
    cases = [case for case in project.cases() if case.case_id in known.frozen]
    parent_run = known.tested(row.parent) if row.parent else ""
    if parent_run:
        both = compare_runs(project, (parent_run, run_id), cases)
        difference = _figure(CPM, json_number(both.difference), json_interval(both.difference_interval))
        ends = None if both.b.intervals is None else json_interval(both.b.intervals.cpm)
        figure = _figure(CPM, json_number(both.cpm_b), ends)
        return replace(
            row, figure=figure, difference=difference, against=row.parent, against_name=row.parent_name,
            run_id=run_id, against_run_id=parent_run,
        )  # fmt: skip
    groups = {case.case_id: case.group for case in cases}
    told = report(match_run(project, run_id, list(groups)), Resampling(), groups)
    ends = None if told.intervals is None else json_interval(told.intervals.cpm)
    return replace(row, figure=_figure(CPM, json_number(told.curve.cpm), ends), run_id=run_id)


def _figure(metric: str, value: object, interval: object) -> Figure | None:
    if not isinstance(value, int | float):
        return None
    low, high = interval if isinstance(interval, list) and len(interval) == 2 else (None, None)
    return Figure(metric, float(value), low, high)


def _spec_of(project: Project, record: BundleRecord) -> dict[str, Any] | None:
    try:
        spec = read_document(project.folder / record.path / SPEC, LONGEST_SPEC)
        return spec if record.path and spec_hash(spec) == record.hash else None
    except (OSError, ValueError):
        return None


def _objects_of(entries: Sequence[JournalEntry]) -> dict[int, frozenset[str]]:
    """Return the objects that each edit is about; those that were taken back, and not made again, are left out."""
    first: dict[int, int] = {}
    standing: dict[int, bool] = {}
    for entry in entries:
        origin = entry.id if entry.undoes is None else first.get(entry.undoes, entry.undoes)
        first[entry.id] = origin
        standing[origin] = entry.undoes is None or not standing.get(origin, True)
    found = {}
    for entry in entries:
        if entry.undoes is None and standing[entry.id]:
            parts = entry.payload.get("edits") or [{"payload": entry.payload}]
            found[entry.id] = frozenset(filter(None, (_object_of(part["payload"]) for part in parts)))
    return found


def _object_of(payload: dict[str, Any]) -> str:
    """Return what an edit is about; an outline is about the object that it outlines."""
    outline = payload.get("after") or payload.get("before") or {}
    owner = outline.get("owner_id", "") if isinstance(outline, dict) else ""
    return str(owner or next((payload[name] for name in OBJECT_NAMES if name in payload), ""))
