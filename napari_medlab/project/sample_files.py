"""Phantoms as files of the kind that scanners and archives write."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medlab.phantoms.chest_ct import ChestPhantom
    from napari_medlab.phantoms.mammogram import MammogramView
    from napari_medlab.phantoms.slide import SlidePhantom

__all__ = ["write_dicom", "write_mha", "write_slide"]

BITS = 12


def write_mha(path: Path, phantom: ChestPhantom) -> None:
    """Write the volume of a phantom as MetaImage, with its geometry."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(phantom.volume)
    image.SetSpacing([float(step) for step in phantom.grid.spacing[::-1]])
    image.SetOrigin([float(v) for v in phantom.grid.to_world(np.zeros(3))])
    sitk.WriteImage(image, str(path), useCompression=True)


def write_dicom(path: Path, view: MammogramView, exam_key: str) -> None:
    """Write a mammogram as DICOM for presentation, its pixel size that of the detector; ``exam_key`` names the patient."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import (
        DigitalMammographyXRayImageStorageForPresentation,
        ExplicitVRLittleEndian,
        generate_uid,
    )

    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = (
        DigitalMammographyXRayImageStorageForPresentation
    )
    # the same exam gives the same file
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid(
        entropy_srcs=[exam_key, view.name]
    )
    dataset.StudyInstanceUID = generate_uid(entropy_srcs=[exam_key])
    dataset.SeriesInstanceUID = generate_uid(entropy_srcs=[exam_key, view.name, "series"])
    dataset.PatientID, dataset.Modality = exam_key, "MG"
    dataset.ImageLaterality, dataset.ViewPosition = view.laterality, view.view
    dataset.PatientOrientation = list(view.patient_orientation)
    dataset.ImagerPixelSpacing = [float(step) for step in view.grid.spacing]
    dataset.BurnedInAnnotation = "NO"
    dataset.Rows, dataset.Columns = view.pixels.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = (
        16,
        BITS,
        BITS - 1,
        0,
    )
    dataset.PixelData = view.pixels.astype("<u2").tobytes()
    dataset.save_as(path, enforce_file_format=True)


def write_slide(path: Path, phantom: SlidePhantom) -> None:
    """Write a slide as tiled OME-TIFF with its pixel size."""
    import tifffile

    (height, width), unit = phantom.grid.spacing, "µm"
    size = {
        "PhysicalSizeX": width,
        "PhysicalSizeXUnit": unit,
        "PhysicalSizeY": height,
        "PhysicalSizeYUnit": unit,
    }
    tifffile.imwrite(
        path, phantom.pixels, photometric="rgb", tile=(256, 256), compression="zlib", metadata=size
    )
