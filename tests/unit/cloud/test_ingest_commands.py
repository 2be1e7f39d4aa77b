"""Commands on their way through ingest: sent at once and at each hello, answers taken once."""

import pytest

from doorstep_cloud.devices.commands import MOST_WAITING, accept_command, list_commands
from doorstep_cloud.ingest.control import longest_body
from doorstep_cloud.ingest.counters import Count
from doorstep_cloud.ingest.rules import GREETED_AGAIN_S
from doorstep_cloud.store.databases import Databases
from doorstep_shared.commands import MAX_COMMAND_BYTES
from doorstep_shared.ids import DeviceId
from doorstep_shared.signing import Signed
from doorstep_shared.topics import Leaf
from doorstep_shared.wire import Answer
from tests.cloud_world import House
from tests.orders import delete_order
from tests.people import DAY_MS, HOUSEHOLD, NOW_MS
from tests.unit.cloud.test_ingest_control import BACK, FRONT, STRANGER, Desk, hello

HEAD = 1
"""Where the household's chain stands: one statement, and one that lists the doorbell."""


@pytest.fixture
def house(house: House) -> House:
    house.welcome(FRONT, BACK)
    return house


@pytest.fixture
def desk(databases: Databases, house: House) -> Desk:
    del house
    return Desk(databases)


def send(databases: Databases, counter: int = 1, device: DeviceId = FRONT.device.id) -> Signed:
    """Take a command from the owner."""
    order = delete_order(until=NOW_MS, counter=counter, device=device)
    with databases.write() as unit:
        accept_command(unit, device, order, NOW_MS)
        unit.commit()
    return order


def sent(desk: Desk, device: DeviceId = FRONT.device.id) -> list[bytes]:
    """Return the commands that went to the doorbell."""
    return [
        body for topic, body in desk.sent if topic.leaf is Leaf.DELETE and topic.device == device
    ]


def answer(counter: int, *, reason: str = "") -> bytes:
    return Answer(counter=counter, is_done=not reason, reason=reason).encode()


def states(databases: Databases, device: DeviceId = FRONT.device.id) -> list[tuple[int, str]]:
    with databases.read() as unit:
        items = list_commands(unit, device, NOW_MS).items
    return [(facts.command.counter, facts.state.value) for facts in items]


def test_a_command_goes_to_its_doorbell_at_once_and_to_no_other(
    desk: Desk, databases: Databases
) -> None:
    orders = [send(databases, 1), send(databases, 2)]
    desk.desk.send_commands(HOUSEHOLD)
    assert sent(desk) == [order.encode() for order in orders]
    assert sent(desk, BACK.device.id) == []


def test_it_is_sent_again_at_each_hello_until_it_is_answered(
    desk: Desk, databases: Databases
) -> None:
    order = send(databases).encode()
    for times in (1, 2):
        desk.take((FRONT.device.id, Leaf.HELLO, hello(HEAD)))
        assert sent(desk) == [order] * times
        desk.passed_s += GREETED_AGAIN_S
    desk.take((FRONT.device.id, Leaf.DELETE_ANSWER, answer(1)))
    desk.take((FRONT.device.id, Leaf.HELLO, hello(HEAD)))
    assert sent(desk) == [order] * 2
    assert states(databases) == [(1, "done")]
    assert desk.counters[Count.COMMAND_ANSWERED] == 1


def test_a_flood_of_hellos_has_the_commands_sent_once(desk: Desk, databases: Databases) -> None:
    send(databases)
    desk.take(*[(FRONT.device.id, Leaf.HELLO, hello(HEAD)) for _ in range(20)])
    assert len(sent(desk)) == 1


def test_who_lacks_statements_gets_those_first(desk: Desk, databases: Databases) -> None:
    send(databases)
    desk.take((FRONT.device.id, Leaf.HELLO, hello()))
    assert len(desk.statements) == 1
    assert sent(desk) == []


def test_what_has_ended_is_not_sent(desk: Desk, databases: Databases) -> None:
    send(databases)
    desk.now_ms += DAY_MS
    desk.take((FRONT.device.id, Leaf.HELLO, hello(HEAD)))
    desk.desk.send_commands(HOUSEHOLD)
    assert sent(desk) == []


def test_an_answer_counts_for_the_doorbells_own_commands_only(
    desk: Desk, databases: Databases
) -> None:
    send(databases)
    desk.take((BACK.device.id, Leaf.DELETE_ANSWER, answer(1)))
    desk.take((FRONT.device.id, Leaf.DELETE_ANSWER, answer(2)))
    assert states(databases) == [(1, "waiting")]
    assert desk.counters[Count.DROPPED_UNKNOWN_COMMAND] == 2
    desk.take((STRANGER.device.id, Leaf.DELETE_ANSWER, answer(1)))
    assert desk.counters[Count.DROPPED_UNKNOWN_SENDER] == 1


def test_the_first_answer_stands(desk: Desk, databases: Databases) -> None:
    send(databases)
    desk.take((FRONT.device.id, Leaf.DELETE_ANSWER, answer(1, reason="it came after its end")))
    desk.take((FRONT.device.id, Leaf.DELETE_ANSWER, answer(1)))
    assert states(databases) == [(1, "refused")]
    assert desk.counters[Count.COMMAND_ANSWER_REPEATED] == 1


@pytest.mark.parametrize(
    "body", [b"", b"{}", b'{"v":1,"counter":-1,"is_done":true}', b'{"v":1,"counter":1}']
)
def test_an_answer_of_another_shape_is_dropped(
    desk: Desk, databases: Databases, body: bytes
) -> None:
    send(databases)
    desk.take((FRONT.device.id, Leaf.DELETE_ANSWER, body))
    assert desk.counters[Count.DROPPED_MALFORMED] == 1
    assert states(databases) == [(1, "waiting")]


def test_an_answer_has_room_for_the_longest_reason_and_no_more() -> None:
    longest = Answer(counter=2**53 - 1, is_done=False, reason="\x01" * 200).encode()
    assert len(longest) <= longest_body(Leaf.DELETE_ANSWER) < 2 * len(longest)
    assert longest_body(Leaf.DELETE) == 0


def test_a_hello_is_answered_with_no_more_than_the_broker_holds_for_one_doorbell() -> None:
    assert MOST_WAITING * MAX_COMMAND_BYTES <= 256 * 1024
