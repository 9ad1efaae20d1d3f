"""OpenVINO, where it is installed: often three times as fast as torch on a processor, at the same precision."""

from __future__ import annotations

import warnings
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from napari_medlab.models.inference.outputs import flattened, refilled

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["has_openvino", "openvino_forward"]


def has_openvino() -> bool:
    """Tell whether OpenVINO is installed."""
    return find_spec("openvino") is not None


def openvino_forward(network: nn.Module, example: torch.Tensor) -> Callable[[torch.Tensor], Any]:
    """Return what computes a network by OpenVINO on the CPU, on tiles of any size that the network takes.

    Parameters
    ----------
    network : nn.Module
        On the CPU, in eval mode; what it does must not depend on what it sees, as it is traced.
    example : float32 tensor (batch, channel, …)
    """
    openvino = import_module("openvino")  # an extra, asked for by way of has_openvino
    with torch.no_grad(), warnings.catch_warnings():
        # OpenVINO traces by torch.jit, which torch calls deprecated; until it goes by torch.export.
        # What torch says of tracing is a UserWarning.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", UserWarning)
        template = network(example)
        model = openvino.convert_model(_Flat(network), example_input=example)
    # without the hint, processors that have bfloat16 would compute with it
    settings = {"INFERENCE_NUM_THREADS": torch.get_num_threads(), "INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.compile_model(model, "CPU", settings)
    count = len(flattened(template))

    def forward(image: torch.Tensor) -> Any:  # noqa: ANN401 - whatever the network returns
        answers = compiled(image.numpy())
        return refilled(template, [torch.from_numpy(answers[number]) for number in range(count)])

    return forward


class _Flat(nn.Module):
    """A network whose outputs are a tuple of tensors, as tracing wants them."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(flattened(self.network(image)))
