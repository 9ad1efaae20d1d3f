"""Bundles: one version of a model each, addressed by its hash, never overwritten."""
