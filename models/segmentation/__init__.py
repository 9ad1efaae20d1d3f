"""Segmentation: networks, losses, thresholds, and masks made into outlines, in 2D and 3D."""
