"""What a file or a folder holds, and that each of it opens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from dicom_phantom import Series, mammogram, write
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pictures
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from napari_medlab.errors import ImageRefusedError
from napari_medlab.images import Decisions, Entry, contents, open_here
from napari_medlab.images.contents import contents_here
from napari_medlab.images.dicom.attributes import TAGS
from napari_medlab.images.dicom.catalogue import catalogue
from napari_medlab.images.dicom.values import Elements
from napari_medlab.images.dicom.views import view_name

if TYPE_CHECKING:
    from collections.abc import Sequence

VIEWS = (("R", "CC"), ("L", "CC"), ("R", "MLO"), ("L", "MLO"))
CODES = {"CC": ("399162004", "R-10242"), "MLO": ("399368009", "R-10226")}


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Pictures.fromarray(np.zeros((4, 5), np.uint8)).save(path)
    return path


def series(folder: Path, *, count: int = 4, number: int = 1, uid: str | None = None) -> str:
    made = Series(count=count, uid=uid or generate_uid())
    slices = made.slices()
    for each in slices:
        each.SeriesNumber = number
    write(folder, slices)
    return made.uid


def exam(folder: Path, *, code: int | None = None, views: Sequence[tuple[str, str]] = VIEWS) -> None:
    """Write a mammogram of each view, named by its position, or by one of its codes and nothing else."""
    study = generate_uid()
    folder.mkdir(parents=True, exist_ok=True)
    for number, (side, view) in enumerate(views):
        dataset = mammogram(np.full((6, 5), 100 + number, np.uint16))
        dataset.StudyInstanceUID, dataset.PatientID = study, "somebody"
        dataset.ImageLaterality, dataset.ViewPosition = side, view
        if code is not None:
            item = Dataset()
            item.CodeValue = CODES[view][code]
            dataset.ViewPosition, dataset.ViewCodeSequence = "", [item]
        dataset.save_as(folder / f"{number}.dcm", enforce_file_format=True)


def shapes(entries: Sequence[Entry]) -> list[tuple[int, ...]]:
    """Return the shape of each image, opened as its entry says."""
    return [open_here(entry.path, entry.decisions).shape for entry in entries]


def test_a_file_is_one_image(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png")
    assert contents(path) == [Entry(path, "a.png")]
    assert contents(str(path)) == [Entry(path, "a.png")]


def test_the_one_series_of_a_folder_is_the_folder(tmp_path: Path) -> None:
    series(tmp_path / "ct")
    (entry,) = contents(tmp_path / "ct")
    assert (entry.path, entry.decisions, entry.is_series, entry.view) == (
        tmp_path / "ct",
        Decisions(),
        False,
        "",
    )
    assert "CT ct, 4 images" in entry.title
    assert shapes([entry])[0][0] == 4


def test_series_of_one_folder_are_told_apart_and_ordered(tmp_path: Path) -> None:
    second = series(tmp_path, count=4, number=5)
    first = series(tmp_path, count=6, number=2)
    entries = contents(tmp_path)
    assert [entry.decisions.series_uid for entry in entries] == [first, second]
    assert all(entry.is_series for entry in entries)
    assert [shape[0] for shape in shapes(entries)] == [6, 4]


def test_series_in_folders_of_their_own_need_no_choice(tmp_path: Path) -> None:
    series(tmp_path / "one", count=4)
    series(tmp_path / "two", count=5)
    entries = contents(tmp_path)
    assert {entry.path.name for entry in entries} == {"one", "two"}
    assert {entry.decisions for entry in entries} == {Decisions()}
    assert sorted(shape[0] for shape in shapes(entries)) == [4, 5]


def test_a_series_that_lies_around_another_opens_as_itself(tmp_path: Path) -> None:
    """One has its slices in several folders, and another lies in one of these."""
    spread = Series(count=6)
    write(tmp_path / "a", spread.slices()[:3])
    write(tmp_path / "b", spread.slices()[3:])
    inner = series(tmp_path / "b", count=4)
    entries = {entry.decisions.series_uid: entry for entry in contents(tmp_path)}
    assert set(entries) == {spread.uid, inner}
    assert [shape[0] for shape in shapes([entries[spread.uid], entries[inner]])] == [6, 4]


def test_a_series_beside_mammograms_opens_as_itself(tmp_path: Path) -> None:
    uid = series(tmp_path, count=4)
    exam(tmp_path, views=VIEWS[:1])
    entries = contents(tmp_path)
    assert [(entry.view, entry.decisions.series_uid) for entry in entries] == [("RCC", ""), ("", uid)]
    assert shapes(entries)[1][0] == 4


def test_a_single_slice_is_its_file(tmp_path: Path) -> None:
    series(tmp_path, count=1)
    series(tmp_path, count=4)
    single = next(entry for entry in contents(tmp_path) if entry.path.is_file())
    assert single.decisions == Decisions()
    assert shapes([single])[0][0] == 1


def test_localisers_and_derived_objects_are_no_images_of_their_own(tmp_path: Path) -> None:
    uid = series(tmp_path, count=4)
    scout = Series(count=1).slice(0)
    scout.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    single = Series(count=1).slice(0)
    single.Modality = "SEG"
    write(tmp_path / "more", [scout, single])
    (entry,) = contents(tmp_path)
    assert open_here(entry.path, entry.decisions).shape[0] == 4
    assert entry.decisions.series_uid in ("", uid)


@pytest.mark.parametrize("code", [None, 0, 1])
def test_the_views_of_an_exam_are_named_and_belong_together(tmp_path: Path, code: int | None) -> None:
    exam(tmp_path, code=code)
    entries = contents(tmp_path)
    assert [entry.view for entry in entries] == ["RCC", "LCC", "RMLO", "LMLO"]
    assert len({entry.study for entry in entries}) == 1
    assert entries[0].study
    assert {entry.patient for entry in entries} == {"somebody"}
    assert not any(entry.is_series for entry in entries)
    assert shapes(entries) == [(6, 5)] * 4
    assert "somebody" not in " ".join(entry.title for entry in entries)


@pytest.mark.parametrize(
    ("fields", "view"),
    [
        ({"ImageLaterality": "R", "ViewPosition": "CC"}, "RCC"),
        ({"Laterality": "l", "ViewPosition": " mlo "}, "LMLO"),
        ({"ImageLaterality": "B", "ViewPosition": "CC"}, ""),
        ({"ViewPosition": "CC"}, ""),
        ({"ImageLaterality": "L"}, ""),
        ({"ImageLaterality": "L", "ViewPosition": "1; drop"}, ""),
        ({"ImageLaterality": "L", "ViewPosition": "CC", "code": "unknown"}, "LCC"),
        ({"ImageLaterality": "R", "ViewPosition": "CC", "code": "399260004"}, "RML"),
        ({"ImageLaterality": "R\\L", "ViewPosition": ""}, ""),
    ],
)
def test_views_are_named_only_where_both_parts_are_stated(fields: dict[str, str], view: str) -> None:
    elements, item = Elements(), Elements()
    for keyword, text in fields.items():
        where = (item, "CodeValue") if keyword == "code" else (elements, keyword)
        where[0].raw[TAGS[where[1]][0]] = text.encode()
    elements.sequences[TAGS["ViewCodeSequence"][0]] = [item]
    assert view_name(elements) == view


def test_tomosynthesis_is_a_volume_and_says_how_deep(tmp_path: Path) -> None:
    dataset = mammogram(np.zeros((12, 5), np.uint16))
    dataset.Rows, dataset.NumberOfFrames = 6, 2
    dataset.save_as(tmp_path / "dbt.dcm", enforce_file_format=True)
    (found,) = catalogue([tmp_path / "dbt.dcm"])
    assert (found.is_planar, found.view, found.title) == (False, "LMLO", "LMLO dbt (2 slices)")


def test_a_mixture_is_listed_and_what_is_hidden_or_foreign_is_not(tmp_path: Path) -> None:
    series(tmp_path / "ct", count=4)
    picture(tmp_path / "pictures" / "b.png")
    picture(tmp_path / "a.jpg")
    for hidden in (".hidden.png", ".trash/c.png", "pictures/.d.png"):
        picture(tmp_path / hidden)
    (tmp_path / "notes.txt").write_text("nothing", encoding="utf-8")
    (tmp_path / "empty.dcm").write_bytes(b"")
    entries = contents(tmp_path)
    assert [entry.path.relative_to(tmp_path).as_posix() for entry in entries] == [
        "ct",
        "a.jpg",
        "pictures/b.png",
    ]
    assert [entry.is_series for entry in entries] == [False, False, False]


def test_a_slide_that_is_a_folder_is_one_image_among_others(tmp_path: Path) -> None:
    for name in ("one.zarr", "sub/two.zarr"):
        (tmp_path / name / "0").mkdir(parents=True)
        (tmp_path / name / ".zgroup").write_text('{"zarr_format": 2}', encoding="utf-8")
        picture(tmp_path / name / "0" / "0.png")
    picture(tmp_path / "a.png")
    assert {entry.title for entry in contents_here(tmp_path)} == {"a.png", "one.zarr", "two.zarr"}
    assert [entry.path for entry in contents_here(tmp_path / "one.zarr")] == [tmp_path / "one.zarr"]


def broken(dataset: Dataset, what: str, path: Path) -> None:
    dataset.save_as(path, enforce_file_format=True)
    data = path.read_bytes()
    if what == "cut":
        data = data[: len(data) // 3]
    elif what == "frames":
        data = data.replace(b"IS\x04\x00   1", b"IS\x04\x00 x1y")
    elif what == "no number":
        data = data.replace(b"IS\x04\x00   1", b"IS\x04\x00 nan")
    elif what == "noise":
        data = data[:200] + np.random.default_rng(0).bytes(len(data))
    elif what == "length":
        data = data.replace(b"CS\x02\x00MG", b"CS\xff\xffMG")
    path.write_bytes(data)


@pytest.mark.parametrize("what", ["cut", "frames", "no number", "noise", "length"])
def test_a_broken_file_keeps_no_other_from_being_listed(tmp_path: Path, what: str) -> None:
    exam(tmp_path)
    dataset = mammogram(np.zeros((6, 5), np.uint16))
    dataset.NumberOfFrames = "   1"
    broken(dataset, what, tmp_path / "broken.dcm")
    found = [entry for entry in contents(tmp_path) if entry.path.name != "broken.dcm"]
    assert [entry.view for entry in found] == ["RCC", "LCC", "RMLO", "LMLO"]


@pytest.mark.parametrize("fill", [[], ["notes.txt"], [".hidden.png"]])
def test_a_folder_without_images_is_refused(tmp_path: Path, fill: list[str]) -> None:
    for name in fill:
        (tmp_path / name).write_text("nothing", encoding="utf-8")
    with pytest.raises(ImageRefusedError) as caught:
        contents(tmp_path)
    assert caught.value.code == "empty"


def test_more_files_than_can_be_listed_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setattr(sys.modules["napari_medlab.images.contents"], "MAX_FILES", 3)
    for number in range(3):
        picture(tmp_path / f"{number}.png")
    assert len(contents_here(tmp_path)) == 3
    picture(tmp_path / "more" / "4.png")
    with pytest.raises(ImageRefusedError) as caught:
        contents_here(tmp_path)
    assert caught.value.code == "size"


decided = st.builds(Decisions, st.text(), st.none() | st.integers(0, 5))
entries_of_any_kind = st.builds(
    Entry,
    st.just(Path("/some/where")),
    st.text(),
    decided,
    st.text(),
    st.text(),
    st.text(),
    is_series=st.booleans(),
)


@given(entry=entries_of_any_kind)
def test_an_entry_comes_through_as_it_was(entry: Entry) -> None:
    assert Entry.from_json(json.loads(json.dumps(entry.as_json()))) == entry


def test_further_decisions_are_added(tmp_path: Path) -> None:
    entry = Entry(tmp_path, "a", Decisions(series_uid="1.2")).decided(Decisions(uneven="split", block=2))
    assert entry.decisions == Decisions(series_uid="1.2", uneven="split", block=2)
