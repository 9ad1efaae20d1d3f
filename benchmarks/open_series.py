"""A CT series of 120 slices, opened and decoded: against bare pydicom in one thread, and against SimpleITK.

Run as ``python benchmarks/open_series.py``. With ``MEDLAB_TEST_DATA`` set, the real chest CT in there comes too.
"""

from __future__ import annotations

import os
import statistics
import tarfile
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.images import open_here, open_image
from napari_medlab.images.isolation import close_reader, reader_process
from napari_medlab.images.tiles import read_tiles

if TYPE_CHECKING:
    from collections.abc import Callable

SLICES, SIDE, ROUNDS = 120, 512, 5


def main() -> None:
    """Print the figures."""
    reader_process().ask({"op": "warm"})
    with tempfile.TemporaryDirectory() as folder:
        write_series(Path(folder))
        compare("phantom", Path(folder))
    if data := os.environ.get("MEDLAB_TEST_DATA"):
        with tempfile.TemporaryDirectory() as folder:
            with tarfile.open(next((Path(data) / "ct_lung").glob("*.tar.xz"))) as archive:
                archive.extractall(folder, filter="data")
            compare("real CT", Path(folder))
    close_reader()


def compare(name: str, folder: Path) -> None:
    """Print how long each way takes to go from the folder to Hounsfield units in memory."""
    ways: dict[str, Callable[[Path], object]] = {
        "bare pydicom, one thread": bare_pydicom,
        "SimpleITK": simple_itk,
        "ours, one thread": ours_one_thread,
        "ours, several threads": lambda path: open_here(path).arrays[0].read(..., keep=False),
        "ours, in the reader process": ours_isolated,
    }
    took: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(ROUNDS):  # in turns, so that a busy moment meets all of them
        for way, read in ways.items():
            began = time.perf_counter()
            read(folder)
            took[way].append(time.perf_counter() - began)
    plain = statistics.median(took["bare pydicom, one thread"])
    itk = statistics.median(took["SimpleITK"])
    for way, seconds in took.items():
        middle = statistics.median(seconds)
        print(
            f"{name}, {way}: {1e3 * middle:.0f} ms, {middle / plain:.2f} × pydicom (goal ≤ 1.3), "
            f"{middle / itk:.2f} × SimpleITK (goal < 1)"
        )


def bare_pydicom(folder: Path) -> object:
    """Read, sort and stack as most scripts do."""
    import pydicom

    slices = [pydicom.dcmread(path) for path in folder.rglob("*") if path.is_file()]
    slices.sort(key=lambda dataset: float(dataset.ImagePositionPatient[2]))
    return np.stack([d.pixel_array * np.int16(d.RescaleSlope) + np.int16(d.RescaleIntercept) for d in slices])


def simple_itk(folder: Path) -> object:
    """Read through GDCM."""
    import SimpleITK as sitk

    inner = next(path for path in folder.rglob("*") if path.is_file()).parent
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(inner)))
    return sitk.GetArrayFromImage(reader.Execute())


def ours_one_thread(folder: Path) -> object:
    """Decode slice after slice in this thread."""
    source = open_here(folder).sources[0]
    return np.concatenate(read_tiles(source, [(number, 0, 0) for number in range(source.shape[0])]))


def ours_isolated(folder: Path) -> object:
    """Decode as the window does; the folder is touched, so that nothing is known of it from the time before."""
    os.utime(folder)
    return open_image(folder).arrays[0].read(..., keep=False)


def write_series(folder: Path) -> None:
    """Write an uncompressed series under names that say nothing about its order."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    rng = np.random.default_rng(0)
    series = generate_uid()
    for number, name in enumerate(rng.permutation(SLICES)):
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        dataset.SeriesInstanceUID, dataset.Modality = series, "CT"
        dataset.Rows = dataset.Columns = SIDE
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
        dataset.ImagePositionPatient = [0, 0, 1.25 * number]
        dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        dataset.PixelSpacing = [0.7, 0.7]
        dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024
        dataset.PixelData = rng.integers(0, 4096, (SIDE, SIDE), dtype=np.uint16).tobytes()
        dataset.save_as(folder / f"{name:04d}.dcm", enforce_file_format=True)


if __name__ == "__main__":
    main()
