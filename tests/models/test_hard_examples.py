"""From a run on images of every kind to packages, and what they may never hold."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "widgets"))

from mixed_project import RUN, make_project

from napari_medlab.annotations import Candidate
from napari_medlab.errors import InputRefusedError
from napari_medlab.hardcases.mining import STRATEGIES, MiningRule
from napari_medlab.jobs import CancelledError, CancelToken
from napari_medlab.models.bundles import find_bundle
from napari_medlab.models.classification.cubes import cut_cubes
from napari_medlab.models.training.packages import read_manifest
from napari_medlab.models.training.samples import Sample, read_sample
from napari_medlab.models.workflows.hard_examples import (
    HardOptions,
    choose_examples,
    export_hard_examples,
    queue_of_run,
)
from napari_medlab.models.workflows.hard_splitting import sides_of
from napari_medlab.project import CaseRecord, Project, open_case
from napari_medlab.project.edits import (
    add_candidates,
    add_case,
    add_run,
    finish_case,
    finish_run,
    set_fields,
    set_finding,
    set_verdict,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

ALL = HardOptions(fp_per_scan=8.0, rule=MiningRule("shown", budget=30))
READER = "dr.jane.doe"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(tmp_path_factory.mktemp("mixed") / "project", scans=2, photos=4)


@pytest.fixture
def project(template: Path, tmp_path: Path) -> Iterator[Project]:
    with Project.open(shutil.copytree(template, tmp_path / "project"), reader=READER) as opened:
        yield opened


def exported(
    project: Project, name: str, options: HardOptions = ALL, out: str = "package"
) -> tuple[dict[str, Any], list[Sample]]:
    """Write a package in the project for a model that ships; return its manifest and samples."""
    bundle = find_bundle(name)
    folder = project.folder / out
    list(export_hard_examples(project, bundle, RUN, folder, options))
    package = read_manifest(folder)
    package.check_fits(bundle)
    return package.about, [read_sample(package.verified(example)) for example in package.examples]


def of_kind(project: Project, kind: str) -> list[CaseRecord]:
    return [case for case in project.cases() if case.kind == kind]


@pytest.mark.parametrize(
    ("name", "part", "kind", "shape"),
    [
        ("lung-nodules", "network", "volume", (1, 40, 48, 48)),
        ("lung-nodules", "classifier", "volume", (1, 40, 40, 40)),
        ("mammography", "network", "mammogram", (1, 320, 320)),
        ("glomeruli", "network", "slide", (3, 256, 256)),
    ],
)
def test_every_kind_of_model_gets_what_it_sees(
    project: Project, name: str, part: Literal["network", "classifier"], kind: str, shape: tuple[int, ...]
) -> None:
    about, samples = exported(project, name, replace(ALL, part=part))
    cases = {case.case_id for case in of_kind(project, kind)}
    assert {example["case_id"] for example in about["examples"]} <= cases
    assert {sample.image.shape for sample in samples} == {shape}
    assert all(sample.image.dtype == np.float16 and np.isfinite(sample.image).all() for sample in samples)
    assert [int((~sample.is_ignored).sum()) for sample in samples] == [
        one["boxes"] for one in about["examples"]
    ]
    assert (about["shape"], about["part"]) == (list(shape[1:]), part)
    assert {sample.mask is not None for sample in samples} == {about["task"] == "segmentation"}
    assert {sample.label >= 0 for sample in samples} == {about["task"] == "classification"}
    assert {"replay", "false positive"} <= {one["reason"] for one in about["examples"]}


def test_crops_hold_the_values_of_inference_and_boxes_lie_on_their_findings(project: Project) -> None:
    about, samples = exported(project, "lung-nodules")
    preprocessing = find_bundle("lung-nodules").preprocessing
    boxed = 0
    for record, sample in zip(about["examples"], samples, strict=True):
        prepared = preprocessing.prepare(open_case(project, record["case_id"]))
        middle = prepared.grid.to_index(np.asarray(record["centre"]))
        start = np.rint(middle - (np.asarray(sample.shape) - 1) / 2).astype(int)
        there = prepared.read(start.tolist(), (start + sample.shape).tolist())
        np.testing.assert_array_equal(sample.image, there.astype(np.float16))
        findings = project.findings(record["case_id"])
        world = prepared.grid.to_world(sample.centres + start) if len(sample.boxes) else np.zeros((0, 3))
        for centre in world:
            boxed += 1
            assert np.linalg.norm(findings.centres - centre, axis=1).min() < 2.0
    assert boxed


def test_the_cubes_of_a_classifier_are_those_that_it_judges(project: Project) -> None:
    about, samples = exported(project, "lung-nodules", replace(ALL, part="classifier", margin=0))
    part = find_bundle("lung-nodules").classifier
    assert part is not None
    for record, sample in zip(about["examples"][:6], samples[:6], strict=True):
        image = open_case(project, record["case_id"])
        (cube,) = cut_cubes(
            image, [record["centre"]], part["spacing_mm"], part["shape"], tuple(part["window"])
        )
        np.testing.assert_array_equal(sample.image, cube.astype(np.float16))
        findings = project.findings(record["case_id"])
        away = np.linalg.norm(findings.centres - np.asarray(record["centre"]), axis=1)
        assert sample.label == record["label"] == int((away < findings.diameters / 2).any())
        assert sample.label == 1 or away.min() >= 5.0


def test_masks_are_those_of_the_outlines(project: Project) -> None:
    about, samples = exported(project, "glomeruli")
    misses = [s for s, one in zip(samples, about["examples"], strict=True) if one["reason"] == "miss"]
    assert misses
    for sample in misses:
        assert sample.mask is not None
        assert sample.mask[0, 124:132, 124:132].all()  # what was missed lies in the middle
    assert any(sample.mask is not None and not sample.mask.all() for sample in samples)


@pytest.mark.parametrize("strategy", list(STRATEGIES))
def test_nothing_is_taken_of_frozen_cases_or_of_their_patients(
    project: Project, strategy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    views, (scan, other), photos = (of_kind(project, kind) for kind in ("mammogram", "volume", "photo"))
    frozen = {
        views[0].case_id: replace(views[0], split="test", frozen=True),
        scan.case_id: replace(scan, frozen=True),
    }
    cases = [frozen.get(case.case_id, case) for case in project.cases()]
    monkeypatch.setattr(project, "cases", lambda: cases)
    kept = {case.case_id for case in [other, *photos, *of_kind(project, "slide")]}
    for seed in range(3):
        rule = MiningRule(strategy, budget=200, per_case=50, replay_share=0.7, random_share=0.5, seed=seed)
        chosen = choose_examples(project, RUN, HardOptions(8.0, rule))
        assert set(chosen.case_ids) == kept
    assert chosen.left_out["cases of patients in the test set"] == len(views) - 1


def test_images_that_the_model_cannot_read_are_counted(project: Project) -> None:
    chosen = choose_examples(project, RUN, ALL, bundle=find_bundle("glomeruli"))
    assert chosen.left_out["cases of unknown pixel size"] == 4
    assert chosen.left_out["cases of other kinds"] == 6
    assert set(chosen.case_ids) == {case.case_id for case in of_kind(project, "slide")}


def test_centres_have_as_many_coordinates_as_their_images(project: Project) -> None:
    dims = {case.case_id: 3 if case.kind == "volume" else 2 for case in project.cases()}
    chosen = choose_examples(project, RUN, HardOptions(8.0, MiningRule(budget=300, per_case=100)))
    assert set(chosen.case_ids) == set(dims)
    assert all(len(one.centre) == dims[one.case_id] for one in chosen.examples)


def test_replay_is_of_what_was_found_and_of_places_without_anything(project: Project) -> None:
    chosen = choose_examples(project, RUN, HardOptions(8.0, MiningRule(budget=200, per_case=50)))
    findings = project.findings()
    missed = {item.object_id for item in queue_of_run(project, RUN, 8.0) if item.kind == "fn"}
    replayed = [one for one in chosen.examples if one.reason == "replay"]
    assert not missed & {one.object_id for one in replayed}
    for one in (one for one in replayed if not one.is_positive):
        known = findings.for_case(one.case_id)
        away = np.linalg.norm(known.centres[:, : len(one.centre)] - np.asarray(one.centre), axis=1)
        assert (away >= known.diameters / 2).all()


def test_the_manifest_tells_where_examples_come_from_and_nobody_s_name(project: Project) -> None:
    item = next(
        item for item in queue_of_run(project, RUN, 8.0) if item.kind == "fp" and len(item.object_id) == 32
    )
    project.commit(set_verdict(item.case_id, RUN, item.object_id, before=None, after="model wrong"))
    about, samples = exported(project, "mammography", replace(ALL, validation_share=0.0, folds=0))
    text = (project.folder / "package" / "manifest.json").read_text() + "".join(
        sample.group for sample in samples
    )
    names = [name for case in project.cases() for name in (case.name, case.path, case.patient_key)]
    assert not [name for name in [*names, READER, "dr.jane"] if name in text]
    assert about["reader"] == "reader-2"  # somebody else made the project
    assert about["model"] == {"name": "mammography", "hash": find_bundle("mammography").hash}
    assert about["run_id"] == RUN
    assert about["rule"] == json.loads(json.dumps(ALL.rule.as_json()))
    views = of_kind(project, "mammogram")
    assert about["sources"] == {
        view.case_id: view.fingerprint for view in views if view.case_id in about["sources"]
    }
    # four views of one woman are one patient, told by the first of them
    assert set(about["patients"].values()) == {views[0].case_id}
    assert {sample.group for sample in samples} == {views[0].case_id}
    (export,) = project.exports()
    digest = hashlib.sha256((project.folder / "package" / "manifest.json").read_bytes()).hexdigest()
    assert (export.path, export.format, export.manifest_digest) == ("package", "hard", digest)
    assert list(export.edit_ids) == about["edit_ids"]


def test_what_a_reader_doubts_is_no_example_and_no_background(project: Project) -> None:
    scans = {case.case_id for case in of_kind(project, "volume")}
    queue = queue_of_run(project, RUN, 8.0)
    scan = next(item.case_id for item in queue if item.kind == "fn" and item.case_id in scans)
    items = [item for item in queue if item.case_id == scan]
    doubted = {kind: next(item for item in items if item.kind == kind).object_id for kind in ("fp", "fn")}
    for object_id in doubted.values():
        project.commit(set_verdict(scan, RUN, object_id, before=None, after="ambiguous"))
    about, samples = exported(project, "lung-nodules", replace(ALL, shape=(64,)))
    assert not set(doubted.values()) & {one["object_id"] for one in about["examples"]}
    assert about["left_out"]["label in doubt"] == 2
    prepared = find_bundle("lung-nodules").preprocessing.prepare(open_case(project, scan))
    candidates, findings = project.candidates(RUN, scan), project.findings(scan)
    centres = [
        candidates.centres[candidates.ids == doubted["fp"]][0],
        findings.centres[findings.ids == doubted["fn"]][0],
    ]
    seen: defaultdict[int, list[bool]] = defaultdict(list)
    for record, sample in zip(about["examples"], samples, strict=True):
        start = np.rint(prepared.grid.to_index(np.asarray(record["centre"])) - 31.5)
        for number, centre in enumerate(centres if record["case_id"] == scan else []):
            index = prepared.grid.to_index(centre) - start
            if (index > 0).all() and (index < 63).all():
                nearest = np.linalg.norm(sample.centres - index, axis=1).argmin()
                seen[number].append(bool(sample.is_ignored[nearest]))
    assert seen[0]
    assert all(all(flags) for flags in seen.values())


def test_a_case_that_was_read_and_is_normal_gives_negatives_and_an_unread_one_gives_nothing(
    project: Project, tmp_path: Path
) -> None:
    case = of_kind(project, "volume")[0]
    with Project.create(tmp_path / "healthy", reader="ann") as healthy:
        shutil.copytree(project.folder / "images", healthy.folder / "images", dirs_exist_ok=True)
        healthy.commit(add_case(case))
        healthy.commit(add_run(RUN, "", {}))
        proposed = [
            Candidate(case.case_id, tuple(item.centre), item.score, item.diameter)
            for item in queue_of_run(project, RUN, 100.0)
            if item.case_id == case.case_id and item.kind == "fp"
        ]
        healthy.commit(add_candidates(RUN, case.case_id, 0, proposed))
        healthy.commit(finish_case(RUN, case.case_id, 1.0))
        healthy.commit(finish_run(RUN))
        with pytest.raises(InputRefusedError, match="1 cases nobody has read"):
            exported(healthy, "lung-nodules")
        healthy.commit(set_fields(case.case_id, {}, {"read": "yes"}))
        for part in ("network", "classifier"):
            about, samples = exported(healthy, "lung-nodules", replace(ALL, part=part), out=part)
            assert {one["reason"] for one in about["examples"]} == {"false positive", "replay"}
            assert all(len(sample.boxes) == 0 and sample.label <= 0 for sample in samples)


def test_a_case_that_nobody_read_does_not_move_the_operating_point(project: Project) -> None:
    before = [item.object_id for item in queue_of_run(project, RUN, 1.0)]
    unread = CaseRecord(32 * "e", "", "later")
    project.commit(add_case(unread))
    found = [Candidate(unread.case_id, (float(n), 0.0, 0.0), 0.99, 1.0) for n in range(40)]
    project.commit(add_candidates(RUN, unread.case_id, 0, found))
    project.commit(finish_case(RUN, unread.case_id, 1.0))
    after = [item.object_id for item in queue_of_run(project, RUN, 1.0) if item.case_id != unread.case_id]
    assert sorted(after) == sorted(before)
    assert choose_examples(project, RUN, ALL).left_out["cases nobody has read"] == 1


def test_the_classifier_learns_of_quiet_candidates_in_its_replay(project: Project) -> None:
    chosen = choose_examples(
        project, RUN, HardOptions(1.0, MiningRule("shown", budget=30), part="classifier")
    )
    quiet = [one for one in chosen.examples if one.reason == "replay" and not one.is_positive]
    assert quiet
    assert all(one.object_id for one in quiet)


def test_a_patient_is_on_one_side_and_stays_there(project: Project) -> None:
    asked = replace(ALL, validation_share=0.5, folds=2)
    about, _ = exported(project, "lung-nodules", asked, out="first")
    sides = defaultdict(set)
    for one in about["examples"]:
        sides[about["patients"][one["case_id"]]].add((one["split"], one["fold"]))
    assert all(len(side) == 1 for side in sides.values())
    assert Counter(split for ((split, _),) in sides.values()) == {"train": 1, "validation": 1}
    assert sorted(fold for ((_, fold),) in sides.values()) == [1, 2]
    for seed in range(4):  # whatever is drawn
        again = replace(asked, rule=replace(asked.rule, seed=seed), folds=0)
        later, _ = exported(project, "lung-nodules", again, out=f"later{seed}")
        for one in later["examples"]:
            assert {one["split"]} == {split for split, _ in sides[later["patients"][one["case_id"]]]}


def test_views_of_an_exam_stay_together_where_nobody_knows_the_patient() -> None:
    cases = [CaseRecord(f"{n:032x}", "", str(n), "mammogram", exam_key=f"{n // 2:032x}") for n in range(8)]
    for seed in range(4):
        asked = replace(ALL, validation_share=0.4, folds=2, rule=replace(ALL.rule, seed=seed))
        sides = [*sides_of(cases, [], asked, {}).values()]
        assert sides[::2] == sides[1::2]
        assert {side.split for side in sides} == {"train", "validation"}


def test_one_patient_cannot_be_split(project: Project) -> None:
    with pytest.raises(InputRefusedError) as caught:
        exported(project, "mammography", replace(ALL, validation_share=0.3))
    assert caught.value.code == "folds"
    assert not (project.folder / "package").exists()


def test_frames_of_a_sequence_are_held_out_evenly() -> None:
    frames = [
        CaseRecord(f"{n:032x}", "", f"frame {n}", "photo", patient_key="dive")
        for n in (10, 9, 2, 1, 0, 3, 8, 7, 6, 5, 4, 11)
    ]
    asked = HardOptions(validation_share=0.25, split_by="interval")
    sides = sides_of(frames, set(), asked, {})
    held_out = sorted(int(case_id, 16) for case_id, side in sides.items() if side.split == "validation")
    assert len(held_out) == 3
    assert set(np.diff(held_out).tolist()) == {4}
    with pytest.raises(InputRefusedError):
        sides_of(frames[:1], set(), asked, {})


def test_an_earlier_round_is_known(project: Project) -> None:
    about, _ = exported(project, "lung-nodules", out="first")
    known = {one["object_id"] for one in about["examples"] if one["reason"] != "replay"}
    again = replace(ALL, rule=replace(ALL.rule, earlier_weight=0.0))
    chosen = choose_examples(project, RUN, again, bundle=find_bundle("lung-nodules"))
    assert not known & {one.object_id for one in chosen.errors}
    assert chosen.left_out["in an earlier package"] >= len(known)
    lighter = replace(ALL, rule=replace(ALL.rule, earlier_weight=0.25))
    later, samples = exported(project, "lung-nodules", lighter, out="second")
    weights = {one["object_id"]: one["weight"] for one in later["examples"] if one["reason"] != "replay"}
    assert {weights[key] for key in known & set(weights)} == {0.25}
    assert [sample.weight for sample in samples] == [one["weight"] for one in later["examples"]]


def test_what_looks_alike_is_left_out_and_counted(project: Project) -> None:
    every = replace(ALL, rule=replace(ALL.rule, least_difference=1.0))
    chosen = choose_examples(project, RUN, every)
    assert chosen.left_out["much like another"] > 0
    assert len(chosen.errors) < len(choose_examples(project, RUN, ALL).errors)


def test_a_case_that_changed_on_the_disk_is_refused(project: Project) -> None:
    path = project.case_path(of_kind(project, "volume")[0].case_id)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(InputRefusedError) as caught:
        exported(project, "lung-nodules")
    assert caught.value.code == "changed"
    assert not (project.folder / "package").exists()
    assert project.exports() == []


def test_a_cancelled_export_leaves_nothing(project: Project) -> None:
    cancel = CancelToken()
    before = sorted(path.name for path in project.folder.iterdir())
    steps = export_hard_examples(
        project, find_bundle("lung-nodules"), RUN, project.folder / "package", ALL, cancel
    )
    next(steps)
    cancel.cancel()
    with pytest.raises(CancelledError):
        list(steps)
    assert sorted(path.name for path in project.folder.iterdir()) == before


def test_the_same_seed_writes_the_same_bytes(project: Project) -> None:
    digests = []
    for number in range(2):
        about, _ = exported(project, "glomeruli", out=f"package{number}")
        digests.append([one["sha256"] for one in about["examples"]])
    assert digests[0] == digests[1]


def test_nothing_to_write_says_why(project: Project) -> None:
    for scan in of_kind(project, "volume"):
        tables = project.candidates(RUN, scan.case_id), project.findings(scan.case_id)
        for object_id in np.concatenate([table.ids for table in tables]).tolist():
            project.commit(set_verdict(scan.case_id, RUN, object_id, before=None, after="ambiguous"))
    with pytest.raises(InputRefusedError, match="label in doubt") as caught:
        exported(project, "lung-nodules", replace(ALL, rule=replace(ALL.rule, budget=10, replay_share=0.0)))
    assert caught.value.code == "empty"


def relabel(project: Project, label: str, most: int | None = None) -> int:
    """Give findings on slides another class, as a label map without names does; return how many."""
    ids = [key for case in of_kind(project, "slide") for key in project.findings(case.case_id).ids.tolist()]
    for finding_id in ids[:most]:
        before = project.finding(finding_id)
        assert before is not None
        project.commit(set_finding(before, replace(before, label=label)))
    return len(ids[:most])


def test_findings_of_other_classes_alone_are_refused(project: Project) -> None:
    count = relabel(project, "label 1")
    with pytest.raises(
        InputRefusedError, match=rf"None of the {count} findings .*\(glomerulus\).* 'label 1'"
    ) as caught:
        exported(project, "glomeruli")
    assert caught.value.code == "other-classes"
    assert "--class glomerulus, or --names 'label 1=glomerulus'" in caught.value.hint
    assert not (project.folder / "package").exists()


def test_some_findings_of_other_classes_are_warned_about(project: Project) -> None:
    relabel(project, "scar", most=1)
    about, _ = exported(project, "glomeruli")
    assert any("1 of the" in text and "'scar'" in text for text in about["warnings"])


@pytest.mark.parametrize(
    ("name", "options", "code"),
    [
        ("mammography", {"part": "classifier"}, "part"),
        ("lung-nodules", {"shape": (10, 20)}, "option"),
    ],
)
def test_what_does_not_fit_the_model_is_refused(
    project: Project, name: str, options: dict[str, Any], code: str
) -> None:
    with pytest.raises(InputRefusedError) as caught:
        exported(project, name, replace(ALL, **options))
    assert caught.value.code == code


@pytest.mark.parametrize(
    "options", [{"fp_per_scan": 0}, {"validation_share": 1.0}, {"folds": 1}, {"shape": (0,)}, {"margin": -1}]
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InputRefusedError, match=next(iter(options))):
        HardOptions(**options)


def test_the_queue_knows_poor_outlines_and_what_the_model_is_unsure_about(project: Project) -> None:
    every = queue_of_run(
        project, RUN, 1.0, ("fp", "fn", "duplicate", "poor outline", "disagreement", "low confidence")
    )
    assert every.counts["low confidence"]
    assert every.counts["poor outline"] == 0  # the candidates have no outlines
    project.commit(set_fields(project.cases()[0].case_id, {}, {"site": "Bonn"}))
    assert len(queue_of_run(project, RUN, 1.0)) < len(every)
