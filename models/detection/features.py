"""What a detector sees at an object: its own feature maps, pooled at the object's place."""

from __future__ import annotations

import threading
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_medlab.errors import InputRefusedError
from napari_medlab.models.bundles import load_network
from napari_medlab.models.classification.cubes import cut_cubes
from napari_medlab.models.networks.centre_heatmap import CentreHeatmapNet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray
    from torch import nn

    from napari_medlab.images import Image
    from napari_medlab.jobs import CancelToken
    from napari_medlab.models.bundles import Bundle

__all__ = ["ObjectFeatures", "embed", "features_of"]

LAYER = "head"
"""The last maps before the output: on phantoms nodules are neighbours of nodules more often by these than with deeper ones."""
SIDE = 24
"""Of the crops that the network looks at, in voxels of the bundle's spacing; it halves them three times."""
BATCH = 8
CORE_VOXELS = 3.0
"""Features are pooled within the object's radius, and at least within this many voxels of its centre."""


class ObjectFeatures:
    """Reads the features of objects out of a bundle's network.

    Parameters
    ----------
    bundle : Bundle

    Raises
    ------
    InputRefusedError
        With code ``"no-features"`` where the network is of a kind whose maps are not known.
    """

    def __init__(self, bundle: Bundle) -> None:
        network = load_network(bundle)
        if not isinstance(network, CentreHeatmapNet) or network.spatial_dims != 3:
            raise InputRefusedError(
                f"{bundle.title} has a network whose features cannot be read.", code="no-features",
                hint="Similar objects are found by their descriptors instead.",
            )  # fmt: skip
        self._network = network
        self._spacing_mm = bundle.preprocessing.isotropic_mm
        self._window = bundle.preprocessing.window
        self._maps: list[torch.Tensor] = []
        self._lock = threading.Lock()
        network.get_submodule(LAYER).register_forward_hook(self._keep)

    def embed(
        self,
        image: Image,
        centres: NDArray[np.float64],
        diameters: NDArray[np.float64],
        on_progress: Callable[[int, int], None] | None = None,
        stop: Callable[[], None] | None = None,
    ) -> NDArray[np.float32]:
        """Return the features of objects, float32 (n, features).

        Parameters
        ----------
        image, centres, diameters, stop
            As in :meth:`batches`.
        on_progress : callable, optional
            Called with the objects done and in all.

        Raises
        ------
        InputRefusedError
            Where the image is not what the model reads.
        """
        found: NDArray[np.float32] | None = None
        done = 0
        for rows, features in self.batches(image, centres, diameters, stop):
            if found is None:
                found = np.zeros((len(centres), features.shape[1]), np.float32)
            found[rows] = features
            done += len(rows)
            if on_progress is not None:
                on_progress(done, len(centres))
        return np.zeros((0, 0), np.float32) if found is None else found

    def batches(
        self,
        image: Image,
        centres: NDArray[np.float64],
        diameters: NDArray[np.float64],
        stop: Callable[[], None] | None = None,
    ) -> Iterator[tuple[NDArray[np.intp], NDArray[np.float32]]]:
        """Yield rows of a few objects and their features, slice by slice, so that each slice is decoded once.

        Parameters
        ----------
        image : Image
            Only crops of it are read.
        centres : (n, 3) array
            World coordinates, ordered (x, y, z).
        diameters : (n,) array
            In mm; -1 where unknown, which pools the least core.
        stop : callable, optional
            Called before each batch; it raises where nobody wants the answer any more.

        Raises
        ------
        InputRefusedError
            Where the image is not what the model reads.
        """
        if image.kind != "volume":
            raise InputRefusedError(
                f"{image.path.name} is a {image.kind}; this model reads volumes.",
                code="wrong-kind",
                hint="Choose a model made for this kind of image.",
            )
        oriented = image.oriented()
        order = np.argsort(oriented.grid.to_index(centres)[:, 0], kind="stable")
        for at in range(0, len(order), BATCH):
            if stop is not None:
                stop()
            rows = order[at : at + BATCH]
            crops = cut_cubes(oriented, centres[rows], self._spacing_mm, (SIDE,) * 3, self._window, stop)[
                :, 0
            ]
            cores = np.maximum(diameters[rows] / 2 / self._spacing_mm, CORE_VOXELS)
            yield rows, self._look(crops, cores)

    def _look(self, crops: NDArray[np.float32], cores: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return for each crop (n, z, y, x) the maps' mean within the object and at its centre, (n, features)."""
        # the maps of one pass must not mix with those of another thread's
        with self._lock, torch.inference_mode():
            self._network(torch.from_numpy(crops)[:, None])
            maps = self._maps.pop().float()
        pooled = [
            torch.einsum("bczyx,bzyx->bc", maps, torch.from_numpy(_weights(tuple(maps.shape[2:]), widths)))
            for widths in (cores, np.zeros(len(cores)))
        ]
        return torch.cat(pooled, dim=1).numpy()

    def _keep(self, _: nn.Module, __: tuple[torch.Tensor, ...], maps: torch.Tensor) -> None:
        self._maps.append(maps)


def _weights(cells: tuple[int, ...], cores: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return weights (n, …cells) that add up to 1 and fall off around the middle.

    They reach as far as each object's radius in voxels, ``cores`` (n,), and within the cell at the middle at least.
    """
    stride = SIDE / cells[0]
    axes = np.meshgrid(*[(np.arange(n) - (n - 1) / 2) * stride for n in cells], indexing="ij", sparse=True)
    squared = np.asarray(sum(axis**2 for axis in axes))
    widths = np.maximum(cores, stride / 2).reshape(-1, 1, 1, 1)
    weights = np.exp(-squared / (2 * (widths / 1.5) ** 2))
    normed: NDArray[np.float32] = (weights / weights.sum(axis=(1, 2, 3), keepdims=True)).astype(np.float32)
    return normed


def embed(request: dict[str, Any], cancel: CancelToken) -> Iterator[dict[str, Any]]:
    """Yield ``features`` events with the features of the objects of one case: what a worker process serves.

    The request names a ``bundle`` folder, an ``image`` path, the ``decisions`` by which it opens, and the objects'
    ``centres`` and ``diameters``. Each event holds the ``rows`` of a few objects and their ``values``.
    """
    from napari_medlab.images import Decisions, open_image

    reader = features_of(request["bundle"])
    cancel.check()
    image = open_image(Path(request["image"]), Decisions.from_json(request.get("decisions", {})))
    centres = np.asarray(request["centres"], dtype=np.float64).reshape(-1, 3)
    diameters = np.asarray(request["diameters"], dtype=np.float64)
    for rows, features in reader.batches(image, centres, diameters, cancel.check):
        yield {"event": "features", "rows": rows.tolist(), "values": features.tolist()}


@lru_cache(maxsize=2)
def features_of(folder: str) -> ObjectFeatures:
    """Return the reader of the bundle in a folder; the two used last stay loaded."""
    from napari_medlab.models.bundles import read_bundle

    return ObjectFeatures(read_bundle(Path(folder)))
