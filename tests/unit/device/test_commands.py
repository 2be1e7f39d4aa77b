"""What owners tell a doorbell to do: only they, only this one, in time, and once."""

import json
from dataclasses import dataclass, field

import pytest

from doorstep_device.chain import CHAIN_PATH
from doorstep_device.clip_ending import Ending
from doorstep_device.commands import (
    ANSWERS_KEPT,
    COMMANDS_PATH,
    MOST_UNFINISHED,
    OVERTAKEN,
    TOO_LATE,
    Commands,
    NotForUsError,
    TooManyCommandsError,
)
from doorstep_device.household import Membership
from doorstep_device.outbox import ClipGoneError, Outbox
from doorstep_device.ports.disk import DiskReadOnlyError
from doorstep_shared.claim import DeviceKeys
from doorstep_shared.encoding import to_base64url
from doorstep_shared.errors import BadMessageError
from doorstep_shared.ids import ClipId, HouseholdId, draw_clip_id
from doorstep_shared.manifest import ClipKind, ObjectName
from doorstep_shared.signing import Kind, Signed, WrongSignatureError, sign
from doorstep_shared.statements import Role, accept_next
from doorstep_shared.wire import Answer
from doorstep_simulator.disk import SimulatedDisk
from tests.orders import delete_order
from tests.people import (
    DAY_MS,
    FRONT_DOOR,
    NOW_MS,
    OWNER,
    doorbell,
    epoch,
    first_head,
    person,
    random_from,
    successor,
)
from tests.recording import SEALING, event, open_outbox, pending
from tests.unit.device.test_outbox import receipt, record, start

VIEWER = person("viewer", Role.VIEWER)
STRANGER = person("stranger")
UNKNOWN = draw_clip_id(NOW_MS, random_from("unknown"))


@dataclass
class Card:
    """A doorbell's card, and what runs on it."""

    disk: SimulatedDisk = field(default_factory=SimulatedDisk)
    not_before_ms: int = 0
    outbox: Outbox = field(init=False)
    membership: Membership = field(init=False)
    commands: Commands = field(init=False)

    def __post_init__(self) -> None:
        device = FRONT_DOOR.device
        keys = DeviceKeys(device.id, device.tls_key, device.manifest_key, device.age_recipient)
        self.outbox = open_outbox(self.disk, seed=str(len(self.disk.steps)))
        self.membership = Membership(self.disk, first_head().root, keys)
        self.membership.accept([first_head().signed])
        self.commands = Commands(
            self.disk, device.id, self.membership, self.outbox, not_before_ms=self.not_before_ms
        )

    def take(
        self, order: Signed, now_ms: int = NOW_MS, *, is_synced: bool = True
    ) -> tuple[Answer, ...]:
        return self.commands.take(order, now_ms, is_synced=is_synced)

    def started_again(self) -> "Card":
        """Return the card after a power cut and a start."""
        return Card(self.disk.after_cut())

    def clips(self) -> set[str]:
        """Return the names of the clips' folders, whatever state they are in."""
        names = self.disk.list_dir("outbox")
        return {name.removesuffix(".gone") for name in names if len(name) >= len(UNKNOWN)}


@pytest.fixture
def card() -> Card:
    return Card()


def done(counter: int = 1) -> tuple[Answer, ...]:
    return (Answer(counter=counter, is_done=True),)


def refused(reason: str, counter: int = 1) -> tuple[Answer, ...]:
    return (Answer(counter=counter, is_done=False, reason=reason),)


def changes_nothing(card: Card, order: Signed, error: type[Exception]) -> None:
    """See ``order`` turned down without an answer, and not a byte of the card changed."""
    steps = len(card.disk.steps)
    with pytest.raises(error):
        card.take(order)
    assert len(card.disk.steps) == steps


# ── what it does ──


def test_the_clips_named_go_and_the_others_stay(card: Card) -> None:
    first, second, third = (record(card.outbox).clip for _ in range(3))
    assert card.take(delete_order([first, third])) == done()
    assert set(pending(card.outbox)) == {second}
    assert card.clips() == {second}
    assert set(pending(card.started_again().outbox)) == {second}


def test_a_clip_that_the_service_has_goes_from_the_card_too(card: Card) -> None:
    manifest = record(card.outbox)
    for name in manifest.objects:
        card.outbox.mark_receipt(receipt(manifest, name), NOW_MS)
    assert card.take(delete_order([manifest.clip])) == done()
    assert card.clips() == set()


