"""The end of a clip: its small objects sealed, and the manifest over all of it."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from doorstep_device.chain import Link
from doorstep_device.clip_folder import ClipFolder, ClipRecord, Opening
from doorstep_device.ports.disk import DiskFullError
from doorstep_shared.age_keys import Recipient
from doorstep_shared.ids import ClipId, DeviceId, Random
from doorstep_shared.manifest import (
    EnvelopeFacts,
    Manifest,
    ObjectFacts,
    ObjectName,
    PayloadFacts,
)
from doorstep_shared.seal import Sealed, seal_bytes
from doorstep_shared.wire import Envelopes


@dataclass(frozen=True, slots=True)
class Ending:
    """What a clip ends with.

    Attributes:
        media_ms: From its first frame to its last.
        is_last: Whether no further part of the episode follows.
        is_truncated: Whether it was cut, and holds what was whole.
        thumb: A JPEG; None if there is none.
        details: JSON; None if there are none.
    """

    media_ms: int
    is_last: bool
    is_truncated: bool = False
    thumb: bytes | None = None
    details: bytes | None = None


def seal_objects(
    folder: ClipFolder, record: ClipRecord, payload: PayloadFacts, ending: Ending, random: Random
) -> tuple[Envelopes, Mapping[ObjectName, ObjectFacts]]:
    """Seal thumbnail and details onto the disk; return all envelopes and what holds of each.

    An object that the disk has no room for is left out: the video comes first, and it is
    safe already.
    """
    recipient = Recipient.parse(record.opening.recipient)
    envelopes = {ObjectName.FILE: record.envelopes.file}
    objects = {ObjectName.FILE: _facts(record.envelopes.file, payload)}
    for name, data in ((ObjectName.THUMB, ending.thumb), (ObjectName.DETAILS, ending.details)):
        if data is None:
            continue
        sealed = seal_bytes(data, recipient, random)
        try:
            folder.write_object(name, sealed.payload)
        except DiskFullError:
            continue
        envelopes[name] = sealed.envelope
        objects[name] = _facts(sealed.envelope, _payload_facts(sealed))
    return Envelopes.model_validate(envelopes), objects


def manifest_of(
    clip: ClipId,
    opening: Opening,
    objects: Mapping[ObjectName, ObjectFacts],
    ending: Ending,
    *,
    device: DeviceId,
    newest: Link,
) -> Manifest:
    """Return the manifest of a clip that follows the ``newest`` one."""
    return Manifest(
        household=opening.household,
        device=device,
        clip=clip,
        seq=newest.seq + 1,
        prev=newest.sha256,
        epoch=opening.epoch,
        recipient=opening.recipient,
        kind=opening.kind,
        events=opening.events,
        part=opening.part,
        last=ending.is_last,
        # A clip that was cut may end before its event.
        pre_roll_ms=min(opening.pre_roll_ms, ending.media_ms),
        start=opening.start,
        end=opening.start + ending.media_ms,
        clock_synced=opening.clock_synced,
        truncated=ending.is_truncated,
        file=objects[ObjectName.FILE],
        thumb=objects.get(ObjectName.THUMB),
        details=objects.get(ObjectName.DETAILS),
    )


def _facts(envelope: bytes, payload: PayloadFacts) -> ObjectFacts:
    facts = EnvelopeFacts(length=len(envelope), sha256=hashlib.sha256(envelope).digest())
    return ObjectFacts(envelope=facts, payload=payload)


def _payload_facts(sealed: Sealed) -> PayloadFacts:
    payload_hash = hashlib.sha256(sealed.payload).digest()
    return PayloadFacts(length=len(sealed.payload), sha256=payload_hash)
