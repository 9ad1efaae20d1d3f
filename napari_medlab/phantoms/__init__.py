"""Procedural images with known truth: the embedded default data."""
