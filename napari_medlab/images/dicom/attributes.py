"""The attributes that are read from DICOM files.

PatientID alone tells who somebody is: it groups the images of one patient when they are added, and goes no further.
"""

from __future__ import annotations

__all__ = ["MACROS", "SEQUENCES", "TAGS", "WANTED"]

TAGS: dict[str, tuple[int, str]] = {
    "MediaStorageSOPClassUID": (0x00020002, "UI"), "TransferSyntaxUID": (0x00020010, "UI"),
    "SOPClassUID": (0x00080016, "UI"), "SeriesInstanceUID": (0x0020000E, "UI"),
    "Modality": (0x00080060, "CS"), "ImageType": (0x00080008, "CS"), "FrameType": (0x00089007, "CS"),
    # pixels
    "Rows": (0x00280010, "US"), "Columns": (0x00280011, "US"), "NumberOfFrames": (0x00280008, "IS"),
    "SamplesPerPixel": (0x00280002, "US"), "PhotometricInterpretation": (0x00280004, "CS"),
    "PlanarConfiguration": (0x00280006, "US"), "BitsAllocated": (0x00280100, "US"),
    "BitsStored": (0x00280101, "US"), "HighBit": (0x00280102, "US"), "PixelRepresentation": (0x00280103, "US"),
    "PixelPaddingValue": (0x00280120, "XS"), "ExtendedOffsetTable": (0x7FE00001, "OV"),
    # values
    "RescaleSlope": (0x00281053, "DS"), "RescaleIntercept": (0x00281052, "DS"),
    "ModalityLUTSequence": (0x00283000, "SQ"), "WindowCenter": (0x00281050, "DS"),
    "WindowWidth": (0x00281051, "DS"), "WindowCenterWidthExplanation": (0x00281055, "LO"),
    "VOILUTFunction": (0x00281056, "CS"), "VOILUTSequence": (0x00283010, "SQ"),
    "LUTDescriptor": (0x00283002, "XS"), "LUTExplanation": (0x00283003, "LO"), "LUTData": (0x00283006, "OW"),
    # place
    "ImagePositionPatient": (0x00200032, "DS"), "ImageOrientationPatient": (0x00200037, "DS"),
    "PixelSpacing": (0x00280030, "DS"), "PixelSpacingCalibrationType": (0x00280A02, "CS"),
    "ImagerPixelSpacing": (0x00181164, "DS"), "EstimatedRadiographicMagnificationFactor": (0x00181114, "DS"),
    "SliceThickness": (0x00180050, "DS"),
    # views of the breast
    "ImageLaterality": (0x00200062, "CS"), "Laterality": (0x00200060, "CS"), "ViewPosition": (0x00185101, "CS"),
    "ViewCodeSequence": (0x00540220, "SQ"), "CodeValue": (0x00080100, "SH"), "PatientOrientation": (0x00200020, "CS"),
    # what belongs together
    "StudyInstanceUID": (0x0020000D, "UI"), "PatientID": (0x00100020, "LO"), "SeriesNumber": (0x00200011, "IS"),
    # what tells one pass over the same places from another
    "TemporalPositionIdentifier": (0x00200100, "IS"), "TemporalPositionIndex": (0x00209128, "UL"),
    "NominalPercentageOfCardiacPhase": (0x00209241, "FL"), "TriggerTime": (0x00181060, "DS"),
    "NominalCardiacTriggerDelayTime": (0x00209153, "FD"), "FrameReferenceTime": (0x00541300, "DS"),
    "DiffusionBValue": (0x00189087, "FD"), "EchoTime": (0x00180081, "DS"), "EffectiveEchoTime": (0x00189082, "FD"),
    "EchoNumbers": (0x00180086, "IS"), "InversionTime": (0x00180082, "DS"), "FlipAngle": (0x00181314, "DS"),
    "KVP": (0x00180060, "DS"), "ConvolutionKernel": (0x00181210, "SH"), "StackID": (0x00209056, "SH"),
    "AcquisitionNumber": (0x00200012, "IS"), "FrameAcquisitionNumber": (0x00209156, "US"),
    "AcquisitionTime": (0x00080032, "TM"), "ContentTime": (0x00080033, "TM"),
    # functional groups
    "SharedFunctionalGroupsSequence": (0x52009229, "SQ"), "PerFrameFunctionalGroupsSequence": (0x52009230, "SQ"),
    "PlanePositionSequence": (0x00209113, "SQ"), "PlaneOrientationSequence": (0x00209116, "SQ"),
    "PixelMeasuresSequence": (0x00289110, "SQ"), "PixelValueTransformationSequence": (0x00289145, "SQ"),
    "FrameVOILUTSequence": (0x00289132, "SQ"), "FrameContentSequence": (0x00209111, "SQ"),
    "CardiacSynchronizationSequence": (0x00189118, "SQ"), "MREchoSequence": (0x00189114, "SQ"),
    "MRDiffusionSequence": (0x00189117, "SQ"), "MRImageFrameTypeSequence": (0x00189226, "SQ"),
    "CTImageFrameTypeSequence": (0x00189329, "SQ"), "CTXRayDetailsSequence": (0x00189325, "SQ"),
    "CTReconstructionSequence": (0x00189314, "SQ"), "PETFrameTypeSequence": (0x00189751, "SQ"),
    "XRay3DFrameTypeSequence": (0x00189504, "SQ"),
}  # fmt: skip
"""Keyword: tag and value representation. ``XS`` is US or SS, as the stored values are."""

NO_MACROS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "ModalityLUTSequence", "VOILUTSequence",
             "ViewCodeSequence")  # fmt: skip
MACROS = tuple(keyword for keyword, (_, kind) in TAGS.items() if kind == "SQ" and keyword not in NO_MACROS)
"""The sequences of a functional group whose one item says something about a frame."""
WANTED = frozenset(tag for tag, _ in TAGS.values())
SEQUENCES = frozenset(tag for tag, kind in TAGS.values() if kind == "SQ")
