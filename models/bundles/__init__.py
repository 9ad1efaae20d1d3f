"""Bundles: one version of a model each, addressed by its hash, never overwritten."""

from __future__ import annotations

from napari_medlab.models.bundles.bundle import Bundle, load_network, read_bundle, write_bundle
from napari_medlab.models.bundles.registry import find_bundle, shipped_bundles

__all__ = ["Bundle", "find_bundle", "load_network", "read_bundle", "shipped_bundles", "write_bundle"]
