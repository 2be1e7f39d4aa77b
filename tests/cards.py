"""The card of a doorbell that is enrolled, with a service that exists only in memory."""

from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding

from doorstep_cloud.devices.authority import Authority, to_pem
from doorstep_device.adapters.disk import FolderDisk
from doorstep_device.enrolment import Answer, enrol
from doorstep_shared.claim import Claim, fingerprint
from doorstep_shared.ids import parse_device_id
from tests.people import first_head, random_from

NOBODY = 1  # no broker listens there: none is needed to ring onto the card


def enrolled_card(folder: Path) -> Path:
    """Make ``folder`` the card of a doorbell that is enrolled and listed nowhere yet."""
    now = datetime.now(UTC)
    service = Authority.create(now)
    receipts = ed25519.Ed25519PrivateKey.generate()

    def answer(_url: str, fields: dict[str, str]) -> Answer:
        key = x509.load_pem_x509_csr(fields["csr"].encode()).public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        device = parse_device_id(fields["device"])
        return Answer(
            certificate=to_pem(service.issue_device(key, device, now)),
            ca_certificate=to_pem(service.certificate),
            receipt_certificate=to_pem(service.issue_receipt(receipts.public_key(), now)),
            broker_host="127.0.0.1",
            broker_port=NOBODY,
        )

    claim = Claim.draw(
        random_from("process"),
        ca_sha256=fingerprint(service.certificate.public_bytes(Encoding.DER)),
        root=first_head().root,
        url="http://127.0.0.1:1",
    )
    folder.mkdir(mode=0o700)
    enrol(FolderDisk(folder), str(claim), answer, random_from("doorbell process"))
    return folder
