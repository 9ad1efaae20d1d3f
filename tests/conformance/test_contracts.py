"""Honest models pass every check; and each check has a model that fails it."""

# ruff: noqa: ANN401 - models pass on whatever they are given

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Any
from unittest import SkipTest

import numpy as np
import pytest
from honest_models import (
    HonestClassifier,
    HonestDetector,
    HonestSegmenter,
    HonestSlideDetector,
    balls,
    discs,
)

from napari_medlab.conformance import (
    ClassifierContract,
    DetectorContract,
    ModelContract,
    NotKeptError,
    SegmenterContract,
    Trial,
    checks_of,
)
from napari_medlab.geometry import Grid
from napari_medlab.jobs import CancelToken
from napari_medlab.models.inference.mask_store import MaskStore
from napari_medlab.protocols import Batch, MaskPart

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from napari_medlab.annotations import Candidate
    from napari_medlab.images import Image

BASES: dict[type, tuple[type[ModelContract], Callable[[], Trial], str, str]] = {
    HonestDetector: (DetectorContract, balls, "volume", "ball"),
    HonestSlideDetector: (DetectorContract, discs, "slide", "disc"),
    HonestSegmenter: (SegmenterContract, balls, "volume", "ball"),
    HonestClassifier: (ClassifierContract, balls, "volume", "ball"),
}


def contract_of(make: Callable[[], Any], base: type) -> type[ModelContract]:
    """Return the contract of a model that is made like one of the honest ones."""
    contract, trial, kind, label = BASES[base]
    about = {
        "make": staticmethod(make), "kinds": (kind,), "classes": (label,), "trial": lambda self: trial(),
    }  # fmt: skip
    return type("Contract", (contract,), about)


def names(contract: type[ModelContract]) -> list[str]:
    return sorted(name for name in dir(contract) if name.startswith("test_"))


@pytest.mark.parametrize("base", BASES)
def test_an_honest_model_passes_every_check(base: type) -> None:
    contract = contract_of(base, base)
    checks = list(checks_of(contract))
    assert [check for check in checks if check.reason] == []
    assert len(checks) >= len(names(contract)) - 1  # a check that does not apply is passed over


# -- detectors that break one promise each ----------------------------------------------------------------------------


def changed(batch: Batch, **changes: Any) -> Batch:
    return Batch([replace(one, **changes) for one in batch.candidates])


class Renamed:
    def find(self) -> None:
        """Do nothing: no protocol has this method."""


class Wrong(HonestDetector):
    """Changes every batch."""

    def batch(self, image: Image, seen: Image, *rest: Any) -> Batch:
        return self.wrong(super().batch(image, seen, *rest), image)

    def wrong(self, batch: Batch, image: Image) -> Batch:
        raise NotImplementedError


class NoBatches(HonestDetector):
    def detect(self, *args: Any, **rest: Any) -> Iterator[Any]:
        for batch in super().detect(*args, **rest):
            yield batch.candidates


class NotFinite(Wrong):
    def wrong(self, batch: Batch, image: Image) -> Batch:
        return changed(batch, diameter=float("nan"))


class Logits(Wrong):
    def wrong(self, batch: Batch, image: Image) -> Batch:
        return changed(batch, score=3.5)


class OneId(Wrong):
    def wrong(self, batch: Batch, image: Image) -> Batch:
        return changed(batch, candidate_id="0")


class OtherCase(Wrong):
    def wrong(self, batch: Batch, image: Image) -> Batch:
        return changed(batch, case_id="another")


class OtherLabel(Wrong):
    def wrong(self, batch: Batch, image: Image) -> Batch:
        return changed(batch, label="cube")


class NobodysOutline(Wrong):
    def wrong(self, batch: Batch, image: Image) -> Batch:
        return Batch(batch.candidates, [replace(region, owner_id="nobody") for region in batch.regions])


class OutlineInWorld(Wrong):
    def wrong(self, batch: Batch, image: Image) -> Batch:
        return Batch(
            batch.candidates,
            [replace(one, rings=tuple(ring + 500 for ring in one.rings)) for one in batch.regions],
        )


