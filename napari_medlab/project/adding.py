"""Bringing images into a project: what the window and the command line share."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from filecmp import cmp
from itertools import count
from typing import TYPE_CHECKING, Any, TypeVar

from napari_medlab.annotations import new_id
from napari_medlab.errors import InputRefusedError
from napari_medlab.project.edits import add_case, canonical
from napari_medlab.project.records import CaseRecord
from napari_medlab.project.sources import Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from napari_medlab.images import Decisions
    from napari_medlab.project.project import Project
    from napari_medlab.project.records import Split

__all__ = ["Source", "add_images"]

SHOWN = 10
"""How many refusals are written out."""
NOTHING_ADDED = "Nothing was added. On the command line --skip-refused adds the others."
DOUBLE_ENDINGS = (".nii.gz", ".ome.tif", ".ome.tiff")
"""Endings of two parts, of which neither is the case's name."""

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class _Read:
    """An image whose header was read: what it came from, its case, and what was done to its pixels."""

    source: Source
    record: CaseRecord
    lineage: tuple[str, ...]


def add_images(
    project: Project, sources: Sequence[Path | Source], *, split: Split = "train", patient: str | None = None,
    on_refused: Callable[[InputRefusedError], None] | None = None,
) -> Iterator[CaseRecord]:  # fmt: skip
    """Add images to a project, and yield each case once it is on disk.

    All images are opened (their headers are read) before the first is added: none is where one is refused and nobody is
    told of it.

    Parameters
    ----------
    project : Project
    sources : sequence of Path or Source
        Files, or folders that each hold one series. A path may come several times, with different decisions.
    split : {"train", "test"}
        Cases for ``"test"`` are frozen.
    patient : str, optional
        The identifier of the patient to whom those belong whose source names nobody. It stays in the project's
        private folder; a random key stands for it. Images without a patient belong to one where they share
        an exam or a path, and to different ones otherwise.
    on_refused : callable, optional
        Told of each image that is refused; the others are added then.

    Raises
    ------
    InputRefusedError
        Naming up to ten of the images that cannot be opened, or are in the project already (``exists``), or whose
        patient has a case in the other split (``patient-in-both-splits``), or that are copies of one there
        (``image-in-both-splits``). Where one image alone was to be added, its own refusal, with its options.
    """
    wanted = [source if isinstance(source, Source) else Source(source) for source in sources]
    wanted = [replace(source, patient=source.patient or patient or "") for source in wanted]
    read = _read_all(project, wanted, split, on_refused)
    for one in _with_patients(project, read, split, on_refused):
        source, case_id = one.source, one.record.case_id
        project.names.remember(case_id, source=str(source.path.resolve()), patient=source.patient or None)
        project.commit(add_case(one.record, one.lineage))
        yield one.record


def _read_all(
    project: Project,
    sources: Sequence[Source],
    split: Split,
    on_refused: Callable[[InputRefusedError], None] | None,
) -> list[_Read]:
    known = project.cases()
    taken = {(case.path, _choice(case.decisions)) for case in known}
    names = Counter((case.path, case.name) for case in known)
    on_path = Counter(case.path for case in known)

    def read(source: Source) -> _Read:
        one = _read_one(project, source, split, taken)
        path = one.record.path
        on_path[path] += 1
        free = (name for name in _names_for(source, on_path[path]) if not names[path, name])
        name = source.name or next(free)
        names[path, name] += 1
        return replace(one, record=replace(one.record, name=name))

    return _accepted(read, sources, on_refused)


def _accepted(
    act: Callable[[Item], Result],
    items: Sequence[Item],
    on_refused: Callable[[InputRefusedError], None] | None,
) -> list[Result]:
    """Call a function with each item; raise one error for all that it refuses, unless somebody is told of each."""
    done: list[Result] = []
    refusals: list[InputRefusedError] = []
    for item in items:
        try:
            done.append(act(item))
        except InputRefusedError as error:
            if on_refused is not None:
                on_refused(error)
                continue
            if len(items) == 1:
                raise
            refusals.append(error)
    if refusals:
        lines = [error.message for error in refusals[:SHOWN]]
        more = f"\n… and {len(refusals) - SHOWN} more" if len(refusals) > SHOWN else ""
        raise InputRefusedError("\n".join(lines) + more, code=refusals[0].code, hint=NOTHING_ADDED)
    return done


