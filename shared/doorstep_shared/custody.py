"""What an officer gets beside a released clip: the service's signed word on how it came.

It ties the file, byte for byte, to the request, to the household's grant and to
the doorbell's manifest. It names the household to nobody: the manifest itself,
which names doorbell and clip, comes along only where the owner gave a name.
"""

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from doorstep_shared.encoding import Base64Bytes, Base64Bytes32
from doorstep_shared.errors import RefusedError
from doorstep_shared.fields import (
    AgencyIdField,
    Milliseconds,
    NameText,
    RecipientText,
    ReleaseIdField,
    RequestIdField,
)
from doorstep_shared.manifest import MAX_ENVELOPE_BYTES, MAX_PAYLOAD_BYTES, Manifest, read_manifest
from doorstep_shared.signing import (
    Kind,
    Signed,
    SigningKey,
    VerifyKey,
    decode_signed,
    parse_canonical,
    read_body,
    sign,
    verify,
)

MAX_FILE_BYTES: Final = MAX_ENVELOPE_BYTES + MAX_PAYLOAD_BYTES
MAX_MANIFEST_BYTES: Final = 16 * 1024


class WrongCustodyError(RefusedError):
    """A custody record does not say of one clip what it should."""


class CustodyRecord(BaseModel):
    """The body of a custody record.

    Attributes:
        request_sha256: Of the body of the request.
        agency_key: Id of the key that signed the request.
        recipient: What the file is sealed to.
        file_sha256: Of the age file: its envelope, then its payload.
        file_length: Of the same, bytes.
        payload_sha256: Of the payload alone, as in the doorbell's manifest.
        manifest_sha256: Of the body of the doorbell's manifest.
        manifest: The signed manifest itself; None unless the owner gave a name.
        grant_sha256: Of the body of the household's grant.
        name: Who gave it, if they chose to say so.
        start: Of the clip's first frame, by the doorbell's clock, Unix milliseconds.
        end: Of its last.
        clock_synced: Whether that clock was set by NTP.
        received_at: When the service had stored the payload, by its own clock.
        available_at: When the hold was over.
        at: When this record was signed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    v: Literal[1] = 1
    release: ReleaseIdField
    request: RequestIdField
    request_sha256: Base64Bytes32
    agency: AgencyIdField
    agency_key: Base64Bytes32
    recipient: RecipientText
    file_sha256: Base64Bytes32
    file_length: Annotated[int, Field(ge=1, le=MAX_FILE_BYTES)]
    payload_sha256: Base64Bytes32
    manifest_sha256: Base64Bytes32
    manifest: Annotated[Base64Bytes, Field(max_length=MAX_MANIFEST_BYTES)] | None
    grant_sha256: Base64Bytes32
    name: NameText | None
    start: Milliseconds
    end: Milliseconds
    clock_synced: bool
    received_at: Milliseconds
    available_at: Milliseconds
    at: Milliseconds

    @model_validator(mode="after")
    def _holds_together(self) -> "CustodyRecord":
        if self.end < self.start:
            raise ValueError("a clip ends after it starts")
        if (self.manifest is None) != (self.name is None):
            raise ValueError("the manifest comes along with a name, and only with one")
        return self


def sign_custody(record: CustodyRecord, key: SigningKey) -> Signed:
    """Return ``record`` signed by the service."""
    return sign(Kind.CUSTODY, record.model_dump(mode="json"), key)


def verify_custody(signed: Signed, key: VerifyKey) -> CustodyRecord:
    """Return the record in ``signed``, signed by the service's ``key``.

    Whether the manifest in it is a doorbell's cannot be told without the household's
    statements; that it is the one named, and of this video, can.

    Raises:
        WrongCustodyError: The manifest in it is another one, or another video's.
        WrongSignatureError: ``key`` did not sign it.
        BadMessageError: It, or the manifest in it, is not of version 1.
    """
    verify(Kind.CUSTODY, signed, (key,))
    parse_canonical(signed.body)
    record = read_body(Kind.CUSTODY, signed.body, CustodyRecord)
    if record.manifest is not None:
        _check_manifest(record, decode_signed(record.manifest))
    return record


def _check_manifest(record: CustodyRecord, signed: Signed) -> None:
    manifest = read_manifest(signed)
    if signed.body_hash != record.manifest_sha256 or not _is_of(manifest, record):
        raise WrongCustodyError("the manifest in this custody record is another clip's")


def _is_of(manifest: Manifest, record: CustodyRecord) -> bool:
    same = (record.payload_sha256, record.start, record.end, record.clock_synced)
    said = (manifest.file.payload.sha256, manifest.start, manifest.end, manifest.clock_synced)
    return said == same
