"""Layers saved from napari come back with their pixels, where they lay."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from layer_samples import HANG, levels_of, pyramid_arrays
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer

from napari_medlab.errors import InputRefusedError, MedlabError
from napari_medlab.geometry import Grid
from napari_medlab.images import open_here, open_image
from napari_medlab.widgets.layers import samples, writers
from napari_medlab.widgets.layers.streaming import StreamedPyramid

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_medlab.images import Image as Opened

VOLUMES = [writers.write_nifti, writers.write_metaimage, writers.write_ome_zarr]
WRITERS = [*VOLUMES, writers.write_ome_tiff]
OBLIQUE = np.array(
    [[0.0, 0.1, 0.7, -30.0], [0.1, 0.693, -0.1, 12.0], [2.0, -0.2, 0.02, 55.0], [0, 0, 0, 1.0]]
)


def save(layer: Any, write: Any, path: Path) -> Opened:  # noqa: ANN401 - a layer of napari, and a function
    """Save a layer as napari does, and open what was written."""
    data, attributes, _ = layer.as_layer_data_tuple()
    (written,) = write(str(path), data, attributes)
    assert [written] == [str(found) for found in path.parent.iterdir() if found.name.startswith(path.name)]
    return open_here(written)


def pixels_of(image: Opened, level: int = 0) -> NDArray[Any]:
    return np.asarray(image.arrays[level])


def close(one: Grid, other: Grid) -> bool:
    return one.unit == other.unit and np.allclose(one.affine, other.affine, rtol=1e-5, atol=1e-4)


def orthogonal(matrix: NDArray[np.float64], spacing: tuple[float, ...]) -> NDArray[np.float64]:
    turn, _ = np.linalg.qr(matrix[:3, :3])
    turn *= np.sign(np.sum(turn * matrix[:3, :3], axis=0))
    made = matrix.copy()
    made[:3, :3] = turn * np.asarray(spacing)
    return made


@pytest.fixture
def viewer(monkeypatch: pytest.MonkeyPatch) -> ViewerModel:
    """Return the layers that writers find beside the one they save."""
    model = ViewerModel()
    monkeypatch.setattr("napari.current_viewer", lambda: model)
    return model


@pytest.mark.parametrize("write", VOLUMES)
def test_a_ct_comes_back_where_it_lay(write: Any, tmp_path: Path) -> None:  # noqa: ANN401 - a function
    layer = Layer.create(*samples.chest_sample()[0])
    image = save(layer, write, tmp_path / "chest")
    np.testing.assert_array_equal(pixels_of(image.oriented()), layer.data)
    expected = Grid(layer.data.shape, layer.metadata["affine_lps"], "mm")
    assert close(image.oriented().grid, expected)


def test_an_ome_tiff_of_a_volume_holds_its_voxel_size(tmp_path: Path) -> None:
    layer = Layer.create(*samples.chest_sample()[0])
    image = save(layer, writers.write_ome_tiff, tmp_path / "chest")
    np.testing.assert_array_equal(pixels_of(image), layer.data)
    assert image.grid.spacing_mm == pytest.approx(tuple(layer.scale))


@pytest.mark.parametrize("write", WRITERS)
def test_a_mammogram_is_saved_without_the_place_where_it_hangs(write: Any, tmp_path: Path) -> None:  # noqa: ANN401
    hung = [Layer.create(*data) for data in samples.mammogram_sample() if data[2] == "image"]
    layer = next(layer for layer in hung if np.any(layer.translate))
    image = save(layer, write, tmp_path / "view")
    np.testing.assert_array_equal(np.squeeze(pixels_of(image.oriented())), layer.data)
    assert image.grid.spacing_mm[-2:] == pytest.approx(tuple(layer.scale))
    assert np.allclose(image.oriented().grid.affine[:2, -1], 0)


@pytest.mark.parametrize("write", [writers.write_ome_tiff, writers.write_ome_zarr])
def test_a_slide_comes_back_with_all_its_levels(write: Any, tmp_path: Path) -> None:  # noqa: ANN401 - a function
    layer = Layer.create(*samples.slide_sample()[0])
    data, attributes, _ = layer.as_layer_data_tuple()
    (written,) = write(str(tmp_path / "slide"), data, attributes)
    image = open_image(written)
    assert image.is_rgb
    assert image.grid.unit == "um"
    assert image.grid.spacing == pytest.approx(tuple(layer.scale))
    for number, level in enumerate(image.levels[:4]):
        np.testing.assert_array_equal(np.asarray(level), layer.data[number])


@pytest.mark.parametrize("channel", [None, 1])
def test_streamed_levels_are_saved_with_their_true_pixels(channel: int | None, tmp_path: Path) -> None:
    """The last level may still be a preview: it is never what is saved."""
    pixels = np.random.default_rng(0).integers(0, 250, (2300, 1500, 3)).astype(np.uint8)
    preview = np.full((575, 375, 3), 7, np.uint8)
    pyramid = StreamedPyramid(pyramid_arrays(pixels, (256, 256, 3)), preview, channel)
    layer = Image(pyramid.levels, multiscale=True, rgb=channel is None, scale=(0.5, 0.5), units="um",
                  contrast_limits=(0, 255), cache=False)  # fmt: skip
    image = save(layer, writers.write_ome_tiff, tmp_path / "slide")
    for number, level in enumerate(levels_of(pixels, 2)):
        if number < len(image.sources):
            np.testing.assert_array_equal(
                pixels_of(image, number), level if channel is None else level[..., channel]
            )
    assert len(image.sources) == 3


def test_coarse_levels_of_labels_hold_only_labels_that_there_are(tmp_path: Path) -> None:
    labels = np.random.default_rng(0).choice([0, 3, 1000], (1500, 1301)).astype(np.int32)
    image = save(Labels(labels), writers.write_ome_tiff, tmp_path / "labels")
    np.testing.assert_array_equal(pixels_of(image), labels)
    assert len(image.sources) == 2
    np.testing.assert_array_equal(pixels_of(image, 1), labels[::2, ::2])


@pytest.mark.parametrize("write", VOLUMES)
def test_labels_lie_where_the_image_lies_on_which_they_were_painted(
    write: Any,  # noqa: ANN401 - fixtures
    viewer: ViewerModel,
    tmp_path: Path,
) -> None:
    viewer.add_layer(Layer.create(*samples.chest_sample()[0]))
    viewer.layers.selection.active = viewer.layers[0]
    viewer._new_labels()
    labels = viewer.layers[-1]
    labels.data[5:9, 20:40, 30:60] = 4
    image = save(labels, write, tmp_path / "labels")
    np.testing.assert_array_equal(pixels_of(image.oriented()), labels.data)
    assert close(
        image.oriented().grid, Grid(labels.data.shape, viewer.layers[0].metadata["affine_lps"], "mm")
    )


def test_labels_that_may_belong_to_two_images_take_the_visible_one(
    viewer: ViewerModel, tmp_path: Path
) -> None:
    for offset in (0.0, 40.0):
        data, settings, _ = samples.chest_sample()[0]
        affine = np.asarray(settings["metadata"]["affine_lps"])
        affine[:3, 3] += offset
        viewer.add_image(
            data, **{**settings, "metadata": {**settings["metadata"], "affine_lps": affine.tolist()}}
        )
    first, second = viewer.layers
    labels = Labels(np.ones(first.data.shape, np.uint8), scale=first.scale, units=first.units)
    with pytest.raises(InputRefusedError, match="visible"):
        save(labels, writers.write_metaimage, tmp_path / "labels")
    first.visible = False
    image = save(labels, writers.write_metaimage, tmp_path / "labels")
    assert close(image.grid, Grid(first.data.shape, second.metadata["affine_lps"], "mm"))


def test_a_part_of_a_volume_lies_where_it_was_cut_out(tmp_path: Path) -> None:
    data, settings, _ = samples.chest_sample()[0]
    start = np.array([7, 20, 31])
    part = Image(data[7:20, 20:60, 31:90], **{**settings, "translate": start * settings["scale"]})
    whole = Grid(data.shape, settings["metadata"]["affine_lps"], "mm")
    image = save(part, writers.write_metaimage, tmp_path / "part")
    assert close(image.grid, whole.cropped(start, part.data.shape))


def test_an_oblique_volume_of_ours_keeps_its_directions(tmp_path: Path) -> None:
    affine = orthogonal(OBLIQUE, (2.0, 0.7, 0.7))
    voxels = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)
    layer = Image(
        voxels, scale=(2.0, 0.7, 0.7), units="mm", metadata={"affine_lps": affine.tolist(), "unit": "mm"}
    )
    for write in (writers.write_nifti, writers.write_metaimage):
        image = save(layer, write, tmp_path / write.__name__)
        np.testing.assert_array_equal(pixels_of(image.oriented()), voxels)
        assert close(image.oriented().grid, Grid(voxels.shape, affine, "mm"))


@pytest.mark.parametrize(
    ("units", "spacing"),
    [("mm", (2.0, 0.5, 0.5)), ("um", (2e-3, 5e-4, 5e-4)), ("cm", (20.0, 5.0, 5.0)), ("pixel", None)],
)
def test_layers_of_others_lie_as_the_viewer_shows_them(
    units: str, spacing: tuple[float, ...] | None, tmp_path: Path
) -> None:
    voxels = np.arange(4 * 5 * 6, dtype=np.uint16).reshape(4, 5, 6)
    layer = Image(voxels, scale=(2.0, 0.5, 0.5), translate=(30.0, 7.0, 9.0), units=units)
    if units == "um":  # finer than what is read from volumes in millimetres
        with pytest.raises(InputRefusedError, match=r"\.ome\.tif"):
            save(layer, writers.write_nifti, tmp_path / "refused")
        image = save(layer, writers.write_ome_tiff, tmp_path / "a")
        assert image.grid.unit == "um"
        assert image.grid.spacing == pytest.approx((2.0, 0.5, 0.5))
        return
    if spacing is None:
        image = save(layer, writers.write_ome_zarr, tmp_path / "a")
        np.testing.assert_array_equal(pixels_of(image), voxels)
        assert image.grid.unit == "px"
        with pytest.raises(InputRefusedError, match="unknown"):
            save(layer, writers.write_metaimage, tmp_path / "refused")
        return
    image = save(layer, writers.write_nifti, tmp_path / "a").oriented()
    np.testing.assert_array_equal(pixels_of(image), voxels)
    assert image.grid.unit == "mm"
    assert image.grid.spacing == pytest.approx(spacing)
    assert image.grid.to_world([0, 0, 0]) == pytest.approx(np.array([9.0, 7.0, 30.0]) * spacing[0] / 2.0)


def test_a_turned_layer_keeps_its_turn_or_is_refused(tmp_path: Path) -> None:
    voxels = np.arange(4 * 5 * 6, dtype=np.uint16).reshape(4, 5, 6)
    layer = Image(voxels, scale=(2.0, 0.5, 0.5), rotate=(0, 0, 20), units="mm")
    expected = layer.affine.affine_matrix @ layer._transforms["data2physical"].affine_matrix
    for write in (writers.write_metaimage, writers.write_ome_zarr):
        image = save(layer, write, tmp_path / write.__name__)
        corner = np.array([3, 4, 5])
        assert image.grid.to_world(corner) == pytest.approx((expected @ [*corner, 1])[:3][::-1])
    with pytest.raises(InputRefusedError, match="turned"):
        save(layer, writers.write_ome_tiff, tmp_path / "refused")
    layer.units = "pixel"
    with pytest.raises(InputRefusedError, match="turned"):
        save(layer, writers.write_nifti, tmp_path / "refused")
    plane = Image(voxels[0], rotate=20, units="mm")
    with pytest.raises(InputRefusedError, match="turned"):
        save(plane, writers.write_ome_zarr, tmp_path / "refused")


def test_a_mammogram_that_is_shown_mirrored_is_saved_as_it_was_stored(tmp_path: Path) -> None:
    stored = np.arange(40 * 30, dtype=np.uint16).reshape(40, 30)
    grid = Grid.axis_aligned(stored.shape, (0.1, 0.1)).reordered((0, 1), (1, -1))
    metadata = {
        "affine_lps": grid.affine.tolist(),
        "unit": "mm",
        "notes": ["shown mirrored, chest wall to the middle"],
    }
    layer = Image(stored[:, ::-1], scale=(0.1, 0.1), units="mm", translate=(0, -3.0), metadata=metadata)
    image = save(layer, writers.write_ome_tiff, tmp_path / "view")
    np.testing.assert_array_equal(pixels_of(image), stored)
    volume = save(layer, writers.write_metaimage, tmp_path / "volume")
    np.testing.assert_array_equal(pixels_of(volume)[0], stored)
    assert volume.grid.to_world([0, 0, 0]) == pytest.approx([0, 0, 0])


@pytest.mark.parametrize("metadata", [
    {"affine_lps": "nonsense", "unit": "mm"}, {"affine_lps": [[1]], "unit": "mm"}, {"affine_lps": np.zeros((4, 4)), "unit": "mm"},
    {"unit": "mm"}, {"affine_lps": np.diag([9, 9, 9, 1]), "unit": "um"}, {"affine_lps": np.full((4, 4), np.nan), "unit": "mm"},
])  # fmt: skip
def test_metadata_that_state_no_place_are_passed_over(metadata: dict[str, Any], tmp_path: Path) -> None:
    layer = Image(np.zeros((4, 5, 6), np.uint8), scale=(3, 2, 1), units="mm", metadata=metadata)
    assert save(layer, writers.write_metaimage, tmp_path / "a").grid.spacing == pytest.approx((3, 2, 1))


def test_layers_become_channels(tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 999, (70, 90, 2)).astype(np.uint16)
    layers = [
        Image(pixels[..., n], name=name, scale=(0.5, 0.5), units="um")
        for n, name in enumerate(("DAPI", "CD3"))
    ]
    data = [layer.as_layer_data_tuple() for layer in layers]
    for write, name in (
        (writers.write_ome_tiff_channels, "a.ome.tif"),
        (writers.write_ome_zarr_channels, "a.zarr"),
    ):
        assert write(str(tmp_path / name), data) == [str(tmp_path / name)]
        image = open_here(tmp_path / name)
        assert image.channel_names == ("DAPI", "CD3")
        np.testing.assert_array_equal(pixels_of(image), pixels)
    for other in (
        Image(pixels[:9, :, 0]),
        Image(pixels[..., 0], scale=(2, 2), units="um"),
        Image(pixels[..., 0].astype(float)),
    ):
        with pytest.raises(InputRefusedError, match="one by one"):
            writers.write_ome_tiff_channels(
                str(tmp_path / "b.ome.tif"), [data[0], other.as_layer_data_tuple()]
            )


@pytest.mark.parametrize(
    ("name", "write", "expected"),
    [("a", writers.write_nifti, "a.nii.gz"), ("a.nii", writers.write_nifti, "a.nii"),
     ("a.v2", writers.write_metaimage, "a.v2.mha"), ("a.tif", writers.write_ome_tiff, "a.ome.tif"),
     ("a", writers.write_ome_zarr, "a.ome.zarr"),
     ("A.NII.GZ", writers.write_nifti, "A.NII.GZ"), ("a.mha", writers.write_nifti, "a.mha")],
)  # fmt: skip
def test_a_name_gets_the_suffix_that_it_lacks(
    name: str, write: Callable[..., list[str]], expected: str, tmp_path: Path
) -> None:
    layer = Image(np.zeros((4, 5, 6), np.uint8), units="mm")
    assert write(str(tmp_path / name), *layer.as_layer_data_tuple()[:2]) == [str(tmp_path / expected)]
    assert [found.name for found in tmp_path.iterdir()] == [expected]


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "a.nii.gz").write_bytes(b"mine")
    layer = Image(np.zeros((4, 5, 6), np.uint8))
    with pytest.raises(InputRefusedError, match="exists already"):
        writers.write_nifti(str(tmp_path / "a"), *layer.as_layer_data_tuple()[:2])
    assert (tmp_path / "a.nii.gz").read_bytes() == b"mine"


@pytest.mark.parametrize("dtype", [np.int64, np.uint64])
def test_labels_of_64_bits_are_narrowed_where_they_fit(dtype: type, tmp_path: Path) -> None:
    labels: NDArray[Any] = np.array([[0, 70_000], [3, 2_000_000_000]], dtype=dtype)
    image = save(Labels(labels), writers.write_ome_tiff, tmp_path / "fit")
    np.testing.assert_array_equal(pixels_of(image), labels)
    with pytest.raises(InputRefusedError, match=r"\.ome\.zarr"):
        save(Labels(labels * 4), writers.write_ome_tiff, tmp_path / "too large")
    assert not [found for found in tmp_path.iterdir() if found.name.startswith("too large")]


def test_masks_and_lazy_arrays_are_saved(tmp_path: Path) -> None:
    import dask.array
    import zarr

    mask = np.random.default_rng(2).random((6, 30, 40)) > 0.5
    np.testing.assert_array_equal(
        pixels_of(save(Image(mask, units="mm"), writers.write_metaimage, tmp_path / "mask")), mask
    )
    pixels = np.random.default_rng(3).integers(0, 9, (6, 30, 40)).astype(np.uint8)
    stored = zarr.create_array(store={}, shape=pixels.shape, chunks=(4, 16, 16), dtype="u1")
    stored[:] = pixels
    chunked = dask.array.from_array(pixels, chunks=(4, 7, 40))  # type: ignore[no-untyped-call]
    for number, lazy in enumerate((chunked, stored)):
        layer = Image(lazy, contrast_limits=(0, 9), units="mm")
        np.testing.assert_array_equal(
            pixels_of(save(layer, writers.write_metaimage, tmp_path / f"{number}")), pixels
        )


@pytest.mark.parametrize(
    ("layer", "reason"),
    [(Image(np.zeros((2, 3, 4, 5), np.uint8)), "4 axes"), (Image(np.zeros((3, 4, 5, 3), np.uint8), rgb=True), "colours"),
     (Image(np.zeros((3, 4, 5), np.uint8), units=("mm", "pixel", "mm")), "pixel"),
     (Image(np.zeros((3, 4, 5), np.uint8), shear=(0.3, 0, 0), units="mm"), "sheared"),
     (Image(np.zeros((4, 5, 3), np.uint8), rgb=True), "3 values"),
     (Image(np.zeros((3, 4, 5), np.float16), units="mm"), "float16")],
)  # fmt: skip
def test_what_no_file_can_hold_is_refused_with_the_reason(layer: Any, reason: str, tmp_path: Path) -> None:  # noqa: ANN401
    with pytest.raises(MedlabError, match=reason):
        save(layer, writers.write_nifti, tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_napari_finds_the_writers(npe2pm: Any, tmp_path: Path) -> None:  # noqa: ANN401 - npe2's
    from npe2 import PluginManifest

    npe2pm.register(PluginManifest.from_distribution("napari-medlab"))
    for name in ("a.nii.gz", "a.nii", "a.mha", "a.ome.tif", "a.zarr"):
        for kind in ("image", "labels"):
            writer, path = npe2pm.get_writer(str(tmp_path / name), [kind])
            assert writer is not None
            assert path == str(tmp_path / name)
    viewer = ViewerModel()
    viewer.add_image(np.zeros((40, 50), np.uint8))
    assert viewer.layers.save(str(tmp_path / "one.ome.tif")) == [str(tmp_path / "one.ome.tif")]
    viewer.add_image(np.ones((40, 50), np.uint8))
    assert viewer.layers.save(str(tmp_path / "two.ome.tif")) == [str(tmp_path / "two.ome.tif")]
    assert open_here(tmp_path / "two.ome.tif").shape == (40, 50, 2)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Return the notifications that napari shows."""
    import threading

    from napari.utils import notifications

    shown: list[tuple[str, str]] = []

    def note(message: str, severity: str) -> None:
        assert threading.current_thread() is threading.main_thread()
        shown.append((severity, message))

    monkeypatch.setattr(notifications, "show_info", lambda message: note(message, "info"))
    monkeypatch.setattr(notifications, "show_error", lambda message: note(message, "error"))
    return shown


