"""Who this doorbell is: keys it made for itself, and what enrolment gave it.

The private keys are made once, on the card, and leave it never. Enrolment adds
a certificate and the service's pinned keys; an enrolled doorbell takes no
other household, claim or address: that needs the card rewritten.
"""

import json
from dataclasses import dataclass, field
from datetime import datetime

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509 import InvalidVersion, load_pem_x509_certificate
from pydantic import BaseModel, ConfigDict, ValidationError

from doorstep_device.ports.disk import Disk
from doorstep_shared.age_keys import Identity as AgeIdentity
from doorstep_shared.claim import DeviceKeys
from doorstep_shared.encoding import Base64Bytes32
from doorstep_shared.errors import DoorstepError, RefusedError
from doorstep_shared.ids import Random, draw_device_id, parse_device_id
from doorstep_shared.signing import SigningKey

FOLDER = "identity"
TLS_KEY_PATH = f"{FOLDER}/tls.key"
CERTIFICATE_PATH = f"{FOLDER}/tls.pem"
CA_PATH = f"{FOLDER}/ca.pem"
ENROLMENT_PATH = "enrolment.json"


class NotEnrolledError(RefusedError):
    """This doorbell belongs to nobody yet."""


class DamagedIdentityError(RefusedError):
    """The doorbell's own keys or certificates cannot be read from the card."""

    def __init__(self, what: str) -> None:
        """Say that of ``what``: keys, say, or certificates."""
        super().__init__(
            f"the {what} of this doorbell cannot be read from its card",
            safe="Clips already on the card are kept, sealed.",
            do="write the card again and add the doorbell with a new claim (doorstep device add)",
        )


@dataclass(frozen=True, slots=True)
class DoorbellKeys:
    """The doorbell's private keys.

    Attributes:
        public: Its id and the public halves.
        tls: P-256.
        manifest: Signs its manifests.
        age: Opens settings sealed to it.
    """

    public: DeviceKeys
    tls: ec.EllipticCurvePrivateKey = field(repr=False)
    manifest: SigningKey
    age: AgeIdentity


class Enrolment(BaseModel):
    """What enrolment gave this doorbell.

    Attributes:
        url: The service's address, from the claim.
        root: The household's root, from the claim.
        setup_key: Kept by household and doorbell for later set-up.
        receipt_key: The service's; its receipts count, no other's.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    url: str
    root: Base64Bytes32
    setup_key: Base64Bytes32
    receipt_key: Base64Bytes32
    broker_host: str
    broker_port: int


def keys_or_new(disk: Disk, random: Random) -> DoorbellKeys:
    """Return the doorbell's keys; made and stored when there are none.

    The id is written last: keys without an id are made anew.

    Raises:
        DamagedIdentityError: They cannot be read.
    """
    if not disk.exists(f"{FOLDER}/device.json"):
        disk.make_dir(FOLDER)
        tls = ec.generate_private_key(ec.SECP256R1())
        pem = tls.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        disk.write_whole(TLS_KEY_PATH, pem)
        disk.write_whole(f"{FOLDER}/manifest.key", SigningKey.generate(random).seed.hex().encode())
        disk.write_whole(f"{FOLDER}/age.key", str(AgeIdentity.generate(random)).encode())
        device = json.dumps({"format": 1, "device": draw_device_id(random)})
        disk.write_whole(f"{FOLDER}/device.json", device.encode())
    return read_keys(disk)


def read_keys(disk: Disk) -> DoorbellKeys:
    """Return the doorbell's keys.

    Raises:
        NotEnrolledError: There are none yet.
        DamagedIdentityError: They cannot be read.
    """
    if not disk.exists(f"{FOLDER}/device.json"):
        raise _not_enrolled()
    try:
        device = parse_device_id(json.loads(disk.read(f"{FOLDER}/device.json"))["device"])
        tls = load_pem_private_key(disk.read(TLS_KEY_PATH), password=None)
        manifest = SigningKey(bytes.fromhex(disk.read(f"{FOLDER}/manifest.key").decode()))
        manifest_key = manifest.public.raw  # a seed of another length fails here
        age = AgeIdentity.parse(disk.read(f"{FOLDER}/age.key").decode())
    except (ValueError, KeyError, TypeError, UnsupportedAlgorithm, DoorstepError) as error:
        raise DamagedIdentityError("keys") from error
    if not isinstance(tls, ec.EllipticCurvePrivateKey):
        raise DamagedIdentityError("keys")
    public = DeviceKeys(
        device=device,
        tls_key=tls.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        manifest_key=manifest_key,
        age_recipient=str(age.recipient()),
    )
    return DoorbellKeys(public=public, tls=tls, manifest=manifest, age=age)


def read_enrolment(disk: Disk) -> Enrolment:
    """Return what enrolment gave.

    Raises:
        NotEnrolledError: Nothing yet.
        DamagedIdentityError: It cannot be read.
    """
    if not disk.exists(ENROLMENT_PATH):
        raise _not_enrolled()
    try:
        return Enrolment.model_validate_json(disk.read(ENROLMENT_PATH))
    except ValidationError as error:
        raise DamagedIdentityError("enrolment") from error


def read_certificate_start(disk: Disk) -> datetime:
    """Return from when on the doorbell's certificate is valid, aware.

    Raises:
        DamagedIdentityError: It cannot be read.
    """
    try:
        return load_pem_x509_certificate(disk.read(CERTIFICATE_PATH)).not_valid_before_utc
    except (ValueError, InvalidVersion, RefusedError) as error:
        raise DamagedIdentityError("certificate") from error


def _not_enrolled() -> NotEnrolledError:
    return NotEnrolledError(
        "this doorbell belongs to nobody yet",
        safe="It records nothing.",
        do="doorstep device add        (on your computer), then: doorstep-device enrol -",
    )
