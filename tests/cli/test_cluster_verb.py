"""``napari-medlab cluster``: certificates, a scheduler, and workers that are started again."""

from __future__ import annotations

import argparse
import signal
import sys
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from cluster_parts import HERE, cluster, end, environment, start_verb, wait_until

from napari_medlab.cli.cluster import VERB
from napari_medlab.errors import InputRefusedError
from napari_medlab.jobs import CancelToken
from napari_medlab.jobs.cluster import connect
from napari_medlab.jobs.cluster.certificates import make_certificates
from napari_medlab.jobs.spreading import Task

if TYPE_CHECKING:
    from pathlib import Path


def run(*words: object) -> dict[str, Any]:
    parser = argparse.ArgumentParser()
    VERB.configure(parser)
    return VERB.run(parser.parse_args([*map(str, words)]))


def test_certificates_are_made_once(tmp_path: Path) -> None:
    said = run("certificates", tmp_path / "c")
    assert said["certificates"] == str(tmp_path / "c")
    assert said["expires"].startswith("20")
    with pytest.raises(InputRefusedError, match="nothing is overwritten"):
        run("certificates", tmp_path / "c")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["scheduler"], "certificates"),
        (["scheduler", "--certificates", "nowhere"], "certificates"),
        (["workers", "tcp://10.0.0.1:1"], "not-encrypted"),
        (["workers", "tls://127.0.0.1:1", "--per-machine", "0"], "count"),
    ],
)
def test_what_cannot_be_is_refused(words: list[str], code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MEDLAB_CLUSTER_CERTIFICATES", raising=False)
    with pytest.raises(InputRefusedError) as caught:
        run(*words)
    assert caught.value.code == code


@pytest.mark.skipif(sys.platform == "win32", reason="sends signals")
@pytest.mark.parametrize("told", [signal.SIGINT, signal.SIGTERM])
def test_a_scheduler_ends_when_it_is_told_to(tmp_path: Path, told: signal.Signals) -> None:
    make_certificates(tmp_path / "c")
    process = start_verb("scheduler", "--certificates", tmp_path / "c", "--port", 0)
    try:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("scheduler at tls://127.0.0.1:")
        process.send_signal(told)
        assert process.wait(30) == 0
        assert process.stderr.read() == ""
    finally:
        end(process)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="sends signals")
def test_workers_share_the_processor_are_started_again_and_end_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    with cluster(tmp_path, 0) as parts:
        verb = start_verb("workers", parts.address, "--certificates", parts.certificates, "--per-machine", 2)
        try:
            assert verb.stderr is not None
            first = [int(verb.stderr.readline().split()[1]) for _ in range(2)]
            psutil.Process(first[0]).kill()
            lines = [verb.stderr.readline() for _ in range(2)]
            assert lines[0].startswith(f"worker {first[0]} ended with status -9")
            again = int(lines[1].split()[1])
            assert again not in first
            with connect(parts.address, certificates=parts.certificates) as spread:
                tasks = [Task(str(n), {"names": ["OMP_NUM_THREADS"]}) for n in range(8)]
                outcomes = list(spread.run(environment, tasks, CancelToken()))
            assert {int(one.value["pid"]) for one in outcomes} <= {first[1], again}
            assert {one.value["OMP_NUM_THREADS"] for one in outcomes} == {
                str(max(1, len(psutil.Process().cpu_affinity()) // 2))
            }
            verb.send_signal(signal.SIGTERM)
            assert verb.wait(60) == 0
            wait_until(lambda: not any(psutil.pid_exists(pid) for pid in (first[1], again)), 10)
        finally:
            end(verb)
