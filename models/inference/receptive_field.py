"""How far a network looks: the halo with which tiles give what the whole image would."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["receptive_radius"]

LONGEST = 2048
"""A network that looks further than a quarter of this has no radius worth the name."""


def receptive_radius(
    network: nn.Module, dims: int, multiple: int, channels: int = 1
) -> tuple[int, ...] | None:
    """Return how far beyond a cell of the network's lattice an input can change outputs in it; None where all of it can.

    That is the least halo that is exact, as tiles and their cores begin and end between two cells. Measured by gradients
    through a copy of the network whose weights are made positive, so that no path cancels another and no unit is silent.

    Parameters
    ----------
    network : nn.Module
        Gives one array, or a sequence or dict of arrays, of spatial shapes that divide the input's.
    dims : int
        Spatial axes, 2 or 3.
    multiple : int
        The input's sides must be divisible by it; the side of a cell.
    channels : int
        Of the input.

    Returns
    -------
    tuple of int or None
        Voxels, one number for each axis.
    """
    positive = _made_positive(network)
    radii = [_radius_along(positive, axis, dims, multiple, channels) for axis in range(dims)]
    known = [radius for radius in radii if radius is not None]
    return tuple(known) if len(known) == dims else None


def _radius_along(network: nn.Module, axis: int, dims: int, multiple: int, channels: int) -> int | None:
    length = 8 * multiple
    while length <= LONGEST:
        radius = _measured(network, axis, dims, multiple, channels, length)
        # a radius that ends before the border is the true one
        if radius < length // 2 - multiple:
            return radius
        length *= 2
    return None


def _measured(network: nn.Module, axis: int, dims: int, multiple: int, channels: int, length: int) -> int:
    """Return the radius on a strip that is long along one axis and as thin as can be along the others."""
    import torch

    sides = [2 * multiple] * dims
    sides[axis] = length
    generator = torch.Generator().manual_seed(1)
    image = (torch.rand(1, channels, *sides, dtype=torch.float64, generator=generator) + 0.5).requires_grad_()
    first = length // 2 // multiple * multiple
    radius = 0
    for maps in _arrays(network(image)):
        stride = length // maps.shape[2 + axis]
        cell = maps.narrow(2 + axis, first // stride, max(1, multiple // stride))
        (gradient,) = torch.autograd.grad(cell.sum(), image, retain_graph=True)
        others = [number for number in range(2 + dims) if number != 2 + axis]
        places = torch.nonzero(gradient.abs().sum(others)).flatten()
        if len(places):
            radius = max(radius, first - int(places[0]), int(places[-1]) - (first + multiple - 1))
    return radius


def _made_positive(network: nn.Module) -> nn.Module:
    """Return a copy in float64 whose kernels are means, so that values neither cancel, vanish nor explode."""
    import torch

    copied: nn.Module = deepcopy(network).double().eval()
    with torch.no_grad():
        for parameter in copied.parameters():
            is_kernel = parameter.ndim > 1
            parameter.fill_(1 / max(1, parameter[0].numel()) if is_kernel else 1.0)
        for name, buffer in copied.named_buffers():
            if buffer.is_floating_point():
                buffer.fill_(1.0 if name.endswith("running_var") else 0.0)
    return copied


def _arrays(outputs: Any) -> list[torch.Tensor]:  # noqa: ANN401 - whatever a network returns
    import torch

    if isinstance(outputs, torch.Tensor):
        return [outputs] if outputs.is_floating_point() and outputs.ndim > 2 else []
    values = outputs.values() if isinstance(outputs, dict) else outputs
    return [array for value in values for array in _arrays(value)]
