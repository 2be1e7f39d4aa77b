"""Invites: an operator hands one out, and one household comes of it."""

from dataclasses import dataclass
from typing import Final

from doorstep_cloud.households import codes
from doorstep_cloud.households.tables import InviteRow
from doorstep_cloud.store.databases import Unit
from doorstep_cloud.store.errors import NotAllowedError
from doorstep_shared.ids import Random

INVITE_MS: Final = 7 * 24 * 3600 * 1000
"""An invite that lies about for a week has been forgotten."""


@dataclass(frozen=True, slots=True)
class Invite:
    """An invite as its maker sees it, once.

    Attributes:
        expires_at_ms: Unix milliseconds.
    """

    code: str
    expires_at_ms: int


def create_invite(unit: Unit, now_ms: int, random: Random) -> Invite:
    """Write a new invite and return it; only its hash is kept."""
    invite = Invite(codes.draw_checked_code(codes.INVITE, random), now_ms + INVITE_MS)
    unit.main.add(
        InviteRow(
            code_sha256=codes.hash_code(invite.code),
            created_at_ms=now_ms,
            expires_at_ms=invite.expires_at_ms,
        )
    )
    return invite


def find_invite(unit: Unit, code: str, now_ms: int) -> InviteRow:
    """Return the row of ``code``, used or not.

    Raises:
        NotAllowedError: There is no such invite, or it has ended.
    """
    if not codes.is_well_formed(codes.INVITE, code, checked=True):
        raise NotAllowedError(
            "this invite is mistyped: its checksum does not fit",
            do="Copy the whole line that begins with dst_inv_.",
        )
    row = unit.main.get(InviteRow, codes.hash_code(code))
    if row is None or (now_ms >= row.expires_at_ms and row.household is None):
        raise _not_known()
    return row


def _not_known() -> NotAllowedError:
    return NotAllowedError(
        "this invite is not known here, or it has ended",
        do="Ask whoever runs the service for another: doorstep-cloud invite",
    )
