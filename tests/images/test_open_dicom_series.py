from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from dicom_phantom import COLUMNS, ROWS, Series, series_in, worst_error, write
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian, RLELossless

from napari_medlab.errors import ImageRefusedError
from napari_medlab.images import Decisions, open_image

if TYPE_CHECKING:
    from pathlib import Path

    from pydicom import Dataset
    from pydicom.uid import UID


def rotation(angles: tuple[float, float]) -> tuple[list[float], list[float]]:
    a, b = np.radians(angles)
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_z = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    turned = about_z @ about_x
    return turned[:, 0].tolist(), turned[:, 1].tolist()


def refusal(folder: Path) -> ImageRefusedError:
    with pytest.raises(ImageRefusedError) as caught:
        open_image(folder)
    assert caught.value.hint
    return caught.value


def move(dataset: Dataset, by: tuple[float, float, float]) -> None:
    dataset.ImagePositionPatient = [
        float(f"{p + d:.6f}") for p, d in zip(dataset.ImagePositionPatient, by, strict=True)
    ]


def test_scrambled_names_do_not_matter(tmp_path: Path) -> None:
    image = open_image(series_in(tmp_path / "ct"))
    assert image.shape == (6, ROWS, COLUMNS)
    assert image.dtype == np.int16
    assert image.grid.spacing == pytest.approx((2.5, 0.8, 0.7))
    assert image.window == (-1000, 400)
    assert worst_error(image) <= 0.5


@pytest.mark.parametrize("axes", [
    ((0, 1, 0), (0, 0, -1)), ((1, 0, 0), (0, 0, -1)), ((-1, 0, 0), (0, -1, 0)), ((0, 1, 0), (1, 0, 0)),
    rotation((20, 0)), rotation((35, -50)), rotation((-70, 130)),
])  # fmt: skip
def test_every_orientation_keeps_its_place(
    tmp_path: Path, axes: tuple[tuple[float, ...], tuple[float, ...]]
) -> None:
    image = open_image(series_in(tmp_path / "ct", axes=axes))
    assert worst_error(image) <= 0.51
    assert worst_error(image.oriented()) <= 0.51
    assert image.oriented().grid.canonical_axes() == ((0, 1, 2), (1, 1, 1))


def test_a_control_that_is_shifted_is_noticed(tmp_path: Path) -> None:
    def lie(slices: list[Dataset]) -> None:
        for dataset in slices:
            move(dataset, (0, 0, 0.5))

    assert worst_error(open_image(series_in(tmp_path / "ct", lie))) > 1


def test_jitter_of_rounding_is_accepted(tmp_path: Path) -> None:
    series = Series(count=20)
    jitter = np.random.default_rng(1).uniform(-0.02, 0.02, 20)
    slices = [series.slice(n, series.position(n) + np.array([0, 0, jitter[n]])) for n in range(20)]
    image = open_image(write(tmp_path / "ct", slices))
    assert worst_error(image) <= 0.5 + 3 * 0.06


def test_slopes_differ_from_slice_to_slice(tmp_path: Path) -> None:
    series = Series()
    slices = [series.slice(n, slope=(0.5, 0.25, 1.0)[n % 3]) for n in range(6)]
    image = open_image(write(tmp_path / "ct", slices))
    assert image.dtype == np.float32
    assert worst_error(image) <= 0.5


def test_a_missing_slice_is_a_gap(tmp_path: Path) -> None:
    assert refusal(series_in(tmp_path / "ct", lambda slices: slices.pop(3).clear())).code == "gap"


def test_a_spacing_that_drifts_is_a_gap(tmp_path: Path) -> None:
    series = Series(count=60, spacing=(1.0, 0.8, 0.7))
    drift = 0.045 * np.minimum(np.arange(60), 30)
    slices = [series.slice(n, series.position(n) + np.array([0, 0, drift[n]])) for n in range(60)]
    assert refusal(write(tmp_path / "ct", slices)).code == "gap"


def test_a_tilted_gantry_is_refused_with_its_angle(tmp_path: Path) -> None:
    def lean(slices: list[Dataset]) -> None:
        for number, dataset in enumerate(slices):
            move(dataset, (0, 0.66 * number, 0))

    error = refusal(series_in(tmp_path / "ct", lean))
    assert error.code == "tilt"
    assert "14.7" in error.message


def test_a_slice_moved_sideways_is_refused(tmp_path: Path) -> None:
    assert refusal(series_in(tmp_path / "ct", lambda s: move(s[2], (0.5, 0, 0)))).code == "shift"


def test_duplicates_are_refused(tmp_path: Path) -> None:
    series = Series()
    assert refusal(write(tmp_path / "ct", [*series.slices(), series.slice(3)])).code == "duplicate"


def test_mixed_orientations_are_refused(tmp_path: Path) -> None:
    def turn(slices: list[Dataset]) -> None:
        slices[4].ImageOrientationPatient = [1, 0, 0, 0, 0, -1]

    assert refusal(series_in(tmp_path / "ct", turn)).code == "orientation"


def test_axes_that_are_not_at_right_angles_are_refused(tmp_path: Path) -> None:
    def skew(slices: list[Dataset]) -> None:
        for dataset in slices:
            dataset.ImageOrientationPatient = [1, 0, 0, 0.6, 0.8, 0]

    assert refusal(series_in(tmp_path / "ct", skew)).code == "orientation"


def test_mixed_pixel_spacings_are_refused(tmp_path: Path) -> None:
    def zoom(slices: list[Dataset]) -> None:
        slices[1].PixelSpacing = [0.5, 0.5]

    assert refusal(series_in(tmp_path / "ct", zoom)).code == "mixed-size"


