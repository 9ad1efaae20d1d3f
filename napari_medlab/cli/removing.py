"""``napari-medlab project remove``: taking cases out of a project for good."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from napari_medlab.errors import InputRefusedError

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from napari_medlab.project import Project

__all__ = ["add_remove_arguments", "remove_cases"]


def add_remove_arguments(parser: argparse.ArgumentParser) -> None:
    """Add which cases, and that it is meant."""
    parser.add_argument(
        "cases", metavar="CASE", nargs="+", help="the key of a case, or its name in the list of cases"
    )
    parser.add_argument("--yes", action="store_true", help="do it; without, only say what would be deleted")


def remove_cases(options: argparse.Namespace) -> dict[str, Any]:
    """Say what would be deleted, and delete it where that was confirmed."""
    from napari_medlab.project.removing import plan_removal

    with _opened(options.folder, is_meant=options.yes) as project:
        plan = plan_removal(project, options.cases)
        sys.stderr.write("\n".join([*plan.told(), ""]))
        if not options.yes:
            raise InputRefusedError(
                f"Nothing was deleted. For good would go: {plan.counted}.",
                code="unconfirmed",
                hint="Repeat it with --yes.",
            )
        project.remove(plan.cases)
    return asdict(plan)


def _opened(folder: Path, *, is_meant: bool) -> Project:
    from napari_medlab.cli.project import open_to_write
    from napari_medlab.project import Project

    return open_to_write(folder) if is_meant else Project.open(folder, read_only=True)
