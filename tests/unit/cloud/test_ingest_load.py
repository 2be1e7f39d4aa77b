"""What ingest has on its hands, as it tells the metrics."""

from doorstep_cloud.devices.service import count_online, record_status
from doorstep_cloud.events.hub import Hub
from doorstep_cloud.ingest.admission import AdmissionDesk
from doorstep_cloud.ingest.control import ControlDesk
from doorstep_cloud.ingest.counters import IngestCounters
from doorstep_cloud.ingest.inbox import Inbox, Lane, Message
from doorstep_cloud.store.databases import Databases
from doorstep_shared.ids import DeviceId
from doorstep_shared.topics import Leaf
from doorstep_shared.wire import Status
from tests.cloud_world import RECEIPT_KEY, House
from tests.people import HOUSEHOLD, NOW_MS, doorbell
from tests.scripted_doorbell import make_event

FRONT = doorbell("front")
BACK = doorbell("back")
WITHIN_MS = 150_000


def message(leaf: Leaf, device: DeviceId = FRONT.device.id, came_s: float = 0) -> Message:
    return Message(device, leaf, make_event(NOW_MS).encode(), received_s=came_s)


def test_what_waits_is_told_by_lane() -> None:
    inbox = Inbox()
    for leaf in (Leaf.RING, Leaf.MOTION, Leaf.HEALTH):
        inbox.put(message(leaf))
    inbox.put(message(Leaf.RING, BACK.device.id))
    assert inbox.waiting() == {Lane.EVENTS: 3, Lane.REST: 1}
    inbox.take(8)
    assert inbox.waiting() == {Lane.EVENTS: 0, Lane.REST: 1}


def test_a_ring_took_from_its_arrival_until_it_was_acknowledged(
    databases: Databases, house: House
) -> None:
    """Motion is nobody's hurry, and what is not acknowledged has no end."""
    house.welcome(FRONT)
    took: list[float] = []
    inbox = Inbox()
    desk = ControlDesk(
        databases,
        inbox,
        lambda _topic, _body: None,
        Hub(),
        IngestCounters(),
        receipt_key=RECEIPT_KEY,
        now_ms=lambda: NOW_MS,
        monotonic_s=lambda: 10.0,
        note_ring=took.append,
    )
    letters = [message(Leaf.RING, came_s=9.5), message(Leaf.MOTION, came_s=1)]
    stranger = message(Leaf.RING, BACK.device.id, came_s=2)
    desk._handle(list(desk._decoded([*letters, stranger])))
    assert took == [0.5]


def test_who_may_speak_is_counted_with_those_that_are_out_for_a_while(
    databases: Databases, house: House
) -> None:
    house.welcome(FRONT, BACK)
    desk = AdmissionDesk(databases, lambda _topic, _body: None)
    desk.admit(HOUSEHOLD)
    desk.banish(FRONT.device.id, 0)
    assert (desk.admitted, desk.banished) == (2, 1)
    house.revoke(BACK)
    desk.admit(HOUSEHOLD)
    assert (desk.admitted, desk.banished) == (1, 1)
    desk.tick(10**12)
    assert desk.banished == 0


def test_a_doorbell_is_there_while_connected_and_heard_within_150_s(
    databases: Databases, house: House
) -> None:
    house.welcome(FRONT, BACK)

    def say(device: DeviceId, *, online: bool) -> None:
        with databases.write() as unit:
            status = Status(boot="0" * 32, connections=1, online=online)
            record_status(unit, device, status, NOW_MS)
            unit.commit()

    def online(now_ms: int) -> int:
        with databases.read() as unit:
            return count_online(unit, now_ms)

    say(FRONT.device.id, online=True)
    say(BACK.device.id, online=True)
    assert online(NOW_MS + WITHIN_MS) == 2
    assert online(NOW_MS + WITHIN_MS + 1) == 0
    say(BACK.device.id, online=False)
    assert online(NOW_MS) == 1
