"""Bodies that may never change: what is on cards, at services and in keyrings must be read.

Each file of `tests/golden/bodies-v1/` was written once. A difference from one is a doorbell, a
client or a service in the field that is no longer understood, or understands us no more: a new
field is a new version beside this one, or one that every older reader may pass over.
"""

from pathlib import Path
from typing import Final

import pytest
from pydantic import BaseModel

from doorstep_shared.agencies import sign_agency, verify_agency
from doorstep_shared.commands import Command, CommandName, sign_command, verify_command
from doorstep_shared.consent import (
    AgencyKind,
    ConsentPolicy,
    Requests,
    sign_policy,
    verify_policies,
)
from doorstep_shared.custody import CustodyRecord, sign_custody, verify_custody
from doorstep_shared.deletions import Deletion, sign_deletion, verify_deletion
from doorstep_shared.grants import Grant, read_grant, sign_grant
from doorstep_shared.ids import ClipId, EventId, ReleaseId
from doorstep_shared.keyring import keyring_text, open_keyring, parse_keyring, seal_keyrings
from doorstep_shared.manifest import ClipKind, Manifest, ObjectName, read_manifest, sign_manifest
from doorstep_shared.opening import facts_of
from doorstep_shared.receipts import Receipt, sign_receipt, verify_receipt
from doorstep_shared.requests import sign_request, verify_request
from doorstep_shared.seal import seal_bytes
from doorstep_shared.signing import Kind, Signed, SigningKey, decode_signed, verify
from doorstep_shared.statements import Statement, accept_next
from doorstep_shared.wire import (
    Ack,
    Alert,
    Announcement,
    Answer,
    Body,
    CameraState,
    Envelopes,
    Event,
    Health,
    Hello,
    RefusedClip,
    StatementHead,
    Statements,
    Status,
    decode_body,
)
from tests.people import (
    FRONT_DOOR,
    HOUSEHOLD,
    NOW_MS,
    OWNER,
    epoch,
    epoch_identity,
    first_head,
    random_from,
    successor,
)
from tests.questions import (
    AGENCY,
    AGENCY_KEY,
    OPERATOR,
    OPERATORS,
    OTHER_OPERATOR,
    REQUEST,
)

GOLDEN: Final = Path(__file__).parents[2] / "golden" / "bodies-v1"

BOOT: Final = "0123456789abcdef0123456789abcdef"
CLIP: Final = ClipId("01a0c450-6c00-7000-8000-00000000000c")
OTHER_CLIP: Final = ClipId("01a0c450-6c00-7000-8000-00000000000d")
EVENT: Final = EventId("01a0c450-6c00-7000-8000-00000000000e")
RECEIPT_KEY: Final = SigningKey.generate(random_from("receipt"))
SECOND: Final = successor(first_head(), devices=(FRONT_DOOR.device,), epoch=epoch(2))
CHAIN: Final[tuple[Statement, ...]] = (
    first_head().statement,
    accept_next(first_head(), SECOND).statement,
)
EPOCHS: Final = {n: epoch_identity(n) for n in (1, 2)}
RECEIPT: Final = Receipt(
    device=FRONT_DOOR.device.id,
    clip=CLIP,
    object=ObjectName.FILE,
    size=1_234_567,
    sha256=bytes(range(32)),
)


DELETION: Final = Deletion(household=HOUSEHOLD, clip=CLIP, manifest=bytes(range(32)), at=NOW_MS)
COMMAND: Final = Command(
    household=HOUSEHOLD,
    device=FRONT_DOOR.device.id,
    counter=7,
    at=NOW_MS,
    expires=NOW_MS + 3_600_000,
    name=CommandName.DELETE,
    clips=(CLIP, OTHER_CLIP),
    until=None,
)
POLICY: Final = ConsentPolicy(
    household=HOUSEHOLD,
    version=1,
    prev=None,
    at=NOW_MS,
    in_force_at=NOW_MS,
    agency_requests=Requests.ASK,
    agency_kinds=(AgencyKind.FIRE, AgencyKind.MISSING_PERSONS),
)


