"""Nothing listens to, or calls, any other machine: whatever is done, every socket stays on the loopback."""

from __future__ import annotations

import ast
import ipaddress
import os
import re
import shutil
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest
from rooms import ROOT, files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import Survived

CALLS = "bind,connect,listen,sendto,sendmsg"
ADDRESS = re.compile(
    r'\b(bind|connect|sendto|sendmsg)\(.*?sin6?_port=htons\((\d+)\).*?(?:inet_addr\("|inet_pton\(AF_INET6, ")([0-9a-fA-F.:]+)"'
)
CLIENTS = frozenset({
    "aiohttp", "ftplib", "gdown", "http", "httpx", "huggingface_hub", "paramiko", "poplib", "pooch", "requests", "smtplib",
    "socketserver", "telnetlib", "urllib3", "xmlrpc",
})  # fmt: skip
"""What one imports to speak to other machines."""
FETCHING = frozenset(
    {"download", "pretrained", "urlopen", "urlretrieve", "download_url", "load_state_dict_from_url"}
)
NEEDS_STRACE = pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")

CLUSTER = """
import sys, tempfile
from pathlib import Path
from cluster_parts import cluster, square
from napari_medlab.jobs import CancelToken
from napari_medlab.jobs.cluster import connect
from napari_medlab.jobs.spreading import Task
folder = Path(tempfile.mkdtemp())
with cluster(folder, 2) as parts, connect(parts.address, certificates=parts.certificates) as spread:
    tasks = [Task(str(n), {"name": str(n), "folder": str(folder), "array": [n]}) for n in range(6)]
    assert len(list(spread.run(square, tasks, CancelToken()))) == 6
"""
WINDOW = """
import sys
from pathlib import Path
from driving import leave, settle, wait
from napari_medlab.project import Project
from napari_medlab.project.sample import SampleSize, fill_with_phantoms
from napari_medlab.widgets.launcher import display, open_window
def look():
    with Project.create(Path("project"), reader="somebody") as project:
        list(fill_with_phantoms(project, SampleSize(train=1, test=0)))
    with display(headless=True):
        workspace = open_window()
        workspace.controller.open_project(Path("project"))
        wait(lambda: workspace.controller.cases)
        case_id, shown = workspace.controller.cases[0].case_id, workspace.controller.display
        workspace.controller.session.show_case(case_id)
        wait(lambda: shown.view is not None and shown.view.case_id == case_id, 120)
        settle(1000)
        workspace.viewer.close()
leave(look)
"""
OPEN = "import socket; one = socket.socket(); one.bind(('0.0.0.0', 0)); one.listen()"
CALLING = "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(('192.0.2.1', 80))"
LOOPBACK = "import socket; one = socket.socket(); one.bind(('127.0.0.1', 0)); one.listen()"


def sockets_of(folder: Path, words: list[str], **environment: str) -> list[tuple[str, str, int]]:
    """Run a command, and return call, address and port of every socket that it or its children gave an address."""
    log = folder / "calls"
    variables = os.environ | {"MEDLAB_STATE_DIR": str(folder), "MEDLAB_CACHE_DIR": str(folder), **environment}
    done = subprocess.run(
        ["strace", "-f", "--seccomp-bpf", "-qq", "-e", f"trace={CALLS}", "-e", "signal=none", "-o", str(log), *words],
        env=variables, cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = ADDRESS.findall(log.read_text(errors="replace"))
    return sorted({(call, address, int(port)) for call, port, address in found})


def beyond(sockets: list[tuple[str, str, int]]) -> list[tuple[str, str, int]]:
    """Return those that are not on the loopback."""
    return [each for each in sockets if not ipaddress.ip_address(each[1]).is_loopback]


def script(text: str) -> list[str]:
    return [sys.executable, "-c", textwrap.dedent(text)]


MODES = {
    "commands": [sys.executable, str(ROOT / "examples" / "full_loop_ct.py"), "loop", "--steps", "2"],
    "window": script(WINDOW),
    "cluster": script(CLUSTER),
}
"""Importing, predicting, exporting and training; the window with a case; and scheduler, workers and client."""


@NEEDS_STRACE
@pytest.mark.slow
@pytest.mark.promise
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("mode", MODES)
def test_no_socket_leaves_the_loopback(tmp_path: Path, mode: str, survived: Survived) -> None:
    helpers = os.pathsep.join(str(ROOT / folder) for folder in ("tests", "benchmarks"))
    sockets = sockets_of(tmp_path, MODES[mode], PYTHONPATH=helpers)
    outside = beyond(sockets)
    (tmp_path / "control").mkdir()
    noticed = [call for call, *_ in beyond(sockets_of(tmp_path / "control", script(OPEN)))]
    survived(
        "hostile input", "sockets", tried=1, survived=int(not outside),
        control=f"a listener on 0.0.0.0 is noticed ({', '.join(noticed)})",
        detail=f"{mode}: {len(sockets)} addresses, all on the loopback" if sockets else f"{mode}: no address at all",
    )  # fmt: skip
    assert outside == []
    assert noticed == ["bind"]
    assert sockets or mode != "cluster", "a cluster that is not seen would pass as well"


@NEEDS_STRACE
@pytest.mark.parametrize(("text", "call"), [(OPEN, ["bind"]), (CALLING, ["connect"]), (LOOPBACK, [])])
def test_what_leaves_the_loopback_is_noticed(tmp_path: Path, text: str, call: list[str]) -> None:
    assert [name for name, *_ in beyond(sockets_of(tmp_path, script(text)))] == call


def reaches_out(tree: ast.Module) -> Iterator[str]:
    """Yield what a module does to fetch something from another machine."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = (
                [node.module or ""] if isinstance(node, ast.ImportFrom) else [one.name for one in node.names]
            )
            names += (
                [f"{node.module}.{one.name}" for one in node.names]
                if isinstance(node, ast.ImportFrom)
                else []
            )
            yield from (
                name for name in names if name.split(".")[0] in CLIENTS or name.startswith("urllib.request")
            )
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if name in FETCHING or (name == "load" and ast.unparse(node.func).endswith("hub.load")):
                yield ast.unparse(node.func)
            yield from (
                f"{given.arg}={ast.unparse(given.value)}" for given in node.keywords
                if given.arg in FETCHING and not (isinstance(given.value, ast.Constant) and not given.value.value)
            )  # fmt: skip


def test_no_module_fetches_anything() -> None:
    found = {
        name: list(reaches_out(ast.parse(path.read_text(encoding="utf-8")))) for name, path in files().items()
    }
    assert {name: why for name, why in found.items() if why} == {}


@pytest.mark.parametrize("line", [
    "import requests", "from urllib.request import urlopen", "from urllib import request", "import http.client",
    "torch.hub.load('a', 'b')", "resnet18(pretrained=True)", "from huggingface_hub import hf_hub_download",
])  # fmt: skip
def test_the_rule_notices(line: str) -> None:
    assert list(reaches_out(ast.parse(line)))


@pytest.mark.parametrize(
    "line", ["resnet18(pretrained=False)", "import urllib.parse", "torch.load(path, weights_only=True)"]
)
def test_the_rule_lets_pass(line: str) -> None:
    assert list(reaches_out(ast.parse(line))) == []
