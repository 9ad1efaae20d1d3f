"""By what name a file from elsewhere knows a case: which case each name of a table or an exchange format means."""

from __future__ import annotations

from collections import defaultdict
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from napari_medlab.errors import InputRefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from napari_medlab.project.project import Project
    from napari_medlab.project.records import CaseRecord

__all__ = ["cases_by_name"]

SHOWN = 10
"""How many names are written out."""
ENDINGS = (
    ".nii.gz", ".nii", ".mha", ".mhd", ".nrrd", ".ome.tiff", ".ome.tif", ".tiff", ".tif", ".svs", ".ndpi", ".scn",
    ".ome.zarr", ".zarr", ".dcm", ".png", ".jpg", ".jpeg", ".bmp", ".pgm", ".ppm", ".ome",
)  # fmt: skip


def cases_by_name(project: Project, names: Collection[str]) -> dict[str, str]:
    """Return the case of each name, those that have none left out.

    A name means the case that is called so, or whose key it is; else the one whose file has this name, with the folders
    before it where the name has some; else the one whose file has this name without its ending; else the series of this
    UID. The first of these ways that finds a case counts.

    Parameters
    ----------
    project : Project
    names : collection of str
        Names of series, films or image files, as a file from elsewhere writes them.

    Raises
    ------
    InputRefusedError
        ``no-series`` where not one name has a case; ``ambiguous-series`` where one has several, in any of these ways.
    """
    cases = project.cases()
    found: dict[str, list[str]] = {}
    for table, spelled in _ways(cases):
        for name in names:
            if name not in found and (those := table.get(spelled(name))):
                found[name] = list(dict.fromkeys(those))
    twice = sorted(name for name, those in found.items() if len(those) > 1)
    if twice:
        raise InputRefusedError(
            f"Several cases of the project fit one name of the file: {', '.join(twice[:SHOWN])}.",
            code="ambiguous-series",
            hint="Cases are found by name, and a name must stand for one case.",
        )
    if names and not found:
        raise InputRefusedError(
            f"No name of the file is that of a case. The file has {_some(sorted(names))}; "
            f"the project has {_some([case.name for case in cases])}.",
            code="no-series",
            hint="Cases are found by their name, their file's name, or the UID of their DICOM series. Add the images under "
            "the names that the file has, such as SERIESUID.mhd for LUNA16 or mdb001.pgm for mini-MIAS.",
        )
    return {name: found[name][0] for name in names if name in found}


def _ways(cases: Collection[CaseRecord]) -> list[tuple[dict[str, list[str]], Callable[[str], str]]]:
    """Return, the best first, cases by what they go by, and how a name is spelled there."""
    named, keyed, placed, ended, series = (defaultdict[str, list[str]](list) for _ in range(5))
    for case in cases:
        named[case.name].append(case.case_id)
        keyed[case.case_id].append(case.case_id)
        parts = PurePosixPath(case.path.replace("\\", "/")).parts
        for count in range(1, len(parts) + 1):
            placed["/".join(parts[-count:])].append(case.case_id)
        for name in {_stem(case.name), _stem(parts[-1])} if parts else {_stem(case.name)}:
            ended[name].append(case.case_id)
        if uid := case.decisions.get("series_uid"):
            series[str(uid)].append(case.case_id)
    return [(named, str), (keyed, _stem), (placed, _slashed), (ended, _stem), (series, str)]


def _slashed(name: str) -> str:
    return "/".join(PurePosixPath(name.replace("\\", "/")).parts)


def _stem(name: str) -> str:
    """Return a file's name without the folders before it and without the ending of an image."""
    last = PurePosixPath(name.replace("\\", "/")).name
    ending = next((ending for ending in ENDINGS if last.lower().endswith(ending)), "")
    return last.removesuffix(last[len(last) - len(ending) :]) if ending else last


def _some(names: list[str]) -> str:
    if not names:
        return "none at all"
    return ", ".join(names[:3]) + (f", … ({len(names)} in all)" if len(names) > 3 else "")
