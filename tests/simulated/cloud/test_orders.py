"""Commands to doorbells over HTTP: who may sign them, how they count, what becomes of them."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from doorstep_cloud.app.jobs import drop_commands
from doorstep_cloud.devices.commands import (
    KEPT_MS,
    LONGEST_MS,
    MOST_LISTED,
    MOST_WAITING,
    AnswerTaken,
    list_commands,
    prune_commands,
    record_answer,
    waiting_commands,
)
from doorstep_shared.ids import draw_clip_id
from doorstep_shared.signing import Kind, Signed, sign
from doorstep_shared.statements import DeviceState
from doorstep_shared.wire import Answer
from tests.cast import FOREIGN, OWN, STRANGER, VIEWER, Enrolled, Stage, as_json
from tests.orders import delete_order
from tests.people import DAY_MS, FRONT_DOOR, NOW_MS, OWNER, doorbell, random_from

BELL = FRONT_DOOR.device.id
PATH = f"/v1/devices/{BELL}/commands"
CLIPS = [draw_clip_id(NOW_MS, random_from(f"clip {n}")) for n in range(3)]


@dataclass
class Owned:
    """A service with a doorbell of our household's."""

    home: Stage
    enrolled: Enrolled
    owner: Mapping[str, str]

    def send(self, order: Signed, headers: Mapping[str, str] | None = None) -> tuple[int, str]:
        """Send ``order``; return the status and the fact."""
        asked = {"command": as_json(order)}
        answer = self.home.client.post(PATH, json=asked, headers=dict(headers or self.owner))
        return answer.status_code, answer.json().get("title", "")

    def order(self, counter: int = 1, **changes: object) -> Signed:
        """Return the owner's command to delete three clips, made now."""
        expires = self.home.clock() + DAY_MS
        return delete_order(CLIPS, counter=counter, **{"expires": expires} | changes)  # type: ignore[arg-type]

    def answer(self, counter: int, *, reason: str = "") -> AnswerTaken:
        """Let the doorbell answer a command."""
        said = Answer(counter=counter, is_done=not reason, reason=reason)
        with self.home.databases.write() as unit:
            taken = record_answer(unit, BELL, said, self.home.clock())
            unit.commit()
        return taken

    def listed(self, headers: Mapping[str, str] | None = None) -> dict[str, object]:
        """Return what the household is shown."""
        answer = self.home.client.get(PATH, headers=dict(headers or self.owner))
        assert answer.status_code == 200, answer.text
        shown: dict[str, object] = answer.json()
        return shown

    def items(self, headers: Mapping[str, str]) -> list[dict[str, Any]]:
        """Return the commands that are shown, newest first."""
        items = self.listed(headers)["items"]
        assert isinstance(items, list)
        return items

    def states(self) -> list[tuple[int, str, str | None]]:
        """Return counter, state and reason of each command shown, newest first."""
        items = self.items(self.owner)
        return [(item["counter"], item["state"], item["reason"]) for item in items]

    def waiting(self) -> list[bytes]:
        """Return what the doorbell is to be sent."""
        with self.home.databases.read() as unit:
            return list(waiting_commands(unit, BELL, self.home.clock()))

    def prune(self) -> int:
        """Let the worker forget what is old."""
        with self.home.databases.write() as unit:
            gone = prune_commands(unit, self.home.clock())
            unit.commit()
        return gone


@pytest.fixture
def owned(home: Stage) -> Owned:
    home.add_members(VIEWER)
    enrolled = home.enrol(FRONT_DOOR, home.claim())
    home.list_devices(enrolled.device)
    return Owned(home, enrolled, home.session(OWNER))


def test_a_command_is_taken_told_to_ingest_and_shown_as_waiting(owned: Owned) -> None:
    owned.home.told.clear()
    order = owned.order()
    asked = {"command": as_json(order)}
    answer = owned.home.client.post(PATH, json=asked, headers=dict(owned.owner))
    assert (answer.status_code, answer.json()["counter"]) == (201, 1)
    assert answer.json()["expires_at"].endswith("Z")
    assert owned.home.told == [OWN]
    assert owned.waiting() == [order.encode()]
    (item,) = owned.items(owned.home.session(VIEWER))
    assert (item["name"], item["clips"], item["until"]) == ("delete", 3, None)
    assert (item["state"], item["reason"]) == ("waiting", None)


