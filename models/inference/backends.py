"""Ways to compute a network: precision, memory format, compiler, device; each becomes a :class:`Look`."""

from __future__ import annotations

import copy
import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeVar

import torch

from napari_medlab.errors import InputRefusedError
from napari_medlab.models.inference.outputs import flattened, mapped

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

    from napari_medlab.models.inference.looking import Look

    Forward = Callable[[torch.Tensor], Any]

__all__ = [
    "PRECISIONS",
    "Backend",
    "NetworkLook",
    "OnePending",
    "Precision",
    "Readout",
    "build_look",
    "check_precision",
]

Precision = Literal["float32", "bfloat16", "float16", "openvino"]
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16", "float16", "openvino")

T = TypeVar("T")


@dataclass(frozen=True)
class Backend:
    """One way to compute a network.

    Parameters
    ----------
    precision : {"float32", "bfloat16", "float16", "openvino"}
        What convolutions and matrix products are computed in; the weights stay as they are. OpenVINO decides for itself.
    channels_last : bool
        Whether the channels of a voxel lie side by side in memory.
    compiled : bool
        Whether ``torch.compile`` prepares the network, which takes a while.
    """

    precision: Precision = "float32"
    channels_last: bool = False
    compiled: bool = False

    @property
    def title(self) -> str:
        """Such as ``"bfloat16, channels last"``."""
        return ", ".join(
            [self.precision, *["channels last"] * self.channels_last, *["compiled"] * self.compiled]
        )

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


class Readout(Protocol[T]):
    """What becomes of a network's outputs."""

    def on_device(self, outputs: Any) -> Any:  # noqa: ANN401 - whatever the network returns
        """Return what is to be fetched from the device, in float32; runs there, straight after the network."""
        ...

    def results(self, fetched: Any, image_shape: Sequence[int]) -> list[T]:  # noqa: ANN401 - as above
        """Return one result for each tile; ``fetched`` lies on the CPU, ``image_shape`` is spatial."""
        ...

    def difference(self, fetched: Any, other: Any, image_shape: Sequence[int]) -> float:  # noqa: ANN401 - as above
        """Return the largest difference of probabilities between two that were fetched of the same tiles."""
        ...


class OnePending(Generic[T]):
    """A batch that a device is busy with, or done."""

    def __init__(self, fetch: Callable[[], Any], readout: Readout[T], image_shape: Sequence[int]) -> None:
        self._fetch = fetch
        self._readout = readout
        self._image_shape = image_shape

    def fetched(self) -> Any:  # noqa: ANN401 - whatever the network returns
        """Wait for the device and return its answer, on the CPU."""
        return self._fetch()

    def result(self) -> list[T]:
        """Wait for the device, and return one result for each tile of the batch."""
        with torch.inference_mode():
            return self._readout.results(self.fetched(), self._image_shape)


class NetworkLook(Generic[T]):
    """A network on the CPU or on Apple's GPU; fulfils :class:`napari_medlab.models.inference.looking.Look`.

    Parameters
    ----------
    network : nn.Module
        On the CPU, in float32; left as it is.
    readout : Readout
    device : str
    forward : callable
        Computes the network on a batch that is on the device.
    """

    def __init__(self, network: nn.Module, readout: Readout[T], device: str, forward: Forward) -> None:
        self._network = network
        self._readout = readout
        self._device = device
        self._forward = forward

    @property
    def device(self) -> str:
        """Such as ``"cpu"`` or ``"cuda:0"``."""
        return self._device

    def submit(self, batch: NDArray[np.float32]) -> OnePending[T]:
        """Look at tiles, (batch, channel, …); on Apple's GPU, begin to."""
        image = torch.from_numpy(batch)
        with torch.inference_mode():
            outputs = self._readout.on_device(self._forward(image.to(self._device)))
        return OnePending(lambda: mapped(outputs, torch.Tensor.cpu), self._readout, batch.shape[2:])

    def on_cpu(self) -> Look[T] | None:
        """Return the same on the CPU, in float32; None where it is on the CPU already."""
        if self._device == "cpu":
            return None
        return NetworkLook(
            self._network, self._readout, "cpu", _torch_forward(self._network, "cpu", Backend())
        )


class CudaLook(NetworkLook[T]):
    """A network on a CUDA device: batches go there, are computed and come back side by side, on three streams.

    The host's memory is pinned, so that it is copied while the device computes and Python goes on.
    """

    def __init__(self, network: nn.Module, readout: Readout[T], device: str, forward: Forward) -> None:
        super().__init__(network, readout, device, forward)
        self._there, self._compute, self._back = (torch.cuda.Stream(device) for _ in range(3))
        torch.cuda.synchronize(device)  # the weights were copied on the default stream

    def submit(self, batch: NDArray[np.float32]) -> OnePending[T]:
        """Begin to look at tiles, (batch, channel, …); nothing is waited for."""
        pinned = torch.from_numpy(batch).pin_memory()
        with torch.inference_mode():
            with torch.cuda.stream(self._there):
                image = pinned.to(self._device, non_blocking=True)
            self._compute.wait_stream(self._there)
            with torch.cuda.stream(self._compute):
                image.record_stream(self._compute)
                outputs = self._readout.on_device(self._forward(image))
            self._back.wait_stream(self._compute)
            with torch.cuda.stream(self._back):
                host = mapped(outputs, self._fetch_later)
                done = torch.cuda.Event()
                done.record(self._back)

        def fetch() -> Any:  # noqa: ANN401 - whatever the network returns
            done.synchronize()
            return host

        return OnePending(fetch, self._readout, batch.shape[2:])

    def _fetch_later(self, tensor: torch.Tensor) -> torch.Tensor:
        tensor.record_stream(self._back)
        host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        return host.copy_(tensor, non_blocking=True)