def announcement() -> Announcement:
    """Return what a doorbell says of a clip with a picture and without details."""
    random, recipient = random_from("announcement"), epoch_identity(1).recipient()
    video, picture = (seal_bytes(data, recipient, random) for data in (b"video", b"picture"))
    manifest = Manifest(
        household=HOUSEHOLD,
        device=FRONT_DOOR.device.id,
        clip=CLIP,
        seq=1,
        prev=None,
        epoch=1,
        recipient=str(recipient),
        kind=ClipKind.RING,
        events=(EVENT,),
        pre_roll_ms=6000,
        start=NOW_MS,
        end=NOW_MS + 14_000,
        clock_synced=True,
        file=facts_of(video.envelope, video.payload),
        thumb=facts_of(picture.envelope, picture.payload),
        details=None,
    )
    envelopes = Envelopes(file=video.envelope, thumb=picture.envelope)
    return Announcement(manifest=sign_manifest(manifest, FRONT_DOOR.sign), envelopes=envelopes)


SIGNED_REQUEST: Final = sign_request(REQUEST, AGENCY_KEY)
SIGNED_MANIFEST: Final = announcement().manifest
GRANT: Final = Grant(
    household=HOUSEHOLD,
    request=REQUEST.request,
    request_sha256=SIGNED_REQUEST.body_hash,
    agency=AGENCY.agency,
    agency_key=AGENCY_KEY.public.key_id,
    recipient=REQUEST.recipient,
    clip=CLIP,
    manifest_sha256=SIGNED_MANIFEST.body_hash,
    payload_sha256=bytes(range(32)),
    payload_length=1_234_567,
    envelope_sha256=bytes(range(1, 33)),
    policy_version=1,
    name=None,
    not_after=NOW_MS + 3_600_000,
    nonce=bytes(range(2, 34)),
    at=NOW_MS,
)
NAMED_GRANT: Final = GRANT.model_copy(update={"name": "Zoë at number 7"})


def custody() -> CustodyRecord:
    """Return the record of a clip that was given with a name."""
    manifest = read_manifest(SIGNED_MANIFEST)
    return CustodyRecord(
        release=ReleaseId("e" * 26),
        request=GRANT.request,
        request_sha256=GRANT.request_sha256,
        agency=GRANT.agency,
        agency_key=GRANT.agency_key,
        recipient=GRANT.recipient,
        file_sha256=bytes(range(3, 35)),
        file_length=1_234_735,
        payload_sha256=manifest.file.payload.sha256,
        manifest_sha256=GRANT.manifest_sha256,
        manifest=SIGNED_MANIFEST.encode(),
        grant_sha256=sign_grant(NAMED_GRANT, OWNER.sign).body_hash,
        name=NAMED_GRANT.name,
        start=manifest.start,
        end=manifest.end,
        clock_synced=manifest.clock_synced,
        received_at=NOW_MS + 20_000,
        available_at=NOW_MS + 3_600_000,
        at=NOW_MS + 3_600_001,
    )


NAMED_CUSTODY: Final = custody()
CUSTODY: Final = NAMED_CUSTODY.model_copy(update={"name": None, "manifest": None})

QUESTIONS: Final[dict[str, Signed]] = {
    "agency": sign_agency(AGENCY, OPERATOR, OTHER_OPERATOR),
    "request": SIGNED_REQUEST,
    "grant": sign_grant(GRANT, OWNER.sign),
    "grant-named": sign_grant(NAMED_GRANT, OWNER.sign),
    "custody": sign_custody(CUSTODY, RECEIPT_KEY),
    "custody-named": sign_custody(NAMED_CUSTODY, RECEIPT_KEY),
}

BODIES: Final[dict[str, Body]] = {
    "hello": Hello(
        boot=BOOT,
        connections=3,
        agent="0.1.0",
        statement=StatementHead(seq=1, sha256=SECOND.body_hash),
    ),
    "event": Event(event=EVENT, at=NOW_MS, clock_synced=True, alert=Alert.NOW),
    "announcement": announcement(),
    "health": Health(
        boot=BOOT,
        at=NOW_MS,
        clock_synced=False,
        uptime_s=3600,
        camera=CameraState.WATCHING,
        waiting_events=1,
        waiting_clips=2,
        waiting_bytes=3_000_000,
        dropped_clips=4,
        dropped_events=5,
        disk_free_bytes=6_000_000_000,
    ),
    "status": Status(boot=BOOT, connections=3, online=False),
    "ack": Ack(
        events=(EVENT,),
        announced=(CLIP,),
        refused=(RefusedClip(clip=OTHER_CLIP, reason="another clip has this id already"),),
        receipts=(sign_receipt(RECEIPT, RECEIPT_KEY),),
    ),
    "answer": Answer(counter=7, is_done=False, reason="this command has expired"),
    "statements": Statements(statements=(first_head().signed, SECOND)),
}