def test_a_clip_that_is_not_here_is_deleted_already(card: Card) -> None:
    assert card.take(delete_order([UNKNOWN])) == done()


def test_a_folder_that_nobody_can_read_goes_if_it_is_named(card: Card) -> None:
    clip = record(card.outbox).clip
    card.disk.write_whole(f"outbox/{clip}/clip.json", b"not one")
    again = card.started_again()
    assert again.outbox.problems
    assert again.take(delete_order(until=NOW_MS, counter=1)) == done()
    assert again.clips() == {clip}
    assert again.take(delete_order([clip], counter=2)) == done(2)
    assert again.clips() == set()
    assert again.outbox.problems == ()


def test_until_takes_what_began_until_then(card: Card) -> None:
    old = record(card.outbox).clip
    assert card.take(delete_order(until=NOW_MS - 1)) == done()
    assert card.clips() == {old}
    assert card.take(delete_order(until=NOW_MS, counter=2)) == done(2)
    assert card.clips() == set()


def test_events_that_wait_are_told_all_the_same(card: Card) -> None:
    happened = event("ring")
    card.outbox.put_event(ClipKind.RING, happened)
    record(card.outbox)
    card.take(delete_order(until=NOW_MS))
    again = card.started_again().outbox
    assert [waiting.event for waiting in again.pending_events()] == [happened]


def test_the_next_manifest_follows_the_last_one_though_that_is_deleted(card: Card) -> None:
    record(card.outbox)
    last = record(card.outbox)
    link = card.outbox._chain.newest
    card.take(delete_order(until=NOW_MS))
    following = record(card.started_again().outbox)
    assert (following.seq, following.prev) == (last.seq + 1, link.sha256)


