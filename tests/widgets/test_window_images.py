"""Images of every kind in the real window, added, looked at and left as people do; one window for all of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.window, pytest.mark.timeout(400)]

RIGHT, LEFT = ("RCC", "RMLO"), ("LCC", "LMLO")
ADDED = [
    *("flat", "sized", "tiles", "a", "b", "two series"),
    *("exam RCC", "exam LCC", "exam RMLO", "exam LMLO", "gap"),
]
EXAM_MM = 0.1


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Go through everything once, and return what was to be seen."""
    root = tmp_path_factory.mktemp("images")
    command = [
        sys.executable,
        str(Path(__file__).with_name("window_on_images.py")),
        str(root / "files"),
        str(root / "out"),
    ]
    environment = {**os.environ, "MEDLAB_CACHE_DIR": str(root / "cache")}
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=380,
        check=False,
        stdin=subprocess.DEVNULL,
        env=environment,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Traceback" not in done.stderr, done.stderr[:6000]
    document: dict[str, Any] = json.loads((root / "out" / "seen.json").read_text(encoding="utf-8"))
    return document


def test_what_is_dropped_without_a_project_says_what_to_do(seen: dict[str, Any]) -> None:
    (said,) = seen["without_project"]
    assert "No project is open" in said


def test_folders_become_cases_in_order_with_the_views_as_they_hang(seen: dict[str, Any]) -> None:
    assert seen["cases"] == seen["listed"] == ADDED
    assert [view for view in seen["views"] if view] == ["RCC", "LCC", "RMLO", "LMLO"]
    assert seen["exams"] == 1
    kinds = dict(zip(seen["cases"], seen["kinds"], strict=True))
    assert kinds["two series"] == kinds["gap"] == "volume"
    assert kinds["exam RCC"] == "mammogram"
    assert kinds["tiles"] == kinds["sized"] == "slide"


def test_of_several_series_those_that_are_ticked_are_added(seen: dict[str, Any]) -> None:
    assert len(seen["series"]) == 2
    assert "12 images" in seen["series"][0]
    assert "8 images" in seen["series"][1]
    assert seen["ticks"] == [True, False]
    assert list(seen["decisions"]["two series"]) == ["series_uid"]


def test_how_a_gap_is_opened_is_asked_recorded_and_told(seen: dict[str, Any]) -> None:
    assert len(seen["ways"]) == 3
    assert "interpolated" in seen["ways"][-1]
    assert seen["decisions"]["gap"] == {"uneven": "resample"}
    assert seen["header_of_gap"].startswith("gap")
    assert seen["header_of_gap"].count("interpolated linearly onto 9 planes") == 1
    assert "invented" in seen["header_of_gap"]


def test_one_message_tells_of_what_is_broken_and_the_rest_is_added(seen: dict[str, Any]) -> None:
    (message,) = seen["broken"]
    assert "broken.png" in message


def test_two_drops_at_once_add_each_image_once(seen: dict[str, Any]) -> None:
    assert seen["cancelled"]["cases"] == [*ADDED, "c"]
    assert len(seen["twice"]) == 2
    told = "\n".join(seen["twice"])
    assert [told.count(f"{name}.png is in the project already") for name in "abc"] == [1, 1, 1]


def test_a_question_that_is_cancelled_adds_nothing_and_is_no_error(seen: dict[str, Any]) -> None:
    assert seen["cancelled"] == {"errors": [], "cases": [*ADDED, "c"]}


def test_a_folder_without_images_and_a_pipe_are_refused(seen: dict[str, Any]) -> None:
    (message,) = seen["empty"]
    assert "empty holds no image" in message
    assert "never written.png" in message


def test_an_exam_hangs_with_its_chest_walls_together(seen: dict[str, Any]) -> None:
    hung = seen["hung"]
    boxes = {}
    for name, layer in hung.items():
        (top, left), (rows, columns) = layer["translate"], layer["shape"]
        boxes[name] = (top, left, top + rows * EXAM_MM, left + columns * EXAM_MM)
        assert layer["scale"] == pytest.approx([EXAM_MM] * 2)
        assert layer["units"] == ["millimeter"] * 2
    assert set(boxes) == {*RIGHT, *LEFT}
    wall = boxes["RCC"][3]
    assert [boxes[name][3] for name in RIGHT] == pytest.approx([wall] * 2)
    assert [boxes[name][1] for name in LEFT] == pytest.approx([wall] * 2)
    assert max(boxes["RCC"][2], boxes["LCC"][2]) < min(boxes["RMLO"][0], boxes["LMLO"][0])
    for right, left in zip(RIGHT, LEFT, strict=True):
        assert boxes[right][0] + boxes[right][2] == pytest.approx(boxes[left][0] + boxes[left][2])
    again = seen["hung_again"]
    moved = {
        name: [a - b for a, b in zip(again[name], hung[name]["translate"], strict=True)] for name in hung
    }
    assert all(shift == pytest.approx(moved["RCC"]) for shift in moved.values())


