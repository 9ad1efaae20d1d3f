from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from napari_medlab.phantoms.breast import Outline
from napari_medlab.phantoms.mammogram import (
    SECOND_MAMMOGRAPHY,
    MammogramExam,
    MammogramView,
    MammographySite,
    mammogram_exam,
)

SHAPE = (512, 416)
SICK = MammographySite(healthy=0.0)
SEEDS = (1, 2, 3, 4)


@pytest.fixture(scope="module")
def exams() -> dict[int, MammogramExam]:
    return {seed: mammogram_exam(seed, shape=SHAPE, site=SICK) for seed in SEEDS}


def _views(exams: dict[int, MammogramExam]) -> list[MammogramView]:
    return [view for exam in exams.values() for view in exam.views]


def test_a_seed_gives_the_same_pixels_and_another_gives_others(exams: dict[int, MammogramExam]) -> None:
    again = mammogram_exam(1, shape=SHAPE, site=SICK)
    for first, second in zip(exams[1].views, again.views, strict=True):
        np.testing.assert_array_equal(first.pixels, second.pixels)
        np.testing.assert_array_equal(first.labels, second.labels)
        assert first.findings == second.findings
    assert (exams[1]["RCC"].pixels != exams[2]["RCC"].pixels).mean() > 0.2


def test_an_exam_has_four_views_of_12_bits_on_their_grids(exams: dict[int, MammogramExam]) -> None:
    exam = exams[1]
    assert [view.name for view in exam.views] == ["RCC", "LCC", "RMLO", "LMLO"]
    assert len({view.case_id for view in exam.views}) == 4
    for view in exam.views:
        assert view.name == view.laterality + view.view
        assert view.pixels.shape == view.labels.shape == view.grid.shape == SHAPE
        assert view.pixels.dtype == np.uint16
        assert view.labels.dtype == np.uint8
        assert view.grid.unit == "mm"
        assert 1500 < view.pixels.max() <= 4095
        assert view.grid.spacing == pytest.approx((0.4, 0.4))


def test_the_chest_wall_is_at_the_right_of_right_views_and_at_the_left_of_left_ones(
    exams: dict[int, MammogramExam],
) -> None:
    for view in _views(exams):
        at_left, at_right = (view.pixels[:, column].mean() for column in (0, -1))
        wall, air = (at_right, at_left) if view.laterality == "R" else (at_left, at_right)
        assert wall > 400
        assert air == 0
        assert view.patient_orientation[0] == {"R": "P", "L": "A"}[view.laterality]


