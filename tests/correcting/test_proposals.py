from __future__ import annotations

import numpy as np
import pytest

from napari_medlab.annotations import Region
from napari_medlab.correcting.masks import patch_in
from napari_medlab.correcting.proposals import ball, from_probabilities
from napari_medlab.correcting.regions import rings_on, slices_of
from napari_medlab.errors import InputRefusedError
from napari_medlab.geometry import polygons

EMPTY = Region("c", (), "candidate", "nodule")


def test_a_candidate_on_a_planar_image_becomes_a_circle() -> None:
    made = ball(EMPTY, (40, 50), 10.0, (0.5, 0.5))
    assert made is not None
    assert (made.region_id, made.owner_id) == (EMPTY.region_id, "candidate")
    assert polygons.area(made.rings) == pytest.approx(np.pi * 100, rel=0.02)


def test_a_candidate_in_a_volume_becomes_the_slices_of_its_ball() -> None:
    made = ball(EMPTY, (20.0, 50, 50), 20.0, (2.5, 1.0, 1.0))
    assert made is not None
    assert slices_of(made) == list(range(17, 24))
    volume = sum(polygons.area(rings_on(made, z)) for z in slices_of(made)) * 2.5
    assert volume == pytest.approx(4 / 3 * np.pi * 1000, rel=0.03)


def test_a_ball_thinner_than_a_slice_lies_on_one() -> None:
    made = ball(EMPTY, (20.4, 50, 50), 2.0, (5.0, 0.5, 0.5))
    assert made is not None
    assert slices_of(made) == [20]


@pytest.mark.parametrize("diameter", [-1.0, 0.0, float("nan"), 1e6])
def test_a_diameter_that_is_not_known_is_refused(diameter: float) -> None:
    with pytest.raises(InputRefusedError):
        ball(EMPTY, (20, 50, 50), diameter, (1.0, 1.0, 1.0))


def test_a_models_answer_is_taken_at_a_threshold_and_near_a_place() -> None:
    answer = np.zeros((30, 40))
    answer[5:10, 5:10], answer[20:28, 30:38] = 0.7, 0.9
    whole = from_probabilities(EMPTY, answer, (100, 200))
    box = (slice(100, 130), slice(200, 240))
    np.testing.assert_array_equal(patch_in(whole, box).mask, answer >= 0.5)
    strict = from_probabilities(EMPTY, answer, (100, 200), 0.8)
    np.testing.assert_array_equal(patch_in(strict, box).mask, answer >= 0.8)
    near = from_probabilities(EMPTY, answer, (100, 200), near=(106, 206))
    np.testing.assert_array_equal(patch_in(near, box).mask, answer == 0.7)
    nothing = from_probabilities(EMPTY, answer, (100, 200), 0.95)
    assert nothing is None or not nothing.rings


def test_logits_are_not_taken_for_probabilities() -> None:
    with pytest.raises(InputRefusedError, match=r"runs from -3 to 4"):
        from_probabilities(EMPTY, np.array([[-3.0, 4.0]]), (0, 0))
