"""Work spread over machines: tasks are handed to the workers of a dask scheduler, over mutual TLS."""

from __future__ import annotations

from napari_medlab.jobs.cluster.connecting import connect
from napari_medlab.jobs.cluster.spread import Advance, Cluster, Strength

__all__ = ["Advance", "Cluster", "Strength", "connect"]