def test_the_same_command_again_is_the_same_command(owned: Owned) -> None:
    order = owned.order()
    assert owned.send(order)[0] == owned.send(order)[0] == 201
    assert len(owned.waiting()) == 1
    owned.answer(1)
    assert owned.send(order)[0] == 201
    assert owned.waiting() == []


@pytest.mark.parametrize("counter", [2, 3, 2**53 - 1])
def test_a_counter_that_does_not_follow_is_refused_with_the_one_that_does(
    owned: Owned, counter: int
) -> None:
    status, fact = owned.send(owned.order(counter))
    assert (status, fact) == (409, f"this doorbell's next command has the counter 1, not {counter}")
    assert owned.send(owned.order(1))[0] == 201
    assert owned.send(owned.order(1, until=None, expires=NOW_MS + 2 * DAY_MS))[0] == 409
    assert owned.listed()["next_counter"] == 2


def test_commands_go_to_the_doorbell_in_their_order(owned: Owned) -> None:
    orders = [owned.order(counter) for counter in range(1, 5)]
    for order in orders:
        assert owned.send(order)[0] == 201
    assert owned.waiting() == [order.encode() for order in orders]


def forged(owned: Owned) -> Signed:
    good, other = owned.order(), delete_order(until=NOW_MS)
    return Signed(body=other.body, sigs=good.sigs)


def renamed(owned: Owned) -> Signed:
    return sign(Kind.COMMAND, json.loads(owned.order().body) | {"name": "reboot"}, OWNER.sign)


