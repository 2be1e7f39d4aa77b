"""A service that swaps root, epoch, members or seals is refused by the doorbell.

The doorbell is whole; what it is told is not.
"""

import hashlib
from collections.abc import AsyncIterator, Callable

import pytest

from doorstep_shared.age_keys import Identity
from doorstep_shared.manifest import Manifest, ObjectName, PayloadFacts
from doorstep_shared.seal import parse_envelope
from doorstep_shared.signing import Signed, SigningKey
from doorstep_shared.statements import Epoch, accept_next, sign_statement
from doorstep_shared.unseal import NotOurEnvelopeError, open_envelope
from doorstep_shared.wire import Ack, StatementHead
from tests.far_end import ScriptedBroker, ScriptedService, until
from tests.people import (
    FRONT_DOOR,
    OWNER,
    doorbell,
    epoch_identity,
    first_head,
    person,
    random_from,
    successor,
)
from tests.simulated_doorbell import (
    LISTED,
    MOVING,
    SimulatedDoorbell,
    honest_statements,
    running_doorbell,
)

GHOST = person("ghost")
ITS_EPOCH = Identity.generate(random_from("the service's own epoch"))
LISTING = accept_next(first_head(), honest_statements()[1])


@pytest.fixture
async def bell() -> AsyncIterator[SimulatedDoorbell]:
    """A doorbell that is on and belongs to a household."""
    async with running_doorbell(SimulatedDoorbell()) as running:
        await running.belong()
        yield running


async def visit(bell: SimulatedDoorbell) -> Manifest:
    """Let somebody ring; return the manifest of the clip that was made of it."""
    before = len(bell.service.clips)
    await bell.film(3)
    await bell.press()
    await bell.film(10)
    await until(lambda: len(bell.service.clips) > before, "a clip")
    return list(bell.service.clips.values())[-1].manifest


async def refuses(bell: SimulatedDoorbell, *statements: Signed) -> None:
    """See statements refused: the head stays, and so does whom clips are sealed to."""
    head = bell.membership.head
    bell.service.tell_statements(*statements)
    # What comes behind them on the same line has been heeded: so have they.
    await visit(bell)
    await until(lambda: not bell.outbox.pending_events(), "the acks")
    assert bell.membership.head is head
    manifest = await visit(bell)
    assert manifest.recipient == str(epoch_identity(1).recipient())
    assert manifest.epoch == 1


def by_ghost(**changes: object) -> Signed:
    """Return the successor of the head with ``changes``, signed by somebody else."""
    return successor(LISTING, GHOST, **changes)


def epoch_of(identity: Identity) -> Epoch:
    not_after = LISTING.statement.epoch.not_after
    return Epoch(n=2, recipient=str(identity.recipient()), not_after=not_after)


async def test_with_a_root_of_the_services_own_nothing_is_ever_recorded() -> None:
    own = first_head().statement.model_copy(update={"roster": (GHOST.member,), **LISTED})
    bell = SimulatedDoorbell()
    bell.service.statements = [sign_statement(own, GHOST.sign)]
    async with running_doorbell(bell):
        bell.service.connect()
        await bell.film(4, MOVING)
        await bell.press()
        await bell.film(10)
        await until(lambda: not bell.outbox.pending_events(), "the ring, which is told")
        assert bell.membership.head is None
        assert bell.outbox.pending_clips() == ()
        assert bell.service.clips == {}
        assert not any("payload" in path for path, _ in bell.disk.everything())
        # And with the true chain after all, it records.
        bell.service.tell_statements(*honest_statements())
        await until(lambda: bell.agent._sealing_allowed, "the leave to record")
        assert (await visit(bell)).recipient == str(epoch_identity(1).recipient())


async def test_nothing_is_sealed_to_an_epoch_of_the_services_own(bell: SimulatedDoorbell) -> None:
    await refuses(bell, by_ghost(epoch=epoch_of(ITS_EPOCH)))


async def test_a_statement_changed_after_it_was_signed_is_refused(
    bell: SimulatedDoorbell,
) -> None:
    honest = successor(LISTING, epoch=epoch_of(epoch_identity(2)))
    ours, its = (str(i.recipient()).encode() for i in (epoch_identity(2), ITS_EPOCH))
    assert ours in honest.body
    await refuses(bell, honest.model_copy(update={"body": honest.body.replace(ours, its)}))


