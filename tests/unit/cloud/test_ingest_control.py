"""Control messages: decoded, committed, then acknowledged. Only the broker is not real."""

from unittest.mock import patch

import pytest
from sqlalchemy import func, select

from doorstep_cloud.clips.tables import ClipRow
from doorstep_cloud.devices.service import list_devices
from doorstep_cloud.events.hub import Hub
from doorstep_cloud.events.paging import ListQuery
from doorstep_cloud.events.service import events_after, list_events, record_event
from doorstep_cloud.events.tables import EventRow
from doorstep_cloud.households import chain
from doorstep_cloud.ingest import control
from doorstep_cloud.ingest.control import BATCH, STATEMENTS_BYTES, ControlDesk, longest_body
from doorstep_cloud.ingest.counters import Count, IngestCounters
from doorstep_cloud.ingest.inbox import Inbox, Message
from doorstep_cloud.ingest.rules import GREETED_AGAIN_S
from doorstep_cloud.store.databases import Databases
from doorstep_shared.errors import TryLaterError
from doorstep_shared.fields import MAX_TIME_MS
from doorstep_shared.ids import DeviceId, HouseholdId
from doorstep_shared.manifest import ObjectName
from doorstep_shared.signing import decode_signed
from doorstep_shared.topics import DeviceTopic, Leaf, parse_topic
from doorstep_shared.wire import (
    Ack,
    Hello,
    StatementHead,
    Statements,
    Status,
    decode_body,
)
from tests.cloud_world import RECEIPT_KEY, House
from tests.people import NOW_MS, doorbell, epoch, epoch_identity, person
from tests.scripted_doorbell import make_clip, make_event, make_health, resigned

FRONT = doorbell("front")
BACK = doorbell("back")
STRANGER = doorbell("stranger")
NEIGHBOUR = person("neighbour")
RECIPIENT = epoch_identity(1).recipient()
BOOT = "0" * 32
SIZES = dict.fromkeys(ObjectName, 50)


class Desk:
    """A control desk with an inbox to put into and a record of what it sent.

    Attributes:
        now_ms: By the service's clock.
        passed_s: Of monotonic time.
    """

    def __init__(self, databases: Databases) -> None:
        self.now_ms = NOW_MS
        self.passed_s = 0.0
        self.inbox = Inbox()
        self.counters = IngestCounters()
        self.sent: list[tuple[DeviceTopic, bytes]] = []
        self.desk = ControlDesk(
            databases,
            self.inbox,
            self._publish,
            Hub(),
            self.counters,
            receipt_key=RECEIPT_KEY,
            now_ms=lambda: self.now_ms,
            monotonic_s=lambda: self.passed_s,
        )

    def _publish(self, topic: str, body: bytes) -> None:
        parsed = parse_topic(topic)
        assert isinstance(parsed, DeviceTopic)
        self.sent.append((parsed, body))

    def take(self, *messages: tuple[DeviceId, Leaf, bytes]) -> None:
        """Handle these messages, as if they had waited together."""
        for device, leaf, body in messages:
            assert self.inbox.put(Message(device, leaf, body))
        # What is closed once everything was taken ends `run`.
        left = len(messages)
        take = self.inbox.take

        def take_until_empty(limit: int) -> list[Message]:
            nonlocal left
            if left == 0:
                return []
            taken = take(limit)
            left -= len(taken)
            return taken

        with patch.object(self.inbox, "take", take_until_empty):
            self.desk.run()

    @property
    def acks(self) -> list[tuple[DeviceId, Ack]]:
        return [
            (topic.device, decode_body(Ack, body))
            for topic, body in self.sent
            if topic.leaf is Leaf.ACK
        ]

    @property
    def statements(self) -> list[tuple[DeviceId, list[bytes]]]:
        return [
            (topic.device, [one.body for one in decode_body(Statements, body).statements])
            for topic, body in self.sent
            if topic.leaf is Leaf.STATEMENTS
        ]


@pytest.fixture
def house(house: House) -> House:
    house.welcome(FRONT)
    return house


@pytest.fixture
def desk(databases: Databases) -> Desk:
    return Desk(databases)


pytestmark = pytest.mark.usefixtures("house")


