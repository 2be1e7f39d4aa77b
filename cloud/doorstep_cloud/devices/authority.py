"""The service's own certificate authority, for doorbells, broker and ingest.

Two levels would protect a key that is used rarely; this one signs whenever a
doorbell enrols, so there is one. Its hash is in every claim: a doorbell trusts
it because its owner said so. Certificates are X.509 (RFC 5280) with P-256 keys.
"""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from doorstep_shared.errors import BadMessageError
from doorstep_shared.ids import DeviceId
from doorstep_shared.topics import common_name

INGEST_NAME: Final = "ingest"
"""Common name of ingest's client certificate: its user name at the broker."""

# A doorbell's clock may be a day behind when it first starts.
BACKDATED: Final = timedelta(hours=24)

CA_LIFE: Final = timedelta(days=20 * 365)
SERVICE_LIFE: Final = timedelta(days=2 * 365)

# Nothing renews it yet, and a doorbell must not drop off on a date. A revoked one is refused
# by ingest whatever its certificate says.
DEVICE_LIFE: Final = timedelta(days=10 * 365)

# Ed25519 receipts are checked under the certificate pinned at enrolment, for as long
# as the doorbell keeps its enrolment.
RECEIPT_LIFE: Final = CA_LIFE

# What reading a stranger's request raises; the library's own have no base of their own.
_UNREADABLE: Final = (ValueError, UnsupportedAlgorithm, InvalidSignature, x509.InvalidVersion)

_PublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey


@dataclass(frozen=True, slots=True)
class Authority:
    """The CA: its certificate and its key.

    Attributes:
        certificate: Self-signed, path length 0.
        key: P-256; never printed.
    """

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey = field(repr=False)

    @classmethod
    def create(cls, now: datetime) -> "Authority":
        """Return a new CA that begins a day before ``now`` (aware UTC)."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name("Doorstep")
        builder = (
            _builder(name, key.public_key(), now, CA_LIFE)
            .issuer_name(name)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(is_ca=True), critical=True)
            .add_extension(_key_id(key.public_key()), critical=False)
        )
        return cls(builder.sign(key, hashes.SHA256()), key)

    def issue_server(
        self, key: ec.EllipticCurvePublicKey, names: Sequence[str], now: datetime
    ) -> x509.Certificate:
        """Return a certificate for the broker under ``names``, host names or addresses."""
        return self._issue(
            name=_name(names[0]),
            key=key,
            now=now,
            life=SERVICE_LIFE,
            alternatives=[_alternative(name) for name in names],
            purpose=ExtendedKeyUsageOID.SERVER_AUTH,
        )

    def issue_ingest(self, key: ec.EllipticCurvePublicKey, now: datetime) -> x509.Certificate:
        """Return ingest's client certificate."""
        return self._issue(
            name=_name(INGEST_NAME),
            key=key,
            now=now,
            life=SERVICE_LIFE,
            alternatives=[x509.UniformResourceIdentifier(f"doorstep:{INGEST_NAME}")],
            purpose=ExtendedKeyUsageOID.CLIENT_AUTH,
        )

    def issue_device(
        self, key: ec.EllipticCurvePublicKey, device: DeviceId, now: datetime
    ) -> x509.Certificate:
        """Return a doorbell's client certificate, for ten years.

        Its common name is ``{shard}/{device}``, which the broker's ACL pins.
        """
        return self._issue(
            name=_name(common_name(device)),
            key=key,
            now=now,
            life=DEVICE_LIFE,
            alternatives=[x509.UniformResourceIdentifier(f"doorstep:device:{device}")],
            purpose=ExtendedKeyUsageOID.CLIENT_AUTH,
        )

    def issue_receipt(self, key: ed25519.Ed25519PublicKey, now: datetime) -> x509.Certificate:
        """Return a certificate over the key that signs receipts."""
        return self._issue(
            name=_name("receipt"),
            key=key,
            now=now,
            life=RECEIPT_LIFE,
            alternatives=[x509.UniformResourceIdentifier("doorstep:receipt")],
            purpose=None,
        )

    def _issue(
        self,
        *,
        name: x509.Name,
        key: _PublicKey,
        now: datetime,
        life: timedelta,
        alternatives: Sequence[x509.GeneralName],
        purpose: x509.ObjectIdentifier | None,
    ) -> x509.Certificate:
        builder = (
            _builder(name, key, now, life)
            .issuer_name(self.certificate.subject)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(is_ca=False), critical=True)
            .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
            .add_extension(_key_id(key), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()),
                critical=False,
            )
        )
        if purpose is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        return builder.sign(self.key, hashes.SHA256())


def read_request(pem: str) -> ec.EllipticCurvePublicKey:
    """Return the P-256 key that made the certificate request ``pem``.

    Nothing else of the request counts: names and uses are ours to say.

    Raises:
        BadMessageError: No request, another kind of key, or not signed by its own key.
    """
    try:
        request = x509.load_pem_x509_csr(pem.encode())
        key = request.public_key()
        is_its_own = request.is_signature_valid
    except _UNREADABLE as error:
        raise BadMessageError("this is no certificate request in PEM") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise BadMessageError("a doorbell's TLS key is P-256")
    if not is_its_own:
        raise BadMessageError("this certificate request is not signed by its own key")
    return key


def public_der(key: ec.EllipticCurvePublicKey) -> bytes:
    """Return ``key`` as DER SubjectPublicKeyInfo, as statements spell it."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def to_pem(certificate: x509.Certificate) -> str:
    """Return ``certificate`` as PEM text."""
    return certificate.public_bytes(Encoding.PEM).decode()


def moment_of(at_ms: int) -> datetime:
    """Return Unix milliseconds as aware UTC."""
    return datetime.fromtimestamp(at_ms / 1000, tz=UTC)


def _builder(
    name: x509.Name, key: _PublicKey, now: datetime, life: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + life)
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _key_id(key: _PublicKey) -> x509.SubjectKeyIdentifier:
    return x509.SubjectKeyIdentifier.from_public_key(key)


def _usage(*, is_ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_ca,
        key_cert_sign=is_ca,
        crl_sign=is_ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