def test_slices_without_a_place_are_refused(tmp_path: Path) -> None:
    def forget(slices: list[Dataset]) -> None:
        del slices[1].ImagePositionPatient

    assert refusal(series_in(tmp_path / "ct", forget)).code == "no-position"


def test_several_series_are_listed_and_one_can_be_chosen(tmp_path: Path) -> None:
    one, two = Series(count=4), Series(count=5, origin=(0, 0, 0))
    write(tmp_path / "ct", one.slices())
    folder = write(tmp_path / "ct", two.slices(), seed=4)
    error = refusal(folder)
    assert error.code == "several-series"
    assert f"{one.uid} (4 images)" in error.message
    assert f"{two.uid} (5 images)" in error.message
    image = open_image(folder, Decisions(series_uid=two.uid))
    assert image.shape[0] == 5
    assert worst_error(image) <= 0.5
    assert [Decisions.from_json(option.decisions).series_uid for option in error.options] == [
        two.uid,
        one.uid,
    ]
    assert error.options[0].title == f"CT, 5 images, {ROWS}×{COLUMNS}, 5 mm (…{two.uid[-8:]})"
    with pytest.raises(ImageRefusedError) as caught:
        open_image(folder, Decisions(series_uid="1.2.3"))
    assert caught.value.code == "no-such-series"


def test_localisers_and_strangers_are_set_aside_with_a_warning(tmp_path: Path) -> None:
    folder = series_in(tmp_path / "ct")
    scout = Series(count=1, axes=((1, 0, 0), (0, 0, -1)))
    localiser = scout.slice(0)
    localiser.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    report = scout.slice(0)
    del report.PixelData
    write(folder, [localiser, report])
    (folder / "README.txt").write_text("not an image")
    image = open_image(folder)
    assert image.shape[0] == 6
    assert {w.code for w in image.warnings} == {
        "set-aside-localiser", "set-aside-no-pixels", "set-aside-not-dicom",
    }  # fmt: skip


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path).code == "empty"


@pytest.mark.parametrize("slope", [b"0.0", b"nan", b"inf"])
def test_a_slope_that_is_no_slope_is_refused(tmp_path: Path, slope: bytes) -> None:
    folder = series_in(tmp_path / "ct", slope=1.0)
    victim = next(folder.iterdir())
    stated = b"\x28\x00\x53\x10DS\x04\x001.0 "
    assert stated in victim.read_bytes()
    victim.write_bytes(victim.read_bytes().replace(stated, stated[:-4] + slope + b" "))
    assert refusal(folder).code == "slope"


def test_junk_above_the_stored_bits_is_removed(tmp_path: Path) -> None:
    def soil(slices: list[Dataset]) -> None:
        for dataset in slices:
            stored = np.frombuffer(dataset.PixelData, np.uint16)
            dataset.PixelData = (stored | 0xA000).astype(np.uint16).tobytes()

    assert worst_error(open_image(series_in(tmp_path / "ct", soil))) <= 0.5


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless])
def test_transfer_syntaxes_give_the_same_voxels(tmp_path: Path, syntax: UID) -> None:
    def encode(slices: list[Dataset]) -> None:
        for dataset in slices:
            if syntax == RLELossless:
                dataset.compress(RLELossless, generate_instance_uid=False)
            elif syntax == ExplicitVRBigEndian:
                dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
                dataset["PixelData"].VR = "OW"
            dataset.file_meta.TransferSyntaxUID = syntax

    assert worst_error(open_image(series_in(tmp_path / "ct", encode))) <= 0.5


def test_values_that_need_it_are_float32_and_padding_is_noted(tmp_path: Path) -> None:
    def pad(slices: list[Dataset]) -> None:
        for dataset in slices:
            dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 15, 1
            dataset.add_new("PixelPaddingValue", "SS", -2000)

    image = open_image(series_in(tmp_path / "ct", pad))
    assert image.dtype == np.float32
    assert image.details["padding_values"] == [-3024]
    assert worst_error(image) <= 0.5


def test_the_window_comes_from_the_header(tmp_path: Path) -> None:
    def window(slices: list[Dataset]) -> None:
        for dataset in slices:
            dataset.WindowCenter, dataset.WindowWidth = [40, -500], [400, 1500]

    assert open_image(series_in(tmp_path / "ct", window)).window == (-160, 240)


def test_one_slice_is_a_volume_of_one(tmp_path: Path) -> None:
    folder = series_in(tmp_path / "ct")
    image = open_image(next(folder.iterdir()))
    assert image.shape == (1, ROWS, COLUMNS)
    assert image.grid.spacing[0] == 5.0
    assert [w.code for w in image.warnings] == ["single-slice"]
    assert worst_error(image) <= 0.5


def test_a_file_cut_short_is_refused_on_opening(tmp_path: Path) -> None:
    folder = series_in(tmp_path / "ct")
    victim = next(folder.iterdir())
    victim.write_bytes(victim.read_bytes()[:-20])
    assert refusal(folder).code == "truncated"


def test_a_file_replaced_after_opening_is_noticed(tmp_path: Path) -> None:
    folder = series_in(tmp_path / "ct")
    image = open_image(folder)
    for path in list(folder.iterdir()):
        Series().slice(0).save_as(path, enforce_file_format=True)
    with pytest.raises(ImageRefusedError) as caught:
        np.asarray(image.levels[0])
    assert caught.value.code == "changed"
