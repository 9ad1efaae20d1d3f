"""A CT series of 120 slices, opened and decoded: against bare pydicom in one thread, and against SimpleITK.

Run as ``python benchmarks/open_series.py``. With ``MEDLAB_TEST_DATA`` set, the real chest CT in there comes too. Last, the
series grows to 1,200 slices.
"""

from __future__ import annotations

import os
import statistics
import tarfile
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from figures import Figure, Goal, Growth
from measuring import Record, arguments, recording, seconds_of

from napari_medlab.images import open_here, open_image
from napari_medlab.images.isolation import close_reader, reader_process
from napari_medlab.images.tiles import read_tiles

if TYPE_CHECKING:
    from collections.abc import Callable

AREA = "Volumes"
SLICES, SIDE, ROUNDS = 120, 512, 5
PYDICOM, ITK = "bare pydicom, one thread", "SimpleITK"
GOALS = {PYDICOM: Goal(1.3, "ratio"), ITK: Goal(1.0, "ratio")}


def main() -> None:
    """Measure a phantom, a real series where there is one, and how the time grows."""
    options = arguments(__doc__).parse_args()
    slices, rounds = (12, 2) if options.quick else (SLICES, ROUNDS)
    reader_process().ask({"op": "warm"})
    with recording(__file__, options) as record:
        with tempfile.TemporaryDirectory() as folder:
            write_series(Path(folder), slices)
            compare(record, f"phantom of {slices} slices", Path(folder), rounds)
        data = os.environ.get("MEDLAB_TEST_DATA")
        if data and not options.quick:
            with tempfile.TemporaryDirectory() as folder:
                with tarfile.open(next((Path(data) / "ct_lung").glob("*.tar.xz"))) as archive:
                    archive.extractall(folder, filter="data")
                compare(record, "real CT", Path(folder), rounds)
        grow(record, (slices // 10, slices, slices * 10))
    close_reader()


def compare(record: Record, name: str, folder: Path, rounds: int) -> None:
    """Measure how long each way takes to go from the folder to Hounsfield units in memory."""
    ways: dict[str, Callable[[Path], object]] = {
        PYDICOM: bare_pydicom,
        ITK: simple_itk,
        "one thread": ours_one_thread,
        "several threads": lambda path: open_here(path).arrays[0].read(..., keep=False),
        "in the reader process, as the window does": ours_isolated,
    }
    took: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds):  # in turns, so that a busy moment meets all of them
        for way, read in ways.items():
            took[way].append(1e3 * seconds_of(partial(read, folder)))
    for way in list(ways)[2:]:
        for peer, goal in GOALS.items():
            turns = {"ours": took[way], peer: took[peer]}
            record.add(
                Figure.of_turns(AREA, f"series to Hounsfield units, {way}", turns, "ms", goal, how=name)
            )


def grow(record: Record, sizes: tuple[int, ...]) -> None:
    """Measure series of several lengths."""
    took = []
    for slices in sizes:
        with tempfile.TemporaryDirectory() as folder:
            write_series(Path(folder), slices)
            read = partial(ours_isolated, Path(folder))
            took.append(statistics.median(seconds_of(read) for _ in range(3)))
    record.add(Growth(AREA, "series to Hounsfield units", "s", "slices", "n", sizes, tuple(took)))


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


def write_series(folder: Path, slices: int = SLICES) -> None:
    """Write an uncompressed series under names that say nothing about its order."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    rng = np.random.default_rng(0)
    series = generate_uid()
    for number, name in enumerate(rng.permutation(slices)):
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        dataset.SeriesInstanceUID, dataset.Modality = series, "CT"
        dataset.Rows = dataset.Columns = SIDE
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = (
            16,
            12,
            11,
            0,
        )
        dataset.ImagePositionPatient = [0, 0, 1.25 * number]
        dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        dataset.PixelSpacing = [0.7, 0.7]
        dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024
        dataset.PixelData = rng.integers(0, 4096, (SIDE, SIDE), dtype=np.uint16).tobytes()
        dataset.save_as(folder / f"{name:04d}.dcm", enforce_file_format=True)


if __name__ == "__main__":
    main()
