"""Joining a household by claim.

The claim names the service's CA and the household's root; the service's
answer is believed only as far as it fits. The MAC under the claim's secret
tells the owner's client that these keys are this doorbell's, and the service
can neither make nor check it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from doorstep_device.identity import (
    CA_PATH,
    CERTIFICATE_PATH,
    ENROLMENT_PATH,
    DoorbellKeys,
    Enrolment,
    keys_or_new,
    read_enrolment,
)
from doorstep_device.ports.disk import Disk
from doorstep_shared.claim import Claim, fingerprint, parse_claim
from doorstep_shared.encoding import to_base64url
from doorstep_shared.errors import BadMessageError, RefusedError
from doorstep_shared.ids import Random
from doorstep_shared.topics import common_name

WRONG_SERVICE_DO: Final = "doorstep device add        (on your computer, for a new claim)"


class AlreadyEnrolledError(RefusedError):
    """This doorbell belongs to a household and takes no other."""


class WrongServiceError(RefusedError):
    """The service that answered is not the one the claim names."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The service's answer to an enrolment; PEM where not said otherwise."""

    certificate: str
    ca_certificate: str
    receipt_certificate: str
    broker_host: str
    broker_port: int


Ask = Callable[[str, dict[str, str]], Answer]
"""Posts an enrolment's fields to the service at that address."""


def enrol(disk: Disk, claim_text: str, ask: Ask, random: Random) -> Enrolment:
    """Return the enrolment that the claim in ``claim_text`` leads to; durable on return.

    Repeating it after a power cut, with the same claim, ends the same way.

    Raises:
        AlreadyEnrolledError: To another household; nothing changes.
        BadMessageError: No claim, or no sensible answer.
        WrongServiceError: The answer does not fit the claim.
        TryLaterError: The service cannot be reached.
        RefusedError: The service does not take this claim.
    """
    claim = _read(claim_text)
    if disk.exists(ENROLMENT_PATH):
        return _same_household(read_enrolment(disk), claim)
    keys = keys_or_new(disk, random)
    answer = ask(claim.url, _fields(keys, claim))
    receipt_key = _check(answer, claim, keys)
    enrolment = Enrolment(
        url=claim.url,
        root=claim.root,
        setup_key=claim.setup_key,
        receipt_key=receipt_key,
        broker_host=answer.broker_host,
        broker_port=answer.broker_port,
    )
    disk.write_whole(CA_PATH, answer.ca_certificate.encode())
    disk.write_whole(CERTIFICATE_PATH, answer.certificate.encode())
    # Last: with this file the doorbell is enrolled, without it nothing happened.
    disk.write_whole(ENROLMENT_PATH, enrolment.model_dump_json().encode())
    return enrolment


def _read(claim_text: str) -> Claim:
    try:
        return parse_claim(claim_text)
    except BadMessageError as error:
        raise BadMessageError(
            error.fact,
            safe="Nothing was changed, and nothing was sent.",
            do="doorstep-device enrol -        (and type the claim again, whole; "
            "`doorstep device add` prints it and keeps it for a day)",
        ) from error


def _same_household(enrolment: Enrolment, claim: Claim) -> Enrolment:
    if (enrolment.root, enrolment.setup_key) == (claim.root, claim.setup_key):
        return enrolment
    raise AlreadyEnrolledError(
        "this doorbell already belongs to a household",
        safe="Nothing was changed.",
        do="write the card again to give it to somebody else",
    )


def _fields(keys: DoorbellKeys, claim: Claim) -> dict[str, str]:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name(keys.public.device))])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(keys.tls, SHA256())
    return {
        "claim_id": to_base64url(claim.claim_id),
        "device": keys.public.device,
        "csr": request.public_bytes(Encoding.PEM).decode(),
        "manifest_key": to_base64url(keys.public.manifest_key),
        "age_recipient": keys.public.age_recipient,
        "mac": to_base64url(claim.bind(keys.public)),
    }


def _check(answer: Answer, claim: Claim, keys: DoorbellKeys) -> bytes:
    """Return the service's receipt key once its three certificates fit claim and keys."""
    try:
        ca = _check_ca(answer, claim)
        _check_certificate(answer, ca, keys)
        return _receipt_key(answer, ca)
    # Some of a certificate is only read when it is asked for.
    except (ValueError, x509.InvalidVersion, UnsupportedAlgorithm) as error:
        raise BadMessageError(
            "the service's answer holds a certificate that cannot be read",
            safe="This doorbell was not enrolled.",
            do=WRONG_SERVICE_DO,
        ) from error


def _check_ca(answer: Answer, claim: Claim) -> x509.Certificate:
    ca = _load(answer.ca_certificate)
    if fingerprint(ca.public_bytes(Encoding.DER)) != claim.ca_sha256:
        raise _wrong_service("the service that answered has another CA than the claim names")
    return ca


def _check_certificate(answer: Answer, ca: x509.Certificate, keys: DoorbellKeys) -> None:
    certificate = _load(answer.certificate)
    _check_signed_by(certificate, ca)
    key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if key != keys.public.tls_key or [n.value for n in names] != [common_name(keys.public.device)]:
        raise _wrong_service("the certificate that came is another doorbell's")


def _receipt_key(answer: Answer, ca: x509.Certificate) -> bytes:
    certificate = _load(answer.receipt_certificate)
    _check_signed_by(certificate, ca)
    key = certificate.public_key()
    if not isinstance(key, Ed25519PublicKey):
        raise _wrong_service("the service's receipt key is of another kind than ours")
    return key.public_bytes_raw()


def _check_signed_by(certificate: x509.Certificate, ca: x509.Certificate) -> None:
    key = ca.public_key()
    algorithm = certificate.signature_hash_algorithm
    if not isinstance(key, ec.EllipticCurvePublicKey) or algorithm is None:
        raise _wrong_service("the service's CA is of another kind than ours")
    try:
        key.verify(certificate.signature, certificate.tbs_certificate_bytes, ec.ECDSA(algorithm))
    except InvalidSignature as error:
        raise _wrong_service(
            "a certificate that came was not signed by the service's CA"
        ) from error


def _load(pem: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pem.encode())


def _wrong_service(fact: str) -> WrongServiceError:
    return WrongServiceError(fact, safe="This doorbell was not enrolled.", do=WRONG_SERVICE_DO)
