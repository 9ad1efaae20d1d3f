from __future__ import annotations

from napari_medlab.cli.failures import every_case_failed


def test_each_reason_is_said_once() -> None:
    said = every_case_failed(["no size", "cut short", "no size"], 3)["error"]
    assert said["code"] == "every-case-failed"
    assert said["message"] == "2 of 3 cases: no size\n1 of 3 cases: cut short"


def test_many_reasons_are_counted() -> None:
    said = every_case_failed([f"reason {number}" for number in range(5)], 5)["error"]
    assert said["message"].splitlines()[-1] == "… and 2 more reasons"


def test_nothing_is_said_where_one_went_well_or_there_was_none() -> None:
    assert every_case_failed(["no size"], 2) == every_case_failed([], 0) == {}