def ring(seed: int = 0, device: DeviceId = FRONT.device.id) -> tuple[DeviceId, Leaf, bytes]:
    return device, Leaf.RING, make_event(NOW_MS, seed).encode()


def count_of(databases: Databases, table: type[EventRow | ClipRow]) -> int:
    with databases.read() as unit:
        return unit.main.scalar(select(func.count()).select_from(table)) or 0


def hello(seq: int | None = None) -> bytes:
    head = None if seq is None else StatementHead(seq=seq, sha256=bytes(32))
    return Hello(boot=BOOT, connections=1, agent="1.0", statement=head).encode()


def test_what_waits_together_is_acknowledged_together(desk: Desk, databases: Databases) -> None:
    desk.take(*(ring(seed) for seed in range(5)))
    assert count_of(databases, EventRow) == 5
    assert [len(ack.events) for _, ack in desk.acks] == [5]


def test_the_same_ring_twice_in_a_batch_is_one_ring(desk: Desk, databases: Databases) -> None:
    desk.take(ring(), ring())
    assert count_of(databases, EventRow) == 1
    assert desk.counters[Count.EVENT_REPEATED] == 1


def test_times_that_are_no_dates_are_dropped_as_malformed(desk: Desk, house: House) -> None:
    later = MAX_TIME_MS + 1
    event = make_event(NOW_MS).model_copy(update={"at": later})
    clip = make_clip(FRONT, house.id, RECIPIENT, sizes=SIZES)
    device = FRONT.device.id
    desk.take(
        (device, Leaf.MOTION, event.encode()),
        (device, Leaf.CLIP, resigned(clip, FRONT, end=later).announcement.encode()),
        (device, Leaf.CLIP, resigned(clip, FRONT, start=later, end=later).announcement.encode()),
    )
    assert desk.counters[Count.DROPPED_MALFORMED] == 3
    assert desk.sent == []


def test_a_conflicting_event_is_dropped_and_still_acknowledged(
    desk: Desk, databases: Databases
) -> None:
    event = make_event(NOW_MS)
    other = event.model_copy(update={"at": NOW_MS + 1})
    device = FRONT.device.id
    desk.take((device, Leaf.RING, event.encode()), (device, Leaf.RING, other.encode()))
    assert count_of(databases, EventRow) == 1
    assert desk.counters[Count.EVENT_CONFLICT] == 1
    assert desk.acks[0][1].events == (event.event, event.event)


def test_a_stranger_is_dropped_and_counted(desk: Desk, databases: Databases) -> None:
    desk.take(ring(device=STRANGER.device.id))
    assert count_of(databases, EventRow) == 0
    assert desk.sent == []
    assert desk.counters[Count.DROPPED_UNKNOWN_SENDER] == 1


def test_a_revoked_doorbell_is_dropped_and_counted(
    desk: Desk, house: House, databases: Databases
) -> None:
    house.revoke(FRONT)
    desk.take(ring(), (FRONT.device.id, Leaf.HELLO, hello()))
    assert count_of(databases, EventRow) == 0
    assert desk.sent == []
    assert desk.counters[Count.DROPPED_UNKNOWN_SENDER] == 2


def test_a_doorbell_not_listed_yet_rings_all_the_same(
    desk: Desk, house: House, databases: Databases
) -> None:
    house.enrol(BACK)
    desk.take(ring(device=BACK.device.id))
    assert count_of(databases, EventRow) == 1


@pytest.mark.parametrize("leaf", [Leaf.RING, Leaf.CLIP, Leaf.HELLO, Leaf.HEALTH, Leaf.STATUS])
def test_what_is_malformed_is_dropped_and_spoils_nothing(
    desk: Desk, databases: Databases, leaf: Leaf
) -> None:
    bodies = [b"", b"{}", b"[]", b"\xff", b'{"v":2}', b"[" * 900]
    desk.take(*((FRONT.device.id, leaf, body) for body in bodies), ring())
    assert desk.counters[Count.DROPPED_MALFORMED] == len(bodies)
    assert count_of(databases, EventRow) == 1


