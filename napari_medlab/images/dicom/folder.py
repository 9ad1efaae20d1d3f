"""Opening DICOM: a folder that holds one series, or a single file."""

from __future__ import annotations

from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

from napari_medlab.errors import ImageRefusedError, Option
from napari_medlab.images.decisions import AS_IS, NAMELESS, Decisions
from napari_medlab.images.dicom.files import read_frames
from napari_medlab.images.dicom.phases import refuse_phase
from napari_medlab.images.dicom.planar import RADIOGRAPHS, open_planar
from napari_medlab.images.dicom.volumes import open_single, open_volume
from napari_medlab.images.image import ImageWarning
from napari_medlab.images.progress import report
from napari_medlab.images.refusals import reading

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from napari_medlab.images.dicom.files import SetAside
    from napari_medlab.images.dicom.frames import Frame
    from napari_medlab.images.image import Image

__all__ = ["open_dicom_file", "open_dicom_folder"]

MAX_FILES = 20_000
MAX_OPTIONS = 1000
THREADS = 2
"""For disks that are slow to answer; parsing itself holds the interpreter."""
VOLUME_MODALITIES = frozenset({"CT", "MR", "PT", "NM"})
SET_ASIDE: dict[SetAside, str] = {
    "not-dicom": "are no DICOM files",
    "no-pixels": "hold no pixels",
    "localiser": "are localisers",
    "derived": "are derived objects, not images",
    "slide": "belong to a whole slide",
}


def open_dicom_file(path: Path, decisions: Decisions = AS_IS) -> Image:
    """Return the image of one DICOM file: a planar image, a volume of one slice, or one of many frames."""
    frames = read_frames(path)
    if frames == "slide":
        return _open_slide(path, [path], decisions)
    if not isinstance(frames, tuple):
        raise ImageRefusedError(
            f"{path.name} holds no image to show: it is one of those files that {SET_ASIDE[frames]}.",
            code="empty",
            hint="Open the folder that holds the images.",
        )
    return _open(path, frames, decisions, [])


def open_dicom_folder(folder: Path, decisions: Decisions = AS_IS) -> Image:
    """Return the one series of a folder and its sub-folders, slices in the order of their positions."""
    frames, aside = _read_folder(folder)
    if aside["slide"] and not any(decisions.series_uid in ("", frame.file.series_uid) for frame in frames):
        return _open_slide(folder, aside["slide"], decisions)
    warnings = [
        ImageWarning(
            f"set-aside-{why}", f"{len(files)} files of the folder {SET_ASIDE[why]}; they are left out."
        )
        for why, files in aside.items()
        if files
    ]
    if not frames:
        reasons = (
            ", ".join(f"{len(files)} {SET_ASIDE[why]}" for why, files in aside.items() if files)
            or "it is empty"
        )
        raise ImageRefusedError(
            f"{folder.name} holds no DICOM images: {reasons}.",
            code="empty",
            hint="Open the folder of one series.",
        )
    return _open(folder, _chosen_series(folder, frames, decisions), decisions, warnings)


def _open(path: Path, frames: Sequence[Frame], decisions: Decisions, warnings: list[ImageWarning]) -> Image:
    if len(frames) == 1:
        return _open_one(path, frames[0], decisions, warnings)
    is_volume = any(frame.position is not None for frame in frames) and all(len(f.shape) == 2 for f in frames)
    if is_volume:
        return open_volume(path, frames, decisions, warnings)
    if decisions.phase is None:
        raise _several_images(path, frames, decisions)
    if not 0 <= decisions.phase < len(frames):
        refuse_phase(decisions.phase, len(frames))
    return _open_one(path, frames[decisions.phase], decisions, warnings)


def _open_one(path: Path, frame: Frame, decisions: Decisions, warnings: list[ImageWarning]) -> Image:
    is_slice = frame.is_placed and len(frame.shape) == 2 and frame.file.modality not in RADIOGRAPHS
    if frame.file.modality in VOLUME_MODALITIES and is_slice:
        return open_single(path, frame, decisions, warnings)
    return open_planar(path, frame, decisions, tuple(warnings))


