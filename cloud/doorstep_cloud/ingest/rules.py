"""What ingest decides, as values: may this clip come, and how much at once."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from doorstep_shared.errors import BadMessageError
from doorstep_shared.ids import DeviceId, HouseholdId
from doorstep_shared.manifest import EnvelopeFacts, Manifest, ObjectName
from doorstep_shared.seal import GhostRecipientError, parse_envelope, require_one_recipient_stanza
from doorstep_shared.signing import Kind, Signed, VerifyKey, WrongSignatureError, verify
from doorstep_shared.transfer.messages import MAX_WINDOW
from doorstep_shared.wire import Announcement

MAX_SEGMENTS_UNDERWAY: Final = 512
"""Over all doorbells: 64 MiB in the broker's memory, a quarter of what it may use."""

FOREIGN_KEY: Final = "it is sealed to a key that this household did not announce"

GREETED_AGAIN_S: Final = 1.0
"""Doorbells ask again no sooner; one that does would have the chain read without end."""

STORING_BUSY: Final = 4
STORING_FULL: Final = 16
"""Objects that wait for the store: from the first on they come slower, from the second not."""


@dataclass(frozen=True, slots=True)
class Sender:
    """What the service knows of a doorbell it hears.

    Attributes:
        household: By its enrolment.
        manifest_key: Raw Ed25519 public key, by its enrolment.
        is_listed: The household's statement in force names it, with that key, as active.
        epoch: The newest of the household.
    """

    device: DeviceId
    household: HouseholdId
    manifest_key: bytes
    is_listed: bool
    epoch: int


@dataclass(frozen=True, slots=True)
class Accepted:
    """The clip may come.

    Attributes:
        envelopes: One per object of the manifest.
    """

    manifest: Manifest
    envelopes: Mapping[ObjectName, bytes]


@dataclass(frozen=True, slots=True)
class NotYet:
    """Silence: the same announcement may be right in a moment, and is repeated anyway."""


@dataclass(frozen=True, slots=True)
class Refused:
    """This clip will never be taken."""

    reason: str


@dataclass(frozen=True, slots=True)
class Foreign:
    """Another doorbell or household is named: dropped, for it concerns nobody here."""


Verdict: TypeAlias = Accepted | NotYet | Refused | Foreign


def decide_announcement(
    announcement: Announcement, manifest: Manifest, sender: Sender, *, is_own_epoch: bool
) -> Verdict:
    """Return whether an announced clip may come.

    An owner lists a new doorbell seconds after its enrolment, and an epoch may be
    newer here than a statement on its way: both are waited for. A clip for an
    epoch key that the household does not have could be opened by somebody else.

    Args:
        announcement: As it came.
        manifest: What its container says, not yet verified.
        sender: Who sent it, by the broker's word.
        is_own_epoch: The household's chain names the manifest's recipient for the manifest's epoch.
    """
    if manifest.device != sender.device or manifest.household != sender.household:
        return Foreign()
    if not sender.is_listed or manifest.epoch > sender.epoch:
        return NotYet()
    envelopes = _envelopes(announcement)
    reason = (
        _flaw_of_signature(announcement.manifest, sender)
        or (None if is_own_epoch else FOREIGN_KEY)
        or _flaw_of_envelopes(envelopes, manifest)
    )
    return Refused(reason) if reason else Accepted(manifest, envelopes)


@dataclass(frozen=True, slots=True)
class Greeting:
    """The last hello of a doorbell that was answered.

    Attributes:
        place: Of the head it named; -1 for none.
        at_s: Monotonic.
    """

    place: int
    at_s: float


def is_greeted(last: Greeting | None, hello: Greeting) -> bool:
    """Return whether ``hello`` is answered.

    One that names a later head is, at once: it has taken what it was sent, and a long
    chain comes in many messages.
    """
    if last is None or hello.place > last.place:
        return True
    return hello.at_s - last.at_s >= GREETED_AGAIN_S


def decide_credit(transfers: int, storing: int) -> int:
    """Return how many segments each transfer may have on the way, 0 to 16.

    Args:
        transfers: How many are under way.
        storing: How many objects wait for the store.
    """
    if storing >= STORING_FULL:
        return 0
    if storing >= STORING_BUSY:
        return 1
    return max(1, min(MAX_WINDOW, MAX_SEGMENTS_UNDERWAY // max(1, transfers)))


def _envelopes(announcement: Announcement) -> Mapping[ObjectName, bytes]:
    sent = announcement.envelopes
    named = {
        ObjectName.FILE: sent.file,
        ObjectName.THUMB: sent.thumb,
        ObjectName.DETAILS: sent.details,
    }
    return {name: envelope for name, envelope in named.items() if envelope is not None}


def _flaw_of_signature(signed: Signed, sender: Sender) -> str | None:
    try:
        verify(Kind.MANIFEST, signed, (VerifyKey(sender.manifest_key),))
    except WrongSignatureError:
        return "the manifest is not signed by this doorbell"
    return None


def _flaw_of_envelopes(envelopes: Mapping[ObjectName, bytes], manifest: Manifest) -> str | None:
    if set(envelopes) != set(manifest.objects):
        return "manifest and envelopes do not name the same objects"
    for name, envelope in envelopes.items():
        if (flaw := _flaw(envelope, manifest.objects[name].envelope)) is not None:
            return f"the envelope of its {name} {flaw}"
    return None


def _flaw(envelope: bytes, facts: EnvelopeFacts) -> str | None:
    digest = hashlib.sha256(envelope).digest()
    if len(envelope) != facts.length or digest != facts.sha256:
        return "is not the one in the manifest"
    try:
        require_one_recipient_stanza(parse_envelope(envelope))
    except BadMessageError:
        return "is no age header"
    except GhostRecipientError:
        return "names more than the household"
    return None
