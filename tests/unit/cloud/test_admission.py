"""The broker's list of doorbells follows the database, whatever the broker held before."""

import json

import pytest
from structlog.testing import capture_logs

from doorstep_cloud.ingest.access import CONTROL, INGEST, PAGE, RESPONSES, first_access_list
from doorstep_cloud.ingest.admission import AdmissionDesk
from doorstep_cloud.ingest.quota import BANISHED_US
from doorstep_cloud.store.databases import Databases
from doorstep_shared.topics import common_name
from doorstep_simulator.broker import MAX_PACKET_BYTES
from tests.cloud_world import House
from tests.people import Doorbell, doorbell

LISTED, REVOKED, NEW = doorbell("listed"), doorbell("revoked"), doorbell("new")
PUBLISHING = ("publishClientSend", "publishClientReceive")


class Plugin:
    """The broker's side: keeps names, refuses what is there already, answers page by page."""

    def __init__(self, *names: str) -> None:
        self.names = [INGEST, *names]
        self.roles = set(self.names)
        self.longest = 0
        self._waiting: list[bytes] = []

    def publish(self, topic: str, body: bytes) -> None:
        assert topic == CONTROL
        self.longest = max(self.longest, len(body))
        answers = [self._answer(command) for command in json.loads(body)["commands"]]
        self._waiting.append(json.dumps({"responses": answers}).encode())

    def answer_all(self, desk: AdmissionDesk) -> None:
        while self._waiting:
            assert not desk.is_settled
            desk.take(RESPONSES, self._waiting.pop(0))

    def _answer(self, command: dict[str, str]) -> dict[str, object]:
        name = command.get("username") or command.get("rolename") or ""
        answer: dict[str, object] = {"command": command["command"]}
        match command["command"]:
            case "listClients":
                start = int(command["offset"])
                page = self.names[start : start + int(command["count"])]
                answer["data"] = {"totalCount": len(self.names), "clients": page}
            case "createRole":
                if name in self.roles:
                    answer["error"] = "Role already exists"
                self.roles.add(name)
            case "createClient":
                assert name in self.roles
                if name in self.names:
                    answer["error"] = "Client already exists"
                else:
                    self.names.append(name)
            case "deleteClient":
                if name in self.names:
                    self.names.remove(name)
                else:
                    answer["error"] = "Client not found"
            case "deleteRole":
                self.roles.discard(name)
            case other:
                raise AssertionError(other)
        return answer


def name_of(bell: Doorbell) -> str:
    return common_name(bell.device.id)


@pytest.fixture
def house(house: House) -> House:
    """Three doorbells: one listed, one revoked, one enrolled and not listed yet."""
    house.welcome(LISTED, REVOKED)
    house.enrol(NEW)
    house.revoke(REVOKED)
    return house


SPEAK = {INGEST, name_of(LISTED), name_of(NEW)}


def test_a_broker_begins_with_the_service_and_nobody_else() -> None:
    first = json.loads(first_access_list())
    assert [client["username"] for client in first["clients"]] == [INGEST]
    assert not any(first["defaultACLAccess"][right] for right in ("subscribe", *PUBLISHING))


@pytest.mark.parametrize(
    "known",
    [
        [],
        [name_of(LISTED), name_of(NEW)],
        [name_of(REVOKED)],
        [name_of(NEW), "aa/nobody", "somebody"],
        [f"{number:02x}/stranger" for number in range(2 * PAGE + 7)],
    ],
    ids=["an empty list", "our list", "a revoked one", "strangers", "three pages of strangers"],
)
@pytest.mark.usefixtures("house")
def test_whatever_the_broker_knew_it_knows_those_who_may_speak(
    databases: Databases, known: list[str]
) -> None:
    plugin = Plugin(*known)
    desk = AdmissionDesk(databases, plugin.publish)
    for _ in range(2):
        desk.begin()
        plugin.answer_all(desk)
        assert desk.is_settled
        assert set(plugin.names) == SPEAK
        assert plugin.roles == SPEAK


def test_changes_are_brought_and_may_be_brought_twice(databases: Databases, house: House) -> None:
    plugin = Plugin()
    desk = AdmissionDesk(databases, plugin.publish)
    for _ in range(2):
        desk.admit(house.id)
        plugin.answer_all(desk)
        assert set(plugin.names) == SPEAK
    house.revoke(LISTED)
    desk.admit(house.id)
    plugin.answer_all(desk)
    assert set(plugin.names) == SPEAK - {name_of(LISTED)}


def test_a_hundred_doorbells_fit_into_messages_the_broker_takes(
    databases: Databases, house: House
) -> None:
    for number in range(100):
        house.enrol(doorbell(f"bell {number}"))
    plugin = Plugin()
    desk = AdmissionDesk(databases, plugin.publish)
    desk.begin()
    plugin.answer_all(desk)
    assert len(plugin.names) == len(SPEAK) + 100
    assert plugin.longest < MAX_PACKET_BYTES


def test_a_refusal_of_the_broker_is_told(databases: Databases) -> None:
    desk = AdmissionDesk(databases, lambda _topic, _body: None)
    with capture_logs() as told:
        desk.take(RESPONSES, b'{"responses":[{"command":"createRole","error":"Internal error"}]}')
        desk.take(RESPONSES, b"surprise")
    assert [fact["event"] for fact in told] == ["broker_refused_command", "broker_answer_unknown"]


def test_one_that_sends_too_much_is_out_for_a_minute(databases: Databases, house: House) -> None:
    plugin = Plugin()
    desk = AdmissionDesk(databases, plugin.publish)
    desk.begin()
    plugin.answer_all(desk)
    desk.banish(LISTED.device.id, 0)
    desk.banish(LISTED.device.id, 1)
    plugin.answer_all(desk)
    assert set(plugin.names) == SPEAK - {name_of(LISTED)}
    # Neither a change nor a new connection to the broker lets it in before its time.
    desk.admit(house.id)
    plugin.answer_all(desk)
    desk.begin()
    plugin.answer_all(desk)
    desk.tick(BANISHED_US)
    plugin.answer_all(desk)
    assert set(plugin.names) == SPEAK - {name_of(LISTED)}
    desk.tick(BANISHED_US + 1)
    plugin.answer_all(desk)
    assert set(plugin.names) == SPEAK


def test_one_that_was_revoked_meanwhile_stays_out(databases: Databases, house: House) -> None:
    plugin = Plugin()
    desk = AdmissionDesk(databases, plugin.publish)
    desk.banish(LISTED.device.id, 0)
    house.revoke(LISTED)
    desk.tick(2 * BANISHED_US)
    plugin.answer_all(desk)
    assert name_of(LISTED) not in plugin.names
