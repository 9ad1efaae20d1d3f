"""The demonstration: the whole loop on phantoms, in a window for a person or by itself without one."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_medlab.verbs import Verb
from napari_medlab.widgets.launcher import display, open_window

if TYPE_CHECKING:
    import argparse

    from napari_medlab.widgets.workspace import Workspace

__all__ = ["VERB"]

SUMMARY = "demo.json"


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--headless", action="store_true", help="go the whole way round without a person, under Xvfb"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("medlab-demo"), metavar="DIR", help="folder for what it leaves"
    )
    parser.add_argument(
        "--cases", type=int, default=14, help="cases to review, and as many in the frozen test set"
    )
    parser.add_argument("--steps", type=int, default=None, help="steps of the retraining")


def _run(options: argparse.Namespace) -> dict[str, Any]:
    out: Path = options.out.resolve()
    _set_earlier_aside(out)
    out.mkdir(parents=True, exist_ok=True)
    has_display = _has_display()
    with display(headless=options.headless or not has_display):
        workspace = open_window()
        _begin(workspace, out / "project", options.cases)
        if options.headless or not has_display:
            from napari_medlab.widgets.demo_round import go_round

            summary = go_round(workspace, out, options.steps)
            (out / SUMMARY).write_text(json.dumps(summary, indent=1), encoding="utf-8")
            workspace.close()
            workspace.viewer.close()
            return summary
        import napari

        napari.run()
    return {"out": str(out)}


def _begin(workspace: Workspace, folder: Path, cases: int) -> None:
    """Make the demo project in the background, show its cases as they come, then run the detector over them."""
    from napari_medlab.project import Project
    from napari_medlab.project.sample import SampleSize, fill_with_phantoms

    controller = workspace.controller
    models = controller.models

    def make() -> Any:
        # the reference is not the reader's own work: it comes from another hand
        project = Project.create(folder, reader="phantoms")
        yield project
        yield from fill_with_phantoms(project, SampleSize(cases, cases))
        return project

    def on_item(item: Any) -> None:
        if isinstance(item, Project):
            controller.use_project(item)
            return
        models.progressed.emit(item[0], item[1], f"making phantom {item[0]} of {item[1]}")
        controller.reload_cases()

    def on_done(_: Project) -> None:
        def start() -> None:
            training = [case.case_id for case in controller.cases if not case.frozen]
            controller.session.show_case(training[0])
            models.run(models.current_hash, training)

        controller.open_project(folder, then=start)

    controller.background.stream("demo", make, on_item=on_item, on_done=on_done)


def _has_display() -> bool:
    import os

    return sys.platform != "linux" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _set_earlier_aside(out: Path) -> None:
    """Move what an earlier demo left into a folder of its own: nothing is overwritten."""
    if not (out / "project").exists():
        return
    earlier = out / f"earlier-{datetime.now():%Y%m%d-%H%M%S}"
    earlier.mkdir()
    for item in list(out.iterdir()):
        if not item.name.startswith("earlier-"):
            item.rename(earlier / item.name)


VERB = Verb("demo", "make a demo project of chest phantoms and go through it", _configure, _run)