def test_what_is_stored_the_other_way_round_is_turned_and_nothing_else_is_changed(
    seen: dict[str, Any],
) -> None:
    assert seen["true"] == dict.fromkeys(seen["true"], True)
    assert {name: layer["colormap"] for name, layer in seen["hung"].items()} == {
        "RCC": "gray", "LCC": "gray", "LMLO": "gray", "RMLO": "gray_r",
    }  # fmt: skip
    mirrored = [name for name, notes in seen["notes"].items() if any("mirrored" in note for note in notes)]
    assert mirrored == ["exam LCC"]


def test_companions_follow_as_far_from_the_chest_wall_and_are_sharp(seen: dict[str, Any]) -> None:
    followed = seen["followed"]
    (y, x), (height, width) = followed["centre"], followed["size"]
    assert followed["level"] == 0
    assert followed["is_true"]
    assert set(followed["shown"]) == {"LCC", "RMLO"}
    for name, shown in followed["shown"].items():
        from_wall = shown["centre"][1] if name in LEFT else shown["size"][1] - shown["centre"][1]
        assert from_wall == pytest.approx(width - x)
        assert shown["centre"][0] / shown["size"][0] == pytest.approx(y / height)
        assert shown["level"] == 0
        assert shown["is_true"]


def test_a_click_on_another_view_makes_it_the_case(seen: dict[str, Any]) -> None:
    assert seen["chosen"] == "exam LMLO"
    assert seen["header_of_view"].startswith("exam LMLO ")
    assert seen["hung_again"]["LMLO"] == [0, 0]


def test_the_windows_of_a_ct_come_round_and_say_which(seen: dict[str, Any]) -> None:
    limits = seen["limits"]
    assert len({tuple(pair) for pair in limits}) == 4
    assert limits[0] == limits[4] == seen["planes"][0] == seen["planes"][1]
    assert [told.split(":")[0] for told in seen["told"]] == ["soft tissue", "bone", "brain", "lung"]
    assert seen["saved"] == seen["told"][-1]


@pytest.mark.parametrize(("name", "progress", "unit"), [
    ("flat", "reading flat", "pixel"), ("tiles", "overview of tiles", "pixel"), ("sized", "", "micrometer"),
])  # fmt: skip
def test_slides_end_in_their_true_pixels(seen: dict[str, Any], name: str, progress: str, unit: str) -> None:
    slide = seen["slides"][name]
    assert (slide["level"], slide["is_true"]) == (0, True)
    assert slide["units"] == [unit] * 2
    assert slide["overview_mean"] == pytest.approx(slide["true_mean"], abs=2)
    assert all(text.startswith(progress) for text in slide["texts"])
    assert bool(slide["texts"]) == bool(progress)
    assert sum(each["kept"] for each in seen["slides"].values()) >= 2, (
        "levels of large slides are kept on disk"
    )
    assert "of" not in slide["header"].split("   ·   ")[1].split()


def test_hurrying_through_ends_with_the_last(seen: dict[str, Any]) -> None:
    for end in seen["hurried"]:
        assert end["shown"] == end["wanted"]
        assert end["case"]
        assert end["is_drawn"]
        assert end["header"].startswith(f"{end['wanted']} ")
        assert end["title"] == f"MedLab · {end['wanted']}"
    assert seen["errors_of_hurry"] == []


def test_a_case_that_cannot_be_read_does_not_leave_the_one_before_on_the_canvas(seen: dict[str, Any]) -> None:
    lost = seen["lost"]
    (error,) = lost["errors"]
    assert "c.png" in error
    assert lost["header"].startswith("c ")
    assert "cannot be shown" in lost["header"]
    assert lost["view"] == ""
    assert lost["image"] == [8, 16, 16]
    assert seen["found"].startswith("a ")
    assert "cannot" not in seen["found"]
    # a click on the row that is current tries again
    assert seen["found_again"].startswith("c ")
    assert "cannot" not in seen["found_again"]


def test_what_is_taken_back_goes_from_the_canvas_where_there_is_no_run(seen: dict[str, Any]) -> None:
    assert seen["corrected"] == ["added", "resized", "resized back", "removed", "there again", "not added"]
    assert seen["stored"] == 0


def test_nothing_else_was_complained_of(seen: dict[str, Any]) -> None:
    """No layers of different units at once, and no error but those that were meant."""
    severities = [severity for severity, _ in seen["messages"]]
    assert severities == ["warning", *["error"] * 6]
    assert seen["messages_of_napari"] == []


def test_napari_opens_files_at_once_for_scripts_and_in_the_background_otherwise(seen: dict[str, Any]) -> None:
    assert seen["napari"]["script"] == [["a.png", [90, 120, 3]], ["b.png", [90, 120, 3]]]
    assert seen["napari"]["loop"] == {"at_once": [0], "layers": ["LCC", "LMLO", "RCC", "RMLO"]}


def test_samples_take_the_place_of_what_announces_them(seen: dict[str, Any]) -> None:
    chest, exam, slide = seen["napari"]["samples"]
    assert chest["kinds"] == slide["kinds"] == ["Image", "Points"]
    assert exam["kinds"][:4] == ["Image"] * 4
    assert all(sample["marks"] for sample in (chest, exam, slide))
    assert [sample["units"] for sample in (chest, exam, slide)] == [
        ["millimeter"],
        ["millimeter"],
        ["micrometer"],
    ]
