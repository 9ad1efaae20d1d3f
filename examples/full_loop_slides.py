"""The whole loop on slides, from OME-TIFF and QuPath's GeoJSON to a model that is published or refused, by commands alone.

Run as ``python examples/full_loop_slides.py [FOLDER] [--train N --test N --budget N --steps N]``; without a folder, in one
that is deleted afterwards. The slides are phantoms of a laboratory whose stain is pale. The defaults take about a minute
and teach nothing: for a model that learns something, ``--train 16 --test 16 --budget 200 --steps 240``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from full_loop import Material, Size, in_folder, part_of, round_the_loop

from napari_medlab.annotations.formats.geojson import write
from napari_medlab.annotations.formats.outline_rows import Outline, image_regions
from napari_medlab.geometry import mask_to_rings
from napari_medlab.phantoms.slide import SlideSite, slide_phantom
from napari_medlab.project.sample_files import write_slide

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_medlab.annotations import Finding

FIRST_SEED = 930_000
SHAPE = (1536, 1536)
PALE = SlideSite(pink=0.3, blue=1.2)
"""A laboratory where PAS takes so little that glomeruli are missed."""


def write_slides(folder: Path, size: Size) -> Material:
    """Write the slides, and beside them a folder with the outlines of each in a file of its own."""
    truth: dict[str, Sequence[Finding]] = {}
    slides: list[Path] = []
    (folder / "outlines").mkdir()
    for number in range(size.train + size.test):
        name = f"slide-{number + 1}"
        phantom = slide_phantom(FIRST_SEED + number, name, shape=SHAPE, site=PALE)
        slides.append(part_of(folder, number, size) / f"{name}.ome.tif")
        write_slide(slides[-1], phantom)
        truth[name] = phantom.findings
        outlines = [
            Outline(mask_to_rings(np.asarray(phantom.labels == value)), finding.label, str(value))
            for value, finding in enumerate(phantom.findings, start=1)
        ]
        write(folder / "outlines" / f"{name}.geojson", [image_regions(name, outlines)])
    return Material(slides[: size.train], slides[size.train :], [folder / "outlines"], truth)


def main(folder: Path, size: Size) -> None:
    """Write the slides and go round the loop with the segmenter of glomeruli that ships."""
    slides = folder / "slides"
    slides.mkdir()
    round_the_loop(folder, "glomeruli", "coco", size, write_slides(slides, size))


if __name__ == "__main__":
    in_folder(main, "The whole loop on slides.", Size())