class InIndices(Wrong):
    """Gives array indices in place of world coordinates."""

    def wrong(self, batch: Batch, image: Image) -> Batch:
        return changed(batch, centre=tuple(image.grid.to_index(batch.candidates[0].centre).tolist()))


class FarAway(Wrong):
    def wrong(self, batch: Batch, image: Image) -> Batch:
        return changed(batch, centre=(1e4, 1e4, 1e4))


class WithoutOrigin(Wrong):
    def wrong(self, batch: Batch, image: Image) -> Batch:
        grid, (one,) = image.grid, batch.candidates
        return changed(batch, centre=tuple((np.asarray(one.centre) - grid.affine[:3, 3]).tolist()))


class AsStored(HonestDetector):
    """Takes array axes for those of the patient."""

    def batch(self, image: Image, seen: Image, case_id: str, index: Any, score: float) -> Batch:
        flat = Grid.axis_aligned(image.grid.shape, image.grid.spacing, image.grid.affine[:3, 3])
        batch = super().batch(image, seen, case_id, index, score)
        return changed(
            batch, centre=tuple(flat.to_world(image.grid.to_index(batch.candidates[0].centre)).tolist())
        )


class Moody(Wrong):
    """Scores otherwise at every call."""

    def __init__(self) -> None:
        self._calls = count()

    def wrong(self, batch: Batch, image: Image) -> Batch:
        return changed(batch, score=(next(self._calls) % 97) / 100)


class Painter(HonestDetector):
    def detect(self, image: Image, *args: Any, **rest: Any) -> Iterator[Batch]:
        source: Any = image.sources[0]
        source._pixels[0, 0, 0] += 1
        return super().detect(image, *args, **rest)


class Deaf(HonestDetector):
    """Never looks whether it was cancelled."""

    def detect(self, image: Image, case_id: str, cancel: CancelToken, **rest: Any) -> Iterator[Batch]:
        return super().detect(image, case_id, CancelToken(), **rest)


class Crashing(HonestDetector):
    def detect(self, image: Image, *args: Any, **rest: Any) -> Iterator[Batch]:
        pixels = image.decoded()
        if pixels.size < 1000 or pixels.min() == pixels.max():
            raise ZeroDivisionError("no contrast")
        return super().detect(image, *args, **rest)


class Omnivorous(HonestDetector):
    def detect(self, image: Image, *args: Any, **rest: Any) -> Iterator[Batch]:
        return super().detect(image, *args, **rest) if image.kind == "volume" else iter([])


class Mute(HonestDetector):
    def detect(self, *args: Any, on_progress: Any = None, **rest: Any) -> Iterator[Batch]:
        return super().detect(*args, **rest)


class HalfDone(HonestDetector):
    def detect(self, *args: Any, on_progress: Any = None, **rest: Any) -> Iterator[Batch]:
        yield from super().detect(
            *args, on_progress=on_progress and (lambda done, total: on_progress(done, 2 * total)), **rest
        )


class WithoutFocus(HonestDetector):
    def detect(self, *args: Any, focus: Any = None, on_progress: Any = None) -> Iterator[Batch]:
        if focus is not None:
            raise TypeError("an unexpected keyword: focus")
        return super().detect(*args, on_progress=on_progress)


class FocusAlone(HonestDetector):
    """Looks nowhere else, where it is given a focus."""

    def detect(self, *args: Any, focus: Any = None, on_progress: Any = None) -> Iterator[Batch]:
        return super().detect(*args, on_progress=on_progress) if focus is None else iter([])


class Greedy(HonestSlideDetector):
    def detect(self, image: Image, *args: Any, **rest: Any) -> Iterator[Batch]:
        image.decoded()
        yield from super().detect(image, *args, **rest)


class Blind(HonestDetector):
    def detect(self, *args: Any, on_progress: Any = None, **rest: Any) -> Iterator[Batch]:
        list(super().detect(*args, **rest))
        return iter([])


# -- segmenters -------------------------------------------------------------------------------------------------------


class BatchesAlone(HonestSegmenter):
    def segment(self, *args: Any, **rest: Any) -> Iterator[Any]:
        return (piece for piece in super().segment(*args, **rest) if isinstance(piece, Batch))


