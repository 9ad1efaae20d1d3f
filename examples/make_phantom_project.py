"""Make a project of chest phantoms with known nodules, and list what is in it.

Run as ``python examples/make_phantom_project.py [FOLDER]``; without a folder, in one that is deleted afterwards.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from napari_medlab.project import Project
from napari_medlab.project.sample import SampleSize, fill_with_phantoms


def main(folder: Path) -> None:
    """Make the project and print its cases."""
    with Project.create(folder, reader="example") as project:
        for done, total in fill_with_phantoms(project, SampleSize(train=2, test=1)):
            print(f"phantom {done} of {total}", file=sys.stderr)
        for case in project.cases():
            findings = project.findings(case.case_id)
            sizes = ", ".join(f"{diameter:.1f} mm" for diameter in findings.diameters[~findings.is_excluded])
            print(f"{case.name} ({case.split}): nodules of {sizes or 'no size, for there are none'}")
        faults = project.verify()
    print(f"Verified: {'; '.join(faults) or 'nothing is amiss'}.")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary) / "project")
