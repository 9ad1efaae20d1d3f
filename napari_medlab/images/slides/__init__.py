"""Whole slides and other planar pyramids, tile by tile."""
