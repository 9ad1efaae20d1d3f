"""Work in the background: progress, cancellation, results in batches."""

from __future__ import annotations

from napari_medlab.jobs.cancellation import CancelledError, CancelToken

__all__ = ["CancelToken", "CancelledError"]
