"""Every self-proving series is exact or refused for the right reason, where readers known to be wrong are flagged."""

from __future__ import annotations

import warnings
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from dicom_phantom import truth, worst_error, write
from test_self_proving_series import HALF, KINDS, opened

from napari_medlab.geometry import Grid
from napari_medlab.images.decisions import AS_IS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Survived
    from numpy.typing import NDArray

    Reader = Callable[[Path], tuple[NDArray[Any], Grid]]

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def fault_of(folder: Path, name: str) -> str:
    """Return what is wrong with how a series is opened; empty where it is exact, or refused for the right reason."""
    kind = KINDS[name]
    image = opened(folder, kind.decisions)
    if isinstance(image, str):
        return "" if image == kind.code else f"refused as {image}, expected {kind.code or 'an image'}"
    if kind.code:
        return f"opened, expected {kind.code}"
    worst = max(worst_error(image), worst_error(image.oriented()))
    return "" if worst <= kind.tolerance else f"off by {worst}"


def by_itk(folder: Path) -> tuple[NDArray[Any], Grid]:
    """Read a series as most scripts do."""
    import SimpleITK as sitk

    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    volume = reader.Execute()
    affine = np.eye(4)
    affine[:3, :3] = (np.reshape(volume.GetDirection(), (3, 3)) * volume.GetSpacing())[:, ::-1]
    affine[:3, 3] = volume.GetOrigin()
    pixels = sitk.GetArrayFromImage(volume)
    return pixels, Grid(pixels.shape, affine)


def by_monai(folder: Path) -> tuple[NDArray[Any], Grid]:
    """Read a series with what MONAI takes for DICOM where ITK is not asked."""
    from monai.data.image_reader import PydicomReader

    reader = PydicomReader()
    pixels, meta = reader.get_data(reader.read(str(folder)))
    affine = RAS_TO_LPS @ np.asarray(meta["affine"], float)
    return pixels.T, Grid(pixels.T.shape, affine[:, [2, 1, 0, 3]])


def verdict_on(read: Reader, folder: Path) -> str:
    """Return whether a reader is exact, refuses, or is wrong without saying so."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pixels, grid = read(folder)
    except Exception:  # noqa: BLE001 - each library has its own
        return "refused"
    index = np.moveaxis(np.indices(grid.shape), 0, -1)
    error = np.abs(np.asarray(pixels, float) - truth(grid.to_world(index))).max()
    return "exact" if error <= HALF else "silently wrong"


def shares(verdicts: Counter[str]) -> str:
    return ", ".join(f"{count} {verdict}" for verdict, count in verdicts.most_common())


@pytest.mark.slow
@pytest.mark.promise
@pytest.mark.timeout(900)
def test_no_series_is_silently_wrong(tmp_path: Path, survived: Survived) -> None:
    faults, readers = {}, {"SimpleITK": by_itk, "MONAI": by_monai}
    verdicts: dict[str, dict[str, str]] = {name: {} for name in readers}
    for number, (name, kind) in enumerate(KINDS.items()):
        folder = write(tmp_path / f"{number}", kind.make())
        faults[name] = fault_of(folder, name)
        if kind.tolerance == HALF and kind.decisions == AS_IS:
            for reader, read in readers.items():
                verdicts[reader][name] = verdict_on(read, folder)
    found = {name: fault for name, fault in faults.items() if fault}
    told = {reader: Counter(each.values()) for reader, each in verdicts.items()}
    survived(
        "geometry", "30 self-proving series", tried=len(KINDS), survived=len(KINDS) - len(found),
        control="; ".join(f"{reader}: {shares(each)}" for reader, each in told.items()),
        detail=f"{sum(not kind.code for kind in KINDS.values())} exact to 0.5 HU in every voxel, the others refused by name",
    )  # fmt: skip
    assert found == {}
    assert len(KINDS) >= 30
    assert all(each["silently wrong"] and each["exact"] for each in told.values()), verdicts