def test_only_oblique_views_show_the_pectoral_muscle(exams: dict[int, MammogramExam]) -> None:
    for view in _views(exams):
        from_chest = view.pixels if view.laterality == "L" else view.pixels[:, ::-1]
        upper_corner = from_chest[: SHAPE[0] // 12, : SHAPE[1] // 12].mean()
        assert bool(upper_corner > 1200) == (view.view == "MLO")


def test_findings_lie_in_their_masks(exams: dict[int, MammogramExam]) -> None:
    assert sum(len(view.findings) for view in _views(exams)) >= 8
    for view in _views(exams):
        assert set(np.unique(view.labels)) == set(range(len(view.findings) + 1))
        for number, finding in enumerate(view.findings, start=1):
            row, column = np.rint(view.grid.to_index(finding.centre)).astype(int)
            assert view.labels[row, column] == number
            assert finding.case_id == view.case_id
            assert 1 < finding.diameter < 30


def test_depth_is_measured_at_a_right_angle_to_the_chest_wall_or_to_the_muscle() -> None:
    upper = Outline(90.0, 100.0, 75.0, 75.0, 0.0, (0.0, 1.0))
    assert upper.place(30.0, 12.0) == pytest.approx((88.0, 60.0))
    oblique = Outline(90.0, 110.0, 150.0, 70.0, 0.1, (50.0, 120.0))
    assert oblique.nipple == pytest.approx((119.0, 90.0))
    along_muscle = np.array([-120.0, 50.0]) / 130
    np.testing.assert_allclose(
        np.subtract(oblique.place(30.0, 12.0), oblique.place(30.0, 0.0)), 12 * along_muscle
    )
    step = np.subtract(oblique.place(30.0, 0.0), oblique.nipple)
    assert np.linalg.norm(step) == pytest.approx(30.0)
    assert step @ along_muscle == pytest.approx(0.0, abs=1e-9)


def test_the_two_views_of_a_breast_show_the_same_lesions(exams: dict[int, MammogramExam]) -> None:
    for exam in exams.values():
        for side in "RL":
            upper, oblique = exam[f"{side}CC"], exam[f"{side}MLO"]
            assert [f.label for f in upper.findings] == [f.label for f in oblique.findings]
            for first, second in zip(upper.findings, oblique.findings, strict=True):
                if first.label == "mass":
                    assert first.diameter == pytest.approx(second.diameter, rel=0.25)


def test_masses_are_denser_than_the_ring_around_them(exams: dict[int, MammogramExam]) -> None:
    masses = 0
    for view in _views(exams):
        for number, finding in enumerate(view.findings, start=1):
            if finding.label != "mass":
                continue
            own = view.labels == number
            wide = round(finding.diameter / 4 / view.grid.spacing[0])
            ring = ndimage.binary_dilation(own, iterations=wide + 2) & ~ndimage.binary_dilation(
                own, iterations=2
            )
            assert view.pixels[own].mean() > view.pixels[ring].mean() + 60
            masses += 1
    assert masses >= 4


def test_calcifications_are_specks_that_stand_out_from_their_cluster(exams: dict[int, MammogramExam]) -> None:
    clusters = 0
    for view in _views(exams):
        smooth = ndimage.median_filter(view.pixels, 7).astype(float)
        for number, finding in enumerate(view.findings, start=1):
            if finding.label != "calcification":
                continue
            _, specks = ndimage.label((view.pixels - smooth > 200) & (view.labels == number), np.ones((3, 3)))
            assert 2 <= specks <= 20
            clusters += 1
    assert clusters >= 4


def test_some_exams_have_no_finding() -> None:
    healthy = mammogram_exam(1, "exam", shape=(256, 208), site=MammographySite(healthy=1.0))
    assert healthy.findings == []
    assert not any(view.labels.any() for view in healthy.views)
    assert healthy["LMLO"].case_id == "exam-LMLO"
    counts = [len(mammogram_exam(seed, shape=(128, 104)).findings) for seed in range(12)]
    assert 0 in counts
    assert max(counts) >= 2


def test_the_breasts_of_a_patient_are_alike_but_not_mirror_images(exams: dict[int, MammogramExam]) -> None:
    for exam in exams.values():
        right, left = exam["RCC"].pixels[:, ::-1].astype(float), exam["LCC"].pixels.astype(float)
        assert (right != left).mean() > 0.1
        assert (right > 0).mean() == pytest.approx((left > 0).mean(), rel=0.25)
        assert np.median(right[right > 0]) == pytest.approx(np.median(left[left > 0]), rel=0.25)


def test_another_site_images_otherwise() -> None:
    first, second = (mammogram_exam(5, shape=(256, 208), site=site) for site in (SICK, SECOND_MAMMOGRAPHY))
    grey = [exam["RCC"].pixels[exam["RCC"].pixels > 0].mean() for exam in (first, second)]
    assert grey[1] > grey[0]


def test_a_bent_display_curve_changes_grey_values_and_nothing_else() -> None:
    straight, bent = (
        mammogram_exam(4, shape=(256, 208), site=MammographySite(healthy=0.0, gamma=gamma))
        for gamma in ((1.0, 1.0), (0.4, 0.4))
    )
    for one, other in zip(straight.views, bent.views, strict=True):
        assert one.findings == other.findings
        np.testing.assert_array_equal(one.labels, other.labels)
        lit = one.pixels > 200  # below, a grey value is too coarse to foretell the other
        np.testing.assert_allclose(other.pixels[lit], 4095 * (one.pixels[lit] / 4095) ** 0.4, atol=3)
        assert np.median(other.pixels[other.pixels > 0]) > np.median(one.pixels[one.pixels > 0])
