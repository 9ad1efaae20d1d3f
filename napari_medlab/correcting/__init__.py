"""Helpers that save clicks: pure functions from outlines, masks and pixels to new outlines and masks."""
