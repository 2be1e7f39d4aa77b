"""Why the broker and ingest do not come together, in plain words.

TLS says it in codes, and some of it only in what it does: from version 1.3 on, a broker
that does not like our certificate ends the connection after we thought that it stood. So our
own certificate is looked at first, and what is left is the broker's word.
"""

import ssl
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature

# X509_V_ERR_…, of OpenSSL's x509_vfy.h.
_NOT_YET_VALID: Final = 9
_EXPIRED: Final = 10
_UNKNOWN_ISSUER: Final = {2, 18, 19, 20, 21, 24}
_OTHER_NAME: Final = {62, 64}

_RENEW: Final = (
    "doorstep-cloud migrate        (stop the service first; it makes what has ended anew)"
)
_RESTART_BROKER: Final = "doorstep-cloud migrate, then start the broker anew with the new files"
_CLOCK: Final = "date        (one of the two clocks is wrong; set it)"


@dataclass(frozen=True, slots=True)
class Trouble:
    """What stands between ingest and the broker.

    Attributes:
        fact: What is so; it names no address.
        do: What whoever runs the service does about it.
    """

    fact: str
    do: str


def describe(certificate: Path, ca: Path, error: BaseException | None, now: datetime) -> Trouble:
    """Return why a connection failed.

    Args:
        certificate: Ingest's own, PEM.
        ca: What the broker's is to hang from, PEM.
        error: What the connection failed with; None if the broker ended it without a word.
        now: Aware UTC.
    """
    return _of_own(certificate, ca, now) or _of_broker(error)


def _of_own(certificate: Path, ca: Path, now: datetime) -> Trouble | None:
    try:
        own = x509.load_pem_x509_certificate(certificate.read_bytes())
        issuer = x509.load_pem_x509_certificate(ca.read_bytes())
    except (OSError, ValueError):
        return Trouble("ingest's own certificate cannot be read", _RENEW)
    if own.not_valid_after_utc < now:
        return Trouble(f"ingest's own certificate ended on {_day(own.not_valid_after_utc)}", _RENEW)
    if own.not_valid_before_utc > now:
        begins = _day(own.not_valid_before_utc)
        return Trouble(f"ingest's own certificate only begins on {begins}", _CLOCK)
    try:
        own.verify_directly_issued_by(issuer)
    except (InvalidSignature, TypeError, ValueError):
        return Trouble("ingest's own certificate hangs from another CA than the service's", _RENEW)
    return None


def _of_broker(error: BaseException | None) -> Trouble:
    match error:
        case ssl.SSLCertVerificationError():
            return _of_its_certificate(error)
        case None | ssl.SSLError():
            return Trouble(
                "the broker ended the connection: it does not take ingest's certificate, "
                "or is no broker of TLS",
                "see the broker's log; its CA file must be the service's ca/ca.pem",
            )
        case ConnectionRefusedError():
            return Trouble("nobody listens where the broker should be", "start the broker")
        case _:
            return Trouble("the broker cannot be reached", "see whether the broker runs")


def _of_its_certificate(error: ssl.SSLCertVerificationError) -> Trouble:
    code = error.verify_code
    if code == _EXPIRED:
        return Trouble("the broker's certificate has ended", _RESTART_BROKER)
    if code == _NOT_YET_VALID:
        return Trouble("the broker's certificate is not valid yet", _CLOCK)
    if code in _UNKNOWN_ISSUER:
        return Trouble(
            "the broker's certificate hangs from another CA than the service's", _RESTART_BROKER
        )
    if code in _OTHER_NAME:
        return Trouble(
            "the broker's certificate is for another name", "see DOORSTEP_CLOUD_BROKER_HOST"
        )
    return Trouble(
        f"the broker's certificate is not right: {error.verify_message}", _RESTART_BROKER
    )


def _day(at: datetime) -> str:
    return f"{at.day} {at:%b %Y}"
