"""Volumes in one file: NIfTI, MetaImage, NRRD."""
