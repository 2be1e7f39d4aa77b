"""What waits for ingest: bounded, in turns, rings apart from the rest."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doorstep_cloud.ingest.inbox import TURN, Inbox, Message
from doorstep_shared.ids import DeviceId
from doorstep_shared.topics import Leaf
from tests.people import doorbell

A = doorbell("a").device.id
B = doorbell("b").device.id
C = doorbell("c").device.id


def message(device: DeviceId, number: int = 0, leaf: Leaf = Leaf.RING) -> Message:
    return Message(device, leaf, str(number).encode())


def test_what_came_first_is_taken_first() -> None:
    inbox = Inbox()
    for number in range(6):
        inbox.put(message(A, number))
    assert [m.payload for m in inbox.take(10)] == [b"0", b"1", b"2", b"3", b"4", b"5"]


def test_a_flood_does_not_delay_another_doorbells_ring() -> None:
    inbox = Inbox()
    for number in range(60):
        inbox.put(message(A, number))
    inbox.put(message(B))
    assert message(B) in inbox.take(2 * TURN)


def test_a_doorbell_fills_only_its_own_places() -> None:
    inbox = Inbox(device_limit=3)
    assert [inbox.put(message(A, n)) for n in range(5)] == [True, True, True, False, False]
    assert inbox.put(message(B))


def test_a_full_inbox_still_has_a_place_for_a_doorbell_that_waits_for_nothing() -> None:
    inbox = Inbox(device_limit=10, total_limit=4)
    assert [inbox.put(message(A, n)) for n in range(5)] == [True, True, True, True, False]
    assert inbox.put(message(B))
    assert not inbox.put(message(B, 1))


def test_announcements_neither_wait_for_rings_nor_delay_them() -> None:
    inbox = Inbox()
    for number in range(20):
        inbox.put(message(A, number, Leaf.CLIP))
        inbox.put(message(B, number, Leaf.RING))
    lanes = [{m.lane for m in inbox.take(8)} for _ in range(4)]
    assert all(len(lane) == 1 for lane in lanes)
    assert lanes[0] == lanes[2] != lanes[1] == lanes[3]


def test_motion_goes_with_the_rings() -> None:
    assert message(A, leaf=Leaf.MOTION).lane is message(A, leaf=Leaf.RING).lane


def test_a_closed_inbox_takes_and_gives_nothing() -> None:
    inbox = Inbox()
    inbox.put(message(A))
    inbox.close()
    assert inbox.take(1) == []
    assert not inbox.put(message(B))


def test_a_waiting_reader_is_woken_by_the_first_message() -> None:
    inbox = Inbox()
    taken: list[Message] = []
    reader = threading.Thread(target=lambda: taken.extend(inbox.take(5)))
    reader.start()
    inbox.put(message(A))
    reader.join(10)
    assert taken == [message(A)]


@pytest.mark.timeout(60)
@given(st.lists(st.tuples(st.sampled_from([A, B, C]), st.sampled_from([Leaf.RING, Leaf.CLIP]))))
def test_everything_that_found_a_place_is_taken_once_and_in_its_senders_order(
    sent: list[tuple[DeviceId, Leaf]],
) -> None:
    inbox = Inbox(device_limit=8, total_limit=12)
    messages = [message(device, n, leaf) for n, (device, leaf) in enumerate(sent)]
    kept = [m for m in messages if inbox.put(m)]
    taken: list[Message] = []
    while len(taken) < len(kept):
        taken += inbox.take(5)
    for device in (A, B, C):
        for leaf in (Leaf.RING, Leaf.CLIP):
            of_one = [m for m in kept if (m.device, m.leaf) == (device, leaf)]
            assert [m for m in taken if (m.device, m.leaf) == (device, leaf)] == of_one
