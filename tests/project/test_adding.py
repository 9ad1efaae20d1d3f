from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_medlab.annotations import new_id
from napari_medlab.errors import ImageRefusedError, InputRefusedError, Option, ProjectError
from napari_medlab.images import Decisions
from napari_medlab.project import CaseRecord, Project, open_case
from napari_medlab.project.adding import Source, _name_of, add_images
from napari_medlab.project.sources import decided

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_medlab.project.records import Split

BLOCKS = tuple(Option(f"Block {n}", {"uneven": "split", **({"block": n} if n else {})}) for n in range(3))
RESAMPLED = Option("All of it", {"uneven": "resample"})


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    with Project.create(tmp_path / "p", reader="ann") as opened:
        yield opened
        assert opened.verify() == []


def write_phases(path: Path, count: int = 3) -> Path:
    """Write a time series of small volumes; the values of each are its number."""
    import nibabel as nib

    values = np.broadcast_to(np.arange(count, dtype=np.int16), (4, 5, 6, count))
    nib.save(nib.Nifti1Image(np.ascontiguousarray(values), np.eye(4)), path)
    return path


def write_picture(path: Path, value: int = 7) -> Path:
    path.write_bytes(b"P5\n6 4\n255\n" + bytes([value]) * 24)
    return path


def pixels(project: Project, case: CaseRecord) -> NDArray[np.generic]:
    return np.unique(np.asarray(open_case(project, case.case_id).levels[0]))


def added(
    project: Project, *sources: Path | Source, split: Split = "train", patient: str = ""
) -> list[CaseRecord]:
    return list(add_images(project, sources, split=split, patient=patient or None))


def refusal(
    project: Project, *sources: Path | Source, split: Split = "train", patient: str = ""
) -> InputRefusedError:
    before = project.cases()
    with pytest.raises(InputRefusedError) as caught:
        added(project, *sources, split=split, patient=patient)
    assert project.cases() == before
    return caught.value


def test_a_case_opens_as_it_was_added(project: Project, tmp_path: Path) -> None:
    series = write_phases(tmp_path / "perfusion.nii.gz")
    cases = added(project, *(Source(series, Decisions(phase=number)) for number in (2, 0)))
    assert [case.decisions for case in cases] == [{"phase": 2}, {"phase": 0}]
    assert [case.name for case in cases] == ["perfusion", "perfusion (volume 1)"]
    assert [pixels(project, case).tolist() for case in cases] == [[2], [0]]
    assert project.cases() == cases
    with Project.open(project.folder, read_only=True) as again:
        assert [pixels(again, case).tolist() for case in again.cases()] == [[2], [0]]


def test_a_path_may_come_again_with_other_decisions_only(project: Project, tmp_path: Path) -> None:
    series = write_phases(tmp_path / "a.nii")
    first = Source(series, Decisions(phase=0))
    added(project, first)
    assert refusal(project, first).code == "exists"
    second = Source(series, Decisions(phase=1))
    assert refusal(project, second, second).code == "exists"
    (case,) = added(project, second)
    assert case.name == "a (volume 2)"


@pytest.mark.parametrize("ending", [".pgm", ".ome.tif", ".OME.TIFF", ".nii.gz"])
def test_the_ending_is_no_part_of_the_name(tmp_path: Path, ending: str) -> None:
    assert _name_of(tmp_path / f"slide 1.2{ending}") == "slide 1.2"


def test_a_source_may_say_name_exam_and_view(project: Project, tmp_path: Path) -> None:
    exam = new_id()
    views = [
        Source(write_picture(tmp_path / f"{v}.pgm"), name=v, exam_key=exam, view=v) for v in ("RCC", "LMLO")
    ]
    one, two = added(project, *views)
    assert (one.name, one.exam_key, one.view) == ("RCC", exam, "RCC")
    assert (two.name, two.exam_key, two.view) == ("LMLO", exam, "LMLO")
    assert project.cases() == [one, two]
    assert one.patient_key == two.patient_key
    (later,) = added(project, Source(write_picture(tmp_path / "RMLO.pgm"), exam_key=exam, view="RMLO"))
    assert later.patient_key == one.patient_key


