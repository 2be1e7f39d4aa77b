"""Pure rules about doorbells: which word of theirs is the latest, and who vouches for them."""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from doorstep_shared.claim import DeviceKeys
from doorstep_shared.statements import Device, DeviceState, Statement

HEARD_WITHIN_MS: Final = 150_000
"""Health comes every 60 s: two may be lost before a doorbell counts as away."""

_BOOTS_KEPT: Final = 8


class Listing(StrEnum):
    """What the household's statement in force says of an enrolled doorbell."""

    ACTIVE = "active"
    REVOKED = "revoked"
    UNLISTED = "unlisted"


@dataclass(frozen=True, slots=True)
class Presence:
    """What a doorbell last said of itself.

    Attributes:
        boot: 128 random bits drawn once per boot, in hex; empty before the first word.
        connections: Counts that boot's connections from 1.
        is_connected: Whether the last word was a hello, not a last will.
        earlier_boots: Boots before this one, newest first, at most eight.
    """

    boot: str = ""
    connections: int = 0
    is_connected: bool = False
    earlier_boots: tuple[str, ...] = ()

    def hear(self, boot: str, connections: int, *, is_connected: bool) -> "Presence | None":
        """Return the presence after this word; None when it is older than what is known.

        A broker sends a last will after its delay, which may be after the
        doorbell came back: such a will names an older connection.
        """
        if boot in self.earlier_boots:
            return None
        if boot == self.boot:
            if connections < self.connections:
                return None
            return replace(self, connections=connections, is_connected=is_connected)
        return Presence(boot, connections, is_connected, self._boots_before())

    def _boots_before(self) -> tuple[str, ...]:
        return (self.boot, *self.earlier_boots)[:_BOOTS_KEPT] if self.boot else ()


def is_online(presence: Presence, last_heard_at_ms: int | None, now_ms: int) -> bool:
    """Return whether a doorbell counts as there: connected, and heard from within 150 s."""
    if last_heard_at_ms is None or not presence.is_connected:
        return False
    return now_ms - last_heard_at_ms <= HEARD_WITHIN_MS


def listing_of(statement: Statement, enrolled: DeviceKeys) -> Listing:
    """Return what ``statement`` says of the doorbell enrolled with these keys.

    A listing with other keys is another doorbell's, or somebody's mistake: it
    does not vouch for this one.
    """
    listed = statement.device(enrolled.device)
    if listed is None or not _is_same(listed, enrolled):
        return Listing.UNLISTED
    return Listing.ACTIVE if listed.state is DeviceState.ACTIVE else Listing.REVOKED


def _is_same(listed: Device, enrolled: DeviceKeys) -> bool:
    keys = (listed.tls_key, listed.manifest_key, listed.age_recipient)
    return keys == (enrolled.tls_key, enrolled.manifest_key, enrolled.age_recipient)
