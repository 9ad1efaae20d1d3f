"""DICOM: series by the positions of their slices, planar images, and files of many frames."""