async def test_a_signature_of_another_statement_is_refused(bell: SimulatedDoorbell) -> None:
    made_up = by_ghost(epoch=epoch_of(ITS_EPOCH))
    lent = made_up.model_copy(update={"sigs": LISTING.signed.sigs})
    await refuses(bell, lent)


async def test_a_ghost_member_is_refused(bell: SimulatedDoorbell) -> None:
    roster = (OWNER.member, GHOST.member)
    await refuses(bell, by_ghost(roster=roster))
    await refuses(bell, by_ghost(roster=(GHOST.member,), epoch=epoch_of(ITS_EPOCH)))


async def test_a_fork_is_refused(bell: SimulatedDoorbell) -> None:
    # Signed by the owner, and yet another history than the one this doorbell has seen.
    await refuses(bell, successor(first_head(), devices=(doorbell("back").device,)))


async def test_a_repeated_history_changes_nothing(bell: SimulatedDoorbell) -> None:
    await refuses(bell, first_head().signed)
    await refuses(bell, *honest_statements())


async def test_it_says_which_head_it_holds_whatever_it_was_told(bell: SimulatedDoorbell) -> None:
    await refuses(bell, by_ghost(roster=(OWNER.member, GHOST.member)))
    hellos = len(bell.service.hellos)
    bell.control.disconnect()
    bell.control.connect()
    await until(lambda: len(bell.service.hellos) > hellos, "another hello")
    held = StatementHead(seq=1, sha256=LISTING.signed.body_hash)
    assert bell.service.hellos[-1].statement == held


async def test_every_envelope_is_for_the_household_and_for_nobody_else(
    bell: SimulatedDoorbell,
) -> None:
    manifest = await visit(bell)
    envelopes = bell.service.clips[manifest.clip].announcement.envelopes
    for name in manifest.objects:
        envelope = getattr(envelopes, name.value)
        assert len(parse_envelope(envelope).stanzas) == 1
        open_envelope(envelope, [epoch_identity(1)])
        with pytest.raises(NotOurEnvelopeError):
            open_envelope(envelope, [ITS_EPOCH, OWNER.age, FRONT_DOOR.age])


Swap = Callable[[SimulatedDoorbell, Manifest], Signed]


def with_another_key(_: SimulatedDoorbell, manifest: Manifest) -> Signed:
    """Return a receipt that is true, but for who signed it."""
    facts = manifest.objects[ObjectName.FILE].payload
    forger = ScriptedService(
        manifest.device,
        ScriptedBroker(),
        ScriptedBroker(),
        SigningKey.generate(random_from("forger")),
    )
    return forger.receipt(manifest.clip, ObjectName.FILE, facts)


def for_other_bytes(bell: SimulatedDoorbell, manifest: Manifest) -> Signed:
    """Return a receipt for a payload that the service put in the place of ours."""
    facts = manifest.objects[ObjectName.FILE].payload
    swapped = PayloadFacts(length=facts.length, sha256=hashlib.sha256(b"swapped").digest())
    return bell.service.receipt(manifest.clip, ObjectName.FILE, swapped)


@pytest.mark.parametrize("swap", [with_another_key, for_other_bytes])
async def test_a_clip_whose_seal_was_swapped_is_not_forgotten(
    bell: SimulatedDoorbell, swap: Swap
) -> None:
    def false_for_the_file(ack: Ack) -> Ack:
        clips = [kept.manifest for kept in bell.service.clips.values()]
        true = [r for r in ack.receipts if b'"object":"file"' not in r.body]
        false = [swap(bell, clips[-1])] if len(true) < len(ack.receipts) else []
        return ack.model_copy(update={"receipts": (*true, *false)})

    bell.service.says = false_for_the_file
    manifest = await visit(bell)
    await until(lambda: bell.service.has_all_of(manifest.clip), "the delivery")
    await until(
        lambda: [c.missing for c in bell.outbox.pending_clips()] == [(ObjectName.FILE,)],
        "the honest receipts",
    )
    bell.service.says = lambda ack: ack
    bell.clock.at_us += 10_000_000
    bell.agent._delivery.nudge()
    await until(lambda: not bell.outbox.pending_clips(), "the honest receipt at last")
