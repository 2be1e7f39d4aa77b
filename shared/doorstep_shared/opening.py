"""Opening a clip with every check, and only then wrapping its key again.

A service that swaps an envelope, a payload, a manifest or an epoch is found
here: the doorbell's key comes from the household's own chain, the manifest
from that key, the hashes from the manifest, and the file key must open these
very bytes.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from doorstep_shared.age_keys import Identity, Recipient
from doorstep_shared.errors import RefusedError
from doorstep_shared.ids import Random
from doorstep_shared.manifest import (
    EnvelopeFacts,
    Manifest,
    ObjectFacts,
    ObjectName,
    PayloadFacts,
    read_manifest,
    verify_manifest,
)
from doorstep_shared.seal import FileKey, parse_header, require_one_recipient_stanza
from doorstep_shared.signing import Signed, VerifyKey
from doorstep_shared.statements import Statement
from doorstep_shared.unseal import open_envelope, open_payload, rewrap_envelope


class UnprovenClipError(RefusedError):
    """What the service sent is not what a doorbell of this household recorded."""


@dataclass(frozen=True, slots=True)
class VerifiedObject:
    """An opened object of a clip, every check passed.

    Attributes:
        manifest: The doorbell's, verified.
        name: Which of the clip's objects.
        data: The clear bytes.
    """

    manifest: Manifest
    name: ObjectName
    data: bytes = field(repr=False)
    _file_key: FileKey = field(repr=False)

    def rewrap(self, recipient: Recipient, random: Random) -> bytes:
        """Return an envelope that opens this very payload for ``recipient`` alone."""
        return rewrap_envelope(self._file_key, [recipient], random)


def check_manifest(signed: Signed, statements: Iterable[Statement]) -> Manifest:
    """Return the manifest in ``signed`` if a doorbell of this household made it.

    Args:
        signed: From the service.
        statements: The household's verified chain, oldest first.

    Raises:
        UnprovenClipError: Another household, a doorbell never listed, or an
            epoch key never announced.
        WrongSignatureError: The doorbell did not sign it.
        BadMessageError: It is not a manifest.
    """
    chain = list(statements)
    claimed = read_manifest(signed)
    device = next((d for s in reversed(chain) if (d := s.device(claimed.device))), None)
    if device is None or claimed.household != chain[-1].household:
        raise _unproven("no doorbell of your household made this clip")
    manifest = verify_manifest(signed, VerifyKey(device.manifest_key))
    announced = {s.epoch.n: s.epoch.recipient for s in chain}
    if announced.get(manifest.epoch) != manifest.recipient:
        raise _unproven("this clip is sealed to a key your household never announced")
    return manifest


def open_object(
    manifest: Manifest, name: ObjectName, age_file: bytes, epochs: Mapping[int, Identity]
) -> VerifiedObject:
    """Return object ``name`` of a checked ``manifest``, opened from ``age_file``.

    Args:
        manifest: As `check_manifest` returned it.
        name: Which object.
        age_file: Envelope and payload, as the service sent them.
        epochs: The household's epoch keys, as `open_keyring` returned them.

    Raises:
        UnprovenClipError: The bytes are not the manifest's, the clip has no
            such object, or its epoch is not among ``epochs``.
        GhostRecipientError: The envelope is for more than the household.
        NotOurEnvelopeError, BadMessageError: It does not open.
    """
    facts = manifest.objects.get(name)
    if facts is None:
        raise _unproven(f"this clip has no {name.value}")
    envelope_facts, length = parse_header(age_file)
    envelope, payload = age_file[:length], age_file[length:]
    if facts != facts_of(envelope, payload):
        raise _unproven("these bytes are not the ones the doorbell signed")
    require_one_recipient_stanza(envelope_facts)
    if (identity := epochs.get(manifest.epoch)) is None:
        raise _unproven(f"your keyring holds no key for epoch {manifest.epoch}")
    file_key = open_envelope(envelope, [identity])
    return VerifiedObject(manifest, name, open_payload(file_key, payload), file_key)


def facts_of(envelope: bytes, payload: bytes) -> ObjectFacts:
    """Return what a manifest says of these two halves of an object."""
    return ObjectFacts(
        envelope=EnvelopeFacts(length=len(envelope), sha256=hashlib.sha256(envelope).digest()),
        payload=PayloadFacts(length=len(payload), sha256=hashlib.sha256(payload).digest()),
    )


def _unproven(fact: str) -> UnprovenClipError:
    return UnprovenClipError(
        fact,
        safe="It was not opened, and none of your keys was used for anybody else.",
        do="doorstep clip verify ID        (shows every check)",
    )