def in_the_loop(work: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever it returns
    """Do something while the events of the window are being handled."""
    from qtpy.QtCore import QEventLoop, QTimer

    loop, answers = QEventLoop(), []

    def begin() -> None:
        answers.append(work())
        loop.quit()

    QTimer.singleShot(0, begin)
    loop.exec()
    return answers[0]


@pytest.mark.window
def test_in_a_window_a_file_is_written_in_the_background(
    make_napari_viewer: Any,  # noqa: ANN401 - fixtures
    qtbot: Any,  # noqa: ANN401 - fixtures
    told: list[tuple[str, str]],
    tmp_path: Path,
) -> None:
    viewer = make_napari_viewer(show=False)
    labels = viewer.add_labels(np.ones((30, 40, 50), np.uint8), units="mm")
    target = tmp_path / "a.nii.gz"

    def begin() -> Any:  # noqa: ANN401 - as above
        written = writers.write_nifti(str(target), *labels.as_layer_data_tuple()[:2])
        labels.data[:] = 9  # painted on while the file is written
        return written

    assert in_the_loop(begin) == [str(target)]
    qtbot.waitUntil(lambda: bool(told), timeout=int(HANG * 1000))
    assert told == [("info", f"Saved {target}.\n{writers.NO_PLACE}")]
    assert (pixels_of(open_here(target)) == 1).all()
    in_the_loop(lambda: writers.write_nifti(str(target), *labels.as_layer_data_tuple()[:2]))
    qtbot.waitUntil(lambda: len(told) > 1, timeout=int(HANG * 1000))
    assert told[1][0] == "error"
    assert "exists already" in told[1][1]
    sheared = Image(np.zeros((3, 4, 5), np.uint8), shear=(0.3, 0, 0), units="mm")
    in_the_loop(lambda: writers.write_nifti(str(tmp_path / "b.nii"), *sheared.as_layer_data_tuple()[:2]))
    assert [severity for severity, _ in told] == ["info", "error", "error"]
    assert [found.name for found in tmp_path.iterdir()] == ["a.nii.gz"]


@pytest.mark.window
def test_saving_can_be_cancelled_among_naparis_activities(
    make_napari_viewer: Any,  # noqa: ANN401 - fixtures
    qtbot: Any,  # noqa: ANN401 - fixtures
    told: list[tuple[str, str]],
    tmp_path: Path,
) -> None:
    import dask.array
    from napari.utils.progress import progress

    viewer = make_napari_viewer(show=False)

    def slow(block: NDArray[Any]) -> NDArray[Any]:
        import time

        time.sleep(0.1)
        return block

    lazy = dask.array.zeros((600, 20, 20), chunks=(1, 20, 20), dtype=np.uint8).map_blocks(
        slow, dtype=np.uint8
    )
    layer = viewer.add_image(lazy, contrast_limits=(0, 1), units="mm", cache=False)
    in_the_loop(lambda: writers.write_metaimage(str(tmp_path / "a.mha"), *layer.as_layer_data_tuple()[:2]))
    bar = next(bar for bar in progress._all_instances if "a.mha" in str(bar.desc))
    qtbot.waitUntil(lambda: 0 < bar.n < bar.total, timeout=int(HANG * 1000))
    bar.cancel()
    qtbot.waitUntil(lambda: bool(told), timeout=int(HANG * 1000))
    assert told == [("info", "Cancelled: nothing was written.")]
    qtbot.waitUntil(lambda: bar not in progress._all_instances, timeout=int(HANG * 1000))
    assert list(tmp_path.iterdir()) == []