REFUSED: Mapping[str, tuple[Callable[[Owned], Signed], int]] = {
    "forged": (forged, 403),
    "signed by a viewer": (lambda o: o.order(signer=VIEWER), 403),
    "signed by a stranger": (lambda o: o.order(signer=STRANGER), 403),
    "another doorbell's": (lambda o: o.order(device=doorbell("back").device.id), 403),
    "another household's": (lambda o: o.order(household=FOREIGN), 403),
    "ended": (lambda o: o.order(expires=o.home.clock()), 403),
    "without an end in sight": (lambda o: o.order(expires=o.home.clock() + LONGEST_MS + 1), 403),
    "of an unknown name": (renamed, 400),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_command_that_no_doorbell_would_do_is_not_taken(owned: Owned, name: str) -> None:
    make, status = REFUSED[name]
    assert owned.send(make(owned))[0] == status
    assert owned.listed() == {"items": [], "next_counter": 1}


def test_a_command_that_fits_into_no_message_is_not_taken(owned: Owned) -> None:
    # Full of clips and of signatures; each alone would do.
    clips = [draw_clip_id(NOW_MS, random_from(f"many {n}")) for n in range(128)]
    order = delete_order(clips, expires=owned.home.clock() + DAY_MS)
    many = Signed(body=order.body, sigs=order.sigs * 16)
    assert len(order.encode()) <= 8192 < len(many.encode())
    status, fact = owned.send(many)
    assert (status, fact) == (400, "a command with its signatures has at most 8192 bytes")
    assert owned.send(order)[0] == 201


def test_the_longest_command_is_taken_and_a_longer_one_hears_why(owned: Owned) -> None:
    end = owned.home.clock() + LONGEST_MS
    assert owned.send(owned.order(expires=end))[0] == 201
    status, fact = owned.send(owned.order(2, expires=end + 1))
    assert (status, fact) == (403, "a command ends within 14 days")


def test_a_doorbell_that_is_not_there_has_no_commands(owned: Owned) -> None:
    other = doorbell("nobody's").device.id
    path = PATH.replace(BELL, other)
    asked = {"command": as_json(owned.order(device=other))}
    assert owned.home.client.get(path, headers=dict(owned.owner)).status_code == 404
    answer = owned.home.client.post(path, json=asked, headers=dict(owned.owner))
    assert answer.status_code == 404


def test_a_revoked_doorbell_is_sent_nothing_more(owned: Owned) -> None:
    revoked = owned.enrolled.device.model_copy(update={"state": DeviceState.REVOKED})
    owned.home.list_devices(revoked)
    status, fact = owned.send(owned.order())
    assert (status, fact) == (403, "this doorbell is revoked, and hears no commands any more")


def test_a_doorbell_nobody_has_listed_yet_may_be_told(home: Stage) -> None:
    enrolled = home.enrol(FRONT_DOOR, home.claim())
    assert Owned(home, enrolled, home.session(OWNER)).send(delete_order(CLIPS))[0] == 201


def test_so_many_wait_for_one_doorbell_and_no_more(owned: Owned) -> None:
    for counter in range(1, MOST_WAITING + 1):
        assert owned.send(owned.order(counter))[0] == 201
    status, fact = owned.send(owned.order(MOST_WAITING + 1))
    assert (status, fact) == (429, f"{MOST_WAITING} commands wait for this doorbell already")
    owned.answer(3)
    assert owned.send(owned.order(MOST_WAITING + 1))[0] == 201


def test_what_the_doorbell_answered_is_shown_and_sent_no_more(owned: Owned) -> None:
    for counter in (1, 2, 3):
        owned.send(owned.order(counter))
    assert owned.answer(1) is AnswerTaken.NEW
    assert owned.answer(2, reason="it came after its end") is AnswerTaken.NEW
    assert owned.states() == [
        (3, "waiting", None),
        (2, "refused", "it came after its end"),
        (1, "done", None),
    ]
    assert owned.waiting() == [owned.order(3).encode()]


def test_the_first_answer_stands_and_one_to_nothing_is_none(owned: Owned) -> None:
    owned.send(owned.order())
    owned.answer(1)
    assert owned.answer(1, reason="no") is AnswerTaken.REPEATED
    assert owned.answer(2) is AnswerTaken.UNKNOWN
    assert owned.states() == [(1, "done", None)]


def test_a_command_that_is_kept_back_waits_for_all_to_see_until_it_ends(owned: Owned) -> None:
    owned.send(owned.order())
    owned.home.clock.at_ms += DAY_MS - 10
    owned.owner = owned.home.session(OWNER)
    assert owned.states() == [(1, "waiting", None)]
    owned.home.clock.at_ms += 10
    assert owned.states() == [(1, "expired", None)]
    assert owned.waiting() == []
    # A doorbell that took it in time and could not say so is believed.
    assert owned.answer(1) is AnswerTaken.NEW
    assert owned.states() == [(1, "done", None)]


def test_what_is_old_is_forgotten_but_for_the_newest_that_the_next_counts_on_from(
    owned: Owned,
) -> None:
    for counter in (1, 2, 3):
        owned.send(owned.order(counter))
        owned.answer(counter)
    owned.home.clock.at_ms += KEPT_MS - 10
    assert owned.prune() == 0
    owned.home.clock.at_ms += 20
    assert owned.prune() == 2
    assert owned.prune() == 0
    owned.owner = owned.home.session(OWNER)
    assert owned.states() == [(3, "done", None)]
    assert owned.send(owned.order(1))[0] == 409
    assert owned.send(owned.order(4))[0] == 201


def test_a_clock_that_stood_ahead_for_a_while_ends_no_command_that_waits(owned: Owned) -> None:
    owned.send(owned.order(1, expires=owned.home.clock() + LONGEST_MS))
    owned.send(owned.order(2))
    with owned.home.databases.write() as unit:
        assert prune_commands(unit, owned.home.clock() + DAY_MS) == 0
        unit.commit()
    assert len(owned.waiting()) == 2


def test_only_the_newest_commands_are_shown(owned: Owned) -> None:
    for counter in range(1, MOST_LISTED + 3):
        assert owned.send(owned.order(counter))[0] == 201
        owned.answer(counter)
    states = owned.states()
    assert len(states) == MOST_LISTED
    assert states[0][0] == MOST_LISTED + 2
    with owned.home.databases.read() as unit:
        assert list_commands(unit, BELL, owned.home.clock()).next_counter == MOST_LISTED + 3


def test_the_worker_forgets_what_is_old(owned: Owned) -> None:
    for counter in (1, 2):
        owned.send(owned.order(counter))
    now = owned.home.clock() + KEPT_MS + 1
    assert drop_commands(owned.home.databases, now) == 1
    assert drop_commands(owned.home.databases, now) == 0
