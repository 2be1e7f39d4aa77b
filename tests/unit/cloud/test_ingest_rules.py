"""May this clip come, and how much at once."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doorstep_cloud.ingest.rules import (
    STORING_BUSY,
    STORING_FULL,
    Accepted,
    Foreign,
    NotYet,
    Refused,
    Sender,
    Verdict,
    decide_announcement,
    decide_credit,
)
from doorstep_shared.ids import HouseholdId
from doorstep_shared.manifest import EnvelopeFacts, ObjectName
from doorstep_shared.seal import FileKey, seal_envelope
from doorstep_shared.wire import Announcement, Envelopes
from tests.people import HOUSEHOLD, doorbell, epoch_identity, random_from
from tests.scripted_doorbell import Clip, facts_of, make_clip, resigned

FRONT = doorbell("front")
STRANGER = doorbell("stranger")
RECIPIENT = epoch_identity(1).recipient()
SENDER = Sender(
    device=FRONT.device.id,
    household=HOUSEHOLD,
    manifest_key=FRONT.device.manifest_key,
    is_listed=True,
    epoch=1,
)
CLIP = make_clip(FRONT, HOUSEHOLD, RECIPIENT, sizes=dict.fromkeys(ObjectName, 100))


def decide(clip: Clip, sender: Sender = SENDER, *, is_own_epoch: bool = True) -> Verdict:
    return decide_announcement(clip.announcement, clip.manifest, sender, is_own_epoch=is_own_epoch)


def with_envelope(envelope: bytes) -> Clip:
    """Return the clip with another file envelope, honestly signed."""
    box = replace(CLIP.boxes[ObjectName.FILE], envelope=envelope)
    changed = replace(CLIP, boxes={**CLIP.boxes, ObjectName.FILE: box})
    return resigned(changed, FRONT, file=facts_of(box))


def test_an_honest_clip_is_accepted_with_its_envelopes() -> None:
    envelopes = {name: box.envelope for name, box in CLIP.boxes.items()}
    assert decide(CLIP) == Accepted(CLIP.manifest, envelopes)


def test_a_clip_without_thumbnail_and_details_is_accepted() -> None:
    clip = make_clip(FRONT, HOUSEHOLD, RECIPIENT, sizes={ObjectName.FILE: 100}, truncated=True)
    assert isinstance(decide(clip), Accepted)


def test_a_doorbell_that_is_not_listed_yet_waits() -> None:
    assert decide(CLIP, replace(SENDER, is_listed=False)) == NotYet()


def test_an_epoch_newer_than_the_chain_here_waits() -> None:
    assert decide(resigned(CLIP, FRONT, epoch=2)) == NotYet()


def test_another_doorbells_manifest_concerns_nobody() -> None:
    assert decide(resigned(CLIP, FRONT, device=STRANGER.device.id)) == Foreign()


def test_another_households_manifest_concerns_nobody() -> None:
    assert decide(resigned(CLIP, FRONT, household=HouseholdId("x" * 26))) == Foreign()


def test_a_manifest_somebody_else_signed_is_refused() -> None:
    verdict = decide(resigned(CLIP, STRANGER))
    assert verdict == Refused("the manifest is not signed by this doorbell")


def test_a_clip_sealed_to_a_key_the_household_did_not_announce_is_refused() -> None:
    verdict = decide(CLIP, is_own_epoch=False)
    assert verdict == Refused("it is sealed to a key that this household did not announce")


def test_an_envelope_the_manifest_does_not_name_is_refused() -> None:
    clip = resigned(CLIP, FRONT, thumb=None)
    assert decide(clip) == Refused("manifest and envelopes do not name the same objects")


def test_a_missing_envelope_is_refused() -> None:
    sent = Envelopes(file=CLIP.boxes[ObjectName.FILE].envelope)
    announcement = Announcement(manifest=CLIP.signed, envelopes=sent)
    verdict = decide_announcement(announcement, CLIP.manifest, SENDER, is_own_epoch=True)
    assert verdict == Refused("manifest and envelopes do not name the same objects")


@pytest.mark.parametrize("change", [b"", b"x"])
def test_an_envelope_of_another_hash_or_length_is_refused(change: bytes) -> None:
    envelope = CLIP.boxes[ObjectName.FILE].envelope
    other = envelope + change if change else envelope[:-2] + b"A\n"
    box = replace(CLIP.boxes[ObjectName.FILE], envelope=other)
    clip = replace(CLIP, boxes={**CLIP.boxes, ObjectName.FILE: box})
    assert decide(clip) == Refused("the envelope of its file is not the one in the manifest")


def test_an_envelope_with_a_second_reader_is_refused() -> None:
    ghost = doorbell("ghost").age.recipient()
    random = random_from("ghost envelope")
    envelope = seal_envelope(FileKey.draw(random), [RECIPIENT, ghost], random)
    verdict = decide(with_envelope(envelope))
    assert verdict == Refused("the envelope of its file names more than the household")


def test_an_envelope_that_is_no_age_header_is_refused() -> None:
    verdict = decide(with_envelope(b"not an age header\n"))
    assert verdict == Refused("the envelope of its file is no age header")


def test_an_envelope_of_the_right_hash_and_a_wrong_length_is_refused() -> None:
    facts = facts_of(CLIP.boxes[ObjectName.FILE])
    wrong = EnvelopeFacts(length=facts.envelope.length + 1, sha256=facts.envelope.sha256)
    clip = resigned(CLIP, FRONT, file=facts.model_copy(update={"envelope": wrong}))
    assert decide(clip) == Refused("the envelope of its file is not the one in the manifest")


def test_a_lone_transfer_gets_the_whole_window() -> None:
    assert decide_credit(transfers=1, storing=0) == 16


def test_many_transfers_share_what_the_broker_may_hold() -> None:
    assert decide_credit(transfers=128, storing=0) == 4
    assert decide_credit(transfers=5000, storing=0) == 1


def test_a_slow_store_slows_the_senders_and_a_stuck_one_stops_them() -> None:
    assert decide_credit(transfers=1, storing=STORING_BUSY) == 1
    assert decide_credit(transfers=1, storing=STORING_FULL) == 0


@given(st.integers(0, 10_000), st.integers(0, 100))
def test_credit_stays_in_its_bounds_and_falls_with_load(transfers: int, storing: int) -> None:
    credit = decide_credit(transfers, storing)
    assert 0 <= credit <= 16
    assert decide_credit(transfers + 1, storing) <= credit
    assert decide_credit(transfers, storing + 1) <= credit
