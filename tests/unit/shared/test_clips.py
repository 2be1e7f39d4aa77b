"""Manifests, receipts, keyrings, and opening a clip with every check."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from doorstep_shared.age_keys import Identity, Recipient
from doorstep_shared.errors import BadMessageError, RefusedError
from doorstep_shared.ids import draw_clip_id, draw_event_id
from doorstep_shared.keyring import (
    ForeignEpochError,
    keyring_text,
    open_keyring,
    parse_keyring,
    seal_keyrings,
)
from doorstep_shared.manifest import (
    ClipKind,
    Manifest,
    ObjectName,
    read_manifest,
    sign_manifest,
    verify_manifest,
)
from doorstep_shared.opening import UnprovenClipError, check_manifest, facts_of, open_object
from doorstep_shared.receipts import Receipt, sign_receipt, verify_receipt
from doorstep_shared.seal import FileKey, Sealed, seal_bytes, seal_envelope
from doorstep_shared.signing import Kind, Signed, SigningKey, WrongSignatureError, sign
from doorstep_shared.statements import Head, accept_next
from doorstep_shared.unseal import NotOurEnvelopeError, open_age_file
from tests.people import (
    FRONT_DOOR,
    HOUSEHOLD,
    NOW_MS,
    OWNER,
    doorbell,
    epoch,
    epoch_identity,
    first_head,
    person,
    random_from,
    successor,
)

GOLDEN = Path(__file__).parents[2] / "golden" / "manifest-v1.json"
VIDEO = b"clear frames " * 9000
EPOCHS = {1: epoch_identity(1)}


@dataclass(frozen=True, slots=True)
class Recorded:
    """A clip as a doorbell would hand it over."""

    manifest: Manifest
    signed: Signed
    sealed: Sealed

    @property
    def age_file(self) -> bytes:
        return self.sealed.envelope + self.sealed.payload


def record(*, signer: SigningKey = FRONT_DOOR.sign, **changes: object) -> Recorded:
    random = random_from("clip")
    recipient = epoch_identity(1).recipient()
    sealed = seal_bytes(VIDEO, recipient, random)
    fields = {
        "household": HOUSEHOLD,
        "device": FRONT_DOOR.device.id,
        "clip": draw_clip_id(NOW_MS, random),
        "seq": 1,
        "prev": None,
        "epoch": 1,
        "recipient": str(recipient),
        "kind": ClipKind.RING,
        "events": (draw_event_id(NOW_MS, random),),
        "pre_roll_ms": 6000,
        "start": NOW_MS,
        "end": NOW_MS + 14_000,
        "clock_synced": True,
        "file": facts_of(sealed.envelope, sealed.payload),
        "thumb": None,
        "details": None,
    }
    manifest = Manifest.model_validate(fields | changes)
    return Recorded(manifest, sign_manifest(manifest, signer), sealed)


def household() -> Head:
    return accept_next(first_head(), successor(first_head(), devices=(FRONT_DOOR.device,)))


CHAIN = [first_head().statement, household().statement]


def test_a_manifest_of_this_version_reads_the_same_for_ever() -> None:
    assert record().signed.encode() == GOLDEN.read_bytes()


def test_a_clip_of_the_household_opens() -> None:
    clip = record()
    manifest = check_manifest(clip.signed, CHAIN)
    opened = open_object(manifest, ObjectName.FILE, clip.age_file, EPOCHS)
    assert opened.data == VIDEO
    assert VIDEO[:20].decode() not in repr(opened)


def test_a_rewrapped_clip_opens_for_the_other_alone() -> None:
    clip = record()
    other, random = Identity.generate(random_from("other")), random_from("rewrap")
    opened = open_object(clip.manifest, ObjectName.FILE, clip.age_file, EPOCHS)
    again = opened.rewrap(other.recipient(), random) + clip.sealed.payload
    assert open_age_file(again, [other]) == VIDEO
    with pytest.raises(NotOurEnvelopeError):
        open_age_file(again, [EPOCHS[1]])


@pytest.mark.parametrize(
    "changes",
    [
        {"device": doorbell("back").device.id},
        {"household": "x" * 26},
        {"recipient": str(epoch_identity(2).recipient())},
        {"epoch": 2},
    ],
)
def test_a_manifest_of_somebody_else_proves_nothing(changes: dict[str, Any]) -> None:
    with pytest.raises(UnprovenClipError):
        check_manifest(record(**changes).signed, CHAIN)


def test_a_manifest_the_doorbell_did_not_sign_is_refused() -> None:
    with pytest.raises(WrongSignatureError):
        check_manifest(record(signer=doorbell("back").sign).signed, CHAIN)


def swapped_envelope(clip: Recorded) -> bytes:
    return seal_bytes(VIDEO, epoch_identity(1).recipient(), random_from("swap")).envelope + (
        clip.sealed.payload
    )


@pytest.mark.parametrize(
    "swap",
    [
        swapped_envelope,
        lambda clip: clip.age_file[:-1] + b"x",
        lambda clip: clip.age_file + b"x",
        lambda clip: clip.age_file[:-1],
    ],
)
def test_swapped_bytes_are_refused(swap: Callable[[Recorded], bytes]) -> None:
    clip = record()
    with pytest.raises(UnprovenClipError):
        open_object(clip.manifest, ObjectName.FILE, swap(clip), EPOCHS)


def test_a_ghost_beside_the_household_is_refused_even_if_the_doorbell_signed_it() -> None:
    random = random_from("ghost")
    ghost = Identity.generate(random).recipient()
    envelope = seal_envelope(FileKey.draw(random), [epoch_identity(1).recipient(), ghost], random)
    payload = record().sealed.payload
    clip = record(file=facts_of(envelope, payload))
    with pytest.raises(RefusedError, match=r"(?i)recipient|stanza|one"):
        open_object(clip.manifest, ObjectName.FILE, envelope + payload, EPOCHS)


def test_an_object_or_an_epoch_that_is_not_there_is_said() -> None:
    clip = record()
    with pytest.raises(UnprovenClipError, match="no thumb"):
        open_object(clip.manifest, ObjectName.THUMB, clip.age_file, EPOCHS)
    with pytest.raises(UnprovenClipError, match="no key for epoch"):
        open_object(clip.manifest, ObjectName.FILE, clip.age_file, {2: epoch_identity(2)})


@pytest.mark.parametrize(
    "changes",
    [
        {"end": NOW_MS - 1},
        {"prev": bytes(32)},
        {"seq": 2},
        {"events": ()},
        {"events": (draw_event_id(1, random_from("e")),) * 2},
        {"pre_roll_ms": -1},
        {"recipient": "age1nonsense"},
        {"thumb": facts_of(b"e", bytes(300_000))},
    ],
)
def test_a_manifest_that_contradicts_itself_cannot_be_made(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        record(**changes)


def test_objects_are_named_with_the_file_first() -> None:
    facts = facts_of(b"e", b"p")
    assert list(record(details=facts).manifest.objects) == [ObjectName.FILE, ObjectName.DETAILS]


def test_a_receipt_is_the_service_s_or_nothing() -> None:
    service, clip = SigningKey.generate(random_from("service")), record()
    receipt = Receipt(
        device=FRONT_DOOR.device.id,
        clip=clip.manifest.clip,
        object=ObjectName.FILE,
        size=clip.manifest.file.payload.length,
        sha256=clip.manifest.file.payload.sha256,
    )
    assert verify_receipt(sign_receipt(receipt, service), service.public) == receipt
    with pytest.raises(WrongSignatureError):
        verify_receipt(sign_receipt(receipt, FRONT_DOOR.sign), service.public)
    with pytest.raises(BadMessageError):
        verify_receipt(sign(Kind.RECEIPT, {"v": 1}, service), service.public)


@pytest.mark.parametrize(
    "body", [{"v": 1}, {"v": 2}, record().manifest.model_dump(mode="json") | {"x": 1}]
)
def test_what_is_no_manifest_is_refused(body: dict[str, object]) -> None:
    signed = sign(Kind.MANIFEST, body, FRONT_DOOR.sign)  # type: ignore[arg-type]  # JSON it is
    with pytest.raises(BadMessageError):
        verify_manifest(signed, FRONT_DOOR.sign.public)
    with pytest.raises(BadMessageError):
        read_manifest(signed)


def test_each_member_s_keyring_begins_with_their_first_epoch() -> None:
    late = person("late", from_epoch=2)
    head = household()
    grown = accept_next(
        head, successor(head, roster=(OWNER.member, late.member), epoch=epoch(2))
    ).statement
    epochs = {1: epoch_identity(1), 2: epoch_identity(2)}
    files = seal_keyrings(grown, epochs, random_from("files"))
    chain = [*CHAIN, grown]
    assert open_keyring(files[OWNER.member.member], OWNER.age, chain) == epochs
    assert open_keyring(files[late.member.member], late.age, chain) == {2: epochs[2]}
    with pytest.raises(NotOurEnvelopeError):
        open_keyring(files[OWNER.member.member], late.age, chain)


def test_a_keyring_with_a_key_nobody_announced_is_refused() -> None:
    forged = {1: Identity.generate(random_from("operator"))}
    file = seal_keyrings(CHAIN[0], forged, random_from("f"))[OWNER.member.member]
    with pytest.raises(ForeignEpochError):
        open_keyring(file, OWNER.age, CHAIN)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# epoch 1\n",
        "# epoch 0\nx\n",
        "# epoch 1\nx\n",
        "AGE\n",
        keyring_text(EPOCHS) * 2,
        keyring_text(EPOCHS) + "# epoch 2\n",
    ],
)
def test_what_is_no_keyring_is_refused(text: str) -> None:
    with pytest.raises(BadMessageError):
        parse_keyring(text)


def test_a_keyring_that_is_not_text_is_refused() -> None:
    sealed = seal_bytes(b"\xff\xfe", Recipient.parse(OWNER.member.age_recipient), random_from("b"))
    with pytest.raises(BadMessageError):
        open_keyring(sealed.envelope + sealed.payload, OWNER.age, CHAIN)
