"""What the engine asks of a network: it looks at a batch of tiles and gives one result for each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Look", "Pending"]

T = TypeVar("T")


class Pending(Protocol, Generic[T]):
    """A batch that a device is busy with."""

    def result(self) -> list[T]:
        """Wait for the device, and return one result for each tile of the batch."""
        ...


class Look(Protocol, Generic[T]):
    """A network on one device, with what turns its outputs into results: it knows nothing of where a tile lies.

    Running short of memory, :meth:`submit` or :meth:`Pending.result` raises MemoryError or one of torch's errors for it.
    """

    @property
    def device(self) -> str:
        """Such as ``"cpu"`` or ``"cuda:0"``."""
        ...

    def submit(self, batch: NDArray[np.float32]) -> Pending[T]:
        """Begin to look at tiles, (batch, channel, …); a device that works by itself is not waited for."""
        ...

    def on_cpu(self) -> Look[T] | None:
        """Return the same on the CPU, in float32; None where it is that already."""
        ...
