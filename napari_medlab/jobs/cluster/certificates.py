"""The certificates by which scheduler, workers and clients of one cluster know each other."""

from __future__ import annotations

import os
import ssl
import stat
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import TYPE_CHECKING, Any

from napari_medlab.durable import new_folder, write_file
from napari_medlab.errors import InputRefusedError, MissingExtraError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["EXTRA", "Certificates", "checked_certificates", "make_certificates"]

EXTRA = "Install what is missing: pip install 'napari-medlab[cluster]'"
DAYS = 730
MAKE = "Make them with: napari-medlab cluster certificates DIR"


@dataclass(frozen=True)
class Certificates:
    """The files of one member: whom it trusts, its own certificate, and the private key of that."""

    ca: Path
    cert: Path
    key: Path

    def context(self) -> ssl.SSLContext:
        """Return how a client speaks to whoever has a certificate of the same authority, whatever its host is called."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(self.ca)
        # without a password given, an encrypted key would be asked for on the terminal
        context.load_cert_chain(self.cert, self.key, password="")
        return context

    def security(self) -> Any:  # noqa: ANN401 - distributed.Security, which may not be installed
        """Return the same as distributed wants it; nothing that is not encrypted is spoken with."""
        distributed: Any = import_module("distributed")
        return distributed.Security(
            require_encryption=True,
            tls_ca_file=str(self.ca),
            **{f"tls_{role}_cert": str(self.cert) for role in ("client", "scheduler", "worker")},
            **{f"tls_{role}_key": str(self.key) for role in ("client", "scheduler", "worker")},
        )


def checked_certificates(folder: Path | None) -> Certificates:
    """Return the certificates in a folder.

    Parameters
    ----------
    folder : Path or None
        With ``ca.pem``, ``cert.pem`` and ``key.pem``.

    Raises
    ------
    InputRefusedError
        ``certificates`` where there are none, or they do not belong together; ``key-readable`` where others on this machine
        may read the private key, and so become a member of the cluster.
    """
    if folder is None:
        raise InputRefusedError("A tls:// address needs certificates.", code="certificates",
                                hint=f"Name their folder with --certificates DIR. {MAKE}")  # fmt: skip
    found = Certificates(folder / "ca.pem", folder / "cert.pem", folder / "key.pem")
    try:
        missing = [path.name for path in (found.ca, found.cert, found.key) if not path.is_file()]
    except OSError as error:
        raise InputRefusedError(
            f"{folder} cannot be looked into: {error.strerror or error}.", code="certificates",
            hint="Every account that takes part needs a copy that it alone may read.",
        ) from error  # fmt: skip
    if missing:
        raise InputRefusedError(
            f"{folder} has no {' and no '.join(missing)}.", code="certificates", hint=MAKE
        )
    if os.name == "posix" and found.key.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise InputRefusedError(f"Others than its owner may use the private key {found.key}.", code="key-readable",
                                hint=f"Close it with: chmod 600 {found.key}")  # fmt: skip
    try:
        found.context()
    except (ssl.SSLError, OSError, ValueError) as error:
        raise InputRefusedError(
            f"The certificates in {folder} cannot be used: {error}.", code="certificates",
            hint=f"The key must be that of the certificate, and not encrypted. {MAKE}",
        ) from error  # fmt: skip
    return found


def make_certificates(folder: Path) -> datetime:
    """Make an authority and the one certificate that all members of a cluster share, and return when they expire.

    The private key of the authority is thrown away: nobody can make another member.

    Parameters
    ----------
    folder : Path
        Must not be there yet; afterwards its owner alone may look into it.

    Raises
    ------
    InputRefusedError
        ``exists`` where the folder is there: nothing is overwritten.
    MissingExtraError
        Where ``cryptography`` is not installed.
    """
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec
    except ImportError as error:
        raise MissingExtraError(
            "Making certificates needs cryptography.", code="missing-extra", hint=EXTRA
        ) from error

    now = datetime.now(UTC)
    expires = now + timedelta(days=DAYS)
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = _certificate(authority_key, authority_key, now, expires, is_authority=True)
    member = _certificate(key, authority_key, now, expires, is_authority=False)
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    payloads = {
        "ca.pem": authority.public_bytes(pem),
        "cert.pem": member.public_bytes(pem),
        "key.pem": private,
    }
    with new_folder(folder) as partial:
        partial.chmod(0o700)  # before anything secret is in it
        for name, payload in payloads.items():
            write_file(partial / name, payload)
            (partial / name).chmod(0o600)
    return expires.replace(microsecond=0)


def _certificate(key: Any, authority_key: Any, begin: datetime, end: datetime, *, is_authority: bool) -> Any:  # noqa: ANN401 - of a package that may not be installed
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    issuer = name("napari-medlab cluster authority")
    builder = (
        x509.CertificateBuilder()
        .subject_name(issuer if is_authority else name("napari-medlab cluster"))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin - timedelta(hours=1))  # the clocks of other machines may be behind
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=0 if is_authority else None), critical=True)
        .add_extension(_key_usage(is_authority=is_authority), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
    )  # fmt: skip
    if not is_authority:
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
        builder = builder.add_extension(usage, critical=False)
        builder = builder.add_extension(
            x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False
        )
    return builder.sign(authority_key, hashes.SHA256())


def _key_usage(*, is_authority: bool) -> Any:  # noqa: ANN401 - of a package that may not be installed
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=not is_authority, key_cert_sign=is_authority, crl_sign=is_authority, content_commitment=False,
        key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
