"""What napari gets of our files: layers at once for scripts, in the background where a window is up."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from PIL import Image as Pictures
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    DigitalMammographyXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    generate_uid,
)

from napari_medlab.errors import ImageRefusedError
from napari_medlab.images import open_here
from napari_medlab.images.slides import overview, pyramids
from napari_medlab.images.tiles import halved
from napari_medlab.widgets.layers import readers, samples
from napari_medlab.widgets.layers.readers import get_reader
from napari_medlab.widgets.layers.streaming import StreamedLevel

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HANG = 60.0


def read(path: Any) -> list[Any]:  # noqa: ANN401 - as napari hands it over
    reader = get_reader(path)
    assert reader is not None
    return reader(path)


def mammogram(path: Path, side: str, view: str, shape: tuple[int, int]) -> None:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = (
        DigitalMammographyXRayImageStorageForPresentation
    )
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = generate_uid()
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.3", generate_uid()
    dataset.Modality, dataset.ImageLaterality, dataset.ViewPosition = "MG", side, view
    dataset.Rows, dataset.Columns = shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 0
    dataset.ImagerPixelSpacing = [0.1, 0.1]
    dataset.WindowCenter, dataset.WindowWidth = 300, 200
    dataset.PixelData = np.arange(np.prod(shape), dtype=np.uint16).tobytes()
    dataset.save_as(path, enforce_file_format=True)


@pytest.mark.parametrize("name", ["notes.txt", "empty.dcm", "nowhere.dcm", "folder"])
def test_what_is_not_ours_is_left_to_others(tmp_path: Path, name: str) -> None:
    (tmp_path / "notes.txt").write_text("nothing of ours", encoding="utf-8")
    (tmp_path / "empty.dcm").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    Pictures.fromarray(np.zeros((4, 5), np.uint8)).save(tmp_path / "a.png")
    assert get_reader(str(tmp_path / name)) is None
    assert get_reader([str(tmp_path / "a.png"), str(tmp_path / name)]) is None
    assert get_reader([]) is None
    assert get_reader(str(tmp_path / "a.png")) is not None


def test_a_volume_comes_with_its_geometry(tmp_path: Path) -> None:
    import nibabel

    voxels = np.arange(5 * 6 * 7, dtype=np.int16).reshape(5, 6, 7)
    affine = np.diag([-0.5, -0.7, 2.0, 1.0])
    nibabel.save(nibabel.Nifti1Image(voxels, affine), tmp_path / "a.nii")
    ((data, settings, kind),) = read(str(tmp_path / "a.nii"))
    assert kind == "image"
    assert type(data) is np.ndarray
    np.testing.assert_array_equal(data, voxels.T)
    assert settings["scale"] == pytest.approx((2.0, 0.7, 0.5))
    assert (settings["units"], settings["axis_labels"]) == (("mm",) * 3, ("z", "y", "x"))
    assert settings["contrast_limits"][0] < settings["contrast_limits"][1]
    assert (settings["name"], settings["multiscale"], settings["rgb"]) == ("a.nii", False, False)


def test_several_files_are_read_one_by_one(tmp_path: Path) -> None:
    for name, value in (("a.png", 3), ("b.png", 9)):
        Pictures.fromarray(np.full((4, 5, 3), value, np.uint8)).save(tmp_path / name)
    layers = read([str(tmp_path / "b.png"), str(tmp_path / "a.png")])
    assert [(settings["name"], int(np.asarray(data)[0, 0, 0])) for data, settings, _ in layers] == [
        ("b.png", 9),
        ("a.png", 3),
    ]
    assert all(settings["rgb"] and settings["units"] == ("pixel",) * 2 for _, settings, _ in layers)


def test_a_slide_for_a_script_holds_the_true_pixels_of_every_level(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Levels that are still to be made are made before a script gets them: it may compute with any of them."""
    monkeypatch.setattr(pyramids, "KEPT_PIXELS", 1 << 20)
    monkeypatch.setattr(overview, "KEPT_PIXELS", 1 << 20)
    monkeypatch.setattr(readers, "open_image", open_here)
    pixels = np.random.default_rng(0).integers(0, 250, (2300, 1500)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", pixels, tile=(256, 256))
    ((levels, settings, _),) = read(str(tmp_path / "a.tif"))
    assert settings["multiscale"]
    assert max(levels[-1].shape) <= 1024
    expected = pixels
    for level in levels:
        np.testing.assert_array_equal(np.asarray(level), expected)
        expected = halved(expected)


def test_an_exam_hangs_as_usual(tmp_path: Path) -> None:
    shapes = {"RCC": (40, 20), "LCC": (40, 25), "RMLO": (50, 22), "LMLO": (50, 24)}
    for name, shape in shapes.items():
        mammogram(tmp_path / f"{name[::-1]}.dcm", name[0], name[1:], shape)
    layers = {settings["name"].split()[0]: (data, settings) for data, settings, _ in read(str(tmp_path))}
    assert set(layers) == set(shapes)
    spacing = layers["LCC"][1]["scale"][0]
    places = {name: np.asarray(settings["translate"]) / spacing for name, (_, settings) in layers.items()}
    assert places["RCC"] == pytest.approx((0, -20))
    assert places["LCC"] == pytest.approx((0, 0))
    assert places["RMLO"][0] == places["LMLO"][0] > 40
    assert places["RMLO"][1] == pytest.approx(-22)
    for name, (data, settings) in layers.items():
        assert np.asarray(data).shape == shapes[name]
        assert settings["contrast_limits"] == (200, 400)


def test_one_mammogram_alone_is_not_moved(tmp_path: Path) -> None:
    mammogram(tmp_path / "a.dcm", "R", "CC", (40, 20))
    ((_, settings, _),) = read(str(tmp_path / "a.dcm"))
    assert "translate" not in settings


def test_a_script_is_told_why_an_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\nhello")
    with pytest.raises(ImageRefusedError) as caught:
        read(str(tmp_path / "a.png"))
    assert caught.value.code == "unreadable"


def test_nothing_is_opened_where_nothing_was_chosen() -> None:
    readers._open([])


@pytest.mark.parametrize(
    ("sample", "images"),
    [(samples.chest_sample, 1), (samples.mammogram_sample, 4), (samples.slide_sample, 1)],
)
def test_samples_are_images_with_their_marks(sample: Any, images: int) -> None:  # noqa: ANN401 - a function
    from napari.layers import Layer

    layers = sample()
    kinds = [kind for _, _, kind in layers]
    assert kinds.count("image") == images
    assert kinds.count("points") >= 1
    made = [Layer.create(*data) for data in layers]
    for layer in made:
        assert len(layer.scale) == len(layer.units) == layer.ndim
        assert layer.name
    inside = made[-1].data * made[-1].scale
    extent = next(layer for layer in made if type(layer).__name__ == "Image").extent.world
    assert np.isfinite(inside).all()
    if images == 1:
        assert (inside >= extent[0]).all()
        assert (inside <= extent[1]).all()


@pytest.fixture
def viewer() -> Iterator[Any]:
    import napari
    from qtpy.QtGui import QOpenGLContext

    shown = napari.Viewer(show=False)
    yield shown
    # a context that is current when it goes leaves Qt with a pointer to nothing: it crashes when Python ends
    if (context := QOpenGLContext.currentContext()) is not None:
        context.doneCurrent()
    shown.close()


@pytest.mark.window
def test_in_a_window_a_slide_comes_at_once_and_sharpens(
    viewer: Any,  # noqa: ANN401 - napari and pytest-qt
    qtbot: Any,  # noqa: ANN401 - napari and pytest-qt
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pyramids, "KEPT_PIXELS", 1 << 20)
    monkeypatch.setattr(overview, "KEPT_PIXELS", 1 << 20)
    monkeypatch.setattr(readers, "open_image", open_here)
    pixels = np.random.default_rng(0).integers(0, 250, (2300, 1500)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", pixels, tile=(256, 256))

    def in_the_loop() -> list[Any]:
        from qtpy.QtCore import QEventLoop, QTimer

        loop, answers = QEventLoop(), []

        def begin() -> None:
            answers.append(read(str(tmp_path / "a.tif")))
            loop.quit()

        QTimer.singleShot(0, begin)
        loop.exec()
        return answers[0]

    assert in_the_loop() == [(None,)]
    qtbot.waitUntil(lambda: len(viewer.layers) == 1, timeout=int(HANG * 1000))
    layer = viewer.layers[0]
    assert isinstance(layer.data[0], StreamedLevel)
    coarsest = halved(halved(pixels))
    qtbot.waitUntil(lambda: np.array_equal(layer.data[-1], coarsest), timeout=int(HANG * 1000))
    until = time.monotonic() + HANG
    while layer.data[0].pyramid.is_waiting and time.monotonic() < until:
        qtbot.wait(20)
    np.testing.assert_array_equal(np.asarray(layer.data[0]), pixels)
