"""Commands that owners sign, and others."""

from collections.abc import Sequence

from doorstep_shared.commands import Command, CommandName, sign_command
from doorstep_shared.ids import ClipId, DeviceId, HouseholdId
from doorstep_shared.signing import Signed
from tests.people import DAY_MS, FRONT_DOOR, HOUSEHOLD, NOW_MS, OWNER, Person


def delete_order(
    clips: Sequence[ClipId] | None = None,
    *,
    until: int | None = None,
    counter: int = 1,
    signer: Person = OWNER,
    device: DeviceId = FRONT_DOOR.device.id,
    household: HouseholdId = HOUSEHOLD,
    expires: int = NOW_MS + DAY_MS,
) -> Signed:
    """Return a command to delete ``clips``, or all until a time."""
    command = Command(
        household=household,
        device=device,
        counter=counter,
        at=NOW_MS,
        expires=expires,
        name=CommandName.DELETE,
        clips=None if clips is None else tuple(clips),
        until=until,
    )
    return sign_command(command, signer.sign)