def golden(name: str) -> bytes:
    return (GOLDEN / name).read_bytes()


def test_every_body_of_the_wire_is_held_to_its_first_form() -> None:
    assert {type(body) for body in BODIES.values()} == set(Body.__subclasses__())


@pytest.mark.parametrize("name", BODIES)
def test_a_body_is_written_as_it_always_was(name: str) -> None:
    assert BODIES[name].encode() == golden(f"{name}.json")


@pytest.mark.parametrize("name", BODIES)
def test_a_body_of_the_first_form_is_read_whole(name: str) -> None:
    body: BaseModel = decode_body(type(BODIES[name]), golden(f"{name}.json"))
    assert body == BODIES[name]


def test_a_receipt_is_written_as_it_always_was() -> None:
    assert sign_receipt(RECEIPT, RECEIPT_KEY).encode() == golden("receipt.json")


def test_an_old_receipt_still_lets_a_doorbell_forget() -> None:
    assert verify_receipt(decode_signed(golden("receipt.json")), RECEIPT_KEY.public) == RECEIPT


def test_a_deletion_and_a_command_are_written_as_they_always_were() -> None:
    assert sign_deletion(DELETION, RECEIPT_KEY).encode() == golden("deletion.json")
    assert sign_command(COMMAND, OWNER.sign).encode() == golden("command.json")


def test_an_old_deletion_and_an_old_command_still_hold() -> None:
    deletion, command = (decode_signed(golden(f"{n}.json")) for n in ("deletion", "command"))
    assert verify_deletion(deletion, RECEIPT_KEY.public) == DELETION
    assert verify_command(command, [OWNER.sign.public]) == COMMAND


def test_an_old_consent_policy_still_holds() -> None:
    old = decode_signed(golden("consent-policy.json"))
    assert sign_policy(POLICY, OWNER.sign) == old
    named = accept_next(first_head(), successor(first_head(), policy_hash=old.body_hash))
    assert verify_policies([old], [first_head().statement, named.statement]) == (POLICY,)


@pytest.mark.parametrize("name", QUESTIONS)
def test_what_is_asked_and_given_is_written_as_it_always_was(name: str) -> None:
    assert QUESTIONS[name].encode() == golden(f"{name}.json")


def test_an_old_question_and_its_answer_still_hold() -> None:
    old = {name: decode_signed(golden(f"{name}.json")) for name in QUESTIONS}
    agency = verify_agency(old["agency"], OPERATORS)
    assert agency == AGENCY
    assert verify_request(old["request"], agency) == REQUEST
    for name, grant in (("grant", GRANT), ("grant-named", NAMED_GRANT)):
        assert verify(Kind.GRANT, old[name], [OWNER.sign.public])
        assert read_grant(old[name]) == grant
    for name, record in (("custody", CUSTODY), ("custody-named", NAMED_CUSTODY)):
        assert verify_custody(old[name], RECEIPT_KEY.public) == record


def test_a_keyring_is_spelled_as_it_always_was() -> None:
    assert keyring_text(EPOCHS).encode() == golden("keyring.txt")
    assert parse_keyring(golden("keyring.txt").decode()) == EPOCHS


def test_a_keyring_is_sealed_as_it_always_was() -> None:
    # The order in which sealing draws its randomness is part of what is held here.
    sealed = seal_keyrings(CHAIN[-1], EPOCHS, random_from("keyring"))
    assert sealed == {OWNER.member.member: golden("keyring.age")}


def test_an_old_keyring_opens() -> None:
    assert open_keyring(golden("keyring.age"), OWNER.age, CHAIN) == EPOCHS
