"""``napari-medlab cluster``: certificates, a scheduler, and the workers of a machine."""

from __future__ import annotations

import signal
import sys
import threading
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_medlab.cli.cluster_arguments import add_certificates_argument, certificates_of
from napari_medlab.errors import InputRefusedError
from napari_medlab.verbs import Verb

if TYPE_CHECKING:
    import argparse

__all__ = ["VERB"]


def _configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    certificates = actions.add_parser(
        "certificates", help="make what the members of one cluster know each other by"
    )
    certificates.add_argument("folder", metavar="DIR", type=Path, help="the new folder; must not exist")
    certificates.set_defaults(act=_certificates)

    scheduler = actions.add_parser("scheduler", help="be the scheduler, until stopped")
    scheduler.add_argument(
        "--host", default="127.0.0.1", help="the address to listen at (default: this machine alone)"
    )
    scheduler.add_argument("--port", type=int, default=8786, help="default: 8786; 0 for any that is free")
    add_certificates_argument(scheduler)
    scheduler.set_defaults(act=_scheduler)

    workers = actions.add_parser("workers", help="run the workers of this machine, until stopped")
    workers.add_argument("address", metavar="tls://HOST:PORT", help="of the scheduler")
    workers.add_argument(
        "--per-machine",
        type=int,
        metavar="N",
        help="how many (default: one for each GPU; without a GPU one, which has all processor cores)",
    )
    workers.add_argument(
        "--host", help="the address to listen at (default: the one that leads to the scheduler)"
    )
    add_certificates_argument(workers)
    workers.set_defaults(act=_workers)

    for action in (certificates, scheduler, workers):
        # also accepted here, after the action; must not undo what was given before it
        action.add_argument(
            "--json", action="store_true", default=_suppressed(), help="print one JSON document"
        )


def _suppressed() -> str:
    from argparse import SUPPRESS

    return SUPPRESS


def _run(options: argparse.Namespace) -> dict[str, Any]:
    result: dict[str, Any] = options.act(options)
    return result


def _certificates(options: argparse.Namespace) -> dict[str, Any]:
    from napari_medlab.jobs.cluster.certificates import make_certificates

    expires = make_certificates(options.folder)
    sys.stderr.write(
        "Copy the folder to each machine of the cluster; whoever has it is a member and can run code there.\n"
    )
    return {"certificates": str(options.folder.absolute()), "expires": expires.isoformat()}


def _scheduler(options: argparse.Namespace) -> dict[str, Any]:
    from napari_medlab.jobs.cluster.serving import serve_scheduler

    try:
        address = serve_scheduler(
            options.host, options.port, certificates_of(options), partial(_say, "scheduler at")
        )
    except OSError as error:
        raise InputRefusedError(
            f"Nothing can listen at {options.host}:{options.port}: {error.strerror or error}.", code="port",
            hint="Name another --port, or an address of this machine with --host.",
        ) from error  # fmt: skip
    return {"scheduler": address}


def _workers(options: argparse.Namespace) -> dict[str, Any]:
    from napari_medlab.jobs.cluster.supervising import places, supervise

    if options.per_machine is not None and options.per_machine < 1:
        raise InputRefusedError(
            f"{options.per_machine} workers cannot be.", code="count", hint="Ask for one or more."
        )
    stop = threading.Event()
    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, lambda *_: stop.set())
    wanted = places(_count_gpus(), options.per_machine)
    restarts = supervise(options.address, certificates_of(options), wanted, stop, _say, host=options.host)
    return {"scheduler": options.address, "workers": len(wanted), "restarts": restarts}


def _count_gpus() -> int:
    """Return how many GPUs there are, as a process of its own finds that out: torch is of no more use here."""
    from napari_medlab.jobs import CancelToken
    from napari_medlab.models.inference.worker import start_worker

    with closing(start_worker(in_thread=False)) as worker:
        (found, _) = worker.events({"op": "devices"}, CancelToken())
    return sum(name.startswith("cuda") for name in found["devices"])


def _say(*words: str) -> None:
    sys.stderr.write(f"{' '.join(words)}\n")
    sys.stderr.flush()


VERB = Verb("cluster", "spread work over machines: certificates, scheduler, workers", _configure, _run)
