"""Convolutions that choose where to look, in 2D and 3D, out of ``grid_sample`` alone.

Dai et al., "Deformable Convolutional Networks", 2017; with modulation: Zhu et al., "Deformable ConvNets v2", 2019.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, cast

import torch
from torch import nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["DeformableConvolution", "replace_convolutions"]


class DeformableConvolution(nn.Module):
    """A convolution whose kernel points are moved, and weighted, by what a second convolution sees.

    It starts out as the very convolution that it is made of: offsets are 0 and weights 1.

    Parameters
    ----------
    convolution : nn.Conv2d or nn.Conv3d
        Gives size, stride, padding, dilation, groups, weight and bias. Its weight and bias are taken over, not copied.
    modulated : bool
        Whether each point is weighted as well (version 2), by 2 · sigmoid: 0 … 2, where the paper has 0 … 1.
    offset_groups : int
        Into how many groups the input channels are divided, each with offsets of its own.

    Notes
    -----
    ``offsets`` is the convolution that gives the offsets, in cells, as channels (group, kernel point, axis), kernel points
    and axes in array order; after them, where ``modulated``, the logits of the weights as (group, kernel point).
    """

    def __init__(
        self, convolution: nn.Conv2d | nn.Conv3d, modulated: bool = True, offset_groups: int = 1
    ) -> None:
        super().__init__()
        _refuse_unfit(convolution, offset_groups)
        self.dims = len(convolution.kernel_size)
        self.kernel_size = tuple(convolution.kernel_size)
        self.stride = tuple(convolution.stride)
        self.padding = tuple(int(width) for width in convolution.padding)
        self.dilation = tuple(convolution.dilation)
        self.groups = convolution.groups
        self.offset_groups = offset_groups
        self.modulated = modulated
        self.weight = convolution.weight
        self.bias = convolution.bias
        said = offset_groups * math.prod(self.kernel_size) * (self.dims + modulated)
        self.offsets = _convolution_like(convolution, said)
        nn.init.zeros_(self.offsets.weight)
        nn.init.zeros_(cast("torch.Tensor", self.offsets.bias))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return the map of a map (batch, channel, …), of the shape that the plain convolution would give."""
        said = self.offsets(features)
        outputs, points = said.shape[2:], self.offset_groups * math.prod(self.kernel_size)
        offsets = said[:, : points * self.dims].unflatten(1, (self.offset_groups, -1, self.dims))
        columns = self._columns(features, offsets)
        if self.modulated:
            weights = 2 * said[:, points * self.dims :].sigmoid()
            columns = columns * weights.unflatten(1, (self.offset_groups, 1, -1)).to(columns.dtype)
        result: torch.Tensor = self._contract(columns.to(features.dtype)).unflatten(2, outputs)
        return result

    def _columns(self, features: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
        """Return what the kernel points see: (batch, offset group, channel of the group, kernel point, …output cells).

        ``offsets`` is (batch, offset group, kernel point, axis, …output cells). Outside of the map is 0.
        """
        exact = torch.promote_types(features.dtype, torch.float32)
        batch, groups, points = offsets.shape[:3]
        cells, outputs = features.shape[2:], offsets.shape[4:]
        places = offsets.flatten(0, 1).to(exact) + self._regular_points(outputs, offsets.device)
        grid = [(2 * places[:, :, axis] + 1) / count - 1 for axis, count in enumerate(cells)]
        stacked = torch.stack(grid[::-1], dim=-1).flatten(1, 2)  # grid_sample wants the last axis first
        folded = features.reshape(batch * groups, -1, *cells).to(exact)
        values = F.grid_sample(folded, stacked, padding_mode="zeros", align_corners=False)
        return values.reshape(batch, groups, -1, points, *outputs)

    def _regular_points(self, outputs: Sequence[int], device: torch.device) -> torch.Tensor:
        """Return where the plain convolution looks, in cells of its input: (kernel point, axis, …output cells)."""
        axes = zip(outputs, self.kernel_size, self.stride, self.padding, self.dilation, strict=True)
        along = [
            torch.arange(size, device=device)[:, None] * dilation
            + torch.arange(count, device=device) * stride
            - padding
            for count, size, stride, padding, dilation in axes
        ]
        places = []
        for axis, of_axis in enumerate(along):
            shape = [1] * (2 * self.dims)
            shape[axis], shape[self.dims + axis] = of_axis.shape
            places.append(of_axis.view(shape).expand(*self.kernel_size, *outputs))
        return torch.stack(places, dim=self.dims).flatten(0, self.dims - 1)

    def _contract(self, columns: torch.Tensor) -> torch.Tensor:
        """Multiply with the kernels, group by group of the convolution: (batch, channel, output cells in a row)."""
        weight = self.weight.to(columns.dtype).reshape(self.groups, len(self.weight) // self.groups, -1)
        grouped = columns.reshape(len(columns), self.groups, weight.shape[2], -1)
        result = (weight @ grouped).flatten(1, 2)
        return result if self.bias is None else result + self.bias.to(columns.dtype)[:, None]


def replace_convolutions(
    module: nn.Module, stages: Sequence[str], modulated: bool = True, offset_groups: int = 1
) -> list[str]:
    """Turn the convolutions of size 3 within chosen parts of a network into deformable ones, keeping what they learnt.

    Parameters
    ----------
    module : nn.Module
        Changed in place. Its results stay the same until it is trained on.
    stages : names of submodules, such as ``["stages.2", "stages.3"]``
    modulated, offset_groups : see :class:`DeformableConvolution`

    Returns
    -------
    list of str
        The names of what was replaced. Keys of the state stay, and those of ``offsets`` come in.

    Raises
    ------
    ValueError
        Where a stage holds no such convolution, or is no part of the module.
    """
    replaced = []
    for stage in stages:
        try:
            part = module.get_submodule(stage)
        except AttributeError as error:
            raise ValueError(f"the network has no part called {stage!r} to be made deformable") from error
        names = _replaceable(part)
        if not names:
            raise ValueError(f"{stage!r} holds no convolution of size 3 to be made deformable")
        for name in names:
            path = f"{stage}.{name}" if name else stage
            plain = cast("nn.Conv2d | nn.Conv3d", module.get_submodule(path))
            module.set_submodule(path, DeformableConvolution(plain, modulated, offset_groups))
            replaced.append(path)
    return replaced


def _replaceable(part: nn.Module) -> list[str]:
    """Return the names of the plain convolutions of size 3 in a module, ``""`` for the module itself."""
    if isinstance(part, DeformableConvolution):
        return []
    if isinstance(part, nn.Conv2d | nn.Conv3d):
        return [""] if set(part.kernel_size) == {3} and part.padding_mode == "zeros" else []
    return [
        f"{name}.{rest}".rstrip(".") for name, child in part.named_children() for rest in _replaceable(child)
    ]


def _convolution_like(plain: nn.Conv2d | nn.Conv3d, outputs: int) -> nn.Conv2d | nn.Conv3d:
    kind: Callable[..., nn.Conv2d | nn.Conv3d] = type(plain)
    return kind(
        plain.in_channels, outputs, plain.kernel_size, plain.stride, plain.padding, plain.dilation,
        device=plain.weight.device, dtype=plain.weight.dtype,
    )  # fmt: skip


def _refuse_unfit(convolution: nn.Conv2d | nn.Conv3d, offset_groups: int) -> None:
    if convolution.in_channels % offset_groups:
        raise ValueError(
            f"{convolution.in_channels} channels do not divide into {offset_groups} groups of offsets"
        )
    if isinstance(convolution.padding, str) or convolution.padding_mode != "zeros":
        raise ValueError("only convolutions padded with zeros by a number of cells can be made deformable")
