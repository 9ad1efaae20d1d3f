"""Segment the glomeruli of a phantom slide with the shipped model, and count the outlines.

Run as ``python examples/segment_slide.py [MODEL]``, where the model is a name, a hash or a bundle's folder. It takes
about ten seconds on one core.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

from napari_medlab.annotations import CandidateTable, FindingTable
from napari_medlab.evaluation import match
from napari_medlab.geometry import ring_area
from napari_medlab.images import Image, open_here
from napari_medlab.images.writers import write_image
from napari_medlab.jobs import CancelToken
from napari_medlab.models.bundles.registry import find_bundle
from napari_medlab.models.inference.mask_store import MaskStore
from napari_medlab.models.predicting import BundleSegmenter, open_model
from napari_medlab.phantoms.slide import slide_phantom
from napari_medlab.protocols import Batch

SHAPE = (2560, 3584)  # pixels of 0.5 µm: a slide of a scanner is a hundred times as large


def main(folder: Path, name: str) -> None:
    """Write a slide, run the model over it, and print what was found and how much of the truth that is."""
    phantom = slide_phantom(5, "slide", shape=SHAPE)
    # as a pyramid of tiles: the model looks at 4 µm a pixel, and only the level just finer than that is read
    path = write_image(
        Image.of_arrays([phantom.pixels], phantom.grid, kind="slide"), folder / "slide.ome.tif"
    )
    image = open_here(path)

    # The first use of a model takes a second to find out what it runs fastest in here. In this process and thread: the
    # window and the command line ask a worker process instead (napari_medlab.models.inference.worker).
    model = open_model(find_bundle(name))
    assert isinstance(model, BundleSegmenter)
    print(f"{model.bundle.title} on {', '.join(model.choice.devices)} in {model.choice.backend.title}")

    candidates, regions = [], []
    masks = folder / "masks"
    for found in model.segment(image, "slide", masks, CancelToken(), on_progress=progress):
        if isinstance(found, Batch):  # the objects come last, when no tile can change them any more
            candidates += found.candidates
            regions += found.regions
        # else: a part of the mask is on disk, found.start to found.stop

    store = MaskStore.open(masks)  # uint8 probabilities at 4 µm; 255 stands for 1
    probabilities = store.read((0, 0), store.grid.shape)
    print(
        f"mask of {store.grid.shape} pixels; {(probabilities >= 128).mean():.1%} of it probably {store.classes[0]}"
    )
    pixel_um2 = float(np.prod(image.grid.spacing))
    # outlines are vertices (y, x) in pixels of the slide; holes run the other way round, which takes them off
    areas = [abs(sum(ring_area(ring) for ring in region.rings)) * pixel_um2 for region in regions]
    print(f"{len(regions)} outlines, half of them larger than {np.median(areas) if areas else 0:,.0f} µm²")

    # A candidate hits a finding where its centre lies within the finding's radius.
    findings = FindingTable.from_objects(phantom.findings, 2)
    table = match(findings, CandidateTable.from_objects(candidates, 2), ["slide"])
    counts = table.counts
    print(f"{counts['tp']} of {len(findings)} glomeruli found, {counts['fp']} outlines elsewhere")


def progress(done: int, total: int) -> None:
    """Say how far it is; tiles of plain glass count as done from the beginning."""
    print(f"tile {done} of {total}", file=sys.stderr)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        main(Path(temporary), sys.argv[1] if len(sys.argv) > 1 else "glomeruli")
