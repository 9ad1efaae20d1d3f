"""Find where a medical-imaging model fails, correct it, retrain it, and see whether it got better.

Importing this package loads neither torch, Qt, napari, SimpleITK nor dask; each of them arrives when it is first needed.
"""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.1.0"
