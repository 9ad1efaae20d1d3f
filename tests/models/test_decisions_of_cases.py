from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from phantom_projects import shipped

from napari_medlab.annotations import new_id
from napari_medlab.jobs import CancelToken
from napari_medlab.models.inference import worker
from napari_medlab.models.inference.backends import Backend
from napari_medlab.models.inference.self_test import Choice
from napari_medlab.models.workflows.predict import run_bundle
from napari_medlab.project import CaseRecord, Project
from napari_medlab.project.edits import add_case

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pytest

    from napari_medlab.images import Image
    from napari_medlab.protocols import Batch


class Asked:
    """Stands for the worker process, and notes what it is asked."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []

    is_alive = True

    def events(self, request: dict[str, Any], _cancel: CancelToken) -> Iterator[dict[str, Any]]:
        self.requests.append(request)
        yield {"event": "seconds", "seconds": 1.0}

    def close(self) -> None:
        pass


class Seen:
    """Stands for a detector, and notes what it is shown."""

    choice = Choice(("cpu",), Backend())

    def __init__(self) -> None:
        self.values: list[int] = []

    def detect(
        self, image: Image, _case_id: str, _cancel: CancelToken, *, focus: object, on_progress: object
    ) -> Iterator[Batch]:
        self.values += np.unique(np.asarray(image.arrays[0])).tolist()
        return iter(())


def test_a_model_sees_a_case_as_it_was_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import nibabel as nib

    path = tmp_path / "a.nii"
    phases = np.ascontiguousarray(np.broadcast_to(np.arange(3, dtype=np.int16), (4, 5, 6, 3)))
    nib.save(nib.Nifti1Image(phases, np.eye(4)), path)
    asked, seen = Asked(), Seen()
    with Project.create(tmp_path / "p", reader="ann") as project:
        case = CaseRecord(new_id(), str(path), "a", decisions={"phase": 1})
        project.commit(add_case(case))
        for _ in run_bundle(project, shipped(), [case.case_id], asked, CancelToken()):
            pass
    (request,) = [each for each in asked.requests if each["op"] == "predict"]
    monkeypatch.setattr(worker, "_model", lambda *_: seen)
    events = [event["event"] for event in worker.predict(request, CancelToken())]
    assert events == ["backend", "seconds"]
    assert seen.values == [1]
