"""All files that were made by hand to hang, swell or mislead whoever opens them."""

from __future__ import annotations

from hostile_dicom import DICOM_BOMBS
from hostile_folders import FOLDER_BOMBS
from hostile_parts import SECRET, Bomb
from hostile_photos import PHOTO_BOMBS
from hostile_tiff import TIFF_BOMBS
from hostile_volumes import VOLUME_BOMBS

__all__ = ["BOMBS", "SECRET", "Bomb"]

BOMBS: dict[str, Bomb] = {**TIFF_BOMBS, **DICOM_BOMBS, **VOLUME_BOMBS, **PHOTO_BOMBS, **FOLDER_BOMBS}