def test_what_was_done_to_the_pixels_is_in_the_journal(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import napari_medlab.images
    from napari_medlab.images import Image, open_image

    def resampling(path: Path, decisions: Decisions) -> Image:
        return replace(open_image(path, decisions), lineage=("Interpolated onto 2 mm.",))

    path = write_picture(tmp_path / "a.pgm")
    monkeypatch.setattr(napari_medlab.images, "open_image", resampling)
    (case,) = added(project, path)
    (entry,) = project.journal(case_id=case.case_id)
    assert entry.payload["lineage"] == ["Interpolated onto 2 mm."]


def test_several_refusals_are_told_together_and_one_with_its_options(
    project: Project, tmp_path: Path
) -> None:
    series, picture = write_phases(tmp_path / "a.nii"), write_picture(tmp_path / "b.pgm")
    together = refusal(project, series, tmp_path / "nothing", picture)
    assert len(together.message.splitlines()) == 2
    alone = refusal(project, series)
    assert isinstance(alone, ImageRefusedError)
    assert [option.decisions for option in alone.options] == [{"phase": number} for number in range(3)]


def test_a_patient_is_in_one_split_only(project: Project, tmp_path: Path) -> None:
    first, second, third = (write_picture(tmp_path / f"{n}.pgm", n) for n in range(3))
    added(project, first, patient="Doe^Jane")
    told = refusal(project, second, third, split="test", patient="Doe^Jane")
    assert told.code == "patient-in-both-splits"
    assert "Doe" not in str(told)
    mixed = [Source(second, patient="Roe^Ann"), Source(third, patient="Doe^Jane")]
    assert refusal(project, *mixed, split="test").code == "patient-in-both-splits"
    assert project.names.known_patient_key("Roe^Ann") is None
    added(project, second, split="test", patient="Roe^Ann")
    assert refusal(project, third, patient="Roe^Ann").code == "patient-in-both-splits"
    (same,) = added(project, third, patient="Doe^Jane")
    assert same.patient_key == project.cases()[0].patient_key


def test_parts_of_one_file_and_of_one_exam_are_in_one_split_only(project: Project, tmp_path: Path) -> None:
    series = write_phases(tmp_path / "a.nii")
    (first,) = added(project, Source(series, Decisions(phase=0)))
    other = Source(series, Decisions(phase=1))
    assert refusal(project, other, split="test").code == "patient-in-both-splits"
    assert refusal(project, replace(other, patient="Doe"), split="test").code == "patient-in-both-splits"
    (second,) = added(project, other)
    assert first.patient_key == second.patient_key
    left, right = (Source(write_picture(tmp_path / f"{n}.pgm"), exam_key="e" * 32) for n in range(2))
    added(project, left, split="test")
    assert refusal(project, right).code == "patient-in-both-splits"


def test_a_copy_of_an_image_is_not_in_the_other_split(project: Project, tmp_path: Path) -> None:
    first, copy = (write_picture(tmp_path / f"{name}.pgm") for name in ("a", "copy of a"))
    added(project, first)
    told = refusal(project, copy, split="test")
    assert told.code == "image-in-both-splits"
    assert "copy of a.pgm is a copy of a of the train split" in told.message
    assert len(added(project, copy)) == 1


def test_an_image_of_the_same_fingerprint_is_no_copy(project: Project, tmp_path: Path) -> None:
    pixels = np.zeros(1_000_000, np.uint8)
    for name, value in (("a", 0), ("b", 9)):
        pixels[150_000] = value  # between the blocks that a fingerprint covers
        (tmp_path / f"{name}.pgm").write_bytes(b"P5\n1000 1000\n255\n" + pixels.tobytes())
    (first,) = added(project, tmp_path / "a.pgm")
    (other,) = added(project, tmp_path / "b.pgm", split="test")
    assert first.fingerprint == other.fingerprint


def test_the_others_are_added_where_somebody_is_told_of_refusals(project: Project, tmp_path: Path) -> None:
    first, second, third = (write_picture(tmp_path / f"{n}.pgm", n) for n in range(3))
    added(project, first, patient="Doe^Jane")
    (tmp_path / "broken.pgm").write_bytes(b"P5")
    told: list[InputRefusedError] = []
    sources = [Source(second, patient="Doe^Jane"), Source(tmp_path / "broken.pgm"), Source(third)]
    (one,) = add_images(project, sources, split="test", on_refused=told.append)
    assert one.name == "2"
    assert [error.code for error in told][-1] == "patient-in-both-splits"
    assert len(told) == 2


def test_a_case_of_unknown_decisions_is_refused(project: Project, tmp_path: Path) -> None:
    from napari_medlab.project.edits import add_case

    path = write_picture(tmp_path / "a.pgm")
    odd = CaseRecord(new_id(), str(path), "a", decisions={"trust": "me"})
    project.commit(add_case(odd))
    with pytest.raises(InputRefusedError) as caught:
        open_case(project, odd.case_id)
    assert caught.value.code == "decisions"
    with pytest.raises(ProjectError, match="knows no case"):
        open_case(project, new_id())


@pytest.mark.parametrize(
    ("options", "wanted", "expected"),
    [
        (
            (*BLOCKS, RESAMPLED),
            Decisions(uneven="split"),
            [{"uneven": "split"}, *(b.decisions for b in BLOCKS[1:])],
        ),
        ((*BLOCKS, RESAMPLED), Decisions(uneven="resample"), [{"uneven": "resample"}]),
        ((*BLOCKS, RESAMPLED), Decisions(absent="background"), [{}]),
        ((Option("Phase", {"phase": 0}),), Decisions(uneven="split", absent="background"), [{}]),
        (
            (Option("Tiles", {"absent": "background"}),),
            Decisions(absent="background"),
            [{"absent": "background"}],
        ),
        ((), Decisions(uneven="split"), [{}]),
    ],
)
def test_options_are_taken_where_they_were_agreed_to(
    options: tuple[Option, ...],
    wanted: Decisions,
    expected: list[dict[str, object]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refusing(path: Path, decisions: Decisions) -> None:
        raise ImageRefusedError("no", code="gap", options=options)

    monkeypatch.setattr("napari_medlab.images.deciding.open_image", refusing)
    source = Source(tmp_path, Decisions(series_uid="1.2"))
    found = decided(source, wanted)
    assert [one.decisions.as_json() for one in found] == [{"series_uid": "1.2", **more} for more in expected]
    assert {one.path for one in found} == {tmp_path}


def test_an_image_that_opens_needs_no_decision(tmp_path: Path) -> None:
    source = Source(write_picture(tmp_path / "a.pgm"))
    assert decided(source, Decisions(uneven="split", absent="background")) == [source]
