"""Reaching a scheduler, or saying why not."""

from __future__ import annotations

import logging
import socket
import ssl
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

from napari_medlab.errors import InputRefusedError, MedlabError, MissingExtraError
from napari_medlab.jobs.cluster.addresses import Address, is_loopback, parse_address
from napari_medlab.jobs.cluster.certificates import EXTRA, Certificates, checked_certificates
from napari_medlab.jobs.cluster.spread import Cluster

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["WORKER_SECONDS", "checked_member", "connect", "knock", "quieten", "require_distributed"]

CONNECT_SECONDS = 10.0
WORKER_SECONDS = 60.0
"""So long a cluster may be without any worker: they start, or start again, in a few seconds."""


@contextmanager
def connect(
    address: str, *, certificates: Path | None = None, worker_seconds: float = WORKER_SECONDS
) -> Iterator[Cluster]:
    """Connect to a cluster; what it was asked for and is not done with when the block ends is stopped.

    Parameters
    ----------
    address : str
        Of the scheduler: ``tls://HOST:PORT``, or ``tcp://`` on this machine alone.
    certificates : Path, optional
        The folder of ``ca.pem``, ``cert.pem`` and ``key.pem``, of no use for ``tcp://``.
    worker_seconds : float
        For how long the cluster may be without a worker before :class:`~napari_medlab.errors.MedlabError` is raised.

    Raises
    ------
    InputRefusedError
        Where the address or the certificates are not to be used, or the cluster has other ones.
    MedlabError
        ``no-scheduler`` where nobody answers within 10 seconds.
    MissingExtraError
        Where dask.distributed is not installed.
    """
    where, member = checked_member(address, certificates)
    distributed = require_distributed()
    knock(where, member)
    quieten()
    try:
        client = distributed.Client(
            str(where), timeout=CONNECT_SECONDS, set_as_default=False, name="napari-medlab",
            **({} if member is None else {"security": member.security()}),
        )  # fmt: skip
    except (OSError, TimeoutError) as error:
        raise _nobody(where, error) from error
    import dask

    # what is known of many cases takes megabytes, which distributed would warn of
    calm = dask.config.set({"distributed.admin.large-graph-warning-threshold": "10GiB"})
    try:
        with calm, Cluster(client, str(where), worker_seconds=worker_seconds) as cluster:
            yield cluster
    finally:
        client.close(timeout=CONNECT_SECONDS)


def checked_member(
    address: str, certificates: Path | None, host: str | None = None
) -> tuple[Address, Certificates | None]:
    """Return a scheduler's address and the certificates for it, None where it is not encrypted; see :func:`connect`.

    A worker that is to listen at ``host`` without encryption is refused, but on the loopback.
    """
    where = parse_address(address)
    if where.scheme == "tls":
        return where, checked_certificates(certificates)
    if host and not is_loopback(host):
        raise InputRefusedError(
            f"A worker of {address} is not encrypted, and {host} can be reached from elsewhere.", code="not-encrypted",
            hint="Leave --host out, or take a tls:// scheduler with --certificates DIR.",
        )  # fmt: skip
    return where, None


def require_distributed() -> Any:  # noqa: ANN401 - a module whose functions say little of their types
    """Return dask.distributed; raise :class:`~napari_medlab.errors.MissingExtraError` where it is not installed."""
    try:
        return import_module("distributed")
    except ImportError as error:
        raise MissingExtraError(
            "A cluster needs dask.distributed.", code="missing-extra", hint=EXTRA
        ) from error


def knock(where: Address, member: Certificates | None) -> str:
    """Try whether a scheduler takes us, and return the address of this machine that leads to it.

    It is done with plain sockets, as distributed itself says only that time has run out.

    Raises
    ------
    InputRefusedError
        ``certificates`` where either side does not know the other's.
    MedlabError
        ``no-scheduler`` where nobody answers.
    """
    try:
        with socket.create_connection((where.host, where.port), CONNECT_SECONDS) as plain:
            host = str(plain.getsockname()[0])
            if member is None:
                return host
            with member.context().wrap_socket(plain, server_hostname=where.host) as stream:
                # in TLS 1.3 it is only now that we would hear of a refusal; a scheduler speaks first
                if not stream.recv(1):
                    raise ConnectionResetError("it closed the connection")
                return host
    except ssl.SSLError as error:
        raise InputRefusedError(
            f"{where} and these certificates do not go together: {error.reason or error}.", code="certificates",
            hint="Scheduler, workers and clients need certificates of the same authority that have not expired, and the "
            "scheduler must have been started with them.",
        ) from error  # fmt: skip
    except OSError as error:
        raise _nobody(where, error) from error


def quieten() -> None:
    """Keep what distributed tells about itself from standard error; errors come as exceptions."""
    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] in ("distributed", "tornado"):
            logger = logging.getLogger(name)
            logger.handlers = [logging.NullHandler()]
            logger.propagate = False


def _nobody(where: Address, error: Exception) -> MedlabError:
    said = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return MedlabError(
        f"No scheduler answers at {where}: {said}.", code="no-scheduler",
        hint="Start one with napari-medlab cluster scheduler, and check host, port and firewall.",
    )  # fmt: skip
