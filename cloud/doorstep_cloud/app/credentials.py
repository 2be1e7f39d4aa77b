"""The service's own keys in the state folder: its CA, and what the CA has signed.

``ca/ca.pem ca.key``, ``broker/server.pem server.key``, ``ingest/client.pem
client.key``, ``receipt/receipt.pem receipt.key``: PEM, keys as PKCS 8, 0600.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from doorstep_cloud.devices.authority import Authority, to_pem
from doorstep_shared.errors import RefusedError
from doorstep_shared.signing import SigningKey

CA: Final = ("ca/ca.pem", "ca/ca.key")
BROKER: Final = ("broker/server.pem", "broker/server.key")
INGEST: Final = ("ingest/client.pem", "ingest/client.key")
RECEIPT: Final = ("receipt/receipt.pem", "receipt/receipt.key")

# Whoever starts the service at least monthly never meets an ended certificate.
_RENEWED_BEFORE: Final = timedelta(days=30)

_Key = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


class MissingCredentialsError(RefusedError):
    """The state folder lacks a key or certificate, or holds one that is none."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """The service's keys, read.

    Attributes:
        authority: Signs doorbells' certificates.
        receipt_key: Signs receipts.
        receipt_certificate: PEM, as ``ca_certificate``.
    """

    authority: Authority = field(repr=False)
    receipt_key: SigningKey = field(repr=False)
    ca_certificate: str
    receipt_certificate: str


def create_missing(folder: Path, broker_names: Sequence[str], now: datetime) -> list[str]:
    """Make what the state folder lacks, renew what ends soon; return what was done, in words.

    Args:
        folder: The state folder.
        broker_names: Host names and addresses the broker is reached under.
        now: Aware UTC.
    """
    done = []
    if not _is_there(folder, CA):
        created = Authority.create(now)
        _write(folder, CA, created.certificate, created.key)
        done.append("made the certificate authority")
    authority = _read_authority(folder)
    if _is_wanted(folder, BROKER, now, broker_names):
        key = ec.generate_private_key(ec.SECP256R1())
        _write(folder, BROKER, authority.issue_server(key.public_key(), broker_names, now), key)
        done.append(f"made the broker's certificate for {', '.join(broker_names)}")
    if _is_wanted(folder, INGEST, now):
        key = ec.generate_private_key(ec.SECP256R1())
        _write(folder, INGEST, authority.issue_ingest(key.public_key(), now), key)
        done.append("made ingest's certificate")
    # Doorbells pin the receipt key at enrolment: it is made once and never again.
    if not _is_there(folder, RECEIPT):
        receipt = ed25519.Ed25519PrivateKey.generate()
        _write(folder, RECEIPT, authority.issue_receipt(receipt.public_key(), now), receipt)
        done.append("made the key that signs receipts")
    return done


def read_credentials(folder: Path) -> Credentials:
    """Return the keys in the state folder.

    Raises:
        MissingCredentialsError: One is missing or broken.
    """
    authority = _read_authority(folder)
    certificate, key = _read(folder, RECEIPT)
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise _missing(folder, RECEIPT)
    for pair in (BROKER, INGEST):
        _read(folder, pair)
    return Credentials(
        authority=authority,
        receipt_key=SigningKey(key.private_bytes_raw()),
        ca_certificate=to_pem(authority.certificate),
        receipt_certificate=to_pem(certificate),
    )


def read_end(folder: Path, pair: tuple[str, str]) -> datetime:
    """Return when the certificate of ``pair`` ends; it is read alone, without its key.

    Raises:
        MissingCredentialsError: It is missing or broken.
    """
    return _read_certificate(folder, pair).not_valid_after_utc


def _read_authority(folder: Path) -> Authority:
    certificate, key = _read(folder, CA)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise _missing(folder, CA)
    return Authority(certificate, key)


def _is_wanted(
    folder: Path, pair: tuple[str, str], now: datetime, names: Sequence[str] = ()
) -> bool:
    if not _is_there(folder, pair):
        return True
    certificate, _ = _read(folder, pair)
    ends_soon = certificate.not_valid_after_utc - now < _RENEWED_BEFORE
    return ends_soon or not set(names) <= _names(certificate)


def _names(certificate: x509.Certificate) -> set[str]:
    extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return {str(name.value) for name in extension.value}


def _is_there(folder: Path, pair: tuple[str, str]) -> bool:
    return all((folder / name).exists() for name in pair)


def _read(folder: Path, pair: tuple[str, str]) -> tuple[x509.Certificate, object]:
    try:
        key = load_pem_private_key((folder / pair[1]).read_bytes(), password=None)
    except (OSError, ValueError) as error:
        raise _missing(folder, pair) from error
    return _read_certificate(folder, pair), key


def _read_certificate(folder: Path, pair: tuple[str, str]) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate((folder / pair[0]).read_bytes())
    except (OSError, ValueError) as error:
        raise _missing(folder, pair) from error


def _missing(folder: Path, pair: tuple[str, str]) -> MissingCredentialsError:
    return MissingCredentialsError(
        f"{folder / pair[0]} or its key is missing or broken",
        safe="Nothing was changed.",
        do="doorstep-cloud migrate        (makes what is missing; restore what is broken first)",
    )


def _write(folder: Path, pair: tuple[str, str], certificate: x509.Certificate, key: _Key) -> None:
    """Write key, then certificate: a certificate is never there without its key."""
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / pair[0]).parent.mkdir(mode=0o700, exist_ok=True)
    write_private(folder / pair[1], pem)
    write_private(folder / pair[0], to_pem(certificate).encode())


def write_private(path: Path, data: bytes) -> None:
    """Write ``data`` whole and durably to ``path``, for nobody else to read (0600)."""
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