def test_a_number_the_disk_did_not_keep_at_the_clips_end_is_kept_before_the_clip_goes(
    card: Card, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = card.disk.write_whole

    def fails(path: str, data: bytes) -> None:
        if path == CHAIN_PATH:
            raise DiskReadOnlyError("worn")
        write(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(card.disk, "write_whole", fails)
        with pytest.raises(DiskReadOnlyError):
            record(card.outbox)
    link = card.outbox._chain.newest
    card.outbox._recording = None
    assert card.take(delete_order(until=NOW_MS)) == done()
    following = record(card.started_again().outbox)
    assert (following.seq, following.prev) == (link.seq + 1, link.sha256)


def test_a_clip_under_way_is_recorded_to_its_end_and_then_gone(card: Card) -> None:
    writer = card.outbox.begin_clip(SEALING, start())
    card.outbox.tick_clip(writer, bytes(1000), 5000)
    assert card.take(delete_order(until=NOW_MS)) == ()
    card.outbox.tick_clip(writer, bytes(1000), 6000)
    card.outbox.tidy(NOW_MS)
    assert card.clips() == {writer.clip}
    card.outbox.finish_clip(writer, b"end", Ending(media_ms=9000, is_last=True))
    # At once: nobody is told of it any more.
    assert card.clips() == set()
    assert card.outbox.pending_clips() == ()
    assert card.commands.finish() == done()
    assert card.take(delete_order(until=NOW_MS)) == done()


def test_a_clip_under_way_that_the_disk_fails_is_gone_too(card: Card) -> None:
    writer = card.outbox.begin_clip(SEALING, start())
    card.outbox.tick_clip(writer, bytes(1000), 5000)
    card.take(delete_order([writer.clip]))
    assert card.outbox.break_off_clip(writer) is None
    assert card.clips() == set()


def test_a_clip_under_way_that_the_power_ends_is_gone_after_the_start(card: Card) -> None:
    writer = card.outbox.begin_clip(SEALING, start())
    card.outbox.tick_clip(writer, bytes(1000), 5000)
    assert card.take(delete_order(until=NOW_MS)) == ()
    again = card.started_again()
    assert again.clips() == set()
    assert again.take(delete_order(until=NOW_MS)) == done()


def test_what_was_recorded_since_is_not_in_a_command_that_is_finished_later(card: Card) -> None:
    writer = card.outbox.begin_clip(SEALING, start())
    card.take(delete_order(until=NOW_MS + DAY_MS))
    card.outbox.finish_clip(writer, b"end", Ending(media_ms=9000, is_last=True))
    later = record(card.outbox).clip
    assert card.commands.finish() == done()
    assert card.clips() == {later}


def test_a_clip_to_be_deleted_is_delivered_no_more_though_the_disk_keeps_it(card: Card) -> None:
    clip = record(card.outbox).clip
    order = delete_order([clip])
    steps = len(card.disk.steps)
    card.take(order)
    kept = Card(card.disk.after_cut(steps))
    remove = kept.disk.rename
    with pytest.MonkeyPatch.context() as patch:

        def fails(old: str, new: str) -> None:
            if "outbox" in old:
                raise DiskReadOnlyError("worn")
            remove(old, new)

        patch.setattr(kept.disk, "rename", fails)
        assert kept.take(order) == ()
        assert kept.outbox.pending_clips() == ()
        with pytest.raises(ClipGoneError):
            kept.outbox.read_payload(clip, ObjectName.FILE, 0, 1)
    kept.outbox.tidy(NOW_MS)
    assert kept.commands.finish() == done()
    assert kept.clips() == set()


# ── who may ──


def test_nobody_tells_a_doorbell_anything_before_it_knows_its_household() -> None:
    card = Card()
    card.membership.head = None
    changes_nothing(card, delete_order(until=NOW_MS), WrongSignatureError)


@pytest.mark.parametrize("signer", [VIEWER, STRANGER], ids=["viewer", "stranger"])
def test_what_no_owner_signed_is_not_done(card: Card, signer: object) -> None:
    roster = (OWNER.member, VIEWER.member)
    card.membership.accept([successor(first_head(), roster=roster)])
    record(card.outbox)
    who = VIEWER if signer is VIEWER else STRANGER
    changes_nothing(card, delete_order(until=NOW_MS, signer=who), WrongSignatureError)
    assert len(card.clips()) == 1


def test_an_owner_of_an_earlier_head_is_none(card: Card) -> None:
    other = person("second")
    both = successor(first_head(), roster=(OWNER.member, other.member))
    gone = successor(accept_next(first_head(), both), other, roster=(other.member,), epoch=epoch(2))
    card.membership.accept([both, gone])
    changes_nothing(card, delete_order([UNKNOWN]), WrongSignatureError)
    assert card.take(delete_order([UNKNOWN], signer=other)) == done()


def test_a_signature_under_another_body_is_a_forgery(card: Card) -> None:
    good, other = delete_order([UNKNOWN]), delete_order(until=NOW_MS)
    changes_nothing(card, Signed(body=other.body, sigs=good.sigs), WrongSignatureError)


def test_what_an_owner_signed_as_something_else_is_no_command(card: Card) -> None:
    body = json.loads(delete_order([UNKNOWN]).body)
    other = sign(Kind.CONSENT_POLICY, body, OWNER.sign)
    changes_nothing(card, other, WrongSignatureError)


def test_another_doorbells_command_is_not_ours(card: Card) -> None:
    other = delete_order(until=NOW_MS, device=doorbell("back").device.id)
    changes_nothing(card, other, NotForUsError)


def test_another_households_command_is_not_ours(card: Card) -> None:
    other = delete_order(until=NOW_MS, household=HouseholdId("x" * 26))
    changes_nothing(card, other, NotForUsError)


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "reboot"},
        {"v": 2},
        {"more": 1},
        {"counter": 0},
        {"clips": None},
        {"until": 5},
        {"clips": []},
        {"clips": ["../../identity"]},
        {"clips": [str(UNKNOWN)] * 129},
    ],
    ids=str,
)
def test_a_command_of_another_shape_is_dropped(card: Card, changes: dict[str, object]) -> None:
    body = json.loads(delete_order([UNKNOWN]).body) | changes
    changes_nothing(card, sign(Kind.COMMAND, body, OWNER.sign), BadMessageError)


# ── when, and how often ──


def test_the_same_command_again_gets_the_same_answer_and_is_not_done_twice(card: Card) -> None:
    order = delete_order(until=NOW_MS)
    assert card.take(order) == done()
    later = record(card.outbox).clip
    steps = len(card.disk.steps)
    assert card.take(order) == done()
    assert len(card.disk.steps) == steps
    assert card.started_again().take(order) == done()
    assert card.clips() == {later}


def test_a_command_below_the_newest_is_refused(card: Card) -> None:
    card.take(delete_order([UNKNOWN], counter=7))
    record(card.outbox)
    order = delete_order(until=NOW_MS, counter=6)
    assert card.take(order) == refused(OVERTAKEN, 6)
    assert card.started_again().take(order) == refused(OVERTAKEN, 6)
    assert len(card.clips()) == 1


