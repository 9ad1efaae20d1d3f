"""What the window says of models, before and after they run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from napari_medlab.models.bundles import Bundle
from napari_medlab.project.records import CaseRecord
from napari_medlab.widgets.model_words import (
    about,
    backend_words,
    device_words,
    fit,
    reads,
    reads_briefly,
)


def bundle(
    task: str = "detection",
    kind: str | list[str] = "volume",
    classes: tuple[str, ...] = ("nodule",),
    name: str = "m",
) -> Bundle:
    spec = {
        "name": name,
        "task": task,
        "preprocessing": {"kind": kind},
        "classes": list(classes),
        "postprocessing": {},
    }
    return Bundle(Path(name), spec, f"{name:0<64}")


def cases(*kinds: str) -> list[CaseRecord]:
    return [CaseRecord(f"case {n}", "", f"Case {n}", kind, "", "p") for n, kind in enumerate(kinds)]


def test_a_model_that_reads_all_cases_says_nothing_more() -> None:
    found = fit(bundle(), cases("volume", "volume"), "")
    assert (found.case_ids, found.reason, found.note) == (("case 0", "case 1"), "", "")


def test_a_model_of_other_images_is_refused_with_the_reason() -> None:
    assert fit(bundle(), cases("slide"), "").reason == "It reads volumes. The case chosen is a slide."
    many = fit(bundle(kind=["slide", "photo"]), cases("volume", "mammogram", "mammogram"), "")
    assert many.case_ids == ()
    assert many.reason == "It reads slides and photos. The 3 cases chosen are 1 volume and 2 mammograms."


def test_cases_of_other_kinds_are_left_out_and_counted() -> None:
    found = fit(bundle(), cases("volume", "slide", "photo", "photo"), "")
    assert found.case_ids == ("case 0",)
    assert not found.reason
    assert found.note == "3 of the 4 cases are left out, as it reads volumes: 1 slide and 2 photos."


def test_a_judge_needs_candidates() -> None:
    judge = bundle("classification")
    assert "run a model that finds some first" in fit(judge, cases("volume"), "").reason
    assert fit(judge, cases("volume"), "a run").case_ids == ("case 0",)


def test_no_case_at_all_is_a_reason() -> None:
    assert fit(bundle(), [], "").reason == "No case is chosen."


def test_what_a_model_does_in_a_sentence() -> None:
    assert about(bundle()) == "Finds in volumes: nodule."
    assert (
        about(bundle("segmentation", "slide", ("glomerulus", "vessel")))
        == "Outlines in slides: glomerulus and vessel."
    )
    assert about(bundle(classes=tuple("abcdefgh"))).endswith(": a, b, c, d, e, f and 2 more.")
    assert about(bundle("classification")).startswith("Judges candidates")
    assert reads(bundle(kind=["mammogram", "photo"])) == "mammograms and photos"
    assert reads_briefly(bundle(kind=["mammogram", "photo"])) == "mammograms +1"
    assert reads_briefly(bundle()) == "volumes"


def test_what_a_run_is_computed_with() -> None:
    backend = {
        "devices": ["cpu"], "precision": "bfloat16", "channels_last": False, "compiled": False,
        "self_test": {"seconds": {"float32": 0.46, "bfloat16": 0.1}, "differences": {"bfloat16": 0.004}, "failed": {}},
    }  # fmt: skip
    assert backend_words(backend) == "bfloat16 on the CPU, 4.6 × as fast as float32, largest difference 0.004"


@pytest.mark.parametrize(
    ("backend", "words"),
    [
        ({}, ""),
        ({"devices": ["cpu"], "precision": "float32", "self_test": {"seconds": {"float32": 1.0}}}, "float32 on the CPU"),
        ({"devices": ["cuda:0", "cuda:1"], "precision": "float16"}, "float16 on 2 GPUs"),
        ({"devices": ["mps"], "precision": "float32"}, "float32 on Apple's GPU"),
        (
            {"devices": ["cuda:0"], "precision": "float32", "channels_last": True,
             "self_test": {"seconds": {"float32": 2.0, "float32, channels last": 1.0}, "differences": {}}},
            "float32, channels last on the GPU, 2.0 × as fast as float32",
        ),
        (
            {"devices": ["cpu"], "precision": "bfloat16",
             "self_test": {"seconds": {"float32": 1.0, "bfloat16": 2.0}, "differences": {"bfloat16": 0.01}}},
            "bfloat16 on the CPU, largest difference 0.01",
        ),
    ],
)  # fmt: skip
def test_what_is_not_known_of_it_is_left_out(backend: dict[str, Any], words: str) -> None:
    assert backend_words(backend) == words


def test_devices_by_the_names_that_people_use() -> None:
    assert [device_words(name) for name in ("auto", "cpu", "mps", "cuda:1", "cuda", "xpu")] == [
        "Automatic", "CPU", "Apple GPU", "GPU 1 (CUDA)", "GPU 0 (CUDA)", "xpu",
    ]  # fmt: skip
