"""Where a scheduler is, and which addresses are not connected to."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from napari_medlab.errors import InputRefusedError

__all__ = ["DEFAULT_PORT", "Address", "is_loopback", "parse_address"]

DEFAULT_PORT = 8786


@dataclass(frozen=True)
class Address:
    """A scheduler's protocol, host and port."""

    scheme: Literal["tls", "tcp"]
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.scheme}://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """Return the address of a scheduler.

    Parameters
    ----------
    text : str
        ``tls://HOST:PORT``, or ``tcp://HOST:PORT`` of this very machine; the port may be left out for 8786.

    Raises
    ------
    InputRefusedError
        ``address`` for what is no such address, ``not-encrypted`` for ``tcp://`` to another machine: whoever listens would
        read the images' names and results, and could run code on the workers.
    """
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise _refused(text) from None
    if not host or parts.path.strip("/") or parts.query or parts.fragment or parts.username is not None:
        raise _refused(text)
    if parts.scheme == "tls":
        return Address("tls", host, DEFAULT_PORT if port is None else port)
    if parts.scheme != "tcp":
        raise _refused(text)
    if not is_loopback(host):
        raise InputRefusedError(
            f"{text} is not encrypted, and {host} is not this machine.",
            code="not-encrypted",
            hint=f"Start scheduler and workers with certificates, and use tls://{host}:{port or DEFAULT_PORT}.",
        )
    return Address("tcp", host, DEFAULT_PORT if port is None else port)


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine, seen by itself alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _refused(text: str) -> InputRefusedError:
    return InputRefusedError(
        f"{text!r:.200} is not the address of a scheduler.",
        code="address",
        hint="Write it as tls://HOST:PORT.",
    )
