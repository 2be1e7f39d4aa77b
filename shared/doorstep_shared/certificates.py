"""The one certificate a person's computer looks into: that of the service's receipt key.

Nothing here asks the system's store of certificates: the service's own CA is pinned, or
named by a claim.
"""

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding

from doorstep_shared.claim import fingerprint
from doorstep_shared.errors import BadMessageError, RefusedError
from doorstep_shared.signing import VerifyKey


class WrongCertificateError(RefusedError):
    """A certificate was not signed by the CA it came with, or holds another kind of key."""


def ca_fingerprint(ca_pem: str) -> bytes:
    """Return SHA-256 of a CA's certificate (DER), as claims name it.

    Raises:
        BadMessageError: It is no certificate.
    """
    return fingerprint(_load(ca_pem).public_bytes(Encoding.DER))


def receipt_key_in(receipt_pem: str, ca_pem: str) -> VerifyKey:
    """Return the service's receipt key, once its certificate is found signed by the CA.

    Raises:
        WrongCertificateError: It is not, or the key is no Ed25519 key.
        BadMessageError: One is no certificate.
    """
    certificate, ca = _load(receipt_pem), _load(ca_pem)
    try:
        key, ca_key, algorithm = (
            certificate.public_key(),
            ca.public_key(),
            certificate.signature_hash_algorithm,
        )
    # Some of a certificate is only read when it is asked for.
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _unreadable() from error
    if not isinstance(key, Ed25519PublicKey) or algorithm is None:
        raise WrongCertificateError("the service's receipt key is of another kind than ours")
    if not isinstance(ca_key, ec.EllipticCurvePublicKey):
        raise WrongCertificateError("the service's CA is of another kind than ours")
    try:
        ca_key.verify(certificate.signature, certificate.tbs_certificate_bytes, ec.ECDSA(algorithm))
    except InvalidSignature as error:
        raise WrongCertificateError("the service's receipt key was not signed by its CA") from error
    return VerifyKey(key.public_bytes_raw())


def _load(pem: str) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(pem.encode())
    except (ValueError, x509.InvalidVersion) as error:
        raise _unreadable() from error


def _unreadable() -> BadMessageError:
    return BadMessageError("this is no certificate that can be read")
