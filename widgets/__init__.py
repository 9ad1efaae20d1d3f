"""The window: Qt, magicgui and napari layers, kept thin."""
