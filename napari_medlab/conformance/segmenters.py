"""What every segmenter has to keep to."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import TYPE_CHECKING, Any
from unittest import SkipTest

import numpy as np

from napari_medlab.conformance.contract import expect
from napari_medlab.conformance.finding import FindingContract, Progress
from napari_medlab.conformance.masks import ATTRIBUTES, WrittenMask
from napari_medlab.conformance.trials import CASE
from napari_medlab.errors import InputRefusedError
from napari_medlab.jobs import CancelledError, CancelToken
from napari_medlab.protocols import Batch, MaskPart, Segmenter

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from napari_medlab.images import Image

__all__ = ["SegmenterContract"]

WRITE = "write it with napari_medlab.models.inference.mask_store.MaskStore"


class SegmenterContract(FindingContract):
    """Tests for a :class:`napari_medlab.protocols.Segmenter`: subclass it in pytest and say how yours is made."""

    def pieces(
        self, image: Image, cancel: CancelToken, *, focus: Sequence[float] | None = None, on_progress: Progress | None = None
    ) -> Iterator[Any]:  # fmt: skip
        """Yield the parts of a mask, which is thrown away, and the batches of objects."""
        folder = mkdtemp()
        try:
            mask = Path(folder) / "mask"
            yield from self.model.segment(image, CASE, mask, cancel, focus=focus, on_progress=on_progress)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def test_it_is_a_segmenter_that_yields_parts_and_batches(self) -> None:
        """It has the method that segmenters have, which yields parts of the mask and batches."""
        expect(
            isinstance(self.model, Segmenter), "A segmenter has a method segment.", f"{type(self.model).__name__} has none.",
            "name it segment(self, image, case_id, mask, cancel, *, focus=None, on_progress=None).",
        )  # fmt: skip
        pieces = self._outcome.pieces
        odd = [piece for piece in pieces if not isinstance(piece, Batch | MaskPart)]
        expect(
            not odd,
            "It yields MaskPart and Batch alone.",
            f"{odd[:1]!r:.120}.",
            "yield MaskPart(start, stop).",
        )
        expect(
            any(isinstance(piece, MaskPart) for piece in pieces), "It yields the parts of the mask as they are written.",
            "no MaskPart.", "yield MaskPart(start, stop) after each chunk.",
        )  # fmt: skip

    def test_the_mask_is_complete_and_covers_the_image(self) -> None:
        """The mask is complete and lies where the image lies."""
        mask, grid = self._mask(), self._trial.image.grid
        expect(
            mask.is_complete,
            "A mask that came to its end says that it is complete.",
            "it says partial.",
            WRITE + ".finish().",
        )
        classes = self.classes or mask.classes
        expect(
            mask.classes == classes and mask.values.shape == (len(classes), *mask.grid.shape) and mask.values.dtype == np.uint8,
            f"It holds uint8 values of {', '.join(classes)}, on its grid.",
            f"{mask.values.dtype} {mask.values.shape} for {', '.join(mask.classes)} on {mask.grid.shape}.", f"{WRITE}.",
        )  # fmt: skip
        ends = [(np.array(g.shape) - 1) / 2 for g in (grid, mask.grid)]
        apart = np.abs(grid.to_world(ends[0]) - mask.grid.to_world(ends[1]))
        sizes = [np.sort(np.asarray(g.shape) * g.spacing) for g in (grid, mask.grid)]
        step = max(*grid.spacing, *mask.grid.spacing)
        expect(
            bool((apart <= 2 * step).all() and (np.abs(sizes[0] - sizes[1]) <= 2 * step).all()),
            "The mask lies where the image lies.",
            f"their middles are {apart.round(2).tolist()} {grid.unit} apart, and they are {sizes[0].round(1).tolist()} and "
            f"{sizes[1].round(1).tolist()} {grid.unit} large.", "give the store the grid of what your model looked at.",
        )  # fmt: skip

    def test_the_mask_marks_what_is_there(self) -> None:
        """The mask marks an object of the trial image."""
        mask, findings = self._mask(), self._trial.findings
        middles = [np.rint(mask.grid.to_index(one.centre)).astype(int) for one in findings]
        inside = [tuple(index) for index in middles if bool(mask.grid.contains(index))]
        highest = max((int(mask.values[(slice(None), *index)].max()) for index in inside), default=0)
        self.expect_found(
            highest >= 128, "At least one object of the trial image is marked where it is, with half the highest value or more.",
            f"at most {highest} of 255 in the middles of {len(inside)} objects.",
            "check axes and scaling (255 stands for a probability of 1); or override trial().",
        )  # fmt: skip

    def test_every_part_lies_in_the_mask(self) -> None:
        """Every part that it tells of is a box in the mask."""
        shape = np.asarray(self._mask().grid.shape)
        for part in self._outcome.pieces:
            if isinstance(part, MaskPart):
                start, stop = np.asarray(part.start), np.asarray(part.stop)
                expect(
                    start.shape == shape.shape and bool(((start >= 0) & (start < stop) & (stop <= shape)).all()),
                    "Every part is a box in the mask, in array order.", f"{part} in {shape.tolist()}.",
                    "yield what MaskStore.write returned.",
                )  # fmt: skip

    def test_it_overwrites_nothing(self) -> None:
        """It overwrites no folder that exists."""
        with TemporaryDirectory() as folder:
            there = Path(folder) / "mask"
            there.mkdir()
            (there / "of somebody else").write_text("kept")
            try:
                list(self.model.segment(self._trial.image, CASE, there, CancelToken()))
                got = "a result."
            except InputRefusedError:
                got = ""
            except Exception as error:  # noqa: BLE001 - any other one is what is looked for
                got = f"{type(error).__name__}: {error}."
            kept = (there / "of somebody else").exists()
        expect(
            not got and kept, "A folder that exists already is refused, and stays as it is.", got or "it was changed.",
            "let MaskStore.create refuse it.",
        )  # fmt: skip

    def test_a_mask_that_was_left_early_says_so(self) -> None:
        """A mask that was left early says that it is partial."""
        cancel = CancelToken()

        def leave(done: int, total: int) -> None:
            if done < total:
                cancel.cancel("left early")

        with TemporaryDirectory() as folder:
            mask = Path(folder) / "mask"
            with suppress(CancelledError):
                for _ in self.model.segment(self._trial.image, CASE, mask, cancel, on_progress=leave):
                    pass
            header = mask / "zarr.json"
            said = json.loads(header.read_text(encoding="utf-8")) if header.is_file() else {}
        if not cancel.is_cancelled:
            raise SkipTest("the trial image is one piece of work")
        expect(
            said.get("attributes", {}).get(ATTRIBUTES, {}).get("status") != "complete",
            "A mask that was cancelled is never taken for a whole one.", "it says complete.",
            "call MaskStore.finish() at the very end, after cancel.check().",
        )  # fmt: skip

    def _mask(self) -> WrittenMask:
        def written() -> WrittenMask:
            with TemporaryDirectory() as folder:
                mask = Path(folder) / "mask"
                list(self.model.segment(self._trial.image, CASE, mask, CancelToken()))
                return WrittenMask.read(mask)

        found: WrittenMask = self._once("mask", written)
        return found
