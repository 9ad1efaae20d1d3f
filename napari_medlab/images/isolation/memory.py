"""How much a process that reads foreign files may take."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

__all__ = ["limit_memory"]

HEADROOM_BYTES = 1 << 30
"""Of addresses, for libraries that are imported later and the stacks of threads; what is used the parent watches."""


def limit_memory(extra_bytes: int) -> None:
    """Let this process take no more address space than it has now and ``extra_bytes``, where the system can."""
    try:
        import resource
    except ImportError:  # Windows: the other process watches
        return
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        limit = used + extra_bytes + HEADROOM_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