def test_a_container_that_holds_no_manifest_is_dropped(desk: Desk, house: House) -> None:
    clip = make_clip(FRONT, house.id, RECIPIENT, sizes=SIZES)
    announcement = clip.announcement.model_copy(update={"manifest": house.head.signed})
    desk.take((FRONT.device.id, Leaf.CLIP, announcement.encode()))
    assert desk.counters[Count.DROPPED_MALFORMED] == 1
    assert desk.sent == []


def test_a_service_clock_that_was_ahead_for_a_moment_makes_no_later_ring_a_missed_one(
    desk: Desk, databases: Databases, house: House
) -> None:
    events = [make_event(NOW_MS + seed, seed) for seed in range(3)]
    for event, ahead_ms in zip(events, (0, 7_200_000, 0), strict=True):
        desk.now_ms = event.at + ahead_ms
        desk.take((FRONT.device.id, Leaf.RING, event.encode()))
    with databases.read() as unit:
        heard = {item.id: item for item in list_events(unit, house.id, ListQuery()).items}
    assert [heard[event.event].is_missed for event in events] == [False, True, False]
    assert heard[events[2].event].received_at_ms == events[2].at


def test_listeners_resume_in_the_order_of_taking_though_the_clock_stands_or_goes_back(
    desk: Desk, databases: Databases, house: House
) -> None:
    desk.take(*(ring(seed) for seed in range(5)))
    again = Desk(databases)
    again.now_ms = NOW_MS - 3_600_000
    again.take(ring(5), ring(6))
    taken = [make_event(NOW_MS, seed).event for seed in range(7)]
    for place, event in enumerate(taken, start=1):
        with databases.read() as unit:
            missed = events_after(unit, house.id, event)
        assert [item.id for item in missed] == taken[place:]


def test_a_flood_of_hellos_reads_the_chain_once_a_batch(desk: Desk) -> None:
    desk.take(*((FRONT.device.id, Leaf.HELLO, hello()) for _ in range(6)))
    assert len(desk.statements) == 1


def test_a_clip_is_announced_once_however_often_it_comes(
    desk: Desk, house: House, databases: Databases
) -> None:
    clip = make_clip(FRONT, house.id, RECIPIENT, sizes=SIZES)
    message = (FRONT.device.id, Leaf.CLIP, clip.announcement.encode())
    desk.take(message, message)
    desk.take(message)
    assert count_of(databases, ClipRow) == 1
    assert [ack.announced for _, ack in desk.acks] == [(clip.id, clip.id), (clip.id,)]


def test_another_manifest_for_the_same_clip_is_refused_with_a_reason(
    desk: Desk, house: House
) -> None:
    clip = make_clip(FRONT, house.id, RECIPIENT, sizes=SIZES)
    other = resigned(clip, FRONT, end=clip.manifest.end + 1)
    desk.take(
        (FRONT.device.id, Leaf.CLIP, clip.announcement.encode()),
        (FRONT.device.id, Leaf.CLIP, other.announcement.encode()),
    )
    (_, ack), *_ = desk.acks
    assert ack.announced == (clip.id,)
    assert [(one.clip, one.reason) for one in ack.refused] == [
        (clip.id, "another clip has this id already")
    ]


def test_another_doorbells_clip_id_cannot_be_taken(
    desk: Desk, house: House, databases: Databases
) -> None:
    theirs = House(databases, NEIGHBOUR, HouseholdId("n" * 26))
    theirs.enrol(BACK)
    theirs.list(BACK)
    clip = make_clip(FRONT, house.id, RECIPIENT, sizes=SIZES)
    thief = make_clip(BACK, theirs.id, RECIPIENT, sizes=SIZES, clip=clip.id)
    desk.take(
        (FRONT.device.id, Leaf.CLIP, clip.announcement.encode()),
        (BACK.device.id, Leaf.CLIP, thief.announcement.encode()),
    )
    with databases.read() as unit:
        row = unit.main.scalars(select(ClipRow)).one()
        assert (row.device, row.household) == (FRONT.device.id, house.id)
    refused = {device: ack.refused for device, ack in desk.acks}
    assert refused[FRONT.device.id] == ()
    assert [one.clip for one in refused[BACK.device.id]] == [clip.id]


