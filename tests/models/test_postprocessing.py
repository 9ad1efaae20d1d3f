"""The settings of post-processing that are known are those that something reads."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import napari_medlab.models
from napari_medlab.errors import InputRefusedError
from napari_medlab.geometry import Grid
from napari_medlab.models.bundles import Bundle
from napari_medlab.models.detection.detections import DecodeSettings
from napari_medlab.models.inference.seams import SeamMerger
from napari_medlab.models.postprocessing import (
    OLDER_NAMES,
    POSTPROCESSING,
    at_threshold,
    check_postprocessing,
)
from napari_medlab.models.segmentation.objects import ObjectSettings

MODELS = Path(napari_medlab.models.__path__[0])
GRID = Grid.axis_aligned((4, 4, 4), (1.0, 1.0, 1.0))


class Watched(Mapping[str, Any]):
    """Says yes to some names, and notes which are asked for."""

    def __init__(self, **values: Any) -> None:  # noqa: ANN401 - any JSON values
        self.values_of, self.asked = values, set[str]()

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401 - as above
        self.asked.add(name)
        return self.values_of[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.values_of)

    def __len__(self) -> int:
        return len(self.values_of)


def read_by_name() -> set[str]:
    """Return the names that sources read of something called ``postprocessing``: by ``get``, in brackets, or with ``in``."""
    found = set()
    for path in sorted([*(MODELS / "predicting").glob("*.py"), *(MODELS / "inference").glob("*.py")]):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(
                    func=ast.Attribute(value=source, attr="get"), args=[ast.Constant(value=str(name)), *_]
                ):
                    read: ast.expr = source
                case ast.Subscript(value=source, slice=ast.Constant(value=str(name))):
                    read = source
                case ast.Compare(left=ast.Constant(value=str(name)), comparators=[source]):
                    read = source
                case _:
                    continue
            if ast.unparse(read).endswith("postprocessing"):
                found.add(name)
    return found


def test_what_is_known_is_what_is_read() -> None:
    objects, seams = Watched(threshold=0.5), Watched()
    ObjectSettings.from_json(objects, GRID)
    SeamMerger.from_json(seams, GRID)
    decoded = {field.name for field in fields(DecodeSettings)}
    elsewhere = read_by_name() - seams.asked
    assert POSTPROCESSING["segmentation"] == objects.asked | {"probabilities", "test_time"}
    assert POSTPROCESSING["detection"] == decoded | seams.asked | {"cluster", "test_time"}
    assert POSTPROCESSING["classification"] == {"test_time"}
    assert {"probabilities", "cluster", "test_time"} <= elsewhere
    known = frozenset().union(*POSTPROCESSING.values())
    assert elsewhere | decoded | seams.asked | objects.asked == known


def test_older_names_are_read_and_never_written() -> None:
    assert DecodeSettings.from_json(dict.fromkeys(OLDER_NAMES, 7)).most == 7
    with pytest.raises(
        InputRefusedError, match="most_per_tile not known; known for detection are cluster, iou"
    ):
        check_postprocessing({"most_per_tile": 7}, "detection")


def test_symmetries_must_exist() -> None:
    check_postprocessing({"test_time": ["flip y", "square"]}, "segmentation")
    with pytest.raises(InputRefusedError):
        check_postprocessing({"test_time": ["upside down"]}, "segmentation")


def bundle(task: str) -> Bundle:
    return Bundle(
        Path(), {"name": "a", "task": task, "postprocessing": {"threshold": 0.5, "most": 3}}, "7" * 64
    )


def test_a_threshold_takes_the_place_of_the_bundles_own() -> None:
    own = bundle("detection")
    other = at_threshold(own, 0.02)
    assert (other.hash, other.postprocessing) == (own.hash, {"threshold": 0.02, "most": 3})
    assert own.postprocessing["threshold"] == 0.5


@pytest.mark.parametrize(("task", "threshold"), [("detection", -0.1), ("detection", 1.5), ("segmentation", float("nan")),
                                                 ("classification", 0.5)])  # fmt: skip
def test_a_threshold_is_a_score_of_what_finds_something(task: str, threshold: float) -> None:
    with pytest.raises(InputRefusedError) as caught:
        at_threshold(bundle(task), threshold)
    assert caught.value.code == "threshold"