def _several_images(path: Path, frames: Sequence[Frame], decisions: Decisions) -> ImageRefusedError:
    """Return the refusal of images that make no volume, each of which can be opened alone."""
    in_one_file = all(frame.file is frames[0].file for frame in frames)
    what = "frames" if in_one_file else "planar images"
    chosen = replace(decisions, series_uid=frames[0].file.series_uid)
    titles = (
        f"Frame {n + 1} of {len(frames)}" if in_one_file else frame.name for n, frame in enumerate(frames)
    )
    return ImageRefusedError(
        f"{path.name} holds {len(frames)} {what} that do not say where they lie, and so make no volume.",
        code="multi-frame" if in_one_file else "several-images",
        hint="Open one of them." if in_one_file else "Open one of the files.",
        options=tuple(
            Option(title, replace(chosen, phase=number).as_json())
            for number, title in enumerate(islice(titles, MAX_OPTIONS))
        ),
    )


def _open_slide(path: Path, files: Sequence[Path], decisions: Decisions) -> Image:
    from napari_medlab.images.slides.dicom_slide import open_dicom_slide

    return open_dicom_slide(path, files, decisions)


def _read_folder(folder: Path) -> tuple[list[Frame], dict[SetAside, list[Path]]]:
    """Return all frames, and the files that are set aside."""
    files = sorted(islice((path for path in folder.rglob("*") if path.is_file()), MAX_FILES + 1))
    if len(files) > MAX_FILES:
        raise ImageRefusedError(
            f"{folder.name} holds more than {MAX_FILES} files.",
            code="size",
            hint="Open one of its files, or the folder of one series.",
        )
    frames: list[Frame] = []
    aside: defaultdict[SetAside, list[Path]] = defaultdict(list)
    for number, (path, found) in enumerate(zip(files, _read_all(files), strict=True)):
        if isinstance(found, tuple):
            frames += found
        else:
            aside[found].append(path)
        report(number + 1, len(files))
    return frames, aside


def _read_all(files: Sequence[Path]) -> Iterator[tuple[Frame, ...] | SetAside]:
    with ThreadPoolExecutor(THREADS) as pool:
        try:
            yield from pool.map(_read_one, files)
        finally:
            pool.shutdown(cancel_futures=True)


def _read_one(path: Path) -> tuple[Frame, ...] | SetAside:
    with reading(path):
        return read_frames(path)


def _chosen_series(folder: Path, frames: list[Frame], decisions: Decisions) -> list[Frame]:
    series: defaultdict[str, list[Frame]] = defaultdict(list)
    for frame in frames:
        series[frame.file.series_uid or NAMELESS].append(frame)
    if not decisions.series_uid and len(series) == 1:
        return frames
    if decisions.series_uid in series:
        return series[decisions.series_uid]
    by_count = dict(sorted(series.items(), key=lambda item: -len(item[1])))
    listing = "; ".join(f"{uid} ({len(found)} images)" for uid, found in islice(by_count.items(), 20))
    if decisions.series_uid:
        message, code = (
            f"{folder.name} holds no series {decisions.series_uid}; it holds {listing}.",
            "no-such-series",
        )
    else:
        message, code = f"{folder.name} holds {len(series)} series: {listing}.", "several-series"
    raise ImageRefusedError(
        message,
        code=code,
        hint="Choose one by its UID (--series UID on the command line).",
        options=tuple(
            Option(_title(uid, found), replace(decisions, series_uid=uid).as_json())
            for uid, found in islice(by_count.items(), MAX_OPTIONS)
        ),
    )


def _title(uid: str, frames: list[Frame]) -> str:
    first = frames[0]
    size = f"{first.shape[0]}×{first.shape[1]}"
    thickness = f", {first.thickness:g} mm" if first.thickness else ""
    return f"{first.file.modality or 'unknown'}, {len(frames)} images, {size}{thickness} (…{uid[-8:]})"
