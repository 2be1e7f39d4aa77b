"""What the service owes an owner for a deleted clip: a signed receipt.

It says that no store of the service holds what opens the clip any more. Copies
of the vault, which live a day, may hold it until then; the sealed bytes follow.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from doorstep_shared.encoding import Base64Bytes32
from doorstep_shared.fields import ClipIdField, HouseholdIdField, Milliseconds
from doorstep_shared.signing import Kind, Signed, SigningKey, VerifyKey, read_body, sign, verify


class Deletion(BaseModel):
    """The body of a deletion's receipt.

    Attributes:
        manifest: SHA-256 of the body of the clip's manifest: which clip it was.
        at: When its envelopes had left the vault, by the service's clock.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    v: Literal[1] = 1
    household: HouseholdIdField
    clip: ClipIdField
    manifest: Base64Bytes32
    at: Milliseconds


def sign_deletion(deletion: Deletion, key: SigningKey) -> Signed:
    """Return ``deletion`` signed by the service."""
    return sign(Kind.DELETION, deletion.model_dump(mode="json"), key)


def verify_deletion(signed: Signed, key: VerifyKey) -> Deletion:
    """Return the deletion in ``signed``, signed by the service's ``key``.

    Raises:
        WrongSignatureError: ``key`` did not sign it.
        BadMessageError: It is not a version 1 deletion.
    """
    verify(Kind.DELETION, signed, (key,))
    return read_body(Kind.DELETION, signed.body, Deletion)
