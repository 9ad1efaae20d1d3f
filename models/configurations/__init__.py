"""Configurations that come with the application: the rows of four practitioners' tables, and how they build on each other.

A file holds rows in the order in which they were tried. A row is a whole configuration, or names the one that it is based on
and what is changed against it::

    {"name": "mammogram-soft-nms", "base": "mammogram-retinanet", "note": "…",
     "change": {"postprocessing": {"overlap": "soft-nms"}}}

In a change, objects are changed key by key, and everything else takes the place of what was there, with two exceptions: a
part that is named anew (a network, an objective, a sampler) begins with arguments of its own, and a list is appended to by
``{"append": […]}``.
"""

from __future__ import annotations

from napari_medlab.models.configurations.reading import list_configurations, read_configuration

__all__ = ["list_configurations", "read_configuration"]