def test_another_command_with_a_counter_that_was_used_is_not_done(card: Card) -> None:
    card.take(delete_order([UNKNOWN]))
    clip = record(card.outbox).clip
    assert card.take(delete_order(until=NOW_MS)) == refused(OVERTAKEN)
    assert card.clips() == {clip}


def test_answers_of_the_newest_commands_are_kept_and_older_ones_forgotten(card: Card) -> None:
    for counter in range(1, ANSWERS_KEPT + 3):
        card.take(delete_order([UNKNOWN], counter=counter))
    assert card.take(delete_order([UNKNOWN], counter=3)) == done(3)
    assert card.take(delete_order([UNKNOWN], counter=2)) == refused(OVERTAKEN, 2)


def test_a_command_ends_at_its_very_millisecond(card: Card) -> None:
    order = delete_order([UNKNOWN], expires=NOW_MS)
    assert card.take(order, NOW_MS) == refused(TOO_LATE)
    assert card.take(order, NOW_MS - 1) == done()


def test_a_clock_that_was_never_set_ends_no_command(card: Card) -> None:
    order = delete_order([UNKNOWN], expires=NOW_MS)
    assert card.take(order, NOW_MS + DAY_MS, is_synced=False) == done()


@pytest.mark.parametrize("is_synced", [True, False])
def test_what_ended_before_this_doorbell_was_built_has_ended(*, is_synced: bool) -> None:
    card = Card(not_before_ms=NOW_MS)
    order = delete_order([UNKNOWN], expires=NOW_MS)
    assert card.take(order, 0, is_synced=is_synced) == refused(TOO_LATE)


def test_what_is_done_is_answered_also_after_its_end(card: Card) -> None:
    order = delete_order([UNKNOWN], expires=NOW_MS + 1)
    assert card.take(order) == done()
    assert card.take(order, NOW_MS + DAY_MS) == done()


def test_commands_that_cannot_be_finished_do_not_pile_up(card: Card) -> None:
    writer = card.outbox.begin_clip(SEALING, start())
    for counter in range(1, MOST_UNFINISHED + 1):
        assert card.take(delete_order([writer.clip], counter=counter)) == ()
    with pytest.raises(TooManyCommandsError):
        card.take(delete_order([writer.clip], counter=MOST_UNFINISHED + 1))
    card.outbox.break_off_clip(writer)
    assert len(card.commands.finish()) == MOST_UNFINISHED
    assert card.take(delete_order([UNKNOWN], counter=MOST_UNFINISHED + 1))


# ── the card ──


def test_a_card_that_takes_no_writes_begins_nothing(card: Card) -> None:
    clip = record(card.outbox).clip
    card.disk.make_read_only()
    with pytest.raises(DiskReadOnlyError):
        card.take(delete_order([clip]))
    assert set(pending(card.outbox)) == {clip}
    card.disk.make_read_only(is_read_only=False)
    assert card.take(delete_order([clip])) == done()


@pytest.mark.parametrize(
    "data", [b"", b"{", b'{"v":2,"counter":1,"tasks":[]}', b'{"v":1,"counter":-1,"tasks":[]}']
)
def test_a_file_of_commands_that_cannot_be_read_is_kept_and_told(data: bytes) -> None:
    disk = SimulatedDisk()
    disk.write_whole(COMMANDS_PATH, data)
    card = Card(disk)
    (problem,) = card.commands.problems
    assert problem.path == f"{COMMANDS_PATH}.kept-1"
    assert disk.read(problem.path) == data
    assert card.take(delete_order([UNKNOWN])) == done()


def test_a_newer_agents_further_fields_are_passed_over() -> None:
    disk = SimulatedDisk()
    clip: ClipId = UNKNOWN
    order = delete_order([clip], counter=4)
    task = {"counter": 4, "sha256": to_base64url(order.body_hash), "left": [clip], "x": 1}
    kept = {"v": 1, "counter": 4, "more": 1, "tasks": [task]}
    disk.write_whole(COMMANDS_PATH, json.dumps(kept).encode())
    card = Card(disk)
    assert card.commands.problems == ()
    assert card.take(order) == done(4)


def test_the_file_of_commands_is_written_as_its_format_says(card: Card) -> None:
    order = delete_order([UNKNOWN], counter=7)
    card.take(order)
    task = {"counter": 7, "sha256": to_base64url(order.body_hash), "left": []}
    written = json.loads(card.disk.read(COMMANDS_PATH))
    assert written == {"v": 1, "counter": 7, "tasks": [task]}
