"""The arguments by which a verb spreads its cases over a cluster."""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from napari_medlab.errors import InputRefusedError
from napari_medlab.jobs.spreading import Here

if TYPE_CHECKING:
    import argparse
    from contextlib import AbstractContextManager

    from napari_medlab.jobs.cluster import Cluster
    from napari_medlab.jobs.spreading import Spread

__all__ = [
    "CERTIFICATES",
    "add_certificates_argument",
    "add_cluster_arguments",
    "certificates_of",
    "cluster_of",
    "say_workers",
    "spread_of",
]

CERTIFICATES = "MEDLAB_CLUSTER_CERTIFICATES"
"""The variable that names the folder of certificates where ``--certificates`` does not."""


def add_cluster_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--cluster`` and ``--certificates``."""
    parser.add_argument(
        "--cluster",
        metavar="tls://HOST:PORT",
        help="spread the cases over the workers of this dask scheduler, which see images and output under the same paths",
    )
    add_certificates_argument(parser)


def add_certificates_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--certificates``."""
    parser.add_argument(
        "--certificates",
        metavar="DIR",
        type=Path,
        help=f"the folder of ca.pem, cert.pem and key.pem (default: the variable {CERTIFICATES})",
    )


def certificates_of(options: argparse.Namespace) -> Path | None:
    """Return the folder of certificates that was named, as an argument or in the environment."""
    named = os.environ.get(CERTIFICATES)
    folder: Path | None = options.certificates or (Path(named) if named else None)
    return folder


def cluster_of(options: argparse.Namespace) -> AbstractContextManager[Cluster | None]:
    """Return the cluster that was asked for, connected to when it is entered; None inside where none was.

    Raises
    ------
    InputRefusedError
        Where certificates are named without a cluster; as :func:`napari_medlab.jobs.cluster.connect`.
    """
    if options.cluster is None:
        if options.certificates is not None:
            raise InputRefusedError(
                "--certificates is of no use without --cluster.",
                code="no-cluster",
                hint="Add --cluster tls://HOST:PORT.",
            )
        return nullcontext()
    from napari_medlab.jobs.cluster import connect

    return connect(options.cluster, certificates=certificates_of(options))


def say_workers(count: int) -> None:
    """Say on standard error how many workers a cluster has, where that has changed."""
    sys.stderr.write(f"{count} worker{'' if count == 1 else 's'}{'' if count else ': waiting for one'}\n")


def spread_of(options: argparse.Namespace) -> AbstractContextManager[Spread]:
    """Return what does the cases: the cluster that was asked for, or this process, one after another.

    Raises
    ------
    InputRefusedError
        As :func:`cluster_of`.
    """
    if options.cluster is None and options.certificates is None:
        return nullcontext(Here())
    cluster: AbstractContextManager[Spread] = cluster_of(options)  # type: ignore[assignment]
    return cluster
