"""What the service owes a doorbell for a stored object: a signed receipt.

A doorbell forgets a clip only when every object of its manifest has a receipt
under the key it pinned at enrolment; a broker's PUBACK is never one.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from doorstep_shared.encoding import Base64Bytes32
from doorstep_shared.fields import ClipIdField, DeviceIdField
from doorstep_shared.manifest import MAX_PAYLOAD_BYTES, ObjectName
from doorstep_shared.signing import Kind, Signed, SigningKey, VerifyKey, read_body, sign, verify


class Receipt(BaseModel):
    """The body of a receipt: this payload is stored, read back, and its row committed.

    Attributes:
        size: Of the payload, bytes.
        sha256: Of the payload.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    v: Literal[1] = 1
    device: DeviceIdField
    clip: ClipIdField
    object: ObjectName
    size: Annotated[int, Field(ge=1, le=MAX_PAYLOAD_BYTES)]
    sha256: Base64Bytes32


def sign_receipt(receipt: Receipt, key: SigningKey) -> Signed:
    """Return ``receipt`` signed by the service."""
    return sign(Kind.RECEIPT, receipt.model_dump(mode="json"), key)


def verify_receipt(signed: Signed, key: VerifyKey) -> Receipt:
    """Return the receipt in ``signed``, signed by the pinned ``key``.

    Raises:
        WrongSignatureError: ``key`` did not sign it.
        BadMessageError: It is not a version 1 receipt.
    """
    verify(Kind.RECEIPT, signed, (key,))
    return read_body(Kind.RECEIPT, signed.body, Receipt)