def test_a_clip_under_another_doorbells_name_is_dropped_without_a_word(
    desk: Desk, house: House, databases: Databases
) -> None:
    house.enrol(BACK)
    house.list(BACK)
    clip = make_clip(BACK, house.id, RECIPIENT, sizes=SIZES)
    desk.take((FRONT.device.id, Leaf.CLIP, clip.announcement.encode()))
    assert desk.counters[Count.DROPPED_FOREIGN] == 1
    assert desk.sent == []
    assert count_of(databases, ClipRow) == 0


def test_a_clip_that_waits_for_its_doorbells_listing_is_met_with_silence(
    desk: Desk, house: House
) -> None:
    house.enrol(BACK)
    clip = make_clip(BACK, house.id, RECIPIENT, sizes=SIZES)
    message = (BACK.device.id, Leaf.CLIP, clip.announcement.encode())
    desk.take(message)
    assert desk.sent == []
    assert desk.counters[Count.CLIP_NOT_YET] == 1
    house.list(BACK)
    desk.take(message)
    assert [ack.announced for _, ack in desk.acks] == [(clip.id,)]


def test_a_clip_of_an_epoch_that_has_passed_is_announced(
    desk: Desk, house: House, databases: Databases
) -> None:
    clip = make_clip(FRONT, house.id, RECIPIENT, sizes=SIZES)
    house.renew(epoch(2))
    desk.take((FRONT.device.id, Leaf.CLIP, clip.announcement.encode()))
    assert count_of(databases, ClipRow) == 1


def test_a_clip_for_a_strangers_key_is_refused(desk: Desk, house: House) -> None:
    clip = make_clip(FRONT, house.id, STRANGER.age.recipient(), sizes=SIZES)
    desk.take((FRONT.device.id, Leaf.CLIP, clip.announcement.encode()))
    assert [one.clip for _, ack in desk.acks for one in ack.refused] == [clip.id]


def test_a_hello_is_answered_by_the_statements_it_has_not_seen(desk: Desk, house: House) -> None:
    desk.take((FRONT.device.id, Leaf.HELLO, hello(0)))
    assert desk.statements == [(FRONT.device.id, [house.head.signed.body])]
    desk.passed_s += GREETED_AGAIN_S
    desk.take((FRONT.device.id, Leaf.HELLO, hello(None)))
    assert [len(bodies) for _, bodies in desk.statements] == [1, 2]
    desk.take((FRONT.device.id, Leaf.HELLO, hello(1)))
    assert len(desk.statements) == 2


def test_a_long_chain_comes_a_message_for_each_hello(desk: Desk, house: House) -> None:
    for _ in range(70):
        house.state()
    seen: list[bytes] = []
    for hellos in range(1, 5):
        desk.take((FRONT.device.id, Leaf.HELLO, hello(len(seen) - 1 if seen else None)))
        if len(desk.statements) < hellos:
            break
        seen += desk.statements[-1][1]
    assert len(seen) == 72
    assert seen[-1] == house.head.signed.body
    assert len(desk.statements) == 2
    assert all(len(body) <= 64 * 1024 for _, body in desk.sent)


def test_the_longest_statements_come_one_by_one(
    desk: Desk, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "STATEMENTS_BYTES", 1)
    for place in (None, 0, 1):
        desk.take((FRONT.device.id, Leaf.HELLO, hello(place)))
    assert [len(bodies) for _, bodies in desk.statements] == [1, 1]
    assert desk.statements[-1][1] == [house.head.signed.body]


def test_no_more_of_a_chain_is_read_than_is_sent(desk: Desk, house: House) -> None:
    for _ in range(70):
        house.state()
    with patch(f"{chain.__name__}.decode_signed", wraps=decode_signed) as decode:
        desk.take((FRONT.device.id, Leaf.HELLO, hello()))
    read = sorted(len(call.args[0]) for call in decode.call_args_list)
    # But for the head, which says whether the doorbell is listed.
    assert sum(read[:-1]) <= STATEMENTS_BYTES
    assert len(read) < 72


