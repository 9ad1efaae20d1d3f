"""The scheduler and the workers of a cluster, as this package starts them: over TLS alone, without dashboards."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from napari_medlab.errors import MedlabError
from napari_medlab.jobs.cluster.certificates import checked_certificates
from napari_medlab.jobs.cluster.connecting import checked_member, knock, quieten, require_distributed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["MODULE", "serve_scheduler", "serve_worker"]

MODULE = "napari_medlab.jobs.cluster.serving"
NO_PAGES = "127.0.0.1:0"
"""distributed always serves web pages somewhere: here without any, and to this machine alone."""
CLOSE_SECONDS = 30


def serve_scheduler(host: str, port: int, certificates: Path | None, on_ready: Callable[[str], None]) -> str:
    """Be the scheduler of a cluster until the process is told to end, and return where it was.

    Parameters
    ----------
    host : str
        The one address to listen at.
    port : int
        0 for any that is free.
    certificates : Path or None
    on_ready : callable
        Told the address when workers and clients may come.

    Raises
    ------
    InputRefusedError
        Where the certificates are not to be used.
    OSError
        Where the port is taken.
    """
    member = checked_certificates(certificates)
    distributed = require_distributed()
    quieten()

    async def serve() -> str:
        with _stopping() as stopped:
            async with distributed.Scheduler(
                host=host,
                port=port,
                protocol="tls",
                security=member.security(),
                dashboard=False,
                dashboard_address=NO_PAGES,
            ) as scheduler:
                on_ready(scheduler.address)
                await stopped.wait()
                return str(scheduler.address)

    with _without_pages():
        return asyncio.run(serve())


def serve_worker(address: str, certificates: Path | None, host: str | None = None) -> None:
    """Be one worker until the process is told to end, its standard input closes or the scheduler is gone.

    Parameters
    ----------
    address : str
        Of the scheduler.
    certificates : Path or None
    host : str, optional
        The one address to listen at, for the scheduler; the one by which the scheduler is reached where left out.
    """
    where, member = checked_member(address, certificates, host)
    distributed = require_distributed()
    leads_there = knock(where, member)
    quieten()

    async def serve() -> None:
        with _stopping(follow_input=True) as stopped:
            worker = distributed.Worker(
                str(where), nthreads=1, host=host or leads_there, memory_limit=0,
                dashboard=False, dashboard_address=NO_PAGES, death_timeout=CLOSE_SECONDS,
                **({} if member is None else {"security": member.security(), "protocol": "tls"}),
            )  # fmt: skip
            async with worker:
                gone = asyncio.ensure_future(worker.finished())
                asked = asyncio.ensure_future(stopped.wait())
                await asyncio.wait({gone, asked}, return_when=asyncio.FIRST_COMPLETED)
                await worker.close(timeout=CLOSE_SECONDS)
                asked.cancel()
                await gone

    with _without_pages():
        asyncio.run(serve())


@contextmanager
def _without_pages() -> Iterator[None]:
    import dask

    with dask.config.set({
        "distributed.scheduler.http.routes": [], "distributed.worker.http.routes": [],
        "distributed.worker.profile.enabled": False,
    }):  # fmt: skip
        yield


@contextmanager
def _stopping(*, follow_input: bool = False) -> Iterator[asyncio.Event]:
    """Give what is set when the process is told to end; in the running loop."""
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    told = (signal.SIGINT, signal.SIGTERM)
    with suppress(NotImplementedError):  # Windows' loop takes no signals: Ctrl+C comes as KeyboardInterrupt
        for one in told:
            loop.add_signal_handler(one, stopped.set)
    if follow_input:
        _when_input_ends(lambda: loop.call_soon_threadsafe(stopped.set))
    yield stopped
    with suppress(NotImplementedError):
        for one in told:
            loop.remove_signal_handler(one)


def _when_input_ends(tell: Callable[[], Any]) -> None:
    """Call when whoever started this process has closed its standard input, or is gone."""
    import threading

    def follow() -> None:
        while os.read(0, 1024):
            pass
        with suppress(RuntimeError):  # the loop has ended already
            tell()

    threading.Thread(target=follow, name="standard input", daemon=True).start()


def _main() -> None:
    from pathlib import Path

    address, certificates, host = sys.argv[1:]
    try:
        serve_worker(address, Path(certificates) if certificates else None, host or None)
    except MedlabError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    _main()
