"""Plain functions of arrays in the place of a network: the engine tiles, cancels, tells progress and finds the world."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import numpy as np

from napari_medlab.errors import InputRefusedError, MedlabError
from napari_medlab.models.detection.detections import Detections
from napari_medlab.models.inference.planning import TilingRule
from napari_medlab.models.plugins.found import Found
from napari_medlab.models.predicting.detector import BundleDetector
from napari_medlab.models.predicting.placing import DEFAULT_TILING
from napari_medlab.models.predicting.segmenter import BundleSegmenter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    from napari_medlab.annotations import Candidate
    from napari_medlab.images import Image
    from napari_medlab.jobs import CancelToken
    from napari_medlab.models.bundles import Bundle

__all__ = ["FunctionClassifier", "FunctionDetector", "FunctionSegmenter", "wrong_output"]

T = TypeVar("T")
CUBES_AT_ONCE = 32


class FunctionDetector(BundleDetector):
    """A detector whose network is a function of one tile.

    Parameters
    ----------
    bundle : Bundle
        Preprocessing, tiles and the merging across seams are as for a network.
    function : callable
        Takes a tile, float32 (channel, z, y, x) or (channel, y, x), and gives a :class:`Found` for each object in it.
    """

    choice: Any = None  # whoever wraps this says where it runs

    def __init__(self, bundle: Bundle, function: Callable[[NDArray[np.float32]], Iterable[Found]]) -> None:
        least = float(bundle.postprocessing.get("threshold", 0.0))
        self.bundle = bundle
        self.rule = _rule_of(bundle)
        look = FunctionLook(lambda tile: _detections(function(tile), tile.ndim - 1, bundle, least))
        self._looks = cast("Any", (look,))
        self._judge = None
        self._cluster = bundle.postprocessing.get("cluster")
        self._has_boxes = True


class FunctionSegmenter(BundleSegmenter):
    """A segmenter whose network is a function of one tile.

    Parameters
    ----------
    bundle : Bundle
    function : callable
        Takes a tile as above, and gives probabilities, 0 to 1: (class, z, y, x) or (class, y, x), or without the first
        axis for one class.
    """

    choice: Any = None

    def __init__(self, bundle: Bundle, function: Callable[[NDArray[np.float32]], NDArray[Any]]) -> None:
        self.bundle = bundle
        self.rule = _rule_of(bundle)
        look = FunctionLook(lambda tile: _probabilities(function(tile), tile, bundle))
        self._looks = cast("Any", (look,))


class FunctionClassifier:
    """A classifier whose network is a function of many cubes, or squares.

    Parameters
    ----------
    bundle : Bundle
        The ``core`` of its tiling says how large the cubes are; a candidate lies in voxel ``size // 2`` of its cube.
    function : callable
        Takes float32 (n, channel, z, y, x) or (n, channel, y, x), and gives n probabilities, 0 to 1.

    Raises
    ------
    InputRefusedError
        ``"classifier"`` where the bundle does not say how large the cubes are.
    """

    rule = None

    def __init__(self, bundle: Bundle, function: Callable[[NDArray[np.float32]], Any]) -> None:
        if "core" not in bundle.tiling:
            raise InputRefusedError(
                f"{bundle.title} does not say how large the cubes are that it judges.", code="classifier",
                hint='Its bundle.json needs "tiling": {"core": [32, 32, 32]}.',
            )  # fmt: skip
        self.bundle = bundle
        self._function = function
        self._shape = np.asarray(bundle.tiling["core"], np.int64)

    def judge(self, image: Image, candidates: Sequence[Candidate], cancel: CancelToken) -> list[float]:
        """Return the probability of each candidate, 0 to 1.

        Raises
        ------
        InputRefusedError
            Where the image is not what the model reads.
        CancelledError
            Soon after ``cancel`` is set.
        """
        cancel.check()
        prepared = self.bundle.preprocessing.prepare(image)
        found: list[float] = []
        for first in range(0, len(candidates), CUBES_AT_ONCE):
            centres = np.asarray([one.centre for one in candidates[first : first + CUBES_AT_ONCE]])
            starts = np.rint(prepared.grid.to_index(centres)).astype(np.int64) - self._shape // 2
            cubes = []
            for start in starts:
                cancel.check()
                cubes.append(prepared.read(start.tolist(), (start + self._shape).tolist()))
            given = np.asarray(self._function(np.stack(cubes)), np.float64)
            if given.shape != (len(cubes),):
                raise wrong_output(
                    self.bundle, f"{given.shape} values for {len(cubes)} cubes", f"({len(cubes)},)"
                )
            found += given.tolist()
        return found


class FunctionLook(Generic[T]):
    """Calls a function on each tile; fulfils :class:`napari_medlab.models.inference.looking.Look`."""

    device = "cpu"

    def __init__(self, function: Callable[[NDArray[np.float32]], T]) -> None:
        self._function = function

    def submit(self, batch: NDArray[np.float32]) -> _Done[T]:
        """Look at tiles, (batch, channel, …), at once."""
        return _Done([self._function(tile) for tile in batch])

    def on_cpu(self) -> None:
        """Say that there is no other device to go to."""


class _Done(Generic[T]):
    def __init__(self, results: list[T]) -> None:
        self._results = results

    def result(self) -> list[T]:
        return self._results


def wrong_output(bundle: Bundle, got: str, expected: str) -> MedlabError:
    """Return what is told where the code of others gives something that cannot be used."""
    return MedlabError(
        f"{bundle.title} gave {got}; expected {expected}.", code="model-output",
        hint=f"Tell its makers: napari-medlab models verify {bundle.name} shows where.",
    )  # fmt: skip


def _rule_of(bundle: Bundle) -> TilingRule:
    dims = 3 if "volume" in bundle.preprocessing.kinds else 2
    return TilingRule.from_json({**DEFAULT_TILING[dims], **bundle.tiling})


def _detections(found: Iterable[Found], dims: int, bundle: Bundle, least: float) -> Detections:
    """Return what a function found in a tile, as a network's detections."""
    rows, scores, classes = [], [], []
    for one in found:
        if not isinstance(one, Found):
            raise wrong_output(bundle, f"{one!r:.80} for an object", "napari_medlab.models.plugins.Found")
        centre, size = np.asarray(one.centre, np.float64), np.asarray(one.size, np.float64)
        if (
            centre.shape != (dims,)
            or size.shape not in ((), (dims,))
            or not (np.isfinite(centre).all() and (size > 0).all())
        ):
            raise wrong_output(
                bundle, f"{one!r:.120}", f"a finite centre of {dims} numbers and a size above 0"
            )
        if one.label and one.label not in bundle.classes:
            raise wrong_output(bundle, f"the label {one.label!r:.80}", f"one of {', '.join(bundle.classes)}")
        if not 0 <= one.score <= 1:
            raise wrong_output(bundle, f"the score {one.score!r:.40}", "a number from 0 to 1")
        if one.score >= least:
            rows.append([*(centre - size / 2), *(centre + size / 2)])
            scores.append(float(one.score))
            classes.append(bundle.classes.index(one.label) if one.label else 0)
    boxes = np.asarray(rows, np.float64).reshape(-1, 2 * dims)
    return Detections(boxes, np.asarray(scores, np.float64), np.asarray(classes, np.int64))


def _probabilities(given: Any, tile: NDArray[np.float32], bundle: Bundle) -> NDArray[np.float32]:  # noqa: ANN401 - of strangers
    """Return the probabilities of a tile's voxels, (class, …), where they are some."""
    values = np.asarray(given, np.float32)
    values = values[None] if values.ndim == tile.ndim - 1 else values
    expected = (len(bundle.classes), *tile.shape[1:])
    if values.shape != expected:
        raise wrong_output(bundle, f"an array of {values.shape} for a tile of {tile.shape}", f"{expected}")
    if not (np.isfinite(values).all() and values.min(initial=0) >= 0 and values.max(initial=0) <= 1):
        raise wrong_output(bundle, "numbers that are no probabilities", "finite ones from 0 to 1")
    return values
