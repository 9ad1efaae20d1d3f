"""Foreign files are parsed and decoded in a process of their own, which may hang or die without any harm."""

from __future__ import annotations

from napari_medlab.images.isolation.process import Limits, ReaderProcess, close_reader, reader_process
from napari_medlab.images.isolation.remote import ask_contents, open_isolated

__all__ = ["Limits", "ReaderProcess", "ask_contents", "close_reader", "open_isolated", "reader_process"]