class Unfinished(HonestSegmenter):
    def finish(self, store: MaskStore) -> None:
        """Leave it partial."""


class Elsewhere(HonestSegmenter):
    def store(self, mask: Path, seen: Image) -> MaskStore:
        away = Grid.axis_aligned(seen.grid.shape, seen.grid.spacing, (500.0, 0.0, 0.0))
        return MaskStore.create(mask, away, self.classes, chunk=(8, 24, 24))


class OtherClasses(HonestSegmenter):
    classes = ("cube",)


class NoZarr(HonestSegmenter):
    def finish(self, store: MaskStore) -> None:
        (store.folder / "zarr.json").write_text("{}")


class ZeroToOne(HonestSegmenter):
    def values(self, part: Any) -> Any:
        return (super().values(part) // 255).astype(np.uint8)


class PartsOutside(HonestSegmenter):
    def segment(self, *args: Any, **rest: Any) -> Iterator[Any]:
        for piece in super().segment(*args, **rest):
            yield (
                MaskPart(piece.start, tuple(side + 100 for side in piece.stop))
                if isinstance(piece, MaskPart)
                else piece
            )


class Overwriting(HonestSegmenter):
    def store(self, mask: Path, seen: Image) -> MaskStore:
        if mask.exists():
            shutil.rmtree(mask)
        return super().store(mask, seen)


class FinishedEarly(HonestSegmenter):
    """Says at once that the mask is complete."""

    def store(self, mask: Path, seen: Image) -> MaskStore:
        store = super().store(mask, seen)
        header = mask / "zarr.json"
        header.write_text(header.read_text().replace('"partial"', '"complete"'))
        return store

    def finish(self, store: MaskStore) -> None:
        """Have done so already."""


# -- classifiers ------------------------------------------------------------------------------------------------------


class OneShort(HonestClassifier):
    def judge(self, *args: Any) -> list[float]:
        return super().judge(*args)[:-1]


class Unbounded(HonestClassifier):
    def judge(self, *args: Any) -> list[float]:
        return [20 * score - 5 for score in super().judge(*args)]


class Sorting(HonestClassifier):
    def judge(self, *args: Any) -> list[float]:
        return sorted(super().judge(*args))


class Relative(HonestClassifier):
    def judge(self, *args: Any) -> list[float]:
        scores = super().judge(*args)
        return [score / len(scores) for score in scores]


class NeedsOne(HonestClassifier):
    def judge(self, image: Image, candidates: Any, cancel: CancelToken) -> list[float]:
        if not candidates:
            raise IndexError("list index out of range")
        return super().judge(image, candidates, cancel)


class JudgesIndices(HonestClassifier):
    def score(self, image: Image, pixels: Any, one: Candidate) -> float:
        grid = Grid.axis_aligned(image.grid.shape, image.grid.spacing)
        index = np.clip(np.rint(grid.to_index(one.centre)).astype(int), 0, np.array(pixels.shape) - 1)
        return float(np.clip(pixels[tuple(index)] / 2000, 0, 1))


class Inverted(HonestClassifier):
    def score(self, image: Image, pixels: Any, one: Candidate) -> float:
        return 1 - super().score(image, pixels, one)


CONTROLS: list[tuple[type, type, str]] = [
    (Renamed, HonestDetector, "test_it_is_a_detector_that_yields_batches"),
    (NoBatches, HonestDetector, "test_it_is_a_detector_that_yields_batches"),
    (NotFinite, HonestDetector, "test_what_it_finds_can_be_used"),
    (Logits, HonestDetector, "test_what_it_finds_can_be_used"),
    (OneId, HonestDetector, "test_what_it_finds_can_be_used"),
    (OtherCase, HonestDetector, "test_what_it_finds_can_be_used"),
    (OtherLabel, HonestDetector, "test_what_it_finds_can_be_used"),
    (FarAway, HonestDetector, "test_what_it_finds_can_be_used"),
    (NobodysOutline, HonestDetector, "test_what_it_finds_can_be_used"),
    (OutlineInWorld, HonestDetector, "test_what_it_finds_can_be_used"),
    (InIndices, HonestDetector, "test_it_finds_what_is_there"),
    (Blind, HonestDetector, "test_it_finds_what_is_there"),
    (WithoutOrigin, HonestDetector, "test_an_image_that_was_moved_gives_the_same_objects_there"),
    (AsStored, HonestDetector, "test_a_volume_that_is_stored_in_another_order_gives_the_same_objects"),
    (Moody, HonestDetector, "test_it_gives_the_same_again"),
    (Painter, HonestDetector, "test_it_leaves_the_pixels_alone"),
    (Deaf, HonestDetector, "test_it_stops_before_it_begins"),
    (Deaf, HonestDetector, "test_it_stops_within_a_batch"),
    (Crashing, HonestDetector, "test_it_takes_an_empty_image"),
    (Crashing, HonestDetector, "test_it_takes_a_tiny_image"),
    (Omnivorous, HonestDetector, "test_it_refuses_images_of_another_kind"),
    (Mute, HonestDetector, "test_it_tells_its_progress"),
    (HalfDone, HonestDetector, "test_it_tells_its_progress"),
    (WithoutFocus, HonestDetector, "test_it_takes_a_focus"),
    (FocusAlone, HonestDetector, "test_it_takes_a_focus"),
    (Greedy, HonestSlideDetector, "test_it_reads_no_more_of_a_slide_than_it_has_looked_at"),
    (Renamed, HonestSegmenter, "test_it_is_a_segmenter_that_yields_parts_and_batches"),
    (BatchesAlone, HonestSegmenter, "test_it_is_a_segmenter_that_yields_parts_and_batches"),
    (Unfinished, HonestSegmenter, "test_the_mask_is_complete_and_covers_the_image"),
    (Elsewhere, HonestSegmenter, "test_the_mask_is_complete_and_covers_the_image"),
    (OtherClasses, HonestSegmenter, "test_the_mask_is_complete_and_covers_the_image"),
    (NoZarr, HonestSegmenter, "test_the_mask_is_complete_and_covers_the_image"),
    (ZeroToOne, HonestSegmenter, "test_the_mask_marks_what_is_there"),
    (PartsOutside, HonestSegmenter, "test_every_part_lies_in_the_mask"),
    (Overwriting, HonestSegmenter, "test_it_overwrites_nothing"),
    (FinishedEarly, HonestSegmenter, "test_a_mask_that_was_left_early_says_so"),
    (Renamed, HonestClassifier, "test_it_is_a_classifier"),
    (OneShort, HonestClassifier, "test_it_gives_one_probability_for_each"),
    (Unbounded, HonestClassifier, "test_it_gives_one_probability_for_each"),
    (Sorting, HonestClassifier, "test_it_keeps_their_order"),
    (Relative, HonestClassifier, "test_it_judges_one_alone_as_among_others"),
    (NeedsOne, HonestClassifier, "test_nothing_to_judge_is_no_error"),
    (JudgesIndices, HonestClassifier, "test_places_are_those_of_the_world"),
    (Inverted, HonestClassifier, "test_it_tells_objects_from_their_surroundings"),
]


@pytest.mark.parametrize(
    ("broken", "base", "check"), CONTROLS, ids=[f"{broken.__name__}-{check}" for broken, _, check in CONTROLS]
)
def test_a_model_that_breaks_a_promise_fails_its_check(broken: type, base: type, check: str) -> None:
    contract = contract_of(broken, base)
    with pytest.raises(NotKeptError) as caught:
        getattr(contract(), check)()
    assert " Got: " in str(caught.value)
    assert " Do: " in str(caught.value)


def test_every_check_has_a_model_that_fails_it() -> None:
    checks = {name for contract, *_ in BASES.values() for name in names(contract)}
    assert checks == {check for _, _, check in CONTROLS}


def test_a_model_need_not_find_what_it_was_not_made_for() -> None:
    contract = contract_of(Blind, HonestDetector)
    contract.must_find = False
    with pytest.raises(SkipTest):
        getattr(contract(), "test_it_finds_what_is_there")()  # noqa: B009 - of detectors and segmenters alone


def test_checks_need_no_pytest(repository: Path) -> None:
    script = "import sys, napari_medlab.conformance; sys.exit('pytest' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", script], cwd=repository, env=os.environ, check=False).returncode
        == 0
    )
