"""HTTP: a clip deleted for good, and the service's word for it."""

from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Path, Request
from pydantic import BaseModel, Field

from doorstep_cloud.access.policy import Action, Resource
from doorstep_cloud.clips.deleter import Deleter
from doorstep_cloud.clips.deletion import bury, owner_of_clip
from doorstep_cloud.households.principal import (
    DatabasesDep,
    KnownActorDep,
    NowDep,
    authorize,
)
from doorstep_shared.ids import UUID7_PATTERN, ClipId
from doorstep_shared.signing import Signed

router: Final = APIRouter(tags=["clips"])

_ClipId = Annotated[str, Path(alias="clip", pattern=UUID7_PATTERN, description="A clip's id")]


@dataclass(frozen=True, slots=True)
class Notary:
    """What proves the key of receipts: both PEM.

    Attributes:
        receipt_certificate: Of the key that signs.
        ca_certificate: Of the CA that signed that certificate.
    """

    receipt_certificate: str
    ca_certificate: str


class DeletionAnswer(BaseModel):
    """A clip is deleted: no store of the service holds what opens it."""

    receipt: Annotated[Signed, Field(description="Kind `deletion`, by the service's receipt key")]
    receipt_certificate: Annotated[str, Field(description="PEM; holds the receipt key")]
    ca_certificate: Annotated[str, Field(description="PEM; signed the receipt certificate")]


def deleter(request: Request) -> Deleter:
    """Return the deleter of this app."""
    found: Deleter = request.app.state.deleter
    return found


def notary(request: Request) -> Notary:
    """Return the certificates of this app's receipts."""
    found: Notary = request.app.state.notary
    return found


@router.delete("/v1/clips/{clip}")
def delete_clip(
    *,
    databases: DatabasesDep,
    actor: KnownActorDep,
    now: NowDep,
    deleter: Annotated[Deleter, Depends(deleter)],
    notary: Annotated[Notary, Depends(notary)],
    clip: _ClipId,
) -> DeletionAnswer:
    """Delete a clip for good. The same request again gets the same receipt, for 400 days.

    503 with Retry-After: the clip is deleted, only its receipt cannot be signed yet.
    """
    known = ClipId(clip)
    with databases.write() as unit:
        authorize(unit, actor, Action.DELETE_CLIP, Resource(owner_of_clip(unit, known)), now)
        bury(unit, [known], now)
        unit.commit()
    # From here on the clip is gone for everybody, whatever becomes of this request.
    return DeletionAnswer(
        receipt=deleter.conclude(known),
        receipt_certificate=notary.receipt_certificate,
        ca_certificate=notary.ca_certificate,
    )