def build_look(
    network: nn.Module,
    readout: Readout[T],
    device: str,
    backend: Backend,
    example: torch.Tensor | None = None,
) -> NetworkLook[T]:
    """Return a network ready to look at tiles.

    Parameters
    ----------
    network : nn.Module
        On the CPU, in float32, in eval mode.
    readout : Readout
    device : str
    backend : Backend
    example : float32 tensor (batch, channel, …)
        A tile of a size that the network takes; OpenVINO needs one.

    Raises
    ------
    InputRefusedError
        ``precision`` where the device does not compute so, or OpenVINO is not installed.
    """
    check_precision(device, backend.precision)
    if backend.precision == "openvino":
        from napari_medlab.models.inference.openvino_backend import openvino_forward

        if example is None:
            msg = "OpenVINO needs an example of a tile."
            raise ValueError(msg)
        return NetworkLook(network, readout, device, openvino_forward(network, example))
    kind = CudaLook if device.startswith("cuda") else NetworkLook
    return kind(network, readout, device, _torch_forward(network, device, backend))


def check_precision(device: str, precision: str) -> None:
    """Raise :class:`InputRefusedError` with code ``precision`` where a device does not compute in a precision."""
    from napari_medlab.models.inference.openvino_backend import has_openvino

    reasons = [
        (
            precision not in PRECISIONS,
            f"{precision!r:.40} is no precision; there are {', '.join(PRECISIONS)}",
        ),
        (precision == "float16" and device == "cpu", "float16 is for GPUs, as processors are slow at it"),
        (precision == "openvino" and device != "cpu", f"OpenVINO runs on the CPU here, not on {device}"),
        (precision == "openvino" and not has_openvino(), "OpenVINO is not installed"),
        (
            precision == "bfloat16" and device.startswith("cuda") and not torch.cuda.is_bf16_supported(),
            f"{device} does not compute in bfloat16",
        ),
    ]
    reason = next((said for holds, said in reasons if holds), None)
    if reason is not None:
        raise InputRefusedError(
            f"The model cannot run as asked: {reason}.",
            code="precision",
            hint="Use 'auto' to have the fastest precision chosen that is right, or 'float32'.",
        )


def _torch_forward(network: nn.Module, device: str, backend: Backend) -> Forward:
    """Return what computes a network on a device; the network itself stays where it is."""
    placed: nn.Module = network
    if device != "cpu" or backend.channels_last:
        placed = copy.deepcopy(network).to(device)
    if backend.channels_last:
        for weight in placed.parameters():
            weight.data = _channels_last(weight.data)
    computed: Callable[[torch.Tensor], Any] = torch.compile(placed) if backend.compiled else placed
    kind = torch.device(device).type
    dtype: torch.dtype = (
        torch.float32 if backend.precision == "float32" else getattr(torch, backend.precision)
    )

    def forward(image: torch.Tensor) -> Any:  # noqa: ANN401 - whatever the network returns
        arranged = _channels_last(image) if backend.channels_last else image
        if dtype is torch.float32:
            return computed(arranged)
        with torch.autocast(kind, dtype=dtype):
            return computed(arranged)

    return forward


def _channels_last(tensor: torch.Tensor) -> torch.Tensor:
    """Return an image or a kernel with the channels of a voxel side by side; other tensors as they are."""
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    return tensor.contiguous(memory_format=formats[tensor.ndim]) if tensor.ndim in formats else tensor


def in_float32(outputs: Any) -> Any:  # noqa: ANN401 - any nesting
    """Return outputs with every floating-point tensor in float32."""
    return mapped(outputs, lambda tensor: tensor.float() if tensor.is_floating_point() else tensor)


def largest_difference(outputs: Any, other: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> float:  # noqa: ANN401 - any nesting
    """Return the largest difference between the floating-point tensors of two outputs, changed first.

    Infinity where they differ in number or shape, or hold what is not finite.
    """
    mine, theirs = flattened(outputs), flattened(other)
    if [tensor.shape for tensor in mine] != [tensor.shape for tensor in theirs]:
        return float("inf")
    largest = 0.0
    for one, two in zip(mine, theirs, strict=True):
        if one.is_floating_point() and one.numel():
            difference = float((change(one) - change(two)).abs().max())
            largest = max(largest, float("inf") if math.isnan(difference) else difference)
    return largest