def test_the_same_hello_again_is_answered_once_a_second(desk: Desk) -> None:
    for _ in range(20):
        desk.take((FRONT.device.id, Leaf.HELLO, hello()))
    assert len(desk.statements) == 1
    assert desk.counters[Count.HELLO_TOO_SOON] == 19
    # An earlier head is no later one.
    desk.take((FRONT.device.id, Leaf.HELLO, hello(0)))
    desk.take((FRONT.device.id, Leaf.HELLO, hello()))
    desk.passed_s += GREETED_AGAIN_S
    desk.take((FRONT.device.id, Leaf.HELLO, hello()))
    assert len(desk.statements) == 3


def test_a_hello_is_not_answered_before_it_is_kept_and_may_come_again(desk: Desk) -> None:
    with patch.object(Databases, "write", side_effect=TryLaterError("the database is away")):
        desk.take((FRONT.device.id, Leaf.HELLO, hello()))
    assert desk.statements == []
    desk.take((FRONT.device.id, Leaf.HELLO, hello()))
    assert len(desk.statements) == 1


def test_rings_of_others_are_acknowledged_between_two_answers_to_hellos(
    desk: Desk, house: House, databases: Databases
) -> None:
    theirs = House(databases, NEIGHBOUR, HouseholdId("n" * 26))
    theirs.welcome(BACK)
    for _ in range(70):
        house.state()
    hellos = [(FRONT.device.id, Leaf.HELLO, hello(place)) for place in range(32)]
    desk.take(*hellos, *(ring(seed, BACK.device.id) for seed in range(BATCH + 1)))
    told = [(topic.device, topic.leaf) for topic, _ in desk.sent]
    ack, statements = (BACK.device.id, Leaf.ACK), (FRONT.device.id, Leaf.STATEMENTS)
    assert told[:4] == [ack, statements, ack, statements]


def test_presence_and_health_are_kept(desk: Desk, house: House, databases: Databases) -> None:
    health = make_health(NOW_MS, BOOT)
    status = Status(boot=BOOT, connections=1, online=True)
    desk.take(
        (FRONT.device.id, Leaf.HELLO, hello(1)),
        (FRONT.device.id, Leaf.STATUS, status.encode()),
        (FRONT.device.id, Leaf.HEALTH, health.encode()),
    )
    with databases.read() as unit:
        (facts,) = list_devices(unit, house.id, NOW_MS)
    assert (facts.is_online, facts.agent, facts.health) == (True, "1.0", health)


def test_a_new_statement_is_brought_to_every_doorbell_of_the_household(
    desk: Desk, house: House, databases: Databases
) -> None:
    theirs = House(databases, NEIGHBOUR, HouseholdId("n" * 26))
    theirs.enrol(BACK)
    desk.desk.send_head(house.id)
    assert desk.statements == [(FRONT.device.id, [house.head.signed.body])]


def test_without_a_database_nothing_is_acknowledged_and_nobody_crashes(desk: Desk) -> None:
    with patch.object(Databases, "write", side_effect=TryLaterError("the database is away")):
        desk.take(ring(1))
    assert desk.acks == []
    assert desk.counters[Count.DROPPED_DATABASE_AWAY] == 1
    desk.take(ring(1))
    assert len(desk.acks) == 1


def test_a_message_that_cannot_be_handled_spoils_only_itself(
    desk: Desk, databases: Databases
) -> None:
    take = record_event

    def breaks_on_the_third(*args: object, **named: object) -> object:
        event = args[4]
        if event == make_event(NOW_MS, 3):
            raise ValueError("a mistake of ours")
        return take(*args, **named)  # type: ignore[arg-type]  # passed on as they came

    with patch.object(control, "record_event", breaks_on_the_third):
        desk.take(*(ring(seed) for seed in range(5)))
    assert count_of(databases, EventRow) == 4
    assert len(desk.acks) == 4


def test_a_batch_is_no_longer_than_a_commit_is_worth(desk: Desk) -> None:
    desk.take(*(ring(seed) for seed in range(BATCH + 1)))
    assert [len(ack.events) for _, ack in desk.acks] == [BATCH, 1]


def test_every_topic_that_doorbells_write_has_a_longest_body() -> None:
    lengths = {leaf: longest_body(leaf) for leaf in Leaf}
    assert {leaf for leaf, length in lengths.items() if length == 0} == {
        Leaf.ACK,
        Leaf.STATEMENTS,
        Leaf.FILE_REPLY,
        Leaf.DELETE,
    }
