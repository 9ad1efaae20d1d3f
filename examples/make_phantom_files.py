"""Write images and annotations as they come from the field, made of phantoms: what the tutorials begin with.

Run as ``python examples/make_phantom_files.py ct|mammograms|slides|photos FOLDER [--train N --test N]``.

=============  =========================================================================================
``ct``         MetaImage volumes and LUNA16's tables; one nodule of the reference is missing
``mammograms`` exams of four DICOM views, and one COCO JSON with outlines
``slides``     OME-TIFF, and GeoJSON as QuPath writes it
``photos``     PNG, a reference in COCO JSON, and the results of a detector made elsewhere, in two versions
=============  =========================================================================================

All but ``photos`` put images to learn from into ``FOLDER/train`` and others, to test with, into ``FOLDER/test``.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from full_loop import Size
from full_loop_ct import write_scans
from full_loop_mammograms import write_exams
from full_loop_slides import write_slides
from phantom_photos import write_photos

WRITERS = {"ct": write_scans, "mammograms": write_exams, "slides": write_slides}


def main(kind: str, folder: Path, size: Size) -> None:
    """Write images of a kind into a new folder and list what is in it."""
    folder.mkdir(parents=True)
    if kind == "photos":
        write_photos(folder, size.train)
    else:
        WRITERS[kind](folder, size)
    for part in sorted(folder.iterdir()):
        print(f"{part} ({len(list(part.iterdir()))} in it)" if part.is_dir() else part)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write phantoms as files of the field.")
    parser.add_argument("kind", choices=[*WRITERS, "photos"], nargs="?", default="photos")
    parser.add_argument(
        "folder", type=Path, nargs="?", help="a new folder (default: one that is deleted afterwards)"
    )
    parser.add_argument("--train", type=int, default=6, help="patients to learn from, or photos (default: 6)")
    parser.add_argument("--test", type=int, default=4, help="patients to test with (default: 4)")
    options = parser.parse_args(sys.argv[1:])
    wanted = Size(options.train, options.test)
    if options.folder is not None:
        main(options.kind, options.folder, wanted)
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(options.kind, Path(temporary) / options.kind, wanted)
