"""Bundles: one version of a model each, addressed by its hash, never overwritten."""

from __future__ import annotations

from napari_medlab.models.bundles.bundle import Bundle, read_bundle, write_bundle
from napari_medlab.models.bundles.card import card_of
from napari_medlab.models.bundles.importing import ImportOptions, import_model
from napari_medlab.models.bundles.loading import load_classifier, load_network
from napari_medlab.models.bundles.monai_export import export_monai
from napari_medlab.models.bundles.registry import find_bundle, find_bundles, plugin_bundles, shipped_bundles

__all__ = [
    "Bundle", "ImportOptions", "card_of", "export_monai", "find_bundle", "find_bundles", "import_model", "load_classifier",
    "load_network", "plugin_bundles", "read_bundle", "shipped_bundles", "write_bundle",
]  # fmt: skip
