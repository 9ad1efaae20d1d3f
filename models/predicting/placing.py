"""A network is brought to the devices that somebody asked for, in the way that is fastest there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib import import_module
from inspect import signature
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from napari_medlab.models.bundles import load_network
from napari_medlab.models.ensembling.test_time import TestTime, symmetries
from napari_medlab.models.inference.backends import NetworkLook, build_look
from napari_medlab.models.inference.engine import plan_of
from napari_medlab.models.inference.planning import Plan, TilingRule
from napari_medlab.models.inference.self_test import Choice, TileSize, choose_backend, remembered
from napari_medlab.models.inference.tiles import plan_tiles
from napari_medlab.models.networks import NETWORKS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

    from napari_medlab.models.bundles import Bundle
    from napari_medlab.models.inference.backends import Readout
    from napari_medlab.models.inference.prepared import Prepared
    from napari_medlab.protocols import Focus

__all__ = ["Placed", "Wanted", "averaged", "in_channels", "place", "plan_for", "spatial_dims", "tile_size", "tiling_of",
           "with_test_time"]  # fmt: skip

T = TypeVar("T")

DEFAULT_TILING: dict[int, dict[str, Any]] = {
    2: {"core": [512, 512], "halo": 64},
    3: {"core": [64, 128, 128], "halo": 16},
}
"""By the number of axes, for bundles that say nothing of tiles."""


@dataclass(frozen=True)
class Wanted:
    """What somebody asked for.

    Parameters
    ----------
    device, precision, may_compile
        As :func:`~napari_medlab.models.inference.self_test.choose_backend` takes them.
    """

    device: str = "auto"
    precision: str = "auto"
    may_compile: bool = False


@dataclass(frozen=True)
class Placed(Generic[T]):
    """A network ready to look: once for each device, and what was chosen."""

    looks: tuple[NetworkLook[T], ...]
    choice: Choice


def place(
    bundle: Bundle, network: nn.Module, readout: Readout[T], size: TileSize, wanted: Wanted
) -> Placed[T]:
    """Return a network of a bundle on its devices; what is fastest is found out once in a process.

    Raises
    ------
    InputRefusedError
        ``device`` or ``precision`` where what was asked for is not to be had here.
    """
    import torch

    key = (
        bundle.hash,
        type(readout).__name__,
        *map(str, (wanted.device, wanted.precision, wanted.may_compile)),
    )
    choice = remembered(
        key,
        lambda: choose_backend(
            network,
            readout,
            size,
            device=wanted.device,
            precision=wanted.precision,
            may_compile=wanted.may_compile,
        ),
    )
    example = torch.from_numpy(size.example(max(size.largest)))
    looks = [build_look(network, readout, device, choice.backend, example) for device in choice.devices]
    return Placed(tuple(looks), choice)


def with_test_time(bundle: Bundle) -> nn.Module:
    """Return a bundle's network, which averages over the symmetries that the bundle's ``test_time`` names."""
    exclusive = bundle.postprocessing.get("probabilities", "sigmoid") == "softmax"
    return averaged(load_network(bundle), bundle.postprocessing.get("test_time"), exclusive=exclusive)


def averaged(network: nn.Module, names: Sequence[str] | None, *, exclusive: bool = False) -> nn.Module:
    """Return a network that averages over the symmetries of some names; the network itself where there are none.

    Parameters
    ----------
    network : nn.Module
        In evaluation mode.
    names, exclusive
        As :func:`~napari_medlab.models.ensembling.test_time.symmetries` and
        :class:`~napari_medlab.models.ensembling.test_time.TestTime` take them.
    """
    if not names:
        return network
    return TestTime(network, symmetries(names, spatial_dims(network)), exclusive=exclusive).eval()


def tiling_of(bundle: Bundle, network: nn.Module) -> TilingRule:
    """Return how an image is cut for a bundle's network; for one that does not say, as version 1 did."""
    given = {**DEFAULT_TILING[spatial_dims(network)], **bundle.tiling}
    return TilingRule.from_json(given, multiple=int(getattr(network, "multiple", 1)))


def plan_for(bundle: Bundle, prepared: Prepared, rule: TilingRule, focus: Focus | None) -> Plan:
    """Return the tiles of an image for a bundle's network.

    Parameters
    ----------
    bundle : Bundle
        One of schema 1 gets the tiles on which its figures were measured: those at the image's borders are smaller.
    prepared : Prepared
    rule : TilingRule
    focus : sequence of float, optional
        A point in the world, (x, y[, z]): what is near it comes first.
    """
    index = None if focus is None else prepared.grid.to_index(focus)
    if bundle.spec.get("schema", 1) > 1:
        return plan_of(prepared, rule, None if index is None else index.tolist())
    tiles = [
        replace(tile, read_stop=_whole(tile.read_start, tile.read_stop, rule.multiple))
        for tile in plan_tiles(prepared.shape, rule.core, max(rule.halos), rule.multiple)
    ]
    if index is not None:
        middles = {tile: np.add(tile.core_start, tile.core_stop) / 2 for tile in tiles}
        tiles.sort(key=lambda tile: float(np.linalg.norm(middles[tile] - index)))
    return Plan(prepared.shape, rule, tuple(tiles))


def _whole(start: Sequence[int], stop: Sequence[int], multiple: int) -> tuple[int, ...]:
    """Return where a tile stops whose sides are divisible by the multiple."""
    return tuple(b + -(b - a) % multiple for a, b in zip(start, stop, strict=True))


def tile_size(bundle: Bundle, network: nn.Module, rule: TilingRule) -> TileSize:
    """Return what the tiles of a bundle's network look like."""
    largest = tuple(core + 2 * halo for core, halo in zip(rule.core, rule.halos, strict=True))
    return TileSize(in_channels(bundle.spec["network"]), rule.multiple, largest)


def in_channels(part: dict[str, Any]) -> int:
    """Return how many channels a network takes, by what a bundle says of it: ``name`` and ``arguments``."""
    arguments = part["arguments"]
    if "members" in arguments:
        return in_channels(arguments["members"][0])
    if "in_channels" in arguments:
        return int(arguments["in_channels"])
    module, attribute = NETWORKS[part["name"]]
    parameter = signature(getattr(import_module(module), attribute)).parameters.get("in_channels")
    return 1 if parameter is None else int(parameter.default)


def spatial_dims(network: nn.Module) -> int:
    """Return 2 or 3: the rank of a network's kernels."""
    return next(weight.ndim for weight in network.parameters() if weight.ndim > 3) - 2
