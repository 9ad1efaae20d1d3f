"""The bridge between the project's objects and napari's layers."""