def _read_one(project: Project, source: Source, split: Split, taken: set[tuple[str, str]]) -> _Read:
    from napari_medlab.images import fingerprint, open_image

    stored, decisions = project.stored_path(source.path), source.decisions.as_json()
    key = (stored, _choice(decisions))
    if key in taken:
        raise InputRefusedError(
            f"{source.path} is in the project already.",
            code="exists",
            hint="To state a pixel size, remove the case first: napari-medlab project remove."
            if source.decisions.pixel_size_um
            else "",
        )
    taken.add(key)
    image = open_image(source.path, source.decisions)
    record = CaseRecord(
        case_id=new_id(),
        path=stored,
        name="",
        kind=image.kind,
        modality=image.modality,
        split=split,
        frozen=split == "test",
        fingerprint=fingerprint(source.path),
        grid=image.grid.as_json(),
        decisions=decisions,
        exam_key=source.exam_key,
        view=source.view,
    )
    return _Read(source, record, image.lineage)


def _choice(decisions: dict[str, Any]) -> str:
    """Return which image of a path is meant: with another pixel size it is the same one."""
    return canonical({name: value for name, value in decisions.items() if name != "pixel_size_um"})


def _with_patients(
    project: Project,
    read: Sequence[_Read],
    split: Split,
    on_refused: Callable[[InputRefusedError], None] | None,
) -> list[_Read]:
    """Return what was read with the key of each patient; refuse patients and images that the other split has."""
    cases = project.cases()
    others = [case for case in cases if case.split != split]
    elsewhere = {tie: case for case in others for tie in _ties(case)}
    copies = {(case.fingerprint, _choice(case.decisions)): case for case in others if case.path}

    def check(one: _Read) -> _Read:
        key = project.names.known_patient_key(one.source.patient)
        ties = _ties(replace(one.record, patient_key=key or ""))
        if one.source.patient and one.source.path.is_dir():
            ties.discard(("path", one.record.path))  # a folder may hold the series of several patients
        other = next((elsewhere[tie] for tie in ties if tie in elsewhere), None)
        if other is not None:
            raise InputRefusedError(
                f"{one.source.path.name} shares its patient with case {other.case_id} of the {other.split} split: "
                "a frozen test case never shares its patient with a training case.",
                code="patient-in-both-splits",
                hint="Add it to the same split.",
            )
        other = copies.get((one.record.fingerprint, _choice(one.record.decisions)))
        if other is not None and _is_copy(one.source.path, project.case_path(other.case_id)):
            raise InputRefusedError(
                f"{one.source.path.name} is a copy of {other.name} of the {other.split} split: what a model was trained on "
                "says nothing about how good it is.",
                code="image-in-both-splits",
                hint="Add it to the same split, or leave it out.",
            )
        return one

    keys = {tie: case.patient_key for case in cases if case.patient_key for tie in _ties(case)}
    owned = []
    for one in _accepted(check, read, on_refused):
        ties = _ties(one.record)
        patient = one.source.patient
        inherited = next((keys[tie] for tie in sorted(ties) if tie in keys), None)
        key = project.names.patient_key(patient) if patient else inherited or new_id()
        keys.update(dict.fromkeys(ties, key))
        owned.append(replace(one, record=replace(one.record, patient_key=key)))
    return owned


def _is_copy(path: Path, other: Path) -> bool:
    """Tell a copy from an image whose fingerprint, which covers a part of a large file, happens to be the same."""
    if path.is_dir() or other.is_dir():
        return path.is_dir() and other.is_dir()  # it covers the names, and the contents of many files
    return other.is_file() and cmp(path, other, shallow=False)


def _ties(case: CaseRecord) -> set[tuple[str, str]]:
    """Return what a case shares with others of its patient: the patient's key, its exam and its path."""
    ties = {("patient", case.patient_key), ("exam", case.exam_key), ("path", case.path)}
    return {tie for tie in ties if tie[1]}


def _names_for(source: Source, number: int) -> Iterator[str]:
    """Yield names for the case that is the ``number``-th of its path, the best first."""
    name, told = _name_of(source.path), _told(source.decisions)
    yield name
    if told:
        yield f"{name} ({told})"
    for further in count(number):
        yield f"{name} (series {further}{', ' if told else ''}{told})"


def _told(decisions: Decisions) -> str:
    """Return what was chosen from an image that holds several, in words."""
    parts = [f"volume {decisions.phase + 1}"] if decisions.phase is not None else []
    parts += {"split": [f"block {decisions.block + 1}"], "resample": ["resampled"], "": []}[decisions.uneven]
    return ", ".join(parts)


def _name_of(path: Path) -> str:
    name = path.resolve().name
    if path.is_dir():
        return name
    double = next((ending for ending in DOUBLE_ENDINGS if name.lower().endswith(ending)), "")
    return name[: -len(double)] if double else path.resolve().stem
