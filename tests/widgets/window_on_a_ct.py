"""Opens the real window on a CT folder, goes to a candidate, and prints what is shown; run as a script of its own."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from napari_medlab.widgets.launcher import display, open_window
from napari_medlab.widgets.robot import Robot


def look_at(series: Path, out: Path) -> dict[str, Any]:
    """Add a DICOM folder to a new project, run the detector on it, and go to its best candidate."""
    workspace = open_window()
    controller, robot = workspace.controller, Robot(workspace, out)
    session, models = controller.session, controller.models
    controller.create_project(out / "project")
    robot.wait_for(lambda: session.project is not None and models.bundles, 30, "the project")
    controller.add_images([series])
    robot.wait_for(lambda: len(controller.cases) == 1, 60, "the case")
    session.show_case(controller.cases[0].case_id)
    shown = controller.display
    robot.wait_for(lambda: shown.view is not None and shown.view.case_id == session.case_id and shown.turns.is_done,
                   60, "the image")  # fmt: skip
    models.run(models.current_hash, [session.case_id])
    robot.wait_for(lambda: session.review is not None and not models.is_running, 200, "the detector")
    session.set_operating_point(8.0)
    session.go_to(0)
    robot.wait_for(lambda: shown.turns.is_done, 20, "the candidate")
    workspace.show_station("Review")
    picture = robot.picture("ct")
    image = workspace.viewer.layers["image"]
    item = session.item
    points = [plane.viewer.dims.point for plane in (shown.layers, *workspace.planes.planes)]
    result = {
        "scale": [float(step) for step in image.scale],
        "units": [str(unit) for unit in image.units],
        "shape": list(image.data.shape),
        "contrast_limits": [float(limit) for limit in image.contrast_limits],
        "candidate": [float(v) for v in shown.view.to_display(item.centre)] if item and shown.view else [],
        "points": np.asarray(points, dtype=float).tolist(),
        "picture": str(picture),
    }
    workspace.close()
    workspace.viewer.close()
    return result


if __name__ == "__main__":
    with display(headless=True):
        document = look_at(Path(sys.argv[1]), Path(sys.argv[2]))
    sys.stdout.write(json.dumps(document))
