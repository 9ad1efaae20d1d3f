"""Who may join a cluster: addresses, certificates, and where its parts listen."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import psutil
import pytest
from cluster_parts import cluster, wait_until

from napari_medlab.errors import InputRefusedError, MedlabError, MissingExtraError
from napari_medlab.jobs.cluster import connect
from napari_medlab.jobs.cluster.addresses import Address, parse_address
from napari_medlab.jobs.cluster.certificates import checked_certificates, make_certificates
from napari_medlab.jobs.cluster.connecting import checked_member
from napari_medlab.jobs.cluster.supervising import Place, places

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cluster_parts import Parts

posix = pytest.mark.skipif(os.name != "posix", reason="rights of files are those of POSIX")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("tls://node-1:9000", Address("tls", "node-1", 9000)),
        ("tls://10.1.2.3", Address("tls", "10.1.2.3", 8786)),
        ("tls://[2001:db8::1]:1234", Address("tls", "2001:db8::1", 1234)),
        ("tcp://127.0.0.1:8786", Address("tcp", "127.0.0.1", 8786)),
        ("tcp://127.8.9.10:1", Address("tcp", "127.8.9.10", 1)),
        ("tcp://[::1]:8786", Address("tcp", "::1", 8786)),
        ("tcp://localhost:8786", Address("tcp", "localhost", 8786)),
    ],
)
def test_an_address_is_understood_and_written_again(text: str, address: Address) -> None:
    assert parse_address(text) == address
    assert parse_address(str(address)) == address


@pytest.mark.parametrize(
    "text",
    ["tcp://10.1.2.3:8786", "tcp://node-1:8786", "tcp://0.0.0.0:8786", "tcp://[::]:8786", "tcp://127.0.0.1.evil.org:1",
     "tcp://128.0.0.1:1", "tcp://[fe80::1]:1", "tcp://localhost.evil.org:1"],
)  # fmt: skip
def test_what_is_not_encrypted_stays_on_this_machine(text: str) -> None:
    with pytest.raises(InputRefusedError, match="is not encrypted") as caught:
        parse_address(text)
    assert caught.value.code == "not-encrypted"
    assert "tls://" in caught.value.hint


@pytest.mark.parametrize(
    "text", ["", "node-1:8786", "127.0.0.1", "http://node:1", "tls://", "tls://node:port", "tls://node:99999",
             "tls://user@node:1", "tls://node:1/path", "tls://node:1?x=1", "ucx://node:1", "inproc://x"],
)  # fmt: skip
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(InputRefusedError) as caught:
        parse_address(text)
    assert caught.value.code == "address"


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.7"])
def test_a_worker_without_encryption_listens_on_this_machine_alone(host: str) -> None:
    with pytest.raises(InputRefusedError, match="not encrypted") as caught:
        checked_member("tcp://127.0.0.1:8786", None, host)
    assert caught.value.code == "not-encrypted"
    for own in (None, "127.0.0.1", "localhost"):
        assert checked_member("tcp://127.0.0.1:8786", None, own)[1] is None


def test_certificates_that_this_account_may_not_look_at_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(_: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.is_file", denied)
    with pytest.raises(InputRefusedError, match="cannot be looked into: Permission denied"):
        checked_certificates(tmp_path)


def test_certificates_are_their_owners_alone_and_never_overwritten(tmp_path: Path) -> None:
    folder = tmp_path / "certificates"
    expires = make_certificates(folder)
    assert timedelta(days=700) < expires - datetime.now(UTC) < timedelta(days=800)
    assert sorted(path.name for path in folder.iterdir()) == ["ca.pem", "cert.pem", "key.pem"]
    if os.name == "posix":
        assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
        assert folder.stat().st_mode & 0o777 == 0o700
    before = (folder / "key.pem").read_bytes()
    with pytest.raises(InputRefusedError, match="nothing is overwritten"):
        make_certificates(folder)
    assert (folder / "key.pem").read_bytes() == before
    assert checked_certificates(folder).key == folder / "key.pem"


@posix
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_key_that_others_may_use_is_refused(tmp_path: Path, mode: int) -> None:
    make_certificates(tmp_path / "c")
    (tmp_path / "c" / "key.pem").chmod(mode)
    with pytest.raises(InputRefusedError, match="Others than its owner") as caught:
        checked_certificates(tmp_path / "c")
    assert caught.value.code == "key-readable"
    assert "chmod 600" in caught.value.hint


def test_certificates_that_are_missing_or_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    make_certificates(tmp_path / "a")
    make_certificates(tmp_path / "b")
    with pytest.raises(InputRefusedError, match=r"has no ca\.pem and no cert\.pem and no key\.pem"):
        checked_certificates(tmp_path)
    with pytest.raises(InputRefusedError, match="needs certificates"):
        checked_certificates(None)
    (tmp_path / "a" / "key.pem").write_bytes((tmp_path / "b" / "key.pem").read_bytes())
    with pytest.raises(InputRefusedError, match="cannot be used") as caught:
        checked_certificates(tmp_path / "a")
    assert caught.value.code == "certificates"


def test_a_key_with_a_passphrase_is_refused_rather_than_asked_for(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization

    make_certificates(tmp_path / "c")
    path = tmp_path / "c" / "key.pem"
    key = serialization.load_pem_private_key(path.read_bytes(), None)
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                       serialization.BestAvailableEncryption(b"secret")))  # fmt: skip
    with pytest.raises(InputRefusedError, match="cannot be used"):
        checked_certificates(tmp_path / "c")


def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with (
        pytest.raises(MissingExtraError, match=r"pip install 'napari-medlab\[cluster\]'"),
        connect("tcp://127.0.0.1:1"),
    ):
        pass


def test_a_scheduler_that_is_not_there_is_told_at_once(tmp_path: Path) -> None:
    make_certificates(tmp_path / "c")
    for address in ("tls://127.0.0.1:1", "tcp://127.0.0.1:1"):
        with (
            pytest.raises(MedlabError, match="No scheduler answers") as caught,
            connect(address, certificates=tmp_path / "c"),
        ):
            pass
        assert caught.value.code == "no-scheduler"


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    with cluster(tmp_path_factory.mktemp("cluster"), 1) as started:
        yield started


def test_strangers_are_turned_away_by_the_scheduler(parts: Parts, tmp_path: Path) -> None:
    make_certificates(tmp_path / "other")
    with (
        pytest.raises(InputRefusedError, match="do not go together"),
        connect(parts.address, certificates=tmp_path / "other"),
    ):
        pass
    # one that trusts the scheduler, and that the scheduler does not trust
    (tmp_path / "other" / "ca.pem").write_bytes((parts.certificates / "ca.pem").read_bytes())
    with (
        pytest.raises(InputRefusedError, match="do not go together") as caught,
        connect(parts.address, certificates=tmp_path / "other"),
    ):
        pass
    assert caught.value.code == "certificates"
    plain = parts.address.replace("tls://", "tcp://")
    with pytest.raises(MedlabError, match="No scheduler answers"), connect(plain):
        pass


def test_no_part_listens_anywhere_but_on_the_loopback_and_the_client_not_at_all(parts: Parts) -> None:
    def listening(pid: int) -> list[str]:
        return [
            one.laddr.ip for one in psutil.Process(pid).net_connections() if one.status == psutil.CONN_LISTEN
        ]

    worker = parts.workers[0].pid
    wait_until(lambda: listening(worker))
    before = listening(os.getpid())
    with connect(parts.address, certificates=parts.certificates):
        assert listening(os.getpid()) == before
        assert set(listening(parts.scheduler.pid)) == set(listening(worker)) == {"127.0.0.1"}


def test_workers_share_the_processor_or_have_a_gpu_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert places(0, None) == [Place(8)]
    assert places(0, 3) == [Place(2)] * 3
    assert places(2, None) == [Place(4, "0"), Place(4, "1")]
    assert places(2, 1) == [Place(8, "0")]
    assert places(2, 5) == [Place(4, "0"), Place(4, "1")]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, GPU-8a1")
    assert [place.gpu for place in places(2, None)] == ["3", "GPU-8a1"]
    variables = Place(4, "GPU-8a1").environment()
    assert (variables["OMP_NUM_THREADS"], variables["CUDA_VISIBLE_DEVICES"]) == ("4", "GPU-8a1")
